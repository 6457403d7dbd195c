//! Topics of other regions of which nobody knows here what they say: the copy is damaged, or brought
//! anew and not whole yet.
//!
//! ```text
//!   damaged ──copy.anew──▶ removed ──▶ brought from its beginning ──all of it is here──▶ copy.whole
//! ```
//! That is on the record before anything is removed, and until all of the new one is here: whatever is
//! cut in between, a start knows what nobody knows.

use std::collections::{BTreeMap, BTreeSet};

use super::copies::{NewCopy, Residence};
use super::core::{Accepted, Broker, Refusal};
use super::directory::CreateError;
use super::error::BrokerError;
use super::regions::Seat;
use super::travelled::Travelling;
use crate::region::LogName;
use crate::region::copies::{Anew, CopyEvent, Purged, Whole};
use crate::types::{ChannelName, Incarnation, Offset, RegionName, Timestamp};

/// The topics of which nobody knows here what they say, by their names here.
#[derive(Debug, Default)]
pub(super) struct Lackings(BTreeMap<ChannelName, Lacking>);

#[derive(Debug)]
struct Lacking {
    /// The log that is not known.
    id: Incarnation,
    why: String,
    /// Whether what is here of it is sound, and only not all yet. Else it is removed first.
    is_anew: bool,
    /// How far it has to go, once its region has told.
    end: Option<Offset>,
    /// Its region was begun anew, and has another log of the name.
    is_other_life: bool,
}

impl Lackings {
    /// The regions of which nobody knows here what they have said of homes, and why.
    pub fn of_homes(&self) -> impl Iterator<Item = (RegionName, &str)> {
        self.0.iter().filter_map(|(name, lacking)| {
            let region = name.region().filter(|_| is_of(name, Travelling::Homes))?;
            Some((RegionName::parse(region).ok()?, lacking.why.as_str()))
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether nobody knows here what all regions have agreed on.
    pub fn has_directory(&self) -> bool {
        self.0.keys().any(|name| is_of(name, Travelling::Regions))
    }

    /// Whether nobody knows what that log says.
    pub fn has(&self, id: Incarnation) -> bool {
        self.0.values().any(|lacking| lacking.id == id)
    }
}

/// What is to be done where nobody can say any more what a topic says.
const OTHER_LIFE: &str = "its region has begun it anew, and nobody can say what the one before said: \
    `npayload region leave REGION` takes that region out, and it begins again under another name";
/// What becomes of a topic of which nobody knows here what it says.
const BROUGHT: &str = "it is brought anew from its region once that is linked";

fn is_of(name: &ChannelName, topic: Travelling) -> bool {
    Travelling::of(name) == Some(topic)
}

impl Broker {
    /// What a topic of another region says is damaged here.
    pub(super) fn lacks(&mut self, name: &ChannelName, id: Incarnation, why: String) {
        tracing::error!(
            %name, why,
            "what another region says of homes is not known: what lives here takes no writes, as \
             that region may have taken it over"
        );
        let lacking = Lacking {
            id,
            why,
            is_anew: false,
            end: None,
            is_other_life: false,
        };
        self.lacking.0.insert(name.clone(), lacking);
    }

    /// All of a topic is removed that is to come anew.
    ///
    /// # Errors
    /// [`Refusal`]: there is no room for the record.
    pub(super) fn lets_go(
        &mut self,
        name: &ChannelName,
        why: &str,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let Residence::Copy(id, _) = self.residence(name) else {
            return Ok(());
        };
        self.note_anew(id, why, now)?;
        let lacking = |is_anew| Lacking {
            id,
            why: why.to_owned(),
            is_anew,
            end: None,
            is_other_life: false,
        };
        self.lacking.0.insert(name.clone(), lacking(false));
        self.remove_travelled(name, now)?;
        self.lacking.0.insert(name.clone(), lacking(true));
        Ok(())
    }

    fn note_anew(&mut self, id: Incarnation, why: &str, at: Timestamp) -> Result<(), Refusal> {
        let copy = self.kept.copies.copy(id);
        if copy.is_some_and(|copy| copy.anew.is_some()) {
            return Ok(());
        }
        let (incarnation, why) = (id, why.to_owned());
        let anew = Anew {
            incarnation,
            why,
            at,
        };
        self.record_copy(CopyEvent::Anew(anew), at).map(drop)
    }

    /// What a start has to know of topics that were to be brought anew, whatever was cut; and puts on
    /// the record which are damaged.
    pub(super) fn find_lacking(&mut self, now: Timestamp) {
        let kept = self.kept.copies.list();
        let noted: Vec<(ChannelName, Lacking)> = kept
            .filter_map(|(id, copy)| {
                let name = ChannelName::parse_any(&copy.log.to_string()).ok()?;
                let lacking = Lacking {
                    id,
                    why: copy.anew.as_ref()?.why.clone(),
                    is_anew: true,
                    end: None,
                    is_other_life: false,
                };
                Some((name, lacking))
            })
            .collect();
        for (name, lacking) in noted {
            let (id, why) = (lacking.id, lacking.why.clone());
            if let std::collections::btree_map::Entry::Vacant(place) = self.lacking.0.entry(name) {
                tracing::warn!(log = %id, why, "a topic of another region is not all here yet");
                place.insert(lacking);
            }
        }
        let damaged = self.lacking.0.values().filter(|lacking| !lacking.is_anew);
        let damaged: Vec<(Incarnation, String)> =
            damaged.map(|it| (it.id, it.why.clone())).collect();
        for (id, why) in damaged {
            if let Err(refusal) = self.note_anew(id, &why, now) {
                tracing::warn!(log = %id, error = %refusal.error, "that it is damaged is recorded later");
            }
        }
    }

    /// Checks that a topic that is offered is the one of which something is not known here.
    ///
    /// # Errors
    /// Why it is not followed: its region was begun anew.
    pub fn check_life(&mut self, name: &ChannelName, id: Incarnation) -> Result<(), String> {
        let Some(lacking) = self.lacking.0.get_mut(name) else {
            return Ok(());
        };
        lacking.is_other_life = lacking.id != id;
        match lacking.is_other_life {
            true => Err(OTHER_LIFE.to_owned()),
            false => Ok(()),
        }
    }

    /// Removes the copy of a topic that is damaged, as its region is there to say all of it again.
    /// Its identity is answered, and what that waits for.
    ///
    /// # Errors
    /// [`Refusal`]: there is no room for the records.
    pub fn begin_anew(
        &mut self,
        name: &ChannelName,
        now: Timestamp,
    ) -> Result<Option<Accepted<Incarnation>>, Refusal> {
        let Residence::Copy(id, from) = self.residence(name) else {
            return Ok(None);
        };
        let lacking = self.lacking.0.get(name).filter(|it| !it.is_anew);
        let Some(why) = lacking.map(|lacking| lacking.why.clone()) else {
            return Ok(None);
        };
        self.lets_go(name, &why, now)?;
        if is_of(name, Travelling::Homes) {
            self.homes.homes.forget(&from);
        }
        tracing::warn!(%name, "what another region says is brought anew");
        Ok(Some(Accepted {
            value: id,
            wait: self.directory_wait(),
        }))
    }

    /// A region has told how far goes what it says on a topic, of which some is here.
    pub fn topic_goes_to(&mut self, name: &ChannelName, end: Offset, now: Timestamp) {
        let Some(lacking) = self.lacking.0.get_mut(name) else {
            return;
        };
        lacking.end = Some(end);
        let log = self.identity_of(name).and_then(|id| self.storage.log(id));
        if let Some(here) = log.map(|log| log.end()) {
            self.has_topic_to(name, here, now);
        }
    }

    /// All of a topic below an offset is here.
    pub(super) fn has_topic_to(&mut self, name: &ChannelName, here: Offset, now: Timestamp) {
        let lacking = self.lacking.0.get(name);
        let is_all =
            |lacking: &Lacking| lacking.is_anew && lacking.end.is_some_and(|end| end <= here);
        if lacking.is_some_and(is_all) {
            self.has_topic(name, now);
        }
    }

    /// All of a topic is known again.
    pub(super) fn has_topic(&mut self, name: &ChannelName, now: Timestamp) {
        let Some(lacking) = self.lacking.0.remove(name) else {
            return;
        };
        tracing::info!(%name, "what another region says is known again");
        if is_of(name, Travelling::Regions) {
            self.consents += 1; // Others may be told again what they ask for.
        }
        self.unnote(lacking.id, now);
    }

    /// Takes off the record that a topic is brought anew. Where there is no room for that, the next
    /// start asks once more.
    fn unnote(&mut self, incarnation: Incarnation, at: Timestamp) {
        let copy = self.kept.copies.copy(incarnation);
        if copy.is_none_or(|copy| copy.anew.is_none()) {
            return;
        }
        let channel = self.directory.by_incarnation(incarnation);
        let event = match channel.is_some_and(|channel| channel.is_live()) {
            true => CopyEvent::Whole(Whole { incarnation, at }),
            false => CopyEvent::Purged(Purged { incarnation, at }),
        };
        self.note_copy(event, at);
    }

    /// This region goes on alone: nobody takes over what lives here, nor asks who may hold it.
    pub(super) fn lacks_nothing(&mut self, now: Timestamp) {
        for (_, lacking) in std::mem::take(&mut self.lacking.0) {
            self.unnote(lacking.id, now);
        }
    }

    /// Whether a region takes nothing over that lives here: it has left, or this one has, and goes on
    /// without it.
    pub(super) fn is_without(&self, region: &RegionName) -> bool {
        let mut said = self.peers.said();
        let is_removed = said.any(|(name, url)| name == region && url.is_none());
        let is_alone = self.directory_seat() == Seat::Nowhere && !self.lacking.has_directory();
        self.regions.left_at(region).is_some() || (is_alone && is_removed)
    }

    /// A log that is known here or has a name, and of which a region has claimed the home or refused
    /// to: who is home of it, and what of it belongs to it, rests on that.
    fn rests_on(&self, region: &RegionName) -> Option<LogName> {
        self.homes.homes.claimed_by(region).next()?;
        let named = self.regions.channels();
        let named: BTreeSet<Incarnation> = named
            .flat_map(|(_, known)| known.logs.values().copied())
            .collect();
        let is_here = |id: Incarnation| {
            let channel = self.directory.by_incarnation(id);
            channel.is_some_and(|channel| channel.is_live())
        };
        let mut claimed = self.homes.homes.claimed_by(region);
        let known = claimed.find(|(id, _)| named.contains(id) || is_here(*id));
        known.map(|(_, log)| log.clone())
    }

    /// Checks that the copy of a topic, whose region was begun anew, may be begun anew by itself.
    ///
    /// # Errors
    /// Why it stays as it is, and what to do, for a person.
    pub fn check_begin_anew(&self, name: &ChannelName) -> Result<(), String> {
        let Residence::Copy(_, from) = self.residence(name) else {
            return Err("there is no copy of it here".to_owned());
        };
        match Travelling::of(name) {
            Some(Travelling::Interest | Travelling::Access) => Ok(()),
            Some(Travelling::Homes) => match self.rests_on(&from) {
                None => Ok(()),
                Some(log) => Err(format!(
                    "its region has begun it anew, and what the region said before stays, as `{log}` \
                     rests on it: move what is home there with `npayload region move --force`, and \
                     begin the region again under another name"
                )),
            },
            _ => Err(
                "its region has begun it anew; this copy is of the one before, and goes with \
                 `npayload region purge`"
                    .to_owned(),
            ),
        }
    }

    /// Makes the copy of a topic whose region was begun anew, in the place of that of the one before,
    /// which is removed: one entry says both.
    ///
    /// # Errors
    /// [`Refusal`]: it has to stay, the identity is taken, or there is no room. Nothing is changed.
    pub fn create_travelled_anew(
        &mut self,
        new: NewCopy,
        now: Timestamp,
    ) -> Result<Accepted<()>, Refusal> {
        let wrong = |what: String| BrokerError::NotBeside {
            channel: new.name.to_string(),
            what,
        };
        self.check_begin_anew(&new.name).map_err(wrong)?;
        let Residence::Copy(old, from) = self.residence(&new.name) else {
            return Err(wrong("has no copy here".to_owned()).into());
        };
        if self.directory.by_incarnation(new.incarnation).is_some() {
            let (name, incarnation) = (new.name, new.incarnation);
            return Err(BrokerError::from(CreateError::Exists { name, incarnation }).into());
        }
        let name = new.name.clone();
        let accepted = self.put_travelled(new, Some(old), now)?;
        self.forget_said(&name, &from);
        tracing::warn!(
            %name, %old, region = %from,
            "a region was begun anew: what it said before counts no more"
        );
        Ok(accepted)
    }

    /// Forgets what was folded from the copy of a topic that is gone.
    pub(super) fn forget_said(&mut self, name: &ChannelName, from: &RegionName) {
        self.lacking.0.remove(name);
        match Travelling::of(name) {
            Some(Travelling::Access) => self.access.forget_of(from),
            Some(Travelling::Homes) => self.homes.homes.forget(from),
            Some(Travelling::Interest) => drop(self.interests_of.remove(from)),
            Some(Travelling::Regions) | None => {}
        }
    }

    /// Checks that the copy of an internal topic may be removed by who runs the broker.
    ///
    /// # Errors
    /// [`BrokerError::NotPurged`]: what it says is needed, or not known.
    pub(super) fn check_purge_topic(
        &self,
        name: &ChannelName,
        from: &RegionName,
    ) -> Result<(), BrokerError> {
        let refused = |what| BrokerError::NotPurged {
            channel: name.to_string(),
            what,
        };
        match Travelling::of(name) {
            Some(Travelling::Regions) => Err(refused(
                "says who may hold what, and goes with `npayload region leave`",
            )),
            Some(Travelling::Homes) if self.lacking.0.contains_key(name) => {
                match self.is_without(from) {
                    true => Ok(()),
                    false => Err(refused(
                        "is brought anew once its region is linked, and goes by hand once that has \
                         left (`npayload region leave REGION`)",
                    )),
                }
            }
            Some(Travelling::Homes) if self.rests_on(from).is_some() => Err(refused(
                "says who is home of logs that are known here: move what is home there with \
                 `npayload region move --force`, and begin the region again under another name",
            )),
            _ => Ok(()),
        }
    }

    /// Whether the directory of all regions was here, and is to come again.
    #[must_use]
    pub fn lacks_directory(&self) -> bool {
        self.lacking.has_directory()
    }

    /// The topics of which nobody knows here what they say: name, identity, and why, for a person.
    pub fn lacking_topics(&self) -> impl Iterator<Item = (&ChannelName, Incarnation, String)> {
        let all = self.lacking.0.iter();
        all.map(|(name, lacking)| {
            let then = match lacking.is_other_life {
                true => OTHER_LIFE,
                false => BROUGHT,
            };
            (
                name,
                lacking.id,
                format!("DAMAGED: {}; {then}", lacking.why),
            )
        })
    }
}
