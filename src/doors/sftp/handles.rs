//! What a channel has open. A handle is a number that counts up and is never given twice, so that a late request for
//! a closed file cannot reach another one.

use std::collections::HashMap;

use super::port::{Entry, Fault, Listing, OpenFile, VirtualPath};

/// Something open.
pub(crate) enum Open {
    /// A file, by whatever path it was opened.
    File { path: VirtualPath, file: Box<dyn OpenFile> },
    /// A folder being listed. `next` was read from it but did not go into the last reply.
    Folder { listing: Listing, next: Option<Result<Entry, Fault>> },
}

/// The handles of one channel.
#[derive(Default)]
pub(crate) struct Handles {
    open: HashMap<u64, Open>,
    last: u64,
}

impl Handles {
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Opens; the name of the handle goes to the client.
    pub(crate) fn add(&mut self, open: Open) -> [u8; 8] {
        self.last += 1;
        self.open.insert(self.last, open);
        self.last.to_be_bytes()
    }

    pub(crate) fn get(&mut self, handle: &[u8]) -> Option<&mut Open> {
        self.open.get_mut(&number(handle)?)
    }

    pub(crate) fn remove(&mut self, handle: &[u8]) -> Option<Open> {
        let open = self.open.remove(&number(handle)?);
        if self.open.is_empty() {
            self.open.shrink_to(8);
        }
        open
    }
}

fn number(handle: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(handle.try_into().ok()?))
}
