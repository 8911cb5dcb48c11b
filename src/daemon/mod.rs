//! The daemon: builds the parts, starts the loops and doors, and joins them again.

mod house;
mod live;
pub mod loops;
mod running;

pub use house::{House, World};
pub use running::{Running, serve, start, sweep};
