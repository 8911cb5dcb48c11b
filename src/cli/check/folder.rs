//! A folder as the set that is sent: what its manifest names, and nothing else.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{BESIDE, Basis, Check, Checked, open, unreadable};
use crate::desk::{Kind as TroubleKind, Trouble};
use crate::filing::other::inspect_other;
use crate::filing::rules::{CoverType, RuleSet};
use crate::filing::set::{self, Set, SetFile};
use crate::filing::{FILING_NAME, Findings, LISTED_MAX, inspect_pdf};
use crate::model::escape::excerpt;
use crate::model::finding::{Finding, Severity, Text};
use crate::model::ids::Digest;
use crate::model::submission::Kind;
use crate::model::time::{Clock as _, SystemClock};
use crate::rules::calendar;
use crate::signed::manifest::{Manifest, ManifestLimits};
use crate::signed::names::FileName;

/// Most files of a folder; a manifest names fewer.
const FOLDER_FILES_MAX: usize = 1_000;

impl Check {
    /// A folder, as the set that its files are.
    pub(super) fn folder(
        &self,
        folder: &Path,
        basis: &Basis,
        sink: &mut Findings,
        checked: &mut Vec<Checked>,
    ) -> Result<(), Trouble> {
        let mut own = Findings::listing(LISTED_MAX);
        let found = manifest(folder, &mut own)?;
        let there = names(folder, found.as_ref(), &mut own)?;
        let manifest = found.unwrap_or_default();
        let rules = &basis.rules;
        let (mut files, mut filing) = (Vec::new(), None);
        for (path, name) in there {
            // Of other transmissions no file is a filing.
            if manifest.kind == Kind::Filing && name.as_str() == FILING_NAME {
                filing = Some(path.clone());
            }
            files.push(of_set(&path, name, manifest.kind, rules)?);
            compare(&path, files.last(), &manifest, &mut own)?;
        }
        for named in manifest.files.iter().filter(|named| !files.iter().any(|file| file.name == named.name)) {
            own.push(Severity::Error, || missing(&named.name));
        }
        let mut summary = None;
        if let Some(path) = filing {
            let read = self.filing(&path, FILING_NAME.to_owned(), basis, Some(&manifest), &mut own)?;
            checked.push(Checked { path, summary: Some(read.clone()) });
            summary = Some(read);
        } else {
            checked.push(Checked { path: folder.to_owned(), summary: None });
        }
        let set = Set {
            kind: manifest.kind,
            subject: manifest.subject.as_deref(),
            comment: manifest.comment.as_deref(),
            cover: manifest.cover.as_ref(),
            files: &files,
        };
        // A withdrawal brings no files.
        if manifest.withdraw.is_none() {
            let clock = calendar::reading(SystemClock.now(), basis.zone);
            set::check_set(&set, summary.as_ref(), rules, clock, &mut own);
        }
        own.change(|finding| {
            if let Some(file) = &mut finding.file {
                *file = folder.join(&file).display().to_string();
            }
        });
        sink.take_in(own);
        Ok(())
    }
}

/// The manifest of a folder, if it has one that can be read; what is wrong with it is said.
fn manifest(folder: &Path, sink: &mut Findings) -> Result<Option<Manifest>, Trouble> {
    let path = folder.join(BESIDE[0]);
    let limits = ManifestLimits::default();
    let mut bytes = Vec::new();
    match File::open(&path) {
        Ok(file) => file.take(limits.bytes_max as u64 + 1).read_to_end(&mut bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error),
    }
    .map_err(|error| unreadable(&path, &error))?;
    match Manifest::parse_within(&bytes, &limits) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(error) => {
            let action =
                Text::new("SHA256SUMS を作り直し、署名してください。", "Make SHA256SUMS anew and sign it.");
            let line = error.line.map(|line| line as u64);
            sink.push(Severity::Error, || {
                let finding = Finding::new(Severity::Error, error.code(), error.text(), action);
                Finding { line, ..finding.in_file(BESIDE[0]) }
            });
            Ok(None)
        }
    }
}

/// The files of a folder with their names, in order: those that the manifest names, or all where there is none. Others are
/// said, since they stay behind; without a manifest, names that cannot be sent are.
fn names(
    folder: &Path,
    manifest: Option<&Manifest>,
    sink: &mut Findings,
) -> Result<Vec<(PathBuf, FileName)>, Trouble> {
    let wrong = |error| unreadable(folder, &error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.is_file() && !path.file_name().is_some_and(|name| BESIDE.iter().any(|beside| name == *beside))
        {
            paths.push(path);
        }
        if paths.len() > FOLDER_FILES_MAX {
            let text = format!("{} holds more than {FOLDER_FILES_MAX} files; no set does", folder.display());
            return Err(Trouble::new(TroubleKind::Usage, "FOLDER", text));
        }
    }
    paths.sort();
    let mut named = Vec::with_capacity(paths.len());
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let parsed = FileName::parse(&name);
        let listed = |name: &FileName| {
            manifest.is_none_or(|manifest| manifest.files.iter().any(|file| file.name == *name))
        };
        match parsed {
            Ok(name) if manifest.is_some() && listed(&name) => named.push((path, name)),
            // What an editor or a file manager leaves, and nobody sends.
            _ if name.starts_with('.') => {}
            Ok(name) if listed(&name) => named.push((path, name)),
            Err(error) if manifest.is_none() => {
                sink.push(Severity::Error, || set::unfit_name(Severity::Error, &name, &error));
            }
            _ => sink.push(Severity::Warning, || unnamed(&name)),
        }
    }
    Ok(named)
}

/// Whether a file is what the manifest says it is.
fn compare(
    path: &Path,
    file: Option<&SetFile>,
    manifest: &Manifest,
    sink: &mut Findings,
) -> Result<(), Trouble> {
    let named = manifest.files.iter().find(|named| file.is_some_and(|file| file.name == named.name));
    if let Some(named) = named
        && open(path).and_then(|(mut content, _)| {
            Digest::read(&mut content, &mut vec![0; 64 * 1024]).map_err(|error| unreadable(path, &error))
        })? != named.sha256
    {
        sink.push(Severity::Error, || set::hash_differs(&named.name));
    }
    Ok(())
}

/// What is to be known of a PDF by itself.
pub(super) fn of_attachment(path: &Path, name: FileName) -> Result<SetFile, Trouble> {
    let (content, bytes) = open(path)?;
    let pdf = Some(inspect_pdf(&content).map_err(|error| unreadable(path, &error))?);
    Ok(SetFile { name, bytes, pdf, cover_counts: None, other: None })
}

/// What the rules of the set want to know of a file.
fn of_set(path: &Path, name: FileName, kind: Kind, rules: &RuleSet) -> Result<SetFile, Trouble> {
    if kind == Kind::Filing && set::wants_pdf_check(&name) {
        return of_attachment(path, name);
    }
    let (content, bytes) = open(path)?;
    let wrong = |error| unreadable(path, &error);
    if kind == Kind::Other {
        let other = Some(inspect_other(&content).map_err(wrong)?);
        return Ok(SetFile { name, bytes, pdf: None, cover_counts: None, other });
    }
    let cover = &rules.policy().cover;
    let csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let counted = csv && name.as_str() != FILING_NAME && cover.types.contains(&CoverType::Csv);
    let cover_counts = counted.then(|| set::cover_counts(&content, cover.csv)).transpose().map_err(wrong)?;
    Ok(SetFile { name, bytes, pdf: None, cover_counts, other: None })
}

fn missing(name: &FileName) -> Finding {
    let text = Text::new(
        format!("SHA256SUMS にある「{name}」がありません。"),
        format!("SHA256SUMS names {name}, which is not there."),
    );
    let action = Text::new(
        "ファイルを加えるか、SHA256SUMS を作り直して署名してください。",
        "Add the file, or make SHA256SUMS anew and sign it.",
    );
    Finding::new(Severity::Error, "SET-MISSING", text, action).in_file(name.as_str())
}

/// A file that stays behind: intake never sees it.
fn unnamed(name: &str) -> Finding {
    let shown = excerpt(name, 80);
    let text = Text::new(
        format!("「{shown}」は SHA256SUMS に書かれていないため、送信に含まれません。"),
        format!("SHA256SUMS does not name {shown}, so it is no part of what is sent."),
    );
    let action = Text::new(
        "送るファイルであれば、SHA256SUMS を作り直して署名してください。",
        "If it is to be sent, make SHA256SUMS anew and sign it.",
    );
    Finding::new(Severity::Warning, "SET-UNNAMED", text, action).in_file(shown)
}
