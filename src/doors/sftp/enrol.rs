//! An enrolment login: by the password of an application, or the key that was certified for it, it sees `/enrol/` alone, from
//! the issue of the certificate to its account's first login with it (K27); of a renewal also while consent is waited for. Not
//! while its insurer is suspended, and in so many connections at the same time (`sessions.enrolment_max`).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use russh::keys::ssh_key::{HashAlg, PublicKey};

use super::account::{Place, WithAccount};
use super::office::OfficeParts;
use super::port::{
    Answer, Attributes, Entered, Fault, Listing, OpenFile, OpenFlags, SetAttributes, Space, Status, Tree,
    VirtualPath,
};
use super::words::Words;
use crate::model::application::Application;
use crate::model::finding::{Language, Text};
use crate::model::ids::{AccountId, ApplicationId};
use crate::model::login::{Credential, Purpose};
use crate::model::metric;
use crate::model::party::Standing;
use crate::store::credentials::{Checked, Credentials};
use crate::store::enrolled::open_to;
use crate::store::ledger::Ledger;
use crate::work::ports::self_service::SelfService;

/// The folder.
const FOLDER: &str = "enrol";
/// What may be put into it.
const PUTS: &[&str] = &["setup.toml", "renew.toml"];

/// What a password of an enrolment login is answered with.
pub enum Enrolled {
    /// It is no enrolment login, or not open (any more).
    Not,
    /// The password is wrong.
    Wrong,
    /// Too many passwords are being checked.
    Busy,
    /// It is right, and there is no place for it.
    Refused(Fault),
    /// It begins.
    In(Entered),
}

/// Enrolment logins.
pub struct EnrolmentDoor {
    /// Applications.
    pub ledger: Arc<dyn Ledger>,
    /// Their passwords.
    pub credentials: Arc<Credentials>,
    /// What stands in `/enrol/`.
    pub service: Arc<dyn SelfService>,
    /// Clock and bounds.
    pub office: Arc<OfficeParts>,
    /// Connections of one application at the same time, as the policy in force has it.
    pub connections_max: Box<dyn Fn() -> usize + Send + Sync>,
    /// Those that there are.
    pub connections: Arc<Connections>,
}

/// How many connections each application's enrolment login has.
#[derive(Debug, Default)]
pub struct Connections(Mutex<HashMap<ApplicationId, usize>>);

impl Connections {
    fn take(self: &Arc<Self>, of: ApplicationId, max: usize) -> Option<Connected> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let there = all.entry(of).or_default();
        // At least one: no entry of none stays behind.
        if *there >= max.max(1) {
            return None;
        }
        *there += 1;
        Some(Connected { all: Arc::clone(self), of })
    }
}

/// One of them, until it is dropped.
struct Connected {
    all: Arc<Connections>,
    of: ApplicationId,
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = all.get_mut(&self.of) {
            *there -= 1;
            if *there == 0 {
                all.remove(&self.of);
            }
        }
    }
}

impl EnrolmentDoor {
    fn application(&self, login: &str) -> Option<Application> {
        let id = ApplicationId::parse(login).ok()?;
        open_to(self.ledger.as_ref(), id, self.office.clock.now()).unwrap_or_else(|error| {
            tracing::error!(application = %id, %error, "an enrolment login could not be looked up");
            None
        })
    }

    /// The application that this key was certified for.
    pub(super) fn of_key(&self, login: &str, key: &PublicKey) -> Option<Application> {
        let of = self.application(login)?;
        let certificate = self.ledger.certificate(of.certificate?).ok()??;
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        (certificate.revoked.is_none() && certificate.fingerprint == fingerprint).then_some(of)
    }

    /// Begins a session if this is the application's password.
    pub(super) fn by_password(&self, login: &str, given: &str, from: SocketAddr) -> Enrolled {
        let Some(of) = self.application(login) else { return Enrolled::Not };
        let credential = Credential { purpose: Purpose::Enrolment, holder: of.id.into() };
        match self.credentials.check(&credential, given) {
            Ok(Checked::Right(_)) => self.enter(&of, from).map_or_else(Enrolled::Refused, Enrolled::In),
            Ok(Checked::Wrong | Checked::Absent) => Enrolled::Wrong,
            Ok(Checked::Busy) => Enrolled::Busy,
            Err(error) => {
                tracing::error!(application = %of.id, %error, "an enrolment login's password could not be checked");
                Enrolled::Wrong
            }
        }
    }

    /// Whether there is a place for it.
    fn place(&self, of: &Application) -> Result<Connected, Fault> {
        let insurer = self.ledger.insurer(&of.insurer).unwrap_or_else(|error| {
            tracing::error!(application = %of.id, %error, "an enrolment login's insurer could not be looked up");
            None
        });
        if insurer.is_none_or(|insurer| insurer.standing != Standing::Active) {
            let text = Text::new(
                "健康保険組合の受付が停止しているため、いまはログインできません。健康保険組合へお問い合わせください。",
                "The insurer takes no part for now, so this login is not possible. Ask the insurer.",
            );
            return Err(fault(of.language, "INSURER-STOPPED", &text));
        }
        let max = (self.connections_max)();
        self.connections.take(of.id, max).ok_or_else(|| {
            let text = Text::new(
                format!("この申込番号の同時接続数の上限({max})に達しました。ほかの接続を閉じてからやり直してください。"),
                format!("This login has as many connections as it may ({max}). Close others first."),
            );
            fault(of.language, "LOGIN-CONNECTIONS", &text)
        })
    }

    /// Its session.
    pub(super) fn enter(&self, of: &Application, from: SocketAddr) -> Result<Entered, Fault> {
        let connected = self.place(of)?;
        // An application's number is a name that an account could have.
        let login = AccountId::parse(&of.id.to_string()).map_err(|error| {
            tracing::error!(application = %of.id, %error, "an application's number is no login");
            Words(of.language).missing()
        })?;
        tracing::info!(application = %of.id, %from, "an enrolment login");
        metrics::counter!(metric::LOGINS, "result" => "accepted").increment(1);
        let at = self.office.clock.now().unix_seconds();
        let empty = Arc::new(Empty { words: Words(of.language), at });
        let place = Place { folder: FOLDER, puts: PUTS, service: Arc::clone(&self.service) };
        let tree = WithAccount::at_place(empty, Arc::clone(&self.office), login.clone(), None, place);
        Ok(Entered { account: login, tree: Arc::new(tree), welcome: Vec::new(), guard: Box::new(connected) })
    }
}

fn fault(language: Language, code: &'static str, text: &Text) -> Fault {
    let text = text.get(language).to_owned();
    Fault { status: Status::PermissionDenied, code: code.into(), text, loud: true }
}

/// A tree with nothing in it.
struct Empty {
    words: Words,
    at: u64,
}

impl Empty {
    fn root(&self, path: &VirtualPath) -> Result<Attributes, Fault> {
        if path.0.is_empty() {
            return Ok(Attributes { folder: true, size: 0, mode: 0o550, modified: self.at });
        }
        Err(self.words.missing())
    }
}

impl Tree for Empty {
    fn stat(&self, path: &VirtualPath) -> Result<Attributes, Fault> {
        self.root(path)
    }
    fn list(&self, path: &VirtualPath) -> Result<Listing, Fault> {
        self.root(path)?;
        Ok(Box::new(std::iter::empty()))
    }
    fn open(&self, _: &VirtualPath, _: OpenFlags, _: SetAttributes) -> Result<Box<dyn OpenFile>, Fault> {
        Err(self.words.missing())
    }
    fn set_stat(&self, path: &VirtualPath, _: SetAttributes) -> Result<(), Fault> {
        self.root(path).map(|_| ())
    }
    fn remove(&self, _: &VirtualPath) -> Result<(), Fault> {
        Err(self.words.missing())
    }
    fn make_folder(&self, _: &VirtualPath) -> Result<(), Fault> {
        Err(self.words.enrol_names())
    }
    fn remove_folder(&self, _: &VirtualPath) -> Result<(), Fault> {
        Err(self.words.missing())
    }
    fn rename(&self, _: &VirtualPath, _: &VirtualPath, _: bool) -> Answer {
        Answer::Now(Err(self.words.enrol_names()))
    }
    fn space(&self) -> Result<Space, Fault> {
        Ok(Space { bytes_total: 0, bytes_free: 0, files_total: 0, files_free: 0 })
    }
    fn language(&self) -> Language {
        self.words.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_one_application_are_bounded_and_counted_off() {
        let all = Arc::new(Connections::default());
        let id = |serial| ApplicationId { epoch: 1, serial };
        let first = all.take(id(1), 2).unwrap();
        let _second = all.take(id(1), 2).unwrap();
        assert!(all.take(id(1), 2).is_none());
        let other = all.take(id(2), 2).unwrap();
        drop(first);
        let _third = all.take(id(1), 2).unwrap();
        drop(other);
        assert_eq!(all.0.lock().unwrap().len(), 1, "nothing stays of what is over");
    }
}
