//! Evidence in channels, over the wire: who may point to it, the digest that anybody computes again,
//! and what is ruled where it has changed.

use std::io::Write;
use std::process::{Command, Stdio};

use npayload::access::Operation;
use npayload::asp::chain::Digest;
use npayload::asp::commitment::State as Promised;
use npayload::asp::dispute::{DisputeState, DisputeType, Mechanism, Verdict};
use npayload::client::{Client, Disputes, RequestError};
use npayload::format::{Compression, NewRecord};
use npayload::protocol::ErrorCode;
use npayload::protocol::asp::{
    ChannelPlace, CommitmentDeliver, CommitmentRow, DisputeCreate, DisputeRow, EvidencePlace,
    SessionRow,
};
use npayload::types::{ChannelName, Offset};

use super::companies::{HOUR, company, delivers, grant, keyed, lead, promises, register};
use super::live::serve;
use super::promises_live::{code, details};
use super::*;

fn channel(name: &str) -> ChannelName {
    ChannelName::parse_any(name).unwrap()
}

fn at(name: &str, start: u64, end: u64) -> EvidencePlace {
    EvidencePlace::Channel(ChannelPlace {
        channel: channel(name),
        start: Offset(start),
        end: Offset(end),
        digest: None,
    })
}

fn with_digest(place: &EvidencePlace, given: Option<Digest>) -> EvidencePlace {
    match place.clone() {
        EvidencePlace::Channel(place) => EvidencePlace::Channel(ChannelPlace {
            digest: given,
            ..place
        }),
        session => session,
    }
}

fn digest_of(place: &EvidencePlace) -> Digest {
    match place {
        EvidencePlace::Channel(place) => place.digest.unwrap(),
        EvidencePlace::Session(place) => place.digest.unwrap(),
    }
}

/// Records of all shapes, in two batches, one of them compressed.
async fn publish(client: &Client, name: &str) {
    let two = [("a", b"1".as_slice()), ("a", b"\xff"), ("b", b"")];
    let record = |payload, key, headers, event| NewRecord {
        record_type: "survey.draft",
        key,
        headers,
        payload,
        event_time: event,
    };
    let records = [
        record(
            Some(b" {\n \"pages\": 1.50 } ".as_slice()),
            None,
            &[][..],
            None,
        ),
        record(
            Some(b"\x00\xff"),
            Some(b"\xfe".as_slice()),
            &two[..],
            Some(Timestamp(-5)),
        ),
        record(None, Some(b"gone"), &[], None),
        record(Some(b""), Some(b""), &two[..1], None),
        record(Some(b"text"), None, &[], Some(Timestamp(0))),
    ];
    for (compression, records) in [
        (Compression::None, &records[..2]),
        (Compression::Lz4, &records[2..]),
    ] {
        let builder = client.producer(channel(name)).compression(compression);
        let producer = builder.build();
        for record in records {
            drop(producer.publish(record).await.unwrap());
        }
        producer.flush().await.unwrap();
    }
}

async fn publishes(client: &Client, name: &str, payloads: &[&[u8]]) {
    let producer = client.producer(channel(name)).build();
    for payload in payloads {
        let record = NewRecord {
            record_type: "survey.draft",
            key: None,
            headers: &[],
            payload: Some(payload),
            event_time: None,
        };
        drop(producer.publish(&record).await.unwrap());
    }
    producer.flush().await.unwrap();
}

/// What the independent script makes of what the command line prints; none where there is no Python.
fn computed(url: &str, name: &str, start: u64, end: u64) -> Option<String> {
    let (from, to) = (start.to_string(), end.to_string());
    let args = [
        "consume", name, "--from", &from, "--to", &to, "--json", "--base64", "--url", url,
    ];
    let printed = Command::new(env!("CARGO_BIN_EXE_npayload"))
        .args(args)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&printed.stderr).into_owned();
    assert!(printed.status.success(), "{said}");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/asp_records.py");
    let mut python = Command::new("python3");
    python.arg(script).args([&from, &to]);
    let python = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut python) = python else {
        assert!(std::env::var_os("CI").is_none(), "python3 is missing");
        eprintln!("skipped, python3 is not installed");
        return None;
    };
    python
        .stdin
        .take()
        .unwrap()
        .write_all(&printed.stdout)
        .unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap())
}

/// A promise that `writer` has delivered, pointing to places.
async fn delivered(client: &Client, places: Vec<EvidencePlace>) -> (SessionRow, CommitmentRow) {
    let session = client
        .sessions()
        .create(super::live::creation())
        .await
        .unwrap();
    let made = promises(client, &session, "writer", HOUR).await;
    let row = deliver(client, &made, places).await.unwrap();
    assert_eq!(row.state, Promised::Delivered);
    (session, row)
}

async fn deliver(
    client: &Client,
    made: &CommitmentRow,
    references: Vec<EvidencePlace>,
) -> Result<CommitmentRow, RequestError> {
    let deliver = CommitmentDeliver {
        commitment_id: made.id,
        evidence: None,
        references,
    };
    client.commitments().deliver(deliver).await
}

fn about(made: &CommitmentRow, references: Vec<EvidencePlace>) -> DisputeCreate {
    DisputeCreate {
        references,
        ..Disputes::about(made.id, "not what was agreed")
    }
}

async fn dispute(client: &Client, asked: DisputeCreate) -> Result<DisputeRow, RequestError> {
    client.disputes().create(asked).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_digest_of_what_is_pointed_to_is_what_anybody_computes_from_the_records() {
    let (_dir, running, client) = serve().await;
    let url = format!("npayload://{}", running.listen());
    publish(&client, "surveys").await;
    let (_, row) = delivered(&client, vec![at("surveys", 0, 5)]).await;
    let shown = client.commitments().info(row.id, None).await.unwrap();
    let whole = digest_of(&shown.delivery.unwrap().references[0]);

    let filed = dispute(
        &client,
        about(&row, vec![at("surveys", 1, 4), at("surveys", 0, 5)]),
    );
    let filed = filed.await.unwrap();
    assert_eq!(digest_of(&filed.references[1]), whole);
    for (place, (start, end)) in filed.references.iter().zip([(1, 4), (0, 5)]) {
        let Some(said) = computed(&url, "surveys", start, end) else {
            return;
        };
        let (digest, _) = said.split_once(' ').unwrap();
        assert_eq!(digest_of(place).to_string(), digest, "{start}..{end}");
    }
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_or_too_much_is_refused_with_value_and_limit() {
    let (_dir, running, client) = serve().await;
    publish(&client, "surveys").await;
    let (_, row) = delivered(&client, Vec::new()).await;
    let refused = async |places| dispute(&client, about(&row, places)).await;
    for (place, why) in [
        (at("nothing", 0, 1), "no such channel"),
        (at("surveys", 4, 6), "beyond the end"),
        (at("surveys", 9, 10), "beyond the end"),
        (at("__consumers", 0, 1), "trimmed as the broker sees fit"),
        (
            with_digest(&at("surveys", 0, 5), Some(Digest([7; 32]))),
            "another digest",
        ),
    ] {
        assert_eq!(
            code(refused(vec![place]).await),
            ErrorCode::InvalidEvidence,
            "{why}"
        );
    }
    let told = details(refused(vec![at("surveys", 0, 10_001)]).await);
    let limit = serde_json::json!({
        "field": "evidence.references records", "found": 10_001, "min": 1, "max": 10_000,
    });
    assert_eq!(told, limit);
    let told = details(refused(vec![at("surveys", 3, 3)]).await);
    assert_eq!((&told["found"], &told["min"]), (&3.into(), &4.into()));

    // More than 64 MiB, of which little is stored.
    let builder = client
        .producer(channel("zeros"))
        .compression(Compression::Lz4);
    let producer = builder.build();
    let zeros = vec![0; 1_000_000];
    for _ in 0..34 {
        let record = NewRecord {
            record_type: "",
            key: None,
            headers: &[],
            payload: Some(&zeros),
            event_time: None,
        };
        drop(producer.publish(&record).await.unwrap());
    }
    producer.flush().await.unwrap();
    let told = details(refused(vec![at("zeros", 0, 34); 2]).await);
    assert_eq!(told["max"], 64 << 20, "all places together");
    assert!(told["found"].as_u64().unwrap() > 64 << 20, "{told}");

    // None of it was written down.
    let given = with_digest(&at("surveys", 0, 5), None);
    let filed = refused(vec![given]).await.unwrap();
    assert_eq!(filed.state, DisputeState::Open);
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_can_read_records_points_to_them() {
    let (_dir, running, client) = serve().await;
    let acme = company(&running, &client, "acme").await;
    register(&acme, "worker").await;
    grant(&acme, (&client, "default"), Operation::Asp, "*").await;
    publishes(&client, "orders", &[b"1", b"2"]).await;
    publishes(&acme, "notes", &[b"a"]).await;
    let session = lead(&client, &["agent://acme/worker".to_owned()]).await;
    let row = promises(&acme, &session, "worker", HOUR).await;
    let foreign = at("default/orders", 0, 2);
    let hidden = deliver(&acme, &row, vec![foreign.clone()]).await;
    assert_eq!(code(hidden), ErrorCode::InvalidEvidence);
    let absent = deliver(&acme, &row, vec![at("default/nothing", 0, 2)]).await;
    assert_eq!(
        code(absent),
        ErrorCode::InvalidEvidence,
        "like one that is not there"
    );
    // A key for agents alone reads no channels.
    let only_asp = crate::admission::scope(&[Operation::Asp], &["*"]);
    let narrow = keyed(&running, &client, "acme", vec![only_asp]).await;
    let own = deliver(&narrow, &row, vec![at("notes", 0, 1)]).await;
    assert_eq!(code(own), ErrorCode::InvalidEvidence);
    grant(&client, (&acme, "acme"), Operation::Consume, "orders").await;
    let row = deliver(&acme, &row, vec![foreign, at("notes", 0, 1)])
        .await
        .unwrap();
    let shown = acme.commitments().info(row.id, None).await.unwrap();
    let names = |row: CommitmentRow| {
        let places = row.delivery.unwrap().references.into_iter();
        let names = places.map(|place| match place {
            EvidencePlace::Channel(place) => place.channel.to_string(),
            EvidencePlace::Session(_) => panic!("a session"),
        });
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        names(shown),
        ["default/orders", "notes"],
        "as acme calls them"
    );
    let shown = client.commitments().info(row.id, None).await.unwrap();
    assert_eq!(names(shown), ["orders", "acme/notes"], "as the others do");
    assert!(running.stop().await);
}

/// Deletes a channel and makes it again with other records.
async fn replaced(client: &Client, name: &str) {
    client.delete_channel(&channel(name)).await.unwrap();
    publishes(client, name, &[b"another", b"thing"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_the_obligor_replaced_after_delivering_them_are_ruled_on_by_the_log() {
    let (_dir, running, client) = serve().await;
    let acme = company(&running, &client, "acme").await;
    register(&acme, "worker").await;
    grant(&acme, (&client, "default"), Operation::Asp, "*").await;
    grant(&acme, (&client, "default"), Operation::Consume, "drafts").await;
    grant(&client, (&acme, "acme"), Operation::Consume, "box").await;
    let session = lead(&client, &["agent://acme/worker".to_owned()]).await;
    let (mine, theirs) = (at("drafts", 0, 2), at("acme/drafts", 0, 2));
    let modified = |row: &CommitmentRow, place: &EvidencePlace| DisputeCreate {
        dispute_type: Some(DisputeType::UnauthorizedModification),
        ..about(row, vec![place.clone()])
    };

    // As it was delivered: the log dismisses it.
    publishes(&acme, "drafts", &[b"a", b"b"]).await;
    let row = promises(&acme, &session, "worker", HOUR).await;
    deliver(&acme, &row, vec![mine.clone()]).await.unwrap();
    let filed = dispute(&client, modified(&row, &theirs)).await.unwrap();
    let ruling = filed.ruling.unwrap();
    assert_eq!(
        (ruling.verdict, ruling.mechanism),
        (Verdict::Dismissed, Mechanism::Automated)
    );

    // Another one, replaced: upheld, and nobody had to say what it is about.
    let row = promises(&acme, &session, "worker", HOUR).await;
    let row = deliver(&acme, &row, vec![mine]).await.unwrap();
    let info = acme.commitments().info(row.id, None).await.unwrap();
    let then = digest_of(&info.delivery.unwrap().references[0]);
    replaced(&acme, "drafts").await;
    let as_delivered = with_digest(&theirs, Some(then));
    let filed = dispute(&client, about(&row, vec![as_delivered]))
        .await
        .unwrap();
    assert_eq!(filed.dispute_type, DisputeType::UnauthorizedModification);
    let ruling = filed.ruling.unwrap();
    assert_eq!(
        (ruling.verdict, ruling.mechanism),
        (Verdict::Upheld, Mechanism::Automated)
    );
    assert_ne!(digest_of(&filed.references[0]), then, "what is there now");
    let made_up = with_digest(&theirs, Some(Digest([3; 32])));
    let row = promises(&acme, &session, "worker", HOUR).await;
    delivers(&acme, row.id).await;
    let forged = dispute(&client, about(&row, vec![made_up])).await;
    assert_eq!(
        code(forged),
        ErrorCode::InvalidEvidence,
        "nobody delivered that"
    );

    // What lies with the filer, the filer itself can replace: the log says nothing then.
    publishes(&client, "box", &[b"a", b"b"]).await;
    let row = promises(&acme, &session, "worker", HOUR).await;
    deliver(&acme, &row, vec![at("default/box", 0, 2)])
        .await
        .unwrap();
    replaced(&client, "box").await;
    let filed = dispute(&client, modified(&row, &at("box", 0, 2)))
        .await
        .unwrap();
    assert_eq!((filed.state, filed.ruling), (DisputeState::Open, None));
    assert!(running.stop().await);
}
