//! A bare connection: frames out, frames in, nothing between. What it measures is the broker.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use npayload::protocol::control::HelloRequest;
use npayload::protocol::{
    FetchRequest, FrameDecoder, PublishRequest, PublishTarget, Request, Response,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::codec::Decoder;

use crate::clock;
use crate::measured::Counting;

/// Largest answer that is read.
const MAX_ANSWER_BYTES: u32 = 80 << 20;

/// A connection that has said hello.
pub struct Wire {
    socket: TcpStream,
    input: BytesMut,
    output: BytesMut,
    decoder: FrameDecoder,
    next: u64,
}

/// What one connection publishes.
#[derive(Clone)]
pub struct Load {
    pub target: PublishTarget,
    pub batch: BytesMut,
    pub records: u64,
    pub record_bytes: u64,
    pub in_flight: usize,
    /// Batches a second, by the clock and not by the answers; `None` is as fast as possible.
    pub rate: Option<f64>,
}

impl Wire {
    pub async fn connect(address: &str) -> Result<Self> {
        let socket = TcpStream::connect(address)
            .await
            .with_context(|| format!("connecting to {address}; start one with `npayload serve`"))?;
        socket.set_nodelay(true)?;
        let mut wire = Self {
            socket,
            input: BytesMut::with_capacity(1 << 20),
            output: BytesMut::new(),
            decoder: FrameDecoder::responses(MAX_ANSWER_BYTES),
            next: 1,
        };
        let hello = HelloRequest {
            client: "npayload-bench".to_owned(),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            api_key: None,
            min_version: 1,
            max_version: 1,
        };
        wire.send(&Request::Hello(hello));
        wire.flush().await?;
        match wire.answer().await?.1 {
            Response::Hello(_) => Ok(wire),
            other => bail!("the broker answered the hello with {other:?}"),
        }
    }

    fn send(&mut self, request: &Request) -> u64 {
        let correlation = self.next;
        self.next += 1;
        request.encode(correlation, &mut self.output);
        correlation
    }

    async fn flush(&mut self) -> Result<()> {
        self.socket.write_all_buf(&mut self.output).await?;
        self.output.clear();
        Ok(())
    }

    fn ready_answer(&mut self) -> Result<Option<(u64, Response)>> {
        let Some(frame) = self.decoder.decode(&mut self.input)? else {
            return Ok(None);
        };
        let correlation = frame.header.correlation;
        match Response::decode(frame)? {
            Response::Error(error) => bail!("the broker refused: {error:?}"),
            response => Ok(Some((correlation, response))),
        }
    }

    async fn answer(&mut self) -> Result<(u64, Response)> {
        loop {
            if let Some(answer) = self.ready_answer()? {
                return Ok(answer);
            }
            if self.socket.read_buf(&mut self.input).await? == 0 {
                bail!("the broker closed the connection");
            }
        }
    }

    /// One fetch and its answer.
    pub async fn fetch(
        &mut self,
        request: &FetchRequest,
    ) -> Result<npayload::protocol::FetchResponse> {
        self.send(&Request::Fetch(request.clone()));
        self.flush().await?;
        match self.answer().await?.1 {
            Response::Fetch(fetched) => Ok(fetched),
            other => bail!("the broker answered the fetch with {other:?}"),
        }
    }

    /// Publishes the same batch again and again, `in_flight` at a time, until the end.
    ///
    /// With a rate, a batch counts from the time it was meant to be sent at, also when the broker
    /// or the connection was late.
    pub async fn publish_until(&mut self, load: &Load, end: Instant) -> Result<Counting> {
        let mut counting = Counting::new();
        let mut sent: VecDeque<Instant> = VecDeque::new();
        let publish = Request::Publish(PublishRequest {
            target: load.target.clone(),
            batch: load.batch.clone(),
        });
        let interval = load.rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
        let mut due = clock();
        loop {
            let now = clock();
            let is_over = now >= end;
            if is_over && sent.is_empty() {
                return Ok(counting);
            }
            while !is_over && sent.len() < load.in_flight {
                match interval {
                    Some(_) if due > now => break,
                    Some(interval) => {
                        sent.push_back(due);
                        due += interval;
                    }
                    None => sent.push_back(now),
                }
                self.send(&publish);
            }
            self.flush().await?;
            if sent.is_empty() {
                tokio::time::sleep(due.saturating_duration_since(clock())).await;
                continue;
            }
            let first = match interval.filter(|_| !is_over && sent.len() < load.in_flight) {
                Some(_) => {
                    let wait = due.saturating_duration_since(clock());
                    match tokio::time::timeout(wait, self.answer()).await {
                        Ok(answer) => answer?,
                        Err(_) => continue,
                    }
                }
                None => self.answer().await?,
            };
            book(&mut counting, &mut sent, load, &first.1);
            while let Some((_, response)) = self.ready_answer()? {
                book(&mut counting, &mut sent, load, &response);
            }
        }
    }
}

/// Publishes of one connection to one channel are answered in order.
fn book(counting: &mut Counting, sent: &mut VecDeque<Instant>, load: &Load, response: &Response) {
    if let Response::Publish(ack) = response
        && let Some(at) = sent.pop_front()
    {
        counting.book(at.elapsed(), load.records, load.record_bytes * load.records);
        counting.level.get_or_insert_with(|| ack.level.to_string());
    }
}

impl Wire {
    /// Sends one publish without waiting for its answer.
    pub async fn publish_one(&mut self, target: PublishTarget, batch: BytesMut) -> Result<()> {
        self.send(&Request::Publish(PublishRequest { target, batch }));
        self.flush().await
    }

    /// Takes the answers that are still due; the level that the last of them named.
    pub async fn drain(&mut self) -> Result<Option<String>> {
        let mut level = None;
        // Correlation 1 was the hello.
        for _ in 2..self.next {
            if let Response::Publish(ack) = self.answer().await?.1 {
                level = Some(ack.level.to_string());
            }
        }
        Ok(level)
    }
}
