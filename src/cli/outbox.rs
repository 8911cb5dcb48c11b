//! `todoke outbox`

use clap::{Args, Subcommand};

use super::Globals;
use super::exit::Exit;
use super::out::{self, Column};
use super::party::Yes;
use super::way::Way;
use crate::desk::{OutboxRequest, Request, Trouble};
use crate::model::ids::{AccountId, DocumentId, InsurerCode, OfficeCode};

const COLUMNS: [Column; 8] = [
    ("DOCUMENT", "document"),
    ("OFFICE", "office"),
    ("TYPE", "type"),
    ("TITLE", "title"),
    ("SIZE", "size"),
    ("PLACED", "placed_at"),
    ("EXPIRES", "expires_at"),
    ("FETCHED", "last_fetched_at"),
];

const STATS: [Column; 10] = [
    ("INSURER", "insurer"),
    ("MONTH", "month"),
    ("TYPE", "type"),
    ("LYING", "lying"),
    ("FETCHED", "fetched"),
    ("UNFETCHED", "unfetched"),
    ("HELD", "held"),
    ("EXPIRES-SOON", "expires_soon"),
    ("GONE-UNFETCHED", "gone_unfetched"),
    ("RECALLED", "recalled"),
];

const ANNOUNCEMENT_COLUMNS: [Column; 6] = [
    ("ANNOUNCEMENT", "announcement"),
    ("TITLE", "title"),
    ("ACCOUNTS", "accounts"),
    ("FETCHED", "fetched"),
    ("PLACED", "placed_at"),
    ("EXPIRES", "expires_at"),
];

/// Documents.
#[derive(Debug, Subcommand)]
pub(super) enum Outbox {
    /// What lies in an account's outbox
    List(List),
    /// Take back a document that was sent to the wrong place (誤配信): gone at once
    Recall(Recall),
    /// Keep a document beyond its days (a court, an audit): no purge takes it until `outbox release`
    Hold(Hold),
    /// End a hold: the document goes when its days are over
    Release(One),
    /// How many documents were fetched, by insurer, month and type
    Stats(Stats),
    /// Announcements of an insurer, and how many have fetched them
    Announcements(Announcements),
    /// Take back an announcement from all who have it
    RecallAnnouncement(RecallAnnouncement),
}

/// A hold.
#[derive(Debug, Args)]
pub(super) struct Hold {
    /// Its number, as listed: D1-...
    document: DocumentId,
    /// Why: who asked for it, and until when
    #[arg(long)]
    reason: String,
    /// For a law or a court, rather than the operator's own reason
    #[arg(long)]
    legal: bool,
}

/// One document.
#[derive(Debug, Args)]
pub(super) struct One {
    /// Its number, as listed: D1-...
    document: DocumentId,
}

/// What is counted.
#[derive(Debug, Args)]
pub(super) struct Stats {
    /// Only this insurer's
    #[arg(long)]
    insurer: Option<InsurerCode>,
}

/// Whose announcements.
#[derive(Debug, Args)]
pub(super) struct Announcements {
    /// The insurer
    #[arg(long)]
    insurer: InsurerCode,
}

/// Which announcement.
#[derive(Debug, Args)]
pub(super) struct RecallAnnouncement {
    /// Its number, as listed: D1-...
    announcement: DocumentId,
    /// Whose it is
    #[arg(long)]
    insurer: InsurerCode,
    #[command(flatten)]
    yes: Yes,
}

/// Which documents.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Whose
    account: AccountId,
    /// Only those for this office
    #[arg(long)]
    office: Option<OfficeCode>,
    /// At most so many
    #[arg(long)]
    limit: Option<usize>,
}

/// Which document.
#[derive(Debug, Args)]
pub(super) struct Recall {
    /// Its number, as listed: D1-...
    document: DocumentId,
    #[command(flatten)]
    yes: Yes,
}

impl Outbox {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let ask = |request| {
            let way = Way::open(globals)?;
            let answer = way.ask(Request::Outbox(request))?;
            globals.out().zone(way.config.gateway.zone).thing(&answer)
        };
        match self {
            Self::List(list) => list.run(globals),
            Self::Hold(Hold { document: id, reason, legal }) => {
                ask(OutboxRequest::Hold { id, legal, reason })
            }
            Self::Release(One { document }) => ask(OutboxRequest::Release(document)),
            Self::Stats(Stats { insurer }) => {
                let way = Way::open(globals)?;
                globals.out().zone(way.config.gateway.zone).listing(&STATS, |_| {
                    way.ask(Request::Outbox(OutboxRequest::Stats { insurer: insurer.clone() }))
                })
            }
            Self::Recall(Recall { document, yes }) => {
                if !out::confirm(yes.yes, &format!("Take back document {document}? It is gone at once."))? {
                    out::note("Nothing changed.");
                    return Ok(Exit::Refused);
                }
                ask(OutboxRequest::Recall(document))
            }
            Self::Announcements(of) => {
                let way = Way::open(globals)?;
                globals.out().zone(way.config.gateway.zone).listing(&ANNOUNCEMENT_COLUMNS, |next| {
                    let after = next.as_deref().map(DocumentId::parse).transpose();
                    let after = after.map_err(|error| Trouble::fault(error.to_string()))?;
                    let insurer = of.insurer.clone();
                    way.ask(Request::Outbox(OutboxRequest::Announcements { insurer, after }))
                })
            }
            Self::RecallAnnouncement(RecallAnnouncement { announcement, insurer, yes }) => {
                let question = format!("Take back announcement {announcement}? It is gone at once.");
                if !out::confirm(yes.yes, &question)? {
                    out::note("Nothing changed.");
                    return Ok(Exit::Refused);
                }
                let way = Way::open(globals)?;
                let request = OutboxRequest::RecallAnnouncement { insurer, announcement };
                let answer = way.ask(Request::Outbox(request))?;
                globals.out().zone(way.config.gateway.zone).thing(&answer)
            }
        }
    }
}

impl List {
    fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let way = Way::open(globals)?;
        let mut left = self.limit;
        globals.out().zone(way.config.gateway.zone).listing(&COLUMNS, |next| {
            let after = next.as_deref().map(DocumentId::parse).transpose();
            let request = OutboxRequest::List {
                account: self.account.clone(),
                office: self.office.clone(),
                after: after.map_err(|error| Trouble::fault(error.to_string()))?,
            };
            way.page(Request::Outbox(request), &mut left)
        })
    }
}
