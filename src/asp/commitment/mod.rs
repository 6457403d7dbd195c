//! What agents promise each other, folded from the records of the topic `__asp.commitments`
//! together with the disputes about it. Specified by docs/asp.md, "Commitments".
//!
//! A promise is kept or broken by the broker's clock and by the word of whoever judges it, never
//! by that of the one who gave it. Money and trust follow from what is recorded here:
//! [`Commitments::effects`] says how.
mod check;
mod commitments;
mod effects;
mod error;
mod evidence;
mod fold;
mod offer;
mod one;
mod promise;
mod queries;
mod receipt;
mod record;
mod records_digest;
mod table;
#[cfg(test)]
mod tests;
mod threads;

pub use check::{
    Actor, Checked, Create, DEFAULT_CLAIM_MS, MAX_CLAIM_MS, MAX_LIVE, MAX_LIVE_BYTES, Said,
};
pub use commitments::{Commitments, Due};
pub use effects::{DisputeOutcome, Effects, EscrowStep, Outcome, OutcomeKind};
pub use error::{CommitmentError, OutOfLimit};
pub use evidence::{
    Evidence, MAX_REFERENCED_BYTES, MAX_REFERENCED_RECORDS, MAX_REFERENCES, MAX_WORDS_BYTES,
    Reference,
};
pub use fold::{CommitmentRow, MAX_HELD};
pub use offer::{InvalidOffer, OFFER_DOMAIN, Offered};
pub use one::{Commitment, Confirmation, Delivery, Ended, Ruled, Suspended};
pub use promise::{
    DEFAULT_WINDOW_MS, EscrowTerms, MAX_ACTION_BYTES, MAX_DESCRIPTION_BYTES, MAX_OBLIGATIONS,
    MAX_SEVERITY, MAX_TERMS_BYTES, MAX_WINDOW_MS, MAX_WORD_BYTES, Obligation, Party, Penalties,
    Promise, TERMS_DOMAIN, plain, terms_hash,
};
pub use queries::Held;
pub use receipt::{Receipt, ReceiptFault, ReceiptRecord, SignedBy, Verified, messages_of};
pub use record::{Closed, CommitmentRecord, CommitmentsFiled, Created, Delivered, Mode, Stepped};
pub use records_digest::{RecordParts, RecordsDigest};
pub use table::{Judge, Next, Standing, State, Step, Voice, allowed, next};
pub use threads::{ClosedLinks, Which};

pub(in crate::asp) use check::{legal, on_time, voice};
pub(in crate::asp) use promise::{wide, within};
pub(in crate::asp) use record::{Reader, envelope};
