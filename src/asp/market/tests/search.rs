//! Finding listings: every filter, every order, and pages that meet.

use super::*;
use crate::asp::TrustScore;

/// Trust by the first agent's name, and which organisations are verified.
struct Known;

impl MarketFacts for Known {
    fn trust(&self, listing: &Listing) -> TrustScore {
        let score = match listing.content.agents[0].as_str() {
            "good" => 0.9,
            "fair" => 0.5,
            _ => 0.0,
        };
        TrustScore::try_from(score).unwrap()
    }

    fn is_verified(&self, org: OrgId) -> bool {
        org == OrgId(ACME)
    }
}

/// What a search finds, by the numbers of the listings.
fn found(topic: &Topic, org: u32, query: &MarketQuery) -> Vec<u128> {
    let page = topic.state.search(&asker(org), query, &Known, 100).unwrap();
    assert_eq!(page.next, None);
    let ids = page.listings.iter().map(|listing| listing.listing.0 >> 80);
    ids.collect()
}

fn query(change: impl FnOnce(&mut MarketQuery)) -> MarketQuery {
    let mut query = MarketQuery::default();
    change(&mut query);
    query
}

fn put(topic: &mut Topic, org: u32, id: u128, change: impl FnOnce(&mut Content)) {
    let mut content = content("Reads tables");
    change(&mut content);
    topic.list(org, id, content).unwrap();
    topic.submit(org, id).unwrap();
    topic.review(id, ReviewVerdict::Approve).unwrap();
    topic.now += 1;
}

fn shop() -> Topic {
    let mut topic = Topic::new();
    put(&mut topic, ACME, 1, |c| {
        c.agents = names(&["good"]);
        c.tags = vec!["tables".into(), "fast".into()];
    });
    put(&mut topic, ACME, 2, |c| {
        c.agents = names(&["fair"]);
        c.title = "Writes reports".into();
        c.description = "From tables, in German.".into();
        c.category = "writing".into();
        c.tags = Vec::new();
        c.capabilities = names(&["text.write", "text.translate"]);
        c.pricing = Pricing::Free;
    });
    put(&mut topic, BETA, 3, |c| {
        c.title = "Tables, tables".into();
        c.pricing = Pricing::Monthly {
            currency: eur(),
            price: 100,
        };
    });
    put(&mut topic, BETA, 4, |c| {
        c.title = "Draws".into();
        c.description = String::new();
        c.tags = Vec::new();
        c.pricing = Pricing::PerCall {
            currency: "USD".parse().unwrap(),
            unit_price: 10,
        };
    });
    topic
}

#[test]
fn each_filter_lets_through_what_it_should() {
    let topic = shop();
    let find = |change: fn(&mut MarketQuery)| found(&topic, GAMMA, &query(change));
    assert_eq!(find(|_| ()), [4, 3, 2, 1], "the newest first");
    assert_eq!(
        find(|q| q.text = Some("TABLES".into())),
        [3, 1, 2],
        "title, label, description"
    );
    assert_eq!(
        find(|q| q.text = Some("tables german".into())),
        [2],
        "all words"
    );
    assert_eq!(find(|q| q.text = Some("nowhere".into())), [] as [u128; 0]);
    assert_eq!(
        find(|q| q.text = Some("data.analyze".into())),
        [4, 3, 1],
        "capabilities too"
    );
    assert_eq!(find(|q| q.category = Some("writing".into())), [2]);
    assert_eq!(find(|q| q.tags = vec!["tables".into()]), [3, 1]);
    assert_eq!(find(|q| q.tags = vec!["tables".into(), "fast".into()]), [1]);
    assert_eq!(find(|q| q.capabilities = names(&["text.write"])), [2]);
    assert_eq!(
        find(|q| q.capabilities = names(&["text.write", "data.analyze"])),
        []
    );
    assert_eq!(
        find(|q| q.min_trust = Some(TrustScore::try_from(0.5).unwrap())),
        [2, 1]
    );
    assert_eq!(find(|q| q.pricing = Some(PricingType::Free)), [2]);
    assert_eq!(find(|q| q.org = Some(OrgId(BETA))), [4, 3]);
    assert_eq!(find(|q| q.verified = Some(true)), [2, 1]);
    assert_eq!(find(|q| q.verified = Some(false)), [4, 3]);
    let most = |amount| {
        Some(Charge {
            amount,
            currency: eur(),
        })
    };
    let find = |query| found(&topic, GAMMA, &query);
    assert_eq!(
        find(query(|q| q.max_price = most(250))),
        [2, 1],
        "free, and in that currency"
    );
    assert_eq!(find(query(|q| q.max_price = most(249))), [2]);
    let monthly =
        |amount| query(|q| (q.max_price, q.pricing) = (most(amount), Some(PricingType::Monthly)));
    assert_eq!(find(monthly(100)), [3]);
    assert_eq!(find(monthly(99)), []);
}

#[test]
fn each_order_is_the_one_that_it_says() {
    let mut topic = shop();
    for (id, rating) in [(2, 3), (3, 5)] {
        let org = GAMMA;
        topic.subscribe(org, id, id).unwrap();
        topic.use_it(id, id, &[1], Count::default());
        topic.rate(org, id, rating).unwrap();
    }
    let sorted = |sort| found(&topic, GAMMA, &query(|q| q.sort = sort));
    assert_eq!(sorted(MarketSort::Newest), [4, 3, 2, 1]);
    assert_eq!(sorted(MarketSort::Trust), [1, 2, 4, 3]);
    assert_eq!(sorted(MarketSort::Rating), [3, 2, 4, 1]);
    assert_eq!(
        sorted(MarketSort::Price),
        [2, 1, 4, 3],
        "free, EUR, USD, by the month"
    );
    assert_eq!(sorted(MarketSort::Relevance), [4, 3, 2, 1]);
}

#[test]
fn pages_meet_in_every_order_whatever_their_size() {
    let mut topic = Topic::new();
    for id in 1..=23 {
        // Many are alike in what they are sorted by.
        put(&mut topic, if id % 2 == 0 { ACME } else { BETA }, id, |c| {
            c.agents = names(&[["good", "fair", "poor"][(id % 3) as usize]]);
        });
        topic.now -= i64::from(id % 4 == 0);
    }
    for sort in MarketSort::ALL {
        let whole = found(&topic, GAMMA, &query(|q| q.sort = sort));
        assert_eq!(whole.len(), 23);
        for limit in [1, 2, 5, 22, 23] {
            let (mut pages, mut after) = (Vec::new(), None);
            loop {
                let query = query(|q| (q.sort, q.after) = (sort, after));
                let page = topic
                    .state
                    .search(&asker(GAMMA), &query, &Known, limit)
                    .unwrap();
                pages.extend(page.listings.iter().map(|one| one.listing.0 >> 80));
                let Some(next) = page.next else { break };
                assert_eq!(page.listings.len(), limit);
                let json = serde_json::to_string(&next).unwrap();
                after = Some(serde_json::from_str(&json).unwrap());
            }
            assert_eq!(pages, whole, "{sort}, {limit}");
        }
    }
}

#[test]
fn who_searches_finds_what_is_for_them_and_no_more() {
    let mut topic = Topic::new();
    put(&mut topic, ACME, 1, |_| ());
    put(&mut topic, ACME, 2, |c| c.visibility = Visibility::Unlisted);
    put(&mut topic, ACME, 3, |c| {
        c.visibility = Visibility::InviteOnly;
        c.invited = vec![org_name(BETA)];
    });
    topic.list(ACME, 4, content("draft")).unwrap();
    topic.list(ACME, 5, content("waits")).unwrap();
    topic.submit(ACME, 5).unwrap();
    put(&mut topic, ACME, 6, |_| ());
    topic.archive(ACME, 6).unwrap();
    put(&mut topic, ACME, 7, |_| ());
    topic.review(7, ReviewVerdict::Suspend).unwrap();
    put(&mut topic, ACME, 8, |_| ());
    topic.retitle(ACME, 8, "Pending").unwrap();
    topic.submit(ACME, 8).unwrap();
    let sorted = |org, query: &MarketQuery| {
        let mut found = found(&topic, org, query);
        found.sort_unstable();
        found
    };
    let all = MarketQuery::default();
    assert_eq!(sorted(GAMMA, &all), [1, 8]);
    assert_eq!(
        sorted(BETA, &all),
        [1, 3, 8],
        "and what they are invited to"
    );
    assert_eq!(sorted(ACME, &all), [1, 2, 3, 8], "one's own");
    assert_eq!(sorted(0, &all), [1, 8], "an operator looks like anybody");
    let own = query(|q| q.own = true);
    assert_eq!(sorted(ACME, &own), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(sorted(BETA, &own), []);
    let pending = query(|q| (q.own, q.text) = (true, Some("pending".into())));
    assert_eq!(sorted(ACME, &pending), [8], "by what was written last");
    assert_eq!(
        sorted(GAMMA, &query(|q| q.text = Some("pending".into()))),
        []
    );
    let waits = query(|q| q.in_review = true);
    assert_eq!(sorted(0, &waits), [5, 8]);
    assert_eq!(sorted(ACME, &waits), [], "that is for operators");
    let own = query(|q| (q.own, q.in_review) = (true, true));
    assert_eq!(sorted(0, &own), [], "none of these is the operator's own");
}

#[test]
fn a_search_or_a_page_beyond_its_limits_is_refused() {
    let topic = shop();
    let refused = |query: MarketQuery, limit| {
        let found = topic.state.search(&asker(GAMMA), &query, &Known, limit);
        found.unwrap_err().to_string()
    };
    assert_eq!(
        refused(MarketQuery::default(), 0),
        "limit is 0, outside 1..=100"
    );
    assert_eq!(
        refused(MarketQuery::default(), 101),
        "limit is 101, outside 1..=100"
    );
    let long = query(|q| q.text = Some("x".repeat(1_025)));
    assert_eq!(refused(long, 1), "text bytes is 1025, outside 0..=1024");
    let many = query(|q| q.tags = vec!["a".into(); 65]);
    assert_eq!(refused(many, 1), "tags is 65, outside 0..=64");
    let many = query(|q| q.capabilities = vec![names(&["a"]).remove(0); 65]);
    assert_eq!(refused(many, 1), "capabilities is 65, outside 0..=64");
    assert!(refused(query(|q| q.category = Some("No".into())), 1).starts_with("category `No`"));
    assert!(refused(query(|q| q.tags = vec!["No".into()]), 1).starts_with("tags `No`"));
}
