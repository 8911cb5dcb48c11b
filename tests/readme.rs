//! Every command block of README.md is run, in the order in which people would come to it, with the real programs.
//!
//! A block's fence says who types it (```` ```bash sender ````). All run below one scratch folder with a HOME of its own; a
//! block of unknown audience fails the test. Stand-ins: `cargo` (the program is built already), `sudo` and `systemctl` (nothing
//! is installed on this machine), and `sftp` (which reads its configuration below the real home, whatever HOME says).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test file as a whole")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use todoke::filing::RuleSet;
use todoke::filing::sample::SampleFiling;
use todoke::model::time::{Clock as _, SystemClock};

/// Longest wait for anything; generous, since the machine may be busy.
const PATIENCE: Duration = Duration::from_mins(1);
const PDF: &[u8] = b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n";
/// Languages of fences whose blocks are commands.
const SHELLS: [&str; 5] = ["bash", "sh", "shell", "console", "powershell"];

struct Block {
    language: String,
    audience: String,
    text: String,
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in read(repository().join("README.md")).lines() {
        match (line.trim_start().strip_prefix("```"), open.as_mut()) {
            (Some(fence), None) => {
                let (language, audience) = fence.split_once(' ').unwrap_or((fence, ""));
                let (language, audience) = (language.to_owned(), audience.to_owned());
                open = Some(Block { language, audience, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block of README.md is not closed");
    blocks
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A process and those it started; they end with it.
struct Running(Child);

impl Running {
    fn stop(mut self) {
        self.signal(rustix::process::Signal::TERM);
        until("the daemon stops", || self.0.try_wait().unwrap());
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let _ = rustix::process::kill_process_group(rustix::process::Pid::from_child(&self.0), signal);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

struct Scratch {
    dir: tempfile::TempDir,
    blocks: BTreeMap<String, Vec<String>>,
}

impl Scratch {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut grouped: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for block in blocks() {
            if SHELLS.contains(&block.language.as_str()) {
                assert_eq!(block.language, "bash", "commands of README.md are for bash");
                assert!(!block.audience.is_empty(), "README.md does not say who types: {}", block.text);
                grouped.entry(block.audience).or_default().push(block.text);
            } else if block.language == "ssh-config" {
                grouped.entry("ssh-config".to_owned()).or_default().push(block.text);
            }
        }
        let scratch = Self { dir, blocks: grouped };
        for folder in ["home/.ssh", "bin", "dest", "checkout/target/release", "checkout/spool"] {
            fs::create_dir_all(scratch.path(folder)).unwrap();
        }
        for folder in ["conf", "systemd"] {
            let from = repository().join(folder);
            let copied =
                Command::new("cp").arg("-r").arg(from).arg(scratch.path("checkout")).status().unwrap();
            assert!(copied.success());
        }
        fs::copy(repository().join("spool/README.md"), scratch.path("checkout/spool/README.md")).unwrap();
        let program = env!("CARGO_BIN_EXE_todoke");
        std::os::unix::fs::symlink(program, scratch.path("bin/todoke")).unwrap();
        let dest = scratch.path("dest");
        scratch.stand_in(
            "cargo",
            &format!(
                "case \"$*\" in\n\
                 'run --release -- '*) shift 3; exec {program} \"$@\" ;;\n\
                 'build --release') ln -sf {program} target/release/todoke ;;\n\
                 *) echo \"no such cargo command here: $*\" >&2; exit 1 ;;\nesac"
            ),
        );
        scratch.stand_in("sudo", &format!("DESTDIR={} exec \"$@\"", dest.display()));
        scratch.stand_in(
            "systemctl",
            "for last; do :; done\n\
             case \"$1\" in enable | restart | stop) ;; *) exit 1 ;; esac\n\
             test -f \"$DESTDIR/usr/lib/systemd/system/$last.service\" && test -x \"$DESTDIR/usr/bin/$last\"",
        );
        scratch.stand_in("sftp", "exec /usr/bin/sftp -F \"$HOME/.ssh/config\" \"$@\"");
        scratch
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn stand_in(&self, name: &str, text: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// The blocks of this audience; they are run now.
    fn take(&mut self, audience: &str) -> Vec<String> {
        self.blocks.remove(audience).unwrap_or_else(|| panic!("README.md has no block for {audience:?}"))
    }

    fn shell(&self, script: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(self.path("checkout"))
            .env("HOME", self.path("home"))
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("DESTDIR", self.path("dest"))
            .stdin(Stdio::null());
        command
    }

    /// Runs blocks as one person would type them, one after the other in one shell; gives what was printed.
    fn run(&self, blocks: &[String]) -> String {
        let script = blocks.join("\n");
        let output = self.shell(&script).output().unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n-- {}\n{out}\n{err}", output.status);
        out
    }

    fn run_all(&mut self, audience: &str) -> String {
        let blocks = self.take(audience);
        self.run(&blocks)
    }

    /// Runs the block that does not end; gives the SFTP port that its log tells.
    fn serve(&mut self, audience: &str) -> (Running, u16) {
        let script = self.take(audience).join("\n");
        let log = self.path(&format!("{audience}.log"));
        let mut command = self.shell(&script);
        command.stderr(fs::File::create(&log).unwrap()).stdout(Stdio::null()).process_group(0);
        let mut running = Running(command.spawn().unwrap());
        let port = until("the daemon serves", || {
            let text = read(&log);
            let ended = running.0.try_wait().unwrap();
            assert!(ended.is_none(), "{script}\n-- {ended:?}\n{text}");
            let (_, rest) = text.split_once("sftp=127.0.0.1:")?;
            rest.split_whitespace().next()?.parse().ok()
        });
        (running, port)
    }

    /// Ports of this machine may be taken: the configuration takes any.
    fn any_ports(&self, conf: &str) {
        let path = self.path(conf);
        let text = read(&path);
        for line in [
            "listen = \"127.0.0.1:2222\"",
            "listen = \"127.0.0.1:9464\"",
            "gather = \"60s\"",
            "interval = \"1h\"",
        ] {
            assert!(text.contains(line), "{conf} has no line {line}");
        }
        let text = text
            .replace("127.0.0.1:2222", "127.0.0.1:0")
            .replace("127.0.0.1:9464", "127.0.0.1:0")
            .replace("gather = \"60s\"", "gather = \"1s\"")
            .replace("interval = \"1h\"", "interval = \"0s\"");
        fs::write(path, text).unwrap();
    }

    fn ssh_config(&mut self, port: u16) {
        let home = self.path("home").display().to_string();
        let text = self.take("ssh-config").concat();
        assert!(text.contains("HostName gateway.example.jp\n") && text.contains("Port 2222\n"), "{text}");
        let text = text
            .replace("gateway.example.jp", "127.0.0.1")
            .replace("Port 2222", &format!("Port {port}"))
            .replace("~/", &format!("{home}/"));
        let more = format!(
            "    StrictHostKeyChecking accept-new\n    UserKnownHostsFile {home}/.ssh/known_hosts\n    \
             GlobalKnownHostsFile /dev/null\n    IdentitiesOnly yes\n"
        );
        fs::write(self.path("home/.ssh/config"), text + &more).unwrap();
    }
}

/// A mail host; ends with the test.
fn mail_host(dir: &Path) -> (Running, u16) {
    let script = repository().join("tests/peers/mailhost.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(dir).stdout(Stdio::piped()).process_group(0);
    let mut running = Running(command.spawn().expect("python3 (package python3)"));
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line.trim().parse().expect("mailhost.py tells no port: Python package aiosmtpd");
    (running, port)
}

fn outcome(receipt: &Path) -> (String, String) {
    let receipt: serde_json::Value = serde_json::from_str(&read(receipt)).unwrap();
    let text = |key: &str| receipt[key].as_str().unwrap_or_default().to_owned();
    (text("number"), text("outcome"))
}

fn reported(folder: &Path) -> bool {
    let mut entries = fs::read_dir(folder).unwrap();
    entries.any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("delivery-"))
}

/// The receipts in a folder.
fn receipts(folder: &Path) -> Vec<(String, String)> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.iter().map(|path| outcome(path)).collect()
}

#[test]
fn every_command_of_the_readme_works() {
    let mut scratch = Scratch::new();
    let demo = scratch.run_all("fresh");
    assert!(demo.contains("stopped in order"), "{demo}");
    assert_eq!(scratch.take("tests").concat(), "tests/run\n");
    assert!(read(repository().join(".ci/run")).contains("\nexec tests/run\n"), ".ci/run is another command");

    scratch.any_ports("checkout/conf/todoke.toml");
    let (daemon, _) = scratch.serve("checkout");
    assert!(scratch.path("checkout/spool/keys/ssh_host_ed25519_key").exists());
    let status = scratch.run(&["todoke status".to_owned()]);
    assert!(status.contains("todoke 0.1.0  runs since"), "{status}");
    daemon.stop();

    scratch.run_all("service");
    let installed = read(scratch.path("dest/etc/todoke/todoke.toml"));
    assert!(
        installed.contains("root = \"/var/lib/todoke\"\n") && installed.contains("format = \"journal\"\n")
    );

    // A gateway, its mail host, and parties.
    scratch.run_all("key");
    let (_mail_host, mail_port) = mail_host(scratch.dir.path());
    let init = scratch.take("init").concat();
    assert!(init.contains("smtp://127.0.0.1:25 "), "{init}");
    scratch.run(&[init.replace("smtp://127.0.0.1:25 ", &format!("smtp://127.0.0.1:{mail_port} "))]);
    scratch.any_ports("checkout/gateway/conf/todoke.toml");
    let (daemon, port) = scratch.serve("serve");
    scratch.ssh_config(port);
    let added = scratch.run_all("operator");
    assert!(added.contains("5678") && added.contains("9012"), "{added}");
    scratch.run_all("enrol");
    assert!(read(scratch.path("checkout/letter.csv")).contains("A1-"));
    assert!(scratch.path("checkout/enrolled/setup.toml").exists());

    // The sample of an insurer's own policy holds; `doctor` reads it below.
    let sample = read(repository().join("conf/insurers/README.md"));
    let sample = sample.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    fs::write(scratch.path("checkout/gateway/conf/insurers/06139999.toml"), sample).unwrap();
    let reloaded = scratch.run(&["kill -HUP $(cat gateway/spool/LOCK); todoke -C gateway status".to_owned()]);
    assert!(reloaded.contains("runs since"), "{reloaded}");

    // The office sends, verifies, withdraws; then sends again.
    let outgoing = scratch.path("checkout/outgoing/2026-11-23");
    fs::create_dir_all(&outgoing).unwrap();
    let today = SystemClock.now().date_in(chrono_tz::Asia::Tokyo);
    let sample = SampleFiling::new(&RuleSet::builtin().unwrap(), &["2200700"], 3, today);
    fs::write(outgoing.join("KPFD0006.CSV"), sample.bytes()).unwrap();
    fs::write(outgoing.join("soukatsu.pdf"), PDF).unwrap();
    fs::write(scratch.path("checkout/notice.pdf"), PDF).unwrap();
    let sender = scratch.take("sender");
    let verified = scratch.run(&sender);
    assert!(verified.contains("Good \"todoke-receipt\" signature for todoke"), "{verified}");
    let had = receipts(&outgoing);
    let outcomes: BTreeSet<&str> = had.iter().map(|(_, outcome)| outcome.as_str()).collect();
    assert_eq!(outcomes, BTreeSet::from(["accepted", "withdrawal"]));
    scratch.run(&sender[..1]);
    let numbers: Vec<String> = receipts(&outgoing).into_iter().map(|(number, _)| number).collect();
    let number = numbers.iter().find(|n| had.iter().all(|(h, _)| h != *n)).expect("a new number").clone();

    // The insurer imports and delivers; the office hears of it.
    let gateway = scratch.path("checkout/gateway");
    let spool = gateway.join("spool/insurers/06139999");
    until("it is published", || spool.join("new").join(&number).exists().then_some(()));
    let importer = scratch.take("importer");
    let (last, first) = importer.split_last().unwrap();
    scratch.run(first);
    let filing = scratch.path("home/filings").join(&number).join("KPFD0006.CSV");
    assert_eq!(fs::read(filing).unwrap(), sample.bytes());
    let list = ["todoke -C gateway --json outbox list K0001".to_owned()];
    until("the document is delivered", || scratch.run(&list).contains("納入告知書").then_some(()));
    until("the report is there", || reported(&spool.join("reports")).then_some(()));
    let over_sftp = scratch.run(std::slice::from_ref(last));
    assert!(over_sftp.contains(&number), "{over_sftp}");

    let mails = ["todoke -C gateway --json mail list --account K0001 --state sent".to_owned()];
    until("the arrival is announced", || scratch.run(&mails).contains("\"sent\"").then_some(()));
    let daily = scratch.run_all("daily");
    assert!(daily.contains(&number) && daily.contains("納入告知書") && daily.contains("verdict"), "{daily}");
    scratch.run_all("office");
    let here = scratch.path("checkout");
    assert!(read(here.join("sent.csv")).contains(&number));
    let fetched = fs::read_dir(&here)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("_納入告知書_"));
    assert_eq!(fetched.count(), 2, "of the insurer's folder and of `deliver`");

    // The evening: backup, and the day on which it is needed.
    daemon.stop();
    scratch.run_all("backup");
    let restored = scratch.run_all("restore");
    assert!(restored.contains(&number), "{restored}");
    let epoch = scratch.run(&["todoke -C restored --json journal epoch".to_owned()]);
    let epoch: serde_json::Value = serde_json::from_str(&epoch).unwrap();
    assert_eq!(epoch, serde_json::json!({"epoch": 2, "unreconciled": false}));
    assert!(scratch.blocks.is_empty(), "never run: {:?}", scratch.blocks);
}

/// Codes of alarms as the program raises them.
fn alarms(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            alarms(&path, found);
            continue;
        }
        if path.to_string_lossy().contains("test") {
            continue;
        }
        let text = read(&path);
        let program = text.split("#[cfg(test)]").next().unwrap();
        // A code that concerns somebody is written `CODE {whom}`.
        for (begin, ends) in
            [("raise(\"", "\""), ("alarm)(\"", "\""), ("const ALARM: &str = \"", "\""), ("format!(\"", " {")]
        {
            for rest in packed(program).split(begin).skip(1) {
                let code = rest.split(|c: char| !c.is_ascii_uppercase() && c != '-').next().unwrap();
                if code.contains('-') && !code.starts_with('-') && rest[code.len()..].starts_with(ends) {
                    found.insert(code.to_owned());
                }
            }
        }
    }
}

/// Without what formatting puts between a call and its first argument.
fn packed(text: &str) -> String {
    text.lines().map(str::trim).collect::<String>()
}

#[test]
fn every_alarm_is_in_the_readme() {
    let mut raised = BTreeSet::from(["ALARMS-OVERFLOW".to_owned()]);
    alarms(&repository().join("src"), &mut raised);
    let readme = read(repository().join("README.md"));
    let table = readme.split("**Alarms**").nth(1).unwrap();
    let first_cells = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('|').next());
    let told: BTreeSet<String> = first_cells
        .flat_map(|cell| cell.split(", "))
        .map(|code| code.replace('`', "").trim().to_owned())
        .collect();
    assert_eq!(raised, told);
}
