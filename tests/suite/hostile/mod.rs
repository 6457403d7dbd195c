//! What hostile and broken clients send, byte by byte: each gets the documented error, and nobody
//! else and no log notices.

mod batches;
mod bodies;
mod crowd;
mod cuts;
mod frames;
mod http;
mod limits;
mod patience;

use crate::raw::*;

/// A server with a log that must not change, and a client that must go on being served.
struct Watched {
    server: Server,
    witness: Raw,
    log: Vec<(u64, Vec<u8>)>,
}

impl Watched {
    fn new() -> Self {
        Self::of(Server::start())
    }

    fn of(server: Server) -> Self {
        let mut witness = server.client();
        for n in 0..3u8 {
            witness
                .publish("kept", &batch(&[&[n; 20], b"x"]))
                .published();
        }
        let log = witness.all("kept");
        assert_eq!(log.len(), 6);
        Self {
            server,
            witness,
            log,
        }
    }

    /// The channels and consumers there are.
    fn all_channels(&mut self) -> (serde_json::Value, serde_json::Value) {
        let channels = self.witness.json(33, &serde_json::json!({}));
        let consumers = self.witness.json(51, &serde_json::json!({}));
        (channels.json(), consumers.json())
    }

    /// The witness and a new connection are served, and the log is what it was.
    fn is_untouched(&mut self) {
        self.witness.request(PING, b"").of(PING);
        assert_eq!(self.witness.all("kept"), self.log);
        assert_eq!(self.server.client().all("kept"), self.log);
    }
}
