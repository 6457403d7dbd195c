#![no_main]
mod bodies;
mod directory;
mod inspect_bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| inspect_bodies::inspect(bytes));
