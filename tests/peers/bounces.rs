//! What comes back from a real postfix, and what becomes of it in the whole gateway.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::super::support::gateway::{Gateway, INSURER, OFFICE, PDF};
use super::super::until;
use super::mail::read_mail;
use super::postfix::Postfix;

/// Takes everything, then fails to deliver some of it.
const FAILING: &str = "
virtual_mailbox_domains = example.jp gateway.example.jp
virtual_mailbox_maps = inline:{ good@example.jp=good/ tantou@example.jp=tantou/ bounce@gateway.example.jp=bounce/ }
recipient_delimiter = +
smtpd_reject_unlisted_recipient = no
transport_maps = inline:{ { full@example.jp = error:5.2.2 mailbox full } { policy@example.jp = error:5.7.1 unwanted } { slow@example.jp = retry:4.4.1 no answer } }
delay_warning_time = 1s
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 1s
maximal_queue_lifetime = 8s
";

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect()
}

fn mails_of(gateway: &Gateway, account: &str) -> Vec<Value> {
    gateway.ask(&["mail", "list", "--account", account]).as_array().unwrap().clone()
}

#[test]
fn what_a_real_postfix_sends_back_is_understood() {
    let postfix = Postfix::start(FAILING);
    let mut gateway = Gateway::set_up(&[
        ("mail", "from", "\"no-reply@gateway.example.jp\""),
        ("mail", "bounces", "\"bounce+{id}@gateway.example.jp\""),
        ("mail", "url", &format!("\"smtp://127.0.0.1:{}\"", postfix.port)),
        ("mail", "bounce_maildir", &format!("\"{}\"", postfix.path("mail/bounce").display())),
    ]);
    gateway.start();
    gateway.todoke(&["insurer", "change", INSURER, "--mail", "tantou@example.jp"]).ends(0);
    let pdf = gateway.make("notice.pdf", PDF);
    let cases = [
        ("K0011", "nobody@example.jp", "unreachable 5.1.1"),
        ("K0012", "full@example.jp", "failed 5.2.2"),
        ("K0013", "policy@example.jp", "failed 5.7.1"),
        ("K0014", "slow@example.jp", "failed 4.4.1"),
    ];
    for (account, mail, _) in cases {
        gateway.add_account(account, &["--office", OFFICE, "--mail", mail, "--user-name", "総務課"]);
        let deliver = [
            "deliver",
            "--insurer",
            INSURER,
            "--account",
            account,
            "--type",
            "納入告知書",
            "--title",
            "2026年11月分",
        ];
        gateway.todoke(&[&deliver[..], &[pdf.to_str().unwrap()]].concat()).ends(0);
    }
    for (account, _, expected) in cases {
        until(expected, || mails_of(&gateway, account).iter().any(|mail| mail["came_back"] == expected));
    }
    let read = files(&postfix.path("mail/bounce/cur"));
    assert!(read.iter().any(|mail| mail.contains("Action: delayed")), "the delay was told and read");
    assert!(read.iter().all(|mail| mail.contains("Original-Envelope-Id: m1-")), "asked for by ENVID");
    assert!(files(&postfix.path("mail/bounce/new")).is_empty());

    // Only the one that does not exist is marked; office, operator and insurer see it.
    let listed = gateway.ask(&["mail", "address", "list"]);
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed:#}");
    assert_eq!(
        (&listed[0]["accounts"], &listed[0]["status"]),
        (&serde_json::json!(["K0011"]), &"5.1.1".into())
    );
    until("the alarm", || gateway.ask(&["status"])["alarms"].to_string().contains("ADDRESS-UNREACHABLE"));
    assert_eq!(gateway.ask(&["status"])["addresses_unreachable"], 1);
    let history = String::from_utf8(gateway.get("K0011", "/history/mails.csv").unwrap()).unwrap();
    assert!(history.contains("不達") && history.contains("5.1.1"), "{history}");
    let told = postfix.path("mail/tantou/new");
    until("the insurer is told", || !files(&told).is_empty());
    let notice = read_mail(files(&told)[0].as_bytes());
    assert!(notice["body"].as_str().unwrap().contains("K0011"), "{notice:#}");
    assert!(!notice["body"].as_str().unwrap().contains("nobody@"), "{notice:#}");

    // A correct address gets what waited; the old one nothing more.
    gateway.todoke(&["account", "change", "K0011", "--mail", "good@example.jp"]).ends(0);
    let doubt = gateway.todoke(&["mail", "address", "resume", "K0012"]).ends(1);
    assert!(doubt.err.contains("ADDRESS-NOT-MARKED"), "{doubt:?}");
    gateway.todoke(&["mail", "address", "resume", "nobody@example.jp"]).ends(0);
    gateway.stop();
    gateway.start();
    until("the office is told at last", || !files(&postfix.path("mail/good/new")).is_empty());
    assert_eq!(gateway.ask(&["mail", "address", "list"]), serde_json::json!([]));
    let journal: Vec<u8> = {
        let folder = gateway.spool().join("journal");
        fs::read_dir(folder)
            .unwrap()
            .flat_map(|entry| fs::read(entry.unwrap().path()).unwrap_or_default())
            .collect()
    };
    for never in ["@example.jp", "nobody@"] {
        assert!(!String::from_utf8_lossy(&journal).contains(never), "the journal names nobody");
    }
}
