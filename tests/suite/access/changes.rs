//! What administrators change: durable before it is answered, the same after any restart.

use npayload::access::{AccessError, AuditAct, AuditOutcome, KeyEnded, NotAuthentic};
use npayload::broker::config::ConfigChange;
use npayload::storage::disk::Loss;
use npayload::types::KeyId;

use super::*;

/// Some of everything.
fn busy(desk: &mut Desk) -> Vec<(KeyId, Secret)> {
    let (acme, beta) = (desk.org("acme"), desk.org("beta"));
    let at = desk.at();
    let limits = Limits {
        max_channels: Some(3),
        ..Limits::default()
    };
    let limited = desk
        .broker
        .limit_org(&ME, &org_name("beta"), limits, at)
        .unwrap();
    assert_eq!(desk.durable(limited).limits, limits);
    let mut keys = Vec::new();
    for org in [OrgId::DEFAULT, acme, beta, beta] {
        let (key, secret) = desk.key(org);
        keys.push((key.key, secret));
    }
    let of = |desk: &Desk, at: usize| {
        let now = desk.at();
        desk.broker.authenticate(&keys[at].1, now).unwrap()
    };
    let (acmes, betas) = (of(desk, 1), of(desk, 2));
    for is_accepted in [true, false] {
        let request = grant_request(acme, beta);
        let grant = desk.broker.propose_grant(&acmes, request, at).unwrap();
        let grant = desk.durable(grant).grant;
        let changed = match is_accepted {
            true => desk.broker.accept_grant(&betas, grant, at),
            false => desk.broker.revoke_grant(&acmes, grant, at),
        };
        let changed = changed.unwrap();
        assert_eq!(desk.durable(changed).accepted_at.is_some(), is_accepted);
    }
    let rotated = desk.broker.rotate_key(&betas, keys[2].0, u32::MAX, at);
    let (key, secret) = desk.durable(rotated.unwrap());
    assert_eq!(key.replaces, Some(keys[2].0));
    keys.push((key.key, secret));
    let revoked = desk.broker.revoke_key(&betas, keys[3].0, at).unwrap();
    assert_eq!(desk.durable(revoked).revoked_at, Some(at));
    keys
}

/// Every key says who shows it, as it did before.
fn check(desk: &Desk, keys: &[(KeyId, Secret)]) {
    for (at, (id, secret)) in keys.iter().enumerate() {
        let shown = desk.broker.authenticate(secret, desk.at());
        let ended = NotAuthentic::Ended(KeyEnded::Revoked { key: *id });
        match at {
            3 => assert_eq!(shown, Err(ended)),
            _ => assert_eq!(shown.unwrap().key, Some(*id)),
        }
    }
    let nobodys = Secret::new(KeyKind::Live, &[1; 32]);
    let shown = desk.broker.authenticate(&nobodys, desk.at());
    assert_eq!(shown, Err(NotAuthentic::Unknown));
}

#[test]
fn what_was_changed_is_the_same_after_every_kind_of_end() {
    for loss in [Loss::None, Loss::All] {
        let mut desk = Desk::new();
        let keys = busy(&mut desk);
        check(&desk, &keys);
        let before = desk.broker.access().clone();
        for _ in 0..3 {
            let (disk, now) = (desk.disk.after(loss), desk.now + 1);
            desk = Desk::open(&disk, now).unwrap();
            assert_eq!(*desk.broker.access(), before, "{loss:?}");
            check(&desk, &keys);
            desk.settle();
        }
        // Numbers go on where they stood.
        assert_eq!(desk.org("gamma"), OrgId(3));
    }
}

#[test]
fn the_topic_is_folded_and_trimmed_and_nothing_changes_by_it() {
    let often = |config: &mut BrokerConfig| config.fold_events = 5;
    let mut desk = Desk::open_with(&CrashingDisk::new(), 1_000, often).unwrap();
    let keys = busy(&mut desk);
    for n in 0..60 {
        let limits = Limits {
            max_channels: Some(n),
            ..Limits::default()
        };
        let at = desk.at();
        let limited = desk
            .broker
            .limit_org(&ME, &org_name("acme"), limits, at)
            .unwrap();
        desk.durable(limited);
        desk.broker.tick(at);
        desk.settle();
    }
    let start = desk.info("__access").log_start;
    assert!(start.0 > 30, "trimmed to {start}");
    let before = desk.broker.access().clone();
    let (disk, now) = (desk.disk.after(Loss::All), desk.now + 1);
    let desk = Desk::open_with(&disk, now, often).unwrap();
    assert_eq!(*desk.broker.access(), before);
    check(&desk, &keys);
}

#[test]
fn refusals_wait_for_what_they_tell_and_change_nothing() {
    let mut desk = Desk::new();
    let at = desk.at();
    let limits = Limits::default();
    let made = desk.broker.create_org(&ME, org_name("acme"), limits, at);
    let made = made.unwrap();
    let again = refused(desk.broker.create_org(&ME, org_name("acme"), limits, at));
    assert!(matches!(
        again.error,
        BrokerError::Access(AccessError::OrgExists { .. })
    ));
    assert!(!desk.is_done(again.wait.unwrap()));
    desk.durable(made);
    assert!(desk.is_done(again.wait.unwrap()));
    let before = desk.broker.access().clone();
    let (_, secret) = {
        let mut other = Desk::new();
        other.key(OrgId::DEFAULT)
    };
    assert_eq!(
        desk.broker.authenticate(&secret, at),
        Err(NotAuthentic::Unknown),
        "a key of another broker"
    );
    let nobody = Principal {
        org: OrgId(1),
        ..ME
    };
    let limits = desk
        .broker
        .limit_org(&nobody, &org_name("acme"), limits, at);
    assert!(matches!(refused(limits).error, BrokerError::Access(_)));
    assert!(matches!(
        refused(desk.try_key(&nobody, OrgId::DEFAULT)).error,
        BrokerError::Access(AccessError::Denied(_))
    ));
    assert!(desk.broker.plan_round(at).is_none(), "something was staged");
    assert_eq!(*desk.broker.access(), before);
}

#[test]
fn uses_of_a_key_are_recorded_once_an_hour_and_hold_up_nobody() {
    const HOUR: i64 = 3_600_000;
    let mut desk = Desk::new();
    let (key, _) = desk.key(OrgId::DEFAULT);
    let end = |desk: &mut Desk| {
        desk.rounds();
        desk.info("__access").log_end.0
    };
    let before = end(&mut desk);
    for n in 0..10 {
        desk.broker.use_key(key.key, Timestamp(HOUR + n));
        assert_eq!(end(&mut desk), before + 1);
    }
    desk.broker.use_key(key.key, Timestamp(2 * HOUR));
    assert_eq!(end(&mut desk), before + 2);
    let used = desk.broker.access().key(key.key).unwrap().used_at;
    assert_eq!(used, Some(Timestamp(2 * HOUR)));
    desk.broker.use_key(KeyId(1), Timestamp(HOUR));
    assert_eq!(end(&mut desk), before + 2, "a key that nobody knows");
    let mut desk = desk.reopened().unwrap();
    let used = desk.broker.access().key(key.key).unwrap().used_at;
    assert_eq!(used, Some(Timestamp(2 * HOUR)));
    // A broker that takes no writes any more lets whoever has a key in, and applies nothing.
    desk.disk.fail_next_sync(1);
    let at = desk.at();
    let made = desk
        .broker
        .create_org(&ME, org_name("acme"), Limits::default(), at);
    desk.rounds();
    assert!(!desk.is_done(made.unwrap().wait));
    desk.broker.use_key(key.key, Timestamp(9 * HOUR));
    let used = desk.broker.access().key(key.key).unwrap().used_at;
    assert_eq!(used, Some(Timestamp(2 * HOUR)), "applied, not recorded");
}

#[test]
fn no_secret_is_on_the_disk_or_in_a_debug_text() {
    let mut desk = Desk::new();
    let keys = busy(&mut desk);
    // On the record of who did what neither.
    let at = desk.at();
    let act = AuditAct {
        who: Some(ME),
        from: "a test".to_owned(),
        act: "key.create",
        target: "a key".to_owned(),
        detail: String::new(),
        outcome: AuditOutcome::Done,
    };
    let made = desk.broker.acting(act, |broker| {
        broker.create_key(&ME, key_request(OrgId::DEFAULT), at)
    });
    let (key, secret) = desk.durable(made.unwrap());
    assert_eq!(desk.info("__audit").log_end.0, 1);
    let keys = [keys, vec![(key.key, secret)]].concat();
    desk.settle();
    let shown = format!("{:?} {:?}", desk.broker, desk.broker.access());
    for (_, secret) in &keys {
        let random = &secret.expose()[9..73];
        let raw: Vec<u8> = (0..32)
            .map(|at| u8::from_str_radix(&random[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        assert!(!shown.contains(random));
        for (path, bytes) in all_files(&desk.disk) {
            for needle in [random.as_bytes(), &raw] {
                let is_there = bytes.windows(needle.len()).any(|part| part == needle);
                assert!(!is_there, "{}", path.display());
            }
        }
    }
}

#[test]
fn channels_are_listed_for_one_organisation_at_a_time() {
    let mut desk = Desk::new();
    let at = desk.at();
    for name in ["orders", "acme/orders", "acme/oranges", "beta/orders", "aa"] {
        let name = ChannelName::parse(name).unwrap();
        let change = ConfigChange::default();
        desk.broker
            .create_channel(name, &change, false, at)
            .unwrap();
    }
    desk.rounds();
    let list = |desk: &Desk, prefix: &str| -> Vec<String> {
        let found = desk.broker.list_channels(prefix, false, None, 100).value;
        found.iter().map(|info| info.name.to_string()).collect()
    };
    assert_eq!(list(&desk, ""), ["aa", "orders"]);
    assert_eq!(list(&desk, "a"), ["aa"]);
    assert_eq!(list(&desk, "acme/"), ["acme/oranges", "acme/orders"]);
    assert_eq!(list(&desk, "acme/orders"), ["acme/orders"]);
    assert_eq!(list(&desk, "beta/"), ["beta/orders"]);
    let desk = desk.reopened().unwrap();
    assert_eq!(list(&desk, "acme/"), ["acme/oranges", "acme/orders"]);
    assert_eq!(desk.info("beta/orders").name.local(), "orders");
}
