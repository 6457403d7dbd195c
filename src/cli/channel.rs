//! `npayload channel`: channels and their configuration.

use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::differing::differences;
use super::failure::Failure;
use super::output::{self, Columns};
use super::serve::region_name;
use super::{Context, any_channel, own_channel};
use crate::client::{Client, DeleteEverywhereError, DeletedEverywhere, RequestError};
use crate::protocol::ErrorCode;
use crate::protocol::control::{
    ChannelConfig, ChannelCreate, ChannelInfo, ChannelList, CompressionName, ConfigChange,
    Encryption,
};
use crate::protocol::logs::{ChannelLogs, LogRow, RegionLogs};
use crate::region::directory::Spread;
use crate::region::interest::Since;
use crate::types::{ChannelName, Durability, RegionName};

/// What to do with channels.
#[derive(Clone, Debug, Subcommand)]
pub enum ChannelCommand {
    /// Create a channel
    #[command(after_help = "Examples:
  npayload channel create orders
  npayload channel create ml.feedback --retention-days 365 --compression zstd,none
  npayload channel create clicks --durability written --retention-bytes 10000000000
  npayload channel create payments --encryption on --if-not-exists")]
    Create {
        /// Name: letters, digits, `_`, `-` and single dots between them
        #[arg(value_parser = own_channel)]
        name: ChannelName,
        #[command(flatten)]
        config: ConfigArgs,
        /// One log with one home, or one for each region, which all can write to at local speed
        /// [default: one]
        #[arg(long, value_enum, value_name = "HOW")]
        regions: Option<RegionsArg>,
        /// Succeed when there is one of this name already; it is left as it is
        #[arg(long)]
        if_not_exists: bool,
        /// The region where it is to live, which has to be a peer; this one unless given
        #[arg(long, value_name = "REGION", value_parser = region_name)]
        home: Option<RegionName>,
        /// The regions that alone may hold its bytes, its home among them; all unless given
        #[arg(long, value_name = "R1,R2", value_delimiter = ',', value_parser = region_name)]
        residency: Vec<RegionName>,
    },
    /// List the channels
    #[command(alias = "ls")]
    List {
        /// Only names that begin with this
        #[arg(long, value_name = "TEXT")]
        prefix: Option<String>,
        /// The broker's own topics as well
        #[arg(long)]
        internal: bool,
    },
    /// Describe a channel
    Info {
        /// The channel
        #[arg(value_parser = any_channel)]
        name: ChannelName,
    },
    /// Change a channel's configuration; what is not named stays
    #[command(
        visible_alias = "configure",
        after_help = "What is not named stays as it is: the defaults above are those of a new channel.

Examples:
  npayload channel update orders --retention-days 30
  npayload channel update orders --retention-days none --retention-bytes 50000000000"
    )]
    Update {
        /// The channel
        #[arg(value_parser = own_channel)]
        name: ChannelName,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Give an encrypted channel a new key; what is stored keeps the key that it has
    RotateKey {
        /// The channel
        #[arg(value_parser = own_channel)]
        name: ChannelName,
    },
    /// Delete a channel, its records and its consumers; of one with a log for each region, this
    /// region's log alone
    #[command(after_help = "Example: npayload channel delete orders.old --yes")]
    Delete {
        /// The channel
        #[arg(value_parser = own_channel)]
        name: ChannelName,
        /// The logs of all regions, where each has one
        #[arg(long)]
        everywhere: bool,
        /// Yes, really
        #[arg(long)]
        yes: bool,
    },
}

/// Configuration to set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct ConfigArgs {
    /// Drop segments after so many days; `none` keeps them for ever [default: 7]
    #[arg(long, value_name = "N")]
    retention_days: Option<OrNone<u32>>,
    /// Drop the oldest segments above so many bytes; `none` keeps them all [default: none]
    #[arg(long, value_name = "N")]
    retention_bytes: Option<OrNone<u64>>,
    /// What an acknowledgement promises: `synced` survives a power cut, `written` a killed broker
    /// [default: synced]
    #[arg(long, value_enum, value_name = "LEVEL")]
    durability: Option<DurabilityArg>,
    /// Longest time between syncs of a `written` channel [default: 200]
    #[arg(long, value_name = "N")]
    sync_interval_ms: Option<u64>,
    /// Size of a segment file [default: 134217728]
    #[arg(long, value_name = "N")]
    segment_bytes: Option<u64>,
    /// Largest record, at most 64 MiB [default: 1048576]
    #[arg(long, value_name = "N")]
    max_record_bytes: Option<u32>,
    /// Compressions that producers may use [default: none,lz4,zstd]
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',')]
    compression: Vec<super::CompressionArg>,
    /// Encrypt what comes on the broker's disk, which takes a master key there [default: off]
    #[arg(long, value_enum, value_name = "STATE")]
    encryption: Option<EncryptionArg>,
    /// How many regions, the home included, hold a record synced before it is acknowledged [default: 1]
    #[arg(long, value_name = "N")]
    ack_regions: Option<u32>,
}

/// Whether a channel is one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RegionsArg {
    /// One log, whose home is here
    One,
    /// A log for each region
    Each,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EncryptionArg {
    On,
    Off,
}

/// A number, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OrNone<T>(Option<T>);

impl<T: FromStr<Err: std::fmt::Display>> FromStr for OrNone<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        match text.parse() {
            Ok(number) => Ok(Self(Some(number))),
            Err(error) if text.bytes().all(|byte| byte.is_ascii_digit()) => Err(error.to_string()),
            Err(_) => Err("give a whole number from 0 on, or `none`".to_owned()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DurabilityArg {
    Synced,
    Written,
}

impl ConfigArgs {
    fn change(self) -> ConfigChange {
        ConfigChange {
            retention_days: self.retention_days.map(|OrNone(days)| days),
            retention_bytes: self.retention_bytes.map(|OrNone(bytes)| bytes),
            durability: self.durability.map(|level| match level {
                DurabilityArg::Synced => Durability::Synced,
                DurabilityArg::Written => Durability::Written,
            }),
            sync_interval_ms: self.sync_interval_ms,
            segment_bytes: self.segment_bytes,
            max_record_bytes: self.max_record_bytes,
            compression: (!self.compression.is_empty()).then(|| {
                self.compression
                    .into_iter()
                    .map(CompressionName::from)
                    .collect()
            }),
            encryption: self.encryption.map(|state| match state {
                EncryptionArg::On => Encryption::On,
                EncryptionArg::Off => Encryption::Off,
            }),
            regions: None,
            ack_regions: self.ack_regions,
        }
    }
}

/// Carries the command out.
///
/// # Errors
/// When the broker refuses or is not there.
pub async fn run(command: ChannelCommand, context: &Context) -> Result<(), Failure> {
    match command {
        ChannelCommand::Create {
            name,
            config,
            regions,
            if_not_exists,
            home,
            residency,
        } => {
            let mut config = config.change();
            config.regions = regions.map(|regions| match regions {
                RegionsArg::One => Spread::One,
                RegionsArg::Each => Spread::Each,
            });
            let request = ChannelCreate {
                name,
                config,
                if_not_exists,
                home,
                residency: (!residency.is_empty()).then(|| residency.into_iter().collect()),
            };
            create(request, context).await
        }
        ChannelCommand::List { prefix, internal } => list(prefix, internal, context).await,
        ChannelCommand::Info { name } => {
            let client = context.client().await?;
            let found = client.channel_info(&name).await;
            if let Ok(info) = &found
                && (name.region().is_some() || info.config.regions.is_one())
            {
                return print_info(info, context);
            }
            // Other regions may have logs of one that nobody writes or reads here.
            match (logs(&client, &name).await, found) {
                (Ok(told), _) if !told.regions.is_one() => print_logs(&told, context),
                (_, Err(error)) | (Err(error), Ok(_)) => Err(failure("describing", &name, &error)),
                (Ok(_), Ok(info)) => print_info(&info, context),
            }
        }
        ChannelCommand::Update { name, config } => {
            if config == ConfigArgs::default() {
                return Err(Failure::usage(
                    format!("updating channel {name}"),
                    "there is nothing to change",
                )
                .hint("name what to change, such as --retention-days 30"));
            }
            let client = context.client().await?;
            let info = client.update_channel(&name, config.change()).await;
            let info = info.map_err(|error| failure("updating", &name, &error))?;
            print_info(&info, context)
        }
        ChannelCommand::RotateKey { name } => {
            let info = context.client().await?.rotate_data_key(&name).await;
            let info = info.map_err(|error| failure("rotating the key of", &name, &error))?;
            print_info(&info, context)
        }
        ChannelCommand::Delete {
            name,
            everywhere,
            yes,
        } => delete(&name, everywhere, yes, context).await,
    }
}

/// A channel, and whether it is new.
#[derive(Serialize)]
struct Created<'a> {
    #[serde(flatten)]
    channel: &'a ChannelInfo,
    created: bool,
}

async fn create(request: ChannelCreate, context: &Context) -> Result<(), Failure> {
    let client = context.client().await?;
    let (name, asked) = (&request.name.clone(), request.config.clone());
    let answer = client.create_channel_with(request).await;
    let answer = match answer {
        Err(error) if error.is(ErrorCode::ChannelExists) => {
            let told = failure("creating", name, &error);
            let Ok(found) = client.channel_info(name).await else {
                return Err(told);
            };
            let differences = differences(&asked, &found.config);
            if differences.is_empty() {
                return Err(told);
            }
            let differences = differences.join(", and ");
            return Err(told.hint(format!(
                "there, {differences}; change it with `npayload channel update {name}`, or take \
                 it as it is with --if-not-exists"
            )));
        }
        answer => answer.map_err(|error| failure("creating", name, &error))?,
    };
    if context.json {
        return output::print_json(&Created {
            channel: &answer.channel,
            created: answer.created,
        });
    }
    output::print(&if answer.created {
        format!("created channel {name}")
    } else {
        let differences = differences(&asked, &answer.channel.config);
        let mut line = format!("channel {name} exists already and is left as it is");
        if !differences.is_empty() {
            line = format!("{line}: {}", differences.join(", and "));
        }
        line
    })
}

async fn list(prefix: Option<String>, internal: bool, context: &Context) -> Result<(), Failure> {
    let client = context.client().await?;
    let mut channels: Vec<ChannelInfo> = Vec::new();
    let mut cursor = None;
    loop {
        let request = ChannelList {
            prefix: prefix.clone(),
            internal,
            cursor,
            limit: None,
        };
        let page = client.list_channels(request).await;
        let page = page.map_err(|error| Failure::request("listing channels", &error, None))?;
        channels.extend(page.channels);
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    if context.json {
        return output::print_json(&channels);
    }
    let mut columns = Columns::new(&[
        "NAME",
        ">LOG START",
        ">LOG END",
        ">BYTES",
        "DURABILITY",
        "RETENTION",
        "STATE",
    ]);
    for channel in &channels {
        columns.row([
            channel.name.to_string(),
            channel.log_start.to_string(),
            channel.log_end.to_string(),
            output::bytes(channel.bytes),
            channel.config.durability.to_string(),
            retention(&channel.config),
            state(channel),
        ]);
    }
    columns.print("there are no channels yet; create one with `npayload channel create NAME`")
}

async fn delete(
    name: &ChannelName,
    everywhere: bool,
    yes: bool,
    context: &Context,
) -> Result<(), Failure> {
    if !yes {
        return Err(Failure::usage(
            format!("deleting channel {name}"),
            removes(name, everywhere, context).await,
        )
        .hint("add --yes if that is meant"));
    }
    let client = context.client().await?;
    if everywhere {
        let done = client.delete_everywhere(name).await;
        return deleted(
            name,
            &done.map_err(|error| not_everywhere(name, error))?,
            context,
        );
    }
    let gone = client.delete_channel(name).await;
    let gone = gone.map_err(|error| failure("deleting", name, &error))?;
    if context.json {
        return output::print_json(&gone);
    }
    if gone.name == *name {
        return output::print(&format!("deleted channel {name}"));
    }
    // It has a log for each region.
    let mut text = format!("deleted {}, the log of this region", gone.name);
    if let Ok(told) = logs(&client, name).await {
        let others: Vec<&str> = told.logs.iter().map(|log| log.name.as_str()).collect();
        text = format!("{text}; {} stay: see --everywhere", others.join(", "));
    }
    output::print(&text)
}

/// What deleting a channel removes, as far as its broker can be asked.
async fn removes(name: &ChannelName, everywhere: bool, context: &Context) -> String {
    let all = "this removes all its records and consumers for ever".to_owned();
    let Ok(client) = context.client().await else {
        return all;
    };
    let told = match logs(&client, name).await {
        Ok(told) if told.regions == Spread::Each => told,
        _ => return all,
    };
    let me = client.regions().await.map(|regions| regions.region).ok();
    let row = |log: &LogRow| {
        let records = log.high_watermark.0.saturating_sub(log.log_start.0);
        format!("{} ({})", log.name, output::counted(records, "record"))
    };
    let is_own = |log: &&LogRow| Some(&log.home) == me.as_ref();
    let (own, others): (Vec<_>, Vec<_>) = told.logs.iter().partition(is_own);
    let own: Vec<String> = own.into_iter().map(row).collect();
    let others: Vec<String> = others.into_iter().map(row).collect();
    match (everywhere, own.is_empty()) {
        (true, _) => {
            let all = [own, others].concat().join(", ");
            format!("it has a log for each region, and this removes all of them for ever: {all}")
        }
        (false, true) => format!(
            "it has a log for each region, and none of them is this region's: {}",
            others.join(", ")
        ),
        (false, false) => format!(
            "it has a log for each region, and this removes that of this region for ever: {}; \
             with --everywhere also {}",
            own.join(", "),
            others.join(", ")
        ),
    }
}

fn deleted(name: &ChannelName, done: &DeletedEverywhere, context: &Context) -> Result<(), Failure> {
    if context.json {
        return output::print_json(done);
    }
    for log in &done.deleted {
        output::print(&format!("deleted {} in {}", log.name, log.home))?;
    }
    for (copy, why) in &done.kept {
        output::print(&format!("the copy of {copy} that is here stays: {why}"))?;
    }
    output::print(&format!(
        "deleted channel {name} everywhere; copies in other regions stay there until they are purged"
    ))
}

fn not_everywhere(name: &ChannelName, error: DeleteEverywhereError) -> Failure {
    let what = format!("deleting channel {name} everywhere");
    match error {
        DeleteEverywhereError::Request(error) => {
            Failure::request(what, &error, Some(name.as_str())).hint("nothing was deleted")
        }
        error => Failure::new(what, &error).hint("the same command goes on with it"),
    }
}

/// The logs of a channel, as this region and its peers know them.
async fn logs(client: &Client, name: &ChannelName) -> Result<ChannelLogs, RequestError> {
    let asked = RegionLogs {
        channel: name.clone(),
        read: false,
        from: Since::Start,
        after: None,
        wait_ms: 0,
    };
    client.channel_logs(asked).await
}

fn print_logs(told: &ChannelLogs, context: &Context) -> Result<(), Failure> {
    if context.json {
        return output::print_json(told);
    }
    output::print(&format!("{} has a log for each region", told.channel))?;
    let mut columns = Columns::new(&["LOG", "HOME", ">LOG START", ">LOG END", "HERE"]);
    for log in &told.logs {
        columns.row([
            log.name.to_string(),
            log.home.to_string(),
            log.log_start.to_string(),
            log.high_watermark.to_string(),
            if log.held { "yes" } else { "no" }.to_owned(),
        ]);
    }
    columns.print("there are no logs")?;
    for region in &told.unreachable {
        output::print(&format!("{region} can't be reached, and may have one more"))?;
    }
    Ok(())
}

fn failure(doing: &str, name: &ChannelName, error: &crate::client::RequestError) -> Failure {
    Failure::request(
        format!("{doing} channel {name}"),
        error,
        Some(name.as_str()),
    )
}

fn print_info(info: &ChannelInfo, context: &Context) -> Result<(), Failure> {
    if context.json {
        return output::print_json(info);
    }
    let config = &info.config;
    let compression: Vec<_> = config
        .compression
        .iter()
        .map(|name| super::CompressionArg::from(*name).name())
        .collect();
    let mut fields = vec![
        ("name", info.name.to_string()),
        ("id", info.id.to_string()),
        ("created", output::time(info.created_at)),
        ("log start", info.log_start.to_string()),
        ("flushed", info.flushed.to_string()),
        ("high watermark", info.high_watermark.to_string()),
        ("log end", info.log_end.to_string()),
        ("bytes", output::bytes(info.bytes)),
        ("segments", info.segments.to_string()),
        ("durability", config.durability.to_string()),
        ("retention", retention(config)),
        ("segment size", output::bytes(config.segment_bytes)),
        (
            "largest record",
            output::bytes(u64::from(config.max_record_bytes)),
        ),
        ("compression", compression.join(", ")),
    ];
    if let Some(home) = &info.home {
        fields.push(("home", home.to_string()));
    }
    if let Some(residency) = &info.residency {
        fields.push(("held by", super::consent::regions(residency)));
    }
    fields.extend(encryption(info));
    if !config.regions.is_one() {
        fields.push(("regions", "a log for each".to_owned()));
    }
    if config.ack_regions > 1 {
        fields.push(("acknowledged", format!("by {} regions", config.ack_regions)));
    }
    if config.durability == Durability::Written {
        fields.push(("sync interval", output::duration(config.sync_interval_ms)));
    }
    if let Some(why) = &info.writes_refused {
        fields.push(("writes refused", why.clone()));
    }
    for damage in &info.damage {
        fields.push((
            "damage",
            format!(
                "offsets {}..{} in {} at byte {}: {}",
                damage.first_offset, damage.end_offset, damage.file, damage.position, damage.what
            ),
        ));
    }
    output::print(&output::fields(&fields))
}

/// What there is to say of encryption; nothing where it was never on.
fn encryption(info: &ChannelInfo) -> Option<(&'static str, String)> {
    let key = info.encryption_key.as_ref()?;
    let state = match info.config.encryption {
        Encryption::On => format!(
            "on, key {} since offset {} ({})",
            key.id,
            key.from,
            output::time(key.created_at)
        ),
        Encryption::Off => "off; older records are encrypted".to_owned(),
    };
    let locked = key.locked.as_ref();
    let locked = locked.map(|why| format!("; {why}")).unwrap_or_default();
    Some(("encryption", state + &locked))
}

fn retention(config: &ChannelConfig) -> String {
    let days = config
        .retention_days
        .map(|days| output::counted(u64::from(days), "day"));
    let bytes = config.retention_bytes.map(output::bytes);
    match (days, bytes) {
        (None, None) => "for ever".to_owned(),
        (Some(one), None) | (None, Some(one)) => one,
        (Some(days), Some(bytes)) => format!("{days} or {bytes}"),
    }
}

fn state(channel: &ChannelInfo) -> String {
    match (&channel.writes_refused, channel.damage.is_empty()) {
        (None, true) => "ok".to_owned(),
        (None, false) => "damaged".to_owned(),
        (Some(_), _) => "refuses writes".to_owned(),
    }
}
