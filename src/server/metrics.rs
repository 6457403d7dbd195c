//! Metrics, in Prometheus' text format.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::broker::Broker;
use crate::protocol::region::{LinkRow, LinkState, RegionTold};
use crate::types::Timestamp;

/// The handles of all metrics; each is looked up once.
pub(crate) struct Metrics {
    handle: PrometheusHandle,
    pub published_batches: Counter,
    pub published_bytes: Counter,
    pub duplicates: Counter,
    pub fetched_bytes: Counter,
    pub fetches: Counter,
    pub requests: Counter,
    pub errors: Counter,
    pub connections: Gauge,
    pub refused_connections: Counter,
    pub failed_authentications: Counter,
    pub forbidden: Counter,
    pub rate_limited: Counter,
    pub refused_handshakes: Counter,
    pub certificate_not_after: Gauge,
    rounds: Counter,
    round_seconds: Histogram,
    channels: Gauge,
    unwritten_bytes: Gauge,
    journal_files: Gauge,
    checkpoints: Counter,
    journal_failed: Gauge,
    disk_full: Gauge,
    disk_free_bytes: Gauge,
    disk_left_bytes: Gauge,
    disk_limit_bytes: Gauge,
    scrub_bytes: Counter,
    scrub_passes: Counter,
    scrub_damage: Counter,
    scrub_indexes: Counter,
    scrub_read_errors: Counter,
    scrub_faulty_files: Gauge,
    scrub_pass_bytes: Gauge,
    scrub_last_pass_age: Gauge,
    region_received_bytes: Counter,
    region_sent_bytes: Counter,
    region_links_open: Gauge,
    region_copies: Gauge,
    region_copies_stopped: Gauge,
    region_lag_records: Gauge,
    region_outbox_records: Gauge,
    region_outbox_bytes: Gauge,
    region_outbox_age: Gauge,
    region_outbox_refused: Gauge,
}

/// Upper bounds of the round histogram, in seconds: a sync takes 0.1 ms on a good disk.
const ROUND_BUCKETS: &[f64] = &[
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0,
];

/// A number as a gauge has it. Above 2^53 it would round; these stay far below.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating point")]
fn float(value: u64) -> f64 {
    value as f64
}

impl Metrics {
    /// A recorder of its own, so that several brokers in a process do not mix.
    pub fn new() -> Self {
        let builder = PrometheusBuilder::new();
        let builder = builder
            .set_buckets_for_metric(
                Matcher::Full("npayload_round_duration_seconds".to_owned()),
                ROUND_BUCKETS,
            )
            .unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        let metadata = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
        let counter = |name: &'static str, text: &'static str| {
            recorder.describe_counter(name.into(), None, text.into());
            recorder.register_counter(&Key::from_name(name), &metadata)
        };
        let gauge = |name: &'static str, text: &'static str| {
            recorder.describe_gauge(name.into(), None, text.into());
            recorder.register_gauge(&Key::from_name(name), &metadata)
        };
        recorder.describe_histogram(
            "npayload_round_duration_seconds".into(),
            Some(Unit::Seconds),
            "Time to write and sync one round of the journal.".into(),
        );
        let version = Label::new("version", env!("CARGO_PKG_VERSION"));
        let build = Key::from_parts("npayload_build_info", vec![version]);
        recorder.register_gauge(&build, &metadata).set(1.0);
        Self {
            published_batches: counter("npayload_published_batches_total", "Batches appended."),
            published_bytes: counter(
                "npayload_published_bytes_total",
                "Bytes of batches appended.",
            ),
            duplicates: counter(
                "npayload_duplicate_batches_total",
                "Retries answered as before.",
            ),
            fetched_bytes: counter("npayload_fetched_bytes_total", "Bytes of batches sent."),
            fetches: counter("npayload_fetches_total", "Fetches answered."),
            requests: counter("npayload_requests_total", "Requests received."),
            errors: counter(
                "npayload_request_errors_total",
                "Requests answered with an error.",
            ),
            connections: gauge("npayload_connections", "Open connections."),
            refused_connections: counter(
                "npayload_refused_connections_total",
                "Connections refused at the limit.",
            ),
            failed_authentications: counter(
                "npayload_failed_authentications_total",
                "Hellos whose API key did not let them in.",
            ),
            forbidden: counter(
                "npayload_forbidden_requests_total",
                "Requests that the caller's key does not allow.",
            ),
            rate_limited: counter(
                "npayload_rate_limited_requests_total",
                "Requests refused because a limit of a key or an organisation was reached.",
            ),
            refused_handshakes: counter(
                "npayload_refused_handshakes_total",
                "Clients turned away before they were served: their TLS, or that they had none.",
            ),
            certificate_not_after: gauge(
                "npayload_tls_certificate_not_after_seconds",
                "When the broker's certificate ends, in seconds since 1970; 0 without TLS.",
            ),
            rounds: counter("npayload_rounds_total", "Rounds of the journal."),
            round_seconds: recorder.register_histogram(
                &Key::from_name("npayload_round_duration_seconds"),
                &metadata,
            ),
            channels: gauge("npayload_channels", "Channels, internal topics included."),
            unwritten_bytes: gauge(
                "npayload_unwritten_bytes",
                "Bytes in memory and journal that no segment holds yet.",
            ),
            journal_files: gauge("npayload_journal_files_used", "Journal files in use."),
            checkpoints: counter(
                "npayload_checkpoints_total",
                "Checkpoints that the data directory has seen.",
            ),
            journal_failed: gauge("npayload_journal_failed", "1 after the journal failed."),
            disk_full: gauge("npayload_disk_full", "1 while writers are turned away."),
            disk_free_bytes: gauge(
                "npayload_disk_free_bytes",
                "Bytes free at the last look; NaN where that is not known.",
            ),
            disk_left_bytes: gauge(
                "npayload_disk_left_bytes",
                "The same, less what is staged and still to be written; NaN before the first look.",
            ),
            disk_limit_bytes: gauge(
                "npayload_disk_limit_bytes",
                "Writers are turned away before fewer bytes are left.",
            ),
            scrub_bytes: counter("npayload_scrub_bytes_total", "Bytes that were checked."),
            scrub_passes: counter(
                "npayload_scrub_passes_total",
                "Passes of the scrubber that read everything.",
            ),
            scrub_damage: counter(
                "npayload_scrub_damage_found_total",
                "Stretches of damage that were not known before.",
            ),
            scrub_indexes: counter(
                "npayload_scrub_indexes_rebuilt_total",
                "Bad indexes that were written anew.",
            ),
            scrub_read_errors: counter(
                "npayload_scrub_read_errors_total",
                "Times that a file could not be read.",
            ),
            scrub_faulty_files: gauge(
                "npayload_scrub_faulty_files",
                "Files that can't be read, and files of the broker's own that are bad.",
            ),
            scrub_pass_bytes: gauge(
                "npayload_scrub_pass_bytes",
                "Bytes of the pass under way; 0 between passes.",
            ),
            region_received_bytes: counter(
                "npayload_region_received_bytes_total",
                "Bytes of batches that came from other regions.",
            ),
            region_sent_bytes: counter(
                "npayload_region_sent_bytes_total",
                "Bytes of batches sent to other regions.",
            ),
            region_links_open: gauge(
                "npayload_region_links_open",
                "Links to other regions that are open.",
            ),
            region_copies: gauge(
                "npayload_region_copies",
                "Copies of channels that live in other regions.",
            ),
            region_copies_stopped: gauge(
                "npayload_region_copies_stopped",
                "Copies that are not followed because something is wrong.",
            ),
            region_lag_records: gauge(
                "npayload_region_lag_records",
                "Records that homes had when they last said, and their copies here do not.",
            ),
            region_outbox_records: gauge(
                "npayload_region_outbox_records",
                "Records that wait in outboxes for their home.",
            ),
            region_outbox_bytes: gauge(
                "npayload_region_outbox_bytes",
                "Bytes of records that wait in outboxes for their home.",
            ),
            region_outbox_age: gauge(
                "npayload_region_outbox_age_seconds",
                "For how long the oldest record in an outbox has waited; 0 where none waits.",
            ),
            region_outbox_refused: gauge(
                "npayload_region_outbox_refused_records",
                "Records of outboxes that their home refused, in lost+found and not published again.",
            ),
            scrub_last_pass_age: gauge(
                "npayload_scrub_last_pass_age_seconds",
                "Since the end of the last pass that read everything, or since the start.",
            ),
            handle: recorder.handle(),
        }
    }

    /// Books one round.
    pub fn round(&self, took: Duration) {
        self.rounds.increment(1);
        self.round_seconds.record(took.as_secs_f64());
    }

    /// Books what the broker's state shows.
    ///
    /// - `started_at`: when the broker was started.
    pub fn observe(&self, broker: &Broker, started_at: Timestamp, now: Timestamp) {
        let storage = broker.storage();
        self.channels.set(float(broker.channel_count() as u64));
        self.unwritten_bytes.set(float(storage.unwritten_bytes()));
        self.journal_files.set(f64::from(storage.journal_usage().0));
        self.checkpoints.absolute(storage.checkpoint_number());
        self.journal_failed
            .set(f64::from(u8::from(storage.journal_failure().is_some())));
        self.disk_full
            .set(f64::from(u8::from(storage.is_disk_full())));
        let known = |value: Option<u64>| value.map_or(f64::NAN, float);
        let space = storage.space();
        self.disk_free_bytes.set(known(space.free));
        self.disk_left_bytes.set(known(space.left));
        self.disk_limit_bytes.set(float(space.limit));
        let scrub = storage.scrub_status();
        self.scrub_bytes.absolute(scrub.bytes);
        self.scrub_passes.absolute(scrub.passes);
        self.scrub_damage.absolute(scrub.damage_found);
        self.scrub_indexes.absolute(scrub.indexes_rebuilt);
        self.scrub_read_errors.absolute(scrub.read_errors);
        let faulty = scrub.unreadable.len() + scrub.faulty_files.len();
        self.scrub_faulty_files.set(float(faulty as u64));
        self.scrub_pass_bytes.set(float(scrub.pass_bytes));
        let since = scrub.last_pass.map_or(started_at, |pass| pass.ended_at);
        let age_ms = u64::try_from(now.0.saturating_sub(since.0)).unwrap_or(0);
        self.scrub_last_pass_age.set(float(age_ms) / 1000.0);
        self.handle.run_upkeep();
    }

    /// Books how links and copies are.
    pub fn observe_regions(&self, told: &RegionTold) {
        let received: u64 = told.links.iter().map(|link| link.bytes).sum();
        self.region_received_bytes.absolute(received);
        self.region_sent_bytes.absolute(told.sent_bytes);
        let open = |link: &&LinkRow| link.state == LinkState::Open;
        let open = told.links.iter().filter(open).count();
        self.region_links_open.set(float(open as u64));
        self.region_copies.set(float(told.copies.len() as u64));
        let stopped = told.copies.iter().filter(|copy| copy.error.is_some());
        self.region_copies_stopped
            .set(float(stopped.count() as u64));
        let lag: u64 = told.copies.iter().filter_map(|copy| copy.lag_records).sum();
        self.region_lag_records.set(float(lag));
        let outboxes = || told.outboxes.iter();
        let records: u64 = outboxes().map(|outbox| outbox.records).sum();
        self.region_outbox_records.set(float(records));
        let bytes: u64 = outboxes().map(|outbox| outbox.bytes).sum();
        self.region_outbox_bytes.set(float(bytes));
        let oldest = outboxes().filter_map(|outbox| outbox.oldest_ms).max();
        self.region_outbox_age
            .set(float(oldest.unwrap_or(0)) / 1000.0);
        let refused = outboxes().filter_map(|outbox| outbox.refused.as_ref());
        self.region_outbox_refused
            .set(float(refused.map(|refused| refused.records).sum()));
    }

    /// All metrics as text.
    pub fn render(&self) -> String {
        self.handle.render()
    }
}
