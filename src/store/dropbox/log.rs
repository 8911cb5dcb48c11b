//! The drop-box's log: a line for each change, read at start. Not fsynced; a broken end is what was never answered.

use std::fs::File;
use std::io::{self, BufRead, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Place;
use super::state::{Folder, State, Version};
use crate::model::ids::BlobId;
use crate::model::time::Timestamp;
use crate::store::blobs::Blobs;
use crate::store::durable;

/// The longest line that is read: two names of 255 bytes, escaped.
const LINE_BYTES_MAX: u64 = 16 * 1024;
/// Most lines are shorter.
const LINE_BYTES_USUAL: usize = 192;

/// A line of the log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(super) enum Line {
    Folder {
        name: String,
        at: Timestamp,
    },
    NoFolder {
        name: String,
    },
    Put {
        folder: String,
        name: String,
        blob: BlobId,
        at: Timestamp,
    },
    Closed {
        blob: BlobId,
        size: u64,
        at: Timestamp,
    },
    Gone {
        blob: BlobId,
    },
    /// A commit took what was in this folder.
    Emptied {
        folder: String,
    },
}

impl Line {
    pub(super) fn put(place: &Place, blob: &BlobId, at: Timestamp) -> Self {
        Self::Put { folder: place.folder.clone(), name: place.name.clone(), blob: blob.clone(), at }
    }
}

/// Adds lines, in one write.
pub(super) fn append(
    state: &mut State,
    path: &Path,
    lines: impl IntoIterator<Item = Line>,
) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(2 * LINE_BYTES_USUAL);
    if state.log_torn {
        // A full disk cut the last line: what follows must not be read as its end.
        bytes.push(b'\n');
    }
    let mut count = 0;
    for line in lines {
        serde_json::to_writer(&mut bytes, &line)?;
        bytes.push(b'\n');
        count += 1;
    }
    if count == 0 {
        return Ok(());
    }
    let log = match &mut state.log {
        Some(log) => log,
        None => state.log.insert(File::options().append(true).create(true).mode(0o600).open(path)?),
    };
    let written = log.write_all(&bytes);
    state.log_torn = written.is_err();
    state.log_lines += count;
    written
}

/// What a version needs to be there again after a start.
pub(super) fn lines_of(place: &Place, version: &Version) -> Vec<Line> {
    let mut lines = vec![Line::put(place, &version.blob, version.modified)];
    if version.is_there() {
        lines.push(Line::Closed { blob: version.blob.clone(), size: version.size, at: version.modified });
    }
    lines
}

/// Writes the log anew with what is there now.
pub(super) fn rewrite(state: &mut State, path: &Path) -> io::Result<()> {
    let mut lines = Vec::new();
    let folders = state.folders.iter().filter(|(name, _)| !name.is_empty());
    lines.extend(folders.map(|(name, f)| Line::Folder { name: name.clone(), at: f.changed }));
    // Claimed ones first: a newer version of the same name takes their place.
    for (place, version) in state.claimed.values() {
        lines.extend(lines_of(place, version));
    }
    for (name, folder) in &state.folders {
        for (file, version) in &folder.files {
            lines.extend(lines_of(&Place { folder: name.clone(), name: file.clone() }, version));
        }
        if folder.emptied {
            lines.push(Line::Emptied { folder: name.clone() });
        }
    }
    let mut text = Vec::new();
    for line in &lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    durable::replace(path, &text, 0o600)?;
    (state.log, state.log_torn, state.log_lines) = (None, false, lines.len());
    Ok(())
}

/// Reads the log. A broken last line (the daemon died while writing it) is what was never answered; lines about blobs that
/// are gone, or that the ledger has (`claimed`), are dropped, and so are folders that commits emptied.
pub(super) fn replay(
    state: &mut State,
    mut log: impl BufRead,
    blobs: &dyn Blobs,
    claimed: &dyn Fn(&BlobId) -> bool,
) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if io::Read::take(&mut log, LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        state.log_torn = !line.ends_with(b"\n");
        state.log_lines += 1;
        if let Ok(line) = serde_json::from_slice::<Line>(&line) {
            apply(state, line);
        }
    }
    for (place, blob, logged, at) in state.named() {
        let size = if claimed(&blob) {
            state.emptied(&place.folder);
            None
        } else {
            match blobs.open(&blob) {
                Ok(blob) => Some(blob.size()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => None,
                // It may be there: the drop-box does not open before that is known.
                Err(e) => return Err(e),
            }
        };
        let Some(size) = size else {
            state.take(&place);
            continue;
        };
        state.resize(&blob, size, at);
        // What a power cut shortened is unfinished, whatever the log says.
        if logged != size {
            state.finished(&blob, false);
        }
    }
    // Nobody uses them: no login outlives a start.
    for name in state.leave_folders(0) {
        state.remove_folder(&name);
    }
    Ok(())
}

fn apply(state: &mut State, line: Line) {
    match line {
        Line::Folder { name, at } => {
            let folder = state.folders.entry(name).or_insert_with(|| Folder::new(at));
            (folder.changed, folder.emptied) = (at, false);
        }
        Line::NoFolder { name } => {
            state.remove_folder(&name);
        }
        Line::Put { folder, name, blob, at } => {
            if let Some(old) = state.place_of(&blob) {
                state.take(&old);
            }
            let version = Version {
                blob,
                login: 0,
                size: 0,
                modified: at,
                open: false,
                unfinished: true,
                logged: true,
            };
            state.insert(&Place { folder, name }, version, at);
        }
        Line::Closed { blob, size, at } => {
            state.resize(&blob, size, at);
            state.finished(&blob, true);
        }
        Line::Gone { blob } => {
            if let Some(place) = state.place_of(&blob) {
                state.take(&place);
            }
        }
        Line::Emptied { folder } => state.emptied(&folder),
    }
}
