//! Organisations, keys and grants, folded from [`AccessEvent`]s.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::{AccessEvent, AccessRow, KeyCreated};
use super::limits::Limits;
use super::others::{Met, Others};
use super::scope::{Operation, Pattern, Scope};
use super::secret::{KeyHash, KeyKind};
use crate::folding::{self, Assembly, BETWEEN_PARTS, IllegalEvent, MAX_PART_BYTES};
use crate::types::{
    DEFAULT_ORG_NAME, GrantId, KeyId, OrgId, OrgName, PrincipalId, RegionName, Timestamp,
};

/// An organisation: a wall around its channels, keys and agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Org {
    /// Its number.
    pub org: OrgId,
    /// Its name.
    pub name: OrgName,
    /// What it may use.
    pub limits: Limits,
    /// When it was created.
    pub created_at: Timestamp,
}

/// An API key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// Its identity.
    pub key: KeyId,
    /// Whom it stands for.
    pub principal: PrincipalId,
    /// The organisation that it belongs to.
    pub org: OrgId,
    /// What its owner calls it.
    pub name: String,
    /// Live or test.
    pub kind: KeyKind,
    /// What is kept of its text.
    pub hash: KeyHash,
    /// What other regions know it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub travels: Option<KeyHash>,
    /// The last characters of its text.
    pub hint: String,
    /// A client certificate with this name stands for it, without its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// What it may use, within its organisation's limits.
    pub limits: Limits,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// The key that it took over from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<KeyId>,
}

/// Why a key opens nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyEnded {
    /// Somebody ended it.
    #[error("the API key {key} was revoked")]
    Revoked {
        /// Which.
        key: KeyId,
    },
    /// Its time is over.
    #[error("the API key {key} has expired")]
    Expired {
        /// Which.
        key: KeyId,
    },
}

impl Key {
    /// Whether it opens anything at `now`.
    ///
    /// # Errors
    /// [`KeyEnded`] when it is revoked, or at and after its expiry.
    pub fn check(&self, now: Timestamp) -> Result<(), KeyEnded> {
        if self.revoked_at.is_some() {
            return Err(KeyEnded::Revoked { key: self.key });
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return Err(KeyEnded::Expired { key: self.key });
        }
        Ok(())
    }
}

/// Channels of one organisation that another may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Its identity.
    pub grant: GrantId,
    /// Whose channels they are.
    pub owner: OrgId,
    /// Who gets to use them.
    pub guest: OrgId,
    /// Which of the two proposed it.
    pub proposer: OrgId,
    /// The channels.
    pub channels: Pattern,
    /// Which way records flow.
    pub operation: Operation,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was proposed.
    pub proposed_at: Timestamp,
    /// When the other side agreed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<Timestamp>,
    /// When either side ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

impl Grant {
    /// The side that has not proposed it, and may accept it.
    #[must_use]
    pub fn other_side(&self) -> OrgId {
        if self.proposer == self.owner {
            self.guest
        } else {
            self.owner
        }
    }

    /// Whether it opens anything at `now`.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.accepted_at.is_some()
            && self.revoked_at.is_none()
            && self.expires_at.is_none_or(|at| now < at)
    }
}

/// All organisations, keys and grants. An organisation, once created, stays. For each key and each
/// grant:
///
/// ```text
///                    +--used, expirySet--+
///                    v                   |
/// Absent --created--> Live --------------+--revoked--> Revoked
///
/// Absent --proposed--> Proposed --accepted--> Active --revoked--> Revoked
///                         +--------------revoked------------------^
/// ```
///
/// Expiry is no event: it is judged by the time of each use. A state record replaces all once its
/// last part is there; no other event may stand between its parts. An unknown event changes
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub(super) orgs: BTreeMap<OrgId, Org>,
    org_names: BTreeMap<OrgName, OrgId>,
    pub(super) keys: BTreeMap<KeyId, Key>,
    /// Keys by the first bytes of their hash.
    slots: BTreeMap<u64, KeyId>,
    pub(super) grants: BTreeMap<GrantId, Grant>,
    pub(super) next_org: OrgId,
    pub(super) next_principal: PrincipalId,
    /// Keys by the first bytes of what other regions know them by.
    pub(super) travelling: BTreeMap<u64, KeyId>,
    /// The numbers here of those whose keys are of other regions.
    pub(super) met: BTreeMap<(RegionName, PrincipalId), Met>,
    /// What other regions have said, on topics of their own.
    pub(super) others: Others,
    assembly: Option<Assembly<AccessRow>>,
}

impl Default for Access {
    /// The state before the first event: the default organisation, and nobody who has a key.
    fn default() -> Self {
        let mut state = Self::empty();
        let name = OrgName::parse(DEFAULT_ORG_NAME).expect("a plain name");
        let created = Org {
            org: OrgId::DEFAULT,
            name,
            limits: Limits::default(),
            created_at: Timestamp(0),
        };
        state
            .insert_org(created)
            .expect("nothing is there to collide with");
        state.next_org = OrgId(1);
        state
    }
}

impl Access {
    fn empty() -> Self {
        Self {
            orgs: BTreeMap::new(),
            org_names: BTreeMap::new(),
            keys: BTreeMap::new(),
            slots: BTreeMap::new(),
            grants: BTreeMap::new(),
            next_org: OrgId::DEFAULT,
            next_principal: PrincipalId(1),
            travelling: BTreeMap::new(),
            met: BTreeMap::new(),
            others: Others::default(),
            assembly: None,
        }
    }

    /// Takes an event into the state. One function checks an append and replays the log.
    ///
    /// # Errors
    /// [`IllegalEvent`] when the event cannot follow; the state is unchanged.
    pub fn apply(&mut self, event: &AccessEvent) -> Result<(), IllegalEvent> {
        self.transition(event).map_err(|rule| IllegalEvent {
            event: event.record_type().to_owned(),
            subject: subject(event),
            rule,
        })
    }

    /// The organisation of that number.
    #[must_use]
    pub fn org(&self, org: OrgId) -> Option<&Org> {
        self.orgs.get(&org)
    }

    /// The organisation of that name.
    #[must_use]
    pub fn org_by_name(&self, name: &str) -> Option<&Org> {
        self.orgs.get(self.org_names.get(name)?)
    }

    /// All organisations, by number.
    pub fn orgs(&self) -> impl Iterator<Item = &Org> {
        self.orgs.values()
    }

    /// The key of that identity, whether it still opens anything or not.
    #[must_use]
    pub fn key(&self, key: KeyId) -> Option<&Key> {
        self.keys.get(&key)
    }

    /// All keys of an organisation, by identity and so by age.
    pub fn keys(&self, org: OrgId) -> impl Iterator<Item = &Key> {
        self.keys.values().filter(move |key| key.org == org)
    }

    /// The key with that hash. The hash is compared in constant time.
    #[must_use]
    pub fn key_by_hash(&self, hash: &KeyHash) -> Option<&Key> {
        let key = self.keys.get(self.slots.get(&hash.slot())?)?;
        (key.hash == *hash).then_some(key)
    }

    /// The newest key that opens something, and that client certificates with one of these names
    /// stand for.
    #[must_use]
    pub fn key_by_certificate(&self, names: &[&str], now: Timestamp) -> Option<&Key> {
        let is_named = |key: &&Key| {
            let certificate = key.certificate.as_deref();
            certificate.is_some_and(|name| names.contains(&name)) && key.check(now).is_ok()
        };
        self.keys.values().rev().find(is_named)
    }

    /// Whether there is any key: until then, nobody but this machine's own can say who they are.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The grant of that identity, whether it still opens anything or not.
    #[must_use]
    pub fn grant(&self, grant: GrantId) -> Option<&Grant> {
        self.grants.get(&grant)
    }

    /// The grants that an organisation has a side in, by identity.
    pub fn grants(&self, org: OrgId) -> impl Iterator<Item = &Grant> {
        let concerns = move |grant: &&Grant| grant.owner == org || grant.guest == org;
        self.grants.values().filter(concerns)
    }

    /// How many organisations, keys and grants there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.orgs.len() + self.keys.len() + self.grants.len()
    }

    /// Never: the default organisation is always there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole state as events, to be appended as one entry. Applied in order, to any state that
    /// stands between two entries, they give a state identical to this one.
    #[must_use]
    pub fn fold(&self) -> Vec<AccessEvent> {
        self.fold_in_parts(MAX_PART_BYTES)
    }

    pub(super) fn fold_in_parts(&self, max_part_bytes: usize) -> Vec<AccessEvent> {
        let next = AccessRow::Next {
            org: self.next_org,
            principal: self.next_principal,
        };
        let met = self.met.iter();
        let met = met.map(|((region, theirs), met)| AccessRow::Met {
            region: region.clone(),
            theirs: *theirs,
            principal: met.principal,
            life: met.life,
        });
        let rows = std::iter::once(next)
            .chain(self.orgs.values().cloned().map(AccessRow::Org))
            .chain(self.keys.values().cloned().map(AccessRow::Key))
            .chain(self.grants.values().cloned().map(AccessRow::Grant))
            .chain(met);
        folding::split(rows, max_part_bytes)
            .into_iter()
            .map(AccessEvent::Folded)
            .collect()
    }

    fn transition(&mut self, event: &AccessEvent) -> Result<(), &'static str> {
        match event {
            AccessEvent::Unknown { .. } => {}
            AccessEvent::Folded(part) => {
                if let Some(mut state) = folding::join(&mut self.assembly, part, Self::from_rows)? {
                    state.others = std::mem::take(&mut self.others);
                    *self = state;
                }
            }
            _ if self.assembly.is_some() => return Err(BETWEEN_PARTS),
            AccessEvent::OrgCreated(event) => {
                if event.org != self.next_org {
                    return Err("its number is not the next one");
                }
                self.insert_org(Org {
                    org: event.org,
                    name: event.name.clone(),
                    limits: event.limits,
                    created_at: event.at,
                })?;
                self.next_org = OrgId(event.org.0 + 1);
            }
            AccessEvent::OrgLimited(event) => {
                let org = self.orgs.get_mut(&event.org);
                org.ok_or("there is no such organisation")?.limits = event.limits;
            }
            AccessEvent::KeyCreated(event) => self.create_key(event)?,
            AccessEvent::KeyUsed(event) => {
                let key = self.live_key(event.key)?;
                if key.used_at.is_some_and(|used| used > event.at) {
                    return Err("it was used later than that");
                }
                key.used_at = Some(event.at);
            }
            AccessEvent::KeyExpirySet(event) => {
                self.live_key(event.key)?.expires_at = event.expires_at;
            }
            AccessEvent::KeyRevoked(event) => {
                self.live_key(event.key)?.revoked_at = Some(event.at);
            }
            AccessEvent::KeyTravels(event) => {
                if self.travelling.contains_key(&event.travels.slot()) {
                    return Err("another key is known by that elsewhere");
                }
                let key = self.live_key(event.key)?;
                if key.travels.is_some() {
                    return Err("it travels already");
                }
                key.travels = Some(event.travels);
                self.travelling.insert(event.travels.slot(), event.key);
            }
            AccessEvent::PrincipalMet(event) => {
                if event.principal != self.next_principal {
                    return Err("its principal's number is not the next one");
                }
                // Met again, it is somebody else: the region was begun anew, and so are its numbers.
                let key = (event.region.clone(), event.theirs);
                let (principal, life) = (event.principal, event.life);
                self.met.insert(key, Met { principal, life });
                self.next_principal = PrincipalId(event.principal.0 + 1);
            }
            AccessEvent::GrantProposed(event) => {
                if event.owner == event.guest {
                    return Err("an organisation needs no grant for its own channels");
                }
                if event.proposer != event.owner && event.proposer != event.guest {
                    return Err("its proposer is neither side");
                }
                self.insert_grant(Grant {
                    grant: event.grant,
                    owner: event.owner,
                    guest: event.guest,
                    proposer: event.proposer,
                    channels: event.channels.clone(),
                    operation: event.operation,
                    expires_at: event.expires_at,
                    proposed_at: event.at,
                    accepted_at: None,
                    revoked_at: None,
                })?;
            }
            AccessEvent::GrantAccepted(event) => {
                let grant = self.open_grant(event.grant)?;
                if grant.accepted_at.is_some() {
                    return Err("the grant is accepted already");
                }
                grant.accepted_at = Some(event.at);
            }
            AccessEvent::GrantRevoked(event) => {
                self.open_grant(event.grant)?.revoked_at = Some(event.at);
            }
        }
        Ok(())
    }

    fn create_key(&mut self, event: &KeyCreated) -> Result<(), &'static str> {
        match event.replaces {
            None if event.principal != self.next_principal => {
                return Err("its principal's number is not the next one");
            }
            None => {}
            Some(replaced) => {
                let replaced = self.keys.get(&replaced);
                let replaced = replaced.ok_or("there is no key that it could replace")?;
                if (replaced.principal, replaced.org) != (event.principal, event.org) {
                    return Err("the key that it replaces stands for somebody else");
                }
            }
        }
        self.insert_key(Key {
            key: event.key,
            principal: event.principal,
            org: event.org,
            name: event.name.clone(),
            kind: event.kind,
            hash: event.hash,
            travels: event.travels,
            hint: event.hint.clone(),
            certificate: event.certificate.clone(),
            scopes: event.scopes.clone(),
            limits: event.limits,
            created_at: event.at,
            expires_at: event.expires_at,
            used_at: None,
            revoked_at: None,
            replaces: event.replaces,
        })?;
        if event.replaces.is_none() {
            self.next_principal = PrincipalId(event.principal.0 + 1);
        }
        Ok(())
    }

    fn insert_org(&mut self, org: Org) -> Result<(), &'static str> {
        if self.orgs.contains_key(&org.org) {
            return Err("the number is taken");
        }
        if self.org_names.contains_key(&org.name) {
            return Err("an organisation has that name");
        }
        self.org_names.insert(org.name.clone(), org.org);
        self.orgs.insert(org.org, org);
        Ok(())
    }

    fn insert_key(&mut self, key: Key) -> Result<(), &'static str> {
        if !self.orgs.contains_key(&key.org) {
            return Err("there is no such organisation");
        }
        if self.keys.contains_key(&key.key) {
            return Err("the identity is taken");
        }
        if self.slots.contains_key(&key.hash.slot()) {
            return Err("another key has that hash");
        }
        let travels = key.travels.as_ref().map(KeyHash::slot);
        if travels.is_some_and(|slot| self.travelling.contains_key(&slot)) {
            return Err("another key is known by that elsewhere");
        }
        if let Some(slot) = travels {
            self.travelling.insert(slot, key.key);
        }
        self.slots.insert(key.hash.slot(), key.key);
        self.keys.insert(key.key, key);
        Ok(())
    }

    fn meet(
        &mut self,
        region: &RegionName,
        theirs: PrincipalId,
        met: Met,
    ) -> Result<(), &'static str> {
        let before = self.met.insert((region.clone(), theirs), met);
        before.map_or(Ok(()), |_| Err("it has a number here"))
    }

    fn insert_grant(&mut self, grant: Grant) -> Result<(), &'static str> {
        let is_known = |org: &OrgId| self.orgs.contains_key(org);
        if ![grant.owner, grant.guest].iter().all(is_known) {
            return Err("there is no such organisation");
        }
        if self.grants.contains_key(&grant.grant) {
            return Err("the identity is taken");
        }
        self.grants.insert(grant.grant, grant);
        Ok(())
    }

    fn live_key(&mut self, key: KeyId) -> Result<&mut Key, &'static str> {
        match self.keys.get_mut(&key) {
            None => Err("there is no such key"),
            Some(key) if key.revoked_at.is_some() => Err("the key is revoked"),
            Some(key) => Ok(key),
        }
    }

    fn open_grant(&mut self, grant: GrantId) -> Result<&mut Grant, &'static str> {
        match self.grants.get_mut(&grant) {
            None => Err("there is no such grant"),
            Some(grant) if grant.revoked_at.is_some() => Err("the grant is revoked"),
            Some(grant) => Ok(grant),
        }
    }

    fn from_rows(rows: &mut dyn Iterator<Item = &AccessRow>) -> Result<Self, &'static str> {
        let mut state = Self::empty();
        for row in rows {
            match row {
                AccessRow::Org(org) => state.insert_org(org.clone())?,
                AccessRow::Key(key) => state.insert_key(key.clone())?,
                AccessRow::Grant(grant) => state.insert_grant(grant.clone())?,
                AccessRow::Met {
                    region,
                    theirs,
                    principal,
                    life,
                } => {
                    let (principal, life) = (*principal, *life);
                    state.meet(region, *theirs, Met { principal, life })?;
                }
                AccessRow::Next { org, principal } => {
                    (state.next_org, state.next_principal) = (*org, *principal);
                }
            }
        }
        if !state.orgs.contains_key(&OrgId::DEFAULT) {
            return Err("the default organisation is missing");
        }
        Ok(state)
    }
}

fn subject(event: &AccessEvent) -> String {
    match event {
        AccessEvent::OrgCreated(event) => format!("organisation `{}` ({})", event.name, event.org),
        AccessEvent::OrgLimited(event) => format!("organisation {}", event.org),
        AccessEvent::KeyCreated(event) => format!("key {}", event.key),
        AccessEvent::KeyUsed(event) => format!("key {}", event.key),
        AccessEvent::KeyExpirySet(event) => format!("key {}", event.key),
        AccessEvent::KeyRevoked(event) => format!("key {}", event.key),
        AccessEvent::KeyTravels(event) => format!("key {}", event.key),
        AccessEvent::PrincipalMet(event) => {
            format!("principal {} of `{}`", event.theirs, event.region)
        }
        AccessEvent::GrantProposed(event) => format!("grant {}", event.grant),
        AccessEvent::GrantAccepted(event) => format!("grant {}", event.grant),
        AccessEvent::GrantRevoked(event) => format!("grant {}", event.grant),
        AccessEvent::Folded(part) => format!("part {} of {}", part.part, part.parts),
        AccessEvent::Unknown { .. } => "nobody known".to_owned(),
    }
}
