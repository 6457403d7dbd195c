//! A file system that becomes read-only under the real binary.

use crate::kill::seed;
use crate::load::Load;
use crate::mounts::Mount;
use crate::process::{Broker, wait_for};
use crate::raw::{Raw, batch};

#[test]
fn a_file_system_that_turns_read_only_stops_writes_and_nothing_else() {
    let Some(mut disk) = Mount::ext4(1 << 30) else {
        return;
    };
    let data = disk.path().join("data");
    let settings = "[storage]\njournal_file_bytes = 4194304\nmax_round_bytes = 1048576\n\
                    min_free_bytes = 4194304\n";
    std::fs::write(data.with_extension("toml"), settings).expect("a configuration file");
    let broker = Broker::start_with(&data, &["--http", "127.0.0.1:0"]);
    let mut load = Load::durable(seed());
    let mut raw = Raw::greeted(broker.address());
    load.create(&mut raw);
    raw.publish("calm", &batch(&[b"before"])).published();
    let run = load.begin(broker.address());
    wait_for("acknowledgements", || (run.promised() > 500).then_some(()));
    // As after an error of the device: the file system gives up its journal.
    disk.abort().expect("the file system is told");
    let health = wait_for("the journal to fail", || {
        let (status, body) = broker.healthz();
        (status == 503 && body.contains("os error")).then_some(body)
    });
    assert!(
        health.contains("os error 30") || health.contains("os error 5"),
        "read-only, or an error of the device: {health}"
    );
    load = run.end();
    let reply = raw.publish("calm", &batch(&[b"after"]));
    reply.error("JOURNAL_FAILED");
    assert_eq!(raw.all("calm")[0].1, b"before", "reads go on");
    load.ledger.check(&mut Raw::greeted(broker.address()));
    // It can't mark the directory clean, and says so.
    assert_eq!(broker.terminate(), 1);
    disk.mount_again().expect("the file system is well again");
    let broker = Broker::start_with(&data, &["--http", "127.0.0.1:0"]);
    load.check_all(broker.address());
    assert_eq!(broker.healthz().0, 200);
    let run = load.begin(broker.address());
    run.goes_on();
    load = run.end();
    load.check_all(broker.address());
    assert_eq!(broker.terminate(), 0);
}
