//! Finding listings.

use std::cmp::Reverse;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::check::Asker;
use super::content::{Content, Visibility, check_label};
use super::error::MarketError;
use super::listing::Listing;
use super::market::Market;
use super::pricing::{Charge, Pricing, PricingType};
use super::table::{ListingState, named};
use crate::asp::TrustScore;
use crate::asp::commitment::{wide, within};
use crate::asp::escrow::Currency;
use crate::types::{AgentName, ListingId, OrgId};

/// Most listings of a page.
pub const MAX_MARKET_PAGE: usize = 100;
/// Longest text of a search, in bytes.
pub const MAX_MARKET_TEXT_BYTES: usize = 1024;
/// Most tags, and most capabilities, of a search.
pub const MAX_SEARCH_LABELS: usize = 64;

named! {
    /// In what order a search answers.
    #[derive(Default)]
    MarketSort {
        /// Where the words stand: title, then labels, then description; the newest where none are
        /// given.
        #[default]
        Relevance = "relevance",
        /// The most trusted first.
        Trust = "trust",
        /// The best rated first, and of those the most rated.
        Rating = "rating",
        /// The cheapest first, by currency; those paid by the month last, unless only they are
        /// wanted.
        Price = "price",
        /// The last published first.
        Newest = "newest",
    }
}

/// What is looked for. The default finds all that are published and public.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarketQuery {
    /// Words that must all stand in title, labels or description, whatever the case.
    pub text: Option<String>,
    /// The category.
    pub category: Option<String>,
    /// Tags that it has, all of them.
    pub tags: Vec<String>,
    /// Capabilities that it has, all of them.
    pub capabilities: Vec<AgentName>,
    /// Least trust.
    pub min_trust: Option<TrustScore>,
    /// Most that it may cost; other currencies are left out, but not what is free, and listings
    /// that are paid by the month unless only those are wanted.
    pub max_price: Option<Charge>,
    /// Kind of its price.
    pub pricing: Option<PricingType>,
    /// Whose it is.
    pub org: Option<OrgId>,
    /// Only of organisations that an operator verified, or only of others.
    pub verified: Option<bool>,
    /// The asker's own, in every state.
    pub own: bool,
    /// Those that wait for review, for an operator.
    pub in_review: bool,
    /// In what order.
    pub sort: MarketSort,
    /// Where the page before ended.
    pub after: Option<MarketCursor>,
}

/// A place in a sorted answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MarketCursor {
    first: u64,
    currency: Option<Currency>,
    second: u64,
    /// The newest first.
    id: Reverse<ListingId>,
}

/// A page of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarketPage {
    /// The listings.
    pub listings: Vec<Arc<Listing>>,
    /// Where the next page begins; none when this is the last.
    pub next: Option<MarketCursor>,
}

/// What a search asks of others than the market.
pub trait MarketFacts {
    /// How far a listing is trusted: the least of its agents.
    fn trust(&self, listing: &Listing) -> TrustScore;

    /// Whether an operator verified an organisation.
    fn is_verified(&self, org: OrgId) -> bool;
}

impl MarketQuery {
    /// Checks what somebody wants to look for.
    ///
    /// # Errors
    /// [`MarketError`] for the first member that breaks a rule.
    pub fn check(&self) -> Result<(), MarketError> {
        let bytes = self.text.as_ref().map_or(0, String::len);
        within("text bytes", wide(bytes), 0, wide(MAX_MARKET_TEXT_BYTES))?;
        let most = wide(MAX_SEARCH_LABELS);
        within("tags", wide(self.tags.len()), 0, most)?;
        within("capabilities", wide(self.capabilities.len()), 0, most)?;
        if let Some(category) = &self.category {
            check_label("category", category)?;
        }
        self.tags
            .iter()
            .try_for_each(|tag| check_label("tags", tag))
    }
}

impl Market {
    /// A page of the listings that a query finds, for somebody who asks.
    ///
    /// - `limit`: listings of the page, 1 to [`MAX_MARKET_PAGE`].
    ///
    /// # Errors
    /// [`MarketError`] for a query or a page that breaks a rule.
    pub fn search(
        &self,
        asker: &Asker,
        query: &MarketQuery,
        facts: &dyn MarketFacts,
        limit: usize,
    ) -> Result<MarketPage, MarketError> {
        query.check()?;
        within("limit", wide(limit), 1, wide(MAX_MARKET_PAGE))?;
        let words = query.text.as_deref().unwrap_or_default().to_lowercase();
        let words: Vec<&str> = words.split_whitespace().collect();
        let mut found = Vec::new();
        for listing in self.listings.values() {
            let Some(content) = shown(asker, query, listing) else {
                continue;
            };
            if !fits(query, listing, content) {
                continue;
            }
            if query
                .verified
                .is_some_and(|wanted| facts.is_verified(listing.org) != wanted)
            {
                continue;
            }
            let Some(relevance) = relevance(content, &words) else {
                continue;
            };
            // Trust is asked for last, and only where it matters.
            let needs_trust = query.min_trust.is_some() || query.sort == MarketSort::Trust;
            let trust = needs_trust.then(|| facts.trust(listing));
            if query.min_trust > trust {
                continue;
            }
            let place = place(query, listing, content, relevance, trust);
            if query.after.is_none_or(|after| place > after) {
                found.push((place, listing));
            }
        }
        let is_last = found.len() <= limit;
        if !is_last {
            found.select_nth_unstable_by_key(limit, |(place, _)| *place);
            found.truncate(limit);
        }
        found.sort_unstable_by_key(|(place, _)| *place);
        let next = found.last().map(|(place, _)| *place).filter(|_| !is_last);
        Ok(MarketPage {
            listings: found.into_iter().map(|(_, one)| Arc::clone(one)).collect(),
            next,
        })
    }
}

/// The content by which a listing is to be found; none where the search is not for it.
fn shown<'a>(asker: &Asker, query: &MarketQuery, listing: &'a Listing) -> Option<&'a Content> {
    let is_own = listing.org == asker.org;
    let waits = listing.state == ListingState::InReview
        || listing.pending_state() == Some(ListingState::InReview);
    if query.in_review {
        let is_asked = asker.is_operator && (is_own || !query.own);
        return (waits && is_asked).then(|| &**listing.newest().0);
    }
    if query.own {
        return is_own.then(|| &**listing.newest().0);
    }
    let content = &*listing.content;
    let is_found = listing.state == ListingState::Published
        && match content.visibility {
            Visibility::Public => true,
            Visibility::Unlisted => is_own,
            Visibility::InviteOnly => is_own || content.invites(&asker.name),
        };
    is_found.then_some(content)
}

fn fits(query: &MarketQuery, listing: &Listing, content: &Content) -> bool {
    let is_category = |category: &String| content.category == *category;
    query.org.is_none_or(|org| listing.org == org)
        && query.category.as_ref().is_none_or(is_category)
        && query.tags.iter().all(|tag| content.tags.contains(tag))
        && query
            .capabilities
            .iter()
            .all(|one| content.capabilities.contains(one))
        && query
            .pricing
            .is_none_or(|kind| content.pricing.kind() == kind)
        && query
            .max_price
            .is_none_or(|most| affordable(query, &content.pricing, most))
}

fn affordable(query: &MarketQuery, pricing: &Pricing, most: Charge) -> bool {
    let by_month = pricing.kind() == PricingType::Monthly;
    let is_wanted = !by_month || query.pricing == Some(PricingType::Monthly);
    let is_payable = pricing
        .currency()
        .is_none_or(|currency| currency == most.currency);
    is_wanted && is_payable && pricing.compared() <= most.amount
}

/// How well the words fit; none where one of them stands nowhere.
fn relevance(content: &Content, words: &[&str]) -> Option<u64> {
    if words.is_empty() {
        return Some(0);
    }
    let title = content.title.to_lowercase();
    let description = content.description.to_lowercase();
    let capabilities = content
        .capabilities
        .iter()
        .map(|one| one.as_str().to_lowercase());
    let labels: Vec<String> = std::iter::once(content.category.clone())
        .chain(content.tags.iter().cloned())
        .chain(capabilities)
        .collect();
    let mut sum = 0;
    for word in words {
        let is_label = labels.iter().any(|label| label.contains(word));
        let points = 4 * u64::from(title.contains(word))
            + 2 * u64::from(is_label)
            + u64::from(description.contains(word));
        if points == 0 {
            return None;
        }
        sum += points;
    }
    Some(sum)
}

/// The place of a listing in the answer: the least comes first.
fn place(
    query: &MarketQuery,
    listing: &Listing,
    content: &Content,
    relevance: u64,
    trust: Option<TrustScore>,
) -> MarketCursor {
    let most_first = |value: u64| u64::MAX - value;
    let time = listing.published_at.unwrap_or(listing.updated_at).0;
    let newest = most_first(u64::try_from(time).unwrap_or(0));
    let (first, currency, second) = match query.sort {
        MarketSort::Relevance => (most_first(relevance), None, newest),
        MarketSort::Trust => {
            let trust = trust.map_or(0, TrustScore::thousandths);
            (most_first(trust.into()), None, newest)
        }
        MarketSort::Rating => {
            let mean = listing.rating.mean_hundredths().unwrap_or(0);
            (most_first(mean), None, most_first(listing.rating.count))
        }
        MarketSort::Price => {
            let pricing = &content.pricing;
            let by_month = pricing.kind() == PricingType::Monthly;
            (u64::from(by_month), pricing.currency(), pricing.compared())
        }
        MarketSort::Newest => (newest, None, 0),
    };
    MarketCursor {
        first,
        currency,
        second,
        id: Reverse(listing.listing),
    }
}
