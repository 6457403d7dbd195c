//! A commitment that a COMMIT of a session offers: what its payload says of it. docs/asp.md,
//! "Agreed commitments".

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::promise::{DEFAULT_WINDOW_MS, EscrowTerms, Obligation, Party, Penalties, Promise};
use crate::asp::Canonical;
use crate::asp::registry::AgentRef;
use crate::asp::tool::Plain;
use crate::types::{CommitmentId, MessageId, SessionId, Timestamp};

/// Stands before the bytes that the id of a commitment is made of, where its sender chose none.
pub const OFFER_DOMAIN: &[u8] = b"npayload/asp/commitment/1\n";

/// What a COMMIT offers, as its payload says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// The id that the sender chose for it.
    pub commitment: Option<CommitmentId>,
    /// To whom, where the payload says so; the message's recipient then.
    pub counterparty: Option<AgentRef>,
    deadline: Timestamp,
    description: String,
    escrow: Option<EscrowTerms>,
    obligations: Vec<Obligation>,
    penalties: Option<Penalties>,
    severity: Option<u8>,
    terms: Option<Plain>,
    window_ms: u64,
}

/// A payload that describes a commitment and says it wrongly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidOffer {
    /// A member is of another kind, or is not known within a member.
    #[error("the commitment that the payload describes: {0}")]
    Body(String),
    /// The deadline is a text, and says no time.
    #[error(
        "the commitment that the payload describes: deadline `{0}` is neither ms since 1970 nor a \
         time such as 2026-03-15T00:00:00Z"
    )]
    Deadline(String),
}

/// Milliseconds, or a text that says them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Moment {
    Ms(i64),
    Text(String),
}

/// The members of a payload that say something of a commitment; there may be others.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(default)]
    commitment_id: Option<CommitmentId>,
    #[serde(default)]
    counterparty: Option<AgentRef>,
    deadline: Moment,
    description: String,
    #[serde(default)]
    escrow: Option<EscrowTerms>,
    #[serde(default)]
    obligations: Vec<Obligation>,
    #[serde(default)]
    penalties: Option<Penalties>,
    #[serde(default)]
    severity: Option<u8>,
    #[serde(default)]
    terms: Option<Plain>,
    #[serde(default)]
    window_ms: Option<u64>,
}

/// Whether a payload describes a commitment at all.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    description: Option<&'a serde_json::value::RawValue>,
}

impl Offered {
    /// What the payload of a COMMIT without an application type offers; `None` where it describes
    /// no commitment and so changes the state of its session alone.
    ///
    /// # Errors
    /// [`InvalidOffer`] where it has a `description`, and a member is wrong. Limits are judged
    /// with the promise.
    pub fn of(payload: &Canonical) -> Result<Option<Self>, InvalidOffer> {
        let head = serde_json::from_str::<Head<'_>>(payload.as_str());
        let is_object = payload.as_str().starts_with('{');
        if !is_object || !head.is_ok_and(|head| head.description.is_some()) {
            return Ok(None);
        }
        let body: Body = serde_json::from_str(payload.as_str())
            .map_err(|error| InvalidOffer::Body(error.to_string()))?;
        let deadline = match body.deadline {
            Moment::Ms(ms) => Timestamp(ms),
            Moment::Text(text) => match text.parse::<jiff::Timestamp>() {
                Ok(at) => Timestamp(at.as_millisecond()),
                Err(_) => {
                    let shown = text.chars().take(64).flat_map(char::escape_debug);
                    return Err(InvalidOffer::Deadline(shown.collect()));
                }
            },
        };
        Ok(Some(Self {
            commitment: body.commitment_id,
            counterparty: body.counterparty,
            deadline,
            description: body.description,
            escrow: body.escrow,
            obligations: body.obligations,
            penalties: body.penalties,
            severity: body.severity,
            terms: body.terms,
            window_ms: body.window_ms.unwrap_or(DEFAULT_WINDOW_MS),
        }))
    }

    /// Until when it is to be delivered, and accepted.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// The money that is to stand behind it.
    #[must_use]
    pub fn escrow(&self) -> Option<EscrowTerms> {
        self.escrow
    }

    /// What is promised by that message.
    ///
    /// - `counterparty`: the message's recipient, who alone can accept it.
    #[must_use]
    pub fn promise(
        &self,
        session: SessionId,
        obligor: Party,
        counterparty: Option<Party>,
    ) -> Promise {
        Promise {
            counterparty,
            deadline: self.deadline,
            description: self.description.clone(),
            escrow: self.escrow,
            obligations: self.obligations.clone(),
            obligor,
            penalties: self.penalties,
            session,
            severity: self.severity,
            terms: self.terms.clone(),
            window_ms: self.window_ms,
        }
    }

    /// The id of the commitment that a message offers: its sender's, else one that follows from
    /// session and message, so that the message sent again names the same.
    #[must_use]
    pub fn id(&self, session: SessionId, message: MessageId) -> CommitmentId {
        let made = || {
            let mut hasher = Sha256::new();
            hasher.update(OFFER_DOMAIN);
            hasher.update(session.0.to_le_bytes());
            hasher.update(message.0.to_le_bytes());
            let mut low = [0; 16];
            low.copy_from_slice(&hasher.finalize()[..16]);
            let random = u128::from_le_bytes(low);
            // A UUID of version 7 with the message's time, that ends as the session's does.
            let time = message.0 >> 80 << 80;
            let (version, variant) = (7 << 76, 2 << 62);
            let bits = random & (0xfff << 64 | ((1 << 62) - 1)) & !u128::from(u16::MAX);
            let region = session.0 & u128::from(u16::MAX);
            CommitmentId(time | version | variant | bits | region)
        };
        self.commitment.unwrap_or_else(made)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::types::{AgentId, OrgId};

    const SESSION: SessionId = SessionId(5);
    const MESSAGE: MessageId = MessageId(9 << 80 | 7 << 76 | 2 << 62 | 3);

    fn of(payload: &Value) -> Result<Option<Offered>, InvalidOffer> {
        Offered::of(&Canonical::of(payload).unwrap())
    }

    fn full() -> Value {
        json!({
            "description": "Deliver a survey",
            "deadline": 1_773_532_800_000_u64,
            "commitmentId": "cmt_00000000-0009-7000-8000-000000000001",
            "counterparty": "agent://acme/buyer",
            "obligations": [{ "party": "writer", "action": "write" }],
            "penalties": { "nonDeliveryPercent": 40 },
            "escrow": { "amount": 50, "currency": "USD" },
            "severity": 2,
            "terms": { "b": 1, "a": [2] },
            "windowMs": 1000,
            "theirOwn": true,
        })
    }

    #[test]
    fn what_is_described_is_offered_and_nothing_else() {
        let offered = of(&full()).unwrap().unwrap();
        let (agent, org) = (AgentId(1), OrgId(1));
        let promise = offered.promise(SESSION, Party { agent, org }, None);
        assert_eq!(promise.description, "Deliver a survey");
        assert_eq!(promise.deadline, Timestamp(1_773_532_800_000));
        assert_eq!(promise.obligations.len(), 1);
        assert_eq!(promise.escrow.unwrap().amount, 50);
        assert_eq!(
            (promise.severity, promise.window_ms),
            (Some(2), 1000),
            "{promise:?}"
        );
        assert_eq!(promise.terms.unwrap().as_str(), r#"{"a":[2],"b":1}"#);
        assert!(promise.penalties.is_some());
        assert!(offered.counterparty.is_some());
        assert_eq!(offered.id(SESSION, MESSAGE), offered.commitment.unwrap());
        let unnamed = Offered {
            commitment: None,
            ..offered.clone()
        };
        let (first, other) = (unnamed.id(SESSION, MESSAGE), SessionId(6));
        assert!(first.is_version_7());
        assert_eq!(first.0 >> 80, 9, "the message's time");
        assert_eq!(first.0 & 0xffff, 5, "it ends as its session");
        assert_ne!(first.0 >> 16, unnamed.id(other, MESSAGE).0 >> 16);
        for nothing in [json!({ "terms": {}, "deadline": 1 }), json!([1]), json!(1)] {
            assert_eq!(of(&nothing), Ok(None), "{nothing}");
        }
    }

    #[test]
    fn a_deadline_is_ms_or_a_time_in_words_and_no_other_words() {
        let with = |deadline: Value| {
            let mut payload = full();
            payload["deadline"] = deadline;
            of(&payload)
        };
        let told = with(json!("2026-03-15T00:00:00Z")).unwrap().unwrap();
        assert_eq!(told.deadline(), Timestamp(1_773_532_800_000));
        let refused = with(json!("next week"));
        assert_eq!(refused, Err(InvalidOffer::Deadline("next week".to_owned())));
        assert!(matches!(with(json!(true)), Err(InvalidOffer::Body(_))));
    }

    #[test]
    fn a_wrong_member_of_what_is_described_is_refused() {
        for (member, wrong) in [
            ("description", json!(5)),
            ("commitmentId", json!("mine")),
            ("counterparty", json!(7)),
            ("escrow", json!({ "amount": 5 })),
            ("escrow", json!({ "amount": -5, "currency": "USD" })),
            ("obligations", json!([{ "action": "write" }])),
            ("penalties", json!({ "unheardOf": 1 })),
            ("severity", json!(300)),
            ("windowMs", json!("long")),
        ] {
            let mut payload = full();
            payload[member] = wrong;
            assert!(
                matches!(of(&payload), Err(InvalidOffer::Body(_))),
                "{payload}"
            );
        }
    }

    #[test]
    fn an_id_that_is_made_is_of_its_message_and_session_alone_and_a_uuid_of_version_7() {
        let offered = Offered {
            commitment: None,
            ..of(&full()).unwrap().unwrap()
        };
        let id = offered.id(SESSION, MESSAGE);
        assert_eq!(id, offered.id(SESSION, MESSAGE));
        assert_ne!(id, offered.id(SessionId(6), MESSAGE));
        assert_ne!(id, offered.id(SESSION, MessageId(MESSAGE.0 + 1)));
        assert_eq!((id.0 >> 76 & 0xf, id.0 >> 62 & 3, id.0 >> 80), (7, 2, 9));
    }
}
