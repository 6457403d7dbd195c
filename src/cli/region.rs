//! `npayload region`: this region, its links and its copies.

use clap::Subcommand;

use super::failure::Failure;
use super::output::{self, Columns};
use super::{Context, own_channel};
use crate::protocol::region::{CopyStatus, LinkState, RegionTold};
use crate::types::ChannelName;

/// What to tell of regions.
#[derive(Clone, Debug, Subcommand)]
pub enum RegionCommand {
    /// List the regions that this one is told of
    #[command(alias = "ls")]
    List,
    /// Tell how links and copies are
    Status,
    /// Remove a copy that nobody wants any more, with all that is in it
    Purge {
        /// The channel
        #[arg(value_parser = own_channel)]
        channel: ChannelName,
        /// Do it
        #[arg(long, required = true)]
        yes: bool,
    },
    /// Compare a copy with its home, range by range
    #[command(after_help = "Example:
  npayload region verify ml.models --json | jq .equal")]
    Verify {
        /// The channel
        #[arg(value_parser = own_channel)]
        channel: ChannelName,
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
            table.print("there is none")
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
        RegionCommand::Verify { channel } => {
            let what = format!("comparing the copy of `{channel}` with its home");
            let verified = context.client().await?.verify_copy(&channel).await;
            let name = Some(channel.as_str());
            let verified = verified.map_err(|error| Failure::request(&what, &error, name))?;
            if context.json {
                output::print_json(&verified)?;
            }
            if let Some((from, to)) = verified.differs {
                let why = format!("offsets {from}..{to} are not those of `{}`", verified.home);
                return Err(Failure::because(what, why));
            }
            if context.json {
                return Ok(());
            }
            let batches = output::counted(verified.batches, "batch");
            output::print(&format!(
                "{channel}: offsets {}..{} are those of {} ({batches})",
                verified.from, verified.to, verified.home
            ))
        }
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
    held.print("nobody pulls from here")
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
