//! A TOML file with its lines: every complaint about it names file, line, key, value, and what is allowed.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// A configuration file larger than this is not one.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One thing that is wrong in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Line from 1; none when the file as a whole is meant.
    pub line: Option<usize>,
    /// `table.key`; empty when the file as a whole is meant.
    pub key: String,
    /// The value as written; none for a key that should not be there or is not.
    pub value: Option<String>,
    /// What is wrong and what is allowed.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// All that is wrong, so that one look at the file is enough.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError(pub Vec<Problem>);

impl ConfigError {
    fn one(file: &Path, what: impl Into<String>) -> Self {
        Self::at(file, "", what)
    }

    /// One thing that shows only when a table is looked at as a whole.
    pub(super) fn at(file: &Path, key: &str, what: impl Into<String>) -> Self {
        Self(vec![Problem {
            file: file.to_owned(),
            line: None,
            key: key.to_owned(),
            value: None,
            what: what.into(),
        }])
    }
}

/// Reads a configuration file's text.
pub fn read_text(file: &Path) -> Result<String, ConfigError> {
    let fault = |error: std::io::Error| ConfigError::one(file, format!("cannot be read: {error}"));
    let size = std::fs::metadata(file).map_err(fault)?.len();
    if size > FILE_BYTES_MAX {
        return Err(ConfigError::one(file, format!("{size} bytes; at most {FILE_BYTES_MAX} are allowed")));
    }
    let bytes = std::fs::read(file).map_err(fault)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| ConfigError::one(file, "is not UTF-8; save it as UTF-8 without BOM"))?;
    // Windows editors put a BOM there; TOML allows it to be skipped.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// A parsed file whose tables are taken out one by one; collects what is wrong on the way.
pub struct Source<'t> {
    file: &'t Path,
    text: &'t str,
    tables: DeTable<'t>,
    known: Vec<&'static str>,
    problems: Vec<Problem>,
    /// Values taken out one by one, by dotted key.
    taken: Vec<(String, Range<usize>)>,
}

impl<'t> Source<'t> {
    /// Parses the text; a text that is not TOML is one problem.
    pub fn parse(file: &'t Path, text: &'t str) -> Result<Self, ConfigError> {
        let tables = DeTable::parse(text).map_err(|error| {
            ConfigError(vec![Problem {
                file: file.to_owned(),
                line: error.span().map(|span| line_of(text, span.start)),
                key: String::new(),
                value: None,
                what: format!("is not TOML: {}", error.message()),
            }])
        })?;
        Ok(Self {
            file,
            text,
            tables: tables.into_inner(),
            known: Vec::new(),
            problems: Vec::new(),
            taken: Vec::new(),
        })
    }

    /// One table as its component's policy; the component's defaults when it is absent or wrong (then a problem is kept).
    pub fn table<T: DeserializeOwned + Default>(&mut self, name: &'static str) -> T {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        let Some(value) = self.tables.get(name) else { return T::default() };
        match T::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(policy) => policy,
            Err(error) => {
                let problem = self.explain(name, &error);
                self.problems.push(problem);
                T::default()
            }
        }
    }

    /// One text of a table that belongs to somebody else than the rest of it; none when it is absent or no text (then a
    /// problem is kept). To be called before [`Source::table`] for that table.
    pub fn take(&mut self, table: &str, key: &str) -> Option<String> {
        let DeValue::Table(inner) = self.tables.get_mut(table)?.get_mut() else { return None };
        let value = inner.remove(key)?;
        let dotted = format!("{table}.{key}");
        self.taken.push((dotted.clone(), value.span()));
        if let DeValue::String(text) = value.get_ref() {
            return Some(text.to_string());
        }
        self.reject(&dotted, format!("invalid type: {}, expected a string", value.get_ref().type_str()));
        None
    }

    /// Names tables that somebody else reads, so that they are not taken for slips.
    pub fn allow(&mut self, names: &[&'static str]) {
        self.known.extend(names);
    }

    /// Keeps a complaint about a value that parsed but cannot be used. `key` is `table.key`.
    pub fn reject(&mut self, key: &str, what: impl Into<String>) {
        let (line, value) = match self.find(key) {
            Some((at, value)) => (Some(line_of(self.text, at)), Some(shorten(value))),
            None => (None, None),
        };
        self.problems.push(Problem {
            file: self.file.to_owned(),
            line,
            key: key.to_owned(),
            value,
            what: what.into(),
        });
    }

    /// Ends reading: unknown tables are problems too.
    pub fn finish(mut self) -> Result<(), ConfigError> {
        let unknown: Vec<(String, usize)> = self
            .tables
            .iter()
            .filter(|(key, _)| !self.known.contains(&key.get_ref().as_ref()))
            .map(|(key, _)| (key.get_ref().to_string(), key.span().start))
            .collect();
        for (key, at) in unknown {
            let known = self.known.iter().map(|name| format!("[{name}]")).collect::<Vec<_>>().join(", ");
            self.problems.push(Problem {
                file: self.file.to_owned(),
                line: Some(line_of(self.text, at)),
                key,
                value: None,
                what: format!("unknown table; allowed are {known}"),
            });
        }
        if self.problems.is_empty() {
            return Ok(());
        }
        self.problems.sort_by_key(|problem| problem.line);
        Err(ConfigError(self.problems))
    }

    /// Byte position and text of the value at a dotted key.
    fn find(&self, key: &str) -> Option<(usize, &'t str)> {
        if let Some((_, span)) = self.taken.iter().find(|(taken, _)| taken == key) {
            return Some((span.start, self.text.get(span.clone())?));
        }
        let mut table = &self.tables;
        let mut found = None;
        for part in key.split('.') {
            let value = table.get(part)?;
            found = Some(value.span());
            if let DeValue::Table(inner) = value.get_ref() {
                table = inner;
            }
        }
        let span = found?;
        Some((span.start, self.text.get(span)?))
    }

    fn explain(&self, table: &str, error: &toml::de::Error) -> Problem {
        let span = error.span();
        let (key, value) = span.clone().and_then(|span| self.key_at(table, &span)).unwrap_or_default();
        Problem {
            file: self.file.to_owned(),
            line: span.map(|span| line_of(self.text, span.start)),
            key: if key.is_empty() { table.to_owned() } else { key },
            value,
            what: plain(error.message()),
        }
    }

    /// The dotted key whose name or value holds this span, and the value if the span is (in) the value.
    fn key_at(&self, table: &str, span: &Range<usize>) -> Option<(String, Option<String>)> {
        fn walk(
            inner: &DeTable<'_>,
            path: &str,
            span: &Range<usize>,
            text: &str,
        ) -> Option<(String, Option<String>)> {
            for (key, value) in inner {
                let path = format!("{path}.{}", key.get_ref());
                if key.span() == *span {
                    return Some((path, None));
                }
                if let DeValue::Table(deeper) = value.get_ref()
                    && let Some(found) = walk(deeper, &path, span, text)
                {
                    return Some(found);
                }
                let range = value.span();
                if range.start <= span.start && span.end <= range.end && !value.get_ref().is_table() {
                    return Some((path, text.get(range).map(shorten)));
                }
            }
            None
        }
        let value: &Spanned<DeValue<'_>> = self.tables.get(table)?;
        match value.get_ref() {
            DeValue::Table(inner) => walk(inner, table, span, self.text),
            _ => Some((table.to_owned(), self.text.get(value.span()).map(shorten))),
        }
    }
}

/// serde's words with Rust's type names put plainly.
fn plain(message: &str) -> String {
    let mut words = message.replace('\n', " ").replace(" as i128", "");
    if let Some((before, name)) = words.split_once("expected struct ")
        && !name.contains(' ')
    {
        words = format!("{before}expected a table");
    }
    for unsigned in ["u16", "u32", "u64", "usize"] {
        if let Some(before) = words.strip_suffix(&format!("expected {unsigned}")) {
            words = format!("{before}expected a whole number, 0 or more");
        }
    }
    words
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

/// A password that somebody wrote into a URL is not repeated.
pub(super) fn redact(value: &str) -> String {
    match value.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://…@{host}"),
            None => value.to_owned(),
        },
        None => value.to_owned(),
    }
}

fn shorten(value: &str) -> String {
    let value = redact(value);
    let line = value.lines().next().unwrap_or_default();
    if line.chars().count() > 60 || line.len() < value.len() {
        format!("{}…", line.chars().take(60).collect::<String>())
    } else {
        line.to_owned()
    }
}
