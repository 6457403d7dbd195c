//! One log on the real disk, driven from one thread.
#![allow(dead_code, reason = "each bench uses its part of it")]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::BytesMut;
use npayload::format::{BatchBuilder, Compression, NewRecord};
use npayload::storage::disk::RealDisk;
use npayload::storage::{
    LiveLog, LogOptions, NewBatch, ProducerRows, Read, RoundEnd, Slices, Storage, StorageConfig,
    open,
};
use npayload::types::{Durability, Incarnation, Offset, Timestamp};

/// A storage with one log, on a temporary directory that goes with it.
pub struct Store {
    storage: Storage,
    log: Incarnation,
    now: i64,
    _dir: tempfile::TempDir,
}

struct NoProducers;

impl ProducerRows for NoProducers {
    fn rows(&self, _: Incarnation) -> (u64, Vec<npayload::format::ProducerRow>) {
        (0, Vec::new())
    }
}

/// A batch of records of 1 KiB.
pub fn batch(records: u32) -> BytesMut {
    let payload = [b'x'; 1024];
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..records {
        let record = NewRecord {
            payload: Some(&payload),
            ..NewRecord::default()
        };
        builder.push(&record).expect("a batch of a few MiB");
    }
    builder.build().expect("at least one record")
}

impl Store {
    /// Opens a storage under the current directory, so that it is on a disk.
    pub fn open(durability: Durability) -> Self {
        let dir = tempfile::tempdir_in(".").expect("a directory");
        let log = Incarnation(7);
        let options = LogOptions {
            segment_bytes: 128 << 20,
            durability,
            sync_interval_ms: 200,
        };
        let live = HashMap::from([(
            log,
            LiveLog {
                options,
                log_start: Offset(0),
                begins_at: Offset(0),
            },
        )]);
        let mut seed = 1;
        let mut random = move || {
            seed += 1;
            seed
        };
        let (disk, config) = (Arc::new(RealDisk), StorageConfig::default());
        let mut unrecovered = open(
            disk,
            dir.path(),
            config,
            "a bench",
            Timestamp(1),
            &mut random,
        )
        .expect("opens");
        unrecovered.replay_directory().expect("a new directory");
        let fold = |_, _: &npayload::storage::Replayed| (0, Vec::new());
        let recovered = unrecovered.recover(&live, &HashSet::new(), &fold, Timestamp(1));
        Self {
            storage: recovered.expect("recovers").0,
            log,
            now: 1,
            _dir: dir,
        }
    }

    /// Stages batches, and runs one round that makes them as durable as the log promises.
    pub fn append(&mut self, batches: usize, bytes: &BytesMut, records: u32) {
        for _ in 0..batches {
            let new = NewBatch {
                log: self.log,
                bytes: bytes.clone(),
                span: records,
                expected: None,
                principal: 0,
                sealing: None,
                copied: None,
            };
            while self
                .storage
                .stage(&mut vec_of(&new), Timestamp(self.now))
                .is_err()
            {
                self.work();
            }
        }
        self.now += 1;
        self.work();
    }

    fn work(&mut self) {
        while let Some(round) = self.storage.plan_round(Timestamp(self.now)) {
            let (_, again) = self.storage.finish_round(Box::new(round).run());
            assert!(again.is_none(), "the disk is not full");
        }
        self.storage
            .cut_checkpoint(Timestamp(self.now), &NoProducers);
        while let Some(job) = self.storage.plan_upkeep(Timestamp(self.now)) {
            self.storage.finish_upkeep(job.run(), Timestamp(self.now));
            while let Some(round) = self.storage.plan_round(Timestamp(self.now)) {
                assert!(matches!(self.storage.finish_round(done(round)), (_, None)));
            }
        }
    }

    /// Reads about `max_bytes` from an offset.
    pub fn read(&self, from: Offset, max_bytes: u64) -> Slices {
        match self
            .storage
            .plan_read(self.log, from, max_bytes)
            .expect("inside the log")
        {
            Read::Ready(slices) => slices,
            Read::Segment(job) => job.run().expect("intact"),
            Read::Load(_) => unreachable!("nothing is older than this run"),
        }
    }

    /// Offset of the next record.
    pub fn end(&self) -> Offset {
        self.storage
            .log(self.log)
            .expect("made above")
            .high_watermark()
    }
}

fn done(round: npayload::storage::Round) -> RoundEnd {
    Box::new(round).run()
}

fn vec_of(new: &NewBatch) -> Vec<NewBatch> {
    vec![NewBatch {
        log: new.log,
        bytes: new.bytes.clone(),
        span: new.span,
        expected: None,
        principal: 0,
        sealing: None,
        copied: None,
    }]
}
