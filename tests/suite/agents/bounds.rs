//! What one participant cannot do to the others or to itself, what those who went read no more, and
//! steps that a client repeats after a lost connection: by the server's doors.

use npayload::access::Operation;
use npayload::protocol::access::{AccessRequest, GrantAccept, GrantRevoke};
use npayload::protocol::asp::{
    AgentDeregister, SessionHistory, SessionLeave, SessionRow, ToolFinish, ToolList, ToolRow,
    ToolStart,
};
use npayload::protocol::{AspRequest, AspResponse, ErrorCode, WireError};
use npayload::server::ServeOptions;
use serde_json::{Value, json};

use super::intruders::{Visitor, call, code_of, message, read, show};
use crate::admission::{ask, desk, propose};

fn says(from: &str, said: &str, n: usize) -> Value {
    json!({ "id": message(n), "from": from, "performative": said, "type": "test.said" })
}

/// The numbers of the records of a session that somebody reads.
fn history(of: &Visitor<'_>, session: &SessionRow) -> Result<Vec<u64>, WireError> {
    let mut read = SessionHistory::new(session.session_id, 0);
    read.limit = 1_000;
    match of.ask(AspRequest::SessionHistory(read))? {
        AspResponse::SessionHistory(page) => Ok((0..page.next).collect()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_id_far_ahead_of_the_clock_is_refused_and_shuts_nobody_out() {
    let desk = desk(ServeOptions::default());
    let acme = Visitor::of(&desk, "acme");
    acme.register("lead");
    let session = acme.create("own");
    let mut ahead = says("lead", "INFORM", 1);
    ahead["id"] = json!("msg_0fffffff-ffff-7000-8000-000000000000");
    let refused = acme.send(&session, ahead).unwrap_err();
    assert_eq!(refused.known(), Some(ErrorCode::InvalidMessageId));
    assert_eq!(refused.details["maxAheadMs"], 300_000);
    assert!(refused.details["aheadMs"].as_u64() > Some(300_000));
    for n in 1..=40 {
        acme.send(&session, says("lead", "INFORM", n)).unwrap();
    }
}

#[test]
fn one_participant_leaves_room_for_the_offers_and_questions_of_every_other() {
    let desk = desk(ServeOptions::default());
    let acme = Visitor::of(&desk, "acme");
    acme.register("lead");
    for what in ["open offers", "unanswered messages with constraints"] {
        let session = acme.create("own");
        let mut n = 0;
        let mut fill = |from: &str| {
            let mut opened = 0;
            loop {
                n += 1;
                let asks = what != "open offers";
                let mut body = says(from, if asks { "QUERY" } else { "PROPOSE" }, n);
                if asks {
                    body["constraints"] = json!({ "allowedPerformatives": ["INFORM"] });
                }
                match acme.send(&session, body) {
                    Ok(_) => opened += 1,
                    Err(error) => {
                        assert_eq!(error.known(), Some(ErrorCode::OutOfLimit));
                        assert_eq!(error.details["field"], what);
                        assert_eq!(error.details["found"], opened);
                        return opened;
                    }
                }
            }
        };
        assert_eq!(fill("lead"), 1_024 - 16, "{what}");
        assert_eq!(fill("own"), 16, "{what}");
    }
}

#[test]
fn a_step_of_a_call_that_is_repeated_is_answered_with_all_that_the_call_is() {
    let desk = desk(ServeOptions::default());
    let acme = Visitor::of(&desk, "acme");
    acme.register("lead");
    let start = || -> ToolStart {
        read(json!({ "callId": call(1), "tool": "web", "agent": "lead", "arguments": { "q": 1 } }))
    };
    let finish = || -> ToolFinish { read(json!({ "callId": call(1), "result": [1, 2] })) };
    let text = |row: &ToolRow| {
        let text = |json: &Option<npayload::protocol::asp::JsonText>| {
            json.as_ref().map(|json| json.text().to_owned())
        };
        (text(&row.arguments), text(&row.result))
    };
    let whole = (Some(r#"{"q":1}"#.to_owned()), Some("[1,2]".to_owned()));
    acme.ask(AspRequest::ToolStart(start())).unwrap();
    for _ in 0..2 {
        match acme.ask(AspRequest::ToolFinish(finish())) {
            Ok(AspResponse::ToolFinish(row)) => assert_eq!(text(&row), whole),
            other => panic!("{other:?}"),
        }
    }
    let ended = match acme.ask(AspRequest::ToolStart(start())) {
        Ok(AspResponse::ToolStart(row)) => {
            assert_eq!(text(&row), whole);
            row.ended_at.unwrap()
        }
        other => panic!("{other:?}"),
    };
    // A list is of the calls that ended then.
    for (since, until, found) in [(0, 1, 1), (1, 2, 0), (-1, 0, 0)] {
        let list: ToolList = read(json!({ "since": ended.0 + since, "until": ended.0 + until }));
        match acme.ask(AspRequest::ToolList(list)) {
            Ok(AspResponse::ToolList(page)) => assert_eq!(page.calls.len(), found, "{since}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_agent_that_is_deregistered_again_is_answered_as_before() {
    let desk = desk(ServeOptions::default());
    let acme = Visitor::of(&desk, "acme");
    acme.register("lead");
    acme.create("own");
    let gone = |name: &str| -> Result<Value, WireError> {
        let gone: AgentDeregister = read(json!({ "agent": name }));
        let answer = acme.ask(AspRequest::AgentDeregister(gone))?;
        match answer {
            AspResponse::AgentDeregister(row) => Ok(serde_json::to_value(row).unwrap()),
            other => panic!("{other:?}"),
        }
    };
    let first = gone("lead").unwrap();
    assert_eq!(gone("lead").unwrap(), first);
    // Who never registered has nothing to take back.
    assert_eq!(code_of(gone("own")), ErrorCode::AgentNotRegistered);
}

#[test]
fn a_guest_that_went_reads_no_further_than_where_it_went() {
    for how in ["left", "refused", "grant"] {
        let desk = desk(ServeOptions::default());
        let (acme, beta) = (Visitor::of(&desk, "acme"), Visitor::of(&desk, "beta"));
        acme.register("bot");
        let grant = propose(&desk, Some(&acme.key), "beta", Operation::Asp, "*");
        let accept = AccessRequest::GrantAccept(GrantAccept { grant });
        ask(&desk, Some(&beta.key), accept).unwrap();
        beta.register("lead");
        let session = beta.create_three("own", "agent://acme/bot");
        // Created, and invited.
        let mut records = 2;
        if how == "refused" {
            let refuse = json!({ "id": message(1), "from": "bot", "performative": "REJECT",
                "payload": { "code": "busy" } });
            acme.send(&session, refuse).unwrap();
            records += 1;
        } else {
            let accept = json!({ "id": message(1), "from": "bot", "performative": "ACCEPT" });
            acme.send(&session, accept).unwrap();
            beta.send(&session, says("lead", "INFORM", 2)).unwrap();
            records += 2;
        }
        if how == "left" {
            let leave: SessionLeave =
                read(json!({ "sessionId": session.session_id, "agent": "bot" }));
            acme.ask(AspRequest::SessionLeave(leave)).unwrap();
            records += 1;
        }
        if how == "grant" {
            // The next record has another time than the end of the grant.
            std::thread::sleep(std::time::Duration::from_millis(5));
            let revoke = AccessRequest::GrantRevoke(GrantRevoke { grant });
            ask(&desk, Some(&acme.key), revoke).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let inbox = acme.inbox("bot").entries.len();
        let read: Vec<u64> = (0..records).collect();
        assert_eq!(history(&acme, &session).unwrap(), read, "{how}");
        for n in 3..30 {
            beta.send(&session, says("lead", "INFORM", n)).unwrap();
        }
        assert_eq!(history(&acme, &session).unwrap(), read, "{how}");
        assert_eq!(acme.inbox("bot").entries.len(), inbox, "{how}");
        assert_eq!(
            history(&beta, &session).unwrap().len(),
            read.len() + 27,
            "{how}"
        );
        // Nor when it has ended, and is filed.
        let close = json!({ "id": message(99), "from": "lead", "performative": "CLOSE" });
        beta.send(&session, close).unwrap();
        assert_eq!(history(&acme, &session).unwrap(), read, "{how}");
        if how != "refused" {
            for _ in 0..2_000 {
                let other = beta.create("own");
                beta.close(&other);
            }
            assert_eq!(history(&acme, &session).unwrap(), read, "{how}");
        }
        assert_eq!(acme.inbox("bot").entries.len(), inbox, "{how}");
    }
}

#[test]
fn a_guest_that_is_in_reads_all_of_it() {
    let desk = desk(ServeOptions::default());
    let (acme, beta) = (Visitor::of(&desk, "acme"), Visitor::of(&desk, "beta"));
    acme.register("bot");
    show(&acme, &beta, "beta");
    beta.register("lead");
    let session = beta.create("agent://acme/bot");
    let accept = json!({ "id": message(1), "from": "bot", "performative": "ACCEPT" });
    acme.send(&session, accept).unwrap();
    for n in 2..30 {
        beta.send(&session, says("lead", "INFORM", n)).unwrap();
    }
    assert_eq!(history(&acme, &session), history(&beta, &session));
    assert_eq!(history(&acme, &session).unwrap().len(), 31);
}
