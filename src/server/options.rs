//! What a server is told at its start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::master_key::MasterKeySource;
use crate::broker::BrokerConfig;

/// Where a server listens, where it keeps its data, and its limits.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The data directory; made if it is new.
    pub data_dir: PathBuf,
    /// The address of the binary protocol; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The address of `/metrics` and `/healthz`; none by default.
    pub http: Option<SocketAddr>,
    /// Whether to listen on an address that other machines reach, without keys or TLS.
    pub insecure: bool,
    /// Most connections at once.
    pub max_connections: usize,
    /// Most published bytes of one connection that wait for their acknowledgement.
    pub in_flight_bytes: u64,
    /// Most bytes of large frames (above 128 KiB) of all connections that are received at once.
    pub receive_bytes: u64,
    /// Most fetched bytes of all connections that wait to be taken; from half of it on, each
    /// connection gets one small answer at a time.
    pub send_bytes: u64,
    /// Most fetched bytes of one connection that wait to be taken; a larger batch comes alone.
    pub connection_send_bytes: u64,
    /// Most threads that read from segments at once.
    pub max_readers: usize,
    /// Most fetches of one connection that wait at once.
    pub max_waiting_fetches: usize,
    /// A connection that neither sends nor waits for anything is closed after this.
    pub idle_timeout: Duration,
    /// A connection that takes none of its answers for this long is closed.
    pub write_timeout: Duration,
    /// How long a stop waits for answers that are due.
    pub stop_timeout: Duration,
    /// Where the master keys of encrypted channels come from; they replace those of `broker` unless
    /// there is no source.
    pub master_key: MasterKeySource,
    /// The broker's own configuration.
    pub broker: BrokerConfig,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            http: None,
            insecure: false,
            max_connections: 10_000,
            in_flight_bytes: 64 << 20,
            receive_bytes: 256 << 20,
            send_bytes: 256 << 20,
            connection_send_bytes: 16 << 20,
            max_readers: 32,
            max_waiting_fetches: 256,
            idle_timeout: Duration::from_secs(600),
            write_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(5),
            master_key: MasterKeySource::None,
            broker: BrokerConfig::default(),
        }
    }
}

/// Options that exclude each other or break a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{option} {value}: {rule}")]
pub struct InvalidOptions {
    /// The option.
    pub option: &'static str,
    /// Its value.
    pub value: String,
    /// The rule it breaks.
    pub rule: &'static str,
}

impl ServeOptions {
    /// Refuses what would be unsafe or cannot work.
    ///
    /// # Errors
    /// [`InvalidOptions`] naming the option, its value and the rule.
    pub fn check(&self) -> Result<(), InvalidOptions> {
        let open = |option, address: SocketAddr| InvalidOptions {
            option,
            value: address.to_string(),
            rule: "other machines reach this address, and this broker has neither TLS nor keys; \
                   listen on 127.0.0.1, or say --insecure",
        };
        if !self.insecure && !self.listen.ip().is_loopback() {
            return Err(open("--listen", self.listen));
        }
        if let Some(http) = self.http
            && !self.insecure
            && !http.ip().is_loopback()
        {
            return Err(open("--http", http));
        }
        Ok(())
    }
}
