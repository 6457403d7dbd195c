//! One example of every request about commitments, disputes, trust and escrow, and of every answer.

use npayload::asp::chain::Digest;
use npayload::asp::commitment::{
    Confirmation, EscrowTerms, Judge, Mode, Obligation, Party, Penalties, Receipt, ReceiptRecord,
    State,
};
use npayload::asp::dispute::{DisputeState, DisputeType, Mechanism, Verdict};
use npayload::asp::escrow::{Currency, Part, Percent};
use npayload::asp::trust::{Components, Level, Scope};
use npayload::protocol::asp::*;
use npayload::types::*;

use super::asp_fixtures::{AGENT, MESSAGE, SESSION, WRITER, later, name, named, org, text};
use super::fixtures::TIME;

const COMMITMENT: CommitmentId = CommitmentId(0x0199_8a2b_0c3d_7e4f_8001_0203_0405_0650);
const DISPUTE: DisputeId = DisputeId(0x0199_8a2b_0c3d_7e4f_8001_0203_0405_0660);
const PAYMENT: PaymentId = PaymentId(0x0199_8a2b_0c3d_7e4f_8001_0203_0405_0670);
const DAY_MS: i64 = 24 * 3_600_000;

fn euro() -> Currency {
    "EUR".parse().unwrap()
}

fn percent(percent: f64) -> Option<Percent> {
    Some(percent.try_into().unwrap())
}

fn obligations() -> Vec<Obligation> {
    vec![Obligation {
        action: "survey.deliver".to_owned(),
        deadline: Some(later(DAY_MS)),
        party: "research-agent".to_owned(),
        verification_method: Some("review".to_owned()),
    }]
}

fn penalties() -> Penalties {
    Penalties {
        late_fulfillment_percent_per_day: percent(2.5),
        non_delivery_percent: percent(100.0),
    }
}

fn escrow() -> EscrowTerms {
    EscrowTerms {
        amount: 50_000,
        currency: euro(),
    }
}

fn places() -> Vec<EvidencePlace> {
    vec![
        EvidencePlace::Session(SessionPlace {
            session_id: SESSION,
            sequence: 7,
            digest: Some(Digest([0xab; 32])),
        }),
        EvidencePlace::Channel(ChannelPlace {
            channel: ChannelName::parse("surveys.drafts").unwrap(),
            start: Offset(40),
            end: Offset(42),
            digest: None,
        }),
    ]
}

fn stated() -> Option<JsonText> {
    Some(text(r#"{ "missedDeadline": true }"#))
}

/// The requests, by number.
pub fn requests() -> Vec<AspRequest> {
    let mut all = commitment_requests();
    all.extend(dispute_requests());
    all.extend(trust_requests());
    all.extend(escrow_requests());
    all
}

fn commitment_requests() -> Vec<AspRequest> {
    vec![
        AspRequest::CommitmentCreate(CommitmentCreate {
            counterparty: Some(named("agent://acme/writer")),
            obligations: obligations(),
            penalties: Some(penalties()),
            escrow: Some(escrow()),
            severity: Some(3),
            terms: Some(text(r#"{ "pages": 1.50 }"#)),
            window_ms: Some(3_600_000),
            ..CommitmentCreate::new(
                COMMITMENT,
                SESSION,
                named("research-agent"),
                "a survey of log brokers",
                later(DAY_MS),
            )
        }),
        AspRequest::CommitmentDeliver(CommitmentDeliver {
            commitment_id: COMMITMENT,
            evidence: Some(text(r#"{ "pages": 12 }"#)),
            references: places(),
        }),
        AspRequest::CommitmentConfirm(CommitmentConfirm {
            commitment_id: COMMITMENT,
            agent_id: Some(named("writer")),
        }),
        AspRequest::CommitmentWindow(CommitmentWindow {
            commitment_id: COMMITMENT,
            agent_id: None,
            window_ms: 60_000,
        }),
        AspRequest::CommitmentList(CommitmentList {
            agent_id: Some(named("research-agent")),
            side: CommitmentSide::Counterparty,
            session_id: Some(SESSION),
            states: vec![State::Active, State::Breached],
            limit: 10,
            cursor: Some("c8".to_owned()),
        }),
        AspRequest::CommitmentInfo(CommitmentInfo {
            commitment_id: COMMITMENT,
            agent_id: Some(named("writer")),
        }),
        AspRequest::CommitmentReceipt(CommitmentReceipt {
            commitment_id: COMMITMENT,
            agent_id: None,
        }),
    ]
}

fn dispute_requests() -> Vec<AspRequest> {
    vec![
        AspRequest::DisputeCreate(DisputeCreate {
            agent_id: Some(named("writer")),
            dispute_type: Some(DisputeType::TimeoutBreach),
            severity: Some(2),
            evidence: stated(),
            references: places(),
            answer_ms: Some(86_400_000),
            arbitration_ms: Some(259_200_000),
            ..DisputeCreate::new(DISPUTE, COMMITMENT, "the survey was not delivered")
        }),
        AspRequest::DisputeAnswer(DisputeAnswer {
            dispute_id: DISPUTE,
            reason: "it was, see the session".to_owned(),
            evidence: None,
            references: places(),
        }),
        AspRequest::DisputeWithdraw(DisputeWithdraw {
            dispute_id: DISPUTE,
        }),
        AspRequest::DisputeRule(DisputeRule {
            dispute_id: DISPUTE,
            agent_id: Some(named("agent://acme/judge")),
            verdict: Verdict::Partial,
            severity: Some(2),
            reason: "half of it".to_owned(),
        }),
        AspRequest::DisputeList(DisputeList {
            commitment_id: Some(COMMITMENT),
            agent_id: Some(named("writer")),
            session_id: Some(SESSION),
            states: vec![DisputeState::Open, DisputeState::UnderReview],
            limit: 10,
            cursor: Some("c9".to_owned()),
        }),
        AspRequest::DisputeInfo(DisputeInfo {
            dispute_id: DISPUTE,
            agent_id: None,
        }),
    ]
}

fn trust_requests() -> Vec<AspRequest> {
    vec![
        AspRequest::TrustScore(TrustAsk {
            agent_id: named("research-agent"),
        }),
        AspRequest::TrustExplain(TrustExplain {
            limit: 10,
            cursor: Some("c10".to_owned()),
            ..TrustExplain::new(named("research-agent"))
        }),
        AspRequest::TrustEndorse(TrustEndorse {
            agent_id: named("agent://acme/writer"),
            from: named("research-agent"),
            withdrawn: false,
        }),
        AspRequest::TrustRate(TrustRate {
            session_id: SESSION,
            agent_id: named("research-agent"),
            from: named("writer"),
            rating: 0.9,
        }),
        AspRequest::OrgVerify(OrgVerify {
            org: org("acme"),
            verified: true,
        }),
    ]
}

fn escrow_requests() -> Vec<AspRequest> {
    vec![
        AspRequest::EscrowDeposit(EscrowDeposit {
            id: Some(PAYMENT),
            agent_id: Some(named("agent://acme/writer")),
            org: None,
            amount: 100_000,
            currency: euro(),
            region: Some(RegionName::parse("eu-west").unwrap()),
        }),
        AspRequest::EscrowWithdraw(EscrowWithdraw {
            id: Some(PaymentId(PAYMENT.0 + 1)),
            agent_id: None,
            org: Some(org("acme")),
            amount: 2_500,
            currency: euro(),
            region: None,
        }),
        AspRequest::EscrowBalance(EscrowBalance {
            agent_id: Some(named("research-agent")),
            org: None,
            currency: Some(euro()),
        }),
        AspRequest::EscrowLedger(EscrowLedger {
            agent_id: None,
            org: Some(org("acme")),
            commitment_id: Some(COMMITMENT),
            limit: 10,
            cursor: Some("c11".to_owned()),
        }),
    ]
}

fn researcher() -> PartyRow {
    PartyRow {
        agent_id: AGENT,
        name: name("research-agent"),
        org: org("default"),
    }
}

fn writer() -> PartyRow {
    PartyRow {
        agent_id: WRITER,
        name: name("writer"),
        org: org("acme"),
    }
}

/// With nothing in it that may be left out.
fn bare(state: State) -> CommitmentRow {
    CommitmentRow {
        id: COMMITMENT,
        session_id: SESSION,
        org: org("default"),
        state,
        closed: false,
        mode: Mode::OneSided,
        obligor: researcher(),
        counterparty: None,
        judge: Judge::Coordinator,
        description: "a survey of log brokers".to_owned(),
        deadline: later(DAY_MS),
        obligations: Vec::new(),
        penalties: None,
        escrow: None,
        severity: 1,
        terms: None,
        terms_hash: Digest([0xcd; 32]),
        window_ms: 86_400_000,
        window_until: None,
        claims_until: None,
        message_id: None,
        created_at: TIME,
        accepted_at: None,
        delivery: None,
        ended: None,
        ruled: None,
        offsets: vec![Offset(3)],
        by: PrincipalId(5),
    }
}

/// With everything that it can have.
fn full(state: State) -> CommitmentRow {
    CommitmentRow {
        closed: state == State::Resolved,
        mode: Mode::Agreed,
        counterparty: Some(writer()),
        judge: Judge::Counterparty,
        obligations: obligations(),
        penalties: Some(penalties()),
        escrow: Some(escrow()),
        severity: 3,
        terms: Some(text(r#"{"pages":1.5}"#)),
        window_until: Some(later(2 * DAY_MS)),
        claims_until: Some(later(9 * DAY_MS)),
        message_id: Some(MESSAGE),
        accepted_at: Some(later(5)),
        delivery: Some(DeliveryRow {
            at: later(1000),
            late: false,
            evidence_hash: Digest([0xef; 32]),
            offset: Offset(4),
            evidence: Some(text(r#"{"pages":12}"#)),
            references: places(),
        }),
        ended: Some(EndedRow {
            at: later(2000),
            confirmation: Some(Confirmation::Explicit),
            party: Some(writer()),
        }),
        ruled: Some(RuledRow {
            at: later(3000),
            dispute_id: DISPUTE,
            mechanism: Mechanism::Peer,
            severity: 2,
            verdict: Verdict::Partial,
        }),
        offsets: vec![Offset(3), Offset(4), Offset(6)],
        ..bare(state)
    }
}

fn receipt() -> Receipt {
    let record = r#"{"at":1700000000123,"type":"commitment.created","v":1}"#;
    Receipt {
        messages: Vec::new(),
        commitment: COMMITMENT,
        counterparty: Some(Party {
            agent: WRITER,
            org: OrgId(2),
        }),
        hash: Digest([0x12; 32]),
        obligor: Party {
            agent: AGENT,
            org: OrgId(1),
        },
        records: vec![ReceiptRecord {
            offset: Offset(3),
            record: serde_json::from_str(record).unwrap(),
        }],
        session: SESSION,
        state: State::Fulfilled,
        terms_hash: Digest([0xcd; 32]),
        v: 1,
    }
}

fn filed(state: DisputeState) -> DisputeRow {
    DisputeRow {
        id: DISPUTE,
        commitment_id: COMMITMENT,
        session_id: SESSION,
        org: org("default"),
        state,
        dispute_type: DisputeType::TimeoutBreach,
        severity: 2,
        filed_by: writer(),
        filed_against: researcher(),
        reason: "the survey was not delivered".to_owned(),
        evidence: None,
        references: Vec::new(),
        filed_at: TIME,
        due_at: None,
        answer: None,
        mechanism: None,
        arbitrators: Vec::new(),
        ruling: None,
        ended_at: None,
        log_hash: Digest([0xab; 32]),
        seal: Digest([0x34; 32]),
        offsets: vec![Offset(5)],
        by: PrincipalId(6),
    }
}

fn arbitrated() -> DisputeRow {
    DisputeRow {
        evidence: Some(text(r#"{"missedDeadline":true}"#)),
        references: places(),
        due_at: Some(later(DAY_MS)),
        answer: Some(AnswerRow {
            at: later(1000),
            reason: "it was, see the session".to_owned(),
            evidence: Some(text(r#"{"sent":true}"#)),
            references: places(),
        }),
        mechanism: Some(Mechanism::Peer),
        arbitrators: vec![SeatRow {
            party: PartyRow {
                name: name("judge"),
                ..writer()
            },
            since: later(2000),
            replaced: false,
            vote: Some(VoteRow {
                at: later(3000),
                verdict: Verdict::Partial,
                severity: 2,
                reason: "half of it".to_owned(),
            }),
        }],
        ..filed(DisputeState::UnderReview)
    }
}

fn ruled(mechanism: Mechanism) -> DisputeRow {
    DisputeRow {
        mechanism: Some(mechanism),
        ruling: Some(RulingRow {
            at: later(10),
            verdict: Verdict::Upheld,
            severity: 1,
            mechanism,
            reason: "the deadline passed without delivery".to_owned(),
        }),
        ended_at: Some(later(10)),
        ..filed(DisputeState::Resolved)
    }
}

fn trust_row() -> TrustRow {
    TrustRow {
        agent_id: AGENT,
        name: name("research-agent"),
        org: org("default"),
        projection: "trust/1".to_owned(),
        score: Millionths(920_000),
        scope: Scope::Internal,
        level: Level::L4,
        mean: Some(Millionths(970_001)),
        confidence: Millionths(800_000),
        internal: ScopeRow {
            score: Millionths(920_000),
            mean: Some(Millionths(970_001)),
            confidence: Millionths(800_000),
        },
        external: ScopeRow::default(),
        completion_rate: Some(Millionths(970_000)),
        average_response_time: Some(2300),
        dispute_rate: None,
        components: Components {
            identity_verification: 100,
            communication_history: 66,
            commitment_fulfillment: 97,
            behavioral_consistency: 100,
            response_quality: 90,
            security_posture: 0,
            economic_reliability: 0,
            peer_endorsements: 28,
        },
        composite: Millionths(69_700_000),
        evidence_count: 40,
        distinct_counterparties: 1,
        as_of: TIME,
    }
}

fn account(agent: bool) -> AccountRow {
    AccountRow {
        account: AccountOf {
            org: org("acme"),
            agent_id: agent.then_some(WRITER),
            name: agent.then(|| name("writer")),
        },
        currency: euro(),
        available: 97_500,
        held: 50_000,
        frozen: 0,
    }
}

/// The answers, by number.
pub fn responses() -> Vec<AspResponse> {
    let mut all = vec![
        AspResponse::CommitmentCreate(bare(State::Active)),
        AspResponse::CommitmentDeliver(full(State::Delivered)),
        AspResponse::CommitmentConfirm(full(State::Fulfilled)),
        AspResponse::CommitmentWindow(full(State::Delivered)),
        AspResponse::CommitmentList(CommitmentsPage {
            commitments: vec![bare(State::Breached), full(State::Resolved)],
            cursor: Some("c12".to_owned()),
        }),
        AspResponse::CommitmentInfo(full(State::Disputed)),
        AspResponse::CommitmentReceipt(ReceiptExport { receipt: receipt() }),
        AspResponse::DisputeCreate(ruled(Mechanism::Automated)),
        AspResponse::DisputeAnswer(filed(DisputeState::Answered)),
        AspResponse::DisputeWithdraw(filed(DisputeState::Withdrawn)),
        AspResponse::DisputeRule(arbitrated()),
        AspResponse::DisputeList(DisputesPage {
            disputes: vec![filed(DisputeState::Open), ruled(Mechanism::Human)],
            cursor: None,
        }),
        AspResponse::DisputeInfo(arbitrated()),
    ];
    all.extend(trust_responses());
    all.extend(escrow_responses());
    all
}

fn trust_responses() -> Vec<AspResponse> {
    vec![
        AspResponse::TrustScore(trust_row()),
        AspResponse::TrustExplain(TrustExplained {
            trust: TrustRow {
                mean: None,
                completion_rate: None,
                average_response_time: None,
                dispute_rate: Some(Millionths(10_000)),
                ..trust_row()
            },
            pairs: vec![PairRow {
                org: org("acme"),
                credibility: Millionths(500_000),
                good: Millionths(4_200_000),
                counted: Millionths(2_100_000),
                bad: Millionths(0),
            }],
            remarks: vec![
                RemarkRow::Ring {
                    orgs: vec![org("acme"), org("default")],
                },
                RemarkRow::Outlier { org: org("acme") },
                RemarkRow::UnfoundedDisputes {
                    org: org("default"),
                    candour: Millionths(250_000),
                },
            ],
            endorsements: vec![EndorserRow {
                agent_id: WRITER,
                org: org("acme"),
                score: Millionths(610_000),
                counted: Millionths(152_500),
            }],
            evidence: vec![EvidenceRow {
                offset: Offset(17),
                record: text(r#"{"at":1700000000123,"type":"task.settled","v":1}"#),
            }],
            cursor: Some("c13".to_owned()),
        }),
        AspResponse::TrustEndorse(EndorsementRow {
            agent: writer(),
            from: researcher(),
            withdrawn: false,
            score: Some(Millionths(610_000)),
            at: TIME,
            offset: Offset(20),
        }),
        AspResponse::TrustRate(RatingRow {
            session_id: SESSION,
            agent: researcher(),
            from: writer(),
            rating: Millionths(900_000),
            at: TIME,
            offset: Offset(18),
        }),
        AspResponse::OrgVerify(VerifiedOrg {
            org: org("acme"),
            verified: true,
            at: TIME,
            offset: Offset(19),
            by: PrincipalId(1),
        }),
    ]
}

fn escrow_responses() -> Vec<AspResponse> {
    let place = |part| MoneyPlace {
        account: account(true).account,
        part,
    };
    vec![
        AspResponse::EscrowDeposit(account(true)),
        AspResponse::EscrowWithdraw(account(false)),
        AspResponse::EscrowBalance(Balances {
            accounts: vec![account(false), account(true)],
        }),
        AspResponse::EscrowLedger(LedgerPage {
            entries: vec![
                EscrowEntry {
                    offset: Offset(2),
                    at: later(5),
                    step: EscrowStep::Held,
                    amount: 50_000,
                    currency: euro(),
                    from: Some(place(Part::Available)),
                    to: Some(place(Part::Held)),
                    beneficiary: Some(account(false).account),
                    commitment_id: Some(COMMITMENT),
                    payment_id: None,
                    by: None,
                },
                EscrowEntry {
                    offset: Offset(1),
                    at: TIME,
                    step: EscrowStep::Deposited,
                    amount: 100_000,
                    currency: euro(),
                    from: None,
                    to: Some(place(Part::Available)),
                    beneficiary: None,
                    commitment_id: None,
                    payment_id: Some(PAYMENT),
                    by: Some(PrincipalId(1)),
                },
            ],
            cursor: None,
        }),
    ]
}
