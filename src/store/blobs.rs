//! Immutable bytes under server-chosen names. Local files today ([`super::local_blobs`]); S3-compatible object storage
//! later. Both must pass `store::blobs_suite`. All calls block.

use std::io;

use crate::model::ids::BlobId;
use crate::model::time::Timestamp;

/// A blob that is being written, or that is not claimed yet and may be continued (`reput`).
pub trait BlobWriter: Send {
    /// Its name.
    fn id(&self) -> &BlobId;
    /// Writes all of `bytes` at `offset`; a gap reads as zeros.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Truncates or extends to `size`.
    fn set_size(&mut self, size: u64) -> io::Result<()>;
    /// Bytes so far.
    fn size(&self) -> io::Result<u64>;
    /// Makes what was written so far durable (`fsync@openssh.com`).
    fn sync(&mut self) -> io::Result<()>;
}

/// A blob that is read.
pub trait BlobReader: Send {
    /// Bytes.
    fn size(&self) -> u64;
    /// Reads up to `length` bytes at `offset` onto the end of `into`; adds nothing at the end.
    fn read_at(&self, offset: u64, length: usize, into: &mut Vec<u8>) -> io::Result<()>;
    /// As a stream from the start, whatever was read before.
    fn stream(&self) -> Box<dyn io::Read + Send + '_>;
}

/// Where blobs lie. See the module's text.
pub trait Blobs: Send + Sync {
    /// A new, empty blob, open for writing. Not durable until [`Blobs::sync`].
    fn create(&self, now: Timestamp) -> io::Result<Box<dyn BlobWriter>>;
    /// Continues an unclaimed blob.
    fn reopen(&self, id: &BlobId) -> io::Result<Box<dyn BlobWriter>>;
    /// A small blob at once. Not durable until [`Blobs::sync`].
    fn put(&self, bytes: &[u8], now: Timestamp) -> io::Result<BlobId>;
    /// Makes these durable, bytes and names (file and folder fsync, or something stronger that is shared by all who ask at
    /// the same time). From then on they are immutable: nothing opens them for writing again.
    fn sync(&self, ids: &[BlobId]) -> io::Result<()>;
    /// Whether [`Blobs::sync`] makes durable as well whatever was written in this folder before it was called.
    fn sync_covers(&self, folder: &std::path::Path) -> io::Result<bool> {
        let _ = folder;
        Ok(false)
    }
    /// Opens one for reading. `NotFound` when it is gone.
    fn open(&self, id: &BlobId) -> io::Result<Box<dyn BlobReader>>;
    /// All of a small one, at most `max` bytes (`FileTooLarge` beyond).
    fn get(&self, id: &BlobId, max: u64) -> io::Result<Vec<u8>>;
    /// Makes this blob's bytes appear as `name` in the folder `into`, readable (never writable) by owner and group, owned by
    /// `group` if given. A link where the mounts allow and policy does not ask for a copy; neither the
    /// bytes of a copy nor the name is durable until the caller has made the folder's file system so (`syncfs`, once for a
    /// batch). Replaces nothing: `AlreadyExists`.
    fn export(
        &self,
        id: &BlobId,
        into: &rustix::fd::OwnedFd,
        name: &str,
        group: Option<u32>,
    ) -> io::Result<()>;
    /// Makes the bytes of `from` those of `lost` as well, which is gone; durable when it returns. `AlreadyExists` if it is
    /// there after all.
    fn restore(&self, lost: &BlobId, from: &BlobId) -> io::Result<()>;
    /// Removes these, durably. Those that are gone already are fine.
    fn remove(&self, ids: &[BlobId]) -> io::Result<()>;
    /// Removes what nothing refers to any more without waiting for the disk, small ones not before the next
    /// [`Blobs::tidy`]: one that a crash leaves is an orphan, and the sweep takes it. Those that are gone already are fine.
    fn discard(&self, ids: &[BlobId]) -> io::Result<()> {
        self.remove(ids)
    }
    /// Removes what was discarded and is still there; gives how many.
    fn tidy(&self) -> io::Result<usize> {
        Ok(0)
    }
    /// All there are, in any order: for the sweep of orphans and for reconciliation only.
    fn scan(&self) -> Box<dyn Iterator<Item = io::Result<BlobId>> + Send + '_>;
    /// Names of what lies among the blobs and is none, at most so many: for reconciliation only. No sweep takes them.
    fn strays(&self, _max: usize) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }
    /// Bytes free for new blobs.
    fn free_bytes(&self) -> io::Result<u64>;
}
