//! One request to the broker, one answer back: what a connection does with a frame.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::access::{self, Caller};
use super::admission;
use super::answer;
use super::asp;
use super::auditing::Draft;
use super::clock;
use super::region;
use super::shared::Shared;
use crate::broker::{
    Accepted, Asked, Broker, BrokerError, CheckedBatch, CommitRequest, ConsumerInfo, CreateOutcome,
    Fetch, Part, Refusal, Target, Wait,
};
use crate::format::{BatchHeader, Compression, DoorLimits, check_produced};
use crate::protocol::control::{self, ChannelList, Health, HelloRequest, HelloResponse};
use crate::protocol::{
    AspRequest, AtomicPart, CommitResponse, ErrorCode, Kind, PublishAsks, PublishAtomicRequest,
    PublishAtomicResponse, PublishRequest, PublishTarget, Request, Response, WireError,
};
use crate::storage::BatchAt;
use crate::tls::PeerCertificate;
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset, Timestamp};

/// What became of a request.
#[derive(Debug)]
pub(super) enum Handled {
    /// The answer, to be sent once its wait is over.
    Answer(Box<Response>, Option<Wait>),
    /// The broker's buffers are full: the same command is to be tried after a round.
    Busy(Command),
    /// The answer, to be sent once its wait is over and enough regions hold what it tells of.
    Held(Box<Response>, Wait, Box<region::HeldWait>),
    /// A fetch, or another request that may read from the disk.
    Read(Request),
    /// The same, for whom another region has let in; that region is told.
    ReadFor(Arc<Caller>, Request),
    /// A request about what lives in another region.
    Forward(Box<region::Forward>),
    /// It names a channel that is not here, for which other regions are to be asked first.
    Seek(Box<Request>),
    /// The same for whom another region has let in; that region is told.
    SeekFor(Arc<Caller>, Box<Request>),
}

/// A write that was checked at the door and may have to wait for buffers.
#[derive(Debug)]
pub(super) enum Command {
    Publish(Box<Target>, Option<CheckedBatch>, Option<PublishAsks>),
    Atomic(Box<Atomic>),
    Send(Box<asp::Prepared>),
    Other(Box<Request>),
    /// For whom another region has let in; that region is told.
    Forwarded(Arc<Caller>, Box<Command>),
}

/// An atomic publish: what the broker takes, and where each part stood in the request.
#[derive(Debug, Default)]
pub(super) struct Atomic {
    batches: Vec<(Target, CheckedBatch)>,
    commits: Vec<CommitRequest>,
    batch_at: Vec<usize>,
    commit_at: Vec<usize>,
    asks: Option<PublishAsks>,
}

impl Atomic {
    /// The place of a part in the request.
    fn place(&self, part: Part) -> Option<usize> {
        match part {
            Part::Batch(at) => self.batch_at.get(usize::from(at)).copied(),
            Part::Commit(at) => self.commit_at.get(usize::from(at)).copied(),
        }
    }
}

/// Takes a request as far as it goes without I/O, if it may be carried out.
pub(super) fn handle(shared: &Shared, caller: &Caller, request: Request) -> Handled {
    match admit(shared, caller, request) {
        Ok(request) => handle_admitted(shared, caller, request),
        Err(refused) => *refused,
    }
}

/// Lets a request in, with its channels as the broker names them; a refusal is on the record where
/// it is worth it.
pub(super) fn admit(
    shared: &Shared,
    caller: &Caller,
    request: Request,
) -> Result<Request, Box<Handled>> {
    admission::admit(shared, caller, request).map_err(|refused| {
        let (draft, error) = *refused;
        draft.refused(&mut shared.broker(), caller, &error);
        shared.wake_committer();
        Box::new(error_now(error))
    })
}

/// Takes a request that was let in as far as it goes without I/O.
pub(super) fn handle_admitted(shared: &Shared, caller: &Caller, mut request: Request) -> Handled {
    region::name_logs(shared, &mut request);
    if region::seeks(shared, caller, &request) {
        return Handled::Seek(Box::new(request));
    }
    take(shared, caller, request)
}

/// The same, where other regions were asked for its channel.
pub(super) fn handle_sought(shared: &Shared, caller: &Caller, mut request: Request) -> Handled {
    region::name_logs(shared, &mut request);
    take(shared, caller, request)
}

/// Takes a request whose channel is here, or in a region that is known, or nowhere.
fn take(shared: &Shared, caller: &Caller, request: Request) -> Handled {
    match region::route(shared, caller, request) {
        Ok(region::Route::Here(request)) => handle_here(shared, caller, request),
        Ok(region::Route::There(forward)) => Handled::Forward(forward),
        Err(error) => error_now(*error),
    }
}

/// Takes a request about what lives here, or has no home.
pub(super) fn handle_here(shared: &Shared, caller: &Caller, request: Request) -> Handled {
    match request {
        Request::LinkForward(forward) => region::carry_out_for(shared, caller, *forward),
        Request::Publish(publish) => {
            let asks = publish.asks;
            let command = |(target, batch)| Command::Publish(Box::new(target), Some(batch), asks);
            if is_checked_at_once(&publish.batch) {
                let mut broker = shared.broker();
                let limits = broker.door(&publish.target.channel);
                let checked = check_published(&limits, caller, publish, || &*broker);
                return match checked.map(command) {
                    Ok(command) => carry_out(&mut broker, shared, caller, command),
                    Err(error) => error_now(error),
                };
            }
            match check_publish(shared, caller, publish).map(command) {
                Ok(command) => carry_out(&mut shared.broker(), shared, caller, command),
                Err(error) => error_now(error),
            }
        }
        Request::PublishAtomic(publish) => match check_atomic(shared, caller, publish) {
            Ok(atomic) => carry_out(
                &mut shared.broker(),
                shared,
                caller,
                Command::Atomic(Box::new(atomic)),
            ),
            Err(error) => error_now(error),
        },
        Request::Ping => now(Response::Pong),
        Request::Hello(_) => {
            let text = "the connection has said hello already";
            error_now(WireError::new(ErrorCode::InvalidRequest, text))
        }
        Request::Fetch(_)
        | Request::FetchBeyond(_)
        | Request::ChannelInfo(_)
        | Request::ChannelList(_)
        | Request::ChannelResolve(_)
        | Request::ChannelCreate(_)
        | Request::ChannelUpdate(_)
        | Request::ChannelRotateKey(_)
        | Request::ConsumerList(_)
        | Request::ConsumerPosition(_)
        | Request::ConsumerReset(_)
        | Request::ConsumerLag(_)
        | Request::Region(_)
        | Request::LinkFetch(_)
        | Request::Access(_) => Handled::Read(request),
        Request::Asp(request) => match *request {
            AspRequest::SessionSend(send) => asp::prepare(shared, caller, send),
            request => Handled::Read(Request::Asp(Box::new(request))),
        },
        other => carry_out(
            &mut shared.broker(),
            shared,
            caller,
            Command::Other(Box::new(other)),
        ),
    }
}

fn now(response: Response) -> Handled {
    Handled::Answer(Box::new(response), None)
}

fn error_now(error: WireError) -> Handled {
    now(Response::Error(error))
}

/// Carries out a command that needs no I/O; a busy broker gives it back.
pub(super) fn carry_out(
    broker: &mut Broker,
    shared: &Shared,
    caller: &Caller,
    command: Command,
) -> Handled {
    let at = clock::now();
    match command {
        Command::Publish(target, mut batch, asks) => {
            let bytes = batch.as_ref().map_or(0, |batch| batch.bytes.len() as u64);
            let makes = broker.identity_of(&target.channel).is_none();
            let act = makes.then(|| Draft::of_making(Kind::Publish, &[&target.channel]));
            let published = acting(broker, caller, act, |broker| {
                broker.publish(&target, &mut batch, at)
            });
            match published {
                Ok(accepted) => {
                    if accepted.value.is_duplicate {
                        shared.metrics.duplicates.increment(1);
                    } else {
                        shared.metrics.published_batches.increment(1);
                        shared.metrics.published_bytes.increment(bytes);
                    }
                    let published = answer::published(&accepted.value);
                    let response = match asks {
                        None => Response::Publish(published),
                        Some(_) => Response::PublishAt(
                            published,
                            region::whereabouts(shared, &[accepted.value]),
                        ),
                    };
                    let wanted = region::held_wait(shared, broker, &[accepted.value], asks);
                    answer_once_held(response, accepted.wait, wanted)
                }
                Err(refusal) if refusal.is_busy() => {
                    Handled::Busy(Command::Publish(target, batch, asks))
                }
                Err(refusal) => refused(&refusal),
            }
        }
        Command::Atomic(mut atomic) => {
            let made = atomic.batches.iter().map(|(target, _)| &target.channel);
            let made = made.filter(|channel| broker.identity_of(channel).is_none());
            let mut made: Vec<&ChannelName> = made.collect();
            made.sort_unstable();
            made.dedup();
            let act = (!made.is_empty()).then(|| Draft::of_making(Kind::PublishAtomic, &made));
            let published = acting(broker, caller, act, |broker| {
                broker.publish_atomic(&mut atomic.batches, &atomic.commits, at)
            });
            match published {
                Ok(Accepted { value, wait }) => {
                    let published = value.published.iter().map(answer::published).collect();
                    let response = PublishAtomicResponse {
                        published,
                        committed: value.committed,
                    };
                    let response = match atomic.asks {
                        None => Response::PublishAtomic(response),
                        Some(_) => Response::PublishAtomicAt(
                            response,
                            region::whereabouts(shared, &value.published),
                        ),
                    };
                    let asks = atomic.asks;
                    let wanted = region::held_wait(shared, broker, &value.published, asks);
                    answer_once_held(response, wait, wanted)
                }
                Err(refusal) if refusal.is_busy() => Handled::Busy(Command::Atomic(atomic)),
                Err(refusal) => {
                    let mut error = answer::refused(&refusal.error);
                    if let Some(at) = refusal.part.and_then(|part| atomic.place(part)) {
                        error = error.with("part", at as u64);
                    }
                    Handled::Answer(Box::new(Response::Error(error)), refusal.wait)
                }
            }
        }
        Command::Forwarded(caller, command) => {
            let handled = carry_out(broker, shared, &caller, *command);
            region::for_another(shared, &caller, handled)
        }
        Command::Send(send) => match send.take(broker, caller) {
            Ok(Accepted { value, wait }) => accepted_answer(Response::Asp(Box::new(value)), wait),
            Err(refusal) if refusal.is_busy() => Handled::Busy(Command::Send(send)),
            Err(refusal) => refused(&refusal),
        },
        Command::Other(request) => match other(broker, shared, caller, &request, at) {
            Ok((response, wait)) => Handled::Answer(Box::new(response), wait),
            Err(refusal) if refusal.is_busy() => Handled::Busy(Command::Other(request)),
            Err(refusal) => {
                let error = answer::refused(&refusal.error);
                Draft::of(&request).refused(broker, caller, &error);
                Handled::Answer(Box::new(Response::Error(error)), refusal.wait)
            }
        },
    }
}

/// Carries out a command, as an act of the caller's where it is one.
fn acting<T>(
    broker: &mut Broker,
    caller: &Caller,
    act: Option<Draft>,
    command: impl FnOnce(&mut Broker) -> T,
) -> T {
    match act {
        Some(act) => broker.acting(act.done_by(caller), command),
        None => command(broker),
    }
}

/// An answer that may have to wait for other regions too.
fn answer_once_held(
    response: Response,
    wait: Wait,
    wanted: Option<Box<region::HeldWait>>,
) -> Handled {
    match wanted {
        None => accepted_answer(response, wait),
        Some(wanted) => Handled::Held(Box::new(response), wait, wanted),
    }
}

fn accepted_answer(response: Response, wait: Wait) -> Handled {
    Handled::Answer(Box::new(response), Some(wait))
}

fn refused(refusal: &Refusal) -> Handled {
    let response = Response::Error(answer::refused(&refusal.error));
    Handled::Answer(Box::new(response), refusal.wait)
}

pub(super) type Answered = Result<(Response, Option<Wait>), Refusal>;

fn other(
    broker: &mut Broker,
    shared: &Shared,
    caller: &Caller,
    request: &Request,
    at: Timestamp,
) -> Answered {
    let act = || Draft::of(request).done_by(caller);
    match request {
        Request::Commit(commit) => {
            let accepted = broker.commit(
                &CommitRequest {
                    channel: commit.channel.clone(),
                    incarnation: commit.incarnation,
                    consumer: commit.consumer.clone(),
                    offset: commit.offset,
                    log_epoch: commit.log_epoch,
                    expected: answer::expected(commit.expected_previous),
                    metadata: commit.metadata.clone(),
                },
                at,
            )?;
            let response = CommitResponse {
                offset: accepted.value,
            };
            Ok((Response::Commit(response), Some(accepted.wait)))
        }
        Request::ChannelDelete(delete) => {
            let accepted = broker.acting(act(), |broker| {
                broker.delete_channel(&delete.name, delete.incarnation, at)
            })?;
            let name = delete.name.clone();
            let response = control::ChannelDeleted {
                name,
                incarnation: accepted.value,
            };
            Ok((Response::ChannelDelete(response), Some(accepted.wait)))
        }
        Request::ConsumerDelete(target) => {
            let (channel, consumer) = (&target.channel, target.consumer.clone());
            let accepted = broker.delete_consumer(channel, consumer, at)?;
            let channel = target.channel.clone();
            let response = control::ConsumerDeleted {
                channel,
                consumer: target.consumer.clone(),
            };
            Ok((Response::ConsumerDelete(response), Some(accepted.wait)))
        }
        Request::BrokerInfo(_) => Ok((Response::BrokerInfo(broker_info(shared, broker)), None)),
        Request::BrokerScrub(_) => {
            let response = Response::BrokerScrub(answer::scrub(broker, &shared.options.data_dir));
            // What was answered is on the record.
            let wait = broker.audit(act(), at);
            broker.want_scrub();
            shared.wake_scrubber();
            Ok((response, wait))
        }
        _ => Err(BrokerError::Bug("a request without a handler".into()).into()),
    }
}

/// Carries out a control request that may have to wait for the disk. It was admitted before.
///
/// # Errors
/// The refusal, which is on the record where it is worth one.
pub(super) fn read(shared: &Shared, caller: &Caller, request: &Request) -> Answered {
    // It may have waited for a thread.
    let alive = shared
        .broker()
        .access()
        .check_alive(&caller.principal, clock::now());
    let answered = match alive {
        Ok(()) => look(shared, caller, request),
        Err(ended) => Err(BrokerError::Access(ended.into()).into()),
    };
    if let Err(refusal) = &answered {
        let error = answer::refused(&refusal.error);
        Draft::of(request).refused(&mut shared.broker(), caller, &error);
    }
    answered
}

fn look(shared: &Shared, caller: &Caller, request: &Request) -> Answered {
    let at = clock::now();
    let act = || Draft::of(request).done_by(caller);
    match request {
        Request::Asp(request) => asp::carry_out(shared, caller, request),
        Request::Region(request) => region::carry_out(shared, caller, request),
        Request::ChannelCreate(create) => {
            let change = answer::config_change(create.config.clone());
            let mut broker = shared.broker();
            let asks = create.home.is_some() || create.residency.is_some();
            if asks && broker.region().is_none() {
                return Err(BrokerError::NotARegion.into());
            }
            let asked = Asked {
                residency: create.residency.clone(),
                ..Asked::default()
            };
            let accepted = broker.acting(act(), |broker| {
                broker.asking(asked, |broker| {
                    broker.create_channel(create.name.clone(), &change, create.if_not_exists, at)
                })
            })?;
            let written = broker.own_log(&create.name);
            let info = broker.channel_info(written.as_ref().unwrap_or(&create.name))?;
            let response = control::ChannelCreated {
                created: accepted.value == CreateOutcome::Created,
                channel: answer::channel_info(info.value),
            };
            Ok((Response::ChannelCreate(response), Some(accepted.wait)))
        }
        Request::ChannelUpdate(update) => {
            let change = answer::config_change(update.config.clone());
            let accepted = shared.broker().acting(act(), |broker| {
                broker.update_channel(&update.name, &change, at)
            })?;
            let (info, _) = channel_info(shared, &update.name)?;
            Ok((Response::ChannelUpdate(info), Some(accepted.wait)))
        }
        Request::ChannelRotateKey(named) => {
            let accepted = shared
                .broker()
                .acting(act(), |broker| broker.rotate_data_key(&named.name, at))?;
            let (info, _) = channel_info(shared, &named.name)?;
            Ok((Response::ChannelRotateKey(info), Some(accepted.wait)))
        }
        Request::ChannelInfo(named) => {
            let (info, wait) = channel_info(shared, &named.name)?;
            Ok((Response::ChannelInfo(info), Some(wait)))
        }
        Request::ChannelList(list) => {
            let (page, wait) = channel_list(shared, caller, list)?;
            Ok((Response::ChannelList(page), Some(wait)))
        }
        Request::ChannelResolve(resolve) => {
            let place = answer::place(resolve.at);
            let fetch = Fetch::new(resolve.channel.clone(), None, place, LogEpoch(0), 0);
            Ok((Response::ChannelResolve(resolved(shared, fetch)?), None))
        }
        Request::ConsumerReset(reset) => {
            let place = answer::place(reset.to);
            let fetch = Fetch::new(reset.channel.clone(), None, place, LogEpoch(0), 0);
            let to = resolved(shared, fetch)?.offset;
            let consumer = reset.consumer.clone();
            let accepted = shared.broker().reset(&reset.channel, consumer, to, at)?;
            let row = lag_row(shared, accepted.value)?;
            Ok((Response::ConsumerReset(row), Some(accepted.wait)))
        }
        Request::ConsumerPosition(target) => {
            let accepted = shared
                .broker()
                .position(&target.channel, &target.consumer)?;
            let row = lag_row(shared, accepted.value)?;
            Ok((Response::ConsumerPosition(row), Some(accepted.wait)))
        }
        Request::ConsumerList(one) => {
            let (consumers, wait) = lag_rows(shared, caller, Some(&one.channel))?;
            Ok((Response::ConsumerList(consumers), Some(wait)))
        }
        Request::ConsumerLag(lag) => {
            let (consumers, wait) = lag_rows(shared, caller, lag.channel.as_ref())?;
            Ok((Response::ConsumerLag(consumers), Some(wait)))
        }
        Request::Access(request) => access::carry_out(shared, caller, request),
        _ => Err(BrokerError::Bug("a request without a handler".into()).into()),
    }
}

/// Lists the older segments of a channel, if its size is not known without.
fn load(shared: &Shared, id: Incarnation) -> Result<(), BrokerError> {
    let task = shared.broker().plan_load(id);
    if let Some(task) = task {
        let loaded = task.run();
        shared.broker().finish_load(loaded)?;
    }
    Ok(())
}

fn channel_info(
    shared: &Shared,
    name: &ChannelName,
) -> Result<(control::ChannelInfo, Wait), BrokerError> {
    let first = shared.broker().channel_info(name)?;
    load(shared, first.value.incarnation)?;
    let Accepted { value, wait } = shared.broker().channel_info(name)?;
    Ok((answer::channel_info(value), wait))
}

/// A page of the channels that the caller sees: its cursor names the last of them, and no other is
/// looked into.
fn channel_list(
    shared: &Shared,
    caller: &Caller,
    list: &ChannelList,
) -> Result<(control::ChannelPage, Wait), BrokerError> {
    const DEFAULT_LIMIT: u32 = 100;
    const MAX_LIMIT: u32 = 1000;
    let limit = list.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT) as usize;
    let prefix = list.prefix.as_deref().unwrap_or("");
    let cursor = list.cursor.as_deref();
    let Accepted { mut value, wait } = {
        let broker = shared.broker();
        let is_seen = admission::seen_channels(&broker, caller);
        broker.list_channels_of(prefix, list.internal, cursor, limit + 1, is_seen)
    };
    let has_more = value.len() > limit;
    value.truncate(limit);
    for info in value.iter_mut().filter(|info| info.size.is_none()) {
        load(shared, info.incarnation)?;
        info.size = shared
            .broker()
            .storage()
            .log(info.incarnation)
            .and_then(|log| log.size());
    }
    let cursor = value
        .last()
        .filter(|_| has_more)
        .map(|last| last.name.as_str().to_owned());
    let channels = value.into_iter().map(answer::channel_info).collect();
    Ok((control::ChannelPage { channels, cursor }, wait))
}

fn resolved(shared: &Shared, fetch: Fetch) -> Result<control::Resolved, BrokerError> {
    let mut fetch = fetch.for_head();
    let head = super::fetching::run_here(shared, &mut fetch)?.head;
    Ok(control::Resolved {
        offset: head.from,
        log_start: head.log_start,
        high_watermark: head.high_watermark,
        log_end: head.high_watermark,
        log_epoch: head.log_epoch,
        incarnation: head.incarnation,
    })
}

/// Where the consumers that the caller sees stand. What is wrong with a channel of another's fails
/// no look at one's own, and is not told.
fn lag_rows(
    shared: &Shared,
    caller: &Caller,
    channel: Option<&ChannelName>,
) -> Result<(control::Consumers, Wait), BrokerError> {
    let Accepted { value, wait } = {
        let broker = shared.broker();
        let mut found = broker.consumers(channel)?;
        let is_seen = admission::seen_consumers(&broker, caller);
        found
            .value
            .retain(|info| is_seen(&info.channel, &info.consumer));
        found
    };
    let rows: Result<Vec<_>, _> = value
        .into_iter()
        .map(|info| lag_row(shared, info))
        .collect();
    Ok((control::Consumers { consumers: rows? }, wait))
}

fn lag_row(shared: &Shared, info: ConsumerInfo) -> Result<control::ConsumerLagRow, BrokerError> {
    let position = info.position;
    let lag_ms = match info.lag_records {
        0 => 0,
        _ => append_time(shared, info.incarnation, position.offset)?
            .map_or(0, |time| answer::since(time, clock::now())),
    };
    Ok(control::ConsumerLagRow {
        channel: info.channel,
        consumer: info.consumer,
        offset: position.offset,
        metadata: position.metadata,
        lag_records: info.lag_records,
        lag_bytes: info.lag_bytes,
        lag_ms,
        committed_at: position.at,
        repositioned: position.repositioned.is_some(),
    })
}

/// When the record at `offset`, or the first one still readable after it, was appended.
fn append_time(
    shared: &Shared,
    id: Incarnation,
    offset: Offset,
) -> Result<Option<Timestamp>, BrokerError> {
    loop {
        let broker = shared.broker();
        let start = broker
            .storage()
            .log(id)
            .map_or(offset, |log| log.log_start());
        let found = broker.append_time_of(id, offset.max(start));
        drop(broker);
        match found {
            BatchAt::Known { append_time, .. } => return Ok(Some(append_time)),
            BatchAt::Segment(job) => match job.run() {
                // Retention may have taken the segment meanwhile.
                Err(_) if has_moved(shared, id, start) => {}
                found => return Ok(found?.map(|(_, time)| time)),
            },
            BatchAt::Load(task) => {
                let loaded = task.run();
                shared.broker().finish_load(loaded)?;
            }
            BatchAt::Unknown => return Ok(None),
        }
    }
}

fn has_moved(shared: &Shared, id: Incarnation, start: Offset) -> bool {
    let broker = shared.broker();
    let log = broker.storage().log(id);
    log.is_none_or(|log| log.log_start() > start)
}

fn target(caller: &Caller, target: PublishTarget) -> Target {
    Target {
        channel: target.channel,
        incarnation: target.incarnation,
        expected: target.expected_offset,
        principal: caller.principal.id.0,
    }
}

/// A batch up to this size is checked under the lock that it is published with: taking that once more
/// costs more.
const CHECKED_AT_ONCE_BYTES: usize = 4096;

/// Whether a batch is checked under the broker's lock: a small one that need not be decompressed.
fn is_checked_at_once(batch: &[u8]) -> bool {
    let is_plain = || {
        let header = BatchHeader::peek_produced(batch);
        header.is_ok_and(|header| header.compression() == Some(Compression::None))
    };
    batch.len() <= CHECKED_AT_ONCE_BYTES && is_plain()
}

fn check_publish(
    shared: &Shared,
    caller: &Caller,
    publish: PublishRequest,
) -> Result<(Target, CheckedBatch), WireError> {
    let limits = shared.broker().door(&publish.target.channel);
    check_published(&limits, caller, publish, || shared.broker())
}

/// Checks a batch against the limits of its channel.
///
/// - `broker`: asked where a guest publishes.
fn check_published<B: Deref<Target = Broker>>(
    limits: &Result<DoorLimits, BrokerError>,
    caller: &Caller,
    publish: PublishRequest,
    broker: impl FnOnce() -> B,
) -> Result<(Target, CheckedBatch), WireError> {
    let target = target(caller, publish.target);
    let limits = limits.as_ref().map_err(answer::refused)?;
    let batch = publish.batch;
    let header = check_produced(&batch, limits).map_err(|error| WireError::from_batch(&error))?;
    if !caller.owns(target.channel.org()) {
        admission::check_guests_fence(&broker(), &target.channel, header.fence())?;
    }
    Ok((
        target,
        CheckedBatch {
            header,
            bytes: batch,
        },
    ))
}

fn check_atomic(
    shared: &Shared,
    caller: &Caller,
    request: PublishAtomicRequest,
) -> Result<Atomic, WireError> {
    let mut atomic = Atomic {
        asks: request.asks,
        ..Atomic::default()
    };
    for (at, part) in request.parts.into_iter().enumerate() {
        match part {
            AtomicPart::Publish(publish) => {
                let checked = check_publish(shared, caller, publish);
                let checked = checked.map_err(|error| error.with("part", at as u64))?;
                atomic.batches.push(checked);
                atomic.batch_at.push(at);
            }
            AtomicPart::Commit(commit) => {
                atomic.commits.push(CommitRequest {
                    channel: commit.channel,
                    incarnation: None,
                    consumer: commit.consumer,
                    offset: commit.offset,
                    log_epoch: LogEpoch(0),
                    expected: answer::expected(commit.expected_previous),
                    metadata: commit.metadata,
                });
                atomic.commit_at.push(at);
            }
        }
    }
    Ok(atomic)
}

/// Answers a hello with who it is taken for, or refuses the versions it offers or its key.
pub(super) fn hello(
    shared: &Shared,
    hello: &HelloRequest,
    certificate: Option<&PeerCertificate>,
) -> Result<(HelloResponse, Caller), WireError> {
    use crate::protocol::version::{MAX_PROTOCOL, MIN_PROTOCOL, negotiate};
    if negotiate(hello.min_version, hello.max_version).is_none() {
        let text = format!(
            "the client speaks protocol versions {}..={}, this broker {MIN_PROTOCOL}..={MAX_PROTOCOL}",
            hello.min_version, hello.max_version
        );
        return Err(WireError::new(ErrorCode::UnsupportedVersion, text)
            .with("min", MIN_PROTOCOL)
            .with("max", MAX_PROTOCOL));
    }
    let caller = access::authenticate(shared, hello, certificate)?;
    let response = HelloResponse {
        broker: "npayload".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: control::VersionRange {
            min: MIN_PROTOCOL,
            max: MAX_PROTOCOL,
        },
        kinds: control::kind_rows(),
        limits: control::Limits {
            frame_bytes: crate::protocol::frame::MAX_FRAME_BYTES,
            control_frame_bytes: crate::protocol::frame::MAX_CONTROL_FRAME_BYTES,
            batch_bytes: u32::try_from(crate::format::MAX_BATCH_BYTES).unwrap_or(u32::MAX),
            record_bytes: u32::try_from(crate::format::MAX_RECORD_BYTES).unwrap_or(u32::MAX),
            in_flight_bytes: shared.options.in_flight_bytes,
        },
        directory_id: shared.directory_id,
        epoch: shared.epoch,
        principal: Some(caller.row()),
    };
    Ok((response, caller))
}

fn broker_info(shared: &Shared, broker: &Broker) -> control::BrokerInfo {
    control::BrokerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        epoch: shared.epoch,
        directory_id: shared.directory_id,
        started_at: shared.started_at,
        channels: broker.channel_count() as u64,
        connections: shared.connections.load(Ordering::Relaxed) as u64,
        health: health(shared, broker),
    }
}

/// Whether all is well, and if not, why.
pub(super) fn health(shared: &Shared, broker: &Broker) -> Health {
    let storage = broker.storage();
    let journal = storage.journal_failure();
    let writes_refused = match journal {
        Some(failure) => Some(failure.to_string()),
        None => storage.shortage().map(|shortage| shortage.to_string()),
    };
    let sick = broker.sick_channels();
    let refusals = sick.refusals.into_iter().map(answer::refusal);
    let scrub = answer::scrub(broker, &shared.options.data_dir);
    Health {
        ok: writes_refused.is_none()
            && sick.damaged == 0
            && sick.refusing == 0
            && sick.locked == 0
            && broker.master_key_trouble().is_none()
            && scrub.faults.is_empty(),
        insecure: shared.options.exposure(),
        writes_refused,
        damaged_channels: sick.damaged,
        refusing_channels: sick.refusing,
        locked_channels: sick.locked,
        master_key: broker.master_key_trouble().map(str::to_owned),
        refusals: refusals.collect(),
        errno: journal.and_then(|failure| failure.source.raw_os_error()),
        disk_free_bytes: storage.space().free,
        disk_limit_bytes: storage.space().limit,
        scrub: Some(Box::new(scrub)),
    }
}
