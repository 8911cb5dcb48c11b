//! What is handed out for an application that was issued: the certificate's files, the terms, the set-up to fill in.

use super::{Enrolment, HandedOut, PartyError, setup};
use crate::model::application::{Application, ApplicationKind, ApplicationState, ApplicationStep};
use crate::model::finding::Language;
use crate::model::ids::ApplicationId;
use crate::model::party::Actor;
use crate::model::time::Timestamp;

/// The terms of use.
pub const TERMS: &str = "terms.txt";
/// What the clerk fills in.
pub const SETUP: &str = "setup.toml";
/// What the applicant for a renewal fills in.
pub const RENEW: &str = "renew.toml";
/// What to do, in order.
pub const README: &str = "README.txt";

impl Enrolment {
    /// Whether it can be fetched now; else the code and words that say why not.
    pub fn fetchable(&self, of: &Application, now: Timestamp) -> Result<(), PartyError> {
        let refuse = |code, text: String| Err(PartyError::new(code, text));
        let in_time = of.use_before.is_some_and(|before| now < before);
        match of.state {
            state if state.is_issued() && in_time => Ok(()),
            ApplicationState::InUse if of.keep && in_time => Ok(()),
            ApplicationState::InUse => refuse(
                "DOWNLOAD-OVER",
                format!(
                    "application {} is in use since its first login: what was issued can be fetched no more (K27)",
                    of.id
                ),
            ),
            ApplicationState::Applied
            | ApplicationState::Collected
            | ApplicationState::Approved
            | ApplicationState::AwaitingPayment
            | ApplicationState::Paid => refuse(
                "NOT-ISSUED",
                format!("application {} is {}: there is nothing to fetch yet", of.id, of.state.name()),
            ),
            _ => refuse(
                "DOWNLOAD-OVER",
                format!("application {} has come to its end ({}); apply anew", of.id, of.state.name()),
            ),
        }
    }

    /// All files; the certificate's last. While consent is waited for: the terms, and the form.
    pub fn files(&self, of: &Application, now: Timestamp) -> Result<Vec<HandedOut>, PartyError> {
        let waits = of.waits_for_consent();
        if !waits {
            self.fetchable(of, now)?;
        }
        let policy = (self.policy)(&of.insurer);
        let text = |name: &str, text: String| HandedOut {
            name: name.to_owned(),
            // Windows' editors want their line ends.
            bytes: format!("\u{feff}{}", text.replace('\n', "\r\n")).into_bytes(),
        };
        let issued = match of.certificate {
            Some(id) => self.issuer.files(id)?,
            None => Vec::new(),
        };
        let new = of.kind == ApplicationKind::New;
        let names: Vec<_> = issued.iter().map(|file| file.name.as_str()).collect();
        let mut files = vec![text(README, if new { readme(of, &names) } else { readme_again(of, &names) })];
        if new || waits {
            files.push(text(TERMS, policy.terms.clone()));
        }
        if new {
            files.push(text(SETUP, setup::template(&policy, of.language)));
        } else if waits {
            files.push(text(RENEW, self.consent_form(of)));
        }
        files.extend(issued);
        Ok(files)
    }

    /// Hands everything out at once: counts as a download.
    pub fn download(
        &self,
        id: ApplicationId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Vec<HandedOut>, PartyError> {
        let of = self.get(id)?;
        let files = self.files(&of, now)?;
        self.downloaded(id, by, now)?;
        Ok(files)
    }

    /// Something of it was fetched to its end.
    pub fn downloaded(&self, id: ApplicationId, by: &Actor, now: Timestamp) -> Result<(), PartyError> {
        self.go(id, ApplicationStep::Downloaded, by, now)
    }
}

fn readme(of: &Application, issued: &[&str]) -> String {
    let (id, account) = (of.id, &of.account);
    let listed = issued.iter().map(|name| format!("     {name}\n")).collect::<String>();
    match of.language {
        Language::Ja => format!(
            "申込番号 {id}  アカウント {account}\n\n\
             1. 次のファイルをすべて、利用するパソコンに保存してください。初回ログインまで何度でも取得できます。\n{listed}\
             \u{20}    .p12 は、ダブルクリックして証明書のインポートウィザードでインストールします(パスワードは証明書発行用パスワード)。\n\
             2. terms.txt(利用規約)を読んでください。\n\
             3. setup.toml に、申込完了メールに書かれた事業所名・利用者名・メールアドレスと、利用規約への同意を書き、\n\
             \u{20}    同じ名前でこのフォルダー(/enrol/)に送信してください。登録内容と合えば初期設定は完了です。\n\
             4. アカウント {account} でログインしてください(鍵と -cert.pub の証明書を使います)。これで利用開始です。\n"
        ),
        Language::En => format!(
            "Application {id}, account {account}\n\n\
             1. Keep all of these files on the machine that will be used. They can be fetched any number of times until the first login.\n{listed}\
             \u{20}    Install the .p12 by a double click (its password is the certificate-issue password).\n\
             2. Read terms.txt, the terms of use.\n\
             3. Fill in setup.toml as the mail that answered the application says, with your consent, and put it here (/enrol/) under\n\
             \u{20}    the same name. When it agrees with what is registered, the first set-up is done.\n\
             4. Log in as {account} with the key and its -cert.pub certificate. It is in use from then on.\n"
        ),
    }
}

/// For an account that is at work: there is no set-up.
fn readme_again(of: &Application, issued: &[&str]) -> String {
    let (id, account) = (of.id, &of.account);
    let listed = issued.iter().map(|name| format!("     {name}\n")).collect::<String>();
    match (of.language, of.waits_for_consent()) {
        (Language::Ja, true) => format!(
            "申込番号 {id}  アカウント {account}\n\n\
             1. terms.txt(利用規約)を読んでください。\n\
             2. renew.toml に同意・利用区分・支払方法を書き、同じ名前でこのフォルダー(/enrol/)に送信してください。\n\
             3. 発行されると、ここに証明書が置かれます。\n"
        ),
        (Language::En, true) => format!(
            "Application {id}, account {account}\n\n\
             1. Read terms.txt, the terms of use.\n\
             2. Fill in renew.toml (consent, class of use, payment) and put it here (/enrol/) under the same name.\n\
             3. The certificate appears here when it is issued.\n"
        ),
        (Language::Ja, false) => format!(
            "申込番号 {id}  アカウント {account}\n\n\
             1. 次のファイルをすべて、利用するパソコンに保存してください。\n{listed}\
             \u{20}    .p12 は、ダブルクリックして証明書のインポートウィザードでインストールします(パスワードは証明書発行用パスワード)。\n\
             2. アカウント {account} でログインしてください(新しい鍵と -cert.pub の証明書を使います)。これで利用開始です。\n\
             \u{20}  それまでは、何度でも取得できます。\n"
        ),
        (Language::En, false) => format!(
            "Application {id}, account {account}\n\n\
             1. Keep all of these files on the machine that will be used.\n{listed}\
             \u{20}    Install the .p12 by a double click (its password is the certificate-issue password).\n\
             2. Log in as {account} with the new key and its -cert.pub certificate. It is in use from then on; until then the\n\
             \u{20}  files can be fetched any number of times.\n"
        ),
    }
}
