//! The insurer's day with the real daemon: cut-offs, what is expected, the books of a day, reconciliation; signatures checked by
//! stock `ssh-keygen`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test may end where it fails, and plays the importer"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::gateway::{ACCOUNT, Gateway, INSURER, PDF, Ran, until};

const HOUR: i64 = 3_600_000;

/// A gateway whose insurer has this calendar, running by the test's clock; the calendar has begun.
fn with_calendar(calendar: &str) -> Gateway {
    let mut gateway = Gateway::set_up(&[]);
    fs::write(gateway.dir().join(format!("conf/insurers/{INSURER}.toml")), calendar).unwrap();
    gateway.start_inside();
    until("the calendar begins", || {
        gateway.todoke(&["journal", "show"]).ends(0).out.contains("calendar_began")
    });
    gateway
}

/// Files in one of the insurer's folders whose names begin and end so.
fn files(gateway: &Gateway, folder: &str, begin: &str, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(gateway.insurer_spool().join(folder)).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    found.retain(|path| name(path).starts_with(begin) && name(path).ends_with(end));
    found.sort();
    found
}

/// `ssh-keygen -Y verify` of a file and `FILE.sig` against these signers.
fn verify(file: &Path, signers: &Path, namespace: &str) -> Ran {
    let output = Command::new("ssh-keygen")
        .args(["-Y", "verify", "-I", "todoke", "-n", namespace, "-f"])
        .arg(signers)
        .arg("-s")
        .arg(format!("{}.sig", file.display()))
        .stdin(fs::File::open(file).unwrap())
        .output()
        .expect("ssh-keygen (package openssh-client)");
    Ran::of(&output)
}

/// Differences; what the next tidying takes is none.
fn codes(found: &Value) -> Vec<&str> {
    let findings = found["findings"].as_array().unwrap().iter();
    findings.filter(|one| one["severity"] == "difference").map(|one| one["code"].as_str().unwrap()).collect()
}

#[test]
fn a_cut_off_and_the_books_of_a_day_reach_both_sides_and_agree() {
    let mut gateway = with_calendar("[calendar]\ncut_offs = [\"0 0 * * * *\"]\n");
    let day = gateway.today().to_string();
    let receipt = gateway.send_taken(ACCOUNT, &gateway.set(2));
    let number = receipt["number"].as_str().unwrap().to_owned();
    gateway.reaches(&number, "published");
    gateway.make("notice.pdf", PDF);
    let file = gateway.work().join("notice.pdf");
    let deliver =
        ["deliver", "--insurer", INSURER, "--account", ACCOUNT, "--type", "納入告知書", "--title", "11月分"];
    gateway.todoke(&[&deliver[..], &[file.to_str().unwrap()]].concat()).ends(0);

    gateway.clock.forward(HOUR);
    until("a batch is closed", || !files(&gateway, "batches", "batch-", "csv").is_empty());
    let batch = files(&gateway, "batches", "batch-", "csv").remove(0);
    let text = fs::read_to_string(&batch).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains(&format!("\n{number},published,filing,{ACCOUNT},1234,")), "{text}");
    let signers = gateway.file("allowed_signers");
    fs::write(&signers, gateway.get(ACCOUNT, "/receipts/allowed_signers").unwrap()).unwrap();
    verify(&batch, &signers, "todoke-batch").ends(0);
    assert_ne!(verify(&batch, &signers, "todoke-receipt").code, 0, "its namespace is its own");
    gateway.clock.forward(HOUR);
    until("an empty batch is written too", || {
        let last = files(&gateway, "batches", "batch-", "csv").pop().unwrap();
        last != batch && fs::read_to_string(last).unwrap().lines().count() == 1
    });

    let name = format!("reconciliation-{day}.csv");
    gateway.clock.forward(25 * HOUR);
    let sheet = gateway.insurer_spool().join("reports").join(&name);
    until("the day is closed", || sheet.exists());
    // By now the next day may be closed too, and its books under way: it depends on the hour at which this began.
    until("the last day's books are there", || gateway.todoke(&["reconcile"]).code == 0);
    let last = gateway.ask(&["reconcile"])["day"].as_str().unwrap().to_owned();
    assert!(last >= day, "{last}");
    let text = fs::read_to_string(&sheet).unwrap();
    for what in [
        format!(",accepted,受付,{number},"),
        format!(",published,保険者への引渡し,{number},"),
        ",placed,文書の到着,".to_owned(),
    ] {
        assert!(text.contains(&what), "{what}: {text}");
    }
    verify(&sheet, &gateway.insurer_spool().join("reports/allowed_signers"), "todoke-reconciliation").ends(0);
    let totals: Value = serde_json::from_slice(&fs::read(sheet.with_extension("json")).unwrap()).unwrap();
    assert_eq!((&totals["day"], &totals["totals"]["accepted"]["rows"]), (&day.as_str().into(), &1.into()));

    let listing = gateway.sftp(ACCOUNT, "ls -l /history/reconciliation\n").ends(0).out;
    assert!(
        listing.contains(&format!("{day}.csv")) && listing.contains(&format!("{day}.csv.sig")),
        "{listing}"
    );
    let own = gateway.file(&format!("{day}.csv"));
    for end in ["", ".sig"] {
        let bytes = gateway.get(ACCOUNT, &format!("/history/reconciliation/{day}.csv{end}")).unwrap();
        fs::write(format!("{}{end}", own.display()), bytes).unwrap();
    }
    assert!(fs::read_to_string(&own).unwrap().contains(&number));
    verify(&own, &signers, "todoke-reconciliation").ends(0);
    assert_eq!(gateway.get(ACCOUNT, "/history/reconciliation/2020-01-01.csv"), None);

    let found = gateway.ask(&["reconcile", "--day", &day, "--deep"]);
    assert_eq!((&found["differences"], codes(&found)), (&0.into(), vec![]), "{found}");
    gateway.todoke(&["reconcile", "--day", "tomorrow"]).ends(2);
    gateway.todoke(&["reconcile", "--day", "2099-01-01"]).ends(1);
    gateway.todoke(&["reconcile", "--day", "99-01-01"]).ends(2);
    let early = gateway.todoke(&["reconcile", "--day", "2020-01-01"]).ends(1);
    assert!(early.err.contains("DAY-BEFORE"), "{early:?}");
    gateway.stop();

    // The daemon is away: the same, straight from the store.
    fs::create_dir(gateway.insurer_spool().join("new/stray")).unwrap();
    fs::rename(gateway.insurer_spool().join("new").join(&number), gateway.file("taken")).unwrap();
    let differs = gateway.todoke(&["reconcile", "--day", &day, "--json"]).ends(1).json();
    assert_eq!(codes(&differs), ["SPOOL-UNKNOWN", "PUBLISHED-NOT-IN-NEW"], "{differs}");
    let plain = gateway.todoke(&["reconcile", "--insurer", INSURER, "--day", &day]).ends(1).out;
    assert!(plain.contains("DIFFERENCE SPOOL-UNKNOWN") && plain.contains("2 differences"), "{plain}");
}

#[test]
fn what_does_not_come_is_an_alarm_and_a_mail_and_the_calendar_shows_it() {
    let gateway = with_calendar(
        "[calendar]\ncut_offs = [\"0 0 17 * * *\"]\n[[calendar.documents]]\ntypes = [\"支払決定額通知書\"]\nday = 10\n\
         grace_days = 0\n[[calendar.filings]]\nday = 20\nremind_days = 3\ntell = [\"office\"]\n\
         [filing.calendar]\nfrom_day = 1\nto_day = 31\nfrom_time = \"08:00\"\nto_time = \"20:00\"\ndaily = true\noutside = \"hold\"\n",
    );
    let rows = gateway.ask(&["calendar", "--insurer", INSURER, "--days", "62"]);
    let count = |what: &str| rows.as_array().unwrap().iter().filter(|row| row["what"] == what).count();
    assert_eq!(count("cut-off"), 62);
    assert!((1..=3).contains(&count("documents")) && (1..=3).contains(&count("filings")), "{rows}");
    assert!(count("window-opens") >= 60 && count("window-closes") >= 60, "{rows}");
    assert!(gateway.todoke(&["calendar"]).ends(0).out.contains("reconciliation"));

    // Past the tenth and the twentieth of a month, but no further than the next ones are awaited.
    let today = gateway.today();
    let target = (1..70).map(|n| today + chrono::Days::new(n)).find(|day| {
        use chrono::Datelike as _;
        day.day() == 25 && *day > today + chrono::Days::new(20)
    });
    let days = target.unwrap().signed_duration_since(today).num_days();
    gateway.clock.forward(days * 24 * HOUR);
    until("the alarm", || {
        let alarms = gateway.ask(&["status"])["alarms"].to_string();
        alarms.contains(&format!("DOCUMENTS-MISSING {INSURER}")) && alarms.contains("支払決定額通知書")
    });
    until("the mail to the office", || gateway.ask(&["mail", "list"]).to_string().contains("reminder"));
}
