use chrono_tz::{America, Asia, Europe, Pacific};
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp(chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn cron(text: &str) -> Cron {
    Cron::try_from(text.to_owned()).unwrap()
}

fn japan() -> BusinessDays {
    CalendarPolicy::default().business_days(Holidays::parse(JA.as_bytes()).unwrap())
}

fn between(schedules: &[&str], shift: Shift, after: &str, until: &str, zone: Tz) -> Vec<String> {
    let schedules: Vec<_> = schedules.iter().map(|text| cron(text)).collect();
    let found = slots(&schedules, (shift, &japan()), at(after), at(until), zone);
    found.into_iter().map(|slot| reading(slot, zone).format("%m-%d %H:%M").to_string()).collect()
}

#[test]
fn each_cut_off_is_once_also_where_the_clock_leaps() {
    let new_york = America::New_York;
    // 2026-03-08: 02:00 to 03:00 is skipped.
    let spring = between(
        &["0 30 1,2,3 * * *"],
        Shift::None,
        "2026-03-07T12:00:00-05:00",
        "2026-03-09T12:00:00-04:00",
        new_york,
    );
    assert_eq!(
        spring,
        ["03-08 01:30", "03-08 03:00", "03-08 03:30", "03-09 01:30", "03-09 02:30", "03-09 03:30"]
    );
    // 2026-11-01: 01:00 to 02:00 comes twice.
    let autumn = between(
        &["0 30 0,1,2 * * *"],
        Shift::None,
        "2026-10-31T12:00:00-04:00",
        "2026-11-01T12:00:00-05:00",
        new_york,
    );
    assert_eq!(autumn, ["11-01 00:30", "11-01 01:30", "11-01 02:30"]);
    let second_time = at("2026-11-01T01:10:00-05:00");
    assert_eq!(cron("0 30 1 * * *").next(second_time, new_york), Some(at("2026-11-02T01:30:00-05:00")));
    assert_eq!(
        instant(day("2026-11-01").and_hms_opt(1, 30, 0).unwrap(), new_york),
        at("2026-11-01T01:30:00-04:00")
    );
    assert_eq!(
        instant(day("2026-03-08").and_hms_opt(2, 59, 59).unwrap(), new_york),
        at("2026-03-08T03:00:00-04:00")
    );
    // Half an hour, and a day.
    let lord_howe =
        instant(day("2026-10-04").and_hms_opt(2, 10, 0).unwrap(), chrono_tz::Australia::Lord_Howe);
    assert_eq!(lord_howe, at("2026-10-04T02:30:00+11:00"));
    assert_eq!(day_begins(day("2011-12-30"), Pacific::Apia), at("2011-12-31T00:00:00+14:00"));
    assert_eq!(
        cron("0 0 17 * * *").next(at("2026-11-23T16:59:59.999+09:00"), Asia::Tokyo),
        Some(at("2026-11-23T17:00:00+09:00"))
    );
    assert_eq!(cron("0 0 0 30 2 *").next(at("2026-11-23T00:00:00Z"), Asia::Tokyo), None);
}

#[test]
fn cut_offs_move_to_business_days() {
    let week = |shift| {
        between(
            &["0 0 17 * * *"],
            shift,
            "2026-09-17T18:00:00+09:00",
            "2026-09-24T23:00:00+09:00",
            Asia::Tokyo,
        )
    };
    // Saturday 19, Sunday 20, 敬老の日 21, 休日 22, 秋分の日 23.
    assert_eq!(week(Shift::Before), ["09-18 17:00", "09-24 17:00"]);
    assert_eq!(week(Shift::After), ["09-18 17:00", "09-24 17:00"]);
    assert_eq!(week(Shift::None).len(), 7);
    let new_year = |shift| {
        between(
            &["0 0 12 31 12 *"],
            shift,
            "2026-12-01T00:00:00+09:00",
            "2027-01-31T00:00:00+09:00",
            Asia::Tokyo,
        )
    };
    assert_eq!(new_year(Shift::Before), ["12-28 12:00"]);
    assert_eq!(new_year(Shift::After), ["01-04 12:00"]);
    // Two expressions that meet are one cut-off.
    let both = between(
        &["0 0 17 * * Mon-Fri", "30 0 17 20 * *"],
        Shift::None,
        "2026-11-19T18:00:00+09:00",
        "2026-11-20T18:00:00+09:00",
        Asia::Tokyo,
    );
    assert_eq!(both, ["11-20 17:00"]);
    let closed =
        BusinessDays { closed: vec![DayRange { from: (1, 1), to: (12, 31) }], ..BusinessDays::default() };
    assert_eq!(closed.shifted(day("2026-11-23"), Shift::After), day("2026-11-23"));
}

#[test]
fn documents_of_the_tenth_are_missed_after_their_grace_and_until_the_next_open() {
    let policy: CalendarPolicy = toml::from_str(
        "[[documents]]\ntypes = ['支払決定額通知書']\nday = 10\nshift = 'after'\n\
         [[documents]]\ntypes = ['返戻等一覧表']\nday = 1\nconditional = true\n\
         [[filings]]\nday = 31\nmonths = [1, 7]\nremind_days = 5\ntell = ['office']\n",
    )
    .unwrap();
    policy.check().unwrap();
    let (tenth, zone, days) = (&policy.documents[0].when, Asia::Tokyo, japan());
    // 10 October 2026 is a Saturday, the 12th スポーツの日.
    let expected = Occurrence {
        day: day("2026-10-13"),
        opens: at("2026-10-03T00:00:00+09:00"),
        deadline: at("2026-10-15T00:00:00+09:00"),
    };
    assert_eq!(tenth.next(at("2026-10-01T00:00:00+09:00"), &days, zone), Some(expected));
    for (now, watched) in [
        ("2026-10-02T23:59:59+09:00", Some("2026-09-10")),
        ("2026-10-03T00:00:00+09:00", None),
        ("2026-10-14T23:59:59+09:00", None),
        ("2026-10-15T00:00:00+09:00", Some("2026-10-13")),
        ("2026-10-30T00:00:00+09:00", Some("2026-10-13")),
        ("2026-10-31T00:00:00+09:00", None),
    ] {
        let found = tenth.watched(at(now), &days, zone).map(|found| found.day);
        assert_eq!(found, watched.map(day), "{now}");
    }
    let wide = Monthly { early_days: 30, grace_days: 0, shift: Shift::None, ..tenth.clone() };
    for (now, watched) in [
        ("2026-10-11T00:00:00+09:00", Some(day("2026-10-10"))),
        ("2026-10-17T23:59:59+09:00", Some(day("2026-10-10"))),
        ("2026-10-18T00:00:00+09:00", None),
    ] {
        assert_eq!(
            wide.watched(at(now), &days, zone).map(|found| found.day),
            watched,
            "the next one is open: {now}"
        );
    }
    let filings = &policy.filings[0];
    let coming: Vec<_> = filings.when.coming(at("2026-06-01T00:00:00+09:00"), &days, zone).take(3).collect();
    assert_eq!(
        coming.iter().map(|found| found.day).collect::<Vec<_>>(),
        [day("2026-07-31"), day("2027-01-31"), day("2027-07-31")]
    );
    assert_eq!(filings.reminds(coming[0], zone), Some(at("2026-07-26T00:00:00+09:00")));
    let end = Monthly { day: 31, months: Vec::new(), shift: Shift::None, early_days: 0, grace_days: 0 };
    assert_eq!(
        end.next(at("2027-02-01T00:00:00Z"), &days, zone).map(|found| found.day),
        Some(day("2027-02-28"))
    );
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (text, told) in [
        ("cut_offs = ['17:00']", "six fields"),
        ("closed = ['13-01']", "12-29..01-03"),
        ("weekend = ['someday']", "someday"),
        ("shift = 'later'", "later"),
        ("holidays = '../x'", "conf/holidays"),
        ("[[documents]]\ntypes = []\nday = 1", "types"),
        ("[[documents]]\ntypes = ['x']\nday = 0", "1 to 31"),
        ("[[documents]]\ntypes = ['x']\nday = 1\ntell = ['office']", "operator and insurer"),
        ("[[filings]]\nday = 1\nmonths = [13]", "1 to 12"),
        ("[[filings]]\nday = 1\ncolour = 'x'", "colour"),
    ] {
        let refused = match toml::from_str::<CalendarPolicy>(text) {
            Ok(policy) => policy.check().expect_err(text),
            Err(error) => error.to_string(),
        };
        assert!(refused.contains(told), "{text}: {refused}");
    }
}

#[test]
fn a_year_of_days_in_any_zone_has_no_holes() {
    for zone in [Asia::Tokyo, America::New_York, Europe::London, Pacific::Apia, America::Sao_Paulo] {
        let mut begins = day_begins(day("2010-01-01"), zone);
        for n in 0..3_000 {
            let today = day("2010-01-01") + Days::new(n);
            assert_eq!(day_begins(today, zone), begins, "{zone} {today}");
            let ends = day_ends(today, zone);
            assert!(ends >= begins, "{zone} {today}");
            begins = ends;
        }
    }
}

proptest! {
    #[test]
    fn slots_cut_anywhere_are_the_same_slots(start in 0_i64..400, cuts in proptest::collection::vec(0_i64..40 * 24 * 60, 1..6)) {
        let schedules = [cron("0 30 1,2 * * *"), cron("0 0 17 * * Mon-Fri")];
        let (zone, days) = (America::New_York, japan());
        let from = at("2026-01-01T00:00:00Z").plus(start * 86_400_000);
        let until = from.plus(40 * 86_400_000);
        let whole = slots(&schedules, (Shift::After, &days), from, until, zone);
        let mut marks: Vec<Timestamp> = cuts.iter().map(|minutes| from.plus(minutes * 60_000)).collect();
        marks.sort();
        marks.push(until);
        let (mut parts, mut after) = (Vec::new(), from);
        for mark in marks {
            parts.extend(slots(&schedules, (Shift::After, &days), after, mark, zone));
            after = mark;
        }
        prop_assert_eq!(whole, parts);
    }
}
