//! Evidence and what it comes to: `tests/golden/asp/evidence.jsonl`, as `npayload consume --json`
//! prints it, scored by this code and by `tests/asp_trust.py`, which shares nothing with it.
//!
//! `UPDATE_GOLDEN=1 cargo test golden` writes the file anew. Do that for a new file only.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use npayload::asp::Links;
use npayload::asp::chain::Digest;
use npayload::asp::trust::{
    ClockRead, CommitmentEnded, Confirmation, DisputeRuled, Endorsed, Kind, Mechanism, OrgVerified,
    Party, Rated, Ruling, Scope, TaskSettled, TrustRecord, TrustState,
};
use npayload::types::{
    AgentId, CommitmentId, DisputeId, MessageId, Offset, OrgId, PrincipalId, SessionId, Timestamp,
};
use serde_json::{Value, json};

use super::{BASE, START};

/// Records of the golden file; the number of the last one draws what is in it.
const COUNT: u64 = 1_000;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/asp/evidence.jsonl")
}

/// Numbers that look random (S. Vigna, "splitmix64").
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }

    /// One of few organisations most of the time, so that pairs meet again.
    fn party(&mut self) -> Party {
        let org = if self.below(4) > 0 {
            self.below(6)
        } else {
            self.below(20)
        };
        let number = self.below(2);
        Party {
            agent: AgentId(BASE + u128::from(org * 16 + number)),
            org: OrgId(u32::try_from(org).unwrap()),
            team: (number == 0 || org % 2 == 0).then(|| u32::try_from(number).unwrap()),
        }
    }

    fn two(&mut self) -> (Party, Party) {
        loop {
            let (one, other) = (self.party(), self.party());
            if one.agent != other.agent {
                return (one, other);
            }
        }
    }

    fn severity(&mut self, least: u64) -> u8 {
        u8::try_from(least + self.below(6 - least)).unwrap()
    }
}

fn clock(at: Timestamp, half_life_hours: u32) -> TrustRecord {
    let kind = Kind::Clock;
    TrustRecord::Clock(ClockRead {
        at,
        half_life_hours,
        kind,
        v: 1,
    })
}

fn record(number: u64, at: &mut Timestamp) -> TrustRecord {
    let mut draw = Draw(number);
    let id = BASE + u128::from(number);
    let (links, session, v) = (Links::default(), SessionId(id), 1);
    let (agent, by) = draw.two();
    let hour = 3_600_000;
    match draw.below(40) {
        0..=1 => {
            let hours = [1, 1, 2, 5, 40][usize::try_from(draw.below(5)).unwrap()];
            *at = at.saturating_add_ms(hours * hour);
            let half_life = if number < COUNT * 3 / 4 { 720 } else { 97 };
            clock(*at, half_life)
        }
        2..=22 => {
            let confirmation = match draw.below(20) {
                0..=1 => None,
                4..=7 => Some(Confirmation::Silence),
                8 => Some(Confirmation::Itself),
                _ => Some(Confirmation::Explicit),
            };
            TrustRecord::Commitment(CommitmentEnded {
                at: *at,
                commitment: CommitmentId(id),
                confirmation,
                counterparty: (draw.below(9) > 0).then_some(by),
                escrow: draw.below(3) == 0,
                links,
                obligor: agent,
                one_sided: draw.below(3) == 0,
                severity: confirmation.is_none().then(|| draw.severity(1)),
                signed: draw.below(2) == 0,
                terms: Digest([7; 32]),
                kind: Kind::Commitment,
                v,
            })
        }
        23..=28 => TrustRecord::Task(TaskSettled {
            agent,
            at: *at,
            by,
            links,
            message: MessageId(id),
            response_ms: (draw.below(5) > 0).then(|| draw.below(5_000)),
            session,
            signed: draw.below(2) == 0,
            kind: Kind::Task,
            v,
        }),
        29..=34 => TrustRecord::Rating(Rated {
            agent,
            at: *at,
            by,
            links,
            // One organisation likes nobody.
            rating: if by.org == OrgId(2) {
                0
            } else {
                1_000 - u16::try_from(draw.below(300)).unwrap()
            },
            session,
            kind: Kind::Rating,
            v,
        }),
        35 => TrustRecord::Endorsement(Endorsed {
            agent,
            at: *at,
            by,
            links,
            kind: Kind::Endorsement,
            v,
            withdrawn: draw.below(4) == 0,
        }),
        36 => TrustRecord::Org(OrgVerified {
            at: *at,
            by: PrincipalId(0),
            org: OrgId(2 + u32::try_from(draw.below(2)).unwrap()),
            kind: Kind::Org,
            v,
            verified: draw.below(9) > 0,
        }),
        _ => TrustRecord::Dispute(DisputeRuled {
            against: agent,
            at: *at,
            commitment: CommitmentId(id),
            counted: draw.severity(0),
            dispute: DisputeId(id),
            filer: by,
            filer_links: links,
            links,
            mechanism: [
                Mechanism::Automated,
                Mechanism::Arbitrated,
                Mechanism::Human,
            ][usize::try_from(draw.below(3)).unwrap()],
            ruling: [Ruling::Upheld, Ruling::Partial, Ruling::Dismissed]
                [usize::try_from(draw.below(3)).unwrap()],
            severity: draw.severity(1),
            kind: Kind::Dispute,
            v,
        }),
    }
}

/// The golden file.
fn lines() -> String {
    let (mut state, mut at, mut lines) = (TrustState::default(), START, String::new());
    for number in 0..COUNT {
        let record = if number == 0 {
            clock(at, 720)
        } else {
            record(number, &mut at)
        };
        let record = state.link(record);
        state.apply(&record, Offset(number)).unwrap();
        let payload: Value = serde_json::from_slice(&record.encode()).unwrap();
        let line = json!({"offset": number, "type": record.record_type(), "payload": payload});
        writeln!(lines, "{line}").unwrap();
    }
    lines
}

/// The state of the records of a file, and the agents that they are about.
fn read(text: &str) -> (TrustState, Vec<AgentId>) {
    let mut state = TrustState::default();
    let mut agents = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let payload = line["payload"].to_string();
        let record = TrustRecord::decode(line["type"].as_str().unwrap(), payload.as_bytes());
        let record = record.unwrap();
        assert_eq!(
            String::from_utf8(record.encode()).unwrap(),
            payload,
            "canonical"
        );
        state
            .apply(&record, Offset(line["offset"].as_u64().unwrap()))
            .unwrap();
        match record {
            TrustRecord::Commitment(of) => agents.push(of.obligor.agent),
            TrustRecord::Dispute(of) => agents.extend([of.against.agent, of.filer.agent]),
            TrustRecord::Endorsement(of) => agents.push(of.agent.agent),
            TrustRecord::Rating(of) => agents.push(of.agent.agent),
            TrustRecord::Task(of) => agents.push(of.agent.agent),
            _ => {}
        }
    }
    agents.sort_unstable();
    agents.dedup();
    (state, agents)
}

#[test]
fn the_golden_evidence_is_byte_stable_and_has_a_record_of_every_type() {
    let lines = lines();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden(), &lines).unwrap();
    }
    assert_eq!(lines, std::fs::read_to_string(golden()).unwrap());
    let mut types = BTreeMap::<String, u32>::new();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        *types.entry(line["type"].to_string()).or_default() += 1;
    }
    assert_eq!(types.len(), 7, "{types:?}");
}

/// What the independent script makes of a file; none where there is no Python.
pub(super) fn scored(path: &Path) -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/asp_trust.py");
    let Ok(output) = Command::new("python3").arg(script).arg(path).output() else {
        assert!(std::env::var_os("CI").is_none(), "python3 is missing");
        eprintln!("skipped, python3 is not installed");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn an_independent_script_computes_the_same_scores_to_the_bit() {
    let text = std::fs::read_to_string(golden()).unwrap();
    // After every fifty records too, so that no difference heals before its end.
    let all: Vec<&str> = text.lines().collect();
    for count in (50..=all.len()).step_by(50) {
        let part = tempfile::NamedTempFile::new().unwrap();
        let text = all[..count].join("\n");
        std::fs::write(part.path(), &text).unwrap();
        let (state, agents) = read(&text);
        let mut expected = String::new();
        for agent in agents {
            let [external, internal] =
                [Scope::External, Scope::Internal].map(|scope| state.score(agent, scope).score);
            writeln!(expected, "{agent} {external} {internal}").unwrap();
        }
        let Some(said) = scored(part.path()) else {
            return;
        };
        assert_eq!(said, expected, "after {count} records");
        let known = said.lines().filter(|line| !line.contains(" 0 ")).count();
        assert!(count < all.len() || known > 8, "{said}");
    }
}

#[test]
fn the_script_is_short_enough_to_be_read() {
    let script = include_str!("../../asp_trust.py");
    assert!(script.lines().count() <= 100, "{}", script.lines().count());
}
