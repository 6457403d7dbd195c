//! One request to the broker, one answer back: what a connection does with a frame.

mod checking;
mod commands;
mod health;
mod hello;
mod looking;

use std::sync::Arc;

use self::checking::{check_atomic, check_publish, check_published, is_checked_at_once};
pub(super) use self::commands::carry_out;
pub(super) use self::health::health;
pub(super) use self::hello::hello;
pub(super) use self::looking::read;
use super::access::Caller;
use super::shared::Shared;
use super::{admission, asp, region};
use crate::broker::{CheckedBatch, CommitRequest, Part, Refusal, Target, Wait};
use crate::protocol::{AspRequest, ErrorCode, PublishAsks, Request, Response, WireError};

/// What became of a request.
#[derive(Debug)]
pub(super) enum Handled {
    /// The answer, to be sent once its wait is over.
    Answer(Box<Response>, Option<Wait>),
    /// The broker's buffers are full: the same command is to be tried after a round.
    Busy(Command),
    /// The answer, to be sent once its wait is over and enough regions hold what it tells of.
    Held(Box<Response>, Wait, Box<region::HeldWait>),
    /// A fetch, or another request that may read from the disk.
    Read(Request),
    /// The same, for whom another region has let in; that region is told.
    ReadFor(Arc<Caller>, Request),
    /// A request about what lives in another region.
    Forward(Box<region::Forward>),
    /// It names a channel that is not here, for which other regions are to be asked first.
    Seek(Box<Request>),
    /// The same for whom another region has let in; that region is told.
    SeekFor(Arc<Caller>, Box<Request>),
}

/// A write that was checked at the door and may have to wait for buffers.
#[derive(Debug)]
pub(super) enum Command {
    Publish(Box<Target>, Option<CheckedBatch>, Option<PublishAsks>),
    Atomic(Box<Atomic>),
    Send(Box<asp::Prepared>),
    Other(Box<Request>),
    /// For whom another region has let in; that region is told.
    Forwarded(Arc<Caller>, Box<Command>),
}

/// An atomic publish: what the broker takes, and where each part stood in the request.
#[derive(Debug, Default)]
pub(super) struct Atomic {
    batches: Vec<(Target, CheckedBatch)>,
    commits: Vec<CommitRequest>,
    batch_at: Vec<usize>,
    commit_at: Vec<usize>,
    asks: Option<PublishAsks>,
}

impl Atomic {
    /// The place of a part in the request.
    fn place(&self, part: Part) -> Option<usize> {
        match part {
            Part::Batch(at) => self.batch_at.get(usize::from(at)).copied(),
            Part::Commit(at) => self.commit_at.get(usize::from(at)).copied(),
        }
    }
}

/// Takes a request as far as it goes without I/O, if it may be carried out.
pub(super) fn handle(shared: &Shared, caller: &Caller, request: Request) -> Handled {
    match admit(shared, caller, request) {
        Ok(request) => handle_admitted(shared, caller, request),
        Err(refused) => *refused,
    }
}

/// Lets a request in, with its channels as the broker names them; a refusal is on the record where
/// it is worth it.
pub(super) fn admit(
    shared: &Shared,
    caller: &Caller,
    request: Request,
) -> Result<Request, Box<Handled>> {
    admission::admit(shared, caller, request).map_err(|refused| {
        let (draft, error) = *refused;
        draft.refused(&mut shared.broker(), caller, &error);
        shared.wake_committer();
        Box::new(error_now(error))
    })
}

/// Takes a request that was let in as far as it goes without I/O.
pub(super) fn handle_admitted(shared: &Shared, caller: &Caller, mut request: Request) -> Handled {
    region::name_logs(shared, &mut request);
    if region::seeks(shared, caller, &request) {
        return Handled::Seek(Box::new(request));
    }
    take(shared, caller, request)
}

/// The same, where other regions were asked for its channel.
pub(super) fn handle_sought(shared: &Shared, caller: &Caller, mut request: Request) -> Handled {
    region::name_logs(shared, &mut request);
    take(shared, caller, request)
}

/// Takes a request whose channel is here, or in a region that is known, or nowhere.
fn take(shared: &Shared, caller: &Caller, request: Request) -> Handled {
    match region::route(shared, caller, request) {
        Ok(region::Route::Here(request)) => handle_here(shared, caller, request),
        Ok(region::Route::There(forward)) => Handled::Forward(forward),
        Err(error) => error_now(*error),
    }
}

/// Takes a request about what lives here, or has no home.
pub(super) fn handle_here(shared: &Shared, caller: &Caller, request: Request) -> Handled {
    match request {
        Request::LinkForward(forward) => region::carry_out_for(shared, caller, *forward),
        Request::Publish(publish) => {
            let asks = publish.asks;
            let command = |(target, batch)| Command::Publish(Box::new(target), Some(batch), asks);
            if is_checked_at_once(&publish.batch) {
                let mut broker = shared.broker();
                let limits = broker.door(&publish.target.channel);
                let checked = check_published(&limits, caller, publish, || &*broker);
                return match checked.map(command) {
                    Ok(command) => carry_out(&mut broker, shared, caller, command),
                    Err(error) => error_now(error),
                };
            }
            match check_publish(shared, caller, publish).map(command) {
                Ok(command) => carry_out(&mut shared.broker(), shared, caller, command),
                Err(error) => error_now(error),
            }
        }
        Request::PublishAtomic(publish) => match check_atomic(shared, caller, publish) {
            Ok(atomic) => carry_out(
                &mut shared.broker(),
                shared,
                caller,
                Command::Atomic(Box::new(atomic)),
            ),
            Err(error) => error_now(error),
        },
        Request::Ping => now(Response::Pong),
        Request::Hello(_) => {
            let text = "the connection has said hello already";
            error_now(WireError::new(ErrorCode::InvalidRequest, text))
        }
        Request::Fetch(_)
        | Request::FetchBeyond(_)
        | Request::ChannelInfo(_)
        | Request::ChannelList(_)
        | Request::ChannelResolve(_)
        | Request::ChannelCreate(_)
        | Request::ChannelUpdate(_)
        | Request::ChannelRotateKey(_)
        | Request::ConsumerList(_)
        | Request::ConsumerPosition(_)
        | Request::ConsumerReset(_)
        | Request::ConsumerLag(_)
        | Request::Region(_)
        | Request::LinkFetch(_)
        | Request::Access(_) => Handled::Read(request),
        Request::Asp(request) => match *request {
            AspRequest::SessionSend(send) => asp::prepare(shared, caller, send),
            request => Handled::Read(Request::Asp(Box::new(request))),
        },
        other => carry_out(
            &mut shared.broker(),
            shared,
            caller,
            Command::Other(Box::new(other)),
        ),
    }
}

fn now(response: Response) -> Handled {
    Handled::Answer(Box::new(response), None)
}

fn error_now(error: WireError) -> Handled {
    now(Response::Error(error))
}

pub(super) type Answered = Result<(Response, Option<Wait>), Refusal>;
