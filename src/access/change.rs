//! Changes that an administrator asks for: checked at the door, turned into events.
//!
//! The limits here are judged once, and not again by a replay: a log written under wider ones
//! stays readable.

use super::event::{
    AccessEvent, GrantAccepted, GrantProposed, GrantRevoked, KeyCreated, KeyExpirySet, KeyRevoked,
    KeyUsed, OrgCreated, OrgLimited,
};
use super::judge::{Ask, Denied, Principal};
use super::limits::{InvalidLimit, Limits};
use super::scope::{Operation, Pattern, Scope};
use super::secret::{KeyHash, KeyKind};
use super::state::{Access, Grant, Key, KeyEnded};
use crate::types::{GrantId, KeyId, OrgId, OrgName, Timestamp};

/// Most keys of an organisation, ended ones included.
pub const MAX_KEYS: usize = 10_000;

/// Most grants that an organisation has a side in, ended ones included.
pub const MAX_GRANTS: usize = 10_000;

/// Most scopes of a key, and patterns of a scope.
pub const MAX_SCOPES: usize = 64;

/// Longest name of a key, in bytes.
const MAX_KEY_NAME_BYTES: usize = 256;

/// A use of a key is recorded when the last recorded one is at least this old.
const USE_STEP_MS: i64 = 60 * 60 * 1000;

/// Why a change is refused. Nothing is changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// Who asked may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// An organisation has that name.
    #[error("organisation `{name}` exists already")]
    OrgExists {
        /// The name.
        name: OrgName,
    },
    /// There is none of that name, or it is none of one's business.
    #[error("there is no {what} `{id}`")]
    NotFound {
        /// Organisation, key or grant.
        what: &'static str,
        /// As it was named.
        id: String,
    },
    /// It has ended.
    #[error(transparent)]
    Ended(#[from] KeyEnded),
    /// A limit is too low.
    #[error(transparent)]
    Limit(#[from] InvalidLimit),
    /// A member of the request breaks a rule.
    #[error("{field} {rule}")]
    Invalid {
        /// Which member.
        field: &'static str,
        /// The rule, reading on from the name.
        rule: String,
    },
    /// A key would get more than its maker has.
    #[error("a key cannot be given {operations}: more than the key that asks for it may do itself")]
    Escalation {
        /// The operations asked for.
        operations: String,
    },
    /// There are too many already.
    #[error("organisation `{org}` has {limit} {what} already, the most there may be")]
    TooMany {
        /// Whose.
        org: OrgName,
        /// Keys or grants.
        what: &'static str,
        /// The most.
        limit: usize,
    },
}

/// A key as an administrator asks for it.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    /// The organisation that it is to belong to.
    pub org: OrgId,
    /// What its owner calls it: 1 to 256 bytes without control characters.
    pub name: String,
    /// Live or test.
    pub kind: KeyKind,
    /// What it may do; at least one scope.
    pub scopes: Vec<Scope>,
    /// What it may use.
    pub limits: Limits,
    /// When it ends by itself; in the future.
    pub expires_at: Option<Timestamp>,
    /// Name of the client certificates that stand for it; only who runs the broker, whose CAs they
    /// are by, may say so.
    pub certificate: Option<String>,
}

/// What identifies a key that is made: drawn by the broker, not asked for.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its identity.
    pub key: KeyId,
    /// The hash of its text.
    pub hash: KeyHash,
    /// What other regions know it by, where there are such.
    pub travels: Option<KeyHash>,
    /// The last characters of its text.
    pub hint: String,
}

/// A grant as one side proposes it.
#[derive(Clone, Debug)]
pub struct GrantRequest {
    /// Whose channels they are.
    pub owner: OrgId,
    /// Who is to use them.
    pub guest: OrgId,
    /// The channels, as their owner names them.
    pub channels: Pattern,
    /// [`Operation::Consume`], [`Operation::Publish`], or [`Operation::Asp`]: to see and invite the
    /// owner's agents of these names.
    pub operation: Operation,
    /// When it ends by itself; in the future.
    pub expires_at: Option<Timestamp>,
}

impl Access {
    /// Turns a request for a new organisation into the event that records it.
    ///
    /// # Errors
    /// [`AccessError`]: not an administrator of the default organisation, a taken name, a limit
    /// that is too low.
    pub fn check_create_org(
        &self,
        by: &Principal,
        name: OrgName,
        limits: Limits,
        at: Timestamp,
    ) -> Result<AccessEvent, AccessError> {
        let operation = Operation::AccessAdmin;
        self.authorize(by, &Ask::Broker { operation }, at)?;
        limits.check()?;
        if self.org_by_name(name.as_str()).is_some() {
            return Err(AccessError::OrgExists { name });
        }
        Ok(AccessEvent::OrgCreated(OrgCreated {
            org: self.next_org,
            name,
            limits,
            at,
            by: by.id,
        }))
    }

    /// Turns a request for other limits of an organisation into the event that records it.
    ///
    /// # Errors
    /// [`AccessError`]: not an administrator of the default organisation, no such organisation, a
    /// limit that is too low.
    pub fn check_limit_org(
        &self,
        by: &Principal,
        name: &OrgName,
        limits: Limits,
        at: Timestamp,
    ) -> Result<AccessEvent, AccessError> {
        let operation = Operation::AccessAdmin;
        self.authorize(by, &Ask::Broker { operation }, at)?;
        limits.check()?;
        let org = self.org_by_name(name.as_str());
        let org = org.ok_or_else(|| not_found("organisation", name))?.org;
        Ok(AccessEvent::OrgLimited(OrgLimited {
            org,
            limits,
            at,
            by: by.id,
        }))
    }

    /// Turns a request for a new key into the event that records it.
    ///
    /// # Errors
    /// [`AccessError`]: not an administrator there, a member that breaks a rule, or more than the
    /// one who asks may do.
    pub fn check_create_key(
        &self,
        by: &Principal,
        request: KeyRequest,
        new: NewKey,
        at: Timestamp,
    ) -> Result<AccessEvent, AccessError> {
        self.administer(by, request.org, at)?;
        check_key_name(&request.name)?;
        check_scopes(&request.scopes)?;
        check_expiry(request.expires_at, at)?;
        request.limits.check()?;
        if let Some(name) = &request.certificate {
            let operation = Operation::AccessAdmin;
            self.authorize(by, &Ask::Broker { operation }, at)?;
            check_certificate(name)?;
            if let Some(other) = self.key_by_certificate(&[name], at) {
                let rule = format!("stands for {} already", other.key);
                return Err(AccessError::Invalid {
                    field: "certificate",
                    rule,
                });
            }
        }
        let beyond = self.beyond(by, request.org, &request.scopes);
        if let Some(wanted) = beyond {
            let names: Vec<&str> = wanted.operations.iter().map(|one| one.name()).collect();
            return Err(AccessError::Escalation {
                operations: names.join(", "),
            });
        }
        self.check_room(
            request.org,
            "keys",
            self.keys(request.org).count(),
            MAX_KEYS,
        )?;
        Ok(AccessEvent::KeyCreated(KeyCreated {
            key: new.key,
            principal: self.next_principal,
            org: request.org,
            name: request.name,
            kind: request.kind,
            hash: new.hash,
            travels: new.travels,
            hint: new.hint,
            certificate: request.certificate,
            scopes: request.scopes,
            limits: request.limits,
            expires_at: request.expires_at,
            replaces: None,
            at,
            by: by.id,
        }))
    }

    /// Turns a request to replace a key into the events that record it: another key that stands
    /// for the same principal and may do the same, and the end of the old one.
    ///
    /// - `overlap_ms`: how long both work, at least 0; the old key's own expiry still holds.
    ///
    /// # Errors
    /// [`AccessError`]: not an administrator there, no such key, or one that has ended.
    pub fn check_rotate_key(
        &self,
        by: &Principal,
        key: KeyId,
        overlap_ms: u32,
        new: NewKey,
        at: Timestamp,
    ) -> Result<[AccessEvent; 2], AccessError> {
        let old = self.administered_key(by, key, at)?;
        old.check(at)?;
        if self.beyond(by, old.org, &old.scopes).is_some() {
            return Err(AccessError::Escalation {
                operations: "what the old key may do".to_owned(),
            });
        }
        self.check_room(old.org, "keys", self.keys(old.org).count(), MAX_KEYS)?;
        let ends = at.saturating_add_ms(i64::from(overlap_ms));
        let ends = old.expires_at.map_or(ends, |known| known.min(ends));
        Ok([
            AccessEvent::KeyCreated(KeyCreated {
                key: new.key,
                principal: old.principal,
                org: old.org,
                name: old.name.clone(),
                kind: old.kind,
                hash: new.hash,
                travels: new.travels,
                hint: new.hint,
                certificate: old.certificate.clone(),
                scopes: old.scopes.clone(),
                limits: old.limits,
                expires_at: old.expires_at,
                replaces: Some(key),
                at,
                by: by.id,
            }),
            AccessEvent::KeyExpirySet(KeyExpirySet {
                key,
                expires_at: Some(ends),
                at,
                by: by.id,
            }),
        ])
    }

    /// Turns a request to end a key into the event that records it.
    ///
    /// # Errors
    /// [`AccessError`]: not an administrator there, no such key, or one that is revoked already.
    pub fn check_revoke_key(
        &self,
        by: &Principal,
        key: KeyId,
        at: Timestamp,
    ) -> Result<AccessEvent, AccessError> {
        if self.administered_key(by, key, at)?.revoked_at.is_some() {
            return Err(KeyEnded::Revoked { key }.into());
        }
        let by = by.id;
        Ok(AccessEvent::KeyRevoked(KeyRevoked { key, at, by }))
    }

    /// The event that records the use of a key, when it is time for one.
    #[must_use]
    pub fn use_to_record(&self, key: KeyId, now: Timestamp) -> Option<AccessEvent> {
        let known = self.key(key).filter(|known| known.revoked_at.is_none())?;
        let hour = Timestamp(now.0 - now.0.rem_euclid(USE_STEP_MS));
        let is_due = known.used_at.is_none_or(|used| used < hour);
        is_due.then_some(AccessEvent::KeyUsed(KeyUsed { key, at: hour }))
    }

    /// Turns one side's proposal into the event that records it. An administrator of the default
    /// organisation speaks for the owner.
    ///
    /// # Errors
    /// [`AccessError`]: an administrator of neither side, or a member that breaks a rule.
    pub fn check_propose_grant(
        &self,
        by: &Principal,
        request: GrantRequest,
        grant: GrantId,
        at: Timestamp,
    ) -> Result<AccessEvent, AccessError> {
        let proposer = if by.org == request.guest {
            request.guest
        } else {
            request.owner
        };
        self.administer(by, proposer, at)?;
        if request.owner == request.guest {
            let rule = "must be another organisation than the owner".to_owned();
            return Err(AccessError::Invalid {
                field: "guest",
                rule,
            });
        }
        if !matches!(
            request.operation,
            Operation::Publish | Operation::Consume | Operation::Asp
        ) {
            let rule = format!("must be publish, consume or asp, not {}", request.operation);
            return Err(AccessError::Invalid {
                field: "operation",
                rule,
            });
        }
        if request.channels.to_string().contains('/') {
            let rule = "are named as their owner names them, without an organisation".to_owned();
            return Err(AccessError::Invalid {
                field: "channels",
                rule,
            });
        }
        check_expiry(request.expires_at, at)?;
        for org in [request.owner, request.guest] {
            self.check_room(org, "grants", self.grants(org).count(), MAX_GRANTS)?;
        }
        Ok(AccessEvent::GrantProposed(GrantProposed {
            grant,
            owner: request.owner,
            guest: request.guest,
            proposer,
            channels: request.channels,
            operation: request.operation,
            expires_at: request.expires_at,
            at,
            by: by.id,
        }))
    }

    /// Turns the other side's consent into the event that records it. Nobody consents for the
    /// other side, the default organisation neither.
    ///
    /// # Errors
    /// [`AccessError`]: no such grant, not the other side's administrator, or it has ended.
    pub fn check_accept_grant(
        &self,
        by: &Principal,
        grant: GrantId,
        at: Timestamp,
    ) -> Result<AccessEvent, AccessError> {
        let known = self.concerned_grant(by, grant, at)?;
        let refuse = |rule: &str| AccessError::Invalid {
            field: "grant",
            rule: rule.to_owned(),
        };
        if by.org != known.other_side() {
            return Err(refuse("is accepted by the side that has not proposed it"));
        }
        if known.revoked_at.is_some() || known.expires_at.is_some_and(|ends| ends <= at) {
            return Err(refuse("has ended"));
        }
        if known.accepted_at.is_some() {
            return Err(refuse("is accepted already"));
        }
        let by = by.id;
        Ok(AccessEvent::GrantAccepted(GrantAccepted { grant, at, by }))
    }

    /// Turns a request to end a grant, or to decline one, into the event that records it.
    ///
    /// # Errors
    /// [`AccessError`]: no such grant, an administrator of neither side, or it is revoked already.
    pub fn check_revoke_grant(
        &self,
        by: &Principal,
        grant: GrantId,
        at: Timestamp,
    ) -> Result<AccessEvent, AccessError> {
        let known = self.concerned_grant(by, grant, at)?;
        if known.revoked_at.is_some() {
            let rule = "is revoked already".to_owned();
            return Err(AccessError::Invalid {
                field: "grant",
                rule,
            });
        }
        let by = by.id;
        Ok(AccessEvent::GrantRevoked(GrantRevoked { grant, at, by }))
    }

    /// The first of these scopes of a key of `org` that is more than the one who asks may do. A name
    /// means another channel in each organisation.
    fn beyond<'a>(&self, by: &Principal, org: OrgId, wanted: &'a [Scope]) -> Option<&'a Scope> {
        let held = self.scopes(by);
        let other = self.org(org).filter(|_| org != by.org);
        wanted.iter().find(|wanted| match other {
            None => !Scope::cover(&held, wanted),
            Some(other) => !Scope::cover(&held, &wanted.from_outside(&other.name)),
        })
    }

    fn administer(&self, by: &Principal, org: OrgId, at: Timestamp) -> Result<(), Denied> {
        let operation = Operation::AccessAdmin;
        self.authorize(by, &Ask::Org { operation, org }, at)
    }

    /// A key that somebody may administer; another organisation's is not there for them.
    fn administered_key(
        &self,
        by: &Principal,
        key: KeyId,
        at: Timestamp,
    ) -> Result<&Key, AccessError> {
        // Who administers nothing is not told which keys there are.
        self.administer(by, by.org, at)?;
        let known = self.key(key).ok_or_else(|| not_found("key", key))?;
        match self.administer(by, known.org, at) {
            Err(Denied::Hidden) => Err(not_found("key", key)),
            other => Ok(other.map(|()| known)?),
        }
    }

    /// A grant that somebody has a side in, or runs the broker of.
    fn concerned_grant(
        &self,
        by: &Principal,
        grant: GrantId,
        at: Timestamp,
    ) -> Result<&Grant, AccessError> {
        self.administer(by, by.org, at)?;
        let known = self.grants.get(&grant);
        let known = known.ok_or_else(|| not_found("grant", grant))?;
        let is_concerned = [known.owner, known.guest, OrgId::DEFAULT].contains(&by.org);
        is_concerned
            .then_some(known)
            .ok_or_else(|| not_found("grant", grant))
    }

    fn check_room(
        &self,
        org: OrgId,
        what: &'static str,
        found: usize,
        limit: usize,
    ) -> Result<(), AccessError> {
        let known = self
            .org(org)
            .ok_or_else(|| not_found("organisation", org))?;
        if found >= limit {
            let org = known.name.clone();
            return Err(AccessError::TooMany { org, what, limit });
        }
        Ok(())
    }
}

fn not_found(what: &'static str, id: impl ToString) -> AccessError {
    let id = id.to_string();
    AccessError::NotFound { what, id }
}

fn check_key_name(name: &str) -> Result<(), AccessError> {
    if name.is_empty() || name.len() > MAX_KEY_NAME_BYTES || name.chars().any(char::is_control) {
        let rule = "must be 1 to 256 bytes without control characters".to_owned();
        return Err(AccessError::Invalid {
            field: "name",
            rule,
        });
    }
    Ok(())
}

fn check_certificate(name: &str) -> Result<(), AccessError> {
    if name.is_empty() || name.len() > MAX_KEY_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(AccessError::Invalid {
            field: "certificate",
            rule: "must be 1 to 256 bytes without control characters".to_owned(),
        });
    }
    Ok(())
}

fn check_scopes(scopes: &[Scope]) -> Result<(), AccessError> {
    let invalid = |rule: &str| AccessError::Invalid {
        field: "scopes",
        rule: rule.to_owned(),
    };
    if scopes.is_empty() || scopes.iter().any(|scope| scope.operations.is_empty()) {
        return Err(invalid("must name at least one operation"));
    }
    let is_long = |scope: &Scope| scope.channels.len().max(scope.agents.len()) > MAX_SCOPES;
    if scopes.len() > MAX_SCOPES || scopes.iter().any(is_long) {
        return Err(invalid("must be at most 64, of at most 64 patterns each"));
    }
    Ok(())
}

fn check_expiry(expires_at: Option<Timestamp>, at: Timestamp) -> Result<(), AccessError> {
    if expires_at.is_some_and(|ends| ends <= at) {
        let rule = "must be in the future".to_owned();
        return Err(AccessError::Invalid {
            field: "expiresAt",
            rule,
        });
    }
    Ok(())
}
