//! What becomes of a session when something has followed.

use super::{Asked, Offer, Participant, Paused, Session, Standing, Taken, later};
use crate::asp::chain::Digest;
use crate::asp::session::event::MessageSent;
use crate::asp::session::table::{Next, Performative, State, Voice};
use crate::types::{AgentId, MessageId, Timestamp};

impl Session {
    /// Takes a message that [`Session::judge`] let through.
    ///
    /// - `hash`: of its record.
    pub(in crate::asp::session) fn take(&mut self, sent: &MessageSent, next: Next, hash: Digest) {
        let message = &sent.message;
        let is_inviting = matches!(self.state, State::Idle | State::Invited)
            && message.performative == Performative::Propose;
        let invited_until = later(sent.at, self.invitation_ms);
        let number = self.sequence();
        if let Some(sender) = self.participants.get_mut(&message.sender) {
            // Who is invited answers the invitation, and no offer.
            match (sender.voice(), message.performative) {
                (Some(Voice::Invited), Performative::Accept) => sender.standing = Standing::In,
                (Some(Voice::Invited), Performative::Reject) => {
                    sender.standing = Standing::Refused;
                    sender.gone = Some(number);
                }
                (Some(Voice::Invited), _) => {}
                _ => self.answer(sent),
            }
        }
        self.stop_clock(sent);
        if is_inviting {
            for participant in self.participants.values_mut() {
                if matches!(
                    participant.standing,
                    Standing::Pending | Standing::Invited { .. }
                ) {
                    participant.standing = Standing::Invited {
                        until: invited_until,
                    };
                }
            }
        } else if matches!(
            message.performative,
            Performative::Propose | Performative::Counter | Performative::Commit
        ) {
            let offer = Offer {
                sender: message.sender,
                recipient: message.recipient,
                is_commitment: message.performative == Performative::Commit,
                commitment: sent.commitment,
            };
            self.offers.insert(message.id, offer);
        }
        if !message.constraints.is_empty() {
            let max = message.constraints.max_response_time_ms;
            // While it is paused, from where the time begins that `resume` gives back.
            let from = self.paused.map_or(sent.at, |paused| paused.at);
            let asked = Asked {
                sender: message.sender,
                recipient: message.recipient,
                constraints: message.constraints.clone(),
                due: max.map(|ms| later(from, ms)),
            };
            self.asked.insert(message.id, asked);
        }
        if let Some(brings) = &sent.brings {
            let standing = if brings.org == self.org {
                Standing::In
            } else {
                Standing::Invited {
                    until: invited_until,
                }
            };
            // Who comes back keeps its numbers, so that none of its messages is taken twice.
            let participant = self
                .participants
                .entry(brings.agent)
                .or_insert_with(|| Participant::new(brings, standing));
            (participant.role, participant.standing) = (brings.role, standing);
            participant.gone = None;
        }
        if next == Next::To(State::Escalated) {
            self.paused = Some(Paused {
                state: self.state,
                at: sent.at,
            });
        }
        self.take_task(sent);
        self.settle(next, sent.at);
        self.youngest = self.youngest.max(Some(message.id));
        let taken = Taken {
            id: message.id,
            digest: sent.digest,
            hash,
            sequence: self.sequence(),
            sender_sequence: sent.sender_sequence,
            state: self.state,
            at: sent.at,
        };
        if let Some(sender) = self.participants.get_mut(&message.sender) {
            sender.hold(taken);
        }
    }

    /// The offer that a message answers is answered.
    fn answer(&mut self, sent: &MessageSent) {
        let message = &sent.message;
        if message.performative.answers_an_offer()
            && let Some(answered) = message.in_reply_to
        {
            let offer = self.offers.remove(&answered);
            let binds = offer.is_some_and(|offer| offer.is_commitment);
            self.accepted += u64::from(binds && message.performative == Performative::Accept);
        }
    }

    /// What was asked is answered, or taken back.
    fn stop_clock(&mut self, sent: &MessageSent) {
        let message = &sent.message;
        let Some(answered) = message.in_reply_to else {
            return;
        };
        let ends = self.asked.get(&answered).is_some_and(|asked| {
            // Its own sender only takes it back.
            let is_withdrawn = message.performative == Performative::Withdraw;
            let is_asked = asked.recipient.is_none_or(|only| only == message.sender);
            (asked.sender == message.sender && is_withdrawn)
                || (asked.sender != message.sender && is_asked)
        });
        if ends {
            self.asked.remove(&answered);
        }
    }

    /// Goes to the next state.
    pub(in crate::asp::session) fn settle(&mut self, next: Next, at: Timestamp) {
        let count =
            |is: fn(&Participant) -> bool| self.participants.values().filter(|p| is(p)).count();
        self.state = match next {
            Next::Stays => self.state,
            Next::To(state) => state,
            Next::Invitation if count(|p| p.standing == Standing::In) >= 2 => State::Introduced,
            Next::Invitation if count(|p| matches!(p.standing, Standing::Invited { .. })) > 0 => {
                State::Invited
            }
            Next::Invitation => State::Failed,
            Next::Agreement if self.accepted > 0 => State::Executing,
            Next::Agreement if self.offers.values().any(|offer| offer.is_commitment) => {
                State::Agreeing
            }
            Next::Agreement => State::Conversing,
        };
        if self.state.is_terminal() {
            self.ended_at = Some(at);
            self.paused = None;
            self.offers.clear();
            self.asked.clear();
            self.tasks.clear();
        }
    }

    pub(in crate::asp::session) fn leave(
        &mut self,
        agent: AgentId,
        at: Timestamp,
    ) -> Result<(), &'static str> {
        self.judge_leave(agent).map_err(|refused| refused.rule())?;
        let number = self.sequence();
        if let Some(leaver) = self.participants.get_mut(&agent) {
            leaver.standing = Standing::Left;
            leaver.gone = Some(number);
        }
        self.offers.retain(|_, offer| offer.sender != agent);
        if self.state == State::Agreeing {
            self.settle(Next::Agreement, at);
        }
        Ok(())
    }

    pub(in crate::asp::session) fn lapse(
        &mut self,
        agent: AgentId,
        at: Timestamp,
    ) -> Result<(), &'static str> {
        let number = self.sequence();
        let invited = self.participants.get_mut(&agent);
        let invited = invited.filter(|one| matches!(one.standing, Standing::Invited { .. }));
        let invited = invited.ok_or("the agent has no open invitation")?;
        invited.standing = Standing::Lapsed;
        invited.gone = Some(number);
        if self.state == State::Invited {
            self.settle(Next::Invitation, at);
        }
        Ok(())
    }

    pub(in crate::asp::session) fn overdue(
        &mut self,
        message: MessageId,
    ) -> Result<(), &'static str> {
        let asked = self
            .asked
            .get_mut(&message)
            .ok_or("nothing is asked there")?;
        asked.due.take().ok_or("it has no time to answer")?;
        self.tasks.remove(&message);
        Ok(())
    }

    /// Goes on after an escalation. What stood still gets the time back that it waited.
    pub(in crate::asp::session) fn resume(&mut self, at: Timestamp) -> Result<(), &'static str> {
        let paused = self.paused.take().ok_or("the session is not escalated")?;
        let waited = u64::try_from(at.0.saturating_sub(paused.at.0)).unwrap_or(0);
        for participant in self.participants.values_mut() {
            if let Standing::Invited { until } = &mut participant.standing {
                *until = later(*until, waited);
            }
        }
        for due in self
            .asked
            .values_mut()
            .filter_map(|asked| asked.due.as_mut())
        {
            *due = later(*due, waited);
        }
        self.state = paused.state;
        if self.state == State::Agreeing {
            // Whoever had offered may have left meanwhile.
            self.settle(Next::Agreement, at);
        }
        Ok(())
    }
}
