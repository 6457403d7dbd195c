//! Who a connection speaks for, and the requests about organisations, keys and grants.

use std::net::SocketAddr;

use super::auditing::Draft;
use super::clock;
use super::dispatch::Answered;
use super::shared::Shared;
use crate::access::{
    Access, AccessError, Ask, Denied, Grant, GrantRequest, Key, KeyEnded, KeyRequest, NotAuthentic,
    Operation, Org, Principal, Secret,
};
use crate::broker::{Accepted, Broker, BrokerError, Refusal, Wait};
use crate::protocol::access::{
    AccessRequest, AccessResponse, GrantRow, GrantState, Grants, KeyMade, KeyRow, Keys, OrgRow,
    Orgs, ShownSecret,
};
use crate::protocol::control::{HelloRequest, PrincipalRow};
use crate::protocol::{ErrorCode, Request, Response, WireError};
use crate::tls::PeerCertificate;
use crate::types::{DEFAULT_ORG_NAME, OrgId, OrgName, Timestamp};

/// Whom a connection speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// Who it is.
    pub principal: Principal,
    /// The organisation that their names belong to; `None` is the default one.
    pub org: Option<OrgName>,
    /// Where they connect from; nowhere where there is no connection.
    pub peer: Option<SocketAddr>,
}

impl Caller {
    /// Whoever reaches a broker that asks nobody for a key.
    pub const LOCAL: Self = Self {
        principal: Principal::LOCAL,
        org: None,
        peer: None,
    };

    /// Whether a name is one of their own organisation's.
    pub fn owns(&self, org: Option<&str>) -> bool {
        org == self.org.as_ref().map(OrgName::as_str)
    }

    /// What the broker tells the client of itself.
    pub fn row(&self) -> PrincipalRow {
        let default = || OrgName::parse(DEFAULT_ORG_NAME).expect("a plain name");
        PrincipalRow {
            id: self.principal.id,
            org: self.org.clone().unwrap_or_else(default),
            key: self.principal.key,
        }
    }
}

/// Finds out who says hello.
///
/// # Errors
/// What to answer: no key where one is asked for, a key that is none, or one that has ended.
///
/// - `certificate`: what the TLS handshake has verified of the client. A key that is shown counts
///   more than a certificate that stands for one.
pub(super) fn authenticate(
    shared: &Shared,
    hello: &HelloRequest,
    certificate: Option<&PeerCertificate>,
) -> Result<Caller, WireError> {
    let Some(text) = &hello.api_key else {
        let certified = match certificate {
            Some(certificate) => certified(shared, certificate)?,
            None => None,
        };
        return certified.map_or_else(|| keyless(shared), Ok);
    };
    let secret: Secret = text.parse().map_err(no_key)?;
    caller_of(shared, &secret)
}

/// Whether somebody may read metrics and the whole of the health page: with a key that has the scope,
/// or without any where none is asked for.
pub(super) fn may_watch(shared: &Shared, key: Option<&str>) -> Result<(), WireError> {
    let caller = match key {
        None => keyless(shared)?,
        Some(text) => {
            let secret = text.parse().map_err(no_key)?;
            caller_of(shared, &secret)?
        }
    };
    let operation = Operation::Metrics;
    let broker = shared.broker();
    let allowed =
        broker
            .access()
            .authorize(&caller.principal, &Ask::Broker { operation }, clock::now());
    allowed.map_err(|error| denied(&error))
}

fn no_key(error: crate::access::InvalidSecret) -> WireError {
    WireError::new(ErrorCode::Unauthenticated, error.to_string())
}

/// Whom a client certificate stands for, if it stands for a key: of this region, else of another one.
fn certified(shared: &Shared, certificate: &PeerCertificate) -> Result<Option<Caller>, WireError> {
    let names = certificate.names.iter().chain(&certificate.common_name);
    let names: Vec<&str> = names.map(String::as_str).collect();
    let now = clock::now();
    let mut broker = shared.broker();
    let mut known = broker.access().authenticate_certificate(&names, now);
    if known.is_none()
        && let Some(key) = broker.access().key_abroad_by_certificate(&names, now)
    {
        let met = broker.meet(key, now);
        known = met
            .map_err(|refusal| super::answer::refused(&refusal.error))?
            .ok();
    }
    Ok(known.map(|principal| entered(&mut broker, principal, now)))
}

/// Who shows none.
pub(super) fn keyless(shared: &Shared) -> Result<Caller, WireError> {
    if shared.options.require_keys {
        let text = "this broker wants an API key";
        return Err(WireError::new(ErrorCode::Unauthenticated, text));
    }
    Ok(Caller::LOCAL)
}

/// Who shows a key, which counts as a use of it.
pub(super) fn caller_of(shared: &Shared, secret: &Secret) -> Result<Caller, WireError> {
    let now = clock::now();
    let mut broker = shared.broker();
    let mut known = broker.authenticate(secret, now);
    match &known {
        Ok(principal) => {
            if let Some(key) = principal.key {
                broker.let_travel(key, secret, now);
            }
        }
        Err(NotAuthentic::Unknown) => {
            let abroad = broker.authenticate_abroad(secret, now);
            known = abroad.map_err(|refusal| super::answer::refused(&refusal.error))?;
        }
        Err(_) => {}
    }
    let principal = known.map_err(|error| not_authentic(&error))?;
    Ok(entered(&mut broker, principal, now))
}

/// What is told whose key opens nothing.
pub(super) fn not_authentic(error: &NotAuthentic) -> WireError {
    match error {
        NotAuthentic::Ended(ended) => ended_key(ended),
        _ => WireError::new(ErrorCode::Unauthenticated, error.to_string()),
    }
}

/// Somebody who is let in, which counts as a use of their key.
fn entered(broker: &mut Broker, principal: Principal, now: Timestamp) -> Caller {
    if let Some(key) = principal.key {
        broker.use_key(key, now);
    }
    let org = broker.access().org(principal.org);
    let org = org.filter(|org| org.org != OrgId::DEFAULT);
    Caller {
        principal,
        org: org.map(|org| org.name.clone()),
        peer: None,
    }
}

/// What is told whose key has ended.
pub(super) fn ended_key(ended: &KeyEnded) -> WireError {
    let (code, key) = match ended {
        KeyEnded::Revoked { key } => (ErrorCode::KeyRevoked, key),
        KeyEnded::Expired { key } => (ErrorCode::KeyExpired, key),
    };
    WireError::new(code, ended.to_string()).with("key", key.to_string())
}

/// What is told who may not.
pub(super) fn denied(denied: &Denied) -> WireError {
    let text = denied.to_string();
    match denied {
        Denied::Scope { operation, on } => WireError::new(ErrorCode::Forbidden, text)
            .with("operation", operation.name())
            .with("on", on.as_str()),
        Denied::Grant {
            owner,
            operation,
            on,
        } => WireError::new(ErrorCode::Forbidden, text)
            .with("operation", operation.name())
            .with("on", on.as_str())
            .with("owner", owner.as_str()),
        Denied::Operator { operation } => {
            WireError::new(ErrorCode::Forbidden, text).with("operation", operation.name())
        }
        Denied::Ended(ended) => ended_key(ended),
        // Of an organisation as a whole; a channel that is hidden is answered as an absent one.
        Denied::Hidden => WireError::new(ErrorCode::OrgNotFound, text),
    }
}

/// What is told whose change was refused.
pub(super) fn refused(error: &AccessError) -> WireError {
    let plain = |code| WireError::new(code, error.to_string());
    match error {
        AccessError::Denied(error) => denied(error),
        AccessError::Ended(error) => ended_key(error),
        AccessError::OrgExists { name } => plain(ErrorCode::OrgExists).with("org", name.as_str()),
        AccessError::NotFound { what, id } => plain(match *what {
            "key" => ErrorCode::KeyNotFound,
            "grant" => ErrorCode::GrantNotFound,
            _ => ErrorCode::OrgNotFound,
        })
        .with("id", id.as_str()),
        AccessError::Limit(limit) => plain(ErrorCode::InvalidAccess)
            .with("field", limit.field)
            .with("found", limit.value)
            .with("limit", limit.least),
        AccessError::Invalid { field, rule } => plain(ErrorCode::InvalidAccess)
            .with("field", *field)
            .with("rule", rule.as_str()),
        AccessError::Escalation { operations } => {
            plain(ErrorCode::Escalation).with("operations", operations.as_str())
        }
        AccessError::TooMany { org, what, limit } => plain(ErrorCode::AccessLimit)
            .with("org", org.as_str())
            .with("what", *what)
            .with("limit", *limit as u64),
    }
}

/// Carries out a request about organisations, keys and grants. May make the file that keys are
/// hashed under, so it runs where waiting for the disk is fine.
pub(super) fn carry_out(shared: &Shared, caller: &Caller, request: &AccessRequest) -> Answered {
    let now = clock::now();
    let by = &caller.principal;
    {
        // Who administers nothing learns nothing, not even which organisations there are.
        let broker = shared.broker();
        let (operation, org) = (Operation::AccessAdmin, by.org);
        let ask = Ask::Org { operation, org };
        let allowed = broker.access().authorize(by, &ask, now);
        allowed.map_err(|error| BrokerError::Access(error.into()))?;
    }
    if matches!(request, AccessRequest::KeyCreate(_)) {
        make_secret(shared)?;
    }
    let mut broker = shared.broker();
    let act = Draft::of(&Request::Access(request.clone())).done_by(caller);
    let answered = broker.acting(act, |broker| change(broker, by, request, now));
    drop(broker);
    let (response, wait) = answered?;
    if wait.is_some() && !is_list(request) {
        shared.tell_access_changed();
    }
    Ok((Response::Access(Box::new(response)), wait))
}

fn change(
    broker: &mut Broker,
    by: &Principal,
    request: &AccessRequest,
    now: Timestamp,
) -> Result<(AccessResponse, Option<Wait>), Refusal> {
    Ok(match request {
        AccessRequest::OrgCreate(org) => {
            let made = broker.create_org(by, org.name.clone(), org.limits, now)?;
            accepted(made, |org| AccessResponse::OrgCreate(org_row(&org)))
        }
        AccessRequest::OrgLimit(org) => {
            let set = broker.limit_org(by, &org.name, org.limits, now)?;
            accepted(set, |org| AccessResponse::OrgLimit(org_row(&org)))
        }
        AccessRequest::OrgList(_) => {
            let access = broker.access();
            let is_theirs = |org: &&Org| by.org == OrgId::DEFAULT || org.org == by.org;
            let orgs = access.orgs().filter(is_theirs).map(org_row).collect();
            listed(broker, AccessResponse::OrgList(Orgs { orgs }))
        }
        AccessRequest::KeyCreate(key) => {
            let request = KeyRequest {
                org: org_of(broker.access(), by, key.org.as_ref())?,
                name: key.name.clone(),
                kind: key.kind,
                scopes: key.scopes.clone(),
                limits: key.limits,
                expires_at: key.expires_at,
                certificate: key.certificate.clone(),
            };
            let made = broker.create_key(by, request, now)?;
            let (access, wait) = (broker.access(), Some(made.wait));
            (
                AccessResponse::KeyCreate(key_made(access, made.value)),
                wait,
            )
        }
        AccessRequest::KeyRotate(rotate) => {
            let made = broker.rotate_key(by, rotate.key, rotate.overlap_ms, now)?;
            let (access, wait) = (broker.access(), Some(made.wait));
            (
                AccessResponse::KeyRotate(key_made(access, made.value)),
                wait,
            )
        }
        AccessRequest::KeyRevoke(revoke) => {
            let ended = broker.revoke_key(by, revoke.key, now)?;
            let row = key_row(broker.access(), &ended.value);
            (AccessResponse::KeyRevoke(row), Some(ended.wait))
        }
        AccessRequest::KeyList(list) => {
            let access = broker.access();
            let org = administered(access, by, list.org.as_ref(), now)?;
            let keys = access.keys(org).map(|key| key_row(access, key)).collect();
            listed(broker, AccessResponse::KeyList(Keys { keys }))
        }
        AccessRequest::GrantPropose(grant) => {
            let access = broker.access();
            let request = GrantRequest {
                owner: known_org(access, by, grant.owner.as_ref())?,
                guest: known_org(access, by, grant.guest.as_ref())?,
                channels: grant.channels.clone(),
                operation: grant.operation,
                expires_at: grant.expires_at,
            };
            let made = broker.propose_grant(by, request, now)?;
            let row = grant_row(broker.access(), &made.value, now);
            (AccessResponse::GrantPropose(row), Some(made.wait))
        }
        AccessRequest::GrantAccept(grant) => {
            let made = broker.accept_grant(by, grant.grant, now)?;
            let row = grant_row(broker.access(), &made.value, now);
            (AccessResponse::GrantAccept(row), Some(made.wait))
        }
        AccessRequest::GrantRevoke(grant) => {
            let ended = broker.revoke_grant(by, grant.grant, now)?;
            let row = grant_row(broker.access(), &ended.value, now);
            (AccessResponse::GrantRevoke(row), Some(ended.wait))
        }
        AccessRequest::GrantList(list) => {
            let access = broker.access();
            let org = administered(access, by, list.org.as_ref(), now)?;
            let grants = access.grants(org);
            let grants = grants.map(|grant| grant_row(access, grant, now)).collect();
            listed(broker, AccessResponse::GrantList(Grants { grants }))
        }
    })
}

fn is_list(request: &AccessRequest) -> bool {
    matches!(
        request,
        AccessRequest::OrgList(_) | AccessRequest::KeyList(_) | AccessRequest::GrantList(_)
    )
}

/// Makes the file that keys are hashed under, where there is none yet.
pub(super) fn make_secret(shared: &Shared) -> Result<(), Refusal> {
    let job = shared.broker().plan_secret();
    if let Some(job) = job {
        let end = job.run();
        let made = shared.broker().finish_secret(end);
        made.map_err(|error| BrokerError::Io(error.0))?;
    }
    Ok(())
}

fn accepted<T>(
    accepted: Accepted<T>,
    answer: impl FnOnce(T) -> AccessResponse,
) -> (AccessResponse, Option<Wait>) {
    (answer(accepted.value), Some(accepted.wait))
}

/// What a list shows may be staged only; it goes out once that is durable.
fn listed(broker: &Broker, answer: AccessResponse) -> (AccessResponse, Option<Wait>) {
    (answer, Some(broker.access_wait()))
}

/// The organisation of that name, one's own when none is named. For who runs the broker an unknown
/// one is told as such; for all others it is hidden, as those that exist are.
fn org_of(access: &Access, by: &Principal, name: Option<&OrgName>) -> Result<OrgId, AccessError> {
    let Some(name) = name else { return Ok(by.org) };
    let known = access.org_by_name(name.as_str()).map(|org| org.org);
    let is_seen = |org: &OrgId| by.org == OrgId::DEFAULT || *org == by.org;
    known.filter(is_seen).ok_or_else(|| unknown_org(name))
}

/// The other side of a grant has to be named, so whether an organisation exists is no secret.
fn known_org(
    access: &Access,
    by: &Principal,
    name: Option<&OrgName>,
) -> Result<OrgId, AccessError> {
    let Some(name) = name else { return Ok(by.org) };
    let known = access.org_by_name(name.as_str());
    known.map(|org| org.org).ok_or_else(|| unknown_org(name))
}

fn unknown_org(name: &OrgName) -> AccessError {
    AccessError::NotFound {
        what: "organisation",
        id: name.to_string(),
    }
}

/// An organisation whose keys and grants somebody may look at.
fn administered(
    access: &Access,
    by: &Principal,
    name: Option<&OrgName>,
    now: Timestamp,
) -> Result<OrgId, AccessError> {
    let org = org_of(access, by, name)?;
    let operation = Operation::AccessAdmin;
    access.authorize(by, &Ask::Org { operation, org }, now)?;
    Ok(org)
}

fn org_row(org: &Org) -> OrgRow {
    OrgRow {
        name: org.name.clone(),
        limits: org.limits,
        created_at: org.created_at,
    }
}

fn name_of(access: &Access, org: OrgId) -> OrgName {
    let known = access.org(org).map(|org| org.name.clone());
    known.expect("organisations are never removed")
}

fn key_made(access: &Access, (key, secret): (Key, Secret)) -> KeyMade {
    KeyMade {
        key: key_row(access, &key),
        secret: ShownSecret(secret),
    }
}

fn key_row(access: &Access, key: &Key) -> KeyRow {
    KeyRow {
        id: key.key,
        org: name_of(access, key.org),
        principal: key.principal,
        name: key.name.clone(),
        kind: key.kind,
        hint: key.hint.clone(),
        certificate: key.certificate.clone(),
        scopes: key.scopes.clone(),
        limits: key.limits,
        created_at: key.created_at,
        expires_at: key.expires_at,
        used_at: key.used_at,
        revoked_at: key.revoked_at,
        replaces: key.replaces,
    }
}

fn grant_row(access: &Access, grant: &Grant, now: Timestamp) -> GrantRow {
    let state = match grant {
        Grant {
            revoked_at: Some(_),
            ..
        } => GrantState::Revoked,
        Grant {
            expires_at: Some(at),
            ..
        } if *at <= now => GrantState::Expired,
        Grant {
            accepted_at: Some(_),
            ..
        } => GrantState::Active,
        _ => GrantState::Proposed,
    };
    GrantRow {
        id: grant.grant,
        state,
        owner: name_of(access, grant.owner),
        guest: name_of(access, grant.guest),
        proposer: name_of(access, grant.proposer),
        channels: grant.channels.clone(),
        operation: grant.operation,
        proposed_at: grant.proposed_at,
        accepted_at: grant.accepted_at,
        expires_at: grant.expires_at,
        revoked_at: grant.revoked_at,
    }
}
