//! Running a server until a signal asks it to stop.

use super::listener::{Running, StartError, start};
use super::options::ServeOptions;

/// Starts a server, says where, and runs it until SIGTERM or SIGINT. SIGHUP has it read the files
/// of TLS again; a broker without TLS takes it as a SIGTERM, since the terminal has gone.
///
/// - `ready`: called once with the running server.
///
/// Returns whether the data directory could be marked clean.
///
/// # Errors
/// [`StartError`] when it did not start.
pub async fn run(options: ServeOptions, ready: impl FnOnce(&Running)) -> Result<bool, StartError> {
    let mut signals = Signals::new().map_err(StartError::Thread)?;
    let has_tls = options.tls.is_some();
    let running = start(options).await?;
    ready(&running);
    let signal = loop {
        match signals.next().await {
            "SIGHUP" if has_tls => running.reload_tls().await,
            signal => break signal,
        };
    };
    tracing::info!(signal, "stopping");
    let is_clean = running.stop().await;
    tracing::info!(is_clean, "stopped");
    Ok(is_clean)
}

#[cfg(unix)]
struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
    hup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
            _ = self.hup.recv() => "SIGHUP",
        }
    }
}
