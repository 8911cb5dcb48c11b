//! The whole gateway with a real scanner and real mail hosts: the daemon as it is, offices with stock `sftp`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use todoke::rules::notice::KINDS;
use todoke::work::ports::FixedScanner;

use super::super::support::gateway::{ACCOUNT, Gateway, OFFICE, PDF, Set};
use super::super::{Running, program, until};
use super::mail::{Certificates, MailHost, read_mail};
use super::postfix::Postfix;

/// A clamd that can be stopped and started again, behind a Unix socket.
struct Clamd {
    dir: tempfile::TempDir,
    process: Option<Running>,
}

impl Clamd {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("db");
        fs::create_dir(&database).unwrap();
        let signature: String = FixedScanner::VIRUS.iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(database.join("test.ndb"), format!("Todoke.Test:0:*:{signature}\n")).unwrap();
        let config = format!(
            "Foreground yes\nConcurrentDatabaseReload yes\nSelfCheck 0\nDatabaseDirectory {}\nLocalSocket {}\nTemporaryDirectory {}\n",
            database.display(),
            dir.path().join("clamd.sock").display(),
            dir.path().display(),
        );
        fs::write(dir.path().join("clamd.conf"), config).unwrap();
        let mut clamd = Self { dir, process: None };
        clamd.start();
        clamd
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("clamd.sock")
    }

    fn start(&mut self) {
        let _ = fs::remove_file(self.socket());
        let mut command = Command::new(program("clamd", "clamav-daemon"));
        command.arg("-c").arg(self.dir.path().join("clamd.conf")).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(Running::start(&mut command));
        until("clamd answers", || std::os::unix::net::UnixStream::connect(self.socket()).is_ok());
    }

    fn stop(&mut self) {
        self.process = None;
    }
}

/// The alarms that hold, as text.
fn alarms(gateway: &Gateway) -> String {
    gateway.ask(&["status"])["alarms"].to_string()
}

fn infected(gateway: &Gateway, records: u64) -> Set {
    let cover = [b"%PDF-1.4\n% ", FixedScanner::VIRUS, b"\n", PDF].concat();
    Set::of("", vec![("KPFD0006.CSV", gateway.filing(records)), ("soukatsu.pdf", cover)])
}

#[test]
fn a_real_scanner_refuses_what_is_infected_and_its_absence_only_delays() {
    let mut clamd = Clamd::new();
    let gateway = Gateway::with(&[("scanner", "address", &format!("\"unix:{}\"", clamd.socket().display()))]);
    let receipt = gateway.send_taken(ACCOUNT, &gateway.set(1));
    assert_eq!(receipt["outcome"], "accepted", "{receipt:#}");
    assert_eq!(receipt["stages"]["virus"]["verdict"], "pass");
    assert!(receipt["stages"]["virus"]["detail"].as_str().unwrap().contains("ClamAV"), "{receipt:#}");

    let virus = infected(&gateway, 2);
    let ran = gateway.send(ACCOUNT, &virus);
    assert!(ran.err.contains("soukatsu.pdf"), "{ran:?}");
    ran.ends(1);
    let receipt = gateway.receipt(ACCOUNT, &virus).expect("a receipt");
    assert_eq!(receipt["outcome"], "refused", "{receipt:#}");
    assert_eq!(receipt["stages"]["virus"]["verdict"], "fail", "{receipt:#}");
    assert_eq!(receipt["stages"]["format"]["verdict"], "not_run", "{receipt:#}");
    let refused = receipt["number"].as_str().unwrap();
    assert!(!gateway.insurer_spool().join("new").join(refused).exists());

    clamd.stop();
    let (sound, virus) = (gateway.set(3), infected(&gateway, 4));
    let held: Vec<String> = [&sound, &virus]
        .map(|set| {
            let receipt = gateway.send_taken(ACCOUNT, set);
            assert_eq!(receipt["outcome"], "held", "{receipt:#}");
            receipt["number"].as_str().unwrap().to_owned()
        })
        .into();
    let status = gateway.ask(&["status"]);
    assert_eq!(status["queues"]["judge"]["waiting"], 2, "{status:#}");
    assert_eq!(status["scanner"]["up"], false, "{status:#}");
    for code in ["SUBMISSIONS-HELD", "SCANNER-DOWN"] {
        until(code, || alarms(&gateway).contains(code));
    }
    let doctor = gateway.todoke(&["doctor"]).ends(1);
    assert!(doctor.out.contains("start clamd"), "{doctor:?}");
    assert!(!gateway.insurer_spool().join("new").join(&held[0]).exists());

    clamd.start();
    gateway.reaches(&held[0], "published");
    gateway.reaches(&held[1], "refused");
    until("the alarms are over", || {
        ["SUBMISSIONS-HELD", "SCANNER-DOWN"].iter().all(|code| !alarms(&gateway).contains(code))
    });
    // The later refusal is also mailed: nobody waits at a close any more.
    until("a mail tells the sender", || {
        gateway
            .ask(&["mail", "list"])
            .as_array()
            .unwrap()
            .iter()
            .any(|mail| mail["about"].to_string().contains(&held[1]))
    });
}

/// What must not go out is reported and kept for the insurer to look at, while the rest goes; without a scanner all waits.
#[test]
fn a_real_scanner_keeps_back_what_an_insurer_must_not_deliver() {
    let mut clamd = Clamd::new();
    let gateway = Gateway::with(&[
        ("scanner", "address", &format!("\"unix:{}\"", clamd.socket().display())),
        ("delivery", "settle_seconds", "0"),
    ]);
    let rename = |from: &Path, to: &Path| {
        #[allow(clippy::disallowed_methods, reason = "as insurers do")]
        fs::rename(from, to).unwrap();
    };
    let spool = gateway.insurer_spool();
    let leave = |name: &str, files: &[(&str, Vec<u8>)]| {
        let job = spool.join("outgoing").join(name);
        fs::create_dir(&job).unwrap();
        let mut sheet = "account,office,in_reply_to,file,type,title\n".to_owned();
        for (file, bytes) in files {
            fs::write(job.join(file), bytes).unwrap();
            sheet += &format!("{ACCOUNT},,,{file},納入告知書,{name}\n");
        }
        fs::write(job.join("delivery.csv.tmp"), sheet).unwrap();
        rename(&job.join("delivery.csv.tmp"), &job.join("delivery.csv"));
    };
    let report = |job: &str| {
        let begin = format!("delivery-{job}-");
        let found = fs::read_dir(spool.join("reports")).unwrap().flatten();
        let mut found = found.filter(|entry| entry.file_name().to_string_lossy().starts_with(&begin));
        found.next().map(|entry| fs::read_to_string(entry.path()).unwrap())
    };
    let encrypted =
        [b"%PDF-1.4\n", &b"% text\n".repeat(500)[..], b"trailer<</Encrypt 5 0 R>>\n%%EOF\n"].concat();
    let virus = [b"%PDF-1.4\n% ", FixedScanner::VIRUS, b"\n", PDF].concat();
    leave(
        "mixed",
        &[
            ("good.pdf", PDF.to_vec()),
            ("encrypted.pdf", encrypted),
            ("empty.pdf", Vec::new()),
            ("virus.pdf", virus.clone()),
            ("text.pdf", b"no pdf".to_vec()),
        ],
    );
    until("the delivery is reported", || report("mixed").is_some());
    let told = report("mixed").unwrap();
    for (file, code) in [
        ("encrypted.pdf", "PDF-ENCRYPTED"),
        ("empty.pdf", "FILE-EMPTY"),
        ("virus.pdf", "VIRUS-FOUND"),
        ("text.pdf", "FILE-NOT-PDF"),
    ] {
        let line = told.lines().find(|line| line.contains(file)).unwrap_or_default();
        assert!(line.contains("refused") && line.contains(code), "{file}: {told}");
        assert!(line.contains("outgoing/mixed") || line.contains(&format!("mixed/{file}")), "{file}: {told}");
    }
    assert_eq!(told.matches(",placed,").count(), 1, "{told}");
    let titles = |gateway: &Gateway| gateway.ask(&["outbox", "list", ACCOUNT]).as_array().unwrap().len();
    assert_eq!(titles(&gateway), 1);
    let kept = |job: &str| {
        let names = fs::read_dir(spool.join("outgoing").join(job)).map(Iterator::flatten);
        let mut names: Vec<_> =
            names.map(|n| n.map(|e| e.file_name().into_string().unwrap()).collect()).unwrap_or_default();
        names.sort();
        names
    };
    until("what was placed is gone from outgoing/", || {
        kept("mixed") == ["empty.pdf", "encrypted.pdf", "text.pdf", "virus.pdf"]
    });

    clamd.stop();
    leave("later", &[("good.pdf", [PDF, b"% later\n"].concat()), ("virus.pdf", virus)]);
    until("it is said that it waits", || alarms(&gateway).contains("DELIVERY-SCANNER"));
    assert!(report("later").is_none() && titles(&gateway) == 1);
    clamd.start();
    until("what waited is reported", || report("later").is_some());
    assert_eq!(titles(&gateway), 2);
    let told = report("later").unwrap();
    assert!(told.contains("VIRUS-FOUND") && told.matches(",placed,").count() == 1, "{told}");
    until("the alarm is over", || !alarms(&gateway).contains("DELIVERY-SCANNER"));
}

/// Leaves three documents for the office in one set, one of which names a person.
fn deliver(gateway: &Gateway) {
    let job = gateway.insurer_spool().join("outgoing/2026-11");
    fs::create_dir(&job).unwrap();
    let mut sheet = "account,office,in_reply_to,file,type,title\n".to_owned();
    for (n, kind) in ["納入告知書", "決定通知書", "決定通知書"].iter().enumerate() {
        fs::write(job.join(format!("{n}.pdf")), [PDF, format!("% {n}\n").as_bytes()].concat()).unwrap();
        sheet += &format!("{ACCOUNT},,,{n}.pdf,{kind},見本 太郎 {n}\n");
    }
    fs::write(job.join("delivery.csv.tmp"), sheet).unwrap();
    #[allow(clippy::disallowed_methods, reason = "as insurers do")]
    fs::rename(job.join("delivery.csv.tmp"), job.join("delivery.csv")).unwrap();
}

/// The arrival mail as the office's mail program shows it.
fn is_the_arrival_mail(read: &Value) {
    let header = |name: &str| read["headers"][name].as_str().unwrap_or_default().to_owned();
    assert!(header("subject").starts_with("株式会社見本工業 様"), "{read:#}");
    assert!(
        header("subject").contains("3件") && header("subject").contains("東京見本健康保険組合"),
        "{read:#}"
    );
    assert!(header("auto-submitted").starts_with("auto-generated"), "{read:#}");
    assert!(header("to").contains("soumu@example.jp"), "{read:#}");
    let body = read["body"].as_str().unwrap();
    assert!(body.contains("決定通知書") && body.contains("納入告知書"), "{body}");
    for never in ["太郎", "総務課", "http", "K0001"] {
        assert!(!read.to_string().contains(never), "{never}: {read:#}");
    }
    assert_eq!(read["defects"], serde_json::json!([]), "{read:#}");
}

const MAIL: [(&str, &str, &str); 4] = [
    ("mail", "from", "\"no-reply@gateway.example.jp\""),
    ("mail", "gather", "\"1s\""),
    ("mail", "retry", "[\"1s\"]"),
    ("delivery", "settle_seconds", "0"),
];

#[test]
fn a_mail_host_with_tls_and_login_takes_the_arrival_mail_at_the_second_try() {
    let certificates = Certificates::make();
    let host = MailHost::start(&[
        "--tls",
        &certificates.path("good.pem"),
        &certificates.path("good.key"),
        "--require-tls",
        "--auth",
        "todoke",
        "a secret",
        "--first",
        "451 4.3.0 later",
    ]);
    let gateway = Gateway::set_up(&MAIL);
    let password = gateway.file("password");
    fs::write(&password, "a secret\n").unwrap();
    fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    gateway.configure(&[
        ("mail", "url", &format!("\"smtp://127.0.0.1:{}\"", host.port)),
        ("mail", "tls", "\"required\""),
        ("mail", "user", "\"todoke\""),
        ("mail", "password_file", &format!("\"{}\"", password.display())),
        ("mail", "ca_file", &format!("\"{}\"", certificates.path("ca.pem"))),
    ]);
    let mut gateway = gateway;
    gateway.start();
    deliver(&gateway);
    let sent = |gateway: &Gateway| gateway.ask(&["mail", "list"]);
    until("the mail is sent", || sent(&gateway)[0]["state"] == "sent");
    let mails = sent(&gateway);
    assert_eq!(mails.as_array().unwrap().len(), 1, "one mail for all three: {mails:#}");
    assert_eq!(mails[0]["attempts"], 2, "{mails:#}");

    let (bytes, envelope) = host.mail(1);
    assert_eq!((&envelope["tls"], &envelope["user"]), (&true.into(), &"todoke".into()), "{envelope:#}");
    assert_eq!(envelope["from"], "no-reply@gateway.example.jp");
    assert_eq!(envelope["to"], serde_json::json!(["soumu@example.jp"]));
    let first = fs::read(host.dir.path().join("first.eml")).unwrap();
    assert_eq!(String::from_utf8_lossy(&first), String::from_utf8_lossy(&bytes), "a retry is the same mail");
    let read = read_mail(&bytes);
    is_the_arrival_mail(&read);
    assert!(
        read["headers"]["message-id"].as_str().unwrap().contains(mails[0]["message_id"].as_str().unwrap())
    );
    assert!(!host.dir.path().join("2.eml").exists());
    let log = gateway.log();
    for never in ["a secret", "soumu@", "太郎"] {
        assert!(!log.contains(never), "{never}: {log}");
    }
    // What was announced is there.
    let listed = gateway.sftp(ACCOUNT, &format!("ls -1 /outbox/{OFFICE}\n")).ends(0);
    assert_eq!(listed.out.matches(".pdf").count(), 3, "{listed:?}");
}

/// What an operator sends himself to look at is what offices get: every kind, in both languages, as another program reads it.
#[test]
fn every_kind_of_mail_is_read_by_another_program() {
    let host = MailHost::start(&[]);
    let gateway = Gateway::set_up(&MAIL);
    gateway.configure(&[("mail", "url", &format!("\"smtp://127.0.0.1:{}\"", host.port))]);
    let columns = |line: &str| line.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum::<usize>();
    let mut at = 0;
    for kind in KINDS {
        for (language, more) in [("ja", None), ("en", Some("--english"))] {
            let args = ["mail", "test", "operator@example.jp", "--kind", kind.name];
            let args: Vec<&str> = args.into_iter().chain(more).collect();
            gateway.todoke(&args).ends(0);
            at += 1;
            let read = read_mail(&host.mail(at).0);
            let header = |name: &str| read["headers"][name].as_str().unwrap_or_default().to_owned();
            assert_eq!(header("content-language"), language, "{}: {read:#}", kind.name);
            assert_eq!(read["defects"], serde_json::json!([]), "{}: {read:#}", kind.name);
            let (subject, body) = (header("subject"), read["body"].as_str().unwrap());
            assert!(columns(&subject) < 78 && !subject.is_empty(), "{}: {subject}", kind.name);
            assert!(body.lines().all(|line| columns(line) <= 78), "{}: {body}", kind.name);
            let japanese = body.chars().any(|c| ('ぁ'..='ん').contains(&c));
            assert!(japanese || language == "en", "{}: {body}", kind.name);
            assert!(!subject.contains(['{', '}']) && !body.contains(['{', '}']), "{}: {body}", kind.name);
        }
    }
    let refused = gateway.todoke(&["mail", "test", "operator@example.jp", "--kind", "nothing"]).ends(2);
    assert!(refused.err.contains("NOTICE-KIND"), "{refused:?}");
}

#[test]
fn postfix_delivers_the_arrival_mail_to_the_offices_mailbox() {
    let postfix = Postfix::start("virtual_alias_maps = inline:{ soumu@example.jp=good@example.jp }");
    let gateway = Gateway::set_up(&MAIL);
    gateway.configure(&[("mail", "url", &format!("\"smtp://127.0.0.1:{}\"", postfix.port))]);
    let mut gateway = gateway;
    gateway.start();
    deliver(&gateway);
    let first = |folder: &Path| fs::read_dir(folder).ok()?.next()?.ok().map(|entry| entry.path());
    let folder = postfix.path("mail/good/new");
    until("the mail is in the mailbox", || first(&folder).is_some());
    is_the_arrival_mail(&read_mail(&fs::read(first(&folder).unwrap()).unwrap()));
    until("the gateway knows", || gateway.ask(&["mail", "list"])[0]["state"] == "sent");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}
