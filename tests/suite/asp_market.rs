//! The tables of docs/asp.md about the market against the code: every state × step × voice.

use npayload::asp::market::{
    ListingNext, ListingState, ListingStep, ListingVoice, MarketRecord, PricingType,
    SubscriptionState, SubscriptionStep, SubscriptionVoice, next_listing, next_subscription,
};

/// The rows of the table with that number under that heading, cells trimmed, without the rule
/// below the head.
fn table(heading: &str, number: usize) -> Vec<Vec<&'static str>> {
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
fn drawn(cell: &'static str, letter: char) -> Option<&'static str> {
    if cell == "—" {
        return None;
    }
    let (who, what) = cell.split_once(' ').expect("who, then what");
    assert!("OHPS".contains(who), "{cell}");
    let what = what.strip_prefix("→ ").unwrap_or(what);
    who.contains(letter).then_some(what)
}

#[test]
fn every_cell_of_the_table_of_listings_is_what_the_code_does_for_every_voice() {
    let rows = table("### The table of listings", 0);
    assert_eq!(rows[0][1..], ListingState::ALL.map(ListingState::name));
    let steps: Vec<&str> = rows[1..].iter().map(|row| row[0]).collect();
    assert_eq!(steps, ListingStep::ALL.map(ListingStep::name));
    for (step, row) in ListingStep::ALL.into_iter().zip(&rows[1..]) {
        for (state, cell) in ListingState::ALL.into_iter().zip(&row[1..]) {
            for (voice, letter) in ListingVoice::ALL.into_iter().zip("OH".chars()) {
                let expected = drawn(cell, letter).map(|what| match what {
                    "=" => ListingNext::Stays,
                    "back" => ListingNext::Back,
                    name => ListingNext::To(ListingState::from_name(name).expect("a state")),
                });
                let found = next_listing(state, step, voice);
                assert_eq!(found, expected, "{step} in {state} by the {voice}");
            }
        }
    }
}

#[test]
fn every_cell_of_the_table_of_subscriptions_is_what_the_code_does_for_every_voice() {
    let rows = table("### The table of subscriptions", 0);
    assert_eq!(
        rows[0][1..],
        SubscriptionState::ALL.map(SubscriptionState::name)
    );
    let steps: Vec<&str> = rows[1..].iter().map(|row| row[0]).collect();
    assert_eq!(steps, SubscriptionStep::ALL.map(SubscriptionStep::name));
    for (step, row) in SubscriptionStep::ALL.into_iter().zip(&rows[1..]) {
        for (state, cell) in SubscriptionState::ALL.into_iter().zip(&row[1..]) {
            for (voice, letter) in SubscriptionVoice::ALL.into_iter().zip("PS".chars()) {
                let expected = drawn(cell, letter);
                let expected =
                    expected.map(|name| SubscriptionState::from_name(name).expect("a state"));
                let found = next_subscription(state, step, voice);
                assert_eq!(found, expected, "{step} in {state} by the {voice}");
            }
        }
    }
}

#[test]
fn prices_and_records_are_those_of_the_document() {
    let rows = table("## The market", 1);
    let kinds: Vec<&str> = rows[1..].iter().map(|row| row[0]).collect();
    assert_eq!(kinds, PricingType::ALL.map(PricingType::name));
    let rows = table("### Records of the market", 0);
    let types: Vec<&str> = rows[1..].iter().map(|row| row[0]).collect();
    assert_eq!(types, MarketRecord::TYPES);
}
