//! What a peer is told of a copy's end after a burst, while it answers nothing.

use super::{MOST_STANDING, STANDING, may_say};

#[test]
fn after_a_burst_a_quiet_peer_is_told_where_the_copy_ends_however_it_was_synced() {
    // A copy that has 1,000 records, synced a part at a time: as much as the peer is told of must be
    // all of it in the end, with requests that the peer has no reason to answer.
    for part in [1, 3, 100, 400, 999, 1000] {
        let (mut standing, mut told, mut flushed) = (STANDING, 0, 0);
        while flushed < 1000 {
            flushed = 1000.min(flushed + part);
            if may_say(standing, || flushed == 1000) {
                (standing, told) = (standing + 1, flushed);
            }
        }
        assert_eq!(told, 1000, "synced {part} at a time");
        assert!(standing <= MOST_STANDING, "{standing} requests stand");
    }
    assert!(!may_say(MOST_STANDING, || true), "none above the limit");
}
