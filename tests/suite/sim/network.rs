//! Connections between clients and the broker: answers that are late or lost, and cuts.

use std::collections::VecDeque;

use super::chance::Chance;
use super::request::{Reply, Request};
use super::server::Session;

/// One connection, with what is on its way.
pub struct Connection {
    pub client: usize,
    pub session: Session,
    pub to_server: VecDeque<(u64, u64, Request)>,
    pub to_client: VecDeque<(u64, u64, Reply)>,
    /// The client is gone; what had arrived is still done.
    pub is_cut: bool,
}

impl Connection {
    pub fn new(client: usize) -> Self {
        Self {
            client,
            session: Session::default(),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            is_cut: false,
        }
    }

    pub fn send(&mut self, at: u64, correlation: u64, request: Request) {
        let last = self.to_server.back().map_or(0, |(due, ..)| *due);
        self.to_server
            .push_back((at.max(last), correlation, request));
    }

    /// Puts the answers of the session on their way.
    pub fn flush(&mut self, at: u64) {
        for (correlation, reply) in self.session.out.drain(..) {
            let last = self.to_client.back().map_or(0, |(due, ..)| *due);
            if !self.is_cut {
                self.to_client.push_back((at.max(last), correlation, reply));
            }
        }
    }

    /// A part of what the client has sent still arrives; no answer does.
    pub fn cut(&mut self, chance: &mut Chance) {
        let arrived = chance.below(self.to_server.len() as u64 + 1);
        self.to_server.truncate(usize::try_from(arrived).unwrap());
        self.to_client.clear();
        self.is_cut = true;
    }

    /// Whether a request waits at the broker's door.
    pub fn has_arrived(&self, step: u64) -> bool {
        let due = self.to_server.front().is_some_and(|(due, ..)| *due <= step);
        due && !self.session.is_stalled()
    }

    pub fn is_over(&self) -> bool {
        self.is_cut && self.to_server.is_empty() && self.session.is_idle()
    }
}
