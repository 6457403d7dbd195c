//! Feeds arbitrary bytes to the decoders of frames, requests and answers.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use npayload::protocol::frame::MAX_FRAME_BYTES;
use npayload::protocol::{FrameDecoder, Request, Response};
use tokio_util::codec::Decoder;

fuzz_target!(|bytes: &[u8]| {
    for mut decoder in [
        FrameDecoder::requests(),
        FrameDecoder::responses(MAX_FRAME_BYTES),
    ] {
        let mut src = BytesMut::from(bytes);
        while let Ok(Some(frame)) = decoder.decode(&mut src) {
            if let Ok(request) = Request::decode(frame.clone()) {
                // Whatever is understood can be said again, and is understood the same.
                let mut again = BytesMut::new();
                request.encode(frame.header.correlation, &mut again);
                let frame = FrameDecoder::requests()
                    .decode(&mut again)
                    .expect("an encoded request is within the limits");
                if let Some(frame) = frame {
                    assert_eq!(Request::decode(frame), Ok(request));
                }
            }
            let _ = Response::decode(frame);
        }
    }
});
