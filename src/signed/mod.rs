//! What is signed: the sender's manifest, the signature over it, and the receipt that answers it. Pure functions of bytes.

pub mod manifest;
pub mod names;
pub mod receipt;
pub mod secrets;
pub mod sshsig;
