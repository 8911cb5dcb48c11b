//! Doors translate between the outside and the inside; they decide nothing.

pub mod sftp;
