//! Commands that need no I/O, carried out under the broker's lock.

use super::health::broker_info;
use super::{Answered, Command, Handled};
use crate::broker::{Accepted, Broker, BrokerError, CommitRequest, Refusal, Wait};
use crate::protocol::{CommitResponse, Kind, PublishAtomicResponse, Request, Response, control};
use crate::server::access::Caller;
use crate::server::auditing::Draft;
use crate::server::shared::Shared;
use crate::server::{answer, clock, region};
use crate::types::{ChannelName, Timestamp};

/// Carries out a command that needs no I/O; a busy broker gives it back.
pub(in crate::server) fn carry_out(
    broker: &mut Broker,
    shared: &Shared,
    caller: &Caller,
    command: Command,
) -> Handled {
    let at = clock::now();
    match command {
        Command::Publish(target, mut batch, asks) => {
            let bytes = batch.as_ref().map_or(0, |batch| batch.bytes.len() as u64);
            let makes = broker.identity_of(&target.channel).is_none();
            let act = makes.then(|| Draft::of_making(Kind::Publish, &[&target.channel]));
            let published = acting(broker, caller, act, |broker| {
                broker.publish(&target, &mut batch, at)
            });
            match published {
                Ok(accepted) => {
                    if accepted.value.is_duplicate {
                        shared.metrics.duplicates.increment(1);
                    } else {
                        shared.metrics.published_batches.increment(1);
                        shared.metrics.published_bytes.increment(bytes);
                    }
                    let published = answer::published(&accepted.value);
                    let response = match asks {
                        None => Response::Publish(published),
                        Some(_) => Response::PublishAt(
                            published,
                            region::whereabouts(shared, &[accepted.value]),
                        ),
                    };
                    let wanted = region::held_wait(shared, broker, &[accepted.value], asks);
                    answer_once_held(response, accepted.wait, wanted)
                }
                Err(refusal) if refusal.is_busy() => {
                    Handled::Busy(Command::Publish(target, batch, asks))
                }
                Err(refusal) => refused(&refusal),
            }
        }
        Command::Atomic(mut atomic) => {
            let made = atomic.batches.iter().map(|(target, _)| &target.channel);
            let made = made.filter(|channel| broker.identity_of(channel).is_none());
            let mut made: Vec<&ChannelName> = made.collect();
            made.sort_unstable();
            made.dedup();
            let act = (!made.is_empty()).then(|| Draft::of_making(Kind::PublishAtomic, &made));
            let published = acting(broker, caller, act, |broker| {
                broker.publish_atomic(&mut atomic.batches, &atomic.commits, at)
            });
            match published {
                Ok(Accepted { value, wait }) => {
                    let published = value.published.iter().map(answer::published).collect();
                    let response = PublishAtomicResponse {
                        published,
                        committed: value.committed,
                    };
                    let response = match atomic.asks {
                        None => Response::PublishAtomic(response),
                        Some(_) => Response::PublishAtomicAt(
                            response,
                            region::whereabouts(shared, &value.published),
                        ),
                    };
                    let asks = atomic.asks;
                    let wanted = region::held_wait(shared, broker, &value.published, asks);
                    answer_once_held(response, wait, wanted)
                }
                Err(refusal) if refusal.is_busy() => Handled::Busy(Command::Atomic(atomic)),
                Err(refusal) => {
                    let mut error = answer::refused(&refusal.error);
                    if let Some(at) = refusal.part.and_then(|part| atomic.place(part)) {
                        error = error.with("part", at as u64);
                    }
                    Handled::Answer(Box::new(Response::Error(error)), refusal.wait)
                }
            }
        }
        Command::Forwarded(caller, command) => {
            let handled = carry_out(broker, shared, &caller, *command);
            region::for_another(shared, &caller, handled)
        }
        Command::Send(send) => match send.take(broker, caller) {
            Ok(Accepted { value, wait }) => accepted_answer(Response::Asp(Box::new(value)), wait),
            Err(refusal) if refusal.is_busy() => Handled::Busy(Command::Send(send)),
            Err(refusal) => refused(&refusal),
        },
        Command::Other(request) => match other(broker, shared, caller, &request, at) {
            Ok((response, wait)) => Handled::Answer(Box::new(response), wait),
            Err(refusal) if refusal.is_busy() => Handled::Busy(Command::Other(request)),
            Err(refusal) => {
                let error = answer::refused(&refusal.error);
                Draft::of(&request).refused(broker, caller, &error);
                Handled::Answer(Box::new(Response::Error(error)), refusal.wait)
            }
        },
    }
}

/// Carries out a command, as an act of the caller's where it is one.
fn acting<T>(
    broker: &mut Broker,
    caller: &Caller,
    act: Option<Draft>,
    command: impl FnOnce(&mut Broker) -> T,
) -> T {
    match act {
        Some(act) => broker.acting(act.done_by(caller), command),
        None => command(broker),
    }
}

/// An answer that may have to wait for other regions too.
fn answer_once_held(
    response: Response,
    wait: Wait,
    wanted: Option<Box<region::HeldWait>>,
) -> Handled {
    match wanted {
        None => accepted_answer(response, wait),
        Some(wanted) => Handled::Held(Box::new(response), wait, wanted),
    }
}

fn accepted_answer(response: Response, wait: Wait) -> Handled {
    Handled::Answer(Box::new(response), Some(wait))
}

fn refused(refusal: &Refusal) -> Handled {
    let response = Response::Error(answer::refused(&refusal.error));
    Handled::Answer(Box::new(response), refusal.wait)
}

fn other(
    broker: &mut Broker,
    shared: &Shared,
    caller: &Caller,
    request: &Request,
    at: Timestamp,
) -> Answered {
    let act = || Draft::of(request).done_by(caller);
    match request {
        Request::Commit(commit) => {
            let accepted = broker.commit(
                &CommitRequest {
                    channel: commit.channel.clone(),
                    incarnation: commit.incarnation,
                    consumer: commit.consumer.clone(),
                    offset: commit.offset,
                    log_epoch: commit.log_epoch,
                    expected: answer::expected(commit.expected_previous),
                    metadata: commit.metadata.clone(),
                },
                at,
            )?;
            let response = CommitResponse {
                offset: accepted.value,
            };
            Ok((Response::Commit(response), Some(accepted.wait)))
        }
        Request::ChannelDelete(delete) => {
            let accepted = broker.acting(act(), |broker| {
                broker.delete_channel(&delete.name, delete.incarnation, at)
            })?;
            let name = delete.name.clone();
            let response = control::ChannelDeleted {
                name,
                incarnation: accepted.value,
            };
            Ok((Response::ChannelDelete(response), Some(accepted.wait)))
        }
        Request::ConsumerDelete(target) => {
            let (channel, consumer) = (&target.channel, target.consumer.clone());
            let accepted = broker.delete_consumer(channel, consumer, at)?;
            let channel = target.channel.clone();
            let response = control::ConsumerDeleted {
                channel,
                consumer: target.consumer.clone(),
            };
            Ok((Response::ConsumerDelete(response), Some(accepted.wait)))
        }
        Request::BrokerInfo(_) => Ok((Response::BrokerInfo(broker_info(shared, broker)), None)),
        Request::BrokerScrub(_) => {
            let response = Response::BrokerScrub(answer::scrub(broker, &shared.options.data_dir));
            // What was answered is on the record.
            let wait = broker.audit(act(), at);
            broker.want_scrub();
            shared.wake_scrubber();
            Ok((response, wait))
        }
        _ => Err(BrokerError::Bug("a request without a handler".into()).into()),
    }
}
