//! Why a certificate is refused: one list of reasons for X.509 and OpenSSH certificates, for signatures and for logins.

use chrono_tz::Tz;

use crate::model::finding::Text;
use crate::model::ids::AccountId;
use crate::model::time::Timestamp;

/// An algorithm or key that is too weak, or unknown here. The same rules for certificates, for those who issued them, and for
/// signatures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", self.code(), self.name())]
pub enum Weakness {
    /// Signed over an MD5 or MD2 digest.
    Md5,
    /// Signed over a SHA-1 digest.
    Sha1,
    /// An RSA key of fewer than 2048, or more than 8192 bits.
    RsaSize {
        /// Its size.
        bits: u32,
    },
    /// A DSA key or signature.
    Dsa,
    /// An elliptic curve other than P-256, P-384, P-521 and Ed25519.
    Curve {
        /// Its object identifier.
        name: String,
    },
    /// Something else that is not known here.
    Algorithm {
        /// Its name or object identifier.
        name: String,
    },
}

impl Weakness {
    /// The stable code that messages lead with.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Md5 => "WEAK-MD5",
            Self::Sha1 => "WEAK-SHA1",
            Self::RsaSize { .. } => "WEAK-RSA",
            Self::Dsa => "WEAK-DSA",
            Self::Curve { .. } => "WEAK-CURVE",
            Self::Algorithm { .. } => "WEAK-ALGORITHM",
        }
    }

    /// As it is known in the field: `SHA-1`, `RSA-1024`.
    pub fn name(&self) -> String {
        match self {
            Self::Md5 => "MD5".into(),
            Self::Sha1 => "SHA-1".into(),
            Self::RsaSize { bits } => format!("RSA-{bits}"),
            Self::Dsa => "DSA".into(),
            Self::Curve { name } => format!("curve {name}"),
            Self::Algorithm { name } => name.clone(),
        }
    }

    /// What to use in its place.
    pub fn instead(&self) -> Text {
        match self {
            Self::Md5 | Self::Sha1 => {
                Text::new("SHA-256、SHA-384、SHA-512 のいずれか", "SHA-256, SHA-384 or SHA-512")
            }
            Self::RsaSize { .. } => {
                Text::new("2048〜8192 ビットの RSA の鍵", "an RSA key of 2048 to 8192 bits")
            }
            Self::Dsa | Self::Algorithm { .. } => Text::new(
                "RSA(2048 ビット以上)、ECDSA(P-256、P-384、P-521)、Ed25519 のいずれか",
                "RSA (2048 bits or more), ECDSA (P-256, P-384, P-521) or Ed25519",
            ),
            Self::Curve { .. } => {
                Text::new("P-256、P-384、P-521、Ed25519 のいずれか", "P-256, P-384, P-521 or Ed25519")
            }
        }
    }
}

/// Whose weakness it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The certificate's own key or the signature on it.
    Own,
    /// An authority's above it.
    Authority,
}

/// Why a certificate does not count here and now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", self.code(), self.text(chrono_tz::UTC).en)]
pub enum CertificateError {
    /// Not a certificate, or one that cannot be read.
    Malformed,
    /// Too weak.
    Weak {
        /// Of what.
        of: Place,
        /// Why.
        weakness: Weakness,
    },
    /// No authority that is trusted here (for this insurer) issued it.
    Authority {
        /// Who issued it, as the certificate says, or the authority's fingerprint; printable, shortened.
        issuer: String,
    },
    /// The authority's certificate, or the trust in it, has not begun or has ended.
    AuthorityPeriod {
        /// Which authority.
        issuer: String,
    },
    /// The signatures or constraints on the way to the authority do not hold.
    Chain {
        /// What the library said.
        reason: String,
    },
    /// Valid from later on.
    NotYet {
        /// From when.
        from: Timestamp,
    },
    /// Not valid any more.
    Expired {
        /// Since when.
        since: Timestamp,
    },
    /// Revoked.
    Revoked {
        /// Since when, if it is known.
        since: Option<Timestamp>,
    },
    /// Whether an external authority revoked it cannot be said: its list is out of date or cannot be used.
    RevocationUnknown,
    /// An authority's certificate in the place of an account's.
    IsAuthority,
    /// Issued for another purpose: of servers, hosts, encryption.
    Purpose {
        /// What it is for.
        of: String,
    },
    /// A critical extension (X.509) that is not known here.
    Extension,
    /// A critical option (OpenSSH) that is not known here.
    Option {
        /// Its name; printable, shortened.
        name: String,
    },
    /// Used from another address than it allows.
    Source {
        /// The addresses that it allows; printable, shortened.
        allowed: String,
    },
    /// An OpenSSH certificate without principals: it would be anybody's.
    NoPrincipals,
    /// Issued to somebody else.
    Account {
        /// The account that is logged in.
        account: AccountId,
    },
    /// Signed by one of the gateway's own authorities, but not on its list of issued certificates.
    NotIssued,
    /// From an external authority whose certificates count only once they are registered for an account.
    NotRegistered {
        /// SHA-256 over the certificate, to be registered.
        fingerprint: String,
    },
}

impl CertificateError {
    /// The stable code that messages lead with.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed => "CERTIFICATE-MALFORMED",
            Self::Weak { weakness, .. } => weakness.code(),
            Self::Authority { .. } => "CERTIFICATE-AUTHORITY",
            Self::AuthorityPeriod { .. } => "CERTIFICATE-AUTHORITY-PERIOD",
            Self::Chain { .. } => "CERTIFICATE-CHAIN",
            Self::NotYet { .. } => "CERTIFICATE-NOT-YET",
            Self::Expired { .. } => "CERTIFICATE-EXPIRED",
            Self::Revoked { .. } => "CERTIFICATE-REVOKED",
            Self::RevocationUnknown => "CERTIFICATE-REVOCATION",
            Self::IsAuthority => "CERTIFICATE-CA",
            Self::Purpose { .. } => "CERTIFICATE-PURPOSE",
            Self::Extension => "CERTIFICATE-EXTENSION",
            Self::Option { .. } => "CERTIFICATE-OPTION",
            Self::Source { .. } => "CERTIFICATE-SOURCE",
            Self::NoPrincipals => "CERTIFICATE-PRINCIPALS",
            Self::Account { .. } => "CERTIFICATE-ACCOUNT",
            Self::NotIssued => "CERTIFICATE-NOT-ISSUED",
            Self::NotRegistered { .. } => "CERTIFICATE-NOT-REGISTERED",
        }
    }

    /// What was wrong and what to do next; times are shown in this zone.
    pub fn text(&self, zone: Tz) -> Text {
        match self {
            Self::Malformed => Text::new(
                "証明書を読み取れません。受け取った証明書をそのまま(バイナリモードで)使っているか確かめてください。",
                "The certificate cannot be read. See that it is used exactly as it was received (transferred in binary mode).",
            ),
            Self::Weak { of, weakness } => weak_text(*of, weakness),
            Self::Authority { issuer } => Text::new(
                format!(
                    "この証明書を発行した認証局({issuer})は、ここでは信頼されていません。健康保険組合から発行された証明書を使ってください。"
                ),
                format!(
                    "The authority that issued this certificate ({issuer}) is not trusted here. Use the certificate that the insurer had issued for this account."
                ),
            ),
            Self::AuthorityPeriod { issuer } => Text::new(
                format!(
                    "この証明書を発行した認証局({issuer})の有効期間外です。新しい認証局から発行された証明書に更新してください。"
                ),
                format!(
                    "The authority that issued this certificate ({issuer}) is outside its period of trust. Have the certificate renewed by the present authority."
                ),
            ),
            Self::Chain { reason } => Text::new(
                format!(
                    "この証明書から認証局までのつながりを確認できません({reason})。中間認証局の証明書も添えて(openssl cms -certfile)署名し直してください。続くときは健康保険組合へお問い合わせください。"
                ),
                format!(
                    "The way from this certificate to its authority does not hold ({reason}). Sign again with the intermediate certificates (openssl cms -certfile); if it goes on, ask the insurer."
                ),
            ),
            Self::Purpose { of } => Text::new(
                format!(
                    "この証明書は用途が違います({of})。アカウント用に発行された証明書(利用者認証・署名用)を使ってください。"
                ),
                format!(
                    "This certificate is for another purpose ({of}). Use the one that was issued for the account (client authentication, signature)."
                ),
            ),
            Self::Extension => Text::new(
                "この証明書には、ここで扱えない必須の拡張項目があります。健康保険組合へお問い合わせください。",
                "This certificate has a critical extension that is not known here. Ask the insurer.",
            ),
            Self::Option { name } => Text::new(
                format!(
                    "この証明書には、ここで扱えない条件(critical option「{name}」)があります。条件のない証明書の発行を依頼してください。"
                ),
                format!(
                    "This certificate has a critical option that is not known here ({name}). Have one issued without it."
                ),
            ),
            _ => self.text_of_time_and_person(zone),
        }
    }

    fn text_of_time_and_person(&self, zone: Tz) -> Text {
        let shown = |at: &Timestamp| at.utc().with_timezone(&zone).format("%Y-%m-%d %H:%M").to_string();
        match self {
            Self::NotYet { from } => Text::new(
                format!("この証明書は {} から有効です。それまでは今の証明書を使ってください。", shown(from)),
                format!("This certificate is valid from {}. Until then use the present one.", shown(from)),
            ),
            Self::Expired { since } => Text::new(
                format!(
                    "この証明書は {} に有効期限が切れました。更新した証明書を使ってください(更新は期限後でも申請できます)。",
                    shown(since)
                ),
                format!(
                    "This certificate expired at {}. Use the renewed one; renewal can still be applied for.",
                    shown(since)
                ),
            ),
            Self::Revoked { since } => {
                let at = since.as_ref().map(shown).unwrap_or_default();
                let (ja, en) = if at.is_empty() {
                    (String::new(), String::new())
                } else {
                    (format!("({at})"), format!(" at {at}"))
                };
                Text::new(
                    format!(
                        "この証明書は失効しています{ja}。再発行された証明書を使ってください。心当たりがないときは、すぐに健康保険組合へご連絡ください。"
                    ),
                    format!(
                        "This certificate was revoked{en}. Use the one that was issued in its place; if you do not know why, tell the insurer at once."
                    ),
                )
            }
            Self::RevocationUnknown => Text::new(
                "この証明書が失効していないことを確認できません(認証局の失効リストが古いか、読めません)。しばらくしてからやり直してください。運用担当が失効リストを更新する必要があります。",
                "Whether this certificate was revoked cannot be said: its authority's list is out of date or unreadable. Try again later; the operator has to renew the list.",
            ),
            Self::IsAuthority => Text::new(
                "これは認証局の証明書です。アカウント用に発行された証明書を使ってください。",
                "This is an authority's certificate. Use the one that was issued for the account.",
            ),
            Self::Source { allowed } => Text::new(
                format!(
                    "この証明書は、別の接続元({allowed})からだけ使えます。その場所から接続してください。"
                ),
                format!(
                    "This certificate may be used from other addresses only ({allowed}). Connect from there."
                ),
            ),
            Self::NoPrincipals => Text::new(
                "この証明書にはアカウント(principal)が書かれていません。アカウントを指定して発行し直してもらってください。",
                "This certificate names no account (principals are empty). Have it issued for the account.",
            ),
            Self::NotIssued => Text::new(
                "この証明書は発行記録にありません。発行された証明書をそのまま使っているか確かめ、違うときは健康保険組合へお問い合わせください。",
                "This certificate is not on the list of issued ones. Use the certificate as it was issued; otherwise ask the insurer.",
            ),
            Self::NotRegistered { fingerprint } => Text::new(
                format!(
                    "この証明書(SHA-256 {fingerprint})は、このアカウントに登録されていません。健康保険組合に登録を依頼してください。"
                ),
                format!(
                    "This certificate (SHA-256 {fingerprint}) is not registered for the account. Ask the insurer to register it."
                ),
            ),
            Self::Account { account } => account_text(account),
            // Said by `text` above.
            _ => Text::new("", ""),
        }
    }
}

fn account_text(account: &AccountId) -> Text {
    Text::new(
        format!(
            "この証明書は、アカウント {account} に発行されたものではありません。{account} の証明書を使うか、証明書のアカウントで接続してください。"
        ),
        format!(
            "This certificate was not issued to account {account}. Use {account}'s certificate, or log in as the account that it was issued to."
        ),
    )
}

fn weak_text(of: Place, weakness: &Weakness) -> Text {
    let (name, instead) = (weakness.name(), weakness.instead());
    match of {
        Place::Own => Text::new(
            format!(
                "証明書の方式「{name}」は弱いか未対応のため、受け付けていません。{}で鍵を作り、証明書を発行し直してもらってください。",
                instead.ja
            ),
            format!(
                "The certificate uses {name}, which is too weak or not known here. Have one issued with {}.",
                instead.en
            ),
        ),
        Place::Authority => Text::new(
            format!(
                "認証局の方式「{name}」は弱いか未対応のため、受け付けていません。{}を使う認証局の証明書に替えてください。",
                instead.ja
            ),
            format!(
                "The authority above this certificate uses {name}, which is too weak or not known here. Use a certificate from one that uses {}.",
                instead.en
            ),
        ),
    }
}
