//! What the registered address is told of another certificate: its renewal (C), or a re-issue in place of a lost one (E9 H9).

use chrono::NaiveDate;

use super::{Addressed, CONTACT, INSURER, Kind, Notice, OFFICE, body, may, must, sample_day};
use crate::model::application::{ApplicationKind, ApplicationNotice, Loss, RevokeLost};
use crate::model::finding::{Language, Text};
use crate::rules::notice::words::Values;

pub(super) static KIND: Kind = Kind {
    name: "certificate-again",
    default_text: include_str!("../../../../conf/notices/certificate-again.toml"),
    slots: &[
        OFFICE,
        INSURER,
        must("application"),
        must("account"),
        must("what"),
        may("event"),
        body("todo"),
        CONTACT,
    ],
    sample: |language| sample().values(language),
};

/// What is told: of the steps of an application, those that read otherwise when the account is at work already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgainMail {
    /// What happened.
    pub what: ApplicationNotice,
    /// Renewal or re-issue.
    pub kind: ApplicationKind,
    /// Its office.
    pub to: Addressed,
    /// The application's number; also its enrolment login.
    pub application: String,
    /// Whose certificate.
    pub account: String,
    /// The certificates that it follows or replaces.
    pub before: Vec<String>,
    /// How those were lost, and when they are revoked (re-issue).
    pub lost: Option<(Loss, RevokeLost)>,
    /// The new certificate, once it is there.
    pub certificate: Option<String>,
    /// The account asked for it by itself, logged in: it fetches it in the same way.
    pub own: bool,
    /// Consent to the terms is waited for.
    pub consent: bool,
    /// Such as `7,800`.
    pub fee: String,
    /// Local day until which it is handed out.
    pub last_day: NaiveDate,
}

fn sample() -> AgainMail {
    AgainMail {
        what: ApplicationNotice::Taken,
        kind: ApplicationKind::Reissue,
        to: Addressed::sample(),
        application: "A1-000123-6".to_owned(),
        account: "K0001".to_owned(),
        before: vec!["C1-000012-3".to_owned()],
        lost: Some((Loss::Key, RevokeLost::AtOnce)),
        certificate: None,
        own: false,
        consent: false,
        fee: "7,800".to_owned(),
        last_day: sample_day(23),
    }
}

impl AgainMail {
    fn event(&self) -> Text {
        match self.what {
            ApplicationNotice::Issued => Text::new("新しい証明書が発行されました", "is issued"),
            ApplicationNotice::Reminder => Text::new("利用開始の期限が近づいています", "waits to be used"),
            ApplicationNotice::Expired => Text::new("受け取りの期限が過ぎました", "was not fetched in time"),
            _ => Text::new("申込を受け付けました", "is applied for"),
        }
    }

    fn todo(&self, language: Language) -> Text {
        let day = crate::rules::notice::words::day(self.last_day, language);
        match self.what {
            ApplicationNotice::Issued | ApplicationNotice::Reminder => self.fetch(&day),
            ApplicationNotice::Expired => Text::new(
                format!(
                    "{day}までに利用が開始されなかったため、受け取れなくなりました。\n\
                     証明書が必要なときは、下記の窓口へお申し出ください。"
                ),
                format!(
                    "It was not in use by {day} and can be fetched no more.\n\
                     If you need a certificate, please ask the contact below."
                ),
            ),
            _ => self.taken(),
        }
    }

    fn taken(&self) -> Text {
        let before = self.before.join(", ");
        let mut lines = match self.lost {
            Some((loss, revoke)) => vec![lost(&before, loss), revoked(revoke)],
            None => vec![Text::new(
                format!("更新する証明書: {before}\n今の証明書は、有効期限まで使えます。"),
                format!("Renewed: {before}\nIt may be used until it ends."),
            )],
        };
        if self.consent {
            let fee = &self.fee;
            lines.push(Text::new(
                format!(
                    "利用規約への同意をお待ちしています(発行手数料 {fee}円)。\n\
                     terms.txt を読み、renew.toml に記入して送ってください。"
                ),
                format!(
                    "Your consent to the terms is waited for (the fee is {fee} yen).\n\
                     Read terms.txt, fill in renew.toml and put it back."
                ),
            ));
        } else {
            lines.push(Text::new(
                format!("発行手数料: {}円\n発行されると、あらためてメールでお知らせします。", self.fee),
                format!("Fee: {} yen\nYou will be told by mail when the new one is issued.", self.fee),
            ));
        }
        joined(&lines)
    }

    fn fetch(&self, day: &str) -> Text {
        let new = self.certificate.as_deref().unwrap_or("-");
        let mut lines = vec![if self.own {
            Text::new(
                format!(
                    "新しい証明書 {new} は /account/ にあります。\n新しい鍵とともにシステムに設定してください。"
                ),
                format!(
                    "The new certificate {new} is in /account/.\nInstall it with the new key in your system."
                ),
            )
        } else {
            let id = &self.application;
            Text::new(
                format!(
                    "新しい証明書 {new} を、{day}までに受け取ってください。\n\n\
                     \u{20} 受け取るログイン  {id}\n\
                     \u{20} 受け取る場所      /enrol/\n\n\
                     パスワードは、別にお届けします。公開鍵でお申し込みのときは、\n\
                     その鍵でも受け取れます。新しい証明書で初めてログインするまで、\n\
                     何度でも受け取れます。"
                ),
                format!(
                    "Please fetch the new certificate {new} by {day}.\n\n\
                     \u{20} Log in as  {id}\n\
                     \u{20} Folder     /enrol/\n\n\
                     You get the password separately; who applied with a public key may\n\
                     log in with that key. It can be fetched any number of times until\n\
                     the first login with it."
                ),
            )
        }];
        lines.extend(self.lost.map(|(_, revoke)| revoked(revoke)));
        joined(&lines)
    }
}

fn lost(before: &str, loss: Loss) -> Text {
    let how = match loss {
        Loss::Key => Text::new("鍵または端末の紛失・盗難", "its key or machine was lost or stolen"),
        Loss::Password => {
            Text::new("証明書発行用パスワードの紛失", "its certificate-issue password was lost")
        }
        Loss::Destroyed => Text::new("端末の故障または鍵の消失", "its machine broke or its key was deleted"),
    };
    Text::new(
        format!("お届け出の証明書: {before}\n  {}\nログインパスワードの再発行は、別の手続きです。", how.ja),
        format!("Reported: {before}\n  {}\nA forgotten login password is another thing.", how.en),
    )
}

fn revoked(revoke: RevokeLost) -> Text {
    match revoke {
        RevokeLost::AtOnce => Text::new(
            "お届け出の証明書は失効しました。ログインにも署名にも使えません。",
            "It is revoked, and neither logs in nor signs.",
        ),
        RevokeLost::FirstUse => Text::new(
            "お届け出の証明書は、新しい証明書の利用開始とともに失効します。",
            "It is revoked when the new one is first used.",
        ),
        RevokeLost::Keep => {
            Text::new("お届け出の証明書は、有効期限まで有効です。", "It holds on until it ends.")
        }
    }
}

fn joined(lines: &[Text]) -> Text {
    let of = |text: fn(&Text) -> &str| lines.iter().map(text).collect::<Vec<_>>().join("\n\n");
    Text::new(of(|text| &text.ja), of(|text| &text.en))
}

impl Notice for AgainMail {
    fn kind(&self) -> &'static Kind {
        &KIND
    }
    fn values(&self, language: Language) -> Values {
        let what = match self.kind {
            ApplicationKind::Reissue => Text::new("再発行", "re-issue"),
            _ => Text::new("更新", "renewal"),
        };
        self.to
            .values(language)
            .line("application", &self.application)
            .line("account", &self.account)
            .text("what", &what)
            .text("event", &self.event())
            .text("todo", &self.todo(language))
    }
}
