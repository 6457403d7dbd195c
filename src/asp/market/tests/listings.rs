//! Listings: what they may say, their arrows and their refusals.

use super::*;
use crate::asp::tool::Plain;

fn refused(change: impl FnOnce(&mut Content)) -> String {
    let mut wrong = content("one");
    change(&mut wrong);
    let error = Topic::new().list(ACME, 1, wrong).unwrap_err();
    error.to_string()
}

#[test]
fn each_limit_of_a_content_is_refused_one_beyond_it_and_taken_at_it() {
    let text = |length| "ö".repeat(length);
    let many = |count: usize| (0..count).map(|n| AgentName::parse(&format!("a.{n}")).unwrap());
    let tags = |count: usize| (0..count).map(|n| format!("tag-{n}")).collect::<Vec<_>>();
    let orgs = |count: usize| {
        let numbers = 0..u32::try_from(count).unwrap();
        numbers.map(org_name).collect::<Vec<_>>()
    };
    let sample = |bytes: usize| {
        let json = format!("\"{}\"", "x".repeat(bytes - 2));
        Some(Plain::from(
            serde_json::value::RawValue::from_string(json).unwrap(),
        ))
    };
    type Set = Box<dyn Fn(&mut Content, usize)>;
    let limits: Vec<(usize, &str, Set)> = vec![
        (
            100,
            "title characters",
            Box::new(move |c, n| c.title = text(n)),
        ),
        (
            10_000,
            "description characters",
            Box::new(move |c, n| c.description = text(n)),
        ),
        (20, "tags", Box::new(move |c, n| c.tags = tags(n))),
        (
            64,
            "capabilities",
            Box::new(move |c, n| c.capabilities = many(n).collect()),
        ),
        (
            100,
            "agents",
            Box::new(move |c, n| c.agents = many(n).collect()),
        ),
        (1_000, "invited", Box::new(move |c, n| c.invited = orgs(n))),
        (
            16 * 1024,
            "sample bytes",
            Box::new(move |c, n| c.sample = sample(n)),
        ),
        (
            16 * 1024,
            "terms bytes",
            Box::new(|c, n| c.terms = "t".repeat(n)),
        ),
    ];
    for (most, what, set) in limits {
        let error = refused(|content| set(content, most + 1));
        assert!(error.contains(what), "{error}");
        assert!(error.contains(&format!("is {}, ", most + 1)), "{error}");
        let mut fine = content("one");
        set(&mut fine, most);
        assert!(Topic::new().list(ACME, 1, fine).unwrap(), "{what}");
    }
    for (what, set) in [
        ("title", (|c| c.title.clear()) as fn(&mut Content)),
        ("capabilities", |c| c.capabilities.clear()),
        ("agents", |c| c.agents.clear()),
    ] {
        let error = refused(set);
        assert!(error.contains("is 0, outside 1..="), "{what}: {error}");
    }
}

#[test]
fn labels_are_lower_case_words_and_nothing_stands_twice() {
    for wrong in [
        "",
        "Data",
        "data analysis",
        "-a",
        "a-",
        "a--b",
        "ä",
        &"x".repeat(65),
    ] {
        let error = refused(|content| content.category = wrong.to_owned());
        assert!(error.starts_with("category `"), "{error}");
        let error = refused(|content| content.tags = vec![wrong.to_owned()]);
        assert!(error.starts_with("tags `"), "{error}");
    }
    for set in [
        (|c| c.tags = vec!["a".into(), "a".into()]) as fn(&mut Content),
        |c| c.capabilities = names(&["a", "b", "a"]),
        |c| c.agents = names(&["a", "a"]),
        |c| c.invited = vec![org_name(1), org_name(1)],
    ] {
        assert!(refused(set).ends_with("stands there twice"));
    }
}

#[test]
fn a_price_is_whole_units_and_its_tiers_follow_each_other() {
    let tiered = |tiers: &[(Option<u64>, u64)]| Pricing::Tiered {
        currency: eur(),
        tiers: tiers
            .iter()
            .map(|(up_to, unit_price)| Tier {
                unit_price: *unit_price,
                up_to: *up_to,
            })
            .collect(),
    };
    let (currency, much) = (eur(), MAX_PRICE + 1);
    let unit_price = much;
    let wrong = [
        (
            Pricing::PerCall {
                currency,
                unit_price,
            },
            "pricing.unitPrice",
        ),
        (
            Pricing::Monthly {
                currency,
                price: much,
            },
            "pricing.price",
        ),
        (tiered(&[]), "pricing.tiers is 0"),
        (tiered(&[(Some(1), 0); 33]), "pricing.tiers is 33"),
        (tiered(&[(None, much)]), "pricing.tiers.unitPrice"),
        (tiered(&[(Some(9), 1)]), "must be null in the last"),
        (tiered(&[(None, 1), (None, 1)]), "must be null in the last"),
        (
            tiered(&[(Some(0), 1), (None, 1)]),
            "pricing.tiers.upTo is 0",
        ),
        (
            tiered(&[(Some(5), 1), (Some(5), 2), (None, 3)]),
            "pricing.tiers.upTo is 5, outside 6..=",
        ),
    ];
    for (pricing, what) in wrong {
        let error = refused(|content| content.pricing = pricing);
        assert!(error.contains(what), "{error}: {what}");
    }
    for (pricing, json) in [
        (Pricing::Free, r#"{"type":"free"}"#),
        (
            Pricing::PerCall {
                currency,
                unit_price: 250,
            },
            r#"{"currency":"EUR","type":"perCall","unitPrice":250}"#,
        ),
        (
            Pricing::Monthly {
                currency,
                price: 9_900,
            },
            r#"{"currency":"EUR","price":9900,"type":"monthly"}"#,
        ),
        (
            tiered(&[(Some(1_000), 0), (None, 5)]),
            r#"{"currency":"EUR","tiers":[{"unitPrice":0,"upTo":1000},{"unitPrice":5,"upTo":null}],"type":"tiered"}"#,
        ),
    ] {
        pricing.check().unwrap();
        assert_eq!(serde_json::to_string(&pricing).unwrap(), json);
        assert_eq!(serde_json::from_str::<Pricing>(json).unwrap(), pricing);
    }
    for wrong in [
        r#"{"type":"free","price":1}"#,
        r#"{"type":"perCall","unitPrice":250}"#,
        r#"{"type":"monthly","currency":"EUR","unitPrice":1}"#,
        r#"{"type":"perCall","currency":"EUR","unitPrice":2.5}"#,
        r#"{"type":"perCall","currency":"EUR","unitPrice":-1}"#,
        r#"{"type":"gift"}"#,
    ] {
        serde_json::from_str::<Pricing>(wrong).unwrap_err();
    }
}

#[test]
fn a_listing_goes_from_draft_over_review_to_the_market_and_off_it() {
    let mut topic = Topic::new();
    assert!(topic.list(ACME, 1, content("one")).unwrap());
    assert_eq!(topic.listing(1).state, ListingState::Draft);
    assert_eq!(topic.listing(1).revision, 1);
    assert!(!topic.listing(1).is_approved());
    topic.retitle(ACME, 1, "two").unwrap();
    assert_eq!(
        (topic.listing(1).revision, &*topic.listing(1).content.title),
        (2, "two")
    );
    topic.submit(ACME, 1).unwrap();
    assert_eq!(topic.listing(1).state, ListingState::InReview);
    // A change takes it back.
    topic.retitle(ACME, 1, "three").unwrap();
    assert_eq!(topic.listing(1).state, ListingState::Draft);
    topic.submit(ACME, 1).unwrap();
    topic.review(1, ReviewVerdict::Reject).unwrap();
    assert_eq!(topic.listing(1).state, ListingState::Draft);
    assert_eq!(topic.listing(1).reason.as_deref(), Some("not so"));
    topic.submit(ACME, 1).unwrap();
    topic.now += 5;
    topic.review(1, ReviewVerdict::Approve).unwrap();
    let listing = topic.listing(1);
    assert_eq!(
        (listing.state, listing.revision),
        (ListingState::Published, 3)
    );
    assert_eq!(listing.published_at, Some(topic.at()));
    assert_eq!(listing.reason, None, "the last review had none");
    topic.archive(ACME, 1).unwrap();
    assert_eq!(topic.listing(1).state, ListingState::Archived);
    topic.submit(ACME, 1).unwrap();
    assert_eq!(topic.listing(1).state, ListingState::InReview);
    // What was published once is no draft again.
    topic.review(1, ReviewVerdict::Reject).unwrap();
    assert_eq!(topic.listing(1).state, ListingState::Archived);
    topic.submit(ACME, 1).unwrap();
    topic.retitle(ACME, 1, "four").unwrap();
    assert_eq!(topic.listing(1).state, ListingState::Archived);
    topic.submit(ACME, 1).unwrap();
    topic.review(1, ReviewVerdict::Approve).unwrap();
    let listing = topic.listing(1);
    assert_eq!(
        (listing.state, listing.revision),
        (ListingState::Published, 4)
    );
    assert_eq!(
        (&*listing.content.title, listing.pending.is_none()),
        ("four", true)
    );
    topic.review(1, ReviewVerdict::Suspend).unwrap();
    assert_eq!(topic.listing(1).state, ListingState::Suspended);
    topic.review(1, ReviewVerdict::Restore).unwrap();
    assert_eq!(topic.listing(1).state, ListingState::Published);
    topic.archive(ACME, 1).unwrap();
    topic.review(1, ReviewVerdict::Suspend).unwrap();
    topic.review(1, ReviewVerdict::Restore).unwrap();
    assert_eq!(
        topic.listing(1).state,
        ListingState::Archived,
        "where it was"
    );
    topic.check_rebuilds();
}

#[test]
fn what_is_written_beside_a_published_content_replaces_it_once_approved() {
    for suspended in [false, true] {
        let mut topic = Topic::new();
        topic.published(1, content("one"));
        if suspended {
            topic.review(1, ReviewVerdict::Suspend).unwrap();
        }
        let state = topic.listing(1).state;
        topic.retitle(ACME, 1, "two").unwrap();
        let pending = |topic: &Topic| topic.listing(1).pending.clone().unwrap();
        assert_eq!(
            (topic.listing(1).state, topic.listing(1).revision),
            (state, 1)
        );
        assert_eq!(
            (pending(&topic).state, pending(&topic).revision),
            (ListingState::Draft, 2)
        );
        assert_eq!(&*topic.listing(1).content.title, "one", "shown as before");
        topic.submit(ACME, 1).unwrap();
        assert_eq!(pending(&topic).state, ListingState::InReview);
        topic.submit(ACME, 1).unwrap_err();
        topic.retitle(ACME, 1, "three").unwrap();
        assert_eq!(
            (pending(&topic).state, pending(&topic).revision),
            (ListingState::Draft, 3)
        );
        topic.review(1, ReviewVerdict::Approve).unwrap_err();
        topic.submit(ACME, 1).unwrap();
        topic.review(1, ReviewVerdict::Reject).unwrap();
        assert_eq!(pending(&topic).state, ListingState::Draft);
        topic.submit(ACME, 1).unwrap();
        topic.review(1, ReviewVerdict::Approve).unwrap();
        let listing = topic.listing(1);
        assert_eq!((listing.state, listing.revision), (state, 3));
        assert_eq!(
            (&*listing.content.title, listing.pending.is_none()),
            ("three", true)
        );
        topic.check_rebuilds();
    }
}

#[test]
fn a_listing_that_is_taken_down_takes_what_was_pending_back() {
    let mut topic = Topic::new();
    topic.published(1, content("one"));
    topic.retitle(ACME, 1, "two").unwrap();
    topic.submit(ACME, 1).unwrap();
    topic.archive(ACME, 1).unwrap();
    assert_eq!(topic.listing(1).pending_state(), Some(ListingState::Draft));
}

/// A listing in a state, with what is pending beside it.
fn in_state(state: ListingState, pending: Option<ListingState>) -> Topic {
    let mut topic = Topic::new();
    if matches!(state, ListingState::Draft | ListingState::InReview) && pending.is_none() {
        topic.list(ACME, 1, content("one")).unwrap();
        if state == ListingState::InReview {
            topic.submit(ACME, 1).unwrap();
        }
        return topic;
    }
    topic.published(1, content("one"));
    match state {
        ListingState::Archived => {
            topic.archive(ACME, 1).unwrap();
        }
        ListingState::Suspended => {
            topic.review(1, ReviewVerdict::Suspend).unwrap();
        }
        _ => {}
    }
    if let Some(pending) = pending {
        topic.retitle(ACME, 1, "two").unwrap();
        if pending == ListingState::InReview {
            topic.submit(ACME, 1).unwrap();
        }
    }
    assert_eq!(
        (topic.listing(1).state, topic.listing(1).pending_state()),
        (state, pending)
    );
    topic
}

#[test]
fn each_step_is_taken_exactly_in_the_states_of_the_table() {
    use ListingState::{Archived, Draft, InReview, Published, Suspended};
    let states = [
        (Draft, None),
        (InReview, None),
        (Published, None),
        (Published, Some(Draft)),
        (Published, Some(InReview)),
        (Archived, None),
        (Archived, Some(Draft)),
        (Suspended, None),
        (Suspended, Some(Draft)),
        (Suspended, Some(InReview)),
    ];
    for (state, pending) in states {
        for step in ListingStep::ALL {
            let mut topic = in_state(state, pending);
            let before = topic.state.clone();
            let done = match step {
                ListingStep::Update => topic.retitle(ACME, 1, "new"),
                ListingStep::Submit => topic.submit(ACME, 1),
                ListingStep::Archive => topic.archive(ACME, 1),
                ListingStep::Approve => topic.review(1, ReviewVerdict::Approve),
                ListingStep::Reject => topic.review(1, ReviewVerdict::Reject),
                ListingStep::Suspend => topic.review(1, ReviewVerdict::Suspend),
                ListingStep::Restore => topic.review(1, ReviewVerdict::Restore),
            };
            let voice = match step {
                ListingStep::Update | ListingStep::Submit | ListingStep::Archive => {
                    ListingVoice::Owner
                }
                _ => ListingVoice::Operator,
            };
            let needs = match step {
                ListingStep::Submit => Some(Draft),
                ListingStep::Approve | ListingStep::Reject => Some(InReview),
                _ => None,
            };
            let next = next_listing(state, step, voice);
            let has = needs.is_none_or(|needs| pending == Some(needs));
            let is_legal = match next {
                Some(ListingNext::Stays) => has,
                Some(_) => true,
                None => false,
            };
            match done {
                Ok(_) => assert!(is_legal, "{step} in {state}, {pending:?}"),
                Err(error) => {
                    assert!(!is_legal, "{step} in {state}, {pending:?}: {error}");
                    assert_eq!(topic.state, before);
                    let MarketError::IllegalListing { allowed, .. } = error else {
                        panic!("{error}");
                    };
                    assert!(!allowed.contains(&step));
                }
            }
        }
    }
}

#[test]
fn an_id_that_is_used_again_answers_the_same_or_says_what_differs() {
    let mut topic = Topic::new();
    assert!(topic.list(ACME, 1, content("one")).unwrap());
    assert!(!topic.list(ACME, 1, content("one")).unwrap());
    topic.retitle(ACME, 1, "later").unwrap();
    assert!(
        !topic.list(ACME, 1, content("one")).unwrap(),
        "as it was created"
    );
    let error = topic.list(ACME, 1, content("two")).unwrap_err();
    assert!(matches!(
        error,
        MarketError::ListingIdTaken {
            member: "content",
            ..
        }
    ));
    let error = topic.list(BETA, 1, content("one")).unwrap_err();
    assert!(matches!(
        error,
        MarketError::ListingIdTaken {
            member: "organisation",
            ..
        }
    ));
    let state = &topic.state;
    let made = state.check_list(&asker(ACME), ListingId(5), content("one"), topic.at());
    assert_eq!(made, Err(MarketError::ListingIdVersion(ListingId(5))));
    assert!(!topic.retitle(ACME, 1, "later").unwrap(), "nothing changes");
}

#[test]
fn only_its_owner_changes_a_listing() {
    let mut topic = Topic::new();
    topic.published(1, content("one"));
    let absent = Err(MarketError::ListingNotFound(lst(1)));
    assert_eq!(topic.retitle(BETA, 1, "two"), absent);
    assert_eq!(topic.submit(BETA, 1), absent);
    assert_eq!(topic.archive(BETA, 1), absent);
    assert_eq!(topic.archive(0, 1), absent, "nor an operator");
    let absent = Err(MarketError::ListingNotFound(lst(2)));
    assert_eq!(topic.review(2, ReviewVerdict::Approve), absent);
}

#[test]
fn a_refusal_and_a_suspension_take_a_reason() {
    let mut topic = Topic::new();
    topic.list(ACME, 1, content("one")).unwrap();
    topic.submit(ACME, 1).unwrap();
    let review = |topic: &Topic, verdict, reason: Option<&str>| {
        let reason = reason.map(str::to_owned);
        topic
            .state
            .check_review(&asker(0), lst(1), verdict, reason, topic.at())
    };
    let needed = Err(MarketError::ReasonRequired {
        step: ListingStep::Reject,
    });
    assert_eq!(review(&topic, ReviewVerdict::Reject, None), needed);
    assert_eq!(review(&topic, ReviewVerdict::Reject, Some("")), needed);
    let long = "x".repeat(1_001);
    let error = review(&topic, ReviewVerdict::Reject, Some(&long)).unwrap_err();
    assert!(
        error.to_string().contains("1001, outside 0..=1000"),
        "{error}"
    );
    review(&topic, ReviewVerdict::Reject, Some(&long[1..])).unwrap();
    topic.review(1, ReviewVerdict::Approve).unwrap();
    let needed = Err(MarketError::ReasonRequired {
        step: ListingStep::Suspend,
    });
    assert_eq!(review(&topic, ReviewVerdict::Suspend, None), needed);
}

#[test]
fn an_organisation_has_a_thousand_listings_that_are_not_archived() {
    let mut topic = Topic::new();
    topic.published(1, content("one"));
    topic.archive(ACME, 1).unwrap();
    for id in 2..=1_001 {
        topic.list(ACME, id, content("one")).unwrap();
    }
    let error = topic.list(ACME, 2_000, content("one")).unwrap_err();
    assert_eq!(error.to_string(), "listings is 1001, outside 1..=1000");
    let error = topic.submit(ACME, 1).unwrap_err();
    assert_eq!(error.to_string(), "listings is 1001, outside 1..=1000");
    topic.list(BETA, 2_000, content("one")).unwrap();
}
