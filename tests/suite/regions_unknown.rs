//! A region that can not know what others have taken over from it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{Ran, wait_for};
use crate::regions::Region;
use crate::regions_move::{knows_home, move_to};

/// `us-east` takes `orders` over from `eu-west` by force while that is down. `eu-west` hears of it, and
/// is stopped in order, so that no journal has what it has heard.
pub fn taken_over(east: &mut Region, west: &mut Region) {
    east.peers = vec![format!("eu-west={}", west.url())];
    east.kill();
    east.restart();
    east.linked();
    west.linked();
    west.publish("orders", &["one"]);
    east.run(&["interest", "add", "orders", "--from", "start"])
        .ok();
    east.has("orders", 1);
    west.kill();
    move_to(east, "orders", "us-east", true);
    west.restart();
    knows_home(west, "orders", "us-east");
    assert_eq!(west.stop(), 0);
}

/// The segment of a region in which another says that it has taken a home.
pub fn tells_of_homes(region: &Region) -> Option<PathBuf> {
    let logs = fs::read_dir(region.data.join("channels")).expect("a folder");
    let mut segments = logs.map(|log| {
        let folder = log.expect("an entry").path();
        folder.join("00000000000000000000.log")
    });
    let says = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap_or_default();
        bytes.windows(10).any(|text| text == b"home.taken")
    };
    segments.find(says)
}

/// Flips the last bit of a segment that is set: in the last letter of what was said there last.
pub fn damage_end(segment: &Path) {
    let mut bytes = fs::read(segment).expect("a segment");
    let last = bytes.iter().rposition(|byte| *byte != 0).expect("a record");
    bytes[last] ^= 1;
    fs::write(segment, bytes).expect("a segment");
}

fn publish(region: &Region, line: &str) -> Ran {
    let input = format!("{line}\n");
    region
        .broker()
        .run_with(&["publish", "orders"], input.as_bytes())
}

#[test]
fn who_can_not_know_what_was_taken_over_takes_no_writes() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut east = Region::start(dir.path(), "us-east", &[]);
    let mut west = Region::start(dir.path(), "eu-west", &[&east]);
    taken_over(&mut east, &mut west);
    east.kill();
    damage_end(&tells_of_homes(&west).expect("the topic"));
    west.restart();
    let refused = publish(&west, "of eu-west alone").err;
    assert!(refused.contains("DAMAGED"), "{refused}");
    assert!(refused.contains("us-east"), "{refused}");
    assert!(refused.contains("__homes"), "{refused}");
    assert_eq!(west.records("orders").len(), 1, "it is read");
    let refused = west.run(&["channel", "configure", "orders", "--retention-days", "9"]);
    assert!(refused.err.contains("DAMAGED"), "{}", refused.err);
    // Whoever has said it says it again.
    east.restart();
    knows_home(&west, "orders", "us-east");
    wait_for("eu-west to send what it is asked for to its home", || {
        (publish(&west, "by way of eu-west").code == 0).then_some(())
    });
    let all = east.records("orders");
    assert_eq!(all[&0], "one");
    assert_eq!(all[&1], "by way of eu-west");
    west.has("orders", 2);
    assert_eq!(west.records("orders"), all);
    // Also after a restart of its own.
    west.kill();
    west.restart();
    knows_home(&west, "orders", "us-east");
}
