//! Promises that are agreed on: what the messages of a session, and its end, do to the commitments
//! that it offers. All that a message does is recorded in its entry. docs/asp.md, "Agreed
//! commitments".

use super::AspError;
use super::commitments::{judge, party_in, standing};
use super::record::Entry;
use crate::access::Principal;
use crate::asp::commitment::{
    Actor, Checked, CommitmentError, Commitments, Create, DEFAULT_CLAIM_MS, Mode, Said, State,
};
use crate::asp::session::{
    Message, MessageSent, Offer, Performative, Send, Session, SessionEvent, SessionRecord,
};
use crate::broker::core::Broker;
use crate::broker::error::BrokerError;
use crate::broker::topic::Fold;
use crate::types::{AgentId, CommitmentId, MessageId, Offset, OrgId, SessionId, Timestamp};

impl Broker {
    /// What a message that is about to be recorded does to commitments: a COMMIT offers one, and
    /// an answer accepts it, refuses it or takes it back.
    ///
    /// - `looked`: the latest record that files commitments in which the id was looked for.
    /// - `offset`: that of the message's record.
    ///
    /// # Errors
    /// [`BrokerError`]: an offer that breaks a rule or a limit, money that is not there, or an
    /// offer that cannot be accepted any more. The message is refused then.
    pub(super) fn agree(
        &mut self,
        by: &Principal,
        org: OrgId,
        (send, sent): (&Send, &MessageSent),
        (looked, offset): (Option<Offset>, Offset),
        entry: &mut Entry,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let said = Said {
            message: sent.message.id,
            offset,
            is_signed: sent.signature.is_some(),
        };
        if send.offered().is_some() {
            self.check_unfiled(org, send, looked)?;
            return self.offer(by, org, send, said, entry, now);
        }
        let held = self.session_held(org, sent.message.session)?;
        let offer = held.answered_offer(&sent.message).copied();
        let Some(commitment) = offer.and_then(|offer| offer.commitment) else {
            return Ok(());
        };
        let actor = Actor {
            party: party_in(held, sent.message.sender)?,
            standing: standing(held, sent.message.sender),
            by: by.id,
        };
        let of_org = self.made_asp(org)?;
        let escrow_held = of_org.escrow.known()?.hold(commitment);
        let escrow_held = escrow_held.map_or(0, |hold| hold.amount);
        let commitments = of_org.commitments.known()?;
        let said = Some(said);
        let checked = match sent.message.performative {
            Performative::Accept => {
                commitments.check_accept(commitment, actor, said, escrow_held, now)
            }
            // What has lapsed meanwhile is only cleared away.
            _ if !is_open(commitments.live(commitment).map(|live| live.state)) => return Ok(()),
            Performative::Withdraw => commitments.check_withdraw(commitment, actor, said, now),
            _ => commitments.check_reject(commitment, actor, said, now),
        };
        let record = checked.map_err(|error| lapsed(error, commitment))?;
        self.follow(org, vec![record], entry, now)
    }

    /// Whether an id that a sender chose was looked for wherever it may be filed.
    fn check_unfiled(
        &mut self,
        org: OrgId,
        send: &Send,
        looked: Option<Offset>,
    ) -> Result<(), BrokerError> {
        let chosen = send.offered().and_then(|offered| offered.commitment);
        let Some(commitment) = chosen else {
            return Ok(());
        };
        let commitments = self.made_asp(org)?.commitments.known()?;
        let files: Vec<Offset> = commitments.filed(commitment).collect();
        if files.first().copied() <= looked || commitments.commitment(commitment).is_some() {
            return Ok(());
        }
        let channel = self.asp_channel(org, Commitments::TOPIC);
        Err(AspError::LookFirst { channel, files }.into())
    }

    /// Offers a commitment.
    fn offer(
        &mut self,
        by: &Principal,
        org: OrgId,
        send: &Send,
        said: Said,
        entry: &mut Entry,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let message = send.message();
        let (Some(offered), Some(commitment)) = (send.offered(), send.commitment()) else {
            return Ok(());
        };
        if offered.deadline() <= now {
            let deadline = offered.deadline();
            return Err(AspError::OfferTooLate { deadline, now }.into());
        }
        if let Some(agent) = &offered.counterparty {
            let named = self.recipient(by, org, message.session, agent, now)?;
            if message.recipient != Some(named) {
                return Err(AspError::OtherCounterparty {
                    counterparty: named,
                    recipient: message.recipient,
                }
                .into());
            }
        }
        let held = self.session_held(org, message.session)?;
        let obligor = party_in(held, message.sender)?;
        let counterparty = message.recipient.map(|agent| party_in(held, agent));
        let counterparty = counterparty.transpose()?;
        let promise = offered.promise(message.session, obligor, counterparty);
        let escrow = promise.escrow;
        let create = Create {
            commitment,
            promise,
            mode: Mode::Agreed,
            judge: judge(held, message.sender),
            message: Some(said),
            claim_ms: DEFAULT_CLAIM_MS,
            // It is put there in the same entry, or nothing is recorded.
            escrow_held: escrow.map_or(0, |escrow| escrow.amount),
            by: by.id,
        };
        let commitments = self.made_asp(org)?.commitments.known()?;
        let record = match commitments
            .check_create(create, now)
            .map_err(AspError::from)?
        {
            Checked::New(record) => {
                self.is_free_elsewhere(org, commitment)?;
                record
            }
            // The message is new, so it was another that offered it.
            Checked::Before(_) => {
                let member = "message";
                return Err(AspError::from(CommitmentError::IdTaken { commitment, member }).into());
            }
        };
        if let Some(terms) = escrow {
            let parties = (obligor, counterparty);
            let hold = self.held_for(org, commitment, terms, parties, by.id, now)?;
            entry.moves.push(hold);
        }
        self.follow(org, vec![record], entry, now)
    }

    /// The offers of a session that has ended lapse, in the entry that ends it.
    ///
    /// - `records`: those of the session that are about to be recorded.
    pub(super) fn lapse_offers(
        &mut self,
        org: OrgId,
        records: &[SessionRecord],
        entry: &mut Entry,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let ended = records.iter().find_map(|record| match &record.event {
            SessionEvent::Ended(ended) => Some(ended.session),
            _ => None,
        });
        let Some(session) = ended else {
            return Ok(());
        };
        for commitment in self.open_offers(org, session, |_| true) {
            let commitments = self.made_asp(org)?.commitments.known()?;
            let record = commitments.check_expire(commitment, now);
            let record = record.map_err(AspError::from)?;
            self.follow(org, vec![record], entry, now)?;
        }
        Ok(())
    }

    /// Whoever leaves takes its offers back.
    pub(super) fn withdraw_offers(
        &mut self,
        by: &Principal,
        org: OrgId,
        (session, agent): (SessionId, AgentId),
        entry: &mut Entry,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        for commitment in self.open_offers(org, session, |offer| offer.sender == agent) {
            let held = self.session_held(org, session)?;
            let actor = Actor {
                party: party_in(held, agent)?,
                standing: standing(held, agent),
                by: by.id,
            };
            let commitments = self.made_asp(org)?.commitments.known()?;
            let record = commitments.check_withdraw(commitment, actor, None, now);
            let record = record.map_err(AspError::from)?;
            self.follow(org, vec![record], entry, now)?;
        }
        Ok(())
    }

    /// The commitments that a session offers and that nobody has answered.
    fn open_offers(
        &self,
        org: OrgId,
        session: SessionId,
        wanted: impl Fn(&Offer) -> bool,
    ) -> Vec<CommitmentId> {
        let Some(of_org) = self.asp_of(org) else {
            return Vec::new();
        };
        let held = of_org.sessions.state.session(session);
        let offers = held.into_iter().flat_map(|held| held.offers.values());
        let offered = offers
            .filter(|offer| wanted(offer))
            .filter_map(|offer| offer.commitment);
        // Where nobody knows what is promised, the session goes on without it.
        let commitments = &of_org.commitments.state;
        let is_offered = |id: &CommitmentId| is_open(commitments.live(*id).map(|live| live.state));
        offered.filter(is_offered).collect()
    }

    /// The commitment that a message offered, or answered.
    pub(super) fn commitment_of(&self, org: OrgId, send: &Send) -> Option<CommitmentId> {
        let Message {
            session,
            in_reply_to,
            performative,
            ..
        } = send.message();
        let answered = |message: MessageId| {
            let of_org = self.asp_of(org)?;
            of_org.commitments.state.offered_by(*session, message)
        };
        let answers = performative.answers_an_offer();
        let answered = in_reply_to.filter(|_| answers).and_then(answered);
        send.commitment().or(answered)
    }

    /// Whether a commitment of that id may be filed on a session's topic.
    #[must_use]
    pub fn may_be_filed(
        &self,
        by: &Principal,
        session: SessionId,
        commitment: CommitmentId,
        now: Timestamp,
    ) -> bool {
        let org = self.org_of_session(by, session, now).ok();
        let of_org = org.and_then(|org| self.asp_of(org));
        of_org.is_some_and(|of| of.commitments.state.filed(commitment).next().is_some())
    }

    fn session_held(&self, org: OrgId, session: SessionId) -> Result<&Session, BrokerError> {
        let held = self.asp_of(org);
        let held = held.and_then(|of| of.sessions.state.session(session));
        held.ok_or_else(|| AspError::SessionNotFound(session).into())
    }
}

fn is_open(state: Option<State>) -> bool {
    state == Some(State::Proposed)
}

/// An offer that is closed and filed has lapsed as one that is still held.
fn lapsed(error: CommitmentError, commitment: CommitmentId) -> AspError {
    match error {
        CommitmentError::Unknown(_)
        | CommitmentError::Illegal {
            state: State::Expired,
            ..
        } => AspError::OfferLapsed(commitment),
        error => error.into(),
    }
}
