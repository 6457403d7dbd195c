//! What of other regions' keys and grants counts here, and until when.

use super::*;
use crate::access::{
    Ask, GrantRequest, KeyEnded, KeyHasher, KeyKind, KeyRequest, Limits, NewKey, NotAuthentic,
    SECRET_BYTES, Scope, Secret,
};
use crate::types::{GrantId, OrgName};

const NOW: Timestamp = Timestamp(1000);
const GRANT: GrantId = GrantId(7);
/// The topics of the region that is met: the first, and that of once it was begun anew.
const LIFE: Incarnation = Incarnation(5);
const ANEW: Incarnation = Incarnation(6);

fn region(name: &str) -> RegionName {
    RegionName::parse(name).unwrap()
}

fn name(name: &str) -> OrgName {
    OrgName::parse(name).unwrap()
}

/// A region that tells another one what it says, as it says it.
struct Pair {
    there: Access,
    here: Access,
    drawn: u8,
    /// Of the keys that are made.
    certificate: Option<String>,
}

impl Pair {
    fn new() -> Self {
        let mut here = Access::default();
        here.trust([region("there")].into());
        Self {
            there: Access::default(),
            here,
            drawn: 0,
            certificate: None,
        }
    }

    /// With `acme`, which grants, and `beta`, and who has a key of each, as known here.
    fn of_two() -> (Self, [Principal; 2]) {
        let mut pair = Self::new();
        let met = ["acme", "beta"].map(|org| {
            let org = pair.org(org);
            let (secret, _) = pair.key(org, vec![Scope::all()], None);
            pair.meet(&secret).unwrap()
        });
        (pair, met)
    }

    /// Somebody of an organisation there.
    fn one_of(&self, org: &str) -> Principal {
        Principal {
            id: PrincipalId(1),
            org: self.there.org_by_name(org).unwrap().org,
            key: None,
        }
    }

    fn propose(&mut self, channels: &str, operation: Operation) {
        let by = self.one_of("acme");
        let request = GrantRequest {
            owner: by.org,
            guest: self.one_of("beta").org,
            channels: channels.parse().unwrap(),
            operation,
            expires_at: None,
        };
        let event = (self.there).check_propose_grant(&by, request, GRANT, NOW);
        self.say(event.unwrap());
    }

    fn accept(&mut self) {
        let by = self.one_of("beta");
        let event = self.there.check_accept_grant(&by, GRANT, NOW);
        self.say(event.unwrap());
    }

    fn revoke(&mut self) {
        let by = self.one_of("acme");
        let event = self.there.check_revoke_grant(&by, GRANT, NOW);
        self.say(event.unwrap());
    }

    fn say(&mut self, event: AccessEvent) {
        let read = AccessEvent::decode(event.record_type(), &event.encode()).unwrap();
        assert_eq!(read, event, "an event reads back as it was written");
        self.there.apply(&event).unwrap();
        self.here.apply_of(&region("there"), &event).unwrap();
    }

    fn org(&mut self, org: &str) -> OrgId {
        let limits = Limits::default();
        let event = self
            .there
            .check_create_org(&Principal::LOCAL, name(org), limits, NOW);
        self.say(event.unwrap());
        self.there.org_by_name(org).unwrap().org
    }

    fn key(&mut self, org: OrgId, scopes: Vec<Scope>, ends: Option<i64>) -> (Secret, KeyId) {
        self.drawn += 1;
        let secret = Secret::new(KeyKind::Live, &[self.drawn; SECRET_BYTES]);
        let key = KeyId(u128::from(self.drawn));
        let new = NewKey {
            key,
            hash: KeyHasher::new([9; SECRET_BYTES].into()).hash(&secret),
            travels: Some(KeyHasher::travelling(&secret)),
            hint: secret.hint(),
        };
        let request = KeyRequest {
            org,
            name: "a key".to_owned(),
            kind: KeyKind::Live,
            scopes,
            limits: Limits::default(),
            expires_at: ends.map(Timestamp),
            certificate: self.certificate.clone(),
        };
        let event = self
            .there
            .check_create_key(&Principal::LOCAL, request, new, NOW);
        self.say(event.unwrap());
        (secret, key)
    }

    fn meet(&mut self, secret: &Secret) -> Option<Principal> {
        let known = self.here.key_abroad_by_hash(&KeyHasher::travelling(secret));
        let key = known?.key.key;
        for event in self.here.check_meet(key, Some(LIFE), NOW) {
            let read = AccessEvent::decode(event.record_type(), &event.encode()).unwrap();
            self.here.apply(&read).unwrap();
        }
        self.here.principal_abroad(key)
    }

    fn may(&self, who: &Principal, operation: Operation, channel: &str) -> bool {
        let ask = Ask::Channel {
            operation,
            org: who.org,
            name: channel,
        };
        self.here.authorize(who, &ask, NOW).is_ok()
    }
}

fn scope(operation: Operation, channel: &str) -> Scope {
    Scope {
        operations: [operation].into(),
        channels: vec![channel.parse().unwrap()],
        agents: Vec::new(),
    }
}

#[test]
fn a_key_opens_here_what_it_opens_there_under_a_number_of_its_own() {
    let mut pair = Pair::new();
    // Numbers differ between the two.
    let own = pair
        .here
        .check_create_org(&Principal::LOCAL, name("own"), Limits::default(), NOW);
    pair.here.apply(&own.unwrap()).unwrap();
    let acme = pair.org("acme");
    let (secret, key) = pair.key(acme, vec![scope(Operation::Publish, "orders")], None);
    let who = pair.meet(&secret).unwrap();
    assert_eq!(who.org, pair.here.org_by_name("acme").unwrap().org);
    assert_ne!(who.org, acme);
    assert!(pair.may(&who, Operation::Publish, "orders"));
    assert!(!pair.may(&who, Operation::Publish, "others"));
    assert!(!pair.may(&who, Operation::Consume, "orders"));
    // The second time nothing is new, and what is recorded is kept by the state record.
    assert_eq!(pair.here.check_meet(key, Some(LIFE), NOW), []);
    let mut again = Access::default();
    again.trust([region("there")].into());
    for event in pair.there.fold() {
        again.apply_of(&region("there"), &event).unwrap();
    }
    for event in pair.here.fold() {
        again.apply(&event).unwrap();
    }
    assert_eq!(again, pair.here);
    assert_eq!(again.principal_abroad(key), Some(who));
}

#[test]
fn who_is_met_again_once_a_region_was_begun_anew_is_nobody_from_before() {
    let mut pair = Pair::new();
    let acme = pair.org("acme");
    let (secret, _) = pair.key(acme, vec![Scope::all()], None);
    let before = pair.meet(&secret).unwrap();
    // It says the same people again, as after its copy was removed.
    let strangers = |pair: &Pair, life| pair.here.check_strangers(&region("there"), life, NOW);
    assert_eq!(strangers(&pair, LIFE), []);
    // The region counts its people from the beginning, and has another key for the first of them.
    let strangers = strangers(&pair, ANEW);
    assert_eq!(strangers.len(), 1);
    for event in strangers {
        pair.here.apply(&event).unwrap();
    }
    pair.here.forget_of(&region("there"));
    pair.there = Access::default();
    let acme = pair.org("acme");
    let (secret, _) = pair.key(acme, vec![Scope::all()], None);
    let who = pair.meet(&secret).unwrap();
    assert_ne!(who.id, before.id);
    assert_eq!(who.org, before.org, "an organisation is its name");
    let mut again = Access::default();
    pair.here
        .fold()
        .iter()
        .for_each(|event| again.apply(event).unwrap());
    assert_eq!(again.met, pair.here.met);
    let strangers = |of, life| pair.here.check_strangers(&region(of), life, NOW);
    assert_eq!(strangers("other", LIFE), []);
    assert_eq!(strangers("there", ANEW), []);
}

#[test]
fn who_was_met_before_it_was_kept_on_which_topic_they_were_named_is_a_stranger_once_that_is_copied_again()
 {
    let mut here = Access::default();
    let before =
        r#"{"v":1,"type":"principal.met","region":"there","theirs":1,"principal":1,"at":5}"#;
    let event = AccessEvent::decode("principal.met", before.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(event.encode()).unwrap(), before);
    here.apply(&event).unwrap();
    assert_eq!(here.check_strangers(&region("there"), LIFE, NOW).len(), 1);
}

#[test]
fn a_key_that_ended_there_or_whose_region_does_not_count_opens_nothing() {
    let mut pair = Pair::new();
    let acme = pair.org("acme");
    let (secret, key) = pair.key(acme, vec![Scope::all()], Some(2000));
    let who = pair.meet(&secret).unwrap();
    assert_eq!(pair.here.check_alive(&who, NOW), Ok(()));
    let expired = pair.here.check_alive(&who, Timestamp(2000));
    assert_eq!(expired, Err(KeyEnded::Expired { key }));
    let revoked = Err(KeyEnded::Revoked { key });
    for spoil in [
        |here: &mut Access| here.trust(BTreeSet::new()),
        |here: &mut Access| here.forget_of(&region("there")),
        |here: &mut Access| here.lacks_of(&region("there")),
    ] {
        let mut here = pair.here.clone();
        spoil(&mut here);
        assert_eq!(here.check_alive(&who, NOW), revoked);
        assert!(
            here.key_abroad_by_hash(&KeyHasher::travelling(&secret))
                .is_none()
        );
        assert!(here.scopes(&who).is_empty());
    }
    // All of it again: it counts again.
    let mut here = pair.here.clone();
    here.lacks_of(&region("there"));
    for event in pair.there.fold() {
        here.apply_of(&region("there"), &event).unwrap();
    }
    assert_eq!(here.check_alive(&who, NOW), Ok(()));
    let event = pair.there.check_revoke_key(&Principal::LOCAL, key, NOW);
    pair.say(event.unwrap());
    assert_eq!(pair.here.check_alive(&who, NOW), revoked);
    assert!(!pair.may(&who, Operation::Publish, "orders"));
    // The hash that one region keeps under its own secret opens nothing in another.
    let hash = KeyHasher::new([9; SECRET_BYTES].into()).hash(&secret);
    assert_eq!(
        pair.here.authenticate(&hash, NOW),
        Err(NotAuthentic::Unknown)
    );
}

#[test]
fn an_operator_of_one_region_administers_no_other() {
    let mut pair = Pair::new();
    let (secret, _) = pair.key(OrgId::DEFAULT, vec![Scope::all()], None);
    let who = pair.meet(&secret).unwrap();
    assert_eq!(who.org, OrgId::DEFAULT);
    assert!(pair.may(&who, Operation::ChannelAdmin, "orders"));
    for operation in Operation::ALL {
        let broker = Ask::Broker { operation };
        assert!(
            pair.here.authorize(&who, &broker, NOW).is_err(),
            "{operation}"
        );
    }
    let org = OrgId::DEFAULT;
    for operation in AT_HOME {
        let own = Ask::Org { operation, org };
        assert!(pair.here.authorize(&who, &own, NOW).is_err(), "{operation}");
    }
    let held = pair.here.scopes(&who);
    assert!(held[0].operations.iter().all(|one| !is_at_home(*one)));
    // Not even where its own organisation is not meant.
    let acme = pair
        .here
        .check_create_org(&who, name("acme"), Limits::default(), NOW);
    assert!(acme.is_err());
}

#[test]
fn agents_are_shown_here_by_a_grant_of_another_region_until_it_ends_there() {
    let (mut pair, [owner, guest]) = Pair::of_two();
    let shows = |pair: &Pair, name: &str| {
        let shown = pair.here.shows_agent(owner.org, name, guest.org, NOW);
        assert!(!pair.here.shows_agent(guest.org, name, owner.org, NOW));
        shown
    };
    pair.propose("helper*", Operation::Asp);
    assert!(!shows(&pair, "helper-1"), "one side");
    pair.accept();
    assert!(shows(&pair, "helper-1"));
    assert!(!shows(&pair, "writer"));
    let ended = |pair: &Pair| {
        pair.here
            .agent_shown_until(owner.org, "helper-1", guest.org, NOW)
    };
    assert_eq!(ended(&pair), None);
    pair.revoke();
    assert!(!shows(&pair, "helper-1"));
    assert_eq!(ended(&pair), Some(NOW));
}

#[test]
fn a_certificate_stands_here_for_the_key_of_another_region_while_that_opens_something() {
    let mut pair = Pair::new();
    pair.certificate = Some("trainer".to_owned());
    let (_, key) = pair.key(OrgId::DEFAULT, vec![Scope::all()], Some(2000));
    let found = |pair: &Pair, names: &[&str], now| pair.here.key_abroad_by_certificate(names, now);
    assert_eq!(found(&pair, &["a host", "trainer"], NOW), Some(key));
    assert_eq!(found(&pair, &["others"], NOW), None);
    assert_eq!(found(&pair, &["trainer"], Timestamp(2000)), None, "expired");
    let mut lacks = pair.here.clone();
    lacks.lacks_of(&region("there"));
    assert_eq!(lacks.key_abroad_by_certificate(&["trainer"], NOW), None);
    let event = pair.there.check_revoke_key(&Principal::LOCAL, key, NOW);
    pair.say(event.unwrap());
    assert_eq!(found(&pair, &["trainer"], NOW), None);
}

#[test]
fn a_grant_counts_here_by_the_names_of_both_sides_until_it_ends_there() {
    let (mut pair, [owner, guest]) = Pair::of_two();
    let ask = Ask::Channel {
        operation: Operation::Consume,
        org: owner.org,
        name: "orders.eu",
    };
    assert!(pair.here.authorize(&guest, &ask, NOW).is_err());
    pair.propose("orders.*", Operation::Consume);
    assert!(pair.here.authorize(&guest, &ask, NOW).is_err(), "one side");
    pair.accept();
    assert_eq!(pair.here.authorize(&guest, &ask, NOW), Ok(()));
    let publish = Ask::Channel {
        operation: Operation::Publish,
        org: owner.org,
        name: "orders.eu",
    };
    assert!(pair.here.authorize(&guest, &publish, NOW).is_err());
    pair.revoke();
    assert!(pair.here.authorize(&guest, &ask, NOW).is_err());
}
