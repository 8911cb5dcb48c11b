//! The insurer's side by local files: another Unix user, with nothing but the rights of its group, takes submissions in and
//! leaves documents, against the real daemon; then months pass. Needs to be root, to make that user.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test may end where it fails, and renames as importers do"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::gateway::{ACCOUNT, Gateway, INSURER, OFFICE, PDF, Ran, until};
use todoke::model::time::{Clock as _, DAY};

/// A user and group that exist as long as this does, with a folder of its own.
struct Importer {
    name: String,
    spool: PathBuf,
    home: PathBuf,
}

impl Importer {
    /// Made known to the gateway, which must not run yet.
    fn of(gateway: &Gateway, tag: &str) -> Self {
        let name = format!("tdk-{tag}-{}", std::process::id());
        let made =
            Command::new("useradd").args(["--system", "--user-group", "--no-create-home", &name]).output();
        let made = made.expect("useradd (package passwd)");
        assert!(made.status.success(), "this test must be root, to make a user: {made:?}");
        gateway.todoke(&["insurer", "change", INSURER, "--group", &name]).ends(0);
        for folder in [gateway.temp.path().to_owned(), gateway.dir()] {
            fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let home = gateway.file("importer");
        fs::create_dir(&home).unwrap();
        assert!(Command::new("chown").arg(&name).arg(&home).status().unwrap().success());
        let script = home.join("import.sh");
        fs::copy("conf/examples/import.sh", &script).unwrap();
        fs::set_permissions(script, PermissionsExt::from_mode(0o755)).unwrap();
        Self { name, spool: gateway.insurer_spool(), home }
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("runuser");
        command.args(["-u", &self.name, "--", "sh", "-c", &format!("umask 007; {script}")]);
        command.current_dir(&self.spool).env("HOME", &self.home).stdin(Stdio::null());
        command
    }

    /// Runs a script in the insurer's folder.
    fn does(&self, script: &str) -> Ran {
        Ran::of(&self.command(script).output().expect("runuser (package util-linux)"))
    }

    /// One run of the sample importer.
    fn imports(&self, load: &str) -> Ran {
        fs::write(self.home.join("load.sh"), load).unwrap();
        let home = self.home.display();
        self.does(&format!("{home}/import.sh {} {home}/state sh {home}/load.sh", self.spool.display()))
    }

    fn names(&self, place: &str) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.spool.join(place))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The report on a job.
    fn report(&self, job: &str) -> Option<String> {
        let name =
            self.names("reports").into_iter().find(|name| name.starts_with(&format!("delivery-{job}-")))?;
        let read = self.does(&format!("cat reports/{name}"));
        assert_eq!(read.code, 0, "the insurer may read its reports: {read:?}");
        Some(read.out)
    }
}

impl Drop for Importer {
    fn drop(&mut self) {
        let _ = Command::new("userdel").arg(&self.name).output();
    }
}

fn outbox(gateway: &Gateway) -> Vec<Value> {
    gateway.ask(&["outbox", "list", ACCOUNT]).as_array().unwrap().clone()
}

#[test]
fn another_user_imports_and_what_it_did_is_known() {
    let mut gateway = Gateway::set_up(&[]);
    let importer = Importer::of(&gateway, "i");
    gateway.start();
    let numbers: Vec<String> = [1, 2, 30]
        .map(|records| {
            let receipt = gateway.send_taken(ACCOUNT, &gateway.set(records));
            let number = receipt["number"].as_str().unwrap().to_owned();
            gateway.reaches(&number, "published");
            number
        })
        .into();
    let load =
        "[ $(wc -l < \"$1\") -lt 20 ] || { echo '20 行を超えています' >&2; exit 1; }; cat \"$1\" > /dev/null";
    importer.imports(load).ends(1);
    for number in &numbers[..2] {
        gateway.reaches(number, "imported");
    }
    gateway.reaches(&numbers[2], "import_failed");
    let shown = gateway.todoke(&["submission", "show", &numbers[2]]).ends(0);
    assert!(shown.out.contains("20 行を超えています"), "{shown:?}");
    until("the operator is told", || {
        gateway.ask(&["status"])["alarms"].to_string().contains("IMPORT-FAILED")
    });
    // Corrected, and taken from failed/ again.
    importer.does(&format!("rm failed/*.reason; mv failed/{0} cur/{0}", numbers[2])).ends(0);
    importer.imports("true").ends(0);
    gateway.reaches(&numbers[2], "imported");
    until("the alarm is over", || !gateway.ask(&["status"])["alarms"].to_string().contains("IMPORT-FAILED"));
    let mut done = numbers.clone();
    done.sort();
    assert_eq!(importer.names("done"), done);
    for number in &numbers {
        gateway
            .get(ACCOUNT, &format!("/receipts/{number}.collected.json"))
            .expect("a receipt of the collection");
    }
    // What was collected is no longer to be withdrawn.
    let withdrawn = gateway.todoke(&["submission", "withdraw", &numbers[0]]);
    assert_ne!(withdrawn.code, 0, "{withdrawn:?}");
    // Away while the daemon was down: known at the next start.
    let receipt = gateway.send_taken(ACCOUNT, &gateway.set(3));
    let late = receipt["number"].as_str().unwrap();
    gateway.reaches(late, "published");
    gateway.stop();
    importer.imports("true").ends(0);
    gateway.start();
    gateway.reaches(late, "imported");
    // Nothing else of the gateway is the importer's.
    for forbidden in [
        "cat ../../keys/ssh_host_ed25519_key",
        "ls ../../journal",
        "ls ../../blobs",
        "ls .tmp",
        "ls ..",
        &format!("echo x > done/{late}/KPFD0006.CSV"),
        "touch x",
    ] {
        assert_ne!(importer.does(forbidden).code, 0, "{forbidden}");
    }
}

#[test]
fn documents_left_by_local_files_are_taken_whole_or_not_at_all() {
    let mut gateway =
        Gateway::set_up(&[("delivery", "settle_seconds", "1"), ("delivery", "incomplete_minutes_max", "1")]);
    let importer = Importer::of(&gateway, "d");
    gateway.start();
    fs::write(importer.home.join("a.pdf"), PDF).unwrap();
    fs::set_permissions(importer.home.join("a.pdf"), PermissionsExt::from_mode(0o644)).unwrap();
    let home = importer.home.display().to_string();
    let head = "account,office,in_reply_to,file,type,title";
    let row = |file: &str| format!("{ACCOUNT},,,{file},納入告知書,{file}");

    // Links and a FIFO among sound files: the sound ones go out, the others are named in the report, nobody waits.
    importer
        .does(&format!(
            "mkdir outgoing/odd && cd outgoing/odd && cp {home}/a.pdf good.pdf && ln -s {home}/a.pdf soft.pdf && \
             ln -s ../../../../keys/ssh_host_ed25519_key key.pdf && cp {home}/a.pdf one.pdf && ln one.pdf two.pdf && mkfifo pipe.pdf && mkdir folder.pdf && \
             printf '%s\\n' '{head}' '{}' '{}' '{}' '{}' '{}' '{}' > delivery.csv.tmp && mv delivery.csv.tmp delivery.csv",
            row("good.pdf"),
            row("soft.pdf"),
            row("key.pdf"),
            row("two.pdf"),
            row("pipe.pdf"),
            row("folder.pdf"),
        ))
        .ends(0);
    until("the odd job is reported", || importer.report("odd").is_some());
    let report = importer.report("odd").unwrap();
    assert_eq!(report.matches(",placed,").count(), 1, "{report}");
    assert_eq!(report.matches(",refused,").count(), 5, "{report}");
    assert_eq!(outbox(&gateway).len(), 1);

    // A file that is still being written (slowly, without a lock) is waited for.
    let mut writer = importer
        .command(&format!(
            "mkdir outgoing/slow && cd outgoing/slow && printf '%s\\n' '{head}' '{}' > delivery.csv && head -c 100 {home}/a.pdf > big.pdf && \
             for n in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 0.25; printf '%%%%%08d\\n' $n >> big.pdf; done; cat {home}/a.pdf >> big.pdf",
            row("big.pdf")
        ))
        .spawn()
        .unwrap();
    assert!(writer.wait().unwrap().success());
    let whole = 100 + 12 * 11 + PDF.len();
    until("the slow job is taken", || outbox(&gateway).len() == 2);
    let sizes: Vec<u64> =
        outbox(&gateway).iter().map(|row| row["size"].as_u64().or(row["bytes"].as_u64()).unwrap()).collect();
    assert!(sizes.contains(&(whole as u64)), "{sizes:?}, not {whole}");

    // A file that comes later than the sheet is waited for too.
    importer
        .does(&format!(
            "mkdir outgoing/half && cd outgoing/half && printf '%s\\n' '{head}' '{}' > delivery.csv",
            row("late.pdf")
        ))
        .ends(0);
    importer.does("mkdir outgoing/after && touch outgoing/after/x").ends(0);
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert!(importer.report("half").is_none());
    importer
        .does(&format!(
            "cp {home}/a.pdf outgoing/half/late.tmp && mv outgoing/half/late.tmp outgoing/half/late.pdf"
        ))
        .ends(0);
    until("the half job is taken", || outbox(&gateway).len() == 3);

    // A set that a strange umask made unreadable waits, is said, and goes on.
    importer
        .does(&format!(
            "mkdir outgoing/closed && cd outgoing/closed && cp {home}/a.pdf c.pdf && printf '%s\\n' '{head}' '{}' > delivery.csv.tmp && mv delivery.csv.tmp delivery.csv",
            row("c.pdf")
        ))
        .ends(0);
    until("all jobs are taken", || outbox(&gateway).len() == 4);
    // What no row names, and what is no plain file, is left to the insurer, and named in the report.
    assert_eq!(importer.names("outgoing"), ["after", "odd"]);
    assert!(report.contains("one.pdf"), "{report}");
    let accounts = importer.does("cat reports/accounts.csv").ends(0).out;
    assert!(accounts.contains(ACCOUNT) && accounts.contains(OFFICE), "{accounts}");
}

/// Files of the blobs' folder.
fn blobs(gateway: &Gateway) -> usize {
    support::gateway::files_under(&gateway.spool().join("blobs")).len()
}

#[test]
fn months_pass_and_everything_goes_when_its_days_are_over() {
    let mut gateway =
        Gateway::set_up(&[("delivery", "settle_seconds", "0"), ("mail", "give_up_after", "\"1d\"")]);
    gateway.start_inside();
    let head = "# subject: 見本 太郎の資格取得\n";
    let receipt = gateway.send_taken(ACCOUNT, &gateway.set_with(head, 2));
    let number = receipt["number"].as_str().unwrap().to_owned();
    gateway.reaches(&number, "published");
    let waiting = gateway.send_taken(ACCOUNT, &gateway.set(3))["number"].as_str().unwrap().to_owned();
    gateway.reaches(&waiting, "published");
    let spool = gateway.insurer_spool();
    for (from, to) in [("new", "cur"), ("cur", "done")] {
        fs::rename(spool.join(from).join(&number), spool.join(to).join(&number)).unwrap();
    }
    gateway.reaches(&number, "imported");
    let job = spool.join("outgoing/a");
    fs::create_dir(&job).unwrap();
    fs::write(job.join("a.pdf"), PDF).unwrap();
    fs::write(
        job.join("delivery.csv"),
        format!("account,office,in_reply_to,file,type,title\n,,{number},a.pdf,決定通知書,見本 太郎\n"),
    )
    .unwrap();
    until("the document is placed", || outbox(&gateway).len() == 1);
    let house = || gateway.running().house();
    let day = |gateway: &Gateway| {
        gateway.clock.forward(DAY);
        let now = gateway.clock.now();
        while house().stages.purge.step(now).unwrap().more {}
        while house().retention.step(now).unwrap().more {}
        house().notifier.step(now).unwrap();
        house().imports.step(now).unwrap();
        house().sweep.step(now).unwrap();
    };
    let payload = spool.join("done").join(&number);
    let there = |gateway: &Gateway| (outbox(gateway).len(), payload.exists());
    for _ in 1..=69 {
        day(&gateway);
    }
    assert_eq!(there(&gateway), (1, true), "day 69");
    for _ in 70..=72 {
        day(&gateway);
    }
    assert_eq!(there(&gateway), (0, false), "day 72");
    assert!(gateway.sftp(ACCOUNT, &format!("ls -1 /outbox/{OFFICE}\n")).ends(0).out.lines().count() <= 1);
    // The receipt outlives the payload; what nobody collected waits on, and is said.
    assert!(gateway.get(ACCOUNT, &format!("/receipts/{number}.json")).is_some());
    assert!(spool.join("new").join(&waiting).join("KPFD0006.CSV").exists());
    // The daemon's own look may have begun at an earlier hour: the last one counts.
    until("the operator is told that nobody collects", || {
        house().imports.step(gateway.clock.now()).unwrap();
        gateway.ask(&["status"])["alarms"].to_string().contains(&format!("SPOOL-NOT-COLLECTED {INSURER}"))
    });
    assert!(house().stages.purge.step(gateway.clock.now()).is_ok());

    for _ in 73..=810 {
        day(&gateway);
    }
    assert!(gateway.get(ACCOUNT, &format!("/receipts/{number}.json")).is_none(), "its card is gone");
    assert_eq!(gateway.ask(&["submission", "list"]).as_array().unwrap().len(), 2, "its number stays");
    // Left are what waits in new/ and the parties' cards.
    let left = blobs(&gateway);
    assert!(left <= 10, "{left}: {:#?}", support::gateway::files_under(&gateway.spool().join("blobs")));
    gateway.stop();
    gateway.todoke(&["journal", "verify"]).ends(0);
    for segment in support::gateway::files_under(&gateway.spool().join("journal")) {
        let text = String::from_utf8_lossy(&fs::read(&segment).unwrap()).into_owned();
        for never in ["太郎", "見本", "soumu", "soukatsu"] {
            assert!(!text.contains(never), "{never} is in {}", segment.display());
        }
    }
    assert!(Path::new(&spool).exists());
}
