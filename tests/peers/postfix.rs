//! The mailer against postfix: refusals, and a mail read back from the mailbox it was delivered to.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use todoke::doors::smtp::{SmtpConfig, TlsMode};
use todoke::work::ports::{Delivery, Mailer};

use super::super::{free_port, program, until};
use super::mail::{Certificates, SHORT, arrival, config, mailer, plain_mailer, read_mail, to};

/// A postfix of its own on a port of its own, delivering for `example.jp`.
pub(super) struct Postfix {
    dir: tempfile::TempDir,
    pub(super) port: u16,
}

const SERVICES: &str = "
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
";

impl Postfix {
    pub(super) fn start(more: &str) -> Self {
        assert!(rustix::process::geteuid().is_root(), "postfix only starts as root");
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        let (at, port) = (dir.path().display().to_string(), free_port());
        for folder in ["conf", "queue", "data", "mail"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        for folder in ["data", "mail"] {
            assert!(
                Command::new("chown").args(["postfix", folder]).current_dir(&dir).status().unwrap().success()
            );
        }
        let id = Command::new("id").args(["-u", "postfix"]).output().unwrap().stdout;
        let id = String::from_utf8(id).unwrap().trim().to_owned();
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {at}/queue\ndata_directory = {at}/data\n\
             maillog_file = {at}/data/log\nmaillog_file_prefixes = {at}\n\
             myhostname = mail.example.jp\nmydestination =\ninet_interfaces = 127.0.0.1\nmynetworks =\n\
             virtual_mailbox_domains = example.jp\nvirtual_mailbox_base = {at}/mail\n\
             virtual_mailbox_maps = inline:{{ good@example.jp=good/ }}\n\
             virtual_uid_maps = static:{id}\nvirtual_gid_maps = static:{id}\nvirtual_minimum_uid = 1\n{more}\n"
        );
        std::fs::write(dir.path().join("conf/main.cf"), main).unwrap();
        std::fs::write(
            dir.path().join("conf/master.cf"),
            format!("127.0.0.1:{port} inet n - n - - smtpd{SERVICES}"),
        )
        .unwrap();
        let postfix = Self { dir, port };
        let started = postfix.run("start");
        assert!(started, "{}", std::fs::read_to_string(postfix.path("data/log")).unwrap_or_default());
        until("postfix answers", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        postfix
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, verb: &str) -> bool {
        let mut command = Command::new(program("postfix", "postfix"));
        command.arg("-c").arg(self.path("conf")).arg(verb).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap().success()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        self.run("stop");
    }
}

fn first_file(folder: &Path) -> Option<PathBuf> {
    Some(std::fs::read_dir(folder).ok()?.next()?.unwrap().path())
}

#[test]
fn postfix_delivers_what_was_sent_and_refuses_the_unknown() {
    let postfix = Postfix::start("");
    let mailer = plain_mailer(postfix.port);
    let (bytes, subject, body) = arrival();
    assert_eq!(mailer.send(&to("good@example.jp"), &bytes), Delivery::Sent { reply: "250 2.0.0".into() });
    assert_eq!(mailer.send(&to("nobody@example.jp"), SHORT), Delivery::Failed { reply: "550 5.1.1".into() });
    assert_eq!(
        mailer.send(&to("x@example.com"), SHORT),
        Delivery::Deferred { reply: "454 4.7.1".into() },
        "no relay"
    );
    let folder = postfix.path("mail/good/new");
    until("the mail is delivered", || first_file(&folder).is_some());
    let read = read_mail(&std::fs::read(first_file(&folder).unwrap()).unwrap());
    assert_eq!(read["headers"]["subject"], subject);
    assert_eq!(read["body"].as_str().unwrap().replace("\r\n", "\n"), body);
    assert_eq!(read["headers"]["message-id"], "<M1-000001-2.9f3c@gateway.example.jp>");
    assert_eq!(read["headers"]["return-path"], "<no-reply@gateway.example.jp>");
}

#[test]
fn postfix_takes_mail_over_starttls_only() {
    let certificates = Certificates::make();
    let (certificate, key) = (certificates.path("good.pem"), certificates.path("good.key"));
    let tls = format!(
        "smtpd_tls_security_level = encrypt\nsmtpd_tls_cert_file = {certificate}\nsmtpd_tls_key_file = {key}"
    );
    let postfix = Postfix::start(&tls);
    let required = SmtpConfig {
        tls: Some(TlsMode::Required),
        extra_ca_pem: Some(certificates.ca()),
        ..config(postfix.port)
    };
    let client = mailer(required.clone());
    for _ in 0..2 {
        assert_eq!(client.send(&to("good@example.jp"), SHORT), Delivery::Sent { reply: "250 2.0.0".into() });
    }
    let stranger = mailer(SmtpConfig { extra_ca_pem: None, ..required });
    assert_eq!(
        stranger.send(&to("good@example.jp"), SHORT),
        Delivery::Deferred { reply: "tls-failed".into() }
    );
    let plain = plain_mailer(postfix.port).send(&to("good@example.jp"), SHORT);
    assert_eq!(plain, Delivery::Deferred { reply: "530 5.7.0 (mail from)".into() });
}
