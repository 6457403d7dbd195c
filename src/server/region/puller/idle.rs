//! What a link costs on which nothing happens.

use bytes::BytesMut;

use super::WAIT_MS;
use super::standing::MOST;
use crate::protocol::region::{LinkLogs, LinkLogsPage};
use crate::protocol::{
    LinkFetchRequest, LinkFetchResponse, RegionRequest, RegionResponse, Request, Response,
};
use crate::types::Timestamp;

/// Bytes of a packet around what it carries: Ethernet, IPv6, TCP with timestamps.
const PACKET: usize = 14 + 40 + 32;
/// What a connection pings when nothing comes, at most every 15 s.
const PINGS: usize = 4;

fn asked(request: &Request) -> usize {
    let mut bytes = BytesMut::new();
    request.encode(1, &mut bytes);
    // It is acknowledged with a packet of its own at worst.
    bytes.len() + 2 * PACKET
}

fn answered(response: &Response) -> usize {
    let mut bytes = BytesMut::new();
    response.encode(1, &mut bytes);
    bytes.len() + 2 * PACKET
}

#[test]
fn an_idle_link_costs_less_than_200_bytes_a_second() {
    let fetch = Request::LinkFetch(LinkFetchRequest {
        max_bytes: 1,
        max_wait_ms: WAIT_MS,
        held: Vec::new(),
    });
    let nothing = Response::LinkFetch(LinkFetchResponse {
        number: 1,
        now: Timestamp(1),
        items: Vec::new(),
    });
    let patterns = (0..10).map(|n| format!("department-{n}.models.>").parse().unwrap());
    let logs = Request::Region(Box::new(RegionRequest::LinkLogs(LinkLogs {
        patterns: patterns.collect(),
        topics: Vec::new(),
        after: Some(1_000_000),
        wait_ms: WAIT_MS,
        cursor: None,
    })));
    let unchanged = Response::Region(Box::new(RegionResponse::LinkLogs(LinkLogsPage {
        version: 1_000_000,
        logs: Vec::new(),
        next: None,
    })));
    let standing = MOST * (asked(&fetch) + answered(&nothing));
    let list = asked(&logs) + answered(&unchanged);
    let pings = PINGS * (asked(&Request::Ping) + answered(&Response::Pong));
    let each_wait = standing + list + pings;
    let each_second = each_wait * 1000 / WAIT_MS as usize;
    assert!(each_second <= 200, "{each_second} bytes a second");
}
