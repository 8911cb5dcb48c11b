//! The rules in force: forms by their tables, rules of file and set by the catalog, both as an insurer has changed them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::calendar::Calendar;
use super::catalog::Rule;
use super::level::Level;
use super::other::OtherPolicy;
use super::tables::{Form, Profile, TableError, parse_form};

/// The tables that come with todoke: name and content.
const BUILTIN: [(&str, &str); 8] = [
    ("2200700.toml", include_str!("../../conf/forms/2200700.toml")),
    ("2201700.toml", include_str!("../../conf/forms/2201700.toml")),
    ("2221700.toml", include_str!("../../conf/forms/2221700.toml")),
    ("2225700.toml", include_str!("../../conf/forms/2225700.toml")),
    ("2265700.toml", include_str!("../../conf/forms/2265700.toml")),
    ("claims-control.toml", include_str!("../../conf/forms/claims-control.toml")),
    ("claims-data.toml", include_str!("../../conf/forms/claims-data.toml")),
    ("claims-end.toml", include_str!("../../conf/forms/claims-end.toml")),
];

/// Longest time for which records are remembered.
const REPEATS_MONTHS_MAX: u32 = 120;

/// Most bytes of one table.
const TABLE_BYTES_MAX: u64 = 1 << 20;

/// What a form of cover sheet may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CoverType {
    /// A PDF.
    Pdf,
    /// A CSV with counts per form.
    Csv,
}

/// Where a cover sheet in CSV has its counts. Columns count from 1; lines whose count is no number are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoverCsv {
    /// The column of the form code.
    pub form_column: usize,
    /// The column of the number of records.
    pub count_column: usize,
}

impl Default for CoverCsv {
    fn default() -> Self {
        Self { form_column: 1, count_column: 2 }
    }
}

/// The cover sheet (K51).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoverPolicy {
    /// Whether a filing needs one.
    pub required: bool,
    /// Parts of file names that mark one; compared in lower case and half width (NFKC).
    pub names: Vec<String>,
    /// What it may be.
    pub types: Vec<CoverType>,
    /// Where a CSV has its counts.
    pub csv: CoverCsv,
}

impl CoverPolicy {
    /// What of it cannot work: the key, and why.
    fn fault(&self) -> Option<(&'static str, &'static str)> {
        let CoverCsv { form_column, count_column } = self.csv;
        if self.names.iter().any(|name| name.trim().is_empty()) {
            Some(("names", "one is blank: it would take every file for the cover sheet"))
        } else if self.types.is_empty() {
            Some(("types", "the list is empty; use \"pdf\", \"csv\" or both"))
        } else if form_column == 0 || count_column == 0 {
            Some(("csv", "columns count from 1"))
        } else if form_column == count_column {
            Some(("csv", "form code and count cannot stand in one column"))
        } else {
            None
        }
    }
}

impl Default for CoverPolicy {
    fn default() -> Self {
        Self {
            required: true,
            names: ["総括表", "総括票", "soukatsu", "sokatsu"].map(String::from).to_vec(),
            types: vec![CoverType::Pdf, CoverType::Csv],
            csv: CoverCsv::default(),
        }
    }
}

/// Attachments of a filing (K55).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttachmentPolicy {
    /// Most attachments, the cover sheet not counted.
    pub files_max: usize,
    /// Most bytes of each.
    pub bytes_max: u64,
}

impl Default for AttachmentPolicy {
    fn default() -> Self {
        Self { files_max: 50, bytes_max: 50_000_000 }
    }
}

/// What one insurer asks of filings: the `[filing]` part of `conf/insurers/CODE.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilingPolicy {
    /// The form codes that are taken; all of the tables when none are named.
    pub forms: Option<Vec<String>>,
    /// Most bytes of the filing.
    pub filing_bytes_max: u64,
    /// Most offices in one filing.
    pub offices_max: usize,
    /// The cover sheet.
    pub cover: CoverPolicy,
    /// Attachments.
    pub attachments: AttachmentPolicy,
    /// When filings are taken; always when none.
    pub calendar: Option<Calendar>,
    /// For so many months it is remembered which records were filed (K53); 0: not at all.
    pub repeats_months: u32,
}

impl Default for FilingPolicy {
    fn default() -> Self {
        Self {
            forms: None,
            filing_bytes_max: 4_500_000,
            offices_max: 1,
            cover: CoverPolicy::default(),
            attachments: AttachmentPolicy::default(),
            calendar: None,
            repeats_months: 24,
        }
    }
}

#[derive(Deserialize)]
struct RawInsurer {
    // Other parts of the file belong to others.
    #[serde(default)]
    filing: Option<RawFiling>,
    #[serde(default)]
    other: OtherPolicy,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFiling {
    #[serde(default)]
    forms: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    filing_bytes_max: Option<Spanned<u64>>,
    #[serde(default)]
    offices_max: Option<Spanned<usize>>,
    #[serde(default)]
    cover: CoverPolicy,
    #[serde(default)]
    attachments: AttachmentPolicy,
    #[serde(default)]
    calendar: Option<Spanned<Calendar>>,
    #[serde(default)]
    repeats_months: Option<Spanned<u32>>,
    #[serde(default)]
    severity: BTreeMap<Spanned<String>, Level>,
    #[serde(default)]
    counts: BTreeMap<Spanned<String>, Vec<usize>>,
}

/// Where a value stands in a file that was read, for a complaint about it; the last table that is there where it is not.
fn span_of(text: &str, path: &[&str]) -> std::ops::Range<usize> {
    let Ok(tables) = DeTable::parse(text) else { return 0..0 };
    let (mut table, mut span) = (tables.get_ref(), 0..0);
    for part in path {
        let Some(value) = table.get(*part) else { break };
        span = value.span();
        let DeValue::Table(inner) = value.get_ref() else { break };
        table = inner;
    }
    span
}

/// The rules that a check applies.
#[derive(Debug, Clone)]
pub struct RuleSet {
    forms: Vec<Form>,
    /// What an insurer says of each rule of the catalog.
    levels: Vec<Option<Level>>,
    policy: FilingPolicy,
    other: OtherPolicy,
}

impl RuleSet {
    /// The tables that come with todoke.
    pub fn builtin() -> Result<Self, TableError> {
        Self::from_tables(BUILTIN)
    }

    /// Tables given as file name and content.
    pub fn from_tables<'a>(tables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, TableError> {
        let mut forms: Vec<Form> = Vec::new();
        for (file, text) in tables {
            let form = parse_form(file, text)?;
            if forms.iter().any(|other| other.profile == form.profile && other.code == form.code) {
                return Err(TableError::at(
                    file,
                    text,
                    None,
                    format!("form {} has another table already", form.code),
                ));
            }
            forms.push(form);
        }
        forms.sort_by(|a, b| a.code.cmp(&b.code));
        let levels = vec![None; Rule::ALL.len()];
        Ok(Self { forms, levels, policy: FilingPolicy::default(), other: OtherPolicy::default() })
    }

    /// The tables of a folder (`*.toml`), by name.
    pub fn load(dir: &Path) -> Result<Self, TableError> {
        let unreadable = |path: &Path, e: &std::io::Error| TableError {
            file: path.display().to_string(),
            line: 0,
            reason: format!("cannot be read: {e}"),
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(|e| unreadable(dir, &e))? {
            let path = entry.map_err(|e| unreadable(dir, &e))?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                paths.push(path);
            }
        }
        paths.sort();
        let mut tables = Vec::new();
        for path in &paths {
            let size = std::fs::metadata(path).map_err(|e| unreadable(path, &e))?.len();
            if size > TABLE_BYTES_MAX {
                let reason = format!("has {size} bytes; a table has at most {TABLE_BYTES_MAX}");
                return Err(TableError { file: path.display().to_string(), line: 0, reason });
            }
            tables.push((
                path.display().to_string(),
                std::fs::read_to_string(path).map_err(|e| unreadable(path, &e))?,
            ));
        }
        if tables.is_empty() {
            let reason = "holds no table; one *.toml per form is expected".to_owned();
            return Err(TableError { file: dir.display().to_string(), line: 0, reason });
        }
        Self::from_tables(tables.iter().map(|(file, text)| (file.as_str(), text.as_str())))
    }

    /// These rules as one insurer's file (`conf/insurers/CODE.toml`, its `[filing]` part) changes them.
    pub fn for_insurer(&self, file: &str, text: &str) -> Result<Self, TableError> {
        let raw: RawInsurer =
            toml::from_str(text).map_err(|e| TableError::at(file, text, e.span(), e.message().to_owned()))?;
        let mut rules = self.clone();
        let error =
            |span: std::ops::Range<usize>, reason: String| TableError::at(file, text, Some(span), reason);
        let fault = |path: &[&str], why: &str| {
            error(span_of(text, path), format!("{}: {why}", path.last().copied().unwrap_or_default()))
        };
        if let Some((key, why)) = raw.other.fault() {
            return Err(fault(&["other", key], why));
        }
        rules.other = raw.other;
        let Some(raw) = raw.filing else { return Ok(rules) };
        if let Some((key, why)) = raw.cover.fault() {
            return Err(fault(&["filing", "cover", key], why));
        }
        if raw.attachments.bytes_max == 0 {
            return Err(fault(&["filing", "attachments", "bytes_max"], "must be 1 or more"));
        }
        for (key, none) in [
            ("filing_bytes_max", raw.filing_bytes_max.as_ref().is_some_and(|most| *most.get_ref() == 0)),
            ("offices_max", raw.offices_max.as_ref().is_some_and(|most| *most.get_ref() == 0)),
        ] {
            if none {
                return Err(fault(&["filing", key], "must be 1 or more"));
            }
        }
        let known: Vec<&str> = self.forms(Profile::Kpfd).map(|form| form.code.as_str()).collect();
        if let Some(forms) = raw.forms.map(Spanned::into_inner) {
            if forms.is_empty() {
                return Err(fault(&["filing", "forms"], "the list is empty; leave it out to take all forms"));
            }
            for form in &forms {
                if !known.contains(&form.get_ref().as_str()) {
                    let reason =
                        format!("forms: no table for {:?}; known are {}", form.get_ref(), known.join(", "));
                    return Err(error(form.span(), reason));
                }
            }
            rules.policy.forms = Some(forms.into_iter().map(Spanned::into_inner).collect());
        }
        for (code, counts) in raw.counts {
            let form = rules
                .forms
                .iter_mut()
                .find(|form| form.profile == Profile::Kpfd && form.code == *code.get_ref());
            let allowed = form.as_ref().map(|form| form.counts.clone()).unwrap_or_default();
            if !form.is_some_and(|form| form.set_counts(&counts)) {
                let reason = format!("counts of {:?}: {counts:?} is not among {allowed:?}", code.get_ref());
                return Err(error(code.span(), reason));
            }
        }
        for (id, level) in raw.severity {
            if rules.set_level(id.get_ref(), level) == 0 {
                let like = rules.ids_like(id.get_ref()).join(", ");
                let reason = format!("severity: there is no rule {:?}; ids like it: {like}", id.get_ref());
                return Err(error(id.span(), reason));
            }
        }
        if let Some(calendar) = raw.calendar {
            calendar.get_ref().validate().map_err(|reason| error(calendar.span(), reason.to_owned()))?;
            rules.policy.calendar = Some(calendar.into_inner());
        }
        if let Some(months) = raw.repeats_months {
            if *months.get_ref() > REPEATS_MONTHS_MAX {
                let reason = format!("repeats_months = {}: at most {REPEATS_MONTHS_MAX}", months.get_ref());
                return Err(error(months.span(), reason));
            }
            rules.policy.repeats_months = months.into_inner();
        }
        rules.policy.filing_bytes_max =
            raw.filing_bytes_max.map_or(rules.policy.filing_bytes_max, Spanned::into_inner);
        rules.policy.offices_max = raw.offices_max.map_or(rules.policy.offices_max, Spanned::into_inner);
        rules.policy.cover = raw.cover;
        rules.policy.attachments = raw.attachments;
        Ok(rules)
    }

    /// What is asked of other transmissions.
    pub fn other(&self) -> &OtherPolicy {
        &self.other
    }

    /// Gives the rule of this id this level; where there is none, every rule whose id begins with `id-`. How many there were.
    pub fn set_level(&mut self, id: &str, level: Level) -> usize {
        let exact = self.rule_ids().iter().any(|(known, _)| known == id);
        let named = |rule: &str| {
            let rest = rule.strip_prefix(id);
            rest.is_some_and(|rest| if exact { rest.is_empty() } else { rest.starts_with('-') })
        };
        let mut count: usize = self.forms.iter_mut().map(|form| form.set_levels(&named, level)).sum();
        for rule in Rule::ALL {
            if named(rule.id()) {
                self.levels[*rule as usize] = Some(level);
                count += 1;
            }
        }
        count
    }

    /// The ids that have most in common with this one, at most five.
    fn ids_like(&self, id: &str) -> Vec<String> {
        let common = |other: &str| id.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
        let mut ids: Vec<String> = self.rule_ids().into_iter().map(|(id, _)| id).collect();
        ids.sort_by_key(|other| (std::cmp::Reverse(common(other)), other.len().abs_diff(id.len())));
        ids.truncate(5);
        ids
    }

    /// What a rule of file or set does.
    pub fn level(&self, rule: Rule) -> Level {
        self.stated(rule).unwrap_or(rule.def().level)
    }

    /// What the insurer says that a rule of file or set does, if it says so: this goes before what a form's table says.
    pub(crate) fn stated(&self, rule: Rule) -> Option<Level> {
        self.levels[rule as usize]
    }

    /// What the insurer asks.
    pub fn policy(&self) -> &FilingPolicy {
        &self.policy
    }

    /// The same, to be changed in place (tests, `todoke check` of large files).
    pub fn policy_mut(&mut self) -> &mut FilingPolicy {
        &mut self.policy
    }

    /// The forms of a profile.
    pub fn forms(&self, profile: Profile) -> impl Iterator<Item = &Form> {
        self.forms.iter().filter(move |form| form.profile == profile)
    }

    /// One form.
    pub fn form(&self, profile: Profile, code: &str) -> Option<&Form> {
        self.forms(profile).find(|form| form.code == code)
    }

    pub(crate) fn all_forms(&self) -> &[Form] {
        &self.forms
    }

    /// Whether the insurer takes this form.
    pub fn takes(&self, form: &Form) -> bool {
        form.profile != Profile::Kpfd
            || self.policy.forms.as_ref().is_none_or(|forms| forms.contains(&form.code))
    }

    /// The forms that are taken, for messages: `2200700 資格取得届、...`.
    pub(crate) fn taken(&self) -> (String, String) {
        let taken: Vec<_> = self.forms(Profile::Kpfd).filter(|form| self.takes(form)).collect();
        let join = |name: fn(&Form) -> &str, sep: &str| {
            taken.iter().map(|form| format!("{} {}", form.code, name(form))).collect::<Vec<_>>().join(sep)
        };
        (join(|form| &form.name.ja, "、"), join(|form| &form.name.en, ", "))
    }

    /// Every rule's id and what it does.
    pub fn rule_ids(&self) -> Vec<(String, Level)> {
        let of_catalog = Rule::ALL.iter().map(|rule| (rule.id().to_owned(), self.level(*rule)));
        of_catalog.chain(self.forms.iter().flat_map(Form::rule_ids)).collect()
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
