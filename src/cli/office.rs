//! `todoke office`

use clap::{Args, Subcommand};

use super::Globals;
use super::exit::Exit;
use super::out::Column;
use super::party::{self, Import, Yes};
use super::way::Way;
use crate::desk::{PartyRequest, Trouble};
use crate::model::ids::{AccountId, InsurerCode, OfficeCode};
use crate::model::party::Standing;
use crate::model::time::Day;
use crate::work::parties::delegations::DelegationForm;
use crate::work::parties::{Mode, OfficeForm, PartyName, csv};

const COLUMNS: [Column; 4] =
    [("INSURER", "insurer"), ("OFFICE", "office"), ("NAME", "name"), ("STANDING", "standing")];

const DELEGATION_COLUMNS: [Column; 6] = [
    ("INSURER", "insurer"),
    ("OFFICE", "office"),
    ("ACCOUNT", "account"),
    ("FROM", "from"),
    ("UNTIL", "until"),
    ("STATE", "state"),
];

/// Offices.
#[derive(Debug, Subcommand)]
pub(super) enum Office {
    /// Enrol one with an insurer (K8)
    Add(Form),
    /// Add or change many; rows that are so already change nothing
    Import(Import),
    /// Change what is given
    Change(Form),
    /// For now nothing is filed for it and nothing delivered to it
    Suspend(One),
    /// Let it take part again
    Resume(One),
    /// It takes part no more
    Close(One),
    /// All, or an insurer's
    List(List),
    /// One of them
    Show(Code),
    /// Let an account act for it from a day to a day (K6 K12)
    Delegate(Delegate),
    /// End that: at once, or with a day
    Undelegate(Undelegate),
    /// Who acts for whom
    Delegations(Delegations),
    /// Set many delegations; columns office, to, from, until
    ImportDelegations(Import),
}

/// Who acts for which office, and when.
#[derive(Debug, Args)]
pub(super) struct Delegate {
    /// The office's number
    office: OfficeCode,
    /// The account: an agent's, or another office's of the same society
    #[arg(long)]
    to: AccountId,
    /// The first day, such as 2026-12-01 [default: today]
    #[arg(long)]
    from: Option<Day>,
    /// The last day [default: without an end]
    #[arg(long)]
    until: Option<Day>,
}

/// Which delegation ends.
#[derive(Debug, Args)]
pub(super) struct Undelegate {
    /// The office's number
    office: OfficeCode,
    /// The account
    #[arg(long, visible_alias = "account")]
    to: AccountId,
    /// The last day [default: yesterday, so that it ends at once]
    #[arg(long)]
    until: Option<Day>,
}

/// Which delegations.
#[derive(Debug, Args)]
pub(super) struct Delegations {
    /// Only those with it
    #[arg(long)]
    insurer: Option<InsurerCode>,
    /// Only those of it
    #[arg(long)]
    office: Option<OfficeCode>,
    /// Only those to it
    #[arg(long)]
    account: Option<AccountId>,
}

/// What is said of an office.
#[derive(Debug, Args)]
pub(super) struct Form {
    #[command(flatten)]
    which: Code,
    /// Its name; stands in the subject of mails
    #[arg(long)]
    name: Option<String>,
}

/// Which office.
#[derive(Debug, Args)]
pub(super) struct Code {
    /// Its number with the society, 1 to 4 letters or digits
    code: OfficeCode,
    /// The society it is enrolled with
    #[arg(long)]
    insurer: InsurerCode,
}

/// Which office, without asking back.
#[derive(Debug, Args)]
pub(super) struct One {
    #[command(flatten)]
    which: Code,
    #[command(flatten)]
    yes: Yes,
}

/// Which offices.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those enrolled with it
    #[arg(long)]
    insurer: Option<InsurerCode>,
}

impl Office {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let set = |form: Form, mode| {
            let form = OfficeForm { insurer: form.which.insurer, code: form.which.code, name: form.name };
            party::set(globals, "office", PartyRequest::SetOffice(form, mode))
        };
        let stand = |one: One, to| {
            let name = PartyName::Office(one.which.insurer, one.which.code);
            party::stand(globals, "office", name, to, one.yes.yes)
        };
        match self {
            Self::Add(form) => set(form, Mode::Add),
            Self::Change(form) => set(form, Mode::Change),
            Self::Import(import) => import.run(globals, csv::Kind::Office),
            Self::Suspend(one) => stand(one, Standing::Suspended),
            Self::Resume(one) => stand(one, Standing::Active),
            Self::Close(one) => stand(one, Standing::Closed),
            Self::Show(which) => party::show(globals, PartyName::Office(which.insurer, which.code)),
            Self::Delegate(d) => {
                let form = DelegationForm { office: d.office, to: d.to, from: d.from, until: d.until };
                party::set(globals, "delegation", PartyRequest::Delegate(form))
            }
            Self::Undelegate(d) => {
                let ask = PartyRequest::Undelegate { office: d.office, account: d.to, last: d.until };
                party::set(globals, "delegation", ask)
            }
            Self::ImportDelegations(import) => import.run(globals, csv::Kind::Delegation),
            Self::Delegations(of) => {
                let way = Way::open(globals)?;
                globals.out().listing(&DELEGATION_COLUMNS, |after| {
                    let (insurer, office, account) =
                        (of.insurer.clone(), of.office.clone(), of.account.clone());
                    way.ask(party::party(PartyRequest::Delegations { insurer, office, account, after }))
                })
            }
            Self::List(list) => {
                let way = Way::open(globals)?;
                globals.out().listing(&COLUMNS, |after| {
                    way.ask(party::party(PartyRequest::Offices { insurer: list.insurer.clone(), after }))
                })
            }
        }
    }
}
