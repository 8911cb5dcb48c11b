//! `todoke announce`

use std::io::{Cursor, Read};
use std::path::PathBuf;

use clap::Args;

use super::Globals;
use super::exit::Exit;
use super::party;
use super::way::Way;
use crate::desk::{AnnounceOrder, Kind, Request, Trouble};
use crate::model::ids::{AccountId, InsurerCode, OfficeCode};

/// Tell all or some accounts of an insurer something (お知らせ): stored once, in /announcements of each.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("to").required(true).multiple(true).args(["all", "account", "office"]))]
#[command(group = clap::ArgGroup::new("what").required(true).args(["text", "file"]))]
pub(super) struct Announce {
    /// From whom
    #[arg(long)]
    insurer: InsurerCode,
    /// To every account of the insurer but test accounts
    #[arg(long, conflicts_with_all = ["account", "office"])]
    all: bool,
    /// To this account; may be repeated
    #[arg(long)]
    account: Vec<AccountId>,
    /// To the account of this office; may be repeated
    #[arg(long)]
    office: Vec<OfficeCode>,
    /// Its title
    #[arg(long)]
    title: String,
    /// Its text
    #[arg(long)]
    text: Option<String>,
    /// A PDF, or plain text in a file that ends in .txt
    file: Option<PathBuf>,
}

impl Announce {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let way = Way::open(globals)?;
        let (file_name, bytes) = match (&self.text, &self.file) {
            // A mark and line ends that every editor of Windows reads.
            (Some(text), _) => {
                let lines = text.lines().map(|line| format!("{line}\r\n")).collect::<String>();
                ("announcement.txt".to_owned(), format!("\u{feff}{lines}").into_bytes())
            }
            (None, Some(file)) => {
                let name = file.file_name().and_then(|name| name.to_str());
                let wrong = || Trouble::new(Kind::Usage, "FILE", "the file's name is not UTF-8");
                (name.ok_or_else(wrong)?.to_owned(), party::read(file, way.config.control.payload_bytes_max)?)
            }
            (None, None) => return Err(Trouble::new(Kind::Usage, "FILE", "give --text or a file")),
        };
        let size = bytes.len() as u64;
        let order = AnnounceOrder {
            insurer: self.insurer,
            all: self.all,
            accounts: self.account,
            offices: self.office,
            title: self.title,
            file_name,
        };
        let mut content = Cursor::new(bytes).take(size);
        let answer = way.ask_with(Request::Announce(order), &mut content, size)?;
        globals.out().zone(way.config.gateway.zone).thing(&answer)
    }
}
