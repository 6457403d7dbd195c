//! `npayload trust`: how far agents are trusted, and why.

use clap::Subcommand;

use super::Context;
use super::elsewhere::Elsewhere;
use super::failure::Failure;
use super::output::{self, Columns};
use super::typed::shown;
use crate::asp::registry::AgentRef;
use crate::asp::trust::Scope;
use crate::client::Trust;
use crate::protocol::asp::{
    CopyAsk, Millionths, RemarkRow, ScopeRow, TrustAsk, TrustEndorse, TrustExplain, TrustExplained,
    TrustRate, TrustRow,
};
use crate::types::SessionId;

/// What to do with trust.
#[derive(Clone, Debug, Subcommand)]
pub enum TrustCommand {
    /// Tell how far an agent is trusted
    #[command(after_help = "Examples:
  npayload trust show research-agent
  npayload trust show agent://acme/writer --json | jq .score")]
    Show {
        /// The agent
        agent: AgentRef,
        #[command(flatten)]
        elsewhere: Elsewhere,
    },
    /// Tell why: what each organisation's evidence comes to, what stands out, and the evidence
    #[command(after_help = "Example:
  npayload trust explain research-agent --max 20")]
    Explain {
        /// The agent
        agent: AgentRef,
        /// Pieces of evidence at most
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        max: u32,
        /// Where the list of evidence before ended: its `cursor`
        #[arg(long, value_name = "CURSOR")]
        cursor: Option<String>,
        #[command(flatten)]
        elsewhere: Elsewhere,
    },
    /// Endorse an agent: vouch for it with the endorser's own score, which is told beside its score
    #[command(after_help = "Examples:
  npayload trust endorse agent://acme/writer --from coordinator-agent
  npayload trust endorse agent://acme/writer --from coordinator-agent --withdraw")]
    Endorse {
        /// The agent
        agent: AgentRef,
        /// Who endorses
        #[arg(long, value_name = "AGENT")]
        from: AgentRef,
        /// Take it back
        #[arg(long)]
        withdraw: bool,
    },
    /// Rate an agent for what it did in a session
    #[command(after_help = "Example:
  npayload trust rate research-agent 0.9 --session ses_… --from coordinator-agent")]
    Rate {
        /// The agent
        agent: AgentRef,
        /// 0 to 1
        #[arg(value_parser = rating)]
        rating: f64,
        /// Where they worked together: ses_…
        #[arg(long, value_name = "SESSION")]
        session: SessionId,
        /// Who rates
        #[arg(long, value_name = "AGENT")]
        from: AgentRef,
    },
}

fn rating(text: &str) -> Result<f64, String> {
    let rating: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if !(0.0..=1.0).contains(&rating) {
        return Err(format!("{rating} is outside 0..=1"));
    }
    Ok(rating)
}

/// Carries the command out.
///
/// # Errors
/// When the broker refuses or is not there.
pub async fn run(command: TrustCommand, context: &Context) -> Result<(), Failure> {
    match command {
        TrustCommand::Show { agent, elsewhere } => {
            let what = format!("telling the trust in {agent}");
            if elsewhere.is_asked() {
                let ask = CopyAsk::TrustScore(TrustAsk { agent_id: agent });
                return elsewhere.tell(ask, &what, context).await;
            }
            let row = trust(context).await?.score(agent).await;
            let row = row.map_err(|error| Failure::request(what, &error, None))?;
            if context.json {
                return output::print_json(&row);
            }
            show(&row)
        }
        TrustCommand::Explain {
            agent,
            max,
            cursor,
            elsewhere,
        } => {
            let what = format!("explaining the trust in {agent}");
            let mut asked = TrustExplain::new(agent);
            asked.limit = max.clamp(1, 1000);
            asked.cursor = cursor;
            if elsewhere.is_asked() {
                let ask = CopyAsk::TrustExplain(asked);
                return elsewhere.tell(ask, &what, context).await;
            }
            let told = trust(context).await?.explain(asked).await;
            let told = told.map_err(|error| Failure::request(what, &error, None))?;
            if context.json {
                return output::print_json(&told);
            }
            explain(&told)
        }
        TrustCommand::Endorse {
            agent,
            from,
            withdraw,
        } => {
            let what = format!("endorsing {agent}");
            let endorse = TrustEndorse {
                agent_id: agent,
                from,
                withdrawn: withdraw,
            };
            let row = trust(context).await?.endorse(endorse).await;
            let row = row.map_err(|error| Failure::request(what, &error, None))?;
            if context.json {
                return output::print_json(&row);
            }
            let (from, agent) = (&row.from.name, &row.agent.name);
            output::print(&match row.score {
                Some(score) => format!("{from} endorses {agent} with {}", number(score)),
                None => format!("{from} endorses {agent} no more"),
            })
        }
        TrustCommand::Rate {
            agent,
            rating,
            session,
            from,
        } => {
            let what = format!("rating {agent}");
            let rate = TrustRate {
                session_id: session,
                agent_id: agent,
                from,
                rating,
            };
            let row = trust(context).await?.rate(rate).await;
            let row = row.map_err(|error| Failure::request(what, &error, None))?;
            if context.json {
                return output::print_json(&row);
            }
            output::print(&format!(
                "{} rated {} {}",
                row.from.name,
                row.agent.name,
                number(row.rating)
            ))
        }
    }
}

async fn trust(context: &Context) -> Result<Trust, Failure> {
    Ok(context.client().await?.trust())
}

fn number(millionths: Millionths) -> String {
    format!("{:.3}", f64::from(millionths))
}

fn or_unknown(millionths: Option<Millionths>) -> String {
    millionths.map_or_else(|| "no evidence".to_owned(), number)
}

fn percent(rate: Option<Millionths>) -> String {
    rate.map_or_else(
        || "no evidence".to_owned(),
        |rate| format!("{:.1} %", f64::from(rate) * 100.0),
    )
}

fn scope(row: &ScopeRow) -> String {
    let (score, mean) = (number(row.score), or_unknown(row.mean));
    format!(
        "{score}, most likely {mean}, confidence {}",
        number(row.confidence)
    )
}

/// Prints how far an agent is trusted.
///
/// # Errors
/// When the output is closed.
pub(super) fn show(row: &TrustRow) -> Result<(), Failure> {
    let whose = match row.scope {
        Scope::Internal => "internal: as its own organisation sees it",
        Scope::External => "external: as others see it",
    };
    let response = row
        .average_response_time
        .map_or_else(|| "no evidence".to_owned(), output::duration);
    let parts = &row.components;
    let fields = [
        (
            "agent",
            format!("{} of {} ({})", row.name, row.org, row.agent_id),
        ),
        ("score", format!("{}, {:?}", number(row.score), row.level)),
        ("scope", whose.to_owned()),
        ("internal", scope(&row.internal)),
        ("external", scope(&row.external)),
        ("completion rate", percent(row.completion_rate)),
        ("response time", response),
        ("dispute rate", percent(row.dispute_rate)),
        ("evidence", output::count(row.evidence_count)),
        (
            "organisations",
            output::count(row.distinct_counterparties.into()),
        ),
        ("as of", output::time(row.as_of)),
        (
            "composite",
            format!("{:.2} of 100", f64::from(row.composite)),
        ),
        (
            "- identity verification",
            parts.identity_verification.to_string(),
        ),
        (
            "- communication history",
            parts.communication_history.to_string(),
        ),
        (
            "- commitment fulfillment",
            parts.commitment_fulfillment.to_string(),
        ),
        (
            "- behavioral consistency",
            parts.behavioral_consistency.to_string(),
        ),
        ("- response quality", parts.response_quality.to_string()),
        ("- security posture", parts.security_posture.to_string()),
        (
            "- economic reliability",
            parts.economic_reliability.to_string(),
        ),
        ("- peer endorsements", parts.peer_endorsements.to_string()),
    ];
    output::print(&output::fields(&fields))
}

/// Prints why an agent is trusted so far.
///
/// # Errors
/// When the output is closed.
pub(super) fn explain(told: &TrustExplained) -> Result<(), Failure> {
    show(&told.trust)?;
    output::print("")?;
    let mut columns = Columns::new(&["ORG", ">CREDIBILITY", ">GOOD", ">COUNTED", ">BAD"]);
    for pair in &told.pairs {
        columns.row([
            pair.org.to_string(),
            number(pair.credibility),
            number(pair.good),
            number(pair.counted),
            number(pair.bad),
        ]);
    }
    columns.print("no evidence of other organisations")?;
    for remark in &told.remarks {
        output::print(&remark_text(remark))?;
    }
    if !told.endorsements.is_empty() {
        output::print("")?;
        let mut columns = Columns::new(&["ENDORSED BY", "ORG", ">SCORE", ">COUNTED"]);
        for endorser in &told.endorsements {
            columns.row([
                endorser.agent_id.to_string(),
                endorser.org.to_string(),
                number(endorser.score),
                number(endorser.counted),
            ]);
        }
        columns.print("no endorsements")?;
    }
    output::print("")?;
    let mut columns = Columns::new(&[">OFFSET", "EVIDENCE"]);
    for piece in &told.evidence {
        columns.row([piece.offset.0.to_string(), shown(piece.record.text())]);
    }
    columns.print("no evidence")?;
    if let Some(cursor) = &told.cursor {
        eprintln!("there is more: --cursor {cursor}");
    }
    Ok(())
}

fn remark_text(remark: &RemarkRow) -> String {
    match remark {
        RemarkRow::Ring { orgs } => {
            let orgs: Vec<&str> = orgs.iter().map(|org| org.as_str()).collect();
            format!("ring: {} vouch for each other", orgs.join(", "))
        }
        RemarkRow::Outlier { org } => {
            format!("outlier: the opinions of {org} stand alone and are left out")
        }
        RemarkRow::UnfoundedDisputes { org, candour } => format!(
            "unfounded disputes: {org} has {} of its credibility left",
            number(*candour)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rating_is_from_0_to_1() {
        assert_eq!(rating("0.9"), Ok(0.9));
        for bad in ["", "x", "-0.1", "1.1", "NaN"] {
            assert!(rating(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_has_no_evidence_is_not_zero() {
        assert_eq!(percent(None), "no evidence");
        assert_eq!(percent(Some(Millionths(0))), "0.0 %");
        assert_eq!(or_unknown(Some(Millionths(920_000))), "0.920");
    }
}
