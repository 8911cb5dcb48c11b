//! OpenSSH user certificates (OpenSSH's PROTOCOL.certkeys). Values in, one line out.

use std::io;

use russh::keys::signature::{self, Signer};
use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{Algorithm, PublicKey, Signature};

use super::{AuthorityError, AuthorityKey, AuthoritySigner, cannot};
use crate::model::ids::{AccountId, CertificateId};
use crate::model::time::Timestamp;

/// What an account's certificate says.
#[derive(Debug, Clone, Copy)]
pub struct Entity<'a> {
    /// Its only principal.
    pub account: &'a AccountId,
    /// Its key id, which servers log.
    pub id: CertificateId,
    /// Whose key it is.
    pub key: &'a PublicKey,
    /// Its serial number.
    pub serial: u64,
    /// Holds from then on.
    pub not_before: Timestamp,
    /// Holds until then.
    pub not_after: Timestamp,
}

/// A fresh serial number.
pub fn random_serial() -> io::Result<u64> {
    let mut bytes = [0; 8];
    crate::store::keys::random(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

struct Sign<'a> {
    signer: &'a dyn AuthoritySigner,
    public: KeyData,
}

impl Signer<Signature> for Sign<'_> {
    fn try_sign(&self, message: &[u8]) -> Result<Signature, signature::Error> {
        let bytes = self.signer.sign(message).map_err(|_| signature::Error::new())?;
        Signature::new(Algorithm::Ed25519, bytes).map_err(|_| signature::Error::new())
    }
}

impl From<&Sign<'_>> for KeyData {
    fn from(sign: &Sign<'_>) -> Self {
        sign.public.clone()
    }
}

/// Certifies an account's key: one principal, no critical options, and no extension, since none allows what a file gateway
/// does (terminals, forwarding). Gives the line of `id_ed25519-cert.pub`, without comment.
pub fn issue(signer: &dyn AuthoritySigner, entity: &Entity<'_>) -> Result<String, AuthorityError> {
    let doing = "making an OpenSSH certificate";
    let AuthorityKey::Openssh(public) = signer.public() else {
        return Err(cannot(doing)("the authority signs X.509"));
    };
    let sign = Sign { signer, public: public.key_data().clone() };
    let mut nonce = [0; Builder::RECOMMENDED_NONCE_SIZE];
    crate::store::keys::random(&mut nonce).map_err(cannot(doing))?;
    let key = entity.key.key_data().clone();
    let (from, to) = (entity.not_before.unix_seconds(), entity.not_after.unix_seconds());
    let made = Builder::new(nonce, key, from, to).and_then(|mut builder| {
        builder.serial(entity.serial)?;
        builder.cert_type(CertType::User)?;
        builder.key_id(entity.id.to_string())?;
        builder.valid_principal(entity.account.as_str())?;
        builder.sign(&sign)?.to_openssh()
    });
    Ok(made.map_err(cannot(doing))?.trim_end().to_owned())
}
