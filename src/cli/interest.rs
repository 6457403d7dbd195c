//! `npayload interest`: what this region wants of others.

use clap::Subcommand;

use super::Context;
use super::failure::Failure;
use super::output::{self, Columns};
use super::place::PlaceArg;
use crate::protocol::control::Place;
use crate::protocol::region::{InterestAdd, InterestRemove, InterestRow};
use crate::region::ChannelPattern;
use crate::region::interest::Since;

/// What to do with interest.
#[derive(Clone, Debug, Subcommand)]
pub enum InterestCommand {
    /// Ask for the channels of other regions that match a pattern
    #[command(
        after_help = "A `*` stands for one segment between dots, a `>` at the end for all that follow.

Examples:
  npayload interest add 'ml.>'
  npayload interest add orders --from start
  npayload interest add 'ml.>' --type model.deployed --type model.retired"
    )]
    Add {
        /// The channels: `orders`, `ml.*.eu`, `ml.>`
        pattern: ChannelPattern,
        /// Only batches that hold a record of this type; may be given more than once
        #[arg(long = "type", value_name = "TYPE")]
        types: Vec<String>,
        /// From where copies are begun: start, end, or a time as @2026-01-31T08:00:00Z or @-1h
        #[arg(long, value_name = "PLACE", default_value = "end")]
        from: PlaceArg,
        /// Days for which the copies are kept here; as long as at home unless given
        #[arg(long, value_name = "DAYS")]
        retention_days: Option<u64>,
    },
    /// List what the region wants
    #[command(alias = "ls")]
    List,
    /// Ask no longer; copies stay, and what is in them
    #[command(alias = "rm")]
    Remove {
        /// As it was declared
        pattern: ChannelPattern,
    },
}

/// Carries the command out.
///
/// # Errors
/// When the broker refuses or is not there.
pub async fn run(command: InterestCommand, context: &Context) -> Result<(), Failure> {
    match command {
        InterestCommand::Add {
            pattern,
            types,
            from,
            retention_days,
        } => {
            let what = format!("declaring interest in `{pattern}`");
            let from = match from.at(context.now()) {
                Place::Start => Since::Start,
                Place::End => Since::End,
                Place::Time(time) => Since::Time(time),
                _ => {
                    let why = "copies begin at start, end or a time";
                    return Err(Failure::usage("--from", why));
                }
            };
            let asked = InterestAdd {
                pattern,
                types: (!types.is_empty()).then(|| types.into_iter().collect()),
                from,
                retention_days,
            };
            let row = context.client().await?.add_interest(asked).await;
            let row = row.map_err(|error| Failure::request(what, &error, None))?;
            if context.json {
                return output::print_json(&row);
            }
            output::print(&format!("interest in {} is declared", row.pattern))
        }
        InterestCommand::List => {
            let rows = context.client().await?.interests().await;
            let what = "listing interest";
            let rows = rows.map_err(|error| Failure::request(what, &error, None))?;
            if context.json {
                return output::print_json(&rows);
            }
            let mut table = Columns::new(&["PATTERN", "TYPES", "FROM", "KEPT", "WHY"]);
            for row in &rows.interests {
                let pattern = row.pattern.to_string();
                table.row([pattern, types_of(row), from(row), kept(row), why(row)]);
            }
            table.print("nothing is asked for")
        }
        InterestCommand::Remove { pattern } => {
            let what = format!("withdrawing interest in `{pattern}`");
            let removed = InterestRemove { pattern };
            let removed = context.client().await?.remove_interest(removed).await;
            let removed = removed.map_err(|error| Failure::request(what, &error, None))?;
            if context.json {
                return output::print_json(&removed);
            }
            output::print(&format!("interest in {} is withdrawn", removed.pattern))
        }
    }
}

fn types_of(row: &InterestRow) -> String {
    let Some(types) = &row.types else {
        return "all".to_owned();
    };
    let types: Vec<&str> = types.iter().map(String::as_str).collect();
    types.join(", ")
}

fn from(row: &InterestRow) -> String {
    match row.from {
        Since::Start => "start".to_owned(),
        Since::End => "end".to_owned(),
        Since::Time(time) => output::time(time),
    }
}

fn kept(row: &InterestRow) -> String {
    match row.retention_days {
        Some(days) => output::counted(days, "day"),
        None => "as at home".to_owned(),
    }
}

fn why(row: &InterestRow) -> String {
    match (row.automatic, row.until) {
        (false, _) => "declared".to_owned(),
        (true, None) => "it is read".to_owned(),
        (true, Some(until)) => format!("it was read; until {}", output::time(until)),
    }
}
