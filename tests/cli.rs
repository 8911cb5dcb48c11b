//! The real binary in temporary folders: as an operator types it, by itself and through a daemon.
#![allow(clippy::unwrap_used, reason = "a test that fails here should say so at once")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use expect_test::expect;
use serde_json::{Value, json};
use tempfile::TempDir;

use todoke::config::{Config, ConfigCell, file_in};
use todoke::desk::{self, DeskService, Live, Parts, Session, Stages, Trouble};
use todoke::doors::control::{Bounds, ControlDoor};
use todoke::model::time::{Clock, SystemClock, Timestamp};
use todoke::store::blobs::Blobs;
use todoke::store::index::SledIndex;
use todoke::store::journal_ledger::JournalLedger;
use todoke::store::ledger::Ledger;
use todoke::store::local_blobs::{BlobOptions, LocalBlobs};
use todoke::store::recover::LedgerOptions;
use todoke::store::root::Root;
use todoke::work::alarms::{AlarmBoard, Alarms};
use todoke::work::ports::NoScanner;

/// What one command did.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout.clone()).unwrap(),
            err: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    #[track_caller]
    fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

/// A gateway in a temporary folder.
struct Gateway {
    dir: TempDir,
}

const PDF: &[u8] = b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n";

impl Gateway {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let gateway = Self { dir };
        gateway.plain(&["init", "g", "--sftp", "127.0.0.1:0", "--scanner", "none"]).ends(0);
        gateway
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// A key pair; gives the public file's name.
    fn key(&self, name: &str, kind: &[&str]) -> String {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-C", "somebody@example.jp", "-f"])
            .arg(self.path(name))
            .args(kind)
            .status()
            .unwrap();
        assert!(made.success());
        format!("{name}.pub")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_todoke"));
        command.current_dir(self.dir.path()).args(args).stdin(Stdio::null());
        command
    }

    fn plain(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(args).output().unwrap())
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.plain(&[&["-C", "g"], args].concat())
    }

    /// As DESIGN has it.
    fn set_up(&self) {
        let ed25519 = ["-t", "ed25519"];
        let (office, insurer) = (self.key("id_ed25519", &ed25519), self.key("insurer", &ed25519));
        self.run(&["insurer", "add", "06139999", "--name", "東京見本健康保険組合"]).ends(0);
        self.run(&["office", "add", "1234", "--insurer", "06139999", "--name", "株式会社見本工業"]).ends(0);
        let account = "account add K0001 --insurer 06139999 --office 1234 --user-name 総務課 --mail soumu@example.jp --ssh-key";
        let account: Vec<&str> = account.split(' ').chain([office.as_str()]).collect();
        self.run(&account).ends(0);
        self.run(&[
            "account",
            "add",
            "I0001",
            "--insurer",
            "06139999",
            "--role",
            "insurer",
            "--ssh-key",
            &insurer,
        ])
        .ends(0);
    }

    /// The whole journal.
    fn journal(&self) -> String {
        let folder = self.path("g/spool/journal");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.map(|file| String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned()).collect()
    }

    fn deliver(&self, title: &str) -> Ran {
        let order =
            ["deliver", "--insurer", "06139999", "--account", "K0001", "--type", "納入告知書", "--title"];
        self.run(&[&order[..], &[title, "FILE.pdf", "--json"]].concat())
    }
}

#[test]
fn init_may_be_repeated_and_changes_nothing() {
    let gateway = Gateway::new();
    let tree = || {
        let mut all = Vec::new();
        let mut folders = vec![gateway.path("g")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let about = std::fs::metadata(&path).unwrap();
                if about.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("LOCK") {
                    all.push((path.clone(), about.permissions().mode(), std::fs::read(&path).unwrap()));
                }
            }
        }
        all.sort();
        all
    };
    let before = tree();
    gateway.write("g/conf/notices/own.toml", "# the operator's own");
    std::fs::remove_file(gateway.path("g/conf/notices/own.toml")).unwrap();
    let ran = gateway.plain(&["init", "g", "--sftp", "127.0.0.1:2299"]).ends(0);
    assert!(ran.err.contains("edit it to change --sftp (sftp.listen)"), "{}", ran.err);
    assert!(tree() == before);
    let mode = |name: &str| std::fs::metadata(gateway.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("g/spool/keys"), 0o700);
    assert_eq!(mode("g/spool/keys/ssh_host_ed25519_key"), 0o600);
    assert_eq!(mode("g/spool/keys/receipt_ed25519_key"), 0o600);
    gateway.plain(&["init", "h", "--scanner", "maybe"]).ends(2);
    gateway.plain(&["init", "h", "--smtp", "mail"]).ends(2);
    assert!(!gateway.path("h").exists(), "wrong usage makes nothing");
}

#[test]
fn the_examples_of_the_contract_work_word_for_word() {
    let gateway = Gateway::new();
    gateway.set_up();
    gateway.write("FILE.pdf", PDF);
    let placed = gateway.deliver("2026年11月分").ends(0).json();
    assert_eq!(placed["title"], "2026年11月分");
    assert_eq!(placed["office"], "1234");
    let listed = gateway.run(&["outbox", "list", "K0001", "--json"]).ends(0).json();
    assert_eq!(listed.as_array().unwrap(), std::slice::from_ref(&placed));
    assert_eq!(gateway.run(&["submission", "list", "--json"]).ends(0).out, "[]\n");
    assert_eq!(gateway.run(&["mail", "list", "--json"]).ends(0).out, "[]\n");
    let due = |at: &str| gateway.run(&["purge", "--dry-run", "--at", at, "--json"]).ends(0).json();
    assert_eq!(due("2026-11-01").as_array().unwrap().len(), 0);
    let due = due("2126-11-01");
    assert_eq!(due[0]["document"], placed["document"]);
    assert_eq!(due[0]["reason"], "expired");
    gateway.run(&["purge", "--at", "2027-02-01"]).ends(2);

    let id = placed["document"].as_str().unwrap();
    gateway.run(&["outbox", "hold", id, "--reason", " "]).ends(2);
    let held =
        gateway.run(&["outbox", "hold", id, "--legal", "--reason", "裁判所の照会", "--json"]).ends(0).json();
    assert_eq!((&held["hold"], &held["hold_reason"]), (&json!("legal"), &json!("裁判所の照会")));
    let journal = gateway.journal();
    assert!(journal.contains("document_held") && !journal.contains("裁判所"), "the reason is in a card");
    gateway.run(&["outbox", "hold", id, "--reason", "again"]).ends(1);
    assert!(gateway.run(&["outbox", "recall", id]).ends(1).err.contains("DOCUMENT-HELD"));
    let due = gateway.run(&["purge", "--dry-run", "--at", "2126-11-01", "--json"]).ends(0).json();
    assert_eq!(due, json!([]), "no purge takes it");
    let stats = gateway.run(&["outbox", "stats", "--json"]).ends(0).json();
    let [row] = stats.as_array().unwrap().as_slice() else { panic!("{stats}") };
    assert_eq!((&row["lying"], &row["unfetched"], &row["held"]), (&json!(1), &json!(1), &json!(1)));
    gateway.run(&["outbox", "release", id]).ends(0);
    gateway.run(&["outbox", "release", id]).ends(1);
    // People read local times, as in every other line.
    let shown = gateway.run(&["outbox", "hold", id, "--reason", "照会"]).ends(0).out;
    let since = shown.lines().find(|line| line.starts_with("held_since")).unwrap();
    assert!(since.contains(':') && !since.ends_with('Z'), "{since}");
    gateway.run(&["outbox", "release", id]).ends(0);
    let recalled = gateway.run(&["outbox", "recall", placed["document"].as_str().unwrap(), "--json"]).ends(0);
    assert_eq!(recalled.json()["fetched"], false);
    assert_eq!(gateway.run(&["outbox", "list", "K0001", "--json"]).ends(0).out, "[]\n");
    assert!(gateway.run(&["outbox", "recall", id]).ends(1).err.contains("DOCUMENT-GONE"));
    let stats = gateway.run(&["outbox", "stats", "--insurer", "06139999", "--json"]).ends(0).json();
    assert_eq!((&stats[0]["lying"], &stats[0]["recalled"]), (&json!(0), &json!(1)));
}

#[test]
fn exit_codes_follow_the_table() {
    let gateway = Gateway::new();
    gateway.set_up();
    let code = |args: &str| gateway.run(&args.split(' ').collect::<Vec<_>>()).code;
    for (args, expected) in [
        ("insurer list", 0),
        ("--help", 0),
        ("insurer add 06139999 --name again", 1),
        ("insurer change 06130000 --name nobody", 1),
        ("office add 9999 --insurer 06130000 --name nobody", 1),
        ("account add K0002 --insurer 06139999 --office 7777 --user-name a --mail a@example.jp", 1),
        (
            "account add K0002 --insurer 06139999 --office 1234 --user-name a --mail a@example.jp,b@example.jp",
            1,
        ),
        ("account add K0002 --insurer 06139999 --office 1234 --user-name =a --mail a@example.jp", 1),
        ("account show K0009", 1),
        ("outbox list K0009", 1),
        ("outbox recall D1-000001-2", 1),
        ("submission show 1-000001-2", 1),
        ("mail show M1-000001-2", 1),
        ("account change K0001 --role agent", 2),
        ("insurer add 0613 --name short", 2),
        ("submission show 1-000001-9", 2),
        ("nothing", 2),
        ("deliver --insurer 06139999 --type x FILE.pdf", 2),
        ("deliver --insurer 06139999 --account K0001 --type x missing.pdf", 2),
        ("account key add K0001 missing.pub", 2),
        ("purge --dry-run --at tomorrow", 2),
    ] {
        assert_eq!(code(args), expected, "{args}");
    }
    assert_eq!(gateway.plain(&["-C", "elsewhere", "status"]).code, 2);
    gateway.write("g/conf/todoke.toml", "[sftp]\nlisten = \"here\"\n");
    let ran = gateway.run(&["insurer", "list"]).ends(2);
    expect![[r#"
        todoke: CONFIG: g/conf/todoke.toml:2: sftp.listen = "here": must be ADDRESS:PORT, such as 127.0.0.1:2222, 0.0.0.0:22 or [::]:22
    "#]]
    .assert_eq(&ran.err);
}

#[test]
fn keys_that_must_not_be_used_are_refused_with_words() {
    let gateway = Gateway::new();
    gateway.set_up();
    gateway.key("weak", &["-t", "rsa", "-b", "1024"]);
    gateway.key("good", &["-t", "rsa", "-b", "3072"]);
    gateway.write(
        "two.pub",
        [std::fs::read(gateway.path("good.pub")).unwrap(), b"ssh-ed25519 AAAA x".to_vec()].concat(),
    );
    gateway.write("cert.pub", "ssh-ed25519-cert-v01@openssh.com AAAA= someone");
    gateway.write("dsa.pub", "ssh-dss AAAAB3NzaC1kc3M= someone");
    let mut said = String::new();
    for file in ["weak.pub", "good", "two.pub", "cert.pub", "dsa.pub", "id_ed25519.pub"] {
        let account = if file == "id_ed25519.pub" { "I0001" } else { "K0001" };
        let ran = gateway.run(&["account", "key", "add", account, file]).ends(1);
        assert!(!ran.err.contains("BEGIN") && !ran.err.contains("somebody"), "{}", ran.err);
        let text =
            ran.err.split_once("SHA256:").map_or(ran.err.clone(), |(before, _)| format!("{before}…\n"));
        said.push_str(&text);
    }
    expect![[r"
        todoke: KEY-UNUSABLE: weak.pub: this RSA key is shorter than 2048 bits (or longer than any client makes); make an Ed25519 key: ssh-keygen -t ed25519
        todoke: KEY-UNUSABLE: good: this is a private key. It must stay with its owner: give the file that ends in .pub. If the private key was sent to you by mail or the like, have its owner make a new one
        todoke: KEY-UNUSABLE: two.pub: there are several lines in it; give one key at a time (--ssh-key may be repeated)
        todoke: KEY-UNUSABLE: cert.pub: this is a certificate; give the plain public key it was made for
        todoke: KEY-UNUSABLE: dsa.pub: DSA keys are broken and refused; make an Ed25519 key: ssh-keygen -t ed25519
        todoke: KEY-TAKEN: key …
    "]].assert_eq(&said);
    gateway.run(&["account", "key", "add", "K0001", "good.pub"]).ends(0);
    let shown = gateway.run(&["account", "show", "K0001", "--json"]).ends(0).json();
    let keys = shown["ssh_keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    let journal = gateway.run(&["journal", "show", "--json"]).ends(0).out;
    assert!(!journal.contains("somebody") && !journal.contains("soumu") && !journal.contains("見本"));
    for key in keys {
        gateway.run(&["account", "key", "remove", "K0001", key.as_str().unwrap()]).ends(0);
    }
    gateway.run(&["account", "key", "remove", "K0001", keys[0].as_str().unwrap()]).ends(1);
}

#[test]
fn an_import_reports_each_row_and_may_be_repeated() {
    let gateway = Gateway::new();
    gateway.run(&["insurer", "add", "06139999", "--name", "東京見本健康保険組合"]).ends(0);
    let mut offices = String::from("\u{feff}office,insurer,name\r\n");
    for n in 1..=300 {
        writeln!(offices, "{n:04},06139999,見本工業{n}\r").unwrap();
    }
    gateway.write("offices.csv", &offices);
    let dry = gateway.run(&["office", "import", "offices.csv", "--dry-run"]).ends(0);
    assert!(
        dry.err.ends_with("dry run: 300 added, 0 changed, 0 unchanged, 0 refused; nothing was written\n"),
        "{}",
        dry.err
    );
    assert_eq!(gateway.run(&["office", "list", "--json"]).ends(0).out, "[]\n");
    gateway.run(&["office", "import", "offices.csv"]).ends(0);
    let again = gateway.run(&["office", "import", "offices.csv"]).ends(0);
    assert!(again.err.ends_with("0 added, 0 changed, 300 unchanged, 0 refused\n"), "{}", again.err);
    assert_eq!(gateway.run(&["office", "list", "--json"]).ends(0).json().as_array().unwrap().len(), 300);

    gateway.key("k1", &["-t", "ed25519"]);
    gateway.write(
        "accounts.csv",
        "account,insurer,office,user-name,mail,ssh-key\n\
         K0001,06139999,0001 0002,総務課,soumu@example.jp,k1.pub\n\
         K0002,06139999,0002,経理課,soumu@example.jp,\n\
         K0002,06139999,0002,経理課,soumu@example.jp,\n\
         K0003,06139999,9999,総務課,soumu@example.jp,\n\
         K0004,06139999,0004,=総務課,soumu@example.jp,\n\
         K0005,06139999,0005,総務課,soumu@,\n\
         K0006,06139999,0006,総務課,a@example.jp,k1.pub\n\
         K0007,06139999,0007,総務課,a@example.jp,gone.pub\n\
         9,06139999,0008,総務課,a@example.jp,\n\
         K0010,06139999,0010,総務課,a@example.jp,,extra\n",
    );
    let dry = gateway.run(&["account", "import", "accounts.csv", "--dry-run", "--json"]).ends(1);
    let real = gateway.run(&["account", "import", "accounts.csv", "--json"]).ends(1);
    assert_eq!(dry.out, real.out, "a dry run says what a real one does");
    let rows = real.json();
    let rows = rows.as_array().unwrap().iter().map(|row| {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        let detail = text("detail");
        let detail = detail.split_once("SHA256:").map_or(detail.clone(), |(before, _)| format!("{before}…"));
        format!("{} {} {}: {detail}", row["line"], text("key"), text("result"))
    });
    expect![[r#"
        2 K0001 added: 
        3 K0002 added: K0002 has no key and cannot log in until `account key add K0002 KEY.pub`.
        4 K0002 refused: K0002 stands in line 3 already
        5 K0003 refused: OFFICE-UNKNOWN office 9999 is not enrolled with insurer 06139999 (K8); add it first: todoke office add 9999 --insurer 06139999 --name NAME
        6 K0004 refused: user-name begins with a character that spreadsheets compute (= + - @)
        7 K0005 refused: MAIL-ADDRESS --mail must be exactly one mail address in ASCII, such as soumu@example.jp
        8 K0006 refused: KEY-TAKEN key …
        9 K0007 refused: gone.pub: No such file or directory (os error 2)
        10 9 refused: "9" is not an account: a letter followed by at most 15 ASCII letters, digits, '-' or '_', such as K0001
        11 K0010 refused: has 7 fields where the header has 6"#]].assert_eq(&rows.collect::<Vec<_>>().join("\n"));

    // CP932, as Excel writes it, with a change.
    let text = "account,user-name\nK0001,人事課\n";
    let (bytes, _, _) = encoding_rs::SHIFT_JIS.encode(text);
    gateway.write("cp932.csv", &bytes);
    let ran = gateway.run(&["account", "import", "cp932.csv", "--json"]).ends(0).json();
    assert_eq!((ran[0]["result"].as_str(), ran[0]["detail"].as_str()), (Some("changed"), Some("user-name")));
    let shown = gateway.run(&["account", "show", "K0001", "--json"]).ends(0).json();
    assert_eq!(shown["user_name"], "人事課");
    gateway.write("odd.csv", "account,colour\nK0001,red\n");
    gateway.run(&["account", "import", "odd.csv"]).ends(1);
    gateway.run(&["account", "import", "missing.csv"]).ends(2);
}

#[test]
fn standing_says_what_becomes_of_the_outbox() {
    let gateway = Gateway::new();
    gateway.set_up();
    gateway.write("FILE.pdf", PDF);
    gateway.deliver("a").ends(0);
    let ran = gateway.run(&["account", "suspend", "K0001"]).ends(0);
    assert!(ran.err.contains("1 documents in its outbox"), "{}", ran.err);
    assert!(ran.err.contains("can be fetched after `account resume`"), "{}", ran.err);
    let again = gateway.run(&["account", "suspend", "K0001", "--json"]).ends(0);
    assert_eq!(again.json()["result"], "unchanged");
    gateway.run(&["account", "resume", "K0001"]).ends(0);
    gateway.run(&["account", "close", "K0001"]).ends(0);
    gateway.run(&["account", "suspend", "K0001"]).ends(1);
    assert_eq!(gateway.run(&["account", "show", "K0001", "--json"]).json()["standing"], "closed");
    gateway.run(&["office", "close", "1234", "--insurer", "06139999"]).ends(0);
    gateway.run(&["insurer", "suspend", "06139999"]).ends(0);
}

#[test]
fn an_insurer_decides_about_second_accounts() {
    let gateway = Gateway::new();
    gateway.set_up();
    let add = |id: &str, more: &[&str]| {
        let args = [
            "--insurer",
            "06139999",
            "--office",
            "1234",
            "--user-name",
            "経理課",
            "--mail",
            "soumu@example.jp",
        ];
        gateway.run(&[&["account", "add", id][..], &args, more].concat())
    };
    let ran = add("K0002", &[]).ends(0);
    assert!(ran.err.contains("has account K0001 already (K4"), "{}", ran.err);
    gateway.write("g/conf/insurers/06139999.toml", "[accounts]\nsecond_account = \"refuse\"\n");
    add("K0003", &[]).ends(1);
    add("K0003", &["--second"]).ends(0);
    add("T0001", &["--test"]).ends(0);
    gateway.write("g/conf/insurers/06139999.toml", "[accounts]\nsecond = 1\n");
    add("K0004", &[]).ends(1);
    let report = gateway.run(&["doctor", "--json"]).ends(1).json();
    let lines = report["checks"].as_array().unwrap();
    assert!(lines.iter().any(|line| {
        line["verdict"] == "error"
            && line["found"].as_str().unwrap().contains("06139999.toml:2: accounts.second")
    }));
}

#[test]
fn output_is_safe_for_terminals_and_closed_pipes() {
    let gateway = Gateway::new();
    gateway.set_up();
    let ran =
        gateway.run(&["office", "add", "1", "--insurer", "06139999", "--name", "\u{1b}[31mred"]).ends(1);
    assert!(!ran.err.contains('\u{1b}'));
    let ran = gateway.run(&["account", "show", "\u{1b}[31m"]).ends(2);
    assert!(!ran.out.contains('\u{1b}'));
    let mut offices = String::from("office,insurer,name\n");
    for n in 1..=2000 {
        writeln!(offices, "{n:04},06139999,{}", "見".repeat(90)).unwrap();
    }
    gateway.write("offices.csv", &offices);
    gateway.run(&["office", "import", "offices.csv", "--json"]).ends(0);
    let mut child = gateway
        .command(&["-C", "g", "office", "list"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = Ran::of(&child.wait_with_output().unwrap()).ends(0);
    assert_eq!(ended.err, "");
    let all = gateway.run(&["office", "list", "--json"]).ends(0).json();
    assert_eq!(all.as_array().unwrap().len(), 2000, "all pages, each office once");
}

#[test]
fn commands_at_the_same_time_take_turns_and_a_held_root_is_said() {
    let gateway = Gateway::new();
    gateway.run(&["insurer", "add", "06139999", "--name", "東京見本健康保険組合"]).ends(0);
    let children: Vec<_> = (0..6)
        .map(|n| {
            let (office, name) = (format!("{n}"), format!("見本{n}"));
            let args = ["-C", "g", "office", "add", &office, "--insurer", "06139999", "--name", &name];
            gateway.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        Ran::of(&child.wait_with_output().unwrap()).ends(0);
    }
    assert_eq!(gateway.run(&["office", "list", "--json"]).json().as_array().unwrap().len(), 6);
    let held = Root::open(&gateway.path("g/spool")).unwrap();
    let ran = gateway.run(&["office", "list"]).ends(3);
    assert!(
        ran.err.contains("ROOT-LOCKED") && ran.err.contains(&std::process::id().to_string()),
        "{}",
        ran.err
    );
    drop(held);
    gateway.run(&["office", "list"]).ends(0);
}

#[test]
fn a_command_that_only_looks_leaves_no_event() {
    let gateway = Gateway::new();
    gateway.set_up();
    let events = || gateway.run(&["journal", "verify", "--json"]).ends(0).json()["events"].as_u64().unwrap();
    let before = events();
    for args in [&["account", "list"][..], &["status"], &["submission", "list"], &["journal", "epoch"]] {
        gateway.run(args).ends(0);
    }
    assert_eq!(events(), before);
    gateway.run(&["account", "suspend", "K0001"]).ends(0);
    assert!(events() > before);
}

#[test]
fn a_restored_root_begins_a_new_epoch() {
    let gateway = Gateway::new();
    gateway.set_up();
    assert_eq!(gateway.run(&["journal", "epoch", "--json"]).json()["epoch"], 1);
    gateway.run(&["journal", "restored"]).ends(0);
    let epoch = gateway.run(&["journal", "epoch", "--json"]).json();
    assert_eq!((epoch["epoch"].as_u64(), epoch["unreconciled"].as_bool()), (Some(2), Some(true)));
    gateway.run(&["journal", "reconciled"]).ends(0);
    assert_eq!(gateway.run(&["journal", "epoch", "--json"]).json()["unreconciled"], false);
    gateway.run(&["journal", "rebuild"]).ends(0);
    assert_eq!(gateway.run(&["account", "list", "--json"]).ends(0).json().as_array().unwrap().len(), 2);
}

#[test]
fn check_says_what_is_wrong_offline() {
    let gateway = Gateway::new();
    gateway.write("KPFD0006.CSV", "not a filing");
    let ran = gateway.plain(&["check", "--format", "json", "KPFD0006.CSV"]).ends(1);
    let value = ran.json();
    assert_eq!(value["verdict"], "error");
    assert!(value["findings"][0]["rule"].is_string() && value["findings"][0]["severity"].is_string());
    let rules = todoke::filing::rules::RuleSet::builtin().unwrap();
    let form = rules.forms(todoke::filing::tables::Profile::Kpfd).next().unwrap();
    let today = SystemClock.now().date_in(chrono_tz::Asia::Tokyo);
    let mut filing = Vec::new();
    todoke::filing::sample::write_filing(&mut filing, form, 20, today).unwrap();
    gateway.write("KPFD0006.CSV", filing);
    gateway.write("soukatsu.pdf", PDF);
    let ran = gateway.plain(&["check", "--format", "json", "."]).ends(0);
    assert_eq!(ran.json()["verdict"], "ok");
    for format in ["text", "csv", "html"] {
        let ran = gateway.plain(&["check", "--format", format, "KPFD0006.CSV"]).ends(0);
        assert!(!ran.out.is_empty(), "{format}");
    }
    gateway.plain(&["check", "missing.csv"]).ends(2);
}

/// As much of a daemon as the command line sees.
struct Daemon {
    door: ControlDoor,
    ledger: Arc<JournalLedger<SledIndex>>,
}

struct NoLoops;

impl Live for NoLoops {
    fn started_at(&self) -> Timestamp {
        Timestamp(1_795_000_000_000)
    }
    fn sftp(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 2222))
    }
    fn sessions(&self) -> Vec<Session> {
        Vec::new()
    }
    fn alarms(&self) -> Vec<Value> {
        vec![serde_json::json!({ "code": "TEST-ALARM", "text": "something", "count": 1 })]
    }
    fn scanner(&self) -> Value {
        Value::Null
    }
    fn purge(&self) -> Value {
        Value::Null
    }
    fn health(&self) -> Value {
        Value::Null
    }
    fn reload(&self) -> Result<Value, Trouble> {
        Ok(Value::Array(Vec::new()))
    }
    fn applications_changed(&self) {}
    fn parties_changed(&self) {}
}

impl Daemon {
    fn start(dir: &Path) -> Self {
        let config = Arc::new(ConfigCell::new(Config::load(&file_in(dir)).unwrap()));
        let root = Root::open(&config.get().places.root).unwrap();
        let blobs: Arc<dyn Blobs> =
            Arc::new(LocalBlobs::open(&root.blobs(), BlobOptions::default()).unwrap());
        let (ledger, _) =
            JournalLedger::<SledIndex>::open(root, &LedgerOptions::default(), SystemClock.now()).unwrap();
        let ledger = Arc::new(ledger);
        let port = Arc::clone(&ledger) as Arc<dyn Ledger>;
        let alarms: Arc<dyn Alarms> = Arc::new(AlarmBoard::default());
        let judge = Box::new(|_, _, _: &_, _| Ok(()));
        let stages = Stages::build(&config, &port, &blobs, &alarms, Arc::new(NoScanner), judge, || 0);
        let socket = config.get().places.socket();
        let certificates = desk::certificates::build(&config, &port, &blobs, &alarms, None);
        let parts = Parts::new(port, blobs, config, certificates, Arc::new(stages), Some(Arc::new(NoLoops)));
        let service = DeskService::new(Arc::new(parts), Arc::new(SystemClock));
        let bounds = Bounds {
            group: None,
            clients_max: 8,
            timeout: Duration::from_secs(30),
            payload_bytes_max: 1 << 20,
        };
        Self { door: ControlDoor::open(&socket, Arc::new(service), bounds).unwrap(), ledger }
    }

    fn stop(mut self) {
        self.door.close();
        self.ledger.close(SystemClock.now()).unwrap();
    }
}

#[test]
fn the_daemon_and_the_store_give_the_same_answers() {
    let gateway = Gateway::new();
    gateway.set_up();
    gateway.write("FILE.pdf", PDF);
    gateway.deliver("直接").ends(0);
    let asked: Vec<Vec<&str>> = [
        "insurer list",
        "insurer list --json",
        "insurer show 06139999",
        "office list --json",
        "account list",
        "account list --json",
        "account show K0001",
        "outbox list K0001",
        "outbox list K0001 --json",
        "submission list --json",
        "mail list",
        "account show K0009",
        "purge --dry-run --at 2127-01-01 --json",
        "account add K0001 --insurer 06139999",
        "account suspend I0009",
    ]
    .iter()
    .map(|args| args.split(' ').collect())
    .collect();
    let ask = || {
        asked.iter().map(|args| gateway.run(args)).map(|ran| (ran.code, ran.out, ran.err)).collect::<Vec<_>>()
    };
    let direct = ask();
    let daemon = Daemon::start(&gateway.path("g"));
    assert_eq!(ask(), direct);

    let placed = gateway.deliver("経由").ends(0).json();
    assert_eq!(placed["title"], "経由");
    assert_eq!(gateway.run(&["outbox", "list", "K0001", "--json"]).json().as_array().unwrap().len(), 2);
    let mut large = std::fs::File::create(gateway.path("LARGE.pdf")).unwrap();
    large.write_all(PDF).unwrap();
    large.set_len(2 << 20).unwrap();
    let order = ["deliver", "--insurer", "06139999", "--account", "K0001", "--type", "x", "LARGE.pdf"];
    gateway.run(&order).ends(3);

    let status = gateway.run(&["status", "--json"]).ends(0).json();
    assert_eq!(status["running"], true);
    assert_eq!(status["alarms"][0]["code"], "TEST-ALARM");
    let report = gateway.run(&["doctor", "--json"]).ends(1).json();
    let found = |text: &str| {
        let lines = report["checks"].as_array().unwrap();
        lines.iter().any(|line| line["found"].as_str().unwrap().contains(text))
    };
    assert!(found("TEST-ALARM") && found("runs as process"));
    gateway.run(&["journal", "rebuild"]).ends(3);
    gateway.run(&["journal", "restored"]).ends(3);
    gateway.run(&["journal", "verify"]).ends(0);
    gateway.write("offices.csv", "office,insurer,name\n5,06139999,見本五\n6,06139999,見本六\n");
    gateway.run(&["office", "import", "offices.csv"]).ends(0);
    daemon.stop();
    let offices = gateway.run(&["office", "list", "--json"]).ends(0).json();
    assert_eq!(offices.as_array().unwrap().len(), 3);
    assert_eq!(gateway.run(&["status", "--json"]).ends(0).json()["running"], false);
}

#[test]
fn doctor_changes_nothing_and_names_what_is_wrong() {
    let gateway = Gateway::new();
    gateway.set_up();
    let found = || {
        let report = gateway.run(&["doctor", "--json"]).json();
        let lines = report["checks"].as_array().unwrap().clone();
        lines
            .iter()
            .filter(|line| line["verdict"] == "error")
            .map(|line| line["check"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    // No mail server listens on port 25 of every machine that runs this.
    let problems = || found().into_iter().filter(|check| check != "mail server").collect::<Vec<_>>();
    assert!(problems().is_empty(), "{:?}", problems());
    let set = |name: &str, mode: u32| {
        std::fs::set_permissions(gateway.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set("g/spool/keys/receipt_ed25519_key", 0o644);
    set("g/spool/blobs", 0o755);
    set("g/spool/insurers/06139999/new", 0o777);
    gateway.write("g/conf/notices/arrival.toml", "[ja]\n");
    gateway.write("g/conf/forms/2200700.toml", "[form]\n");
    assert_eq!(problems(), ["notice", "rule tables", "data root", "receipt key", "spool 06139999"]);
    assert_eq!(std::fs::metadata(gateway.path("g/spool/blobs")).unwrap().permissions().mode() & 0o777, 0o755);
}
