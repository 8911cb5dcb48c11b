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
/// Longest text looked for across the seam of two pieces.
const OVERLAP: usize = 32;

/// Looks at a file piece by piece, while it is read for something else.
#[derive(Debug, Default)]
pub struct PdfWatch {
    bytes: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
    encrypted: bool,
}

impl PdfWatch {
    /// The next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        let missing = HEAD.saturating_sub(self.head.len()).min(piece.len());
        self.head.extend_from_slice(&piece[..missing]);
        let mut seam = self.tail[self.tail.len().saturating_sub(OVERLAP)..].to_vec();
        seam.extend_from_slice(&piece[..piece.len().min(OVERLAP)]);
        self.encrypted |= names_encryption(&seam) || names_encryption(piece);
        self.tail.extend_from_slice(&piece[piece.len().saturating_sub(TAIL)..]);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
    }

    /// The first bytes (at most 1024).
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// What was seen.
    pub fn facts(&self) -> PdfFacts {
        PdfFacts {
            bytes: self.bytes,
            begins: memchr::memmem::find(&self.head, b"%PDF-").is_some(),
            ends: memchr::memmem::find(&self.tail, b"%%EOF").is_some(),
            encrypted: self.encrypted,
        }
    }
}

/// Reads a file to its end.
pub fn inspect_pdf(mut reader: impl Read) -> io::Result<PdfFacts> {
    let mut watch = PdfWatch::default();
    let mut buffer = vec![0; BLOCK];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(watch.facts()),
            Ok(n) => watch.feed(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// `/Encrypt` as a trailer names it: a reference or a dictionary follows (`/EncryptMetadata` is another name). One cut off by
/// the end of a piece is met again at the seam.
fn names_encryption(bytes: &[u8]) -> bool {
    const NAME: &[u8] = b"/Encrypt";
    memchr::memmem::find_iter(bytes, NAME).any(|at| {
        let rest = &bytes[at + NAME.len()..];
        let spaced = rest.first().is_some_and(u8::is_ascii_whitespace);
        match rest.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'<') => true,
            Some(byte) => spaced && byte.is_ascii_digit(),
            None => false,
        }
    })
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
