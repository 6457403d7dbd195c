//! Signs messages on behalf of the agent whose key this is.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::sessions::Sessions;
use crate::asp::Canonical;
use crate::asp::chain::{SigningKey, message_digest, payload_digest};
use crate::asp::registry::AgentRef;
use crate::asp::session::{Message, default_performative};
use crate::client::error::RequestError;
use crate::protocol::asp::{ParticipantRow, SessionSend};
use crate::types::{AgentId, DEFAULT_ORG_NAME, SessionId};

/// Sessions whose participants are remembered; past that it begins anew.
const MAX_SESSIONS: usize = 1024;

/// A key, and the participants of sessions, whose identities a signature covers.
#[derive(Debug)]
pub(super) struct Signing {
    key: SigningKey,
    known: Mutex<HashMap<SessionId, Vec<ParticipantRow>>>,
}

impl Signing {
    pub(super) fn new(key: SigningKey) -> Self {
        Self {
            key,
            known: Mutex::default(),
        }
    }

    /// Signs a message. One that the broker will refuse whoever has signed it, because its payload
    /// has no canonical form or an agent takes no part, is left as it is, for the broker to say so.
    pub(super) async fn sign(
        &self,
        sessions: &Sessions,
        send: &mut SessionSend,
    ) -> Result<(), RequestError> {
        let payload = send.payload.as_ref();
        let Ok(payload) = payload
            .map(|text| Canonical::parse(text.text()))
            .transpose()
        else {
            return Ok(());
        };
        let payload = payload.filter(|payload| !payload.is_null());
        let Some(sender) = self.find(sessions, send.session_id, &send.from).await? else {
            return Ok(());
        };
        let recipient = match &send.to {
            None => None,
            Some(to) => match self.find(sessions, send.session_id, to).await? {
                Some(agent) => Some(agent),
                None => return Ok(()),
            },
        };
        let performative = send
            .performative
            .unwrap_or_else(|| default_performative(send.message_type.as_deref()));
        let message = Message {
            id: send.id,
            session: send.session_id,
            sender,
            recipient,
            performative,
            message_type: send.message_type.clone(),
            payload: payload_digest(payload.as_ref()),
            in_reply_to: send.in_reply_to,
            constraints: send.constraints.clone(),
        };
        let digest = message_digest(&message.canonical());
        send.performative = Some(performative);
        send.signature = Some(self.key.sign(&digest).to_string());
        Ok(())
    }

    /// The participant that is meant; asks the broker for one that is not known.
    async fn find(
        &self,
        sessions: &Sessions,
        session: SessionId,
        agent: &AgentRef,
    ) -> Result<Option<AgentId>, RequestError> {
        if let AgentRef::Id(id) = agent {
            return Ok(Some(*id));
        }
        let own = sessions.client().hello().await?.principal;
        let own = own.map_or_else(|| DEFAULT_ORG_NAME.to_owned(), |own| own.org.to_string());
        let among = |rows: &[ParticipantRow]| {
            let mut rows = rows.iter();
            let found = rows.find(|row| match agent {
                AgentRef::Id(id) => row.agent_id == *id,
                AgentRef::Name(name) => row.name == *name && row.org.as_str() == own,
                AgentRef::Uri { org, name } => row.name == *name && row.org == *org,
            });
            found.map(|row| row.agent_id)
        };
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = known().get(&session).and_then(|rows| among(rows)) {
            return Ok(Some(id));
        }
        let rows = sessions.info(session).await?.participants;
        let found = among(&rows);
        let mut known = known();
        if known.len() >= MAX_SESSIONS {
            known.clear();
        }
        known.insert(session, rows);
        Ok(found)
    }
}
