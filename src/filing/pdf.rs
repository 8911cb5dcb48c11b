//! Whether a file is a whole, open PDF: by its content, never by its name. Read once, in bounded memory; nothing in it is run or parsed.

use std::io::{self, Read};

/// What was seen of a file that should be a PDF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PdfFacts {
    /// Bytes read.
    pub bytes: u64,
    /// `%PDF-` stands in the first 1024 bytes.
    pub begins: bool,
    /// `%%EOF` stands in the last 2048 bytes (readers of PDF look at 1024; some writers pad).
    pub ends: bool,
    /// A trailer names an `/Encrypt` dictionary.
    pub encrypted: bool,
}

const HEAD: usize = 1024;
const TAIL: usize = 2048;
const BLOCK: usize = 64 * 1024;

/// Reads a file to its end.
pub fn inspect_pdf(mut reader: impl Read) -> io::Result<PdfFacts> {
    let encrypt = memchr::memmem::Finder::new(b"/Encrypt");
    let mut facts = PdfFacts::default();
    // What was read before stays in front, so that nothing is missed at a seam; it is also the tail at the end.
    let mut buffer = vec![0; TAIL + BLOCK];
    let mut kept = 0;
    loop {
        let n = match reader.read(&mut buffer[kept..]) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let seen = &buffer[..kept + n];
        if n == 0 {
            facts.ends = memchr::memmem::find(&seen[seen.len().saturating_sub(TAIL)..], b"%%EOF").is_some();
            return Ok(facts);
        }
        // The head is whole once more than it has been seen; before that it is looked at again with each read.
        if facts.bytes < HEAD as u64 {
            facts.begins = memchr::memmem::find(&seen[..seen.len().min(HEAD)], b"%PDF-").is_some();
        }
        facts.bytes += n as u64;
        facts.encrypted |= encrypt.find_iter(seen).any(|at| is_key(&seen[at + b"/Encrypt".len()..]));
        let len = seen.len();
        let keep = len.min(TAIL);
        buffer.copy_within(len - keep..len, 0);
        kept = keep;
    }
}

/// `/Encrypt 12 0 R` or `/Encrypt<<`, not `/EncryptMetadata`. A name cut off by the end of what was read is met again with the next read.
fn is_key(after: &[u8]) -> bool {
    after.first().is_some_and(|b| b.is_ascii_whitespace() || *b == b'<')
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dribble<'a>(&'a [u8], usize);
    impl Read for Dribble<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let n = self.0.len().min(self.1).min(to.len());
            to[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn facts(bytes: &[u8]) -> (bool, bool, bool) {
        let whole = inspect_pdf(bytes).unwrap();
        for step in [1, 7, 1000, 70_000] {
            assert_eq!(inspect_pdf(Dribble(bytes, step)).unwrap(), whole, "{step}");
        }
        assert_eq!(whole.bytes, bytes.len() as u64);
        (whole.begins, whole.ends, whole.encrypted)
    }

    #[test]
    fn a_pdf_is_known_by_its_content() {
        let body = vec![b'x'; 100_000];
        let pdf = |head: &[u8], trailer: &[u8]| [head, b"%PDF-1.7\n", &body, trailer].concat();
        assert_eq!(facts(b""), (false, false, false));
        assert_eq!(facts(&pdf(b"", b"trailer<</Root 1 0 R>>\n%%EOF\n")), (true, true, false));
        assert_eq!(facts(&pdf(b"", b"trailer<</Encrypt 5 0 R>>\n%%EOF\r\n")), (true, true, true));
        assert_eq!(facts(&pdf(b"", b"<</EncryptMetadata false>>%%EOF")), (true, true, false));
        assert_eq!(facts(&pdf(&[b' '; 1000], b"%%EOF")), (true, true, false));
        assert_eq!(facts(&pdf(&[b' '; 1020], b"%%EOF")), (false, true, false));
        assert_eq!(facts(&pdf(b"", b"")), (true, false, false));
        assert_eq!(facts(&pdf(b"%%EOF", b"")), (true, false, false));
        assert_eq!(facts(b"PK\x03\x04 not a pdf"), (false, false, false));
    }
}
