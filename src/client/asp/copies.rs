//! What agents have said in other regions, as far as it is known in the one that is asked.

use super::asp;
use crate::client::error::RequestError;
use crate::client::handle::{Client, Retry};
use crate::protocol::asp::{CopiesRead, CopiesTold, CopyAsk};
use crate::types::RegionName;

/// Reads of copies; [`Client::copies`].
///
/// ```no_run
/// use npayload::client::Client;
/// use npayload::protocol::asp::{AgentSearch, CopyAsk};
/// use npayload::types::RegionName;
///
/// # async fn example(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
/// let region = RegionName::parse("us-east")?;
/// let ask = CopyAsk::AgentSearch(AgentSearch::default());
/// let told = client.copies().read(Some(region.clone()), ask).await?;
/// if let Some(up_to) = told.as_of.part(&region) {
///     println!("as of offset {} there", up_to.offset);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Copies {
    client: Client,
}

impl Copies {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// What agents of one's own organisation have said in a region, as far as it is known in the one
    /// that is asked, and up to when. Nothing waits for that region, but for the first such question:
    /// it has a copy begun, and is asked again until that is here.
    ///
    /// - `region`: without it each region of which something is known, or that of the session.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `COPY_NOT_HERE`, `COPY_NOT_OFFERED`, `NO_CONSENT`,
    /// `UNKNOWN_REGION`, `NOT_A_REGION`, and those of what is asked.
    pub async fn read(
        &self,
        region: Option<RegionName>,
        ask: CopyAsk,
    ) -> Result<CopiesTold, RequestError> {
        let read = CopiesRead { region, ask };
        asp!(&self.client, Retry::Safe, CopiesRead(read))
    }
}
