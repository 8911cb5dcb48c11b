//! A whole gateway: the real daemon in a temporary folder, parties made by the command line, clients that are stock OpenSSH.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::print_stderr,
    clippy::format_push_string,
    reason = "part of tests; each test file uses its own part"
)]

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use todoke::config::{Config, file_in};
use todoke::daemon::{self, Running, World};
use todoke::filing::RuleSet;
use todoke::filing::sample::SampleFiling;
use todoke::model::ids::Digest;
use todoke::model::time::{Clock, SystemClock, Timestamp};

/// The insurer of all tests.
pub const INSURER: &str = "06139999";
/// The office of [`ACCOUNT`].
pub const OFFICE: &str = "1234";
/// An office's account; its key is `K0001` in the gateway's folder.
pub const ACCOUNT: &str = "K0001";
/// The insurer's own account; its key is `I0001`.
pub const INSURER_ACCOUNT: &str = "I0001";
/// The longest wait for anything: generous, since the machine may be busy.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A PDF of one empty page.
pub const PDF: &[u8] = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]>>endobj\nxref\n0 4\n0000000000 65535 f \n0000000009 00000 n \n0000000052 00000 n \n0000000101 00000 n \ntrailer<</Size 4/Root 1 0 R>>\nstartxref\n164\n%%EOF\n";

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: &Output) -> Self {
        Self {
            // A program that a signal ended has no code.
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }
}

/// A clock that runs, and can be moved on.
#[derive(Debug, Default)]
pub struct MovedClock(AtomicI64);

impl MovedClock {
    /// Moves it on by so many milliseconds.
    pub fn forward(&self, milliseconds: i64) {
        self.0.fetch_add(milliseconds, Ordering::SeqCst);
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(self.0.load(Ordering::SeqCst))
    }
}

/// How the daemon runs.
enum Daemon {
    /// As the real binary.
    Child(Child),
    /// In this process, by a clock of the test's.
    Inside(Box<Running>),
}

/// A gateway: `temp/g` is what `todoke init` made, `temp/work` is where clients work, `temp/NAME` and `temp/NAME.pub` are keys.
pub struct Gateway {
    pub temp: TempDir,
    /// Where SFTP listens; of the last start.
    pub address: SocketAddr,
    /// The clock of a daemon in this process.
    pub clock: Arc<MovedClock>,
    daemon: Option<Daemon>,
    batches: AtomicUsize,
    /// People that were made up so far.
    filed: AtomicU64,
}

impl Gateway {
    /// Made, with the usual parties, running.
    pub fn new() -> Self {
        let mut gateway = Self::set_up(&[]);
        gateway.start();
        gateway
    }

    /// The same with these settings: section, key, value as TOML has it.
    pub fn with(settings: &[(&str, &str, &str)]) -> Self {
        let mut gateway = Self::set_up(settings);
        gateway.start();
        gateway
    }

    /// Made, with the usual parties (insurer, office 1234, `K0001`, `I0001`), not running.
    pub fn set_up(settings: &[(&str, &str, &str)]) -> Self {
        let gateway = Self::bare(settings);
        gateway.add_insurer(INSURER);
        gateway.add_office(OFFICE);
        gateway.add_account(
            ACCOUNT,
            &["--office", OFFICE, "--user-name", "総務課", "--mail", "soumu@example.jp"],
        );
        gateway.add_account(INSURER_ACCOUNT, &["--role", "insurer"]);
        gateway
    }

    /// Made by `todoke init`, without parties, not running. Nothing waits for mails, free disk or schedules.
    pub fn bare(settings: &[(&str, &str, &str)]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("work")).unwrap();
        let gateway = Self {
            temp,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            clock: Arc::default(),
            daemon: None,
            batches: AtomicUsize::new(0),
            filed: AtomicU64::new(0),
        };
        let init =
            ["init", "g", "--sftp", "127.0.0.1:0", "--smtp", "smtp://127.0.0.1:9", "--scanner", "none"];
        gateway.plain(&init).ends(0);
        let usual = [
            ("metrics", "listen", "\"\""),
            ("submit", "free_bytes_min", "1"),
            ("mail", "gather", "\"0s\""),
            ("mail", "interval", "\"0s\""),
        ];
        gateway.configure(&usual);
        gateway.configure(settings);
        gateway
    }

    /// The folder that `todoke init` made.
    pub fn dir(&self) -> PathBuf {
        self.temp.path().join("g")
    }

    /// The data root.
    pub fn spool(&self) -> PathBuf {
        self.dir().join("spool")
    }

    /// What the insurer sees.
    pub fn insurer_spool(&self) -> PathBuf {
        self.spool().join("insurers").join(INSURER)
    }

    /// Where clients work.
    pub fn work(&self) -> PathBuf {
        self.temp.path().join("work")
    }

    /// A file beside the gateway: a key, the log.
    pub fn file(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Writes a file where clients work; gives its name.
    pub fn make(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Changes lines of `conf/todoke.toml`: section, key, value as TOML has it.
    pub fn configure(&self, settings: &[(&str, &str, &str)]) {
        let path = self.dir().join("conf/todoke.toml");
        let mut lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(Into::into).collect();
        for (section, key, value) in settings {
            let head = format!("[{section}]");
            let begin = lines.iter().position(|l| *l == head).unwrap_or_else(|| panic!("no section {head}"));
            let end = lines[begin + 1..]
                .iter()
                .position(|l| l.starts_with('['))
                .map_or(lines.len(), |n| begin + 1 + n);
            let line = lines[begin..end].iter().position(|l| l.starts_with(&format!("{key} =")));
            let line = begin + line.unwrap_or_else(|| panic!("no key {key} in {head}"));
            lines[line] = format!("{key} = {value}");
        }
        fs::write(&path, lines.join("\n") + "\n").unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_todoke"));
        command.current_dir(self.temp.path()).args(args).stdin(Stdio::null());
        command
    }

    /// `todoke ARGS` beside the gateway's folder.
    pub fn plain(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(args).output().unwrap())
    }

    /// `todoke -C g ARGS`
    pub fn todoke(&self, args: &[&str]) -> Ran {
        self.plain(&[&["-C", "g"], args].concat())
    }

    /// `todoke -C g ARGS --json`, which must succeed.
    #[track_caller]
    pub fn ask(&self, args: &[&str]) -> Value {
        self.todoke(&[args, &["--json"]].concat()).ends(0).json()
    }

    /// Makes a key pair once; gives the secret file.
    pub fn key(&self, name: &str) -> PathBuf {
        let file = self.file(name);
        if !file.exists() {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-N", "", "-C", "", "-t", "ed25519", "-f"])
                .arg(&file)
                .status()
                .expect("ssh-keygen (package openssh-client)");
            assert!(made.success());
        }
        file
    }

    /// `SHA256:...` of a key.
    pub fn fingerprint(&self, name: &str) -> String {
        let output = Command::new("ssh-keygen").arg("-lf").arg(self.key(name)).output().unwrap();
        Ran::of(&output).ends(0).out.split(' ').nth(1).unwrap().to_owned()
    }

    pub fn add_insurer(&self, code: &str) {
        self.todoke(&["insurer", "add", code, "--name", "東京見本健康保険組合"]).ends(0);
    }

    pub fn add_office(&self, code: &str) {
        self.todoke(&["office", "add", code, "--insurer", INSURER, "--name", "株式会社見本工業"]).ends(0);
    }

    /// Adds an account of [`INSURER`] whose key has the account's name.
    pub fn add_account(&self, id: &str, more: &[&str]) {
        let key = self.key(id).with_extension("pub");
        let add = ["account", "add", id, "--insurer", INSURER, "--ssh-key", key.to_str().unwrap()];
        self.todoke(&[&add[..], more].concat()).ends(0);
    }

    /// Starts the real binary and waits until it serves.
    pub fn start(&mut self) {
        assert!(self.daemon.is_none(), "it runs already");
        let log = OpenOptions::new().create(true).append(true).open(self.file("log")).unwrap();
        let mut serve = self.command(&["-C", "g", "serve"]);
        let child = serve.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.daemon = Some(Daemon::Child(child));
        let socket = self.spool().join("control.sock");
        until("the daemon serves", || {
            if let Some(Daemon::Child(child)) = &mut self.daemon
                && let Some(status) = child.try_wait().unwrap()
            {
                panic!(
                    "the daemon ended ({status}):\n{}",
                    fs::read_to_string(self.temp.path().join("log")).unwrap()
                );
            }
            UnixStream::connect(&socket).is_ok()
        });
        let address = self.ask(&["status"])["sftp"].as_str().unwrap().parse().unwrap();
        self.set_address(address);
    }

    /// Starts the daemon in this process, by [`Gateway::clock`].
    pub fn start_inside(&mut self) {
        assert!(self.daemon.is_none(), "it runs already");
        let config = Config::load(&file_in(&self.dir())).unwrap();
        let clock = Arc::clone(&self.clock);
        let began = clock.now();
        let uptime = Arc::clone(&self.clock);
        let world = World { clock, uptime: Arc::new(move || uptime.now().since(began)) };
        let running = daemon::start(config, &world, None).unwrap();
        let address = running.sftp_address();
        self.daemon = Some(Daemon::Inside(Box::new(running)));
        self.set_address(address);
    }

    /// The daemon in this process.
    pub fn running(&self) -> &Running {
        match &self.daemon {
            Some(Daemon::Inside(running)) => running,
            _ => panic!("no daemon runs in this process"),
        }
    }

    /// Finds a daemon that the test started by itself.
    pub fn find(&mut self) {
        let address = self.ask(&["status"])["sftp"].as_str().unwrap().parse().unwrap();
        self.set_address(address);
    }

    fn set_address(&mut self, address: SocketAddr) {
        self.address = address;
        let host = fs::read_to_string(self.spool().join("keys/ssh_host_ed25519_key.pub"))
            .unwrap_or_else(|_| self.host_key());
        fs::write(self.file("known_hosts"), format!("[127.0.0.1]:{} {host}", address.port())).unwrap();
    }

    /// The host's public key, derived from the secret one.
    fn host_key(&self) -> String {
        let secret = self.spool().join("keys/ssh_host_ed25519_key");
        let output = Command::new("ssh-keygen").arg("-yf").arg(secret).output().unwrap();
        Ran::of(&output).ends(0).out
    }

    /// The process of the real binary.
    pub fn pid(&self) -> rustix::process::Pid {
        match &self.daemon {
            Some(Daemon::Child(child)) => rustix::process::Pid::from_child(child),
            _ => panic!("no daemon runs as a process"),
        }
    }

    /// Whether it is still there.
    pub fn is_alive(&mut self) -> bool {
        match &mut self.daemon {
            Some(Daemon::Child(child)) => child.try_wait().unwrap().is_none(),
            Some(Daemon::Inside(_)) => true,
            None => false,
        }
    }

    /// Stops it in order (SIGTERM); it must end well.
    pub fn stop(&mut self) {
        match self.daemon.take() {
            Some(Daemon::Child(mut child)) => {
                let pid = rustix::process::Pid::from_child(&child);
                rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
                let status = ends(&mut child, "the daemon");
                assert!(status.success(), "{status}:\n{}", self.log());
            }
            Some(Daemon::Inside(running)) => running.stop(Duration::from_secs(5)).unwrap(),
            None => {}
        }
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) {
        let Some(Daemon::Child(mut child)) = self.daemon.take() else {
            panic!("no daemon runs as a process")
        };
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// What the daemon said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    /// Options of `ssh` and `sftp` for an account.
    pub fn ssh_options(&self, key: &str) -> Vec<String> {
        let mut options = self.bare_options();
        options.extend(["-o".to_owned(), format!("IdentityFile={}", self.key(key).display())]);
        options
    }

    /// The same without a key.
    fn bare_options(&self) -> Vec<String> {
        [
            "BatchMode=yes".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            format!("UserKnownHostsFile={}", self.file("known_hosts").display()),
            format!("Port={}", self.address.port()),
        ]
        .into_iter()
        .flat_map(|option| ["-o".to_owned(), option])
        .collect()
    }

    /// Stock `sftp` with this key, without batch and account, not started.
    pub fn sftp_command(&self, key: &str, more: &[&str]) -> Command {
        let mut command = Command::new("sftp");
        command.args(["-F", "none"]).args(self.ssh_options(key)).args(more);
        command.current_dir(self.work()).env("HOME", self.work());
        command
    }

    /// Runs stock `sftp -b` as this account where clients work.
    pub fn sftp(&self, account: &str, batch: &str) -> Ran {
        self.sftp_with(account, account, &[], batch)
    }

    /// The same with another key, or more options.
    pub fn sftp_with(&self, account: &str, key: &str, more: &[&str], batch: &str) -> Ran {
        self.run_batch(self.sftp_command(key, more), account, batch)
    }

    /// The same with what these options name: no key of the gateway's folder.
    pub fn sftp_bare(&self, account: &str, options: &[&str], batch: &str) -> Ran {
        self.run_batch(self.bare_command(options), account, batch)
    }

    fn bare_command(&self, options: &[&str]) -> Command {
        let mut command = Command::new("sftp");
        command.args(["-F", "none"]).args(self.bare_options()).args(options);
        command.current_dir(self.work()).env("HOME", self.work());
        command
    }

    fn run_batch(&self, mut command: Command, account: &str, batch: &str) -> Ran {
        let file = self.file(&format!("batch-{}", self.batches.fetch_add(1, Ordering::Relaxed)));
        fs::write(&file, batch).unwrap();
        command.arg("-b").arg(&file).arg(format!("{account}@127.0.0.1"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("sftp (package openssh-client)");
        let (out, err) = (drain(child.stdout.take().unwrap()), drain(child.stderr.take().unwrap()));
        let status = ends(&mut child, batch);
        Ran::of(&Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() })
    }

    /// A session that stays open.
    pub fn session(&self, account: &str, key: &str, more: &[&str]) -> SftpSession {
        self.hold(self.sftp_command(key, more), account)
    }

    /// The same with what these options name: no key of the gateway's folder.
    pub fn session_bare(&self, account: &str, options: &[&str]) -> SftpSession {
        self.hold(self.bare_command(options), account)
    }

    fn hold(&self, mut command: Command, account: &str) -> SftpSession {
        let n = self.batches.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (self.file(&format!("out-{n}")), self.file(&format!("err-{n}")));
        command.args(["-b", "-"]).arg(format!("{account}@127.0.0.1")).stdin(Stdio::piped());
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let mut child = command.spawn().expect("sftp (package openssh-client)");
        let stdin = child.stdin.take();
        SftpSession { child, stdin, out, err, mark: self.file(&format!("mark-{n}")), marks: 0 }
    }

    /// A file of the account's view; none if it is not there.
    pub fn get(&self, account: &str, path: &str) -> Option<Vec<u8>> {
        let to = self.file(&format!("got-{}", self.batches.fetch_add(1, Ordering::Relaxed)));
        let ran = self.sftp(account, &format!("get {path} {}\n", to.display()));
        (ran.code == 0).then(|| fs::read(&to).unwrap())
    }

    /// The receipt of a set, if there is one.
    pub fn receipt(&self, account: &str, set: &Set) -> Option<Value> {
        let path = format!("/receipts/by-manifest/{}.json", set.sha256());
        self.get(account, &path).map(|bytes| serde_json::from_slice(&bytes).unwrap())
    }

    /// Writes a set, signed by a key, into a folder of its own where clients work; gives the folder's name.
    pub fn lay_out(&self, set: &Set, key: &str) -> String {
        let name = format!("set-{}", self.batches.fetch_add(1, Ordering::Relaxed));
        for (file, bytes) in &set.files {
            self.make(&format!("{name}/{file}"), bytes);
        }
        self.make(&format!("{name}/SHA256SUMS"), &set.manifest);
        self.make(&format!("{name}/SHA256SUMS.sig"), self.sign(&set.manifest, key, "todoke"));
        name
    }

    /// An SSHSIG by stock `ssh-keygen`.
    pub fn sign(&self, bytes: &[u8], key: &str, namespace: &str) -> Vec<u8> {
        let mut child = Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", namespace, "-f"])
            .arg(self.key(key))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ssh-keygen (package openssh-client)");
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    /// Sends a set as DESIGN has it: a folder named by the manifest's hash, the signature last.
    pub fn send(&self, account: &str, set: &Set) -> Ran {
        self.send_signed(account, set, account)
    }

    /// The same, signed with another key.
    pub fn send_signed(&self, account: &str, set: &Set, key: &str) -> Ran {
        let from = self.lay_out(set, key);
        self.sftp(account, &set.batch(&from))
    }

    /// Sends a set that must be taken; its receipt.
    #[track_caller]
    pub fn send_taken(&self, account: &str, set: &Set) -> Value {
        self.send(account, set).ends(0);
        self.receipt(account, set).expect("a receipt")
    }

    /// Today, where the gateway counts days.
    pub fn today(&self) -> chrono::NaiveDate {
        self.clock.now().date_in(chrono_tz::Asia::Tokyo)
    }

    /// A filing of so many records, about other people with each call: a repeat would be refused (K53).
    pub fn filing(&self, records: u64) -> Vec<u8> {
        let first = self.filed.fetch_add(records, Ordering::Relaxed);
        let rules = RuleSet::builtin().unwrap();
        SampleFiling::starting_at(&rules, &["2200700"], first, records, self.today()).bytes()
    }

    /// A sound set: a filing of so many records and its cover sheet.
    pub fn set(&self, records: u64) -> Set {
        Set::of("", vec![("KPFD0006.CSV", self.filing(records)), ("soukatsu.pdf", PDF.to_vec())])
    }

    /// The same with comment lines at the manifest's top.
    pub fn set_with(&self, head: &str, records: u64) -> Set {
        let set = self.set(records);
        Set { manifest: [head.as_bytes(), &set.manifest].concat(), files: set.files }
    }

    /// The state of a submission, as the operator sees it.
    pub fn state(&self, number: &str) -> String {
        self.ask(&["submission", "show", number])["state"].as_str().unwrap().to_owned()
    }

    /// Waits until a submission is in this state.
    #[track_caller]
    pub fn reaches(&self, number: &str, state: &str) {
        until(&format!("{number} is {state}"), || self.state(number) == state);
    }

    /// Every file under the data root.
    pub fn tree(&self) -> Vec<PathBuf> {
        files_under(&self.spool())
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(Daemon::Child(child)) = &mut self.daemon {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.log());
        }
    }
}

/// A set to send: files and the manifest that names them.
#[derive(Debug, Clone)]
pub struct Set {
    pub files: Vec<(String, Vec<u8>)>,
    pub manifest: Vec<u8>,
}

impl Set {
    /// These files, with these comment lines at the manifest's top.
    pub fn of(head: &str, files: Vec<(&str, Vec<u8>)>) -> Self {
        let files: Vec<(String, Vec<u8>)> = files.into_iter().map(|(n, b)| (n.to_owned(), b)).collect();
        let lines = files.iter().map(|(name, bytes)| format!("{}  {name}\n", Digest::of(bytes)));
        let manifest = head.to_owned() + &lines.collect::<String>();
        Self { files, manifest: manifest.into_bytes() }
    }

    /// The manifest's hash: the name of the folder and of the receipt.
    pub fn sha256(&self) -> String {
        Digest::of(&self.manifest).to_string()
    }

    /// The batch that sends it from this folder, as DESIGN has it.
    pub fn batch(&self, from: &str) -> String {
        let folder = self.sha256();
        let names = self.files.iter().map(|(name, _)| name.as_str()).chain(["SHA256SUMS", "SHA256SUMS.sig"]);
        let puts = names.map(|name| format!("put \"{from}/{name}\" /submit/{folder}/\n"));
        format!("-mkdir /submit/{folder}\n{}", puts.collect::<String>())
    }
}

/// A stock `sftp` that is told what to do step by step.
pub struct SftpSession {
    child: Child,
    stdin: Option<ChildStdin>,
    out: PathBuf,
    err: PathBuf,
    mark: PathBuf,
    marks: usize,
}

impl SftpSession {
    /// Tells it something (lines; a leading `-` lets it go on after an error) without waiting.
    pub fn tell(&mut self, batch: &str) {
        let stdin = self.stdin.as_mut().expect("it was ended");
        stdin.write_all(batch.as_bytes()).and_then(|()| stdin.write_all(b"\n")).expect("sftp is there");
    }

    /// Tells it something and waits until it is done.
    #[track_caller]
    pub fn does(&mut self, batch: &str) {
        self.marks += 1;
        let mark = self.mark.with_extension(self.marks.to_string());
        self.tell(&format!("{batch}\n!touch {}", mark.display()));
        until(batch, || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{batch}: {ended:?}: {}", self.errors());
            mark.exists()
        });
    }

    /// What it said on standard error so far.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.err).unwrap()).into_owned()
    }

    /// What it said on standard output so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.out).unwrap()).into_owned()
    }

    /// Ends it in order.
    pub fn ends(mut self) -> Ran {
        self.stdin = None;
        let status = ends(&mut self.child, "sftp");
        Ran { code: status.code().unwrap_or(-1), out: self.output(), err: self.errors() }
    }

    /// Cuts it.
    pub fn cut(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for SftpSession {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something that must become true.
#[track_caller]
pub fn until(what: &str, mut test: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !test() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Every file under a folder, sorted.
pub fn files_under(folder: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(folder).into_iter().filter_map(Result::ok);
    let mut files: Vec<PathBuf> =
        entries.filter(|e| e.file_type().is_file()).map(walkdir::DirEntry::into_path).collect();
    files.sort();
    files
}

fn ends(child: &mut Child, what: &str) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE * 2;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("{what} hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn drain(mut from: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map(|_| bytes).unwrap_or_default()
    })
}
