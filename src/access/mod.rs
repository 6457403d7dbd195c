//! Organisations, keys and scopes; pure.
//!
//! Nothing is here yet: everybody who reaches the broker is the same principal, number 0, which
//! the batch header already has room for. Until then a broker listens on loopback, or says
//! `--insecure`.
