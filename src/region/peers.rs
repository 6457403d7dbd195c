//! The peers that a region was told of while it ran, folded from its topic `__peers`, which travels
//! nowhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::folding::{self, Assembly, BETWEEN_PARTS, Folded, IllegalEvent, MAX_PART_BYTES};
use crate::types::{RegionName, Timestamp};

/// A fact about peers, stored as one JSON record of the topic `__peers`. The record's type is the
/// member `type`; the member `v` is the version, now 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum PeerEvent {
    /// A region is a peer, at this address.
    #[serde(rename = "peer.set")]
    Set(PeerSet),
    /// It is none, whatever the region is told at its start.
    #[serde(rename = "peer.removed")]
    Removed(PeerRemoved),
    /// A part of the whole state; replaces all that was before once the last part is there.
    #[serde(rename = "peers.folded")]
    Folded(Folded<PeerRow>),
    /// An event of a newer broker: kept as it is, and without effect here.
    #[serde(skip)]
    Unknown {
        /// Type of the record.
        record_type: String,
        /// Payload of the record.
        payload: Vec<u8>,
    },
}

/// See [`PeerEvent::Set`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerSet {
    /// Its name.
    pub region: RegionName,
    /// Its address.
    pub url: String,
    /// When.
    pub at: Timestamp,
}

/// See [`PeerEvent::Removed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerRemoved {
    /// Its name.
    pub region: RegionName,
    /// When.
    pub at: Timestamp,
}

/// One peer in a state record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerRow {
    /// Its name.
    pub region: RegionName,
    /// Its address; `None` where it was removed.
    pub url: Option<String>,
    /// When that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

folding::topic_event! {
    PeerEvent {
        Set = "peer.set",
        Removed = "peer.removed",
        Folded = "peers.folded",
    }
}

/// What was said of peers while the region ran: it counts more than what it is told at its start. For
/// each region:
///
/// ```text
/// Unsaid --set--> Set --removed--> Removed --set--> Set
/// Unsaid --removed--> Removed                    (Set: replaced; Removed: the same again)
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    said: BTreeMap<RegionName, (Option<String>, Timestamp)>,
    assembly: Option<Assembly<PeerRow>>,
}

impl Peers {
    /// Takes an event into the state.
    ///
    /// # Errors
    /// [`IllegalEvent`] when the event cannot follow; the state is unchanged.
    pub fn apply(&mut self, event: &PeerEvent) -> Result<(), IllegalEvent> {
        self.transition(event).map_err(|rule| IllegalEvent {
            event: event.record_type().to_owned(),
            subject: "a peer".to_owned(),
            rule,
        })
    }

    /// What was said of each region: its address, or that it is no peer; by name.
    pub fn said(&self) -> impl Iterator<Item = (&RegionName, Option<&str>)> {
        let said = self.said.iter();
        said.map(|(name, (url, _))| (name, url.as_deref()))
    }

    /// When a region was last said to be a peer; none where the last word is that it is none.
    #[must_use]
    pub fn added_at(&self, region: &RegionName) -> Option<Timestamp> {
        let (url, at) = self.said.get(region)?;
        url.is_some().then_some(*at)
    }

    /// The whole state as events, to be appended as one entry.
    #[must_use]
    pub fn fold(&self) -> Vec<PeerEvent> {
        let rows = self.said.iter().map(|(region, (url, at))| PeerRow {
            region: region.clone(),
            url: url.clone(),
            at: Some(*at),
        });
        let parts = folding::split(rows, MAX_PART_BYTES);
        parts.into_iter().map(PeerEvent::Folded).collect()
    }

    fn transition(&mut self, event: &PeerEvent) -> Result<(), &'static str> {
        match event {
            PeerEvent::Unknown { .. } => {}
            PeerEvent::Folded(part) => {
                if let Some(state) = folding::join(&mut self.assembly, part, from_rows)? {
                    *self = state;
                }
            }
            _ if self.assembly.is_some() => return Err(BETWEEN_PARTS),
            PeerEvent::Set(event) => {
                let said = (Some(event.url.clone()), event.at);
                self.said.insert(event.region.clone(), said);
            }
            PeerEvent::Removed(event) => {
                self.said.insert(event.region.clone(), (None, event.at));
            }
        }
        Ok(())
    }
}

fn from_rows(rows: &mut dyn Iterator<Item = &PeerRow>) -> Result<Peers, &'static str> {
    let mut state = Peers::default();
    for row in rows {
        let said = (row.url.clone(), row.at.unwrap_or_default());
        let before = state.said.insert(row.region.clone(), said);
        if before.is_some() {
            return Err("two rows are of the same region");
        }
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> RegionName {
        RegionName::parse(name).unwrap()
    }

    fn set(name: &str, url: &str) -> PeerEvent {
        PeerEvent::Set(PeerSet {
            region: region(name),
            url: url.to_owned(),
            at: Timestamp(1),
        })
    }

    fn removed(name: &str) -> PeerEvent {
        PeerEvent::Removed(PeerRemoved {
            region: region(name),
            at: Timestamp(2),
        })
    }

    #[test]
    fn the_last_word_on_a_peer_counts_and_is_folded_to_itself() {
        let mut peers = Peers::default();
        for event in [
            set("us", "a"),
            set("eu", "b"),
            removed("us"),
            set("eu", "c"),
            removed("ap"),
        ] {
            peers.apply(&event).unwrap();
        }
        let (ap, eu, us) = (region("ap"), region("eu"), region("us"));
        let said: Vec<_> = peers.said().collect();
        assert_eq!(said, [(&ap, None), (&eu, Some("c")), (&us, None)]);
        let mut refolded = Peers::default();
        for part in peers.fold() {
            let stored = PeerEvent::decode(part.record_type(), &part.encode()).unwrap();
            refolded.apply(&stored).unwrap();
        }
        assert_eq!(refolded, peers);
    }

    #[test]
    fn a_region_was_added_when_the_last_word_says_so() {
        let mut peers = Peers::default();
        let us = region("us");
        assert_eq!(peers.added_at(&us), None);
        peers.apply(&set("us", "a")).unwrap();
        assert_eq!(peers.added_at(&us), Some(Timestamp(1)));
        // A region that was taken out is let in by nothing that came before.
        peers.apply(&removed("us")).unwrap();
        assert_eq!(peers.added_at(&us), None);
    }

    #[test]
    fn the_json_of_each_event_is_stable() {
        for (event, json) in [
            (
                set("us", "npayload://a:1"),
                r#"{"v":1,"type":"peer.set","region":"us","url":"npayload://a:1","at":1}"#,
            ),
            (
                removed("us"),
                r#"{"v":1,"type":"peer.removed","region":"us","at":2}"#,
            ),
        ] {
            assert_eq!(String::from_utf8(event.encode()).unwrap(), json);
            assert_eq!(
                PeerEvent::decode(event.record_type(), json.as_bytes()).unwrap(),
                event
            );
        }
    }
}
