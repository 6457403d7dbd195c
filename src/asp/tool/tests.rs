//! Calls of tools on a topic in memory: their steps one by one, and what every history has.

mod filing;
mod histories;
mod steps;

use std::sync::Arc;

use serde_json::value::RawValue;

use super::*;
use crate::asp::Knot;
use crate::asp::chain::Digest;
use crate::folding::IllegalEvent;
use crate::types::{AgentId, CallId, Offset, PrincipalId, Timestamp, ToolName};

const BY: PrincipalId = PrincipalId(1);
const START: Timestamp = Timestamp(1_000_000);

/// A number as an id of version 7.
fn id(number: u128) -> CallId {
    CallId(number << 80 | 7 << 76)
}

fn tool(name: &str) -> ToolName {
    ToolName::parse(name).unwrap()
}

fn content(json: &str) -> Content {
    let mut digest = [0; 32];
    for (at, byte) in json.bytes().enumerate() {
        digest[at % 32] ^= byte;
    }
    Content::plain(
        Digest(digest),
        RawValue::from_string(json.to_owned()).unwrap(),
    )
}

fn start(call: u128) -> Start {
    Start {
        call: id(call),
        tool: tool("web.search"),
        agent: AgentId(1),
        session: None,
        parent: None,
        arguments: Some(content(r#"{"q":"npayload"}"#)),
        timeout_ms: 1_000,
        by: BY,
    }
}

fn finish(call: u128, json: &str) -> Finish {
    Finish {
        call: id(call),
        result: Some(content(json)),
        by: BY,
    }
}

fn fail(call: u128, error_type: &str) -> Fail {
    Fail {
        call: id(call),
        error: CallError {
            message: None,
            error_type: error_type.to_owned(),
        },
        by: BY,
    }
}

fn report(call: u128, progress: f64) -> Report {
    Report {
        call: id(call),
        progress: Some(Progress::try_from(progress).unwrap()),
        message: None,
        by: BY,
    }
}

/// A topic in memory, and the state that follows it.
#[derive(Clone, Default)]
struct Topic {
    records: Vec<(String, Vec<u8>)>,
    tools: Tools,
}

impl Topic {
    fn append(&mut self, record: &ToolRecord) -> Result<(), IllegalEvent> {
        let bytes = record.encode();
        let read = ToolRecord::decode(record.record_type(), &bytes).unwrap();
        assert_eq!(&read, record);
        if !matches!(record, ToolRecord::Folded(_)) {
            // serde_json sorts the members of a value by name.
            let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(serde_json::to_vec(&value).unwrap(), bytes);
        }
        self.tools.apply(&read, Offset(self.records.len() as u64))?;
        self.records.push((record.record_type().to_owned(), bytes));
        Ok(())
    }

    fn take(&mut self, checked: Result<Checked, ToolError>) {
        let Ok(Checked::New(event)) = checked else {
            panic!("not new: {checked:?}");
        };
        let record = self.tools.link(event).unwrap();
        self.append(&record).unwrap();
    }

    fn start(&mut self, call: Start) {
        self.take(self.tools.check_start(call, &Filed::Unsearched, START));
    }

    fn finish(&mut self, call: u128) {
        let finish = finish(call, "[1,2]");
        self.take(self.tools.check_finish(finish, &Filed::Unsearched, START));
    }

    fn read(&self, offset: Offset) -> ToolRecord {
        let at = usize::try_from(offset.0).unwrap();
        let (record_type, bytes) = &self.records[at];
        ToolRecord::decode(record_type, bytes).unwrap()
    }

    fn ended(&self, offset: Offset) -> CallEnded {
        match self.read(offset) {
            ToolRecord::Ended(ended) => ended,
            other => panic!("{other:?} ends no call"),
        }
    }

    /// What is known of a call beyond memory, as a broker finds it out.
    fn search(&self, call: CallId, files: &[Offset]) -> Filed {
        for file in files {
            let ToolRecord::Filed(filed) = self.read(*file) else {
                panic!("no file at {file}");
            };
            if let Some(offset) = filed.call(call) {
                let record = self.ended(offset);
                return Filed::Found(Arc::new(EndedCall { offset, record }));
            }
        }
        Filed::Absent(files[0])
    }

    fn replayed(&self) -> Tools {
        let mut tools = Tools::default();
        for (offset, (record_type, bytes)) in (0..).zip(&self.records) {
            let record = ToolRecord::decode(record_type, bytes).unwrap();
            tools.apply(&record, Offset(offset)).unwrap();
        }
        tools
    }

    /// All that a query finds, the latest first, and how many records of calls it read.
    fn query(&self, filter: &Filter) -> (Vec<CallId>, usize) {
        let (mut found, mut reads) = (Vec::new(), 0);
        let mut ends: Vec<Knot> = self.tools.last_of(filter).into_iter().collect();
        if let (Which::Session, Some(session)) = (filter.thread(), filter.session) {
            for file in self.tools.filed_session(session) {
                let ToolRecord::Filed(filed) = self.read(file) else {
                    panic!("no file at {file}");
                };
                ends.extend(filed.session(session));
            }
        }
        for end in ends {
            let mut walk = Walk::new(filter.clone(), Some(end));
            while let Some(knot) = walk.wants() {
                let ended = self.ended(knot.offset);
                reads += 1;
                if walk.read(&ended) {
                    found.push(ended.call);
                }
                // A page may end anywhere.
                if reads % 7 == 0 {
                    walk = Walk::new(filter.clone(), walk.rest());
                }
            }
        }
        (found, reads)
    }

    /// All ended calls, the latest first: what queries are compared with.
    fn all_ended(&self) -> Vec<CallEnded> {
        let offsets = (0..self.records.len() as u64).rev().map(Offset);
        let ended = offsets.filter_map(|offset| match self.read(offset) {
            ToolRecord::Ended(ended) => Some(ended),
            _ => None,
        });
        ended.collect()
    }
}

fn scan(all: &[CallEnded], filter: &Filter) -> Vec<CallId> {
    let found = all.iter().filter(|ended| filter.fits(ended));
    found.map(|ended| ended.call).collect()
}

fn refused(topic: &Topic, record: &ToolRecord) -> &'static str {
    let mut changed = topic.clone();
    let error = changed.append(record).unwrap_err();
    assert_eq!(changed.tools, topic.tools, "a refusal changed something");
    error.rule
}
