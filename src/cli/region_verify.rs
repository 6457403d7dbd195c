//! `npayload region verify`: what the comparison of a copy with its home has shown, or of all copies where
//! the home was asked.

use super::failure::Failure;
use super::{Context, output};
use crate::protocol::region::{Verified, VerifiedCopy};
use crate::types::ChannelName;

/// Asks for the comparison and prints it; what differs, or was not compared, is a failure.
pub(super) async fn run(channel: &ChannelName, context: &Context) -> Result<(), Failure> {
    let what = format!("comparing the copy of `{channel}` with its home");
    let verified = context.client().await?.verify_copy(channel).await;
    let name = Some(channel.as_str());
    let verified = verified.map_err(|error| Failure::request(&what, &error, name))?;
    if context.json {
        output::print_json(&verified)?;
    } else {
        for line in told(&verified) {
            output::print(&line)?;
        }
    }
    match wrong(&verified) {
        Some(why) => Err(Failure::because(what, why)),
        None => Ok(()),
    }
}

/// What was compared and is the same.
fn told(verified: &Verified) -> Vec<String> {
    let Verified { name, home, .. } = verified;
    let Some(copies) = &verified.copies else {
        if verified.differs.is_some() {
            return Vec::new();
        }
        let batches = output::counted(verified.batches, "batch");
        return vec![format!(
            "{name}: offsets {}..{} are those of {home} ({batches})",
            verified.from, verified.to
        )];
    };
    if copies.is_empty() {
        return vec![format!(
            "{name}: {home} is its home, and no other region in reach has a copy: nothing was compared"
        )];
    }
    let same = copies.iter().filter(|copy| failed(copy).is_none());
    same.map(|copy| {
        let (from, to, region) = (copy.from, copy.to, &copy.region);
        let batches = output::counted(copy.batches, "batch");
        format!("{name}: offsets {from}..{to} of the copy in {region} are those of {home}, its home ({batches})")
    })
    .collect()
}

/// Why a comparison has failed.
fn wrong(verified: &Verified) -> Option<String> {
    let Some(copies) = &verified.copies else {
        let (from, to) = verified.differs?;
        return Some(format!(
            "offsets {from}..{to} are not those of `{}`",
            verified.home
        ));
    };
    let why: Vec<String> = copies.iter().filter_map(failed).collect();
    (!why.is_empty()).then(|| why.join("; "))
}

fn failed(copy: &VerifiedCopy) -> Option<String> {
    let region = &copy.region;
    match (copy.differs, &copy.error) {
        (Some((from, to)), _) => Some(format!(
            "offsets {from}..{to} of the copy in `{region}` are not those here"
        )),
        (None, Some(error)) => Some(format!("the copy in `{region}` was not compared: {error}")),
        (None, None) => None,
    }
}
