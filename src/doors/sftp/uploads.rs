//! A file being written into the drop-box, and the hand-over of the set that its close completes.

use std::sync::Arc;

use super::office::{OfficeParts, OfficeTree};
use super::port::{Answer, Attributes, Fault, OpenFile, SetAttributes, Status};
use super::words::Words;
use crate::model::ids::AccountId;
use crate::model::metric;
use crate::model::time::Timestamp;
use crate::signed::secrets::{self, HEAD_BYTES};
use crate::store::blobs::BlobWriter;
use crate::store::dropbox::{Begin, ClaimedSet, Dropbox, DropboxError, Login, Place, Upload};
use crate::store::handover::{Pending, Reply};

/// What an upload needs of its session.
#[derive(Clone)]
pub(super) struct Sender {
    parts: Arc<OfficeParts>,
    account: AccountId,
    dropbox: Arc<Dropbox>,
    login: Login,
    words: Words,
}

impl OfficeTree {
    fn sender(&self) -> Sender {
        Sender {
            parts: Arc::clone(&self.parts),
            account: self.account.id.clone(),
            dropbox: Arc::clone(&self.dropbox),
            login: self.login,
            words: self.words,
        }
    }

    pub(super) fn hand_over(&self, set: ClaimedSet) -> Answer {
        self.sender().hand_over(set)
    }
}

impl Sender {
    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// Puts a complete set on the handover; the answer comes when intake has durably received it.
    fn hand_over(&self, set: ClaimedSet) -> Answer {
        let now = self.now();
        let (tell, told) = tokio::sync::oneshot::channel();
        let pending = Pending {
            set,
            dropbox: Arc::clone(&self.dropbox),
            received_at: now,
            deadline: now.plus(self.parts.verdict_wait),
            reply: Box::new(move |reply| {
                // The client may have gone; the work is done all the same.
                let _ = tell.send(reply);
            }),
        };
        let words = self.words;
        if let Err(pending) = self.parts.handover.put(pending) {
            let again = pending.set.signature_name();
            return Answer::Now(Err(match self.dropbox.give_back(pending.set) {
                // A newer one waits for the next close as this one does.
                Ok(Some(newer)) => {
                    self.dropbox.give_back(newer).map_or_else(|e| words.io(&e), |_| words.busy(again))
                }
                Ok(None) => words.busy(again),
                Err(e) => words.io(&e),
            }));
        }
        Answer::Later(Box::pin(async move {
            match told.await {
                Ok(Reply::Fine(_)) => Ok(()),
                Ok(Reply::Refused(said)) => Err(Fault {
                    status: Status::Failure,
                    code: said.code.into(),
                    text: said.text.get(words.0).to_owned(),
                    loud: true,
                }),
                // Intake dropped the set without a word: it stopped. The files are still there.
                Err(_) => Err(words.stopping()),
            }
        }))
    }

    /// Throws a private key away and says so to both sides.
    fn exposed(&self, place: &Place, upload: &Upload, kind: secrets::PrivateKeyKind) -> Fault {
        if let Err(error) = self.dropbox.discard(upload) {
            tracing::error!(account = %self.account, %error, "a file that begins like a private key could not be removed");
        }
        (self.parts.alarm)(
            "KEY-EXPOSED",
            format!(
                "account {} sent a file that begins like a private key ({}); it was not stored. The key must be taken as exposed: have the office replace it, then `todoke account key remove`.",
                self.account,
                kind.name()
            ),
        );
        self.words.key_exposed(&place.name)
    }
}

/// An open upload. Dropped without a close, it leaves an unfinished file that can be continued.
pub(super) struct UploadFile {
    sender: Sender,
    place: Place,
    upload: Option<Upload>,
    writer: Box<dyn BlobWriter>,
    size: u64,
    append: bool,
    /// The first bytes came in more than one piece: looked at again at the close.
    head_in_pieces: bool,
    /// Bytes written since free disk was last looked at.
    unwatched: u64,
    /// A write did not reach the disk: the file is not what its size says, and a close does not make it whole.
    failed: Option<Fault>,
}

/// Free disk is looked at again after so many bytes.
const WATCH_EVERY: u64 = 16 << 20;

impl UploadFile {
    pub(super) fn begin(
        tree: &OfficeTree,
        place: Place,
        how: Begin,
        append: bool,
    ) -> Result<Box<Self>, Fault> {
        let sender = tree.sender();
        let words = sender.words;
        sender.disk()?;
        let now = sender.now();
        let (upload, writer) =
            sender.dropbox.begin(&place, how, sender.login, now).map_err(|e| words.dropbox(&e))?;
        let size = writer.size().map_err(|e| words.io(&e))?;
        Ok(Box::new(Self {
            sender,
            place,
            upload: Some(upload),
            writer,
            size,
            append,
            head_in_pieces: size > 0,
            unwatched: 0,
            failed: None,
        }))
    }

    /// The first bytes came in more than one piece: together they may begin like a private key.
    fn look_at_head(&mut self) -> Result<(), Fault> {
        let Some(upload) = &self.upload else { return Ok(()) };
        let words = self.sender.words;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        let blobs = &self.sender.parts.blobs;
        match blobs.open(&upload.blob).and_then(|blob| blob.read_at(0, HEAD_BYTES, &mut head)) {
            Ok(()) => {}
            // It lost its name meanwhile, and with it its bytes.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(words.io(&e)),
        }
        secrets::private_key(&head).map_or(Ok(()), |kind| Err(self.exposed(kind)))
    }

    /// Throws away what was written: it is a private key.
    fn exposed(&mut self, kind: secrets::PrivateKeyKind) -> Fault {
        match self.upload.take() {
            Some(upload) => self.sender.exposed(&self.place, &upload, kind),
            None => self.sender.words.key_exposed(&self.place.name),
        }
    }

    /// Remembers that the disk failed: nothing more is written, and the close does not make the file whole.
    fn fails(&mut self, error: &std::io::Error) -> Fault {
        let fault = self.sender.words.io(error);
        self.failed.get_or_insert(fault).clone()
    }

    /// What counts as there ends where the write failed: a `reput` goes on from there, over no hole.
    fn cut_back(&mut self, to: u64) {
        if let Err(error) = self.writer.set_size(to) {
            tracing::warn!(account = %self.sender.account, %error, "a failed upload could not be cut back");
        }
        self.size = to;
        if let Some(upload) = &self.upload {
            self.sender.dropbox.resized(upload, to, self.sender.now());
        }
    }

    fn upload(&self) -> Result<&Upload, Fault> {
        self.upload.as_ref().ok_or_else(|| self.sender.words.dropbox(&DropboxError::Replaced))
    }
}

impl Sender {
    fn disk(&self) -> Result<(), Fault> {
        let free = self.parts.blobs.free_bytes().map_err(|e| self.words.io(&e))?;
        let (_, _, limits) = self.dropbox.usage();
        if free < limits.free_bytes_min {
            (self.parts.alarm)(
                "DISK-LOW",
                format!(
                    "{free} bytes free, less than free_bytes_min ({}): uploads are refused",
                    limits.free_bytes_min
                ),
            );
            return Err(self.words.disk_low());
        }
        Ok(())
    }
}

impl OpenFile for UploadFile {
    fn read_at(&mut self, _offset: u64, _length: usize, _into: &mut Vec<u8>) -> Result<(), Fault> {
        Err(self.sender.words.no_read_back())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        let words = self.sender.words;
        if let Some(fault) = &self.failed {
            return Err(fault.clone());
        }
        let offset = if self.append { self.size } else { offset };
        if offset == 0
            && let Some(kind) = secrets::private_key(bytes)
        {
            return Err(self.exposed(kind));
        }
        if offset < HEAD_BYTES as u64 && (offset > 0 || self.size > 0) {
            self.head_in_pieces = true;
        }
        self.unwatched += bytes.len() as u64;
        if self.unwatched >= WATCH_EVERY {
            self.sender.disk()?;
            self.unwatched = 0;
        }
        let end = offset.checked_add(bytes.len() as u64).ok_or_else(|| words.bad_offset())?;
        let now = self.sender.now();
        self.sender.dropbox.grow(self.upload()?, end, now).map_err(|e| words.dropbox(&e))?;
        if let Err(e) = self.writer.write_at(offset, bytes) {
            self.cut_back(self.size.min(offset));
            return Err(self.fails(&e));
        }
        self.size = self.size.max(end);
        if offset < HEAD_BYTES as u64 && self.head_in_pieces {
            self.look_at_head()?;
        }
        Ok(())
    }

    fn stat(&mut self) -> Result<Attributes, Fault> {
        let modified = self.sender.now().unix_seconds();
        Ok(Attributes { folder: false, size: self.size, mode: 0o200, modified })
    }

    fn set_stat(&mut self, to: SetAttributes) -> Result<(), Fault> {
        let Some(size) = to.size else { return Ok(()) };
        let words = self.sender.words;
        let now = self.sender.now();
        if size != self.size {
            self.sender.dropbox.grow(self.upload()?, size, now).map_err(|e| words.dropbox(&e))?;
        }
        if let Err(e) = self.writer.set_size(size) {
            self.cut_back(self.size.min(size));
            return Err(self.fails(&e));
        }
        self.size = size;
        self.head_in_pieces = true;
        self.sender.dropbox.resized(self.upload()?, size, now);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Fault> {
        let synced = self.writer.sync();
        synced.map_err(|e| self.fails(&e))
    }

    fn close(mut self: Box<Self>) -> Answer {
        let words = self.sender.words;
        if self.head_in_pieces
            && let Err(fault) = self.look_at_head()
        {
            return Answer::Now(Err(fault));
        }
        let Some(upload) = self.upload.take() else {
            // A private key: refused at the write, and there is nothing left to close.
            return Answer::Now(Ok(()));
        };
        if let Some(fault) = self.failed.take() {
            self.sender.dropbox.abandon(&upload);
            return Answer::Now(Err(fault));
        }
        metrics::counter!(metric::UPLOAD_BYTES).increment(self.size);
        #[allow(clippy::cast_precision_loss, reason = "a figure for a graph")]
        metrics::histogram!(metric::UPLOAD_FILE_BYTES).record(self.size as f64);
        match self.sender.dropbox.close(upload, self.sender.login, self.sender.now()) {
            Ok(None) => Answer::Now(Ok(())),
            Ok(Some(set)) => self.sender.hand_over(set),
            Err(e) => Answer::Now(Err(words.dropbox(&e))),
        }
    }
}

impl Drop for UploadFile {
    fn drop(&mut self) {
        if let Some(upload) = &self.upload {
            self.sender.dropbox.abandon(upload);
        }
    }
}
