use std::collections::BTreeSet;

use chrono::NaiveDate;

use super::*;
use crate::filing::FormCount;
use crate::filing::calendar::Calendar;
use crate::filing::rules::CoverCsv;

fn now() -> NaiveDateTime {
    NaiveDate::from_ymd_opt(2026, 11, 23).unwrap().and_hms_opt(9, 0, 0).unwrap()
}

const SOUND: PdfFacts = PdfFacts { bytes: 9, begins: true, ends: true, encrypted: false };

fn file(name: &str) -> SetFile {
    let pdf = name.to_lowercase().ends_with(".pdf").then_some(SOUND);
    SetFile { name: FileName::parse(name).unwrap(), bytes: 9, pdf, cover_counts: None, other: None }
}

fn set(files: &[SetFile]) -> Set<'_> {
    Set { kind: Kind::Filing, subject: None, comment: None, cover: None, files }
}

fn ids(set: &Set<'_>, summary: Option<&Summary>, rules: &RuleSet) -> Vec<String> {
    let mut sink = Findings::default();
    check_set(set, summary, rules, now(), &mut sink);
    for finding in sink.listed() {
        assert!(!finding.message.ja.contains('{') && !finding.action.en.contains('{'), "{finding:?}");
    }
    sink.into_listed().into_iter().map(|finding| finding.rule).collect()
}

/// One case for each rule of the set: files, and how the set differs from a sound one.
#[test]
fn every_rule_of_a_set_has_a_passing_and_a_failing_case() {
    let rules = RuleSet::builtin().unwrap();
    let sound = [file("KPFD0006.CSV"), file("総括表.pdf"), file("遅延理由書.pdf")];
    assert_eq!(ids(&set(&sound), None, &rules), [""; 0]);
    let with = |change: &dyn Fn(&mut SetFile), at: usize| {
        let mut files = sound.to_vec();
        change(&mut files[at]);
        ids(&set(&files), None, &rules)
    };
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut one = |id: &str, found: Vec<String>| {
        assert_eq!(found, [id]);
        seen.insert(id.to_owned());
    };
    one("SET-COVER", ids(&set(&sound[..1]), None, &rules));
    one("SET-NO-FILING", ids(&set(&sound[1..]), None, &rules));
    one("KPFD-NAME", ids(&set(&[file("kpfd0006.csv"), sound[1].clone()]), None, &rules));
    one("KPFD-SHFD", ids(&set(&[file("SHFD0006.CSV"), sound[1].clone()]), None, &rules));
    one("KPFD-JKK", ids(&set(&[file("filing.JKK"), sound[1].clone()]), None, &rules));
    one("SET-NOT-PDF", with(&|f| f.pdf = Some(PdfFacts { begins: false, ..SOUND }), 2));
    one("SET-PDF-CUT", with(&|f| f.pdf = Some(PdfFacts { ends: false, ..SOUND }), 1));
    one("SET-PDF-ENCRYPTED", with(&|f| f.pdf = Some(PdfFacts { encrypted: true, ..SOUND }), 2));
    one("SET-EMPTY-FILE", with(&|f| f.bytes = 0, 2));
    one("SET-FILE-SIZE", with(&|f| f.bytes = 50_000_001, 2));
    one("SET-NUMBER-PDF", with(&|f| *f = file("個人番号届.pdf"), 2));
    for name in [
        "ﾏｲﾅﾝﾊﾞｰ.pdf",
        "My Number.pdf",
        "ＭＹ＿ＮＵＭＢＥＲ.pdf",
        "my-number.PDF",
        "個人 番号届.pdf",
        "個人　番号・届.pdf",
        "kojin_bangou.pdf",
    ] {
        one("SET-NUMBER-PDF", with(&|f| *f = file(name), 2));
    }
    // Not by calling it the cover sheet either, nor by sending it beside filings.
    one("SET-NUMBER-PDF", with(&|f| *f = file("総括表_個人番号届.pdf"), 1));
    let cover = FileName::parse("個人番号届.pdf").unwrap();
    let named = [sound[0].clone(), file("個人番号届.pdf")];
    one("SET-NUMBER-PDF", ids(&Set { cover: Some(&cover), ..set(&named) }, None, &rules));
    one("SET-ATTACHMENT-TYPE", with(&|f| *f = file("memo.docx"), 2));
    one("SET-CORRECTION", with(&|f| *f = file("訂正願.pdf"), 2));
    one("SET-CORRECTION", ids(&Set { subject: Some("取消の件"), ..set(&sound) }, None, &rules));
    one("SET-CORRECTION", ids(&Set { comment: Some("前回の訂正です"), ..set(&sound) }, None, &rules));
    one("SET-OTHER-FILING", ids(&Set { kind: Kind::Other, ..set(&sound) }, None, &rules));
    let other = |name: &str, bytes: &[u8]| {
        let other = Some(crate::filing::other::inspect_other(bytes).unwrap());
        SetFile { bytes: bytes.len() as u64, pdf: None, other, ..file(name) }
    };
    let of_other =
        |file: SetFile, rules: &RuleSet| ids(&Set { kind: Kind::Other, ..set(&[file]) }, None, rules);
    assert_eq!(of_other(other("memo.docx", b"PK\x03\x04 word/document.xml"), &rules), [""; 0]);
    assert_eq!(of_other(other("list.CSV", b"a,b\r\n"), &rules), [""; 0]);
    let filing = b"1234,001,20261123,,,,,\r\n[kanri]\r\n";
    one("SET-OTHER-FILING", of_other(other("list.csv", filing), &rules));
    one("SET-OTHER-FILING", of_other(other("SHFD0006.CSV", b"a,b\r\n"), &rules));
    one("SET-NUMBER-PDF", of_other(other("個人番号届.pdf", b"%PDF-1.7 %%EOF"), &rules));
    one("SET-OTHER-COVER", of_other(other("総括表.pdf", b"%PDF-1.7 %%EOF"), &rules));
    one("SET-OTHER-TYPE", of_other(other("setup.exe", b"MZ\x90\0"), &rules));
    one("SET-OTHER-TYPE", of_other(other("all.zip", b"PK\x03\x04"), &rules));
    one("SET-OTHER-CONTENT", of_other(other("photo.jpg", b"MZ\x90\0"), &rules));
    one(
        "SET-OTHER-MACROS",
        of_other(other("a.xlsx", b"PK\x03\x04 xl/workbook.xml xl/vbaProject.bin"), &rules),
    );
    one("SET-PDF-CUT", of_other(other("a.pdf", b"%PDF-1.7 half"), &rules));
    one("SET-EMPTY-FILE", of_other(other("a.txt", b""), &rules));
    let strict = "[other]\nsubject_required = true\ntypes = [\"pdf\"]\nbytes_max = 20\n";
    let strict = rules.for_insurer("t", strict).unwrap();
    one(
        "SET-OTHER-TYPE",
        ids(&Set { kind: Kind::Other, subject: Some("s"), ..set(&[other("a.txt", b"a")]) }, None, &strict),
    );
    one("SET-OTHER-SUBJECT", of_other(other("a.pdf", b"%PDF-1.7 %%EOF"), &strict));
    let large = other("a.pdf", b"%PDF-1.7 long enough %%EOF");
    one("SET-FILE-SIZE", ids(&Set { kind: Kind::Other, subject: Some("s"), ..set(&[large]) }, None, &strict));
    let closed = rules.for_insurer("t", "[other]\ntaken = false\n").unwrap();
    one("SET-OTHER-CLOSED", of_other(other("a.txt", b"a"), &closed));
    assert!(rules.for_insurer("t", "[other]\ntypes = [\"exe\"]\n").is_err());
    let many: Vec<_> = sound.iter().cloned().chain((0..50).map(|i| file(&format!("{i}.pdf")))).collect();
    one("SET-FILES", ids(&set(&many), None, &rules));
    let only_csv = rules.for_insurer("x", "[filing.cover]\ntypes = [\"csv\"]\n").unwrap();
    one("SET-COVER-TYPE", ids(&set(&sound), None, &only_csv));

    covers_in_csv(&rules, &mut one);

    let mut closed = rules.clone();
    closed.policy_mut().calendar = Some(Calendar::days(1, 10, Outside::Hold));
    one("SET-HELD", ids(&set(&sound), None, &closed));
    closed.policy_mut().calendar = Some(Calendar::days(1, 10, Outside::Refuse));
    one("SET-CLOSED", ids(&set(&sound), None, &closed));
    let earlier = Number { epoch: 1, serial: 7 };
    for (held, id) in [(false, "SET-REPEATED"), (true, "SET-REPEATED-HELD")] {
        let finding = repeated(&rules, (6, "2200700", None), earlier, held).unwrap();
        assert!(finding.message.ja.contains(&earlier.to_string()), "{finding:?}");
        one(id, vec![finding.rule]);
    }

    for rule in Rule::ALL {
        let here = rule.id().starts_with("SET-") || matches!(rule, Rule::Name | Rule::Shfd | Rule::WorkFile);
        assert!(!here || seen.contains(rule.id()), "{} has no case", rule.id());
    }
}

/// What a cover sheet in CSV counts against what the filing holds.
fn covers_in_csv(rules: &RuleSet, one: &mut dyn FnMut(&str, Vec<String>)) {
    let mut cover = file("soukatsu.csv");
    cover.cover_counts = Some([("2200700".to_owned(), Some(2)), ("2265700".to_owned(), None)].into());
    let mut files = [file("KPFD0006.CSV"), cover];
    let summary = |count| Summary {
        forms: vec![FormCount { code: "2200700".into(), name: Text::default(), count }],
        ..Summary::default()
    };
    assert_eq!(ids(&set(&files), Some(&summary(2)), rules), [""; 0]);
    one("SET-COVER-COUNTS", ids(&set(&files), Some(&summary(3)), rules));
    for unread in [CoverCounts::new(), [("2200700".to_owned(), None)].into()] {
        files[1].cover_counts = Some(unread);
        one("SET-COVER-UNREAD", ids(&set(&files), Some(&summary(3)), rules));
    }
    files[1].cover_counts = Some([("2265700".to_owned(), Some(1))].into());
    assert_eq!(ids(&set(&files), Some(&summary(3)), rules), ["SET-COVER-COUNTS"; 2]);
}

#[test]
fn roles_are_told_by_comment_or_name() {
    let rules = RuleSet::builtin().unwrap();
    let files = [file("a.pdf"), file("KPFD0006.CSV"), file("ＳＯＵＫＡＴＳＵ.pdf")];
    let expected = Roles { filing: Some(1), cover: Some(2), attachments: vec![0] };
    assert_eq!(roles_of(&set(&files), &rules), expected);
    let cover = FileName::parse("a.pdf").unwrap();
    let named = Set { cover: Some(&cover), ..set(&files) };
    assert_eq!(roles_of(&named, &rules), Roles { filing: Some(1), cover: Some(0), attachments: vec![2] });
    let mut held = rules.clone();
    held.policy_mut().calendar = Some(Calendar::days(1, 10, Outside::Hold));
    let verdict = check_set(&set(&files), None, &held, now(), &mut Findings::default());
    let opens = NaiveDate::from_ymd_opt(2026, 12, 1).and_then(|day| day.and_hms_opt(0, 0, 0));
    assert_eq!(verdict.held_until, opens);
}

#[test]
fn a_cover_sheet_in_csv_is_counted() {
    let text = "様式,件数\r\n2200700,３\r\n\"2200700\",\"2\"\r\n2265700,x\r\n合計,5\r\n";
    let expected = CoverCounts::from([("2200700".to_owned(), Some(5)), ("2265700".to_owned(), None)]);
    let cp932 = encoding_rs::SHIFT_JIS.encode(text).0;
    assert_eq!(cover_counts(&cp932[..], CoverCsv::default()).unwrap(), expected);
    assert_eq!(cover_counts(format!("\u{feff}{text}").as_bytes(), CoverCsv::default()).unwrap(), expected);
    let other = CoverCsv { form_column: 2, count_column: 3 };
    assert_eq!(
        cover_counts(&b"x,2200700,7"[..], other).unwrap(),
        CoverCounts::from([("2200700".to_owned(), Some(7))])
    );
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for unread in ["資格取得届,3\r\n".as_bytes(), b"", b"\xff\xfe\0garbage", &utf16] {
        assert_eq!(cover_counts(unread, CoverCsv::default()).unwrap(), CoverCounts::new());
    }
    let bare = cover_counts("2200700,1 件\r\n2201700,\r\n".as_bytes(), CoverCsv::default()).unwrap();
    assert_eq!(bare, CoverCounts::from([("2200700".to_owned(), None)]));
}

#[test]
fn a_draft_may_have_any_name_but_those_of_other_files() {
    let rules = RuleSet::builtin().unwrap();
    let said = |name: &str, rules: &RuleSet| {
        let mut sink = Findings::default();
        check_draft_name(&FileName::parse(name).unwrap(), rules, &mut sink);
        sink.into_listed().into_iter().map(|f| (f.rule, f.severity)).collect::<Vec<_>>()
    };
    for name in ["KPFD0006.CSV", "draft.csv", "11月分.csv"] {
        assert_eq!(said(name, &rules), [], "{name}");
    }
    let cases = [("KPFD0006 (1).CSV", "KPFD-NAME"), ("SHFD0006.CSV", "KPFD-SHFD"), ("a.JKK", "KPFD-JKK")];
    for (name, rule) in cases {
        assert_eq!(said(name, &rules), [(rule.to_owned(), Severity::Warning)], "{name}");
    }
    let off = rules.for_insurer("x", "[filing.severity]\nKPFD-NAME = \"off\"\n").unwrap();
    assert_eq!(said("KPFD0006 (1).CSV", &off), []);
}

#[test]
fn a_comment_is_quoted_without_individual_numbers() {
    let rules = RuleSet::builtin().unwrap();
    let files = [file("KPFD0006.CSV"), file("総括表.pdf")];
    let mut sink = Findings::default();
    let set = Set { comment: Some("訂正 1234-5678-9012"), ..set(&files) };
    check_set(&set, None, &rules, now(), &mut sink);
    let json = serde_json::to_string(sink.listed()).unwrap();
    assert!(json.contains("訂正") && !json.contains("5678"), "{json}");
}
