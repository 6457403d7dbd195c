//! `npayload org`: organisations and what they may use.

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::output::{self, Columns};
use super::{Context, org_name};
use crate::access::Limits;
use crate::protocol::access::OrgRow;
use crate::types::OrgName;

/// What to do with organisations.
#[derive(Clone, Debug, Subcommand)]
pub enum OrgCommand {
    /// Create an organisation; its channels, keys and agents are its own
    Create {
        /// Name: lower-case letters, digits and single `-` between them
        #[arg(value_parser = org_name)]
        name: OrgName,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// List the organisations
    #[command(alias = "ls")]
    List,
    /// Set what an organisation may use; what is not named is not limited any more
    Limit {
        /// The organisation
        #[arg(value_parser = org_name)]
        name: OrgName,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Say that you know who an organisation is: trust in agents flows from those
    #[command(after_help = "Examples:
  npayload org verify acme
  npayload org verify acme --revoke")]
    Verify {
        /// The organisation
        #[arg(value_parser = org_name)]
        name: OrgName,
        /// Take it back
        #[arg(long)]
        revoke: bool,
    },
}

/// Limits of an organisation or a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub struct LimitArgs {
    /// Most connections at once
    #[arg(long, value_name = "N")]
    max_connections: Option<u32>,
    /// Most requests a second
    #[arg(long, value_name = "N")]
    requests_per_s: Option<u32>,
    /// Most bytes a second that are sent to the broker
    #[arg(long, value_name = "N")]
    bytes_in_per_s: Option<u32>,
    /// Most bytes a second that the broker sends
    #[arg(long, value_name = "N")]
    bytes_out_per_s: Option<u32>,
    /// Most channels; for organisations only
    #[arg(long, value_name = "N")]
    max_channels: Option<u32>,
    /// Longest retention that a channel may have; for organisations only
    #[arg(long, value_name = "N")]
    max_retention_days: Option<u32>,
    /// Largest record that a channel may take; for organisations only
    #[arg(long, value_name = "N")]
    max_record_bytes: Option<u32>,
}

impl LimitArgs {
    /// The limits as the broker has them.
    #[must_use]
    pub fn limits(self) -> Limits {
        Limits {
            max_connections: self.max_connections,
            requests_per_s: self.requests_per_s,
            bytes_in_per_s: self.bytes_in_per_s,
            bytes_out_per_s: self.bytes_out_per_s,
            max_channels: self.max_channels,
            max_retention_days: self.max_retention_days,
            max_record_bytes: self.max_record_bytes,
        }
    }
}

/// Limits in words: those that there are.
#[must_use]
pub fn limits_text(limits: &Limits) -> String {
    let rows = [
        (limits.max_connections, "connections"),
        (limits.requests_per_s, "requests/s"),
        (limits.bytes_in_per_s, "bytes/s in"),
        (limits.bytes_out_per_s, "bytes/s out"),
        (limits.max_channels, "channels"),
        (limits.max_retention_days, "days kept"),
        (limits.max_record_bytes, "bytes a record"),
    ];
    let texts: Vec<String> = rows
        .iter()
        .filter_map(|(limit, what)| {
            limit.map(|limit| format!("{} {what}", output::count(limit.into())))
        })
        .collect();
    match texts.is_empty() {
        true => "none".to_owned(),
        false => texts.join(", "),
    }
}

/// Carries the command out.
///
/// # Errors
/// When the broker refuses or is not there.
pub async fn run(command: OrgCommand, context: &Context) -> Result<(), Failure> {
    let client = context.client().await?;
    match command {
        OrgCommand::Create { name, limits } => {
            let what = format!("creating organisation {name}");
            let made = client.create_org(name, limits.limits()).await;
            let made = made.map_err(|error| Failure::request(what, &error, None))?;
            if context.json {
                return output::print_json(&made);
            }
            output::print(&format!("created organisation {}", made.name))?;
            eprintln!(
                "make its first key with: npayload key create --org {} --scope all NAME",
                made.name
            );
            Ok(())
        }
        OrgCommand::Limit { name, limits } => {
            let what = format!("limiting organisation {name}");
            let set = client.limit_org(name, limits.limits()).await;
            let set = set.map_err(|error| Failure::request(what, &error, None))?;
            if context.json {
                return output::print_json(&set);
            }
            let limits = limits_text(&set.limits);
            output::print(&format!("limits of organisation {}: {limits}", set.name))
        }
        OrgCommand::Verify { name, revoke } => {
            let what = format!("verifying organisation {name}");
            let told = client.trust().verify_org(name, !revoke).await;
            let told = told.map_err(|error| Failure::request(what, &error, None))?;
            if context.json {
                return output::print_json(&told);
            }
            let verified = match told.verified {
                true => "verified",
                false => "not verified",
            };
            output::print(&format!("organisation {}: {verified}", told.org))
        }
        OrgCommand::List => {
            let rows = client.orgs().await;
            let rows =
                rows.map_err(|error| Failure::request("listing organisations", &error, None))?;
            print_rows(&rows, context)
        }
    }
}

fn print_rows(rows: &[OrgRow], context: &Context) -> Result<(), Failure> {
    if context.json {
        return rows.iter().try_for_each(output::print_json);
    }
    let mut columns = Columns::new(&["NAME", "CREATED", "LIMITS"]);
    for row in rows {
        let created = match row.created_at.0 {
            0 => "from the start".to_owned(),
            _ => output::time(row.created_at),
        };
        columns.row([row.name.to_string(), created, limits_text(&row.limits)]);
    }
    columns.print("no organisations")
}
