//! Golden frames, and decoders against hostile bytes.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use npayload::protocol::control::{ChannelCreate, ConfigChange, Place};
use npayload::protocol::frame::{MAX_CONTROL_FRAME_BYTES, MAX_FRAME_BYTES, encode_frame};
use npayload::protocol::*;
use proptest::prelude::*;
use tokio_util::codec::Decoder;

use super::fixtures::{Message, examples, produced_batch};

fn golden_dir() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/frames"))
}

#[test]
fn every_frame_is_byte_stable_and_reads_back() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut claimed = BTreeSet::new();
    for example in examples() {
        let path = golden_dir().join(example.name).with_extension("bin");
        let bytes = example.message.encode();
        if update {
            std::fs::write(&path, &bytes).unwrap();
        }
        let golden = Bytes::from(std::fs::read(&path).unwrap());
        assert_eq!(
            bytes, golden,
            "{}: a change of the protocol needs a version",
            example.name
        );
        assert_eq!(
            example.message.decode_like(&golden),
            Ok(example.message.clone())
        );
        claimed.insert(format!("{}.bin", example.name));
    }
    let found = std::fs::read_dir(golden_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(
        found.collect::<BTreeSet<_>>(),
        claimed,
        "a golden file that no test claims"
    );
}

#[test]
fn every_kind_has_an_example_of_both_sides() {
    let names: BTreeSet<_> = examples().iter().map(|example| example.name).collect();
    for api in npayload::protocol::api::APIS {
        for side in ["request", "response"] {
            let name = format!("{}_{side}", api.name.replace('.', "_"));
            assert!(names.contains(name.as_str()), "{name}");
        }
    }
}

#[test]
fn a_frame_cut_anywhere_is_not_a_frame_yet_and_a_binary_body_cut_anywhere_is_refused() {
    for example in examples() {
        let whole = example.message.encode();
        for cut in 0..whole.len() {
            let mut src = BytesMut::from(&whole[..cut]);
            let found = FrameDecoder::responses(MAX_FRAME_BYTES).decode(&mut src);
            assert!(matches!(found, Ok(None)), "{} cut at {cut}", example.name);
        }
        for cut in 16..whole.len() {
            let mut bytes = BytesMut::from(&whole[..cut]);
            let length = u32::try_from(cut - 4).unwrap();
            bytes[0..4].copy_from_slice(&length.to_le_bytes());
            let found = example.message.decode_like(&bytes.freeze());
            // The last part of these bodies is a batch or batches: whatever is left, it is judged
            // by the room that knows batches.
            let open_end = matches!(
                example.message,
                Message::Request(Request::Publish(_) | Request::LinkForward(_))
                    | Message::Response(
                        Response::Fetch(_) | Response::FetchBeyond(_) | Response::LinkForward(_)
                    )
            );
            assert!(found.is_err() || open_end, "{} cut at {cut}", example.name);
        }
    }
}

#[test]
fn frames_come_out_whole_however_the_bytes_arrive() {
    let all: Vec<_> = examples()
        .into_iter()
        .filter(|example| matches!(example.message, Message::Request(_)))
        .collect();
    let stream: Vec<u8> = all
        .iter()
        .flat_map(|example| example.message.encode())
        .collect();
    for step in [1, 7, 16, 100, stream.len()] {
        let mut decoder = FrameDecoder::requests();
        let mut src = BytesMut::new();
        let mut found = Vec::new();
        for bytes in stream.chunks(step) {
            src.extend_from_slice(bytes);
            while let Some(frame) = decoder.decode(&mut src).unwrap() {
                found.push(Message::Request(Request::decode(frame).unwrap()));
            }
        }
        assert!(src.is_empty());
        let sent: Vec<_> = all.iter().map(|example| example.message.clone()).collect();
        assert_eq!(found, sent);
    }
}

fn decode(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
    FrameDecoder::requests().decode(&mut BytesMut::from(bytes))
}

fn frame_start(length: u32, kind: u16) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&1u16.to_le_bytes());
    bytes.extend_from_slice(&99u64.to_le_bytes());
    bytes
}

#[test]
fn a_length_is_refused_before_its_bytes_come_and_the_answer_names_value_and_limit() {
    let limits = [
        (1, 64 << 10),
        (16, MAX_FRAME_BYTES),
        (17, MAX_FRAME_BYTES),
        (18, MAX_CONTROL_FRAME_BYTES),
        (32, MAX_CONTROL_FRAME_BYTES),
        (12345, MAX_CONTROL_FRAME_BYTES),
    ];
    for (kind, limit) in limits {
        assert!(decode(&frame_start(limit, kind)).unwrap().is_none());
        let error = decode(&frame_start(limit + 1, kind)).unwrap_err();
        let (correlation, wire) = error.to_wire().unwrap();
        assert_eq!(correlation, 99);
        assert!(wire.is(ErrorCode::FrameTooLong), "{wire}");
        assert_eq!(wire.detail_u64("length"), Some(u64::from(limit) + 1));
        assert_eq!(wire.detail_u64("limit"), Some(u64::from(limit)));
    }
    for length in [0u32, 11] {
        let error = decode(&length.to_le_bytes()).unwrap_err();
        assert!(error.to_wire().unwrap().1.is(ErrorCode::InvalidFrame));
    }
    let error = decode(&frame_start(u32::MAX, 16)).unwrap_err();
    assert!(error.to_wire().unwrap().1.is(ErrorCode::FrameTooLong));
}

#[test]
fn an_announced_length_does_not_make_the_decoder_allocate_it() {
    let mut src = BytesMut::from(&frame_start(MAX_FRAME_BYTES, 16)[..]);
    let found = FrameDecoder::requests().decode(&mut src).unwrap();
    assert!(found.is_none());
    assert!(src.capacity() <= 8 << 20, "{}", src.capacity());
}

#[test]
fn the_batch_of_a_publish_is_not_copied() {
    let message = examples()
        .into_iter()
        .find(|example| example.name == "publish_request")
        .unwrap()
        .message;
    let mut src = BytesMut::from(&message.encode()[..]);
    let range = src.as_ptr_range();
    let frame = FrameDecoder::requests().decode(&mut src).unwrap().unwrap();
    let Request::Publish(request) = Request::decode(frame).unwrap() else {
        panic!("not a publish");
    };
    assert!(range.contains(&request.batch.as_ptr()));
    assert_eq!(request.batch, produced_batch());
}

fn request(kind: u16, version: u16, body: &[u8]) -> Result<Request, WireError> {
    let header = FrameHeader {
        kind,
        version,
        correlation: 1,
    };
    Request::decode(Frame {
        header,
        body: BytesMut::from(body),
    })
}

#[test]
fn an_unknown_kind_or_version_gets_a_typed_error() {
    for kind in [0, 3, 67, 0x8001, 0xFFFF] {
        assert!(
            request(kind, 1, b"")
                .unwrap_err()
                .is(ErrorCode::UnknownKind)
        );
    }
    for version in [0, 2, u16::MAX] {
        let error = request(2, version, b"").unwrap_err();
        assert!(error.is(ErrorCode::UnsupportedVersion));
        assert_eq!(
            (error.detail_u64("min"), error.detail_u64("max")),
            (Some(1), Some(1))
        );
    }
}

#[test]
fn a_bad_name_an_internal_topic_and_an_unknown_field_get_errors_of_their_own() {
    let create = |body: &str| request(32, 1, body.as_bytes()).unwrap_err();
    for name in ["", "a b", "a..b", "é", "a\\u0000", &"x".repeat(257)] {
        let error = create(&format!(r#"{{"name":"{name}"}}"#));
        assert!(error.is(ErrorCode::InvalidName), "{name}: {error}");
    }
    assert!(create(r#"{"name":"__channels"}"#).is(ErrorCode::InternalTopic));
    assert!(create(r#"{"name":"a","colour":1}"#).is(ErrorCode::InvalidRequest));
    assert!(create(r#"{"name":7}"#).is(ErrorCode::InvalidRequest));
    assert!(create(r#"{"name":"a"} x"#).is(ErrorCode::InvalidRequest));
    assert!(create(&"[".repeat(10_000)).is(ErrorCode::InvalidRequest));
    let error = request(49, 1, br#"{"channel":"a","consumer":"b c"}"#).unwrap_err();
    assert!(error.is(ErrorCode::InvalidName));

    let mut body = BytesMut::new();
    let mut publish = |name: &str| {
        body.clear();
        encode_frame(FrameHeader::default(), &mut body, |dst| {
            dst.extend_from_slice(&u16::try_from(name.len()).unwrap().to_le_bytes());
            dst.extend_from_slice(name.as_bytes());
            dst.extend_from_slice(&[0; 25]);
        });
        request(16, 1, &body[16..])
    };
    assert!(publish("ok").is_ok());
    assert!(
        publish("__consumers")
            .unwrap_err()
            .is(ErrorCode::InternalTopic)
    );
    assert!(publish("a/b/c").unwrap_err().is(ErrorCode::InvalidName));
}

#[test]
fn a_config_tells_null_from_absent() {
    let Ok(Request::ChannelCreate(ChannelCreate { config, .. })) = request(
        32,
        1,
        br#"{"name":"a","config":{"retentionDays":null,"segmentBytes":4096}}"#,
    ) else {
        panic!("refused");
    };
    let wanted = ConfigChange {
        retention_days: Some(None),
        segment_bytes: Some(4096),
        ..ConfigChange::default()
    };
    assert_eq!(config, wanted);
}

#[test]
fn what_names_no_agent_and_a_misspelt_member_within_a_member_get_errors_of_their_own() {
    let code = |kind, body: &str| request(kind, 1, body.as_bytes()).unwrap_err().known();
    let session = "ses_01998a2b-0c3d-7e4f-8001-020304050620";
    let message = "msg_01998a2b-0c3d-7e4f-8001-020304050630";
    for agent in ["", "a b", "agt_7", "agent://Acme/x", "agent://acme"] {
        let participants = r#"{"agentId":"a","role":"coordinator"}"#;
        for (kind, body) in [
            (104, format!(r#"{{"agent":"{agent}"}}"#)),
            (
                113,
                format!(r#"{{"sessionId":"{session}","id":"{message}","from":"{agent}"}}"#),
            ),
            (
                113,
                format!(
                    r#"{{"sessionId":"{session}","id":"{message}","from":"a","to":"{agent}"}}"#
                ),
            ),
            (
                110,
                format!(
                    r#"{{"topic":"t","participants":[{participants},{{"agentId":"{agent}","role":"observer"}}]}}"#
                ),
            ),
        ] {
            assert_eq!(
                code(kind, &body),
                Some(ErrorCode::InvalidAgentReference),
                "{body}"
            );
        }
    }
    assert_eq!(
        code(100, r#"{"name":"agt_x"}"#),
        Some(ErrorCode::InvalidName)
    );
    for (kind, body) in [
        (100, r#"{"name":"a","colour":1}"#),
        (100, r#"{"name":"a","availability":{"state":"busy"}}"#),
        (
            100,
            r#"{"name":"a","maxTransaction":{"value":1,"currency":"EUR","per":"day"}}"#,
        ),
        (102, r#"{"agent":"a"}"#),
        // To revoke a key has to be said.
        (103, r#"{"agent":"a"}"#),
        (105, r#"{"limit":-1}"#),
        (120, r#"{"callId":"tcl_1","tool":"t","agent":"a"}"#),
        (175, r#"{"limit":-1}"#),
        (175, r#"{"sort":"best"}"#),
        (
            175,
            r#"{"maxPrice":{"amount":1,"currency":"EUR","per":"day"}}"#,
        ),
        (
            172,
            r#"{"listingId":"sub_01998a2b-0c3d-7e4f-8001-020304050670"}"#,
        ),
        (
            177,
            r#"{"listingId":"lst_01998a2b-0c3d-7e4f-8001-020304050670","termsHash":"x"}"#,
        ),
    ] {
        assert_eq!(code(kind, body), Some(ErrorCode::InvalidRequest), "{body}");
    }
    let send = format!(
        r#"{{"sessionId":"{session}","id":"{message}","from":"a","constraints":{{"trust":1}}}}"#
    );
    assert_eq!(code(113, &send), Some(ErrorCode::InvalidRequest));
    let revoke = request(103, 1, br#"{"agent":"a","publicKey":null}"#);
    assert!(revoke.is_ok(), "{revoke:?}");
}

#[test]
fn a_price_has_the_members_of_its_kind_alone_and_a_bad_agent_of_a_listing_is_named() {
    let create = |pricing: &str, agent: &str| {
        let body = format!(
            r#"{{"title":"t","category":"c","capabilities":["x"],"agents":["{agent}"],"pricing":{pricing}}}"#
        );
        request(170, 1, body.as_bytes()).map_err(|error| error.known())
    };
    for good in [
        r#"{"type":"free"}"#,
        r#"{"type":"perCall","currency":"EUR","unitPrice":250}"#,
        r#"{"type":"monthly","currency":"EUR","price":900}"#,
        r#"{"type":"tiered","currency":"EUR","tiers":[{"upTo":5,"unitPrice":0},{"upTo":null,"unitPrice":5}]}"#,
    ] {
        assert!(create(good, "a").is_ok(), "{good}");
    }
    for bad in [
        "{}",
        r#""free""#,
        r#"{"type":"gratis"}"#,
        r#"{"type":"free","unitPrice":1}"#,
        r#"{"type":"free","note":"x"}"#,
        r#"{"type":"perCall","currency":"EUR"}"#,
        r#"{"type":"perCall","currency":"euro","unitPrice":250}"#,
        r#"{"type":"perCall","currency":"EUR","unitPrice":2.5}"#,
        r#"{"type":"perCall","currency":"EUR","unitPrice":-1}"#,
        r#"{"type":"monthly","currency":"EUR","unitPrice":1}"#,
        r#"{"type":"tiered","currency":"EUR","tiers":[{"upTo":null,"unitPrice":5,"from":1}]}"#,
    ] {
        assert_eq!(
            create(bad, "a"),
            Err(Some(ErrorCode::InvalidRequest)),
            "{bad}"
        );
    }
    let free = r#"{"type":"free"}"#;
    assert_eq!(create(free, "a b"), Err(Some(ErrorCode::InvalidName)));
}

#[test]
fn a_change_of_a_listing_tells_null_from_absent() {
    use npayload::protocol::asp::AspRequest;
    let sample = |body: &str| {
        let id = "lst_01998a2b-0c3d-7e4f-8001-020304050670";
        let body = format!(r#"{{"listingId":"{id}"{body}}}"#);
        let Ok(Request::Asp(asp)) = request(171, 1, body.as_bytes()) else {
            panic!("{body}");
        };
        match *asp {
            AspRequest::MarketUpdate(update) => update
                .sample
                .map(|sample| sample.map(|sample| sample.text().to_owned())),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(sample(""), None);
    assert_eq!(sample(r#","sample":null"#), Some(None));
    assert_eq!(
        sample(r#","sample":{"a": 1}"#),
        Some(Some(r#"{"a": 1}"#.to_owned()))
    );
}

#[test]
fn a_payload_goes_through_byte_by_byte() {
    use npayload::protocol::asp::AspRequest;
    let payload = r#"{ "b": 1.50, "a": 10000000000000000001, "b": "\u00e9" }"#;
    let body = format!(
        r#"{{"sessionId":"ses_01998a2b-0c3d-7e4f-8001-020304050620","id":"msg_01998a2b-0c3d-7e4f-8001-020304050630","from":"a","payload":{payload}}}"#
    );
    let request = request(113, 1, body.as_bytes()).unwrap();
    let Request::Asp(asp) = &request else {
        panic!("{request:?}");
    };
    let AspRequest::SessionSend(send) = &**asp else {
        panic!("{request:?}");
    };
    assert_eq!(send.payload.as_ref().unwrap().text(), payload);
    let mut again = BytesMut::new();
    request.encode(1, &mut again);
    assert_eq!(&again[16..], body.as_bytes());
}

#[test]
fn a_place_has_exactly_one_field() {
    let read = |text: &str| serde_json::from_str::<Place>(text);
    assert_eq!(read(r#"{"start":true}"#).unwrap(), Place::Start);
    assert_eq!(read(r#"{"back":3}"#).unwrap(), Place::Back(3));
    for bad in [
        "{}",
        r#"{"start":false}"#,
        r#"{"start":true,"end":true}"#,
        r#"{"offset":-1}"#,
        r#"{"offset":1,"back":1}"#,
        r#"{"middle":true}"#,
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

/// Whatever comes, the decoders answer or refuse; they never panic.
fn feed(bytes: &[u8]) {
    for mut decoder in [
        FrameDecoder::requests(),
        FrameDecoder::responses(MAX_FRAME_BYTES),
    ] {
        let mut src = BytesMut::from(bytes);
        while let Ok(Some(frame)) = decoder.decode(&mut src) {
            if let Ok(request) = Request::decode(frame.clone()) {
                let mut again = BytesMut::new();
                request.encode(frame.header.correlation, &mut again);
            }
            let _ = Response::decode(frame);
        }
    }
}

proptest! {
    #[test]
    fn random_bodies_never_panic(
        kind in 0u16..190, response: bool, body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let kind = if response { kind | 0x8000 } else { kind };
        let header = FrameHeader { kind, version: 1, correlation: 1 };
        let mut bytes = BytesMut::new();
        encode_frame(header, &mut bytes, |dst| dst.extend_from_slice(&body));
        feed(&bytes);
        feed(&body);
    }

    #[test]
    fn mutated_frames_never_panic(
        pick: proptest::sample::Index,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let all = examples();
        let mut bytes = pick.get(&all).message.encode().to_vec();
        for (at, value) in changes {
            *at.get_mut(&mut bytes[..]) = value;
        }
        feed(&bytes);
    }
}
