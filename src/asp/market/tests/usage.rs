//! What is counted, what it costs, and who may rate.

use super::*;

/// A listing of ACME with that price, subscribed to by BETA.
fn priced(pricing: Pricing) -> Topic {
    let mut topic = Topic::new();
    let content = Content {
        pricing,
        ..content("one")
    };
    topic.published(1, content);
    topic.subscribe(BETA, 1, 1).unwrap();
    topic
}

fn usage(topic: &Topic, live: Count) -> Usage {
    let usage = topic
        .state
        .usage(sub(1), |_, _| Some(live), None, None, topic.at());
    usage.unwrap()
}

/// Months as text: month, sessions, messages, calls, charge.
fn rows(usage: &Usage) -> Vec<(String, u64, u64, u64, Option<u64>)> {
    let rows = usage.months.iter().map(|of| {
        let Tally {
            calls,
            messages,
            sessions,
        } = of.tally;
        let amount = of.charge.map(|charge| charge.amount);
        (of.month.to_string(), sessions, messages, calls, amount)
    });
    rows.collect()
}

#[test]
fn a_session_counts_in_the_month_that_it_was_opened_live_and_metered() {
    let unit_price = 250;
    let mut topic = priced(Pricing::PerCall {
        currency: eur(),
        unit_price,
    });
    assert_eq!(rows(&usage(&topic, count(9, 9))), []);
    assert!(topic.use_it(7, 1, &[1, 2], count(3, 1)));
    let live = [("2026-11".to_owned(), 1, 7, 4, Some(1_000))];
    assert_eq!(
        rows(&usage(&topic, count(10, 5))),
        live,
        "less what was there before"
    );
    topic.now += 10 * DAY;
    assert!(topic.use_it(8, 1, &[1], Count::default()));
    assert!(!topic.use_it(8, 1, &[1], count(1, 1)), "nothing new");
    assert_eq!(topic.meter(7, Some(count(12, 6))), 1);
    assert_eq!(topic.meter(7, Some(count(12, 6))), 0, "once");
    let found = usage(&topic, count(2, 1));
    let expected = [
        ("2026-11".to_owned(), 1, 9, 5, Some(1_250)),
        ("2026-12".to_owned(), 1, 2, 1, Some(250)),
    ];
    assert_eq!(rows(&found), expected);
    assert_eq!(
        found.total.tally,
        Tally {
            calls: 6,
            messages: 11,
            sessions: 2
        }
    );
    assert_eq!(
        found.total.charge,
        Some(Charge {
            amount: 1_500,
            currency: eur()
        })
    );
    let only = |since: Option<i64>, until: Option<i64>| {
        let (since, until) = (since.map(Timestamp), until.map(Timestamp));
        let found = topic
            .state
            .usage(sub(1), |_, _| Some(count(2, 1)), since, until, topic.at());
        rows(&found.unwrap())
            .iter()
            .map(|row| row.0.clone())
            .collect::<Vec<_>>()
    };
    let december = START.0 + 5 * DAY;
    assert_eq!(only(Some(december), None), ["2026-12"]);
    assert_eq!(only(None, Some(december - 1)), ["2026-11"]);
    assert_eq!(
        only(Some(december - 1), Some(december)),
        ["2026-11", "2026-12"]
    );
    assert_eq!(topic.meter(8, None), 1, "lost, which counts nothing");
    assert!(matches!(topic.records.last(), Some(MarketRecord::Metered(lost)) if lost.lost));
    assert_eq!(
        rows(&usage(&topic, count(2, 1)))[1],
        ("2026-12".to_owned(), 1, 0, 0, Some(0))
    );
    let absent = topic
        .state
        .usage(sub(2), |_, _| None, None, None, topic.at());
    assert_eq!(absent, Err(MarketError::SubscriptionNotFound(sub(2))));
    topic.check_rebuilds();
}

#[test]
fn agents_that_come_in_later_are_counted_in_the_same_session() {
    let mut topic = priced(Pricing::Free);
    assert!(topic.use_it(7, 1, &[3], count(1, 0)));
    assert!(topic.use_it(7, 1, &[3, 1], count(5, 5)));
    let of: Vec<_> = topic.state.uses_of(sub(1)).collect();
    assert_eq!(of.len(), 1);
    assert_eq!(
        (&*of[0].agents, of[0].before),
        (&[AgentId(1), AgentId(3)][..], count(1, 0))
    );
    let found = usage(&topic, count(4, 2));
    assert_eq!(
        rows(&found),
        [("2026-11".to_owned(), 1, 3, 2, None)],
        "free costs nothing"
    );
    assert_eq!(found.total.charge, None);
}

#[test]
fn what_an_agent_was_given_before_it_needed_the_subscription_does_not_count() {
    let mut topic = priced(Pricing::Free);
    topic.use_it(7, 1, &[1], count(2, 1));
    let counted = |agents: &[AgentId]| match agents {
        [] => count(9, 4),
        _ => count(9, 7),
    };
    let place = (ses(7), OrgId(BETA));
    let state = &topic.state;
    let record = state.use_record(sub(1), place, vec![AgentId(2)], counted, topic.at());
    topic.write(record.unwrap());
    let of = topic.state.uses_of(sub(1)).next().unwrap();
    assert_eq!(
        of.before,
        count(2, 4),
        "three were given to the second alone"
    );
    topic.check_rebuilds();
}

#[test]
fn a_subscription_that_ended_meters_the_sessions_that_go_on() {
    let mut topic = priced(Pricing::Free);
    topic.use_it(7, 1, &[1], Count::default());
    topic.cancel(BETA, 1).unwrap();
    assert_eq!(topic.meter(7, Some(count(4, 2))), 1);
    assert_eq!(
        rows(&usage(&topic, Count::default())),
        [("2026-11".to_owned(), 1, 4, 2, None)]
    );
}

#[test]
fn a_month_is_paid_for_when_it_has_begun_while_the_subscription_was_active() {
    let (currency, price) = (eur(), 9_900);
    let mut topic = priced(Pricing::Monthly { currency, price });
    let months = |topic: &Topic| {
        let found = usage(topic, Count::default());
        let paid = found.months.iter();
        paid.map(|of| (of.month.to_string(), of.charge.unwrap().amount))
            .collect::<Vec<_>>()
    };
    let row = |month: &str, amount| (month.to_owned(), amount);
    assert_eq!(months(&topic), [row("2026-11", 9_900)]);
    // Paused within December, resumed within December: that month is paid once.
    topic.now += 10 * DAY;
    topic.approve(ACME, 1, ApproveVerdict::Suspend).unwrap();
    topic.now += 10 * DAY;
    topic.approve(ACME, 1, ApproveVerdict::Resume).unwrap();
    assert_eq!(topic.subscription(1).active_months.len(), 1);
    topic.approve(ACME, 1, ApproveVerdict::Suspend).unwrap();
    assert_eq!(
        topic.subscription(1).active_months.len(),
        1,
        "runs that meet are one"
    );
    // Paused for all of January.
    topic.now += 60 * DAY;
    topic.approve(ACME, 1, ApproveVerdict::Resume).unwrap();
    let expected = [
        row("2026-11", 9_900),
        row("2026-12", 9_900),
        row("2027-02", 9_900),
    ];
    assert_eq!(months(&topic), expected);
    topic.cancel(BETA, 1).unwrap();
    topic.now += 100 * DAY;
    assert_eq!(months(&topic), expected);
    assert_eq!(
        usage(&topic, Count::default()).total.charge.unwrap().amount,
        3 * 9_900
    );
    topic.subscribe(BETA, 2, 1).unwrap();
    assert!(
        topic.state.subscription(sub(1)).is_some(),
        "it is still to be paid"
    );
    topic.check_rebuilds();
}

#[test]
fn a_month_of_sessions_without_an_active_day_is_not_paid_by_the_month() {
    let (currency, price) = (eur(), 9_900);
    let pricing = Pricing::Monthly { currency, price };
    assert_eq!(
        pricing.charge(&count(5, 5), false),
        Some(Charge {
            amount: 0,
            currency
        })
    );
    assert_eq!(
        pricing.charge(&count(0, 0), true),
        Some(Charge {
            amount: 9_900,
            currency
        })
    );
}

#[test]
fn tiers_are_paid_call_by_call() {
    let tiers = [(Some(3), 0), (Some(5), 10), (Some(6), 7), (None, 2)];
    let pricing = Pricing::Tiered {
        currency: eur(),
        tiers: tiers
            .iter()
            .map(|(up_to, unit_price)| Tier {
                unit_price: *unit_price,
                up_to: *up_to,
            })
            .collect(),
    };
    pricing.check().unwrap();
    for calls in 0..20 {
        let naive: u64 = (1..=calls)
            .map(|call| {
                tiers
                    .iter()
                    .find(|(up_to, _)| up_to.is_none_or(|last| call <= last))
                    .unwrap()
                    .1
            })
            .sum();
        assert_eq!(
            pricing.charge(&count(0, calls), true).unwrap().amount,
            naive,
            "{calls}"
        );
    }
    let much = Pricing::PerCall {
        currency: eur(),
        unit_price: MAX_PRICE,
    };
    let charge = much.charge(&count(0, u64::MAX), true).unwrap();
    assert_eq!(
        charge.amount,
        crate::asp::MAX_INTEGER,
        "no more than can be counted exactly"
    );
    assert_eq!(pricing.compared(), 10);
}

#[test]
fn a_month_is_that_of_the_calendar_and_has_one_spelling() {
    for (time, month) in [
        (START.0, "2026-11"),
        (START.0 + 5 * DAY - 1, "2026-11"),
        (START.0 + 5 * DAY, "2026-12"),
        (0, "1970-01"),
        (-1, "1969-12"),
        (i64::MIN, "0000-01"),
        (i64::MAX, "9999-12"),
    ] {
        let found = Month::of(Timestamp(time));
        assert_eq!(found.to_string(), month);
        assert_eq!(month.parse(), Ok(found));
    }
    for wrong in [
        "2026-13",
        "2026-00",
        "2026-1",
        "26-11",
        "2026",
        "2026-+1",
        "2026-11-01",
    ] {
        wrong.parse::<Month>().unwrap_err();
    }
    let last: Month = "9999-12".parse().unwrap();
    assert_eq!(last.next(), last);
    assert_eq!(
        "2026-12".parse::<Month>().unwrap().next().to_string(),
        "2027-01"
    );
}

#[test]
fn who_has_used_a_listing_rates_it_once_and_may_think_again() {
    let mut topic = priced(Pricing::Free);
    let listing = lst(1);
    assert_eq!(
        topic.rate(ACME, 1, 5),
        Err(MarketError::OwnListing(listing))
    );
    assert_eq!(topic.rate(BETA, 1, 5), Err(MarketError::NotUsed(listing)));
    assert_eq!(
        topic.rate(BETA, 2, 5),
        Err(MarketError::ListingNotFound(lst(2)))
    );
    topic.use_it(7, 1, &[1], Count::default());
    for wrong in [0, 6] {
        let error = topic.rate(BETA, 1, wrong).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("rating is {wrong}, outside 1..=5")
        );
    }
    let long = "x".repeat(1_001);
    let error = topic
        .state
        .check_rate(&asker(BETA), listing, 4, Some(long), topic.at());
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("1001, outside 0..=1000")
    );
    topic.rate(BETA, 1, 4).unwrap();
    assert_eq!(topic.listing(1).rating.mean_hundredths(), Some(400));
    topic.subscribe(GAMMA, 2, 1).unwrap();
    topic.use_it(8, 2, &[1], Count::default());
    topic.rate(GAMMA, 1, 1).unwrap();
    assert_eq!(topic.listing(1).rating, RatingSum { count: 2, sum: 5 });
    topic.rate(BETA, 1, 5).unwrap();
    assert_eq!(topic.listing(1).rating, RatingSum { count: 2, sum: 6 });
    assert_eq!(topic.state.rating(listing, OrgId(BETA)).unwrap().rating, 5);
    // Who used it rates it, also when it is no longer for them.
    topic.cancel(BETA, 1).unwrap();
    topic.rate(BETA, 1, 2).unwrap();
    for (count, sum, mean) in [
        (0, 0, None),
        (3, 13, Some(433)),
        (3, 14, Some(467)),
        (8, 33, Some(413)),
    ] {
        assert_eq!(RatingSum { count, sum }.mean_hundredths(), mean);
    }
    topic.check_rebuilds();
}
