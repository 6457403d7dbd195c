//! Requests that may read from the disk, on a thread that may wait for it.

use super::Answered;
use crate::broker::{Accepted, Asked, BrokerError, ConsumerInfo, CreateOutcome, Fetch, Wait};
use crate::protocol::control::{self, ChannelList};
use crate::protocol::{Request, Response};
use crate::server::access::{self, Caller};
use crate::server::auditing::Draft;
use crate::server::shared::Shared;
use crate::server::{admission, answer, asp, clock, fetching, region};
use crate::storage::BatchAt;
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset, Timestamp};

/// Carries out a control request that may have to wait for the disk. It was admitted before.
///
/// # Errors
/// The refusal, which is on the record where it is worth one.
pub(in crate::server) fn read(shared: &Shared, caller: &Caller, request: &Request) -> Answered {
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
    let head = fetching::run_here(shared, &mut fetch)?.head;
    Ok(control::Resolved {
        offset: head.from,
        log_start: head.log_start,
        high_watermark: head.high_watermark,
        log_end: head.high_watermark,
        log_epoch: head.log_epoch,
        incarnation: head.incarnation,
    })
}

/// Consumers and channels that are looked at while the broker's lock is held: it is let go between such
/// pieces, so nobody waits for more than one of them, however many positions there are.
const PIECE: usize = 1000;

/// Where the consumers that the caller sees stand. What is wrong with a channel of another's fails
/// no look at one's own, and is not told.
fn lag_rows(
    shared: &Shared,
    caller: &Caller,
    channel: Option<&ChannelName>,
) -> Result<(control::Consumers, Wait), BrokerError> {
    let mut consumers = Vec::new();
    let mut from = None;
    loop {
        let Accepted { value: piece, wait } = {
            let broker = shared.broker();
            let mut found = broker.consumers_from(channel, from.as_ref(), PIECE)?;
            let is_seen = admission::seen_consumers(&broker, caller);
            let rows = &mut found.value.rows;
            rows.retain(|info| is_seen(&info.channel, &info.consumer));
            found
        };
        for info in piece.rows {
            consumers.push(lag_row(shared, info)?);
        }
        from = piece.next;
        if from.is_none() {
            return Ok((control::Consumers { consumers }, wait));
        }
    }
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
