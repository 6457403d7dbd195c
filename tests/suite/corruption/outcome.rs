//! What a broker made of a damaged directory, in the words of the table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use npayload::broker::BrokerError;
use npayload::format::DamageRow;
use npayload::storage::RecoveryReport;
use npayload::storage::disk::MemoryDisk;
use npayload::types::{ChannelName, ConsumerName, Timestamp};

use super::case::damage::{Case, Subject};
use super::case::image::{Image, ROOT};
use super::case::patient::Driver;
use super::reading::{Reading, read};

/// All that can be seen of one start on a damaged directory.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Why the broker did not start.
    pub refused: Option<String>,
    pub report: RecoveryReport,
    pub readings: BTreeMap<String, Reading>,
    /// What each channel says of its damage, once all of it was read.
    pub marked: BTreeMap<String, Vec<DamageRow>>,
    /// Channels that take no writes, and why.
    pub closed: BTreeMap<String, String>,
    /// Where consumers stand, `None` for nowhere; or what is said of that, where it is not known.
    pub positions: BTreeMap<(String, String), Result<Option<u64>, String>>,
    /// Whether a repeated batch of the idempotent producer is answered with its first offset.
    pub is_deduplicated: bool,
    /// Whether the key that was made last opens the door, where there are keys.
    pub is_key_known: bool,
    /// The directory after the start and the reads, before anything is written.
    pub after: Image,
}

/// Starts a broker on a damaged directory, reads everything, writes to every channel, and starts
/// again.
pub fn examine(subject: &Subject, case: &Case) -> (Outcome, Outcome) {
    let disk = case.image.to_disk();
    let first = start(subject, &disk, 1);
    let again = first.after.to_disk();
    let second = start(subject, &again, 2);
    (first, second)
}

fn start(subject: &Subject, disk: &MemoryDisk, nth: i64) -> Outcome {
    let mut outcome = Outcome::default();
    let patient = &subject.patient;
    let now = patient.now + nth * 100;
    let shared = Arc::new(disk.clone());
    let mut driver = match Driver::open(shared, Path::new(ROOT), now, 9_000 + nth as u64) {
        Ok(driver) => driver,
        Err(error) => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(inner) = source {
                text += &format!(": {inner}");
                source = inner.source();
            }
            outcome.refused = Some(text);
            outcome.after = Image::of(disk);
            return outcome;
        }
    };
    outcome.report = driver.broker.storage().recovery_report().clone();
    for (name, known) in &patient.known.channels {
        outcome
            .readings
            .insert(name.clone(), read(&mut driver, name, known));
        let log = driver.broker.storage().log(known.id);
        let rows = log.map_or(Vec::new(), |log| log.damage().to_vec());
        outcome.marked.insert(name.clone(), rows);
    }
    for (channel, consumer) in patient.known.positions.keys() {
        let (name, reader) = (ChannelName::parse(channel), ConsumerName::parse(consumer));
        let info = driver.broker.position(&name.unwrap(), &reader.unwrap());
        let found = match info {
            Ok(info) => Ok(Some(info.value.position.offset.0)),
            Err(BrokerError::UnknownPositions(error)) => Err(error.to_string()),
            Err(_) => Ok(None),
        };
        outcome
            .positions
            .insert((channel.clone(), consumer.clone()), found);
    }
    if let Some(key) = &patient.known.key {
        let shown = driver.broker.authenticate(key, Timestamp(now));
        outcome.is_key_known = shown.is_ok();
    }
    outcome.after = Image::of(disk);
    write(subject, &mut driver, &mut outcome);
    outcome
}

fn write(subject: &Subject, driver: &mut Driver, outcome: &mut Outcome) {
    let known = &subject.patient.known;
    let sequence = known.last_sequence;
    let published = driver.publish("idem", &[180, 40], Some(sequence));
    outcome.is_deduplicated = published
        .is_ok_and(|published| published.is_duplicate && published.first.0 == known.last_first);
    for name in known.channels.keys() {
        if let Err(error) = driver.publish(name, &[60, 70], None) {
            outcome.closed.insert(name.clone(), error);
        }
    }
    if let Err(error) = driver.commit("steady", "reader", 0) {
        outcome.closed.insert("__consumers".to_owned(), error);
    }
    if known.key.is_some()
        && let Err(error) = driver.make_key()
    {
        outcome.closed.insert("__access".to_owned(), error);
    }
    driver.rounds();
}

/// The words of the table for what happened.
pub fn words(subject: &Subject, case: &Case, outcome: &Outcome) -> BTreeSet<&'static str> {
    let mut words = BTreeSet::new();
    if outcome.refused.is_some() {
        words.insert("refused");
        return words;
    }
    let report = &outcome.report;
    let known = &subject.patient.known.channels;
    let is_short = |(name, reading): (&String, &Reading)| reading.end < known[name].end();
    let is_silent = report.torn.is_none() && report.damage.is_empty();
    if is_silent && outcome.readings.iter().any(is_short) {
        words.insert("lost end");
    }
    let is_hurt = |reading: &Reading| !reading.bad.is_empty();
    let is_twin = |what: &str| what.contains("the other");
    if report.damage.iter().any(|one| is_twin(&one.what)) {
        words.insert("twin used");
    }
    if report.damage.iter().any(|one| !is_twin(&one.what))
        || outcome.readings.values().any(is_hurt)
        || outcome.marked.values().any(|rows| !rows.is_empty())
        || !outcome.closed.is_empty()
    {
        words.insert("damage");
    }
    for repaired in &report.repaired {
        words.insert(if is_twin(&repaired.what) {
            "twin used"
        } else {
            "repaired"
        });
    }
    if report.torn.is_some() {
        words.insert("torn tail");
    }
    let is_of_journal = |from: &Path| from.extension().is_some_and(|it| it == "journal");
    if report.moved.iter().any(|(from, _)| !is_of_journal(from)) {
        words.insert("set aside");
    }
    let is_index = |name: &&String| name.ends_with("index");
    if words.is_empty() && !case.named.is_empty() && case.named.iter().all(|it| is_index(&it)) {
        words.insert("rebuilt");
    }
    if words.is_empty() {
        words.insert("unaffected");
    }
    words
}
