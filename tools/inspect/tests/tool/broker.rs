//! The real broker as a process, as far as the tests of the tool need it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A broker on a free port; killed when dropped.
pub struct Broker {
    process: Child,
    url: String,
}

impl Broker {
    pub fn start(data: &Path) -> Self {
        let config = data.with_extension("toml");
        let small = "[storage]\njournal_file_bytes = 4194304\nmax_round_bytes = 1048576\n";
        std::fs::write(&config, small).unwrap();
        let mut process = Command::new(binary())
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .arg("--config")
            .arg(&config)
            .env("NPAYLOAD_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = process.stdout.take().unwrap();
        // Before anything can fail, so that it ends with the test.
        let mut broker = Self {
            process,
            url: String::new(),
        };
        BufReader::new(out).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).expect("the ready line");
        broker.url = format!("npayload://{}", ready["listen"].as_str().unwrap());
        broker
    }

    /// What a command against it prints; it succeeds.
    pub fn run(&self, args: &[&str], input: &str) -> String {
        let mut child = Command::new(binary())
            .args(args)
            .env("NPAYLOAD_URL", &self.url)
            .env("NPAYLOAD_LOG", "warn")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that reads nothing may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let Output {
            status,
            stdout,
            stderr,
        } = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{args:?}: {stderr}");
        String::from_utf8(stdout).unwrap()
    }

    /// Stops it, and it says that all is well.
    pub fn stop(mut self) {
        let pid = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw);
        kill_process(pid.unwrap(), Signal::TERM).unwrap();
        assert_eq!(self.process.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Already gone where the test has stopped it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The broker's binary. The tests of the workspace build it; those of this package alone do not, and
/// then it is built here once.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let beside = Path::new(env!("CARGO_BIN_EXE_npayload-inspect")).with_file_name("npayload");
        if !beside.is_file() {
            let is_release = beside.parent().is_some_and(|dir| dir.ends_with("release"));
            let built = Command::new(env!("CARGO"))
                .args([
                    "build",
                    "--quiet",
                    "--package",
                    "npayload",
                    "--bin",
                    "npayload",
                ])
                .args(is_release.then_some("--release"))
                .status()
                .unwrap();
            assert!(built.success() && beside.is_file(), "{}", beside.display());
        }
        beside
    })
}
