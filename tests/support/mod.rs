//! A world for tests of the SFTP door: a server on the loopback, a folder behind it, keys, and a raw client.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::case_sensitive_file_extension_comparisons,
    clippy::struct_field_names,
    clippy::missing_panics_doc,
    reason = "part of tests; each test file uses its own part"
)]

pub mod dir;
pub mod gateway;
pub mod mailhost;
pub mod passwords;
pub mod raw;
pub mod scanner;
pub mod served;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use russh::keys::{PrivateKey, load_public_key, load_secret_key};
use tempfile::TempDir;
use todoke::doors::sftp::{Limits, ServerHandle, start};
use todoke::model::time::SystemClock;
use tokio::runtime::Runtime;

/// The account that all tests use.
pub const ACCOUNT: &str = "K0001";

pub struct World {
    pub temp: TempDir,
    /// What the server shows.
    pub root: PathBuf,
    /// Where clients work.
    pub work: PathBuf,
    pub port: u16,
    pub server: ServerHandle,
    pub tree: Arc<dir::Dir>,
    pub gate: Arc<dir::Keys>,
    pub runtime: Runtime,
}

impl World {
    pub fn new() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let temp = tempfile::tempdir().unwrap();
        let (root, work) = (temp.path().join("root"), temp.path().join("work"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&work).unwrap();
        for (name, kind) in [("host", "ed25519"), ("key", "ed25519"), ("other", "ed25519"), ("rsa", "rsa")] {
            let file = temp.path().join(name);
            let made = Command::new("ssh-keygen")
                .args(["-q", "-N", "", "-C", "", "-t", kind, "-f"])
                .arg(&file)
                .status()
                .expect("ssh-keygen (openssh-client)");
            assert!(made.success());
        }
        let tree = Arc::new(dir::Dir::new(&root));
        let keys = ["key", "rsa"]
            .map(|name| load_public_key(temp.path().join(name).with_extension("pub")).unwrap())
            .map(|key| (ACCOUNT.to_owned(), key));
        let gate = Arc::new(dir::Keys::new(keys.into(), tree.clone()));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let host_key = load_secret_key(temp.path().join("host"), None).unwrap();
        let (server, port) = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            (start(vec![listener], vec![host_key], limits, gate.clone(), Arc::new(SystemClock)), port)
        });
        let known = fs::read_to_string(temp.path().join("host.pub")).unwrap();
        fs::write(temp.path().join("known_hosts"), format!("[127.0.0.1]:{port} {known}")).unwrap();
        Self { temp, root, work, port, server, tree, gate, runtime }
    }

    /// A file beside the tree: `key`, `other`, `rsa`, each with its `.pub`, and `known_hosts`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    pub fn secret(&self, name: &str) -> Arc<PrivateKey> {
        Arc::new(load_secret_key(self.file(name), None).unwrap())
    }

    /// Options of `ssh`, `sftp` and `scp` for this server.
    pub fn ssh_options(&self) -> Vec<String> {
        let known = self.file("known_hosts");
        [
            "BatchMode=yes".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            format!("UserKnownHostsFile={}", known.display()),
            format!("IdentityFile={}", self.file("key").display()),
            format!("Port={}", self.port),
        ]
        .into_iter()
        .flat_map(|option| ["-o".to_owned(), option])
        .collect()
    }

    /// The connection to this server in the words of `ssh`.
    pub fn ssh_command(&self) -> String {
        format!("ssh -F none {}", self.ssh_options().join(" "))
    }

    /// Runs stock `sftp` with a batch in the working folder.
    pub fn sftp(&self, more: &[&str], batch: &str) -> Output {
        fs::write(self.file("batch"), batch).unwrap();
        let mut command = Command::new("sftp");
        command.args(["-F", "none"]).args(self.ssh_options()).args(more).arg("-b").arg(self.file("batch"));
        self.run(command.arg(format!("{ACCOUNT}@127.0.0.1")))
    }

    /// Runs a client in the working folder; one that is missing, or that hangs, fails the test.
    pub fn run(&self, command: &mut Command) -> Output {
        let name = format!("{command:?}");
        let mut child = command
            .current_dir(&self.work)
            .env("HOME", &self.work)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}; the tests need every client installed"));
        let pid = rustix::process::Pid::from_child(&child);
        let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let out = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut out, &mut bytes).map(|_| bytes).unwrap_or_default()
        });
        let err = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut err, &mut bytes).map(|_| bytes).unwrap_or_default()
        });
        let deadline = Instant::now() + Duration::from_mins(2);
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                panic!("{name} hangs; server: {:?}", self.server.sessions());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() }
    }

    /// Writes a file of so many bytes, none like its neighbours, into the working folder.
    pub fn make(&self, name: &str, bytes: usize) -> Vec<u8> {
        let content = content(bytes);
        fs::write(self.work.join(name), &content).unwrap();
        content
    }

    /// Waits for something that must become true.
    pub fn wait_until(&self, what: &str, mut test: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !test() {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.server.sessions());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

pub fn content(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(bytes);
    content
}

pub fn read(path: impl AsRef<Path>) -> Vec<u8> {
    let path = path.as_ref();
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The client's output, for messages.
pub fn text(output: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[track_caller]
pub fn succeeds(output: &Output) {
    assert!(output.status.success(), "{}", text(output));
}
