//! Starting a server: the broker opened, its threads running, its sockets listening.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::master_key::MasterKeySource;
use super::metrics::Metrics;
use super::options::{InvalidOptions, ServeOptions};
use super::shared::Shared;
use super::{clock, commit, connection, http, keeper, scrubber};
use crate::broker::{Broker, BrokerOpenError, Stop};
use crate::protocol::{ErrorCode, Response, WireError};
use crate::storage::disk::{Disk, RealDisk};

/// A peer that vanished is noticed after this long without a sign of it.
const KEEPALIVE: Duration = Duration::from_secs(60);

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
    /// An address can't be listened on.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
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
    let now = clock::now();
    let holder = format!("process {} listening on {listen}", std::process::id());
    let broker = tokio::task::block_in_place(|| {
        let random = Box::new(|| {
            let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
            high.rotate_left(32) ^ low
        });
        let mut config = options.broker.clone();
        if !matches!(options.master_key, MasterKeySource::None) {
            config.master_keys = options.master_key.load_or_go_on();
        }
        Broker::open(
            disk.clone(),
            &options.data_dir,
            config,
            &holder,
            now,
            random,
        )
    });
    let broker = broker.map_err(|error| StartError::Open(Box::new(error)))?;
    let shared = Arc::new(Shared::new(broker, options, Metrics::new(), now));
    let threads = spawn_threads(&shared, &disk)?;
    let tracker = TaskTracker::new();
    tracker.spawn(accept(listener, shared.clone(), tracker.clone()));
    if let Some(listener) = http_listener {
        tracker.spawn(http::serve(listener, shared.clone()));
    }
    Ok(Running {
        shared,
        tracker,
        threads,
        listen,
        http,
    })
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
        let socket = match accepted {
            Ok((socket, _)) => socket,
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
            if before < shared.options.max_connections {
                connection::serve(shared.clone(), socket).await;
            } else {
                refuse(&shared, socket).await;
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

async fn refuse(shared: &Shared, mut socket: TcpStream) {
    shared.metrics.refused_connections.increment(1);
    let limit = shared.options.max_connections;
    let text = format!("{limit} connections are open, which is the limit");
    let error = WireError::new(ErrorCode::TooManyConnections, text).retry_after_ms(1000);
    let mut bytes = bytes::BytesMut::new();
    Response::Error(error).encode(0, &mut bytes);
    let written = tokio::time::timeout(Duration::from_secs(1), socket.write_all(&bytes));
    if written.await.is_err() {
        tracing::debug!("a refused connection did not take its answer");
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
