//! What does a session's record cost the processor: to link and encode under the broker's lock, to
//! decode and apply in a rebuild, to fold into a snapshot and back? No disk and no network.
//!
//! `cargo bench --bench sessions`; 10,000 live sessions of three agents; messages with payloads of
//! 500 bytes, each tenth one signed; for the snapshot each session holds 100 message ids.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use npayload::asp::chain::{Digest, SigningKey};
use npayload::asp::session::{
    Constraints, Created, Invitee, Limits, Message, Performative, Role, Send, Sent, SessionRecord,
    Sessions,
};
use npayload::asp::{Canonical, NeutralTrust};
use npayload::types::{AgentId, MessageId, Offset, OrgId, PrincipalId, SessionId, Timestamp};
use serde_json::json;

const SESSIONS: u128 = 10_000;
const AGENTS: u128 = 3;
const MESSAGES: u128 = 100_000;
const VERSION_7: u128 = 7 << 76;
const NOW: Timestamp = Timestamp(1_735_689_600_000);

/// The records of a topic as bytes, with their types.
type Log = Vec<(String, Vec<u8>)>;

fn created(session: u128) -> Created {
    let participants = (0..AGENTS).map(|n| Invitee {
        agent: AgentId(VERSION_7 + session % 1000 * AGENTS + n),
        org: OrgId(1),
        role: Role::Coordinator,
    });
    Created {
        session: SessionId(VERSION_7 + session),
        org: OrgId(1),
        topic: "Market analysis".to_owned(),
        participants: participants.collect(),
        ttl_ms: 3_600_000,
        invitation_ms: 30_000,
        limits: Limits::default(),
        metadata: serde_json::Map::new(),
        by: PrincipalId(1),
        at: NOW,
    }
}

fn send(number: u128, key: &SigningKey) -> Send {
    let session = number * 7919 % SESSIONS;
    let message = Message {
        id: MessageId(VERSION_7 + (number << 80)),
        session: SessionId(VERSION_7 + session),
        sender: AgentId(VERSION_7 + session % 1000 * AGENTS + number / SESSIONS % AGENTS),
        recipient: None,
        performative: Performative::Inform,
        message_type: Some("task.result".to_owned()),
        payload: Digest::ZERO,
        in_reply_to: None,
        constraints: Constraints::default(),
    };
    let payload = json!({"findings": ["x".repeat(200), "y".repeat(200)], "score": 0.75, "tokens": {"in": 1200, "out": 345}});
    let payload = Canonical::of(&payload).expect("I-JSON");
    let send = Send::new(message, Some(payload), PrincipalId(1)).expect("a free payload");
    if !number.is_multiple_of(10) {
        return send;
    }
    let signature = key.sign(&send.digest());
    let signed = send.signed(Some(signature), Some(key.public_key()));
    signed.expect("its own signature")
}

fn link(sessions: &Sessions, send: Send, offset: Offset) -> Vec<SessionRecord> {
    let sent = sessions.check_send(&send, &NeutralTrust, NOW);
    let Ok(Sent::New(event)) = sent else {
        panic!("{sent:?}");
    };
    sessions.link(event, offset).expect("it can follow")
}

/// All sessions, begun.
fn begun() -> Sessions {
    let mut sessions = Sessions::default();
    for (offset, number) in (0..).map(Offset).zip(0..SESSIONS) {
        let event = sessions
            .check_create(created(number))
            .expect("within limits");
        for record in sessions.link(event, offset).expect("it can begin") {
            sessions.apply(&record, offset).expect("it can follow");
        }
    }
    sessions
}

/// Messages to all of them, and the state after those.
fn talk(messages: u128) -> (Sessions, Log) {
    let (mut sessions, mut log) = (begun(), Log::new());
    let key = SigningKey::from_seed(&[7; 32]);
    for number in 0..messages {
        let offset = Offset(u64::try_from(SESSIONS + number).expect("small"));
        for record in link(&sessions, send(number, &key), offset) {
            sessions.apply(&record, offset).expect("it can follow");
            log.push((record.record_type().to_owned(), record.encode()));
        }
    }
    (sessions, log)
}

fn sessions(criterion: &mut Criterion) {
    let (_, log) = talk(MESSAGES);
    let bytes: usize = log.iter().map(|(_, bytes)| bytes.len()).sum();
    println!("a record has {} bytes", bytes / log.len());

    let mut group = criterion.benchmark_group("rebuild");
    group.sample_size(10);
    group.throughput(Throughput::Elements(log.len() as u64));
    let decode = |(record_type, bytes): &(String, Vec<u8>)| {
        SessionRecord::decode(record_type, bytes).expect("was encoded")
    };
    group.bench_function("decode", |bencher| {
        bencher.iter(|| log.iter().map(decode).for_each(drop));
    });
    group.bench_function("decode_apply", |bencher| {
        bencher.iter_batched_ref(
            begun,
            |sessions| {
                for (number, raw) in (0..).zip(&log) {
                    let offset = Offset(u64::try_from(SESSIONS).expect("small") + number);
                    sessions.apply(&decode(raw), offset).expect("was applied");
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();

    let mut group = criterion.benchmark_group("send");
    let state = begun();
    let key = SigningKey::from_seed(&[7; 32]);
    let one = send(1, &key);
    group.bench_function("digests", |bencher| {
        bencher.iter(|| send(black_box(1), &key))
    });
    group.bench_function("verify_signature", |bencher| {
        let digest = one.digest();
        let (signature, public) = (key.sign(&digest), key.public_key());
        bencher.iter(|| npayload::asp::chain::verify_signature(&public, &digest, &signature));
    });
    group.bench_function("check_link", |bencher| {
        bencher.iter_batched(
            || one.clone(),
            |one| link(&state, one, Offset(20_000)),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("check_link_encode", |bencher| {
        bencher.iter_batched(
            || one.clone(),
            |one| link(&state, one, Offset(20_000))[0].encode(),
            BatchSize::SmallInput,
        );
    });
    group.finish();

    let (state, _) = talk(SESSIONS * 96);
    let mut group = criterion.benchmark_group("snapshot");
    group.sample_size(10);
    group.bench_function("clone", |bencher| bencher.iter(|| state.clone()));
    let encode = |state: &Sessions| -> Log {
        let parts = state.fold().into_iter();
        parts
            .map(|part| (part.record_type().to_owned(), part.encode()))
            .collect()
    };
    group.bench_function("fold_encode", |bencher| bencher.iter(|| encode(&state)));
    let parts = encode(&state);
    let bytes: usize = parts.iter().map(|(_, bytes)| bytes.len()).sum();
    println!("a snapshot of {SESSIONS} sessions that hold 960,000 ids has {bytes} bytes");
    group.bench_function("decode_rebuild", |bencher| {
        bencher.iter(|| {
            let mut read = Sessions::default();
            for raw in &parts {
                read.apply(&decode(raw), Offset(0)).expect("was folded");
            }
            read
        });
    });
    group.finish();
}

criterion_group!(benches, sessions);
criterion_main!(benches);
