//! Disputes about commitments: who says that a promise was not kept, who decides, and how.
//! Specified by docs/asp.md, "Disputes".
//!
//! Their records stand on the topic of commitments, and the same machine folds both
//! ([`Commitments`](super::commitment::Commitments)): a dispute moves its commitment.
mod arbitration;
mod check;
mod error;
mod one;
mod record;
mod ruling;
mod table;
#[cfg(test)]
mod tests;

pub use arbitration::{
    ARBITRATORS, InvalidSecret, LOT_DOMAIN, MAX_CANDIDATES, SEAL_DOMAIN, Secret, draw, in_turn,
};
pub use check::{
    CheckedFile, DEFAULT_ANSWER_MS, DEFAULT_ARBITRATION_MS, DEFAULT_BALLOT_MS, FILING_PERIOD_MS,
    File, Judgement, MAX_DISPUTE_WINDOW_MS, MAX_FILINGS, MAX_OF_JUDGES, MAX_OF_OTHERS,
    MAX_REASON_BYTES, Windows,
};
pub use error::DisputeError;
pub use one::{Answer, Arbitration, Dispute, DisputeDue, Ruling, Seat, Vote};
pub use record::{
    Answered, DisputeRecord, DisputeStepped, Filed, Reviewed, RuledOn, Sealed, Voted,
};
pub use ruling::{DisputeType, LogFacts, Mechanism, Verdict, majority};
pub use table::{DisputeState, DisputeStep, DisputeVoice, next};
