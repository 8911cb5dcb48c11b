//! `/account/profile.toml`: what an account sees of its registration, and what it may change by itself (K36 H24): user
//! name, mail address, language. A file that is put back may hold all of it or only the lines that change.

use std::fmt::Write as _;

use toml::{Table, Value};

use super::names::{self, NAME_CHARS_MAX};
use crate::model::account_history::ProfileField;
use crate::model::finding::{Language, Text};
use crate::model::ids::{AccountId, Digest, InsurerCode, OfficeCode};
use crate::model::party::Role;

/// Offices that the file names; an agent with more sees them in `/outbox`.
pub const OFFICES_MAX: usize = 200;

/// An account as its profile shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Whose.
    pub account: AccountId,
    /// Its society, by number and name.
    pub insurer: (InsurerCode, String),
    /// What the account is for.
    pub role: Role,
    /// A test identity (H3).
    pub test: bool,
    /// A payroll system's.
    pub machine: bool,
    /// User name; may be empty for an insurer's account.
    pub user_name: String,
    /// Mail address; may be empty for an insurer's account.
    pub mail: String,
    /// Language of messages and mails.
    pub language: Language,
    /// Offices it acts for, its own first, by number and name; at most [`OFFICES_MAX`] of them.
    pub offices: Vec<(OfficeCode, String)>,
    /// Offices beyond those.
    pub more_offices: usize,
    /// `SHA256:...` of its registered keys.
    pub keys: Vec<String>,
    /// Lines that are shown as comments, such as the last login.
    pub remarks: Vec<Text>,
}

/// What is to change; a field that stays as it is is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProfileChange {
    /// The new user name.
    pub user_name: Option<String>,
    /// The new mail address.
    pub mail: Option<String>,
    /// The new language.
    pub language: Option<Language>,
}

impl ProfileChange {
    /// What changes.
    pub fn fields(&self) -> Vec<ProfileField> {
        let all = [
            (self.user_name.is_some(), ProfileField::UserName),
            (self.mail.is_some(), ProfileField::Mail),
            (self.language.is_some(), ProfileField::Language),
        ];
        all.into_iter().filter(|(changes, _)| *changes).map(|(_, field)| field).collect()
    }
}

/// Why a profile is not taken: a code, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileFault {
    /// Leads the text.
    pub code: &'static str,
    /// For the account's people.
    pub text: Text,
}

fn no<T>(code: &'static str, ja: impl Into<String>, en: impl Into<String>) -> Result<T, ProfileFault> {
    Err(ProfileFault { code, text: Text::new(ja, en) })
}

impl Profile {
    /// Tells two states of the registration apart, so that an old copy does not undo a newer change.
    fn revision(&self) -> String {
        let parts = format!("{}\n{}\n{:?}", self.user_name, self.mail, self.language);
        Digest::of(parts.as_bytes()).to_string()[..8].to_owned()
    }

    fn table(&self) -> Table {
        let text = |text: &str| Value::String(text.to_owned());
        let role = match self.role {
            Role::Office => "office",
            Role::Agent => "agent",
            Role::Insurer => "insurer",
        };
        let offices = self.offices.iter().map(|(code, name)| {
            let office = [("code", code.as_str()), ("name", name)].map(|(k, v)| (k.to_owned(), text(v)));
            Value::Table(Table::from_iter(office))
        });
        let mut table = Table::new();
        for (key, value) in [
            ("user_name", text(&self.user_name)),
            ("mail", text(&self.mail)),
            ("language", text(code(self.language))),
            ("revision", text(&self.revision())),
            ("account", text(self.account.as_str())),
            ("insurer", text(self.insurer.0.as_str())),
            ("insurer_name", text(&self.insurer.1)),
            ("role", text(role)),
            ("test", Value::Boolean(self.test)),
            ("machine", Value::Boolean(self.machine)),
            ("keys", Value::Array(self.keys.iter().map(|key| text(key)).collect())),
            ("offices", Value::Array(offices.collect())),
        ] {
            table.insert(key.to_owned(), value);
        }
        table
    }

    /// The file, in the account's language.
    pub fn to_toml(&self) -> String {
        let say = |text: Text| text.get(self.language).to_owned();
        let table = self.table();
        let mut out = String::new();
        comment(
            &mut out,
            &say(Text::new(
                "このアカウントの登録内容です。次の3項目は、書き換えてこの場所へ戻す(put する)と変更されます。\n\
             変更の確認メールが、新しいアドレスと変更前のアドレスの両方に届きます。",
                "What is registered for this account. Change these three values and put the file back to change them.\n\
             A confirmation is mailed to the new address and to the one before.",
            )),
        );
        let put = |out: &mut String, key: &str| {
            let value = table.get(key).map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(out, "{key} = {value}");
        };
        for key in ["user_name", "mail", "language"] {
            put(&mut out, key);
        }
        out.push('\n');
        comment(
            &mut out,
            &say(Text::new(
                "ここから下は変更できません。違っているときは、加入している健康保険組合へお申し出ください。",
                "Nothing below can be changed here. If it is wrong, ask the insurer.",
            )),
        );
        for key in ["revision", "account", "insurer", "insurer_name", "role", "test", "machine", "keys"] {
            put(&mut out, key);
        }
        for remark in &self.remarks {
            comment(&mut out, remark.get(self.language));
        }
        for (code, name) in &self.offices {
            let (code, name) = (Value::String(code.to_string()), Value::String(name.clone()));
            let _ = write!(out, "\n[[offices]]\ncode = {code}\nname = {name}\n");
        }
        if self.more_offices > 0 {
            let more = self.more_offices;
            comment(
                &mut out,
                &say(Text::new(
                    format!("ほか {more} 事業所。すべては /outbox にあります。"),
                    format!("and {more} more; all of them are in /outbox."),
                )),
            );
        }
        out
    }

    /// What a file that was put asks to change; nothing when it says what is so already.
    pub fn change(&self, bytes: &[u8]) -> Result<ProfileChange, ProfileFault> {
        let given = parse(bytes)?;
        let present = self.table();
        let mut change = ProfileChange::default();
        for (key, value) in &given {
            match key.as_str() {
                "user_name" => change.user_name = self.user_name(value)?,
                "mail" => change.mail = self.mail(value)?,
                "language" => change.language = self.language(value)?,
                // Of importance only if something would change.
                "revision" => {}
                _ => match present.get(key) {
                    Some(there) if there == value => {}
                    Some(_) => return self.fixed(key),
                    None => return unknown(key),
                },
            }
        }
        let stale = given.get("revision").is_some_and(|revision| present.get("revision") != Some(revision));
        if stale && change != ProfileChange::default() {
            return no(
                "PROFILE-STALE",
                "登録内容が、このファイルを取り出したあとに変わっています。profile.toml をもう一度取り出し、それを書き換えて戻してください。",
                "The registration has changed since this file was fetched. Fetch profile.toml again, change that, and put it back.",
            );
        }
        Ok(change)
    }

    fn user_name(&self, value: &Value) -> Result<Option<String>, ProfileFault> {
        let text = string("user_name", value)?;
        if text == self.user_name {
            return Ok(None);
        }
        match names::name(text) {
            Ok(name) => Ok(Some(name).filter(|name| *name != self.user_name)),
            Err(_) => no(
                "PROFILE-USER-NAME",
                format!(
                    "user_name は1〜{NAME_CHARS_MAX}文字です。制御文字や、先頭の = + - @ は使えません。部署名でもかまいません。"
                ),
                format!(
                    "user_name must be 1 to {NAME_CHARS_MAX} characters, without control characters and not beginning with = + - @. A department will do."
                ),
            ),
        }
    }

    fn mail(&self, value: &Value) -> Result<Option<String>, ProfileFault> {
        let text = string("mail", value)?;
        if text == self.mail {
            return Ok(None);
        }
        match names::mail(text) {
            Some(mail) => Ok(Some(mail).filter(|mail| *mail != self.mail)),
            None => no(
                "PROFILE-MAIL",
                "mail には、半角のメールアドレスをちょうど1つ書いてください(例 soumu@example.jp)。全角文字・空白・カンマは使えません。グループメールアドレスでもかまいません。",
                "mail must be exactly one mail address in ASCII, such as soumu@example.jp. A group mailbox will do.",
            ),
        }
    }

    fn language(&self, value: &Value) -> Result<Option<Language>, ProfileFault> {
        let language = match string("language", value)? {
            "ja" => Language::Ja,
            "en" => Language::En,
            _ => {
                return no(
                    "PROFILE-LANGUAGE",
                    "language は \"ja\"(日本語)か \"en\"(英語)です。",
                    "language must be \"ja\" (Japanese) or \"en\" (English).",
                );
            }
        };
        Ok(Some(language).filter(|language| *language != self.language))
    }

    fn fixed<T>(&self, key: &str) -> Result<T, ProfileFault> {
        no(
            "PROFILE-FIXED",
            format!(
                "「{key}」はここでは変更できません。変更できるのは user_name、mail、language です。この項目の変更は、加入している健康保険組合({})へお申し出ください。何も変更していません。",
                self.insurer.1
            ),
            format!(
                "{key:?} cannot be changed here; user_name, mail and language can. Ask the insurer ({}) for it. Nothing was changed.",
                self.insurer.1
            ),
        )
    }
}

fn comment(out: &mut String, lines: &str) {
    for line in lines.lines() {
        let _ = writeln!(out, "# {line}");
    }
}

fn code(language: Language) -> &'static str {
    match language {
        Language::Ja => "ja",
        Language::En => "en",
    }
}

fn string<'a>(key: &str, value: &'a Value) -> Result<&'a str, ProfileFault> {
    match value.as_str() {
        Some(text) => Ok(text),
        None => no(
            "PROFILE-FORM",
            format!("{key} の値は、{key} = \"...\" のように二重引用符で囲んでください。"),
            format!("The value of {key} must stand in double quotes: {key} = \"...\"."),
        ),
    }
}

fn unknown<T>(key: &str) -> Result<T, ProfileFault> {
    let key = crate::model::escape::excerpt(key, 40);
    no(
        "PROFILE-UNKNOWN",
        format!(
            "「{key}」という項目はありません。変更できるのは user_name、mail、language です。何も変更していません。"
        ),
        format!(
            "There is nothing called {key:?}; user_name, mail and language can be changed. Nothing was changed."
        ),
    )
}

fn parse(bytes: &[u8]) -> Result<Table, ProfileFault> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => text.trim_start_matches('\u{feff}'),
        _ => {
            return no(
                "PROFILE-ENCODING",
                "profile.toml は UTF-8 で保存してください(メモ帳では「名前を付けて保存」の文字コードで UTF-8 を選びます)。",
                "profile.toml must be saved as UTF-8 (in Notepad: Save as, encoding UTF-8).",
            );
        }
    };
    if text.trim().is_empty() {
        return no(
            "PROFILE-EMPTY",
            "ファイルが空です。何も変更していません。profile.toml を取り出し、それを書き換えて戻してください。",
            "The file is empty; nothing was changed. Fetch profile.toml, change that, and put it back.",
        );
    }
    toml::from_str(text).or_else(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        no(
            "PROFILE-FORM",
            format!("{line} 行目を読み取れません。各行は「項目 = \"値\"」の形で、値は半角の二重引用符で囲み、同じ項目は1回だけ書いてください。何も変更していません。"),
            format!("Line {line} cannot be read. A line is NAME = \"value\", in plain double quotes, each name once. Nothing was changed."),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile {
            account: AccountId::parse("K0001").unwrap(),
            insurer: (InsurerCode::parse("06139999").unwrap(), "東京見本健康保険組合".into()),
            role: Role::Office,
            test: false,
            machine: false,
            user_name: "総務課".into(),
            mail: "soumu@example.jp".into(),
            language: Language::Ja,
            offices: vec![(OfficeCode::parse("1234").unwrap(), "株式会社\"見本\"工業".into())],
            more_offices: 0,
            keys: vec!["SHA256:one".into()],
            remarks: vec![Text::new("最終ログイン なし", "last login: none")],
        }
    }

    #[track_caller]
    fn refused(text: &str, code: &str) -> Text {
        let fault = profile().change(text.as_bytes()).unwrap_err();
        assert_eq!(fault.code, code, "{text}");
        fault.text
    }

    #[test]
    fn what_is_read_can_be_put_back_unchanged() {
        for language in [Language::Ja, Language::En] {
            let profile = Profile { language, more_offices: 3, ..profile() };
            let text = profile.to_toml();
            assert_eq!(profile.change(text.as_bytes()), Ok(ProfileChange::default()), "{text}");
            let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
            assert_eq!(profile.change(windows.as_bytes()), Ok(ProfileChange::default()));
        }
        expect_test::expect![[r#"
            # このアカウントの登録内容です。次の3項目は、書き換えてこの場所へ戻す(put する)と変更されます。
            # 変更の確認メールが、新しいアドレスと変更前のアドレスの両方に届きます。
            user_name = "総務課"
            mail = "soumu@example.jp"
            language = "ja"

            # ここから下は変更できません。違っているときは、加入している健康保険組合へお申し出ください。
            revision = "6af6b62a"
            account = "K0001"
            insurer = "06139999"
            insurer_name = "東京見本健康保険組合"
            role = "office"
            test = false
            machine = false
            keys = ["SHA256:one"]
            # 最終ログイン なし

            [[offices]]
            code = "1234"
            name = '株式会社"見本"工業'
        "#]]
        .assert_eq(&profile().to_toml());
    }

    #[test]
    fn three_values_change_and_nothing_else() {
        let edited = profile().to_toml().replace("soumu@", "jinji@").replace("総務課", "人事課");
        let change = profile().change(edited.as_bytes()).unwrap();
        assert_eq!(change.fields(), [ProfileField::UserName, ProfileField::Mail]);
        assert_eq!(change.mail.as_deref(), Some("jinji@example.jp"));
        let change = profile().change(b"language = \"en\"\n").unwrap();
        assert_eq!(change, ProfileChange { language: Some(Language::En), ..ProfileChange::default() });

        let text = refused(&edited.replace("1234", "5678"), "PROFILE-FIXED");
        assert!(text.ja.contains("offices") && text.en.contains("東京見本健康保険組合"));
        refused("role = \"insurer\"", "PROFILE-FIXED");
        refused("test = true", "PROFILE-FIXED");
        refused("password = \"x\"", "PROFILE-UNKNOWN");
        refused("mail = \"a@example.jp, b@example.jp\"", "PROFILE-MAIL");
        refused("mail = \"\"", "PROFILE-MAIL");
        refused("user_name = \"\"", "PROFILE-USER-NAME");
        refused("user_name = \"=cmd()\"", "PROFILE-USER-NAME");
        refused("language = \"fr\"", "PROFILE-LANGUAGE");
        refused("language = 1", "PROFILE-FORM");
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        let text = refused("# a\nmail = soumu@example.jp\n", "PROFILE-FORM");
        assert!(text.ja.starts_with("2 行目") && text.en.starts_with("Line 2"), "{text:?}");
        refused("mail = \"a@example.jp\"\nmail = \"b@example.jp\"", "PROFILE-FORM");
        refused(" \r\n", "PROFILE-EMPTY");
        let utf16: Vec<u8> = "mail".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(profile().change(&utf16).unwrap_err().code, "PROFILE-ENCODING");
        assert_eq!(profile().change(b"user_name = \"\x91\x8d\"").unwrap_err().code, "PROFILE-ENCODING");
    }

    #[test]
    fn an_old_copy_does_not_undo_a_newer_change() {
        let old = profile().to_toml();
        let now = Profile { mail: "jinji@example.jp".into(), ..profile() };
        assert_eq!(now.change(old.as_bytes()).unwrap_err().code, "PROFILE-STALE");
        // The change that was made, sent again after a lost answer.
        let edited = old.replace("soumu@", "jinji@");
        assert_eq!(now.change(edited.as_bytes()), Ok(ProfileChange::default()));
    }
}
