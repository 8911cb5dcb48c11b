//! The mail queue: sealed mails go to the next host until it takes them or the schedule ends.
//!
//! | state | there is | crash |
//! |---|---|---|
//! | queued | event `mail_sealed`, due in the ledger | given out again at start |
//! | in a lane | the same; here in memory alone | as above |
//! | handed over | the next host has it | sent once more, with the same Message-ID |
//! | tried | event `mail_tried`, several together | - |
//!
//! Once the ledger has stopped, nothing is sent: what could not be recorded stays in hand until the next start.
//! Lanes (`rules::lanes`) keep destinations apart; results are recorded by one thread, many with one fsync.

pub(super) mod moved;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::alarms::Alarms;
use super::notify::Notifier;
use super::ports::{Delivery, Envelope, Mailer, is_about_host};
use crate::model::card::MailCard;
use crate::model::event::MailResult;
use crate::model::ids::MailId;
use crate::model::mail::{ADDRESS_MARKED, Mail, MailState, Subject};
use crate::model::party::{Actor, Standing};
use crate::model::time::{Clock, SECOND, Timestamp};
use crate::rules::lanes::{LaneRule, Lanes, Next, Outcome};
use crate::rules::mailbox;
use crate::rules::retry::{Retry, Schedule};
use crate::rules::smtp_code::{self, Status};
use crate::store::blobs::Blobs;
use crate::store::cards;
use crate::store::ledger::{Ledger, LedgerError, Op, Queue, Task};

/// Policy of the queue.
#[derive(Debug, Clone)]
pub struct SendPolicy {
    /// When to try again, and when to give up.
    pub schedule: Schedule,
    /// Mails under way at the same time.
    pub connections: usize,
    /// The same for one destination, and how many a minute.
    pub lane: LaneRule,
    /// Destinations that have a rule of their own, in small letters.
    pub lanes: std::collections::BTreeMap<String, LaneRule>,
}

impl SendPolicy {
    fn rule(&self, destination: &str) -> LaneRule {
        self.lanes.get(destination).copied().unwrap_or(self.lane)
    }
}

const LEASE: i64 = 600 * SECOND;
const BATCH: usize = 1_000;
/// Mails of one destination that wait in memory; more stay in the ledger.
const LANE_MAX: usize = 2_000;
/// Mails that wait in memory.
const HAND_MAX: usize = 20_000;
/// What finds no room is looked at again after so long.
const FULL_PAUSE: i64 = 60 * SECOND;
/// Results recorded together.
const RECORDED_TOGETHER: usize = 256;
/// While other mails are under way, a result waits so long for theirs: recording each by itself costs the disk, which the
/// next host often shares, more than the mails. What a crash loses meanwhile is sent once more, with the same Message-ID.
const RECORD_GATHER: Duration = Duration::from_millis(20);
/// Workers look at the clock this often while nothing can begin.
const LOOK: Duration = Duration::from_millis(500);
/// At a stop, attempts may come to their end for so long.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Sends what is queued.
pub struct Sender {
    /// The queue.
    pub ledger: Arc<dyn Ledger>,
    /// Mails' cards.
    pub blobs: Arc<dyn Blobs>,
    /// The next host.
    pub mailer: Arc<dyn Mailer>,
    /// Knows where accounts are reached now.
    pub notifier: Arc<Notifier>,
    /// Tells the operator.
    pub alarms: Arc<dyn Alarms>,
    /// Policy; replaced as a whole at reload.
    pub policy: Arc<RwLock<Arc<SendPolicy>>>,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// What waits here.
    pub desk: Desk,
}

/// What waits in memory for its turn.
pub struct Desk {
    state: Mutex<State>,
    bell: Condvar,
}

struct State {
    lanes: Lanes<MailId>,
    /// In a lane, under way, or ended and not recorded yet.
    hand: HashSet<MailId>,
    looked: moved::Looked,
    stopping: bool,
    workers: usize,
}

impl Default for Desk {
    fn default() -> Self {
        let state = State {
            lanes: Lanes::new(LANE_MAX),
            hand: HashSet::new(),
            looked: moved::Looked::default(),
            stopping: false,
            workers: 0,
        };
        Self { state: Mutex::new(state), bell: Condvar::new() }
    }
}

/// The threads that send.
pub struct Sending {
    sender: Arc<Sender>,
    recorder: Option<JoinHandle<()>>,
}

type Ended = (MailId, MailResult);

impl Sender {
    fn policy(&self) -> Arc<SendPolicy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.desk.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is due into the lanes; whether there may be more.
    pub fn feed(&self, now: Timestamp) -> anyhow::Result<bool> {
        self.look_for_moved(now)?;
        if self.state().hand.len() >= HAND_MAX {
            return Ok(false);
        }
        let tasks = self.ledger.claim(Queue::Mail, now, LEASE, BATCH)?;
        let more = tasks.len() == BATCH;
        let mut full = Vec::new();
        for task in tasks {
            let Task::Mail(id) = task else { continue };
            // The lease of one that waits here for long has ended.
            if self.state().hand.contains(&id) {
                continue;
            }
            let destination = match self.destination(id) {
                Ok(Some(destination)) => destination,
                Ok(None) => continue,
                Err(error) => {
                    self.failed(id, &error, now);
                    continue;
                }
            };
            let mut state = self.state();
            if state.lanes.push(&destination, id).is_ok() {
                state.hand.insert(id);
                self.desk.bell.notify_one();
            } else {
                full.push(task);
            }
        }
        self.ledger.postpone(Queue::Mail, &full, now.plus(FULL_PAUSE));
        Ok(more)
    }

    fn destination(&self, id: MailId) -> anyhow::Result<Option<String>> {
        let Some(mail) = self.queued(id)? else { return Ok(None) };
        let card: MailCard = cards::get(self.blobs.as_ref(), &mail.card)?;
        Ok(Some(mailbox::destination(&card.to)))
    }

    fn queued(&self, id: MailId) -> Result<Option<Mail>, LedgerError> {
        Ok(self.ledger.mail(id)?.filter(|mail| mail.state == MailState::Queued))
    }

    /// Starts the threads that send.
    pub fn start(self: &Arc<Self>) -> std::io::Result<Sending> {
        let (ended, results) = sync_channel(RECORDED_TOGETHER);
        for n in 0..self.policy().connections.max(1) {
            let (own, ended) = (Arc::clone(self), ended.clone());
            self.state().workers += 1;
            std::thread::Builder::new().name(format!("mail-{n}")).spawn(move || own.work(&ended))?;
        }
        let own = Arc::clone(self);
        let recorder =
            std::thread::Builder::new().name("mail-record".into()).spawn(move || own.record(&results))?;
        Ok(Sending { sender: Arc::clone(self), recorder: Some(recorder) })
    }

    fn work(&self, ended: &SyncSender<Ended>) {
        while let Some((destination, id)) = self.next() {
            let tried = catch_unwind(AssertUnwindSafe(|| self.try_one(id)));
            let result = match tried {
                Ok(Ok(result)) => result,
                Ok(Err(error)) => {
                    self.failed(id, &error, self.clock.now());
                    None
                }
                Err(_) => {
                    self.failed(id, &anyhow::anyhow!("an attempt panicked; see the log"), self.clock.now());
                    None
                }
            };
            let mut state = self.state();
            state.lanes.done(&destination, outcome(result.as_ref()), self.clock.now());
            if result.is_none() {
                // It comes again when its lease ends.
                state.hand.remove(&id);
            }
            drop(state);
            self.desk.bell.notify_one();
            if let Some(result) = result
                && ended.send((id, result)).is_err()
            {
                break;
            }
        }
        self.state().workers -= 1;
        self.desk.bell.notify_all();
    }

    /// Waits for the next mail; none at a stop.
    fn next(&self) -> Option<(String, MailId)> {
        let policy = self.policy();
        let mut state = self.state();
        loop {
            if state.stopping {
                return None;
            }
            if let Next::Start(destination, id) =
                state.lanes.next(self.clock.now(), policy.connections, |name| policy.rule(name))
            {
                return Some((destination, id));
            }
            state = self.desk.bell.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// One attempt; none where the mail is queued no more.
    fn try_one(&self, id: MailId) -> anyhow::Result<Option<MailResult>> {
        let Some(mail) = self.queued(id)? else { return Ok(None) };
        // What became of it could not be recorded: it would go out again and again.
        if self.ledger.stopped().is_some() {
            return Ok(None);
        }
        let card: MailCard = cards::get(self.blobs.as_ref(), &mail.card)?;
        if moved::told_again(&mail) && self.notifier.moved(&mail, &card.to)?.is_some() {
            return Ok(Some(MailResult::Dropped));
        }
        if matches!(mail.subject, Subject::Arrival(_)) && self.is_for_nobody(&mail)? {
            return Ok(Some(MailResult::Dropped));
        }
        if self.readdressed(&mail, &card, self.clock.now())? {
            return Ok(None);
        }
        if let Some(tag) = mail.mailbox
            && self.ledger.mailbox(tag)?.is_some_and(|mailbox| mailbox.mark.is_some())
        {
            return Ok(Some(MailResult::Failed { reply: ADDRESS_MARKED.to_owned() }));
        }
        let message = BASE64.decode(&card.message)?;
        let mark = mail.message_id.split('@').next().map(str::to_owned);
        let envelope = Envelope { from: Some(card.from), to: card.to, id: mark };
        self.alarms.clear(&format!("MAIL-FAILED {id}"));
        let delivery = self.mailer.send(&envelope, &message);
        let (policy, now) = (self.policy(), self.clock.now());
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
        if let MailResult::Failed { reply } = &result {
            self.state().looked.given_up.insert(id);
            self.alarms.raise(&moved::given_up(id), &moved::given_up_text(&mail, reply), now);
        }
        tracing::info!(mail = %id, ?result, "a mail was tried");
        Ok(Some(result))
    }

    /// Whether everybody that this mail tells has closed their account: nobody can ever fetch what it announces.
    fn is_for_nobody(&self, mail: &Mail) -> anyhow::Result<bool> {
        let mut told = mail.accounts().peekable();
        if told.peek().is_none() {
            return Ok(false);
        }
        for id in told {
            if self.ledger.account(id)?.is_none_or(|account| account.standing != Standing::Closed) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Records results until all workers have ended.
    fn record(&self, results: &Receiver<Ended>) {
        while let Ok(first) = results.recv() {
            let mut ended = vec![first];
            let until = Instant::now() + RECORD_GATHER;
            while ended.len() < RECORDED_TOGETHER && self.state().hand.len() > ended.len() {
                let Ok(next) = results.recv_timeout(until.saturating_duration_since(Instant::now())) else {
                    break;
                };
                ended.push(next);
            }
            self.record_these(ended);
        }
    }

    fn record_these(&self, ended: Vec<Ended>) {
        let now = self.clock.now();
        let ids: Vec<MailId> = ended.iter().map(|(id, _)| *id).collect();
        let blamed: Vec<(MailId, Option<String>)> = ended
            .iter()
            .filter_map(|(id, result)| match result {
                MailResult::Failed { reply } if smtp_code::blames_address(reply) => {
                    Some((*id, Status::find(reply).map(|status| status.to_string())))
                }
                _ => None,
            })
            .collect();
        let over: Vec<MailId> = ended
            .iter()
            .filter(|(_, result)| matches!(result, MailResult::Sent { .. } | MailResult::Dropped))
            .map(|(id, _)| *id)
            .collect();
        let tried = self.ledger.commit(Op::TryMails(ended), Actor::Daemon, now).map(|_| ());
        let recorded = tried.is_ok();
        let mut done = tried;
        for (mail, status) in blamed {
            let marked = self.ledger.commit(Op::MarkAddress { mail, status }, Actor::Daemon, now).map(|_| ());
            done = done.and(marked);
        }
        if let Err(error) = done {
            tracing::error!(%error, "what became of mails could not be recorded");
            self.alarms.raise("MAIL-FAILED", &error.to_string(), now);
        } else {
            self.alarms.clear("MAIL-FAILED");
        }
        if !recorded {
            // They stay in hand: given out again they would be sent again.
            return;
        }
        for id in over {
            self.over(id);
        }
        let mut state = self.state();
        for id in ids {
            state.hand.remove(&id);
        }
    }

    fn failed(&self, id: MailId, error: &anyhow::Error, now: Timestamp) {
        tracing::error!(mail = %id, error = format!("{error:#}"), "a mail could not be tried");
        self.alarms.raise(&format!("MAIL-FAILED {id}"), &format!("{id}: {error:#}"), now);
    }

    /// Sends what is due in this thread, one after the other; gives how many were tried. For tests, and where no daemon
    /// runs.
    pub fn step(&self) -> anyhow::Result<usize> {
        let mut tried = 0;
        while self.feed(self.clock.now())? {}
        let policy = self.policy();
        loop {
            let next =
                self.state().lanes.next(self.clock.now(), policy.connections, |name| policy.rule(name));
            let Next::Start(destination, id) = next else { break };
            let result = self.try_one(id)?;
            self.state().lanes.done(&destination, outcome(result.as_ref()), self.clock.now());
            match result {
                Some(result) => self.record_these(vec![(id, result)]),
                None => _ = self.state().hand.remove(&id),
            }
            tried += 1;
        }
        // What waits for later is given back.
        let left = self.state().lanes.take_waiting();
        let mut state = self.state();
        for id in &left {
            state.hand.remove(id);
        }
        let tasks: Vec<Task> = left.into_iter().map(Task::Mail).collect();
        self.ledger.postpone(Queue::Mail, &tasks, self.clock.now());
        Ok(tried)
    }
}

/// What an attempt says about others of its destination.
fn outcome(result: Option<&MailResult>) -> Outcome {
    match result {
        Some(MailResult::Deferred { reply, .. }) if is_about_host(reply) => Outcome::HostAway,
        Some(MailResult::Failed { reply }) if reply.strip_prefix("expired: ").is_some_and(is_about_host) => {
            Outcome::HostAway
        }
        Some(MailResult::Deferred { .. }) => Outcome::Later,
        _ => Outcome::Fine,
    }
}

impl Sending {
    /// Ends the threads: no mail is begun any more. Attempts that a slow host holds up for too long are left behind; their
    /// mails are sent again after the next start.
    pub fn stop(mut self) {
        let mut state = self.sender.state();
        state.stopping = true;
        self.sender.desk.bell.notify_all();
        let ended = self.sender.desk.bell.wait_timeout_while(state, STOP_MAX, |state| state.workers > 0);
        let left = ended.unwrap_or_else(PoisonError::into_inner).0.workers;
        if left > 0 {
            tracing::warn!(
                attempts = left,
                "mails under way were left; they are sent again after the next start"
            );
            return;
        }
        if let Some(recorder) = self.recorder.take() {
            let _ = recorder.join();
        }
    }
}

#[cfg(test)]
impl Sender {
    /// Over the ledger, the blobs and the host of this notifier, at this time.
    pub(crate) fn of(notifier: &Arc<Notifier>, now: Timestamp) -> Self {
        let lane = LaneRule { connections: 2, per_minute: 0 };
        let lanes = std::collections::BTreeMap::new();
        let policy = SendPolicy { schedule: Schedule::default(), connections: 4, lane, lanes };
        Self {
            ledger: Arc::clone(&notifier.ledger),
            blobs: Arc::clone(&notifier.blobs),
            mailer: Arc::clone(&notifier.mailer),
            notifier: Arc::clone(notifier),
            alarms: Arc::clone(&notifier.alarms),
            policy: Arc::new(RwLock::new(Arc::new(policy))),
            clock: Arc::new(crate::model::time::SetClock::at(now)),
            desk: Desk::default(),
        }
    }
}
