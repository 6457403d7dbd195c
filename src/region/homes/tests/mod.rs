//! Every cell of the table of homes in `docs/regions.md`, the steps of a move, and three regions
//! in splits.

mod splits;
mod steps;

use super::*;
use crate::region::{LogName, MAX_TERM, RegionNumber, Tenure};
use crate::types::{Incarnation, LogEpoch, Offset, RegionName, Timestamp};

const LOG: Incarnation = Incarnation(7);

fn region(name: &str) -> RegionName {
    RegionName::parse(name).unwrap()
}

fn log() -> LogName {
    "orders".parse().unwrap()
}

fn fenced(term: u32, to: &str, next: u32) -> HomeEvent {
    HomeEvent::Fenced(Fenced {
        incarnation: LOG,
        log: log(),
        term,
        end: Offset(10),
        to: region(to),
        next,
        at: Timestamp(1),
    })
}

fn taken(term: u32) -> HomeEvent {
    HomeEvent::Taken(Taken {
        incarnation: LOG,
        log: log(),
        term,
        start: Offset(10),
        after: LogEpoch(4),
        forced: false,
        missing: None,
        at: Timestamp(2),
    })
}

fn declined(term: u32) -> HomeEvent {
    HomeEvent::Declined(Declined {
        incarnation: LOG,
        log: log(),
        term,
        at: Timestamp(3),
    })
}

fn acknowledged(by: &str, term: u32) -> HomeEvent {
    HomeEvent::Acknowledged(Acknowledged {
        incarnation: LOG,
        log: log(),
        by: region(by),
        term,
        at: Timestamp(4),
    })
}

#[test]
fn what_may_be_lost_is_seen_to_once_any_region_says_so_and_no_home_moves_by_that() {
    let mut homes = after(&[("us", fenced(0, "eu", 1)), ("eu", taken(1))]);
    let home = homes.home(LOG, &region("us"));
    assert!(!homes.is_acknowledged(LOG, &region("eu"), 1));
    homes.apply(&region("ap"), &acknowledged("eu", 1)).unwrap();
    assert!(homes.apply(&region("ap"), &acknowledged("eu", 1)).is_err());
    assert!(homes.is_acknowledged(LOG, &region("eu"), 1));
    assert!(!homes.is_acknowledged(LOG, &region("eu"), 2));
    assert!(!homes.is_acknowledged(LOG, &region("us"), 1));
    assert_eq!(homes.home(LOG, &region("us")), home);
    // Also out of a state record.
    let mut folded = after(&[("us", fenced(0, "eu", 1)), ("eu", taken(1))]);
    for part in homes.fold(&region("ap")) {
        let stored = HomeEvent::decode(part.record_type(), &part.encode()).unwrap();
        folded.apply(&region("ap"), &stored).unwrap();
    }
    assert_eq!(folded, homes);
}

fn after(events: &[(&str, HomeEvent)]) -> Homes {
    let mut homes = Homes::default();
    for (by, event) in events {
        homes.apply(&region(by), event).unwrap();
    }
    homes
}

fn refused(homes: &Homes, by: &str, event: &HomeEvent) {
    let mut tried = homes.clone();
    tried
        .apply(&region(by), event)
        .expect_err(event.record_type());
    assert_eq!(&tried, homes);
}

fn home(homes: &Homes) -> (String, u32, Option<String>) {
    let home = homes.home(LOG, &region("us"));
    assert_eq!(home.tenure.region, RegionNumber::of(&home.region));
    let to = home.moving.map(|fence| fence.to.to_string());
    (home.region.to_string(), home.tenure.term, to)
}

fn is(region: &str, term: u32, to: Option<&str>) -> (String, u32, Option<String>) {
    (region.to_owned(), term, to.map(str::to_owned))
}

#[test]
fn who_was_never_home_may_take_fence_in_term_0_and_decline() {
    let never = Homes::default();
    assert_eq!(home(&never), is("us", 0, None), "who made it is home");
    assert_eq!(home(&after(&[("eu", taken(1))])), is("eu", 1, None));
    refused(&never, "eu", &taken(0));
    refused(&never, "eu", &taken(MAX_TERM + 1));
    assert_eq!(
        home(&after(&[("us", fenced(0, "eu", 1))])),
        is("us", 0, Some("eu"))
    );
    refused(&never, "us", &fenced(1, "eu", 2));
    refused(&never, "us", &fenced(0, "eu", 0));
    refused(&never, "us", &fenced(0, "eu", MAX_TERM + 1));
    assert_eq!(home(&after(&[("eu", declined(3))])), is("us", 0, None));
    refused(&never, "eu", &declined(0));
    // Somebody else's fence is not the home's.
    assert_eq!(
        home(&after(&[("ap", fenced(0, "eu", 1))])),
        is("us", 0, None)
    );
}

#[test]
fn a_home_takes_again_only_above_all_that_it_has_spent() {
    let homes = after(&[("eu", taken(2))]);
    assert_eq!(
        home(&after(&[("eu", taken(2)), ("eu", taken(3))])),
        is("eu", 3, None)
    );
    for term in [0, 1, 2] {
        refused(&homes, "eu", &taken(term));
        refused(&homes, "eu", &declined(term));
    }
    assert_eq!(
        home(&after(&[("eu", taken(2)), ("eu", fenced(2, "us", 3))])),
        is("eu", 2, Some("us"))
    );
    refused(&homes, "eu", &fenced(1, "us", 3));
    refused(&homes, "eu", &fenced(2, "us", 2));
    let spent = after(&[("eu", taken(2)), ("eu", declined(5))]);
    assert_eq!(home(&spent), is("eu", 2, None));
    refused(&spent, "eu", &taken(5));
}

#[test]
fn a_fence_stands_until_the_target_takes_or_declines() {
    let fence = [("us", fenced(0, "eu", 1))];
    let with = |by, event| {
        let mut events = fence.to_vec();
        events.push((by, event));
        after(&events)
    };
    assert_eq!(home(&with("eu", taken(1))), is("eu", 1, None));
    assert_eq!(home(&with("eu", declined(1))), is("us", 0, None));
    assert_eq!(
        home(&with("ap", declined(1))),
        is("us", 0, Some("eu")),
        "not the target"
    );
    assert_eq!(
        home(&with("us", fenced(0, "ap", 2))),
        is("us", 0, Some("ap"))
    );
    for event in [fenced(0, "eu", 1), fenced(0, "ap", 1), fenced(1, "ap", 2)] {
        refused(&with("us", declined(1)), "us", &event);
    }
    assert_eq!(home(&with("us", taken(1))), is("us", 1, None));
    refused(&with("us", declined(1)), "us", &taken(1));
    let again = [
        ("us", fenced(0, "eu", 1)),
        ("eu", declined(1)),
        ("us", fenced(0, "eu", 2)),
    ];
    assert_eq!(home(&after(&again)), is("us", 0, Some("eu")));
}

#[test]
fn of_two_claims_in_one_term_the_higher_number_is_home_everywhere() {
    let (one, other) = (("eu", taken(1)), ("ap", taken(1)));
    let higher = ["eu", "ap"].map(|name| (RegionNumber::of(&region(name)), name));
    let winner = higher.iter().max().unwrap().1;
    for events in [[one.clone(), other.clone()], [other, one]] {
        assert_eq!(home(&after(&events)), is(winner, 1, None));
    }
    let later = after(&[("eu", taken(1)), ("ap", taken(1)), ("us", taken(2))]);
    assert_eq!(home(&later), is("us", 2, None));
}

#[test]
fn a_claim_lower_than_the_home_has_no_effect() {
    let homes = after(&[
        ("eu", taken(5)),
        ("ap", taken(4)),
        ("ap", fenced(4, "us", 9)),
    ]);
    assert_eq!(home(&homes), is("eu", 5, None));
    assert_eq!(homes.claims(LOG).count(), 2);
}

#[test]
fn each_log_has_homes_of_its_own() {
    let mut homes = after(&[("eu", taken(1))]);
    let HomeEvent::Taken(other) = taken(1) else {
        unreachable!()
    };
    let incarnation = Incarnation(8);
    let other = HomeEvent::Taken(Taken {
        incarnation,
        ..other
    });
    homes.apply(&region("ap"), &other).unwrap();
    assert_eq!(home(&homes), is("eu", 1, None));
    assert_eq!(homes.home(incarnation, &region("us")).region, region("ap"));
    assert_eq!(homes.logs().collect::<Vec<_>>(), [LOG, incarnation]);
}

#[test]
fn the_json_of_each_event_is_stable() {
    let id = LOG.to_string();
    let forced = HomeEvent::Taken(Taken {
        incarnation: LOG,
        log: log(),
        term: 2,
        start: Offset(10),
        after: LogEpoch(4),
        forced: true,
        missing: Some(Missing {
            from: Offset(10),
            to: None,
        }),
        at: Timestamp(2),
    });
    for (event, json) in [
        (
            fenced(0, "eu", 1),
            format!(
                r#"{{"v":1,"type":"home.fenced","incarnation":"{id}","log":"orders","term":0,"end":10,"to":"eu","next":1,"at":1}}"#
            ),
        ),
        (
            taken(1),
            format!(
                r#"{{"v":1,"type":"home.taken","incarnation":"{id}","log":"orders","term":1,"start":10,"after":4,"forced":false,"at":2}}"#
            ),
        ),
        (
            forced,
            format!(
                r#"{{"v":1,"type":"home.taken","incarnation":"{id}","log":"orders","term":2,"start":10,"after":4,"forced":true,"missing":{{"from":10}},"at":2}}"#
            ),
        ),
        (
            declined(1),
            format!(
                r#"{{"v":1,"type":"home.declined","incarnation":"{id}","log":"orders","term":1,"at":3}}"#
            ),
        ),
        (
            acknowledged("eu", 2),
            format!(
                r#"{{"v":1,"type":"home.acknowledged","incarnation":"{id}","log":"orders","by":"eu","term":2,"at":4}}"#
            ),
        ),
    ] {
        assert_eq!(String::from_utf8(event.encode()).unwrap(), json);
        let decoded = HomeEvent::decode(event.record_type(), json.as_bytes()).unwrap();
        assert_eq!(decoded, event);
    }
}

#[test]
fn a_state_record_replaces_what_its_own_region_has_said() {
    let homes = after(&[
        ("us", fenced(0, "eu", 1)),
        ("eu", taken(1)),
        ("eu", fenced(1, "us", 2)),
        ("us", declined(2)),
    ]);
    let mut refolded = after(&[("us", taken(9)), ("ap", taken(3))]);
    for by in ["us", "eu", "ap"] {
        for part in homes.fold(&region(by)) {
            let stored = HomeEvent::decode(part.record_type(), &part.encode()).unwrap();
            refolded.apply(&region(by), &stored).unwrap();
        }
    }
    assert_eq!(refolded, homes);
    let HomeEvent::Folded(part) = homes.fold(&region("eu")).remove(0) else {
        unreachable!()
    };
    let first = HomeEvent::Folded(crate::folding::Folded {
        parts: 2,
        ..part.clone()
    });
    let begun = after(&[("eu", first)]);
    refused(&begun, "eu", &taken(1));
    let mut others = begun.clone();
    others
        .apply(&region("us"), &taken(1))
        .expect("another topic");
    let twice = HomeEvent::Folded(crate::folding::Folded {
        part: 2,
        parts: 2,
        ..part
    });
    refused(&begun, "eu", &twice);
}

fn epoch(name: &str, term: u32) -> LogEpoch {
    let region = RegionNumber::of(&region(name));
    let tenure = Tenure { term, region };
    crate::region::HomeEpoch::new(tenure, 1)
        .unwrap()
        .log_epoch()
}

fn run(name: &str, term: u32, from: u64, to: u64) -> Run {
    Run {
        epoch: epoch(name, term),
        offsets: Offset(from)..Offset(to),
    }
}
