//! `npayload serve`: starts the broker.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;

/// Arguments of `npayload serve`. What is left out comes from the configuration file, else from
/// the defaults.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Directory of the data; created when missing [default: ./data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address to listen on; port 0 picks a free one [default: 127.0.0.1:7400]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Address to serve /metrics and /healthz on; neither is served unless set
    #[arg(long, value_name = "ADDR")]
    pub http: Option<SocketAddr>,
    /// Configuration file, TOML
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Runs the broker until it is told to stop.
///
/// `json` asks for the ready line, and the log lines, as JSON.
///
/// # Errors
/// When the broker cannot be started, or did not stop cleanly.
pub fn run(args: ServeArgs, json: bool) -> Result<(), Failure> {
    let _ = (args, json);
    Err(Failure::because("serve", "this build has no server"))
}
