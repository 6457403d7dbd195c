//! What is promised: who to whom, what, until when, and what it costs not to keep it.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::OutOfLimit;
use crate::asp::chain::Digest;
use crate::asp::escrow::{Currency, Percent};
use crate::asp::tool::Plain;
use crate::asp::{Canonical, MAX_INTEGER};
use crate::types::{AgentId, OrgId, SessionId, Timestamp};

/// Stands before the bytes of a promise that are hashed.
pub const TERMS_DOMAIN: &[u8] = b"npayload/asp/terms/1\n";
/// Longest description, in bytes.
pub const MAX_DESCRIPTION_BYTES: usize = 4096;
/// Most obligations of a promise.
pub const MAX_OBLIGATIONS: usize = 32;
/// Longest action of an obligation, in bytes.
pub const MAX_ACTION_BYTES: usize = 1024;
/// Longest party or verification method of an obligation, in bytes.
pub const MAX_WORD_BYTES: usize = 256;
/// Most bytes of the terms, in canonical form.
pub const MAX_TERMS_BYTES: usize = 64 * 1024;
/// Time for judging a delivery unless the promise says otherwise, in ms: 24 hours.
pub const DEFAULT_WINDOW_MS: u64 = 24 * 3_600_000;
/// Longest time for judging a delivery, in ms: 30 days.
pub const MAX_WINDOW_MS: u64 = 30 * 24 * 3_600_000;
/// Greatest severity; the least is 1.
pub const MAX_SEVERITY: u8 = 5;

/// An agent, with its organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Party {
    /// The agent.
    pub agent: AgentId,
    /// Its organisation.
    pub org: OrgId,
}

/// One thing to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Obligation {
    /// What.
    pub action: String,
    /// Until when; not behind the commitment's own deadline, which alone is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// By whom, in the words of the parties.
    pub party: String,
    /// How it is found out whether it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_method: Option<String>,
}

/// What it costs not to keep a promise, in parts of its escrow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Penalties {
    /// For each day that has begun behind the deadline until a late delivery. With it, escrow
    /// stays held for a late delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_fulfillment_percent_per_day: Option<Percent>,
    /// For no delivery at all; all of it unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub non_delivery_percent: Option<Percent>,
}

/// Money that stands behind a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EscrowTerms {
    /// In the smallest unit of the currency; at least 1.
    pub amount: u64,
    /// The currency.
    pub currency: Currency,
}

/// All that the parties bind themselves to. Its hash is that of its canonical form, so that
/// nobody can say later that something else was agreed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Promise {
    /// To whom; none where it is to the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterparty: Option<Party>,
    /// Until when. One that has passed is taken as given.
    pub deadline: Timestamp,
    /// In words.
    pub description: String,
    /// Money that stands behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escrow: Option<EscrowTerms>,
    /// What is to be done, one by one.
    pub obligations: Vec<Obligation>,
    /// Who promises.
    pub obligor: Party,
    /// What it costs not to keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalties: Option<Penalties>,
    /// The session in which it is made.
    pub session: SessionId,
    /// How bad it is not to keep it, 1 to [`MAX_SEVERITY`]; 1 unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<u8>,
    /// The application's own terms: JSON in canonical form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Plain>,
    /// Time for judging a delivery, in ms, 1 to [`MAX_WINDOW_MS`].
    pub window_ms: u64,
}

impl Promise {
    /// A promise with nothing but what each must have.
    #[must_use]
    pub fn new(session: SessionId, obligor: Party, deadline: Timestamp) -> Self {
        Self {
            counterparty: None,
            deadline,
            description: String::new(),
            escrow: None,
            obligations: Vec::new(),
            obligor,
            penalties: None,
            session,
            severity: None,
            terms: None,
            window_ms: DEFAULT_WINDOW_MS,
        }
    }

    /// The canonical form: what is hashed.
    ///
    /// # Panics
    /// Never: its members are plain.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a promise has string keys and no fallible values")
    }

    /// Hash of all that is promised. docs/asp.md, "The hash of the terms".
    #[must_use]
    pub fn terms_hash(&self) -> Digest {
        terms_hash(&self.encode())
    }

    /// How bad it is not to keep it.
    #[must_use]
    pub fn severity(&self) -> u8 {
        self.severity.unwrap_or(1)
    }

    /// Whether escrow is kept for a late delivery.
    #[must_use]
    pub fn may_be_late(&self) -> bool {
        self.penalties
            .is_some_and(|penalties| penalties.late_fulfillment_percent_per_day.is_some())
    }

    /// Checks what somebody wants to promise.
    ///
    /// # Errors
    /// [`OutOfLimit`] for the first member that breaks a limit.
    pub fn check(&self) -> Result<(), OutOfLimit> {
        let bytes = |what, text: &str, most| within(what, wide(text.len()), 0, wide(most));
        bytes(
            "description bytes",
            &self.description,
            MAX_DESCRIPTION_BYTES,
        )?;
        within(
            "obligations",
            wide(self.obligations.len()),
            0,
            wide(MAX_OBLIGATIONS),
        )?;
        for obligation in &self.obligations {
            bytes(
                "obligations.action bytes",
                &obligation.action,
                MAX_ACTION_BYTES,
            )?;
            bytes("obligations.party bytes", &obligation.party, MAX_WORD_BYTES)?;
            let method = obligation
                .verification_method
                .as_deref()
                .unwrap_or_default();
            bytes(
                "obligations.verificationMethod bytes",
                method,
                MAX_WORD_BYTES,
            )?;
            if let Some(deadline) = obligation.deadline {
                within(
                    "obligations.deadline",
                    time(deadline),
                    0,
                    time(self.deadline),
                )?;
            }
        }
        within("deadline", self.deadline.0.unsigned_abs(), 0, MAX_INTEGER)?;
        if let Some(escrow) = self.escrow {
            within("escrow.amount", escrow.amount, 1, MAX_INTEGER)?;
        }
        if let Some(severity) = self.severity {
            within("severity", severity.into(), 1, MAX_SEVERITY.into())?;
        }
        let terms = self.terms.as_ref().map_or(0, Plain::bytes);
        within("terms bytes", wide(terms), 0, wide(MAX_TERMS_BYTES))?;
        within("windowMs", self.window_ms, 1, MAX_WINDOW_MS)
    }
}

/// Hash of a promise.
///
/// - `promise`: its canonical form.
#[must_use]
pub fn terms_hash(promise: &[u8]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(TERMS_DOMAIN);
    hasher.update(promise);
    Digest(hasher.finalize().into())
}

/// JSON in canonical form, to be kept as it is.
///
/// # Panics
/// Never: canonical JSON is JSON.
#[must_use]
pub fn plain(canonical: &Canonical) -> Plain {
    let raw = serde_json::value::RawValue::from_string(canonical.as_str().to_owned());
    raw.expect("a canonical text is JSON").into()
}

fn time(at: Timestamp) -> u64 {
    u64::try_from(at.0).unwrap_or(0)
}

pub(in crate::asp) fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

pub(in crate::asp) fn within(
    what: &'static str,
    value: u64,
    least: u64,
    most: u64,
) -> Result<(), OutOfLimit> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(OutOfLimit {
        what,
        value,
        least,
        most,
    })
}
