//! A link to another region: one connection that is not made again. Whoever holds it begins anew with
//! another one when it is lost, since what is followed ends with it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::connection::{Call, CallError};
use super::error::RequestError;
use super::handle::{Client, ClientBuilder, Open};
use crate::protocol::region::LinkOpened;
use crate::protocol::{RegionRequest, RegionResponse, Request, Response};

/// How long a peer may take to answer who it is.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// A link. Its clones share one connection, which is closed with the last of them.
#[derive(Clone, Debug)]
pub struct Link {
    /// Keeps the connection open.
    _client: Client,
    open: Arc<Open>,
}

/// A request on a link, whose answer is still to come. Dropping it forgets the answer.
#[derive(Debug)]
pub struct LinkCall(Call);

impl LinkCall {
    /// Waits for the answer. Cancel-safe.
    ///
    /// # Errors
    /// [`RequestError`]: the link is lost, or the peer refuses.
    pub async fn answer(&mut self) -> Result<Response, RequestError> {
        match self.0.answer().await {
            Ok(Response::Error(error)) => Err(RequestError::Server(Box::new(error))),
            Ok(response) => Ok(response),
            Err(CallError::Lost(error)) => Err(RequestError::Interrupted(error)),
            Err(CallError::Answer(error)) => Err(RequestError::Answer(error)),
        }
    }
}

impl Link {
    /// Connects once, and makes the connection a link.
    ///
    /// - `open`: the request that says who links to whom.
    ///
    /// # Errors
    /// [`RequestError`]: nothing is there, it refuses the connection, or the link.
    pub async fn connect(
        builder: ClientBuilder,
        url: &str,
        open: RegionRequest,
    ) -> Result<(Self, LinkOpened), RequestError> {
        let client = builder.connect(url).await?;
        let link = Self {
            open: client.open(client.deadline()).await?,
            _client: client,
        };
        match link.ask(open, OPEN_TIMEOUT).await? {
            RegionResponse::LinkOpen(opened) => Ok((link, opened)),
            _ => Err(RequestError::Unexpected { kind: "link.open" }),
        }
    }

    /// Whether requests may still be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.connection.is_open()
    }

    /// Sends a request. The order of the calls is the order on the wire.
    #[must_use]
    pub fn send(&self, request: &Request) -> LinkCall {
        LinkCall(self.open.connection.send(request))
    }

    /// Sends a request with a JSON body, and waits for its answer.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn ask(
        &self,
        request: RegionRequest,
        limit: Duration,
    ) -> Result<RegionResponse, RequestError> {
        let kind = request.kind().name();
        let mut call = self.send(&Request::Region(Box::new(request)));
        match timeout(limit, call.answer()).await {
            Err(_) => Err(RequestError::Timeout { after: limit }),
            Ok(Ok(Response::Region(answer))) => Ok(*answer),
            Ok(Ok(_)) => Err(RequestError::Unexpected { kind }),
            Ok(Err(error)) => Err(error),
        }
    }
}
