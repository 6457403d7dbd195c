//! `npayload session send` and `close`: what an agent says.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::failure::Failure;
use super::session::{age, sessions};
use super::typed::{self, performatives, trust_score};
use super::{Context, output, signing_key};
use crate::asp::TrustScore;
use crate::asp::registry::AgentRef;
use crate::asp::session::{Constraints, Performative};
use crate::client::NewMessage;
use crate::types::{MessageId, SessionId};

/// A message to send.
#[derive(Clone, Debug, Args)]
pub struct SendArgs {
    /// The session: ses_…
    session: SessionId,
    /// Who speaks
    #[arg(long, value_name = "AGENT")]
    from: AgentRef,
    /// Who should act
    #[arg(long, value_name = "AGENT")]
    to: Option<AgentRef>,
    /// The application's own type, dotted, such as task.assign
    #[arg(long = "type", value_name = "TYPE")]
    message_type: Option<String>,
    /// What kind of message; as the type says, else INFORM, unless given
    #[arg(long, value_name = "PERFORMATIVE", ignore_case = true, value_parser = performatives())]
    say: Option<Performative>,
    /// The message that it answers: msg_…
    #[arg(long, value_name = "MESSAGE")]
    reply_to: Option<MessageId>,
    /// Performatives that an answer may have, with commas between them
    #[arg(
        long, value_name = "PERFORMATIVES", value_delimiter = ',', ignore_case = true,
        value_parser = performatives()
    )]
    allow: Vec<Performative>,
    /// Time to answer: 30s, 10m
    #[arg(long, value_name = "AGE", value_parser = age)]
    within: Option<u64>,
    /// Least trust of who answers, 0 to 1
    #[arg(long, value_name = "SCORE", value_parser = trust_score)]
    require_trust: Option<TrustScore>,
    /// Its id: msg_ and a UUID of version 7; a new one unless given. The same message with the same
    /// id is taken once
    #[arg(long, value_name = "MESSAGE")]
    id: Option<MessageId>,
    #[command(flatten)]
    signing: SigningArgs,
    /// The content: JSON, @FILE, or - for stdin
    payload: Option<String>,
}

/// How a message is signed.
#[derive(Clone, Debug, Args)]
pub struct SigningArgs {
    /// File with the secret key of the agent that speaks; needed where it has a public key
    #[arg(
        long,
        value_name = "FILE",
        env = "NPAYLOAD_SIGNING_KEY_FILE",
        hide_env_values = true
    )]
    signing_key_file: Option<PathBuf>,
}

impl SigningArgs {
    fn file(&self) -> Option<&Path> {
        let file = self.signing_key_file.as_deref();
        // An empty variable is the usual way to take a setting back.
        file.filter(|file| !file.as_os_str().is_empty())
    }
}

/// A session to close.
#[derive(Clone, Debug, Args)]
pub struct CloseArgs {
    /// The session: ses_…
    session: SessionId,
    /// The coordinator who ends it
    #[arg(long, value_name = "AGENT")]
    from: AgentRef,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// With what
    #[arg(long, value_name = "TEXT")]
    outcome: Option<String>,
    #[command(flatten)]
    signing: SigningArgs,
}

/// Says something.
///
/// # Errors
/// When the payload is no JSON, and when the broker refuses or is not there.
pub async fn send(args: SendArgs, context: &Context) -> Result<(), Failure> {
    let message = NewMessage {
        id: args.id,
        from: args.from,
        to: args.to,
        performative: args.say,
        message_type: args.message_type,
        payload: typed::json_or_none("the payload", args.payload.as_deref())?,
        in_reply_to: args.reply_to,
        constraints: Constraints {
            allowed_performatives: args.allow,
            max_response_time_ms: args.within,
            required_trust: args.require_trust,
        },
    };
    say(args.session, message, &args.signing, context).await
}

/// Ends a session.
///
/// # Errors
/// When the broker refuses or is not there.
pub async fn close(args: CloseArgs, context: &Context) -> Result<(), Failure> {
    let mut body = serde_json::Map::new();
    for (name, value) in [("reason", args.reason), ("outcome", args.outcome)] {
        body.extend(value.map(|value| (name.to_owned(), json!(value))));
    }
    let message = NewMessage::new(args.from).said(Performative::Close);
    let message = message
        .content(&body)
        .map_err(|error| Failure::new("writing JSON", &error))?;
    say(args.session, message, &args.signing, context).await
}

async fn say(
    session: SessionId,
    message: NewMessage,
    signing: &SigningArgs,
    context: &Context,
) -> Result<(), Failure> {
    let key = signing.file().map(signing_key::read).transpose()?;
    let mut sessions = sessions(context).await?;
    if let Some(key) = key {
        sessions = sessions.signing_with(key);
    }
    let sent = sessions.send(session, message).await;
    let sent =
        sent.map_err(|error| Failure::request(format!("sending to {session}"), &error, None))?;
    if context.json {
        return output::print_json(&sent);
    }
    // The id alone on stdout, so that a script can answer it.
    output::print(&sent.id.to_string())?;
    let again = if sent.duplicate { ", as before" } else { "" };
    eprintln!(
        "record {} of {session}{again}; {}",
        sent.sequence, sent.state
    );
    Ok(())
}
