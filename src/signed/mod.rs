//! What is signed: the sender's manifest, the signature over it, and the receipt that answers it. Pure functions of bytes.

mod ber;
pub mod certificate;
pub mod cms;
pub mod manifest;
pub mod names;
#[cfg(test)]
#[path = "pki_tests.rs"]
mod pki;
pub mod receipt;
pub mod secrets;
pub mod sshcert;
pub mod sshsig;
pub mod x509;
