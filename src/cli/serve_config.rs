//! The configuration of `npayload serve`: file, then environment, then flags.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

use super::serve::{ADDRESS, ServeArgs, peer};
use crate::access::Secret;
use crate::asp::trust::MAX_HALF_LIFE_HOURS;
use crate::broker::config::ChannelConfig;
use crate::server::{MasterKeySource, MasterKeyText, PeerOptions, RegionOptions, ServeOptions};
use crate::tls::{ClientCertificates, ClientTls, ClientTlsOptions, ServerTlsOptions, TlsVersion};
use crate::types::RegionName;

/// The names in the configuration file; docs/operations.md has them all. What is left out keeps
/// its default.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServeConfig {
    data_dir: PathBuf,
    listen: SocketAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls_cert: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls_key: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls_client_ca: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls_client_certs: Option<ClientCertificates>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls_min_version: Option<TlsVersion>,
    require_keys: bool,
    insecure: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    admin_key_file: Option<PathBuf>,
    must_exist: bool,
    auto_create: bool,
    max_channels: usize,
    snapshot_records: u64,
    max_connections: usize,
    in_flight_bytes: u64,
    receive_bytes: u64,
    send_bytes: u64,
    connection_send_bytes: u64,
    max_readers: usize,
    idle_timeout_s: u64,
    write_timeout_s: u64,
    stop_timeout_s: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    audit_retention_days: Option<u64>,
    trust_half_life_hours: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    master_key_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    master_key_command: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<RegionName>,
    /// Each as `NAME=URL`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    peers: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peer_key_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peer_ca: Option<PathBuf>,
    interest_idle_s: u64,
    peer_bandwidth: u64,
    peer_pack: bool,
    outbox_bytes: u64,
    ack_wait_ms: u64,
    storage: StorageTable,
    /// Channels that are created without a configuration of their own; names as in JSON.
    channel: ChannelConfig,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StorageTable {
    journal_file_bytes: u64,
    journal_files: u32,
    max_round_bytes: u64,
    max_unwritten_bytes: u64,
    max_open_segments: usize,
    min_free_bytes: u64,
    reserve_bytes: u64,
    scrub_bytes_per_s: u64,
    scrub_interval_s: u64,
}

/// Variables `NPAYLOAD_…` that stand for a top-level name.
const FROM_ENVIRONMENT: &[&str] = &[
    "data_dir",
    "listen",
    "http",
    "tls_cert",
    "tls_key",
    "tls_client_ca",
    "tls_client_certs",
    "tls_min_version",
    "require_keys",
    "insecure",
    "admin_key_file",
    "must_exist",
    "auto_create",
    "max_channels",
    "max_connections",
    "in_flight_bytes",
    "receive_bytes",
    "send_bytes",
    "connection_send_bytes",
    "max_readers",
    "idle_timeout_s",
    "write_timeout_s",
    "stop_timeout_s",
    "audit_retention_days",
    "trust_half_life_hours",
    "snapshot_records",
    "master_key_file",
    "master_key_command",
    "region",
    "peer_key_file",
    "peer_ca",
    "interest_idle_s",
    "peer_bandwidth",
    "peer_pack",
    "outbox_bytes",
    "ack_wait_ms",
];

/// The variable that holds master keys themselves. It has no name in the file, which others read.
const MASTER_KEY: &str = "NPAYLOAD_MASTER_KEY";

impl Default for ServeConfig {
    fn default() -> Self {
        let options = ServeOptions::default();
        let storage = options.broker.storage;
        Self {
            data_dir: options.data_dir,
            listen: options.listen,
            http: options.http,
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            tls_client_certs: None,
            tls_min_version: None,
            require_keys: options.require_keys,
            insecure: options.insecure,
            admin_key_file: options.admin_key_file,
            must_exist: storage.must_exist,
            auto_create: options.broker.auto_create,
            max_channels: options.broker.max_channels,
            snapshot_records: options.broker.snapshot_records,
            max_connections: options.max_connections,
            in_flight_bytes: options.in_flight_bytes,
            receive_bytes: options.receive_bytes,
            send_bytes: options.send_bytes,
            connection_send_bytes: options.connection_send_bytes,
            max_readers: options.max_readers,
            idle_timeout_s: options.idle_timeout.as_secs(),
            write_timeout_s: options.write_timeout.as_secs(),
            stop_timeout_s: options.stop_timeout.as_secs(),
            audit_retention_days: options.broker.audit_retention_days,
            trust_half_life_hours: options.broker.trust_half_life_hours,
            master_key_file: None,
            master_key_command: None,
            region: None,
            peers: Vec::new(),
            peer_key_file: None,
            peer_ca: None,
            interest_idle_s: 3600,
            peer_bandwidth: 0,
            peer_pack: true,
            outbox_bytes: 1 << 30,
            ack_wait_ms: 10_000,
            storage: StorageTable {
                journal_file_bytes: storage.journal_file_bytes,
                journal_files: storage.journal_files,
                max_round_bytes: storage.max_round_bytes,
                max_unwritten_bytes: storage.max_unwritten_bytes,
                max_open_segments: storage.max_open_segments,
                min_free_bytes: storage.min_free_bytes,
                reserve_bytes: storage.reserve_bytes,
                scrub_bytes_per_s: storage.scrub_bytes_per_s,
                scrub_interval_s: storage.scrub_interval_ms.unsigned_abs() / 1000,
            },
            channel: options.broker.defaults,
        }
    }
}

/// What is wrong, with what would be right where the words of the parser do not say.
fn told(error: &figment::Error) -> String {
    let text = error.to_string();
    if text.contains("socket address") {
        return format!("{text}: {ADDRESS}");
    }
    text
}

/// Reads the configuration that the flags name.
///
/// # Errors
/// What is wrong with the file or a variable, with its name.
pub(super) fn options(args: &ServeArgs) -> Result<ServeOptions, String> {
    let mut figment = Figment::from(Serialized::defaults(ServeConfig::default()));
    if let Some(path) = &args.config {
        if !path.is_file() {
            return Err(format!("{}: there is no such file", path.display()));
        }
        figment = figment.merge(Toml::file_exact(path));
    }
    figment = figment.merge(Env::prefixed("NPAYLOAD_").only(FROM_ENVIRONMENT));
    let mut config: ServeConfig = figment.extract().map_err(|error| told(&error))?;
    config.data_dir = args.data_dir.clone().unwrap_or(config.data_dir);
    config.listen = args.listen.unwrap_or(config.listen);
    config.http = args.http.or(config.http);
    let tls = &args.tls;
    config.tls_cert = tls.tls_cert.clone().or(config.tls_cert);
    config.tls_key = tls.tls_key.clone().or(config.tls_key);
    config.tls_client_ca = tls.tls_client_ca.clone().or(config.tls_client_ca);
    config.tls_client_certs = tls.tls_client_certs.or(config.tls_client_certs);
    config.tls_min_version = tls.tls_min_version.or(config.tls_min_version);
    config.require_keys |= args.require_keys;
    config.insecure |= args.insecure;
    config.admin_key_file = args.admin_key_file.clone().or(config.admin_key_file);
    config.must_exist |= args.must_exist;
    config.region = args.region.clone().or(config.region);
    config.peer_key_file = args.peer_key_file.clone().or(config.peer_key_file);
    config.peer_ca = args.peer_ca.clone().or(config.peer_ca);
    let idle_s = args
        .interest_idle
        .map(|ms| ms.unsigned_abs().div_ceil(1000));
    config.interest_idle_s = idle_s.unwrap_or(config.interest_idle_s);
    config.peer_bandwidth = args.peer_bandwidth.unwrap_or(config.peer_bandwidth);
    config.peer_pack = args.peer_pack.unwrap_or(config.peer_pack);
    config.outbox_bytes = args.outbox_bytes.unwrap_or(config.outbox_bytes);
    let ack_wait = args.ack_wait.map(i64::unsigned_abs);
    config.ack_wait_ms = ack_wait.unwrap_or(config.ack_wait_ms);
    let region = region(&config, &args.peers)?;
    let flags = (&args.master_key_file, &args.master_key_command);
    config.master_key_file = flags.0.clone().or(config.master_key_file);
    config.master_key_command = flags.1.clone().or(config.master_key_command);
    let text = std::env::var(MASTER_KEY).ok().map(MasterKeyText::new);
    let master_key = master_key(
        config.master_key_file.take(),
        config.master_key_command.take(),
        text,
    )?;
    Ok(ServeOptions {
        master_key,
        region,
        ..config.into_options()?
    })
}

/// Which region the broker is, and its peers: those of the flags, else those of the file.
fn region(config: &ServeConfig, flags: &[PeerOptions]) -> Result<Option<RegionOptions>, String> {
    let mut peers = flags.to_vec();
    if peers.is_empty() {
        let parsed: Result<Vec<PeerOptions>, String> =
            config.peers.iter().map(|text| peer(text)).collect();
        peers = parsed.map_err(|error| format!("peers: {error}"))?;
    }
    let Some(name) = config.region.clone() else {
        return match peers.is_empty() {
            true => Ok(None),
            false => Err("peers need region: the name of this one (--region)".to_owned()),
        };
    };
    let mut names: Vec<&RegionName> = peers.iter().map(|peer| &peer.name).collect();
    names.push(&name);
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("region `{}` is named twice", twice[0]));
    }
    let key = match &config.peer_key_file {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
            let key: Result<Secret, _> = zeroize::Zeroizing::new(text).trim().parse();
            Some(key.map_err(|error| format!("{}: {error}", path.display()))?)
        }
        None => None,
    };
    let tls = match &config.peer_ca {
        Some(path) => {
            let options = ClientTlsOptions {
                ca: Some(path.clone()),
                ..ClientTlsOptions::default()
            };
            let tls = ClientTls::load(&options);
            Some(tls.map_err(|error| format!("{}: {error}", path.display()))?)
        }
        None => None,
    };
    Ok(Some(RegionOptions {
        name,
        peers,
        key,
        interest_idle: Duration::from_secs(config.interest_idle_s.max(1)),
        peer_bandwidth: config.peer_bandwidth,
        peer_pack: config.peer_pack,
        outbox_bytes: config.outbox_bytes,
        ack_wait: Duration::from_millis(config.ack_wait_ms.max(1)),
        tls,
    }))
}

/// The one source of master keys.
fn master_key(
    file: Option<PathBuf>,
    command: Option<String>,
    text: Option<MasterKeyText>,
) -> Result<MasterKeySource, String> {
    Ok(match (file, command, text) {
        (None, None, None) => MasterKeySource::None,
        (Some(path), None, None) => MasterKeySource::File(path),
        (None, Some(command), None) => MasterKeySource::Command(command),
        (None, None, Some(text)) => MasterKeySource::Text(text),
        (file, command, text) => {
            let named = [
                file.map(|_| "master_key_file"),
                command.map(|_| "master_key_command"),
                text.map(|_| MASTER_KEY),
            ];
            let named: Vec<&str> = named.into_iter().flatten().collect();
            let named = named.join(" and ");
            return Err(format!("{named}: master keys come from one place"));
        }
    })
}

impl ServeConfig {
    fn into_options(self) -> Result<ServeOptions, String> {
        self.channel
            .check()
            .map_err(|error| format!("channel.{error}"))?;
        self.storage.check()?;
        if self.audit_retention_days == Some(0) {
            return Err("audit_retention_days = 0: must be at least 1, or left out".to_owned());
        }
        if !(1..=MAX_HALF_LIFE_HOURS).contains(&self.trust_half_life_hours) {
            return Err(format!(
                "trust_half_life_hours = {}: must be 1 to {MAX_HALF_LIFE_HOURS}",
                self.trust_half_life_hours
            ));
        }
        let tls = self.tls()?;
        let mut options = ServeOptions {
            data_dir: self.data_dir,
            listen: self.listen,
            http: self.http,
            tls,
            require_keys: self.require_keys,
            insecure: self.insecure,
            admin_key_file: self.admin_key_file,
            max_connections: self.max_connections,
            in_flight_bytes: self.in_flight_bytes,
            receive_bytes: self.receive_bytes,
            send_bytes: self.send_bytes,
            connection_send_bytes: self.connection_send_bytes,
            max_readers: self.max_readers,
            idle_timeout: Duration::from_secs(self.idle_timeout_s),
            write_timeout: Duration::from_secs(self.write_timeout_s),
            stop_timeout: Duration::from_secs(self.stop_timeout_s),
            ..ServeOptions::default()
        };
        options.broker.auto_create = self.auto_create;
        options.broker.max_channels = self.max_channels;
        options.broker.snapshot_records = self.snapshot_records;
        options.broker.defaults = self.channel;
        options.broker.audit_retention_days = self.audit_retention_days;
        options.broker.trust_half_life_hours = self.trust_half_life_hours;
        let storage = &mut options.broker.storage;
        storage.must_exist = self.must_exist;
        storage.journal_file_bytes = self.storage.journal_file_bytes;
        storage.journal_files = self.storage.journal_files;
        storage.max_round_bytes = self.storage.max_round_bytes;
        // What must go into the journal has to fit into a round.
        storage.always_direct_bytes = storage
            .always_direct_bytes
            .min(self.storage.max_round_bytes / 2);
        storage.direct_bytes = storage.direct_bytes.min(storage.always_direct_bytes);
        storage.max_unwritten_bytes = self.storage.max_unwritten_bytes;
        storage.max_open_segments = self.storage.max_open_segments;
        storage.min_free_bytes = self.storage.min_free_bytes;
        storage.scrub_bytes_per_s = self.storage.scrub_bytes_per_s;
        let interval = self.storage.scrub_interval_s.saturating_mul(1000);
        storage.scrub_interval_ms = i64::try_from(interval).unwrap_or(i64::MAX);
        // The smaller limit of a smaller disk needs no word about its reserve.
        storage.reserve_bytes = self.storage.reserve_bytes.min(self.storage.min_free_bytes);
        Ok(options)
    }
}

impl ServeConfig {
    /// What both ports speak; nothing of it, or a certificate and its key at least.
    fn tls(&self) -> Result<Option<ServerTlsOptions>, String> {
        // An empty variable is the usual way to take a setting back.
        let given =
            |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let client_ca = given(&self.tls_client_ca);
        let needs = |name: &str, what: &str| Err(format!("{name} needs {what}"));
        if client_ca.is_none() && self.tls_client_certs.is_some() {
            let what = "tls_client_ca: the file of the CAs that issue them (--tls-client-ca)";
            return needs("tls_client_certs", what);
        }
        let (cert, key) = match (given(&self.tls_cert), given(&self.tls_key), &client_ca) {
            (Some(cert), Some(key), _) => (cert, key),
            (None, None, None) if self.tls_min_version.is_none() => return Ok(None),
            (Some(_), None, _) => {
                return needs("tls_cert", "tls_key: the file of its key (--tls-key)");
            }
            (None, Some(_), _) => {
                let what = "tls_cert: the file of its certificate (--tls-cert)";
                return needs("tls_key", what);
            }
            (None, None, Some(_)) => {
                let what = "tls_cert and tls_key: clients show their certificate in TLS only";
                return needs("tls_client_ca", what);
            }
            (None, None, None) => {
                return needs("tls_min_version", "tls_cert and tls_key: there is no TLS");
            }
        };
        Ok(Some(ServerTlsOptions {
            cert,
            key,
            client_ca,
            client_certificates: self.tls_client_certs.unwrap_or_default(),
            min_version: self.tls_min_version.unwrap_or_default(),
        }))
    }
}

impl StorageTable {
    fn check(&self) -> Result<(), String> {
        const MIB: u64 = 1 << 20;
        let rule = |name: &str, value: u64, from: u64, to: u64| {
            if (from..=to).contains(&value) {
                return Ok(());
            }
            Err(format!(
                "storage.{name} = {value}: must be from {from} to {to}"
            ))
        };
        rule("journal_file_bytes", self.journal_file_bytes, MIB, 1 << 30)?;
        rule("journal_files", self.journal_files.into(), 2, 1024)?;
        // Twice, so that the entry lists of many small batches fit beside them.
        let most = self.journal_file_bytes / 4;
        rule("max_round_bytes", self.max_round_bytes, 64 * 1024, most)?;
        rule(
            "max_unwritten_bytes",
            self.max_unwritten_bytes,
            self.max_round_bytes,
            u64::MAX,
        )?;
        rule(
            "max_open_segments",
            self.max_open_segments as u64,
            16,
            1 << 20,
        )
    }
}
