//! The whole broker from one seed: clock, disk, network, randomness, and what happens next.

pub mod chance;
mod check;
mod clients;
pub mod disk;
pub mod faults;
mod found;
mod history;
mod life;
mod network;
pub mod request;
mod restart;
mod seeds;
mod server;
pub mod trace;
pub mod world;
