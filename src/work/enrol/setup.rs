//! The first set-up: office name, user name and mail as registered (K18), and consent to the terms (H5). `setup.toml` is
//! what a clerk fills in, and what `account application setup` reads.

use serde::Deserialize;

use super::{Enrolment, PartyError};
use crate::model::application::{Application, ApplicationKind, ApplicationStep};
use crate::model::finding::{Language, Text};
use crate::model::ids::ApplicationId;
use crate::model::party::{Actor, Standing};
use crate::model::time::Timestamp;
use crate::rules::enrolment::{EnrolmentPolicy, Given, Registered, compare};

/// Bytes of a `setup.toml`.
pub const SETUP_BYTES_MAX: usize = 16 << 10;

/// Why a set-up was not taken: a code, and words for the clerk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetUpFault {
    /// ASCII code that leads the text.
    pub code: &'static str,
    /// What is wrong and what to write.
    pub text: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    #[serde(default)]
    office_name: String,
    #[serde(default)]
    user_name: String,
    #[serde(default)]
    mail: String,
    #[serde(default)]
    consent: String,
}

/// What the clerk gets to fill in.
pub fn template(policy: &EnrolmentPolicy, language: Language) -> String {
    let version = &policy.terms_version;
    match language {
        Language::Ja => format!(
            "# 初期設定。申込完了メールに書かれた内容を \" と \" の間に書き、同じ名前でこのフォルダーに保存(送信)してください。\n\
             # 全角と半角、空白、(株)と株式会社のちがいは問いません。\n\
             office_name = \"\"   # 事業所名\n\
             user_name = \"\"     # 利用者名\n\
             mail = \"\"          # メールアドレス\n\
             # terms.txt を読み、同意するときは {version} と書いてください。\n\
             consent = \"\"\n"
        ),
        Language::En => format!(
            "# First set-up: write between \" and \" what the mail that answered the application says, and put the file here again\n\
             # under the same name. Width, blanks, and (株) for 株式会社 do not matter.\n\
             office_name = \"\"   # name of the office\n\
             user_name = \"\"     # user name\n\
             mail = \"\"          # mail address\n\
             # Read terms.txt; if you consent, write {version}.\n\
             consent = \"\"\n"
        ),
    }
}

impl Enrolment {
    /// Takes a set-up: from then on the account may log in. The same again, once it is done, is fine. Of another certificate for
    /// an account that is at work, it is its applicant's consent.
    pub fn set_up(
        &self,
        id: ApplicationId,
        setup: &[u8],
        by: &Actor,
        now: Timestamp,
    ) -> Result<Result<(), Vec<SetUpFault>>, PartyError> {
        if self.get(id)?.kind != ApplicationKind::New {
            let done = self.consent(id, setup, by, now)?;
            if done.is_ok() {
                self.go_through(id, by, now)?;
            }
            return Ok(done);
        }
        let _alone = self.alone();
        let of = self.get(id)?;
        let policy = (self.policy)(&of.insurer);
        let form: Form = match read(setup, "setup.toml", "mail = \"soumu@example.jp\"") {
            Ok(form) => form,
            Err(fault) => return Ok(Err(vec![fault])),
        };
        let faults = self.faults(&of, &form, &policy)?;
        if !faults.is_empty() {
            return Ok(Err(faults));
        }
        if of.consent.is_none() {
            let account = self.ledger.account(&of.account)?;
            if account.is_some_and(|account| account.standing == Standing::Closed) {
                return Ok(Err(vec![closed(&of)]));
            }
            self.go(id, ApplicationStep::SetUp { terms: policy.terms_version }, by, now)?;
        }
        Ok(Ok(()))
    }

    fn faults(
        &self,
        of: &Application,
        form: &Form,
        policy: &EnrolmentPolicy,
    ) -> Result<Vec<SetUpFault>, PartyError> {
        let Some(card) = self.registered(of)? else {
            let text = format!("what application {} registered is erased; apply anew", of.id);
            return Err(PartyError::new("APPLICATION-ENDED", text));
        };
        let registered =
            Registered { office_name: &card.office_name, user_name: &card.user_name, mail: &card.mail };
        let given = Given { office_name: &form.office_name, user_name: &form.user_name, mail: &form.mail };
        let mut faults: Vec<_> = compare(registered, given)
            .into_iter()
            .map(|mismatch| SetUpFault { code: mismatch.code, text: mismatch.text })
            .collect();
        if form.consent.trim() != policy.terms_version {
            let version = &policy.terms_version;
            faults.push(SetUpFault {
                code: "SETUP-CONSENT",
                text: Text::new(
                    format!("利用規約への同意がありません。terms.txt を読み、同意するときは consent = \"{version}\" と書いてください"),
                    format!("there is no consent to the terms: read terms.txt and, if you consent, write consent = \"{version}\""),
                ),
            });
        }
        Ok(faults)
    }
}

/// A set-up opens an account for the first time, not again.
fn closed(of: &Application) -> SetUpFault {
    let account = &of.account;
    SetUpFault {
        code: "ACCOUNT-CLOSED",
        text: Text::new(
            format!(
                "アカウント {account} は停止されています。初期設定はできません。健康保険組合へお問い合わせください"
            ),
            format!("account {account} was closed, so there is no set-up; ask the insurer"),
        ),
    }
}

/// The form in a file, called so, with a line as it should be. Its content is not repeated: it names somebody.
pub(super) fn read<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    name: &str,
    such: &str,
) -> Result<T, SetUpFault> {
    let fault = |code, ja: String, en: String| SetUpFault { code, text: Text::new(ja, en) };
    let text = std::str::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).map_err(|_| {
        fault(
            "SETUP-ENCODING",
            format!(
                "{name} の文字コードが UTF-8 ではありません。メモ帳では「名前を付けて保存」で UTF-8 を選んでください"
            ),
            format!("{name} is not UTF-8; save it as UTF-8"),
        )
    })?;
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        fault(
            "SETUP-FORM",
            format!("{name} の {line} 行目が読めません。値は半角の \" で囲んでください(例: {such})"),
            format!(
                "line {line} of {name} cannot be read; values stand between straight quotes, such as {such}"
            ),
        )
    })
}
