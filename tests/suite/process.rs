//! Starts the real binary, runs commands against it, stops it or kills it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long a command may take that ends by itself: far longer than any does.
const COMMAND_PATIENCE: Duration = Duration::from_secs(300);

/// How long something may take that has to come: far longer than it does, also beside other work.
/// Whoever expects a test to fail waits less, with `NPAYLOAD_PATIENCE_S`.
fn patience() -> Duration {
    let seconds = std::env::var("NPAYLOAD_PATIENCE_S").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// A broker in a process of its own; killed when dropped. A test in which one has panicked fails.
pub struct Broker {
    process: Process,
    pub url: String,
    /// The address of `/healthz`, if it was told to have one.
    http: Option<String>,
    errors: File,
}

/// A broker that is not ready yet.
pub struct Starting {
    process: Process,
    out: BufReader<ChildStdout>,
    errors: File,
}

/// A child that does not outlive its owner, also when a test panics.
struct Process(Child);

impl Process {
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("still there");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone where the test has stopped it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let log = self.log();
        if let Some(at) = log
            .find("panicked at")
            .filter(|_| !std::thread::panicking())
        {
            let told: Vec<&str> = log[at..].lines().take(3).collect();
            panic!("a broker has {}", told.join(" "));
        }
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
        .env_remove("NPAYLOAD_API_KEY")
        .env_remove("NPAYLOAD_API_KEY_FILE")
        .env_remove("NPAYLOAD_CA")
        .env_remove("NPAYLOAD_CERT")
        .env_remove("NPAYLOAD_CERT_KEY")
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
        let config = dir.with_extension("toml");
        let small = "[storage]\njournal_file_bytes = 4194304\nmax_round_bytes = 1048576\n";
        if !config.exists() {
            std::fs::write(&config, small).expect("a configuration file");
        }
        Self::launch_by(binary(), &config, dir, more)
    }

    /// The same with another configuration, by another command that runs the binary.
    pub fn launch_by(command: Command, config: &Path, dir: &Path, more: &[&str]) -> Starting {
        let errors = tempfile::tempfile().expect("a temporary file");
        Self::launch_logging(command, config, dir, more, errors)
    }

    /// The same, with its log in a file.
    pub fn launch_logging(
        mut command: Command,
        config: &Path,
        dir: &Path,
        more: &[&str],
        errors: File,
    ) -> Starting {
        let stderr = errors.try_clone().expect("a second handle");
        let mut child = command
            .args(["serve", "--json", "--data-dir"])
            .arg(dir)
            .args(if more.contains(&"--listen") {
                &[][..]
            } else {
                &["--listen", "127.0.0.1:0"]
            })
            .arg("--config")
            .arg(config)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the binary starts");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        Starting {
            process: Process(child),
            out,
            errors,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        let address = self.url.trim_start_matches("npayload://");
        address.parse().expect("an address")
    }

    /// What it has logged so far. Read beside the place where the process goes on writing.
    pub fn log(&self) -> String {
        let mut bytes = vec![0; 1 << 20];
        let read = std::os::unix::fs::FileExt::read_at(&self.errors, &mut bytes, 0);
        bytes.truncate(read.expect("a file"));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the log has a line with this in it.
    pub fn logs(&self, text: &str) {
        wait_for(&format!("`{text}` in the log"), || {
            self.log().contains(text).then_some(())
        });
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// What it says of its own health.
    pub fn health(&self) -> Value {
        let mut raw = crate::raw::Raw::greeted(self.address());
        let info = raw.json(crate::raw::BROKER_INFO, &serde_json::json!({}));
        info.json()["health"].clone()
    }

    /// The whole answer to a GET.
    pub fn http_get(&self, path: &str) -> String {
        let http = self.http.as_ref().expect("started with --http");
        let mut stream = TcpStream::connect(http).expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    /// Status and body of `/healthz`.
    pub fn healthz(&self) -> (u16, String) {
        let answer = self.http_get("/healthz");
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        (status.expect("a status"), body.to_owned())
    }

    /// Runs a command against this broker.
    pub fn run(&self, args: &[&str]) -> Ran {
        let mut command = self.command(args);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        ran(ended(child.expect("the binary starts")))
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
        let output = ended(child);
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
    pub fn terminate(self) -> i32 {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits until it ends by itself; its exit code.
    pub fn wait(mut self) -> i32 {
        wait_for("the broker to stop", || {
            self.process.0.try_wait().expect("a child")
        })
        .code()
        .unwrap_or(-1)
    }
}

impl Starting {
    /// Waits for the ready line.
    pub fn ready(self) -> Broker {
        self.try_ready().unwrap_or_else(|why| panic!("{why}"))
    }

    /// Waits for the ready line, or for what a broker that can't start says.
    pub fn try_ready(mut self) -> Result<Broker, String> {
        let mut line = String::new();
        if self.out.read_line(&mut line).expect("a pipe") == 0 {
            let mut why = String::new();
            self.errors.rewind().expect("a file");
            self.errors.read_to_string(&mut why).expect("text");
            return Err(why);
        }
        let ready: Value = serde_json::from_str(&line).expect("the ready line is JSON");
        assert_eq!(ready["event"], "ready");
        let listen = ready["listen"].as_str().expect("an address");
        Ok(Broker {
            process: self.process,
            url: format!("npayload://{listen}"),
            http: ready["http"].as_str().map(str::to_owned),
            errors: self.errors,
        })
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Kills it wherever it is.
    pub fn kill(self) {
        drop(self);
    }
}

/// Waits until a command ends by itself; one that does not is killed, and fails the test.
pub fn ended(mut child: Child) -> Output {
    fn read(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                pipe.read_to_end(&mut bytes).expect("readable");
            }
            bytes
        })
    }
    drop(child.stdin.take());
    let (out, err) = (read(child.stdout.take()), read(child.stderr.take()));
    let began = clock();
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break Some(status);
        }
        if began.elapsed() > COMMAND_PATIENCE {
            child.kill().expect("still running");
            child.wait().expect("killed");
            break None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    let stdout = out.join().expect("no panic");
    let stderr = err.join().expect("no panic");
    let Some(status) = status else {
        panic!(
            "a command went on for {COMMAND_PATIENCE:?}: stdout {:?}, stderr {:?}",
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr),
        );
    };
    Output {
        status,
        stdout,
        stderr,
    }
}

/// Waits until something is there.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let (began, patience) = (clock(), patience());
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < patience, "waited {patience:?} for {what}");
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
