//! Doors translate between the outside and the inside; they decide nothing.

pub mod clamd;
pub mod control;
pub mod log;
pub mod metrics;
pub mod secret;
pub mod sftp;
pub mod smtp;
pub mod systemd;
