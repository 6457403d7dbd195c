//! What a client is told of a refusal about agents, sessions and tool calls.

use super::{listings, promises};
use crate::asp::registry::RegistryError;
use crate::asp::session::{CreateError, OutOfLimit, SendError};
use crate::asp::tool::ToolError;
use crate::asp::trust::EndorseError;
use crate::broker::asp::AspError;
use crate::protocol::asp::Millionths;
use crate::protocol::{ErrorCode, WireError};

/// The error that goes to the client.
pub(in crate::server) fn refused(error: &AspError) -> WireError {
    let plain = |code| WireError::new(code, error.to_string());
    match error {
        AspError::AgentNotFound { agent } => {
            plain(ErrorCode::AgentNotFound).with("agent", agent.as_str())
        }
        AspError::CopyNotHere { topic, region } => plain(ErrorCode::CopyNotHere)
            .with("topic", topic.as_str())
            .with("region", region.as_str()),
        AspError::CopyNotOffered { topic, region } => plain(ErrorCode::CopyNotOffered)
            .with("topic", topic.as_str())
            .with("region", region.as_str()),
        AspError::OthersElsewhere(org) => {
            plain(ErrorCode::InvalidRequest).with("org", org.as_str())
        }
        AspError::CursorOfOneRegion => plain(ErrorCode::InvalidRequest),
        AspError::Reference(_) => plain(ErrorCode::InvalidRequest),
        AspError::NotYourAgent { agent } => {
            plain(ErrorCode::NotYourAgent).with("agent", agent.as_str())
        }
        AspError::Registry(error) => registry(error),
        AspError::Search(error) => out_of_limit(
            &error.to_string(),
            error.what,
            error.found as u64,
            error.least as u64,
            error.most as u64,
        ),
        AspError::SessionNotFound(session) => {
            plain(ErrorCode::SessionNotFound).with("sessionId", session.to_string())
        }
        AspError::Session { .. } | AspError::Delegate(_) => plain(ErrorCode::InvalidSession),
        AspError::Create(error) => create(error),
        AspError::Send(error) => send(error),
        AspError::Payload(_) => plain(ErrorCode::InvalidPayload),
        AspError::KeyChanged { agent } => {
            plain(ErrorCode::InvalidSignature).with("agent", agent.as_str())
        }
        AspError::SignatureText(_) => plain(ErrorCode::InvalidSignature),
        AspError::BothGiven => plain(ErrorCode::InvalidRequest),
        AspError::Progress(error) => plain(ErrorCode::OutOfLimit)
            .with("field", "progress")
            .with("found", error.0)
            .with("min", 0)
            .with("max", 1),
        AspError::CommitmentNotFound(id) => {
            plain(ErrorCode::CommitmentNotFound).with("commitmentId", id.to_string())
        }
        AspError::DisputeNotFound(id) => {
            plain(ErrorCode::DisputeNotFound).with("disputeId", id.to_string())
        }
        AspError::OfferTooLate { deadline, now } => plain(ErrorCode::InvalidOffer)
            .with("member", "deadline")
            .with("deadline", deadline.0)
            .with("now", now.0),
        AspError::OtherLedger { meant, here } => plain(ErrorCode::RegionMismatch)
            .with("expected", meant.as_str())
            .with("region", here.as_ref().map(|here| here.as_str().to_owned())),
        AspError::OtherCounterparty {
            counterparty,
            recipient,
        } => plain(ErrorCode::InvalidOffer)
            .with("member", "counterparty")
            .with("counterparty", counterparty.to_string())
            .with("recipient", recipient.map(|agent| agent.to_string())),
        AspError::OfferLapsed(id) => {
            plain(ErrorCode::OfferLapsed).with("commitmentId", id.to_string())
        }
        // Whoever could be told this reads the records and asks again.
        AspError::LookFirst { .. } => plain(ErrorCode::Internal),
        AspError::Commitment(error) => promises::commitment(error),
        AspError::Dispute(error) => promises::dispute(error),
        AspError::Escrow(error) => promises::escrow(error),
        AspError::Market(error) => listings::market(error),
        AspError::AlreadyRated {
            agent,
            session,
            rating,
        } => plain(ErrorCode::AlreadyRated)
            .with("agent", agent.to_string())
            .with("sessionId", session.to_string())
            .with("rating", f64::from(*rating) / 1_000.0),
        AspError::NotCounterparty { agent } => {
            plain(ErrorCode::NotCounterparty).with("agent", agent.to_string())
        }
        AspError::Endorse(error) => endorse(error),
        AspError::OrgNotFound(org) => plain(ErrorCode::OrgNotFound).with("org", org.as_str()),
        AspError::Evidence { place, .. } => {
            plain(ErrorCode::InvalidEvidence).with("place", place.as_str())
        }
        AspError::Rating(rating) => plain(ErrorCode::OutOfLimit)
            .with("field", "rating")
            .with("found", *rating)
            .with("min", 0)
            .with("max", 1),
        AspError::CallNotFound(call) => {
            plain(ErrorCode::CallNotFound).with("callId", call.to_string())
        }
        AspError::Tool(error) => tool(error),
        AspError::Damaged {
            channel, offset, ..
        } => plain(ErrorCode::AspUnavailable)
            .with("channel", channel.as_str())
            .with("offset", offset.0),
        AspError::Unavailable(_) => plain(ErrorCode::AspUnavailable),
        AspError::PageLimit { asked, most } => out_of_limit(
            &error.to_string(),
            "limit",
            u64::from(*asked),
            1,
            u64::from(*most),
        ),
        AspError::Cursor(cursor) => plain(ErrorCode::InvalidCursor).with("cursor", cursor.as_str()),
    }
}

fn registry(error: &RegistryError) -> WireError {
    let plain = |code| WireError::new(code, error.to_string());
    match error {
        RegistryError::UnknownAgent(agent) => {
            plain(ErrorCode::AgentNotFound).with("agent", agent.to_string())
        }
        RegistryError::NotRegistered { name, .. } => {
            plain(ErrorCode::AgentNotRegistered).with("agent", name.as_str())
        }
        RegistryError::TooManyAgents { found, limit } => too_many(error, "agents", *found, *limit),
        RegistryError::TooManyKeys { found, limit } => too_many(error, "keys", *found, *limit),
        RegistryError::KeyUsed(key) => {
            plain(ErrorCode::PublicKeyUsed).with("publicKey", key.to_string())
        }
        RegistryError::NoKey(name) => plain(ErrorCode::NoPublicKey).with("agent", name.as_str()),
        RegistryError::Profile(_) => plain(ErrorCode::InvalidProfile),
    }
}

fn too_many(
    error: &dyn std::error::Error,
    what: &'static str,
    found: usize,
    limit: usize,
) -> WireError {
    out_of_limit(&error.to_string(), what, found as u64, 0, limit as u64)
}

pub(super) fn out_of_limit(text: &str, field: &str, found: u64, min: u64, max: u64) -> WireError {
    WireError::new(ErrorCode::OutOfLimit, text)
        .with("field", field)
        .with("found", found)
        .with("min", min)
        .with("max", max)
}

fn limit(error: &OutOfLimit) -> WireError {
    let text = error.to_string();
    out_of_limit(&text, error.what, error.value, error.least, error.most)
}

fn create(error: &CreateError) -> WireError {
    match error {
        CreateError::OutOfLimit(error) => limit(error),
        CreateError::Metadata(_) => WireError::new(ErrorCode::InvalidPayload, error.to_string()),
        CreateError::Illegal(illegal) => WireError::new(
            ErrorCode::InvalidSession,
            format!("the session can't be created: {}", illegal.rule),
        ),
        CreateError::Invitation(error) => send(error),
    }
}

fn send(error: &SendError) -> WireError {
    let plain = |code| WireError::new(code, error.to_string());
    match error {
        SendError::UnknownSession(session) => {
            plain(ErrorCode::SessionNotFound).with("sessionId", session.to_string())
        }
        SendError::NotParticipant { session, agent } => plain(ErrorCode::NotParticipant)
            .with("sessionId", session.to_string())
            .with("agent", agent.to_string()),
        SendError::Illegal {
            state,
            said,
            voice,
            allowed,
        } => {
            let code = match state.is_terminal() {
                true => ErrorCode::SessionEnded,
                false => ErrorCode::IllegalMessage,
            };
            let allowed: Vec<_> = allowed.iter().map(|one| one.name()).collect();
            plain(code)
                .with("state", state.to_string())
                .with("performative", said.name())
                .with("voice", voice.map(|voice| voice.to_string()))
                .with("allowed", allowed)
        }
        SendError::OfferNotOpen { said, offer } => plain(ErrorCode::OfferNotOpen)
            .with("performative", said.name())
            .with("inReplyTo", offer.map(|offer| offer.to_string())),
        SendError::PerformativeConstrained { said, allowed } => {
            let allowed: Vec<_> = allowed.iter().map(|one| one.name()).collect();
            plain(ErrorCode::ConstraintBroken)
                .with("performative", said.name())
                .with("allowed", allowed)
        }
        SendError::TrustTooLow { required, score } => plain(ErrorCode::TrustTooLow)
            .with("required", f64::from(*required))
            .with("score", f64::from(*score)),
        SendError::DelegateBringsOne => plain(ErrorCode::InvalidBody),
        SendError::AlreadyParticipant { agent } => {
            plain(ErrorCode::AlreadyParticipant).with("agent", agent.to_string())
        }
        SendError::RoleAboveOwn { .. } => plain(ErrorCode::RoleAboveOwn),
        SendError::MessageIdTaken { id } => {
            plain(ErrorCode::MessageIdTaken).with("id", id.to_string())
        }
        SendError::MessageIdTooOld { id, let_go } => plain(ErrorCode::MessageIdTooOld)
            .with("id", id.to_string())
            .with("letGo", let_go.to_string()),
        SendError::MessageIdAhead {
            id,
            ahead_ms,
            most_ms,
        } => plain(ErrorCode::InvalidMessageId)
            .with("id", id.to_string())
            .with("aheadMs", *ahead_ms)
            .with("maxAheadMs", *most_ms),
        SendError::MessageIdVersion { id } => {
            plain(ErrorCode::InvalidMessageId).with("id", id.to_string())
        }
        SendError::DeadlineFirst { .. } => plain(ErrorCode::Overloaded).retry_after_ms(100),
        SendError::Ended { session, state } => plain(ErrorCode::SessionEnded)
            .with("sessionId", session.to_string())
            .with("state", state.to_string()),
        SendError::LastCoordinator { agent } => {
            plain(ErrorCode::IllegalMessage).with("agent", agent.to_string())
        }
        SendError::NotEscalated { session, state } => plain(ErrorCode::IllegalMessage)
            .with("sessionId", session.to_string())
            .with("state", state.to_string()),
        SendError::OutOfLimit(error) => limit(error),
        SendError::Body(_) | SendError::OffersNone => plain(ErrorCode::InvalidBody),
        SendError::Offer(_) => plain(ErrorCode::InvalidOffer),
        SendError::Unsigned { agent, key } => plain(ErrorCode::SignatureRequired)
            .with("agent", agent.to_string())
            .with("publicKey", key.to_string()),
        SendError::SignedWithoutKey { agent } => {
            plain(ErrorCode::NoPublicKey).with("agent", agent.to_string())
        }
        SendError::ForgedSignature(_) => plain(ErrorCode::InvalidSignature),
    }
}

fn endorse(error: &EndorseError) -> WireError {
    let plain = |code| WireError::new(code, error.to_string());
    let millionths = |score: u32| f64::from(Millionths::from(score));
    match error {
        EndorseError::Own(agent) => {
            plain(ErrorCode::InvalidEndorsement).with("agent", agent.to_string())
        }
        EndorseError::NotGiven { agent, endorser } => plain(ErrorCode::InvalidEndorsement)
            .with("agent", agent.to_string())
            .with("from", endorser.to_string()),
        EndorseError::Score {
            endorser,
            score,
            least,
        } => plain(ErrorCode::EndorserNotTrusted)
            .with("from", endorser.to_string())
            .with("score", millionths(*score))
            .with("least", millionths(*least)),
        EndorseError::TooMany {
            agent,
            found,
            limit,
        } => plain(ErrorCode::TooManyEndorsements)
            .with("agent", agent.to_string())
            .with("found", *found)
            .with("limit", *limit),
    }
}

fn tool(error: &ToolError) -> WireError {
    let plain = |code| WireError::new(code, error.to_string());
    match error {
        ToolError::UnknownCall(call) => {
            plain(ErrorCode::CallNotFound).with("callId", call.to_string())
        }
        ToolError::CallIdVersion(call) => {
            plain(ErrorCode::InvalidCallId).with("callId", call.to_string())
        }
        ToolError::CallIdTaken { call, member } => plain(ErrorCode::CallIdTaken)
            .with("callId", call.to_string())
            .with("member", *member),
        ToolError::Ended { call, outcome, at } => plain(ErrorCode::CallEnded)
            .with("callId", call.to_string())
            .with("outcome", outcome.name())
            .with("endedAt", at.0),
        ToolError::OwnParent(call) => {
            plain(ErrorCode::InvalidRequest).with("callId", call.to_string())
        }
        ToolError::TooMany { what, found, limit } => plain(ErrorCode::TooManyOpenCalls)
            .with("what", *what)
            .with("found", *found)
            .with("limit", *limit),
        ToolError::TooManyTools { found, limit, .. } => too_many(error, "tools", *found, *limit),
        ToolError::OutOfLimit {
            what,
            value,
            least,
            most,
        } => out_of_limit(&error.to_string(), what, *value, *least, *most),
        ToolError::DeadlineFirst { .. } => plain(ErrorCode::Overloaded).retry_after_ms(100),
    }
}
