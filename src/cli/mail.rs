//! `todoke mail`

use clap::{Args, Subcommand, ValueEnum};

use super::Globals;
use super::exit::Exit;
use super::out::Column;
use super::way::Way;
use crate::desk::{MailRequest, Request, Trouble};
use crate::model::finding::Language;
use crate::model::ids::{AccountId, Digest, MailId};
use crate::model::mail::MailState;

const COLUMNS: [Column; 10] = [
    ("MAIL", "mail"),
    ("ACCOUNT", "account"),
    ("INSURER", "insurer"),
    ("ABOUT", "about"),
    ("STATE", "state"),
    ("TRIED", "attempts"),
    ("SEALED", "sealed_at"),
    ("NEXT TRY", "due_at"),
    ("LAST REPLY", "last_reply"),
    ("CAME BACK", "came_back"),
];

/// Notices.
#[derive(Debug, Subcommand)]
pub(super) enum Mail {
    /// Newest first
    List(List),
    /// One of them
    Show(One),
    /// Try it now
    Retry(One),
    /// Give it up
    Drop(One),
    /// Show a kind of notice as its readers will see it
    Preview {
        /// Which: arrival, ...
        kind: String,
        /// In English
        #[arg(long)]
        english: bool,
    },
    /// Addresses where nobody reads mail: nothing is sent there
    #[command(subcommand)]
    Address(Address),
    /// Send a test mail, past the queue
    Test {
        /// Where to
        address: String,
        /// A kind of notice filled with its sample, to read in a mail client: arrival, ...
        #[arg(long)]
        kind: Option<String>,
        /// In English
        #[arg(long, requires = "kind")]
        english: bool,
    },
}

/// Addresses where nobody reads mail.
#[derive(Debug, Subcommand)]
pub(super) enum Address {
    /// All of them
    List,
    /// Send there again
    Resume {
        /// The address, an account that has it, or its digest as listed
        address: String,
    },
}

const ADDRESS_COLUMNS: [Column; 6] = [
    ("MAILBOX", "mailbox"),
    ("ACCOUNTS", "accounts"),
    ("SINCE", "marked_at"),
    ("STATUS", "status"),
    ("WHY", "by"),
    ("MAIL", "mail"),
];

/// Which mails.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those to it
    #[arg(long)]
    account: Option<AccountId>,
    /// Only those in this state
    #[arg(long, value_enum)]
    state: Option<StateName>,
    /// At most so many
    #[arg(long)]
    limit: Option<usize>,
}

/// Which mail.
#[derive(Debug, Args)]
pub(super) struct One {
    /// Its number, as listed: M1-...
    mail: MailId,
}

/// Where a mail is.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum StateName {
    Queued,
    Sent,
    Failed,
    Dropped,
}

impl From<StateName> for MailState {
    fn from(name: StateName) -> Self {
        match name {
            StateName::Queued => Self::Queued,
            StateName::Sent => Self::Sent,
            StateName::Failed => Self::Failed,
            StateName::Dropped => Self::Dropped,
        }
    }
}

impl Mail {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let request = match self {
            Self::List(list) => return list.run(globals),
            Self::Show(one) => MailRequest::Show(one.mail),
            Self::Retry(one) => MailRequest::Retry(one.mail),
            Self::Drop(one) => MailRequest::Drop(one.mail),
            Self::Test { address: to, kind, english } => {
                MailRequest::Test { to, kind, language: language(english) }
            }
            Self::Preview { kind, english } => {
                let language = language(english);
                let way = Way::open(globals)?;
                let answer = way.ask(Request::Mail(MailRequest::Preview { kind, language }))?;
                return globals.out().text(&answer, "subject", "body");
            }
            Self::Address(Address::List) => {
                let way = Way::open(globals)?;
                let mut left = None;
                return globals.out().zone(way.config.gateway.zone).listing(&ADDRESS_COLUMNS, |next| {
                    let after = next.as_deref().map(Digest::parse).transpose();
                    let after = after.map_err(|error| Trouble::fault(error.to_string()))?;
                    way.page(Request::Mail(MailRequest::Addresses { after }), &mut left)
                });
            }
            Self::Address(Address::Resume { address }) => MailRequest::Resume(address),
        };
        let way = Way::open(globals)?;
        let answer = way.ask(Request::Mail(request))?;
        globals.out().zone(way.config.gateway.zone).thing(&answer)
    }
}

fn language(english: bool) -> Language {
    if english { Language::En } else { Language::Ja }
}

impl List {
    fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let way = Way::open(globals)?;
        let mut left = self.limit;
        globals.out().zone(way.config.gateway.zone).listing(&COLUMNS, |next| {
            let before = next.as_deref().map(MailId::parse).transpose();
            let request = MailRequest::List {
                account: self.account.clone(),
                state: self.state.map(Into::into),
                before: before.map_err(|error| Trouble::fault(error.to_string()))?,
            };
            way.page(Request::Mail(request), &mut left)
        })
    }
}
