//! todoke, a batch file gateway: the map of the crate, in reading order.

pub mod model;

pub mod filing;
pub mod rules;
pub mod signed;

pub mod store;

pub mod client;
pub mod work;

pub mod doors;

pub mod config;
pub mod desk;

pub mod cli;
pub mod daemon;

#[cfg(test)]
mod small_world;
