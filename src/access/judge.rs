//! Who somebody is, and whether they may do what they ask for. Reads no clock and changes nothing.

use super::others::is_at_home;
use super::scope::{Operation, Scope};
use super::secret::KeyHash;
use super::state::{Access, Grant, KeyEnded};
use crate::types::{KeyId, OrgId, PrincipalId, Timestamp};

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The number that is stamped on what they write.
    pub id: PrincipalId,
    /// The organisation they act in.
    pub org: OrgId,
    /// The key they showed; nobody needs one on a broker that listens to its own machine alone.
    pub key: Option<KeyId>,
}

impl Principal {
    /// Whoever reaches a broker that asks nobody for a key: all of the default organisation.
    pub const LOCAL: Self = Self {
        id: PrincipalId(0),
        org: OrgId::DEFAULT,
        key: None,
    };
}

/// What somebody wants to do, and to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// Something with a channel.
    Channel {
        /// What.
        operation: Operation,
        /// Whose channel it is.
        org: OrgId,
        /// Its name within that organisation.
        name: &'a str,
    },
    /// Something with an organisation as a whole.
    Org {
        /// What.
        operation: Operation,
        /// Which.
        org: OrgId,
    },
    /// Something with the broker as a whole.
    Broker {
        /// What.
        operation: Operation,
    },
    /// To speak for an agent of one's own organisation.
    Agent {
        /// Its name.
        name: &'a str,
    },
}

/// Why a key does not let anybody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAuthentic {
    /// No key has this text.
    #[error("this API key is not known here")]
    Unknown,
    /// It was known once.
    #[error(transparent)]
    Ended(#[from] KeyEnded),
}

/// Why something is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// No scope of the key allows it.
    #[error("the API key's scopes do not allow {operation} on {on}")]
    Scope {
        /// What was asked for.
        operation: Operation,
        /// On what, as its owner names it.
        on: String,
    },
    /// It is another organisation's, which has granted something else on it.
    #[error("what `{owner}` has granted does not allow {operation} on {on}")]
    Grant {
        /// Whose it is.
        owner: String,
        /// What was asked for.
        operation: Operation,
        /// On what, as its owner names it.
        on: String,
    },
    /// It is another organisation's, and whether it exists is not told.
    #[error("it belongs to nobody known")]
    Hidden,
    /// Only the organisation that runs the broker may do it.
    #[error("{operation} on the broker is for keys of the default organisation")]
    Operator {
        /// What was asked for.
        operation: Operation,
    },
    /// The key has ended since it was shown.
    #[error(transparent)]
    Ended(#[from] KeyEnded),
}

impl Access {
    /// Who shows the key with this hash.
    ///
    /// # Errors
    /// [`NotAuthentic`]; only who has the whole key learns that it is revoked or expired.
    pub fn authenticate(&self, hash: &KeyHash, now: Timestamp) -> Result<Principal, NotAuthentic> {
        let key = self.key_by_hash(hash).ok_or(NotAuthentic::Unknown)?;
        key.check(now)?;
        Ok(Principal {
            id: key.principal,
            org: key.org,
            key: Some(key.key),
        })
    }

    /// Who shows a client certificate with these names, which the handshake has checked.
    #[must_use]
    pub fn authenticate_certificate(&self, names: &[&str], now: Timestamp) -> Option<Principal> {
        let key = self.key_by_certificate(names, now)?;
        Some(Principal {
            id: key.principal,
            org: key.org,
            key: Some(key.key),
        })
    }

    /// Whether somebody who was let in may still be there.
    ///
    /// # Errors
    /// [`KeyEnded`] when their key was revoked or has expired since.
    pub fn check_alive(&self, principal: &Principal, now: Timestamp) -> Result<(), KeyEnded> {
        let Some(key) = principal.key else {
            return Ok(());
        };
        match self.known_key(key) {
            Some(key) => key.check(now),
            // Its region does not belong to the deployment any more.
            None => Err(KeyEnded::Revoked { key }),
        }
    }

    /// What somebody may do.
    #[must_use]
    pub fn scopes(&self, principal: &Principal) -> Vec<Scope> {
        match principal.key {
            None => vec![Scope::all()],
            Some(key) => {
                let known = self.known_key(key);
                let mut scopes = known.map_or_else(Vec::new, |key| key.scopes.clone());
                if self.is_from_abroad(principal) {
                    for scope in &mut scopes {
                        scope.operations.retain(|one| !is_at_home(*one));
                    }
                }
                scopes
            }
        }
    }

    /// Whether somebody may do what they ask for.
    ///
    /// # Errors
    /// [`Denied`]; of another organisation's channels it tells nothing that depends on whether
    /// they exist.
    pub fn authorize(
        &self,
        principal: &Principal,
        ask: &Ask<'_>,
        now: Timestamp,
    ) -> Result<(), Denied> {
        self.check_alive(principal, now)?;
        let is_from_abroad = self.is_from_abroad(principal);
        match *ask {
            Ask::Channel {
                operation,
                org,
                name,
            } if org == principal.org => self.need(principal, operation, Some(name), name),
            Ask::Channel {
                operation,
                org,
                name,
            } => {
                let sides = (org, principal.org);
                let granted = self.is_granted(sides, operation, name, now);
                // Who may do something on these names is told what they may not, whether there is
                // a channel or not.
                let mut others = [Operation::Consume, Operation::Publish].into_iter();
                let shown = granted || others.any(|other| self.is_granted(sides, other, name, now));
                let owner = self.org(org).filter(|_| shown).ok_or(Denied::Hidden)?;
                let full = format!("{}/{name}", owner.name);
                if !granted {
                    return Err(Denied::Grant {
                        owner: owner.name.to_string(),
                        operation,
                        on: format!("channel `{full}`"),
                    });
                }
                self.need(principal, operation, Some(&full), &full)
            }
            Ask::Org { operation, org } => {
                let is_operator = principal.org == OrgId::DEFAULT && !is_from_abroad;
                if org != principal.org && !is_operator {
                    return Err(Denied::Hidden);
                }
                self.need(principal, operation, None, "the organisation")
            }
            Ask::Broker { operation } => {
                if principal.org != OrgId::DEFAULT || is_from_abroad {
                    return Err(Denied::Operator { operation });
                }
                self.need(principal, operation, None, "the broker")
            }
            Ask::Agent { name } => {
                let speaks = match principal.key {
                    None => true,
                    Some(key) => self.known_key(key).is_some_and(|key| {
                        let mut scopes = key.scopes.iter();
                        scopes.any(|scope| scope.speaks_for(name))
                    }),
                };
                if speaks {
                    return Ok(());
                }
                Err(Denied::Scope {
                    operation: Operation::Asp,
                    on: format!("agent `{name}`"),
                })
            }
        }
    }

    /// Whether one organisation lets another do something on channels of this name.
    fn is_granted(
        &self,
        (owner, guest): (OrgId, OrgId),
        operation: Operation,
        name: &str,
        now: Timestamp,
    ) -> bool {
        let mut grants = self.grants_between(owner, guest);
        grants.any(|grant| {
            grant.operation == operation && grant.channels.matches(name) && grant.is_active(now)
        })
    }

    /// What one organisation lets another do, by the word of this region and of the others.
    fn grants_between(&self, owner: OrgId, guest: OrgId) -> impl Iterator<Item = &Grant> {
        let own = self.grants(guest);
        let own = own.filter(move |grant| grant.owner == owner && grant.guest == guest);
        own.chain(self.grants_abroad(owner, guest))
    }

    /// Whether the agents of one organisation may be seen and invited by another, by a grant of
    /// [`Operation::Asp`] that has their name.
    #[must_use]
    pub fn shows_agent(&self, owner: OrgId, name: &str, guest: OrgId, now: Timestamp) -> bool {
        owner == guest || self.is_granted((owner, guest), Operation::Asp, name, now)
    }

    /// Until when the agents of one organisation were shown to another, where grants that had their
    /// name have ended and none is left; none where one is active, or none ever was.
    #[must_use]
    pub fn agent_shown_until(
        &self,
        owner: OrgId,
        name: &str,
        guest: OrgId,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if self.shows_agent(owner, name, guest, now) {
            return None;
        }
        let ended = self.grants_between(owner, guest).filter(|grant| {
            grant.operation == Operation::Asp
                && grant.channels.matches(name)
                && grant.accepted_at.is_some()
        });
        ended
            .filter_map(|grant| match (grant.revoked_at, grant.expires_at) {
                (Some(revoked), Some(expired)) => Some(revoked.min(expired)),
                (revoked, expired) => revoked.or(expired),
            })
            .max()
    }

    fn need(
        &self,
        principal: &Principal,
        operation: Operation,
        channel: Option<&str>,
        on: &str,
    ) -> Result<(), Denied> {
        let is_allowed = match principal.key {
            None => true,
            Some(_) if is_at_home(operation) && self.is_from_abroad(principal) => false,
            Some(key) => self.known_key(key).is_some_and(|key| {
                let mut scopes = key.scopes.iter();
                scopes.any(|scope| scope.allows(operation, channel))
            }),
        };
        is_allowed.then_some(()).ok_or_else(|| Denied::Scope {
            operation,
            on: match channel {
                Some(_) => format!("channel `{on}`"),
                None => on.to_owned(),
            },
        })
    }
}
