//! Whether a request may be carried out, and which channels it names: every request passes here,
//! between the wire and the broker.
//!
//! A client calls channels by the names of its organisation; the broker keeps those of all. What
//! belongs to another organisation is answered like what does not exist, before anybody looks
//! whether it does.

mod showing;

pub(super) use self::showing::{seen_channels, seen_consumers, show};
use super::access::{Caller, denied};
use super::asp::places;
use super::auditing::Draft;
use super::shared::Shared;
use super::{answer, clock};
use crate::access::{Access, Ask, Denied, Operation};
use crate::broker::asp::EVIDENCE_TOPIC;
use crate::broker::{Broker, BrokerError, lived_before};
use crate::protocol::asp::EvidencePlace;
use crate::protocol::region::ConsentSet;
use crate::protocol::{
    AspRequest, AtomicPart, ErrorCode, PublishTarget, RegionRequest, Request, WireError,
};
use crate::region::directory::{Scope, Side};
use crate::types::{ChannelName, ConsumerName, DEFAULT_ORG_NAME, OrgId, OrgName, Timestamp};

/// What anybody who has something to do with a channel may see of it.
const ANY_SIGHT: &[Operation] = &[
    Operation::Consume,
    Operation::Publish,
    Operation::ChannelAdmin,
    Operation::Inspect,
];

/// What it takes to see where consumers stand.
const CONSUMER_SIGHT: &[Operation] = &[Operation::Consume, Operation::Inspect];

/// Lets a request in, with its channels as the broker names them.
///
/// # Errors
/// What to answer instead, and what to record of it. Nothing was done then.
pub(super) fn admit(
    shared: &Shared,
    caller: &Caller,
    mut request: Request,
) -> Result<Request, Box<(Draft, WireError)>> {
    if is_plain(caller, &request) {
        return Ok(request);
    }
    let broker = shared.broker();
    let door = Door::new(&broker, caller);
    let admitted = door.admit(&mut request);
    drop(broker);
    match admitted {
        Ok(()) => Ok(request),
        Err(error) => Err(Box::new((Draft::of(&request), error))),
    }
}
/// Lets a request in that another region has let in before, whose channels and consumers have the
/// broker's names already.
///
/// # Errors
/// What to answer instead. Nothing was done then.
pub(super) fn admit_kept(
    broker: &Broker,
    caller: &Caller,
    request: &mut Request,
) -> Result<(), WireError> {
    let door = Door {
        has_kept_names: true,
        ..Door::new(broker, caller)
    };
    door.admit(request)
}

/// The requests of whoever needs no key, for their own channels: nothing can refuse them.
fn is_plain(caller: &Caller, request: &Request) -> bool {
    let is_local = |name: &ChannelName| name.org().is_none();
    caller.principal.key.is_none()
        && match request {
            Request::Ping => true,
            Request::Publish(publish) => is_local(&publish.target.channel),
            Request::Fetch(fetch) => is_local(&fetch.channel),
            Request::Commit(commit) => is_local(&commit.channel),
            _ => false,
        }
}

/// Judges what one caller asks for.
struct Door<'a> {
    broker: &'a Broker,
    caller: &'a Caller,
    now: Timestamp,
    /// Names of channels are the broker's already.
    has_kept_names: bool,
}

impl<'a> Door<'a> {
    fn new(broker: &'a Broker, caller: &'a Caller) -> Self {
        let now = clock::now();
        Self {
            broker,
            caller,
            now,
            has_kept_names: false,
        }
    }

    fn access(&self) -> &'a Access {
        self.broker.access()
    }

    fn admit(&self, request: &mut Request) -> Result<(), WireError> {
        match request {
            Request::Hello(_) | Request::Ping => {}
            Request::Publish(publish) => self.target(&mut publish.target)?,
            Request::PublishAtomic(atomic) => {
                for (at, part) in atomic.parts.iter_mut().enumerate() {
                    let admitted = match part {
                        AtomicPart::Publish(publish) => self.target(&mut publish.target),
                        AtomicPart::Commit(commit) => self
                            .channel(&mut commit.channel, &[Operation::Consume])
                            .and_then(|()| self.consumer(&commit.channel, &mut commit.consumer)),
                    };
                    admitted.map_err(|error| error.with("part", at as u64))?;
                }
            }
            Request::Fetch(fetch) => self.channel(&mut fetch.channel, &[Operation::Consume])?,
            Request::FetchBeyond(beyond) => {
                self.channel(&mut beyond.fetch.channel, &[Operation::Consume])?;
            }
            Request::Commit(commit) => {
                self.channel(&mut commit.channel, &[Operation::Consume])?;
                self.consumer(&commit.channel, &mut commit.consumer)?;
            }
            Request::ChannelCreate(create) => {
                self.channel(&mut create.name, &[Operation::ChannelAdmin])?;
            }
            Request::ChannelUpdate(update) => {
                self.channel(&mut update.name, &[Operation::ChannelAdmin])?;
            }
            Request::ChannelDelete(delete) => {
                self.channel(&mut delete.name, &[Operation::ChannelAdmin])?;
            }
            Request::ChannelRotateKey(named) => {
                self.channel(&mut named.name, &[Operation::ChannelAdmin])?;
            }
            Request::ChannelInfo(info) => self.channel(&mut info.name, ANY_SIGHT)?,
            Request::ChannelResolve(resolve) => self.channel(&mut resolve.channel, ANY_SIGHT)?,
            Request::ConsumerList(list) => self.channel(&mut list.channel, CONSUMER_SIGHT)?,
            Request::ConsumerPosition(target) => {
                self.channel(&mut target.channel, CONSUMER_SIGHT)?;
                self.consumer(&target.channel, &mut target.consumer)?;
            }
            Request::ConsumerReset(reset) => {
                self.channel(&mut reset.channel, &[Operation::Consume])?;
                self.consumer(&reset.channel, &mut reset.consumer)?;
            }
            Request::ConsumerDelete(target) => {
                self.channel(&mut target.channel, &[Operation::Consume])?;
                self.consumer(&target.channel, &mut target.consumer)?;
            }
            Request::ConsumerLag(lag) => match &mut lag.channel {
                Some(channel) => self.channel(channel, CONSUMER_SIGHT)?,
                // The rows are those that the caller sees.
                None => self.alive()?,
            },
            // The rows are those that the caller sees.
            Request::ChannelList(list) => {
                self.alive()?;
                list.prefix = Some(self.prefix(list.prefix.as_deref().unwrap_or("")));
                list.cursor = list.cursor.take().map(|cursor| self.prefix(&cursor));
            }
            Request::BrokerInfo(_) | Request::BrokerScrub(_) => self.broker(Operation::Inspect)?,
            // Judged with the change itself, by the state that it changes.
            Request::Access(_) => self.alive()?,
            Request::Region(request) => self.region(request)?,
            // Whoever asks in another region is judged with what they ask for.
            Request::LinkFetch(_) | Request::LinkForward(_) => {
                self.broker(Operation::Replicate)?;
            }
            Request::Asp(request) if is_for_operators(request) => {
                self.broker(Operation::AccessAdmin)?;
            }
            // Whom it speaks for is judged once it is known which agent that is:
            // `Broker::own_agent`.
            Request::Asp(request) => {
                self.own(Operation::Asp)?;
                for place in places::asked(request) {
                    self.place(place)?;
                }
            }
        }
        Ok(())
    }

    /// Links are for who copies logs, the rest for who runs the broker; interest is asked for by who
    /// makes channels, for those of their own organisation.
    fn region(&self, request: &mut RegionRequest) -> Result<(), WireError> {
        let pattern = match request {
            RegionRequest::InterestAdd(add) => Some(&add.pattern),
            RegionRequest::InterestRemove(remove) => Some(&remove.pattern),
            _ => None,
        };
        if let Some(pattern) = pattern {
            let kept = pattern.clone().within(self.caller.org.as_ref());
            if !self.caller.owns(kept.org().map(OrgName::as_str)) {
                let text = format!("pattern `{pattern}` means another organisation's channels");
                return Err(WireError::new(ErrorCode::Forbidden, text));
            }
            return self.own(Operation::ChannelAdmin);
        }
        match request {
            RegionRequest::InterestList(_) | RegionRequest::ConsentList(_) => {
                self.own(Operation::ChannelAdmin)
            }
            RegionRequest::ConsentSet(word) => self.consent(word),
            RegionRequest::RegionPeer(_)
            | RegionRequest::DirectoryMove(_)
            | RegionRequest::DirectoryUnname(_)
            | RegionRequest::RegionLeave(_) => self.broker(Operation::AccessAdmin),
            RegionRequest::RegionVerify(verify) => {
                self.broker(Operation::Inspect)?;
                self.channel(&mut verify.name, ANY_SIGHT)
            }
            RegionRequest::RegionLogs(logs) => {
                let needed = if logs.read {
                    &[Operation::Consume][..]
                } else {
                    ANY_SIGHT
                };
                self.channel(&mut logs.channel, needed)
            }
            RegionRequest::RegionPurge(purge) => {
                self.channel(&mut purge.name, &[Operation::ChannelAdmin])
            }
            RegionRequest::RegionMove(moved) => {
                self.channel(&mut moved.name, &[Operation::ChannelAdmin])
            }
            RegionRequest::RegionRetry(retry) => {
                self.channel(&mut retry.name, &[Operation::ChannelAdmin])
            }
            RegionRequest::RegionAcknowledge(asked) => {
                self.channel(&mut asked.name, &[Operation::ChannelAdmin])
            }
            // What lies there may be of any organisation.
            RegionRequest::RegionAside(_) => self.broker(Operation::AccessAdmin),
            request if request.is_of_link() => self.broker(Operation::Replicate),
            _ => self.broker(Operation::Inspect),
        }
    }

    /// Who may hold a channel is said by who may change it, the rest by who administers the
    /// organisation that says it.
    fn consent(&self, word: &mut ConsentSet) -> Result<(), WireError> {
        let org = match word {
            ConsentSet::Residency {
                scope: Scope::Channel(name),
                ..
            } => return self.channel(name, &[Operation::ChannelAdmin]),
            ConsentSet::Residency {
                scope: Scope::Org(name),
                ..
            } => name,
            ConsentSet::Crossing {
                owner,
                side: Side::Owner,
                ..
            } => owner,
            ConsentSet::Crossing { guest, .. } => guest,
        };
        let own = self.caller.row().org;
        if self.caller.org.is_some() && *org != own {
            let text = format!("organisation `{org}` says that for itself");
            return Err(WireError::new(ErrorCode::Forbidden, text));
        }
        self.own(Operation::AccessAdmin)
    }

    /// Whether the caller's key still opens anything.
    fn alive(&self) -> Result<(), WireError> {
        let alive = self.access().check_alive(&self.caller.principal, self.now);
        alive.map_err(|ended| denied(&Denied::from(ended)))
    }

    fn broker(&self, operation: Operation) -> Result<(), WireError> {
        self.ask(&Ask::Broker { operation })
            .map_err(|error| denied(&error))
    }

    /// Something in the caller's own organisation.
    fn own(&self, operation: Operation) -> Result<(), WireError> {
        self.own_asks(operation).map_err(|error| denied(&error))
    }

    fn own_asks(&self, operation: Operation) -> Result<(), Denied> {
        let org = self.caller.principal.org;
        self.ask(&Ask::Org { operation, org })
    }

    fn ask(&self, ask: &Ask<'_>) -> Result<(), Denied> {
        self.access()
            .authorize(&self.caller.principal, ask, self.now)
    }

    /// Lets a channel through for one of these operations, and gives it the broker's name.
    fn channel(&self, name: &mut ChannelName, any_of: &[Operation]) -> Result<(), WireError> {
        let within = match self.has_kept_names || is_evidence(name) {
            true => name.within(None),
            false => name.within(self.caller.org.as_ref()),
        };
        match self.judge(&within, any_of) {
            Ok(()) => *name = within,
            Err(Denied::Hidden) => return Err(absent(name)),
            Err(error) => return Err(denied(&error)),
        }
        Ok(())
    }

    /// Lets somebody point to records of a channel, which takes that they can read them.
    fn place(&self, place: &mut EvidencePlace) -> Result<(), WireError> {
        let EvidencePlace::Channel(place) = place else {
            return Ok(());
        };
        let admitted = self.channel(&mut place.channel, &[Operation::Consume]);
        admitted.map_err(|error| {
            let (start, end) = (place.start, place.end);
            let at = format!("channel `{}`, offsets {start}..{end}", place.channel);
            let text = format!("evidence that points to {at}: {}", error.message);
            WireError::new(ErrorCode::InvalidEvidence, text).with("place", at)
        })
    }

    /// Lets a publish through. A guest makes no channels: the one that is there is meant.
    fn target(&self, target: &mut PublishTarget) -> Result<(), WireError> {
        let named = target.channel.clone();
        self.channel(&mut target.channel, &[Operation::Publish])?;
        if !self.caller.owns(target.channel.org()) && target.incarnation.is_none() {
            let known = self.broker.identity_to_write(&target.channel);
            // One that lives in another region is written to there.
            let elsewhere = || {
                let named = self.broker.region_directory();
                let named = named.channel(target.channel.as_str());
                let named = named.filter(|named| named.regions.is_one())?;
                named.logs.values().next().copied()
            };
            let known = known.or_else(elsewhere);
            target.incarnation = Some(known.ok_or_else(|| absent(&named))?);
        }
        Ok(())
    }

    /// Whether a channel, under the broker's name, may be used for one of these operations.
    fn judge(&self, name: &ChannelName, any_of: &[Operation]) -> Result<(), Denied> {
        // A former life of a channel is whose the channel is.
        if let Some(channel) = lived_before(name) {
            return self.judge(&channel, any_of);
        }
        if name.org().is_none() && is_brokers_own(name) {
            let operation = Operation::Inspect;
            if self.caller.principal.org != OrgId::DEFAULT {
                return Err(Denied::Hidden);
            }
            return self.ask(&Ask::Broker { operation });
        }
        // It names parties and outcomes and says nothing of what was said: who deals with agents
        // can compute their scores again.
        if is_evidence(name)
            && any_of.contains(&Operation::Consume)
            && self.own_asks(Operation::Asp).is_ok()
        {
            return Ok(());
        }
        // A grant of channels shows none of what the broker keeps for their organisation.
        if name.is_internal() && !self.caller.owns(name.org()) {
            return Err(Denied::Hidden);
        }
        let org = match name.org() {
            None => OrgId::DEFAULT,
            Some(org) => {
                let known = self.access().org_by_name(org);
                known.ok_or(Denied::Hidden)?.org
            }
        };
        let mut refused = Denied::Hidden;
        for (at, operation) in any_of.iter().enumerate() {
            let ask = Ask::Channel {
                operation: *operation,
                org,
                name: name.channel_local(),
            };
            match self.ask(&ask) {
                Ok(()) => return Ok(()),
                Err(error) if at == 0 => refused = error,
                // A grant of another operation that the key's scopes do not reach.
                Err(error @ Denied::Scope { .. }) => refused = error,
                Err(_) => {}
            }
        }
        Err(refused)
    }

    /// Lets a consumer of a channel through, whose name is the broker's by now. A guest's consumers
    /// stand apart from the owner's.
    fn consumer(&self, channel: &ChannelName, name: &mut ConsumerName) -> Result<(), WireError> {
        if self.caller.owns(channel.org()) {
            return Ok(());
        }
        let org = self.caller.row().org;
        if name.guest().is_some_and(|guest| guest != org.as_str()) {
            let text = format!("consumer `{name}` of this channel is another organisation's");
            return Err(WireError::new(ErrorCode::Forbidden, text).with("consumer", name.as_str()));
        }
        *name = name.of_guest(&org);
        Ok(())
    }

    /// Whether the caller sees a consumer: of a channel of their own all, of another's their own.
    fn sees(&self, channel: &ChannelName, consumer: &ConsumerName) -> bool {
        let is_theirs = self.caller.owns(channel.org())
            || consumer.guest() == Some(self.caller.row().org.as_str());
        is_theirs && self.judge(channel, CONSUMER_SIGHT).is_ok()
    }

    /// A prefix of names, or a cursor, as the broker has it.
    fn prefix(&self, prefix: &str) -> String {
        let (org, local) = match prefix.split_once('/') {
            Some((org, local)) => (Some(org), local),
            None => (self.caller.org.as_ref().map(OrgName::as_str), prefix),
        };
        match org.filter(|org| *org != DEFAULT_ORG_NAME) {
            Some(org) => format!("{org}/{local}"),
            None => local.to_owned(),
        }
    }
}

/// What only an operator does: to say who an organisation is, to book money that came or went, to
/// rule on a dispute that arbitrators do not decide, and to review listings.
fn is_for_operators(request: &AspRequest) -> bool {
    match request {
        AspRequest::OrgVerify(_)
        | AspRequest::EscrowDeposit(_)
        | AspRequest::EscrowWithdraw(_)
        | AspRequest::MarketReview(_) => true,
        AspRequest::DisputeRule(rule) => rule.agent_id.is_none(),
        _ => false,
    }
}

/// Whether a name means the one topic of evidence, which is the default organisation's and which all
/// share: no other organisation has one of its own.
fn is_evidence(name: &ChannelName) -> bool {
    name.local() == EVIDENCE_TOPIC && name.org().is_none_or(|org| org == DEFAULT_ORG_NAME)
}

/// The internal topics that belong to no organisation.
fn is_brokers_own(name: &ChannelName) -> bool {
    name.is_internal() && !name.local().starts_with("__asp.")
}

/// What is told of a channel that is not there, or that is none of the caller's business.
fn absent(name: &ChannelName) -> WireError {
    answer::refused(&BrokerError::NoSuchChannel {
        name: name.to_string(),
    })
}

/// Whether what a fetch that waited has found may still go to the caller: a grant or a key may have
/// ended since it was let in.
///
/// - `channel`: under the broker's name.
///
/// # Errors
/// What to answer instead.
pub(super) fn check_fetched(
    shared: &Shared,
    caller: &Caller,
    channel: &ChannelName,
) -> Result<(), WireError> {
    // Whoever shows no key needs neither for their own.
    if caller.principal.key.is_none() && channel.org().is_none() {
        return Ok(());
    }
    let broker = shared.broker();
    let judged = Door::new(&broker, caller).judge(channel, &[Operation::Consume]);
    judged.map_err(|refused| match refused {
        Denied::Hidden => absent(channel),
        error => denied(&error),
    })
}

/// Refuses a guest's batch that would raise the fence of a channel: the owner could write to it no
/// more. A fence only rises, so what is let in here raises none later either.
///
/// - `channel`: under the broker's name.
///
/// # Errors
/// `FORBIDDEN`, with both tokens.
pub(super) fn check_guests_fence(
    broker: &Broker,
    channel: &ChannelName,
    token: u64,
) -> Result<(), WireError> {
    let highest = broker.fence_of(channel);
    if token <= highest {
        return Ok(());
    }
    let text = format!(
        "only the organisation of channel `{channel}` raises its fence: {token} is above {highest}"
    );
    Err(WireError::new(ErrorCode::Forbidden, text)
        .with("token", token)
        .with("highest", highest))
}

/// Whether the caller's key still opens anything: what waited for buffers or threads is not carried
/// out for one that has ended.
///
/// # Errors
/// What to answer instead.
pub(super) fn check_alive(broker: &Broker, caller: &Caller) -> Result<(), WireError> {
    Door::new(broker, caller).alive()
}
