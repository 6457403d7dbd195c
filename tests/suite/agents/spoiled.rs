//! Damage in each of the topics of agents: who asks for what it says is told that nobody knows,
//! everybody else goes on, and with the bytes back all is there.

use std::io::IoSlice;
use std::path::PathBuf;

use npayload::asp::commitment::{EscrowTerms, Evidence, State as Promised, Which};
use npayload::asp::tool::Filed;
use npayload::broker::asp::{AspError, LookedFor, NewCall, NewCommitment};
use npayload::broker::config::ConfigChange;
use npayload::format::BatchHeader;
use npayload::storage::disk::{Loss, OpenMode};
use npayload::types::{CallId, ChannelName, CommitmentId, DisputeId, ToolName};

use super::promises::{deposit, dispute, promise, usd};
use super::walls::{admin, show};
use super::*;

const HOUR: i64 = 3_600_000;
const REGISTRY: &str = "__asp.registry";
const SESSIONS: &str = "__asp.sessions";
const TOOLS: &str = "__asp.tools";
const COMMITMENTS: &str = "__asp.commitments";
const ESCROW: &str = "__asp.escrow";
const EVIDENCE: &str = "__asp.evidence";

fn agent(text: &str) -> AgentRef {
    AgentRef::parse(text).unwrap()
}

/// What was there before the damage.
struct Stock {
    disk: CrashingDisk,
    now: i64,
    session: SessionId,
    delivered: CommitmentId,
    disputable: CommitmentId,
    /// Due in an hour.
    plain: CommitmentId,
    /// Due in an hour, with money behind it.
    backed: CommitmentId,
}

fn stock() -> Stock {
    let mut floor = Floor::new();
    let session = floor.create(TRIO).session.session;
    for name in ["lead", "writer"] {
        floor.send(session, name, say(Performative::Inform));
    }
    let paid = floor
        .broker
        .pay(&ME, deposit(&agent("writer"), 500), floor.at());
    floor.durable(paid.unwrap());
    let job = floor.broker.plan_secret().unwrap();
    floor.broker.finish_secret(job.run()).unwrap();
    let due = floor.now + HOUR;
    let [delivered, disputable, kept] = [(); 3].map(|()| {
        let id = made(&mut floor, promise(session, due));
        let (at, nothing) = (floor.at(), Evidence::default());
        let done = floor.broker.deliver_commitment(&ME, id, None, nothing, at);
        floor.durable(done.unwrap());
        id
    });
    let confirmed = floor.broker.confirm_commitment(&ME, kept, None, floor.at());
    floor.durable(confirmed.unwrap());
    let plain = made(&mut floor, promise(session, due));
    let backed = made(&mut floor, with_escrow(session, due));
    start(&mut floor, 1).unwrap();
    let floor = floor.reopened();
    let floor = floor.reopened();
    Stock {
        disk: floor.disk.clone(),
        now: floor.now,
        session,
        delivered,
        disputable,
        plain,
        backed,
    }
}

fn with_escrow(session: SessionId, due: i64) -> NewCommitment {
    NewCommitment {
        escrow: Some(EscrowTerms {
            amount: 50,
            currency: usd(),
        }),
        ..promise(session, due)
    }
}

fn made(floor: &mut Floor, new: NewCommitment) -> CommitmentId {
    let made = floor
        .broker
        .create_commitment(&ME, new, &LookedFor::Nowhere, floor.at());
    floor.durable(made.unwrap()).commitment.id()
}

fn start(floor: &mut Floor, n: u128) -> Result<(), BrokerError> {
    let new = NewCall {
        call: CallId(n << 80 | 7 << 76 | 2 << 62),
        tool: ToolName::parse("web.search").unwrap(),
        agent: agent("lead"),
        session: None,
        parent: None,
        arguments: None,
        timeout_ms: 86_400_000,
    };
    let at = floor.at();
    let started = floor.broker.start_call(&ME, &new, &Filed::Unsearched, at);
    started
        .map(|_| floor.rounds())
        .map_err(|refusal| refusal.error)
}

/// The segment of a topic, and where its batches are.
fn batches(floor: &Floor, topic: &str) -> (PathBuf, Vec<(usize, usize)>) {
    let name = ChannelName::parse_any(topic).unwrap();
    let log = floor.broker.identity_of(&name).unwrap();
    let dir = Path::new(ROOT).join("channels").join(log.to_string());
    let path = dir.join(format!("{:020}.log", 0));
    let bytes = read(&floor.disk, &path);
    let mut found = Vec::new();
    let mut at = 4096;
    while at < bytes.len() {
        match BatchHeader::peek(&bytes[at..]) {
            Ok(header) => {
                found.push((at, header.len()));
                at += header.len();
            }
            Err(_) => at = (at + 1).next_multiple_of(4096),
        }
    }
    (path, found)
}

fn read(disk: &CrashingDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

fn flip(disk: &CrashingDisk, path: &Path, at: usize) {
    let byte = read(disk, path)[at] ^ 1;
    let file = disk.open(path, OpenMode::ReadWrite).unwrap();
    file.write_at(at as u64, &[IoSlice::new(&[byte])]).unwrap();
    file.sync_data().unwrap();
}

type Try = fn(&mut Floor, &Stock) -> Result<(), BrokerError>;

/// Lets an answer be durable, and drops it.
fn done<T>(floor: &mut Floor, asked: Result<Accepted<T>, Refusal>) -> Result<(), BrokerError> {
    let accepted = asked.map_err(|refusal| refusal.error)?;
    floor.rounds();
    assert!(floor.is_done(accepted.wait));
    Ok(())
}

/// What is asked, and which topics it can't do without.
const ASKED: &[(&str, &[&str], Try)] = &[
    ("see an agent", &[REGISTRY], |floor, _| {
        let seen = floor.broker.see_agent(&ME, &agent("lead"), floor.at());
        done(floor, seen)
    }),
    ("register an agent", &[REGISTRY], |floor, _| {
        let new = Register {
            name: AgentName::parse("late").unwrap(),
            profile: npayload::asp::registry::Profile::default(),
            public_key: None,
        };
        let at = floor.at();
        let made = floor.broker.register_agent(&ME, new, at);
        done(floor, made)
    }),
    ("create a session", &[REGISTRY, SESSIONS], |floor, _| {
        let at = floor.at();
        let made = floor.broker.create_session(&ME, new_session(TRIO), at);
        done(floor, made)
    }),
    ("say something", &[REGISTRY, SESSIONS], |floor, stock| {
        let sent = floor.try_send(stock.session, "lead", say(Performative::Inform));
        done(floor, sent)
    }),
    ("start a call", &[REGISTRY, TOOLS], |floor, _| {
        start(floor, 2)
    }),
    (
        "promise",
        &[REGISTRY, SESSIONS, COMMITMENTS],
        |floor, stock| {
            let (at, due) = (floor.at(), floor.now + 9 * HOUR);
            let made = floor.broker.create_commitment(
                &ME,
                promise(stock.session, due),
                &LookedFor::Nowhere,
                at,
            );
            done(floor, made)
        },
    ),
    (
        "promise with money",
        &[REGISTRY, SESSIONS, COMMITMENTS, ESCROW, EVIDENCE],
        |floor, stock| {
            let (at, due) = (floor.at(), floor.now + 9 * HOUR);
            let made = floor.broker.create_commitment(
                &ME,
                with_escrow(stock.session, due),
                &LookedFor::Nowhere,
                at,
            );
            done(floor, made)
        },
    ),
    ("see a promise", &[REGISTRY, COMMITMENTS], |floor, stock| {
        let seen = floor.broker.see_commitment(&ME, stock.plain, floor.at());
        done(floor, seen)
    }),
    (
        "list promises",
        &[REGISTRY, SESSIONS, COMMITMENTS],
        |floor, _| {
            let (most, at) = (CommitmentId(u128::MAX), floor.at());
            let broker = &floor.broker;
            let seen = broker.live_commitments(&ME, Which::All, &|_| true, most, 10, at);
            seen.map(drop).map_err(|refusal| refusal.error)
        },
    ),
    (
        "confirm",
        &[REGISTRY, SESSIONS, COMMITMENTS, EVIDENCE],
        |floor, stock| {
            let at = floor.at();
            let confirmed = floor
                .broker
                .confirm_commitment(&ME, stock.delivered, None, at);
            done(floor, confirmed)
        },
    ),
    (
        "dispute",
        &[REGISTRY, SESSIONS, COMMITMENTS],
        |floor, stock| {
            let at = floor.at();
            let filed = floor
                .broker
                .file_dispute(&ME, dispute(stock.disputable), None, at);
            done(floor, filed)
        },
    ),
    (
        "list disputes",
        &[REGISTRY, SESSIONS, COMMITMENTS],
        |floor, _| {
            let (most, at) = (DisputeId(u128::MAX), floor.at());
            let broker = &floor.broker;
            let seen = broker.live_disputes(&ME, &|_, _| true, most, 10, at);
            seen.map(drop).map_err(|refusal| refusal.error)
        },
    ),
    ("look at money", &[REGISTRY, ESCROW], |floor, _| {
        let seen = floor.broker.balances(&ME, None, None, floor.at());
        done(floor, seen)
    }),
    ("pay in", &[REGISTRY, ESCROW], |floor, _| {
        let at = floor.at();
        let paid = floor.broker.pay(&ME, deposit(&agent("lead"), 5), at);
        done(floor, paid)
    }),
    ("ask for trust", &[REGISTRY, EVIDENCE], |floor, _| {
        let seen = floor.broker.trust_of(&ME, &agent("writer"), floor.at());
        done(floor, seen)
    }),
    ("rate", &[REGISTRY, SESSIONS, EVIDENCE], |floor, stock| {
        let at = floor.at();
        let (of, by) = (agent("writer"), agent("lead"));
        let rated = floor
            .broker
            .rate_agent(&ME, stock.session, &of, &by, 800, at);
        done(floor, rated)
    }),
    ("make a channel", &[], |floor, _| {
        let name = ChannelName::parse("orders").unwrap();
        let at = floor.at();
        let made = floor
            .broker
            .create_channel(name, &ConfigChange::default(), false, at);
        done(floor, made)
    }),
];

fn state_of(floor: &Floor, id: CommitmentId) -> Option<Promised> {
    let mut states = floor.broker.promise_states();
    let (_, commitments, _) = states.find(|(org, ..)| *org == OrgId::DEFAULT)?;
    Some(commitments.commitment(id)?.commitment().state)
}

#[test]
fn damage_in_a_topic_of_agents_stops_what_needs_it_and_nothing_else() {
    let stock = stock();
    for topic in [REGISTRY, SESSIONS, TOOLS, COMMITMENTS, ESCROW, EVIDENCE] {
        let clean = Floor::open(&stock.disk.after(Loss::None), stock.now + 1);
        let (path, found) = batches(&clean, topic);
        assert!(!found.is_empty(), "{topic} has nothing in its segment");
        for (at, len) in [found[0], found[found.len() - 1]] {
            let disk = stock.disk.after(Loss::None);
            flip(&disk, &path, at + len - 1);
            let spoiled = read(&disk, &path)[at..at + len].to_vec();
            let mut floor = Floor::open(&disk, stock.now + 1);
            let mut refused = 0;
            for (what, needs, ask) in ASKED {
                match ask(&mut floor, &stock) {
                    Ok(()) => assert!(!needs.contains(&topic), "{what} goes on without {topic}"),
                    Err(BrokerError::Asp(error)) => {
                        let AspError::Unavailable(reason) = *error else {
                            panic!("{what} without {topic}: {error}");
                        };
                        assert!(needs.contains(&topic), "{what} waits for {topic}");
                        assert!(reason.to_string().contains(topic), "{reason}");
                        refused += 1;
                    }
                    Err(error) => panic!("{what} without {topic}: {error}"),
                }
            }
            assert!(refused > 0);
            // Deadlines pass; what they need is there, or they wait.
            floor.now += HOUR;
            floor.look();
            let breached = |id| state_of(&floor, id) == Some(Promised::Breached);
            let (plain, backed) = (breached(stock.plain), breached(stock.backed));
            let stops = [COMMITMENTS, EVIDENCE].contains(&topic);
            assert_eq!(plain, !stops, "{topic}");
            assert_eq!(backed, !stops && topic != ESCROW, "{topic}");
            let (_, sessions, _) = floor.states();
            let is_over = sessions
                .session(stock.session)
                .is_some_and(|s| s.state == State::Failed);
            assert_eq!(is_over, topic != SESSIONS, "{topic}");
            // Nothing was repaired in silence, and nothing is lost: with the byte back, what was
            // there is there, what was taken meanwhile too, and what waited happens.
            let floor = floor.reopened();
            assert_eq!(read(&floor.disk, &path)[at..at + len], spoiled, "{topic}");
            let disk = floor.disk.after(Loss::None);
            flip(&disk, &path, at + len - 1);
            let mut floor = Floor::open(&disk, floor.now + 1);
            floor.look();
            for id in [stock.plain, stock.backed] {
                assert_eq!(state_of(&floor, id), Some(Promised::Breached), "{topic}");
            }
            let seen = floor.broker.balances(&ME, None, None, floor.at()).unwrap();
            let all = seen
                .value
                .iter()
                .map(|seen| seen.balance.available + seen.balance.held);
            assert!([500, 505].contains(&all.sum()), "{topic}");
            let score = floor.broker.trust_of(&ME, &agent("writer"), floor.at());
            let evidence = score.unwrap().value.score.evidence_count;
            assert!(evidence >= 3, "{topic}: {evidence} pieces of evidence");
            // What was refused goes now, with the clock set back to where it was not over.
            let tries = ASKED.iter().filter(|(what, ..)| what.starts_with("see"));
            for (what, _, ask) in tries {
                ask(&mut floor, &stock).unwrap_or_else(|error| panic!("{what}: {error}"));
            }
        }
    }
}

/// Who is shown nothing by another organisation is not told that its topic is damaged; who is
/// shown something is.
#[test]
fn the_damage_of_others_shows_to_nobody_who_is_shown_nothing() {
    let mut floor = Floor::new();
    let [acme, beta, gamma] = ["acme", "beta", "gamma"].map(|org| admin(&mut floor, org));
    super::walls::register(&mut floor, &acme, "bot");
    show(&mut floor, &acme, &beta, "*");
    let bot = agent("agent://acme/bot");
    let id = {
        let seen = floor.broker.see_agent(&acme, &agent("bot"), floor.at());
        AgentRef::Id(seen.unwrap().value.agent.agent)
    };
    let floor = floor.reopened();
    let floor = floor.reopened();
    let (path, found) = batches(&floor, "acme/__asp.registry");
    let disk = floor.disk.after(Loss::None);
    flip(&disk, &path, found[0].0 + found[0].1 - 1);
    let floor = Floor::open(&disk, floor.now + 1);
    let error = |by: &Principal, agent: &AgentRef| {
        let refused = floor.broker.see_agent(by, agent, floor.at()).unwrap_err();
        match refused.error {
            BrokerError::Asp(error) => *error,
            other => panic!("{other}"),
        }
    };
    for who in [&bot, &id] {
        assert!(matches!(error(&gamma, who), AspError::AgentNotFound { .. }));
    }
    assert!(matches!(error(&beta, &bot), AspError::Unavailable(_)));
    assert!(matches!(error(&acme, &id), AspError::Unavailable(_)));
}
