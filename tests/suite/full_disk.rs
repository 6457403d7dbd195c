//! A disk that fills up under the broker, and has room again: a small file system of its own.

use std::path::{Path, PathBuf};

use crate::kill::seed;
use crate::load::Load;
use crate::mounts::Mount;
use crate::process::{Broker, wait_for};
use crate::raw::{ERROR, NONE, PUBLISH, Raw, batch, publish_body};

/// Bytes of the file system.
const BYTES: u64 = 48 << 20;

fn ballast(path: &Path) -> PathBuf {
    path.join("ballast")
}

/// A data directory to be, with settings that leave room for records on a small file system.
fn configured(path: &Path) -> PathBuf {
    let settings = "[storage]\njournal_file_bytes = 1048576\nmax_round_bytes = 262144\n\
                    journal_files = 4\nmin_free_bytes = 4194304\n";
    std::fs::write(path.join("data.toml"), settings).expect("a configuration file");
    path.join("data")
}

/// Fills the file system to the last block.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(ballast(path)).expect("a file");
    while file.write_all(&[0x55; 4096]).is_ok() {}
}

fn lines(tag: &str, count: usize) -> String {
    (0..count)
        .map(|n| format!("{tag} {n} {}\n", "z".repeat(900)))
        .collect()
}

fn published(broker: &Broker, input: &str) -> (i32, String) {
    let ran = broker.run_with(
        &["publish", "d", "--timeout-s", "1", "--batch-records", "50"],
        input.as_bytes(),
    );
    (ran.code, ran.err)
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers_without_a_restart() {
    let Some(small) = Mount::in_memory(BYTES) else {
        return;
    };
    let data = configured(small.path());
    let broker = Broker::start(&data);
    let first = lines("first", 500);
    assert_eq!(published(&broker, &first).0, 0);
    for round in 0..2 {
        let before = broker.run(&["consume", "d"]).ok();
        fill(small.path());
        // What was preallocated takes some more. A batch that was under way when the last block
        // went waits for space; those that come later are refused at once, with the reason.
        wait_for("the disk to be full", || {
            let (code, error) = published(&broker, &lines("more", 200));
            (code == 1 && error.contains("disk is full")).then_some(())
        });
        broker.logs("the disk is full: writers are turned away");
        let during = broker.run(&["consume", "d"]).ok();
        assert!(during.starts_with(&before), "{round}: reads go on");
        broker.run(&["channel", "info", "d", "--json"]).json();
        std::fs::remove_file(ballast(small.path())).expect("the ballast");
        wait_for("writes to go on", || {
            (published(&broker, "after\n").0 == 0).then_some(())
        });
        broker.logs("the disk has space again: writers are let in");
        let after = broker.run(&["consume", "d"]).ok();
        assert!(after.starts_with(&during), "{round}");
        assert!(after.ends_with(b"after\n"), "{round}");
    }
    let all = broker.run(&["consume", "d"]).ok();
    assert_eq!(broker.terminate(), 0);
    let broker = Broker::start(&data);
    assert_eq!(broker.run(&["consume", "d"]).ok(), all);
}

#[test]
fn a_broker_on_a_full_disk_stops_and_starts_again() {
    let Some(small) = Mount::in_memory(BYTES) else {
        return;
    };
    let data = small.path().join("data");
    let config = small.path().join("data.toml");
    let settings = "[storage]\njournal_file_bytes = 1048576\nmax_round_bytes = 262144\n\
                    journal_files = 4\nmin_free_bytes = 4096\n";
    std::fs::write(&config, settings).expect("a configuration file");
    let broker = Broker::start(&data);
    let kept = lines("kept", 300);
    assert_eq!(published(&broker, &kept).0, 0);
    fill(small.path());
    // Several at once, so that one is under way when the last block goes, and waits for space.
    wait_for("the disk to be full", || {
        let threads: Vec<i32> = std::thread::scope(|scope| {
            let one = || published(&broker, &lines("more", 500)).0;
            let threads = [scope.spawn(one), scope.spawn(one), scope.spawn(one)];
            threads.map(|thread| thread.join().expect("ran")).to_vec()
        });
        threads.contains(&1).then_some(())
    });
    let before = broker.run(&["consume", "d"]).ok();
    // Clean or not, it ends.
    let code = broker.terminate();
    assert!(code == 0 || code == 1, "{code}");
    std::fs::remove_file(ballast(small.path())).expect("the ballast");
    let broker = Broker::start(&data);
    let after = broker.run(&["consume", "d"]).ok();
    assert!(after.starts_with(&before), "what could be read is there");
    assert_eq!(published(&broker, "after\n").0, 0);
}

/// The ballast of a data directory, once it is there.
fn has_ballast(data: &Path) -> PathBuf {
    let path = data.join("ballast");
    wait_for("the ballast", || {
        let found = std::fs::metadata(&path).ok()?;
        (found.len() >= 1 << 20).then_some(())
    });
    path
}

#[test]
fn a_broker_starts_and_serves_reads_where_not_a_byte_is_left() {
    let Some(small) = Mount::in_memory(BYTES) else {
        return;
    };
    let data = configured(small.path());
    let broker = Broker::start(&data);
    assert_eq!(published(&broker, &lines("kept", 300)).0, 0);
    let mut kept = broker.run(&["consume", "d"]).ok();
    has_ballast(&data);
    assert_eq!(broker.terminate(), 0);
    fill(small.path());
    let refused = |broker: &Broker| {
        wait_for("the disk to be known as full", || {
            let (code, error) = published(broker, "more\n");
            (code == 1 && error.contains("disk is full")).then_some(())
        });
    };
    // Stopped in order or killed: what the ballast gave is enough for the starts that follow.
    for is_killed in [true, false, true] {
        let broker = Broker::start(&data);
        assert!(!data.join("ballast").exists(), "it has gone for the start");
        assert_eq!(broker.run(&["consume", "d"]).ok(), kept);
        refused(&broker);
        kept = broker.run(&["consume", "d"]).ok();
        match is_killed {
            true => broker.kill(),
            false => assert!(broker.terminate() <= 1),
        }
    }
    // Where all of it is gone too, the start says what it needs.
    fill_again(small.path());
    let why = Broker::launch(&data, &[]).try_ready().err();
    let why = why.expect("there is no space");
    for part in [
        "bytes are left on the disk",
        "a start takes up to",
        "free some space",
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }
    for ballast in ["ballast", "ballast-again"] {
        let _ = std::fs::remove_file(small.path().join(ballast));
    }
    let broker = Broker::start(&data);
    assert_eq!(broker.run(&["consume", "d"]).ok(), kept);
    wait_for("writes to go on", || {
        (published(&broker, "after\n").0 == 0).then_some(())
    });
    has_ballast(&data);
}

/// Fills what has become free since [`fill`].
fn fill_again(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path.join("ballast-again")).expect("a file");
    while file.write_all(&[0x55; 4096]).is_ok() {}
}

#[test]
fn a_load_that_fills_the_disk_is_turned_away_and_goes_on_and_a_kill_meanwhile_loses_nothing() {
    let Some(small) = Mount::in_memory(96 << 20) else {
        return;
    };
    let data = small.path().join("data");
    let settings = "[storage]\njournal_file_bytes = 4194304\nmax_round_bytes = 1048576\n\
                    journal_files = 3\nmin_free_bytes = 4194304\n";
    std::fs::write(data.with_extension("toml"), settings).expect("a configuration file");
    let mut broker = Broker::start_with(&data, &["--http", "127.0.0.1:0"]);
    let mut load = Load::durable(seed());
    let mut raw = Raw::greeted(broker.address());
    load.create(&mut raw);
    raw.publish("calm", &batch(&[b"before"])).published();
    for is_killed in [false, true] {
        let run = load.begin(broker.address());
        wait_for("acknowledgements", || (run.promised() > 500).then_some(()));
        fill(small.path());
        let reply = wait_for("the disk to be full", || {
            // One that was taken before the last block went waits for space.
            let body = publish_body("calm", NONE, &batch(&[b"more"]));
            let asked = Raw::try_greeted(broker.address());
            let reply = asked.and_then(|mut raw| raw.try_request(PUBLISH, &body));
            reply.ok().filter(|reply| reply.kind == ERROR)
        });
        reply.error("DISK_FULL");
        assert_eq!(reply.json()["retryable"], true);
        let (status, body) = broker.healthz();
        assert_eq!(status, 503, "{body}");
        let read = Raw::greeted(broker.address()).all("calm");
        assert_eq!(read[0].1, b"before", "reads go on");
        if is_killed {
            broker.kill();
            load = run.end();
            // Without a block for a checkpoint, and none kept back for it, it can't start, however often
            // it is tried.
            let _ = std::fs::remove_file(data.join("ballast"));
            fill_again(small.path());
            for _ in 0..3 {
                let refused = Broker::launch(&data, &[]).try_ready().err();
                let why = refused.expect("no block for a checkpoint");
                assert!(why.contains("a start takes up to"), "{why}");
            }
            for file in ["ballast", "ballast-again"] {
                std::fs::remove_file(small.path().join(file)).expect("what fills the disk");
            }
            broker = Broker::start_with(&data, &["--http", "127.0.0.1:0"]);
            load.check(broker.address());
        } else {
            std::fs::remove_file(ballast(small.path())).expect("the ballast");
            run.goes_on();
            load = run.end();
            load.check(broker.address());
        }
        wait_for("health", || (broker.healthz().0 == 200).then_some(()));
    }
    let run = load.begin(broker.address());
    run.goes_on();
    load = run.end();
    load.check_all(broker.address());
    assert_eq!(broker.terminate(), 0);
}

#[test]
fn a_file_system_too_small_for_the_journal_refuses_a_new_directory_and_says_what_makes_it_smaller()
{
    let Some(small) = Mount::in_memory(182 << 20) else {
        return;
    };
    let data = small.path().join("data");
    let config = data.with_extension("toml");
    std::fs::write(&config, "").expect("a configuration file");
    let why = Broker::launch(&data, &[]).try_ready().err();
    let why = why.expect("the journal alone takes more");
    for part in [
        "takes 269484032 bytes",
        "are free",
        "3 journal files of 67108864 bytes",
        "storage.journal_file_bytes",
        "storage.min_free_bytes",
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }
    assert!(!data.exists(), "nothing is made");
    let settings = "[storage]\njournal_file_bytes = 33554432\nmax_round_bytes = 8388608\n";
    std::fs::write(&config, settings).expect("a configuration file");
    let broker = Broker::start(&data);
    assert_eq!(published(&broker, "first\n").0, 0);
    assert_eq!(broker.terminate(), 0);
}

#[test]
fn a_kill_while_a_journal_file_was_prepared_leaves_a_directory_that_starts_with_no_byte_free() {
    let Some(small) = Mount::in_memory(BYTES) else {
        return;
    };
    let data = configured(small.path());
    let broker = Broker::start(&data);
    assert_eq!(published(&broker, &lines("kept", 300)).0, 0);
    let kept = broker.run(&["consume", "d"]).ok();
    has_ballast(&data);
    broker.kill();
    std::fs::remove_file(data.join("ballast")).expect("the ballast");
    let unfinished = data.join("journal/0003.journal");
    std::fs::write(&unfinished, vec![0; 1_000_000]).expect("a file");
    fill(small.path());
    let broker = Broker::start(&data);
    assert_eq!(broker.run(&["consume", "d"]).ok(), kept);
    assert_eq!(std::fs::metadata(&unfinished).expect("it stays").len(), 0);
}
