//! The cover sheet (総括表, K51): whether there is one, of which type, and what one in CSV counts.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use super::{Report, Roles, Set, folded, has_extension, wants_pdf_check};
use crate::filing::catalog::Rule;
use crate::filing::check::Summary;
use crate::filing::cp932;
use crate::filing::rules::{CoverCsv, CoverType};

/// Records per form code as a cover sheet states them; none where the code's line holds no number.
pub type CoverCounts = BTreeMap<String, Option<u64>>;

/// Counts per form of a cover sheet in CSV (CP932 or UTF-8). Lines whose columns hold no form code, or no count, are passed
/// over; a count that is no number is kept as none.
pub fn cover_counts(mut reader: impl Read, layout: CoverCsv) -> io::Result<CoverCounts> {
    // A cover sheet is one page.
    const BYTES_MAX: u64 = 1 << 20;
    let mut bytes = Vec::new();
    Read::by_ref(&mut reader).take(BYTES_MAX).read_to_end(&mut bytes)?;
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text.trim_start_matches('\u{feff}').to_owned(),
        Err(_) => cp932::decode(&bytes),
    };
    let mut counts = CoverCounts::new();
    for line in text.lines() {
        let column =
            |n: usize| line.split(',').nth(n.wrapping_sub(1)).map(|v| folded(v.trim().trim_matches('"')));
        let (Some(form), Some(count)) = (column(layout.form_column), column(layout.count_column)) else {
            continue;
        };
        let is_code = form.len() == 7 && form.bytes().all(|b| b.is_ascii_digit());
        if !is_code || count.is_empty() {
            continue;
        }
        let sum = counts.entry(form).or_insert(Some(0));
        *sum = match (*sum, count.parse::<u64>()) {
            (Some(sum), Ok(count)) => Some(sum.saturating_add(count)),
            _ => None,
        };
    }
    Ok(counts)
}

/// Judges the cover sheet of a filing.
pub(super) fn check(set: &Set<'_>, roles: &Roles, summary: Option<&Summary>, report: &mut Report<'_>) {
    let policy = &report.rules.policy().cover;
    let Some(file) = roles.cover.map(|at| &set.files[at]) else {
        if policy.required {
            report.say(Rule::SetCover, None, &[]);
        }
        return;
    };
    let is_csv = has_extension(&file.name, "csv");
    let fits = |kind: &CoverType| match kind {
        CoverType::Pdf => wants_pdf_check(&file.name),
        CoverType::Csv => is_csv,
    };
    if !policy.types.iter().any(fits) {
        let types: Vec<_> = policy.types.iter().map(|kind| format!("{kind:?}").to_uppercase()).collect();
        report.say(Rule::SetCoverType, Some(&file.name), &[file.name.as_str(), &types.join(", ")]);
        return;
    }
    if !is_csv {
        return super::pdf(file, report);
    }
    let (Some(counts), Some(summary)) = (&file.cover_counts, summary) else { return };
    let found: BTreeMap<&str, u64> =
        summary.forms.iter().map(|form| (form.code.as_str(), form.count)).collect();
    // Of a form that is not filed, "none" may be said in any way.
    let unread: Vec<&str> = found
        .iter()
        .filter(|(form, count)| **count > 0 && counts.get(**form).map_or(counts.is_empty(), Option::is_none))
        .map(|(form, _)| *form)
        .collect();
    if !unread.is_empty() {
        let (form, count) = (policy.csv.form_column.to_string(), policy.csv.count_column.to_string());
        let args = [file.name.as_str(), &unread.join(", "), &form, &count];
        report.say(Rule::SetCoverUnread, Some(&file.name), &args);
    }
    let forms: BTreeSet<&str> = counts.keys().map(String::as_str).chain(found.keys().copied()).collect();
    for form in forms.into_iter().filter(|form| !unread.contains(form)) {
        let stated = counts.get(form).copied().flatten().unwrap_or(0);
        let found = found.get(form).copied().unwrap_or(0);
        if stated != found {
            let args = [form, &stated.to_string(), &found.to_string()];
            report.say(Rule::SetCoverCounts, Some(&file.name), &args);
        }
    }
}
