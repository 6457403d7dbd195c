//! `npayload broker`: what the broker says of itself, and a check of all that it stores.

use clap::Subcommand;

use super::failure::Failure;
use super::{Context, output};
use crate::protocol::control::{BrokerInfo, Scrub};

/// What to do with the broker.
#[derive(Clone, Debug, Subcommand)]
pub enum BrokerCommand {
    /// Describe the broker and its health
    Info,
    /// Have all that is stored checked now; damage shows in `broker info` and `channel info`
    Scrub,
}

/// Carries the command out.
///
/// # Errors
/// When the broker refuses or is not there.
pub async fn run(command: BrokerCommand, context: &Context) -> Result<(), Failure> {
    let client = context.client().await?;
    match command {
        BrokerCommand::Info => {
            let info = client.broker_info().await;
            let info = info.map_err(|error| {
                Failure::request("describing the broker".to_owned(), &error, None)
            })?;
            if context.json {
                return output::print_json(&info);
            }
            output::print(&output::fields(&fields(&info)))
        }
        BrokerCommand::Scrub => {
            let scrub = client.scrub().await;
            let scrub = scrub
                .map_err(|error| Failure::request("asking for a check".to_owned(), &error, None))?;
            if context.json {
                return output::print_json(&scrub);
            }
            output::print(if scrub.running {
                "a check is under way; another follows it"
            } else {
                "a check of all that is stored begins"
            })
        }
    }
}

fn fields(info: &BrokerInfo) -> Vec<(&'static str, String)> {
    let health = &info.health;
    let state = if health.ok { "well" } else { "not well" };
    let mut fields = vec![
        ("version", info.version.clone()),
        ("data directory", info.directory_id.to_string()),
        ("started", output::time(info.started_at)),
        ("channels", info.channels.to_string()),
        ("connections", info.connections.to_string()),
        ("health", state.to_owned()),
    ];
    if let Some(what) = &health.insecure {
        fields.push(("insecure", what.clone()));
    }
    if let Some(why) = &health.writes_refused {
        fields.push(("writes refused", why.clone()));
    }
    if health.damaged_channels > 0 {
        fields.push(("damaged channels", health.damaged_channels.to_string()));
    }
    for refusal in &health.refusals {
        let text = format!("{}: {}", refusal.channel, refusal.reason);
        fields.push(("refuses writes", text));
    }
    if health.locked_channels > 0 {
        fields.push(("locked channels", health.locked_channels.to_string()));
    }
    if let Some(why) = &health.master_key {
        fields.push(("master key", why.clone()));
    }
    if let Some(free) = health.disk_free_bytes {
        let limit = output::bytes(health.disk_limit_bytes);
        let text = format!("{}, of which {limit} stay free", output::bytes(free));
        fields.push(("free space", text));
    }
    if let Some(scrub) = &health.scrub {
        scrub_fields(scrub, &mut fields);
    }
    fields
}

fn scrub_fields(scrub: &Scrub, fields: &mut Vec<(&'static str, String)>) {
    if let Some(file) = &scrub.file {
        let text = format!(
            "{} so far, at byte {} of {file}",
            output::bytes(scrub.pass_bytes),
            scrub.position
        );
        fields.push(("being checked", text));
    }
    let last = match (scrub.last_pass_ended_at, scrub.last_pass_bytes) {
        (Some(ended), Some(bytes)) => format!("{}, {}", output::time(ended), output::bytes(bytes)),
        _ => "not since the start".to_owned(),
    };
    fields.push(("all checked", last));
    for fault in &scrub.faults {
        fields.push(("bad file", format!("{}: {}", fault.file, fault.what)));
    }
}
