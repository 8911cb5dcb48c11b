//! The mailer's contract, run against the fake and against aiosmtpd; then TLS, logins, and hosts that misbehave.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use todoke::doors::smtp::{Bounds, Login, SmtpConfig, SmtpMailer, TlsMode};
use todoke::model::finding::Language;
use todoke::model::time::Timestamp;
use todoke::rules::notice::{ArrivalNotice, ArrivalPart, Dkim, DkimError, KINDS, Letter, Templates, compose};
use todoke::work::ports::{Delivery, Envelope, Mailer, RecordingMailer};
use zeroize::Zeroizing;

use super::super::{Running, program};

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}

fn need_aiosmtpd() {
    static THERE: OnceLock<bool> = OnceLock::new();
    let check = || {
        let asked = Command::new("python3").args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    };
    assert!(*THERE.get_or_init(check), "python3 has no aiosmtpd: Python package aiosmtpd");
}

/// A mail host of its own.
pub(super) struct MailHost {
    _process: Running,
    pub(super) port: u16,
    pub(super) dir: tempfile::TempDir,
}

impl MailHost {
    pub(super) fn start(arguments: &[&str]) -> Self {
        need_aiosmtpd();
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("python3");
        command
            .arg(here("mailhost.py"))
            .arg(dir.path())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = Running::start(&mut command);
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { _process: process, port: line.trim().parse().unwrap(), dir }
    }

    pub(super) fn mail(&self, number: usize) -> (Vec<u8>, Value) {
        let read = |extension| {
            std::fs::read(self.dir.path().join(number.to_string()).with_extension(extension)).unwrap()
        };
        (read("eml"), serde_json::from_slice(&read("json")).unwrap())
    }

    fn connections(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("connections")).unwrap()
    }
}

/// Short enough for a host that hangs, long enough for a busy machine.
fn patient() -> Bounds {
    Bounds { connect_max: Duration::from_secs(30), attempt_max: Duration::from_mins(1), ..Bounds::default() }
}

pub(super) fn config(port: u16) -> SmtpConfig {
    SmtpConfig {
        url: format!("smtp://127.0.0.1:{port}").parse().unwrap(),
        tls: None,
        login: None,
        extra_ca_pem: None,
        ehlo: "gateway.example.jp".into(),
        bounds: patient(),
    }
}

pub(super) fn mailer(config: SmtpConfig) -> SmtpMailer {
    SmtpMailer::new(config).unwrap()
}

pub(super) fn plain_mailer(port: u16) -> SmtpMailer {
    mailer(config(port))
}

pub(super) fn to(address: &str) -> Envelope {
    Envelope { from: Some("no-reply@gateway.example.jp".into()), to: address.into(), id: None }
}

pub(super) const SHORT: &[u8] = b"Subject: x\r\nMessage-ID: <1@gateway.example.jp>\r\n\r\nhello\r\n";

/// What a mail program makes of it.
pub(super) fn read_mail(bytes: &[u8]) -> Value {
    let mut python = Command::new("python3")
        .arg(here("readmail.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(bytes).unwrap();
    serde_json::from_slice(&python.wait_with_output().unwrap().stdout).unwrap()
}

/// The arrival notice as it would be sealed.
pub(super) fn arrival() -> (Vec<u8>, String, String) {
    let part = ArrivalPart {
        account: "K0001".into(),
        office_name: "株式会社 見本工業 (本社・第一工場) Sample Works".into(),
        insurer_name: "東京見本健康保険組合".into(),
        counts: vec![("納入告知書".into(), 1), ("標準賞与額決定通知書".into(), 2)],
        last_day: chrono::NaiveDate::from_ymd_opt(2027, 2, 1).unwrap(),
        contact: "東京見本健康保険組合 適用課\n電話 03-0000-0000".into(),
        folder: "/outbox/1234/".into(),
    };
    let text = Templates::builtin().unwrap().render(&ArrivalNotice { parts: vec![part] }, Language::Ja);
    let letter = Letter {
        from_name: "届け (見本)",
        from: "no-reply@gateway.example.jp",
        to: "good-soumu@example.jp",
        message_id: "M1-000001-2.9f3c@gateway.example.jp",
        at: Timestamp(1_795_392_000_000),
        languages: &[Language::Ja],
    };
    (compose(&letter, &text, None).unwrap(), text.subject, text.body)
}

/// What every mailer must do whose host takes everything; `taken` tells what it took.
fn contract(mailer: &dyn Mailer, taken: &dyn Fn(usize) -> Vec<u8>) {
    let awkward = [
        b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n\r\n".to_vec(),
        [b"Subject: long\r\n\r\n".to_vec(), vec![b'x'; 998], b"\r\n".to_vec()].concat(),
        [b"Subject: big\r\n\r\n".to_vec(), b"0123456789abcdef\r\n".repeat(20_000)].concat(),
        b"Subject: no end\r\n\r\nlast line".to_vec(),
        arrival().0,
    ];
    for (at, message) in awkward.iter().enumerate() {
        let sent = mailer.send(&to("good@example.jp"), message);
        assert!(matches!(&sent, Delivery::Sent { reply } if reply == "250 2.0.0"), "{sent:?}");
        let (got, sent) = (taken(at + 1), message);
        // A mail host ends the last line where the message did not.
        assert_eq!(got.trim_ascii_end(), sent.trim_ascii_end(), "{at}");
    }
    let null = Envelope { from: None, to: "good@example.jp".into(), id: None };
    assert!(matches!(mailer.send(&null, SHORT), Delivery::Sent { .. }));

    let smuggled = b"Subject: x\r\n\r\nhello\n.\r\nMAIL FROM:<evil@example.jp>\r\n";
    assert_eq!(
        mailer.send(&to("good@example.jp"), smuggled),
        Delivery::Failed { reply: "bad-message".into() }
    );
    assert_eq!(mailer.send(&to("nobody"), SHORT), Delivery::Failed { reply: "bad-address".into() });
}

#[test]
fn the_fake_keeps_the_contract() {
    let mailer = RecordingMailer::default();
    contract(&mailer, &|number| mailer.sent()[number - 1].1.clone());
    mailer.will([Delivery::Deferred { reply: "451 4.7.1".into() }]);
    assert_eq!(mailer.send(&to("a@example.jp"), SHORT), Delivery::Deferred { reply: "451 4.7.1".into() });
    assert!(matches!(mailer.send(&to("a@example.jp"), SHORT), Delivery::Sent { .. }));
}

#[test]
fn smtp_keeps_the_contract_over_one_connection() {
    let host = MailHost::start(&[]);
    let mailer = plain_mailer(host.port);
    contract(&mailer, &|number| host.mail(number).0);
    assert_eq!(host.connections(), "1");
    let (_, envelope) = host.mail(1);
    assert_eq!(envelope["from"], "no-reply@gateway.example.jp");
    assert_eq!(envelope["to"], serde_json::json!(["good@example.jp"]));
    assert_eq!((&envelope["tls"], &envelope["ehlo"]), (&false.into(), &"gateway.example.jp".into()));
    assert_eq!(host.mail(6).1["from"], "<>", "the null sender");
}

#[test]
fn a_mail_program_shows_what_was_written() {
    let host = MailHost::start(&[]);
    let (bytes, subject, body) = arrival();
    assert!(matches!(
        plain_mailer(host.port).send(&to("good-soumu@example.jp"), &bytes),
        Delivery::Sent { .. }
    ));
    let read = read_mail(&host.mail(1).0);
    assert_eq!(read["headers"]["subject"], subject);
    assert_eq!(read["body"].as_str().unwrap().replace("\r\n", "\n"), body);
    assert_eq!(read["headers"]["from"], "\"届け (見本)\" <no-reply@gateway.example.jp>");
    for (name, value) in [
        ("to", "good-soumu@example.jp"),
        ("message-id", "<M1-000001-2.9f3c@gateway.example.jp>"),
        ("date", "Mon, 23 Nov 2026 00:00:00 +0000"),
        ("auto-submitted", "auto-generated"),
        ("x-auto-response-suppress", "All"),
        ("content-language", "ja"),
        ("mime-version", "1.0"),
    ] {
        assert_eq!(read["headers"][name], value, "{name}");
    }
    assert_eq!((&read["type"], &read["charset"]), (&"text/plain".into(), &"utf-8".into()));
    assert_eq!((&read["ascii"], &read["defects"]), (&true.into(), &serde_json::json!([])));
    assert!(read["longest"].as_u64().unwrap() <= 78, "{}", String::from_utf8_lossy(&bytes));
}

/// Whom an answer is about decides what becomes of the mail.
#[test]
fn answers_are_told_apart_by_the_step_and_kept_without_text() {
    let deferred = |reply: &str| Delivery::Deferred { reply: reply.into() };
    let failed = |reply: &str| Delivery::Failed { reply: reply.into() };
    for (option, answer, expected) in [
        ("--rcpt", "550 5.1.1 <soumu@example.jp>: no such user", failed("550 5.1.1")),
        ("--rcpt", "550 <soumu@example.jp>: User unknown", failed("550 5.1.1")),
        ("--rcpt", "550 Blocked - see http://spamhaus.example/ your IP is listed", failed("550")),
        ("--data", "550 Blocked - user unknown", failed("550 (message)")),
        ("--data", "550 5.1.1 not taken", failed("550 5.1.1 (message)")),
        ("--rcpt", "450 4.2.0 greylisted, soumu", deferred("450 4.2.0")),
        ("--rcpt", "452 full", deferred("452")),
        ("--rcpt", "530 5.7.0 log in first", deferred("530 5.7.0")),
        ("--data", "554 5.7.1 looks like spam", failed("554 5.7.1 (message)")),
        ("--data", "451 4.3.0 disk", deferred("451 4.3.0 (message)")),
        ("--data", "552-5.3.4 much\r\n552 5.3.4 too big", failed("552 5.3.4 (message)")),
        ("--mail", "553 5.7.1 not your sender", deferred("553 5.7.1 (mail from)")),
        ("--mail", "451 4.7.1 later", deferred("451 4.7.1 (mail from)")),
        ("--hello", "550 5.7.1 go away", deferred("550 5.7.1 (greeting)")),
        ("--hello", "421 4.3.2 closing", deferred("421 4.3.2 (greeting)")),
    ] {
        let host = MailHost::start(&[option, answer]);
        let mailer = plain_mailer(host.port);
        for round in 0..2 {
            assert_eq!(
                mailer.send(&to("soumu@example.jp"), SHORT),
                expected,
                "{option} {answer}, round {round}"
            );
        }
        if option == "--rcpt" {
            // A refused recipient does not stand in the way of the next mail, on the same connection.
            assert!(matches!(mailer.send(&to("good@example.jp"), SHORT), Delivery::Sent { .. }));
            assert_eq!(host.connections(), "1");
        }
    }
}

#[test]
fn a_host_that_drops_idle_connections_costs_nothing() {
    let host = MailHost::start(&["--mails-per-connection", "2"]);
    let mailer = plain_mailer(host.port);
    for round in 0..5 {
        let sent = mailer.send(&to("good@example.jp"), SHORT);
        assert!(matches!(sent, Delivery::Sent { .. }), "round {round}: {sent:?}");
    }
    assert_eq!(host.connections(), "3");
}

/// An authority and certificates it issued, made by openssl.
pub(super) struct Certificates {
    dir: tempfile::TempDir,
}

impl Certificates {
    pub(super) fn make() -> Self {
        let program = program("openssl", "openssl");
        let dir = tempfile::tempdir().unwrap();
        let openssl = |arguments: &str| {
            let done = Command::new(&program).args(arguments.split(' ')).current_dir(&dir).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        openssl(&format!(
            "req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca -addext basicConstraints=critical,CA:true"
        ));
        let ca = "[ca]\ndefault_ca=c\n[c]\ndatabase=index.txt\nnew_certs_dir=.\nrand_serial=yes\npolicy=p\n\
                  default_md=sha256\n[p]\ncommonName=supplied\n";
        std::fs::write(dir.path().join("ca.cnf"), ca).unwrap();
        std::fs::write(dir.path().join("index.txt"), "").unwrap();
        let [good, other] = ["IP:127.0.0.1", "DNS:other.example.jp"];
        for (name, alternative, year) in [("good", good, 2049), ("other", other, 2049), ("old", good, 2021)] {
            std::fs::write(dir.path().join("ext"), format!("subjectAltName={alternative}")).unwrap();
            openssl(&format!("req -new {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
            openssl(&format!(
                "ca -batch -notext -config ca.cnf -cert ca.pem -keyfile ca.key -in {name}.csr -out {name}.pem \
                 -extfile ext -startdate 20200101000000Z -enddate {year}0101000000Z"
            ));
        }
        Self { dir }
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    pub(super) fn ca(&self) -> Vec<u8> {
        std::fs::read(self.path("ca.pem")).unwrap()
    }

    fn host(&self, name: &str, more: &[&str]) -> MailHost {
        let (certificate, key) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        MailHost::start(&[&["--tls", &certificate, &key], more].concat())
    }
}

#[test]
fn tls_is_used_as_told_and_certificates_are_checked() {
    let certificates = Certificates::make();
    let deferred = |reply: &str| Delivery::Deferred { reply: reply.into() };
    let host = certificates.host("good", &["--require-tls"]);

    let required = SmtpConfig {
        tls: Some(TlsMode::Required),
        extra_ca_pem: Some(certificates.ca()),
        ..config(host.port)
    };
    let client = mailer(required.clone());
    for _ in 0..2 {
        assert!(matches!(client.send(&to("good@example.jp"), SHORT), Delivery::Sent { .. }));
    }
    assert_eq!(host.mail(2).1["tls"], true);
    assert_eq!(host.connections(), "1");
    let opportunistic = SmtpConfig { tls: Some(TlsMode::Opportunistic), ..required.clone() };
    assert!(matches!(mailer(opportunistic).send(&to("good@example.jp"), SHORT), Delivery::Sent { .. }));
    assert_eq!(host.mail(3).1["tls"], true);
    assert_eq!(
        plain_mailer(host.port).send(&to("good@example.jp"), SHORT),
        deferred("530 (mail from)"),
        "plain"
    );

    let stranger = SmtpConfig { extra_ca_pem: None, ..required.clone() };
    assert_eq!(
        mailer(stranger).send(&to("good@example.jp"), SHORT),
        deferred("tls-failed"),
        "unknown authority"
    );
    for name in ["other", "old"] {
        let host = certificates.host(name, &[]);
        let url = config(host.port).url;
        assert_eq!(
            mailer(SmtpConfig { url, ..required.clone() }).send(&to("good@example.jp"), SHORT),
            deferred("tls-failed"),
            "{name}"
        );
    }

    let plain = MailHost::start(&[]);
    let url = config(plain.port).url;
    assert_eq!(
        mailer(SmtpConfig { url, ..required }).send(&to("good@example.jp"), SHORT),
        deferred("tls-not-offered")
    );
}

#[test]
fn implicit_tls_and_logins() {
    let certificates = Certificates::make();
    let host = certificates.host("good", &["--implicit", "--auth", "gateway", "hush hush"]);
    let login =
        |password: &str| Some(Login { user: "gateway".into(), password: Zeroizing::new(password.into()) });
    let config = SmtpConfig {
        url: format!("smtps://127.0.0.1:{}", host.port).parse().unwrap(),
        login: login("hush hush"),
        extra_ca_pem: Some(certificates.ca()),
        ..config(host.port)
    };
    assert!(matches!(mailer(config.clone()).send(&to("good@example.jp"), SHORT), Delivery::Sent { .. }));
    assert_eq!(host.mail(1).1["user"], "gateway");
    let wrong = mailer(SmtpConfig { login: login("wrong"), ..config.clone() });
    assert_eq!(
        wrong.send(&to("good@example.jp"), SHORT),
        Delivery::Deferred { reply: "535 5.7.8 (auth)".into() }
    );
    let none = mailer(SmtpConfig { login: None, ..config.clone() });
    assert_eq!(
        none.send(&to("good@example.jp"), SHORT),
        Delivery::Deferred { reply: "530 5.7.0 (mail from)".into() }
    );
    let stranger = mailer(SmtpConfig { extra_ca_pem: None, ..config });
    assert_eq!(
        stranger.send(&to("good@example.jp"), SHORT),
        Delivery::Deferred { reply: "tls-failed".into() }
    );

    let without = saying(&[b"220 mail.example.jp ESMTP\r\n", b"250 no AUTH here\r\n"], End::Hang);
    let config = SmtpConfig { login: login("x"), ..self::config(without) };
    assert_eq!(
        mailer(config).send(&to("good@example.jp"), SHORT),
        Delivery::Deferred { reply: "auth-not-offered".into() }
    );
}

/// A host that says each of these after each thing it hears (the first at once), then does as `end` says.
fn saying(lines: &'static [&'static [u8]], end: End) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let _ = stream.set_nodelay(true);
                for (at, line) in lines.iter().enumerate() {
                    if at > 0 && stream.read(&mut [0; 4096]).unwrap_or(0) == 0 {
                        return;
                    }
                    let _ = stream.write_all(line);
                }
                match end {
                    End::HangUp => {}
                    End::Hang => drop(io::copy(&mut stream, &mut io::sink())),
                    End::Chatter => {
                        while stream.write_all(b"250-more and more and more of it\r\n").is_ok() {}
                    }
                    End::NoLine => while stream.write_all(&[b'x'; 4096]).is_ok() {},
                }
            });
        }
    });
    port
}

#[derive(Clone, Copy)]
enum End {
    HangUp,
    Hang,
    Chatter,
    NoLine,
}

#[test]
fn hosts_that_misbehave_defer_the_mail_within_the_bounds() {
    const HELLO: &[u8] = b"220 mail.example.jp ESMTP\r\n";
    let hasty = Bounds { attempt_max: Duration::from_millis(500), ..patient() };
    for (what, lines, end, bounds, word) in [
        ("silent", &[][..], End::Hang, hasty, "timeout"),
        ("hangs after EHLO", &[HELLO], End::Hang, hasty, "timeout"),
        (
            "hangs after the message",
            &[HELLO, b"250 x\r\n", b"250 x\r\n", b"250 x\r\n", b"354 x\r\n"],
            End::Hang,
            hasty,
            "timeout",
        ),
        (
            "takes the message for commands",
            &[HELLO, b"250 x\r\n", b"250 x\r\n", b"250 x\r\n", b"250 x\r\n"],
            End::Hang,
            patient(),
            "garbled-reply",
        ),
        ("hangs up at once", &[], End::HangUp, patient(), "disconnected"),
        (
            "hangs up at DATA",
            &[HELLO, b"250 x\r\n", b"250 x\r\n", b"250 x\r\n"],
            End::HangUp,
            patient(),
            "disconnected",
        ),
        ("is no mail host", &[b"SSH-2.0-OpenSSH_9.2\r\n"], End::Hang, patient(), "garbled-reply"),
        ("speaks HTTP", &[b"HTTP/1.1 400 Bad Request\r\n\r\n"], End::Hang, patient(), "garbled-reply"),
        (
            "says no end of lines",
            &[HELLO, b"250-mail.example.jp\r\n"],
            End::Chatter,
            patient(),
            "garbled-reply",
        ),
        ("says one line without end", &[HELLO], End::NoLine, patient(), "garbled-reply"),
        ("says what is no text", &[b"220 \xff\xfe\r\n"], End::Hang, patient(), "garbled-reply"),
    ] {
        let mailer = mailer(SmtpConfig { bounds, ..config(saying(lines, end)) });
        let got = mailer.send(&to("soumu@example.jp"), SHORT);
        assert_eq!(got, Delivery::Deferred { reply: word.into() }, "{what}");
    }
    let nobody = plain_mailer(super::super::free_port());
    assert_eq!(
        nobody.send(&to("soumu@example.jp"), SHORT),
        Delivery::Deferred { reply: "unreachable".into() }
    );
    let nowhere = mailer(SmtpConfig {
        url: "smtp://nowhere.invalid".parse().unwrap(),
        tls: Some(TlsMode::None),
        ..config(1)
    });
    assert_eq!(
        nowhere.send(&to("soumu@example.jp"), SHORT),
        Delivery::Deferred { reply: "no-such-host".into() }
    );
}

/// What a host does after its answer changes nothing about the mail's fate.
#[test]
fn a_refusal_stays_one_when_the_host_hangs_afterwards() {
    const LINES: &[&[u8]] =
        &[b"220 mail.example.jp ESMTP\r\n", b"250 x\r\n", b"250 x\r\n", b"550 5.1.1 no such user\r\n"];
    let mailer = plain_mailer(saying(LINES, End::Hang));
    assert_eq!(mailer.send(&to("soumu@example.jp"), SHORT), Delivery::Failed { reply: "550 5.1.1".into() });
}

#[test]
fn idle_connections_are_given_back() {
    let host = MailHost::start(&[]);
    let bounds = Bounds { idle_max: Duration::from_millis(100), ..patient() };
    let mailer = mailer(SmtpConfig { bounds, ..config(host.port) });
    assert!(matches!(mailer.send(&to("good@example.jp"), SHORT), Delivery::Sent { .. }));
    super::super::until("the host has heard QUIT", || host.dir.path().join("quit").exists());
    assert!(matches!(mailer.send(&to("good@example.jp"), SHORT), Delivery::Sent { .. }));
}

/// Whoever sits between appends answers to the go-ahead of STARTTLS; they must not count as said under TLS.
#[test]
fn answers_smuggled_in_before_tls_are_not_believed() {
    const GO: &[u8] = b"220 go\r\n250 x\r\n250 x\r\n250 x\r\n354 x\r\n250 2.0.0 taken\r\n";
    let port = saying(&[b"220 mail.example.jp ESMTP\r\n", b"250-x\r\n250 STARTTLS\r\n", GO], End::Hang);
    let mailer = mailer(SmtpConfig { tls: Some(TlsMode::Required), ..config(port) });
    assert_eq!(
        mailer.send(&to("soumu@example.jp"), SHORT),
        Delivery::Deferred { reply: "tls-failed".into() }
    );
}

#[test]
fn a_mailer_may_be_dropped_and_used_from_many_threads() {
    let host = MailHost::start(&[]);
    let mailer = plain_mailer(host.port);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert!(matches!(mailer.send(&to("good@example.jp"), SHORT), Delivery::Sent { .. }));
                }
            });
        }
    });
    assert_eq!(
        std::fs::read_dir(&host.dir)
            .unwrap()
            .filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "eml"))
            .count(),
        40
    );
    assert!(host.connections().parse::<u32>().unwrap() <= 4);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async move { drop(mailer) });
}

#[test]
#[ignore = "measures; run by hand with --ignored --nocapture"]
fn figures() {
    let host = MailHost::start(&[]);
    let (mailer, message, rounds) = (plain_mailer(host.port), arrival().0, 500);
    let start = std::time::Instant::now();
    for _ in 0..rounds {
        assert!(matches!(mailer.send(&to("good@example.jp"), &message), Delivery::Sent { .. }));
    }
    println!("aiosmtpd, one connection kept: {:?} a mail", start.elapsed() / rounds);
}

/// The private key in PEM form and the record of its public half.
fn dkim_key(folder: &Path, algorithm: &[&str]) -> (String, String) {
    let file = folder.join("key.pem");
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).output().expect("openssl (package openssl)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    openssl(&[&["genpkey", "-out", file.to_str().unwrap()], algorithm].concat());
    let public = openssl(&["pkey", "-in", file.to_str().unwrap(), "-pubout", "-outform", "DER"]);
    // RFC 8463: the bare key, not its structure.
    let ed25519 = algorithm.contains(&"ed25519");
    let (kind, bytes) =
        if ed25519 { ("ed25519", &public[public.len() - 32..]) } else { ("rsa", &public[..]) };
    let record = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    (std::fs::read_to_string(file).unwrap(), format!("v=DKIM1; k={kind}; p={record}"))
}

fn verifies(bytes: &[u8], record: &str) -> bool {
    let mut python = Command::new("python3")
        .arg(here("verify_dkim.py"))
        .arg(record)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = python.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success(), "python3 with dkimpy and PyNaCl: Python packages dkimpy, pynacl");
    said == "True"
}

#[test]
fn signatures_hold_before_a_real_verifier() {
    let dir = tempfile::tempdir().unwrap();
    let rsa = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    for algorithm in [&rsa[..], &["-algorithm", "ed25519"]] {
        let (pem, record) = dkim_key(dir.path(), algorithm);
        let dkim = Dkim::new("2026a", "gateway.example.jp", &pem).unwrap();
        for kind in KINDS {
            for language in [Language::Ja, Language::En] {
                let text = Templates::builtin().unwrap().preview(kind, language);
                let letter = Letter {
                    from_name: "届け",
                    from: "no-reply@gateway.example.jp",
                    to: "soumu@example.jp",
                    message_id: "m1-000001-2.0123456789abcdef@gateway.example.jp",
                    at: Timestamp(1_795_392_000_000),
                    languages: &[language],
                };
                let bytes = compose(&letter, &text, Some(&dkim)).unwrap();
                assert!(verifies(&bytes, &record), "{}: {}", kind.name, String::from_utf8_lossy(&bytes));
                let changed = String::from_utf8(bytes).unwrap().replacen("Subject: ", "Subject: x", 1);
                assert!(!verifies(changed.as_bytes(), &record), "{}", kind.name);
            }
        }
    }
    let (pem, _) = dkim_key(dir.path(), &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    assert!(matches!(Dkim::new("2026a", "example.jp", &pem), Err(DkimError::Key(_))));
    for (selector, domain, pem) in
        [("a b", "example.jp", &*pem), ("a", "", &*pem), ("a", "example.jp", "hello")]
    {
        assert!(Dkim::new(selector, domain, pem).is_err());
    }
}
