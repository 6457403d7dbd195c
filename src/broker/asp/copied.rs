//! Topics of agents of other regions, kept here as copies where somebody has asked for them. Each is
//! folded by the state machine that folds this region's own, in an instance of its own, as it comes
//! and at a start. What is read from them is in `elsewhere.rs`. `docs/regions.md`, "Copies of what
//! agents say".
//!
//! Invariant: a state rests on all records below `next` and on no other. Where one is missing, or can't
//! follow, nobody is told anything of that copy.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{AspError, EVIDENCE_TOPIC};
use crate::asp::registry::Agents;
use crate::asp::session::Sessions;
use crate::asp::trust::TrustState;
use crate::broker::copies::Residence;
use crate::broker::core::{Broker, Wait};
use crate::broker::error::BrokerError;
use crate::broker::topic::{Fold, TopicError, fold_long_topic, fold_topic};
use crate::region::UpTo;
use crate::types::{ChannelName, Incarnation, Offset, OrgId, RegionName};

/// A topic of agents of which other regions may keep copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CopiedTopic {
    /// The agents of an organisation.
    Registry,
    /// What the broker saw the agents of all organisations do.
    Evidence,
    /// The sessions of an organisation.
    Sessions,
}

impl CopiedTopic {
    /// Its name, without an organisation.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Registry => <Agents as Fold>::TOPIC,
            Self::Evidence => EVIDENCE_TOPIC,
            Self::Sessions => <Sessions as Fold>::TOPIC,
        }
    }

    /// The topic that has that name, in the region that writes it or where a copy is.
    #[must_use]
    pub fn of(name: &ChannelName) -> Option<Self> {
        let all = [Self::Registry, Self::Evidence, Self::Sessions];
        let topic = all.into_iter().find(|it| it.text() == name.channel_local());
        // There is one topic of evidence, of all organisations.
        topic.filter(|topic| *topic != Self::Evidence || name.org().is_none())
    }

    fn begin(self) -> CopiedState {
        match self {
            Self::Registry => CopiedState::Registry(Box::default()),
            Self::Evidence => CopiedState::Evidence(Arc::default()),
            Self::Sessions => CopiedState::Sessions(Box::default()),
        }
    }
}

/// What copies of other regions' topics fold to.
#[derive(Default)]
pub(in crate::broker) struct CopiedTopics {
    logs: HashMap<Incarnation, CopiedLog>,
    /// Those that somebody has asked for since the start, by the names that they have here.
    wanted: BTreeSet<ChannelName>,
    /// Those that their region, when it was asked, did not have or did not let go.
    not_offered: BTreeSet<ChannelName>,
}

/// A copy of a topic.
pub(super) struct CopiedLog {
    pub(super) state: CopiedState,
    /// The next offset that it takes.
    pub(super) next: Offset,
    /// How far its region was when it was begun: it is read from there on.
    ripe: Offset,
    /// Why nobody knows what it says, if so.
    unknown: Option<Arc<TopicError>>,
}

pub(super) enum CopiedState {
    Registry(Box<Agents>),
    /// Shared with searches under way: a change copies it only then.
    Evidence(Arc<TrustState>),
    Sessions(Box<Sessions>),
}

impl CopiedState {
    fn fold(&mut self, batches: &Bytes) -> Result<(), TopicError> {
        match self {
            Self::Registry(agents) => fold_topic(&mut **agents, batches),
            Self::Evidence(trust) => fold_topic(Arc::make_mut(trust), batches),
            Self::Sessions(sessions) => fold_topic(&mut **sessions, batches),
        }
        .map(drop)
    }
}

impl CopiedLog {
    fn begin(topic: CopiedTopic, ripe: Offset) -> Self {
        Self {
            state: topic.begin(),
            next: Offset(0),
            ripe,
            unknown: None,
        }
    }

    /// Whether all has come that was there when it was begun.
    fn is_ripe(&self) -> bool {
        self.next >= self.ripe
    }

    fn take(&mut self, topic: CopiedTopic, range: &Range<Offset>, batches: &Bytes) {
        if self.unknown.is_some() || range.end <= self.next {
            return;
        }
        let folded = match range.start == self.next {
            true => self.state.fold(batches),
            false => Err(TopicError::Lost {
                topic: topic.text(),
                lost: self.next..range.start,
            }),
        };
        match folded {
            Ok(()) => self.next = range.end,
            Err(error) => self.lose(topic, error),
        }
    }

    fn lose(&mut self, topic: CopiedTopic, error: TopicError) {
        // What was folded of it is of no use any more.
        self.state = topic.begin();
        self.unknown = Some(Arc::new(error));
    }
}

impl CopiedTopics {
    /// Begins a copy with nothing in it.
    pub(in crate::broker) fn begin(&mut self, id: Incarnation, topic: CopiedTopic, ripe: Offset) {
        self.logs.insert(id, CopiedLog::begin(topic, ripe));
    }

    /// Takes a batch that was appended to a copy.
    pub(in crate::broker) fn fold(
        &mut self,
        id: Incarnation,
        topic: CopiedTopic,
        range: &Range<Offset>,
        batch: &Bytes,
    ) {
        let copied = self.logs.entry(id);
        let copied = copied.or_insert_with(|| CopiedLog::begin(topic, Offset(0)));
        let was_known = copied.unknown.is_none();
        copied.take(topic, range, batch);
        if let Some(error) = copied.unknown.as_ref().filter(|_| was_known) {
            tracing::error!(
                %error, log = %id, topic = topic.text(),
                "a copy of what agents say in another region can't be known"
            );
        }
    }

    /// Forgets a copy that is gone, and that anybody wanted it.
    pub(in crate::broker) fn drop_copy(&mut self, id: Incarnation, name: &ChannelName) {
        self.logs.remove(&id);
        self.wanted.remove(name);
        self.not_offered.remove(name);
    }
}

impl Broker {
    /// The name under which a copy of an organisation's topic in a region is kept here.
    pub(super) fn copied_name(
        &self,
        org: OrgId,
        topic: CopiedTopic,
        region: &RegionName,
    ) -> ChannelName {
        let name = match topic {
            CopiedTopic::Evidence => Self::evidence_channel(),
            CopiedTopic::Registry | CopiedTopic::Sessions => self.asp_channel(org, topic.text()),
        };
        name.of_region(region)
    }

    /// Wants copies of topics of a region; whether any of them is new here.
    pub fn want_copied(&mut self, org: OrgId, topics: &[CopiedTopic], region: &RegionName) -> bool {
        let names = topics.iter();
        let names: Vec<_> = names.map(|it| self.copied_name(org, *it, region)).collect();
        let mut is_new = false;
        for name in names {
            let is_here = self.directory.by_name(name.as_str()).is_some();
            is_new |= !is_here && self.asp.copied.wanted.insert(name);
        }
        is_new
    }

    /// Whether a copy under that name is wanted: somebody has asked for it, or it is here, and this
    /// region may hold it.
    #[must_use]
    pub fn wants_copied(&self, name: &ChannelName) -> bool {
        let is_here = || matches!(self.residence(name), Residence::Copy(..));
        (self.asp.copied.wanted.contains(name) || is_here()) && self.may_hold_here(name)
    }

    /// The topics of agents that a region is asked for, as that region calls them.
    #[must_use]
    pub fn copied_topics_of(&self, region: &RegionName) -> Vec<ChannelName> {
        let wanted = self.asp.copied.wanted.iter();
        let theirs = wanted.chain(self.copied_names());
        let theirs = theirs.filter(|name| name.region() == Some(region.as_str()));
        let topics: BTreeSet<ChannelName> = theirs.map(ChannelName::channel).collect();
        topics.into_iter().collect()
    }

    /// The regions of which a copy of that topic of an organisation is here.
    #[must_use]
    pub fn regions_copied(&self, org: OrgId, topic: CopiedTopic) -> BTreeSet<RegionName> {
        let own = match topic {
            CopiedTopic::Evidence => Self::evidence_channel(),
            CopiedTopic::Registry | CopiedTopic::Sessions => self.asp_channel(org, topic.text()),
        };
        let of_it = self.copied_names().filter(|name| name.channel() == own);
        of_it
            .filter_map(|name| RegionName::parse(name.region()?).ok())
            .collect()
    }

    /// Notes what a region has let go of the topics that it was asked for.
    ///
    /// - `asked`: as it calls them.
    /// - `is_offered`: of a topic under the name that it has here.
    pub fn note_offered(
        &mut self,
        region: &RegionName,
        asked: &[ChannelName],
        is_offered: impl Fn(&ChannelName) -> bool,
    ) {
        let asked = asked.iter().filter(|name| CopiedTopic::of(name).is_some());
        for name in asked.map(|name| name.of_region(region)) {
            match is_offered(&name) {
                true => self.asp.copied.not_offered.remove(&name),
                false => self.asp.copied.not_offered.insert(name),
            };
        }
    }

    /// Forgets what a region has let go: it is not linked any more.
    pub fn forget_offered(&mut self, region: &RegionName) {
        let of_it = |name: &ChannelName| name.region() == Some(region.as_str());
        self.asp.copied.not_offered.retain(|name| !of_it(name));
    }

    /// A copy of a topic of agents was made, and its region had synced so much of it then.
    pub fn begun_copied(&mut self, id: Incarnation, flushed: Offset) {
        if let Some(topic) = self.name_of(id).and_then(CopiedTopic::of) {
            self.asp.copied.begin(id, topic, flushed);
        }
    }

    /// The names of the copies of topics of agents that are here: by what is known of them, as a read
    /// looks for some and channels may be many.
    fn copied_names(&self) -> impl Iterator<Item = &ChannelName> {
        let copies = self.asp.copied.logs.keys();
        let channels = copies.filter_map(|id| self.directory.by_incarnation(*id));
        let here = channels.filter(|channel| channel.is_live() && channel.copy.is_some());
        here.map(|channel| &channel.name)
    }

    /// Folds the copies at a start. What one says that can't be read keeps nothing else from
    /// starting: it is this region's own word that nothing goes on without.
    pub(in crate::broker) fn fold_copied_topics(&mut self) {
        let copies = self.directory.iter().filter_map(|(id, channel)| {
            let topic = CopiedTopic::of(&channel.name)?;
            (channel.copy.is_some()).then_some((id, topic))
        });
        for (id, topic) in copies.collect::<Vec<_>>() {
            let mut copied = CopiedLog::begin(topic, Offset(0));
            if let Err(error) = self.fold_copied_log(id, topic, &mut copied) {
                tracing::error!(
                    %error, log = %id, topic = topic.text(),
                    "a copy of what agents say in another region can't be known"
                );
                copied.lose(topic, error);
            }
            self.asp.copied.logs.insert(id, copied);
        }
    }

    fn fold_copied_log(
        &mut self,
        id: Incarnation,
        topic: CopiedTopic,
        copied: &mut CopiedLog,
    ) -> Result<(), TopicError> {
        let Some((start, end)) = self.storage.log(id).map(|log| (log.log_start(), log.end()))
        else {
            return Ok(());
        };
        if start > Offset(0) {
            return Err(TopicError::Lost {
                topic: topic.text(),
                lost: Offset(0)..start,
            });
        }
        let storage = &mut self.storage;
        let (_, closed) = match &mut copied.state {
            CopiedState::Registry(agents) => fold_long_topic(storage, id, start, &mut **agents)?,
            CopiedState::Evidence(trust) => {
                fold_long_topic(storage, id, start, Arc::make_mut(trust))?
            }
            CopiedState::Sessions(sessions) => {
                fold_long_topic(storage, id, start, &mut **sessions)?
            }
        };
        copied.next = end;
        closed.map_or(Ok(()), Err)
    }

    /// What a copy says, where one is here that may be read.
    ///
    /// # Errors
    /// [`BrokerError::NoConsent`]: this region may not hold it. [`AspError::CopyNotHere`] and
    /// [`AspError::CopyNotOffered`] where there is none, [`AspError::Unavailable`] where nobody knows
    /// what it says.
    pub(super) fn copied(
        &self,
        org: OrgId,
        topic: CopiedTopic,
        region: &RegionName,
    ) -> Result<(Incarnation, &CopiedLog), BrokerError> {
        let name = self.copied_name(org, topic, region);
        let own = self.config.region.as_ref();
        let own = own.ok_or(BrokerError::NotARegion)?;
        let absent = || {
            let (topic, region) = (name.channel(), region.clone());
            match self.asp.copied.not_offered.contains(&name) {
                true => AspError::CopyNotOffered { topic, region },
                false => AspError::CopyNotHere { topic, region },
            }
        };
        // Who belongs to no directory yet can't know who may hold what.
        if !self.regions.is_known(own) {
            return Err(absent().into());
        }
        if !self.may_hold_here(&name) {
            return Err(BrokerError::NoConsent {
                channel: name.channel().to_string(),
                region: own.clone(),
            });
        }
        let id = match self.residence(&name) {
            Residence::Copy(id, _) => id,
            Residence::Home(_) | Residence::Unknown => return Err(absent().into()),
        };
        let copied = self.asp.copied.logs.get(&id).ok_or_else(absent)?;
        if let Some(reason) = &copied.unknown {
            return Err(AspError::Unavailable(reason.clone()).into());
        }
        match copied.is_ripe() {
            true => Ok((id, copied)),
            false => Err(absent().into()),
        }
    }

    /// Up to where a log is known here.
    ///
    /// - `next`: the next offset of what is counted in.
    pub(super) fn up_to(&self, id: Incarnation, next: Offset) -> UpTo {
        let log = self.storage.log(id).filter(|_| next > Offset(0));
        UpTo {
            offset: next,
            time: log.map(|log| log.last_time()),
        }
    }

    /// Up to where a topic of this region's own goes, and what telling that waits for.
    #[must_use]
    pub fn own_up_to(&self, org: OrgId, topic: CopiedTopic) -> (UpTo, Wait) {
        let of_org = self.asp_of(org);
        let log = match topic {
            CopiedTopic::Registry => of_org.map(|of| of.registry.log),
            CopiedTopic::Sessions => of_org.map(|of| of.sessions.log),
            CopiedTopic::Evidence => self.asp.evidence.as_ref().map(|topic| topic.log),
        };
        let up_to = log.map(|id| self.up_to(id, self.next_offset(id)));
        (
            up_to.unwrap_or_default(),
            self.wait_for(log.unwrap_or_default()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asp::registry::{AgentEvent, Profile, Registered};
    use crate::format::{BatchBuilder, Compression, NewRecord, Stamp, stamp};
    use crate::types::{AgentId, AgentName, LogEpoch, PrincipalId, Timestamp};

    const ID: Incarnation = Incarnation(9);

    /// A batch of the registry: agents that register, one for each record.
    fn batch(from: u64, names: &[&str]) -> (Range<Offset>, Bytes) {
        let mut builder = BatchBuilder::new(Compression::None);
        for name in names {
            let event = AgentEvent::Registered(Registered {
                agent: AgentId(u128::from(from) * 100 + name.len() as u128),
                name: AgentName::parse(name).unwrap(),
                profile: Profile::default(),
                by: PrincipalId(1),
                at: Timestamp(5),
            });
            let payload = event.encode();
            let record = NewRecord {
                record_type: event.record_type(),
                payload: Some(&payload),
                ..NewRecord::default()
            };
            builder.push(&record).unwrap();
        }
        let mut bytes = builder.build().unwrap();
        stamp(
            &mut bytes,
            &Stamp {
                incarnation: ID,
                base_offset: Offset(from),
                append_time: Timestamp(7),
                log_epoch: LogEpoch(1),
                principal: 0,
            },
        );
        let end = Offset(from + names.len() as u64);
        (Offset(from)..end, bytes.freeze())
    }

    fn names(copied: &CopiedTopics) -> Vec<String> {
        let CopiedState::Registry(agents) = &copied.logs[&ID].state else {
            panic!("no registry");
        };
        let mut names: Vec<_> = agents.agents().map(|one| one.name.to_string()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_name_tells_its_topic_wherever_it_is_kept() {
        let of = |name: &str| CopiedTopic::of(&ChannelName::parse_any(name).unwrap());
        assert_eq!(of("__asp.registry"), Some(CopiedTopic::Registry));
        assert_eq!(
            of("acme/__asp.registry@us-east"),
            Some(CopiedTopic::Registry)
        );
        assert_eq!(
            of("acme/__asp.sessions@us-east"),
            Some(CopiedTopic::Sessions)
        );
        assert_eq!(of("__asp.evidence@us-east"), Some(CopiedTopic::Evidence));
        // Nobody has one of their own, and what is told of money and promises is told at home alone.
        for other in [
            "acme/__asp.evidence",
            "__asp.escrow",
            "__asp.commitments",
            "__access",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn what_comes_is_folded_once_and_in_order() {
        let mut copied = CopiedTopics::default();
        copied.begin(ID, CopiedTopic::Registry, Offset(3));
        let (first, second) = (batch(0, &["a", "bb"]), batch(2, &["ccc"]));
        for (range, bytes) in [&first, &first] {
            copied.fold(ID, CopiedTopic::Registry, range, bytes);
        }
        assert!(
            !copied.logs[&ID].is_ripe(),
            "a third was there when it was begun"
        );
        copied.fold(ID, CopiedTopic::Registry, &second.0, &second.1);
        assert!(copied.logs[&ID].is_ripe());
        assert_eq!(names(&copied), ["a", "bb", "ccc"]);
        assert_eq!(copied.logs[&ID].next, Offset(3));
        assert!(copied.logs[&ID].unknown.is_none());
    }

    #[test]
    fn a_copy_that_lacks_a_record_says_nothing_of_any() {
        let mut copied = CopiedTopics::default();
        copied.begin(ID, CopiedTopic::Registry, Offset(0));
        let (first, third) = (batch(0, &["a"]), batch(2, &["ccc"]));
        for (range, bytes) in [&first, &third] {
            copied.fold(ID, CopiedTopic::Registry, range, bytes);
        }
        let lost = copied.logs[&ID].unknown.as_deref();
        assert!(
            matches!(lost, Some(TopicError::Lost { lost, .. }) if *lost == (Offset(1)..Offset(2)))
        );
        assert!(names(&copied).is_empty());
        // Nor does what comes behind it bring it back.
        let (range, bytes) = batch(3, &["dddd"]);
        copied.fold(ID, CopiedTopic::Registry, &range, &bytes);
        assert!(names(&copied).is_empty());
        // One that is begun anew is folded anew.
        copied.drop_copy(ID, &ChannelName::parse_any("__asp.registry@x").unwrap());
        copied.begin(ID, CopiedTopic::Registry, Offset(0));
        copied.fold(ID, CopiedTopic::Registry, &first.0, &first.1);
        assert_eq!(names(&copied), ["a"]);
    }
}
