//! What an answer tells beside what it was asked for.

use npayload::access::{Limits, Operation, Scope, Secret};
use npayload::client::Client;
use npayload::protocol::access::{AccessRequest, GrantAccept, GrantPropose, KeyCreate};
use npayload::protocol::control::ChannelList;
use npayload::protocol::{
    AtomicPart, ErrorCode, PublishAtomicRequest, PublishRequest, PublishTarget, Request, Response,
};
use npayload::server::{ServeOptions, start};
use serde_json::json;

use super::walls::{batch as batch_of, fetch, holds, name, publish};
use super::{ask, code, desk, key_request, make_key, make_org, org, propose, scope};
use crate::raw::{FETCH, HELLO, PING, PUBLISH, Raw, batch, fetch_body, publish_body};
use crate::server::options;

/// All that pages of one row each tell of channels, the cursors with it.
fn paged(ask: impl Fn(Request) -> Response, prefix: &str) -> Vec<String> {
    let mut told = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..20 {
        let list = ChannelList {
            prefix: Some(prefix.to_owned()),
            limit: Some(1),
            cursor: cursor.take(),
            ..ChannelList::default()
        };
        let Response::ChannelList(page) = ask(Request::ChannelList(list)) else {
            panic!("no page");
        };
        told.extend(page.channels.iter().map(|row| row.name.to_string()));
        told.extend(page.cursor.clone());
        cursor = page.cursor;
        if cursor.is_none() {
            return told;
        }
    }
    panic!("pages without end: {told:?}");
}

#[test]
fn the_cursor_of_a_list_names_no_channel_that_the_list_does_not_show() {
    let desk = desk(ServeOptions::default());
    make_org(&desk, "acme");
    make_org(&desk, "beta");
    let key = |org: Option<&str>, scopes| make_key(&desk, org, scopes).secret.0;
    let acme = key(Some("acme"), vec![Scope::all()]);
    for channel in ["secret-1", "secret-2", "secret-3", "shown-1", "shown-2"] {
        assert_eq!(
            code(&desk.ask_with(Some(&acme), publish(channel, b"x"))),
            None
        );
    }
    let strangers = [
        None,
        Some(key(None, vec![Scope::all()])),
        Some(key(Some("beta"), vec![Scope::all()])),
    ];
    for stranger in &strangers {
        let told = paged(|list| desk.ask_with(stranger.as_ref(), list), "acme/");
        assert_eq!(told, [""; 0]);
    }
    // Nor do those of the same organisation that a key has no scope for.
    let narrow = vec![scope(&[Operation::Consume], &["shown-*"])];
    let narrow = key(Some("acme"), narrow);
    let told = paged(|list| desk.ask_with(Some(&narrow), list), "");
    assert!(told.iter().all(|name| !name.contains("secret")), "{told:?}");
    assert_eq!(told.iter().filter(|name| *name == "shown-2").count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_waits_when_its_grant_ends_gets_nothing_that_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(options(dir.path())).await.unwrap();
    let admin = Client::connect(&format!("npayload://{}", running.listen()))
        .await
        .unwrap();
    let mut sides = Vec::new();
    for name in ["acme", "beta"] {
        admin
            .create_org(org(name), Limits::default())
            .await
            .unwrap();
        let request = KeyCreate {
            org: Some(org(name)),
            ..key_request("a test's", vec![Scope::all()])
        };
        let (_, secret) = admin.create_key(request).await.unwrap();
        let mut raw = Raw::connect(running.listen());
        let hello =
            json!({"client": "raw", "minVersion": 1, "maxVersion": 1, "apiKey": secret.expose()});
        raw.json(HELLO, &hello).of(HELLO);
        sides.push((raw, secret));
    }
    let [(owner, owners), (guest, guests)] = &mut sides[..] else {
        panic!("two sides");
    };
    owner.publish("feed", &batch(&[b"before"])).published();
    let url = format!("npayload://{}", running.listen());
    let of = |secret: &npayload::access::Secret| Client::builder().api_key(secret.clone());
    let owning = of(owners).connect(&url).await.unwrap();
    let visiting = of(guests).connect(&url).await.unwrap();
    let grant = owning
        .propose_grant(GrantPropose {
            owner: None,
            guest: Some(org("beta")),
            channels: "feed".parse().unwrap(),
            operation: Operation::Consume,
            expires_at: None,
        })
        .await
        .unwrap()
        .id;
    visiting.accept_grant(grant).await.unwrap();
    let waiting = guest.ask(FETCH, &fetch_body("acme/feed", 1, 1 << 20, 1, 60_000));
    // It waits by the time at which what came behind it is answered.
    guest.request(PING, b"").of(PING);
    owning.revoke_grant(grant).await.unwrap();
    let body = publish_body("feed", crate::raw::NONE, &batch(&[b"of acme alone"]));
    owner.request(PUBLISH, &body).published();
    let reply = guest.reply();
    assert_eq!(reply.correlation, waiting);
    reply.error("CHANNEL_NOT_FOUND");
    assert!(running.stop().await);
}

#[test]
fn every_channel_that_one_request_makes_is_on_the_record() {
    let desk = desk(ServeOptions::default());
    let part = |channel: &str| {
        AtomicPart::Publish(PublishRequest {
            target: PublishTarget::any(name(channel)),
            batch: batch_of(b"x"),
            asks: None,
        })
    };
    assert_eq!(code(&desk.ask(publish("there", b"x"))), None);
    let parts = ["there", "first", "second"].map(part).into();
    let made = desk.ask(Request::PublishAtomic(PublishAtomicRequest {
        parts,
        asks: None,
    }));
    assert_eq!(code(&made), None);
    let read = desk.ask(fetch("__audit"));
    assert!(holds(&read, br#""target":"first second""#), "{read:?}");
}

#[test]
fn a_guest_fences_no_owner_out_of_their_channel() {
    use npayload::format::{BatchBuilder, Compression, NewRecord};
    let desk = desk(ServeOptions::default());
    for name in ["acme", "beta"] {
        make_org(&desk, name);
    }
    let [acme, beta] =
        ["acme", "beta"].map(|org| make_key(&desk, Some(org), vec![Scope::all()]).secret.0);
    let fenced = |channel: &str, fence: u64| {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&NewRecord::default()).unwrap();
        builder.fence(fence);
        Request::Publish(PublishRequest {
            target: PublishTarget::any(name(channel)),
            batch: bytes::BytesMut::from(&builder.build().unwrap()[..]),
            asks: None,
        })
    };
    let told = |key: &Secret, request: Request| code(&desk.ask_with(Some(key), request));
    assert_eq!(told(&acme, publish("inbox", b"x")), None);
    let grant = propose(&desk, Some(&acme), "beta", Operation::Publish, "inbox");
    let accept = AccessRequest::GrantAccept(GrantAccept { grant });
    ask(&desk, Some(&beta), accept).unwrap();
    let forbidden = Some(ErrorCode::Forbidden);
    for fence in [1, u64::MAX] {
        assert_eq!(told(&beta, fenced("acme/inbox", fence)), forbidden);
        let part = |request| match request {
            Request::Publish(publish) => AtomicPart::Publish(publish),
            other => panic!("{other:?}"),
        };
        let parts = vec![part(fenced("acme/inbox", fence))];
        let atomic = Request::PublishAtomic(PublishAtomicRequest { parts, asks: None });
        assert_eq!(told(&beta, atomic), forbidden);
    }
    assert_eq!(told(&acme, publish("inbox", b"y")), None);
    // The owner's own fence is one that a guest may carry.
    assert_eq!(told(&acme, fenced("inbox", 5)), None);
    let too_low = Some(ErrorCode::Fenced);
    assert_eq!(told(&beta, publish("acme/inbox", b"x")), too_low);
    assert_eq!(told(&beta, fenced("acme/inbox", 5)), None);
    assert_eq!(told(&beta, fenced("acme/inbox", 6)), forbidden);
}
