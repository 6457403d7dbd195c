//! `npayload session tail` and `inbox`: what was said, a line for each record.

use std::collections::HashMap;

use clap::Args;
use serde::Deserialize;

use super::elsewhere::Elsewhere;
use super::failure::Failure;
use super::session::sessions;
use super::typed::shown;
use super::{Context, interrupted, output};
use crate::asp::registry::AgentRef;
use crate::client::{Sessions, TailError};
use crate::protocol::asp::{CopyAnswer, CopyAsk, JsonText, SessionHistory};
use crate::types::{AgentId, MessageId, SessionId, Timestamp};

/// What to read of a session.
#[derive(Clone, Debug, Args)]
pub struct TailArgs {
    /// The session: ses_…
    session: SessionId,
    /// Number of the first record
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// Wait for what comes, until the session ends
    #[arg(short, long, conflicts_with_all = ["region", "any_region"])]
    follow: bool,
    /// Records at most
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// The participant on whose behalf it is read; needed for sessions of other organisations
    #[arg(long)]
    agent: Option<AgentRef>,
    #[command(flatten)]
    elsewhere: Elsewhere,
}

/// What to read of an inbox.
#[derive(Clone, Debug, Args)]
pub struct InboxArgs {
    /// Whose inbox
    agent: AgentRef,
    /// Where an earlier command ended, as it said on stderr
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// Wait for what comes
    #[arg(short, long)]
    follow: bool,
    /// Records at most
    #[arg(long, value_name = "N")]
    max: Option<u64>,
}

/// Prints the records of a session; with `--json` byte by byte as they are stored.
///
/// # Errors
/// When the broker refuses or is not there, or the output is closed.
pub async fn tail(args: TailArgs, context: &Context) -> Result<(), Failure> {
    let what = || format!("reading {}", args.session);
    if args.elsewhere.is_asked() {
        return tail_copied(args, context).await;
    }
    let sessions = sessions(context).await?;
    let mut names = Names::new(sessions.clone());
    let mut tail = sessions.tail(args.session, args.from).follow(args.follow);
    if let Some(agent) = args.agent.clone() {
        tail = tail.on_behalf_of(agent);
    }
    let mut stop = std::pin::pin!(interrupted());
    for _ in 0..args.max.unwrap_or(u64::MAX) {
        let record = tokio::select! {
            record = tail.next() => record,
            () = &mut stop => return Ok(()),
        };
        let Some(record) = record else {
            return Ok(());
        };
        let record = record.map_err(|error| match error {
            TailError::Request(error) => Failure::request(what(), &error, None),
            error => Failure::new(what(), &error).hint("check it with `npayload session verify`"),
        })?;
        print(args.session, &record.record, &mut names, context, false).await?;
    }
    Ok(())
}

/// Prints the records of a session, as far as they are known in the region that is asked; with
/// `--json` each page as it was told.
async fn tail_copied(args: TailArgs, context: &Context) -> Result<(), Failure> {
    let what = format!("reading {}", args.session);
    let mut history = SessionHistory::new(args.session, args.from);
    history.agent = args.agent;
    let mut left = args.max.unwrap_or(u64::MAX);
    while left > 0 {
        history.limit = u32::try_from(left.min(1_000)).unwrap_or(1_000);
        let ask = CopyAsk::SessionHistory(history.clone());
        let told = args.elsewhere.ask(ask, &what, context).await?;
        // A session lives in one region.
        let part = told.parts.first().and_then(|part| part.answer.as_ref());
        let Some(CopyAnswer::SessionHistory(page)) = part else {
            return Err(Failure::because(what, "another answer than was asked for"));
        };
        if context.json {
            output::print_json(&told)?;
        } else {
            let mut records = page.records.iter();
            records.try_for_each(|record| print_copied(&record.record))?;
        }
        if page.records.is_empty() {
            for (region, up_to) in told.as_of.parts() {
                eprintln!("as of offset {} in {region}", up_to.offset);
            }
            return Ok(());
        }
        history.from = page.next;
        left = left.saturating_sub(page.records.len() as u64);
    }
    Ok(())
}

/// Prints a record of a copy: agents by their identities.
///
/// # Errors
/// When it is none, or the output is closed.
pub(super) fn print_copied(record: &JsonText) -> Result<(), Failure> {
    let told: Told = record
        .read()
        .map_err(|error| Failure::new("a record of a session", &error))?;
    output::print(&line(&told, &HashMap::new()))
}

/// Prints what comes for an agent.
///
/// # Errors
/// When the broker refuses or is not there, or the output is closed.
pub async fn inbox(args: InboxArgs, context: &Context) -> Result<(), Failure> {
    let what = || format!("reading the inbox of {}", args.agent);
    let sessions = sessions(context).await?;
    let mut names = Names::new(sessions.clone());
    let inbox = sessions.inbox(args.agent.clone(), args.cursor);
    let mut inbox = inbox.follow(args.follow);
    let mut stop = std::pin::pin!(interrupted());
    for _ in 0..args.max.unwrap_or(u64::MAX) {
        let entry = tokio::select! {
            entry = inbox.next() => entry,
            () = &mut stop => break,
        };
        let Some(entry) = entry else {
            break;
        };
        let entry = entry.map_err(|error| Failure::request(what(), &error, None))?;
        if context.json {
            output::print_json(&entry)?;
        } else {
            print(entry.session_id, &entry.record, &mut names, context, true).await?;
        }
    }
    if let Some(cursor) = inbox.cursor().filter(|_| inbox.is_between_pages()) {
        eprintln!("go on with --cursor {}", shown(cursor));
    }
    Ok(())
}

async fn print(
    session: SessionId,
    record: &JsonText,
    names: &mut Names,
    context: &Context,
    with_session: bool,
) -> Result<(), Failure> {
    if context.json {
        return output::print(record.text());
    }
    let told: Told = record
        .read()
        .map_err(|error| Failure::new(format!("a record of {session}"), &error))?;
    names.learn(session, &told).await;
    let before = if with_session {
        format!("{session}  ")
    } else {
        String::new()
    };
    output::print(&format!("{before}{}", line(&told, &names.known)))
}

/// What a line tells of a record.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    at: Timestamp,
    sequence: u64,
    #[serde(rename = "type")]
    record_type: String,
    message: Option<ToldMessage>,
    payload: Option<JsonText>,
    agent: Option<AgentId>,
    state: Option<String>,
    topic: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToldMessage {
    id: MessageId,
    sender: AgentId,
    recipient: Option<AgentId>,
    performative: String,
    #[serde(rename = "type")]
    message_type: Option<String>,
    in_reply_to: Option<MessageId>,
}

/// Names of agents, asked for when one comes that is not known.
struct Names {
    sessions: Sessions,
    known: HashMap<AgentId, String>,
}

impl Names {
    fn new(sessions: Sessions) -> Self {
        Self {
            sessions,
            known: HashMap::new(),
        }
    }

    /// Asks for the participants where a record names one that is not known. Those whose names are
    /// not told are shown by their ids.
    async fn learn(&mut self, session: SessionId, told: &Told) {
        let message = told.message.as_ref();
        let named = message.map(|message| message.sender).into_iter();
        let named = named.chain(message.and_then(|message| message.recipient));
        let unknown: Vec<AgentId> = named
            .chain(told.agent)
            .filter(|agent| !self.known.contains_key(agent))
            .collect();
        if unknown.is_empty() {
            return;
        }
        if let Ok(row) = self.sessions.info(session).await {
            let rows = row.participants.into_iter();
            self.known
                .extend(rows.map(|one| (one.agent_id, one.name.to_string())));
        }
        for agent in unknown {
            self.known.entry(agent).or_insert_with(|| agent.to_string());
        }
    }
}

/// A record for a person. Whatever a sender could choose is shown without control characters.
fn line(told: &Told, names: &HashMap<AgentId, String>) -> String {
    let name = |agent: &AgentId| {
        names
            .get(agent)
            .map_or_else(|| agent.to_string(), Clone::clone)
    };
    let mut line = format!("{:>5}  {}  ", told.sequence, output::time(told.at));
    if let Some(message) = &told.message {
        line += &name(&message.sender);
        if let Some(recipient) = &message.recipient {
            line += &format!(" → {}", name(recipient));
        }
        line += &format!("  {}", shown(&message.performative));
        if let Some(message_type) = &message.message_type {
            line += &format!(" {}", shown(message_type));
        }
        line += &format!("  {}", message.id);
        if let Some(answered) = &message.in_reply_to {
            line += &format!(" to {answered}");
        }
        if let Some(payload) = &told.payload {
            line += &format!("  {}", shown(payload.text()));
        }
        return line;
    }
    line += &shown(told.record_type.trim_start_matches("session."));
    if let Some(agent) = &told.agent {
        line += &format!("  {}", name(agent));
    }
    for said in [&told.state, &told.topic].into_iter().flatten() {
        line += &format!("  {}", shown(said));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_said_what_and_nothing_of_a_sender_reaches_the_terminal_as_it_is() {
        let names = HashMap::from([(AgentId(1), "lead".to_owned())]);
        let told = |record: &str| {
            let told: Told = serde_json::from_str(record).unwrap();
            line(&told, &names)
        };
        let record = "{\"at\":0,\"message\":{\
             \"id\":\"msg_00000000-0000-0000-0000-000000000003\",\
             \"inReplyTo\":\"msg_00000000-0000-0000-0000-000000000002\",\
             \"performative\":\"PROPOSE\",\"recipient\":\"agt_00000000-0000-0000-0000-000000000002\",\
             \"sender\":\"agt_00000000-0000-0000-0000-000000000001\",\"type\":\"task.assign\"},\
             \"payload\":{\"x\":\"\u{9b}2J\"},\"sequence\":7,\"type\":\"session.messageSent\",\"v\":1}";
        assert_eq!(
            told(record),
            "    7  1970-01-01T00:00:00.000Z  lead → agt_00000000-0000-0000-0000-000000000002  \
             PROPOSE task.assign  msg_00000000-0000-0000-0000-000000000003 to \
             msg_00000000-0000-0000-0000-000000000002  {\"x\":\" 2J\"}"
        );
        let record = r#"{"agent":"agt_00000000-0000-0000-0000-000000000001","at":0,"sequence":8,
             "type":"session.participantLeft","v":1}"#;
        assert_eq!(
            told(record),
            "    8  1970-01-01T00:00:00.000Z  participantLeft  lead"
        );
    }
}
