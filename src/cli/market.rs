//! `npayload market`: what organisations list of their agents, and who subscribes to it.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Subcommand, ValueEnum};

use super::Context;
use super::failure::Failure;
use super::listing::{self, ContentArgs, SearchArgs};
use super::output::{self, Columns};
use super::place::Moment;
use super::price::{price_text, sum_text};
use super::typed::shown;
use crate::asp::chain::Digest;
use crate::asp::market::{ApproveVerdict, Charge, ReviewVerdict, SubscriptionState};
use crate::client::{Market, RequestError};
use crate::protocol::asp::{
    ListingChanged, MarketSubscriptions, RatingSummary, SubscriptionChanged, SubscriptionRow,
    SubscriptionSide, UsageTold,
};
use crate::types::{ListingId, SubscriptionId};

/// What to do on the market. What changes anything needs a key that speaks for all agents of its
/// organisation.
#[derive(Clone, Debug, Subcommand)]
pub enum MarketCommand {
    /// Write a listing down, as a draft; prints the listing's id
    #[command(after_help = "Examples:
  npayload market create --title 'Market research' --category data-analysis --capability web-search \\
    --agent research-agent --price 2.50EUR/call --access on-request --terms @terms.txt
  npayload market create --file listing.json")]
    Create {
        #[command(flatten)]
        content: Box<ContentArgs>,
        /// Its id: lst_ and a UUID of version 7; a new one unless given
        #[arg(long, value_name = "LISTING")]
        id: Option<ListingId>,
    },
    /// Change what a listing says; what is published stays until the change is approved
    #[command(after_help = "Examples:
  npayload market update lst_… --price 0EUR/call..1000,0.05EUR/call
  npayload market update lst_… --file change.json
Options that may be given more than once replace what there was; a file with {\"tags\":[]} leaves none")]
    Update {
        /// The listing: lst_…
        listing: ListingId,
        #[command(flatten)]
        content: Box<ContentArgs>,
    },
    /// Hand a listing in for review
    Submit {
        /// The listing: lst_…
        listing: ListingId,
    },
    /// Say, as an operator, whether a listing may be shown
    #[command(after_help = "Examples:
  npayload market search --in-review
  npayload market review lst_… approve
  npayload market review lst_… reject --reason 'say what a call is'")]
    Review {
        /// The listing: lst_…
        listing: ListingId,
        /// What becomes of it
        #[arg(value_parser = review_verdicts())]
        verdict: ReviewVerdict,
        /// Why; needed to reject and to suspend
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Take a listing down; its subscriptions go on
    Archive {
        /// The listing: lst_…
        listing: ListingId,
    },
    /// Find listings
    #[command(
        alias = "list",
        alias = "ls",
        after_help = "Examples:
  npayload market search 'competitor prices' --capability web-search --sort trust
  npayload market search --category data-analysis --max-price 5EUR --verified
  npayload market search --own --json"
    )]
    Search(Box<SearchArgs>),
    /// Describe a listing, and your own subscription to it
    #[command(alias = "show")]
    Info {
        /// The listing: lst_…
        listing: ListingId,
    },
    /// Subscribe to a listing, or ask its owner to; prints the subscription's id
    #[command(after_help = "Example:
  npayload market subscribe lst_… --terms-hash sha256:…    # refused where the terms are others")]
    Subscribe {
        /// The listing: lst_…
        listing: ListingId,
        /// Hash of the terms that you agree to, as `market info` shows it
        #[arg(long, value_name = "HASH")]
        terms_hash: Option<Digest>,
    },
    /// Say, as the publisher, what becomes of a subscription
    #[command(after_help = "Examples:
  npayload market subscriptions --as publisher --state requested
  npayload market approve sub_…
  npayload market approve sub_… suspend --reason 'the invoice is open'")]
    Approve {
        /// The subscription: sub_…
        subscription: SubscriptionId,
        /// What becomes of it
        #[arg(value_parser = approve_verdicts(), default_value = "approve")]
        verdict: ApproveVerdict,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// End a subscription, as the subscriber
    Cancel {
        /// The subscription: sub_…
        subscription: SubscriptionId,
    },
    /// Rate a listing that your organisation has used; a later rating replaces an earlier one
    #[command(after_help = "Example:
  npayload market rate lst_… 5 --comment 'fast and right'")]
    Rate {
        /// The listing: lst_…
        listing: ListingId,
        /// 1 to 5
        #[arg(value_name = "1-5", value_parser = clap::value_parser!(u8).range(1..=5))]
        rating: u8,
        /// In words
        #[arg(long, value_name = "TEXT")]
        comment: Option<String>,
    },
    /// List the subscriptions of your organisation, the newest first
    Subscriptions {
        /// On which side it is
        #[arg(
            long = "as",
            value_enum,
            value_name = "SIDE",
            default_value = "subscriber"
        )]
        side: SideArg,
        /// Those to this listing: lst_…
        #[arg(long, value_name = "LISTING")]
        listing: Option<ListingId>,
        /// Those in this state
        #[arg(long, value_parser = subscription_states())]
        state: Option<SubscriptionState>,
        /// Subscriptions at most
        #[arg(long, value_name = "N", default_value_t = 100)]
        max: u64,
    },
    /// Tell what a subscription was used for, and what that costs, month by month
    #[command(after_help = "Examples:
  npayload market usage sub_…
  npayload market usage sub_… --since 2026-10-01T00:00:00Z --json | jq .total.charge")]
    Usage {
        /// The subscription: sub_…
        subscription: SubscriptionId,
        /// From the month on that holds this time, or an age such as 90d
        #[arg(long, value_name = "WHEN")]
        since: Option<Moment>,
        /// Up to the month that holds this time, or an age such as 30d
        #[arg(long, value_name = "WHEN")]
        until: Option<Moment>,
    },
}

/// The side of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SideArg {
    /// Who subscribed.
    Subscriber,
    /// Whose listing it is.
    Publisher,
}

impl From<SideArg> for SubscriptionSide {
    fn from(arg: SideArg) -> Self {
        match arg {
            SideArg::Subscriber => Self::Subscriber,
            SideArg::Publisher => Self::Publisher,
        }
    }
}

fn review_verdicts() -> impl TypedValueParser<Value = ReviewVerdict> {
    PossibleValuesParser::new(ReviewVerdict::ALL.map(ReviewVerdict::name))
        .map(|name| ReviewVerdict::from_name(&name).expect("it is one of the possible values"))
}

fn approve_verdicts() -> impl TypedValueParser<Value = ApproveVerdict> {
    PossibleValuesParser::new(ApproveVerdict::ALL.map(ApproveVerdict::name))
        .map(|name| ApproveVerdict::from_name(&name).expect("it is one of the possible values"))
}

fn subscription_states() -> impl TypedValueParser<Value = SubscriptionState> {
    PossibleValuesParser::new(SubscriptionState::ALL.map(SubscriptionState::name))
        .map(|name| SubscriptionState::from_name(&name).expect("it is one of the possible values"))
}

/// Carries the command out.
///
/// # Errors
/// When the broker refuses or is not there.
pub async fn run(command: MarketCommand, context: &Context) -> Result<(), Failure> {
    match command {
        MarketCommand::Create { content, id } => {
            let create = content.create(id)?;
            let told = market(context).await?.create(create).await;
            let told = told.map_err(|error| Failure::request("listing", &error, None))?;
            if context.json {
                return output::print_json(&told);
            }
            // The id alone, so that a script can keep it.
            output::print(&told.id.to_string())
        }
        MarketCommand::Update { listing, content } => {
            let update = content.update(listing)?;
            let told = market(context).await?.update(update).await;
            changed(&format!("updating {listing}"), told, context)
        }
        MarketCommand::Submit { listing } => {
            let told = market(context).await?.submit(listing).await;
            changed(&format!("submitting {listing}"), told, context)
        }
        MarketCommand::Review {
            listing,
            verdict,
            reason,
        } => {
            let told = market(context).await?;
            let told = told.review(listing, verdict, reason).await;
            changed(&format!("reviewing {listing}"), told, context)
        }
        MarketCommand::Archive { listing } => {
            let told = market(context).await?.archive(listing).await;
            changed(&format!("archiving {listing}"), told, context)
        }
        MarketCommand::Search(args) => listing::search(*args, context).await,
        MarketCommand::Info { listing } => {
            let seen = market(context).await?.info(listing).await;
            let what = format!("describing {listing}");
            let seen = seen.map_err(|error| Failure::request(what, &error, None))?;
            if context.json {
                return output::print_json(&seen);
            }
            listing::show(&seen.listing)?;
            match &seen.subscription {
                Some(row) => output::print(&format!("\nsubscription {}: {}", row.id, row.state)),
                None => Ok(()),
            }
        }
        MarketCommand::Subscribe {
            listing,
            terms_hash,
        } => {
            let told = market(context).await?;
            let told = told.subscribe(listing, terms_hash).await;
            let what = format!("subscribing to {listing}");
            let told = told.map_err(|error| Failure::request(what, &error, None))?;
            if context.json {
                return output::print_json(&told);
            }
            if told.state == SubscriptionState::Requested {
                eprintln!(
                    "the publisher approves it with: npayload market approve {}",
                    told.id
                );
            }
            output::print(&told.id.to_string())
        }
        MarketCommand::Approve {
            subscription,
            verdict,
            reason,
        } => {
            let told = market(context).await?;
            let told = told.approve(subscription, verdict, reason).await;
            ended(&format!("{verdict} {subscription}"), told, context)
        }
        MarketCommand::Cancel { subscription } => {
            let told = market(context).await?.cancel(subscription).await;
            ended(&format!("cancelling {subscription}"), told, context)
        }
        MarketCommand::Rate {
            listing,
            rating,
            comment,
        } => {
            let rated = market(context).await?;
            let rated = rated.rate(listing, rating, comment).await;
            let what = format!("rating {listing}");
            let rated = rated.map_err(|error| Failure::request(what, &error, None))?;
            if context.json {
                return output::print_json(&rated);
            }
            output::print(&format!("{listing}: {}", rating_text(&rated)))
        }
        MarketCommand::Subscriptions {
            side,
            listing,
            state,
            max,
        } => {
            let list = MarketSubscriptions {
                side: side.into(),
                listing_id: listing,
                state,
                limit: u32::try_from(max.clamp(1, 100)).unwrap_or(100),
                cursor: None,
            };
            subscriptions(list, max, context).await
        }
        MarketCommand::Usage {
            subscription,
            since,
            until,
        } => {
            let now = context.now();
            let [since, until] =
                [since, until].map(|moment| moment.map(|moment| moment.before(now)));
            let told = market(context).await?;
            let told = told.usage(subscription, since, until).await;
            let what = format!("telling the use of {subscription}");
            let told = told.map_err(|error| Failure::request(what, &error, None))?;
            usage(&told, context)
        }
    }
}

pub(super) async fn market(context: &Context) -> Result<Market, Failure> {
    Ok(context.client().await?.market())
}

fn changed(
    what: &str,
    told: Result<ListingChanged, RequestError>,
    context: &Context,
) -> Result<(), Failure> {
    let told = told.map_err(|error| Failure::request(what, &error, None))?;
    if context.json {
        return output::print_json(&told);
    }
    output::print(&format!(
        "{}: {}, revision {}",
        told.id, told.state, told.revision
    ))
}

fn ended(
    what: &str,
    told: Result<SubscriptionChanged, RequestError>,
    context: &Context,
) -> Result<(), Failure> {
    let told = told.map_err(|error| Failure::request(what, &error, None))?;
    if context.json {
        return output::print_json(&told);
    }
    output::print(&format!("{}: {}", told.id, told.state))
}

async fn subscriptions(
    list: MarketSubscriptions,
    max: u64,
    context: &Context,
) -> Result<(), Failure> {
    let mut found = market(context).await?.subscriptions(list);
    let headings = [
        "SUBSCRIPTION",
        "STATE",
        "LISTING",
        "SUBSCRIBER",
        "PUBLISHER",
        "PRICE",
        "REQUESTED",
        "REASON",
    ];
    let mut columns = Columns::new(&headings);
    for _ in 0..max {
        let Some(row) = found.next().await else {
            break;
        };
        let row = row.map_err(|error| Failure::request("listing subscriptions", &error, None))?;
        if context.json {
            output::print_json(&row)?;
        } else {
            columns.row(cells(&row));
        }
    }
    if context.json {
        return Ok(());
    }
    columns.print("no subscriptions; find listings with `npayload market search`")
}

fn cells(row: &SubscriptionRow) -> [String; 8] {
    [
        row.id.to_string(),
        row.state.to_string(),
        row.listing_id.to_string(),
        row.organisation.to_string(),
        row.publisher.to_string(),
        price_text(&row.pricing),
        output::time(row.requested_at),
        row.reason.as_deref().map_or(String::new(), shown),
    ]
}

fn usage(told: &UsageTold, context: &Context) -> Result<(), Failure> {
    if context.json {
        return output::print_json(told);
    }
    let charge = |charge: Option<Charge>| charge.map_or_else(|| "nothing".to_owned(), sum_text);
    let mut columns = Columns::new(&["MONTH", ">SESSIONS", ">MESSAGES", ">CALLS", ">CHARGE"]);
    for row in &told.months {
        columns.row([
            row.month.to_string(),
            output::count(row.sessions),
            output::count(row.messages),
            output::count(row.calls),
            charge(row.charge),
        ]);
    }
    if told.months.len() > 1 {
        columns.row([
            "total".to_owned(),
            output::count(told.total.sessions),
            output::count(told.total.messages),
            output::count(told.total.calls),
            charge(told.total.charge),
        ]);
    }
    columns.print("not used in that time")
}

/// What a listing is rated, in words.
pub(super) fn rating_text(rating: &RatingSummary) -> String {
    match rating.mean {
        Some(mean) => {
            let mean = f64::from(mean);
            format!("{mean:.2} of 5 by {}", output::count(rating.count))
        }
        None => "not rated".to_owned(),
    }
}
