//! Requests that read. A fetch is tried at once; what has to wait, for records or the disk, is a task of
//! its own.

use std::sync::Arc;

use super::Connection;
use super::found::Found;
use crate::protocol::{
    AspRequest, FetchBeyondRequest, FetchRequest, FetchResponse, Request, Response,
};
use crate::server::access::Caller;
use crate::server::region::{self, source};
use crate::server::shared::Shared;
use crate::server::{admission, answer, asp, dispatch, fetching};
use crate::types::ChannelName;

/// Who is answered.
#[derive(Clone, Copy, Debug)]
enum For {
    /// Whoever is connected.
    Caller,
    /// Another region, which asks for somebody that it has let in.
    Region,
}

impl For {
    /// The answer as they are told.
    fn told(self, shared: &Shared, caller: &Caller, mut response: Response) -> Response {
        if let Self::Caller = self {
            admission::show(shared, caller, &mut response);
        }
        self.told_found(shared, response)
    }

    /// The same of what a reader has found, in which nothing is to be hidden from who asked here.
    fn told_found(self, shared: &Shared, response: Response) -> Response {
        match self {
            Self::Caller => response,
            Self::Region => region::told_region(shared, response),
        }
    }
}

impl Connection {
    /// Answers a request that may read from the disk; a fetch is tried at once.
    pub(super) fn read(&mut self, correlation: u64, request: Request) {
        let Some(caller) = self.key.as_ref().map(|key| key.caller().clone()) else {
            return;
        };
        match request {
            Request::Fetch(request) => self.fetch(correlation, request),
            Request::FetchBeyond(request) => self.fetch_beyond(correlation, &caller, *request),
            Request::LinkFetch(request) => self.ask_link(correlation, source::Ask::Fetch(request)),
            Request::Region(request) if request.is_of_link() => {
                self.ask_link(correlation, source::Ask::Json(request));
            }
            Request::Region(request) if region::waits(&request) => {
                self.ask_region(correlation, caller, *request);
            }
            Request::ChannelCreate(create) if region::asks_others(&self.shared, &create) => {
                self.create_among_regions(correlation, caller, create);
            }
            Request::Asp(request) if asp::waits(&request) => {
                self.listen(correlation, caller, *request, For::Caller);
            }
            request => self.look(correlation, caller, request, For::Caller),
        }
    }

    /// The same for whom another region has let in.
    pub(super) fn read_for(&mut self, correlation: u64, caller: Arc<Caller>, request: Request) {
        match request {
            Request::FetchBeyond(beyond) => {
                self.fetch_wholly(correlation, beyond.fetch, For::Region);
            }
            Request::Asp(request) if asp::waits(&request) => {
                self.listen(correlation, caller, *request, For::Region);
            }
            request => self.look(correlation, caller, request, For::Region),
        }
    }

    /// Has a request looked after by a thread that may wait for the disk.
    fn look(&mut self, correlation: u64, caller: Arc<Caller>, request: Request, asked: For) {
        self.looks += 1;
        let (shared, finder) = (self.shared.clone(), self.finder.clone());
        tokio::spawn(async move {
            let looking = shared.clone();
            let asking = caller.clone();
            let looked = shared.on_disk(move || dispatch::read(&looking, &asking, &request));
            let (response, wait) = match looked.await {
                Ok(answered) => answered,
                Err(refusal) => {
                    let error = Response::Error(answer::refused(&refusal.error));
                    (error, refusal.wait)
                }
            };
            let response = asked.told(&shared, &caller, response);
            shared.wake_committer();
            // A closed connection takes no answers.
            let _ = finder.send(Found::Looked(correlation, Box::new(response), wait));
        });
    }

    fn fetch(&mut self, correlation: u64, request: FetchRequest) {
        region::note_fetch(&self.shared, &request.channel);
        let mut fetch = fetching::fetch_of(&request);
        // To encrypt is to look at what is read.
        if self.socket.is_plain() {
            fetch = fetch.for_socket();
        }
        match fetching::at_once(&self.shared, &self.answer_room, &request, &mut fetch) {
            Ok(Some((fetched, held))) => self.fetched(correlation, fetched, held),
            Err(error) => self.answer(correlation, &Response::Error(answer::refused(&error))),
            Ok(None) if self.refuses_to_wait(correlation) => {}
            Ok(None) => {
                let channel = Some(request.channel.clone());
                self.fetches.push((correlation, channel));
                let (shared, room) = (self.shared.clone(), self.answer_room.clone());
                self.find_while_open(async move {
                    let found = fetching::find(&shared, &room, &request, fetch).await;
                    Found::Fetched(correlation, found)
                });
            }
        }
    }

    /// Reads what a copy here may not have: here, or at the channel's home.
    fn fetch_beyond(
        &mut self,
        correlation: u64,
        caller: &Arc<Caller>,
        request: FetchBeyondRequest,
    ) {
        region::note_fetch(&self.shared, &request.fetch.channel);
        let forward = match region::beyond(&self.shared, caller, &request) {
            None => return self.fetch_wholly(correlation, request.fetch, For::Caller),
            Some(Err(error)) => return self.answer(correlation, &Response::Error(*error)),
            Some(Ok(forward)) => forward,
        };
        self.read_there(correlation, Some(request.fetch.channel), forward);
    }

    /// Has a read answered by the region where what it is about lives, once there is room for what that
    /// says. It is sent at once, so that those of one connection arrive in order.
    pub(super) fn read_there(
        &mut self,
        correlation: u64,
        channel: Option<ChannelName>,
        forward: region::Forward,
    ) {
        let caller = self.key.as_ref().map(|key| key.caller().clone());
        let Some(caller) = caller.filter(|_| !self.refuses_to_wait(correlation)) else {
            return;
        };
        let call = match forward.clone().send(&self.shared) {
            Ok(call) => call,
            Err(error) => return self.answer(correlation, &Response::Error(error)),
        };
        self.fetches.push((correlation, channel));
        let (shared, room) = (self.shared.clone(), self.answer_room.clone());
        self.find_while_open(async move {
            let found = region::read_there(&shared, &room, call, forward).await;
            let found = found.map(|(mut response, held)| {
                admission::show(&shared, &caller, &mut response);
                (Box::new(response), None, held)
            });
            Found::Said(correlation, found)
        });
    }

    /// Reads into one answer, for who is not sent batches as they lie.
    fn fetch_wholly(&mut self, correlation: u64, request: FetchRequest, asked: For) {
        if self.refuses_to_wait(correlation) {
            return;
        }
        // Another region judges for itself who it has let in.
        let channel = match asked {
            For::Caller => Some(request.channel.clone()),
            For::Region => None,
        };
        self.fetches.push((correlation, channel));
        let (shared, room) = (self.shared.clone(), self.answer_room.clone());
        self.find_while_open(async move {
            let fetch = fetching::fetch_of(&request);
            let found = fetching::find(&shared, &room, &request, fetch).await;
            let found = found.map(|(fetched, held)| {
                let response = Response::FetchBeyond(FetchResponse {
                    head: fetching::head(&fetched),
                    batches: fetched.slices.parts.concat().into(),
                });
                (Box::new(asked.told_found(&shared, response)), held)
            });
            Found::FetchedWholly(correlation, found)
        });
    }

    /// Answers a request that reads what agents say, and may wait for it.
    fn listen(&mut self, correlation: u64, caller: Arc<Caller>, request: AspRequest, asked: For) {
        if self.refuses_to_wait(correlation) {
            return;
        }
        self.fetches.push((correlation, None));
        let (shared, room) = (self.shared.clone(), self.answer_room.clone());
        self.find_while_open(async move {
            let found = asp::find(&shared, &caller, &request, &room).await;
            let found = found.map(|(response, wait, held)| {
                let response = asked.told_found(&shared, Response::Asp(response));
                (Box::new(response), wait, held)
            });
            Found::Said(correlation, found)
        });
    }
}
