//! `tests/golden/asp/promises.json`: promises, disputes, money and evidence as other languages must
//! read them, with a record of every type, checked once more by `tests/asp_vectors.py`.

use std::collections::BTreeSet;

use npayload::asp::chain::Digest;
use npayload::asp::commitment::{
    Actor, Checked, CommitmentRecord, Commitments, CommitmentsFiled, Create, DEFAULT_CLAIM_MS, Due,
    EscrowStep, EscrowTerms, Evidence, Judge, MAX_ACTION_BYTES, MAX_DESCRIPTION_BYTES,
    MAX_OBLIGATIONS, MAX_REFERENCES, MAX_TERMS_BYTES, MAX_WORD_BYTES, MAX_WORDS_BYTES, Mode,
    Obligation, OutcomeKind, Party, Penalties, Promise, Reference, Said, Standing,
};
use npayload::asp::dispute::{
    CheckedFile, DisputeType, File, Judgement, LogFacts, MAX_OF_JUDGES, MAX_OF_OTHERS,
    MAX_REASON_BYTES, Secret, Verdict, Windows,
};
use npayload::asp::escrow::{Account, Cash, Currency, Escrow, EscrowRecord, HoldFor, Move};
use npayload::asp::trust::{
    self, ClockRead, CommitmentEnded, Confirmation, DEFAULT_HALF_LIFE_HOURS, DisputeRuled,
    Endorsed, Kind, Mechanism, OrgVerified, Rated, Ruling, TaskSettled, TrustRecord, TrustState,
};
use npayload::asp::{Links, TrustScore};
use npayload::types::{
    AgentId, ChannelName, CommitmentId, DisputeId, MessageId, Offset, OrgId, PrincipalId, Timestamp,
};
use serde_json::{Value, json};

use super::golden::{directory, is_golden};
use super::{ABROAD, BASE, GUEST, HOME, LEAD, SILENCE, START, TALK, WORKER};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// What was written, topic by topic, with its offsets.
#[derive(Default)]
struct Ledger {
    commitments: Commitments,
    escrow: Escrow,
    trust: TrustState,
    promises: Vec<(Offset, CommitmentRecord)>,
    moves: Vec<(Offset, EscrowRecord)>,
    evidence: Vec<(Offset, TrustRecord)>,
    now: Timestamp,
    secrets: u8,
}

fn party(agent: AgentId, org: OrgId) -> Party {
    Party { agent, org }
}

fn worker() -> Party {
    party(WORKER, HOME)
}

fn actor(party: Party, standing: Standing) -> Actor {
    Actor {
        party,
        standing,
        by: PrincipalId(12),
    }
}

fn lead() -> Actor {
    actor(party(LEAD, HOME), Standing::Coordinator)
}

fn id(n: u128) -> CommitmentId {
    CommitmentId(BASE + 0xc00 + n)
}

fn dispute_id(n: u128) -> DisputeId {
    DisputeId(BASE + 0xd00 + n)
}

/// The message that offers or answers.
fn said(n: u128) -> Said {
    Said {
        message: MessageId(BASE + n),
        offset: Offset(u64::try_from(n).unwrap()),
        is_signed: false,
    }
}

fn secret(n: u8) -> Secret {
    Secret([n; 32])
}

fn evidence() -> Evidence {
    Evidence {
        references: vec![
            Reference::Session {
                digest: Digest([5; 32]),
                sequence: 3,
                session: TALK,
            },
            Reference::Channel {
                bytes: 312,
                channel: ChannelName::parse("orders").unwrap(),
                digest: Digest([6; 32]),
                end: Offset(9),
                start: Offset(7),
            },
        ],
        words: Some(serde_json::from_str(r#"{"rows":12,"€":"ö"}"#).unwrap()),
    }
}

impl Ledger {
    /// With a clock, money, and the seal of the first secret.
    fn begun() -> Self {
        let mut all = Self {
            now: START,
            secrets: 1,
            ..Self::default()
        };
        all.sees(TrustRecord::Clock(ClockRead {
            at: START,
            half_life_hours: DEFAULT_HALF_LIFE_HOURS,
            kind: Kind::Clock,
            v: 1,
        }));
        all.cash(worker().into(), 9_000, true);
        let sealed = all.commitments.check_seal(secret(1).seal(), START).unwrap();
        all.write(vec![sealed]);
        all
    }

    fn offset(of: usize) -> Offset {
        Offset(40 + of as u64)
    }

    /// Writes what a check gave, and what follows for the money.
    fn write(&mut self, records: Vec<CommitmentRecord>) {
        let effects = self.commitments.effects(&records).unwrap();
        let id = records.iter().find_map(CommitmentRecord::commitment);
        for step in &effects.escrow {
            if let EscrowStep::Hold(terms) = step {
                let hold = HoldFor {
                    commitment: id.unwrap(),
                    terms: *terms,
                    account: worker().into(),
                    beneficiary: Account {
                        agent: None,
                        org: HOME,
                    },
                    score: TrustScore::NEUTRAL,
                    own_maximum: None,
                    by: PrincipalId(12),
                };
                let held = self.escrow.check_hold(hold, self.now).unwrap();
                self.moved(vec![held]);
            }
        }
        let steps = effects.escrow.into_iter();
        let steps: Vec<_> = steps
            .filter(|step| !matches!(step, EscrowStep::Hold(_)))
            .collect();
        if let Some(id) = id {
            let moves = self.escrow.check_steps(id, &steps, self.now).unwrap();
            self.moved(moves);
        }
        if let Some(outcome) = effects.outcome {
            let is_kept = outcome.kind == OutcomeKind::Fulfilled;
            self.sees(TrustRecord::Commitment(CommitmentEnded {
                at: outcome.at,
                commitment: outcome.commitment,
                confirmation: is_kept.then_some(Confirmation::Explicit),
                counterparty: outcome.confirmed_by.map(|by| seen(by.agent, by.org)),
                escrow: true,
                links: Links::default(),
                obligor: seen(WORKER, HOME),
                one_sided: outcome.mode == Mode::OneSided,
                severity: (!is_kept).then_some(outcome.severity),
                signed: false,
                terms: outcome.terms_hash,
                kind: Kind::Commitment,
                v: 1,
            }));
        }
        for record in records {
            let offset = Self::offset(self.promises.len());
            self.commitments.apply(&record, offset).unwrap();
            self.promises.push((offset, record));
        }
    }

    fn moved(&mut self, moves: Vec<Move>) {
        let offset = Self::offset(self.moves.len());
        for (record, offset) in self.escrow.link(moves, offset).into_iter().zip(offset.0..) {
            self.escrow.apply(&record, Offset(offset)).unwrap();
            self.moves.push((Offset(offset), record));
        }
    }

    fn sees(&mut self, record: TrustRecord) {
        let offset = Self::offset(self.evidence.len());
        let record = self.trust.link(record);
        self.trust.apply(&record, offset).unwrap();
        self.evidence.push((offset, record));
    }

    fn cash(&mut self, account: Account, amount: u64, is_deposit: bool) {
        let cash = Cash {
            payment: None,
            account,
            amount,
            currency: eur(),
            by: PrincipalId(1),
        };
        let moved = match is_deposit {
            true => self.escrow.check_deposit(cash, self.now).unwrap(),
            false => self.escrow.check_withdraw(cash, self.now).unwrap(),
        };
        self.moved(vec![moved]);
    }

    /// Time passes, and what is due happens.
    ///
    /// - `candidates`: among whom arbitrators are drawn.
    fn wait(&mut self, ms: i64, candidates: &[Party]) {
        let until = self.now.saturating_add_ms(ms);
        while let Some(next) = self.commitments.next_deadline().filter(|due| *due <= until) {
            self.now = self.now.max(next);
            let record = match self.commitments.next_due(self.now).unwrap() {
                Due::Record(record) => record,
                Due::Review(dispute) => {
                    let sealed = self.sealed(dispute);
                    let reviewed = self
                        .commitments
                        .check_review(dispute, candidates, &sealed, self.now);
                    reviewed.unwrap()
                }
            };
            self.write(vec![record]);
        }
        self.now = until;
    }

    fn sealed(&self, dispute: DisputeId) -> Secret {
        let seal = self.commitments.dispute(dispute).unwrap().filed.seal;
        let mut all = (1..=self.secrets).map(secret);
        all.find(|secret| secret.seal() == seal).unwrap()
    }

    fn promise(&mut self, n: u128, mode: Mode, change: impl FnOnce(&mut Promise)) -> CommitmentId {
        let deadline = self.now.saturating_add_ms(2 * HOUR);
        let mut promise = Promise::new(TALK, worker(), deadline);
        promise.description = format!("survey {n}");
        change(&mut promise);
        let escrow_held = promise.escrow.map_or(0, |escrow| escrow.amount);
        let create = Create {
            commitment: id(n),
            promise,
            mode,
            judge: Judge::Coordinator,
            message: (mode == Mode::Agreed).then_some(said(n)),
            claim_ms: DEFAULT_CLAIM_MS,
            escrow_held,
            by: PrincipalId(12),
        };
        match self.commitments.check_create(create, self.now).unwrap() {
            Checked::New(record) => self.write(vec![record]),
            Checked::Before(held) => panic!("{held:?}"),
        }
        id(n)
    }

    fn deliver(&mut self, id: CommitmentId) {
        let obligor = actor(worker(), Standing::Participant);
        let delivered = self
            .commitments
            .check_deliver(id, obligor, evidence(), self.now);
        self.write(vec![delivered.unwrap()]);
    }

    fn dispute(&mut self, n: u128, of: CommitmentId, filer: Actor, what: Option<DisputeType>) {
        self.secrets += 1;
        let file = File {
            dispute: dispute_id(n),
            commitment: of,
            filer,
            dispute_type: what,
            severity: Some(3),
            reason: "it is not what was agreed".to_owned(),
            evidence: evidence(),
            facts: LogFacts {
                hash_holds: None,
                escrow_holds: None,
            },
            log_hash: Digest([8; 32]),
            next_seal: secret(self.secrets).seal(),
            seal_number: Some(u64::from(self.secrets) - 2),
            windows: Windows::default(),
        };
        match self.commitments.check_file(file, self.now).unwrap() {
            CheckedFile::New(records) => self.write(records),
            CheckedFile::Before(known) => panic!("{known:?}"),
        }
    }

    fn vote(&mut self, n: u128, seat: usize, verdict: Verdict) {
        let dispute = self.commitments.dispute(dispute_id(n)).unwrap();
        let arbitration = dispute.arbitration.unwrap();
        let party = arbitration.sitting().nth(seat).unwrap().party;
        let (voter, sealed) = (actor(party, Standing::Stranger), self.sealed(dispute_id(n)));
        let voted =
            self.commitments
                .check_vote(dispute_id(n), voter, judged(verdict), &sealed, self.now);
        self.write(voted.unwrap());
    }
}

fn judged(verdict: Verdict) -> Judgement {
    Judgement {
        verdict,
        severity: Some(2),
        reason: "half of it was there".to_owned(),
    }
}

fn seen(agent: AgentId, org: OrgId) -> trust::Party {
    trust::Party {
        agent,
        org,
        team: None,
    }
}

fn eur() -> Currency {
    "EUR".parse().unwrap()
}

fn with_money(promise: &mut Promise) {
    promise.escrow = Some(EscrowTerms {
        amount: 1_000,
        currency: eur(),
    });
    promise.penalties = Some(Penalties {
        late_fulfillment_percent_per_day: Some(serde_json::from_str("2.5").unwrap()),
        non_delivery_percent: Some(serde_json::from_str("40").unwrap()),
    });
}

/// A history with everything in it that can be recorded.
fn ledger() -> Ledger {
    let mut all = Ledger::begun();
    // Kept: confirmed, by silence.
    let kept = all.promise(1, Mode::OneSided, |promise| {
        with_money(promise);
        promise.obligations = vec![Obligation {
            party: "worker".to_owned(),
            action: "survey".to_owned(),
            deadline: Some(promise.deadline),
            verification_method: Some("rows counted".to_owned()),
        }];
        promise.terms = Some(serde_json::from_str(r#"{"rows":12}"#).unwrap());
        promise.severity = Some(2);
    });
    all.deliver(kept);
    let shorter = all
        .commitments
        .check_shorten(kept, lead(), HOUR as u64, all.now);
    all.write(vec![shorter.unwrap()]);
    let confirmed = all.commitments.check_confirm(kept, lead(), all.now);
    all.write(vec![confirmed.unwrap()]);
    let silent = all.promise(2, Mode::OneSided, |_| {});
    all.deliver(silent);
    all.wait(DAY, &[]);
    // Offered: accepted and broken, refused, taken back, and nobody says anything.
    let [agreed, refused, back, _] = [3, 4, 5, 6].map(|n| all.promise(n, Mode::Agreed, with_money));
    let guest = actor(party(GUEST, ABROAD), Standing::Participant);
    let message = Some(said(77));
    let commitments = &all.commitments;
    let accepted = commitments
        .check_accept(agreed, guest, message, 1_000, all.now)
        .unwrap();
    let rejected = commitments
        .check_reject(refused, guest, message, all.now)
        .unwrap();
    let obligor = actor(worker(), Standing::Participant);
    let withdrawn = commitments
        .check_withdraw(back, obligor, None, all.now)
        .unwrap();
    for record in [accepted, rejected, withdrawn] {
        all.write(vec![record]);
    }
    all.wait(2 * HOUR, &[]);
    all.dispute(1, agreed, guest, None);
    all.deliver(agreed);
    // Decided by arbitrators, one of whom is silent; another dispute is taken back.
    let judged_by_peers = all.promise(7, Mode::OneSided, with_money);
    all.deliver(judged_by_peers);
    let mismatch = Some(DisputeType::SpecificationMismatch);
    all.dispute(2, judged_by_peers, lead(), mismatch);
    all.dispute(3, judged_by_peers, guest, mismatch);
    let answered = all.commitments.check_answer(
        dispute_id(2),
        obligor,
        "it is".to_owned(),
        evidence(),
        all.now,
    );
    let back = all
        .commitments
        .check_withdraw_dispute(dispute_id(3), guest, all.now);
    for record in [answered.unwrap(), back.unwrap()] {
        all.write(vec![record]);
    }
    let candidates: Vec<_> = (0..8)
        .map(|n| party(AgentId(BASE + 0xf0 + n), OrgId(20 + n as u32 % 6)))
        .collect();
    all.wait(3 * DAY, &candidates);
    all.vote(2, 0, Verdict::Upheld);
    all.wait(2 * DAY, &[]);
    all.vote(2, 2, Verdict::Upheld);
    // With an operator: ruled, and left lying after arbitrators did not decide.
    let judged_by_hand = all.promise(8, Mode::OneSided, with_money);
    all.deliver(judged_by_hand);
    all.dispute(4, judged_by_hand, lead(), mismatch);
    all.wait(3 * DAY, &[]);
    let sealed = all.sealed(dispute_id(4));
    let ruled = all.commitments.check_rule(
        dispute_id(4),
        PrincipalId(1),
        judged(Verdict::Partial),
        &sealed,
        all.now,
    );
    all.write(vec![ruled.unwrap()]);
    let left = all.promise(9, Mode::OneSided, with_money);
    all.deliver(left);
    all.dispute(5, left, lead(), mismatch);
    all.wait(3 * DAY, &candidates);
    all.wait(21 * DAY, &[]);
    let account = Account {
        agent: None,
        org: HOME,
    };
    all.cash(account, 10, false);
    // Evidence that is not of promises.
    let (by, at) = (seen(GUEST, ABROAD), all.now);
    for response_ms in [Some(1_500), None] {
        all.sees(TrustRecord::Task(TaskSettled {
            agent: seen(WORKER, HOME),
            at,
            by,
            links: Links::default(),
            message: MessageId(BASE + 90),
            response_ms,
            session: SILENCE,
            signed: true,
            kind: Kind::Task,
            v: 1,
        }));
    }
    all.sees(TrustRecord::Rating(Rated {
        agent: seen(WORKER, HOME),
        at,
        by,
        links: Links::default(),
        rating: 875,
        session: SILENCE,
        kind: Kind::Rating,
        v: 1,
    }));
    all.sees(TrustRecord::Org(OrgVerified {
        at,
        by: PrincipalId(1),
        org: ABROAD,
        kind: Kind::Org,
        v: 1,
        verified: true,
    }));
    all.sees(TrustRecord::Dispute(DisputeRuled {
        against: seen(WORKER, HOME),
        at,
        commitment: judged_by_peers,
        counted: 0,
        dispute: dispute_id(2),
        filer: by,
        filer_links: Links::default(),
        links: Links::default(),
        mechanism: Mechanism::Arbitrated,
        ruling: Ruling::Upheld,
        severity: 2,
        kind: Kind::Dispute,
        v: 1,
    }));
    all.sees(TrustRecord::Endorsement(Endorsed {
        agent: seen(WORKER, HOME),
        at,
        by,
        links: Links::default(),
        kind: Kind::Endorsement,
        v: 1,
        withdrawn: false,
    }));
    all
}

/// An entry over several topics has a limit, and what closes a promise says all of its disputes
/// once more, beside what becomes of the money. If it did not fit, the promise would never close,
/// and no clock of its organisation would go on.
#[test]
fn what_closes_the_most_disputed_promise_fits_into_an_entry() {
    let mut all = Ledger::begun();
    let broken = all.promise(1, Mode::OneSided, |promise| {
        with_money(promise);
        promise.terms = Some(words(MAX_TERMS_BYTES));
        promise.description = "\u{1}".repeat(MAX_DESCRIPTION_BYTES);
        promise.obligations = vec![
            Obligation {
                party: "\u{1}".repeat(MAX_WORD_BYTES),
                action: "\u{1}".repeat(MAX_ACTION_BYTES),
                deadline: None,
                verification_method: Some("\u{1}".repeat(MAX_WORD_BYTES)),
            };
            MAX_OBLIGATIONS
        ];
    });
    all.wait(2 * HOUR, &[]);
    let most = Evidence {
        references: vec![
            Reference::Channel {
                bytes: 1,
                channel: ChannelName::parse(&"c".repeat(255)).unwrap(),
                digest: Digest([6; 32]),
                end: Offset(u64::from(u32::MAX) + 1),
                start: Offset(u64::from(u32::MAX)),
            };
            MAX_REFERENCES
        ],
        words: Some(words(MAX_WORDS_BYTES)),
    };
    let candidates: Vec<_> = (0..256)
        .map(|n| party(AgentId(BASE + 0xf00 + n), OrgId(4_000_000_000 + n as u32)))
        .collect();
    let reason = || "\u{1}".repeat(MAX_REASON_BYTES);
    let mut filed = 0;
    for (standing, most_of_them) in [
        (Standing::Coordinator, MAX_OF_JUDGES),
        (Standing::Participant, MAX_OF_OTHERS),
    ] {
        for n in 0..=most_of_them {
            let filer = actor(party(AgentId(BASE + 0xe00 + filed), HOME), standing);
            let seal = secret(all.secrets + 1).seal();
            let file = File {
                dispute: dispute_id(filed),
                commitment: broken,
                filer,
                dispute_type: Some(DisputeType::SpecificationMismatch),
                severity: Some(3),
                reason: reason(),
                evidence: most.clone(),
                facts: LogFacts::default(),
                log_hash: Digest([8; 32]),
                next_seal: seal,
                seal_number: Some(u64::from(all.secrets) - 1),
                windows: Windows::default(),
            };
            let checked = all.commitments.check_file(file, all.now);
            if n == most_of_them {
                let refused = checked.unwrap_err().to_string();
                assert!(refused.contains(&most_of_them.to_string()), "{refused}");
                break;
            }
            let CheckedFile::New(records) = checked.unwrap() else {
                panic!("filed twice");
            };
            all.write(records);
            all.secrets += 1;
            let obligor = actor(worker(), Standing::Participant);
            let id = dispute_id(filed);
            let answered =
                all.commitments
                    .check_answer(id, obligor, reason(), most.clone(), all.now);
            all.write(vec![answered.unwrap()]);
            filed += 1;
        }
    }
    all.wait(3 * DAY, &candidates);
    for n in 0..filed {
        for (seat, verdict) in Verdict::ALL.into_iter().enumerate() {
            let dispute = all.commitments.dispute(dispute_id(n)).unwrap();
            let arbitration = dispute.arbitration.unwrap();
            let party = arbitration.sitting().nth(seat).unwrap().party;
            let judgement = Judgement {
                reason: reason(),
                ..judged(verdict)
            };
            let (voter, sealed) = (actor(party, Standing::Stranger), all.sealed(dispute_id(n)));
            let voted =
                all.commitments
                    .check_vote(dispute_id(n), voter, judgement, &sealed, all.now);
            all.write(voted.unwrap());
        }
    }
    all.wait(30 * DAY, &[]);
    let (_, last) = all.promises.last().unwrap();
    let CommitmentRecord::Closed(closed) = last else {
        panic!("{}", last.record_type());
    };
    assert_eq!(closed.disputes.len(), MAX_OF_JUDGES + MAX_OF_OTHERS);
    let bytes = last.encode().len();
    // The limit of an entry, less the movements of the money.
    assert!(bytes < (8 << 20) - (64 << 10), "{bytes}");
    assert!(bytes > 4 << 20, "{bytes}: nothing is at its limit");
}

/// A text of so many bytes in canonical form.
fn words(bytes: usize) -> npayload::asp::tool::Plain {
    serde_json::from_str(&format!("\"{}\"", "w".repeat(bytes - 2))).unwrap()
}

fn row(offset: Offset, record_type: &str, payload: &[u8]) -> Value {
    json!({ "offset": offset, "type": record_type, "record": std::str::from_utf8(payload).unwrap() })
}

/// The file, as it must be.
fn golden() -> Value {
    let all = ledger();
    let filed = CommitmentRecord::Filed(CommitmentsFiled {
        commitments: vec![(id(1), Offset(44)), (id(2), Offset(48))],
        disputes: vec![(dispute_id(1), Offset(70))],
        sessions: vec![],
    });
    let folded = all.commitments.fold();
    let of_all = folded.iter().chain([&filed]);
    let of_all = of_all.map(|record| row(Offset(0), record.record_type(), &record.encode()));
    let money = all.escrow.fold().into_iter();
    let money = money.map(|record| row(Offset(0), record.record_type(), &record.encode()));
    let trust = all.trust.fold().into_iter();
    let trust = trust.map(|record| row(Offset(0), record.record_type(), &record.encode()));
    let promises = all.promises.iter();
    let moves = all.moves.iter();
    let evidence = all.evidence.iter();
    json!({
        "commitments": promises.map(|(at, of)| row(*at, of.record_type(), &of.encode())).collect::<Vec<_>>(),
        "escrow": moves.map(|(at, of)| row(*at, of.record_type(), &of.encode())).collect::<Vec<_>>(),
        "evidence": evidence.map(|(at, of)| row(*at, of.record_type(), &of.encode())).collect::<Vec<_>>(),
        "of_all": of_all.chain(money).chain(trust).collect::<Vec<_>>(),
    })
}

#[test]
fn promises_money_and_evidence_are_byte_stable() {
    is_golden("promises.json", &golden());
}

#[test]
fn the_golden_promises_have_a_record_of_every_type() {
    let golden = golden();
    let all = golden.as_object().unwrap().values();
    let rows = all.flat_map(|rows| rows.as_array().unwrap());
    let types: BTreeSet<&str> = rows.map(|row| row["type"].as_str().unwrap()).collect();
    let expected = "agent.endorsed agent.rated arbitration.sealed clock.read commitment.accepted \
        commitment.breached commitment.closed commitment.confirmed commitment.created \
        commitment.delivered commitment.ended commitment.expired commitment.proposed \
        commitment.rejected commitment.silenceConfirmed commitment.windowShortened \
        commitment.withdrawn commitments.filed commitments.folded dispute.answered \
        dispute.arbitratorReplaced dispute.escalated dispute.expired dispute.filed \
        dispute.reviewed dispute.ruled dispute.voted dispute.withdrawn escrow.deposited \
        escrow.folded escrow.forfeited escrow.frozen escrow.held escrow.released \
        escrow.unfrozen escrow.withdrawn org.verified task.settled trust.folded";
    assert_eq!(
        types.into_iter().collect::<Vec<_>>(),
        expected.split_whitespace().collect::<Vec<_>>()
    );
}

/// What the file says is what a broker reads, and reads to the same states.
#[test]
fn the_golden_promises_are_read_back_and_fold() {
    let text = std::fs::read_to_string(directory().join("promises.json")).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let of = |topic: &str| -> Vec<(Offset, String, Vec<u8>)> {
        let rows = golden[topic].as_array().unwrap().iter();
        let text = |row: &Value, member: &str| row[member].as_str().unwrap().to_owned();
        rows.map(|row| {
            let offset = Offset(row["offset"].as_u64().unwrap());
            (offset, text(row, "type"), text(row, "record").into_bytes())
        })
        .collect()
    };
    let all = ledger();
    let (mut promises, mut money, mut trust) = (
        Commitments::default(),
        Escrow::default(),
        TrustState::default(),
    );
    for (offset, of, bytes) in of("commitments") {
        let record = CommitmentRecord::decode(&of, &bytes).unwrap();
        assert_eq!(record.encode(), bytes);
        promises.apply(&record, offset).unwrap();
    }
    for (offset, of, bytes) in of("escrow") {
        let record = EscrowRecord::decode(&of, &bytes).unwrap();
        assert_eq!(record.encode(), bytes);
        money.apply(&record, offset).unwrap();
    }
    for (offset, of, bytes) in of("evidence") {
        let record = TrustRecord::decode(&of, &bytes).unwrap();
        assert_eq!(record.encode(), bytes);
        trust.apply(&record, offset).unwrap();
    }
    assert_eq!(promises, all.commitments);
    assert_eq!(money, all.escrow);
    assert_eq!(trust, all.trust);
    let (mut promises, mut money, mut trust) = (
        Commitments::default(),
        Escrow::default(),
        TrustState::default(),
    );
    for (_, of, bytes) in of("of_all") {
        match of.as_str() {
            "commitments.folded" => {
                let record = CommitmentRecord::decode(&of, &bytes).unwrap();
                promises.apply(&record, Offset(0)).unwrap();
            }
            "escrow.folded" => {
                let record = EscrowRecord::decode(&of, &bytes).unwrap();
                money.apply(&record, Offset(0)).unwrap();
            }
            "trust.folded" => {
                let record = TrustRecord::decode(&of, &bytes).unwrap();
                trust.apply(&record, Offset(0)).unwrap();
            }
            _ => {}
        }
    }
    assert!(promises == all.commitments && money == all.escrow && trust == all.trust);
}
