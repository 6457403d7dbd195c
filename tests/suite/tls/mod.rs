//! TLS on both ports, by a broker in this process and by the real binary: who is let in, who is
//! turned away, what both sides are told, and new certificates while connections stay.

mod client_certificates;
mod command_line;
mod log;
mod maps;
pub mod pki;
mod refusals;
mod reload;
mod safe_defaults;
mod serving;
mod start;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use npayload::client::{Client, ClientBuilder, ConnectError};
use npayload::server::{Running, ServeOptions, start};
use npayload::tls::TlsFailure;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use pki::Pki;

/// A broker with the certificate of `pki` on both ports.
async fn broker(pki: &Pki, change: impl FnOnce(&mut ServeOptions)) -> Running {
    let mut options = crate::server::options(&pki.path("data"));
    options.http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    options.tls = Some(pki.server_options());
    change(&mut options);
    start(options).await.expect("starts")
}

/// The URL under which the certificate of a [`Pki`] is good.
fn url(running: &Running) -> String {
    format!("npayload+tls://localhost:{}", running.listen().port())
}

/// A client that gives up soon.
fn quick() -> ClientBuilder {
    Client::builder().connect_timeout(Duration::from_secs(10))
}

/// Why TLS kept this client out.
async fn failure(builder: ClientBuilder, url: &str) -> TlsFailure {
    match builder.connect(url).await {
        Err(ConnectError::Tls { source, .. }) => source,
        other => panic!("a failure of TLS, not {other:?}"),
    }
}

/// A stream that shook hands as `config` says.
async fn raw_tls(
    address: SocketAddr,
    config: rustls::ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await
}

/// One GET over `stream`: the whole answer.
async fn get<S>(mut stream: S, path: &str) -> String
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}
