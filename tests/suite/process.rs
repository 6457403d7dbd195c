//! Starts the real binary, runs commands against it, stops it or kills it.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A broker in a process of its own; killed when dropped.
pub struct Broker {
    process: Process,
    pub url: String,
}

/// A broker that is not ready yet.
pub struct Starting {
    process: Process,
    out: BufReader<ChildStdout>,
}

/// A child that does not outlive its owner, also when a test panics.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone where the test has stopped it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a command printed.
pub struct Ran {
    pub code: i32,
    pub out: Vec<u8>,
    pub err: String,
}

impl Ran {
    /// Its stdout, if it succeeded.
    pub fn ok(self) -> Vec<u8> {
        assert_eq!(self.code, 0, "{}", self.err);
        self.out
    }

    /// Its stdout as one JSON value.
    pub fn json(self) -> Value {
        let out = self.ok();
        serde_json::from_slice(&out).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&out));
        })
    }

    /// Its stdout as one JSON value for each line.
    pub fn json_lines(self) -> Vec<Value> {
        let out = String::from_utf8(self.ok()).expect("JSON is UTF-8");
        out.lines()
            .map(|line| serde_json::from_str(line).expect("a JSON line"))
            .collect()
    }

    /// Its one line on stderr, if it failed with this code.
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}", self.err);
        assert_eq!(
            self.err.trim_end().lines().count(),
            1,
            "one line: {}",
            self.err
        );
        self.err
    }
}

impl Ran {
    /// It failed because the command line is wrong; clap says more than one line.
    pub fn fails_with_usage(self) {
        assert_eq!(self.code, 2, "{}", self.err);
    }
}

/// The binary, with nothing of the environment that would tell it where its broker is.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_npayload"));
    command
        .env_remove("NPAYLOAD_URL")
        .env("NPAYLOAD_LOG", "warn");
    command
}

fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a command that needs no broker.
pub fn npayload(args: &[&str]) -> Ran {
    ran(binary().args(args).output().expect("the binary runs"))
}

impl Broker {
    /// Starts a broker on a free port.
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    /// Starts a broker on a free port, with more arguments.
    pub fn start_with(dir: &Path, more: &[&str]) -> Self {
        Self::launch(dir, more).ready()
    }

    /// Starts the process of a broker, and does not wait until it is ready.
    ///
    /// Its configuration is the file beside `dir` that ends in `.toml`, which a test may have
    /// written before.
    pub fn launch(dir: &Path, more: &[&str]) -> Starting {
        Self::launch_by(binary(), dir, more)
    }

    /// The same by another command that runs the binary.
    pub fn launch_by(mut command: Command, dir: &Path, more: &[&str]) -> Starting {
        let config = dir.with_extension("toml");
        let small = "[storage]\njournal_file_bytes = 4194304\nmax_round_bytes = 1048576\n";
        if !config.exists() {
            std::fs::write(&config, small).expect("a configuration file");
        }
        let mut child = command
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(dir)
            .arg("--config")
            .arg(&config)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        Starting {
            process: Process(child),
            out,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        let address = self.url.trim_start_matches("npayload://");
        address.parse().expect("an address")
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("still there");
    }

    /// Runs a command against this broker.
    pub fn run(&self, args: &[&str]) -> Ran {
        ran(self.command(args).output().expect("the binary runs"))
    }

    /// Runs a command with this stdin.
    pub fn run_with(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut stdin = child.stdin.take().expect("piped");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            // A command that fails early reads no further.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().expect("the command ends");
        writer.join().expect("the writer ends");
        ran(output)
    }

    /// A command against this broker, to be started by the test.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = binary();
        command
            .args(args)
            .env("NPAYLOAD_URL", &self.url)
            .stdin(Stdio::null());
        command
    }

    /// Kills it without warning.
    pub fn kill(mut self) {
        self.process.0.kill().expect("still running");
        self.process.0.wait().expect("killed");
    }

    /// Kills it, also if it is ending by itself.
    pub fn kill_anyway(self) {
        drop(self);
    }

    /// Asks it to stop; its exit code.
    pub fn terminate(mut self) -> i32 {
        self.signal(Signal::TERM);
        wait_for("the broker to stop", || {
            self.process.0.try_wait().expect("a child")
        })
        .code()
        .unwrap_or(-1)
    }
}

impl Starting {
    /// Waits for the ready line.
    pub fn ready(mut self) -> Broker {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("a ready line");
        let ready: Value = serde_json::from_str(&line).expect("the ready line is JSON");
        assert_eq!(ready["event"], "ready");
        let listen = ready["listen"].as_str().expect("an address");
        Broker {
            process: self.process,
            url: format!("npayload://{listen}"),
        }
    }

    /// Kills it wherever it is.
    pub fn kill(self) {
        drop(self);
    }
}

/// Waits until something is there.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = clock();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "waited 20 s for {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's patience is measured in real time"
)]
pub fn clock() -> Instant {
    Instant::now()
}
