//! The committer: one thread that puts whatever was staged behind one sync, round after round.

use std::sync::Arc;
use std::time::Duration;

use super::clock;
use super::shared::Shared;
use crate::broker::Stop;
use crate::storage::{Outcome, RoundEnd};

/// After this long without work the recovery point is written, so that it vouches for the last
/// group.
const IDLE: Duration = Duration::from_millis(10);

/// How long the committer waits before it tries a full disk again.
const FULL: Duration = Duration::from_millis(100);

/// How often a round is tried on a full disk while the server ends.
const LAST_TRIES: u32 = 10;

/// How long what was staged may wait for room in the journal while the server ends.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// Runs rounds until the server ends.
pub(super) fn run(shared: &Arc<Shared>) {
    // The round to run next, where it is known: one that found the disk full, or what was staged
    // while the last was under way.
    let mut next = None;
    let mut last_tries = 0;
    loop {
        let round = match next.take() {
            Some(round) => round,
            None => match next_round(shared) {
                Some(round) => round,
                None => return,
            },
        };
        let started = clock::instant();
        let end = round.run();
        let took = started.elapsed();
        let is_done = matches!(end, RoundEnd::Done(_));
        let mut broker = shared.broker();
        let result = broker.finish_round(end);
        if result.again.is_none() {
            // Under the same lock, which those who are woken want next.
            next = broker.plan_round(clock::now());
        }
        drop(broker);
        if is_done {
            shared.metrics.round(took);
        }
        for waiter in result.wake {
            waiter.wake();
        }
        if result.wants_upkeep {
            shared.wake_keeper();
        }
        if let Some(round) = result.again {
            // Writers are answered with a full disk meanwhile; the keeper may free space.
            shared.wake_keeper();
            if shared.is_ending() {
                last_tries += 1;
            }
            if last_tries > LAST_TRIES {
                // Nothing of the round was acknowledged.
                tracing::error!("the disk stayed full: what waited for space is given up");
                shared.broker().give_up();
                return;
            }
            std::thread::sleep(FULL);
            next = Some(round);
        }
    }
}

/// Waits for work; `None` when the server has ended.
fn next_round(shared: &Arc<Shared>) -> Option<Box<crate::storage::Round>> {
    let mut broker = shared.broker();
    let mut is_idle = false;
    let mut without_room = None;
    loop {
        if let Some(round) = broker.plan_round(clock::now()) {
            return Some(round);
        }
        if shared.is_ending() && broker.storage().has_round(clock::now()) {
            let since = *without_room.get_or_insert_with(clock::instant);
            if since.elapsed() > LAST_WAIT {
                // Nothing of it was acknowledged.
                tracing::error!("the journal has no room: what waited for it is given up");
                broker.give_up();
                return None;
            }
        }
        if broker.storage().has_upkeep() {
            // Journal space may have to be freed before there is a round.
            shared.wake_keeper();
        }
        if shared.is_ending() && broker.stop_state() != Stop::Waiting {
            return None;
        }
        if is_idle && let Some(job) = broker.plan_point() {
            drop(broker);
            let ended = job.run();
            broker = shared.broker();
            let failed = broker.finish_point(ended);
            if !failed.is_empty() {
                drop(broker);
                failed.iter().for_each(|waiter| waiter.wake());
                broker = shared.broker();
            }
            is_idle = false;
            continue;
        }
        // A `written` channel's sync falls due in between.
        let timeout = match (broker.plan_point().is_some(), broker.storage().sync_due()) {
            (true, _) => IDLE,
            (false, Some(due)) => {
                let ms = due.0.saturating_sub(clock::now().0).clamp(1, 1000);
                Duration::from_millis(u64::try_from(ms).unwrap_or(1))
            }
            (false, None) => Duration::from_millis(if shared.is_ending() { 5 } else { 500 }),
        };
        let (guard, waited) = shared
            .staged
            .wait_timeout(broker, timeout)
            .expect("a panic under the broker's lock ends the process");
        broker = guard;
        is_idle = waited.timed_out();
    }
}

/// Whether an outcome lets an answer go.
pub(super) fn is_over(outcome: &Outcome) -> bool {
    !matches!(outcome, Outcome::Pending)
}
