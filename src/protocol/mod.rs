//! Wire bytes ⇄ requests and responses. Sans-io: nothing here opens a socket, reads a clock or
//! waits; the server and the client feed bytes in and take bytes out.
//!
//! - [`frame`]: the envelope of every message, and the decoder that finds it in a stream of bytes.
//! - [`access`]: the requests about organisations, keys and grants.
//! - [`asp`]: the requests about agents, their sessions and their tool calls.
//! - [`region`]: the requests between regions, and about them.
//! - [`api`]: the one table of request kinds, their versions and limits.
//! - [`request`] and [`response`]: the bodies, binary for the data path, JSON for control.
//! - [`control`]: the JSON bodies.
//! - [`error_code`]: the one table of errors.
//! - [`version`]: what the hello settles.
//!
//! Every byte is specified by `docs/wire-protocol.md`; a test compares its tables with these. A
//! published batch is carried without being looked at: its rules belong to the `format` room.

pub mod access;
pub mod api;
mod aside;
mod asking;
pub mod asp;
pub mod control;
mod directory;
pub mod error_code;
mod forward;
pub mod frame;
mod json_body;
mod json_kinds;
mod link_find;
pub mod logs;
mod primitive;
pub mod region;
mod region_moves;
pub mod request;
pub mod response;
pub mod version;

pub use access::{AccessRequest, AccessResponse};
pub use api::{Api, Encoding, Kind};
pub use asking::{PublishAsks, Whereabouts};
pub use asp::{AspRequest, AspResponse};
pub use error_code::{ErrorCode, WireError};
pub use forward::{LinkForwardRequest, LinkForwardResponse};
pub use frame::{Frame, FrameDecoder, FrameError, FrameHeader, MAX_CONTROL_FRAME_BYTES};
pub use primitive::BodyError;
pub use region::{LinkFetchRequest, LinkFetchResponse, LinkItem, RegionRequest, RegionResponse};
pub use request::{
    AtomicCommit, AtomicPart, CommitRequest, ExpectedPosition, FetchBeyondRequest, FetchFrom,
    FetchRequest, Lacking, PublishAtomicRequest, PublishRequest, PublishTarget, Request,
};
pub use response::{
    CommitResponse, FetchHead, FetchResponse, PublishAtomicResponse, PublishResponse, Response,
    ResponseError,
};
