//! One key in its two spellings: X.509's and SSH's.

use russh::keys::ssh_key::public::{EcdsaPublicKey, Ed25519PublicKey, KeyData, RsaPublicKey};
use russh::keys::ssh_key::{self, Mpint};

use crate::signed::x509::PublicKey;

impl PublicKey {
    /// Of an SSH key; none of kinds that X.509 does not know (keys on hardware tokens).
    pub fn from_ssh(key: &KeyData) -> Option<Self> {
        match key {
            KeyData::Ed25519(key) => Some(Self::Ed25519(key.0.to_vec())),
            KeyData::Ecdsa(EcdsaPublicKey::NistP256(point)) => Some(Self::P256(point.as_bytes().to_vec())),
            KeyData::Ecdsa(EcdsaPublicKey::NistP384(point)) => Some(Self::P384(point.as_bytes().to_vec())),
            KeyData::Ecdsa(EcdsaPublicKey::NistP521(point)) => Some(Self::P521(point.as_bytes().to_vec())),
            KeyData::Rsa(key) => Some(Self::Rsa {
                n: key.n().as_positive_bytes()?.to_vec(),
                e: key.e().as_positive_bytes()?.to_vec(),
            }),
            _ => None,
        }
    }

    /// As an SSH key; none if its bytes are no key of its kind.
    pub fn to_ssh(&self) -> Option<ssh_key::PublicKey> {
        let data = match self {
            Self::Ed25519(bytes) => KeyData::Ed25519(Ed25519PublicKey(bytes.as_slice().try_into().ok()?)),
            Self::P256(point) | Self::P384(point) | Self::P521(point) => {
                let key = EcdsaPublicKey::from_sec1_bytes(point).ok()?;
                let fits = matches!(
                    (self, &key),
                    (Self::P256(_), EcdsaPublicKey::NistP256(_))
                        | (Self::P384(_), EcdsaPublicKey::NistP384(_))
                        | (Self::P521(_), EcdsaPublicKey::NistP521(_))
                );
                KeyData::Ecdsa(fits.then_some(key)?)
            }
            Self::Rsa { n, e } => {
                let (e, n) = (Mpint::from_positive_bytes(e), Mpint::from_positive_bytes(n));
                KeyData::Rsa(RsaPublicKey::new(e, n).ok()?)
            }
        };
        Some(ssh_key::PublicKey::new(data, ""))
    }

    /// What stands in the bit string of a `SubjectPublicKeyInfo`.
    pub fn bits(&self) -> Vec<u8> {
        match self {
            Self::Rsa { n, e } => rsa_public_key(n, e).unwrap_or_default(),
            Self::P256(bytes) | Self::P384(bytes) | Self::P521(bytes) | Self::Ed25519(bytes) => bytes.clone(),
        }
    }
}

/// `RSAPublicKey` (RFC 8017 section A.1.1).
fn rsa_public_key(n: &[u8], e: &[u8]) -> Option<Vec<u8>> {
    use der::Encode as _;
    use der::asn1::UintRef;
    #[derive(der::Sequence)]
    struct RsaPublicKey<'a> {
        n: UintRef<'a>,
        e: UintRef<'a>,
    }
    RsaPublicKey { n: UintRef::new(n).ok()?, e: UintRef::new(e).ok()? }.to_der().ok()
}
