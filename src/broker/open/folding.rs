//! What the topics of the broker fold to at a start.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::access::{Access, AccessEvent};
use crate::broker::core::Broker;
use crate::broker::directory::{Directory, DirectoryEvent};
use crate::broker::error::BrokerOpenError;
use crate::broker::journal::{ACCESS, CHANNELS, CONSUMERS, COPIES, HOMES, INTEREST};
use crate::broker::secret::DirectorySecret;
use crate::broker::topic::{Fold, TopicError, fold_topic, read_topic};
use crate::consumer::{ConsumerEvent, Consumers};
use crate::folding::{EventError, IllegalEvent};
use crate::region::copies::{Copies, CopyEvent};
use crate::region::homes::HomeEvent;
use crate::region::interest::{InterestEvent, Interests};
use crate::storage::Storage;
use crate::types::{Incarnation, Offset, RegionName};

impl Broker {
    /// Folds the positions of all consumers. Where the topic is damaged they are not known, and
    /// all else goes on without them.
    pub(super) fn fold_consumers(&mut self) -> Result<(), BrokerOpenError> {
        match self.folded_consumers() {
            Ok(()) => Ok(()),
            Err(error) if error.refuses_start() => Err(error.into()),
            Err(error) => {
                tracing::error!(
                    %error,
                    "the positions of consumers can't be known: what asks for them is refused until \
                     the topic is repaired"
                );
                // A part of them would pass for all.
                self.consumers = Consumers::default();
                self.unknown_positions = Some(Arc::new(error));
                Ok(())
            }
        }
    }

    fn folded_consumers(&mut self) -> Result<(), TopicError> {
        let mut folded = FoldedConsumers::default();
        let (batches, closed) =
            read_topic(&mut self.storage, CONSUMERS, self.positions, Offset(0))?;
        if let Some(error) = closed {
            return Err(error);
        }
        for batches in batches {
            self.consumer_events += fold_topic(&mut folded, &batches)?;
        }
        self.consumers = folded.consumers;
        Ok(())
    }

    /// Folds what the region wants of others. Where that can't be known, nothing is asked for anew.
    pub(super) fn fold_interests(&mut self) -> Result<(), BrokerOpenError> {
        let Some(log) = self.interest_log else {
            return Ok(());
        };
        match folded(&mut self.storage, log) {
            Ok((interests, events)) => (self.interests, self.interest_events) = (interests, events),
            Err(error) if error.refuses_start() => return Err(error.into()),
            Err(error) => tracing::error!(%error, "what this region wants of others is not known"),
        }
        Ok(())
    }

    /// Folds what this region has said of the homes of logs. One that does not know it does not start:
    /// it might append to a log that another one has taken over.
    pub(super) fn fold_homes(&mut self) -> Result<(), BrokerOpenError> {
        let (Some(me), Some(log)) = (self.config.region.clone(), self.homes.log) else {
            return Ok(());
        };
        let (batches, closed) = read_topic(&mut self.storage, HOMES, log, Offset(0))?;
        for batches in batches {
            self.homes.events += self.fold_homes_of(&me, &batches)?;
        }
        match closed {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Takes what a region says on its topic of homes.
    pub(in crate::broker) fn fold_homes_of(
        &mut self,
        by: &RegionName,
        batches: &Bytes,
    ) -> Result<u64, TopicError> {
        let mut folded = FoldedHomes { broker: self, by };
        fold_topic(&mut folded, batches)
    }

    /// Folds what became of the copies that are here. Where that can't be known, they are followed
    /// as if nothing had become of them.
    pub(super) fn fold_copies(&mut self) -> Result<(), BrokerOpenError> {
        let Some(log) = self.kept.log else {
            return Ok(());
        };
        match folded(&mut self.storage, log) {
            Ok((copies, events)) => (self.kept.copies, self.kept.events) = (copies, events),
            Err(error) if error.refuses_start() => return Err(error.into()),
            Err(error) => tracing::error!(%error, "what became of copies is not known"),
        }
        Ok(())
    }

    /// Folds who may come in and do what. Where any of it is damaged or lost, the broker does not
    /// start: nobody knows which keys were revoked. While there is no secret file there never was
    /// a key, so the end of the topic may be uncertain, and a gap may be in it.
    pub(super) fn fold_access(&mut self) -> Result<(), BrokerOpenError> {
        self.secret = DirectorySecret::open(&self.storage)?;
        let mut folded = FoldedAccess {
            access: Access::default(),
            may_have_keys: self.secret.hasher().is_some(),
        };
        let (batches, closed) = read_topic(&mut self.storage, ACCESS, self.access_log, Offset(0))?;
        for batches in batches {
            self.access_events += fold_topic(&mut folded, &batches)?;
        }
        if folded.access.has_keys() {
            self.secret.check_there(&self.storage)?;
        }
        match closed {
            Some(error) if folded.may_have_keys => return Err(error.into()),
            Some(error) => tracing::error!(%error, "no organisation can be made or changed"),
            None => {}
        }
        self.access = folded.access;
        Ok(())
    }
}

/// What a topic that must be whole folds to, and how many events it has.
fn folded<T: Fold + Default>(
    storage: &mut Storage,
    log: Incarnation,
) -> Result<(T, u64), TopicError> {
    let (batches, closed) = read_topic(storage, T::TOPIC, log, Offset(0))?;
    if let Some(error) = closed {
        return Err(error);
    }
    let (mut state, mut events) = (T::default(), 0);
    for batches in batches {
        events += fold_topic(&mut state, &batches)?;
    }
    Ok((state, events))
}

impl Fold for Directory {
    type Event = DirectoryEvent;
    const TOPIC: &'static str = CHANNELS;

    fn decode(record_type: &str, payload: &[u8]) -> Result<DirectoryEvent, EventError> {
        DirectoryEvent::decode(record_type, payload)
    }

    fn event(&mut self, _: Offset, event: DirectoryEvent) -> Result<(), IllegalEvent> {
        self.apply(&event)
    }

    /// Without its lost records nobody knows which channels there are: it is never repaired.
    fn gap(&mut self, _: Range<Offset>) -> Result<(), TopicError> {
        Ok(())
    }
}

/// Positions, with what is known of them behind lost records.
#[derive(Default)]
struct FoldedConsumers {
    consumers: Consumers,
    has_gap: bool,
}

impl Fold for FoldedConsumers {
    type Event = ConsumerEvent;
    const TOPIC: &'static str = CONSUMERS;

    fn decode(record_type: &str, payload: &[u8]) -> Result<ConsumerEvent, EventError> {
        ConsumerEvent::decode(record_type, payload)
    }

    fn event(&mut self, _: Offset, event: ConsumerEvent) -> Result<(), IllegalEvent> {
        let event = match self.has_gap {
            true => self.consumers.behind_gap(event),
            false => Some(event),
        };
        event.map_or(Ok(()), |event| self.consumers.apply(&event))
    }

    fn gap(&mut self, lost: Range<Offset>) -> Result<(), TopicError> {
        tracing::warn!(
            from = %lost.start, to = %lost.end,
            "records of the topic of positions are lost: a position that was last \
             committed before them may be out of date, or missing"
        );
        self.has_gap = true;
        Ok(())
    }
}

/// What a region says of homes.
struct FoldedHomes<'a> {
    broker: &'a mut Broker,
    by: &'a RegionName,
}

impl Fold for FoldedHomes<'_> {
    type Event = HomeEvent;
    const TOPIC: &'static str = HOMES;

    fn decode(record_type: &str, payload: &[u8]) -> Result<HomeEvent, EventError> {
        HomeEvent::decode(record_type, payload)
    }

    fn event(&mut self, _: Offset, event: HomeEvent) -> Result<(), IllegalEvent> {
        self.broker.apply_homes(self.by, &[event]).map(drop)
    }

    /// What this region has said must be whole. Of another's, its home has trimmed the topic, and a
    /// state record comes next.
    fn gap(&mut self, lost: Range<Offset>) -> Result<(), TopicError> {
        if self.broker.config.region.as_ref() != Some(self.by) {
            return Ok(());
        }
        let topic = Self::TOPIC;
        Err(TopicError::Lost { topic, lost })
    }
}

impl Fold for Copies {
    type Event = CopyEvent;
    const TOPIC: &'static str = COPIES;

    fn decode(record_type: &str, payload: &[u8]) -> Result<CopyEvent, EventError> {
        CopyEvent::decode(record_type, payload)
    }

    fn event(&mut self, _: Offset, event: CopyEvent) -> Result<(), IllegalEvent> {
        self.apply(&event)
    }

    fn gap(&mut self, lost: Range<Offset>) -> Result<(), TopicError> {
        tracing::warn!(from = %lost.start, to = %lost.end, "records of what became of copies are lost");
        Ok(())
    }
}

impl Fold for Interests {
    type Event = InterestEvent;
    const TOPIC: &'static str = INTEREST;

    fn decode(record_type: &str, payload: &[u8]) -> Result<InterestEvent, EventError> {
        InterestEvent::decode(record_type, payload)
    }

    fn event(&mut self, _: Offset, event: InterestEvent) -> Result<(), IllegalEvent> {
        self.apply(&event)
    }

    /// What was asked for in them has to be asked for again: less crosses than might.
    fn gap(&mut self, lost: Range<Offset>) -> Result<(), TopicError> {
        tracing::warn!(
            from = %lost.start, to = %lost.end,
            "records of what this region wants of others are lost"
        );
        Ok(())
    }
}

/// Organisations, keys and grants.
struct FoldedAccess {
    access: Access,
    may_have_keys: bool,
}

impl Fold for FoldedAccess {
    type Event = AccessEvent;
    const TOPIC: &'static str = ACCESS;

    fn decode(record_type: &str, payload: &[u8]) -> Result<AccessEvent, EventError> {
        AccessEvent::decode(record_type, payload)
    }

    fn event(&mut self, _: Offset, event: AccessEvent) -> Result<(), IllegalEvent> {
        self.access.apply(&event)
    }

    /// A key that was revoked in them would open the door again.
    fn gap(&mut self, lost: Range<Offset>) -> Result<(), TopicError> {
        let topic = Self::TOPIC;
        if self.may_have_keys {
            return Err(TopicError::Lost { topic, lost });
        }
        tracing::warn!(
            from = %lost.start, to = %lost.end,
            "records of organisations are lost, from before there were keys"
        );
        Ok(())
    }
}
