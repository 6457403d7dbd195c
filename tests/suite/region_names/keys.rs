//! A gap in what another region says of its keys: retention there outran the link, and a revocation may
//! be in it.

use npayload::access::{KeyKind, KeyRequest, Limits, NotAuthentic, Principal, Scope, Secret};
use npayload::types::{KeyId, OrgId};

use super::*;

impl Driven {
    /// A key for everything in the default organisation.
    fn key(&mut self) -> (KeyId, Secret) {
        if let Some(job) = self.broker.plan_secret() {
            self.broker.finish_secret(job.run()).unwrap();
        }
        loop {
            let request = KeyRequest {
                org: OrgId::DEFAULT,
                name: "a key".to_owned(),
                kind: KeyKind::Test,
                scopes: vec![Scope::all()],
                limits: Limits::default(),
                expires_at: None,
                certificate: None,
            };
            let now = self.at();
            match self.broker.create_key(&Principal::LOCAL, request, now) {
                Ok(made) => {
                    let (key, secret) = made.value;
                    self.round();
                    return (key.key, secret);
                }
                Err(refusal) => assert!(refusal.is_busy(), "{}", refusal.error),
            }
            self.settle();
        }
    }

    /// Says something else of the default organisation: one event more, of no more that is known.
    fn limits(&mut self, requests_per_s: u32) {
        let limits = Limits {
            requests_per_s: Some(requests_per_s),
            ..Limits::default()
        };
        let org = OrgName::parse("default").unwrap();
        loop {
            let now = self.at();
            match (self.broker).limit_org(&Principal::LOCAL, &org, limits, now) {
                Ok(_) => break,
                Err(refusal) => assert!(refusal.is_busy(), "{}", refusal.error),
            }
            self.settle();
        }
        self.round();
    }

    fn revoke(&mut self, key: KeyId) {
        let now = self.at();
        self.broker.revoke_key(&Principal::LOCAL, key, now).unwrap();
        self.round();
    }

    /// Who shows a key of another region.
    fn shown(&mut self, secret: &Secret) -> Result<Principal, NotAuthentic> {
        let now = self.at();
        let shown = self.broker.authenticate_abroad(secret, now).unwrap();
        self.round();
        shown
    }
}

#[test]
fn a_gap_in_what_a_region_says_of_its_keys_suspends_them_until_all_of_it_comes_again() {
    let mut home = Driven::new("ap-south");
    home.begin();
    home.record(&[joined("eu-west")]);
    let mut west = Driven::new("eu-west");
    west.take(&mut home, Travelling::Regions);
    let (_, kept) = home.key();
    let (lost, revoked) = home.key();
    west.take(&mut home, Travelling::Access);
    let who = west.shown(&kept).expect("a key of a region that counts");
    west.shown(&revoked).expect("the other one too");
    // The link is cut; a key ends, and what says so is trimmed behind a state that was folded since.
    home.revoke(lost);
    for requests in 1..60 {
        home.limits(requests);
    }
    home.settle();
    let topic = Travelling::Access.name();
    let (begins_at, _) = home.range_of(&topic);
    let id = home.broker.identity_of(&topic).unwrap();
    let next = west.broker.copy_place(id).unwrap().next;
    assert!(next < begins_at, "{next:?} {begins_at:?}");
    let now = west.at();
    assert!(west.broker.access().check_alive(&who, now).is_ok());
    // The link is back: first comes that something is missing.
    west.broker.append_gap(id, next..begins_at, now).unwrap();
    west.round();
    for _ in 0..2 {
        for secret in [&kept, &revoked] {
            assert_eq!(west.shown(secret), Err(NotAuthentic::Unknown));
        }
        let now = west.at();
        let ended = west.broker.access().check_alive(&who, now);
        assert!(ended.is_err(), "nor does who is let in already go on");
        // Nor after a power cut, where it is read from the copy.
        west = west.cut();
    }
    // Then all of it.
    west.take(&mut home, Travelling::Access);
    for _ in 0..2 {
        assert_eq!(west.shown(&kept), Ok(who), "under the number that it had");
        let ended = west.shown(&revoked).unwrap_err();
        assert!(
            matches!(ended, NotAuthentic::Ended(_)),
            "what was missing counts: {ended:?}"
        );
        west = west.cut();
    }
}

#[test]
fn a_region_that_was_begun_anew_while_it_was_no_peer_has_none_of_the_numbers_of_before() {
    let mut home = Driven::new("ap-south");
    home.begin();
    home.record(&[joined("eu-west")]);
    let mut west = Driven::new("eu-west");
    west.take(&mut home, Travelling::Regions);
    let (_, old) = home.key();
    west.take(&mut home, Travelling::Access);
    let who = west.shown(&old).expect("a key of a region that counts");
    let forget = |west: &mut Driven| {
        let now = west.at();
        let forgotten = west.broker.forget_access_of(&region("ap-south"), now);
        forgotten.expect("room");
        west.settle();
    };
    // It is a peer no more, and again: these are the same people.
    forget(&mut west);
    assert_eq!(west.shown(&old), Err(NotAuthentic::Unknown));
    west.take(&mut home, Travelling::Access);
    for _ in 0..2 {
        assert_eq!(west.shown(&old), Ok(who));
        west.settle();
        west = west.cut();
    }
    // Its data is lost meanwhile, and the first who has a key of the new one is somebody else.
    forget(&mut west);
    let mut anew = Driven::open(CrashingDisk::new(), "ap-south", 900_000);
    let (_, new) = anew.key();
    west.take(&mut anew, Travelling::Access);
    let other = west.shown(&new).expect("a key of a region that counts");
    assert_ne!(other.id, who.id);
    for _ in 0..2 {
        assert_eq!(west.shown(&new), Ok(other));
        assert_eq!(west.shown(&old), Err(NotAuthentic::Unknown));
        west.settle();
        west = west.cut();
    }
}
