//! Repeats (K53): a record whose person, form and date were filed before for the same office is taken for a correction,
//! which is not accepted electronically. Loss and acquisition on one day (同日得喪) are two forms, and no repeat.
//!
//! Who was filed is remembered as keyed tags ([`crate::store::seen`]), for as long as the insurer's policy says.

use std::sync::{Arc, PoisonError, RwLock};

use chrono_tz::Tz;

use crate::filing::twins::{kana, number};
use crate::filing::{Findings, LISTED_MAX, RecordKey, RuleBook, RuleSet, set};
use crate::model::finding::Finding;
use crate::model::ids::{Digest, InsurerCode, Number};
use crate::model::party::Account;
use crate::model::submission::{State, Submission};
use crate::model::time::Timestamp;
use crate::store::keys::Keys;
use crate::store::ledger::Ledger;
use crate::store::seen::{Claim, Claiming, Mark, Month, Seen};

/// Knows what was filed.
pub struct Repeats {
    /// What is remembered.
    pub seen: Arc<Seen>,
    /// Says what became of earlier submissions.
    pub ledger: Arc<dyn Ledger>,
    /// Makes the tags.
    pub keys: Arc<Keys>,
    /// Rule tables; replaced as a whole at reload.
    pub rules: Arc<RwLock<Arc<RuleBook>>>,
    /// Months are counted here.
    pub zone: Tz,
}

/// The records of one filing as they are compared; names nobody but by insured's number.
#[derive(Debug, Clone, Default)]
pub struct Records {
    marks: Vec<Mark>,
    places: Vec<Place>,
    forms: Vec<String>,
}

/// Where a record stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    line: u32,
    form: u8,
    /// The insured's number, filled up with zero bytes.
    insured: [u8; 6],
}

impl Records {
    /// Adds a record that names a person and a date; others cannot be told apart.
    pub(crate) fn add(&mut self, keys: &Keys, account: &Account, key: &RecordKey<'_>) {
        let Some(event) = key.event else { return };
        let (kana, insured) = (kana(key.kana).collect::<Vec<u8>>(), number(key.insured));
        let of = [account.insurer.as_str(), if account.test { "test" } else { "" }, key.form];
        let [insurer, test, form] = of.map(str::as_bytes);
        let event = event.to_string();
        let record = match key.birth {
            Some(birth) if !kana.is_empty() => keys.tag(
                "filed",
                &[insurer, test, key.office, form, event.as_bytes(), &kana, birth.to_string().as_bytes()],
            ),
            _ if !insured.is_empty() => {
                keys.tag("filed-number", &[insurer, test, key.office, form, event.as_bytes(), insured])
            }
            _ => return,
        };
        let tag = |insured| keys.tag("insured", &[insurer, test, key.office, insured]);
        let mark =
            Mark { record: first(record), insured: (!insured.is_empty()).then(|| first(tag(insured))) };
        let form = self.forms.iter().position(|known| known == key.form).unwrap_or_else(|| {
            self.forms.push(key.form.to_owned());
            self.forms.len() - 1
        });
        let mut shown = [0; 6];
        if key.insured.len() <= shown.len() {
            shown[..key.insured.len()].copy_from_slice(key.insured);
        }
        self.marks.push(mark);
        self.places.push(Place {
            line: u32::try_from(key.line).unwrap_or(u32::MAX),
            form: u8::try_from(form).unwrap_or(u8::MAX),
            insured: shown,
        });
    }

    fn repeated(&self, rules: &RuleSet, at: usize, earlier: Number, held: bool) -> Option<Finding> {
        let place = self.places.get(at)?;
        let form = self.forms.get(usize::from(place.form)).map_or("", String::as_str);
        let digits: String =
            place.insured.iter().filter(|b| b.is_ascii_alphanumeric()).map(|b| char::from(*b)).collect();
        let insured = (!digits.is_empty()).then_some(digits);
        set::repeated(rules, (u64::from(place.line), form, insured), earlier, held)
    }
}

/// The first bytes of a tag: enough to tell records apart.
fn first<const N: usize>(tag: Digest) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(tag.0) {
        *to = from;
    }
    bytes
}

/// Who claims.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    /// The number it has, or will have.
    pub number: Number,
    /// For whom.
    pub insurer: &'a InsurerCode,
    /// Its content.
    pub content_tag: Digest,
    /// Submissions of the very same content do not count: they are held, and somebody looks (*policy*).
    pub same_content_is_held: bool,
}

/// What came of it.
pub struct Claimed<'a> {
    /// Keeps the records, once the submission is committed; none when it is refused.
    pub claim: Option<Claim<'a>>,
    /// One for each record that was filed before.
    pub findings: Findings,
}

impl Repeats {
    /// Looks whether any of the records was filed before, and remembers all of them for this submission unless that refuses
    /// it.
    pub fn claim(&self, by: Claimant<'_>, records: &Records, now: Timestamp) -> anyhow::Result<Claimed<'_>> {
        let book = Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner));
        let rules = book.of(by.insurer);
        let months = rules.policy().repeats_months;
        if months == 0 || records.marks.is_empty() {
            return Ok(Claimed { claim: None, findings: Findings::default() });
        }
        let month = Month::of(now.date_in(self.zone));
        let mut claiming = Claiming {
            insurer: by.insurer,
            since: month.before(months),
            month,
            number: by.number,
            marks: &records.marks,
            even_if_repeated: false,
        };
        loop {
            let claim = self.seen.claim(claiming, &mut |earlier| {
                anyhow::Ok(self.ledger.submission(earlier)?.is_some_and(|earlier| counts(&earlier, by)))
            })?;
            let mut findings = Findings::listing(LISTED_MAX);
            let mut last: Option<(Number, bool)> = None;
            for (at, earlier) in &claim.repeats {
                let held = match last {
                    Some((number, held)) if number == *earlier => held,
                    _ => self.ledger.submission(*earlier)?.is_some_and(|s| s.state == State::Held),
                };
                last = Some((*earlier, held));
                if let Some(finding) = records.repeated(rules, *at, *earlier, held) {
                    findings.push(finding.severity, || finding);
                }
            }
            let refused = !findings.is_ok();
            // Only warnings, or a rule that is switched off: the filing goes through, and is remembered.
            if !refused && !claim.repeats.is_empty() && !claiming.even_if_repeated {
                claiming.even_if_repeated = true;
                continue;
            }
            let claim = (!refused).then_some(claim);
            return Ok(Claimed { claim, findings });
        }
    }
}

/// Whether a submission stands in the way: not one that was refused or withdrawn.
fn counts(earlier: &Submission, by: Claimant<'_>) -> bool {
    let stands = earlier.state.counts();
    stands && !(by.same_content_is_held && earlier.content_tag == by.content_tag)
}

#[cfg(test)]
#[path = "repeats_tests.rs"]
mod tests;
