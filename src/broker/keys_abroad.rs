//! Keys of other regions: who shows one, and under which number they act here. `docs/regions.md`, "Keys
//! and grants".

use super::core::{Broker, Refusal};
use super::error::BrokerError;
use super::topic::{Fold, TopicError};
use super::travelled::Travelling;
use crate::access::{Access, AccessEvent, KeyHasher, KeyTravels, NotAuthentic, Principal, Secret};
use crate::folding::{EventError, IllegalEvent};
use crate::storage::Need;
use crate::types::{DEFAULT_ORG_NAME, KeyId, Offset, RegionName, Timestamp};

impl Broker {
    /// Who shows a key that another region of the deployment has made. The first time, the number
    /// under which they act here is recorded, and their organisation where it is new here.
    ///
    /// # Errors
    /// [`Refusal`]: there is no room for the record. The inner error is that of
    /// [`Broker::authenticate`].
    pub fn authenticate_abroad(
        &mut self,
        secret: &Secret,
        now: Timestamp,
    ) -> Result<Result<Principal, NotAuthentic>, Refusal> {
        let hash = KeyHasher::travelling(secret);
        match self.access.key_abroad_by_hash(&hash).map(|it| it.key.key) {
            Some(key) => self.meet(key, now),
            None => Ok(Err(NotAuthentic::Unknown)),
        }
    }

    /// Who has the key of that identity, which another region of the deployment has made.
    ///
    /// # Errors
    /// As for [`Broker::authenticate_abroad`].
    pub fn meet(
        &mut self,
        key: KeyId,
        now: Timestamp,
    ) -> Result<Result<Principal, NotAuthentic>, Refusal> {
        let Some(known) = self.access.key_abroad(key) else {
            return Ok(Err(NotAuthentic::Unknown));
        };
        if let Err(ended) = known.key.check(now) {
            return Ok(Err(ended.into()));
        }
        let region = known.region.clone();
        let life = self.identity_of(&Travelling::Access.name_from(&region));
        let events = self.access.check_meet(key, life, now);
        if !events.is_empty() {
            self.stage_access(&events, Need::Own, now)?;
            tracing::info!(%key, %region, "somebody with a key of another region acts here from now on");
        }
        let met = self.access.principal_abroad(key);
        let bug = || BrokerError::Bug("what was just recorded is not there".into());
        Ok(Ok(met.ok_or_else(bug)?))
    }

    /// Records what other regions know a key by, of one that was made before there were any: only
    /// who shows it makes that possible. What finds no room now is recorded at a later use.
    pub fn let_travel(&mut self, key: KeyId, secret: &Secret, now: Timestamp) {
        let lacks = |key: &crate::access::Key| key.travels.is_none() && key.check(now).is_ok();
        if self.config.region.is_none() || !self.access.key(key).is_some_and(lacks) {
            return;
        }
        let event = AccessEvent::KeyTravels(KeyTravels {
            key,
            travels: KeyHasher::travelling(secret),
            at: now,
        });
        if let Err(error) = self.stage_access(&[event], Need::Producer, now) {
            tracing::debug!(%error, %key, "what other regions know a key by is recorded later");
        }
    }

    /// Goes by what the regions that belong to the directory say of keys and grants, and no others.
    pub(super) fn settle_trust(&mut self) {
        let known = self.regions.regions().map(|(name, _)| name.clone());
        let me = self.config.region.as_ref();
        let others = known.filter(|name| Some(name) != me);
        self.access.trust(others.collect());
    }

    /// Forgets the keys and grants of a region that is no peer any more, and removes the copy of
    /// what it has said of them.
    ///
    /// # Errors
    /// [`Refusal`]: there is no room for the record; nothing of it counts any more nonetheless.
    pub fn forget_access_of(&mut self, region: &RegionName, now: Timestamp) -> Result<(), Refusal> {
        self.access.forget_of(region);
        self.remove_travelled(&Travelling::Access.name_from(region), now)?;
        Ok(())
    }

    /// The regions of whose keys and grants a copy is here.
    #[must_use]
    pub fn regions_with_access(&self) -> Vec<RegionName> {
        let copies = self.copies();
        let topics = copies.filter(|(_, name, _)| Travelling::of(name) == Some(Travelling::Access));
        topics.map(|(_, _, copy)| copy.home).collect()
    }
}

/// What another region says of its organisations, keys and grants.
pub(super) struct AccessOf<'a> {
    pub access: &'a mut Access,
    pub region: &'a RegionName,
}

impl Fold for AccessOf<'_> {
    type Event = AccessEvent;
    const TOPIC: &'static str = super::journal::ACCESS;

    fn decode(record_type: &str, payload: &[u8]) -> Result<AccessEvent, EventError> {
        AccessEvent::decode(record_type, payload)
    }

    fn event(&mut self, _: Offset, event: AccessEvent) -> Result<(), IllegalEvent> {
        if let AccessEvent::OrgCreated(created) = &event
            && created.name.as_str() != DEFAULT_ORG_NAME
            && self.access.org_by_name(created.name.as_str()).is_some()
        {
            let (org, region) = (&created.name, self.region);
            tracing::warn!(%org, %region, "an organisation of that name is here too: they are one");
        }
        self.access.apply_of(self.region, &event)
    }

    /// A revocation may be in it: the state record that comes next tells.
    fn gap(&mut self, _: std::ops::Range<Offset>) -> Result<(), TopicError> {
        self.access.lacks_of(self.region);
        Ok(())
    }
}
