//! Doors translate between the outside and the inside; they decide nothing.

pub mod control;
pub mod sftp;
