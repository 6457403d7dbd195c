//! What an answer tells beside what it was asked for.

use npayload::access::{Operation, Scope};
use npayload::protocol::control::ChannelList;
use npayload::protocol::{Request, Response};
use npayload::server::ServeOptions;

use super::walls::publish;
use super::{code, desk, make_key, make_org, scope};

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
