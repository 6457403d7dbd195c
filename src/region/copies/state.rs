//! The copies that this region has, folded from [`CopyEvent`]s.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::cursor::GapReason;
use super::event::{Anew, AsideReason, CopyEvent, Republication, Seen, SetAside, Widening};
use crate::folding::{self, Assembly, BETWEEN_PARTS, IllegalEvent, MAX_PART_BYTES};
use crate::region::LogName;
use crate::types::{Incarnation, Offset, RegionName, Timestamp};

/// A copy that this region keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Copy {
    /// The log's name.
    pub log: LogName,
    /// From where it is pulled.
    pub source: RegionName,
    /// Its first offset.
    pub from: Offset,
    /// Record types that it is of; `None` is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<String>>,
    /// Records that it will never have, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<CopyGap>,
    /// Why it is not followed, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// When it was begun.
    pub at: Timestamp,
    /// One with more is written beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wider: Option<Widening>,
    /// What its home was last heard to have synced, where that is on the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
    /// Nobody knows what it says until all of it has come anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anew: Option<Anew>,
}

/// Records that a copy will never have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyGap {
    /// First offset.
    pub from: Offset,
    /// Offset after the last.
    pub to: Offset,
    /// Why.
    pub reason: GapReason,
}

/// Why a copy is not followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stop {
    /// Name of the error.
    pub code: String,
    /// For a person.
    pub message: String,
    /// The copy's end.
    pub offset: Offset,
    /// When.
    pub at: Timestamp,
}

/// One copy in a state record, or what was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CopyRow {
    /// A copy.
    Copy {
        /// Which log.
        incarnation: Incarnation,
        /// The copy.
        copy: Copy,
    },
    /// What lies elsewhere.
    Aside(SetAside),
}

impl Copy {
    /// Whether it can serve as a source: it is of all types, and has all from `log_start` on.
    ///
    /// - `log_start`: lowest offset still readable at home.
    #[must_use]
    pub fn is_whole(&self, log_start: Offset) -> bool {
        self.types.is_none()
            && self.from <= log_start
            && self.gaps.iter().all(|gap| gap.to <= log_start)
    }

    /// Takes away what lies from an offset on.
    fn cut(&mut self, from: Offset) {
        self.gaps.retain(|gap| gap.from < from);
        if let Some(last) = self.gaps.last_mut() {
            last.to = last.to.min(from);
        }
    }

    /// The gap that holds an offset.
    #[must_use]
    pub fn gap_at(&self, offset: Offset) -> Option<Range<Offset>> {
        let gap = self
            .gaps
            .iter()
            .find(|gap| (gap.from..gap.to).contains(&offset))?;
        Some(gap.from..gap.to)
    }
}

/// All copies of this region. For each incarnation:
///
/// ```text
/// Absent --begun--> Copying --stopped--> Stopped --resumed--> Copying
///                    |  ^ gap, setAside   |  ^ stopped, setAside
///                    |  | widening, widened  | widening, widened
///                    |  | anew, whole     |  | anew, whole
///                    |  +--               |  +--
///                    +-- purged, setAside as recreated --> Absent --purged--> Absent
/// ```
///
/// What was set aside as recreated is kept whole under a name of its own, and is purged by itself.
/// Records set aside because another region has them otherwise leave a copy that ends before them.
/// Those that a home refused of an outbox are no copy's, and change none.
/// What lies elsewhere may be published again, in one channel or several: how much of it is there never
/// goes down. Of what a home was heard to have synced, the highest of its tenure stays. A copy that is
/// brought anew is that until it is whole, whether or not anything of it is here meanwhile.
///
/// A gap follows the ones before it. A state record replaces all once its last part is there; no
/// other event may stand between its parts. An unknown event changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    copies: BTreeMap<Incarnation, Copy>,
    aside: Vec<SetAside>,
    assembly: Option<Assembly<CopyRow>>,
}

impl Copies {
    /// Takes an event into the state. One function checks an append and replays the log.
    ///
    /// # Errors
    /// [`IllegalEvent`] when the event cannot follow; the state is unchanged.
    pub fn apply(&mut self, event: &CopyEvent) -> Result<(), IllegalEvent> {
        self.transition(event).map_err(|rule| IllegalEvent {
            event: event.record_type().to_owned(),
            subject: subject(event),
            rule,
        })
    }

    /// A copy, by the log it is of.
    #[must_use]
    pub fn copy(&self, incarnation: Incarnation) -> Option<&Copy> {
        self.copies.get(&incarnation)
    }

    /// All copies, by incarnation.
    pub fn list(&self) -> impl Iterator<Item = (Incarnation, &Copy)> {
        self.copies.iter().map(|(id, copy)| (*id, copy))
    }

    /// What lies elsewhere, the oldest first.
    #[must_use]
    pub fn aside(&self) -> &[SetAside] {
        &self.aside
    }

    /// Whether a copy of this log is kept beside the one that has its name.
    #[must_use]
    pub fn is_beside(&self, incarnation: Incarnation) -> bool {
        let mut aside = self.aside.iter();
        aside.any(|it| it.incarnation == incarnation && it.reason == AsideReason::Recreated)
    }

    /// The whole state as events, to be appended as one entry. Applied in order, to any state that
    /// stands between two entries, they give a state identical to this one.
    #[must_use]
    pub fn fold(&self) -> Vec<CopyEvent> {
        let copies = self.copies.iter().map(|(id, copy)| CopyRow::Copy {
            incarnation: *id,
            copy: copy.clone(),
        });
        let rows = copies.chain(self.aside.iter().cloned().map(CopyRow::Aside));
        folding::split(rows, MAX_PART_BYTES)
            .into_iter()
            .map(CopyEvent::Folded)
            .collect()
    }

    /// The state without gaps over records that are not readable any more, which would only
    /// accumulate.
    ///
    /// - `log_start`: lowest offset that a copy still has; `None` where it is not known.
    #[must_use]
    pub fn without_gaps_below(&self, log_start: impl Fn(Incarnation) -> Option<Offset>) -> Self {
        let mut state = self.clone();
        for (id, copy) in &mut state.copies {
            if let Some(start) = log_start(*id) {
                copy.gaps.retain(|gap| gap.to > start);
            }
        }
        state
    }

    fn transition(&mut self, event: &CopyEvent) -> Result<(), &'static str> {
        match event {
            CopyEvent::Unknown { .. } => Ok(()),
            CopyEvent::Folded(part) => {
                if let Some(state) = folding::join(&mut self.assembly, part, Self::from_rows)? {
                    *self = state;
                }
                Ok(())
            }
            _ if self.assembly.is_some() => Err(BETWEEN_PARTS),
            CopyEvent::Begun(event) => {
                let copy = Copy {
                    log: event.log.clone(),
                    source: event.source.clone(),
                    from: event.from,
                    types: event.types.clone(),
                    gaps: Vec::new(),
                    stop: None,
                    at: event.at,
                    wider: None,
                    seen: None,
                    anew: None,
                };
                if self.copies.contains_key(&event.incarnation) {
                    return Err("there is a copy of this log");
                }
                self.copies.insert(event.incarnation, copy);
                Ok(())
            }
            CopyEvent::Gap(event) => {
                let copy = self.known(event.incarnation)?;
                if copy.stop.is_some() {
                    return Err("the copy is stopped");
                }
                let last = copy.gaps.last().map_or(copy.from, |gap| gap.to);
                if event.from >= event.to || event.from < last {
                    return Err("a gap follows the one before it and has offsets");
                }
                copy.gaps.push(CopyGap {
                    from: event.from,
                    to: event.to,
                    reason: event.reason,
                });
                Ok(())
            }
            CopyEvent::Stopped(event) => {
                self.known(event.incarnation)?.stop = Some(Stop {
                    code: event.code.clone(),
                    message: event.message.clone(),
                    offset: event.offset,
                    at: event.at,
                });
                Ok(())
            }
            CopyEvent::Resumed(event) => {
                let copy = self.known(event.incarnation)?;
                if copy.stop.take().is_none() {
                    return Err("the copy is not stopped");
                }
                copy.source = event.source.clone();
                Ok(())
            }
            CopyEvent::SetAside(event) => {
                if event.from > event.end {
                    return Err("its range ends before it begins");
                }
                match event.reason {
                    AsideReason::Recreated => {
                        self.known(event.incarnation)?;
                        self.copies.remove(&event.incarnation);
                    }
                    AsideReason::Overtaken | AsideReason::Diverged => {
                        self.known(event.incarnation)?.cut(event.from);
                    }
                    // It was in an outbox, whether or not there is a copy of its channel.
                    AsideReason::Refused if event.refused.is_none() => {
                        return Err("it does not say what was refused");
                    }
                    AsideReason::Refused => {}
                }
                self.aside.push(event.clone());
                Ok(())
            }
            CopyEvent::Republished(event) => self.republished(event),
            CopyEvent::Seen(event) => {
                let copy = self.known(event.incarnation)?;
                let is_same = |seen: &&Seen| seen.home == event.home && seen.term == event.term;
                let before = copy.seen.as_ref().filter(is_same).map(|seen| seen.flushed);
                if before.is_some_and(|before| before >= event.flushed) {
                    return Err("as much was seen of this home before");
                }
                copy.seen = Some(event.clone());
                Ok(())
            }
            CopyEvent::Widening(event) => {
                self.known(event.incarnation)?.wider = Some(event.clone());
                Ok(())
            }
            CopyEvent::Widened(event) => {
                let copy = self.known(event.incarnation)?;
                let wider = copy.wider.as_ref();
                if wider.is_none_or(|it| (it.from, &it.types) != (event.from, &event.types)) {
                    return Err("no such copy is written beside it");
                }
                // It has everything from there on.
                copy.wider = None;
                copy.gaps.clear();
                copy.from = event.from;
                copy.types = event.types.clone();
                Ok(())
            }
            CopyEvent::Anew(event) => {
                self.known(event.incarnation)?.anew = Some(event.clone());
                Ok(())
            }
            CopyEvent::Whole(event) => {
                let copy = self.known(event.incarnation)?;
                if copy.anew.take().is_none() {
                    return Err("the copy is not brought anew");
                }
                Ok(())
            }
            CopyEvent::Purged(event) => {
                let (known, id) = (self.aside.len(), event.incarnation);
                self.aside.retain(|aside| {
                    aside.incarnation != id || aside.reason != AsideReason::Recreated
                });
                if self.copies.remove(&id).is_none() && self.aside.len() == known {
                    return Err("there is no copy of this log");
                }
                Ok(())
            }
        }
    }

    fn republished(&mut self, event: &Republication) -> Result<(), &'static str> {
        let is_it = |aside: &&mut SetAside| {
            aside.incarnation == event.incarnation && aside.place == event.place
        };
        let aside = self.aside.iter_mut().find(is_it);
        let aside = aside.ok_or("nothing was set aside there")?;
        let new = &event.republished;
        let mut rows = aside.republished.iter_mut();
        match rows.find(|row| row.to == new.to && row.target == new.target) {
            Some(row) if row.done || row.records > new.records => {
                return Err("more of it is there already");
            }
            Some(row) => *row = new.clone(),
            None => aside.republished.push(new.clone()),
        }
        Ok(())
    }

    fn known(&mut self, incarnation: Incarnation) -> Result<&mut Copy, &'static str> {
        let copy = self.copies.get_mut(&incarnation);
        copy.ok_or("there is no copy of this log")
    }

    fn from_rows(rows: &mut dyn Iterator<Item = &CopyRow>) -> Result<Self, &'static str> {
        let mut state = Self::default();
        for row in rows {
            match row {
                CopyRow::Copy { incarnation, copy } => {
                    if state.copies.insert(*incarnation, copy.clone()).is_some() {
                        return Err("two rows are of the same copy");
                    }
                }
                CopyRow::Aside(aside) => state.aside.push(aside.clone()),
            }
        }
        Ok(state)
    }
}

fn subject(event: &CopyEvent) -> String {
    match (event, event.incarnation()) {
        (_, Some(incarnation)) => format!("the copy of {incarnation}"),
        (CopyEvent::Folded(part), None) => format!("part {} of {}", part.part, part.parts),
        _ => "nobody known".to_owned(),
    }
}
