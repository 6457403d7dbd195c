//! Files that TLS needs, good and bad.
