//! One test for each kind of arrow, the search against a plain scan, and the properties that every
//! history has.

use std::cmp::Reverse;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::asp::{NeutralTrust, Trust, TrustScore};
use crate::folding::{EventError, Folded};
use crate::types::{AgentId, AgentName, OrgName, PrincipalId, Timestamp};

const BY: PrincipalId = PrincipalId(1);

fn name(text: &str) -> AgentName {
    AgentName::parse(text).unwrap()
}

fn profile(capabilities: &[&str]) -> Profile {
    Profile {
        capabilities: capabilities.iter().map(|text| name(text)).collect(),
        ..Profile::default()
    }
}

fn at(number: u128) -> Timestamp {
    Timestamp(i64::try_from(number).unwrap())
}

fn placeheld(agent: u128, text: &str) -> Placeheld {
    Placeheld {
        agent: AgentId(agent),
        name: name(text),
        by: BY,
        at: at(agent),
    }
}

fn registered(agent: u128, text: &str, profile: Profile) -> Registered {
    Registered {
        agent: AgentId(agent),
        name: name(text),
        profile,
        by: BY,
        at: at(agent),
    }
}

fn fact(agent: u128) -> Fact {
    Fact {
        agent: AgentId(agent),
        by: BY,
        at: at(agent),
    }
}

fn key(agent: u128, byte: u8) -> KeyFact {
    KeyFact {
        agent: AgentId(agent),
        key: PublicKey([byte; 32]),
        by: BY,
        at: at(agent),
    }
}

fn after(events: &[AgentEvent]) -> Agents {
    let mut agents = Agents::default();
    for event in events {
        agents.apply(event).unwrap();
    }
    agents
}

fn refused(agents: &Agents, event: &AgentEvent) {
    let mut changed = agents.clone();
    changed.apply(event).unwrap_err();
    assert_eq!(&changed, agents, "a refusal changed something");
}

fn writer() -> Agents {
    after(&[AgentEvent::Registered(registered(
        1,
        "writer",
        profile(&["text.write"]),
    ))])
}

#[test]
fn a_name_that_is_used_has_a_place_until_somebody_registers_it() {
    let mut agents = Agents::default();
    let event = agents.check_use(placeheld(1, "writer")).unwrap().unwrap();
    agents.apply(&event).unwrap();
    assert_eq!(agents.check_use(placeheld(2, "writer")), Ok(None));
    assert_eq!(found(&agents, &Query::default()), [""; 0]);
    let event = agents.check_register(registered(3, "writer", profile(&["text.write"])));
    agents.apply(&event.unwrap()).unwrap();
    let agent = agents.agent_by_name("writer").unwrap();
    assert_eq!((agent.agent, agent.created_at), (AgentId(1), at(1)));
    assert_eq!(found(&agents, &Query::default()), ["writer"]);
}

#[test]
fn registering_again_replaces_the_profile_and_nothing_else() {
    let mut agents = writer();
    agents.apply(&agents.check_key(key(1, 1)).unwrap()).unwrap();
    let event = agents.check_register(registered(9, "writer", profile(&["text.edit"])));
    agents.apply(&event.unwrap()).unwrap();
    let agent = agents.agent(AgentId(1)).unwrap();
    assert_eq!(agent.key, Some(PublicKey([1; 32])));
    assert_eq!(agent.profile, profile(&["text.edit"]));
    assert_eq!(found(&agents, &looking_for(&["text.write"])), [""; 0]);
    assert_eq!(found(&agents, &looking_for(&["text.edit"])), ["writer"]);
    refused(
        &agents,
        &AgentEvent::Registered(registered(9, "writer", profile(&[]))),
    );
}

#[test]
fn an_agent_that_deregistered_comes_back_as_itself() {
    let mut agents = writer();
    agents
        .apply(&agents.check_deregister(fact(1)).unwrap())
        .unwrap();
    assert_eq!(found(&agents, &Query::default()), [""; 0]);
    assert_eq!(found(&agents, &looking_for(&["text.*"])), [""; 0]);
    let error = agents.check_deregister(fact(1)).unwrap_err();
    assert!(matches!(error, RegistryError::NotRegistered { .. }));
    refused(&agents, &AgentEvent::Deregistered(fact(1)));
    refused(&agents, &AgentEvent::KeyEnrolled(key(1, 1)));
    let event = agents.check_register(registered(5, "writer", profile(&["text.write"])));
    agents.apply(&event.unwrap()).unwrap();
    assert_eq!(agents.agent_by_name("writer").unwrap().agent, AgentId(1));
    assert_eq!(found(&agents, &looking_for(&["text.*"])), ["writer"]);
}

#[test]
fn a_heartbeat_changes_availability_alone() {
    let mut agents = writer();
    let changed = AvailabilityChanged {
        agent: AgentId(1),
        availability: Availability {
            status: Status::Away,
            ..Availability::default()
        },
        by: BY,
        at: at(2),
    };
    let event = agents.check_availability(changed.clone()).unwrap();
    agents.apply(&event).unwrap();
    let query = |status| Query {
        availability: Some(status),
        ..looking_for(&["text.write"])
    };
    assert_eq!(found(&agents, &query(Status::Busy)), [""; 0]);
    assert_eq!(found(&agents, &query(Status::Away)), ["writer"]);
    let nobody = AvailabilityChanged {
        agent: AgentId(7),
        ..changed
    };
    let error = agents.check_availability(nobody).unwrap_err();
    assert_eq!(error, RegistryError::UnknownAgent(AgentId(7)));
}

#[test]
fn a_key_is_enrolled_rotated_revoked_and_never_taken_again() {
    let mut agents = writer();
    let error = agents.check_revoke(fact(1)).unwrap_err();
    assert_eq!(error, RegistryError::NoKey(name("writer")));
    refused(&agents, &AgentEvent::KeyRevoked(fact(1)));
    refused(&agents, &AgentEvent::KeyRotated(key(1, 1)));
    let enrolled = agents.check_key(key(1, 1)).unwrap();
    assert!(matches!(enrolled, AgentEvent::KeyEnrolled(_)));
    agents.apply(&enrolled).unwrap();
    refused(&agents, &AgentEvent::KeyEnrolled(key(1, 2)));
    let rotated = agents.check_key(key(1, 2)).unwrap();
    assert!(matches!(rotated, AgentEvent::KeyRotated(_)));
    agents.apply(&rotated).unwrap();
    agents
        .apply(&agents.check_revoke(fact(1)).unwrap())
        .unwrap();
    for byte in [1, 2] {
        let error = agents.check_key(key(1, byte)).unwrap_err();
        assert_eq!(error, RegistryError::KeyUsed(PublicKey([byte; 32])));
        refused(&agents, &AgentEvent::KeyEnrolled(key(1, byte)));
    }
    for byte in 3..=64 {
        agents
            .apply(&agents.check_key(key(1, byte)).unwrap())
            .unwrap();
    }
    let error = agents.check_key(key(1, 65)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the agent has had 64 keys, and at most 64 are allowed"
    );
}

#[test]
fn a_profile_that_breaks_a_limit_is_told_the_limit() {
    let large = |profile| {
        let registered = registered(1, "writer", profile);
        let error = Agents::default().check_register(registered).unwrap_err();
        error.to_string()
    };
    let description = Profile {
        description: "x".repeat(4097),
        ..Profile::default()
    };
    assert_eq!(
        large(description),
        "description has 4097 bytes, and at most 4096 are allowed"
    );
    let many = vec![name("x"); 257];
    let capabilities = Profile {
        capabilities: many,
        ..Profile::default()
    };
    assert_eq!(
        large(capabilities),
        "capabilities has 257 entries, and at most 256 are allowed"
    );
    let money = Profile {
        max_transaction: Some(Amount {
            value: 1,
            currency: "eur".to_owned(),
        }),
        ..Profile::default()
    };
    assert_eq!(large(money), "currency `eur` is not three capital letters");
    let mut metadata = Profile::default();
    let text = json!("x".repeat(16 * 1024));
    metadata.metadata.insert("text".to_owned(), text);
    assert!(large(metadata).starts_with("metadata has 16395 bytes"));
}

#[test]
fn an_agent_is_meant_by_id_name_or_address() {
    let agents = writer();
    let id = AgentId(1).to_string();
    for text in [
        &id,
        "writer",
        "agent://acme/writer",
        "agent://acme/research/eu/writer",
    ] {
        let agent = AgentRef::parse(text).unwrap().find(&agents);
        assert_eq!(agent.unwrap().agent, AgentId(1), "{text}");
    }
    assert_eq!(AgentRef::parse("reader").unwrap().find(&agents), None);
    for text in [
        "",
        "agt_",
        "agent://",
        "agent://acme",
        "agent://acme/",
        "agent://acme//writer",
        "agent://ACME/writer",
        "acme/writer",
    ] {
        assert!(AgentRef::parse(text).is_err(), "{text}");
    }
}

fn looking_for(capabilities: &[&str]) -> Query {
    let parse = |text: &&str| CapabilityPattern::parse(text).unwrap();
    Query {
        capabilities: capabilities.iter().map(parse).collect(),
        ..Query::default()
    }
}

fn found<'a>(agents: &'a Agents, query: &Query) -> Vec<&'a str> {
    let page = agents.search(query, &NeutralTrust, MAX_PAGE).unwrap();
    let names = page.agents.iter().map(|(agent, _)| agent.name.as_str());
    names.collect()
}

/// Scores by name, so that order can be told.
struct Told(Vec<(AgentId, f64)>);

impl Trust for Told {
    fn score(&self, agent: AgentId) -> TrustScore {
        let known = self.0.iter().find(|(id, _)| *id == agent);
        known.map_or(TrustScore::NEUTRAL, |(_, score)| {
            TrustScore::try_from(*score).unwrap()
        })
    }
}

#[test]
fn a_search_matches_all_any_and_beginnings() {
    let agents = after(&[
        AgentEvent::Registered(registered(
            1,
            "a",
            profile(&["image.classify", "image.detect"]),
        )),
        AgentEvent::Registered(registered(2, "b", profile(&["image.classify"]))),
        AgentEvent::Registered(registered(3, "c", profile(&["imagery", "text.write"]))),
        AgentEvent::Registered(registered(4, "d", profile(&[]))),
    ]);
    let all = |wanted: &[&str]| found(&agents, &looking_for(wanted));
    let any = |wanted: &[&str]| {
        let matching = Match::Any;
        found(
            &agents,
            &Query {
                matching,
                ..looking_for(wanted)
            },
        )
    };
    assert_eq!(all(&["image.classify"]), ["a", "b"]);
    assert_eq!(all(&["image.classify", "image.detect"]), ["a"]);
    assert_eq!(all(&["image.*"]), ["a", "b"]);
    assert_eq!(all(&["image*"]), ["a", "b", "c"]);
    assert_eq!(all(&["image*", "text.write"]), ["c"]);
    assert_eq!(any(&["image.detect", "text.*"]), ["a", "c"]);
    assert_eq!(any(&[]), ["a", "b", "c", "d"]);
    assert_eq!(all(&["image"]), [""; 0]);
    for bad in ["", "a b", "a..*", ".*"] {
        assert!(CapabilityPattern::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_answer_is_sorted_by_trust_availability_and_name() {
    let with = |status, description: &str| Profile {
        description: description.to_owned(),
        availability: Availability {
            status,
            ..Availability::default()
        },
        ..profile(&["x"])
    };
    let agents = after(&[
        AgentEvent::Registered(registered(1, "a", with(Status::Busy, "Paints"))),
        AgentEvent::Registered(registered(2, "b", with(Status::Online, "Writes"))),
        AgentEvent::Registered(registered(3, "c", with(Status::Offline, "writes"))),
        AgentEvent::Registered(registered(4, "d", with(Status::Busy, ""))),
    ]);
    let trust = Told(vec![(AgentId(3), 0.9), (AgentId(4), 0.1)]);
    let names = |query: &Query| -> Vec<String> {
        let page = agents.search(query, &trust, 10).unwrap();
        page.agents
            .iter()
            .map(|(agent, _)| agent.name.to_string())
            .collect()
    };
    assert_eq!(names(&Query::default()), ["c", "b", "a", "d"]);
    let min_trust = Some(TrustScore::NEUTRAL);
    assert_eq!(
        names(&Query {
            min_trust,
            ..Query::default()
        }),
        ["c", "b", "a"]
    );
    let text = Some("WRITES".to_owned());
    assert_eq!(
        names(&Query {
            text,
            ..Query::default()
        }),
        ["c", "b"]
    );
    for limit in [0, MAX_PAGE + 1] {
        agents.search(&Query::default(), &trust, limit).unwrap_err();
    }
}

#[test]
fn an_event_reads_back_and_an_unknown_one_passes_through() {
    let full = Profile {
        description: "d".to_owned(),
        authority_level: Some("buyer".to_owned()),
        endpoints: [("asp".to_owned(), "https://a.example".to_owned())].into(),
        ..profile(&["x"])
    };
    let mut agents = Agents::default();
    let events = [
        AgentEvent::Placeheld(placeheld(1, "a")),
        AgentEvent::Registered(registered(1, "a", full)),
        AgentEvent::KeyEnrolled(key(1, 1)),
        AgentEvent::KeyRotated(key(1, 2)),
        AgentEvent::KeyRevoked(fact(1)),
        AgentEvent::Deregistered(fact(1)),
    ];
    for event in &events {
        agents.apply(event).unwrap();
    }
    for event in events.iter().chain(&agents.fold()) {
        let read = AgentEvent::decode(event.record_type(), &event.encode());
        assert_eq!(&read.unwrap(), event);
    }
    let unknown = AgentEvent::decode("agent.dreamt", b"?").unwrap();
    assert_eq!(unknown.encode(), b"?");
    let before = agents.clone();
    agents.apply(&unknown).unwrap();
    assert_eq!(agents, before);
    let newer = br#"{"v":2,"type":"agent.deregistered"}"#;
    let error = AgentEvent::decode("agent.deregistered", newer).unwrap_err();
    assert!(matches!(
        error,
        EventError::UnsupportedVersion { found: 2, .. }
    ));
    for wrong in [
        "ed25519:",
        &"0".repeat(64),
        &PublicKey([0xab; 32]).to_string().to_uppercase(),
    ] {
        assert!(wrong.parse::<PublicKey>().is_err(), "{wrong}");
    }
}

#[test]
fn a_card_has_the_shape_of_a2a_and_what_is_known_besides() {
    let full = Profile {
        description: "Looks at pictures".to_owned(),
        version: "2.1.0".to_owned(),
        protocols: vec!["asp/1.0".to_owned()],
        schemas: vec!["urn:asp:negotiation:v1".to_owned()],
        authority_level: Some("authorized_buyer".to_owned()),
        max_transaction: Some(Amount {
            value: 50_000,
            currency: "EUR".to_owned(),
        }),
        availability: Availability {
            status: Status::Busy,
            timezone: Some("Europe/Berlin".to_owned()),
            response_time_ms: Some(500),
        },
        endpoints: [
            ("a2a", "https://a.example/a2a/v1"),
            ("a2a.grpc", "https://grpc.a.example"),
            ("asp", "npayload+tls://a.example:7411"),
        ]
        .map(|(name, url)| (name.to_owned(), url.to_owned()))
        .into(),
        ..profile(&["image.classify"])
    };
    // The first key of RFC 8032, section 7.1, whose JSON Web Key is in RFC 8037, appendix A.2.
    let public_key = "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let agents = after(&[
        AgentEvent::Registered(registered(1, "viewer", full)),
        AgentEvent::KeyEnrolled(KeyFact {
            key: public_key.parse().unwrap(),
            ..key(1, 0)
        }),
        AgentEvent::Placeheld(placeheld(2, "nobody")),
    ]);
    let org = OrgName::parse("acme").unwrap();
    let card = |name| {
        let agent = agents.agent_by_name(name).unwrap();
        serde_json::to_string_pretty(&agent.card(&org, TrustScore::NEUTRAL)).unwrap()
    };
    assert_eq!(card("viewer"), include_str!("card.json").trim_end());
    // What A2A requires is there also where nothing is known.
    let card: serde_json::Value = serde_json::from_str(&card("nobody")).unwrap();
    for required in [
        "name",
        "description",
        "version",
        "supportedInterfaces",
        "capabilities",
        "defaultInputModes",
        "defaultOutputModes",
        "skills",
    ] {
        assert!(!card[required].is_null(), "{required}");
    }
}

#[test]
fn nothing_stands_between_the_parts_of_a_state_record() {
    let rows: Vec<_> = writer().agents().cloned().collect();
    let part = |part, rows: &[AgentRow]| {
        let rows = rows.to_vec();
        AgentEvent::Folded(Folded {
            part,
            parts: 2,
            rows,
        })
    };
    let begun = after(&[part(1, &rows)]);
    refused(&begun, &AgentEvent::Placeheld(placeheld(2, "b")));
    refused(&begun, &part(2, &rows));
}

/// Enough agents for many chunks to be split, emptied and joined again.
#[test]
fn many_agents_come_and_go_and_are_found_as_by_a_scan() {
    let mut agents = Agents::default();
    let mut random = 1u64;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) % below
    };
    for step in 0..6_000u128 {
        let text = format!("n{:03}", next(700));
        let known = agents.agent_by_name(&text);
        let id = known.map_or(step + 1, |agent| agent.agent.0);
        // First most come, then most go.
        let event = match next(10) {
            0..3 => {
                let changed = AvailabilityChanged {
                    agent: AgentId(id),
                    availability: Availability {
                        status: [Status::Online, Status::Busy, Status::Away]
                            [usize::try_from(next(3)).unwrap()],
                        ..Availability::default()
                    },
                    by: BY,
                    at: at(step),
                };
                agents.check_availability(changed)
            }
            3 => agents.check_key(KeyFact {
                key: PublicKey([u8::try_from(next(200)).unwrap(); 32]),
                ..key(id, 0)
            }),
            deed if (deed < 5) == (step < 3_000) => agents.check_deregister(fact(id)),
            _ => {
                let can = [format!("can.{}", next(9)), format!("can.{}", next(9))];
                let description = format!("says {}", next(50));
                let profile = Profile {
                    description,
                    ..profile(&can.each_ref().map(String::as_str))
                };
                agents.check_register(registered(id, &text, profile))
            }
        };
        if let Ok(event) = event {
            agents.apply(&event).unwrap();
        }
        if step % 300 != 0 {
            continue;
        }
        let listing = agents.listing();
        for (can, text, status) in [
            (None, None, None),
            (Some("can.3"), None, None),
            (Some("can.*"), Some("says 7"), None),
            (None, Some("N12"), Some(Status::Busy)),
            (Some("can.*"), Some(""), Some(Status::Online)),
        ] {
            let mut query = Query {
                text: text.map(str::to_owned),
                availability: status,
                ..looking_for(can.as_slice())
            };
            let mut scanned: Vec<_> = (agents.agents())
                .filter(|agent| {
                    let profile = &agent.profile;
                    let text = text.map(str::to_lowercase);
                    agent.standing == AgentStanding::Registered
                        && can.is_none_or(|can| {
                            let mut all = profile.capabilities.iter();
                            all.any(|has| can == "can.*" || has.as_str() == can)
                        })
                        && status.is_none_or(|least| profile.availability.status <= least)
                        && text.is_none_or(|text| {
                            profile.description.contains(&text)
                                || agent.name.as_str().contains(&text)
                        })
                })
                .collect();
            scanned.sort_by_key(|agent| (agent.profile.availability.status, agent.name.clone()));
            let mut found = Vec::new();
            loop {
                let page = listing.search(&query, &NeutralTrust, 37).unwrap();
                found.extend(page.agents.iter().map(|(agent, _)| *agent));
                query.after = page.next;
                if query.after.is_none() {
                    break;
                }
            }
            assert_eq!(
                found, scanned,
                "{can:?} {text:?} {status:?} after {step} steps"
            );
        }
    }
}

/// What anybody may try.
#[derive(Clone, Debug)]
enum Try {
    Use(u8),
    Register(u8, Vec<u8>),
    Deregister(u128),
    Available(u128, Status),
    Key(u128, u8),
    Revoke(u128),
}

fn status() -> impl Strategy<Value = Status> {
    prop_oneof![
        Just(Status::Online),
        Just(Status::Busy),
        Just(Status::Offline)
    ]
}

fn attempt() -> impl Strategy<Value = Try> {
    prop_oneof![
        (0u8..20).prop_map(Try::Use),
        (0u8..20, proptest::collection::vec(0u8..6, 0..4))
            .prop_map(|(name, can)| Try::Register(name, can)),
        (0u128..40).prop_map(Try::Deregister),
        (0u128..40, status()).prop_map(|(agent, status)| Try::Available(agent, status)),
        (0u128..40, 0u8..4).prop_map(|(agent, byte)| Try::Key(agent, byte)),
        (0u128..40).prop_map(Try::Revoke),
    ]
}

proptest! {
    #[test]
    fn any_history_replays_folds_and_is_searched_alike(
        attempts in proptest::collection::vec(attempt(), 1..80),
        part_bytes in 1usize..3000,
        wanted in proptest::collection::vec(0u8..6, 0..3),
        limit in 1usize..5,
        newcomer in 0u8..20,
        availability in proptest::option::of(status()),
        text in proptest::option::of(0u8..2),
    ) {
        let (mut agents, mut log) = (Agents::default(), Vec::new());
        for (number, attempt) in (0u128..).zip(attempts) {
            let event = match attempt {
                Try::Use(text) => agents
                    .check_use(placeheld(number, &format!("n{text:02}")))
                    .map(|event| event.ok_or(())),
                Try::Register(text, can) => {
                    let can: Vec<_> = can.iter().map(|can| format!("can.{can}")).collect();
                    let can: Vec<_> = can.iter().map(String::as_str).collect();
                    let registered = registered(number, &format!("n{text:02}"), profile(&can));
                    agents.check_register(registered).map(Ok)
                }
                Try::Deregister(agent) => agents.check_deregister(fact(agent)).map(Ok),
                Try::Available(agent, status) => {
                    let availability = Availability { status, ..Availability::default() };
                    let agent = AgentId(agent);
                    let changed = AvailabilityChanged { agent, availability, by: BY, at: at(number) };
                    agents.check_availability(changed).map(Ok)
                }
                Try::Key(agent, byte) => agents.check_key(key(agent, byte)).map(Ok),
                Try::Revoke(agent) => agents.check_revoke(fact(agent)).map(Ok),
            };
            if let Ok(Ok(event)) = event {
                agents.apply(&event).expect("what was checked can follow");
                log.push(AgentEvent::decode(event.record_type(), &event.encode()).unwrap());
            }
        }
        prop_assert_eq!(&after(&log), &agents);
        let mut folded = writer();
        for event in agents.fold_in_parts(part_bytes) {
            let read = AgentEvent::decode(event.record_type(), &event.encode()).unwrap();
            folded.apply(&read).unwrap();
        }
        prop_assert_eq!(&folded, &agents);

        // The index against a scan, page by page, while somebody comes in between.
        let wanted: Vec<_> = wanted.iter().map(|can| format!("can.{can}")).collect();
        let wanted: Vec<_> = wanted.iter().map(String::as_str).collect();
        let told = Told((0..40).map(|id| (AgentId(id), (id % 3) as f64 / 4.0)).collect());
        let trusts: [&dyn Trust; 2] = [&told, &NeutralTrust];
        // The folded state has given its agents other numbers.
        for ((matching, trust), agents) in [Match::All, Match::Any]
            .into_iter()
            .flat_map(|matching| trusts.map(|trust| (matching, trust)))
            .flat_map(|asked| [&agents, &folded].map(|agents| (asked, agents)))
        {
            let text = text.map(|text| format!("N{text}"));
            let mut query = Query { matching, availability, text, ..looking_for(&wanted) };
            let mut scanned: Vec<_> = agents.agents().filter(|agent| {
                let can = |can: &&str| agent.profile.capabilities.contains(&name(can));
                let status = agent.profile.availability.status;
                let text = query.text.as_ref().map(|text| text.to_lowercase());
                agent.standing == AgentStanding::Registered
                    && availability.is_none_or(|least| status <= least)
                    && text.is_none_or(|text| agent.name.as_str().starts_with(&text))
                    && match matching {
                        Match::Any if !wanted.is_empty() => wanted.iter().any(can),
                        _ => wanted.iter().all(can),
                    }
            }).collect();
            scanned.sort_by_key(|agent| {
                let status = agent.profile.availability.status;
                (Reverse(trust.score(agent.agent)), status, agent.name.clone())
            });
            let scanned: Vec<_> = scanned.iter().map(|agent| agent.agent).collect();
            let (mut paged, mut later) = (Vec::new(), agents.clone());
            loop {
                let page = later.search(&query, trust, limit).unwrap();
                prop_assert!(page.agents.len() <= limit);
                prop_assert!(paged.len() <= 100, "the pages never end");
                paged.extend(page.agents.iter().map(|(agent, _)| agent.agent));
                query.after = page.next.clone();
                if query.after.is_none() {
                    break;
                }
                let comes = registered(500, &format!("n{newcomer:02}x"), profile(&wanted));
                let comes = later.check_register(comes).unwrap();
                later.apply(&comes).unwrap();
            }
            paged.retain(|agent| *agent != AgentId(500));
            prop_assert_eq!(paged, scanned);
        }
    }
}
