//! The kinds of damage, each done to a copy of a data directory.

use std::ops::Range;

use super::image::Image;
use super::patient::{Patient, next};
use super::places::{BLOCK, Map, Place};

/// Most places of a row that are damaged in one way: spread evenly over all of them.
const MOST_PLACES: usize = 8;

/// A damaged directory.
#[derive(Clone, Debug)]
pub struct Case {
    /// What was done, for a person.
    pub story: String,
    pub image: Image,
    /// What was changed; a file that was added as a whole is not in it.
    pub touched: Vec<Place>,
    /// The files that are not what they were, in the order of their importance.
    pub named: Vec<String>,
}

/// A patient with its map, and that of the other directory.
pub struct Subject {
    pub patient: Patient,
    pub map: Map,
    pub other: Map,
}

impl Subject {
    pub fn new(patient: Patient) -> Self {
        let map = Map::of(&patient.image, &patient.known);
        let other = Map::of(&patient.other, &patient.other_known);
        Self {
            patient,
            map,
            other,
        }
    }

    fn case(
        &self,
        story: String,
        places: &[Place],
        change: impl FnOnce(&mut Image),
    ) -> Option<Case> {
        let mut image = self.patient.image.clone();
        change(&mut image);
        let mut named: Vec<String> = places.iter().map(|place| place.file.clone()).collect();
        named.extend(image.changed(&self.patient.image));
        let is_changed = image != self.patient.image;
        is_changed.then(|| Case {
            story: format!("{}: {story}", self.patient.name),
            image,
            touched: places.to_vec(),
            named,
        })
    }

    /// A stretch of a file is given other bytes.
    fn overwritten(&self, what: &str, place: &Place, bytes: &[u8]) -> Option<Case> {
        let story = format!("{what}, {} bytes {:?}", place.file, place.range);
        let mut place = place.clone();
        place.range.end = place.range.end.min(place.range.start + bytes.len());
        self.case(story, std::slice::from_ref(&place), |image| {
            let file = image.files.get_mut(&place.file).unwrap();
            file[place.range.clone()].copy_from_slice(&bytes[..place.range.len()]);
        })
    }

    /// One bit of a file is flipped.
    pub fn flipped(&self, file: &str, at: usize, bit: u32) -> Case {
        let place = Place {
            file: file.to_owned(),
            range: at..at + 1,
        };
        let byte = self.patient.image.file(file)[at] ^ (1 << bit);
        let what = format!("bit {bit} flipped");
        self.overwritten(&what, &place, &[byte]).unwrap()
    }

    /// A byte for the `n`-th flip. Half of them hit any byte of the directory, half any byte of any
    /// file, so that small files are not spared.
    pub fn pick(&self, n: u64, random: &mut u64) -> (String, usize) {
        let files: Vec<(&String, usize)> = {
            let all = self.patient.image.files.iter();
            all.map(|(name, bytes)| (name, bytes.len()))
                .filter(|(_, len)| *len > 0)
                .collect()
        };
        if (n / 2).is_multiple_of(2) {
            let (name, len) = files[(next(random) % files.len() as u64) as usize];
            return (name.clone(), (next(random) % len as u64) as usize);
        }
        let total: usize = files.iter().map(|(_, len)| len).sum();
        let mut at = (next(random) % total as u64) as usize;
        for (name, len) in files {
            if at < len {
                return (name.clone(), at);
            }
            at -= len;
        }
        unreachable!("the byte lies in one of the files")
    }
}

/// The rows of the table of bytes; every byte of a directory is in one of them.
pub const BYTE_ROWS: [&str; 25] = [
    "marker",
    "lock",
    "recovery point, newer slot",
    "recovery point, older slot",
    "checkpoint",
    "checkpoint copy",
    "journal, file header",
    "journal, head of a promised group",
    "journal, batch of a promised group",
    "journal, zeros behind a promised group",
    "journal, last group",
    "journal, not in use",
    "sealed segment, header",
    "sealed segment, batch",
    "segment, padding",
    "active segment, header",
    "active segment, batch",
    "active segment, batch that the journal has",
    "bytes of a reference",
    "offset index",
    "time index",
    "`__channels` segment",
    "`__consumers` segment",
    "secret file",
    "`__access` segment",
];

/// The rows of what is there only where there are API keys.
pub const KEY_ROWS: [&str; 2] = ["secret file", "`__access` segment"];

pub const BYTE_DAMAGES: [&str; 4] = [
    "bit flip",
    "zeroed block",
    "older block",
    "misdirected block",
];

/// The ways to damage a row's bytes.
pub fn of_bytes(subject: &Subject, row: &str, damage: &str) -> Vec<Case> {
    let image = &subject.patient.image;
    let all = subject.map.places(image, row);
    let mut cases = Vec::new();
    for (n, place) in spread(&all, MOST_PLACES).enumerate() {
        let bytes = &image.file(&place.file)[place.range.clone()];
        match damage {
            "bit flip" => {
                let last = place.range.len().saturating_sub(1);
                let stride = (last / 7).max(1);
                let mut offsets: Vec<usize> = (0..=last).step_by(stride).collect();
                offsets.push(last);
                for (bit, at) in offsets.into_iter().enumerate() {
                    if place.range.is_empty() {
                        continue;
                    }
                    let at = place.range.start + at;
                    cases.push(subject.flipped(&place.file, at, (bit as u32 + n as u32) % 8));
                }
            }
            "zeroed block" => {
                for part in [place.clone(), sector(place)] {
                    let zeros = vec![0; part.range.len()];
                    cases.extend(subject.overwritten("zeroed", &part, &zeros));
                }
            }
            "older block" => {
                for part in blocks(place) {
                    let older = subject.patient.history.iter().rev().find_map(|image| {
                        let older = older_bytes(image, &part)?;
                        (older != subject.patient.image.file(&part.file)[part.range.clone()])
                            .then_some(older)
                    });
                    let case = older.and_then(|it| subject.overwritten("older bytes", &part, &it));
                    cases.extend(case);
                }
            }
            "misdirected block" => {
                let at = all.iter().position(|one| one == place).unwrap();
                let sibling = &all[(at + 1) % all.len()];
                let twin = subject.other.places(&subject.patient.other, row);
                let mut sources = vec![image.file(&sibling.file)[sibling.range.clone()].to_vec()];
                if let Some(twin) = twin.get(n.min(twin.len().saturating_sub(1))) {
                    sources
                        .push(subject.patient.other.file(&twin.file)[twin.range.clone()].to_vec());
                }
                // A batch, or the block of another kind of file.
                let segment = &subject.map.segments[0];
                sources.push(image.file(&segment.name)[BLOCK..].to_vec());
                for source in sources {
                    if source.is_empty() || bytes.is_empty() {
                        continue;
                    }
                    cases.extend(subject.overwritten("bytes of another place", place, &source));
                }
            }
            other => panic!("no such damage: {other}"),
        }
    }
    cases
}

/// At most `most` of them, the first and the last included.
fn spread<T>(all: &[T], most: usize) -> impl Iterator<Item = &T> {
    let last = all.len().saturating_sub(1);
    let count = all.len().min(most);
    (0..count).map(move |n| &all[if count > 1 { n * last / (count - 1) } else { 0 }])
}

/// The sector in the middle of a place, as far as it lies in it.
fn sector(place: &Place) -> Place {
    let middle = (place.range.start + place.range.end) / 2 / 512 * 512;
    let start = middle.max(place.range.start);
    let range = start..(middle + 512).min(place.range.end);
    let file = place.file.clone();
    Place { file, range }
}

/// The first and the last block that a place touches, as far as they lie in it.
fn blocks(place: &Place) -> Vec<Place> {
    let Range { start, end } = place.range.clone();
    let first = start..((start / BLOCK + 1) * BLOCK).min(end);
    let last = (end.saturating_sub(1) / BLOCK * BLOCK).max(start)..end;
    let ranges = if first == last {
        vec![first]
    } else {
        vec![first, last]
    };
    let file = &place.file;
    let place = |range| Place {
        file: file.clone(),
        range,
    };
    ranges.into_iter().map(place).collect()
}

/// What a stretch of a file held at an earlier time; zeros where the file was shorter.
fn older_bytes(image: &Image, place: &Place) -> Option<Vec<u8>> {
    let bytes = older_file(image, &place.file)?;
    let mut bytes = bytes.get(place.range.start.min(bytes.len())..)?.to_vec();
    bytes.resize(place.range.len(), 0);
    Some(bytes)
}

/// A file at an earlier time; checkpoints have new names each time, and may lie where an old one lay.
fn older_file<'a>(image: &'a Image, name: &str) -> Option<&'a Vec<u8>> {
    if let Some((dir, file)) = name.split_once('/')
        && dir == "checkpoints"
    {
        let (_, ending) = file.split_once('.')?;
        let names = image.names("checkpoints/", ending);
        return image.files.get(names.last()?);
    }
    image.files.get(name)
}

pub const FILE_DAMAGES: [&str; 14] = [
    "cut to 0",
    "cut in its header",
    "cut to its header",
    "cut in a batch",
    "cut between batches",
    "cut by a byte",
    "garbage tail",
    "missing",
    "extra beside it",
    "duplicated",
    "swapped",
    "older",
    "of another directory",
    "a directory",
];

/// The ways to damage a row's files.
pub fn of_files(subject: &Subject, row: &str, damage: &str) -> Vec<Case> {
    let image = &subject.patient.image;
    let all = subject.map.files(image, row);
    let mut cases = Vec::new();
    for (n, name) in spread(&all, MOST_PLACES).enumerate() {
        let bytes = image.file(name);
        let whole = Place {
            file: name.clone(),
            range: 0..bytes.len(),
        };
        let replaced = |what: &str, other: &[u8]| {
            subject.case(
                format!("{what}, {name}"),
                std::slice::from_ref(&whole),
                |image| {
                    image.files.insert(name.clone(), other.to_vec());
                },
            )
        };
        match damage {
            "garbage tail" => {
                for tail in [
                    vec![0xa5; 700],
                    image.file(&subject.map.segments[0].name)[BLOCK..].to_vec(),
                ] {
                    let mut longer = bytes.to_vec();
                    longer.extend(&tail);
                    let end = bytes.len();
                    let place = Place {
                        file: name.clone(),
                        range: end..end + tail.len(),
                    };
                    cases.extend(subject.case(format!("a tail, {name}"), &[place], |image| {
                        image.files.insert(name.clone(), longer);
                    }));
                }
            }
            "missing" => {
                cases.extend(subject.case(format!("missing, {name}"), &[whole], |image| {
                    image.files.remove(name);
                }));
            }
            "extra beside it" => {
                for ending in ["old", "tmp", "new"] {
                    let extra = format!("{name}.{ending}");
                    cases.extend(subject.case(format!("extra, {extra}"), &[], |image| {
                        image.files.insert(extra, b"nobody knows".to_vec());
                    }));
                }
            }
            "duplicated" => {
                for copy in copies(&subject.map, name) {
                    cases.extend(
                        subject.case(format!("{name} also as {copy}"), &[], |image| {
                            image.files.insert(copy, bytes.to_vec());
                        }),
                    );
                }
            }
            "swapped" => {
                let sibling = all.get(n + 1).or(all.first()).filter(|it| *it != name);
                if let Some(sibling) = sibling {
                    let len = image.file(sibling).len();
                    let places = [
                        whole,
                        Place {
                            file: sibling.clone(),
                            range: 0..len,
                        },
                    ];
                    let story = format!("{name} swapped with {sibling}");
                    cases.extend(subject.case(story, &places, |image| {
                        let (a, b) = (bytes.to_vec(), image.file(sibling).to_vec());
                        image.files.insert(sibling.clone(), a);
                        image.files.insert(name.clone(), b);
                    }));
                }
            }
            "older" => {
                let older =
                    subject.patient.history.iter().rev().find_map(|image| {
                        older_file(image, name).filter(|older| older[..] != *bytes)
                    });
                cases.extend(older.and_then(|older| replaced("older", older)));
            }
            "of another directory" => {
                let twins = subject.other.files(&subject.patient.other, row);
                if let Some(twin) = twins.get(n.min(twins.len().saturating_sub(1))) {
                    cases.extend(replaced("of another", subject.patient.other.file(twin)));
                }
            }
            "a directory" => {
                cases.extend(
                    subject.case(format!("a directory, {name}"), &[whole], |image| {
                        image.files.remove(name);
                        image.dirs.insert(name.clone());
                    }),
                );
            }
            cut => {
                for len in lengths(&subject.map, name, bytes.len(), cut) {
                    let place = Place {
                        file: name.clone(),
                        range: len..bytes.len(),
                    };
                    cases.extend(subject.case(
                        format!("{cut} ({len}), {name}"),
                        &[place],
                        |image| {
                            image.files.insert(name.clone(), bytes[..len].to_vec());
                        },
                    ));
                }
            }
        }
    }
    cases
}

/// Names under which a copy of a file could be taken for one of its kind.
fn copies(map: &Map, name: &str) -> Vec<String> {
    let (dir, file) = name.rsplit_once('/').unwrap_or(("", name));
    let Some((stem, ending)) = file.split_once('.') else {
        return Vec::new();
    };
    let Ok(number) = stem.parse::<u64>() else {
        return Vec::new();
    };
    match ending {
        "checkpoint" | "copy" => vec![format!("{dir}/{:020}.{ending}", number + 1)],
        "journal" => vec![format!("{dir}/{:04}.journal", map.journal_files.len())],
        // Between two segments, and beyond the last.
        _ => [number + 1, 1_000_000]
            .map(|base| format!("{dir}/{base:020}.{ending}"))
            .to_vec(),
    }
}

/// The lengths that a cut of this class leaves.
fn lengths(map: &Map, name: &str, len: usize, cut: &str) -> Vec<usize> {
    let header = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("log" | "journal") => BLOCK,
        Some("checkpoint" | "copy") => 96,
        Some("index" | "timeindex") => 64,
        Some("marker" | "secret") => {
            return if cut == "cut to 0" {
                vec![0]
            } else if cut == "cut by a byte" {
                vec![len - 1]
            } else {
                vec![]
            };
        }
        _ if name == "recovery-point" => BLOCK,
        _ => {
            return if cut == "cut to 0" && len > 0 {
                vec![0]
            } else {
                vec![]
            };
        }
    };
    // The units behind the header, each a batch, a group, an entry or a row.
    let units: Vec<Range<usize>> = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("log") => {
            let segment = map.segments.iter().find(|it| it.name == name).unwrap();
            segment
                .batches
                .iter()
                .map(|batch| batch.0.clone())
                .collect()
        }
        Some("journal") => {
            let groups = map.groups.iter().filter(|it| it.whole.file == name);
            groups.map(|it| it.whole.range.clone()).collect()
        }
        Some("index" | "timeindex") => (header..len).step_by(16).map(|at| at..at + 16).collect(),
        Some("checkpoint" | "copy") => vec![header..header + 128, header + 128..len],
        _ => Vec::new(),
    };
    let middles = units.iter().map(|unit| (unit.start + unit.end) / 2);
    let lengths: Vec<usize> = match cut {
        "cut to 0" => vec![0],
        "cut in its header" => vec![1, header / 2, header - 1],
        "cut to its header" => vec![header],
        "cut in a batch" => spread(&middles.collect::<Vec<_>>(), 3).copied().collect(),
        "cut between batches" => {
            let ends = units.iter().rev().skip(1).map(|unit| unit.end);
            spread(&ends.collect::<Vec<_>>(), 3).copied().collect()
        }
        "cut by a byte" => vec![len - 1],
        other => panic!("no such damage: {other}"),
    };
    lengths.into_iter().filter(|at| *at < len).collect()
}
