//! The topics of agents at a start, and their making.

use std::ops::Range;
use std::sync::Arc;

use super::snapshot::{self, Snapshot};
use super::{AspError, OrgAsp, Topic};
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

const TOPICS: [&str; 3] = [
    <Agents as Fold>::TOPIC,
    <Sessions as Fold>::TOPIC,
    <Tools as Fold>::TOPIC,
];

impl Broker {
    /// Folds the topics of agents of all organisations. Where one is damaged, what needs it is
    /// refused, and all else goes on.
    pub(in crate::broker) fn fold_asp(&mut self) -> Result<(), BrokerOpenError> {
        let mut found = Vec::new();
        for (id, channel) in self.directory.iter() {
            let at = TOPICS
                .iter()
                .position(|topic| *topic == channel.name.local());
            if let Some(at) = at {
                found.push((channel.name.org().map(str::to_owned), at, id));
            }
        }
        found.sort();
        for topics in found.chunk_by(|(one, ..), (other, ..)| one == other) {
            let name = topics[0].0.as_deref();
            let org = match name {
                None => Some(OrgId::DEFAULT),
                Some(name) => self.access.org_by_name(name).map(|org| org.org),
            };
            // They are made in one entry, and never deleted.
            let ([(_, _, registry), (_, _, sessions), (_, _, tools)], Some(org)) = (topics, org)
            else {
                let org = name.unwrap_or(crate::types::DEFAULT_ORG_NAME);
                tracing::error!(org, "the topics of agents are not whole, and are not used");
                continue;
            };
            let of_org = OrgAsp {
                registry: self.fold_asp_topic(*registry)?,
                sessions: self.fold_asp_topic(*sessions)?,
                tools: self.fold_asp_topic(*tools)?,
            };
            for session in of_org.sessions.state.sessions() {
                if session.is_shared() {
                    self.asp.shared.insert(session.session, org);
                }
            }
            self.asp.orgs.insert(org, of_org);
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
        let name = self.org_name(org);
        if name.is_none() && org != OrgId::DEFAULT {
            return Err(BrokerError::Bug("an organisation without a name".into()));
        }
        let config = ChannelConfig {
            // What agents promised each other is kept.
            retention_days: None,
            max_record_bytes: 64 * 1024 * 1024,
            ..ChannelConfig::default()
        };
        let mut logs = [Incarnation::default(); 3];
        let mut events = Vec::new();
        for (topic, log) in TOPICS.iter().zip(&mut logs) {
            *log = self.new_incarnation();
            let local = ChannelName::parse_any(topic).expect("a constant that follows the rule");
            events.push(DirectoryEvent::Created(Created {
                name: local.within(name.as_ref()),
                incarnation: *log,
                config: config.clone(),
                at: now,
            }));
        }
        for log in logs {
            self.storage.create_log(log, log_options(&config));
        }
        if let Err(error) = self.record_directory(&events, Need::Own, now) {
            logs.into_iter()
                .for_each(|log| self.storage.forget_log(log));
            return Err(error);
        }
        for log in logs {
            let state = ChannelState::new(Producers::new(self.config.producers));
            self.channels.insert(log, state);
        }
        let [registry, sessions, tools] = logs;
        let of_org = OrgAsp {
            registry: Topic::new(registry),
            sessions: Topic::new(sessions),
            tools: Topic::new(tools),
        };
        self.asp.orgs.insert(org, of_org);
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
    fn new(log: Incarnation) -> Self {
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
