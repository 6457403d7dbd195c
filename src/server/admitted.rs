//! What a connection was let in for before: the same is let in again without asking, for as long as
//! nothing about keys, grants and limits has changed.

use std::collections::HashMap;

use super::access::Caller;
use crate::access::Operation;
use crate::protocol::Request;
use crate::types::ChannelName;

/// Most channels that a connection remembers; past that it begins anew.
const MAX_CHANNELS: usize = 1024;

#[derive(Debug)]
struct Known {
    /// The broker's name for it.
    kept: ChannelName,
    publish: bool,
    consume: bool,
}

/// Channels of the caller's own organisation, by the names they have for them.
#[derive(Debug, Default)]
pub(super) struct Admitted(HashMap<ChannelName, Known>);

/// The channel of a request of the data path, and what is done with it.
fn asked(request: &mut Request) -> Option<(&mut ChannelName, Operation)> {
    match request {
        Request::Publish(publish) => Some((&mut publish.target.channel, Operation::Publish)),
        Request::Fetch(fetch) => Some((&mut fetch.channel, Operation::Consume)),
        Request::Commit(commit) => Some((&mut commit.channel, Operation::Consume)),
        _ => None,
    }
}

impl Admitted {
    /// Lets a request in that is like one before, with the broker's name for its channel. False
    /// when it has to be judged.
    pub fn admit(&self, request: &mut Request) -> bool {
        let Some((name, operation)) = asked(request) else {
            return false;
        };
        let Some(known) = self.0.get(&*name) else {
            return false;
        };
        let is_admitted = match operation {
            Operation::Publish => known.publish,
            _ => known.consume,
        };
        if is_admitted && *name != known.kept {
            *name = known.kept.clone();
        }
        is_admitted
    }

    /// The name that a request of the data path has for its channel, to be given back with
    /// [`Admitted::remember`].
    pub fn name_of(request: &mut Request) -> Option<ChannelName> {
        asked(request).map(|(name, _)| name.clone())
    }

    /// Remembers that a request was let in, which has the broker's name by now.
    pub fn remember(&mut self, caller: &Caller, said: ChannelName, request: &mut Request) {
        let Some((kept, operation)) = asked(request) else {
            return;
        };
        // What others grant is judged each time: it is bound to more than the key.
        if !caller.owns(kept.org()) || kept.is_internal() {
            return;
        }
        if self.0.len() >= MAX_CHANNELS {
            self.0.clear();
        }
        let known = self.0.entry(said).or_insert_with(|| Known {
            kept: kept.clone(),
            publish: false,
            consume: false,
        });
        match operation {
            Operation::Publish => known.publish = true,
            _ => known.consume = true,
        }
    }

    /// Forgets everything: something about keys has changed.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}
