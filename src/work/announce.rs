//! Arrivals: documents that wait for their announcement, gathered by mailbox (K5 K9) and sealed in one mail for each. A
//! mailbox gets its first mail soon and the next after an interval; one where nobody reads mail gets none, and its
//! documents wait until the account names another address or the operator resumes it.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{SyncSender, sync_channel};

use super::notify::{Notifier, Recipient};
use crate::model::document::Document;
use crate::model::finding::Language;
use crate::model::ids::{AccountId, Digest, DocumentId, OfficeCode};
use crate::model::mail::{Mail, Subject};
use crate::model::party::{Account, Actor, Standing};
use crate::model::time::{DAY, SECOND, Timestamp};
use crate::rules::mailbox;
use crate::rules::notice::{self, ArrivalNotice, ArrivalPart};
use crate::store::ledger::{Done, Op, Queue, Task};

const LEASE: i64 = 600 * SECOND;
const BATCH: usize = 1_000;
/// Documents looked at in one step; more wait for the next.
const STEP_MAX: usize = 50_000;
/// Documents one mail announces; the others wait for the next.
const DOCUMENTS_PER_MAIL_MAX: usize = 5_000;
/// Mails that share an fsync and an entry in the ledger.
const SEALED_TOGETHER: usize = 100;
/// A marked address is looked at again after so long.
const MARKED_PAUSE: i64 = 600 * SECOND;

/// What waits for one mailbox.
struct Waiting {
    to: Recipient,
    documents: Vec<Document>,
}

/// An account and the mailbox that announcements for it go to.
struct Home {
    account: Account,
    mail: String,
    tag: Digest,
}

impl Notifier {
    /// One mail for each mailbox whose documents have gathered; gives how many mails were sealed.
    pub fn announce(&self, now: Timestamp) -> anyhow::Result<usize> {
        let mut homes = HashMap::new();
        let waiting = self.waiting(&mut homes, now)?;
        // While one group of mails becomes durable and is recorded, the next is written.
        std::thread::scope(|scope| {
            let (full, groups) = sync_channel::<Vec<Mail>>(1);
            let sealing = scope.spawn(move || {
                groups.into_iter().try_fold(0, |sealed, mails| Ok(sealed + self.seal_all(mails, now)?))
            });
            let written = self.write_arrivals(waiting, &homes, &full, now);
            drop(full);
            // Its trouble came first, where there is both.
            let sealed: anyhow::Result<usize> = sealing
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("the thread that seals mails panicked")));
            sealed.and_then(|sealed| written.map(|()| sealed))
        })
    }

    /// Writes a mail for each mailbox that may have one, and gives them out in groups. Ends early when nobody takes them.
    fn write_arrivals(
        &self,
        waiting: BTreeMap<(Digest, bool), Waiting>,
        homes: &HashMap<AccountId, Option<Home>>,
        full: &SyncSender<Vec<Mail>>,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let mut mails = Vec::new();
        for ((tag, _), mut waiting) in waiting {
            if let Some(until) = self.not_yet(tag, &waiting, now)? {
                self.give_back(&waiting.documents, until);
                continue;
            }
            waiting.documents.sort_by_key(|document| document.id);
            if waiting.documents.len() > DOCUMENTS_PER_MAIL_MAX {
                let rest = waiting.documents.split_off(DOCUMENTS_PER_MAIL_MAX);
                self.give_back(&rest, now.plus(self.policy().gathering.interval));
            }
            match self.arrival(&waiting, homes, now) {
                Ok(mail) => {
                    for account in &waiting.to.accounts {
                        self.alarms.clear(&untold(account));
                    }
                    mails.push(mail);
                }
                Err(error) => self.failed(&waiting.to.accounts, &error, now),
            }
            if mails.len() >= SEALED_TOGETHER && full.send(std::mem::take(&mut mails)).is_err() {
                return Ok(());
            }
        }
        if !mails.is_empty() {
            let _ = full.send(mails);
        }
        Ok(())
    }

    /// What waits, by mailbox; what is a test apart, so that nobody takes it for real (H3).
    fn waiting(
        &self,
        homes: &mut HashMap<AccountId, Option<Home>>,
        now: Timestamp,
    ) -> anyhow::Result<BTreeMap<(Digest, bool), Waiting>> {
        let mut waiting: BTreeMap<(Digest, bool), Waiting> = BTreeMap::new();
        for _ in 0..STEP_MAX / BATCH {
            let tasks = self.ledger.claim(Queue::Announce, now, LEASE, BATCH)?;
            let last = tasks.len() < BATCH;
            for task in tasks {
                let Task::Document(id) = task else { continue };
                // Gone meanwhile: it leaves the queue with its removal.
                let Some(document) = self.ledger.document(id)? else { continue };
                if !homes.contains_key(&document.account) {
                    let home = match self.home(&document.account) {
                        Ok(home) => Some(home),
                        Err(error) => {
                            // Others' mails go on; this one's documents come again when the lease ends.
                            self.failed(std::slice::from_ref(&document.account), &error, now);
                            None
                        }
                    };
                    homes.insert(document.account.clone(), home);
                }
                let Some(Some(home)) = homes.get(&document.account) else { continue };
                // Nobody can ever fetch it.
                if home.account.standing == Standing::Closed {
                    self.give_back(std::slice::from_ref(&document), now.plus(DAY));
                    continue;
                }
                let there = waiting.entry((home.tag, home.account.test)).or_insert_with(|| Waiting {
                    to: Recipient {
                        mail: home.mail.clone(),
                        language: home.account.language,
                        accounts: Vec::new(),
                        insurer: None,
                    },
                    documents: Vec::new(),
                });
                if !there.to.accounts.contains(&document.account) {
                    there.to.accounts.push(document.account.clone());
                }
                there.documents.push(document);
            }
            if last {
                break;
            }
        }
        Ok(waiting)
    }

    fn home(&self, id: &AccountId) -> anyhow::Result<Home> {
        let account = self.account(id)?;
        let mail = self.mailbox_of(&account)?.mail;
        let tag = self.mailbox_tag(&mail);
        Ok(Home { account, mail, tag })
    }

    /// Until when this mailbox's mail has to wait, if it has to.
    fn not_yet(&self, tag: Digest, waiting: &Waiting, now: Timestamp) -> anyhow::Result<Option<Timestamp>> {
        let known = self.ledger.mailbox(tag)?;
        if known.as_ref().is_some_and(|mailbox| mailbox.mark.is_some()) {
            return Ok(Some(now.plus(MARKED_PAUSE)));
        }
        let placed = || waiting.documents.iter().map(|document| document.placed_at);
        let (oldest, youngest) = (placed().min().unwrap_or(now), placed().max().unwrap_or(now));
        let last = known.and_then(|mailbox| mailbox.announced_at);
        Ok(mailbox::wait(self.policy().gathering, oldest, youngest, last, now))
    }

    fn give_back(&self, documents: &[Document], until: Timestamp) {
        let tasks: Vec<Task> = documents.iter().map(|document| Task::Document(document.id)).collect();
        self.ledger.postpone(Queue::Announce, &tasks, until);
    }

    fn failed(&self, accounts: &[AccountId], error: &anyhow::Error, now: Timestamp) {
        let account = accounts.first().map(ToString::to_string).unwrap_or_default();
        tracing::error!(account, error = format!("{error:#}"), "an arrival could not be announced");
        for account in accounts {
            self.alarms.raise(&untold(account), &format!("account {account}: {error:#}"), now);
        }
    }

    /// The mail, its card written and not yet durable.
    fn arrival(
        &self,
        waiting: &Waiting,
        homes: &HashMap<AccountId, Option<Home>>,
        now: Timestamp,
    ) -> anyhow::Result<Mail> {
        let mut outboxes: BTreeMap<(&AccountId, &OfficeCode), Vec<&Document>> = BTreeMap::new();
        for document in &waiting.documents {
            outboxes.entry((&document.account, &document.office)).or_default().push(document);
        }
        let (mut parts, mut languages) = (Vec::new(), Vec::new());
        for ((id, office), documents) in outboxes {
            let Some(Some(home)) = homes.get(id) else { continue };
            languages.push(home.account.language);
            let to = self.addressed(&home.account, Some(office))?;
            let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
            for document in &documents {
                *counts.entry(&document.kind).or_default() += 1;
            }
            let expires = documents.iter().map(|d| d.expires_at).min().unwrap_or(now);
            parts.push(ArrivalPart {
                office_name: to.office_name,
                insurer_name: to.insurer_name,
                account: id.to_string(),
                counts: counts.into_iter().map(|(kind, n)| (kind.to_owned(), n)).collect(),
                last_day: notice::last_day(expires, self.policy().zone),
                folder: folders(&documents, office),
                contact: to.contact,
            });
        }
        // Readers of a shared mailbox may differ: Japanese first, then English.
        let wanted = [Language::Ja, Language::En].into_iter().filter(|language| languages.contains(language));
        let languages: Vec<Language> = wanted.collect();
        let ids: Vec<DocumentId> = waiting.documents.iter().map(|document| document.id).collect();
        self.prepare(&waiting.to, &ArrivalNotice { parts }, &languages, Subject::Arrival(ids), now)
    }

    /// Makes prepared mails durable, all with one fsync and one entry; gives how many the ledger took.
    fn seal_all(&self, mails: Vec<Mail>, now: Timestamp) -> anyhow::Result<usize> {
        let blobs: Vec<_> = mails.iter().map(|mail| mail.card.blob.clone()).collect();
        self.blobs.sync(&blobs)?;
        let ids: Vec<_> = mails.iter().map(|mail| mail.id).collect();
        let Done::Mails(sealed) = self.ledger.commit(Op::SealMails(mails), Actor::Daemon, now)? else {
            return Ok(0);
        };
        // Told by another mail meanwhile.
        let left: Vec<_> =
            ids.iter().zip(blobs).filter(|(id, _)| !sealed.contains(id)).map(|(_, blob)| blob).collect();
        self.blobs.remove(&left)?;
        tracing::info!(mails = sealed.len(), "arrivals were announced");
        Ok(sealed.len())
    }
}

/// The alarm of an account whose arrivals could not be announced.
fn untold(account: &AccountId) -> String {
    format!("NOTICE-FAILED {account} arrival")
}

/// Where these lie: announcements have a folder of their own.
pub(super) fn folders(documents: &[&Document], office: &OfficeCode) -> String {
    let announced = documents.iter().filter(|document| document.announcement.is_some()).count();
    let outbox = (announced < documents.len()).then(|| format!("/outbox/{office}/"));
    let announcements = (announced > 0).then(|| "/announcements/".to_owned());
    outbox.into_iter().chain(announcements).collect::<Vec<_>>().join(" ")
}
