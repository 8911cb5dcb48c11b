//! What the SFTP door asks of whoever stands behind it. The door translates packets into these calls and decides
//! nothing itself; everything here is blocking and is called on threads made for that.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::ssh_key;

use super::enrol::Enrolled;
use crate::model::finding::Language;
use crate::model::ids::AccountId;

/// Why a request was not done: a status for the protocol and words for the person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// SFTP v3 status.
    pub status: Status,
    /// ASCII code that leads the text and can be searched and read out, such as `SIG-WRONG-KEY`.
    pub code: std::borrow::Cow<'static, str>,
    /// What was wrong and what to do, in the account's language; one line.
    pub text: String,
    /// Also written to the channel's stderr, which stock `sftp` shows: set for refusals of a submission, not for
    /// everyday answers such as "no such file".
    pub loud: bool,
}

/// Status codes of draft-ietf-secsh-filexfer-02 section 7 that todoke answers with, other than OK and EOF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// `SSH_FX_NO_SUCH_FILE`
    NoSuchFile = 2,
    /// `SSH_FX_PERMISSION_DENIED`
    PermissionDenied = 3,
    /// `SSH_FX_FAILURE`
    Failure = 4,
    /// `SSH_FX_BAD_MESSAGE`
    BadMessage = 5,
    /// `SSH_FX_OP_UNSUPPORTED`
    Unsupported = 8,
}

/// A path as a client wrote it, made absolute and without `.`, `..` and empty parts: valid UTF-8, NFC, no control
/// characters. The root is the empty list.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct VirtualPath(pub Vec<String>);

/// A file's or folder's attributes as far as todoke shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// A folder (else a regular file; there is nothing else to see).
    pub folder: bool,
    /// Bytes.
    pub size: u64,
    /// Permission bits without the type, such as 0o440.
    pub mode: u32,
    /// Seconds since 1970.
    pub modified: u64,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name within the folder.
    pub name: String,
    /// What it is.
    pub attributes: Attributes,
}

/// What a client asked to change with `setstat` or at open; absent means untouched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetAttributes {
    /// Truncate or extend to this size.
    pub size: Option<u64>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Modification time, seconds since 1970.
    pub modified: Option<u64>,
}

/// Flags of `SSH_FXP_OPEN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "these are the protocol's flags, one for one")]
pub struct OpenFlags {
    /// `SSH_FXF_READ`
    pub read: bool,
    /// `SSH_FXF_WRITE`
    pub write: bool,
    /// `SSH_FXF_APPEND`
    pub append: bool,
    /// `SSH_FXF_CREAT`
    pub create: bool,
    /// `SSH_FXF_TRUNC`
    pub truncate: bool,
    /// `SSH_FXF_EXCL`
    pub exclusive: bool,
}

/// An answer that may come later. Other requests on the channel go on meanwhile; requests on the same path wait.
pub enum Answer {
    /// Known now.
    Now(Result<(), Fault>),
    /// Known when the future ends. Dropping it (the client went away) cancels nothing of the work behind it.
    Later(Pin<Box<dyn Future<Output = Result<(), Fault>> + Send>>),
}

/// An open file. The calls for one handle come one at a time and in the order the client sent them.
pub trait OpenFile: Send {
    /// Reads up to `length` bytes at `offset` onto the end of `into`; adds nothing at the end of the file.
    fn read_at(&mut self, offset: u64, length: usize, into: &mut Vec<u8>) -> Result<(), Fault>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Fault>;
    /// `SSH_FXP_FSTAT`
    fn stat(&mut self) -> Result<Attributes, Fault>;
    /// `SSH_FXP_FSETSTAT`
    fn set_stat(&mut self, to: SetAttributes) -> Result<(), Fault>;
    /// `fsync@openssh.com`
    fn sync(&mut self) -> Result<(), Fault>;
    /// The client closed it. Not called when the session ends first: then it is dropped, which must leave what was
    /// written so far as an unfinished file.
    fn close(self: Box<Self>) -> Answer;
}

/// A folder being listed; yields entries in any order, each once. Must not hold the whole listing in memory where it
/// can be long: an outbox may have 50,000 documents.
pub type Listing = Box<dyn Iterator<Item = Result<Entry, Fault>> + Send>;

/// `statvfs@openssh.com`, in bytes and files: what this account may still use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub bytes_total: u64,
    /// Bytes free.
    pub bytes_free: u64,
    /// Files in all.
    pub files_total: u64,
    /// Files free.
    pub files_free: u64,
}

/// The tree of one session of one account. Shared by the channels of one SSH connection.
pub trait Tree: Send + Sync {
    /// `SSH_FXP_STAT`, `SSH_FXP_LSTAT` (there are no links).
    fn stat(&self, path: &VirtualPath) -> Result<Attributes, Fault>;
    /// `SSH_FXP_OPENDIR`
    fn list(&self, path: &VirtualPath) -> Result<Listing, Fault>;
    /// `SSH_FXP_OPEN`
    fn open(
        &self,
        path: &VirtualPath,
        flags: OpenFlags,
        attributes: SetAttributes,
    ) -> Result<Box<dyn OpenFile>, Fault>;
    /// `SSH_FXP_SETSTAT`
    fn set_stat(&self, path: &VirtualPath, to: SetAttributes) -> Result<(), Fault>;
    /// `SSH_FXP_REMOVE`
    fn remove(&self, path: &VirtualPath) -> Result<(), Fault>;
    /// `SSH_FXP_MKDIR`
    fn make_folder(&self, path: &VirtualPath) -> Result<(), Fault>;
    /// `SSH_FXP_RMDIR`
    fn remove_folder(&self, path: &VirtualPath) -> Result<(), Fault>;
    /// `SSH_FXP_RENAME` (`replace` false) and `posix-rename@openssh.com` (`replace` true).
    fn rename(&self, from: &VirtualPath, to: &VirtualPath, replace: bool) -> Answer;
    /// `statvfs@openssh.com`
    fn space(&self) -> Result<Space, Fault>;
    /// The language of the texts that the door itself makes.
    fn language(&self) -> Language;
}

/// What a client holds the key of: the first factor of a login.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A key by itself.
    Key(ssh_key::PublicKey),
    /// A key in a certificate, of which the SSH library has looked at its period and at who signed it, and at nothing else.
    Certificate(Box<ssh_key::Certificate>),
}

impl Credential {
    /// The key that is held.
    pub fn key(&self) -> ssh_key::PublicKey {
        match self {
            Self::Key(key) => key.clone(),
            Self::Certificate(certificate) => ssh_key::PublicKey::new(certificate.public_key().clone(), ""),
        }
    }
}

/// What becomes of a credential whose possession was proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It may enter.
    Welcome,
    /// It may not, and whoever holds it may be told why: it is known as this account's. The login succeeds as far as SSH goes, so
    /// that the words reach a person, and goes no further.
    Told(Fault),
    /// It may not; like any other that is refused.
    Refused,
}

/// The connection that a session came over, as far as a gate needs it.
pub trait Link: Send + Sync {
    /// Ends it, with the words that another login took its place.
    fn evict(&self);
    /// Ends it, with the words that the certificate it came by was revoked.
    fn revoked(&self);
    /// Ends it, with the words that its account, key or certificate may not be used any more.
    fn stopped(&self);
    /// Since when nothing came over it.
    fn idle(&self) -> Duration;
}

/// What is asked for after the first factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Second {
    /// Nothing.
    Enough,
    /// A password, in this language.
    Password(Language),
    /// Nothing would do now; shown to the client, who proved the first factor.
    Refused(Fault),
}

/// What a password is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordAnswer {
    /// It is right; or it was changed.
    Right,
    /// It is right, but all it is good for is to choose another.
    MustChange(Fault),
    /// It is wrong, or the new one may not be; another may be tried.
    Wrong(Fault),
    /// No password would do now.
    Refused(Fault),
}

fn no_passwords() -> Fault {
    let text = "パスワードは使いません。 / Passwords are not used.".to_owned();
    Fault { status: Status::PermissionDenied, code: "LOGIN-KEYS-ONLY".into(), text, loud: true }
}

/// Who may come in. Blocking. Without words of its own, a gate asks for keys alone.
pub trait Gate: Send + Sync {
    /// Is it worth while to have this key's possession proven for this account? Called when a key is offered (a probe), by itself
    /// or in a certificate: the two cannot be told apart yet. Refusals are never told apart for the client; the implementation
    /// logs the reason.
    fn may_offer(&self, account: &str, key: &ssh_key::PublicKey, from: SocketAddr) -> bool;
    /// May this log in as this account, now that possession of the key was proven?
    fn may_enter(&self, account: &str, credential: &Credential, from: SocketAddr) -> Admission;
    /// What is asked for after this key's possession was proven.
    fn after_key(&self, _account: &str, _credential: &Credential, _from: SocketAddr) -> Second {
        Second::Enough
    }
    /// A password came without a proven key before it.
    fn password_without_key(&self, _account: &str, _from: SocketAddr) {}
    /// Whether this is the account's password, its key's possession being proven.
    fn password(
        &self,
        _account: &str,
        _credential: &Credential,
        _given: &str,
        _from: SocketAddr,
    ) -> PasswordAnswer {
        PasswordAnswer::Refused(no_passwords())
    }
    /// Changes the account's password, its key's possession being proven.
    fn change_password(
        &self,
        _account: &str,
        _credential: &Credential,
        _old: &str,
        _new: &str,
        _from: SocketAddr,
    ) -> PasswordAnswer {
        PasswordAnswer::Refused(no_passwords())
    }
    /// A password alone, of an enrolment login.
    fn enrolment(&self, _login: &str, _given: &str, _from: SocketAddr) -> Enrolled {
        Enrolled::Not
    }
    /// Begins a session after the key's possession was proven, and the password (`with_password`) where it is asked for:
    /// takes the account's session slot (K14) and makes its tree. `session` is unique in this process and names the
    /// session in logs. A refusal is shown to the client.
    fn enter(
        &self,
        account: &str,
        credential: &Credential,
        with_password: bool,
        from: SocketAddr,
        session: u64,
        link: Arc<dyn Link>,
    ) -> Result<Entered, Fault>;
}

/// A session that began. Dropped when the connection is gone, which frees the slot and drops claimed names.
pub struct Entered {
    /// Who it is.
    pub account: AccountId,
    /// What it sees.
    pub tree: Arc<dyn Tree>,
    /// Lines for the person, shown once when the session begins.
    pub welcome: Vec<String>,
    /// Ends the session's bookkeeping when dropped.
    pub guard: Box<dyn Send + Sync>,
}
