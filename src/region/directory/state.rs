//! Which regions and which channels there are, and who may hold what, folded from
//! [`RegionEvent`]s.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::event::{
    Consent, Crossing, Joined, Left, Named, RegionEvent, Scope, Side, Spread, Unnamed,
};
use crate::folding::{self, Assembly, BETWEEN_PARTS, IllegalEvent, MAX_PART_BYTES};
use crate::region::RegionNumber;
use crate::types::{ChannelName, DEFAULT_ORG_NAME, Incarnation, OrgName, RegionName, Timestamp};

/// What all regions know of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedChannel {
    /// Whether it is one log.
    pub regions: Spread,
    /// Regions that may hold it, as it says itself; `None` is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residency: Option<BTreeSet<RegionName>>,
    /// Regions that have to hold a record before it is acknowledged.
    pub ack_regions: u32,
    /// Its logs by the region that each was made in; exactly one where it is one log.
    pub logs: BTreeMap<RegionName, Incarnation>,
}

/// What both sides have said of an organisation's bytes in another's hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Words {
    owner: bool,
    guest: bool,
}

/// One fact in a state record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RegionRow {
    /// A region.
    Region {
        /// Its name.
        name: RegionName,
        /// When it joined.
        at: Timestamp,
    },
    /// A region that has left and not come back.
    Left {
        /// Its name.
        name: RegionName,
        /// When it left.
        at: Timestamp,
    },
    /// A channel.
    Channel {
        /// Its name.
        name: ChannelName,
        /// What is known of it.
        channel: NamedChannel,
    },
    /// Who may hold the bytes of an organisation.
    Org {
        /// Its name.
        name: OrgName,
        /// The regions.
        residency: BTreeSet<RegionName>,
    },
    /// What may cross between two organisations.
    Crossing {
        /// Whose bytes.
        owner: OrgName,
        /// In whose hands.
        guest: OrgName,
        /// What both have said.
        words: Words,
    },
}

/// Why a channel is not named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is one of that name that it can't be joined to.
    #[error("channel `{channel}` exists already")]
    Exists {
        /// The name.
        channel: ChannelName,
    },
    /// The region is not known.
    #[error("there is no region `{region}`")]
    UnknownRegion {
        /// The region.
        region: RegionName,
    },
    /// Its home could not hold it.
    #[error("`{channel}` may not be held in its home `{region}`")]
    NoConsent {
        /// The channel.
        channel: ChannelName,
        /// The home.
        region: RegionName,
    },
    /// Fewer regions may hold it than have to.
    #[error("{wanted} regions have to hold `{channel}`, and {allowed} may")]
    TooFewRegions {
        /// The channel.
        channel: ChannelName,
        /// How many have to, at least 1.
        wanted: u32,
        /// How many may.
        allowed: usize,
    },
}

/// What holds for all regions. For each channel, with the logs that are named:
///
/// ```text
/// Absent --named, one--> One --unnamed--> Absent
/// Absent --named, each--> Each --named, each, of another region--> Each
///                         Each --unnamed--> Each, or Absent with its last log
/// ```
///
/// A region joins once and may leave, also before its logs' homes are known to be elsewhere: who
/// is home is not recorded here. A state record replaces all once its last part is there; no other
/// event may stand between its parts. An unknown event changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Regions {
    regions: BTreeMap<RegionName, Timestamp>,
    left: BTreeMap<RegionName, Timestamp>,
    channels: BTreeMap<ChannelName, NamedChannel>,
    orgs: BTreeMap<OrgName, BTreeSet<RegionName>>,
    crossings: BTreeMap<(OrgName, OrgName), Words>,
    assembly: Option<Assembly<RegionRow>>,
}

impl Regions {
    /// Takes an event into the state. One function checks an append and replays the log.
    ///
    /// # Errors
    /// [`IllegalEvent`] when the event cannot follow; the state is unchanged.
    pub fn apply(&mut self, event: &RegionEvent) -> Result<(), IllegalEvent> {
        self.transition(event).map_err(|rule| IllegalEvent {
            event: event.record_type().to_owned(),
            subject: subject(event),
            rule,
        })
    }

    /// Turns a request for a new channel, or for a further log of one, into the event.
    ///
    /// # Errors
    /// [`NameError`] with the rule that it breaks.
    pub fn check_name(&self, named: Named) -> Result<RegionEvent, NameError> {
        let channel = named.channel.clone();
        for region in named.residency.iter().flatten().chain([&named.home]) {
            if !self.regions.contains_key(region) {
                let region = region.clone();
                return Err(NameError::UnknownRegion { region });
            }
        }
        let allowed = self.holders(&channel, named.residency.as_ref());
        if !allowed.contains(&named.home) {
            let region = named.home;
            return Err(NameError::NoConsent { channel, region });
        }
        let wanted = named.ack_regions;
        if wanted == 0 || wanted as usize > allowed.len() {
            let allowed = allowed.len();
            return Err(NameError::TooFewRegions {
                channel,
                wanted,
                allowed,
            });
        }
        if self.follows(&named).is_err() {
            return Err(NameError::Exists { channel });
        }
        Ok(RegionEvent::Named(named))
    }

    /// The regions, sorted, with when each joined.
    pub fn regions(&self) -> impl Iterator<Item = (&RegionName, Timestamp)> {
        self.regions.iter().map(|(name, at)| (name, *at))
    }

    /// Whether a region has joined.
    #[must_use]
    pub fn is_known(&self, region: &RegionName) -> bool {
        self.regions.contains_key(region)
    }

    /// The regions that have left and not joined again since, sorted, with when each left.
    pub fn left(&self) -> impl Iterator<Item = (&RegionName, Timestamp)> {
        self.left.iter().map(|(name, at)| (name, *at))
    }

    /// When a region has left, where it has not joined again since.
    #[must_use]
    pub fn left_at(&self, region: &RegionName) -> Option<Timestamp> {
        self.left.get(region).copied()
    }

    /// The regions that alone may hold a channel's bytes, where it or its organisation says so;
    /// `None` where neither does.
    #[must_use]
    pub fn residency(&self, channel: &ChannelName) -> Option<BTreeSet<RegionName>> {
        let own = self.channels.get(channel);
        let own = own.and_then(|channel| channel.residency.as_ref());
        let org = match self.orgs.is_empty() {
            true => None,
            false => self.orgs.get(&owner(channel)),
        };
        let both = || own.zip(org).map(|(own, org)| own & org);
        both().or_else(|| own.or(org).cloned())
    }

    /// The organisations that say which regions may hold their bytes, and these; sorted.
    pub fn orgs(&self) -> impl Iterator<Item = (&OrgName, &BTreeSet<RegionName>)> {
        self.orgs.iter()
    }

    /// What was said of bytes of one organisation in the hands of another: owner, guest, and the
    /// word of each; sorted.
    pub fn crossings(&self) -> impl Iterator<Item = (&OrgName, &OrgName, bool, bool)> {
        let crossings = self.crossings.iter();
        crossings.map(|((owner, guest), words)| (owner, guest, words.owner, words.guest))
    }

    /// How many rows the state has.
    #[must_use]
    pub fn rows(&self) -> usize {
        let regions = self.regions.len() + self.left.len();
        regions + self.channels.len() + self.orgs.len() + self.crossings.len()
    }

    /// The region that has a number.
    #[must_use]
    pub fn by_number(&self, number: RegionNumber) -> Option<&RegionName> {
        let mut names = self.regions.keys();
        names.find(|name| RegionNumber::of(name) == number)
    }

    /// What is known of a channel.
    #[must_use]
    pub fn channel(&self, name: &str) -> Option<&NamedChannel> {
        self.channels.get(name)
    }

    /// All channels, sorted.
    pub fn channels(&self) -> impl Iterator<Item = (&ChannelName, &NamedChannel)> {
        self.channels.iter()
    }

    /// Whether a region may hold the bytes of a channel: the region is known, and both the
    /// channel and its organisation name it or name none. An unknown channel is judged by its
    /// organisation.
    #[must_use]
    pub fn may_hold(&self, channel: &ChannelName, region: &RegionName) -> bool {
        let own = self.channels.get(channel);
        let own = own.and_then(|channel| channel.residency.as_ref());
        self.holders(channel, own).contains(region)
    }

    /// Whether what an organisation asks for of a channel may cross: it is its own, or both sides
    /// have said yes.
    #[must_use]
    pub fn may_cross(&self, channel: &ChannelName, guest: &OrgName) -> bool {
        let owner = owner(channel);
        let words = self.crossings.get(&(owner.clone(), guest.clone()));
        owner == *guest || words.is_some_and(|words| words.owner && words.guest)
    }

    /// The whole state as events, to be appended as one entry. Applied in order, to any state that
    /// stands between two entries, they give a state identical to this one.
    #[must_use]
    pub fn fold(&self) -> Vec<RegionEvent> {
        let regions = self.regions.iter().map(|(name, at)| RegionRow::Region {
            name: name.clone(),
            at: *at,
        });
        let left = self.left.iter().map(|(name, at)| RegionRow::Left {
            name: name.clone(),
            at: *at,
        });
        let channels = self.channels.iter();
        let channels = channels.map(|(name, channel)| RegionRow::Channel {
            name: name.clone(),
            channel: channel.clone(),
        });
        let orgs = self.orgs.iter().map(|(name, residency)| RegionRow::Org {
            name: name.clone(),
            residency: residency.clone(),
        });
        let crossings = self.crossings.iter();
        let crossings = crossings.map(|((owner, guest), words)| RegionRow::Crossing {
            owner: owner.clone(),
            guest: guest.clone(),
            words: *words,
        });
        let rows = regions.chain(left).chain(channels);
        let rows = rows.chain(orgs).chain(crossings);
        folding::split(rows, MAX_PART_BYTES)
            .into_iter()
            .map(RegionEvent::Folded)
            .collect()
    }

    fn transition(&mut self, event: &RegionEvent) -> Result<(), &'static str> {
        match event {
            RegionEvent::Unknown { .. } => Ok(()),
            RegionEvent::Folded(part) => {
                if let Some(state) = folding::join(&mut self.assembly, part, Self::from_rows)? {
                    *self = state;
                }
                Ok(())
            }
            _ if self.assembly.is_some() => Err(BETWEEN_PARTS),
            RegionEvent::Joined(event) => self.join(&event.region, event.at),
            RegionEvent::Left(event) => {
                let left = self.regions.remove(&event.region);
                left.ok_or("the region is not known")?;
                self.left.insert(event.region.clone(), event.at);
                Ok(())
            }
            RegionEvent::Named(event) => {
                self.follows(event)?;
                self.name(event);
                Ok(())
            }
            RegionEvent::Unnamed(event) => self.unname(event),
            RegionEvent::Consent(event) => self.consent(event),
            RegionEvent::Crossing(event) => {
                let key = (event.owner.clone(), event.guest.clone());
                let words = self.crossings.entry(key.clone()).or_default();
                match event.side {
                    Side::Owner => words.owner = event.allowed,
                    Side::Guest => words.guest = event.allowed,
                }
                if *words == Words::default() {
                    self.crossings.remove(&key);
                }
                Ok(())
            }
        }
    }

    fn join(&mut self, region: &RegionName, at: Timestamp) -> Result<(), &'static str> {
        if self.by_number(RegionNumber::of(region)).is_some() {
            return Err("a region of that number is known");
        }
        self.left.remove(region);
        self.regions.insert(region.clone(), at);
        Ok(())
    }

    /// Whether a log can be named so.
    fn follows(&self, event: &Named) -> Result<(), &'static str> {
        let Some(known) = self.channels.get(&event.channel) else {
            return Ok(());
        };
        if (known.regions, event.regions) != (Spread::Each, Spread::Each) {
            return Err("there is a channel of that name");
        }
        if known.logs.contains_key(&event.home) {
            return Err("the region has a log of that channel");
        }
        if known.logs.values().any(|log| *log == event.incarnation) {
            return Err("the channel has a log of that incarnation");
        }
        if (&known.residency, known.ack_regions) != (&event.residency, event.ack_regions) {
            return Err("the channel's logs would be held differently");
        }
        Ok(())
    }

    fn name(&mut self, event: &Named) {
        let channel = self.channels.entry(event.channel.clone());
        let channel = channel.or_insert_with(|| NamedChannel {
            regions: event.regions,
            residency: event.residency.clone(),
            ack_regions: event.ack_regions,
            logs: BTreeMap::new(),
        });
        channel.logs.insert(event.home.clone(), event.incarnation);
    }

    fn unname(&mut self, event: &Unnamed) -> Result<(), &'static str> {
        let channel = self.channels.get_mut(&event.channel);
        let channel = channel.ok_or("there is no channel of that name")?;
        let before = channel.logs.len();
        channel.logs.retain(|_, log| *log != event.incarnation);
        if channel.logs.len() == before {
            return Err("the channel has no log of that incarnation");
        }
        if channel.logs.is_empty() {
            self.channels.remove(&event.channel);
        }
        Ok(())
    }

    fn consent(&mut self, event: &Consent) -> Result<(), &'static str> {
        match &event.scope {
            Scope::Channel(name) => {
                let channel = self.channels.get_mut(name);
                let channel = channel.ok_or("there is no channel of that name")?;
                channel.residency.clone_from(&event.residency);
            }
            Scope::Org(name) => match &event.residency {
                Some(residency) => {
                    self.orgs.insert(name.clone(), residency.clone());
                }
                None => {
                    self.orgs.remove(name);
                }
            },
        }
        Ok(())
    }

    /// The known regions that may hold a channel.
    fn holders(
        &self,
        channel: &ChannelName,
        own: Option<&BTreeSet<RegionName>>,
    ) -> BTreeSet<RegionName> {
        let org = self.orgs.get(&owner(channel));
        let is_in = |set: Option<&BTreeSet<RegionName>>, region: &RegionName| {
            set.is_none_or(|set| set.contains(region))
        };
        let regions = self.regions.keys();
        let holders = regions.filter(|region| is_in(own, region) && is_in(org, region));
        holders.cloned().collect()
    }

    fn from_rows(rows: &mut dyn Iterator<Item = &RegionRow>) -> Result<Self, &'static str> {
        let mut state = Self::default();
        for row in rows {
            match row {
                RegionRow::Region { name, at } => state.join(name, *at)?,
                RegionRow::Left { name, at } => {
                    if state.regions.contains_key(name) {
                        return Err("a region is known and has left");
                    }
                    state.left.insert(name.clone(), *at);
                }
                RegionRow::Channel { name, channel } => {
                    let is_one = channel.regions == Spread::One;
                    if channel.logs.is_empty() || (is_one && channel.logs.len() > 1) {
                        return Err("a channel has a number of logs that it can't have");
                    }
                    let known = state.channels.insert(name.clone(), channel.clone());
                    if known.is_some() {
                        return Err("two rows are of the same channel");
                    }
                }
                RegionRow::Org { name, residency } => {
                    state.orgs.insert(name.clone(), residency.clone());
                }
                RegionRow::Crossing {
                    owner,
                    guest,
                    words,
                } => {
                    let key = (owner.clone(), guest.clone());
                    state.crossings.insert(key, *words);
                }
            }
        }
        Ok(state)
    }
}

/// The organisation that a channel belongs to.
fn owner(channel: &ChannelName) -> OrgName {
    OrgName::parse(channel.org().unwrap_or(DEFAULT_ORG_NAME)).expect("part of a channel's name")
}

fn subject(event: &RegionEvent) -> String {
    match event {
        RegionEvent::Joined(Joined { region, .. }) | RegionEvent::Left(Left { region, .. }) => {
            format!("region `{region}`")
        }
        RegionEvent::Named(Named { channel, .. })
        | RegionEvent::Unnamed(Unnamed { channel, .. }) => format!("channel `{channel}`"),
        RegionEvent::Consent(event) => match &event.scope {
            Scope::Channel(name) => format!("channel `{name}`"),
            Scope::Org(name) => format!("organisation `{name}`"),
        },
        RegionEvent::Crossing(Crossing { owner, guest, .. }) => {
            format!("`{owner}` in the hands of `{guest}`")
        }
        RegionEvent::Folded(part) => format!("part {} of {}", part.part, part.parts),
        RegionEvent::Unknown { .. } => "nobody known".to_owned(),
    }
}
