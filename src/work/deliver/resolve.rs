//! Whose outbox a document goes to: a decision from what the ledger says (K13, K15, K16).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::sheet::{Address, Fault};
use crate::model::ids::{AccountId, InsurerCode, Number, OfficeCode};
use crate::model::party::{Account, Office, Role, Standing};
use crate::model::submission::Submission;
use crate::model::time::Day;
use crate::rules::delegation::{self, Acting};
use crate::rules::policy::{DelegationPolicy, LateAnswer};
use crate::store::ledger::{Ledger, LedgerError};

/// An insurer's parties, read once for a whole set.
pub struct Parties {
    accounts: BTreeMap<AccountId, Account>,
    offices: BTreeMap<OfficeCode, Office>,
    /// On which it is asked who acts for whom.
    day: Day,
    policy: DelegationPolicy,
}

/// Where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// In whose outbox.
    pub account: AccountId,
    /// For which office.
    pub office: OfficeCode,
    /// What it answers.
    pub in_reply_to: Option<Number>,
}

impl Parties {
    /// Reads them, as they are on this local day.
    pub fn read(
        ledger: &dyn Ledger,
        insurer: &InsurerCode,
        day: Day,
        policy: DelegationPolicy,
    ) -> Result<Self, LedgerError> {
        let accounts = ledger.accounts(Some(insurer))?;
        let offices = ledger.offices(insurer)?;
        Ok(Self::of(accounts, offices, day, policy))
    }

    /// Of these, all of one insurer.
    pub fn of(accounts: Vec<Account>, offices: Vec<Office>, day: Day, policy: DelegationPolicy) -> Self {
        Self {
            day,
            policy,
            accounts: accounts
                .into_iter()
                .filter(|account| account.role != Role::Insurer)
                .map(|account| (account.id.clone(), account))
                .collect(),
            offices: offices.into_iter().map(|office| (office.code.clone(), office)).collect(),
        }
    }

    /// `answered` is the submission that `address.in_reply_to` names, if it is this insurer's.
    pub fn resolve(&self, address: &Address, answered: Option<&Submission>) -> Result<Target, Fault> {
        if address.in_reply_to.is_some() {
            return match answered {
                Some(submission) => self.answer(address, submission),
                None => Err(Fault::refused(
                    "ROW-NO-SUBMISSION",
                    "in_reply_to の番号の届出がありません。番号を確認してください。",
                    "there is no submission with this number; check in_reply_to",
                )),
            };
        }
        match (&address.account, &address.office) {
            (Some(account), office) => self.to_account(account, office.as_ref()),
            (None, Some(office)) => self.to_office(office, false).map(|account| target(&account.id, office)),
            (None, None) => Err(Fault::refused("ROW-NO-ADDRESS", "宛先がありません。", "no address")),
        }
    }

    /// To the account that filed; when it acts for the office no more, where the policy says (K13 K16).
    fn answer(&self, address: &Address, submission: &Submission) -> Result<Target, Fault> {
        let inconsistent = |column: &str| {
            Fault::refused(
                "ROW-INCONSISTENT",
                format!("{column} が in_reply_to の届出と一致しません。どちらかを直してください。"),
                format!("{column} does not agree with the submission in in_reply_to; correct one of them"),
            )
        };
        if address.account.as_ref().is_some_and(|account| *account != submission.account) {
            return Err(inconsistent("account"));
        }
        if address.office.is_some() && address.office != submission.office {
            return Err(inconsistent("office"));
        }
        let filer = self.accounts.get(&submission.account);
        let office =
            submission.office.clone().or_else(|| filer.and_then(|filer| filer.offices.first().cloned()));
        let Some(office) = office else { return Err(no_account()) };
        self.office_stands(&office)?;
        let late = self.policy.late_answer;
        let acts = |filer: &Account| delegation::acting(filer, &office, self.day) == Acting::Yes;
        let account = match filer {
            Some(filer) if late == LateAnswer::Filer || acts(filer) => {
                stands(filer)?;
                filer
            }
            _ if late == LateAnswer::Paper => return Err(late_on_paper()),
            _ => self.to_office(&office, submission.test)?,
        };
        Ok(Target { in_reply_to: Some(submission.number), ..target(&account.id, &office) })
    }

    fn to_account(&self, id: &AccountId, office: Option<&OfficeCode>) -> Result<Target, Fault> {
        let account = self.account(id)?;
        let now = delegation::offices_on(account, self.day);
        let office = match (office, now.as_slice()) {
            (Some(office), offices) if offices.contains(office) => office,
            (Some(office), _) => return Err(acts_not_for(account, office, self.day)),
            (None, [only]) => only,
            (None, [own, ..]) if account.role == Role::Office => own,
            (None, []) => return Err(no_account()),
            (None, _) => {
                return Err(Fault::refused(
                    "ROW-WHICH-OFFICE",
                    "このアカウントは複数の事業所を扱います。office も記入してください。",
                    "the account acts for several offices; give office too",
                ));
            }
        };
        self.office_stands(office)?;
        stands(account)?;
        Ok(target(id, office))
    }

    /// All of them, by name.
    pub(super) fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }

    /// One of them.
    pub(super) fn account(&self, id: &AccountId) -> Result<&Account, Fault> {
        // Another insurer's account is answered like none: nobody learns who is enrolled elsewhere.
        self.accounts.get(id).ok_or_else(|| {
            Fault::refused(
                "ROW-NO-ACCOUNT",
                "このアカウントはありません。account を確認してください。",
                "there is no such account; check account",
            )
        })
    }

    /// The local day that is asked about.
    pub(super) fn day(&self) -> Day {
        self.day
    }

    /// The office's own account; with several (*policy*), the first that may act, by its name.
    pub(super) fn to_office(&self, office: &OfficeCode, test: bool) -> Result<&Account, Fault> {
        self.office_stands(office)?;
        let mut fault = no_account();
        for account in self.accounts.values() {
            if delegation::own(account) != Some(office) || account.test != test {
                continue;
            }
            match stands(account) {
                Ok(()) => return Ok(account),
                Err(standing) => fault = standing,
            }
        }
        Err(fault)
    }

    fn office_stands(&self, office: &OfficeCode) -> Result<(), Fault> {
        match self.offices.get(office).map(|office| office.standing) {
            Some(Standing::Active) => Ok(()),
            Some(_) => Err(Fault::paper(
                "PAPER-OFFICE",
                "この事業所は停止または脱退しています。",
                "the office is suspended or has left",
            )),
            None => Err(Fault::refused(
                "ROW-NO-OFFICE",
                "この事業所はありません。office を確認してください。",
                "there is no such office; check office",
            )),
        }
    }
}

fn target(account: &AccountId, office: &OfficeCode) -> Target {
    Target { account: account.clone(), office: office.clone(), in_reply_to: None }
}

pub(super) fn no_account() -> Fault {
    Fault::paper("PAPER-NO-ACCOUNT", "この事業所にはアカウントがありません。", "the office has no account")
}

pub(super) fn stands(account: &Account) -> Result<(), Fault> {
    match account.standing {
        Standing::Active => Ok(()),
        Standing::Suspended => {
            Err(Fault::paper("PAPER-SUSPENDED", "アカウントは停止中です。", "the account is suspended"))
        }
        Standing::Closed => {
            Err(Fault::paper("PAPER-CLOSED", "アカウントは廃止されています。", "the account is closed"))
        }
    }
}

fn late_on_paper() -> Fault {
    Fault::paper(
        "PAPER-DELEGATION-ENDED",
        "届け出たアカウントの代行(委任)は終了しています。",
        "the account that filed acts for the office no more",
    )
}

fn acts_not_for(account: &Account, office: &OfficeCode, day: Day) -> Fault {
    match delegation::acting(account, office, day) {
        Acting::Ended(until) => Fault::refused(
            "ROW-DELEGATION-ENDED",
            format!(
                "このアカウントの代行(委任)は {until} で終了しています。office だけを記入すると事業所へ届きます。"
            ),
            format!(
                "the account acted for this office until {until}; give office alone to reach the office itself"
            ),
        ),
        Acting::NotBegun(from) => Fault::refused(
            "ROW-DELEGATION-NOT-BEGUN",
            format!(
                "このアカウントの代行(委任)は {from} からです。office だけを記入すると事業所へ届きます。"
            ),
            format!(
                "the account acts for this office from {from} on; give office alone to reach the office itself"
            ),
        ),
        Acting::Yes | Acting::Never => Fault::refused(
            "ROW-INCONSISTENT",
            "このアカウントはこの事業所を扱いません。account か office を直してください。",
            "the account does not act for this office; correct account or office",
        ),
    }
}

/// `reports/accounts.csv`: which offices are electronic. UTF-8 with BOM, CRLF; one line per account and office it acts for on
/// this day (`acts` is `own` for an office's own account, which what is addressed by office reaches, else `delegated`), then
/// one for each office for which no account acts, whose documents go on paper.
pub fn accounts_csv(mut accounts: Vec<Account>, mut offices: Vec<Office>, day: Day) -> Vec<u8> {
    accounts.sort_by(|a, b| a.id.cmp(&b.id));
    offices.sort_by(|a, b| a.code.cmp(&b.code));
    accounts.retain(|account| account.role != Role::Insurer && !account.test);
    let stands = |code: &OfficeCode| {
        offices.iter().any(|office| office.code == *code && office.standing == Standing::Active)
    };
    let mut named = BTreeSet::new();
    let mut text = String::from("\u{feff}account,office,standing,acts,until,delivery\r\n");
    for account in &accounts {
        let standing = match account.standing {
            Standing::Active => "active",
            Standing::Suspended => "suspended",
            Standing::Closed => "closed",
        };
        for office in delegation::offices_on(account, day) {
            let acts = if delegation::own(account) == Some(&office) { "own" } else { "delegated" };
            let until = delegation::last_day(account, &office, day).map(|last| last.to_string());
            let until = until.unwrap_or_default();
            let reached = account.standing == Standing::Active && stands(&office);
            let delivery = if reached { "electronic" } else { "paper" };
            let _ = write!(text, "{},{office},{standing},{acts},{until},{delivery}\r\n", account.id);
            named.insert(office);
        }
    }
    for office in offices.iter().filter(|office| !named.contains(&office.code)) {
        let _ = write!(text, ",{},,,,paper\r\n", office.code);
    }
    text.into_bytes()
}
