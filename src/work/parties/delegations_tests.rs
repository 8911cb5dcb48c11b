use super::csv::{self, Kind};
use super::delegations::{DelegationForm, DelegationState};
use super::tests::{BY, NOW, World, code, office};
use super::*;
use crate::model::time::Day;
use crate::rules::delegation::{Acting, acting};

const ZONE: chrono_tz::Tz = chrono_tz::Asia::Tokyo;

fn day(text: &str) -> Day {
    Day::parse(text).unwrap()
}

fn form(code: &str, to: &str, from: &str, until: &str) -> DelegationForm {
    let day = |text: &str| (!text.is_empty()).then(|| day(text));
    let to = AccountId::parse(to).unwrap();
    DelegationForm { office: office(code), to, from: day(from), until: day(until) }
}

fn with_agent() -> World {
    let world = World::new();
    world.add("K0001", |form| form.offices = Some(vec![office("1234")]));
    world.add("S0001", |form| {
        form.role = Some(Role::Agent);
        form.offices = Some(vec![office("5678")]);
    });
    world
}

fn said(result: Result<Told, PartyError>) -> String {
    match result {
        Ok(told) => format!("{:?}", told.change),
        Err(PartyError::Refused { code, .. }) => code.to_owned(),
        Err(error) => panic!("{error}"),
    }
}

/// [`NOW`] is 2026-11-18 in Tokyo.
#[test]
fn delegations_are_set_listed_and_ended() {
    let world = with_agent();
    let set = |form: &DelegationForm| said(world.parties.delegate(form, ZONE, &BY, NOW));
    assert_eq!(Day::of(NOW, ZONE), day("2026-11-18"));
    let cases = [
        (form("1234", "S0001", "", "2027-03-31"), "Added"),
        (form("1234", "S0001", "2026-11-18", "2027-03-31"), "Unchanged"),
        (form("1234", "S0001", "", "2028-03-31"), "Changed"),
        (form("1234", "S0001", "2027-01-01", ""), "DELEGATION-OVERLAPS"),
        (form("1234", "S0001", "2028-04-01", "2028-03-31"), "DELEGATION-DAYS"),
        (form("1234", "K0001", "", ""), "DELEGATION-OWN"),
        (form("5678", "K0001", "2026-12-01", ""), "Added"),
        (form("9999", "S0001", "", ""), "OFFICE-UNKNOWN"),
        (form("1234", "S0009", "", ""), "ACCOUNT-UNKNOWN"),
    ];
    for (form, expected) in &cases {
        assert_eq!(set(form), *expected, "{form:?}");
    }
    let today = Day::of(NOW, ZONE);
    let listed = |on| {
        let rows = world.parties.delegations(Some(&code()), None, None, on).unwrap();
        rows.iter().map(|row| format!("{} {} {:?}", row.office, row.account, row.state)).collect::<Vec<_>>()
    };
    assert_eq!(listed(today), ["1234 S0001 Holds", "5678 K0001 NotBegun", "5678 S0001 Holds"]);
    assert_eq!(listed(day("2028-04-01"))[0], "1234 S0001 Ended");
    let agent = AccountId::parse("S0001").unwrap();
    let end = |code: &str, last: Option<Day>| {
        said(world.parties.undelegate(&office(code), &agent, last, ZONE, &BY, NOW))
    };
    assert_eq!(end("1234", Some(day("2026-12-31"))), "Changed");
    assert_eq!(end("5678", None), "Changed");
    assert_eq!(end("5678", None), "DELEGATION-UNKNOWN");
    let account = world.ledger.account(&agent).unwrap().unwrap();
    assert_eq!(acting(&account, &office("5678"), today), Acting::Ended(day("2026-11-17")));
    assert_eq!(acting(&account, &office("1234"), day("2027-01-01")), Acting::Ended(day("2026-12-31")));
    let rows = world.parties.delegations(None, Some(&office("5678")), Some(&agent), today).unwrap();
    assert_eq!(rows.iter().map(|row| row.state).collect::<Vec<_>>(), [DelegationState::Ended]);
}

#[test]
fn many_delegations_are_one_change_of_each_account() {
    let world = with_agent();
    let file = "office,to,from,until\n\
                1234,S0001,2026-04-01,2026-12-31\n\
                1234,S0001,2027-04-01,\n\
                1234,S0001,2026-06-01,\n\
                9999,S0001,,\n\
                1234,S0001,2026-4-1,\n\
                5678,K0001,2026-12-01,2027-03-31\n";
    let rows = csv::parse(Kind::Delegation, file.as_bytes()).unwrap();
    let run = |dry_run| {
        let results = world.parties.import_delegations(&rows, dry_run, ZONE, &BY, NOW).unwrap();
        results.iter().map(|row| format!("{:?}", row.result)).collect::<Vec<_>>()
    };
    let expected = ["Added", "Added", "Refused", "Refused", "Refused", "Added"];
    let before = world.ledger.head().seq;
    assert_eq!(run(true), expected);
    assert_eq!(world.ledger.head().seq, before, "a dry run writes nothing");
    assert_eq!(run(false), expected);
    assert_eq!(world.ledger.head().seq, before + 2, "one event for each account");
    assert_eq!(run(false)[..2], ["Unchanged", "Unchanged"]);
    assert_eq!(world.ledger.head().seq, before + 2);
}
