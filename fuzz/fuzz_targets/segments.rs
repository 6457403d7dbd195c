#![no_main]
mod bodies;
mod directory;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| directory::segments(bytes));
