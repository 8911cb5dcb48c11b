//! The manifest: `SHA256SUMS` as coreutils writes it, with comment lines that say what the set is (DESIGN "Manifest").

use std::collections::HashMap;

use crate::model::escape::{excerpt, is_hidden};
use crate::model::finding::Text;
use crate::model::ids::{Digest, InsurerCode, Number, OfficeCode};
use crate::signed::names::{FileName, NameError, SenderId};

/// The bounds of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestLimits {
    /// Most bytes of the whole manifest.
    pub bytes_max: usize,
    /// Most files it may name.
    pub files_max: usize,
    /// Most characters of `# subject:`.
    pub subject_chars_max: usize,
    /// Most characters of `# comment:`.
    pub comment_chars_max: usize,
}

impl Default for ManifestLimits {
    fn default() -> Self {
        Self { bytes_max: 256 * 1024, files_max: 200, subject_chars_max: 100, comment_chars_max: 1000 }
    }
}

pub use crate::model::submission::Kind;

/// One file that the manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// Its name, normalised.
    pub name: FileName,
    /// Its SHA-256.
    pub sha256: Digest,
}

/// A manifest that was read and checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// `# id:`, the sender's own id.
    pub id: Option<SenderId>,
    /// `# to:`, the insurer; none means the account's insurer.
    pub to: Option<InsurerCode>,
    /// `# office:`, which must agree with the filing's office record.
    pub office: Option<OfficeCode>,
    /// `# kind:`.
    pub kind: Kind,
    /// `# subject:` (K48).
    pub subject: Option<String>,
    /// `# comment:` (K48).
    pub comment: Option<String>,
    /// `# cover:`, which of the files is the cover sheet (K51).
    pub cover: Option<FileName>,
    /// `# withdraw:`, the receipt to withdraw (H26); then there are no files.
    pub withdraw: Option<Number>,
    /// The files, in the manifest's order.
    pub files: Vec<NamedFile>,
}

/// Why a manifest is refused, and on which line (from 1) where there is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", .problem.code(), self.text().en)]
pub struct ManifestError {
    /// The line, from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: ManifestProblem,
}

/// The ways in which a manifest can be wrong.
#[allow(missing_docs, reason = "the fields say what they are; the variants are documented")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestProblem {
    /// More bytes than allowed.
    TooLarge { bytes_max: usize },
    /// More files than allowed.
    TooManyFiles { files_max: usize },
    /// UTF-16, as PowerShell 5 writes by `>` and `Out-File`.
    Utf16,
    /// A UTF-8 byte order mark.
    Bom,
    /// CP932, as `cmd` writes on a Japanese Windows.
    Cp932,
    /// Neither UTF-8 nor CP932.
    NotUtf8,
    /// `SHA256 (name) = ...`, as `sha256sum --tag` and BSD tools write.
    BsdTag,
    /// The hash has another length than SHA-256.
    HashLength { digits: usize },
    /// Not `HASH  NAME`.
    Malformed,
    /// The name is not a plain file name.
    Name { name: String, why: NameError },
    /// The same name as on another line, but for case or normalisation.
    Duplicate { name: String, first_line: usize },
    /// A known key twice.
    KeyTwice { key: &'static str },
    /// A known key with a value it cannot have.
    Value { key: &'static str, value: String, ja: String, en: String },
    /// No file, and no withdrawal.
    NoFiles,
    /// A withdrawal that names files.
    WithdrawWithFiles,
    /// `# cover:` names a file that is not listed.
    CoverNotListed { name: String },
}

impl ManifestProblem {
    /// The stable code that messages lead with.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "MANIFEST-SIZE",
            Self::TooManyFiles { .. } => "MANIFEST-FILES",
            Self::Utf16 => "MANIFEST-UTF16",
            Self::Bom => "MANIFEST-BOM",
            Self::Cp932 => "MANIFEST-CP932",
            Self::NotUtf8 => "MANIFEST-ENCODING",
            Self::BsdTag => "MANIFEST-BSD",
            Self::HashLength { .. } => "MANIFEST-HASH",
            Self::Malformed => "MANIFEST-LINE",
            Self::Name { .. } => "MANIFEST-NAME",
            Self::Duplicate { .. } => "MANIFEST-DUPLICATE",
            Self::KeyTwice { .. } => "MANIFEST-KEY-TWICE",
            Self::Value { .. } => "MANIFEST-VALUE",
            Self::NoFiles => "MANIFEST-EMPTY",
            Self::WithdrawWithFiles => "MANIFEST-WITHDRAW",
            Self::CoverNotListed { .. } => "MANIFEST-COVER",
        }
    }

    fn encoding_text(&self) -> Option<Text> {
        Some(match self {
            Self::Utf16 => Text::new(
                "文字コードが UTF-16 です。PowerShell の「>」や Out-File ではなく、「sha256sum ... | Set-Content -Encoding ascii SHA256SUMS」(日本語のファイル名があるときは PowerShell 7 の -Encoding utf8NoBOM)で作り直し、署名し直してください。",
                "It is UTF-16. Instead of PowerShell's `>` or Out-File write it with `| Set-Content -Encoding ascii SHA256SUMS` (with Japanese names: -Encoding utf8NoBOM of PowerShell 7), then sign it again.",
            ),
            Self::Bom => Text::new(
                "先頭に BOM があります。「BOM なし UTF-8」で保存し直し(PowerShell 7 では -Encoding utf8NoBOM)、署名し直してください。",
                "It begins with a byte order mark. Save it as UTF-8 without BOM (PowerShell 7: -Encoding utf8NoBOM), then sign it again.",
            ),
            Self::Cp932 => Text::new(
                "文字コードが Shift_JIS (CP932) です。UTF-8(BOM なし)で作り直し、署名し直してください。コマンドプロンプトでは先に「chcp 65001」を実行します。",
                "It is Shift_JIS (CP932). Write it as UTF-8 without BOM (in cmd run `chcp 65001` first), then sign it again.",
            ),
            Self::NotUtf8 => Text::new(
                "UTF-8 として読めない文字があります。UTF-8(BOM なし)で作り直し、署名し直してください。",
                "It holds bytes that are not UTF-8. Write it as UTF-8 without BOM, then sign it again.",
            ),
            _ => return None,
        })
    }

    fn text(&self) -> Text {
        if let Some(text) = self.encoding_text() {
            return text;
        }
        match self {
            Self::TooLarge { bytes_max } => Text::new(
                format!(
                    "大きすぎます(上限 {bytes_max} バイト)。ファイルを分けて、いくつかの送信にしてください。"
                ),
                format!(
                    "It is too large (at most {bytes_max} bytes). Send the files as several submissions."
                ),
            ),
            Self::TooManyFiles { files_max } => Text::new(
                format!("ファイルが多すぎます(上限 {files_max} 件)。いくつかの送信に分けてください。"),
                format!("It names too many files (at most {files_max}). Send them as several submissions."),
            ),
            Self::BsdTag => Text::new(
                "「SHA256 (名前) = ...」の形式は使えません。--tag を付けずに「sha256sum ファイル名 > SHA256SUMS」(macOS では「shasum -a 256」)で作り直してください。",
                "Lines of the form `SHA256 (name) = ...` are not taken. Write it with `sha256sum FILE... > SHA256SUMS` without --tag (on macOS `shasum -a 256`).",
            ),
            Self::HashLength { digits } => Text::new(
                format!(
                    "ハッシュが {digits} 桁です。SHA-256 は 64 桁です。md5sum や sha1sum ではなく sha256sum で作り直してください。"
                ),
                format!(
                    "The hash has {digits} digits; SHA-256 has 64. Write it with sha256sum, not md5sum or sha1sum."
                ),
            ),
            Self::Malformed => Text::new(
                "「ハッシュ(64桁)、空白2つ、ファイル名」の形になっていません。「sha256sum ファイル名 > SHA256SUMS」で作り直してください。",
                "The line is not a hash of 64 digits, two blanks and a file name. Write it with `sha256sum FILE... > SHA256SUMS`.",
            ),
            Self::Name { name, why } => name_text(name, *why),
            Self::Duplicate { name, first_line } => Text::new(
                format!(
                    "ファイル名「{name}」は {first_line} 行目の名前と同じか、大文字小文字などの違いしかありません。どちらかの名前を変えてください。"
                ),
                format!(
                    "The name {name:?} is that of line {first_line}, or differs from it only by case or normalisation. Rename one of them."
                ),
            ),
            Self::KeyTwice { key } => Text::new(
                format!("「# {key}:」が2回あります。1つだけ残してください。"),
                format!("`# {key}:` stands twice. Keep one of them."),
            ),
            Self::Value { key, value, ja, en } => Text::new(
                format!("「# {key}:」の値「{value}」は使えません。{ja}"),
                format!("`# {key}:` cannot be {value:?}. {en}"),
            ),
            Self::WithdrawWithFiles => Text::new(
                "取下げ(# withdraw:)にファイルは付けられません。ファイルの行を消すか、別の送信にしてください。",
                "A withdrawal (# withdraw:) names no files. Remove the file lines, or send the files separately.",
            ),
            Self::CoverNotListed { name } => Text::new(
                format!(
                    "総括表「{name}」がファイルの行にありません。そのファイルを sha256sum に加えるか、# cover: を直してください。"
                ),
                format!(
                    "The cover sheet {name:?} is not among the files. Add it to sha256sum's arguments, or correct `# cover:`."
                ),
            ),
            Self::Utf16 | Self::Bom | Self::Cp932 | Self::NotUtf8 | Self::NoFiles => Text::new(
                "ファイルが1つも書かれていません。「sha256sum ファイル名 > SHA256SUMS」で作り直してください。",
                "It names no file. Write it with `sha256sum FILE... > SHA256SUMS`.",
            ),
        }
    }
}

fn name_text(name: &str, why: NameError) -> Text {
    let (ja, en) = match why {
        NameError::Empty => ("名前が空か「.」「..」です。", "It is empty, '.' or '..'."),
        NameError::Path => (
            "フォルダー名は付けられません。ファイルのあるフォルダーに移ってから sha256sum を実行してください。",
            "It holds a folder. Change into the files' folder before running sha256sum.",
        ),
        NameError::Hidden => (
            "目に見えない文字や制御文字があります。ファイル名を変えて作り直してください。",
            "It holds invisible or control characters. Rename the file and write the manifest again.",
        ),
        NameError::Edge => (
            "先頭か末尾に空白、または末尾に「.」があります。ファイル名を変えて作り直してください。",
            "It begins or ends with a blank or ends with a dot. Rename the file and write the manifest again.",
        ),
        NameError::Long => (
            "名前が長すぎます(UTF-8 で 200 バイトまで)。短い名前に変えて作り直してください。",
            "It is too long (at most 200 bytes of UTF-8). Rename the file and write the manifest again.",
        ),
        NameError::Reserved => (
            "SHA256SUMS とその署名は、ファイルの行に書けません。sha256sum の対象から外してください。",
            "SHA256SUMS and its signature cannot be listed. Leave them out of sha256sum's arguments.",
        ),
    };
    Text::new(
        format!("ファイル名「{name}」は使えません。{ja}"),
        format!("The name {name:?} cannot be used. {en}"),
    )
}

impl ManifestError {
    /// The stable code that messages lead with, such as `MANIFEST-UTF16`.
    pub fn code(&self) -> &'static str {
        self.problem.code()
    }

    /// What was wrong, where, and what to do next.
    pub fn text(&self) -> Text {
        let body = self.problem.text();
        match self.line {
            Some(line) => Text::new(
                format!("SHA256SUMS の {line} 行目: {}", body.ja),
                format!("SHA256SUMS, line {line}: {}", body.en),
            ),
            None => Text::new(format!("SHA256SUMS: {}", body.ja), format!("SHA256SUMS: {}", body.en)),
        }
    }
}

impl Manifest {
    /// Reads a manifest within the default [`ManifestLimits`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        Self::parse_within(bytes, &ManifestLimits::default())
    }

    /// Reads a manifest within these limits.
    pub fn parse_within(bytes: &[u8], limits: &ManifestLimits) -> Result<Self, ManifestError> {
        let whole = |problem| ManifestError { line: None, problem };
        if bytes.len() > limits.bytes_max {
            return Err(whole(ManifestProblem::TooLarge { bytes_max: limits.bytes_max }));
        }
        let text = decode(bytes)?;
        let mut reading = Reading::new(limits);
        for (i, line) in text.split('\n').enumerate() {
            let line = line.strip_suffix('\r').unwrap_or(line);
            reading.line(i + 1, line).map_err(|problem| ManifestError { line: Some(i + 1), problem })?;
        }
        let Reading { manifest, cover_line, .. } = reading;
        match &manifest.withdraw {
            Some(_) if !manifest.files.is_empty() => return Err(whole(ManifestProblem::WithdrawWithFiles)),
            None if manifest.files.is_empty() => return Err(whole(ManifestProblem::NoFiles)),
            _ => {}
        }
        if let Some(cover) = &manifest.cover
            && !manifest.files.iter().any(|file| file.name == *cover)
        {
            let problem = ManifestProblem::CoverNotListed { name: cover.to_string() };
            return Err(ManifestError { line: cover_line, problem });
        }
        Ok(manifest)
    }

    /// The file of this name, if the manifest names it.
    pub fn file(&self, name: &FileName) -> Option<&NamedFile> {
        self.files.iter().find(|file| file.name == *name)
    }
}

/// Says in which wrong encoding the bytes are, or gives the text.
fn decode(bytes: &[u8]) -> Result<&str, ManifestError> {
    let whole = |problem| Err(ManifestError { line: None, problem });
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return whole(ManifestProblem::Bom);
    }
    if looks_utf16(bytes) {
        return whole(ManifestProblem::Utf16);
    }
    std::str::from_utf8(bytes).map_err(|e| {
        let line = bytes[..e.valid_up_to()].split(|b| *b == b'\n').count();
        let (_, _, bad) = encoding_rs::SHIFT_JIS.decode(bytes);
        let problem = if bad { ManifestProblem::NotUtf8 } else { ManifestProblem::Cp932 };
        ManifestError { line: Some(line), problem }
    })
}

/// A mark, or every other byte zero: what a manifest begins with (`#` or a hexadecimal digit) is ASCII in any case.
pub(crate) fn looks_utf16(bytes: &[u8]) -> bool {
    let every_other_is_zero =
        |from: usize| bytes.len() >= 8 && bytes.iter().take(16).skip(from).step_by(2).all(|b| *b == 0);
    bytes.starts_with(b"\xff\xfe")
        || bytes.starts_with(b"\xfe\xff")
        || every_other_is_zero(0)
        || every_other_is_zero(1)
}

struct Reading<'a> {
    limits: &'a ManifestLimits,
    manifest: Manifest,
    keys: Vec<&'static str>,
    cover_line: Option<usize>,
    lines_by_name: HashMap<String, usize>,
}

/// The keys of comment lines; others are free comments.
const KEYS: [&str; 8] = ["id", "to", "office", "kind", "subject", "comment", "cover", "withdraw"];

impl<'a> Reading<'a> {
    fn new(limits: &'a ManifestLimits) -> Self {
        Self {
            limits,
            manifest: Manifest::default(),
            keys: Vec::new(),
            cover_line: None,
            lines_by_name: HashMap::new(),
        }
    }

    fn line(&mut self, number: usize, line: &str) -> Result<(), ManifestProblem> {
        if line.trim().is_empty() {
            return Ok(());
        }
        if let Some(comment) = line.strip_prefix('#') {
            return self.comment(number, comment);
        }
        let file = parse_file_line(line)?;
        if self.manifest.files.len() == self.limits.files_max {
            return Err(ManifestProblem::TooManyFiles { files_max: self.limits.files_max });
        }
        if let Some(first_line) = self.lines_by_name.insert(file.name.folded(), number) {
            return Err(ManifestProblem::Duplicate { name: file.name.to_string(), first_line });
        }
        self.manifest.files.push(file);
        Ok(())
    }

    fn comment(&mut self, number: usize, comment: &str) -> Result<(), ManifestProblem> {
        let Some((key, value)) = comment.split_once(':') else { return Ok(()) };
        let (key, value) = (key.trim(), value.trim());
        let Some(key) = KEYS.into_iter().find(|known| known.eq_ignore_ascii_case(key)) else { return Ok(()) };
        if self.keys.contains(&key) {
            return Err(ManifestProblem::KeyTwice { key });
        }
        self.keys.push(key);
        let bad = |ja: &str, en: &str| ManifestProblem::Value {
            key,
            value: excerpt(value, 64),
            ja: ja.into(),
            en: en.into(),
        };
        let m = &mut self.manifest;
        match key {
            "id" => {
                m.id = Some(SenderId::parse(value).map_err(|_| {
                    bad(
                        "64文字までの目に見える文字で、「/」「\\」を含まず、「.」で始まらない値にしてください。",
                        "Use 1 to 64 visible characters without '/' or '\\', not beginning with '.'.",
                    )
                })?);
            }
            "to" => {
                m.to = Some(InsurerCode::parse(value).map_err(|_| {
                    bad("保険者番号(数字8桁)を書いてください。", "Write the insurer's number: eight digits.")
                })?);
            }
            "office" => {
                m.office = Some(OfficeCode::parse(value).map_err(|_| {
                    bad(
                        "事業所番号(英数字4桁以内)を書いてください。",
                        "Write the office's number: one to four ASCII letters or digits.",
                    )
                })?);
            }
            "kind" => {
                m.kind = match value {
                    "filing" => Kind::Filing,
                    "other" => Kind::Other,
                    _ => return Err(bad("filing か other を書いてください。", "Write filing or other.")),
                };
            }
            "subject" => m.subject = text_value(value, self.limits.subject_chars_max, bad)?,
            "comment" => m.comment = text_value(value, self.limits.comment_chars_max, bad)?,
            "cover" => {
                let name = FileName::parse(value).map_err(|_| {
                    bad("総括表のファイル名を書いてください。", "Write the cover sheet's file name.")
                })?;
                m.cover = Some(name);
                self.cover_line = Some(number);
            }
            _ => {
                m.withdraw = Some(Number::parse(value).map_err(|_| {
                    bad(
                        "取り下げる受付番号を、受付票のとおりに書いてください。",
                        "Write the receipt number to withdraw as the receipt prints it.",
                    )
                })?);
            }
        }
        Ok(())
    }
}

/// A subject or comment: bounded, nothing hidden; blank means none.
fn text_value(
    value: &str,
    chars_max: usize,
    bad: impl Fn(&str, &str) -> ManifestProblem,
) -> Result<Option<String>, ManifestProblem> {
    if value.chars().count() > chars_max {
        let (ja, en) =
            (format!("{chars_max} 文字までにしてください。"), format!("Use at most {chars_max} characters."));
        return Err(bad(&ja, &en));
    }
    if value.chars().any(is_hidden) {
        return Err(bad(
            "目に見えない文字や制御文字を消してください。",
            "Remove invisible and control characters.",
        ));
    }
    Ok((!value.is_empty()).then(|| value.to_owned()))
}

/// `HASH`, a blank, a blank or `*`, the name; with a leading `\` the name is escaped.
fn parse_file_line(line: &str) -> Result<NamedFile, ManifestProblem> {
    if is_bsd(line) {
        return Err(ManifestProblem::BsdTag);
    }
    let (escaped, line) = match line.strip_prefix('\\') {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let digits = line.bytes().take_while(u8::is_ascii_hexdigit).count();
    let (hash, rest) = line.split_at(digits);
    let name =
        rest.strip_prefix("  ").or_else(|| rest.strip_prefix(" *")).ok_or(ManifestProblem::Malformed)?;
    if digits != 64 {
        return Err(if [32, 40, 56, 96, 128].contains(&digits) {
            ManifestProblem::HashLength { digits }
        } else {
            ManifestProblem::Malformed
        });
    }
    let sha256 = Digest::parse(hash).map_err(|_| ManifestProblem::Malformed)?;
    let name = if escaped { unescape(name).ok_or(ManifestProblem::Malformed)? } else { name.to_owned() };
    let name =
        FileName::parse(&name).map_err(|why| ManifestProblem::Name { name: excerpt(&name, 80), why })?;
    Ok(NamedFile { name, sha256 })
}

fn is_bsd(line: &str) -> bool {
    let line = line.strip_prefix('\\').unwrap_or(line);
    ["SHA", "MD5 ", "BLAKE2", "SM3 "].iter().any(|tag| line.starts_with(tag))
        && line.contains('(')
        && line.contains(") = ")
}

fn unescape(name: &str) -> Option<String> {
    let mut out = String::with_capacity(name.len());
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next()? {
                '\\' => '\\',
                'n' => '\n',
                'r' => '\r',
                _ => return None,
            },
            c => c,
        });
    }
    Some(out)
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
