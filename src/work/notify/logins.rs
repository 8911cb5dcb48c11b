//! News of logins: each is told once, which the ledger sees to.

use super::Notifier;
use crate::model::mail::Subject;
use crate::model::time::Timestamp;
use crate::rules::notice::LoginNotice;

/// News told in one round.
const BATCH: usize = 100;

impl Notifier {
    /// Tells accounts that a password was set or that passwords are locked.
    pub(super) fn tell_logins(&self, now: Timestamp) -> anyhow::Result<()> {
        for (seq, id, news) in self.ledger.login_news(BATCH)? {
            let tell = || {
                let account = self.account(&id)?;
                let to = self.addressed(&account, None)?;
                let notice = LoginNotice { to, account: id.to_string(), news, zone: self.policy().zone };
                self.seal(&self.mailbox_of(&account)?, &notice, Subject::Login(seq), now)
            };
            let alarm = format!("NOTICE-FAILED {id} login");
            if let Err(error) = tell() {
                // Others' mails go on; this one comes again at the next round.
                tracing::error!(account = %id, error = format!("{error:#}"), "news of a login could not be told");
                self.alarms.raise(&alarm, &format!("account {id}: {error:#}"), now);
            } else {
                self.alarms.clear(&alarm);
            }
        }
        Ok(())
    }
}
