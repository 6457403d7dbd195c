//! The whole state as records, for snapshots.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::listing::{Listing, Rating, Subscription};
use super::market::Market;
use super::metering::Use;
use super::record::MarketRecord;
use crate::asp::shared;
use crate::folding::{self, MAX_PART_BYTES};
use crate::types::{ListingId, OrgId, Timestamp};

/// One row of the whole state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MarketRow {
    /// Time of the last record.
    At(Timestamp),
    /// A listing.
    Listing(#[serde(with = "shared")] Arc<Listing>),
    /// What an organisation says of a listing.
    Rating(ListingId, OrgId, Rating),
    /// A subscription.
    Subscription(#[serde(with = "shared")] Arc<Subscription>),
    /// A session that is not metered.
    Use(Use),
}

impl Market {
    /// The whole state as records. Applied in order, to any state that stands between two entries,
    /// they give a state identical to this one.
    #[must_use]
    pub fn fold(&self) -> Vec<MarketRecord> {
        self.fold_in_parts(MAX_PART_BYTES)
    }

    pub(super) fn fold_in_parts(&self, max_part_bytes: usize) -> Vec<MarketRecord> {
        folding::split(self.rows(), max_part_bytes)
            .into_iter()
            .map(MarketRecord::Folded)
            .collect()
    }

    fn rows(&self) -> impl Iterator<Item = MarketRow> {
        use MarketRow as Row;
        let listings = self.listings.values().cloned().map(Row::Listing);
        let subscriptions = self.subscriptions.values().cloned().map(Row::Subscription);
        let ratings = self.ratings.iter();
        let ratings =
            ratings.map(|((listing, org), rating)| Row::Rating(*listing, *org, rating.clone()));
        let uses = self.uses.values().cloned().map(Row::Use);
        std::iter::once(Row::At(self.at))
            .chain(listings)
            .chain(subscriptions)
            .chain(ratings)
            .chain(uses)
    }

    pub(super) fn from_rows(
        rows: &mut dyn Iterator<Item = &MarketRow>,
    ) -> Result<Self, &'static str> {
        let mut state = Self::default();
        for row in rows {
            let is_new = match row {
                MarketRow::At(at) => {
                    state.at = *at;
                    true
                }
                MarketRow::Listing(listing) => state.put_listing(Arc::clone(listing)).is_none(),
                MarketRow::Rating(listing, org, rating) => {
                    let rating = rating.clone();
                    state.ratings.insert((*listing, *org), rating).is_none()
                }
                MarketRow::Subscription(subscription) => {
                    state.put_subscription(Arc::clone(subscription)).is_none()
                }
                MarketRow::Use(of) => state.put_use(of.clone()).is_none(),
            };
            if !is_new {
                return Err("something stands in it twice");
            }
        }
        Ok(state)
    }
}
