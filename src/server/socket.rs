//! A client's stream, plain or inside TLS.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::tls::PeerCertificate;

/// Room made for each read.
const READ_BYTES: usize = 64 * 1024;

/// A peer that takes nothing is not told that the connection ends.
const GOODBYE: Duration = Duration::from_secs(1);

/// The stream of one connection.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Reads what has come, once something has. While nothing has, the buffer is left as it is: a
    /// connection that is idle keeps none.
    ///
    /// - `spare`: memory to read into where the buffer has none.
    pub async fn read_some(
        &mut self,
        input: &mut BytesMut,
        spare: impl Fn() -> Option<BytesMut>,
    ) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => {
                std::future::poll_fn(|cx| {
                    ready!(socket.poll_read_ready(cx))?;
                    if input.capacity() == 0
                        && let Some(spare) = spare()
                    {
                        *input = spare;
                    }
                    input.reserve(room_to_make(input.len()));
                    // A read that leaves room has emptied the socket: no other finds out.
                    pin!(socket.read_buf(input)).poll(cx)
                })
                .await
            }
            Self::Tls(stream) => std::future::poll_fn(|cx| poll_records(stream, input, cx)).await,
        }
    }

    /// Whether what is written goes to the peer as it is, and nobody looks at it here.
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// What the handshake has verified of the client, if it has shown a certificate.
    pub fn peer_certificate(&self) -> Option<PeerCertificate> {
        let Self::Tls(stream) = self else {
            return None;
        };
        let chain = stream.get_ref().1.peer_certificates()?;
        PeerCertificate::read(chain.first()?).ok()
    }

    /// Ends the connection in order: over TLS the peer is told that nothing was cut off.
    pub async fn close(mut self) {
        if let Self::Tls(stream) = &mut self
            && let Ok(Err(error)) = tokio::time::timeout(GOODBYE, stream.shutdown()).await
        {
            tracing::debug!(%error, "the peer was gone before it was told of the end");
        }
    }
}

/// Room for the next read behind so many bytes. In the middle of a large frame there is what the rest
/// of it needs: more would move all that has come to another place.
fn room_to_make(len: usize) -> usize {
    if len < READ_BYTES { READ_BYTES } else { 1 }
}

/// Everything that records which are here already hold, up to the room of one read.
fn poll_records(
    stream: &mut TlsStream<TcpStream>,
    input: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let (socket, session) = stream.get_ref();
    if session.wants_read() {
        ready!(socket.poll_read_ready(cx))?;
    }
    input.reserve(READ_BYTES);
    let mut total = 0;
    while total < READ_BYTES && input.len() < input.capacity() {
        match pin!(stream.read_buf(input)).poll(cx) {
            Poll::Ready(Ok(more)) if more > 0 => total += more,
            // An end or an error is met again by the next read.
            Poll::Ready(_) | Poll::Pending if total > 0 => break,
            Poll::Pending => return Poll::Pending,
            Poll::Ready(ended) => return Poll::Ready(ended),
        }
    }
    Poll::Ready(Ok(total))
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            // Each slice is encrypted from where it lies.
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
