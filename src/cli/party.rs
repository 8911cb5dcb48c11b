//! What insurers, offices and accounts have in common on the command line: standing, import, reading keys and groups.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Globals;
use super::exit::Exit;
use super::out::{self, Column};
use super::way::Way;
use crate::desk::{Answer, Kind, PartyRequest, Request, Trouble};
use crate::doors::control::group_id;
use crate::model::party::Standing;
use crate::work::parties::csv::{self, Row};
use crate::work::parties::{PartyName, keys};

const IMPORT_COLUMNS: [Column; 4] =
    [("LINE", "line"), ("PARTY", "key"), ("RESULT", "result"), ("DETAIL", "detail")];

/// `import`: rows of a CSV file.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// CSV in UTF-8 or CP932; the first line names the columns as the long options of `add`
    file: PathBuf,
    /// Only say, row by row, what would happen
    #[arg(long)]
    dry_run: bool,
}

/// `-y`
#[derive(Debug, Args)]
pub(super) struct Yes {
    /// Do not ask
    #[arg(short, long)]
    pub(super) yes: bool,
}

pub(super) fn party(request: PartyRequest) -> Request {
    Request::Party(request)
}

/// Asks for a change and tells what became of it.
pub(super) fn set(globals: &Globals, what: &str, request: PartyRequest) -> Result<Exit, Trouble> {
    let answer = Way::open(globals)?.ask(party(request))?;
    globals.out().change(what, &answer)
}

/// Suspends, resumes or closes.
pub(super) fn stand(
    globals: &Globals,
    what: &str,
    name: PartyName,
    to: Standing,
    yes: bool,
) -> Result<Exit, Trouble> {
    if to == Standing::Closed && !out::confirm(yes, &format!("Close this {what}?"))? {
        out::note("Nothing changed.");
        return Ok(Exit::Refused);
    }
    set(globals, what, PartyRequest::Stand(name, to))
}

pub(super) fn show(globals: &Globals, name: PartyName) -> Result<Exit, Trouble> {
    let way = Way::open(globals)?;
    let answer = way.ask(party(PartyRequest::Show(name)))?;
    globals.out().zone(way.config.gateway.zone).thing(&answer)
}

impl Import {
    pub(super) fn run(&self, globals: &Globals, kind: csv::Kind) -> Result<Exit, Trouble> {
        let bytes = read(&self.file, csv::FILE_BYTES_MAX)?;
        let mut rows = csv::parse(kind, &bytes)
            .map_err(|text| Trouble::refused("IMPORT-FILE", format!("{} {text}", self.file.display())))?;
        let beside = self.file.parent().unwrap_or(Path::new(""));
        for row in &mut rows {
            if let Err(text) = fetch(row, beside) {
                row.fault.get_or_insert(text);
            }
        }
        let way = Way::open(globals)?;
        let spinner = indicatif::ProgressBar::new_spinner();
        spinner.set_message(format!("{} rows", rows.len()));
        spinner.enable_steady_tick(std::time::Duration::from_millis(100));
        let answer = way.ask(party(PartyRequest::Import { kind, rows, dry_run: self.dry_run }));
        spinner.finish_and_clear();
        let answer = answer?;
        let summary = summary(&answer, self.dry_run);
        let exit = globals.out().listing(&IMPORT_COLUMNS, |_| Ok(answer.clone()))?;
        out::note(&summary);
        Ok(exit)
    }
}

pub(super) fn summary(answer: &Answer, dry_run: bool) -> String {
    let rows = answer.value.as_array().map(Vec::as_slice).unwrap_or_default();
    let count = |result: &str| rows.iter().filter(|row| row["result"] == result).count();
    let text = ["added", "changed", "unchanged", "refused"]
        .map(|result| format!("{} {result}", count(result)))
        .join(", ");
    if dry_run { format!("dry run: {text}; nothing was written") } else { text }
}

/// Puts in a row what only this process can look up: key files (beside the CSV file) and Unix groups by name.
pub(super) fn fetch(row: &mut Row, beside: &Path) -> Result<(), String> {
    if let Some(text) = row.fields.get("ssh-key") {
        let mut lines = Vec::new();
        for key in csv::split_keys(text) {
            lines.push(key_line(&key, beside).map_err(|trouble| trouble.text)?);
        }
        row.fields.insert("ssh-key".to_owned(), lines.join("\n"));
    }
    if let Some(text) = row.fields.get("group") {
        let group = group_id(text)?;
        row.fields.insert("group".to_owned(), group.to_string());
    }
    Ok(())
}

/// A public key: the line itself, or a file that holds it. Looked at here, so that a private key given by mistake goes
/// nowhere.
pub(super) fn key_line(text: &str, beside: &Path) -> Result<String, Trouble> {
    let is_line = ["ssh-", "ecdsa-", "sk-"].iter().any(|start| text.starts_with(start)) && text.contains(' ');
    let content = if is_line {
        text.to_owned()
    } else {
        let bytes = read(&beside.join(text), keys::KEY_BYTES_MAX as u64)?;
        String::from_utf8_lossy(&bytes).into_owned()
    };
    match keys::parse(&content) {
        Ok(key) => Ok(key.key),
        Err(error) => {
            let trouble = Trouble::from(error);
            let text = if is_line { trouble.text } else { format!("{text}: {}", trouble.text) };
            Err(Trouble { text, ..trouble })
        }
    }
}

/// A file the operator names; too large or unreadable is wrong usage.
pub(super) fn read(file: &Path, bytes_max: u64) -> Result<Vec<u8>, Trouble> {
    use std::io::Read as _;
    let wrong = |text: String| Trouble::new(Kind::Usage, "FILE", format!("{}: {text}", file.display()));
    let opened = std::fs::File::open(file).map_err(|error| wrong(error.to_string()))?;
    let mut bytes = Vec::new();
    opened.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > bytes_max {
        return Err(wrong(format!("it has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}
