//! Who may log in over SFTP, and how often at the same time (K14).

mod standing;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use russh::keys::ssh_key::{HashAlg, PublicKey};
use serde::{Deserialize, Serialize};

use super::account::WithAccount;
use super::enrol::{Enrolled, EnrolmentDoor};
use super::office::{OfficeParts, OfficeTree, SendUntil};
use super::port::{Admission, Credential, Entered, Fault, Gate, Link, PasswordAnswer, Second, Status, Tree};
use super::second::SecondFactor;
use crate::model::application::Application;
use crate::model::certificate::{Certificate, CertificateStanding, RevocationReason};
use crate::model::finding::Language;
use crate::model::ids::{AccountId, CertificateId};
use crate::model::metric;
use crate::model::party::{Account, Actor, Role};
use crate::model::time::{Clock, SECOND, Timestamp};
use crate::signed::certificate::CertificateError;
use crate::signed::sshcert::Use;
use crate::signed::sshsig;
use crate::store::dropbox::Login;
use crate::store::dropboxes::Dropboxes;
use crate::store::enrolled;
use crate::store::ledger::{CertificateFilter, Ledger, LedgerError, Op};
use crate::store::verification::{AsOf, Certified, NotVerified, Verification};

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
    send_until: Arc<SendUntil>,
    connections: HashMap<u64, Connected>,
}

/// One of its connections.
struct Connected {
    link: Arc<dyn Link>,
    /// What it proved to hold.
    credential: Credential,
    /// The number of the certificate that it came by.
    certificate: Option<CertificateId>,
}

/// Why somebody is not let in.
enum No {
    /// For the log alone: a code and a reason.
    Quiet(&'static str, &'static str),
    /// Of somebody who proved to hold a key that is certified for the account: told, in words.
    Certificate(Box<Account>, NotVerified),
    /// Of somebody who proved all that is asked for, while the account cannot be used: told, in these words.
    Stopped(Fault),
    /// The ledger failed.
    Fault,
}

impl No {
    /// For the log.
    fn code(&self) -> &'static str {
        match self {
            Self::Quiet(code, _) => code,
            Self::Certificate(_, why) => why.code(),
            Self::Stopped(_) => "LOGIN-STOPPED",
            Self::Fault => "INTERNAL",
        }
    }
}

impl From<LedgerError> for No {
    fn from(error: LedgerError) -> Self {
        tracing::error!(%error, "a login could not be judged");
        Self::Fault
    }
}

/// Who was let in, and by which certificate.
struct Known {
    account: Account,
    certified: Option<Certified>,
}

/// Certificates of an account that are looked at for another way in.
const CERTIFICATES_LOOKED_AT: usize = 32;

/// A certified key that comes alone again after so long, and before so long, is told that it lacks its certificate.
const BARE_AGAIN: i64 = SECOND;
const BARE_FORGOTTEN: i64 = 60 * SECOND;
/// So many of them are remembered.
const BARE_MAX: usize = 10_000;

/// Makes the tree of an account's session.
pub type TreeOf = dyn Fn(&Account) -> Arc<dyn Tree> + Send + Sync;

/// A line for who logs in; none when there is nothing to say.
pub type LoginWarning = dyn Fn(&Account, Timestamp) -> Option<String> + Send + Sync;

type Logins = Arc<Mutex<HashMap<AccountId, Vec<Entry>>>>;

/// Lets accounts in by their registered keys and their certificates.
pub struct KeyGate {
    /// Accounts.
    pub ledger: Arc<dyn Ledger>,
    /// Judges certificates.
    pub verification: Arc<Verification>,
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
    /// Passwords beside keys.
    pub second: SecondFactor,
    /// Enrolment logins, where there are any.
    pub enrolment: Option<EnrolmentDoor>,
    /// What a login says of certificates that end soon.
    pub warning: Option<Box<LoginWarning>>,
    logins: Logins,
    next_login: AtomicU64,
    /// Certified keys that came without their certificate, and since when.
    bare: Mutex<HashMap<(AccountId, String), Timestamp>>,
}

impl KeyGate {
    /// A gate with nobody inside.
    #[allow(clippy::too_many_arguments, reason = "its parts, each once")]
    pub fn new(
        ledger: Arc<dyn Ledger>,
        verification: Arc<Verification>,
        office: Arc<OfficeParts>,
        insurer: Box<TreeOf>,
        dropboxes: Arc<Dropboxes>,
        clock: Arc<dyn Clock>,
        policy: LoginPolicy,
        second: SecondFactor,
    ) -> Self {
        let policy = Arc::new(Mutex::new(policy));
        // Login 0 is every earlier process's: what it left counts as left by an earlier session.
        let next_login = AtomicU64::new(1);
        Self {
            ledger,
            verification,
            office,
            insurer,
            dropboxes,
            clock,
            policy,
            second,
            enrolment: None,
            warning: None,
            logins: Logins::default(),
            next_login,
            bare: Mutex::default(),
        }
    }

    /// The session of an application's certified key.
    fn enrolment_of(&self, login: &str, key: &PublicKey) -> Option<(&EnrolmentDoor, Application)> {
        let door = self.enrolment.as_ref()?;
        Some((door, door.of_key(login, key)?))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AccountId, Vec<Entry>>> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account of this name.
    fn account(&self, account: &str) -> Result<Account, No> {
        let id =
            AccountId::parse(account).map_err(|_| No::Quiet("LOGIN-ACCOUNT", "not an account's name"))?;
        self.ledger.account(&id)?.ok_or(No::Quiet("LOGIN-ACCOUNT", "no such account"))
    }

    /// Whether the key could be the account's: registered, certified whenever, or of some other authority's certificate.
    fn offered(&self, account: &str, key: &PublicKey) -> Result<(), No> {
        sshsig::require_strong(key.key_data()).map_err(|_| No::Quiet("WEAK-KEY", "the key is too weak"))?;
        // Then nothing can be said of any key; nor may the answer tell which accounts there are.
        if self.verification.trusts_external_openssh()? {
            return Ok(());
        }
        let account = self.account(account)?;
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        if is_registered(&account, &fingerprint) || !self.certified(&account, &fingerprint)?.is_empty() {
            return Ok(());
        }
        Err(No::Quiet("LOGIN-KEY", "the key is not the account's"))
    }

    /// The account's certificates over this key, oldest first.
    fn certified(&self, account: &Account, fingerprint: &str) -> Result<Vec<Certificate>, LedgerError> {
        let mut all = self.ledger.certificates_of_key(fingerprint)?;
        all.retain(|certificate| certificate.account == account.id);
        Ok(all)
    }

    /// The account, if this credential may log in to it now.
    fn check(&self, account: &str, credential: &Credential, from: SocketAddr) -> Result<Known, No> {
        let account = self.account(account)?;
        let known = self.judge(&account, credential, from.ip())?;
        match self.stopped(&account)? {
            None => Ok(known),
            Some(why) => Err(No::Stopped(why)),
        }
    }

    /// Whether this credential is the account's, whatever the account's standing.
    fn judge(&self, account: &Account, credential: &Credential, from: IpAddr) -> Result<Known, No> {
        let key = credential.key();
        sshsig::require_strong(key.key_data()).map_err(|_| No::Quiet("WEAK-KEY", "the key is too weak"))?;
        let now = AsOf::Now(self.clock.now());
        let known = |certified| Known { account: account.clone(), certified };
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let why = match credential {
            Credential::Key(_) if is_registered(account, &fingerprint) => {
                match self.verification.lost(&fingerprint, now)? {
                    None => return Ok(known(None)),
                    since => CertificateError::Revoked { since }.into(),
                }
            }
            Credential::Key(_) => match self.certified(account, &fingerprint)?.pop() {
                Some(newest) => without_certificate(&newest, now.at()).into(),
                None => return Err(No::Quiet("LOGIN-KEY", "the key is not the account's")),
            },
            Credential::Certificate(certificate) => {
                match self.verification.openssh(account, certificate, Use::Login(from), now) {
                    Ok(certified) => return Ok(known(Some(certified))),
                    Err(NotVerified::Ledger(error)) => return Err(error.into()),
                    Err(why) => why,
                }
            }
        };
        // A stranger learns nothing of the account, not even that it is there.
        if self.certified(account, &fingerprint)?.is_empty() {
            return Err(No::Quiet(why.code(), "a certificate over a key that is not the account's"));
        }
        Err(No::Certificate(Box::new(account.clone()), why))
    }

    /// Whether the account could log in by something else than this key: then a client that has that as well must be able to go
    /// on to it, and words that end the login would be in its way.
    fn has_other_ways(&self, account: &Account, key: &PublicKey) -> bool {
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let now = self.clock.now();
        let counts = |other: &str| {
            other != fingerprint
                && self.verification.lost(other, AsOf::Now(now)).is_ok_and(|lost| lost.is_none())
        };
        if account.keys.iter().any(|own| counts(&own.fingerprint)) {
            return true;
        }
        let filter = CertificateFilter { account: Some(account.id.clone()), before: None };
        let holds = |other: &Certificate| {
            other.fingerprint != fingerprint
                && other.openssh.is_some()
                && other.standing_at(now) == CertificateStanding::Holds
        };
        self.ledger.certificates(&filter, CERTIFICATES_LOOKED_AT).is_ok_and(|all| all.iter().any(holds))
    }

    /// Whether a certified key that came alone came so before. OpenSSH offers a key before the certificate that lies beside it, so
    /// that words would be in the way of a client that is about to present it; one that had none comes again.
    fn bare_again(&self, account: &AccountId, key: &PublicKey) -> bool {
        let now = self.clock.now();
        let which = (account.clone(), key.fingerprint(HashAlg::Sha256).to_string());
        let mut bare = self.bare.lock().unwrap_or_else(PoisonError::into_inner);
        let since = bare.get(&which).map(|first| now.since(*first));
        if since.is_some_and(|since| (BARE_AGAIN..BARE_FORGOTTEN).contains(&since)) {
            bare.remove(&which);
            return true;
        }
        if bare.len() >= BARE_MAX {
            bare.clear();
        }
        // Several connections at once are one attempt.
        if since.is_none_or(|since| since >= BARE_FORGOTTEN) {
            bare.insert(which, now);
        }
        false
    }

    /// Its certificate came after all.
    fn presented(&self, account: &str, key: &PublicKey) {
        if let Ok(account) = AccountId::parse(account) {
            let which = (account, key.fingerprint(HashAlg::Sha256).to_string());
            self.bare.lock().unwrap_or_else(PoisonError::into_inner).remove(&which);
        }
    }

    /// Ends the connections that came by this certificate and, where its key was lost, by the key alone; says how many.
    pub fn revoked(&self, of: &Certificate) -> usize {
        let id = of.id;
        let lost = of.revoked.is_some_and(|r| r.reason == RevocationReason::KeyCompromise);
        let logins = self.lock();
        let links: Vec<_> = logins
            .values()
            .flatten()
            .flat_map(|entry| entry.connections.values().map(move |c| (entry, c)))
            .filter(|(e, c)| c.certificate == Some(id) || (lost && e.fingerprint == of.fingerprint))
            .map(|(_, c)| Arc::clone(&c.link))
            .collect();
        drop(logins);
        for link in &links {
            link.revoked();
        }
        if !links.is_empty() {
            tracing::info!(certificate = %id, connections = links.len(), "sessions by a revoked certificate were ended");
        }
        links.len()
    }

    /// Records the first login (K27). A failure costs nothing: the next login is the first then.
    fn note_use(&self, known: &Known, now: Timestamp) {
        let record = known.certified.as_ref().and_then(|certified| certified.record.as_ref());
        let Some(record) = record.filter(|record| record.first_used_at.is_none()) else { return };
        let by = Actor::Account(known.account.id.clone());
        if let Err(error) = self.ledger.commit(Op::UseCertificate(record.id), by, now) {
            tracing::warn!(certificate = %record.id, %error, "the first use of a certificate was not recorded");
        }
    }

    fn tree(
        &self,
        account: &Account,
        login: Login,
        proven: &str,
        send_until: Arc<SendUntil>,
    ) -> Result<Arc<dyn Tree>, Fault> {
        let tree = self.own_tree(account, login, send_until)?;
        let office = Arc::clone(&self.office);
        Ok(Arc::new(WithAccount::new(tree, office, account.id.clone(), proven.to_owned())))
    }

    fn own_tree(
        &self,
        account: &Account,
        login: Login,
        send_until: Arc<SendUntil>,
    ) -> Result<Arc<dyn Tree>, Fault> {
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
        let tree = OfficeTree::new(Arc::clone(&self.office), account.clone(), dropbox, login);
        Ok(Arc::new(tree.sending_until(send_until)))
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
    fn may_offer(&self, account: &str, key: &PublicKey, from: SocketAddr) -> bool {
        if self.enrolment_of(account, key).is_some() {
            return true;
        }
        match self.offered(account, key) {
            Ok(()) => true,
            Err(no) => {
                refused(account, from, &no);
                false
            }
        }
    }

    fn may_enter(&self, account: &str, credential: &Credential, from: SocketAddr) -> Admission {
        if self.enrolment_of(account, &credential.key()).is_some() {
            return Admission::Welcome;
        }
        if let Credential::Certificate(_) = credential {
            self.presented(account, &credential.key());
        }
        match self.check(account, credential, from) {
            Ok(_) => Admission::Welcome,
            Err(no) => {
                refused(account, from, &no);
                match no {
                    No::Certificate(account, NotVerified::Certificate(CertificateError::NotPresented))
                        if !self.bare_again(&account.id, &credential.key()) =>
                    {
                        Admission::Refused
                    }
                    No::Certificate(account, why) if !self.has_other_ways(&account, &credential.key()) => {
                        why.text(self.office.zone).map_or(Admission::Refused, |text| {
                            Admission::Told(fault(account.language, why.code(), &text.ja, &text.en))
                        })
                    }
                    No::Stopped(why) => Admission::Told(why),
                    _ => Admission::Refused,
                }
            }
        }
    }

    fn enrolment(&self, login: &str, given: &str, from: SocketAddr) -> Enrolled {
        match &self.enrolment {
            Some(_) if self.second.source_is_locked(from) => Enrolled::Wrong,
            Some(door) => door.by_password(login, given, from),
            None => Enrolled::Not,
        }
    }

    fn after_key(&self, account: &str, credential: &Credential, from: SocketAddr) -> Second {
        if self.enrolment_of(account, &credential.key()).is_some() {
            return Second::Enough;
        }
        match self.proven(account, credential, from) {
            Ok(known) => self.second.after_key(&known.account, from),
            Err(fault) => Second::Refused(fault),
        }
    }

    fn password_without_key(&self, account: &str, from: SocketAddr) {
        self.second.without_key(account, from);
    }

    fn password(
        &self,
        account: &str,
        credential: &Credential,
        given: &str,
        from: SocketAddr,
    ) -> PasswordAnswer {
        match self.proven(account, credential, from) {
            Ok(known) => self.second.password(&known.account, given, from),
            Err(fault) => PasswordAnswer::Refused(fault),
        }
    }

    fn change_password(
        &self,
        account: &str,
        credential: &Credential,
        old: &str,
        new: &str,
        from: SocketAddr,
    ) -> PasswordAnswer {
        match self.proven(account, credential, from) {
            Ok(known) => self.second.change(&known.account, old, new, from),
            Err(fault) => PasswordAnswer::Refused(fault),
        }
    }

    fn enter(
        &self,
        account: &str,
        credential: &Credential,
        with_password: bool,
        from: SocketAddr,
        session: u64,
        link: Arc<dyn Link>,
    ) -> Result<Entered, Fault> {
        if let Some((door, of)) = self.enrolment_of(account, &credential.key()) {
            return door.enter(&of, from);
        }
        let name = account;
        let known = self.proven(name, credential, from)?;
        if !with_password {
            match self.second.after_key(&known.account, from) {
                Second::Enough => {}
                Second::Refused(fault) => return Err(fault),
                Second::Password(language) => {
                    return Err(fault(language, "LOGIN", "ログインできません。", "Login is not possible."));
                }
            }
        }
        let certificate = known.certified.as_ref().and_then(Certified::id);
        let link = Connected { link, credential: credential.clone(), certificate };
        let key = credential.key();
        let policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let now = self.clock.now();
        self.note_use(&known, now);
        let account = known.account;
        let max = if account.machine || account.role == Role::Insurer {
            policy.machine_logins_max
        } else {
            policy.logins_max
        };
        let send_until = with_password.then(|| self.second.send_until(&account)).flatten();
        let mut logins = self.lock();
        let entries = logins.entry(account.id.clone()).or_default();
        // The same key from the same address: another connection of the same login.
        if let Some(entry) =
            entries.iter_mut().find(|e| e.fingerprint == fingerprint && e.source == from.ip())
            && let Some(tree) = entry.tree.upgrade()
        {
            if entry.connections.len() >= policy.connections_per_login_max {
                return Err(too_many_connections(account.language, policy.connections_per_login_max));
            }
            entry.connections.insert(session, link);
            if with_password {
                entry.send_until.set(send_until);
            }
            let login = entry.login;
            drop(logins);
            let place = self.place(account.id, login, session);
            // What was revoked or stopped meanwhile found no connection to end yet.
            self.proven(name, credential, from)?;
            return Ok(entered(place, tree, Vec::new()));
        }
        if entries.len() >= max {
            let idle =
                |e: &Entry| e.connections.values().map(|c| c.link.idle()).min().unwrap_or(Duration::MAX);
            let patience = Duration::from_secs(policy.replace_idle_seconds.into());
            let dead = entries.iter().position(|e| {
                e.tree.strong_count() == 0 || (e.fingerprint == fingerprint && idle(e) >= patience)
            });
            let Some(dead) = dead else {
                return Err(self.in_use(account.language, &entries[0], max));
            };
            let replaced = entries.remove(dead);
            tracing::info!(account = %account.id, from = %replaced.source, "an idle login makes way for a new one");
            for connected in replaced.connections.values() {
                connected.link.evict();
            }
        }
        let login = self.next_login.fetch_add(1, Ordering::Relaxed);
        let sending = Arc::new(SendUntil::default());
        sending.set(send_until);
        let tree = self.tree(&account, login, &fingerprint, Arc::clone(&sending))?;
        entries.push(Entry {
            login,
            fingerprint,
            source: from.ip(),
            since: now,
            tree: Arc::downgrade(&tree),
            send_until: sending,
            connections: HashMap::from([(session, link)]),
        });
        drop(logins);
        let place = self.place(account.id.clone(), login, session);
        self.proven(name, credential, from)?;
        let mut welcome = self.second.begin(&account, from, send_until);
        welcome.extend(self.warning.as_ref().and_then(|warning| warning(&account, now)));
        if let Err(error) = enrolled::logged_in(self.ledger.as_ref(), &account.id, certificate, now) {
            tracing::error!(account = %account.id, %error, "a first login could not be recorded");
        }
        Ok(entered(place, tree, welcome))
    }
}

fn too_many_connections(language: Language, max: usize) -> Fault {
    fault(
        language,
        "LOGIN-CONNECTIONS",
        &format!("同時接続数の上限({max})に達しました。ほかの接続を閉じてからやり直してください。"),
        &format!("This login has as many connections as it may ({max}). Close others first."),
    )
}

fn is_registered(account: &Account, fingerprint: &str) -> bool {
    account.keys.iter().any(|key| key.fingerprint == fingerprint)
}

/// What to say of a certified key that came alone: its certificate was left out, or `russh` has refused it for its period.
fn without_certificate(newest: &Certificate, now: Timestamp) -> CertificateError {
    match newest.standing_at(now) {
        CertificateStanding::Holds => CertificateError::NotPresented,
        CertificateStanding::Future => CertificateError::NotYet { from: newest.not_before },
        CertificateStanding::Ended => CertificateError::Expired { since: newest.not_after },
        CertificateStanding::Revoked => {
            CertificateError::Revoked { since: newest.revoked.map(|revocation| revocation.at) }
        }
    }
}

/// For the log and the figures.
fn refused(account: &str, from: SocketAddr, no: &No) {
    let account = crate::model::escape::excerpt(account, 32);
    metrics::counter!(metric::LOGINS, "result" => "refused").increment(1);
    let code = no.code();
    match no {
        No::Quiet(_, reason) => tracing::info!(%account, %from, code, reason, "a login was refused"),
        No::Certificate(_, why) => {
            tracing::info!(%account, %from, code, reason = %why, "a login was refused");
        }
        No::Stopped(why) => tracing::info!(%account, %from, code, told = %why.code, "a login was refused"),
        No::Fault => tracing::info!(%account, %from, code, "a login was refused"),
    }
}

impl KeyGate {
    /// Somebody else is there (K14): since when, and from where.
    fn in_use(&self, language: Language, other: &Entry, max: usize) -> Fault {
        let since = other.since.utc().with_timezone(&self.office.zone).format("%m/%d %H:%M");
        let source = other.source;
        fault(
            language,
            "LOGIN-ELSEWHERE",
            &format!(
                "このアカウントは {since} から {source} で使用中です(同時に使えるのは {max} か所です)。そちらを終了してからやり直してください。"
            ),
            &format!(
                "This account is in use since {since} from {source} (at most {max} at a time). End that session first."
            ),
        )
    }

    /// The account of somebody who proved this credential.
    fn proven(&self, account: &str, credential: &Credential, from: SocketAddr) -> Result<Known, Fault> {
        self.check(account, credential, from).map_err(|no| {
            refused(account, from, &no);
            match no {
                No::Stopped(why) => why,
                _ => fault(Language::Ja, "LOGIN", "ログインできません。", "Login is not possible."),
            }
        })
    }

    /// What frees the connection's place when it is dropped.
    fn place(&self, account: AccountId, login: Login, session: u64) -> Leave {
        metrics::gauge!(metric::SESSIONS).increment(1.0);
        Leave { logins: Arc::clone(&self.logins), account, login, session }
    }
}

fn entered(place: Leave, tree: Arc<dyn Tree>, welcome: Vec<String>) -> Entered {
    metrics::counter!(metric::LOGINS, "result" => "accepted").increment(1);
    Entered { account: place.account.clone(), tree, welcome, guard: Box::new(place) }
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
