//! The scrubber's thread: checks what is stored, piece after piece, as the rate allows.
//!
//! A thread of its own, because a failing disk may take seconds for a read, and the keeper's
//! checkpoints must not wait for that.

use std::sync::Arc;
use std::time::Duration;

use super::clock;
use super::shared::Shared;

/// How often it looks whether a pass is due.
const LOOK: Duration = Duration::from_secs(1);

/// Runs until the server ends.
pub(super) fn run(shared: &Arc<Shared>) {
    while !shared.is_ending() {
        let job = shared.broker().plan_scrub(clock::now());
        if let Some(job) = job {
            let end = job.run();
            shared.broker().finish_scrub(end, clock::now());
        }
        let due = shared.broker().storage().scrub_due();
        wait(shared, due.map_or(LOOK, clock::until).min(LOOK));
    }
}

fn wait(shared: &Shared, timeout: Duration) {
    let (is_wanted, signal) = &shared.scrub;
    let mut guard = is_wanted.lock().expect("never held across a panic");
    if !*guard {
        guard = signal
            .wait_timeout(guard, timeout)
            .expect("never held across a panic")
            .0;
    }
    *guard = false;
}
