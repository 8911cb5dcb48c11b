//! What a payroll system runs: a client of the gateway.

pub mod sftp;
