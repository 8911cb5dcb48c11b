//! todoke, a batch file gateway: the map of the crate, in reading order.

pub mod model;
pub mod rules;

pub mod filing;
pub mod signed;
pub mod store;

pub mod work;

pub mod doors;

#[cfg(test)]
mod small_world;
