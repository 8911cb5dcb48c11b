//! What a form comes to, held against what is there: decided before anything is written, so that a dry run says the same.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde::{Deserialize, Serialize};

use super::{AccountForm, AccountRules, Change, InsurerForm, OfficeForm, PartyError, Told, keys};
use crate::model::card::{AccountCard, CardRef, InsurerCard, OfficeCard};
use crate::model::finding::Language;
use crate::model::ids::{AccountId, BlobId, Digest, InsurerCode, OfficeCode};
use crate::model::party::{Account, Insurer, Office, Role, Standing};
use crate::rules::names::{self, NameFault};
use crate::rules::policy::SecondAccount;
use crate::store::blobs::Blobs;
use crate::store::cards;
use crate::store::ledger::{Ledger, Op};

/// Keys of one account.
const KEYS_MAX: usize = 20;
/// Offices of one account (an agent's, mostly).
const OFFICES_MAX: usize = 5_000;

/// Whether the party must be new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Must be new.
    Add,
    /// Must be there.
    Change,
    /// Either: a row of an import.
    Import,
}

/// A card to be written.
pub(super) enum Card {
    Insurer(InsurerCard),
    Office(OfficeCard),
    Account(AccountCard),
}

/// One change, decided.
pub(super) struct Plan {
    /// None when nothing changes; its card is filled in when the card is written.
    pub(super) op: Option<Op>,
    pub(super) card: Option<Card>,
    pub(super) old_card: Option<BlobId>,
    /// An insurer's folders to make, with their group.
    pub(super) folders: Option<(InsurerCode, Option<u32>)>,
    pub(super) told: Told,
}

/// What is there, and what earlier rows of the same import make of it.
pub(super) struct View<'a> {
    ledger: &'a dyn Ledger,
    blobs: &'a dyn Blobs,
    /// Accounts whose own office it is, by insurer, loaded when asked for.
    own: HashMap<InsurerCode, HashMap<OfficeCode, Vec<AccountId>>>,
    /// Keys that earlier rows give away.
    given: HashMap<String, Account>,
}

impl<'a> View<'a> {
    pub(super) fn new(ledger: &'a dyn Ledger, blobs: &'a dyn Blobs) -> Self {
        Self { ledger, blobs, own: HashMap::new(), given: HashMap::new() }
    }

    /// Accounts of people or machines that are not test identities and whose own office this is.
    fn own(&mut self, insurer: &InsurerCode, office: &OfficeCode) -> Result<&mut Vec<AccountId>, PartyError> {
        let offices = match self.own.entry(insurer.clone()) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => {
                let mut offices: HashMap<OfficeCode, Vec<AccountId>> = HashMap::new();
                for account in self.ledger.accounts(Some(insurer))? {
                    if holds_office(&account)
                        && let Some(own) = account.offices.first()
                    {
                        offices.entry(own.clone()).or_default().push(account.id.clone());
                    }
                }
                free.insert(offices)
            }
        };
        Ok(offices.entry(office.clone()).or_default())
    }
}

/// Whether it counts as its office's one account (K4).
fn holds_office(account: &Account) -> bool {
    account.role == Role::Office && !account.test && account.standing != Standing::Closed
}

/// Whether one key may serve both (H3 H22).
fn twins(one: &Account, other: &Account) -> bool {
    one.test != other.test && one.insurer == other.insurer
}

fn refused<T>(code: &'static str, text: impl Into<String>) -> Result<T, PartyError> {
    Err(PartyError::new(code, text))
}

/// A placeholder until the card is written.
fn no_card() -> Result<CardRef, PartyError> {
    let blob = BlobId::parse("00000000-0000000000000000");
    let blob = blob.map_err(|error| PartyError::new("FAULT", error.to_string()))?;
    Ok(CardRef { blob, digest: Digest([0; 32]) })
}

/// A name of a party, with words for the operator's option.
fn name(option: &str, text: &str) -> Result<String, PartyError> {
    names::name(text).or_else(|fault| match fault {
        NameFault::Length => {
            let max = names::NAME_CHARS_MAX;
            refused("NAME-LENGTH", format!("--{option} must be 1 to {max} characters"))
        }
        NameFault::Hidden => {
            refused("NAME-HIDDEN", format!("--{option} contains control or invisible characters"))
        }
        NameFault::Formula => refused(
            "NAME-FORMULA",
            format!("--{option} begins with a character that spreadsheets compute (= + - @)"),
        ),
    })
}

/// Exactly one mail address (K5).
fn mail(text: &str) -> Result<String, PartyError> {
    let words = "--mail must be exactly one mail address in ASCII, such as soumu@example.jp";
    names::mail(text).ok_or_else(|| PartyError::new("MAIL-ADDRESS", words))
}

fn told(change: Change, fields: Vec<&str>, notes: Vec<String>) -> Told {
    Told { change, fields: fields.into_iter().map(str::to_owned).collect(), notes }
}

/// Whether adding or changing is what this mode allows.
fn fits(mode: Mode, there: bool, what: &str) -> Result<(), PartyError> {
    match (mode, there) {
        (Mode::Add, true) => refused("EXISTS", format!("{what} exists already; use `change`")),
        (Mode::Change, false) => refused("UNKNOWN", format!("{what} does not exist; use `add`")),
        _ => Ok(()),
    }
}

pub(super) fn insurer(form: &InsurerForm, mode: Mode, view: &mut View<'_>) -> Result<Plan, PartyError> {
    let code = &form.code;
    let old = view.ledger.insurer(code)?;
    fits(mode, old.is_some(), &format!("insurer {code}"))?;
    let old_card: Option<InsurerCard> =
        old.as_ref().map(|insurer| cards::get(view.blobs, &insurer.card)).transpose()?;
    let mut card = match (&old_card, &form.name) {
        (Some(card), _) => card.clone(),
        (None, Some(_)) => InsurerCard { salt: cards::salt()?, name: String::new(), mail: None },
        (None, None) => return refused("NAME-MISSING", format!("insurer {code} needs --name")),
    };
    if let Some(text) = &form.name {
        card.name = name("name", text)?;
    }
    if let Some(text) = &form.mail {
        card.mail = if text.trim().is_empty() { None } else { Some(mail(text)?) };
    }
    let mut fields = Vec::new();
    if let Some(old) = &old_card {
        push_if(&mut fields, old.name != card.name, "name");
        push_if(&mut fields, old.mail != card.mail, "mail");
        push_if(&mut fields, form.group.is_some(), "group");
    }
    let folders = (old.is_none() || form.group.is_some()).then(|| (code.clone(), form.group));
    let notes = if old.is_none() && form.group.is_none() {
        vec![format!(
            "Only todoke's own user can work in its spool; give the importer's Unix group with `insurer change {code} --group GROUP`."
        )]
    } else {
        Vec::new()
    };
    let card_differs = old_card.as_ref() != Some(&card);
    let Some(old) = old else {
        let insurer = Insurer { code: code.clone(), standing: Standing::Active, card: no_card()? };
        return Ok(Plan {
            op: Some(Op::SetInsurer { insurer, new: true }),
            card: Some(Card::Insurer(card)),
            old_card: None,
            folders,
            told: told(Change::Added, fields, notes),
        });
    };
    let change = if fields.is_empty() { Change::Unchanged } else { Change::Changed };
    if card_differs {
        card.salt = cards::salt()?;
    }
    Ok(Plan {
        old_card: card_differs.then(|| old.card.blob.clone()),
        op: card_differs.then_some(Op::SetInsurer { insurer: old, new: false }),
        card: card_differs.then_some(Card::Insurer(card)),
        folders,
        told: told(change, fields, notes),
    })
}

pub(super) fn office(form: &OfficeForm, mode: Mode, view: &mut View<'_>) -> Result<Plan, PartyError> {
    let OfficeForm { insurer, code, .. } = form;
    must_have_insurer(insurer, view)?;
    let old = view.ledger.office(insurer, code)?;
    fits(mode, old.is_some(), &format!("office {code} of insurer {insurer}"))?;
    let Some(old) = old else {
        let Some(text) = &form.name else {
            return refused("NAME-MISSING", format!("office {code} needs --name"));
        };
        let card = OfficeCard { salt: cards::salt()?, name: name("name", text)? };
        let office = Office {
            insurer: insurer.clone(),
            code: code.clone(),
            standing: Standing::Active,
            card: no_card()?,
        };
        return Ok(Plan {
            op: Some(Op::SetOffice { office, new: true }),
            card: Some(Card::Office(card)),
            old_card: None,
            folders: None,
            told: told(Change::Added, Vec::new(), Vec::new()),
        });
    };
    let old_card: OfficeCard = cards::get(view.blobs, &old.card)?;
    let new_name = match &form.name {
        Some(text) => name("name", text)?,
        None => old_card.name.clone(),
    };
    if new_name == old_card.name {
        return Ok(nothing());
    }
    let card = OfficeCard { salt: cards::salt()?, name: new_name };
    Ok(Plan {
        old_card: Some(old.card.blob.clone()),
        op: Some(Op::SetOffice { office: old, new: false }),
        card: Some(Card::Office(card)),
        folders: None,
        told: told(Change::Changed, vec!["name"], Vec::new()),
    })
}

pub(super) fn account(
    form: &AccountForm,
    mode: Mode,
    rules: AccountRules<'_>,
    view: &mut View<'_>,
) -> Result<Plan, PartyError> {
    let id = &form.id;
    let old = view.ledger.account(id)?;
    fits(mode, old.is_some(), &format!("account {id}"))?;
    let (before, card_before) = match &old {
        Some(account) => {
            let card: AccountCard = cards::get(view.blobs, &account.card)?;
            keeps_what_cannot_change(form, account)?;
            (account.clone(), Some(card))
        }
        None => (blank_account(form, rules.language)?, None),
    };
    let mut account = before.clone();
    let mut card = card_before.clone().unwrap_or(AccountCard {
        salt: cards::salt()?,
        user_name: String::new(),
        mail: String::new(),
    });
    if let Some(text) = &form.user_name {
        card.user_name = name("user-name", text)?;
    }
    if let Some(text) = &form.mail {
        card.mail = mail(text)?;
    }
    if let Some(offices) = &form.offices {
        account.offices = distinct(offices)?;
    }
    account.language = form.language.unwrap_or(account.language);
    account.machine = form.machine.unwrap_or(account.machine);
    add_keys(&mut account, &form.keys)?;
    is_whole(&account, &card)?;
    must_have_insurer(&account.insurer, view)?;
    if old.is_none() || account.offices != before.offices {
        offices_take_part(&account, view)?;
    }
    keys_are_free(&account, view)?;
    let notes = notes_on(&account, old.is_none().then_some(()), form.second, rules, view)?;
    let mut fields = Vec::new();
    if let Some(old) = &card_before {
        push_if(&mut fields, old.user_name != card.user_name, "user-name");
        push_if(&mut fields, old.mail != card.mail, "mail");
        push_if(&mut fields, before.offices != account.offices, "office");
        push_if(&mut fields, before.language != account.language, "language");
        push_if(&mut fields, before.machine != account.machine, "machine");
        push_if(&mut fields, before.keys != account.keys, "ssh-key");
        if fields.is_empty() {
            return Ok(nothing());
        }
    }
    for key in &account.keys {
        view.given.entry(key.fingerprint.clone()).or_insert_with(|| account.clone());
    }
    let new = old.is_none();
    let card_differs = card_before.as_ref() != Some(&card);
    if card_differs {
        card.salt = cards::salt()?;
    }
    Ok(Plan {
        old_card: (!new && card_differs).then(|| account.card.blob.clone()),
        op: Some(Op::SetAccount { account, new }),
        card: card_differs.then_some(Card::Account(card)),
        folders: None,
        told: told(if new { Change::Added } else { Change::Changed }, fields, notes),
    })
}

fn nothing() -> Plan {
    Plan {
        op: None,
        card: None,
        old_card: None,
        folders: None,
        told: told(Change::Unchanged, Vec::new(), Vec::new()),
    }
}

fn push_if(fields: &mut Vec<&str>, differs: bool, field: &'static str) {
    if differs {
        fields.push(field);
    }
}

fn must_have_insurer(code: &InsurerCode, view: &View<'_>) -> Result<(), PartyError> {
    if view.ledger.insurer(code)?.is_some() {
        return Ok(());
    }
    refused(
        "INSURER-UNKNOWN",
        format!("insurer {code} does not exist; add it first: todoke insurer add {code} --name NAME"),
    )
}

fn blank_account(form: &AccountForm, language: Language) -> Result<Account, PartyError> {
    let Some(insurer) = form.insurer.clone() else {
        return refused("INSURER-MISSING", format!("account {} needs --insurer", form.id));
    };
    Ok(Account {
        id: form.id.clone(),
        insurer,
        role: form.role.unwrap_or(Role::Office),
        offices: Vec::new(),
        language: form.language.unwrap_or(language),
        test: form.test.unwrap_or(false),
        machine: form.machine.unwrap_or(false),
        standing: Standing::Active,
        keys: Vec::new(),
        card: no_card()?,
    })
}

/// What an account is cannot turn into something else under its old receipts: that is another account.
fn keeps_what_cannot_change(form: &AccountForm, account: &Account) -> Result<(), PartyError> {
    let fixed = |what: &str, is: &str| {
        let text =
            format!("account {} has {what} {is}, which cannot change; add another account", account.id);
        refused("ACCOUNT-FIXED", text)
    };
    if form.insurer.as_ref().is_some_and(|insurer| *insurer != account.insurer) {
        return fixed("--insurer", account.insurer.as_str());
    }
    if form.role.is_some_and(|role| role != account.role) {
        return fixed("--role", &format!("{:?}", account.role).to_lowercase());
    }
    if form.test.is_some_and(|test| test != account.test) {
        return fixed("--test", if account.test { "set" } else { "not set" });
    }
    Ok(())
}

fn distinct(offices: &[OfficeCode]) -> Result<Vec<OfficeCode>, PartyError> {
    let mut seen = std::collections::HashSet::new();
    let kept: Vec<OfficeCode> = offices.iter().filter(|office| seen.insert(*office)).cloned().collect();
    if kept.len() > OFFICES_MAX {
        return refused("OFFICES-MANY", format!("an account acts for at most {OFFICES_MAX} offices"));
    }
    Ok(kept)
}

fn add_keys(account: &mut Account, lines: &[String]) -> Result<(), PartyError> {
    for line in lines {
        let key = keys::parse(line)?;
        if account.keys.iter().all(|there| there.fingerprint != key.fingerprint) {
            account.keys.push(key);
        }
    }
    if account.keys.len() > KEYS_MAX {
        return refused(
            "KEYS-MANY",
            format!("an account has at most {KEYS_MAX} keys; remove old ones first"),
        );
    }
    Ok(())
}

/// Everything this role needs is there.
fn is_whole(account: &Account, card: &AccountCard) -> Result<(), PartyError> {
    let id = &account.id;
    if account.role == Role::Insurer {
        if !account.offices.is_empty() {
            return refused(
                "OFFICE-UNEXPECTED",
                format!("{id} is an insurer's account; it acts for no office"),
            );
        }
        return Ok(());
    }
    if account.offices.is_empty() {
        return refused(
            "OFFICE-MISSING",
            format!("account {id} needs --office: the office (or offices) it acts for (K8)"),
        );
    }
    if card.user_name.is_empty() {
        return refused(
            "USER-NAME-MISSING",
            format!("account {id} needs --user-name (a department will do, K4)"),
        );
    }
    if card.mail.is_empty() {
        return refused("MAIL-MISSING", format!("account {id} needs --mail, exactly one address (K5)"));
    }
    Ok(())
}

/// Every office is enrolled with the account's society (K8).
fn offices_take_part(account: &Account, view: &View<'_>) -> Result<(), PartyError> {
    for office in &account.offices {
        let insurer = &account.insurer;
        match view.ledger.office(insurer, office)? {
            None => {
                let text = format!(
                    "office {office} is not enrolled with insurer {insurer} (K8); add it first: todoke office add {office} \
                     --insurer {insurer} --name NAME"
                );
                return refused("OFFICE-UNKNOWN", text);
            }
            Some(there) if there.standing == Standing::Closed => {
                let text =
                    format!("office {office} of insurer {insurer} is closed; `office resume` opens it again");
                return refused("OFFICE-CLOSED", text);
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// No key belongs to somebody else, but for a test account and its production twin.
fn keys_are_free(account: &Account, view: &View<'_>) -> Result<(), PartyError> {
    for key in &account.keys {
        let mut others = Vec::new();
        for id in view.ledger.accounts_of_key(&key.fingerprint)? {
            others.extend(view.ledger.account(&id)?);
        }
        others.extend(view.given.get(&key.fingerprint).cloned());
        if let Some(other) = others.iter().find(|other| other.id != account.id && !twins(account, other)) {
            let text = format!(
                "key {} belongs to account {} already; every account needs a key of its own (a test account and its \
                 production twin may share one)",
                key.fingerprint, other.id
            );
            return refused("KEY-TAKEN", text);
        }
    }
    Ok(())
}

/// What the operator should know; refuses a second account where the policy says so (K4 K10).
fn notes_on(
    account: &Account,
    new: Option<()>,
    told_so: bool,
    rules: AccountRules<'_>,
    view: &mut View<'_>,
) -> Result<Vec<String>, PartyError> {
    let mut notes = Vec::new();
    if new.is_some() && account.keys.is_empty() {
        notes.push(format!(
            "{0} has no key and cannot log in until `account key add {0} KEY.pub`.",
            account.id
        ));
    }
    if let Some(own) = account.offices.first().filter(|_| holds_office(account)) {
        let holders = view.own(&account.insurer, own)?;
        let other = holders.iter().find(|id| **id != account.id).cloned();
        if !holders.contains(&account.id) {
            holders.push(account.id.clone());
        }
        if let Some(other) = other.filter(|_| new.is_some() && !told_so) {
            let text = format!("office {own} has account {other} already (K4: one account per office)");
            match (rules.second)(&account.insurer) {
                SecondAccount::Allow => {}
                SecondAccount::Warn => notes.push(format!("{text}.")),
                SecondAccount::Refuse => {
                    return refused("ACCOUNT-SECOND", format!("{text}; say --second if it is meant"));
                }
            }
        }
    }
    Ok(notes)
}
