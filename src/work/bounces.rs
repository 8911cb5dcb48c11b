//! What comes back: the mail server leaves it in a Maildir, and it is read there exactly once.
//!
//! | state | there is | crash |
//! |---|---|---|
//! | arrived | `new/NAME` | the next step takes it |
//! | taken | `cur/NAME:2,` | read at the next step |
//! | recorded | event `mail_reported` with the message's digest, perhaps `address_marked` | read again, and known by its digest |
//! | read | `cur/NAME:2,S`, kept for some days | - |
//!
//! A message counts only if it knows the mark of one of our mails. Anybody can send one without: it stands in the log, with the
//! mail that its recipient got last, and changes nothing.

use std::collections::{BTreeMap, HashSet};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustix::fs::OFlags;

use super::alarms::Alarms;
use super::notify::{Notifier, Recipient};
use super::sender::moved::{given_up, given_up_text};
use crate::model::card::MailCard;
use crate::model::finding::Language;
use crate::model::ids::{Digest, InsurerCode};
use crate::model::mail::{Mail, MailState, Mailbox, Report, Subject};
use crate::model::party::{Account, Actor};
use crate::model::time::{DAY, Timestamp};
use crate::rules::bounce::{self, CameBack, Mark, Said};
use crate::rules::mailbox;
use crate::rules::notice::AddressNotice;
use crate::rules::smtp_code::{Fault, Status};
use crate::store::cards;
use crate::store::durable;
use crate::store::ledger::{Ledger, MailFilter, Op};

/// Policy of what comes back.
#[derive(Debug, Clone)]
pub struct BouncePolicy {
    /// What was read is kept for so long, in milliseconds.
    pub keep: i64,
    /// So many bytes of it; the oldest go first.
    pub keep_bytes: u64,
    /// So many failures that may pass, within so many milliseconds, mark an address.
    pub failures: (usize, i64),
    /// Who is told when an insurer named no address of its own.
    pub operator: Option<String>,
}

/// Reads what came back.
pub struct Bounces {
    /// Mails and mailboxes.
    pub ledger: Arc<dyn Ledger>,
    /// Tells insurers.
    pub notifier: Arc<Notifier>,
    /// Tells the operator.
    pub alarms: Arc<dyn Alarms>,
    /// The Maildir; none where nothing is read.
    pub maildir: Option<PathBuf>,
    /// Policy; replaced as a whole at reload.
    pub policy: Arc<RwLock<Arc<BouncePolicy>>>,
    /// Marks that insurers were told of by this run.
    pub told: Mutex<HashSet<String>>,
    /// Alarms that stand, the mail each is about, and since when.
    pub standing: Mutex<BTreeMap<String, (Mail, Timestamp)>>,
}

/// Messages taken in one step.
const STEP_MAX: usize = 500;
/// Bytes of a message that are read; what comes back as a whole is cut.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;
/// Messages kept; the oldest go first.
const KEPT_MAX: usize = 20_000;
/// A message without a mark is shown with a mail that went out at most so long before.
const MATCH_MAX: i64 = 10 * DAY;
/// How the names of read messages end (the flag "seen" of Maildir).
const SEEN: &str = ":2,S";
/// Messages that could not be opened or read.
const ALARM: &str = "BOUNCES-UNREADABLE";
/// What opening says of a message that went meanwhile, and of a link.
const NOT_THERE: i32 = rustix::io::Errno::NOENT.raw_os_error();
const A_LINK: i32 = rustix::io::Errno::LOOP.raw_os_error();
/// How the names of taken messages end.
const TAKEN: &str = ":2,";

impl Bounces {
    fn policy(&self) -> Arc<BouncePolicy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads what arrived, tells insurers of addresses where nobody reads mail; whether there may be more.
    pub fn step(&self, now: Timestamp) -> anyhow::Result<bool> {
        let more = match &self.maildir {
            Some(maildir) => self.take(maildir, now)?,
            None => false,
        };
        self.tell_marked(now)?;
        self.end_alarms(now)?;
        Ok(more)
    }

    fn take(&self, maildir: &Path, now: Timestamp) -> anyhow::Result<bool> {
        // The mail server makes it, as its own user, with the first mail.
        let (new, cur) = (maildir.join("new"), maildir.join("cur"));
        if !new.exists() {
            return Ok(false);
        }
        if !cur.exists() {
            durable::make_folder(&cur, 0o700)?;
        }
        let mut more = false;
        for (n, name) in names(&new)?.into_iter().enumerate() {
            if n == STEP_MAX {
                more = true;
                break;
            }
            let plain = name.split(":2,").next().unwrap_or(&name);
            match durable::rename(&new.join(&name), &cur.join(format!("{plain}{TAKEN}"))) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                done => done?,
            }
        }
        let (mut kept, mut unread) = (Vec::new(), 0);
        for name in names(&cur)? {
            if name.ends_with(SEEN) {
                kept.push(name);
                continue;
            }
            match read(&cur, &name) {
                Ok(Some(raw)) => self.handle(&raw, now)?,
                Ok(None) => tracing::warn!(name, "what came back is no file; it is left alone"),
                Err(error) => {
                    // Not read is not seen: it is tried again, and the others go on.
                    unread += 1;
                    let text = format!(
                        "{unread} message(s) in cur/ of the Maildir cannot be read, such as {name}: {error}"
                    );
                    self.alarms.raise(ALARM, &text, now);
                    continue;
                }
            }
            let plain = name.split(":2,").next().unwrap_or(&name);
            durable::rename(&cur.join(&name), &cur.join(format!("{plain}{SEEN}")))?;
        }
        if unread == 0 {
            self.alarms.clear(ALARM);
        }
        self.forget(&cur, kept, now)?;
        Ok(more)
    }

    /// Removes what was kept for long enough, or is too much.
    fn forget(&self, cur: &Path, names: Vec<String>, now: Timestamp) -> anyhow::Result<()> {
        let before = now.plus(-self.policy().keep);
        let mut aged: Vec<(Timestamp, String, u64)> = names
            .into_iter()
            .filter_map(|name| {
                let there = std::fs::symlink_metadata(cur.join(&name)).ok()?;
                let since = there.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
                Some((Timestamp(i64::try_from(since.as_millis()).ok()?), name, there.len()))
            })
            .collect();
        aged.sort();
        let over = aged.len().saturating_sub(KEPT_MAX);
        let mut bytes: u64 = aged.iter().map(|(_, _, bytes)| bytes).sum();
        for (n, (at, name, own)) in aged.into_iter().enumerate() {
            if n < over || at < before || bytes > self.policy().keep_bytes {
                durable::remove(&cur.join(name))?;
                bytes = bytes.saturating_sub(own);
            }
        }
        Ok(())
    }

    /// Records one message.
    fn handle(&self, raw: &[u8], now: Timestamp) -> anyhow::Result<()> {
        let message = Digest::of(raw);
        if self.ledger.reported(message)? {
            return Ok(());
        }
        let Some(found) = bounce::read(raw) else {
            tracing::warn!("something that is no mail came back");
            return Ok(());
        };
        let report = match found.said {
            Said::Failed(Fault::Address) => Report::Unreachable,
            Said::Failed(Fault::Passing) => Report::Failed,
            Said::Delayed => Report::Delayed,
            Said::Relayed => Report::Relayed,
            Said::Delivered => Report::Delivered,
            Said::Complaint => Report::Complaint,
            Said::AutoReply => Report::AutoReply,
            Said::Other => {
                tracing::info!(
                    "a mail came back that is neither a report nor an answer; nobody reads it here"
                );
                return Ok(());
            }
        };
        let Some((mail, proven)) = self.find(&found, now)? else {
            tracing::info!(?report, "something came back about none of our mails");
            return Ok(());
        };
        if !proven {
            tracing::info!(mail = %mail.id, ?report, "something came back without a mail's mark: it counts for nothing");
            return Ok(());
        }
        let failed = matches!(report, Report::Failed | Report::Unreachable);
        let report = if failed && self.is_member(&mail, &found)? { Report::Member } else { report };
        let (max, within) = self.policy().failures;
        let status = found.status.map(|status| status.to_string());
        let id = mail.id;
        tracing::info!(mail = %id, ?report, status, "something came back");
        let failures = (max, now.plus(-within));
        let op = Op::ReportMail { id, report, status, proven, message, failures };
        self.ledger.commit(op, Actor::Daemon, now)?;
        self.raise(mail, report, found.status, now);
        Ok(())
    }

    /// Tells the operator of what nobody else is told.
    fn raise(&self, mail: Mail, report: Report, status: Option<Status>, now: Timestamp) {
        let id = mail.id;
        let status = status.map_or_else(|| "no status".to_owned(), |status| status.to_string());
        let whom = mail.account.as_ref().map_or_else(|| id.to_string(), ToString::to_string);
        let (alarm, text) = match report {
            Report::Complaint => (
                format!("MAIL-COMPLAINT {whom}"),
                format!(
                    "somebody marked mail {id} as unwanted; call the office (`todoke mail show {id}`): it may have changed its address"
                ),
            ),
            Report::Member => (
                format!("MAIL-MEMBER {whom}"),
                format!(
                    "mail {id} did not reach a member of the shared address of {whom} ({status}); others may have got it, so mails go on: ask its \
                     owner to correct who is behind the address, or for another one"
                ),
            ),
            Report::Failed => (given_up(id), given_up_text(&mail, &status)),
            _ => return,
        };
        self.alarms.raise(&alarm, &text, now);
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).insert(alarm, (mail, now));
    }

    /// Whether a failure is that of somebody behind the mail's address, an alias or a list. It counts neither at once nor
    /// with others: each mail to a list with one dead member comes back, and the rest of them read it.
    fn is_member(&self, mail: &Mail, found: &CameBack) -> anyhow::Result<bool> {
        let Some(reached) = &found.reached else { return Ok(false) };
        if mail.mailbox == Some(self.notifier.mailbox_tag(reached)) {
            return Ok(false);
        }
        match cards::get::<MailCard>(self.notifier.blobs.as_ref(), &mail.card) {
            Ok(card) => Ok(!reached.split(',').any(|reached| mailbox::is_own(&card.to, reached))),
            // Erased after its days.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The mail it is about, and whether it knows that mail's mark.
    fn find(&self, found: &CameBack, now: Timestamp) -> anyhow::Result<Option<(Mail, bool)>> {
        for mark in &found.marks {
            let mail = self.ledger.mail(mark.mail)?;
            if let Some(mail) =
                mail.filter(|mail| Mark::of_message_id(&mail.message_id).as_ref() == Some(mark))
            {
                return Ok(Some((mail, true)));
            }
        }
        let Some(recipient) = &found.recipient else { return Ok(None) };
        let mailbox = Some(self.notifier.mailbox_tag(recipient));
        let filter = MailFilter { mailbox, ..MailFilter::default() };
        let latest = self.ledger.mails(&filter, 1)?.into_iter().next();
        Ok(latest.filter(|mail| now.since(mail.sealed_at) <= MATCH_MAX).map(|mail| (mail, false)))
    }

    /// Ends alarms about which nobody needs to do anything any more.
    fn end_alarms(&self, now: Timestamp) -> anyhow::Result<()> {
        let within = self.policy().failures.1;
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut over = Vec::new();
        for (alarm, (mail, since)) in &*standing {
            // Nobody says that a list was corrected: nothing comes back any more.
            let quiet = alarm.starts_with("MAIL-MEMBER ") && now.since(*since) > within;
            let of_given_up = *alarm == given_up(mail.id);
            let given_up = of_given_up && self.is_given_up(mail)?;
            let settled = of_given_up && !given_up;
            let moved = self.notifier.is_moved(mail)?;
            if given_up && moved {
                // Its turn comes, and the sender finds that it is to be told at another address.
                self.ledger.commit(Op::RetryMail(mail.id), Actor::Daemon, now)?;
            }
            if quiet || settled || moved {
                over.push(alarm.clone());
            }
        }
        for alarm in over {
            standing.remove(&alarm);
            self.alarms.clear(&alarm);
        }
        Ok(())
    }

    /// Whether a mail that came back was neither sent once more nor is among what the mark of its address speaks of.
    fn is_given_up(&self, mail: &Mail) -> anyhow::Result<bool> {
        let Some(now) = self.ledger.mail(mail.id)? else { return Ok(false) };
        let came_back =
            now.state == MailState::Sent && now.report.is_some_and(|of| of.report == Report::Failed);
        let mailbox = now.mailbox.map(|tag| self.ledger.mailbox(tag)).transpose()?.flatten();
        Ok(came_back && mailbox.is_none_or(|mailbox| mailbox.mark.is_none()))
    }

    /// Tells the insurers of accounts whose address is marked, once for each mark.
    fn tell_marked(&self, now: Timestamp) -> anyhow::Result<()> {
        const PAGE: usize = 500;
        let (mut after, mut marked) = (None, 0);
        loop {
            let page = self.ledger.marked_mailboxes(after, PAGE)?;
            after = page.last().map(|mailbox| mailbox.tag);
            let last = page.len() < PAGE;
            for mailbox in page {
                if !self.is_in_use(&mailbox)? {
                    continue;
                }
                marked += 1;
                let alarm = format!("NOTICE-FAILED {}", mailbox.tag);
                if let Err(error) = self.tell_one(&mailbox, now) {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "an insurer could not be told of an address"
                    );
                    self.alarms.raise(&alarm, &format!("address {}: {error:#}", mailbox.tag), now);
                } else {
                    self.alarms.clear(&alarm);
                }
            }
            if last {
                break;
            }
        }
        if marked == 0 {
            self.alarms.clear("ADDRESS-UNREACHABLE");
        } else {
            let text = format!(
                "nobody reads mail at {marked} address(es), so none is sent there: `todoke mail address list` names the accounts; correct \
                 them with `account change --mail`, or `mail address resume`"
            );
            self.alarms.raise("ADDRESS-UNREACHABLE", &text, now);
        }
        Ok(())
    }

    /// Whether those whom the marked mail told are still reached there.
    fn is_in_use(&self, mailbox: &Mailbox) -> anyhow::Result<bool> {
        let Some(mark) = &mailbox.mark else { return Ok(false) };
        let Some(mail) = self.ledger.mail(mark.mail)? else { return Ok(true) };
        Ok(!self.notifier.is_moved(&mail)?)
    }

    fn tell_one(&self, mailbox: &Mailbox, now: Timestamp) -> anyhow::Result<()> {
        let Some(mark) = &mailbox.mark else { return Ok(()) };
        let Some(mail) = self.ledger.mail(mark.mail)? else { return Ok(()) };
        let mut insurers: Vec<(InsurerCode, Vec<Account>)> = Vec::new();
        for id in mail.accounts() {
            let Some(account) = self.ledger.account(id)? else { continue };
            match insurers.iter_mut().find(|(code, _)| *code == account.insurer) {
                Some((_, accounts)) => accounts.push(account),
                None => insurers.push((account.insurer.clone(), vec![account])),
            }
        }
        for (code, accounts) in insurers {
            let about = format!("{} {} {code}", mark.mail, mark.at.0);
            if self.told.lock().unwrap_or_else(PoisonError::into_inner).contains(&about) {
                continue;
            }
            let operator = || {
                let mail = self.policy().operator.clone()?;
                Some(Recipient { mail, language: Language::En, accounts: Vec::new(), insurer: None })
            };
            let Some(to) = self.notifier.mailbox_of_insurer(&code)?.or_else(operator) else { continue };
            let mut addressed = self.notifier.addressed(&accounts[0], None)?;
            // An insurer is not sent to itself.
            addressed.contact = self.notifier.contact();
            let notice = AddressNotice {
                to: addressed,
                accounts: accounts.iter().map(|account| account.id.to_string()).collect(),
                since: mark.at.date_in(self.notifier.zone()),
                status: mark.status.as_deref().and_then(Status::parse),
                soft: mark.soft,
            };
            let subject = Subject::Notice { kind: "address".to_owned(), about: about.clone() };
            self.notifier.seal(&to, &notice, subject, now)?;
            self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(about);
        }
        Ok(())
    }
}

/// Names of plain files, sorted; those that no delivery agent makes are left out.
fn names(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)?.take(KEPT_MAX * 2) {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap_or_default();
        if !name.is_empty() && !name.starts_with('.') && entry.file_type()?.is_file() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The beginning of a message; none where the name is a link or no file any more.
fn read(folder: &Path, name: &str) -> std::io::Result<Option<Vec<u8>>> {
    let folder = durable::open_folder(folder)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match durable::open_beneath(&folder, Path::new(name), flags, 0) {
        Err(error) if matches!(error.raw_os_error(), Some(NOT_THERE | A_LINK)) => return Ok(None),
        opened => opened?,
    };
    let file = std::fs::File::from(file);
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut raw = Vec::new();
    file.take(MESSAGE_BYTES_MAX).read_to_end(&mut raw)?;
    Ok(Some(raw))
}
