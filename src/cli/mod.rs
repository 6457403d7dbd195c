//! The command line: one file for each command.
//!
//! Data goes to stdout, everything else to stderr; with `--json` there is nothing but JSON on
//! stdout, one value a line (docs/operations.md, "For programs"). Exit code 0: done, 1: failed, with one line on stderr that says what,
//! why and what to try; 2: the command line is wrong. Not here: anything that another program would
//! want too, which is the client's.

mod agent;
mod atomic;
mod audit;
mod broker;
mod called;
mod cert;
mod channel;
mod commitment;
mod completions;
mod consent;
mod consume;
mod consumer;
mod differing;
mod dispute;
mod elsewhere;
mod escrow;
mod failure;
mod gathered;
mod grant;
mod interest;
mod key;
mod lines;
mod listing;
mod market;
mod merged;
mod org;
mod output;
mod place;
mod price;
mod promised;
mod publish;
mod record_json;
mod region;
mod region_verify;
mod republish;
mod serve;
mod serve_config;
mod session;
mod session_message;
mod session_tail;
mod session_verify;
mod signing_key;
mod tls_args;
mod tool;
mod trust;
mod typed;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

pub use failure::Failure;
pub use serve::ServeArgs;

use crate::access::{InvalidSecret, Secret};
use crate::client::{Client, DEFAULT_PORT};
use crate::format::Compression;
use crate::protocol::control::CompressionName;
use crate::types::{ChannelName, ConsumerName, InvalidName, OrgName, RegionName, Timestamp};

/// How long a command tries to reach the broker, where it has no option for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The variable that holds an API key.
const API_KEY_VARIABLE: &str = "NPAYLOAD_API_KEY";
/// How long one request may take, where the command has no option for it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The whole command line.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "npayload",
    version,
    about = "A durable append-only log broker",
    after_help = "Examples:
  npayload serve                                   start a broker on 127.0.0.1:7400
  npayload channel create chat.log                 create a channel
  npayload publish chat.log --file lines.txt       publish each line as a record
  npayload consume chat.log --from -10 --follow    the last ten records, and what comes",
    arg_required_else_help = true,
    subcommand_required = true
)]
pub struct Cli {
    /// The broker, npayload://HOST:PORT or npayload+tls://HOST:PORT [default: npayload://127.0.0.1:7400]
    #[arg(
        long,
        global = true,
        env = "NPAYLOAD_URL",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    url: Option<String>,
    /// File with the API key to show; NPAYLOAD_API_KEY holds one too
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "NPAYLOAD_API_KEY_FILE",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    api_key_file: Option<PathBuf>,
    /// Show the API key also where the connection is not encrypted and leaves this machine
    #[arg(long, global = true, help_heading = "Global options")]
    plain_key: bool,
    #[command(flatten)]
    tls: tls_args::ClientTlsArgs,
    /// Print JSON, one value a line
    ///
    /// What is listed is a line for each row, which can be read as it comes; the rows of `channel list`,
    /// `consumer list` and `consumer lag` are one array on one line.
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// A command.
#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Start the broker; it stops on SIGINT and SIGTERM
    Serve(Box<ServeArgs>),
    /// Create, list, describe, change and delete channels
    #[command(subcommand)]
    Channel(channel::ChannelCommand),
    /// Describe the broker, and have what it stores checked
    #[command(subcommand)]
    Broker(broker::BrokerCommand),
    /// Publish the lines of a file or of stdin, one record each
    Publish(publish::PublishArgs),
    /// Print the records of a channel
    Consume(consume::ConsumeArgs),
    /// Named consumers, their positions and their lag
    #[command(subcommand)]
    Consumer(consumer::ConsumerCommand),
    /// Organisations: walls around channels, keys and agents
    #[command(subcommand)]
    Org(org::OrgCommand),
    /// API keys: who may do what
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Grants: what one organisation lets another do with its channels
    #[command(subcommand)]
    Grant(grant::GrantCommand),
    /// Agents: who there is, and what they can do
    #[command(subcommand)]
    Agent(agent::AgentCommand),
    /// Sessions: what agents say to each other
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Tool calls: what agents do
    #[command(subcommand)]
    Tool(tool::ToolCommand),
    /// Commitments: what agents promise each other
    #[command(subcommand)]
    Commitment(commitment::CommitmentCommand),
    /// Disputes: that a promise was not kept
    #[command(subcommand)]
    Dispute(dispute::DisputeCommand),
    /// Trust: how far agents keep what they promise
    #[command(subcommand)]
    Trust(trust::TrustCommand),
    /// Escrow: money behind promises
    #[command(subcommand)]
    Escrow(escrow::EscrowCommand),
    /// Market: what organisations list of their agents, and who subscribes to it
    #[command(subcommand)]
    Market(market::MarketCommand),
    /// Regions: links to others, and copies of their channels
    #[command(subcommand)]
    Region(region::RegionCommand),
    /// Consent: which regions may hold the bytes of a channel or an organisation
    #[command(subcommand)]
    Consent(consent::ConsentCommand),
    /// Interest: which channels of other regions are copied here
    #[command(subcommand)]
    Interest(interest::InterestCommand),
    /// Print who did what to the broker, or check the record of it
    Audit(audit::AuditArgs),
    /// Certificates for development
    #[command(subcommand)]
    Cert(cert::CertCommand),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
}

/// Options that all commands share.
#[derive(Debug)]
pub(crate) struct Context {
    url: String,
    api_key_file: Option<PathBuf>,
    plain_key: bool,
    tls: tls_args::ClientTlsArgs,
    json: bool,
}

/// Lets every argument be a negative number: so it is judged as the value that it is, and not as an
/// option that nobody knows.
fn takes_negative_numbers(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| {
            let takes_value = arg.get_action().takes_values();
            arg.allow_negative_numbers(takes_value)
        })
        .mut_subcommands(takes_negative_numbers)
}

/// The error with what a number looks like, where one was given that is none.
fn with_tip(mut error: clap::Error) -> clap::Error {
    let why = std::error::Error::source(&error).map(ToString::to_string);
    if why.is_some_and(|why| why == "invalid digit found in string") {
        let tip = "it takes a whole number, from 0 on and without a sign".into();
        let tips = clap::error::ContextValue::StyledStrs(vec![tip]);
        error.insert(clap::error::ContextKind::Suggested, tips);
    }
    error
}

impl Cli {
    /// The command line of this process. Where it is wrong, says so and ends the process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::of(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// The command line that these arguments are, the first of which names the program.
    fn of(
        args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let mut command = takes_negative_numbers(Self::command());
        let matches = command.try_get_matches_from_mut(args);
        matches
            .and_then(|matches| {
                let read = Self::from_arg_matches(&matches);
                read.map_err(|error| error.format(&mut command))
            })
            .map_err(with_tip)
    }

    /// Carries the command out.
    ///
    /// # Errors
    /// [`Failure`], which knows its line on stderr and its exit code.
    pub fn run(self) -> Result<(), Failure> {
        let context = Context {
            url: self
                .url
                // An empty variable is the usual way to take a setting back.
                .filter(|url| !url.is_empty())
                .unwrap_or_else(|| format!("npayload://127.0.0.1:{DEFAULT_PORT}")),
            api_key_file: self
                .api_key_file
                .filter(|file| !file.as_os_str().is_empty()),
            plain_key: self.plain_key,
            tls: self.tls,
            json: self.json,
        };
        let is_local = matches!(
            self.command,
            Command::Serve(_) | Command::Completions(_) | Command::Cert(_)
        );
        if let Some(flag) = context.tls.given().filter(|_| is_local) {
            let why = "it is for commands that connect to a broker; `serve` has --tls-cert, \
                       --tls-key and --tls-client-ca";
            return Err(Failure::usage(flag, why));
        }
        match self.command {
            Command::Serve(args) => serve::run(*args, context.json),
            Command::Completions(args) => completions::run(&args),
            Command::Cert(command) => cert::run(command, context.json),
            Command::Channel(command) => block_on(channel::run(command, &context)),
            Command::Audit(args) => block_on(audit::run(args, &context)),
            Command::Broker(command) => block_on(broker::run(command, &context)),
            Command::Publish(args) => block_on(publish::run(args, &context)),
            Command::Consume(args) => block_on(consume::run(args, &context)),
            Command::Consumer(command) => block_on(consumer::run(command, &context)),
            Command::Org(command) => block_on(org::run(command, &context)),
            Command::Key(command) => block_on(key::run(command, &context)),
            Command::Grant(command) => block_on(grant::run(command, &context)),
            Command::Agent(command) => block_on(agent::run(command, &context)),
            Command::Session(command) => block_on(session::run(command, &context)),
            Command::Tool(command) => block_on(tool::run(command, &context)),
            Command::Commitment(command) => block_on(commitment::run(command, &context)),
            Command::Dispute(command) => block_on(dispute::run(command, &context)),
            Command::Trust(command) => block_on(trust::run(command, &context)),
            Command::Escrow(command) => block_on(escrow::run(command, &context)),
            Command::Market(command) => block_on(market::run(command, &context)),
            Command::Region(command) => block_on(region::run(command, &context)),
            Command::Consent(command) => block_on(consent::run(command, &context)),
            Command::Interest(command) => block_on(interest::run(command, &context)),
        }
    }
}

fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("starting", &error))?;
    let result = runtime.block_on(command);
    // What still runs in the background has nothing left to tell.
    runtime.shutdown_background();
    result
}

impl Context {
    /// A connection, made within [`CONNECT_TIMEOUT`].
    async fn client(&self) -> Result<Client, Failure> {
        self.client_within(CONNECT_TIMEOUT, REQUEST_TIMEOUT).await
    }

    async fn client_within(&self, connect: Duration, request: Duration) -> Result<Client, Failure> {
        let mut builder = Client::builder()
            .name("npayload-cli")
            .connect_timeout(connect)
            .request_timeout(request);
        if let Some(key) = self.api_key()? {
            builder = builder.api_key(key).plain_key(self.plain_key);
        }
        if let Some(tls) = self.tls.load(&self.url)? {
            builder = builder.tls(tls);
        }
        builder
            .connect(&self.url)
            .await
            .map_err(|error| Failure::connect(&error))
    }

    /// The key to show: of the file that is named, else of the environment. A command line shows in
    /// the list of processes, so no option takes a key itself.
    fn api_key(&self) -> Result<Option<Secret>, Failure> {
        let (text, from) = if let Some(file) = &self.api_key_file {
            let what = || format!("reading the API key in {}", file.display());
            let text = std::fs::read_to_string(file);
            (
                text.map_err(|error| Failure::new(what(), &error))?,
                file.display().to_string(),
            )
        } else {
            match std::env::var(API_KEY_VARIABLE) {
                Ok(text) if !text.is_empty() => (text, API_KEY_VARIABLE.to_owned()),
                _ => return Ok(None),
            }
        };
        let text = zeroize::Zeroizing::new(text);
        let key = text.trim().parse();
        key.map(Some)
            .map_err(|error: InvalidSecret| Failure::usage(from, error.to_string()))
    }

    /// The time that an age such as `@-1h` is counted back from.
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_millisecond())
    }
}

/// Waits for SIGINT or SIGTERM.
async fn interrupted() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                () = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    interrupt.await;
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CompressionArg {
    /// Not at all.
    None,
    /// LZ4: fast.
    Lz4,
    /// zstd: small.
    Zstd,
}

impl CompressionArg {
    fn name(self) -> &'static str {
        Compression::from(self).name()
    }
}

impl From<CompressionArg> for Compression {
    fn from(arg: CompressionArg) -> Self {
        match arg {
            CompressionArg::None => Self::None,
            CompressionArg::Lz4 => Self::Lz4,
            CompressionArg::Zstd => Self::Zstd,
        }
    }
}

impl From<CompressionArg> for CompressionName {
    fn from(arg: CompressionArg) -> Self {
        match arg {
            CompressionArg::None => Self::None,
            CompressionArg::Lz4 => Self::Lz4,
            CompressionArg::Zstd => Self::Zstd,
        }
    }
}

impl From<CompressionName> for CompressionArg {
    fn from(name: CompressionName) -> Self {
        match name {
            CompressionName::None => Self::None,
            CompressionName::Lz4 => Self::Lz4,
            CompressionName::Zstd => Self::Zstd,
        }
    }
}

/// The name of a channel to write to.
fn own_channel(text: &str) -> Result<ChannelName, InvalidName> {
    ChannelName::parse(text)
}

/// The name of a channel to read from: internal topics too.
fn any_channel(text: &str) -> Result<ChannelName, InvalidName> {
    ChannelName::parse_any(text)
}

fn region_name(text: &str) -> Result<RegionName, InvalidName> {
    RegionName::parse(text)
}

fn org_name(text: &str) -> Result<OrgName, InvalidName> {
    OrgName::parse(text)
}

fn consumer_name(text: &str) -> Result<ConsumerName, InvalidName> {
    ConsumerName::parse(text)
}
