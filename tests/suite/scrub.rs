//! The scrubber: what it finds in what is stored, what it marks, and what it leaves alone.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use npayload::format::{BatchHeader, DamageKind, DamageRow, IndexHeader, OffsetEntry};
use npayload::storage::disk::{
    CrashingDisk, Disk, FailingDisk, Fault, Loss, OpenMode, Operation, RealDisk,
};
use npayload::storage::{Read, ReadError, ScrubStatus, StorageConfig};
use npayload::types::{Incarnation, Offset, Timestamp};
use serde_json::{Value, json};

use crate::process::{Broker, wait_for};
use crate::raw::{BROKER_SCRUB, INFO, Server, batch};
use crate::storage_harness::{Harness, Mercy, Model, ROOT, log_id, small};

const RATE: u64 = 1 << 20;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn config() -> StorageConfig {
    StorageConfig {
        scrub_bytes_per_s: RATE,
        scrub_interval_ms: DAY_MS,
        ..small()
    }
}

fn open(disk: &Arc<dyn Disk>, model: Model, now: i64) -> Harness {
    let mut harness = Harness::open_with(disk.clone(), config(), model, now).unwrap();
    harness.model.forget_waiting();
    harness
}

/// Three logs of several segments, all of them vouched for by a checkpoint.
fn filled(disk: &Arc<dyn Disk>) -> Harness {
    let mut harness = open(disk, Model::default(), 1);
    (0..3).for_each(|n| harness.create(n));
    for n in 0..12 {
        harness.append(&[(0, &[300, 20])]).unwrap();
        harness.append(&[(0, &[60]), (1, &[500])]).unwrap();
        harness.append(&[(2, &[150; 4])]).unwrap();
        harness.flush();
        if n % 4 == 3 {
            harness.append(&[(1, &[3_600, 10])]).unwrap();
            harness.flush();
            harness.checkpoint();
        }
    }
    harness.checkpoint();
    harness
}

/// One piece, if one is due.
fn piece(harness: &mut Harness) -> bool {
    let now = Timestamp(harness.now);
    let Some(job) = harness.storage.plan_scrub(now) else {
        return false;
    };
    let end = job.run();
    harness.storage.finish_scrub(end, now);
    true
}

/// A pass from its beginning to its end.
pub fn pass(harness: &mut Harness) -> ScrubStatus {
    harness.storage.want_scrub();
    let mut has_begun = false;
    for _ in 0..100_000 {
        has_begun |= piece(harness);
        if has_begun && !harness.storage.scrub_status().is_running {
            harness.upkeep();
            return harness.storage.scrub_status();
        }
        assert!(!piece(harness), "the next piece comes at once");
        harness.now += 5;
    }
    panic!("a pass never ends");
}

fn files(disk: &dyn Disk, dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = disk.list(dir).unwrap().into_iter();
    let names = entries.filter(|entry| entry.name.ends_with(ending));
    names.map(|entry| dir.join(entry.name)).collect()
}

fn log_files(disk: &dyn Disk, id: Incarnation, ending: &str) -> Vec<PathBuf> {
    files(
        disk,
        &Path::new(ROOT).join("channels").join(id.to_string()),
        ending,
    )
}

fn contents(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

fn write(disk: &dyn Disk, path: &Path, at: usize, bytes: &[u8]) {
    let file = disk.open(path, OpenMode::ReadWrite).unwrap();
    file.write_at(at as u64, &[IoSlice::new(bytes)]).unwrap();
}

fn flip(disk: &dyn Disk, path: &Path, at: usize) {
    let byte = contents(disk, path)[at];
    write(disk, path, at, &[byte ^ 4]);
}

fn damage(harness: &Harness, id: Incarnation) -> Vec<DamageRow> {
    harness.storage.log(id).unwrap().damage().to_vec()
}

/// The batches of a segment file: where each begins, and its header.
fn batches(bytes: &[u8], end: usize) -> Vec<(usize, BatchHeader)> {
    let mut found = Vec::new();
    let mut at = 4096;
    while at < end {
        match BatchHeader::peek(&bytes[at..]) {
            Ok(header) => {
                found.push((at, header));
                at += header.len();
            }
            Err(_) => at = (at + 1).next_multiple_of(4096),
        }
    }
    found
}

fn read_at(harness: &mut Harness, id: Incarnation, offset: u64) -> Result<u64, ReadError> {
    loop {
        match harness.storage.plan_read(id, Offset(offset), 1 << 20)? {
            Read::Ready(slices) => return Ok(slices.next.0),
            Read::Segment(job) => return job.run().map(|slices| slices.next.0),
            Read::Load(task) => harness.storage.finish_load(task.run()).unwrap(),
        }
    }
}

#[test]
fn a_pass_reads_every_vouched_byte_and_finds_nothing_where_nothing_is() {
    let crashing = CrashingDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(crashing.clone());
    let mut harness = filled(&disk);
    let status = pass(&mut harness);
    let logs = disk.list(&Path::new(ROOT).join("channels")).unwrap();
    let stored: u64 = logs
        .iter()
        .flat_map(|log| {
            disk.list(&Path::new(ROOT).join("channels").join(&log.name))
                .unwrap()
        })
        .filter(|file| file.name.ends_with(".log"))
        .map(|file| file.len)
        .sum();
    let done = status.last_pass.expect("a pass ended");
    assert!(
        done.bytes >= stored,
        "{done:?} of {stored} bytes in segments"
    );
    assert_eq!(
        (status.passes, status.damage_found, status.read_errors),
        (1, 0, 0)
    );
    assert_eq!(status.indexes_rebuilt, 0);
    assert!(logs.len() >= 4, "internal logs are among them");
    // The rate holds: a pass takes at least its bytes' time.
    let took = done.ended_at.0 - done.started_at.0;
    assert!(took * i64::try_from(RATE).unwrap() / 1000 >= i64::try_from(stored).unwrap());
    harness.check();
    // The next one waits for its time.
    assert!(!piece(&mut harness));
    harness.now = done.started_at.0 + DAY_MS;
    assert!(piece(&mut harness));
}

#[test]
fn any_damaged_byte_below_a_checkpoint_is_found_marked_and_kept_over_a_restart() {
    let crashing = CrashingDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(crashing.clone());
    let mut patient = filled(&disk);
    patient.stop();
    let (now, model) = (patient.now + 1, patient.kill());
    let mut checked = 0;
    for n in 0..3 {
        for path in log_files(&*disk, log_id(n), ".log") {
            let bytes = contents(&*disk, &path);
            let all = batches(&bytes, bytes.len());
            let end = all.last().map_or(0, |(at, header)| at + header.len());
            for at in (4096..end).step_by(149) {
                let copy: Arc<dyn Disk> = Arc::new(crashing.after(Loss::None));
                flip(&*copy, &path, at);
                let mut harness = open(&copy, model.clone(), now);
                let status = pass(&mut harness);
                assert_eq!(status.damage_found, 1, "byte {at} of {}", path.display());
                let rows = damage(&harness, log_id(n));
                let [row] = rows[..] else { panic!("{rows:?}") };
                // In a batch: that batch. In padding: up to the batch behind it.
                let hurt = all
                    .iter()
                    .find(|(from, header)| at < from + header.len())
                    .unwrap();
                assert!(
                    (row.position..row.position + row.length).contains(&(at as u64)),
                    "byte {at}: {row:?}"
                );
                if at >= hurt.0 {
                    assert!(
                        row.first_offset <= hurt.1.base_offset(),
                        "byte {at}: {row:?}"
                    );
                    assert!(row.end_offset >= hurt.1.end_offset(), "byte {at}: {row:?}");
                }
                checked += 1;
                // Known damage is neither found nor logged again, and writes go on.
                assert_eq!(pass(&mut harness).damage_found, 1);
                if checked % 2 == 0 {
                    // Else nobody writes to the log: the mark alone is worth a checkpoint.
                    harness.append(&[(n, &[5])]).unwrap();
                }
                harness.stop();
                let later = harness.now + 1;
                let mut again = open(&copy, harness.kill(), later);
                assert_eq!(damage(&again, log_id(n)), [row], "lost over a restart");
                assert!(again.storage.log(log_id(n)).unwrap().refused().is_none());
                assert_eq!(pass(&mut again).damage_found, 0);
            }
        }
    }
    assert!(checked > 100, "{checked} bytes");
}

#[test]
fn known_damage_fails_its_reads_and_no_others() {
    let disk: Arc<dyn Disk> = Arc::new(CrashingDisk::new());
    let mut harness = filled(&disk);
    let id = log_id(0);
    let path = &log_files(&*disk, id, ".log")[1];
    let bytes = contents(&*disk, path);
    let all = batches(&bytes, bytes.len());
    let (at, header) = all[all.len() / 2];
    let (first, end) = (header.base_offset().0, header.end_offset().0);
    // In its body: only its checksum shows it.
    flip(&*disk, path, at + header.len() - 1);
    pass(&mut harness);
    let start = all[0].1.base_offset().0;
    assert_eq!(
        read_at(&mut harness, id, start).unwrap(),
        first,
        "up to the damage"
    );
    for offset in first..end {
        match read_at(&mut harness, id, offset).unwrap_err() {
            ReadError::Damaged {
                segment,
                position,
                offset: named,
                next,
                ..
            } => {
                assert_eq!((&segment, position), (path, at as u64));
                assert_eq!((named, next), (Offset(offset), Some(Offset(end))));
            }
            other => panic!("{other}"),
        }
    }
    assert!(read_at(&mut harness, id, end).unwrap() > end);
    for n in 1..3 {
        harness.check_from(log_id(n), 0, 1 << 20);
    }
    // The medium gives the byte back: a later pass takes the mark away, and a checkpoint with it.
    flip(&*disk, path, at + header.len() - 1);
    pass(&mut harness);
    assert_eq!(damage(&harness, id), []);
    harness.check();
    harness.stop();
    let now = harness.now + 1;
    assert_eq!(damage(&open(&disk, harness.kill(), now), id), []);
}

#[test]
fn a_missing_segment_and_a_bad_header_are_damage() {
    let disk: Arc<dyn Disk> = Arc::new(CrashingDisk::new());
    let mut harness = filled(&disk);
    pass(&mut harness);
    let id = log_id(0);
    let paths = log_files(&*disk, id, ".log");
    disk.remove_file(&paths[1]).unwrap();
    flip(&*disk, &paths[2], 20);
    assert_eq!(pass(&mut harness).damage_found, 2);
    let rows = damage(&harness, id);
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows.iter().all(|row| row.what == DamageKind::SegmentFile));
    let base = |path: &Path| path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    assert_eq!(rows[0].first_offset, Offset(base(&paths[1])));
    assert_eq!(rows[0].end_offset, Offset(base(&paths[2])));
    // No record is lost with a header.
    assert_eq!(rows[1].first_offset, rows[1].end_offset);
    assert_eq!(
        (rows[1].segment_base, rows[1].position),
        (rows[0].end_offset, 0)
    );
    assert!(harness.storage.log(id).unwrap().refused().is_none());
}

#[test]
fn what_retention_or_a_deletion_takes_meanwhile_is_no_damage() {
    let disk: Arc<dyn Disk> = Arc::new(CrashingDisk::new());
    let mut harness = filled(&disk);
    // Jobs that were planned before, and run after the files are gone.
    let mut taken = 0;
    harness.storage.want_scrub();
    for round in 0..2_000 {
        let now = Timestamp(harness.now);
        let Some(job) = harness.storage.plan_scrub(now) else {
            break;
        };
        let at = harness.storage.scrub_status().at;
        if let Some((log, _, _)) = at.filter(|(log, ..)| (0..3).any(|n| *log == log_id(n))) {
            let n = (0..3).find(|n| log_id(*n) == log).unwrap();
            let end = harness.storage.log(log).unwrap().end().0;
            if round % 2 == 0 && harness.model.logs.contains_key(&log) {
                harness.set_log_start(n, end);
            } else {
                harness.drop_log(n);
            }
            harness.flush();
            taken += 1;
        }
        let end = job.run();
        harness.storage.finish_scrub(end, now);
        let due = harness.storage.scrub_due();
        harness.now = due.map_or(harness.now, |due| due.0.max(harness.now));
        if due.is_none() {
            break;
        }
    }
    assert!(taken >= 3, "{taken}");
    let status = harness.storage.scrub_status();
    assert_eq!(
        (status.damage_found, status.read_errors),
        (0, 0),
        "{status:?}"
    );
    assert_eq!(status.passes, 1);
    harness.upkeep();
    // And what is damaged in records that retention removes is forgotten with them.
    harness.create(5);
    for _ in 0..12 {
        harness.append(&[(5, &[900])]).unwrap();
        harness.flush();
    }
    harness.checkpoint();
    let path = &log_files(&*disk, log_id(5), ".log")[0];
    flip(&*disk, path, 4_500);
    pass(&mut harness);
    assert_eq!(damage(&harness, log_id(5)).len(), 1);
    let end = harness.storage.log(log_id(5)).unwrap().end().0;
    harness.set_log_start(5, end);
    harness.flush();
    assert_eq!(damage(&harness, log_id(5)), []);
}

#[test]
fn a_read_error_is_reported_with_its_errno_and_is_no_damage() {
    let inner = CrashingDisk::new();
    let failing = FailingDisk::new(Arc::new(inner));
    let disk: Arc<dyn Disk> = Arc::new(failing.clone());
    let mut harness = filled(&disk);
    let path = log_files(&*disk, log_id(0), ".log")[1].clone();
    let text = path.to_str().unwrap().to_owned();
    failing.plan(
        Fault::new(Fault::IO)
            .on(Operation::Read)
            .at(text)
            .and_later(),
    );
    let status = pass(&mut harness);
    assert_eq!(
        (status.damage_found, status.read_errors, status.passes),
        (0, 1, 0)
    );
    let [failure] = &status.unreadable[..] else {
        panic!("{status:?}")
    };
    assert_eq!(failure.path, path);
    assert_eq!(failure.source.raw_os_error(), Some(Fault::IO));
    assert_eq!(damage(&harness, log_id(0)), []);
    // The next pass comes sooner than a day, and reads it.
    failing.heal();
    harness.now += 60 * 60 * 1000;
    assert!(piece(&mut harness), "a pass is due within the hour");
    let status = pass(&mut harness);
    assert!(
        status.unreadable.is_empty() && status.passes > 0,
        "{status:?}"
    );
}

#[test]
fn a_bad_index_is_written_anew_and_a_short_one_completed() {
    let disk: Arc<dyn Disk> = Arc::new(CrashingDisk::new());
    let mut harness = filled(&disk);
    pass(&mut harness);
    let id = log_id(0);
    let sealed = log_files(&*disk, id, ".log")[0].clone();
    let index = sealed.with_extension("index");
    let times = sealed.with_extension("timeindex");
    let whole = (contents(&*disk, &index), contents(&*disk, &times));
    let entry = IndexHeader::BYTES;
    let hurt: [(&str, &dyn Fn(), u64); 6] = [
        ("a flipped bit", &|| flip(&*disk, &index, entry + 3), 1),
        ("a flipped header", &|| flip(&*disk, &times, 9), 1),
        (
            "zeros",
            &|| write(&*disk, &index, entry, &[0; OffsetEntry::BYTES]),
            1,
        ),
        (
            "a longer file",
            &|| write(&*disk, &times, whole.1.len(), &[1; 40]),
            1,
        ),
        ("a missing file", &|| disk.remove_file(&index).unwrap(), 0),
        (
            "a shorter file",
            &|| {
                let file = disk.open(&times, OpenMode::ReadWrite).unwrap();
                file.set_len(entry as u64).unwrap();
            },
            0,
        ),
    ];
    let mut rebuilt = 0;
    for (what, act, counts) in hurt {
        act();
        let status = pass(&mut harness);
        rebuilt += counts;
        assert_eq!(status.indexes_rebuilt, rebuilt, "{what}");
        assert_eq!(status.damage_found, 0, "{what}");
        assert_eq!(contents(&*disk, &index), whole.0, "{what}");
        assert_eq!(contents(&*disk, &times), whole.1, "{what}");
        harness.check();
    }
}

#[test]
fn a_bad_copy_of_the_checkpoint_or_slot_of_the_point_is_reported_and_written_again() {
    let disk: Arc<dyn Disk> = Arc::new(CrashingDisk::new());
    let mut harness = filled(&disk);
    let root = Path::new(ROOT);
    pass(&mut harness);
    for round in 0..3 {
        let found = harness.storage.scrub_status().damage_found;
        let path = match round {
            0 => files(&*disk, &root.join("checkpoints"), ".copy")[0].clone(),
            1 => files(&*disk, &root.join("checkpoints"), ".checkpoint")[0].clone(),
            _ => root.join("recovery-point"),
        };
        flip(&*disk, &path, 30);
        // Twice, since only every other point goes to the same slot.
        let status = pass(&mut harness);
        assert_eq!(status.damage_found, found + 1, "{}", path.display());
        assert_eq!(status.faulty_files[0].path, path);
        harness.checkpoint();
        harness.storage.want_scrub();
        pass(&mut harness);
        let status = pass(&mut harness);
        assert_eq!(status.faulty_files, [], "{}", path.display());
    }
    flip(&*disk, &root.join("npayload.marker"), 12);
    let status = pass(&mut harness);
    assert!(status.faulty_files[0].path.ends_with("npayload.marker"));
    flip(&*disk, &root.join("npayload.marker"), 12);
    assert_eq!(pass(&mut harness).faulty_files, []);
}

#[test]
fn what_no_checkpoint_vouches_for_is_left_to_the_journal() {
    let disk: Arc<dyn Disk> = Arc::new(CrashingDisk::new());
    let mut harness = filled(&disk);
    let before = pass(&mut harness).last_pass.unwrap().bytes;
    // Written behind and in no checkpoint: a start writes it again from the journal.
    for _ in 0..4 {
        harness.append(&[(0, &[700]), (2, &[700])]).unwrap();
        harness.round();
        while let Some(job) = harness.storage.plan_upkeep(Timestamp(harness.now)) {
            harness
                .storage
                .finish_upkeep(job.run(), Timestamp(harness.now));
        }
    }
    let path = log_files(&*disk, log_id(0), ".log").pop().unwrap();
    let bytes = contents(&*disk, &path);
    let (at, header) = batches(&bytes, bytes.len()).pop().unwrap();
    flip(&*disk, &path, at + header.len() - 2);
    harness.storage.want_scrub();
    while harness.storage.scrub_status().is_running || piece(&mut harness) {
        piece(&mut harness);
        harness.now += 20;
    }
    let status = harness.storage.scrub_status();
    assert_eq!(status.damage_found, 0);
    assert_eq!(status.last_pass.unwrap().bytes, before);
    let now = harness.now + 1;
    let mut again = open(&disk, harness.kill(), now);
    again.check_recovered(Mercy::Process);
    assert_eq!(pass(&mut again).damage_found, 0);
}

#[test]
fn a_log_whose_first_batches_are_in_the_journal_alone_is_not_missed() {
    let disk: Arc<dyn Disk> = Arc::new(CrashingDisk::new());
    let mut harness = open(&disk, Model::default(), 1);
    harness.create(0);
    harness.append(&[(0, &[10])]).unwrap();
    harness.round();
    harness.storage.want_scrub();
    while piece(&mut harness) || harness.storage.scrub_status().is_running {
        harness.now += 20;
    }
    let status = harness.storage.scrub_status();
    assert_eq!((status.damage_found, status.passes), (0, 1), "{status:?}");
}

#[test]
fn a_clock_that_jumps_neither_stops_the_scrubber_nor_lets_it_run_free() {
    let disk: Arc<dyn Disk> = Arc::new(CrashingDisk::new());
    let mut harness = filled(&disk);
    harness.now += 100 * DAY_MS;
    pass(&mut harness);
    // Back by a hundred days: the next pass is a day away, not a hundred and one.
    harness.now -= 100 * DAY_MS;
    assert!(!piece(&mut harness));
    harness.now += DAY_MS;
    assert!(piece(&mut harness));
    assert!(!piece(&mut harness), "the rate is kept");
    harness.now -= 50 * DAY_MS;
    assert!(piece(&mut harness), "a pass under way goes on");
    // A pass can be asked for at any time.
    pass(&mut harness);
    let passes = harness.storage.scrub_status().passes;
    pass(&mut harness);
    assert_eq!(harness.storage.scrub_status().passes, passes + 1);
}

#[test]
fn a_rate_of_zero_switches_it_off_unless_a_pass_is_asked_for() {
    let disk: Arc<dyn Disk> = Arc::new(CrashingDisk::new());
    let off = StorageConfig {
        scrub_bytes_per_s: 0,
        ..config()
    };
    let mut harness = Harness::open_with(disk, off, Model::default(), 1).unwrap();
    harness.create(0);
    harness.append(&[(0, &[10])]).unwrap();
    harness.checkpoint();
    harness.now += 10 * DAY_MS;
    assert!(!piece(&mut harness));
    assert_eq!(pass(&mut harness).passes, 1);
    harness.now += 10 * DAY_MS;
    assert!(!piece(&mut harness));
}

fn health(server: &Server) -> (u16, Value) {
    let (status, body) = server.http("/healthz");
    (status, serde_json::from_str(&body).unwrap())
}

#[test]
fn a_server_that_is_asked_for_a_pass_reports_the_damage_everywhere_and_keeps_it() {
    let disk = FailingDisk::new(Arc::new(RealDisk));
    let mut server = Server::start_on(Arc::new(disk.clone()), |options| {
        options.http = Some(([127, 0, 0, 1], 0).into());
        // Only what is asked for, so that nothing is found before its time.
        options.broker.storage.scrub_bytes_per_s = 0;
    });
    let mut raw = server.client();
    for n in 0..20u8 {
        raw.publish("hurt", &batch(&[&[n; 500]])).published();
        raw.publish("whole", &batch(&[&[n; 500]])).published();
    }
    // In order and clean, so that a checkpoint vouches for all of it.
    server.restart();
    let mut raw = server.client();
    let info = raw.json(INFO, &json!({"name": "hurt"})).json();
    let dir = server
        .data_dir()
        .join("channels")
        .join(info["id"].as_str().unwrap());
    let path = dir.join(format!("{:020}.log", 0));
    let bytes = contents(&RealDisk, &path);
    let (at, header) = batches(&bytes, bytes.len())[7];
    flip(&RealDisk, &path, at + header.len() - 1);
    let (status, before) = health(&server);
    assert_eq!((status, &before["scrub"]["passes"]), (200, &json!(0)));
    raw.json(BROKER_SCRUB, &json!({})).of(BROKER_SCRUB);
    wait_for("the pass", || {
        (server.metric("npayload_scrub_passes_total") >= 1.0).then_some(())
    });
    let (status, found) = health(&server);
    assert_eq!(status, 503);
    assert_eq!(
        (&found["ok"], &found["damagedChannels"]),
        (&json!(false), &json!(1))
    );
    assert_eq!(found["writesRefused"], json!(null));
    assert_eq!(found["scrub"]["damageFound"], 1);
    assert!(found["scrub"]["lastPassEndedAt"].is_i64(), "{found}");
    assert!(
        found["scrub"]["lastPassBytes"].as_u64().unwrap() > 20_000,
        "{found}"
    );
    assert_eq!(server.metric("npayload_scrub_damage_found_total"), 1.0);
    assert!(server.metric("npayload_scrub_bytes_total") > 20_000.0);
    assert!(server.metric("npayload_scrub_last_pass_age_seconds") < 600.0);
    let row = |raw: &mut crate::raw::Raw| {
        let info = raw.json(INFO, &json!({"name": "hurt"})).json();
        assert_eq!(info["writesRefused"], json!(null));
        info["damage"].clone()
    };
    let rows = row(&mut raw);
    assert_eq!(rows[0]["firstOffset"], 7);
    assert_eq!(rows[0]["endOffset"], 8);
    assert_eq!(rows[0]["position"], at);
    let refused = raw.fetch("hurt", 7).error("DAMAGED");
    assert_eq!(refused["next"], 8);
    assert_eq!(refused["position"], at);
    assert_eq!(raw.fetch("hurt", 0).fetched().records().len(), 7);
    assert_eq!(raw.fetch("hurt", 8).fetched().records().len(), 12);
    assert_eq!(raw.all("whole").len(), 20);
    raw.publish("hurt", &batch(&[b"goes on"])).published();
    server.restart();
    let mut raw = server.client();
    assert_eq!(row(&mut raw), rows, "forgotten over a restart");
    // A file that can't be read is named with its errno.
    let text = path.to_str().unwrap().to_owned();
    disk.plan(
        Fault::new(Fault::IO)
            .on(Operation::Read)
            .at(text)
            .and_later(),
    );
    raw.json(BROKER_SCRUB, &json!({})).of(BROKER_SCRUB);
    wait_for("the read error", || {
        (server.metric("npayload_scrub_read_errors_total") >= 1.0).then_some(())
    });
    let (_, found) = health(&server);
    assert_eq!(found["scrub"]["faults"][0]["errno"], 5);
    let file = found["scrub"]["faults"][0]["file"].as_str().unwrap();
    assert!(
        path.ends_with(file) && file.starts_with("channels/"),
        "{file}"
    );
}

#[test]
fn the_command_line_asks_for_a_pass_and_shows_how_far_it_is() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let broker = Broker::start(&dir.path().join("data"));
    broker.run_with(&["publish", "a"], b"one\ntwo\n").ok();
    // The broker's own first pass may have begun before: one that follows it is as good.
    let asked = broker.run(&["broker", "scrub", "--json"]).json();
    let before = asked["passes"].as_u64().unwrap();
    wait_for("a pass", || {
        let info = broker.run(&["broker", "info", "--json"]).json();
        (info["health"]["scrub"]["passes"].as_u64().unwrap() > before).then_some(())
    });
    let text = String::from_utf8(broker.run(&["broker", "info"]).ok()).unwrap();
    assert!(
        text.contains("well") && text.contains("all checked"),
        "{text}"
    );
    let text = String::from_utf8(broker.run(&["broker", "scrub"]).ok()).unwrap();
    assert!(text.contains("check"), "{text}");
}

/// A segment that is written over the file of a removed one has that one's bytes where its own
/// padding is to be, unless the padding is written.
#[test]
fn the_padding_of_a_segment_that_reuses_a_file_is_zero() {
    let disk: Arc<dyn Disk> = Arc::new(CrashingDisk::new());
    let mut harness = open(&disk, Model::default(), 1);
    harness.create(1);
    for _ in 0..9 {
        harness.append(&[(1, &[3_400])]).unwrap();
        harness.round();
    }
    harness.set_log_start(1, 8);
    harness.flush();
    let spares = log_files(&*disk, log_id(1), ".spare").len();
    assert!(spares > 0);
    harness.roll(1);
    for n in 0..3 {
        harness.append(&[(1, &[3_100 + n])]).unwrap();
        harness.round();
        harness.append(&[(1, &[20])]).unwrap();
        harness.flush();
        // What follows a checkpoint begins on a block of its own.
        harness.checkpoint();
    }
    assert!(log_files(&*disk, log_id(1), ".spare").len() < spares);
    let mut paddings = 0;
    for path in log_files(&*disk, log_id(1), ".log") {
        let bytes = contents(&*disk, &path);
        let found = batches(&bytes, bytes.len());
        let live = found
            .iter()
            .filter(|(_, header)| header.base_offset() >= Offset(8));
        let live: Vec<_> = live.collect();
        for pair in live.windows(2) {
            let [(at, header), (next, _)] = pair else {
                continue;
            };
            let padding = &bytes[at + header.len()..*next];
            assert!(padding.iter().all(|byte| *byte == 0), "{path:?} at {at}");
            paddings += usize::from(!padding.is_empty());
        }
    }
    assert!(paddings > 2, "{paddings}");
    pass(&mut harness);
    assert_eq!(damage(&harness, log_id(1)), []);
    harness.check();
}
