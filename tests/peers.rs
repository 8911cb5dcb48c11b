//! The doors against real peers: clamd, aiosmtpd, postfix. A peer that is not installed fails its tests; `tests/tools`
//! installs them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test file as a whole")]

mod support;

mod peers {
    pub(crate) mod bounces;
    pub(crate) mod clamd;
    pub(crate) mod mail;
    pub(crate) mod outside;
    pub(crate) mod postfix;
}

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Longest wait for a peer to come up; generous, since the machine may be busy.
const START_MAX: Duration = Duration::from_mins(1);

/// The program of this package.
fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/bin", "/sbin"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).chain(more).map(|dir| dir.join(name));
    places.find(|file| file.is_file()).unwrap_or_else(|| panic!("{name} is not installed: package {package}"))
}

/// Waits until something is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < START_MAX, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port that nobody uses right now.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A process that ends with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
