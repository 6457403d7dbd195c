//! The answer to a hello.

use crate::protocol::control::{self, HelloRequest, HelloResponse};
use crate::protocol::{ErrorCode, WireError};
use crate::server::access::{self, Caller};
use crate::server::shared::Shared;
use crate::tls::PeerCertificate;

/// Answers a hello with who it is taken for, or refuses the versions it offers or its key.
pub(in crate::server) fn hello(
    shared: &Shared,
    hello: &HelloRequest,
    certificate: Option<&PeerCertificate>,
) -> Result<(HelloResponse, Caller), WireError> {
    use crate::protocol::version::{MAX_PROTOCOL, MIN_PROTOCOL, negotiate};
    if negotiate(hello.min_version, hello.max_version).is_none() {
        let text = format!(
            "the client speaks protocol versions {}..={}, this broker {MIN_PROTOCOL}..={MAX_PROTOCOL}",
            hello.min_version, hello.max_version
        );
        return Err(WireError::new(ErrorCode::UnsupportedVersion, text)
            .with("min", MIN_PROTOCOL)
            .with("max", MAX_PROTOCOL));
    }
    let caller = access::authenticate(shared, hello, certificate)?;
    let response = HelloResponse {
        broker: "npayload".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: control::VersionRange {
            min: MIN_PROTOCOL,
            max: MAX_PROTOCOL,
        },
        kinds: control::kind_rows(),
        limits: control::Limits {
            frame_bytes: crate::protocol::frame::MAX_FRAME_BYTES,
            control_frame_bytes: crate::protocol::frame::MAX_CONTROL_FRAME_BYTES,
            batch_bytes: u32::try_from(crate::format::MAX_BATCH_BYTES).unwrap_or(u32::MAX),
            record_bytes: u32::try_from(crate::format::MAX_RECORD_BYTES).unwrap_or(u32::MAX),
            in_flight_bytes: shared.options.in_flight_bytes,
        },
        directory_id: shared.directory_id,
        epoch: shared.epoch,
        principal: Some(caller.row()),
    };
    Ok((response, caller))
}
