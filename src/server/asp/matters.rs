//! Whether something that follows from a session is here: held in memory, or filed on the disk.

use std::collections::BTreeSet;

use super::super::shared::Shared;
use super::reader::Reader;
use super::{filed, tools};
use crate::asp::Matter;
use crate::asp::tool::Filed;
use crate::broker::BrokerError;
use crate::broker::asp::Named;
use crate::types::OrgName;

/// Something that is here.
pub(in crate::server) struct HeldMatter {
    /// Who promised, or made the call; not told of what is filed.
    pub agents: Vec<Named>,
    /// Who filed it, where it is a dispute; not told of what is filed.
    pub filers: Vec<Named>,
    /// Which organisations have a part in it; not told of what is filed.
    pub orgs: Option<BTreeSet<OrgName>>,
}

/// Looks for something, whoever may see it: on a thread that may wait for the disk.
///
/// # Errors
/// A record that can't be read.
pub(in crate::server) fn find_matter(
    shared: &Shared,
    matter: Matter,
) -> Result<Option<HeldMatter>, BrokerError> {
    let topics = {
        let broker = shared.broker();
        if let Some(held) = broker.held_matter(matter) {
            return Ok(Some(HeldMatter {
                agents: held.agents,
                filers: held.filers,
                orgs: Some(held.orgs),
            }));
        }
        broker.matter_files(matter)
    };
    for (channel, files) in topics {
        let is_filed = match matter {
            Matter::Call(call) => {
                let found = tools::search(shared, call, channel, &files)?;
                matches!(found, Filed::Found(_))
            }
            Matter::Commitment(id) => {
                let mut reader = Reader::new(shared, channel);
                filed::find(&mut reader, &files, |filed| filed.commitment(id))?.is_some()
            }
            Matter::Dispute(id) => {
                let mut reader = Reader::new(shared, channel);
                filed::find(&mut reader, &files, |filed| filed.dispute(id))?.is_some()
            }
        };
        if is_filed {
            return Ok(Some(HeldMatter {
                agents: Vec::new(),
                filers: Vec::new(),
                orgs: None,
            }));
        }
    }
    Ok(None)
}
