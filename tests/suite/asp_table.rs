//! docs/asp.md, "The transition table", against the code: every state × performative × voice.

use npayload::asp::session::{Next, Performative, State, Voice, next};

/// The rows of the table under that heading, cells trimmed, the rule below the head left out.
fn table() -> Vec<Vec<&'static str>> {
    let document = include_str!("../../docs/asp.md");
    let (_, section) = document
        .split_once("\n### The transition table\n")
        .expect("docs/asp.md has the section");
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

/// What a cell says of a voice: `C → INVITED, I =` and the like.
fn drawn(cell: &str, voice: Voice) -> Option<Next> {
    let letter = match voice {
        Voice::Coordinator => 'C',
        Voice::Specialist => 'S',
        Voice::Observer => 'O',
        Voice::Invited => 'I',
    };
    if cell == "—" {
        return None;
    }
    let mut found = None;
    for clause in cell.split(", ") {
        let (who, what) = clause.split_once(' ').expect("who, then what");
        assert!(who.chars().all(|c| "CSOI".contains(c)), "{clause}");
        let what = match what.strip_prefix("→ ") {
            None if what == "=" => Next::Stays,
            None => panic!("`{what}` is neither `=` nor an arrow"),
            Some("invitation") => Next::Invitation,
            Some("agreement") => Next::Agreement,
            Some(name) => {
                let state = State::ALL.into_iter().find(|state| state.name() == name);
                Next::To(state.unwrap_or_else(|| panic!("no state {name}")))
            }
        };
        if who.contains(letter) {
            assert!(found.replace(what).is_none(), "{cell} says it twice");
        }
    }
    found
}

#[test]
fn every_cell_of_the_drawn_table_is_what_the_code_does_for_every_voice() {
    let rows = table();
    let states: Vec<&str> = State::ALL.iter().map(|state| state.name()).collect();
    assert_eq!(rows[0][1..], states);
    let said: Vec<&str> = rows[1..].iter().map(|row| row[0]).collect();
    assert_eq!(said, Performative::ALL.map(Performative::name));
    for (performative, row) in Performative::ALL.into_iter().zip(&rows[1..]) {
        assert_eq!(row.len(), 1 + State::ALL.len(), "{performative}");
        for (state, cell) in State::ALL.into_iter().zip(&row[1..]) {
            for voice in Voice::ALL {
                assert_eq!(
                    drawn(cell, voice),
                    next(state, performative, voice),
                    "{performative} in {state} by {voice}"
                );
            }
        }
    }
}
