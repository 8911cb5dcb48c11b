//! What a document may be, told by its content alone.

use super::sheet::Fault;
use crate::filing::PdfWatch;
use crate::model::document::Format;

/// Looks at a document piece by piece while it is copied.
#[derive(Default)]
pub(super) struct ContentCheck {
    pdf: PdfWatch,
    controls: bool,
    text: TextWatch,
}

/// Whether what is fed to it is UTF-8, and says anything.
#[derive(Default)]
struct TextWatch {
    /// The beginning of a character that the next piece ends: at most three bytes.
    begun: Vec<u8>,
    is_other: bool,
    says: bool,
}

impl TextWatch {
    fn feed(&mut self, bytes: &[u8]) {
        if self.is_other {
            return;
        }
        let joined;
        let bytes = if self.begun.is_empty() {
            bytes
        } else {
            joined = [&self.begun[..], bytes].concat();
            &joined
        };
        let (text, rest) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, &[][..]),
            Err(error) => {
                let (good, rest) = bytes.split_at(error.valid_up_to());
                self.is_other = error.error_len().is_some();
                (std::str::from_utf8(good).unwrap_or_default(), rest)
            }
        };
        self.says |= text.chars().any(|c| !c.is_whitespace() && c != '\u{feff}');
        self.begun = if self.is_other { Vec::new() } else { rest.to_vec() };
    }

    fn is_utf8(&self) -> bool {
        !self.is_other && self.begun.is_empty()
    }
}

/// What may be sent beside PDF.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Allowed {
    /// CSV, where the insurer may send it (H3).
    pub(super) csv: bool,
    /// Plain text: of announcements.
    pub(super) text: bool,
}

impl ContentCheck {
    /// The next piece.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.pdf.feed(bytes);
        self.text.feed(bytes);
        self.controls |= bytes.iter().any(|byte| *byte < 0x20 && !b"\t\n\r".contains(byte));
    }

    /// The verdict after the last piece.
    pub(super) fn verdict(&self, name: &str, allowed: Allowed) -> Result<Format, Fault> {
        let facts = self.pdf.facts();
        if facts.bytes == 0 {
            return Err(Fault::refused("FILE-EMPTY", "ファイルが空です。", "the file is empty"));
        }
        if facts.begins {
            if !facts.ends {
                return Err(Fault::refused(
                    "PDF-CUT",
                    "PDF が途中で切れています。作り直して置いてください。",
                    "the PDF is cut off; make it again",
                ));
            }
            if facts.encrypted {
                return Err(Fault::refused(
                    "PDF-ENCRYPTED",
                    "PDF が暗号化されています。パスワードなしで作り直してください。",
                    "the PDF is encrypted; make it without a password",
                ));
            }
            return Ok(Format::Pdf);
        }
        let named_csv = name.rsplit_once('.').is_some_and(|(_, end)| end.eq_ignore_ascii_case("csv"));
        if named_csv && allowed.csv && !self.pdf.head().contains(&0) {
            return Ok(Format::Csv);
        }
        if named_csv {
            return Err(Fault::refused(
                "CSV-NOT-ALLOWED",
                "CSV は送れない設定か、内容が CSV ではありません。PDF を置いてください。",
                "CSV is not allowed here, or this is none; leave a PDF",
            ));
        }
        let named_txt = name.rsplit_once('.').is_some_and(|(_, end)| end.eq_ignore_ascii_case("txt"));
        if named_txt && allowed.text && !self.text.is_utf8() {
            return Err(Fault::refused(
                "TEXT-NOT-UTF-8",
                "テキストの文字コードが UTF-8 ではありません。UTF-8 で保存し直してください。",
                "the text is not UTF-8; save it as UTF-8",
            ));
        }
        if named_txt && allowed.text && !self.controls {
            if !self.text.says {
                return Err(Fault::refused("FILE-EMPTY", "本文がありません。", "the text is blank"));
            }
            return Ok(Format::Txt);
        }
        Err(Fault::refused("FILE-NOT-PDF", "内容が PDF ではありません。", "the content is no PDF"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&[u8]], name: &str, csv: bool) -> Result<Format, &'static str> {
        let mut check = ContentCheck::default();
        for piece in pieces {
            check.feed(piece);
        }
        check.verdict(name, Allowed { csv, text: name.starts_with("text") }).map_err(|fault| fault.code)
    }

    #[test]
    fn content_decides() {
        type Case = (&'static [&'static [u8]], &'static str, bool, Result<Format, &'static str>);
        let cases: [Case; 20] = [
            (&[b"\xef\xbb", b"\xbf\xe4\xbc", b"\x91", b"\xe6\xa5\xad"], "text.txt", false, Ok(Format::Txt)),
            (&[b"\xef\xbb\xbf \r\n"], "text.txt", false, Err("FILE-EMPTY")),
            (&[b"\x8b\x78\x8b\xc6\r\n"], "text.txt", false, Err("TEXT-NOT-UTF-8")),
            (&[b"\xff\xfe\x11O"], "text.txt", false, Err("TEXT-NOT-UTF-8")),
            (&[b"a\xe4\xbc"], "text.txt", false, Err("TEXT-NOT-UTF-8")),
            (&[b"a\xe4", b"a"], "text.txt", false, Err("TEXT-NOT-UTF-8")),
            (&[b"\xef\xbb\xbfa\r\n"], "text.txt", false, Ok(Format::Txt)),
            (&[b"a\x1b[0m"], "text.txt", false, Err("FILE-NOT-PDF")),
            (&[b"a"], "a.txt", true, Err("FILE-NOT-PDF")),
            (&[b"%PDF-1.7\n...\n%%EOF\n"], "a.pdf", false, Ok(Format::Pdf)),
            (&[b"%PD", b"F-1.7\n%%E", b"OF"], "a.pdf", false, Ok(Format::Pdf)),
            (
                &[b"%PDF-1.7\n", b"trailer << /Encr", b"ypt 5 0 R >>%%EOF"],
                "a.pdf",
                false,
                Err("PDF-ENCRYPTED"),
            ),
            (&[b"%PDF-1.7 /Encrypt<</V 1>>%%EOF"], "a.pdf", false, Err("PDF-ENCRYPTED")),
            (&[b"%PDF-1.7 /EncryptMetadata true %%EOF"], "a.pdf", false, Ok(Format::Pdf)),
            (&[b"%PDF-1.7\nhalf"], "a.pdf", false, Err("PDF-CUT")),
            (&[], "a.pdf", false, Err("FILE-EMPTY")),
            (&[b"MZ\x90"], "a.pdf", false, Err("FILE-NOT-PDF")),
            (&[b"a,b\r\n"], "a.csv", true, Ok(Format::Csv)),
            (&[b"a,b\r\n"], "a.csv", false, Err("CSV-NOT-ALLOWED")),
            (&[b"a\0b"], "a.CSV", true, Err("CSV-NOT-ALLOWED")),
        ];
        for (pieces, name, csv, expected) in cases {
            assert_eq!(check(pieces, name, csv), expected, "{pieces:?} {name}");
        }
        let long = [b"%PDF-1.7\n".to_vec(), vec![b'x'; 5000], b"%%EOF".to_vec(), vec![b'\n'; 3000]].concat();
        assert_eq!(check(&[&long], "a.pdf", false), Err("PDF-CUT"));
    }
}
