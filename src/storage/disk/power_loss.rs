//! What a power loss leaves of a file: the model behind [`CrashingDisk`](super::CrashingDisk).

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use super::memory::write_into;

/// What a device writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// What the page cache of an operating system writes back at once, and a device of large sectors
/// whole or not at all.
pub const PAGE_BYTES: usize = 4096;

/// What a crash does to the changes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Power loss: none of them reached the device.
    All,
    /// Process death: the operating system has all of them. They are still not synced, so that a
    /// later power loss may take them.
    None,
    /// Power loss: the first `n` changes of the whole disk reached the device, in order, and of
    /// the next one, if it is a write, the first half (cut at a sector). See
    /// [`CrashingDisk::unsynced`](super::CrashingDisk::unsynced).
    Prefix(u64),
    /// Power loss: sectors, lengths and names were dropped, kept and reordered by chance. One
    /// seed is one outcome.
    Random(u64),
    /// As [`Loss::Random`], in pages of [`PAGE_BYTES`] in place of sectors.
    RandomPages(u64),
}

/// A change of a file that no sync has covered.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// Order among all changes of the disk.
    pub sequence: u64,
    kind: ChangeKind,
}

#[derive(Clone, Debug)]
enum ChangeKind {
    Write { position: usize, bytes: Vec<u8> },
    SetLen { from: usize, to: usize },
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) -> io::Result<()> {
        match &self.kind {
            ChangeKind::Write { position, bytes } => write_into(image, *position, bytes),
            ChangeKind::SetLen { to, .. } => {
                image.resize(*to, 0);
                Ok(())
            }
        }
    }

    /// The bytes whose content this changes. Growth changes none: what was never written is zero.
    fn touched(&self) -> Range<usize> {
        match &self.kind {
            ChangeKind::Write { position, bytes } => *position..position + bytes.len(),
            ChangeKind::SetLen { from, to } => (*to).min(*from)..*from,
        }
    }

    fn is_cut(&self) -> bool {
        matches!(self.kind, ChangeKind::SetLen { from, to } if to < from)
    }

    fn len_after(&self, len: usize) -> usize {
        match &self.kind {
            ChangeKind::Write { bytes, .. } if bytes.is_empty() => len,
            ChangeKind::Write { position, bytes } => len.max(position + bytes.len()),
            ChangeKind::SetLen { to, .. } => *to,
        }
    }

    /// Applies what this does to one sector (or page), which begins at byte `start` of the file.
    fn apply_to_sector(&self, start: usize, sector: &mut [u8]) {
        let touched = self.touched();
        let end = start + sector.len();
        let from = touched.start.clamp(start, end);
        let to = touched.end.clamp(from, end);
        let target = &mut sector[from - start..to - start];
        match &self.kind {
            ChangeKind::Write { position, bytes } if !target.is_empty() => {
                target.copy_from_slice(&bytes[from - position..to - position]);
            }
            ChangeKind::Write { .. } => {}
            ChangeKind::SetLen { .. } => target.fill(0),
        }
    }

    /// The first half of a write, up to the sector boundary in or before its middle.
    fn torn(&self) -> Option<Self> {
        let ChangeKind::Write { position, bytes } = &self.kind else {
            return None;
        };
        let cut = (position + bytes.len() / 2) / SECTOR_BYTES * SECTOR_BYTES;
        let kept = bytes.get(..cut.checked_sub(*position)?)?.to_vec();
        Some(Self {
            sequence: self.sequence,
            kind: ChangeKind::Write {
                position: *position,
                bytes: kept,
            },
        })
    }
}

/// A file as readers see it, as the device surely has it, and the way from the one to the other.
#[derive(Clone, Debug, Default)]
pub(super) struct FileHistory {
    pub live: Vec<u8>,
    durable: Vec<u8>,
    pub pending: Vec<Change>,
}

impl FileHistory {
    /// A file that a device holds: nothing is pending.
    pub fn durable(bytes: Vec<u8>) -> Self {
        Self {
            live: bytes.clone(),
            durable: bytes,
            pending: Vec::new(),
        }
    }

    pub fn write(&mut self, sequence: u64, position: usize, bytes: Vec<u8>) -> io::Result<()> {
        write_into(&mut self.live, position, &bytes)?;
        if !bytes.is_empty() {
            self.pending.push(Change {
                sequence,
                kind: ChangeKind::Write { position, bytes },
            });
        }
        Ok(())
    }

    pub fn set_len(&mut self, sequence: u64, len: usize) {
        let from = self.live.len();
        self.live.resize(len, 0);
        self.pending.push(Change {
            sequence,
            kind: ChangeKind::SetLen { from, to: len },
        });
    }

    pub fn sync(&mut self) -> io::Result<()> {
        self.pending
            .drain(..)
            .try_for_each(|change| change.apply(&mut self.durable))
    }

    /// A sync that fails. Each write it was to cover has reached the device or not, and no later
    /// sync brings it there: the operating system takes the pages for clean. Until they leave the
    /// page cache, readers see them as if nothing had happened. A length that was set is not in
    /// pages, and stays.
    pub fn fail_sync(&mut self, random: &mut SplitMix64) -> io::Result<()> {
        for change in self.pending.drain(..) {
            let is_length = matches!(change.kind, ChangeKind::SetLen { .. });
            if random.draw().is_multiple_of(2) || is_length {
                change.apply(&mut self.durable)?;
            }
        }
        Ok(())
    }

    /// The image when the changes for which `keeps` says so reached the device whole, in order,
    /// and the first half of the change `torn`.
    pub fn prefix(&self, keeps: impl Fn(u64) -> bool, torn: Option<u64>) -> io::Result<Vec<u8>> {
        let mut image = self.durable.clone();
        for change in &self.pending {
            if keeps(change.sequence) {
                change.apply(&mut image)?;
            } else if torn == Some(change.sequence)
                && let Some(half) = change.torn()
            {
                half.apply(&mut image)?;
            }
        }
        Ok(image)
    }

    /// The image that `fate` picks. Each sector holds what it held after any of the writes that
    /// touched it, independently of the others; the length is any that the file had, or one on
    /// the way to it; what lies inside the length and was not kept is zero.
    ///
    /// Only a cut binds them together: when the length is one from after the cut, no byte from
    /// before it is seen beyond it again.
    ///
    /// - `sector_bytes`: [`SECTOR_BYTES`] or [`PAGE_BYTES`].
    pub fn image(&self, sector_bytes: usize, fate: &mut dyn FnMut(&str) -> u64) -> Vec<u8> {
        if self.pending.is_empty() {
            return self.durable.clone();
        }
        match fate("file") % 4 {
            0 => return self.durable.clone(),
            1 => return self.prefix(|_| true, None).unwrap_or_default(),
            _ => {}
        }
        let (applied, len) = self.len(sector_bytes, fate);
        // Changes before `floor` have reached the device, those from `ceiling` on have not.
        let floor = self.pending[..applied]
            .iter()
            .rposition(Change::is_cut)
            .map_or(0, |at| at + 1);
        let later_cut = self.pending[applied..].iter().position(Change::is_cut);
        let ceiling = later_cut.map_or(self.pending.len(), |at| applied + at);

        let mut touching: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, change) in self.pending[..ceiling].iter().enumerate() {
            let touched = change.touched();
            if !touched.is_empty() {
                let sectors = touched.start / sector_bytes..touched.end.div_ceil(sector_bytes);
                sectors.for_each(|sector| touching.entry(sector).or_default().push(at));
            }
        }
        let mut image = self.durable.clone();
        image.resize(len, 0);
        for (sector, changes) in touching {
            let certain = changes.partition_point(|at| *at < floor);
            let kept = certain + choice(fate("sector"), changes.len() - certain + 1);
            let start = sector * sector_bytes;
            let mut bytes = vec![0; sector_bytes];
            let held = self.durable.get(start..).unwrap_or_default();
            let held = &held[..held.len().min(sector_bytes)];
            bytes[..held.len()].copy_from_slice(held);
            for at in &changes[..kept] {
                self.pending[*at].apply_to_sector(start, &mut bytes);
            }
            if start < len {
                let end = len.min(start + sector_bytes);
                image[start..end].copy_from_slice(&bytes[..end - start]);
            }
        }
        image
    }

    /// Draws a length, and how many changes it takes to have it.
    fn len(&self, sector_bytes: usize, fate: &mut dyn FnMut(&str) -> u64) -> (usize, usize) {
        let applied = choice(fate("length"), self.pending.len() + 1);
        let (mut before, mut len) = (self.durable.len(), self.durable.len());
        for change in &self.pending[..applied] {
            (before, len) = (len, change.len_after(len));
        }
        let boundaries = len.saturating_sub(1) / sector_bytes;
        let boundaries = boundaries.saturating_sub(before / sector_bytes);
        if boundaries > 0 {
            // Half of the draws leave the growth whole, the others stop at a sector of it.
            let stop = choice(fate("growth"), 2 * boundaries);
            if stop >= boundaries {
                len = (before / sector_bytes + 1 + stop - boundaries) * sector_bytes;
            }
        }
        (applied, len)
    }
}

/// One of `0..choices`, from a draw.
fn choice(draw: u64, choices: usize) -> usize {
    usize::try_from(draw % choices as u64).expect("a remainder of a usize fits a usize")
}

/// The generator SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators,
/// 2014): small, and the same everywhere.
#[derive(Debug)]
pub(super) struct SplitMix64(pub u64);

impl SplitMix64 {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
