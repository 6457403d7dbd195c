//! How the command line reaches a broker over TLS: flags, else the environment.
//!
//! Every value is the name of a file or of a host. No flag takes a key itself: whatever stands on
//! a command line shows in the list of processes.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use crate::tls::{ClientTls, ClientTlsOptions, IdentityFiles};

/// TLS towards the broker.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct ClientTlsArgs {
    /// Speak TLS, as with npayload+tls://HOST:PORT
    #[arg(long, global = true)]
    tls: bool,
    /// CAs to trust instead of the system's, PEM; implies --tls [env: NPAYLOAD_CA]
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Certificate of this client, PEM; implies --tls [env: NPAYLOAD_CERT]
    #[arg(long, global = true, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The key to it, PEM [env: NPAYLOAD_CERT_KEY]
    #[arg(long, global = true, value_name = "FILE")]
    cert_key: Option<PathBuf>,
    /// Name the broker's certificate must have, instead of the URL's host; implies --tls
    #[arg(long, global = true, value_name = "NAME")]
    server_name: Option<String>,
}

impl ClientTlsArgs {
    /// The flag that was given to a command that connects to no broker, if one was.
    pub(super) fn given(&self) -> Option<&'static str> {
        [
            ("--tls", self.tls),
            ("--ca", self.ca.is_some()),
            ("--cert", self.cert.is_some()),
            ("--cert-key", self.cert_key.is_some()),
            ("--server-name", self.server_name.is_some()),
        ]
        .into_iter()
        .find_map(|(flag, is_given)| is_given.then_some(flag))
    }

    /// What to speak TLS with; none where neither a flag nor the URL asks for it. The variables
    /// alone do not: they say how, so that they may stay set beside a broker without TLS.
    pub(super) fn load(&self, url: &str) -> Result<Option<ClientTls>, Failure> {
        if self.given().is_none() && !url.starts_with("npayload+tls://") {
            return Ok(None);
        }
        let cert = self.cert.clone().or_else(|| variable("NPAYLOAD_CERT"));
        let key = self
            .cert_key
            .clone()
            .or_else(|| variable("NPAYLOAD_CERT_KEY"));
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some(IdentityFiles { cert, key }),
            (None, None) => None,
            (Some(_), None) => {
                let why = "it needs --cert-key or NPAYLOAD_CERT_KEY: the file of the key to it";
                return Err(Failure::usage("--cert", why));
            }
            (None, Some(_)) => {
                let why = "it needs --cert or NPAYLOAD_CERT: the file of the certificate";
                return Err(Failure::usage("--cert-key", why));
            }
        };
        let options = ClientTlsOptions {
            ca: self.ca.clone().or_else(|| variable("NPAYLOAD_CA")),
            identity,
            server_name: self.server_name.clone(),
        };
        let loaded = ClientTls::load(&options);
        loaded
            .map(Some)
            .map_err(|error| Failure::new("preparing TLS", &error))
    }
}

/// A file that the environment names; an empty variable is one that was taken back.
fn variable(name: &str) -> Option<PathBuf> {
    let value: OsString = std::env::var_os(name)?;
    (!value.is_empty()).then(|| value.into())
}
