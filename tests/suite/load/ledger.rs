//! What a broker has promised under load, and whether it is there.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::raw::Raw;

/// Which record it is: the `number`-th of a writer on its channel. Its payload follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub writer: u32,
    pub number: u64,
}

impl Mark {
    /// The payload of this record: itself, and bytes that no other record has. Mostly short, at
    /// times some thousand bytes.
    pub fn payload(self, seed: u64) -> Vec<u8> {
        let mut draws = Draws(seed ^ self.number ^ u64::from(self.writer) << 48);
        let filler = match draws.draw() {
            n if n % 256 == 0 => 8_000,
            n => (n >> 8) % 160,
        };
        let mut bytes = self.writer.to_le_bytes().to_vec();
        bytes.extend(self.number.to_le_bytes());
        for _ in 0..filler / 8 {
            bytes.extend(draws.draw().to_le_bytes());
        }
        bytes
    }

    /// The record that has this payload, if it has it to the last bit.
    fn of(payload: &[u8], seed: u64) -> Option<Self> {
        let mark = Self {
            writer: u32::from_le_bytes(payload.get(..4)?.try_into().ok()?),
            number: u64::from_le_bytes(payload.get(4..12)?.try_into().ok()?),
        };
        (mark.payload(seed) == payload).then_some(mark)
    }
}

/// The generator SplitMix64: one seed is one sequence.
#[derive(Clone, Debug)]
pub struct Draws(pub u64);

impl Draws {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }
}

/// What acknowledgements and readers have said of each channel. Shared by all threads of a load.
#[derive(Debug)]
pub struct Ledger {
    pub seed: u64,
    channels: BTreeMap<String, Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// The record at each offset, as far as anybody was told.
    marks: Vec<Option<Mark>>,
    /// How many records of each writer are acknowledged.
    promised: BTreeMap<u32, u64>,
    scan: Scan,
}

/// How far a channel was read in quiet, and how many records of each writer were met.
#[derive(Clone, Debug, Default)]
struct Scan {
    end: u64,
    writers: BTreeMap<u32, u64>,
}

impl Known {
    /// Two values of one offset are the worst that a log can do.
    fn set(&mut self, channel: &str, offset: u64, mark: Mark) {
        let at = usize::try_from(offset).expect("small");
        if self.marks.len() <= at {
            self.marks.resize(at + 1, None);
        }
        let before = self.marks[at].replace(mark);
        assert!(
            before.is_none_or(|before| before == mark),
            "{channel}: offset {offset} was {before:?} and is {mark:?}"
        );
    }
}

impl Ledger {
    pub fn new(seed: u64, channels: &[&str]) -> Self {
        let channels = channels.iter().map(|name| (*name).to_owned());
        Self {
            seed,
            channels: channels.map(|name| (name, Mutex::default())).collect(),
        }
    }

    fn known(&self, channel: &str) -> std::sync::MutexGuard<'_, Known> {
        self.channels[channel].lock().expect("no thread panicked")
    }

    /// Records from `first` on of one writer are acknowledged, at these offsets if they are known.
    pub fn acked(&self, channel: &str, first: Mark, count: u64, first_offset: Option<u64>) {
        let mut known = self.known(channel);
        if let Some(offset) = first_offset {
            for n in 0..count {
                let number = first.number + n;
                known.set(channel, offset + n, Mark { number, ..first });
            }
        }
        let promised = known.promised.entry(first.writer).or_default();
        *promised = (*promised).max(first.number + count);
    }

    /// A reader was given this record.
    pub fn read(&self, channel: &str, offset: u64, payload: &[u8]) {
        let mark = self.mark(channel, offset, payload);
        self.known(channel).set(channel, offset, mark);
    }

    fn mark(&self, channel: &str, offset: u64, payload: &[u8]) -> Mark {
        Mark::of(payload, self.seed)
            .unwrap_or_else(|| panic!("{channel}: offset {offset} holds what nobody wrote"))
    }

    /// Records that are acknowledged, of all channels and writers.
    pub fn promised(&self) -> u64 {
        let promised = |channel: &String| self.known(channel).promised.values().sum::<u64>();
        self.channels.keys().map(promised).sum()
    }

    /// How many records of a writer a channel holds, as of the last check.
    pub fn found(&self, channel: &str, writer: u32) -> u64 {
        let known = self.known(channel);
        known.scan.writers.get(&writer).copied().unwrap_or_default()
    }

    /// Reads what came since the last check, while nobody writes: every record that was promised
    /// or read is there, and those of each writer are there once, in order.
    pub fn check(&self, raw: &mut Raw) {
        for channel in self.channels.keys() {
            self.check_channel(channel, raw);
        }
    }

    /// The same from the first offset on.
    pub fn check_all(&self, raw: &mut Raw) {
        for channel in self.channels.keys() {
            self.known(channel).scan = Scan::default();
        }
        self.check(raw);
    }

    fn check_channel(&self, channel: &str, raw: &mut Raw) {
        let mut known = self.known(channel);
        let mut scan = known.scan.clone();
        loop {
            let records = raw.fetch(channel, scan.end).fetched().records();
            let from = scan.end;
            for (offset, payload) in records {
                if offset < from {
                    continue; // of a batch that begins before
                }
                assert_eq!(offset, scan.end, "{channel}: offsets without a gap");
                scan.end += 1;
                let mark = self.mark(channel, offset, &payload);
                known.set(channel, offset, mark);
                let next = scan.writers.entry(mark.writer).or_default();
                assert_eq!(
                    mark.number, *next,
                    "{channel}: offset {offset}: records of writer {} once and in order",
                    mark.writer
                );
                *next += 1;
            }
            if scan.end == from {
                break;
            }
        }
        let told = known.marks.len() as u64;
        assert!(
            scan.end >= told,
            "{channel}: ends at {}, and offsets up to {told} were acknowledged or read",
            scan.end
        );
        for (writer, promised) in &known.promised {
            let found = scan.writers.get(writer).copied().unwrap_or_default();
            assert!(
                found >= *promised,
                "{channel}: {found} records of writer {writer}, {promised} were acknowledged"
            );
        }
        known.scan = scan;
    }
}
