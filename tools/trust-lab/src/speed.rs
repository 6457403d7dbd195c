//! How fast the fold is: a replay of many records, a single record, a score.

use std::time::Instant;

use fastrand::Rng;
use npayload::asp::Links;
use npayload::asp::chain::Digest;
use npayload::asp::trust::{
    ClockRead, CommitmentEnded, Confirmation, DEFAULT_HALF_LIFE_HOURS, Kind, Scope, TaskSettled,
    TrustRecord, TrustState,
};
use npayload::types::{CommitmentId, MessageId, Offset, OrgId, SessionId, Timestamp};
use serde::Serialize;

use crate::world::{HOUR, agent};

/// What was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Speed {
    agents: usize,
    evidence: u64,
    /// Records decoded and applied in a second, clock records included.
    rebuild_records_per_s: f64,
    /// The same in a second of processor time, as others may use the machine.
    rebuild_records_per_cpu_s: f64,
    /// Share of that time that decoding takes.
    decoding: f64,
    apply_p99_us: f64,
    apply_max_us: f64,
    score_p99_us: f64,
    score_max_us: f64,
    clone_ms: f64,
    resident_mib: f64,
}

/// Agents of an organisation.
const AGENTS_AN_ORG: u32 = 100;
/// Organisations that one works for.
const CUSTOMERS: u32 = 20;

/// Measures with so many agents and pieces of evidence, 90 days of them.
///
/// # Errors
/// When a record is refused.
pub fn measure(agents: u32, evidence: u64, mut progress: impl FnMut(u64)) -> anyhow::Result<Speed> {
    let mut rng = Rng::with_seed(1);
    let mut state = TrustState::default();
    let orgs = (agents / AGENTS_AN_ORG).max(2);
    let hours = 90 * 24;
    let (mut offset, mut spent, mut done) = (0, 0.0, 0);
    let (mut spent_cpu, mut decoding) = (0.0, 0.0);
    let mut slowest = Vec::new();
    for hour in 0..hours {
        let at = Timestamp((490_000 + hour) * HOUR);
        let clock = TrustRecord::Clock(ClockRead {
            at,
            half_life_hours: DEFAULT_HALF_LIFE_HOURS,
            kind: Kind::Clock,
            v: 1,
        });
        let mut chunk = vec![clock];
        // Linked against a copy, so that only decoding and applying is timed.
        let mut ahead = state.clone();
        ahead.apply(&chunk[0], Offset(offset))?;
        let upto = evidence * (hour as u64 + 1) / hours as u64;
        while done < upto {
            let record = ahead.link(evidence_at(at, orgs, done, &mut rng));
            ahead.apply(&record, Offset(offset + chunk.len() as u64))?;
            chunk.push(record);
            done += 1;
        }
        drop(ahead);
        let bytes: Vec<(String, Vec<u8>)> = (chunk.iter())
            .map(|record| (record.record_type().to_owned(), record.encode()))
            .collect();
        let (began, cpu) = (now(), cpu_s());
        let records: Vec<TrustRecord> = (bytes.iter())
            .map(|(record_type, payload)| TrustRecord::decode(record_type, payload))
            .collect::<Result<_, _>>()?;
        let decoded = cpu_s();
        for record in &records {
            let before = (hour + 1 == hours).then(now);
            state.apply(record, Offset(offset))?;
            offset += 1;
            if let Some(before) = before {
                slowest.push(before.elapsed().as_secs_f64() * 1e6);
            }
        }
        decoding += decoded - cpu;
        spent_cpu += cpu_s() - cpu;
        spent += began.elapsed().as_secs_f64();
        progress(done);
    }
    let mut scores: Vec<f64> = (0..20_000)
        .map(|_| {
            let of = agent(1 + rng.u32(0..orgs), rng.u32(0..AGENTS_AN_ORG));
            let began = now();
            std::hint::black_box(state.score(of.agent, Scope::External));
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    let began = now();
    let copy = state.clone();
    let clone_ms = began.elapsed().as_secs_f64() * 1e3;
    drop(copy);
    slowest.sort_by(f64::total_cmp);
    scores.sort_by(f64::total_cmp);
    let p99 = |sorted: &[f64]| sorted[sorted.len() * 99 / 100];
    Ok(Speed {
        agents: state.agents(),
        evidence: done,
        rebuild_records_per_s: offset as f64 / spent,
        rebuild_records_per_cpu_s: offset as f64 / spent_cpu,
        decoding: decoding / spent_cpu,
        apply_p99_us: p99(&slowest),
        apply_max_us: slowest[slowest.len() - 1],
        score_p99_us: p99(&scores),
        score_max_us: scores[scores.len() - 1],
        clone_ms,
        resident_mib: resident_mib().unwrap_or(0.0),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a stopwatch, outside of the fold"
)]
fn now() -> Instant {
    Instant::now()
}

/// Processor time of this thread in seconds; 0 where the system does not tell.
fn cpu_s() -> f64 {
    let read = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let ns = read.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    ns.unwrap_or(0.0) / 1e9
}

fn resident_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib / 1_024.0)
}

/// Every agent works for twenty organisations near it, one of which is verified from the start.
fn evidence_at(at: Timestamp, orgs: u32, number: u64, rng: &mut Rng) -> TrustRecord {
    let to = agent(1 + rng.u32(0..orgs), rng.u32(0..AGENTS_AN_ORG));
    let near = (to.org.0 + rng.u32(1..=CUSTOMERS)) % orgs;
    let org = if rng.u32(0..10) == 0 { 0 } else { near };
    let by = agent(org, rng.u32(0..AGENTS_AN_ORG));
    debug_assert_ne!(to.org, OrgId(0));
    let id = 0x0199_0000_0000_7000_8000 << 48 | u128::from(number);
    if rng.bool() {
        return TrustRecord::Task(TaskSettled {
            agent: to,
            at,
            by,
            links: Links::default(),
            message: MessageId(id),
            response_ms: Some(1_500),
            session: SessionId(id),
            signed: false,
            kind: Kind::Task,
            v: 1,
        });
    }
    let is_kept = rng.u32(0..10) > 0;
    TrustRecord::Commitment(CommitmentEnded {
        at,
        commitment: CommitmentId(id),
        confirmation: is_kept.then_some(Confirmation::Explicit),
        counterparty: Some(by),
        escrow: false,
        links: Links::default(),
        obligor: to,
        one_sided: false,
        severity: (!is_kept).then_some(1),
        signed: false,
        terms: Digest::ZERO,
        kind: Kind::Commitment,
        v: 1,
    })
}
