//! Passwords beside keys: an insurer that asks for them, and stock `sftp` whose questions are answered.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "part of tests; each test file uses its own part"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use super::gateway::{Gateway, INSURER, Ran};

/// A gateway whose insurer asks people for a password, with these lines in its `[login]`; not running.
pub fn with_passwords(login: &str, settings: &[(&str, &str, &str)]) -> Gateway {
    let gateway = Gateway::set_up(settings);
    let file = gateway.dir().join(format!("conf/insurers/{INSURER}.toml"));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, format!("[login]\nfactors = \"key+password\"\n{login}")).unwrap();
    gateway
}

/// Makes a password for an account by the command line.
pub fn make_password(gateway: &Gateway, account: &str, more: &[&str]) -> String {
    let args = [&["account", "password", account, "--print"], more].concat();
    gateway.ask(&args)["password"].as_str().unwrap().to_owned()
}

/// The account has this password, chosen by itself.
pub fn choose(gateway: &Gateway, account: &str, password: &str) {
    let temporary = make_password(gateway, account, &["--reset"]);
    let ran = answering(gateway, account, account, &[], "pwd\n", &[&temporary, password, password]);
    ran.ends(0);
}

/// Stock `sftp -b` whose questions are answered in this order; the last answer repeats.
pub fn answering(
    gateway: &Gateway,
    account: &str,
    key: &str,
    more: &[&str],
    batch: &str,
    answers: &[&str],
) -> Ran {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let file = |name: &str| gateway.file(&format!("{name}-{run}"));
    let (askpass, list, batch_file) = (file("askpass"), file("answers"), file("questions"));
    fs::write(&list, answers.join("\n") + "\n").unwrap();
    fs::write(&batch_file, batch).unwrap();
    let list = list.display();
    let script =
        format!("#!/bin/sh\nhead -n 1 {list}\n[ \"$(wc -l < {list})\" -lt 2 ] || sed -i 1d {list}\n");
    fs::write(&askpass, script).unwrap();
    fs::set_permissions(&askpass, fs::Permissions::from_mode(0o700)).unwrap();
    let mut sftp = Command::new("sftp");
    sftp.args(["-F", "none", "-o", "BatchMode=no", "-o", "NumberOfPasswordPrompts=3"]).args(more);
    sftp.args(gateway.ssh_options(key)).arg("-b").arg(batch_file).arg(format!("{account}@127.0.0.1"));
    sftp.env("SSH_ASKPASS", &askpass).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", ":9");
    sftp.current_dir(gateway.work()).env("HOME", gateway.work()).stdin(Stdio::null());
    Ran::of(&sftp.output().expect("sftp (package openssh-client)"))
}
