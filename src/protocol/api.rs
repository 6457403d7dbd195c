//! The one table of request kinds. `docs/wire-protocol.md`, "Kinds".

use super::frame::{MAX_CONTROL_FRAME_BYTES, MAX_FRAME_BYTES, MAX_HELLO_FRAME_BYTES};

/// How the bodies of a kind are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Fixed fields, strings and blobs, little-endian.
    Binary,
    /// One JSON object, UTF-8.
    Json,
    /// No bytes at all.
    Empty,
}

impl Encoding {
    /// The word used in the document.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Json => "JSON",
            Self::Empty => "empty",
        }
    }
}

/// What a request asks for. The discriminant is the number on the wire; numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Kind {
    /// Opens a connection: names, versions, limits.
    Hello = 1,
    /// Asks for nothing but an answer.
    Ping = 2,
    /// Appends one batch to one channel.
    Publish = 16,
    /// Appends to several channels and commits for several consumers, all or nothing.
    PublishAtomic = 17,
    /// Reads whole batches, waiting for them if asked to.
    Fetch = 18,
    /// Stores a consumer's position.
    Commit = 19,
    /// Creates a channel.
    ChannelCreate = 32,
    /// Lists channels.
    ChannelList = 33,
    /// Describes one channel.
    ChannelInfo = 34,
    /// Changes a channel's configuration.
    ChannelUpdate = 35,
    /// Deletes a channel and all its records.
    ChannelDelete = 36,
    /// Turns a place in a channel (an end, a time) into an offset.
    ChannelResolve = 37,
    /// Lists the consumers of a channel.
    ConsumerList = 48,
    /// Tells one consumer's position and lag.
    ConsumerPosition = 49,
    /// Moves a consumer to another place.
    ConsumerReset = 50,
    /// Lists the lag of all consumers, of one channel or of all.
    ConsumerLag = 51,
    /// Forgets a consumer.
    ConsumerDelete = 52,
    /// Describes the broker.
    BrokerInfo = 64,
    /// Has all that is stored checked now.
    BrokerScrub = 65,
    /// Gives an encrypted channel a new key.
    ChannelRotateKey = 66,
    /// Creates an organisation.
    OrgCreate = 80,
    /// Lists organisations.
    OrgList = 81,
    /// Sets what an organisation may use.
    OrgLimit = 82,
    /// Makes an API key.
    KeyCreate = 83,
    /// Lists the keys of an organisation.
    KeyList = 84,
    /// Replaces a key by another that may do the same.
    KeyRotate = 85,
    /// Ends a key at once.
    KeyRevoke = 86,
    /// Proposes that one organisation uses channels of another.
    GrantPropose = 87,
    /// Lists the grants of an organisation.
    GrantList = 88,
    /// Agrees to a proposed grant.
    GrantAccept = 89,
    /// Ends a grant, or declines one.
    GrantRevoke = 90,
    /// Registers an agent, or replaces what it says of itself.
    AgentRegister = 100,
    /// Takes an agent out of search.
    AgentDeregister = 101,
    /// Says whether an agent can be reached.
    AgentAvailability = 102,
    /// Gives an agent a public key, another one, or none.
    AgentSetKey = 103,
    /// Describes an agent.
    AgentInfo = 104,
    /// Finds agents.
    AgentSearch = 105,
    /// Reads what came for an agent, waiting for it if asked to.
    AgentInbox = 106,
    /// Begins a session.
    SessionCreate = 110,
    /// Lists sessions.
    SessionList = 111,
    /// Describes a session.
    SessionInfo = 112,
    /// Says something in a session.
    SessionSend = 113,
    /// Reads the records of a session, waiting for them if asked to.
    SessionHistory = 114,
    /// Leaves a session.
    SessionLeave = 115,
    /// Lets an escalated session go on.
    SessionResume = 116,
    /// Says that a tool is called.
    ToolStart = 120,
    /// Says how far a call is.
    ToolProgress = 121,
    /// Says that a call has come to its result.
    ToolFinish = 122,
    /// Says that a call has failed.
    ToolFail = 123,
    /// Lists tool calls.
    ToolList = 124,
    /// Describes a tool call.
    ToolInfo = 125,
    /// Sums up the calls of each tool.
    ToolStats = 126,
    /// Promises something in a session.
    CommitmentCreate = 130,
    /// Says that what was promised is delivered.
    CommitmentDeliver = 131,
    /// Says that a delivery is what was promised.
    CommitmentConfirm = 132,
    /// Makes the time for judging a delivery shorter.
    CommitmentWindow = 133,
    /// Lists commitments.
    CommitmentList = 134,
    /// Describes a commitment.
    CommitmentInfo = 135,
    /// Exports a receipt of a commitment, which can be verified without a broker.
    CommitmentReceipt = 136,
    /// Says that a promise was not kept.
    DisputeCreate = 140,
    /// Answers a dispute.
    DisputeAnswer = 141,
    /// Takes a dispute back.
    DisputeWithdraw = 142,
    /// Votes on a dispute as an arbitrator, or rules on it as an operator.
    DisputeRule = 143,
    /// Lists disputes.
    DisputeList = 144,
    /// Describes a dispute.
    DisputeInfo = 145,
    /// Tells how far an agent is trusted.
    TrustScore = 150,
    /// Tells why an agent is trusted so far, with the evidence.
    TrustExplain = 151,
    /// Endorses an agent, or takes that back.
    TrustEndorse = 152,
    /// Rates an agent for what it did in a session.
    TrustRate = 153,
    /// Says that an operator knows who an organisation is, or takes that back.
    OrgVerify = 154,
    /// Puts money into an account.
    EscrowDeposit = 160,
    /// Takes money out of an account.
    EscrowWithdraw = 161,
    /// Tells what accounts hold.
    EscrowBalance = 162,
    /// Lists what happened to accounts.
    EscrowLedger = 163,
    /// Writes a listing down, as a draft.
    MarketCreate = 170,
    /// Changes what a listing says.
    MarketUpdate = 171,
    /// Hands a listing in for review.
    MarketSubmit = 172,
    /// Says, as an operator, whether a listing may be shown.
    MarketReview = 173,
    /// Takes a listing down.
    MarketArchive = 174,
    /// Finds listings.
    MarketSearch = 175,
    /// Describes a listing.
    MarketInfo = 176,
    /// Subscribes to a listing, or asks its owner to.
    MarketSubscribe = 177,
    /// Says, as the publisher, what becomes of a subscription.
    MarketApprove = 178,
    /// Ends a subscription.
    MarketCancel = 179,
    /// Rates a listing.
    MarketRate = 180,
    /// Lists subscriptions.
    MarketSubscriptions = 181,
    /// Tells what a subscription was used for, and what that costs.
    MarketUsage = 182,
    /// Makes a connection a link between regions.
    LinkOpen = 190,
    /// Lists the logs of a peer, waiting for a change if asked to.
    LinkLogs = 191,
    /// Follows logs of a peer.
    LinkFollow = 192,
    /// Follows logs no longer.
    LinkUnfollow = 193,
    /// Reads whatever is new in the logs followed, waiting for it.
    LinkFetch = 194,
    /// Carries a request out where what it is about lives.
    LinkForward = 195,
    /// Digests a range of a log, to compare it.
    LinkDigest = 196,
    /// Asks the home of a log to stop writing, for a planned move.
    HomeFence = 197,
    /// Asks the target of a planned move to give it up.
    HomeDecline = 198,
    /// Asks another region to become home of a log.
    HomeTake = 199,
    /// Lists regions.
    RegionList = 200,
    /// Tells how links and copies are.
    RegionStatus = 201,
    /// Compares a copy with its home.
    RegionVerify = 202,
    /// Moves the home of a channel.
    RegionMove = 203,
    /// Removes a copy.
    RegionPurge = 204,
    /// Follows a stopped copy again.
    RegionRetry = 205,
    /// Adds a peer, changes its address, or removes it.
    RegionPeer = 206,
    /// Declares interest in channels of other regions.
    InterestAdd = 210,
    /// Lists what the region wants of others.
    InterestList = 211,
    /// Withdraws interest.
    InterestRemove = 212,
    /// Asks something of the directory of all regions.
    LinkDirectory = 213,
    /// Makes a channel in the region that is asked, for another one.
    LinkCreate = 214,
    /// Says which regions may hold what.
    ConsentSet = 215,
    /// Lists which regions may hold what.
    ConsentList = 216,
    /// Tells which logs a channel has.
    RegionLogs = 217,
    /// Asks whether something that follows from a session is in the region that is asked.
    LinkFind = 218,
    /// Fetches what a copy may not have.
    FetchBeyond = 219,
    /// Moves the directory of all regions.
    DirectoryMove = 220,
    /// Takes a region out of the directory.
    RegionLeave = 221,
    /// Reads what agents have said in other regions, as far as it is known here.
    CopiesRead = 222,
    /// Looks at what the region has set aside, reads it, notes that it was published again.
    RegionAside = 224,
    /// Takes what a forced move may have lost off the list.
    RegionAcknowledge = 225,
    /// Asks what a region has ever heard of the home of a log.
    LinkSeen = 226,
    /// Takes a name out of the directory that its region can't give back.
    DirectoryUnname = 227,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Api {
    /// The kind; its number is `kind.number()`.
    pub kind: Kind,
    /// The name in the document, in hello answers, in metrics and logs.
    pub name: &'static str,
    /// Oldest version of the request that is understood.
    pub min_version: u16,
    /// Newest version of the request that is understood.
    pub max_version: u16,
    /// How request and response are written.
    pub encoding: Encoding,
    /// Largest request frame: the bytes after its length field.
    pub max_frame_bytes: u32,
}

const fn row(kind: Kind, name: &'static str, encoding: Encoding, max_frame_bytes: u32) -> Api {
    Api {
        kind,
        name,
        min_version: 1,
        max_version: 1,
        encoding,
        max_frame_bytes,
    }
}

/// The same kind, which is understood in versions 1 and 2.
const fn in_two_versions(api: Api) -> Api {
    Api {
        max_version: 2,
        ..api
    }
}

/// A row of a kind whose bodies are JSON.
const fn control(kind: Kind, name: &'static str) -> Api {
    row(kind, name, Encoding::Json, MAX_CONTROL_FRAME_BYTES)
}

/// Every request kind, by number.
pub const APIS: [Api; 121] = [
    row(Kind::Hello, "hello", Encoding::Json, MAX_HELLO_FRAME_BYTES),
    row(Kind::Ping, "ping", Encoding::Empty, MAX_CONTROL_FRAME_BYTES),
    in_two_versions(row(
        Kind::Publish,
        "publish",
        Encoding::Binary,
        MAX_FRAME_BYTES,
    )),
    in_two_versions(row(
        Kind::PublishAtomic,
        "publish_atomic",
        Encoding::Binary,
        MAX_FRAME_BYTES,
    )),
    row(
        Kind::Fetch,
        "fetch",
        Encoding::Binary,
        MAX_CONTROL_FRAME_BYTES,
    ),
    row(
        Kind::Commit,
        "commit",
        Encoding::Binary,
        MAX_CONTROL_FRAME_BYTES,
    ),
    control(Kind::ChannelCreate, "channel.create"),
    control(Kind::ChannelList, "channel.list"),
    control(Kind::ChannelInfo, "channel.info"),
    control(Kind::ChannelUpdate, "channel.update"),
    control(Kind::ChannelDelete, "channel.delete"),
    control(Kind::ChannelResolve, "channel.resolve"),
    control(Kind::ConsumerList, "consumer.list"),
    control(Kind::ConsumerPosition, "consumer.position"),
    control(Kind::ConsumerReset, "consumer.reset"),
    control(Kind::ConsumerLag, "consumer.lag"),
    control(Kind::ConsumerDelete, "consumer.delete"),
    control(Kind::BrokerInfo, "broker.info"),
    control(Kind::BrokerScrub, "broker.scrub"),
    control(Kind::ChannelRotateKey, "channel.rotateKey"),
    control(Kind::OrgCreate, "org.create"),
    control(Kind::OrgList, "org.list"),
    control(Kind::OrgLimit, "org.limit"),
    control(Kind::KeyCreate, "key.create"),
    control(Kind::KeyList, "key.list"),
    control(Kind::KeyRotate, "key.rotate"),
    control(Kind::KeyRevoke, "key.revoke"),
    control(Kind::GrantPropose, "grant.propose"),
    control(Kind::GrantList, "grant.list"),
    control(Kind::GrantAccept, "grant.accept"),
    control(Kind::GrantRevoke, "grant.revoke"),
    control(Kind::AgentRegister, "agent.register"),
    control(Kind::AgentDeregister, "agent.deregister"),
    control(Kind::AgentAvailability, "agent.availability"),
    control(Kind::AgentSetKey, "agent.setKey"),
    control(Kind::AgentInfo, "agent.info"),
    control(Kind::AgentSearch, "agent.search"),
    control(Kind::AgentInbox, "agent.inbox"),
    control(Kind::SessionCreate, "session.create"),
    control(Kind::SessionList, "session.list"),
    control(Kind::SessionInfo, "session.info"),
    control(Kind::SessionSend, "session.send"),
    control(Kind::SessionHistory, "session.history"),
    control(Kind::SessionLeave, "session.leave"),
    control(Kind::SessionResume, "session.resume"),
    control(Kind::ToolStart, "tool.start"),
    control(Kind::ToolProgress, "tool.progress"),
    control(Kind::ToolFinish, "tool.finish"),
    control(Kind::ToolFail, "tool.fail"),
    control(Kind::ToolList, "tool.list"),
    control(Kind::ToolInfo, "tool.info"),
    control(Kind::ToolStats, "tool.stats"),
    control(Kind::CommitmentCreate, "commitment.create"),
    control(Kind::CommitmentDeliver, "commitment.deliver"),
    control(Kind::CommitmentConfirm, "commitment.confirm"),
    control(Kind::CommitmentWindow, "commitment.window"),
    control(Kind::CommitmentList, "commitment.list"),
    control(Kind::CommitmentInfo, "commitment.info"),
    control(Kind::CommitmentReceipt, "commitment.receipt"),
    control(Kind::DisputeCreate, "dispute.create"),
    control(Kind::DisputeAnswer, "dispute.answer"),
    control(Kind::DisputeWithdraw, "dispute.withdraw"),
    control(Kind::DisputeRule, "dispute.rule"),
    control(Kind::DisputeList, "dispute.list"),
    control(Kind::DisputeInfo, "dispute.info"),
    control(Kind::TrustScore, "trust.score"),
    control(Kind::TrustExplain, "trust.explain"),
    control(Kind::TrustEndorse, "trust.endorse"),
    control(Kind::TrustRate, "trust.rate"),
    control(Kind::OrgVerify, "org.verify"),
    control(Kind::EscrowDeposit, "escrow.deposit"),
    control(Kind::EscrowWithdraw, "escrow.withdraw"),
    control(Kind::EscrowBalance, "escrow.balance"),
    control(Kind::EscrowLedger, "escrow.ledger"),
    control(Kind::MarketCreate, "market.create"),
    control(Kind::MarketUpdate, "market.update"),
    control(Kind::MarketSubmit, "market.submit"),
    control(Kind::MarketReview, "market.review"),
    control(Kind::MarketArchive, "market.archive"),
    control(Kind::MarketSearch, "market.search"),
    control(Kind::MarketInfo, "market.info"),
    control(Kind::MarketSubscribe, "market.subscribe"),
    control(Kind::MarketApprove, "market.approve"),
    control(Kind::MarketCancel, "market.cancel"),
    control(Kind::MarketRate, "market.rate"),
    control(Kind::MarketSubscriptions, "market.subscriptions"),
    control(Kind::MarketUsage, "market.usage"),
    control(Kind::LinkOpen, "link.open"),
    control(Kind::LinkLogs, "link.logs"),
    control(Kind::LinkFollow, "link.follow"),
    control(Kind::LinkUnfollow, "link.unfollow"),
    row(
        Kind::LinkFetch,
        "link.fetch",
        Encoding::Binary,
        MAX_CONTROL_FRAME_BYTES,
    ),
    row(
        Kind::LinkForward,
        "link.forward",
        Encoding::Binary,
        MAX_FRAME_BYTES,
    ),
    control(Kind::LinkDigest, "link.digest"),
    control(Kind::HomeFence, "home.fence"),
    control(Kind::HomeDecline, "home.decline"),
    control(Kind::HomeTake, "home.take"),
    control(Kind::RegionList, "region.list"),
    control(Kind::RegionStatus, "region.status"),
    control(Kind::RegionVerify, "region.verify"),
    control(Kind::RegionMove, "region.move"),
    control(Kind::RegionPurge, "region.purge"),
    control(Kind::RegionRetry, "region.retry"),
    control(Kind::RegionPeer, "region.peer"),
    control(Kind::InterestAdd, "interest.add"),
    control(Kind::InterestList, "interest.list"),
    control(Kind::InterestRemove, "interest.remove"),
    control(Kind::LinkDirectory, "link.directory"),
    control(Kind::LinkCreate, "link.create"),
    control(Kind::ConsentSet, "consent.set"),
    control(Kind::ConsentList, "consent.list"),
    control(Kind::RegionLogs, "region.logs"),
    control(Kind::LinkFind, "link.find"),
    row(
        Kind::FetchBeyond,
        "fetch.beyond",
        Encoding::Binary,
        MAX_CONTROL_FRAME_BYTES,
    ),
    control(Kind::DirectoryMove, "directory.move"),
    control(Kind::RegionLeave, "region.leave"),
    control(Kind::CopiesRead, "copies.read"),
    control(Kind::RegionAside, "region.aside"),
    control(Kind::RegionAcknowledge, "region.acknowledge"),
    control(Kind::LinkSeen, "link.seen"),
    control(Kind::DirectoryUnname, "directory.unname"),
];

impl Kind {
    /// The kind with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        APIS.iter()
            .map(|api| api.kind)
            .find(|kind| kind.number() == number)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Its row of the table.
    #[must_use]
    pub fn api(self) -> &'static Api {
        APIS.iter()
            .find(|api| api.kind == self)
            .expect("every kind has a row: checked by a test")
    }

    /// The name in the document, in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.api().name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_order_and_numbers_stay_below_the_response_bit() {
        assert!(APIS.is_sorted_by(|a, b| a.kind < b.kind));
        for api in &APIS {
            assert!(api.kind.number() < 0x8000);
            assert_eq!(Kind::from_number(api.kind.number()), Some(api.kind));
            assert_eq!(api.kind.api().name, api.name);
        }
        assert_eq!(Kind::from_number(0), None);
        assert_eq!(Kind::from_number(0x8001), None);
    }
}
