//! Parties in a CSV file: UTF-8 (with or without BOM) or CP932, header names as the command line's long options.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::delegations::DelegationForm;
use super::{AccountForm, InsurerForm, OfficeForm};
use crate::model::escape::{excerpt, is_hidden};
use crate::model::finding::Language;
use crate::model::ids::{AccountId, InsurerCode, OfficeCode};
use crate::model::party::Role;
use crate::model::time::Day;
use crate::work::quotes;

/// A file larger than this is not a list of parties.
pub const FILE_BYTES_MAX: u64 = 16 << 20;
/// Rows of one file.
pub const ROWS_MAX: usize = 20_000;
/// Characters of one field; a key is the longest.
const FIELD_CHARS_MAX: usize = 16 << 10;

/// What a file lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `insurer import`
    Insurer,
    /// `office import`
    Office,
    /// `account import`
    Account,
    /// `account apply --import`
    Application,
    /// `office import-delegations`
    Delegation,
}

impl Kind {
    /// Headers, the one that names the row's party first.
    pub fn headers(self) -> &'static [&'static str] {
        match self {
            Self::Insurer => &["insurer", "name", "mail", "group"],
            Self::Office => &["office", "insurer", "name"],
            Self::Account => &[
                "account",
                "insurer",
                "role",
                "office",
                "user-name",
                "mail",
                "language",
                "test",
                "machine",
                "ssh-key",
                "second",
            ],
            Self::Application => &[
                "account",
                "insurer",
                "role",
                "office",
                "user-name",
                "mail",
                "language",
                "class",
                "payment",
                "test",
                "machine",
                "second",
                "ssh-key",
                "csr",
                "p12",
                "kind",
                "certificate",
                "loss",
                "consent",
            ],
            Self::Delegation => &["office", "to", "from", "until"],
        }
    }

    /// Headers without which no row can be read.
    fn needed(self) -> &'static [&'static str] {
        match self {
            Self::Insurer => &["insurer"],
            Self::Office => &["office", "insurer"],
            Self::Account | Self::Application => &["account"],
            Self::Delegation => &["office", "to"],
        }
    }
}

/// One row, by header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Line of the file it begins on, from 1.
    pub line: u64,
    /// Fields that are not empty.
    pub fields: BTreeMap<String, String>,
    /// Why the row cannot be read, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// Reads the rows of a file. An error concerns the whole file; a bad row carries its fault.
pub fn parse(kind: Kind, bytes: &[u8]) -> Result<Vec<Row>, String> {
    let text = decode(bytes)?;
    if quotes::is_left_open(&text) {
        return Err("ends within quotes: a quote (\") is not closed".to_owned());
    }
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let headers = headers(kind, reader.headers().map_err(|error| error.to_string())?)?;
    let mut rows = Vec::new();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(|error| format!("is not CSV: {error}"))?;
        if record.iter().all(|field| field.trim().is_empty()) {
            continue;
        }
        if rows.len() == ROWS_MAX {
            return Err(format!("has more than {ROWS_MAX} rows; split it"));
        }
        let mut row = read_row(&headers, &record);
        if row.fault.is_none() {
            let key = row_key(kind, &row);
            if let Some(line) = seen.insert(key.clone(), row.line) {
                row.fault = Some(format!("{key} stands in line {line} already"));
                seen.insert(key, line);
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

/// What the row is about, for the report.
pub fn row_key(kind: Kind, row: &Row) -> String {
    let field = |name: &str| row.fields.get(name).map(|text| excerpt(text, 40)).unwrap_or_default();
    match kind {
        Kind::Insurer => field("insurer"),
        Kind::Office => format!("{}/{}", field("insurer"), field("office")),
        Kind::Account | Kind::Application => field("account"),
        Kind::Delegation => {
            format!("{}/{} {}", field("office"), field("to"), field("from")).trim().to_owned()
        }
    }
}

fn decode(bytes: &[u8]) -> Result<String, String> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("is UTF-16; save it as CSV UTF-8".to_owned());
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok(text.to_owned());
    }
    let (text, bad) = encoding_rs::SHIFT_JIS.decode_without_bom_handling(bytes);
    if bad {
        return Err("is neither UTF-8 nor CP932 (Shift_JIS)".to_owned());
    }
    Ok(text.into_owned())
}

fn headers(kind: Kind, record: &csv::StringRecord) -> Result<Vec<&'static str>, String> {
    let allowed = kind.headers();
    let mut headers = Vec::new();
    for written in record {
        let plain = written.trim().trim_start_matches("--").to_lowercase().replace(['_', ' '], "-");
        // The party's own column may also be called what the command line's help calls it.
        let plain = if matches!(plain.as_str(), "code" | "id") { allowed[0] } else { plain.as_str() };
        let Some(header) = allowed.iter().find(|header| **header == plain) else {
            let text = excerpt(written, 40);
            return Err(format!("has a column {text:?}; columns are {}", allowed.join(", ")));
        };
        if headers.contains(header) {
            return Err(format!("has column {header} twice"));
        }
        headers.push(*header);
    }
    if let Some(missing) = kind.needed().iter().find(|needed| !headers.contains(*needed)) {
        return Err(format!(
            "has no column {missing}; columns are {} (the first line names them)",
            allowed.join(", ")
        ));
    }
    Ok(headers)
}

fn read_row(headers: &[&'static str], record: &csv::StringRecord) -> Row {
    let line = record.position().map_or(0, csv::Position::line);
    let mut row = Row { line, fields: BTreeMap::new(), fault: None };
    if record.len() > headers.len() {
        row.fault = Some(format!("has {} fields where the header has {}", record.len(), headers.len()));
    }
    for (header, text) in headers.iter().zip(record) {
        let text = text.trim();
        if text.chars().count() > FIELD_CHARS_MAX {
            row.fault = Some(format!("{header} is too long"));
        } else if text.chars().any(|c| is_hidden(c) && !(c == '\n' && *header == "ssh-key")) {
            row.fault = Some(format!("{header} contains control or invisible characters"));
        } else if text.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']) {
            row.fault = Some(format!("{header} begins with a character that spreadsheets compute (= + - @)"));
        } else if !text.is_empty() {
            row.fields.insert((*header).to_owned(), text.to_owned());
        }
    }
    row
}

/// A row as a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    Insurer(InsurerForm),
    Office(OfficeForm),
    Account(Box<AccountForm>),
    Delegation(DelegationForm),
}

pub(super) fn form(kind: Kind, row: &Row) -> Result<Form, String> {
    if let Some(fault) = &row.fault {
        return Err(fault.clone());
    }
    let text = |name: &str| row.fields.get(name).cloned();
    Ok(match kind {
        Kind::Application => return Err("an application is taken by `account apply --import`".to_owned()),
        Kind::Insurer => Form::Insurer(InsurerForm {
            code: needed(row, "insurer", InsurerCode::parse)?,
            name: text("name"),
            mail: text("mail"),
            group: text("group")
                .map(|group| {
                    group.parse().map_err(|_| format!("group {group:?} is not known on this machine"))
                })
                .transpose()?,
        }),
        Kind::Office => Form::Office(OfficeForm {
            insurer: needed(row, "insurer", InsurerCode::parse)?,
            code: needed(row, "office", OfficeCode::parse)?,
            name: text("name"),
        }),
        Kind::Account => {
            let mut form = AccountForm::of(needed(row, "account", AccountId::parse)?);
            form.insurer = text("insurer")
                .map(|code| InsurerCode::parse(&code))
                .transpose()
                .map_err(|e| e.to_string())?;
            form.role = text("role").map(|role| word(&role, "role", &ROLES)).transpose()?;
            form.offices = text("office").map(|list| offices(&list)).transpose()?;
            form.user_name = text("user-name");
            form.mail = text("mail");
            form.language = text("language").map(|word_| word(&word_, "language", &LANGUAGES)).transpose()?;
            form.test = text("test").map(|flag| word(&flag, "test", &FLAGS)).transpose()?;
            form.machine = text("machine").map(|flag| word(&flag, "machine", &FLAGS)).transpose()?;
            form.second =
                text("second").map(|flag| word(&flag, "second", &FLAGS)).transpose()?.unwrap_or(false);
            form.keys = text("ssh-key").map(|keys| split_keys(&keys)).unwrap_or_default();
            Form::Account(Box::new(form))
        }
        Kind::Delegation => {
            let day = |name: &str| {
                text(name).map(|day| Day::parse(&day).map_err(|e| format!("{name} {e}"))).transpose()
            };
            Form::Delegation(DelegationForm {
                office: needed(row, "office", OfficeCode::parse)?,
                to: needed(row, "to", AccountId::parse)?,
                from: day("from")?,
                until: day("until")?,
            })
        }
    })
}

const ROLES: [(&str, Role); 3] =
    [("office", Role::Office), ("agent", Role::Agent), ("insurer", Role::Insurer)];
pub(in crate::work) const LANGUAGES: [(&str, Language); 2] = [("ja", Language::Ja), ("en", Language::En)];
pub(in crate::work) const FLAGS: [(&str, bool); 6] =
    [("true", true), ("yes", true), ("1", true), ("false", false), ("no", false), ("0", false)];

pub(in crate::work) fn word<T: Copy>(text: &str, column: &str, allowed: &[(&str, T)]) -> Result<T, String> {
    let lower = text.to_ascii_lowercase();
    allowed.iter().find(|(name, _)| *name == lower).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = allowed.iter().map(|(name, _)| *name).collect();
        format!("{column} {:?} must be one of {}", excerpt(text, 40), names.join(", "))
    })
}

pub(in crate::work) fn needed<T, E: ToString>(
    row: &Row,
    name: &str,
    parse: fn(&str) -> Result<T, E>,
) -> Result<T, String> {
    let text = row.fields.get(name).ok_or_else(|| format!("{name} is empty"))?;
    parse(text).map_err(|error| error.to_string())
}

/// Offices in one field, parted by blanks, `;`, `,` or `/`.
pub fn offices(list: &str) -> Result<Vec<OfficeCode>, String> {
    list.split([' ', ';', ',', '/', '\u{3000}'])
        .filter(|code| !code.is_empty())
        .map(|code| OfficeCode::parse(code).map_err(|error| error.to_string()))
        .collect()
}

/// Keys in one field, parted by `;` or line ends.
pub fn split_keys(text: &str) -> Vec<String> {
    text.split([';', '\n']).map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect()
}
