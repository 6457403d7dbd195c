//! Organisations, API keys, scopes and grants: a pure state machine folded from the events of the
//! internal topic `__access`, and the judgement of who may do what; beside it the chained records of
//! the topic `__audit`, which tell who did it.
//!
//! Invariants: an organisation is a wall. What belongs to another is answered like what does not
//! exist, before anybody looks whether it does; only a grant that both sides agreed to opens
//! anything. No secret is kept: of a key there is a keyed hash, compared in constant time. Nobody
//! gives a key more than they have themselves.
//!
//! Not here: sockets and TLS (the server), the clock (passed in), rates (the server counts them).

mod audit;
mod change;
mod event;
mod judge;
mod limits;
mod others;
mod refusals;
mod scope;
mod secret;
mod state;
#[cfg(test)]
mod tests;

pub use audit::{
    AUDIT_TYPE, AuditAct, AuditHash, AuditHead, AuditOutcome, AuditRecord, AuditWho, ChainBroken,
    ChainCheck, ChainFault, InvalidHash, InvalidHead, verify,
};
pub use change::{AccessError, GrantRequest, KeyRequest, MAX_GRANTS, MAX_KEYS, MAX_SCOPES, NewKey};
pub use event::{
    AccessEvent, AccessRow, GrantAccepted, GrantProposed, GrantRevoked, KeyCreated, KeyExpirySet,
    KeyRevoked, KeyTravels, KeyUsed, OrgCreated, OrgLimited, PrincipalMet,
};
pub use judge::{Ask, Denied, NotAuthentic, Principal};
pub use limits::{InvalidLimit, Limits};
pub use others::KeyAbroad;
pub use refusals::{REFUSAL_EVERY_MS, REFUSALS_AT_ONCE, Refusals};
pub use scope::{InvalidOperation, InvalidPattern, Operation, Pattern, Scope};
pub use secret::{InvalidSecret, KeyHash, KeyHasher, KeyKind, SECRET_BYTES, Secret};
pub use state::{Access, Grant, Key, KeyEnded, Org};
