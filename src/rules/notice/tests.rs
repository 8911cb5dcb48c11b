#![allow(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use expect_test::{Expect, expect};

use chrono::NaiveDate;

use super::words::COLUMNS;
use super::*;
use crate::model::document::Reading;
use crate::model::finding::{Finding, Severity, Text};
use crate::model::ids::Number;
use crate::model::time::DAY;

fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == name).unwrap()
}

const OFFICE: &str = "株式会社見本工業";
const INSURER: &str = "東京見本健康保険組合";
const CONTACT: &str = "東京見本健康保険組合 適用課\n電話 03-0000-0000";

fn date(y: i32, m: u32, d: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(y, m, d).unwrap()
}

fn to() -> Addressed {
    Addressed { office_name: OFFICE.into(), insurer_name: INSURER.into(), contact: CONTACT.into() }
}

fn part() -> ArrivalPart {
    ArrivalPart {
        office_name: OFFICE.into(),
        insurer_name: INSURER.into(),
        account: "K0001".into(),
        counts: vec![("納入告知書".into(), 1), ("決定通知書".into(), 2)],
        last_day: date(2027, 2, 1),
        contact: CONTACT.into(),
        folder: "/outbox/1234/".into(),
    }
}

fn arrival() -> ArrivalNotice {
    ArrivalNotice { parts: vec![part()] }
}

fn refusal() -> RefusalNotice {
    let reason = |code: &str, count, ja: &str, en: &str| RefusalReason {
        code: code.into(),
        count,
        action: Text::new(ja, en),
    };
    RefusalNotice {
        to: to(),
        number: Number { epoch: 1, serial: 123 },
        reasons: vec![
            reason(
                "KPFD-FIELD-COUNT",
                12,
                "届書作成プログラムまたは給与ソフトで作り直してください。表計算ソフトで開いて保存すると、項目の数が変わることがあります。",
                "Make the file again with the filing program or the payroll software. Opening and saving it in a spreadsheet can change the number of fields.",
            ),
            reason("SET-COVER-MISSING", 1, "総括表を添付してください。", "Attach the cover sheet (総括表)."),
        ],
        findings_file: "/receipts/1-000123-6.findings.csv".into(),
    }
}

fn swept() -> SweptNotice {
    SweptNotice { to: to(), files: 3, days: 7, sent_on: date(2026, 11, 23) }
}

fn recall(fetched: Reading) -> RecallNotice {
    RecallNotice {
        to: to(),
        kind: "納入告知書".into(),
        file: "2026-11_納入告知書_D1-000123-3.pdf".into(),
        placed_on: date(2026, 11, 23),
        fetched,
    }
}

fn check(notice: &dyn Notice, language: Language, expected: &Expect) {
    let rendered = Templates::builtin().unwrap().render(notice, language);
    expected.assert_eq(&format!("{}\n---\n{}", rendered.subject, rendered.body));
}

#[test]
fn arrival_in_both_languages() {
    check(
        &arrival(),
        Language::Ja,
        &expect![[r#"
            株式会社見本工業 様: 東京見本健康保険組合 文書3件 2月1日まで
            ---
            株式会社見本工業 御中

            次の文書が届いています。

            ■ 株式会社見本工業
              東京見本健康保険組合から
              ・納入告知書  1件
              ・決定通知書  2件
              受け取る場所  /outbox/1234/
              受け取り期限  2027年2月1日(月)まで

            期限を過ぎた文書は自動的に削除されます。
            期限までに受信し、保存してください。

            このメールは送信専用です。お問い合わせ先:
            東京見本健康保険組合 適用課
            電話 03-0000-0000
        "#]],
    );
    check(
        &arrival(),
        Language::En,
        &expect![[r#"
            株式会社見本工業: 東京見本健康保険組合 3 document(s) until 1 Feb
            ---
            To 株式会社見本工業

            These documents have arrived:

            * 株式会社見本工業
              from 東京見本健康保険組合
              - 納入告知書: 1
              - 決定通知書: 2
              Where       /outbox/1234/
              Last day    Mon 1 February 2027

            After the last day they are deleted automatically.
            Please fetch and keep them before.

            This mailbox is not read. Please ask:
            東京見本健康保険組合 適用課
            電話 03-0000-0000
        "#]],
    );
}

#[test]
fn refusal_in_both_languages() {
    check(
        &refusal(),
        Language::Ja,
        &expect![[r#"
            株式会社見本工業 様: 受付番号 1-000123-6 は不受理です (東京見本健康保険組合)
            ---
            株式会社見本工業 御中

            東京見本健康保険組合あての送信(受付番号 1-000123-6)は、
            次の理由により受理されませんでした。
            内容は東京見本健康保険組合に渡っていません。
            直してから、もう一度お送りください。

              KPFD-FIELD-COUNT (12か所)
                届書作成プログラムまたは給与ソフトで作り直してください。
                表計算ソフトで開いて保存すると、項目の数が変わることがあります。
              SET-COVER-MISSING
                総括表を添付してください。

            くわしい内容(行と項目)は、次のファイルにあります。
              /receipts/1-000123-6.findings.csv

            このメールは送信専用です。お問い合わせの際は、
            受付番号をお知らせください。お問い合わせ先:
            東京見本健康保険組合 適用課
            電話 03-0000-0000
        "#]],
    );
    check(
        &refusal(),
        Language::En,
        &expect![[r#"
            株式会社見本工業: submission 1-000123-6 was refused (東京見本健康保険組合)
            ---
            To 株式会社見本工業

            Your submission 1-000123-6 to 東京見本健康保険組合 was refused
            for these reasons. It has not reached 東京見本健康保険組合.
            Please correct it and send it again.

              KPFD-FIELD-COUNT (12 times)
                Make the file again with the filing program or the payroll
                software. Opening and saving it in a spreadsheet can change the
                number of fields.
              SET-COVER-MISSING
                Attach the cover sheet (総括表).

            Lines and fields are named in this file:
              /receipts/1-000123-6.findings.csv

            This mailbox is not read. Please have the number at hand
            when you ask:
            東京見本健康保険組合 適用課
            電話 03-0000-0000
        "#]],
    );
}

#[test]
fn swept_in_both_languages() {
    check(
        &swept(),
        Language::Ja,
        &expect![[r#"
            株式会社見本工業 様: 未完了の送信を削除しました (東京見本健康保険組合)
            ---
            株式会社見本工業 御中

            2026年11月23日(月)に東京見本健康保険組合あてに送られた
            ファイル 3個は、7日待ってもすべてがそろわなかったため、
            削除しました。受け付けられたものはありません。

            給与システムなどから、もう一度、すべてを送信してください。
            目録(SHA256SUMS)、その署名、目録に書かれたファイルがそろうと
            受け付けられ、受付票が /receipts/ にできます。

            このメールは送信専用です。お問い合わせ先:
            東京見本健康保険組合 適用課
            電話 03-0000-0000
        "#]],
    );
    check(
        &swept(),
        Language::En,
        &expect![[r#"
            株式会社見本工業: unfinished files were removed (東京見本健康保険組合)
            ---
            To 株式会社見本工業

            3 file(s) that were sent for 東京見本健康保険組合 on Mon 23 November
            2026 have been removed: after 7 day(s) the set was still
            incomplete. Nothing of it counts as filed.

            Please send all of it again from your payroll system. The set is
            taken when the manifest (SHA256SUMS), its signature and every file
            it names are there; then a receipt appears in /receipts/.

            This mailbox is not read. Please ask:
            東京見本健康保険組合 適用課
            電話 03-0000-0000
        "#]],
    );
}

#[test]
fn recall_says_whether_it_was_fetched() {
    check(
        &recall(Reading::Not),
        Language::Ja,
        &expect![[r#"
            株式会社見本工業 様: 文書の取り消し(誤配信) (東京見本健康保険組合)
            ---
            株式会社見本工業 御中

            2026年11月23日(月)に東京見本健康保険組合からお届けした次の文書は、
            誤って配信されたものでした。お詫びいたします。
            文書は取り消され、受け取る場所から削除されています。

              2026-11_納入告知書_D1-000123-3.pdf

            この文書は受信される前に取り消されました。お手続きは必要ありません。

            このメールは送信専用です。お問い合わせ先:
            東京見本健康保険組合 適用課
            電話 03-0000-0000
        "#]],
    );
    check(
        &recall(Reading::Whole),
        Language::Ja,
        &expect![[r#"
            株式会社見本工業 様: 文書の取り消し(誤配信) (東京見本健康保険組合)
            ---
            株式会社見本工業 御中

            2026年11月23日(月)に東京見本健康保険組合からお届けした次の文書は、
            誤って配信されたものでした。お詫びいたします。
            文書は取り消され、受け取る場所から削除されています。

              2026-11_納入告知書_D1-000123-3.pdf

            この文書はすでに受信されています。保存した控えや印刷したものがあれば、
            内容を見ずに削除・破棄し、下記の窓口へご連絡ください。

            このメールは送信専用です。お問い合わせ先:
            東京見本健康保険組合 適用課
            電話 03-0000-0000
        "#]],
    );
    check(
        &recall(Reading::Whole),
        Language::En,
        &expect![[r#"
            株式会社見本工業: a document was recalled (東京見本健康保険組合)
            ---
            To 株式会社見本工業

            This document from 東京見本健康保険組合, placed on Mon 23 November
            2026, had been sent to you by mistake. We apologise.
            It has been recalled and is no longer in your outbox.

              2026-11_納入告知書_D1-000123-3.pdf

            This document had been fetched. If you kept or printed a copy,
            delete and destroy it without reading it, and tell the contact
            below.

            This mailbox is not read. Please ask:
            東京見本健康保険組合 適用課
            電話 03-0000-0000
        "#]],
    );
}

#[test]
fn alarm_is_english() {
    let alarm = AlarmNotice {
        code: "SCANNER-PATTERNS-STALE".into(),
        host: "gateway.example.jp".into(),
        at: Timestamp(1_795_392_000_000),
        summary: "virus patterns are 9 days old; 3 are allowed".into(),
        details: vec![
            "Scanner: ClamAV 1.4.6/27001 at unix:/run/clamav/clamd.ctl".into(),
            "Submissions are still taken and scanned. See whether freshclam runs and reaches its mirror (systemctl status clamav-freshclam).".into(),
        ],
    };
    let rendered = render_alarm(&alarm);
    expect![[r#"
        [todoke] gateway.example.jp: SCANNER-PATTERNS-STALE: virus patterns are 9 days old; 3 are allowed
        ---
        SCANNER-PATTERNS-STALE
        virus patterns are 9 days old; 3 are allowed

        Host:  gateway.example.jp
        Since: 2026-11-23T00:00:00.000Z

        Scanner: ClamAV 1.4.6/27001 at unix:/run/clamav/clamd.ctl
        Submissions are still taken and scanned. See whether freshclam runs
        and reaches its mirror (systemctl status clamav-freshclam).

        `todoke status` and `todoke doctor` show what is so now.
    "#]]
    .assert_eq(&format!("{}\n---\n{}", rendered.subject, rendered.body));
}

#[test]
fn names_cannot_break_out_of_their_line() {
    let nasty = "見本\r\nBcc: everybody@example.jp\r\n\r\nhello\u{202e}gpj\u{200b}{insurer}\u{2028}x";
    let nasty_part = ArrivalPart {
        office_name: nasty.into(),
        insurer_name: nasty.into(),
        account: nasty.into(),
        counts: vec![(nasty.into(), 1)],
        folder: nasty.into(),
        contact: nasty.into(),
        ..part()
    };
    let notice = ArrivalNotice { parts: vec![nasty_part] };
    let rendered = Templates::builtin().unwrap().render(&notice, Language::Ja);
    assert!(
        !rendered.subject.contains(['\r', '\n', '\u{202e}', '\u{200b}', '\u{2028}']),
        "{:?}",
        rendered.subject
    );
    assert!(
        rendered.subject.contains("{insurer}"),
        "a value is not looked at for places: {}",
        rendered.subject
    );
    assert!(!rendered.body.contains(['\r', '\u{202e}', '\u{200b}', '\u{2028}']));

    let letter = Letter {
        from_name: "todoke\r\nBcc: a@example.jp",
        from: "no-reply@gateway.example.jp",
        to: "soumu@example.jp",
        message_id: "M1-000001-2.x@gateway.example.jp",
        at: Timestamp(0),
        languages: &[Language::Ja],
    };
    let bytes = String::from_utf8(compose(&letter, &rendered, None).unwrap()).unwrap();
    let (head, _) = bytes.split_once("\r\n\r\n").unwrap();
    let mut names: Vec<&str> =
        head.split("\r\n").filter(|l| !l.starts_with(' ')).map(|l| l.split(':').next().unwrap()).collect();
    names.sort_unstable();
    let expected = [
        "Auto-Submitted",
        "Content-Language",
        "Content-Transfer-Encoding",
        "Content-Type",
        "Date",
        "From",
        "MIME-Version",
        "Message-ID",
        "Subject",
        "To",
        "X-Auto-Response-Suppress",
    ];
    assert_eq!(names, expected, "{head}");
}

#[test]
fn letters_are_the_same_every_time_and_fit_the_wire() {
    let texts = Templates::builtin().unwrap();
    let letter = Letter {
        from_name: "届け",
        from: "no-reply@gateway.example.jp",
        to: "soumu@example.jp",
        message_id: "M1-000001-2.9f3c@gateway.example.jp",
        at: Timestamp(1_795_392_000_000),
        languages: &[Language::Ja],
    };
    let long_part =
        ArrivalPart { office_name: "長".repeat(300), counts: vec![("種".repeat(50), 1); 200], ..part() };
    let long = ArrivalNotice { parts: vec![long_part; 40] };
    for language in [Language::Ja, Language::En] {
        let notices: [Box<dyn Notice>; 5] = [
            Box::new(arrival()),
            Box::new(long.clone()),
            Box::new(refusal()),
            Box::new(swept()),
            Box::new(recall(Reading::Whole)),
        ];
        for notice in notices {
            let rendered = texts.render(notice.as_ref(), language);
            let letter = Letter { languages: &[language], ..letter.clone() };
            let bytes = compose(&letter, &rendered, None).unwrap();
            assert_eq!(bytes, compose(&letter, &rendered, None).unwrap());
            assert!(bytes.is_ascii() && !bytes.windows(2).any(|w| w[1] == b'\n' && w[0] != b'\r'));
            assert!(
                bytes.split(|b| *b == b'\n').all(|l| l.len() <= 79),
                "{}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }
    let rendered = texts.render(&long, Language::Ja);
    assert!(rendered.body.contains("ほか170種類") && rendered.body.contains("…"));
}

#[test]
fn letters_refuse_addresses_and_ids_that_would_break_headers() {
    let good = Letter {
        from_name: "",
        from: "no-reply@gateway.example.jp",
        to: "soumu@example.jp",
        message_id: "a@b",
        at: Timestamp(0),
        languages: &[Language::En],
    };
    let text = Rendered { subject: "x".into(), body: "y\n".into() };
    assert!(compose(&good, &text, None).is_ok());
    for to in [
        "",
        "soumu",
        "a@example.jp\r\nBcc: b@example.jp",
        "a@example.jp, b@example.jp",
        "Soumu <a@example.jp>",
        "総務@example.jp",
        "a b@example.jp",
    ] {
        let error = compose(&Letter { to, ..good.clone() }, &text, None).unwrap_err();
        assert_eq!(error, LetterError::Address("recipient's"), "{to}");
        assert!(!error.to_string().contains("example"), "an address is not repeated");
    }
    for message_id in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b>\r\nX: y", &"x".repeat(251)] {
        assert!(matches!(
            compose(&Letter { message_id, ..good.clone() }, &text, None),
            Err(LetterError::MessageId(_))
        ));
    }
}

#[test]
fn texts_are_checked_when_they_are_loaded() {
    let mut texts = Templates::builtin().unwrap();
    let good = kind("swept").default_text;
    let mut check = |from: &str, to: &str, expected: &str| {
        assert!(good.contains(from), "{from}");
        let error =
            texts.set(kind("swept"), "conf/notices/swept.toml", &good.replacen(from, to, 1)).unwrap_err();
        let told = error.to_string();
        assert!(told.starts_with("conf/notices/swept.toml: ") && told.contains(expected), "{told}");
    };
    check(
        "{office}: unfinished",
        "unfinished",
        "en.subject: {office} is missing; allowed here are {office} {insurer}",
    );
    check(
        "{sent_on}に",
        "{sent_at}に",
        "ja.body: {sent_at} is not known; allowed here are {office} {insurer} {files}",
    );
    check("{sent_on}に", "", "ja.body: {sent_on} is missing");
    check("({insurer})\"", "({contact})\"", "ja.subject: {contact} is not known");
    check("{office} 御中", "{office 御中", "ja.body: {office 御中");
    check("{office} 御中", "{office} } 御中", "a } stands alone");
    check("subject = ", "subjekt = ", "toml: ");
    check("[en]", "[fr]", "toml: ");
    check("\"{office} 様", "\"{office} \\n様", "ja.subject: must be one line");
    check(
        "送信専用",
        "送信専用送信専用送信専用送信専用送信専用送信専用送信専用送信専用",
        "ja.body: line 11 takes 97 columns",
    );
    check("御中", "\\u001b[2J", "ja.body: holds a control character");

    let braces = good.replacen("御中", "{{御中}}", 1);
    texts.set(kind("swept"), "x", &braces).unwrap();
    assert!(texts.render(&swept(), Language::Ja).body.contains("見本工業 {御中}"));
}

#[test]
fn no_mail_holds_a_link() {
    let good = kind("swept").default_text;
    let mut texts = Templates::builtin().unwrap();
    for link in ["https://example.jp/", "WWW.example.jp", "mailto:soumu", "<a href"] {
        for place in ["このメール", "様: "] {
            let text = good.replacen(place, &format!("{place} {link}"), 1);
            let told = texts.set(kind("swept"), "x", &text).unwrap_err().to_string();
            assert!(told.contains("the beginning of a link"), "{told}");
        }
    }
}

/// A subject that takes fewer is shown whole in a window of usual width; names longer than the sample's take what they take.
const SUBJECT_COLUMNS: usize = 78;

#[test]
fn every_kind_is_complete() {
    let readme = include_str!("../../../conf/notices/README.md");
    let texts = Templates::builtin().unwrap();
    let mut names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    assert!(names.is_sorted(), "{names:?}");
    names.dedup();
    assert_eq!(names.len(), KINDS.len());
    let mut wide = Vec::new();
    for kind in KINDS {
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{}`", kind.file_name())));
        let row = row.unwrap_or_else(|| panic!("conf/notices/README.md has no row for {}", kind.name));
        for place in &kind.places()[1] {
            assert!(row.contains(&format!("`{{{place}}}`")), "{place} is not in the row of {}", kind.name);
        }
        for language in [Language::Ja, Language::En] {
            let values = (kind.sample)(language);
            for place in &kind.places()[1] {
                assert!(
                    *place == "more" || !values.get(place).is_empty(),
                    "{}: no sample of {place}",
                    kind.name
                );
            }
            let text = texts.preview(kind, language);
            for line in text.body.lines() {
                assert!(line.chars().map(words::width).sum::<usize>() <= COLUMNS, "{}: {line}", kind.name);
            }
            let columns = text.subject.chars().map(words::width).sum::<usize>();
            if columns >= SUBJECT_COLUMNS {
                wide.push(format!("{}: {columns} columns: {}", kind.name, text.subject));
            }
            assert!(!text.subject.contains(['{', '}']) && !text.body.contains(['{', '}']), "{}", kind.name);
        }
    }
    assert!(wide.is_empty(), "{wide:#?}");
}

#[test]
fn a_shared_mailbox_gets_one_mail_for_all() {
    let parts = vec![
        part(),
        ArrivalPart {
            office_name: "見本商事株式会社".into(),
            account: "K0002".into(),
            counts: vec![("納入告知書".into(), 4)],
            last_day: date(2027, 1, 20),
            folder: "/outbox/5678/".into(),
            ..part()
        },
        ArrivalPart {
            office_name: "見本運輸株式会社".into(),
            insurer_name: "大阪見本健康保険組合".into(),
            contact: "大阪見本健康保険組合".into(),
            ..part()
        },
    ];
    let notice = ArrivalNotice { parts };
    check(
        &notice,
        Language::Ja,
        &expect![[r#"
            株式会社見本工業 様 ほか2事業所: 東京見本健康保険組合ほか1組合 文書10件 1月20日まで
            ---
            株式会社見本工業 御中 ほか2事業所

            次の文書が届いています。

            ■ 株式会社見本工業
              東京見本健康保険組合から  (アカウント K0001)
              ・納入告知書  1件
              ・決定通知書  2件
              受け取る場所  /outbox/1234/
              受け取り期限  2027年2月1日(月)まで

            ■ 見本商事株式会社
              東京見本健康保険組合から  (アカウント K0002)
              ・納入告知書  4件
              受け取る場所  /outbox/5678/
              受け取り期限  2027年1月20日(水)まで

            ■ 見本運輸株式会社
              大阪見本健康保険組合から  (アカウント K0001)
              ・納入告知書  1件
              ・決定通知書  2件
              受け取る場所  /outbox/1234/
              受け取り期限  2027年2月1日(月)まで

            期限を過ぎた文書は自動的に削除されます。
            期限までに受信し、保存してください。

            このメールは送信専用です。お問い合わせ先:
            東京見本健康保険組合 適用課
            電話 03-0000-0000
            大阪見本健康保険組合
        "#]],
    );
    check(
        &notice,
        Language::En,
        &expect![[r#"
            株式会社見本工業 and 2 more: 東京見本健康保険組合 and 1 more 10 document(s) until 20 Jan
            ---
            To 株式会社見本工業 and 2 more

            These documents have arrived:

            * 株式会社見本工業
              from 東京見本健康保険組合  (account K0001)
              - 納入告知書: 1
              - 決定通知書: 2
              Where       /outbox/1234/
              Last day    Mon 1 February 2027

            * 見本商事株式会社
              from 東京見本健康保険組合  (account K0002)
              - 納入告知書: 4
              Where       /outbox/5678/
              Last day    Wed 20 January 2027

            * 見本運輸株式会社
              from 大阪見本健康保険組合  (account K0001)
              - 納入告知書: 1
              - 決定通知書: 2
              Where       /outbox/1234/
              Last day    Mon 1 February 2027

            After the last day they are deleted automatically.
            Please fetch and keep them before.

            This mailbox is not read. Please ask:
            東京見本健康保険組合 適用課
            電話 03-0000-0000
            大阪見本健康保険組合
        "#]],
    );
}

#[test]
fn the_last_day_is_over_before_the_document_goes() {
    let tokyo = chrono_tz::Asia::Tokyo;
    let midnight = Timestamp(1_801_407_600_000); // 2027-02-01T00:00:00+09:00
    assert_eq!(last_day(midnight, tokyo), date(2027, 1, 31));
    assert_eq!(last_day(midnight.plus(DAY - 1), tokyo), date(2027, 1, 31));
    assert_eq!(last_day(midnight.plus(-1), tokyo), date(2027, 1, 30));
}

#[test]
fn findings_are_summed_up_without_values() {
    let finding = |rule: &str, severity| Finding {
        severity,
        rule: rule.into(),
        file: Some("KPFD0006.CSV".into()),
        line: Some(6),
        form: None,
        field: None,
        field_name: None,
        insured: Some("4711".into()),
        value: Some("secret".into()),
        column: None,
        message: Text::new("氏名", "name"),
        action: Text::new("直す", "fix"),
    };
    let findings = [
        finding("B", Severity::Error),
        finding("W", Severity::Warning),
        finding("A", Severity::Error),
        finding("B", Severity::Error),
    ];
    let reasons = summarise(&findings);
    let codes: Vec<_> = reasons.iter().map(|r| (r.code.as_str(), r.count)).collect();
    assert_eq!(codes, [("B", 2), ("A", 1)]);
    assert!(!format!("{reasons:?}").contains("secret"));
}

#[test]
fn lines_fold_where_readers_expect_it() {
    let columns = |line: &str| line.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum::<usize>();
    for text in [
        "あいうえお、かきくけこ。".repeat(20),
        "a word and another word ".repeat(20),
        "KPFD0006.CSVを開いて、mixed言語のtextを直してください。".repeat(10),
    ] {
        let folded = fold(&text, 4);
        for (at, line) in folded.lines().enumerate() {
            assert!(columns(line) + if at == 0 { 4 } else { 0 } <= COLUMNS, "{line}");
            assert!(!line.trim_start().starts_with(['、', '。']), "{line}");
        }
        let joined: String =
            folded.split("\n    ").collect::<Vec<_>>().join(if text.contains(' ') { " " } else { "" });
        assert!(joined == text.trim_end() || text.contains("mixed"), "{joined}");
    }
}

#[test]
fn expiring_says_what_is_lost_and_when() {
    let notice = ExpiringNotice {
        parts: vec![ArrivalPart {
            office_name: "株式会社見本工業".into(),
            insurer_name: "東京見本健康保険組合".into(),
            account: "K0001".into(),
            counts: vec![("納入告知書".into(), 2)],
            last_day: date(2027, 2, 1),
            folder: "/outbox/1234/".into(),
            contact: to().contact,
        }],
        days: 14,
    };
    check(
        &notice,
        Language::Ja,
        &expect![[r#"
            株式会社見本工業 様: 未受信の文書 2件 (受け取り期限 2月1日)
            ---
            株式会社見本工業 御中

            次の文書は、まだ受信されていません。
            2027年2月1日(月)を過ぎると、自動的に削除されます。

            ■ 株式会社見本工業
              東京見本健康保険組合から
              ・納入告知書  2件
              受け取る場所  /outbox/1234/
              受け取り期限  2027年2月1日(月)まで

            期限までに受信し、保存してください。
            期限を過ぎた文書が必要なときは、下記の窓口へご相談ください。

            このメールは送信専用です。お問い合わせ先:
            東京見本健康保険組合 適用課
            電話 03-0000-0000
        "#]],
    );
    check(
        &notice,
        Language::En,
        &expect![[r#"
            株式会社見本工業: 2 document(s) not fetched yet (until 1 Feb)
            ---
            To 株式会社見本工業

            Nobody has fetched these documents yet.
            After Mon 1 February 2027 they are deleted automatically.

            * 株式会社見本工業
              from 東京見本健康保険組合
              - 納入告知書: 2
              Where       /outbox/1234/
              Last day    Mon 1 February 2027

            Please fetch and keep them before. If you need one after that day,
            please ask the contact below.

            This mailbox is not read. Please ask:
            東京見本健康保険組合 適用課
            電話 03-0000-0000
        "#]],
    );
}
