//! Endorsements over the wire: who may give one, how many count, and what they change.

use npayload::access::Operation;
use npayload::client::{Client, RequestError};
use npayload::protocol::ErrorCode;
use npayload::protocol::asp::{EndorsementRow, TrustEndorse, TrustExplain, TrustExplained};
use npayload::server::start;

use super::companies::{agent, company, grant, keeps, lead, register};
use super::live::{connect, serve};
use super::promises_live::{code, details};

/// Most endorsements that count for one agent.
const MOST: usize = 50;

async fn endorse(
    client: &Client,
    from: &str,
    withdrawn: bool,
) -> Result<EndorsementRow, RequestError> {
    let endorse = TrustEndorse {
        agent_id: agent("agent://beta/worker"),
        from: agent(from),
        withdrawn,
    };
    client.trust().endorse(endorse).await
}

async fn explained(client: &Client) -> TrustExplained {
    let explain = TrustExplain::new(agent("worker"));
    client.trust().explain(explain).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_endorsements_of_trusted_agents_count_and_each_can_be_taken_back() {
    let (dir, running, client) = serve().await;
    let acme = company(&running, &client, "acme").await;
    let beta = company(&running, &client, "beta").await;
    let gamma = company(&running, &client, "gamma").await;
    let names: Vec<String> = (0..=MOST).map(|n| format!("a{n}")).collect();
    for name in &names {
        register(&acme, name).await;
    }
    register(&gamma, "other").await;
    register(&beta, "worker").await;
    grant(&acme, (&client, "default"), Operation::Asp, "*").await;
    grant(&gamma, (&client, "default"), Operation::Asp, "*").await;
    grant(&beta, (&acme, "acme"), Operation::Asp, "*").await;
    grant(&beta, (&gamma, "gamma"), Operation::Asp, "*").await;
    let mut guests: Vec<String> = names.iter().map(|n| format!("agent://acme/{n}")).collect();
    guests.push("agent://gamma/other".to_owned());
    let session = lead(&client, &guests).await;

    // Nobody has done anything for others yet.
    let early = endorse(&acme, "a0", false).await;
    let told = details(early);
    assert_eq!(
        (&told["score"], &told["least"]),
        (&serde_json::json!(0.0), &serde_json::json!(0.3))
    );
    let early = endorse(&acme, "a0", false).await;
    assert_eq!(code(early), ErrorCode::EndorserNotTrusted);
    let none = endorse(&acme, "a0", true).await;
    assert_eq!(code(none), ErrorCode::InvalidEndorsement, "nothing given");

    for name in &names {
        keeps(&acme, name, &session, &client).await;
    }
    keeps(&gamma, "other", &session, &client).await;
    let before = explained(&beta).await;
    assert_eq!(before.endorsements, []);
    let mine = TrustEndorse {
        agent_id: agent("a0"),
        from: agent("a0"),
        withdrawn: false,
    };
    let own = acme.trust().endorse(mine).await;
    assert_eq!(code(own), ErrorCode::InvalidEndorsement);
    let forged = endorse(&gamma, "agent://acme/a0", false).await;
    assert_eq!(code(forged), ErrorCode::AgentNotFound, "not shown to it");

    for name in &names[..MOST] {
        let given = endorse(&acme, name, false).await.unwrap();
        assert_eq!(given.from.name.as_str(), name);
        assert!(f64::from(given.score.unwrap()) >= 0.3);
    }
    let shown = explained(&beta).await;
    assert_eq!(
        (shown.endorsements.len(), shown.evidence.len()),
        (MOST, MOST)
    );
    assert_eq!(
        shown.trust.score, before.trust.score,
        "endorsements make no score"
    );
    let [first, others @ ..] = &shown.endorsements[..] else {
        panic!("none is shown");
    };
    assert_eq!(first.counted, first.score);
    let quarter = |row: &npayload::protocol::asp::EndorserRow| row.counted.0 == row.score.0 / 4;
    assert!(others.iter().all(quarter), "one owner's further ones");
    let component = shown.trust.components.peer_endorsements;
    assert!(component > 0, "they are one of the components");

    let told = details(endorse(&gamma, "other", false).await);
    assert_eq!(
        (&told["found"], &told["limit"]),
        (&serde_json::json!(51), &serde_json::json!(50))
    );
    let beyond = endorse(&acme, &names[MOST], false).await;
    assert_eq!(code(beyond), ErrorCode::TooManyEndorsements);
    let again = endorse(&acme, "a7", false).await;
    assert!(again.is_ok(), "takes the place of its own: {again:?}");
    let back = endorse(&acme, "a0", true).await.unwrap();
    assert_eq!((back.withdrawn, back.score), (true, None));
    let twice = endorse(&acme, "a0", true).await;
    assert_eq!(code(twice), ErrorCode::InvalidEndorsement);
    endorse(&gamma, "other", false).await.unwrap();
    let shown = explained(&beta).await;
    assert_eq!(shown.endorsements.len(), MOST);
    let whole = shown.endorsements.iter();
    let whole = whole.filter(|row| row.counted == row.score).count();
    assert_eq!(whole, 2, "the best of each of two owners");
    assert!(shown.trust.components.peer_endorsements > component);

    assert!(running.stop().await);
    let running = start(crate::server::options(dir.path())).await.unwrap();
    let client = connect(&running).await;
    let kept = TrustExplain::new(agent("lead"));
    let kept = client.trust().explain(kept).await.unwrap();
    assert_eq!(kept.endorsements, []);
    let scopes = vec![npayload::access::Scope::all()];
    let beta = super::companies::keyed(&running, &client, "beta", scopes).await;
    grant(&beta, (&client, "default"), Operation::Asp, "*").await;
    let kept = TrustExplain::new(agent("agent://beta/worker"));
    let kept = client.trust().explain(kept).await.unwrap();
    assert_eq!(kept.endorsements, shown.endorsements, "to the bit");
    assert!(running.stop().await);
}
