//! What is taken back, and who is a reader.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::*;

fn log() -> Log {
    let point = LogPoint {
        end: Offset(10),
        active: Some(ActivePoint {
            base: Offset(0),
            position: FIRST_BATCH + 1000,
            start_time: Timestamp(1),
            previous: None,
        }),
        ..LogPoint::empty()
    };
    let options = LogOptions {
        segment_bytes: 1 << 20,
        durability: Durability::Synced,
        sync_interval_ms: 100,
    };
    let layout = Layout::new(std::path::Path::new("/data"));
    Log::new(&layout, Incarnation(1), options, &point)
}

#[test]
fn what_is_taken_back_leaves_the_time_and_epoch_of_the_batch_before() {
    let mut log = log();
    let append = |log: &mut Log, time, epoch| {
        let place = log.place(
            &Layout::new(std::path::Path::new("/data")),
            100,
            1,
            Timestamp(time),
            LogEpoch(epoch),
        );
        log.append(TailBatch {
            offsets: log.end..Offset(log.end.0 + 1),
            position: place.position,
            append_time: Timestamp(time),
            epoch: LogEpoch(epoch),
            bytes: Bytes::from_static(&[0; 100]),
            segment: place.segment,
            is_behind: false,
        });
    };
    let first = (log.last_time, log.last_epoch);
    append(&mut log, 50, 2);
    log.roll_back(Offset(10));
    assert_eq!((log.last_time, log.last_epoch), first);
    append(&mut log, 60, 3);
    append(&mut log, 70, 4);
    append(&mut log, 80, 5);
    log.roll_back(Offset(11));
    assert_eq!(
        (log.last_time, log.last_epoch),
        (Timestamp(60), LogEpoch(3))
    );
    // It is in its segment alone, and no longer in the tail.
    (log.written, log.flushed) = (Offset(11), Offset(11));
    log.book_behind(&(Offset(10)..Offset(11)));
    append(&mut log, 90, 6);
    log.roll_back(Offset(11));
    assert_eq!(
        (log.end, log.last_time, log.last_epoch),
        (Offset(11), Timestamp(60), LogEpoch(3))
    );
}

#[test]
fn a_log_is_read_while_somebody_needs_its_segments() {
    let log = log();
    assert!(!log.is_read(), "nobody has read it yet");
    // Who follows its end needs none of them.
    assert!(matches!(
        log.plan_read(Offset(10), 100),
        Ok(ReadPlan::Memory(_))
    ));
    assert!(!log.is_read());
    assert!(matches!(
        log.plan_read(Offset(3), 100),
        Ok(ReadPlan::Segment { .. })
    ));
    assert!(log.is_read());
    log.unread_bytes.store(READ_BYTES - 1, Ordering::Relaxed);
    assert!(log.is_read());
    log.unread_bytes.store(READ_BYTES, Ordering::Relaxed);
    assert!(!log.is_read(), "the reader is gone");
}
