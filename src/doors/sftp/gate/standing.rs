//! Who may be here at present: the standing of account and insurer, and sessions that run judged again when that, a key or an
//! authority changed.

use std::net::IpAddr;
use std::sync::Arc;

use super::{KeyGate, No, fault};
use crate::doors::sftp::port::{Credential, Fault, Link};
use crate::model::finding::Text;
use crate::model::ids::AccountId;
use crate::model::party::{Account, Standing};
use crate::rules::login::{ACCOUNT_STOPPED, account_stopped};
use crate::signed::certificate::CertificateError;
use crate::store::enrolled;
use crate::store::ledger::LedgerError;
use crate::store::verification::{NotVerified, may_act};

/// A connection that runs, and by what it came.
struct Here {
    account: AccountId,
    credential: Credential,
    from: IpAddr,
    link: Arc<dyn Link>,
}

impl KeyGate {
    /// Why the account cannot be used at present, in words for who proved to hold its key; none while it can.
    pub(super) fn stopped(&self, account: &Account) -> Result<Option<Fault>, LedgerError> {
        if may_act(self.ledger.as_ref(), account)? {
            return Ok(None);
        }
        // Of an insurer that serves nobody, the set-up would help nobody.
        let active = Account { standing: Standing::Active, ..account.clone() };
        if account.standing == Standing::Suspended
            && may_act(self.ledger.as_ref(), &active)?
            && let Some(id) = enrolled::waits_for_set_up(self.ledger.as_ref(), &account.id)?
            && enrolled::open_to(self.ledger.as_ref(), id, self.clock.now())?.is_some()
        {
            return Ok(Some(fault(
                account.language,
                "SET-UP-FIRST",
                &format!(
                    "初回の設定がまだです。ログイン名 {id} で接続し、/enrol/setup.toml を取得して記入し、同じ名前で送り返してください。済むとこのアカウントでログインできます。"
                ),
                &format!(
                    "This account waits for its first set-up. Log in as {id}, get /enrol/setup.toml, fill it in and put it back under the same name; then this account can be used."
                ),
            )));
        }
        let Text { ja, en } = account_stopped();
        Ok(Some(fault(account.language, ACCOUNT_STOPPED, &ja, &en)))
    }

    /// Judges every session that runs by what is true now, and ends those that would not be let in any more: an account or
    /// insurer that was suspended or closed, a key that was removed or lost, an authority that is trusted no more. How many. One
    /// whose certificate's days are over goes on to its own end.
    pub fn look_again(&self) -> usize {
        let mut here = Vec::new();
        for (account, entries) in self.lock().iter() {
            for entry in entries {
                here.extend(entry.connections.values().map(|connected| Here {
                    account: account.clone(),
                    credential: connected.credential.clone(),
                    from: entry.source,
                    link: Arc::clone(&connected.link),
                }));
            }
        }
        let mut ended = 0;
        for Here { account, credential, from, link } in here {
            if let Err(code) = self.may_stay(&account, &credential, from) {
                tracing::info!(%account, %from, code, "a session was ended that would not be let in any more");
                link.stopped();
                ended += 1;
            }
        }
        ended
    }

    /// Why not, as a code for the log. A ledger that fails ends nobody's session.
    fn may_stay(&self, id: &AccountId, credential: &Credential, from: IpAddr) -> Result<(), &'static str> {
        let account = match self.ledger.account(id) {
            Ok(Some(account)) => account,
            Ok(None) => return Err("LOGIN-ACCOUNT"),
            Err(error) => {
                tracing::error!(account = %id, %error, "whether a session may go on could not be looked up");
                return Ok(());
            }
        };
        if self.stopped(&account).is_ok_and(|why| why.is_some()) {
            return Err("LOGIN-STOPPED");
        }
        match self.judge(&account, credential, from) {
            Ok(_)
            | Err(
                No::Fault | No::Certificate(_, NotVerified::Certificate(CertificateError::Expired { .. })),
            ) => Ok(()),
            Err(no) => Err(no.code()),
        }
    }
}
