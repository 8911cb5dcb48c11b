//! `todoke insurer`

use clap::{Args, Subcommand};

use super::Globals;
use super::exit::Exit;
use super::out::Column;
use super::party::{self, Import, Yes};
use super::way::Way;
use crate::desk::{Kind, PartyRequest, Trouble};
use crate::model::ids::InsurerCode;
use crate::model::party::Standing;
use crate::work::parties::{InsurerForm, Mode, PartyName, csv};

const COLUMNS: [Column; 4] =
    [("INSURER", "insurer"), ("NAME", "name"), ("MAIL", "mail"), ("STANDING", "standing")];

/// Insurers.
#[derive(Debug, Subcommand)]
pub(super) enum Insurer {
    /// Add one, and make its spool folders
    Add(Form),
    /// Add or change many; rows that are so already change nothing
    Import(Import),
    /// Change what is given
    Change(Form),
    /// For now nothing is taken in for it and nothing delivered from it
    Suspend(One),
    /// Let it take part again
    Resume(One),
    /// It takes part no more
    Close(One),
    /// All of them
    List,
    /// One of them
    Show(Code),
}

/// What is said of an insurer.
#[derive(Debug, Args)]
pub(super) struct Form {
    /// Its number, eight digits
    code: InsurerCode,
    /// Its name
    #[arg(long)]
    name: Option<String>,
    /// Where it wants to be told of trouble; "" takes it away
    #[arg(long)]
    mail: Option<String>,
    /// Unix group of its importer, by name or number: may work in its spool folders
    #[arg(long)]
    group: Option<String>,
}

/// Which insurer.
#[derive(Debug, Args)]
pub(super) struct Code {
    /// Its number
    code: InsurerCode,
}

/// Which insurer, without asking back.
#[derive(Debug, Args)]
pub(super) struct One {
    #[command(flatten)]
    which: Code,
    #[command(flatten)]
    yes: Yes,
}

impl Form {
    fn form(self) -> Result<InsurerForm, Trouble> {
        let group = self.group.as_deref().map(crate::doors::control::group_id).transpose();
        let group = group.map_err(|text| Trouble::new(Kind::Usage, "GROUP", text))?;
        Ok(InsurerForm { code: self.code, name: self.name, mail: self.mail, group })
    }
}

impl Insurer {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let set =
            |form: InsurerForm, mode| party::set(globals, "insurer", PartyRequest::SetInsurer(form, mode));
        let stand = |one: One, to| {
            party::stand(globals, "insurer", PartyName::Insurer(one.which.code), to, one.yes.yes)
        };
        match self {
            Self::Add(form) => set(form.form()?, Mode::Add),
            Self::Change(form) => set(form.form()?, Mode::Change),
            Self::Import(import) => import.run(globals, csv::Kind::Insurer),
            Self::Suspend(one) => stand(one, Standing::Suspended),
            Self::Resume(one) => stand(one, Standing::Active),
            Self::Close(one) => stand(one, Standing::Closed),
            Self::Show(which) => party::show(globals, PartyName::Insurer(which.code)),
            Self::List => {
                let way = Way::open(globals)?;
                globals.out().listing(&COLUMNS, |_| way.ask(party::party(PartyRequest::Insurers)))
            }
        }
    }
}
