//! Mail texts with places to fill in, checked when they are loaded.

use serde::Deserialize;

use super::words::{COLUMNS, Values, width};

/// A place that a text may (or must) have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) name: &'static str,
    pub(super) in_subject: Need,
    pub(super) in_body: Need,
}

/// Whether a place must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Must,
    May,
    Never,
}

/// Why a text is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {key}: {problem}")]
pub struct TemplateError {
    /// The file as it was named.
    pub file: String,
    /// Such as `ja.subject`; `toml` when the file cannot be read as such.
    pub key: String,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

/// Characters in a subject, before anything is filled in.
const SUBJECT_CHARS_MAX: usize = 200;
/// Characters in a body, before anything is filled in.
const BODY_CHARS_MAX: usize = 8000;

/// What links begin with.
const LINKS: [&str; 5] = ["://", "www.", "mailto:", "<a ", "href="];

/// The first line that is too wide, from 1, and how wide it is. Places count nothing: what is filled in is folded.
fn too_wide(body: &str) -> Option<(usize, usize)> {
    body.lines().enumerate().find_map(|(at, line)| {
        let mut open = false;
        let mut columns = 0;
        for c in line.chars() {
            match c {
                '{' => open = true,
                '}' => open = false,
                c if !open => columns += width(c),
                _ => {}
            }
        }
        (columns > COLUMNS).then_some((at + 1, columns))
    })
}

/// The texts of one kind of notice in both languages.
#[derive(Debug, Clone)]
pub(super) struct Template {
    pub(super) ja: Both,
    pub(super) en: Both,
}

/// Subject and body.
#[derive(Debug, Clone)]
pub(super) struct Both {
    pub(super) subject: Pattern,
    pub(super) body: Pattern,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTemplate {
    ja: RawBoth,
    en: RawBoth,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBoth {
    subject: String,
    body: String,
}

impl Template {
    pub(super) fn parse(file: &str, text: &str, slots: &[Slot]) -> Result<Self, TemplateError> {
        let wrong =
            |key: &str, problem: String| TemplateError { file: file.into(), key: key.into(), problem };
        let raw: RawTemplate = toml::from_str(text).map_err(|e| wrong("toml", e.to_string()))?;
        let both = |raw: RawBoth, language: &str| {
            let (subject, body) = (format!("{language}.subject"), format!("{language}.body"));
            if raw.subject.chars().any(char::is_control) || raw.subject.trim().is_empty() {
                return Err(wrong(&subject, "must be one line of text".into()));
            }
            if raw.subject.chars().count() > SUBJECT_CHARS_MAX {
                return Err(wrong(&subject, format!("at most {SUBJECT_CHARS_MAX} characters are allowed")));
            }
            if raw.body.chars().count() > BODY_CHARS_MAX {
                return Err(wrong(&body, format!("at most {BODY_CHARS_MAX} characters are allowed")));
            }
            if raw.body.chars().any(|c| c.is_control() && c != '\n') {
                return Err(wrong(&body, "holds a control character other than a line feed".into()));
            }
            for (key, text) in [(&subject, &raw.subject), (&body, &raw.body)] {
                if let Some(link) = LINKS.iter().find(|link| text.to_ascii_lowercase().contains(**link)) {
                    let why =
                        "no mail of the gateway has a link, so that readers know one that has is not ours";
                    return Err(wrong(key, format!("holds {link:?}, the beginning of a link; {why}")));
                }
            }
            if let Some((at, columns)) = too_wide(&raw.body) {
                let why = format!(
                    "line {at} takes {columns} columns without its places; {COLUMNS} are allowed (a Japanese character \
                     takes two)"
                );
                return Err(wrong(&body, why));
            }
            Ok(Both {
                subject: Pattern::parse(&raw.subject, slots, |s| s.in_subject)
                    .map_err(|p| wrong(&subject, p))?,
                body: Pattern::parse(&raw.body, slots, |s| s.in_body).map_err(|p| wrong(&body, p))?,
            })
        };
        Ok(Self { ja: both(raw.ja, "ja")?, en: both(raw.en, "en")? })
    }
}

/// A text cut at its places. `{{` and `}}` stand for braces.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Vec<Piece>);

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Slot(&'static str),
}

impl Pattern {
    fn parse(text: &str, slots: &[Slot], need: fn(&Slot) -> Need) -> Result<Self, String> {
        let allowed = || {
            let names = slots.iter().filter(|s| need(s) != Need::Never).map(|s| format!("{{{}}}", s.name));
            format!("allowed here are {} ({{{{ and }}}} for braces)", names.collect::<Vec<_>>().join(" "))
        };
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let (brace, after) = (&rest[at..=at], &rest[at + 1..]);
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let closed = if brace == "{" { after.split_once('}') } else { None };
            let Some((name, after)) = closed else {
                return Err(format!("a {brace} stands alone; {}", allowed()));
            };
            let Some(slot) = slots.iter().find(|s| s.name == name && need(s) != Need::Never) else {
                let name: String = name.chars().take(40).collect();
                return Err(format!("{{{}}} is not known; {}", name.escape_debug(), allowed()));
            };
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(Piece::Slot(slot.name));
            rest = after;
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        let has = |name| pieces.iter().any(|p| matches!(p, Piece::Slot(there) if *there == name));
        if let Some(slot) = slots.iter().find(|s| need(s) == Need::Must && !has(s.name)) {
            return Err(format!("{{{}}} is missing; {}", slot.name, allowed()));
        }
        Ok(Self(pieces))
    }

    /// Fills in. Values are put in as they are and never looked at for places again.
    pub(super) fn fill(&self, values: &Values) -> String {
        self.filled(|name| values.get(name))
    }

    /// The same with days as subjects have them.
    pub(super) fn fill_subject(&self, values: &Values) -> String {
        self.filled(|name| values.in_subject(name))
    }

    fn filled<'a>(&'a self, value: impl Fn(&str) -> &'a str) -> String {
        let piece = |piece: &'a Piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Slot(name) => value(name),
        };
        self.0.iter().map(piece).collect()
    }
}
