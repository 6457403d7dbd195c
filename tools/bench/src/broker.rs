//! The broker under load: one that runs already, a process started for this run, or one inside
//! this process.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use npayload::access::{KeyKind, Limits, Scope};
use npayload::client::BrokerUrl;
use npayload::protocol::access::KeyCreate;
use npayload::server::{Running, ServeOptions, start};
use npayload::tls::{
    ClientCertificates, ClientTls, ClientTlsOptions, DevelopmentFiles, DevelopmentOptions,
    ServerTlsOptions, TlsVersion,
};
use npayload::types::{DEFAULT_ORG_NAME, OrgName, Timestamp};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tempfile::TempDir;

use crate::clock;
use crate::measured::float;
use crate::process::cpu_seconds;
use crate::wire::Target;

/// How long a started broker gets to stop.
const STOP_TIME: Duration = Duration::from_secs(60);

/// How often it is asked whether it has.
const STOP_LOOK: Duration = Duration::from_millis(5);

/// A broker; if it was started here, it is stopped and its data removed in the end.
pub struct Broker {
    /// How it is reached.
    pub target: Target,
    /// How it runs, for people.
    pub kind: &'static str,
    http: Option<SocketAddr>,
    /// What is run, where that was said.
    binary: Option<PathBuf>,
    started: Started,
}

enum Started {
    Elsewhere,
    Process(Child, TempDir),
    Inside(Box<Running>, TempDir),
    Stopped,
}

impl Broker {
    /// The broker at `url`, with the CA to trust over TLS; else a process of `binary`, or of the `npayload` beside this program;
    /// else one inside this process. Data of a started one lies under `dir`.
    pub async fn get(
        url: Option<&str>,
        ca: Option<&Path>,
        binary: Option<&Path>,
        dir: &Path,
    ) -> Result<Self> {
        if let Some(url) = url {
            let url: BrokerUrl = if url.contains("://") {
                url.parse()?
            } else {
                format!("npayload://{url}").parse()?
            };
            let tls = match url.tls {
                true => Some(ClientTls::load(&ClientTlsOptions {
                    ca: ca.map(Path::to_owned),
                    ..ClientTlsOptions::default()
                })?),
                false => None,
            };
            return Ok(Self {
                target: Target {
                    url,
                    tls,
                    api_key: None,
                },
                kind: "running elsewhere",
                http: None,
                binary: None,
                started: Started::Elsewhere,
            });
        }
        Self::started(binary, dir, Speaks::Plain).await
    }

    /// A broker for this run alone, with or without TLS.
    pub async fn started(binary: Option<&Path>, dir: &Path, speaks: Speaks) -> Result<Self> {
        let data = tempfile::Builder::new()
            .prefix("npayload-bench-")
            .tempdir_in(dir)
            .with_context(|| format!("making a data directory in {}", dir.display()))?;
        let certificates = match speaks {
            Speaks::Plain => None,
            Speaks::Tls => Some(Certificates::make(&data.path().join("certificates"))?),
        };
        let beside = std::env::current_exe()?.with_file_name("npayload");
        match binary {
            Some(binary) => Self::process(binary, data, certificates),
            None if beside.is_file() => Self::process(&beside, data, certificates),
            None => Self::inside(data, certificates).await,
        }
    }

    fn process(binary: &Path, data: TempDir, certificates: Option<Certificates>) -> Result<Self> {
        // Its figures are asked for over HTTP; the port is free unless somebody is very fast.
        let http = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(binary);
        command
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data.path().join("data"));
        // Over TLS they are not: it is the processor's time that counts there.
        let http = match &certificates {
            None => {
                command.arg("--http").arg(http.to_string());
                Some(http)
            }
            Some(certificates) => {
                let server = &certificates.server;
                command.arg("--tls-cert").arg(&server.cert);
                command.arg("--tls-key").arg(&server.key);
                None
            }
        };
        let mut child = command
            .env("NPAYLOAD_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let mut line = String::new();
        let out = child.stdout.take().context("the broker's output")?;
        let mut broker = Self {
            target: target("127.0.0.1:0", certificates.as_ref())?,
            kind: "a process of its own",
            http,
            binary: Some(binary.to_owned()),
            started: Started::Process(child, data),
        };
        BufReader::new(out).read_line(&mut line)?;
        let ready: serde_json::Value =
            serde_json::from_str(&line).with_context(|| format!("the broker said `{line}`"))?;
        let listen = ready["listen"].as_str();
        let listen = listen.context("no address in the ready line")?;
        broker.target = target(listen, certificates.as_ref())?;
        Ok(broker)
    }

    async fn inside(data: TempDir, certificates: Option<Certificates>) -> Result<Self> {
        let tls = certificates
            .as_ref()
            .map(|certificates| certificates.server.clone());
        let running = start(ServeOptions {
            data_dir: data.path().join("data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls,
            ..ServeOptions::default()
        })
        .await?;
        Ok(Self {
            target: target(&running.listen().to_string(), certificates.as_ref())?,
            kind: "inside the load generator",
            http: None,
            binary: None,
            started: Started::Inside(Box::new(running), data),
        })
    }

    /// Has this run show an API key from now on, with limits for it and its organisation that it
    /// does not reach: everything is judged and counted, nothing refused.
    pub async fn count_everything(&mut self) -> Result<()> {
        let client = self.target.client().await?;
        let limits = Limits {
            max_connections: Some(u32::MAX),
            requests_per_s: Some(u32::MAX),
            bytes_in_per_s: Some(u32::MAX),
            bytes_out_per_s: Some(u32::MAX),
            ..Limits::default()
        };
        let default = OrgName::parse(DEFAULT_ORG_NAME)?;
        client.limit_org(default, limits).await?;
        let key = KeyCreate {
            org: None,
            name: "npayload-bench".to_owned(),
            kind: KeyKind::Test,
            scopes: vec![Scope::all()],
            limits,
            expires_at: None,
            certificate: None,
        };
        self.target.api_key = Some(client.create_key(key).await?.1);
        Ok(())
    }

    /// Its process, if it was started for the run as one.
    pub fn pid(&self) -> Result<u32> {
        match &self.started {
            Started::Process(child, _) => Ok(child.id()),
            _ => bail!("this needs a broker that is a process of its own: give --broker"),
        }
    }

    /// What it has spent since it was started; nothing of a broker that is no process of ours.
    pub fn spent(&self) -> Option<Spent> {
        let Started::Process(child, _) = &self.started else {
            return None;
        };
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let metrics = self.metrics().unwrap_or_default();
        let metric = |name: &str| {
            let value = metrics.lines().find_map(|line| line.strip_prefix(name));
            value.and_then(|value| value.trim().parse::<f64>().ok())
        };
        Some(Spent {
            cpu_seconds: cpu_seconds(child.id())?,
            peak_memory_mib: peak.trim().trim_end_matches(" kB").parse::<u64>().ok()? / 1024,
            checkpoints: metric("npayload_checkpoints_total "),
            rounds: metric("npayload_rounds_total "),
            round_seconds: metric("npayload_round_duration_seconds_sum "),
        })
    }

    fn metrics(&self) -> Option<String> {
        let mut socket = TcpStream::connect(self.http?).ok()?;
        socket
            .write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
            .ok()?;
        let mut text = String::new();
        socket.read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// Kills a broker that is a process of ours, and starts it again on its data; the time until it
    /// was ready.
    ///
    /// - `keeps_snapshots`: else they are deleted, so that everything is read from its beginning.
    pub fn start_again(&mut self, keeps_snapshots: bool) -> Result<Duration> {
        let Started::Process(child, _) = &mut self.started else {
            bail!("only a broker that is a process started for the run is started again");
        };
        child.kill()?;
        child.wait()?;
        self.start_on_its_data(keeps_snapshots)
    }

    /// Stops a broker that is a process of ours, in order, and starts it again on its data; the
    /// time until it was ready.
    pub async fn start_again_clean(&mut self) -> Result<Duration> {
        let stopped = std::mem::replace(&mut self.started, Started::Stopped);
        let Started::Process(child, data) = stopped else {
            bail!("only a broker that is a process started for the run is started again");
        };
        self.started = Started::Process(terminate(child).await?, data);
        self.start_on_its_data(true)
    }

    fn start_on_its_data(&mut self, keeps_snapshots: bool) -> Result<Duration> {
        let Started::Process(_, data) = std::mem::replace(&mut self.started, Started::Stopped)
        else {
            bail!("a process that became something else");
        };
        let snapshots = data.path().join("data").join("snapshots");
        if !keeps_snapshots && snapshots.exists() {
            std::fs::remove_dir_all(&snapshots)?;
        }
        let beside = std::env::current_exe()?.with_file_name("npayload");
        let binary = self.binary.clone().unwrap_or(beside);
        let began = clock();
        let again = Self::process(&binary, data, None)?;
        let took = began.elapsed();
        *self = again;
        Ok(took)
    }

    /// Stops a broker that was started here, in order, and removes its data.
    pub async fn stop(mut self) -> Result<()> {
        match std::mem::replace(&mut self.started, Started::Stopped) {
            Started::Elsewhere | Started::Stopped => Ok(()),
            Started::Inside(running, data) => {
                let is_clean = running.stop().await;
                data.close()?;
                if !is_clean {
                    bail!("the broker did not stop clean");
                }
                Ok(())
            }
            Started::Process(child, data) => {
                terminate(child).await?;
                data.close()?;
                Ok(())
            }
        }
    }
}

/// Has a process end in order, and waits until it has; an error if it did not end well.
async fn terminate(mut child: Child) -> Result<Child> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.context("the broker's process id")?, Signal::TERM)?;
    let began = clock();
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(child),
            Some(status) => bail!("the broker ended with {status}"),
            None if began.elapsed() > STOP_TIME => {
                child.kill()?;
                child.wait()?;
                bail!("the broker did not stop within {STOP_TIME:?}");
            }
            None => tokio::time::sleep(STOP_LOOK).await,
        }
    }
}

/// Whether a started broker has a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// It has none.
    Plain,
    /// It has one, made for this run.
    Tls,
}

/// Certificates of one run.
struct Certificates {
    server: ServerTlsOptions,
    client: ClientTls,
}

impl Certificates {
    fn make(dir: &Path) -> Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "certificates are made for today")]
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let options = DevelopmentOptions {
            dir: dir.to_owned(),
            names: vec!["127.0.0.1".to_owned()],
            clients: Vec::new(),
            days: 1,
        };
        let now = Timestamp(i64::try_from(since.as_millis())?);
        let made = DevelopmentFiles::make(&options, now)?;
        let (cert, key) = made.server.context("a certificate for the broker")?;
        Ok(Self {
            server: ServerTlsOptions {
                cert,
                key,
                client_ca: None,
                client_certificates: ClientCertificates::default(),
                min_version: TlsVersion::default(),
            },
            client: ClientTls::load(&ClientTlsOptions {
                ca: Some(made.ca),
                ..ClientTlsOptions::default()
            })?,
        })
    }
}

fn target(listen: &str, certificates: Option<&Certificates>) -> Result<Target> {
    let tls = certificates.map(|certificates| certificates.client.clone());
    let mut url: BrokerUrl = format!("npayload://{listen}").parse()?;
    url.tls = tls.is_some();
    Ok(Target {
        url,
        tls,
        api_key: None,
    })
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Only after a failure: a run that ends well has called `stop`.
        if let Started::Process(child, _) = &mut self.started
            && let Err(error) = child.kill().and_then(|()| child.wait())
        {
            eprintln!("the broker may still run: {error}");
        }
    }
}

/// What a broker process spent, from its start or over a run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spent {
    /// Processor time, of all its threads.
    pub cpu_seconds: f64,
    /// Most memory it ever held, mapped files included.
    pub peak_memory_mib: u64,
    /// Checkpoints that it took.
    pub checkpoints: Option<f64>,
    /// Rounds of its journal: one write and, for `synced` channels, one sync each.
    pub rounds: Option<f64>,
    /// Time they took.
    pub round_seconds: Option<f64>,
}

impl Spent {
    /// What was spent since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let minus = |a: Option<f64>, b: Option<f64>| Some(a? - b?);
        Self {
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
            peak_memory_mib: self.peak_memory_mib,
            checkpoints: minus(self.checkpoints, before.checkpoints),
            rounds: minus(self.rounds, before.rounds),
            round_seconds: minus(self.round_seconds, before.round_seconds),
        }
    }

    /// Processor time for each operation, in microseconds.
    pub fn cpu_us_each(&self, operations: u64) -> f64 {
        self.cpu_seconds * 1e6 / float(operations.max(1))
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} s of processor time, at most {} MiB of memory",
            self.cpu_seconds, self.peak_memory_mib
        )?;
        if let (Some(rounds), Some(seconds)) = (self.rounds, self.round_seconds) {
            let each = seconds * 1e6 / rounds.max(1.0);
            write!(f, ", {rounds:.0} journal rounds of {each:.0} µs")?;
        }
        Ok(())
    }
}
