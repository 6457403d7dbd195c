//! A broker in memory: one channel, real frames, scripted faults.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::codec::Decoder;
use tokio_util::sync::CancellationToken;

use super::fake_asp;
use crate::client::{BackoffLimits, Client};
use crate::format::{BatchHeader, DoorLimits, Stamp, check_produced, stamp};
use crate::protocol::control::{
    ChannelConfig, ChannelInfo, CompressionName, Encryption, HelloResponse, Limits, VersionRange,
    kind_rows,
};
use crate::protocol::frame::{MAX_CONTROL_FRAME_BYTES, MAX_FRAME_BYTES};
use crate::protocol::{
    AtomicPart, CommitResponse, ErrorCode, ExpectedPosition, FetchFrom, FetchHead, FetchRequest,
    FetchResponse, FrameDecoder, PublishAtomicResponse, PublishRequest, PublishResponse, Request,
    Response, WireError,
};
use crate::types::{ChannelName, Durability, Incarnation, LogEpoch, Offset, ProducerId, Timestamp};

pub(super) const INCARNATION: Incarnation = Incarnation(77);

/// What is to go wrong with one publish or commit.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// The connection is closed before anything is done.
    DropBefore,
    /// It is carried out, but the connection is closed instead of an answer.
    DropAfter,
    /// It is refused.
    Refuse(WireError),
    /// It is carried out, but never answered.
    Mute,
}

/// A stored batch.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) base: u64,
    pub(super) end: u64,
    pub(super) bytes: Bytes,
}

/// Epoch, next sequence, and the batches that are remembered: sequence and answer.
type ProducerRow = (u32, u64, VecDeque<(u64, PublishResponse)>);

#[derive(Debug)]
pub(super) struct State {
    pub(super) log: Vec<Stored>,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) epoch: u64,
    pub(super) producers: HashMap<ProducerId, ProducerRow>,
    /// How many batches of a producer are remembered.
    pub(super) memory: usize,
    pub(super) faults: VecDeque<Fault>,
    /// Overrides every answer to a fetch.
    pub(super) fetch_error: Option<WireError>,
    pub(super) position: Option<Offset>,
    pub(super) connections: usize,
    pub(super) hello_error: Option<WireError>,
    /// Nothing is answered any more, pings neither.
    pub(super) is_dead: bool,
    /// The data directory that it says it has.
    pub(super) directory: u128,
    pub(super) asp: fake_asp::AspState,
}

impl Default for State {
    fn default() -> Self {
        Self {
            log: Vec::new(),
            start: 0,
            end: 0,
            epoch: 1,
            producers: HashMap::new(),
            memory: 10,
            faults: VecDeque::new(),
            fetch_error: None,
            position: None,
            connections: 0,
            hello_error: None,
            is_dead: false,
            directory: 1,
            asp: fake_asp::AspState::default(),
        }
    }
}

/// The broker. Its state survives `stop` and `start`, as a log does.
pub(super) struct Fake {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    stop: CancellationToken,
}

impl Fake {
    pub(super) async fn new() -> Self {
        Self::serve(Arc::default(), "127.0.0.1:0".parse().unwrap()).await
    }

    async fn serve(state: Arc<Mutex<State>>, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let (shared, token) = (Arc::clone(&state), stop.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    () = token.cancelled() => return,
                };
                shared.lock().unwrap().connections += 1;
                let (state, token) = (Arc::clone(&shared), token.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = connection(stream, state) => {}
                        () = token.cancelled() => {}
                    }
                });
            }
        });
        Self {
            state,
            address,
            stop,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn url(&self) -> String {
        format!("npayload://{}", self.address)
    }

    pub(super) async fn client(&self) -> Client {
        Client::builder()
            .backoff(BackoffLimits {
                min: Duration::from_millis(1),
                max: Duration::from_millis(10),
            })
            .request_timeout(Duration::from_secs(5))
            .connect(&self.url())
            .await
            .unwrap()
    }

    /// Closes every connection and refuses new ones.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Starts again where it stopped, in a new epoch.
    pub(super) async fn start(self) -> Self {
        self.stop.cancel();
        self.state().epoch += 1;
        let mut tries = 0;
        loop {
            // The port may need a moment to be free again.
            match TcpListener::bind(self.address).await {
                Ok(_) => break,
                Err(error) if tries > 500 => panic!("{error}"),
                Err(_) => tries += 1,
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Self::serve(self.state, self.address).await
    }

    /// The payloads of the whole log, in order.
    pub(super) fn payloads(&self) -> Vec<String> {
        let state = self.state();
        let mut all = Vec::new();
        for stored in &state.log {
            crate::format::check_stored(&stored.bytes).unwrap();
            for record in crate::format::records(&stored.bytes).unwrap() {
                let record = record.unwrap();
                assert_eq!(record.offset.0, all.len() as u64, "offsets have no gap");
                all.push(String::from_utf8(record.payload.unwrap().to_vec()).unwrap());
            }
        }
        all
    }
}

async fn connection(mut stream: tokio::net::TcpStream, state: Arc<Mutex<State>>) {
    let (mut reader, mut writer) = stream.split();
    let (answers, mut queue) = mpsc::unbounded_channel::<Option<BytesMut>>();
    let read = async {
        let mut decoder = FrameDecoder::requests();
        let mut src = BytesMut::new();
        let mut greeted = false;
        loop {
            while let Some(frame) = decoder.decode(&mut src).unwrap() {
                let correlation = frame.header.correlation;
                if state.lock().unwrap().is_dead {
                    continue;
                }
                let request = match Request::decode(frame) {
                    Ok(request) => request,
                    Err(error) => {
                        send(&answers, correlation, &Response::Error(error));
                        continue;
                    }
                };
                assert!(greeted || matches!(request, Request::Hello(_)));
                greeted = true;
                if let Request::Fetch(fetch) = request {
                    let (state, answers) = (Arc::clone(&state), answers.clone());
                    tokio::spawn(async move {
                        let answer = long_poll(&state, &fetch).await;
                        send(&answers, correlation, &answer);
                    });
                    continue;
                }
                let fault = match &request {
                    Request::Publish(_)
                    | Request::PublishAtomic(_)
                    | Request::Commit(_)
                    | Request::Asp(_) => state.lock().unwrap().faults.pop_front(),
                    _ => None,
                };
                let carry_out = || answer(&mut state.lock().unwrap(), request);
                match fault.unwrap_or(Fault::None) {
                    Fault::None => send(&answers, correlation, &carry_out()),
                    Fault::Refuse(error) => send(&answers, correlation, &Response::Error(error)),
                    Fault::DropBefore => return,
                    Fault::DropAfter => {
                        carry_out();
                        return;
                    }
                    Fault::Mute => {
                        carry_out();
                    }
                }
            }
            if reader.read_buf(&mut src).await.unwrap_or(0) == 0 {
                return;
            }
        }
    };
    let write = async {
        while let Some(Some(bytes)) = queue.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}

fn send(answers: &mpsc::UnboundedSender<Option<BytesMut>>, correlation: u64, answer: &Response) {
    let mut bytes = BytesMut::new();
    answer.encode(correlation, &mut bytes);
    let _ = answers.send(Some(bytes));
}

fn refuse(code: ErrorCode) -> Response {
    Response::Error(WireError::new(code, "the fake says so"))
}

fn answer(state: &mut State, request: Request) -> Response {
    match request {
        Request::Hello(_) => match state.hello_error.clone() {
            Some(error) => Response::Error(error),
            None => Response::Hello(hello(state)),
        },
        Request::Ping => Response::Pong,
        Request::Publish(publish) => match append(state, publish) {
            Ok(response) => Response::Publish(response),
            Err(error) => Response::Error(error),
        },
        Request::PublishAtomic(atomic) => {
            let (mut published, mut committed) = (Vec::new(), Vec::new());
            for part in atomic.parts {
                match part {
                    AtomicPart::Publish(publish) => match append(state, publish) {
                        Ok(response) => published.push(response),
                        Err(error) => return Response::Error(error),
                    },
                    AtomicPart::Commit(commit) => {
                        state.position = Some(commit.offset);
                        committed.push(commit.offset);
                    }
                }
            }
            Response::PublishAtomic(PublishAtomicResponse {
                published,
                committed,
            })
        }
        Request::Commit(commit) => {
            let matches = match commit.expected_previous {
                ExpectedPosition::Any => true,
                ExpectedPosition::Absent => state.position.is_none(),
                ExpectedPosition::At(offset) => state.position == Some(offset),
            };
            if !matches {
                let actual = state.position.map(|offset| offset.0);
                let error = WireError::new(ErrorCode::PositionMismatch, "moved");
                return Response::Error(error.with("actual", actual));
            }
            state.position = Some(commit.offset);
            Response::Commit(CommitResponse {
                offset: commit.offset,
            })
        }
        Request::ChannelInfo(_) => Response::ChannelInfo(info(state)),
        Request::Asp(request) => fake_asp::answer(&mut state.asp, *request),
        _ => refuse(ErrorCode::InvalidRequest),
    }
}

fn append(state: &mut State, publish: PublishRequest) -> Result<PublishResponse, WireError> {
    let PublishRequest {
        target, mut batch, ..
    } = publish;
    let limits = DoorLimits {
        max_record_bytes: 1 << 20,
        lz4: true,
        zstd: true,
    };
    let header = check_produced(&batch, &limits)
        .map_err(|error| WireError::new(ErrorCode::InvalidBatch, error.to_string()))?;
    assert!(target.incarnation.is_none_or(|id| id == INCARNATION));
    let (id, epoch, sequence) = (
        header.producer_id(),
        header.producer_epoch(),
        header.base_sequence(),
    );
    assert!(!id.is_none(), "the client is always idempotent");
    let known = state.producers.get(&id);
    let expected = match known {
        Some((known_epoch, next, remembered)) if *known_epoch == epoch => {
            if let Some((_, response)) = remembered.iter().find(|(known, _)| *known == sequence) {
                let duplicate = true;
                return Ok(PublishResponse {
                    duplicate,
                    ..*response
                });
            }
            if sequence < *next {
                return Err(WireError::new(ErrorCode::SequenceTooOld, "forgotten"));
            }
            *next
        }
        Some((known_epoch, _, _)) if *known_epoch > epoch => {
            return Err(WireError::new(ErrorCode::ProducerFenced, "newer epoch"));
        }
        None if sequence > 0 => {
            return Err(WireError::new(ErrorCode::UnknownProducer, "unknown"));
        }
        _ => 0,
    };
    if sequence != expected {
        return Err(WireError::new(ErrorCode::SequenceGap, "gap")
            .with("expected", expected)
            .with("actual", sequence));
    }
    if let Some(offset) = target.expected_offset
        && offset.0 != state.end
    {
        return Err(
            WireError::new(ErrorCode::ExpectedOffsetMismatch, "another offset")
                .with("expected", offset.0)
                .with("actual", state.end),
        );
    }
    let count = u64::from(header.record_count());
    let response = PublishResponse {
        first_offset: Offset(state.end),
        last_offset: Offset(state.end + count - 1),
        append_time: Timestamp(1000 + i64::try_from(state.end).unwrap()),
        log_epoch: LogEpoch(state.epoch),
        incarnation: INCARNATION,
        level: Durability::Synced,
        duplicate: false,
    };
    let stamped: BatchHeader = stamp(
        &mut batch,
        &Stamp {
            incarnation: INCARNATION,
            base_offset: response.first_offset,
            append_time: response.append_time,
            log_epoch: response.log_epoch,
            principal: 0,
        },
    );
    state.log.push(Stored {
        base: state.end,
        end: stamped.end_offset().0,
        bytes: batch.freeze(),
    });
    state.end = stamped.end_offset().0;
    let memory = state.memory;
    let row = state.producers.entry(id).or_default();
    if row.0 != epoch {
        *row = (epoch, 0, VecDeque::new());
    }
    row.1 = sequence + count;
    row.2.push_back((sequence, response));
    while row.2.len() > memory {
        row.2.pop_front();
    }
    Ok(response)
}

async fn long_poll(state: &Mutex<State>, fetch: &FetchRequest) -> Response {
    let mut left = fetch.max_wait_ms;
    let mut from = fetch.from;
    loop {
        let response = fetch_now(&state.lock().unwrap(), from, fetch.max_bytes);
        match response {
            Response::Fetch(found) if found.batches.is_empty() && left > 0 => {
                from = FetchFrom::Offset(found.head.from_offset);
                left = left.saturating_sub(2);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            response => return response,
        }
    }
}

fn fetch_now(state: &State, from: FetchFrom, max_bytes: u32) -> Response {
    if let Some(error) = &state.fetch_error {
        return Response::Error(error.clone());
    }
    let offset = match from {
        FetchFrom::Offset(offset) => offset.0,
        FetchFrom::Start => state.start,
        FetchFrom::End => state.end,
        FetchFrom::Time(time) => {
            let mut batches = state.log.iter();
            batches
                .find(|stored| BatchHeader::peek(&stored.bytes).unwrap().append_time() >= time)
                .map_or(state.end, |stored| stored.base)
        }
    };
    if offset > state.end {
        let error = WireError::new(ErrorCode::OffsetOutOfRange, "beyond the end");
        return Response::Error(error.with("start", state.start).with("end", state.end));
    }
    if offset < state.start {
        let error = WireError::new(ErrorCode::OffsetTrimmed, "below the start");
        return Response::Error(error.with("first", state.start).with("end", state.end));
    }
    let mut batches = BytesMut::new();
    for stored in state.log.iter().filter(|stored| stored.end > offset) {
        let fits = batches.len() + stored.bytes.len() <= max_bytes as usize;
        if !fits && !batches.is_empty() {
            break;
        }
        batches.extend_from_slice(&stored.bytes);
    }
    Response::Fetch(FetchResponse {
        head: FetchHead {
            incarnation: INCARNATION,
            log_start: Offset(state.start),
            high_watermark: Offset(state.end),
            log_end: Offset(state.end),
            from_offset: Offset(offset),
            log_epoch: LogEpoch(state.epoch),
        },
        batches: batches.freeze(),
    })
}

fn hello(state: &State) -> HelloResponse {
    HelloResponse {
        broker: "fake".to_owned(),
        version: "0".to_owned(),
        protocol: VersionRange { min: 1, max: 1 },
        kinds: kind_rows(),
        limits: Limits {
            frame_bytes: MAX_FRAME_BYTES,
            control_frame_bytes: MAX_CONTROL_FRAME_BYTES,
            batch_bytes: 1 << 26,
            record_bytes: 1 << 26,
            in_flight_bytes: 1 << 26,
        },
        directory_id: Incarnation(state.directory),
        epoch: LogEpoch(state.epoch),
        principal: None,
    }
}

fn info(state: &State) -> ChannelInfo {
    ChannelInfo {
        name: ChannelName::parse("c").unwrap(),
        id: INCARNATION,
        incarnation: INCARNATION,
        log_start: Offset(state.start),
        flushed: Offset(state.end),
        high_watermark: Offset(state.end),
        log_end: Offset(state.end),
        bytes: 0,
        segments: 1,
        created_at: Timestamp(0),
        log_epoch: LogEpoch(state.epoch),
        damage: Vec::new(),
        writes_refused: None,
        errno: None,
        config: ChannelConfig {
            ack_regions: 1,
            retention_days: None,
            retention_bytes: None,
            durability: Durability::Synced,
            sync_interval_ms: 200,
            segment_bytes: 1 << 20,
            max_record_bytes: 1 << 20,
            compression: vec![CompressionName::None],
            encryption: Encryption::Off,
            regions: Default::default(),
        },
        home: None,
        residency: None,
        encryption_key: None,
    }
}
