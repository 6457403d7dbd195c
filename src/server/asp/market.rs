//! Requests about the market: listings, subscriptions, and what they are used for.

use serde::{Deserialize, Serialize};

use super::super::shared::Shared;
use super::market_rows::{
    listing_row, listing_seen, month_row, rating_summary, subscription_row, total_row,
};
use super::{Looked, cursor, evidence};
use crate::access::{AuditAct, Principal};
use crate::asp::commitment::OutOfLimit;
use crate::asp::market::{
    Content, ContentChange, MarketCursor, MarketError, MarketQuery, RatingSum,
};
use crate::broker::asp::{
    AspError, ListingDone, MAX_SUBSCRIPTION_PAGE, SubscriptionDone, SubscriptionsAsked,
};
use crate::broker::{Accepted, Refusal};
use crate::protocol::AspResponse;
use crate::protocol::asp::{
    ListingChanged, ListingsPage, MarketApprove, MarketArchive, MarketCancel, MarketCreate,
    MarketInfo, MarketRate, MarketRated, MarketReview, MarketSearch, MarketSubmit, MarketSubscribe,
    MarketSubscriptions, MarketUpdate, MarketUsage, SubscriptionChanged, SubscriptionSide,
    SubscriptionsPage, UsageTold,
};
use crate::types::{SubscriptionId, Timestamp};

pub(super) fn create(
    shared: &Shared,
    by: &Principal,
    create: &MarketCreate,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let said = create.clone();
    let content = Content {
        access: said.access,
        agents: said.agents,
        capabilities: said.capabilities,
        category: said.category,
        description: said.description,
        invited: said.invited,
        pricing: said.pricing,
        sample: said.sample.as_ref().map(evidence::words).transpose()?,
        tags: said.tags,
        terms: said.terms,
        title: said.title,
        visibility: said.visibility,
    };
    let mut broker = shared.broker();
    let done = broker.create_listing(by, create.id, content, now)?;
    Ok(changed(done, AspResponse::MarketCreate))
}

pub(super) fn update(
    shared: &Shared,
    by: &Principal,
    update: &MarketUpdate,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let said = update.clone();
    let sample = said
        .sample
        .map(|sample| sample.as_ref().map(evidence::words).transpose());
    let change = ContentChange {
        access: said.access,
        agents: said.agents,
        capabilities: said.capabilities,
        category: said.category,
        description: said.description,
        invited: said.invited,
        pricing: said.pricing,
        sample: sample.transpose()?,
        tags: said.tags,
        terms: said.terms,
        title: said.title,
        visibility: said.visibility,
    };
    let mut broker = shared.broker();
    let done = broker.update_listing(by, update.listing_id, change, now)?;
    Ok(changed(done, AspResponse::MarketUpdate))
}

pub(super) fn submit(
    shared: &Shared,
    by: &Principal,
    submit: &MarketSubmit,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let done = (shared.broker()).submit_listing(by, submit.listing_id, now)?;
    Ok(changed(done, AspResponse::MarketSubmit))
}

/// - `act`: what is recorded of it.
pub(super) fn review(
    shared: &Shared,
    by: &Principal,
    review: &MarketReview,
    act: AuditAct,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let (id, verdict, reason) = (review.listing_id, review.verdict, review.reason.clone());
    let mut broker = shared.broker();
    let done = broker.acting(act, |broker| {
        broker.review_listing(by, id, verdict, reason, now)
    })?;
    Ok(changed(done, AspResponse::MarketReview))
}

pub(super) fn archive(
    shared: &Shared,
    by: &Principal,
    archive: &MarketArchive,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let done = (shared.broker()).archive_listing(by, archive.listing_id, now)?;
    Ok(changed(done, AspResponse::MarketArchive))
}

pub(super) fn search(
    shared: &Shared,
    by: &Principal,
    search: &MarketSearch,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let cursor = search.cursor.as_deref().map(cursor::decode::<MarketCursor>);
    let query = MarketQuery {
        text: search.text.clone(),
        category: search.category.clone(),
        tags: search.tags.clone(),
        capabilities: search.capabilities.clone(),
        min_trust: search.min_trust_score,
        max_price: search.max_price,
        pricing: search.pricing,
        org: None,
        verified: search.verified,
        own: search.own,
        in_review: search.in_review,
        sort: search.sort,
        after: cursor.transpose()?,
    };
    let market = {
        let broker = shared.broker();
        broker.market_to_search(by, query, search.organisation.as_ref(), now)?
    };
    let (found, next) = market.search(search.limit as usize)?;
    let page = ListingsPage {
        listings: found.into_iter().map(listing_row).collect(),
        cursor: next.as_ref().map(cursor::encode),
    };
    Ok(Looked::answer(AspResponse::MarketSearch(page), market.wait))
}

pub(super) fn info(
    shared: &Shared,
    by: &Principal,
    info: &MarketInfo,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let seen = shared.broker().see_listing(by, info.listing_id, now)?;
    let (listing, subscription) = seen.value;
    let row = listing_seen(listing, subscription);
    Ok(Looked::answer(AspResponse::MarketInfo(row), seen.wait))
}

pub(super) fn subscribe(
    shared: &Shared,
    by: &Principal,
    subscribe: &MarketSubscribe,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let (id, listing, terms) = (subscribe.id, subscribe.listing_id, subscribe.terms_hash);
    let done = (shared.broker()).subscribe_listing(by, id, listing, terms, now)?;
    Ok(moved(done, AspResponse::MarketSubscribe))
}

pub(super) fn approve(
    shared: &Shared,
    by: &Principal,
    approve: &MarketApprove,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let (id, verdict) = (approve.subscription_id, approve.verdict);
    let reason = approve.reason.clone();
    let done = (shared.broker()).approve_subscription(by, id, verdict, reason, now)?;
    Ok(moved(done, AspResponse::MarketApprove))
}

pub(super) fn cancel(
    shared: &Shared,
    by: &Principal,
    cancel: &MarketCancel,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let done = (shared.broker()).cancel_subscription(by, cancel.subscription_id, now)?;
    Ok(moved(done, AspResponse::MarketCancel))
}

pub(super) fn rate(
    shared: &Shared,
    by: &Principal,
    rate: &MarketRate,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let within = u8::try_from(rate.rating);
    let rating = within.map_err(|_| out_of_limit("rating", rate.rating, 1, 5))?;
    let (id, comment) = (rate.listing_id, rate.comment.clone());
    let rated: Accepted<RatingSum> =
        (shared.broker()).rate_listing(by, id, rating, comment, now)?;
    let answer = MarketRated {
        rating: rating_summary(rated.value),
    };
    Ok(Looked::answer(AspResponse::MarketRate(answer), rated.wait))
}

/// Where a list of subscriptions goes on: with those older than this one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Cursor {
    before: SubscriptionId,
}

pub(super) fn subscriptions(
    shared: &Shared,
    by: &Principal,
    list: &MarketSubscriptions,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let cursor = list.cursor.as_deref().map(cursor::decode::<Cursor>);
    let most = MAX_SUBSCRIPTION_PAGE as u64;
    if !(1..=most).contains(&list.limit.into()) {
        return Err(out_of_limit("limit", list.limit.into(), 1, most).into());
    }
    let asked = SubscriptionsAsked {
        as_publisher: list.side == SubscriptionSide::Publisher,
        listing: list.listing_id,
        state: list.state,
        before: cursor.transpose()?.map(|cursor| cursor.before),
    };
    let found = (shared.broker()).list_subscriptions(by, &asked, list.limit as usize, now)?;
    let (rows, is_more) = found.value;
    let rows: Vec<_> = rows.into_iter().map(subscription_row).collect();
    let last = rows.last().filter(|_| is_more);
    let page = SubscriptionsPage {
        cursor: last.map(|last| cursor::encode(&Cursor { before: last.id })),
        subscriptions: rows,
    };
    let answer = AspResponse::MarketSubscriptions(page);
    Ok(Looked::answer(answer, found.wait))
}

pub(super) fn usage(
    shared: &Shared,
    by: &Principal,
    usage: &MarketUsage,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let (id, since, until) = (usage.subscription_id, usage.since, usage.until);
    let told = (shared.broker()).subscription_usage(by, id, since, until, now)?;
    let answer = UsageTold {
        subscription_id: id,
        months: told.value.months.into_iter().map(month_row).collect(),
        total: total_row(told.value.total),
    };
    Ok(Looked::answer(AspResponse::MarketUsage(answer), told.wait))
}

fn out_of_limit(what: &'static str, value: u64, least: u64, most: u64) -> AspError {
    AspError::from(MarketError::from(OutOfLimit {
        what,
        value,
        least,
        most,
    }))
}

fn changed(
    done: Accepted<ListingDone>,
    response: impl FnOnce(ListingChanged) -> AspResponse,
) -> Looked {
    let row = ListingChanged {
        id: done.value.listing,
        state: done.value.state,
        revision: done.value.revision,
    };
    Looked::answer(response(row), done.wait)
}

fn moved(
    done: Accepted<SubscriptionDone>,
    response: impl FnOnce(SubscriptionChanged) -> AspResponse,
) -> Looked {
    let row = SubscriptionChanged {
        id: done.value.subscription,
        state: done.value.state,
    };
    Looked::answer(response(row), done.wait)
}
