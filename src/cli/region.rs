//! `npayload region`: this region, its links and its copies.

use clap::Subcommand;

use super::failure::Failure;
use super::output::{self, Columns};
use super::{Context, any_channel, own_channel};
use crate::protocol::region::{
    CopyStatus, LinkState, MissingRange, OutboxRefused, RegionPeer, RegionTold, WiderStatus,
};
use crate::region::copies::RefusedRecords;
use crate::server::PeerOptions;
use crate::types::{ChannelName, RegionName};

/// What to tell of regions.
#[derive(Clone, Debug, Subcommand)]
pub enum RegionCommand {
    /// List the regions that this one is told of
    #[command(alias = "ls")]
    List,
    /// Tell how links and copies are
    Status,
    /// Move the home of a channel, or the directory of all regions, to another region
    #[command(after_help = "Examples:
  npayload region move ml.models --to eu-west
  npayload region move --directory --to eu-west")]
    Move {
        /// The channel
        #[arg(value_parser = own_channel, required_unless_present = "directory")]
        channel: Option<ChannelName>,
        /// The directory of all regions, instead of a channel
        #[arg(long, conflicts_with = "channel")]
        directory: bool,
        /// Who becomes home
        #[arg(long, value_parser = RegionName::parse, value_name = "REGION")]
        to: RegionName,
        /// Without the home that it has, which is gone: what may be lost with it is named
        #[arg(long)]
        force: bool,
    },
    /// Follow a copy again that was stopped
    Retry {
        /// The channel
        #[arg(value_parser = any_channel)]
        channel: ChannelName,
    },
    /// Take what a forced move may have lost off the list, once it was seen to; the record stays
    #[command(after_help = "Example:
  npayload region acknowledge ml.models")]
    Acknowledge {
        /// The channel
        #[arg(value_parser = own_channel)]
        channel: ChannelName,
    },
    /// Publish again what this region has set aside
    #[command(after_help = "Examples:
  npayload region republish lost+found/orders-0192f0c1-2.batches --dry-run
  npayload region republish lost+found/orders-0192f0c1-2.batches --to orders.late

Each record is published once, however often this is tried.")]
    Republish(super::republish::RepublishArgs),
    /// Take a region out of the directory that is home of nothing any more; without a name, the one
    /// that is asked, which goes on without peers
    #[command(after_help = "Examples:
  npayload region leave
  npayload region leave eu-west       a region that is gone for good")]
    Leave {
        /// The region
        #[arg(value_parser = super::serve::region_name)]
        region: Option<RegionName>,
    },
    /// Take the name of a channel out of the directory, whose region is gone for good: the name is
    /// anybody's then. Asked of the home of the directory
    #[command(after_help = "Example:
  npayload region unname ml.models --yes")]
    Unname {
        /// The channel
        #[arg(value_parser = any_channel)]
        channel: ChannelName,
        /// Do it
        #[arg(long, required = true)]
        yes: bool,
    },
    /// Add a peer, or remove one, while the region runs; a restart knows it
    #[command(subcommand)]
    Peer(PeerCommand),
    /// Remove a copy that nobody wants any more, with all that is in it
    Purge {
        /// The channel
        #[arg(value_parser = any_channel)]
        channel: ChannelName,
        /// Do it
        #[arg(long, required = true)]
        yes: bool,
    },
    /// Compare a copy with its home, range by range; asked of the home, all copies of the channel
    #[command(after_help = "Example:
  npayload region verify ml.models --json | jq .equal")]
    Verify {
        /// The channel
        #[arg(value_parser = any_channel)]
        channel: ChannelName,
    },
}

/// What to do with peers.
#[derive(Clone, Debug, Subcommand)]
pub enum PeerCommand {
    /// Add a peer, or give it another address
    #[command(after_help = "Example:
  npayload region peer add us-east=npayload+tls://us-east.example:7400")]
    Add {
        /// Its name and address
        #[arg(value_name = "NAME=URL", value_parser = super::serve::peer)]
        peer: PeerOptions,
    },
    /// Remove a peer; copies of its channels stay, and get nothing more
    #[command(alias = "rm")]
    Remove {
        /// Its name
        #[arg(value_parser = super::serve::region_name)]
        name: RegionName,
    },
}

/// Carries the command out.
///
/// # Errors
/// When the broker refuses or is not there, and when a copy is not its home.
pub async fn run(command: RegionCommand, context: &Context) -> Result<(), Failure> {
    match command {
        RegionCommand::List => {
            let regions = context.client().await?.regions().await;
            let what = "listing regions";
            let regions = regions.map_err(|error| Failure::request(what, &error, None))?;
            if context.json {
                return output::print_json(&regions);
            }
            let mut table = Columns::new(&["REGION", "ADDRESS", "LINK"]);
            table.row([regions.region.to_string(), String::new(), "this one".into()]);
            for peer in &regions.peers {
                let link = state(peer.state).to_owned();
                table.row([peer.name.to_string(), peer.url.clone(), link]);
            }
            table.print("there is none")?;
            match &regions.directory {
                Some(home) => output::print(&format!("channels are named by {home}")),
                None => Ok(()),
            }
        }
        RegionCommand::Peer(command) => {
            let (peer, done) = match command {
                PeerCommand::Add { peer } => {
                    let (name, url) = (peer.name, Some(peer.url));
                    (RegionPeer { name, url }, "is a peer")
                }
                PeerCommand::Remove { name } => {
                    (RegionPeer { name, url: None }, "is no peer any more")
                }
            };
            let name = peer.name.clone();
            let regions = context.client().await?.set_peer(peer).await;
            let what = "changing a peer";
            let regions = regions.map_err(|error| Failure::request(what, &error, None))?;
            if context.json {
                return output::print_json(&regions);
            }
            output::print(&format!("{name} {done}"))
        }
        RegionCommand::Status => {
            let told = context.client().await?.region_status().await;
            let what = "asking how regions are";
            let told = told.map_err(|error| Failure::request(what, &error, None))?;
            if context.json {
                return output::print_json(&told);
            }
            status(&told)
        }
        RegionCommand::Leave { region } => {
            let left = context.client().await?.leave_directory(region).await;
            let what = "leaving the directory of all regions";
            let left = left.map_err(|error| Failure::request(what, &error, None))?;
            if context.json {
                return output::print_json(&left);
            }
            output::print(&format!("{} has left the directory", left.region))
        }
        RegionCommand::Move {
            channel, to, force, ..
        } => {
            let subject = match &channel {
                Some(channel) => format!("the home of `{channel}`"),
                None => "the directory of all regions".to_owned(),
            };
            let what = format!("moving {subject} to `{to}`");
            let client = context.client().await?;
            let moved = match &channel {
                Some(channel) => client.move_home(channel, to, force).await,
                None => client.move_directory(to, force).await,
            };
            let name = channel.as_ref().map(ChannelName::as_str);
            let moved = moved.map_err(|error| Failure::request(what, &error, name))?;
            if context.json {
                return output::print_json(&moved);
            }
            let home = format!(
                "{} lives in {} from offset {} on (term {})",
                moved.name, moved.home, moved.start, moved.term
            );
            output::print(&home)?;
            match moved.missing {
                Some(missing) if missing.to != Some(missing.from) => {
                    output::print(&format!("what may be lost: {}", range(missing)))
                }
                _ => Ok(()),
            }
        }
        RegionCommand::Retry { channel } => {
            let what = format!("following the copy of `{channel}` again");
            let retried = context.client().await?.retry_copy(&channel).await;
            let name = Some(channel.as_str());
            let retried = retried.map_err(|error| Failure::request(what, &error, name))?;
            if context.json {
                return output::print_json(&retried);
            }
            output::print(&format!("the copy of {channel} is followed again"))
        }
        RegionCommand::Unname { channel, yes: _ } => {
            let what = format!("taking the name of `{channel}` out of the directory");
            let told = context.client().await?.unname(&channel).await;
            let name = Some(channel.as_str());
            let told = told.map_err(|error| Failure::request(what, &error, name))?;
            if context.json {
                return output::print_json(&told);
            }
            output::print(&format!(
                "{}, which lived in {}, has no name any more",
                told.channel, told.region
            ))
        }
        RegionCommand::Acknowledge { channel } => {
            let what = format!("acknowledging what may be lost of `{channel}`");
            let told = context.client().await?.acknowledge_missing(&channel).await;
            let name = Some(channel.as_str());
            let told = told.map_err(|error| Failure::request(what, &error, name))?;
            if context.json {
                return output::print_json(&told);
            }
            if told.acknowledged.is_empty() {
                return output::print(&format!("nothing of {channel} is on the list"));
            }
            for one in &told.acknowledged {
                let missing = MissingRange {
                    from: one.from,
                    to: one.to,
                };
                let what = range(missing);
                let (by, term) = (&one.by, one.term);
                output::print(&format!(
                    "{channel}, taken over by {by} (term {term}): {what} is off the list"
                ))?;
            }
            Ok(())
        }
        RegionCommand::Republish(args) => super::republish::run(args, context).await,
        RegionCommand::Purge { channel, .. } => {
            let what = format!("removing the copy of `{channel}`");
            let purged = context.client().await?.purge_copy(&channel).await;
            let name = Some(channel.as_str());
            let purged = purged.map_err(|error| Failure::request(what, &error, name))?;
            if context.json {
                return output::print_json(&purged);
            }
            output::print(&format!("the copy of {channel} is removed"))
        }
        RegionCommand::Verify { channel } => super::region_verify::run(&channel, context).await,
    }
}

fn state(state: LinkState) -> &'static str {
    match state {
        LinkState::Dialling => "dialling",
        LinkState::Open => "open",
        LinkState::Waiting => "waiting",
        LinkState::Refused => "refused",
    }
}

fn status(told: &RegionTold) -> Result<(), Failure> {
    output::print(&format!(
        "region {}, {} sent to others",
        told.region,
        output::bytes(told.sent_bytes)
    ))?;
    let mut links = Columns::new(&["PEER", "LINK", "SINCE", ">RECEIVED", "ERROR"]);
    for link in &told.links {
        links.row([
            link.peer.to_string(),
            state(link.state).to_owned(),
            output::time(link.since),
            output::bytes(link.bytes),
            link.error.clone().unwrap_or_default(),
        ]);
    }
    links.print("no peers")?;
    let mut copies = Columns::new(&["COPY", "HOME", ">NEXT", ">BEHIND", "STATE"]);
    for copy in &told.copies {
        copies.row([
            copy.name.to_string(),
            copy.home.to_string(),
            copy.next.to_string(),
            behind(copy),
            match &copy.error {
                Some(error) => error.clone(),
                None if copy.followed => from(copy),
                None => "not followed".to_owned(),
            },
        ]);
    }
    copies.print("no copies")?;
    let mut held = Columns::new(&["CHANNEL", ">SYNCED", "HELD BY", ">UP TO"]);
    for log in &told.held {
        for by in &log.regions {
            held.row([
                log.name.to_string(),
                log.flushed.to_string(),
                by.region.to_string(),
                by.offset.to_string(),
            ]);
        }
    }
    held.print("nobody pulls from here")?;
    if !told.logs.is_empty() {
        let mut logs = Columns::new(&["LOG OF EACH REGION", "HOME", ">LOG START", ">LOG END"]);
        for log in &told.logs {
            logs.row([
                log.name.to_string(),
                log.home.to_string(),
                log.log_start.to_string(),
                log.high_watermark.to_string(),
            ]);
        }
        logs.print("no logs")?;
    }
    if !told.outboxes.is_empty() {
        let mut outboxes = Columns::new(&[
            "OUTBOX", "HOME", ">RECORDS", ">BYTES", "OLDEST", "ERROR", "REFUSED",
        ]);
        for outbox in &told.outboxes {
            let home = outbox.home.as_ref().map(ToString::to_string);
            outboxes.row([
                outbox.channel.to_string(),
                home.unwrap_or_default(),
                outbox.records.to_string(),
                output::bytes(outbox.bytes),
                outbox.oldest_ms.map(output::duration).unwrap_or_default(),
                outbox.error.clone().unwrap_or_default(),
                outbox.refused.as_ref().map(refused).unwrap_or_default(),
            ]);
        }
        outboxes.print("nothing waits")?;
    }
    if !told.moved.is_empty() {
        let mut moved = Columns::new(&["MOVED", "HOME", ">TERM", ">EPOCH", "MOVING TO", "MISSING"]);
        for log in &told.moved {
            let missing: Vec<String> = log.missing.iter().map(|one| range(*one)).collect();
            moved.row([
                log.name.to_string(),
                log.home.to_string(),
                log.term.to_string(),
                log.epoch.clone(),
                log.moving
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                missing.join(" "),
            ]);
        }
        moved.print("")?;
    }
    if !told.aside.is_empty() {
        let names = [
            "SET ASIDE",
            ">FROM",
            ">TO",
            "WHEN",
            "REFUSED",
            "PUBLISHED AGAIN",
        ];
        let mut aside = Columns::new(&names);
        for one in &told.aside {
            let (from, end) = (one.from.to_string(), one.end.to_string());
            let again = one.republished.iter().map(|again| match again.done {
                true => format!("in {}", again.to),
                false => format!("{} records in {}", again.records, again.to),
            });
            let again: Vec<String> = again.collect();
            aside.row([
                one.place.clone(),
                from,
                end,
                output::time(one.at),
                one.refused.as_ref().map(why).unwrap_or_default(),
                again.join(", "),
            ]);
        }
        aside.print("")?;
    }
    for copy in &told.copies {
        if let Some(wider) = &copy.wider {
            output::print(&narrow(&copy.name, wider))?;
        }
    }
    for name in &told.disputed {
        output::print(&format!(
            "channel {} lives here, and another one of the name in {}: neither is copied to the other",
            name.channel, name.named_in
        ))?;
    }
    Ok(())
}

/// How much of an outbox its home has refused, and why the last of it.
fn refused(refused: &OutboxRefused) -> String {
    format!("{} records set aside: {}", refused.records, refused.code)
}

fn why(refused: &RefusedRecords) -> String {
    format!("{} records: {}", refused.records, refused.code)
}

fn range(missing: MissingRange) -> String {
    match missing.to {
        Some(to) => format!("{}..{to}", missing.from),
        None => format!("from {} on, nobody knows how much", missing.from),
    }
}

/// Why a copy has less than is wanted of it.
fn narrow(name: &ChannelName, wider: &WiderStatus) -> String {
    let again = wider.again_ms.map_or(String::new(), |ms| {
        format!("; tried again in {}", output::duration(ms))
    });
    format!(
        "more is wanted of {name} than its copy has ({} tries were given up): {}{again}",
        wider.times, wider.error
    )
}

/// How a copy is followed.
fn from(copy: &CopyStatus) -> String {
    let types = copy.types.as_ref().map_or(String::new(), |types| {
        let types: Vec<&str> = types.iter().map(String::as_str).collect();
        format!(", of {} only", types.join(", "))
    });
    match copy.source.as_ref().filter(|source| **source != copy.home) {
        Some(source) => format!("followed from {source}{types}"),
        None => format!("followed{types}"),
    }
}

fn behind(copy: &CopyStatus) -> String {
    match (copy.lag_records, copy.lag_ms) {
        (Some(0), _) => "0".to_owned(),
        (Some(records), Some(ms)) => format!("{records} ({})", output::duration(ms)),
        (Some(records), None) => records.to_string(),
        (None, _) => "unknown".to_owned(),
    }
}
