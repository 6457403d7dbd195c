//! The tables of docs/asp.md against the code: every state × performative × voice, and the body of
//! every performative.

use npayload::asp::Canonical;
use npayload::asp::session::{BodyError, Next, Performative, State, Voice, check_body, next};
use serde_json::{Map, Value, json};

/// The rows of the table with that number under that heading, cells trimmed, without the rule
/// below the head.
pub fn table(heading: &str, number: usize) -> Vec<Vec<&'static str>> {
    let document = include_str!("../../docs/asp.md");
    let (_, section) = document
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("docs/asp.md has no section {heading}"));
    let mut tables: Vec<Vec<Vec<&str>>> = Vec::new();
    let mut was_row = false;
    for line in section.lines() {
        if line.starts_with("## ") {
            break;
        }
        let is_row = line.starts_with('|');
        if is_row && !was_row {
            tables.push(Vec::new());
        }
        was_row = is_row;
        if is_row && !line.starts_with("| ---") {
            let cells = line.trim_matches('|').split('|');
            let cells = cells.map(|cell| cell.trim().trim_matches('`')).collect();
            tables.last_mut().expect("a table has begun").push(cells);
        }
    }
    tables.swap_remove(number)
}

/// What a cell says of the voice with that letter: `=`, or what stands behind the arrow.
///
/// - `letters`: those of all voices.
pub fn drawn(cell: &'static str, letters: &str, letter: char) -> Option<&'static str> {
    if cell == "—" {
        return None;
    }
    let (who, what) = cell.split_once(' ').expect("who, then what");
    assert!(who.chars().all(|c| letters.contains(c)), "{cell}");
    let what = what.strip_prefix("→ ").unwrap_or(what);
    who.contains(letter).then_some(what)
}

/// What a cell says of a voice: `C → INVITED, I =` and the like.
fn drawn_of(cell: &str, voice: Voice) -> Option<Next> {
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
    let rows = table("### The transition table", 0);
    let states: Vec<&str> = State::ALL.iter().map(|state| state.name()).collect();
    assert_eq!(rows[0][1..], states);
    let said: Vec<&str> = rows[1..].iter().map(|row| row[0]).collect();
    assert_eq!(said, Performative::ALL.map(Performative::name));
    for (performative, row) in Performative::ALL.into_iter().zip(&rows[1..]) {
        assert_eq!(row.len(), 1 + State::ALL.len(), "{performative}");
        for (state, cell) in State::ALL.into_iter().zip(&row[1..]) {
            for voice in Voice::ALL {
                assert_eq!(
                    drawn_of(cell, voice),
                    next(state, performative, voice),
                    "{performative} in {state} by {voice}"
                );
            }
        }
    }
}

/// What a member of a body may be, as the document says below its table.
fn fitting(member: &str) -> Value {
    match member {
        "terms" | "parameters" => json!({}),
        "deadline" | "validUntil" => json!(1_735_689_600_000_u64),
        _ => json!("text"),
    }
}

fn is_anything(member: &str) -> bool {
    let any = [
        "subject",
        "scope",
        "to",
        "question",
        "answer",
        "escrow",
        "observation",
        "outcome",
    ];
    any.contains(&member)
}

#[test]
fn every_body_is_what_the_document_says() {
    let document = include_str!("../../docs/asp.md");
    let (_, section) = document
        .split_once("\n| Performative | Must have | May have |\n")
        .expect("docs/asp.md has the table");
    let rows: Vec<&str> = section
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(rows.len(), Performative::ALL.len());
    for (said, row) in Performative::ALL.into_iter().zip(rows) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells[0], format!("`{said}`"));
        let names = |cell: &'static str| cell.split('`').skip(1).step_by(2);
        let (must, may): (Vec<_>, Vec<_>) = (names(cells[1]).collect(), names(cells[2]).collect());
        let judge = |body: &Map<String, Value>| {
            check_body(said, Some(&Canonical::of(&body.clone().into()).unwrap()))
        };
        let full: Map<String, Value> = must
            .iter()
            .chain(&may)
            .map(|m| ((*m).to_owned(), fitting(m)))
            .collect();
        judge(&full).unwrap();
        let one_of = cells[1].contains(" or ");
        let mut bare = full.clone();
        bare.retain(|member, _| must.contains(&member.as_str()));
        judge(&bare).unwrap();
        for member in &must {
            let mut without = bare.clone();
            without.remove(*member);
            if one_of {
                judge(&without).unwrap();
                without.clear();
            }
            match judge(&without) {
                Err(BodyError::Missing {
                    member: missing, ..
                }) => assert!(missing.contains(member)),
                other => panic!("{said} without {member}: {other:?}"),
            }
        }
        for member in must.iter().chain(&may) {
            let mut odd = full.clone();
            odd.insert((*member).to_owned(), json!(0.5));
            match judge(&odd) {
                Ok(()) => assert!(is_anything(member), "{said}: {member}"),
                Err(BodyError::WrongKind { member: wrong, .. }) => assert_eq!(wrong, *member),
                other => panic!("{said} with an odd {member}: {other:?}"),
            }
            assert_eq!(judge(&odd).is_ok(), is_anything(member), "{said}: {member}");
        }
        let mut more = full.clone();
        more.insert("theirOwn".to_owned(), json!([1]));
        judge(&more).unwrap();
        let none = check_body(said, None);
        assert_eq!(none.is_ok(), must.is_empty(), "{said}");
        let text = Canonical::of(&json!("text")).unwrap();
        assert!(matches!(
            check_body(said, Some(&text)),
            Err(BodyError::NotAnObject {
                found: "a text",
                ..
            })
        ));
    }
}
