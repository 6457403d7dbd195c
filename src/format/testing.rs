//! Batches for the tests of other rooms.

use bytes::BytesMut;

use super::{BatchBuilder, Compression, NewRecord, Stamp, stamp};

/// A batch of these records as a producer sends it.
pub(crate) fn produced(compression: Compression, records: &[NewRecord<'_>]) -> BytesMut {
    let mut builder = BatchBuilder::new(compression);
    for record in records {
        builder.push(record).expect("a test's batch is small");
    }
    builder.build().expect("it has records")
}

/// A batch of these records as a log stores it.
pub(crate) fn stored(compression: Compression, records: &[NewRecord<'_>], at: &Stamp) -> BytesMut {
    let mut batch = produced(compression, records);
    stamp(&mut batch, at);
    batch
}
