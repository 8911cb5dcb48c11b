use std::process::Command;

use proptest::prelude::*;

use super::*;

const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn line(name: &str) -> String {
    format!("{HASH}  {name}\n")
}

#[track_caller]
fn refused(bytes: impl AsRef<[u8]>, code: &str, at: Option<usize>) -> ManifestError {
    let error = Manifest::parse(bytes.as_ref()).expect_err("it was taken");
    assert_eq!((error.code(), error.line), (code, at), "{}", error.text().en);
    let text = error.text();
    assert!(!text.ja.is_ascii() && !text.en.is_empty(), "{text:?}");
    error
}

#[test]
fn reads_every_key_and_every_way_to_write_a_line() {
    let text = format!(
        "# id: 2026-11 #1\n# to: 06139999\r\n# office: 1234\n#kind: filing\n# subject: 11月分: 資格取得\n# comment: 見本\n\
         # cover: 総括表.pdf\n# a free comment\n# colour: blue\n{HASH}  KPFD0006.CSV\r\n{} *総括表.pdf\n",
        HASH.to_uppercase()
    );
    let m = Manifest::parse(text.as_bytes()).unwrap();
    assert_eq!(m.id.unwrap().as_str(), "2026-11 #1");
    assert_eq!(m.to.unwrap().as_str(), "06139999");
    assert_eq!(m.office.unwrap().as_str(), "1234");
    assert_eq!(m.subject.as_deref(), Some("11月分: 資格取得"));
    assert_eq!(m.cover.unwrap().as_str(), "総括表.pdf");
    assert_eq!(m.files.len(), 2);
    assert_eq!(m.files[1].sha256, Digest::of(b""));
    assert_eq!(Manifest::parse(line("a").trim_end().as_bytes()).unwrap().files.len(), 1);
}

#[test]
fn a_withdrawal_has_no_files_and_all_else_has() {
    let number = Number { epoch: 1, serial: 123 };
    let m = Manifest::parse(format!("# withdraw: {number}\n").as_bytes()).unwrap();
    assert_eq!((m.withdraw, m.files.len()), (Some(number), 0));
    refused(format!("# withdraw: {number}\n{}", line("a")), "MANIFEST-WITHDRAW", None);
    refused("", "MANIFEST-EMPTY", None);
    refused("# id: 1\n\n", "MANIFEST-EMPTY", None);
}

#[test]
fn each_wrong_encoding_has_its_own_message() {
    let text = format!("# subject: 見本\n{}", line("KPFD0006.CSV"));
    let utf16: Vec<u16> = text.encode_utf16().collect();
    let le: Vec<u8> = utf16.iter().flat_map(|u| u.to_le_bytes()).collect();
    let be: Vec<u8> = utf16.iter().flat_map(|u| u.to_be_bytes()).collect();
    refused(&le, "MANIFEST-UTF16", None);
    refused(&be, "MANIFEST-UTF16", None);
    refused([b"\xff\xfe".as_slice(), &le].concat(), "MANIFEST-UTF16", None);
    refused([b"\xfe\xff".as_slice(), &be].concat(), "MANIFEST-UTF16", None);
    refused(format!("\u{feff}{text}"), "MANIFEST-BOM", None);
    let (cp932, _, _) = encoding_rs::SHIFT_JIS.encode(&text);
    refused(&cp932, "MANIFEST-CP932", Some(1));
    refused([text.as_bytes(), b"\xff\xff\xa0"].concat(), "MANIFEST-ENCODING", Some(3));
}

#[test]
fn names_that_trick_are_refused_by_line() {
    for name in ["../x", "/etc/passwd", "./a", "a/b", "..", "a\0b", "a\u{202e}b", "SHA256SUMS", " a", "a."] {
        refused(line("ok") + &line(name), "MANIFEST-NAME", Some(2));
    }
    refused(line(&"あ".repeat(67)), "MANIFEST-NAME", Some(1));
    refused(format!("\\{HASH}  a\\nb\n"), "MANIFEST-NAME", Some(1));
    refused(format!("\\{HASH}  a\\\\b\n"), "MANIFEST-NAME", Some(1));
    refused(format!("\\{HASH}  a\\xb\n"), "MANIFEST-LINE", Some(1));
    refused(line("KPFD0006.CSV") + &line("kpfd0006.csv"), "MANIFEST-DUPLICATE", Some(2));
    refused(line("が.pdf") + &line("か\u{3099}.pdf"), "MANIFEST-DUPLICATE", Some(2));
    let error = refused(line("\x1b[31mred"), "MANIFEST-NAME", Some(1));
    assert!(!error.text().ja.contains('\x1b'));
}

#[test]
fn other_lines_are_refused_with_advice() {
    let error = refused(format!("SHA256 (KPFD0006.CSV) = {HASH}\n"), "MANIFEST-BSD", Some(1));
    assert!(error.text().en.contains("--tag"));
    refused(format!("{}  a\n", &HASH[..32]), "MANIFEST-HASH", Some(1));
    refused(format!("{HASH} a\n"), "MANIFEST-LINE", Some(1));
    refused(format!("{HASH}0  a\n"), "MANIFEST-LINE", Some(1));
    refused("KPFD0006.CSV\n", "MANIFEST-LINE", Some(1));
    refused(format!("# id: 1\n# ID: 2\n{}", line("a")), "MANIFEST-KEY-TWICE", Some(2));
    for bad in [
        "id: a/b",
        "to: 0613",
        "office: 12345",
        "kind: both",
        "withdraw: 12",
        "cover: ../x",
        "subject: a\u{202e}",
    ] {
        refused(format!("# {bad}\n{}", line("a")), "MANIFEST-VALUE", Some(1));
    }
    refused(format!("# subject: {}\n", "x".repeat(101)), "MANIFEST-VALUE", Some(1));
    refused(format!("# cover: b.pdf\n{}", line("a")), "MANIFEST-COVER", Some(1));
}

#[test]
fn bounds_hold() {
    let many: String = (0..201).map(|i| line(&format!("f{i}"))).collect();
    refused(many, "MANIFEST-FILES", Some(201));
    refused("#".repeat(256 * 1024 + 1), "MANIFEST-SIZE", None);
}

#[test]
fn reads_what_coreutils_writes() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["KPFD0006.CSV", "総括表 1.pdf", "*star", "back\\slash"] {
        std::fs::write(dir.path().join(name), name).unwrap();
    }
    for mark in ["--text", "--binary"] {
        let run = |names: &[&str]| {
            let out =
                Command::new("sha256sum").arg(mark).args(names).current_dir(dir.path()).output().unwrap();
            assert!(out.status.success());
            out.stdout
        };
        let names = ["KPFD0006.CSV", "総括表 1.pdf", "*star"];
        let m = Manifest::parse(&run(&names)).unwrap();
        for (file, name) in m.files.iter().zip(names) {
            assert_eq!((file.name.as_str(), file.sha256), (name, Digest::of(name.as_bytes())));
        }
        refused(run(&["back\\slash"]), "MANIFEST-NAME", Some(1));
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Err(error) = Manifest::parse(&bytes) {
            prop_assert!(error.code().starts_with("MANIFEST-"));
            prop_assert!(!error.text().en.is_empty());
        }
    }

    #[test]
    fn no_text_panics_or_smuggles_a_path(name in "\\PC{0,40}") {
        if let Ok(m) = Manifest::parse(line(&name).as_bytes()) {
            for file in m.files {
                prop_assert!(!file.name.as_str().contains(['/', '\\', '\0', '\n']));
            }
        }
    }
}
