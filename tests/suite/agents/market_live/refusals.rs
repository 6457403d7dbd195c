//! Everything of the market that is refused: its code, and what it is about.

use npayload::access::{Operation, Pattern};
use npayload::asp::market::ListingAccess;
use npayload::protocol::asp::MarketUpdate;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_of_a_listing_has_its_code_and_what_it_is_about() {
    let floor = Marketplace::new().await;
    let (acme, operator) = (floor.acme.market(), floor.operator.market());
    let id = floor.published(|_| {}).await;

    let old = ListingId(5);
    let mut wrong = listing();
    wrong.id = Some(old);
    let told = refusal(acme.create(wrong).await);
    assert!(told.is(ErrorCode::InvalidListingId), "{told}");
    assert_eq!(told.details["listingId"], old.to_string());
    let mut taken = listing();
    taken.id = Some(id);
    taken.title = "Something else".to_owned();
    let told = refusal(acme.create(taken.clone()).await);
    assert!(told.is(ErrorCode::ListingIdTaken), "{told}");
    assert_eq!(told.details["member"], "content");
    let told = refusal(floor.beta.market().create(taken).await);
    assert_eq!(told.details["member"], "organisation", "{told}");

    let tiers = |text: &str| serde_json::from_str::<Pricing>(text).unwrap();
    type Change = Box<dyn FnOnce(&mut MarketCreate)>;
    let invalid: Vec<(&str, Change)> = vec![
        ("category", Box::new(|one| one.category = "Data".to_owned())),
        ("category", Box::new(|one| one.category = String::new())),
        ("tags", Box::new(|one| one.tags = vec!["a b".to_owned()])),
        (
            "agents",
            Box::new(|one| one.agents = vec![name("a"), name("a")]),
        ),
        (
            "pricing.tiers.upTo",
            Box::new(move |one| {
                one.pricing = tiers(
                    r#"{"type":"tiered","currency":"EUR","tiers":[{"upTo":5,"unitPrice":1}]}"#,
                );
            }),
        ),
    ];
    for (field, change) in invalid {
        let mut one = listing();
        change(&mut one);
        let told = refusal(acme.create(one).await);
        assert!(told.is(ErrorCode::InvalidListing), "{told}");
        assert_eq!(told.details["field"], field, "{told}");
        assert!(told.details["value"].is_string(), "{told}");
    }
    let limits: Vec<(&str, u64, u64, Change)> = vec![
        (
            "title characters",
            0,
            100,
            Box::new(|one| one.title = String::new()),
        ),
        (
            "title characters",
            101,
            100,
            Box::new(|one| one.title = "é".repeat(101)),
        ),
        (
            "description characters",
            10_001,
            10_000,
            Box::new(|one| one.description = "x".repeat(10_001)),
        ),
        (
            "tags",
            21,
            20,
            Box::new(|one| one.tags = vec!["x".to_owned(); 21]),
        ),
        (
            "capabilities",
            0,
            64,
            Box::new(|one| one.capabilities.clear()),
        ),
        ("agents", 0, 100, Box::new(|one| one.agents.clear())),
        (
            "terms bytes",
            16_385,
            16_384,
            Box::new(|one| one.terms = "x".repeat(16_385)),
        ),
        (
            "sample bytes",
            16_402,
            16_384,
            Box::new(|one| {
                one.sample = Some(JsonText::of(&"x".repeat(16_400)).unwrap());
            }),
        ),
        (
            "pricing.unitPrice",
            1_000_000_000_001,
            1_000_000_000_000,
            Box::new(|one| one.pricing = per_call(1_000_000_000_001)),
        ),
    ];
    for (field, found, max, change) in limits {
        let mut one = listing();
        change(&mut one);
        let told = refusal(acme.create(one).await);
        assert!(told.is(ErrorCode::OutOfLimit), "{told}");
        assert_eq!(
            (
                &told.details["field"],
                &told.details["found"],
                &told.details["max"]
            ),
            (&field.into(), &found.into(), &max.into())
        );
    }
    let mut twice = listing();
    twice.sample = Some(JsonText::parse(r#"{"a":1,"a":2}"#).unwrap());
    assert_eq!(code(acme.create(twice).await), ErrorCode::InvalidPayload);

    // What the table does not allow, with what it does.
    let told = refusal(acme.submit(id).await);
    assert!(
        told.is(ErrorCode::IllegalListingStep),
        "nothing is pending: {told}"
    );
    assert_eq!(told.details["state"], "published");
    assert_eq!(told.details["voice"], "owner");
    let told = refusal(operator.review(id, ReviewVerdict::Restore, None).await);
    assert!(told.is(ErrorCode::IllegalListingStep), "{told}");
    assert_eq!(
        (&told.details["step"], &told.details["voice"]),
        (&"restore".into(), &"operator".into())
    );
    assert!(
        told.details["allowed"]
            .as_array()
            .unwrap()
            .contains(&"suspend".into())
    );
    let long = Some("x".repeat(1_001));
    let told = refusal(operator.review(id, ReviewVerdict::Suspend, long).await);
    assert!(told.is(ErrorCode::OutOfLimit), "{told}");

    // Nobody else's listing is there to be changed.
    let nowhere = ListingId(uuid::Uuid::now_v7().as_u128());
    let beta = floor.beta.market();
    for absent in [nowhere, id] {
        for told in [
            beta.update(MarketUpdate::new(absent)).await,
            beta.submit(absent).await,
            beta.archive(absent).await,
        ] {
            let told = refusal(told);
            assert!(told.is(ErrorCode::ListingNotFound), "{told}");
            assert_eq!(told.details["listingId"], absent.to_string());
        }
    }
    let told = operator.review(nowhere, ReviewVerdict::Approve, None).await;
    assert_eq!(code(told), ErrorCode::ListingNotFound);
    assert_eq!(code(beta.info(nowhere).await), ErrorCode::ListingNotFound);
    assert!(floor.running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_of_a_subscription_has_its_code_and_what_it_is_about() {
    use npayload::protocol::asp::MarketSubscribe;
    let floor = Marketplace::new().await;
    let (acme, beta) = (floor.acme.market(), floor.beta.market());
    let id = floor
        .published(|listing| listing.access = ListingAccess::Open)
        .await;
    let other = floor.published(|_| {}).await;
    assert_eq!(code(acme.subscribe(id, None).await), ErrorCode::OwnListing);
    assert_eq!(code(acme.rate(id, 3, None).await), ErrorCode::OwnListing);
    assert_eq!(code(beta.rate(id, 3, None).await), ErrorCode::NotUsed);
    let nowhere = ListingId(uuid::Uuid::now_v7().as_u128());
    assert_eq!(
        code(beta.rate(nowhere, 3, None).await),
        ErrorCode::ListingNotFound
    );
    let subscription = floor.subscribed(id).await;
    let told = refusal(beta.subscribe(id, None).await);
    assert!(told.is(ErrorCode::AlreadySubscribed), "{told}");
    assert_eq!(told.details["subscriptionId"], subscription.to_string());

    // With ids of one's own choice.
    let ask = async |id, listing_id| {
        let body = MarketSubscribe {
            id: Some(id),
            listing_id,
            terms_hash: None,
        };
        beta.subscribe_as(body).await
    };
    let told = refusal(ask(SubscriptionId(7), other).await);
    assert!(told.is(ErrorCode::InvalidSubscriptionId), "{told}");
    let told = refusal(ask(subscription, other).await);
    assert!(told.is(ErrorCode::SubscriptionIdTaken), "{told}");
    assert_eq!(told.details["member"], "listingId");
    let again = ask(subscription, id).await.unwrap();
    assert_eq!(
        (again.id, again.state),
        (subscription, SubscriptionState::Active)
    );

    let told = refusal(
        acme.approve(subscription, ApproveVerdict::Resume, None)
            .await,
    );
    assert!(told.is(ErrorCode::IllegalSubscriptionStep), "{told}");
    assert_eq!(
        (
            &told.details["state"],
            &told.details["step"],
            &told.details["voice"]
        ),
        (&"active".into(), &"resume".into(), &"publisher".into())
    );
    assert_eq!(told.details["allowed"], serde_json::json!(["suspend"]));
    let nowhere = SubscriptionId(uuid::Uuid::now_v7().as_u128());
    for told in [
        acme.approve(nowhere, ApproveVerdict::Approve, None).await,
        acme.cancel(subscription).await,
        beta.cancel(nowhere).await,
    ] {
        assert_eq!(code(told), ErrorCode::SubscriptionNotFound);
    }
    let told = beta.usage(nowhere, None, None).await;
    assert_eq!(code(told), ErrorCode::SubscriptionNotFound);
    for limit in [0, 101] {
        let list = MarketSubscriptions {
            limit,
            ..MarketSubscriptions::default()
        };
        let told = refusal(beta.subscriptions(list).all().await);
        assert!(told.is(ErrorCode::OutOfLimit), "{told}");
        let limits = serde_json::json!({"field":"limit","found":limit,"min":1,"max":100});
        assert_eq!(told.details, limits);
    }
    // A page holds one, and none is missed or told twice.
    let second = floor.subscribed(other).await;
    let list = MarketSubscriptions {
        limit: 1,
        ..MarketSubscriptions::default()
    };
    let mut pages = beta.subscriptions(list);
    for wanted in [second, subscription] {
        assert_eq!(pages.next().await.unwrap().unwrap().id, wanted);
    }
    assert!(pages.next().await.is_none());
    let list = MarketSubscriptions {
        cursor: Some("nonsense".to_owned()),
        ..MarketSubscriptions::default()
    };
    assert_eq!(
        code(beta.subscriptions(list).all().await),
        ErrorCode::InvalidCursor
    );
    assert!(floor.running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_for_some_agents_looks_and_changes_nothing() {
    let floor = Marketplace::new().await;
    let some = async |of| {
        let scope = Scope {
            operations: [Operation::Asp].into(),
            channels: Vec::new(),
            agents: vec!["bot*".parse::<Pattern>().unwrap()],
        };
        keyed(&floor.running, &floor.operator, of, scope)
            .await
            .market()
    };
    let (seller, buyer) = (some("acme").await, some("beta").await);
    let id = floor
        .published(|listing| listing.access = ListingAccess::Open)
        .await;
    let subscription = floor.subscribed(id).await;
    let needed = ErrorCode::OrgKeyRequired;
    assert_eq!(code(seller.create(listing()).await), needed);
    assert_eq!(code(seller.update(MarketUpdate::new(id)).await), needed);
    assert_eq!(code(seller.submit(id).await), needed);
    assert_eq!(code(seller.archive(id).await), needed);
    let verdict = ApproveVerdict::Suspend;
    assert_eq!(
        code(seller.approve(subscription, verdict, None).await),
        needed
    );
    assert_eq!(code(buyer.subscribe(id, None).await), needed);
    assert_eq!(code(buyer.cancel(subscription).await), needed);
    assert_eq!(code(buyer.rate(id, 3, None).await), needed);
    let review = seller.review(id, ReviewVerdict::Suspend, None).await;
    assert_eq!(code(review), ErrorCode::Forbidden);
    assert!(buyer.info(id).await.is_ok());
    let found = buyer.search(MarketSearch::default()).all().await.unwrap();
    assert_eq!(found.len(), 1);
    let list = MarketSubscriptions::default();
    assert_eq!(buyer.subscriptions(list).all().await.unwrap().len(), 1);
    for side in [&seller, &buyer] {
        let usage = side.usage(subscription, None, None).await.unwrap();
        assert_eq!(told(&usage), (0, 0, 0, Some(euros(0))));
    }
    assert!(floor.running.stop().await);
}
