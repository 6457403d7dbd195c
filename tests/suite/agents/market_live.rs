//! The market over the wire: two organisations with a key each, from the listing to the metered
//! session, and everything that is refused on the way.

mod listings;
mod refusals;

use npayload::access::{KeyKind, Limits as KeyLimits, Scope};
use npayload::asp::chain::Digest;
use npayload::asp::market::{
    ApproveVerdict, Charge, ListingState, Pricing, ReviewVerdict, SubscriptionState,
};
use npayload::client::{Client, Market, NewMessage, RequestError};
use npayload::protocol::ErrorCode;
use npayload::protocol::access::KeyCreate;
use npayload::protocol::asp::{
    AgentRegister, Joining, JsonText, MarketCreate, MarketSearch, MarketSubscriptions,
    SessionCreate, SessionLimits, SessionRow, SubscriptionRow, SubscriptionSide, UsageTold,
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
