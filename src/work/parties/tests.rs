use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::model::ids::DocumentId;
use crate::model::party::Standing;
use crate::store::blobs::Blobs;
use crate::store::index::MemoryIndex;
use crate::store::journal_ledger::JournalLedger;
use crate::store::local_blobs::{BlobOptions, LocalBlobs};
use crate::store::recover::LedgerOptions;
use crate::store::root::Root;

pub(super) const NOW: Timestamp = Timestamp(1_795_000_000_000);
pub(super) const BY: Actor = Actor::Operator(0);

pub(super) struct World {
    _dir: tempfile::TempDir,
    pub(super) ledger: Arc<dyn Ledger>,
    blobs: Arc<dyn Blobs>,
    pub(super) parties: Parties,
    refuse_second: AtomicBool,
}

pub(super) fn code() -> InsurerCode {
    InsurerCode::parse("06139999").unwrap()
}

pub(super) fn office(code: &str) -> OfficeCode {
    OfficeCode::parse(code).unwrap()
}

impl World {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(&dir.path().join("spool")).unwrap();
        let path = root.path().to_owned();
        let blobs: Arc<dyn Blobs> =
            Arc::new(LocalBlobs::open(&root.blobs(), BlobOptions::default()).unwrap());
        let (ledger, _) = JournalLedger::<MemoryIndex>::open(root, &LedgerOptions::default(), NOW).unwrap();
        let ledger: Arc<dyn Ledger> = Arc::new(ledger);
        let parties = Parties::new(Arc::clone(&ledger), Arc::clone(&blobs), path);
        let world = Self { _dir: dir, ledger, blobs, parties, refuse_second: AtomicBool::new(false) };
        let form =
            InsurerForm {
                code: code(), name: Some("東京見本健康保険組合".into()), mail: None, group: None
            };
        world.parties.set_insurer(&form, Mode::Add, &BY, NOW).unwrap();
        for number in ["1234", "5678"] {
            let form =
                OfficeForm {
                    insurer: code(), code: office(number), name: Some(format!("見本工業{number}"))
                };
            world.parties.set_office(&form, Mode::Add, &BY, NOW).unwrap();
        }
        world
    }

    fn form(id: &str) -> AccountForm {
        let mut form = AccountForm::of(AccountId::parse(id).unwrap());
        form.insurer = Some(code());
        form.offices = Some(vec![office("1234")]);
        form.user_name = Some("総務課".into());
        form.mail = Some("soumu@example.jp".into());
        form
    }

    fn set(&self, form: &AccountForm, mode: Mode) -> Result<Told, PartyError> {
        let second = |_: &InsurerCode| {
            if self.refuse_second.load(Ordering::SeqCst) {
                SecondAccount::Refuse
            } else {
                SecondAccount::Warn
            }
        };
        self.parties.set_account(
            form,
            mode,
            AccountRules { second: &second, language: Language::En },
            &BY,
            NOW,
        )
    }

    pub(super) fn add(&self, id: &str, edit: impl FnOnce(&mut AccountForm)) {
        let mut form = Self::form(id);
        edit(&mut form);
        self.set(&form, Mode::Add).unwrap();
    }

    fn blobs(&self) -> usize {
        self.blobs.scan().count()
    }
}

fn refusal(result: Result<Told, PartyError>) -> &'static str {
    match result {
        Err(PartyError::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_changed_card_replaces_the_old_one_and_a_refused_change_leaves_nothing() {
    let world = World::new();
    world.set(&World::form("K0001"), Mode::Add).unwrap();
    let blobs = world.blobs();
    let mut form = AccountForm::of(AccountId::parse("K0001").unwrap());
    form.user_name = Some("人事課".into());
    let told = world.set(&form, Mode::Change).unwrap();
    assert_eq!((told.change, told.fields), (Change::Changed, vec!["user-name".to_owned()]));
    assert_eq!(world.set(&form, Mode::Change).unwrap().change, Change::Unchanged);
    assert_eq!(world.blobs(), blobs, "one card each, no orphan");
    let account = world.ledger.account(&form.id).unwrap().unwrap();
    assert_eq!(account.language, Language::En, "the gateway's language where none is chosen");
    assert_eq!(world.parties.account_row(account).unwrap().user_name, "人事課");
    assert_eq!(refusal(world.set(&World::form("K0001"), Mode::Add)), "EXISTS");
    assert_eq!(refusal(world.set(&World::form("K0009"), Mode::Change)), "UNKNOWN");
    assert_eq!(world.blobs(), blobs);
}

#[test]
fn an_account_needs_what_its_role_needs_and_keeps_what_it_is() {
    let world = World::new();
    let refused = |change: &dyn Fn(&mut AccountForm)| {
        let mut form = World::form("K0002");
        change(&mut form);
        refusal(world.set(&form, Mode::Add))
    };
    assert_eq!(refused(&|form| form.insurer = None), "INSURER-MISSING");
    assert_eq!(refused(&|form| form.offices = None), "OFFICE-MISSING");
    assert_eq!(refused(&|form| form.offices = Some(vec![office("9999")])), "OFFICE-UNKNOWN");
    assert_eq!(refused(&|form| form.role = Some(Role::Insurer)), "OFFICE-UNEXPECTED");
    assert_eq!(refused(&|form| form.user_name = None), "USER-NAME-MISSING");
    assert_eq!(refused(&|form| form.user_name = Some("a\u{202e}b".into())), "NAME-HIDDEN");
    assert_eq!(refused(&|form| form.user_name = Some("＝SUM(A1)".into())), "NAME-FORMULA");
    for mail in
        ["", "soumu", "a@example.jp,b@example.jp", "<a@example.jp>", "a b@example.jp", "総務@example.jp"]
    {
        let code = refused(&|form| form.mail = Some(mail.into()));
        assert_eq!(code, "MAIL-ADDRESS", "{mail:?}");
    }
    world.set(&World::form("K0001"), Mode::Add).unwrap();
    let refused = |change: &dyn Fn(&mut AccountForm)| {
        let mut form = AccountForm::of(AccountId::parse("K0001").unwrap());
        change(&mut form);
        refusal(world.set(&form, Mode::Change))
    };
    assert_eq!(refused(&|form| form.role = Some(Role::Agent)), "ACCOUNT-FIXED");
    assert_eq!(refused(&|form| form.test = Some(true)), "ACCOUNT-FIXED");
    assert_eq!(
        refused(&|form| form.insurer = Some(InsurerCode::parse("06130000").unwrap())),
        "ACCOUNT-FIXED"
    );
}

#[test]
fn one_key_one_account_but_for_a_test_twin() {
    let world = World::new();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJMYbW6j7bM11k/Is04Lmv8NGydVqLA1brPVdL9I2rsz somebody";
    let with_key = |id: &str, test: bool| {
        let mut form = World::form(id);
        form.keys = vec![key.to_owned()];
        form.test = Some(test);
        world.set(&form, Mode::Add)
    };
    with_key("K0001", false).unwrap();
    assert_eq!(refusal(with_key("K0002", false)), "KEY-TAKEN");
    with_key("T0001", true).unwrap();
    let account = world.ledger.account(&AccountId::parse("K0001").unwrap()).unwrap().unwrap();
    assert!(!account.keys[0].key.contains("somebody"));
}

#[test]
fn the_second_account_of_an_office_is_the_insurers_decision() {
    let world = World::new();
    assert!(
        world.set(&World::form("K0001"), Mode::Add).unwrap().notes.iter().all(|note| !note.contains("K4"))
    );
    assert!(
        world.set(&World::form("K0002"), Mode::Add).unwrap().notes.iter().any(|note| note.contains("K0001"))
    );
    world.refuse_second.store(true, Ordering::SeqCst);
    let mut third = World::form("K0003");
    assert_eq!(refusal(world.set(&third, Mode::Add)), "ACCOUNT-SECOND");
    // A head office that also acts for this one is no second account of it (E13); nor is an agent.
    third.offices = Some(vec![office("5678"), office("1234")]);
    world.set(&third, Mode::Add).unwrap();
    let mut agent = World::form("A0001");
    agent.role = Some(Role::Agent);
    world.set(&agent, Mode::Add).unwrap();
    let mut meant = World::form("K0004");
    meant.second = true;
    world.set(&meant, Mode::Add).unwrap();
}

#[test]
fn standing_counts_what_lies_in_the_outbox() {
    let world = World::new();
    world.set(&World::form("K0001"), Mode::Add).unwrap();
    let account = AccountId::parse("K0001").unwrap();
    let blob = world.blobs.put(b"%PDF", NOW).unwrap();
    let card = cards::put(world.blobs.as_ref(), &"card", NOW).unwrap();
    let documents = (1..=3).map(|serial| {
        let document = crate::model::document::Document {
            id: DocumentId { epoch: 1, serial },
            account: account.clone(),
            office: office("1234"),
            insurer: code(),
            in_reply_to: None,
            blob: blob.clone(),
            sha256: crate::model::ids::Digest::of(b"%PDF"),
            size: 4,
            format: crate::model::document::Format::Pdf,
            kind: "お知らせ".into(),
            month: "2026-11".into(),
            card: card.clone(),
            placed_at: NOW,
            expires_at: Timestamp(1_801_494_000_000),
            fetched: None,
            partly_fetched: None,
            prolonged_at: None,
            hold: None,
            announcement: None,
        };
        (document, crate::model::ids::Digest::of(&serial.to_be_bytes()))
    });
    world.ledger.commit(Op::Place(documents.collect()), BY, NOW).unwrap();
    let zone = chrono_tz::Asia::Tokyo;
    for party in
        [PartyName::Account(account), PartyName::Office(code(), office("1234")), PartyName::Insurer(code())]
    {
        let told = world.parties.set_standing(&party, Standing::Suspended, zone, &BY, NOW).unwrap();
        assert!(told.notes[0].contains("3 documents"), "{:?}", told.notes);
        assert!(told.notes[0].contains("until 2027-02-01"), "{:?}", told.notes);
    }
}

#[test]
fn rows_of_one_file_know_of_each_other() {
    let world = World::new();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJMYbW6j7bM11k/Is04Lmv8NGydVqLA1brPVdL9I2rsz";
    let file = format!(
        "account,insurer,office,user-name,mail,ssh-key\n\
         K0001,06139999,1234,a,a@example.jp,{key}\n\
         K0002,06139999,5678,b,b@example.jp,{key}\n\
         K0003,06139999,1234,c,c@example.jp,\n"
    );
    let rows = csv::parse(csv::Kind::Account, file.as_bytes()).unwrap();
    let second = |_: &InsurerCode| SecondAccount::Refuse;
    let rules = AccountRules { second: &second, language: Language::Ja };
    let run = |dry_run| {
        let results = world.parties.import(csv::Kind::Account, &rows, dry_run, rules, &BY, NOW).unwrap();
        results.iter().map(|row| row.result).collect::<Vec<_>>()
    };
    let expected = [import::Outcome::Added, import::Outcome::Refused, import::Outcome::Refused];
    assert_eq!(run(true), expected);
    assert!(world.ledger.accounts(None).unwrap().is_empty(), "a dry run writes nothing");
    assert_eq!(run(false), expected);
    assert_eq!(run(false)[0], import::Outcome::Unchanged);
}

#[test]
fn files_that_are_no_lists_are_refused_as_a_whole() {
    for (bytes, said) in [
        (&b"\xff\xfea\0"[..], "UTF-16"),
        (b"office,insurer,name,name\n", "twice"),
        (b"office,name\n", "no column insurer"),
        (b"office,insurer,\"open\n", "quote"),
        (b"office,insurer,name\n1,2,\"a\n3,4,b\n", "quote"),
        (b"office,insurer\n\xfd\xfe,1\n", "neither UTF-8 nor CP932"),
        (b"", "no column office"),
    ] {
        let text = csv::parse(csv::Kind::Office, bytes).unwrap_err();
        assert!(text.contains(said), "{text}");
    }
    let rows = csv::parse(csv::Kind::Office, b"Office, Insurer ,NAME\n1,2,\x1b[31m\n\n,,\n").unwrap();
    assert_eq!(rows.len(), 1);
    assert!(rows[0].fault.as_ref().unwrap().contains("control"));
}
