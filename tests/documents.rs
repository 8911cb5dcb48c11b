//! Documents on their way from the insurer to the office, with stock clients: a download that breaks off and goes on, and a
//! delivery taken in while offices send.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test file as a whole; its insurer renames as insurers do"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use support::gateway::{ACCOUNT, Gateway, INSURER, OFFICE, PDF, until};
use support::mailhost::MailHost;

/// What the operator sees of the account's only document.
fn listed(gateway: &Gateway) -> Value {
    gateway.ask(&["outbox", "list", ACCOUNT])[0].clone()
}

/// The row of the account's only document in `received.csv`, by the columns' names.
fn received(gateway: &Gateway) -> BTreeMap<String, String> {
    let bytes = gateway.get(ACCOUNT, "/history/received.csv").unwrap();
    let mut csv = csv::Reader::from_reader(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes));
    let head = csv.headers().unwrap().clone();
    let row = csv.records().next().unwrap().unwrap();
    head.iter().zip(row.iter()).map(|(name, cell)| (name.to_owned(), cell.to_owned())).collect()
}

fn partly_fetched(gateway: &Gateway) -> u64 {
    listed(gateway)["partly_fetched_bytes"].as_u64().unwrap_or(0)
}

/// `received.csv` tells the office, `outbox list` the operator: partly, partly, complete.
#[test]
fn a_download_that_breaks_off_is_complete_once_it_was_gone_on_with() {
    let mut gateway = Gateway::new();
    let content = [b"%PDF-1.4\n".as_slice(), &b"% page\n".repeat(300_000), b"%%EOF\n"].concat();
    let pdf = gateway.make("large.pdf", &content);
    let deliver = ["deliver", "--insurer", INSURER, "--account", ACCOUNT, "--type", "納入告知書", "--title"];
    gateway.todoke(&[&deliver[..], &["2026年11月分", pdf.to_str().unwrap()]].concat()).ends(0);
    let name = listed(&gateway)["name"].as_str().unwrap().to_owned();
    let there = format!("/outbox/{OFFICE}/{name}");
    let here = gateway.work().join("here.pdf");

    // One small request at a time and far below what the machine can do, so that it is cut in the middle.
    let slowly = ["-R", "1", "-B", "4096", "-l", "400"];
    let size = || fs::metadata(&here).map_or(0, |file| file.len());
    let mut had = 0;
    for verb in ["get", "reget"] {
        let mut session = gateway.session(ACCOUNT, ACCOUNT, &slowly);
        session.tell(&format!("{verb} {there} here.pdf"));
        until("some of it has come", || size() > had + 16 * 1024);
        session.cut();
        until("the gateway knows how far it came", || partly_fetched(&gateway) > had);
        had = partly_fetched(&gateway);
        assert!(size() <= had && had < content.len() as u64, "{} of {had}", size());
        let row = listed(&gateway);
        assert_eq!(
            (&row["first_fetched_at"], &row["last_fetched_at"]),
            (&Value::Null, &Value::Null),
            "{row:#}"
        );
        assert!(!row["partly_fetched_at"].is_null(), "{row:#}");
        let row = received(&gateway);
        assert!(row["初回取得"].is_empty() && !row["途中までの取得"].is_empty(), "{row:?}");
        // What an earlier daemon saw counts.
        gateway.stop();
        gateway.start();
    }
    gateway.sftp(ACCOUNT, &format!("reget {there} here.pdf\n")).ends(0);
    assert!(fs::read(&here).unwrap() == content, "the document is whole");
    until("the gateway knows that it is complete", || !listed(&gateway)["first_fetched_at"].is_null());
    let row = received(&gateway);
    assert!(!row["初回取得"].is_empty() && row["途中までの取得"].is_empty(), "{row:?}");
    let stats = gateway.ask(&["outbox", "stats"]);
    assert_eq!(stats[0]["partly_fetched"], 0, "{stats:#}");
}

/// Sent to the wrong place, and taken back while it is being read: operator and mail say that a part is out, and who reads it is told
/// to destroy that part, where a stock client shows it.
#[test]
fn a_recall_during_a_download_says_so_to_everybody() {
    let host = MailHost::start();
    let gateway = Gateway::with(&[("mail", "url", &host.url())]);
    let english = ["--office", OFFICE, "--user-name", "HR", "--mail", "hr@example.com", "--language", "en"];
    gateway.add_account("K0002", &english);
    let content = [b"%PDF-1.4\n".as_slice(), &b"% page\n".repeat(300_000), b"%%EOF\n"].concat();
    let pdf = gateway.make("wrong.pdf", &content);
    let cases = [
        (ACCOUNT, "soumu@example.jp", "途中まで受信されています", "受信した分は破棄してください。"),
        (
            "K0002",
            "hr@example.com",
            "A part of this document had been fetched",
            "Destroy what you received of it.",
        ),
    ];
    for (account, mailbox, told, shown) in cases {
        let deliver = ["deliver", "--insurer", INSURER, "--account", account, "--type", "納入告知書"];
        gateway.todoke(&[&deliver[..], &["--title", "x", pdf.to_str().unwrap()]].concat()).ends(0);
        let row = gateway.ask(&["outbox", "list", account])[0].clone();
        let name = row["name"].as_str().unwrap();
        let here = gateway.work().join(account);
        let slowly = ["-R", "1", "-B", "4096", "-l", "400"];
        let mut session = gateway.session(account, account, &slowly);
        session.tell(&format!("-get /outbox/{OFFICE}/{name} {account}"));
        let size = || fs::metadata(&here).map_or(0, |file| file.len());
        until("some of it has come", || size() > 16 * 1024);
        let recalled =
            gateway.todoke(&["outbox", "recall", row["document"].as_str().unwrap(), "--json"]).ends(0);
        assert!(recalled.err.contains("had fetched a part of it"), "{}", recalled.err);
        let answer = recalled.json();
        assert_eq!(answer["fetched"], false, "{answer:#}");
        let bytes = answer["partly_fetched_bytes"].as_u64().unwrap();
        session.does("pwd");
        let errors = session.errors();
        assert!(errors.contains("DOCUMENT-GONE ") && errors.contains(shown), "{errors}");
        assert_eq!(errors.matches("DOCUMENT-GONE").count(), 1, "{errors}");
        assert!(16 * 1024 < bytes && size() <= bytes, "{} of {bytes}", size());
        session.ends();
        until("the mail came", || {
            host.taken().iter().any(|mail| mail.to == mailbox && mail.body.contains(told))
        });
    }
}

/// Many documents for several accounts come in while these send, and each side gets all of its own.
#[test]
fn a_large_delivery_is_taken_in_while_offices_send() {
    const ROWS: usize = 300;
    const ACCOUNTS: usize = 10;
    let mut gateway = Gateway::set_up(&[("delivery", "settle_seconds", "0")]);
    let form = ["--office", OFFICE, "--user-name", "総務課", "--mail", "soumu@example.jp"];
    let accounts: Vec<String> = (1..=ACCOUNTS).map(|n| format!("K{n:04}")).collect();
    for account in &accounts[1..] {
        gateway.add_account(account, &form);
    }
    gateway.start();
    let job = gateway.insurer_spool().join("outgoing/2026-11");
    fs::create_dir(&job).unwrap();
    let mut sheet = "account,office,in_reply_to,file,type,title\n".to_owned();
    for n in 0..ROWS {
        fs::write(job.join(format!("{n:03}.pdf")), [PDF, format!("% {n}\n").as_bytes()].concat()).unwrap();
        sheet += &format!("{},,,{n:03}.pdf,納入告知書,{n}\n", accounts[n % ACCOUNTS]);
    }
    // A bad row among them stops no other.
    sheet += "K9999,,,000.pdf,納入告知書,nobody\n";
    fs::write(job.join("delivery.csv.tmp"), sheet).unwrap();

    let reports = || support::gateway::files_under(&gateway.insurer_spool().join("reports"));
    let report = || reports().into_iter().find(|path| path.to_string_lossy().contains("delivery-2026-11-"));
    let (taken, begun) = (AtomicBool::new(false), AtomicBool::new(false));
    let sent: Vec<String> = std::thread::scope(|scope| {
        let clients: Vec<_> = accounts[..2]
            .iter()
            .map(|account| {
                let (gateway, taken, begun) = (&gateway, &taken, &begun);
                scope.spawn(move || {
                    let mut numbers = Vec::new();
                    // At least one before, one beside and one behind the taking.
                    while numbers.len() < 3 || !taken.load(Ordering::Relaxed) {
                        let receipt = gateway.send_taken(account, &gateway.set(1));
                        assert_eq!(receipt["outcome"], "accepted", "{receipt:#}");
                        numbers.push(receipt["number"].as_str().unwrap().to_owned());
                        begun.store(true, Ordering::Relaxed);
                    }
                    numbers
                })
            })
            .collect();
        until("offices are sending", || begun.load(Ordering::Relaxed));
        fs::rename(job.join("delivery.csv.tmp"), job.join("delivery.csv")).unwrap();
        until("the delivery is reported", || report().is_some());
        taken.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });

    let report = fs::read_to_string(report().unwrap()).unwrap();
    assert_eq!(report.matches(",placed,").count(), ROWS, "{report}");
    assert_eq!(report.matches("K9999").count(), 1, "{report}");
    for (n, account) in accounts.iter().enumerate() {
        let rows = gateway.ask(&["outbox", "list", account]);
        let titles: Vec<usize> = rows
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["title"].as_str().unwrap().parse().unwrap())
            .collect();
        assert_eq!(titles.len(), ROWS / ACCOUNTS, "{account}");
        assert!(titles.iter().all(|title| title % ACCOUNTS == n), "{account}: {titles:?}");
        let names: std::collections::BTreeSet<&str> =
            rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), ROWS / ACCOUNTS, "each has a name of its own: {names:?}");
    }
    for number in &sent {
        gateway.reaches(number, "published");
    }
    until("what was placed is announced", || {
        let mails = gateway.ask(&["mail", "list"]);
        let about = |mail: &Value| mail["about"]["arrival"].as_array().map_or(0, Vec::len);
        mails.as_array().unwrap().iter().map(about).sum::<usize>() == ROWS
    });
}
