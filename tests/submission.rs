//! Sending, end to end: the real daemon, stock OpenSSH. What the contract promises about the commit, one test a promise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::format_push_string,
    clippy::format_collect,
    clippy::too_many_lines,
    reason = "a test may end where it fails, and lists its cases"
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::gateway::{ACCOUNT, Gateway, INSURER, OFFICE, PDF, Ran, Set, files_under, until};
use support::scanner::{FakeScanner, Mood};

/// `name  bytes` of a PDF that is like no other.
fn pdf(n: usize) -> Vec<u8> {
    [PDF, format!("% {n}\n%%EOF\n").as_bytes()].concat()
}

/// A sound set like no other.
fn unlike(gateway: &Gateway, head: &str, n: usize) -> Set {
    Set::of(head, vec![("KPFD0006.CSV", gateway.filing(3)), ("soukatsu.pdf", pdf(n))])
}

fn number(receipt: &serde_json::Value) -> String {
    receipt["number"].as_str().unwrap().to_owned()
}

/// Verifies a receipt of the account's with stock `ssh-keygen` against `/receipts/allowed_signers`.
fn verifies(gateway: &Gateway, account: &str, name: &str) {
    let fetch =
        |name: &str| gateway.get(account, &format!("/receipts/{name}")).unwrap_or_else(|| panic!("{name}"));
    let (receipt, signature) = (fetch(name), fetch(&format!("{name}.sig")));
    gateway.make("receipt.json", &receipt);
    gateway.make("receipt.json.sig", &signature);
    gateway.make("allowed_signers", fetch("allowed_signers"));
    let signers = fs::read_to_string(gateway.work().join("allowed_signers")).unwrap();
    let principal = signers.split_whitespace().next().unwrap().to_owned();
    let verify = |receipt: &str| {
        let output = Command::new("ssh-keygen")
            .args(["-Y", "verify", "-f", "allowed_signers", "-I", &principal, "-n", "todoke-receipt", "-s"])
            .arg("receipt.json.sig")
            .stdin(fs::File::open(gateway.work().join(receipt)).unwrap())
            .current_dir(gateway.work())
            .output()
            .expect("ssh-keygen (package openssh-client)");
        Ran::of(&output)
    };
    verify("receipt.json").ends(0);
    gateway.make("forged.json", String::from_utf8(receipt).unwrap().replace(account, "K9999"));
    assert_ne!(verify("forged.json").code, 0, "a forged receipt must not verify");
}

fn sums_hold(folder: &Path, sums: &str) -> usize {
    let mut check = Command::new("sha256sum");
    let output = check.args(["-c", "--strict", sums]).current_dir(folder).stdin(Stdio::null()).output();
    let ran = Ran::of(&output.expect("sha256sum (package coreutils)")).ends(0);
    ran.out.lines().filter(|line| line.ends_with(": OK")).count()
}

#[test]
fn a_set_sent_as_the_contract_says_is_accepted_and_published_with_a_receipt_that_verifies() {
    let gateway = Gateway::new();
    let set = gateway.set_with("# id: 2026-11-A\n# subject: 11月分\n", 3);
    let receipt = gateway.send_taken(ACCOUNT, &set);
    assert_eq!(receipt["schema"], "todoke-receipt/1");
    assert_eq!(receipt["outcome"], "accepted", "{receipt:#}");
    for stage in ["upload", "signature", "format", "routing"] {
        assert_eq!(receipt["stages"][stage]["verdict"], "pass", "{stage}");
    }
    assert_eq!(receipt["stages"]["virus"]["verdict"], "not_run", "no scanner, said so");
    assert_eq!(receipt["manifest_sha256"], set.sha256());
    assert_eq!(receipt["signer"]["fingerprint"], gateway.fingerprint(ACCOUNT));
    assert_eq!((&receipt["office"], &receipt["insurer"]), (&OFFICE.into(), &INSURER.into()));
    assert_eq!(receipt["files"][0]["size"], set.files[0].1.len());

    let number = number(&receipt);
    let by_id = gateway.get(ACCOUNT, "/receipts/by-id/2026-11-A.json").unwrap();
    let by_number = gateway.get(ACCOUNT, &format!("/receipts/{number}.json")).unwrap();
    assert_eq!(by_id, by_number);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&by_number).unwrap(), receipt);
    verifies(&gateway, ACCOUNT, &format!("{number}.json"));

    gateway.reaches(&number, "published");
    let folder = gateway.insurer_spool().join("new").join(&number);
    assert_eq!(fs::read(folder.join("KPFD0006.CSV")).unwrap(), set.files[0].1);
    assert_eq!(fs::read(folder.join("cover.pdf")).unwrap(), set.files[1].1);
    assert_eq!(fs::read(folder.join("evidence/SHA256SUMS")).unwrap(), set.manifest);
    assert!(sums_hold(&folder, "FILES.sha256") >= 2);
    assert_eq!(fs::read(folder.join("evidence/receipt.json")).unwrap(), by_number);
    // The sender's own manifest holds over the sender's own names, with its comment lines.
    let own = gateway.lay_out(&set, ACCOUNT);
    assert_eq!(sums_hold(&gateway.work().join(own), "SHA256SUMS"), 2);
}

/// All orders of so many things.
fn orders(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let longer = |shorter: &Vec<usize>| -> Vec<Vec<usize>> {
        (0..n)
            .map(|at| {
                let mut order = shorter.clone();
                order.insert(at, n - 1);
                order
            })
            .collect()
    };
    orders(n - 1).iter().flat_map(longer).collect()
}

#[test]
fn files_may_arrive_in_any_order() {
    let gateway = Gateway::new();
    let mut batch = String::new();
    let mut sets = Vec::new();
    for (n, order) in orders(4).into_iter().enumerate() {
        let set = unlike(&gateway, "", n);
        let (from, to) = (gateway.lay_out(&set, ACCOUNT), set.sha256());
        let names = ["KPFD0006.CSV", "soukatsu.pdf", "SHA256SUMS", "SHA256SUMS.sig"];
        batch += &format!("mkdir /submit/{to}\n");
        for (i, file) in order.iter().enumerate() {
            if i == 3 {
                batch += &format!("-get /receipts/by-manifest/{to}.json early-{n}\n");
            }
            batch += &format!("put {from}/{} /submit/{to}/\n", names[*file]);
        }
        batch += &format!("get /receipts/by-manifest/{to}.json receipt-{n}\n");
        sets.push((order, n));
    }
    gateway.sftp(ACCOUNT, &batch).ends(0);
    assert_eq!(sets.len(), 24);
    for (order, n) in sets {
        assert!(
            !gateway.work().join(format!("early-{n}")).exists(),
            "{order:?}: a receipt before the last file"
        );
        let receipt = fs::read(gateway.work().join(format!("receipt-{n}"))).unwrap();
        let receipt: serde_json::Value = serde_json::from_slice(&receipt).unwrap();
        assert_eq!(receipt["outcome"], "accepted", "{order:?}: {receipt:#}");
    }
}

#[test]
fn a_rename_is_as_good_as_a_close() {
    let gateway = Gateway::new();
    // Each file in turn is the one whose rename completes the set; `.part`, and `.filepart` as WinSCP has it.
    for (n, last) in ["KPFD0006.CSV", "soukatsu.pdf", "SHA256SUMS", "SHA256SUMS.sig"].into_iter().enumerate()
    {
        let set = unlike(&gateway, "", n);
        let (from, to) = (gateway.lay_out(&set, ACCOUNT), format!("/submit/{}", set.sha256()));
        let ending = if n % 2 == 0 { "part" } else { "filepart" };
        let mut batch = format!("mkdir {to}\nput {from}/{last} {to}/{last}.{ending}\n");
        for other in ["KPFD0006.CSV", "soukatsu.pdf", "SHA256SUMS", "SHA256SUMS.sig"] {
            if other != last {
                batch +=
                    &format!("put {from}/{other} {to}/{other}.part\nrename {to}/{other}.part {to}/{other}\n");
            }
        }
        gateway.sftp(ACCOUNT, &batch).ends(0);
        assert_eq!(gateway.receipt(ACCOUNT, &set), None, "{last} is still {ending}");
        gateway.sftp(ACCOUNT, &format!("rename {to}/{last}.{ending} {to}/{last}\n")).ends(0);
        assert_eq!(gateway.receipt(ACCOUNT, &set).unwrap()["outcome"], "accepted", "{last}");
    }
}

#[test]
fn files_at_the_top_are_a_set_one_at_a_time() {
    let gateway = Gateway::new();
    for n in 0..3 {
        let set = unlike(&gateway, "", n);
        let from = gateway.lay_out(&set, ACCOUNT);
        let batch = format!("put {from}/* /submit/\nls -1 /submit\n");
        let ran = gateway.sftp(ACCOUNT, &batch).ends(0);
        assert!(
            !ran.out.lines().any(|line| line.starts_with("/submit/")),
            "claimed names are not listed: {}",
            ran.out
        );
        assert_eq!(gateway.receipt(ACCOUNT, &set).unwrap()["outcome"], "accepted");
    }
}

#[test]
fn whole_folders_with_times_and_rights_are_sent() {
    let gateway = Gateway::new();
    let set = unlike(&gateway, "", 1);
    let from = gateway.lay_out(&set, ACCOUNT);
    let ran = gateway.sftp(ACCOUNT, &format!("put -rp {from} /submit/\n")).ends(0);
    assert!(!ran.err.contains("fail") && !ran.err.contains("remote"), "{}", ran.err);
    assert_eq!(gateway.receipt(ACCOUNT, &set).unwrap()["outcome"], "accepted");
    let set = unlike(&gateway, "", 2);
    let from = gateway.lay_out(&set, ACCOUNT);
    let ran = gateway.sftp(ACCOUNT, &format!("put -p {from}/* /submit/\n")).ends(0);
    assert!(!ran.err.contains("fail") && !ran.err.contains("remote"), "{}", ran.err);
    assert_eq!(gateway.receipt(ACCOUNT, &set).unwrap()["outcome"], "accepted");
}

/// A PDF of about so many bytes.
fn large_pdf(bytes: usize) -> Vec<u8> {
    let mut content = PDF.to_vec();
    content.extend_from_slice(b"%");
    content.extend(support::content(bytes).iter().map(|b| b'a' + b % 26));
    content.extend_from_slice(b"\n%%EOF\n");
    content
}

/// The size of a file as `ls -l` shows it.
fn size_of(gateway: &Gateway, path: &str) -> u64 {
    let ran = gateway.sftp(ACCOUNT, &format!("ls -l {path}\n"));
    let line = ran.out.lines().find(|line| line.starts_with("--w"));
    line.map_or(0, |line| line.split_whitespace().nth(4).unwrap().parse().unwrap())
}

#[test]
fn a_cut_upload_goes_on_with_reput() {
    let gateway = Gateway::new();
    let large = large_pdf(3_000_000);
    let set = Set::of(
        "",
        vec![("KPFD0006.CSV", gateway.filing(3)), ("soukatsu.pdf", PDF.to_vec()), ("b.pdf", large.clone())],
    );
    let from = gateway.lay_out(&set, ACCOUNT);
    let mut cut = gateway.session(ACCOUNT, ACCOUNT, &["-l", "4000"]);
    cut.does("mkdir /submit/n");
    cut.tell(&format!("put {from}/b.pdf /submit/n/"));
    until("a part has arrived", || size_of(&gateway, "/submit/n/b.pdf") > 100_000);
    cut.cut();
    let part = size_of(&gateway, "/submit/n/b.pdf");
    assert!(part < large.len() as u64, "{part}");
    let others = format!(
        "put {from}/KPFD0006.CSV /submit/n/\nput {from}/soukatsu.pdf /submit/n/\nput {from}/SHA* /submit/n/\n"
    );
    gateway.sftp(ACCOUNT, &others).ends(0);
    assert_eq!(gateway.receipt(ACCOUNT, &set), None, "a file that was cut is not there");
    gateway.sftp(ACCOUNT, &format!("reput {from}/b.pdf /submit/n/b.pdf\n")).ends(0);
    assert_eq!(gateway.receipt(ACCOUNT, &set).unwrap()["outcome"], "accepted");
}

#[test]
fn the_next_file_of_the_same_name_never_meets_the_one_being_checked() {
    let scanner = FakeScanner::start(Mood::Slow);
    let gateway = Gateway::with(&[
        ("scanner", "address", &scanner.setting()),
        ("submit", "verdict_wait_seconds", "100"),
    ]);
    let (one, two) = (unlike(&gateway, "", 1), unlike(&gateway, "", 2));
    let (from_one, from_two) = (gateway.lay_out(&one, ACCOUNT), gateway.lay_out(&two, ACCOUNT));
    let mut first = gateway.session(ACCOUNT, ACCOUNT, &[]);
    first.tell(&format!("put {from_one}/* /submit/"));
    until("the first is being checked", || scanner.asked() > 0);
    // Another connection of the same login: the names are free already.
    let mut second = gateway.session(ACCOUNT, ACCOUNT, &[]);
    second.does(&format!("put {from_two}/KPFD0006.CSV /submit/\nput {from_two}/soukatsu.pdf /submit/\nput {from_two}/SHA256SUMS /submit/\nls -1 /submit"));
    assert!(second.output().contains("KPFD0006.CSV"), "{}", second.output());
    second.tell(&format!("put {from_two}/SHA256SUMS.sig /submit/"));
    assert_eq!(gateway.receipt(ACCOUNT, &one), None);
    scanner.set(Mood::Well);
    first.ends().ends(0);
    second.ends().ends(0);
    for set in [&one, &two] {
        let receipt = gateway.receipt(ACCOUNT, set).unwrap();
        assert_eq!(receipt["outcome"], "accepted", "{receipt:#}");
        gateway.reaches(&number(&receipt), "published");
        let folder = gateway.insurer_spool().join("new").join(number(&receipt));
        assert_eq!(fs::read(folder.join("cover.pdf")).unwrap(), set.files[1].1);
    }
}

#[test]
fn leftovers_that_differ_count_as_missing_and_those_that_agree_as_there() {
    let mut gateway = Gateway::new();
    let set = unlike(&gateway, "", 1);
    let from = gateway.lay_out(&set, ACCOUNT);
    let to = "/submit/n";
    gateway.make("old/KPFD0006.CSV", gateway.filing(2));
    let fresh =
        "SHA256SUMS SHA256SUMS.sig".split(' ').map(|f| format!("put {from}/{f} {to}/\n")).collect::<String>();

    // One that differs: nothing is refused, nothing is complete.
    gateway
        .sftp(ACCOUNT, &format!("mkdir {to}\nput old/KPFD0006.CSV {to}/\nput {from}/soukatsu.pdf {to}/\n"))
        .ends(0);
    let ran = gateway.sftp(ACCOUNT, &fresh).ends(0);
    assert!(!ran.err.contains("UPLOAD"), "{}", ran.err);
    assert_eq!(gateway.receipt(ACCOUNT, &set), None);
    assert_eq!(gateway.ask(&["submission", "list"]).as_array().unwrap().len(), 0);
    // The one that was meant, in yet another session, completes it.
    gateway.sftp(ACCOUNT, &format!("put {from}/KPFD0006.CSV {to}/\n")).ends(0);
    assert_eq!(gateway.receipt(ACCOUNT, &set).unwrap()["outcome"], "accepted");

    // Those that agree count as there, also over a crash of the daemon.
    let set = unlike(&gateway, "", 2);
    let from = gateway.lay_out(&set, ACCOUNT);
    let ran = format!("mkdir {to}\nput {from}/KPFD0006.CSV {to}/\nput {from}/SHA256SUMS {to}/\n");
    gateway.sftp(ACCOUNT, &ran).ends(0);
    gateway.kill();
    gateway.start();
    let ran = gateway.sftp(ACCOUNT, &format!("ls -1 {to}\n")).ends(0);
    assert!(ran.out.contains("KPFD0006.CSV") && ran.out.contains("SHA256SUMS"), "{}", ran.out);
    gateway
        .sftp(ACCOUNT, &format!("put {from}/soukatsu.pdf {to}/\nput {from}/SHA256SUMS.sig {to}/\n"))
        .ends(0);
    assert_eq!(gateway.receipt(ACCOUNT, &set).unwrap()["outcome"], "accepted");

    // And one that differs over a stop of the daemon.
    let set = unlike(&gateway, "", 3);
    let from = gateway.lay_out(&set, ACCOUNT);
    gateway
        .sftp(ACCOUNT, &format!("mkdir {to}\nput old/KPFD0006.CSV {to}/\nput {from}/soukatsu.pdf {to}/\n"))
        .ends(0);
    gateway.stop();
    gateway.start();
    gateway.sftp(ACCOUNT, &format!("put {from}/SHA256SUMS {to}/\nput {from}/SHA256SUMS.sig {to}/\n")).ends(0);
    assert_eq!(gateway.receipt(ACCOUNT, &set), None);
    gateway.sftp(ACCOUNT, &format!("put {from}/KPFD0006.CSV {to}/\n")).ends(0);
    assert_eq!(gateway.receipt(ACCOUNT, &set).unwrap()["outcome"], "accepted");
}

#[test]
fn a_file_of_this_session_that_differs_refuses_the_set() {
    let gateway = Gateway::new();
    let mut set = unlike(&gateway, "", 1);
    set.files[1].1 = pdf(99);
    let ran = gateway.send(ACCOUNT, &set).ends(1);
    assert!(ran.err.contains("UPLOAD-HASH ") && ran.err.contains("soukatsu.pdf"), "{}", ran.err);
    let receipt = gateway.receipt(ACCOUNT, &set).unwrap();
    assert_eq!(
        (&receipt["outcome"], &receipt["stages"]["upload"]["verdict"]),
        (&"refused".into(), &"fail".into())
    );
    assert_eq!(receipt["stages"]["format"]["verdict"], "not_run");
}

#[test]
fn files_that_the_manifest_does_not_name_are_said_and_change_nothing() {
    let gateway = Gateway::new();
    let set = unlike(&gateway, "", 1);
    let from = gateway.lay_out(&set, ACCOUNT);
    gateway.make(&format!("{from}/memo.txt"), "x");
    let to = format!("/submit/{}", set.sha256());
    let ran = gateway
        .sftp(ACCOUNT, &format!("mkdir {to}\nput {from}/memo.txt {to}/\n{}", set.batch(&from)))
        .ends(1);
    assert!(ran.err.contains("SET-EXTRA-FILES ") && ran.err.contains("memo.txt"), "{}", ran.err);
    assert_eq!(gateway.receipt(ACCOUNT, &set), None);
    assert_eq!(gateway.ask(&["submission", "list"]).as_array().unwrap().len(), 0);
    // As the message says.
    gateway.sftp(ACCOUNT, &format!("rm {to}/memo.txt\nput {from}/SHA256SUMS.sig {to}/\n")).ends(0);
    assert_eq!(gateway.receipt(ACCOUNT, &set).unwrap()["outcome"], "accepted");
}

#[test]
fn exit_status_0_does_not_mean_complete() {
    let gateway = Gateway::new();
    let set = unlike(&gateway, "", 1);
    let from = gateway.lay_out(&set, ACCOUNT);
    let get = format!("get /receipts/by-manifest/{}.json\n", set.sha256());
    gateway.sftp(ACCOUNT, &format!("put {from}/KPFD0006.CSV /submit/\nput {from}/SHA* /submit/\n")).ends(0);
    gateway.sftp(ACCOUNT, &get).ends(1);
    let put = format!("put {from}/soukatsu.pdf /submit/\n{get}");
    gateway.sftp(ACCOUNT, &put).ends(0);
}

#[test]
fn a_refusal_is_said_with_code_and_text_and_leaves_a_receipt_with_findings() {
    let mut gateway = Gateway::set_up(&[]);
    gateway.start_inside();
    let mark = "9Z8Y7X6W";
    let broken = String::from_utf8_lossy(&gateway.filing(1)).into_owned();
    let mut filing = gateway.filing(1);
    // The first line loses its last field.
    let end = filing.iter().position(|b| *b == b'\r').unwrap();
    filing.remove(end - 1);
    assert_ne!(broken.len(), filing.len());
    let cover = [PDF, format!("% {mark}\n%%EOF\n").as_bytes()].concat();
    let set = Set::of("# id: A-1\n", vec![("KPFD0006.CSV", filing), ("soukatsu.pdf", cover)]);
    let ran = gateway.send(ACCOUNT, &set).ends(1);
    let said =
        ran.err.lines().find(|line| line.starts_with("KPFD-MEDIA ")).unwrap_or_else(|| panic!("{}", ran.err));
    assert!(said.contains("KPFD0006.CSV") && said.contains("受付番号"), "{said}");

    let receipt = gateway.receipt(ACCOUNT, &set).unwrap();
    assert_eq!(receipt["outcome"], "refused");
    assert_eq!(receipt["stages"]["format"]["verdict"], "fail");
    assert_eq!(receipt["findings"][0]["rule"], "KPFD-MEDIA");
    let refused = number(&receipt);
    verifies(&gateway, ACCOUNT, &format!("{refused}.json"));
    let csv = String::from_utf8(gateway.get(ACCOUNT, &format!("/receipts/{refused}.findings.csv")).unwrap())
        .unwrap();
    assert!(csv.starts_with('\u{feff}') && csv.contains("KPFD-MEDIA"), "{csv}");
    let html =
        String::from_utf8(gateway.get(ACCOUNT, &format!("/receipts/{refused}.findings.html")).unwrap())
            .unwrap();
    assert!(html.contains("KPFD-MEDIA") && html.contains(&refused), "{html}");
    // The insurer sees nothing of it.
    assert_eq!(files_under(&gateway.insurer_spool().join("new")), Vec::<std::path::PathBuf>::new());
    assert_eq!(files_under(&gateway.insurer_spool().join(".tmp")), Vec::<std::path::PathBuf>::new());

    // Its id is free again; sent again it is judged anew, under a new number.
    gateway.send(ACCOUNT, &set).ends(1);
    let again = number(&gateway.receipt(ACCOUNT, &set).unwrap());
    assert_ne!(again, refused);
    let good = unlike(&gateway, "# id: A-1\n", 7);
    assert_eq!(gateway.send_taken(ACCOUNT, &good)["outcome"], "accepted");

    // Its bytes are erased after some days; the receipt stays.
    let holds = |gateway: &Gateway| {
        let blobs = files_under(&gateway.spool().join("blobs"));
        blobs
            .iter()
            .filter(|b| fs::read(b).unwrap().windows(mark.len()).any(|w| w == mark.as_bytes()))
            .count()
    };
    assert_eq!(holds(&gateway), 2);
    for _ in 0..8 {
        gateway.clock.forward(24 * 3_600_000);
    }
    let now = gateway.running().house().now();
    gateway.running().house().retention.step(now).unwrap();
    assert_eq!(holds(&gateway), 0);
    assert!(gateway.get(ACCOUNT, &format!("/receipts/{refused}.json")).is_some());
    gateway.stop();
}

#[test]
fn what_does_not_verify_is_not_numbered_and_stays() {
    let gateway = Gateway::set_up(&[]);
    gateway.add_account(
        "K0002",
        &["--office", OFFICE, "--second", "--user-name", "人事課", "--mail", "jinji@example.jp"],
    );
    let second = gateway.key("second").with_extension("pub");
    gateway.todoke(&["account", "key", "add", ACCOUNT, second.to_str().unwrap()]).ends(0);
    let mut gateway = gateway;
    gateway.start();
    let set = unlike(&gateway, "", 1);
    let from = gateway.lay_out(&set, ACCOUNT);
    let to = format!("/submit/{}", set.sha256());
    gateway.todoke(&["account", "key", "remove", ACCOUNT, &gateway.fingerprint("second")]).ends(0);
    let other = unlike(&gateway, "", 2);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("unregistered", gateway.sign(&set.manifest, "nobody", "todoke"), "SIGNATURE-OTHER-KEY "),
        ("of another account", gateway.sign(&set.manifest, "K0002", "todoke"), "SIGNATURE-OTHER-KEY "),
        ("revoked", gateway.sign(&set.manifest, "second", "todoke"), "SIGNATURE-OTHER-KEY "),
        ("other namespace", gateway.sign(&set.manifest, ACCOUNT, "file"), "SIGNATURE-NAMESPACE "),
        ("other bytes", gateway.sign(&other.manifest, ACCOUNT, "todoke"), "SIGNATURE-MISMATCH "),
        ("garbage", b"no signature at all\n".to_vec(), "SIGNATURE-ARMOR "),
        ("empty", Vec::new(), "SIGNATURE-ARMOR "),
        ("2 MiB", vec![b'x'; 2 << 20], "SIGNATURE-SIZE "),
    ];
    let mut batch = format!(
        "mkdir {to}\nput {from}/KPFD0006.CSV {to}/\nput {from}/soukatsu.pdf {to}/\nput {from}/SHA256SUMS {to}/\n"
    );
    for (what, signature, code) in &cases {
        gateway.make("sig", signature);
        let ran = gateway.sftp(ACCOUNT, &format!("{batch}put sig {to}/SHA256SUMS.sig\n")).ends(1);
        assert!(ran.err.contains(code), "{what}: {}", ran.err);
        assert_eq!(gateway.ask(&["submission", "list"]).as_array().unwrap().len(), 0, "{what}");
        let listed = gateway.sftp(ACCOUNT, &format!("ls -1 {to}\n")).ends(0).out;
        assert!(listed.contains("KPFD0006.CSV") && listed.contains("soukatsu.pdf"), "{what}: {listed}");
        batch.clear();
    }
    // A manifest that was changed after it was signed.
    gateway.make("changed", [&b"# comment: x\n"[..], &set.manifest].concat());
    gateway.make("sig", gateway.sign(&set.manifest, ACCOUNT, "todoke"));
    let ran = gateway
        .sftp(
            ACCOUNT,
            &format!("rm {to}/SHA256SUMS.sig\nput changed {to}/SHA256SUMS\nput sig {to}/SHA256SUMS.sig\n"),
        )
        .ends(1);
    assert!(ran.err.contains("SIGNATURE-MISMATCH "), "{}", ran.err);
    // All that is needed is what was wrong.
    gateway
        .sftp(
            ACCOUNT,
            &format!(
                "rm {to}/SHA256SUMS.sig\nput {from}/SHA256SUMS {to}/\nput {from}/SHA256SUMS.sig {to}/\n"
            ),
        )
        .ends(0);
    assert_eq!(gateway.receipt(ACCOUNT, &set).unwrap()["outcome"], "accepted");
    // Nor does a revoked key open the door.
    let ran = gateway.sftp_with(ACCOUNT, "second", &[], "ls\n");
    assert_ne!(ran.code, 0);
}
