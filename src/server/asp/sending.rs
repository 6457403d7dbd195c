//! Messages: their form, canonical payload, digest and signature are judged on the connection's own
//! time; the broker's lock is held for what remains.

use super::super::access::Caller;
use super::super::answer;
use super::super::auditing::Draft;
use super::super::clock;
use super::super::dispatch::{Command, Handled};
use super::super::shared::Shared;
use super::reader::Reader;
use super::{Looked, filed};
use crate::asp::Canonical;
use crate::asp::chain::Signature;
use crate::asp::commitment::CommitmentError;
use crate::asp::registry::AgentRef;
use crate::asp::session::{Message, Performative, Role, Send, default_performative};
use crate::broker::asp::{AspError, Invited, SentMessage};
use crate::broker::{Accepted, Broker, BrokerError, Refusal};
use crate::protocol::asp::{SessionSend, SessionSent};
use crate::protocol::{AspRequest, AspResponse, Request, Response};
use crate::types::Offset;

/// A message that may have to wait for buffers.
#[derive(Debug)]
pub(in crate::server) struct Prepared {
    send: Send,
    brings: Option<Invited>,
    /// The latest record that files commitments in which the id was looked for that it chooses.
    looked: Option<Offset>,
}

/// Judges a message as far as that goes without the lock, then has it taken.
pub(in crate::server) fn prepare(shared: &Shared, caller: &Caller, send: SessionSend) -> Handled {
    let (session, from) = (send.session_id, send.from.clone());
    let again = (send.performative == Some(Performative::Commit)).then(|| send.clone());
    match judged(shared, caller, send) {
        Ok(prepared) => {
            if let Some(again) = again.filter(|_| prepared.may_be_filed(shared, caller)) {
                // What is filed is read from the disk.
                let request = AspRequest::SessionSend(again);
                return Handled::Read(Request::Asp(Box::new(request)));
            }
            super::super::dispatch::carry_out(
                &mut shared.broker(),
                shared,
                caller,
                Command::Send(Box::new(prepared)),
            )
        }
        Err(error) => {
            let error = answer::refused(&error);
            // Who is refused an agent is on the record.
            Draft::of_message(session, &from).refused(&mut shared.broker(), caller, &error);
            shared.wake_committer();
            Handled::Answer(Box::new(Response::Error(error)), None)
        }
    }
}

fn judged(shared: &Shared, caller: &Caller, send: SessionSend) -> Result<Prepared, BrokerError> {
    let by = &caller.principal;
    let payload = send
        .payload
        .as_ref()
        .map(|text| Canonical::parse(text.text()));
    let payload = payload.transpose().map_err(AspError::from)?;
    let signature = send.signature.as_deref().map(str::parse::<Signature>);
    let signature = signature.transpose().map_err(AspError::from)?;
    let message_type = send.message_type.as_deref();
    let performative = send
        .performative
        .unwrap_or_else(|| default_performative(message_type));
    let brings = brought(performative, payload.as_ref())?;
    let addressed = shared.broker().address(
        by,
        send.session_id,
        &send.from,
        send.to.as_ref(),
        clock::now(),
    )?;
    let message = Message {
        id: send.id,
        session: send.session_id,
        sender: addressed.sender,
        recipient: addressed.recipient,
        performative,
        message_type: send.message_type,
        payload: crate::asp::chain::Digest::ZERO,
        in_reply_to: send.in_reply_to,
        constraints: send.constraints,
    };
    let send = Send::new(message, payload, by.id).map_err(AspError::from)?;
    let send = send
        .signed(signature, addressed.key)
        .map_err(AspError::from)?;
    Ok(Prepared {
        send,
        brings,
        looked: None,
    })
}

/// Has a message taken that gives an id to what it offers, which may be filed: on a thread that
/// may wait for the disk.
pub(super) fn look(
    shared: &Shared,
    caller: &Caller,
    send: &SessionSend,
) -> Result<Looked, Refusal> {
    let mut prepared = judged(shared, caller, send.clone())?;
    loop {
        // A guard that lives as long as the match would keep the lock.
        let taken = prepared.take(&mut shared.broker(), caller);
        let refusal = match taken {
            Ok(Accepted { value, wait }) => return Ok(Looked::answer(value, wait)),
            Err(refusal) => refusal,
        };
        let BrokerError::Asp(error) = &refusal.error else {
            return Err(refusal);
        };
        let (AspError::LookFirst { channel, files }, Some(commitment)) =
            (&**error, prepared.send.commitment())
        else {
            return Err(refusal);
        };
        let mut reader = Reader::new(shared, channel.clone());
        if filed::find(&mut reader, files, |filed| filed.commitment(commitment))?.is_some() {
            let member = "message";
            let taken = CommitmentError::IdTaken { commitment, member };
            return Err(AspError::from(taken).into());
        }
        prepared.looked = files.first().copied();
    }
}

/// Whom a DELEGATE names to be brought in: a specialist, unless it says otherwise.
fn brought(
    performative: Performative,
    payload: Option<&Canonical>,
) -> Result<Option<Invited>, BrokerError> {
    if performative != Performative::Delegate {
        return Ok(None);
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        target_agent: AgentRef,
        role: Option<Role>,
    }
    let body = payload.map(|payload| serde_json::from_str::<Body>(payload.as_str()));
    match body {
        Some(Ok(body)) => Ok(Some(Invited {
            agent: body.target_agent,
            role: body.role.unwrap_or(Role::Specialist),
        })),
        Some(Err(error)) => Err(AspError::Delegate(error.to_string().into()).into()),
        // The body is refused with its other rules.
        None => Ok(None),
    }
}

impl Prepared {
    /// Whether it gives an id to what it offers that may be filed.
    fn may_be_filed(&self, shared: &Shared, caller: &Caller) -> bool {
        let chosen = self.send.offered().and_then(|offered| offered.commitment);
        let session = self.send.message().session;
        chosen.is_some_and(|id| {
            let broker = shared.broker();
            broker.may_be_filed(&caller.principal, session, id, clock::now())
        })
    }

    /// Has the message taken.
    ///
    /// # Errors
    /// The refusal; a busy broker is asked again.
    pub fn take(
        &self,
        broker: &mut Broker,
        caller: &Caller,
    ) -> Result<Accepted<AspResponse>, Refusal> {
        let now = clock::now();
        let brings = self.brings.as_ref();
        let accepted =
            broker.send_message(&caller.principal, &self.send, brings, self.looked, now)?;
        let message = self.send.message();
        let SentMessage {
            sequence,
            sender_sequence,
            at,
            digest,
            hash,
            state,
            is_duplicate,
            commitment,
        } = accepted.value;
        let sent = SessionSent {
            id: message.id,
            session_id: message.session,
            sequence,
            sender_sequence,
            at,
            digest,
            hash,
            state,
            duplicate: is_duplicate,
            commitment_id: commitment,
        };
        Ok(Accepted {
            value: AspResponse::SessionSend(sent),
            wait: accepted.wait,
        })
    }
}
