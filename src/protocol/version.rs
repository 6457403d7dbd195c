//! Versions: of the protocol as a whole, settled by the hello, and of each request kind.

/// Oldest protocol version this code speaks.
pub const MIN_PROTOCOL: u16 = 1;

/// Newest protocol version this code speaks.
pub const MAX_PROTOCOL: u16 = 1;

/// The newest protocol version that both sides speak, or `None` when there is none.
///
/// `client_min` and `client_max` are inclusive, as in the hello.
#[must_use]
pub fn negotiate(client_min: u16, client_max: u16) -> Option<u16> {
    let version = client_max.min(MAX_PROTOCOL);
    (client_min <= version && version >= MIN_PROTOCOL).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_is_chosen() {
        assert_eq!(negotiate(1, 1), Some(1));
        assert_eq!(negotiate(0, 9), Some(1));
        assert_eq!(negotiate(2, 9), None);
        assert_eq!(negotiate(0, 0), None);
        assert_eq!(negotiate(1, 0), None);
    }
}
