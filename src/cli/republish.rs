//! `npayload region republish`: what a region has set aside, published again.

use clap::Args;

use super::failure::Failure;
use super::output;
use super::{Context, own_channel};
use crate::client::{Republish, RepublishDone, RepublishError};
use crate::types::ChannelName;

/// What to publish again.
#[derive(Clone, Debug, Args)]
pub struct RepublishArgs {
    /// The file, as `region status` names it: its place in the region's data directory
    file: String,
    /// The channel to publish to; the one whose log it was taken from unless given
    #[arg(long, value_name = "CHANNEL", value_parser = own_channel)]
    to: Option<ChannelName>,
    /// Publish nothing, and say what would be
    #[arg(long)]
    dry_run: bool,
}

/// Carries the command out.
///
/// # Errors
/// When the broker refuses or is not there, and when the file can't be read.
pub async fn run(args: RepublishArgs, context: &Context) -> Result<(), Failure> {
    let what = format!("publishing `{}` again", args.file);
    let client = context.client().await?;
    let republish = Republish {
        file: name_of(&args.file).to_owned(),
        to: args.to.clone(),
        dry_run: args.dry_run,
    };
    let is_told = !context.json;
    let progress = |done: u64, all: u64| {
        if is_told && done < all {
            eprintln!("{} of {}", output::count(done), records(all));
        }
    };
    let done = client.republish(&republish, progress).await;
    let done = done.map_err(|error| failure(&what, &args, &error))?;
    if context.json {
        return output::print_json(&done);
    }
    output::print(&text(&done))
}

/// The name of a file in `lost+found`, however it was named.
fn name_of(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

fn records(number: u64) -> String {
    output::counted(number, "record")
}

fn text(done: &RepublishDone) -> String {
    let (from, end, to) = (done.from, done.end, &done.to);
    let channel = done.channel.as_ref().map(ToString::to_string);
    let channel = channel.unwrap_or_else(|| "an unknown channel".to_owned());
    let mut lines = vec![format!(
        "{}: {} that were offsets {from}..{end} of {channel}",
        done.file,
        records(done.records)
    )];
    if done.gaps > 0 {
        lines.push(format!(
            "{} in it says that records were lost before",
            output::counted(done.gaps, "gap")
        ));
    }
    if done.already_there > 0 {
        lines.push(format!(
            "{} in {to} from a run before",
            records(done.already_there)
        ));
    }
    lines.push(match (done.dry_run, done.first_offset, done.last_offset) {
        (true, ..) => {
            let left = done.records - done.already_there;
            format!("{} would be published to {to}", records(left))
        }
        (false, Some(first), Some(last)) => format!(
            "{} published to {to}, offsets {first} to {last}",
            records(done.published)
        ),
        _ => format!("nothing is left to publish to {to}"),
    });
    lines.join("\n")
}

fn failure(what: &str, args: &RepublishArgs, error: &RepublishError) -> Failure {
    let channel = args.to.as_ref().map(ChannelName::as_str);
    match error {
        RepublishError::Request(error) => Failure::request(what, error, channel),
        RepublishError::NoChannel { .. } => {
            Failure::new(what, error).hint("name one with --to CHANNEL")
        }
        RepublishError::Forgotten { records, .. } => Failure::new(what, error).hint(format!(
            "read the channel, and the file with `npayload-inspect dump --records` from record \
             {records} on"
        )),
        error => Failure::new(what, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_name_however_it_is_named() {
        for text in [
            "a.batches",
            "lost+found/a.batches",
            "/data/lost+found/a.batches",
        ] {
            assert_eq!(name_of(text), "a.batches");
        }
    }
}
