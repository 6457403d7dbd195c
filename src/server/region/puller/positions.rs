//! Positions of consumers that come with a log.

use std::sync::Arc;

use super::appending::room;
use super::{Copying, Ended};
use crate::broker::{Placed, Refusal, Wake};
use crate::server::clock;
use crate::server::shared::{Shared, TaskWake};

/// Places a consumer, once what it has read may be read here too. An inner error stops the copy.
pub(super) async fn place(
    shared: &Shared,
    copying: &Copying,
    placed: Placed,
) -> Result<Result<(), String>, Ended> {
    loop {
        let waiter = TaskWake::new();
        let refused = {
            let mut broker = shared.broker();
            let log = broker.storage().log(copying.id);
            let readable = log.map(|log| log.high_watermark());
            if placed.offset > readable {
                broker.wake_after_round(waiter.clone() as Arc<dyn Wake>);
                None
            } else {
                let (name, id) = (&copying.name, copying.id);
                let refused = broker.place_consumer(name, id, placed.clone(), clock::now());
                let Err(refusal) = refused else {
                    drop(broker);
                    shared.wake_committer();
                    return Ok(Ok(()));
                };
                if Refusal::is_busy(&refusal) {
                    broker.wake_after_round(waiter.clone() as Arc<dyn Wake>);
                }
                Some(refusal)
            }
        };
        shared.wake_committer();
        match refused {
            Some(refusal) => {
                if let Err(text) = room(shared, &waiter, &refusal.error).await? {
                    return Ok(Err(text));
                }
            }
            None => {
                tokio::select! {
                    () = waiter.0.notified() => {}
                    () = tokio::time::sleep(std::time::Duration::from_millis(50)) => {}
                    () = shared.stop.cancelled() => return Err(super::ended("the server ends")),
                }
            }
        }
    }
}
