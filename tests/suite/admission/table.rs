//! Every request kind of the protocol against every way of asking: exactly the right ones pass. A
//! kind without a row fails.

use npayload::access::{Operation, Scope, Secret};
use npayload::protocol::access::{AccessRequest, KeyRevoke};
use npayload::protocol::api::APIS;
use npayload::protocol::control::{ChannelCreate, ConfigChange};
use npayload::protocol::{ErrorCode, Kind, Request, Response};
use npayload::server::{Desk, ServeOptions};
use npayload::types::{ChannelName, Timestamp};

use super::{ask, code, desk, key_request, make_key, make_org, scope};
use crate::wire::fixtures::{Message, examples};

/// What lets a request in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Needs {
    /// Nothing but a key that works.
    Anybody,
    /// One of these on the channel.
    Channel(&'static [Operation]),
    /// All of these on the channel.
    All(&'static [Operation]),
    /// This, in the default organisation.
    Operator(Operation),
    /// This, in one's own organisation.
    Own(Operation),
    /// Nothing; what is shown is what one may see.
    Filtered,
}

fn row(kind: Kind) -> Option<Needs> {
    use Operation::{AccessAdmin, Asp, ChannelAdmin, Consume, Inspect, Publish, Replicate};
    const SIGHT: &[Operation] = &[Consume, Publish, ChannelAdmin, Inspect];
    const CONSUMERS: &[Operation] = &[Consume, Inspect];
    #[expect(clippy::match_same_arms, reason = "one row for each kind")]
    Some(match kind {
        Kind::Hello => Needs::Anybody,
        Kind::Ping => Needs::Anybody,
        Kind::Publish => Needs::Channel(&[Publish]),
        Kind::PublishAtomic => Needs::All(&[Publish, Consume]),
        Kind::Fetch | Kind::FetchBeyond => Needs::Channel(&[Consume]),
        Kind::Commit => Needs::Channel(&[Consume]),
        Kind::ChannelCreate => Needs::Channel(&[ChannelAdmin]),
        Kind::ChannelList => Needs::Filtered,
        Kind::ChannelInfo => Needs::Channel(SIGHT),
        Kind::ChannelUpdate => Needs::Channel(&[ChannelAdmin]),
        Kind::ChannelDelete => Needs::Channel(&[ChannelAdmin]),
        Kind::ChannelResolve => Needs::Channel(SIGHT),
        Kind::ConsumerList => Needs::Channel(CONSUMERS),
        Kind::ConsumerPosition => Needs::Channel(CONSUMERS),
        Kind::ConsumerReset => Needs::Channel(&[Consume]),
        Kind::ConsumerLag => Needs::Filtered,
        Kind::ConsumerDelete => Needs::Channel(&[Consume]),
        Kind::ChannelRotateKey => Needs::Channel(&[ChannelAdmin]),
        Kind::BrokerInfo => Needs::Operator(Inspect),
        Kind::BrokerScrub => Needs::Operator(Inspect),
        Kind::OrgCreate => Needs::Operator(AccessAdmin),
        Kind::OrgList => Needs::Own(AccessAdmin),
        Kind::OrgLimit => Needs::Operator(AccessAdmin),
        Kind::KeyCreate => Needs::Own(AccessAdmin),
        Kind::KeyList => Needs::Own(AccessAdmin),
        Kind::KeyRotate => Needs::Own(AccessAdmin),
        Kind::KeyRevoke => Needs::Own(AccessAdmin),
        Kind::GrantPropose => Needs::Own(AccessAdmin),
        Kind::GrantList => Needs::Own(AccessAdmin),
        Kind::GrantAccept => Needs::Own(AccessAdmin),
        Kind::GrantRevoke => Needs::Own(AccessAdmin),
        Kind::AgentRegister => Needs::Own(Asp),
        Kind::AgentDeregister => Needs::Own(Asp),
        Kind::AgentAvailability => Needs::Own(Asp),
        Kind::AgentSetKey => Needs::Own(Asp),
        Kind::AgentInfo => Needs::Own(Asp),
        Kind::AgentSearch => Needs::Own(Asp),
        Kind::AgentInbox => Needs::Own(Asp),
        Kind::SessionCreate => Needs::Own(Asp),
        Kind::SessionList => Needs::Own(Asp),
        Kind::SessionInfo => Needs::Own(Asp),
        Kind::SessionSend => Needs::Own(Asp),
        Kind::SessionHistory => Needs::Own(Asp),
        Kind::SessionLeave => Needs::Own(Asp),
        Kind::SessionResume => Needs::Own(Asp),
        Kind::ToolStart => Needs::Own(Asp),
        Kind::ToolProgress => Needs::Own(Asp),
        Kind::ToolFinish => Needs::Own(Asp),
        Kind::ToolFail => Needs::Own(Asp),
        Kind::ToolList => Needs::Own(Asp),
        Kind::ToolInfo => Needs::Own(Asp),
        Kind::ToolStats => Needs::Own(Asp),
        Kind::CommitmentCreate => Needs::Own(Asp),
        Kind::CommitmentDeliver => Needs::Own(Asp),
        Kind::CommitmentConfirm => Needs::Own(Asp),
        Kind::CommitmentWindow => Needs::Own(Asp),
        Kind::CommitmentList => Needs::Own(Asp),
        Kind::CommitmentInfo => Needs::Own(Asp),
        Kind::CommitmentReceipt => Needs::Own(Asp),
        Kind::DisputeCreate => Needs::Own(Asp),
        Kind::DisputeAnswer => Needs::Own(Asp),
        Kind::DisputeWithdraw => Needs::Own(Asp),
        // As an arbitrator; an operator's ruling is tested below.
        Kind::DisputeRule => Needs::Own(Asp),
        Kind::DisputeList => Needs::Own(Asp),
        Kind::DisputeInfo => Needs::Own(Asp),
        Kind::TrustScore => Needs::Own(Asp),
        Kind::TrustExplain => Needs::Own(Asp),
        Kind::TrustEndorse => Needs::Own(Asp),
        Kind::TrustRate => Needs::Own(Asp),
        Kind::OrgVerify => Needs::Operator(AccessAdmin),
        Kind::EscrowDeposit => Needs::Operator(AccessAdmin),
        Kind::EscrowWithdraw => Needs::Operator(AccessAdmin),
        Kind::EscrowBalance => Needs::Own(Asp),
        Kind::EscrowLedger => Needs::Own(Asp),
        Kind::MarketCreate => Needs::Own(Asp),
        Kind::MarketUpdate => Needs::Own(Asp),
        Kind::MarketSubmit => Needs::Own(Asp),
        Kind::MarketReview => Needs::Operator(AccessAdmin),
        Kind::MarketArchive => Needs::Own(Asp),
        // What waits for review is for operators, and tested below.
        Kind::MarketSearch => Needs::Own(Asp),
        Kind::MarketInfo => Needs::Own(Asp),
        Kind::MarketSubscribe => Needs::Own(Asp),
        Kind::MarketApprove => Needs::Own(Asp),
        Kind::MarketCancel => Needs::Own(Asp),
        Kind::MarketRate => Needs::Own(Asp),
        Kind::MarketSubscriptions => Needs::Own(Asp),
        Kind::MarketUsage => Needs::Own(Asp),
        Kind::CopiesRead => Needs::Own(Asp),
        Kind::LinkOpen => Needs::Operator(Replicate),
        Kind::LinkLogs => Needs::Operator(Replicate),
        Kind::LinkFollow => Needs::Operator(Replicate),
        Kind::LinkUnfollow => Needs::Operator(Replicate),
        Kind::LinkFetch => Needs::Operator(Replicate),
        Kind::LinkForward => Needs::Operator(Replicate),
        Kind::LinkDigest => Needs::Operator(Replicate),
        Kind::RegionList => Needs::Operator(Inspect),
        Kind::RegionStatus => Needs::Operator(Inspect),
        Kind::RegionVerify => Needs::Operator(Inspect),
        Kind::RegionPurge => Needs::Channel(&[ChannelAdmin]),
        Kind::RegionLogs => Needs::Channel(&[Consume]),
        Kind::HomeFence => Needs::Operator(Replicate),
        Kind::HomeDecline => Needs::Operator(Replicate),
        Kind::HomeTake => Needs::Operator(Replicate),
        Kind::RegionMove => Needs::Channel(&[ChannelAdmin]),
        Kind::RegionRetry => Needs::Channel(&[ChannelAdmin]),
        Kind::RegionAside => Needs::Operator(AccessAdmin),
        Kind::RegionAcknowledge => Needs::Channel(&[ChannelAdmin]),
        Kind::LinkSeen => Needs::Operator(Replicate),
        Kind::InterestAdd => Needs::Own(ChannelAdmin),
        Kind::InterestList => Needs::Own(ChannelAdmin),
        Kind::InterestRemove => Needs::Own(ChannelAdmin),
        Kind::RegionPeer => Needs::Operator(AccessAdmin),
        Kind::DirectoryMove => Needs::Operator(AccessAdmin),
        Kind::RegionLeave => Needs::Operator(AccessAdmin),
        Kind::DirectoryUnname => Needs::Operator(AccessAdmin),
        Kind::LinkDirectory => Needs::Operator(Replicate),
        Kind::LinkCreate => Needs::Operator(Replicate),
        Kind::LinkFind => Needs::Operator(Replicate),
        Kind::ConsentSet => Needs::Channel(&[ChannelAdmin]),
        Kind::ConsentList => Needs::Own(ChannelAdmin),
        // No row: the test fails.
        #[expect(unreachable_patterns, reason = "a new kind comes here first")]
        _ => return None,
    })
}

/// Refusals of the gate, as against what the request itself runs into behind it.
fn is_refused(response: &Response) -> bool {
    matches!(
        code(response),
        Some(
            ErrorCode::Unauthenticated
                | ErrorCode::KeyRevoked
                | ErrorCode::KeyExpired
                | ErrorCode::Forbidden
        )
    )
}

struct Keys {
    unknown: Secret,
    expired: Secret,
    revoked: Secret,
    all: Secret,
    /// All of another organisation.
    other: Secret,
}

fn keys(desk: &Desk) -> Keys {
    let all = vec![Scope::all()];
    let revoked = make_key(desk, None, all.clone());
    let key = revoked.key.id;
    ask(desk, None, AccessRequest::KeyRevoke(KeyRevoke { key })).unwrap();
    // Its expiry lies in the future when it is made, and is over when it is used. Where the machine
    // is busy it is over too soon, and is put further off.
    let mut ahead_ms = 20;
    let (expired, soon) = loop {
        let soon = now_ms() + ahead_ms;
        let mut request = key_request("soon over", all.clone());
        request.expires_at = Some(Timestamp(soon));
        match ask(desk, None, AccessRequest::KeyCreate(request)) {
            Ok(npayload::protocol::access::AccessResponse::KeyCreate(made)) => {
                break (made.secret.0, soon);
            }
            Err(error) if error.is(ErrorCode::InvalidAccess) && ahead_ms < 60_000 => ahead_ms *= 2,
            other => panic!("{other:?}"),
        }
    };
    while now_ms() <= soon {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    make_org(desk, "beta");
    Keys {
        unknown: Secret::new(npayload::access::KeyKind::Live, &[9; 32]),
        expired,
        revoked: revoked.secret.0,
        all: make_key(desk, None, all.clone()).secret.0,
        other: make_key(desk, Some("beta"), all).secret.0,
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn without(operations: &[Operation]) -> Vec<Scope> {
    let others: Vec<Operation> = Operation::ALL
        .into_iter()
        .filter(|one| !operations.contains(one))
        .collect();
    vec![scope(&others, &["*"])]
}

/// One request of each kind, all of the channel `chat.log`.
fn requests() -> Vec<Request> {
    let all: Vec<Request> = examples()
        .into_iter()
        .filter_map(|example| match example.message {
            Message::Request(request) => Some(request),
            Message::Response(_) => None,
        })
        .collect();
    let kinds: Vec<Kind> = all.iter().map(Request::kind).collect();
    for api in &APIS {
        assert!(kinds.contains(&api.kind), "no example of {}", api.name);
    }
    all
}

/// A desk whose channel is there for each request anew.
fn fresh(require_keys: bool) -> (Desk, Keys) {
    let desk = desk(ServeOptions {
        require_keys,
        ..ServeOptions::default()
    });
    let keys = keys(&desk);
    let created = desk.ask(Request::ChannelCreate(ChannelCreate {
        name: ChannelName::parse("chat.log").unwrap(),
        config: ConfigChange::default(),
        if_not_exists: false,
        home: None,
        residency: None,
    }));
    assert_eq!(code(&created), None);
    (desk, keys)
}

#[test]
fn every_request_is_let_in_by_exactly_the_right_keys() {
    let (desk, keys) = fresh(true);
    // Asked first, while the channel is there: the requests that pass may delete it.
    for request in requests() {
        let kind = request.kind();
        let needs = row(kind).unwrap_or_else(|| panic!("{} has no row", kind.name()));
        if kind == Kind::Hello {
            continue;
        }
        let told = |key: Option<&Secret>| code(&desk.ask_with(key, request.clone()));
        let name = kind.name();
        assert_eq!(told(None), Some(ErrorCode::Unauthenticated), "{name}");
        assert_eq!(
            told(Some(&keys.unknown)),
            Some(ErrorCode::Unauthenticated),
            "{name}"
        );
        assert_eq!(
            told(Some(&keys.expired)),
            Some(ErrorCode::KeyExpired),
            "{name}"
        );
        assert_eq!(
            told(Some(&keys.revoked)),
            Some(ErrorCode::KeyRevoked),
            "{name}"
        );
        for weak in weaker(needs) {
            let weak = make_weak(&desk, &keys.all, weak);
            assert_eq!(told(Some(&weak)), Some(ErrorCode::Forbidden), "{name}");
        }
        let of_other = told(Some(&keys.other));
        match needs {
            // There, the same names are other channels, and what is answered tells nothing of these.
            Needs::Operator(_) => assert_eq!(of_other, Some(ErrorCode::Forbidden), "{name}"),
            _ => assert_ne!(of_other, Some(ErrorCode::Forbidden), "{name}"),
        }
    }
    for request in requests() {
        if request.kind() == Kind::Hello {
            continue;
        }
        let (desk, keys) = fresh(true);
        let response = desk.ask_with(Some(&keys.all), request.clone());
        assert!(!is_refused(&response), "{response:?}");
        for just in enough(row(request.kind()).unwrap()) {
            let (desk, keys) = fresh(true);
            let enough = make_weak(&desk, &keys.all, just);
            let response = desk.ask_with(Some(&enough), request.clone());
            assert!(
                !is_refused(&response),
                "{}: {response:?}",
                request.kind().name()
            );
        }
    }
}

#[test]
fn a_hello_is_answered_by_its_key() {
    let (desk, keys) = fresh(true);
    let hello = |key: Option<&Secret>| {
        let mut request = requests().swap_remove(0);
        let Request::Hello(hello) = &mut request else {
            panic!("{request:?}");
        };
        hello.api_key = key.map(|key| key.expose().to_owned());
        code(&desk.ask(request))
    };
    assert_eq!(hello(None), Some(ErrorCode::Unauthenticated));
    assert_eq!(hello(Some(&keys.unknown)), Some(ErrorCode::Unauthenticated));
    assert_eq!(hello(Some(&keys.expired)), Some(ErrorCode::KeyExpired));
    assert_eq!(hello(Some(&keys.revoked)), Some(ErrorCode::KeyRevoked));
    assert_eq!(hello(Some(&keys.all)), None);
    assert_eq!(hello(Some(&keys.other)), None);
}

#[test]
fn who_needs_no_key_may_do_everything_in_the_default_organisation() {
    for request in requests() {
        let (desk, _) = fresh(false);
        let response = desk.ask_with(None, request.clone());
        assert!(
            !is_refused(&response),
            "{}: {response:?}",
            request.kind().name()
        );
    }
}

/// A key of the default organisation, made by one that may.
fn make_weak(desk: &Desk, admin: &Secret, scopes: Vec<Scope>) -> Secret {
    let request = AccessRequest::KeyCreate(key_request("weak", scopes));
    match ask(desk, Some(admin), request) {
        Ok(npayload::protocol::access::AccessResponse::KeyCreate(made)) => made.secret.0,
        other => panic!("{other:?}"),
    }
}

/// Scopes that must not be enough.
fn weaker(needs: Needs) -> Vec<Vec<Scope>> {
    match needs {
        Needs::Anybody | Needs::Filtered => Vec::new(),
        Needs::Channel(any_of) => vec![
            without(any_of),
            // The right operations on other channels.
            vec![scope(&Operation::ALL, &["chat.lo", "chat.log.*", "beta/*"])],
        ],
        Needs::All(all) => all.iter().map(|one| without(&[*one])).collect(),
        Needs::Operator(operation) | Needs::Own(operation) => vec![without(&[operation])],
    }
}

/// Scopes that are just enough.
fn enough(needs: Needs) -> Vec<Vec<Scope>> {
    match needs {
        Needs::Anybody | Needs::Filtered => vec![vec![scope(&[Operation::Metrics], &["none"])]],
        Needs::Channel(any_of) => any_of
            .iter()
            .map(|one| vec![scope(&[*one], &["chat.log"])])
            .collect(),
        Needs::All(all) => vec![vec![scope(all, &["chat.*"])]],
        Needs::Operator(operation) | Needs::Own(operation) => {
            // A key is given no more than its maker has, so it may make keys of its own kind only:
            // what the example asks for is refused as too much, not at the gate.
            vec![vec![scope(&[operation], &["*"])]]
        }
    }
}

#[test]
fn a_topic_of_the_brokers_own_is_for_who_may_inspect_the_broker() {
    use npayload::protocol::{FetchFrom, FetchRequest};
    use npayload::types::LogEpoch;
    let (desk, keys) = fresh(true);
    let fetch = |topic: &str| {
        Request::Fetch(FetchRequest {
            channel: ChannelName::parse_any(topic).unwrap(),
            incarnation: None,
            from: FetchFrom::Start,
            last_epoch: LogEpoch(0),
            max_bytes: 1 << 20,
            min_bytes: 0,
            max_wait_ms: 0,
        })
    };
    let reader = make_weak(&desk, &keys.all, vec![scope(&[Operation::Consume], &["*"])]);
    let inspector = make_weak(&desk, &keys.all, vec![scope(&[Operation::Inspect], &["*"])]);
    for topic in ["__access", "__consumers", "__channels"] {
        let told = |key: &Secret| code(&desk.ask_with(Some(key), fetch(topic)));
        assert_eq!(told(&inspector), None, "{topic}");
        assert_eq!(told(&reader), Some(ErrorCode::Forbidden), "{topic}");
        // Of another organisation there is no such topic, under whatever name.
        assert_eq!(
            told(&keys.other),
            Some(ErrorCode::ChannelNotFound),
            "{topic}"
        );
        let named = fetch(&format!("default/{topic}"));
        let told = code(&desk.ask_with(Some(&keys.other), named));
        assert_eq!(told, Some(ErrorCode::ChannelNotFound), "{topic}");
    }
}

#[test]
fn a_ruling_without_an_arbitrator_is_for_operators() {
    use npayload::asp::dispute::Verdict;
    use npayload::protocol::AspRequest;
    use npayload::protocol::asp::DisputeRule;
    use npayload::types::DisputeId;
    let (desk, keys) = fresh(true);
    let ruling = Request::Asp(Box::new(AspRequest::DisputeRule(DisputeRule {
        dispute_id: DisputeId(0x0199_8a2b_0c3d_7e4f_8001_0203_0405_0660),
        agent_id: None,
        verdict: Verdict::Upheld,
        severity: None,
        reason: "it was never delivered".to_owned(),
    })));
    let told = |key: &Secret| code(&desk.ask_with(Some(key), ruling.clone()));
    let agent = make_weak(&desk, &keys.all, vec![scope(&[Operation::Asp], &["*"])]);
    let operation = Operation::AccessAdmin;
    let operator = make_weak(&desk, &keys.all, vec![scope(&[operation], &["*"])]);
    assert_eq!(told(&agent), Some(ErrorCode::Forbidden));
    assert_eq!(told(&keys.other), Some(ErrorCode::Forbidden));
    assert_ne!(told(&operator), Some(ErrorCode::Forbidden));
}

#[test]
fn what_waits_for_review_is_for_operators() {
    use npayload::protocol::AspRequest;
    use npayload::protocol::asp::MarketSearch;
    let (desk, keys) = fresh(true);
    let search = |in_review| {
        let search = MarketSearch {
            in_review,
            ..MarketSearch::default()
        };
        Request::Asp(Box::new(AspRequest::MarketSearch(search)))
    };
    let told = |key: &Secret, in_review| code(&desk.ask_with(Some(key), search(in_review)));
    let weak =
        |operations: &[Operation]| make_weak(&desk, &keys.all, vec![scope(operations, &["*"])]);
    let agent = weak(&[Operation::Asp]);
    let operator = weak(&[Operation::Asp, Operation::AccessAdmin]);
    for (key, waiting) in [
        (&agent, Some(ErrorCode::Forbidden)),
        (&keys.other, Some(ErrorCode::Forbidden)),
        (&operator, None),
    ] {
        assert_eq!(told(key, true), waiting);
        assert_eq!(told(key, false), None);
    }
}
