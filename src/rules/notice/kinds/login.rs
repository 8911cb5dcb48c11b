//! A password was set, changed or reset, or passwords are locked: told to the account's mailbox, so that whoever did not do
//! it notices. Holds no secret.

use super::{Addressed, CONTACT, INSURER, Kind, Notice, OFFICE, must};
use crate::model::finding::{Language, Text};
use crate::model::login::{LoginNews, PasswordChange, Purpose};
use crate::model::time::Timestamp;
use crate::rules::notice::words::Values;

pub(super) static KIND: Kind = Kind {
    name: "login",
    default_text: include_str!("../../../../conf/notices/login.toml"),
    slots: &[OFFICE, INSURER, must("account"), must("event"), must("advice"), CONTACT],
    sample: |language| {
        LoginNotice {
            to: Addressed::sample(),
            account: "K0001".to_owned(),
            news: LoginNews::Password(Purpose::Login, PasswordChange::Reset),
            zone: chrono_tz::Asia::Tokyo,
        }
        .values(language)
    },
};

/// Something about an account's login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginNotice {
    /// Office (the account's first, where it acts for several).
    pub to: Addressed,
    /// The account, such as `K0001`.
    pub account: String,
    /// What happened.
    pub news: LoginNews,
    /// Where times are local.
    pub zone: chrono_tz::Tz,
}

impl Notice for LoginNotice {
    fn kind(&self) -> &'static Kind {
        &KIND
    }
    fn values(&self, language: Language) -> Values {
        let (event, advice) =
            words(self.news, |at| at.utc().with_timezone(&self.zone).format("%Y-%m-%d %H:%M").to_string());
        self.to.values(language).line("account", &self.account).text("event", &event).text("advice", &advice)
    }
}

fn words(news: LoginNews, local: impl Fn(Timestamp) -> String) -> (Text, Text) {
    let safe = Text::new("手続きは必要ありません。", "There is nothing you need to do.");
    let next = Text::new(
        "仮パスワードは別の方法でお知らせします。最初のログインで変更してください。",
        "The temporary password reaches you by another way. Change it at the first login.",
    );
    match news {
        LoginNews::Password(Purpose::Login, PasswordChange::Temporary) => {
            (Text::new("仮パスワードが発行されました", "a temporary password was made"), next)
        }
        LoginNews::Password(Purpose::Login, PasswordChange::Reset) => {
            (Text::new("パスワードが再発行されました", "the password was reset"), next)
        }
        LoginNews::Password(Purpose::Login, PasswordChange::Chosen | PasswordChange::Given) => {
            (Text::new("パスワードが変更されました", "the password was changed"), safe)
        }
        LoginNews::Password(Purpose::Issue | Purpose::Enrolment, _) => (
            Text::new("証明書発行用パスワードが発行されました", "a certificate-issue password was made"),
            Text::new(
                "ログインのパスワードと発行済みの証明書は変わりません。",
                "The login password and certificates that were issued stay as they are.",
            ),
        ),
        LoginNews::Locked(until) => {
            let until = local(until);
            (
                Text::new("パスワードの誤りが続きました", "there were too many wrong passwords"),
                Text::new(
                    format!("{until} までパスワードでログインできません。自動で解除されます。"),
                    format!("Passwords are locked until {until} and unlock by themselves."),
                ),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_its_words() {
        let check = |news, expected: &str| {
            let (event, advice) = words(news, |at| at.to_string());
            assert_eq!(format!("{}: {}", event.en, advice.en), expected);
            assert!(!event.ja.is_empty() && !advice.ja.is_empty());
        };
        check(
            LoginNews::Password(Purpose::Login, PasswordChange::Chosen),
            "the password was changed: There is nothing you need to do.",
        );
        check(
            LoginNews::Locked(Timestamp(0)),
            "there were too many wrong passwords: Passwords are locked until 1970-01-01T00:00:00.000Z and unlock by themselves.",
        );
        check(
            LoginNews::Password(Purpose::Issue, PasswordChange::Given),
            "a certificate-issue password was made: The login password and certificates that were issued stay as they are.",
        );
    }
}
