//! Subscriptions: their arrows, their refusals, and what they show.

use super::*;

fn of(access: ListingAccess, visibility: Visibility, invited: &[u32]) -> Content {
    Content {
        access,
        visibility,
        invited: invited.iter().map(|org| org_name(*org)).collect(),
        ..content("one")
    }
}

#[test]
fn an_open_listing_is_subscribed_to_at_once_and_the_subscriber_ends_it() {
    let mut topic = Topic::new();
    topic.published(1, content("one"));
    assert_eq!(topic.shows("analyst", BETA), None);
    topic.subscribe(BETA, 1, 1).unwrap();
    let one = topic.subscription(1);
    assert_eq!(
        (one.state, one.active_since),
        (SubscriptionState::Active, Some(topic.at()))
    );
    assert_eq!(one.terms_hash, content("one").terms_hash());
    assert_eq!(topic.shows("analyst", BETA), Some(sub(1)));
    assert_eq!(topic.shows("other", BETA), None);
    assert_eq!(topic.shows("analyst", GAMMA), None);
    assert_eq!(topic.state.shows(OrgId(BETA), "analyst", OrgId(ACME)), None);
    topic.now += 5;
    topic.cancel(BETA, 1).unwrap();
    let one = topic.subscription(1);
    assert_eq!(
        (one.state, one.ended_at),
        (SubscriptionState::Cancelled, Some(topic.at()))
    );
    assert_eq!(topic.shows("analyst", BETA), None);
    topic.check_rebuilds();
}

#[test]
fn a_request_waits_for_the_publisher_who_pauses_and_resumes_it() {
    let mut topic = Topic::new();
    topic.published(1, of(ListingAccess::OnRequest, Visibility::Public, &[]));
    topic.subscribe(BETA, 1, 1).unwrap();
    assert_eq!(topic.subscription(1).state, SubscriptionState::Requested);
    assert_eq!(
        (
            topic.shows("analyst", BETA),
            topic.subscription(1).active_since
        ),
        (None, None)
    );
    topic.now += 5;
    let since = Some(topic.at());
    topic.approve(ACME, 1, ApproveVerdict::Approve).unwrap();
    assert_eq!(topic.shows("analyst", BETA), Some(sub(1)));
    topic.approve(ACME, 1, ApproveVerdict::Suspend).unwrap();
    assert_eq!(topic.shows("analyst", BETA), None);
    topic.now += 5;
    topic.approve(ACME, 1, ApproveVerdict::Resume).unwrap();
    assert_eq!(topic.shows("analyst", BETA), Some(sub(1)));
    assert_eq!(topic.subscription(1).active_since, since, "the first time");
    topic.subscribe(GAMMA, 2, 1).unwrap();
    topic.approve(ACME, 2, ApproveVerdict::Refuse).unwrap();
    let refused = topic.subscription(2);
    assert_eq!(
        (refused.state, refused.ended_at),
        (SubscriptionState::Refused, Some(topic.at()))
    );
    assert_eq!(topic.shows("analyst", GAMMA), None);
    topic.subscribe(GAMMA, 3, 1).unwrap();
    topic.check_rebuilds();
}

#[test]
fn each_step_is_taken_exactly_in_the_states_of_the_table_and_by_its_own_side() {
    for state in SubscriptionState::ALL {
        for step in SubscriptionStep::ALL {
            for org in [ACME, BETA, GAMMA, 0] {
                let mut topic = Topic::new();
                topic.published(1, of(ListingAccess::OnRequest, Visibility::Public, &[]));
                topic.subscribe(BETA, 1, 1).unwrap();
                let before: &[ApproveVerdict] = match state {
                    SubscriptionState::Requested | SubscriptionState::Cancelled => &[],
                    SubscriptionState::Active => &[ApproveVerdict::Approve],
                    SubscriptionState::Suspended => {
                        &[ApproveVerdict::Approve, ApproveVerdict::Suspend]
                    }
                    SubscriptionState::Refused => &[ApproveVerdict::Refuse],
                };
                for verdict in before {
                    topic.approve(ACME, 1, *verdict).unwrap();
                }
                if state == SubscriptionState::Cancelled {
                    topic.cancel(BETA, 1).unwrap();
                }
                assert_eq!(topic.subscription(1).state, state);
                let before = topic.state.clone();
                let (done, side, voice) = match step {
                    SubscriptionStep::Cancel => {
                        (topic.cancel(org, 1), BETA, SubscriptionVoice::Subscriber)
                    }
                    step => {
                        let mut verdicts = ApproveVerdict::ALL.into_iter();
                        let verdict = verdicts.find(|one| one.step() == step).unwrap();
                        (
                            topic.approve(org, 1, verdict),
                            ACME,
                            SubscriptionVoice::Publisher,
                        )
                    }
                };
                let next = next_subscription(state, step, voice).filter(|_| org == side);
                match (done, next) {
                    (Ok(_), Some(next)) => assert_eq!(topic.subscription(1).state, next),
                    (Err(error), None) if org != side => {
                        assert_eq!(error, MarketError::SubscriptionNotFound(sub(1)));
                    }
                    (Err(error), None) => {
                        assert_eq!(topic.state, before);
                        let MarketError::IllegalSubscription { allowed, .. } = error else {
                            panic!("{error}");
                        };
                        assert!(!allowed.contains(&step));
                    }
                    (done, next) => panic!("{step} in {state} by {org}: {done:?}, {next:?}"),
                }
            }
        }
    }
}

#[test]
fn a_listing_is_there_for_whom_it_is_and_taken_by_whom_it_invites() {
    use ListingAccess::{ByInvitation, OnRequest, Open};
    use Visibility::{InviteOnly, Public, Unlisted};
    let absent = MarketError::ListingNotFound(lst(1));
    let uninvited = MarketError::NotInvited(lst(1));
    let cases = [
        (
            Open,
            Public,
            Ok(SubscriptionState::Active),
            Ok(SubscriptionState::Active),
        ),
        (
            Open,
            Unlisted,
            Ok(SubscriptionState::Active),
            Ok(SubscriptionState::Active),
        ),
        (
            Open,
            InviteOnly,
            Ok(SubscriptionState::Active),
            Err(absent.clone()),
        ),
        (
            OnRequest,
            Public,
            Ok(SubscriptionState::Requested),
            Ok(SubscriptionState::Requested),
        ),
        (
            OnRequest,
            InviteOnly,
            Ok(SubscriptionState::Requested),
            Err(absent.clone()),
        ),
        (
            ByInvitation,
            Public,
            Ok(SubscriptionState::Active),
            Err(uninvited.clone()),
        ),
        (
            ByInvitation,
            InviteOnly,
            Ok(SubscriptionState::Active),
            Err(absent),
        ),
    ];
    for (access, visibility, invited, others) in cases {
        let mut topic = Topic::new();
        topic.published(1, of(access, visibility, &[BETA]));
        for (org, id, expected) in [(BETA, 1, invited), (GAMMA, 2, others)] {
            let done = topic.subscribe(org, id, 1);
            let found = done.map(|_| topic.subscription(id).state);
            assert_eq!(found, expected, "{access} {visibility} {org}");
        }
    }
    // An operator sees it all, and is invited to nothing by that.
    let mut topic = Topic::new();
    topic.published(1, of(Open, InviteOnly, &[BETA]));
    assert_eq!(topic.subscribe(0, 1, 1), Err(uninvited));
}

#[test]
fn a_listing_that_is_not_published_is_shown_to_its_owner_and_operators_alone() {
    let mut topic = Topic::new();
    topic.list(ACME, 1, content("one")).unwrap();
    let sees = |topic: &Topic, org| topic.state.seen(&asker(org), lst(1)).is_ok();
    assert!(sees(&topic, ACME) && sees(&topic, 0) && !sees(&topic, BETA));
    topic.submit(ACME, 1).unwrap();
    topic.review(1, ReviewVerdict::Approve).unwrap();
    assert!(sees(&topic, BETA));
    topic.subscribe(BETA, 1, 1).unwrap();
    let change = ContentChange {
        visibility: Some(Visibility::InviteOnly),
        ..ContentChange::default()
    };
    topic.update(ACME, 1, change).unwrap();
    assert!(sees(&topic, GAMMA), "as it was published");
    topic.submit(ACME, 1).unwrap();
    topic.review(1, ReviewVerdict::Approve).unwrap();
    assert!(
        sees(&topic, BETA) && !sees(&topic, GAMMA),
        "who subscribed still sees it"
    );
    topic.cancel(BETA, 1).unwrap();
    assert!(!sees(&topic, BETA));
}

#[test]
fn what_is_not_published_takes_no_subscriptions_and_keeps_those_that_it_has() {
    let mut topic = Topic::new();
    topic.published(1, content("one"));
    topic.subscribe(BETA, 1, 1).unwrap();
    let closed = |state| {
        Err(MarketError::Closed {
            listing: lst(1),
            state,
        })
    };
    topic.archive(ACME, 1).unwrap();
    assert_eq!(topic.subscribe(GAMMA, 2, 1), closed(ListingState::Archived));
    assert_eq!(
        topic.shows("analyst", BETA),
        Some(sub(1)),
        "those that exist go on"
    );
    topic.submit(ACME, 1).unwrap();
    assert_eq!(topic.subscribe(GAMMA, 2, 1), closed(ListingState::InReview));
    assert_eq!(topic.shows("analyst", BETA), Some(sub(1)));
    topic.review(1, ReviewVerdict::Approve).unwrap();
    topic.review(1, ReviewVerdict::Suspend).unwrap();
    assert_eq!(
        topic.subscribe(GAMMA, 2, 1),
        closed(ListingState::Suspended)
    );
    assert_eq!(
        topic.shows("analyst", BETA),
        None,
        "it gives nothing meanwhile"
    );
    assert_eq!(topic.state.shown(OrgId(ACME), OrgId(BETA)).count(), 0);
    topic.review(1, ReviewVerdict::Restore).unwrap();
    assert_eq!(topic.shows("analyst", BETA), Some(sub(1)));
}

#[test]
fn the_agents_that_are_shown_are_those_that_were_approved() {
    let mut topic = Topic::new();
    topic.published(1, content("one"));
    topic.subscribe(BETA, 1, 1).unwrap();
    let change = ContentChange {
        agents: Some(names(&["writer"])),
        ..ContentChange::default()
    };
    topic.update(ACME, 1, change).unwrap();
    let shown = |topic: &Topic, name| topic.shows(name, BETA).is_some();
    assert!(shown(&topic, "analyst") && !shown(&topic, "writer"));
    topic.submit(ACME, 1).unwrap();
    topic.review(1, ReviewVerdict::Approve).unwrap();
    assert!(!shown(&topic, "analyst") && shown(&topic, "writer"));
    let names: Vec<_> = topic.state.shown(OrgId(ACME), OrgId(BETA)).collect();
    assert_eq!(names, [&AgentName::parse("writer").unwrap()]);
}

#[test]
fn the_oldest_of_the_subscriptions_that_show_an_agent_is_the_one_that_is_used() {
    let mut topic = Topic::new();
    topic.published(1, content("one"));
    topic.published(2, content("two"));
    topic.subscribe(BETA, 2, 1).unwrap();
    topic.subscribe(BETA, 3, 2).unwrap();
    assert_eq!(topic.shows("analyst", BETA), Some(sub(2)));
    topic.cancel(BETA, 2).unwrap();
    assert_eq!(topic.shows("analyst", BETA), Some(sub(3)));
}

#[test]
fn a_subscription_is_one_for_each_organisation_and_never_to_its_own_listing() {
    let mut topic = Topic::new();
    topic.published(1, content("one"));
    assert_eq!(
        topic.subscribe(ACME, 1, 1),
        Err(MarketError::OwnListing(lst(1)))
    );
    assert_eq!(
        topic.subscribe(BETA, 1, 9),
        Err(MarketError::ListingNotFound(lst(9)))
    );
    assert!(topic.subscribe(BETA, 1, 1).unwrap());
    assert!(!topic.subscribe(BETA, 1, 1).unwrap(), "the same again");
    let error = topic.subscribe(BETA, 2, 1);
    let (listing, subscription) = (lst(1), sub(1));
    assert_eq!(
        error,
        Err(MarketError::AlreadySubscribed {
            listing,
            subscription
        })
    );
    let error = topic.subscribe(GAMMA, 1, 1).unwrap_err();
    assert!(matches!(
        error,
        MarketError::SubscriptionIdTaken {
            member: "organisation",
            ..
        }
    ));
    topic.published(2, content("two"));
    let error = topic.subscribe(BETA, 1, 2).unwrap_err();
    assert!(matches!(
        error,
        MarketError::SubscriptionIdTaken {
            member: "listingId",
            ..
        }
    ));
    let new = NewSubscription {
        subscription: SubscriptionId(3),
        listing,
        terms_hash: None,
    };
    let error = topic.state.check_subscribe(&asker(GAMMA), &new, topic.at());
    assert_eq!(
        error,
        Err(MarketError::SubscriptionIdVersion(SubscriptionId(3)))
    );
}

#[test]
fn terms_that_are_not_those_of_the_listing_are_refused_and_those_agreed_to_stay() {
    let mut topic = Topic::new();
    topic.published(1, content("one"));
    let actual = content("one").terms_hash();
    // What `printf 'No warranty.' | sha256sum` prints.
    assert_eq!(
        actual.to_string(),
        "sha256:6ad30d966a68535fbad818b8a4896fe093bc2bec1dc342a391bdc1dca0f71adc"
    );
    let new = |terms_hash| NewSubscription {
        subscription: sub(1),
        listing: lst(1),
        terms_hash,
    };
    let by = asker(BETA);
    let checked = topic
        .state
        .check_subscribe(&by, &new(Some(Digest::ZERO)), topic.at());
    let (listing, expected) = (lst(1), Digest::ZERO);
    assert_eq!(
        checked,
        Err(MarketError::TermsChanged {
            listing,
            expected,
            actual
        })
    );
    let checked = topic
        .state
        .check_subscribe(&by, &new(Some(actual)), topic.at());
    topic.checked(checked).unwrap();
    let change = ContentChange {
        pricing: Some(Pricing::Free),
        terms: Some("Other terms.".to_owned()),
        ..ContentChange::default()
    };
    topic.update(ACME, 1, change).unwrap();
    topic.submit(ACME, 1).unwrap();
    topic.review(1, ReviewVerdict::Approve).unwrap();
    assert_eq!(topic.subscription(1).terms_hash, actual);
    assert_eq!(topic.subscription(1).pricing, content("one").pricing);
    topic.cancel(BETA, 1).unwrap();
    topic.subscribe(BETA, 2, 1).unwrap();
    assert_eq!(topic.subscription(2).pricing, Pricing::Free);
}

#[test]
fn a_subscription_that_ended_and_was_never_used_is_forgotten_with_the_next() {
    let mut topic = Topic::new();
    topic.published(1, content("one"));
    topic.subscribe(BETA, 1, 1).unwrap();
    topic.cancel(BETA, 1).unwrap();
    topic.subscribe(BETA, 2, 1).unwrap();
    assert!(topic.state.subscription(sub(1)).is_none());
    topic.use_it(1, 2, &[1], Count::default());
    topic.cancel(BETA, 2).unwrap();
    topic.subscribe(BETA, 3, 1).unwrap();
    assert!(
        topic.state.subscription(sub(2)).is_some(),
        "something is to be paid"
    );
    let own: Vec<_> = topic.state.subscriptions_of(OrgId(BETA)).collect();
    assert_eq!(
        own.iter().map(|one| one.subscription).collect::<Vec<_>>(),
        [sub(3), sub(2)]
    );
    assert_eq!(topic.state.subscribers(lst(1)), 1);
    let last = topic
        .state
        .subscription_between(lst(1), OrgId(BETA))
        .unwrap();
    assert_eq!(last.subscription, sub(3));
    topic.check_rebuilds();
}

#[test]
fn an_organisation_holds_ten_thousand_subscriptions() {
    let mut topic = Topic::new();
    topic.published(1, content("one"));
    topic.subscribe(BETA, 1, 1).unwrap();
    let MarketRecord::Folded(mut whole) = topic.state.fold().remove(0) else {
        panic!("a state is folded into parts of it");
    };
    let one = topic.subscription(1).clone();
    // To listings that are not there: only their number counts here.
    let more = (2..=9_999).map(|number| {
        MarketRow::Subscription(std::sync::Arc::new(Subscription {
            subscription: sub(number),
            listing: lst(number),
            ..one.clone()
        }))
    });
    whole.rows.extend(more);
    let mut full = Topic::new();
    let folded = MarketRecord::Folded(whole);
    full.state.apply(&folded, Offset(0)).unwrap();
    full.published(10_001, content("two"));
    full.published(10_002, content("three"));
    full.subscribe(BETA, 10_000, 10_001).unwrap();
    let error = full.subscribe(BETA, 10_003, 10_002).unwrap_err();
    assert_eq!(
        error.to_string(),
        "subscriptions is 10001, outside 1..=10000"
    );
    full.subscribe(GAMMA, 10_003, 10_002).unwrap();
}
