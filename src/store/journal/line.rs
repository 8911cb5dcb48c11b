//! How one event stands in a segment: one line, a JSON text.
//!
//! ```text
//! {"hash":"<64 hex>","length":181,"record":{"seq":7,"batch":[5,9],"at":1795400000000,"by":"daemon","event":{...}}}
//! ```
//! `length` is the number of bytes of the record's JSON text; `hash` is SHA-256 over the 32 bytes of the hash before it,
//! then those very bytes. `batch` names the first and last event of the commit this one was written with: a commit is
//! there with all its lines, or not at all. The spelling is exact (no spaces, this order), so every bit is covered.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::model::event::{Event, Record};
use crate::model::ids::Digest;
use crate::model::party::Actor;
use crate::model::time::Timestamp;

/// Longest line, in bytes. Longer ones are never written, and never read as one.
pub(super) const LINE_BYTES_MAX: usize = 16 << 20;

/// How every line begins.
pub(super) const MARK: &[u8] = b"{\"hash\":\"";

const LENGTH: &[u8] = b"\",\"length\":";
const RECORD: &[u8] = b",\"record\":";
const HASH_HEX: usize = 64;

/// A line whose framing is right; whether it continues the chain is the reader's question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// What it claims to hash to.
    pub hash: Digest,
    /// Its place.
    pub seq: u64,
    /// First and last of its commit.
    pub batch: (u64, u64),
    /// Its time.
    pub at: Timestamp,
    /// The record's exact bytes.
    pub record: &'a [u8],
    /// Bytes of the whole line with its newline.
    pub size: usize,
}

#[derive(Serialize)]
struct Entry<'a> {
    seq: u64,
    batch: (u64, u64),
    at: Timestamp,
    by: &'a Actor,
    event: &'a Event,
}

/// The next link of the chain.
pub(super) fn link(previous: &Digest, record: &[u8]) -> Digest {
    let mut hash = Sha256::new();
    hash.update(previous.0);
    hash.update(record);
    Digest(hash.finalize().into())
}

/// Writes one line onto the end of `into`; returns its hash.
pub(super) fn write(
    record: &Record,
    batch: (u64, u64),
    previous: &Digest,
    into: &mut Vec<u8>,
) -> Result<Digest, serde_json::Error> {
    let json = serde_json::to_vec(&Entry {
        seq: record.seq,
        batch,
        at: record.at,
        by: &record.by,
        event: &record.event,
    })?;
    let hash = link(previous, &json);
    into.extend_from_slice(MARK);
    into.extend_from_slice(hex::encode(hash.0).as_bytes());
    into.extend_from_slice(LENGTH);
    into.extend_from_slice(json.len().to_string().as_bytes());
    into.extend_from_slice(RECORD);
    into.extend_from_slice(&json);
    into.extend_from_slice(b"}\n");
    Ok(hash)
}

/// Reads the line that `bytes` begin with; what follows it is not looked at. The error says what is wrong.
pub(super) fn parse(bytes: &[u8]) -> Result<Line<'_>, &'static str> {
    let mut rest = bytes.strip_prefix(MARK).ok_or("does not begin as a line of the journal")?;
    let hex = rest.get(..HASH_HEX).ok_or("ends within its hash")?;
    if !hex.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b)) {
        return Err("its hash is not hexadecimal");
    }
    let mut hash = Digest([0; 32]);
    hex::decode_to_slice(hex, &mut hash.0).map_err(|_| "its hash is not hexadecimal")?;
    rest = rest[HASH_HEX..].strip_prefix(LENGTH).ok_or("its length is missing")?;
    let (length, after) = number(rest).ok_or("its length is not a number")?;
    rest = after.strip_prefix(RECORD).ok_or("its record is missing")?;
    let length = usize::try_from(length).map_err(|_| "its length is out of all measure")?;
    if length > LINE_BYTES_MAX {
        return Err("its length is out of all measure");
    }
    let record = rest.get(..length).ok_or("is shorter than its length says")?;
    if !rest[length..].starts_with(b"}\n") {
        return Err("does not end where its length says");
    }
    let (seq, batch, at) = head(record).ok_or("its record does not begin with its place")?;
    let size = bytes.len() - rest.len() + length + 2;
    Ok(Line { hash, seq, batch, at, record, size })
}

fn head(record: &[u8]) -> Option<(u64, (u64, u64), Timestamp)> {
    let (seq, rest) = number(record.strip_prefix(b"{\"seq\":")?)?;
    let (first, rest) = number(rest.strip_prefix(b",\"batch\":[")?)?;
    let (last, rest) = number(rest.strip_prefix(b",")?)?;
    let rest = rest.strip_prefix(b"],\"at\":")?;
    let (negative, rest) = rest.strip_prefix(b"-").map_or((false, rest), |rest| (true, rest));
    let (at, rest) = number(rest)?;
    rest.strip_prefix(b",")?;
    let at = i64::try_from(at).ok()?;
    Some((seq, (first, last), Timestamp(if negative { -at } else { at })))
}

/// A decimal number without leading zeros, and what follows it.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().position(|b| !b.is_ascii_digit())?;
    if digits == 0 || (digits > 1 && bytes[0] == b'0') {
        return None;
    }
    let value = std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()?;
    Some((value, &bytes[digits..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seq: u64) -> Record {
        Record { seq, at: Timestamp(1_795_400_000_000), by: Actor::Daemon, event: Event::Stopped }
    }

    #[test]
    fn a_line_reads_back_and_is_json() {
        let mut bytes = Vec::new();
        let previous = Digest::of(b"before");
        let hash = write(&record(7), (5, 9), &previous, &mut bytes).unwrap();
        let line = parse(&bytes).unwrap();
        assert_eq!((line.seq, line.batch, line.hash, line.size), (7, (5, 9), hash, bytes.len()));
        assert_eq!(link(&previous, line.record), hash);
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["record"]["event"]["event"], "stopped");
        let back: Record = serde_json::from_slice(line.record).unwrap();
        assert_eq!(back, record(7));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut bytes = Vec::new();
        let previous = Digest::of(b"before");
        write(&record(7), (5, 9), &previous, &mut bytes).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1 << bit;
                let fine = parse(&wrong)
                    .is_ok_and(|line| link(&previous, line.record) == line.hash && line.size == wrong.len());
                assert!(!fine, "bit {bit} of byte {at}");
            }
        }
    }
}
