use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const A: ProducerId = ProducerId(1);
const B: ProducerId = ProducerId(2);

/// A channel's table beside the log that it is folded from.
#[derive(Default)]
struct Log {
    table: Producers,
    appended: Vec<AppendedBatch>,
    end: u64,
}

impl Log {
    fn append(&mut self, producer_id: ProducerId, epoch: u32, base_sequence: u64, count: u32) {
        let batch = AppendedBatch {
            producer_id,
            epoch,
            base_sequence,
            count,
            base_offset: Offset(self.end),
            append_time: time_of(self.end),
            fence: 0,
        };
        self.table.record(&batch);
        self.appended.push(batch);
        self.end += u64::from(count);
    }
}

fn time_of(offset: u64) -> Timestamp {
    Timestamp(1000 + i64::try_from(offset).unwrap())
}

fn duplicate(offset: u64) -> Verdict {
    Verdict::Duplicate {
        base_offset: Offset(offset),
        append_time: time_of(offset),
    }
}

fn limits(max_producers: usize) -> ProducerLimits {
    ProducerLimits {
        max_producers,
        ..ProducerLimits::default()
    }
}

#[test]
fn an_absent_producer_starts_at_sequence_0() {
    let table = Producers::default();
    assert_eq!(table.check(A, 0, 0, 10), Ok(Verdict::New));
    assert_eq!(table.check(A, 9, 0, 10), Ok(Verdict::New));
    assert_eq!(
        table.check(A, 0, 1, 10),
        Err(ProducerError::Unknown { sequence: 1 })
    );
}

#[test]
fn a_known_producer_goes_on_where_it_ended() {
    let mut log = Log::default();
    log.append(A, 0, 0, 10);
    assert_eq!(log.table.check(A, 0, 10, 5), Ok(Verdict::New));
    assert_eq!(
        log.table.check(A, 0, 11, 5),
        Err(ProducerError::Gap {
            expected: 10,
            found: 11
        })
    );
    assert_eq!(log.table.check(B, 0, 0, 5), Ok(Verdict::New), "of itself");
}

#[test]
fn a_retry_of_each_of_the_last_batches_is_answered_as_it_was_then() {
    let mut log = Log::default();
    for n in 0..6 {
        log.append(A, 0, n * 10, 10);
        log.append(B, 0, n, 1);
    }
    for n in 1..6 {
        assert_eq!(log.table.check(A, 0, n * 10, 10), Ok(duplicate(n * 11)));
        assert_eq!(log.table.check(B, 0, n, 1), Ok(duplicate(n * 11 + 10)));
    }
    assert_eq!(
        log.table.check(A, 0, 0, 10),
        Err(ProducerError::TooOld {
            oldest: 10,
            found: 0
        })
    );
}

#[test]
fn a_retry_that_is_not_the_batch_as_it_was_is_refused() {
    let mut log = Log::default();
    log.append(A, 0, 0, 10);
    log.append(A, 0, 10, 10);
    for (found, count) in [(0, 9), (0, 20), (5, 5), (10, 11), (15, 1)] {
        assert_eq!(
            log.table.check(A, 0, found, count),
            Err(ProducerError::Overlap {
                expected: 20,
                found,
                count
            })
        );
    }
}

#[test]
fn a_higher_epoch_starts_again_at_0_and_fences_the_former_ones() {
    let mut log = Log::default();
    log.append(A, 1, 0, 10);
    assert_eq!(log.table.check(A, 2, 0, 10), Ok(Verdict::New));
    assert_eq!(
        log.table.check(A, 2, 10, 10),
        Err(ProducerError::Gap {
            expected: 0,
            found: 10
        })
    );
    log.append(A, 2, 0, 10);
    for sequence in [0, 10] {
        assert_eq!(
            log.table.check(A, 1, sequence, 10),
            Err(ProducerError::Fenced {
                epoch: 1,
                highest_epoch: 2
            })
        );
    }
    assert_eq!(log.table.check(A, 2, 0, 10), Ok(duplicate(10)));
    assert_eq!(log.table.check(A, 2, 10, 10), Ok(Verdict::New));
}

#[test]
fn a_batch_without_a_producer_is_always_new_and_never_remembered() {
    let mut log = Log::default();
    log.append(ProducerId::NONE, 0, 0, 10);
    assert!(log.table.is_empty());
    assert_eq!(log.table.check(ProducerId::NONE, 0, 7, 1), Ok(Verdict::New));
}

#[test]
fn past_the_limit_the_producer_that_appended_least_recently_is_forgotten() {
    let mut table = Producers::new(limits(2));
    let mut forgotten = Vec::new();
    for (offset, (id, base_sequence)) in (0..).zip([(1, 0), (2, 0), (1, 1), (3, 0), (4, 0)]) {
        forgotten.extend(table.record(&AppendedBatch {
            producer_id: ProducerId(id),
            epoch: 0,
            base_sequence,
            count: 1,
            base_offset: Offset(offset),
            append_time: time_of(offset),
            fence: 0,
        }));
    }
    assert_eq!(forgotten, [ProducerId(2), ProducerId(1)]);
    assert_eq!(table.len(), 2);
    assert_eq!(
        table.check(A, 0, 2, 1),
        Err(ProducerError::Unknown { sequence: 2 })
    );
}

#[test]
fn a_producer_is_forgotten_at_its_age_and_not_before() {
    let mut log = Log::default();
    log.append(A, 0, 0, 1);
    log.append(B, 0, 0, 1);
    let age = ProducerLimits::default().max_age_ms;
    assert_eq!(log.table.expire(time_of(0).saturating_add_ms(age - 1)), 0);
    assert_eq!(log.table.expire(time_of(0).saturating_add_ms(age)), 1);
    assert_eq!(
        log.table.check(A, 0, 1, 1),
        Err(ProducerError::Unknown { sequence: 1 })
    );
    assert_eq!(log.table.check(B, 0, 1, 1), Ok(Verdict::New));
    assert_eq!(log.table.expire(Timestamp(i64::MAX)), 1);
    assert!(log.table.is_empty());
}

#[test]
fn a_forgotten_producer_that_starts_anew_is_the_same_in_a_replay_that_still_knows_it() {
    let mut log = Log::default();
    log.append(A, 3, 0, 10);
    log.append(A, 3, 10, 10);
    assert_eq!(log.table.expire(Timestamp(i64::MAX)), 1);
    for epoch in [3, 2] {
        log.append(A, epoch, 0, 5);
        let mut replayed = Producers::default();
        for batch in &log.appended {
            replayed.record(batch);
        }
        assert_eq!(replayed, log.table);
        log.table.expire(Timestamp(i64::MAX));
    }
}

#[test]
fn a_batch_booked_twice_is_booked_once() {
    let mut log = Log::default();
    for n in 0..7 {
        log.append(A, 0, n, 1);
    }
    let once = log.table.clone();
    for batch in &log.appended {
        log.table.record(batch);
    }
    assert_eq!(log.table, once);
}

#[test]
fn a_fence_lets_pass_the_highest_and_what_is_above() {
    let mut table = Producers::default();
    table.check_fence(0).unwrap();
    table.check_fence(5).unwrap();
    assert_eq!(table.fence(), 0, "a check raises nothing");
    let mut batch = AppendedBatch {
        producer_id: ProducerId::NONE,
        epoch: 0,
        base_sequence: 0,
        count: 1,
        base_offset: Offset(0),
        append_time: Timestamp(0),
        fence: 5,
    };
    table.record(&batch);
    for (token, passes) in [(0, false), (4, false), (5, true), (6, true)] {
        let expected = if passes {
            Ok(())
        } else {
            Err(Fenced { token, highest: 5 })
        };
        assert_eq!(table.check_fence(token), expected);
    }
    batch.fence = 3;
    table.record(&batch);
    assert_eq!(table.fence(), 5, "a fence never falls");
}

fn rows_of(log: &Log) -> Vec<ProducerState> {
    log.table.to_rows()
}

#[test]
fn rows_stand_by_producer_and_in_order() {
    let mut log = Log::default();
    log.append(A, 0, 0, 10);
    log.append(B, 4, 0, 10);
    log.append(A, 0, 10, 10);
    let rows = rows_of(&log);
    let short: Vec<_> = rows
        .iter()
        .map(|r| {
            (
                r.producer_id.0,
                r.epoch,
                r.base_sequence,
                r.next_sequence,
                r.base_offset.0,
            )
        })
        .collect();
    assert_eq!(
        short,
        [(2, 4, 0, 10, 10), (1, 0, 0, 10, 0), (1, 0, 10, 20, 20)]
    );
    assert_eq!(rows[2].last_append_time, time_of(20));
}

#[test]
fn rows_that_no_table_gives_are_refused() {
    let mut log = Log::default();
    for n in 0..5 {
        log.append(A, 0, n * 10, 10);
    }
    log.append(B, 0, 0, 10);
    let good = rows_of(&log);
    let refused = |row: usize, change: &dyn Fn(&mut Vec<ProducerState>)| {
        let mut rows = good.clone();
        change(&mut rows);
        let error = Producers::from_rows(ProducerLimits::default(), 0, &rows).unwrap_err();
        assert_eq!(error.row, row, "{error}");
    };
    refused(5, &|rows| rows[5].producer_id = ProducerId::NONE);
    refused(4, &|rows| rows[4].next_sequence = 40);
    refused(0, &|rows| rows[0].base_sequence = u64::MAX);
    refused(1, &|rows| rows[1].epoch = 1);
    refused(1, &|rows| rows[1].base_sequence = 11);
    refused(1, &|rows| rows[1].base_offset = Offset(0));
    refused(5, &|rows| rows.swap(4, 5));
    refused(5, &|rows| {
        rows[5] = ProducerState {
            base_sequence: 50,
            next_sequence: 60,
            producer_id: A,
            ..rows[5]
        };
    });
}

#[test]
fn fewer_producers_than_rows_keeps_the_latest() {
    let mut log = Log::default();
    log.append(A, 0, 0, 1);
    log.append(B, 0, 0, 1);
    let table = Producers::from_rows(limits(1), 9, &rows_of(&log)).unwrap();
    assert_eq!((table.len(), table.fence()), (1, 9));
    assert_eq!(table.check(B, 0, 1, 1), Ok(Verdict::New));
}

proptest! {
    /// Producers send, resend and start anew as they like; the log must hold every sequence of
    /// each epoch once and in order, and each retry must be answered with where it is.
    #[test]
    fn whatever_is_sent_the_log_holds_each_sequence_once_and_in_order(
        sent in vec((1..4_u128, 0..3_u32, 0..12_u64, 1..4_u32), 0..120),
    ) {
        let mut log = Log::default();
        for (id, epoch, base_sequence, count) in sent {
            let id = ProducerId(id);
            match log.table.check(id, epoch, base_sequence, count) {
                Ok(Verdict::New) => log.append(id, epoch, base_sequence, count),
                Ok(Verdict::Duplicate { base_offset, append_time }) => {
                    let there = log.appended.iter().find(|b| b.base_offset == base_offset).unwrap();
                    prop_assert_eq!(
                        (there.producer_id, there.epoch, there.base_sequence, there.count),
                        (id, epoch, base_sequence, count)
                    );
                    prop_assert_eq!(there.append_time, append_time);
                }
                Err(_) => {}
            }
        }
        for id in 1..4 {
            let (mut epoch, mut next) = (0, 0);
            for batch in log.appended.iter().filter(|b| b.producer_id.0 == id) {
                prop_assert!(batch.epoch >= epoch, "a fenced producer has appended");
                if batch.epoch > epoch {
                    (epoch, next) = (batch.epoch, 0);
                }
                prop_assert_eq!(batch.base_sequence, next);
                next += u64::from(batch.count);
            }
        }
    }

    #[test]
    fn a_table_from_rows_and_the_rest_of_the_log_is_identical_to_one_from_the_whole_log(
        sent in vec((0..6_u128, 0..2_u32, 1..4_u32, 0..4_u64), 1..80),
        checkpoint in 0..80_usize,
        max_producers in 1..6_usize,
    ) {
        let mut whole = Producers::new(limits(max_producers));
        let (mut from_rows, mut end) = (None, 0);
        for (n, (id, epoch, count, fence)) in sent.iter().copied().enumerate() {
            if n == checkpoint {
                let rows = whole.to_rows();
                let read = Producers::from_rows(limits(max_producers), whole.fence(), &rows);
                prop_assert_eq!(read.as_ref(), Ok(&whole));
                from_rows = read.ok();
            }
            // Next in sequence, as far as the table knows; else from the start.
            let producer_id = ProducerId(id);
            let base_sequence = whole
                .known
                .get(&producer_id)
                .filter(|producer| producer.epoch == epoch)
                .map_or(0, |producer| producer.last().next_sequence);
            let batch = AppendedBatch {
                producer_id,
                epoch,
                base_sequence,
                count,
                base_offset: Offset(end),
                append_time: time_of(end),
                fence,
            };
            end += u64::from(count);
            let forgotten = whole.record(&batch);
            if let Some(table) = &mut from_rows {
                prop_assert_eq!(table.record(&batch), forgotten);
            }
            prop_assert!(whole.len() <= max_producers);
            prop_assert_eq!(whole.known.len(), whole.by_last_append.len());
        }
        if let Some(table) = from_rows {
            prop_assert_eq!(table, whole);
        }
    }
}
