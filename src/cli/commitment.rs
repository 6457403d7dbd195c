//! `npayload commitment`: what agents promise each other.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Context;
use super::failure::Failure;
use super::output::{self, Columns};
use super::place::Moment;
use super::promised::{EvidenceArgs, commitment_state, escrow_text, money, party};
use super::session::age;
use super::typed::{self, shown};
use crate::asp::commitment::{EscrowTerms, Judge, Mode, Obligation, Penalties, Receipt, State};
use crate::asp::escrow::Percent;
use crate::asp::registry::AgentRef;
use crate::client::{Commitments, RequestError};
use crate::protocol::asp::{CommitmentDeliver, CommitmentList, CommitmentRow, CommitmentSide};
use crate::types::{CommitmentId, SessionId};

/// What to do with commitments.
#[derive(Clone, Debug, Subcommand)]
pub enum CommitmentCommand {
    /// Promise something in a session, without anybody's consent; prints the commitment's id
    #[command(after_help = "Examples:
  npayload commitment create ses_… 'Deliver the pricing analysis' --agent research-agent --deadline 2h
  npayload commitment create ses_… 'Deliver the survey' --agent research-agent --deadline 2027-03-15T00:00:00Z \\
    --to agent://acme/writer --escrow 50000:EUR --late-percent 2.5
What is to be agreed on is offered and accepted instead: npayload session send … --say COMMIT")]
    Create(Box<CreateArgs>),
    /// Say that what was promised is delivered
    #[command(after_help = "Examples:
  npayload commitment deliver cmt_… --evidence '{\"pages\":12}'
  npayload commitment deliver cmt_… --reference ses_…:7 --reference surveys.drafts:40..42")]
    Deliver {
        /// The commitment: cmt_…
        commitment: CommitmentId,
        #[command(flatten)]
        evidence: EvidenceArgs,
    },
    /// Say that a delivery is what was promised, or make the time for judging it shorter
    #[command(after_help = "Examples:
  npayload commitment confirm cmt_…
  npayload commitment confirm cmt_… --within 1h")]
    Confirm {
        /// The commitment: cmt_…
        commitment: CommitmentId,
        /// Who says so; whoever judges it and is yours, unless given
        #[arg(long)]
        agent: Option<AgentRef>,
        /// Do not confirm now; silence confirms so long after the delivery: 30m, 2h
        #[arg(long, value_name = "AGE", value_parser = age)]
        within: Option<u64>,
    },
    /// List commitments: those that are not closed, newest first, then the others
    #[command(
        alias = "ls",
        after_help = "Examples:
  npayload commitment list --agent research-agent --state active --state breached
  npayload commitment list --agent writer-agent --side counterparty --json"
    )]
    List(ListArgs),
    /// Describe a commitment
    Show {
        /// The commitment: cmt_…
        commitment: CommitmentId,
        /// The participant on whose behalf; needed in sessions of other organisations
        #[arg(long)]
        agent: Option<AgentRef>,
    },
    /// Print a receipt of a commitment as JSON, or verify one without a broker
    #[command(after_help = "Examples:
  npayload commitment receipt cmt_… > receipt.json
  npayload commitment receipt --verify receipt.json")]
    Receipt {
        /// The commitment: cmt_…
        #[arg(required_unless_present = "verify")]
        commitment: Option<CommitmentId>,
        /// The participant on whose behalf; needed in sessions of other organisations
        #[arg(long)]
        agent: Option<AgentRef>,
        /// Verify the receipt in this file instead
        #[arg(long, value_name = "FILE", conflicts_with_all = ["commitment", "agent"])]
        verify: Option<PathBuf>,
    },
}

/// A promise.
#[derive(Clone, Debug, Args)]
pub struct CreateArgs {
    /// The session: ses_…
    session: SessionId,
    /// What is promised, in words
    description: String,
    /// Who promises
    #[arg(long)]
    agent: AgentRef,
    /// Until when: a time such as 2027-01-31T08:00:00Z, or so long from now: 30m, 2h, 7d
    #[arg(long, value_name = "WHEN")]
    deadline: Moment,
    /// To whom; to the session unless given
    #[arg(long, value_name = "AGENT")]
    to: Option<AgentRef>,
    /// One thing that is to be done; may be given more than once
    #[arg(long = "obligation", value_name = "PARTY:ACTION", value_parser = obligation)]
    obligations: Vec<Obligation>,
    /// Money that stands behind it, in the smallest unit of a currency: 50000:EUR
    #[arg(long, value_name = "AMOUNT:CURRENCY", value_parser = money)]
    escrow: Option<EscrowTerms>,
    /// Part of the escrow that each day of a late delivery costs, 0 to 100
    #[arg(long, value_name = "PERCENT", value_parser = percent, requires = "escrow")]
    late_percent: Option<Percent>,
    /// Part of the escrow that no delivery costs, 0 to 100; all of it unless given
    #[arg(long, value_name = "PERCENT", value_parser = percent, requires = "escrow")]
    non_delivery_percent: Option<Percent>,
    /// How bad it is not to keep it
    #[arg(long, value_name = "1-5", value_parser = clap::value_parser!(u8).range(1..=5))]
    severity: Option<u8>,
    /// Time for judging a delivery: 30m, 2h; a day unless given
    #[arg(long, value_name = "AGE", value_parser = age)]
    window: Option<u64>,
    /// The application's own terms: JSON, @FILE, or - for stdin
    #[arg(long, value_name = "JSON")]
    terms: Option<String>,
    /// Its id: cmt_ and a UUID of version 7; a new one unless given
    #[arg(long, value_name = "COMMITMENT")]
    id: Option<CommitmentId>,
}

/// Which commitments to list.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// Those of this agent
    #[arg(long)]
    agent: Option<AgentRef>,
    /// On which side that agent is
    #[arg(long, value_enum, value_name = "SIDE", default_value = "obligor")]
    side: SideArg,
    /// Those in this session: ses_…
    #[arg(long, value_name = "SESSION")]
    session: Option<SessionId>,
    /// Those in this state; may be given more than once
    #[arg(long = "state", value_name = "STATE", value_parser = commitment_state)]
    states: Vec<State>,
    /// Commitments at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    max: u64,
}

/// The side of a commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SideArg {
    /// Who promised.
    Obligor,
    /// Who was promised.
    Counterparty,
}

impl From<SideArg> for CommitmentSide {
    fn from(arg: SideArg) -> Self {
        match arg {
            SideArg::Obligor => Self::Obligor,
            SideArg::Counterparty => Self::Counterparty,
        }
    }
}

fn obligation(text: &str) -> Result<Obligation, &'static str> {
    let (party, action) = text
        .split_once(':')
        .filter(|(party, action)| !party.is_empty() && !action.is_empty())
        .ok_or("an obligation is PARTY:ACTION, such as research-agent:'write the survey'")?;
    Ok(Obligation {
        action: action.to_owned(),
        deadline: None,
        party: party.to_owned(),
        verification_method: None,
    })
}

fn percent(text: &str) -> Result<Percent, String> {
    let number: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    Percent::try_from(number).map_err(|error| error.to_string())
}

/// Carries the command out.
///
/// # Errors
/// When the broker refuses or is not there, and when a receipt does not verify.
pub async fn run(command: CommitmentCommand, context: &Context) -> Result<(), Failure> {
    match command {
        CommitmentCommand::Create(args) => create(*args, context).await,
        CommitmentCommand::Deliver {
            commitment,
            evidence,
        } => {
            let (evidence, references) = evidence.read()?;
            let deliver = CommitmentDeliver {
                commitment_id: commitment,
                evidence,
                references,
            };
            let row = commitments(context).await?.deliver(deliver).await;
            changed(&format!("delivering {commitment}"), row, context)
        }
        CommitmentCommand::Confirm {
            commitment,
            agent,
            within,
        } => {
            let commitments = commitments(context).await?;
            let row = match within {
                None => commitments.confirm(commitment, agent).await,
                Some(ms) => commitments.shorten(commitment, agent, ms).await,
            };
            changed(&format!("confirming {commitment}"), row, context)
        }
        CommitmentCommand::List(args) => list(args, context).await,
        CommitmentCommand::Show { commitment, agent } => {
            let row = commitments(context).await?.info(commitment, agent).await;
            let what = format!("describing {commitment}");
            show(
                &row.map_err(|error| Failure::request(what, &error, None))?,
                context,
            )
        }
        CommitmentCommand::Receipt {
            verify: Some(file), ..
        } => verify(&file, context),
        CommitmentCommand::Receipt {
            commitment, agent, ..
        } => {
            let Some(commitment) = commitment else {
                return Err(Failure::usage("receipt", "no commitment is named"));
            };
            let receipt = commitments(context).await?.receipt(commitment, agent).await;
            let what = format!("exporting a receipt of {commitment}");
            output::print_json(&receipt.map_err(|error| Failure::request(what, &error, None))?)
        }
    }
}

async fn commitments(context: &Context) -> Result<Commitments, Failure> {
    Ok(context.client().await?.commitments())
}

async fn create(args: CreateArgs, context: &Context) -> Result<(), Failure> {
    let what = format!("promising for {}", args.agent);
    let deadline = args.deadline.after(context.now());
    let penalties = Penalties {
        late_fulfillment_percent_per_day: args.late_percent,
        non_delivery_percent: args.non_delivery_percent,
    };
    let is_kept = args.id.is_some();
    let mut promise = Commitments::promise(args.session, args.agent, args.description, deadline);
    promise.id = args.id.unwrap_or(promise.id);
    promise.counterparty = args.to;
    promise.obligations = args.obligations;
    promise.penalties = (penalties != Penalties::default()).then_some(penalties);
    promise.escrow = args.escrow;
    promise.severity = args.severity;
    promise.window_ms = args.window;
    promise.terms = typed::json_or_none("--terms", args.terms.as_deref())?;
    let commitments = commitments(context).await?;
    let row = match is_kept {
        true => commitments.create(promise).await,
        false => commitments.create_anew(promise).await,
    };
    let row = row.map_err(|error| Failure::request(what, &error, None))?;
    if context.json {
        return output::print_json(&row);
    }
    // The id alone, so that a script can keep it.
    output::print(&row.id.to_string())
}

fn changed(
    what: &str,
    row: Result<CommitmentRow, RequestError>,
    context: &Context,
) -> Result<(), Failure> {
    let row = row.map_err(|error| Failure::request(what, &error, None))?;
    if context.json {
        return output::print_json(&row);
    }
    let until = row.window_until.filter(|_| row.state == State::Delivered);
    let until = until.map_or(String::new(), |until| {
        format!("; silence confirms at {}", output::time(until))
    });
    output::print(&format!("{}: {}{until}", row.id, row.state))
}

async fn list(args: ListArgs, context: &Context) -> Result<(), Failure> {
    let query = CommitmentList {
        agent_id: args.agent,
        side: args.side.into(),
        session_id: args.session,
        states: args.states,
        limit: u32::try_from(args.max.clamp(1, 1000)).unwrap_or(1000),
        cursor: None,
    };
    let mut found = commitments(context).await?.list(query);
    let headings = [
        "COMMITMENT",
        "STATE",
        "DEADLINE",
        "OBLIGOR",
        "TO",
        "DESCRIPTION",
    ];
    let mut columns = Columns::new(&headings);
    for _ in 0..args.max {
        let Some(row) = found.next().await else {
            break;
        };
        let row = row.map_err(|error| Failure::request("listing commitments", &error, None))?;
        if context.json {
            output::print_json(&row)?;
            continue;
        }
        let to = row.counterparty.map(|party| party.name.to_string());
        columns.row([
            row.id.to_string(),
            row.state.to_string(),
            output::time(row.deadline),
            row.obligor.name.to_string(),
            to.unwrap_or_default(),
            shown(&row.description),
        ]);
    }
    if context.json {
        return Ok(());
    }
    columns.print("no commitments; make one with `npayload commitment create`")
}

fn show(row: &CommitmentRow, context: &Context) -> Result<(), Failure> {
    if context.json {
        return output::print_json(row);
    }
    let some = |text: Option<String>| text.unwrap_or_default();
    let judge = match row.judge {
        Judge::Counterparty => "the counterparty",
        Judge::Coordinator => "a coordinator of the session",
        Judge::Participant => "any other participant",
        Judge::Nobody => "nobody",
    };
    let mode = match row.mode {
        Mode::OneSided => "given by one alone",
        Mode::Agreed => "agreed on",
    };
    let delivery = row.delivery.as_ref().map(|delivery| {
        let late = if delivery.late { ", late" } else { "" };
        format!("{}{late}", output::time(delivery.at))
    });
    let ruled = row.ruled.map(|ruled| {
        format!(
            "{} in {}, severity {}",
            ruled.verdict.name(),
            ruled.dispute_id,
            ruled.severity
        )
    });
    let mut fields = vec![
        ("commitment", row.id.to_string()),
        ("session", format!("{} of {}", row.session_id, row.org)),
        ("state", row.state.to_string()),
        ("mode", mode.to_owned()),
        ("description", shown(&row.description)),
        ("obligor", party(&row.obligor)),
        ("to", some(row.counterparty.as_ref().map(party))),
        ("judged by", judge.to_owned()),
        ("deadline", output::time(row.deadline)),
        ("escrow", some(row.escrow.as_ref().map(escrow_text))),
        ("severity", row.severity.to_string()),
        (
            "terms",
            some(row.terms.as_ref().map(|terms| shown(terms.text()))),
        ),
        ("terms hash", row.terms_hash.to_string()),
        ("created", output::time(row.created_at)),
        ("accepted", some(row.accepted_at.map(output::time))),
        ("delivered", some(delivery)),
        ("judged until", some(row.window_until.map(output::time))),
        (
            "ended",
            some(row.ended.as_ref().map(|ended| output::time(ended.at))),
        ),
        ("claims until", some(row.claims_until.map(output::time))),
        ("ruled", some(ruled)),
    ];
    fields.retain(|(_, value)| !value.is_empty());
    output::print(&output::fields(&fields))?;
    for one in &row.obligations {
        output::print(&format!("- {}: {}", shown(&one.party), shown(&one.action)))?;
    }
    Ok(())
}

/// Verifies a receipt with nothing but itself.
fn verify(file: &std::path::Path, context: &Context) -> Result<(), Failure> {
    let what = format!("verifying {}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| Failure::new(&what, &error))?;
    let receipt: Receipt =
        serde_json::from_str(&text).map_err(|error| Failure::new(&what, &error))?;
    let verified = receipt
        .verify()
        .map_err(|error| Failure::new(&what, &error))?;
    let signed = verified.signed.iter();
    let signed: Vec<_> = signed
        .map(|by| serde_json::json!({ "agentId": by.agent, "id": by.message, "publicKey": by.key }))
        .collect();
    if context.json {
        return output::print_json(&serde_json::json!({
            "commitment": receipt.commitment,
            "state": receipt.state,
            "termsHash": receipt.terms_hash,
            "records": verified.records,
            "signed": signed,
        }));
    }
    output::print(&format!(
        "{}: {}, {} verified, {} signed by the parties; compare its offsets with the broker's topic to know that it is the broker's",
        receipt.commitment,
        receipt.state,
        output::counted(verified.records as u64, "record"),
        output::counted(signed.len() as u64, "message"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_obligation_is_a_party_and_an_action() {
        let read = obligation("research-agent:write: all of it").unwrap();
        assert_eq!(
            (read.party.as_str(), read.action.as_str()),
            ("research-agent", "write: all of it")
        );
        for bad in ["", "write", ":write", "agent:"] {
            assert!(obligation(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_percentage_has_two_digits_behind_the_point() {
        assert_eq!(percent("2.5").unwrap().hundredths(), 250);
        for bad in ["", "x", "-1", "100.01", "2.555"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }
}
