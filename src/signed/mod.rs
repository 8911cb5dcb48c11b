//! What is signed: the sender's manifest, the signature over it, and the receipt that answers it. Pure functions of bytes.

mod ber;
pub mod certificate;
pub mod cms;
pub mod crl;
pub mod csr;
pub mod manifest;
pub mod names;
#[cfg(test)]
#[path = "../../tests/support/pki.rs"]
pub(crate) mod pki;
mod public_key;
pub mod receipt;
pub mod secrets;
pub mod sshcert;
pub mod sshsig;
pub mod x509;
