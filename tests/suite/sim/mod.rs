//! The whole broker from one seed: clock, disk, network, randomness, and what happens next.

mod chance;
mod check;
mod clients;
mod disk;
mod faults;
mod found;
mod history;
mod life;
mod network;
mod request;
mod restart;
mod seeds;
mod server;
mod trace;
mod world;
