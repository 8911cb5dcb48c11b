//! What `profile.toml` says of the account's logins: this one, the one before it (H), and when its password ends (E1).

use super::{AccountFiles, SelfFault};
use crate::model::finding::Text;
use crate::model::party::Account;
use crate::model::time::Timestamp;
use crate::rules::renewal;

impl AccountFiles {
    /// Lines for the part of the profile that is only read.
    pub(super) fn about_logins(&self, account: &Account, now: Timestamp) -> Result<Vec<Text>, SelfFault> {
        let mut lines = Vec::new();
        let mut line = |ja: &str, en: &str, what: String| {
            lines.push(Text::new(format!("{ja}: {what}"), format!("{en}: {what}")));
        };
        let logins = [
            ("今回のログイン", "This login", self.attempts.last_login(&account.id)),
            ("前回のログイン", "Last login", self.attempts.login_before(&account.id)),
        ];
        for (ja, en, login) in logins {
            if let Some(login) = login {
                line(ja, en, format!("{} ({})", login.at.shown_in(self.zone), login.from));
            }
        }
        if let Some(end) = self.passwords.end_of(self.ledger.as_ref(), account, now)? {
            line(
                "パスワードの有効期限",
                "Last day of the password",
                renewal::last_day(end.until, self.zone).to_string(),
            );
        }
        Ok(lines)
    }
}
