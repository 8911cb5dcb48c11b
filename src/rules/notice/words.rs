//! How values are written: one clean line, a day, a list; and how lines are folded.

use std::fmt::{Display, Write as _};

use chrono::{Datelike, NaiveDate, Weekday};
use chrono_tz::Tz;

use crate::model::finding::{Language, Text};
use crate::model::time::Timestamp;

/// Characters of one value.
pub(super) const VALUE_CHARS_MAX: usize = 100;
/// Lines of a list; the rest is counted.
pub(super) const LIST_LINES_MAX: usize = 30;
/// Columns of a line, a Japanese character taking two.
pub(super) const COLUMNS: usize = 70;

/// What the places of a text are filled with.
#[derive(Debug, Clone)]
pub struct Values {
    language: Language,
    pairs: Vec<(&'static str, String)>,
    /// Days as subjects have them.
    short_days: Vec<(&'static str, String)>,
}

impl Values {
    /// None yet.
    pub fn new(language: Language) -> Self {
        Self { language, pairs: Vec::new(), short_days: Vec::new() }
    }

    /// Of the words among them.
    pub(super) fn language(&self) -> Language {
        self.language
    }

    /// Text that is safe as it is.
    #[must_use]
    pub(super) fn ready(mut self, name: &'static str, text: String) -> Self {
        self.pairs.push((name, text));
        self
    }

    /// One line; see [`clean`].
    #[must_use]
    pub fn line(self, name: &'static str, text: &str) -> Self {
        let text = clean(text, VALUE_CHARS_MAX);
        self.ready(name, text)
    }

    /// At most ten lines, each cleaned.
    #[must_use]
    pub fn block(self, name: &'static str, text: &str) -> Self {
        let text = block(text);
        self.ready(name, text)
    }

    /// A number or id.
    #[must_use]
    pub fn number(self, name: &'static str, number: impl Display) -> Self {
        self.ready(name, number.to_string())
    }

    /// `2027年2月1日(月)`, `Mon 1 February 2027`; in a subject, of which clients show the beginning, `2月1日`, `1 Feb`.
    #[must_use]
    pub fn day(mut self, name: &'static str, date: NaiveDate) -> Self {
        let short = match self.language {
            Language::Ja => format!("{}月{}日", date.month(), date.day()),
            Language::En => date.format("%-d %b").to_string(),
        };
        self.short_days.push((name, short));
        let text = day(date, self.language);
        self.ready(name, text)
    }

    /// The program's own words.
    #[must_use]
    pub fn text(self, name: &'static str, text: &Text) -> Self {
        let text = text.get(self.language).to_owned();
        self.ready(name, text)
    }

    /// The first of these, and how many are left out. Each may have several lines, and is safe as it is.
    #[must_use]
    pub fn list(self, name: &'static str, items: impl ExactSizeIterator<Item = String>) -> Self {
        let count = items.len();
        let mut lines: Vec<String> = items.take(LIST_LINES_MAX).collect();
        if let Some(more) = count.checked_sub(LIST_LINES_MAX).filter(|more| *more > 0) {
            lines.push(match self.language {
                Language::Ja => format!("  ほか{more}件"),
                Language::En => format!("  and {more} more"),
            });
        }
        self.ready(name, lines.join("\n"))
    }

    /// The text for a place; empty when nothing was given for it.
    pub(super) fn get(&self, name: &str) -> &str {
        find(&self.pairs, name).unwrap_or_default()
    }

    /// The same for a place in a subject.
    pub(super) fn in_subject(&self, name: &str) -> &str {
        find(&self.short_days, name).unwrap_or_else(|| self.get(name))
    }
}

fn find<'a>(pairs: &'a [(&'static str, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(there, _)| *there == name).map(|(_, value)| value.as_str())
}

/// The last day that is over before this instant: to say "until that day" is then never too late.
pub fn last_day(expires_at: Timestamp, zone: Tz) -> NaiveDate {
    let date = expires_at.date_in(zone);
    date.pred_opt().unwrap_or(date)
}

/// `2027年2月1日(月)`, `Mon 1 February 2027`.
pub(super) fn day(date: NaiveDate, language: Language) -> String {
    match language {
        Language::Ja => {
            let weekday = match date.weekday() {
                Weekday::Mon => '月',
                Weekday::Tue => '火',
                Weekday::Wed => '水',
                Weekday::Thu => '木',
                Weekday::Fri => '金',
                Weekday::Sat => '土',
                Weekday::Sun => '日',
            };
            format!("{}年{}月{}日({weekday})", date.year(), date.month(), date.day())
        }
        Language::En => date.format("%a %-d %B %Y").to_string(),
    }
}

/// One line that shows what it says: control characters and line breaks become spaces, characters that turn the reading
/// direction or show nothing go, and what is too long is cut.
pub fn clean(text: &str, chars_max: usize) -> String {
    let mut spaced = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !is_invisible(*c)) {
        if !is_break(c) {
            spaced.push(c);
        } else if !spaced.ends_with(' ') {
            spaced.push(' ');
        }
    }
    let line = spaced.trim();
    if line.chars().count() <= chars_max {
        return line.to_owned();
    }
    line.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

/// Directional marks, overrides and isolates, zero-width characters, byte order mark, interlinear marks, tags.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn is_break(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Several lines, each cleaned.
pub(super) fn block(text: &str) -> String {
    let lines: Vec<String> = text.lines().take(10).map(|l| clean(l, VALUE_CHARS_MAX)).collect();
    lines.join("\n")
}

/// Columns a character takes.
pub(super) fn width(c: char) -> usize {
    if c.is_ascii() || ('\u{ff61}'..='\u{ff9f}').contains(&c) { 1 } else { 2 }
}

/// Folds every line of a text at [`COLUMNS`]; what is indented stays so. What a line has too much goes on in the next one,
/// where that belongs to the same paragraph.
pub(super) fn fold_lines(text: &str) -> String {
    let mut done = String::with_capacity(text.len());
    let mut carry = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let rest = line.trim_start_matches(' ');
        let indent = (line.len() - rest.len()).min(8);
        let joined = match (carry.chars().last(), rest.chars().next()) {
            (None, _) => rest.to_owned(),
            (Some(last), Some(first)) if width(last) == 2 && (width(first) == 2 || closing(last)) => {
                format!("{carry}{rest}")
            }
            _ => format!("{carry} {rest}"),
        };
        carry.clear();
        let mut folded = fold(&joined, indent);
        // What ends with a colon announces the next line.
        let goes_on = indent == 0
            && !rest.ends_with([':', '：'])
            && lines.peek().is_some_and(|next| !next.is_empty() && !next.starts_with(' '));
        if goes_on && let Some((full, over)) = folded.rsplit_once('\n') {
            (carry, folded) = (over.to_owned(), full.to_owned());
        }
        let _ = writeln!(done, "{}{folded}", &line[..indent]);
    }
    done
}

/// Marks that never begin a line.
fn closing(c: char) -> bool {
    "、。，．）」』】〕・：；！？ー々".contains(c)
}

fn is_hiragana(c: char) -> bool {
    ('ぁ'..='ゖ').contains(&c)
}

/// Where a reader of Japanese would break: behind a mark, or where a word begins behind the small words of the one before.
fn is_seam(before: char, after: char) -> bool {
    let particle = is_hiragana(before) && !matches!(before, 'お' | 'ご') && !is_hiragana(after);
    before == ' ' || "、。，．）」』】〕：；！？".contains(before) || (particle && after != ' ')
}

/// Columns from which on a seam is preferred to the last place where a line could be broken.
const SEAM_COLUMNS_MIN: usize = 40;

/// Breaks a line at [`COLUMNS`]: English at spaces, Japanese between words as far as they can be told, and never before a
/// closing mark. Further lines are indented.
pub(super) fn fold(text: &str, indent: usize) -> String {
    let (mut done, mut line, mut columns) = (String::new(), String::new(), indent);
    // The line's length in bytes and columns at its last seam.
    let mut seam = (0, 0);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        line.push(c);
        columns += width(c);
        let Some(&after) = chars.peek() else { break };
        let wide_next = width(after) == 2 && !closing(after);
        let may_break = c == ' ' || (width(c) == 2 && !closing(after)) || wide_next;
        if may_break && is_seam(c, after) {
            seam = (line.len(), columns);
        }
        let word: usize = chars.clone().take_while(|n| *n != ' ' && width(*n) == 1).count();
        let next = if width(after) == 1 { word } else { 2 };
        // Two columns are kept for a closing mark that may have to follow.
        if may_break && columns + next > COLUMNS - 2 {
            let (at, upto) = if seam.1 >= SEAM_COLUMNS_MIN { seam } else { (line.len(), columns) };
            let over = line.split_off(at);
            let _ = write!(done, "{}\n{:indent$}", line.trim_end(), "");
            (line, columns, seam) = (over, indent + columns - upto, (0, 0));
        }
    }
    done.push_str(line.trim_end());
    done
}
