//! What a sender may do wrong, and what a stranger may try: each gets a clear error, changes nothing, and disturbs nobody.
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
use std::process::Command;

use support::gateway::{ACCOUNT, Gateway, INSURER_ACCOUNT, OFFICE, PDF, Ran, Set, files_under, until};
use todoke::model::ids::Digest;

const HOUR: i64 = 3_600_000;

fn pdf(n: usize) -> Vec<u8> {
    [PDF, format!("% {n}\n%%EOF\n").as_bytes()].concat()
}

fn unlike(gateway: &Gateway, head: &str, n: usize) -> Set {
    Set::of(head, vec![("KPFD0006.CSV", gateway.filing(3)), ("soukatsu.pdf", pdf(n))])
}

fn submissions(gateway: &Gateway) -> usize {
    gateway.ask(&["submission", "list"]).as_array().unwrap().len()
}

fn alarms(gateway: &Gateway) -> Vec<String> {
    let status = gateway.ask(&["status"]);
    status["alarms"].as_array().unwrap().iter().map(|a| a["code"].as_str().unwrap().to_owned()).collect()
}

/// Everything that an insurer sees.
fn insurers(gateway: &Gateway) -> Vec<std::path::PathBuf> {
    let folders = ["new", "cur", "done", "failed", ".tmp"];
    folders.iter().flat_map(|f| files_under(&gateway.insurer_spool().join(f))).collect()
}

/// Files under a folder that hold these bytes.
fn holders(folder: &Path, bytes: &[u8]) -> usize {
    let holds = |file: &std::path::PathBuf| memchr::memmem::find(&fs::read(file).unwrap(), bytes).is_some();
    files_under(folder).iter().filter(|file| holds(file)).count()
}

#[test]
fn manifests_that_cannot_be_used_are_said_by_name() {
    let mut gateway = Gateway::new();
    let mut other = gateway.session(INSURER_ACCOUNT, INSURER_ACCOUNT, &[]);
    other.does("ls /");
    let hash = Digest::of(b"x").to_string();
    let line = |name: &str| format!("{hash}  {name}\n").into_bytes();
    let utf16 = |text: &[u8]| -> Vec<u8> {
        let text = String::from_utf8(text.to_vec()).unwrap();
        [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect()
    };
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a folder above", line("../x"), "MANIFEST-NAME"),
        ("absolute", line("/etc/passwd"), "MANIFEST-NAME"),
        ("with a folder", line("a/b"), "MANIFEST-NAME"),
        ("with a Windows folder", format!("\\{hash}  a\\\\b\n").into_bytes(), "MANIFEST-NAME"),
        ("no name", format!("{hash}  \n").into_bytes(), "MANIFEST-"),
        ("two dots", line(".."), "MANIFEST-NAME"),
        ("twice", [line("a"), line("a")].concat(), "MANIFEST-DUPLICATE"),
        ("but for case", [line("a.pdf"), line("A.PDF")].concat(), "MANIFEST-DUPLICATE"),
        ("but for normalisation", [line("ガ"), line("カ\u{3099}")].concat(), "MANIFEST-DUPLICATE"),
        ("NUL", line("a\0b"), "MANIFEST-NAME"),
        ("an escape", line("a\u{1b}[2Jb"), "MANIFEST-NAME"),
        ("a line feed", format!("\\{hash}  a\\nb\n").into_bytes(), "MANIFEST-NAME"),
        ("overlong", line(&"a".repeat(201)), "MANIFEST-NAME"),
        ("the manifest itself", line("SHA256SUMS"), "MANIFEST-NAME"),
        ("not UTF-8", [hash.as_bytes(), b"  a\xff\xfe\xfd\n"].concat(), "MANIFEST-ENCODING"),
        ("CP932", [hash.as_bytes(), b"  \x93\xcd\x8f\x6f.pdf\n"].concat(), "MANIFEST-CP932"),
        ("UTF-16", utf16(&line("a")), "MANIFEST-UTF16"),
        ("a BOM", [b"\xef\xbb\xbf".to_vec(), line("a")].concat(), "MANIFEST-BOM"),
        ("nothing", Vec::new(), "MANIFEST-EMPTY"),
        ("md5", b"d41d8cd98f00b204e9800998ecf8427e  a\n".to_vec(), "MANIFEST-HASH"),
        ("no manifest at all", b"hello\n".to_vec(), "MANIFEST-LINE"),
        ("too large", vec![b'#'; 300_000], "MANIFEST-SIZE"),
        ("too many files", (0..201).flat_map(|n| line(&n.to_string())).collect(), "MANIFEST-FILES"),
        ("a wrong value", [b"# to: nobody\n".to_vec(), line("a")].concat(), "MANIFEST-VALUE"),
        (
            "a withdrawal with files",
            [b"# withdraw: 1-000001-2\n".to_vec(), line("a")].concat(),
            "MANIFEST-WITHDRAW",
        ),
        ("a cover that is not there", [b"# cover: b\n".to_vec(), line("a")].concat(), "MANIFEST-COVER"),
    ];
    for (what, manifest, code) in cases {
        gateway.make("SHA256SUMS", &manifest);
        let ran = gateway.sftp(ACCOUNT, "put SHA256SUMS /submit/\n");
        assert_eq!(ran.code, 1, "{what}: {}", ran.err);
        assert!(ran.err.lines().any(|line| line.starts_with(code)), "{what}: {}", ran.err);
        assert!(!ran.err.contains('\u{1b}'), "{what}: an escape reached the terminal");
    }
    assert_eq!(submissions(&gateway), 0);
    assert!(gateway.is_alive());
    other.does("ls /new");
    other.ends().ends(0);
    // And then a sound one, over what was left.
    gateway.sftp(ACCOUNT, "rm /submit/SHA256SUMS\n").ends(0);
    let set = unlike(&gateway, "", 1);
    assert_eq!(gateway.send_taken(ACCOUNT, &set)["outcome"], "accepted");
}

#[test]
fn filings_and_attachments_that_are_not_are_refused_with_findings() {
    let mut gateway = Gateway::new();
    let good = gateway.filing(2);
    let text = encoding(&good);
    let replaced =
        |from: &str, to: &str| encoding_rs::SHIFT_JIS.encode(&text.replacen(from, to, 1)).0.into_owned();
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let other_office = encoding_rs::SHIFT_JIS.encode(&text.replace("1234", "9999")).0.into_owned();
    let encrypted = b"%PDF-1.4\ntrailer<</Encrypt 5 0 R>>\n%%EOF\n".to_vec();
    let with = |filing: &[u8], more: Vec<(&str, Vec<u8>)>| {
        let mut files = vec![("KPFD0006.CSV", filing.to_vec()), ("soukatsu.pdf", PDF.to_vec())];
        files.extend(more);
        Set::of("", files)
    };
    let cases: Vec<(&str, Set, &str)> = vec![
        ("0 bytes", with(b"", vec![]), "KPFD-EMPTY"),
        ("a BOM", with(&[b"\xef\xbb\xbf".to_vec(), good.clone()].concat(), vec![]), "KPFD-BOM"),
        ("UTF-16", with(&utf16, vec![]), "KPFD-"),
        ("one field less", with(&replaced("[kanri]", "[kanri],"), vec![]), "KPFD-"),
        ("no cover sheet", Set::of("", vec![("KPFD0006.CSV", good.clone())]), "SET-COVER"),
        ("no filing", Set::of("", vec![("soukatsu.pdf", PDF.to_vec())]), "SET-NO-FILING"),
        ("a PDF that is none", with(&good, vec![("a.pdf", b"MZ\x90".to_vec())]), "SET-NOT-PDF"),
        ("a cut PDF", with(&good, vec![("a.pdf", b"%PDF-1.4\n1 0 obj".to_vec())]), "SET-PDF-CUT"),
        ("an encrypted PDF", with(&good, vec![("a.pdf", encrypted)]), "SET-PDF-ENCRYPTED"),
        ("an empty attachment", with(&good, vec![("a.pdf", Vec::new())]), "SET-EMPTY-FILE"),
        ("a program", with(&good, vec![("a.exe", b"MZ".to_vec())]), "SET-ATTACHMENT-TYPE"),
        ("of another office", with(&other_office, vec![]), "KPFD-OFFICE-FOREIGN"),
        (
            "other files for another office",
            Set::of("# kind: other\n# office: 5678\n", vec![("a.pdf", PDF.to_vec())]),
            "ROUTE-OFFICE",
        ),
        (
            "another office named",
            Set {
                manifest: [&b"# office: 5678\n"[..], &with(&good, vec![]).manifest].concat(),
                ..with(&good, vec![])
            },
            "KPFD-OFFICE-MISMATCH",
        ),
        (
            "another insurer",
            Set {
                manifest: [&b"# to: 06130001\n"[..], &with(&good, vec![]).manifest].concat(),
                ..with(&good, vec![])
            },
            "ROUTE-INSURER",
        ),
    ];
    let count = cases.len();
    for (what, set, code) in cases {
        let ran = gateway.send(ACCOUNT, &set);
        assert_eq!(ran.code, 1, "{what}: {}", ran.err);
        let receipt =
            gateway.receipt(ACCOUNT, &set).unwrap_or_else(|| panic!("{what}: no receipt: {}", ran.err));
        assert_eq!(receipt["outcome"], "refused", "{what}");
        let rules: Vec<&str> =
            receipt["findings"].as_array().unwrap().iter().map(|f| f["rule"].as_str().unwrap()).collect();
        assert!(rules.iter().any(|rule| rule.starts_with(code)), "{what}: {rules:?}");
        assert!(
            ran.err.contains(rules[0]) || rules.iter().any(|r| ran.err.contains(r)),
            "{what}: {}",
            ran.err
        );
    }
    assert_eq!(submissions(&gateway), count);
    assert_eq!(insurers(&gateway), Vec::<std::path::PathBuf>::new());
    // LF alone is a warning only.
    let lf: Vec<u8> = gateway.filing(2).iter().copied().filter(|b| *b != b'\r').collect();
    let receipt = gateway.send_taken(ACCOUNT, &with(&lf, vec![]));
    assert_eq!(
        (&receipt["outcome"], &receipt["findings"][0]["rule"]),
        (&"accepted".into(), &"KPFD-LF".into())
    );
    // So is a prefecture of three digits: one source alone says how long it is, and an insurer may make it an error.
    let receipt = gateway.send_taken(ACCOUNT, &with(&prefecture(&encoding(&gateway.filing(2))), vec![]));
    let rule = receipt["findings"][0]["rule"].as_str().unwrap();
    assert!(rule.contains("PREFECTURE") && receipt["findings"][0]["severity"] == "warning", "{rule}");
    assert!(gateway.is_alive());
}

fn encoding(bytes: &[u8]) -> String {
    encoding_rs::SHIFT_JIS.decode(bytes).0.into_owned()
}

/// The first data record's prefecture gets one digit more.
fn prefecture(text: &str) -> Vec<u8> {
    let text = text.replacen("2200700,", "2200700,1", 1);
    encoding_rs::SHIFT_JIS.encode(&text).0.into_owned()
}

#[test]
fn no_folder_can_be_turned_to_another_use() {
    let mut gateway = Gateway::new();
    let set = unlike(&gateway, "", 1);
    let number = gateway.send_taken(ACCOUNT, &set)["number"].as_str().unwrap().to_owned();
    gateway.reaches(&number, "published");
    gateway.make("x", "x");
    gateway.sftp(ACCOUNT, "mkdir /submit/n\nput x /submit/n/x\nput x /submit/top\n").ends(0);
    let document = gateway.make("d.pdf", PDF);
    let order = [
        "deliver",
        "--insurer",
        "06139999",
        "--account",
        ACCOUNT,
        "--type",
        "納入告知書",
        "--title",
        "2026年11月分",
    ];
    gateway.todoke(&[&order[..], &[document.to_str().unwrap()]].concat()).ends(0);
    until("its mail is sealed", || gateway.ask(&["mail", "list"]).as_array().unwrap().len() == 1);
    // Index, journal and who logged in last are written all the time; all else stands still.
    let still = |gateway: &Gateway| -> Vec<std::path::PathBuf> {
        let own = ["index", "journal", "credentials"].map(|f| gateway.spool().join(f));
        gateway.tree().into_iter().filter(|file| !own.iter().any(|folder| file.starts_with(folder))).collect()
    };
    let before = still(&gateway);
    for (command, code) in [
        ("get /submit/n/x", "SUBMIT-NO-READ-BACK"),
        ("get /submit/top", "SUBMIT-NO-READ-BACK"),
        ("put x /outbox/x", "OUTBOX-READ-ONLY"),
        ("put x /outbox/1234/x", ""),
        ("put x /receipts/x", "READ-ONLY"),
        ("put x /receipts/by-id/x", "READ-ONLY"),
        ("put x /history/sent.csv", "READ-ONLY"),
        ("put x /x", ""),
        ("put x /submit/n/m/x", "SUBMIT-DEPTH"),
        ("put x /submit/../outbox/x", "OUTBOX-READ-ONLY"),
        ("put x /../../etc/x", ""),
        ("mkdir /x", ""),
        ("mkdir /outbox/x", "OUTBOX-READ-ONLY"),
        ("mkdir /outbox/1234/x", ""),
        ("mkdir /receipts/x", "READ-ONLY"),
        ("mkdir /history/x", ""),
        ("mkdir /submit/n/m", "SUBMIT-DEPTH"),
        ("mkdir /submit/top", ""),
        ("rmdir /submit", ""),
        ("rmdir /submit/n", ""),
        ("rmdir /outbox/1234", "OUTBOX-READ-ONLY"),
        ("rmdir /receipts", ""),
        ("rm /receipts/*.json", "READ-ONLY"),
        ("rm /outbox/1234/*", "OUTBOX-READ-ONLY"),
        ("rm /history/sent.csv", "READ-ONLY"),
        ("rename /submit/n/x /outbox/1234/x", ""),
        ("rename /submit/n/x /receipts/x", "READ-ONLY"),
        ("rename /submit/n/x /submit/m/x", ""),
        ("rename /submit/n /submit/m", ""),
        ("rename /submit /x", ""),
        ("rename /receipts/allowed_signers /submit/x", "READ-ONLY"),
        ("rename /submit/n/x /submit/n/y/z", "SUBMIT-DEPTH"),
        ("symlink /etc/passwd /submit/n/l", ""),
        ("symlink /submit/n/x /submit/l", ""),
        ("ln /submit/n/x /submit/n/y", ""),
        ("chmod 777 /receipts/allowed_signers", "READ-ONLY"),
        ("get /receipts/../../keys/receipt_ed25519_key", ""),
        ("get /keys/receipt_ed25519_key", ""),
        ("get /etc/passwd", ""),
        ("get /outbox/9999/x", ""),
    ] {
        let ran = gateway.sftp(ACCOUNT, &format!("{command}\n"));
        assert_ne!(ran.code, 0, "{command}");
        assert!(ran.err.contains(code), "{command}: {}", ran.err);
    }
    assert_eq!(still(&gateway), before, "nothing changed");
    let listed = gateway.sftp(ACCOUNT, "ls -1 /submit\nls -1 /submit/n\nls -1 /outbox/1234\n").ends(0).out;
    assert!(listed.contains("/submit/top") && listed.contains("/submit/n/x"), "{listed}");
    assert!(gateway.is_alive());
}

#[test]
fn names_that_cannot_be_are_refused_at_the_open() {
    let gateway = Gateway::new();
    gateway.make("x", "x");
    for name in ["a\u{202e}b", " a", "a.", &"あ".repeat(80)] {
        let ran = gateway.sftp(ACCOUNT, &format!("put x \"/submit/{name}\"\n"));
        assert_ne!(ran.code, 0, "{name:?}");
        assert!(ran.err.contains("NAME ") || ran.err.contains("PATH-"), "{name:?}: {}", ran.err);
        let ran = gateway.sftp(ACCOUNT, &format!("mkdir \"/submit/{name}\"\n"));
        assert_ne!(ran.code, 0, "{name:?}");
    }
    assert_eq!(gateway.sftp(ACCOUNT, "ls -1 /submit\n").ends(0).out.matches("/submit/").count(), 0);
}

#[test]
fn formulas_and_escapes_reach_neither_spreadsheet_nor_terminal() {
    let gateway = Gateway::set_up(&[]);
    let mut gateway = gateway;
    gateway.start();
    // What a manifest can carry: a formula as subject, comment, id and file name.
    let head = "# id: =1+1\n# subject: =HYPERLINK(\"http://example.jp\")\n# comment: @SUM(A1)\n";
    let set = Set::of(
        head,
        vec![("KPFD0006.CSV", gateway.filing(1)), ("soukatsu.pdf", pdf(1)), ("=cmd.pdf", b"none".to_vec())],
    );
    let ran = gateway.send(ACCOUNT, &set).ends(1);
    assert!(ran.err.contains("SET-NOT-PDF "), "{}", ran.err);
    let number = gateway.receipt(ACCOUNT, &set).unwrap()["number"].as_str().unwrap().to_owned();
    let history = String::from_utf8(gateway.get(ACCOUNT, "/history/sent.csv").unwrap()).unwrap();
    let findings =
        String::from_utf8(gateway.get(ACCOUNT, &format!("/receipts/{number}.findings.csv")).unwrap())
            .unwrap();
    assert!(history.starts_with('\u{feff}') && history.contains("HYPERLINK") && findings.contains("cmd.pdf"));
    for csv in [&history, &findings] {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(csv.trim_start_matches('\u{feff}').as_bytes());
        for record in reader.records() {
            for cell in &record.unwrap() {
                assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "a formula: {cell}");
            }
        }
    }
    // Escapes are no text.
    let set = Set::of(
        "# subject: a\u{1b}[31mred\n",
        vec![("KPFD0006.CSV", gateway.filing(1)), ("soukatsu.pdf", pdf(2))],
    );
    let ran = gateway.send(ACCOUNT, &set).ends(1);
    assert!(ran.err.contains("MANIFEST-VALUE ") && !ran.err.contains('\u{1b}'), "{}", ran.err.escape_debug());
    let shown = gateway.todoke(&["submission", "show", &number]).ends(0);
    assert!(!shown.out.contains('\u{1b}'));
    assert!(gateway.is_alive());
}

#[test]
fn private_keys_are_never_stored_and_the_operator_is_told() {
    let gateway = Gateway::new();
    let make = |command: &str| {
        let ran = Command::new("sh").args(["-c", command]).current_dir(gateway.work()).output().unwrap();
        Ran::of(&ran).ends(0);
    };
    make("ssh-keygen -q -t ed25519 -N '' -C mark-openssh -f id_openssh");
    make("ssh-keygen -q -t rsa -b 2048 -m PEM -N '' -f id_pem");
    make("ssh-keygen -q -t ecdsa -m PKCS8 -N '' -f id_pkcs8");
    make("openssl pkcs8 -topk8 -in id_pkcs8 -passout pass:x -out id_encrypted");
    make("openssl pkcs8 -topk8 -nocrypt -in id_pkcs8 -outform DER -out id_der");
    make(
        "openssl req -x509 -key id_pkcs8 -subj /CN=x -days 1 -out cert.pem && openssl pkcs12 -export -inkey id_pkcs8 -in cert.pem -passout pass:x -out id.p12",
    );
    make("printf 'PuTTY-User-Key-File-3: ssh-ed25519\\nEncryption: none\\n' > id.ppk");
    make("{ printf 'a note before it\\n'; cat id_openssh; } > noted");
    let kinds = ["id_openssh", "id_pem", "id_pkcs8", "id_encrypted", "id_der", "id.p12", "id.ppk", "noted"];
    for kind in kinds {
        let secret = fs::read(gateway.work().join(kind)).unwrap();
        for to in ["attachment.pdf", "SHA256SUMS.sig", "KPFD0006.CSV"] {
            let ran = gateway.sftp(ACCOUNT, &format!("put {kind} /submit/{to}\n"));
            assert_ne!(ran.code, 0, "{kind}");
            assert!(ran.err.contains("KEY-EXPOSED "), "{kind}: {}", ran.err);
        }
        // In pieces of ten bytes, then cut: no close ever asks.
        let mut cut = gateway.session(ACCOUNT, ACCOUNT, &["-B", "10", "-R", "1"]);
        cut.does(&format!("-put {kind} /submit/pieces.pdf"));
        cut.cut();
        // Not its beginning: the gateway's own keys begin so too.
        let part = &secret[secret.len() * 2 / 3..][..12];
        assert_eq!(holders(&gateway.spool(), part), 0, "{kind} is stored");
    }
    assert!(alarms(&gateway).contains(&"KEY-EXPOSED".to_owned()), "{:?}", alarms(&gateway));
    let status = gateway.todoke(&["status"]).ends(0);
    assert!(status.out.contains("KEY-EXPOSED") && status.out.contains(ACCOUNT), "{}", status.out);
    assert_eq!(gateway.sftp(ACCOUNT, "ls -1 /submit\n").ends(0).out.matches("/submit/").count(), 0);
    // A public key is no secret.
    gateway.sftp(ACCOUNT, "put id_openssh.pub /submit/key.txt\n").ends(0);
}

#[test]
fn one_account_cannot_fill_the_disk_or_the_folders() {
    let gateway = Gateway::set_up(&[
        ("submit", "file_bytes_max", "100000"),
        ("submit", "account_bytes_max", "250000"),
        ("submit", "account_files_max", "6"),
        ("submit", "account_folders_max", "2"),
    ]);
    gateway.add_account(
        "K0002",
        &["--office", OFFICE, "--second", "--user-name", "人事課", "--mail", "jinji@example.jp"],
    );
    let mut gateway = gateway;
    gateway.start();
    gateway.make("large", vec![b'x'; 100_001]);
    gateway.make("most", vec![b'x'; 100_000]);
    gateway.make("small", "x");
    let says = |batch: &str, code: &str| {
        let ran = gateway.sftp(ACCOUNT, batch);
        assert_ne!(ran.code, 0, "{batch}");
        assert!(ran.err.contains(code), "{batch}: {}", ran.err);
    };
    says("put large /submit/a\n", "QUOTA-FILE-SIZE ");
    gateway.sftp(ACCOUNT, "put most /submit/a\nput most /submit/b\n").ends(0);
    says("put most /submit/c\n", "QUOTA-BYTES ");
    gateway
        .sftp(ACCOUNT, "put small /submit/c\nput small /submit/d\nput small /submit/e\nput small /submit/f\n")
        .ends(0);
    says("put small /submit/g\n", "QUOTA-FILES ");
    // Over one that is there goes on.
    gateway.sftp(ACCOUNT, "put small /submit/f\nmkdir /submit/1\nmkdir /submit/2\n").ends(0);
    says("mkdir /submit/3\n", "QUOTA-FOLDERS ");
    // Another account has room of its own.
    gateway.sftp("K0002", "put most /submit/a\nmkdir /submit/1\n").ends(0);
    // Room that is freed can be used; after a restart the count is the same.
    gateway.sftp(ACCOUNT, "rm /submit/a\nrm /submit/b\nput most /submit/a\n").ends(0);
    gateway.kill();
    gateway.start();
    let ran = gateway.sftp(ACCOUNT, "put most /submit/g\nput most /submit/h\n");
    assert!(ran.code != 0 && ran.err.contains("QUOTA-"), "{}", ran.err);
    // A full disk is said to everybody, and is no fault.
    gateway.stop();
    gateway.configure(&[("submit", "free_bytes_min", "9000000000000000000")]);
    gateway.start();
    let ran = gateway.sftp("K0002", "put small /submit/b\n");
    assert!(ran.code != 0 && ran.err.contains("DISK-LOW "), "{}", ran.err);
    assert!(alarms(&gateway).contains(&"DISK-LOW".to_owned()));
}

#[test]
fn refusals_have_a_rate_that_ends() {
    let mut gateway = Gateway::set_up(&[("submit", "refusals_per_hour_max", "3")]);
    gateway.start_inside();
    let bad = |n: usize| Set::of("", vec![("KPFD0006.CSV", b"none".to_vec()), ("soukatsu.pdf", pdf(n))]);
    for n in 0..3 {
        let ran = gateway.send(ACCOUNT, &bad(n)).ends(1);
        assert!(ran.err.contains("KPFD-"), "{}", ran.err);
    }
    let good = unlike(&gateway, "", 9);
    for _ in 0..5 {
        let ran = gateway.send(ACCOUNT, &good).ends(1);
        assert!(ran.err.contains("REFUSAL-RATE ") && ran.err.contains("SHA256SUMS.sig を"), "{}", ran.err);
    }
    // Who signs by CMS is told to send that again.
    let by_cms = unlike(&gateway, "", 10);
    let from = gateway.lay_out(&by_cms, ACCOUNT);
    let file = |name: &str| gateway.work().join(&from).join(name);
    fs::copy(file("SHA256SUMS.sig"), file("SHA256SUMS.p7s")).unwrap();
    let ran = gateway.sftp(ACCOUNT, &by_cms.batch(&from).replace("SHA256SUMS.sig", "SHA256SUMS.p7s")).ends(1);
    assert!(ran.err.contains("REFUSAL-RATE ") && ran.err.contains("SHA256SUMS.p7s を"), "{}", ran.err);
    assert_eq!(submissions(&gateway), 3, "what is over the rate is not numbered");
    assert!(alarms(&gateway).contains(&"REFUSAL-RATE".to_owned()));
    // Its files stay: an hour later the signature is enough, and trying meanwhile did not make the hour longer.
    gateway.clock.forward(HOUR + 1000);
    let from = gateway.lay_out(&good, ACCOUNT);
    gateway.sftp(ACCOUNT, &format!("put {from}/SHA256SUMS.sig /submit/{}/\n", good.sha256())).ends(0);
    assert_eq!(gateway.receipt(ACCOUNT, &good).unwrap()["outcome"], "accepted");
    gateway.stop();
}

#[test]
fn unfinished_sets_are_swept_with_a_word_in_history_and_by_mail() {
    let mut gateway = Gateway::set_up(&[("submit", "unfinished_hours", "48")]);
    gateway.start_inside();
    let set = unlike(&gateway, "", 1);
    let from = gateway.lay_out(&set, ACCOUNT);
    gateway
        .sftp(
            ACCOUNT,
            &format!(
                "mkdir /submit/n\nput {from}/KPFD0006.CSV /submit/n/\nput {from}/soukatsu.pdf /submit/\n"
            ),
        )
        .ends(0);
    let whole = unlike(&gateway, "", 2);
    assert_eq!(gateway.send_taken(ACCOUNT, &whole)["outcome"], "accepted");
    gateway.clock.forward(47 * HOUR);
    todoke::daemon::sweep(gateway.running().house(), gateway.running().house().now()).unwrap();
    assert!(gateway.sftp(ACCOUNT, "ls -1 /submit/n\n").ends(0).out.contains("KPFD0006.CSV"));
    gateway.clock.forward(2 * HOUR);
    let now = gateway.running().house().now();
    todoke::daemon::sweep(gateway.running().house(), now).unwrap();
    assert_ne!(gateway.sftp(ACCOUNT, "ls -1 /submit/n\n").code, 0);
    assert_eq!(gateway.sftp(ACCOUNT, "ls -1 /submit\n").ends(0).out.matches("/submit/").count(), 0);
    let mails = gateway.ask(&["mail", "list"]);
    assert_eq!(mails.as_array().unwrap().len(), 1);
    assert!(mails[0]["about"].to_string().contains("swept"), "{mails}");
    let history = String::from_utf8(gateway.get(ACCOUNT, "/history/sent.csv").unwrap()).unwrap();
    let rows: Vec<&str> = history.lines().filter(|line| line.contains("未完成")).collect();
    assert_eq!(rows.len(), 1, "{history}");
    assert!(rows[0].contains(",2,"), "the number of files: {}", rows[0]);
    // What was accepted is as it was, and its bytes are there.
    assert_eq!(gateway.receipt(ACCOUNT, &whole).unwrap()["outcome"], "accepted");
    gateway.stop();
}

#[test]
fn one_login_at_a_time_for_people_and_connections_of_one_key_are_one() {
    let gateway = Gateway::set_up(&[]);
    let second = gateway.key("second").with_extension("pub");
    gateway.todoke(&["account", "key", "add", ACCOUNT, second.to_str().unwrap()]).ends(0);
    gateway.add_account(
        "M0001",
        &["--machine", "--office", OFFICE, "--second", "--user-name", "給与", "--mail", "kyuyo@example.jp"],
    );
    let mut gateway = gateway;
    gateway.start();
    let mut first = gateway.session(ACCOUNT, ACCOUNT, &[]);
    first.does("ls /");
    // The same key from the same address joins.
    let mut joined = gateway.session(ACCOUNT, ACCOUNT, &[]);
    joined.does("ls /");
    // From elsewhere, or with another key, it is told who is there.
    for ran in [
        gateway.sftp_with(ACCOUNT, ACCOUNT, &["-o", "BindAddress=127.0.0.2"], "ls /\n"),
        gateway.sftp_with(ACCOUNT, "second", &[], "ls /\n"),
    ] {
        assert_ne!(ran.code, 0);
        assert!(ran.err.contains("LOGIN-ELSEWHERE ") && ran.err.contains("127.0.0.1"), "{}", ran.err);
    }
    first.does("ls /submit");
    first.ends().ends(0);
    // One connection of the login is left: the login is.
    let ran = gateway.sftp_with(ACCOUNT, "second", &[], "ls /\n");
    assert_ne!(ran.code, 0);
    joined.ends().ends(0);
    until("the login is over", || gateway.sftp_with(ACCOUNT, "second", &[], "ls /\n").code == 0);
    // A machine has its own limit.
    let mut machine = gateway.session("M0001", "M0001", &[]);
    machine.does("ls /");
    gateway.sftp_with("M0001", "M0001", &["-o", "BindAddress=127.0.0.2"], "ls /\n").ends(0);
    machine.ends().ends(0);
}
