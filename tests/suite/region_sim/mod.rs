//! Three regions from one seed: real brokers on disks that crash, the lines between them, what each
//! asks for, and what goes wrong; with a checker that knows what every home has synced.
//!
//! What decides is the code that runs: the broker, the cursor of a copy, the check of a follow, the
//! state of a link, interest, homes and their lineage. Tasks, sockets and frames are not here; tests
//! with processes have them.

mod copying;
mod homes;
mod life;
mod link;
mod moving;
mod region;
mod seeds;
mod source;
mod widening;
mod world;
