//! `npayload dispute`: that a promise was not kept, and who decides.

use clap::{Args, Subcommand};

use super::Context;
use super::failure::Failure;
use super::output::{self, Columns};
use super::promised::{EvidenceArgs, dispute_state, dispute_type, party, verdict};
use super::session::age;
use super::typed::shown;
use crate::asp::dispute::{DisputeState, DisputeType, Mechanism, Verdict};
use crate::asp::registry::AgentRef;
use crate::client::{Disputes, RequestError};
use crate::protocol::asp::{DisputeAnswer, DisputeList, DisputeRow, DisputeRule, JsonText};
use crate::types::{CommitmentId, DisputeId, SessionId};

/// What to do with disputes.
#[derive(Clone, Debug, Subcommand)]
pub enum DisputeCommand {
    /// Say that a promise was not kept; prints the dispute's id
    #[command(after_help = "Examples:
  npayload dispute create cmt_… 'Analysis was not delivered by the deadline' --evidence '{\"missedDeadline\":true}'
  npayload dispute create cmt_… 'Half of it is missing' --type specification-mismatch --severity 3 --reference ses_…:7")]
    Create(Box<CreateArgs>),
    /// Answer a dispute, for the agent that promised
    #[command(after_help = "Example:
  npayload dispute answer dsp_… 'It was delivered in message 7' --reference ses_…:7")]
    Answer {
        /// The dispute: dsp_…
        dispute: DisputeId,
        /// In words
        reason: String,
        #[command(flatten)]
        evidence: EvidenceArgs,
    },
    /// Take a dispute back
    Withdraw {
        /// The dispute: dsp_…
        dispute: DisputeId,
    },
    /// Vote on a dispute as an arbitrator, or rule on it as an operator
    #[command(after_help = "Examples:
  npayload dispute rule dsp_… partial 'Half of it was delivered' --agent judge-agent --severity 2
  npayload dispute rule dsp_… upheld 'Nothing was delivered'")]
    Rule {
        /// The dispute: dsp_…
        dispute: DisputeId,
        /// What is held: upheld, partial or dismissed
        #[arg(value_parser = verdict)]
        verdict: Verdict,
        /// In words; an operator needs it
        #[arg(default_value = "")]
        reason: String,
        /// The arbitrator that votes; an operator rules unless given
        #[arg(long)]
        agent: Option<AgentRef>,
        /// How bad it is; as the dispute says unless given
        #[arg(long, value_name = "1-5", value_parser = clap::value_parser!(u8).range(1..=5))]
        severity: Option<u8>,
    },
    /// List disputes: those that are not decided, newest first, then the others
    #[command(
        alias = "ls",
        after_help = "Examples:
  npayload dispute list --agent judge-agent --state under-review
  npayload dispute list --commitment cmt_… --json"
    )]
    List(ListArgs),
    /// Describe a dispute
    Show {
        /// The dispute: dsp_…
        dispute: DisputeId,
        /// The participant or arbitrator on whose behalf; needed in sessions of other organisations
        #[arg(long)]
        agent: Option<AgentRef>,
    },
}

/// A dispute to file.
#[derive(Clone, Debug, Args)]
pub struct CreateArgs {
    /// The commitment: cmt_…
    commitment: CommitmentId,
    /// What went wrong, in words
    reason: String,
    /// Who files it; unless given, a coordinator of the session that is yours, else another
    /// participant
    #[arg(long)]
    agent: Option<AgentRef>,
    /// What went wrong: timeout-breach, specification-mismatch, non-delivery, escrow-violation or
    /// unauthorized-modification; as the log shows unless given
    #[arg(long = "type", value_name = "TYPE", value_parser = dispute_type)]
    dispute_type: Option<DisputeType>,
    /// How bad it is; inferred unless given
    #[arg(long, value_name = "1-5", value_parser = clap::value_parser!(u8).range(1..=5))]
    severity: Option<u8>,
    #[command(flatten)]
    evidence: EvidenceArgs,
    /// Time for whoever promised to answer: 1h to 90d, 72h unless given
    #[arg(long, value_name = "AGE", value_parser = age)]
    answer_within: Option<u64>,
    /// Time for arbitrators to rule, and again for an operator: 1h to 90d, 7d unless given
    #[arg(long, value_name = "AGE", value_parser = age)]
    arbitrate_within: Option<u64>,
    /// Its id: dsp_ and a UUID of version 7; a new one unless given
    #[arg(long, value_name = "DISPUTE")]
    id: Option<DisputeId>,
}

/// Which disputes to list.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// Those about this commitment: cmt_…
    #[arg(long, value_name = "COMMITMENT")]
    commitment: Option<CommitmentId>,
    /// Those that this agent filed, that are against it, or that it arbitrates
    #[arg(long)]
    agent: Option<AgentRef>,
    /// Those in this session: ses_…
    #[arg(long, value_name = "SESSION")]
    session: Option<SessionId>,
    /// Those in this state; may be given more than once
    #[arg(long = "state", value_name = "STATE", value_parser = dispute_state)]
    states: Vec<DisputeState>,
    /// Disputes at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    max: u64,
}

/// Carries the command out.
///
/// # Errors
/// When the broker refuses or is not there.
pub async fn run(command: DisputeCommand, context: &Context) -> Result<(), Failure> {
    match command {
        DisputeCommand::Create(args) => create(*args, context).await,
        DisputeCommand::Answer {
            dispute,
            reason,
            evidence,
        } => {
            let (evidence, references) = evidence.read()?;
            let answer = DisputeAnswer {
                dispute_id: dispute,
                reason,
                evidence,
                references,
            };
            let row = disputes(context).await?.answer(answer).await;
            changed(&format!("answering {dispute}"), row, context)
        }
        DisputeCommand::Withdraw { dispute } => {
            let row = disputes(context).await?.withdraw(dispute).await;
            changed(&format!("taking {dispute} back"), row, context)
        }
        DisputeCommand::Rule {
            dispute,
            verdict,
            reason,
            agent,
            severity,
        } => {
            let rule = DisputeRule {
                dispute_id: dispute,
                agent_id: agent,
                verdict,
                severity,
                reason,
            };
            let row = disputes(context).await?.rule(rule).await;
            changed(&format!("ruling on {dispute}"), row, context)
        }
        DisputeCommand::List(args) => list(args, context).await,
        DisputeCommand::Show { dispute, agent } => {
            let row = disputes(context).await?.info(dispute, agent).await;
            let row = row
                .map_err(|error| Failure::request(format!("describing {dispute}"), &error, None))?;
            show(&row, context)
        }
    }
}

async fn disputes(context: &Context) -> Result<Disputes, Failure> {
    Ok(context.client().await?.disputes())
}

async fn create(args: CreateArgs, context: &Context) -> Result<(), Failure> {
    let what = format!("disputing {}", args.commitment);
    let is_kept = args.id.is_some();
    let mut dispute = Disputes::about(args.commitment, args.reason);
    dispute.id = args.id.unwrap_or(dispute.id);
    dispute.agent_id = args.agent;
    dispute.dispute_type = args.dispute_type;
    dispute.severity = args.severity;
    dispute.answer_ms = args.answer_within;
    dispute.arbitration_ms = args.arbitrate_within;
    (dispute.evidence, dispute.references) = args.evidence.read()?;
    let disputes = disputes(context).await?;
    let row = match is_kept {
        true => disputes.create(dispute).await,
        false => disputes.create_anew(dispute).await,
    };
    let row = row.map_err(|error| Failure::request(what, &error, None))?;
    if context.json {
        return output::print_json(&row);
    }
    // The id alone, so that a script can keep it.
    output::print(&row.id.to_string())?;
    eprintln!("{}", state(&row));
    Ok(())
}

fn changed(
    what: &str,
    row: Result<DisputeRow, RequestError>,
    context: &Context,
) -> Result<(), Failure> {
    let row = row.map_err(|error| Failure::request(what, &error, None))?;
    if context.json {
        return output::print_json(&row);
    }
    output::print(&format!("{}: {}", row.id, state(&row)))
}

/// Where it stands, with the ruling where there is one.
fn state(row: &DisputeRow) -> String {
    match &row.ruling {
        Some(ruling) => format!(
            "{}: {} by {}, severity {}",
            row.state,
            ruling.verdict.name(),
            who(ruling.mechanism),
            ruling.severity
        ),
        None => row.state.to_string(),
    }
}

fn who(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Automated => "the log",
        Mechanism::Peer => "arbitrators",
        Mechanism::Human => "an operator",
    }
}

async fn list(args: ListArgs, context: &Context) -> Result<(), Failure> {
    let query = DisputeList {
        commitment_id: args.commitment,
        agent_id: args.agent,
        session_id: args.session,
        states: args.states,
        limit: u32::try_from(args.max.clamp(1, 1000)).unwrap_or(1000),
        cursor: None,
    };
    let mut found = disputes(context).await?.list(query);
    let headings = [
        "DISPUTE", "STATE", "FILED", "TYPE", "FILED BY", "AGAINST", "REASON",
    ];
    let mut columns = Columns::new(&headings);
    for _ in 0..args.max {
        let Some(row) = found.next().await else {
            break;
        };
        let row = row.map_err(|error| Failure::request("listing disputes", &error, None))?;
        if context.json {
            output::print_json(&row)?;
            continue;
        }
        columns.row([
            row.id.to_string(),
            state(&row),
            output::time(row.filed_at),
            row.dispute_type.name().to_owned(),
            row.filed_by.name.to_string(),
            row.filed_against.name.to_string(),
            shown(&row.reason),
        ]);
    }
    if context.json {
        return Ok(());
    }
    columns.print("no disputes")
}

fn show(row: &DisputeRow, context: &Context) -> Result<(), Failure> {
    if context.json {
        return output::print_json(row);
    }
    let some = |text: Option<String>| text.unwrap_or_default();
    let json = |text: &Option<JsonText>| some(text.as_ref().map(|text| shown(text.text())));
    let mut fields = vec![
        ("dispute", row.id.to_string()),
        ("commitment", row.commitment_id.to_string()),
        ("session", format!("{} of {}", row.session_id, row.org)),
        ("state", state(row)),
        ("type", row.dispute_type.name().to_owned()),
        ("severity", row.severity.to_string()),
        ("filed by", party(&row.filed_by)),
        ("against", party(&row.filed_against)),
        ("reason", shown(&row.reason)),
        ("evidence", json(&row.evidence)),
        ("filed", output::time(row.filed_at)),
        ("goes on at", some(row.due_at.map(output::time))),
        (
            "answer",
            some(row.answer.as_ref().map(|answer| shown(&answer.reason))),
        ),
        (
            "evidence against it",
            row.answer
                .as_ref()
                .map_or(String::new(), |answer| json(&answer.evidence)),
        ),
        (
            "decided by",
            some(row.mechanism.map(|mechanism| who(mechanism).to_owned())),
        ),
        (
            "ruling",
            some(row.ruling.as_ref().map(|ruling| shown(&ruling.reason))),
        ),
        ("ended", some(row.ended_at.map(output::time))),
    ];
    fields.retain(|(_, value)| !value.is_empty());
    output::print(&output::fields(&fields))?;
    if row.arbitrators.is_empty() {
        return Ok(());
    }
    output::print("")?;
    let mut columns = Columns::new(&["ARBITRATOR", "ORG", "VOTE", "REASON"]);
    for seat in &row.arbitrators {
        let vote = match &seat.vote {
            Some(vote) => vote.verdict.name(),
            None if seat.replaced => "silent, replaced",
            None => "",
        };
        let reason = seat.vote.as_ref().map(|vote| shown(&vote.reason));
        columns.row([
            seat.party.name.to_string(),
            seat.party.org.to_string(),
            vote.to_owned(),
            some(reason),
        ]);
    }
    columns.print("nobody arbitrates")
}
