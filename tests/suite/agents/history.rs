//! Any history of commands, cut off by a crash at any time: what was answered is known again, and a
//! start from a snapshot knows what a start without one does.

use std::collections::BTreeMap;

use npayload::asp::session::Verifier;
use npayload::asp::tool::{Filed, Finish};
use npayload::broker::asp::NewCall;
use npayload::storage::disk::OpenMode;
use npayload::types::{CallId, ToolName};
use proptest::prelude::*;

use super::*;

const NAMES: [&str; 4] = ["lead", "writer", "watcher", "late"];

const SAID: [Performative; 9] = [
    Performative::Propose,
    Performative::Accept,
    Performative::Inform,
    Performative::Query,
    Performative::Commit,
    Performative::Escalate,
    Performative::Observe,
    Performative::Withdraw,
    Performative::Close,
];

#[derive(Clone, Debug)]
enum Op {
    Register(usize),
    Deregister(usize),
    Create(bool),
    Send {
        session: usize,
        from: usize,
        said: usize,
        reply: usize,
        due: bool,
    },
    Leave(usize, usize),
    Resume(usize),
    Start(usize),
    Finish(usize),
    Pass(i64),
    Flush,
    Snapshot,
    Crash(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let send = (
        0..4_usize,
        0..4_usize,
        0..SAID.len(),
        0..6_usize,
        any::<bool>(),
    );
    prop_oneof![
        1 => (0..4_usize).prop_map(Op::Register),
        1 => (0..4_usize).prop_map(Op::Deregister),
        2 => any::<bool>().prop_map(Op::Create),
        12 => send.prop_map(|(session, from, said, reply, due)| Op::Send { session, from, said, reply, due }),
        1 => (0..4_usize, 0..4_usize).prop_map(|(session, agent)| Op::Leave(session, agent)),
        1 => (0..4_usize).prop_map(Op::Resume),
        2 => (0..4_usize).prop_map(Op::Start),
        2 => (0..6_usize).prop_map(Op::Finish),
        2 => prop_oneof![Just(10), Just(1_000), Just(40_000), Just(4_000_000)].prop_map(Op::Pass),
        3 => Just(Op::Flush),
        2 => Just(Op::Snapshot),
        2 => any::<u64>().prop_map(Op::Crash),
    ]
}

/// What was answered, and when.
#[derive(Default)]
struct Ledger {
    sessions: Vec<SessionId>,
    messages: Vec<MessageId>,
    calls: Vec<CallId>,
    /// Of each message that was taken: where, its hash, and what its answer waits for.
    sent: Vec<(SessionId, u64, Digest, Option<Wait>)>,
}

fn step(floor: &mut Floor, ledger: &mut Ledger, op: &Op) {
    let at = floor.at();
    let agent = |n: usize| AgentRef::parse(NAMES[n]).unwrap();
    let pick = |all: &[SessionId], n: usize| all.get(all.len().checked_sub(1 + n)?).copied();
    match op {
        Op::Register(n) => {
            let request = Register {
                name: AgentName::parse(NAMES[*n]).unwrap(),
                profile: npayload::asp::registry::Profile::default(),
                public_key: None,
            };
            let _ = floor.broker.register_agent(&ME, request, at);
        }
        Op::Deregister(n) => {
            let _ = floor.broker.deregister_agent(&ME, &agent(*n), at);
        }
        Op::Create(is_short) => {
            let mut new = new_session(TRIO);
            if *is_short {
                new.ttl_ms = 30_000;
            }
            if let Ok(made) = floor.broker.create_session(&ME, new, at) {
                ledger.sessions.push(made.value.session.session);
            }
        }
        Op::Send {
            session,
            from,
            said,
            reply,
            due,
        } => {
            let Some(session) = pick(&ledger.sessions, *session) else {
                return;
            };
            let id = floor.next_id();
            let replies = ledger.messages.len().checked_sub(1 + reply);
            let said = Said {
                id: Some(id),
                in_reply_to: replies.map(|at| ledger.messages[at]),
                constraints: Constraints {
                    max_response_time_ms: due.then_some(20_000),
                    ..Constraints::default()
                },
                ..say(SAID[*said])
            };
            if let Ok(taken) = floor.try_send(session, NAMES[*from], said) {
                ledger.messages.push(id);
                let hash = taken.value.hash;
                let sequence = taken.value.sequence;
                ledger
                    .sent
                    .push((session, sequence, hash, Some(taken.wait)));
            }
        }
        Op::Leave(session, n) => {
            if let Some(session) = pick(&ledger.sessions, *session) {
                let _ = floor.broker.leave_session(&ME, session, &agent(*n), at);
            }
        }
        Op::Resume(session) => {
            if let Some(session) = pick(&ledger.sessions, *session) {
                let _ = floor.broker.resume_session(&ME, session, at);
            }
        }
        Op::Start(n) => {
            let call = CallId(floor.next_id().0);
            let new = NewCall {
                call,
                tool: ToolName::parse("web.search").unwrap(),
                agent: agent(*n),
                session: None,
                parent: None,
                arguments: None,
                timeout_ms: 35_000,
            };
            if floor
                .broker
                .start_call(&ME, &new, &Filed::Unsearched, at)
                .is_ok()
            {
                ledger.calls.push(call);
            }
        }
        Op::Finish(n) => {
            let Some(at_call) = ledger.calls.len().checked_sub(1 + n) else {
                return;
            };
            let finish = Finish {
                call: ledger.calls[at_call],
                result: None,
                by: ME.id,
            };
            let _ = floor
                .broker
                .finish_call(&ME, &finish, &Filed::Unsearched, at);
        }
        Op::Pass(ms) => {
            floor.now += ms;
            while floor.broker.settle_asp(floor.at()) {}
        }
        Op::Flush => floor.rounds(),
        Op::Snapshot => {
            floor.snapshots();
        }
        Op::Crash(_) => {}
    }
}

/// What is known is the same with the snapshots and without, and fits the records.
fn check(floor: &Floor, ledger: &Ledger) {
    let (agents, sessions, tools) = floor.states();
    let bare = floor.disk.after(npayload::storage::disk::Loss::None);
    let dir = Path::new(ROOT).join("snapshots");
    if bare.exists(&dir).unwrap() {
        for entry in bare.list(&dir).unwrap() {
            bare.remove_file(&dir.join(entry.name)).unwrap();
        }
    }
    let rebuilt = Floor::open(&bare, floor.now);
    let again = rebuilt.states();
    assert!(again.0 == agents, "agents differ without a snapshot");
    assert!(again.1 == sessions, "sessions differ without a snapshot");
    assert!(again.2 == tools, "calls differ without a snapshot");
    let mut hashes: BTreeMap<(SessionId, u64), Digest> = BTreeMap::new();
    let mut verifiers: BTreeMap<SessionId, Verifier> = BTreeMap::new();
    for (offset, record_type, payload) in records(&rebuilt) {
        let read = npayload::asp::session::SessionRecord::decode(&record_type, &payload).unwrap();
        let (Some(session), Some(place)) = (read.session(), read.place) else {
            continue;
        };
        hashes.insert((session, place.links.number()), place.hash);
        let verifier = verifiers.entry(session).or_default();
        let verified = verifier.record(Some(offset), &record_type, &payload);
        assert!(
            verified.is_ok(),
            "{:?}",
            verified.err().map(|e| e.to_string())
        );
    }
    for (session, sequence, hash, wait) in &ledger.sent {
        if wait.is_none() {
            assert_eq!(
                hashes.get(&(*session, *sequence)),
                Some(hash),
                "an answered message"
            );
        }
    }
}

/// The records of the sessions' topic.
fn records(floor: &Floor) -> Vec<Row> {
    records_of(floor, "__asp.sessions")
}

/// A record of a topic: where it lies, its type, what it says.
pub(super) type Row = (npayload::types::Offset, String, Vec<u8>);

/// The records of a topic that can be read.
pub(super) fn records_of(floor: &Floor, topic: &str) -> Vec<Row> {
    use npayload::broker::{Fetch, FetchFrom, FetchStep};
    let name = npayload::types::ChannelName::parse_any(topic).unwrap();
    let mut found = Vec::new();
    if floor.broker.identity_of(&name).is_none() {
        return found;
    }
    let mut next = npayload::types::Offset(0);
    loop {
        let place = FetchFrom::Offset(next);
        let epoch = npayload::types::LogEpoch(0);
        let mut fetch = Fetch::new(name.clone(), None, place, epoch, 1 << 20);
        let fetched = match floor.broker.fetch_step(&mut fetch).unwrap() {
            FetchStep::Done(fetched) => fetched.slices,
            FetchStep::Run(npayload::broker::FetchJob::Copy(job)) => job.run_copied().unwrap(),
            FetchStep::Run(other) => panic!("{other:?}"),
        };
        if fetched.parts.is_empty() {
            return found;
        }
        next = fetched.next;
        for mut rest in fetched.parts {
            while !rest.is_empty() {
                let len = npayload::format::BatchHeader::peek(&rest).unwrap().len();
                let batch = rest.split_to(len);
                for record in npayload::format::records(&batch).unwrap() {
                    let record = record.unwrap();
                    let payload = record.payload.unwrap_or_default().to_vec();
                    found.push((record.offset, record.record_type.to_string(), payload));
                }
            }
        }
    }
}

fn run(ops: &[Op]) {
    let mut floor = Floor::new();
    let mut ledger = Ledger::default();
    for op in ops {
        if let Op::Crash(seed) = op {
            // What was answered is what was done before the power went.
            for (.., wait) in &mut ledger.sent {
                if wait.is_some_and(|wait| floor.is_done(wait)) {
                    *wait = None;
                }
            }
            ledger.sent.retain(|(.., wait)| wait.is_none());
            let mut fate = *seed;
            let disk = floor.disk.after_power_loss(&mut |_| {
                fate = fate.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                fate >> 33
            });
            let now = floor.now;
            drop(floor);
            floor = Floor::open(&disk, now + 1);
            check(&floor, &ledger);
            continue;
        }
        step(&mut floor, &mut ledger, op);
    }
    floor.rounds();
    for (.., wait) in &mut ledger.sent {
        if wait.is_some_and(|wait| floor.is_done(wait)) {
            *wait = None;
        }
    }
    let before = floor.states();
    let floor = floor.reopened();
    assert!(floor.states() == before, "the state after an orderly end");
    check(&floor, &ledger);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_history_is_known_again_after_any_crash_with_a_snapshot_and_without(
        ops in prop::collection::vec(op(), 1..80)
    ) {
        run(&ops);
    }
}

#[test]
fn a_snapshot_is_used_and_a_damaged_one_is_not_missed() {
    let mut floor = Floor::new();
    let session = floor.create(TRIO).session.session;
    for _ in 0..20 {
        floor.send(session, "lead", say(Performative::Inform));
    }
    assert!(floor.snapshots() > 0);
    let before = floor.states();
    let floor = floor.reopened();
    assert!(floor.states() == before);
    let dir = Path::new(ROOT).join("snapshots");
    let names: Vec<String> = floor
        .disk
        .list(&dir)
        .unwrap()
        .into_iter()
        .map(|e| e.name)
        .collect();
    assert!(!names.is_empty());
    for name in names {
        let path = dir.join(name);
        let len = floor
            .disk
            .open(&path, OpenMode::Read)
            .unwrap()
            .len()
            .unwrap();
        for position in 0..len {
            let disk = floor.disk.after(npayload::storage::disk::Loss::None);
            let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
            let mut byte = [0];
            file.read_at(position, &mut byte).unwrap();
            file.write_at(position, &[std::io::IoSlice::new(&[byte[0] ^ 0x10])])
                .unwrap();
            if position % 97 == 0 || position < 64 {
                let again = Floor::open(&disk, floor.now + 1);
                assert!(
                    again.states() == before,
                    "byte {position} of {}",
                    path.display()
                );
            }
        }
    }
}
