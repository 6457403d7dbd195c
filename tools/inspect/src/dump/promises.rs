//! What a record of the topics `__asp.commitments`, `__asp.escrow` and `__asp.evidence` says, in one line beside its JSON.

use std::fmt::{Display, Write};

use npayload::asp::commitment::{CommitmentRecord, Party};
use npayload::asp::dispute::DisputeRecord;
use npayload::asp::escrow::{EscrowRecord, Place};
use npayload::asp::trust::TrustRecord;
use serde_json::Value;

use super::asp::in_full;

/// A line for people, or why the record is not what its type says; none for a type of other topics.
pub fn says(record_type: &str, payload: &[u8], json: &Value) -> Option<Result<String, String>> {
    // Promises and evidence both have records `dispute.ruled`; those that are evidence have links.
    let is_evidence = matches!(
        record_type,
        "clock.read"
            | "commitment.ended"
            | "task.settled"
            | "agent.rated"
            | "agent.endorsed"
            | "org.verified"
            | "trust.folded"
    ) || record_type == "dispute.ruled" && !json["links"].is_null();
    let (topic, _) = record_type.split_once('.')?;
    Some(match topic {
        _ if is_evidence => evidence(record_type, payload),
        "commitment" | "commitments" | "dispute" | "arbitration" => {
            promise(record_type, payload, json)
        }
        "escrow" => money(record_type, payload),
        _ => return None,
    })
}

fn promise(record_type: &str, payload: &[u8], json: &Value) -> Result<String, String> {
    let record = CommitmentRecord::decode(record_type, payload).map_err(in_full)?;
    Ok(match record {
        CommitmentRecord::Created(of) => {
            let promise = &of.promise;
            let mut line = format!(
                "agent {} of organisation {} promises in session {}, until {}: {}",
                promise.obligor.agent,
                promise.obligor.org,
                promise.session,
                promise.deadline.0,
                of.commitment
            );
            if let Some(escrow) = promise.escrow {
                let _ = write!(
                    line,
                    ", with {} {} behind it",
                    escrow.amount, escrow.currency
                );
            }
            line
        }
        CommitmentRecord::Delivered(of) => format!("{} is delivered", of.commitment),
        CommitmentRecord::Stepped { stepped, .. } => {
            let by = stepped.party.map_or_else(|| "the clock".to_owned(), who);
            format!("{}: {record_type} by {by}", stepped.commitment)
        }
        CommitmentRecord::Closed(of) => {
            let (id, state) = (of.commitment.id(), of.commitment.state);
            format!(
                "{id} is closed, {state}, with {} disputes",
                of.disputes.len()
            )
        }
        CommitmentRecord::Dispute(of) => dispute(&of, json),
        CommitmentRecord::Filed(of) => format!(
            "{} commitments, {} disputes and {} sessions are found here",
            of.commitments.len(),
            of.disputes.len(),
            of.sessions.len()
        ),
        CommitmentRecord::Folded(part) => rows(part.part, part.parts, part.rows.len()),
        _ => NEWER.to_owned(),
    })
}

fn dispute(record: &DisputeRecord, json: &Value) -> String {
    match record {
        DisputeRecord::Sealed(of) => format!("the first secret is sealed as {}", of.seal),
        DisputeRecord::Filed(of) => {
            let (id, about) = (of.dispute, of.commitment);
            format!(
                "{} disputes {about}: {id}, {}",
                who(of.filer),
                of.dispute_type.name()
            )
        }
        DisputeRecord::Answered(of) => format!("{} is answered", of.dispute),
        DisputeRecord::Reviewed(of) if of.order.is_empty() => {
            format!("{} goes to an operator", of.dispute)
        }
        DisputeRecord::Reviewed(of) => format!(
            "{} goes to arbitrators, {} drawn of {}",
            of.dispute,
            of.order.len(),
            of.candidates.len()
        ),
        DisputeRecord::Voted(of) => {
            let (voter, verdict) = (who(of.party), of.verdict.name());
            format!(
                "{voter} holds {} {verdict}, severity {}",
                of.dispute, of.severity
            )
        }
        DisputeRecord::Ruled(of) => format!(
            "{} is {}, severity {}: {}",
            of.dispute,
            of.verdict.name(),
            of.severity,
            of.reason
        ),
        DisputeRecord::Stepped { stepped, .. } => {
            let what = json["type"].as_str().unwrap_or_default();
            format!("{}: {what}", stepped.dispute)
        }
    }
}

fn money(record_type: &str, payload: &[u8]) -> Result<String, String> {
    let record = EscrowRecord::decode(record_type, payload).map_err(in_full)?;
    Ok(match record {
        EscrowRecord::Moved { moved, .. } => {
            let side = |place: Option<Place>| {
                let inside = |place: Place| {
                    let part = format!("{:?}", place.part).to_lowercase();
                    format!("{part} of the {}", place.account)
                };
                place.map_or_else(|| "outside".to_owned(), inside)
            };
            let mut line = format!(
                "{} {} from {} to {}",
                moved.amount,
                moved.currency,
                side(moved.from),
                side(moved.to)
            );
            if let Some(commitment) = moved.commitment {
                let _ = write!(line, ", for {commitment}");
            }
            line
        }
        EscrowRecord::Folded(part) => rows(part.part, part.parts, part.rows.len()),
        _ => NEWER.to_owned(),
    })
}

fn evidence(record_type: &str, payload: &[u8]) -> Result<String, String> {
    let record = TrustRecord::decode(record_type, payload).map_err(in_full)?;
    Ok(match record {
        TrustRecord::Clock(of) => format!("it is {}", of.at.0),
        TrustRecord::Commitment(of) => {
            let obligor = of.obligor.agent;
            match of.severity {
                Some(severity) => format!(
                    "agent {obligor} broke {}, severity {severity}",
                    of.commitment
                ),
                None => format!("agent {obligor} kept {}", of.commitment),
            }
        }
        TrustRecord::Task(of) => match of.response_ms {
            Some(ms) => format!(
                "agent {} answered {} after {ms} ms",
                of.agent.agent, of.message
            ),
            None => format!(
                "agent {} did not answer {} in time",
                of.agent.agent, of.message
            ),
        },
        TrustRecord::Dispute(of) => {
            let ruling = format!("{:?}", of.ruling).to_lowercase();
            let against = of.against.agent;
            format!(
                "{} against agent {against} is {ruling}, severity {}",
                of.dispute, of.severity
            )
        }
        TrustRecord::Rating(of) => format!(
            "agent {} rates agent {} {} of 1000",
            of.by.agent, of.agent.agent, of.rating
        ),
        TrustRecord::Endorsement(of) => {
            let what = if of.withdrawn {
                "no longer endorses"
            } else {
                "endorses"
            };
            format!("agent {} {what} agent {}", of.by.agent, of.agent.agent)
        }
        TrustRecord::Org(of) => {
            let what = if of.verified {
                "knows"
            } else {
                "no longer knows"
            };
            format!("principal {} {what} organisation {}", of.by, of.org)
        }
        TrustRecord::Folded(part) => {
            let part = part.folded;
            rows(part.part, part.parts, part.rows.len())
        }
        _ => NEWER.to_owned(),
    })
}

const NEWER: &str = "written by a newer broker";

fn who(party: Party) -> String {
    format!("agent {} of organisation {}", party.agent, party.org)
}

fn rows(part: impl Display, parts: impl Display, rows: usize) -> String {
    format!("part {part} of {parts}: {rows} rows")
}

#[cfg(test)]
mod tests {
    use super::super::asp::says;

    fn line(record: &str) -> String {
        let json: serde_json::Value = serde_json::from_str(record).unwrap();
        let record_type = json["type"].as_str().unwrap();
        says(record_type, record.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn every_golden_record_of_promises_money_and_evidence_says_what_it_is() {
        let golden = include_str!("../../../../tests/golden/asp/promises.json");
        let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
        let mut lines = 0;
        for topic in ["commitments", "escrow", "evidence"] {
            for record in golden[topic].as_array().unwrap() {
                let record = record["record"].as_str().unwrap();
                let line = line(record);
                assert!(
                    !line.contains("newer broker") && line.len() > 10,
                    "{record}: {line}"
                );
                lines += 1;
            }
        }
        assert!(lines > 40, "{lines} records");
        let ruled = |topic: &str| {
            let records = golden[topic].as_array().unwrap();
            let mut found = records.iter().filter(|row| row["type"] == "dispute.ruled");
            line(found.next().unwrap()["record"].as_str().unwrap())
        };
        // The same type on both topics, told apart.
        assert!(ruled("commitments").starts_with("dsp_"));
        assert!(ruled("evidence").contains(" against agent agt_"));
    }

    #[test]
    fn a_record_that_is_not_what_its_type_says_is_told() {
        for record_type in [
            "escrow.held",
            "commitment.breached",
            "agent.rated",
            "dispute.filed",
        ] {
            let short = format!(r#"{{"type":"{record_type}","v":1}}"#);
            let error = says(record_type, short.as_bytes()).unwrap().unwrap_err();
            assert!(error.contains("missing field"), "{error}");
        }
    }
}
