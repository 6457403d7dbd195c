#![no_main]
mod bodies;
mod control_bodies;
mod directory;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| control_bodies::control(bytes));
