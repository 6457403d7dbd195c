//! What may follow in a session, and why something may not.

use super::{Participant, Session, Standing};
use crate::asp::session::error::SendError;
use crate::asp::session::event::MessageSent;
use crate::asp::session::table::{Next, Performative, Role, Voice, allowed, next};
use crate::types::AgentId;

impl Session {
    /// What a message does to the state, or why it cannot follow.
    pub(in crate::asp::session) fn judge(&self, sent: &MessageSent) -> Result<Next, SendError> {
        let message = &sent.message;
        let unknown = |agent| SendError::NotParticipant {
            session: self.session,
            agent,
        };
        let sender = self
            .participants
            .get(&message.sender)
            .ok_or(unknown(message.sender))?;
        if self.taken(message.id).is_some() {
            return Err(SendError::MessageIdTaken { id: message.id });
        }
        if let Some(let_go) = sender.let_go.filter(|let_go| message.id <= *let_go) {
            return Err(SendError::MessageIdTooOld {
                id: message.id,
                let_go,
            });
        }
        // Its sender may have sent so much since that it is not held; it still stands for its offer.
        if self.offers.contains_key(&message.id) || self.asked.contains_key(&message.id) {
            return Err(SendError::MessageIdTaken { id: message.id });
        }
        let said = message.performative;
        if self.state.is_terminal() {
            return Err(SendError::Illegal {
                state: self.state,
                said,
                voice: None,
                allowed: Vec::new(),
            });
        }
        let voice = sender.voice().ok_or(unknown(message.sender))?;
        let next = next(self.state, said, voice).ok_or_else(|| SendError::Illegal {
            state: self.state,
            said,
            voice: Some(voice),
            allowed: allowed(self.state, voice).collect(),
        })?;
        if let Some(recipient) = message.recipient {
            let known = self.participants.get(&recipient);
            if recipient == message.sender || !known.is_some_and(Participant::is_expected) {
                return Err(unknown(recipient));
            }
        }
        if sent.commitment.is_some() && said != Performative::Commit {
            return Err(SendError::OffersNone);
        }
        self.judge_answer(sent, voice)?;
        self.judge_delegate(sent, voice)?;
        Ok(next)
    }

    fn judge_answer(&self, sent: &MessageSent, voice: Voice) -> Result<(), SendError> {
        let message = &sent.message;
        let said = message.performative;
        if said.answers_an_offer() && voice != Voice::Invited {
            let offer = message.in_reply_to.and_then(|id| self.offers.get(&id));
            let is_open = offer.is_some_and(|offer| match said {
                Performative::Withdraw => offer.sender == message.sender,
                _ => {
                    offer.sender != message.sender
                        && offer.recipient.is_none_or(|only| only == message.sender)
                }
            });
            if !is_open {
                return Err(SendError::OfferNotOpen {
                    said,
                    offer: message.in_reply_to,
                });
            }
        }
        let asked = message.in_reply_to.and_then(|id| self.asked.get(&id));
        let Some(asked) = asked.filter(|asked| asked.sender != message.sender) else {
            return Ok(());
        };
        let allowed = &asked.constraints.allowed_performatives;
        if !allowed.is_empty() && !allowed.contains(&said) {
            return Err(SendError::PerformativeConstrained {
                said,
                allowed: allowed.clone(),
            });
        }
        Ok(())
    }

    fn judge_delegate(&self, sent: &MessageSent, voice: Voice) -> Result<(), SendError> {
        let is_delegate = sent.message.performative == Performative::Delegate;
        let Some(brings) = sent.brings.filter(|_| is_delegate) else {
            return if is_delegate || sent.brings.is_some() {
                Err(SendError::DelegateBringsOne)
            } else {
                Ok(())
            };
        };
        let known = self.participants.get(&brings.agent);
        if known.is_some_and(Participant::is_expected) {
            return Err(SendError::AlreadyParticipant {
                agent: brings.agent,
            });
        }
        if brings.role == Role::Coordinator && voice != Voice::Coordinator {
            return Err(SendError::RoleAboveOwn { role: brings.role });
        }
        Ok(())
    }

    /// Whether an agent may leave.
    pub(in crate::asp::session) fn judge_leave(&self, agent: AgentId) -> Result<(), SendError> {
        if self.state.is_terminal() {
            return Err(SendError::Ended {
                session: self.session,
                state: self.state,
            });
        }
        let is_in = |p: &Participant| p.standing == Standing::In;
        let leaver = self.participants.get(&agent).filter(|p| is_in(p));
        let leaver = leaver.ok_or(SendError::NotParticipant {
            session: self.session,
            agent,
        })?;
        let leads = |p: &&Participant| p.voice() == Some(Voice::Coordinator);
        let coordinators = self.participants.values().filter(leads).count();
        if leads(&leaver) && coordinators == 1 {
            return Err(SendError::LastCoordinator { agent });
        }
        Ok(())
    }

    /// Whether it waits for a human.
    pub(in crate::asp::session) fn judge_resume(&self) -> Result<(), SendError> {
        let paused = self.paused.map(|_| ());
        paused.ok_or(SendError::NotEscalated {
            session: self.session,
            state: self.state,
        })
    }
}
