//! First set-up: office name, user name and mail must be those registered (K18). What trips people up is how they are
//! written: full and half width, blanks, (株) for 株式会社; so both sides are compared after the same normalising.

use unicode_normalization::UnicodeNormalization as _;

use crate::model::finding::Text;

/// What was registered with the application.
#[derive(Debug, Clone, Copy)]
pub struct Registered<'a> {
    /// 事業所名
    pub office_name: &'a str,
    /// 利用者名
    pub user_name: &'a str,
    /// メールアドレス
    pub mail: &'a str,
}

/// What the first set-up gives.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// 事業所名
    pub office_name: &'a str,
    /// 利用者名
    pub user_name: &'a str,
    /// メールアドレス
    pub mail: &'a str,
}

/// A field that is not as registered. What is registered is never said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// ASCII code that leads the text.
    pub code: &'static str,
    /// The field, as `setup.toml` calls it.
    pub field: &'static str,
    /// What to look at.
    pub text: Text,
}

/// Characters of a field that are looked at; what is longer matches nothing.
const CHARS_MAX: usize = 300;

/// Compares what is given with what is registered; empty when it agrees.
pub fn compare(registered: Registered<'_>, given: Given<'_>) -> Vec<Mismatch> {
    let mut wrong = Vec::new();
    if !same(office(registered.office_name).as_ref(), office(given.office_name).as_ref()) {
        wrong.push(Mismatch {
            code: "SETUP-OFFICE-NAME",
            field: "office_name",
            text: Text::new(
                "事業所名(office_name)が登録内容と異なります。申込完了メールに書かれた事業所名を、そのまま書いてください。全角と半角、空白、(株)と株式会社のちがいは問いません",
                "office_name differs from what is registered: write it as the mail that answered the application has it. Width, blanks and (株) for 株式会社 do not matter",
            ),
        });
    }
    if !same(person(registered.user_name).as_ref(), person(given.user_name).as_ref()) {
        wrong.push(Mismatch {
            code: "SETUP-USER-NAME",
            field: "user_name",
            text: Text::new(
                "利用者名(user_name)が登録内容と異なります。申込完了メールに書かれた利用者名(部署名のこともあります)を、そのまま書いてください。全角と半角、空白のちがいは問いません",
                "user_name differs from what is registered: write it as the mail that answered the application has it (it may be a department). Width and blanks do not matter",
            ),
        });
    }
    if !same(mail(registered.mail).as_ref(), mail(given.mail).as_ref()) {
        wrong.push(Mismatch {
            code: "SETUP-MAIL",
            field: "mail",
            text: Text::new(
                "メールアドレス(mail)が登録内容と異なります。申込完了メールが届いたアドレスを書いてください。@ の前は大文字と小文字を区別します",
                "mail differs from what is registered: write the address that the mail answering the application came to. Case matters before the @",
            ),
        });
    }
    wrong
}

/// Both there and alike. An empty field agrees with nothing.
fn same(one: Option<&String>, other: Option<&String>) -> bool {
    one.is_some_and(|one| !one.is_empty()) && one == other
}

/// Compatibility forms folded (full to half width, ㈱ to (株), half-width kana to full), blanks and invisible characters
/// dropped, dashes and middle dots of one kind.
fn folded(text: &str) -> Option<String> {
    if text.chars().take(CHARS_MAX + 1).count() > CHARS_MAX {
        return None;
    }
    let one = |c: char| match c {
        // Long vowel mark and its many look-alikes.
        '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' | '-' | 'ー' | '─' | '━' | '～' | '~' => {
            'ー'
        }
        '･' | '•' | '·' | '‧' | '∙' => '・',
        '〔' | '[' | '【' => '(',
        '〕' | ']' | '】' => ')',
        other => other,
    };
    let kept = |c: &char| !c.is_whitespace() && !crate::model::escape::is_hidden(*c);
    Some(text.nfkc().map(one).filter(kept).flat_map(char::to_lowercase).collect())
}

/// Legal forms as people shorten them, after folding.
const FORMS: [(&str, &str); 12] = [
    ("(株)", "株式会社"),
    ("(有)", "有限会社"),
    ("(同)", "合同会社"),
    ("(資)", "合資会社"),
    ("(名)", "合名会社"),
    ("(医)", "医療法人"),
    ("(社)", "社団法人"),
    ("(財)", "財団法人"),
    ("(学)", "学校法人"),
    ("(福)", "社会福祉法人"),
    ("(一社)", "一般社団法人"),
    ("(一財)", "一般財団法人"),
];

fn office(name: &str) -> Option<String> {
    let mut name = folded(name)?;
    for (short, long) in FORMS {
        name = name.replace(short, long);
    }
    Some(name)
}

fn person(name: &str) -> Option<String> {
    folded(name)
}

/// Case matters before the @ and not after it (RFC 5321 2.4).
fn mail(address: &str) -> Option<String> {
    if address.len() > CHARS_MAX {
        return None;
    }
    let plain: String = address.nfkc().filter(|c| !c.is_whitespace()).collect();
    let (local, domain) = plain.rsplit_once('@')?;
    Some(format!("{local}@{}", domain.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTERED: Registered<'_> =
        Registered {
            office_name: "株式会社見本工業", user_name: "見本 太郎", mail: "soumu@example.jp"
        };

    fn check(office_name: &str, user_name: &str, mail: &str, wrong: &[&str]) {
        let given = Given { office_name, user_name, mail };
        let found: Vec<_> = compare(REGISTERED, given).into_iter().map(|m| m.field).collect();
        assert_eq!(found, wrong, "{given:?}");
    }

    #[test]
    fn what_people_write_differently_is_the_same() {
        for office in [
            "株式会社見本工業",
            "株式会社 見本工業",
            "株式会社　見本工業",
            "(株)見本工業",
            "（株）見本工業",
            "㈱見本工業",
            "〔株〕見本工業",
            " 株式会社見本工業\t",
            "株式会社見本工業\u{feff}",
        ] {
            check(office, "見本 太郎", "soumu@example.jp", &[]);
        }
        for user in ["見本太郎", "見本　太郎", "見本  太郎 "] {
            check("株式会社見本工業", user, "soumu@example.jp", &[]);
        }
        for mail in ["soumu@EXAMPLE.jp", "ｓｏｕｍｕ＠ｅｘａｍｐｌｅ．ｊｐ", " soumu@example.jp "]
        {
            check("株式会社見本工業", "見本太郎", mail, &[]);
        }
    }

    #[test]
    fn other_pairs_that_match() {
        for (one, other) in [
            ("ミホン・システム(株)", "ﾐﾎﾝ･ｼｽﾃﾑ株式会社"),
            ("サーバー見本有限会社", "サ－バ－見本（有）"),
            ("ABC見本株式会社", "ＡＢＣ見本㈱"),
            ("ＡＢＣ見本株式会社", "abc見本(株)"),
            ("医療法人見本会", "(医)見本会"),
        ] {
            assert_eq!(office(one), office(other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_another_name_is_told_by_field_and_without_the_registered_value() {
        check("見本工業株式会社", "見本 太郎", "soumu@example.jp", &["office_name"]);
        check("見本工業", "見本 太郎", "soumu@example.jp", &["office_name"]);
        check("有限会社見本工業", "見本 太郎", "soumu@example.jp", &["office_name"]);
        check("株式会社見本工業", "見本 次郎", "soumu@example.jp", &["user_name"]);
        check("株式会社見本工業", "見本 太郎", "Soumu@example.jp", &["mail"]);
        check("株式会社見本工業", "見本 太郎", "soumu@example.com", &["mail"]);
        check("株式会社見本工業", "見本 太郎", "soumu", &["mail"]);
        check("", "", "", &["office_name", "user_name", "mail"]);
        check(&"あ".repeat(1000), "見本 太郎", "soumu@example.jp", &["office_name"]);
        let given = Given { office_name: "x", user_name: "y", mail: "z" };
        for mismatch in compare(REGISTERED, given) {
            for text in [&mismatch.text.ja, &mismatch.text.en] {
                assert!(!text.contains("見本") && !text.contains("soumu"), "{text}");
            }
        }
    }
}
