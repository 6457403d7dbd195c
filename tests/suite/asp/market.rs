//! The market by the real binary, across two organisations: from the listing to the metered session,
//! and what is refused with which words.

use std::path::Path;

use serde_json::Value;

use crate::process::{Broker, Ran, npayload};

/// A broker that asks for keys, and the files of three: an operator's, who lists, who subscribes.
struct Street {
    _dir: tempfile::TempDir,
    broker: Broker,
    operator: String,
    acme: String,
    beta: String,
}

impl Street {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name).display().to_string();
        let operator = file("admin.key");
        let more = ["--require-keys", "--admin-key-file", &operator];
        let broker = Broker::start_with(&dir.path().join("data"), &more);
        let make = |org: &str| {
            broker
                .run(&["--api-key-file", &operator, "org", "create", org])
                .ok();
            let args = "key create all --scope all --org";
            let mut all = vec!["--api-key-file", operator.as_str()];
            all.extend(args.split(' '));
            all.push(org);
            let key = broker.run(&all).ok();
            let path = file(org);
            std::fs::write(Path::new(&path), key).unwrap();
            path
        };
        let (acme, beta) = (make("acme"), make("beta"));
        Self {
            operator,
            acme,
            beta,
            broker,
            _dir: dir,
        }
    }

    /// Runs a command with a key; the words stand behind it as they are.
    fn run(&self, key: &str, command: &str, words: &[&str]) -> Ran {
        let mut all = vec!["--api-key-file", key];
        all.extend(command.split_whitespace());
        all.extend(words);
        self.broker.run(&all)
    }

    fn json(&self, key: &str, command: &str, words: &[&str]) -> Value {
        let command = format!("{command} --json");
        self.run(key, &command, words).json()
    }

    fn line(&self, key: &str, command: &str, words: &[&str]) -> String {
        let text = String::from_utf8(self.run(key, command, words).ok()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        text.trim_end().to_owned()
    }
}

#[test]
fn a_subscription_from_the_listing_to_the_metered_session_between_two_companies() {
    let street = Street::new();
    let (operator, acme, beta) = (&street.operator, &street.acme, &street.beta);
    let open = |words: &[&str]| {
        let command = "session create prices --participant lead:coordinator --participant \
                       agent://acme/research-agent:specialist";
        street.run(beta, command, words)
    };
    street.line(
        acme,
        "agent register research-agent --capability web-search",
        &[],
    );
    let refused = open(&[]).fails(1);
    assert!(refused.contains("AGENT_NOT_FOUND"), "{refused}");

    let create = "market create --category data-analysis --capability web-search --agent \
                  research-agent --tag prices --price 2.50EUR/call";
    let words = ["--title", "Market research", "--terms", "Fair use."];
    let listing = street.line(acme, create, &words);
    assert!(listing.starts_with("lst_"), "{listing}");
    let refused = street.run(beta, "market info", &[&listing]).fails(1);
    assert!(refused.contains("LISTING_NOT_FOUND"), "{refused}");
    assert!(refused.contains("npayload market search"), "{refused}");
    let told = street.line(acme, "market submit", &[&listing]);
    assert_eq!(told, format!("{listing}: inReview, revision 1"));
    let waiting = street.json(operator, "market search --in-review", &[]);
    assert_eq!(waiting["id"], listing.as_str());
    let refused = street
        .run(acme, "market review", &[&listing, "approve"])
        .fails(1);
    assert!(refused.contains("FORBIDDEN"), "{refused}");
    let refused = street
        .run(operator, "market review", &[&listing, "reject"])
        .fails(1);
    assert!(
        refused.contains("REASON_REQUIRED") && refused.contains("--reason"),
        "{refused}"
    );
    let told = street.json(operator, "market review", &[&listing, "approve"]);
    assert_eq!(told["state"], "published");

    let found = street.json(
        beta,
        "market search --max-price 5EUR --sort trust",
        &["research"],
    );
    assert_eq!(
        (&found["id"], &found["organisation"]),
        (&listing.as_str().into(), &"acme".into())
    );
    assert_eq!(found["pricing"]["unitPrice"], 250);
    assert!(found.get("subscribers").is_none(), "{found}");
    let shown = String::from_utf8(street.run(beta, "market info", &[&listing]).ok()).unwrap();
    assert!(
        shown.contains("2.50 EUR a call") && shown.contains("Fair use."),
        "{shown}"
    );
    let hash = found["termsHash"].as_str().unwrap();
    let other = format!("sha256:{}", "0".repeat(64));
    let refused = street.run(
        beta,
        "market subscribe",
        &[&listing, "--terms-hash", &other],
    );
    assert!(refused.fails(1).contains("TERMS_CHANGED"));
    let subscription = street.line(beta, "market subscribe", &[&listing, "--terms-hash", hash]);
    assert!(
        open(&[]).fails(1).contains("AGENT_NOT_FOUND"),
        "not approved yet"
    );
    let asked = street.json(
        acme,
        "market subscriptions --as publisher --state requested",
        &[],
    );
    assert_eq!(asked["id"], subscription.as_str());
    let told = street.line(acme, "market approve", &[&subscription]);
    assert_eq!(told, format!("{subscription}: active"));

    // It gives a session, whose use is told to both.
    let session = String::from_utf8(open(&[]).ok()).unwrap();
    let session = session.trim_end();
    let send = |key: &str, rest: &str, words: &[&str]| {
        street.line(key, &format!("session send {session} {rest}"), words)
    };
    send(acme, "--from research-agent --say accept", &["{}"]);
    let task = "--from lead --to agent://acme/research-agent --type task.assign --say inform";
    let task = send(beta, task, &[r#"{"task":"prices"}"#]);
    let result = format!("--from research-agent --type task.result --reply-to {task}");
    send(acme, &result, &["{}"]);
    let usage = street.json(beta, "market usage", &[&subscription]);
    assert_eq!(usage["total"]["sessions"], 1);
    assert_eq!(usage["total"]["calls"], 1);
    assert_eq!(usage["total"]["charge"]["amount"], 250);
    assert_eq!(street.json(acme, "market usage", &[&subscription]), usage);
    let table = String::from_utf8(street.run(acme, "market usage", &[&subscription]).ok());
    assert!(table.unwrap().contains("2.50 EUR"));
    let rated = street.line(beta, "market rate", &[&listing, "4", "--comment", "fast"]);
    assert_eq!(rated, format!("{listing}: 4.00 of 5 by 1"));

    street.line(beta, "session close", &[session, "--from", "lead"]);
    let told = street.json(beta, "market cancel", &[&subscription]);
    assert_eq!(told["state"], "cancelled");
    assert!(
        open(&[]).fails(1).contains("AGENT_NOT_FOUND"),
        "after the end"
    );
    let refused = street.run(beta, "market cancel", &[&subscription]).fails(1);
    assert!(refused.contains("ILLEGAL_SUBSCRIPTION_STEP"), "{refused}");
    let kept = street.json(acme, "market usage", &[&subscription]);
    assert_eq!(kept["total"]["calls"], 1, "what was used stays to be told");

    // What the operator did, and what was refused, is on the record.
    let audit = street.run(operator, "audit --json", &[]).json_lines();
    let reviews: Vec<_> = audit
        .iter()
        .filter(|record| record["act"] == "market.review")
        .map(|record| {
            (
                record["outcome"].as_str().unwrap(),
                record["target"].as_str().unwrap(),
            )
        })
        .collect();
    let of = |verdict: &str| format!("{listing} {verdict}");
    assert_eq!(
        reviews,
        [
            ("refused", of("approve").as_str()),
            ("refused", of("reject").as_str()),
            ("done", of("approve").as_str())
        ]
    );
    assert_eq!(street.broker.terminate(), 0);
}

#[test]
fn a_listing_is_written_in_a_file_and_changed_by_options() {
    let street = Street::new();
    let acme = &street.acme;
    let file = Path::new(acme).with_extension("json");
    let path = file.display().to_string();
    let listing = serde_json::json!({
        "title": "Quotes", "category": "advice", "tags": ["a", "b"], "capabilities": ["quote"],
        "agents": ["bot"], "visibility": "unlisted", "access": "byInvitation", "invited": ["beta"],
        "pricing": { "type": "monthly", "currency": "JPY", "price": 900 }, "sample": { "n": [1.5] },
    });
    std::fs::write(&file, listing.to_string()).unwrap();
    let made = street.json(
        acme,
        "market create --price 900JPY/month",
        &["--file", &path],
    );
    let id = made["id"].as_str().unwrap();
    let seen = street.json(acme, "market info", &[id]);
    let seen = &seen["listing"];
    for member in [
        "title",
        "category",
        "tags",
        "capabilities",
        "visibility",
        "access",
    ] {
        assert_eq!(seen[member], listing[member], "{member}");
    }
    assert_eq!(
        (&seen["pricing"], &seen["sample"]),
        (&listing["pricing"], &listing["sample"])
    );
    assert_eq!(seen["invited"], listing["invited"]);
    std::fs::write(&file, r#"{"tags":[],"sample":null}"#).unwrap();
    let update = "market update --access on-request --price 0EUR/call..1000,0.05EUR/call";
    let told = street.line(acme, update, &[id, "--file", &path]);
    assert_eq!(told, format!("{id}: draft, revision 2"));
    let seen = street.json(acme, "market info", &[id]);
    let seen = &seen["listing"];
    assert_eq!(
        (&seen["tags"], &seen["access"]),
        (&serde_json::json!([]), &"onRequest".into())
    );
    assert!(seen.get("sample").is_none(), "{seen}");
    assert_eq!(
        seen["pricing"]["tiers"][1],
        serde_json::json!({ "unitPrice": 5, "upTo": null })
    );
    std::fs::write(&file, r#"{"titel":"x"}"#).unwrap();
    let refused = street
        .run(acme, "market update", &[id, "--file", &path])
        .fails(2);
    assert!(refused.contains("titel"), "{refused}");
    let own = street.json(acme, "market search --own", &[]);
    assert_eq!(own["id"], id);
    assert_eq!(street.broker.terminate(), 0);
}

#[test]
fn every_command_of_the_market_says_how_it_is_used() {
    for (command, has_example) in [
        ("create", true),
        ("update", true),
        ("submit", false),
        ("review", true),
        ("archive", false),
        ("search", true),
        ("info", false),
        ("subscribe", true),
        ("approve", true),
        ("cancel", false),
        ("rate", true),
        ("subscriptions", false),
        ("usage", true),
    ] {
        let help = String::from_utf8(npayload(&["market", command, "--help"]).ok()).unwrap();
        let example = format!("  npayload market {command} ");
        assert_eq!(help.contains(&example), has_example, "{help}");
        assert!(help.contains("--json"), "{help}");
    }
    let script = String::from_utf8(npayload(&["completions", "bash"]).ok()).unwrap();
    for word in ["market", "subscriptions", "--max-price", "--terms-hash"] {
        assert!(script.contains(word), "{word}");
    }
}
