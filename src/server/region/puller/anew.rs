//! Topics of a peer whose copies here are damaged, or of the region before it was begun anew.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Session;
use crate::protocol::region::LinkLog;
use crate::server::clock;
use crate::server::region::directory::settled;

/// How long the removal of a copy may take that is brought anew.
const REMOVED: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(10);

impl Session<'_> {
    /// Has the copy of a topic that is damaged removed, as the peer is there to say all of it again. It
    /// is followed under the same identity once nothing is left of the one before.
    ///
    /// # Errors
    /// Why it is not followed now.
    pub(super) async fn bring_anew(&self, log: &LinkLog) -> Result<(), String> {
        let begun = {
            let mut broker = self.shared.broker();
            broker.check_life(&log.name, log.incarnation)?;
            let begun = broker.begin_anew(&log.name, clock::now());
            begun.map_err(|refusal| refusal.error.to_string())?
        };
        let Some(begun) = begun else {
            return Ok(());
        };
        let removed = settled(self.shared, begun.wait).await;
        removed.map_err(|error| error.message)?;
        let limit = Instant::from_std(clock::instant()) + REMOVED;
        while self.shared.broker().storage().log(begun.value).is_some() {
            if Instant::from_std(clock::instant()) >= limit {
                return Err("what was damaged is not removed yet".to_owned());
            }
            sleep(LOOK).await;
        }
        Ok(())
    }
}
