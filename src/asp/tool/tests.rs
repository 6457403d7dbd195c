//! The steps of a call one by one, and the properties that every history has.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;
use crate::asp::chain::Digest;
use crate::asp::{Knot, Links};
use crate::folding::{EventError, IllegalEvent};
use crate::types::{AgentId, CallId, Offset, PrincipalId, SessionId, Timestamp, ToolName};

const BY: PrincipalId = PrincipalId(1);
const START: Timestamp = Timestamp(1_000_000);

/// A number as an id of version 7.
fn id(number: u128) -> CallId {
    CallId(number << 80 | 7 << 76)
}

fn tool(name: &str) -> ToolName {
    ToolName::parse(name).unwrap()
}

fn content(json: &str) -> Content {
    let mut digest = [0; 32];
    for (at, byte) in json.bytes().enumerate() {
        digest[at % 32] ^= byte;
    }
    Content::plain(
        Digest(digest),
        RawValue::from_string(json.to_owned()).unwrap(),
    )
}

fn start(call: u128) -> Start {
    Start {
        call: id(call),
        tool: tool("web.search"),
        agent: AgentId(1),
        session: None,
        parent: None,
        arguments: Some(content(r#"{"q":"npayload"}"#)),
        timeout_ms: 1_000,
        by: BY,
    }
}

fn finish(call: u128, json: &str) -> Finish {
    Finish {
        call: id(call),
        result: Some(content(json)),
        by: BY,
    }
}

fn fail(call: u128, error_type: &str) -> Fail {
    Fail {
        call: id(call),
        error: CallError {
            message: None,
            error_type: error_type.to_owned(),
        },
        by: BY,
    }
}

fn report(call: u128, progress: f64) -> Report {
    Report {
        call: id(call),
        progress: Some(Progress::try_from(progress).unwrap()),
        message: None,
        by: BY,
    }
}

/// A topic in memory, and the state that follows it.
#[derive(Clone, Default)]
struct Topic {
    records: Vec<(String, Vec<u8>)>,
    tools: Tools,
}

impl Topic {
    fn append(&mut self, record: &ToolRecord) -> Result<(), IllegalEvent> {
        let bytes = record.encode();
        let read = ToolRecord::decode(record.record_type(), &bytes).unwrap();
        assert_eq!(&read, record);
        if !matches!(record, ToolRecord::Folded(_)) {
            // serde_json sorts the members of a value by name.
            let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(serde_json::to_vec(&value).unwrap(), bytes);
        }
        self.tools.apply(&read, Offset(self.records.len() as u64))?;
        self.records.push((record.record_type().to_owned(), bytes));
        Ok(())
    }

    fn take(&mut self, checked: Result<Checked, ToolError>) {
        let Ok(Checked::New(event)) = checked else {
            panic!("not new: {checked:?}");
        };
        let record = self.tools.link(event).unwrap();
        self.append(&record).unwrap();
    }

    fn start(&mut self, call: Start) {
        self.take(self.tools.check_start(call, &Filed::Unsearched, START));
    }

    fn finish(&mut self, call: u128) {
        let finish = finish(call, "[1,2]");
        self.take(self.tools.check_finish(finish, &Filed::Unsearched, START));
    }

    fn read(&self, offset: Offset) -> ToolRecord {
        let at = usize::try_from(offset.0).unwrap();
        let (record_type, bytes) = &self.records[at];
        ToolRecord::decode(record_type, bytes).unwrap()
    }

    fn ended(&self, offset: Offset) -> CallEnded {
        match self.read(offset) {
            ToolRecord::Ended(ended) => ended,
            other => panic!("{other:?} ends no call"),
        }
    }

    /// What is known of a call beyond memory, as a broker finds it out.
    fn search(&self, call: CallId, files: &[Offset]) -> Filed {
        for file in files {
            let ToolRecord::Filed(filed) = self.read(*file) else {
                panic!("no file at {file}");
            };
            if let Some(offset) = filed.call(call) {
                let record = self.ended(offset);
                return Filed::Found(Arc::new(EndedCall { offset, record }));
            }
        }
        Filed::Absent(files[0])
    }

    fn replayed(&self) -> Tools {
        let mut tools = Tools::default();
        for (offset, (record_type, bytes)) in (0..).zip(&self.records) {
            let record = ToolRecord::decode(record_type, bytes).unwrap();
            tools.apply(&record, Offset(offset)).unwrap();
        }
        tools
    }

    /// All that a query finds, the latest first, and how many records of calls it read.
    fn query(&self, filter: &Filter) -> (Vec<CallId>, usize) {
        let (mut found, mut reads) = (Vec::new(), 0);
        let mut ends: Vec<Knot> = self.tools.last_of(filter).into_iter().collect();
        if let (Which::Session, Some(session)) = (filter.thread(), filter.session) {
            for file in self.tools.filed_session(session) {
                let ToolRecord::Filed(filed) = self.read(file) else {
                    panic!("no file at {file}");
                };
                ends.extend(filed.session(session));
            }
        }
        for end in ends {
            let mut walk = Walk::new(filter.clone(), Some(end));
            while let Some(knot) = walk.wants() {
                let ended = self.ended(knot.offset);
                reads += 1;
                if walk.read(&ended) {
                    found.push(ended.call);
                }
                // A page may end anywhere.
                if reads % 7 == 0 {
                    walk = Walk::new(filter.clone(), walk.rest());
                }
            }
        }
        (found, reads)
    }

    /// All ended calls, the latest first: what queries are compared with.
    fn all_ended(&self) -> Vec<CallEnded> {
        let offsets = (0..self.records.len() as u64).rev().map(Offset);
        let ended = offsets.filter_map(|offset| match self.read(offset) {
            ToolRecord::Ended(ended) => Some(ended),
            _ => None,
        });
        ended.collect()
    }
}

fn scan(all: &[CallEnded], filter: &Filter) -> Vec<CallId> {
    let found = all.iter().filter(|ended| filter.fits(ended));
    found.map(|ended| ended.call).collect()
}

fn refused(topic: &Topic, record: &ToolRecord) -> &'static str {
    let mut changed = topic.clone();
    let error = changed.append(record).unwrap_err();
    assert_eq!(changed.tools, topic.tools, "a refusal changed something");
    error.rule
}

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
    let golden = include_str!("golden.jsonl");
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

#[test]
fn a_record_reads_back_and_an_unknown_one_passes_through() {
    let unknown = ToolRecord::decode("tool.dreamt", b"?").unwrap();
    assert_eq!(unknown.encode(), b"?");
    let mut tools = Tools::default();
    tools.apply(&unknown, Offset(0)).unwrap();
    assert_eq!(tools, Tools::default());
    let newer = br#"{"type":"tool.finished","v":2}"#;
    let error = ToolRecord::decode("tool.finished", newer).unwrap_err();
    assert!(matches!(
        error,
        EventError::UnsupportedVersion { found: 2, .. }
    ));
    let error = ToolRecord::decode("tool.started", newer).unwrap_err();
    assert!(matches!(error, EventError::TypeMismatch { .. }));
    let error = ToolRecord::decode("tool.finished", br#"{"type":"tool.finished","v":1}"#);
    assert!(matches!(error, Err(EventError::Json { .. })));
}

#[test]
fn filing_begins_at_the_limit_and_keeps_the_later_half() {
    let mut topic = Topic::default();
    for call in 0..MAX_HELD as u128 {
        assert_eq!(topic.tools.next_filing(), None);
        topic.start(start(call));
        topic.finish(call);
    }
    let record = topic.tools.next_filing().unwrap();
    topic.append(&record).unwrap();
    assert_eq!(topic.tools.held().count(), MAX_HELD / 2);
    assert_eq!(topic.tools.call(id(999)), None);
    assert!(topic.tools.call(id(1_000)).is_some());
    // A repetition of a call that is filed is found, and a new one is not taken for one.
    let files = [Offset(topic.records.len() as u64 - 1)];
    let search = topic.tools.check_start(start(7), &Filed::Unsearched, START);
    assert_eq!(search, Ok(Checked::Search(files.to_vec())));
    let filed = topic.search(id(7), &files);
    let found = topic.tools.check_start(start(7), &filed, START);
    assert!(matches!(found, Ok(Checked::Before(Call::Ended(_)))));
    let found = topic.tools.check_finish(finish(7, "[1,2]"), &filed, START);
    assert!(matches!(found, Ok(Checked::Before(Call::Ended(_)))));
    let between = Start {
        call: CallId(id(7).0 + 1),
        ..start(7)
    };
    let filed = topic.search(between.call, &files);
    let new = topic.tools.check_start(between, &filed, START);
    assert!(matches!(new, Ok(Checked::New(_))));
}

#[test]
fn a_week_is_found_among_many_in_few_reads() {
    let mut topic = Topic::default();
    for call in 0..3_000u128 {
        let now = START.saturating_add_ms(10 * i64::try_from(call).unwrap());
        topic.take(
            topic
                .tools
                .check_start(start(call), &Filed::Unsearched, now),
        );
        topic.take(
            topic
                .tools
                .check_finish(finish(call, "1"), &Filed::Unsearched, now),
        );
    }
    let filter = Filter {
        agent: Some(AgentId(1)),
        since: Some(START.saturating_add_ms(1_000)),
        until: Some(START.saturating_add_ms(1_200)),
        ..Filter::default()
    };
    let (found, reads) = topic.query(&filter);
    assert_eq!(found, scan(&topic.all_ended(), &filter));
    assert_eq!(found.len(), 20);
    assert!(reads <= 80, "{reads} reads");
}

/// What anybody may try.
#[derive(Clone, Debug)]
enum Try {
    Start {
        call: u128,
        agent: u128,
        tool: usize,
        session: Option<u128>,
        timeout_ms: u64,
    },
    Progress(u128),
    Finish(u128, bool),
    Fail(u128),
    Wait(i64),
    File(usize),
}

fn attempt() -> impl Strategy<Value = Try> {
    let session = proptest::option::of(0u128..3);
    let start = (0u128..60, 0u128..3, 0usize..3, session, 1u64..200);
    prop_oneof![
        6 => start.prop_map(|(call, agent, tool, session, timeout_ms)| Try::Start {
            call, agent, tool, session, timeout_ms,
        }),
        1 => (0u128..60).prop_map(Try::Progress),
        6 => (0u128..60, any::<bool>()).prop_map(|(call, plain)| Try::Finish(call, plain)),
        2 => (0u128..60).prop_map(Try::Fail),
        4 => (0i64..30).prop_map(Try::Wait),
        1 => (1usize..8).prop_map(Try::File),
    ]
}

const TOOLS: [&str; 3] = ["web.search", "sql", "mail"];

fn try_it(topic: &mut Topic, attempt: Try, now: Timestamp) {
    while let Some(event) = topic.tools.next_due(now) {
        let record = topic.tools.link(event).unwrap();
        topic.append(&record).unwrap();
    }
    let mut filed = Filed::Unsearched;
    loop {
        let tools = &topic.tools;
        let (call, checked) = match attempt.clone() {
            Try::Start {
                call,
                agent,
                tool: name,
                session,
                timeout_ms,
            } => {
                let start = Start {
                    agent: AgentId(agent),
                    tool: tool(TOOLS[name]),
                    session: session.map(SessionId),
                    timeout_ms,
                    ..start(call)
                };
                (id(call), tools.check_start(start, &filed, now))
            }
            Try::Progress(call) => (
                id(call),
                tools.check_progress(report(call, 0.5), &filed, now),
            ),
            Try::Finish(call, true) => (
                id(call),
                tools.check_finish(finish(call, "[1]"), &filed, now),
            ),
            Try::Finish(call, false) => {
                let result = Some(Content::sensitive(Digest([7; 32])));
                let finish = Finish {
                    result,
                    ..finish(call, "1")
                };
                (id(call), tools.check_finish(finish, &filed, now))
            }
            Try::Fail(call) => (
                id(call),
                tools.check_fail(fail(call, "timeout"), &filed, now),
            ),
            Try::Wait(_) => return,
            Try::File(count) => {
                let filing = tools.filing(count);
                if !filing.calls.is_empty() {
                    topic.append(&ToolRecord::Filed(filing)).unwrap();
                }
                return;
            }
        };
        match checked {
            Ok(Checked::Search(files)) => filed = topic.search(call, &files),
            Ok(Checked::New(event)) => {
                let record = topic.tools.link(event).unwrap();
                return topic.append(&record).expect("what was checked can follow");
            }
            Ok(Checked::Before(_)) | Err(_) => return,
        }
    }
}

proptest! {
    #[test]
    fn any_history_replays_folds_and_is_queried_alike(
        attempts in proptest::collection::vec(attempt(), 1..150),
        part_bytes in 1usize..3000,
        since in proptest::option::of(0i64..1_000),
        long in 0i64..1_000,
    ) {
        let (mut topic, mut now) = (Topic::default(), START);
        for attempt in attempts {
            if let Try::Wait(ms) = attempt {
                now = now.saturating_add_ms(ms);
            }
            try_it(&mut topic, attempt, now);
        }
        let tools = &topic.tools;
        prop_assert_eq!(&topic.replayed(), tools);

        let mut folded = Topic::default();
        folded.start(start(1_000));
        for record in tools.fold_in_parts(part_bytes) {
            folded.append(&record).unwrap();
        }
        prop_assert_eq!(&folded.tools, tools);

        // The threads against a scan, for every kind of question.
        let since = since.map(|ms| START.saturating_add_ms(ms));
        let until = since.map(|since| since.saturating_add_ms(long));
        let or_none = |count: u128| (0..count).map(Some).chain([None]);
        let all = topic.all_ended();
        for agent in or_none(3) {
            for name in (0..3).map(Some).chain([None]) {
                for session in or_none(3) {
                    for outcome in [None, Some(Outcome::Failed)] {
                        let filter = Filter {
                            agent: agent.map(AgentId),
                            tool: name.map(|name: usize| tool(TOOLS[name])),
                            session: session.map(SessionId),
                            outcome,
                            since,
                            until,
                        };
                        let (found, _) = topic.query(&filter);
                        prop_assert_eq!(found, scan(&all, &filter), "{:?}", filter);
                    }
                }
            }
        }
        // What memory says is open, against the records.
        let records = (0..topic.records.len() as u64).map(|at| topic.read(Offset(at)));
        let mut open = std::collections::BTreeSet::new();
        for record in records {
            match record {
                ToolRecord::Started(started) => open.insert(started.call),
                ToolRecord::Ended(ended) => open.remove(&ended.call),
                _ => false,
            };
        }
        let held: std::collections::BTreeSet<_> =
            tools.open().map(|open| open.started.call).collect();
        prop_assert_eq!(held, open);
        for agent in (0..3).map(AgentId) {
            let own = tools.open().filter(|open| open.started.agent == agent);
            prop_assert!(own.eq(tools.open_of_agent(agent)));
        }
        for name in TOOLS.map(tool) {
            let own = tools.open().filter(|open| open.started.tool == name);
            prop_assert!(own.eq(tools.open_of_tool(&name)));
            let stats = tools.stats(&name).cloned().unwrap_or_default();
            prop_assert_eq!(stats.open(), tools.open_of_tool(&name).count() as u64);
        }
        for session in (0..3).map(SessionId) {
            let own = tools.open().filter(|open| open.started.session == Some(session));
            prop_assert!(own.eq(tools.open_of_session(session)));
        }
    }
}
