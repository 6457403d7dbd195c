//! The server without its sockets, threads and waiting: one request, one answer, from one thread
//! and over any disk. For tests that go through every door of the server step by step.

use std::path::Path;
use std::sync::Arc;

use super::access::{self, Caller};
use super::admission;
use super::clock;
use super::commit::is_over;
use super::dispatch::{self, Handled};
use super::metrics::Metrics;
use super::options::ServeOptions;
use super::shared::Shared;
use super::{answer, fetching};
use crate::access::Secret;
use crate::broker::{Broker, BrokerOpenError, Looked, Stop, Wait};
use crate::protocol::{ErrorCode, FetchResponse, Request, Response, WireError};
use crate::storage::disk::Disk;
use crate::storage::{Outcome, RoundEnd};

/// How often a round, or a piece of upkeep, is tried for one answer.
const TRIES: usize = 1000;

/// A broker that is asked one thing at a time.
pub struct Desk {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Desk {
    /// Opens the data directory `root` on `disk`; `options` say the rest, their directory and
    /// addresses are not looked at.
    ///
    /// - `random`: 64 random bits at each call.
    ///
    /// # Errors
    /// [`BrokerOpenError`]; nothing that was stored is lost by it.
    pub fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        options: ServeOptions,
        random: Box<dyn FnMut() -> u64 + Send>,
    ) -> Result<Self, BrokerOpenError> {
        let now = clock::now();
        let config = options.broker.clone();
        let broker = Broker::open(disk, root, config, "a desk", now, random)?;
        let shared = Arc::new(Shared::new(broker, options, Metrics::new(), now));
        Ok(Self { shared })
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Carries out a request of somebody who needs no key, and whatever its answer waits for. A
    /// fetch does not wait.
    #[must_use]
    pub fn ask(&self, request: Request) -> Response {
        self.ask_for(&Caller::LOCAL, request)
    }

    /// As [`Desk::ask`], for who shows a key, or none.
    #[must_use]
    pub fn ask_with(&self, key: Option<&Secret>, request: Request) -> Response {
        let caller = match key {
            Some(key) => access::caller_of(&self.shared, key),
            None => access::keyless(&self.shared),
        };
        match caller {
            Ok(caller) => self.ask_for(&caller, request),
            Err(error) => Response::Error(error),
        }
    }

    fn ask_for(&self, caller: &Caller, request: Request) -> Response {
        let mut response = self.carry_out(caller, request);
        admission::show(&self.shared, caller, &mut response);
        response
    }

    fn carry_out(&self, caller: &Caller, request: Request) -> Response {
        let mut handled = match request {
            Request::Hello(hello) => {
                return match dispatch::hello(&self.shared, &hello, None) {
                    Ok((hello, _)) => Response::Hello(hello),
                    Err(error) => Response::Error(error),
                };
            }
            request => dispatch::handle(&self.shared, caller, request),
        };
        for _ in 0..TRIES {
            handled = match handled {
                Handled::Answer(response, wait) => return self.due(*response, wait),
                // A desk has no links on which another region could say that it holds it.
                Handled::Held(response, wait, _) => return self.due(*response, Some(wait)),
                Handled::Read(request) => return self.read(caller, &request),
                Handled::ReadFor(caller, request) => {
                    let response = self.read(&caller, &request);
                    return super::region::told_region(&self.shared, response);
                }
                // A desk has no links to other regions.
                Handled::Forward(_) | Handled::Seek(_) | Handled::SeekFor(..) => {
                    let text = "the region where the channel lives can't be reached";
                    let error = WireError::new(ErrorCode::RegionUnreachable, text);
                    return Response::Error(error);
                }
                Handled::Busy(command) => {
                    self.rounds();
                    self.keep();
                    dispatch::carry_out(&mut self.shared.broker(), &self.shared, caller, command)
                }
            };
        }
        Response::Error(WireError::new(
            ErrorCode::Overloaded,
            "the broker's write buffers stayed full",
        ))
    }

    fn read(&self, caller: &Caller, request: &Request) -> Response {
        // A desk has no links to other regions.
        if let Request::FetchBeyond(request) = request {
            let fetch = Request::Fetch(request.fetch.clone());
            return match self.read(caller, &fetch) {
                Response::Fetch(fetched) => Response::FetchBeyond(fetched),
                other => other,
            };
        }
        if let Request::Fetch(request) = request {
            let mut fetch = fetching::fetch_of(request);
            return match fetching::run_here(&self.shared, &mut fetch) {
                Ok(fetched) => Response::Fetch(FetchResponse {
                    head: fetching::head(&fetched),
                    batches: fetched.slices.parts.concat().into(),
                }),
                Err(error) => Response::Error(answer::refused(&error)),
            };
        }
        match dispatch::read(&self.shared, caller, request) {
            Ok((response, wait)) => self.due(response, wait),
            Err(refusal) => {
                let error = Response::Error(answer::refused(&refusal.error));
                self.due(error, refusal.wait)
            }
        }
    }

    /// The answer, once its wait is over.
    fn due(&self, response: Response, wait: Option<Wait>) -> Response {
        let Some(wait) = wait else { return response };
        for _ in 0..TRIES {
            let outcome = self.shared.broker().outcome(wait);
            match outcome {
                Outcome::Failed(error) => {
                    return Response::Error(answer::never_acknowledged(&error));
                }
                outcome if is_over(&outcome) => return response,
                _ if self.rounds() => {}
                _ => self.keep(),
            }
        }
        let text = "the entry found no room in the journal";
        Response::Error(WireError::new(ErrorCode::Timeout, text))
    }

    /// Runs rounds while there are some; whether there was one.
    fn rounds(&self) -> bool {
        let mut has_run = false;
        for _ in 0..TRIES {
            let round = self.shared.broker().plan_round(clock::now());
            let Some(round) = round else { break };
            has_run = true;
            let end = round.run();
            let is_full = matches!(end, RoundEnd::Full(..));
            let result = self.shared.broker().finish_round(end);
            result.wake.into_iter().for_each(|waiter| waiter.wake());
            if is_full {
                break;
            }
        }
        has_run
    }

    /// Does the upkeep that is due.
    pub fn keep(&self) {
        for _ in 0..TRIES {
            let job = self.shared.broker().plan_upkeep(clock::now());
            let Some(job) = job else { break };
            let end = job.run();
            self.shared.broker().finish_upkeep(end, clock::now());
            self.rounds();
        }
        let point = self.shared.broker().plan_point();
        if let Some(point) = point {
            let ended = point.run();
            self.shared.broker().finish_point(ended);
        }
    }

    /// Applies retention to all channels, and does the upkeep that follows.
    pub fn retain(&self) {
        for _ in 0..TRIES {
            let looked = self.shared.broker().tick(clock::now());
            match looked {
                Looked::Unlisted(task) => {
                    let loaded = task.run();
                    // A channel that could not be listed is tried again at its next turn.
                    let _ = self.shared.broker().finish_load(loaded);
                }
                Looked::Part => {}
                Looked::All => break,
            }
        }
        self.rounds();
        self.keep();
    }

    /// Stops in order; whether the directory is marked clean.
    #[must_use]
    pub fn stop(self) -> bool {
        self.shared.broker().begin_stop();
        for _ in 0..TRIES {
            if self.shared.broker().stop_state() != Stop::Waiting {
                break;
            }
            self.rounds();
            self.keep();
        }
        self.shared.broker().stop_state() == Stop::Clean
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::broker::config::ChannelConfig;
    use crate::format::{BatchBuilder, Compression, NewRecord};
    use crate::protocol::{PublishRequest, PublishTarget};
    use crate::storage::disk::MemoryDisk;
    use crate::types::{ChannelName, Offset};

    const ROOT: &str = "/data";

    /// A desk whose channels keep no more than their last segment, which has room for a few records.
    pub fn with_short_retention() -> (Arc<dyn Disk>, Desk) {
        let mut options = ServeOptions {
            data_dir: ROOT.into(),
            ..ServeOptions::default()
        };
        options.broker.defaults = ChannelConfig {
            segment_bytes: 16 * 1024,
            retention_bytes: Some(1),
            ..ChannelConfig::default()
        };
        let storage = &mut options.broker.storage;
        storage.journal_file_bytes = 1 << 20;
        storage.max_round_bytes = 1 << 18;
        storage.write_behind_bytes = 512;
        storage.min_free_bytes = 0;
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        disk.create_dir(Path::new(ROOT)).unwrap();
        let desk = Desk::open(disk.clone(), Path::new(ROOT), options, random());
        (disk, desk.unwrap())
    }

    /// Numbers that come in order.
    pub fn random() -> Box<dyn FnMut() -> u64 + Send> {
        let mut last = 0;
        Box::new(move || {
            last += 1;
            last
        })
    }

    /// Publishes a record, of which a segment takes five.
    pub fn publish(desk: &Desk, channel: &ChannelName) {
        let record = NewRecord {
            payload: Some(&[7; 3_000]),
            ..NewRecord::default()
        };
        publish_record(desk, channel, &record);
    }

    /// Publishes a record, which has to be taken.
    pub fn publish_record(desk: &Desk, channel: &ChannelName, record: &NewRecord<'_>) {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.push(record).unwrap();
        let publish = PublishRequest {
            target: PublishTarget {
                channel: channel.clone(),
                incarnation: None,
                expected_offset: None,
            },
            batch: batch.build().unwrap(),
            asks: None,
        };
        let answer = desk.ask(Request::Publish(publish));
        assert!(matches!(answer, Response::Publish(_)), "{answer:?}");
    }

    pub fn log_start(desk: &Desk, channel: &ChannelName) -> Offset {
        let info = desk.shared.broker().channel_info(channel);
        info.unwrap().value.log_start
    }

    #[test]
    fn whoever_asks_for_retention_has_it_in_all_channels_each_time() {
        let (_, desk) = with_short_retention();
        // More than one look takes.
        let names = (0..70).map(|n| ChannelName::parse(&format!("events-{n}")).unwrap());
        let names: Vec<_> = names.collect();
        let mut before = vec![Offset(0); names.len()];
        for _ in 0..3 {
            for name in &names {
                (0..8).for_each(|_| publish(&desk, name));
            }
            desk.retain();
            let starts: Vec<_> = names.iter().map(|name| log_start(&desk, name)).collect();
            let mut both = before.iter().zip(&starts);
            assert!(both.all(|(before, now)| before < now), "{starts:?}");
            before = starts;
        }
    }
}
