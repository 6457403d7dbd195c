//! What requests hang on and whom the caller's key has to speak for, against the table in
//! docs/regions.md.

use std::collections::BTreeSet;

use bytes::BytesMut;
use serde_json::{Value, json};

use super::*;
use crate::protocol::LinkForwardRequest;
use crate::types::{OrgName, RegionName, Timestamp};

/// The rows of the table whose requests hang on something: the requests, on what, whom the key speaks
/// for.
fn rows() -> Vec<(Vec<String>, String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/regions.md");
    let doc = std::fs::read_to_string(path).unwrap();
    let head = "| Request | Hangs on | The key speaks for |";
    let table = doc.split(head).nth(1).unwrap().trim_start();
    let rows = table.lines().skip(1).map_while(|line| {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        let requests = cells.next()?.split('`').skip(1).step_by(2);
        let requests = requests.map(str::to_owned).collect();
        Some((requests, cells.next()?.to_owned(), cells.next()?.to_owned()))
    });
    rows.filter(|(_, on, _)| !on.starts_with("nothing"))
        .collect()
}

/// What a request of a kind needs beside whom it is about, and the member that names an agent.
fn rest(kind: &str) -> (Value, &'static str) {
    match kind {
        "session.send" => (json!({"id": id("msg"), "payload": {}}), "from"),
        "trust.rate" => (json!({"agentId": "editor", "rating": 0.5}), "from"),
        "tool.start" => (json!({"callId": id("tcl"), "tool": "search"}), "agent"),
        "tool.fail" => (json!({"errorType": "timeout"}), ""),
        "session.history" | "session.leave" | "tool.list" => (json!({}), "agent"),
        "commitment.create" => {
            let deadline = Timestamp(4_102_444_800_000);
            let row = json!({"id": id("cmt"), "description": "ten", "deadline": deadline});
            (row, "agentId")
        }
        "commitment.window" => (json!({"windowMs": 1000}), "agentId"),
        "dispute.create" => (json!({"id": id("dsp"), "reason": "late"}), "agentId"),
        "dispute.answer" => (json!({"reason": "it is there"}), ""),
        "dispute.rule" => (json!({"verdict": "dismissed", "reason": "so"}), "agentId"),
        "session.info" | "session.resume" | "commitment.deliver" | "dispute.withdraw"
        | "tool.progress" | "tool.finish" | "tool.info" => (json!({}), ""),
        _ => (json!({}), "agentId"),
    }
}

fn id(prefix: &str) -> String {
    format!("{prefix}_01998a2b-0c3d-7e4f-8001-020304050607")
}

fn kinds() -> impl Iterator<Item = Kind> {
    (0..=u16::MAX).filter_map(Kind::from_number)
}

/// A request about something, which names an agent or does not.
fn request(name: &str, about: &str, names_agent: bool) -> AspRequest {
    let kind = kinds().find(|kind| kind.name() == name);
    let kind = kind.unwrap_or_else(|| panic!("no request is called {name}"));
    let (member, prefix) = match about {
        "session" => ("sessionId", "ses"),
        "promise" => ("commitmentId", "cmt"),
        "dispute" => ("disputeId", "dsp"),
        "call" => ("callId", "tcl"),
        other => panic!("what is {other}?"),
    };
    let (mut body, agent) = rest(name);
    body[member] = json!(id(prefix));
    if names_agent {
        body[agent] = json!("writer");
    }
    let mut forward = LinkForwardRequest {
        principal: 0,
        key: None,
        org: OrgName::parse("acme").unwrap(),
        forwarded_by: RegionName::parse("eu-west").unwrap(),
        kind: kind.number(),
        version: 1,
        body: BytesMut::from(body.to_string().as_bytes()),
    };
    match forward.request() {
        Ok(Request::Asp(request)) => *request,
        other => panic!("{name}: {body}: {other:?}"),
    }
}

/// What a place is called in the table.
fn called(place: Place) -> &'static str {
    match place {
        Place::Session(_) => "session",
        Place::Matter(Matter::Commitment(_)) => "promise",
        Place::Matter(Matter::Dispute(_)) => "dispute",
        Place::Matter(Matter::Call(_)) => "call",
    }
}

#[test]
fn what_hangs_on_something_is_carried_out_for_other_regions_and_nothing_else_of_agents() {
    let hanging: BTreeSet<String> = rows().into_iter().flat_map(|(names, ..)| names).collect();
    let carried_out = kinds().filter(|kind| may_be_forwarded(*kind));
    let carried_out: BTreeSet<String> = carried_out.map(|kind| kind.name().to_owned()).collect();
    assert_eq!(carried_out, hanging);
}

#[test]
fn requests_hang_on_what_the_table_says_and_keys_speak_for_whom_it_names() {
    let writer = AgentRef::Name(crate::types::AgentName::parse("writer").unwrap());
    let mut seen = 0;
    for (requests, on, speaks) in rows() {
        // With an agent, and without.
        let (with, without) = match speaks.as_str() {
            "one who takes part in it (below)" => (None, Some(Speaker::One)),
            "who promised" | "who made the call" => (None, Some(Speaker::Actor)),
            "all" => (None, Some(Speaker::All)),
            "the agent that promises" | "the agent that calls" | "the agent that is named" => {
                (Some(Speaker::Agent(&writer)), None)
            }
            "the arbitrator; without one the caller runs the broker" => {
                (Some(Speaker::Agent(&writer)), Some(Speaker::Nobody))
            }
            "the agent that is named, else all" => {
                (Some(Speaker::Agent(&writer)), Some(Speaker::All))
            }
            other => panic!("whom does a key speak for: {other}"),
        };
        let places = on.split(", else ");
        let places = places.map(|place| place.trim_start_matches("the "));
        for (name, about) in places.flat_map(|about| requests.iter().map(move |it| (it, about))) {
            for (names_agent, expected) in [(true, with), (false, without)] {
                let Some(expected) = expected else { continue };
                let request = request(name, about, names_agent);
                let found = super::about(&request).map(|(place, who)| (called(place), who));
                assert_eq!(found, Some((about, expected)), "{name}");
                seen += 1;
            }
        }
    }
    assert!(seen > 35, "{seen}");
}
