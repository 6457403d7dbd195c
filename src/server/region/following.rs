//! What a region wants of a peer, and which of the peer's logs may be followed: from who is home.

use super::{Regions, travel};
use crate::broker::{Broker, BrokerError, Residence};
use crate::protocol::region::LinkLog;
use crate::region::interest::{Since, Wish};
use crate::region::{ChannelPattern, RegionNumber};
use crate::server::access::Caller;
use crate::server::auditing::Draft;
use crate::server::shared::Shared;
use crate::server::{answer, clock};
use crate::types::{ChannelName, Incarnation, OrgName, RegionName};

/// Bytes of the patterns that a peer is asked for: they go with each look at its list, in one frame.
const PATTERN_BYTES: usize = 128 << 10;

/// A copy that was refused so often in a row, without progress, stays stopped.
const REFUSALS: u32 = 3;

/// Whether a refusal counts for that: another source, or the same one in a moment, may not change it.
fn is_final(text: &str) -> bool {
    // Consent is given again without anybody asking here, and its source may hear of it later.
    let passing = ["NOT_HOME", "SOURCE_BEHIND", "HOME_MOVING", "NO_CONSENT"];
    !passing.iter().any(|code| text.starts_with(code))
}

impl Regions {
    /// Something has come into a copy: what was refused before counts no more.
    pub fn progressed(&self, id: Incarnation) {
        self.refusals().remove(&id);
    }
}

/// Counts a refusal of a copy; the third in a row stops it.
pub(super) fn refused(shared: &Shared, regions: &Regions, id: Incarnation, text: &str) {
    regions.retries().remove(&id);
    if !is_final(text) {
        return;
    }
    let times = {
        let mut refusals = regions.refusals();
        let times = refusals.entry(id).or_insert(0);
        *times += 1;
        *times
    };
    if times >= REFUSALS {
        stop(shared, regions, id, text);
    }
}

/// Stops a copy until somebody asks for it, or a restart; on the record, and once.
fn stop(shared: &Shared, regions: &Regions, id: Incarnation, text: &str) {
    let mut broker = shared.broker();
    let is_copy = broker.copies().any(|(copy, ..)| copy == id);
    if !is_copy || !regions.stopped().insert(id) {
        return;
    }
    let is_code = |word: &&str| {
        word.bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    let split = text.split_once(": ").filter(|(word, _)| is_code(word));
    let (code, message) = split.unwrap_or(("ITEM_REFUSED", text));
    let (code, message) = (code.to_owned(), message.to_owned());
    if let Err(refusal) = broker.stop_copy(id, code, message, clock::now()) {
        tracing::warn!(log = %id, error = %refusal.error, "a stop of a copy is not on the record");
    }
    drop(broker);
    shared.wake_committer();
    tracing::error!(log = %id, error = text, "a copy stays stopped until `region retry`");
}

/// Notes that a copy has something else than its home, where the home was taken over by force: then
/// that has said who is right.
pub(super) fn diverged(shared: &Shared, regions: &Regions, id: Incarnation) {
    let is_forced = {
        let broker = shared.broker();
        let newest = broker.known_homes().claims(id);
        let newest = newest.max_by_key(|(by, claim)| (claim.term, RegionNumber::of(by)));
        newest.is_some_and(|(_, claim)| claim.forced)
    };
    if is_forced && regions.diverged().insert(id) {
        regions.tell_homes();
    }
}

/// Puts it on the record where a copy is left for want of consent.
pub(super) fn note_withdrawn(shared: &Shared, regions: &Regions, name: &ChannelName) {
    let is_withdrawn = shared.broker().is_withdrawn(name);
    if is_withdrawn {
        record_withdrawn(shared, regions, name);
    }
}

/// Puts it on the record that a copy is not kept up any more for want of consent.
pub(super) fn record_withdrawn(shared: &Shared, regions: &Regions, name: &ChannelName) {
    let error = answer::refused(&BrokerError::NoConsent {
        channel: name.to_string(),
        region: regions.name.clone(),
    });
    let draft = Draft::of_copying(name, &regions.name);
    draft.refused(&mut shared.broker(), &Caller::LOCAL, &error);
    shared.wake_committer();
    tracing::warn!(channel = %name, "a copy is not kept up any more for want of consent");
}

/// Books that a copy is followed again, where it was stopped.
pub(super) fn resume(shared: &Shared, regions: &Regions, id: Incarnation, source: &RegionName) {
    regions.retries().remove(&id);
    regions.stopped().remove(&id);
    let resumed = shared
        .broker()
        .resume_copy(id, source.clone(), clock::now());
    shared.wake_committer();
    if let Err(refusal) = resumed {
        tracing::warn!(log = %id, error = %refusal.error, "that a copy goes on is not on the record");
    }
}

/// The channels that this region asks its peers for: those of interest, and those that lived here.
/// More than these where they are many; what is not wanted of a list is not followed.
pub(super) fn patterns(broker: &Broker) -> Vec<ChannelPattern> {
    let former = broker.former_homes();
    let former = former.filter_map(|name| ChannelPattern::exactly(name).ok());
    let interest = broker.interests().patterns().into_iter();
    ChannelPattern::within_bytes(interest.chain(former), PATTERN_BYTES)
}

/// What is wanted of a channel; none where nothing is.
pub(super) fn wish(broker: &Broker, name: &ChannelName) -> Option<Wish> {
    let allowed = |org: &OrgName| broker.may_cross(name, org);
    let interest = travel::wish(broker, name).or_else(|| broker.interests().wish(name, allowed));
    let former = || {
        broker.is_former_home(name).then_some(Wish {
            types: None,
            from: Since::Start,
            retention_days: None,
        })
    };
    if name.is_internal() {
        return interest;
    }
    interest
        .or_else(former)
        .filter(|_| broker.may_hold_here(name))
}

/// Whether a log of a peer's list may be followed: it lives where it is known to live here too, and
/// what is here of it belongs to it. A peer that has not heard of a move may have another's records.
pub(super) fn may_follow(broker: &Broker, regions: &Regions, log: &LinkLog) -> bool {
    match broker.residence(&log.name) {
        Residence::Unknown => true,
        // Another life of the channel: what becomes of that, the puller says.
        Residence::Home(id) | Residence::Copy(id, _) if id != log.incarnation => true,
        Residence::Home(_) => false,
        Residence::Copy(id, home) => home == log.home && regions.is_settled(broker, id),
    }
}
