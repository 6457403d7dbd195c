//! What `src/server` does with requests, from one thread: what is taken when, what an answer waits
//! for, when a fetch wakes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use npayload::broker::{
    Accepted, Broker, BrokerError, CheckedBatch, CreateOutcome, Fetch, FetchJob, FetchStep,
    Fetched, JobEnd, Refusal, Target, Wait, Wake,
};
use npayload::format::check_produced;
use npayload::storage::Outcome;
use npayload::types::{Durability, Incarnation, Timestamp};

use super::check::Promise;
use super::history::{Fact, History, Move};
use super::request::{Batch, FetchAsk, Reply, Request, class};
use super::trace::anomaly;

/// A waiter of the broker's.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Flag {
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// An answer that waits for a round.
struct Pending {
    correlation: u64,
    reply: Reply,
    wait: Wait,
    promises: Vec<Promise>,
}

/// A command that found the buffers full, and everything behind it.
struct Stalled {
    correlation: u64,
    request: Request,
    tries: u32,
}

struct Task {
    correlation: u64,
    ask: FetchAsk,
    fetch: Fetch,
    state: TaskState,
    is_over: bool,
}

enum TaskState {
    Step,
    Job(FetchJob),
    End(JobEnd),
    Waiting(Arc<Flag>, Incarnation, u64),
}

/// The server's end of one connection.
#[derive(Default)]
pub struct Session {
    pending: VecDeque<Pending>,
    stalled: Option<Stalled>,
    waker: Arc<Flag>,
    is_registered: bool,
    tasks: Vec<Task>,
    /// Answers on their way out.
    pub out: Vec<(u64, Reply)>,
}

/// A busy command is refused after this many tries.
const BUSY_TRIES: u32 = 60;

/// What a call needs of the world.
pub struct Call<'a> {
    pub broker: &'a mut Broker,
    pub history: &'a mut History,
    pub now: i64,
    pub step: u64,
    pub auto_create: bool,
}

enum Handled {
    Answer(Reply, Option<Wait>, Vec<Promise>),
    Busy,
}

impl Session {
    /// Whether nothing waits here.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.stalled.is_none() && self.tasks.is_empty()
    }

    pub fn is_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    pub fn is_woken(&self) -> bool {
        self.waker.is_set()
    }

    /// Takes one request.
    pub fn take(&mut self, call: &mut Call<'_>, correlation: u64, request: Request) {
        if let Request::Fetch(ask) = request {
            let fetch = Fetch::new(
                ask.channel.clone(),
                ask.incarnation,
                ask.from,
                ask.last_epoch,
                ask.max_bytes,
            )
            .for_socket();
            self.tasks.push(Task {
                correlation,
                ask,
                fetch,
                state: TaskState::Step,
                is_over: false,
            });
            return;
        }
        match handle(call, &request) {
            Handled::Answer(reply, wait, promises) => {
                self.handled(call, correlation, reply, wait, promises);
            }
            Handled::Busy => {
                self.stalled = Some(Stalled {
                    correlation,
                    request,
                    tries: 0,
                });
            }
        }
        self.settle(call);
    }

    fn handled(
        &mut self,
        call: &mut Call<'_>,
        correlation: u64,
        reply: Reply,
        wait: Option<Wait>,
        promises: Vec<Promise>,
    ) {
        match wait {
            Some(wait) if wait.entry.0 > 0 => self.pending.push_back(Pending {
                correlation,
                reply,
                wait,
                promises,
            }),
            _ => self.answer(call, correlation, reply, promises),
        }
    }

    /// The answer leaves the broker: what it tells is promised.
    fn answer(
        &mut self,
        call: &mut Call<'_>,
        correlation: u64,
        reply: Reply,
        promises: Vec<Promise>,
    ) {
        if let Reply::Refused(BrokerError::Bug(text)) = &reply {
            anomaly!("bug", "{text}");
        }
        for promise in promises {
            let log = call.broker.storage().log(promise.id);
            // What a failed segment took back is promised to nobody.
            if promise.is_rest && log.is_some_and(|log| log.refused().is_some()) {
                continue;
            }
            call.history.promise(promise.id, promise.end, promise.level);
        }
        self.out.push((correlation, reply));
    }

    /// Tries again what found the buffers full, and sends the answers whose wait is over.
    pub fn settle(&mut self, call: &mut Call<'_>) {
        if self.waker.take() {
            self.is_registered = false;
        }
        if let Some(mut stalled) = self.stalled.take() {
            match handle(call, &stalled.request) {
                Handled::Answer(reply, wait, promises) => {
                    self.handled(call, stalled.correlation, reply, wait, promises);
                }
                Handled::Busy if stalled.tries >= BUSY_TRIES => {
                    self.answer(call, stalled.correlation, Reply::Overloaded, Vec::new());
                }
                Handled::Busy => {
                    stalled.tries += 1;
                    self.stalled = Some(stalled);
                }
            }
        }
        for pending in std::mem::take(&mut self.pending) {
            match call.broker.outcome(pending.wait) {
                Outcome::Pending => self.pending.push_back(pending),
                Outcome::Done => {
                    self.answer(call, pending.correlation, pending.reply, pending.promises);
                }
                Outcome::Failed(error) => {
                    let reply = Reply::NeverAcknowledged(error);
                    self.answer(call, pending.correlation, reply, Vec::new());
                }
            }
        }
        let is_waiting = !self.pending.is_empty() || self.stalled.is_some();
        if is_waiting && !self.is_registered {
            self.is_registered = true;
            call.broker.wake_after_round(self.waker.clone());
        }
    }

    pub fn task_count(&self) -> u64 {
        self.tasks.len() as u64
    }

    /// One step of a fetch; its disk work is a step of its own.
    pub fn step_task(&mut self, call: &mut Call<'_>, at: u64) {
        let at = usize::try_from(at).unwrap();
        let Some(task) = self.tasks.get_mut(at) else {
            return;
        };
        match std::mem::replace(&mut task.state, TaskState::Step) {
            TaskState::Job(job) => {
                if matches!(job, FetchJob::Unseal(_)) {
                    call.history.trace.count("event: batches decrypted");
                }
                task.state = TaskState::End(job.run());
            }
            TaskState::End(end) => {
                let fed = call.broker.feed_fetch(&mut task.fetch, end);
                if let Err(error) = fed {
                    self.end_task(call, at, Err(error));
                }
            }
            TaskState::Waiting(flag, log, until) => {
                if !flag.is_set() && call.step < until {
                    task.state = TaskState::Waiting(flag, log, until);
                    return;
                }
                task.is_over = !flag.is_set();
                let waiter: Arc<dyn Wake> = flag;
                call.broker.forget_waiter(log, &waiter);
            }
            TaskState::Step => match call.broker.fetch_step(&mut task.fetch) {
                Ok(FetchStep::Run(job)) => task.state = TaskState::Job(job),
                Ok(FetchStep::Done(fetched)) => {
                    let is_enough = task.ask.max_wait == 0
                        || fetched.slices.bytes > 0
                        || fetched.slices.next < fetched.head.high_watermark;
                    if is_enough || task.is_over {
                        self.end_task(call, at, Ok(fetched));
                        return;
                    }
                    let flag = Arc::new(Flag::default());
                    let id = fetched.head.incarnation;
                    call.broker.wake_on_append(id, flag.clone());
                    // The log may have grown before the waiter was known.
                    let log = call.broker.storage().log(id);
                    if log.is_none_or(|log| log.high_watermark() > fetched.head.high_watermark) {
                        flag.wake();
                    }
                    task.state = TaskState::Waiting(flag, id, call.step + task.ask.max_wait);
                }
                Err(error) => self.end_task(call, at, Err(error)),
            },
        }
    }

    fn end_task(&mut self, call: &mut Call<'_>, at: usize, end: Result<Fetched, BrokerError>) {
        let task = self.tasks.remove(at);
        match end {
            Ok(fetched) => {
                let reply = check_fetched(call, &task.ask, &fetched);
                self.answer(call, task.correlation, reply, Vec::new());
            }
            Err(error) => {
                check_fetch_error(call, &task.ask, &error);
                self.answer(call, task.correlation, Reply::Refused(error), Vec::new());
            }
        }
    }

    /// Ends the waiting fetches, as a stop does.
    pub fn stop_tasks(&mut self, call: &mut Call<'_>) {
        for task in std::mem::take(&mut self.tasks) {
            self.answer(call, task.correlation, Reply::ShuttingDown, Vec::new());
        }
    }
}

/// What a reader of a log is shown: everything below survives what the channel survives.
fn show(call: &mut Call<'_>, id: Incarnation, high_watermark: u64) {
    let flushed = call
        .broker
        .storage()
        .log(id)
        .map_or(0, |log| log.flushed().0);
    let Some(log) = call.history.logs.get(&id) else {
        return;
    };
    let is_synced = log.config.durability == Durability::Synced && high_watermark > log.shown;
    if is_synced && high_watermark > flushed {
        anomaly!(
            "dirty-read",
            "{}: readable up to {high_watermark}, flushed up to {flushed}",
            log.name
        );
    }
    let level = if is_synced {
        Durability::Synced
    } else {
        Durability::Written
    };
    call.history.promise(id, high_watermark, level);
}

fn check_fetched(call: &mut Call<'_>, ask: &FetchAsk, fetched: &Fetched) -> Reply {
    let head = fetched.head;
    let (id, from, high) = (head.incarnation, head.from.0, head.high_watermark.0);
    let got = call
        .history
        .check_read(id, from, high, &fetched.slices.parts);
    if got.is_empty() && from < high {
        anomaly!(
            "poll-skip",
            "{}: nothing from {from} on, readable up to {high}",
            ask.channel
        );
    }
    let next = got.last().map_or(from, |batch| batch.end);
    if fetched.slices.next.0 != next {
        anomaly!(
            "poll-skip",
            "{}: goes on at {}, not {next}",
            ask.channel,
            fetched.slices.next
        );
    }
    if let Some(seen) = ask
        .seen
        .filter(|_| from > head.log_start.0 && ask.last_epoch.0 > 0)
    {
        let known = call.history.logs[&id].batch_of(from - 1);
        if known.is_none_or(|known| known.uid != seen) {
            anomaly!(
                "inconsistent-offset",
                "{}: the record before {from} was of batch {seen}, now of {:?}",
                ask.channel,
                known.map(|known| known.uid)
            );
        }
    }
    show(call, id, high);
    Reply::Fetched(head, got)
}

fn check_fetch_error(call: &mut Call<'_>, ask: &FetchAsk, error: &BrokerError) {
    let history = &call.history;
    let log = history.log_named(&ask.channel).map(|(_, log)| log);
    let is_true = match class(error) {
        "no such channel" => log.is_none(),
        "recreated" => log.is_some(),
        // Which offset was asked for is known only here.
        "out of range" => match (log, ask.from) {
            (Some(log), npayload::broker::FetchFrom::Offset(offset)) => {
                let found = call.broker.storage().log(history.names[&ask.channel]);
                let high = found.map_or(0, |log| log.high_watermark().0);
                offset.0 < log.start.max(found.map_or(0, |log| log.log_start().0))
                    || offset.0 > high
            }
            (Some(_), _) => true, // trimmed while the fetch was under way
            (None, _) => true,
        },
        "diverged" => match (log, ask.from, ask.seen) {
            (Some(log), npayload::broker::FetchFrom::Offset(offset), Some(seen)) => {
                let known = log.batch_of(offset.0.saturating_sub(1));
                known.is_none_or(|known| known.uid != seen)
            }
            _ => true,
        },
        "read failed" | "read" => true,
        "damaged" => log.is_some_and(|log| log.is_damaged),
        _ => false,
    };
    if !is_true {
        anomaly!("wrong-answer", "fetch {ask:?}: {error}");
    }
}

fn handle(call: &mut Call<'_>, request: &Request) -> Handled {
    let (broker, history) = (&mut *call.broker, &mut *call.history);
    let now = Timestamp(call.now);
    let (reply, wait, promises) = match request {
        Request::Publish(target, batch) => {
            let mut checked = match check_door(broker, target, batch) {
                Ok(checked) => Some(checked),
                Err(error) => return Handled::Answer(Reply::Refused(error), None, Vec::new()),
            };
            let result = broker.publish(target, &mut checked, now);
            let promises =
                history.check_publish(broker, call.auto_create, (target, batch), &result);
            split(result, Reply::Published, promises)
        }
        Request::Atomic(batches, commits) => {
            let checked: Result<Vec<_>, _> = batches
                .iter()
                .map(|(target, batch)| Ok((target.clone(), check_door(broker, target, batch)?)))
                .collect();
            let mut checked = match checked {
                Ok(checked) => checked,
                Err(error) => return Handled::Answer(Reply::Refused(error), None, Vec::new()),
            };
            let result = broker.publish_atomic(&mut checked, commits, now);
            let promises =
                history.check_atomic(broker, call.auto_create, (batches, commits), &result);
            split(result, Reply::Atomic, promises)
        }
        Request::Commit(commit) => {
            let result = broker.commit(commit, now);
            let promises = history.check_commit(broker, commit, &result);
            split(result, Reply::Committed, promises)
        }
        Request::Create(name, change) => {
            let result = broker.create_channel(name.clone(), change, true, now);
            let is_new = !history.names.contains_key(name);
            let mut facts = Vec::new();
            match &result {
                Ok(accepted) if (accepted.value == CreateOutcome::Created) == is_new => {
                    if is_new {
                        let info = broker.channel_info(name).unwrap().value;
                        facts.push(Fact::Created(info.name, info.incarnation, info.config));
                    }
                }
                Err(refusal) if is_stage(broker, refusal) => {}
                other => anomaly!("wrong-answer", "create {name}: {other:?}"),
            }
            history.observe(broker, facts, Vec::new());
            let promises = history.topic_promise(result.is_ok(), history.directory.id);
            split(result, Reply::Created, promises)
        }
        Request::Update(name, change) => {
            let result = broker.update_channel(name, change, now);
            let known = history.names.get(name).copied();
            let mut facts = Vec::new();
            match (&result, known) {
                (Ok(_), Some(id)) => {
                    let config = broker.channel_info(name).unwrap().value.config;
                    let high = broker
                        .storage()
                        .log(id)
                        .map_or(0, |log| log.high_watermark().0);
                    if let Some(log) = history.logs.get_mut(&id) {
                        if Ok(&config) != change.apply(&log.config).as_ref() {
                            anomaly!("wrong-answer", "update {name}: {config:?}");
                        }
                        log.shown = high;
                    }
                    facts.push(Fact::Updated(id, config));
                }
                (Err(refusal), None) if class(&refusal.error) == "no such channel" => {}
                (Err(refusal), _) if is_stage(broker, refusal) => {}
                other => anomaly!("wrong-answer", "update {name}: {other:?}"),
            }
            history.observe(broker, facts, Vec::new());
            let mut promises = history.topic_promise(result.is_ok(), history.directory.id);
            if let (Ok(_), Some(id)) = (&result, known)
                && history.logs[&id].config.durability == Durability::Synced
            {
                // A change to `synced` syncs all that the channel holds.
                promises.push(Promise {
                    id,
                    end: history.end_of(id),
                    level: Durability::Synced,
                    is_rest: true,
                });
            }
            split(result, |()| Reply::Done, promises)
        }
        Request::Delete(name, incarnation) => {
            let result = broker.delete_channel(name, *incarnation, now);
            let (mut facts, mut moves) = (Vec::new(), Vec::new());
            match (&result, history.names.get(name).copied()) {
                (Ok(accepted), Some(id)) if accepted.value == id => {
                    facts.push(Fact::Deleted(id));
                    if history.positions.keys().any(|(channel, _)| *channel == id) {
                        moves.push(Move::Dropped(id));
                    }
                }
                (Err(refusal), None) if class(&refusal.error) == "no such channel" => {}
                (Err(refusal), Some(id))
                    if class(&refusal.error) == "recreated"
                        && incarnation.is_some_and(|wanted| wanted != id) => {}
                (Err(refusal), _) if is_stage(broker, refusal) => {}
                other => anomaly!("wrong-answer", "delete {name}: {other:?}"),
            }
            history.observe(broker, facts, moves);
            let promises = history.topic_promise(result.is_ok(), history.directory.id);
            split(result, |_| Reply::Deleted, promises)
        }
        Request::Info(name) => {
            let first = broker.channel_info(name);
            let Ok(first) = first else {
                if history.names.contains_key(name) {
                    anomaly!("lost-channel", "{name} has no info");
                }
                let error = first.map(|_| ()).unwrap_err();
                return Handled::Answer(Reply::Refused(error), None, Vec::new());
            };
            let id = first.value.incarnation;
            if let Some(task) = broker.plan_load(id) {
                let loaded = task.run();
                if let Err(error) = broker.finish_load(loaded) {
                    return Handled::Answer(Reply::Refused(error), None, Vec::new());
                }
            }
            let accepted = broker.channel_info(name).unwrap();
            let high = accepted.value.high_watermark.0;
            let promises = history.topic_promise(true, history.directory.id);
            show(call, id, high);
            let reply = Reply::Info;
            (reply, Some(accepted.wait), promises)
        }
        Request::Position(name, consumer) => {
            let result = broker.position(name, consumer);
            let id = history.names.get(name).copied();
            let at = id.and_then(|id| history.positions.get(&(id, consumer.clone())).copied());
            match (&result, id, at) {
                (Ok(accepted), Some(_), Some(at)) if accepted.value.position.offset.0 == at => {}
                (Err(BrokerError::NoSuchConsumer { .. }), Some(_), None)
                | (Err(BrokerError::NoSuchChannel { .. }), None, _) => {}
                other => anomaly!("lost-commit", "position of {consumer} on {name}: {other:?}"),
            }
            let promises = history.topic_promise(result.is_ok(), history.consumers.id);
            let tell = |info: npayload::broker::ConsumerInfo| {
                Reply::Position(info.position, info.incarnation)
            };
            split(result.map_err(Refusal::from), tell, promises)
        }
        Request::Reset(name, consumer, offset) => {
            let id = history.names.get(name).copied();
            let log = id.and_then(|id| broker.storage().log(id));
            let range = log.map(|log| log.log_start()..=log.high_watermark());
            let result = broker.reset(name, consumer.clone(), *offset, now);
            let mut moves = Vec::new();
            match (&result, id) {
                (Ok(_), Some(id)) if range.as_ref().is_some_and(|range| range.contains(offset)) => {
                    moves.push(Move::Placed(id, consumer.clone(), offset.0));
                }
                (Err(refusal), None) if class(&refusal.error) == "no such channel" => {}
                (Err(refusal), Some(_))
                    if class(&refusal.error) == "reset"
                        && range.as_ref().is_some_and(|range| !range.contains(offset)) => {}
                (Err(refusal), _) if is_stage(broker, refusal) => {}
                other => anomaly!("wrong-answer", "reset {consumer} to {offset}: {other:?}"),
            }
            history.observe(broker, Vec::new(), moves);
            let promises = history.topic_promise(result.is_ok(), history.consumers.id);
            split(result, |_| Reply::Done, promises)
        }
        Request::Forget(name, consumer) => {
            let id = history.names.get(name).copied();
            let known = id.map(|id| (id, consumer.clone()));
            let is_known = known
                .as_ref()
                .is_some_and(|key| history.positions.contains_key(key));
            let result = broker.delete_consumer(name, consumer.clone(), now);
            let mut moves = Vec::new();
            match (&result, known) {
                (Ok(_), Some((id, consumer))) if is_known => {
                    moves.push(Move::Forgotten(id, consumer));
                }
                (Err(refusal), None) if class(&refusal.error) == "no such channel" => {}
                (Err(refusal), Some(_)) if class(&refusal.error) == "forget" && !is_known => {}
                (Err(refusal), _) if is_stage(broker, refusal) => {}
                other => anomaly!("wrong-answer", "forget {consumer}: {other:?}"),
            }
            history.observe(broker, Vec::new(), moves);
            let promises = history.topic_promise(result.is_ok(), history.consumers.id);
            split(result, |()| Reply::Done, promises)
        }
        Request::Fetch(_) => anomaly!("bug", "a fetch is a task"),
    };
    match &reply {
        Reply::Refused(error) if class(error) == "busy" => Handled::Busy,
        _ => Handled::Answer(reply, wait, promises),
    }
}

/// Whether the broker's state is reason enough to refuse what an internal topic must record.
fn is_stage(broker: &Broker, refusal: &Refusal) -> bool {
    let storage = broker.storage();
    match class(&refusal.error) {
        "busy" => true,
        "disk full" => storage.is_disk_full(),
        "journal failed" => storage.journal_failure().is_some(),
        "channel failed" => {
            let listed = broker.list_channels("__", true, None, 10).value;
            listed.iter().any(|info| info.refused.is_some())
        }
        _ => false,
    }
}

fn split<T>(
    result: Result<Accepted<T>, Refusal>,
    tell: impl FnOnce(T) -> Reply,
    promises: Vec<Promise>,
) -> (Reply, Option<Wait>, Vec<Promise>) {
    match result {
        Ok(accepted) => (tell(accepted.value), Some(accepted.wait), promises),
        Err(refusal) => (Reply::Refused(refusal.error), refusal.wait, promises),
    }
}

fn check_door(
    broker: &Broker,
    target: &Target,
    batch: &Arc<Batch>,
) -> Result<CheckedBatch, BrokerError> {
    let limits = broker.door(&target.channel)?;
    let bytes = batch.bytes.clone();
    let header = check_produced(&bytes, &limits).expect("a producer's batch is in order");
    Ok(CheckedBatch { header, bytes })
}
