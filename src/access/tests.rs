use zeroize::Zeroizing;

use super::*;
use crate::folding::IllegalEvent;
use crate::types::{GrantId, KeyId, OrgId, OrgName, PrincipalId, Timestamp};

const HOUR: i64 = 3_600_000;

/// A state with the means to change it as a broker would.
struct Fixture {
    access: Access,
    hasher: KeyHasher,
    drawn: u8,
    log: Vec<AccessEvent>,
}

impl Fixture {
    fn new() -> Self {
        Self {
            access: Access::default(),
            hasher: KeyHasher::new(Zeroizing::new([9; SECRET_BYTES])),
            drawn: 0,
            log: Vec::new(),
        }
    }

    fn take(&mut self, event: AccessEvent) {
        let read = AccessEvent::decode(event.record_type(), &event.encode()).unwrap();
        assert_eq!(read, event, "an event reads back as it was written");
        self.access.apply(&event).unwrap();
        self.log.push(event);
    }

    fn draw(&mut self) -> (Secret, NewKey) {
        self.drawn += 1;
        let secret = Secret::new(KeyKind::Live, &[self.drawn; SECRET_BYTES]);
        let new = NewKey {
            travels: None,
            key: KeyId(u128::from(self.drawn)),
            hash: self.hasher.hash(&secret),
            hint: secret.hint(),
        };
        (secret, new)
    }

    fn org(&mut self, name: &str) -> OrgId {
        let name = OrgName::parse(name).unwrap();
        let event = self.access.check_create_org(
            &Principal::LOCAL,
            name.clone(),
            Limits::default(),
            Timestamp(1),
        );
        self.take(event.unwrap());
        self.access.org_by_name(name.as_str()).unwrap().org
    }

    fn try_key(
        &mut self,
        by: &Principal,
        org: OrgId,
        scopes: Vec<Scope>,
        expires_at: Option<Timestamp>,
    ) -> Result<(Secret, KeyId), AccessError> {
        let (secret, new) = self.draw();
        let id = new.key;
        let request = KeyRequest {
            org,
            name: "a key".to_owned(),
            kind: KeyKind::Live,
            scopes,
            limits: Limits::default(),
            expires_at,
            certificate: None,
        };
        let event = self
            .access
            .check_create_key(by, request, new, Timestamp(2))?;
        self.take(event);
        Ok((secret, id))
    }

    fn key(&mut self, org: OrgId, scopes: Vec<Scope>) -> (Secret, Principal) {
        let made = self.try_key(&Principal::LOCAL, org, scopes, None);
        let (secret, _) = made.unwrap();
        let principal = self.who(&secret, Timestamp(3)).unwrap();
        (secret, principal)
    }

    fn who(&self, secret: &Secret, now: Timestamp) -> Result<Principal, NotAuthentic> {
        self.access.authenticate(&self.hasher.hash(secret), now)
    }

    fn propose(
        &mut self,
        by: &Principal,
        owner: OrgId,
        guest: OrgId,
    ) -> Result<GrantId, AccessError> {
        self.drawn += 1;
        let grant = GrantId(u128::from(self.drawn));
        let request = GrantRequest {
            owner,
            guest,
            channels: "shared.*".parse().unwrap(),
            operation: Operation::Consume,
            expires_at: Some(Timestamp(HOUR)),
        };
        let event = self
            .access
            .check_propose_grant(by, request, grant, Timestamp(4))?;
        self.take(event);
        Ok(grant)
    }
}

fn scope(operations: &[Operation], channels: &[&str]) -> Scope {
    Scope {
        operations: operations.iter().copied().collect(),
        channels: channels.iter().map(|text| text.parse().unwrap()).collect(),
        agents: vec![Pattern::all()],
    }
}

fn channel(operation: Operation, org: OrgId, name: &str) -> Ask<'_> {
    Ask::Channel {
        operation,
        org,
        name,
    }
}

#[test]
fn a_key_lets_in_who_shows_it_until_it_expires_or_is_revoked() {
    let mut fixture = Fixture::new();
    let acme = fixture.org("acme");
    let scopes = vec![Scope::all()];
    let made = fixture.try_key(&Principal::LOCAL, acme, scopes, Some(Timestamp(1_000)));
    let (secret, key) = made.unwrap();
    let who = fixture.who(&secret, Timestamp(999)).unwrap();
    assert_eq!(
        (who.org, who.id, who.key),
        (acme, PrincipalId(1), Some(key))
    );
    let expired = NotAuthentic::Ended(KeyEnded::Expired { key });
    assert_eq!(fixture.who(&secret, Timestamp(1_000)), Err(expired));
    assert!(fixture.access.check_alive(&who, Timestamp(1_000)).is_err());

    let revoked = fixture.access.check_revoke_key(&who, key, Timestamp(500));
    fixture.take(revoked.unwrap());
    let revoked = KeyEnded::Revoked { key };
    assert_eq!(fixture.who(&secret, Timestamp(501)), Err(revoked.into()));
    let ask = channel(Operation::Publish, acme, "orders");
    let denied = fixture.access.authorize(&who, &ask, Timestamp(501));
    assert_eq!(denied, Err(Denied::Ended(revoked)));
    let (stranger, _) = fixture.draw();
    assert_eq!(
        fixture.who(&stranger, Timestamp(5)),
        Err(NotAuthentic::Unknown)
    );
}

#[test]
fn scopes_open_what_they_name_and_nothing_else() {
    let mut fixture = Fixture::new();
    let acme = fixture.org("acme");
    let (_, who) = fixture.key(acme, vec![scope(&[Operation::Publish], &["orders.*"])]);
    let may = |ask: &Ask<'_>| fixture.access.authorize(&who, ask, Timestamp(5));
    assert_eq!(may(&channel(Operation::Publish, acme, "orders.eu")), Ok(()));
    let refused = [
        channel(Operation::Consume, acme, "orders.eu"),
        channel(Operation::Publish, acme, "bills"),
        Ask::Org {
            operation: Operation::AccessAdmin,
            org: acme,
        },
        Ask::Agent { name: "bot" },
    ];
    for ask in refused {
        assert!(matches!(may(&ask), Err(Denied::Scope { .. })), "{ask:?}");
    }
    let operation = Operation::Inspect;
    let refused = may(&Ask::Broker { operation });
    assert_eq!(refused, Err(Denied::Operator { operation }));
}

#[test]
fn an_organisation_is_a_wall_that_only_an_accepted_grant_opens() {
    let mut fixture = Fixture::new();
    let (acme, beta) = (fixture.org("acme"), fixture.org("beta"));
    let (_, owner) = fixture.key(acme, vec![Scope::all()]);
    let (_, guest) = fixture.key(beta, vec![Scope::all()]);
    let ask = channel(Operation::Consume, acme, "shared.prices");
    let hidden = Err(Denied::Hidden);
    assert_eq!(fixture.access.authorize(&guest, &ask, Timestamp(5)), hidden);

    let grant = fixture.propose(&owner, acme, beta).unwrap();
    assert_eq!(fixture.access.authorize(&guest, &ask, Timestamp(5)), hidden);
    for wrong in [&owner, &Principal::LOCAL] {
        let accepted = fixture
            .access
            .check_accept_grant(wrong, grant, Timestamp(6));
        assert!(matches!(
            accepted,
            Err(AccessError::Invalid { field: "grant", .. })
        ));
    }
    let accepted = fixture
        .access
        .check_accept_grant(&guest, grant, Timestamp(6));
    fixture.take(accepted.unwrap());
    assert_eq!(fixture.access.authorize(&guest, &ask, Timestamp(7)), Ok(()));

    // Neither another channel, nor another direction, nor after its time, nor the other way round.
    let now = Timestamp(7);
    let private = channel(Operation::Consume, acme, "private");
    assert_eq!(fixture.access.authorize(&guest, &private, now), hidden);
    // What is granted is named where something else is asked for, and only while it lasts.
    for operation in [Operation::Publish, Operation::ChannelAdmin] {
        let other = channel(operation, acme, "shared.prices");
        assert_eq!(
            fixture.access.authorize(&guest, &other, now),
            Err(Denied::Grant {
                owner: "acme".to_owned(),
                operation,
                on: "channel `acme/shared.prices`".to_owned(),
            })
        );
        let ended = fixture.access.authorize(&guest, &other, Timestamp(HOUR));
        assert_eq!(ended, hidden);
    }
    assert_eq!(
        fixture.access.authorize(&guest, &ask, Timestamp(HOUR)),
        hidden
    );
    let back = channel(Operation::Consume, beta, "shared.prices");
    assert_eq!(fixture.access.authorize(&owner, &back, now), hidden);

    // A key of the guest needs a scope for it, with the owner's name in front.
    let (_, narrow) = fixture.key(beta, vec![scope(&[Operation::Consume], &["shared.*"])]);
    let denied = fixture.access.authorize(&narrow, &ask, now);
    assert!(matches!(denied, Err(Denied::Scope { .. })));
    let (_, named) = fixture.key(beta, vec![scope(&[Operation::Consume], &["acme/shared.*"])]);
    assert_eq!(fixture.access.authorize(&named, &ask, now), Ok(()));

    let revoked = fixture
        .access
        .check_revoke_grant(&guest, grant, Timestamp(8));
    fixture.take(revoked.unwrap());
    assert_eq!(fixture.access.authorize(&guest, &ask, Timestamp(9)), hidden);
}

#[test]
fn nobody_gives_a_key_more_than_they_have() {
    let mut fixture = Fixture::new();
    let acme = fixture.org("acme");
    let held = vec![scope(
        &[Operation::AccessAdmin, Operation::Publish],
        &["a.*"],
    )];
    let (_, admin) = fixture.key(acme, held);
    let wanted = vec![scope(&[Operation::Publish], &["a.b"])];
    assert!(fixture.try_key(&admin, acme, wanted, None).is_ok());
    for wanted in [
        scope(&[Operation::Publish], &["b"]),
        scope(&[Operation::Consume], &["a.b"]),
        Scope::all(),
    ] {
        let refused = fixture.try_key(&admin, acme, vec![wanted], None);
        assert!(matches!(refused, Err(AccessError::Escalation { .. })));
    }
    // Nor does a rotation, which shows a new secret to who asks for it.
    let (_, strong) = fixture.key(acme, vec![Scope::all()]);
    let (_, new) = fixture.draw();
    let rotated =
        fixture
            .access
            .check_rotate_key(&admin, strong.key.unwrap(), 0, new, Timestamp(5));
    assert!(matches!(rotated, Err(AccessError::Escalation { .. })));
}

#[test]
fn names_of_ones_own_are_no_right_to_the_same_names_of_another_organisation() {
    use Operation::{AccessAdmin, Consume};
    let mut fixture = Fixture::new();
    let acme = fixture.org("acme");
    let held = |channels: &[&str]| {
        let mut held = vec![scope(&[Consume], channels)];
        held.push(scope(&[AccessAdmin], &["*"]));
        held
    };
    let wanted = |channels: &[&str]| vec![scope(&[Consume], channels)];
    // `orders.*` of the default organisation, not those of acme.
    let (_, narrow) = fixture.key(OrgId::DEFAULT, held(&["orders.*"]));
    let refused = |made: Result<_, AccessError>| {
        assert!(matches!(made, Err(AccessError::Escalation { .. })));
    };
    assert!(
        fixture
            .try_key(&narrow, OrgId::DEFAULT, wanted(&["orders.eu"]), None)
            .is_ok()
    );
    refused(
        fixture
            .try_key(&narrow, acme, wanted(&["orders.eu"]), None)
            .map(drop),
    );
    // Nor by taking over a key of acme's that is there.
    let (_, theirs) = fixture.key(acme, wanted(&["orders.eu"]));
    let (_, new) = fixture.draw();
    let key = theirs.key.unwrap();
    let rotated = fixture
        .access
        .check_rotate_key(&narrow, key, 0, new, Timestamp(5));
    refused(rotated.map(drop));
    // What is held of acme's by name, or of all, may be given.
    let (_, named) = fixture.key(OrgId::DEFAULT, held(&["acme/orders.*"]));
    let (_, all) = fixture.key(OrgId::DEFAULT, held(&["*"]));
    for by in [&named, &all] {
        assert!(
            fixture
                .try_key(by, acme, wanted(&["orders.eu"]), None)
                .is_ok()
        );
    }
    refused(
        fixture
            .try_key(&named, acme, wanted(&["*"]), None)
            .map(drop),
    );
    assert!(fixture.try_key(&all, acme, wanted(&["*"]), None).is_ok());
}

#[test]
fn administrators_see_nothing_behind_another_organisations_wall() {
    let mut fixture = Fixture::new();
    let (acme, beta) = (fixture.org("acme"), fixture.org("beta"));
    let (_, admin) = fixture.key(acme, vec![Scope::all()]);
    let (_, other) = fixture.key(beta, vec![Scope::all()]);
    let there = other.key.unwrap();
    let of_absent = fixture
        .access
        .check_revoke_key(&admin, KeyId(77), Timestamp(5));
    let of_other = fixture.access.check_revoke_key(&admin, there, Timestamp(5));
    let (absent, hidden) = (of_absent.unwrap_err(), of_other.unwrap_err());
    let shown = hidden
        .to_string()
        .replace(&there.to_string(), &KeyId(77).to_string());
    assert_eq!(absent.to_string(), shown);
    let refused = fixture.try_key(&admin, beta, vec![Scope::all()], None);
    assert_eq!(refused.unwrap_err(), AccessError::Denied(Denied::Hidden));
    let name = OrgName::parse("gamma").unwrap();
    let created = fixture
        .access
        .check_create_org(&admin, name, Limits::default(), Timestamp(5));
    assert!(matches!(
        created,
        Err(AccessError::Denied(Denied::Operator { .. }))
    ));
    // Who runs the broker may.
    assert!(
        fixture
            .access
            .check_revoke_key(&Principal::LOCAL, there, Timestamp(5))
            .is_ok()
    );
    // A third organisation has no part in a grant between two others.
    let gamma = fixture.org("gamma");
    let (_, third) = fixture.key(gamma, vec![Scope::all()]);
    let grant = fixture.propose(&admin, acme, beta).unwrap();
    let revoked = fixture
        .access
        .check_revoke_grant(&third, grant, Timestamp(5));
    assert!(matches!(
        revoked,
        Err(AccessError::NotFound { what: "grant", .. })
    ));
    assert!(fixture.propose(&third, acme, beta).is_err());
}

#[test]
fn a_rotated_key_works_beside_its_successor_for_the_overlap() {
    let mut fixture = Fixture::new();
    let acme = fixture.org("acme");
    let (old, who) = fixture.key(acme, vec![Scope::all()]);
    let (new, drawn) = fixture.draw();
    let key = who.key.unwrap();
    let events =
        fixture
            .access
            .check_rotate_key(&Principal::LOCAL, key, 1_000, drawn, Timestamp(10));
    for event in events.unwrap() {
        fixture.take(event);
    }
    let successor = fixture.who(&new, Timestamp(11)).unwrap();
    assert_eq!((successor.id, successor.org), (who.id, who.org));
    assert!(fixture.who(&old, Timestamp(1_009)).is_ok());
    assert!(fixture.who(&old, Timestamp(1_010)).is_err());
    assert!(fixture.who(&new, Timestamp(1_010)).is_ok());
    // The next key gets a number of its own.
    let (_, next) = fixture.key(acme, vec![Scope::all()]);
    assert_ne!(next.id, who.id);
}

#[test]
fn uses_are_recorded_once_an_hour() {
    let mut fixture = Fixture::new();
    let (_, who) = fixture.key(OrgId::DEFAULT, vec![Scope::all()]);
    let key = who.key.unwrap();
    let first = fixture
        .access
        .use_to_record(key, Timestamp(5 * HOUR + 7))
        .unwrap();
    fixture.take(first);
    assert_eq!(
        fixture.access.key(key).unwrap().used_at,
        Some(Timestamp(5 * HOUR))
    );
    assert!(
        fixture
            .access
            .use_to_record(key, Timestamp(6 * HOUR - 1))
            .is_none()
    );
    assert!(
        fixture
            .access
            .use_to_record(key, Timestamp(4 * HOUR))
            .is_none()
    );
    assert!(
        fixture
            .access
            .use_to_record(key, Timestamp(6 * HOUR))
            .is_some()
    );
}

#[test]
fn requests_that_break_a_rule_name_it() {
    let mut fixture = Fixture::new();
    let (_, who) = fixture.key(OrgId::DEFAULT, vec![Scope::all()]);
    let bad = [
        (Vec::new(), None, "scopes"),
        (vec![scope(&[], &["*"])], None, "scopes"),
        (vec![Scope::all()], Some(Timestamp(2)), "expiresAt"),
    ];
    for (scopes, expires_at, wrong) in bad {
        let refused = fixture.try_key(&who, OrgId::DEFAULT, scopes, expires_at);
        let Err(AccessError::Invalid { field, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(field, wrong);
    }
    let limits = Limits {
        bytes_in_per_s: Some(10),
        ..Limits::default()
    };
    let name = OrgName::parse("default").unwrap();
    let refused = fixture
        .access
        .check_limit_org(&who, &name, limits, Timestamp(3));
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("bytesInPerS of 10")
    );
    let taken = fixture
        .access
        .check_create_org(&who, name, Limits::default(), Timestamp(3));
    assert!(matches!(taken, Err(AccessError::OrgExists { .. })));
}

#[test]
fn events_that_cannot_follow_are_refused_and_change_nothing() {
    let mut fixture = Fixture::new();
    let acme = fixture.org("acme");
    let (_, who) = fixture.key(acme, vec![Scope::all()]);
    let key = who.key.unwrap();
    let revoked = KeyRevoked {
        key,
        at: Timestamp(9),
        by: PrincipalId(0),
    };
    fixture.take(AccessEvent::KeyRevoked(revoked.clone()));
    let before = fixture.access.clone();
    let created = fixture
        .log
        .iter()
        .find(|event| matches!(event, AccessEvent::KeyCreated(_)));
    let events = [
        AccessEvent::KeyRevoked(revoked),
        AccessEvent::KeyUsed(KeyUsed {
            key,
            at: Timestamp(9),
        }),
        created.unwrap().clone(),
        fixture.log[0].clone(),
        AccessEvent::GrantAccepted(GrantAccepted {
            grant: GrantId(1),
            at: Timestamp(9),
            by: PrincipalId(0),
        }),
    ];
    for event in events {
        let refused: Result<(), IllegalEvent> = fixture.access.apply(&event);
        assert!(refused.is_err(), "{event:?}");
        assert_eq!(fixture.access, before);
    }
    let unknown = AccessEvent::decode("key.blessed", b"{}").unwrap();
    fixture.access.apply(&unknown).unwrap();
    assert_eq!(fixture.access, before);
}

#[test]
fn the_folded_state_and_the_replayed_log_are_the_same_in_parts_of_any_size() {
    let mut fixture = Fixture::new();
    let (acme, beta) = (fixture.org("acme"), fixture.org("beta"));
    let (_, owner) = fixture.key(acme, vec![Scope::all()]);
    fixture.key(beta, vec![scope(&[Operation::Consume], &["acme/*"])]);
    fixture.propose(&owner, acme, beta).unwrap();
    let revoked = fixture
        .access
        .check_revoke_key(&owner, owner.key.unwrap(), Timestamp(8));
    fixture.take(revoked.unwrap());

    let mut replayed = Access::default();
    for event in &fixture.log {
        replayed.apply(event).unwrap();
    }
    assert_eq!(replayed, fixture.access);
    for max_part_bytes in [1, 700, 1 << 20] {
        let mut folded = Access::default();
        let parts = fixture.access.fold_in_parts(max_part_bytes);
        assert_eq!(parts.len() > 1, max_part_bytes < 1 << 20);
        for part in parts {
            let part = AccessEvent::decode(part.record_type(), &part.encode()).unwrap();
            folded.apply(&part).unwrap();
        }
        assert_eq!(folded, fixture.access);
    }
}
