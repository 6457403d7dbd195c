//! The steps of a call one by one: what follows, what comes again, and what is refused.

use super::*;
use crate::asp::Links;
use crate::types::SessionId;

#[test]
fn the_end_of_a_call_tells_all_of_it() {
    let mut topic = Topic::default();
    topic.start(Start {
        session: Some(SessionId(5)),
        parent: Some(id(9)),
        ..start(1)
    });
    let progress = topic
        .tools
        .check_progress(report(1, 0.5), &Filed::Unsearched, START);
    topic.take(progress);
    let now = START.saturating_add_ms(250);
    let end = topic
        .tools
        .check_finish(finish(1, "[1,2]"), &Filed::Unsearched, now);
    topic.take(end);
    let texts = topic.records.iter();
    let texts: Vec<_> = texts
        .map(|(_, bytes)| String::from_utf8_lossy(bytes))
        .collect();
    let golden = include_str!("../golden.jsonl");
    assert_eq!(texts, golden.lines().collect::<Vec<_>>());
    let stats = topic.tools.stats(&tool("web.search")).unwrap();
    assert_eq!((stats.calls, stats.open(), stats.finished), (1, 0, 1));
    assert_eq!(stats.durations.percentile(500), Some(250));
    // Memory has no contents of a call that ended.
    let Some(Call::Ended(ended)) = topic.tools.call(id(1)) else {
        panic!("the call has ended");
    };
    assert_eq!(ended.offset, Offset(2));
    assert_eq!(
        (&ended.record.arguments, &ended.record.result),
        (&None, &None)
    );
}

#[test]
fn a_step_that_comes_again_answers_the_same_and_another_is_refused() {
    let mut topic = Topic::default();
    let none = Filed::Unsearched;
    topic.start(start(1));
    let again = topic.tools.check_start(start(1), &none, START).unwrap();
    assert!(matches!(again, Checked::Before(Call::Open(_))));
    topic.take(topic.tools.check_progress(report(1, 0.25), &none, START));
    let tools = &topic.tools;
    let again = tools.check_progress(report(1, 0.25), &none, START).unwrap();
    assert!(matches!(again, Checked::Before(_)));
    let again = tools.check_progress(report(1, 0.5), &none, START).unwrap();
    assert!(matches!(again, Checked::New(_)));
    topic.finish(1);
    let tools = &topic.tools;
    let again = tools.check_finish(finish(1, "[1,2]"), &none, START);
    assert!(matches!(again, Ok(Checked::Before(Call::Ended(_)))));
    let again = tools.check_start(start(1), &none, START);
    assert!(matches!(again, Ok(Checked::Before(Call::Ended(_)))));
    let other = tools.check_finish(finish(1, "[3]"), &none, START);
    assert_eq!(
        other.unwrap_err().to_string(),
        format!("call {} ended as `finished` at 1000000 and not so", id(1))
    );
    for refused in [
        tools.check_fail(fail(1, "timeout"), &none, START),
        tools.check_progress(report(1, 1.0), &none, START),
    ] {
        assert!(matches!(refused, Err(ToolError::Ended { .. })));
    }
    let different = [
        (
            "tool",
            Start {
                tool: tool("other"),
                ..start(1)
            },
        ),
        (
            "agent",
            Start {
                agent: AgentId(2),
                ..start(1)
            },
        ),
        (
            "sessionId",
            Start {
                session: Some(SessionId(1)),
                ..start(1)
            },
        ),
        (
            "parentCallId",
            Start {
                parent: Some(id(2)),
                ..start(1)
            },
        ),
        (
            "arguments",
            Start {
                arguments: None,
                ..start(1)
            },
        ),
        (
            "timeoutMs",
            Start {
                timeout_ms: 1,
                ..start(1)
            },
        ),
    ];
    for (member, start) in different {
        let error = tools.check_start(start, &none, START).unwrap_err();
        assert_eq!(
            error,
            ToolError::CallIdTaken {
                call: id(1),
                member
            }
        );
    }
    topic.start(start(2));
    topic.take(topic.tools.check_fail(fail(2, "timeout"), &none, START));
    let again = topic.tools.check_fail(fail(2, "timeout"), &none, START);
    assert!(matches!(again, Ok(Checked::Before(_))));
    let other = topic.tools.check_fail(fail(2, "refused"), &none, START);
    assert!(matches!(other, Err(ToolError::Ended { .. })));
    let nobody = topic.tools.check_fail(fail(3, "timeout"), &none, START);
    assert_eq!(nobody, Err(ToolError::UnknownCall(id(3))));
}

#[test]
fn a_call_that_breaks_a_limit_is_told_the_limit() {
    let mut topic = Topic::default();
    let none = Filed::Unsearched;
    let told = |topic: &Topic, start| {
        let error = topic.tools.check_start(start, &none, START).unwrap_err();
        error.to_string()
    };
    let large = content(&format!("\"{}\"", "x".repeat(MAX_CONTENT_BYTES)));
    let arguments = Some(large.clone());
    assert_eq!(
        told(
            &topic,
            Start {
                arguments,
                ..start(1)
            }
        ),
        "arguments bytes of 262146 is outside 0..=262144"
    );
    assert_eq!(
        told(
            &topic,
            Start {
                timeout_ms: 0,
                ..start(1)
            }
        ),
        "timeoutMs of 0 is outside 1..=2592000000"
    );
    let call = CallId(1);
    assert!(told(&topic, Start { call, ..start(1) }).ends_with("is not a UUID of version 7"));
    let parent = Some(id(1));
    assert!(told(&topic, Start { parent, ..start(1) }).ends_with("names itself as its parent"));
    topic.start(start(1));
    let end = Finish {
        call: id(1),
        result: Some(large),
        by: BY,
    };
    let error = topic.tools.check_finish(end, &none, START).unwrap_err();
    assert_eq!(
        error.to_string(),
        "result bytes of 262146 is outside 0..=262144"
    );
    for error_type in ["", &"x".repeat(257)] {
        let fails = topic.tools.check_fail(fail(1, error_type), &none, START);
        assert!(matches!(fails, Err(ToolError::OutOfLimit { .. })));
    }
    let message = Some("x".repeat(MAX_MESSAGE_BYTES + 1));
    let report = Report {
        message,
        ..report(1, 0.0)
    };
    let error = topic
        .tools
        .check_progress(report, &none, START)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "message bytes of 4097 is outside 0..=4096"
    );
    assert!(Progress::try_from(1.01).is_err());
}

#[test]
fn arguments_of_open_calls_take_so_much_memory_and_no_more() {
    let mut topic = Topic::default();
    let large = format!("\"{}\"", "x".repeat(MAX_CONTENT_BYTES - 2));
    let arguments = Some(content(&large));
    let fit = (MAX_OPEN_ARGUMENT_BYTES / MAX_CONTENT_BYTES) as u128;
    for call in 1..=fit {
        let start = Start {
            arguments: arguments.clone(),
            ..start(call)
        };
        let Ok(Checked::New(event)) = topic.tools.check_start(start, &Filed::Unsearched, START)
        else {
            panic!("call {call} is refused");
        };
        let record = topic.tools.link(event).unwrap();
        topic
            .tools
            .apply(&record, Offset(u64::try_from(call).unwrap()))
            .unwrap();
    }
    let next = Start {
        arguments,
        ..start(fit + 1)
    };
    let error = topic.tools.check_start(next, &Filed::Unsearched, START);
    assert_eq!(
        error.unwrap_err().to_string(),
        "the organisation has 134479872 bytes of arguments of open calls, and at most 134217728 \
         are allowed"
    );
    // What is sensitive is not held.
    let sensitive = Some(Content::sensitive(Digest([1; 32])));
    let next = Start {
        arguments: sensitive,
        ..start(fit + 1)
    };
    topic
        .tools
        .check_start(next, &Filed::Unsearched, START)
        .unwrap();
    let Some(ToolEvent::Ended { .. }) = topic.tools.next_due(START.saturating_add_ms(1_000)) else {
        panic!("the first call is due");
    };
}

#[test]
fn a_call_whose_time_is_over_is_given_up_before_anything_else() {
    let mut topic = Topic::default();
    topic.start(start(1));
    let due = START.saturating_add_ms(1_000);
    assert_eq!(topic.tools.next_deadline(), Some(due));
    assert_eq!(topic.tools.next_due(Timestamp(due.0 - 1)), None);
    for late in [
        topic
            .tools
            .check_finish(finish(1, "1"), &Filed::Unsearched, due),
        topic
            .tools
            .check_progress(report(1, 1.0), &Filed::Unsearched, due),
    ] {
        assert_eq!(late, Err(ToolError::DeadlineFirst { due }));
    }
    let event = topic.tools.next_due(due).unwrap();
    let record = topic.tools.link(event).unwrap();
    topic.append(&record).unwrap();
    assert_eq!(topic.tools.next_deadline(), None);
    let late = topic
        .tools
        .check_finish(finish(1, "1"), &Filed::Unsearched, due);
    assert_eq!(
        late.unwrap_err().to_string(),
        format!("call {} ended as `abandoned` at 1001000 and not so", id(1))
    );
    let stats = topic.tools.stats(&tool("web.search")).unwrap();
    assert_eq!((stats.abandoned, stats.durations.count()), (1, 0));
}

#[test]
fn a_clock_that_goes_back_does_not_turn_the_order_of_the_topic() {
    let mut topic = Topic::default();
    topic.start(start(1));
    let before = Timestamp(START.0 - 500);
    let end = topic
        .tools
        .check_finish(finish(1, "1"), &Filed::Unsearched, before);
    topic.take(end);
    let ended = topic.ended(Offset(1));
    assert_eq!((ended.at, ended.duration_ms), (START, 0));
}

#[test]
fn what_does_not_follow_is_refused_and_changes_nothing() {
    let mut topic = Topic::default();
    topic.start(start(1));
    topic.start(start(2));
    let ToolRecord::Started(started) = topic.read(Offset(0)) else {
        panic!("the first record starts a call");
    };
    let again = ToolRecord::Started(started.clone());
    assert_eq!(refused(&topic, &again), "the call is there already");
    let early = ToolRecord::Started(CallStarted {
        call: id(3),
        at: Timestamp(0),
        ..started
    });
    refused(&topic, &early);
    topic.finish(1);
    let good = topic.ended(Offset(2));
    assert_eq!(
        refused(&topic, &ToolRecord::Ended(good)),
        "there is no such open call"
    );
    let next = topic
        .tools
        .check_finish(finish(2, "1"), &Filed::Unsearched, START);
    let Ok(Checked::New(event)) = next else {
        panic!("call 2 is open");
    };
    let ToolRecord::Ended(good) = topic.tools.link(event).unwrap() else {
        panic!("it ends the call");
    };
    let wrong: [fn(&mut CallEnded); 9] = [
        |ended| ended.agent = AgentId(2),
        |ended| ended.tool = tool("other"),
        |ended| ended.session = Some(SessionId(1)),
        |ended| ended.parent = Some(id(1)),
        |ended| ended.duration_ms += 1,
        |ended| ended.started = Offset(0),
        |ended| ended.threads.agent = Links::default(),
        |ended| ended.by = None,
        |ended| ended.outcome = Outcome::Failed,
    ];
    for wrong in wrong {
        let mut ended = good.clone();
        wrong(&mut ended);
        refused(&topic, &ToolRecord::Ended(ended));
    }
    topic.append(&ToolRecord::Ended(good)).unwrap();
    let mut filed = topic.tools.filing(1);
    filed.calls[0].1 = Offset(3);
    refused(&topic, &ToolRecord::Filed(filed));
}
