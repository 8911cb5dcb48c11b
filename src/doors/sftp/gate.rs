//! Who may log in over SFTP, and how often at the same time (K14).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use russh::keys::ssh_key::{HashAlg, PublicKey};
use serde::{Deserialize, Serialize};

use super::account::WithAccount;
use super::office::{OfficeParts, OfficeTree};
use super::port::{Entered, Fault, Gate, Link, Status, Tree};
use crate::model::finding::Language;
use crate::model::ids::AccountId;
use crate::model::metric;
use crate::model::party::{Account, Role, Standing};
use crate::model::time::{Clock, Timestamp};
use crate::signed::sshsig;
use crate::store::dropbox::Login;
use crate::store::dropboxes::Dropboxes;
use crate::store::ledger::Ledger;

/// Policy of logins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoginPolicy {
    /// Logins of a people's account at the same time (K14). Connections of the same key from the same address count as
    /// one.
    pub logins_max: usize,
    /// The same for a machine account (payroll system) and for an insurer's account.
    pub machine_logins_max: usize,
    /// Connections within one login.
    pub connections_per_login_max: usize,
    /// A login that did nothing for so long makes way for a new one with the same key.
    pub replace_idle_seconds: u32,
}

impl Default for LoginPolicy {
    fn default() -> Self {
        Self {
            logins_max: 1,
            machine_logins_max: 16,
            connections_per_login_max: 16,
            replace_idle_seconds: 30,
        }
    }
}

/// One login: connections of the same key from the same address.
struct Entry {
    login: Login,
    fingerprint: String,
    source: IpAddr,
    since: Timestamp,
    tree: Weak<dyn Tree>,
    connections: HashMap<u64, Arc<dyn Link>>,
}

/// Makes the tree of an account's session.
pub type TreeOf = dyn Fn(&Account) -> Arc<dyn Tree> + Send + Sync;

type Logins = Arc<Mutex<HashMap<AccountId, Vec<Entry>>>>;

/// Lets accounts in by their registered keys.
pub struct KeyGate {
    /// Accounts.
    pub ledger: Arc<dyn Ledger>,
    /// Offices' and agents' trees.
    pub office: Arc<OfficeParts>,
    /// Makes an insurer's tree.
    pub insurer: Box<TreeOf>,
    /// Drop-boxes.
    pub dropboxes: Arc<Dropboxes>,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Policy; can be changed while sessions run.
    pub policy: Arc<Mutex<LoginPolicy>>,
    logins: Logins,
    next_login: AtomicU64,
}

impl KeyGate {
    /// A gate with nobody inside.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        office: Arc<OfficeParts>,
        insurer: Box<TreeOf>,
        dropboxes: Arc<Dropboxes>,
        clock: Arc<dyn Clock>,
        policy: LoginPolicy,
    ) -> Self {
        let policy = Arc::new(Mutex::new(policy));
        // Login 0 is every earlier process's: what it left counts as left by an earlier session.
        let next_login = AtomicU64::new(1);
        Self { ledger, office, insurer, dropboxes, clock, policy, logins: Logins::default(), next_login }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AccountId, Vec<Entry>>> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account, if this key may log in to it; the reason, for the log, if not.
    fn check(&self, account: &str, key: &PublicKey) -> Result<Account, &'static str> {
        let id = AccountId::parse(account).map_err(|_| "not an account's name")?;
        sshsig::require_strong(key.key_data()).map_err(|_| "the key is too weak")?;
        let found = self.ledger.account(&id).map_err(|_| "the ledger failed")?.ok_or("no such account")?;
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        if !found.keys.iter().any(|k| k.fingerprint == fingerprint) {
            return Err("the key is not the account's");
        }
        if found.standing != Standing::Active {
            return Err("the account is suspended or closed");
        }
        let insurer = self.ledger.insurer(&found.insurer).map_err(|_| "the ledger failed")?;
        if insurer.is_none_or(|i| i.standing != Standing::Active) {
            return Err("the insurer is suspended or closed");
        }
        Ok(found)
    }

    fn tree(&self, account: &Account, login: Login) -> Result<Arc<dyn Tree>, Fault> {
        let tree = self.own_tree(account, login)?;
        Ok(Arc::new(WithAccount::new(tree, Arc::clone(&self.office), account.id.clone())))
    }

    fn own_tree(&self, account: &Account, login: Login) -> Result<Arc<dyn Tree>, Fault> {
        if account.role == Role::Insurer {
            return Ok((self.insurer)(account));
        }
        let dropbox = self.dropboxes.of(&account.id).map_err(|e| {
            let id = crate::model::incident::id();
            tracing::error!(incident = %id, account = %account.id, error = %e, "the drop-box cannot be opened");
            fault(
                account.language,
                "INTERNAL",
                &format!("サーバー側の問題でログインできません(番号 {id})。運用担当へお知らせください。"),
                &format!("The server failed ({id}). Tell the operator this number."),
            )
        })?;
        Ok(Arc::new(OfficeTree::new(Arc::clone(&self.office), account.clone(), dropbox, login)))
    }
}

fn fault(language: Language, code: &'static str, ja: &str, en: &str) -> Fault {
    let text = match language {
        Language::Ja => ja,
        Language::En => en,
    };
    Fault { status: Status::PermissionDenied, code: code.into(), text: text.to_owned(), loud: true }
}

impl Gate for KeyGate {
    fn may_enter(&self, account: &str, key: &PublicKey, from: SocketAddr) -> bool {
        match self.check(account, key) {
            Ok(_) => true,
            Err(reason) => {
                let account = crate::model::escape::excerpt(account, 32);
                metrics::counter!(metric::LOGINS, "result" => "refused").increment(1);
                tracing::info!(%account, %from, reason, "a key was not let in");
                false
            }
        }
    }

    fn enter(
        &self,
        account: &str,
        key: &PublicKey,
        from: SocketAddr,
        session: u64,
        link: Arc<dyn Link>,
    ) -> Result<Entered, Fault> {
        let account = self.check(account, key).map_err(|reason| {
            tracing::info!(%from, reason, "a key was let in and then not");
            fault(Language::Ja, "LOGIN", "ログインできません。", "Login is not possible.")
        })?;
        let policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let now = self.clock.now();
        let max = if account.machine || account.role == Role::Insurer {
            policy.machine_logins_max
        } else {
            policy.logins_max
        };
        let mut logins = self.lock();
        let entries = logins.entry(account.id.clone()).or_default();
        // The same key from the same address: another connection of the same login.
        if let Some(entry) =
            entries.iter_mut().find(|e| e.fingerprint == fingerprint && e.source == from.ip())
            && let Some(tree) = entry.tree.upgrade()
        {
            if entry.connections.len() >= policy.connections_per_login_max {
                return Err(fault(
                    account.language,
                    "LOGIN-CONNECTIONS",
                    &format!(
                        "同時接続数の上限({})に達しました。ほかの接続を閉じてからやり直してください。",
                        policy.connections_per_login_max
                    ),
                    &format!(
                        "This login has as many connections as it may ({}). Close others first.",
                        policy.connections_per_login_max
                    ),
                ));
            }
            entry.connections.insert(session, link);
            let login = entry.login;
            drop(logins);
            return Ok(self.entered(account.id, tree, login, session));
        }
        if entries.len() >= max {
            let idle = |e: &Entry| e.connections.values().map(|c| c.idle()).min().unwrap_or(Duration::MAX);
            let patience = Duration::from_secs(policy.replace_idle_seconds.into());
            let dead = entries.iter().position(|e| {
                e.tree.strong_count() == 0 || (e.fingerprint == fingerprint && idle(e) >= patience)
            });
            let Some(dead) = dead else {
                let other = &entries[0];
                let since =
                    other.since.utc().with_timezone(&self.office.zone).format("%m/%d %H:%M").to_string();
                let source = other.source;
                return Err(fault(
                    account.language,
                    "LOGIN-ELSEWHERE",
                    &format!(
                        "このアカウントは {since} から {source} で使用中です(同時に使えるのは {max} か所です)。そちらを終了してからやり直してください。"
                    ),
                    &format!(
                        "This account is in use since {since} from {source} (at most {max} at a time). End that session first."
                    ),
                ));
            };
            let replaced = entries.remove(dead);
            tracing::info!(account = %account.id, from = %replaced.source, "an idle login makes way for a new one");
            for link in replaced.connections.values() {
                link.evict();
            }
        }
        let login = self.next_login.fetch_add(1, Ordering::Relaxed);
        let tree = self.tree(&account, login)?;
        entries.push(Entry {
            login,
            fingerprint,
            source: from.ip(),
            since: now,
            tree: Arc::downgrade(&tree),
            connections: HashMap::from([(session, link)]),
        });
        drop(logins);
        Ok(self.entered(account.id, tree, login, session))
    }
}

impl KeyGate {
    fn entered(&self, account: AccountId, tree: Arc<dyn Tree>, login: Login, session: u64) -> Entered {
        metrics::counter!(metric::LOGINS, "result" => "accepted").increment(1);
        metrics::gauge!(metric::SESSIONS).increment(1.0);
        let guard = Leave { logins: Arc::clone(&self.logins), account: account.clone(), login, session };
        Entered { account, tree, guard: Box::new(guard) }
    }
}

/// Frees the login's place when its last connection is gone.
struct Leave {
    logins: Logins,
    account: AccountId,
    login: Login,
    session: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        metrics::gauge!(metric::SESSIONS).decrement(1.0);
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entries) = logins.get_mut(&self.account) else { return };
        if let Some(at) = entries.iter().position(|e| e.login == self.login) {
            entries[at].connections.remove(&self.session);
            if entries[at].connections.is_empty() {
                entries.remove(at);
            }
        }
        if entries.is_empty() {
            logins.remove(&self.account);
        }
    }
}
