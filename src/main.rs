//! The `npayload` command.
fn main() {}
