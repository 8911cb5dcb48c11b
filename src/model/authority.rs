//! Authorities: who may say that a key is an account's. X.509 CAs and OpenSSH user CAs, the gateway's own (embedded) and
//! others' that are trusted (K31), several generations at once (E5). No private key is ever here.

use serde::{Deserialize, Serialize};

use super::ids::{AuthorityId, Digest, InsurerCode};
use super::time::Timestamp;

/// What an authority signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// X.509 certificates (RFC 5280).
    X509,
    /// OpenSSH user certificates (OpenSSH's PROTOCOL.certkeys).
    Openssh,
}

impl Form {
    /// As the embedded authorities' names begin.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::X509 => "x509",
            Self::Openssh => "ssh",
        }
    }
}

/// Whose private key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The gateway's, in `keys/` or given as a systemd credential.
    Embedded,
    /// Somebody else's: it is only trusted.
    External,
}

/// How a certificate of an external X.509 authority tells whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountBy {
    /// The subject's common name is the account's.
    CommonName,
    /// The subject's UID (RFC 4519 section 2.39) is the account's.
    UserId,
    /// It does not: each certificate is registered for its account.
    Registered,
}

/// One generation of an authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Its name, unique in the gateway.
    pub id: AuthorityId,
    /// What it signs.
    pub form: Form,
    /// Whose private key it is.
    pub origin: Origin,
    /// The subject (RFC 4514) of an X.509 authority, or what an OpenSSH one is called.
    pub label: String,
    /// An X.509 authority's certificate, DER in base64; an OpenSSH one's public key, as in `authorized_keys` without comment.
    pub certificate: String,
    /// Of the certificate's DER, or of the public key's SSH form.
    pub sha256: Digest,
    /// The same by SHA-1, forty hexadecimal digits: published beside it (E5), never relied on.
    pub sha1: String,
    /// When its own certificate ends; an OpenSSH authority's key has no end of its own.
    pub ends_at: Option<Timestamp>,
    /// Trusted from then on.
    pub trusted_from: Timestamp,
    /// Trusted until then; none means as long as its own certificate holds.
    pub trusted_until: Option<Timestamp>,
    /// An embedded one issues from then on, until a later generation does.
    pub issuing_from: Option<Timestamp>,
    /// Only for accounts of this insurer; none means of all.
    pub insurer: Option<InsurerCode>,
    /// How its certificates tell the account; an embedded one's subject and principal always do.
    pub account_by: AccountBy,
}

impl Authority {
    /// Whether what it signed may be believed at this time, for an account of this insurer.
    pub fn trusted_at(&self, at: Timestamp, insurer: &InsurerCode) -> bool {
        self.insurer.as_ref().is_none_or(|own| own == insurer) && self.holds_at(at)
    }

    /// Whether it is trusted at this time for anybody.
    pub fn holds_at(&self, at: Timestamp) -> bool {
        self.trusted_from <= at && self.trust_ends().is_none_or(|end| at < end)
    }

    /// When its trust ends.
    pub fn trust_ends(&self) -> Option<Timestamp> {
        self.trusted_until.into_iter().chain(self.ends_at).min()
    }
}

/// Which of them issues at this time for an account of this insurer: the embedded one that began last, one of the insurer's
/// own before one for all. None when there is none, such as where only external ones are trusted.
pub fn issuer<'a>(
    all: &'a [Authority],
    form: Form,
    insurer: &InsurerCode,
    at: Timestamp,
) -> Option<&'a Authority> {
    let issuing = all.iter().filter(|authority| {
        authority.form == form
            && authority.origin == Origin::Embedded
            && authority.trusted_at(at, insurer)
            && authority.issuing_from.is_some_and(|from| from <= at)
    });
    issuing.max_by_key(|authority| (authority.insurer.is_some(), authority.issuing_from, &authority.id))
}

/// Whether a later generation has taken over from this embedded authority, so that it issues no more.
pub fn superseded(all: &[Authority], which: &Authority, at: Timestamp) -> bool {
    let Some(from) = which.issuing_from else { return false };
    all.iter().any(|other| {
        other.id != which.id
            && other.form == which.form
            && other.origin == Origin::Embedded
            && other.insurer == which.insurer
            && other.holds_at(at)
            && other.issuing_from.is_some_and(|began| began <= at && (began, &other.id) > (from, &which.id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::DAY;

    const INSURER: &str = "06139999";

    fn authority(id: &str, issuing_from: i64) -> Authority {
        Authority {
            id: AuthorityId::parse(id).unwrap(),
            form: Form::X509,
            origin: Origin::Embedded,
            label: "CN=todoke".into(),
            certificate: String::new(),
            sha256: Digest::of(id.as_bytes()),
            sha1: "0".repeat(40),
            ends_at: Some(Timestamp(1000 * DAY)),
            trusted_from: Timestamp(0),
            trusted_until: None,
            issuing_from: Some(Timestamp(issuing_from * DAY)),
            insurer: None,
            account_by: AccountBy::CommonName,
        }
    }

    fn insurer() -> InsurerCode {
        InsurerCode::parse(INSURER).unwrap()
    }

    #[test]
    fn a_new_generation_takes_over_at_its_date_and_the_old_one_stays_trusted() {
        let all = [authority("x509-1", 0), authority("x509-2", 100)];
        for (day, which) in [(0, "x509-1"), (99, "x509-1"), (100, "x509-2"), (999, "x509-2")] {
            let issuing = issuer(&all, Form::X509, &insurer(), Timestamp(day * DAY)).unwrap();
            assert_eq!(issuing.id.as_str(), which, "day {day}");
        }
        assert!(issuer(&all, Form::X509, &insurer(), Timestamp(1000 * DAY)).is_none(), "both have ended");
        assert!(issuer(&all, Form::Openssh, &insurer(), Timestamp(0)).is_none());
        assert!(!superseded(&all, &all[0], Timestamp(99 * DAY)));
        assert!(superseded(&all, &all[0], Timestamp(100 * DAY)));
        assert!(!superseded(&all, &all[1], Timestamp(100 * DAY)));
        assert!(all[0].trusted_at(Timestamp(500 * DAY), &insurer()));
    }

    #[test]
    fn an_insurers_own_authority_comes_before_the_common_one_and_serves_nobody_else() {
        let mut own = authority("kenpo", 5);
        own.insurer = Some(insurer());
        let all = [authority("x509-1", 50), own];
        let other = InsurerCode::parse("06130000").unwrap();
        let id = |insurer: &InsurerCode| {
            issuer(&all, Form::X509, insurer, Timestamp(60 * DAY)).unwrap().id.to_string()
        };
        assert_eq!((id(&insurer()).as_str(), id(&other).as_str()), ("kenpo", "x509-1"));
        assert!(!all[1].trusted_at(Timestamp(60 * DAY), &other));
    }

    #[test]
    fn trust_ends_at_the_earlier_of_its_date_and_the_certificates_end() {
        let mut one = authority("x509-1", 0);
        one.trusted_until = Some(Timestamp(10 * DAY));
        one.trusted_from = Timestamp(DAY);
        for (day, trusted) in [(0, false), (1, true), (9, true), (10, false)] {
            assert_eq!(one.holds_at(Timestamp(day * DAY)), trusted, "day {day}");
        }
    }
}
