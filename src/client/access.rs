//! Organisations, keys and grants as typed methods of the client. All need a key whose scopes hold
//! `accessAdmin`, or a broker that asks for none.

use super::error::RequestError;
use super::handle::{Client, Retry};
use crate::access::{Limits, Secret};
use crate::protocol::access::{
    AccessRequest, AccessResponse, GrantAccept, GrantList, GrantPropose, GrantRevoke, GrantRow,
    KeyCreate, KeyList, KeyRevoke, KeyRotate, KeyRow, OrgCreate, OrgLimit, OrgList, OrgRow,
};
use crate::protocol::{Request, Response};
use crate::types::{GrantId, KeyId, OrgName};

/// Takes the answer of the right kind out of a response about access.
macro_rules! access {
    ($client:expr, $retry:expr, $kind:ident($body:expr)) => {
        match $client
            .call(&Request::Access(AccessRequest::$kind($body)), $retry)
            .await?
        {
            Response::Access(answer) => match *answer {
                AccessResponse::$kind(answer) => Ok(answer),
                _ => Err(unexpected(crate::protocol::Kind::$kind)),
            },
            _ => Err(unexpected(crate::protocol::Kind::$kind)),
        }
    };
}

fn unexpected(kind: crate::protocol::Kind) -> RequestError {
    RequestError::Unexpected { kind: kind.name() }
}

impl Client {
    /// Creates an organisation. Not sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `ORG_EXISTS`, `FORBIDDEN` and `INVALID_ACCESS`.
    pub async fn create_org(&self, name: OrgName, limits: Limits) -> Result<OrgRow, RequestError> {
        access!(self, Retry::Unsafe, OrgCreate(OrgCreate { name, limits }))
    }

    /// The organisations that one may see: all in the default one, elsewhere one's own.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `FORBIDDEN`.
    pub async fn orgs(&self) -> Result<Vec<OrgRow>, RequestError> {
        Ok(access!(self, Retry::Safe, OrgList(OrgList {}))?.orgs)
    }

    /// Sets all limits of an organisation; those left out do not bind it any more.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `ORG_NOT_FOUND`, `FORBIDDEN` and `INVALID_ACCESS`.
    pub async fn limit_org(&self, name: OrgName, limits: Limits) -> Result<OrgRow, RequestError> {
        access!(self, Retry::Safe, OrgLimit(OrgLimit { name, limits }))
    }

    /// Makes a key. Its text comes with the answer and is kept nowhere. Not sent again after a lost
    /// connection: a key whose text nobody saw is to be revoked.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `ORG_NOT_FOUND`, `FORBIDDEN`, `ESCALATION`,
    /// `INVALID_ACCESS` and `ACCESS_LIMIT`.
    pub async fn create_key(&self, key: KeyCreate) -> Result<(KeyRow, Secret), RequestError> {
        let made = access!(self, Retry::Unsafe, KeyCreate(key))?;
        Ok((made.key, made.secret.0))
    }

    /// The keys of an organisation, one's own when none is named, the oldest first.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `ORG_NOT_FOUND` and `FORBIDDEN`.
    pub async fn keys(&self, org: Option<OrgName>) -> Result<Vec<KeyRow>, RequestError> {
        Ok(access!(self, Retry::Safe, KeyList(KeyList { org }))?.keys)
    }

    /// Replaces a key by another that stands for the same principal and may do the same. The old one
    /// works for `overlap_ms` milliseconds more. Not sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `KEY_NOT_FOUND`, `KEY_REVOKED`, `KEY_EXPIRED`,
    /// `FORBIDDEN`, `ESCALATION` and `ACCESS_LIMIT`.
    pub async fn rotate_key(
        &self,
        key: KeyId,
        overlap_ms: u32,
    ) -> Result<(KeyRow, Secret), RequestError> {
        let rotate = KeyRotate { key, overlap_ms };
        let made = access!(self, Retry::Unsafe, KeyRotate(rotate))?;
        Ok((made.key, made.secret.0))
    }

    /// Ends a key at once, on open connections too. Not sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `KEY_NOT_FOUND`, `KEY_REVOKED` and `FORBIDDEN`.
    pub async fn revoke_key(&self, key: KeyId) -> Result<KeyRow, RequestError> {
        access!(self, Retry::Unsafe, KeyRevoke(KeyRevoke { key }))
    }

    /// Proposes that one organisation uses channels of another. Not sent again after a lost
    /// connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `ORG_NOT_FOUND`, `FORBIDDEN`, `INVALID_ACCESS` and
    /// `ACCESS_LIMIT`.
    pub async fn propose_grant(&self, grant: GrantPropose) -> Result<GrantRow, RequestError> {
        access!(self, Retry::Unsafe, GrantPropose(grant))
    }

    /// The grants that an organisation has a side in, one's own when none is named.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `ORG_NOT_FOUND` and `FORBIDDEN`.
    pub async fn grants(&self, org: Option<OrgName>) -> Result<Vec<GrantRow>, RequestError> {
        Ok(access!(self, Retry::Safe, GrantList(GrantList { org }))?.grants)
    }

    /// Agrees to a grant that the other side proposed. Not sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `GRANT_NOT_FOUND`, `FORBIDDEN` and `INVALID_ACCESS`.
    pub async fn accept_grant(&self, grant: GrantId) -> Result<GrantRow, RequestError> {
        access!(self, Retry::Unsafe, GrantAccept(GrantAccept { grant }))
    }

    /// Ends a grant, or declines one. Not sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `GRANT_NOT_FOUND`, `FORBIDDEN` and `INVALID_ACCESS`.
    pub async fn revoke_grant(&self, grant: GrantId) -> Result<GrantRow, RequestError> {
        access!(self, Retry::Unsafe, GrantRevoke(GrantRevoke { grant }))
    }
}
