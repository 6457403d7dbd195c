//! `npayload grant`: what one organisation lets another do with its channels and its agents.

use clap::{Subcommand, ValueEnum};

use super::failure::Failure;
use super::output::{self, Columns};
use super::place::Moment;
use super::{Context, org_name};
use crate::access::{Operation, Pattern};
use crate::protocol::access::{GrantPropose, GrantRow, GrantState};
use crate::types::{GrantId, OrgName};

/// What to do with grants.
#[derive(Clone, Debug, Subcommand)]
pub enum GrantCommand {
    /// Propose a grant; it holds once the other side accepts it
    #[command(after_help = "Examples:
  npayload grant create consume 'orders.*' --guest acme
  npayload grant create asp 'research-*' --guest acme      # agents that acme may find and invite")]
    Create {
        /// What the guest may do
        operation: Direction,
        /// The channels, or the agents, as their owner names them: a name, or a prefix followed by `*`
        channels: Pattern,
        /// Whose they are; your own organisation unless given
        #[arg(long, value_name = "NAME", value_parser = org_name, required_unless_present = "guest")]
        owner: Option<OrgName>,
        /// Who may use them; your own organisation unless given
        #[arg(long, value_name = "NAME", value_parser = org_name)]
        guest: Option<OrgName>,
        /// When it ends by itself: a time such as 2027-01-31T08:00:00Z, or an age such as 90d
        #[arg(long, value_name = "WHEN")]
        expires: Option<Moment>,
    },
    /// List the grants that an organisation has a side in
    #[command(alias = "ls")]
    List {
        /// The organisation; your own unless given
        #[arg(long, value_name = "NAME", value_parser = org_name)]
        org: Option<OrgName>,
    },
    /// Agree to a grant that the other side proposed
    Accept {
        /// The grant: grt_…
        grant: GrantId,
    },
    /// End a grant, or decline one
    Revoke {
        /// The grant: grt_…
        grant: GrantId,
    },
}

/// What a guest may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// The guest reads the owner's channels.
    Consume,
    /// The guest writes to the owner's channels.
    Publish,
    /// The guest finds the owner's agents, and invites them into its sessions.
    Asp,
}

/// Carries the command out.
///
/// # Errors
/// When the broker refuses or is not there.
pub async fn run(command: GrantCommand, context: &Context) -> Result<(), Failure> {
    let client = context.client().await?;
    match command {
        GrantCommand::Create {
            operation,
            channels,
            owner,
            guest,
            expires,
        } => {
            let request = GrantPropose {
                owner,
                guest,
                channels,
                operation: match operation {
                    Direction::Consume => Operation::Consume,
                    Direction::Publish => Operation::Publish,
                    Direction::Asp => Operation::Asp,
                },
                expires_at: expires.map(|moment| moment.after(context.now())),
            };
            let made = client.propose_grant(request).await;
            let made = made.map_err(|error| Failure::request("proposing a grant", &error, None))?;
            if !context.json {
                eprintln!(
                    "the other side accepts it with: npayload grant accept {}",
                    made.id
                );
            }
            print_one("proposed", &made, context)
        }
        GrantCommand::Accept { grant } => {
            let made = client.accept_grant(grant).await;
            let made =
                made.map_err(|error| Failure::request(format!("accepting {grant}"), &error, None))?;
            print_one("accepted", &made, context)
        }
        GrantCommand::Revoke { grant } => {
            let ended = client.revoke_grant(grant).await;
            let ended = ended
                .map_err(|error| Failure::request(format!("revoking {grant}"), &error, None))?;
            print_one("revoked", &ended, context)
        }
        GrantCommand::List { org } => {
            let rows = client.grants(org).await;
            let rows = rows.map_err(|error| Failure::request("listing grants", &error, None))?;
            print_rows(&rows, context)
        }
    }
}

fn print_one(done: &str, grant: &GrantRow, context: &Context) -> Result<(), Failure> {
    if context.json {
        return output::print_json(grant);
    }
    output::print(&format!(
        "{done} {}: {} may {} {}/{}",
        grant.id, grant.guest, grant.operation, grant.owner, grant.channels
    ))
}

fn print_rows(rows: &[GrantRow], context: &Context) -> Result<(), Failure> {
    if context.json {
        return rows.iter().try_for_each(output::print_json);
    }
    let mut columns = Columns::new(&["GRANT", "STATE", "GUEST", "MAY", "CHANNELS", "EXPIRES"]);
    for row in rows {
        let state = match row.state {
            GrantState::Proposed => format!("proposed by {}", row.proposer),
            GrantState::Active => "active".to_owned(),
            GrantState::Expired => "expired".to_owned(),
            GrantState::Revoked => "revoked".to_owned(),
        };
        columns.row([
            row.id.to_string(),
            state,
            row.guest.to_string(),
            row.operation.to_string(),
            format!("{}/{}", row.owner, row.channels),
            row.expires_at.map_or("never".to_owned(), output::time),
        ]);
    }
    columns.print("no grants")
}
