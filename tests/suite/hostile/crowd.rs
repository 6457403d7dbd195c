//! Crowds of hostile clients against the real binary: its memory stays bounded, and a client that
//! behaves is served all the time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use npayload::format::Compression;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::process::Broker;
use crate::raw::*;
use crate::regions::Region;

const MIB: u64 = 1 << 20;

/// A broker in a process of its own, with a client that must be served whatever others do.
struct Besieged {
    broker: Broker,
    is_over: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    witness: Option<JoinHandle<u64>>,
    _dir: tempfile::TempDir,
}

impl Besieged {
    fn new() -> Self {
        Self::with("")
    }

    /// With more lines of configuration.
    fn with(settings: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let data = dir.path().join("data");
        let small = "\n[storage]\njournal_file_bytes = 4194304\nmax_round_bytes = 1048576\n\
                     max_unwritten_bytes = 33554432\n";
        let config = format!("max_connections = 12000\n{settings}{small}");
        std::fs::write(dir.path().join("data.toml"), config).expect("a configuration file");
        let broker = Broker::start(&data);
        let (is_over, most) = (Arc::default(), Arc::default());
        let mut besieged = Self {
            broker,
            is_over,
            most,
            witness: None,
            _dir: dir,
        };
        let (address, pid) = (besieged.address(), besieged.broker.pid());
        let (is_over, most) = (besieged.is_over.clone(), besieged.most.clone());
        let witness = move || witness(address, pid, &is_over, &most);
        besieged.witness = Some(std::thread::spawn(witness));
        besieged
    }

    fn address(&self) -> SocketAddr {
        self.broker.address()
    }

    fn client(&self) -> Raw {
        Raw::greeted(self.address())
    }

    fn memory(&self) -> u64 {
        memory_of(self.broker.pid())
    }

    /// Ends the siege: every call of the witness has succeeded, and the broker never had more
    /// than `most` bytes of memory. It stops in order.
    fn withstood(mut self, most: u64) {
        self.is_over.store(true, Ordering::Release);
        let witness = self.witness.take().expect("still there");
        let calls = witness.join().expect("every call succeeds");
        assert!(calls > 20, "the witness was served {calls} times");
        let reached = self.most.load(Ordering::Acquire);
        println!(
            "{calls} calls beside it, {} KiB of memory at most",
            reached / 1024
        );
        assert!(
            reached < most,
            "{reached} bytes of memory, more than {most}"
        );
        assert_eq!(self.broker.terminate(), 0);
    }
}

/// Publishes, reads and asks, on one connection and now and then on a new one.
fn witness(address: SocketAddr, pid: u32, is_over: &AtomicBool, most: &AtomicU64) -> u64 {
    let mut raw = Raw::greeted(address);
    let mut offset = 0;
    while !is_over.load(Ordering::Acquire) {
        if offset % 10 == 9 {
            raw = Raw::greeted(address);
        }
        let payload = format!("witness {offset}");
        let ack = raw.publish("witness", &batch(&[payload.as_bytes()]));
        assert_eq!(ack.published().first, offset);
        let found = raw.fetch("witness", offset).fetched().records();
        assert_eq!(found, [(offset, payload.into_bytes())]);
        raw.request(PING, b"").of(PING);
        most.fetch_max(memory_of(pid), Ordering::AcqRel);
        offset += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    offset * 3
}

/// Bytes that a process keeps in memory, without those of files, which the system can drop.
fn memory_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number")
        * 1024
}

/// How many connections a test may open: as many as wanted, or what the machine's limit leaves.
fn connections(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("up to the hard limit");
    let most = limit.maximum.unwrap_or(u64::MAX).saturating_sub(500);
    assert!(most > 1000, "the machine allows {most} open files");
    wanted.min(most)
}

fn is_soak() -> bool {
    std::env::var_os("NPAYLOAD_SOAK").is_some()
}

#[test]
fn thousands_of_idle_connections_cost_little_memory_each() {
    let count = connections(if is_soak() { 10_000 } else { 2_000 });
    let besieged = Besieged::new();
    let before = besieged.memory();
    let mut idle = Vec::new();
    for n in 0..count {
        let mut raw = besieged.client();
        if n % 2 == 0 {
            // It has been used: its buffers have grown once.
            raw.json(35, &serde_json::json!({"name": "x".repeat(20_000)}))
                .error("INVALID_NAME");
        }
        idle.push(raw);
    }
    let each = besieged.memory().saturating_sub(before) / count;
    println!("{count} idle connections, {each} bytes of memory each");
    assert!(each < 48 * 1024, "{each} bytes for an idle connection");
    for raw in idle.iter_mut().step_by(97) {
        raw.request(PING, b"").of(PING);
    }
    besieged.withstood(count * 48 * 1024 + 128 * MIB);
}

#[test]
fn those_who_ask_for_everything_and_read_nothing_pin_little() {
    let besieged = Besieged::with("send_bytes = 67108864\n");
    let mut writer = besieged.client();
    let payload = vec![5; 500_000];
    for _ in 0..100 {
        writer.publish("large", &batch(&[&payload])).published();
    }
    let mut greedy: Vec<Raw> = (0..40).map(|_| besieged.client()).collect();
    for (n, raw) in greedy.iter_mut().enumerate() {
        for _ in 0..256 {
            // From the log's end too: those wait, and are all due at once.
            let from = if n % 2 == 0 { 0 } else { 100 };
            raw.ask(FETCH, &fetch_body("large", from, 8 << 20, 1, 60_000));
        }
    }
    for _ in 0..40 {
        writer.publish("large", &batch(&[&payload])).published();
        writer.fetch("large", 50).fetched();
    }
    besieged.withstood(350 * MIB);
}

#[test]
fn those_who_ask_for_what_a_copy_may_lack_and_read_nothing_pin_little() {
    let besieged = Besieged::with("send_bytes = 67108864\n");
    let mut writer = besieged.client();
    let payload = vec![5; 500_000];
    for _ in 0..20 {
        writer.publish("large", &batch(&[&payload])).published();
    }
    // Read here, of any types.
    let fetch = fetch_body("large", 0, 8 << 20, 1, 0);
    let body = [&[1, 0, 0][..], &fetch].concat();
    let mut greedy: Vec<Raw> = (0..4).map(|_| besieged.client()).collect();
    for raw in &mut greedy {
        for _ in 0..40 {
            raw.ask(FETCH_BEYOND, &body);
        }
    }
    for _ in 0..20 {
        writer.publish("large", &batch(&[&payload])).published();
        writer.fetch("large", 15).fetched();
    }
    besieged.withstood(500 * MIB);
}

#[test]
fn those_who_ask_for_all_that_agents_said_and_read_nothing_pin_little() {
    let besieged = Besieged::with("send_bytes = 67108864\n");
    let run = |args: &[&str]| String::from_utf8(besieged.broker.run(args).ok()).expect("a text");
    let session = run(&[
        "session",
        "create",
        "much",
        "--participant",
        "lead:coordinator",
        "--participant",
        "writer:specialist",
    ]);
    let session = session.trim();
    let file = besieged._dir.path().join("payload");
    std::fs::write(&file, format!("\"{}\"", "x".repeat(250_000))).expect("a file");
    let payload = format!("@{}", file.display());
    for _ in 0..36 {
        let send = ["session", "send", session, "--from", "lead"];
        run(&[&send[..], &["--type", "status.update", &payload]].concat());
    }
    let history = serde_json::json!({ "sessionId": session, "limit": 1000, "maxBytes": 8 << 20 });
    let inbox = serde_json::json!({ "agent": "writer", "limit": 1000 });
    let mut modest = besieged.client();
    let all = modest.json(SESSION_HISTORY, &history).json();
    assert!(all["records"].as_array().expect("records").len() > 30);
    let all = modest.json(AGENT_INBOX, &inbox).json();
    assert!(all["entries"].as_array().expect("entries").len() > 30);
    let mut greedy: Vec<Raw> = (0..4).map(|_| besieged.client()).collect();
    for (n, raw) in greedy.iter_mut().enumerate() {
        let (kind, body) = match n % 2 {
            0 => (SESSION_HISTORY, history.to_string()),
            _ => (AGENT_INBOX, inbox.to_string()),
        };
        for _ in 0..40 {
            raw.ask(kind, body.as_bytes());
        }
    }
    for _ in 0..20 {
        let page = modest.json(SESSION_HISTORY, &history).json();
        assert!(!page["records"].as_array().expect("records").is_empty());
        let page = modest.json(AGENT_INBOX, &inbox).json();
        assert!(!page["entries"].as_array().expect("entries").is_empty());
    }
    besieged.withstood(500 * MIB);
}

/// What another region reads for them is sent on as it comes, and takes room as what is read here.
#[test]
fn those_who_have_another_region_read_and_read_nothing_pin_little() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    let west = Region::start(dir.path(), "eu-west", &[&east]);
    west.linked();
    let mut writer = Raw::greeted(east.broker().address());
    let payload = vec![5; 500_000];
    for _ in 0..4 {
        writer.publish("large", &batch(&[&payload])).published();
    }
    west.run(&["interest", "add", "large", "--from", "end"])
        .ok();
    crate::process::wait_for("the copy", || west.copy("large"));
    let mut modest = Raw::greeted(west.broker().address());
    let fetch = fetch_body("large", 0, 8 << 20, 1, 0);
    let body = [&[1, 0, 0][..], &fetch].concat();
    let read = modest.request(FETCH_BEYOND, &body);
    assert!(read.of(FETCH_BEYOND).len() > 900_000);
    let before = memory_of(west.broker().pid());
    let mut greedy = Raw::greeted(west.broker().address());
    for _ in 0..240 {
        greedy.ask(FETCH_BEYOND, &body);
    }
    let mut most = 0;
    for _ in 0..40 {
        modest.request(FETCH_BEYOND, &body).of(FETCH_BEYOND);
        most = most.max(memory_of(west.broker().pid()).saturating_sub(before));
    }
    println!("{} KiB of memory at most", most / 1024);
    assert!(most < 140 * MIB, "{most} bytes of memory");
}

#[test]
fn those_who_read_a_byte_now_and_then_are_served_as_slowly_as_they_like() {
    let besieged = Besieged::new();
    let mut writer = besieged.client();
    let payload = vec![6; 900_000];
    for _ in 0..20 {
        writer.publish("large", &batch(&[&payload])).published();
    }
    let mut slow: Vec<Raw> = (0..50).map(|_| besieged.client()).collect();
    for raw in &mut slow {
        for _ in 0..20 {
            raw.ask(FETCH, &fetch_body("large", 0, 8 << 20, 1, 0));
        }
    }
    let rounds = if is_soak() { 60 } else { 3 };
    for _ in 0..rounds {
        for raw in &mut slow {
            let mut byte = [0];
            // The broker may have given it up.
            let _ = raw.stream.read(&mut byte);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    besieged.withstood(400 * MIB);
}

#[test]
fn producers_that_never_read_their_acknowledgements_are_held_back() {
    let besieged = Besieged::new();
    let body = publish_body("flood", NONE, &batch(&[&[8; 4000]]));
    let frames: Vec<u8> = (1..=64).flat_map(|n| frame(PUBLISH, n, &body)).collect();
    // Answers are larger than these requests.
    let asks: Vec<u8> = (1..=4000).flat_map(|n| frame(64, n, b"{}")).collect();
    let mut threads = Vec::new();
    for n in 0..8 {
        let mut raw = besieged.client();
        let piece = if n % 2 == 0 {
            frames.clone()
        } else {
            asks.clone()
        };
        threads.push(std::thread::spawn(move || {
            let patience = Some(Duration::from_secs(1));
            raw.stream.set_write_timeout(patience).expect("an option");
            let mut sent = 0;
            // Until its socket is full; at most 128 MiB.
            while sent < 128 << 20 && raw.stream.write_all(&piece).is_ok() {
                sent += piece.len();
            }
            raw
        }));
    }
    let floods: Vec<Raw> = threads
        .into_iter()
        .map(|t| t.join().expect("ends"))
        .collect();
    besieged.client().request(PING, b"").of(PING);
    drop(floods);
    besieged.withstood(400 * MIB);
}

#[test]
fn thousands_of_connects_and_disconnects_leave_nothing_behind() {
    let besieged = Besieged::new();
    let address = besieged.address();
    let rounds = if is_soak() { 10_000 } else { 1000 };
    let storm = move |n: usize| {
        for round in 0..rounds {
            let stream = TcpStream::connect(address).expect("the broker listens");
            let socket = socket2::SockRef::from(&stream);
            if round % 2 == 0 {
                // Gone with a reset.
                let linger = Some(Duration::ZERO);
                socket.set_linger(linger).expect("a socket option");
            }
            let mut stream = &stream;
            let piece = [
                frame(HELLO, 1, &hello()),
                frame(FETCH, 2, &fetch_body("witness", 1 << 40, 1, 1, 60_000)),
            ]
            .concat();
            let cut = [0, 3, piece.len() - 1, piece.len()][(round + n) % 4];
            let _ = stream.write_all(&piece[..cut]);
        }
    };
    std::thread::scope(|scope| {
        for n in 0..4 {
            scope.spawn(move || storm(n));
        }
    });
    crate::process::wait_for("the connections to end", || {
        let info = besieged.client().json(64, &serde_json::json!({})).json();
        (info["connections"].as_u64() < Some(10)).then_some(())
    });
    besieged.withstood(300 * MIB);
}

#[test]
fn bombs_from_many_connections_at_once_cost_bounded_memory() {
    let besieged = Besieged::new();
    let zeros = vec![0; 1_000_000];
    let payloads: Vec<&[u8]> = (0..60).map(|_| &zeros[..]).collect();
    let mut threads = Vec::new();
    for compression in [Compression::Lz4, Compression::Zstd] {
        let packed = batch_of(From::default(), compression, &payloads);
        for n in 0..8u8 {
            let (mut raw, mut packed) = (besieged.client(), packed.clone());
            threads.push(std::thread::spawn(move || {
                for round in 0..6 {
                    // Some are whole, some are spoilt where only decompressing shows it.
                    packed = forged(packed, |batch| {
                        let at = batch.len() - 1 - usize::from(n);
                        batch[at] ^= u8::from(round > 2);
                    });
                    raw.publish("bombs", &packed);
                }
            }));
        }
    }
    for thread in threads {
        thread.join().expect("every bomb is answered");
    }
    besieged.withstood(600 * MIB);
}
