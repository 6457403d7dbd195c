//! The producer: order, acknowledgements, retries, limits.

use std::time::Duration;

use proptest::prelude::*;

use super::fake::{Fake, Fault};
use crate::client::producer::ProducerBuilder;
use crate::client::{AtomicError, Client, OnFull, PublishError, Ticket};
use crate::format::{Compression, NewRecord};
use crate::protocol::{ErrorCode, WireError};
use crate::types::{ChannelName, ConsumerName, Durability, Offset};

fn channel() -> ChannelName {
    ChannelName::parse("c").unwrap()
}

fn payload(bytes: &[u8]) -> NewRecord<'_> {
    NewRecord {
        payload: Some(bytes),
        ..NewRecord::default()
    }
}

/// A producer of small batches, so that there are many.
fn small(client: &Client) -> ProducerBuilder {
    client
        .producer(channel())
        .batch_records(3)
        .linger(Duration::from_millis(1))
}

fn names(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("record {number}"))
        .collect()
}

async fn publish_all(producer: &crate::client::Producer, names: &[String]) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    for name in names {
        tickets.push(producer.publish(&payload(name.as_bytes())).await.unwrap());
    }
    tickets
}

fn refused(code: ErrorCode) -> Fault {
    Fault::Refuse(WireError::new(code, "scripted"))
}

#[tokio::test]
async fn every_ticket_resolves_to_the_offset_of_its_record() {
    let fake = Fake::new().await;
    let producer = fake
        .client()
        .await
        .producer(channel())
        .compression(Compression::Lz4)
        .build();
    let mut acks = producer.acks();
    let names = names(2500);
    let tickets = publish_all(&producer, &names).await;
    for (number, ticket) in tickets.into_iter().enumerate() {
        let ack = ticket.await.unwrap();
        assert_eq!(ack.offset, Offset(number as u64));
        assert_eq!(ack.level, Durability::Synced);
    }
    producer.flush().await.unwrap();
    assert_eq!(producer.unacked_bytes(), 0);
    assert_eq!(fake.payloads(), names);
    let mut next = 0;
    while let Ok(ack) = acks.try_recv() {
        assert_eq!(ack.first_offset.0, next);
        next = ack.last_offset.0 + 1;
    }
    assert_eq!(next, 2500);
}

#[tokio::test]
async fn a_lone_record_is_sent_when_its_linger_has_passed_and_flush_does_not_wait_for_it() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    let quick = client.producer(channel()).build();
    quick.publish(&payload(b"a")).await.unwrap().await.unwrap();
    let slow = client
        .producer(channel())
        .linger(Duration::from_secs(3600))
        .build();
    let ticket = slow.publish(&payload(b"b")).await.unwrap();
    slow.flush().await.unwrap();
    assert_eq!(ticket.await.unwrap().offset, Offset(1));
    drop(slow.publish(&payload(b"c")).await.unwrap());
    drop(slow);
    while fake.payloads().len() < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_lost_answer_is_found_again_and_nothing_is_appended_twice() {
    let fake = Fake::new().await;
    fake.state().faults = [
        Fault::None,
        Fault::DropAfter,
        Fault::None,
        Fault::DropBefore,
    ]
    .into();
    let producer = small(&fake.client().await).build();
    let mut acks = producer.acks();
    let names = names(20);
    publish_all(&producer, &names).await;
    producer.flush().await.unwrap();
    assert_eq!(fake.payloads(), names);
    let mut duplicates = 0;
    while let Ok(ack) = acks.try_recv() {
        duplicates += usize::from(ack.duplicate);
    }
    assert!(duplicates >= 1);
    assert!(fake.state().connections >= 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(25))]
    #[test]
    fn whatever_fails_on_the_way_the_log_holds_every_record_once_and_in_order(
        script in proptest::collection::vec(0..5usize, 0..40),
        memory in 1..6usize,
        in_flight in 1..6usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fake = Fake::new().await;
            fake.state().memory = memory;
            fake.state().faults = script
                .iter()
                .map(|fault| match fault {
                    0 => Fault::DropBefore,
                    1 => Fault::DropAfter,
                    2 => refused(ErrorCode::Overloaded),
                    _ => Fault::None,
                })
                .collect();
            let producer = small(&fake.client().await).max_in_flight(in_flight).build();
            let names = names(60);
            let tickets = publish_all(&producer, &names).await;
            for (number, ticket) in tickets.into_iter().enumerate() {
                assert_eq!(ticket.await.unwrap().offset, Offset(number as u64));
            }
            assert_eq!(fake.payloads(), names);
        });
    }
}

#[tokio::test]
async fn a_batch_whose_offsets_the_broker_forgot_is_looked_for() {
    let fake = Fake::new().await;
    fake.state().memory = 1;
    // Three batches are appended, and no answer of any comes back.
    fake.state().faults = [Fault::Mute, Fault::Mute, Fault::DropAfter].into();
    let producer = small(&fake.client().await).build();
    let names = names(9);
    let tickets = publish_all(&producer, &names).await;
    for (number, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(ticket.await.unwrap().offset, Offset(number as u64));
    }
    assert_eq!(fake.payloads(), names);
}

#[tokio::test]
async fn a_producer_that_the_broker_forgot_begins_a_new_epoch() {
    let fake = Fake::new().await;
    let producer = small(&fake.client().await).build();
    let names = names(30);
    publish_all(&producer, &names[..10]).await;
    producer.flush().await.unwrap();
    fake.state().producers.clear();
    publish_all(&producer, &names[10..]).await;
    producer.flush().await.unwrap();
    assert_eq!(fake.payloads(), names);
}

#[tokio::test]
async fn a_restart_of_the_broker_is_not_noticed() {
    let mut fake = Fake::new().await;
    let producer = small(&fake.client().await).build();
    let names = names(90);
    let mut tickets = Vec::new();
    for part in names.chunks(30) {
        tickets.extend(publish_all(&producer, part).await);
        tokio::time::sleep(Duration::from_millis(3)).await;
        fake.stop();
        fake = fake.start().await;
    }
    for (number, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(ticket.await.unwrap().offset, Offset(number as u64));
    }
    assert_eq!(fake.payloads(), names);
}

#[tokio::test]
async fn a_refused_batch_poisons_what_is_behind_it_until_the_producer_is_resumed() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    let other = client.producer(channel()).build();
    let producer = small(&client).expected_offset(Offset(0)).build();
    let first = publish_all(&producer, &names(3)).await;
    producer.flush().await.unwrap();
    drop(first);
    // Another writer comes in between.
    let ack = other.publish(&payload(b"other")).await.unwrap().await;
    assert_eq!(ack.unwrap().offset, Offset(3));
    let tickets = publish_all(&producer, &names(6)).await;
    let mut errors = Vec::new();
    for ticket in tickets {
        errors.push(ticket.await.unwrap_err());
    }
    assert!(matches!(&errors[0], PublishError::Server(error)
        if error.is(ErrorCode::ExpectedOffsetMismatch) && error.detail_u64("actual") == Some(4)));
    assert!(matches!(&errors[5], PublishError::Poisoned(_)));
    assert!(errors[5].is(ErrorCode::ExpectedOffsetMismatch));
    assert!(matches!(
        producer.publish(&payload(b"x")).await,
        Err(PublishError::Poisoned(_))
    ));
    assert!(producer.flush().await.is_err());
    assert_eq!(producer.unacked_bytes(), 0);
    producer.resume(Some(Offset(4)));
    assert!(producer.failure().is_none());
    let ack = producer.publish(&payload(b"x")).await.unwrap().await;
    assert_eq!(ack.unwrap().offset, Offset(4));
}

#[tokio::test]
async fn a_broker_that_does_not_answer_ends_in_a_typed_timeout() {
    let fake = Fake::new().await;
    fake.state().faults = [Fault::Mute, Fault::Mute].into();
    let producer = small(&fake.client().await)
        .delivery_timeout(Duration::from_millis(300))
        .build();
    for ticket in publish_all(&producer, &names(4)).await {
        let error = ticket.await.unwrap_err();
        assert!(matches!(error, PublishError::Timeout { .. }), "{error:?}");
    }
    producer.resume(None);
    let ticket = producer.publish(&payload(b"x")).await.unwrap();
    assert_eq!(ticket.await.unwrap().offset, Offset(4));
}

#[tokio::test]
async fn a_broker_that_is_gone_ends_in_a_timeout_that_tells_why() {
    let fake = Fake::new().await;
    let producer = small(&fake.client().await)
        .delivery_timeout(Duration::from_millis(50))
        .build();
    fake.stop();
    let ticket = producer.publish(&payload(b"x")).await.unwrap();
    let error = ticket.await.unwrap_err();
    assert!(
        matches!(error, PublishError::Timeout { last: Some(_), .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_full_producer_does_what_its_policy_says() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    fake.state().is_dead = true;
    let record = vec![b'x'; 1000];
    let build = |policy| {
        client
            .producer(channel())
            .linger(Duration::from_secs(3600))
            .max_unacked_bytes(5000)
            .on_full(policy)
            .build()
    };
    let failing = build(OnFull::Fail);
    let waiting = build(OnFull::Wait);
    let patient = build(OnFull::Timeout(Duration::from_millis(20)));
    for producer in [&failing, &waiting, &patient] {
        for _ in 0..4 {
            drop(producer.publish(&payload(&record)).await.unwrap());
        }
        assert!(producer.unacked_bytes() <= 5000);
    }
    let full = failing.publish(&payload(&record)).await;
    assert!(matches!(full, Err(PublishError::Full { limit: 5000 })));
    let full = patient.publish(&payload(&record)).await;
    assert!(matches!(full, Err(PublishError::Full { limit: 5000 })));
    let record = payload(&record);
    let wait = waiting.publish(&record);
    assert!(
        tokio::time::timeout(Duration::from_millis(20), wait)
            .await
            .is_err()
    );
    assert!(waiting.unacked_bytes() <= 5000);
}

#[tokio::test]
async fn the_limit_of_unacknowledged_bytes_is_met_to_the_byte() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    fake.state().is_dead = true;
    let record = vec![b'x'; 1000];
    let record = payload(&record);
    let each = record.encoded_len().unwrap();
    let producer = client
        .producer(channel())
        .batch_records(7)
        .linger(Duration::from_millis(1))
        .max_unacked_bytes(each * 100 + 10)
        .on_full(OnFull::Fail)
        .build();
    for taken in 1..=100 {
        drop(producer.publish(&record).await.unwrap());
        assert_eq!(producer.unacked_bytes(), taken * each);
    }
    for _ in 0..2 {
        let full = producer.publish(&record).await;
        assert!(matches!(full, Err(PublishError::Full { .. })));
        assert_eq!(producer.unacked_bytes(), 100 * each);
    }
}

#[tokio::test]
async fn a_full_producer_does_not_wait_for_company() {
    let fake = Fake::new().await;
    let producer = fake
        .client()
        .await
        .producer(channel())
        .linger(Duration::from_secs(3600))
        .max_unacked_bytes(100)
        .build();
    publish_all(&producer, &names(20)).await;
    producer.flush().await.unwrap();
    assert_eq!(fake.payloads(), names(20));
}

#[tokio::test]
async fn a_record_too_long_for_the_format_fails_alone() {
    let fake = Fake::new().await;
    let producer = small(&fake.client().await).build();
    let bad = NewRecord {
        record_type: &"t".repeat(257),
        ..NewRecord::default()
    };
    let error = producer.publish(&bad).await.unwrap_err();
    assert!(matches!(error, PublishError::Invalid(_)));
    publish_all(&producer, &names(4)).await;
    producer.flush().await.unwrap();
    assert_eq!(fake.payloads(), names(4));
    assert_eq!(producer.unacked_bytes(), 0);
}

#[tokio::test]
async fn an_atomic_publish_is_carried_out_once_even_when_its_answer_is_lost() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    let consumer = ConsumerName::parse("worker").unwrap();
    fake.state().faults = [Fault::DropAfter].into();
    let mut atomic = client.atomic();
    atomic.record(&channel(), &payload(b"a")).unwrap();
    atomic.record(&channel(), &payload(b"b")).unwrap();
    atomic.commit(&channel(), &consumer, Offset(0));
    let done = atomic.send().await.unwrap();
    assert_eq!(done.published.len(), 1);
    assert!(done.published[0].duplicate);
    assert_eq!(done.committed, [Offset(0)]);
    assert_eq!(fake.payloads(), ["a", "b"]);

    fake.state().faults = [Fault::DropAfter].into();
    let mut commits = client.atomic();
    commits.commit(&channel(), &consumer, Offset(1));
    let error = commits.send().await.unwrap_err();
    assert!(matches!(
        error,
        AtomicError::Request(crate::client::RequestError::Interrupted(_))
    ));
}
