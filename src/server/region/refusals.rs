//! What a home's refusal of a batch that waited in an outbox is about, and so what becomes of it.
//!
//! | About | What becomes of the batch |
//! | --- | --- |
//! | nothing: it is there | it counts as carried |
//! | it, its producer, or who wrote it | it is set aside, and the others go on |
//! | the channel, or the home | it stays where it is, and all behind it: the outbox is Stuck |
//! | a moment | it is sent again |

use super::forward::Asker;
use crate::access::Operation;
use crate::protocol::{ErrorCode, WireError};
use crate::types::{ChannelName, DEFAULT_ORG_NAME};

/// What becomes of a batch that a home has answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is at home: only where, or how safe, is not known.
    There,
    /// It is set aside: the home will not take it, and takes those of others.
    Aside,
    /// It waits, and with it all that is behind it, until somebody sees to the channel or the home.
    Stuck,
    /// It waits, and is sent again.
    Again,
}

/// What an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// Nothing that is wrong.
    Nothing,
    /// The batch, or where its producer stands.
    Batch,
    /// Who wrote it.
    Writer,
    /// The channel, the home, or the way there; and whatever is no answer to a publish.
    Channel,
    /// What passes by itself.
    Moment,
}

/// What becomes of a batch that was written by `by`, and answered with this.
///
/// An error that this region does not know is of a newer home: it is tried again where it says that
/// this can help, and else waits for who can tell what it means.
pub(super) fn fate(error: &WireError, by: &Asker, channel: &ChannelName) -> Fate {
    let Some(code) = error.known() else {
        return match error.retryable {
            true => Fate::Again,
            false => Fate::Stuck,
        };
    };
    match about(code) {
        About::Nothing => Fate::There,
        About::Batch => Fate::Aside,
        About::Writer if is_of_the_link(error, by) => Fate::Stuck,
        About::Writer => Fate::Aside,
        // A channel that somebody of another organisation may not see is answered as an absent one, and
        // that organisation may be gone. Of the channel's own both are about all that waits.
        About::Channel if is_absent(code) && is_guest(by, channel) => Fate::Aside,
        About::Channel => Fate::Stuck,
        About::Moment => Fate::Again,
    }
}

/// Whether a direct refusal says that the home does not take what the producer sends next either.
pub(super) fn ends_its_producer(error: &WireError) -> bool {
    error.is(ErrorCode::UnknownProducer) || error.is(ErrorCode::ProducerFenced)
}

/// Whether what was refused is the key of the link, and not who wrote the batch.
fn is_of_the_link(error: &WireError, by: &Asker) -> bool {
    match error.known() {
        Some(ErrorCode::KeyRevoked | ErrorCode::KeyExpired) => {
            let key = by.key.map(|key| key.to_string());
            error.detail("key") != key.as_deref()
        }
        Some(ErrorCode::Forbidden) => {
            error.detail("operation") == Some(Operation::Replicate.name())
        }
        _ => false,
    }
}

fn is_absent(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::ChannelNotFound | ErrorCode::OrgNotFound)
}

fn is_guest(by: &Asker, channel: &ChannelName) -> bool {
    by.org.as_str() != channel.org().unwrap_or(DEFAULT_ORG_NAME)
}

/// What an error is about. There is no arm for the rest: a new error is put where it belongs.
fn about(code: ErrorCode) -> About {
    use ErrorCode as C;
    match code {
        C::SequenceTooOld | C::NotEnoughRegions => About::Nothing,
        C::InvalidBatch
        | C::BatchChecksum
        | C::BatchTooLarge
        | C::RecordTooLarge
        | C::CompressionNotAllowed
        | C::Fenced
        | C::UnknownProducer
        | C::SequenceGap
        | C::ProducerFenced => About::Batch,
        C::Unauthenticated | C::KeyRevoked | C::KeyExpired | C::Forbidden => About::Writer,
        C::InvalidFrame
        | C::FrameTooLong
        | C::UnknownKind
        | C::UnsupportedVersion
        | C::HelloRequired
        | C::InvalidRequest
        | C::TlsRequired
        | C::TlsUnavailable
        | C::InvalidName
        | C::InternalTopic
        | C::ChannelNotFound
        | C::ChannelRecreated
        | C::AtomicTooLarge
        | C::ExpectedOffsetMismatch
        | C::Damaged
        | C::JournalFailed
        | C::ChannelPoisoned
        | C::Internal
        | C::OrgNotFound
        | C::KeyUnavailable
        | C::NotAuthentic
        | C::NotARegion
        | C::UnknownRegion
        | C::RegionMismatch
        | C::NoConsent
        | C::LinkRequired
        | C::ForwardRefused
        | C::OutboxRefused
        | C::EachRegion
        | C::RegionLeft => About::Channel,
        // No publish is answered with these. Where one is nonetheless, nobody knows what it is about.
        C::ChannelExists
        | C::InvalidConfig
        | C::TooManyChannels
        | C::OffsetOutOfRange
        | C::OffsetTrimmed
        | C::Diverged
        | C::ConsumerNotFound
        | C::PositionMismatch
        | C::MetadataTooLarge
        | C::OrgExists
        | C::KeyNotFound
        | C::GrantNotFound
        | C::InvalidAccess
        | C::Escalation
        | C::AccessLimit
        | C::NotEncrypted
        | C::AgentNotFound
        | C::AgentNotRegistered
        | C::InvalidProfile
        | C::InvalidAgentReference
        | C::PublicKeyUsed
        | C::NoPublicKey
        | C::SignatureRequired
        | C::InvalidSignature
        | C::NotYourAgent
        | C::SessionNotFound
        | C::NotParticipant
        | C::IllegalMessage
        | C::OfferNotOpen
        | C::ConstraintBroken
        | C::TrustTooLow
        | C::InvalidBody
        | C::InvalidPayload
        | C::MessageIdTaken
        | C::MessageIdTooOld
        | C::InvalidMessageId
        | C::SessionEnded
        | C::InvalidSession
        | C::AlreadyParticipant
        | C::RoleAboveOwn
        | C::CallNotFound
        | C::CallIdTaken
        | C::InvalidCallId
        | C::CallEnded
        | C::OutOfLimit
        | C::InvalidCursor
        | C::AspUnavailable
        | C::CommitmentNotFound
        | C::InvalidCommitmentId
        | C::CommitmentIdTaken
        | C::InvalidCommitment
        | C::NotParty
        | C::IllegalStep
        | C::AlreadyDelivered
        | C::EscrowNotHeld
        | C::DisputeNotFound
        | C::InvalidDisputeId
        | C::DisputeIdTaken
        | C::AlreadyDisputed
        | C::AlreadyVoted
        | C::OtherMechanism
        | C::ReasonRequired
        | C::InvalidEvidence
        | C::NotCounterparty
        | C::AlreadyRated
        | C::InsufficientFunds
        | C::AboveCeiling
        | C::ListingNotFound
        | C::InvalidListingId
        | C::ListingIdTaken
        | C::InvalidListing
        | C::IllegalListingStep
        | C::SubscriptionNotFound
        | C::InvalidSubscriptionId
        | C::SubscriptionIdTaken
        | C::IllegalSubscriptionStep
        | C::AlreadySubscribed
        | C::OwnListing
        | C::ListingClosed
        | C::NotInvited
        | C::TermsChanged
        | C::OrgKeyRequired
        | C::NotUsed
        | C::InvalidPaymentId
        | C::PaymentIdTaken
        | C::InvalidOffer
        | C::OfferLapsed
        | C::PaymentIdTooOld
        | C::EndorserNotTrusted
        | C::TooManyEndorsements
        | C::InvalidEndorsement
        | C::ChannelHeld
        | C::CopyPartial
        | C::InvalidPattern
        | C::InterestNotFound
        | C::TooManyFollowed
        | C::MoveRefused
        | C::EscrowAcrossHomes
        | C::PurgeRefused
        | C::CopyNotOffered
        | C::NameHeld
        | C::RegionInUse
        | C::AsideUnreadable => About::Channel,
        C::DiskFull
        | C::Overloaded
        | C::Timeout
        | C::ShuttingDown
        | C::TooManyConnections
        | C::RateLimited
        | C::TooManyOpenCalls
        | C::TooManyCommitments
        | C::TooManyDisputes
        | C::RegionUnreachable
        | C::NotHome
        | C::HomeMoving
        | C::SourceBehind
        | C::OutboxFull
        | C::CopyNotHere => About::Moment,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::error_code::ERRORS;
    use crate::types::{KeyId, OrgName};

    fn by(org: &str) -> Asker {
        Asker {
            principal: 3,
            key: Some(KeyId(7)),
            org: OrgName::parse(org).unwrap(),
        }
    }

    fn told(error: &WireError, org: &str) -> Fate {
        fate(error, &by(org), &ChannelName::parse("orders").unwrap())
    }

    #[test]
    fn what_may_help_to_try_again_is_tried_again_and_nothing_of_it_is_set_aside() {
        for row in ERRORS {
            let fate = told(&WireError::new(row.code, "m"), "default");
            let is_there = matches!(
                row.code,
                ErrorCode::SequenceTooOld | ErrorCode::NotEnoughRegions
            );
            assert_eq!(fate == Fate::There, is_there, "{}", row.name);
            assert_eq!(
                fate == Fate::Again,
                row.retryable && !is_there,
                "{}",
                row.name
            );
        }
        let mut unknown = WireError::new(ErrorCode::Internal, "m");
        unknown.code = 60_000;
        assert_eq!(told(&unknown, "default"), Fate::Stuck);
        unknown.retryable = true;
        assert_eq!(told(&unknown, "default"), Fate::Again);
    }

    #[test]
    fn what_is_about_one_batch_or_its_writer_is_set_aside_and_what_is_about_all_is_not() {
        for (code, expected) in [
            (ErrorCode::UnknownProducer, Fate::Aside),
            (ErrorCode::SequenceGap, Fate::Aside),
            (ErrorCode::ProducerFenced, Fate::Aside),
            (ErrorCode::RecordTooLarge, Fate::Aside),
            (ErrorCode::CompressionNotAllowed, Fate::Aside),
            (ErrorCode::Fenced, Fate::Aside),
            (ErrorCode::Forbidden, Fate::Aside),
            (ErrorCode::ChannelRecreated, Fate::Stuck),
            (ErrorCode::NoConsent, Fate::Stuck),
            (ErrorCode::Damaged, Fate::Stuck),
            (ErrorCode::Internal, Fate::Stuck),
        ] {
            assert_eq!(
                told(&WireError::new(code, "m"), "default"),
                expected,
                "{code}"
            );
        }
        // What is not there for a guest may be there for its own.
        for code in [ErrorCode::ChannelNotFound, ErrorCode::OrgNotFound] {
            let absent = WireError::new(code, "m");
            assert_eq!(told(&absent, "default"), Fate::Stuck);
            assert_eq!(told(&absent, "acme"), Fate::Aside);
        }
    }

    #[test]
    fn the_end_of_the_links_own_key_is_no_refusal_of_what_others_wrote() {
        for (key, expected) in [(KeyId(7), Fate::Aside), (KeyId(8), Fate::Stuck)] {
            let ended = WireError::new(ErrorCode::KeyRevoked, "m").with("key", key.to_string());
            assert_eq!(told(&ended, "default"), expected);
        }
        for (operation, expected) in [
            (Operation::Publish, Fate::Aside),
            (Operation::Replicate, Fate::Stuck),
        ] {
            let refused = WireError::new(ErrorCode::Forbidden, "m");
            let refused = refused.with("operation", operation.name());
            assert_eq!(told(&refused, "default"), expected);
        }
    }
}
