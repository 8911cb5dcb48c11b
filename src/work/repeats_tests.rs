use super::*;
use crate::filing::sample::{SampleFiling, record};
use crate::filing::{Context, Profile, check_observed};
use crate::model::party::Role;
use crate::small_world::{INSURER, World, at, code, party};
use crate::store::ledger::Op;
use chrono::NaiveDate;

struct Office {
    world: World,
    repeats: Repeats,
    rules: RuleSet,
    /// Whom the office record of the file names.
    of_file: String,
    serial: u64,
    _keys: tempfile::TempDir,
    seen: tempfile::TempDir,
}

fn today() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 23).unwrap()
}

fn sample(form: &str, i: u64) -> Vec<String> {
    let rules = RuleSet::builtin().unwrap();
    let form = rules.form(Profile::Kpfd, form).unwrap();
    record(form, *form.counts.last().unwrap(), i, today())
}

/// The field of this key in a sample record.
fn set(record: &mut [String], key: &str, value: &str) {
    let rules = RuleSet::builtin().unwrap();
    let form = rules.form(Profile::Kpfd, &record[0]).unwrap();
    record[form.field(key).unwrap()] = value.into();
}

impl Office {
    fn new(policy: &str) -> Self {
        let world = World::new();
        let (keys, seen) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let rules = RuleSet::builtin().unwrap().for_insurer("x.toml", policy).unwrap();
        let repeats = Repeats {
            seen: Arc::new(Seen::open(seen.path(), true).unwrap()),
            ledger: world.ledger.clone(),
            keys: Arc::new(Keys::load_or_make(&keys.path().join("keys")).unwrap()),
            rules: Arc::new(RwLock::new(Arc::new(rules.clone().into()))),
            zone: chrono_tz::Asia::Tokyo,
        };
        Self { world, repeats, rules, of_file: "1234".into(), serial: 100, _keys: keys, seen }
    }

    fn records(&self, account: &Account, rows: &[Vec<String>]) -> Records {
        let mut filing = SampleFiling { records: rows.to_vec(), ..SampleFiling::head(today()) };
        filing.offices[0][0].clone_from(&self.of_file);
        let mut records = Records::default();
        let mut sink = Findings::default();
        check_observed(&filing.bytes()[..], &self.rules, &Context::on(today()), &mut sink, &mut |key| {
            records.add(&self.repeats.keys, account, key);
        })
        .unwrap();
        records
    }

    /// Sends rows for the office; gives the rules that were found. What is not refused ends in `state`.
    fn sends_as(&mut self, account: &Account, rows: &[Vec<String>], state: State) -> Vec<String> {
        let records = self.records(account, rows);
        let insurer = code(INSURER);
        self.serial += 1;
        let number = Number { epoch: 1, serial: self.serial };
        let tag = Digest::of(format!("{rows:?}").as_bytes());
        let by = Claimant { number, insurer: &insurer, content_tag: tag, same_content_is_held: false };
        let claimed = self.repeats.claim(by, &records, self.world.now).unwrap();
        if let Some(claim) = claimed.claim {
            claim.sync().unwrap();
            let mut one = crate::small_world::submission(
                &*self.world.blobs,
                number,
                account.id.as_str(),
                "1234",
                self.world.now,
            );
            (one.state, one.content_tag) = (state, tag);
            self.world.ledger.add_submission(one);
            claim.keep();
        }
        claimed.findings.into_listed().into_iter().map(|finding| finding.rule).collect()
    }

    fn sends(&mut self, rows: &[Vec<String>]) -> Vec<String> {
        self.sends_as(&party("K0001", INSURER, Role::Office, &["1234"]), rows, State::Accepted)
    }

    fn last(&self) -> Number {
        Number { epoch: 1, serial: self.serial }
    }
}

const REFUSED: [&str; 1] = ["SET-REPEATED"];

#[test]
fn person_form_and_date_make_a_repeat() {
    let mut office = Office::new("");
    let first = sample("2200700", 1);
    assert_eq!(office.sends(&[first.clone(), sample("2200700", 2)]), [""; 0]);
    assert_eq!(office.sends(&[sample("2200700", 3), first.clone()]), REFUSED);
    assert_eq!(office.sends(&[sample("2200700", 3)]), [""; 0], "a refused one remembers nothing");
    let with = |key: &str, value: &str| {
        let mut row = first.clone();
        set(&mut row, key, value);
        [row]
    };
    // Everything else may differ, and how the name is written.
    assert_eq!(office.sends(&with("money", "1")), REFUSED);
    assert_eq!(office.sends(&with("insured", "")), REFUSED);
    let kana = first[6].clone();
    assert_eq!(office.sends(&with("kana", &kana.replace(' ', "  "))), REFUSED);
    assert_eq!(office.sends(&with("kanji", "")), REFUSED);
    // Another person, another date, another form.
    assert_eq!(office.sends(&with("insured", "999999")), [""; 0]);
    assert_eq!(office.sends(&with("kana", "ﾍﾞﾂ ｼﾞﾝ")), [""; 0]);
    assert_eq!(office.sends(&with("acquired_ymd", "081001")), [""; 0]);
}

#[test]
fn loss_and_acquisition_on_one_day_are_no_repeat() {
    let mut office = Office::new("");
    let (mut acquired, mut lost) = (sample("2200700", 1), sample("2201700", 1));
    for (row, date) in [(&mut acquired, "acquired"), (&mut lost, "lost")] {
        set(row, &format!("{date}_era"), "9");
        set(row, &format!("{date}_ymd"), "081101");
    }
    assert_eq!(office.sends(&[lost.clone()]), [""; 0]);
    assert_eq!(office.sends(&[acquired.clone()]), [""; 0]);
    assert_eq!(office.sends(&[lost, acquired]), ["SET-REPEATED", "SET-REPEATED"]);
}

#[test]
fn withdrawn_and_refused_ones_do_not_count_and_held_ones_say_so() {
    let mut office = Office::new("");
    let rows = [sample("2265700", 1)];
    let k0001 = party("K0001", INSURER, Role::Office, &["1234"]);
    assert_eq!(office.sends_as(&k0001, &rows, State::Refused), [""; 0]);
    assert_eq!(office.sends_as(&k0001, &rows, State::Held), [""; 0]);
    let held = office.last();
    assert_eq!(office.sends(&rows), ["SET-REPEATED-HELD"]);
    let withdraw = Op::Withdraw { number: held, account: None };
    office.world.ledger.commit(withdraw, crate::model::party::Actor::Daemon, office.world.now).unwrap();
    assert_eq!(office.sends(&rows), [""; 0]);
    assert_eq!(office.sends(&rows), REFUSED);
}

#[test]
fn accounts_of_one_office_share_it_and_test_accounts_do_not() {
    let mut office = Office::new("");
    let rows = [sample("2221700", 1)];
    let agent = party("S0001", INSURER, Role::Agent, &["1234", "5678"]);
    let mut test = party("K0001T", INSURER, Role::Office, &["1234"]);
    test.test = true;
    assert_eq!(office.sends_as(&test, &rows, State::Accepted), [""; 0]);
    assert_eq!(office.sends_as(&agent, &rows, State::Accepted), [""; 0]);
    assert_eq!(office.sends(&rows), REFUSED);
    assert_eq!(office.sends_as(&test, &rows, State::Accepted), REFUSED);
    // The same person at another office is another filing.
    let mut elsewhere = rows[0].clone();
    set(&mut elsewhere, "society_office", "5678");
    // A record that names it within this office's file is not.
    assert_eq!(office.sends_as(&agent, std::slice::from_ref(&elsewhere), State::Accepted), REFUSED);
    office.of_file = "5678".into();
    assert_eq!(office.sends_as(&agent, &[elsewhere], State::Accepted), [""; 0]);
}

#[test]
fn the_insurer_sets_how_long_and_how_hard() {
    let rows = [sample("2225700", 1)];
    let later = at("2028-11-23T09:00:00+09:00");
    let mut office = Office::new("");
    assert_eq!(office.sends(&rows), [""; 0]);
    office.world.now = later;
    assert_eq!(office.sends(&rows), REFUSED);
    office.world.now = at("2028-12-01T00:00:00+09:00");
    assert_eq!(office.sends(&rows), [""; 0], "its month is over");

    let mut office = Office::new("[filing.severity]\nSET-REPEATED = \"warning\"\n");
    assert_eq!(office.sends(&rows), [""; 0]);
    assert_eq!(office.sends(&rows), REFUSED, "said, and let through");
    assert_eq!(office.world.ledger.submission(office.last()).unwrap().unwrap().state, State::Accepted);
    let mut office = Office::new("[filing.severity]\nSET-REPEATED = \"off\"\n");
    assert_eq!((office.sends(&rows), office.sends(&rows)), (vec![], vec![]));
    let mut office = Office::new("[filing]\nrepeats_months = 0\n");
    assert_eq!((office.sends(&rows), office.sends(&rows)), (vec![], vec![]));
    assert_eq!(std::fs::read_dir(office.seen.path()).unwrap().count(), 0, "nothing is remembered");
    let mut office = Office::new("[filing]\nrepeats_months = 1\n");
    assert_eq!(office.sends(&rows), [""; 0]);
    office.world.now = at("2027-01-01T00:00:00+09:00");
    assert_eq!(office.sends(&rows), [""; 0]);
}

#[test]
fn the_very_same_content_is_somebodys_to_look_at() {
    let mut office = Office::new("");
    let rows = [sample("2200700", 1)];
    assert_eq!(office.sends(&rows), [""; 0]);
    let earlier = office.world.ledger.submission(office.last()).unwrap().unwrap();
    let records = office.records(&party("K0001", INSURER, Role::Office, &["1234"]), &rows);
    let insurer = code(INSURER);
    let by = Claimant {
        number: Number { epoch: 1, serial: 500 },
        insurer: &insurer,
        content_tag: earlier.content_tag,
        same_content_is_held: true,
    };
    assert!(office.repeats.claim(by, &records, office.world.now).unwrap().findings.listed().is_empty());
    let by = Claimant { same_content_is_held: false, ..by };
    assert_eq!(office.repeats.claim(by, &records, office.world.now).unwrap().findings.listed().len(), 1);
}

#[test]
fn nothing_readable_is_kept() {
    let kana = |name: &[u8]| kana(name).collect::<Vec<_>>();
    let mut office = Office::new("");
    assert_eq!(office.sends(&[sample("2200700", 1)]), [""; 0]);
    let bytes = std::fs::read(office.seen.path().join(INSURER).join("2026-11")).unwrap();
    assert_eq!(bytes.len(), 80);
    let other = Office::new("");
    let (mine, theirs) = (
        office.records(&party("K0001", INSURER, Role::Office, &["1234"]), &[sample("2200700", 1)]),
        other.records(&party("K0001", INSURER, Role::Office, &["1234"]), &[sample("2200700", 1)]),
    );
    assert_ne!(mine.marks, theirs.marks, "a tag needs the gateway's key");
    assert_eq!(kana(b"\xd0\xce\xdd  \xc0\xdb\xb3"), kana(b"\xd0\xce\xdd\xc0\xdb\xb3"));
    assert_eq!(kana(b"\xc1\xae-\xaf\xcd"), kana(b"\xc1\xd6\xb0\xc2\xcd"));
    assert_eq!(number(b"000120"), b"120");
}
