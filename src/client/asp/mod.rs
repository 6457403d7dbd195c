//! Agents, their sessions, their tool calls and what they promise as typed methods of the client.
//!
//! - [`Agents`]: who there is, and what they can do.
//! - [`Sessions`]: what they say to each other; [`Tail`] and [`Inbox`] wait for more of it.
//! - [`Tools`]: what they call; a [`ToolCall`] reports its end even where it is forgotten.
//! - [`Commitments`] and [`Disputes`]: what they promise each other, and that it was not kept.
//! - [`Trust`]: how far they are trusted; [`Escrow`]: money behind promises.
//! - [`Market`]: what organisations list, and who subscribes to it.
//! - [`Copies`]: what they have said in other regions, as far as it is known.
//! - [`Pages`]: the answers of a search, page by page.
//!
//! All need a key whose scopes hold `asp`, or a broker that asks for none.

mod agents;
mod commitments;
mod copies;
mod disputes;
mod escrow;
mod inbox;
mod market;
mod message;
mod pages;
mod sessions;
mod signing;
mod tail;
mod tools;
mod trust;

pub use agents::Agents;
pub use commitments::Commitments;
pub use copies::Copies;
pub use disputes::Disputes;
pub use escrow::Escrow;
pub use inbox::Inbox;
pub use market::Market;
pub use message::NewMessage;
pub use pages::{Paged, Pages};
pub use sessions::Sessions;
pub use tail::{Tail, TailError};
pub use tools::{FinishError, NewCall, ToolCall, Tools};
pub use trust::Trust;

use super::error::RequestError;
use super::handle::{Client, Retry};
use crate::protocol::{AspRequest, AspResponse, Kind, Request, Response};

/// Takes the answer of the right kind out of a response.
macro_rules! asp {
    ($client:expr, $retry:expr, $kind:ident($body:expr)) => {
        match super::ask(
            $client,
            crate::protocol::AspRequest::$kind($body),
            $retry,
            std::time::Duration::ZERO,
        )
        .await?
        {
            crate::protocol::AspResponse::$kind(answer) => Ok(answer),
            _ => Err(super::unexpected(crate::protocol::Kind::$kind)),
        }
    };
}
use asp;

impl Client {
    /// Agents: registering them, and finding those that can do something.
    #[must_use]
    pub fn agents(&self) -> Agents {
        Agents::new(self.clone())
    }

    /// Sessions of agents, and what is said in them.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        Sessions::new(self.clone())
    }

    /// Tool calls of agents.
    #[must_use]
    pub fn tools(&self) -> Tools {
        Tools::new(self.clone())
    }

    /// What agents promise each other.
    #[must_use]
    pub fn commitments(&self) -> Commitments {
        Commitments::new(self.clone())
    }

    /// Disputes about what was promised.
    #[must_use]
    pub fn disputes(&self) -> Disputes {
        Disputes::new(self.clone())
    }

    /// How far agents are trusted.
    #[must_use]
    pub fn trust(&self) -> Trust {
        Trust::new(self.clone())
    }

    /// Money that is held behind promises.
    #[must_use]
    pub fn escrow(&self) -> Escrow {
        Escrow::new(self.clone())
    }

    /// What agents have said in other regions, as far as it is known in the one that is asked.
    #[must_use]
    pub fn copies(&self) -> Copies {
        Copies::new(self.clone())
    }

    /// The market: what organisations list, and who subscribes to it.
    #[must_use]
    pub fn market(&self) -> Market {
        Market::new(self.clone())
    }
}

/// How often an id that somebody else has used is replaced by a new one.
const FRESH_IDS: u32 = 3;

/// A new UUID of version 7 for what follows from something, and lives where that does: it ends as that
/// one's id, so that it names its region (docs/regions.md, "Agents").
fn new_id_beside(id: u128) -> u128 {
    let last = u128::from(u16::MAX);
    uuid::Uuid::now_v7().as_u128() & !last | id & last
}

/// Asks, and takes an answer of the family.
///
/// - `wait`: how long the broker may wait before it answers, on top of what any request may take.
async fn ask(
    client: &Client,
    request: AspRequest,
    retry: Retry,
    wait: std::time::Duration,
) -> Result<AspResponse, RequestError> {
    let kind = request.kind();
    let request = Request::Asp(Box::new(request));
    let deadline = client.deadline() + wait;
    match client.call_until(&request, retry, deadline).await?.0 {
        Response::Asp(answer) => Ok(*answer),
        _ => Err(unexpected(kind)),
    }
}

fn unexpected(kind: Kind) -> RequestError {
    RequestError::Unexpected { kind: kind.name() }
}
