//! `npayload cert`: certificates for development.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;

use super::failure::Failure;
use super::output;
use crate::tls::{DevelopmentError, DevelopmentFiles, DevelopmentOptions, PeerCertificate};
use crate::types::Timestamp;

/// What to make.
#[derive(Clone, Debug, Subcommand)]
pub enum CertCommand {
    /// Make a CA of your own and a certificate for the broker, for development
    Dev(DevArgs),
}

/// Arguments of `npayload cert dev`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  npayload cert dev                                a CA, and a certificate for localhost
  npayload cert dev certs --name broker.internal   for another name
  npayload cert dev certs --client trainer         and a certificate for a client; also later,
                                                   by the CA that is there

The key of the CA lies beside the certificates: whoever can read it can be any broker and any
client. In production, use certificates of a CA that is kept elsewhere.")]
pub struct DevArgs {
    /// Directory of the files; made when missing
    #[arg(default_value = "certs")]
    dir: PathBuf,
    /// Host name or address of the broker; may be repeated [default: localhost,127.0.0.1,::1]
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    name: Vec<String>,
    /// Name of a client that gets a certificate; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    client: Vec<String>,
    /// Days until everything expires, 1 to 3650
    #[arg(long, default_value_t = 365)]
    days: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made<'a> {
    ca: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Pair<'a>>,
    clients: Vec<Pair<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pair<'a> {
    cert: &'a Path,
    key: &'a Path,
}

impl<'a> From<&'a (PathBuf, PathBuf)> for Pair<'a> {
    fn from((cert, key): &'a (PathBuf, PathBuf)) -> Self {
        Self { cert, key }
    }
}

/// Carries the command out.
///
/// # Errors
/// When a file is in the way, a name is none, or the operating system refuses.
pub fn run(command: CertCommand, json: bool) -> Result<(), Failure> {
    let CertCommand::Dev(args) = command;
    let names = if args.name.is_empty() {
        ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into()
    } else {
        args.name
    };
    let options = DevelopmentOptions {
        dir: args.dir,
        names,
        clients: args.client,
        days: args.days,
    };
    let now = Timestamp(jiff::Timestamp::now().as_millisecond());
    let made = DevelopmentFiles::make(&options, now).map_err(|error| failure(&error))?;
    if json {
        return output::print_json(&Made {
            ca: &made.ca,
            server: made.server.as_ref().map(Pair::from),
            clients: made.clients.iter().map(Pair::from).collect(),
        });
    }
    for line in lines(&made, &options) {
        output::print(&line)?;
    }
    Ok(())
}

fn failure(error: &DevelopmentError) -> Failure {
    let what = "making certificates";
    match error {
        DevelopmentError::Exists { .. } => Failure::new(what, error)
            .hint("name another directory, or remove the file if nothing uses it any more"),
        DevelopmentError::NothingToDo { .. } => {
            Failure::new(what, error).hint("name a client with --client NAME, or another directory")
        }
        DevelopmentError::Name { .. } | DevelopmentError::Days { .. } => {
            Failure::usage(what, error.to_string())
        }
        _ => Failure::new(what, error),
    }
}

/// The first name that the certificate in a file is for.
fn first_name(path: &Path) -> Option<String> {
    let der = CertificateDer::from_pem_file(path).ok()?;
    PeerCertificate::read(&der).ok()?.names.into_iter().next()
}

/// What was made, and what to try with it.
fn lines(made: &DevelopmentFiles, options: &DevelopmentOptions) -> Vec<String> {
    let ca = made.ca.display();
    let mut lines = Vec::new();
    // A client that comes later is for the broker's certificate that is there.
    let found = match &made.server {
        Some(_) => None,
        None => first_name(&options.dir.join("server.pem")),
    };
    let host = found
        .as_deref()
        .or(options.names.first().map(String::as_str));
    let host = host.unwrap_or("localhost");
    if let Some((cert, key)) = &made.server {
        let (cert, key) = (cert.display(), key.display());
        let names = options.names.join(", ");
        lines.push(format!("{ca}: a CA for development, which clients trust"));
        lines.push(format!("{cert}, {key}: the broker's, for {names}"));
    }
    for (cert, key) in &made.clients {
        let (cert, key) = (cert.display(), key.display());
        lines.push(format!("{cert}, {key}: a client's"));
    }
    lines.push("try:".to_owned());
    if let Some((cert, key)) = &made.server {
        let (cert, key) = (cert.display(), key.display());
        let client_ca = if made.clients.is_empty() {
            String::new()
        } else {
            format!(" --tls-client-ca {ca}")
        };
        lines.push(format!(
            "  npayload serve --tls-cert {cert} --tls-key {key}{client_ca}"
        ));
    }
    let identity = made
        .clients
        .first()
        .map_or_else(String::new, |(cert, key)| {
            format!(" --cert {} --cert-key {}", cert.display(), key.display())
        });
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.trim_start_matches("*.").to_owned()
    };
    lines.push(format!(
        "  npayload broker info --url npayload+tls://{host} --ca {ca}{identity}"
    ));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_comes_later_is_told_the_name_of_the_broker_that_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let mut options = DevelopmentOptions {
            dir: directory.path().join("certs"),
            names: vec!["broker.internal".to_owned()],
            clients: Vec::new(),
            days: 2,
        };
        let now = Timestamp(jiff::Timestamp::now().as_millisecond());
        DevelopmentFiles::make(&options, now).unwrap();
        options.names = vec!["localhost".to_owned()];
        options.clients = vec!["evaluator".to_owned()];
        let made = DevelopmentFiles::make(&options, now).unwrap();
        let last = lines(&made, &options).pop().unwrap();
        assert!(
            last.contains("--url npayload+tls://broker.internal --ca"),
            "{last}"
        );
    }
}
