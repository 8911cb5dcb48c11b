//! What the SFTP door says, in the account's language: what was wrong and what to do next.

use std::borrow::Cow;
use std::io;

use super::port::{Fault, Status};
use crate::model::finding::{Language, Text};
use crate::signed::names::{FileName, NameError};
use crate::store::dropbox::{DropboxError, MANIFEST, SIGNATURE};
use crate::store::ledger::LedgerError;
use crate::store::receipts::ReceiptsError;
use crate::work::ports::self_service::PUT_NAMES;

/// Speaks one language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Words(pub(super) Language);

impl Words {
    fn fault(
        self,
        status: Status,
        code: impl Into<Cow<'static, str>>,
        loud: bool,
        ja: impl Into<String>,
        en: impl Into<String>,
    ) -> Fault {
        let text = match self.0 {
            Language::Ja => ja.into(),
            Language::En => en.into(),
        };
        Fault { status, code: code.into(), text, loud }
    }

    pub(super) fn missing(self) -> Fault {
        self.fault(
            Status::NoSuchFile,
            "FILE-MISSING",
            false,
            "ファイルがありません。",
            "There is no such file.",
        )
    }

    /// Of a document that went while it was being read; loud the first time.
    pub(super) fn taken_back(self, loud: bool) -> Fault {
        self.fault(
            Status::NoSuchFile,
            "DOCUMENT-GONE",
            loud,
            "この文書は取り消されたか、期限が過ぎて削除されました。受信した分は破棄してください。",
            "This document was taken back, or its days are over. Destroy what you received of it.",
        )
    }

    pub(super) fn exists(self) -> Fault {
        self.fault(
            Status::Failure,
            "FILE-EXISTS",
            false,
            "同じ名前のものが既にあります。",
            "The name is taken.",
        )
    }

    pub(super) fn is_folder(self) -> Fault {
        self.fault(
            Status::Failure,
            "FOLDER",
            false,
            "フォルダーです。ファイル名を指定してください。",
            "This is a folder; name a file.",
        )
    }

    pub(super) fn not_a_folder(self) -> Fault {
        self.fault(Status::Failure, "FILE", false, "フォルダーではありません。", "This is not a folder.")
    }

    pub(super) fn too_deep(self) -> Fault {
        self.fault(
            Status::PermissionDenied,
            "SUBMIT-DEPTH",
            true,
            "/submit の中のフォルダーは 1 段までです。送信 1 件につき 1 つのフォルダーに、ファイルを直接置いてください。",
            "Folders in /submit are one level deep: one folder for each submission, with its files directly in it.",
        )
    }

    pub(super) fn read_only(self) -> Fault {
        self.fault(
            Status::PermissionDenied,
            "READ-ONLY",
            true,
            "ここには書き込めません。送るファイルは /submit に置いてください。",
            "This place cannot be written to. Put what you send into /submit.",
        )
    }

    pub(super) fn outbox_read_only(self) -> Fault {
        self.fault(
            Status::PermissionDenied,
            "OUTBOX-READ-ONLY",
            true,
            "/outbox は取り出し専用です。文書は保管期限が来ると自動で削除されます。送るファイルは /submit に置いてください。",
            "/outbox is for fetching only; documents go by themselves when their days are over. Put what you send into /submit.",
        )
    }

    pub(super) fn no_read_back(self) -> Fault {
        self.fault(
            Status::PermissionDenied,
            "SUBMIT-NO-READ-BACK",
            true,
            "送信したファイルは読み戻せません。結果は /receipts、履歴は /history/sent.csv をご覧ください。",
            "What was sent cannot be read back. See /receipts for results and /history/sent.csv for the history.",
        )
    }

    pub(super) fn enrol_names(self) -> Fault {
        self.fault(
            Status::PermissionDenied,
            "ENROL-NAME",
            true,
            "ここに置けるのは /enrol/setup.toml と、更新のときの /enrol/renew.toml だけです。ほかのファイルは取り出し専用です。",
            "Only /enrol/setup.toml and, of a renewal, /enrol/renew.toml may be put here; other files are for fetching.",
        )
    }

    pub(super) fn account_names(self) -> Fault {
        let names = PUT_NAMES.join(", ");
        self.fault(
            Status::PermissionDenied,
            "ACCOUNT-NAME",
            true,
            format!("/account に置けるのは {names} だけです。ほかのファイルは取り出し専用で、削除や変更はできません。"),
            format!("Only {names} can be put into /account. Other files there are for fetching: they can be neither removed nor changed."),
        )
    }

    /// What somebody further in said, in both languages.
    pub(super) fn refused(self, code: &'static str, text: &Text) -> Fault {
        self.fault(Status::Failure, code, true, text.ja.as_str(), text.en.as_str())
    }

    /// A fault of the gateway's own; the chain goes to the log.
    pub(super) fn failed(self, chain: &str) -> Fault {
        let id = crate::model::incident::id();
        tracing::error!(incident = %id, error = chain, "a request about an account failed");
        self.internal(&id)
    }

    pub(super) fn key_exposed(self, name: &str) -> Fault {
        self.fault(
            Status::PermissionDenied,
            "KEY-EXPOSED",
            true,
            format!("「{name}」は秘密鍵のようです。保存せずに破棄し、運用担当へ知らせました。この鍵は漏れたものとして、すぐに新しい鍵へ取り替えてください。鍵は送信用フォルダーの外に置いてください。"),
            format!("{name:?} looks like a private key. It was thrown away, not stored, and the operator was told. Take this key as exposed and replace it now; keep keys outside the folder that is sent."),
        )
    }

    pub(super) fn disk_low(self) -> Fault {
        self.fault(
            Status::Failure,
            "DISK-LOW",
            true,
            "ただいま受付を停止しています(空き容量不足)。しばらくしてから送り直してください。",
            "Nothing can be taken in just now (disk space). Try again later.",
        )
    }

    /// `again` is the signature that the sender used.
    pub(super) fn busy(self, again: &str) -> Fault {
        self.fault(
            Status::Failure,
            "SUBMIT-BUSY",
            true,
            format!(
                "ただいま混み合っています。ファイルは /submit に残っています。数分後に {again} だけを送り直してください。"
            ),
            format!(
                "Too much is waiting just now. The files are still in /submit: send {again} again in a few minutes."
            ),
        )
    }

    pub(super) fn stopping(self) -> Fault {
        self.fault(
            Status::Failure,
            "STOPPING",
            true,
            "サーバーが停止するところです。受け付けたかどうかは /receipts/by-manifest で確かめ、なければ送り直してください。",
            "The server is stopping. Look into /receipts/by-manifest whether it was received; if not, send it again.",
        )
    }

    pub(super) fn bad_offset(self) -> Fault {
        self.fault(
            Status::BadMessage,
            "OFFSET",
            false,
            "書き込み位置が不正です。",
            "The offset is out of range.",
        )
    }

    /// What the disk or the system refused; the operator's log has the reason.
    pub(super) fn io(self, error: &io::Error) -> Fault {
        if error.kind() == io::ErrorKind::NotFound {
            return self.missing();
        }
        if crate::store::durable::is_full(error) {
            return self.disk_low();
        }
        let id = crate::model::incident::id();
        tracing::error!(incident = %id, %error, "a request failed on disk");
        self.internal(&id)
    }

    fn internal(self, id: &str) -> Fault {
        self.fault(
            Status::Failure,
            "INTERNAL",
            true,
            format!("サーバー側の問題で処理できませんでした(番号 {id})。しばらくしてから送り直し、続くときはこの番号を運用担当へお知らせください。"),
            format!("The server failed ({id}). Try again later; if it goes on, tell the operator this number."),
        )
    }

    pub(super) fn ledger(self, error: &LedgerError) -> Fault {
        if matches!(error, LedgerError::NotWritten(_)) {
            return self.disk_low();
        }
        let id = crate::model::incident::id();
        tracing::error!(incident = %id, %error, "a request failed in the ledger");
        self.internal(&id)
    }

    pub(super) fn receipts(self, error: &ReceiptsError) -> Fault {
        match error {
            ReceiptsError::Missing => self.fault(
                Status::NoSuchFile,
                "RECEIPT-MISSING",
                false,
                "受付結果はまだありません。ファイルがすべて届いているかを /submit で確かめてください。",
                "There is no such receipt (yet). See in /submit whether all files have arrived.",
            ),
            ReceiptsError::Ledger(e) => self.ledger(e),
            ReceiptsError::Card { what, source } => {
                let id = crate::model::incident::id();
                tracing::error!(incident = %id, what, error = %source, "a card cannot be read");
                self.internal(&id)
            }
        }
    }

    pub(super) fn dropbox(self, error: &DropboxError) -> Fault {
        match error {
            DropboxError::Missing => self.missing(),
            DropboxError::Exists => self.exists(),
            DropboxError::NotEmpty => self.fault(
                Status::Failure,
                "FOLDER-NOT-EMPTY",
                false,
                "フォルダーが空ではありません。",
                "The folder is not empty.",
            ),
            DropboxError::Replaced => self.fault(
                Status::Failure,
                "FILE-REPLACED",
                true,
                "書き込み中に、別の接続が同じファイルを置き換えたか削除しました。送り直してください。",
                "Another connection replaced or removed this file while it was being written. Send it again.",
            ),
            DropboxError::Full { bound, max } => self.full(bound, *max),
            DropboxError::Manifest(e) => {
                let text = e.text();
                self.fault(Status::Failure, e.code(), true, text.ja, text.en)
            }
            DropboxError::Extra(names) => {
                let names = names.join(", ");
                self.fault(
                    Status::Failure,
                    "SET-EXTRA-FILES",
                    true,
                    format!("{MANIFEST} に書かれていないファイルがあります: {names}。{MANIFEST} に加えて署名し直すか、そのファイルを /submit から削除してから {SIGNATURE} を送り直してください。"),
                    format!("There are files that {MANIFEST} does not name: {names}. Add them to it and sign again, or remove them from /submit; then send {SIGNATURE} again."),
                )
            }
            DropboxError::Stopped => self.fault(
                Status::Failure,
                "SUBMIT-STOPPED",
                true,
                "サーバー側の問題で、いまは何も受け付けられません。/submit はそのままです。1 時間ほど待ってから送り直し、続くときは運用担当へお知らせください。",
                "The server cannot take in anything just now; /submit stays as it is. Try again in an hour; if it goes on, tell the operator.",
            ),
            DropboxError::Io(e) => self.io(e),
        }
    }

    fn full(self, bound: &'static str, max: u64) -> Fault {
        let (ja, en) = match bound {
            "file_bytes_max" => (
                format!("ファイルが大きすぎます({max} バイトまで)。分けて送ってください。"),
                format!("The file is too large (at most {max} bytes). Send it in parts."),
            ),
            "account_bytes_max" => (
                format!(
                    "/submit の容量の上限({max} バイト)に達しました。不要なファイルを削除するか、未完成の送信を完成させてください。"
                ),
                format!(
                    "/submit holds as many bytes as it may ({max}). Remove files or complete what is unfinished."
                ),
            ),
            _ => (
                format!(
                    "/submit に置ける数の上限({max})に達しました。不要なものを削除するか、未完成の送信を完成させてください。"
                ),
                format!(
                    "/submit holds as much as it may ({max}). Remove files or complete what is unfinished."
                ),
            ),
        };
        let code = match bound {
            "file_bytes_max" => "QUOTA-FILE-SIZE",
            "account_bytes_max" => "QUOTA-BYTES",
            "account_files_max" => "QUOTA-FILES",
            _ => "QUOTA-FOLDERS",
        };
        self.fault(Status::Failure, code, true, ja, en)
    }
}

/// Whether a name may stand in the drop-box: what a manifest can name, or belongs to the set itself, or is on its way to
/// one of these (`x.part`).
pub(super) fn check_name(name: &str, words: Words) -> Result<(), Fault> {
    match FileName::parse(name) {
        Ok(_) | Err(NameError::Reserved) => Ok(()),
        Err(why) => Err(words.fault(
            Status::Failure,
            "NAME",
            true,
            format!("このファイル名は使えません(200 バイトまで、先頭・末尾の空白や制御文字は不可)。名前を変えて送ってください。[{why}]"),
            format!("This name cannot be used: {why}. Rename the file and send it again."),
        )),
    }
}
