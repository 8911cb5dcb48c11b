//! `conf/examples/import.sh` as an insurer runs it: another Unix user, with nothing but the rights of its group. Needs to
//! be root, to make that user.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::format_push_string,
    reason = "a test may end where it fails"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use todoke::model::ids::{Digest, InsurerCode, Number};
use todoke::store::spool::{InsurerSpool, prepare_insurer};

/// A user and group that exist as long as this does.
struct Importer {
    name: String,
    gid: u32,
}

impl Importer {
    fn new(tag: &str) -> Self {
        let name = format!("tdk-{tag}-{}", std::process::id());
        let made =
            Command::new("useradd").args(["--system", "--user-group", "--no-create-home", &name]).output();
        let made = made.expect("useradd (package passwd)");
        assert!(made.status.success(), "this test must be root, to make a user: {made:?}");
        let gid = Command::new("id").args(["-g", &name]).output().unwrap();
        let gid = String::from_utf8(gid.stdout).unwrap().trim().parse().unwrap();
        Self { name, gid }
    }
}

impl Drop for Importer {
    fn drop(&mut self) {
        let _ = Command::new("userdel").arg(&self.name).output();
    }
}

struct World {
    dir: tempfile::TempDir,
    importer: Importer,
    spool: InsurerSpool,
}

impl World {
    fn new(tag: &str) -> Self {
        let importer = Importer::new(tag);
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let root = dir.path().join("spool");
        let code = InsurerCode::parse("06139999").unwrap();
        prepare_insurer(&root, &code, Some(importer.gid)).unwrap();
        let open = |path: &Path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        open(&root);
        for folder in ["state", "loaded"] {
            let path = dir.path().join(folder);
            std::fs::create_dir(&path).unwrap();
            let owned = Command::new("chown").arg(&importer.name).arg(&path).status().unwrap();
            assert!(owned.success());
        }
        let load = dir.path().join("load.sh");
        std::fs::write(
            &load,
            "#!/bin/sh\ncase $(cat \"$1\") in *refuse*) echo 'line 3: no such form' >&2; exit 1;; *slow*) [ -e \"$LOADED/fast\" ] || \
             { touch \"$LOADED/started\"; sleep 600; };; esac\necho \"$TODOKE_NUMBER ${1##*/}\" >> \"$LOADED/log\"\n",
        )
        .unwrap();
        std::fs::copy("conf/examples/import.sh", dir.path().join("import.sh")).unwrap();
        for script in ["load.sh", "import.sh"] {
            open(&dir.path().join(script));
        }
        let spool = InsurerSpool::open(&root, &code).unwrap();
        Self { dir, importer, spool }
    }

    fn path(&self, rest: &str) -> PathBuf {
        self.dir.path().join("spool/insurers/06139999").join(rest)
    }

    fn publish(&self, serial: u64, content: &str) -> String {
        let number = Number { epoch: 1, serial }.to_string();
        let folder = self.spool.new.make(&number, self.spool.folder_mode(), self.spool.group).unwrap();
        let mut sums = String::new();
        for name in ["KPFD0006.CSV", "cover.pdf"] {
            folder.write_new(name, content.as_bytes(), 0o440, self.spool.group).unwrap();
            sums.push_str(&format!("{}  {name}\n", Digest::of(content.as_bytes())));
        }
        folder.write_new("FILES.sha256", sums.as_bytes(), 0o440, self.spool.group).unwrap();
        number
    }

    fn as_importer(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("runuser");
        command.args(["-u", &self.importer.name, "--", program]).args(arguments);
        command.env("LOADED", self.dir.path().join("loaded")).current_dir("/").stdin(Stdio::null());
        command
    }

    fn import(&self) -> Command {
        let at = |name: &str| self.dir.path().join(name).to_str().unwrap().to_owned();
        self.as_importer(
            "sh",
            &[&at("import.sh"), self.path("").to_str().unwrap(), &at("state"), &at("load.sh")],
        )
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("loaded/log")).unwrap_or_default()
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn an_importer_of_another_user_takes_what_it_may_and_says_why_it_cannot() {
    let world = World::new("a");
    let fine = world.publish(1, "fine");
    let refused = world.publish(2, "refuse me");
    let damaged = world.publish(3, "damaged");
    std::fs::write(world.path(&format!("new/{damaged}/cover.pdf")), "else").unwrap();
    let output = world.import().output().unwrap();
    assert_eq!(code(&output), Some(1), "{output:?}");
    assert_eq!(world.log(), format!("{fine} KPFD0006.CSV\n{fine} cover.pdf\n"));
    assert!(world.names("new").is_empty() && world.names("cur").is_empty());
    assert_eq!(world.names("done"), std::slice::from_ref(&fine));
    let failed = [refused.clone(), format!("{refused}.reason"), damaged.clone(), format!("{damaged}.reason")];
    assert_eq!(world.names("failed"), failed);
    let reason =
        |number: &str| std::fs::read_to_string(world.path(&format!("failed/{number}.reason"))).unwrap();
    assert_eq!(reason(&refused), "line 3: no such form\n");
    assert!(reason(&damaged).contains("cover.pdf: FAILED"), "{}", reason(&damaged));

    // A power cut put it back: it is known by its number.
    std::process::Command::new("mv")
        .arg(world.path(&format!("done/{fine}")))
        .arg(world.path("new"))
        .status()
        .unwrap();
    let output = world.import().output().unwrap();
    assert_eq!(code(&output), Some(0), "{output:?}");
    assert_eq!(world.names("done"), [fine]);
    assert_eq!(world.log().lines().count(), 2);
}

#[test]
fn a_killed_importer_goes_on_where_it_was() {
    let world = World::new("b");
    let first = world.publish(1, "fine");
    let slow = world.publish(2, "slow");
    let mut import = world.import();
    std::os::unix::process::CommandExt::process_group(&mut import, 0);
    let mut running = import.spawn().unwrap();
    let begin = Instant::now();
    while !world.dir.path().join("loaded/started").exists() {
        assert!(begin.elapsed() < Duration::from_mins(2), "the slow one was never begun");
        std::thread::sleep(Duration::from_millis(20));
    }
    // While one runs, another does nothing.
    assert_eq!(code(&world.import().output().unwrap()), Some(0));
    assert_eq!(world.names("cur"), std::slice::from_ref(&slow));
    let group = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    running.wait().unwrap();
    std::fs::write(world.dir.path().join("loaded/fast"), "").unwrap();
    let output = world.import().output().unwrap();
    assert_eq!(code(&output), Some(0), "{output:?}");
    assert_eq!(world.names("done"), [first.clone(), slow.clone()]);
    let expected =
        [&first, &slow].map(|number| format!("{number} KPFD0006.CSV\n{number} cover.pdf\n")).concat();
    assert_eq!(world.log(), expected);
}

#[test]
fn the_group_may_take_and_leave_but_not_forge() {
    let world = World::new("c");
    let number = world.publish(1, "fine");
    let allowed = |script: &str| {
        let script = format!("cd {} && {script}", world.path("").display());
        world.as_importer("sh", &["-c", &script]).output().unwrap().status.success()
    };
    assert!(allowed(&format!("cat new/{number}/KPFD0006.CSV")));
    assert!(allowed("mkdir outgoing/job && echo x > outgoing/job/a.pdf"));
    assert!(!allowed(&format!("echo forged > new/{number}/KPFD0006.CSV")));
    assert!(!allowed("ls .tmp"));
    assert!(!allowed("ls .taking"));
    assert!(!allowed("mkdir forged"));
    assert!(!allowed("mv new elsewhere"));
    assert!(!allowed("ls .."), "which insurers there are is nobody's business");
}
