//! The real binary on a disk whose syncs fail, or take seconds.

use std::sync::Arc;
use std::time::Duration;

use npayload::storage::disk::{FailingDisk, Fault, MemoryDisk, Operation};
use serde_json::{Value, json};

use crate::mounts::DiskMount;
use crate::process::{Broker, Starting, binary, wait_for};
use crate::raw::{CREATE, PUBLISH, Raw, batch, publish_body};

/// A disk that can be told to fail, under a broker.
struct Machine {
    disk: FailingDisk,
    mount: DiskMount,
    config: tempfile::NamedTempFile,
}

impl Machine {
    fn new(settings: &str) -> Option<Self> {
        let disk = FailingDisk::new(Arc::new(MemoryDisk::new()));
        let mount = DiskMount::of(Arc::new(disk.clone()))?;
        let config = tempfile::NamedTempFile::with_suffix(".toml").expect("a temporary file");
        let small = "[storage]\njournal_file_bytes = 4194304\nmax_round_bytes = 1048576\n";
        let text = format!("{settings}\n{small}");
        std::fs::write(config.path(), text).expect("a configuration file");
        Some(Self {
            disk,
            mount,
            config,
        })
    }

    fn launch(&self) -> Starting {
        let data = self.mount.path().join("data");
        let more = ["--http", "127.0.0.1:0"];
        Broker::launch_by(binary(), self.config.path(), &data, &more)
    }
}

fn texts(raw: &mut Raw, channel: &str) -> Vec<String> {
    let all = raw.all(channel).into_iter();
    all.map(|(_, payload)| String::from_utf8(payload).expect("text"))
        .collect()
}

#[test]
fn after_a_failed_sync_of_the_journal_nothing_is_acknowledged_and_reads_go_on() {
    let Some(machine) = Machine::new("") else {
        return;
    };
    let broker = machine.launch().ready();
    let mut raw = Raw::greeted(broker.address());
    for text in ["one", "two"] {
        raw.publish("c", &batch(&[text.as_bytes()])).published();
    }
    // The file that groups go to: those that are prepared beside it are synced too.
    machine.disk.plan(
        Fault::new(Fault::IO)
            .on(Operation::Sync)
            .at("0000.journal")
            .and_later(),
    );
    // Several producers wait for the round that fails; each is told, and none that it succeeded.
    let mut others: Vec<Raw> = (0..3).map(|_| Raw::greeted(broker.address())).collect();
    for other in &mut others {
        other.ask(PUBLISH, &publish_body("c", u64::MAX, &batch(&[b"lost"])));
    }
    for other in &mut others {
        other.reply().error("JOURNAL_FAILED");
    }
    // The disk is well again: what it has lost it has lost, so nothing is taken all the same.
    machine.disk.heal();
    // A checkpoint that is under way may still sync other files.
    let retried = || {
        Fault::new(Fault::IO)
            .on(Operation::Sync)
            .at("0000.journal")
            .and_later()
    };
    machine.disk.plan(retried());
    let struck = machine.disk.struck();
    for channel in ["c", "new"] {
        let reply = raw.publish(channel, &batch(&[b"later"]));
        reply.error("JOURNAL_FAILED");
        assert_eq!(reply.json()["retryable"], false);
    }
    assert_eq!(
        machine.disk.struck(),
        struck,
        "no sync of the journal is tried again"
    );
    machine.disk.heal();
    assert_eq!(texts(&mut raw, "c"), ["one", "two"]);
    let health = broker.health();
    assert_eq!(health["ok"], false);
    let why = health["writesRefused"].as_str().unwrap_or_default();
    assert!(why.contains("os error 5"), "names the errno: {health}");
    let (status, body) = broker.healthz();
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("os error 5"), "{body}");
    assert_eq!(
        broker.terminate(),
        1,
        "it could not stop clean, and says so"
    );
    let broker = machine.launch().ready();
    let mut raw = Raw::greeted(broker.address());
    let found = texts(&mut raw, "c");
    assert_eq!(found[..2], ["one", "two"]);
    assert!(found[2..].iter().all(|text| text == "lost"), "{found:?}");
    raw.publish("c", &batch(&[b"after"])).published();
    assert_eq!(broker.healthz().0, 200);
}

#[test]
fn a_failed_sync_of_a_segment_stops_its_channel_and_no_other() {
    let Some(machine) = Machine::new("") else {
        return;
    };
    let broker = machine.launch().ready();
    let mut raw = Raw::greeted(broker.address());
    let create = |raw: &mut Raw, name: &str| -> String {
        let created = raw.json(CREATE, &json!({"name": name})).json();
        let id: &Value = &created["channel"]["incarnation"];
        id.as_str().expect("an identity").to_owned()
    };
    let (sick, _) = (create(&mut raw, "sick"), create(&mut raw, "well"));
    for channel in ["sick", "well"] {
        raw.publish(channel, &batch(&[b"first"])).published();
    }
    let fault = Fault::new(Fault::IO).on(Operation::Sync).at(sick);
    machine.disk.plan(fault.and_later());
    // Large enough to go straight to the segment.
    let large = vec![7; 900_000];
    let reply = raw.publish("sick", &batch(&[&large]));
    reply.error("CHANNEL_POISONED");
    raw.publish("sick", &batch(&[b"second"]))
        .error("CHANNEL_POISONED");
    for _ in 0..20 {
        raw.publish("well", &batch(&[&large])).published();
    }
    assert_eq!(texts(&mut raw, "sick"), ["first"]);
    let health = broker.health();
    assert_eq!(health["refusingChannels"], 1, "{health}");
    assert_eq!(health["writesRefused"], Value::Null, "{health}");
    assert_eq!(broker.healthz().0, 503);
    machine.disk.heal();
    broker.kill();
    let broker = machine.launch().ready();
    let mut raw = Raw::greeted(broker.address());
    assert_eq!(texts(&mut raw, "sick")[0], "first");
    assert_eq!(raw.all("well").len(), 21);
    raw.publish("sick", &batch(&[b"after"])).published();
    assert_eq!(broker.healthz().0, 200);
}

/// Bytes of memory that a process has in use.
fn memory_of(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.expect("a number of KiB") * 1024
}

#[test]
fn a_disk_whose_syncs_take_a_second_slows_writers_down_and_takes_no_more_memory() {
    let Some(machine) = Machine::new("in_flight_bytes = 1048576") else {
        return;
    };
    let broker = machine.launch().ready();
    let mut raw = Raw::greeted(broker.address());
    raw.publish("c", &batch(&[b"before"])).published();
    let before = memory_of(broker.pid());
    machine.mount.delay_syncs(1_000);
    // Each writer sends far more than may be in flight, and reads no answer meanwhile.
    let large = vec![3; 100_000];
    let body = publish_body("c", u64::MAX, &batch(&[&large]));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (address, body) = (broker.address(), body.clone());
            std::thread::spawn(move || {
                let mut raw = Raw::greeted(address);
                for _ in 0..100 {
                    raw.ask(PUBLISH, &body);
                }
                let acks = raw.replies(100);
                assert!(acks.iter().all(|ack| ack.published().level == 2));
            })
        })
        .collect();
    let mut most = before;
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(100));
        most = most.max(memory_of(broker.pid()));
    }
    // Reads do not wait for syncs.
    assert_eq!(raw.fetch("c", 0).fetched().records()[0].1, b"before");
    machine.mount.delay_syncs(0);
    for writer in writers {
        writer.join().expect("every batch is acknowledged");
    }
    // 40 MB were sent; what is in flight and what no segment holds yet is bounded far below.
    let grown = most - before;
    assert!(grown < 24 << 20, "{grown} bytes more than before");
    wait_for("all records", || (raw.all("c").len() == 401).then_some(()));
}
