//! A key made here for people without tools, and the files it is handed out in: `.p12` (PKCS #12, RFC 7292) and an OpenSSH
//! private key, both under the certificate-issue password (C), with the certificates. What comes out may lie on disk until
//! it is downloaded; the key itself and the password never do.

use std::io;

use der::Decode as _;
use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKeyChain,
};
use russh::keys::ssh_key::private::{EcdsaKeypair, EcdsaPrivateKey, KeypairData};
use russh::keys::ssh_key::public::EcdsaPublicKey;
use russh::keys::ssh_key::{Cipher, Kdf, LineEnding, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::{AuthorityError, cannot};
use crate::model::ids::Digest;

/// Rounds of the derivation that a guesser of passwords must repeat: about a tenth of a second each. Windows, NSS and
/// OpenSSL take any number.
const P12_ITERATIONS: u64 = 200_000;
/// The same for the OpenSSH form (`ssh-keygen -a`).
const BCRYPT_ROUNDS: u32 = 24;

/// A new key on P-256, which every tool knows. Wiped when dropped.
pub struct NewKey {
    pkcs8: Zeroizing<Vec<u8>>,
    pair: KeypairData,
}

/// A P-256 key as PKCS #8 (RFC 5958) with the form of RFC 5915 in it.
#[derive(der::Sequence)]
struct Pkcs8<'a> {
    version: u8,
    algorithm: der::AnyRef<'a>,
    private: der::asn1::OctetStringRef<'a>,
}

#[derive(der::Sequence)]
struct EcPrivateKey<'a> {
    version: u8,
    scalar: der::asn1::OctetStringRef<'a>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    curve: Option<der::AnyRef<'a>>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    point: Option<der::asn1::BitStringRef<'a>>,
}

impl NewKey {
    /// Makes one.
    pub fn generate() -> Result<Self, AuthorityError> {
        let doing = "making a key";
        let made = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(cannot(doing))?;
        let pkcs8 = Zeroizing::new(made.serialize_der());
        let outer = Pkcs8::from_der(&pkcs8).map_err(cannot(doing))?;
        let inner = EcPrivateKey::from_der(outer.private.as_bytes()).map_err(cannot(doing))?;
        let scalar: [u8; 32] = inner.scalar.as_bytes().try_into().map_err(cannot(doing))?;
        let point = EcdsaPublicKey::from_sec1_bytes(made.public_key_raw()).map_err(cannot(doing))?;
        let EcdsaPublicKey::NistP256(public) = point else {
            return Err(cannot(doing)("it is on another curve"));
        };
        let private = EcdsaPrivateKey::from(scalar);
        let pair = KeypairData::Ecdsa(EcdsaKeypair::NistP256 { public, private });
        Ok(Self { pkcs8, pair })
    }

    /// Its public half.
    pub fn public(&self) -> Result<PublicKey, AuthorityError> {
        Ok(PublicKey::from(&self.private("")?))
    }

    fn private(&self, comment: &str) -> Result<PrivateKey, AuthorityError> {
        PrivateKey::new(self.pair.clone(), comment).map_err(cannot("writing a key"))
    }

    /// The key, its certificate and those above it as `.p12`: PBES2 with AES-256 and HMAC-SHA-256, which Windows takes since
    /// version 1709 of Windows 10.
    pub fn p12(
        &self,
        name: &str,
        certificate: &[u8],
        above: &[Vec<u8>],
        password: &str,
    ) -> Result<Vec<u8>, AuthorityError> {
        let doing = "making a .p12 file";
        let chain = std::iter::once(certificate).chain(above.iter().map(Vec::as_slice));
        let chain: Vec<Certificate> =
            chain.map(Certificate::from_der).collect::<Result<_, _>>().map_err(cannot(doing))?;
        let id = Digest::of(certificate);
        let mut store = KeyStore::new();
        let entry = PrivateKeyChain::new(&self.pkcs8, &id.0[..20], chain);
        store.add_entry(name, KeyStoreEntry::PrivateKeyChain(entry));
        store
            .writer(password)
            .encryption_algorithm(EncryptionAlgorithm::PbeWithHmacSha256AndAes256)
            .encryption_iterations(P12_ITERATIONS)
            .mac_algorithm(MacAlgorithm::HmacSha256)
            .mac_iterations(P12_ITERATIONS)
            .write()
            .map_err(cannot(doing))
    }

    /// The key as OpenSSH writes it (AES-256, bcrypt).
    pub fn openssh(&self, comment: &str, password: &str) -> Result<Zeroizing<String>, AuthorityError> {
        let doing = "writing an OpenSSH key";
        let mut random = [0; 20];
        crate::store::keys::random(&mut random).map_err(cannot(doing))?;
        let (salt, check) = random.split_at(16);
        let check = u32::from_be_bytes(check.try_into().map_err(io::Error::other).map_err(cannot(doing))?);
        let kdf = Kdf::Bcrypt { salt: salt.to_vec(), rounds: BCRYPT_ROUNDS };
        let sealed = self.private(comment)?.encrypt_with(Cipher::Aes256Ctr, kdf, check, password);
        sealed.and_then(|sealed| sealed.to_openssh(LineEnding::LF)).map_err(cannot(doing))
    }
}
