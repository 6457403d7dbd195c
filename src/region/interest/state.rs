//! What a region wants of the others, folded from [`InterestEvent`]s.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::event::{Declared, Expired, Idle, InterestEvent, ReadBegun, Removed, Wish};
use crate::folding::{self, Assembly, BETWEEN_PARTS, IllegalEvent, MAX_PART_BYTES};
use crate::region::{ChannelPattern, PatternTree};
use crate::types::{ChannelName, OrgName, Timestamp};

/// Most patterns that one organisation may declare.
pub const MAX_DECLARED: usize = 1000;
/// Most patterns that all organisations of a region may declare together.
pub const MAX_DECLARED_IN_REGION: usize = 20_000;
/// Most record types that one interest names.
pub const MAX_TYPES: usize = 100;
/// Longest name of a record type, in bytes.
const MAX_TYPE_BYTES: usize = 256;

/// Why interest is not declared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeclareError {
    /// An organisation has declared as many as it may.
    #[error("organisation `{org}` has declared {found} interests, and may declare {limit}")]
    TooManyOfOrg {
        /// Whose limit it is.
        org: OrgName,
        /// How many it has declared.
        found: usize,
        /// [`MAX_DECLARED`].
        limit: usize,
    },
    /// All organisations together have declared as many as the region takes.
    #[error("{found} interests are declared by all organisations, and the region takes {limit}")]
    TooManyOfRegion {
        /// How many are declared.
        found: usize,
        /// [`MAX_DECLARED_IN_REGION`].
        limit: usize,
    },
    /// Too many types, none, or a name that no record type has.
    #[error("{found} record types are named, but must be 1 to {limit} of at most 256 bytes")]
    Types {
        /// How many.
        found: usize,
        /// [`MAX_TYPES`].
        limit: usize,
    },
    /// A retention of no days, or of more than a channel can have.
    #[error("a retention of {days} days must be from 1 to {limit}")]
    Retention {
        /// The days asked for.
        days: u64,
        /// A hundred years.
        limit: u64,
    },
}

/// Days of the longest retention, those of a channel.
const MAX_RETENTION_DAYS: u64 = 36_500;

/// Interest in a channel that follows from its being read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Automatic {
    /// What its readers want together.
    #[serde(flatten)]
    pub wish: Wish,
    /// When it ends; `None` while somebody reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// One interest in a state record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InterestRow {
    /// Declared.
    Declared(Declared),
    /// From reading.
    Automatic {
        /// Who reads or has read.
        org: OrgName,
        /// Which channel.
        channel: ChannelName,
        /// What of it.
        interest: Automatic,
    },
}

/// All that a region wants. For each pattern of an organisation:
///
/// ```text
/// Absent --declared--> Declared --removed--> Absent      (declared again: replaced)
/// ```
/// and for each channel that it reads:
///
/// ```text
/// Absent --read--> Read --idle--> Idle --expired--> Absent
///                   ^ read         | ^ idle
///                   +-----read-----+
/// ```
///
/// A state record replaces all once its last part is there; no other event may stand between its
/// parts. An unknown event changes nothing. Limits are judged at the door, [`Interests::check`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interests {
    declared: BTreeMap<(OrgName, ChannelPattern), (Wish, Timestamp)>,
    automatic: BTreeMap<(OrgName, ChannelName), Automatic>,
    /// The patterns of what is declared, so that a look at a channel is none at all of them.
    meant: PatternTree<(OrgName, ChannelPattern)>,
    /// Who reads or has read each channel.
    readers: BTreeMap<ChannelName, BTreeSet<OrgName>>,
    assembly: Option<Assembly<InterestRow>>,
}

impl Interests {
    /// Takes an event into the state. One function checks an append and replays the log.
    ///
    /// # Errors
    /// [`IllegalEvent`] when the event cannot follow; the state is unchanged.
    pub fn apply(&mut self, event: &InterestEvent) -> Result<(), IllegalEvent> {
        self.transition(event).map_err(|rule| IllegalEvent {
            event: event.record_type().to_owned(),
            subject: subject(event),
            rule,
        })
    }

    /// Turns a declaration into the event that records it.
    ///
    /// # Errors
    /// [`DeclareError`] with the limit that it breaks.
    pub fn check(&self, declared: Declared) -> Result<InterestEvent, DeclareError> {
        if let Some(types) = &declared.wish.types {
            let is_named = |name: &String| !name.is_empty() && name.len() <= MAX_TYPE_BYTES;
            if types.is_empty() || types.len() > MAX_TYPES || !types.iter().all(is_named) {
                return Err(DeclareError::Types {
                    found: types.len(),
                    limit: MAX_TYPES,
                });
            }
        }
        if let Some(days) = declared.wish.retention_days
            && !(1..=MAX_RETENTION_DAYS).contains(&days)
        {
            let limit = MAX_RETENTION_DAYS;
            return Err(DeclareError::Retention { days, limit });
        }
        let key = (declared.org.clone(), declared.pattern.clone());
        if !self.declared.contains_key(&key) {
            self.check_room(&declared.org)?;
        }
        Ok(InterestEvent::Declared(declared))
    }

    /// Checks that an organisation may declare one more. What was declared under other limits stays.
    fn check_room(&self, org: &OrgName) -> Result<(), DeclareError> {
        let theirs = self.declared.keys().filter(|(by, _)| by == org);
        let (found, limit) = (theirs.count(), MAX_DECLARED);
        if found >= limit {
            let org = org.clone();
            return Err(DeclareError::TooManyOfOrg { org, found, limit });
        }
        let (found, limit) = (self.declared.len(), MAX_DECLARED_IN_REGION);
        if found >= limit {
            return Err(DeclareError::TooManyOfRegion { found, limit });
        }
        Ok(())
    }

    /// How many there are, declared and automatic.
    #[must_use]
    pub fn len(&self) -> usize {
        self.declared.len() + self.automatic.len()
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is declared: who, which channels, what of them, since when; sorted.
    pub fn declared(&self) -> impl Iterator<Item = (&OrgName, &ChannelPattern, &Wish, Timestamp)> {
        let rows = self.declared.iter();
        rows.map(|((org, pattern), (wish, at))| (org, pattern, wish, *at))
    }

    /// What follows from reading; sorted.
    pub fn automatic(&self) -> impl Iterator<Item = (&OrgName, &ChannelName, &Automatic)> {
        let rows = self.automatic.iter();
        rows.map(|((org, channel), interest)| (org, channel, interest))
    }

    /// What has to cross of a log so that everybody gets what they want of it; `None` where nobody
    /// wants any. Who reads a channel that has a log for each region wants all of its logs; what is
    /// wanted of one of them by its own name goes before that.
    ///
    /// - `allowed`: whether what an organisation asks for may cross.
    #[must_use]
    pub fn wish(&self, channel: &ChannelName, allowed: impl Fn(&OrgName) -> bool) -> Option<Wish> {
        let wishes = self.wishes(channel).into_iter();
        let wishes = wishes.filter(|(org, _)| allowed(org));
        let all = wishes.fold(None, |all: Option<Wish>, (_, wish)| {
            Some(match all {
                Some(all) => all.union(wish),
                None => wish.clone(),
            })
        })?;
        let types = Wish::types_that_cross(all.types);
        Some(Wish { types, ..all })
    }

    /// The organisations that want something of a log.
    #[must_use]
    pub fn askers(&self, channel: &ChannelName) -> BTreeSet<OrgName> {
        let wishes = self.wishes(channel).into_iter();
        wishes.map(|(org, _)| org.clone()).collect()
    }

    /// Who wants what of a log. It costs what is wanted of the log, however much is wanted of others:
    /// it is asked for each log of a list.
    fn wishes(&self, channel: &ChannelName) -> Vec<(&OrgName, &Wish)> {
        let meant = self.meant.matching(channel).into_iter();
        let declared = meant.filter_map(|key| Some((&key.0, &self.declared.get(key)?.0)));
        let mut wishes: Vec<_> = declared.collect();
        let by_itself = self.readers.get(channel);
        wishes.extend(self.reads(by_itself, channel));
        if channel.region().is_some() {
            let whole = channel.channel();
            let of_all = self.reads(self.readers.get(&whole), &whole);
            let names_it = |org: &OrgName| by_itself.is_some_and(|orgs| orgs.contains(org));
            wishes.extend(of_all.filter(|(org, _)| !names_it(org)));
        }
        wishes
    }

    /// What each of some readers of a channel wants of it.
    fn reads(
        &self,
        readers: Option<&BTreeSet<OrgName>>,
        channel: &ChannelName,
    ) -> impl Iterator<Item = (&OrgName, &Wish)> {
        let readers = readers.into_iter().flatten();
        readers.filter_map(move |org| {
            let read = self
                .automatic
                .get_key_value(&(org.clone(), channel.clone()));
            read.map(|((org, _), interest)| (org, &interest.wish))
        })
    }

    /// The fewest patterns that mean every channel anybody wants.
    #[must_use]
    pub fn patterns(&self) -> Vec<ChannelPattern> {
        let declared = self.declared.keys().map(|(_, pattern)| pattern.clone());
        // Nobody has automatic interest in an internal topic.
        let read = self.automatic.keys();
        let read = read.filter_map(|(_, channel)| ChannelPattern::exactly(channel).ok());
        ChannelPattern::widest(declared.chain(read))
    }

    /// The events that end what is due.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Vec<InterestEvent> {
        let due = self.automatic.iter();
        let due = due.filter(|(_, interest)| interest.until.is_some_and(|until| until <= now));
        due.map(|((org, channel), _)| {
            InterestEvent::Expired(Expired {
                org: org.clone(),
                channel: channel.clone(),
                at: now,
            })
        })
        .collect()
    }

    /// The events after a start, when nobody reads yet: the time begins for what was read.
    ///
    /// - `until`: when their interest ends.
    #[must_use]
    pub fn unread(&self, until: Timestamp, now: Timestamp) -> Vec<InterestEvent> {
        let read = self.automatic.iter();
        let read = read.filter(|(_, interest)| interest.until.is_none());
        read.map(|((org, channel), _)| {
            InterestEvent::Idle(Idle {
                org: org.clone(),
                channel: channel.clone(),
                until,
                at: now,
            })
        })
        .collect()
    }

    /// The whole state as events, to be appended as one entry. Applied in order, to any state that
    /// stands between two entries, they give a state identical to this one.
    #[must_use]
    pub fn fold(&self) -> Vec<InterestEvent> {
        let declared = self.declared.iter().map(|((org, pattern), (wish, at))| {
            InterestRow::Declared(Declared {
                org: org.clone(),
                pattern: pattern.clone(),
                wish: wish.clone(),
                at: *at,
            })
        });
        let automatic = self.automatic.iter();
        let automatic = automatic.map(|((org, channel), interest)| InterestRow::Automatic {
            org: org.clone(),
            channel: channel.clone(),
            interest: interest.clone(),
        });
        folding::split(declared.chain(automatic), MAX_PART_BYTES)
            .into_iter()
            .map(InterestEvent::Folded)
            .collect()
    }

    fn transition(&mut self, event: &InterestEvent) -> Result<(), &'static str> {
        match event {
            InterestEvent::Unknown { .. } => Ok(()),
            InterestEvent::Folded(part) => {
                if let Some(state) = folding::join(&mut self.assembly, part, Self::from_rows)? {
                    *self = state;
                }
                Ok(())
            }
            _ if self.assembly.is_some() => Err(BETWEEN_PARTS),
            InterestEvent::Declared(event) => {
                self.declare(event);
                Ok(())
            }
            InterestEvent::Removed(Removed { org, pattern, .. }) => {
                let key = (org.clone(), pattern.clone());
                self.meant.remove(pattern, &key);
                let removed = self.declared.remove(&key);
                removed.map(drop).ok_or("no such interest is declared")
            }
            InterestEvent::Read(ReadBegun {
                org, channel, wish, ..
            }) => {
                if channel.is_internal() {
                    return Err("internal topics can't be asked for");
                }
                let key = (org.clone(), channel.clone());
                let wish = match self.automatic.get(&key) {
                    Some(before) => wish.clone().union(&before.wish),
                    None => wish.clone(),
                };
                self.put_read(org, channel, Automatic { wish, until: None });
                Ok(())
            }
            InterestEvent::Idle(event) => {
                let interest = self.read(&event.org, &event.channel)?;
                interest.until = Some(event.until);
                Ok(())
            }
            InterestEvent::Expired(event) => {
                let Some(until) = self.read(&event.org, &event.channel)?.until else {
                    return Err("the channel is being read");
                };
                if event.at < until {
                    return Err("the interest has not been idle for long enough");
                }
                self.drop_read(&event.org, &event.channel);
                Ok(())
            }
        }
    }

    /// Says whether nothing was declared of the pattern before.
    fn declare(&mut self, event: &Declared) -> bool {
        let key = (event.org.clone(), event.pattern.clone());
        self.meant.insert(&event.pattern, key.clone());
        let value = (event.wish.clone(), event.at);
        self.declared.insert(key, value).is_none()
    }

    /// Says whether the channel was not read before.
    fn put_read(&mut self, org: &OrgName, channel: &ChannelName, interest: Automatic) -> bool {
        let readers = self.readers.entry(channel.clone()).or_default();
        readers.insert(org.clone());
        let key = (org.clone(), channel.clone());
        self.automatic.insert(key, interest).is_none()
    }

    fn drop_read(&mut self, org: &OrgName, channel: &ChannelName) {
        self.automatic.remove(&(org.clone(), channel.clone()));
        if let Some(readers) = self.readers.get_mut(channel) {
            readers.remove(org);
            if readers.is_empty() {
                self.readers.remove(channel);
            }
        }
    }

    fn read(
        &mut self,
        org: &OrgName,
        channel: &ChannelName,
    ) -> Result<&mut Automatic, &'static str> {
        let interest = self.automatic.get_mut(&(org.clone(), channel.clone()));
        interest.ok_or("the channel was not read")
    }

    fn from_rows(rows: &mut dyn Iterator<Item = &InterestRow>) -> Result<Self, &'static str> {
        let mut state = Self::default();
        for row in rows {
            let is_new = match row {
                InterestRow::Declared(event) => state.declare(event),
                InterestRow::Automatic {
                    org,
                    channel,
                    interest,
                } => state.put_read(org, channel, interest.clone()),
            };
            if !is_new {
                return Err("two rows are of the same interest");
            }
        }
        Ok(state)
    }
}

fn subject(event: &InterestEvent) -> String {
    match event {
        InterestEvent::Declared(Declared { org, pattern, .. })
        | InterestEvent::Removed(Removed { org, pattern, .. }) => {
            format!("pattern `{pattern}` of `{org}`")
        }
        InterestEvent::Read(ReadBegun { org, channel, .. })
        | InterestEvent::Idle(Idle { org, channel, .. })
        | InterestEvent::Expired(Expired { org, channel, .. }) => {
            format!("channel `{channel}` read by `{org}`")
        }
        InterestEvent::Folded(part) => format!("part {} of {}", part.part, part.parts),
        InterestEvent::Unknown { .. } => "nobody known".to_owned(),
    }
}
