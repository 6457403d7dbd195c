//! What an owner writes into a listing.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::MarketError;
use super::pricing::Pricing;
use super::table::named;
use crate::asp::chain::Digest;
use crate::asp::commitment::{wide, within};
use crate::asp::tool::Plain;
use crate::types::{AgentName, OrgName};

/// Longest title, in characters.
pub const MAX_TITLE_CHARS: usize = 100;
/// Longest description, in characters.
pub const MAX_LISTING_DESCRIPTION_CHARS: usize = 10_000;
/// Longest category or tag, in bytes.
pub const MAX_LABEL_BYTES: usize = 64;
/// Most tags.
pub const MAX_TAGS: usize = 20;
/// Most capabilities.
pub const MAX_CAPABILITIES: usize = 64;
/// Most agents.
pub const MAX_AGENTS: usize = 100;
/// Most organisations that are invited.
pub const MAX_INVITED: usize = 1_000;
/// Most bytes of a sample, in canonical form.
pub const MAX_SAMPLE_BYTES: usize = 16 * 1024;
/// Most bytes of the terms.
pub const MAX_LISTING_TERMS_BYTES: usize = 16 * 1024;
/// Longest reason of a review or a verdict, in characters.
pub const MAX_REASON_CHARS: usize = 1_000;
/// Longest comment of a rating, in characters.
pub const MAX_COMMENT_CHARS: usize = 1_000;

named! {
    /// Who sees a published listing.
    Visibility {
        /// Everybody finds it.
        Public = "public",
        /// Who knows its id sees it.
        Unlisted = "unlisted",
        /// Only organisations that are invited see it.
        InviteOnly = "inviteOnly",
    }
}

named! {
    /// How an organisation comes to a subscription.
    ListingAccess {
        /// Everybody who asks has one.
        Open = "open",
        /// The publisher decides.
        OnRequest = "onRequest",
        /// Organisations that are invited have one.
        ByInvitation = "byInvitation",
    }
}

/// All that an owner writes. The members stand in the order of their names in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// How an organisation comes to a subscription.
    pub access: ListingAccess,
    /// Agents of the owner's organisation, by name, 1 to [`MAX_AGENTS`]; they need not be
    /// registered.
    pub agents: Vec<AgentName>,
    /// What they can do, 1 to [`MAX_CAPABILITIES`].
    pub capabilities: Vec<AgentName>,
    /// What kind of thing it is: lower-case words joined by `-`.
    pub category: String,
    /// In words, at most [`MAX_LISTING_DESCRIPTION_CHARS`].
    pub description: String,
    /// Organisations that are invited, at most [`MAX_INVITED`].
    pub invited: Vec<OrgName>,
    /// What it costs.
    pub pricing: Pricing,
    /// An example of what it gives: JSON in canonical form, at most [`MAX_SAMPLE_BYTES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Plain>,
    /// More words to find it by, each like a category, at most [`MAX_TAGS`].
    pub tags: Vec<String>,
    /// What a subscriber agrees to, at most [`MAX_LISTING_TERMS_BYTES`].
    pub terms: String,
    /// In a line, 1 to [`MAX_TITLE_CHARS`] characters.
    pub title: String,
    /// Who sees it.
    pub visibility: Visibility,
}

/// Members of a content that are to be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContentChange {
    /// See [`Content::access`].
    pub access: Option<ListingAccess>,
    /// See [`Content::agents`].
    pub agents: Option<Vec<AgentName>>,
    /// See [`Content::capabilities`].
    pub capabilities: Option<Vec<AgentName>>,
    /// See [`Content::category`].
    pub category: Option<String>,
    /// See [`Content::description`].
    pub description: Option<String>,
    /// See [`Content::invited`].
    pub invited: Option<Vec<OrgName>>,
    /// See [`Content::pricing`].
    pub pricing: Option<Pricing>,
    /// See [`Content::sample`]; `Some(None)` takes it out.
    pub sample: Option<Option<Plain>>,
    /// See [`Content::tags`].
    pub tags: Option<Vec<String>>,
    /// See [`Content::terms`].
    pub terms: Option<String>,
    /// See [`Content::title`].
    pub title: Option<String>,
    /// See [`Content::visibility`].
    pub visibility: Option<Visibility>,
}

impl Content {
    /// SHA-256 of the bytes of the terms.
    #[must_use]
    pub fn terms_hash(&self) -> Digest {
        Digest(Sha256::digest(self.terms.as_bytes()).into())
    }

    /// SHA-256 of the canonical form of all of it.
    ///
    /// # Panics
    /// Never: its members are plain.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let json = serde_json::to_vec(self).expect("a content has no fallible values");
        Digest(Sha256::digest(json).into())
    }

    /// Whether an organisation is invited.
    #[must_use]
    pub fn invites(&self, org: &OrgName) -> bool {
        self.invited.contains(org)
    }

    /// The content with some members changed.
    #[must_use]
    pub fn changed(&self, change: ContentChange) -> Self {
        let before = self.clone();
        Self {
            access: change.access.unwrap_or(before.access),
            agents: change.agents.unwrap_or(before.agents),
            capabilities: change.capabilities.unwrap_or(before.capabilities),
            category: change.category.unwrap_or(before.category),
            description: change.description.unwrap_or(before.description),
            invited: change.invited.unwrap_or(before.invited),
            pricing: change.pricing.unwrap_or(before.pricing),
            sample: change.sample.unwrap_or(before.sample),
            tags: change.tags.unwrap_or(before.tags),
            terms: change.terms.unwrap_or(before.terms),
            title: change.title.unwrap_or(before.title),
            visibility: change.visibility.unwrap_or(before.visibility),
        }
    }

    /// Checks what somebody wants to list.
    ///
    /// # Errors
    /// [`MarketError`] for the first member that breaks a rule.
    pub fn check(&self) -> Result<(), MarketError> {
        let chars = |text: &str| wide(text.chars().count());
        let title = chars(&self.title);
        within("title characters", title, 1, wide(MAX_TITLE_CHARS))?;
        within(
            "description characters",
            chars(&self.description),
            0,
            wide(MAX_LISTING_DESCRIPTION_CHARS),
        )?;
        check_label("category", &self.category)?;
        let count =
            |what, found: usize, least, most: usize| within(what, wide(found), least, wide(most));
        count("tags", self.tags.len(), 0, MAX_TAGS)?;
        for tag in &self.tags {
            check_label("tags", tag)?;
        }
        let capabilities = self.capabilities.len();
        count("capabilities", capabilities, 1, MAX_CAPABILITIES)?;
        count("agents", self.agents.len(), 1, MAX_AGENTS)?;
        count("invited", self.invited.len(), 0, MAX_INVITED)?;
        let sample = self.sample.as_ref().map_or(0, Plain::bytes);
        count("sample bytes", sample, 0, MAX_SAMPLE_BYTES)?;
        let terms = self.terms.len();
        count("terms bytes", terms, 0, MAX_LISTING_TERMS_BYTES)?;
        check_once("tags", self.tags.iter().map(String::as_str))?;
        let capabilities = self.capabilities.iter().map(AgentName::as_str);
        check_once("capabilities", capabilities)?;
        check_once("agents", self.agents.iter().map(AgentName::as_str))?;
        check_once("invited", self.invited.iter().map(OrgName::as_str))?;
        self.pricing.check()
    }
}

/// Checks a category or a tag.
pub(super) fn check_label(field: &'static str, text: &str) -> Result<(), MarketError> {
    let is_fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_dashed = text.starts_with('-') || text.ends_with('-') || text.contains("--");
    if text.is_empty() || text.len() > MAX_LABEL_BYTES || !text.bytes().all(is_fine) || is_dashed {
        return Err(MarketError::Invalid {
            field,
            value: shown(text),
            rule: "must be 1 to 64 lower-case letters, digits and single `-` between them",
        });
    }
    Ok(())
}

fn check_once<'a>(
    field: &'static str,
    texts: impl Iterator<Item = &'a str>,
) -> Result<(), MarketError> {
    let mut seen = BTreeSet::new();
    for text in texts {
        if !seen.insert(text) {
            return Err(MarketError::Invalid {
                field,
                value: shown(text),
                rule: "stands there twice",
            });
        }
    }
    Ok(())
}

/// A text as an error shows it.
fn shown(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}
