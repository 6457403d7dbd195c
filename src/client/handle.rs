//! The client: one connection that is made again when it is lost, shared by everything.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::backoff::{Backoff, BackoffLimits};
use super::connection::{CallError, Connection};
use super::error::{ConnectError, LostError, RequestError};
use super::stream::Stream;
use super::url::BrokerUrl;
use crate::access::Secret;
use crate::protocol::control::{HelloRequest, HelloResponse};
use crate::protocol::frame::MAX_FRAME_BYTES;
use crate::protocol::version::{MAX_PROTOCOL, MIN_PROTOCOL};
use crate::protocol::{ErrorCode, Kind, Request, Response};
use crate::tls::{ClientTls, ClientTlsOptions, TlsFailure};
use crate::types::Incarnation;

/// A handle to a broker; cheap to clone, all clones share one connection.
///
/// Any number of requests are in flight at once. When the connection is lost it is made again,
/// with growing, jittered waits, by the next request that needs it; what may be sent twice is sent
/// again, everything else fails with [`RequestError::Interrupted`].
///
/// ```no_run
/// use npayload::client::Client;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect("npayload://127.0.0.1:7400").await?;
/// for channel in client.channels("").await? {
///     println!("{} ends at {}", channel.name, channel.log_end);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    url: BrokerUrl,
    options: ClientBuilder,
    slot: Mutex<Slot>,
    state: watch::Sender<ConnectionState>,
}

/// The connection, if there is one, and when the next may be tried.
#[derive(Debug)]
struct Slot {
    current: Option<Arc<Open>>,
    not_before: Instant,
    backoff: Backoff,
    closed: bool,
}

/// An open connection and what the broker said when it was opened.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) connection: Connection,
    pub(super) hello: HelloResponse,
    /// Whether publishes may be of version 2, which are told where they are.
    pub(super) tells_where: bool,
    /// Whether it reads at a channel's home what a copy does not have.
    pub(super) reads_beyond: bool,
}

/// Whether the broker understands this version of a kind.
fn speaks(hello: &HelloResponse, kind: Kind, version: u16) -> bool {
    let mut rows = hello.kinds.iter();
    rows.any(|row| row.kind == kind.number() && (row.min..=row.max).contains(&version))
}

/// Whether a client has a connection; see [`Client::state`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// There is none.
    Disconnected,
    /// There is one, to this broker.
    Connected(Arc<HelloResponse>),
}

/// Options of a client.
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    name: String,
    api_key: Option<Secret>,
    plain_key: bool,
    connect_timeout: Duration,
    request_timeout: Duration,
    keep_alive: Duration,
    backoff: BackoffLimits,
    max_frame_bytes: u32,
    tls: Option<ClientTls>,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            name: "npayload-rust".to_owned(),
            api_key: None,
            plain_key: false,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(15),
            backoff: BackoffLimits::default(),
            max_frame_bytes: MAX_FRAME_BYTES,
            tls: None,
        }
    }
}

impl ClientBuilder {
    /// What the client calls itself in the broker's logs.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The API key to show; none unless set.
    #[must_use]
    pub fn api_key(mut self, key: Secret) -> Self {
        self.api_key = Some(key);
        self
    }

    /// Shows the API key also where the connection is not encrypted and leaves this machine, so that
    /// everybody on the way can read it. Refused unless set.
    #[must_use]
    pub fn plain_key(mut self, allow: bool) -> Self {
        self.plain_key = allow;
        self
    }

    /// How long [`connect`](Self::connect) tries before it gives up; 10 s unless set.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a request may take, connecting again and retries included; 30 s unless set.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// After how much silence the broker is pinged; after three times this the connection counts
    /// as lost. 15 s unless set.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.keep_alive = interval;
        self
    }

    /// Waits between tries.
    #[must_use]
    pub fn backoff(mut self, limits: BackoffLimits) -> Self {
        self.backoff = limits;
        self
    }

    /// Largest answer to accept, in bytes; 72 MiB, the largest of the protocol, unless set.
    #[must_use]
    pub fn max_frame_bytes(mut self, bytes: u32) -> Self {
        self.max_frame_bytes = bytes;
        self
    }

    /// Whom to trust, and the client's own certificate. The connection is made over TLS then,
    /// also to an `npayload://` URL. To an `npayload+tls://` URL without this, the system's CAs are
    /// trusted.
    #[must_use]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Connects to `npayload://HOST:PORT` or `npayload+tls://HOST:PORT`, trying again until the connect timeout.
    ///
    /// # Errors
    /// [`ConnectError`]: the reason why the last try failed.
    pub async fn connect(self, url: &str) -> Result<Client, ConnectError> {
        let client = self.lazy(url)?;
        let deadline = Instant::now() + client.inner.options.connect_timeout;
        client.open(deadline).await?;
        Ok(client)
    }

    /// A client that connects when its first request is sent.
    ///
    /// # Errors
    /// [`ConnectError::Url`] when the text is not the address of a broker,
    /// [`ConnectError::TlsFiles`] when TLS is wanted and the system trusts no CA.
    pub fn lazy(mut self, url: &str) -> Result<Client, ConnectError> {
        let mut url: BrokerUrl = url.parse()?;
        if url.tls && self.tls.is_none() {
            self.tls = Some(ClientTls::load(&ClientTlsOptions::default())?);
        }
        url.tls = self.tls.is_some();
        let is_hidden = url.tls || url.is_loopback() || self.plain_key;
        if self.api_key.is_some() && !is_hidden {
            return Err(ConnectError::PlainKey {
                url: url.to_string(),
            });
        }
        let slot = Slot {
            current: None,
            not_before: Instant::now(),
            backoff: Backoff::new(self.backoff),
            closed: false,
        };
        Ok(Client {
            inner: Arc::new(Inner {
                url,
                options: self,
                slot: Mutex::new(slot),
                state: watch::Sender::new(ConnectionState::Disconnected),
            }),
        })
    }
}

/// Whether a request may be sent again when it is not known if it was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// Carried out twice is the same as once.
    Safe,
    /// Carried out twice is the same as once, where the data directory is the same.
    SameData,
    /// Only when it certainly was not carried out.
    Unsafe,
}

impl Client {
    /// Connects to `npayload://HOST:PORT` with the default options.
    ///
    /// # Errors
    /// [`ConnectError`] when the URL is none, or nothing that speaks the protocol answered there
    /// within 10 seconds.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::builder().connect(url).await
    }

    /// Options to connect with.
    #[must_use]
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// The broker's address.
    #[must_use]
    pub fn url(&self) -> &BrokerUrl {
        &self.inner.url
    }

    /// Whether there is a connection, as it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.inner.state.subscribe()
    }

    /// What the broker said of itself when the connection was made; connects if need be.
    ///
    /// # Errors
    /// [`RequestError::Connect`].
    pub async fn hello(&self) -> Result<HelloResponse, RequestError> {
        Ok(self.open(self.deadline()).await?.hello.clone())
    }

    /// Closes the connection for this handle and all its clones. What is not answered yet fails.
    pub async fn close(&self) {
        let mut slot = self.inner.slot.lock().await;
        slot.closed = true;
        if let Some(open) = slot.current.take() {
            open.connection.close();
        }
        self.inner.state.send_replace(ConnectionState::Disconnected);
    }

    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.inner.options.request_timeout
    }

    pub(super) fn backoff(&self) -> Backoff {
        Backoff::new(self.inner.options.backoff)
    }

    /// The open connection; made if there is none, with waits between tries until the deadline.
    pub(super) async fn open(&self, deadline: Instant) -> Result<Arc<Open>, ConnectError> {
        let start = Instant::now();
        let timed_out = || ConnectError::Timeout {
            url: self.inner.url.to_string(),
            after: start.elapsed(),
        };
        let mut last = None;
        loop {
            let Ok(mut slot) = timeout_at(deadline, self.inner.slot.lock()).await else {
                return Err(last.unwrap_or_else(timed_out));
            };
            if slot.closed {
                return Err(ConnectError::Closed);
            }
            if let Some(open) = &slot.current {
                if open.connection.is_open() {
                    return Ok(Arc::clone(open));
                }
                slot.current = None;
                self.inner.state.send_replace(ConnectionState::Disconnected);
            }
            if slot.not_before > Instant::now() {
                let not_before = slot.not_before;
                drop(slot);
                if not_before >= deadline {
                    return Err(last.unwrap_or_else(timed_out));
                }
                sleep_until(not_before).await;
                continue;
            }
            match timeout_at(deadline, self.connect_once()).await {
                Err(_) => return Err(last.unwrap_or_else(timed_out)),
                Ok(Ok(open)) => {
                    let open = Arc::new(open);
                    slot.backoff.reset();
                    // A broker that accepts and closes at once is not hammered either.
                    slot.not_before = Instant::now() + slot.backoff.next(None);
                    slot.current = Some(Arc::clone(&open));
                    let state = ConnectionState::Connected(Arc::new(open.hello.clone()));
                    self.inner.state.send_replace(state);
                    return Ok(open);
                }
                Ok(Err(error)) => {
                    let after = match &error {
                        ConnectError::Refused { source, .. } => source.retry_after_ms,
                        _ => None,
                    };
                    slot.not_before = Instant::now() + slot.backoff.next(after);
                    if !error.is_retryable() {
                        return Err(error);
                    }
                    last = Some(error);
                }
            }
        }
    }

    async fn connect_once(&self) -> Result<Open, ConnectError> {
        let Inner { url, options, .. } = &*self.inner;
        let io = |source| ConnectError::Io {
            url: url.to_string(),
            source: Arc::new(source),
        };
        let protocol = |source| ConnectError::Protocol {
            url: url.to_string(),
            source,
        };
        let shake = async {
            let stream = Stream::open(url, options.tls.as_ref()).await?;
            let connection = Connection::start(stream, options.max_frame_bytes, options.keep_alive);
            let hello = Request::Hello(HelloRequest {
                client: options.name.clone(),
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
                api_key: options.api_key.as_ref().map(|key| key.expose().to_owned()),
                min_version: MIN_PROTOCOL,
                max_version: MAX_PROTOCOL,
            });
            match connection.send(&hello).answer().await {
                Ok(Response::Hello(hello)) => Ok(Open {
                    reads_beyond: speaks(&hello, Kind::FetchBeyond, 1),
                    tells_where: speaks(&hello, Kind::Publish, 2)
                        && speaks(&hello, Kind::PublishAtomic, 2),
                    connection,
                    hello,
                }),
                Ok(Response::Error(source)) => Err(ConnectError::Refused {
                    url: url.to_string(),
                    source: Box::new(source),
                }),
                Err(CallError::Lost(LostError::Server(source))) => Err(ConnectError::Refused {
                    url: url.to_string(),
                    source,
                }),
                // A broker that judges the client's certificate does so after the client's own
                // part of the handshake is over.
                Err(CallError::Lost(LostError::Io(source))) => Err(match &options.tls {
                    Some(tls) => tls_or_io(url, &source, tls),
                    None => ConnectError::Io {
                        url: url.to_string(),
                        source,
                    },
                }),
                Err(CallError::Lost(LostError::Closed)) => {
                    Err(io(std::io::ErrorKind::ConnectionReset.into()))
                }
                Err(CallError::Lost(source)) => Err(protocol(source)),
                Ok(_) | Err(CallError::Answer(_)) => Err(protocol(LostError::Closed)),
            }
        };
        let limit = options.connect_timeout;
        match timeout(limit, shake).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::Timeout {
                url: url.to_string(),
                after: limit,
            }),
        }
    }

    /// Sends a request and waits for its answer, with everything that is tried again.
    pub(super) async fn call(
        &self,
        request: &Request,
        retry: Retry,
    ) -> Result<Response, RequestError> {
        Ok(self.call_until(request, retry, self.deadline()).await?.0)
    }

    /// As [`call`](Self::call), until a deadline; tells also whether it was sent more than once.
    pub(super) async fn call_until(
        &self,
        request: &Request,
        retry: Retry,
        deadline: Instant,
    ) -> Result<(Response, bool), RequestError> {
        let start = Instant::now();
        let mut backoff = self.backoff();
        let mut repeated = false;
        let mut failed: Option<(Incarnation, RequestError)> = None;
        loop {
            let open = self.open(deadline).await?;
            let directory = open.hello.directory_id;
            if let Some((_, error)) = failed.filter(|(before, _)| *before != directory)
                && retry == Retry::SameData
            {
                return Err(error);
            }
            let mut call = open.connection.send(request);
            let error = match timeout_at(deadline, call.answer()).await {
                Err(_) => {
                    let after = start.elapsed();
                    return Err(RequestError::Timeout { after });
                }
                Ok(Err(CallError::Answer(error))) => return Err(RequestError::Answer(error)),
                Ok(Err(CallError::Lost(error))) => {
                    if retry == Retry::Unsafe {
                        return Err(RequestError::Interrupted(error));
                    }
                    RequestError::Interrupted(error)
                }
                Ok(Ok(Response::Error(error))) => {
                    let unknown = error.is(ErrorCode::Timeout) && retry == Retry::Unsafe;
                    let is_final = !error.retryable || unknown;
                    let error = RequestError::Server(Box::new(error));
                    if is_final {
                        return Err(error);
                    }
                    error
                }
                Ok(Ok(response)) => return Ok((response, repeated)),
            };
            repeated = true;
            let after = error.server().and_then(|error| error.retry_after_ms);
            let wait = backoff.next(after);
            if Instant::now() + wait >= deadline {
                return Err(error);
            }
            failed = Some((directory, error));
            sleep(wait).await;
        }
    }
}

fn tls_or_io(url: &BrokerUrl, error: &Arc<std::io::Error>, tls: &ClientTls) -> ConnectError {
    let url = url.to_string();
    match TlsFailure::of_client(error, tls.trusted()) {
        Some(source) => ConnectError::Tls { url, source },
        None => ConnectError::Io {
            url,
            source: error.clone(),
        },
    }
}
