//! The tables of docs/asp.md about commitments, escrow and disputes against the code: every state ×
//! step × voice.

use npayload::asp::commitment::{self, Judge, Next, Standing, State, Step, Voice};
use npayload::asp::dispute::{self, DisputeState, DisputeStep, DisputeType, DisputeVoice};
use npayload::asp::escrow::{MoveKind, ceiling};
use npayload::asp::trust::Level;

use crate::asp_table::{drawn, table};

#[test]
fn every_cell_of_the_table_of_commitments_is_what_the_code_does_for_every_voice() {
    let rows = table("### The table of commitments", 0);
    assert_eq!(rows[0][1..], State::ALL.map(State::name));
    let steps: Vec<&str> = rows[1..].iter().map(|row| row[0]).collect();
    assert_eq!(steps, Step::ALL.map(Step::name));
    for (step, row) in Step::ALL.into_iter().zip(&rows[1..]) {
        for (state, cell) in State::ALL.into_iter().zip(&row[1..]) {
            for (voice, letter) in Voice::ALL.into_iter().zip("OJPK".chars()) {
                let expected = drawn(cell, "OJPKFAH", letter).map(|what| match what {
                    "=" => Next::Stays,
                    "delivery" => Next::Delivery,
                    "ruling" => Next::Ruling,
                    name => Next::To(State::from_name(name).expect("a state")),
                });
                let found = commitment::next(state, step, voice);
                assert_eq!(found, expected, "{step} in {state} by {voice}");
            }
        }
    }
}

#[test]
fn who_judges_is_what_the_document_says() {
    let rows = table("### Who judges", 0);
    for (judge, row) in Judge::ALL.into_iter().zip(&rows[1..]) {
        let name = serde_json::to_string(&judge).unwrap();
        assert_eq!(format!("\"{}\"", row[0]), name);
        let standings = [
            Standing::Coordinator,
            Standing::Participant,
            Standing::Stranger,
        ];
        for (standing, cell) in standings.into_iter().zip(&row[2..]) {
            let expected = match *cell {
                "J" => Some(Voice::Judge),
                "P" => Some(Voice::Participant),
                _ => None,
            };
            assert_eq!(judge.voice(standing), expected, "{name} {standing:?}");
        }
    }
    assert_eq!(rows.len(), 1 + Judge::ALL.len());
}

#[test]
fn every_cell_of_the_table_of_disputes_is_what_the_code_does_for_every_voice() {
    let rows = table("### The table of disputes", 0);
    assert_eq!(rows[0][1..], DisputeState::ALL.map(DisputeState::name));
    let steps: Vec<&str> = rows[1..].iter().map(|row| row[0]).collect();
    assert_eq!(steps, DisputeStep::ALL.map(DisputeStep::name));
    for (step, row) in DisputeStep::ALL.into_iter().zip(&rows[1..]) {
        for (state, cell) in DisputeState::ALL.into_iter().zip(&row[1..]) {
            for (voice, letter) in DisputeVoice::ALL.into_iter().zip("FOAHK".chars()) {
                let expected = drawn(cell, "OJPKFAH", letter).map(|what| match what {
                    "=" => state,
                    name => DisputeState::from_name(name).expect("a state"),
                });
                let found = dispute::next(state, step, voice);
                assert_eq!(found, expected, "{step} in {state} by {voice}");
            }
        }
    }
}

#[test]
fn types_ceilings_and_movements_are_those_of_the_document() {
    let rows = table("## Disputes", 0);
    for (one, row) in DisputeType::ALL.into_iter().zip(&rows[1..]) {
        assert_eq!(row[0], one.name());
        assert_eq!(row[3], one.severity().to_string());
    }
    assert_eq!(rows.len(), 1 + DisputeType::ALL.len());
    let rows = table("### Ceilings", 0);
    for (level, row) in Level::ALL.into_iter().zip(&rows[1..]) {
        assert_eq!(row[0], level.name());
        let least: f64 = row[1].parse().unwrap();
        assert_eq!((least * 1e6).round() as u32, level.least());
        assert_eq!(row[2].replace(',', ""), ceiling(level).to_string());
    }
    assert_eq!(rows.len(), 1 + Level::ALL.len());
    let rows = table("## Escrow", 0);
    for (kind, row) in MoveKind::ALL.into_iter().zip(&rows[1..]) {
        assert_eq!(row[0], kind.record_type());
        let (from, to) = kind.parts();
        for (part, cell) in [(from, row[1]), (to, row[2])] {
            let expected = part.map(|part| serde_json::to_string(&part).unwrap());
            let expected = expected.map_or("outside".to_owned(), |part| part.replace('"', ""));
            assert!(cell.starts_with(&expected), "{cell}: {expected}");
        }
    }
    assert_eq!(rows.len(), 1 + MoveKind::ALL.len());
}
