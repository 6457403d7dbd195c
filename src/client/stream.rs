//! The stream to a broker, plain or inside TLS.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::ConnectError;
use super::url::BrokerUrl;
use crate::tls::{ClientTls, TlsFailure};

/// The two halves of a stream.
pub(super) struct Stream {
    pub(super) reader: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) writer: Box<dyn AsyncWrite + Send + Unpin>,
}

impl Stream {
    /// Connects, and shakes hands where there is TLS.
    pub(super) async fn open(
        url: &BrokerUrl,
        tls: Option<&ClientTls>,
    ) -> Result<Self, ConnectError> {
        let io = |source: io::Error| ConnectError::Io {
            url: url.to_string(),
            source: Arc::new(source),
        };
        let socket = TcpStream::connect((url.host.as_str(), url.port))
            .await
            .map_err(io)?;
        socket.set_nodelay(true).map_err(io)?;
        let Some(tls) = tls else {
            let (reader, writer) = socket.into_split();
            return Ok(Self {
                reader: Box::new(reader),
                writer: Box::new(writer),
            });
        };
        let name = tls.server_name(&url.host)?;
        let connecting = TlsConnector::from(tls.config()).connect(name, socket);
        match connecting.await {
            Ok(stream) => {
                let (reader, writer) = tokio::io::split(stream);
                Ok(Self {
                    reader: Box::new(reader),
                    writer: Box::new(writer),
                })
            }
            Err(error) => match TlsFailure::of_client(&error, tls.trusted()) {
                Some(source) => Err(ConnectError::Tls {
                    url: url.to_string(),
                    source,
                }),
                None if error.kind() == io::ErrorKind::UnexpectedEof => Err(ConnectError::Tls {
                    url: url.to_string(),
                    source: TlsFailure::Closed,
                }),
                None => Err(io(error)),
            },
        }
    }
}
