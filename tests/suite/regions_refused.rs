//! What a home refuses for good of an outbox is set aside, told, and published again; nobody waits
//! behind it, and a producer that was refused is promised nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use npayload::broker::{CheckedBatch, Outbox};
use npayload::client::{Client, Link, LinkCall, RequestError};
use npayload::format::{BatchBuilder, Compression, NewRecord};
use npayload::protocol::region::LinkOpen;
use npayload::protocol::{
    ErrorCode, PublishAsks, PublishRequest, PublishTarget, RegionRequest, Request, Response,
};
use npayload::region::copies::{AsideReason, RefusedRecords, SetAside};
use npayload::storage::disk::{CrashingDisk, Loss};
use npayload::types::{ChannelName, Incarnation, Offset, ProducerId, RegionName, Timestamp};
use serde_json::{Value, json};

use crate::broker_failures::let_in;
use crate::copies::{self, Driven};
use crate::process::wait_for;
use crate::regions::{Region, over_line};
use crate::regions_move::{aside, move_to, payloads};
use crate::regions_out::pair;

/// A batch of one record, of a producer.
fn built(producer: u128, epoch: u32, sequence: u64, text: &str) -> CheckedBatch {
    built_of(producer, epoch, sequence, &[text])
}

/// A batch of these records, of a producer.
fn built_of(producer: u128, epoch: u32, sequence: u64, texts: &[&str]) -> CheckedBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.producer(ProducerId(producer), epoch, sequence);
    for text in texts {
        let record = NewRecord {
            payload: Some(text.as_bytes()),
            ..NewRecord::default()
        };
        builder.push(&record).expect("a record");
    }
    let_in(builder.build().expect("a batch"))
}

/// Who sends batches to a region, with whatever producer and sequence.
struct Sender(Link);

impl Sender {
    async fn to(region: &Region) -> Self {
        let open = RegionRequest::LinkOpen(LinkOpen {
            region: RegionName::parse("sa-east").expect("a name"),
            expect: RegionName::parse("eu-west").expect("a name"),
            directory_id: Incarnation(7),
            pack: false,
        });
        let linked = Link::connect(Client::builder(), &region.url(), open).await;
        Self(linked.expect("a link").0)
    }

    /// Sends a batch of one record that may wait.
    fn send(&self, producer: u128, epoch: u32, sequence: u64, text: &str) -> LinkCall {
        let batch = built(producer, epoch, sequence, text).bytes;
        let request = Request::Publish(PublishRequest {
            target: PublishTarget {
                channel: ChannelName::parse("orders").expect("a name"),
                incarnation: None,
                expected_offset: None,
            },
            batch: BytesMut::from(&batch[..]),
            asks: Some(PublishAsks {
                outbox: true,
                wait_ms: 0,
            }),
        });
        self.0.send(&request)
    }

    /// The same, and whether it waits.
    async fn publish(
        &self,
        producer: u128,
        epoch: u32,
        sequence: u64,
        text: &str,
    ) -> Result<bool, ErrorCode> {
        told(self.send(producer, epoch, sequence, text)).await
    }

    /// The same of one that has to wait.
    async fn keep(&self, producer: u128, epoch: u32, sequence: u64, text: &str) {
        let kept = self.publish(producer, epoch, sequence, text).await;
        assert_eq!(kept, Ok(true), "{text}");
    }
}

/// Whether what was published waits.
async fn told(mut call: LinkCall) -> Result<bool, ErrorCode> {
    match call.answer().await {
        Ok(Response::PublishAt(_, at)) => Ok(at.outbox),
        Err(RequestError::Server(error)) => Err(error.known().expect("a known error")),
        other => panic!("{other:?}"),
    }
}

/// Waits until a region's links are not open.
fn unlinked(region: &Region) {
    wait_for("the link to be missed", || {
        let status = region.status();
        let mut links = status["links"].as_array().expect("rows").iter();
        links.all(|link| link["state"] != "open").then_some(())
    });
}

/// What is told of the outbox of `orders`.
fn outbox(region: &Region) -> Value {
    let status = region.status();
    let rows = status["outboxes"].as_array().cloned().unwrap_or_default();
    let mut rows = rows.into_iter();
    let row = rows.find(|row| row["channel"] == "orders");
    row.unwrap_or_default()
}

/// Waits until nothing waits and as many records were set aside as refused; what is told of them.
fn refused(region: &Region, records: u64) -> Value {
    wait_for(&format!("{records} records to be set aside"), || {
        let row = outbox(region);
        let is_it = row["records"] == 0 && row["refused"]["records"] == records;
        is_it.then(|| row["refused"].clone())
    })
}

/// What the region says lies in its `lost+found`.
fn rows_aside(region: &Region) -> Vec<Value> {
    let status = region.status();
    status["aside"].as_array().cloned().unwrap_or_default()
}

/// Waits until nothing waits; nothing was set aside.
fn nothing_aside(region: &Region) {
    wait_for("an empty outbox", || {
        let records = &outbox(region)["records"];
        (records.is_null() || records == 0).then_some(())
    });
    assert_eq!(rows_aside(region), Vec::<Value>::new());
}

fn texts(region: &Region) -> Vec<String> {
    region.records("orders").into_values().collect()
}

fn numbered(text: &str, count: u64) -> Vec<String> {
    (0..count).map(|n| format!("{text} {n}")).collect()
}

/// Waits until the home has this many records; all of them behind the first.
fn arrived(home: &Region, count: usize) -> Vec<String> {
    wait_for(&format!("{count} records at home"), || {
        let records = texts(home);
        (records.len() > count).then(|| records[1..].to_vec())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_home_refuses_of_one_producer_is_set_aside_and_all_others_arrive() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, mut west) = pair(dir.path());
    line.cut();
    unlinked(&west);
    let sender = Sender::to(&west).await;
    // The first is not known at home, and does not begin: what was before may be there.
    for n in 0..20 {
        sender.keep(7, 1, 5 + n, &format!("lost {n}")).await;
        sender.keep(8, 1, n, &format!("kept {n}")).await;
    }
    line.mend();
    assert_eq!(arrived(&east, 20), numbered("kept", 20), "in order, once");
    let told = refused(&west, 20);
    assert_eq!(told["code"], "UNKNOWN_PRODUCER", "{told}");
    let place = told["place"].as_str().expect("a place").to_owned();
    // One file and one record of it, with who wrote it and when.
    let rows = rows_aside(&west);
    assert_eq!(rows.len(), 1, "{rows:?}");
    let row = (&rows[0]["reason"], &rows[0]["refused"]["channel"]);
    assert_eq!(row, (&json!("refused"), &json!("orders")), "{rows:?}");
    let files = aside(&west);
    assert_eq!(files, [west.data.join(&place)]);
    assert_eq!(payloads(&files[0]), numbered("lost", 20), "in order, once");
    let told = west.run(&["region", "status"]).ok();
    let told = String::from_utf8(told).expect("a text");
    let why = "20 records set aside: UNKNOWN_PRODUCER";
    assert!(told.contains(why), "{told}");
    // What it sends next is refused at home, and while that is away nobody promises it.
    let next = sender.publish(7, 1, 25, "lost").await;
    assert_eq!(next, Err(ErrorCode::UnknownProducer));
    line.cut();
    unlinked(&west);
    let next = sender.publish(7, 1, 25, "lost").await;
    assert_eq!(next, Err(ErrorCode::UnknownProducer));
    sender.keep(8, 1, 20, "kept 20").await;
    // It may begin anew.
    sender.keep(7, 2, 0, "kept 21").await;
    line.mend();
    assert_eq!(arrived(&east, 22), numbered("kept", 22));
    // It is told after a restart too, and nothing of it is carried again.
    wait_for("an empty outbox", || {
        (outbox(&west)["records"] == 0).then_some(())
    });
    west.kill();
    west.restart();
    west.linked();
    refused(&west, 20);
    // Published again it is in the channel, once, and off the list.
    let republish = ["region", "republish", &place, "--json"];
    let told = west.run(&republish).json();
    let done = (&told["to"], &told["published"], &told["alreadyThere"]);
    assert_eq!(done, (&json!("orders"), &json!(20), &json!(0)), "{told}");
    let told = west.run(&republish).json();
    let done = (&told["published"], &told["alreadyThere"]);
    assert_eq!(done, (&json!(0), &json!(20)), "{told}");
    let all = [numbered("kept", 22), numbered("lost", 20)].concat();
    assert_eq!(arrived(&east, 42), all);
    assert_eq!(outbox(&west), Value::Null, "nothing waits, nothing is lost");
    assert_eq!(rows_aside(&west)[0]["republished"][0]["done"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_channel_does_not_allow_any_more_is_set_aside_with_what_follows_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, west) = pair(dir.path());
    line.cut();
    unlinked(&west);
    let sender = Sender::to(&west).await;
    let large = "x".repeat(3000);
    sender.keep(7, 1, 0, &large).await;
    sender.keep(8, 1, 0, "kept 0").await;
    sender.keep(7, 1, 1, "behind it").await;
    sender.keep(8, 1, 1, "kept 1").await;
    let update = ["channel", "update", "orders", "--max-record-bytes", "1000"];
    east.run(&update).ok();
    line.mend();
    assert_eq!(arrived(&east, 2), numbered("kept", 2));
    let told = refused(&west, 2);
    assert_eq!(told["code"], "RECORD_TOO_LARGE", "the first of it: {told}");
    let files = aside(&west);
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(payloads(&files[0]), [large.as_str(), "behind it"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_aside_of_an_encrypted_outbox_stays_encrypted_with_its_keys_beside() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("master.key");
    std::fs::write(&key, "6b65796b".repeat(8) + "\n").expect("written");
    let key = key.display().to_string();
    let more: &[&str] = vec!["--master-key-file", key.leak()].leak();
    let (mut east, line, mut west) = over_line(dir.path());
    for region in [&mut east, &mut west] {
        region.restart_with(more);
    }
    west.linked();
    east.run(&["channel", "create", "orders", "--encryption", "on"])
        .ok();
    east.publish("orders", &["zero"]);
    west.run(&["interest", "add", "orders", "--from", "start"])
        .ok();
    west.has("orders", 1);
    line.cut();
    unlinked(&west);
    let sender = Sender::to(&west).await;
    for n in 0..3 {
        sender.keep(7, 1, 5 + n, &format!("lost {n}")).await;
        sender.keep(8, 1, n, &format!("kept {n}")).await;
    }
    line.mend();
    assert_eq!(arrived(&east, 3), numbered("kept", 3));
    refused(&west, 3);
    let file = aside(&west).remove(0);
    let stored = std::fs::read(&file).expect("a file");
    assert!(!stored.windows(5).any(|bytes| bytes == b"lost "));
    let file = file.display().to_string();
    assert!(Path::new(&format!("{file}.keys")).exists());
    let name = file.rsplit('/').next().expect("a name");
    let told = west.run(&["region", "republish", name, "--json"]).json();
    assert_eq!(told["published"], 3, "{told}");
    let all = [numbered("kept", 3), numbered("lost", 3)].concat();
    assert_eq!(arrived(&east, 6), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_where_the_home_was_moved_to_is_set_aside_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut east, line, west) = pair(dir.path());
    line.cut();
    unlinked(&west);
    let sender = Sender::to(&west).await;
    sender.keep(7, 1, 5, "lost 0").await;
    for n in 0..3 {
        sender.keep(8, 1, n, &format!("kept {n}")).await;
    }
    east.kill();
    move_to(&west, "orders", "eu-west", true);
    assert_eq!(arrived(&west, 3), numbered("kept", 3));
    refused(&west, 1);
    assert_eq!(payloads(&aside(&west)[0]), ["lost 0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_to_a_former_home_is_not_passed_over_where_the_home_moves_here() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_east, line, mut west) = pair(dir.path());
    // What is on its way is waited for longer than the move takes.
    west.restart_with(&["--ack-wait", "60s"]);
    line.cut();
    unlinked(&west);
    let sender = Sender::to(&west).await;
    let large = "x".repeat(600_000);
    sender.keep(8, 1, 0, &large).await;
    // It is sent, and takes long; then nothing gets through, and nobody is told.
    line.mend();
    line.set(|condition| condition.bytes_per_s = Some(100_000));
    west.linked();
    line.set(|condition| condition.is_silent_there = true);
    move_to(&west, "orders", "eu-west", true);
    // They wait behind the one before them; with each it is looked what may be appended here.
    for n in 1..4 {
        sender.keep(8, 1, n, &format!("kept {n}")).await;
    }
    line.cut();
    let texts = arrived(&west, 4);
    let expected = [large.as_str(), "kept 1", "kept 2", "kept 3"];
    assert!(texts == expected, "in order, once");
    nothing_aside(&west);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_set_aside_yet_stays_in_the_outbox_through_a_kill() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, mut west) = pair(dir.path());
    line.cut();
    unlinked(&west);
    let sender = Sender::to(&west).await;
    sender.keep(7, 1, 5, "lost 0").await;
    sender.keep(8, 1, 0, "kept 0").await;
    // Nothing can be written there.
    let place = west.data.join("lost+found");
    let moved = west.data.join("elsewhere");
    std::fs::rename(&place, &moved).expect("renamed");
    std::fs::write(&place, "no directory").expect("written");
    line.mend();
    assert_eq!(arrived(&east, 1), ["kept 0"], "the others go on");
    wait_for("the attempt", || {
        let row = outbox(&west);
        let error = row["error"].as_str().unwrap_or_default().to_owned();
        let is_told = error.contains("lost+found") || row["records"].is_null();
        is_told.then_some(())
    });
    assert_eq!(
        outbox(&west)["records"],
        2,
        "not carried before it is there"
    );
    west.kill();
    std::fs::remove_file(&place).expect("removed");
    std::fs::rename(&moved, &place).expect("renamed");
    west.restart();
    refused(&west, 1);
    assert_eq!(payloads(&aside(&west)[0]), ["lost 0"]);
    assert_eq!(texts(&east), ["zero", "kept 0"], "once");
}

/// Waits until something is in a region's `lost+found` that was not there.
fn until_something_new(region: &Region, known: &BTreeSet<std::path::PathBuf>) {
    wait_for("something new in lost+found", || {
        // As soon as it can be seen, whatever it is.
        for _ in 0..2000 {
            let entries = std::fs::read_dir(region.data.join("lost+found")).expect("a directory");
            let mut paths = entries.flatten().map(|entry| entry.path());
            if paths.any(|path| !known.contains(&path)) {
                return Some(());
            }
        }
        None
    });
}

fn known(region: &Region) -> BTreeSet<std::path::PathBuf> {
    let entries = std::fs::read_dir(region.data.join("lost+found")).expect("a directory");
    entries.flatten().map(|entry| entry.path()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_records_are_set_aside_loses_none_and_tells_each_once() {
    const ROUNDS: u64 = 5;
    const EACH: u64 = 30;
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, mut west) = pair(dir.path());
    for round in 0..ROUNDS {
        line.cut();
        unlinked(&west);
        let sender = Sender::to(&west).await;
        for n in 0..EACH {
            let number = round * EACH + n;
            let lost = u128::from(100 + round);
            sender.keep(lost, 1, 5 + n, &format!("lost {number}")).await;
            sender.keep(8, 1, number, &format!("kept {number}")).await;
        }
        drop(sender);
        let before = known(&west);
        line.mend();
        until_something_new(&west, &before);
        west.kill();
        west.restart();
        refused(&west, (round + 1) * EACH);
    }
    let count = ROUNDS * EACH;
    let all = arrived(&east, usize::try_from(count).expect("few"));
    assert_eq!(all, numbered("kept", count), "each once, in order");
    // Each is in one file of those that are on the record, and in no other.
    let rows = rows_aside(&west);
    let places = rows.iter().map(|row| row["place"].as_str().expect("one"));
    let found = places.flat_map(|place| payloads(&west.data.join(place)));
    assert_eq!(found.collect::<Vec<_>>(), numbered("lost", count));
    let told: u64 = rows
        .iter()
        .filter_map(|row| row["refused"]["records"].as_u64())
        .sum();
    assert_eq!(told, count, "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_at_home_is_not_set_aside_for_a_later_epoch_of_its_producer() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, west) = pair(dir.path());
    line.cut();
    unlinked(&west);
    let sender = Sender::to(&west).await;
    for epoch in 1..4 {
        let text = format!("kept {}", epoch - 1);
        sender.keep(7, epoch, 0, &text).await;
    }
    // The home has the first, and its answer is lost: it is sent again.
    line.mend();
    line.set(|condition| condition.delay = Duration::from_millis(300));
    wait_for("the first", || (texts(&east).len() > 1).then_some(()));
    line.cut();
    unlinked(&west);
    line.mend();
    assert_eq!(arrived(&east, 3), numbered("kept", 3));
    nothing_aside(&west);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_at_once_is_not_set_aside_for_a_later_epoch_of_its_producer() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, west) = pair(dir.path());
    let sender = Sender::to(&west).await;
    // The home has the first, and nobody is told: what comes behind it of a later epoch waits here.
    line.set(|condition| condition.is_silent_back = true);
    let first = sender.send(7, 1, 0, "kept 0");
    let second = sender.send(7, 2, 0, "kept 1");
    let other = sender.send(8, 1, 0, "kept 2");
    wait_for("the first", || (texts(&east).len() > 1).then_some(()));
    line.cut();
    unlinked(&west);
    for call in [first, second, other] {
        assert_eq!(told(call).await, Ok(true));
    }
    line.mend();
    assert_eq!(arrived(&east, 3), numbered("kept", 3));
    nothing_aside(&west);
    // Where the home answers it goes there without a wait here.
    let next = (
        sender.send(7, 2, 1, "kept 3"),
        sender.send(7, 3, 0, "kept 4"),
    );
    assert_eq!(
        (told(next.0).await, told(next.1).await),
        (Ok(false), Ok(false))
    );
    assert_eq!(arrived(&east, 5), numbered("kept", 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_begins_anew_where_it_was_not_known_is_kept_past_where_it_was_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, west) = pair(dir.path());
    let sender = Sender::to(&west).await;
    let refused = sender.publish(7, 1, 3, "lost").await;
    assert_eq!(refused, Err(ErrorCode::UnknownProducer));
    line.cut();
    unlinked(&west);
    sender.keep(7, 1, 0, "kept 0").await;
    // From there on it leaves nothing out.
    let gap = sender.publish(7, 1, 2, "kept 2").await;
    assert_eq!(gap, Err(ErrorCode::SequenceGap));
    for n in 1..6 {
        sender.keep(7, 1, n, &format!("kept {n}")).await;
    }
    line.mend();
    assert_eq!(arrived(&east, 6), numbered("kept", 6));
    nothing_aside(&west);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_a_producer_says_why_its_first_batch_was_refused() {
    const COUNT: u64 = 60;
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, west) = pair(dir.path());
    line.cut();
    unlinked(&west);
    let sender = Sender::to(&west).await;
    let large = "x".repeat(3000);
    for n in 0..COUNT {
        let behind = format!("behind {n}");
        let text = if n == 0 { &large } else { &behind };
        sender.keep(7, 1, n, text).await;
        sender.keep(8, 1, n, &format!("kept {n}")).await;
    }
    let update = ["channel", "update", "orders", "--max-record-bytes", "1000"];
    east.run(&update).ok();
    // More are sent than may be on their way at once, so some were answered; then the home is lost.
    line.mend();
    line.set(|condition| condition.delay = Duration::from_millis(400));
    wait_for("some of them", || (texts(&east).len() > 12).then_some(()));
    line.cut();
    wait_for("a file", || (!rows_aside(&west).is_empty()).then_some(()));
    line.mend();
    let count = usize::try_from(COUNT).expect("few");
    assert_eq!(arrived(&east, count), numbered("kept", COUNT));
    refused(&west, COUNT);
    let rows = rows_aside(&west);
    assert!(rows.len() > 1, "{rows:?}");
    let is_why = |row: &Value| row["refused"]["code"] == "RECORD_TOO_LARGE";
    assert!(rows.iter().all(is_why), "{rows:?}");
}

/// An outbox of three batches in a region of one broker.
fn kept() -> (Driven, Outbox) {
    let mut west = Driven::open_as(CrashingDisk::new(), 1, Some("eu-west")).expect("it opens");
    let outbox = Outbox::of(&copies::name(), Incarnation(5)).expect("it has one");
    for n in 0..3 {
        let mut batch = Some(built(7, 1, 5 + n, "lost"));
        let now = Timestamp(west.now);
        let kept = west
            .broker
            .keep_in_outbox(&outbox, false, &mut batch, 9, now);
        kept.expect("kept");
        west.settle();
    }
    (west, outbox)
}

#[test]
fn a_batch_is_told_of_one_that_waits_and_not_of_one_that_is_carried() {
    let (mut west, outbox) = kept();
    let keep = |west: &mut Driven, batch: CheckedBatch| {
        let now = Timestamp(west.now);
        let mut batch = Some(batch);
        let kept = west
            .broker
            .keep_in_outbox(&outbox, false, &mut batch, 9, now);
        west.settle();
        kept.map(|kept| kept.value.is_duplicate)
            .map_err(|refusal| refusal.error.to_string())
    };
    assert_eq!(keep(&mut west, built(7, 1, 6, "lost")), Ok(true));
    let now = Timestamp(west.now);
    west.broker
        .carried(&outbox, Offset(3), now)
        .expect("recorded");
    west.settle();
    // The home did not know the producer: it has begun anew there, and the home is lost again. What it
    // sends has numbers that others had, and may be cut in another way.
    assert_eq!(keep(&mut west, built_of(7, 1, 5, &["a", "b"])), Ok(false));
    assert_eq!(keep(&mut west, built(7, 1, 7, "c")), Ok(false));
    assert_eq!(keep(&mut west, built_of(7, 1, 5, &["a", "b"])), Ok(true));
    let place = west.broker.outbox_place(&outbox).expect("an outbox");
    assert_eq!((place.start, place.end), (Offset(3), Offset(6)));
    let now = Timestamp(west.now);
    west.broker
        .carried(&outbox, Offset(6), now)
        .expect("recorded");
    west.settle();
    let mut west = west.reopen(Loss::None);
    assert_eq!(keep(&mut west, built(7, 1, 7, "d")), Ok(false));
    assert_eq!(west.batches_of(&outbox.name, Offset(6)).len(), 1);
    // A former self is told by what was carried too.
    let fenced = keep(&mut west, built(7, 0, 8, "e"));
    assert!(fenced.is_err_and(|error| error.contains("fenced")));
}

/// Records that the first two are set aside.
fn set_aside(west: &mut Driven, outbox: &Outbox) {
    let aside = SetAside {
        incarnation: outbox.log,
        reason: AsideReason::Refused,
        from: Offset(0),
        end: Offset(2),
        place: "lost+found/those".to_owned(),
        at: Timestamp(west.now),
        republished: Vec::new(),
        refused: Some(RefusedRecords {
            channel: outbox.channel.clone(),
            code: "UNKNOWN_PRODUCER".to_owned(),
            message: "m".to_owned(),
            records: 2,
        }),
    };
    let now = Timestamp(west.now);
    let below = Offset(2);
    // A broker that is gone refuses.
    let _ = west
        .broker
        .set_aside_refused(outbox, vec![aside], below, now);
    west.settle();
}

#[test]
fn a_crash_at_any_call_leaves_what_was_refused_in_the_outbox_or_on_the_record() {
    let (mut counted, outbox) = kept();
    let before = counted.disk.calls();
    set_aside(&mut counted, &outbox);
    let calls = counted.disk.calls();
    assert!(calls > before, "{before}..{calls}");
    let mut seen = BTreeMap::new();
    for call in before..=calls {
        for loss in [Loss::All, Loss::None, Loss::Random(call)] {
            let (mut west, outbox) = kept();
            match call % 2 {
                0 => west.disk.crash_during(call),
                _ => west.disk.crash_after(call),
            }
            set_aside(&mut west, &outbox);
            let mut west = west.reopen(loss);
            let when = format!("call {call}, {loss:?}");
            let place = west.broker.outbox_place(&outbox).expect("an outbox");
            let told = west.broker.refused_of(&outbox);
            let expected = match &told {
                None => 0,
                Some(told) => {
                    assert_eq!(told.records, 2, "{when}");
                    2
                }
            };
            assert_eq!(
                (place.start, place.end),
                (Offset(expected), Offset(3)),
                "{when}"
            );
            let left = west.batches_of(&outbox.name, place.start);
            assert_eq!(left.len() as u64, 3 - expected, "{when}");
            *seen.entry(expected).or_insert(0) += 1;
            // It is on the record whole, with its file's name.
            assert_eq!(west.broker.is_aside("lost+found/those"), told.is_some());
        }
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[test]
fn what_is_refused_is_recorded_by_regions_and_only_ahead() {
    let dir = Path::new("lost+found/those");
    let (mut west, outbox) = kept();
    set_aside(&mut west, &outbox);
    let told = west.broker.refused_of(&outbox).expect("it is told");
    assert_eq!(Path::new(&told.last.place), dir);
    // The outbox is not put back to what it was.
    let now = Timestamp(west.now);
    let back = west
        .broker
        .set_aside_refused(&outbox, Vec::new(), Offset(1), now);
    assert!(back.is_err());
    let place = west.broker.outbox_place(&outbox).expect("an outbox");
    assert_eq!(place.start, Offset(2));
    let file = west.broker.aside_file("those").expect("on the record");
    assert_eq!(file.channel, Some(copies::name()));
}
