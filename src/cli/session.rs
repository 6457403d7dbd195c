//! `npayload session`: what agents say to each other.

use clap::{Args, Subcommand};

use super::elsewhere::Elsewhere;
use super::failure::Failure;
use super::output::{self, Columns};
use super::place::{Moment, age_ms};
use super::session_message::{self, CloseArgs, SendArgs};
use super::session_tail::{self, InboxArgs, TailArgs};
use super::typed::{self, role, role_name, shown, states};
use super::{Context, session_verify};
use crate::asp::registry::AgentRef;
use crate::asp::session::State;
use crate::client::{RequestError, Sessions};
use crate::protocol::asp::{
    CopyAsk, Joining, SessionCreate, SessionInfo, SessionLimits, SessionList, SessionRow,
};
use crate::types::SessionId;

/// What to do with sessions. Wherever an agent is asked for, its id (agt_…), its name, or
/// agent://ORG/NAME will do.
#[derive(Clone, Debug, Subcommand)]
pub enum SessionCommand {
    /// Begin a session; prints its id
    #[command(after_help = "Examples:
  npayload session create 'market analysis' --participant coordinator-agent:coordinator \\
      --participant research-agent:specialist --participant writer-agent:specialist
  npayload session create audit --participant lead:coordinator \\
      --participant agent://acme/auditor:observer --ttl 2h --invitation 5m")]
    Create(Box<CreateArgs>),
    /// List sessions: the live ones, newest first, then those that ended
    #[command(
        alias = "ls",
        after_help = "Examples:
  npayload session list --agent research-agent
  npayload session list --state ESCALATED
  npayload session list --since 7d --max 20"
    )]
    List(ListArgs),
    /// Describe a session
    Show {
        /// The session: ses_…
        session: SessionId,
        #[command(flatten)]
        elsewhere: Elsewhere,
    },
    /// Say something in a session
    #[command(after_help = "Examples:
  npayload session send ses_… --from coordinator-agent --type task.assign '{\"task\":\"research\"}'
  npayload session send ses_… --from writer-agent --type task.accept --reply-to msg_…
  npayload session send ses_… --from research-agent --type task.result @result.json
  npayload session send ses_… --from lead --say PROPOSE --allow ACCEPT,REJECT --within 10m - < offer.json")]
    Send(Box<SendArgs>),
    /// Print what was said, and what is being said
    #[command(after_help = "Examples:
  npayload session tail ses_…
  npayload session tail ses_… --from 12 --follow
  npayload session tail ses_… --json | jq .message.performative")]
    Tail(TailArgs),
    /// Recompute all digests, signatures and hashes of a session from its records
    ///
    /// Ends with exit code 1 and the name of the first message that does not fit.
    Verify {
        /// The session: ses_…
        session: SessionId,
        /// The participant on whose behalf it is read; needed for sessions of other organisations
        #[arg(long)]
        agent: Option<AgentRef>,
    },
    /// End a session, for a coordinator to say; it can only be read from then on
    Close(CloseArgs),
    /// Take an agent out of a session
    Leave {
        /// The session: ses_…
        session: SessionId,
        /// Who leaves
        agent: AgentRef,
    },
    /// Let a session go on that waits for a human
    Resume {
        /// The session: ses_…
        session: SessionId,
    },
    /// Print what comes for an agent, in all its sessions
    #[command(after_help = "Examples:
  npayload session inbox research-agent
  npayload session inbox research-agent --follow --json")]
    Inbox(InboxArgs),
}

/// A session to begin.
#[derive(Clone, Debug, Args)]
pub struct CreateArgs {
    /// What it is about
    topic: String,
    /// Who takes part, and as what: coordinator, specialist or observer; given at least twice
    #[arg(long = "participant", value_name = "AGENT:ROLE", required = true, value_parser = joining)]
    participants: Vec<Joining>,
    /// Time until it expires: 90m, 2h, 7d; an hour unless given
    #[arg(long, value_name = "AGE", value_parser = age)]
    ttl: Option<u64>,
    /// Time to answer an invitation: 30s, 5m; 30 s unless given
    #[arg(long, value_name = "AGE", value_parser = age)]
    invitation: Option<u64>,
    /// Most messages
    #[arg(long, value_name = "N")]
    max_messages: Option<u64>,
    /// Largest payload
    #[arg(long, value_name = "N")]
    max_payload_bytes: Option<u64>,
    /// Most participants
    #[arg(long, value_name = "N")]
    max_participants: Option<u64>,
    /// Anything else: a JSON object, @FILE, or - for stdin
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
}

/// Which sessions to list.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// Those of this agent
    #[arg(long)]
    agent: Option<AgentRef>,
    /// Those in this state; may be given more than once
    #[arg(long = "state", value_name = "STATE", ignore_case = true, value_parser = states())]
    states: Vec<State>,
    /// Those still open then: a time such as 2027-01-31T08:00:00Z, or an age such as 7d
    #[arg(long, value_name = "WHEN")]
    since: Option<Moment>,
    /// Those open before then: a time, or an age
    #[arg(long, value_name = "WHEN")]
    until: Option<Moment>,
    /// Sessions at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    max: u64,
}

fn joining(text: &str) -> Result<Joining, String> {
    let (agent, as_role) = text
        .rsplit_once(':')
        .ok_or("a participant is AGENT:ROLE, such as writer-agent:specialist")?;
    let role = role(as_role)?;
    let agent: AgentRef = agent.parse().map_err(|error| format!("{error}"))?;
    Ok(Joining::new(agent, role))
}

/// Milliseconds of an age.
pub(super) fn age(text: &str) -> Result<u64, String> {
    let ms = age_ms(text)?;
    u64::try_from(ms).map_err(|error| error.to_string())
}

/// Carries the command out.
///
/// # Errors
/// When the broker refuses or is not there, and when a session does not verify.
pub async fn run(command: SessionCommand, context: &Context) -> Result<(), Failure> {
    match command {
        SessionCommand::Create(args) => create(*args, context).await,
        SessionCommand::List(args) => list(args, context).await,
        SessionCommand::Show { session, elsewhere } if elsewhere.is_asked() => {
            let what = format!("describing {session}");
            let session_id = session;
            let ask = CopyAsk::SessionInfo(SessionInfo { session_id });
            elsewhere.tell(ask, &what, context).await
        }
        SessionCommand::Show { session, .. } => {
            let row = sessions(context).await?.info(session).await;
            let row = row
                .map_err(|error| Failure::request(format!("describing {session}"), &error, None))?;
            show(&row, context)
        }
        SessionCommand::Send(args) => session_message::send(*args, context).await,
        SessionCommand::Close(args) => session_message::close(args, context).await,
        SessionCommand::Tail(args) => session_tail::tail(args, context).await,
        SessionCommand::Inbox(args) => session_tail::inbox(args, context).await,
        SessionCommand::Verify { session, agent } => {
            session_verify::run(session, agent, context).await
        }
        SessionCommand::Leave { session, agent } => {
            let row = sessions(context).await?.leave(session, agent.clone()).await;
            changed(&format!("taking {agent} out of {session}"), row, context)
        }
        SessionCommand::Resume { session } => {
            let row = sessions(context).await?.resume(session).await;
            changed(&format!("letting {session} go on"), row, context)
        }
    }
}

/// The requests about sessions, over a connection.
///
/// # Errors
/// When there is none.
pub(super) async fn sessions(context: &Context) -> Result<Sessions, Failure> {
    Ok(context.client().await?.sessions())
}

async fn create(args: CreateArgs, context: &Context) -> Result<(), Failure> {
    let request = SessionCreate {
        topic: args.topic,
        participants: args.participants,
        ttl_ms: args.ttl,
        invitation_ms: args.invitation,
        limits: SessionLimits {
            max_messages: args.max_messages,
            max_payload_bytes: args.max_payload_bytes,
            max_participants: args.max_participants,
        },
        metadata: typed::object("--metadata", args.metadata.as_deref())?,
    };
    let row = sessions(context).await?.create(request).await;
    let row = row.map_err(|error| Failure::request("creating a session", &error, None))?;
    if context.json {
        return output::print_json(&row);
    }
    // The id alone, so that a script can keep it.
    output::print(&row.session_id.to_string())?;
    eprintln!(
        "{}; say something with: npayload session send {} --from AGENT",
        row.state, row.session_id
    );
    Ok(())
}

fn changed(
    what: &str,
    row: Result<SessionRow, RequestError>,
    context: &Context,
) -> Result<(), Failure> {
    let row = row.map_err(|error| Failure::request(what, &error, None))?;
    if context.json {
        return output::print_json(&row);
    }
    output::print(&format!("{}: {}", row.session_id, row.state))
}

async fn list(args: ListArgs, context: &Context) -> Result<(), Failure> {
    let now = context.now();
    let query = SessionList {
        agent: args.agent,
        states: args.states,
        since: args.since.map(|moment| moment.before(now)),
        until: args.until.map(|moment| moment.before(now)),
        limit: u32::try_from(args.max.clamp(1, 1000)).unwrap_or(1000),
        cursor: None,
    };
    let mut found = sessions(context).await?.list(query);
    let headings = ["SESSION", "STATE", "CREATED", ">RECORDS", "AGENTS", "TOPIC"];
    let mut columns = Columns::new(&headings);
    for _ in 0..args.max {
        let Some(row) = found.next().await else {
            break;
        };
        let row = row.map_err(|error| Failure::request("listing sessions", &error, None))?;
        if context.json {
            output::print_json(&row)?;
            continue;
        }
        let names: Vec<&str> = row
            .participants
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        columns.row([
            row.session_id.to_string(),
            row.state.to_string(),
            output::time(row.created_at),
            output::count(row.sequence),
            names.join(", "),
            shown(&row.topic),
        ]);
    }
    if context.json {
        return Ok(());
    }
    columns.print("no sessions; begin one with `npayload session create`")
}

/// Prints a session.
///
/// # Errors
/// When the output is closed.
pub(super) fn show(row: &SessionRow, context: &Context) -> Result<(), Failure> {
    if context.json {
        return output::print_json(row);
    }
    let or_nothing = |text: Option<String>| text.unwrap_or_default();
    let limit = |name: &str, limit: Option<u64>| {
        limit.map(|most| format!("{name} {}", output::count(most)))
    };
    let limits: Vec<String> = [
        limit("messages", row.limits.max_messages),
        limit("payload bytes", row.limits.max_payload_bytes),
        limit("participants", row.limits.max_participants),
    ]
    .into_iter()
    .flatten()
    .collect();
    let metadata = if row.metadata.is_empty() {
        String::new()
    } else {
        let text = serde_json::to_string(&row.metadata);
        text.map_err(|error| Failure::new("writing JSON", &error))?
    };
    let mut fields = vec![
        ("session", row.session_id.to_string()),
        ("organisation", row.org.to_string()),
        ("topic", shown(&row.topic)),
        ("state", row.state.to_string()),
        ("records", output::count(row.sequence)),
        ("hash", row.hash.to_string()),
        ("created", output::time(row.created_at)),
        ("expires", or_nothing(row.expires_at.map(output::time))),
        ("ended", or_nothing(row.ended_at.map(output::time))),
        ("at most", limits.join(", ")),
        ("metadata", shown(&metadata)),
    ];
    fields.retain(|(_, value)| !value.is_empty());
    output::print(&output::fields(&fields))?;
    output::print("")?;
    let mut columns = Columns::new(&["AGENT", "NAME", "ORG", "ROLE", "STANDING", ">MESSAGES"]);
    for participant in &row.participants {
        columns.row([
            participant.agent_id.to_string(),
            participant.name.to_string(),
            participant.org.to_string(),
            role_name(participant.role).to_owned(),
            shown(participant.standing.as_deref().unwrap_or_default()),
            or_nothing(participant.messages.map(output::count)),
        ]);
    }
    columns.print("nobody takes part")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asp::session::Role;

    #[test]
    fn a_participant_is_an_agent_in_any_form_and_a_role() {
        for (text, agent, role) in [
            ("lead:coordinator", "lead", Role::Coordinator),
            (
                "agent://acme/x/y:observer",
                "agent://acme/y",
                Role::Observer,
            ),
            (
                "agt_01990000-0000-7000-8000-0000000000ff:specialist",
                "agt_01990000-0000-7000-8000-0000000000ff",
                Role::Specialist,
            ),
        ] {
            let joining = joining(text).unwrap();
            assert_eq!(
                (joining.agent_id.to_string().as_str(), joining.role),
                (agent, role)
            );
        }
        for bad in [
            "lead",
            "lead:",
            "lead:boss",
            ":observer",
            "agent://acme/x",
            "a b:observer",
        ] {
            assert!(joining(bad).is_err(), "{bad}");
        }
    }
}
