//! The broker under load: one that runs already, or a process started for this run.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// A broker, stopped and its data removed when dropped if it was started here.
pub struct Broker {
    pub address: String,
    started: Option<(Child, PathBuf)>,
}

impl Broker {
    /// The broker at `url`, or a new one with its data under `dir`.
    pub fn get(url: Option<&str>, binary: Option<&Path>, dir: &Path) -> Result<Self> {
        if let Some(url) = url {
            let address = url.strip_prefix("npayload://").unwrap_or(url).to_owned();
            return Ok(Self {
                address,
                started: None,
            });
        }
        let beside = std::env::current_exe()?.with_file_name("npayload");
        let binary = binary.unwrap_or(&beside);
        if !binary.is_file() {
            bail!(
                "{} is not there: build it with `cargo build --release`, or give --url or --broker",
                binary.display()
            );
        }
        let data = dir.join(format!("npayload-bench-{}", std::process::id()));
        let mut child = Command::new(binary)
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&data)
            .env("NPAYLOAD_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let mut line = String::new();
        let out = child.stdout.take().context("the broker's output")?;
        BufReader::new(out).read_line(&mut line)?;
        let mut broker = Self {
            address: String::new(),
            started: Some((child, data)),
        };
        let ready: serde_json::Value =
            serde_json::from_str(&line).with_context(|| format!("the broker said `{line}`"))?;
        broker.address = ready["listen"]
            .as_str()
            .context("no address in the ready line")?
            .to_owned();
        Ok(broker)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some((mut child, data)) = self.started.take() {
            let stopped = child.kill().and_then(|()| child.wait());
            let removed = std::fs::remove_dir_all(&data);
            if stopped.is_err() || removed.is_err() {
                eprintln!("left behind: {}", data.display());
            }
        }
    }
}
