//! The market over the wire: two organisations with a key each, from the listing to the metered
//! session, and everything that is refused on the way.

use npayload::access::{KeyKind, Limits as KeyLimits, Operation, Pattern, Scope};
use npayload::asp::chain::Digest;
use npayload::asp::market::{
    ApproveVerdict, Charge, ListingAccess, ListingState, MarketSort, Pricing, PricingType,
    ReviewVerdict, SubscriptionState, Visibility,
};
use npayload::client::{Client, Market, NewMessage, RequestError};
use npayload::protocol::ErrorCode;
use npayload::protocol::access::KeyCreate;
use npayload::protocol::asp::{
    AgentRegister, Joining, JsonText, MarketCreate, MarketSearch, MarketSubscriptions,
    MarketUpdate, SessionCreate, SessionLimits, SessionRow, SubscriptionRow, SubscriptionSide,
    UsageTold,
};
use npayload::server::{Running, start};
use npayload::types::{ListingId, OrgName, SubscriptionId};

use super::live::connect;
use super::*;
use crate::server::options;

fn org(name: &str) -> OrgName {
    OrgName::parse(name).unwrap()
}

fn name(text: &str) -> AgentName {
    AgentName::parse(text).unwrap()
}

fn agent(text: &str) -> AgentRef {
    AgentRef::parse(text).unwrap()
}

fn euros(amount: u64) -> Charge {
    Charge {
        amount,
        currency: "EUR".parse().unwrap(),
    }
}

fn per_call(unit_price: u64) -> Pricing {
    Pricing::PerCall {
        currency: "EUR".parse().unwrap(),
        unit_price,
    }
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, RequestError>) -> npayload::protocol::WireError {
    match answer.unwrap_err() {
        RequestError::Server(error) => *error,
        other => panic!("{other}"),
    }
}

fn code<T: std::fmt::Debug>(answer: Result<T, RequestError>) -> ErrorCode {
    refusal(answer).known().unwrap()
}

/// A broker with two organisations, and whoever runs it.
struct Marketplace {
    dir: tempfile::TempDir,
    running: Running,
    /// On loopback, without a key: an operator.
    operator: Client,
    /// Who lists.
    acme: Client,
    /// Who subscribes.
    beta: Client,
}

impl Marketplace {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let running = start(options(dir.path())).await.unwrap();
        let operator = connect(&running).await;
        let acme = newcomer(&running, &operator, "acme").await;
        let beta = newcomer(&running, &operator, "beta").await;
        for bot in ["bot", "secret.bot"] {
            let profile = npayload::asp::registry::Profile::default();
            let register = AgentRegister::new(name(bot), profile);
            acme.agents().register(register).await.unwrap();
        }
        Self {
            dir,
            running,
            operator,
            acme,
            beta,
        }
    }

    /// A listing of acme's that an operator has approved.
    async fn published(&self, change: impl FnOnce(&mut MarketCreate)) -> ListingId {
        let mut listing = listing();
        change(&mut listing);
        let made = self.acme.market().create(listing).await.unwrap();
        self.acme.market().submit(made.id).await.unwrap();
        let approve = ReviewVerdict::Approve;
        let told = self.operator.market().review(made.id, approve, None).await;
        assert_eq!(told.unwrap().state, ListingState::Published);
        made.id
    }

    async fn subscribed(&self, listing: ListingId) -> SubscriptionId {
        let told = self.beta.market().subscribe(listing, None).await.unwrap();
        told.id
    }
}

async fn newcomer(running: &Running, operator: &Client, name: &str) -> Client {
    let limits = KeyLimits::default();
    operator.create_org(org(name), limits).await.unwrap();
    keyed(running, operator, name, Scope::all()).await
}

/// A client with a key of that organisation.
async fn keyed(running: &Running, operator: &Client, of: &str, scope: Scope) -> Client {
    let request = KeyCreate {
        org: Some(org(of)),
        name: "a test's".to_owned(),
        kind: KeyKind::Test,
        scopes: vec![scope],
        limits: KeyLimits::default(),
        expires_at: None,
        certificate: None,
    };
    let (_, secret) = operator.create_key(request).await.unwrap();
    let url = format!("npayload://{}", running.listen());
    let builder = Client::builder().api_key(secret);
    builder.connect(&url).await.unwrap()
}

fn listing() -> MarketCreate {
    let agents = vec![name("bot"), name("other.bot")];
    let mut listing = Market::listing(
        "Market research",
        "data-analysis",
        vec![name("web-search")],
        agents,
    );
    listing.tags = vec!["prices".to_owned()];
    listing.pricing = per_call(250);
    listing.terms = "Fair use.".to_owned();
    listing.sample = Some(JsonText::parse(r#"{ "price": 1.50 }"#).unwrap());
    listing
}

/// A session that beta's agent leads, with an agent of acme's.
fn with(guest: &str) -> SessionCreate {
    let joining = |agent: &str, role| Joining {
        agent_id: AgentRef::parse(agent).unwrap(),
        role,
    };
    SessionCreate {
        topic: "prices".to_owned(),
        participants: vec![
            joining("lead", Role::Coordinator),
            joining(guest, Role::Specialist),
        ],
        ttl_ms: None,
        invitation_ms: None,
        limits: SessionLimits::default(),
        metadata: serde_json::Map::default(),
    }
}

async fn open(client: &Client, guest: &str) -> Result<SessionRow, RequestError> {
    client.sessions().create(with(guest)).await
}

fn typed(from: &str, message_type: &str) -> NewMessage {
    let message = NewMessage::new(agent(from)).typed(message_type);
    message.content(&serde_json::json!({ "n": 1 })).unwrap()
}

/// Two tasks that are given and answered.
async fn work(floor: &Marketplace, session: &SessionRow) {
    let id = session.session_id;
    let accept = NewMessage::new(agent("bot")).said(Performative::Accept);
    let accept = accept.content(&serde_json::json!({})).unwrap();
    floor.acme.sessions().send(id, accept).await.unwrap();
    for _ in 0..2 {
        let task = typed("lead", "task.assign").said(Performative::Inform);
        let task = task.to(agent("agent://acme/bot"));
        floor.beta.sessions().send(id, task).await.unwrap();
        let done = typed("bot", "task.result");
        floor.acme.sessions().send(id, done).await.unwrap();
    }
}

fn told(usage: &UsageTold) -> (u64, u64, u64, Option<Charge>) {
    let total = &usage.total;
    (total.sessions, total.messages, total.calls, total.charge)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_from_the_listing_to_the_metered_session_across_two_organisations() {
    let floor = Marketplace::new().await;
    let (acme, beta) = (floor.acme.market(), floor.beta.market());
    let bot = "agent://acme/bot";
    let refused = open(&floor.beta, bot).await;
    assert_eq!(code(refused), ErrorCode::AgentNotFound, "before anything");

    // A draft is its owner's alone.
    let new = listing();
    let made = acme.create(new.clone()).await.unwrap();
    assert_eq!((made.state, made.revision), (ListingState::Draft, 1));
    assert_eq!(acme.create(new).await.unwrap(), made, "sent again");
    let id = made.id;
    assert_eq!(code(beta.info(id).await), ErrorCode::ListingNotFound);
    let submitted = acme.submit(id).await.unwrap();
    assert_eq!(submitted.state, ListingState::InReview);
    let all = |search: MarketSearch| async { beta.search(search).all().await.unwrap() };
    assert!(all(MarketSearch::default()).await.is_empty());

    // An operator looks at it, and nobody else.
    let waiting = MarketSearch {
        in_review: true,
        ..MarketSearch::default()
    };
    let found = floor.operator.market().search(waiting.clone()).all().await;
    assert_eq!(found.unwrap().len(), 1);
    let peeks = beta.search(waiting).all().await;
    assert_eq!(code(peeks), ErrorCode::Forbidden);
    let approve = ReviewVerdict::Approve;
    let cheeky = acme.review(id, approve, None).await;
    assert_eq!(code(cheeky), ErrorCode::Forbidden);
    let approved = floor.operator.market().review(id, approve, None).await;
    assert_eq!(approved.unwrap().state, ListingState::Published);

    // Now it is found, as far as it is anybody's business.
    let found = all(MarketSearch {
        text: Some("RESEARCH prices".to_owned()),
        ..MarketSearch::default()
    })
    .await;
    let [row] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!((row.id, row.organisation.as_str()), (id, "acme"));
    assert_eq!((row.subscribers, &row.invited), (None, &None));
    assert_eq!(row.sample.as_ref().unwrap().text(), r#"{"price":1.5}"#);
    assert_eq!(row.pricing, per_call(250));
    assert_eq!((row.rating.mean, row.rating.count), (None, 0));
    let own = acme.info(id).await.unwrap();
    assert_eq!(own.listing.subscribers, Some(0));
    assert_eq!(own.listing.invited, Some(Vec::new()));

    // Subscribed to on request: nothing before the publisher agrees.
    let other = beta.subscribe(id, Some(Digest([7; 32]))).await;
    let other = refusal(other);
    assert!(other.is(ErrorCode::TermsChanged), "{other}");
    assert_eq!(other.details["actual"], row.terms_hash.to_string());
    let asked = beta.subscribe(id, Some(row.terms_hash)).await.unwrap();
    assert_eq!(asked.state, SubscriptionState::Requested);
    let refused = open(&floor.beta, bot).await;
    assert_eq!(code(refused), ErrorCode::AgentNotFound, "not approved yet");
    let list = MarketSubscriptions {
        side: SubscriptionSide::Publisher,
        state: Some(SubscriptionState::Requested),
        ..MarketSubscriptions::default()
    };
    let requests = acme.subscriptions(list.clone()).all().await.unwrap();
    let by = |row: &SubscriptionRow| (row.id, row.organisation.to_string());
    assert_eq!(
        requests.iter().map(by).collect::<Vec<_>>(),
        [(asked.id, "beta".to_owned())]
    );
    let cheeky = beta.approve(asked.id, ApproveVerdict::Approve, None).await;
    assert_eq!(code(cheeky), ErrorCode::SubscriptionNotFound);
    let approved = acme.approve(asked.id, ApproveVerdict::Approve, None).await;
    assert_eq!(approved.unwrap().state, SubscriptionState::Active);
    assert!(acme.subscriptions(list).all().await.unwrap().is_empty());
    let seen = beta.info(id).await.unwrap().subscription.unwrap();
    assert_eq!((seen.id, seen.state), (asked.id, SubscriptionState::Active));
    assert_eq!(code(beta.rate(id, 4, None).await), ErrorCode::NotUsed);

    // What it gives: sessions with the listed agents, and with no others.
    let session = open(&floor.beta, bot).await.unwrap();
    let hidden = open(&floor.beta, "agent://acme/secret.bot").await;
    assert_eq!(code(hidden), ErrorCode::AgentNotFound);
    work(&floor, &session).await;

    // Metered while it goes on, for both sides alike: the invitation and two tasks.
    let wanted = (1, 3, 2, Some(euros(500)));
    let usage = beta.usage(asked.id, None, None).await.unwrap();
    assert_eq!(told(&usage), wanted);
    assert_eq!(usage.months.len(), 1);
    assert_eq!(usage.months[0].charge, Some(euros(500)));
    assert_eq!(acme.usage(asked.id, None, None).await.unwrap(), usage);

    // Rated, once for each organisation.
    assert_eq!(code(beta.rate(id, 0, None).await), ErrorCode::OutOfLimit);
    let rated = beta.rate(id, 4, Some("fast".to_owned())).await.unwrap();
    assert_eq!((rated.mean.map(f64::from), rated.count), (Some(4.0), 1));
    let rated = beta.rate(id, 5, None).await.unwrap();
    assert_eq!((rated.mean.map(f64::from), rated.count), (Some(5.0), 1));
    assert_eq!(beta.info(id).await.unwrap().listing.rating, rated);

    // The same once the session is closed, and after a restart.
    let close = NewMessage::new(agent("lead")).said(Performative::Close);
    let close = close.content(&serde_json::json!({ "reason": "done" }));
    let close = close.unwrap();
    floor
        .beta
        .sessions()
        .send(session.session_id, close)
        .await
        .unwrap();
    let closed = beta.usage(asked.id, None, None).await.unwrap();
    assert_eq!(told(&closed), (1, 4, 2, Some(euros(500))), "and the close");

    // Cancelled, it gives nothing; what was used stays to be told.
    let cancelled = beta.cancel(asked.id).await.unwrap();
    assert_eq!(cancelled.state, SubscriptionState::Cancelled);
    let refused = open(&floor.beta, bot).await;
    assert_eq!(code(refused), ErrorCode::AgentNotFound, "after the end");
    let again = refusal(beta.cancel(asked.id).await);
    assert!(again.is(ErrorCode::IllegalSubscriptionStep), "{again}");
    assert_eq!(again.details["state"], "cancelled");
    assert_eq!(again.details["allowed"], serde_json::json!([]));
    assert_eq!(acme.usage(asked.id, None, None).await.unwrap(), closed);

    let Marketplace { dir, running, .. } = floor;
    assert!(running.stop().await);
    let running = start(options(dir.path())).await.unwrap();
    let operator = connect(&running).await;
    let acme = keyed(&running, &operator, "acme", Scope::all()).await;
    let usage = acme.market().usage(asked.id, None, None).await.unwrap();
    assert_eq!(usage, closed, "after a restart");
    assert!(running.stop().await);
}

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
