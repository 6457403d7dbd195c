//! Peers that the region was told of while it ran, on the record of `__peers`.

use super::copies::Residence;
use super::core::{Accepted, Broker, ChannelState, Refusal, log_options};
use super::directory::{Created, DirectoryEvent};
use super::error::{BrokerError, BrokerOpenError};
use super::journal::OwnRecord;
use super::producers::Producers;
use super::topic::{Fold, TopicError, fold_topic, read_topic};
use crate::folding::{EventError, IllegalEvent};
use crate::region::peers::{PeerEvent, Peers};
use crate::storage::Need;
use crate::types::{ChannelName, Incarnation, Offset, Timestamp};

/// The topic of peers.
const PEERS: &str = "__peers";

fn topic() -> ChannelName {
    ChannelName::parse_any(PEERS).expect("a constant that follows the rule")
}

impl Broker {
    /// What was said of peers while the region ran.
    #[must_use]
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Records what is said of a peer.
    ///
    /// # Errors
    /// [`Refusal`]: the broker is no region, or there is no room.
    pub fn record_peer(
        &mut self,
        event: &PeerEvent,
        now: Timestamp,
    ) -> Result<Accepted<()>, Refusal> {
        if self.config.region.is_none() {
            return Err(BrokerError::NotARegion.into());
        }
        let log = match self.residence(&topic()) {
            Residence::Home(log) => log,
            _ => self.make_own_topic(topic(), now)?,
        };
        self.record_own(log, &[OwnRecord::of_peer(event)], now, |broker| {
            broker.peers.apply(event)
        })?;
        // There are few words on peers, so the state is written anew when they are many for what
        // they come to.
        self.peer_events += 1;
        let rows = self.peers.said().count() as u64;
        if self.peer_events >= self.config.fold_events.max(4 * rows) {
            let parts = self.peers.fold();
            let records: Vec<OwnRecord> = parts.iter().map(OwnRecord::of_peer).collect();
            if self.fold_topic(log, &records, now) {
                self.peer_events = 0;
            }
        }
        Ok(Accepted {
            value: (),
            wait: self.wait_for(log),
        })
    }

    /// Makes a topic of the broker's own that is not needed from the first start on.
    pub(super) fn make_own_topic(
        &mut self,
        name: ChannelName,
        now: Timestamp,
    ) -> Result<Incarnation, BrokerError> {
        let incarnation = self.new_incarnation();
        let config = self.own_topic_config();
        let options = log_options(&config);
        let created = DirectoryEvent::Created(Created {
            name,
            incarnation,
            config,
            at: now,
            copy: None,
        });
        self.record_directory(&[created], Need::Own, now)?;
        self.storage.create_log(incarnation, options);
        let channel = ChannelState::new(Producers::new(self.config.producers));
        self.channels.insert(incarnation, channel);
        Ok(incarnation)
    }

    /// Folds what was said of peers at a start. Where that can't be known, the region has those that
    /// it is told of.
    pub(super) fn fold_peers(&mut self) -> Result<(), BrokerOpenError> {
        let Residence::Home(log) = self.residence(&topic()) else {
            return Ok(());
        };
        let mut peers = Peers::default();
        let read = read_topic(&mut self.storage, PEERS, log, Offset(0));
        let folded = read.and_then(|(batches, closed)| {
            let mut events = 0;
            for batches in batches {
                events += fold_topic(&mut peers, &batches)?;
            }
            closed.map_or(Ok(events), Err)
        });
        match folded {
            Ok(events) => (self.peers, self.peer_events) = (peers, events),
            Err(error) if error.refuses_start() => return Err(error.into()),
            Err(error) => tracing::error!(%error, "what was said of peers is not known"),
        }
        Ok(())
    }
}

impl Fold for Peers {
    type Event = PeerEvent;
    const TOPIC: &'static str = PEERS;

    fn decode(record_type: &str, payload: &[u8]) -> Result<PeerEvent, EventError> {
        PeerEvent::decode(record_type, payload)
    }

    fn event(&mut self, _: Offset, event: PeerEvent) -> Result<(), IllegalEvent> {
        self.apply(&event)
    }

    fn gap(&mut self, lost: std::ops::Range<Offset>) -> Result<(), TopicError> {
        let topic = Self::TOPIC;
        Err(TopicError::Lost { topic, lost })
    }
}
