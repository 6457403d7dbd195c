//! What somebody points to: checked against the broker's own record before it is written down.

use super::super::shared::Shared;
use super::history::session_record;
use super::reader::Reader;
use super::reads;
use super::sessions::{find_filed, is_absent};
use crate::access::Principal;
use crate::asp::Canonical;
use crate::asp::chain::Digest;
use crate::asp::commitment::{Evidence, MAX_REFERENCES, OutOfLimit, Reference, plain};
use crate::asp::tool::Plain;
use crate::broker::asp::AspError;
use crate::broker::{BrokerError, Refusal};
use crate::protocol::asp::{ChannelPlace, EvidencePlace, JsonText, SessionPlace};
use crate::types::{SessionId, Timestamp};

/// Words in canonical form.
pub(super) fn words(text: &JsonText) -> Result<Plain, AspError> {
    Ok(plain(&Canonical::parse(text.text())?))
}

/// Evidence as it is recorded: each place is there, can be read by whoever names it, and has the
/// digest that is given.
///
/// # Errors
/// [`AspError::Evidence`] naming the place.
pub(super) fn resolve(
    shared: &Shared,
    by: &Principal,
    text: Option<&JsonText>,
    places: &[EvidencePlace],
    now: Timestamp,
) -> Result<Evidence, Refusal> {
    if places.len() > MAX_REFERENCES {
        let error = OutOfLimit {
            what: "references",
            value: places.len() as u64,
            least: 0,
            most: MAX_REFERENCES as u64,
        };
        return Err(AspError::from(crate::asp::commitment::CommitmentError::from(error)).into());
    }
    let mut references = Vec::with_capacity(places.len());
    for place in places {
        references.push(match place {
            EvidencePlace::Session(place) => of_session(shared, by, place, now)?,
            EvidencePlace::Channel(place) => return Err(of_channel(place).into()),
        });
    }
    Ok(Evidence {
        references,
        words: text.map(words).transpose()?,
    })
}

/// A place as answers show it.
pub(super) fn place(reference: Reference) -> EvidencePlace {
    match reference {
        Reference::Session {
            digest,
            sequence,
            session,
        } => EvidencePlace::Session(SessionPlace {
            session_id: session,
            sequence,
            digest: Some(digest),
        }),
        Reference::Channel {
            channel,
            digest,
            end,
            start,
            ..
        } => EvidencePlace::Channel(ChannelPlace {
            channel,
            start,
            end,
            digest: Some(digest),
        }),
    }
}

/// Records of channels can be named once their digest is specified.
fn of_channel(place: &ChannelPlace) -> AspError {
    AspError::Evidence {
        place: format!(
            "channel `{}`, offsets {}..{}",
            place.channel, place.start, place.end
        ),
        what: "this broker takes places in sessions only",
    }
}

fn of_session(
    shared: &Shared,
    by: &Principal,
    place: &SessionPlace,
    now: Timestamp,
) -> Result<Reference, Refusal> {
    let SessionPlace {
        session_id,
        sequence,
        digest,
    } = *place;
    let wrong = |what| AspError::Evidence {
        place: format!("record {sequence} of session {session_id}"),
        what,
    };
    let found = hash_at(shared, by, session_id, sequence, now)?;
    let found = found.ok_or_else(|| wrong("there is no such record"))?;
    if digest.is_some_and(|digest| digest != found) {
        return Err(wrong("the record has another digest").into());
    }
    Ok(Reference::Session {
        digest: found,
        sequence,
        session: session_id,
    })
}

/// The hash of a record of a session that the caller may see; none where there is none.
fn hash_at(
    shared: &Shared,
    by: &Principal,
    session: SessionId,
    number: u64,
    now: Timestamp,
) -> Result<Option<Digest>, Refusal> {
    let held = shared.broker().session_head(by, session, now);
    let (channel, last) = match held {
        Ok(head) => {
            let mut reader = Reader::new(shared, head.channel.clone());
            let last = reads::last(&mut reader, head.head, head.reads)?;
            (head.channel, last)
        }
        Err(error) if is_absent(&error) => {
            let filed = find_filed(shared, by, session, now)?;
            let last = reads::of_filed(shared, by, &filed, now)?;
            (filed.channel, last)
        }
        Err(error) => return Err(error.into()),
    };
    let Some(mut at) = last.filter(|last| number <= last.number) else {
        return Ok(None);
    };
    let mut reader = Reader::new(shared, channel);
    loop {
        let record = session_record(&mut reader, at)?;
        let no_place = |reader: &Reader<'_>| -> BrokerError {
            reader.damaged(at.offset, "the record has no place in a session")
        };
        let place = record.place.ok_or_else(|| no_place(&reader))?;
        if at.number == number {
            return Ok(Some(place.hash));
        }
        let next = place.links.towards(number);
        let next = next.filter(|next| next.number < at.number && next.offset < at.offset);
        at = next.ok_or_else(|| reader.damaged(at.offset, "the record names no earlier one"))?;
    }
}
