//! The SFTP door: an SSH server (`russh`) and on it an SFTP version 3 server layer of our own.
//!
//! In reading order: [`port`] is what stands behind the door; [`config`] the bounds; `server` accepts connections,
//! each of which is one `connection` over one `stream` with one `handler` for russh. A channel that asked for the
//! subsystem gets a `session`: the handler puts what arrives into its `queue`, the session runs whole batches of it
//! through its `engine` on a blocking thread, and a pump writes the `output` back. The engine parses and answers by
//! [`wire`], resolves names by [`path`], and keeps open files in `handles`.

pub mod account;
pub mod config;
pub mod gate;
pub mod insurer;
pub mod office;
pub mod path;
pub mod port;
pub mod server;
pub mod wire;

mod connection;
mod engine;
mod handler;
mod handles;
mod longname;
mod output;
mod queue;
mod readers;
mod session;
mod startups;
mod stream;
mod texts;
mod uploads;
mod words;

pub use config::Limits;
pub use server::{Drained, ServerHandle, SessionInfo, start};
