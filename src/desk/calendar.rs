//! What comes: cut-offs, receipt windows, documents and filings that are expected, holidays.

use chrono::Days;
use serde_json::{Value, json};

use super::listing::time;
use super::parts::Parts;
use super::request::{Answer, CalendarRequest, Response};
use super::trouble::Trouble;
use crate::config::Config;
use crate::filing::RuleBook;
use crate::model::ids::InsurerCode;
use crate::model::party::Standing;
use crate::model::time::{DAY, Timestamp};
use crate::rules::calendar::{self, BusinessDays, CalendarPolicy, Cron, Monthly};

/// Rows of one answer.
const ROWS_MAX: usize = 10_000;

/// One thing that comes.
struct Coming {
    at: Timestamp,
    insurer: Option<InsurerCode>,
    what: &'static str,
    detail: String,
    deadline: Option<Timestamp>,
}

/// Gathers what comes within a time.
struct Gather<'a> {
    config: &'a Config,
    now: Timestamp,
    until: Timestamp,
    rows: Vec<Coming>,
}

pub(super) fn answer(parts: &Parts, request: &CalendarRequest, now: Timestamp) -> Response {
    let config = parts.config.get();
    let until = now.plus(i64::from(request.days) * DAY);
    let mut gather = Gather { config: &config, now, until, rows: Vec::new() };
    if request.insurer.is_none() {
        gather.own();
    }
    let insurers = match &request.insurer {
        Some(code) => match parts.ledger.insurer(code)? {
            Some(insurer) => vec![insurer],
            None => return Err(Trouble::unknown(format!("insurer {code}"))),
        },
        None => parts.ledger.insurers()?,
    };
    let rules = RuleBook::load(&config.places.conf);
    let mut notes: Vec<String> = rules.as_ref().err().map(ToString::to_string).into_iter().collect();
    for insurer in insurers.iter().filter(|insurer| insurer.standing == Standing::Active) {
        match config.calendar(&insurer.code) {
            Ok((policy, days)) => gather.insurer(&insurer.code, &policy, &days),
            Err(error) => notes.push(error.to_string()),
        }
        if let Ok(rules) = &rules {
            gather.windows(&insurer.code, rules);
        }
    }
    let Gather { mut rows, .. } = gather;
    rows.sort_by(|a, b| (a.at, &a.insurer, a.what).cmp(&(b.at, &b.insurer, b.what)));
    if rows.len() > ROWS_MAX {
        rows.truncate(ROWS_MAX);
        notes.push(format!("Only the first {ROWS_MAX} are listed."));
    }
    let rows: Vec<Value> = rows.iter().map(Coming::row).collect();
    Ok(Answer { notes, ..Answer::of(Value::Array(rows)) })
}

impl Coming {
    fn row(&self) -> Value {
        json!({
            "at": time(self.at),
            "insurer": self.insurer,
            "what": self.what,
            "detail": self.detail,
            "deadline_at": self.deadline.map(time),
        })
    }
}

impl Gather<'_> {
    /// The gateway's own schedules, the next time of each.
    fn own(&mut self) {
        let zone = self.config.gateway.zone;
        for (what, schedule) in
            [("purge", &self.config.purge_schedule), ("reconciliation", &self.config.reconciliation_schedule)]
        {
            let next = Cron::of(schedule.clone()).next(self.now, zone).filter(|at| *at <= self.until);
            let row = |at| Coming { at, insurer: None, what, detail: String::new(), deadline: None };
            self.rows.extend(next.map(row));
        }
    }

    fn insurer(&mut self, code: &InsurerCode, policy: &CalendarPolicy, days: &BusinessDays) {
        let zone = self.config.gateway.zone;
        let mut from = self.now;
        loop {
            let slots = calendar::slots(&policy.cut_offs, (policy.shift, days), from, self.until, zone);
            for at in &slots {
                let name = calendar::reading(*at, zone).format("batch-%Y%m%d-%H%M.csv").to_string();
                self.push(*at, code, "cut-off", name, None);
            }
            match slots.last() {
                Some(last) if slots.len() == calendar::SLOTS_MAX && self.rows.len() < ROWS_MAX => {
                    from = *last;
                }
                _ => break,
            }
        }
        for expected in &policy.documents {
            let what = if expected.conditional { "documents-if-any" } else { "documents" };
            let mut detail = expected.types.join(", ");
            let each: Vec<String> = expected.offices.iter().map(ToString::to_string).collect();
            let each: Vec<String> =
                each.into_iter().chain(expected.accounts.iter().map(ToString::to_string)).collect();
            if !each.is_empty() {
                detail = format!("{detail} ({})", each.join(", "));
            }
            self.monthly(code, &expected.when, days, what, &detail);
        }
        for expected in &policy.filings {
            let forms =
                if expected.forms.is_empty() { "any form".to_owned() } else { expected.forms.join(", ") };
            self.monthly(code, &expected.when, days, "filings", &forms);
        }
        if !policy.is_empty() {
            let mut day = self.now.date_in(zone);
            while calendar::day_begins(day, zone) <= self.until {
                if let Some(name) = days.holidays.name(day) {
                    let (at, name) = (calendar::day_begins(day, zone), name.to_owned());
                    self.push(at, code, "holiday", name, None);
                }
                let Some(next) = day.checked_add_days(Days::new(1)) else { break };
                day = next;
            }
        }
    }

    fn monthly(
        &mut self,
        code: &InsurerCode,
        when: &Monthly,
        days: &BusinessDays,
        what: &'static str,
        detail: &str,
    ) {
        let zone = self.config.gateway.zone;
        for of in when.coming(self.now, days, zone) {
            let at = calendar::day_begins(of.day, zone);
            if at > self.until {
                break;
            }
            self.push(at, code, what, detail.to_owned(), Some(of.deadline));
        }
    }

    fn windows(&mut self, code: &InsurerCode, rules: &RuleBook) {
        let zone = self.config.gateway.zone;
        let Some(window) = rules.of(code).policy().calendar else { return };
        let (from, to) = (calendar::reading(self.now, zone), calendar::reading(self.until, zone));
        for (at, opens) in window.turns(from, to) {
            let what = if opens { "window-opens" } else { "window-closes" };
            self.push(calendar::instant(at, zone), code, what, String::new(), None);
        }
    }

    fn push(
        &mut self,
        at: Timestamp,
        code: &InsurerCode,
        what: &'static str,
        detail: String,
        deadline: Option<Timestamp>,
    ) {
        self.rows.push(Coming { at, insurer: Some(code.clone()), what, detail, deadline });
    }
}
