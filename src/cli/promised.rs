//! Values that the commands about promises, disputes and money have in common.

use clap::Args;

use super::failure::Failure;
use super::output;
use super::typed;
use crate::asp::commitment::{EscrowTerms, State};
use crate::asp::dispute::{DisputeState, DisputeType, Verdict};
use crate::protocol::asp::{ChannelPlace, EvidencePlace, JsonText, PartyRow, SessionPlace};
use crate::types::{ChannelName, Offset, SessionId};

/// What shows something.
#[derive(Clone, Debug, Args)]
pub(super) struct EvidenceArgs {
    /// What shows it, in your own words: JSON, @FILE, or - for stdin
    #[arg(long, value_name = "JSON")]
    evidence: Option<String>,
    /// What shows it in the broker's record: SESSION:SEQUENCE or CHANNEL:START..END, END left out;
    /// may be given more than once
    #[arg(long = "reference", value_name = "PLACE", value_parser = place)]
    references: Vec<EvidencePlace>,
}

impl EvidenceArgs {
    /// What was said.
    ///
    /// # Errors
    /// When it cannot be read, or is not JSON.
    pub(super) fn read(self) -> Result<(Option<JsonText>, Vec<EvidencePlace>), Failure> {
        let evidence = typed::json_or_none("--evidence", self.evidence.as_deref())?;
        Ok((evidence, self.references))
    }
}

fn place(text: &str) -> Result<EvidencePlace, String> {
    const SHAPE: &str = "a place is SESSION:SEQUENCE or CHANNEL:START..END, such as ses_…:7 or \
                         surveys.drafts:40..42";
    let (of, at) = text.rsplit_once(':').ok_or(SHAPE)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| SHAPE.to_owned());
    match at.split_once("..") {
        Some((start, end)) => Ok(EvidencePlace::Channel(ChannelPlace {
            channel: ChannelName::parse(of).map_err(|error| error.to_string())?,
            start: Offset(number(start)?),
            end: Offset(number(end)?),
            digest: None,
        })),
        None => Ok(EvidencePlace::Session(SessionPlace {
            session_id: of.parse::<SessionId>().map_err(|error| error.to_string())?,
            sequence: number(at)?,
            digest: None,
        })),
    }
}

/// Reads a sum of money: `50000:EUR`.
pub(super) fn money(text: &str) -> Result<EscrowTerms, String> {
    const SHAPE: &str =
        "a sum is AMOUNT:CURRENCY in the smallest unit of the currency, such as 50000:EUR";
    let (amount, currency) = text.split_once(':').ok_or(SHAPE)?;
    let amount = amount.parse().ok().filter(|amount| *amount > 0);
    Ok(EscrowTerms {
        amount: amount.ok_or(SHAPE)?,
        currency: currency.parse().map_err(|error| format!("{error}"))?,
    })
}

/// A sum of money in words.
pub(super) fn escrow_text(escrow: &EscrowTerms) -> String {
    format!("{} {}", output::count(escrow.amount), escrow.currency)
}

/// An agent with a part in it, in words.
pub(super) fn party(party: &PartyRow) -> String {
    format!("{} of {} ({})", party.name, party.org, party.agent_id)
}

/// Reads a state of a commitment.
pub(super) fn commitment_state(text: &str) -> Result<State, String> {
    one_of(&State::ALL, State::name, text)
}

/// Reads a state of a dispute.
pub(super) fn dispute_state(text: &str) -> Result<DisputeState, String> {
    one_of(&DisputeState::ALL, DisputeState::name, text)
}

/// Reads a type of dispute.
pub(super) fn dispute_type(text: &str) -> Result<DisputeType, String> {
    one_of(&DisputeType::ALL, DisputeType::name, text)
}

/// Reads a verdict.
pub(super) fn verdict(text: &str) -> Result<Verdict, String> {
    one_of(&Verdict::ALL, Verdict::name, text)
}

/// The one of that name, in camel case or with `-` between its words.
pub(super) fn one_of<T: Copy>(
    all: &[T],
    name_of: impl Fn(T) -> &'static str,
    text: &str,
) -> Result<T, String> {
    let wanted = text.replace('-', "");
    let mut found = all.iter().copied();
    found
        .find(|one| name_of(*one).eq_ignore_ascii_case(&wanted))
        .ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|one| name_of(*one)).collect();
            format!("it is none of {}", names.join(", "))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_in_a_session_or_a_channel() {
        assert_eq!(
            place("ses_01990000-0000-7000-8000-0000000000ff:7"),
            Ok(EvidencePlace::Session(SessionPlace {
                session_id: SessionId(0x0199_0000_0000_7000_8000_0000_0000_00ff),
                sequence: 7,
                digest: None,
            }))
        );
        assert_eq!(
            place("surveys.drafts:40..42"),
            Ok(EvidencePlace::Channel(ChannelPlace {
                channel: ChannelName::parse("surveys.drafts").unwrap(),
                start: Offset(40),
                end: Offset(42),
                digest: None,
            }))
        );
        for bad in ["", "7", "ses_x:7", "a:7", "a:1..", "a:..2", "a b:1..2"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_sum_is_whole_and_has_a_currency() {
        let sum = money("50000:EUR").unwrap();
        assert_eq!(escrow_text(&sum), "50,000 EUR");
        for bad in ["", "5", "0:EUR", "-5:EUR", "1.5:EUR", "5:eur", "5:EURO"] {
            assert!(money(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_read_in_camel_case_and_with_hyphens() {
        assert_eq!(dispute_type("non-delivery"), Ok(DisputeType::NonDelivery));
        assert_eq!(dispute_type("nonDelivery"), Ok(DisputeType::NonDelivery));
        assert_eq!(dispute_state("under-review"), Ok(DisputeState::UnderReview));
        assert_eq!(commitment_state("Breached"), Ok(State::Breached));
        assert_eq!(verdict("partial"), Ok(Verdict::Partial));
        let error = verdict("guilty").unwrap_err();
        assert_eq!(error, "it is none of dismissed, partial, upheld");
    }
}
