//! The one table of errors. `docs/wire-protocol.md`, "Errors".

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::format::{BATCH_HEADER_BYTES, DecodeError, MAX_BATCH_BYTES};

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct ErrorInfo {
    /// The code; its number is `code.number()`.
    pub code: ErrorCode,
    /// The stable name.
    pub name: &'static str,
    /// Whether the same request may succeed later without being changed.
    pub retryable: bool,
    /// What it means.
    pub text: &'static str,
}

macro_rules! errors {
    ($($number:literal $code:ident $name:literal $retryable:literal $text:literal;)*) => {
        /// What went wrong. The discriminant is the number on the wire; numbers are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $(#[doc = $text] $code = $number,)*
        }

        /// Every error, by number.
        pub const ERRORS: &[ErrorInfo] = &[
            $(ErrorInfo {
                code: ErrorCode::$code,
                name: $name,
                retryable: $retryable,
                text: $text,
            },)*
        ];
    };
}

errors! {
    1 InvalidFrame "INVALID_FRAME" false "The length of a frame leaves no room for its header; the broker closes the connection.";
    2 FrameTooLong "FRAME_TOO_LONG" false "A frame is longer than the limit of its kind; the broker closes the connection.";
    3 UnknownKind "UNKNOWN_KIND" false "The broker knows no request of this kind.";
    4 UnsupportedVersion "UNSUPPORTED_VERSION" false "The broker does not speak this version of the request, or none of the protocol versions offered.";
    5 HelloRequired "HELLO_REQUIRED" false "The first request of a connection must be a hello.";
    6 InvalidRequest "INVALID_REQUEST" false "The body of a request breaks a rule of its layout.";
    7 TlsRequired "TLS_REQUIRED" false "The port speaks only TLS, and the client began without; the broker says so without TLS and closes the connection.";
    8 TlsUnavailable "TLS_UNAVAILABLE" false "The client began with TLS, and the port speaks without; the broker says so without TLS and closes the connection.";
    100 InvalidName "INVALID_NAME" false "A name of a channel or consumer breaks the rule for names.";
    101 InternalTopic "INTERNAL_TOPIC" false "The channel is an internal topic, which only the broker writes to.";
    102 ChannelNotFound "CHANNEL_NOT_FOUND" false "There is no channel of this name.";
    103 ChannelExists "CHANNEL_EXISTS" false "There is already a channel of this name.";
    104 ChannelRecreated "CHANNEL_RECREATED" false "The channel was deleted and created again: its incarnation is another than the one named.";
    105 InvalidConfig "INVALID_CONFIG" false "A value of a channel's configuration is outside its range.";
    106 TooManyChannels "TOO_MANY_CHANNELS" false "The broker has as many channels as it allows, those whose files are still being removed included.";
    200 InvalidBatch "INVALID_BATCH" false "A batch breaks a rule of its layout.";
    201 BatchChecksum "BATCH_CHECKSUM" false "The body of a batch does not match its checksum.";
    202 BatchTooLarge "BATCH_TOO_LARGE" false "A batch is larger than the limit, stored or uncompressed.";
    203 RecordTooLarge "RECORD_TOO_LARGE" false "A record is larger than the channel allows.";
    204 CompressionNotAllowed "COMPRESSION_NOT_ALLOWED" false "The channel does not allow the compression of the batch.";
    205 AtomicTooLarge "ATOMIC_TOO_LARGE" false "An atomic publish is larger than one journal entry may be, or has too many parts.";
    206 ExpectedOffsetMismatch "EXPECTED_OFFSET_MISMATCH" false "The next offset of the channel is not the expected one.";
    207 Fenced "FENCED" false "A batch with a higher fence was appended before.";
    208 UnknownProducer "UNKNOWN_PRODUCER" false "The broker does not know the producer, and the batch is not its first.";
    209 SequenceGap "SEQUENCE_GAP" false "The batch does not follow the producer's last one: batches before it are missing.";
    210 ProducerFenced "PRODUCER_FENCED" false "A batch with a newer producer epoch was appended before.";
    211 SequenceTooOld "SEQUENCE_TOO_OLD" false "The batch is older than the producer's last one, and its offsets are no longer known.";
    300 OffsetOutOfRange "OFFSET_OUT_OF_RANGE" false "The offset is above the end of the channel.";
    301 OffsetTrimmed "OFFSET_TRIMMED" false "The record was removed by retention.";
    302 Diverged "DIVERGED" false "The log was cut below the offset and has grown again: the records read before are not the records it holds.";
    303 Damaged "DAMAGED" false "Stored bytes no longer match their checksum, so the records are not served, or the channel refuses writes.";
    400 ConsumerNotFound "CONSUMER_NOT_FOUND" false "The channel has no consumer of this name.";
    401 PositionMismatch "POSITION_MISMATCH" false "The consumer's position is not the expected one.";
    402 MetadataTooLarge "METADATA_TOO_LARGE" false "The metadata of a commit is larger than the limit.";
    500 DiskFull "DISK_FULL" true "The disk is full or nearly so; reads go on.";
    501 JournalFailed "JOURNAL_FAILED" false "A sync of the journal failed: the broker takes no more writes until it is restarted; reads go on.";
    502 ChannelPoisoned "CHANNEL_POISONED" false "A sync of a segment failed: the channel takes no more writes until the broker is restarted.";
    503 Overloaded "OVERLOADED" true "Too many bytes or requests are in flight.";
    504 Timeout "TIMEOUT" true "The broker gave up waiting; the request may have been carried out.";
    505 ShuttingDown "SHUTTING_DOWN" true "The broker is stopping.";
    506 TooManyConnections "TOO_MANY_CONNECTIONS" true "The broker has as many connections as it allows.";
    599 Internal "INTERNAL" false "The broker broke a rule of its own; its log tells more.";
    700 Unauthenticated "UNAUTHENTICATED" false "The broker wants an API key that it knows.";
    701 KeyRevoked "KEY_REVOKED" false "The API key was revoked; the broker closes its connections.";
    702 KeyExpired "KEY_EXPIRED" false "The API key has expired; the broker closes its connections.";
    703 Forbidden "FORBIDDEN" false "The scopes of the API key do not allow it, or a grant is for another operation.";
    704 OrgNotFound "ORG_NOT_FOUND" false "There is no organisation of this name, or it is none of yours.";
    705 OrgExists "ORG_EXISTS" false "There is already an organisation of this name.";
    706 KeyNotFound "KEY_NOT_FOUND" false "There is no API key of this identity, or it is none of yours.";
    707 GrantNotFound "GRANT_NOT_FOUND" false "There is no grant of this identity, or your organisation has no side in it.";
    708 InvalidAccess "INVALID_ACCESS" false "A value of a request about organisations, keys or grants breaks a rule.";
    709 Escalation "ESCALATION" false "A key would be given more than the key that asks for it has itself.";
    710 AccessLimit "ACCESS_LIMIT" false "The organisation has as many channels, keys or grants as it may, or asks for more than its limits allow.";
    711 RateLimited "RATE_LIMITED" true "The key or its organisation uses more than its limits allow; nothing was carried out.";
    720 KeyUnavailable "KEY_UNAVAILABLE" false "The channel is encrypted and the broker cannot use its key, or has no master key to give it one; other channels go on.";
    721 NotAuthentic "NOT_AUTHENTIC" false "Stored bytes match their checksum but not their authentication tag: they were changed on purpose, and are not served.";
    722 NotEncrypted "NOT_ENCRYPTED" false "The channel is not encrypted, so it has no key to replace.";
    800 AgentNotFound "AGENT_NOT_FOUND" false "There is no agent of this identity or name, or it is none of yours.";
    801 AgentNotRegistered "AGENT_NOT_REGISTERED" false "The agent is not registered: nobody has registered its name, or it was deregistered.";
    802 InvalidProfile "INVALID_PROFILE" false "What an agent says of itself breaks a rule or a limit.";
    803 InvalidAgentReference "INVALID_AGENT_REFERENCE" false "An agent is meant by an identity, a name, or an address that begins with agent://, and this is none of them.";
    804 PublicKeyUsed "PUBLIC_KEY_USED" false "The public key is the agent's own already, or was.";
    805 NoPublicKey "NO_PUBLIC_KEY" false "The agent has no public key.";
    806 SignatureRequired "SIGNATURE_REQUIRED" false "The sender has a public key, and the message has no signature.";
    807 InvalidSignature "INVALID_SIGNATURE" false "The signature is not one of this message by the sender's public key.";
    808 NotYourAgent "NOT_YOUR_AGENT" false "The API key does not speak for the agent.";
    820 SessionNotFound "SESSION_NOT_FOUND" false "There is no session of this identity, or you take no part in it.";
    821 NotParticipant "NOT_PARTICIPANT" false "The agent does not take part in the session.";
    822 IllegalMessage "ILLEGAL_MESSAGE" false "The transition table does not allow this performative in the state of the session, or not to this sender.";
    823 OfferNotOpen "OFFER_NOT_OPEN" false "The message answers or takes back an offer, and names no open one that the sender may.";
    824 ConstraintBroken "CONSTRAINT_BROKEN" false "The message that is answered allows other performatives only.";
    825 TrustTooLow "TRUST_TOO_LOW" false "The message that is answered requires more trust than the sender has.";
    826 InvalidBody "INVALID_BODY" false "A message without a type does not have the body of its performative.";
    827 InvalidPayload "INVALID_PAYLOAD" false "A payload is JSON that has no canonical form: a member twice, or a number that not every reader reads alike.";
    828 MessageIdTaken "MESSAGE_ID_TAKEN" false "The message id was used for another message.";
    829 MessageIdTooOld "MESSAGE_ID_TOO_OLD" false "The message id is older than those that are held for comparison: whether the message was taken can be read in the session.";
    830 InvalidMessageId "INVALID_MESSAGE_ID" false "The message id is not a UUID of version 7, or its time lies too far ahead of the broker's clock.";
    831 SessionEnded "SESSION_ENDED" false "The session has ended, and can only be read.";
    832 InvalidSession "INVALID_SESSION" false "The participants of a new session break a rule.";
    833 AlreadyParticipant "ALREADY_PARTICIPANT" false "The agent that is to be brought in takes part already.";
    834 RoleAboveOwn "ROLE_ABOVE_OWN" false "Only a coordinator brings in a coordinator, or lets a session go on.";
    840 CallNotFound "CALL_NOT_FOUND" false "There is no tool call of this identity, or it is none of yours.";
    841 CallIdTaken "CALL_ID_TAKEN" false "The call id was used for another tool call.";
    842 InvalidCallId "INVALID_CALL_ID" false "The call id is not a UUID of version 7, or is older than those that are held for comparison.";
    843 CallEnded "CALL_ENDED" false "The tool call has ended in another way.";
    844 TooManyOpenCalls "TOO_MANY_OPEN_CALLS" true "The organisation has as many open tool calls as it may have.";
    850 OutOfLimit "OUT_OF_LIMIT" false "A value of a request about agents, sessions or tool calls is outside its limits.";
    851 InvalidCursor "INVALID_CURSOR" false "The cursor is none that this request has answered.";
    852 AspUnavailable "ASP_UNAVAILABLE" false "A topic that holds what agents did is damaged or cannot be written; nothing is answered from it before it is repaired.";
    860 CommitmentNotFound "COMMITMENT_NOT_FOUND" false "There is no commitment of this identity, or you take no part in it.";
    861 InvalidCommitmentId "INVALID_COMMITMENT_ID" false "The commitment id is not a UUID of version 7.";
    862 CommitmentIdTaken "COMMITMENT_ID_TAKEN" false "The commitment id was used for another promise.";
    863 InvalidCommitment "INVALID_COMMITMENT" false "The parties of a promise break a rule: an agent promises to itself, or nobody could accept what it offers.";
    864 NotParty "NOT_PARTY" false "The agent has no say in the commitment or the dispute.";
    865 IllegalStep "ILLEGAL_STEP" false "The transition table does not allow this step in the state of the commitment or the dispute, or not to this agent.";
    866 AlreadyDelivered "ALREADY_DELIVERED" false "What was promised was delivered already; a delivery comes once.";
    867 EscrowNotHeld "ESCROW_NOT_HELD" false "What a promise wants held in escrow is not held.";
    868 TooManyCommitments "TOO_MANY_COMMITMENTS" true "The organisation has as many commitments that are not closed as it may have.";
    870 DisputeNotFound "DISPUTE_NOT_FOUND" false "There is no dispute of this identity, or you take no part in it.";
    871 InvalidDisputeId "INVALID_DISPUTE_ID" false "The dispute id is not a UUID of version 7.";
    872 DisputeIdTaken "DISPUTE_ID_TAKEN" false "The dispute id was used for another dispute.";
    873 AlreadyDisputed "ALREADY_DISPUTED" false "The agent has disputed the commitment already, which it may once.";
    874 AlreadyVoted "ALREADY_VOTED" false "The arbitrator has voted on the dispute already.";
    875 OtherMechanism "OTHER_MECHANISM" false "The dispute is decided by others: the log, arbitrators, or an operator.";
    876 ReasonRequired "REASON_REQUIRED" false "An operator rules with a reason, and there is none.";
    877 InvalidEvidence "INVALID_EVIDENCE" false "Evidence points to records that are not there or that you may not read, or gives another digest than they have.";
    880 NotCounterparty "NOT_COUNTERPARTY" false "Who rates an agent has not worked with it in the session, or is the agent itself.";
    881 AlreadyRated "ALREADY_RATED" false "The agent was rated by the same one in the session already, and otherwise; it is rated there once.";
    890 InsufficientFunds "INSUFFICIENT_FUNDS" false "The account has less available than is asked of it.";
    891 AboveCeiling "ABOVE_CEILING" false "The amount is above what the trust in the agent, or the agent itself, allows.";
    892 ListingNotFound "LISTING_NOT_FOUND" false "There is no listing of this identity, or it is not for you.";
    893 InvalidListingId "INVALID_LISTING_ID" false "The listing id is not a UUID of version 7.";
    894 ListingIdTaken "LISTING_ID_TAKEN" false "The listing id was used for another listing.";
    895 InvalidListing "INVALID_LISTING" false "What a listing says breaks a rule.";
    896 IllegalListingStep "ILLEGAL_LISTING_STEP" false "The table of states does not allow this step in the state of the listing.";
    897 SubscriptionNotFound "SUBSCRIPTION_NOT_FOUND" false "There is no subscription of this identity, or your organisation has no side in it.";
    898 InvalidSubscriptionId "INVALID_SUBSCRIPTION_ID" false "The subscription id is not a UUID of version 7.";
    899 SubscriptionIdTaken "SUBSCRIPTION_ID_TAKEN" false "The subscription id was used for another subscription.";
    900 IllegalSubscriptionStep "ILLEGAL_SUBSCRIPTION_STEP" false "The table of states does not allow this step in the state of the subscription.";
    901 AlreadySubscribed "ALREADY_SUBSCRIBED" false "The organisation has a subscription to the listing already that has not ended.";
    902 OwnListing "OWN_LISTING" false "The listing is the organisation's own: it neither subscribes to it nor rates it.";
    903 ListingClosed "LISTING_CLOSED" false "The listing takes no new subscriptions in its state.";
    904 NotInvited "NOT_INVITED" false "The listing is subscribed to by invitation, and the organisation is not invited.";
    905 TermsChanged "TERMS_CHANGED" false "The terms of the listing are not those that were named.";
    906 OrgKeyRequired "ORG_KEY_REQUIRED" false "What an organisation does on the market needs a key that speaks for all of its agents.";
    907 NotUsed "NOT_USED" false "Who rates a listing has not used it: no session of a subscription to it.";
    908 InvalidPaymentId "INVALID_PAYMENT_ID" false "The payment id is not a UUID of version 7, or its time lies too far ahead of the broker's clock.";
    909 PaymentIdTaken "PAYMENT_ID_TAKEN" false "The payment id was used for another payment.";
    910 InvalidOffer "INVALID_OFFER" false "The commitment that the payload of a COMMIT describes breaks a rule: a member is wrong, its deadline has passed, or it is to another agent than the message.";
    911 OfferLapsed "OFFER_LAPSED" false "The offer was not accepted in time, and binds nobody any more.";
    912 PaymentIdTooOld "PAYMENT_ID_TOO_OLD" false "The payment id is older than those that are held for comparison: whether it was booked can be read in the ledger.";
    915 EndorserNotTrusted "ENDORSER_NOT_TRUSTED" false "The score of the endorser, for other organisations, is below what endorsing takes.";
    916 TooManyEndorsements "TOO_MANY_ENDORSEMENTS" false "The agent has as many endorsements as count; one has to be taken back first.";
    917 InvalidEndorsement "INVALID_ENDORSEMENT" false "An agent endorses itself, or takes back what it has not given.";
    918 ChannelHeld "CHANNEL_HELD" false "An open dispute points to records of the channel, which can be deleted once it has ended.";
    919 TooManyDisputes "TOO_MANY_DISPUTES" true "The agent has filed as many disputes of late as it may, of those that the log does not decide.";
    920 NotARegion "NOT_A_REGION" false "The broker has no region name, so it has no peers and links to none.";
    921 UnknownRegion "UNKNOWN_REGION" false "No region of this name is known.";
    922 RegionMismatch "REGION_MISMATCH" false "Another region, or another data directory, is there than the one that was meant.";
    923 RegionUnreachable "REGION_UNREACHABLE" true "The region that has to answer can't be reached; nothing was carried out, or nobody knows.";
    924 NotHome "NOT_HOME" true "The channel lives in another region, which alone appends to it.";
    925 HomeMoving "HOME_MOVING" true "The home of the channel is being moved, and takes no writes for a moment.";
    926 SourceBehind "SOURCE_BEHIND" true "A copy that was asked to serve for its home has less than who asks.";
    928 CopyPartial "COPY_PARTIAL" false "The copy here does not have what is read, and a read of the channel's home was not wanted.";
    929 NoConsent "NO_CONSENT" false "The region may not hold the channel's bytes.";
    930 InvalidPattern "INVALID_PATTERN" false "A pattern of an interest breaks a rule.";
    931 InterestNotFound "INTEREST_NOT_FOUND" false "The region has declared no such interest.";
    932 LinkRequired "LINK_REQUIRED" false "The connection is no link between regions: link.open comes first.";
    933 TooManyFollowed "TOO_MANY_FOLLOWED" false "The link follows as many logs as it may.";
    934 ForwardRefused "FORWARD_REFUSED" false "A request of this kind is not carried out for another region, or spans several homes.";
    935 OutboxFull "OUTBOX_FULL" true "The outbox of the region has no room.";
    936 OutboxRefused "OUTBOX_REFUSED" false "The batch can't wait in an outbox: it names an expected offset or a fence, or its channel may have none here.";
    937 NotEnoughRegions "NOT_ENOUGH_REGIONS" true "The batch is appended, but fewer regions hold it than the channel asks for.";
    939 MoveRefused "MOVE_REFUSED" false "The home of the channel can't be moved there.";
    940 EscrowAcrossHomes "ESCROW_ACROSS_HOMES" false "The money is in another region than the promise that it is to stand behind; escrow is not held across home regions.";
    941 PurgeRefused "PURGE_REFUSED" false "What is to be removed is no copy, or an interest still wants it.";
    942 EachRegion "EACH_REGION" false "The channel has a log for each region: one of them has to be named, as CHANNEL@REGION.";
    943 CopyNotHere "COPY_NOT_HERE" true "No copy of what another region's agents say is here, or not all of it yet: it has been asked for.";
    944 CopyNotOffered "COPY_NOT_OFFERED" false "The region has nothing of that kind, or does not let it go to the region that is asked.";
    945 NameHeld "NAME_HELD" false "The channel lives in another region, which alone gives its name back.";
    947 RegionInUse "REGION_IN_USE" false "The region is home of something, so it can't leave: that has to be moved or deleted first.";
    948 RegionLeft "REGION_LEFT" false "The region has left the directory; it is let in again where it is added as a peer anew.";
    949 AsideUnreadable "ASIDE_UNREADABLE" false "The region has set no such file of records aside, or can not read it: it is damaged, or its key is gone.";
}

impl ErrorCode {
    /// The code with this number, if this version of the code knows it.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        ERRORS
            .iter()
            .map(|row| row.code)
            .find(|code| code.number() == number)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Its row of the table.
    #[must_use]
    pub fn info(self) -> &'static ErrorInfo {
        ERRORS
            .iter()
            .find(|row| row.code == self)
            .expect("the enum and the table are one macro")
    }

    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// Whether the same request may succeed later without being changed.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        self.info().retryable
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Longest text of an error, in bytes.
const MAX_MESSAGE_BYTES: usize = 1000;

/// The body of an error response: what a peer is told.
///
/// A client keeps codes that it does not know: number, name and `retryable` come with the error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireError {
    /// Number of the [`ErrorCode`].
    pub code: u16,
    /// Name of the code.
    pub name: Cow<'static, str>,
    /// A sentence fragment for people, with the values that disagree.
    pub message: String,
    /// Whether the same request may succeed later without being changed.
    pub retryable: bool,
    /// Values for programs, an object; null when there are none.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
    /// How long to wait before trying again, if the broker can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl WireError {
    /// An error with this code and text, without details. A text that repeats what a peer has
    /// sent is cut where it gets long.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MAX_MESSAGE_BYTES {
            message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
            message.push('…');
        }
        Self {
            code: code.number(),
            name: Cow::Borrowed(code.name()),
            message,
            retryable: code.is_retryable(),
            details: Value::Null,
            retry_after_ms: None,
        }
    }

    /// What a producer is told when the door of the log refused its batch.
    #[must_use]
    pub fn from_batch(error: &DecodeError) -> Self {
        let largest = (MAX_BATCH_BYTES - BATCH_HEADER_BYTES) as u64;
        let code = match error {
            DecodeError::Checksum { .. } => ErrorCode::BatchChecksum,
            DecodeError::UnsupportedVersion { .. } => ErrorCode::UnsupportedVersion,
            DecodeError::Length {
                what: "length of a record",
                ..
            } => ErrorCode::RecordTooLarge,
            // More than its records may have together, so one of them is too large.
            DecodeError::Length {
                what: "uncompressed_len of a batch",
                limit,
                ..
            } if *limit != largest => ErrorCode::RecordTooLarge,
            DecodeError::Length {
                what:
                    "length of a batch" | "uncompressed_len of a batch" | "record_count of a batch",
                ..
            } => ErrorCode::BatchTooLarge,
            DecodeError::Field {
                what: "compression of a batch",
                value: 1..=3,
                ..
            } => ErrorCode::CompressionNotAllowed,
            _ => ErrorCode::InvalidBatch,
        };
        let text = match error {
            DecodeError::Length {
                what: "length of a record",
                found,
                limit,
                ..
            } if code == ErrorCode::RecordTooLarge => {
                format!("a record of {found} bytes, where the channel's largest is {limit}")
            }
            DecodeError::Length { found, limit, .. } if code == ErrorCode::RecordTooLarge => {
                format!(
                    "a record is larger than the channel's largest: all of the batch are {found} \
                     bytes, where they could be {limit}"
                )
            }
            _ => error.to_string(),
        };
        let wire = Self::new(code, text);
        match error {
            DecodeError::Length { found, limit, .. } => {
                wire.with("found", *found).with("limit", *limit)
            }
            DecodeError::UnsupportedVersion {
                found, supported, ..
            } => wire
                .with("version", *found)
                .with("min", 1)
                .with("max", *supported),
            _ => wire,
        }
    }

    /// The error with one more value among its details.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Value::Object(fields) = &mut self.details {
            fields.insert(name.to_owned(), value.into());
        } else {
            self.details = Value::Object([(name.to_owned(), value.into())].into_iter().collect());
        }
        self
    }

    /// The error with a time to wait before the next try.
    #[must_use]
    pub fn retry_after_ms(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// The code, if this version of the code knows it.
    #[must_use]
    pub fn known(&self) -> Option<ErrorCode> {
        ErrorCode::from_number(self.code)
    }

    /// Whether it has this code.
    #[must_use]
    pub fn is(&self, code: ErrorCode) -> bool {
        self.code == code.number()
    }

    /// A text among the details.
    #[must_use]
    pub fn detail(&self, name: &str) -> Option<&str> {
        self.details.get(name)?.as_str()
    }

    /// A whole number among the details.
    #[must_use]
    pub fn detail_u64(&self, name: &str) -> Option<u64> {
        self.details.get(name)?.as_u64()
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.name, self.code, self.message)
    }
}

impl std::error::Error for WireError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_in_order() {
        assert!(ERRORS.is_sorted_by(|a, b| a.code.number() < b.code.number()));
        let mut names: Vec<_> = ERRORS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ERRORS.len());
        assert!(ERRORS.iter().all(|row| row.code.number() != 0));
    }

    #[test]
    fn each_way_to_refuse_a_batch_has_its_code() {
        use crate::format::testing::produced;
        use crate::format::{Compression, DoorLimits, NewRecord, check_produced};
        let payload = vec![b'x'; 10_000];
        let build = |compression| {
            let record = NewRecord {
                payload: Some(&payload),
                ..NewRecord::default()
            };
            produced(compression, &[record])
        };
        let limits = DoorLimits {
            max_record_bytes: 1 << 20,
            lz4: true,
            zstd: false,
        };
        let small = DoorLimits {
            max_record_bytes: 1000,
            ..limits
        };
        let told = |bytes: &[u8], limits: &DoorLimits| {
            let error = check_produced(bytes, limits).unwrap_err();
            WireError::from_batch(&error).known().unwrap()
        };
        let plain = build(Compression::None);
        let with = |at: usize, byte: u8| {
            let mut bytes = plain.clone();
            bytes[at] = byte;
            bytes
        };
        assert_eq!(
            told(&build(Compression::Zstd), &limits),
            ErrorCode::CompressionNotAllowed
        );
        assert_eq!(
            told(&build(Compression::Lz4), &small),
            ErrorCode::RecordTooLarge
        );
        assert_eq!(told(&plain, &small), ErrorCode::RecordTooLarge);
        assert_eq!(told(&with(5000, b'y'), &limits), ErrorCode::BatchChecksum);
        assert_eq!(told(&with(8, 9), &limits), ErrorCode::UnsupportedVersion);
        assert_eq!(told(&with(3, 0xFF), &limits), ErrorCode::BatchTooLarge);
        assert_eq!(told(&with(20, 1), &limits), ErrorCode::InvalidBatch);
        assert_eq!(told(&plain[..50], &limits), ErrorCode::InvalidBatch);
    }

    #[test]
    fn an_unknown_code_is_kept_as_it_came() {
        let text = r#"{"code":9999,"name":"NEW","message":"m","retryable":true,"later":1}"#;
        let error: WireError = serde_json::from_str(text).unwrap();
        assert_eq!(
            (error.known(), error.retryable, &*error.name),
            (None, true, "NEW")
        );
    }
}
