//! Control requests against a broker in memory. Shared by the target and the test suite.

#![allow(dead_code, reason = "the test suite uses a part of it")]

use bytes::BytesMut;
use npayload::format::Compression;
use npayload::protocol::frame::{MAX_FRAME_BYTES, decode_one};
use npayload::protocol::{ErrorCode, Frame, FrameDecoder, FrameHeader, Kind, Request, Response};
use npayload::storage::disk::MemoryDisk;

use super::directory::{batch, open, publish};

/// The kinds that carry JSON, in the order in which an input numbers them.
pub const KINDS: [Kind; 25] = [
    Kind::ChannelCreate,
    Kind::ChannelList,
    Kind::ChannelInfo,
    Kind::ChannelUpdate,
    Kind::ChannelDelete,
    Kind::ChannelResolve,
    Kind::ConsumerList,
    Kind::ConsumerPosition,
    Kind::ConsumerReset,
    Kind::ConsumerLag,
    Kind::ConsumerDelete,
    Kind::BrokerInfo,
    Kind::MarketCreate,
    Kind::MarketUpdate,
    Kind::MarketSubmit,
    Kind::MarketReview,
    Kind::MarketArchive,
    Kind::MarketSearch,
    Kind::MarketInfo,
    Kind::MarketSubscribe,
    Kind::MarketApprove,
    Kind::MarketCancel,
    Kind::MarketRate,
    Kind::MarketSubscriptions,
    Kind::MarketUsage,
];

/// Requests one after the other, parted by 0xFF, which no JSON holds: the number of a kind, then
/// its body. Each is answered, the answer can be said and understood, and none finds a bug.
pub fn control(bytes: &[u8]) {
    let disk = MemoryDisk::new();
    let desk = open(&disk, 1).expect("a new directory");
    for payload in ["first", "second"] {
        let records = [payload.as_bytes().to_vec()];
        let answer = desk.ask(publish("a", batch(Compression::None, &records)));
        assert!(matches!(answer, Response::Publish(_)), "{answer:?}");
    }
    for request in bytes.split(|byte| *byte == 0xFF).take(20) {
        let Some((kind, body)) = request.split_first() else {
            continue;
        };
        let kind = KINDS[usize::from(*kind) % KINDS.len()];
        let frame = Frame {
            header: FrameHeader::request(kind, 7),
            body: BytesMut::from(body),
        };
        let answer = match Request::decode(frame) {
            Ok(request) => desk.ask(request),
            Err(error) => Response::Error(error),
        };
        if let Response::Error(error) = &answer {
            assert!(!error.is(ErrorCode::Internal), "{error}");
        }
        let mut said = BytesMut::new();
        answer.encode(7, &mut said);
        let decoder = FrameDecoder::responses(MAX_FRAME_BYTES);
        let frame = decode_one(decoder, &said.freeze()).expect("one frame");
        assert_eq!(Response::decode(frame).as_ref(), Ok(&answer));
    }
    // It still works, and opens again.
    drop(desk);
    let desk = open(&disk, 2).expect("what it wrote itself");
    let _ = desk.ask(publish("a", batch(Compression::None, &[b"last".to_vec()])));
}
