//! Why a command did not do what it was asked to: one line for people, and the exit code.

use std::error::Error;
use std::fmt;
use std::io;

use crate::client::{
    AtomicError, ConnectError, ConsumeError, LostError, MergedError, PublishError, RequestError,
};
use crate::protocol::{ErrorCode, FrameError, WireError};
use crate::tls::TlsFailure;

/// Why a command failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The command line is wrong; exit code 2.
    Usage(Fault),
    /// The command could not be carried out; exit code 1.
    Failed(Fault),
    /// Whoever read the output has gone; nothing is said about it, exit code 0.
    OutputClosed,
}

/// What went wrong, why, and what to try. Shown as `what: why; hint`.
#[derive(Debug, Default)]
pub struct Fault {
    what: String,
    why: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure with its reason and all that lies behind it.
    pub fn new(what: impl Into<String>, why: &dyn Error) -> Self {
        Self::because(what, chain(why))
    }

    /// A failure with its reason in words.
    pub fn because(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Failed(Fault {
            what: what.into(),
            why: why.into(),
            hint: None,
        })
    }

    /// A command line that is wrong.
    pub fn usage(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Usage(Fault {
            what: what.into(),
            why: why.into(),
            hint: None,
        })
    }

    /// The failure with what to try, in place of what was suggested before.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Failed(fault) | Self::Usage(fault) = &mut self {
            fault.hint = Some(hint.into());
        }
        self
    }

    fn hint_or_none(self, hint: Option<String>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// What went wrong with the output.
    #[must_use]
    pub fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::new("writing the output", error)
    }

    /// There is no connection.
    #[must_use]
    pub fn connect(error: &ConnectError) -> Self {
        if let ConnectError::Url(error) = error {
            return Self::usage("--url", error.to_string());
        }
        Self::new("no broker", error).hint_or_none(hint_for_connect(error))
    }

    /// A request failed; `what` was being done, to `channel` if it was one.
    pub fn request(what: impl Into<String>, error: &RequestError, channel: Option<&str>) -> Self {
        match error {
            RequestError::Connect(error) => Self::connect(error),
            _ => Self::new(what, error).hint_or_none(hint_for(error.server(), channel)),
        }
    }

    /// Records were not published.
    pub fn publish(what: impl Into<String>, error: &PublishError, channel: &str) -> Self {
        // What failed first says more than that something before has failed.
        let mut first = error;
        while let PublishError::Poisoned(before) = first {
            first = before;
        }
        let mut hint = hint_for(first.server(), Some(channel));
        if let PublishError::Timeout { last, .. } = first {
            hint = match last.as_deref() {
                Some(RequestError::Connect(error)) => hint_for_connect(error),
                _ => hint,
            }
            .or_else(|| Some("see how the broker is, or set a longer --timeout-s".to_owned()));
        }
        Self::new(what, first).hint_or_none(hint)
    }

    /// An atomic publish was not carried out.
    pub fn atomic(what: impl Into<String>, error: &AtomicError) -> Self {
        match error {
            AtomicError::Request(error) => Self::request(what, error, None),
            _ => Self::new(what, error),
        }
    }

    /// Records could not be read.
    pub fn consume(what: impl Into<String>, error: &ConsumeError, channel: &str) -> Self {
        let hint = match error {
            ConsumeError::Request(error) => return Self::request(what, error, Some(channel)),
            ConsumeError::Trimmed { first, .. } => Some(format!("try --from {first}")),
            ConsumeError::OutOfRange { start, end } => Some(format!(
                "try an offset from {start} to {end}, or --from start"
            )),
            ConsumeError::Damaged {
                next: Some(next), ..
            } => Some(format!("go on behind the damage with --from {next}")),
            ConsumeError::Lost(lost) => Some(format!(
                "go on behind them with --from {}, or with --gaps yield",
                lost.end
            )),
            ConsumeError::Damaged { .. } | ConsumeError::Corrupt { .. } => {
                Some("check the data directory with `npayload-inspect verify`".to_owned())
            }
            ConsumeError::Diverged(_) | ConsumeError::Recreated(_) => {
                Some("begin again with --from start".to_owned())
            }
            _ => hint_for(error.server(), Some(channel)),
        };
        Self::new(what, error).hint_or_none(hint)
    }

    /// The logs of a channel could not be read together.
    pub fn merged(what: impl Into<String>, error: &MergedError, channel: &str) -> Self {
        let hint = match error {
            MergedError::Request(error) => return Self::request(what, error, Some(channel)),
            MergedError::OneLog { .. } => {
                Some("name places as offsets, not as a vector".to_owned())
            }
            MergedError::Behind { region, .. } => Some(format!(
                "see `npayload region status` for the link to {region}, or read up to what is here"
            )),
            _ => hint_for(error.server(), Some(channel)),
        };
        Self::new(what, error).hint_or_none(hint)
    }

    /// The exit code of the program.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
            Self::OutputClosed => 0,
        }
    }

    /// Tells it on stderr, in one line; nothing when only the reader of the output has gone.
    pub fn report(&self) {
        if !matches!(self, Self::OutputClosed) {
            eprintln!("npayload: {self}");
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(fault) | Self::Failed(fault)) = self else {
            return f.write_str("the output was closed");
        };
        let mut line = format!("{}: {}", fault.what, fault.why);
        if let Some(hint) = &fault.hint {
            line.push_str("; ");
            line.push_str(hint);
        }
        // One line, whatever a path or a broker's message holds.
        f.write_str(&line.replace(char::is_control, " "))
    }
}

impl Error for Failure {}

/// An error and what lies behind it, each part once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Whether what came in place of a frame is how an answer of HTTP begins.
fn is_http(lost: &LostError) -> bool {
    let LostError::Frame(error) = lost else {
        return false;
    };
    matches!(**error, FrameError::TooLong { length, .. } if length.to_le_bytes() == *b"HTTP")
}

fn hint_for_connect(error: &ConnectError) -> Option<String> {
    match error {
        ConnectError::Io { .. } | ConnectError::Timeout { .. } => Some(
            "start one with `npayload serve`, or name another with --url or NPAYLOAD_URL"
                .to_owned(),
        ),
        ConnectError::PlainKey { .. } => Some(
            "connect with npayload+tls://, or --tls; --plain-key shows the key to the whole network"
                .to_owned(),
        ),
        ConnectError::Protocol { source, .. } if is_http(source) => Some(
            "what answers there speaks HTTP, as the broker's port for /metrics and /healthz does; \
             name the address of its --listen with --url or NPAYLOAD_URL"
                .to_owned(),
        ),
        ConnectError::Protocol { .. } => {
            Some("name a broker with --url or NPAYLOAD_URL".to_owned())
        }
        ConnectError::Tls { source, .. } => hint_for_tls(source).map(str::to_owned),
        ConnectError::Refused { source, .. } if source.is(ErrorCode::TlsRequired) => {
            Some("say --tls, and --ca FILE where its CA is your own".to_owned())
        }
        ConnectError::Refused { source, .. } => hint_for(Some(source), None),
        _ => None,
    }
}

/// What to try after a handshake that failed.
fn hint_for_tls(failure: &TlsFailure) -> Option<&'static str> {
    Some(match failure {
        TlsFailure::UnknownIssuer { .. } | TlsFailure::OtherKey { .. } => {
            "name its CA with --ca FILE or NPAYLOAD_CA"
        }
        TlsFailure::Expired { .. } => "give the broker a new certificate; it takes it as it runs",
        TlsFailure::WrongName { .. } => {
            "connect to a name that the certificate has, or say which with --server-name"
        }
        TlsFailure::CertificateDemanded => "show one with --cert FILE --cert-key FILE",
        TlsFailure::CertificateRefused { .. } => {
            "show one that its client CA has issued, with --cert FILE --cert-key FILE"
        }
        TlsFailure::NotTls => "if that is meant, connect with npayload:// and without --tls",
        TlsFailure::OtherProtocol => "name the port of the binary protocol, not that of --http",
        _ => return None,
    })
}

/// What to try after a refusal.
fn hint_for(error: Option<&WireError>, channel: Option<&str>) -> Option<String> {
    let error = error?;
    let channel = channel.or_else(|| error.detail("channel"));
    let channel = channel.unwrap_or("NAME");
    let hint = match error.known()? {
        // Nobody makes channels of others, and theirs are not told from absent ones.
        ErrorCode::ChannelNotFound if channel.contains('/') => {
            "see `npayload channel list` for those there are, and `npayload grant list` for what \
             other organisations let yours do"
                .to_owned()
        }
        ErrorCode::ChannelNotFound => format!(
            "create it with `npayload channel create {channel}`, or see `npayload channel list`"
        ),
        ErrorCode::EachRegion => {
            format!("name one log as `{channel}@REGION`; see `npayload channel info {channel}`")
        }
        ErrorCode::ChannelExists => {
            "add --if-not-exists, or change it with `npayload channel update`".to_owned()
        }
        ErrorCode::InternalTopic => "read it with `npayload consume`".to_owned(),
        ErrorCode::RecordTooLarge => format!(
            "allow larger ones with `npayload channel update {channel} --max-record-bytes N`"
        ),
        ErrorCode::BatchTooLarge => "set a smaller --batch-records".to_owned(),
        ErrorCode::CompressionNotAllowed => {
            format!("see `npayload channel info {channel}` for those it allows")
        }
        ErrorCode::ExpectedOffsetMismatch => {
            format!("see `npayload channel info {channel}` for its log end")
        }
        ErrorCode::Fenced => "another writer has taken over with a higher --fence".to_owned(),
        ErrorCode::OffsetTrimmed => format!(
            "try {}",
            error
                .detail_u64("first")
                .map_or_else(|| "start".to_owned(), |first| first.to_string())
        ),
        ErrorCode::OffsetOutOfRange => match (error.detail_u64("start"), error.detail_u64("end")) {
            (Some(start), Some(end)) => format!("try an offset from {start} to {end}"),
            _ => format!("see `npayload channel info {channel}` for the offsets it has"),
        },
        ErrorCode::ConsumerNotFound => format!("see `npayload consumer list {channel}`"),
        ErrorCode::PositionMismatch => {
            format!("see `npayload consumer position {channel} CONSUMER`")
        }
        ErrorCode::DiskFull => "free space on the broker's disk, then try again".to_owned(),
        ErrorCode::JournalFailed | ErrorCode::ChannelPoisoned => {
            "look at the broker's log and its disk, then restart it".to_owned()
        }
        ErrorCode::KeyUnavailable => {
            "start the broker with the master key, see `npayload broker info`".to_owned()
        }
        ErrorCode::NotEncrypted => {
            format!("encrypt it with `npayload channel configure {channel} --encryption on`")
        }
        ErrorCode::NotAuthentic => {
            "find out who writes to the broker's disk, and restore what was there".to_owned()
        }
        ErrorCode::Damaged => "check the data directory with `npayload-inspect verify`".to_owned(),
        ErrorCode::Unauthenticated | ErrorCode::KeyRevoked | ErrorCode::KeyExpired => {
            "show a key that works with NPAYLOAD_API_KEY or --api-key-file".to_owned()
        }
        ErrorCode::Forbidden if error.detail("owner").is_some() => hint_for_guest(error),
        ErrorCode::Forbidden | ErrorCode::Escalation => {
            "use a key with that scope; who administers keys can make one".to_owned()
        }
        ErrorCode::OrgNotFound => "see `npayload org list`".to_owned(),
        ErrorCode::KeyNotFound => "see `npayload key list`".to_owned(),
        ErrorCode::GrantNotFound => "see `npayload grant list`".to_owned(),
        ErrorCode::AgentNotFound => "see `npayload agent search`".to_owned(),
        ErrorCode::AgentNotRegistered => "register it with `npayload agent register`".to_owned(),
        ErrorCode::NotYourAgent => {
            "use a key with the scope asp:*:AGENT; who administers keys can make one".to_owned()
        }
        ErrorCode::SignatureRequired | ErrorCode::InvalidSignature => {
            "name the file with the agent's secret key with --signing-key-file".to_owned()
        }
        ErrorCode::NoPublicKey => "give it one with `npayload agent key`".to_owned(),
        ErrorCode::SessionNotFound => "see `npayload session list`".to_owned(),
        ErrorCode::NotParticipant => "see `npayload session show` for who takes part".to_owned(),
        ErrorCode::SessionEnded => "read it with `npayload session tail`".to_owned(),
        ErrorCode::OfferNotOpen => {
            "name an offer that nobody has answered with --reply-to, see `npayload session tail`"
                .to_owned()
        }
        ErrorCode::MessageIdTaken | ErrorCode::InvalidMessageId => {
            "leave --id out for a new one".to_owned()
        }
        ErrorCode::MessageIdTooOld => {
            "see `npayload session tail` for whether it was taken".to_owned()
        }
        ErrorCode::CallNotFound => "see `npayload tool list`".to_owned(),
        ErrorCode::CallIdTaken | ErrorCode::InvalidCallId => {
            "leave --id out for a new one".to_owned()
        }
        ErrorCode::CallEnded => "see `npayload tool show`".to_owned(),
        ErrorCode::TooManyOpenCalls => {
            "end some, see `npayload tool list --outcome open`".to_owned()
        }
        ErrorCode::CommitmentNotFound => "see `npayload commitment list`".to_owned(),
        ErrorCode::IllegalStep | ErrorCode::NotParty | ErrorCode::AlreadyDelivered => {
            "see `npayload commitment show` and `npayload dispute show` for where it stands"
                .to_owned()
        }
        ErrorCode::CommitmentIdTaken
        | ErrorCode::InvalidCommitmentId
        | ErrorCode::DisputeIdTaken
        | ErrorCode::InvalidDisputeId => "leave --id out for a new one".to_owned(),
        ErrorCode::PaymentIdTaken | ErrorCode::InvalidPaymentId | ErrorCode::PaymentIdTooOld => {
            "see `npayload escrow ledger` for what was booked; leave --id out for a new one"
                .to_owned()
        }
        ErrorCode::TooManyCommitments => {
            "see `npayload commitment list --state active` for those that are open".to_owned()
        }
        ErrorCode::DisputeNotFound => "see `npayload dispute list`".to_owned(),
        ErrorCode::AlreadyDisputed => "see `npayload dispute list --commitment`".to_owned(),
        ErrorCode::OtherMechanism => {
            "see `npayload dispute show` for who decides; --agent names the arbitrator that votes"
                .to_owned()
        }
        ErrorCode::ReasonRequired => {
            "say why: behind the verdict on a dispute, with --reason on a listing".to_owned()
        }
        ErrorCode::InsufficientFunds | ErrorCode::EscrowNotHeld => {
            "see `npayload escrow balance`; an operator deposits with `npayload escrow deposit`"
                .to_owned()
        }
        ErrorCode::AboveCeiling => {
            "see `npayload trust show` and `npayload agent show` for what it may promise".to_owned()
        }
        ErrorCode::ListingNotFound => "see `npayload market search`".to_owned(),
        ErrorCode::ListingIdTaken | ErrorCode::InvalidListingId => {
            "leave --id out for a new one".to_owned()
        }
        ErrorCode::IllegalListingStep | ErrorCode::ListingClosed | ErrorCode::TermsChanged => {
            "see `npayload market info` for where the listing stands".to_owned()
        }
        ErrorCode::SubscriptionNotFound
        | ErrorCode::IllegalSubscriptionStep
        | ErrorCode::AlreadySubscribed => "see `npayload market subscriptions`".to_owned(),
        ErrorCode::NotInvited => {
            "its owner invites with `npayload market update LISTING --invite`".to_owned()
        }
        ErrorCode::OrgKeyRequired => {
            "use a key with the scope asp, for all agents; who administers keys can make one"
                .to_owned()
        }
        ErrorCode::NotUsed => "subscribe to it, and open a session with its agents".to_owned(),
        ErrorCode::AspUnavailable => {
            "check the data directory with `npayload-inspect verify`".to_owned()
        }
        ErrorCode::Overloaded
        | ErrorCode::RateLimited
        | ErrorCode::Timeout
        | ErrorCode::ShuttingDown
        | ErrorCode::TooManyConnections => "try again later".to_owned(),
        _ => return None,
    };
    Some(hint)
}

/// What to try on another organisation's channel, of which it has granted something else.
fn hint_for_guest(error: &WireError) -> String {
    let owner = error.detail("owner").unwrap_or("its owner");
    match error.detail("operation") {
        Some(operation @ ("publish" | "consume")) => format!(
            "{owner} has to grant {operation} as well, with `npayload grant create {operation}`; \
             see `npayload grant list` for what it has granted"
        ),
        _ => format!("only keys of {owner} can do that"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_failure_is_one_line_of_what_why_and_what_to_try() {
        let refused = ConnectError::Io {
            url: "npayload://127.0.0.1:7400".to_owned(),
            source: Arc::new(io::Error::from(io::ErrorKind::ConnectionRefused)),
        };
        let failure = Failure::request("listing channels", &RequestError::Connect(refused), None);
        assert_eq!(
            failure.to_string(),
            "no broker: connecting to npayload://127.0.0.1:7400: connection refused; \
             start one with `npayload serve`, or name another with --url or NPAYLOAD_URL"
        );
        assert_eq!(failure.exit_code(), 1);
        let failure = Failure::because("a\nb", "c\r\nd").hint("e");
        assert_eq!(failure.to_string(), "a b: c  d; e");
        assert_eq!(Failure::usage("a", "b").exit_code(), 2);
        assert_eq!(Failure::OutputClosed.exit_code(), 0);
    }

    #[test]
    fn the_first_failure_is_told_not_the_ones_it_caused() {
        let wire = WireError::new(ErrorCode::RecordTooLarge, "record of 5 bytes, limit 4");
        let first = PublishError::Server(Box::new(wire));
        let after = PublishError::Poisoned(Arc::new(first));
        assert_eq!(
            Failure::publish("publishing to x", &after, "x").to_string(),
            "publishing to x: RECORD_TOO_LARGE (203): record of 5 bytes, limit 4; \
             allow larger ones with `npayload channel update x --max-record-bytes N`"
        );
        let timeout = PublishError::Timeout {
            after: Duration::from_secs(3),
            last: None,
        };
        assert_eq!(
            Failure::publish("publishing to x", &timeout, "x").to_string(),
            "publishing to x: not acknowledged within 3s; the record may have been appended; \
             see how the broker is, or set a longer --timeout-s"
        );
    }

    #[test]
    fn a_channel_of_others_is_not_proposed_to_be_made_and_the_channel_that_lacks_is_named() {
        let told = |wire: WireError, channel: Option<&str>| {
            let error = RequestError::Server(Box::new(wire));
            Failure::request("publishing", &error, channel).to_string()
        };
        let absent = || WireError::new(ErrorCode::ChannelNotFound, "there is none");
        let own = told(absent().with("channel", "raw"), None);
        assert!(own.contains("`npayload channel create raw`"), "{own}");
        let other = told(absent(), Some("acme/orders"));
        assert!(!other.contains("channel create"), "{other}");
        let refused = |operation: &str| {
            let wire = WireError::new(ErrorCode::Forbidden, "it may not");
            let wire = wire.with("operation", operation).with("owner", "acme");
            told(wire, Some("acme/orders"))
        };
        let publish = refused("publish");
        assert!(publish.contains("acme has to grant publish"), "{publish}");
        let delete = refused("channelAdmin");
        assert!(
            delete.ends_with("; only keys of acme can do that"),
            "{delete}"
        );
    }

    #[test]
    fn the_port_of_the_metrics_is_told_from_others_that_are_no_brokers() {
        let answered = |bytes: &[u8; 24]| {
            let decoder = crate::protocol::FrameDecoder::responses(1 << 20);
            let source = decoder.peek(bytes).unwrap_err();
            let source = LostError::Frame(Arc::new(source));
            let url = "npayload://127.0.0.1:7401".to_owned();
            Failure::connect(&ConnectError::Protocol { url, source }).to_string()
        };
        let http = answered(b"HTTP/1.1 400 Bad Request");
        assert!(http.contains("speaks HTTP"), "{http}");
        let other = answered(b"SSH-2.0-OpenSSH_9.6 a bc");
        assert!(
            other.ends_with("; name a broker with --url or NPAYLOAD_URL"),
            "{other}"
        );
    }

    #[test]
    fn a_trimmed_offset_is_answered_with_the_first_that_is_left() {
        let wire = WireError::new(ErrorCode::OffsetTrimmed, "offset 3 is below 10");
        let error = RequestError::Server(Box::new(wire.with("first", 10).with("end", 20)));
        let text = Failure::request("resetting", &error, Some("x")).to_string();
        assert!(text.ends_with("; try 10"), "{text}");
        let error = ConsumeError::Trimmed {
            first: crate::types::Offset(10),
            end: crate::types::Offset(20),
        };
        assert_eq!(
            Failure::consume("consuming x", &error, "x").to_string(),
            "consuming x: the records below offset 10 are gone; the channel holds 10 to 20; \
             try --from 10"
        );
    }
}
