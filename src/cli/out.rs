//! What people and scripts read: tables whose columns line up with East-Asian width, or JSON. Nothing that came from a
//! stranger reaches the terminal unescaped; a reader that goes away (a closed pipe) ends the command quietly.

use std::io::{self, BufWriter, IsTerminal as _, Write as _};

use chrono_tz::Tz;
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use super::exit::Exit;
use crate::desk::{Answer, Trouble};
use crate::model::escape::terminal;

/// One column of a table: heading, and the row's key it shows.
pub(super) type Column = (&'static str, &'static str);

/// Where and how to print.
#[derive(Debug, Clone)]
pub(super) struct Out {
    json: bool,
    zone: Tz,
}

/// A closed pipe is the reader's choice.
pub(super) fn tolerate(done: io::Result<()>) -> Result<(), Trouble> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Trouble::fault(format!("standard output cannot be written: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Says on standard error why something was not done.
pub(super) fn complain(trouble: &Trouble) {
    let lines: Vec<String> = trouble.text.lines().map(terminal).collect();
    let _ = writeln!(io::stderr().lock(), "todoke: {}: {}", terminal(&trouble.code), lines.join("\n  "));
}

/// Tells the operator something on standard error.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", terminal(text));
}

/// Asks, on a terminal; elsewhere nobody is there to answer, and the command was meant.
pub(super) fn confirm(yes: bool, question: &str) -> Result<bool, Trouble> {
    if yes || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(true);
    }
    let _ = write!(io::stderr().lock(), "{} [y/N] ", terminal(question));
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

impl Out {
    pub(super) fn new(json: bool) -> Self {
        Self { json, zone: chrono_tz::Asia::Tokyo }
    }

    /// Times in tables are shown in this zone.
    pub(super) fn zone(mut self, zone: Tz) -> Self {
        self.zone = zone;
        self
    }

    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// One line, for people only.
    pub(super) fn line(&self, text: &str) -> Result<(), Trouble> {
        if self.json {
            return Ok(());
        }
        tolerate(writeln!(io::stdout().lock(), "{}", terminal(text)))
    }

    /// JSON as it is.
    #[allow(clippy::unused_self, reason = "all printing goes through one value")]
    pub(super) fn raw(&self, value: &Value) -> Result<(), Trouble> {
        let text = serde_json::to_string_pretty(value)?;
        tolerate(writeln!(io::stdout().lock(), "{text}"))
    }

    /// One thing: JSON, or `key: value` lines.
    pub(super) fn thing(&self, answer: &Answer) -> Result<Exit, Trouble> {
        if self.json {
            self.raw(&answer.value)?;
        } else if let Value::Object(fields) = &answer.value {
            let width = fields.keys().map(|key| key.width()).max().unwrap_or(0);
            for (key, value) in fields {
                self.field(key, width, value)?;
            }
        }
        Ok(self.end(answer))
    }

    /// A text of several lines under its head: JSON, or the lines as they are read.
    pub(super) fn text(&self, answer: &Answer, head: &str, body: &str) -> Result<Exit, Trouble> {
        if self.json {
            self.raw(&answer.value)?;
        } else {
            self.line(answer.value[head].as_str().unwrap_or_default())?;
            self.line("")?;
            for line in answer.value[body].as_str().unwrap_or_default().lines() {
                self.line(line)?;
            }
        }
        Ok(self.end(answer))
    }

    fn field(&self, key: &str, width: usize, value: &Value) -> Result<(), Trouble> {
        match value {
            Value::Array(items) if items.iter().any(Value::is_object) => {
                self.line(&format!("{key}:"))?;
                for item in items {
                    let Value::Object(fields) = item else { continue };
                    let fields = fields.iter().filter(|(_, value)| !value.is_null());
                    let text = fields.map(|(key, value)| format!("{key} {}", self.cell(key, value)));
                    self.line(&format!("  {}", text.collect::<Vec<_>>().join(", ")))?;
                }
                Ok(())
            }
            _ => {
                let pad = " ".repeat(width.saturating_sub(key.width()));
                self.line(&format!("{key}{pad}  {}", self.cell(key, value)))
            }
        }
    }

    /// A change to a party: what was done, in a line.
    pub(super) fn change(&self, what: &str, answer: &Answer) -> Result<Exit, Trouble> {
        if self.json {
            self.raw(&answer.value)?;
        } else {
            let result = answer.value["result"].as_str().unwrap_or("done");
            let fields = self.cell("fields", &answer.value["fields"]);
            let fields = if fields == "-" { String::new() } else { format!(" ({fields})") };
            let key = answer.value["key"].as_str().unwrap_or_default();
            self.line(&format!("{what} {key}: {result}{fields}"))?;
        }
        Ok(self.end(answer))
    }

    /// What else the operator should know, and how the command ends.
    #[allow(clippy::unused_self, reason = "all printing goes through one value")]
    pub(super) fn end(&self, answer: &Answer) -> Exit {
        for text in &answer.notes {
            note(text);
        }
        if answer.findings { Exit::Refused } else { Exit::Done }
    }

    /// A listing: a JSON array with one element a line, or a table. `page` is asked for the next page until there is none,
    /// so that neither side holds it all.
    pub(super) fn listing(
        &self,
        columns: &[Column],
        mut page: impl FnMut(Option<String>) -> Result<Answer, Trouble>,
    ) -> Result<Exit, Trouble> {
        let mut to = BufWriter::new(io::stdout().lock());
        let mut widths: Vec<usize> = columns.iter().map(|(head, _)| head.width()).collect();
        let (mut next, mut first, mut exit) = (None, true, Exit::Done);
        loop {
            let answer = page(next)?;
            let rows = answer.value.as_array().map(Vec::as_slice).unwrap_or_default();
            let written = if self.json {
                write_json(&mut to, rows, first)
            } else {
                self.write_table(&mut to, columns, &mut widths, rows, first)
            };
            let written = written.and_then(|()| to.flush());
            if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
                return Ok(exit);
            }
            tolerate(written)?;
            first = first && rows.is_empty();
            for text in &answer.notes {
                note(text);
            }
            if answer.findings {
                exit = Exit::Refused;
            }
            next = answer.next;
            if next.is_none() {
                break;
            }
        }
        if self.json {
            tolerate(writeln!(to, "{}", if first { "[]" } else { "\n]" }).and_then(|()| to.flush()))?;
        }
        Ok(exit)
    }

    fn write_table(
        &self,
        to: &mut impl io::Write,
        columns: &[Column],
        widths: &mut [usize],
        rows: &[Value],
        first: bool,
    ) -> io::Result<()> {
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| columns.iter().map(|(_, key)| self.cell(key, &row[*key])).collect())
            .collect();
        for row in &cells {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        if first && !rows.is_empty() {
            write_row(to, columns.iter().map(|(head, _)| *head), widths)?;
        }
        for row in &cells {
            write_row(to, row.iter().map(String::as_str), widths)?;
        }
        Ok(())
    }

    /// A value in a table or line, escaped.
    pub(super) fn cell(&self, key: &str, value: &Value) -> String {
        match value {
            Value::Null => "-".to_owned(),
            Value::Bool(true) => "yes".to_owned(),
            Value::Bool(false) => "no".to_owned(),
            Value::String(text) if text.is_empty() => "-".to_owned(),
            Value::String(text) if is_time(key) => self.local(text),
            Value::String(text) => terminal(text),
            Value::Array(items) if items.is_empty() => "-".to_owned(),
            Value::Array(items) => items.iter().map(|item| self.cell("", item)).collect::<Vec<_>>().join(","),
            Value::Object(fields) => {
                let text = fields.iter().map(|(key, value)| match value {
                    Value::Object(_) | Value::Array(_) => format!("{key} ({})", self.cell("", value)),
                    _ => format!("{key} {}", self.cell(key, value)),
                });
                text.collect::<Vec<_>>().join(", ")
            }
            Value::Number(number) => number.to_string(),
        }
    }

    /// A time under a key whose name does not say so.
    pub(super) fn local_cell(&self, value: &Value) -> String {
        value.as_str().map_or_else(|| self.cell("", value), |text| self.local(text))
    }

    fn local(&self, text: &str) -> String {
        match chrono::DateTime::parse_from_rfc3339(text) {
            Ok(at) => at.with_timezone(&self.zone).format("%Y-%m-%d %H:%M:%S").to_string(),
            Err(_) => terminal(text),
        }
    }
}

/// Whether a time stands under this key.
fn is_time(key: &str) -> bool {
    key.ends_with("_at") || key.ends_with("_since") || matches!(key, "first" | "last" | "at" | "now")
}

fn write_json(to: &mut impl io::Write, rows: &[Value], first: bool) -> io::Result<()> {
    for (at, row) in rows.iter().enumerate() {
        to.write_all(if first && at == 0 { b"[\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *to, row)?;
    }
    Ok(())
}

fn write_row<'a>(
    to: &mut impl io::Write,
    cells: impl Iterator<Item = &'a str>,
    widths: &[usize],
) -> io::Result<()> {
    let mut line = String::new();
    for (cell, width) in cells.zip(widths) {
        line.push_str(cell);
        line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + 2));
    }
    writeln!(to, "{}", line.trim_end())
}
