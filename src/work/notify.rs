//! Mails: sealed first (members, text and Message-ID fixed in one event), then sent until the next host takes them or
//! the schedule ends. At worst the same mail goes out twice, with the same Message-ID.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono_tz::Tz;

use super::alarms::Alarms;
use super::ports::{Delivery, Envelope, Mailer};
use crate::model::card::{AccountCard, InsurerCard, MailCard, OfficeCard};
use crate::model::document::Document;
use crate::model::event::{MailResult, Series};
use crate::model::finding::Language;
use crate::model::ids::{AccountId, DocumentId, InsurerCode, MailId, Number, OfficeCode};
use crate::model::mail::{Mail, MailState, Subject};
use crate::model::party::{Account, Actor};
use crate::model::time::{SECOND, Timestamp};
use crate::rules::notice::{
    self, Addressed, ArrivalNotice, ArrivalPart, Letter, Notice, RecallNotice, RefusalNotice, SweptNotice,
    Templates,
};
use crate::rules::retry::{Retry, Schedule};
use crate::store::blobs::Blobs;
use crate::store::cards;
use crate::store::ledger::{Done, Ledger, Op, Queue, Task};
use crate::store::receipts::Receipts;

/// Policy of notices.
#[derive(Debug, Clone)]
pub struct NoticePolicy {
    /// The gateway's mail address.
    pub from: String,
    /// The name readers see beside it.
    pub from_name: String,
    /// Whom to ask, when the insurer's own policy says nothing.
    pub contact: String,
    /// Right side of Message-IDs.
    pub domain: String,
    /// Documents that arrive within so long of each other share a mail.
    pub gather: i64,
    /// When to try again, and when to give up.
    pub schedule: Schedule,
    /// Mails under way at the same time.
    pub connections: usize,
    /// Days are counted here.
    pub zone: Tz,
}

/// What notices are made of.
pub struct Notifier {
    /// What is to be announced, and the queue.
    pub ledger: Arc<dyn Ledger>,
    /// Cards.
    pub blobs: Arc<dyn Blobs>,
    /// Findings of refusals.
    pub receipts: Arc<Receipts>,
    /// Texts; replaced as a whole at reload.
    pub templates: Arc<RwLock<Arc<Templates>>>,
    /// The next host.
    pub mailer: Arc<dyn Mailer>,
    /// Tells the operator.
    pub alarms: Arc<dyn Alarms>,
    /// Policy; replaced as a whole at reload.
    pub policy: Arc<RwLock<Arc<NoticePolicy>>>,
}

/// Whose mailbox a notice goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The address.
    pub mail: String,
    /// Of the text.
    pub language: Language,
    /// Whose it is; none for somebody who has no account (yet).
    pub accounts: Vec<AccountId>,
}

const LEASE: i64 = 600 * SECOND;
const BATCH: usize = 1_000;
/// Documents one mail announces; more make a second mail.
const DOCUMENTS_PER_MAIL_MAX: usize = 2_000;

impl Notifier {
    fn policy(&self) -> Arc<NoticePolicy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Seals what is to be announced, then sends what is due; gives how many mails went out.
    pub fn step(&self, now: Timestamp) -> anyhow::Result<usize> {
        self.announce(now)?;
        self.tell(now)?;
        self.send(now)
    }

    /// One mail for each account and office whose documents have gathered.
    pub fn announce(&self, now: Timestamp) -> anyhow::Result<usize> {
        let policy = self.policy();
        let mut groups: BTreeMap<(AccountId, OfficeCode), Vec<Document>> = BTreeMap::new();
        for task in self.ledger.claim(Queue::Announce, now, LEASE, BATCH)? {
            let Task::Document(id) = task else { continue };
            // Gone meanwhile: it leaves the queue with its removal.
            let Some(document) = self.ledger.document(id)? else { continue };
            groups.entry((document.account.clone(), document.office.clone())).or_default().push(document);
        }
        let mut sealed = 0;
        for ((account, office), documents) in groups {
            let youngest = documents.iter().map(|d| d.placed_at).max().unwrap_or(now);
            let oldest = documents.iter().map(|d| d.placed_at).min().unwrap_or(now);
            // A steady trickle must not postpone the mail for ever.
            if now.since(youngest) < policy.gather && now.since(oldest) < policy.gather * 5 {
                let tasks: Vec<Task> = documents.iter().map(|d| Task::Document(d.id)).collect();
                self.ledger.postpone(Queue::Announce, &tasks, youngest.plus(policy.gather));
                continue;
            }
            for documents in documents.chunks(DOCUMENTS_PER_MAIL_MAX) {
                match self.arrival(&account, &office, documents, now) {
                    Ok(()) => sealed += 1,
                    Err(error) => {
                        // Others' mails go on; this one's documents come again when the lease ends.
                        tracing::error!(%account, error = format!("{error:#}"), "an arrival could not be announced");
                        self.alarms.raise("NOTICE-FAILED", &format!("account {account}: {error:#}"), now);
                    }
                }
            }
        }
        Ok(sealed)
    }

    /// Tells of submissions that were refused after their client had been told "received".
    fn tell(&self, now: Timestamp) -> anyhow::Result<()> {
        for task in self.ledger.claim(Queue::Tell, now, LEASE, BATCH)? {
            let Task::Submission(number) = task else { continue };
            if let Err(error) = self.refusal(number, now) {
                tracing::error!(%number, error = format!("{error:#}"), "a refusal could not be told");
                self.alarms.raise("NOTICE-FAILED", &format!("submission {number}: {error:#}"), now);
            }
        }
        Ok(())
    }

    /// What a notice to this account says of office, insurer and whom to ask. The office is the account's first unless one
    /// is given.
    pub fn addressed(&self, account: &Account, office: Option<&OfficeCode>) -> anyhow::Result<Addressed> {
        let insurer_name = match self.ledger.insurer(&account.insurer)? {
            Some(insurer) => cards::get::<InsurerCard>(self.blobs.as_ref(), &insurer.card)?.name,
            None => account.insurer.to_string(),
        };
        let office_name = match office.or(account.offices.first()) {
            Some(code) => match self.ledger.office(&account.insurer, code)? {
                Some(office) => cards::get::<OfficeCard>(self.blobs.as_ref(), &office.card)?.name,
                None => code.to_string(),
            },
            None => account.id.to_string(),
        };
        let contact = match self.policy().contact.as_str() {
            "" => insurer_name.clone(),
            contact => contact.to_owned(),
        };
        Ok(Addressed { office_name, insurer_name, contact })
    }

    /// An account's mailbox.
    pub fn mailbox_of(&self, account: &Account) -> anyhow::Result<Recipient> {
        let mail = cards::get::<AccountCard>(self.blobs.as_ref(), &account.card)?.mail;
        Ok(Recipient { mail, language: account.language, accounts: vec![account.id.clone()] })
    }

    /// Where an insurer wants to be told of trouble; none where it named no address.
    pub fn mailbox_of_insurer(&self, code: &InsurerCode) -> anyhow::Result<Option<Recipient>> {
        let Some(insurer) = self.ledger.insurer(code)? else { return Ok(None) };
        let card: InsurerCard = cards::get(self.blobs.as_ref(), &insurer.card)?;
        Ok(card.mail.map(|mail| Recipient { mail, language: Language::Ja, accounts: Vec::new() }))
    }

    fn account(&self, id: &AccountId) -> anyhow::Result<Account> {
        self.ledger.account(id)?.ok_or_else(|| anyhow::anyhow!("account {id} is not in the ledger"))
    }

    fn arrival(
        &self,
        account: &AccountId,
        office: &OfficeCode,
        documents: &[Document],
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let policy = self.policy();
        let account = self.account(account)?;
        let to = self.addressed(&account, Some(office))?;
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for document in documents {
            *counts.entry(&document.kind).or_default() += 1;
        }
        let expires = documents.iter().map(|d| d.expires_at).min().unwrap_or(now);
        let part = ArrivalPart {
            office_name: to.office_name,
            insurer_name: to.insurer_name,
            account: account.id.to_string(),
            counts: counts.into_iter().map(|(kind, n)| (kind.to_owned(), n)).collect(),
            last_day: notice::last_day(expires, policy.zone),
            folder: format!("/outbox/{office}/"),
            contact: to.contact,
        };
        let ids: Vec<DocumentId> = documents.iter().map(|d| d.id).collect();
        let notice = ArrivalNotice { parts: vec![part] };
        self.seal(&self.mailbox_of(&account)?, &notice, Subject::Arrival(ids), now)?;
        Ok(())
    }

    fn refusal(&self, number: Number, now: Timestamp) -> anyhow::Result<()> {
        let Some(submission) = self.ledger.submission(number)? else { return Ok(()) };
        let account = self.account(&submission.account)?;
        let (findings, _) = self.receipts.findings(&submission)?;
        let notice = RefusalNotice {
            to: self.addressed(&account, submission.office.as_ref())?,
            number,
            reasons: notice::summarise(&findings),
            findings_file: format!("/receipts/{number}.findings.csv"),
        };
        self.seal(&self.mailbox_of(&account)?, &notice, Subject::Refusal(number), now)?;
        Ok(())
    }

    /// Tells that an unfinished set was removed.
    pub fn swept(
        &self,
        account: &AccountId,
        files: u64,
        days: u32,
        sent_at: Timestamp,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let account = self.account(account)?;
        let notice = SweptNotice {
            to: self.addressed(&account, None)?,
            files,
            days,
            sent_on: sent_at.date_in(self.policy().zone),
        };
        self.seal(&self.mailbox_of(&account)?, &notice, Subject::Swept, now)?;
        Ok(())
    }

    /// Tells that a document was taken back (誤配信).
    pub fn recalled(&self, document: &Document, now: Timestamp) -> anyhow::Result<()> {
        let account = self.account(&document.account)?;
        let notice = RecallNotice {
            to: self.addressed(&account, Some(&document.office))?,
            kind: document.kind.clone(),
            file: document.name(),
            placed_on: document.placed_at.date_in(self.policy().zone),
            fetched: document.fetched.is_some(),
        };
        self.seal(&self.mailbox_of(&account)?, &notice, Subject::Recall(document.id), now)?;
        Ok(())
    }

    /// Fixes a mail: text, recipient, Message-ID. From now on every attempt sends these bytes. False where the ledger knows
    /// that it was told before ([`Op::SealMail`]).
    pub fn seal(
        &self,
        to: &Recipient,
        notice: &dyn Notice,
        subject: Subject,
        now: Timestamp,
    ) -> anyhow::Result<bool> {
        let mail = self.write(to, notice, subject, now)?;
        let (id, blob) = (mail.id, mail.card.blob.clone());
        let done = self.ledger.commit(Op::SealMail(Box::new(mail)), Actor::Daemon, now)?;
        if done == Done::Sealed(false) {
            // Told by another mail meanwhile.
            self.blobs.remove(&[blob])?;
            return Ok(false);
        }
        let account = to.accounts.first().map(ToString::to_string);
        tracing::info!(mail = %id, account, kind = notice.kind().name, "a mail was sealed");
        Ok(true)
    }

    /// Writes a mail, its card durable, for an operation that seals it with what it says.
    pub fn write(
        &self,
        to: &Recipient,
        notice: &dyn Notice,
        subject: Subject,
        now: Timestamp,
    ) -> anyhow::Result<Mail> {
        let policy = self.policy();
        let head = self.ledger.head();
        let id = MailId { epoch: head.epoch, serial: self.ledger.next_serial(Series::Mail, now)? };
        let mut random = [0; 8];
        crate::store::keys::random(&mut random)?;
        let message_id = format!("{id}.{}@{}", hex::encode(random), policy.domain);
        let templates = Arc::clone(&self.templates.read().unwrap_or_else(PoisonError::into_inner));
        let text = templates.render(notice, to.language);
        let letter = Letter {
            from_name: &policy.from_name,
            from: &policy.from,
            to: &to.mail,
            message_id: &message_id,
            at: now,
            language: to.language,
        };
        let message = BASE64.encode(notice::compose(&letter, &text)?);
        let card = MailCard { salt: cards::salt()?, from: policy.from.clone(), to: to.mail.clone(), message };
        let card = cards::put(self.blobs.as_ref(), &card, now)?;
        self.blobs.sync(std::slice::from_ref(&card.blob))?;
        Ok(Mail {
            id,
            message_id,
            account: to.accounts.first().cloned(),
            subject,
            card,
            sealed_at: now,
            state: MailState::Queued,
            attempts: 0,
            due_at: now,
            last_reply: None,
        })
    }

    /// One attempt for each mail that is due.
    pub fn send(&self, now: Timestamp) -> anyhow::Result<usize> {
        let tasks = self.ledger.claim(Queue::Mail, now, LEASE, BATCH)?;
        if tasks.is_empty() {
            return Ok(0);
        }
        let policy = self.policy();
        let queue = std::sync::Mutex::new(tasks.into_iter());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let attempt = || {
            let mut sent = 0;
            while let Some(task) = next() {
                let Task::Mail(id) = task else { continue };
                match self.attempt(id, &policy, now) {
                    Ok(true) => sent += 1,
                    Ok(false) => {}
                    Err(error) => {
                        tracing::error!(mail = %id, error = format!("{error:#}"), "a mail could not be tried");
                        self.alarms.raise("MAIL-FAILED", &format!("{id}: {error:#}"), now);
                    }
                }
            }
            sent
        };
        let sent = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..policy.connections.max(1)).map(|_| scope.spawn(attempt)).collect();
            threads.into_iter().map(|t| t.join().unwrap_or(0)).sum()
        });
        Ok(sent)
    }

    /// Tells the operator of an alarm, past the queue: an alarm may be about the queue or the ledger itself. Whether the
    /// next host took it.
    pub fn operator(&self, to: &str, alarm: &notice::AlarmNotice) -> anyhow::Result<bool> {
        let policy = self.policy();
        let mut random = [0; 8];
        crate::store::keys::random(&mut random)?;
        let letter = Letter {
            from_name: &policy.from_name,
            from: &policy.from,
            to,
            message_id: &format!("alarm.{}@{}", hex::encode(random), policy.domain),
            at: alarm.at,
            language: crate::model::finding::Language::En,
        };
        let message = notice::compose(&letter, &notice::render_alarm(alarm))?;
        let envelope = Envelope { from: Some(policy.from.clone()), to: to.to_owned() };
        Ok(matches!(self.mailer.send(&envelope, &message), Delivery::Sent { .. }))
    }

    fn attempt(&self, id: MailId, policy: &NoticePolicy, now: Timestamp) -> anyhow::Result<bool> {
        let Some(mail) = self.ledger.mail(id)?.filter(|m| m.state == MailState::Queued) else {
            return Ok(false);
        };
        let card: MailCard = cards::get(self.blobs.as_ref(), &mail.card)?;
        let message = BASE64.decode(&card.message)?;
        let envelope = Envelope { from: Some(card.from), to: card.to };
        let delivery = self.mailer.send(&envelope, &message);
        let result = match delivery {
            Delivery::Sent { reply } => MailResult::Sent { reply },
            Delivery::Failed { reply } => MailResult::Failed { reply },
            Delivery::Deferred { reply } => {
                match policy.schedule.next(mail.attempts + 1, mail.sealed_at, now) {
                    Retry::At(until) => MailResult::Deferred { reply, until },
                    Retry::GiveUp => MailResult::Failed { reply: format!("expired: {reply}") },
                }
            }
        };
        let sent = matches!(result, MailResult::Sent { .. });
        if let MailResult::Failed { reply } = &result {
            let account = mail.account.as_ref().map(ToString::to_string).unwrap_or_default();
            self.alarms.raise(
                "MAIL-GIVEN-UP",
                &format!("mail {id} to account {account} was given up ({reply}); correct the address (`todoke account change`), then `todoke mail retry {id}`"),
                now,
            );
        }
        tracing::info!(mail = %id, ?result, "a mail was tried");
        self.ledger.commit(Op::TryMail { id, result }, Actor::Daemon, now)?;
        Ok(sent)
    }
}
