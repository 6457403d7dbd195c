//! What a region wants of the others: declared, or because somebody reads it; folded from the
//! topic `__interest`.

mod event;
mod state;
#[cfg(test)]
mod tests;

pub use event::{Declared, Expired, Idle, InterestEvent, ReadBegun, Removed, Since, Wish};
pub use state::{
    Automatic, DeclareError, InterestRow, Interests, MAX_DECLARED, MAX_DECLARED_IN_REGION,
    MAX_TYPES,
};
