//! What agents cost before a disk or a socket is asked: searches, and records of tool calls made
//! and folded. One thread, in memory.

use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use npayload::asp::chain::Digest;
use npayload::asp::registry::{
    AgentEvent, Agents, Availability, CapabilityPattern, Match, Profile, Query, Registered, Status,
};
use npayload::asp::tool::{Checked, Content, Filed, Finish, Start, ToolRecord, Tools};
use npayload::asp::{NeutralTrust, Trust, TrustScore};
use npayload::types::{
    AgentId, AgentName, CallId, Offset, PrincipalId, SessionId, Timestamp, ToolName,
};
use serde_json::value::RawValue;

use crate::clock;
use crate::measured::{Counting, Measured};

/// What is measured.
#[derive(Debug, Clone, Args)]
pub struct Asp {
    /// Agents that are registered
    #[arg(long, default_value_t = 100_000)]
    pub agents: u64,
    /// Agents on a page of an answer
    #[arg(long, default_value_t = 50)]
    pub page: usize,
    /// Searches of each kind
    #[arg(long, default_value_t = 300)]
    pub searches: u64,
    /// Tool calls that are made, two records each
    #[arg(long, default_value_t = 300_000)]
    pub calls: u64,
}

/// Agents that make the calls, and the tools that they call.
const CALLERS: u64 = 1_000;
const TOOLS: [&str; 8] = [
    "web.search",
    "sql.query",
    "mail.send",
    "image.resize",
    "code.run",
    "pdf.read",
    "maps.route",
    "crm.lookup",
];
/// Calls that are open at the same time.
const OPEN: u64 = 100;
const START: Timestamp = Timestamp(1_764_000_000_000);

/// Runs everything.
pub fn measure(asp: &Asp) -> Result<Vec<Measured>> {
    let mut all = searches(asp)?;
    all.extend(calls(asp)?);
    Ok(all)
}

/// Scores that differ, in no order.
struct Mixed;

impl Trust for Mixed {
    fn score(&self, agent: AgentId) -> TrustScore {
        let mixed = u64::try_from(agent.0 >> 80)
            .unwrap_or(0)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            >> 32;
        let thousandths = u32::try_from(mixed % 1_001).unwrap_or(0);
        TrustScore::try_from(f64::from(thousandths) / 1_000.0).unwrap_or(TrustScore::NEUTRAL)
    }
}

fn searches(asp: &Asp) -> Result<Vec<Measured>> {
    let mut agents = Agents::default();
    let mut counting = Counting::new();
    let began = clock();
    for number in 0..asp.agents {
        let registered = registered(number)?;
        let at = clock();
        let event = agents.check_register(registered)?;
        let event = AgentEvent::decode(event.record_type(), &event.encode())?;
        agents.apply(&event)?;
        counting.book(at.elapsed(), 1, 0);
    }
    let mut all = vec![counting.over(
        format!(
            "registry: {} agents checked, encoded, decoded and applied",
            asp.agents
        ),
        began.elapsed(),
    )];
    all.push(timed("registry: a clone for a snapshot", 20, || {
        std::hint::black_box(agents.clone());
        Ok(())
    })?);
    all.push(timed("registry: a listing for a search", 1_000, || {
        std::hint::black_box(agents.listing());
        Ok(())
    })?);
    let able = |patterns: &[&str]| -> Result<Query> {
        let parsed: Result<Vec<_>, _> = (patterns.iter())
            .map(|text| CapabilityPattern::parse(text))
            .collect();
        Ok(Query {
            capabilities: parsed?,
            ..Query::default()
        })
    };
    let text = |text: &str| Query {
        text: Some(text.to_owned()),
        ..Query::default()
    };
    let kinds = [
        ("no filter", Query::default()),
        ("one capability", able(&["image.classify"])?),
        ("image.*", able(&["image.*"])?),
        (
            "three of three",
            able(&["image.*", "text.write", "audio.*"])?,
        ),
        (
            "any of three",
            Query {
                matching: Match::Any,
                ..able(&["image.*", "text.write", "audio.*"])?
            },
        ),
        ("text that many have", text("Pictures")),
        ("text that one has", text("number 099999 ")),
        ("text that nobody has", text("no such words")),
        (
            "image.* and text that nobody has, busy or better",
            Query {
                availability: Some(Status::Busy),
                text: Some("no such words".to_owned()),
                ..able(&["image.*"])?
            },
        ),
    ];
    let trusts: [(&str, &dyn Trust); 2] = [("one score", &NeutralTrust), ("mixed scores", &Mixed)];
    for (scores, trust) in trusts {
        for (name, query) in &kinds {
            let found = agents.search(query, trust, asp.page)?.agents.len();
            let name = format!("search, {scores}: {name} ({found} found on the page)");
            all.push(timed(&name, asp.searches, || {
                std::hint::black_box(agents.search(query, trust, asp.page)?);
                Ok(())
            })?);
        }
        // From the first page to the last: each begins where the one before it ended.
        let mut query = Query::default();
        let (mut counting, began) = (Counting::new(), clock());
        loop {
            let at = clock();
            let page = agents.search(&query, trust, 1_000)?;
            counting.book(at.elapsed(), page.agents.len() as u64, 0);
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        let name = format!("search, {scores}: all agents, in pages of 1,000");
        all.push(counting.over(name, began.elapsed()));
    }
    Ok(all)
}

fn registered(number: u64) -> Result<Registered> {
    const FIELDS: [&str; 6] = ["image", "text", "audio", "video", "table", "code"];
    const DEEDS: [&str; 4] = ["classify", "write", "translate", "summarise"];
    let one_of =
        |words: &[&'static str], at: u64| words[usize::try_from(at).unwrap_or(0) % words.len()];
    let capability = |at: u64| {
        AgentName::parse(&format!(
            "{}.{}",
            one_of(&FIELDS, at),
            one_of(&DEEDS, at / 6)
        ))
    };
    let status = match number % 10 {
        0..6 => Status::Online,
        6 | 7 => Status::Busy,
        8 => Status::Away,
        _ => Status::Offline,
    };
    let profile = Profile {
        description: format!(
            "Agent number {number:06} looks at {} for whoever asks, answers in whole sentences \
             and names its sources",
            one_of(
                &["pictures", "letters", "songs", "films", "sums", "programs"],
                number
            )
        ),
        version: "1.0.0".to_owned(),
        capabilities: vec![
            capability(number)?,
            capability(number / 7 + 1)?,
            capability(number / 11 + 2)?,
        ],
        availability: Availability {
            status,
            ..Availability::default()
        },
        ..Profile::default()
    };
    Ok(Registered {
        agent: AgentId(v7(number)),
        name: AgentName::parse(&format!("agent-{:06}", number * 7919 % 1_000_003))?,
        profile,
        by: PrincipalId(1),
        at: START,
    })
}

/// A number as a UUID of version 7.
fn v7(number: u64) -> u128 {
    (u128::from(number) << 80) | (7 << 76)
}

/// One step, over and over.
fn timed(name: &str, times: u64, mut step: impl FnMut() -> Result<()>) -> Result<Measured> {
    let (mut counting, began) = (Counting::new(), clock());
    for _ in 0..times {
        let at = clock();
        step()?;
        counting.book(at.elapsed(), 0, 0);
    }
    Ok(counting.over(name, began.elapsed()))
}

/// The records of a topic, as they would be on the disk.
#[derive(Default)]
struct Topic(Vec<(String, Vec<u8>)>);

impl Topic {
    /// Links, encodes and applies what was checked.
    fn take(&mut self, tools: &mut Tools, checked: Checked) -> Result<()> {
        let Checked::New(event) = checked else {
            anyhow::bail!("a call was made twice");
        };
        let record = tools.link(event)?;
        self.append(tools, &record)
    }

    fn append(&mut self, tools: &mut Tools, record: &ToolRecord) -> Result<()> {
        let bytes = record.encode();
        tools.apply(record, Offset(self.0.len() as u64))?;
        self.0.push((record.record_type().to_owned(), bytes));
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }
}

fn calls(asp: &Asp) -> Result<Vec<Measured>> {
    let arguments = r#"{"limit":10,"query":"npayload durable log broker"}"#;
    let result = format!(r#"{{"hits":["{}"]}}"#, "x".repeat(300));
    let arguments = Content::plain(
        Digest([1; 32]),
        RawValue::from_string(arguments.to_owned())?,
    );
    let result = Content::plain(Digest([2; 32]), RawValue::from_string(result)?);
    let tool_names: Result<Vec<_>, _> = TOOLS.into_iter().map(ToolName::parse).collect();
    let tool_names = tool_names?;
    let (mut topic, mut tools) = (Topic::default(), Tools::default());
    let (mut made, began) = (Counting::new(), clock());
    let finish = |topic: &mut Topic, tools: &mut Tools, number: u64, now| -> Result<Instant> {
        let at = clock();
        let finish = Finish {
            call: CallId(v7(number)),
            result: Some(result.clone()),
            by: PrincipalId(1),
        };
        let checked = tools.check_finish(finish, &Filed::Unsearched, now)?;
        topic.take(tools, checked)?;
        if let Some(filing) = tools.next_filing() {
            topic.append(tools, &filing)?;
        }
        Ok(at)
    };
    for number in 0..asp.calls {
        let now = START.saturating_add_ms(i64::try_from(number / 10)?);
        let at = clock();
        let start = Start {
            call: CallId(v7(number)),
            tool: tool_names[usize::try_from(number * 31 % 8)?].clone(),
            agent: AgentId(v7(number * 7 % CALLERS)),
            session: Some(SessionId(v7(number / 30))),
            parent: None,
            arguments: Some(arguments.clone()),
            timeout_ms: 60_000,
            by: PrincipalId(1),
        };
        let checked = tools.check_start(start, &Filed::Unsearched, now)?;
        topic.take(&mut tools, checked)?;
        made.book(at.elapsed(), 1, 0);
        if let Some(oldest) = number.checked_sub(OPEN) {
            let at = finish(&mut topic, &mut tools, oldest, now)?;
            made.book(at.elapsed(), 1, 0);
        }
    }
    let name = "tool calls: checked, linked, encoded and applied";
    made.bytes = topic.bytes();
    let mut all = vec![made.over(name, began.elapsed())];

    let (mut replayed, mut counting, began) = (Tools::default(), Counting::new(), clock());
    for (offset, (record_type, bytes)) in (0..).zip(&topic.0) {
        let at = clock();
        replayed.apply(&ToolRecord::decode(record_type, bytes)?, Offset(offset))?;
        counting.book(at.elapsed(), 1, bytes.len() as u64);
    }
    all.push(counting.over("tool calls: decoded and applied", began.elapsed()));
    anyhow::ensure!(replayed == tools, "a replay gave another state");

    all.push(timed("tool calls: a clone for a snapshot", 20, || {
        std::hint::black_box(tools.clone());
        Ok(())
    })?);
    let mut parts = Vec::new();
    all.push(timed("tool calls: the state as a snapshot", 1, || {
        let folded = tools.fold();
        parts = folded.iter().map(ToolRecord::encode).collect();
        Ok(())
    })?);
    all.push(timed("tool calls: a state from a snapshot", 1, || {
        let mut restored = Tools::default();
        for bytes in &parts {
            restored.apply(&ToolRecord::decode("tools.folded", bytes)?, Offset(0))?;
        }
        anyhow::ensure!(restored == tools, "a snapshot gave another state");
        Ok(())
    })?);
    parts.last().context("a snapshot has a part")?;
    Ok(all)
}
