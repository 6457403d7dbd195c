//! Every kind of file damaged in every way: what comes of it is what docs/durability.md says, and
//! in no case are wrong bytes served, other channels touched, or bytes deleted.

pub mod case;
mod flips;
mod laws;
mod matrix;
mod outcome;
mod reading;
