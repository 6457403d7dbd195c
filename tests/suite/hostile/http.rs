//! The HTTP port under clients that hold on to it: whoever watches the broker is answered.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Watched;
use crate::raw::*;

fn served() -> (Watched, SocketAddr) {
    let watched = Watched::of(Server::start_with(|options| {
        options.http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    }));
    let http = watched.server.http_address();
    (watched, http)
}

fn connect(http: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(http).expect("the port listens");
    let patience = Some(Duration::from_secs(15));
    stream.set_read_timeout(patience).expect("a socket option");
    stream
}

/// The status line and body of one request on a connection of its own.
fn get(http: SocketAddr, path: &str) -> String {
    let mut stream = connect(http);
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn is_watched(http: SocketAddr) {
    let health = get(http, "/healthz");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    let metrics = get(http, "/metrics");
    assert!(metrics.contains("npayload_requests_total"), "{metrics}");
}

#[test]
fn health_and_metrics_answer_while_a_thousand_others_hold_the_port() {
    let (mut watched, http) = served();
    let mut slow = Vec::new();
    for n in 0..1000 {
        let mut stream = connect(http);
        // Nothing, or the beginning of a head that never ends.
        if n % 2 == 0 {
            // Already made way for another, perhaps.
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nX-Slow: ");
        }
        slow.push(stream);
        if n % 100 == 0 {
            is_watched(http);
        }
    }
    is_watched(http);
    watched.is_untouched();
    // They have made way: what they hold does not grow with their number.
    for stream in slow.iter_mut().take(100) {
        let ended = stream.read_to_end(&mut Vec::new());
        let is_cut = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionReset;
        assert!(ended.as_ref().err().is_none_or(is_cut), "{ended:?}");
    }
    drop(slow);
    is_watched(http);
}

#[test]
fn requests_without_end_and_answers_not_taken_hold_up_nobody() {
    let (mut watched, http) = served();
    let mut deaf = connect(http);
    let ask = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    let patience = Some(Duration::from_millis(300));
    deaf.set_write_timeout(patience).expect("a socket option");
    for _ in 0..1000 {
        if deaf.write_all(ask.as_bytes()).is_err() {
            break;
        }
    }
    let mut endless = connect(http);
    endless.write_all(b"GET / HTTP/1.1\r\n").expect("taken");
    // A head far above its limit is refused, or the connection cut while it is still coming.
    let is_cut = (0..10_000).any(|_| endless.write_all(&[b'x'; 1000]).is_err());
    let mut answer = Vec::new();
    let ended = endless.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    assert!(
        is_cut || ended.is_err() || text.starts_with("HTTP/1.1 4"),
        "{text}"
    );
    for garbage in [
        &b"\0\0\0\0\0\0\0\0"[..],
        b"\x16\x03\x01\x02\x00",
        b"POST /metrics HTTP/9.9\r\n\r\n",
    ] {
        let mut stream = connect(http);
        stream.write_all(garbage).expect("taken");
        is_watched(http);
    }
    assert!(get(http, "/nothing").starts_with("HTTP/1.1 404"));
    is_watched(http);
    watched.is_untouched();
}
