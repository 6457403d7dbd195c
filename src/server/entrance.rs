//! From an accepted socket to a stream that may be served: whether it begins with TLS, and the
//! handshake. All of it in the connection's own task, within one bounded time.
//!
//! ```text
//! first 3 bytes ─┬─ TLS, and a certificate here ──▶ handshake ──▶ served
//!                ├─ no TLS, and none here ────────────────────▶ served
//!                └─ one without the other ──▶ told in plain bytes, logged, closed
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::clock;
use super::shared::Shared;
use super::socket::Socket;
use crate::tls::{self, OPENING_BYTES};

/// The first bytes and the handshake come within this time.
const ENTRANCE_TIMEOUT: Duration = Duration::from_secs(10);

/// How soon it is looked again after the first of three bytes.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A client that is turned away has this long to read why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// As much of what a client sends is read away, so that it can still read why it was turned away.
const MAX_DRAINED_BYTES: usize = 64 * 1024;

/// Lines of the log, each second, about clients that are turned away.
const MAX_LINES: u32 = 10;

/// What a port says to a client that speaks TLS to it, or does not, where it should not, or should.
pub(super) struct LastWords {
    pub tls_required: Vec<u8>,
    pub tls_unavailable: Vec<u8>,
}

/// Lets a client in, or turns it away; none when it is not to be served.
///
/// - `tls`: what handshakes of this port are made with; none where it speaks without TLS.
/// - `words`: called when the client is turned away for what it speaks.
pub(super) async fn enter(
    shared: &Shared,
    socket: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    words: impl FnOnce() -> LastWords,
) -> Option<Socket> {
    let peer = socket.peer_addr().ok();
    let entering = tokio::time::timeout(ENTRANCE_TIMEOUT, open(socket, tls));
    let entered = tokio::select! {
        entered = entering => entered,
        () = shared.stop.cancelled() => return None,
    };
    let refused = match entered {
        Ok(Ok(socket)) => return Some(socket),
        Ok(Err(refused)) => refused,
        Err(_) => {
            let limit = ENTRANCE_TIMEOUT.as_secs();
            Refused::Handshake(None, format!("its handshake was not over within {limit} s"))
        }
    };
    match refused {
        Refused::Gone => {}
        Refused::NeedsTls(socket) => {
            let why = "it speaks without TLS, and this port only with TLS";
            complain(shared, peer, why);
            tell(socket, &words().tls_required).await;
        }
        Refused::HasNoTls(socket) => {
            let why = "it speaks TLS, and this port has no certificate to answer with: see \
                       --tls-cert and --tls-key";
            complain(shared, peer, why);
            tell(socket, &words().tls_unavailable).await;
        }
        Refused::Handshake(socket, why) => {
            complain(shared, peer, &why);
            if let Some(socket) = socket {
                tell(socket, &[]).await;
            }
        }
    }
    None
}

/// Why a client is not served.
enum Refused {
    /// It went before it had said anything.
    Gone,
    /// It speaks without TLS to a port that has it.
    NeedsTls(TcpStream),
    /// It speaks TLS to a port that has none.
    HasNoTls(TcpStream),
    /// TLS itself has told the client why, where that was possible.
    Handshake(Option<TcpStream>, String),
}

async fn open(socket: TcpStream, tls: Option<Arc<ServerConfig>>) -> Result<Socket, Refused> {
    let is_tls = begins_with_tls(&socket).await.map_err(|_| Refused::Gone)?;
    let Some(config) = tls else {
        return if is_tls {
            Err(Refused::HasNoTls(socket))
        } else {
            Ok(Socket::Plain(socket))
        };
    };
    if !is_tls {
        return Err(Refused::NeedsTls(socket));
    }
    let accepting = TlsAcceptor::from(config).accept(socket).into_fallible();
    match accepting.await {
        Ok(stream) => Ok(Socket::Tls(Box::new(stream))),
        Err((error, socket)) => Err(Refused::Handshake(
            Some(socket),
            tls::why_the_client_failed(&error),
        )),
    }
}

/// Looks at the first bytes without taking them.
///
/// # Errors
/// When the peer ends the connection before them.
async fn begins_with_tls(socket: &TcpStream) -> io::Result<bool> {
    let mut first = [0; OPENING_BYTES];
    loop {
        let seen = socket.peek(&mut first).await?;
        match &first[..seen] {
            [] => return Err(io::ErrorKind::UnexpectedEof.into()),
            [0x16] | [0x16, 3] => tokio::time::sleep(LOOK_AGAIN).await,
            seen => return Ok(tls::is_client_hello(seen)),
        }
    }
}

/// Says why, and waits a little until it was read: a socket closed with bytes unread throws away
/// what was said.
async fn tell(mut socket: TcpStream, words: &[u8]) {
    let told = async {
        socket.write_all(words).await?;
        socket.shutdown().await?;
        let mut drained = [0; 4096];
        for _ in 0..MAX_DRAINED_BYTES / drained.len() {
            if socket.read(&mut drained).await? == 0 {
                break;
            }
        }
        Ok::<(), io::Error>(())
    };
    if !matches!(tokio::time::timeout(LAST_WORDS, told).await, Ok(Ok(()))) {
        tracing::debug!("a client that was turned away did not read why");
    }
}

fn complain(shared: &Shared, peer: Option<SocketAddr>, why: &str) {
    shared.metrics.refused_handshakes.increment(1);
    let Some(unsaid) = shared.complaints.may_say() else {
        return;
    };
    let peer = peer.map_or_else(|| "a client".to_owned(), |peer| peer.to_string());
    if unsaid > 0 {
        tracing::warn!(
            unsaid,
            "clients were turned away without a line of their own"
        );
    }
    tracing::warn!(peer, "a client was turned away: {why}");
}

/// Lets a few lines a second into the log, so that whoever knocks all day does not fill it.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    second: i64,
    lines: u32,
    unsaid: u64,
}

impl Complaints {
    /// How many lines were left out since the last one, where another may be written now.
    fn may_say(&self) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.at(clock::now().0 / 1000)
    }
}

impl Said {
    fn at(&mut self, second: i64) -> Option<u64> {
        if self.second != second {
            (self.second, self.lines) = (second, 0);
        }
        if self.lines == MAX_LINES {
            self.unsaid += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_a_few_lines_a_second_and_says_how_many_were_left_out() {
        let mut said = Said::default();
        let lines = (0..MAX_LINES + 3).filter_map(|_| said.at(1)).count();
        assert_eq!(lines, MAX_LINES as usize);
        assert_eq!(said.at(2), Some(3));
        assert_eq!(said.at(2), Some(0));
        assert_eq!(said.at(7), Some(0));
    }
}
