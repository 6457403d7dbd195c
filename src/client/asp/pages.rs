//! Answers that come page by page.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::{ask, unexpected};
use crate::client::error::RequestError;
use crate::client::handle::{Client, Retry};
use crate::protocol::asp::{
    AgentRow, AgentSearch, CommitmentList, CommitmentRow, DisputeList, DisputeRow, EscrowEntry,
    EscrowLedger, ListingRow, MarketSearch, MarketSubscriptions, SessionList, SessionRow,
    SubscriptionRow, ToolList, ToolRow,
};
use crate::protocol::{AspRequest, AspResponse};

/// A request whose answer comes page by page: [`AgentSearch`], [`SessionList`], [`ToolList`],
/// [`CommitmentList`], [`DisputeList`], [`EscrowLedger`], [`MarketSearch`], [`MarketSubscriptions`].
pub trait Paged: Clone + sealed::Sealed {
    /// What a page has many of.
    type Row: fmt::Debug;

    /// The request for the page at that cursor.
    #[doc(hidden)]
    fn at(&self, cursor: Option<String>) -> AspRequest;

    /// Where the first page begins.
    #[doc(hidden)]
    fn cursor(&self) -> Option<String>;

    /// The rows, and the cursor of the next page; `None` for another answer.
    #[doc(hidden)]
    fn rows(answer: AspResponse) -> Option<(Vec<Self::Row>, Option<String>)>;
}

mod sealed {
    /// Nothing else comes page by page.
    pub trait Sealed {}
}

macro_rules! paged {
    ($request:ident, $kind:ident, $rows:ident: $row:ident) => {
        impl sealed::Sealed for $request {}

        impl Paged for $request {
            type Row = $row;

            fn at(&self, cursor: Option<String>) -> AspRequest {
                AspRequest::$kind(Self {
                    cursor,
                    ..self.clone()
                })
            }

            fn cursor(&self) -> Option<String> {
                self.cursor.clone()
            }

            fn rows(answer: AspResponse) -> Option<(Vec<$row>, Option<String>)> {
                match answer {
                    AspResponse::$kind(page) => Some((page.$rows, page.cursor)),
                    _ => None,
                }
            }
        }
    };
}

paged!(AgentSearch, AgentSearch, agents: AgentRow);
paged!(SessionList, SessionList, sessions: SessionRow);
paged!(ToolList, ToolList, calls: ToolRow);
paged!(CommitmentList, CommitmentList, commitments: CommitmentRow);
paged!(DisputeList, DisputeList, disputes: DisputeRow);
paged!(EscrowLedger, EscrowLedger, entries: EscrowEntry);
paged!(MarketSearch, MarketSearch, listings: ListingRow);
paged!(MarketSubscriptions, MarketSubscriptions, subscriptions: SubscriptionRow);

/// Rows that are fetched page by page, as they are taken.
#[derive(Debug)]
pub struct Pages<Q: Paged> {
    client: Client,
    query: Q,
    rows: VecDeque<Q::Row>,
    /// Where the next page begins; none once the last one came.
    next: Option<Option<String>>,
}

impl<Q: Paged> Pages<Q> {
    pub(super) fn new(client: Client, query: Q) -> Self {
        Self {
            client,
            next: Some(query.cursor()),
            query,
            rows: VecDeque::new(),
        }
    }

    /// The next row; `None` behind the last. After an error it can be asked again.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `INVALID_CURSOR`, `OUT_OF_LIMIT` and those of the request.
    pub async fn next(&mut self) -> Option<Result<Q::Row, RequestError>> {
        loop {
            if let Some(row) = self.rows.pop_front() {
                return Some(Ok(row));
            }
            let cursor = self.next.clone()?;
            let request = self.query.at(cursor);
            let kind = request.kind();
            let answer = ask(&self.client, request, Retry::Safe, Duration::ZERO).await;
            let page = answer.and_then(|answer| Q::rows(answer).ok_or_else(|| unexpected(kind)));
            match page {
                Ok((rows, cursor)) => {
                    self.rows = rows.into();
                    self.next = cursor.map(Some);
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// All rows that are left.
    ///
    /// # Errors
    /// As [`Pages::next`].
    pub async fn all(mut self) -> Result<Vec<Q::Row>, RequestError> {
        let mut all = Vec::new();
        while let Some(row) = self.next().await {
            all.push(row?);
        }
        Ok(all)
    }
}
