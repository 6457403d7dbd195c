//! Disputes that arbitrators decide, in the broker: who is drawn, who is silent, who plays together.

use std::collections::BTreeSet;

use npayload::asp::commitment::{Evidence, State as Promised};
use npayload::asp::dispute::{DisputeState, Judgement, Mechanism, Verdict};
use npayload::broker::asp::{AspError, DisputeSeen, LookedFor, NewCommitment};
use npayload::types::{CommitmentId, DisputeId};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::history::{Row, records_of};
use super::promises::{dispute, promise};
use super::walls::{admin, register, show};
use super::*;

const HOUR: i64 = 3_600_000;

fn agent(text: &str) -> AgentRef {
    AgentRef::parse(text).unwrap()
}

/// `acme` promises in a session of `beta`, and others have earned trust with the default
/// organisation, by what they did for it.
struct Court {
    floor: Floor,
    acme: Principal,
    beta: Principal,
    /// Who could arbitrate: the name of the organisation, and its key.
    others: Vec<(String, Principal)>,
}

impl Court {
    /// - `others`: organisations besides, and how many agents each has.
    fn new(others: &[usize]) -> Self {
        let mut floor = Floor::new();
        let [acme, beta] = ["acme", "beta"].map(|org| admin(&mut floor, org));
        register(&mut floor, &acme, "bot");
        show(&mut floor, &acme, &beta, "*");
        let mut court = Self {
            floor,
            acme,
            beta,
            others: Vec::new(),
        };
        for (n, agents) in others.iter().enumerate() {
            let org = format!("other{n}");
            let key = admin(&mut court.floor, &org);
            show(&mut court.floor, &key, &ME, "*");
            for n in 0..*agents {
                register(&mut court.floor, &key, &format!("judge{n}"));
                court.earns(&org, &key, &format!("judge{n}"));
            }
            court.others.push((org, key));
        }
        // What they are worth is told by the next hour's credibility.
        court.floor.now += HOUR;
        court.floor.look();
        court
    }

    /// Promises to the default organisation, kept and confirmed by its word.
    fn earns(&mut self, org: &str, key: &Principal, name: &str) {
        let guest = format!("agent://{org}/{name}");
        let session = self.session(&ME, &guest, key, name);
        for _ in 0..12 {
            let id = self.promise(key, session, name);
            let at = self.floor.at();
            let confirmed = self.floor.broker.confirm_commitment(&ME, id, None, at);
            self.floor.durable(confirmed.unwrap());
        }
    }

    fn session(&mut self, by: &Principal, guest: &str, key: &Principal, name: &str) -> SessionId {
        let new = new_session(&[("lead", Role::Coordinator), (guest, Role::Specialist)]);
        let at = self.floor.at();
        let made = self.floor.broker.create_session(by, new, at);
        let session = self.floor.durable(made.unwrap()).session.session;
        let id = self.floor.next_id();
        let accepts = say(Performative::Accept);
        let sent = self.floor.try_send_as(key, session, name, accepts, id);
        self.floor.durable(sent.unwrap());
        session
    }

    /// A promise that is delivered.
    fn promise(&mut self, key: &Principal, session: SessionId, name: &str) -> CommitmentId {
        let new = NewCommitment {
            obligor: agent(name),
            ..promise(session, self.floor.now + HOUR)
        };
        let at = self.floor.at();
        let made = self
            .floor
            .broker
            .create_commitment(key, new, &LookedFor::Nowhere, at);
        let id = self.floor.durable(made.unwrap()).commitment.id();
        let nothing = Evidence::default();
        let done = self
            .floor
            .broker
            .deliver_commitment(key, id, None, nothing, at);
        self.floor.durable(done.unwrap());
        id
    }

    /// What acme delivered to beta is disputed, and the time to answer is over.
    fn reviewed(&mut self) -> (CommitmentId, DisputeId) {
        let (acme, beta) = (self.acme, self.beta);
        let session = self.session(&beta, "agent://acme/bot", &acme, "bot");
        let id = self.promise(&acme, session, "bot");
        let at = self.floor.at();
        let filed = self.floor.broker.file_dispute(&beta, dispute(id), None, at);
        let filed = self.floor.durable(filed.unwrap()).dispute.id();
        self.floor.now += 72 * HOUR;
        self.floor.look();
        (id, filed)
    }

    fn see(&self, id: DisputeId) -> DisputeSeen {
        let seen = self
            .floor
            .broker
            .see_dispute(&self.beta, id, self.floor.at());
        seen.unwrap().value
    }

    /// The order drawn, as (organisation, name of the agent).
    fn order(&self, id: DisputeId) -> Vec<(usize, String)> {
        let seen = self.see(id);
        let arbitration = seen.dispute.arbitration.as_ref().unwrap();
        let order = arbitration.order.iter().map(|party| {
            let of = self.others.iter().position(|(_, key)| key.org == party.org);
            let of = of.expect("drawn of the parties' organisations");
            let (_, key) = &self.others[of];
            let by_id = AgentRef::Id(party.agent);
            let seen = self.floor.broker.see_agent(key, &by_id, self.floor.at());
            (of, seen.unwrap().value.agent.name.to_string())
        });
        order.collect()
    }

    fn votes(
        &mut self,
        id: DisputeId,
        (org, name): &(usize, String),
        verdict: Verdict,
        severity: u8,
    ) -> Result<DisputeSeen, Refusal> {
        let judgement = Judgement {
            verdict,
            severity: Some(severity),
            reason: "I have looked at it".to_owned(),
        };
        let (key, at) = (self.others[*org].1, self.floor.at());
        let (who, broker) = (agent(name), &mut self.floor.broker);
        let voted = broker.judge_dispute(&key, id, Some(&who), judgement, at);
        voted.map(|voted| self.floor.durable(voted))
    }

    fn score(&self) -> npayload::asp::trust::AgentScore {
        let seen = self
            .floor
            .broker
            .trust_of(&self.acme, &agent("bot"), self.floor.at());
        seen.unwrap().value.score
    }
}

#[test]
fn silent_arbitrators_are_replaced_by_the_next_drawn_and_two_of_three_rule() {
    let mut court = Court::new(&[1; 5]);
    let (id, filed) = court.reviewed();
    let order = court.order(filed);
    assert_eq!(order.len(), 5);
    let seats = |court: &Court| -> Vec<bool> {
        let seen = court.see(filed);
        let arbitration = seen.dispute.arbitration.clone().unwrap();
        arbitration.seats.iter().map(|seat| seat.replaced).collect()
    };
    assert_eq!(seats(&court), [false; 3]);
    // Who has no seat has no vote yet, and finds no dispute.
    let early = court
        .votes(filed, &order[3], Verdict::Upheld, 2)
        .unwrap_err();
    assert!(
        matches!(early.error, BrokerError::Asp(error) if matches!(*error, AspError::DisputeNotFound(_)))
    );
    court
        .votes(filed, &order[0], Verdict::Dismissed, 1)
        .unwrap();
    let twice = court.votes(filed, &order[0], Verdict::Upheld, 5);
    assert!(twice.unwrap_err().error.to_string().contains("voted"));
    court.floor.now += 48 * HOUR - 1;
    court.floor.look();
    assert_eq!(seats(&court), [false; 3]);
    court.floor.now += 1;
    court.floor.look();
    assert_eq!(seats(&court), [false, true, true, false, false]);
    // Too late for those, and in time for the next.
    court
        .votes(filed, &order[1], Verdict::Upheld, 1)
        .unwrap_err();
    let before = court.score();
    let open = court.votes(filed, &order[3], Verdict::Upheld, 3).unwrap();
    assert_eq!(open.dispute.state, DisputeState::UnderReview);
    assert_eq!(court.score(), before, "what is not decided moves no trust");
    let ruled = court.votes(filed, &order[4], Verdict::Upheld, 4).unwrap();
    let ruling = ruled.dispute.ruling.clone().unwrap();
    assert_eq!(
        (ruling.mechanism, ruling.verdict, ruling.severity),
        (Mechanism::Peer, Verdict::Upheld, 3),
        "two of three, and of two severities the milder"
    );
    let seen = court
        .floor
        .broker
        .see_commitment(&court.beta, id, court.floor.at());
    assert_eq!(seen.unwrap().value.commitment.state, Promised::Resolved);
    assert_eq!(court.score().evidence_count, before.evidence_count + 1);
    // All of it is known again.
    let before = court.see(filed);
    court.floor = court.floor.reopened();
    assert_eq!(court.see(filed).dispute, before.dispute);
}

#[test]
fn arbitrators_who_all_stay_silent_hand_it_to_an_operator() {
    let mut court = Court::new(&[1; 4]);
    let (id, filed) = court.reviewed();
    let order = court.order(filed);
    court.votes(filed, &order[0], Verdict::Upheld, 5).unwrap();
    court.floor.now += 7 * 24 * HOUR;
    court.floor.look();
    let seen = court.see(filed).dispute;
    assert_eq!(
        (seen.state, seen.mechanism),
        (DisputeState::UnderReview, Some(Mechanism::Human))
    );
    for seat in &order {
        court.votes(filed, seat, Verdict::Upheld, 5).unwrap_err();
    }
    assert_eq!(court.score().evidence_count, 0);
    let judgement = Judgement {
        verdict: Verdict::Partial,
        severity: Some(2),
        reason: "half of it was there".to_owned(),
    };
    let at = court.floor.at();
    let ruled = court
        .floor
        .broker
        .judge_dispute(&ME, filed, None, judgement, at);
    court.floor.durable(ruled.unwrap());
    let seen = court.floor.broker.see_commitment(&court.beta, id, at);
    assert_eq!(seen.unwrap().value.commitment.state, Promised::Resolved);
}

#[test]
fn with_fewer_than_three_organisations_an_operator_decides_however_many_agents_they_have() {
    let mut court = Court::new(&[3, 2]);
    let (_, filed) = court.reviewed();
    let seen = court.see(filed).dispute;
    assert_eq!(
        (seen.state, seen.mechanism),
        (DisputeState::UnderReview, Some(Mechanism::Human))
    );
    let (org, _) = court.others[0].clone();
    assert_eq!(org, "other0");
    court
        .votes(filed, &(0, "judge0".to_owned()), Verdict::Upheld, 5)
        .unwrap_err();
}

/// Five agents of one owner have one lot among them, and whoever plays together can be of two
/// organisations at most without deciding: one vote of three, however grave, changes neither the
/// verdict nor the severity of the two others.
#[test]
fn agents_of_one_owner_have_one_seat_and_a_single_liar_decides_nothing() {
    let mut court = Court::new(&[5, 1, 1]);
    for (verdict, lie) in [
        (Verdict::Dismissed, Verdict::Upheld),
        (Verdict::Upheld, Verdict::Dismissed),
    ] {
        let (id, filed) = court.reviewed();
        let order = court.order(filed);
        let orgs: BTreeSet<usize> = order.iter().map(|(org, _)| *org).collect();
        assert_eq!((order.len(), orgs.len()), (3, 3));
        // The owner of five lies, with each of them who asks.
        for n in 0..5 {
            let who = (0, format!("judge{n}"));
            let is_drawn = order.contains(&who);
            assert_eq!(court.votes(filed, &who, lie, 5).is_ok(), is_drawn);
        }
        for seat in order.iter().filter(|(org, _)| *org != 0) {
            court.votes(filed, seat, verdict, 1).unwrap();
        }
        let ruling = court.see(filed).dispute.ruling.clone().unwrap();
        assert_eq!((ruling.verdict, ruling.severity), (verdict, 1));
        let seen = court
            .floor
            .broker
            .see_commitment(&court.beta, id, court.floor.at());
        let expected = match verdict {
            Verdict::Dismissed => Promised::Delivered,
            _ => Promised::Resolved,
        };
        assert_eq!(seen.unwrap().value.commitment.state, expected);
    }
}

fn json(row: &Row) -> Value {
    serde_json::from_slice(&row.2).unwrap()
}

fn bytes(hex: &Value) -> [u8; 32] {
    let text = hex.as_str().unwrap().trim_start_matches("sha256:");
    let digits = (0..32).map(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).unwrap());
    digits.collect::<Vec<_>>().try_into().unwrap()
}

fn id(text: &Value) -> u128 {
    let (_, digits) = text.as_str().unwrap().split_once('_').unwrap();
    u128::from_str_radix(&digits.replace('-', ""), 16).unwrap()
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

/// Nothing but the records and docs/asp.md, "Drawing arbitrators": whoever reads the topics draws
/// the same, and sees that the secret was sealed before the dispute was filed.
#[test]
fn everybody_draws_again_who_was_drawn_from_the_records_alone() {
    let mut court = Court::new(&[2, 1, 3, 1, 1]);
    let mut orders = BTreeSet::new();
    for _ in 0..4 {
        let (_, filed) = court.reviewed();
        let order = court.order(filed);
        for seat in &order[..2] {
            court.votes(filed, seat, Verdict::Dismissed, 1).unwrap();
        }
        orders.insert(order);
    }
    assert!(orders.len() > 1, "always drawn alike: {orders:?}");
    let beta = "beta/__asp.commitments";
    let promises = records_of(&court.floor, beta);
    let sessions = records_of(&court.floor, "beta/__asp.sessions");
    let of = |kind: &str| -> Vec<Value> {
        let rows = promises.iter().filter(|row| row.1 == kind);
        rows.map(json).collect()
    };
    let (filed, reviewed, ruled) = (
        of("dispute.filed"),
        of("dispute.reviewed"),
        of("dispute.ruled"),
    );
    assert_eq!((filed.len(), reviewed.len(), ruled.len()), (4, 4, 4));
    let mut seal = of("arbitration.sealed")[0]["seal"].clone();
    for filed in &filed {
        // Sealed by the record before, which is older than the dispute.
        assert_eq!(filed["seal"], seal);
        seal = filed["nextSeal"].clone();
        let same = |row: &&Value| row["dispute"] == filed["dispute"];
        let ruled = ruled.iter().find(same).unwrap();
        let reviewed = reviewed.iter().find(same).unwrap();
        let secret = bytes(&ruled["secret"]);
        let sealed = sha256(&[b"npayload/asp/seal/1\n", &secret]);
        assert_eq!(sealed, bytes(&filed["seal"]));
        // The hash that stood last in the session when it was filed.
        let created = promises.iter().map(json).find(|row| {
            row["type"] == "commitment.created" && row["commitment"] == filed["commitment"]
        });
        let session = created.unwrap()["promise"]["session"].clone();
        let mut said = sessions
            .iter()
            .map(json)
            .filter(|row| row["session"] == session && row["at"].as_i64() <= filed["at"].as_i64());
        assert_eq!(said.next_back().unwrap()["hash"], filed["logHash"]);
        let lot = |org: u32, agent: &[u8]| {
            sha256(&[
                b"npayload/asp/lot/1\n",
                &bytes(&filed["logHash"]),
                &secret,
                &id(&filed["dispute"]).to_le_bytes(),
                &org.to_le_bytes(),
                agent,
            ])
        };
        let org = |party: &Value| u32::try_from(party["org"].as_u64().unwrap()).unwrap();
        let mut candidates = reviewed["candidates"].as_array().unwrap().clone();
        assert_eq!(candidates.len(), 8);
        candidates.sort_by_key(|party| lot(org(party), &id(&party["agent"]).to_le_bytes()));
        let mut drawn: Vec<Value> = Vec::new();
        for party in candidates {
            if drawn.iter().all(|one| one["org"] != party["org"]) {
                drawn.push(party);
            }
        }
        drawn.sort_by_key(|party| lot(org(party), b""));
        assert_eq!(Value::from(drawn), reviewed["order"]);
    }
}
