//! Organisations are walls: the same names do not meet, others' channels can't be told from absent
//! ones, and a grant opens exactly what it names.

use bytes::BytesMut;
use npayload::access::{Operation, Scope, Secret};
use npayload::format::{BatchBuilder, Compression, NewRecord};
use npayload::protocol::access::{AccessRequest, GrantAccept, GrantRevoke};
use npayload::protocol::control::{
    ChannelCreate, ChannelDelete, ChannelList, ChannelResolve, ChannelUpdate, ConfigChange,
    ConsumerReset, ConsumerTarget, LagRequest, NamedChannel, OneChannel, Place,
};
use npayload::protocol::{
    AtomicCommit, AtomicPart, CommitRequest, ErrorCode, ExpectedPosition, FetchFrom, FetchRequest,
    PublishAtomicRequest, PublishRequest, PublishTarget, Request, Response,
};
use npayload::server::{Desk, ServeOptions};
use npayload::types::{ChannelName, ConsumerName, LogEpoch, Offset};

use super::{ask, code, desk, make_key, make_org, propose, scope};

pub fn name(text: &str) -> ChannelName {
    ChannelName::parse_any(text).unwrap()
}

pub fn batch(payload: &[u8]) -> BytesMut {
    let mut builder = BatchBuilder::new(Compression::None);
    let record = NewRecord {
        payload: Some(payload),
        ..NewRecord::default()
    };
    builder.push(&record).unwrap();
    BytesMut::from(&builder.build().unwrap()[..])
}

pub fn publish(channel: &str, payload: &[u8]) -> Request {
    Request::Publish(PublishRequest {
        target: PublishTarget::any(name(channel)),
        batch: batch(payload),
        asks: None,
    })
}

pub fn fetch(channel: &str) -> Request {
    Request::Fetch(FetchRequest {
        channel: name(channel),
        incarnation: None,
        from: FetchFrom::Start,
        last_epoch: LogEpoch(0),
        max_bytes: 1 << 20,
        min_bytes: 0,
        max_wait_ms: 0,
    })
}

fn commit(channel: &str, consumer: &str, offset: u64) -> Request {
    Request::Commit(CommitRequest {
        channel: name(channel),
        incarnation: None,
        consumer: ConsumerName::parse(consumer).unwrap(),
        offset: Offset(offset),
        log_epoch: LogEpoch(0),
        expected_previous: ExpectedPosition::Any,
        metadata: String::new(),
    })
}

fn position(channel: &str, consumer: &str) -> Request {
    Request::ConsumerPosition(ConsumerTarget {
        channel: name(channel),
        consumer: ConsumerName::parse(consumer).unwrap(),
    })
}

fn payloads(response: &Response) -> Vec<u8> {
    match response {
        Response::Fetch(fetched) => fetched.batches.to_vec(),
        other => panic!("{other:?}"),
    }
}

pub fn holds(response: &Response, payload: &[u8]) -> bool {
    payloads(response)
        .windows(payload.len())
        .any(|part| part == payload)
}

/// Names of the channels in a list.
fn listed(desk: &Desk, key: Option<&Secret>, prefix: &str) -> Vec<String> {
    let request = Request::ChannelList(ChannelList {
        prefix: Some(prefix.to_owned()),
        internal: true,
        ..ChannelList::default()
    });
    match desk.ask_with(key, request) {
        Response::ChannelList(page) => page
            .channels
            .iter()
            .map(|channel| channel.name.to_string())
            .filter(|name| !name.starts_with("__"))
            .collect(),
        other => panic!("{other:?}"),
    }
}

/// A broker with two organisations beside the default one, and a key that may do all in each.
fn two_orgs() -> (Desk, Secret, Secret) {
    let desk = desk(ServeOptions::default());
    make_org(&desk, "acme");
    make_org(&desk, "beta");
    let [acme, beta] =
        ["acme", "beta"].map(|org| make_key(&desk, Some(org), vec![Scope::all()]).secret.0);
    (desk, acme, beta)
}

#[test]
fn the_same_name_is_another_channel_in_each_organisation() {
    let (desk, acme, beta) = two_orgs();
    let callers = [
        (None, "in the default"),
        (Some(&acme), "of acme"),
        (Some(&beta), "of beta"),
    ];
    for (key, payload) in callers {
        assert_eq!(
            code(&desk.ask_with(key, publish("orders", payload.as_bytes()))),
            None
        );
        assert_eq!(
            code(&desk.ask_with(key, commit("orders", "reader", 1))),
            None
        );
    }
    for (key, payload) in callers {
        let read = desk.ask_with(key, fetch("orders"));
        for (_, other) in callers {
            assert_eq!(
                holds(&read, other.as_bytes()),
                other == payload,
                "{payload}"
            );
        }
        assert_eq!(listed(&desk, key, ""), ["orders"]);
        let lag = desk.ask_with(key, Request::ConsumerLag(LagRequest { channel: None }));
        let Response::ConsumerLag(lag) = lag else {
            panic!("{lag:?}");
        };
        let rows: Vec<_> = lag
            .consumers
            .iter()
            .map(|row| row.channel.as_str())
            .collect();
        assert_eq!(rows, ["orders"]);
    }
    // One's own organisation may be named, and answers come back without it.
    let info = Request::ChannelInfo(NamedChannel {
        name: name("acme/orders"),
    });
    match desk.ask_with(Some(&acme), info) {
        Response::ChannelInfo(info) => assert_eq!(info.name.as_str(), "orders"),
        other => panic!("{other:?}"),
    }
    // Deleted in one, it is there in the others.
    let delete = Request::ChannelDelete(ChannelDelete {
        name: name("orders"),
        incarnation: None,
    });
    assert_eq!(code(&desk.ask_with(Some(&acme), delete)), None);
    assert_eq!(
        code(&desk.ask_with(Some(&acme), fetch("orders"))),
        Some(ErrorCode::ChannelNotFound)
    );
    assert!(holds(
        &desk.ask_with(Some(&beta), fetch("orders")),
        b"of beta"
    ));
}

/// Every request that names a channel, for this one.
fn all_about(channel: &str) -> Vec<Request> {
    let consumer = || ConsumerName::parse("reader").unwrap();
    let target = || ConsumerTarget {
        channel: name(channel),
        consumer: consumer(),
    };
    vec![
        publish(channel, b"x"),
        Request::PublishAtomic(PublishAtomicRequest {
            parts: vec![AtomicPart::Commit(AtomicCommit {
                channel: name(channel),
                consumer: consumer(),
                offset: Offset(0),
                expected_previous: ExpectedPosition::Any,
                metadata: String::new(),
            })],
            asks: None,
        }),
        Request::PublishAtomic(PublishAtomicRequest {
            parts: vec![AtomicPart::Publish(PublishRequest {
                target: PublishTarget::any(name(channel)),
                batch: batch(b"x"),
                asks: None,
            })],
            asks: None,
        }),
        fetch(channel),
        commit(channel, "reader", 0),
        Request::ChannelCreate(ChannelCreate {
            name: name(channel),
            config: ConfigChange::default(),
            if_not_exists: false,
            home: None,
            residency: None,
        }),
        Request::ChannelInfo(NamedChannel {
            name: name(channel),
        }),
        Request::ChannelUpdate(ChannelUpdate {
            name: name(channel),
            config: ConfigChange::default(),
        }),
        Request::ChannelDelete(ChannelDelete {
            name: name(channel),
            incarnation: None,
        }),
        Request::ChannelResolve(ChannelResolve {
            channel: name(channel),
            at: Place::End,
        }),
        Request::ConsumerList(OneChannel {
            channel: name(channel),
        }),
        Request::ConsumerPosition(target()),
        Request::ConsumerReset(ConsumerReset {
            channel: name(channel),
            consumer: consumer(),
            to: Place::Start,
        }),
        Request::ConsumerLag(LagRequest {
            channel: Some(name(channel)),
        }),
        Request::ConsumerDelete(target()),
    ]
}

#[test]
fn another_organisations_channels_cannot_be_told_from_absent_ones() {
    let (desk, acme, beta) = two_orgs();
    assert_eq!(
        code(&desk.ask_with(Some(&acme), publish("present", b"x"))),
        None
    );
    assert_eq!(code(&desk.ask_with(None, publish("present", b"x"))), None);
    for guest in [&beta, &make_key(&desk, None, vec![Scope::all()]).secret.0] {
        let told = |channel: &str| -> Vec<String> {
            all_about(channel)
                .into_iter()
                .map(|request| {
                    let kind = request.kind().name();
                    let Response::Error(mut error) = desk.ask_with(Some(guest), request) else {
                        panic!("{kind} of {channel} is let in");
                    };
                    error.message = error.message.replace(channel, "CHANNEL");
                    format!("{kind}: {error:?}").replace(channel, "CHANNEL")
                })
                .collect()
        };
        let absent = told("acme/absent");
        assert_eq!(told("acme/present"), absent);
        // Nor from those of an organisation that does not exist.
        assert_eq!(told("nobody/present"), absent);
        assert!(listed(&desk, Some(guest), "acme/").is_empty());
        assert!(listed(&desk, Some(guest), "nobody/").is_empty());
    }
    let absent: Vec<_> = all_about("default/absent")
        .into_iter()
        .map(|request| code(&desk.ask_with(Some(&beta), request)))
        .collect();
    let present: Vec<_> = all_about("default/present")
        .into_iter()
        .map(|request| code(&desk.ask_with(Some(&beta), request)))
        .collect();
    assert_eq!(present, absent);
    assert!(
        absent
            .iter()
            .all(|code| *code == Some(ErrorCode::ChannelNotFound))
    );
}

#[test]
fn a_grant_opens_what_it_names_to_whom_it_names_once_both_sides_agree() {
    let (desk, acme, beta) = two_orgs();
    for channel in ["orders.eu", "orders.us", "secret"] {
        assert_eq!(
            code(&desk.ask_with(Some(&acme), publish(channel, b"hello"))),
            None
        );
    }
    let other = make_key(&desk, None, vec![Scope::all()]).secret.0;
    let grant = propose(&desk, Some(&acme), "beta", Operation::Consume, "orders.*");
    let read = |key: &Secret, channel: &str| code(&desk.ask_with(Some(key), fetch(channel)));
    // One side is not enough, and the proposer does not accept for the other.
    assert_eq!(
        read(&beta, "acme/orders.eu"),
        Some(ErrorCode::ChannelNotFound)
    );
    let accept = || AccessRequest::GrantAccept(GrantAccept { grant });
    assert!(ask(&desk, Some(&acme), accept()).is_err());
    assert!(ask(&desk, Some(&other), accept()).is_err());
    ask(&desk, Some(&beta), accept()).unwrap();
    assert_eq!(read(&beta, "acme/orders.eu"), None);
    assert!(holds(
        &desk.ask_with(Some(&beta), fetch("acme/orders.us")),
        b"hello"
    ));
    // Nothing else, nobody else, nothing but reading.
    assert_eq!(read(&beta, "acme/secret"), Some(ErrorCode::ChannelNotFound));
    assert_eq!(
        read(&other, "acme/orders.eu"),
        Some(ErrorCode::ChannelNotFound)
    );
    // It is told what is not granted, the same where there is no such channel.
    let told_of = |channel: &str| {
        let delete = Request::ChannelDelete(ChannelDelete {
            name: name(channel),
            incarnation: None,
        });
        [publish(channel, b"x"), delete].map(|refused| {
            let Response::Error(mut error) = desk.ask_with(Some(&beta), refused) else {
                panic!("a guest that may read is let in to write to {channel}");
            };
            assert_eq!(error.known(), Some(ErrorCode::Forbidden), "{error}");
            assert_eq!(error.detail("owner"), Some("acme"));
            error.message = error.message.replace(channel, "CHANNEL");
            format!("{error:?}").replace(channel, "CHANNEL")
        })
    };
    assert_eq!(told_of("acme/orders.eu"), told_of("acme/orders.none"));
    // A key of the guest reaches it only with scopes that name it.
    let narrow = vec![scope(&[Operation::Consume], &["orders.*"])];
    let narrow = make_key(&desk, Some("beta"), narrow).secret.0;
    assert_eq!(read(&narrow, "acme/orders.eu"), Some(ErrorCode::Forbidden));
    assert_eq!(
        listed(&desk, Some(&beta), "acme/"),
        ["acme/orders.eu", "acme/orders.us"]
    );
    assert!(listed(&desk, Some(&beta), "").is_empty());
    // Ended, it opens nothing.
    let revoke = AccessRequest::GrantRevoke(GrantRevoke { grant });
    ask(&desk, Some(&beta), revoke).unwrap();
    assert_eq!(
        read(&beta, "acme/orders.eu"),
        Some(ErrorCode::ChannelNotFound)
    );
}

#[test]
fn a_guest_that_may_publish_makes_no_channels() {
    let (desk, acme, beta) = two_orgs();
    assert_eq!(
        code(&desk.ask_with(Some(&acme), publish("in.box", b"own"))),
        None
    );
    let grant = propose(&desk, Some(&acme), "beta", Operation::Publish, "in.*");
    ask(
        &desk,
        Some(&beta),
        AccessRequest::GrantAccept(GrantAccept { grant }),
    )
    .unwrap();
    assert_eq!(
        code(&desk.ask_with(Some(&beta), publish("acme/in.box", b"guest"))),
        None
    );
    let absent = code(&desk.ask_with(Some(&beta), publish("acme/in.none", b"guest")));
    assert_eq!(absent, Some(ErrorCode::ChannelNotFound));
    assert_eq!(listed(&desk, Some(&acme), ""), ["in.box"]);
    assert!(holds(
        &desk.ask_with(Some(&acme), fetch("in.box")),
        b"guest"
    ));
    // Writing is not reading.
    assert_eq!(
        code(&desk.ask_with(Some(&beta), fetch("acme/in.box"))),
        Some(ErrorCode::Forbidden)
    );
}

#[test]
fn a_guests_consumers_meet_none_of_the_owners() {
    let (desk, acme, beta) = two_orgs();
    for payload in [b"1", b"2", b"3"] {
        assert_eq!(
            code(&desk.ask_with(Some(&acme), publish("orders", payload))),
            None
        );
    }
    let grant = propose(&desk, Some(&acme), "beta", Operation::Consume, "orders");
    ask(
        &desk,
        Some(&beta),
        AccessRequest::GrantAccept(GrantAccept { grant }),
    )
    .unwrap();
    assert_eq!(
        code(&desk.ask_with(Some(&acme), commit("orders", "reader", 1))),
        None
    );
    assert_eq!(
        code(&desk.ask_with(Some(&beta), commit("acme/orders", "reader", 3))),
        None
    );
    let at = |key: &Secret, channel: &str, consumer: &str| match desk
        .ask_with(Some(key), position(channel, consumer))
    {
        Response::ConsumerPosition(row) => {
            assert_eq!(
                (row.channel.as_str(), row.consumer.as_str()),
                (channel, consumer)
            );
            Ok(row.offset.0)
        }
        other => Err(code(&other).unwrap()),
    };
    assert_eq!(at(&acme, "orders", "reader"), Ok(1));
    assert_eq!(at(&beta, "acme/orders", "reader"), Ok(3));
    // The owner sees the guest's, the guest its own alone.
    assert_eq!(at(&acme, "orders", "beta/reader"), Ok(3));
    assert_eq!(
        at(&beta, "acme/orders", "acme/reader"),
        Err(ErrorCode::Forbidden)
    );
    let list = |key: &Secret, channel: &str| -> Vec<String> {
        let channel = name(channel);
        match desk.ask_with(Some(key), Request::ConsumerList(OneChannel { channel })) {
            Response::ConsumerList(rows) => rows
                .consumers
                .iter()
                .map(|row| row.consumer.to_string())
                .collect(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(list(&acme, "orders"), ["beta/reader", "reader"]);
    assert_eq!(list(&beta, "acme/orders"), ["reader"]);
    let delete = Request::ConsumerDelete(ConsumerTarget {
        channel: name("acme/orders"),
        consumer: ConsumerName::parse("reader").unwrap(),
    });
    assert_eq!(code(&desk.ask_with(Some(&beta), delete)), None);
    assert_eq!(at(&acme, "orders", "reader"), Ok(1));
}
