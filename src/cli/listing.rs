//! What a listing says on the command line: as options or a file, and as it is shown.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::failure::Failure;
use super::market::{market, rating_text};
use super::output::{self, Columns};
use super::price::{price, price_text, sum_of};
use super::promised::one_of;
use super::typed::{self, shown, trust_score};
use super::{Context, org_name};
use crate::asp::TrustScore;
use crate::asp::market::{Charge, ListingAccess, MarketSort, Pricing, PricingType, Visibility};
use crate::protocol::asp::{ListingRow, MarketCreate, MarketSearch, MarketUpdate};
use crate::types::{AgentName, InvalidName, ListingId, OrgName};

/// What a listing says.
#[derive(Clone, Debug, Args)]
pub struct ContentArgs {
    /// In a line
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// In words: TEXT, @FILE, or - for stdin
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// What kind of thing it is: lower-case words joined by `-`
    #[arg(long, value_name = "WORD")]
    category: Option<String>,
    /// One more word to find it by; may be given more than once
    #[arg(long = "tag", value_name = "WORD")]
    tags: Vec<String>,
    /// Something that its agents can do; may be given more than once
    #[arg(long = "capability", value_name = "NAME", value_parser = agent_name)]
    capabilities: Vec<AgentName>,
    /// An agent of your organisation, by name; may be given more than once
    #[arg(long = "agent", value_name = "NAME", value_parser = agent_name)]
    agents: Vec<AgentName>,
    /// What it costs: free, 2.50EUR/call, 9.90EUR/month, 0EUR/call..1000,0.05EUR/call
    #[arg(long, value_name = "PRICE", value_parser = price)]
    price: Option<Pricing>,
    /// Who sees it: public, unlisted, invite-only; a new one is public
    #[arg(long, value_name = "WHO", value_parser = visibility)]
    visibility: Option<Visibility>,
    /// How one comes to a subscription: open, on-request, by-invitation; on request for a new one
    #[arg(long, value_name = "HOW", value_parser = access)]
    access: Option<ListingAccess>,
    /// An organisation that is invited; may be given more than once
    #[arg(long = "invite", value_name = "ORG", value_parser = org_name)]
    invited: Vec<OrgName>,
    /// An example of what it gives: JSON, @FILE, or - for stdin; null takes it out
    #[arg(long, value_name = "JSON")]
    sample: Option<String>,
    /// What a subscriber agrees to: TEXT, @FILE, or - for stdin
    #[arg(long, value_name = "TEXT")]
    terms: Option<String>,
    /// All of that as JSON, with the members of the wire protocol; options replace its members
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

fn agent_name(text: &str) -> Result<AgentName, InvalidName> {
    AgentName::parse(text)
}

fn visibility(text: &str) -> Result<Visibility, String> {
    one_of(&Visibility::ALL, Visibility::name, text)
}

fn access(text: &str) -> Result<ListingAccess, String> {
    one_of(&ListingAccess::ALL, ListingAccess::name, text)
}

fn pricing_type(text: &str) -> Result<PricingType, String> {
    one_of(&PricingType::ALL, PricingType::name, text)
}

impl ContentArgs {
    /// The request that writes it down.
    ///
    /// # Errors
    /// When something that a listing must have is missing, or cannot be read.
    pub(super) fn create(self, id: Option<ListingId>) -> Result<MarketCreate, Failure> {
        let mut members = self.members()?;
        if let Some(id) = id {
            members.insert("id".to_owned(), id.to_string().into());
        }
        members
            .entry("pricing")
            .or_insert_with(|| serde_json::json!({ "type": "free" }));
        for (member, option) in [
            ("title", "--title"),
            ("category", "--category"),
            ("capabilities", "--capability"),
            ("agents", "--agent"),
        ] {
            if !members.contains_key(member) {
                return Err(Failure::usage(option, "a listing needs it, or in --file"));
            }
        }
        body(members)
    }

    /// The request that changes it.
    ///
    /// # Errors
    /// When nothing is to be changed, or something cannot be read.
    pub(super) fn update(self, listing: ListingId) -> Result<MarketUpdate, Failure> {
        let mut members = self.members()?;
        if members.is_empty() {
            return Err(Failure::usage("update", "nothing is to be changed"));
        }
        members.insert("listingId".to_owned(), listing.to_string().into());
        body(members)
    }

    /// What was said, by the names of the wire protocol.
    fn members(self) -> Result<Map<String, Value>, Failure> {
        let mut members = match &self.file {
            Some(file) => typed::object("--file", Some(&format!("@{}", file.display())))?,
            None => Map::new(),
        };
        let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
        let texts = [
            ("title", self.title),
            ("category", self.category),
            ("description", typed::text_or_none(self.description)?),
            ("terms", typed::text_or_none(self.terms)?),
            (
                "visibility",
                self.visibility.map(|one| one.name().to_owned()),
            ),
            ("access", self.access.map(|one| one.name().to_owned())),
        ];
        for (name, text) in texts {
            text.map(|text| put(name, text.into()));
        }
        let names = |all: &[AgentName]| all.iter().map(ToString::to_string).collect();
        let lists: [(&str, Vec<String>); 4] = [
            ("tags", self.tags),
            ("capabilities", names(&self.capabilities)),
            ("agents", names(&self.agents)),
            (
                "invited",
                self.invited.iter().map(ToString::to_string).collect(),
            ),
        ];
        for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            put(name, list.into());
        }
        if let Some(pricing) = self.price {
            let pricing = serde_json::to_value(pricing);
            put(
                "pricing",
                pricing.map_err(|error| Failure::new("writing JSON", &error))?,
            );
        }
        if let Some(sample) = typed::json_or_none("--sample", self.sample.as_deref())? {
            let sample = sample.read();
            put(
                "sample",
                sample.map_err(|error| Failure::usage("--sample", error.to_string()))?,
            );
        }
        Ok(members)
    }
}

/// A request of these members.
fn body<T: DeserializeOwned>(members: Map<String, Value>) -> Result<T, Failure> {
    serde_json::from_value(Value::Object(members))
        .map_err(|error| Failure::usage("a listing", error.to_string()))
}

/// What listings are to be found.
#[derive(Clone, Debug, Args)]
pub struct SearchArgs {
    /// Words within title, description, category or tags, whatever the case
    text: Option<String>,
    /// Of this category
    #[arg(long, value_name = "WORD")]
    category: Option<String>,
    /// With this tag; may be given more than once
    #[arg(long = "tag", value_name = "WORD")]
    tags: Vec<String>,
    /// With this capability; may be given more than once
    #[arg(long = "capability", value_name = "NAME", value_parser = agent_name)]
    capabilities: Vec<AgentName>,
    /// Least trust in each of its agents, 0 to 1
    #[arg(long, value_name = "SCORE", value_parser = trust_score)]
    min_trust: Option<TrustScore>,
    /// That cost at most so much for a call (with --pricing monthly: a month), such as 2.50EUR
    #[arg(long, value_name = "SUM", value_parser = sum_of)]
    max_price: Option<Charge>,
    /// That are paid so: free, per-call, monthly, tiered
    #[arg(long, value_name = "TYPE", value_parser = pricing_type)]
    pricing: Option<PricingType>,
    /// Of this organisation
    #[arg(long, value_name = "NAME", value_parser = org_name)]
    org: Option<OrgName>,
    /// Of organisations that an operator knows
    #[arg(long)]
    verified: bool,
    /// Your own, in every state
    #[arg(long, conflicts_with = "org")]
    own: bool,
    /// Those that wait for review; for operators
    #[arg(long, conflicts_with = "own")]
    in_review: bool,
    /// In which order
    #[arg(long, value_parser = sorts(), default_value = "relevance")]
    sort: MarketSort,
    /// Listings at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    max: u64,
}

fn sorts() -> impl TypedValueParser<Value = MarketSort> {
    PossibleValuesParser::new(MarketSort::ALL.map(MarketSort::name))
        .map(|name| MarketSort::from_name(&name).expect("it is one of the possible values"))
}

pub(super) async fn search(args: SearchArgs, context: &Context) -> Result<(), Failure> {
    let query = MarketSearch {
        text: args.text,
        category: args.category,
        tags: args.tags,
        capabilities: args.capabilities,
        min_trust_score: args.min_trust,
        max_price: args.max_price,
        pricing: args.pricing,
        organisation: args.org,
        verified: args.verified.then_some(true),
        own: args.own,
        in_review: args.in_review,
        sort: args.sort,
        limit: u32::try_from(args.max.clamp(1, 100)).unwrap_or(100),
        cursor: None,
    };
    let mut found = market(context).await?.search(query);
    let headings = [
        "LISTING", "STATE", "ORG", "TITLE", "PRICE", ">TRUST", "RATING", "ACCESS",
    ];
    let mut columns = Columns::new(&headings);
    for _ in 0..args.max {
        let Some(row) = found.next().await else {
            break;
        };
        let row = row.map_err(|error| Failure::request("searching listings", &error, None))?;
        if context.json {
            output::print_json(&row)?;
            continue;
        }
        columns.row([
            row.id.to_string(),
            state_text(&row),
            row.organisation.to_string(),
            shown(&row.title),
            price_text(&row.pricing),
            trust_text(row.trust_score),
            rating_text(&row.rating),
            row.access.to_string(),
        ]);
    }
    if context.json {
        return Ok(());
    }
    columns.print("no listings")
}

/// State of a listing, and of what is pending beside it.
fn state_text(row: &ListingRow) -> String {
    match &row.pending {
        Some(pending) => format!("{}, {} pending", row.state, pending.state),
        None => row.state.to_string(),
    }
}

fn trust_text(score: TrustScore) -> String {
    format!("{:.3}", f64::from(score))
}

/// Describes a listing.
///
/// # Errors
/// When the output cannot be written.
pub(super) fn show(row: &ListingRow) -> Result<(), Failure> {
    let verified = match row.verified {
        true => "verified",
        false => "not verified",
    };
    let joined = |all: &[AgentName]| {
        let all: Vec<&str> = all.iter().map(AgentName::as_str).collect();
        all.join(", ")
    };
    let agents = row.agents.iter();
    let agents: Vec<_> = agents
        .map(|agent| format!("{} ({})", agent.name, trust_text(agent.trust_score)))
        .collect();
    let mut fields = vec![
        ("listing", row.id.to_string()),
        ("title", shown(&row.title)),
        ("organisation", format!("{}, {verified}", row.organisation)),
        (
            "state",
            format!("{}, revision {}", state_text(row), row.revision),
        ),
        ("category", row.category.clone()),
        ("tags", row.tags.join(", ")),
        ("capabilities", joined(&row.capabilities)),
        ("agents (trust)", agents.join(", ")),
        ("price", price_text(&row.pricing)),
        ("visibility", row.visibility.to_string()),
        ("access", row.access.to_string()),
        ("trust", trust_text(row.trust_score)),
        ("rating", rating_text(&row.rating)),
        ("created", output::time(row.created_at)),
        ("changed", output::time(row.updated_at)),
        (
            "published",
            row.published_at.map_or("never".to_owned(), output::time),
        ),
        ("terms hash", row.terms_hash.to_string()),
    ];
    if let Some(subscribers) = row.subscribers {
        fields.push(("subscribers", output::count(subscribers)));
    }
    if let Some(invited) = &row.invited {
        let invited: Vec<&str> = invited.iter().map(OrgName::as_str).collect();
        fields.push(("invited", invited.join(", ")));
    }
    if let Some(pending) = &row.pending {
        let price = price_text(&pending.pricing);
        let text = format!(
            "revision {}: {}, {price}",
            pending.revision,
            shown(&pending.title)
        );
        fields.push(("pending", text));
    }
    if let Some(reason) = &row.reason {
        fields.push(("reason", shown(reason)));
    }
    if let Some(sample) = &row.sample {
        fields.push(("sample", shown(sample.text())));
    }
    output::print(&output::fields(&fields))?;
    for (name, text) in [("description", &row.description), ("terms", &row.terms)] {
        if !text.is_empty() {
            output::print(&format!("\n{name}:\n{}", lines_shown(text)))?;
        }
    }
    Ok(())
}

/// A text of several lines as it may stand on a terminal.
fn lines_shown(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(shown).collect();
    lines.join("\n")
}
