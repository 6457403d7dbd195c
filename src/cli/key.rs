//! `npayload key`: API keys.

use std::collections::BTreeSet;
use std::str::FromStr;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::failure::Failure;
use super::org::{LimitArgs, limits_text};
use super::output::{self, Columns};
use super::place::{Moment, age_ms};
use super::{Context, org_name};
use crate::access::{KeyKind, Operation, Pattern, Scope, Secret};
use crate::protocol::access::{KeyCreate, KeyRow};
use crate::types::{KeyId, OrgName, Timestamp};

/// What to do with keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key; its text is shown this once and kept nowhere
    Create(CreateArgs),
    /// List the keys of an organisation
    #[command(alias = "ls")]
    List {
        /// The organisation; your own unless given
        #[arg(long, value_name = "NAME", value_parser = org_name)]
        org: Option<OrgName>,
    },
    /// Replace a key by another that may do the same; the old one works a while longer
    #[command(after_help = "Example: npayload key rotate key_… --overlap 7d > worker.key")]
    Rotate {
        /// The key: key_…
        key: KeyId,
        /// How long the old key still works: 0s, 30m, 24h, 7d
        #[arg(long, value_name = "AGE", default_value = "24h", value_parser = overlap)]
        overlap: u32,
    },
    /// End a key at once, on open connections too
    Revoke {
        /// The key: key_…
        key: KeyId,
        /// Yes, really
        #[arg(long)]
        yes: bool,
    },
}

/// A key to make.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  npayload key create acme-admin --org acme --scope all > acme-admin.key
  npayload key create worker --scope 'publish,consume:orders.*' --expires 90d > worker.key
  npayload key create bots --scope 'asp:*:research-*' > bots.key
  npayload key create prometheus --scope metrics > metrics.key

The text of the key goes to stdout, what it is to stderr.")]
pub struct CreateArgs {
    /// What to call it: the application or the agent that will use it
    name: String,
    /// What it may do: `OPERATIONS[:CHANNELS[:AGENTS]]`, each a list with commas; several may be given.
    /// Operations: publish, consume, channelAdmin, asp, accessAdmin, replicate, inspect, metrics, or
    /// all. Channels and agents: names, or prefixes followed by `*`; every one unless given
    #[arg(
        long = "scope",
        value_name = "SCOPE",
        required = true,
        allow_hyphen_values = true
    )]
    scopes: Vec<ScopeArg>,
    /// The organisation; your own unless given
    #[arg(long, value_name = "NAME", value_parser = org_name)]
    org: Option<OrgName>,
    /// A key for tests: npk_test_…
    #[arg(long)]
    test: bool,
    /// When it ends by itself: a time such as 2027-01-31T08:00:00Z, or an age such as 90d
    #[arg(long, value_name = "WHEN")]
    expires: Option<Moment>,
    /// A client certificate with this name (an alternative name such as spiffe://acme/worker, or the
    /// common name) stands for the key; for keys of the default organisation to say
    #[arg(long, value_name = "NAME")]
    certificate: Option<String>,
    #[command(flatten)]
    limits: LimitArgs,
}

/// A scope as it is typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeArg(Scope);

impl FromStr for ScopeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let operations = parts.next().unwrap_or_default();
        let operations: BTreeSet<Operation> = match operations {
            "all" => Operation::ALL.into_iter().collect(),
            list => list
                .split(',')
                .map(|word| word.parse::<Operation>().map_err(|error| error.to_string()))
                .collect::<Result<_, String>>()?,
        };
        let mut patterns = || -> Result<Vec<Pattern>, String> {
            match parts.next() {
                None => Ok(vec![Pattern::all()]),
                Some(list) => list
                    .split(',')
                    .map(|word| word.parse::<Pattern>().map_err(|error| error.to_string()))
                    .collect(),
            }
        };
        let (channels, agents) = (patterns()?, patterns()?);
        if parts.next().is_some() {
            return Err("a scope is OPERATIONS[:CHANNELS[:AGENTS]]".to_owned());
        }
        Ok(Self(Scope {
            operations,
            channels,
            agents,
        }))
    }
}

fn overlap(text: &str) -> Result<u32, String> {
    let ms = age_ms(text)?;
    u32::try_from(ms).map_err(|_| format!("{text} is longer than 49 days"))
}

/// A key that was made, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made<'a> {
    #[serde(flatten)]
    key: &'a KeyRow,
    secret: &'a str,
}

/// Carries the command out.
///
/// # Errors
/// When the broker refuses or is not there.
pub async fn run(command: KeyCommand, context: &Context) -> Result<(), Failure> {
    match command {
        KeyCommand::Create(args) => {
            let request = KeyCreate {
                org: args.org,
                name: args.name,
                kind: if args.test {
                    KeyKind::Test
                } else {
                    KeyKind::Live
                },
                scopes: args
                    .scopes
                    .into_iter()
                    .map(|ScopeArg(scope)| scope)
                    .collect(),
                limits: args.limits.limits(),
                expires_at: args.expires.map(|moment| moment.after(context.now())),
                certificate: args.certificate,
            };
            let what = format!("making key {}", request.name);
            let made = context.client().await?.create_key(request).await;
            let (key, secret) = made.map_err(|error| Failure::request(what, &error, None))?;
            print_made(&key, &secret, context)
        }
        KeyCommand::Rotate { key, overlap } => {
            let made = context.client().await?.rotate_key(key, overlap).await;
            let (key, secret) =
                made.map_err(|error| Failure::request(format!("rotating {key}"), &error, None))?;
            print_made(&key, &secret, context)
        }
        KeyCommand::Revoke { key, yes } => {
            if !yes {
                let why = "it would end at once for whoever uses it";
                return Err(Failure::usage(format!("revoking {key}"), why).hint("add --yes"));
            }
            let ended = context.client().await?.revoke_key(key).await;
            let ended =
                ended.map_err(|error| Failure::request(format!("revoking {key}"), &error, None))?;
            if context.json {
                return output::print_json(&ended);
            }
            output::print(&format!("revoked {key}, {}", ended.name))
        }
        KeyCommand::List { org } => {
            let keys = context.client().await?.keys(org).await;
            let keys = keys.map_err(|error| Failure::request("listing keys", &error, None))?;
            print_rows(&keys, context)
        }
    }
}

fn print_made(key: &KeyRow, secret: &Secret, context: &Context) -> Result<(), Failure> {
    let secret = secret.expose();
    if context.json {
        return output::print_json(&Made { key, secret });
    }
    // The text alone on stdout, so that it can be written to a file.
    output::print(secret)?;
    eprintln!(
        "{} for {}; keep it now, it is not shown again",
        key.id, key.name
    );
    eprintln!("use it with NPAYLOAD_API_KEY, or in a file with --api-key-file");
    Ok(())
}

fn print_rows(keys: &[KeyRow], context: &Context) -> Result<(), Failure> {
    if context.json {
        return keys.iter().try_for_each(output::print_json);
    }
    let headings = [
        "KEY",
        "NAME",
        "TEXT",
        "STATE",
        "LAST USED",
        "SCOPES",
        "LIMITS",
    ];
    let mut columns = Columns::new(&headings);
    let now = context.now();
    for key in keys {
        let kind = match key.kind {
            KeyKind::Live => "npk_live_",
            KeyKind::Test => "npk_test_",
        };
        let used = key.used_at.map_or("never".to_owned(), output::time);
        columns.row([
            key.id.to_string(),
            key.name.clone(),
            format!("{kind}{}", key.hint),
            state(key, now),
            used,
            key.scopes
                .iter()
                .map(scope_text)
                .collect::<Vec<_>>()
                .join(" "),
            limits_text(&key.limits),
        ]);
    }
    columns.print("no keys")
}

fn state(key: &KeyRow, now: Timestamp) -> String {
    match (key.revoked_at, key.expires_at) {
        (Some(at), _) => format!("revoked {}", output::time(at)),
        (None, Some(at)) if at <= now => format!("expired {}", output::time(at)),
        (None, Some(at)) => format!("until {}", output::time(at)),
        (None, None) => "live".to_owned(),
    }
}

/// A scope as it is typed.
fn scope_text(scope: &Scope) -> String {
    let list = |patterns: &[Pattern]| {
        let texts: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        texts.join(",")
    };
    let operations = if scope.operations.len() == Operation::ALL.len() {
        "all".to_owned()
    } else {
        let names: Vec<&str> = scope.operations.iter().map(|one| one.name()).collect();
        names.join(",")
    };
    let every = [Pattern::all()];
    match (scope.channels == every, scope.agents == every) {
        (true, true) => operations,
        (_, true) => format!("{operations}:{}", list(&scope.channels)),
        _ => format!(
            "{operations}:{}:{}",
            list(&scope.channels),
            list(&scope.agents)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_reads_back_as_it_was_typed() {
        for text in [
            "all",
            "publish",
            "publish,consume:orders.*,payments",
            "asp:*:bot-*",
            "consume:acme/orders",
        ] {
            let ScopeArg(scope) = text.parse().unwrap();
            assert_eq!(scope_text(&scope), text);
        }
        for bad in ["", "write", "publish:", "publish:a:b:c", "all:a b"] {
            assert!(bad.parse::<ScopeArg>().is_err(), "{bad}");
        }
        assert!(overlap("50d").is_err());
        assert_eq!(overlap("0s"), Ok(0));
    }
}
