//! Who is home of which log, folded from what every region says of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::{Acknowledged, Declined, Fenced, HomeEvent, Missing, Taken};
use super::lineage::Lineage;
use crate::folding::{self, Assembly, BETWEEN_PARTS, IllegalEvent, MAX_PART_BYTES};
use crate::region::{LogName, MAX_TERM, RegionNumber, Tenure};
use crate::types::{Incarnation, LogEpoch, Offset, RegionName, Timestamp};

/// That a region is home of a log from some term on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Term of its epochs.
    pub term: u32,
    /// First offset that it appends.
    pub start: Offset,
    /// Epoch of the batch before.
    pub after: LogEpoch,
    /// Whether the home before did not agree.
    pub forced: bool,
    /// What may be lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
    /// When.
    pub at: Timestamp,
}

/// That a home has stopped writing, for a planned move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fence {
    /// Offset after the last record.
    pub end: Offset,
    /// Who may take the log over.
    pub to: RegionName,
    /// In which term.
    pub next: u32,
}

/// What a region has said of one log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Said {
    /// The log's name, as last said.
    pub(super) log: LogName,
    /// Highest term that it has claimed or declined.
    pub(super) spent: u32,
    /// Its claims, by rising term.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) claims: Vec<Claim>,
    /// Its last fence, in the term of its last claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fence: Option<Fence>,
    /// Forced moves, by whom and in which term, of which somebody has seen to what they may have lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) acknowledged: Vec<(RegionName, u32)>,
}

/// What one region has said of one log, in a state record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HomeRow {
    /// Which log.
    incarnation: Incarnation,
    #[serde(flatten)]
    said: Said,
}

/// Who is home of a log now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// The region.
    pub region: RegionName,
    /// In which tenure.
    pub tenure: Tenure,
    /// First offset of this tenure.
    pub start: Offset,
    /// The planned move that it has stopped writing for.
    pub moving: Option<Fence>,
}

/// What all regions have said of the homes of logs, each on its own topic.
///
/// The topics may arrive in any order between them: the state is the same as soon as the same
/// records are there. For one log and one region, `spent` the highest term it claimed or declined:
///
/// ```text
/// Never --taken--> Home --fenced--> Fenced --taken--> Home     (taken and declined: above spent)
///   |              ^ taken, declined  ^ fenced (next rises), declined
///   +--fenced (term 0)--> Fenced
/// ```
///
/// That somebody has seen to what a forced move may have lost changes none of these states.
///
/// A state record replaces what its region has said once its last part is there; no other event
/// may stand between its parts. An unknown event changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Homes {
    pub(super) said: BTreeMap<(Incarnation, RegionName), Said>,
    assemblies: BTreeMap<RegionName, Option<Assembly<HomeRow>>>,
}

impl Homes {
    /// Forgets all that a region has said: its topic is folded anew.
    pub fn forget(&mut self, by: &RegionName) {
        self.said.retain(|(_, region), _| region != by);
        self.assemblies.remove(by);
    }

    /// Takes the next event of a region's topic into the state. One function checks an append and
    /// replays the topic.
    ///
    /// # Errors
    /// [`IllegalEvent`] when the event cannot follow; the state is unchanged.
    pub fn apply(&mut self, by: &RegionName, event: &HomeEvent) -> Result<(), IllegalEvent> {
        self.transition(by, event).map_err(|rule| IllegalEvent {
            event: event.record_type().to_owned(),
            subject: subject(by, event),
            rule,
        })
    }

    /// Who is home of a log: the highest claim, or who made it.
    ///
    /// - `made_in`: the region that the directory says the log was made in.
    #[must_use]
    pub fn home(&self, log: Incarnation, made_in: &RegionName) -> Home {
        let claims = self.of(log).filter_map(|(region, said)| {
            let claim = said.claims.last()?;
            Some((tenure(region, claim.term), region, claim.start))
        });
        let made = (tenure(made_in, 0), made_in, Offset(0));
        let (tenure, region, start) = claims.chain([made]).max().expect("at least one");
        let said = self.said.get(&(log, region.clone()));
        let fence = said.and_then(|said| said.fence.as_ref());
        // Where the target has spent the term without being home, it has declined.
        let stands = |fence: &&Fence| {
            let target = self.said.get(&(log, fence.to.clone()));
            target.is_none_or(|target| target.spent < fence.next)
        };
        Home {
            region: region.clone(),
            tenure,
            start,
            moving: fence.filter(stands).cloned(),
        }
    }

    /// Which batches belong to a log.
    #[must_use]
    pub fn lineage(&self, log: Incarnation) -> Lineage {
        Lineage::of(self.of(log).flat_map(|(region, said)| {
            let claims = said.claims.iter();
            claims.map(move |claim| (tenure(region, claim.term), claim))
        }))
    }

    /// Every log of which a claim, fence or refusal is known; sorted.
    pub fn logs(&self) -> impl Iterator<Item = Incarnation> {
        let mut last = None;
        let logs = self.said.keys().map(|(log, _)| *log);
        logs.filter(move |log| last.replace(*log) != Some(*log))
    }

    /// The name under which a log was last spoken of.
    #[must_use]
    pub fn name(&self, log: Incarnation) -> Option<&LogName> {
        let said = self.of(log).max_by_key(|(_, said)| said.spent);
        said.map(|(_, said)| &said.log)
    }

    /// How many rows there are of all that a region has said.
    #[must_use]
    pub fn rows_of(&self, by: &RegionName) -> usize {
        self.said.keys().filter(|(_, region)| region == by).count()
    }

    /// The logs of which a region has claimed the home, or refused to: what others know of where they
    /// live rests on that.
    pub fn claimed_by<'a>(
        &'a self,
        by: &'a RegionName,
    ) -> impl Iterator<Item = (Incarnation, &'a LogName)> {
        let said = self
            .said
            .iter()
            .filter(move |((_, region), _)| region == by);
        let spent = said.filter(|(_, said)| said.spent > 0);
        spent.map(|((log, _), said)| (*log, &said.log))
    }

    /// The claims of a log with who made them, by region and term: what may be missing stands in
    /// those that were forced.
    pub fn claims(&self, log: Incarnation) -> impl Iterator<Item = (&RegionName, &Claim)> {
        self.of(log)
            .flat_map(|(region, said)| said.claims.iter().map(move |claim| (region, claim)))
    }

    /// Whether somebody has seen to what a forced move may have lost, whichever region was told so.
    #[must_use]
    pub fn is_acknowledged(&self, log: Incarnation, by: &RegionName, term: u32) -> bool {
        let mut said = self.of(log);
        said.any(|(_, said)| said.has_acknowledged(by, term))
    }

    /// All that a region has said, as events to be appended to its topic as one entry. Applied in
    /// order, in any state that stands between two entries, they leave it as it is.
    #[must_use]
    pub fn fold(&self, by: &RegionName) -> Vec<HomeEvent> {
        let said = self.said.iter().filter(|((_, region), _)| region == by);
        let rows = said.map(|((incarnation, _), said)| HomeRow {
            incarnation: *incarnation,
            said: said.clone(),
        });
        folding::split(rows, MAX_PART_BYTES)
            .into_iter()
            .map(HomeEvent::Folded)
            .collect()
    }

    pub(super) fn of(
        &self,
        log: Incarnation,
    ) -> impl Iterator<Item = (&RegionName, &Said)> + Clone {
        // No region's name is before this one.
        let first = RegionName::parse("0").expect("a digit is a name");
        self.said
            .range((log, first)..)
            .take_while(move |((id, _), _)| *id == log)
            .map(|((_, region), said)| (region, said))
    }

    fn transition(&mut self, by: &RegionName, event: &HomeEvent) -> Result<(), &'static str> {
        match event {
            HomeEvent::Unknown { .. } => return Ok(()),
            HomeEvent::Folded(part) => {
                let assembly = self.assemblies.entry(by.clone()).or_default();
                let rows = folding::join(assembly, part, rows);
                if assembly.is_none() {
                    self.assemblies.remove(by);
                }
                if let Some(rows) = rows? {
                    self.said.retain(|(_, region), _| region != by);
                    let said = rows.into_iter();
                    self.said
                        .extend(said.map(|(log, said)| ((log, by.clone()), said)));
                }
                return Ok(());
            }
            _ if self.assemblies.contains_key(by) => return Err(BETWEEN_PARTS),
            _ => {}
        }
        let (incarnation, log) = match event {
            HomeEvent::Fenced(event) => (event.incarnation, &event.log),
            HomeEvent::Taken(event) => (event.incarnation, &event.log),
            HomeEvent::Declined(event) => (event.incarnation, &event.log),
            HomeEvent::Acknowledged(event) => (event.incarnation, &event.log),
            HomeEvent::Folded(_) | HomeEvent::Unknown { .. } => unreachable!("handled above"),
        };
        let key = (incarnation, by.clone());
        let mut said = self.said.get(&key).cloned().unwrap_or_else(|| Said {
            log: log.clone(),
            spent: 0,
            claims: Vec::new(),
            fence: None,
            acknowledged: Vec::new(),
        });
        match event {
            HomeEvent::Fenced(event) => said.fenced(event)?,
            HomeEvent::Taken(event) => said.taken(event)?,
            HomeEvent::Declined(event) => said.declined(event)?,
            HomeEvent::Acknowledged(event) => said.acknowledges(event)?,
            HomeEvent::Folded(_) | HomeEvent::Unknown { .. } => unreachable!("handled above"),
        }
        said.log = log.clone();
        self.said.insert(key, said);
        Ok(())
    }
}

impl Said {
    fn fenced(&mut self, event: &Fenced) -> Result<(), &'static str> {
        let home_of = self.claims.last().map_or(0, |claim| claim.term);
        if event.term != home_of {
            return Err("the region is not home in that term");
        }
        let before = self.fence.as_ref().map_or(home_of, |fence| fence.next);
        if event.next <= before || event.next > MAX_TERM {
            return Err("the term for the target is not above those before it");
        }
        self.fence = Some(Fence {
            end: event.end,
            to: event.to.clone(),
            next: event.next,
        });
        Ok(())
    }

    fn taken(&mut self, event: &Taken) -> Result<(), &'static str> {
        self.spend(event.term)?;
        self.fence = None;
        self.claims.push(Claim {
            term: event.term,
            start: event.start,
            after: event.after,
            forced: event.forced,
            missing: event.missing,
            at: event.at,
        });
        Ok(())
    }

    fn declined(&mut self, event: &Declined) -> Result<(), &'static str> {
        self.spend(event.term)
    }

    /// The claim itself may come later, on another region's topic.
    fn acknowledges(&mut self, event: &Acknowledged) -> Result<(), &'static str> {
        if self.has_acknowledged(&event.by, event.term) {
            return Err("the region has acknowledged that before");
        }
        self.acknowledged.push((event.by.clone(), event.term));
        Ok(())
    }

    fn has_acknowledged(&self, by: &RegionName, term: u32) -> bool {
        let mut all = self.acknowledged.iter();
        all.any(|(region, of)| region == by && *of == term)
    }

    fn spend(&mut self, term: u32) -> Result<(), &'static str> {
        if term <= self.spent || term > MAX_TERM {
            return Err("the region has claimed or declined that term or a higher one");
        }
        self.spent = term;
        Ok(())
    }
}

pub(super) fn tenure(region: &RegionName, term: u32) -> Tenure {
    let region = RegionNumber::of(region);
    Tenure { term, region }
}

fn rows(
    rows: &mut dyn Iterator<Item = &HomeRow>,
) -> Result<BTreeMap<Incarnation, Said>, &'static str> {
    let mut all = BTreeMap::new();
    for row in rows {
        let claims = &row.said.claims;
        let is_rising = claims.is_sorted_by(|a, b| a.term < b.term);
        let last = claims.last().map_or(0, |claim| claim.term);
        if !is_rising || last > row.said.spent {
            return Err("the terms of a row do not rise");
        }
        if all.insert(row.incarnation, row.said.clone()).is_some() {
            return Err("two rows are of the same log");
        }
    }
    Ok(all)
}

fn subject(by: &RegionName, event: &HomeEvent) -> String {
    match event {
        HomeEvent::Fenced(Fenced { log, .. })
        | HomeEvent::Taken(Taken { log, .. })
        | HomeEvent::Declined(Declined { log, .. })
        | HomeEvent::Acknowledged(Acknowledged { log, .. }) => format!("log `{log}` by `{by}`"),
        HomeEvent::Folded(part) => format!("part {} of {} by `{by}`", part.part, part.parts),
        HomeEvent::Unknown { .. } => "nobody known".to_owned(),
    }
}
