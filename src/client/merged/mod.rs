//! The logs that regions have of one channel, read together.
//!
//! Between two vectors the order is by append time, then region name, the same in every region and
//! every time. What comes after that is in order of arrival, and in order within each region.

mod error;
mod live;
mod whole;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;

pub use error::MergedError;
pub use whole::{DeleteEverywhereError, DeletedEverywhere, DeletedLog};

use self::live::Live;
use super::consumer::{Consumer, Gaps, Item, LostRecords};
use super::error::RequestError;
use super::handle::Client;
use crate::format::Record;
use crate::protocol::control::Place;
use crate::protocol::logs::{LogRow, RegionLogs};
use crate::protocol::{AtomicCommit, AtomicPart, ExpectedPosition};
use crate::region::interest::Since;
use crate::region::{Merge, MergeStep, Vector};
use crate::types::{ChannelName, ConsumerName, RegionName, Timestamp};

/// Options of a merged reader; made by [`Client::merged`].
#[derive(Clone, Debug)]
pub struct MergedBuilder {
    client: Client,
    channel: ChannelName,
    begin: Begin,
    to: Option<Vector>,
    follow: bool,
    gaps: Gaps,
    retry_for: Duration,
    patience: Duration,
}

/// Where to begin.
#[derive(Clone, Debug)]
enum Begin {
    At(Vector),
    End,
    Time(Timestamp),
    Consumer(ConsumerName),
}

impl Client {
    /// Options for reading all logs of a channel that has one for each region; from their starts to
    /// their ends as they are now, unless set.
    #[must_use]
    pub fn merged(&self, channel: ChannelName) -> MergedBuilder {
        MergedBuilder {
            client: self.clone(),
            channel,
            begin: Begin::At(Vector::default()),
            to: None,
            follow: false,
            gaps: Gaps::Raise,
            retry_for: Duration::from_secs(60),
            patience: Duration::from_secs(60),
        }
    }

    /// Where a consumer stands in the logs of a channel that has one for each region. A region in
    /// which it has no position is not in it.
    ///
    /// # Errors
    /// As [`Client::consumers`].
    pub async fn merged_position(
        &self,
        channel: &ChannelName,
        consumer: &ConsumerName,
    ) -> Result<Vector, RequestError> {
        let rows = self.consumers(channel).await?;
        let rows = rows.into_iter().filter(|row| row.consumer == *consumer);
        let parts = rows.filter_map(|row| {
            let region = RegionName::parse(row.channel.region()?).ok()?;
            Some((region, row.offset))
        });
        Ok(parts.collect())
    }

    /// Stores a consumer's position in the logs of a channel that has one for each region: in all of
    /// them or in none. Carried out twice is the same as once.
    ///
    /// # Errors
    /// As [`Client::commit`], with the number of the part as detail `part`.
    pub async fn commit_merged(
        &self,
        channel: &ChannelName,
        consumer: &ConsumerName,
        position: &Vector,
        metadata: &str,
    ) -> Result<(), RequestError> {
        if position.is_empty() {
            return Ok(());
        }
        let parts = position.parts().map(|(region, offset)| {
            AtomicPart::Commit(AtomicCommit {
                channel: channel.log_of(region),
                consumer: consumer.clone(),
                offset,
                expected_previous: ExpectedPosition::Any,
                metadata: metadata.to_owned(),
            })
        });
        self.publish_atomic(parts.collect(), true).await.map(drop)
    }
}

impl MergedBuilder {
    /// Begins at these offsets; in the log of a region that the vector does not name, at its start.
    #[must_use]
    pub fn from(mut self, vector: Vector) -> Self {
        self.begin = Begin::At(vector);
        self
    }

    /// Begins at the ends: only what is published from now on.
    #[must_use]
    pub fn from_end(mut self) -> Self {
        self.begin = Begin::End;
        self
    }

    /// Begins in each log at the first record that was appended at this time or later.
    #[must_use]
    pub fn from_time(mut self, time: Timestamp) -> Self {
        self.begin = Begin::Time(time);
        self
    }

    /// Begins where a consumer stands, in each log; where it has no position, at the log's start.
    #[must_use]
    pub fn from_consumer(mut self, consumer: ConsumerName) -> Self {
        self.begin = Begin::Consumer(consumer);
        self
    }

    /// Ends before these offsets; logs that the vector does not name are not read. What is not here
    /// yet is awaited.
    #[must_use]
    pub fn to(mut self, vector: Vector) -> Self {
        self.to = Some(vector);
        self
    }

    /// Goes on behind the ends with what comes, in order of arrival, instead of ending where the
    /// ends were at the start.
    #[must_use]
    pub fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// What to do where records of a log were lost; [`Gaps::Raise`] unless set.
    #[must_use]
    pub fn gaps(mut self, gaps: Gaps) -> Self {
        self.gaps = gaps;
        self
    }

    /// How long to go on trying while the broker does not answer; 60 s unless set.
    #[must_use]
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.retry_for = time;
        self
    }

    /// How long nothing may come of a log that has not got as far as asked for; 60 s unless set.
    #[must_use]
    pub fn patience(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// Asks which logs there are, has copies of them come here, and begins to read.
    ///
    /// # Errors
    /// [`MergedError::OneLog`], and [`MergedError::Request`]; of the broker's, `CHANNEL_NOT_FOUND`
    /// and `REGION_UNREACHABLE`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn build(self) -> Result<Merged, MergedError> {
        let from = match self.begin {
            Begin::End => Since::End,
            Begin::Time(time) => Since::Time(time),
            Begin::At(_) | Begin::Consumer(_) => Since::Start,
        };
        let asked = RegionLogs {
            channel: self.channel.clone(),
            read: true,
            from,
            after: None,
            wait_ms: 0,
        };
        let told = self.client.channel_logs(asked).await?;
        if told.regions.is_one() {
            let channel = self.channel;
            return Err(MergedError::OneLog { channel });
        }
        let start = self.start(&told.logs).await?;
        let is_live = self.follow && self.to.is_none();
        let to = match self.to.clone() {
            Some(to) => to,
            // What is yet to come here arrives later, where the reader stays.
            None => {
                let logs = told.logs.iter().filter(|log| log.held || !is_live);
                let ends = logs.map(|log| (log.region.clone(), log.high_watermark));
                ends.collect()
            }
        };
        let merge = Merge::between(start.clone(), to.clone());
        let mut merged = Merged {
            mode: Mode::Replay {
                merge,
                heads: BTreeMap::new(),
                readers: BTreeMap::new(),
            },
            live: is_live.then_some(told),
            options: self,
            is_done: false,
        };
        let mut readers = BTreeMap::new();
        for (region, end) in to.parts() {
            let part = start.part(region);
            if part.unwrap_or_default() < end {
                let reader = merged.reader(region, part);
                readers.insert(region.clone(), reader.to(end).build());
            }
        }
        if let Mode::Replay { readers: all, .. } = &mut merged.mode {
            *all = readers;
        }
        Ok(merged)
    }

    /// The vector to begin at.
    async fn start(&self, logs: &[LogRow]) -> Result<Vector, MergedError> {
        match &self.begin {
            Begin::At(vector) => Ok(vector.clone()),
            Begin::Consumer(consumer) => {
                let position = self.client.merged_position(&self.channel, consumer);
                Ok(position.await?)
            }
            Begin::End => {
                let ends = logs
                    .iter()
                    .map(|log| (log.region.clone(), log.high_watermark));
                Ok(ends.collect())
            }
            Begin::Time(time) => {
                let mut parts = Vec::with_capacity(logs.len());
                for log in logs {
                    let place = Place::Time(*time);
                    let resolved = self.client.resolve(&log.name, place).await?;
                    parts.push((log.region.clone(), resolved.offset));
                }
                Ok(parts.into_iter().collect())
            }
        }
    }
}

/// A record, and the region in whose log it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergedRecord {
    /// The region.
    pub region: RegionName,
    /// The record; its offset is that in the region's log.
    pub record: Record,
}

/// What [`Merged::next_item`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MergedItem {
    /// A record.
    Record(MergedRecord),
    /// In this place of a region's log, records were lost.
    Lost {
        /// The region.
        region: RegionName,
        /// They.
        lost: LostRecords,
    },
}

/// Reads the logs that regions have of a channel together: every record once, each log in its order.
///
/// - Up to the ends that were asked for, or that the logs have when it begins, in the one order: by
///   append time, then region name. Behind that, where it follows, in order of arrival.
/// - Its [`position`](Self::position) is a vector: all that another one needs to go on there, in this
///   region or another.
/// - **Cancel-safe**: dropping a future of it at any point loses and repeats nothing.
/// - After an error it ends.
///
/// ```no_run
/// use npayload::client::Client;
/// use npayload::types::ChannelName;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect("npayload://127.0.0.1:7400").await?;
/// let mut merged = client.merged(ChannelName::parse("ml.feedback")?).build().await?;
/// while let Some(record) = merged.next().await {
///     let record = record?;
///     println!("{} {}: {:?}", record.region, record.record.offset, record.record.payload);
/// }
/// println!("read up to {}", merged.position());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Merged {
    options: MergedBuilder,
    mode: Mode,
    /// What the broker told of the logs, where the reader is to go on behind their ends.
    live: Option<crate::protocol::logs::ChannelLogs>,
    is_done: bool,
}

#[derive(Debug)]
enum Mode {
    Replay {
        merge: Merge,
        /// Of each log the record that is read and not taken.
        heads: BTreeMap<RegionName, Record>,
        readers: BTreeMap<RegionName, Consumer>,
    },
    Live(Live),
}

impl Merged {
    /// The next record; `None` at the ends. Cancel-safe.
    ///
    /// # Errors
    /// [`MergedError`], and the reader has ended. Lost records are one, whatever
    /// [`MergedBuilder::gaps`] says.
    pub async fn next(&mut self) -> Option<Result<MergedRecord, MergedError>> {
        Some(match self.next_item().await? {
            Ok(MergedItem::Record(record)) => Ok(record),
            Ok(MergedItem::Lost { region, lost }) => {
                let source = Box::new(super::ConsumeError::Lost(Box::new(lost)));
                Err(MergedError::Log { region, source })
            }
            Err(error) => Err(error),
        })
    }

    /// The next record or, with [`Gaps::Yield`], what was lost in its place; `None` at the ends.
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`MergedError`], and the reader has ended.
    pub async fn next_item(&mut self) -> Option<Result<MergedItem, MergedError>> {
        if self.is_done {
            return None;
        }
        let item = self.step().await;
        self.is_done = !matches!(item, Some(Ok(_)));
        item
    }

    /// Where it is: in each log the next record that it will hand out.
    #[must_use]
    pub fn position(&self) -> &Vector {
        match &self.mode {
            Mode::Replay { merge, .. } => merge.position(),
            Mode::Live(live) => live.position(),
        }
    }

    /// Stores its position under a consumer's name, in all logs or in none.
    ///
    /// # Errors
    /// As [`Client::commit_merged`].
    pub async fn commit(
        &self,
        consumer: &ConsumerName,
        metadata: &str,
    ) -> Result<(), RequestError> {
        let MergedBuilder {
            client, channel, ..
        } = &self.options;
        client
            .commit_merged(channel, consumer, self.position(), metadata)
            .await
    }

    async fn step(&mut self) -> Option<Result<MergedItem, MergedError>> {
        if matches!(self.mode, Mode::Replay { .. }) {
            match self.replayed().await {
                Some(item) => return Some(item),
                None => self.go_live()?,
            }
        }
        let Self { options, mode, .. } = self;
        let Mode::Live(live) = mode else {
            return None;
        };
        let from_start = |region: &RegionName| reader(options, region, None).build();
        Some(std::future::poll_fn(|context| live.poll_item(context, from_start)).await)
    }

    /// The next of what is merged; `None` once all of it is taken.
    async fn replayed(&mut self) -> Option<Result<MergedItem, MergedError>> {
        let Self { options, mode, .. } = self;
        let Mode::Replay {
            merge,
            heads,
            readers,
        } = mode
        else {
            return None;
        };
        loop {
            let region = match merge.poll() {
                MergeStep::Done => return None,
                MergeStep::Take(region) => {
                    merge.handle_taken(&region);
                    let record = heads.remove(&region).expect("what is taken was read");
                    return Some(Ok(MergedItem::Record(MergedRecord { region, record })));
                }
                MergeStep::Read(region) => region,
            };
            let to = options.to.as_ref().map(|to| to.of(&region));
            let reader = readers.get_mut(&region).expect("one for each that is read");
            let next = reader.next_item();
            let item = match options.follow {
                true => next.await,
                false => match timeout(options.patience, next).await {
                    Ok(item) => item,
                    Err(_) => {
                        let at = merge.position().of(&region);
                        return Some(Err(MergedError::Behind {
                            at,
                            to: to.unwrap_or(at),
                            region,
                            waited_ms: u64::try_from(options.patience.as_millis())
                                .unwrap_or(u64::MAX),
                        }));
                    }
                },
            };
            let handled = match item {
                Some(Ok(Item::Record(record))) => {
                    let handled = merge.handle_next(&region, record.offset, record.append_time);
                    heads.insert(region, record);
                    handled
                }
                Some(Ok(Item::Lost(lost))) => match merge.handle_passed(&region, lost.end) {
                    Ok(()) => return Some(Ok(MergedItem::Lost { region, lost })),
                    refused => refused,
                },
                Some(Err(source)) => {
                    let source = Box::new(source);
                    return Some(Err(MergedError::Log { region, source }));
                }
                // The reader has come to the end that it was given.
                None => merge.handle_passed(&region, crate::types::Offset(u64::MAX)),
            };
            if let Err(error) = handled {
                return Some(Err(error.into()));
            }
        }
    }

    /// Goes on behind the ends with what comes; `None` where it was not to.
    fn go_live(&mut self) -> Option<()> {
        let told = self.live.take()?;
        let Mode::Replay { merge, readers, .. } = &mut self.mode else {
            return Some(());
        };
        let position = merge.position().clone();
        let read = std::mem::take(readers);
        let mut regions: Vec<RegionName> = told.logs.into_iter().map(|log| log.region).collect();
        regions.extend(position.parts().map(|(region, _)| region.clone()));
        regions.sort();
        regions.dedup();
        let on = regions.into_iter().map(|region| {
            let part = position.part(&region);
            let mut builder = self.reader(&region, part);
            // It knows which life of the log it has read.
            if let Some(before) = read.get(&region) {
                builder = builder.from_position(before.position());
            }
            (region, builder.build())
        });
        let on = on.collect();
        let MergedBuilder {
            client, channel, ..
        } = &self.options;
        let live = Live::new(client.clone(), channel.clone(), told.version, on, position);
        self.mode = Mode::Live(live);
        Some(())
    }

    fn reader(
        &self,
        region: &RegionName,
        from: Option<crate::types::Offset>,
    ) -> super::ConsumerBuilder {
        reader(&self.options, region, from)
    }
}

/// A reader of one region's log.
fn reader(
    options: &MergedBuilder,
    region: &RegionName,
    from: Option<crate::types::Offset>,
) -> super::ConsumerBuilder {
    let log = options.channel.log_of(region);
    let reader = options.client.consumer(log);
    let reader = match from {
        Some(offset) => reader.from_offset(offset),
        None => reader.from_start(),
    };
    reader
        .follow(true)
        .gaps(options.gaps)
        .retry_for(options.retry_for)
}
