//! What systemd/todoke.service grants is enough: the daemon as a user of its own, without any capability, with the unit's mask,
//! makes an insurer's spool in which another user of the importers' group can work. (systemd itself is not run;
//! systemd/check.sh holds the unit against its tools.) Must be root, to make users.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test file as a whole")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_mins(1);

fn run(command: &mut Command) -> Output {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error} (packages passwd, util-linux)"));
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

/// Users and their group, for as long as this lives.
struct Users {
    group: String,
    service: String,
    importer: String,
}

impl Users {
    fn new() -> Self {
        let pid = std::process::id();
        let (group, service, importer) =
            (format!("tdkg-{pid}"), format!("tdks-{pid}"), format!("tdki-{pid}"));
        run(Command::new("groupadd").arg(&group));
        for user in [&service, &importer] {
            run(Command::new("useradd").args([
                "--system",
                "--user-group",
                "--no-create-home",
                "-G",
                &group,
                user,
            ]));
        }
        Self { group, service, importer }
    }

    /// This program as that user: with its groups, without any capability.
    fn command(user: &str, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", user, "--regid", user, "--init-groups"])
            .args(["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"])
            .arg(program);
        command
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        for user in [&self.service, &self.importer] {
            let _ = Command::new("userdel").arg(user).output();
        }
        let _ = Command::new("groupdel").arg(&self.group).output();
    }
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A setting of the unit.
fn unit(key: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/todoke.service");
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned)).collect()
}

#[test]
fn the_unit_grants_enough_for_the_importers_spool() {
    assert_eq!(unit("CapabilityBoundingSet"), [""]);
    assert_eq!(unit("NoNewPrivileges"), ["yes"]);
    // It would forbid folders of mode 2770.
    assert!(unit("RestrictSUIDSGID").is_empty());
    let [mask] = unit("UMask").try_into().unwrap();
    let [root_mode] = unit("StateDirectoryMode").try_into().unwrap();

    let users = Users::new();
    let dir = tempfile::tempdir().unwrap();
    let todoke = dir.path().join("todoke");
    fs::copy(env!("CARGO_BIN_EXE_todoke"), &todoke).unwrap();
    run(Command::new("chmod").arg("755").arg(dir.path()).arg(&todoke));
    let gateway = dir.path().join("gateway");
    run(Command::new(&todoke).args(["init", "--sftp", "127.0.0.1:0", "--scanner", "none"]).arg(&gateway));
    let conf = gateway.join("conf/todoke.toml");
    let text = fs::read_to_string(&conf).unwrap().replace("\"127.0.0.1:9464\"", "\"\"");
    fs::write(&conf, text).unwrap();
    let spool = gateway.join("spool");
    run(Command::new("chown").arg("-R").arg(format!("{0}:{0}", users.service)).arg(&gateway));
    run(Command::new("chmod").arg(root_mode).arg(&spool));

    let shell = PathBuf::from("sh");
    let serve = format!("umask {mask}; exec {} -C {} serve", todoke.display(), gateway.display());
    let daemon = Users::command(&users.service, &shell).args(["-c", &serve]).spawn().unwrap();
    let _daemon = Daemon(daemon);
    let began = Instant::now();
    while !spool.join("control.sock").exists() {
        assert!(began.elapsed() < PATIENCE, "the daemon does not come up");
        std::thread::sleep(Duration::from_millis(50));
    }
    run(Command::new(&todoke)
        .arg("-C")
        .arg(&gateway)
        .args(["insurer", "add", "06139999", "--name", "見本"])
        .args(["--group", &users.group]));

    let own = spool.join("insurers/06139999");
    let group = run(Command::new("getent").args(["group", &users.group])).stdout;
    let gid: u32 = String::from_utf8(group).unwrap().split(':').nth(2).unwrap().parse().unwrap();
    let rights = |name: &str| {
        let about = fs::metadata(own.join(name)).unwrap();
        (about.mode() & 0o7777, about.gid())
    };
    assert_eq!(rights("new"), (0o2770, gid));
    assert_eq!(rights(".tmp").0, 0o700);
    // What an importer leaves belongs to the group, so that the daemon can read and clear it.
    let leave = format!(
        "cd {} && umask 007 && mkdir outgoing/job && echo x > failed/1-000001-2.reason",
        own.display()
    );
    run(Users::command(&users.importer, &shell).args(["-c", &leave]));
    assert_eq!(rights("outgoing/job"), (0o2770, gid));
    assert_eq!(rights("failed/1-000001-2.reason"), (0o660, gid));
    let peek = format!("ls {0}/.tmp || ls {1}/journal || ls {1}/keys", own.display(), spool.display());
    let seen = Users::command(&users.importer, &shell).args(["-c", &peek]).output().unwrap();
    assert!(!seen.status.success(), "{seen:?}");
}
