//! `npayload agent`: who there is, and what they can do.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::elsewhere::Elsewhere;
use super::failure::Failure;
use super::output::{self, Columns};
use super::place::age_ms;
use super::typed::{self, shown, trust_score};
use super::{Context, org_name, signing_key};
use crate::asp::TrustScore;
use crate::asp::registry::{
    AgentRef, AgentStanding, Amount, Availability, Match, Profile, PublicKey, Status,
};
use crate::client::Agents;
use crate::protocol::asp::{
    AgentInfo, AgentProfile, AgentRegister, AgentRow, AgentSearch, CopyAsk,
};
use crate::types::{AgentName, OrgName};

/// What to do with agents. Wherever an agent is asked for, its id (agt_…), its name, or
/// agent://ORG/NAME will do.
#[derive(Clone, Debug, Subcommand)]
pub enum AgentCommand {
    /// Register an agent, or replace what it says of itself
    #[command(after_help = "Examples:
  npayload agent register research-agent --capability web-search --capability summarization
  npayload agent register pricing --max-transaction 5000:EUR --endpoint http=https://example.com/a2a")]
    Register(Box<RegisterArgs>),
    /// Find registered agents: those that can do something, or all
    #[command(
        visible_alias = "list",
        alias = "ls",
        after_help = "Examples:
  npayload agent search
  npayload agent search 'image-*' object-detection --min-trust 0.85
  npayload agent search web-search citation --any --availability busy
  npayload agent search --region us-east"
    )]
    Search(SearchArgs),
    /// Describe an agent
    Show {
        /// The agent
        agent: AgentRef,
        /// Print its A2A agent card, as JSON, and nothing else
        #[arg(long, conflicts_with_all = ["region", "any_region"])]
        card: bool,
        #[command(flatten)]
        elsewhere: Elsewhere,
    },
    /// Say whether an agent can be reached
    Availability {
        /// The agent
        agent: AgentRef,
        #[command(flatten)]
        availability: AvailabilityArgs,
    },
    /// Take an agent out of search; its identity, sessions and history stay
    Deregister {
        /// The agent
        agent: AgentRef,
    },
    /// Give an agent a public key, replace the one that it has, or revoke it
    #[command(after_help = "Examples:
  npayload agent key research-agent --generate research-agent.key
  npayload agent key research-agent ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")]
    Key {
        /// The agent
        agent: AgentRef,
        /// The new key: `ed25519:` and 64 hexadecimal digits
        #[arg(required_unless_present_any = ["revoke", "generate"])]
        public_key: Option<PublicKey>,
        /// Make a key: its secret half goes into this file, which must not be there yet
        #[arg(long, value_name = "FILE", conflicts_with = "public_key")]
        generate: Option<PathBuf>,
        /// Revoke the key that it has; it is never taken again
        #[arg(long, conflicts_with_all = ["public_key", "generate"])]
        revoke: bool,
    },
}

/// An agent to register.
#[derive(Clone, Debug, Args)]
pub struct RegisterArgs {
    /// Its name: letters, digits, `_`, `-` and single dots between them
    #[arg(value_parser = agent_name)]
    name: AgentName,
    /// What it is, in words
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Its version
    #[arg(long, value_name = "VERSION")]
    agent_version: Option<String>,
    /// Something that it can do; may be given more than once
    #[arg(long = "capability", value_name = "NAME", value_parser = agent_name)]
    capabilities: Vec<AgentName>,
    /// A protocol that it speaks, such as asp/1.0; may be given more than once
    #[arg(long = "protocol", value_name = "NAME")]
    protocols: Vec<String>,
    /// A schema that it knows; may be given more than once
    #[arg(long = "schema", value_name = "NAME")]
    schemas: Vec<String>,
    /// How much it may decide
    #[arg(long, value_name = "WORD")]
    authority_level: Option<String>,
    /// The largest amount that it may agree to, in the smallest unit of a currency: 5000:EUR
    #[arg(long, value_name = "VALUE:CURRENCY", value_parser = amount)]
    max_transaction: Option<Amount>,
    /// Whether it can be reached
    #[arg(long, value_enum, value_name = "STATUS", default_value = "online")]
    status: StatusArg,
    /// Its time zone, such as Europe/Berlin
    #[arg(long, value_name = "NAME")]
    timezone: Option<String>,
    /// How long it usually takes to answer: 250ms, 30s
    #[arg(long, value_name = "AGE", value_parser = age)]
    response_time: Option<u64>,
    /// Where it can be reached; may be given more than once
    #[arg(long = "endpoint", value_name = "NAME=URL", value_parser = endpoint)]
    endpoints: Vec<(String, String)>,
    /// Anything else: a JSON object, @FILE, or - for stdin
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    /// The key that its messages are signed with: `ed25519:` and 64 hexadecimal digits
    #[arg(long, value_name = "KEY")]
    public_key: Option<PublicKey>,
}

/// What agents are to be found.
#[derive(Clone, Debug, Args)]
pub struct SearchArgs {
    /// What they must be able to do; `*` at the end stands for any ending
    capabilities: Vec<String>,
    /// One of the capabilities is enough
    #[arg(long)]
    any: bool,
    /// Least trust, 0 to 1
    #[arg(long, value_name = "SCORE", value_parser = trust_score)]
    min_trust: Option<TrustScore>,
    /// At least that available
    #[arg(long, value_enum, value_name = "STATUS")]
    availability: Option<StatusArg>,
    /// Text within name or description, whatever the case
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// The organisation whose agents are meant; your own unless given
    #[arg(long, value_name = "NAME", value_parser = org_name)]
    org: Option<OrgName>,
    /// Agents at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    max: u64,
    #[command(flatten)]
    elsewhere: Elsewhere,
}

/// Whether an agent can be reached.
#[derive(Clone, Debug, Args)]
pub struct AvailabilityArgs {
    /// Whether it can be reached
    #[arg(value_enum)]
    status: StatusArg,
    /// Its time zone, such as Europe/Berlin
    #[arg(long, value_name = "NAME")]
    timezone: Option<String>,
    /// How long it usually takes to answer: 250ms, 30s
    #[arg(long, value_name = "AGE", value_parser = age)]
    response_time: Option<u64>,
}

/// How far an agent can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatusArg {
    /// It answers.
    Online,
    /// It answers, later.
    Busy,
    /// It will answer when it is back.
    Away,
    /// It does not answer.
    Offline,
}

impl From<StatusArg> for Status {
    fn from(arg: StatusArg) -> Self {
        match arg {
            StatusArg::Online => Self::Online,
            StatusArg::Busy => Self::Busy,
            StatusArg::Away => Self::Away,
            StatusArg::Offline => Self::Offline,
        }
    }
}

fn status_name(status: Status) -> &'static str {
    match status {
        Status::Online => "online",
        Status::Busy => "busy",
        Status::Away => "away",
        Status::Offline => "offline",
    }
}

fn agent_name(text: &str) -> Result<AgentName, crate::types::InvalidName> {
    AgentName::parse(text)
}

fn age(text: &str) -> Result<u64, String> {
    let ms = age_ms(text)?;
    u64::try_from(ms).map_err(|error| error.to_string())
}

fn amount(text: &str) -> Result<Amount, String> {
    let (value, currency) = text
        .split_once(':')
        .ok_or("an amount is VALUE:CURRENCY, such as 5000:EUR")?;
    Ok(Amount {
        value: value
            .parse()
            .map_err(|_| format!("`{value}` is no whole number"))?,
        currency: currency.to_owned(),
    })
}

fn endpoint(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, url)) if !name.is_empty() => Ok((name.to_owned(), url.to_owned())),
        _ => Err("an endpoint is NAME=URL"),
    }
}

/// Carries the command out.
///
/// # Errors
/// When the broker refuses or is not there.
pub async fn run(command: AgentCommand, context: &Context) -> Result<(), Failure> {
    match command {
        AgentCommand::Register(args) => register(*args, context).await,
        AgentCommand::Search(args) => search(args, context).await,
        AgentCommand::Show {
            agent, elsewhere, ..
        } if elsewhere.is_asked() => {
            let what = format!("describing agent {agent}");
            let ask = CopyAsk::AgentInfo(AgentInfo { agent });
            elsewhere.tell(ask, &what, context).await
        }
        AgentCommand::Show { agent, card, .. } => {
            let found = agents(context).await?.info(agent.clone()).await;
            let found = found.map_err(|error| {
                Failure::request(format!("describing agent {agent}"), &error, None)
            })?;
            show(&found, card, context)
        }
        AgentCommand::Availability {
            agent,
            availability,
        } => {
            let said = Availability {
                status: availability.status.into(),
                timezone: availability.timezone,
                response_time_ms: availability.response_time,
            };
            let row = agents(context)
                .await?
                .availability(agent.clone(), said)
                .await;
            changed(&format!("changing agent {agent}"), "is now", row, context)
        }
        AgentCommand::Deregister { agent } => {
            let row = agents(context).await?.deregister(agent.clone()).await;
            changed(
                &format!("deregistering agent {agent}"),
                "deregistered,",
                row,
                context,
            )
        }
        AgentCommand::Key {
            agent,
            public_key,
            generate,
            ..
        } => {
            // Before the key is made, so that none is left behind where there is no broker.
            let agents = agents(context).await?;
            let made = generate.as_deref().map(signing_key::make).transpose()?;
            let public_key = made.map(|key| key.public_key()).or(public_key);
            let row = agents.set_key(agent.clone(), public_key).await;
            let done = match public_key {
                Some(_) => "has a new key,",
                None => "has no key any more,",
            };
            changed(
                &format!("changing the key of agent {agent}"),
                done,
                row,
                context,
            )?;
            if public_key.is_some() && !context.json {
                let file =
                    generate.map_or_else(|| "FILE".to_owned(), |file| file.display().to_string());
                // The line on stdout stays the one of every change.
                eprintln!(
                    "from now on it has to sign all that it says, with --signing-key-file {file}; \
                     `npayload agent key {agent} --revoke` ends that"
                );
            }
            Ok(())
        }
    }
}

async fn agents(context: &Context) -> Result<Agents, Failure> {
    Ok(context.client().await?.agents())
}

async fn register(args: RegisterArgs, context: &Context) -> Result<(), Failure> {
    let profile = Profile {
        description: args.description.unwrap_or_default(),
        version: args.agent_version.unwrap_or_default(),
        capabilities: args.capabilities,
        protocols: args.protocols,
        schemas: args.schemas,
        authority_level: args.authority_level,
        max_transaction: args.max_transaction,
        availability: Availability {
            status: args.status.into(),
            timezone: args.timezone,
            response_time_ms: args.response_time,
        },
        endpoints: args.endpoints.into_iter().collect::<BTreeMap<_, _>>(),
        metadata: typed::object("--metadata", args.metadata.as_deref())?,
    };
    let request = AgentRegister {
        public_key: args.public_key,
        ..AgentRegister::new(args.name, profile)
    };
    let what = format!("registering agent {}", request.name);
    let row = agents(context).await?.register(request).await;
    changed(&what, "registered,", row, context)
}

fn changed(
    what: &str,
    done: &str,
    row: Result<AgentRow, crate::client::RequestError>,
    context: &Context,
) -> Result<(), Failure> {
    let row = row.map_err(|error| Failure::request(what, &error, None))?;
    if context.json {
        return output::print_json(&row);
    }
    let status = status_name(row.profile.availability.status);
    output::print(&format!("{} {done} {status}: {}", row.name, row.agent))
}

async fn search(args: SearchArgs, context: &Context) -> Result<(), Failure> {
    let query = AgentSearch {
        capabilities: args.capabilities,
        matching: if args.any { Match::Any } else { Match::All },
        min_trust_score: args.min_trust,
        org: args.org,
        text: args.text,
        availability: args.availability.map(Status::from),
        limit: u32::try_from(args.max.clamp(1, 1000)).unwrap_or(1000),
        cursor: None,
    };
    if args.elsewhere.is_asked() {
        let ask = CopyAsk::AgentSearch(query);
        return args
            .elsewhere
            .tell(ask, "looking for agents", context)
            .await;
    }
    let mut found = agents(context).await?.search(query);
    let mut columns = columns();
    for _ in 0..args.max {
        let Some(row) = found.next().await else {
            break;
        };
        let row = row.map_err(|error| Failure::request("looking for agents", &error, None))?;
        if context.json {
            output::print_json(&row)?;
            continue;
        }
        columns.row(cells(&row));
    }
    if context.json {
        return Ok(());
    }
    columns.print("no agents; register one with `npayload agent register NAME`")
}

fn columns() -> Columns {
    Columns::new(&["AGENT", "NAME", ">TRUST", "STATUS", "CAPABILITIES"])
}

fn cells(row: &AgentRow) -> [String; 5] {
    [
        row.agent.to_string(),
        row.name.to_string(),
        format!("{:.3}", f64::from(row.trust_score)),
        status_name(row.profile.availability.status).to_owned(),
        names(&row.profile.capabilities),
    ]
}

/// Prints agents.
///
/// # Errors
/// When the output is closed.
pub(super) fn table(rows: &[AgentRow], none: &str) -> Result<(), Failure> {
    let mut columns = columns();
    rows.iter().for_each(|row| columns.row(cells(row)));
    columns.print(none)
}

fn names(names: &[AgentName]) -> String {
    let names: Vec<&str> = names.iter().map(AgentName::as_str).collect();
    names.join(", ")
}

/// Prints an agent.
///
/// # Errors
/// When the output is closed.
pub(super) fn show(found: &AgentProfile, card: bool, context: &Context) -> Result<(), Failure> {
    if card {
        return output::print_json(&found.card);
    }
    if context.json {
        return output::print_json(found);
    }
    let AgentRow {
        profile, standing, ..
    } = &found.agent;
    let standing = match standing {
        AgentStanding::Placeholder => "placeholder: nobody has registered the name",
        AgentStanding::Registered => "registered",
        AgentStanding::Deregistered => "deregistered",
    };
    let mut fields = vec![
        ("agent", found.agent.agent.to_string()),
        ("name", found.agent.name.to_string()),
        ("organisation", found.agent.org.to_string()),
        ("standing", standing.to_owned()),
        (
            "trust",
            format!("{:.3}", f64::from(found.agent.trust_score)),
        ),
        ("created", output::time(found.agent.created_at)),
        ("changed", output::time(found.agent.changed_at)),
    ];
    let availability = &profile.availability;
    let mut said = vec![
        ("description", shown(&profile.description)),
        ("version", shown(&profile.version)),
        ("capabilities", names(&profile.capabilities)),
        ("protocols", shown(&profile.protocols.join(", "))),
        ("schemas", shown(&profile.schemas.join(", "))),
        (
            "authority",
            shown(profile.authority_level.as_deref().unwrap_or_default()),
        ),
        (
            "at most",
            profile
                .max_transaction
                .as_ref()
                .map_or(String::new(), |most| {
                    format!("{} {}", output::count(most.value), shown(&most.currency))
                }),
        ),
        (
            "time zone",
            shown(availability.timezone.as_deref().unwrap_or_default()),
        ),
        (
            "answers in",
            availability
                .response_time_ms
                .map_or(String::new(), output::duration),
        ),
        (
            "public key",
            found
                .agent
                .public_key
                .map_or(String::new(), |key| key.to_string()),
        ),
    ];
    if found.agent.standing == AgentStanding::Registered {
        fields.push(("status", status_name(availability.status).to_owned()));
    }
    said.retain(|(_, value)| !value.is_empty());
    fields.append(&mut said);
    let endpoints = profile.endpoints.iter();
    let endpoints: Vec<String> = endpoints
        .map(|(name, url)| format!("{}={}", shown(name), shown(url)))
        .collect();
    if !endpoints.is_empty() {
        fields.push(("endpoints", endpoints.join(" ")));
    }
    output::print(&output::fields(&fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_endpoints_are_read() {
        let expected = Amount {
            value: 5000,
            currency: "EUR".to_owned(),
        };
        assert_eq!(amount("5000:EUR"), Ok(expected));
        assert!(amount("5000").is_err() && amount("-1:EUR").is_err());
        let expected = ("http".to_owned(), "https://h/?a=b".to_owned());
        assert_eq!(endpoint("http=https://h/?a=b"), Ok(expected));
        assert!(endpoint("=x").is_err() && endpoint("x").is_err());
    }
}
