//! What travels beside filings and documents: other transmissions (電子申請以外), announcements (お知らせ), and withdrawals by the
//! operator, with stock clients.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test file as a whole; its importer renames as importers do"
)]

mod support;

use std::fs;

use support::gateway::{ACCOUNT, Gateway, INSURER, PDF, Set, files_under, until};

fn blobs(gateway: &Gateway) -> usize {
    files_under(&gateway.spool().join("blobs")).len()
}

/// K0001 of 1234, K0002 of 5678, agent S0001 of both, test account T0001.
fn with_accounts() -> Gateway {
    let gateway = Gateway::new();
    gateway.add_office("5678");
    let form = ["--user-name", "総務課", "--mail", "soumu@example.jp"];
    gateway.add_account("K0002", &[&["--office", "5678"], &form[..]].concat());
    gateway.add_account(
        "S0001",
        &[&["--role", "agent", "--office", "1234", "--office", "5678"], &form[..]].concat(),
    );
    gateway.add_account("T0001", &[&["--office", "1234", "--test"], &form[..]].concat());
    gateway
}

fn listed(gateway: &Gateway, account: &str) -> Vec<String> {
    let out = gateway.sftp(account, "ls -1 /announcements\n").ends(0).out;
    out.lines().filter(|line| !line.starts_with("sftp>")).map(str::to_owned).collect()
}

#[test]
fn an_announcement_is_stored_once_and_read_recalled_and_counted_by_account() {
    let gateway = with_accounts();
    let before = blobs(&gateway);
    let pdf = gateway.make("closing.pdf", PDF);
    let announce = |more: &[&str]| {
        let args = ["announce", "--insurer", INSURER, "--title", "年末年始の休業"];
        gateway.todoke(&[&args[..], more, &[pdf.to_str().unwrap(), "--json"]].concat())
    };
    let made = announce(&["--all"]).ends(0).json();
    assert_eq!((&made["placed"], &made["without"]), (&3.into(), &0.into()), "{made}");
    let id = made["announcement"].as_str().unwrap();
    // Mails have cards of their own, and come meanwhile.
    let mails = || gateway.ask(&["mail", "list"]).as_array().unwrap().len();
    until("one copy of the bytes, one card", || blobs(&gateway) == before + 2 + mails());
    let again = announce(&["--all"]).ends(0).json();
    assert_eq!((&again["placed"], &again["placed_before"]), (&0.into(), &3.into()), "{again}");
    assert_eq!(again["announcement"], id);
    // One that has it and is suspended meanwhile is not one to send it to on paper.
    gateway.todoke(&["account", "suspend", "K0002"]).ends(0);
    let again = announce(&["--all"]).ends(0).json();
    assert_eq!((&again["without"], &again["placed_before"]), (&0.into(), &3.into()), "{again}");
    gateway.todoke(&["account", "resume", "K0002"]).ends(0);

    // Each has one, an agent too, and none in an outbox; a test account has none.
    for account in [ACCOUNT, "K0002", "S0001"] {
        let names = listed(&gateway, account);
        assert!(names.len() == 1 && names[0].contains("お知らせ") && names[0].contains(".pdf"), "{names:?}");
        assert!(!gateway.sftp(account, "ls -1 /outbox/*\n").ends(0).out.contains("お知らせ"));
    }
    assert!(listed(&gateway, "T0001").is_empty());
    gateway.sftp(ACCOUNT, "get /announcements/* got.pdf\n").ends(0);
    assert_eq!(fs::read(gateway.work().join("got.pdf")).unwrap(), PDF);
    let ran = gateway.sftp(ACCOUNT, "rm /announcements/*\n");
    assert_ne!(ran.code, 0);
    let rows = gateway.ask(&["outbox", "announcements", "--insurer", INSURER]);
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    assert_eq!(
        (&rows[0]["accounts"], &rows[0]["fetched"], &rows[0]["title"]),
        (&3.into(), &1.into(), &"年末年始の休業".into())
    );
    until("all three are told by mail", || {
        gateway.ask(&["mail", "list"]).as_array().unwrap().len() >= 3
            || gateway
                .ask(&["mail", "list"])
                .as_array()
                .unwrap()
                .iter()
                .any(|mail| mail["account"].is_string())
    });

    // One account's copy goes; the bytes stay for the others. Then all go, and the bytes with the last.
    let one = gateway.ask(&["outbox", "list", "K0002"])[0]["document"].as_str().unwrap().to_owned();
    gateway.todoke(&["outbox", "recall", &one, "--yes"]).ends(0);
    assert!(listed(&gateway, "K0002").is_empty());
    gateway.sftp("S0001", "get /announcements/* still.pdf\n").ends(0);
    let gone = gateway.ask(&["outbox", "recall-announcement", id, "--insurer", INSURER, "--yes"]);
    assert_eq!((&gone["recalled"], &gone["fetched"]), (&2.into(), &2.into()), "{gone}");
    assert!(listed(&gateway, ACCOUNT).is_empty());
    gateway.todoke(&["outbox", "recall-announcement", id, "--insurer", INSURER, "--yes"]).ends(1);

    // To some, as text.
    let args = [
        "announce",
        "--insurer",
        INSURER,
        "--title",
        "ご確認ください",
        "--text",
        "書類が不足しています。\nご連絡ください。",
    ];
    let made = gateway.ask(&[&args[..], &["--office", "5678", "--account", "T0001"]].concat());
    assert_eq!(made["placed"], 2, "{made}");
    assert!(listed(&gateway, ACCOUNT).is_empty());
    assert!(listed(&gateway, "T0001")[0].contains(".txt"));
    gateway.sftp("K0002", "get /announcements/* got.txt\n").ends(0);
    let text = fs::read_to_string(gateway.work().join("got.txt")).unwrap();
    assert_eq!(text, "\u{feff}書類が不足しています。\r\nご連絡ください。\r\n");
    let some = gateway.todoke(&[&args[..], &["--account", "K0099", "--account", "S0001"]].concat()).ends(0);
    assert_eq!(listed(&gateway, "S0001").len(), 1);
    let told = format!("{}{}", some.out, some.err);
    assert!(told.contains("K0099"), "who does not get it is named: {told}");
    let blank = ["announce", "--insurer", INSURER, "--title", "件名", "--text", " ", "--all"];
    assert!(gateway.todoke(&blank).ends(1).err.contains("FILE-EMPTY"));
    let nobody = ["announce", "--insurer", "09999999", "--title", "件名", "--text", "a", "--all"];
    assert!(gateway.todoke(&nobody).ends(1).err.contains("INSURER-UNKNOWN"));
    let unknown = [&args[..], &["--account", "K0099"]].concat();
    assert!(gateway.todoke(&unknown).ends(1).err.contains("ROW-NO-ACCOUNT"));
}

#[test]
fn a_row_of_a_delivery_announces_to_everybody() {
    let gateway = with_accounts();
    let job = gateway.insurer_spool().join("outgoing/2026-11-23");
    fs::create_dir(&job).unwrap();
    fs::write(job.join("a.pdf"), PDF).unwrap();
    let sheet = "account,office,in_reply_to,file,type,title\n*,,,a.pdf,お知らせ,休業のお知らせ\nK0001,,,a.pdf,納入告知書,11月\n*,1234,,a.pdf,お知らせ,t\n";
    fs::write(job.join("delivery.csv"), sheet).unwrap();
    until("it is announced", || listed(&gateway, "K0002").len() == 1);
    until("the set is taken", || !job.join("delivery.csv").exists());
    assert_eq!(listed(&gateway, "S0001").len(), 1);
    let reports = files_under(&gateway.insurer_spool().join("reports"));
    let report = reports.iter().find(|path| path.to_string_lossy().contains("delivery-")).unwrap();
    let report = fs::read_to_string(report).unwrap();
    assert!(report.contains("ANNOUNCED") && report.contains("3 accounts"), "{report}");
    assert!(report.contains("ROW-ADDRESS"), "everybody of an office is nobody: {report}");
}

#[test]
fn other_transmissions_travel_by_content_and_filings_never_among_them() {
    let gateway = Gateway::new();
    let send = |head: &str, name: &str, bytes: &[u8]| {
        let set = Set::of(&format!("# kind: other\n{head}"), vec![(name, bytes.to_vec())]);
        (gateway.send(ACCOUNT, &set), set)
    };
    let (ran, set) = send("# subject: 組合員証の写し\n", "写し.pdf", PDF);
    ran.ends(0);
    let receipt = gateway.receipt(ACCOUNT, &set).unwrap();
    let number = receipt["number"].as_str().unwrap();
    gateway.reaches(number, "published");
    let folder = gateway.insurer_spool().join("new").join(number);
    let json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join("submission.json")).unwrap()).unwrap();
    assert_eq!((&json["kind"], &json["subject"]), (&"other".into(), &"組合員証の写し".into()));
    assert!(folder.join("attachment-01.pdf").exists());
    let history = String::from_utf8(gateway.get(ACCOUNT, "/history/sent.csv").unwrap()).unwrap();
    assert!(history.contains("電子申請以外"), "{history}");
    let filing = gateway.filing(1);
    let cases: [(&str, &[u8], &str); 5] = [
        ("KPFD0006.CSV", &filing, "SET-OTHER-FILING"),
        ("list.csv", &filing, "SET-OTHER-FILING"),
        ("photo.jpg", b"MZ\x90\0", "SET-OTHER-CONTENT"),
        ("all.zip", b"PK\x03\x04", "SET-OTHER-TYPE"),
        ("book.xlsx", b"PK\x03\x04 xl/workbook.xml xl/vbaProject.bin", "SET-OTHER-MACROS"),
    ];
    for (name, bytes, code) in cases {
        let (ran, _) = send("", name, bytes);
        assert!(ran.code != 0 && ran.err.contains(code), "{name}: {}", ran.err);
    }
    for (name, bytes) in [
        ("list.csv", &b"\x8e\x91,1\r\n"[..]),
        ("book.xlsx", b"PK\x03\x04 xl/workbook.xml"),
        ("p.png", b"\x89PNG\r\n\x1a\n\0"),
    ] {
        send("", name, bytes).0.ends(0);
    }
}

#[test]
fn the_operator_withdraws_with_a_reason_and_the_sender_is_told() {
    let gateway = Gateway::new();
    let receipt = gateway.send_taken(ACCOUNT, &gateway.set(1));
    let number = receipt["number"].as_str().unwrap();
    gateway.reaches(number, "published");
    let args = ["submission", "withdraw", number, "--yes", "--reason", "お電話でのご依頼によります。"];
    gateway.todoke(&args).ends(0);
    assert_eq!(gateway.state(number), "withdrawn");
    assert!(!gateway.insurer_spool().join("new").join(number).exists());
    let fact = gateway.get(ACCOUNT, &format!("/receipts/{number}.withdrawn.json")).unwrap();
    let fact: serde_json::Value = serde_json::from_slice(&fact).unwrap();
    assert_eq!((&fact["fact"], &fact["by"]), (&"withdrawn".into(), &serde_json::Value::Null));
    until("its sender is told", || {
        let mails = gateway.ask(&["mail", "list", "--account", ACCOUNT]);
        mails.as_array().unwrap().iter().any(|mail| mail["about"].to_string().contains(number))
    });
    // What it says may name somebody: it stands in the mail alone.
    let journal: String = files_under(&gateway.spool().join("journal"))
        .iter()
        .map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned())
        .collect();
    assert!(journal.contains(number) || journal.contains("withdrawn"));
    assert!(!journal.contains("お電話"), "the journal holds the reason");

    // Once collected only the insurer can help.
    let receipt = gateway.send_taken(ACCOUNT, &gateway.set(1));
    let number = receipt["number"].as_str().unwrap();
    gateway.reaches(number, "published");
    let spool = gateway.insurer_spool();
    fs::rename(spool.join("new").join(number), spool.join("cur").join(number)).unwrap();
    let refused = gateway.todoke(&["submission", "withdraw", number, "--yes"]).ends(1);
    assert!(refused.err.contains("COLLECTED"), "{}", refused.err);
    let long = "x".repeat(301);
    let refused = gateway.todoke(&["submission", "withdraw", number, "--yes", "--reason", &long]).ends(1);
    assert!(refused.err.contains("REASON-LONG"), "{}", refused.err);
}
