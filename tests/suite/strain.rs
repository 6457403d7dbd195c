//! The real binary short of file descriptors, and stopped in the middle of its work.

use std::io::{BufRead, BufReader, ErrorKind};
use std::process::{Command, Stdio};
use std::time::Duration;

use npayload::types::Offset;
use rustix::process::{Pid, Signal, kill_process};

use crate::kill::seed;
use crate::load::Load;
use crate::process::{Broker, wait_for};
use crate::raw::{ERROR, Raw, Reply, batch};

/// A broker that may have this many files open.
fn with_files(limit: u32, data: &std::path::Path) -> Broker {
    let config = data.with_extension("toml");
    let settings = "[storage]\njournal_file_bytes = 4194304\nmax_round_bytes = 1048576\n";
    std::fs::write(&config, settings).expect("a configuration file");
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
    command
        .args(["-c", &script, env!("CARGO_BIN_EXE_npayload")])
        .env("NPAYLOAD_LOG", "warn");
    Broker::launch_by(command, &config, data, &["--http", "127.0.0.1:0"]).ready()
}

/// An answer that is none, or says that the same may be tried again.
fn is_ok_or_for_now(reply: &Reply) -> bool {
    reply.kind != ERROR || reply.json()["retryable"] == true
}

#[test]
fn a_broker_without_file_descriptors_refuses_for_now_and_goes_on_once_there_are_some() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("data");
    let broker = with_files(64, &data);
    let address = broker.address();
    let mut raw = Raw::greeted(address);
    raw.stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .expect("a socket option");
    raw.publish("first", &batch(&[b"before"])).published();
    // The kernel takes all of them; the broker has no descriptor for most.
    let crowd: Vec<Raw> = (0..100).map(|_| Raw::connect(address)).collect();
    let mut acked = Vec::new();
    let large = vec![7; 900_000];
    for n in 0..20 {
        // New channels, whose segments have to be made: written behind, and straight.
        for (kind, payload) in [("small", &b"x"[..]), ("large", &large)] {
            let channel = format!("{kind}.{n}");
            let body = crate::raw::publish_body(&channel, u64::MAX, &batch(&[payload]));
            match raw.try_request(crate::raw::PUBLISH, &body) {
                Ok(reply) if reply.kind != ERROR => acked.push(channel),
                Ok(reply) => assert!(is_ok_or_for_now(&reply), "{}", reply.json()),
                // It waits for a descriptor; its answer comes when there is one.
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                    break;
                }
            }
        }
        if acked.len() < 2 * (n + 1) {
            break;
        }
    }
    drop(crowd);
    let mut raw = wait_for("a descriptor for a connection", || {
        Raw::try_greeted(address).ok()
    });
    for n in 0..20 {
        for (kind, payload) in [("small", &b"y"[..]), ("large", &large)] {
            raw.publish(&format!("{kind}.{n}"), &batch(&[payload]))
                .published();
        }
    }
    for channel in &acked {
        assert!(!raw.all(channel).is_empty(), "{channel}");
    }
    assert_eq!(raw.all("first")[0].1, b"before");
    let (status, body) = broker.healthz();
    assert_eq!(status, 200, "{body}");
    broker.kill();
    let broker = with_files(64, &data);
    let mut raw = Raw::greeted(broker.address());
    for channel in &acked {
        assert!(raw.all(channel).len() >= 2, "{channel}");
    }
    assert_eq!(broker.terminate(), 0);
}

#[test]
fn a_broker_that_was_stopped_and_goes_on_has_doubled_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("data");
    let broker = Broker::start(&data);
    let mut load = Load::new(seed());
    load.create(&mut Raw::greeted(broker.address()));
    for _ in 0..2 {
        let run = load.begin(broker.address());
        run.goes_on();
        broker.signal(Signal::STOP);
        // Longer than the clients wait: they connect again and send again what was not answered.
        std::thread::sleep(Duration::from_secs(3));
        let before = run.promised();
        broker.signal(Signal::CONT);
        wait_for("an acknowledgement", || {
            (run.promised() > before).then_some(())
        });
        load = run.end();
        load.check(broker.address());
    }
    load.check_all(broker.address());
    assert_eq!(broker.terminate(), 0);
}

#[test]
fn a_client_that_is_stopped_holds_nobody_up_and_misses_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let broker = Broker::start(&dir.path().join("data"));
    broker.run_with(&["publish", "t"], b"0\n").ok();
    let mut consumer = broker
        .command(&["consume", "t", "--from", "start", "--follow"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the consumer starts");
    let pid = i32::try_from(consumer.id()).ok().and_then(Pid::from_raw);
    let pid = pid.expect("a process id");
    let out = BufReader::new(consumer.stdout.take().expect("piped"));
    let mut lines = out.lines().map(|line| line.expect("a line"));
    assert_eq!(lines.next().as_deref(), Some("0"));
    kill_process(pid, Signal::STOP).expect("it runs");
    // More than sockets and buffers hold on the way.
    let count = 20_000u64;
    let input: String = (1..count).map(|n| format!("{n:0>1000}\n")).collect();
    broker.run_with(&["publish", "t"], input.as_bytes()).ok();
    let end = Raw::greeted(broker.address()).fetch("t", 0).fetched();
    assert_eq!(Offset(end.high_watermark), Offset(count));
    kill_process(pid, Signal::CONT).expect("it is there");
    for n in 1..count {
        let line = lines.next().expect("the consumer goes on");
        assert_eq!(line.parse(), Ok(n));
    }
    consumer.kill().expect("still following");
    consumer.wait().expect("killed");
}
