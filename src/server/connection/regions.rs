//! What other regions are asked on behalf of a connection, or carry out for it, and the link on which
//! one of them pulls here.

use std::sync::Arc;

use super::found::Found;
use super::{Connection, shutting_down};
use crate::protocol::{RegionRequest, Request, Response};
use crate::server::access::Caller;
use crate::server::region::{self, source};
use crate::server::waiting::Pending;
use crate::server::{admission, dispatch};

impl Connection {
    /// Lets a search go on beside the connection and hands it what was found. It ends with the
    /// connection.
    pub(super) fn find_while_open(&self, search: impl Future<Output = Found> + Send + 'static) {
        let finder = self.finder.clone();
        tokio::spawn(async move {
            let closed = finder.closed();
            tokio::select! {
                found = search => {
                    let _ = finder.send(found);
                }
                () = closed => {}
            }
        });
    }

    /// Sends an answer that is durable here once enough regions hold what it tells of.
    pub(super) fn wait_for_regions(&mut self, pending: Pending) {
        let Pending {
            correlation,
            response,
            held: Some(held),
            bytes,
            ..
        } = pending
        else {
            return;
        };
        self.fetches.push((correlation, None));
        self.forwarded_bytes += bytes;
        let shared = self.shared.clone();
        self.find_while_open(async move {
            let response = held.done(&shared, *response).await;
            Found::Linked(correlation, Box::new(response), None, bytes)
        });
    }

    /// Hands a request of a link to the task that serves it, which begins with the first.
    pub(super) fn ask_link(&mut self, correlation: u64, ask: source::Ask) {
        if self.refuses_to_wait(correlation) {
            return;
        }
        self.fetches.push((correlation, None));
        let link = self.link.get_or_insert_with(|| {
            let finder = self.finder.clone();
            let answers = move |correlation, response| {
                // A closed connection takes no answers.
                let _ = finder.send(Found::Linked(correlation, Box::new(response), None, 0));
            };
            source::start(self.shared.clone(), Arc::new(answers))
        });
        if link.send((correlation, ask)).is_err() {
            self.book(Found::Linked(
                correlation,
                Box::new(Response::Error(shutting_down())),
                None,
                0,
            ));
        }
    }

    /// Answers a request that asks other regions.
    pub(super) fn ask_region(
        &mut self,
        correlation: u64,
        caller: Arc<Caller>,
        request: RegionRequest,
    ) {
        if self.refuses_to_wait(correlation) {
            return;
        }
        self.fetches.push((correlation, None));
        let shared = self.shared.clone();
        self.find_while_open(async move {
            let mut response = region::ask(&shared, &caller, &request).await;
            admission::show(&shared, &caller, &mut response);
            Found::Linked(correlation, Box::new(response), None, 0)
        });
    }

    /// Makes a channel, for which other regions are asked.
    pub(super) fn create_among_regions(
        &mut self,
        correlation: u64,
        caller: Arc<Caller>,
        create: crate::protocol::control::ChannelCreate,
    ) {
        if self.refuses_to_wait(correlation) {
            return;
        }
        self.fetches.push((correlation, None));
        let (shared, finder) = (self.shared.clone(), self.finder.clone());
        // Goes on when the connection is closed: a name is not given without its channel.
        tokio::spawn(async move {
            let mut response = region::create(&shared, &caller, create, None).await;
            admission::show(&shared, &caller, &mut response);
            let _ = finder.send(Found::Linked(correlation, Box::new(response), None, 0));
        });
    }

    /// Asks other regions for the channel of a request. Nothing else is taken meanwhile, so that what
    /// follows stays behind it.
    pub(super) fn seek(&mut self, correlation: u64, bytes: u64, request: Request) {
        let Some(caller) = self.key.as_ref().map(|key| key.caller().clone()) else {
            return;
        };
        self.is_seeking = true;
        let shared = self.shared.clone();
        self.find_while_open(async move {
            let sought = region::seek(&shared, &caller, &request).await;
            Found::Sought(correlation, bytes, Box::new(request), sought)
        });
    }

    /// The same for whom another region has let in. The link takes other requests meanwhile.
    pub(super) fn seek_for(
        &mut self,
        correlation: u64,
        bytes: u64,
        caller: Arc<Caller>,
        request: Request,
    ) {
        if self.refuses_to_wait(correlation) {
            return;
        }
        self.fetches.push((correlation, None));
        let shared = self.shared.clone();
        self.find_while_open(async move {
            let sought = region::seek(&shared, &caller, &request).await;
            Found::SoughtFor(correlation, bytes, caller, Box::new(request), sought)
        });
    }

    /// Goes on with a request whose channel other regions were asked for.
    pub(super) fn sought(&mut self, correlation: u64, bytes: u64, request: Request) {
        let Some(caller) = self.key.as_ref().map(|key| key.caller().clone()) else {
            return;
        };
        let alive = admission::check_alive(&self.shared.broker(), &caller);
        if let Err(ended) = alive {
            return self.answer(correlation, &Response::Error(ended));
        }
        let mut handled = dispatch::handle_sought(&self.shared, &caller, request);
        self.show(&mut handled);
        if self.handled(correlation, bytes, handled) {
            self.shared.wake_committer();
        }
    }

    /// Has a request carried out where what it is about lives. It is sent at once, so that those of one
    /// connection arrive in order.
    pub(super) fn forward(&mut self, correlation: u64, bytes: u64, forward: region::Forward) {
        if forward.takes_room() {
            return self.read_there(correlation, None, forward);
        }
        if self.refuses_to_wait(correlation) {
            return;
        }
        let call = match forward.send(&self.shared) {
            Ok(call) => call,
            Err(error) => return self.answer(correlation, &Response::Error(error)),
        };
        self.fetches.push((correlation, None));
        self.forwarded_bytes += bytes;
        let finder = self.finder.clone();
        tokio::spawn(async move {
            let (response, wait) = call.answer().await;
            let _ = finder.send(Found::Linked(correlation, Box::new(response), wait, bytes));
        });
    }
}
