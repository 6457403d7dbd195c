//! `trust/1`: how far an agent is trusted, folded from the evidence that the broker saw. Records
//! of the topic `__asp.evidence`. Specified by docs/asp.md, "Trust".
//!
//! Invariants: whole numbers throughout, so that every machine gets the same bits; time enters
//! through clock records alone; a breach raises no score; opinions may be left out as outliers, and
//! what the clock saw never is. Memory holds counters for each pair of an agent and an organisation
//! that it worked for, however much evidence there is: that stays on the topic, threaded by agent.
//!
//! Not here: what an agent says of itself, or a client of the time.
mod agent;
mod components;
mod credibility;
mod decay;
mod endorse;
mod explain;
mod filter;
mod fold;
mod ids;
mod owner;
mod rated;
mod record;
mod score;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod transition;
mod wilson;

pub use components::{Components, Level};
pub use endorse::{EndorseError, Endorser};
pub use explain::{Explanation, Pair, Remark};
pub use fold::{TrustPart, TrustRow};
pub use rated::{GivenRating, RATABLE_MS};
pub use record::{
    ClockRead, CommitmentEnded, Confirmation, DisputeRuled, Endorsed, Kind, Mechanism, OrgVerified,
    Party, Rated, Ruling, TaskSettled, TrustRecord,
};
pub use score::{AgentScore, Scope, ScopeScore};
pub use settings::{DEFAULT_HALF_LIFE_HOURS, MAX_ENDORSEMENTS, MAX_HALF_LIFE_HOURS, PROJECTION};
pub use state::{TrustFor, TrustState, TrustWithin};
