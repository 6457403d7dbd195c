//! Fetches that read from disk or wait for records: tasks of their own beside the connection.

use std::sync::Arc;
use std::time::Duration;

use super::answer;
use super::clock;
use super::connection::shutting_down;
use super::room::{ConnectionRoom, Held, SHORT_FETCH_BYTES};
use super::shared::{Shared, TaskWake};
use crate::broker::{BrokerError, Fetch, FetchStep, Fetched, Wake};
use crate::protocol::{FetchHead, FetchRequest, WireError};
use crate::types::{Incarnation, Offset};

/// Most bytes in one answer, whatever was asked for; a single larger batch still comes whole.
const MAX_FETCH_BYTES: u32 = 8 << 20;

/// Longest that a fetch waits.
const MAX_WAIT_MS: u32 = 60_000;

/// The fetch of a request.
pub(super) fn fetch_of(request: &FetchRequest) -> Fetch {
    Fetch::new(
        request.channel.clone(),
        request.incarnation,
        answer::fetch_from(request.from),
        request.last_epoch,
        asked(request),
    )
}

/// Runs a fetch to what it finds now, on a thread that may wait for the disk.
pub(super) fn run_here(shared: &Shared, fetch: &mut Fetch) -> Result<Fetched, BrokerError> {
    loop {
        let step = shared.broker().fetch_step(fetch)?;
        match step {
            FetchStep::Done(fetched) => return Ok(fetched),
            FetchStep::Run(job) => {
                let end = job.run();
                shared.broker().feed_fetch(fetch, end)?;
            }
        }
    }
}

/// Runs a fetch to what it finds now; what memory does not hold is read by another thread.
pub(super) async fn run(shared: &Shared, fetch: &mut Fetch) -> Result<Fetched, BrokerError> {
    loop {
        let step = shared.broker().fetch_step(fetch)?;
        match step {
            FetchStep::Done(fetched) => return Ok(fetched),
            FetchStep::Run(job) => {
                let end = shared.on_disk(move || job.run()).await;
                shared.broker().feed_fetch(fetch, end)?;
            }
        }
    }
}

/// What memory holds, the page cache too, where that is enough and there is room for it; `None`
/// leaves it to [`find`].
pub(super) fn at_once(
    shared: &Shared,
    room: &ConnectionRoom,
    request: &FetchRequest,
    fetch: &mut Fetch,
) -> Result<Option<Answer>, BrokerError> {
    loop {
        let step = shared.broker().fetch_step(fetch)?;
        let end = match step {
            FetchStep::Done(fetched) if is_enough(request, &fetched) => {
                let held = room.try_hold(fetched.slices.bytes);
                return Ok(held.map(|held| (fetched, held)));
            }
            FetchStep::Done(_) => return Ok(None),
            FetchStep::Run(job) => job.run_warm(),
        };
        let Some(end) = end else {
            return Ok(None);
        };
        shared.broker().feed_fetch(fetch, end)?;
    }
}

/// What a fetch has found, with the room it takes until it is written.
pub(super) type Answer = (Fetched, Held);

fn asked(request: &FetchRequest) -> u64 {
    u64::from(request.max_bytes.min(MAX_FETCH_BYTES))
}

/// Whether an answer may go, or the fetch should wait for more.
fn is_enough(request: &FetchRequest, fetched: &Fetched) -> bool {
    request.max_wait_ms == 0
        || fetched.slices.bytes >= u64::from(request.min_bytes.max(1))
        || fetched.slices.next < fetched.head.high_watermark
}

/// The head of an answer.
pub(super) fn head(fetched: &Fetched) -> FetchHead {
    FetchHead {
        incarnation: fetched.head.incarnation,
        log_start: fetched.head.log_start,
        high_watermark: fetched.head.high_watermark,
        log_end: fetched.head.high_watermark,
        from_offset: fetched.head.from,
        log_epoch: fetched.head.log_epoch,
    }
}

/// Waits until there is enough and room for it, the time is over, or the server stops. Nothing that
/// was found is kept while it waits.
pub(super) async fn find(
    shared: &Shared,
    room: &ConnectionRoom,
    request: &FetchRequest,
    mut fetch: Fetch,
) -> Result<Answer, WireError> {
    let wait = Duration::from_millis(u64::from(request.max_wait_ms.min(MAX_WAIT_MS)));
    let deadline = tokio::time::Instant::from_std(clock::instant()) + wait;
    let mut is_over = false;
    // Room in the broker is short: a small answer has to do.
    let mut is_short = false;
    let mut held: Option<Held> = None;
    loop {
        let most = if is_short {
            SHORT_FETCH_BYTES
        } else {
            u64::MAX
        };
        let most = held.as_ref().map_or(most, |held| held.bytes().min(most));
        fetch.limit(asked(request).min(most));
        let fetched = run(shared, &mut fetch).await;
        let fetched = fetched.map_err(|error| answer::refused(&error))?;
        if !is_over && !is_enough(request, &fetched) {
            drop(held.take());
            let seen = (fetched.head.incarnation, fetched.head.high_watermark);
            drop(fetched);
            is_over = !wait_for_growth(shared, seen, deadline).await?;
            continue;
        }
        let bytes = fetched.slices.bytes;
        let enough = held.take().filter(|held| held.bytes() >= bytes);
        if let Some(held) = enough.or_else(|| room.try_hold(bytes)) {
            return Ok((fetched, held));
        }
        // It is read again when there is room.
        drop(fetched);
        if is_short {
            held = Some(room.hold_little(bytes).await?);
        } else {
            held = room.hold(bytes).await;
            is_short = held.is_none();
        }
    }
}

/// Waits until a log's high watermark is above the one seen; false when the time is over.
async fn wait_for_growth(
    shared: &Shared,
    (log, seen): (Incarnation, Offset),
    deadline: tokio::time::Instant,
) -> Result<bool, WireError> {
    let waiter = TaskWake::new();
    let as_wake: Arc<dyn Wake> = waiter.clone();
    shared.broker().wake_on_append(log, as_wake.clone());
    let _forget = Forget(shared, log, as_wake);
    // The log may have grown before the waiter was known.
    if high_watermark(shared, log) > seen {
        return Ok(true);
    }
    tokio::select! {
        () = waiter.0.notified() => Ok(true),
        () = tokio::time::sleep_until(deadline) => Ok(false),
        () = shared.stop.cancelled() => Err(shutting_down()),
    }
}

/// Takes a waiter back, also when the connection it waits for has ended.
struct Forget<'a>(&'a Shared, Incarnation, Arc<dyn Wake>);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.broker().forget_waiter(self.1, &self.2);
    }
}

fn high_watermark(shared: &Shared, log: Incarnation) -> Offset {
    let broker = shared.broker();
    broker
        .storage()
        .log(log)
        .map_or(Offset(u64::MAX), |log| log.high_watermark())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::broker::Broker;
    use crate::format::NewRecord;
    use crate::protocol::FetchFrom;
    use crate::server::desk::Desk;
    use crate::server::desk::tests::{publish_record, random};
    use crate::server::metrics::Metrics;
    use crate::server::options::ServeOptions;
    use crate::storage::disk::{Disk, FailingDisk, MemoryDisk, Operation};
    use crate::types::{ChannelName, LogEpoch};

    const ROOT: &str = "/data";

    /// A broker that has one batch in a segment, and nothing of it in its own memory.
    fn with_one_batch(disk: &Arc<dyn Disk>, channel: &ChannelName) -> Shared {
        let (root, options) = (Path::new(ROOT), ServeOptions::default);
        let desk = Desk::open(disk.clone(), root, options(), random()).unwrap();
        publish_record(&desk, channel, &NewRecord::default());
        assert!(desk.stop());
        let now = clock::now();
        let config = options().broker;
        let broker = Broker::open(disk.clone(), root, config, "a test", now, random());
        Shared::new(broker.unwrap(), options(), Metrics::new(), now)
    }

    fn all_of(channel: ChannelName) -> FetchRequest {
        FetchRequest {
            channel,
            incarnation: None,
            from: FetchFrom::Start,
            last_epoch: LogEpoch(0),
            max_bytes: 1 << 20,
            min_bytes: 1,
            max_wait_ms: 0,
        }
    }

    /// Who looks at a map dies where the medium has lost what is mapped.
    #[test]
    fn what_is_looked_at_is_not_mapped() {
        let disk = FailingDisk::new(Arc::new(MemoryDisk::new()));
        disk.create_dir(Path::new(ROOT)).unwrap();
        let channel = ChannelName::parse("events").unwrap();
        let of: Arc<dyn Disk> = Arc::new(disk.clone());
        let shared = with_one_batch(&of, &channel);
        let request = all_of(channel);
        let read = run_here(&shared, &mut fetch_of(&request)).unwrap();
        assert_eq!(read.slices.next, Offset(1));
        assert_eq!(disk.count(Operation::Map), 0, "its own topics among them");
        let mapped = run_here(&shared, &mut fetch_of(&request).for_socket()).unwrap();
        assert_eq!(mapped.slices.parts, read.slices.parts);
        assert_eq!(disk.count(Operation::Map), 1);
    }

    #[test]
    fn what_the_page_cache_has_is_fetched_at_once_and_the_rest_by_who_may_wait() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        disk.create_dir(Path::new(ROOT)).unwrap();
        let channel = ChannelName::parse("events").unwrap();
        let shared = with_one_batch(&disk, &channel);
        let room = shared.answer_room.of_connection(1 << 20);
        let request = all_of(channel);
        let mut fetch = fetch_of(&request).for_socket();
        let found = at_once(&shared, &room, &request, &mut fetch).unwrap();
        assert!(found.is_none(), "the segment is not open yet: {found:?}");
        let read = run_here(&shared, &mut fetch).unwrap();
        assert_eq!(read.slices.next, Offset(1));
        let mut again = fetch_of(&request).for_socket();
        let found = at_once(&shared, &room, &request, &mut again).unwrap();
        let (fetched, _held) = found.expect("all of it is in memory");
        assert_eq!(fetched.slices.parts, read.slices.parts);
        assert_eq!(fetched.head, read.head);
    }
}
