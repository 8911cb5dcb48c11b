//! `todoke deliver`

use std::fs::File;
use std::path::PathBuf;

use clap::Args;

use super::Globals;
use super::exit::Exit;
use super::way::Way;
use crate::desk::{DeliverOrder, Kind, Request, Trouble};
use crate::model::ids::{AccountId, InsurerCode, Number, OfficeCode};

/// Place a document in an account's outbox.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("to").required(true).multiple(true).args(["account", "office", "in_reply_to"]))]
pub(super) struct Deliver {
    /// From whom
    #[arg(long)]
    insurer: InsurerCode,
    /// To whom
    #[arg(long)]
    account: Option<AccountId>,
    /// For which of its offices, or to the account of this office
    #[arg(long)]
    office: Option<OfficeCode>,
    /// The submission it answers; goes to the account that filed it (K13)
    #[arg(long, value_name = "NUMBER")]
    in_reply_to: Option<Number>,
    /// Its type, such as 納入告知書
    #[arg(long = "type", value_name = "TYPE")]
    kind: String,
    /// Its title [default: the file's name]
    #[arg(long)]
    title: Option<String>,
    /// The PDF (or CSV, where the office chose it)
    file: PathBuf,
}

impl Deliver {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let wrong =
            |text: String| Trouble::new(Kind::Usage, "FILE", format!("{}: {text}", self.file.display()));
        let file = File::open(&self.file).map_err(|error| wrong(error.to_string()))?;
        let about = file.metadata().map_err(|error| wrong(error.to_string()))?;
        if !about.is_file() {
            return Err(wrong("it is not a regular file".to_owned()));
        }
        let name = self.file.file_name().and_then(|name| name.to_str());
        let file_name = name.ok_or_else(|| wrong("its name is not UTF-8".to_owned()))?.to_owned();
        let stem = file_name.rsplit_once('.').map_or(file_name.as_str(), |(stem, _)| stem);
        let way = Way::open(globals)?;
        let max = way.config.control.payload_bytes_max;
        if about.len() > max {
            return Err(Trouble::refused(
                "TOO-LARGE",
                format!("{} bytes; control.payload_bytes_max is {max}", about.len()),
            ));
        }
        let order = DeliverOrder {
            insurer: self.insurer,
            account: self.account,
            office: self.office,
            in_reply_to: self.in_reply_to,
            kind: self.kind,
            title: self.title.unwrap_or_else(|| stem.to_owned()),
            size: about.len(),
            file_name,
        };
        let bar = indicatif::ProgressBar::new(about.len());
        let mut content = bar.wrap_read(file);
        let answer = way.ask_with(Request::Deliver(order), &mut content, about.len());
        bar.finish_and_clear();
        globals.out().zone(way.config.gateway.zone).thing(&answer?)
    }
}
