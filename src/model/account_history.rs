//! What happened to an account itself, as `/history/account.csv` tells it. Values that name a person are never among it.

use serde::{Deserialize, Serialize};

use super::finding::Text;
use super::ids::CertificateId;
use super::renewal::RenewalStage;
use super::time::Timestamp;

/// What an account may change about itself (K36 H24).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProfileField {
    /// User name (利用者名).
    UserName,
    /// Its one mail address (K5).
    Mail,
    /// Language of messages and mails.
    Language,
}

impl ProfileField {
    /// As `profile.toml` spells it.
    pub fn key(self) -> &'static str {
        match self {
            Self::UserName => "user_name",
            Self::Mail => "mail",
            Self::Language => "language",
        }
    }

    /// As people call it.
    pub fn words(self) -> Text {
        match self {
            Self::UserName => Text::new("利用者名", "user name"),
            Self::Mail => Text::new("メールアドレス", "mail address"),
            Self::Language => Text::new("メッセージとメールの言語", "language of messages and mails"),
        }
    }
}

/// One line of an account's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountFact {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: AccountFactKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountFactKind {
    /// The account changed these about itself.
    ProfileChanged(Vec<ProfileField>),
    /// It was said that a certificate ends (証明書有効期限切れ事前通知).
    CertificateEnds {
        /// Which.
        id: CertificateId,
        /// When.
        ends_at: Timestamp,
        /// How near that was.
        stage: RenewalStage,
    },
}
