//! What holds for every damage, whatever the table says of it.

use std::collections::BTreeSet;

use super::case::damage::{Case, Subject};
use super::case::image::Image;
use super::case::places::{BLOCK, Place};
use super::outcome::Outcome;

/// The laws that were broken, in words.
pub fn broken(subject: &Subject, case: &Case, first: &Outcome, second: &Outcome) -> Vec<String> {
    let mut broken = Vec::new();
    if let Some(why) = &first.refused {
        refusal(case, first, why, &mut broken);
    } else {
        nothing_else_is_lost(subject, case, first, &mut broken);
        damage_is_located(subject, case, first, &mut broken);
    }
    nothing_is_deleted(subject, case, first, &mut broken);
    the_next_start_agrees(first, second, &mut broken);
    broken
}

/// A refusal names the file, or the topic that it is part of, and changes nothing.
fn refusal(case: &Case, first: &Outcome, why: &str, broken: &mut Vec<String>) {
    let is_named = |name: &String| why.contains(name.as_str());
    // Of two files that disagree nobody knows which one is wrong.
    let topics = [
        "the directory of channels",
        "topic __channels",
        "topic __access",
        "belongs to data directory",
    ];
    // An older recovery point names an older checkpoint.
    let is_point = case.named.iter().any(|name| name == "recovery-point");
    let is_named = case.named.iter().any(is_named) || is_point && why.contains("checkpoints/");
    if !is_named && !topics.iter().any(|topic| why.contains(topic)) {
        broken.push(format!("the refusal names no file: {why}"));
    }
    // Who may come in is known once the journal is replayed, which loses nothing.
    if why.contains("topic __access") || why.contains("npayload.secret") {
        return;
    }
    let changed = first.after.changed(&case.image);
    if changed.iter().any(|name| name != "lock") {
        broken.push(format!("refused ({why}), and changed {changed:?}"));
    }
}

/// No wrong bytes, no silent gap; every batch that has an intact copy is served; channels that
/// lost nothing take writes.
fn nothing_else_is_lost(subject: &Subject, case: &Case, first: &Outcome, broken: &mut Vec<String>) {
    let known = &subject.patient.known;
    // Where a group's list of entries is lost, nobody knows whose it was.
    let is_list_lost = first.report.damage.iter().any(|one| {
        one.log.is_none()
            && one.path.extension().is_some_and(|it| it == "journal")
            && one.what.contains("groups")
    });
    for (name, reading) in &first.readings {
        broken.extend(reading.wrong.iter().cloned());
        let channel = &known.channels[name];
        let mut lost = reading.bad.clone();
        lost.extend(
            channel
                .batches
                .iter()
                .filter(|it| it.first >= reading.end)
                .map(|it| it.first),
        );
        lost.extend(
            channel
                .batches
                .iter()
                .filter(|it| it.end <= reading.start)
                .map(|it| it.first),
        );
        for offset in &lost {
            let stored = subject.map.stored.iter();
            let mut stored = stored.filter(|it| it.log == channel.id && it.first == *offset);
            let stored = stored
                .next()
                .unwrap_or_else(|| panic!("{name} {offset} is nowhere"));
            let is_cut = !stored.is_promised && first.report.torn.is_some();
            if !stored.is_lost(&case.touched) && !is_cut {
                let said = &reading.said;
                broken.push(format!(
                    "{name} lost offset {offset}, which is intact: {said:?}"
                ));
            }
        }
        let is_closed = first.closed.get(name);
        if let Some(why) = is_closed
            && lost.is_empty()
            && !is_list_lost
            && (!is_of(subject, case, channel.id) || is_header(case))
        {
            broken.push(format!("{name} lost nothing and takes no writes: {why}"));
        }
    }
    if let Some(why) = first.closed.get("__consumers")
        && !is_list_lost
        && !is_of(subject, case, subject.map.consumers)
    {
        broken.push(format!("commits are refused: {why}"));
    }
    let is_hurt = |id| is_list_lost || is_of(subject, case, id);
    for ((channel, consumer), offset) in &known.positions {
        let found = &first.positions[&(channel.clone(), consumer.clone())];
        // No other than what was committed, and never absent: that would be a new consumer's.
        let is_true = match found {
            Ok(found) => *found == Some(*offset) || first.report.torn.is_some(),
            Err(said) => is_hurt(subject.map.consumers) && said.contains("topic __consumers"),
        };
        if !is_true {
            broken.push(format!(
                "{consumer} of {channel} stands at {found:?}, not {offset}"
            ));
        }
    }
    if known.key.is_some() && (!first.is_key_known || first.closed.contains_key("__access")) {
        broken.push("a key is not known any more, or none can be made".to_owned());
    }
    if !is_hurt(known.channels["idem"].id) && !first.is_deduplicated {
        broken.push("a repeated batch is not answered with its first offset".to_owned());
    }
}

/// Whether the header of a segment is all that was damaged: neither a record nor an end is lost.
fn is_header(case: &Case) -> bool {
    let is_header = |place: &Place| place.file.ends_with(".log") && place.range.end <= BLOCK;
    !case.touched.is_empty() && case.touched.iter().all(is_header)
}

/// Whether a part of a log was damaged: in its directory, or in the journal.
fn is_of(subject: &Subject, case: &Case, log: npayload::types::Incarnation) -> bool {
    let dir = format!("channels/{log}");
    let in_files = case.named.iter().any(|name| name.starts_with(&dir));
    let mut stored = subject.map.stored.iter().filter(|it| it.log == log);
    in_files || stored.any(|it| it.is_lost(&case.touched))
}

/// What is reported as damaged or repaired was damaged; and of what was changed, something is.
fn damage_is_located(subject: &Subject, case: &Case, first: &Outcome, broken: &mut Vec<String>) {
    let report = &first.report;
    for one in report.damage.iter().chain(&report.repaired) {
        let name = relative(&one.path);
        let is_named = case.named.contains(&name);
        let is_journal = case.named.iter().any(|it| it.ends_with(".journal"));
        // The records before a batch are lost with a group: that is said of the segment.
        let is_consequence = is_journal && name.ends_with(".log");
        if !is_named && !is_consequence {
            broken.push(format!("{name} is whole, and reported: {}", one.what));
            continue;
        }
        let mut touched = case.touched.iter().filter(|it| it.file == name).peekable();
        let reported = Place {
            file: name.clone(),
            range: one.from as usize..one.to as usize,
        };
        // Of a file that is shorter than it was, the whole is named.
        let len = case.image.files.get(&name).map_or(0, Vec::len);
        let is_whole = reported.range == (0..len);
        // Behind the head of a group that is not what it was, all of the group is astray.
        let mut groups = subject.map.groups.iter();
        let is_astray = groups.any(|group| {
            group.whole.meets(&reported) && case.touched.iter().any(|it| it.meets(&group.head))
        });
        let is_there = is_whole
            || is_astray
            || touched.peek().is_none()
            || touched.any(|it| it.meets(&reported));
        if is_named && !is_there {
            broken.push(format!(
                "{name}: {:?} is whole: {}",
                reported.range, one.what
            ));
        }
    }
    for (name, rows) in &first.marked {
        let id = subject.patient.known.channels[name].id;
        for row in rows {
            let ending = format!("channels/{id}/{:020}.log", row.segment_base.0);
            let is_hit = |place: &Place| {
                let range = row.position as usize..(row.position + row.length) as usize;
                place.file == ending
                    && place.meets(&Place {
                        file: ending.clone(),
                        range,
                    })
            };
            if !case.touched.iter().any(is_hit) && !is_of(subject, case, id) {
                broken.push(format!("{ending} is whole, and marked: {row:?}"));
            }
        }
    }
}

/// A path within the data directory.
fn relative(path: &std::path::Path) -> String {
    let path = path.strip_prefix(super::case::image::ROOT).unwrap_or(path);
    path.to_string_lossy().into_owned()
}

/// Every byte that was there is still somewhere, but for indexes and what is superseded intact.
fn nothing_is_deleted(subject: &Subject, case: &Case, first: &Outcome, broken: &mut Vec<String>) {
    let kept: Vec<&Vec<u8>> = lost_and_found(&first.after).collect();
    for (name, before) in &case.image.files {
        let after = first.after.files.get(name);
        if before.is_empty() || after == Some(before) || kept.contains(&before) {
            continue;
        }
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        let is_ordinary = match ending {
            "index" | "timeindex" => true,
            // One that the recovery point does not name was never finished, or is superseded.
            "checkpoint" | "copy" => {
                ![&subject.map.checkpoint_file, &subject.map.copy_file].contains(&name)
                    || !touched(case, name)
            }
            // What was replayed is in the segments, and the ring is used again.
            "journal" => !touched(case, name),
            "log" => after.is_some_and(|after| {
                let changed =
                    (0..before.len().min(after.len())).filter(|at| before[*at] != after[*at]);
                let mut lost = changed.chain(after.len()..before.len());
                lost.all(|at| is_rewritten(subject, first, name, at))
            }),
            _ => name == "lock" || name == "recovery-point",
        };
        if !is_ordinary {
            broken.push(format!("the bytes of {name} are gone"));
        }
    }
}

fn lost_and_found(image: &Image) -> impl Iterator<Item = &Vec<u8>> {
    let files = image.files.iter();
    files
        .filter(|(name, _)| name.starts_with("lost+found/"))
        .map(|(_, bytes)| bytes)
}

fn touched(case: &Case, name: &str) -> bool {
    case.touched.iter().any(|place| place.file == name)
}

/// Whether a byte of a segment was written again from the journal and reported, or lay beyond the
/// end of what the checkpoint vouches for, where the journal has the word.
fn is_rewritten(subject: &Subject, first: &Outcome, name: &str, at: usize) -> bool {
    let mut repaired = first.report.repaired.iter();
    let is_repaired = repaired.any(|one| {
        relative(&one.path) == *name && (one.from as usize..one.to as usize).contains(&at)
    });
    let mut segments = subject.map.segments.iter();
    let is_beyond =
        segments.any(|segment| segment.name == name && at >= segment.vouched.max(BLOCK));
    is_repaired || subject.patient.name == "killed" && is_beyond
}

/// A start that changed nothing else finds the same again.
fn the_next_start_agrees(first: &Outcome, second: &Outcome, broken: &mut Vec<String>) {
    if first.refused.is_some() != second.refused.is_some() {
        broken.push(format!(
            "first {:?}, then {:?}",
            first.refused, second.refused
        ));
        return;
    }
    for (name, reading) in &first.readings {
        let Some(again) = second.readings.get(name) else {
            broken.push(format!("{name} is not there at the next start"));
            continue;
        };
        if (reading.start, reading.end, &reading.bad) != (again.start, again.end, &again.bad) {
            broken.push(format!("{name} reads {reading:?}, then {again:?}"));
        }
    }
    let closed: BTreeSet<_> = first.closed.keys().collect();
    let again: BTreeSet<_> = second.closed.keys().collect();
    if closed != again {
        broken.push(format!("closed {closed:?}, then {again:?}"));
    }
    // The next start may find the same damage by another sign.
    let known = |outcome: &Outcome| -> Vec<_> {
        let found = outcome.positions.values();
        found.map(|found| found.as_ref().ok().copied()).collect()
    };
    if known(first) != known(second) {
        broken.push(format!(
            "positions {:?}, then {:?}",
            first.positions, second.positions
        ));
    }
}
