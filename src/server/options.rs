//! What a server is told at its start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::master_key::MasterKeySource;
use super::region::RegionOptions;
use crate::broker::BrokerConfig;
use crate::tls::ServerTlsOptions;

/// Where a server listens, where it keeps its data, and its limits.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The data directory; made if it is new.
    pub data_dir: PathBuf,
    /// The address of the binary protocol; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The address of `/metrics` and `/healthz`; none by default.
    pub http: Option<SocketAddr>,
    /// The certificate of both addresses; both are without TLS when there is none.
    pub tls: Option<ServerTlsOptions>,
    /// Whether to listen on an address that other machines reach, without keys or TLS.
    pub insecure: bool,
    /// Whether everybody needs an API key, on this machine too.
    pub require_keys: bool,
    /// Where to write a first key, with which all others can be made, when there is none that
    /// opens anything; it must not exist.
    pub admin_key_file: Option<PathBuf>,
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
    /// Which region it is, and which others there are; none where it is no region.
    pub region: Option<RegionOptions>,
    /// The broker's own configuration.
    pub broker: BrokerConfig,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            http: None,
            tls: None,
            require_keys: false,
            insecure: false,
            admin_key_file: None,
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
            region: None,
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

/// What protects an address that other machines reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Tls,
    Keys,
    Both,
}

impl ServeOptions {
    /// Refuses what would be unsafe or cannot work.
    ///
    /// # Errors
    /// [`InvalidOptions`] naming the option, its value and the rule.
    pub fn check(&self) -> Result<(), InvalidOptions> {
        match self.open_addresses().next() {
            Some((option, address, missing)) if !self.insecure => Err(InvalidOptions {
                option,
                value: address.to_string(),
                rule: missing.ways_out(),
            }),
            _ => Ok(()),
        }
    }

    /// What `--insecure` has let pass, for the log and the health page; none where nothing is open.
    #[must_use]
    pub fn exposure(&self) -> Option<String> {
        let open: Vec<String> = self
            .open_addresses()
            .map(|(_, address, missing)| format!("{address} {}", missing.name()))
            .collect();
        (!open.is_empty()).then(|| format!("other machines reach {}", open.join(", and ")))
    }

    /// Addresses that other machines reach without what protects them.
    fn open_addresses(&self) -> impl Iterator<Item = (&'static str, SocketAddr, Missing)> {
        let missing = match (&self.tls, self.require_keys) {
            (Some(_), true) => None,
            (Some(_), false) => Some(Missing::Keys),
            (None, true) => Some(Missing::Tls),
            (None, false) => Some(Missing::Both),
        };
        let addresses = [("--listen", Some(self.listen)), ("--http", self.http)];
        addresses.into_iter().filter_map(move |(option, address)| {
            let address = address.filter(|address| !address.ip().to_canonical().is_loopback())?;
            Some((option, address, missing?))
        })
    }
}

impl Missing {
    fn name(self) -> &'static str {
        match self {
            Self::Tls => "without TLS",
            Self::Keys => "without keys",
            Self::Both => "without TLS and without keys",
        }
    }

    fn ways_out(self) -> &'static str {
        match self {
            Self::Both => {
                "other machines reach this address, and it has neither TLS nor keys; give it both \
                 (--tls-cert FILE --tls-key FILE --require-keys), or listen on a loopback address \
                 such as 127.0.0.1, or say --insecure"
            }
            Self::Tls => {
                "other machines reach this address, and it has no TLS; give it a certificate \
                 (--tls-cert FILE --tls-key FILE), or listen on a loopback address such as \
                 127.0.0.1, or say --insecure"
            }
            Self::Keys => {
                "other machines reach this address, and it takes clients without keys; demand \
                 them (--require-keys), or listen on a loopback address such as 127.0.0.1, or \
                 say --insecure"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{ClientCertificates, TlsVersion};

    fn tls() -> ServerTlsOptions {
        ServerTlsOptions {
            cert: "server.pem".into(),
            key: "server-key.pem".into(),
            client_ca: None,
            client_certificates: ClientCertificates::Required,
            min_version: TlsVersion::V13,
        }
    }

    #[test]
    fn an_address_that_other_machines_reach_needs_tls_and_keys_or_the_word() {
        let open = [
            "0.0.0.0:7400",
            "10.0.0.1:7400",
            "[::]:7400",
            "[2001:db8::1]:1",
        ];
        let closed = [
            "127.0.0.1:7400",
            "127.9.9.9:1",
            "[::1]:7400",
            "[::ffff:127.0.0.1]:7400",
        ];
        for listens in [true, false] {
            let at = |address: &str, has_tls: bool, require_keys: bool| {
                let address = address.parse().expect("an address");
                let mut options = ServeOptions {
                    tls: has_tls.then(tls),
                    require_keys,
                    ..ServeOptions::default()
                };
                if listens {
                    options.listen = address;
                } else {
                    options.http = Some(address);
                }
                options
            };
            for address in open {
                for (has_tls, keys) in [(false, false), (true, false), (false, true)] {
                    let mut options = at(address, has_tls, keys);
                    let refused = options.check().expect_err("it is open").to_string();
                    assert!(refused.contains(address), "{refused}");
                    assert!(refused.contains("127.0.0.1") && refused.contains("--insecure"));
                    assert_eq!(refused.contains("--tls-cert"), !has_tls, "{refused}");
                    assert_eq!(refused.contains("--require-keys"), !keys, "{refused}");
                    options.insecure = true;
                    assert_eq!(options.check(), Ok(()));
                    let exposure = options.exposure().expect("it is open still");
                    assert!(exposure.contains(address), "{exposure}");
                }
                let options = at(address, true, true);
                assert_eq!((options.check(), options.exposure()), (Ok(()), None));
            }
            for address in closed {
                let mut options = at(address, false, false);
                assert_eq!((options.check(), options.exposure()), (Ok(()), None));
                options.insecure = true;
                assert_eq!(options.exposure(), None);
            }
        }
    }
}
