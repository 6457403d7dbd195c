//! Logs behave like vectors, whatever is written, moved, trimmed and reopened.

use std::sync::Arc;

use npayload::storage::StageError;
use npayload::storage::disk::{CrashingDisk, Loss, MemoryDisk};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::storage_harness::{Harness, Mercy, Model, log_id};

#[test]
fn what_was_appended_is_read_back_after_every_kind_of_reopening() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(Arc::new(disk.clone()), Model::default(), 1).unwrap();
    assert!(harness.report.is_new);
    for n in 0..3 {
        harness.create(n);
    }
    harness.append(&[(0, &[10, 20, 30])]).unwrap();
    harness.append(&[(1, &[100])]).unwrap();
    harness.flush();
    harness.check();
    harness
        .append(&[(0, &[2000]), (1, &[500]), (2, &[7])])
        .unwrap();
    harness.flush();
    harness.check();
    harness.append(&[(0, &[5000])]).unwrap();
    harness.flush();
    harness.check();
    harness.checkpoint();
    harness.check();
    for n in 0..40 {
        harness.append(&[(n % 3, &[300, 200])]).unwrap();
        harness.flush();
        harness.check();
    }
    // Killed.
    let now = harness.now + 1;
    let model = harness.kill();
    let mut harness = Harness::open(Arc::new(disk.clone()), model, now).unwrap();
    assert!(!harness.report.was_clean);
    harness.check_recovered(Mercy::Process);
    harness.append(&[(0, &[1]), (2, &[1])]).unwrap();
    harness.flush();
    harness.check();
    harness.stop();
    assert!(harness.storage.is_clean());
    let now = harness.now + 1;
    let model = harness.kill();
    let mut harness = Harness::open(Arc::new(disk), model, now).unwrap();
    assert!(harness.report.was_clean);
    harness.check_recovered(Mercy::Process);
    for offset in 0..harness.storage.log(log_id(0)).unwrap().end().0 {
        harness.check_from(log_id(0), offset, 500);
    }
}

#[derive(Debug, Clone)]
enum Op {
    /// Batches for one log: which, and the sizes of the records.
    Append(u64, Vec<usize>),
    /// One entry over several logs.
    Shared(Vec<(u64, usize)>),
    Round,
    /// One step of a round, or of upkeep, with other work between the steps.
    StepRound,
    StepUpkeep,
    Upkeep,
    Checkpoint,
    Point,
    Read(u64, prop::sample::Index, u64),
    Time(u64, prop::sample::Index),
    LogStart(u64, prop::sample::Index),
    Replace(u64),
    Stop,
    Kill,
    PowerLoss(Loss),
}

fn op() -> impl Strategy<Value = Op> {
    let log = 0..LOGS;
    let size = prop_oneof![6 => 0usize..300, 2 => 300usize..3_000, 1 => 3_000usize..12_000];
    let loss = prop_oneof![
        Just(Loss::All),
        Just(Loss::None),
        (0u64..40).prop_map(Loss::Prefix),
        any::<u64>().prop_map(Loss::Random),
    ];
    let at = any::<prop::sample::Index>();
    prop_oneof![
        12 => (log.clone(), vec(size, 1..4)).prop_map(|(log, sizes)| Op::Append(log, sizes)),
        4 => vec((log.clone(), 0usize..900), 2..4).prop_map(Op::Shared),
        6 => Just(Op::Round),
        6 => Just(Op::StepRound),
        6 => Just(Op::StepUpkeep),
        4 => Just(Op::Upkeep),
        2 => Just(Op::Checkpoint),
        1 => Just(Op::Point),
        4 => (log.clone(), at.clone(), 1u64..9_000).prop_map(|(log, at, max)| Op::Read(log, at, max)),
        2 => (log.clone(), at.clone()).prop_map(|(log, at)| Op::Time(log, at)),
        1 => (log.clone(), at).prop_map(|(log, at)| Op::LogStart(log, at)),
        1 => log.prop_map(Op::Replace),
        1 => Just(Op::Stop),
        1 => Just(Op::Kill),
        1 => loss.prop_map(Op::PowerLoss),
    ]
}

const LOGS: u64 = 3;

/// Runs of the model: few in the gate, as many as `PROPTEST_CASES` says at night.
fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES");
    asked.ok().and_then(|text| text.parse().ok()).unwrap_or(96)
}

/// The logs of a run by number; a deleted one is followed by a new one.
struct Run {
    disk: CrashingDisk,
    harness: Option<Harness>,
    ids: [u64; LOGS as usize],
    next: u64,
}

impl Run {
    fn new() -> Self {
        let disk = CrashingDisk::new();
        let mut harness = Harness::open(Arc::new(disk.clone()), Model::default(), 1).unwrap();
        (0..LOGS).for_each(|n| harness.create(n));
        harness.flush();
        Self {
            disk,
            harness: Some(harness),
            ids: [0, 1, 2],
            next: LOGS,
        }
    }

    fn at(&mut self) -> &mut Harness {
        self.harness.as_mut().unwrap()
    }

    fn id(&self, log: u64) -> u64 {
        self.ids[usize::try_from(log).unwrap()]
    }

    fn reopen(&mut self, loss: Loss, mercy: Mercy) {
        let harness = self.harness.take().unwrap();
        let now = harness.now + 1;
        let model = harness.kill();
        self.disk = self.disk.after(loss);
        let mut harness = Harness::open(Arc::new(self.disk.clone()), model, now).unwrap();
        harness.check_recovered(mercy);
        // A log whose creation was lost is created again.
        for n in self.ids {
            if harness.storage.log(log_id(n)).is_none() {
                harness.create(n);
            }
        }
        harness.flush();
        self.harness = Some(harness);
    }

    fn append(&mut self, parts: &[(u64, &[usize])]) {
        for _ in 0..4 {
            match self.at().append(parts) {
                Ok(_) => return,
                Err(StageError::Busy) => self.at().flush(),
                Err(StageError::TooLarge { .. }) => return,
                Err(error) => panic!("{error}"),
            }
        }
        panic!("busy for ever");
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append(log, sizes) => self.append(&[(self.id(*log), sizes)]),
            Op::Shared(parts) => {
                let sizes: Vec<[usize; 1]> = parts.iter().map(|(_, size)| [*size]).collect();
                let parts: Vec<(u64, &[usize])> = parts
                    .iter()
                    .zip(&sizes)
                    .map(|((log, _), size)| (self.id(*log), &size[..]))
                    .collect();
                self.append(&parts);
            }
            Op::Round => self.at().round(),
            Op::StepRound => self.at().step_round(),
            Op::StepUpkeep => {
                self.at().step_upkeep();
            }
            Op::Upkeep => self.at().upkeep(),
            Op::Checkpoint => self.at().checkpoint(),
            Op::Point => self.at().point(),
            Op::Read(log, at, max) => {
                let id = log_id(self.id(*log));
                let log = self.at().storage.log(id).unwrap();
                let (start, high) = (log.log_start().0, log.high_watermark().0);
                let from = start + at.index(usize::try_from(high - start).unwrap() + 1) as u64;
                self.at().check_from(id, from, *max);
            }
            Op::Time(log, at) => {
                let id = log_id(self.id(*log));
                let steps = usize::try_from(self.at().now).unwrap() + 2;
                let time = i64::try_from(at.index(steps)).unwrap();
                self.at().check_time(id, time);
            }
            Op::LogStart(log, at) => {
                let n = self.id(*log);
                self.at().flush();
                let found = self.at().storage.log(log_id(n)).unwrap();
                let (start, high) = (found.log_start().0, found.flushed().0);
                let to = start + at.index(usize::try_from(high - start).unwrap() + 1) as u64;
                self.at().set_log_start(n, to);
                self.at().step_round();
            }
            Op::Replace(log) => {
                let n = self.id(*log);
                self.at().drop_log(n);
                // What comes behind the deletion is lost with the log.
                for size in [20, 4_000, 60] {
                    let _ = self.at().append(&[(n, &[size])]);
                    self.at().step_round();
                    self.at().step_upkeep();
                }
                self.at().flush();
                // Turned away by a full queue: once more.
                if self.at().storage.log(log_id(n)).is_some() {
                    self.at().drop_log(n);
                    self.at().flush();
                }
                let next = self.next;
                self.at().create(next);
                self.at().flush();
                self.ids[usize::try_from(*log).unwrap()] = next;
                self.next += 1;
            }
            Op::Stop => {
                self.at().stop();
                assert!(self.at().storage.is_clean(), "no clean stop");
                self.reopen(Loss::None, Mercy::Process);
                assert!(self.at().report.was_clean);
            }
            Op::Kill => self.reopen(Loss::None, Mercy::Process),
            Op::PowerLoss(loss) => {
                let mercy = if *loss == Loss::None {
                    Mercy::Process
                } else {
                    Mercy::Power
                };
                self.reopen(*loss, mercy);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn logs_behave_like_vectors(ops in vec(op(), 1..60)) {
        let mut run = Run::new();
        for op in &ops {
            run.apply(op);
            run.at().check();
        }
        // Every offset of every log, one by one.
        run.at().flush();
        for n in run.ids {
            let id = log_id(n);
            let log = run.at().storage.log(id).unwrap();
            for from in log.log_start().0..log.high_watermark().0 {
                run.at().check_from(id, from, 1);
            }
        }
    }
}
