//! What a document may be, told by its content alone.

use super::sheet::Fault;
use crate::filing::PdfWatch;
use crate::model::document::Format;

/// Looks at a document piece by piece while it is copied.
#[derive(Default)]
pub(super) struct ContentCheck(PdfWatch);

impl ContentCheck {
    /// The next piece.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.0.feed(bytes);
    }

    /// The verdict after the last piece. `csv` says that the insurer may send CSV (H3).
    pub(super) fn verdict(&self, name: &str, csv: bool) -> Result<Format, Fault> {
        let facts = self.0.facts();
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
        if named_csv && csv && !self.0.head().contains(&0) {
            return Ok(Format::Csv);
        }
        if named_csv {
            return Err(Fault::refused(
                "CSV-NOT-ALLOWED",
                "CSV は送れない設定か、内容が CSV ではありません。PDF を置いてください。",
                "CSV is not allowed here, or this is none; leave a PDF",
            ));
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
        check.verdict(name, csv).map_err(|fault| fault.code)
    }

    #[test]
    fn content_decides() {
        type Case = (&'static [&'static [u8]], &'static str, bool, Result<Format, &'static str>);
        let cases: [Case; 11] = [
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
