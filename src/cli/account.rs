//! `todoke account`

use std::path::Path;

use clap::{Args, Subcommand, ValueEnum};

use super::application::{self, Applications, Apply};
use super::exit::Exit;
use super::out::Column;
use super::party::{self, Import, Yes};
use super::password::Password;
use super::way::Way;
use super::{Globals, Lang};
use crate::desk::{PartyRequest, Trouble};
use crate::model::ids::{AccountId, InsurerCode, OfficeCode};
use crate::model::party::{Role, Standing};
use crate::work::parties::{AccountForm, Mode, PartyName, csv};

const COLUMNS: [Column; 9] = [
    ("ACCOUNT", "account"),
    ("INSURER", "insurer"),
    ("ROLE", "role"),
    ("OFFICES", "offices"),
    ("USER NAME", "user_name"),
    ("MAIL", "mail"),
    ("TEST", "test"),
    ("STANDING", "standing"),
    ("KEYS", "ssh_keys"),
];

/// Accounts.
#[derive(Debug, Subcommand)]
pub(super) enum Account {
    /// Add one
    Add(Add),
    /// Add or change many; rows that are so already change nothing
    Import(Import),
    /// Change what is given
    Change(Change),
    /// It cannot log in for now; its outbox stays
    Suspend(One),
    /// It can log in again
    Resume(One),
    /// It can log in no more; its outbox stays until it expires
    Close(One),
    /// All, or some
    List(List),
    /// One of them
    Show(Id),
    /// Its keys
    #[command(subcommand)]
    Key(Key),
    /// Apply for one: it is collected at the cut-off, approved, and issued with its certificate (K3)
    Apply(Box<Apply>),
    /// All applications, or some
    Applications(Applications),
    /// An application: look at it, move it on, hand out what was issued
    #[command(subcommand)]
    Application(application::One),
    /// Make a temporary password for it, shown this once; for a lost key or certificate: `cert reissue`
    Password(Password),
    /// End a lock of its passwords before its time
    Unlock(Id),
}

/// Keys of an account.
#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// Further public keys
    Add {
        /// Whose
        id: AccountId,
        /// Public key: a file (`id_ed25519.pub`) or the line itself
        #[arg(required = true)]
        key: Vec<String>,
    },
    /// Take one away
    Remove {
        /// Whose
        id: AccountId,
        /// As `account show` lists it: SHA256:...
        fingerprint: String,
    },
}

/// What an account is for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleName {
    Office,
    Agent,
    Insurer,
}

impl From<RoleName> for Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Office => Self::Office,
            RoleName::Agent => Self::Agent,
            RoleName::Insurer => Self::Insurer,
        }
    }
}

/// What may be said of a new account.
#[derive(Debug, Args)]
pub(super) struct Add {
    /// Its name: a letter, then letters, digits, - or _ (at most 16 in all)
    id: AccountId,
    /// The society it belongs to
    #[arg(long)]
    insurer: InsurerCode,
    /// What it is for
    #[arg(long, value_enum, default_value = "office")]
    role: RoleName,
    /// A test identity: everything works, nothing reaches the insurer (H3)
    #[arg(long)]
    test: bool,
    /// A payroll system uses it: it has its own limit of sessions
    #[arg(long)]
    machine: bool,
    /// The office has an account already, and this further one is meant (K4)
    #[arg(long)]
    second: bool,
    /// Public key: a file (`id_ed25519.pub`) or the line itself; may be repeated
    #[arg(long, value_name = "KEY")]
    ssh_key: Vec<String>,
    #[command(flatten)]
    fields: Fields,
}

/// What may be said of an existing account.
#[derive(Debug, Args)]
pub(super) struct Change {
    /// Which
    id: AccountId,
    /// Whether a payroll system uses it
    #[arg(long, value_name = "BOOL")]
    machine: Option<bool>,
    #[command(flatten)]
    fields: Fields,
}

/// What may be said of any account.
#[derive(Debug, Args)]
struct Fields {
    /// Office it acts for, its own first; may be repeated, or several parted by commas (E13)
    #[arg(long, value_delimiter = ',')]
    office: Vec<OfficeCode>,
    /// User name; a department will do (K4)
    #[arg(long)]
    user_name: Option<String>,
    /// Its one mail address (K5)
    #[arg(long)]
    mail: Option<String>,
    /// Language of its messages and mails [default: gateway.language]
    #[arg(long, value_enum)]
    language: Option<Lang>,
}

/// Which account.
#[derive(Debug, Args)]
pub(super) struct Id {
    /// Its name
    id: AccountId,
}

/// Which account, without asking back.
#[derive(Debug, Args)]
pub(super) struct One {
    #[command(flatten)]
    which: Id,
    #[command(flatten)]
    yes: Yes,
}

/// Which accounts.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those of it
    #[arg(long)]
    insurer: Option<InsurerCode>,
    /// Only those that act for it
    #[arg(long)]
    office: Option<OfficeCode>,
}

impl Fields {
    fn form(self, id: AccountId) -> AccountForm {
        let mut form = AccountForm::of(id);
        form.offices = (!self.office.is_empty()).then_some(self.office);
        form.user_name = self.user_name;
        form.mail = self.mail;
        form.language = self.language.map(Into::into);
        form
    }
}

fn lines(keys: &[String]) -> Result<Vec<String>, Trouble> {
    keys.iter().map(|key| party::key_line(key, Path::new(""))).collect()
}

impl Account {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let set = |form: AccountForm, mode| {
            party::set(globals, "account", PartyRequest::SetAccount(Box::new(form), mode))
        };
        let stand = |one: One, to| {
            party::stand(globals, "account", PartyName::Account(one.which.id), to, one.yes.yes)
        };
        match self {
            Self::Add(add) => {
                let keys = lines(&add.ssh_key)?;
                let mut form = add.fields.form(add.id);
                form.insurer = Some(add.insurer);
                form.role = Some(add.role.into());
                form.test = Some(add.test);
                form.machine = Some(add.machine);
                form.second = add.second;
                form.keys = keys;
                set(form, Mode::Add)
            }
            Self::Change(change) => {
                let mut form = change.fields.form(change.id);
                form.machine = change.machine;
                set(form, Mode::Change)
            }
            Self::Key(Key::Add { id, key }) => {
                let mut form = AccountForm::of(id);
                form.keys = lines(&key)?;
                set(form, Mode::Change)
            }
            Self::Key(Key::Remove { id, fingerprint }) => {
                party::set(globals, "account", PartyRequest::RemoveKey(id, fingerprint))
            }
            Self::Password(password) => password.run(globals),
            Self::Unlock(which) => party::set(globals, "account", PartyRequest::Unlock(which.id)),
            Self::Apply(apply) => apply.run(globals),
            Self::Applications(list) => list.run(globals),
            Self::Application(one) => one.run(globals),
            Self::Import(import) => import.run(globals, csv::Kind::Account),
            Self::Suspend(one) => stand(one, Standing::Suspended),
            Self::Resume(one) => stand(one, Standing::Active),
            Self::Close(one) => stand(one, Standing::Closed),
            Self::Show(which) => party::show(globals, PartyName::Account(which.id)),
            Self::List(list) => {
                let way = Way::open(globals)?;
                globals.out().listing(&COLUMNS, |after| {
                    let (insurer, office) = (list.insurer.clone(), list.office.clone());
                    way.ask(party::party(PartyRequest::Accounts { insurer, office, after }))
                })
            }
        }
    }
}
