//! The tables of docs/asp.md about commitments, escrow and disputes against the code: every state ×
//! step × voice.

use npayload::asp::commitment::{self, Judge, Next, Standing, State, Step, Voice};
use npayload::asp::dispute::{self, DisputeState, DisputeStep, DisputeType, DisputeVoice};
use npayload::asp::escrow::{MoveKind, ceiling};
use npayload::asp::trust::Level;

/// The rows of the first table under that heading, cells trimmed, the rule below the head left out.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let document = include_str!("../../docs/asp.md");
    let (_, section) = document
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("docs/asp.md has no section {heading}"));
    let rows = section
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    rows.filter(|line| !line.starts_with("| ---"))
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().trim_matches('`')).collect()
        })
        .collect()
}

/// What a cell says of the voice with that letter: `=`, or what stands behind the arrow.
fn drawn(cell: &'static str, letter: char) -> Option<&'static str> {
    if cell == "—" {
        return None;
    }
    let (who, what) = cell.split_once(' ').expect("who, then what");
    assert!(who.chars().all(|c| "OJPKFAH".contains(c)), "{cell}");
    let what = what.strip_prefix("→ ").unwrap_or(what);
    who.contains(letter).then_some(what)
}

#[test]
fn every_cell_of_the_table_of_commitments_is_what_the_code_does_for_every_voice() {
    let rows = table("### The table of commitments");
    assert_eq!(rows[0][1..], State::ALL.map(State::name));
    let steps: Vec<&str> = rows[1..].iter().map(|row| row[0]).collect();
    assert_eq!(steps, Step::ALL.map(Step::name));
    for (step, row) in Step::ALL.into_iter().zip(&rows[1..]) {
        for (state, cell) in State::ALL.into_iter().zip(&row[1..]) {
            for (voice, letter) in Voice::ALL.into_iter().zip("OJPK".chars()) {
                let expected = drawn(cell, letter).map(|what| match what {
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
    let rows = table("### Who judges");
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
    let rows = table("### The table of disputes");
    assert_eq!(rows[0][1..], DisputeState::ALL.map(DisputeState::name));
    let steps: Vec<&str> = rows[1..].iter().map(|row| row[0]).collect();
    assert_eq!(steps, DisputeStep::ALL.map(DisputeStep::name));
    for (step, row) in DisputeStep::ALL.into_iter().zip(&rows[1..]) {
        for (state, cell) in DisputeState::ALL.into_iter().zip(&row[1..]) {
            for (voice, letter) in DisputeVoice::ALL.into_iter().zip("FOAHK".chars()) {
                let expected = drawn(cell, letter).map(|what| match what {
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
    let rows = table("## Disputes");
    for (one, row) in DisputeType::ALL.into_iter().zip(&rows[1..]) {
        assert_eq!(row[0], one.name());
        assert_eq!(row[3], one.severity().to_string());
    }
    assert_eq!(rows.len(), 1 + DisputeType::ALL.len());
    let rows = table("### Ceilings");
    for (level, row) in Level::ALL.into_iter().zip(&rows[1..]) {
        assert_eq!(row[0], level.name());
        let least: f64 = row[1].parse().unwrap();
        assert_eq!((least * 1e6).round() as u32, level.least());
        assert_eq!(row[2].replace(',', ""), ceiling(level).to_string());
    }
    assert_eq!(rows.len(), 1 + Level::ALL.len());
    let rows = table("## Escrow");
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
