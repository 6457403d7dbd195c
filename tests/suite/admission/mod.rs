//! Nobody where they don't belong: keys, scopes, organisations and what connects them, through the
//! server's doors and through the real binary.

mod certificates;
mod command_line;
mod keys;
mod leaks;
mod limits;
mod record;
mod table;
mod walls;

use std::path::Path;
use std::sync::Arc;

use npayload::access::{KeyKind, Limits, Operation, Pattern, Scope, Secret};
use npayload::protocol::access::{
    AccessRequest, AccessResponse, GrantPropose, KeyCreate, KeyMade, OrgCreate,
};
use npayload::protocol::{ErrorCode, Request, Response, WireError};
use npayload::server::{Desk, ServeOptions};
use npayload::storage::disk::MemoryDisk;
use npayload::types::{GrantId, OrgName};

/// A desk over a disk in memory.
pub fn desk(options: ServeOptions) -> Desk {
    let mut options = options;
    options.broker.storage.journal_file_bytes = 1 << 20;
    options.broker.storage.max_round_bytes = 128 << 10;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state ^ state >> 29
    };
    let disk = Arc::new(MemoryDisk::new());
    Desk::open(disk, Path::new("data"), options, Box::new(random)).unwrap()
}

pub fn org(name: &str) -> OrgName {
    OrgName::parse(name).unwrap()
}

pub fn scope(operations: &[Operation], channels: &[&str]) -> Scope {
    Scope {
        operations: operations.iter().copied().collect(),
        channels: channels.iter().map(|one| one.parse().unwrap()).collect(),
        agents: vec![Pattern::all()],
    }
}

/// A request about access, of who shows a key or of whoever runs the broker, and its answer.
pub fn ask(
    desk: &Desk,
    key: Option<&Secret>,
    request: AccessRequest,
) -> Result<AccessResponse, WireError> {
    let request = Request::Access(request);
    let response = match key {
        Some(_) => desk.ask_with(key, request),
        None => desk.ask(request),
    };
    match response {
        Response::Access(answer) => Ok(*answer),
        Response::Error(error) => Err(error),
        other => panic!("{other:?}"),
    }
}

pub fn make_org(desk: &Desk, name: &str) {
    let request = AccessRequest::OrgCreate(OrgCreate {
        name: org(name),
        limits: Limits::default(),
    });
    ask(desk, None, request).unwrap();
}

pub fn key_request(name: &str, scopes: Vec<Scope>) -> KeyCreate {
    KeyCreate {
        org: None,
        name: name.to_owned(),
        kind: KeyKind::Test,
        scopes,
        limits: Limits::default(),
        expires_at: None,
        certificate: None,
    }
}

pub fn make_key(desk: &Desk, of: Option<&str>, scopes: Vec<Scope>) -> KeyMade {
    let request = KeyCreate {
        org: of.map(org),
        ..key_request("a test's", scopes)
    };
    match ask(desk, None, AccessRequest::KeyCreate(request)) {
        Ok(AccessResponse::KeyCreate(made)) => made,
        other => panic!("{other:?}"),
    }
}

/// What a proposal is answered with.
pub fn propose(
    desk: &Desk,
    key: Option<&Secret>,
    guest: &str,
    operation: Operation,
    channels: &str,
) -> GrantId {
    let request = AccessRequest::GrantPropose(GrantPropose {
        owner: None,
        guest: Some(org(guest)),
        channels: channels.parse().unwrap(),
        operation,
        expires_at: None,
    });
    match ask(desk, key, request) {
        Ok(AccessResponse::GrantPropose(grant)) => grant.id,
        other => panic!("{other:?}"),
    }
}

/// The code of an error, if it is one.
pub fn code(response: &Response) -> Option<ErrorCode> {
    match response {
        Response::Error(error) => Some(error.known().unwrap()),
        _ => None,
    }
}
