//! A bare connection: frames out, frames in, nothing between. What it measures is the broker.

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use npayload::access::Secret;
use npayload::client::{BrokerUrl, Client};
use npayload::protocol::control::HelloRequest;
use npayload::protocol::{FetchRequest, FetchResponse, FrameDecoder, Request, Response};
use npayload::tls::ClientTls;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::codec::Decoder;

/// Largest answer that is read.
const MAX_ANSWER_BYTES: u32 = 80 << 20;

/// Room made for each read.
const READ_BYTES: usize = 256 << 10;

/// Frames above this are not copied together with others before they are written.
const COPY_BYTES: usize = 16 << 10;

/// As much is gathered for one write.
const WRITE_BYTES: usize = 64 << 10;

/// How a broker is reached.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its host and port.
    pub url: BrokerUrl,
    /// With which certificates; none where it is spoken to without TLS.
    pub tls: Option<ClientTls>,
    /// The API key to show, if one is needed.
    pub api_key: Option<Secret>,
}

impl Target {
    /// The Rust client, connected.
    pub async fn client(&self) -> Result<Client> {
        let mut builder = Client::builder().name("npayload-bench");
        if let Some(tls) = &self.tls {
            builder = builder.tls(tls.clone());
        }
        if let Some(key) = &self.api_key {
            builder = builder.api_key(key.clone());
        }
        Ok(builder.connect(&self.url.to_string()).await?)
    }
}

/// A connection that has said hello.
pub struct Wire {
    /// Where requests go.
    pub sending: Sending,
    /// Where answers come from.
    pub receiving: Receiving,
}

/// The half of a connection that requests go through.
pub struct Sending {
    socket: Box<dyn AsyncWrite + Send + Unpin>,
    output: BytesMut,
    next: u64,
}

/// The half of a connection that answers come through.
pub struct Receiving {
    socket: Box<dyn AsyncRead + Send + Unpin>,
    input: BytesMut,
    decoder: FrameDecoder,
}

impl Wire {
    /// Connects, over TLS where the target has it.
    pub async fn connect(target: &Target) -> Result<Self> {
        let url = &target.url;
        let socket = TcpStream::connect((url.host.as_str(), url.port))
            .await
            .with_context(|| format!("connecting to {url}; start one with `npayload serve`"))?;
        socket.set_nodelay(true)?;
        let (read, write): (Box<dyn AsyncRead + Send + Unpin>, _) = match &target.tls {
            None => {
                let (read, write) = socket.into_split();
                let write: Box<dyn AsyncWrite + Send + Unpin> = Box::new(write);
                (Box::new(read), write)
            }
            Some(tls) => {
                let name = tls.server_name(&url.host)?;
                let connecting = TlsConnector::from(tls.config()).connect(name, socket);
                let stream = connecting
                    .await
                    .with_context(|| format!("shaking hands with {url}"))?;
                let (read, write) = tokio::io::split(stream);
                (Box::new(read), Box::new(write))
            }
        };
        let mut wire = Self {
            sending: Sending {
                socket: write,
                output: BytesMut::with_capacity(2 * WRITE_BYTES),
                next: 1,
            },
            receiving: Receiving {
                socket: read,
                input: BytesMut::with_capacity(READ_BYTES),
                decoder: FrameDecoder::responses(MAX_ANSWER_BYTES),
            },
        };
        let hello = HelloRequest {
            client: "npayload-bench".to_owned(),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            api_key: target.api_key.as_ref().map(|key| key.expose().to_owned()),
            min_version: 1,
            max_version: 1,
        };
        wire.sending.request(&Request::Hello(hello));
        wire.sending.flush().await?;
        match wire.receiving.answer().await?.1 {
            Response::Hello(_) => Ok(wire),
            other => bail!("the broker answered the hello with {other:?}"),
        }
    }

    /// Sends one fetch.
    pub async fn send_fetch(&mut self, request: FetchRequest) -> Result<()> {
        self.sending.request(&Request::Fetch(request));
        self.sending.flush().await
    }

    /// The answer to the one fetch that was sent.
    pub async fn fetched(&mut self) -> Result<FetchResponse> {
        match self.receiving.answer().await?.1 {
            Response::Fetch(fetched) => Ok(fetched),
            other => bail!("the broker answered the fetch with {other:?}"),
        }
    }
}

impl Sending {
    /// The number of the next request; the one to give to [`Sending::frame`].
    pub fn correlation(&mut self) -> u64 {
        let correlation = self.next;
        self.next += 1;
        correlation
    }

    /// Encodes a request, to be sent by the next flush.
    pub fn request(&mut self, request: &Request) -> u64 {
        let correlation = self.correlation();
        request.encode(correlation, &mut self.output);
        correlation
    }

    /// Takes a frame whose last part lies ready; what was gathered is written when it is much.
    pub async fn frame(&mut self, head: impl FnOnce(&mut BytesMut), tail: &[u8]) -> Result<()> {
        head(&mut self.output);
        if tail.len() <= COPY_BYTES {
            self.output.extend_from_slice(tail);
            if self.output.len() >= WRITE_BYTES {
                self.flush().await?;
            }
        } else {
            self.flush().await?;
            self.socket.write_all(tail).await?;
            self.socket.flush().await?;
        }
        Ok(())
    }

    /// Writes what was gathered.
    pub async fn flush(&mut self) -> Result<()> {
        if !self.output.is_empty() {
            self.socket.write_all(&self.output).await?;
            // A stream that encrypts may hold the last of it.
            self.socket.flush().await?;
            self.output.clear();
        }
        Ok(())
    }
}

impl Receiving {
    /// The next answer that has come already.
    pub fn ready(&mut self) -> Result<Option<(u64, Response)>> {
        let Some(frame) = self.decoder.decode(&mut self.input)? else {
            return Ok(None);
        };
        let correlation = frame.header.correlation;
        match Response::decode(frame)? {
            Response::Error(error) => bail!("the broker refused: {error:?}"),
            response => Ok(Some((correlation, response))),
        }
    }

    /// Waits for more bytes.
    pub async fn read(&mut self) -> Result<()> {
        self.input.reserve(READ_BYTES);
        if self.socket.read_buf(&mut self.input).await? == 0 {
            bail!("the broker closed the connection");
        }
        Ok(())
    }

    /// The next answer.
    pub async fn answer(&mut self) -> Result<(u64, Response)> {
        loop {
            if let Some(answer) = self.ready()? {
                return Ok(answer);
            }
            self.read().await?;
        }
    }
}
