//! The tables of docs/asp.md about the market against the code: every state × step × voice.

use npayload::asp::market::{
    ListingNext, ListingState, ListingStep, ListingVoice, MarketRecord, PricingType,
    SubscriptionState, SubscriptionStep, SubscriptionVoice, next_listing, next_subscription,
};

use crate::asp_table::{drawn, table};

#[test]
fn every_cell_of_the_table_of_listings_is_what_the_code_does_for_every_voice() {
    let rows = table("### The table of listings", 0);
    assert_eq!(rows[0][1..], ListingState::ALL.map(ListingState::name));
    let steps: Vec<&str> = rows[1..].iter().map(|row| row[0]).collect();
    assert_eq!(steps, ListingStep::ALL.map(ListingStep::name));
    for (step, row) in ListingStep::ALL.into_iter().zip(&rows[1..]) {
        for (state, cell) in ListingState::ALL.into_iter().zip(&row[1..]) {
            for (voice, letter) in ListingVoice::ALL.into_iter().zip("OH".chars()) {
                let expected = drawn(cell, "OHPS", letter).map(|what| match what {
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
                let expected = drawn(cell, "OHPS", letter);
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
