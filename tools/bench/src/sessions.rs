//! Messages in sessions of agents, through the client: what agents that talk get.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use npayload::asp::registry::AgentRef;
use npayload::asp::session::Role;
use npayload::client::{Client, NewMessage};
use npayload::protocol::asp::{Joining, SessionCreate};
use npayload::types::SessionId;
use serde_json::json;
use tokio::time::sleep_until;

use crate::broker::Broker;
use crate::clock;
use crate::measured::{Counting, Measured};
use crate::publish::Window;
use crate::wire::Target;

/// What is said.
#[derive(Debug, Clone, Args)]
pub struct Talk {
    /// Clients, each with a connection of its own and two agents
    #[arg(long, default_value_t = 64)]
    pub clients: usize,
    /// Live sessions, shared out among the clients
    #[arg(long, default_value_t = 1_000)]
    pub sessions: usize,
    /// Messages of one client that wait for their answer at once, each in a session of its own
    #[arg(long, default_value_t = 16)]
    pub in_flight: usize,
    /// Bytes of text in each message
    #[arg(long, default_value_t = 200)]
    pub text_bytes: usize,
    /// Kill the broker afterwards and start it again: with the last snapshot, and without any
    #[arg(long)]
    pub starts: bool,
    /// Seconds that count
    #[arg(long, default_value_t = 5.0)]
    pub duration_s: f64,
    /// Seconds before them that do not
    #[arg(long, default_value_t = 1.0)]
    pub warm_up_s: f64,
}

/// Creates the sessions, then has all clients send in theirs. The topics of agents are synced, so
/// every answer is.
pub async fn talk(broker: &Broker, talk: &Talk) -> Result<Vec<Measured>> {
    let began = clock();
    let (mut created, mut making) = (Counting::new(), Vec::new());
    for n in 0..talk.clients.max(1) {
        let share = talk.sessions / talk.clients.max(1);
        let share = share + usize::from(n < talk.sessions % talk.clients.max(1));
        making.push(tokio::spawn(create(broker.target.clone(), n, share.max(1))));
    }
    let mut clients = Vec::new();
    for making in making {
        let (client, sessions, counting) = making.await??;
        created.add(&counting);
        clients.push((client, sessions));
    }
    created.see_level("synced");
    let created = created.over("sessions: created", began.elapsed());

    let start = clock() + Duration::from_secs_f64(talk.warm_up_s);
    let length = Duration::from_secs_f64(talk.duration_s);
    let window = Window {
        start,
        end: start + length,
    };
    let mut senders = Vec::new();
    for (n, (client, sessions)) in clients.into_iter().enumerate() {
        let lanes = talk.in_flight.clamp(1, sessions.len());
        // A session is always the same lane's, so that its messages keep their order.
        for lane in 0..lanes {
            let own: Vec<_> = sessions.iter().skip(lane).step_by(lanes).copied().collect();
            let (client, text_bytes) = (client.clone(), talk.text_bytes);
            senders.push(tokio::spawn(send(client, n, own, text_bytes, window)));
        }
    }
    sleep_until(window.start.into()).await;
    let before = broker.spent();
    sleep_until(window.end.into()).await;
    let after = broker.spent();
    let mut all = Counting::new();
    for sender in senders {
        all.add(&sender.await??);
    }
    all.see_level("synced");
    let name = format!(
        "sessions: {} clients send in {} sessions, up to {} in flight each, {} bytes of text",
        talk.clients, talk.sessions, talk.in_flight, talk.text_bytes
    );
    let mut sent = all.over(name, length);
    sent.broker = after
        .zip(before)
        .map(|(after, before)| after.since(&before));
    Ok(vec![created, sent])
}

/// How long starts take on what was said: each from a kill to the ready line.
///
/// - `records`: what the topics hold, about.
pub fn starts(broker: &mut Broker, records: u64) -> Result<Vec<Measured>> {
    let mut all = Vec::new();
    for (keeps, name) in [
        (true, "start after a kill, with the last snapshot"),
        (false, "start after a kill, without a snapshot"),
    ] {
        let took = broker.start_again(keeps)?;
        let mut counting = Counting::new();
        counting.book(took, records, 0);
        all.push(counting.over(name, took));
    }
    Ok(all)
}

fn agent(n: usize, what: &str) -> Result<AgentRef> {
    let name = format!("bench-{what}-{n}");
    AgentRef::parse(&name).with_context(|| format!("the name {name}"))
}

async fn create(
    target: Target,
    n: usize,
    count: usize,
) -> Result<(Client, Vec<SessionId>, Counting)> {
    let client = target.client().await?;
    let (mut sessions, mut counting) = (Vec::new(), Counting::new());
    for _ in 0..count {
        let participants = vec![
            Joining {
                agent_id: agent(n, "lead")?,
                role: Role::Coordinator,
            },
            Joining {
                agent_id: agent(n, "worker")?,
                role: Role::Specialist,
            },
        ];
        let at = clock();
        let create = SessionCreate::new("a benchmark", participants);
        let session = client.sessions().create(create).await?;
        counting.book(at.elapsed(), 1, 0);
        sessions.push(session.session_id);
    }
    Ok((client, sessions, counting))
}

async fn send(
    client: Client,
    n: usize,
    sessions: Vec<SessionId>,
    text_bytes: usize,
    window: Window,
) -> Result<Counting> {
    let content = json!({ "text": "x".repeat(text_bytes) });
    let mut counting = Counting::new();
    for (number, session) in sessions.iter().cycle().enumerate() {
        let at = clock();
        if at >= window.end {
            break;
        }
        let sender = agent(n, if number % 2 == 0 { "lead" } else { "worker" })?;
        let message = NewMessage::new(sender)
            .typed("status.update")
            .content(&content)?;
        client.sessions().send(*session, message).await?;
        let now = clock();
        if window.contains(now) {
            counting.book(now - at, 1, text_bytes as u64);
        }
    }
    Ok(counting)
}
