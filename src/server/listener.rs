//! Starting a server: the broker opened, its threads running, its sockets listening.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::entrance::LastWords;
use super::first_key::{self, FirstKeyError};
use super::master_key::MasterKeySource;
use super::metrics::Metrics;
use super::options::{InvalidOptions, ServeOptions};
use super::shared::Shared;
use super::socket::Socket;
use super::{
    ballast, clock, commit, connection, entrance, http, keeper, region, renewal, scrubber,
};
use crate::broker::{Broker, BrokerOpenError, Stop};
use crate::protocol::{ErrorCode, Response, WireError};
use crate::storage::disk::{Disk, RealDisk};
use crate::tls::{PeerCertificate, ServerTls, TlsError};

/// A peer that vanished is noticed after this long without a sign of it.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Connections over the limit that are told so at once; each may need a handshake for it.
const MAX_REFUSALS: usize = 256;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The options exclude each other.
    #[error(transparent)]
    Options(#[from] InvalidOptions),
    /// The data directory did not open.
    #[error(transparent)]
    Open(Box<BrokerOpenError>),
    /// The disk is full, and a start has to write.
    #[error(
        "{error}; {available} bytes are left on the disk of {}, and a start takes up to {needed}: free some space and start again", .data_dir.display()
    )]
    NoSpace {
        /// The data directory.
        data_dir: PathBuf,
        /// Bytes that are left.
        available: u64,
        /// Bytes that a start may take.
        needed: u64,
        /// What found no space.
        error: Box<BrokerOpenError>,
    },
    /// An address can't be listened on.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Nobody could come in.
    #[error(transparent)]
    FirstKey(#[from] FirstKeyError),
    /// The certificate, its key or the client CAs can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A thread could not be started.
    #[error("starting a thread: {0}")]
    Thread(std::io::Error),
}

/// A running server. Dropping it does not stop it: call [`Running::stop`].
pub struct Running {
    shared: Arc<Shared>,
    tracker: TaskTracker,
    threads: Vec<JoinHandle<()>>,
    listen: SocketAddr,
    http: Option<SocketAddr>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

/// Opens the data directory and starts to listen.
///
/// # Errors
/// [`StartError`]; nothing is left running then.
pub async fn start(options: ServeOptions) -> Result<Running, StartError> {
    start_on(Arc::new(RealDisk), options).await
}

/// As [`start`], with the data directory on another disk than the operating system's.
///
/// # Errors
/// As for [`start`].
pub async fn start_on(disk: Arc<dyn Disk>, options: ServeOptions) -> Result<Running, StartError> {
    options.check()?;
    let now = clock::now();
    let tls = match options.tls.clone() {
        Some(tls) => Some(Arc::new(tokio::task::block_in_place(|| {
            ServerTls::load(tls, now)
        })?)),
        None => None,
    };
    let listener = bind(options.listen).await?;
    let http_listener = match options.http {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let local = |listener: &TcpListener, address| {
        listener
            .local_addr()
            .map_err(|source| StartError::Listen { address, source })
    };
    let listen = local(&listener, options.listen)?;
    let http = match (&http_listener, options.http) {
        (Some(listener), Some(address)) => Some(local(listener, address)?),
        _ => None,
    };
    let holder = format!("process {} listening on {listen}", std::process::id());
    let broker = tokio::task::block_in_place(|| {
        let random = || {
            // API keys are made of it: it is the operating system's (getrandom), and where a UUID
            // has fixed bits, random ones of its other half are laid over them.
            let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
            high.rotate_left(32) ^ low
        };
        let mut config = options.broker.clone();
        config.region = options.region.as_ref().map(|region| region.name.clone());
        if !matches!(options.master_key, MasterKeySource::None) {
            config.master_keys = options.master_key.load_or_go_on();
        }
        ballast::with(&*disk, &options.data_dir, || {
            Broker::open(
                disk.clone(),
                &options.data_dir,
                config.clone(),
                &holder,
                now,
                Box::new(random),
            )
        })
    })?;
    let mut shared = Shared::new(broker, options, Metrics::new(), now);
    shared.tls = tls;
    let shared = Arc::new(shared);
    let threads = spawn_threads(&shared, &disk)?;
    let running = Running {
        shared: shared.clone(),
        tracker: TaskTracker::new(),
        threads,
        listen,
        http,
    };
    if let Err(error) = first_key::make(&shared).await {
        running.stop().await;
        return Err(error.into());
    }
    let tracker = &running.tracker;
    tracker.spawn(accept(listener, shared.clone(), tracker.clone()));
    region::start(&shared, tracker);
    if let Some(listener) = http_listener {
        tracker.spawn(http::serve(listener, shared.clone()));
    }
    if let Some(tls) = shared.tls.clone() {
        tracing::info!(certificate = %tls.certificate(), "clients are shown this certificate");
        if let Some(key) = tls.exposed_key() {
            let key = key.display();
            tracing::warn!("every user of this machine may read the key in {key}: chmod o-r it");
        }
        tracker.spawn(renewal::watch(shared.clone(), tls));
    }
    Ok(running)
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })
}

fn spawn_threads(
    shared: &Arc<Shared>,
    disk: &Arc<dyn Disk>,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let committer = {
        let shared = shared.clone();
        let builder = std::thread::Builder::new().name("committer".to_owned());
        builder
            .spawn(move || commit::run(&shared))
            .map_err(StartError::Thread)?
    };
    let keeper = {
        let (shared, disk) = (shared.clone(), disk.clone());
        let builder = std::thread::Builder::new().name("keeper".to_owned());
        builder
            .spawn(move || keeper::run(&shared, &disk))
            .map_err(StartError::Thread)?
    };
    let scrubber = {
        let shared = shared.clone();
        let builder = std::thread::Builder::new().name("scrubber".to_owned());
        builder
            .spawn(move || scrubber::run(&shared))
            .map_err(StartError::Thread)?
    };
    Ok(vec![committer, keeper, scrubber])
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tracker: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of files, most likely: others must end before there is room again.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        prepare(&socket);
        let before = shared.connections.fetch_add(1, Ordering::AcqRel);
        shared.metrics.connections.increment(1);
        let shared = shared.clone();
        tracker.spawn(async move {
            // Beyond this there is not even a handshake, to say why.
            if before < shared.options.max_connections.saturating_add(MAX_REFUSALS) {
                let tls = shared.tls.as_ref().map(|tls| tls.binary());
                let entered = entrance::enter(&shared, socket, tls, last_words).await;
                match entered {
                    Some(socket) if before < shared.options.max_connections => {
                        let certificate = socket.peer_certificate();
                        connection::serve(shared.clone(), socket, peer, certificate).await;
                    }
                    Some(socket) => refuse(&shared, socket).await,
                    None => {}
                }
            } else {
                shared.metrics.refused_connections.increment(1);
            }
            shared.connections.fetch_sub(1, Ordering::AcqRel);
            shared.metrics.connections.decrement(1);
        });
    }
}

fn prepare(socket: &TcpStream) {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 4);
    let options = socket2::SockRef::from(socket);
    if let Err(error) = socket
        .set_nodelay(true)
        .and(options.set_tcp_keepalive(&keepalive))
    {
        tracing::debug!(%error, "a socket option could not be set");
    }
}

/// What is said in plain frames to a client that speaks TLS, or does not, to the wrong port.
fn last_words() -> LastWords {
    let frame = |code, text: &str| {
        let mut bytes = bytes::BytesMut::new();
        Response::Error(WireError::new(code, text)).encode(0, &mut bytes);
        bytes.to_vec()
    };
    let required = "this port speaks only TLS; connect with npayload+tls://, or --tls";
    let unavailable = "this port speaks without TLS; connect with npayload://";
    LastWords {
        tls_required: frame(ErrorCode::TlsRequired, required),
        tls_unavailable: frame(ErrorCode::TlsUnavailable, unavailable),
    }
}

async fn refuse(shared: &Shared, mut socket: Socket) {
    shared.metrics.refused_connections.increment(1);
    let limit = shared.options.max_connections;
    let text = format!("{limit} connections are open, which is the limit");
    let error = WireError::new(ErrorCode::TooManyConnections, text).retry_after_ms(1000);
    let mut bytes = bytes::BytesMut::new();
    Response::Error(error).encode(0, &mut bytes);
    let told = async {
        socket.write_all(&bytes).await?;
        socket.flush().await
    };
    match tokio::time::timeout(Duration::from_secs(1), told).await {
        Ok(Ok(())) => socket.close().await,
        _ => tracing::debug!("a refused connection did not take its answer"),
    }
}

impl Running {
    /// The address of the binary protocol.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// The address of `/metrics` and `/healthz`, if there is one.
    #[must_use]
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// The certificate that clients are shown now, where the ports speak TLS.
    #[must_use]
    pub fn certificate(&self) -> Option<PeerCertificate> {
        self.shared.tls.as_ref().map(|tls| tls.certificate())
    }

    /// Looks at the files of TLS now, and takes them if they have changed and are good; the log
    /// says what came of it. Open connections keep what they have. Returns whether the files are
    /// good; true without TLS.
    pub async fn reload_tls(&self) -> bool {
        match &self.shared.tls {
            Some(tls) => renewal::now(tls).await,
            None => true,
        }
    }

    /// What recovery found and did.
    #[must_use]
    pub fn recovery_report(&self) -> crate::storage::RecoveryReport {
        self.shared.broker().storage().recovery_report().clone()
    }

    /// Stops in order: nothing new is taken, what is due is answered, everything is synced, and
    /// the data directory is marked clean. Returns whether it could be.
    pub async fn stop(self) -> bool {
        self.shared.stop.cancel();
        self.tracker.close();
        let timeout = self.shared.options.stop_timeout;
        if tokio::time::timeout(timeout, self.tracker.wait())
            .await
            .is_err()
        {
            tracing::warn!("connections were cut: their answers were still due after the timeout");
        }
        self.shared.broker().begin_stop();
        self.shared.is_ending.store(true, Ordering::Release);
        self.shared.wake_committer();
        self.shared.wake_keeper();
        self.shared.wake_scrubber();
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || {
            threads.into_iter().all(|thread| thread.join().is_ok())
        });
        let is_joined = joined.await.unwrap_or(false);
        let is_clean = self.shared.broker().stop_state() == Stop::Clean;
        if is_joined {
            // A read that was under way may hold the broker a little longer.
            self.shared.broker().release();
        }
        is_joined && is_clean
    }
}
