//! `--region` and `--any-region`: what agents have said in other regions, as far as it is known in the
//! one that is asked, with up to when that is.

use clap::Args;

use super::failure::Failure;
use super::serve::region_name;
use super::{Context, agent, output, session, session_tail, trust};
use crate::protocol::asp::{CopiesTold, CopyAnswer, CopyAsk, CopyPart};
use crate::region::UpTo;
use crate::types::RegionName;

/// Whether copies are asked, and of which region.
#[derive(Clone, Debug, Args)]
pub struct Elsewhere {
    /// What that region has said, as far as it is known here, and up to when; nothing waits for it
    #[arg(long, value_name = "NAME", value_parser = region_name)]
    region: Option<RegionName>,
    /// The same of each region of which something is known here
    #[arg(long, conflicts_with = "region")]
    any_region: bool,
}

impl Elsewhere {
    /// Whether copies are asked, and not the region that answers as ever.
    pub fn is_asked(&self) -> bool {
        self.any_region || self.region.is_some()
    }

    /// Asks, and prints what was told.
    ///
    /// # Errors
    /// When the broker refuses or is not there.
    pub async fn tell(&self, ask: CopyAsk, what: &str, context: &Context) -> Result<(), Failure> {
        let told = self.ask(ask, what, context).await?;
        if context.json {
            return output::print_json(&told);
        }
        for (at, part) in told.parts.iter().enumerate() {
            if at > 0 {
                output::print("")?;
            }
            print(&told, part, context)?;
        }
        Ok(())
    }

    /// Asks copies.
    ///
    /// # Errors
    /// When the broker refuses or is not there.
    pub async fn ask(
        &self,
        ask: CopyAsk,
        what: &str,
        context: &Context,
    ) -> Result<CopiesTold, Failure> {
        let copies = context.client().await?.copies();
        let told = copies.read(self.region.clone(), ask).await;
        told.map_err(|error| Failure::request(what, &error, None))
    }
}

fn print(told: &CopiesTold, part: &CopyPart, context: &Context) -> Result<(), Failure> {
    let region = &part.region;
    let up_to = told.as_of.part(region);
    output::print(&match up_to {
        Some(up_to) => format!("{region}, {}", shown(up_to)),
        None => region.to_string(),
    })?;
    if let Some(error) = &part.error {
        return output::print(&format!("{}: {}", error.name, error.message));
    }
    match &part.answer {
        Some(CopyAnswer::AgentInfo(found)) => agent::show(found, false, context),
        Some(CopyAnswer::AgentSearch(page)) => {
            agent::table(&page.agents, "no agents")?;
            match page.cursor {
                Some(_) => output::print("there are more: raise --max"),
                None => Ok(()),
            }
        }
        Some(CopyAnswer::TrustScore(row)) => trust::show(row),
        Some(CopyAnswer::TrustExplain(told)) => trust::explain(told),
        Some(CopyAnswer::SessionInfo(row)) => session::show(row, context),
        Some(CopyAnswer::SessionHistory(page)) => {
            let mut records = page.records.iter();
            records.try_for_each(|record| session_tail::print_copied(&record.record))
        }
        None => Ok(()),
    }
}

/// Up to where something is known, in words.
fn shown(up_to: UpTo) -> String {
    let offset = output::count(up_to.offset.0);
    match up_to.time {
        Some(time) => format!("as of offset {offset}, {}", output::time(time)),
        None => format!("as of offset {offset}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Offset, Timestamp};

    #[test]
    fn it_is_said_up_to_when() {
        let up_to = |time| UpTo {
            offset: Offset(1_234),
            time,
        };
        assert_eq!(
            shown(up_to(Some(Timestamp(0)))),
            format!(
                "as of offset {}, 1970-01-01T00:00:00.000Z",
                output::count(1_234)
            )
        );
        assert_eq!(
            shown(up_to(None)),
            format!("as of offset {}", output::count(1_234))
        );
    }
}
