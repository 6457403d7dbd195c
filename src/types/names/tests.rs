//! What is a name, and what is none.

use super::*;
use crate::types::{AgentId, CallId, MessageId, SessionId};

#[test]
fn names_follow_the_rule_and_nothing_else_passes() {
    let longest = format!("{}/{}", "o".repeat(64), "x".repeat(256));
    for good in [
        "a",
        "ml.feedback.production",
        "A_b-9",
        &"x".repeat(256),
        "acme/orders",
        "a-1/A_b-9",
        &longest,
    ] {
        assert_eq!(ChannelName::parse(good).unwrap().as_str(), good);
    }
    assert_eq!(longest.len(), MAX_CHANNEL_NAME_BYTES);
    for bad in [
        "",
        ".a",
        "a.",
        "a..b",
        "a b",
        "a/b/c",
        "/b",
        "a/",
        "/",
        "A/b",
        "../b",
        "a/..",
        "a_b/c",
        "é",
        "a\0",
        "__x",
        "a/__x",
        "a@eu-west",
        "a/b@eu",
        &"x".repeat(257),
        &format!("a/{}", "x".repeat(257)),
        &format!("{}/x", "o".repeat(65)),
    ] {
        assert!(ChannelName::parse(bad).is_err(), "{bad}");
    }
    for topic in ["__channels", "acme/__x", "__homes@eu-west"] {
        assert!(ChannelName::parse_any(topic).unwrap().is_internal());
    }
    let homes = ChannelName::parse_any("__homes").unwrap();
    let theirs = homes.of_region(&RegionName::parse("eu-west").unwrap());
    assert_eq!(theirs.as_str(), "__homes@eu-west");
    for bad in ["__homes@", "__homes@EU", "__homes@a@b", "@eu-west"] {
        assert!(ChannelName::parse_any(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_log_of_one_region_is_named_by_the_channel_and_the_region() {
    let name = ChannelName::parse_any("acme/ml.models@eu-west").unwrap();
    assert_eq!((name.org(), name.region()), (Some("acme"), Some("eu-west")));
    assert_eq!(name.local(), "ml.models@eu-west");
    assert_eq!(name.channel_local(), "ml.models");
    let channel = name.channel();
    assert_eq!(
        (channel.as_str(), channel.region()),
        ("acme/ml.models", None)
    );
    assert_eq!(channel.channel(), channel);
    let east = RegionName::parse("us-east").unwrap();
    for name in [&name, &channel] {
        assert_eq!(name.log_of(&east).as_str(), "acme/ml.models@us-east");
    }
    let acme = OrgName::parse("acme").unwrap();
    assert_eq!(name.seen_by(&acme).as_str(), "ml.models@eu-west");
    assert_eq!(name.seen_by(&acme).within(Some(&acme)), name);
    assert!(
        ChannelName::parse_any("__homes@eu-west")
            .unwrap()
            .is_internal()
    );
    let (org, local, region) = ("o".repeat(64), "x".repeat(256), "r".repeat(32));
    let longest = format!("{org}/{local}@{region}");
    assert_eq!(longest.len(), MAX_LOG_NAME_BYTES);
    ChannelName::parse_any(&longest).unwrap();
    for bad in ["a@", "@a", "a@b@c", "a@B", "a@b/c", "a@b.c", "a/@b"] {
        assert!(ChannelName::parse_any(bad).is_err(), "{bad}");
    }
    assert!(ConsumerName::parse("a@eu-west").is_err());
}

#[test]
fn a_name_is_placed_into_the_organisation_of_who_says_it() {
    let acme = OrgName::parse("acme").unwrap();
    let default = OrgName::parse(DEFAULT_ORG_NAME).unwrap();
    let cases = [
        ("orders", None, "orders"),
        ("orders", Some(&default), "orders"),
        ("orders", Some(&acme), "acme/orders"),
        ("__x", Some(&acme), "acme/__x"),
        // Who names an organisation means that one, whoever they are.
        ("beta/orders", Some(&acme), "beta/orders"),
        ("beta/orders", None, "beta/orders"),
        ("default/orders", Some(&acme), "orders"),
        ("default/orders", None, "orders"),
    ];
    for (said, org, kept) in cases {
        let name = ChannelName::parse_any(said).unwrap().within(org);
        assert_eq!(name.as_str(), kept, "{said}");
        // A kept name stays where it is for those of the default organisation.
        assert_eq!(name.within(None), name);
        assert_eq!(ChannelName::parse_any(kept).unwrap(), name);
    }
    let name = ChannelName::parse("acme/orders").unwrap();
    assert_eq!((name.org(), name.local()), (Some("acme"), "orders"));
    let name = ChannelName::parse("orders").unwrap();
    assert_eq!((name.org(), name.local()), (None, "orders"));
}

#[test]
fn a_channel_is_called_back_by_the_name_it_was_called() {
    let [acme, default] = ["acme", DEFAULT_ORG_NAME].map(|name| OrgName::parse(name).unwrap());
    for (org, said, kept) in [
        (&acme, "orders", "acme/orders"),
        (&acme, "beta/orders", "beta/orders"),
        (&acme, "default/orders", "orders"),
        (&default, "orders", "orders"),
        (&default, "acme/orders", "acme/orders"),
    ] {
        let said = ChannelName::parse(said).unwrap();
        assert_eq!(said.within(Some(org)).as_str(), kept);
        assert_eq!(said.within(Some(org)).seen_by(org), said);
    }
    let consumer = ConsumerName::parse("trainer").unwrap().of_guest(&acme);
    assert_eq!(consumer.as_str(), "acme/trainer");
    assert_eq!(
        (consumer.guest(), consumer.local().as_str()),
        (Some("acme"), "trainer")
    );
    assert!(ConsumerName::parse("a/b/c").is_err());
}

#[test]
fn an_agent_is_never_named_like_an_id() {
    for good in ["research-agent", "a.b", "A_1"] {
        assert_eq!(AgentName::parse(good).unwrap().as_str(), good);
    }
    for bad in ["", "a/b", "agent://a/b", "agt_", &AgentId(1).to_string()] {
        assert!(AgentName::parse(bad).is_err(), "{bad}");
    }
    assert_eq!(SessionId(7).to_string().parse(), Ok(SessionId(7)));
    assert_eq!(MessageId(7).to_string().parse(), Ok(MessageId(7)));
    assert_eq!(CallId(7).to_string().parse(), Ok(CallId(7)));
}

#[test]
fn organisations_have_plain_names() {
    for good in ["default", "acme", "a-1"] {
        assert_eq!(OrgName::parse(good).unwrap().as_str(), good);
    }
    for bad in [
        "",
        "-a",
        "a-",
        "a--b",
        "Acme",
        "a.b",
        "a/b",
        "a_b",
        &"x".repeat(65),
    ] {
        assert!(OrgName::parse(bad).is_err(), "{bad}");
    }
}
