//! A research workflow of three agents, from the task to the close: only one of them is ever
//! registered, the names of the others are enough.
//!
//! ```text
//! npayload serve &
//! cargo run --example research_workflow
//! ```

use npayload::asp::registry::{AgentRef, Profile};
use npayload::asp::session::{Performative, Role, Verifier};
use npayload::client::{Client, NewCall, NewMessage};
use npayload::protocol::asp::{AgentRegister, Joining, SessionCreate, ToolList};
use npayload::types::{AgentName, SessionId};
use serde::Deserialize;
use serde_json::json;

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1);
    let client = Client::connect(url.as_deref().unwrap_or("npayload://127.0.0.1:7400")).await?;
    let coordinator = AgentName::parse("coordinator-agent")?;
    let writer = AgentName::parse("writer-agent")?;

    // Register one agent, so that others find it by what it can do.
    let capabilities = ["web-search", "summarization", "citation"].map(AgentName::parse);
    let agent = AgentRegister::new(
        AgentName::parse("research-agent")?,
        Profile {
            capabilities: capabilities.into_iter().collect::<Result<_, _>>()?,
            version: "2.1.0".to_owned(),
            ..Profile::default()
        },
    );
    let agent = client.agents().register(agent).await?;
    println!("{} is {}", agent.name, agent.agent);

    // A session of agents of one organisation is open at once.
    let session = client
        .sessions()
        .create(SessionCreate::new(
            "Market analysis for Q1 2026",
            vec![
                Joining::new(coordinator.clone(), Role::Coordinator),
                Joining::new(agent.agent, Role::Specialist),
                Joining::new(writer.clone(), Role::Specialist),
            ],
        ))
        .await?;
    println!("{} is {}", session.session_id, session.state);
    let session = session.session_id;
    let sessions = client.sessions();

    // The task, to the agent who is to do it; accepting it answers the message.
    let task = NewMessage::new(coordinator.clone())
        .to(agent.agent)
        .typed("task.assign")
        .content(&json!({
            "task": "Research competitor pricing changes in Q1",
            "deadline": "2026-03-15T00:00:00Z",
            "priority": "high",
        }))?;
    let task = sessions.send(session, task).await?;
    let accepted = NewMessage::new(agent.agent)
        .typed("task.accept")
        .answers(task.id)
        .content(&json!({}))?;
    sessions.send(session, accepted).await?;

    let pages = research(&client, agent.agent.into(), session).await?;
    let result = NewMessage::new(agent.agent)
        .to(writer.clone())
        .typed("task.result")
        .answers(task.id)
        .content(&json!({"changes": pages, "sources": ["https://example.com/prices"]}))?;
    sessions.send(session, result).await?;
    let status = NewMessage::new(writer)
        .typed("status.update")
        .content(&json!({"status": "report drafted", "progress": 1}))?;
    sessions.send(session, status).await?;
    let close = NewMessage::new(coordinator)
        .said(Performative::Close)
        .content(&json!({"outcome": "delivered"}))?;
    println!("now {}", sessions.send(session, close).await?.state);

    verify(&client, session).await?;

    // The auditor's question: every call of this agent on this tool.
    let calls = client.tools().list(ToolList {
        agent: Some(agent.agent.into()),
        tool: Some("web-search".to_owned()),
        ..ToolList::default()
    });
    for call in calls.all().await? {
        println!("{} of {}: {}", call.call_id, call.tool, call.outcome.name());
    }
    Ok(())
}

/// Two tool calls, one of which fails. A call that is forgotten would be recorded as dropped.
async fn research(
    client: &Client,
    agent: AgentRef,
    session: SessionId,
) -> Result<[&'static str; 2], Error> {
    let search = NewCall::new("web-search", agent.clone())
        .within(session)
        .arguments(&json!({"query": "competitor pricing Q1"}))?;
    let search = client.tools().call(search).await?;
    search
        .progress(Some(0.5), Some("first page".to_owned()))
        .await?;
    let part = NewCall::new("fetch-page", agent)
        .within(session)
        .part_of(search.id())
        .arguments(&json!({"url": "https://example.com/prices"}))?;
    let part = client.tools().call(part).await?;
    part.fail("timeout", Some("no answer in 10 s".to_owned()))
        .await?;
    let found = ["basic plan: +5 %", "team plan: unchanged"];
    search.finish(&json!({"pages": found})).await?;
    Ok(found)
}

/// Recomputes every digest and hash of the session from its records.
async fn verify(client: &Client, session: SessionId) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Typed {
        r#type: String,
    }
    let mut verifier = Verifier::default();
    let mut tail = client.sessions().tail(session, 0);
    while let Some(record) = tail.next().await.transpose()? {
        let typed: Typed = record.record.read()?;
        let bytes = record.record.text().as_bytes();
        verifier.record(Some(record.offset), &typed.r#type, bytes)?;
    }
    println!(
        "{} records with {} messages fit; the last hash is {}",
        verifier.records(),
        verifier.messages(),
        verifier.hash()
    );
    Ok(())
}
