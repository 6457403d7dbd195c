//! Lists of promises and disputes: those that are not closed, a bounded number looked at for each
//! request, and where the threads of those that are closed are read from.

use std::collections::BinaryHeap;
use std::sync::Arc;

use super::commitments::CommitmentSeen;
use super::disputes::DisputeSeen;
use crate::access::Principal;
use crate::asp::Knot;
use crate::asp::commitment::{Closed, Commitment, Commitments, Which};
use crate::asp::dispute::Dispute;
use crate::broker::core::{Accepted, Broker, Refusal, Wait};
use crate::broker::topic::Fold;
use crate::types::{ChannelName, CommitmentId, DisputeId, Offset, OrgId, SessionId, Timestamp};

/// Those that are not closed that one request looks at, whether they are wanted or not: they are
/// looked at under the broker's lock.
const MAX_LOOKED_AT: usize = 4096;

/// A page of commitments that are not closed.
#[derive(Clone, Debug)]
pub struct LiveCommitments {
    /// The newest first.
    pub seen: Vec<CommitmentSeen>,
    /// Where there may be more: those with a lesser id than this.
    pub rest: Option<CommitmentId>,
}

/// A page of disputes about commitments that are not closed.
#[derive(Clone, Debug)]
pub struct LiveDisputes {
    /// The newest first.
    pub seen: Vec<DisputeSeen>,
    /// Where there may be more: those with a lesser id than this.
    pub rest: Option<DisputeId>,
}

/// A thread of closed commitments, to be read backwards.
#[derive(Clone, Debug)]
pub struct ClosedToWalk {
    /// The organisation whose topic it is on.
    pub org: OrgId,
    /// The topic.
    pub channel: ChannelName,
    /// Which thread.
    pub which: Which,
    /// Its last record; none where memory knows of none.
    pub last: Option<Knot>,
    /// Where older threads of a session may be filed, the latest first.
    pub files: Vec<Offset>,
}

/// Whether somebody may see a closed commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// They may.
    Seen,
    /// They may not.
    Hidden,
    /// Whoever took part in its session may, and that is filed.
    OfSession(SessionId),
}

impl Broker {
    /// The commitments that are not closed, the newest first, of those that the caller may see.
    ///
    /// - `which`: of which thread's kind.
    /// - `below`: only those with a lesser id.
    ///
    /// # Errors
    /// [`Refusal`]: a key that does not speak for agents, or the topic is damaged.
    pub fn live_commitments(
        &self,
        by: &Principal,
        which: Which,
        fits: &dyn Fn(&Commitment) -> bool,
        below: CommitmentId,
        limit: usize,
        now: Timestamp,
    ) -> Result<LiveCommitments, Refusal> {
        self.authorize_asp(by, now)?;
        self.knows_own(by)?;
        self.unknown_to(by).map_or(Ok(()), Err)?;
        let orgs = self.asp.orgs.iter();
        let live = orgs.map(|(org, all)| (*org, all.commitments.state.live_below(which, below)));
        let mut newest = Newest::new(live, |commitment: &&Arc<Commitment>| commitment.id());
        let mut seen = Vec::new();
        let mut rest = None;
        for looked_at in 0.. {
            let Some((org, commitment)) = newest.next() else {
                rest = None;
                break;
            };
            if seen.len() >= limit || looked_at >= MAX_LOOKED_AT {
                break;
            }
            rest = Some(commitment.id());
            if fits(commitment) && self.sees_commitment(by, org, commitment, now) {
                seen.push(self.commitment_seen(org, commitment.clone()));
            }
        }
        Ok(LiveCommitments { seen, rest })
    }

    /// The disputes about commitments that are not closed, the newest first, of those that the
    /// caller may see.
    ///
    /// - `fits`: whether one, in that session, is wanted.
    ///
    /// # Errors
    /// [`Refusal`]: a key that does not speak for agents, or the topic is damaged.
    pub fn live_disputes(
        &self,
        by: &Principal,
        fits: &dyn Fn(&Dispute, SessionId) -> bool,
        below: DisputeId,
        limit: usize,
        now: Timestamp,
    ) -> Result<LiveDisputes, Refusal> {
        self.authorize_asp(by, now)?;
        self.knows_own(by)?;
        self.unknown_to(by).map_or(Ok(()), Err)?;
        let orgs = self.asp.orgs.iter();
        let live = orgs.map(|(org, all)| (*org, all.commitments.state.disputes_below(below)));
        let mut newest = Newest::new(live, |dispute: &&Arc<Dispute>| dispute.id());
        let mut seen = Vec::new();
        let mut rest = None;
        for looked_at in 0.. {
            let Some((org, dispute)) = newest.next() else {
                rest = None;
                break;
            };
            if seen.len() >= limit || looked_at >= MAX_LOOKED_AT {
                break;
            }
            rest = Some(dispute.id());
            let commitments = self.asp_of(org).map(|of| &of.commitments.state);
            let about = commitments.and_then(|all| all.live(dispute.commitment()));
            let Some(about) = about else {
                continue;
            };
            let session = about.created.promise.session;
            let may_see =
                || self.has_part(by, dispute, now) || self.sees_commitment(by, org, about, now);
            if fits(dispute, session) && may_see() {
                seen.push(self.dispute_seen(org, session, dispute.clone()));
            }
        }
        Ok(LiveDisputes { seen, rest })
    }

    /// The threads of closed commitments that a list goes through: on the caller's own topic, and
    /// on others' where it asks for one agent of its own, or for one session.
    ///
    /// # Errors
    /// [`Refusal`]: a key that does not speak for agents, or the topic is damaged.
    pub fn closed_to_walk(
        &self,
        by: &Principal,
        which: Which,
        now: Timestamp,
    ) -> Result<Vec<ClosedToWalk>, Refusal> {
        self.authorize_asp(by, now)?;
        let is_narrow = match which {
            Which::All => false,
            Which::Session(_) => true,
            Which::Obligor(agent) | Which::Counterparty(agent) => {
                let own = self.agents_of(by.org)?;
                own.is_some_and(|own| own.agent(agent).is_some())
            }
        };
        let own = self.asp.orgs.get_key_value(&by.org);
        let others = self.asp.orgs.iter().filter(|(org, _)| **org != by.org);
        let others = others.filter(|(_, of)| is_narrow && of.commitments.unknown.is_none());
        let mut walks = Vec::new();
        for (org, of_org) in own.into_iter().chain(others) {
            let commitments = of_org.commitments.known()?;
            let last = commitments.knot(which);
            let files: Vec<Offset> = match which {
                Which::Session(session) => commitments.filed_session(session).collect(),
                _ => Vec::new(),
            };
            if last.is_some() || !files.is_empty() {
                walks.push(ClosedToWalk {
                    org: *org,
                    channel: self.asp_channel(*org, Commitments::TOPIC),
                    which,
                    last,
                    files,
                });
            }
        }
        Ok(walks)
    }

    /// Whether the caller may see a closed commitment.
    #[must_use]
    pub fn sight_of(
        &self,
        by: &Principal,
        org: OrgId,
        commitment: &Commitment,
        now: Timestamp,
    ) -> Sight {
        if self.sees_commitment(by, org, commitment, now) {
            return Sight::Seen;
        }
        let session = commitment.created.promise.session;
        let held = self.asp_of(org);
        match held.and_then(|of| of.sessions.state.session(session)) {
            Some(_) => Sight::Hidden,
            None => Sight::OfSession(session),
        }
    }

    /// Whether the caller has a part in a dispute, whatever it may see of the commitment.
    #[must_use]
    pub fn has_part_in(&self, by: &Principal, dispute: &Dispute, now: Timestamp) -> bool {
        self.has_part(by, dispute, now)
    }

    /// A closed commitment as answers show it.
    #[must_use]
    pub fn seen_closed(&self, org: OrgId, closed: &Closed) -> Accepted<CommitmentSeen> {
        let log = self.asp_of(org).map(|of| of.commitments.log);
        Accepted {
            value: self.commitment_seen(org, Arc::new(closed.commitment.clone())),
            wait: self.wait_for(log.unwrap_or_default()),
        }
    }

    /// A dispute about a closed commitment as answers show it.
    #[must_use]
    pub fn seen_ended(&self, org: OrgId, closed: &Closed, dispute: &Dispute) -> DisputeSeen {
        let session = closed.commitment.created.promise.session;
        self.dispute_seen(org, session, Arc::new(dispute.clone()))
    }

    /// The records in which a commitment may be filed that is not held, of each topic, the caller's
    /// own first.
    ///
    /// # Errors
    /// [`Refusal`]: a key that does not speak for agents.
    pub fn commitment_files(
        &self,
        by: &Principal,
        commitment: CommitmentId,
        now: Timestamp,
    ) -> Result<Vec<(OrgId, ChannelName, Vec<Offset>)>, Refusal> {
        self.files_of(by, &|all| all.filed(commitment).collect(), now)
    }

    /// The records in which a dispute may be filed that is not held, of each topic, the caller's own
    /// first.
    ///
    /// # Errors
    /// As for [`Broker::commitment_files`].
    pub fn dispute_files(
        &self,
        by: &Principal,
        dispute: DisputeId,
        now: Timestamp,
    ) -> Result<Vec<(OrgId, ChannelName, Vec<Offset>)>, Refusal> {
        self.files_of(by, &|all| all.filed_dispute(dispute).collect(), now)
    }

    fn files_of(
        &self,
        by: &Principal,
        files: &dyn Fn(&Commitments) -> Vec<Offset>,
        now: Timestamp,
    ) -> Result<Vec<(OrgId, ChannelName, Vec<Offset>)>, Refusal> {
        self.authorize_asp(by, now)?;
        let own = self.asp.orgs.get_key_value(&by.org);
        let others = self.asp.orgs.iter().filter(|(org, _)| **org != by.org);
        let all = own.into_iter().chain(others).map(|(org, of_org)| {
            let channel = self.asp_channel(*org, Commitments::TOPIC);
            (*org, channel, files(&of_org.commitments.state))
        });
        Ok(all.filter(|(.., files)| !files.is_empty()).collect())
    }

    /// The topic of the sessions that an organisation's commitments are made in.
    #[must_use]
    pub fn sessions_topic(&self, org: OrgId) -> ChannelName {
        self.asp_channel(org, crate::asp::session::Sessions::TOPIC)
    }

    /// What an answer about commitments of the caller's organisation waits for.
    #[must_use]
    pub fn promises_wait(&self, by: &Principal) -> Wait {
        let log = self.asp_of(by.org).map(|of| of.commitments.log);
        self.wait_for(log.unwrap_or_default())
    }
}

/// What several sequences give, each in descending order, in descending order.
struct Newest<T, I, Id> {
    sequences: Vec<(OrgId, I)>,
    heads: BinaryHeap<(Id, usize)>,
    waiting: Vec<Option<T>>,
    id: fn(&T) -> Id,
}

impl<T, I: Iterator<Item = T>, Id: Ord> Newest<T, I, Id> {
    fn new(sequences: impl Iterator<Item = (OrgId, I)>, id: fn(&T) -> Id) -> Self {
        let mut newest = Self {
            sequences: sequences.collect(),
            heads: BinaryHeap::new(),
            waiting: Vec::new(),
            id,
        };
        for at in 0..newest.sequences.len() {
            newest.waiting.push(None);
            newest.fill(at);
        }
        newest
    }

    fn fill(&mut self, at: usize) {
        self.waiting[at] = self.sequences[at].1.next();
        if let Some(next) = &self.waiting[at] {
            self.heads.push(((self.id)(next), at));
        }
    }

    fn next(&mut self) -> Option<(OrgId, T)> {
        let (_, at) = self.heads.pop()?;
        let taken = self.waiting[at].take()?;
        self.fill(at);
        Some((self.sequences[at].0, taken))
    }
}
