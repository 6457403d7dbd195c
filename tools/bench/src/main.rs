//! The `npayload-bench` command.
fn main() {}
