//! Organisations are walls: agents and sessions of others are not there, unless they are shown or
//! shared.

use npayload::access::{GrantRequest, KeyKind, KeyRequest, Limits as KeyLimits, Operation, Scope};
use npayload::broker::asp::AspError;
use npayload::types::OrgName;

use super::*;

pub(super) fn admin(floor: &mut Floor, org: &str) -> Principal {
    let name = OrgName::parse(org).unwrap();
    let at = floor.at();
    let made = floor.broker.create_org(&ME, name, KeyLimits::default(), at);
    let org = floor.durable(made.unwrap()).org;
    if let Some(job) = floor.broker.plan_secret() {
        floor.broker.finish_secret(job.run()).unwrap();
    }
    let request = KeyRequest {
        org,
        name: "all".to_owned(),
        kind: KeyKind::Test,
        scopes: vec![Scope::all()],
        limits: KeyLimits::default(),
        expires_at: None,
        certificate: None,
    };
    let made = floor.broker.create_key(&ME, request, at).unwrap();
    let (_, secret) = floor.durable(made);
    floor.broker.authenticate(&secret, at).unwrap()
}

pub(super) fn show(floor: &mut Floor, owner: &Principal, guest: &Principal, names: &str) {
    let at = floor.at();
    let request = GrantRequest {
        owner: owner.org,
        guest: guest.org,
        channels: names.parse().unwrap(),
        operation: Operation::Asp,
        expires_at: None,
    };
    let grant = floor.broker.propose_grant(owner, request, at).unwrap();
    let grant = floor.durable(grant).grant;
    let accepted = floor.broker.accept_grant(guest, grant, at).unwrap();
    floor.durable(accepted);
}

pub(super) fn register(floor: &mut Floor, by: &Principal, name: &str) {
    let request = Register {
        name: AgentName::parse(name).unwrap(),
        profile: npayload::asp::registry::Profile::default(),
        public_key: None,
    };
    let at = floor.at();
    let accepted = floor.broker.register_agent(by, request, at).unwrap();
    floor.durable(accepted);
}

fn with_guest(guest: &str) -> NewSession {
    new_session(&[("lead", Role::Coordinator), (guest, Role::Specialist)])
}

#[test]
fn agents_of_others_are_there_only_where_a_grant_shows_them() {
    let mut floor = Floor::new();
    let (acme, beta) = (admin(&mut floor, "acme"), admin(&mut floor, "beta"));
    register(&mut floor, &acme, "pricing.bot");
    register(&mut floor, &acme, "secret.bot");
    let at = floor.at();
    let pricing = AgentRef::parse("agent://acme/pricing.bot").unwrap();
    let secret = AgentRef::parse("agent://acme/secret.bot").unwrap();
    let seen = |floor: &Floor, agent: &AgentRef| floor.broker.see_agent(&beta, agent, at).is_ok();
    assert!(!seen(&floor, &pricing));
    show(&mut floor, &acme, &beta, "pricing.*");
    assert!(seen(&floor, &pricing) && !seen(&floor, &secret));
    let id = floor
        .broker
        .see_agent(&acme, &AgentRef::parse("secret.bot").unwrap(), at);
    let id = AgentRef::Id(id.unwrap().value.agent.agent);
    assert!(!seen(&floor, &id), "nor by its id");
    let org = OrgName::parse("acme").unwrap();
    let shown = floor
        .broker
        .agents_to_search(&beta, Some(&org), at)
        .unwrap();
    let (found, _) = shown
        .search(&npayload::asp::registry::Query::default(), 10)
        .unwrap();
    let names: Vec<_> = found.iter().map(|seen| seen.agent.name.as_str()).collect();
    assert_eq!(names, ["pricing.bot"]);
    let refused = floor
        .broker
        .create_session(&beta, with_guest("agent://acme/secret.bot"), at);
    assert!(matches!(
        refused.unwrap_err().error,
        BrokerError::Asp(error) if matches!(*error, AspError::AgentNotFound { .. })
    ));
}

#[test]
fn a_guest_is_invited_joins_speaks_and_reads_and_nobody_else_sees_it() {
    let mut floor = Floor::new();
    let (acme, beta) = (admin(&mut floor, "acme"), admin(&mut floor, "beta"));
    let gamma = admin(&mut floor, "gamma");
    register(&mut floor, &acme, "bot");
    show(&mut floor, &acme, &beta, "bot");
    let at = floor.at();
    let made = floor
        .broker
        .create_session(&beta, with_guest("agent://acme/bot"), at);
    let made = floor.durable(made.unwrap());
    let session = made.session.session;
    assert_eq!(
        made.session.state,
        State::Invited,
        "invited in the same entry"
    );
    assert_eq!(made.session.sequence(), 2, "created, and the PROPOSE");
    for (who, sees) in [(&acme, true), (&beta, true), (&gamma, false), (&ME, false)] {
        let seen = floor.broker.see_session(who, session, at).is_ok();
        assert_eq!(seen, sees);
    }
    let inbox = floor
        .broker
        .inbox(&acme, &AgentRef::parse("bot").unwrap(), at)
        .unwrap();
    let sessions: Vec<_> = inbox
        .value
        .1
        .iter()
        .flat_map(|topic| &topic.sessions)
        .collect();
    assert_eq!(sessions.len(), 1);
    let id = floor.next_id();
    let early = floor.try_send_as(&acme, session, "bot", say(Performative::Inform), id);
    assert!(early.unwrap_err().error.to_string().contains("ACCEPT"));
    let id = floor.next_id();
    let joined = floor.try_send_as(&acme, session, "bot", say(Performative::Accept), id);
    let joined = floor.durable(joined.unwrap());
    assert_eq!(joined.state, State::Introduced);
    let id = floor.next_id();
    let forged = floor.try_send_as(
        &acme,
        session,
        "agent://beta/lead",
        say(Performative::Inform),
        id,
    );
    assert!(forged.is_err(), "another organisation's agent");
    let id = floor.next_id();
    let said = floor.try_send_as(&acme, session, "bot", say(Performative::Inform), id);
    assert_eq!(floor.durable(said.unwrap()).state, State::Conversing);
    // The same after a restart: who is shared with whom is known again.
    let floor = floor.reopened();
    assert!(floor.broker.see_session(&acme, session, floor.at()).is_ok());
    assert!(
        floor
            .broker
            .see_session(&gamma, session, floor.at())
            .is_err()
    );
}

#[test]
fn an_invitation_that_nobody_answers_lapses() {
    let mut floor = Floor::new();
    let (acme, beta) = (admin(&mut floor, "acme"), admin(&mut floor, "beta"));
    register(&mut floor, &acme, "bot");
    show(&mut floor, &acme, &beta, "*");
    let at = floor.at();
    let made = floor
        .broker
        .create_session(&beta, with_guest("agent://acme/bot"), at);
    let session = floor.durable(made.unwrap()).session.session;
    floor.now += 29_999;
    floor.look();
    let state = |floor: &Floor| {
        let seen = floor.broker.see_session(&beta, session, floor.at());
        seen.unwrap().value.session.state
    };
    assert_eq!(state(&floor), State::Invited);
    floor.now += 1;
    floor.look();
    assert_eq!(state(&floor), State::Failed, "nobody came");
}

#[test]
fn a_guest_that_refused_to_lead_lets_no_session_go_on() {
    let mut floor = Floor::new();
    let (acme, beta) = (admin(&mut floor, "acme"), admin(&mut floor, "beta"));
    for name in ["bot", "chief"] {
        register(&mut floor, &acme, name);
    }
    show(&mut floor, &acme, &beta, "*");
    let new = new_session(&[
        ("lead", Role::Coordinator),
        ("agent://acme/bot", Role::Specialist),
        ("agent://acme/chief", Role::Coordinator),
    ]);
    let at = floor.at();
    let made = floor.broker.create_session(&beta, new, at);
    let session = floor.durable(made.unwrap()).session.session;
    for (by, who, said) in [
        (&acme, "bot", Performative::Accept),
        (&acme, "chief", Performative::Reject),
        (&beta, "lead", Performative::Inform),
        (&beta, "lead", Performative::Escalate),
    ] {
        let id = floor.next_id();
        let sent = floor.try_send_as(by, session, who, say(said), id).unwrap();
        floor.durable(sent);
    }
    let resumed = floor.broker.resume_session(&acme, session, at);
    assert!(matches!(resumed.unwrap_err().error, BrokerError::Access(_)));
    let resumed = floor.broker.resume_session(&beta, session, at).unwrap();
    assert_eq!(floor.durable(resumed).session.state, State::Conversing);
}
