//! The `npayload-inspect` command.
fn main() {}
