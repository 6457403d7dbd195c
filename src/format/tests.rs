//! Rules that no golden file shows: what the door refuses, what a decoder survives, what comes back.

use bytes::Bytes;

use super::*;
use crate::types::{Incarnation, LogEpoch, Offset, ProducerId, Timestamp};

const ANY: DoorLimits = DoorLimits {
    max_record_bytes: 1 << 20,
    lz4: true,
    zstd: true,
};

#[test]
fn what_a_producer_builds_passes_the_door_and_reads_back() {
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let mut builder = BatchBuilder::new(compression);
        builder.producer(ProducerId(7), 2, 40).fence(9);
        for n in 0..100 {
            builder
                .push(&NewRecord {
                    record_type: "test.made",
                    key: (n % 2 == 0).then_some(b"key"),
                    headers: &[("name", b"value"), ("", b"")],
                    payload: (n % 3 != 0).then_some(b"payload payload payload"),
                    event_time: (n % 5 == 0).then_some(Timestamp(-n)),
                })
                .unwrap();
        }
        let mut batch = builder.build().unwrap();
        let header = check_produced(&batch, &ANY).unwrap();
        assert_eq!(header.compression(), Some(compression));
        let stamped = stamp(
            &mut batch,
            &Stamp {
                incarnation: Incarnation(5),
                base_offset: Offset(1000),
                append_time: Timestamp(77),
                log_epoch: LogEpoch(3),
                principal: 4,
            },
        );
        let batch: Bytes = batch.freeze();
        assert_eq!(check_stored(&batch), Ok(stamped));
        assert_eq!(BatchHeader::peek(&batch), Ok(stamped));
        assert_eq!(stamped.end_offset(), Offset(1100));
        assert_eq!(stamped.producer_id(), ProducerId(7));
        assert_eq!((stamped.base_sequence(), stamped.fence()), (40, 9));
        let records: Vec<_> = records(&batch).unwrap().map(Result::unwrap).collect();
        assert_eq!(records.len(), 100);
        for (record, n) in records.iter().zip(0..) {
            assert_eq!(record.offset, Offset(1000 + n));
            assert_eq!(record.append_time, Timestamp(77));
            assert_eq!(record.record_type, "test.made");
            assert_eq!(record.key.is_some(), n % 2 == 0);
            assert_eq!(record.headers.len(), 2);
            assert_eq!(record.headers[0].0, "name");
            assert_eq!(record.payload.is_some(), n % 3 != 0);
            assert_eq!(record.event_time.is_some(), n % 5 == 0);
        }
    }
}
