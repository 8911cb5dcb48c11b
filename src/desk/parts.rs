//! What the desk works with.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::applications;
use super::trouble::{Kind, Trouble};
use crate::config::ConfigCell;
use crate::model::day::ClosedDay;
use crate::model::finding::Language;
use crate::model::ids::{AccountId, DocumentId, InsurerCode, Number, OfficeCode};
use crate::model::party::Actor;
use crate::model::time::Timestamp;
use crate::rules::notice::Rendered;
use crate::rules::policy::{AccountsPolicy, SecondAccount};
use crate::store::attempts::Attempts;
use crate::store::blobs::Blobs;
use crate::store::credentials::Credentials;
use crate::store::ledger::Ledger;
use crate::work::alarms::{AlarmBoard, Alarms};
use crate::work::certificates::Certificates;
use crate::work::compare::{Compared, Scope};
use crate::work::deliver::Placement;
use crate::work::enrol::Enrolment;
use crate::work::parties::Parties;

/// A document an operator places by hand.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeliverOrder {
    /// From whom.
    pub insurer: InsurerCode,
    /// To whom; else found by `in_reply_to` or `office`.
    pub account: Option<AccountId>,
    /// For which office.
    pub office: Option<OfficeCode>,
    /// The submission it answers.
    pub in_reply_to: Option<Number>,
    /// Its type.
    pub kind: String,
    /// Its title.
    pub title: String,
    /// The file's name, without folders.
    pub file_name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// An announcement (お知らせ) an operator makes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AnnounceOrder {
    /// From whom.
    pub insurer: InsurerCode,
    /// To every account of it but test accounts; else to those named.
    pub all: bool,
    /// To these accounts.
    pub accounts: Vec<AccountId>,
    /// To the accounts of these offices.
    pub offices: Vec<OfficeCode>,
    /// Its title.
    pub title: String,
    /// The file's name, without folders.
    pub file_name: String,
}

/// What the stages of work do at an operator's word. All calls block.
pub trait Works: Send + Sync {
    /// Places a document; `content` holds `order.size` bytes. Gives its number and what the operator should know.
    fn deliver(
        &self,
        order: &DeliverOrder,
        content: &mut dyn Read,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(DocumentId, Vec<String>), Trouble>;
    /// Announces what `content` holds.
    fn announce(
        &self,
        order: &AnnounceOrder,
        content: &mut dyn Read,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Placement, Trouble>;
    /// Takes a document back; whether it had been fetched, first and last.
    fn recall(
        &self,
        id: DocumentId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Option<(Timestamp, Timestamp)>, Trouble>;
    /// Withdraws a submission that was not collected yet, and tells its sender why.
    fn withdraw(
        &self,
        number: Number,
        reason: Option<&str>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), Trouble>;
    /// Releases or refuses a held submission.
    fn judge(&self, number: Number, release: bool, by: &Actor, now: Timestamp) -> Result<(), Trouble>;
    /// Removes what is due now; how many documents went.
    fn purge(&self, now: Timestamp) -> Result<u64, Trouble>;
    /// Holds a closed day's books, and the disk, against the ledger.
    fn compare(&self, day: Option<&ClosedDay>, scope: &Scope, now: Timestamp) -> Result<Compared, Trouble>;
    /// A paused purge may go on; whether it was paused.
    fn confirm_purge(&self, now: Timestamp) -> Result<bool, Trouble>;
    /// Sends a test mail, or this text as a notice, at once; the mail server's answer.
    fn test_mail(
        &self,
        to: &str,
        text: Option<&Rendered>,
        language: Language,
        now: Timestamp,
    ) -> Result<String, Trouble>;
    /// Why the importer failed with a submission, in its words, escaped.
    fn import_reason(&self, insurer: &InsurerCode, number: Number) -> Option<String>;
}

/// One session of the SFTP door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Whose.
    pub account: AccountId,
    /// From where.
    pub from: String,
    /// Since when.
    pub since: String,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
}

/// What only a running daemon can say or do.
pub trait Live: Send + Sync {
    /// When it began.
    fn started_at(&self) -> Timestamp;
    /// Where SFTP listens; tells the port when 0 was asked for.
    fn sftp(&self) -> SocketAddr;
    /// Who is connected.
    fn sessions(&self) -> Vec<Session>;
    /// Alarms that hold, each with `code`, `text`, `first`, `last`, `count`.
    fn alarms(&self) -> Vec<Value>;
    /// The scanner: patterns and their date, or why it cannot be asked.
    fn scanner(&self) -> Value;
    /// When the purge last ran, and whether it is paused and why.
    fn purge(&self) -> Value;
    /// Loops and when each last made progress.
    fn health(&self) -> Value;
    /// Reads the configuration again; what changed.
    fn reload(&self) -> Result<Value, Trouble>;
    /// Parties changed: reports and watches of spools follow.
    fn parties_changed(&self);
    /// Applications went on: what follows is done at once.
    fn applications_changed(&self);
}

/// What the desk works with; the daemon and the command line each build one.
pub struct Parts {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// Blobs.
    pub blobs: Arc<dyn Blobs>,
    /// The configuration in force.
    pub config: Arc<ConfigCell>,
    /// Passwords.
    pub credentials: Arc<Credentials>,
    /// Wrong passwords and last logins.
    pub attempts: Arc<Attempts>,
    /// Who sets parties.
    pub parties: Arc<Parties>,
    /// Who certifies.
    pub certificates: Arc<Certificates>,
    /// Who moves applications.
    pub enrolment: Arc<Enrolment>,
    /// The stages of work.
    pub works: Arc<dyn Works>,
    /// The daemon; none when the command line works by itself.
    pub live: Option<Arc<dyn Live>>,
}

impl Parts {
    /// Over these; see the fields. Where a daemon has counters and passwords open, they are to be put in.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        blobs: Arc<dyn Blobs>,
        config: Arc<ConfigCell>,
        certificates: Arc<Certificates>,
        works: Arc<dyn Works>,
        live: Option<Arc<dyn Live>>,
    ) -> Self {
        let root = config.get().places.root.clone();
        let parties = Arc::new(Parties::new(Arc::clone(&ledger), Arc::clone(&blobs), root.clone()));
        let (folder, policy) = (root.join("credentials"), config.get().passwords.clone());
        let credentials = Arc::new(Credentials::open(&folder, Arc::clone(&ledger), &policy));
        let attempts = Arc::new(Attempts::open(&folder));
        // Where a daemon moves applications, its own is put in, which raises its alarms.
        let alarms: Arc<dyn Alarms> = Arc::new(AlarmBoard::default());
        let enrolment = Arc::new(applications::build(&config, &ledger, &blobs, &alarms, &certificates));
        Self { ledger, blobs, config, credentials, attempts, parties, certificates, enrolment, works, live }
    }

    pub(super) fn live(&self) -> Result<&dyn Live, Trouble> {
        self.live.as_deref().ok_or_else(|| {
            Trouble::new(Kind::NotNow, "DAEMON-AWAY", "the daemon does not run; start it with `todoke serve`")
        })
    }

    /// An insurer's policy on second accounts. A policy that cannot be read is the strictest one: `doctor` names its error.
    pub(super) fn second_account(&self, insurer: &InsurerCode) -> SecondAccount {
        match self.config.get().insurer_table::<AccountsPolicy>(insurer, "accounts") {
            Ok(policy) => policy.second_account,
            Err(error) => {
                tracing::error!(%error, "an insurer's policy cannot be read");
                SecondAccount::Refuse
            }
        }
    }
}
