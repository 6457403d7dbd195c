//! Whom a subscription shows, for how long, and who may do what on the market.

use npayload::access::{KeyKind, KeyRequest, Limits as KeyLimits, Scope};
use npayload::asp::market::{ContentChange, MarketQuery};
use npayload::broker::asp::SubscriptionsAsked;

use super::*;
use crate::agents::walls::show;

#[test]
fn a_subscription_shows_agents_and_one_that_ends_is_like_a_revoked_grant() {
    let mut fair = Fair::new();
    let listing = fair.publish(content(&["bot", "helper"]));
    assert!(!fair.sees("bot"), "a listing alone shows nobody");
    assert!(fair.open("agent://acme/bot").is_err());
    let id = fair.subscribe(listing);
    assert!(fair.sees("bot") && fair.sees("helper") && !fair.sees("secret"));
    assert!(fair.open("agent://acme/secret").is_err());
    let session = fair.open("agent://acme/bot").unwrap();
    let (acme, beta) = (fair.acme, fair.beta);
    fair.say(acme, session, "bot", Performative::Accept);
    for end in ["suspend", "the listing", "cancel"] {
        match end {
            "suspend" => drop(fair.approve(id, ApproveVerdict::Suspend)),
            "the listing" => fair.review(listing, ReviewVerdict::Suspend),
            _ => fair.cancel(id),
        }
        assert!(!fair.sees("bot") && !fair.sees("helper"), "{end}");
        assert!(fair.open("agent://acme/bot").is_err(), "{end}");
        // As after a grant was revoked: who is in stays in, and is addressed.
        fair.say(beta, session, "lead", Performative::Inform);
        fair.say(acme, session, "bot", Performative::Inform);
        fair.assign(session, Some("agent://acme/bot"));
        match end {
            "suspend" => drop(fair.approve(id, ApproveVerdict::Resume)),
            "the listing" => fair.review(listing, ReviewVerdict::Restore),
            _ => continue,
        }
        assert!(fair.sees("bot") && !fair.sees("secret"), "{end} is over");
    }
    // What goes on is still counted.
    assert_eq!(fair.tally(id), tally(1, 7, 3));
    // And a new one is another subscription.
    let again = fair.subscribe(listing);
    assert!(again != id && fair.sees("bot"));
}

#[test]
fn the_grant_that_is_revoked_behaves_the_same() {
    let mut fair = Fair::new();
    let (acme, beta) = (fair.acme, fair.beta);
    show(&mut fair.floor, &acme, &beta, "bot");
    let session = fair.open("agent://acme/bot").unwrap();
    fair.say(acme, session, "bot", Performative::Accept);
    let grants: Vec<_> = fair
        .floor
        .broker
        .access()
        .grants(beta.org)
        .map(|one| one.grant)
        .collect();
    let at = fair.at();
    let revoked = fair
        .floor
        .broker
        .revoke_grant(&acme, grants[0], at)
        .unwrap();
    fair.floor.durable(revoked);
    assert!(!fair.sees("bot") && fair.open("agent://acme/bot").is_err());
    fair.say(beta, session, "lead", Performative::Inform);
    fair.say(acme, session, "bot", Performative::Inform);
    fair.assign(session, Some("agent://acme/bot"));
}

#[test]
fn what_an_organisation_does_needs_a_key_that_speaks_for_all_of_it() {
    let mut fair = Fair::new();
    let listing = fair.publish(content(&["bot"]));
    let (acme, at) = (fair.acme, fair.at());
    let mut key = |scope: Scope, name: &str| {
        let request = KeyRequest {
            org: acme.org,
            name: name.to_owned(),
            kind: KeyKind::Test,
            scopes: vec![scope],
            limits: KeyLimits::default(),
            expires_at: None,
            certificate: None,
        };
        let made = fair.floor.broker.create_key(&acme, request, at).unwrap();
        let (_, secret) = fair.floor.durable(made);
        fair.floor.broker.authenticate(&secret, at).unwrap()
    };
    let some: Scope = serde_json::from_str(r#"{"operations":["asp"],"agents":["bot*"]}"#).unwrap();
    let none: Scope = serde_json::from_str(r#"{"operations":["publish"]}"#).unwrap();
    let all: Scope = serde_json::from_str(r#"{"operations":["asp"]}"#).unwrap();
    let (some, none, all) = (key(some, "some"), key(none, "none"), key(all, "all"));
    let broker = &mut fair.floor.broker;
    let id = SubscriptionId(1);
    let needed = MarketError::OrgKeyRequired;
    let change = ContentChange::default;
    assert_eq!(
        market_error(broker.create_listing(&some, None, content(&["bot"]), at)),
        needed
    );
    assert_eq!(
        market_error(broker.update_listing(&some, listing, change(), at)),
        needed
    );
    assert_eq!(
        market_error(broker.submit_listing(&some, listing, at)),
        needed
    );
    assert_eq!(
        market_error(broker.archive_listing(&some, listing, at)),
        needed
    );
    assert_eq!(
        market_error(broker.subscribe_listing(&some, None, listing, None, at)),
        needed
    );
    assert_eq!(
        market_error(broker.cancel_subscription(&some, id, at)),
        needed
    );
    assert_eq!(
        market_error(broker.rate_listing(&some, listing, 5, None, at)),
        needed
    );
    let verdict = ApproveVerdict::Approve;
    assert_eq!(
        market_error(broker.approve_subscription(&some, id, verdict, None, at)),
        needed
    );
    // Looking takes any key for agents.
    assert!(broker.see_listing(&some, listing, at).is_ok());
    let query = MarketQuery::default;
    assert!(broker.market_to_search(&some, query(), None, at).is_ok());
    assert!(
        broker
            .list_subscriptions(&some, &SubscriptionsAsked::default(), 9, at)
            .is_ok()
    );
    for refused in [
        broker.see_listing(&none, listing, at).map(drop),
        broker.market_to_search(&none, query(), None, at).map(drop),
        broker
            .list_subscriptions(&none, &SubscriptionsAsked::default(), 9, at)
            .map(drop),
        broker
            .subscription_usage(&none, id, None, None, at)
            .map(drop),
        broker
            .create_listing(&none, None, content(&["bot"]), at)
            .map(drop),
        // Operators are of the default organisation.
        broker
            .review_listing(&acme, listing, ReviewVerdict::Suspend, None, at)
            .map(drop),
        broker
            .market_to_search(
                &acme,
                MarketQuery {
                    in_review: true,
                    ..query()
                },
                None,
                at,
            )
            .map(drop),
    ] {
        assert!(matches!(refused.unwrap_err().error, BrokerError::Access(_)));
    }
    broker.update_listing(&all, listing, change(), at).unwrap();
}

#[test]
fn a_listing_is_found_seen_subscribed_to_and_rated_across_organisations() {
    let mut fair = Fair::new();
    let listing = fair.publish(Content {
        access: ListingAccess::OnRequest,
        ..content(&["bot", "nobody"])
    });
    let (acme, beta, at) = (fair.acme, fair.beta, fair.at());
    let find = |fair: &Fair, by: &Principal, org: Option<&str>| {
        let org = org.map(|org| OrgName::parse(org).unwrap());
        let market =
            fair.floor
                .broker
                .market_to_search(by, MarketQuery::default(), org.as_ref(), at);
        let (found, next) = market.unwrap().search(10).unwrap();
        assert!(next.is_none());
        found
    };
    for org in [None, Some("acme")] {
        let found = find(&fair, &beta, org);
        assert_eq!((found.len(), found[0].listing.listing), (1, listing));
        assert_eq!(
            (found[0].org.as_str(), found[0].is_verified),
            ("acme", false)
        );
        let agents: Vec<_> = found[0]
            .agents
            .iter()
            .map(|one| (one.name.as_str(), one.agent.is_some()))
            .collect();
        assert_eq!(agents, [("bot", true), ("nobody", false)]);
        assert_eq!(found[0].trust, npayload::asp::TrustScore::NONE);
        assert!(!found[0].is_own && !found[0].is_operator);
    }
    assert!(find(&fair, &beta, Some("beta")).is_empty());
    assert!(find(&fair, &beta, Some("not-there")).is_empty());
    let verified = fair
        .floor
        .broker
        .verify_org(&ME, &OrgName::parse("acme").unwrap(), true, at);
    fair.floor.durable(verified.unwrap());
    assert!(find(&fair, &acme, None)[0].is_verified && find(&fair, &acme, None)[0].is_own);
    let id = fair.subscribe(listing);
    let seen = |fair: &Fair, by| {
        fair.floor
            .broker
            .see_listing(by, listing, at)
            .unwrap()
            .value
    };
    let (of, own) = seen(&fair, &beta);
    assert_eq!(of.subscribers, 1);
    let own = own.unwrap();
    assert_eq!((own.org.as_str(), own.publisher.as_str()), ("beta", "acme"));
    assert_eq!(own.subscription.state, SubscriptionState::Requested);
    assert!(seen(&fair, &acme).1.is_none(), "the publisher has none");
    assert!(!fair.sees("bot"));
    let list = |fair: &Fair, by, as_publisher, state| {
        let asked = SubscriptionsAsked {
            as_publisher,
            state,
            ..SubscriptionsAsked::default()
        };
        let listed = fair
            .floor
            .broker
            .list_subscriptions(by, &asked, 1, at)
            .unwrap()
            .value;
        assert!(!listed.1);
        listed
            .0
            .iter()
            .map(|one| one.subscription.subscription)
            .collect::<Vec<_>>()
    };
    let requested = Some(SubscriptionState::Requested);
    assert_eq!(list(&fair, &acme, true, requested), [id]);
    assert_eq!(
        fair.approve(id, ApproveVerdict::Approve),
        SubscriptionState::Active
    );
    assert_eq!(list(&fair, &acme, true, requested), []);
    assert_eq!(list(&fair, &acme, false, None), []);
    assert_eq!(list(&fair, &beta, false, None), [id]);
    assert!(fair.sees("bot"));
    let refused = fair.floor.broker.rate_listing(&beta, listing, 5, None, at);
    assert_eq!(market_error(refused), MarketError::NotUsed(listing));
    fair.open("agent://acme/bot").unwrap();
    let rated = fair
        .floor
        .broker
        .rate_listing(&beta, listing, 4, None, at)
        .unwrap();
    let rating = fair.floor.durable(rated);
    assert_eq!((rating.mean_hundredths(), rating.count), (Some(400), 1));
    let fair = fair.reopened();
    assert_eq!(seen(&fair, &beta).0.listing.rating, rating);
}

#[test]
fn whom_a_subscription_showed_reads_no_further_than_to_its_end() {
    let mut fair = Fair::new();
    let listing = fair.publish(content(&["bot"]));
    let bot = AgentRef::parse("bot").unwrap();
    let bot = fair.floor.broker.see_agent(&fair.acme, &bot, fair.at());
    let bot = bot.unwrap().value.agent.agent;
    let reads = |fair: &Fair| {
        let (acme, beta) = (fair.acme.org, fair.beta.org);
        fair.floor.broker.shown_in(beta, (acme, bot), fair.at())
    };
    let first = fair.subscribe(listing);
    assert_eq!(reads(&fair), Reads::All);
    let end = fair.at();
    fair.cancel(first);
    fair.floor.now += 10;
    assert_eq!(reads(&fair), Reads::Until(end));
    let second = fair.subscribe(listing);
    assert_eq!(reads(&fair), Reads::All, "a later one shows it again");
    assert_eq!(
        fair.approve(second, ApproveVerdict::Suspend),
        SubscriptionState::Suspended
    );
    assert_eq!(reads(&fair), Reads::All, "it may go on");
    let end = fair.at();
    fair.cancel(second);
    fair.floor.now += 10;
    assert_eq!(reads(&fair.reopened()), Reads::Until(end));
}
