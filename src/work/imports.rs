//! What importers do in their folders, noticed and recorded: `new → cur → done | failed`.
//!
//! The watch (`watch.rs`) is only a bell; the scan is what tells. Folders whose name is no number of this insurer's are reported, never
//! touched.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::alarms::Alarms;
use super::publish::{SpoolTurn, erase_aside, find, put_aside, withdrawn_aside};
use super::step::{Doing as _, Progress, WorkError, contained};
use crate::model::escape;
use crate::model::ids::{InsurerCode, Number};
use crate::model::party::Actor;
use crate::model::submission::State;
use crate::model::time::{SECOND, Timestamp};
use crate::store::ledger::{Ledger, Op, SubmissionFilter};
use crate::store::spool::{self, Folder, InsurerSpool, Place, is_lone_file};

/// Bytes of a reason that are shown.
const REASON_BYTES_MAX: u64 = 4096;
/// Threads that record what a scan found.
const RECORDERS: usize = 16;
/// Submissions asked for at once.
const PAGE: usize = 1000;

/// What is watched for.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportPolicy {
    /// A submission that waits in `new/` for longer raises an alarm: hours since it was accepted.
    pub uncollected_hours_max: u32,
}

impl Default for ImportPolicy {
    fn default() -> Self {
        Self { uncollected_hours_max: 72 }
    }
}

/// The stage.
pub struct Imports {
    /// What is true.
    pub ledger: Arc<dyn Ledger>,
    /// `spool/`
    pub spool_root: PathBuf,
    /// What is watched for.
    pub policy: ImportPolicy,
    /// Shared with publication and erasure.
    pub turn: SpoolTurn,
    /// Where trouble is said.
    pub alarms: Arc<dyn Alarms>,
    /// Where each was seen last, so that a scan asks the ledger only about what moved. Starts empty.
    pub seen: Mutex<HashMap<Number, Place>>,
}

impl Imports {
    /// Scans every insurer's folders once and records what is new.
    pub fn step(&self, now: Timestamp) -> Result<Progress, WorkError> {
        let mut progress = Progress::default();
        for insurer in self.ledger.insurers()? {
            let code = &insurer.code;
            let came = InsurerSpool::open(&self.spool_root, code)
                .doing(|| format!("opening the spool of {code}"))
                .and_then(|spool| self.scan(code, &spool, now));
            let text = |error: &WorkError| {
                format!("what the insurer collects cannot be seen: {error}; run `todoke doctor`")
            };
            let alarm = format!("SPOOL-UNREADABLE {code}");
            progress = progress.and(contained(&*self.alarms, &alarm, now, came, text)?.unwrap_or_default());
        }
        Ok(progress)
    }

    fn scan(&self, code: &InsurerCode, spool: &InsurerSpool, now: Timestamp) -> Result<Progress, WorkError> {
        let unsettled = self.turn.take();
        if unsettled.contains(code) {
            return Ok(Progress::default());
        }
        let by = Actor::Importer(code.clone());
        let mut progress = Progress::default();
        let mut found = BTreeMap::new();
        let mut strangers = Vec::new();
        // In the order in which importers move things, so that what moves meanwhile is met once at least.
        for place in [Place::New, Place::Cur, Place::Done, Place::Failed] {
            for name in
                spool.place(place).names().doing(|| format!("reading {}/ of {code}", place.folder()))?
            {
                let name = name.doing(|| format!("reading {}/ of {code}", place.folder()))?;
                match name.to_str().and_then(|name| Number::parse(name).ok()) {
                    Some(number) => {
                        found.insert(number, place);
                    }
                    None if is_reason(place, &name.to_string_lossy()) => {}
                    None => strangers.push(format!("{}/{}", place.folder(), name.to_string_lossy())),
                }
            }
        }
        let mut moved = Vec::new();
        let mut withdrawn = Vec::new();
        for (&number, &place) in &found {
            if self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&number) == Some(&place) {
                continue;
            }
            match self.ledger.submission(number)?.filter(|submission| submission.insurer == *code) {
                None => strangers.push(format!("{}/{number}", place.folder())),
                Some(submission) if submission.state == State::Withdrawn => withdrawn.push((number, place)),
                // Freshly published: it lies where the gateway put it.
                Some(submission)
                    if submission.state == State::Published
                        && spool::import_ops(number, submission.state, place).is_empty() =>
                {
                    self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(number, place);
                }
                Some(_) => moved.push((number, place)),
            }
        }
        progress.done += self.record(&moved, &by, now)?;
        self.report_strangers(code, &strangers, now);
        progress.done += self.take_out(code, spool, &withdrawn, now)?;
        let failed = found.values().filter(|place| **place == Place::Failed).count();
        let alarm = format!("IMPORT-FAILED {code}");
        if failed > 0 {
            let text = format!(
                "{failed} submissions lie in the insurer's failed/; `todoke submission show` says why"
            );
            self.alarms.raise(&alarm, &text, now);
        } else {
            self.alarms.clear(&alarm);
        }
        Ok(progress.and(self.look_for_published(code, spool, &found, now)?))
    }

    /// What is withdrawn is not for the importer: out of `new/` it goes; where the importer has it, somebody must act.
    fn take_out(
        &self,
        code: &InsurerCode,
        spool: &InsurerSpool,
        withdrawn: &[(Number, Place)],
        now: Timestamp,
    ) -> Result<u64, WorkError> {
        let mut taken = Vec::new();
        let mut done = 0;
        for &(number, place) in withdrawn {
            if place != Place::New {
                taken.push(format!("{}/{number}", place.folder()));
                continue;
            }
            erase_aside(spool, number)?;
            if !put_aside(spool, number)? {
                // The next scan finds it with the importer.
                continue;
            }
            erase_aside(spool, number)?;
            tracing::warn!(%number, insurer = %code, "a withdrawn submission lay in new/; it was taken out");
            done += 1;
        }
        let alarm = format!("SPOOL-WITHDRAWN {code}");
        match taken.first() {
            None => self.alarms.clear(&alarm),
            Some(first) => {
                let words = format!(
                    "{} withdrawn submissions lie in the insurer's folders, such as {first}: the importer took what is \
                     withdrawn. Tell the insurer not to use it, and to remove the folder",
                    taken.len()
                );
                self.alarms.raise(&alarm, &words, now);
            }
        }
        Ok(done)
    }

    /// Side by side, so that many share the journal's fsyncs.
    fn record(&self, moved: &[(Number, Place)], by: &Actor, now: Timestamp) -> Result<u64, WorkError> {
        if moved.is_empty() {
            return Ok(0);
        }
        let record_share = |moved: &[(Number, Place)]| -> Result<u64, WorkError> {
            let mut news = 0;
            for &(number, place) in moved {
                news += u64::from(spool::record_import(&*self.ledger, number, place, by, now)?);
                self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(number, place);
                if place == Place::Failed {
                    tracing::warn!(%number, by = ?by, "an import failed; see `todoke submission show`");
                }
            }
            Ok(news)
        };
        let share = moved.len().div_ceil(RECORDERS).max(1);
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                moved.chunks(share).map(|moved| scope.spawn(|| record_share(moved))).collect();
            let mut news = 0;
            for thread in threads {
                news += thread.join().unwrap_or(Err(WorkError::Stopped("a thread's panic")))?;
            }
            Ok(news)
        })
    }

    fn report_strangers(&self, code: &InsurerCode, strangers: &[String], now: Timestamp) {
        let alarm = format!("SPOOL-UNKNOWN {code}");
        match strangers.first() {
            None => self.alarms.clear(&alarm),
            Some(first) => {
                let words = format!(
                    "{} things in the insurer's folders are not the gateway's, such as {:?}; they are left alone: move them away, and look into evidence/receipt.json of what has one first",
                    strangers.len(),
                    escape::excerpt(first, 80),
                );
                self.alarms.raise(&alarm, &words, now);
            }
        }
    }

    /// Published ones: those in none of the folders were taken elsewhere by the importer, which is collecting too; the
    /// oldest that still waits may be worth an alarm.
    fn look_for_published(
        &self,
        code: &InsurerCode,
        spool: &InsurerSpool,
        found: &BTreeMap<Number, Place>,
        now: Timestamp,
    ) -> Result<Progress, WorkError> {
        let mut progress = Progress::default();
        let mut oldest: Option<(Timestamp, Number)> = None;
        let (mut waiting, mut late) = (0_u64, 0_u64);
        let patience = i64::from(self.policy.uncollected_hours_max) * 3600 * SECOND;
        let mut filter = SubmissionFilter {
            insurer: Some(code.clone()),
            states: vec![State::Published],
            ..SubmissionFilter::default()
        };
        loop {
            let page = self.ledger.submissions(&filter, PAGE)?;
            for submission in &page {
                let number = submission.number;
                if found.contains_key(&number) {
                    let since = submission.decided_at.unwrap_or(submission.received_at);
                    waiting += 1;
                    late += u64::from(now.since(since) > patience);
                    oldest = oldest.into_iter().chain([(since, number)]).min();
                } else if find(spool, &number.to_string())
                    .doing(|| format!("looking for {number}"))?
                    .is_none_or(|place| place != Place::New)
                    // A withdrawal of which nobody knows yet whether it is recorded: settled at the next start.
                    && spool
                        .tmp
                        .stat(withdrawn_aside(number))
                        .doing(|| format!("looking for {number}"))?
                        .is_none()
                {
                    tracing::warn!(%number, insurer = %code, "gone from new/: taken as collected");
                    self.ledger.commit(Op::Collect(number), Actor::Importer(code.clone()), now)?;
                    progress.done += 1;
                }
            }
            filter.before = page.last().map(|submission| submission.number);
            if page.len() < PAGE {
                break;
            }
        }
        let alarm = format!("SPOOL-NOT-COLLECTED {code}");
        match oldest {
            Some((since, number)) if now.since(since) > patience => {
                let words = format!(
                    "{late} of {waiting} submissions in new/ have waited for more than {} hours, the oldest ({number}) since \
                     {since}; is the insurer's importer running?",
                    self.policy.uncollected_hours_max
                );
                self.alarms.raise(&alarm, &words, now);
            }
            _ => self.alarms.clear(&alarm),
        }
        Ok(progress)
    }
}

/// `failed/NUMBER.reason`
fn is_reason(place: Place, name: &str) -> bool {
    place == Place::Failed && name.strip_suffix(".reason").is_some_and(|number| Number::parse(number).is_ok())
}

/// What the importer says about a submission that it could not import: the first 4 KiB of `failed/NUMBER.reason`, fit to be
/// shown. For the operator's eyes: it may name persons, so it goes into no journal and no log.
pub fn import_reason(spool_root: &Path, code: &InsurerCode, number: Number) -> io::Result<Option<String>> {
    read_reason(&InsurerSpool::open(spool_root, code)?.failed, number)
}

fn read_reason(failed: &Folder, number: Number) -> io::Result<Option<String>> {
    let file = match failed.open_file(format!("{number}.reason"), OFlags::RDONLY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if !is_lone_file(&rustix::fs::fstat(&file)?) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(REASON_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(text.trim_end().lines().map(escape::terminal).collect::<Vec<_>>().join("\n")))
}

#[cfg(test)]
mod tests;
