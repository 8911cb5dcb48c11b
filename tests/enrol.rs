//! Enrolment from outside: the command line applies and issues, stock `sftp` fetches what was issued and does the first set-up.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test file as a whole")]

#[path = "support/gateway.rs"]
mod gateway;

use std::fs;
use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use gateway::{Gateway, INSURER, Ran, until};
use serde_json::Value;

/// The number of the newest application for this account.
fn application(gateway: &Gateway, account: &str) -> String {
    let rows = gateway.ask(&["account", "applications", "--account", account]);
    rows[0]["application"].as_str().unwrap().to_owned()
}

fn state(gateway: &Gateway, id: &str) -> String {
    gateway.ask(&["account", "application", "show", id])["state"].as_str().unwrap().to_owned()
}

fn apply(gateway: &Gateway, account: &str, more: &[&str]) -> Ran {
    let args = [
        &[
            "account",
            "apply",
            account,
            "--insurer",
            INSURER,
            "--user-name",
            "総務課",
            "--mail",
            "soumu@example.jp",
        ],
        more,
    ]
    .concat();
    gateway.todoke(&args)
}

/// Stock `sftp` as an enrolment login, by password alone.
fn sftp(gateway: &Gateway, login: &str, password: &str, batch: &str) -> Command {
    let askpass = gateway.file("askpass");
    fs::write(&askpass, format!("#!/bin/sh\necho '{password}'\n")).unwrap();
    fs::set_permissions(&askpass, fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = Command::new("sftp");
    command
        .args([
            "-F",
            "none",
            "-o",
            "BatchMode=no",
            "-o",
            "PubkeyAuthentication=no",
            "-o",
            "NumberOfPasswordPrompts=1",
        ])
        .args(["-o", "StrictHostKeyChecking=yes", "-o"])
        .arg(format!("UserKnownHostsFile={}", gateway.file("known_hosts").display()))
        .args(["-P", &gateway.address.port().to_string(), "-b", batch])
        .arg(format!("{login}@127.0.0.1"))
        .current_dir(gateway.work())
        .env("SSH_ASKPASS", &askpass)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .env("DISPLAY", ":9")
        .stdin(Stdio::null());
    command
}

/// One session of it, from its first line to its last.
fn enrolment(gateway: &Gateway, login: &str, password: &str, batch: &str) -> Ran {
    let file = gateway.file("enrol-batch");
    fs::write(&file, batch).unwrap();
    let mut sftp = sftp(gateway, login, password, file.to_str().unwrap());
    Ran::of(&sftp.output().expect("sftp (package openssh-client)"))
}

const SETUP: &str = "office_name = \"（株） 見本工業\"\r\nuser_name = \"総務　課\"\r\nmail = \"soumu@EXAMPLE.jp\"\r\nconsent = \"1\"\r\n";

#[test]
fn a_clerk_fetches_a_bundle_and_does_the_first_set_up() {
    let mut gateway = Gateway::bare(&[]);
    gateway.add_insurer(INSURER);
    gateway.add_office("1234");
    gateway.start();
    let alone = apply(&gateway, "S0001", &["--office", "1234", "--as-agent", "--p12"]).ends(1);
    assert!(alone.err.contains("AGENT-ALONE"), "{}", alone.err);
    apply(&gateway, "K0002", &["--office", "9999", "--p12"]).ends(1);
    let agent =
        ["--agent", "S0001", "--agent-user-name", "見本 太郎", "--agent-mail", "sharoushi@example.jp"];
    apply(&gateway, "K0002", &[&["--office", "1234", "--p12"], &agent[..]].concat()).ends(0);
    let (office, agents) = (application(&gateway, "K0002"), application(&gateway, "S0001"));
    let show = gateway.ask(&["account", "application", "show", &agents]);
    assert_eq!(show["group"], Value::String(office.clone()));

    // 見積書
    let quotation = gateway.file("quotation.pdf");
    gateway.todoke(&["account", "application", "quotation", &office, quotation.to_str().unwrap()]).ends(0);
    assert!(fs::read(&quotation).unwrap().starts_with(b"%PDF-"));

    gateway.todoke(&["account", "application", "collect", "--insurer", INSURER]).ends(0);
    let reports = gateway.insurer_spool().join("reports");
    let names: Vec<_> =
        fs::read_dir(reports).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(
        names.iter().any(|name| name.starts_with("applications-") && name.contains(&office)),
        "{names:?}"
    );
    let status = gateway.ask(&["status"]);
    assert_eq!(status["applications"][0]["state"], "collected", "{status:#}");
    gateway.todoke(&["account", "application", "approve", &agents, &office]).ends(0);
    let letter = gateway.file("letter.csv");
    let issue = ["account", "application", "issue", &office, "--output", letter.to_str().unwrap()];
    let told = gateway.todoke(&issue).ends(0);
    let mode = fs::metadata(&letter).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let line = fs::read_to_string(&letter).unwrap().lines().nth(1).unwrap().to_owned();
    let password = line.split(',').nth(3).unwrap().to_owned();
    assert!(password.len() >= 12 && !told.out.contains(&password), "{line}");

    let wrong = enrolment(&gateway, &office, "wrong-password1", "ls /\n");
    assert_ne!(wrong.code, 0);
    let seen = enrolment(&gateway, &office, &password, "ls /\nls /enrol\n").ends(0);
    assert!(seen.out.contains("/enrol") && seen.out.contains("setup.toml"), "{}", seen.out);
    assert!(!seen.out.contains("submit"), "{}", seen.out);
    enrolment(&gateway, &office, &password, "get /enrol/*\n").ends(0);
    let fetched: Vec<_> = fs::read_dir(gateway.work())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    let p12 = fetched.iter().find(|name| name.contains(".p12")).unwrap_or_else(|| panic!("{fetched:?}"));
    let opened = Command::new("openssl")
        .args(["pkcs12", "-in", p12, "-nokeys", "-passin", &format!("pass:{password}")])
        .current_dir(gateway.work())
        .output()
        .expect("openssl (package openssl)");
    assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
    assert!(String::from_utf8_lossy(&opened.stdout).contains("BEGIN CERTIFICATE"));
    until("the download is recorded", || state(&gateway, &office) == "downloaded");

    // Until then the account's own login says what is to be done first.
    let key = gateway.key("K0002").with_extension("pub");
    gateway.todoke(&["account", "key", "add", "K0002", key.to_str().unwrap()]).ends(0);
    let early = gateway.sftp("K0002", "ls /\n");
    assert!(
        early.code != 0 && early.err.contains("SET-UP-FIRST ") && early.err.contains(&office),
        "{early:?}"
    );
    // Not while the insurer serves nobody.
    gateway.todoke(&["insurer", "suspend", INSURER]).ends(0);
    assert_ne!(enrolment(&gateway, &office, &password, "ls /enrol\n").code, 0);
    gateway.todoke(&["insurer", "resume", INSURER]).ends(0);

    // A slip says which field, without the registered value.
    gateway.make("setup.toml", SETUP.replace("見本工業", "見本商事"));
    let slip = enrolment(&gateway, &office, &password, "put setup.toml /enrol/setup.toml\n");
    assert_ne!(slip.code, 0);
    assert!(slip.err.contains("SETUP-OFFICE-NAME") && !slip.err.contains("見本工業"), "{}", slip.err);
    gateway.make("setup.toml", SETUP);
    enrolment(&gateway, &office, &password, "put setup.toml /enrol/setup.toml\n").ends(0);
    let show = gateway.ask(&["account", "application", "show", &office]);
    assert_eq!((show["terms"].as_str(), show["fee"].as_u64()), (Some("1"), Some(7800)), "{show:#}");
    assert_eq!(gateway.ask(&["account", "show", "K0002"])["standing"], "active");

    // The first login ends it: the enrolment login is dead.
    gateway.sftp("K0002", "ls /\n").ends(0);
    until("it is in use", || state(&gateway, &office) == "in-use");
    assert_ne!(enrolment(&gateway, &office, &password, "ls /\n").code, 0);
    let over = gateway.todoke(&["account", "application", "download", &office, "out"]).ends(1);
    assert!(over.err.contains("DOWNLOAD-OVER"), "{}", over.err);
    let secret = fs::read_to_string(
        gateway.spool().join("journal").read_dir().unwrap().next().unwrap().unwrap().path(),
    );
    assert!(secret.is_ok_and(|journal| !journal.contains("総務") && !journal.contains(&password)));
}

#[test]
fn a_payroll_system_fetches_with_the_key_it_applied_with() {
    let mut gateway = Gateway::bare(&[]);
    gateway.add_insurer(INSURER);
    gateway.add_office("1234");
    let policy = "[enrolment]\napproval = \"automatic\"\nsetup = \"none\"\n";
    let insurers = gateway.dir().join("conf/insurers");
    fs::create_dir_all(&insurers).unwrap();
    fs::write(insurers.join(format!("{INSURER}.toml")), policy).unwrap();
    gateway.start();
    let key = gateway.key("payroll").with_extension("pub");
    apply(&gateway, "K0003", &["--office", "1234", "--machine", "--key", key.to_str().unwrap()]).ends(0);
    gateway.todoke(&["account", "application", "collect", "--insurer", INSURER]).ends(0);
    let id = application(&gateway, "K0003");
    until("it is issued", || state(&gateway, &id) == "issued");
    gateway.key("stranger");
    assert_ne!(gateway.sftp_with(&id, "stranger", &[], "ls /\n").code, 0);
    gateway.sftp_with(&id, "payroll", &[], "get /enrol/*-cert.pub payroll-cert.pub\n").ends(0);
    let shown = Command::new("ssh-keygen")
        .args(["-Lf", "payroll-cert.pub"])
        .current_dir(gateway.work())
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("K0003"), "{shown}");
    assert_eq!(gateway.ask(&["account", "show", "K0003"])["standing"], "active");
    gateway.todoke(&["account", "application", "cancel", &id, "--reason", "試し"]).ends(0);
    assert_ne!(gateway.sftp_with(&id, "payroll", &[], "ls /\n").code, 0);
}

#[test]
fn what_was_told_is_not_lost_and_places_are_bounded() {
    let mut gateway = Gateway::bare(&[("sessions", "enrolment_max", "1")]);
    gateway.add_insurer(INSURER);
    gateway.add_office("1234");
    gateway.add_office("5678");
    gateway.start();
    let ids = [("K0002", "1234"), ("K0003", "5678")].map(|(account, office)| {
        apply(&gateway, account, &["--office", office, "--p12"]).ends(0);
        application(&gateway, account)
    });
    gateway.todoke(&["account", "application", "collect", "--insurer", INSURER]).ends(0);
    gateway.todoke(&["account", "application", "approve", &ids[0], &ids[1]]).ends(0);

    // The second one's password cannot be kept: nothing is issued for it, and the first one's is told.
    let in_the_way = gateway.spool().join(format!("credentials/enrolment/{}.json", ids[1]));
    fs::create_dir_all(&in_the_way).unwrap();
    let issue = ["account", "application", "issue", &ids[0], &ids[1], "--json"];
    let told = gateway.todoke(&issue).ends(1);
    let rows: Value = serde_json::from_str(&told.out).unwrap();
    let results: Vec<_> = [0, 1].map(|row: usize| rows[row]["result"].as_str().unwrap().to_owned()).into();
    assert_eq!(results, ["done", "failed"], "{rows:#}");
    let password = rows[0]["password"].as_str().unwrap();
    assert_eq!([state(&gateway, &ids[0]), state(&gateway, &ids[1])], ["issued", "approved"]);
    fs::remove_dir(&in_the_way).unwrap();
    // What was told opens the login, also after the same was asked for again.
    let again = gateway.todoke(&issue).ends(1);
    let rows: Value = serde_json::from_str(&again.out).unwrap();
    let results: Vec<_> = [0, 1].map(|row: usize| rows[row]["result"].as_str().unwrap().to_owned()).into();
    assert_eq!(results, ["refused", "done"], "{rows:#}");
    enrolment(&gateway, &ids[0], password, "ls /enrol\n").ends(0);

    // One connection of one login at a time.
    let mut held =
        sftp(&gateway, &ids[0], password, "-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    held.stdin.as_mut().unwrap().write_all(b"ls /\n").unwrap();
    let mut said = std::io::BufReader::new(held.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("/enrol") {
        line.clear();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "the first connection ended");
    }
    let second = enrolment(&gateway, &ids[0], password, "ls /enrol\n");
    assert!(second.code != 0 && second.err.contains("LOGIN-CONNECTIONS"), "{}", second.err);
    held.kill().unwrap();
    held.wait().unwrap();
    until("its place is free again", || enrolment(&gateway, &ids[0], password, "ls /enrol\n").code == 0);

    // The set-up would open it again.
    let refused = gateway.todoke(&["account", "close", "K0002"]).ends(1);
    assert!(
        refused.err.contains("SET-UP-WAITS") && refused.err.contains("application cancel"),
        "{}",
        refused.err
    );
    gateway.todoke(&["insurer", "suspend", INSURER]).ends(0);
    let stopped = enrolment(&gateway, &ids[0], password, "ls /enrol\n");
    assert!(stopped.code != 0 && stopped.err.contains("INSURER-STOPPED"), "{}", stopped.err);
}
