//! Requests about commitments, disputes, trust and escrow.

use super::Looked;
use crate::broker::{BrokerError, Refusal};
use crate::protocol::AspRequest;

/// What a request finds.
///
/// # Errors
/// The refusal.
pub(super) fn look(request: &AspRequest) -> Result<Looked, Refusal> {
    let what = format!("{} has no handler", request.kind().name());
    Err(BrokerError::Bug(what.into()).into())
}
