//! The files of a set: opened without following anything, hashed, and known again.

use std::io::{self, Read as _};

use rustix::fs::OFlags;
use sha2::Digest as _;

use super::marks;
use super::take::Begun;
use crate::model::ids::Digest;
use crate::store::spool::{Folder, is_lone_file, is_unfinished};

/// A plain file with one name, opened; none for anything else.
pub(super) fn open_plain(folder: &Folder, name: &str) -> io::Result<Option<std::fs::File>> {
    // Looked at first: opening a device or FIFO can have effects of its own.
    match folder.stat(name)? {
        None => return Err(io::ErrorKind::NotFound.into()),
        Some(stat) if !is_lone_file(&stat) => return Ok(None),
        // As if it were not there yet.
        Some(stat) if is_unfinished(&stat) => return Err(io::ErrorKind::NotFound.into()),
        Some(_) => {}
    }
    let file = folder.open_file(name, OFlags::RDONLY)?;
    Ok(is_lone_file(&rustix::fs::fstat(&file)?).then_some(file))
}

/// Whether this is still the file that was taken: by its marks, or by its hash where none were kept.
pub(super) fn is_taken(folder: &Folder, name: &str, begun: &Begun, max: u64) -> io::Result<bool> {
    let Some(stat) = folder.stat(name)?.filter(is_lone_file) else { return Ok(false) };
    if let Some(taken) = begun.marks.get(name) {
        return Ok(marks(&stat) == *taken);
    }
    let mut buffer = vec![0; 256 * 1024];
    let found = hash_file(folder, name, max, &mut buffer)?;
    Ok(found.map(|(digest, _)| digest) == begun.files.get(name).copied())
}

/// Threads that hash the files of a set.
const HASHERS_MAX: usize = 4;

/// A file's hash and [`marks`].
pub(super) type Hashed = (Digest, [u64; 4]);

/// The hashes of these, in their order; none for what is not there or no plain file.
pub(super) fn hash_files(
    folder: &Folder,
    names: &[&str],
    max: u64,
    beat: &(dyn Fn() + Sync),
) -> io::Result<Vec<Option<Hashed>>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(HASHERS_MAX);
    let each = names.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = names
            .chunks(each)
            .map(|names| {
                scope.spawn(move || {
                    let mut buffer = vec![0; 256 * 1024];
                    let hash = |name: &&str| {
                        beat();
                        hash_file(folder, name, max, &mut buffer)
                    };
                    names.iter().map(hash).collect()
                })
            })
            .collect();
        let mut digests = Vec::with_capacity(names.len());
        for part in parts {
            let part: io::Result<Vec<_>> =
                part.join().unwrap_or_else(|_| Err(io::Error::other("a thread that hashes panicked")));
            digests.extend(part?);
        }
        Ok(digests)
    })
}

fn hash_file(folder: &Folder, name: &str, max: u64, buffer: &mut [u8]) -> io::Result<Option<Hashed>> {
    let file = match open_plain(folder, name) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut hash = sha2::Sha256::new();
    let known = marks(&rustix::fs::fstat(&file)?);
    // One byte more than is allowed is enough to be refused later.
    let mut file = file.take(max.saturating_add(1));
    loop {
        let read = file.read(buffer)?;
        if read == 0 {
            return Ok(Some((Digest(hash.finalize().into()), known)));
        }
        hash.update(&buffer[..read]);
    }
}
