//! What the door itself says to people, in both languages. Everything else comes from behind the port.

use super::port::{Fault, Status};
use crate::model::finding::Language;

/// One text: its code and what was wrong and what to do, in both languages.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) code: &'static str,
    ja: &'static str,
    en: &'static str,
}

impl Message {
    /// The text alone.
    pub(crate) fn text(&self, language: Language) -> &'static str {
        match language {
            Language::Ja => self.ja,
            Language::En => self.en,
        }
    }

    /// As an answer to a request.
    pub(crate) fn fault(&self, status: Status, language: Language) -> Fault {
        Fault { status, code: self.code.into(), text: self.text(language).to_owned(), loud: false }
    }

    /// `CODE text`, for when the reader's language is known.
    pub(crate) fn line(&self, language: Language) -> String {
        format!("{} {}", self.code, self.text(language))
    }

    /// `CODE` and both texts in a disconnect. OpenSSH shows 400 bytes of it, and what is no ASCII in octal: so English leads.
    pub(crate) fn disconnect(&self) -> String {
        format!("{} {} / {}", self.code, self.en, self.ja)
    }

    /// `CODE` and both texts, for when the reader's language is not known.
    pub(crate) fn both(&self) -> String {
        format!("{} {} / {}", self.code, self.ja, self.en)
    }
}

/// Why a connection is ended by us.
#[derive(Debug)]
pub(crate) enum Parting {
    /// One of ours.
    Message(&'static Message),
    /// `CODE text`, said on a channel's stderr already, or to somebody who has none.
    Line(String),
}

impl Parting {
    /// For a disconnect.
    pub(crate) fn disconnect(self) -> String {
        match self {
            Self::Message(message) => message.disconnect(),
            Self::Line(line) => line,
        }
    }

    /// For a channel's stderr.
    pub(crate) fn line(&self, language: Language) -> String {
        match self {
            Self::Message(message) => message.line(language),
            Self::Line(line) => line.clone(),
        }
    }
}

impl From<&'static Message> for Parting {
    fn from(message: &'static Message) -> Self {
        Self::Message(message)
    }
}

impl From<String> for Parting {
    fn from(line: String) -> Self {
        Self::Line(line)
    }
}

pub(crate) const PATH_LONG: Message = Message {
    code: "PATH-LONG",
    ja: "パスまたは名前が長すぎます。短い名前にして送り直してください。",
    en: "The path or a name in it is too long. Use a shorter name and send it again.",
};
pub(crate) const PATH_UTF8: Message = Message {
    code: "PATH-UTF8",
    ja: "ファイル名がUTF-8ではありません。クライアントの文字コードをUTF-8に設定してください。",
    en: "The name is not UTF-8. Set your client's file name encoding to UTF-8.",
};
pub(crate) const PATH_CONTROL: Message = Message {
    code: "PATH-CONTROL",
    ja: "ファイル名に制御文字が含まれています。取り除いて送り直してください。",
    en: "The name holds a control character. Rename the file and send it again.",
};
pub(crate) const HANDLE_UNKNOWN: Message = Message {
    code: "SFTP-HANDLE",
    ja: "開かれていないファイルへの要求です。ファイルを開き直してください。",
    en: "No such handle. Open the file again.",
};
pub(crate) const HANDLE_KIND: Message = Message {
    code: "SFTP-HANDLE-KIND",
    ja: "ファイルとフォルダーの取り違えです。開き直してください。",
    en: "This request does not fit what the handle was opened for. Open it again.",
};
pub(crate) const HANDLES_FULL: Message = Message {
    code: "SFTP-HANDLES",
    ja: "同時に開けるファイル数を超えました。開いているファイルを閉じてからやり直してください。",
    en: "Too many open files. Close some and try again.",
};
pub(crate) const UNSUPPORTED: Message = Message {
    code: "SFTP-UNSUPPORTED",
    ja: "この操作には対応していません。",
    en: "This operation is not supported.",
};
pub(crate) const INTERNAL: Message = Message {
    code: "GATEWAY-FAULT",
    ja: "ゲートウェイ側の障害です。時間をおいて送り直してください。",
    en: "A fault of the gateway. Try again later.",
};
pub(crate) const BAD_PACKET: Message = Message {
    code: "SFTP-PACKET",
    ja: "SFTPの規約に合わないデータを受信したため切断しました。クライアントソフトを確認してください。",
    en: "Malformed SFTP data: disconnected. Check the client software.",
};
pub(crate) const OLD_VERSION: Message = Message {
    code: "SFTP-VERSION",
    ja: "SFTPバージョン3に対応したクライアントを使ってください。",
    en: "Use a client that speaks SFTP version 3.",
};
pub(crate) const FLOOD: Message = Message {
    code: "SFTP-FLOOD",
    ja: "応答を読まずに大量の要求が送られたため切断しました。",
    en: "Too much was sent without reading the replies: disconnected.",
};
pub(crate) const STALLED: Message = Message {
    code: "SESSION-STALLED",
    ja: "応答が長時間受信されないため切断しました。接続し直してください。",
    en: "Replies were not read for a long time: disconnected. Connect again.",
};
pub(crate) const IDLE: Message = Message {
    code: "SESSION-IDLE",
    ja: "操作がない状態が続いたため切断しました。接続し直してください。",
    en: "Nothing was asked for a long time: disconnected. Connect again.",
};
pub(crate) const REVOKED: Message = Message {
    code: "CERTIFICATE-REVOKED",
    ja: "接続に使った証明書が失効したため、終了しました。再発行された証明書で接続してください。心当たりがないときは、すぐに健康保険組合へご連絡ください。",
    en: "The certificate that this session came by was revoked. Connect with the one issued in its place; if you do not know why, tell the insurer at once.",
};
pub(crate) const STOPPED: Message = Message {
    code: "SESSION-STOPPED",
    ja: "このアカウント、または接続に使った鍵か証明書が使えなくなったため、終了しました。接続し直すと理由が表示されることがあります。わからないときは健康保険組合へお問い合わせください。",
    en: "This account, or the key or certificate that this session came by, may not be used any more. Connecting again may tell why; if not, ask the insurer.",
};
pub(crate) const EVICTED: Message = Message {
    code: "SESSION-REPLACED",
    ja: "同じアカウントの新しい接続に切り替わったため切断しました。",
    en: "A newer connection of this account took over: disconnected.",
};
pub(crate) const STOPPING: Message = Message {
    code: "GATEWAY-STOPPING",
    ja: "ゲートウェイが停止します。しばらくしてから接続し直してください。",
    en: "The gateway is stopping. Connect again in a while.",
};
pub(crate) const LOGIN_GRACE: Message = Message {
    code: "LOGIN-TIME",
    ja: "時間内にログインが完了しませんでした。接続し直してください。",
    en: "Login took too long. Connect again.",
};
pub(crate) const LOGIN_CROWDED: Message = Message {
    code: "LOGIN-CROWDED",
    ja: "ログイン待ちの接続が多すぎます。しばらくしてから接続し直してください。",
    en: "Too many connections are waiting to log in. Connect again in a while.",
};
pub(crate) const BUSY: Message = Message {
    code: "LOGIN-BUSY",
    ja: "ログインが集中しています。しばらくしてからやり直してください。",
    en: "Too many passwords are being checked. Try again in a while.",
};
pub(crate) const LOGIN_ATTEMPTS: Message = Message {
    code: "LOGIN-ATTEMPTS",
    ja: "認証の試行回数が上限を超えました。登録済みの鍵を指定して接続し直してください。",
    en: "Too many authentication attempts. Name your registered key and connect again.",
};
pub(crate) const PASSWORD_CHANGE: Message = Message {
    code: "PASSWORD-CHANGE",
    ja: "対話式(keyboard-interactive)で接続すると変更できます: sftp -o PreferredAuthentications=publickey,keyboard-interactive",
    en: "Connect with keyboard-interactive to change it: sftp -o PreferredAuthentications=publickey,keyboard-interactive",
};
pub(crate) const SFTP_ONLY: Message = Message {
    code: "SFTP-ONLY",
    ja: "このサーバーはSFTP専用です。sftpコマンドで接続してください。",
    en: "SFTP only: use sftp.",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disconnect_can_be_read_where_only_ascii_is_shown() {
        for message in
            [&BAD_PACKET, &FLOOD, &STALLED, &IDLE, &REVOKED, &STOPPED, &EVICTED, &STOPPING, &LOGIN_GRACE]
        {
            let words = Parting::from(message).disconnect();
            let english = format!("{} {} / ", message.code, message.en);
            assert!(english.is_ascii() && english.len() < 400 && words.starts_with(&english), "{words}");
            assert!(words.ends_with(message.ja), "{words}");
        }
    }
}
