//! What agents call.

use serde::Serialize;

use super::asp;
use super::pages::Pages;
use crate::asp::registry::AgentRef;
use crate::client::error::RequestError;
use crate::client::handle::{Client, Retry};
use crate::protocol::asp::{
    InvalidJson, JsonText, ToolFail, ToolFinish, ToolInfo, ToolList, ToolProgress, ToolRow,
    ToolStart, ToolStats, ToolStatsRow,
};
use crate::types::{CallId, SessionId};

/// What a call has failed with whose guard was dropped.
const DROPPED: &str = "dropped";

/// Requests about tool calls; [`Client::tools`].
///
/// ```no_run
/// use npayload::client::{Client, NewCall};
/// use npayload::types::AgentName;
/// use serde_json::json;
///
/// # async fn example(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
/// let agent = AgentName::parse("research-agent")?;
/// let call = NewCall::new("web-search", agent).arguments(&json!({"query": "prices"}))?;
/// let call = client.tools().call(call).await?;
/// let found = ["a page"]; // … search the web
/// call.finish(&found).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Tools {
    client: Client,
}

impl Tools {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Records that a tool is called, and gives the call to report its end with.
    ///
    /// # Errors
    /// As [`Tools::start`].
    pub async fn call(&self, call: NewCall) -> Result<ToolCall, RequestError> {
        let row = self.start(call.0).await?;
        Ok(ToolCall {
            tools: self.clone(),
            id: row.call_id,
            has_ended: false,
        })
    }

    /// Records that a tool is called. After a lost connection it is sent again with the same id.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CALL_ID_TAKEN`, `INVALID_CALL_ID`, `NOT_YOUR_AGENT`,
    /// `SESSION_NOT_FOUND`, `NOT_PARTICIPANT`, `INVALID_PAYLOAD`, `TOO_MANY_OPEN_CALLS` and
    /// `OUT_OF_LIMIT`.
    pub async fn start(&self, start: ToolStart) -> Result<ToolRow, RequestError> {
        asp!(&self.client, Retry::Safe, ToolStart(start))
    }

    /// Records how far a call is.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CALL_NOT_FOUND`, `CALL_ENDED` and `OUT_OF_LIMIT`.
    pub async fn progress(&self, progress: ToolProgress) -> Result<ToolRow, RequestError> {
        asp!(&self.client, Retry::Safe, ToolProgress(progress))
    }

    /// Records the result of a call.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CALL_NOT_FOUND`, `CALL_ENDED`, `INVALID_PAYLOAD` and
    /// `OUT_OF_LIMIT`.
    pub async fn finish(&self, finish: ToolFinish) -> Result<ToolRow, RequestError> {
        asp!(&self.client, Retry::Safe, ToolFinish(finish))
    }

    /// Records that a call has failed.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CALL_NOT_FOUND`, `CALL_ENDED` and `OUT_OF_LIMIT`.
    pub async fn fail(&self, fail: ToolFail) -> Result<ToolRow, RequestError> {
        asp!(&self.client, Retry::Safe, ToolFail(fail))
    }

    /// Tool calls, the newest first. Its `limit` is the size of a page, and its `cursor` where to
    /// begin.
    #[must_use]
    pub fn list(&self, list: ToolList) -> Pages<ToolList> {
        Pages::new(self.client.clone(), list)
    }

    /// A tool call.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CALL_NOT_FOUND`.
    pub async fn info(&self, call_id: CallId) -> Result<ToolRow, RequestError> {
        asp!(&self.client, Retry::Safe, ToolInfo(ToolInfo { call_id }))
    }

    /// Totals of one tool, or of all.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn stats(&self, tool: Option<String>) -> Result<Vec<ToolStatsRow>, RequestError> {
        let stats = ToolStats { tool };
        Ok(asp!(&self.client, Retry::Safe, ToolStats(stats))?.tools)
    }
}

/// A tool call before it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCall(ToolStart);

impl NewCall {
    /// A call of a tool by an agent.
    #[must_use]
    pub fn new(tool: impl Into<String>, agent: impl Into<AgentRef>) -> Self {
        Self(ToolStart {
            call_id: CallId(uuid::Uuid::now_v7().as_u128()),
            tool: tool.into(),
            agent: agent.into(),
            session_id: None,
            parent_call_id: None,
            arguments: None,
            arguments_sha256: None,
            sensitive: false,
            timeout_ms: None,
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> CallId {
        self.0.call_id
    }

    /// Says for which session.
    #[must_use]
    pub fn within(mut self, session: SessionId) -> Self {
        self.0.session_id = Some(session);
        self
    }

    /// Says of which other call it is a part.
    #[must_use]
    pub fn part_of(mut self, parent: CallId) -> Self {
        self.0.parent_call_id = Some(parent);
        self
    }

    /// Says what the tool gets.
    ///
    /// # Errors
    /// [`InvalidJson`] when the value cannot be written as JSON.
    pub fn arguments(mut self, value: &(impl Serialize + ?Sized)) -> Result<Self, InvalidJson> {
        self.0.arguments = Some(JsonText::of(value)?);
        Ok(self)
    }

    /// Has the broker keep only the SHA-256 of the arguments.
    #[must_use]
    pub fn sensitive(mut self) -> Self {
        self.0.sensitive = true;
        self
    }

    /// Says after how many milliseconds without an end it counts as abandoned; a day unless set.
    #[must_use]
    pub fn timeout_ms(mut self, ms: u64) -> Self {
        self.0.timeout_ms = Some(ms);
        self
    }

    /// The request.
    #[must_use]
    pub fn into_request(self) -> ToolStart {
        self.0
    }
}

/// A tool call that is under way; [`Tools::call`]. One that is dropped without an end is recorded
/// as failed, with the error type `dropped`, as far as the connection allows.
#[derive(Debug)]
pub struct ToolCall {
    tools: Tools,
    id: CallId,
    has_ended: bool,
}

impl ToolCall {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> CallId {
        self.id
    }

    /// Records how far it is.
    ///
    /// - `progress`: 0 to 1.
    ///
    /// # Errors
    /// As [`Tools::progress`].
    pub async fn progress(
        &self,
        progress: Option<f64>,
        message: Option<String>,
    ) -> Result<ToolRow, RequestError> {
        let call_id = self.id;
        let progress = ToolProgress {
            call_id,
            progress,
            message,
        };
        self.tools.progress(progress).await
    }

    /// Records its result.
    ///
    /// # Errors
    /// [`FinishError`]; the call is over then, too.
    pub async fn finish(self, result: &(impl Serialize + ?Sized)) -> Result<ToolRow, FinishError> {
        let result = JsonText::of(result)?;
        Ok(self.end(Some(result), false).await?)
    }

    /// Records its result, of which the broker keeps only the SHA-256.
    ///
    /// # Errors
    /// As [`ToolCall::finish`].
    pub async fn finish_sensitive(
        self,
        result: &(impl Serialize + ?Sized),
    ) -> Result<ToolRow, FinishError> {
        let result = JsonText::of(result)?;
        Ok(self.end(Some(result), true).await?)
    }

    async fn end(
        mut self,
        result: Option<JsonText>,
        sensitive: bool,
    ) -> Result<ToolRow, RequestError> {
        let finish = ToolFinish {
            call_id: self.id,
            result,
            result_sha256: None,
            sensitive,
        };
        let row = self.tools.finish(finish).await?;
        self.has_ended = true;
        Ok(row)
    }

    /// Records that it has failed.
    ///
    /// - `error_type`: one of few words, such as `timeout`.
    ///
    /// # Errors
    /// As [`Tools::fail`].
    pub async fn fail(
        mut self,
        error_type: impl Into<String>,
        message: Option<String>,
    ) -> Result<ToolRow, RequestError> {
        let fail = ToolFail {
            call_id: self.id,
            error_type: error_type.into(),
            message,
        };
        // The guard would say less than what was refused.
        self.has_ended = true;
        self.tools.fail(fail).await
    }
}

impl Drop for ToolCall {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (tools, call_id) = (self.tools.clone(), self.id);
        runtime.spawn(async move {
            let fail = ToolFail {
                call_id,
                error_type: DROPPED.to_owned(),
                message: None,
            };
            if let Err(error) = tools.fail(fail).await {
                tracing::warn!(call = %call_id, %error, "the end of a tool call is not recorded");
            }
        });
    }
}

/// Why the result of a call is not recorded.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FinishError {
    /// The result cannot be written as JSON.
    #[error(transparent)]
    Json(#[from] InvalidJson),
    /// The broker refused, or is not there.
    #[error(transparent)]
    Request(#[from] RequestError),
}
