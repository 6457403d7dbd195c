//! The consumer: order, checks, ends, cancellation, restarts.

use std::time::Duration;

use bytes::BytesMut;
use futures_core::Stream;

use super::fake::{Fake, INCARNATION};
use crate::client::{Client, ConsumeError, Consumer, Gaps, Item};
use crate::format::{BatchHeader, Gap, NewRecord, Stamp, records};
use crate::protocol::{ErrorCode, WireError};
use crate::types::{ChannelName, ConsumerName, Offset, Timestamp};

fn channel() -> ChannelName {
    ChannelName::parse("c").unwrap()
}

async fn fill(client: &Client, numbers: std::ops::Range<u64>) {
    let producer = client.producer(channel()).batch_records(7).build();
    for number in numbers {
        let text = number.to_string();
        let record = NewRecord {
            payload: Some(text.as_bytes()),
            ..NewRecord::default()
        };
        drop(producer.publish(&record).await.unwrap());
    }
    producer.flush().await.unwrap();
}

async fn take(consumer: &mut Consumer, count: usize) -> Vec<u64> {
    let mut found = Vec::new();
    while found.len() < count {
        let Some(record) = consumer.next().await else {
            break;
        };
        let record = record.unwrap();
        assert_eq!(
            record.payload.as_deref(),
            Some(record.offset.to_string().as_bytes())
        );
        found.push(record.offset.0);
    }
    found
}

fn all(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

fn is_stream<T: Stream + Send>(_: &T) {}

#[tokio::test]
async fn it_reads_from_any_place_to_any_place() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    fill(&client, 0..100).await;
    let new = || client.consumer(channel()).max_bytes(500);
    let cases = [
        (new(), 0..100),
        (new().from_offset(Offset(50)), 50..100),
        (new().from_offset(Offset(51)).to(Offset(53)), 51..53),
        (new().to(Offset(1)), 0..1),
        (new().to(Offset(1000)), 0..100),
        (new().from_end(), 100..100),
        (new().from_offset(Offset(100)), 100..100),
        (new().from_offset(Offset(60)).to(Offset(60)), 60..60),
        (new().from_time(Timestamp(1000 + 14)), 14..100),
        (new().from_time(Timestamp(10_000)), 100..100),
    ];
    for (builder, wanted) in cases {
        let mut consumer = builder.build();
        is_stream(&consumer);
        let end = wanted.end;
        assert_eq!(take(&mut consumer, usize::MAX).await, all(wanted));
        assert_eq!(consumer.position().offset, Some(Offset(end)));
        assert!(consumer.next().await.is_none(), "it stays ended");
    }
}

#[tokio::test]
async fn without_following_it_ends_where_the_end_was_at_the_start() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    fill(&client, 0..20).await;
    let mut consumer = client.consumer(channel()).max_bytes(1).prefetch(1).build();
    assert_eq!(take(&mut consumer, 1).await, [0]);
    fill(&client, 20..30).await;
    assert_eq!(take(&mut consumer, usize::MAX).await, all(1..20));
}

#[tokio::test]
async fn following_it_sees_what_comes_and_survives_restarts_without_gap_or_repeat() {
    let mut fake = Fake::new().await;
    let client = fake.client().await;
    let mut consumer = client
        .consumer(channel())
        .follow(true)
        .to(Offset(90))
        .build();
    for part in 0..3 {
        let range = part * 30..part * 30 + 30;
        fill(&client, range.clone()).await;
        assert_eq!(take(&mut consumer, 30).await, all(range));
        fake.stop();
        fake = fake.start().await;
    }
    assert!(consumer.next().await.is_none());
}

#[tokio::test]
async fn a_future_dropped_at_any_point_loses_and_repeats_nothing() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    fill(&client, 0..300).await;
    let mut consumer = client.consumer(channel()).max_bytes(1).prefetch(1).build();
    let mut found = Vec::new();
    let mut dropped = 0;
    while found.len() < 300 {
        tokio::select! {
            biased;
            record = consumer.next() => found.push(record.unwrap().unwrap().offset.0),
            () = tokio::task::yield_now() => dropped += 1,
        }
    }
    assert!(dropped > 0);
    assert_eq!(found, all(0..300));
}

#[tokio::test]
async fn a_consumer_begun_at_the_position_of_another_goes_on_there() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    fill(&client, 0..50).await;
    let mut first = client.consumer(channel()).build();
    assert_eq!(take(&mut first, 17).await, all(0..17));
    let position = first.position();
    assert_eq!(position.incarnation, Some(INCARNATION));
    drop(first);
    let mut second = client.consumer(channel()).from_position(position).build();
    assert_eq!(take(&mut second, usize::MAX).await, all(17..50));

    let name = ConsumerName::parse("trainer").unwrap();
    assert_eq!(second.commit(&name, "").await.unwrap(), Some(Offset(50)));
    assert_eq!(fake.state().position, Some(Offset(50)));
}

#[tokio::test]
async fn batches_and_records_may_be_taken_in_turn() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    fill(&client, 0..21).await;
    let mut consumer = client.consumer(channel()).build();
    assert_eq!(take(&mut consumer, 3).await, [0, 1, 2]);
    let batch = consumer.next_batch().await.unwrap().unwrap();
    assert_eq!(
        (batch.first, batch.base_offset, batch.end),
        (Offset(3), Offset(0), Offset(7))
    );
    assert_eq!(records(&batch.bytes).unwrap().count(), 7);
    let batch = consumer.next_batch().await.unwrap().unwrap();
    assert_eq!((batch.first, batch.end), (Offset(7), Offset(14)));
    assert_eq!(consumer.position().offset, Some(Offset(14)));
    assert_eq!(take(&mut consumer, usize::MAX).await, all(14..21));
    assert!(consumer.next_batch().await.is_none());
}

#[tokio::test]
async fn a_payload_is_a_slice_of_its_batch() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    fill(&client, 0..3).await;
    let mut consumer = client.consumer(channel()).build();
    let batch = consumer.next_batch().await.unwrap().unwrap();
    let record = records(&batch.bytes).unwrap().next().unwrap().unwrap();
    let payload = record.payload.unwrap();
    assert!(batch.bytes.as_ptr_range().contains(&payload.as_ptr()));
}

/// What a consumer finds after the log was tampered with: records, then an error.
async fn tampered(tamper: impl FnOnce(&Fake)) -> (Vec<u64>, ConsumeError) {
    let fake = Fake::new().await;
    let client = fake.client().await;
    fill(&client, 0..28).await;
    assert_eq!(fake.state().log.len(), 4);
    tamper(&fake);
    let mut consumer = client.consumer(channel()).max_bytes(1).build();
    let mut found = Vec::new();
    loop {
        match consumer.next().await.expect("an error, not an end") {
            Ok(record) => found.push(record.offset.0),
            Err(error) => {
                assert!(consumer.next().await.is_none(), "it ends after an error");
                assert_eq!(
                    consumer.position().offset.unwrap_or_default().0,
                    found.len() as u64
                );
                return (found, error);
            }
        }
    }
}

#[tokio::test]
async fn a_changed_byte_is_an_error_at_its_batch() {
    for at in [0, 4, 20, 40, 73, 100, 140] {
        let (found, error) = tampered(|fake| {
            let batch = &mut fake.state().log[2].bytes;
            let mut bytes = BytesMut::from(&batch[..]);
            bytes[at] ^= 1;
            *batch = bytes.freeze();
        })
        .await;
        assert_eq!(found, all(0..14));
        assert!(
            matches!(
                error,
                ConsumeError::Corrupt {
                    offset: Offset(14),
                    ..
                }
            ),
            "byte {at}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_missing_batch_is_a_gap_and_never_passed_over() {
    let (found, error) = tampered(|fake| {
        fake.state().log.remove(2);
    })
    .await;
    assert_eq!(found, all(0..14));
    assert!(matches!(
        error,
        ConsumeError::Gap {
            expected: Offset(14),
            found: Offset(21)
        }
    ));
}

/// The 28 records with offsets 14 to 20 lost, the third batch of four.
async fn with_lost_records() -> (Fake, Client) {
    let fake = Fake::new().await;
    let client = fake.client().await;
    fill(&client, 0..28).await;
    let mut state = fake.state();
    let lost = &mut state.log[2];
    let header = BatchHeader::peek(&lost.bytes).unwrap();
    let stamp = Stamp {
        incarnation: INCARNATION,
        base_offset: Offset(14),
        append_time: header.append_time(),
        log_epoch: header.log_epoch(),
        principal: 0,
    };
    lost.bytes = why().encode(&stamp, 7, lost.bytes.len()).into();
    drop(state);
    (fake, client)
}

fn why() -> Gap {
    Gap {
        reason: "damaged".to_owned(),
        what: "a test".to_owned(),
        ..Gap::default()
    }
}

#[tokio::test]
async fn lost_records_are_an_error_that_names_them_and_where_to_go_on() {
    let (_fake, client) = with_lost_records().await;
    for max_bytes in [1, 1 << 20] {
        let mut consumer = client.consumer(channel()).max_bytes(max_bytes).build();
        assert_eq!(take(&mut consumer, 14).await, all(0..14));
        let Some(Err(ConsumeError::Lost(lost))) = consumer.next().await else {
            panic!("lost records passed over");
        };
        assert_eq!((lost.first, lost.end), (Offset(14), Offset(21)));
        assert_eq!(lost.gap, why());
        assert_eq!(
            lost.to_string(),
            "the records from offset 14 up to 21 are lost (damaged: a test); offset 21 follows"
        );
        assert!(consumer.next().await.is_none(), "it ends after an error");
        assert_eq!(consumer.position().offset, Some(Offset(14)));
        let mut behind = client.consumer(channel()).from_offset(lost.end).build();
        assert_eq!(take(&mut behind, usize::MAX).await, all(21..28));
    }
    let mut batches = client.consumer(channel()).from_offset(Offset(16)).build();
    let Some(Err(ConsumeError::Lost(lost))) = batches.next_batch().await else {
        panic!("lost records passed over");
    };
    assert_eq!((lost.first, lost.end), (Offset(16), Offset(21)));
    assert!(batches.next_batch().await.is_none());
}

#[tokio::test]
async fn lost_records_come_as_an_item_of_their_own_where_that_is_asked_for() {
    let (_fake, client) = with_lost_records().await;
    let new = || client.consumer(channel()).gaps(Gaps::Yield);
    let mut consumer = new().build();
    let mut found = Vec::new();
    while let Some(item) = consumer.next_item().await {
        match item.unwrap() {
            Item::Record(record) => found.push(record.offset.0),
            Item::Lost(lost) => {
                assert_eq!((lost.first, lost.end), (Offset(14), Offset(21)));
                assert_eq!(lost.gap, why());
                assert_eq!(consumer.position().offset, Some(Offset(21)));
                assert_eq!(found, all(0..14));
            }
        }
    }
    assert_eq!(found, [all(0..14), all(21..28)].concat());
    // As a stream of records, which has no other place for it.
    let mut consumer = new().from_offset(Offset(13)).to(Offset(22)).build();
    assert_eq!(take(&mut consumer, 1).await, [13]);
    let lost = consumer.next().await.unwrap().unwrap_err();
    assert!(matches!(lost, ConsumeError::Lost(lost) if lost.end == Offset(21)));
    assert_eq!(take(&mut consumer, usize::MAX).await, [21]);
    // And as a batch.
    let mut consumer = new().from_offset(Offset(15)).to(Offset(17)).build();
    let batch = consumer.next_batch().await.unwrap().unwrap();
    assert_eq!((batch.first, batch.end), (Offset(15), Offset(17)));
    assert_eq!(batch.gap.as_deref(), Some(&why()));
    assert!(consumer.next_batch().await.is_none());
}

#[tokio::test]
async fn a_repeated_batch_is_a_gap() {
    let (_, error) = tampered(|fake| {
        let mut state = fake.state();
        let mut again = state.log[1].clone();
        again.end = 21;
        state.log[2] = again;
    })
    .await;
    assert!(matches!(error, ConsumeError::Gap { .. }), "{error:?}");
}

#[tokio::test]
async fn refusals_are_typed() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    fill(&client, 0..28).await;
    fake.state().start = 14;
    let read = async |from| {
        let mut consumer = client.consumer(channel()).from_offset(from).build();
        consumer.next().await.unwrap().unwrap_err()
    };
    assert!(matches!(
        read(Offset(3)).await,
        ConsumeError::Trimmed {
            first: Offset(14),
            end: Offset(28)
        }
    ));
    assert!(matches!(
        read(Offset(29)).await,
        ConsumeError::OutOfRange {
            start: Offset(14),
            end: Offset(28)
        }
    ));
    for code in [
        ErrorCode::Diverged,
        ErrorCode::ChannelRecreated,
        ErrorCode::Damaged,
        ErrorCode::ChannelNotFound,
    ] {
        let error = WireError::new(code, "scripted").with("next", 21);
        fake.state().fetch_error = Some(error);
        let error = read(Offset(14)).await;
        assert_eq!(error.server().and_then(WireError::known), Some(code));
        if let ConsumeError::Damaged { next, .. } = error {
            assert_eq!(next, Some(Offset(21)));
        }
    }
}

#[tokio::test]
async fn a_broker_that_stays_away_is_an_error_in_the_end() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    fake.stop();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let mut consumer = client
        .consumer(channel())
        .retry_for(Duration::from_millis(50))
        .build();
    let error = consumer.next().await.unwrap().unwrap_err();
    assert!(matches!(error, ConsumeError::Request(_)), "{error:?}");
}
