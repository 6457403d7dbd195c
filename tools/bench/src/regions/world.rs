//! Three regions as processes, and the lines of their links.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use npayload::client::Client;
use npayload::protocol::region::{CopyStatus, InterestAdd, LinkState, RegionTold};
use tempfile::TempDir;
use tokio::time::sleep;

use super::Bench;
use super::goals::{LINE_BYTES_PER_S, ROUND_TRIP_MS};
use crate::broker::Broker;
use crate::clock;
use crate::line::Line;
use crate::process::cpu_seconds;

/// The regions, by their places below.
pub const NAMES: [&str; 3] = ["us-east", "eu-west", "ap-south"];
pub const EAST: usize = 0;
pub const WEST: usize = 1;
pub const SOUTH: usize = 2;

/// How long anything may take to be as it should be.
const PATIENCE: Duration = Duration::from_secs(120);

/// A line as it is between regions.
pub fn line(to: SocketAddr) -> Line {
    let line = Line::to(to);
    line.set(|condition| {
        condition.delay = Duration::from_millis(ROUND_TRIP_MS / 2);
        condition.bytes_per_s = Some(LINE_BYTES_PER_S);
    });
    line
}

/// A region: its process, and how clients of its own speak to it.
pub struct Region {
    pub broker: Broker,
    pub client: Client,
    child: Child,
}

impl Drop for Region {
    fn drop(&mut self) {
        // The data goes with it: there is nothing to be kept.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The three, each linked to the two others.
pub struct World {
    pub regions: Vec<Region>,
    /// The lines by who pulls and from whom; none to itself.
    lines: Vec<Vec<Option<Line>>>,
    data: TempDir,
}

impl World {
    pub async fn start(bench: &Bench<'_>) -> Result<Self> {
        Self::start_with(bench, &[]).await
    }

    /// With more options for each broker.
    pub async fn start_with(bench: &Bench<'_>, more: &[&str]) -> Result<Self> {
        let data = tempfile::Builder::new()
            .prefix("npayload-bench-regions-")
            .tempdir_in(bench.dir)
            .with_context(|| format!("making a data directory in {}", bench.dir.display()))?;
        // The ports are free unless somebody is very fast.
        let mut free = Vec::new();
        for _ in NAMES {
            free.push(TcpListener::bind("127.0.0.1:0")?);
        }
        let addresses: Vec<SocketAddr> = free
            .iter()
            .map(TcpListener::local_addr)
            .collect::<Result<_, _>>()?;
        drop(free);
        let lines_of = |puller: usize| {
            let all = addresses.iter().enumerate();
            all.map(|(source, address)| (source != puller).then(|| line(*address)))
                .collect::<Vec<_>>()
        };
        let mut world = Self {
            lines: (0..NAMES.len()).map(lines_of).collect(),
            regions: Vec::new(),
            data,
        };
        for (at, address) in addresses.iter().enumerate() {
            let region = world.region(bench, at, *address, more).await?;
            world.regions.push(region);
        }
        let linked = |told: &RegionTold| told.links.iter().all(|it| it.state == LinkState::Open);
        for at in 0..NAMES.len() {
            world.wait(at, "its links", linked).await?;
        }
        Ok(world)
    }

    async fn region(
        &self,
        bench: &Bench<'_>,
        at: usize,
        listen: SocketAddr,
        more: &[&str],
    ) -> Result<Region> {
        let mut command = Command::new(&bench.binary);
        command
            .args(["serve", "--json", "--region", NAMES[at], "--listen"])
            .arg(listen.to_string())
            .arg("--data-dir")
            .arg(self.data.path().join(NAMES[at]))
            .args(more);
        for (name, line) in NAMES.iter().zip(&self.lines[at]) {
            if let Some(line) = line {
                command.arg("--peer").arg(format!("{name}={}", line.url()));
            }
        }
        let mut child = command
            .env("NPAYLOAD_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", bench.binary.display()))?;
        let out = child.stdout.take().context("the broker's output")?;
        let mut ready = String::new();
        BufReader::new(out).read_line(&mut ready)?;
        if !ready.contains("ready") {
            bail!("{} said `{ready}`", NAMES[at]);
        }
        let url = format!("npayload://{listen}");
        let broker = Broker::get(Some(&url), None, None, bench.dir).await?;
        let client = broker.target.client().await?;
        Ok(Region {
            broker,
            client,
            child,
        })
    }

    /// The line on which one region pulls from another.
    pub fn line(&self, puller: usize, source: usize) -> &Line {
        self.lines[puller][source].as_ref().expect("two regions")
    }

    /// Bytes that a link has taken so far, both ways.
    pub fn link_bytes(&self, puller: usize, source: usize) -> u64 {
        self.line(puller, source).passed().iter().sum()
    }

    /// Processor seconds of a region.
    pub fn cpu_seconds(&self, at: usize) -> Result<f64> {
        let seconds = cpu_seconds(self.regions[at].child.id());
        seconds.context("the system does not tell a process's time")
    }

    /// Has a region ask for what matches.
    pub async fn want(&self, at: usize, pattern: &str, from: &str) -> Result<()> {
        let asked = serde_json::json!({"pattern": pattern, "from": from});
        let asked: InterestAdd = serde_json::from_value(asked)?;
        self.regions[at].client.add_interest(asked).await?;
        Ok(())
    }

    pub async fn told(&self, at: usize) -> Result<RegionTold> {
        Ok(self.regions[at].client.region_status().await?)
    }

    /// Waits until a region says that it is so.
    pub async fn wait(
        &self,
        at: usize,
        what: &str,
        is_so: impl Fn(&RegionTold) -> bool,
    ) -> Result<RegionTold> {
        let began = clock();
        loop {
            let told = self.told(at).await?;
            if is_so(&told) {
                return Ok(told);
            }
            if began.elapsed() > PATIENCE {
                bail!("{} still waits for {what}: {told:?}", NAMES[at]);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a region has a copy of a channel and follows it.
    pub async fn followed(&self, at: usize, channel: &str) -> Result<()> {
        let what = format!("its copy of {channel}");
        let is_it = |copy: &CopyStatus| copy.name.as_str() == channel && copy.followed;
        let is_so = |told: &RegionTold| told.copies.iter().any(is_it);
        self.wait(at, &what, is_so).await.map(drop)
    }
}
