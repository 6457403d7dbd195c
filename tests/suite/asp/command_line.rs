//! Agents by the real binary: a workflow from the task to the close, what each command prints, and
//! what is refused with which words.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::process::{Broker, Ran, wait_for};

fn line(ran: Ran) -> String {
    let text = String::from_utf8(ran.ok()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim_end().to_owned()
}

fn broker() -> (tempfile::TempDir, Broker) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    (dir, broker)
}

/// A session of three agents, of which only one is registered.
fn research(broker: &Broker) -> String {
    line(broker.run(&[
        "session",
        "create",
        "Market analysis for Q1 2026",
        "--participant",
        "coordinator-agent:coordinator",
        "--participant",
        "research-agent:specialist",
        "--participant",
        "writer-agent:specialist",
    ]))
}

#[test]
fn a_research_workflow_from_the_task_to_the_audit() {
    let (_keep, broker) = broker();
    let run = |args: &[&str]| broker.run(args);
    let registered = run(&[
        "agent",
        "register",
        "research-agent",
        "--capability",
        "web-search",
        "--capability",
        "citation",
        "--agent-version",
        "2.1.0",
        "--json",
    ])
    .json();
    assert_eq!(registered["standing"], "registered");
    let session = research(&broker);
    // Two of the three were never registered, and none of these is found.
    let found = run(&["agent", "search", "web-*", "--json"]).json_lines();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["agent"], registered["agent"]);
    let writer = run(&["agent", "show", "agent://default/writer-agent", "--json"]).json();
    assert_eq!(writer["standing"], "placeholder");
    assert_eq!(run(&["agent", "list", "--json"]).json_lines().len(), 1);

    let task = line(run(&[
        "session",
        "send",
        &session,
        "--from",
        "coordinator-agent",
        "--to",
        "research-agent",
        "--type",
        "task.assign",
        r#"{"task":"Research competitor pricing changes in Q1","priority":"high"}"#,
    ]));
    line(run(&[
        "session",
        "send",
        &session,
        "--from",
        "research-agent",
        "--type",
        "task.accept",
        "--reply-to",
        &task,
    ]));
    let call = line(run(&[
        "tool",
        "start",
        "web-search",
        "--agent",
        "research-agent",
        "--session",
        &session,
        "--arguments",
        r#"{"query":"prices"}"#,
    ]));
    run(&["tool", "progress", &call, "--progress", "0.5"]).ok();
    let ended = run(&["tool", "finish", &call, r#"{"pages": 3}"#, "--json"]).json();
    assert_eq!(ended["outcome"], "finished");
    let hidden = line(run(&[
        "tool",
        "start",
        "fetch-page",
        "--agent",
        "research-agent",
        "--session",
        &session,
        "--parent",
        &call,
        "--arguments",
        r#"{"token":"secret"}"#,
        "--sensitive",
    ]));
    run(&["tool", "fail", &hidden, "timeout"]).ok();
    let result = br#"{"changes": ["basic: +5 %"]}"#;
    let args = [
        "session",
        "send",
        &session,
        "--from",
        "research-agent",
        "--type",
        "task.result",
        "--reply-to",
        &task,
        "-",
    ];
    line(broker.run_with(&args, result));
    line(run(&[
        "session",
        "send",
        &session,
        "--from",
        "writer-agent",
        "--type",
        "status.update",
        r#"{"status":"drafted"}"#,
    ]));
    let closed = run(&[
        "session",
        "close",
        &session,
        "--from",
        "coordinator-agent",
        "--outcome",
        "delivered",
        "--json",
    ])
    .json();
    assert_eq!(closed["state"], "CLOSED");

    let verified = run(&["session", "verify", &session, "--json"]).json();
    assert_eq!(
        (&verified["ok"], &verified["records"], &verified["messages"]),
        (&json!(true), &json!(7), &json!(5))
    );
    let shown = run(&["session", "show", &session, "--json"]).json();
    assert_eq!(shown["hash"], verified["hash"]);
    assert_eq!(shown["state"], "CLOSED");
    let records = run(&["session", "tail", &session, "--json"]).json_lines();
    let said: Vec<&str> = records
        .iter()
        .filter_map(|record| record["message"]["performative"].as_str())
        .collect();
    assert_eq!(said, ["PROPOSE", "ACCEPT", "INFORM", "INFORM", "CLOSE"]);
    let text = String::from_utf8(run(&["session", "tail", &session, "--from", "4"]).ok()).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(
        text.contains("writer-agent  INFORM status.update"),
        "{text}"
    );

    // The auditor's question, and an export.
    let calls = [
        "tool",
        "list",
        "--agent",
        "research-agent",
        "--tool",
        "web-search",
        "--since",
        "7d",
    ];
    let found = run(&[&calls[..], &["--json"]].concat()).json_lines();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["callId"], json!(call));
    assert_eq!(found[0]["result"], json!({"pages": 3}));
    let exported = run(&[&calls[..], &["--otel"]].concat()).json_lines();
    assert_eq!(exported[0]["gen_ai.tool.name"], "web-search");
    assert_eq!(exported[0]["gen_ai.conversation.id"], json!(session));
    let hidden = run(&["tool", "show", &hidden, "--json"]).json();
    assert_eq!(hidden["arguments"], Value::Null);
    assert_eq!(hidden["errorType"], "timeout");
    assert_eq!(hidden["parentCallId"], json!(call));
    let totals = run(&["tool", "stats", "web-search", "--json"]).json();
    assert_eq!(
        (&totals["calls"], &totals["finished"]),
        (&json!(1), &json!(1))
    );
    // What concerns the writer, and where to go on.
    let inbox = run(&["session", "inbox", "writer-agent", "--json"]).json_lines();
    assert!(
        inbox
            .iter()
            .all(|entry| entry["sessionId"] == json!(session))
    );
    assert!(!inbox.is_empty());
    let listed = run(&[
        "session",
        "list",
        "--agent",
        "writer-agent",
        "--state",
        "closed",
        "--json",
    ]);
    assert_eq!(listed.json_lines().len(), 1);
    let audit = run(&["audit", "--json"]).json_lines();
    let acts: Vec<&str> = audit.iter().filter_map(|act| act["act"].as_str()).collect();
    assert_eq!(acts, ["agent.register"]);
    assert_eq!(run(&["audit", "--verify", "--json"]).json()["ok"], true);
}

#[test]
fn what_is_refused_says_why_and_what_to_try() {
    let (_keep, broker) = broker();
    let session = research(&broker);
    let say = |more: &[&str]| {
        let args = [&["session", "send", &session, "--from"], more].concat();
        broker.run(&args)
    };
    for (more, told) in [
        (
            &["writer-agent", "--say", "CLOSE"][..],
            "ILLEGAL_MESSAGE (822)",
        ),
        (&["nobody"], "AGENT_NOT_FOUND (800)"),
        (
            &["writer-agent", "--say", "COMMIT", "{}"],
            "INVALID_BODY (826)",
        ),
        (
            &["writer-agent", "--type", "a", r#"{"x":1,"x":2}"#],
            "INVALID_PAYLOAD (827)",
        ),
        (
            &["writer-agent", "--type", "task.accept"],
            "OFFER_NOT_OPEN (823)",
        ),
        (
            &[
                "writer-agent",
                "--id",
                "msg_01990000-0000-4000-8000-0000000000ff",
            ],
            "INVALID_MESSAGE_ID (830)",
        ),
    ] {
        let refused = say(more).fails(1);
        assert!(refused.contains(told), "{more:?}: {refused}");
    }
    let refused = say(&["writer-agent", "hello"]).fails(2);
    assert!(refused.contains("a text needs its quotes"), "{refused}");
    // Nothing of that was written.
    let records = broker
        .run(&["session", "tail", &session, "--json"])
        .json_lines();
    assert_eq!(records.len(), 1);
    let unknown = "ses_01990000-0000-7000-8000-0000000000ff";
    for args in [
        &["session", "show", unknown][..],
        &["session", "verify", unknown],
    ] {
        let refused = broker.run(args).fails(1);
        assert!(refused.contains("SESSION_NOT_FOUND (820)"), "{refused}");
        assert!(refused.contains("npayload session list"), "{refused}");
    }
    let refused = broker.run(&["tool", "show", "tcl_01990000-0000-7000-8000-0000000000ff"]);
    assert!(refused.fails(1).contains("CALL_NOT_FOUND (840)"));
    let refused = broker
        .run(&["agent", "key", "writer-agent", "--revoke"])
        .fails(1);
    assert!(refused.contains("AGENT_NOT_REGISTERED (801)"), "{refused}");
    // The same message again is the same message; another with its id is refused.
    let id = "msg_019a0000-0000-7000-8000-0000000000ff";
    let once = ["writer-agent", "--type", "a.b", "--id", id, "--json", "1"];
    let first = say(&once).json();
    let mut again = say(&once).json();
    assert_eq!(again["duplicate"], true);
    again["duplicate"] = json!(false);
    again["hash"] = first["hash"].clone();
    assert_eq!(again, first);
    let refused = say(&["writer-agent", "--type", "a.b", "--id", id, "2"]).fails(1);
    assert!(refused.contains("MESSAGE_ID_TAKEN (828)"), "{refused}");
}

#[test]
fn an_agent_with_a_key_signs_what_it_says() {
    let (keep, broker) = broker();
    let path = keep.path().join("agent.key").display().to_string();
    broker.run(&["agent", "register", "coordinator-agent"]).ok();
    broker
        .run(&["agent", "key", "coordinator-agent", "--generate", &path])
        .ok();
    let session = research(&broker);
    let say = [
        "session",
        "send",
        &session,
        "--from",
        "coordinator-agent",
        "--to",
        "writer-agent",
    ];
    let say = [&say[..], &["--type", "a.b", r#"{"z": 1.50, "é": [] }"#]].concat();
    let refused = broker.run(&say).fails(1);
    assert!(
        refused.contains("SIGNATURE_REQUIRED") && refused.contains("--signing-key-file"),
        "{refused}"
    );
    let signed = [&say[..], &["--signing-key-file", &path]].concat();
    line(broker.run(&signed));
    let other = keep.path().join("other.key").display().to_string();
    std::fs::write(&other, "7".repeat(64)).unwrap();
    let forged = [&say[..], &["--signing-key-file", &other]].concat();
    let refused = broker.run(&forged).fails(1);
    assert!(refused.contains("INVALID_SIGNATURE"), "{refused}");
    let verified = broker
        .run(&["session", "verify", &session, "--json"])
        .json();
    assert_eq!(
        (&verified["messages"], &verified["signed"]),
        (&json!(1), &json!(1))
    );
    let acts = broker.run(&["audit", "--json"]).json_lines();
    let acts: Vec<&str> = acts.iter().filter_map(|act| act["act"].as_str()).collect();
    assert_eq!(acts, ["agent.register", "agent.setKey"]);
}

/// A tail that runs, and the lines that it prints.
struct Following(Child, BufReader<std::process::ChildStdout>);

impl Following {
    fn next(&mut self) -> u64 {
        let mut text = String::new();
        self.1.read_line(&mut text).unwrap();
        let record: Value = serde_json::from_str(&text).unwrap();
        record["sequence"].as_u64().unwrap()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The broker again, where clients look for it.
fn again_at(address: SocketAddr, data: &Path) -> Broker {
    Broker::start_with(data, &["--listen", &address.to_string()])
}

#[test]
fn a_tail_follows_over_kills_of_the_broker_until_the_session_ends() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut broker = Broker::start(&data);
    let address = broker.address();
    let session = research(&broker);
    let mut tail = broker.command(&["session", "tail", &session, "--follow", "--json"]);
    let mut child = tail.stdout(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut tail = Following(child, out);
    assert_eq!(tail.next(), 0);
    let mut expected = 1;
    for round in 0..3 {
        for number in 0..3 {
            let payload = format!("1{round}{number}");
            let say = [
                "session",
                "send",
                &session,
                "--from",
                "writer-agent",
                "--type",
                "a.b",
            ];
            line(broker.run(&[&say[..], &[payload.as_str()]].concat()));
            if number > 0 {
                assert_eq!(tail.next(), expected);
                expected += 1;
            }
        }
        broker.kill();
        broker = again_at(address, &data);
        assert_eq!(tail.next(), expected);
        expected += 1;
    }
    let close = ["session", "close", &session, "--from", "coordinator-agent"];
    line(broker.run(&close));
    assert_eq!((tail.next(), tail.next()), (expected, expected + 1));
    let ended = wait_for("the tail to end", || tail.0.try_wait().unwrap());
    assert!(ended.success());
    let verified = broker
        .run(&["session", "verify", &session, "--json"])
        .json();
    assert_eq!(verified["records"], expected + 2);
}

#[test]
fn a_key_speaks_for_the_agents_that_its_scope_names() {
    let dir = tempfile::tempdir().unwrap();
    let admin = dir.path().join("admin.key").display().to_string();
    let keys = ["--require-keys", "--admin-key-file", &admin];
    let broker = Broker::start_with(&dir.path().join("data"), &keys);
    let as_admin = |args: &[&str]| broker.run(&[&["--api-key-file", &admin], args].concat());
    let key = line(as_admin(&[
        "key",
        "create",
        "bots",
        "--scope",
        "asp:*:bot-*",
    ]));
    let worker = dir.path().join("worker.key").display().to_string();
    std::fs::write(&worker, key).unwrap();
    let as_worker = |args: &[&str]| broker.run(&[&["--api-key-file", &worker], args].concat());
    as_worker(&["agent", "register", "bot-1"]).ok();
    let refused = as_worker(&["agent", "register", "lead"]).fails(1);
    assert!(
        refused.contains("NOT_YOUR_AGENT (808)") && refused.contains("asp:*:AGENT"),
        "{refused}"
    );
    as_admin(&["agent", "register", "lead"]).ok();
    let create = [
        "session",
        "create",
        "t",
        "--participant",
        "lead:coordinator",
    ];
    let create = [&create[..], &["--participant", "bot-1:specialist"]].concat();
    let session = line(as_admin(&create));
    let say = |agent: &str| {
        as_worker(&[
            "session", "send", &session, "--from", agent, "--type", "a.b", "1",
        ])
    };
    line(say("bot-1"));
    assert!(say("lead").fails(1).contains("NOT_YOUR_AGENT"));
    let start = ["tool", "start", "t", "--agent", "lead"];
    assert!(as_worker(&start).fails(1).contains("NOT_YOUR_AGENT"));
    let call = line(as_admin(&start));
    // A call of an agent that it does not speak for is not there.
    let refused = as_worker(&["tool", "finish", &call]).fails(1);
    assert!(refused.contains("CALL_NOT_FOUND (840)"), "{refused}");
    // Who is refused an agent is on the record.
    let refused: Vec<Value> = as_admin(&["audit", "--json"])
        .json_lines()
        .into_iter()
        .filter(|act| act["outcome"] == "refused")
        .collect();
    let acts: Vec<&str> = refused
        .iter()
        .filter_map(|act| act["act"].as_str())
        .collect();
    assert_eq!(acts, ["agent.register", "session.send", "tool.start"]);
    assert!(refused.iter().all(|act| act["error"] == "NOT_YOUR_AGENT"));
    // Without the operation nothing is.
    let key = line(as_admin(&["key", "create", "reader", "--scope", "consume"]));
    std::fs::write(&worker, key).unwrap();
    let refused = as_worker(&["agent", "search"]).fails(1);
    assert!(refused.contains("FORBIDDEN (703)"), "{refused}");
}
