//! The same filing again, other filings under the same id, holds and their decisions, withdrawals, waiting for the scanner:
//! end to end, with stock OpenSSH and, where several things must be in flight at once, with raw requests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::format_push_string,
    clippy::format_collect,
    clippy::too_many_lines,
    clippy::disallowed_methods,
    reason = "a test may end where it fails, lists its cases, and is the importer who renames"
)]

mod support;

use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::sync::Arc;

use russh::keys::{PrivateKey, load_secret_key};
use serde_json::Value;
use support::gateway::{ACCOUNT, Gateway, OFFICE, PDF, Ran, Set, files_under, until};
use support::raw::{Raw, WRITE, open, packet, string, write};
use support::scanner::{FakeScanner, Mood, VIRUS};

fn pdf(n: usize) -> Vec<u8> {
    [PDF, format!("% {n}\n%%EOF\n").as_bytes()].concat()
}

/// A sound set like no other.
fn unlike(gateway: &Gateway, head: &str, n: usize) -> Set {
    Set::of(head, vec![("KPFD0006.CSV", gateway.filing(3)), ("soukatsu.pdf", pdf(n))])
}

fn number(receipt: &Value) -> String {
    receipt["number"].as_str().unwrap().to_owned()
}

fn submissions(gateway: &Gateway) -> Vec<Value> {
    gateway.ask(&["submission", "list"]).as_array().unwrap().clone()
}

/// Verifies `/receipts/NAME` with stock `ssh-keygen`; gives it.
fn verified(gateway: &Gateway, account: &str, name: &str) -> Value {
    let fetch =
        |name: &str| gateway.get(account, &format!("/receipts/{name}")).unwrap_or_else(|| panic!("{name}"));
    let receipt = fetch(name);
    gateway.make("receipt.json", &receipt);
    gateway.make("receipt.json.sig", fetch(&format!("{name}.sig")));
    let signers = fetch("allowed_signers");
    gateway.make("allowed_signers", &signers);
    let principal = String::from_utf8(signers).unwrap().split_whitespace().next().unwrap().to_owned();
    let output = Command::new("ssh-keygen")
        .args([
            "-Y",
            "verify",
            "-f",
            "allowed_signers",
            "-I",
            &principal,
            "-n",
            "todoke-receipt",
            "-s",
            "receipt.json.sig",
        ])
        .stdin(fs::File::open(gateway.work().join("receipt.json")).unwrap())
        .current_dir(gateway.work())
        .output()
        .expect("ssh-keygen (package openssh-client)");
    Ran::of(&output).ends(0);
    serde_json::from_slice(&receipt).unwrap()
}

/// What lies in an insurer's `new/` and `cur/`.
fn insurers(gateway: &Gateway) -> usize {
    ["new", "cur"].map(|f| fs::read_dir(gateway.insurer_spool().join(f)).unwrap().count()).iter().sum()
}

#[test]
fn the_same_manifest_again_is_the_same_submission() {
    let mut gateway = Gateway::new();
    let set = unlike(&gateway, "# id: A-1\n", 1);
    let from = gateway.lay_out(&set, ACCOUNT);
    let receipt = |name: &str| format!("get /receipts/by-manifest/{}.json {name}\n", set.sha256());
    // Twice in one session, then in others, at another place, and after a restart.
    let batch = format!("{}{}{}{}", set.batch(&from), receipt("r1"), set.batch(&from), receipt("r2"));
    gateway.sftp(ACCOUNT, &batch).ends(0);
    gateway.sftp(ACCOUNT, &format!("{}{}", set.batch(&from), receipt("r3"))).ends(0);
    gateway.sftp(ACCOUNT, &format!("put {from}/* /submit/\n{}", receipt("r4"))).ends(0);
    gateway.kill();
    gateway.start();
    gateway.sftp(ACCOUNT, &format!("{}{}", set.batch(&from), receipt("r5"))).ends(0);
    let first = fs::read(gateway.work().join("r1")).unwrap();
    for name in ["r2", "r3", "r4", "r5"] {
        assert_eq!(fs::read(gateway.work().join(name)).unwrap(), first, "{name}");
    }
    assert_eq!(submissions(&gateway).len(), 1);
    let number = number(&serde_json::from_slice(&first).unwrap());
    gateway.reaches(&number, "published");
    assert_eq!(insurers(&gateway), 1);
    assert_eq!(gateway.sftp(ACCOUNT, "ls -1 /submit\n").ends(0).out.matches("/submit/").count(), 0);
}

#[test]
fn the_same_manifest_at_the_same_time_is_one_submission() {
    let gateway = Arc::new(Gateway::new());
    for round in 0..3 {
        let set = unlike(&gateway, "", round);
        let from = gateway.lay_out(&set, ACCOUNT);
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let (gateway, from, own) = (Arc::clone(&gateway), from.clone(), format!("{round}-{n}"));
                let batch = format!("mkdir /submit/{own}\nput {from}/* /submit/{own}/\nget /receipts/by-manifest/{}.json {own}\n", set.sha256());
                std::thread::spawn(move || {
                    gateway.sftp(ACCOUNT, &batch).ends(0);
                    fs::read(gateway.work().join(own)).unwrap()
                })
            })
            .collect();
        let receipts: Vec<Vec<u8>> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        assert!(receipts.iter().all(|r| *r == receipts[0]), "round {round}");
        assert_eq!(submissions(&gateway).len(), round + 1);
    }
    // Into one and the same folder: each may be told that another replaced its file, none does harm.
    let set = unlike(&gateway, "", 9);
    let from = gateway.lay_out(&set, ACCOUNT);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (gateway, batch) = (Arc::clone(&gateway), set.batch(&from));
            std::thread::spawn(move || gateway.sftp(ACCOUNT, &batch))
        })
        .collect();
    for ran in threads.into_iter().map(|t| t.join().unwrap()) {
        assert!(ran.code == 0 || ran.err.contains("FILE-REPLACED "), "{}", ran.err);
    }
    assert!(gateway.receipt(ACCOUNT, &set).is_some());
    assert_eq!(submissions(&gateway).len(), 4);
}

#[test]
fn an_id_is_one_filings_and_the_same_content_under_another_is_held() {
    let gateway = Gateway::new();
    let first = unlike(&gateway, "# id: A-1\n", 1);
    let accepted = number(&gateway.send_taken(ACCOUNT, &first));

    // The same id with other content is refused.
    let other = unlike(&gateway, "# id: A-1\n", 2);
    let ran = gateway.send(ACCOUNT, &other).ends(1);
    assert!(ran.err.contains("ID-TAKEN ") && ran.err.contains(&accepted), "{}", ran.err);
    assert_eq!(gateway.receipt(ACCOUNT, &other).unwrap()["outcome"], "refused");
    let by_id = gateway.get(ACCOUNT, "/receipts/by-id/A-1.json").unwrap();
    let latest: Value = serde_json::from_slice(&by_id).unwrap();
    assert_eq!(latest["outcome"], "refused", "by-id is about the latest");
    assert_eq!(
        gateway.receipt(ACCOUNT, &first).unwrap()["number"],
        accepted.as_str(),
        "by-manifest about its own"
    );
    assert_ne!(gateway.state(&accepted), "refused");

    // The same content under another id is held with a warning.
    let twin = Set::of("# id: A-2\n", first.files.iter().map(|(n, b)| (n.as_str(), b.clone())).collect());
    let receipt = gateway.send_taken(ACCOUNT, &twin);
    assert_eq!(
        (&receipt["outcome"], &receipt["stages"]["routing"]["verdict"]),
        (&"held".into(), &"held".into())
    );
    assert_eq!(
        (&receipt["findings"][0]["rule"], &receipt["findings"][0]["severity"]),
        (&"SAME-CONTENT".into(), &"warning".into())
    );
    let held = number(&receipt);
    assert_eq!(gateway.state(&held), "held");
    assert_eq!(gateway.get(ACCOUNT, &format!("/receipts/{held}.accepted.json")), None);
    // A held one answers with the same receipt.
    assert_eq!(gateway.send_taken(ACCOUNT, &twin), receipt);
    assert_eq!(insurers(&gateway), 1);

    // The operator lets it pass: a receipt of its own says so, the first one stays as it was.
    gateway.todoke(&["submission", "release", &held]).ends(0);
    gateway.reaches(&held, "published");
    assert_eq!(verified(&gateway, ACCOUNT, &format!("{held}.accepted.json"))["fact"], "accepted");
    assert_eq!(gateway.receipt(ACCOUNT, &twin).unwrap(), receipt);
    gateway.todoke(&["submission", "release", &held]).ends(1);

    // Or refuses it: then its content and id are free.
    let third = Set::of("# id: A-3\n", first.files.iter().map(|(n, b)| (n.as_str(), b.clone())).collect());
    let held = number(&gateway.send_taken(ACCOUNT, &third));
    gateway.todoke(&["submission", "refuse", &held, "--yes"]).ends(0);
    let refused = verified(&gateway, ACCOUNT, &format!("{held}.refused.json"));
    assert_eq!(
        (&refused["fact"], &refused["findings"][0]["rule"]),
        (&"refused".into(), &"OPERATOR-REFUSED".into())
    );
    assert_eq!(gateway.state(&held), "refused");
    until("the sender is told by mail", || {
        let mails = gateway.ask(&["mail", "list"]);
        mails
            .as_array()
            .unwrap()
            .iter()
            .any(|m| m["account"] == ACCOUNT && m["about"].to_string().contains(&held))
    });
    let replaced = unlike(&gateway, "# id: A-3\n", 3);
    assert_eq!(gateway.send_taken(ACCOUNT, &replaced)["outcome"], "accepted");
}

#[test]
fn another_account_may_use_the_same_id_and_sees_nothing() {
    let gateway = Gateway::set_up(&[]);
    gateway.add_office("5678");
    gateway.add_account(
        "K0002",
        &["--office", "1234,5678", "--second", "--user-name", "人事課", "--mail", "jinji@example.jp"],
    );
    let mut gateway = gateway;
    gateway.start();
    let set = unlike(&gateway, "# id: A-1\n", 1);
    let first = gateway.send_taken(ACCOUNT, &set);
    let second = gateway.send_taken("K0002", &unlike(&gateway, "# id: A-1\n", 2));
    assert_ne!(first["number"], second["number"]);
    let ran = gateway.sftp("K0002", &format!("get /receipts/{}.json\n", number(&first)));
    assert_ne!(ran.code, 0);
    let listed = gateway.sftp("K0002", "ls -1 /receipts\n").ends(0).out;
    assert!(!listed.contains(&number(&first)) && listed.contains(&number(&second)), "{listed}");
    // Nor can it withdraw what another sent.
    let set = Set::of(&format!("# withdraw: {}\n", number(&first)), vec![]);
    let ran = gateway.send("K0002", &set).ends(1);
    assert!(ran.err.contains("WITHDRAW-REFUSED "), "{}", ran.err);
    assert_ne!(gateway.state(&number(&first)), "withdrawn");
    // One key cannot be two accounts'.
    let key = gateway.key(ACCOUNT).with_extension("pub");
    let ran = gateway.todoke(&["account", "key", "add", "K0002", key.to_str().unwrap()]).ends(1);
    assert!(ran.err.contains(ACCOUNT), "{}", ran.err);
    let ran = gateway.todoke(&[
        "account",
        "add",
        "K0003",
        "--insurer",
        "06139999",
        "--office",
        OFFICE,
        "--second",
        "--user-name",
        "x",
        "--mail",
        "x@example.jp",
        "--ssh-key",
        key.to_str().unwrap(),
    ]);
    assert_eq!(ran.code, 1, "{}", ran.err);
}

fn withdrawal(number: &str) -> Set {
    Set::of(&format!("# withdraw: {number}\n"), vec![])
}

#[test]
fn a_submission_can_be_withdrawn_until_it_is_collected() {
    let gateway = Gateway::new();
    // Published.
    let set = unlike(&gateway, "# id: A-1\n", 1);
    let first = number(&gateway.send_taken(ACCOUNT, &set));
    gateway.reaches(&first, "published");
    let order = withdrawal(&first);
    let receipt = gateway.send_taken(ACCOUNT, &order);
    assert_eq!(receipt["outcome"], "withdrawal", "{receipt:#}");
    assert_eq!(gateway.state(&first), "withdrawn");
    let fact = verified(&gateway, ACCOUNT, &format!("{first}.withdrawn.json"));
    assert_eq!((&fact["fact"], &fact["by"]), (&"withdrawn".into(), &receipt["number"]));
    assert_eq!(insurers(&gateway), 0);
    // The same order again is the same order; another one finds it withdrawn.
    assert_eq!(gateway.send_taken(ACCOUNT, &order)["number"], receipt["number"]);
    // What was withdrawn may be sent again, under a new number.
    let again = number(&gateway.send_taken(ACCOUNT, &set));
    assert_ne!(again, first);
    gateway.reaches(&again, "published");

    // Held.
    let twin = Set::of("# id: A-2\n", set.files.iter().map(|(n, b)| (n.as_str(), b.clone())).collect());
    let held = number(&gateway.send_taken(ACCOUNT, &twin));
    assert_eq!(gateway.state(&held), "held");
    gateway.send(ACCOUNT, &withdrawal(&held)).ends(0);
    assert_eq!(gateway.state(&held), "withdrawn");

    // Withdrawn already: said, with nothing left to do; the insurer has nothing of it.
    let once_more = Set::of(&format!("# withdraw: {held}\n# id: W-2\n"), vec![]);
    let ran = gateway.send(ACCOUNT, &once_more).ends(1);
    assert!(
        ran.err.contains("WITHDRAW-REFUSED ") && ran.err.contains("すでに取り下げられている"),
        "{}",
        ran.err
    );
    assert!(!ran.err.contains("取り込んだあと"), "{}", ran.err);

    // Collected: refused, with a receipt, and nothing changes.
    fs::rename(
        gateway.insurer_spool().join("new").join(&again),
        gateway.insurer_spool().join("cur").join(&again),
    )
    .unwrap();
    let late = withdrawal(&again);
    let ran = gateway.send(ACCOUNT, &late).ends(1);
    assert!(ran.err.contains("WITHDRAW-REFUSED ") && ran.err.contains(&again), "{}", ran.err);
    let receipt = gateway.receipt(ACCOUNT, &late).unwrap();
    assert_eq!(receipt["outcome"], "refused");
    let listed = gateway.ask(&["submission", "show", receipt["number"].as_str().unwrap()]);
    assert_eq!((&listed["kind"], &listed["state"]), (&"withdrawal".into(), &"refused".into()), "{listed:#}");
    gateway.reaches(&again, "collected");
    assert!(gateway.insurer_spool().join("cur").join(&again).is_dir());
    verified(&gateway, ACCOUNT, &format!("{again}.collected.json"));

    // What does not exist.
    let ran = gateway.send(ACCOUNT, &withdrawal("1-000099-1"));
    assert_eq!(ran.code, 1, "{}", ran.err);
}

#[test]
fn nothing_of_a_test_account_reaches_the_insurer() {
    let gateway = Gateway::set_up(&[]);
    let key = gateway.key(ACCOUNT).with_extension("pub");
    // The test identity may use the production key (H4-H22).
    let add = [
        "account",
        "add",
        "T0001",
        "--insurer",
        "06139999",
        "--test",
        "--office",
        OFFICE,
        "--second",
        "--user-name",
        "総務課",
        "--mail",
        "soumu@example.jp",
        "--ssh-key",
    ];
    gateway.todoke(&[&add[..], &[key.to_str().unwrap()]].concat()).ends(0);
    fs::copy(gateway.key(ACCOUNT), gateway.file("T0001")).unwrap();
    let mut gateway = gateway;
    gateway.start();
    let set = unlike(&gateway, "", 1);
    let receipt = gateway.send_taken("T0001", &set);
    assert_eq!((&receipt["outcome"], &receipt["test"]), (&"accepted".into(), &true.into()), "{receipt:#}");
    verified(&gateway, "T0001", &format!("{}.json", number(&receipt)));
    // One of the production account after it is published; the test's never is.
    let real = number(&gateway.send_taken(ACCOUNT, &unlike(&gateway, "", 2)));
    gateway.reaches(&real, "published");
    assert_eq!(gateway.state(&number(&receipt)), "accepted");
    assert_eq!(insurers(&gateway), 1);
    assert!(
        !files_under(&gateway.insurer_spool())
            .iter()
            .any(|f| f.to_string_lossy().contains(&number(&receipt)))
    );
}

#[test]
fn while_the_scanner_is_away_submissions_wait_and_are_decided_when_it_is_back() {
    let scanner = FakeScanner::start(Mood::Away);
    let gateway =
        Gateway::with(&[("scanner", "address", &scanner.setting()), ("submit", "verdict_wait_seconds", "2")]);
    let good = unlike(&gateway, "", 1);
    let sick = [PDF, b"% ", VIRUS, b"\n%%EOF\n"].concat();
    let sick = Set::of("", vec![("KPFD0006.CSV", gateway.filing(2)), ("soukatsu.pdf", sick)]);
    let mut numbers = Vec::new();
    for set in [&good, &sick] {
        let receipt = gateway.send_taken(ACCOUNT, set);
        assert_eq!(
            (&receipt["outcome"], &receipt["stages"]["virus"]["verdict"]),
            (&"held".into(), &"held".into())
        );
        assert_eq!(receipt["decided_at"], Value::Null);
        numbers.push(number(&receipt));
    }
    // One that hangs in the middle of a scan is no other.
    scanner.set(Mood::Slow);
    let late = unlike(&gateway, "", 3);
    let receipt = gateway.send_taken(ACCOUNT, &late);
    assert_eq!(receipt["outcome"], "held");
    numbers.push(number(&receipt));
    assert_eq!(insurers(&gateway), 0);
    scanner.set(Mood::Well);
    until("all are decided", || submissions(&gateway).iter().all(|s| s["state"] != "held"));
    assert_eq!(verified(&gateway, ACCOUNT, &format!("{}.accepted.json", numbers[0]))["fact"], "accepted");
    let refused = verified(&gateway, ACCOUNT, &format!("{}.refused.json", numbers[1]));
    assert_eq!(refused["findings"][0]["rule"], "VIRUS-FOUND", "{refused:#}");
    assert_eq!(gateway.get(ACCOUNT, &format!("/receipts/{}.accepted.json", numbers[1])), None);
    gateway.reaches(&numbers[0], "published");
    gateway.reaches(&numbers[2], "published");
    assert_eq!(gateway.state(&numbers[1]), "refused");
    until("the later refusal is mailed", || {
        let mails = gateway.ask(&["mail", "list"]);
        mails.as_array().unwrap().iter().any(|m| m["about"].to_string().contains(&numbers[1]))
    });
    assert_eq!(gateway.ask(&["mail", "list"]).as_array().unwrap().len(), 1, "an acceptance is not mailed");
}

/// A raw session as the account.
fn raw(gateway: &Gateway, runtime: &tokio::runtime::Runtime) -> Raw {
    let key: Arc<PrivateKey> = Arc::new(load_secret_key(gateway.key(ACCOUNT), None).unwrap());
    runtime.block_on(Raw::greeted(gateway.address.port(), ACCOUNT, &key))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

const CLOSE: u8 = 4;
const OK: u32 = 0;
const NO_SUCH_FILE: u32 = 2;

/// Sends a whole set into a folder, up to the close of the signature, which is sent with this id and not answered yet.
async fn send_all_but_the_answer(raw: &mut Raw, gateway: &Gateway, set: &Set, folder: &str, id: u32) {
    let signature = gateway.sign(&set.manifest, ACCOUNT, "todoke");
    let mkdir = packet(14, 1, &[&string(format!("/submit/{folder}").as_bytes()), &0u32.to_be_bytes()]);
    assert_eq!(raw.ask(&mkdir).await.status(), OK);
    let mut files: Vec<(&str, &[u8])> = set.files.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
    files.push(("SHA256SUMS", &set.manifest));
    for (name, bytes) in files {
        let handle = raw.open(format!("/submit/{folder}/{name}").as_bytes(), WRITE).await;
        assert_eq!(raw.ask(&write(2, &handle, 0, bytes)).await.status(), OK);
        assert_eq!(raw.ask(&packet(CLOSE, 3, &[&string(&handle)])).await.status(), OK);
    }
    let handle = raw.open(format!("/submit/{folder}/SHA256SUMS.sig").as_bytes(), WRITE).await;
    assert_eq!(raw.ask(&write(2, &handle, 0, &signature)).await.status(), OK);
    raw.send(&packet(CLOSE, id, &[&string(&handle)])).await;
}

#[test]
fn several_submissions_may_be_in_flight_on_one_channel() {
    let scanner = FakeScanner::start(Mood::Slow);
    let gateway = Gateway::with(&[
        ("scanner", "address", &scanner.setting()),
        ("submit", "verdict_wait_seconds", "100"),
    ]);
    let runtime = runtime();
    let mut raw = raw(&gateway, &runtime);
    let sets: Vec<Set> = (0..5).map(|n| unlike(&gateway, "", n)).collect();
    runtime.block_on(async {
        for (n, set) in (100..).zip(&sets) {
            send_all_but_the_answer(&mut raw, &gateway, set, &n.to_string(), n).await;
        }
        // A request on a path whose verdict is to come waits for it; one on another path does not.
        let claimed = string(b"/submit/100/SHA256SUMS.sig");
        raw.send(&packet(17, 500, &[&claimed])).await;
        let other = raw.ask(&packet(17, 501, &[&string(b"/submit/100/KPFD0006.CSV")])).await;
        assert_eq!((other.kind, other.id), (105, 501));
        scanner.set(Mood::Well);
        let mut answered = HashMap::new();
        while answered.len() < 6 {
            let reply = raw.reply().await;
            answered.insert(reply.id, reply);
        }
        for n in 100..105 {
            assert_eq!(answered[&n].status(), OK, "{}", answered[&n].text());
        }
        assert_eq!(answered[&500].kind, 105, "after the commit `stat` still succeeds");
    });
    for set in &sets {
        assert_eq!(gateway.receipt(ACCOUNT, set).unwrap()["outcome"], "accepted");
    }
}

#[test]
fn a_disconnect_cancels_nothing() {
    let scanner = FakeScanner::start(Mood::Slow);
    let gateway = Gateway::with(&[
        ("scanner", "address", &scanner.setting()),
        ("submit", "verdict_wait_seconds", "100"),
    ]);
    let runtime = runtime();
    // The last close was sent, and then the line is dead.
    let first = unlike(&gateway, "", 1);
    let mut session = raw(&gateway, &runtime);
    runtime.block_on(async {
        send_all_but_the_answer(&mut session, &gateway, &first, "n", 9).await;
        until("it is being checked", || scanner.asked() > 0);
    });
    drop(session);
    // Stock `sftp`, killed while it waits.
    let second = unlike(&gateway, "", 2);
    let from = gateway.lay_out(&second, ACCOUNT);
    let mut cut = gateway.session(ACCOUNT, ACCOUNT, &[]);
    let asked = scanner.asked();
    cut.tell(&format!("put {from}/* /submit/"));
    until("it is being checked", || scanner.asked() > asked);
    cut.cut();
    scanner.set(Mood::Well);
    for set in [&first, &second] {
        until("its receipt is there", || gateway.receipt(ACCOUNT, set).is_some());
        assert_eq!(gateway.receipt(ACCOUNT, set).unwrap()["outcome"], "accepted");
    }
}

#[test]
fn after_a_commit_its_names_can_be_touched_but_not_seen() {
    let gateway = Gateway::new();
    let runtime = runtime();
    let mut session = raw(&gateway, &runtime);
    let set = unlike(&gateway, "", 1);
    let path = |name: &str| string(format!("/submit/n/{name}").as_bytes());
    let names = ["KPFD0006.CSV", "soukatsu.pdf", "SHA256SUMS", "SHA256SUMS.sig"];
    runtime.block_on(async {
        send_all_but_the_answer(&mut session, &gateway, &set, "n", 9).await;
        assert_eq!(session.reply().await.status(), OK);
        for name in names {
            for stat in [17, 7] {
                let reply = session.ask(&packet(stat, 10, &[&path(name)])).await;
                assert_eq!(reply.kind, 105, "{name}");
            }
            // Times and rights: flags 4 and 8.
            let times = [&0x8u32.to_be_bytes()[..], &1u32.to_be_bytes(), &1u32.to_be_bytes()].concat();
            assert_eq!(session.ask(&packet(9, 11, &[&path(name), &times])).await.status(), OK, "{name}");
            let rights = [&0x4u32.to_be_bytes()[..], &0o644u32.to_be_bytes()].concat();
            assert_eq!(session.ask(&packet(9, 12, &[&path(name), &rights])).await.status(), OK, "{name}");
        }
        let size = session.ask(&packet(17, 13, &[&path("KPFD0006.CSV")])).await.body[4..12].to_vec();
        assert_eq!(u64::from_be_bytes(size.try_into().unwrap()), set.files[0].1.len() as u64);
        // The folder too (`put -rp`).
        let times = [&0x8u32.to_be_bytes()[..], &1u32.to_be_bytes(), &1u32.to_be_bytes()].concat();
        assert_eq!(session.ask(&packet(9, 14, &[&string(b"/submit/n"), &times])).await.status(), OK);
        // Not listed.
        let handle = session.ask(&packet(11, 15, &[&string(b"/submit/n")])).await.string().to_vec();
        let listed = session.ask(&packet(12, 16, &[&string(&handle)])).await;
        assert_eq!(listed.kind, 101, "nothing is listed: {listed:?}");
        // An open-for-write drops the name; removing the new version then leaves nothing.
        let handle = session.ask(&open(17, b"/submit/n/KPFD0006.CSV", WRITE)).await.string().to_vec();
        assert_eq!(session.ask(&packet(CLOSE, 18, &[&string(&handle)])).await.status(), OK);
        assert_eq!(session.ask(&packet(13, 19, &[&path("KPFD0006.CSV")])).await.status(), OK);
        assert_eq!(session.ask(&packet(17, 20, &[&path("KPFD0006.CSV")])).await.status(), NO_SUCH_FILE);
        // Removing a claimed name only forgets it.
        assert_eq!(session.ask(&packet(13, 21, &[&path("soukatsu.pdf")])).await.status(), OK);
        assert_eq!(session.ask(&packet(17, 22, &[&path("soukatsu.pdf")])).await.status(), NO_SUCH_FILE);
    });
    drop(session);
    // The session's end drops the rest, and the emptied folder. A connection that comes before that end joins the session.
    until("the emptied folder is gone", || gateway.sftp(ACCOUNT, "ls /submit/n\n").code != 0);
    assert_eq!(gateway.receipt(ACCOUNT, &set).unwrap()["outcome"], "accepted");
}

#[test]
fn one_session_may_send_more_sets_than_there_may_be_folders() {
    let gateway = Gateway::with(&[("submit", "account_folders_max", "3")]);
    // More sets in one session than there may be folders.
    let mut session = gateway.session(ACCOUNT, ACCOUNT, &[]);
    let sets: Vec<Set> = (0..8).map(|n| unlike(&gateway, "", n)).collect();
    for set in &sets {
        let from = gateway.lay_out(set, ACCOUNT);
        session.does(&set.batch(&from));
    }
    session.ends().ends(0);
    for set in &sets {
        assert_eq!(gateway.receipt(ACCOUNT, set).unwrap()["outcome"], "accepted");
    }
}
