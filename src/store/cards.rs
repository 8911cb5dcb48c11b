//! Cards as blobs: written and made durable before the event that names them, removed after the event that drops them.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::blobs::Blobs;
use crate::model::card::{CardRef, Salt};
use crate::model::ids::Digest;
use crate::model::time::Timestamp;

/// No card is larger: a submission's holds its manifest, its receipt, and at most 1,000 findings.
pub const CARD_BYTES_MAX: u64 = 16 << 20;

/// A fresh salt.
pub fn salt() -> io::Result<Salt> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Salt(hex::encode(bytes)))
}

/// Writes a card; not durable before [`Blobs::sync`] of its blob.
pub fn put(blobs: &dyn Blobs, card: &impl Serialize, now: Timestamp) -> io::Result<CardRef> {
    let bytes = serde_json::to_vec(card)?;
    let digest = Digest::of(&bytes);
    Ok(CardRef { blob: blobs.put(&bytes, now)?, digest })
}

/// Reads a card and holds it against its digest (`InvalidData` when it is another).
pub fn get<T: DeserializeOwned>(blobs: &dyn Blobs, card: &CardRef) -> io::Result<T> {
    let bytes = blobs.get(&card.blob, CARD_BYTES_MAX)?;
    if Digest::of(&bytes) != card.digest {
        let text = format!("card {} is not the one the journal names", card.blob);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(serde_json::from_slice(&bytes)?)
}
