//! Requests about what lives in another region: sent there, answered from there.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Regions;
use super::agents::{home_of_agents, made, matter_of};
use super::matters::KnownMatter;
use super::outbox::{Handed, Reply};
use super::requests::unreachable;
use super::seeing::SeenIn;
use crate::asp::Matter;
use crate::broker::{Broker, Outbox, Residence};
use crate::client::{Link, LinkCall, RequestError};
use crate::format::BatchHeader;
use crate::protocol::region::Actor;
use crate::protocol::{
    AtomicPart, ErrorCode, FetchBeyondRequest, Kind, LinkForwardRequest, PublishRequest, Request,
    Response, WireError,
};
use crate::server::access::Caller;
use crate::server::room::{ConnectionRoom, Held, Rereading};
use crate::server::shared::Shared;
use crate::server::{answer, asp};
use crate::types::{
    ChannelName, DEFAULT_ORG_NAME, Incarnation, KeyId, OrgName, ProducerId, RegionName,
};

/// Where a request is carried out.
pub(in crate::server) enum Route {
    /// Here.
    Here(Request),
    /// In the region where what it is about lives.
    There(Box<Forward>),
}

/// A request on its way to its home.
#[derive(Debug, Clone)]
pub(in crate::server) struct Forward {
    home: RegionName,
    /// The identity of the channel, where the request is a publish.
    id: Option<Incarnation>,
    request: Request,
    by: Asker,
    /// Where who asks has to be seen first.
    first: Option<SeenIn>,
}

/// Who asks, as another region is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asker {
    pub principal: u32,
    pub key: Option<KeyId>,
    pub org: OrgName,
}

impl Asker {
    fn of(caller: &Caller) -> Self {
        Self {
            principal: caller.principal.id.0,
            key: caller.principal.key,
            org: caller.row().org,
        }
    }

    /// Whoever a batch for a channel is stamped with.
    pub fn of_principal(broker: &Broker, principal: u32, channel: &ChannelName) -> Self {
        let access = broker.access();
        let mut orgs = access.orgs();
        let known = orgs.find_map(|org| {
            let key = access
                .keys(org.org)
                .find(|key| key.principal.0 == principal)?;
            Some((org.name.clone(), key.key))
        });
        let (org, key) = match known {
            Some((org, key)) => (org, Some(key)),
            None => {
                let org = channel.org().unwrap_or(DEFAULT_ORG_NAME);
                (OrgName::parse(org).expect("a channel has it"), None)
            }
        };
        Self {
            principal,
            key,
            org,
        }
    }
}

/// A request whose answer is awaited.
pub(in crate::server) enum Forwarded {
    /// It was sent.
    Sent(Sent),
    /// The courier of its channel has it.
    Handed(RegionName, oneshot::Receiver<Reply>),
    /// It is sent once who asks was seen in the session that it is about.
    Looking(Box<Looking>),
}

/// A request that is sent once it is known that its caller may.
pub(in crate::server) struct Looking {
    shared: Arc<Shared>,
    first: SeenIn,
    home: RegionName,
    link: Link,
    request: Request,
    by: Asker,
    regions: Arc<Regions>,
}

/// A request that was sent.
pub(in crate::server) struct Sent {
    home: RegionName,
    call: LinkCall,
    kind: Kind,
    version: u16,
    channels: Vec<ChannelName>,
    /// Whose request it is.
    org: OrgName,
    matter: Option<Matter>,
    /// What is made, and by whom, once the home has said so.
    made: Option<(Matter, Actor)>,
    regions: Arc<Regions>,
}

/// Calls `visit` with every channel that has to live where a request is carried out, and the
/// identity that it must have, where the request says one.
fn each_channel<'a>(
    request: &'a mut Request,
    mut visit: impl FnMut(&'a ChannelName, Option<&'a mut Option<Incarnation>>),
) {
    match request {
        Request::Publish(publish) => {
            let target = &mut publish.target;
            visit(&target.channel, Some(&mut target.incarnation));
        }
        Request::PublishAtomic(atomic) => {
            for part in &mut atomic.parts {
                match part {
                    AtomicPart::Publish(publish) => {
                        let target = &mut publish.target;
                        visit(&target.channel, Some(&mut target.incarnation));
                    }
                    AtomicPart::Commit(commit) if is_kept_here(&commit.channel) => {}
                    AtomicPart::Commit(commit) => visit(&commit.channel, None),
                }
            }
        }
        Request::Commit(commit) if is_kept_here(&commit.channel) => {}
        Request::ConsumerReset(reset) if is_kept_here(&reset.channel) => {}
        Request::ConsumerDelete(target) | Request::ConsumerPosition(target)
            if is_kept_here(&target.channel) => {}
        Request::Commit(commit) => visit(&commit.channel, Some(&mut commit.incarnation)),
        Request::ChannelUpdate(update) => visit(&update.name, None),
        Request::ChannelDelete(delete) => visit(&delete.name, Some(&mut delete.incarnation)),
        Request::ConsumerReset(reset) => visit(&reset.channel, None),
        Request::ConsumerDelete(target) | Request::ConsumerPosition(target) => {
            visit(&target.channel, None);
        }
        _ => {}
    }
}

/// Whether positions in a log are those of the region that is asked: a vector over the logs of all
/// regions is stored as one, and while any of them is cut off.
fn is_kept_here(log: &ChannelName) -> bool {
    log.region().is_some()
}

/// The channels that have to live where a request is carried out.
pub(super) fn channels(request: &Request) -> Vec<&ChannelName> {
    match request {
        Request::Publish(publish) => vec![&publish.target.channel],
        Request::PublishAtomic(atomic) => {
            let names = atomic.parts.iter().filter_map(|part| match part {
                AtomicPart::Publish(publish) => Some(&publish.target.channel),
                AtomicPart::Commit(commit) if is_kept_here(&commit.channel) => None,
                AtomicPart::Commit(commit) => Some(&commit.channel),
            });
            names.collect()
        }
        Request::Commit(commit) if is_kept_here(&commit.channel) => Vec::new(),
        Request::ConsumerReset(reset) if is_kept_here(&reset.channel) => Vec::new(),
        Request::ConsumerDelete(target) | Request::ConsumerPosition(target)
            if is_kept_here(&target.channel) =>
        {
            Vec::new()
        }
        Request::Commit(commit) => vec![&commit.channel],
        Request::FetchBeyond(beyond) => vec![&beyond.fetch.channel],
        Request::ChannelUpdate(update) => vec![&update.name],
        Request::ChannelDelete(delete) => vec![&delete.name],
        Request::ConsumerReset(reset) => vec![&reset.channel],
        Request::ConsumerDelete(target) | Request::ConsumerPosition(target) => {
            vec![&target.channel]
        }
        _ => Vec::new(),
    }
}

/// The region where a channel lives, and its identity, where that is not this one.
pub(super) fn home_of(
    broker: &Broker,
    regions: &Regions,
    channel: &ChannelName,
) -> Option<(RegionName, Incarnation)> {
    match broker.residence(channel) {
        Residence::Home(_) => None,
        Residence::Copy(id, home) => Some((home, id)),
        Residence::Unknown => regions.known_home(channel),
    }
}

/// Where a request is carried out. One that is forwarded names the identity of its channels, so that
/// their home makes no others for it.
///
/// # Errors
/// `FORWARD_REFUSED`: what it is about lives in several regions; `FORBIDDEN`: the caller does not
/// speak for the agent of a session that lives elsewhere; `ESCROW_ACROSS_HOMES`: nor is money for it
/// here.
pub(in crate::server) fn route(
    shared: &Shared,
    caller: &Caller,
    mut request: Request,
) -> Result<Route, Box<WireError>> {
    let Some(regions) = &shared.regions else {
        return Ok(Route::Here(request));
    };
    let mut homes: Vec<RegionName> = Vec::new();
    let (mut lives_here, mut is_copied) = (false, false);
    let mut known = None;
    {
        let broker = shared.broker();
        each_channel(&mut request, |channel, incarnation| {
            is_copied |= matches!(broker.residence(channel), Residence::Copy(..));
            match home_of(&broker, regions, channel) {
                None => lives_here = true,
                Some((home, id)) => {
                    known = Some(id);
                    if let Some(incarnation) = incarnation {
                        incarnation.get_or_insert(id);
                    }
                    if !homes.contains(&home) {
                        homes.push(home);
                    }
                }
            }
        });
    }
    if let Request::Asp(asp) = &request {
        homes.extend(home_of_agents(shared, regions, caller, asp)?);
    }
    if lives_here && !homes.is_empty() {
        homes.push(regions.name.clone());
    }
    if homes.is_empty()
        && regions.outboxes.is_in_use()
        && let Request::Publish(publish) = &mut request
        && let Some(id) = waits_here(shared, regions, publish)
    {
        if !publish.asks.is_some_and(|asks| asks.outbox) {
            return Err(Box::new(behind_others(&regions.name)));
        }
        publish.target.incarnation = Some(id);
        return Ok(Route::There(Box::new(Forward {
            home: regions.name.clone(),
            id: Some(id),
            by: Asker::of(caller),
            request,
            first: None,
        })));
    }
    match homes.as_slice() {
        [] => Ok(Route::Here(request)),
        // Where a consumer stands is told as it is known here: in a copy never ahead of the data.
        [home] if is_position(&request) && (is_copied || regions.link_to(home).is_none()) => {
            Ok(Route::Here(request))
        }
        [home] => Ok(Route::There(Box::new(Forward {
            home: home.clone(),
            id: known.filter(|_| matches!(request, Request::Publish(_))),
            by: Asker::of(caller),
            first: SeenIn::of(shared, caller, &request),
            request,
        }))),
        _ => Err(Box::new(spans(&homes))),
    }
}

/// The identity of a channel that lives here by now, while earlier batches of the producer wait in its
/// outbox.
fn waits_here(shared: &Shared, regions: &Regions, publish: &PublishRequest) -> Option<Incarnation> {
    let broker = shared.broker();
    let channel = &publish.target.channel;
    let id = broker.identity_of(channel)?;
    let outbox = Outbox::of(channel, id).ok()?;
    let header = BatchHeader::peek_produced(&publish.batch).ok()?;
    waits(&broker, regions, &outbox, header.producer_id()).then_some(id)
}

/// Whether earlier batches of a producer wait in an outbox.
fn waits(broker: &Broker, regions: &Regions, outbox: &Outbox, producer: ProducerId) -> bool {
    regions.outboxes.is_waiting(broker, outbox) && broker.waits_in_outbox(outbox, producer)
}

fn is_position(request: &Request) -> bool {
    matches!(request, Request::ConsumerPosition(_))
}

fn spans(homes: &[RegionName]) -> WireError {
    let names: Vec<&str> = homes.iter().map(RegionName::as_str).collect();
    let text = format!(
        "its channels live in several regions ({}), and one request is carried out in one",
        names.join(", ")
    );
    WireError::new(ErrorCode::ForwardRefused, text).with("homes", names)
}

impl Forward {
    /// A read that the home of its channel is to answer.
    pub(super) fn of_read(home: RegionName, caller: &Caller, read: FetchBeyondRequest) -> Self {
        Self {
            home,
            id: None,
            request: Request::FetchBeyond(Box::new(read)),
            by: Asker::of(caller),
            first: None,
        }
    }

    /// Whether it is a read, whose answer may be large.
    pub fn takes_room(&self) -> bool {
        match &self.request {
            Request::FetchBeyond(_) => true,
            Request::Asp(request) => asp::waits(request),
            _ => false,
        }
    }

    /// Such a read once more, for at most so many bytes or one record.
    fn again(&self, most: u64) -> Self {
        let mut again = Self {
            first: None,
            ..self.clone()
        };
        match &mut again.request {
            Request::FetchBeyond(read) => {
                let most = u32::try_from(most).unwrap_or(u32::MAX);
                read.fetch.max_bytes = read.fetch.max_bytes.min(most);
            }
            Request::Asp(request) => asp::limit(request, most),
            _ => {}
        }
        again
    }

    /// Sends it.
    ///
    /// # Errors
    /// What to answer where the home can't be reached.
    pub fn send(self, shared: &Arc<Shared>) -> Result<Forwarded, WireError> {
        let Self {
            home,
            id,
            request,
            by,
            first,
        } = self;
        let regions = shared.regions.clone().ok_or_else(|| unreachable(&home))?;
        let request = match (request, id) {
            // Of another life than the one that is known, its home knows.
            (Request::Publish(publish), Some(id)) if publish.target.incarnation == Some(id) => {
                let outbox = Outbox::of(&publish.target.channel, id);
                if publish.asks.is_some_and(|asks| asks.outbox) {
                    let outbox = outbox.map_err(|error| answer::refused(&error))?;
                    let (reply, answer) = oneshot::channel();
                    let handed = Handed { publish, by, reply };
                    regions.hand_over(shared, outbox, handed);
                    return Ok(Forwarded::Handed(home, answer));
                }
                if let Ok(outbox) = outbox
                    && let Ok(header) = BatchHeader::peek_produced(&publish.batch)
                    && waits(&shared.broker(), &regions, &outbox, header.producer_id())
                {
                    return Err(behind_others(&home));
                }
                Request::Publish(publish)
            }
            (request, _) => request,
        };
        let link = regions.link_to(&home).ok_or_else(|| unreachable(&home))?;
        if let Some(first) = first {
            return Ok(Forwarded::Looking(Box::new(Looking {
                shared: shared.clone(),
                first,
                home,
                link,
                request,
                by,
                regions,
            })));
        }
        Ok(Forwarded::Sent(Sent::on(
            &link, home, by, &request, regions,
        )))
    }
}

/// What the home of a read has answered, with the room that it takes. Where there is none, nothing of
/// it is kept, and the home is asked again once there is.
///
/// - `call`: the read, which is under way.
///
/// # Errors
/// What to answer instead.
pub(in crate::server) async fn read_there(
    shared: &Arc<Shared>,
    room: &ConnectionRoom,
    mut call: Forwarded,
    read: Forward,
) -> Result<(Response, Held), WireError> {
    let mut reading = Rereading::new(room);
    loop {
        let (response, _) = call.answer().await;
        let bytes = match &response {
            Response::Error(error) => return Err(error.clone()),
            Response::FetchBeyond(found) => found.batches.len() as u64,
            Response::Asp(found) => asp::record_bytes(found),
            _ => 0,
        };
        if let Some(held) = reading.take(bytes) {
            return Ok((response, held));
        }
        drop(response);
        reading.wait(bytes).await?;
        call = read.again(reading.most()).send(shared)?;
    }
}

/// What is told whose earlier batches wait in the outbox, and who may not wait there.
fn behind_others(home: &RegionName) -> WireError {
    let error = unreachable(home);
    WireError {
        message: "earlier batches of this producer wait in the outbox of this region".into(),
        ..error
    }
}

impl Regions {
    /// A request as another region is asked to carry it out.
    pub(super) fn forwarding(&self, by: Asker, request: &Request) -> LinkForwardRequest {
        LinkForwardRequest::new(by.principal, by.key, by.org, self.name.clone(), request)
    }
}

impl Forwarded {
    /// What to answer, and what that has to wait for here.
    pub async fn answer(self) -> Reply {
        match self {
            Self::Sent(sent) => (sent.answer().await, None),
            Self::Looking(looking) => (looking.answer().await, None),
            Self::Handed(home, answer) => match answer.await {
                Ok(reply) => reply,
                // The broker is stopping.
                Err(_) => (Response::Error(unreachable(&home)), None),
            },
        }
    }
}

impl Looking {
    async fn answer(self) -> Response {
        let by = self.by.clone();
        let at = (&self.home, &self.link);
        let judged = self.first.judge(&self.shared, &self.regions, at, by);
        if let Err(error) = judged.await {
            return Response::Error(error);
        }
        let sent = Sent::on(&self.link, self.home, self.by, &self.request, self.regions);
        sent.answer().await
    }
}

impl Sent {
    /// Sends a request to its home.
    fn on(
        link: &Link,
        home: RegionName,
        by: Asker,
        request: &Request,
        regions: Arc<Regions>,
    ) -> Self {
        let org = by.org.clone();
        let forward = regions.forwarding(by, request);
        Self {
            home,
            call: link.send(&Request::LinkForward(Box::new(forward))),
            kind: request.kind(),
            version: request.version(),
            channels: channels(request).into_iter().cloned().collect(),
            matter: matter_of(request).map(|asked| asked.matter),
            made: made(request, &org),
            org,
            regions,
        }
    }

    /// Forgets where the channels live.
    fn forget_homes(&self) {
        for channel in &self.channels {
            self.regions.forget_home(channel);
        }
    }

    async fn answer(mut self) -> Response {
        match self.call.answer().await {
            Ok(Response::LinkForward(answer)) => {
                // Its name is anybody's now.
                if self.kind == Kind::ChannelDelete {
                    self.forget_homes();
                }
                // Only now: an id that was refused is another's, and who has sent it acts in nothing.
                if let Some((matter, actor)) = self.made {
                    let home = self.home.clone();
                    let agent = Some(actor);
                    let filer = None;
                    let known = KnownMatter { home, agent, filer };
                    self.regions.matters.remember(&self.org, matter, known);
                }
                let response = answer.response(self.kind, self.version);
                response.unwrap_or_else(|error| {
                    let text = format!("region `{}` has answered: {error}", self.home);
                    Response::Error(WireError::new(ErrorCode::Internal, text))
                })
            }
            Err(RequestError::Server(error)) => {
                let is_gone = [
                    ErrorCode::ChannelNotFound,
                    ErrorCode::ChannelRecreated,
                    ErrorCode::NotHome,
                ];
                if error.known().is_some_and(|code| is_gone.contains(&code)) {
                    self.forget_homes();
                }
                let is_absent = [
                    ErrorCode::CommitmentNotFound,
                    ErrorCode::DisputeNotFound,
                    ErrorCode::CallNotFound,
                ];
                if let Some(matter) = self.matter
                    && error.known().is_some_and(|code| is_absent.contains(&code))
                {
                    self.regions.matters.forget(&self.org, matter);
                }
                Response::Error(*error)
            }
            // Nobody knows whether it was carried out; a retry with the same sequence finds out.
            Ok(_) | Err(_) => Response::Error(unreachable(&self.home)),
        }
    }
}
