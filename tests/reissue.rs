//! Certificates that were lost, or that ended before anybody renewed them: from the operator's one command to the first login,
//! with stock OpenSSH and openssl.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::too_many_lines, reason = "a test lists its cases")]

#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/mailhost.rs"]
mod mailhost;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use gateway::{ACCOUNT, Gateway, INSURER, Ran, until};
use mailhost::MailHost;

/// The insurer's policy, beside what the gateway has.
fn policy(gateway: &Gateway, text: &str) {
    let folder = gateway.dir().join("conf/insurers");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{INSURER}.toml")), text).unwrap();
}

/// A gateway whose account has no registered key, but a certificate over the key `NAME`; `NAME-cert.pub` is beside it.
fn certified(host: Option<&MailHost>, text: &str, name: &str) -> (Gateway, String) {
    let url = host.map(MailHost::url);
    let mail: Vec<_> = url.iter().map(|url| ("mail", "url", url.as_str())).collect();
    let mut gateway = Gateway::set_up(&mail);
    policy(&gateway, text);
    gateway.start();
    let print = gateway.fingerprint(ACCOUNT);
    gateway.todoke(&["account", "key", "remove", ACCOUNT, &print]).ends(0);
    let id = issue(&gateway, name);
    (gateway, id)
}

fn issue(gateway: &Gateway, name: &str) -> String {
    let key = public(gateway, name);
    let out = gateway.file(&format!("out-{name}"));
    gateway.todoke(&["cert", "issue", ACCOUNT, "--ssh-key", &key, "--out", out.to_str().unwrap()]).ends(0);
    install(gateway, name, &fs::read(out.join(format!("{ACCOUNT}-cert.pub"))).unwrap());
    newest(gateway)
}

/// Puts a certificate beside the private key `name`, where `ssh` finds it.
fn install(gateway: &Gateway, name: &str, line: &[u8]) {
    let private = gateway.key(name);
    let beside =
        private.with_file_name(format!("{}-cert.pub", private.file_name().unwrap().to_str().unwrap()));
    fs::write(beside, line).unwrap();
}

fn public(gateway: &Gateway, name: &str) -> String {
    gateway.key(name).with_extension("pub").to_str().unwrap().to_owned()
}

fn newest(gateway: &Gateway) -> String {
    gateway.ask(&["cert", "list", "--account", ACCOUNT])[0]["certificate"].as_str().unwrap().to_owned()
}

fn state(gateway: &Gateway, certificate: &str) -> String {
    gateway.ask(&["cert", "show", certificate])["state"].as_str().unwrap().to_owned()
}

/// Stock `sftp` as an enrolment login, by password alone.
fn enrolment(gateway: &Gateway, login: &str, password: &str, batch: &str) -> Ran {
    let askpass = gateway.file("askpass");
    fs::write(&askpass, format!("#!/bin/sh\necho '{password}'\n")).unwrap();
    fs::set_permissions(&askpass, fs::Permissions::from_mode(0o700)).unwrap();
    let file = gateway.file("enrol-batch");
    fs::write(&file, batch).unwrap();
    let output = Command::new("sftp")
        .args(["-F", "none", "-o", "BatchMode=no", "-o", "PubkeyAuthentication=no"])
        .args(["-o", "NumberOfPasswordPrompts=1", "-o", "StrictHostKeyChecking=yes", "-o"])
        .arg(format!("UserKnownHostsFile={}", gateway.file("known_hosts").display()))
        .args(["-P", &gateway.address.port().to_string(), "-b"])
        .arg(&file)
        .arg(format!("{login}@127.0.0.1"))
        .current_dir(gateway.work())
        .env("SSH_ASKPASS", &askpass)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .env("DISPLAY", ":9")
        .stdin(Stdio::null())
        .output()
        .expect("sftp (package openssh-client)");
    Ran::of(&output)
}

fn reissue(gateway: &Gateway, more: &[&str]) -> Ran {
    gateway.todoke(&[&["cert", "reissue", ACCOUNT, "--json"], more].concat())
}

#[test]
fn a_lost_key_is_replaced_in_one_command_and_its_running_sessions_end() {
    let host = MailHost::start();
    let (gateway, old) = certified(Some(&host), "", "lost");
    let mut session = gateway.session(ACCOUNT, "lost", &[]);
    session.does("ls /receipts");
    // Its key was registered as well, which is no way around.
    let copy = gateway.file("copy");
    fs::copy(gateway.key("lost"), &copy).unwrap();
    gateway.todoke(&["account", "key", "add", ACCOUNT, &public(&gateway, "lost")]).ends(0);
    let plain = format!("IdentityFile={}", copy.display());

    let same = reissue(&gateway, &["--ssh-key", &public(&gateway, "lost")]).ends(1);
    assert!(same.err.contains("SAME-KEY"), "{}", same.err);
    assert_eq!(state(&gateway, &old), "holds", "a refused one changes nothing");
    let out = gateway.file("out-new");
    let args = ["--ssh-key", &public(&gateway, "new"), "--out", out.to_str().unwrap(), "--login"];
    let done = reissue(&gateway, &args).ends(0);
    let row = done.json();
    assert_eq!(
        (&row["state"], &row["replaces"][0]["state"]),
        (&"issued".into(), &"revoked".into()),
        "{row:#}"
    );
    assert!(done.err.contains("is revoked, also in sessions that ran"), "{}", done.err);
    until("the session is told and ended", || session.errors().contains("CERTIFICATE-REVOKED "));
    session.cut();
    for refused in
        [gateway.sftp_with(ACCOUNT, "lost", &[], "ls\n"), gateway.sftp_bare(ACCOUNT, &["-o", &plain], "ls\n")]
    {
        assert_ne!(refused.code, 0, "{}", refused.out);
    }
    let log = gateway.log();
    assert!(log.matches("code=CERTIFICATE-REVOKED").count() >= 2, "{log}");
    let shown = gateway.ask(&["cert", "show", &old]);
    assert_eq!((&shown["state"], &shown["reason"]), (&"revoked".into(), &"key-compromise".into()));

    // The office fetches it by the password it was told, or by the key itself.
    let (login, password) = (row["login"].as_str().unwrap(), row["password"].as_str().unwrap());
    let seen = enrolment(&gateway, login, password, "ls /enrol\nget /enrol/*-cert.pub fetched\n").ends(0);
    assert!(!seen.out.contains("setup.toml"), "{}", seen.out);
    let fetched = fs::read(gateway.work().join("fetched")).unwrap();
    assert_eq!(fetched, fs::read(out.join(format!("{ACCOUNT}-cert.pub"))).unwrap());
    until("the download is recorded", || application(&gateway, login)["state"] == "downloaded");
    install(&gateway, "new", &fetched);
    gateway.sftp_with(ACCOUNT, "new", &[], "ls /account\n").ends(0);
    until("it is in use", || application(&gateway, login)["state"] == "in-use");
    assert_ne!(enrolment(&gateway, login, password, "ls /\n").code, 0, "its login is over");

    let shown = application(&gateway, login);
    let states: Vec<_> =
        shown["dates"].as_array().unwrap().iter().map(|date| date["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["applied", "collected", "approved", "issued", "downloaded", "in-use"]);
    assert_eq!((&shown["kind"], &shown["replaces"]["loss"]), (&"reissue".into(), &"key".into()), "{shown:#}");
    assert!(shown["dates"][0]["by"]["operator"].is_u64(), "{shown:#}");
    let table = gateway.sftp_with(ACCOUNT, "new", &[], "get /account/certificates.csv table.csv\n").ends(0);
    let table =
        fs::read_to_string(gateway.work().join("table.csv")).unwrap_or_else(|_| panic!("{}", table.err));
    assert!(table.contains("再発行,7800") && table.contains("失効"), "{table}");
    until("both mails", || host.taken().len() >= 2);
    let told = host.taken();
    assert!(
        told.iter().all(|mail| mail.to == "soumu@example.jp" && mail.subject.contains("再発行")),
        "{told:?}"
    );
    assert!(
        told.iter().any(|mail| mail.body.contains(&old) && mail.body.contains("失効しました")),
        "{told:?}"
    );
    let journal = fs::read_dir(gateway.spool().join("journal")).unwrap();
    for file in journal.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        assert!(!String::from_utf8_lossy(&fs::read(file).unwrap()).contains(password));
    }
}

fn application(gateway: &Gateway, id: &str) -> serde_json::Value {
    gateway.ask(&["account", "application", "show", id])
}

#[test]
fn by_policy_the_lost_one_holds_until_the_new_one_is_used_and_a_bundle_needs_its_password() {
    let (gateway, old) = certified(None, "[renewal]\nlost_certificate = \"first-use\"\n", "old");
    let mut session = gateway.session(ACCOUNT, "old", &[]);
    session.does("ls /receipts");
    let letter = gateway.file("letter.csv");
    let args = ["--p12", "--reason", "destroyed", "--letter", letter.to_str().unwrap()];
    let row = reissue(&gateway, &args).ends(0).json();
    assert_eq!((row["password"].is_null(), &row["replaces"][0]["state"]), (true, &"holds".into()), "{row:#}");
    assert_eq!(fs::metadata(&letter).unwrap().permissions().mode() & 0o777, 0o600);
    let line = fs::read_to_string(&letter).unwrap().lines().nth(1).unwrap().to_owned();
    let fields: Vec<_> = line.split(',').collect();
    let (id, password) = (fields[2], fields[3]);
    enrolment(&gateway, id, password, "get /enrol/*\n").ends(0);
    let key = gateway.work().join(ACCOUNT);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let opened = Command::new("openssl")
        .args(["pkcs12", "-in", &format!("{ACCOUNT}.p12"), "-nokeys", "-passin", &format!("pass:{password}")])
        .current_dir(gateway.work())
        .output()
        .expect("openssl (package openssl)");
    assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
    session.does("ls /receipts");
    assert_eq!(state(&gateway, &old), "holds");

    let opened = Command::new("ssh-keygen")
        .args(["-p", "-P", password, "-N", "", "-f"])
        .arg(&key)
        .output()
        .expect("ssh-keygen (package openssh-client)");
    assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
    session.ends().ends(0);
    let certificate =
        format!("CertificateFile={}", gateway.work().join(format!("{ACCOUNT}-cert.pub")).display());
    let identity = format!("IdentityFile={}", key.display());
    gateway.sftp_bare(ACCOUNT, &["-o", &identity, "-o", &certificate], "ls /\n").ends(0);
    until("the old one is revoked", || state(&gateway, &old) == "revoked");
    let shown = gateway.ask(&["cert", "show", &old]);
    assert_eq!(shown["reason"], "superseded");
    // The bundle is gone with the first use: the gateway keeps nothing of its key.
    until("the bundle is gone", || gateway.ask(&["cert", "show", &newest(&gateway)])["bundle"] == false);
    // Which help points to which.
    let help = gateway.plain(&["cert", "reissue", "--help"]).ends(0).out;
    assert!(help.contains("account password --reset"), "{help}");
    let help = gateway.plain(&["account", "password", "--help"]).ends(0).out;
    assert!(help.contains("cert reissue"), "{help}");
}

#[test]
fn a_certificate_that_ended_three_days_ago_is_renewed_without_a_certificate_login() {
    let mut gateway = Gateway::set_up(&[]);
    let print = gateway.fingerprint(ACCOUNT);
    gateway.todoke(&["account", "key", "remove", ACCOUNT, &print]).ends(0);
    // A year and three days ago, for a year.
    gateway.clock.forward(-(368 * 24 * 3_600_000));
    gateway.start_inside();
    let key = public(&gateway, "old");
    let out = gateway.file("out-old");
    let args = ["cert", "issue", ACCOUNT, "--ssh-key", &key, "--years", "1", "--out", out.to_str().unwrap()];
    gateway.todoke(&args).ends(0);
    install(&gateway, "old", &fs::read(out.join(format!("{ACCOUNT}-cert.pub"))).unwrap());
    let old = newest(&gateway);
    gateway.stop();
    gateway.start();
    assert_eq!(state(&gateway, &old), "ended");
    let refused = gateway.sftp_with(ACCOUNT, "old", &[], "ls\n");
    assert_ne!(refused.code, 0, "{}", refused.out);

    // Its office has a request made by openssl; the operator types one command.
    let made = Command::new("openssl")
        .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-keyout", "renewed.pem", "-out", "renewed.csr", "-subj", "/CN=any"])
        .current_dir(gateway.work())
        .output()
        .expect("openssl (package openssl)");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let csr = gateway.work().join("renewed.csr");
    let args = ["cert", "renew", ACCOUNT, "--csr", csr.to_str().unwrap(), "--login", "--json"];
    let row = gateway.todoke(&args).ends(0).json();
    assert_eq!((&row["state"], &row["replaces"][0]["certificate"]), (&"issued".into(), &old.as_str().into()));
    let (login, password) = (row["login"].as_str().unwrap(), row["password"].as_str().unwrap());
    enrolment(&gateway, login, password, "get /enrol/*-cert.pub renewed-cert.pub\nget /enrol/*.crt\n")
        .ends(0);

    let key = gateway.work().join("renewed");
    let read = Command::new("openssl")
        .args(["pkey", "-in", "renewed.pem", "-traditional", "-out", "renewed"])
        .current_dir(gateway.work())
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let identity = format!("IdentityFile={}", key.display());
    let certificate = format!("CertificateFile={}", gateway.work().join("renewed-cert.pub").display());
    gateway.sftp_bare(ACCOUNT, &["-o", &identity, "-o", &certificate], "ls /account\n").ends(0);
    until("it is in use", || application(&gateway, login)["state"] == "in-use");
    assert_ne!(enrolment(&gateway, login, password, "ls /\n").code, 0, "its login is over");
    let again = gateway.todoke(&args).ends(1);
    assert!(again.err.contains("RENEW-NOT-YET") || again.err.contains("SAME-KEY"), "{}", again.err);
}

#[test]
fn an_office_asks_by_a_file_and_fetches_by_a_password_of_its_own() {
    let (gateway, old) = certified(None, "[renewal]\nopens_months = 40\n", "old");
    let key = public(&gateway, "next");
    let file = gateway.make("renewals.csv", format!("account,kind,ssh-key\n{ACCOUNT},renewal,{key}\n"));
    let import = ["account", "apply", "--import", file.to_str().unwrap(), "--json"];
    let id = gateway.todoke(&import).ends(0).json()[0]["detail"].as_str().unwrap().to_owned();
    gateway.todoke(&["account", "application", "collect", "--insurer", INSURER]).ends(0);
    gateway.todoke(&["account", "application", "approve", &id]).ends(0);
    until("it is issued", || application(&gateway, &id)["state"] == "issued");
    let told = gateway.ask(&["account", "application", "password", &id]);
    let password = told["password"].as_str().unwrap();
    enrolment(&gateway, &id, password, "get /enrol/*-cert.pub next-cert.pub\n").ends(0);
    install(&gateway, "next", &fs::read(gateway.work().join("next-cert.pub")).unwrap());
    gateway.sftp_with(ACCOUNT, "next", &[], "ls /\n").ends(0);
    until("it is in use", || application(&gateway, &id)["state"] == "in-use");
    assert_eq!(state(&gateway, &old), "holds", "both may be used while they overlap");
}
