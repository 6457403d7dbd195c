//! Listings while they are changed, suspended, shown to a few, and looked for.

use npayload::asp::market::{ListingAccess, MarketSort, PricingType, Visibility};
use npayload::protocol::asp::MarketUpdate;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_listing_stays_as_it_was_until_its_change_is_approved() {
    let floor = Marketplace::new().await;
    let (acme, beta) = (floor.acme.market(), floor.beta.market());
    let operator = floor.operator.market();
    let id = floor
        .published(|listing| listing.access = ListingAccess::Open)
        .await;
    let subscription = floor.subscribed(id).await;
    let update = MarketUpdate {
        pricing: Some(per_call(900)),
        terms: Some("Dearer.".to_owned()),
        sample: Some(None),
        ..MarketUpdate::new(id)
    };
    let changed = acme.update(update).await.unwrap();
    assert_eq!(
        (changed.state, changed.revision),
        (ListingState::Published, 2)
    );
    acme.submit(id).await.unwrap();
    let seen = beta.info(id).await.unwrap().listing;
    assert_eq!((&seen.pricing, &seen.pending), (&per_call(250), &None));
    let own = acme.info(id).await.unwrap().listing;
    let pending = own.pending.unwrap();
    assert_eq!(
        (pending.state, pending.revision),
        (ListingState::InReview, 2)
    );
    assert_eq!(
        (pending.sample, pending.terms),
        (None, "Dearer.".to_owned())
    );

    let without = operator.review(id, ReviewVerdict::Reject, None).await;
    let without = refusal(without);
    assert!(without.is(ErrorCode::ReasonRequired), "{without}");
    assert_eq!(without.details["step"], "reject");
    let why = Some("too dear".to_owned());
    operator
        .review(id, ReviewVerdict::Reject, why)
        .await
        .unwrap();
    let own = acme.info(id).await.unwrap().listing;
    assert_eq!(own.reason.as_deref(), Some("too dear"));
    assert_eq!(own.pending.unwrap().state, ListingState::Draft);
    assert_eq!(beta.info(id).await.unwrap().listing.reason, None);

    acme.submit(id).await.unwrap();
    let approve = ReviewVerdict::Approve;
    let approved = operator.review(id, approve, None).await.unwrap();
    assert_eq!(
        (approved.state, approved.revision),
        (ListingState::Published, 2)
    );
    let seen = beta.info(id).await.unwrap();
    assert_eq!(seen.listing.pricing, per_call(900));
    // Who subscribed under the old price keeps it.
    let kept = seen.subscription.unwrap();
    assert_eq!((kept.id, kept.pricing), (subscription, per_call(250)));
    assert_ne!(kept.terms_hash, seen.listing.terms_hash);
    assert!(floor.running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_suspended_gives_nothing_meanwhile_and_what_is_archived_goes_on() {
    let floor = Marketplace::new().await;
    let (acme, operator) = (floor.acme.market(), floor.operator.market());
    let id = floor
        .published(|listing| listing.access = ListingAccess::Open)
        .await;
    let subscription = floor.subscribed(id).await;
    let bot = "agent://acme/bot";
    let may = async || open(&floor.beta, bot).await.is_ok();
    assert!(may().await);
    let why = || Some("the invoice is open".to_owned());
    for (verdict, gives) in [
        (ApproveVerdict::Suspend, false),
        (ApproveVerdict::Resume, true),
    ] {
        acme.approve(subscription, verdict, why()).await.unwrap();
        assert_eq!(may().await, gives, "{verdict}");
    }
    for (verdict, gives) in [
        (ReviewVerdict::Suspend, false),
        (ReviewVerdict::Restore, true),
    ] {
        operator.review(id, verdict, why()).await.unwrap();
        assert_eq!(may().await, gives, "{verdict}");
    }
    let archived = acme.archive(id).await.unwrap();
    assert_eq!(archived.state, ListingState::Archived);
    assert!(may().await, "what there is goes on");
    let gamma = newcomer(&floor.running, &floor.operator, "gamma").await;
    let late = refusal(gamma.market().subscribe(id, None).await);
    assert!(late.is(ErrorCode::ListingClosed), "{late}");
    assert_eq!(late.details["state"], "archived");
    assert!(floor.running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_for_those_who_are_invited_is_not_there_for_others() {
    let floor = Marketplace::new().await;
    let gamma = newcomer(&floor.running, &floor.operator, "gamma").await;
    let (beta, gamma) = (floor.beta.market(), gamma.market());
    let hidden = floor
        .published(|listing| {
            listing.visibility = Visibility::InviteOnly;
            listing.access = ListingAccess::ByInvitation;
            listing.invited = vec![org("beta")];
        })
        .await;
    assert_eq!(code(gamma.info(hidden).await), ErrorCode::ListingNotFound);
    let refused = gamma.subscribe(hidden, None).await;
    assert_eq!(code(refused), ErrorCode::ListingNotFound);
    let all = MarketSearch::default;
    assert!(gamma.search(all()).all().await.unwrap().is_empty());
    let found = beta.search(all()).all().await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].invited, None, "others are not told who is invited");
    let told = beta.subscribe(hidden, None).await.unwrap();
    assert_eq!(told.state, SubscriptionState::Active, "at once");
    let of_beta = gamma.usage(told.id, None, None).await;
    assert_eq!(code(of_beta), ErrorCode::SubscriptionNotFound);
    assert_eq!(
        code(gamma.cancel(told.id).await),
        ErrorCode::SubscriptionNotFound
    );

    let shown = floor
        .published(|listing| listing.access = ListingAccess::ByInvitation)
        .await;
    assert_eq!(
        code(gamma.subscribe(shown, None).await),
        ErrorCode::NotInvited
    );
    let unlisted = floor
        .published(|listing| listing.visibility = Visibility::Unlisted)
        .await;
    let found = gamma.search(all()).all().await.unwrap();
    assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [shown]);
    assert!(gamma.info(unlisted).await.is_ok(), "who knows its id");
    assert!(floor.running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_are_found_by_what_they_offer_and_come_in_pages() {
    let floor = Marketplace::new().await;
    floor
        .operator
        .trust()
        .verify_org(org("acme"), true)
        .await
        .unwrap();
    let free = floor
        .published(|one| {
            one.title = "Free quotes".to_owned();
            one.pricing = Pricing::Free;
        })
        .await;
    let cheap = floor
        .published(|one| {
            one.title = "Cheap quotes".to_owned();
            one.pricing = per_call(10);
            one.tags = vec!["prices".to_owned(), "retail".to_owned()];
        })
        .await;
    let dear = floor
        .published(|one| {
            one.title = "Dear quotes".to_owned();
            one.category = "advice".to_owned();
            one.capabilities = vec![name("web-search"), name("citation")];
        })
        .await;
    let monthly = floor
        .published(|one| {
            one.title = "Monthly report".to_owned();
            one.pricing = Pricing::Monthly {
                currency: "EUR".parse().unwrap(),
                price: 900,
            };
        })
        .await;
    let beta = floor.beta.market();
    let ids = async |search: MarketSearch| {
        let rows = beta.search(search).all().await.unwrap();
        rows.iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let by_price = || MarketSearch {
        sort: MarketSort::Price,
        ..MarketSearch::default()
    };
    assert_eq!(ids(by_price()).await, [free, cheap, dear, monthly]);
    // A page holds one, and none is missed or told twice.
    let pages = MarketSearch {
        limit: 1,
        ..by_price()
    };
    let mut pages = beta.search(pages);
    for wanted in [free, cheap, dear, monthly] {
        assert_eq!(pages.next().await.unwrap().unwrap().id, wanted);
    }
    assert!(pages.next().await.is_none());
    type Change = Box<dyn FnOnce(&mut MarketSearch)>;
    let cases: Vec<(Change, Vec<ListingId>)> = vec![
        (
            Box::new(|one| one.text = Some("QUOTES".to_owned())),
            vec![free, cheap, dear],
        ),
        (
            Box::new(|one| one.text = Some("quotes dear".to_owned())),
            vec![dear],
        ),
        (
            Box::new(|one| one.category = Some("advice".to_owned())),
            vec![dear],
        ),
        (
            Box::new(|one| one.tags = vec!["retail".to_owned()]),
            vec![cheap],
        ),
        (
            Box::new(|one| one.capabilities = vec![name("citation")]),
            vec![dear],
        ),
        (
            Box::new(|one| one.max_price = Some(euros(10))),
            vec![free, cheap],
        ),
        (
            Box::new(|one| {
                one.max_price = Some(euros(900));
                one.pricing = Some(PricingType::Monthly);
            }),
            vec![monthly],
        ),
        (
            Box::new(|one| one.pricing = Some(PricingType::Free)),
            vec![free],
        ),
        (
            Box::new(|one| one.organisation = Some(org("beta"))),
            Vec::new(),
        ),
        (
            Box::new(|one| one.organisation = Some(org("nobody"))),
            Vec::new(),
        ),
        (Box::new(|one| one.verified = Some(false)), Vec::new()),
        (Box::new(|one| one.own = true), Vec::new()),
        (
            Box::new(|one| one.min_trust_score = Some(1.0.try_into().unwrap())),
            Vec::new(),
        ),
        (
            Box::new(|one| {
                one.organisation = Some(org("acme"));
                one.verified = Some(true);
            }),
            vec![free, cheap, dear, monthly],
        ),
    ];
    for (at, (change, wanted)) in cases.into_iter().enumerate() {
        let mut search = by_price();
        change(&mut search);
        assert_eq!(ids(search).await, wanted, "case {at}");
    }
    let newest = MarketSearch {
        sort: MarketSort::Newest,
        ..MarketSearch::default()
    };
    assert_eq!(ids(newest).await.len(), 4);
    for limit in [0, 101] {
        let search = MarketSearch {
            limit,
            ..MarketSearch::default()
        };
        let told = refusal(beta.search(search).all().await);
        assert!(told.is(ErrorCode::OutOfLimit), "{told}");
        let limits = serde_json::json!({"field":"limit","found":limit,"min":1,"max":100});
        assert_eq!(told.details, limits);
    }
    let search = MarketSearch {
        tags: vec!["No Tag".to_owned()],
        ..MarketSearch::default()
    };
    assert_eq!(
        code(beta.search(search).all().await),
        ErrorCode::InvalidListing
    );
    let search = MarketSearch {
        cursor: Some("nonsense".to_owned()),
        ..MarketSearch::default()
    };
    assert_eq!(
        code(beta.search(search).all().await),
        ErrorCode::InvalidCursor
    );
    assert!(floor.running.stop().await);
}
