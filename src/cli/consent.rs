//! `npayload consent`: which regions may hold what.

use std::collections::BTreeSet;

use clap::{Args, Subcommand, ValueEnum};

use super::failure::Failure;
use super::output::{self, Columns};
use super::serve::region_name;
use super::{Context, org_name, own_channel};
use crate::protocol::region::{ConsentSet, Consents};
use crate::region::directory::{Scope, Side};
use crate::types::{ChannelName, OrgName, RegionName};

/// What to do with consent.
#[derive(Clone, Debug, Subcommand)]
pub enum ConsentCommand {
    /// Say which regions may hold the bytes of a channel, or of an organisation
    #[command(after_help = "Examples:
  npayload consent set ml.models --residency us-east,eu-west
  npayload consent set --org acme --residency eu-west
  npayload consent set ml.models --all")]
    Set {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        who: Who,
    },
    /// Say whether bytes of one organisation may be copied for another; both sides have to say yes
    Grant {
        /// Whose bytes
        #[arg(long, value_name = "ORG", value_parser = org_name)]
        owner: OrgName,
        /// Who asks for them in another region
        #[arg(long, value_name = "ORG", value_parser = org_name)]
        guest: OrgName,
        /// Which of the two says it
        #[arg(long, value_enum)]
        side: SideArg,
        /// Say no
        #[arg(long)]
        deny: bool,
    },
    /// Show what was said: everything else is held by all regions
    #[command(visible_alias = "show", alias = "ls")]
    List,
}

/// Whose bytes.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Whose {
    /// The channel
    #[arg(value_parser = own_channel)]
    channel: Option<ChannelName>,
    /// All channels of an organisation
    #[arg(long, value_name = "ORG", value_parser = org_name)]
    org: Option<OrgName>,
}

/// Who may hold them.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Who {
    /// These regions alone
    #[arg(long, value_name = "R1,R2", value_delimiter = ',', value_parser = region_name)]
    residency: Vec<RegionName>,
    /// All regions
    #[arg(long)]
    all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SideArg {
    Owner,
    Guest,
}

/// Carries the command out.
///
/// # Errors
/// When the broker refuses or is not there.
pub async fn run(command: ConsentCommand, context: &Context) -> Result<(), Failure> {
    let client = context.client().await?;
    let (what, word) = match command {
        ConsentCommand::List => ("listing consent", None),
        ConsentCommand::Set { whose, who } => {
            let scope = match (whose.channel, whose.org) {
                (Some(channel), _) => Scope::Channel(channel),
                (None, Some(org)) => Scope::Org(org),
                (None, None) => {
                    return Err(Failure::usage(
                        "setting consent",
                        "name a channel, or --org",
                    ));
                }
            };
            let residency: BTreeSet<RegionName> = who.residency.into_iter().collect();
            let word = ConsentSet::Residency {
                scope,
                residency: (!who.all).then_some(residency),
            };
            ("setting consent", Some(word))
        }
        ConsentCommand::Grant {
            owner,
            guest,
            side,
            deny,
        } => {
            let word = ConsentSet::Crossing {
                owner,
                guest,
                side: match side {
                    SideArg::Owner => Side::Owner,
                    SideArg::Guest => Side::Guest,
                },
                allowed: !deny,
            };
            ("setting consent", Some(word))
        }
    };
    let consents = match word {
        None => client.consents().await,
        Some(word) => client.set_consent(word).await,
    };
    let consents = consents.map_err(|error| Failure::request(what, &error, None))?;
    if context.json {
        return output::print_json(&consents);
    }
    print(&consents)
}

fn print(consents: &Consents) -> Result<(), Failure> {
    let mut table = Columns::new(&["WHOSE", "HELD BY"]);
    for row in &consents.residency {
        let whose = match &row.scope {
            Scope::Channel(name) => name.to_string(),
            Scope::Org(name) => format!("all of {name}"),
        };
        table.row([whose, regions(&row.residency)]);
    }
    table.print("all regions hold everything")?;
    if consents.crossings.is_empty() {
        return Ok(());
    }
    let mut table = Columns::new(&["OWNER", "GUEST", "OWNER SAYS", "GUEST SAYS"]);
    for row in &consents.crossings {
        let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        table.row([
            row.owner.to_string(),
            row.guest.to_string(),
            word(row.owner_allows),
            word(row.guest_allows),
        ]);
    }
    table.print("")
}

/// Names of regions with commas between them.
pub(super) fn regions(names: &BTreeSet<RegionName>) -> String {
    let names: Vec<&str> = names.iter().map(RegionName::as_str).collect();
    names.join(", ")
}
