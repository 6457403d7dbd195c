//! A client made of bytes: frames by hand over one TCP stream, against a server in this process.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use npayload::format::{BatchBuilder, Compression, NewRecord};
use npayload::server::{Running, ServeOptions, start_on};
use npayload::storage::disk::{Disk, RealDisk};
use npayload::types::ProducerId;
use serde_json::{Value, json};

use crate::server::options;

pub const HELLO: u16 = 1;
pub const PING: u16 = 2;
pub const PUBLISH: u16 = 16;
pub const ATOMIC: u16 = 17;
pub const FETCH: u16 = 18;
pub const FETCH_BEYOND: u16 = 219;
pub const AGENT_INBOX: u16 = 106;
pub const SESSION_HISTORY: u16 = 114;
pub const COMMIT: u16 = 19;
pub const CREATE: u16 = 32;
pub const INFO: u16 = 34;
pub const DELETE: u16 = 36;
pub const POSITION: u16 = 49;
pub const BROKER_INFO: u16 = 64;
pub const BROKER_SCRUB: u16 = 65;
pub const KEY_CREATE: u16 = 83;
pub const ERROR: u16 = 0xFFFF;

/// "None" of an optional offset.
pub const NONE: u64 = u64::MAX;

/// A server in this process, with a runtime of its own so that tests can be plain threads.
pub struct Server {
    runtime: tokio::runtime::Runtime,
    running: Option<Running>,
    options: ServeOptions,
    disk: Arc<dyn Disk>,
    _dir: tempfile::TempDir,
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub fn start_with(change: impl FnOnce(&mut ServeOptions)) -> Self {
        Self::start_on(Arc::new(RealDisk), change)
    }

    pub fn start_on(disk: Arc<dyn Disk>, change: impl FnOnce(&mut ServeOptions)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut options = options(dir.path());
        change(&mut options);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let mut server = Self {
            runtime,
            running: None,
            options,
            disk,
            _dir: dir,
        };
        server.launch();
        server
    }

    pub fn launch(&mut self) {
        let (disk, options) = (self.disk.clone(), self.options.clone());
        // `start_on` blocks in place, which only a worker of the runtime may.
        let started = self
            .runtime
            .spawn(async move { start_on(disk, options).await });
        let started = self.runtime.block_on(started).expect("no panic");
        self.running = Some(started.expect("the server starts"));
    }

    pub fn address(&self) -> SocketAddr {
        self.running.as_ref().expect("running").listen()
    }

    /// The address of `/metrics` and `/healthz`.
    pub fn http_address(&self) -> SocketAddr {
        let running = self.running.as_ref().expect("running");
        running.http().expect("it has one")
    }

    /// One GET of `/metrics` or `/healthz`: the status and the body.
    pub fn http(&self, path: &str) -> (u16, String) {
        let address = self.running.as_ref().and_then(Running::http);
        let mut stream = TcpStream::connect(address.expect("listens")).expect("connects");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = answer.split_once("\r\n\r\n").expect("a body").1;
        (status.expect("a status"), body.to_owned())
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.http("/metrics");
        let line = text
            .lines()
            .find(|line| line.split(' ').next() == Some(name));
        let value = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        value.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.options.data_dir
    }

    /// Stops it; whether the directory was marked clean.
    pub fn stop(&mut self) -> bool {
        let running = self.running.take().expect("running");
        self.runtime.block_on(running.stop())
    }

    pub fn restart(&mut self) {
        assert!(self.stop(), "stops clean");
        self.launch();
    }

    /// A connection that has said hello.
    pub fn client(&self) -> Raw {
        Raw::greeted(self.address())
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub kind: u16,
    pub version: u16,
    pub correlation: u64,
    pub body: Vec<u8>,
}

impl Reply {
    /// Its body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Its error, which must have this name; the details are its `details`.
    pub fn error(&self, name: &str) -> Value {
        assert_eq!(self.kind, ERROR, "an error `{name}`, not {self:?}");
        assert_eq!(self.version, 1);
        let error = self.json();
        assert_eq!(error["name"], name, "{error}");
        error["details"].clone()
    }

    /// Its body, which must answer a request of this kind.
    pub fn of(&self, kind: u16) -> &[u8] {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.kind, kind | 0x8000, "{text}");
        &self.body
    }

    /// What a publish was answered.
    pub fn published(&self) -> Ack {
        let body = self.of(PUBLISH);
        assert_eq!(body.len(), 50);
        Ack {
            first: number(body, 0),
            last: number(body, 8),
            incarnation: body[32..48].try_into().expect("16 bytes"),
            level: body[48],
            is_duplicate: body[49] == 1,
        }
    }

    /// What a fetch was answered.
    pub fn fetched(&self) -> Fetched {
        let body = self.of(FETCH);
        Fetched {
            log_start: number(body, 16),
            high_watermark: number(body, 24),
            from: number(body, 40),
            batches: body[56..].to_vec(),
        }
    }
}

fn number(body: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(body[at..at + 8].try_into().expect("8 bytes"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    pub first: u64,
    pub last: u64,
    pub incarnation: [u8; 16],
    pub level: u8,
    pub is_duplicate: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    pub log_start: u64,
    pub high_watermark: u64,
    pub from: u64,
    pub batches: Vec<u8>,
}

impl Fetched {
    /// Offset and payload of every record.
    pub fn records(&self) -> Vec<(u64, Vec<u8>)> {
        let mut rest = bytes::Bytes::from(self.batches.clone());
        let mut found = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_le_bytes(rest[..4].try_into().expect("4 bytes"));
            let batch = rest.split_to(usize::try_from(length).expect("small"));
            npayload::format::check_stored(&batch).expect("checksums match");
            for record in npayload::format::records(&batch).expect("a batch") {
                let record = record.expect("a record");
                let payload = record.payload.map(|payload| payload.to_vec());
                found.push((record.offset.0, payload.unwrap_or_default()));
            }
        }
        found
    }
}

/// A connection.
pub struct Raw {
    pub stream: TcpStream,
    correlation: u64,
}

impl Raw {
    /// A connection that has said nothing.
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("the server listens")
    }

    pub fn greeted(address: SocketAddr) -> Self {
        let mut raw = Self::connect(address);
        raw.request(HELLO, &hello()).of(HELLO);
        raw
    }

    /// A connection that has said hello, to a server that may be gone at any moment. It waits no
    /// longer than 2 s for an answer.
    pub fn try_greeted(address: SocketAddr) -> io::Result<Self> {
        let mut raw = Self::try_connect(address)?;
        raw.stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let reply = raw.try_request(HELLO, &hello())?;
        if reply.kind == ERROR {
            return Err(io::Error::other(reply.json().to_string()));
        }
        Ok(raw)
    }

    fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(15)))?;
        Ok(Self {
            stream,
            correlation: 0,
        })
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Sends a request; its correlation id.
    pub fn ask(&mut self, kind: u16, body: &[u8]) -> u64 {
        self.try_ask(kind, body).expect("the server reads")
    }

    pub fn try_ask(&mut self, kind: u16, body: &[u8]) -> io::Result<u64> {
        self.correlation += 1;
        self.stream
            .write_all(&frame(kind, self.correlation, body))?;
        Ok(self.correlation)
    }

    /// As [`Self::request`], to a server that may be gone at any moment.
    pub fn try_request(&mut self, kind: u16, body: &[u8]) -> io::Result<Reply> {
        let correlation = self.try_ask(kind, body)?;
        let reply = self.try_reply()?;
        assert_eq!(reply.correlation, correlation, "{reply:?}");
        Ok(reply)
    }

    /// Sends a request and takes the next answer, which must be its.
    pub fn request(&mut self, kind: u16, body: &[u8]) -> Reply {
        let correlation = self.ask(kind, body);
        let reply = self.reply();
        assert_eq!(reply.correlation, correlation, "{reply:?}");
        reply
    }

    pub fn json(&mut self, kind: u16, body: &Value) -> Reply {
        self.request(kind, body.to_string().as_bytes())
    }

    /// The next answer.
    pub fn reply(&mut self) -> Reply {
        self.try_reply().expect("a whole answer")
    }

    pub fn try_reply(&mut self) -> io::Result<Reply> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_le_bytes(length)).expect("small");
        let mut rest = vec![0; length];
        self.stream.read_exact(&mut rest)?;
        Ok(Reply {
            kind: u16::from_le_bytes([rest[0], rest[1]]),
            version: u16::from_le_bytes([rest[2], rest[3]]),
            correlation: number(&rest, 4),
            body: rest[12..].to_vec(),
        })
    }

    /// The next answer; none where the server has ended the connection.
    pub fn reply_or_end(&mut self) -> Option<Reply> {
        match self.stream.peek(&mut [0]) {
            Ok(0) => None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("an answer or the end: {error}"),
            Ok(_) => Some(self.reply()),
        }
    }

    /// The answers to several requests, in the order of their correlation ids.
    pub fn replies(&mut self, count: usize) -> Vec<Reply> {
        let mut replies: Vec<Reply> = (0..count).map(|_| self.reply()).collect();
        replies.sort_by_key(|reply| reply.correlation);
        replies
    }

    /// The server must end the connection, with nothing more to read.
    pub fn expect_closed(mut self) {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("the connection should have ended: {other:?}"),
        }
    }

    pub fn publish(&mut self, channel: &str, batch: &[u8]) -> Reply {
        self.request(PUBLISH, &publish_body(channel, NONE, batch))
    }

    pub fn fetch(&mut self, channel: &str, from: u64) -> Reply {
        self.request(FETCH, &fetch_body(channel, from, 8 << 20, 1, 0))
    }

    /// Every stored batch of a channel, as it is served, end to end.
    pub fn all_batches(&mut self, channel: &str) -> Vec<u8> {
        let (mut found, mut next) = (Vec::new(), 0);
        loop {
            let batches = self.fetch(channel, next).fetched().batches;
            let mut rest = &batches[..];
            if rest.is_empty() {
                return found;
            }
            while !rest.is_empty() {
                let header = npayload::format::BatchHeader::peek(rest).expect("a batch");
                next = header.end_offset().0;
                rest = &rest[header.len()..];
            }
            found.extend(batches);
        }
    }

    /// Every record of a channel.
    pub fn all(&mut self, channel: &str) -> Vec<(u64, Vec<u8>)> {
        let mut found: Vec<(u64, Vec<u8>)> = Vec::new();
        loop {
            let from = found.last().map_or(0, |(offset, _)| offset + 1);
            let more = self.fetch(channel, from).fetched().records();
            if more.is_empty() {
                return found;
            }
            found.extend(more.into_iter().filter(|(offset, _)| *offset >= from));
        }
    }

    /// Nothing more will be sent.
    pub fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("still open");
    }
}

pub fn hello() -> Vec<u8> {
    json!({"client": "raw", "minVersion": 1, "maxVersion": 1})
        .to_string()
        .into_bytes()
}

/// A frame in version 1.
pub fn frame(kind: u16, correlation: u64, body: &[u8]) -> Vec<u8> {
    frame_of_version(kind, 1, correlation, body)
}

pub fn frame_of_version(kind: u16, version: u16, correlation: u64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 12).expect("small");
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(kind.to_le_bytes());
    bytes.extend(version.to_le_bytes());
    bytes.extend(correlation.to_le_bytes());
    bytes.extend(body);
    bytes
}

pub fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short");
    [&length.to_le_bytes(), text.as_bytes()].concat()
}

pub fn blob(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("small");
    [&length.to_le_bytes(), bytes].concat()
}

pub fn publish_body(channel: &str, expected: u64, batch: &[u8]) -> Vec<u8> {
    publish_to(channel, [0; 16], expected, batch)
}

pub fn publish_to(channel: &str, incarnation: [u8; 16], expected: u64, batch: &[u8]) -> Vec<u8> {
    let mut body = text(channel);
    body.extend(incarnation);
    body.extend(expected.to_le_bytes());
    body.push(0);
    body.extend(batch);
    body
}

pub fn publish_part(channel: &str, expected: u64, batch: &[u8]) -> Vec<u8> {
    let mut body = vec![1];
    body.extend(text(channel));
    body.extend([0; 16]);
    body.extend(expected.to_le_bytes());
    body.extend(blob(batch));
    body
}

pub fn commit_part(channel: &str, consumer: &str, offset: u64) -> Vec<u8> {
    let mut body = vec![2];
    body.extend(text(channel));
    body.extend(text(consumer));
    body.extend(offset.to_le_bytes());
    body.extend(NONE.to_le_bytes());
    body.extend(blob(b""));
    body
}

pub fn atomic_body(parts: &[Vec<u8>]) -> Vec<u8> {
    let count = u32::try_from(parts.len()).expect("few");
    let mut body = count.to_le_bytes().to_vec();
    parts.iter().for_each(|part| body.extend(part));
    body
}

pub fn fetch_body(channel: &str, from: u64, max: u32, min: u32, wait_ms: u32) -> Vec<u8> {
    let mut body = text(channel);
    body.extend([0; 16]);
    body.push(1);
    body.extend(from.to_le_bytes());
    body.extend(0u64.to_le_bytes());
    body.extend(max.to_le_bytes());
    body.extend(min.to_le_bytes());
    body.extend(wait_ms.to_le_bytes());
    body
}

pub fn commit_body(channel: &str, consumer: &str, offset: u64, previous: u64) -> Vec<u8> {
    let mut body = text(channel);
    body.extend([0; 16]);
    body.extend(text(consumer));
    body.extend(offset.to_le_bytes());
    body.extend(0u64.to_le_bytes());
    body.extend(previous.to_le_bytes());
    body.extend(blob(b""));
    body
}

/// Who sends a batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct From {
    pub producer: u128,
    pub epoch: u32,
    pub sequence: u64,
    pub fence: u64,
}

pub fn batch(payloads: &[&[u8]]) -> Vec<u8> {
    batch_of(From::default(), Compression::None, payloads)
}

pub fn batch_of(from: From, compression: Compression, payloads: &[&[u8]]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression);
    for payload in payloads {
        let record = NewRecord {
            payload: Some(payload),
            ..NewRecord::default()
        };
        builder.push(&record).expect("room for a record");
    }
    if from.producer != 0 {
        builder.producer(ProducerId(from.producer), from.epoch, from.sequence);
    }
    builder.fence(from.fence);
    builder.build().expect("a batch").to_vec()
}

/// Changes a batch and sets its checksum right again.
pub fn forged(mut batch: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut batch);
    let crc = crc32fast::hash(&batch[72..]);
    batch[12..16].copy_from_slice(&crc.to_le_bytes());
    batch
}
