//! The properties that every history has.

use proptest::prelude::*;

use super::*;
use crate::types::SessionId;

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
