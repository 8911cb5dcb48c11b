//! For whom an account acts on a day: decided from its record alone (K6 K12 K13 E12 E13). Days are whole and local to the
//! gateway's zone.

use crate::model::ids::OfficeCode;
use crate::model::party::{Account, Delegation, Role};
use crate::model::time::Day;

/// Whether an account acts for an office on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acting {
    /// It does.
    Yes,
    /// Its delegation begins on this day.
    NotBegun(Day),
    /// Its (last) delegation ended with this day.
    Ended(Day),
    /// It never did.
    Never,
}

/// Why a delegation cannot be as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clash {
    /// An insurer's account acts for no office.
    Insurer,
    /// An office's account always acts for its own office.
    Own,
    /// The last day is before the first.
    Backwards,
    /// There is one already whose days are partly the same.
    Overlaps(Delegation),
    /// There is none that could end.
    None,
}

/// Whether it changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// A further period.
    Added,
    /// A period (or one without days) has other days now.
    Changed,
    /// It was so already.
    Unchanged,
}

/// Whether it holds on this day.
pub fn holds_on(period: &Delegation, day: Day) -> bool {
    has_begun(period, day) && period.until.is_none_or(|until| day <= until)
}

fn has_begun(period: &Delegation, day: Day) -> bool {
    period.from.is_none_or(|from| from <= day)
}

fn meet(one: &Delegation, other: &Delegation) -> bool {
    let before = |one: &Delegation, two: &Delegation| match (one.until, two.from) {
        (Some(until), Some(from)) => until < from,
        _ => false,
    };
    !before(one, other) && !before(other, one)
}

/// The office that an office's account is there for; it has it without an end.
pub fn own(account: &Account) -> Option<&OfficeCode> {
    account.offices.first().filter(|_| account.role == Role::Office)
}

/// Whether the account acts for the office on this day.
pub fn acting(account: &Account, office: &OfficeCode, day: Day) -> Acting {
    if account.offices.contains(office) {
        return Acting::Yes;
    }
    let periods = || account.delegations.iter().filter(|period| period.office == *office);
    if periods().any(|period| holds_on(period, day)) {
        return Acting::Yes;
    }
    let begins = periods().filter_map(|period| period.from).filter(|from| *from > day).min();
    let ended = periods().filter_map(|period| period.until).filter(|until| *until < day).max();
    match (begins, ended) {
        (Some(from), _) => Acting::NotBegun(from),
        (None, Some(until)) => Acting::Ended(until),
        (None, None) => Acting::Never,
    }
}

/// The offices that it acts for on this day, each once, its own first.
pub fn offices_on(account: &Account, day: Day) -> Vec<OfficeCode> {
    distinct(account, |period| holds_on(period, day))
}

/// The offices that it acts for on this day or acted for before.
pub fn offices_until(account: &Account, day: Day) -> Vec<OfficeCode> {
    distinct(account, |period| has_begun(period, day))
}

/// All offices it has ever been given, future ones too.
pub fn offices_ever(account: &Account) -> Vec<OfficeCode> {
    distinct(account, |_| true)
}

/// The last day of what holds on this day, if an end is agreed.
pub fn last_day(account: &Account, office: &OfficeCode, day: Day) -> Option<Day> {
    if account.offices.contains(office) {
        return None;
    }
    let holds = account.delegations.iter().find(|period| period.office == *office && holds_on(period, day));
    holds.and_then(|period| period.until)
}

fn distinct(account: &Account, counts: impl Fn(&Delegation) -> bool) -> Vec<OfficeCode> {
    let dated = account.delegations.iter().filter(|period| counts(period)).map(|period| &period.office);
    let mut seen = std::collections::HashSet::new();
    account.offices.iter().chain(dated).filter(|office| seen.insert(*office)).cloned().collect()
}

/// Lets the account act for the office on these days. A period that begins on the same day, or one without days, is replaced.
pub fn delegate(account: &mut Account, period: Delegation) -> Result<Edit, Clash> {
    if account.role == Role::Insurer {
        return Err(Clash::Insurer);
    }
    if own(account) == Some(&period.office) {
        return Err(Clash::Own);
    }
    if matches!((period.from, period.until), (Some(from), Some(until)) if until < from) {
        return Err(Clash::Backwards);
    }
    if account.delegations.contains(&period) && !account.offices.contains(&period.office) {
        return Ok(Edit::Unchanged);
    }
    let of_office = |there: &&Delegation| there.office == period.office;
    let others = account.delegations.iter().filter(of_office).filter(|there| there.from != period.from);
    if let Some(other) = others.into_iter().find(|there| meet(there, &period)) {
        return Err(Clash::Overlaps(other.clone()));
    }
    let before = account.offices.len() + account.delegations.len();
    account.offices.retain(|office| *office != period.office);
    account.delegations.retain(|there| there.office != period.office || there.from != period.from);
    let replaced = account.offices.len() + account.delegations.len() < before;
    account.delegations.push(period);
    Ok(if replaced { Edit::Changed } else { Edit::Added })
}

/// Ends what holds after `last`, its last day: a period, a future one, or one without days. The period as it is now; none when
/// nothing is left of it.
pub fn end(account: &mut Account, office: &OfficeCode, last: Day) -> Result<Option<Delegation>, Clash> {
    if own(account) == Some(office) {
        return Err(Clash::Own);
    }
    if account.offices.contains(office) {
        let period = Delegation { office: office.clone(), from: None, until: Some(last) };
        account.offices.retain(|there| there != office);
        // What was agreed with days before lies within.
        account.delegations.retain(|there| there.office != *office);
        account.delegations.push(period.clone());
        return Ok(Some(period));
    }
    let goes_on =
        |there: &Delegation| there.office == *office && there.until.is_none_or(|until| until > last);
    if !account.delegations.iter().any(goes_on) {
        return Err(Clash::None);
    }
    account.delegations.retain(|there| !goes_on(there) || has_begun(there, last));
    let left = account.delegations.iter_mut().find(|there| goes_on(there));
    Ok(left.map(|period| {
        period.until = Some(last);
        period.clone()
    }))
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::*;
    use crate::model::time::Timestamp;
    use crate::small_world::{INSURER, at, party};

    fn day(text: &str) -> Day {
        Day::parse(text).unwrap()
    }

    fn office(code: &str) -> OfficeCode {
        OfficeCode::parse(code).unwrap()
    }

    fn period(code: &str, from: &str, until: &str) -> Delegation {
        let day = |text: &str| (!text.is_empty()).then(|| day(text));
        Delegation { office: office(code), from: day(from), until: day(until) }
    }

    fn agent(periods: &[(&str, &str, &str)]) -> Account {
        let mut account = party("S0001", INSURER, Role::Agent, &["1234"]);
        for (code, from, until) in periods {
            assert_eq!(delegate(&mut account, period(code, from, until)), Ok(Edit::Added));
        }
        account
    }

    #[test]
    fn a_delegation_holds_from_its_first_to_its_last_day() {
        let account = agent(&[
            ("5678", "2026-04-01", "2027-03-31"),
            ("5678", "2028-04-01", ""),
            ("9999", "2026-12-01", "2026-12-31"),
        ]);
        let cases = [
            ("1234", "1999-01-01", Acting::Yes),
            ("5678", "2026-03-31", Acting::NotBegun(day("2026-04-01"))),
            ("5678", "2026-04-01", Acting::Yes),
            ("5678", "2027-03-31", Acting::Yes),
            ("5678", "2027-04-01", Acting::NotBegun(day("2028-04-01"))),
            ("5678", "2050-01-01", Acting::Yes),
            ("9999", "2027-01-01", Acting::Ended(day("2026-12-31"))),
            ("0001", "2026-12-01", Acting::Never),
        ];
        for (code, on, expected) in cases {
            assert_eq!(acting(&account, &office(code), day(on)), expected, "{code} on {on}");
        }
        assert_eq!(offices_on(&account, day("2026-12-05")), [office("1234"), office("5678"), office("9999")]);
        assert_eq!(offices_on(&account, day("2027-04-01")), [office("1234")]);
        assert_eq!(offices_until(&account, day("2026-11-30")), [office("1234"), office("5678")]);
        assert_eq!(offices_ever(&account).len(), 3);
    }

    /// The last day ends at local midnight, on days of 23 and 25 hours too.
    #[test]
    fn days_are_local() {
        let cases = [
            (chrono_tz::Asia::Tokyo, "2027-03-31T14:59:59.999Z", "2027-03-31T15:00:00Z", "2027-03-31"),
            (chrono_tz::Europe::Berlin, "2027-03-28T21:59:59.999Z", "2027-03-28T22:00:00Z", "2027-03-28"),
            (chrono_tz::Europe::Berlin, "2027-10-31T22:59:59.999Z", "2027-10-31T23:00:00Z", "2027-10-31"),
        ];
        for (zone, last, over, until) in cases {
            let account = agent(&[("5678", "2026-04-01", until)]);
            let on = |at: Timestamp, zone: Tz| acting(&account, &office("5678"), Day::of(at, zone));
            assert_eq!(on(at(last), zone), Acting::Yes, "{zone} {last}");
            assert_eq!(on(at(over), zone), Acting::Ended(day(until)), "{zone} {over}");
        }
    }

    #[test]
    fn periods_do_not_overlap_and_can_be_prolonged() {
        let mut account = agent(&[("5678", "2026-04-01", "2027-03-31")]);
        let mut ask = |from, until| delegate(&mut account, period("5678", from, until));
        let there = period("5678", "2026-04-01", "2027-03-31");
        assert_eq!(ask("2026-04-01", "2027-03-31"), Ok(Edit::Unchanged));
        for (from, until) in
            [("2027-03-31", ""), ("2026-01-01", "2026-04-01"), ("2026-06-01", "2026-07-01"), ("", "")]
        {
            assert_eq!(ask(from, until), Err(Clash::Overlaps(there.clone())), "{from} {until}");
        }
        assert_eq!(ask("2027-03-31", "2027-03-30"), Err(Clash::Backwards));
        assert_eq!(ask("2026-04-01", "2028-03-31"), Ok(Edit::Changed));
        assert_eq!(ask("2028-04-01", "2029-03-31"), Ok(Edit::Added));
        assert_eq!(account.delegations.len(), 2);
        // One without days gets days.
        assert_eq!(delegate(&mut account, period("1234", "2026-04-01", "")), Ok(Edit::Changed));
        assert!(account.offices.is_empty());
        let mut head = party("K0001", INSURER, Role::Office, &["1234", "5678"]);
        assert_eq!(delegate(&mut head, period("1234", "2026-04-01", "")), Err(Clash::Own));
        assert_eq!(delegate(&mut head, period("9999", "2026-04-01", "")), Ok(Edit::Added));
        let mut insurer = party("I0001", INSURER, Role::Insurer, &[]);
        assert_eq!(delegate(&mut insurer, period("1234", "2026-04-01", "")), Err(Clash::Insurer));
    }

    #[test]
    fn an_end_leaves_what_was() {
        let mut account = agent(&[("5678", "2026-04-01", ""), ("9999", "2027-04-01", "2028-03-31")]);
        let last = day("2026-11-22");
        assert_eq!(
            end(&mut account, &office("5678"), last),
            Ok(Some(period("5678", "2026-04-01", "2026-11-22")))
        );
        assert_eq!(end(&mut account, &office("5678"), last), Err(Clash::None));
        assert_eq!(end(&mut account, &office("9999"), last), Ok(None), "it never began");
        assert_eq!(end(&mut account, &office("1234"), last), Ok(Some(period("1234", "", "2026-11-22"))));
        assert_eq!(acting(&account, &office("1234"), day("2026-11-23")), Acting::Ended(last));
        assert_eq!(acting(&account, &office("9999"), day("2027-05-01")), Acting::Never);
        // Engaged again.
        assert_eq!(delegate(&mut account, period("1234", "2026-12-01", "")), Ok(Edit::Added));
        assert_eq!(acting(&account, &office("1234"), day("2026-11-23")), Acting::NotBegun(day("2026-12-01")));
        let mut office_account = party("K0001", INSURER, Role::Office, &["1234"]);
        assert_eq!(end(&mut office_account, &office("1234"), last), Err(Clash::Own));
    }

    /// Records of before delegations are read as they are meant.
    #[test]
    fn an_account_of_an_older_journal_is_read() {
        let mut json = serde_json::to_value(agent(&[])).unwrap();
        json.as_object_mut().unwrap().remove("delegations");
        let account: Account = serde_json::from_value(json).unwrap();
        assert_eq!(acting(&account, &office("1234"), day("2026-11-23")), Acting::Yes);
        for text in ["2026-1-05", "2026-02-30", "+2026-01-05", ""] {
            assert!(Day::parse(text).is_err(), "{text}");
        }
        let dated = agent(&[("5678", "2026-04-01", "")]);
        let json = serde_json::to_string(&dated).unwrap();
        assert!(json.contains(r#"{"office":"5678","from":"2026-04-01","until":null}"#), "{json}");
        assert_eq!(serde_json::from_str::<Account>(&json).unwrap(), dated);
    }
}
