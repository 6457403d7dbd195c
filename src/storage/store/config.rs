//! What a storage is told when it is opened.

/// Sizes and limits of the storage room.
#[derive(Debug, Clone)]
pub struct StorageConfig {
    /// Bytes of one journal file; all files of a ring have the same size.
    pub journal_file_bytes: u64,
    /// Most files in the journal's ring, at least 2.
    pub journal_files: u32,
    /// Most bytes staged for one round; also the limit of an entry over several logs.
    pub max_round_bytes: u64,
    /// From this many bytes of one log in a round, its batches go straight to the segment.
    pub direct_bytes: u64,
    /// A batch above this always goes straight to the segment.
    pub always_direct_bytes: u64,
    /// A tail of this many bytes is written behind.
    pub write_behind_bytes: u64,
    /// Most bytes of all tails that no segment file holds yet; past it, writers wait.
    pub max_unwritten_bytes: u64,
    /// Bytes at which a segment of an internal topic is sealed.
    pub own_segment_bytes: u64,
    /// Most segments that are open at once.
    pub max_open_segments: usize,
    /// Producers get an error before fewer bytes than this are free on the disk.
    pub min_free_bytes: u64,
    /// Of these, what the broker's own records leave too, except for those that free space.
    pub reserve_bytes: u64,
    /// Most bytes that the scrubber checks in a second; 0 switches it off.
    pub scrub_bytes_per_s: u64,
    /// From the beginning of one of its passes to that of the next.
    pub scrub_interval_ms: i64,
    /// A checkpoint is taken after this long without one, and after a second without writes,
    /// where there is something to record.
    pub checkpoint_interval_ms: i64,
    /// One is taken after so many bytes of large runs, too: they fill no journal, and a start after a
    /// kill looks at the header of each of their batches.
    pub checkpoint_bytes: u64,
    /// Whether a directory that holds no data is refused, where a new one would be made.
    pub must_exist: bool,
}

impl Default for StorageConfig {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            journal_file_bytes: 64 * MIB,
            journal_files: 4,
            max_round_bytes: 16 * MIB,
            direct_bytes: 256 * 1024,
            always_direct_bytes: 8 * MIB,
            write_behind_bytes: 128 * 1024,
            max_unwritten_bytes: 256 * MIB,
            own_segment_bytes: 16 * MIB,
            max_open_segments: 512,
            min_free_bytes: 64 * MIB,
            reserve_bytes: 16 * MIB,
            scrub_bytes_per_s: 8 * MIB,
            scrub_interval_ms: 24 * 60 * 60 * 1000,
            checkpoint_interval_ms: 30_000,
            checkpoint_bytes: 1024 * MIB,
            must_exist: false,
        }
    }
}
