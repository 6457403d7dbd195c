//! The task that fetches ahead of a consumer, as far as there is room.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::check::{Expected, check};
use super::{ConsumeError, Fetched, Options, Position, RawBatch};
use crate::client::control::answer;
use crate::client::error::RequestError;
use crate::client::handle::{Client, Retry};
use crate::protocol::{
    ErrorCode, FetchBeyondRequest, FetchFrom, FetchRequest, FetchResponse, Request, Response,
};
use crate::types::{Incarnation, LogEpoch, Offset};

pub(super) struct Fetcher {
    client: Client,
    options: Options,
    queue: mpsc::Sender<Result<Fetched, ConsumeError>>,
    room: Arc<Semaphore>,
    max_permits: usize,
    from: FetchFrom,
    incarnation: Option<Incarnation>,
    last_epoch: LogEpoch,
    /// Where to end, once known.
    to: Option<Offset>,
    /// Whether the next batch may begin below the offset that is asked for: until the first came.
    may_begin_below: bool,
    /// The broker's copy lacks what is read: it is asked for with that in mind from now on.
    is_beyond: bool,
}

impl Fetcher {
    pub(super) fn new(
        client: Client,
        options: Options,
        queue: mpsc::Sender<Result<Fetched, ConsumeError>>,
        (room, max_permits): (Arc<Semaphore>, usize),
    ) -> Self {
        Self {
            client,
            queue,
            room,
            max_permits,
            from: options.from,
            incarnation: options.incarnation,
            last_epoch: options.last_epoch,
            to: None,
            may_begin_below: true,
            is_beyond: false,
            options,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let (item, is_last) = match self.step().await {
                Ok((fetched, is_last)) => (Ok(fetched), is_last),
                Err(error) => (Err(error), true),
            };
            if self.queue.send(item).await.is_err() || is_last {
                return;
            }
        }
    }

    /// One fetch, checked. Tells also whether it was the last.
    async fn step(&mut self) -> Result<(Fetched, bool), ConsumeError> {
        // The room that a fetch may need is taken before it is asked for, so that what is held
        // stays bounded.
        let wanted = usize::try_from(self.options.max_bytes).unwrap_or(usize::MAX);
        let permits = u32::try_from(wanted.min(self.max_permits)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(permits).await;
        let answer = self.fetch().await.map_err(ConsumeError::from_request)?;
        let FetchResponse { head, batches } = answer;
        if let FetchFrom::Offset(expected) = self.from
            && head.from_offset != expected
        {
            let found = head.from_offset;
            return Err(ConsumeError::Gap { expected, found });
        }
        if let Some(expected) = self.incarnation
            && head.incarnation != expected
        {
            return Err(ConsumeError::Foreign {
                offset: head.from_offset,
                expected,
                found: head.incarnation,
            });
        }
        if self.to.is_none() {
            self.to = if self.options.follow {
                self.options.to
            } else {
                let end = head.high_watermark;
                Some(self.options.to.map_or(end, |to| to.min(end)))
            };
        }
        let expected = Expected {
            incarnation: head.incarnation,
            offset: head.from_offset,
            may_begin_below: self.may_begin_below,
            to: self.to,
        };
        let mut batches = check(batches, expected)?;
        // A copy has passed over what is wanted: from there on it is asked for otherwise.
        let lacks = |batch: &RawBatch| batch.lacks(self.options.types.as_ref());
        if !self.is_beyond
            && let Some(at) = batches.iter().position(lacks)
            && self.can_read_beyond().await
        {
            self.is_beyond = true;
            batches.truncate(at);
        }
        let mut next = head.from_offset;
        if let Some(last) = batches.last() {
            next = last.end;
            self.last_epoch = last.log_epoch;
            self.may_begin_below = false;
        }
        self.from = FetchFrom::Offset(next);
        self.incarnation = Some(head.incarnation);
        let is_last = self.to.is_some_and(|to| next >= to);
        let mut room = room.ok();
        let held: usize = batches.iter().map(|batch| batch.bytes.len()).sum();
        if let Some(room) = &mut room {
            // What the fetch did not need is free again at once.
            let spare = room.num_permits().saturating_sub(held);
            drop(room.split(spare));
        }
        let fetched = Fetched {
            batches: batches.into_iter(),
            then: Position {
                offset: Some(next),
                incarnation: self.incarnation,
                last_epoch: self.last_epoch,
            },
            _room: room,
        };
        Ok((fetched, is_last))
    }

    /// Asks until there is an answer, or no hope of one.
    async fn fetch(&mut self) -> Result<FetchResponse, RequestError> {
        // The first answer tells where the end is; from then on there is something to wait for.
        let wait = if self.options.follow || self.to.is_some() {
            self.options.max_wait
        } else {
            Duration::ZERO
        };
        let fetch = FetchRequest {
            channel: self.options.channel.clone(),
            incarnation: self.incarnation,
            from: self.from,
            last_epoch: self.last_epoch,
            max_bytes: self.options.max_bytes,
            min_bytes: self.options.min_bytes,
            max_wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
        };
        let deadline = Instant::now() + wait + self.options.retry_for;
        if self.is_beyond {
            return self.fetch_beyond(fetch, deadline).await;
        }
        let request = Request::Fetch(fetch.clone());
        let answered = self
            .client
            .call_until(&request, Retry::Safe, deadline)
            .await;
        let refused = match answered {
            Ok((response, _)) => return answer!(response, Fetch),
            Err(error) => error,
        };
        let is_trimmed = matches!(&refused, RequestError::Server(error)
            if error.known() == Some(ErrorCode::OffsetTrimmed));
        if !is_trimmed || !self.can_read_beyond().await {
            return Err(refused);
        }
        // A copy begins later, and its home may have it.
        match self.fetch_beyond(fetch, deadline).await {
            Ok(answer) => {
                self.is_beyond = true;
                Ok(answer)
            }
            Err(RequestError::Server(error))
                if matches!(
                    error.known(),
                    Some(ErrorCode::RegionUnreachable | ErrorCode::CopyPartial)
                ) =>
            {
                Err(RequestError::Server(error))
            }
            Err(_) => Err(refused),
        }
    }

    async fn fetch_beyond(
        &self,
        fetch: FetchRequest,
        deadline: Instant,
    ) -> Result<FetchResponse, RequestError> {
        let request = Request::FetchBeyond(Box::new(FetchBeyondRequest {
            lacking: self.options.lacking,
            types: self.options.types.iter().flatten().cloned().collect(),
            fetch,
        }));
        let answered = self.client.call_until(&request, Retry::Safe, deadline);
        let (response, _): (Response, bool) = answered.await?;
        answer!(response, FetchBeyond)
    }

    /// Whether the broker reads at a channel's home what a copy does not have.
    async fn can_read_beyond(&self) -> bool {
        let deadline = Instant::now() + self.options.retry_for;
        let open = self.client.open(deadline).await;
        open.is_ok_and(|open| open.reads_beyond)
    }
}
