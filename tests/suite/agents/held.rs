//! Records that an open dispute points to stay, whatever the retention of their channel, across a
//! restart, until it has ended.

use npayload::asp::chain::Digest;
use npayload::asp::commitment::{Evidence, Reference};
use npayload::asp::dispute::{DisputeState, Judgement, Verdict};
use npayload::broker::config::ConfigChange;
use npayload::broker::{Looked, Target};
use npayload::format::{BatchBuilder, Compression, NewRecord};
use npayload::types::{ChannelName, DisputeId, Offset};

use super::promises::{dispute, promise};
use super::*;
use crate::broker_failures::let_in;

const DAY_MS: i64 = 24 * 3_600_000;

fn channel() -> ChannelName {
    ChannelName::parse("surveys").unwrap()
}

/// The records `start..end`.
fn places(start: u64, end: u64) -> Evidence {
    let reference = Reference::Channel {
        bytes: 1,
        channel: channel(),
        digest: Digest([7; 32]),
        end: Offset(end),
        start: Offset(start),
    };
    Evidence {
        references: vec![reference],
        words: None,
    }
}

impl Floor {
    /// A channel of several segments, a record in each, all but the last of which one day ends.
    fn publishes(&mut self) {
        let change: ConfigChange =
            serde_json::from_str(r#"{"retentionDays":1,"segmentBytes":4096}"#).unwrap();
        let at = self.at();
        let made = self.broker.create_channel(channel(), &change, false, at);
        self.durable(made.unwrap());
        let payload = vec![7; 3_000];
        for _ in 0..6 {
            let mut builder = BatchBuilder::new(Compression::None);
            let record = NewRecord {
                payload: Some(&payload),
                ..NewRecord::default()
            };
            builder.push(&record).unwrap();
            let batch = let_in(builder.build().unwrap());
            let target = Target {
                channel: channel(),
                incarnation: None,
                expected: None,
                principal: 0,
            };
            let at = self.at();
            let taken = self.broker.publish(&target, &mut Some(batch), at).unwrap();
            self.durable(taken);
        }
    }

    /// What the keeper does about retention; where the channel begins then.
    fn retained(&mut self) -> Offset {
        // The keeper goes round all channels, and begins anew.
        for _ in 0..3 {
            while let Looked::Unlisted(task) = self.broker.tick(self.at()) {
                self.broker.finish_load(task.run()).unwrap();
            }
            self.rounds();
        }
        self.broker
            .channel_info(&channel())
            .unwrap()
            .value
            .log_start
    }

    fn delivered(&mut self) -> npayload::types::CommitmentId {
        let session = self.create(TRIO).session.session;
        let id = self
            .promises(promise(session, self.now + 10_000))
            .commitment
            .id();
        let at = self.at();
        let delivered = self
            .broker
            .deliver_commitment(&ME, id, None, Evidence::default(), at);
        self.durable(delivered.unwrap());
        id
    }

    fn points_to(&mut self, start: u64, end: u64) -> DisputeId {
        let id = self.delivered();
        let new = npayload::broker::asp::NewDispute {
            evidence: places(start, end),
            ..dispute(id)
        };
        let filed = self.disputes(new).dispute;
        assert_eq!(filed.state, DisputeState::Open);
        filed.id()
    }

    fn is_held_by(&mut self, dispute: DisputeId) {
        let at = self.at();
        let refused = self.broker.delete_channel(&channel(), None, at);
        match refused.unwrap_err().error {
            BrokerError::Held { dispute: by, .. } => assert_eq!(by, dispute),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn what_an_open_dispute_points_to_outlives_its_retention_until_it_is_ruled_on() {
    let mut floor = Floor::new();
    floor.publishes();
    let dispute = floor.points_to(2, 4);
    assert_eq!(floor.retained(), Offset(0), "nothing is old yet");
    floor.now += 2 * DAY_MS;
    assert_eq!(floor.retained(), Offset(2), "what is before it has gone");
    floor.is_held_by(dispute);
    let mut floor = floor.reopened();
    assert_eq!(floor.retained(), Offset(2), "after a restart too");
    floor.is_held_by(dispute);
    floor.snapshots();
    let mut floor = floor.reopened();
    assert_eq!(floor.retained(), Offset(2), "and out of a snapshot");
    floor.is_held_by(dispute);

    // Nobody could arbitrate: it is an operator's, and held all the while.
    floor.now += DAY_MS;
    floor.look();
    assert_eq!(floor.retained(), Offset(2));
    let judgement = Judgement {
        verdict: Verdict::Partial,
        severity: None,
        reason: "half of it was there".to_owned(),
    };
    let at = floor.at();
    let ruled = floor
        .broker
        .judge_dispute(&ME, dispute, None, judgement, at);
    assert_eq!(
        floor.durable(ruled.unwrap()).dispute.state,
        DisputeState::Resolved
    );
    assert_eq!(floor.retained(), Offset(6), "all of it was old");
    let at = floor.at();
    let deleted = floor.broker.delete_channel(&channel(), None, at).unwrap();
    floor.durable(deleted);
}

#[test]
fn the_first_of_several_disputes_is_what_counts_and_one_taken_back_holds_nothing() {
    let mut floor = Floor::new();
    floor.publishes();
    let (late, early) = (floor.points_to(4, 6), floor.points_to(1, 2));
    floor.now += 2 * DAY_MS;
    assert_eq!(floor.retained(), Offset(1));
    floor.is_held_by(early);
    let at = floor.at();
    let back = floor.broker.withdraw_dispute(&ME, early, at).unwrap();
    floor.durable(back);
    assert_eq!(floor.retained(), Offset(4));
    floor.is_held_by(late);
    // What an answer points to is held as well, and must be there.
    let at = floor.at();
    let gone = floor
        .broker
        .answer_dispute(&ME, late, "see".to_owned(), places(3, 5), at);
    assert!(
        gone.unwrap_err()
            .error
            .to_string()
            .contains("no such records")
    );
    let at = floor.at();
    let answered = floor
        .broker
        .answer_dispute(&ME, late, "see".to_owned(), places(5, 6), at);
    floor.durable(answered.unwrap());
    assert_eq!(floor.retained(), Offset(4));
}

#[test]
fn records_that_are_not_there_any_more_are_not_pointed_to() {
    let mut floor = Floor::new();
    floor.publishes();
    floor.now += 2 * DAY_MS;
    assert_eq!(floor.retained(), Offset(6));
    let id = floor.delivered();
    for (start, end) in [(0, 2), (5, 6), (6, 7)] {
        let new = npayload::broker::asp::NewDispute {
            evidence: places(start, end),
            ..dispute(id)
        };
        let at = floor.at();
        let refused = floor.broker.file_dispute(&ME, new, None, at);
        let error = refused.unwrap_err().error.to_string();
        assert!(error.contains("no such records"), "{error}");
    }
}
