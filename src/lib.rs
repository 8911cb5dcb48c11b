//! todoke, a batch file gateway: the map of the crate, in reading order.

pub mod doors;
pub mod model;
