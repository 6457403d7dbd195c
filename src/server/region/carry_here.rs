//! What waits in an outbox whose channel lives here by now, because its home was moved here: it is
//! appended here.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::courier::Courier;
use crate::access::Principal;
use crate::broker::{BrokerError, Residence, Wait, Wake};
use crate::protocol::{ErrorCode, Request, Response, WireError};
use crate::server::access::Caller;
use crate::server::commit::is_over;
use crate::server::dispatch::{self, Handled};
use crate::server::shared::TaskWake;
use crate::server::{answer, clock};
use crate::storage::Outcome;
use crate::types::{OrgId, OrgName, PrincipalId};

/// Bytes that are read at once.
const READ_BYTES: u64 = 1 << 20;
/// How long room in the broker's buffers is waited for.
const BUSY: Duration = Duration::from_secs(20);

impl Courier {
    /// Whether the channel lives here.
    pub(super) fn lives_here(&self) -> bool {
        let home = self.shared.broker().residence(&self.outbox.channel);
        home == Residence::Home(self.outbox.incarnation)
    }

    /// Appends what waits to the channel, as far as one read goes and nothing stands in the way.
    pub(super) async fn empty_here(&mut self) -> Result<(), BrokerError> {
        for batch in self.read(READ_BYTES).await? {
            let (header, request) = self.request_of(batch)?;
            if !self.may_send() || !self.may_follow(&header) {
                break;
            }
            let by = self.asker(header.principal());
            match self.publish_here(header.principal(), request).await {
                Response::Error(error) => self.kept_was_answered(&header, &by, error),
                _ => self.arrived(&header),
            }
        }
        Ok(())
    }

    /// Publishes for who has written a batch, and waits until it is durable.
    async fn publish_here(&self, principal: u32, request: Request) -> Response {
        let org = self.outbox.channel.org();
        let caller = Caller {
            principal: Principal {
                id: PrincipalId(principal),
                org: OrgId::DEFAULT,
                key: None,
            },
            org: org.and_then(|org| OrgName::parse(org).ok()),
            peer: None,
        };
        let since = clock::instant();
        let mut handled = dispatch::handle_here(&self.shared, &caller, request);
        loop {
            handled = match handled {
                Handled::Answer(response, None) => return *response,
                Handled::Answer(response, Some(wait)) => {
                    return self
                        .durable(wait)
                        .await
                        .map_or_else(Response::Error, |()| *response);
                }
                // The regions that are to hold it are for who publishes to wait for.
                Handled::Held(response, wait, _) => Handled::Answer(response, Some(wait)),
                Handled::Busy(command) if since.elapsed() < BUSY => {
                    self.after_round().await;
                    let broker = &mut self.shared.broker();
                    dispatch::carry_out(broker, &self.shared, &caller, command)
                }
                _ => {
                    let text = "the broker's write buffers stayed full";
                    return Response::Error(WireError::new(ErrorCode::Overloaded, text));
                }
            };
        }
    }

    async fn durable(&self, wait: Wait) -> Result<(), WireError> {
        loop {
            let outcome = self.shared.broker().outcome(wait);
            match outcome {
                Outcome::Failed(error) => return Err(answer::never_acknowledged(&error)),
                outcome if is_over(&outcome) => return Ok(()),
                _ => self.after_round().await,
            }
        }
    }

    /// Waits for the end of a round.
    async fn after_round(&self) {
        let waiter = TaskWake::new();
        let as_wake: Arc<dyn Wake> = waiter.clone();
        self.shared.broker().wake_after_round(as_wake);
        self.shared.wake_committer();
        // It may have ended before the waiter was known.
        let _ = timeout(Duration::from_millis(50), waiter.0.notified()).await;
    }
}
