//! Notices: sealed first (members, text and Message-ID fixed in one event), then sent by `work::sender`. At worst the same
//! mail goes out twice, with the same Message-ID. Arrivals are gathered in `work::announce`.

mod logins;

use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono_tz::Tz;

use super::alarms::Alarms;
use super::ports::{Delivery, Envelope, Mailer};
use crate::model::card::{AccountCard, InsurerCard, MailCard, OfficeCard};
use crate::model::document::{Document, Reading};
use crate::model::event::Series;
use crate::model::finding::Language;
use crate::model::ids::{AccountId, Digest, InsurerCode, MailId, Number, OfficeCode};
use crate::model::mail::{Mail, MailState, Subject};
use crate::model::party::{Account, Actor};
use crate::model::submission::Submission;
use crate::model::time::{SECOND, Timestamp};
use crate::rules::bounce::Mark;
use crate::rules::delegation;
use crate::rules::mailbox::{self, Gathering};
use crate::rules::notice::{
    self, Addressed, Dkim, Letter, Notice, RecallNotice, RefusalNotice, Rendered, SweptNotice, Templates,
    WithdrawnNotice,
};
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
    /// How arrivals of one mailbox share a mail.
    pub gathering: Gathering,
    /// Envelope sender with `{id}` for the mail's mark, so that bounces tell what they are about; none means `from`.
    pub return_path: Option<String>,
    /// Signs mails.
    pub dkim: Option<Arc<Dkim>>,
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
    /// The insurer whose contact it is.
    pub insurer: Option<InsurerCode>,
}

const LEASE: i64 = 600 * SECOND;
const BATCH: usize = 1_000;

impl Notifier {
    pub(super) fn policy(&self) -> Arc<NoticePolicy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Seals what is to be announced and told; gives how many mails were announced.
    pub fn step(&self, now: Timestamp) -> anyhow::Result<usize> {
        let sealed = self.announce(now)?;
        self.tell(now)?;
        self.tell_logins(now)?;
        Ok(sealed)
    }

    /// Tells of submissions that were refused after their client had been told "received".
    fn tell(&self, now: Timestamp) -> anyhow::Result<()> {
        for task in self.ledger.claim(Queue::Tell, now, LEASE, BATCH)? {
            let Task::Submission(number) = task else { continue };
            let alarm = format!("NOTICE-FAILED {number}");
            if let Err(error) = self.refusal(number, now) {
                tracing::error!(%number, error = format!("{error:#}"), "a refusal could not be told");
                self.alarms.raise(&alarm, &format!("submission {number}: {error:#}"), now);
            } else {
                self.alarms.clear(&alarm);
            }
        }
        Ok(())
    }

    /// What a notice to this account says of office, insurer and whom to ask. The office is the account's first unless one
    /// is given.
    pub fn addressed(&self, account: &Account, office: Option<&OfficeCode>) -> anyhow::Result<Addressed> {
        self.addressed_to(
            &account.insurer,
            office.or(delegation::offices_ever(account).first()),
            account.id.as_str(),
        )
    }

    /// The same for somebody who has no account yet; `name` is said where there is no office.
    pub fn addressed_to(
        &self,
        insurer: &InsurerCode,
        office: Option<&OfficeCode>,
        name: &str,
    ) -> anyhow::Result<Addressed> {
        let insurer_name = match self.ledger.insurer(insurer)? {
            Some(insurer) => cards::get::<InsurerCard>(self.blobs.as_ref(), &insurer.card)?.name,
            None => insurer.to_string(),
        };
        let office_name = match office {
            Some(code) => match self.ledger.office(insurer, code)? {
                Some(office) => cards::get::<OfficeCard>(self.blobs.as_ref(), &office.card)?.name,
                None => code.to_string(),
            },
            None => name.to_owned(),
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
        Ok(Recipient { mail, language: account.language, accounts: vec![account.id.clone()], insurer: None })
    }

    /// Where an insurer wants to be told of trouble; none where it named no address.
    pub fn mailbox_of_insurer(&self, code: &InsurerCode) -> anyhow::Result<Option<Recipient>> {
        let Some(insurer) = self.ledger.insurer(code)? else { return Ok(None) };
        let card: InsurerCard = cards::get(self.blobs.as_ref(), &insurer.card)?;
        let of = |mail| Recipient {
            mail,
            language: Language::Ja,
            accounts: Vec::new(),
            insurer: Some(code.clone()),
        };
        Ok(card.mail.map(of))
    }

    pub(super) fn account(&self, id: &AccountId) -> anyhow::Result<Account> {
        self.ledger.account(id)?.ok_or_else(|| anyhow::anyhow!("account {id} is not in the ledger"))
    }

    fn refusal(&self, number: Number, now: Timestamp) -> anyhow::Result<()> {
        let Some(submission) = self.ledger.submission(number)? else { return Ok(()) };
        let account = self.account(&submission.account)?;
        let findings = self.receipts.findings(&submission)?;
        let notice = RefusalNotice {
            to: self.addressed(&account, submission.office.as_ref())?,
            number,
            reasons: notice::summarise(findings.listed()),
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

    /// Tells that a document was taken back (誤配信); once, however often it is called.
    pub fn recalled(&self, document: &Document, now: Timestamp) -> anyhow::Result<()> {
        let subject = Subject::Recall(document.id);
        // Asked first, as a repetition after a crash would write a card for nothing.
        if let Some((kind, about)) = subject.once()
            && self.ledger.told(kind, &about)?
        {
            return Ok(());
        }
        let account = self.account(&document.account)?;
        let notice = RecallNotice {
            to: self.addressed(&account, Some(&document.office))?,
            kind: document.kind.clone(),
            file: document.name(),
            placed_on: document.placed_at.date_in(self.policy().zone),
            fetched: Reading::of(document.fetched, document.partly_fetched),
        };
        self.seal(&self.mailbox_of(&account)?, &notice, subject, now)?;
        Ok(())
    }

    /// Tells that the operator withdrew a submission, and why (H26). The reason stands in the mail alone: it may name somebody.
    pub fn withdrawn(
        &self,
        submission: &Submission,
        reason: Option<&str>,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let account = self.account(&submission.account)?;
        let notice = WithdrawnNotice {
            to: self.addressed(&account, submission.office.as_ref())?,
            number: submission.number,
            reason: reason.map(str::to_owned),
        };
        let subject = Subject::Notice { kind: "withdrawn".to_owned(), about: submission.number.to_string() };
        self.seal(&self.mailbox_of(&account)?, &notice, subject, now)?;
        Ok(())
    }

    /// Whether it is for test identities alone.
    fn all_test(&self, accounts: &[AccountId]) -> anyhow::Result<bool> {
        for id in accounts {
            // One that is applied for is not there yet.
            if !self.ledger.account(id)?.is_some_and(|account| account.test) {
                return Ok(false);
            }
        }
        Ok(!accounts.is_empty())
    }

    /// Whom insurers ask: the gateway's operator.
    pub fn contact(&self) -> String {
        let policy = self.policy();
        if policy.contact.is_empty() { policy.from_name.clone() } else { policy.contact.clone() }
    }

    /// Where days are counted.
    pub fn zone(&self) -> Tz {
        self.policy().zone
    }

    /// Which mailbox an address is: a digest that nobody else can make.
    pub fn mailbox_tag(&self, address: &str) -> Digest {
        self.receipts.keys.tag("mailbox", &[mailbox::normalised(address).as_bytes()])
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
        let mail = self.prepare(to, notice, &[to.language], subject, now)?;
        self.blobs.sync(std::slice::from_ref(&mail.card.blob))?;
        Ok(mail)
    }

    /// Where an account or an insurer that this mail tells is reached now, if that is not where the mail goes. Not of mails that go to an
    /// address for a reason of its own: what an application registered, and what was registered before a change.
    pub(super) fn moved(&self, mail: &Mail, goes_to: &str) -> anyhow::Result<Option<Recipient>> {
        let on_purpose = match &mail.subject {
            Subject::Application(..) => true,
            Subject::Notice { kind, .. } => kind == "profile",
            _ => false,
        };
        if on_purpose {
            return Ok(None);
        }
        if let Some(insurer) = &mail.insurer {
            // One that names no address any more leaves the mail where it goes.
            let now = self.mailbox_of_insurer(insurer)?;
            return Ok(now.filter(|to| mailbox::normalised(&to.mail) != mailbox::normalised(goes_to)));
        }
        for id in mail.accounts() {
            let Some(account) = self.ledger.account(id)? else { continue };
            let now = match cards::get::<AccountCard>(self.blobs.as_ref(), &account.card) {
                Ok(card) => card.mail,
                // Erased with the account: nobody moved.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            if mailbox::normalised(&now) != mailbox::normalised(goes_to) {
                let accounts = mail.accounts().cloned().collect();
                return Ok(Some(Recipient {
                    mail: now,
                    language: account.language,
                    accounts,
                    insurer: None,
                }));
            }
        }
        Ok(None)
    }

    /// Whether an account that it tells is reached elsewhere by now; not once its text is erased.
    pub(super) fn is_moved(&self, mail: &Mail) -> anyhow::Result<bool> {
        match cards::get::<MailCard>(self.blobs.as_ref(), &mail.card) {
            Ok(card) => Ok(self.moved(mail, &card.to)?.is_some()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The same text as a mail of its own to somebody else, its card durable.
    pub(super) fn rewrite(
        &self,
        mail: &Mail,
        card: &MailCard,
        to: &Recipient,
        now: Timestamp,
    ) -> anyhow::Result<Mail> {
        let raw = BASE64.decode(&card.message)?;
        let (text, languages) =
            notice::read(&raw).ok_or_else(|| anyhow::anyhow!("mail {} cannot be read", mail.id))?;
        let again = self.letter(to, &text, &languages, mail.subject.clone(), now)?;
        self.blobs.sync(std::slice::from_ref(&again.card.blob))?;
        Ok(again)
    }

    /// A mail as it will be sealed; its card is written, but not durable.
    pub(super) fn prepare(
        &self,
        to: &Recipient,
        notice: &dyn Notice,
        languages: &[Language],
        subject: Subject,
        now: Timestamp,
    ) -> anyhow::Result<Mail> {
        let templates = Arc::clone(&self.templates.read().unwrap_or_else(PoisonError::into_inner));
        let mut text = templates.render_all(notice, languages);
        if self.all_test(&to.accounts)? {
            text.mark_test(to.language);
        }
        self.letter(to, &text, languages, subject, now)
    }

    /// A text in an envelope of its own; its card is written, but not durable.
    fn letter(
        &self,
        to: &Recipient,
        text: &Rendered,
        languages: &[Language],
        subject: Subject,
        now: Timestamp,
    ) -> anyhow::Result<Mail> {
        let policy = self.policy();
        let head = self.ledger.head();
        let id = MailId { epoch: head.epoch, serial: self.ledger.next_serial(Series::Mail, now)? };
        let mut random = [0; 8];
        crate::store::keys::random(&mut random)?;
        let mark = Mark { mail: id, secret: hex::encode(random) };
        let message_id = format!("{}@{}", mark.text(), policy.domain);
        let letter = Letter {
            from_name: &policy.from_name,
            from: &policy.from,
            to: &to.mail,
            message_id: &message_id,
            at: now,
            languages,
        };
        let message = BASE64.encode(notice::compose(&letter, text, policy.dkim.as_deref())?);
        let from = match &policy.return_path {
            Some(pattern) => pattern.replace("{id}", &mark.text()),
            None => policy.from.clone(),
        };
        let card = MailCard { salt: cards::salt()?, from, to: to.mail.clone(), message };
        Ok(Mail {
            id,
            message_id,
            account: to.accounts.first().cloned(),
            more_accounts: to.accounts.iter().skip(1).cloned().collect(),
            subject,
            card: cards::put(self.blobs.as_ref(), &card, now)?,
            mailbox: Some(self.mailbox_tag(&to.mail)),
            sealed_at: now,
            state: MailState::Queued,
            attempts: 0,
            due_at: now,
            last_reply: None,
            report: None,
            insurer: to.insurer.clone(),
        })
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
            languages: &[Language::En],
        };
        let message = notice::compose(&letter, &notice::render_alarm(alarm), policy.dkim.as_deref())?;
        let envelope = Envelope { from: Some(policy.from.clone()), to: to.to_owned(), id: None };
        Ok(matches!(self.mailer.send(&envelope, &message), Delivery::Sent { .. }))
    }
}
