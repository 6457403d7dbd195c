//! `npayload tool`: what agents call.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::Context;
use super::failure::Failure;
use super::output::{self, Columns};
use super::place::{Moment, age_ms};
use super::typed::{self, shown};
use crate::asp::chain::Digest;
use crate::asp::registry::AgentRef;
use crate::client::{NewCall, RequestError, Tools};
use crate::protocol::asp::{
    CallOutcome, JsonText, ToolFail, ToolFinish, ToolList, ToolProgress, ToolRow, ToolStatsRow,
};
use crate::types::{CallId, SessionId};

/// What to do with tool calls.
#[derive(Clone, Debug, Subcommand)]
pub enum ToolCommand {
    /// Record that an agent calls a tool; prints the call's id
    #[command(after_help = "Examples:
  npayload tool start web-search --agent research-agent --arguments '{\"query\":\"prices\"}'
  CALL=$(npayload tool start web-search --agent research-agent --session ses_…)
  npayload tool finish $CALL '{\"pages\":3}'")]
    Start(Box<StartArgs>),
    /// Record how far a call is
    Progress {
        /// The call: tcl_…
        call: CallId,
        /// How far, 0 to 1
        #[arg(long, value_name = "PART")]
        progress: Option<f64>,
        /// In words
        #[arg(long, value_name = "TEXT")]
        message: Option<String>,
    },
    /// Record the result of a call
    Finish {
        /// The call: tcl_…
        call: CallId,
        /// What came out: JSON, @FILE, or - for stdin
        result: Option<String>,
        /// The broker keeps only the SHA-256 of the result
        #[arg(long, requires = "result")]
        sensitive: bool,
        /// Instead of the result: its SHA-256, `sha256:` and 64 hexadecimal digits
        #[arg(long, value_name = "DIGEST", conflicts_with = "result")]
        result_sha256: Option<Digest>,
    },
    /// Record that a call has failed
    Fail {
        /// The call: tcl_…
        call: CallId,
        /// What kind of failure: one of few words, such as timeout
        error_type: String,
        /// In words
        #[arg(long, value_name = "TEXT")]
        message: Option<String>,
    },
    /// List calls, the newest first
    #[command(
        alias = "ls",
        after_help = "Examples:
  npayload tool list --agent research-agent --tool web-search --since 7d
  npayload tool list --session ses_… --otel"
    )]
    List(ListArgs),
    /// Describe a call
    Show {
        /// The call: tcl_…
        call: CallId,
        /// Print JSON with the names of OpenTelemetry's gen_ai attributes
        #[arg(long)]
        otel: bool,
    },
    /// Sum up the calls of a tool, or of every tool
    Stats {
        /// The tool; every one unless given
        tool: Option<String>,
    },
}

/// A call that begins.
#[derive(Clone, Debug, Args)]
pub struct StartArgs {
    /// Name of the tool
    tool: String,
    /// Who calls it
    #[arg(long)]
    agent: AgentRef,
    /// The session that it is called for: ses_…
    #[arg(long, value_name = "SESSION")]
    session: Option<SessionId>,
    /// The call that it is a part of: tcl_…
    #[arg(long, value_name = "CALL")]
    parent: Option<CallId>,
    /// What the tool gets: JSON, @FILE, or - for stdin
    #[arg(long, value_name = "JSON")]
    arguments: Option<String>,
    /// The broker keeps only the SHA-256 of the arguments
    #[arg(long, requires = "arguments")]
    sensitive: bool,
    /// Instead of the arguments: their SHA-256, `sha256:` and 64 hexadecimal digits
    #[arg(long, value_name = "DIGEST", conflicts_with = "arguments")]
    arguments_sha256: Option<Digest>,
    /// After how long without an end it counts as abandoned: 30s, 2h; a day unless given
    #[arg(long, value_name = "AGE", value_parser = age)]
    timeout: Option<u64>,
    /// Its id: tcl_ and a UUID of version 7; a new one unless given
    #[arg(long, value_name = "CALL")]
    id: Option<CallId>,
}

/// Which calls to list.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// Those of this agent
    #[arg(long)]
    agent: Option<AgentRef>,
    /// Those of this tool
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Those made for this session: ses_…
    #[arg(long, value_name = "SESSION")]
    session: Option<SessionId>,
    /// Those that ended so, or are open
    #[arg(long, value_enum, value_name = "OUTCOME")]
    outcome: Option<OutcomeArg>,
    /// Those started since then: a time such as 2027-01-31T08:00:00Z, or an age such as 7d
    #[arg(long, value_name = "WHEN")]
    since: Option<Moment>,
    /// Those started before then: a time, or an age
    #[arg(long, value_name = "WHEN")]
    until: Option<Moment>,
    /// Calls at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    max: u64,
    /// Print JSON with the names of OpenTelemetry's gen_ai attributes, one call a line
    #[arg(long)]
    otel: bool,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutcomeArg {
    /// Nothing yet.
    Open,
    /// A result.
    Finished,
    /// An error.
    Failed,
    /// Nobody said in time what became of it.
    Abandoned,
}

impl From<OutcomeArg> for CallOutcome {
    fn from(arg: OutcomeArg) -> Self {
        match arg {
            OutcomeArg::Open => Self::Open,
            OutcomeArg::Finished => Self::Finished,
            OutcomeArg::Failed => Self::Failed,
            OutcomeArg::Abandoned => Self::Abandoned,
        }
    }
}

fn age(text: &str) -> Result<u64, String> {
    let ms = age_ms(text)?;
    u64::try_from(ms).map_err(|error| error.to_string())
}

/// Carries the command out.
///
/// # Errors
/// When the broker refuses or is not there.
pub async fn run(command: ToolCommand, context: &Context) -> Result<(), Failure> {
    match command {
        ToolCommand::Start(args) => start(*args, context).await,
        ToolCommand::Progress {
            call,
            progress,
            message,
        } => {
            let said = ToolProgress {
                call_id: call,
                progress,
                message,
            };
            let row = tools(context).await?.progress(said).await;
            changed(&format!("recording the progress of {call}"), row, context)
        }
        ToolCommand::Finish {
            call,
            result,
            sensitive,
            result_sha256,
        } => {
            let finish = ToolFinish {
                call_id: call,
                result: typed::json_or_none("the result", result.as_deref())?,
                result_sha256,
                sensitive,
            };
            let row = tools(context).await?.finish(finish).await;
            changed(&format!("finishing {call}"), row, context)
        }
        ToolCommand::Fail {
            call,
            error_type,
            message,
        } => {
            let fail = ToolFail {
                call_id: call,
                error_type,
                message,
            };
            let row = tools(context).await?.fail(fail).await;
            changed(&format!("failing {call}"), row, context)
        }
        ToolCommand::List(args) => list(args, context).await,
        ToolCommand::Show { call, otel } => {
            let row = tools(context).await?.info(call).await;
            let row =
                row.map_err(|error| Failure::request(format!("describing {call}"), &error, None))?;
            if otel {
                return output::print_json(&attributes(&row));
            }
            show(&row, context)
        }
        ToolCommand::Stats { tool } => {
            let rows = tools(context).await?.stats(tool).await;
            let rows =
                rows.map_err(|error| Failure::request("summing up tool calls", &error, None))?;
            stats(&rows, context)
        }
    }
}

async fn tools(context: &Context) -> Result<Tools, Failure> {
    Ok(context.client().await?.tools())
}

async fn start(args: StartArgs, context: &Context) -> Result<(), Failure> {
    let what = format!("starting a call of {}", args.tool);
    let mut request = NewCall::new(args.tool, args.agent).into_request();
    request.call_id = args.id.unwrap_or(request.call_id);
    request.session_id = args.session;
    request.parent_call_id = args.parent;
    request.arguments = typed::json_or_none("--arguments", args.arguments.as_deref())?;
    request.arguments_sha256 = args.arguments_sha256;
    request.sensitive = args.sensitive;
    request.timeout_ms = args.timeout;
    let row = tools(context).await?.start(request).await;
    let row = row.map_err(|error| Failure::request(what, &error, None))?;
    if context.json {
        return output::print_json(&row);
    }
    // The id alone, so that a script can keep it.
    output::print(&row.call_id.to_string())
}

fn changed(
    what: &str,
    row: Result<ToolRow, RequestError>,
    context: &Context,
) -> Result<(), Failure> {
    let row = row.map_err(|error| Failure::request(what, &error, None))?;
    if context.json {
        return output::print_json(&row);
    }
    let after = row.duration_ms.map_or(String::new(), |ms| {
        format!(" after {}", output::duration(ms))
    });
    let tool = shown(&row.tool);
    output::print(&format!(
        "{} {tool}: {}{after}",
        row.call_id,
        row.outcome.name()
    ))
}

async fn list(args: ListArgs, context: &Context) -> Result<(), Failure> {
    let now = context.now();
    let query = ToolList {
        agent: args.agent,
        tool: args.tool,
        session_id: args.session,
        outcome: args.outcome.map(CallOutcome::from),
        since: args.since.map(|moment| moment.before(now)),
        until: args.until.map(|moment| moment.before(now)),
        limit: u32::try_from(args.max.clamp(1, 1000)).unwrap_or(1000),
        cursor: None,
    };
    let mut found = tools(context).await?.list(query);
    let headings = ["STARTED", "CALL", "TOOL", "AGENT", "OUTCOME", ">TOOK"];
    let mut columns = Columns::new(&headings);
    for _ in 0..args.max {
        let Some(row) = found.next().await else {
            break;
        };
        let row = row.map_err(|error| Failure::request("listing tool calls", &error, None))?;
        if args.otel {
            output::print_json(&attributes(&row))?;
        } else if context.json {
            output::print_json(&row)?;
        } else {
            columns.row([
                output::time(row.started_at),
                row.call_id.to_string(),
                shown(&row.tool),
                row.name.to_string(),
                outcome(&row),
                row.duration_ms.map_or(String::new(), output::duration),
            ]);
        }
    }
    if args.otel || context.json {
        return Ok(());
    }
    columns.print("no tool calls")
}

fn outcome(row: &ToolRow) -> String {
    match &row.error_type {
        Some(error_type) => format!("{}: {}", row.outcome.name(), shown(error_type)),
        None => row.outcome.name().to_owned(),
    }
}

fn show(row: &ToolRow, context: &Context) -> Result<(), Failure> {
    if context.json {
        return output::print_json(row);
    }
    let json = |text: &Option<JsonText>, digest: &Option<Digest>| match (text, digest) {
        (Some(text), _) => shown(text.text()),
        (None, Some(digest)) => digest.to_string(),
        (None, None) => String::new(),
    };
    let id = |id: Option<String>| id.unwrap_or_default();
    let mut fields = vec![
        ("call", row.call_id.to_string()),
        ("tool", shown(&row.tool)),
        ("agent", format!("{} {}", row.name, row.agent)),
        ("session", id(row.session_id.map(|id| id.to_string()))),
        ("part of", id(row.parent_call_id.map(|id| id.to_string()))),
        ("outcome", outcome(row)),
        ("started", output::time(row.started_at)),
        ("ended", id(row.ended_at.map(output::time))),
        ("took", id(row.duration_ms.map(output::duration))),
        (
            "progress",
            id(row.progress.map(|part| format!("{:.0} %", part * 100.0))),
        ),
        ("arguments", json(&row.arguments, &row.arguments_sha256)),
        ("result", json(&row.result, &row.result_sha256)),
        ("message", shown(row.message.as_deref().unwrap_or_default())),
    ];
    fields.retain(|(_, value)| !value.is_empty());
    output::print(&output::fields(&fields))
}

/// A call with the attribute names of OpenTelemetry's semantic conventions for generative AI; what
/// these have no name for is `npayload.…`.
fn attributes(row: &ToolRow) -> Map<String, Value> {
    let value = |text: &JsonText| text.read::<Value>().unwrap_or_default();
    let nanos = |ms: i64| format!("{}", i128::from(ms) * 1_000_000);
    let all = [
        ("gen_ai.operation.name", Some(json!("execute_tool"))),
        ("gen_ai.tool.name", Some(json!(row.tool))),
        ("gen_ai.tool.call.id", Some(json!(row.call_id))),
        (
            "gen_ai.tool.call.arguments",
            row.arguments.as_ref().map(value),
        ),
        ("gen_ai.tool.call.result", row.result.as_ref().map(value)),
        ("gen_ai.agent.id", Some(json!(row.agent))),
        ("gen_ai.agent.name", Some(json!(row.name))),
        ("gen_ai.conversation.id", row.session_id.map(|id| json!(id))),
        ("error.type", row.error_type.as_ref().map(|one| json!(one))),
        (
            "npayload.tool.call.parent_id",
            row.parent_call_id.map(|id| json!(id)),
        ),
        ("npayload.tool.call.outcome", Some(json!(row.outcome))),
        (
            "npayload.tool.call.arguments_sha256",
            row.arguments_sha256.map(|digest| json!(digest)),
        ),
        (
            "npayload.tool.call.result_sha256",
            row.result_sha256.map(|digest| json!(digest)),
        ),
        ("startTimeUnixNano", Some(json!(nanos(row.started_at.0)))),
        ("endTimeUnixNano", row.ended_at.map(|at| json!(nanos(at.0)))),
    ];
    let known = all
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    known
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn stats(rows: &[ToolStatsRow], context: &Context) -> Result<(), Failure> {
    if context.json {
        return rows.iter().try_for_each(output::print_json);
    }
    let headings = [
        "TOOL",
        ">CALLS",
        ">OPEN",
        ">FINISHED",
        ">FAILED",
        ">ABANDONED",
        ">P50",
        ">P90",
        ">P99",
        ">LONGEST",
    ];
    let mut columns = Columns::new(&headings);
    for row in rows {
        columns.row([
            shown(&row.tool),
            output::count(row.calls),
            output::count(row.open),
            output::count(row.finished),
            output::count(row.failed),
            output::count(row.abandoned),
            output::duration(row.p50_ms),
            output::duration(row.p90_ms),
            output::duration(row.p99_ms),
            output::duration(row.max_ms),
        ]);
    }
    columns.print("no tool calls")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{AgentId, AgentName, OrgName, Timestamp};

    #[test]
    fn a_call_is_exported_with_the_names_of_opentelemetry() {
        let row = ToolRow {
            call_id: CallId(1),
            tool: "web-search".to_owned(),
            agent: AgentId(2),
            name: AgentName::parse("research-agent").unwrap(),
            org: OrgName::parse("default").unwrap(),
            session_id: Some(SessionId(3)),
            parent_call_id: None,
            outcome: CallOutcome::Failed,
            started_at: Timestamp(1000),
            ended_at: Some(Timestamp(1040)),
            duration_ms: Some(40),
            timeout_ms: None,
            progress: None,
            arguments: Some(JsonText::parse(r#"{"query": "prices"}"#).unwrap()),
            arguments_sha256: None,
            result: None,
            result_sha256: None,
            error_type: Some("timeout".to_owned()),
            message: None,
            by: None,
        };
        let expected = json!({
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "web-search",
            "gen_ai.tool.call.id": "tcl_00000000-0000-0000-0000-000000000001",
            "gen_ai.tool.call.arguments": {"query": "prices"},
            "gen_ai.agent.id": "agt_00000000-0000-0000-0000-000000000002",
            "gen_ai.agent.name": "research-agent",
            "gen_ai.conversation.id": "ses_00000000-0000-0000-0000-000000000003",
            "error.type": "timeout",
            "npayload.tool.call.outcome": "failed",
            "startTimeUnixNano": "1000000000",
            "endTimeUnixNano": "1040000000",
        });
        assert_eq!(Value::Object(attributes(&row)), expected);
        assert_eq!(outcome(&row), "failed: timeout");
    }
}
