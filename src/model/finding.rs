//! What a check found: said so that a clerk knows where to look and what to do.

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The filing goes through; the finding stays in the receipt.
    Warning,
    /// The filing is refused.
    Error,
}

/// One thing that a check found. Never holds an individual number (K54): `value` is left out for such fields.
///
/// Texts come in both languages, so that one check serves the clerk, the receipt and the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The rule's id, stable and ASCII, such as `KPFD-FIELD-COUNT`; the same as the code that messages lead with.
    pub rule: String,
    /// The file it is in, by its manifest name; none when it concerns the set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line in that file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Form code, such as `2200700`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<String>,
    /// Field, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<u32>,
    /// The field's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_name: Option<Text>,
    /// Whom it concerns, by insured's number; never an individual number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insured: Option<String>,
    /// The value or character found, shortened and with control characters escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Character within the field (or line), from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// What was wrong and what is expected.
    pub message: Text,
    /// What to do next.
    pub action: Text,
}

impl Finding {
    /// One that names no place: set what is known of it.
    pub fn new(severity: Severity, rule: impl Into<String>, message: Text, action: Text) -> Self {
        Self {
            severity,
            rule: rule.into(),
            file: None,
            line: None,
            form: None,
            field: None,
            field_name: None,
            insured: None,
            value: None,
            column: None,
            message,
            action,
        }
    }

    /// The same of this file.
    #[must_use]
    pub fn in_file(self, file: impl Into<String>) -> Self {
        Self { file: Some(file.into()), ..self }
    }
}

/// A text in both languages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Text {
    /// Japanese, for offices and clerks.
    pub ja: String,
    /// English, on request and for operators.
    pub en: String,
}

impl Text {
    /// Both texts.
    pub fn new(ja: impl Into<String>, en: impl Into<String>) -> Self {
        Self { ja: ja.into(), en: en.into() }
    }

    /// The one in this language.
    pub fn get(&self, language: Language) -> &str {
        match language {
            Language::Ja => &self.ja,
            Language::En => &self.en,
        }
    }
}

/// A reader's language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Japanese.
    #[default]
    Ja,
    /// English.
    En,
}
