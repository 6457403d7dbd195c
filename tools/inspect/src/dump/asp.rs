//! What a record of the topics of agents says, in one line beside its JSON: here those of `__asp.registry`,
//! `__asp.sessions`, `__asp.tools` and `__asp.market`, and in `promises` the others.
//!
//! A dump of one file knows no channel's name, so these records are told by what stands in them: their type, said a
//! second time in the payload, and a version. Nobody else's records have to look like that, and one that does by
//! chance is shown as it is all the same.

use std::fmt::Write;

use npayload::asp::market::MarketRecord;
use npayload::asp::registry::AgentEvent;
use npayload::asp::session::SessionRecord;
use npayload::asp::tool::{CallEnded, ToolRecord};
use serde_json::Value;

use super::promises;

/// What the types of these records begin with.
const TOPICS: [&str; 16] = [
    "agent",
    "agents",
    "market",
    "session",
    "sessions",
    "tool",
    "tools",
    "commitment",
    "commitments",
    "dispute",
    "arbitration",
    "escrow",
    "clock",
    "task",
    "trust",
    "org",
];

/// A line for people, or why the record is not what its type says; none for what is no such record.
pub fn says(record_type: &str, payload: &[u8]) -> Option<Result<String, String>> {
    let (topic, _) = record_type.split_once('.')?;
    if !TOPICS.contains(&topic) {
        return None;
    }
    let json: Value = serde_json::from_slice(payload).ok()?;
    if json["type"] != record_type || !json["v"].is_u64() {
        return None;
    }
    if let Some(line) = promises::says(record_type, payload, &json) {
        return Some(line);
    }
    match topic {
        "agent" | "agents" => Some(agent(record_type, payload)),
        "market" => Some(market(record_type, payload)),
        "tool" | "tools" => Some(tool(record_type, payload)),
        "session" | "sessions" => Some(session(record_type, payload, &json)),
        _ => None,
    }
}

fn agent(record_type: &str, payload: &[u8]) -> Result<String, String> {
    let event = AgentEvent::decode(record_type, payload).map_err(in_full)?;
    Ok(match event {
        AgentEvent::Placeheld(event) => format!(
            "principal {} used the name `{}`: agent {}",
            event.by, event.name, event.agent
        ),
        AgentEvent::Registered(event) => {
            let can = event.profile.capabilities.iter();
            let can: Vec<_> = can.map(ToString::to_string).collect();
            format!(
                "principal {} registered `{}`, agent {}: {}",
                event.by,
                event.name,
                event.agent,
                if can.is_empty() {
                    "can nothing".to_owned()
                } else {
                    can.join(", ")
                }
            )
        }
        AgentEvent::Deregistered(event) => {
            format!("principal {} deregistered agent {}", event.by, event.agent)
        }
        AgentEvent::AvailabilityChanged(event) => {
            format!("agent {} is {:?}", event.agent, event.availability.status)
        }
        AgentEvent::KeyEnrolled(event) => {
            format!("agent {} has the key {}", event.agent, event.key)
        }
        AgentEvent::KeyRotated(event) => {
            format!(
                "agent {} has the key {} from now on",
                event.agent, event.key
            )
        }
        AgentEvent::KeyRevoked(event) => format!("agent {} has no key any longer", event.agent),
        AgentEvent::Folded(part) => {
            format!(
                "part {} of {}: {} agents",
                part.part,
                part.parts,
                part.rows.len()
            )
        }
        _ => "written by a newer broker".to_owned(),
    })
}

fn tool(record_type: &str, payload: &[u8]) -> Result<String, String> {
    let record = ToolRecord::decode(record_type, payload).map_err(in_full)?;
    Ok(match record {
        ToolRecord::Started(call) => {
            format!("agent {} calls `{}`: {}", call.agent, call.tool, call.call)
        }
        ToolRecord::Progressed(call) => match call.progress {
            Some(progress) => {
                format!("{} is at {} of 1000", call.call, progress.thousandths())
            }
            None => format!("{} goes on", call.call),
        },
        ToolRecord::Ended(call) => ended(&call),
        ToolRecord::Filed(filed) => format!(
            "{} calls and {} sessions are found here",
            filed.calls.len(),
            filed.sessions.len()
        ),
        ToolRecord::Folded(part) => {
            let part = part.folded;
            format!(
                "part {} of {}: {} rows",
                part.part,
                part.parts,
                part.rows.len()
            )
        }
        _ => "written by a newer broker".to_owned(),
    })
}

fn ended(call: &CallEnded) -> String {
    let mut line = format!(
        "agent {}'s call {} of `{}` {} after {} ms",
        call.agent,
        call.call,
        call.tool,
        call.outcome.name(),
        call.duration_ms
    );
    if let Some(error) = &call.error {
        let _ = write!(line, " ({})", error.error_type);
    }
    let _ = write!(
        line,
        ", number {} of the two",
        call.threads.agent_tool.number()
    );
    line
}

fn market(record_type: &str, payload: &[u8]) -> Result<String, String> {
    let record = MarketRecord::decode(record_type, payload).map_err(in_full)?;
    let because = |reason: &Option<String>| match reason {
        Some(reason) => format!(": {reason}"),
        None => String::new(),
    };
    Ok(match record {
        MarketRecord::Listed(of) => {
            let (id, title) = (of.listing, &of.content.title);
            format!("organisation {} lists `{title}`: {id}", of.org)
        }
        MarketRecord::Updated(of) => format!("{} says now `{}`", of.listing, of.content.title),
        MarketRecord::Submitted(of) => format!("{} is handed in for review", of.listing),
        MarketRecord::Archived(of) => format!("{} is taken down by its owner", of.listing),
        MarketRecord::Reviewed(of) => {
            let reason = because(&of.reason);
            format!("{}: an operator says {}{reason}", of.listing, of.decision)
        }
        MarketRecord::Subscribed(of) => format!(
            "organisation {} subscribes to {}: {}, {}",
            of.org, of.listing, of.subscription, of.state
        ),
        MarketRecord::Approved(of) => {
            let reason = because(&of.reason);
            format!(
                "{}: its publisher says {}{reason}",
                of.subscription, of.decision
            )
        }
        MarketRecord::Cancelled(of) => format!("{} is ended by its subscriber", of.subscription),
        MarketRecord::Used(of) => {
            let agents = of.agents.len();
            format!(
                "{} opens {} to {agents} agents",
                of.subscription, of.session
            )
        }
        MarketRecord::Metered(of) if of.lost => {
            format!(
                "{}: {} ended, and what it held is lost",
                of.subscription, of.session
            )
        }
        MarketRecord::Metered(of) => format!(
            "{}: {} ended with {} messages and {} calls",
            of.subscription, of.session, of.count.messages, of.count.calls
        ),
        MarketRecord::Rated(of) => {
            format!(
                "organisation {} rates {} with {} of 5",
                of.org, of.listing, of.rating
            )
        }
        MarketRecord::Folded(part) => format!(
            "part {} of {}: {} rows",
            part.part,
            part.parts,
            part.rows.len()
        ),
        _ => "written by a newer broker".to_owned(),
    })
}

/// Who, in which session, and what. Whether it fits to those before it, only the whole session can tell.
fn session(record_type: &str, payload: &[u8], json: &Value) -> Result<String, String> {
    SessionRecord::decode(record_type, payload).map_err(in_full)?;
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut line = match &json["session"] {
        Value::Null => record_type.to_owned(),
        session => format!("session {}", text(session)),
    };
    if let Some(number) = json["sequence"].as_u64() {
        let _ = write!(line, ", record {number}");
    }
    let message = &json["message"];
    if message.is_object() {
        let (said, sender) = (text(&message["performative"]), text(&message["sender"]));
        let _ = write!(line, ": {said} from {sender}");
        if !message["recipient"].is_null() {
            let _ = write!(line, " to {}", text(&message["recipient"]));
        }
    } else if line != record_type {
        let _ = write!(line, ": {record_type}");
    }
    for member in ["topic", "agent", "state"] {
        if !json[member].is_null() {
            let _ = write!(line, ", {member} {}", text(&json[member]));
        }
    }
    Ok(line)
}

/// An error with all its sources.
pub(super) fn in_full(error: impl std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let _ = write!(line, ": {error}");
        source = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::says;

    #[test]
    fn a_record_of_agents_sessions_and_calls_says_what_it_is() {
        let registered = br#"{"v":1,"type":"agent.deregistered","agent":"agt_00000000-0000-0000-0000-000000000001","by":3,"at":5}"#;
        assert_eq!(
            says("agent.deregistered", registered),
            Some(Ok(
                "principal 3 deregistered agent agt_00000000-0000-0000-0000-000000000001"
                    .to_owned()
            ))
        );
        let golden = include_str!("../../../../src/asp/tool/golden.jsonl");
        let finished = golden.lines().last().unwrap();
        assert_eq!(
            says("tool.finished", finished.as_bytes()),
            Some(Ok("agent agt_00000000-0000-0000-0000-000000000001's call \
                 tcl_00000000-0001-7000-0000-000000000000 of `web.search` finished after 250 ms, \
                 number 0 of the two"
                .to_owned()))
        );
        let golden = include_str!("../../../../tests/golden/asp/closed.json");
        let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
        let records = golden["records"].as_array().unwrap();
        let records = records
            .iter()
            .map(|record| record["record"].as_str().unwrap());
        let lines: Vec<_> = records
            .map(|record| {
                let json: serde_json::Value = serde_json::from_str(record).unwrap();
                says(json["type"].as_str().unwrap(), record.as_bytes())
                    .unwrap()
                    .unwrap()
            })
            .collect();
        let session = "session ses_01990000-0000-7000-8000-0000000005e1";
        assert_eq!(
            lines[0],
            format!("{session}, record 0: session.created, topic Market analysis: \"€ / ö\"\n")
        );
        assert!(
            lines[1].starts_with(&format!("{session}, record 1: ")),
            "{}",
            lines[1]
        );
        assert!(lines[1].contains(" from agt_01990000-0000-7000-8000-0000000000a1"));
    }

    #[test]
    fn a_record_of_the_market_says_what_it_is() {
        let (listing, subscription, session) = (
            "lst_00000000-0001-7000-0000-000000000000",
            "sub_00000000-0002-7000-0000-000000000000",
            "ses_00000000-0003-7000-0000-000000000000",
        );
        let record = |record_type: &str, members: &str| {
            let json = format!(r#"{{"at":1,{members},"type":"{record_type}","v":1}}"#);
            says(record_type, json.as_bytes()).unwrap().unwrap()
        };
        let reviewed = format!(r#""by":1,"decision":"reject","listing":"{listing}","reason":"no""#);
        assert_eq!(
            record("market.reviewed", &reviewed),
            format!("{listing}: an operator says reject: no")
        );
        let metered = format!(
            r#""count":{{"calls":2,"messages":5}},"session":"{session}","subscription":"{subscription}""#
        );
        assert_eq!(
            record("market.metered", &metered),
            format!("{subscription}: {session} ended with 5 messages and 2 calls")
        );
        let error = says("market.rated", br#"{"v":1,"type":"market.rated"}"#);
        assert!(error.unwrap().unwrap_err().contains("missing field"));
    }

    #[test]
    fn what_only_looks_like_one_is_told_or_left_alone() {
        let short = br#"{"v":1,"type":"tool.finished"}"#;
        let error = says("tool.finished", short).unwrap().unwrap_err();
        assert!(error.contains("missing field `agent`"), "{error}");
        for (record_type, payload) in [
            ("tool.finished", &b"{}"[..]),
            ("tool.finished", b"\xff"),
            ("tool.finished", br#"{"v":1,"type":"tool.failed"}"#),
            ("order.placed", br#"{"v":1,"type":"order.placed"}"#),
        ] {
            assert_eq!(says(record_type, payload), None);
        }
    }
}
