//! Events become records: numbered, linked to those before them, and hashed.

use super::check::check_send;
use super::error::CreateError;
use super::event::{Created, Ended, Filed, SessionEvent};
use super::one::Session;
use super::record::SessionRecord;
use super::send::{Send, Sent};
use super::sessions::{FILED_AT_ONCE, MAX_ENDED, NO_SESSION, Sessions, illegal};
use super::table::{Performative, State};
use crate::asp::chain::Digest;
use crate::asp::{Links, NeutralTrust};
use crate::folding::IllegalEvent;
use crate::types::{Offset, SessionId};

impl Sessions {
    /// The records that an event becomes, behind the last of its session: itself, and
    /// `session.ended` where it ends the session. Applying them judges whether they can follow.
    ///
    /// - `offset`: what the first of them will have; the second has the next one.
    ///
    /// # Errors
    /// [`IllegalEvent`] for a session that is not held, for a new one that cannot begin, and for
    /// what is not an event of one session.
    pub fn link(
        &self,
        event: SessionEvent,
        offset: Offset,
    ) -> Result<Vec<SessionRecord>, IllegalEvent> {
        if let SessionEvent::Created(created) = &event {
            Session::begin(created).map_err(|rule| illegal(&event, rule))?;
            let record = SessionRecord::chain(event, Links::default(), &Digest::ZERO);
            return Ok(vec![record]);
        }
        let session = event.session().and_then(|session| self.session(session));
        let session = session.ok_or_else(|| illegal(&event, NO_SESSION))?;
        if matches!(event, SessionEvent::Ended(_) | SessionEvent::Unknown { .. }) {
            return Err(illegal(&event, "it is no event that is asked for"));
        }
        let may_end = match &event {
            SessionEvent::Expired(_) => true,
            SessionEvent::InvitationLapsed(_) => session.state == State::Invited,
            SessionEvent::MessageSent(sent) => match sent.message.performative {
                Performative::Close => true,
                Performative::Reject => session.state == State::Invited,
                _ => false,
            },
            _ => false,
        };
        let record = SessionRecord::chain(event, session.thread.links(), &session.hash);
        let mut records = vec![record];
        if may_end {
            let first = &records[0];
            let mut after = session.clone();
            let hash = first.hash().unwrap_or_default();
            super::sessions::follow(&mut after, &first.event, hash, offset)
                .map_err(|rule| illegal(&first.event, rule))?;
            if let Some(ended) = self.epitaph(&after) {
                let event = SessionEvent::Ended(Box::new(ended));
                records.push(SessionRecord::chain(
                    event,
                    after.thread.links(),
                    &after.hash,
                ));
            }
        }
        Ok(records)
    }

    /// The records of a new session, and of the PROPOSE that invites those from outside.
    ///
    /// - `offset`: what the first of them will have.
    ///
    /// # Errors
    /// [`CreateError`]; nothing is changed.
    pub fn link_created(
        &self,
        created: Created,
        invitation: Option<Send>,
        offset: Offset,
    ) -> Result<Vec<SessionRecord>, CreateError> {
        let at = created.at;
        let mut session = Session::begin(&created);
        let event = self.check_create(created)?;
        let mut records = self.link(event, offset)?;
        if let (Some(invitation), Ok(session)) = (invitation, &mut session) {
            session.hash = records[0].hash().unwrap_or_default();
            session.thread.push(offset);
            // Nothing was said before that could ask for trust.
            if let Sent::New(event) = check_send(session, &invitation, &NeutralTrust, at)? {
                let links = session.thread.links();
                records.push(SessionRecord::chain(event, links, &session.hash));
            }
        }
        Ok(records)
    }

    /// The session that these records end, as they leave it; none where they end none.
    ///
    /// - `records`: what [`Sessions::link`] made of an event, not applied yet.
    /// - `offset`: what the first of them will have.
    #[must_use]
    pub fn ended_by(&self, records: &[SessionRecord], offset: Offset) -> Option<Session> {
        let [first, .., last] = records else {
            return None;
        };
        if !matches!(last.event, SessionEvent::Ended(_)) {
            return None;
        }
        let mut after = self.session(first.session()?)?.clone();
        let hash = first.hash().unwrap_or_default();
        super::sessions::follow(&mut after, &first.event, hash, offset).ok()?;
        Some(after)
    }

    /// The record that files the oldest of the sessions that ended, once twice as many are held as
    /// are filed at once.
    ///
    /// - `is_needed`: sessions that stay and count for none, as something that was said in them is
    ///   not over.
    #[must_use]
    pub fn next_filing(&self, is_needed: &dyn Fn(SessionId) -> bool) -> Option<SessionRecord> {
        let ended = self.ended_sessions();
        if ended.len() < MAX_ENDED {
            return None;
        }
        let over = ended.iter().filter(|(_, session)| !is_needed(*session));
        let mut rows: Vec<_> = over.map(|(offset, session)| (*session, *offset)).collect();
        if rows.len() < MAX_ENDED {
            return None;
        }
        rows.truncate(FILED_AT_ONCE);
        Some(SessionRecord::of_all(SessionEvent::Filed(Filed { rows })))
    }

    /// What is to be recorded of a session that has ended.
    pub(super) fn epitaph(&self, session: &Session) -> Option<Ended> {
        session.epitaph(self.ended_links(None), |agent| {
            self.ended_links(Some(agent))
        })
    }
}
