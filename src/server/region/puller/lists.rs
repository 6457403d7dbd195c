//! What a peer is asked for when it is asked which logs it has: in as many requests as their frames
//! take, since somebody may want any number of topics of agents.
//!
//! One of them stands at the peer and is answered when something has changed there; the others are
//! asked once it is. What stands means channels too, as the version of an answer about topics alone
//! is of those topics: a topic of another request would come unheard.

use crate::protocol::region::{LinkLogs, MAX_LOGS};
use crate::region::ChannelPattern;
use crate::types::ChannelName;

/// Most topics that one request asks for: what the peer has of them is one page.
const TOPICS: usize = MAX_LOGS;
/// Matches hardly any channel, and what it matches is not followed: with it the peer's answer is about
/// all that it has.
const ANYTHING: &str = "topics.of.agents";

/// One request's share of what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct List {
    patterns: Vec<ChannelPattern>,
    /// The internal topics, by their names at the peer.
    pub topics: Vec<ChannelName>,
}

impl List {
    /// The lists of all that is wanted of a peer; the first is the one that stands there.
    pub fn of(patterns: Vec<ChannelPattern>, topics: &[ChannelName]) -> Vec<Self> {
        let mut lists: Vec<Self> = topics.chunks(TOPICS).map(Self::of_topics).collect();
        if lists.is_empty() {
            lists.push(Self::of_topics(&[]));
        }
        lists[0].patterns = match patterns.is_empty() && lists.len() > 1 {
            true => ANYTHING.parse().into_iter().collect(),
            false => patterns,
        };
        lists
    }

    fn of_topics(topics: &[ChannelName]) -> Self {
        Self {
            patterns: Vec::new(),
            topics: topics.to_vec(),
        }
    }

    /// The request.
    ///
    /// - `after`: the version that is known, where the answer is to wait for another one.
    /// - `cursor`: where the answer before ended, to go on there.
    pub fn ask(&self, after: Option<u64>, cursor: Option<String>, wait_ms: u32) -> LinkLogs {
        LinkLogs {
            patterns: self.patterns.clone(),
            topics: self.topics.clone(),
            after,
            wait_ms,
            cursor,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::protocol::{MAX_CONTROL_FRAME_BYTES, RegionRequest, Request};

    fn topics(count: usize) -> Vec<ChannelName> {
        let org = "x".repeat(50);
        let name = |n| ChannelName::parse_any(&format!("{org}{n}/__asp.registry")).unwrap();
        (0..count).map(name).collect()
    }

    fn patterns(count: usize) -> Vec<ChannelPattern> {
        let long = "y".repeat(100);
        let patterns = (0..count).map(|n| format!("{long}.{n}").parse().unwrap());
        patterns.collect()
    }

    #[test]
    fn any_number_of_topics_is_asked_for_in_frames_that_the_peer_takes() {
        let (patterns, topics) = (patterns(1000), topics(30_000));
        let lists = List::of(patterns.clone(), &topics);
        for list in &lists {
            let request = RegionRequest::LinkLogs(list.ask(Some(1), Some("#999".to_owned()), 1));
            let mut frame = BytesMut::new();
            Request::Region(Box::new(request)).encode(1, &mut frame);
            assert!(frame.len() < MAX_CONTROL_FRAME_BYTES as usize);
        }
        // Each is asked for once, in order.
        let asked: Vec<ChannelName> = lists.iter().flat_map(|list| list.topics.clone()).collect();
        assert_eq!(asked, topics);
        assert_eq!(lists[0].patterns, patterns);
        assert!(lists[1..].iter().all(|list| list.patterns.is_empty()));
    }

    #[test]
    fn what_stands_at_the_peer_is_answered_also_for_topics_of_other_requests() {
        let few = List::of(Vec::new(), &topics(1000));
        assert_eq!(few.len(), 1);
        // These alone are waited for, and no channel that comes.
        assert_eq!(few[0].patterns, []);
        let many = List::of(Vec::new(), &topics(1001));
        assert_eq!(many.len(), 2);
        assert_eq!(many[0].patterns.len(), 1);
        assert_eq!(List::of(patterns(1), &[])[0].patterns, patterns(1));
    }
}
