//! What somebody points to: checked against the broker's own record before it is written down.

use std::ops::Range;

use bytes::Bytes;

use super::super::fetching;
use super::super::shared::Shared;
use super::history::session_record;
use super::reader::Reader;
use super::reads;
use super::sessions::{find_filed, is_absent};
use crate::access::Principal;
use crate::asp::Canonical;
use crate::asp::chain::Digest;
use crate::asp::commitment::{
    CommitmentError, Evidence, MAX_REFERENCES, OutOfLimit, RecordParts, RecordsDigest, Reference,
    plain,
};
use crate::asp::tool::Plain;
use crate::broker::asp::AspError;
use crate::broker::{Broker, BrokerError, Fetch, FetchFrom, Refusal};
use crate::format::{BatchHeader, DecodeError, check_stored, records};
use crate::protocol::asp::{ChannelPlace, EvidencePlace, JsonText, SessionPlace};
use crate::storage::ReadError;
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset, SessionId, Timestamp};

/// Bytes of a channel read at once.
const RUN_BYTES: u64 = 1 << 20;

/// Evidence that was looked up, and in which lives of which channels.
pub(super) struct Resolved {
    /// As it is recorded.
    pub evidence: Evidence,
    channels: Vec<(ChannelName, Incarnation)>,
}

impl Resolved {
    /// The evidence, once nothing can come between any more.
    ///
    /// # Errors
    /// A channel that was deleted since, or made again.
    pub(super) fn take(&self, broker: &Broker) -> Result<Evidence, AspError> {
        let has_changed =
            |(name, id): &&(ChannelName, Incarnation)| broker.identity_of(name) != Some(*id);
        match self.channels.iter().find(has_changed) {
            None => Ok(self.evidence.clone()),
            Some((channel, _)) => Err(AspError::Evidence {
                place: format!("channel `{channel}`"),
                what: "it was deleted while it was read".into(),
            }),
        }
    }
}

/// Words in canonical form.
pub(super) fn words(text: &JsonText) -> Result<Plain, AspError> {
    Ok(plain(&Canonical::parse(text.text())?))
}

/// Evidence as it is recorded: each place is there, can be read by whoever names it, and has the
/// digest that is given.
///
/// - `before`: places that were pointed to before. Another digest may be given than what is there
///   where it is what was there then: that is how a change is shown.
///
/// # Errors
/// [`AspError::Evidence`] naming the place.
pub(super) fn resolve(
    shared: &Shared,
    by: &Principal,
    text: Option<&JsonText>,
    places: &[EvidencePlace],
    before: &[Reference],
    now: Timestamp,
) -> Result<Resolved, Refusal> {
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
    let (mut channels, mut bytes) = (Vec::new(), 0);
    for place in places {
        let (found, given) = match place {
            EvidencePlace::Session(place) => (of_session(shared, by, place, now)?, place.digest),
            EvidencePlace::Channel(place) => {
                let (found, incarnation) = of_channel(shared, place, &mut bytes)?;
                channels.push((place.channel.clone(), incarnation));
                (found, place.digest)
            }
        };
        let was = |digest| {
            let mut known = before.iter();
            known.any(|known| known.is_at(&found) && known.digest() == digest)
        };
        if let Some(given) = given.filter(|given| *given != found.digest() && !was(*given)) {
            return Err(AspError::Evidence {
                place: shown(&found),
                what: format!("it has the digest {}, and not {given}", found.digest()).into(),
            }
            .into());
        }
        references.push(found);
    }
    Ok(Resolved {
        evidence: Evidence {
            references,
            words: text.map(words).transpose()?,
        },
        channels,
    })
}

/// A place in words.
fn shown(reference: &Reference) -> String {
    match reference {
        Reference::Session {
            sequence, session, ..
        } => format!("record {sequence} of session {session}"),
        Reference::Channel {
            channel,
            start,
            end,
            ..
        } => format!("channel `{channel}`, offsets {start}..{end}"),
    }
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

/// The records of a channel, which whoever names them can read: admission has seen to that.
///
/// - `bytes`: those of the places before it; what it has is added.
fn of_channel(
    shared: &Shared,
    place: &ChannelPlace,
    bytes: &mut u64,
) -> Result<(Reference, Incarnation), Refusal> {
    let channel = &place.channel;
    let wrong = |what: &str| AspError::Evidence {
        place: format!(
            "channel `{channel}`, offsets {}..{}",
            place.start, place.end
        ),
        what: what.into(),
    };
    if channel.is_internal() && !channel.local().starts_with("__asp.") {
        return Err(wrong("the topic is the broker's own, and trimmed as it sees fit").into());
    }
    let limit = |error: OutOfLimit| AspError::from(CommitmentError::from(error));
    let range = place.start..place.end;
    let mut digest = RecordsDigest::begin(&range).map_err(limit)?;
    let found = shared.broker().identity_of(channel);
    let incarnation = found.ok_or_else(|| wrong("there is no such channel"))?;
    let mut from = place.start;
    while from < place.end {
        let at = FetchFrom::Offset(from);
        let mut fetch = Fetch::new(
            channel.clone(),
            Some(incarnation),
            at,
            LogEpoch(0),
            RUN_BYTES,
        );
        let fetched = match fetching::run_here(shared, &mut fetch) {
            Err(BrokerError::Read(ReadError::OutOfRange { .. })) => {
                return Err(wrong("there are no such records").into());
            }
            fetched => fetched?,
        };
        for part in fetched.slices.parts {
            add(&mut digest, part, &range, *bytes).map_err(|error| match error {
                Unfit::Limit(error) => limit(error),
                Unfit::Lost => wrong("records are missing there, and a repair says so"),
                Unfit::Malformed(error) => AspError::Damaged {
                    channel: channel.to_string(),
                    offset: from,
                    what: error.to_string().into(),
                },
            })?;
        }
        if fetched.slices.next <= from {
            return Err(wrong("there are no such records").into());
        }
        from = fetched.slices.next;
    }
    if digest.records() == 0 {
        return Err(wrong("there are no such records").into());
    }
    *bytes += digest.bytes();
    let reference = Reference::Channel {
        bytes: digest.bytes(),
        channel: channel.clone(),
        digest: digest.finish(),
        end: place.end,
        start: place.start,
    };
    Ok((reference, incarnation))
}

/// Why stored batches can't be pointed to.
enum Unfit {
    Limit(OutOfLimit),
    Lost,
    Malformed(DecodeError),
}

/// Takes the records of consecutive batches in that lie in a range.
fn add(
    digest: &mut RecordsDigest,
    mut batches: Bytes,
    range: &Range<Offset>,
    before: u64,
) -> Result<(), Unfit> {
    while !batches.is_empty() {
        let header = BatchHeader::peek(&batches).map_err(Unfit::Malformed)?;
        let batch = batches.split_to(header.len().min(batches.len()));
        check_stored(&batch).map_err(Unfit::Malformed)?;
        if header.base_offset() >= range.end {
            return Ok(());
        }
        if header.is_gap() {
            return Err(Unfit::Lost);
        }
        for record in records(&batch).map_err(Unfit::Malformed)? {
            let record = record.map_err(Unfit::Malformed)?;
            if !range.contains(&record.offset) {
                continue;
            }
            let headers = record.headers.iter();
            let headers: Vec<_> = headers.map(|(name, value)| (&**name, &**value)).collect();
            let parts = RecordParts {
                offset: record.offset,
                append_time: record.append_time,
                event_time: record.event_time,
                record_type: &record.record_type,
                key: record.key.as_deref(),
                headers: &headers,
                payload: record.payload.as_deref(),
            };
            digest.add(&parts, before).map_err(Unfit::Limit)?;
        }
    }
    Ok(())
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
        digest: _,
    } = *place;
    let found = hash_at(shared, by, session_id, sequence, now)?;
    let found = found.ok_or_else(|| AspError::Evidence {
        place: format!("record {sequence} of session {session_id}"),
        what: "there is no such record".into(),
    })?;
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
