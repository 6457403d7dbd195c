//! `npayload session verify`: a session judged from its records alone.

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::session::sessions;
use super::{Context, output};
use crate::asp::chain::Digest;
use crate::asp::registry::AgentRef;
use crate::asp::session::{ChainFault, State, Verifier};
use crate::client::TailError;
use crate::protocol::asp::HistoryRecord;
use crate::types::SessionId;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verified<'a> {
    ok: bool,
    session_id: SessionId,
    records: u64,
    messages: u64,
    signed: u64,
    erased: &'a [u64],
    hash: Digest,
    state: Option<State>,
}

/// Fetches all records of a session and recomputes what they say of themselves.
///
/// # Errors
/// When a record does not fit: the first such, with its message. Also when the broker refuses or is
/// not there.
pub async fn run(
    session: SessionId,
    agent: Option<AgentRef>,
    context: &Context,
) -> Result<(), Failure> {
    let what = || format!("verifying {session}");
    let sessions = sessions(context).await?;
    let mut tail = sessions.tail(session, 0);
    if let Some(agent) = agent {
        tail = tail.on_behalf_of(agent);
    }
    let mut verifier = Verifier::default();
    while let Some(record) = tail.next().await {
        let record = record.map_err(|error| match error {
            TailError::Request(error) => Failure::request(what(), &error, None),
            error => Failure::new(what(), &error),
        })?;
        judge(&mut verifier, &record).map_err(|fault| broken(session, &fault))?;
    }
    // What the broker says of the session as a whole is what its records lead to.
    let row = sessions.info(session).await;
    let row = row.map_err(|error| Failure::request(what(), &error, None))?;
    let (records, hash) = (verifier.records(), verifier.hash());
    let is_short = row.sequence < records || row.sequence == records && row.hash != hash;
    if is_short || verifier.session() != Some(session) {
        let why = format!(
            "its {records} records end with {hash}, and the broker tells of {} that end with {}",
            row.sequence, row.hash
        );
        return Err(Failure::because(what(), why));
    }
    if context.json {
        return output::print_json(&Verified {
            ok: true,
            session_id: session,
            records,
            messages: verifier.messages(),
            signed: verifier.signed(),
            erased: verifier.erased(),
            hash,
            state: verifier.state(),
        });
    }
    let state = verifier.state();
    output::print(&output::fields(&[
        ("session", session.to_string()),
        ("records", output::count(records)),
        ("messages", output::count(verifier.messages())),
        ("signed", output::count(verifier.signed())),
        ("erased", output::count(verifier.erased().len() as u64)),
        ("chain", "whole".to_owned()),
        ("hash", hash.to_string()),
        (
            "state",
            state.map_or_else(String::new, |state| state.to_string()),
        ),
    ]))
}

fn judge(verifier: &mut Verifier, record: &HistoryRecord) -> Result<(), ChainFault> {
    /// The type of a record, which the topic has beside its bytes.
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "type")]
        record_type: String,
    }
    // One that has none is told from the others by the verifier.
    let typed: Option<Typed> = record.record.read().ok();
    let record_type = typed.map_or_else(String::new, |typed| typed.record_type);
    verifier.record(
        Some(record.offset),
        &record_type,
        record.record.text().as_bytes(),
    )
}

fn broken(session: SessionId, fault: &ChainFault) -> Failure {
    let what = match fault.message {
        Some(message) => format!("{session} is broken at {message}"),
        None => format!("{session} is broken"),
    };
    Failure::new(what, fault).hint("what stands before it is as it was written")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asp::session::Misfit;
    use crate::protocol::asp::JsonText;
    use crate::types::{MessageId, Offset};

    #[test]
    fn the_first_message_that_does_not_fit_is_named() {
        let fault = ChainFault {
            sequence: 7,
            message: Some(MessageId(9)),
            what: Box::new(Misfit::Spelling),
        };
        let failure = broken(SessionId(1), &fault);
        assert_eq!(
            failure.to_string(),
            "ses_00000000-0000-0000-0000-000000000001 is broken at \
             msg_00000000-0000-0000-0000-000000000009: record 7 of the session does not fit: \
             its bytes are not its canonical form; what stands before it is as it was written"
        );
        assert_eq!(failure.exit_code(), 1);
        let record = HistoryRecord {
            offset: Offset(0),
            record: JsonText::parse(r#"{"sequence":0}"#).unwrap(),
        };
        assert!(judge(&mut Verifier::default(), &record).is_err());
    }
}
