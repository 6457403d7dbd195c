//! The side of a link that serves.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use npayload::broker::config::ChannelConfig;
use npayload::broker::{BrokerError, Residence};
use npayload::region::ChannelPattern;
use npayload::region::copies::{
    BatchMark, Before, FollowRefusal, Source as Has, Wanted, check_follow,
};
use npayload::region::interest::Since;
use npayload::types::{ChannelName, Incarnation, LogEpoch, Offset};

use super::region::Region;

/// A log that lives at the source.
#[derive(Clone, Debug)]
pub struct Known {
    pub name: ChannelName,
    pub id: Incarnation,
    pub log_start: Offset,
    pub config: ChannelConfig,
}

/// Where a follow begins.
#[derive(Clone, Copy, Debug)]
pub enum From {
    Offset(Offset),
    Since(Since),
}

/// One log that is to be followed.
#[derive(Clone, Debug)]
pub struct Ask {
    pub handle: u32,
    pub log: Known,
    pub from: From,
    pub before: Before,
    /// More is wanted than its copy has.
    pub is_beside: bool,
}

#[derive(Clone, Debug)]
pub enum Request {
    Logs(Vec<ChannelPattern>),
    Follow(Vec<Ask>),
    Unfollow(u32),
    Fetch,
}

/// Why a log is not followed, or not any more.
#[derive(Clone, Debug)]
pub enum Refused {
    Diverged(String),
    Recreated,
    /// No such channel.
    Gone,
    /// The source can't read it just now, or finds it damaged.
    Unreadable(String),
}

#[derive(Clone, Debug)]
pub enum Item {
    Batches {
        handle: u32,
        flushed: Offset,
        batches: Bytes,
    },
    Head {
        handle: u32,
        log_start: Offset,
        flushed: Offset,
        epoch: LogEpoch,
    },
    Gap {
        handle: u32,
        from: Offset,
        to: Offset,
    },
    Stop {
        handle: u32,
        why: Refused,
    },
}

#[derive(Clone, Debug)]
pub enum Reply {
    Logs(Vec<Known>),
    Followed(Vec<(Ask, Result<Offset, Refused>)>),
    Items { number: u64, items: Vec<Item> },
}

struct Followed {
    name: ChannelName,
    id: Incarnation,
    next: u64,
    said: Option<(Offset, LogEpoch)>,
}

/// What the source holds of one connection.
#[derive(Default)]
pub struct Serving {
    followed: BTreeMap<u32, Followed>,
    pub standing: u32,
    next_number: u64,
    after: u32,
}

impl Serving {
    pub fn take(&mut self, region: &mut Region, request: Request) -> Option<Reply> {
        match request {
            Request::Fetch => {
                self.standing += 1;
                None
            }
            Request::Unfollow(handle) => {
                self.followed.remove(&handle);
                None
            }
            Request::Logs(patterns) => Some(Reply::Logs(list(region, &patterns))),
            Request::Follow(asks) => {
                let followed = asks.into_iter().map(|ask| {
                    let begun = self.follow(region, &ask);
                    (ask, begun)
                });
                Some(Reply::Followed(followed.collect()))
            }
        }
    }

    fn follow(&mut self, region: &mut Region, ask: &Ask) -> Result<Offset, Refused> {
        let name = &ask.log.name;
        let broker = region.broker.as_ref().expect("it runs");
        let Residence::Home(id) = broker.residence(name) else {
            return Err(Refused::Gone);
        };
        let log = broker.storage().log(id).ok_or(Refused::Gone)?;
        let (log_start, flushed, epoch) = (log.log_start(), log.flushed(), log.last_epoch());
        let from = match ask.from {
            From::Offset(offset) => offset,
            From::Since(Since::Start) => log_start,
            From::Since(_) => flushed,
        };
        let readable = |offset: Offset| offset >= log_start && offset < flushed;
        let at = match ask.before {
            Before::Batch(_) => from.0.checked_sub(1).map(Offset),
            Before::Nothing => Some(from),
            Before::OwnGap(_) => None,
        };
        let mark = match at.filter(|at| readable(*at)) {
            Some(at) => mark_at(region, name, id, at, flushed).map_err(unreadable)?,
            None => None,
        };
        let mark = mark.map(|(mark, _)| mark);
        let (before, holds) = match ask.before {
            Before::Nothing => (None, mark),
            _ => (mark, None),
        };
        let source = Has {
            incarnation: id,
            is_home: true,
            log_start,
            flushed,
            epoch,
            before,
        };
        let wanted = Wanted {
            incarnation: Some(ask.log.id),
            from,
            before: ask.before,
        };
        let from = check_follow(&source, &wanted, holds).map_err(|error| match error {
            FollowRefusal::Recreated { .. } => Refused::Recreated,
            other => Refused::Diverged(other.to_string()),
        })?;
        let followed = Followed {
            name: name.clone(),
            id,
            next: from.0,
            said: None,
        };
        self.followed.insert(ask.handle, followed);
        Ok(from)
    }

    /// The next answer with what is new; `is_due`: also where nothing is.
    pub fn answer(&mut self, region: &mut Region, max_bytes: u64, is_due: bool) -> Option<Reply> {
        if self.standing == 0 {
            return None;
        }
        let mut items = Vec::new();
        let (behind, before): (Vec<u32>, Vec<u32>) = self
            .followed
            .keys()
            .partition(|handle| **handle > self.after);
        let mut bytes = 0;
        for handle in behind.into_iter().chain(before) {
            if bytes >= max_bytes {
                break;
            }
            self.after = handle;
            let followed = self.followed.get_mut(&handle).expect("it is followed");
            match read(region, handle, followed, max_bytes / 2, &mut items) {
                Ok(sent) => bytes += sent,
                Err(why) => {
                    self.followed.remove(&handle);
                    items.push(Item::Stop { handle, why });
                }
            }
        }
        if items.is_empty() && !is_due {
            return None;
        }
        self.standing -= 1;
        let number = self.next_number;
        self.next_number += 1;
        Some(Reply::Items { number, items })
    }
}

/// Reads what a log has behind what was sent: only what is synced.
fn read(
    region: &mut Region,
    handle: u32,
    followed: &mut Followed,
    max_bytes: u64,
    items: &mut Vec<Item>,
) -> Result<u64, Refused> {
    let broker = region.broker.as_ref().expect("it runs");
    broker
        .channel_is(&followed.name, followed.id)
        .map_err(unreadable)?;
    let log = broker.storage().log(followed.id).ok_or(Refused::Gone)?;
    let (log_start, flushed, epoch) = (log.log_start(), log.flushed(), log.last_epoch());
    if followed.said != Some((log_start, epoch)) {
        followed.said = Some((log_start, epoch));
        items.push(Item::Head {
            handle,
            log_start,
            flushed,
            epoch,
        });
    }
    if followed.next < log_start.0 {
        items.push(Item::Gap {
            handle,
            from: Offset(followed.next),
            to: log_start,
        });
        followed.next = log_start.0;
    }
    if followed.next >= flushed.0 {
        return Ok(0);
    }
    let (name, id) = (followed.name.clone(), followed.id);
    let found = region.read(&name, id, followed.next, flushed.0, max_bytes);
    let mut batches = BytesMut::new();
    for (header, bytes) in found.map_err(unreadable)? {
        batches.extend_from_slice(&bytes);
        followed.next = header.end_offset().0;
    }
    let sent = batches.len() as u64;
    if sent > 0 {
        items.push(Item::Batches {
            handle,
            flushed,
            batches: batches.freeze(),
        });
    }
    Ok(sent)
}

fn list(region: &Region, patterns: &[ChannelPattern]) -> Vec<Known> {
    let broker = region.broker.as_ref().expect("it runs");
    let homes = broker.homes("");
    let wanted = homes.filter(|(_, name)| patterns.iter().any(|pattern| pattern.matches(name)));
    let known = wanted.filter_map(|(id, name)| {
        let info = broker.channel_info(name).ok()?.value;
        Some(Known {
            name: name.clone(),
            id,
            log_start: broker.storage().log(id)?.log_start(),
            config: info.config,
        })
    });
    known.collect()
}

/// The batch that holds an offset, and whether it is a gap.
pub fn mark_at(
    region: &mut Region,
    name: &ChannelName,
    id: Incarnation,
    at: Offset,
    end: Offset,
) -> Result<Option<(BatchMark, bool)>, BrokerError> {
    // Whole batches are given, so the one that holds the offset comes though it begins before.
    let broker = region.broker.as_mut().expect("it runs");
    let place = npayload::broker::FetchFrom::Offset(at);
    let mut fetch = npayload::broker::Fetch::new(name.clone(), Some(id), place, LogEpoch(0), 1);
    let fetched = loop {
        match broker.fetch_step(&mut fetch)? {
            npayload::broker::FetchStep::Done(fetched) => break fetched,
            npayload::broker::FetchStep::Run(job) => {
                let end = job.run();
                broker.feed_fetch(&mut fetch, end)?;
            }
        }
    };
    let first = fetched.slices.parts.first();
    let header = first.and_then(|part| npayload::format::BatchHeader::peek(part).ok());
    let header = header.filter(|header| header.end_offset() <= end);
    Ok(header.map(|header| {
        let mark = BatchMark {
            base: header.base_offset(),
            end: header.end_offset(),
            epoch: header.log_epoch(),
            append_time: header.append_time(),
            body_crc: header.body_crc(),
        };
        (mark, header.is_gap())
    }))
}

fn unreadable(error: BrokerError) -> Refused {
    match error {
        BrokerError::NoSuchChannel { .. } => Refused::Gone,
        BrokerError::Recreated { .. } => Refused::Recreated,
        other => Refused::Unreadable(other.to_string()),
    }
}

/// Requests or replies that are on their way, each with the step at which it is there.
pub type Way<T> = VecDeque<(u64, T)>;
