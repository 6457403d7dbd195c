//! Power cuts under the real binary: its disk is one of this process, which knows what no sync has
//! covered, and loses it.
//!
//! At a cut the broker is stopped between two instructions, its disk is copied as a power loss may
//! leave it, and it is killed. What it had acknowledged by then is all that any client was told.

use std::time::Duration;

use npayload::storage::disk::{CrashingDisk, Loss};
use rustix::process::Signal;

use crate::kill::{from_env, seed};
use crate::load::{Draws, Load};
use crate::mounts::DiskMount;
use crate::process::{Broker, Starting, binary, wait_for};
use crate::raw::Raw;

/// A small journal, which is checkpointed all the time, and small segments.
const SETTINGS: &str = "[storage]\njournal_file_bytes = 4194304\njournal_files = 3\n\
                        max_round_bytes = 1048576\n[channel]\nsegmentBytes = 1048576\n";

/// A disk under a broker.
struct Machine {
    disk: CrashingDisk,
    mount: DiskMount,
    config: tempfile::NamedTempFile,
}

impl Machine {
    fn with(disk: CrashingDisk) -> Option<Self> {
        let mount = DiskMount::of(std::sync::Arc::new(disk.clone()))?;
        let config = tempfile::NamedTempFile::with_suffix(".toml").expect("a temporary file");
        std::fs::write(config.path(), SETTINGS).expect("a configuration file");
        Some(Self {
            disk,
            mount,
            config,
        })
    }

    fn launch(&self) -> Starting {
        let data = self.mount.path().join("data");
        Broker::launch_by(binary(), self.config.path(), &data, &[])
    }

    /// Cuts the power of a process that runs on this disk.
    fn cut(&self, process: u32, stop: impl FnOnce(), loss: Loss) -> CrashingDisk {
        stop();
        wait_for("every thread to stop", || is_stopped(process).then_some(()));
        self.disk.after(loss)
    }
}

/// Whether no thread of a process can run an instruction of its own any more.
fn is_stopped(process: u32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{process}/task")) else {
        return true;
    };
    tasks.flatten().all(|task| {
        let status = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // The state follows the name, which is in brackets. D: within a call of the disk, at whose
        // end it stops.
        let state = status
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        matches!(state, None | Some('T' | 'D' | 'Z' | 'X'))
    })
}

fn loss(draws: &mut Draws, disk: &CrashingDisk) -> Loss {
    match draws.below(4) {
        0 => Loss::All,
        1 => Loss::Prefix(draws.below(disk.unsynced() + 1)),
        _ => Loss::Random(draws.draw()),
    }
}

#[test]
fn a_power_cut_at_any_moment_takes_nothing_that_was_acknowledged() {
    let Some(mut machine) = Machine::with(CrashingDisk::new()) else {
        return;
    };
    let mut draws = Draws(seed());
    let rounds = from_env("ROUNDS", 5);
    let mut load = Load::durable(draws.draw());
    let mut broker = machine.launch().ready();
    load.create(&mut Raw::greeted(broker.address()));
    let mut cuts = 0;
    for _ in 0..rounds {
        let run = load.begin(broker.address());
        run.goes_on();
        std::thread::sleep(Duration::from_millis(draws.below(100)));
        let loss_of = loss(&mut draws, &machine.disk);
        let mut disk = machine.cut(broker.pid(), || broker.signal(Signal::STOP), loss_of);
        broker.kill_anyway();
        cuts += 1;
        load = run.end();
        // The power may go again while the broker starts.
        while draws.below(3) == 0 {
            let Some(next) = Machine::with(disk.clone()) else {
                return;
            };
            let starting = next.launch();
            std::thread::sleep(Duration::from_millis(draws.below(60)));
            let loss_of = loss(&mut draws, &next.disk);
            disk = next.cut(starting.pid(), || starting.signal(Signal::STOP), loss_of);
            starting.kill();
            cuts += 1;
        }
        let Some(next) = Machine::with(disk) else {
            return;
        };
        machine = next;
        broker = machine.launch().ready();
        assert_eq!(broker.health()["ok"], true, "{}", broker.health());
        load.check(broker.address());
    }
    load.check_all(broker.address());
    assert_eq!(broker.terminate(), 0, "stops clean");
    println!(
        "{cuts} power cuts in {rounds} rounds, {} records acknowledged, all there",
        load.ledger.promised()
    );
}
