//! Organisations, keys and grants on the record: a change is checked, recorded on the topic
//! `__access` in one entry, and applied.

use super::core::{Accepted, Broker, Refusal, Wait};
use super::error::BrokerError;
use super::journal::{OwnRecord, own_batch};
use crate::access::{
    Access, AccessEvent, Grant, GrantRequest, Key, KeyHasher, KeyRequest, Limits, NewKey,
    NotAuthentic, Org, Principal, SECRET_BYTES, Secret,
};
use crate::storage::Need;
use crate::types::{GrantId, KeyId, OrgName, Timestamp};

impl Broker {
    /// Organisations, keys and grants, and the judgement of who may do what.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// What an answer about organisations, keys and grants waits for.
    #[must_use]
    pub fn access_wait(&self) -> Wait {
        self.wait_for(self.access_log)
    }

    /// Who shows this key. Takes the same time for every text, but for what the look-up of its
    /// hash takes, which tells nothing of other keys.
    ///
    /// # Errors
    /// [`NotAuthentic`]; only who has the whole key learns that it is revoked or expired.
    pub fn authenticate(&self, secret: &Secret, now: Timestamp) -> Result<Principal, NotAuthentic> {
        let hasher = self.secret.hasher().ok_or(NotAuthentic::Unknown)?;
        self.access.authenticate(&hasher.hash(secret), now)
    }

    /// Creates an organisation.
    ///
    /// # Errors
    /// [`Refusal`]: not an administrator of the default organisation, a taken name, a limit that
    /// is too low, or an entry that was not taken.
    pub fn create_org(
        &mut self,
        by: &Principal,
        name: OrgName,
        limits: Limits,
        now: Timestamp,
    ) -> Result<Accepted<Org>, Refusal> {
        let checked = self.access.check_create_org(by, name.clone(), limits, now);
        self.record_access(checked.map(|event| vec![event]), now)?;
        self.org_named(&name)
    }

    /// Gives an organisation other limits.
    ///
    /// # Errors
    /// [`Refusal`]: not an administrator of the default organisation, no such organisation, a
    /// limit that is too low, or an entry that was not taken.
    pub fn limit_org(
        &mut self,
        by: &Principal,
        name: &OrgName,
        limits: Limits,
        now: Timestamp,
    ) -> Result<Accepted<Org>, Refusal> {
        let checked = self.access.check_limit_org(by, name, limits, now);
        self.record_access(checked.map(|event| vec![event]), now)?;
        self.org_named(name)
    }

    /// Creates a key. Its text is in the answer, and nowhere else.
    ///
    /// # Errors
    /// [`BrokerError::NoSecret`] until [`Broker::plan_secret`] was run and booked; other
    /// refusals come first. Else [`Refusal`]: not an administrator there, a member that breaks a
    /// rule, more than the one who asks may do, or an entry that was not taken.
    pub fn create_key(
        &mut self,
        by: &Principal,
        request: KeyRequest,
        now: Timestamp,
    ) -> Result<Accepted<(Key, Secret)>, Refusal> {
        let random = self.random_secret();
        let secret = Secret::new(request.kind, &random);
        let new = self.new_key(&secret, now);
        let key = new.key;
        let checked = self.access.check_create_key(by, request, new, now);
        self.record_key(checked.map(|event| vec![event]), key, secret, now)
    }

    /// Replaces a key by another that stands for the same principal and may do the same; both
    /// work for a while.
    ///
    /// - `overlap_ms`: how long, at least 0; the old key's own expiry still holds.
    ///
    /// # Errors
    /// As for [`Broker::create_key`], and where there is no such key or it has ended.
    pub fn rotate_key(
        &mut self,
        by: &Principal,
        key: KeyId,
        overlap_ms: u32,
        now: Timestamp,
    ) -> Result<Accepted<(Key, Secret)>, Refusal> {
        let random = self.random_secret();
        let kind = self.access.key(key).map(|old| old.kind);
        let secret = Secret::new(kind.unwrap_or(crate::access::KeyKind::Live), &random);
        let new = self.new_key(&secret, now);
        let id = new.key;
        let checked = self.access.check_rotate_key(by, key, overlap_ms, new, now);
        self.record_key(checked.map(Vec::from), id, secret, now)
    }

    /// Ends a key at once.
    ///
    /// # Errors
    /// [`Refusal`]: not an administrator there, no such key, one that is revoked already, or an
    /// entry that was not taken.
    pub fn revoke_key(
        &mut self,
        by: &Principal,
        key: KeyId,
        now: Timestamp,
    ) -> Result<Accepted<Key>, Refusal> {
        let checked = self.access.check_revoke_key(by, key, now);
        self.record_access(checked.map(|event| vec![event]), now)?;
        self.accepted(self.access.key(key).cloned())
    }

    /// Proposes a grant for one side.
    ///
    /// # Errors
    /// [`Refusal`]: an administrator of neither side, a member that breaks a rule, or an entry
    /// that was not taken.
    pub fn propose_grant(
        &mut self,
        by: &Principal,
        request: GrantRequest,
        now: Timestamp,
    ) -> Result<Accepted<Grant>, Refusal> {
        let grant = GrantId(self.new_uuid(now));
        let checked = self.access.check_propose_grant(by, request, grant, now);
        self.record_access(checked.map(|event| vec![event]), now)?;
        self.accepted(self.access.grant(grant).cloned())
    }

    /// Accepts a grant for the other side.
    ///
    /// # Errors
    /// [`Refusal`]: no such grant, not the other side's administrator, one that has ended, or an
    /// entry that was not taken.
    pub fn accept_grant(
        &mut self,
        by: &Principal,
        grant: GrantId,
        now: Timestamp,
    ) -> Result<Accepted<Grant>, Refusal> {
        let checked = self.access.check_accept_grant(by, grant, now);
        self.record_access(checked.map(|event| vec![event]), now)?;
        self.accepted(self.access.grant(grant).cloned())
    }

    /// Ends a grant, or declines one.
    ///
    /// # Errors
    /// [`Refusal`]: no such grant, an administrator of neither side, one that is revoked already,
    /// or an entry that was not taken.
    pub fn revoke_grant(
        &mut self,
        by: &Principal,
        grant: GrantId,
        now: Timestamp,
    ) -> Result<Accepted<Grant>, Refusal> {
        let checked = self.access.check_revoke_grant(by, grant, now);
        self.record_access(checked.map(|event| vec![event]), now)?;
        self.accepted(self.access.grant(grant).cloned())
    }

    /// Records that a key is in use, once an hour. What finds no room now is recorded at a later
    /// use: it holds up nobody, and leaves the space that others need.
    pub fn use_key(&mut self, key: KeyId, now: Timestamp) {
        let Some(event) = self.access.use_to_record(key, now) else {
            return;
        };
        if let Err(error) = self.stage_access(&[event], Need::Producer, now) {
            tracing::debug!(%error, %key, "the use of a key is recorded later");
        }
    }

    /// Identity and hash of a key to be made.
    fn new_key(&mut self, secret: &Secret, now: Timestamp) -> NewKey {
        let key = KeyId(self.new_uuid(now));
        // Before there is a file, the hash serves the check alone: it is never recorded.
        let nobodys = || KeyHasher::new([0; SECRET_BYTES].into()).hash(secret);
        let hasher = self.secret.hasher();
        NewKey {
            key,
            hash: hasher.map_or_else(nobodys, |hasher| hasher.hash(secret)),
            travels: (self.config.region.is_some()).then(|| KeyHasher::travelling(secret)),
            hint: secret.hint(),
        }
    }

    /// A UUID of version 7.
    pub(super) fn new_uuid(&mut self, now: Timestamp) -> u128 {
        let [high, low] = [(self.random)(), (self.random)()].map(u64::to_le_bytes);
        let mut random = [0; 10];
        random[..8].copy_from_slice(&high);
        random[8..].copy_from_slice(&low[..2]);
        let ms = u64::try_from(now.0).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(ms, &random)
            .into_uuid()
            .as_u128()
    }

    fn record_key(
        &mut self,
        checked: Result<Vec<AccessEvent>, crate::access::AccessError>,
        key: KeyId,
        secret: Secret,
        now: Timestamp,
    ) -> Result<Accepted<(Key, Secret)>, Refusal> {
        if checked.is_ok() && self.secret.hasher().is_none() {
            return Err(BrokerError::NoSecret.into());
        }
        self.record_access(checked, now)?;
        let Accepted { value, wait } = self.accepted(self.access.key(key).cloned())?;
        Ok(Accepted {
            value: (value, secret),
            wait,
        })
    }

    /// Records what an administrator changes, or refuses it. A refusal waits for the changes
    /// before it that it tells of.
    fn record_access(
        &mut self,
        checked: Result<Vec<AccessEvent>, crate::access::AccessError>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let wait = self.access_wait();
        let revealing = |error| Refusal::revealing(error, Some(wait));
        let events = checked.map_err(|error| revealing(error.into()))?;
        self.stage_access(&events, Need::Own, now)
            .map_err(revealing)
    }

    /// Records events in one entry, with the audit record of the act that they are, and applies
    /// them.
    pub(super) fn stage_access(
        &mut self,
        events: &[AccessEvent],
        need: Need,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let records: Vec<OwnRecord> = events.iter().map(OwnRecord::of_access).collect();
        let mut batches = vec![own_batch(self.access_log, &records)?];
        // That a key is used is no act of an administrator.
        let drafted = match need {
            Need::Own => self.draft_audit(&mut batches, now)?,
            Need::Producer | Need::Freeing => None,
        };
        // What can't be staged must not be applied, and what can't follow must not be staged.
        self.storage.check_stage(&batches, need)?;
        for event in events {
            let applied = self.access.apply(event);
            applied.map_err(|error| BrokerError::Bug(error.to_string().into()))?;
        }
        let staged = self.storage.stage_for(&mut batches, need, now)?;
        self.access_events += events.len() as u64;
        self.booked(self.access_log, &staged);
        self.book_audit(drafted, &staged);
        Ok(())
    }

    fn org_named(&self, name: &OrgName) -> Result<Accepted<Org>, Refusal> {
        self.accepted(self.access.org_by_name(name.as_str()).cloned())
    }

    /// The answer to a change that was just applied.
    fn accepted<T>(&self, value: Option<T>) -> Result<Accepted<T>, Refusal> {
        let bug = || BrokerError::Bug("what was just recorded is not there".into());
        Ok(Accepted {
            value: value.ok_or_else(bug)?,
            wait: self.access_wait(),
        })
    }
}
