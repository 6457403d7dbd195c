//! The directory that all regions share: which regions there are, which channels and where each
//! was made, and who may hold their bytes; folded from the topic `__regions`.

mod event;
mod state;
#[cfg(test)]
mod tests;

pub use event::{
    Consent, Crossing, Joined, Left, Named, RegionEvent, Scope, Side, Spread, Unnamed,
};
pub use state::{NameError, NamedChannel, RegionRow, Regions, Words};
