//! A market that cannot be read.

use std::io::IoSlice;

use npayload::asp::market::MarketQuery;
use npayload::storage::disk::OpenMode;

use super::*;
use crate::stored::read_file;

/// Flips the last bit of the first batch of a topic's segment; what stood there before.
fn damage(fair: &mut Fair, topic: &str) -> (std::path::PathBuf, Vec<u8>) {
    fair.floor.now += crate::storage_harness::CHECKPOINT_MS;
    fair.floor.rounds();
    let name = npayload::types::ChannelName::parse_any(topic).unwrap();
    let log = fair.floor.broker.identity_of(&name).unwrap();
    let dir = Path::new(ROOT).join("channels").join(log.to_string());
    let path = dir.join(format!("{:020}.log", 0));
    let bytes = read_file(&fair.floor.disk, &path);
    let header = npayload::format::BatchHeader::peek(&bytes[4096..]).unwrap();
    let mut damaged = bytes.clone();
    damaged[4096 + header.len() - 1] ^= 1;
    write(&fair.floor.disk, &path, &damaged);
    (path, bytes)
}

fn write(disk: &CrashingDisk, path: &Path, bytes: &[u8]) {
    let file = disk.open(path, OpenMode::Create).unwrap();
    file.set_len(0).unwrap();
    file.write_at(0, &[IoSlice::new(bytes)]).unwrap();
}

#[test]
fn a_market_that_cannot_be_read_shows_nobody_and_meters_what_ended_once_it_is_restored() {
    let mut fair = Fair::new();
    let listing = fair.publish(content(&["bot"]));
    let id = fair.subscribe(listing);
    let session = fair.open("agent://acme/bot").unwrap();
    fair.assign_after_accept(session);
    let (path, intact) = damage(&mut fair, "__asp.market");
    let mut fair = fair.reopened();
    assert!(!fair.sees("bot"), "what is not known shows nobody");
    let (beta, acme, at) = (fair.beta, fair.acme, fair.at());
    let broker = &mut fair.floor.broker;
    for refused in [
        broker.see_listing(&beta, listing, at).map(drop),
        broker
            .market_to_search(&beta, MarketQuery::default(), None, at)
            .map(drop),
        broker
            .subscription_usage(&beta, id, None, None, at)
            .map(drop),
        broker
            .create_listing(&acme, None, content(&["bot"]), at)
            .map(drop),
        broker
            .subscribe_listing(&beta, None, listing, None, at)
            .map(drop),
    ] {
        let error = refused.unwrap_err().error;
        let BrokerError::Asp(error) = error else {
            panic!("{error}");
        };
        assert!(matches!(*error, AspError::Unavailable(_)), "{error}");
    }
    // All else goes on.
    fair.say(beta, session, "lead", Performative::Inform);
    fair.say(beta, session, "lead", Performative::Close);
    fair.floor.look();
    write(&fair.floor.disk, &path, &intact);
    let mut fair = fair.reopened();
    assert!(fair.sees("bot"));
    fair.floor.look();
    assert_eq!((fair.tally(id), fair.unmetered()), (tally(1, 4, 1), 0));
    let fair = fair.reopened();
    assert_eq!(fair.tally(id), tally(1, 4, 1), "it is on the record");
}
