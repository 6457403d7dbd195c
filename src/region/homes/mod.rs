//! Who is home of which log: what each region says of itself on its topic `__homes`, who is home
//! because of that, which batches belong to the log, and the steps of a move.

mod event;
mod lineage;
mod moves;
mod state;
#[cfg(test)]
mod tests;

pub use event::{Acknowledged, Declined, Fenced, HomeEvent, Missing, Taken};
pub use lineage::{Lineage, Run, Verdict};
pub use moves::{Held, Move, MoveError};
pub use state::{Claim, Fence, Home, HomeRow, Homes};
