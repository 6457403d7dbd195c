//! What the codecs cost in instructions, which no load on the machine changes.
//!
//! A piece of work runs under callgrind twice, once so many times and once twice as many: the
//! difference is the work alone, without what comes before and behind it.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use clap::{Args, ValueEnum};
use npayload::format::{
    BatchBuilder, Compression, DoorLimits, NewRecord, Stamp, check_produced, check_stored, records,
    stamp,
};
use npayload::types::{Incarnation, LogEpoch, Offset, Timestamp};

use crate::measured::float;

/// Records of a batch that is worked on.
const RECORDS: u32 = 100;

/// Times that a piece of work is done, and then twice as many.
const TIMES: u32 = 50;

/// A piece of work of a codec, on a batch of 100 records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// Records of 100 bytes into a batch
    Build100,
    /// Records of 1 KiB into a batch
    Build1k,
    /// Such a batch checked at the door
    Door1k,
    /// The broker's fields stamped into its header
    Stamp,
    /// Such a batch, as it is stored, checked by a reader
    Stored1k,
    /// The records taken out of it
    Records1k,
    /// The same with 100 bytes each
    Records100,
}

/// Work to be done for counting.
#[derive(Debug, Clone, Args)]
pub struct Codec {
    /// What is done
    #[arg(value_enum)]
    pub work: Work,
    /// How often
    #[arg(long, default_value_t = TIMES)]
    pub times: u32,
}

impl Work {
    /// The name on the command line.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Does it.
    pub fn run(self, times: u32) -> Result<()> {
        let bytes = match self {
            Self::Build100 | Self::Records100 => 100,
            _ => 1024,
        };
        let payload = vec![b'x'; bytes];
        let limits = DoorLimits {
            max_record_bytes: 1 << 20,
            lz4: true,
            zstd: true,
        };
        let mut produced = build(&payload)?;
        let stored: Bytes = {
            let mut batch = produced.clone();
            stamp(&mut batch, &stamped(1));
            batch.freeze()
        };
        for n in 0..times {
            match self {
                Self::Build100 | Self::Build1k => {
                    black_box(build(black_box(&payload))?);
                }
                Self::Door1k => {
                    black_box(check_produced(black_box(&produced), &limits)?);
                }
                Self::Stamp => {
                    black_box(stamp(black_box(&mut produced), &stamped(n)));
                }
                Self::Stored1k => {
                    black_box(check_stored(black_box(&stored))?);
                }
                Self::Records1k | Self::Records100 => {
                    for record in records(black_box(&stored))? {
                        black_box(record?);
                    }
                }
            }
        }
        Ok(())
    }

    /// How often it is done for counting. Two runs of one process differ by some thousand
    /// instructions before the work begins: what takes few is done the more often.
    fn times(self) -> u32 {
        match self {
            Self::Stamp => 1000 * TIMES,
            _ => TIMES,
        }
    }

    /// Instructions of it, done once, as callgrind counts them.
    pub fn instructions(self, dir: &Path) -> Result<u64> {
        let times = self.times();
        let [once, twice] = [times, 2 * times].map(|times| counted(self, times, dir));
        Ok((twice?.saturating_sub(once?)) / u64::from(times))
    }
}

fn build(payload: &[u8]) -> Result<BytesMut> {
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..RECORDS {
        builder.push(&NewRecord {
            record_type: "bench",
            payload: Some(payload),
            ..NewRecord::default()
        })?;
    }
    Ok(builder.build()?)
}

fn stamped(n: u32) -> Stamp {
    Stamp {
        incarnation: Incarnation(1),
        base_offset: Offset(u64::from(n)),
        append_time: Timestamp(i64::from(n)),
        log_epoch: LogEpoch(1),
        principal: 1,
    }
}

/// Instructions of a whole process that does it so many times.
fn counted(work: Work, times: u32, dir: &Path) -> Result<u64> {
    let out = dir.join(format!("callgrind-{}-{times}", work.name()));
    let program = std::env::current_exe()?;
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(["codec", &work.name(), "--times", &times.to_string()]);
    let ran = command
        .output()
        .context("starting valgrind: it counts the instructions, and is not here")?;
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        bail!("counting {} ended with {}: {said}", work.name(), ran.status);
    }
    let text = std::fs::read_to_string(&out)?;
    std::fs::remove_file(&out)?;
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("summary: "))
        .context("callgrind gave no summary")?;
    Ok(total.trim().parse()?)
}

/// How much more an instruction count may be than what is stored, as a factor.
pub const TOLERANCE: f64 = 1.02;

/// Whether a count is more than what is stored by more than builds differ by.
pub fn is_worse(now: u64, stored: u64) -> bool {
    float(now) > float(stored) * TOLERANCE
}
