//! A small market against the real binary, over the wire: what the broker tells of trust is what
//! the fold makes of the evidence that anybody can consume, what an independent script makes of it,
//! and what the simulator's own model makes of what was done.

use npayload::access::{KeyKind, Limits, Operation, Scope as KeyScope};
use npayload::asp::Links;
use npayload::asp::chain::Digest;
use npayload::asp::commitment::State as Promised;
use npayload::asp::registry::AgentRef;
use npayload::asp::session::{Performative, Role};
use npayload::asp::trust::{
    CommitmentEnded, Confirmation, Kind, Party, Rated, Scope, TaskSettled, TrustRecord, TrustState,
};
use npayload::client::{Client, Commitments, NewMessage};
use npayload::protocol::access::{GrantPropose, KeyCreate};
use npayload::protocol::asp::{
    AgentRegister, CommitmentDeliver, Joining, SessionCreate, SessionLimits, SessionRow, TrustRate,
    TrustRow,
};
use npayload::types::{
    AgentId, CommitmentId, GrantId, MessageId, Offset, OrgId, OrgName, SessionId, Timestamp,
};
use serde_json::Value;

use super::trust::scored;
use crate::process::Broker;

/// Who works, how well, and how many in a hundred of its promises it keeps.
const WORKERS: [(&str, u32); 3] = [("acme", 95), ("beta", 60), ("gamma", 20)];
/// Promises of each to each customer.
const ROUNDS: u32 = 6;

/// A client, and who it speaks for.
struct House {
    name: &'static str,
    client: Client,
}

/// What was done, as the simulator would record it.
enum Done {
    Promise {
        obligor: Party,
        by: Party,
        kept: bool,
    },
    Task {
        agent: Party,
        by: Party,
    },
    Rating {
        agent: Party,
        by: Party,
        session: SessionId,
        rating: u16,
    },
}

fn agent(text: &str) -> AgentRef {
    AgentRef::parse(text).unwrap()
}

fn org(name: &str) -> OrgName {
    OrgName::parse(name).unwrap()
}

fn now(ms: i64) -> Timestamp {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Timestamp(i64::try_from(since.as_millis()).unwrap() + ms)
}

async fn house(operator: &Client, url: &str, name: &'static str) -> House {
    operator
        .create_org(org(name), Limits::default())
        .await
        .unwrap();
    let key = KeyCreate {
        org: Some(org(name)),
        name: "all".to_owned(),
        kind: KeyKind::Test,
        scopes: vec![KeyScope::all()],
        limits: Limits::default(),
        expires_at: None,
        certificate: None,
    };
    let (_, secret) = operator.create_key(key).await.unwrap();
    let client = Client::builder()
        .api_key(secret)
        .connect(url)
        .await
        .unwrap();
    House { name, client }
}

/// Shows all agents of one to another.
async fn show(owner: &House, guest: &Client, guest_name: &str) -> GrantId {
    let grant = GrantPropose {
        owner: None,
        guest: Some(org(guest_name)),
        channels: "*".parse().unwrap(),
        operation: Operation::Asp,
        expires_at: None,
    };
    let grant = owner.client.propose_grant(grant).await.unwrap().id;
    guest.accept_grant(grant).await.unwrap();
    grant
}

async fn meet(customer: &Client, worker: &House) -> SessionRow {
    let guest = format!("agent://{}/worker", worker.name);
    let participants = [("lead", Role::Coordinator), (&*guest, Role::Specialist)];
    let create = SessionCreate {
        topic: "a market".to_owned(),
        participants: participants
            .map(|(who, role)| Joining {
                agent_id: agent(who),
                role,
            })
            .into(),
        ttl_ms: None,
        invitation_ms: None,
        limits: SessionLimits::default(),
        metadata: serde_json::Map::default(),
    };
    let session = customer.sessions().create(create).await.unwrap();
    let accepts = NewMessage::new(agent("worker")).said(Performative::Accept);
    let sessions = worker.client.sessions();
    sessions.send(session.session_id, accepts).await.unwrap();
    session
}

/// A task that is answered.
async fn task(customer: &Client, worker: &House, session: SessionId) {
    let assigned = NewMessage::new(agent("lead"))
        .typed("task.assign")
        .to(agent(&format!("agent://{}/worker", worker.name)));
    let assigned = customer.sessions().send(session, assigned).await.unwrap();
    let answer = NewMessage::new(agent("worker"))
        .typed("task.accept")
        .answers(assigned.id);
    worker
        .client
        .sessions()
        .send(session, answer)
        .await
        .unwrap();
}

async fn promise(customer: &Client, worker: &House, session: SessionId, is_kept: bool) {
    let deadline = if is_kept { now(3_600_000) } else { now(-1) };
    let new = Commitments::promise(session, agent("worker"), "a survey", deadline);
    let made = worker.client.commitments().create(new).await.unwrap();
    if !is_kept {
        assert_eq!(made.state, Promised::Breached);
        return;
    }
    let deliver = CommitmentDeliver {
        commitment_id: made.id,
        evidence: None,
        references: Vec::new(),
    };
    worker.client.commitments().deliver(deliver).await.unwrap();
    let confirmed = customer.commitments().confirm(made.id, None).await.unwrap();
    assert_eq!(confirmed.state, Promised::Fulfilled);
}

/// The evidence, as anybody consumes it.
fn consumed(broker: &Broker) -> (String, Vec<TrustRecord>) {
    let ran = broker.run(&["consume", "__asp.evidence", "--json"]);
    let text = String::from_utf8(ran.ok()).unwrap();
    let records = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let record_type = line["type"].as_str().unwrap();
        TrustRecord::decode(record_type, line["payload"].to_string().as_bytes()).unwrap()
    });
    let records = records.collect();
    (text, records)
}

/// What the simulator writes for it.
fn modelled(done: &Done, at: Timestamp) -> TrustRecord {
    let links = Links::default();
    match *done {
        Done::Promise { obligor, by, kept } => TrustRecord::Commitment(CommitmentEnded {
            at,
            commitment: CommitmentId(0),
            confirmation: kept.then_some(Confirmation::Explicit),
            // Broken or kept, it counts with whoever leads the session.
            counterparty: Some(by),
            escrow: false,
            links,
            obligor,
            one_sided: true,
            severity: (!kept).then_some(1),
            signed: false,
            terms: Digest::ZERO,
            kind: Kind::Commitment,
            v: 1,
        }),
        Done::Task { agent, by } => TrustRecord::Task(TaskSettled {
            agent,
            at,
            by,
            links,
            message: MessageId(0),
            response_ms: Some(0),
            session: SessionId(0),
            signed: false,
            kind: Kind::Task,
            v: 1,
        }),
        Done::Rating {
            agent,
            by,
            session,
            rating,
        } => TrustRecord::Rating(Rated {
            agent,
            at,
            by,
            links,
            rating,
            session,
            kind: Kind::Rating,
            v: 1,
        }),
    }
}

/// Compares what the broker tells with a state.
fn is_told(told: &TrustRow, state: &TrustState, id: AgentId, scope: Scope) {
    let score = state.score(id, scope);
    assert_eq!(told.projection, "trust/1");
    assert_eq!((told.score.0, told.scope), (score.score.into(), scope));
    assert_eq!(told.internal.score.0, u64::from(score.internal.score));
    assert_eq!(told.external.score.0, u64::from(score.external.score));
    assert_eq!(told.components, score.components);
    assert_eq!(told.evidence_count, score.evidence_count);
    assert_eq!(told.distinct_counterparties, score.distinct_counterparties);
    assert_eq!(
        told.completion_rate.map(|rate| rate.0),
        score.completion_rate.map(u64::from)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_market_over_the_wire_has_the_scores_of_the_fold_the_script_and_the_simulator() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    let operator = Client::connect(&broker.url).await.unwrap();
    let mut houses = Vec::new();
    for (name, _) in WORKERS {
        let house = house(&operator, &broker.url, name).await;
        let register: AgentRegister =
            serde_json::from_value(serde_json::json!({ "name": "worker" })).unwrap();
        house.client.agents().register(register).await.unwrap();
        show(&house, &operator, "default").await;
        houses.push(house);
    }
    // The next one is a customer too, of which nobody knows who it is.
    for n in 0..houses.len() {
        let next = &houses[(n + 1) % houses.len()];
        show(&houses[n], &next.client, next.name).await;
    }
    let mut draw = 7_u32;
    let mut done = Vec::new();
    let (mut ids, mut leads) = (Vec::new(), Vec::new());
    for n in 0..houses.len() {
        let (worker, quality) = (&houses[n], WORKERS[n].1);
        let next = &houses[(n + 1) % houses.len()];
        for (customer, is_operator) in [(&operator, true), (&next.client, false)] {
            let session = meet(customer, worker).await;
            let id = session.session_id;
            let of = |role| {
                let found = session.participants.iter().find(|one| one.role == role);
                let one = found.unwrap();
                (one.agent_id, one.org.clone())
            };
            let ((by, _), (of, _)) = (of(Role::Coordinator), of(Role::Specialist));
            // Organisations are numbered in the order in which they were made.
            let number = |n: usize| OrgId(OrgId::DEFAULT.0 + 1 + u32::try_from(n).unwrap());
            let by_org = if is_operator {
                OrgId::DEFAULT
            } else {
                number((n + 1) % houses.len())
            };
            let party = |agent, org| Party {
                agent,
                org,
                team: None,
            };
            let (obligor, by) = (party(of, number(n)), party(by, by_org));
            ids.push((n, of));
            leads.push(by.agent);
            task(customer, worker, id).await;
            done.push(Done::Task { agent: obligor, by });
            for _ in 0..ROUNDS {
                draw = draw.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let kept = (draw >> 16) % 100 < quality;
                promise(customer, worker, id, kept).await;
                done.push(Done::Promise { obligor, by, kept });
            }
            let rating = u16::try_from(quality).unwrap() * 10;
            let rate = TrustRate {
                session_id: id,
                agent_id: agent(&format!("agent://{}/worker", worker.name)),
                from: agent("lead"),
                rating: f64::from(rating) / 1_000.0,
            };
            // Who says nothing is rated by nobody and rates nobody: both have spoken here.
            customer.trust().rate(rate).await.unwrap();
            done.push(Done::Rating {
                agent: obligor,
                by,
                session: id,
                rating,
            });
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), WORKERS.len());

    let (text, records) = consumed(&broker);
    let (mut folded, mut model) = (TrustState::default(), TrustState::default());
    let mut expected = done.iter();
    for (record, offset) in records.iter().zip(0..) {
        folded.apply(record, Offset(offset)).unwrap();
        // The hours are the broker's; all else is known.
        let own = match record {
            TrustRecord::Clock(_) => record.clone(),
            _ => modelled(expected.next().expect("evidence of nothing"), now(0)),
        };
        let own = model.link(own);
        assert_eq!(own.record_type(), record.record_type(), "record {offset}");
        model.apply(&own, Offset(offset)).unwrap();
    }
    assert!(expected.next().is_none(), "there is no evidence of it");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &text).unwrap();
    let said = scored(file.path());
    let mut external = Vec::new();
    for (n, id) in &ids {
        let own = houses[*n]
            .client
            .trust()
            .score(agent("worker"))
            .await
            .unwrap();
        let name = agent(&format!("agent://{}/worker", houses[*n].name));
        let others = operator.trust().score(name).await.unwrap();
        for state in [&folded, &model] {
            is_told(&own, state, *id, Scope::Internal);
            is_told(&others, state, *id, Scope::External);
        }
        if let Some(said) = &said {
            let line = format!("{id} {} {}", others.score.0, own.score.0);
            assert!(
                said.lines().any(|one| one == line),
                "{line} is not in {said}"
            );
        }
        external.push(others.score.0);
    }
    assert!(
        external.is_sorted_by(|one, next| one > next),
        "the best first: {external:?}"
    );
    assert!(external[0] > 300_000, "{external:?}");
    // And from its snapshot or its records, the broker knows the same again.
    assert_eq!(broker.terminate(), 0);
    let broker = Broker::start(&dir.path().join("data"));
    let operator = Client::connect(&broker.url).await.unwrap();
    for ((n, id), score) in ids.iter().zip(external) {
        let name = agent(&format!("agent://{}/worker", houses[*n].name));
        let again = operator.trust().score(name).await.unwrap();
        assert_eq!(again.score.0, score, "{id}");
    }
}
