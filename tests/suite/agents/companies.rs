//! Several organisations on one broker, over the wire: each with a key, and what they show each
//! other.

use npayload::access::{KeyKind, Limits, Operation, Scope, Secret};
use npayload::client::{Client, NewMessage};
use npayload::protocol::access::{GrantPropose, KeyCreate};
use npayload::protocol::asp::{
    AgentRegister, CommitmentDeliver, CommitmentRow, Joining, SessionCreate, SessionRow,
};
use npayload::server::Running;
use npayload::types::{CommitmentId, OrgName};

use super::promises_live::from_now;
use super::*;

pub(super) const HOUR: i64 = 3_600_000;

pub(super) fn org(name: &str) -> OrgName {
    OrgName::parse(name).unwrap()
}

pub(super) fn agent(name: &str) -> AgentRef {
    AgentRef::parse(name).unwrap()
}

/// Makes an organisation and a key that may do all in it; a client that shows the key.
pub(super) async fn company(running: &Running, operator: &Client, name: &str) -> Client {
    let made = operator.create_org(org(name), Limits::default()).await;
    made.unwrap();
    keyed(running, operator, name, vec![Scope::all()]).await
}

/// A client of an organisation with a key of these scopes.
pub(super) async fn keyed(
    running: &Running,
    operator: &Client,
    name: &str,
    scopes: Vec<Scope>,
) -> Client {
    let secret = key_of(operator, name, scopes).await;
    let url = format!("npayload://{}", running.listen());
    let builder = Client::builder().api_key(secret);
    builder.connect(&url).await.unwrap()
}

/// The text of a key of an organisation with these scopes.
pub(super) async fn key_of(operator: &Client, name: &str, scopes: Vec<Scope>) -> Secret {
    let key = KeyCreate {
        org: Some(org(name)),
        name: "a test's".to_owned(),
        kind: KeyKind::Test,
        scopes,
        limits: Limits::default(),
        expires_at: None,
        certificate: None,
    };
    operator.create_key(key).await.unwrap().1
}

/// Lets one organisation do something with what another has of these names.
pub(super) async fn grant(
    owner: &Client,
    guest: (&Client, &str),
    operation: Operation,
    names: &str,
) {
    let proposal = GrantPropose {
        owner: None,
        guest: Some(org(guest.1)),
        channels: names.parse().unwrap(),
        operation,
        expires_at: None,
    };
    let proposed = owner.propose_grant(proposal).await.unwrap();
    guest.0.accept_grant(proposed.id).await.unwrap();
}

pub(super) async fn register(client: &Client, name: &str) {
    let name = AgentName::parse(name).unwrap();
    let profile = npayload::asp::registry::Profile::default();
    let register = AgentRegister::new(name, profile);
    client.agents().register(register).await.unwrap();
}

/// A session that `lead` of the client's organisation coordinates; invitations stay open.
pub(super) async fn lead(client: &Client, others: &[String]) -> SessionRow {
    let mut participants = vec![Joining {
        agent_id: agent("lead"),
        role: Role::Coordinator,
    }];
    participants.extend(others.iter().map(|other| Joining {
        agent_id: agent(other),
        role: Role::Specialist,
    }));
    let create = SessionCreate {
        topic: "work".to_owned(),
        participants,
        ttl_ms: None,
        invitation_ms: Some(3_600_000),
        limits: npayload::protocol::asp::SessionLimits::default(),
        metadata: serde_json::Map::default(),
    };
    client.sessions().create(create).await.unwrap()
}

/// Whoever is invited comes in, as only who takes part promises something.
async fn comes_in(worker: &Client, session: SessionId, name: &str) {
    let seen = worker.sessions().info(session).await.unwrap();
    let named = seen
        .participants
        .iter()
        .find(|one| one.name.as_str() == name);
    if named.unwrap().standing.as_deref() == Some("invited") {
        let accept = NewMessage::new(agent(name)).said(Performative::Accept);
        let accept = accept.content(&serde_json::json!({})).unwrap();
        worker.sessions().send(session, accept).await.unwrap();
    }
}

/// What an agent promises in a session, with an hour for it.
pub(super) async fn promises(
    worker: &Client,
    session: &SessionRow,
    name: &str,
    deadline_ms: i64,
) -> CommitmentRow {
    let new = npayload::client::Commitments::promise(
        session.session_id,
        agent(name),
        "a survey",
        from_now(deadline_ms),
    );
    comes_in(worker, session.session_id, name).await;
    worker.commitments().create(new).await.unwrap()
}

pub(super) async fn delivers(worker: &Client, commitment: CommitmentId) -> CommitmentRow {
    let deliver = CommitmentDeliver {
        commitment_id: commitment,
        evidence: None,
        references: Vec::new(),
    };
    worker.commitments().deliver(deliver).await.unwrap()
}

/// A promise that is kept, by the word of the session's coordinator.
pub(super) async fn keeps(worker: &Client, name: &str, session: &SessionRow, judge: &Client) {
    let made = promises(worker, session, name, HOUR).await;
    delivers(worker, made.id).await;
    let by = Some(agent("lead"));
    judge.commitments().confirm(made.id, by).await.unwrap();
}
