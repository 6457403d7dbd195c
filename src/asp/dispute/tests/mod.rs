//! Disputes step by step, what the log rules by itself, and who arbitrates.

mod arbitration;
mod filing;
mod log;
mod table;

use super::*;
use crate::asp::Canonical;
use crate::asp::chain::Digest;
use crate::asp::commitment::{
    Actor, Checked, CommitmentError, CommitmentRecord, Commitments, Create, DEFAULT_CLAIM_MS, Due,
    Evidence, Judge, Mode, Party, Promise, Reference, Standing, State, plain,
};
use crate::types::{
    AgentId, ChannelName, CommitmentId, DisputeId, Offset, OrgId, PrincipalId, SessionId, Timestamp,
};

const BY: PrincipalId = PrincipalId(1);
const START: Timestamp = Timestamp(1_000_000);
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const COMMITMENT: CommitmentId = CommitmentId(1 << 80 | 7 << 76);

fn at(ms: i64) -> Timestamp {
    START.saturating_add_ms(ms)
}

fn id(number: u128) -> DisputeId {
    DisputeId(number << 80 | 7 << 76)
}

fn party(number: u32) -> Party {
    Party {
        agent: AgentId(number.into()),
        org: OrgId(number),
    }
}

fn actor(number: u32) -> Actor {
    Actor {
        party: party(number),
        standing: Standing::Participant,
        by: BY,
    }
}

fn secret(number: u8) -> Secret {
    Secret([number; 32])
}

fn file(number: u8, filer: u32) -> File {
    File {
        dispute: id(number.into()),
        commitment: COMMITMENT,
        filer: actor(filer),
        dispute_type: None,
        severity: None,
        reason: "it is not what was agreed".to_owned(),
        evidence: Evidence::default(),
        facts: LogFacts::default(),
        log_hash: Digest([9; 32]),
        next_seal: secret(number + 1).seal(),
        seal_number: None,
        windows: Windows::default(),
    }
}

fn judgement(verdict: Verdict, severity: u8) -> Judgement {
    Judgement {
        verdict,
        severity: Some(severity),
        reason: "I have seen it".to_owned(),
    }
}

/// A state with the records that made it.
#[derive(Clone, Default)]
struct Topic {
    state: Commitments,
    records: Vec<CommitmentRecord>,
}

impl Topic {
    fn write(&mut self, records: Vec<CommitmentRecord>) {
        for record in records {
            let json = String::from_utf8(record.encode()).unwrap();
            assert_eq!(Canonical::parse(&json).unwrap().as_str(), json);
            let read = CommitmentRecord::decode(record.record_type(), json.as_bytes()).unwrap();
            assert_eq!(read, record);
            let offset = Offset(self.records.len() as u64);
            self.state.apply(&read, offset).unwrap();
            self.records.push(read);
        }
        let mut folded = Commitments::default();
        for part in self.state.fold() {
            folded.apply(&part, Offset(0)).unwrap();
        }
        assert_eq!(folded, self.state);
    }

    /// A commitment of agent 1 to agent 2; the secret for the first dispute is sealed.
    fn active() -> Self {
        let mut topic = Self::default();
        let mut promise = Promise::new(SessionId(5), party(1), at(DAY));
        promise.counterparty = Some(party(2));
        let create = Create {
            commitment: COMMITMENT,
            promise,
            mode: Mode::OneSided,
            judge: Judge::Counterparty,
            message: None,
            claim_ms: DEFAULT_CLAIM_MS,
            escrow_held: 0,
            by: BY,
        };
        let seal = topic.state.check_seal(secret(1).seal(), START).unwrap();
        let Checked::New(record) = topic.state.check_create(create, START).unwrap() else {
            panic!("it was there before");
        };
        topic.write(vec![seal, record]);
        topic
    }

    fn delivered() -> Self {
        let mut topic = Self::active();
        let evidence = Evidence::default();
        let state = &topic.state;
        let record = state.check_deliver(COMMITMENT, actor(1), evidence, START);
        topic.write(vec![record.unwrap()]);
        topic
    }

    fn breached() -> Self {
        let mut topic = Self::active();
        topic.tick(at(DAY), &[]);
        topic
    }

    fn file(&mut self, file: File, now: Timestamp) {
        match self.state.check_file(file, now).unwrap() {
            CheckedFile::New(records) => self.write(records),
            CheckedFile::Before(dispute) => panic!("{dispute:?} was there before"),
        }
    }

    /// All that the clock does until that time, arbitrators drawn among those candidates.
    fn tick(&mut self, now: Timestamp, candidates: &[Party]) {
        while let Some(due) = self.state.next_due(now) {
            let record = match due {
                Due::Record(record) => record,
                Due::Review(dispute) => {
                    let secret = self.secret(dispute);
                    let state = &self.state;
                    state
                        .check_review(dispute, candidates, &secret, now)
                        .unwrap()
                }
            };
            self.write(vec![record]);
        }
    }

    fn secret(&self, dispute: DisputeId) -> Secret {
        let seal = self.dispute(dispute).filed.seal;
        let mut secrets = (0..=u8::MAX).map(secret);
        secrets.find(|secret| secret.seal() == seal).unwrap()
    }

    fn dispute(&self, id: DisputeId) -> Dispute {
        self.state.dispute(id).unwrap()
    }

    fn commitment(&self) -> State {
        let held = self.state.commitment(COMMITMENT).unwrap();
        held.commitment().state
    }

    /// Under review by arbitrators among ten of organisations of their own; those with a seat.
    fn reviewed() -> (Self, Vec<Party>) {
        let mut topic = Self::delivered();
        topic.file(file(1, 2), START);
        topic.tick(at(3 * DAY), &candidates());
        let seats = topic.seats();
        assert_eq!(seats.len(), ARBITRATORS);
        (topic, seats)
    }

    fn seats(&self) -> Vec<Party> {
        let arbitration = self.dispute(id(1)).arbitration.unwrap();
        arbitration.sitting().map(|seat| seat.party).collect()
    }

    fn vote(
        &mut self,
        by: Party,
        verdict: Verdict,
        severity: u8,
        now: Timestamp,
    ) -> Result<(), DisputeError> {
        let actor = Actor {
            party: by,
            standing: Standing::Stranger,
            by: BY,
        };
        let judgement = judgement(verdict, severity);
        let secret = self.secret(id(1));
        let state = &self.state;
        let records = state.check_vote(id(1), actor, judgement, &secret, now)?;
        self.write(records);
        Ok(())
    }
}

fn candidates() -> Vec<Party> {
    (10..20).map(party).collect()
}
