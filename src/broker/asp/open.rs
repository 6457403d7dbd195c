//! The topics of agents at a start, and their making.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::snapshot::{self, Snapshot};
use super::{AspError, OrgAsp, Topic};
use crate::asp::commitment::{CommitmentRecord, Commitments};
use crate::asp::escrow::{Escrow, EscrowRecord};
use crate::asp::registry::{AgentEvent, Agents};
use crate::asp::session::{SessionRecord, Sessions};
use crate::asp::tool::{ToolRecord, Tools};
use crate::broker::config::ChannelConfig;
use crate::broker::core::{Broker, ChannelState, log_options};
use crate::broker::directory::{Created, DirectoryEvent};
use crate::broker::error::{BrokerError, BrokerOpenError};
use crate::broker::producers::Producers;
use crate::broker::topic::{Fold, TopicError, fold_long_topic};
use crate::folding::{EventError, IllegalEvent};
use crate::storage::Need;
use crate::types::{ChannelName, Incarnation, Offset, OrgId, Timestamp};

const TOPICS: [&str; 5] = [
    <Agents as Fold>::TOPIC,
    <Sessions as Fold>::TOPIC,
    <Tools as Fold>::TOPIC,
    <Commitments as Fold>::TOPIC,
    <Escrow as Fold>::TOPIC,
];

impl Broker {
    /// Folds the topics of agents of all organisations. Where one is damaged, what needs it is
    /// refused, and all else goes on.
    pub(in crate::broker) fn fold_asp(&mut self, now: Timestamp) -> Result<(), BrokerOpenError> {
        let mut found: BTreeMap<Option<String>, [Option<Incarnation>; TOPICS.len()]> =
            BTreeMap::new();
        for (id, channel) in self.directory.iter() {
            let at = TOPICS
                .iter()
                .position(|topic| *topic == channel.name.local());
            if let Some(at) = at {
                let org = channel.name.org().map(str::to_owned);
                found.entry(org).or_default()[at] = Some(id);
            }
        }
        for (name, logs) in found {
            let org = match &name {
                None => Some(OrgId::DEFAULT),
                Some(name) => self.access.org_by_name(name).map(|org| org.org),
            };
            let Some(org) = org else {
                let org = name.as_deref().unwrap_or(crate::types::DEFAULT_ORG_NAME);
                tracing::error!(org, "there are topics of agents and no such organisation");
                continue;
            };
            // Those that only a newer broker has are made now.
            let logs = self.make_asp_topics(org, logs, now)?;
            let [registry, sessions, tools, commitments, escrow] = logs;
            let of_org = OrgAsp {
                registry: self.fold_asp_topic(registry)?,
                sessions: self.fold_asp_topic(sessions)?,
                tools: self.fold_asp_topic(tools)?,
                commitments: self.fold_asp_topic(commitments)?,
                escrow: self.fold_asp_topic(escrow)?,
            };
            for session in of_org.sessions.state.sessions() {
                if session.is_shared() {
                    self.asp.shared.insert(session.session, org);
                }
            }
            self.asp.orgs.insert(org, of_org);
        }
        self.fold_evidence()?;
        self.fold_market()
    }

    /// Folds the market, where somebody has used it.
    fn fold_market(&mut self) -> Result<(), BrokerOpenError> {
        let name = Self::market_channel();
        let found = self.directory.by_name(name.as_str()).map(|(id, _)| id);
        if let Some(id) = found {
            self.asp.market = Some(self.fold_asp_topic(id)?);
            self.asp.may_have_strays = true;
        }
        Ok(())
    }

    /// Folds what the broker saw agents do, where it saw something.
    fn fold_evidence(&mut self) -> Result<(), BrokerOpenError> {
        let name = Self::evidence_channel();
        let found = self.directory.by_name(name.as_str()).map(|(id, _)| id);
        if let Some(id) = found {
            self.asp.evidence = Some(self.fold_asp_topic(id)?);
        }
        Ok(())
    }

    fn fold_asp_topic<S: Snapshot<Event: Send>>(
        &mut self,
        log: Incarnation,
    ) -> Result<Topic<S>, BrokerOpenError> {
        let mut topic = Topic {
            log,
            state: Arc::default(),
            unknown: None,
            unsaved: 0,
            saving: None,
        };
        match self.folded_asp_topic(log) {
            Ok((state, unsaved)) => (topic.state, topic.unsaved) = (Arc::new(state), unsaved),
            Err(error) if error.refuses_start() => return Err(error.into()),
            Err(error) => {
                tracing::error!(
                    %error, %log,
                    "what a topic of agents says can't be known: what asks for it is refused until \
                     it is restored"
                );
                topic.unknown = Some(Arc::new(error));
            }
        }
        Ok(topic)
    }

    /// What a topic folds to, from its snapshot on, and how many records that took.
    fn folded_asp_topic<S: Snapshot<Event: Send>>(
        &mut self,
        log: Incarnation,
    ) -> Result<(S, u64), TopicError> {
        let storage = &mut self.storage;
        let (mut state, from) = snapshot::load(storage, log).unwrap_or_default();
        let (records, closed) = fold_long_topic(storage, log, from, &mut state)?;
        match closed {
            Some(error) => Err(error),
            None => Ok((state, records)),
        }
    }

    /// The name of an organisation; none for the default one.
    pub(super) fn org_name(&self, org: OrgId) -> Option<crate::types::OrgName> {
        let named = self.access.org(org).filter(|_| org != OrgId::DEFAULT);
        named.map(|org| org.name.clone())
    }

    /// What an organisation has of agents, where it has anything.
    pub(super) fn asp_of(&self, org: OrgId) -> Option<&OrgAsp> {
        self.asp.orgs.get(&org)
    }

    /// Makes the topics of an organisation that has none.
    pub(super) fn make_asp(&mut self, org: OrgId, now: Timestamp) -> Result<(), BrokerError> {
        if self.asp.orgs.contains_key(&org) {
            return Ok(());
        }
        let logs = self.make_asp_topics(org, [None; TOPICS.len()], now)?;
        let [registry, sessions, tools, commitments, escrow] = logs;
        let of_org = OrgAsp {
            registry: Topic::new(registry),
            sessions: Topic::new(sessions),
            tools: Topic::new(tools),
            commitments: Topic::new(commitments),
            escrow: Topic::new(escrow),
        };
        self.asp.orgs.insert(org, of_org);
        Ok(())
    }

    /// Makes those topics of an organisation that are not there, in one entry.
    fn make_asp_topics(
        &mut self,
        org: OrgId,
        known: [Option<Incarnation>; TOPICS.len()],
        now: Timestamp,
    ) -> Result<[Incarnation; TOPICS.len()], BrokerError> {
        let name = self.org_name(org);
        if name.is_none() && org != OrgId::DEFAULT {
            return Err(BrokerError::Bug("an organisation without a name".into()));
        }
        let mut logs = [Incarnation::default(); TOPICS.len()];
        let mut new = Vec::new();
        for ((topic, known), log) in TOPICS.iter().zip(known).zip(&mut logs) {
            *log = known.unwrap_or_else(|| self.new_incarnation());
            if known.is_none() {
                let local = ChannelName::parse_any(topic).expect("a constant of this file");
                new.push((local.within(name.as_ref()), *log));
            }
        }
        self.make_kept_topics(&new, now)?;
        Ok(logs)
    }

    /// Makes topics that are kept for ever, in one entry.
    pub(super) fn make_kept_topics(
        &mut self,
        new: &[(ChannelName, Incarnation)],
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        if new.is_empty() {
            return Ok(());
        }
        let config = ChannelConfig {
            // What agents promised each other is kept.
            retention_days: None,
            max_record_bytes: 64 * 1024 * 1024,
            ..ChannelConfig::default()
        };
        let events = new.iter().map(|(name, incarnation)| {
            DirectoryEvent::Created(Created {
                name: name.clone(),
                incarnation: *incarnation,
                config: config.clone(),
                at: now,
                copy: None,
            })
        });
        let events: Vec<DirectoryEvent> = events.collect();
        for (_, log) in new {
            self.storage.create_log(*log, log_options(&config));
        }
        if let Err(error) = self.record_directory(&events, Need::Own, now) {
            new.iter()
                .for_each(|(_, log)| self.storage.forget_log(*log));
            return Err(error);
        }
        for (_, log) in new {
            let state = ChannelState::new(Producers::new(self.config.producers));
            self.channels.insert(*log, state);
        }
        Ok(())
    }

    /// What an organisation has of agents.
    ///
    /// # Errors
    /// A bug: [`Broker::make_asp`] comes first.
    pub(super) fn made_asp(&mut self, org: OrgId) -> Result<&mut OrgAsp, BrokerError> {
        let of_org = self.asp.orgs.get_mut(&org);
        of_org.ok_or_else(|| BrokerError::Bug("the topics of agents were not made".into()))
    }
}

impl<S: Default> Topic<S> {
    pub(super) fn new(log: Incarnation) -> Self {
        Self {
            log,
            state: Arc::default(),
            unknown: None,
            unsaved: 0,
            saving: None,
        }
    }
}

/// Lost records of agents can't be done without: who was in a session, and what was said in it,
/// would be wrong.
fn lost<T>(topic: &'static str, lost: Range<Offset>) -> Result<T, TopicError> {
    Err(TopicError::Lost { topic, lost })
}

impl Fold for Agents {
    type Event = AgentEvent;
    const TOPIC: &'static str = "__asp.registry";

    fn decode(record_type: &str, payload: &[u8]) -> Result<AgentEvent, EventError> {
        AgentEvent::decode(record_type, payload)
    }

    fn event(&mut self, _: Offset, event: AgentEvent) -> Result<(), IllegalEvent> {
        self.apply(&event)
    }

    fn gap(&mut self, gap: Range<Offset>) -> Result<(), TopicError> {
        lost(Self::TOPIC, gap)
    }
}

impl Fold for Sessions {
    type Event = SessionRecord;
    const TOPIC: &'static str = "__asp.sessions";

    fn decode(record_type: &str, payload: &[u8]) -> Result<SessionRecord, EventError> {
        SessionRecord::decode(record_type, payload)
    }

    fn event(&mut self, offset: Offset, event: SessionRecord) -> Result<(), IllegalEvent> {
        self.apply(&event, offset)
    }

    fn gap(&mut self, gap: Range<Offset>) -> Result<(), TopicError> {
        lost(Self::TOPIC, gap)
    }
}

impl Fold for Tools {
    type Event = ToolRecord;
    const TOPIC: &'static str = "__asp.tools";

    fn decode(record_type: &str, payload: &[u8]) -> Result<ToolRecord, EventError> {
        ToolRecord::decode(record_type, payload)
    }

    fn event(&mut self, offset: Offset, event: ToolRecord) -> Result<(), IllegalEvent> {
        self.apply(&event, offset)
    }

    fn gap(&mut self, gap: Range<Offset>) -> Result<(), TopicError> {
        lost(Self::TOPIC, gap)
    }
}

impl Fold for Commitments {
    type Event = CommitmentRecord;
    const TOPIC: &'static str = "__asp.commitments";

    fn decode(record_type: &str, payload: &[u8]) -> Result<CommitmentRecord, EventError> {
        CommitmentRecord::decode(record_type, payload)
    }

    fn event(&mut self, offset: Offset, event: CommitmentRecord) -> Result<(), IllegalEvent> {
        self.apply(&event, offset)
    }

    fn gap(&mut self, gap: Range<Offset>) -> Result<(), TopicError> {
        lost(Self::TOPIC, gap)
    }
}

impl Fold for Escrow {
    type Event = EscrowRecord;
    const TOPIC: &'static str = "__asp.escrow";

    fn decode(record_type: &str, payload: &[u8]) -> Result<EscrowRecord, EventError> {
        EscrowRecord::decode(record_type, payload)
    }

    fn event(&mut self, offset: Offset, event: EscrowRecord) -> Result<(), IllegalEvent> {
        self.apply(&event, offset)
    }

    fn gap(&mut self, gap: Range<Offset>) -> Result<(), TopicError> {
        lost(Self::TOPIC, gap)
    }
}

impl Snapshot for Commitments {
    const STATE_RECORD: &'static str = "commitments.folded";

    fn state_records(&self) -> Vec<Vec<u8>> {
        self.fold().iter().map(CommitmentRecord::encode).collect()
    }
}

impl Snapshot for Escrow {
    const STATE_RECORD: &'static str = "escrow.folded";

    fn state_records(&self) -> Vec<Vec<u8>> {
        self.fold().iter().map(EscrowRecord::encode).collect()
    }
}

impl Snapshot for Agents {
    const STATE_RECORD: &'static str = "agents.folded";

    fn state_records(&self) -> Vec<Vec<u8>> {
        self.fold().iter().map(AgentEvent::encode).collect()
    }
}

impl Snapshot for Sessions {
    const STATE_RECORD: &'static str = "sessions.folded";

    fn state_records(&self) -> Vec<Vec<u8>> {
        self.fold().iter().map(SessionRecord::encode).collect()
    }
}

impl Snapshot for Tools {
    const STATE_RECORD: &'static str = "tools.folded";

    fn state_records(&self) -> Vec<Vec<u8>> {
        self.fold().iter().map(ToolRecord::encode).collect()
    }
}

impl From<AspError> for BrokerError {
    fn from(error: AspError) -> Self {
        Self::Asp(Box::new(error))
    }
}
