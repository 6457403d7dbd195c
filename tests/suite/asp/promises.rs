//! Promises by the real binary: a receipt that is verified without a broker, and what is refused
//! before one is asked.

use npayload::asp::commitment::{
    Checked, Commitments, Create, DEFAULT_CLAIM_MS, Judge, Mode, Party, Promise, Receipt,
    ReceiptRecord,
};
use npayload::types::{CommitmentId, Offset, PrincipalId};

use super::{BASE, HOME, LEAD, START, TALK};
use crate::process::{Broker, npayload, wait_for};

const COMMITMENT: CommitmentId = CommitmentId(BASE + 0xc1);

/// What a broker exports of a promise that was just made.
fn receipt() -> Receipt {
    let obligor = Party {
        agent: LEAD,
        org: HOME,
    };
    let deadline = START.saturating_add_ms(3_600_000);
    let mut promise = Promise::new(TALK, obligor, deadline);
    promise.description = "Deliver competitor pricing analysis".to_owned();
    let create = Create {
        commitment: COMMITMENT,
        promise,
        mode: Mode::OneSided,
        judge: Judge::Participant,
        message: None,
        claim_ms: DEFAULT_CLAIM_MS,
        escrow_held: 0,
        by: PrincipalId(5),
    };
    let made = Commitments::default().check_create(create, START).unwrap();
    let Checked::New(record) = made else {
        panic!("it was never made before: {made:?}");
    };
    let record = ReceiptRecord {
        offset: Offset(3),
        record: serde_json::from_slice(&record.encode()).unwrap(),
    };
    Receipt::of(COMMITMENT, vec![record], Vec::new()).unwrap()
}

#[test]
fn a_receipt_is_verified_without_a_broker_and_a_changed_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("receipt.json");
    let path = file.to_str().unwrap();
    let verify = |json: &str| {
        std::fs::write(&file, json).unwrap();
        npayload(&["commitment", "receipt", "--verify", path, "--json"])
    };
    let json = serde_json::to_string(&receipt()).unwrap();
    let told = verify(&json).json();
    assert_eq!(told["commitment"], COMMITMENT.to_string());
    assert_eq!(told["state"], "active");
    assert_eq!(told["records"], 1);
    assert_eq!(told["termsHash"], receipt().terms_hash.to_string());
    for (from, to, named) in [
        // Something else was promised than what is hashed.
        ("pricing analysis", "pricing synopsis", "hash"),
        (r#""state":"active""#, r#""state":"fulfilled""#, "`state`"),
        (r#""offset":3"#, r#""offset":4"#, "hash"),
        (r#""v":1}"#, r#""v":2}"#, "version 2"),
    ] {
        let changed = json.rsplitn(2, from).collect::<Vec<_>>();
        let [after, before] = changed[..] else {
            panic!("{from} is not in {json}");
        };
        let told = verify(&format!("{before}{to}{after}"));
        assert_eq!(told.code, 1, "{to}");
        assert!(told.err.contains(named), "{to}: {}", told.err);
        assert!(told.out.is_empty(), "{to}");
    }
}

#[test]
fn every_command_says_how_it_is_used_with_examples() {
    for command in [
        ["commitment", "create"],
        ["commitment", "deliver"],
        ["commitment", "confirm"],
        ["commitment", "list"],
        ["commitment", "receipt"],
        ["dispute", "create"],
        ["dispute", "answer"],
        ["dispute", "rule"],
        ["dispute", "list"],
        ["trust", "show"],
        ["trust", "explain"],
        ["trust", "rate"],
        ["org", "verify"],
        ["escrow", "deposit"],
        ["escrow", "withdraw"],
        ["escrow", "balance"],
        ["escrow", "ledger"],
    ] {
        let [of, what] = command;
        let help = String::from_utf8(npayload(&[of, what, "--help"]).ok()).unwrap();
        let example = format!("  npayload {of} {what} ");
        assert!(
            help.contains(&example) || help.contains(example.trim_end()),
            "{help}"
        );
        assert!(help.contains("--json"), "{help}");
    }
}

#[test]
fn evidence_that_is_no_json_is_refused_before_anybody_is_asked() {
    let commitment = COMMITMENT.to_string();
    let told = npayload(&["commitment", "deliver", &commitment, "--evidence", "{"]);
    assert_eq!(told.code, 2, "{}", told.err);
    assert!(told.err.contains("--evidence"), "{}", told.err);
}

#[test]
fn a_promise_that_is_not_kept_is_disputed_and_one_that_is_kept_gives_its_money_back() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    let json = |args: &str, words: &[&str]| {
        let mut all: Vec<&str> = args.split_whitespace().collect();
        all.extend(words);
        all.push("--json");
        broker.run(&all).json()
    };
    let of = |value: &serde_json::Value, member: &str| value[member].as_str().unwrap().to_owned();
    let session = json(
        "session create --participant coordinator-agent:coordinator \
         --participant research-agent:specialist --participant writer-agent:specialist",
        &["Market analysis for Q1 2026"],
    );
    let session = of(&session, "sessionId");
    let create = format!("commitment create {session} --agent research-agent");
    let made = json(
        &format!("{create} --deadline 2026-03-15T00:00:00Z"),
        &["Deliver competitor pricing analysis"],
    );
    let late = of(&made, "id");
    wait_for("the breach", || {
        let shown = json("commitment show", &[&late]);
        (shown["state"] == "breached").then_some(())
    });
    let dispute = json(
        &format!("dispute create {late} --evidence {{\"missedDeadline\":true}}"),
        &["Analysis was not delivered by the deadline"],
    );
    assert_eq!(dispute["state"], "resolved");
    assert_eq!(dispute["ruling"]["verdict"], "upheld");
    assert_eq!(dispute["ruling"]["mechanism"], "automated");
    assert_eq!(dispute["filedBy"]["name"], "coordinator-agent");
    let shown = json("dispute show", &[&of(&dispute, "id")]);
    assert_eq!(shown["evidence"]["missedDeadline"], true);
    let trust = json("trust show research-agent", &[]);
    assert_eq!(
        (&trust["score"], &trust["disputeRate"]),
        (&0.0.into(), &1.0.into())
    );
    assert!(trust["averageResponseTime"].is_null(), "{trust}");

    json("escrow deposit 50000:EUR --agent research-agent", &[]);
    let made = json(
        &format!("{create} --to writer-agent --deadline 2h --escrow 20000:EUR --late-percent 2.5"),
        &["A survey"],
    );
    let kept = of(&made, "id");
    let held = json("escrow balance --agent research-agent", &[]);
    assert_eq!(
        (&held["available"], &held["held"]),
        (&30_000.into(), &20_000.into())
    );
    let deliver = format!("commitment deliver {kept} --evidence {{}} --reference {session}:0");
    assert_eq!(json(&deliver, &[])["state"], "delivered");
    let shortened = json(&format!("commitment confirm {kept} --within 1h"), &[]);
    assert_eq!(shortened["windowMs"], 3_600_000);
    assert_eq!(json("commitment confirm", &[&kept])["state"], "fulfilled");
    let ledger = broker.run(&["escrow", "ledger", "--json"]).json_lines();
    let steps: Vec<_> = ledger.iter().map(|entry| of(entry, "step")).collect();
    assert_eq!(steps, ["released", "held", "deposited"]);
    let file = dir.path().join("receipt.json");
    std::fs::write(&file, broker.run(&["commitment", "receipt", &kept]).ok()).unwrap();
    let file = file.to_str().unwrap();
    npayload(&["commitment", "receipt", "--verify", file]).ok();
    let again = broker.run(&["commitment", "confirm", &kept]);
    assert_eq!(again.code, 1, "{}", again.err);
    assert!(again.err.contains("ILLEGAL_STEP"), "{}", again.err);
}

#[test]
fn a_broker_that_was_killed_across_a_deadline_has_judged_it_once_it_answers() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let broker = Broker::start(&data);
    let json = |broker: &Broker, args: &str, words: &[&str]| {
        let mut all: Vec<&str> = args.split_whitespace().collect();
        all.extend(words);
        all.push("--json");
        broker.run(&all).json()
    };
    let of = |value: &serde_json::Value, member: &str| value[member].as_str().unwrap().to_owned();
    let session = json(
        &broker,
        "session create --participant lead:coordinator --participant writer:specialist",
        &["Market analysis"],
    );
    let session = of(&session, "sessionId");
    let made = json(
        &broker,
        &format!("commitment create {session} --agent writer --deadline 5s"),
        &["Deliver competitor pricing analysis"],
    );
    let promise = of(&made, "id");
    assert_eq!(made["state"], "active");
    let deadline = made["deadline"].as_i64().unwrap();
    let offered = json(
        &broker,
        &format!("session send {session} --from writer --say COMMIT"),
        &[&format!(
            r#"{{"description":"A survey","deadline":{deadline},"terms":{{}}}}"#
        )],
    );
    let (offer, offered) = (of(&offered, "id"), of(&offered, "commitmentId"));
    let shown = json(&broker, "commitment show", &[&offered]);
    assert_eq!(shown["state"], "proposed");
    broker.kill();
    let now = || {
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        i64::try_from(since.as_millis()).unwrap()
    };
    wait_for("the deadline", || (now() > deadline).then_some(()));
    let broker = Broker::start(&data);
    let began = now();
    // What is due comes first: neither is delivered or accepted any more, however soon it is tried.
    let late = broker.run(&["commitment", "deliver", &promise, "--evidence", "{}"]);
    let accept = [
        "session", "send", &session, "--from", "lead", "--say", "ACCEPT",
    ];
    let accepted = broker.run(&[&accept[..], &["--reply-to", &offer, "{}"]].concat());
    assert!(accepted.err.contains("OFFER_LAPSED"), "{}", accepted.err);
    // A late delivery is taken as one, behind the breach.
    let shown = json(&broker, "commitment show", &[&promise]);
    assert_eq!(shown["state"], "breached");
    if late.code == 0 {
        assert_eq!(shown["delivery"]["late"], true);
    }
    let breached = shown["ended"]["at"].as_i64().unwrap();
    assert!(breached >= deadline);
    println!(
        "breach recorded {} ms after the broker was ready",
        breached - began
    );
    assert_eq!(
        json(&broker, "commitment show", &[&offered])["state"],
        "expired"
    );
}
