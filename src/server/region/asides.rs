//! What a region does with records that are not in a log's lineage: they are written to
//! `lost+found/`, recorded, and taken out of the log. Also: moves to this region that nobody carries
//! out are declined.

use std::io::IoSlice;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::digest::{batch_at, digest};
use super::moving::{durable, give_up, synced};
use super::requests::unreachable;
use super::runs::runs;
use super::{Regions, refold, stored};
use crate::broker::{Broker, BrokerError, Residence, Wake};
use crate::client::{Link, RequestError};
use crate::protocol::region::LinkDigest;
use crate::protocol::{RegionRequest, RegionResponse, WireError};
use crate::region::Tenure;
use crate::region::copies::{AsideReason, CopyEvent, SetAside};
use crate::region::homes::Verdict;
use crate::server::shared::{Shared, TaskWake};
use crate::server::{answer, clock};
use crate::storage::disk::{Disk, OpenMode};
use crate::storage::{ReadJob, While};
use crate::types::{ChannelName, Incarnation, Offset, RegionName};

/// What could not be done is tried again after this.
const AGAIN: Duration = Duration::from_secs(10);
/// How long all of a log may take to be synced.
const SYNCED: Duration = Duration::from_secs(60);
/// How often a cut under way is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long a digest of a log may take.
const DIGEST: Duration = Duration::from_secs(600);

impl Regions {
    /// Whether what is here of a log is known to belong to it, by the claims that are known now.
    pub fn is_settled(&self, broker: &Broker, id: Incarnation) -> bool {
        // What a region claims it has judged before.
        let home = broker.home_of(id);
        let is_home = home.is_some_and(|home| home.region == self.name);
        if is_home || !broker.was_moved(id) {
            return true;
        }
        let newest = broker.lineage_of(id).newest().map(|(tenure, _)| tenure);
        self.settled().get(&id).copied() == newest
    }

    /// Books a copy that is begun now: it has nothing that does not come from its home.
    pub fn settle_new(&self, broker: &Broker, id: Incarnation) {
        if let Some((tenure, _)) = broker.lineage_of(id).newest() {
            self.settled().insert(id, tenure);
        }
    }
}

/// Looks at every log whose home was moved, until the server stops.
pub(super) async fn run(shared: Arc<Shared>, regions: Arc<Regions>) {
    let mut changes = regions.homes_changes();
    loop {
        let is_done = look(&shared, &regions).await;
        let again = async {
            match is_done {
                true => std::future::pending().await,
                false => sleep(AGAIN).await,
            }
        };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = again => {}
        }
    }
}

/// Whether nothing is left to do until something changes.
async fn look(shared: &Arc<Shared>, regions: &Regions) -> bool {
    let moved = shared.broker().moved_logs();
    let mut is_done = true;
    let mut has_settled = false;
    for log in moved {
        let (name, id) = (&log.name, log.incarnation);
        let is_idle = !regions.moves().contains(&id);
        if is_idle && shared.broker().fence_for_me(id).is_some() {
            is_done &= give_up(shared, name, id).await.is_ok();
        }
        let is_settled = regions.is_settled(&shared.broker(), id);
        if is_settled && regions.diverged().contains(&id) {
            let compared = diverge(shared, regions, name, id, &log.home.region).await;
            is_done &= compared.is_ok();
            if let Err(error) = compared {
                tracing::warn!(channel = %name, %error, "a copy is not compared with its home yet");
            }
        }
        if is_settled {
            continue;
        }
        match settle(shared, regions, name, id).await {
            Ok(settled) => has_settled |= settled,
            Err(error) => {
                tracing::error!(channel = %name, %error, "what is here of a moved log is not settled");
                regions.copy_state(id, |state| state.error = Some(error.to_string()));
                is_done = false;
            }
        }
    }
    if has_settled {
        // Others are offered it again, and their lists have to say so.
        regions.tell_homes();
    }
    is_done
}

/// Compares what is here of a log with its lineage, and sets aside what is not of it; false where
/// that can't be judged yet.
async fn settle(
    shared: &Arc<Shared>,
    regions: &Regions,
    name: &ChannelName,
    id: Incarnation,
) -> Result<bool, WireError> {
    let newest = |broker: &Broker| broker.lineage_of(id).newest().map(|(tenure, _)| tenure);
    let tenure = newest(&shared.broker());
    let Some(tenure) = tenure else {
        return Ok(true);
    };
    if matches!(shared.broker().residence(name), Residence::Home(_)) {
        // It was judged before this region has taken it.
        regions.settled().insert(id, tenure);
        return Ok(true);
    }
    regions.held.moved(id);
    // What is on its way from the home before would only be set aside too.
    shared.broker().hold_copy(id);
    let settled = judge(shared, name, id, tenure).await;
    shared.broker().release_copy(id);
    if matches!(settled, Ok(true)) {
        regions.settled().insert(id, tenure);
        regions.copy_state(id, |state| state.error = None);
    }
    settled
}

async fn judge(
    shared: &Arc<Shared>,
    name: &ChannelName,
    id: Incarnation,
    tenure: Tenure,
) -> Result<bool, WireError> {
    let error = |error: BrokerError| answer::refused(&error);
    let end = synced(shared, id, SYNCED).await.map_err(error)?;
    let runs = runs(shared, name, id, end).await.map_err(error)?;
    let lineage = shared.broker().lineage_of(id);
    if lineage.newest().map(|(newest, _)| newest) != Some(tenure) {
        return Ok(false); // Somebody has claimed it meanwhile: it is looked at again.
    }
    let from = match lineage.judge(&runs) {
        Verdict::Belongs => return Ok(true),
        Verdict::Unknown => return Ok(false),
        Verdict::Cut(from) => from,
    };
    // Where a home was restored from a backup, a batch of its own may lie across that offset.
    let first = batch_at(shared, name, id, from).await.map_err(error)?;
    let from = first.map_or(from, |first| first.base.min(from));
    set_aside(shared, name, id, from..end, AsideReason::Overtaken).await?;
    Ok(true)
}

/// Writes what a log has of some offsets on to a file, records that, and takes it out of the log.
async fn set_aside(
    shared: &Arc<Shared>,
    name: &ChannelName,
    id: Incarnation,
    range: Range<Offset>,
    reason: AsideReason,
) -> Result<(), WireError> {
    let error = |error: BrokerError| answer::refused(&error);
    let (from, end) = (range.start, range.end);
    let place = {
        let shared = shared.clone();
        let name = name.clone();
        let work = move || write_aside(&shared, &name, id, from..end);
        let disk = tokio::task::spawn_blocking(work).await;
        let written = disk.unwrap_or_else(|_| Err(BrokerError::Bug("a panic".into())));
        written.map_err(error)?
    };
    let aside = SetAside {
        incarnation: id,
        reason,
        from,
        end,
        place: place.clone(),
        at: clock::now(),
        republished: Vec::new(),
        refused: None,
    };
    record(shared, aside).await?;
    tracing::error!(
        channel = %name, %from, %end, %place,
        "another region has taken the log over: what it does not have of this one is set aside"
    );
    take_out(shared, name, id, from).await?;
    match &shared.regions {
        Some(regions) => refold::after_cut(shared, regions, name, id).await,
        None => Ok(()),
    }
}

/// Sets aside what a home that was overtaken by force, or a copy of it, has otherwise than the home
/// now: who forced the move has said who is right.
async fn diverge(
    shared: &Arc<Shared>,
    regions: &Regions,
    name: &ChannelName,
    id: Incarnation,
    home: &RegionName,
) -> Result<(), WireError> {
    let error = |error: BrokerError| answer::refused(&error);
    let link = regions.peer(home).and_then(|peer| peer.link());
    let link = link.ok_or_else(|| unreachable(home))?;
    shared.broker().hold_copy(id);
    let done = async {
        let end = synced(shared, id, SYNCED).await.map_err(error)?;
        let Some(from) = first_other(shared, &link, home, name, id, end).await? else {
            return Ok(());
        };
        set_aside(shared, name, id, from..end, AsideReason::Diverged).await
    };
    let done = done.await;
    shared.broker().release_copy(id);
    if done.is_ok() {
        regions.diverged().remove(&id);
        regions.want_retry(id);
    }
    done
}

/// Where the first batch begins that the home has otherwise, or not at all.
async fn first_other(
    shared: &Arc<Shared>,
    link: &Link,
    home: &RegionName,
    name: &ChannelName,
    id: Incarnation,
    end: Offset,
) -> Result<Option<Offset>, WireError> {
    let error = |error: BrokerError| answer::refused(&error);
    let there = async |range: Range<Offset>| {
        let request = RegionRequest::LinkDigest(LinkDigest {
            name: name.clone(),
            incarnation: id,
            from: range.start,
            to: range.end,
        });
        match link.ask(request, DIGEST).await {
            Ok(RegionResponse::LinkDigest(digest)) => Ok(digest),
            Err(RequestError::Server(error)) => Err(*error),
            _ => Err(unreachable(home)),
        }
    };
    let log_start = shared.broker().storage().log(id).map(|log| log.log_start());
    let all = log_start.unwrap_or(end)..end;
    // What retention has removed there can't be compared.
    let start = there(all.clone()).await?.from.max(all.start);
    let is_same = async |to: Offset| {
        let here = digest(shared, name, id, start..to).await.map_err(error)?;
        Ok::<bool, WireError>(here == there(start..to).await?)
    };
    if start >= end || is_same(end).await? {
        return Ok(None);
    }
    // Up to `same` all is as there, up to `other` it is not.
    let (mut same, mut other) = (start, end);
    while other.0 - same.0 > 1 {
        let middle = Offset(same.0.midpoint(other.0));
        match is_same(middle).await? {
            true => same = middle,
            false => other = middle,
        }
    }
    let first = batch_at(shared, name, id, same).await.map_err(error)?;
    Ok(first.map(|first| first.base))
}

/// Records what was set aside, once.
async fn record(shared: &Arc<Shared>, aside: SetAside) -> Result<(), WireError> {
    let recorded = {
        let mut broker = shared.broker();
        let is_it = |known: &SetAside| {
            (known.incarnation, known.from, known.end, &known.place)
                == (aside.incarnation, aside.from, aside.end, &aside.place)
        };
        if broker.kept_copies().aside().iter().any(is_it) {
            return Ok(());
        }
        broker.record_copy(CopyEvent::SetAside(aside), clock::now())
    };
    let recorded = recorded.map_err(|refusal| answer::refused(&refusal.error))?;
    durable(shared, recorded.wait).await
}

/// Takes out of the log what lies elsewhere by now.
async fn take_out(
    shared: &Arc<Shared>,
    name: &ChannelName,
    id: Incarnation,
    from: Offset,
) -> Result<(), WireError> {
    let refused = |error: &dyn std::fmt::Display| {
        answer::refused(&BrokerError::Bug(error.to_string().into()))
    };
    let begun = {
        let mut broker = shared.broker();
        match broker.stays(id, from) {
            true => broker.begin_cut(id, from),
            false => {
                let dropped = broker.drop_copy(name, id, clock::now());
                return dropped.map_err(|refusal| answer::refused(&refusal.error));
            }
        }
    };
    begun.map_err(|error| refused(&error))?;
    loop {
        shared.wake_committer();
        shared.wake_keeper();
        let waiter = TaskWake::new();
        {
            let mut broker = shared.broker();
            if let Some(ended) = broker.take_cut(id) {
                return ended.map_err(|error| refused(&error));
            }
            broker.wake_after_round(waiter.clone() as Arc<dyn Wake>);
        }
        tokio::select! {
            _ = timeout(LOOK, waiter.0.notified()) => {}
            () = shared.stop.cancelled() => return Err(crate::server::connection::shutting_down()),
        }
    }
}

/// Writes stored batches to a file in `lost+found/`, synced; gives its place in the data directory.
/// The same records are written to the same file again.
fn write_aside(
    shared: &Shared,
    name: &ChannelName,
    id: Incarnation,
    range: Range<Offset>,
) -> Result<String, BrokerError> {
    let (disk, dir, log_start) = {
        let broker = shared.broker();
        let (disk, dir, _) = broker.aside();
        let log_start = broker.storage().log(id).map(|log| log.log_start());
        (disk, dir, log_start.unwrap_or(range.start))
    };
    let from = range.start.max(log_start);
    let flat = name.as_str().replace('/', "-");
    let mut number = 1;
    loop {
        let suffix = match number {
            1 => String::new(),
            number => format!("-{number}"),
        };
        let file = format!("{flat}-{id}-{from}{suffix}.batches");
        let path = dir.join(&file);
        let is_there = disk.exists(&path).or_while("looking for", &path)?;
        let new = dir.join(format!("{file}.new"));
        write_batches(shared, &*disk, &new, id, from..range.end)?;
        if !is_there || is_same(&*disk, &path, &new)? {
            write_keys(shared, &*disk, &dir, &file, id)?;
            disk.rename(&new, &path).or_while("renaming", &new)?;
            disk.sync_dir(&dir).or_while("syncing", &dir)?;
            return Ok(format!("lost+found/{file}"));
        }
        disk.remove_file(&new).or_while("removing", &new)?;
        number += 1;
    }
}

/// Writes the keys of a log beside what is set aside of it: retention, or the end of its copy, lets
/// them go there. They are wrapped with the master key, as in the log's own record.
pub(super) fn write_keys(
    shared: &Shared,
    disk: &dyn Disk,
    dir: &Path,
    file: &str,
    id: Incarnation,
) -> Result<(), BrokerError> {
    let Some(keys) = shared.broker().keys_aside(id) else {
        return Ok(());
    };
    let path = keys_of(dir, file);
    let new = dir.join(format!("{file}.keys.new"));
    let written = disk
        .open(&new, OpenMode::Create)
        .or_while("creating", &new)?;
    written.set_len(0).or_while("cutting", &new)?;
    let done = written.write_at(0, &[IoSlice::new(&keys)]);
    done.or_while("writing", &new)?;
    written.sync_data().or_while("syncing", &new)?;
    Ok(disk.rename(&new, &path).or_while("renaming", &new)?)
}

/// Where the keys of a file of batches lie.
pub(super) fn keys_of(dir: &Path, file: &str) -> PathBuf {
    dir.join(format!("{file}.keys"))
}

fn write_batches(
    shared: &Shared,
    disk: &dyn Disk,
    path: &Path,
    id: Incarnation,
    range: Range<Offset>,
) -> Result<(), BrokerError> {
    let file = disk
        .open(path, OpenMode::Create)
        .or_while("creating", path)?;
    file.set_len(0).or_while("cutting", path)?;
    let mut position = 0;
    stored::each_part(shared, id, range, ReadJob::run_copied, |part| {
        let written = file.write_at(position, &[IoSlice::new(&part)]);
        written.or_while("writing", path)?;
        position += part.len() as u64;
        Ok(())
    })?;
    Ok(file.sync_data().or_while("syncing", path)?)
}

/// Whether two files hold the same.
fn is_same(disk: &dyn Disk, one: &Path, other: &Path) -> Result<bool, BrokerError> {
    let one = disk.open(one, OpenMode::Read).or_while("opening", one)?;
    let path = other;
    let other = disk
        .open(other, OpenMode::Read)
        .or_while("opening", other)?;
    let len = one.len().or_while("reading the length of", path)?;
    if len != other.len().or_while("reading the length of", path)? {
        return Ok(false);
    }
    let mut at = 0;
    let mut buffers = [vec![0; 1 << 16], vec![0; 1 << 16]];
    while at < len {
        let [left, right] = &mut buffers;
        let read = one.read_at(at, left).or_while("reading", path)?;
        let found = other.read_at(at, right).or_while("reading", path)?;
        if read == 0 || read != found || left[..read] != right[..found] {
            return Ok(false);
        }
        at += read as u64;
    }
    Ok(true)
}
