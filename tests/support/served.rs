//! The daemon of a [`Gateway`] as a process of its own: to be killed while others use the gateway, or started in another
//! environment.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "part of tests; each test file uses its own part"
)]

use std::fs;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::gateway::{Gateway, until};

/// `todoke -C g serve`.
pub struct Served(Child);

impl Served {
    /// Starts it, changed by `prepare`, and waits until it serves.
    pub fn start(gateway: &Gateway, prepare: impl FnOnce(&mut Command)) -> Self {
        let mut served = Self::spawn(gateway, prepare);
        let socket = gateway.spool().join("control.sock");
        until("the daemon serves", || {
            let ended = served.0.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended: {ended:?}\n{}", gateway.log());
            UnixStream::connect(&socket).is_ok()
        });
        served
    }

    /// Starts it, changed by `prepare`.
    pub fn spawn(gateway: &Gateway, prepare: impl FnOnce(&mut Command)) -> Self {
        let log = fs::File::options().append(true).create(true).open(gateway.file("log")).unwrap();
        let mut serve = Command::new(env!("CARGO_BIN_EXE_todoke"));
        serve.current_dir(gateway.temp.path()).args(["-C", "g", "serve"]).stdin(Stdio::null()).stderr(log);
        prepare(&mut serve);
        Self(serve.spawn().unwrap())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), signal).unwrap();
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Waits until it ends by itself.
    pub fn ends(&mut self) -> ExitStatus {
        let mut status = None;
        until("the daemon ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Ends it at once.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
