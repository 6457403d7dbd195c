//! `npayload serve`: starts the broker.

use std::io::{ErrorKind, IsTerminal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use super::failure::Failure;
use super::{block_on, called, output, serve_config};
use crate::server::{self, PeerOptions, Running, StartError};
use crate::tls::{ClientCertificates, TlsVersion};
use crate::types::RegionName;

/// Above what opens the broker and its channels, in the help.
const KEYS: &str = "Keys";
/// Above what concerns other regions, in the help.
const REGIONS: &str = "Regions";

/// Arguments of `npayload serve`. What is left out comes from the environment, else from the
/// configuration file, else from the defaults.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  npayload serve                                        on 127.0.0.1:7400, data in ./data
  npayload serve --data-dir /var/lib/npayload --must-exist --http 127.0.0.1:7401
  npayload serve --listen 0.0.0.0:7400 --require-keys --admin-key-file admin.key \\
    --tls-cert server.pem --tls-key server-key.pem      for other machines
  npayload serve --region us-east --peer eu-west=npayload+tls://eu-west.example:7400

All settings and their defaults, those of --config too, are in docs/operations.md. For most of them
there is a variable as well: NPAYLOAD_ and the name in capitals, such as NPAYLOAD_DATA_DIR.
NPAYLOAD_LOG says how much is logged: info, debug, or npayload::storage=debug.")]
pub struct ServeArgs {
    /// Directory of the data; created when missing [default: ./data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Refuse to make a new data directory, as where one should be mounted and is not
    #[arg(long)]
    pub must_exist: bool,
    /// Address to listen on, IP:PORT; port 0 picks a free one [default: 127.0.0.1:7400]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub listen: Option<SocketAddr>,
    /// Address to serve /metrics and /healthz on, IP:PORT; neither is served unless set
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub http: Option<SocketAddr>,
    /// Configuration file, TOML
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Listen on an address that other machines reach, though TLS or keys are missing
    #[arg(long)]
    pub insecure: bool,
    /// The files of TLS.
    #[command(flatten)]
    pub tls: ServeTlsArgs,
    /// Demand an API key of every client
    #[arg(long, help_heading = KEYS)]
    pub require_keys: bool,
    /// Where to write a first API key, when there is none that could make others; it must not exist
    #[arg(long, value_name = "FILE", help_heading = KEYS)]
    pub admin_key_file: Option<PathBuf>,
    /// File with the master keys of encrypted channels: one a line, 64 hexadecimal digits or 32
    /// bytes in base64; the first wraps, all unwrap
    #[arg(long, value_name = "FILE", conflicts_with = "master_key_command", help_heading = KEYS)]
    pub master_key_file: Option<PathBuf>,
    /// Command that writes the master keys to its standard output, in the form of the file
    #[arg(long, value_name = "COMMAND", help_heading = KEYS)]
    pub master_key_command: Option<String>,
    /// Name of the region that this broker is
    #[arg(long, value_name = "NAME", value_parser = region_name, help_heading = REGIONS)]
    pub region: Option<RegionName>,
    /// Another region and its address, as us-east=npayload+tls://us-east.example:7400; repeat it for
    /// each
    #[arg(long = "peer", value_name = "NAME=URL", value_parser = peer, requires = "region", help_heading = REGIONS)]
    pub peers: Vec<PeerOptions>,
    /// File with the API key to show to peers, of scope replicate
    #[arg(long, value_name = "FILE", help_heading = REGIONS)]
    pub peer_key_file: Option<PathBuf>,
    /// CAs to trust of peers instead of the system's, PEM
    #[arg(long, value_name = "FILE", help_heading = REGIONS)]
    pub peer_ca: Option<PathBuf>,
    /// How long interest from reading lasts after the last reader of a channel has left, as 30m or 1h
    /// [default: 1h]
    #[arg(long, value_name = "AGE", value_parser = super::place::age_ms, help_heading = REGIONS)]
    pub interest_idle: Option<i64>,
    /// Bytes of batches sent to each peer in a second at most; 0 is no limit [default: 0]
    #[arg(long, value_name = "BYTES", help_heading = REGIONS)]
    pub peer_bandwidth: Option<u64>,
    /// Whether peers pack batches that came uncompressed for the way: true or false [default: true]
    #[arg(long, value_name = "BOOL", help_heading = REGIONS)]
    pub peer_pack: Option<bool>,
    /// Most bytes that wait in outboxes for homes that can't be reached [default: 1073741824]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = REGIONS)]
    pub outbox_bytes: Option<u64>,
    /// How long a publish waits by itself for the regions that its channel wants to hold it, as 5s
    /// [default: 10s]
    #[arg(long, value_name = "AGE", value_parser = super::place::age_ms, help_heading = REGIONS)]
    pub ack_wait: Option<i64>,
}

/// TLS of `npayload serve`: files, all PEM. They are read again when they change, and on SIGHUP.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "TLS, on both addresses")]
pub struct ServeTlsArgs {
    /// The broker's certificate, followed by its chain
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The key to it
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// CAs of client certificates; clients are asked for theirs when it is given
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
    /// Whether a client must have a certificate: required or optional [default: required]
    #[arg(long, value_name = "HOW")]
    pub tls_client_certs: Option<ClientCertificates>,
    /// Oldest version that is spoken: 1.3 or 1.2 [default: 1.3]
    #[arg(long, value_name = "VERSION")]
    pub tls_min_version: Option<TlsVersion>,
}

/// An address as it is typed.
fn address(text: &str) -> Result<SocketAddr, String> {
    let parsed: Result<SocketAddr, _> = text.parse();
    parsed.map_err(|error| format!("{error}: {ADDRESS}"))
}

/// What an address is, wherever one was given that is none.
pub(super) const ADDRESS: &str =
    "an address is IP:PORT, such as 127.0.0.1:7400, [::1]:7400, or 0.0.0.0:7400 for all interfaces";

/// A region's name as it is typed.
pub(super) fn region_name(text: &str) -> Result<RegionName, String> {
    RegionName::parse(text).map_err(|error| error.to_string())
}

/// A peer as it is typed.
pub(super) fn peer(text: &str) -> Result<PeerOptions, String> {
    let (name, url) = text.split_once('=').ok_or("a peer is NAME=URL")?;
    let name = region_name(name)?;
    let parsed: Result<crate::client::BrokerUrl, _> = url.parse();
    parsed.map_err(|error| error.to_string())?;
    let url = url.to_owned();
    Ok(PeerOptions { name, url })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ready<'a> {
    event: &'static str,
    listen: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<SocketAddr>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tls: bool,
    data_dir: &'a str,
    version: &'static str,
}

/// Runs the broker until it is told to stop.
///
/// - `json`: the ready line and the log lines are JSON.
///
/// # Errors
/// When the broker cannot be started, or did not stop clean.
pub fn run(args: ServeArgs, json: bool) -> Result<(), Failure> {
    let options = serve_config::options(&args)
        .map_err(|error| Failure::usage("reading the configuration", error))?;
    options
        .check()
        .map_err(|error| Failure::usage("serve", error.to_string()))?;
    log_to_stderr(json);
    let data_dir = options.data_dir.display().to_string();
    if let Some(exposure) = options.exposure() {
        tracing::warn!("--insecure: {exposure}; whoever reaches it may read, write and delete");
    }
    let served = async {
        let mut printed = Ok(());
        let ready = |running: &Running| printed = print_ready(running, &data_dir, json);
        let is_clean = server::run(options, ready)
            .await
            .map_err(|error| not_started(&error, &data_dir))?;
        printed?;
        if is_clean {
            return Ok(());
        }
        let why = "not everything could be synced and recorded; the next start replays the journal";
        Err(Failure::because("stopping the broker", why))
    };
    block_on(served)
}

fn not_started(error: &StartError, data_dir: &str) -> Failure {
    let failure = Failure::new("starting the broker", error);
    let hint = match error {
        StartError::Open(why) if why.is_from_system() => hint_for_directory(Path::new(data_dir)),
        StartError::Open(why) if why.is_without_room() => Some(
            "or choose a --data-dir elsewhere: where this one would lie may be no disk at all"
                .to_owned(),
        ),
        _ => hint_for(error).map(str::to_owned),
    };
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// What to try where a data directory could not be made; none where there is one.
fn hint_for_directory(data_dir: &Path) -> Option<String> {
    if data_dir.is_dir() {
        return None;
    }
    if data_dir.symlink_metadata().is_ok() {
        return Some("it is no directory: --data-dir names one, or one to be made".to_owned());
    }
    let parent = data_dir.parent().unwrap_or(Path::new(""));
    let parent = match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => parent,
    };
    let shown = parent.display();
    Some(match parent.is_dir() {
        true => format!(
            "{shown} takes no new directory from this user: choose another --data-dir, or make \
             this one for the broker first"
        ),
        false => format!("there is no directory {shown}: make it first, with `mkdir -p {shown}`"),
    })
}

fn hint_for(error: &StartError) -> Option<&'static str> {
    let StartError::Listen { source, .. } = error else {
        return None;
    };
    match source.kind() {
        ErrorKind::AddrInUse => Some(
            "another process listens there: stop it, or choose another address with --listen or \
             --http, whichever this is",
        ),
        ErrorKind::AddrNotAvailable => Some(
            "no interface of this machine has it: 127.0.0.1 is reached from here alone, 0.0.0.0 \
             stands for all interfaces",
        ),
        ErrorKind::PermissionDenied => Some("choose a port from 1024 on with --listen or --http"),
        _ => None,
    }
}

fn print_ready(running: &Running, data_dir: &str, json: bool) -> Result<(), Failure> {
    let listen = running.listen();
    if json {
        let version = env!("CARGO_PKG_VERSION");
        return output::print_json(&Ready {
            event: "ready",
            listen,
            http: running.http(),
            tls: running.certificate().is_some(),
            data_dir,
            version,
        });
    }
    let certificate = running.certificate();
    let tls = if certificate.is_some() {
        ", with TLS"
    } else {
        ""
    };
    output::print(&format!(
        "npayload is ready on {listen}{tls}, data in {data_dir}"
    ))?;
    if std::io::stderr().is_terminal() {
        let url = match (certificate, listen.port()) {
            (None, crate::client::DEFAULT_PORT) => String::new(),
            (None, _) => format!(" --url npayload://{listen}"),
            (Some(certificate), port) => {
                let host = certificate.names.first().cloned();
                let host = host.unwrap_or_else(|| listen.ip().to_string());
                format!(" --url npayload+tls://{host}:{port} --ca CA.pem")
            }
        };
        let npayload = called::program();
        eprintln!("try, in another terminal:");
        eprintln!("  echo 'hello' | {npayload} publish demo{url}");
        eprintln!("  {npayload} consume demo --from start --follow{url}");
    }
    Ok(())
}

/// Logs go to stderr; `NPAYLOAD_LOG` says how much, as `debug` or `npayload::storage=debug`.
fn log_to_stderr(json: bool) {
    let filter = EnvFilter::try_from_env("NPAYLOAD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let has_color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(has_color);
    let installed = if json {
        builder.json().try_init()
    } else {
        builder.try_init()
    };
    if installed.is_err() {
        tracing::debug!("logs were set up already");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_that_can_t_be_made_is_told_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let hint = |name: &str| hint_for_directory(&dir.path().join(name));
        std::fs::write(dir.path().join("file"), "").unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        assert!(hint("file").unwrap().contains("no directory"));
        let parent = dir.path().join("none").display().to_string();
        assert!(
            hint("none/data")
                .unwrap()
                .ends_with(&format!("`mkdir -p {parent}`"))
        );
        assert!(hint("new").unwrap().contains("choose another --data-dir"));
        assert_eq!(hint("data"), None, "that is not what is wrong");
    }
}
