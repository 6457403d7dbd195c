//! Promises between two organisations by the real binary: what each of them does, what the operator
//! does, and what a third one sees.

use serde_json::Value;

use crate::process::{Broker, Ran};

/// What somebody types, who shows a key; the operator shows none.
struct Terminal<'a> {
    broker: &'a Broker,
    key: Option<String>,
}

impl Terminal<'_> {
    fn ran(&self, words: &str, last: &[&str]) -> Ran {
        let mut args: Vec<&str> = words.split_whitespace().collect();
        args.extend(last);
        let mut command = self.broker.command(&args);
        if let Some(key) = &self.key {
            command.env("NPAYLOAD_API_KEY", key);
        }
        let output = command.output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn json(&self, words: &str, last: &[&str]) -> Value {
        self.ran(&format!("{words} --json"), last).json()
    }

    fn lines(&self, words: &str) -> Vec<Value> {
        self.ran(&format!("{words} --json"), &[]).json_lines()
    }

    /// The code with which it is refused.
    fn refused(&self, words: &str) -> String {
        let said = self.ran(words, &[]).fails(1);
        let (before, _) = said.split_once(" (").unwrap_or((&said, ""));
        before.rsplit(' ').next().unwrap_or(before).to_owned()
    }
}

fn of(value: &Value, member: &str) -> String {
    let text = value[member].as_str();
    text.unwrap_or_else(|| panic!("`{member}` of {value}"))
        .to_owned()
}

#[test]
fn two_organisations_promise_pay_dispute_and_trust_and_a_third_sees_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("data"));
    let operator = Terminal {
        broker: &broker,
        key: None,
    };
    let [acme, beta, gamma] = ["acme", "beta", "gamma"].map(|org| {
        operator.ran("org create", &[org]).ok();
        let key = operator.json(&format!("key create all --org {org} --scope all"), &[]);
        Terminal {
            broker: &broker,
            key: Some(of(&key, "secret")),
        }
    });
    acme.ran("agent register bot", &[]).ok();
    gamma.ran("agent register eye", &[]).ok();
    let grant = acme.json("grant create asp * --guest beta", &[]);
    beta.ran("grant accept", &[&of(&grant, "id")]).ok();
    let session = beta.json(
        "session create --participant lead:coordinator --participant agent://acme/bot:specialist",
        &["A survey"],
    );
    let session = of(&session, "sessionId");
    let accept = format!("session send {session} --from bot --say ACCEPT");
    acme.ran(&accept, &[]).ok();

    // Money in beta's ledger, for acme's agent.
    let account = "--org beta --agent agent://acme/bot";
    let paid = operator.json(&format!("escrow deposit 50000:EUR {account}"), &[]);
    assert_eq!(
        (of(&paid, "org"), &paid["available"]),
        ("acme".to_owned(), &50_000.into())
    );
    assert_eq!(
        acme.refused(&format!("escrow deposit 1:EUR {account}")),
        "FORBIDDEN"
    );
    let create = format!(
        "commitment create {session} --agent bot --deadline 2h --escrow 20000:EUR --non-delivery-percent 40"
    );
    assert_eq!(beta.refused(&format!("{create} x")), "AGENT_NOT_FOUND");
    let made = acme.json(&create, &["Deliver the survey"]);
    let id = of(&made, "id");
    assert_eq!(
        (of(&made, "state"), of(&made, "org")),
        ("active".to_owned(), "beta".to_owned())
    );
    let rows = operator.lines("escrow balance --org beta");
    let held: Vec<_> = rows
        .iter()
        .map(|row| (&row["available"], &row["held"]))
        .collect();
    assert_eq!(held, [(&Value::from(30_000), &Value::from(20_000))]);

    // Who is not in it sees nothing of it.
    let foreign = "commitment show --agent eye";
    assert_eq!(
        gamma.refused(&format!("{foreign} {id}")),
        "COMMITMENT_NOT_FOUND"
    );
    assert_eq!(
        gamma.refused(&format!("commitment receipt --agent eye {id}")),
        "COMMITMENT_NOT_FOUND"
    );
    assert_eq!(
        gamma.refused(&format!("dispute create {id} no")),
        "COMMITMENT_NOT_FOUND"
    );
    assert_eq!(gamma.lines("commitment list").len(), 0);
    assert_eq!(
        beta.refused(&format!("commitment deliver {id} --evidence {{}}")),
        "NOT_YOUR_AGENT"
    );

    acme.json(
        &format!("commitment deliver {id} --evidence {{\"rows\":12}}"),
        &[],
    );
    assert_eq!(
        acme.refused(&format!("commitment confirm {id}")),
        "NOT_YOUR_AGENT"
    );
    let filed = beta.json(
        &format!("dispute create {id} --type specification-mismatch --severity 2"),
        &["There are twelve rows missing"],
    );
    let dispute = of(&filed, "id");
    assert_eq!(
        (of(&filed, "state"), of(&filed["filedAgainst"], "org")),
        ("open".to_owned(), "acme".to_owned())
    );
    assert_eq!(
        gamma.refused(&format!("dispute show {dispute} --agent eye")),
        "DISPUTE_NOT_FOUND"
    );
    let answered = acme.json(
        &format!("dispute answer {dispute}"),
        &["They are at the end"],
    );
    assert_eq!(of(&answered, "state"), "answered");
    let frozen = operator.lines("escrow balance --org beta");
    assert_eq!(frozen[0]["frozen"], 20_000);
    assert_eq!(
        acme.refused(&format!("dispute withdraw {dispute}")),
        "AGENT_NOT_FOUND"
    );
    assert_eq!(
        of(
            &beta.json(&format!("dispute withdraw {dispute}"), &[]),
            "state"
        ),
        "withdrawn"
    );
    assert_eq!(
        of(
            &beta.json(&format!("commitment confirm {id}"), &[]),
            "state"
        ),
        "fulfilled"
    );

    // The word of an organisation that nobody knows counts nothing yet; that there is evidence shows.
    operator.ran("org verify beta", &[]).ok();
    let trust = beta.json("trust show agent://acme/bot", &[]);
    assert_eq!(
        (&trust["evidenceCount"], &trust["completionRate"]),
        (&1.into(), &1.0.into())
    );
    let why = acme.json("trust explain bot", &[]);
    assert_eq!(why["evidence"].as_array().unwrap().len(), 1);
    assert_eq!(
        gamma.refused("trust show agent://acme/bot"),
        "AGENT_NOT_FOUND"
    );

    // What is there is paid out, once.
    let out = operator.json(&format!("escrow withdraw 50000:EUR {account}"), &[]);
    assert_eq!((&out["available"], &out["held"]), (&0.into(), &0.into()));
    assert_eq!(
        operator.refused(&format!("escrow withdraw 1:EUR {account}")),
        "INSUFFICIENT_FUNDS"
    );
    let ledger = operator.lines(&format!("escrow ledger {account}"));
    let steps: Vec<_> = ledger.iter().map(|entry| of(entry, "step")).collect();
    assert_eq!(
        steps,
        [
            "withdrawn",
            "released",
            "unfrozen",
            "frozen",
            "held",
            "deposited"
        ]
    );

    // A receipt needs nobody to be verified.
    let receipt = beta
        .ran(&format!("commitment receipt {id} --json --agent lead"), &[])
        .ok();
    let file = dir.path().join("receipt.json");
    std::fs::write(&file, receipt).unwrap();
    let told = acme.json("commitment receipt", &["--verify", file.to_str().unwrap()]);
    assert_eq!(
        (of(&told, "commitment"), of(&told, "state")),
        (id, "fulfilled".to_owned())
    );
}
