//! Other transmissions (電子申請以外, K55): which files may travel so, told by their content, not by their name alone. Read once,
//! in bounded memory; nothing in them is run, unpacked or parsed.

use std::io::{self, Read};

use serde::Deserialize;

use super::pdf::{PdfFacts, PdfWatch};

/// A kind of file that an insurer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OtherType {
    /// `.pdf`
    Pdf,
    /// `.csv`
    Csv,
    /// `.txt`
    Txt,
    /// `.jpg`, `.jpeg`
    Jpg,
    /// `.png`
    Png,
    /// `.tif`, `.tiff`
    Tif,
    /// `.xlsx`
    Xlsx,
    /// `.docx`
    Docx,
    /// `.pptx`
    Pptx,
}

impl OtherType {
    /// All of them: what is taken where the insurer says nothing.
    pub const ALL: [Self; 9] = [
        Self::Pdf,
        Self::Csv,
        Self::Txt,
        Self::Jpg,
        Self::Png,
        Self::Tif,
        Self::Xlsx,
        Self::Docx,
        Self::Pptx,
    ];

    /// What the end of a file's name (in lower case, without the dot) says.
    pub fn named(extension: &str) -> Option<Self> {
        Some(match extension {
            "pdf" => Self::Pdf,
            "csv" => Self::Csv,
            "txt" => Self::Txt,
            "jpg" | "jpeg" => Self::Jpg,
            "png" => Self::Png,
            "tif" | "tiff" => Self::Tif,
            "xlsx" => Self::Xlsx,
            "docx" => Self::Docx,
            "pptx" => Self::Pptx,
            _ => return None,
        })
    }

    /// The end of a name, without the dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Pdf => "pdf",
            Self::Csv => "csv",
            Self::Txt => "txt",
            Self::Jpg => "jpg",
            Self::Png => "png",
            Self::Tif => "tif",
            Self::Xlsx => "xlsx",
            Self::Docx => "docx",
            Self::Pptx => "pptx",
        }
    }

    /// Whether a file of this content may bear such a name.
    fn fits(self, content: Content) -> bool {
        match self {
            Self::Csv | Self::Txt => content == Content::Text,
            other => content == Content::Of(other),
        }
    }
}

/// `[other]` of `conf/insurers/CODE.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtherPolicy {
    /// Whether any are taken.
    pub taken: bool,
    /// Which kinds of files.
    pub types: Vec<OtherType>,
    /// Most files of one.
    pub files_max: usize,
    /// Most bytes of one file.
    pub bytes_max: u64,
    /// Whether `# subject:` must say what it is.
    pub subject_required: bool,
}

impl OtherPolicy {
    /// What of it cannot work: the key, and why.
    pub(super) fn fault(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self { taken: false, .. } => None,
            Self { types, .. } if types.is_empty() => {
                Some(("types", "the list is empty; write taken = false where none are taken"))
            }
            Self { files_max: 0, .. } => Some(("files_max", "must be 1 or more")),
            Self { bytes_max: 0, .. } => Some(("bytes_max", "must be 1 or more")),
            _ => None,
        }
    }
}

impl Default for OtherPolicy {
    fn default() -> Self {
        Self {
            taken: true,
            types: OtherType::ALL.to_vec(),
            files_max: 50,
            bytes_max: 50_000_000,
            subject_required: false,
        }
    }
}

/// What a file is, by its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// One of these.
    Of(OtherType),
    /// Text without control characters: CSV or plain.
    Text,
    /// A filing (`[kanri]` near its beginning), whatever its name.
    Filing,
    /// Something else.
    Unknown,
}

/// What was seen of a file of another transmission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherFacts {
    /// What it is.
    pub content: Content,
    /// It carries macros (`vbaProject.bin`).
    pub macros: bool,
    /// What a PDF must be beside.
    pub pdf: PdfFacts,
}

impl OtherFacts {
    /// Whether a name that ends so may stand on it.
    pub fn fits(&self, named: OtherType) -> bool {
        named.fits(self.content)
    }
}

const BLOCK: usize = 64 * 1024;
/// Longer than each text that is looked for.
const OVERLAP: usize = 64;
/// Names within Office files; they stand there as they are, since only contents are packed.
const OFFICE: [(&[u8], OtherType); 3] = [
    (b"xl/workbook.xml", OtherType::Xlsx),
    (b"word/document.xml", OtherType::Docx),
    (b"ppt/presentation.xml", OtherType::Pptx),
];

/// Reads a file to its end.
pub fn inspect_other(mut reader: impl Read) -> io::Result<OtherFacts> {
    let mut watch = PdfWatch::default();
    let mut buffer = vec![0; BLOCK];
    let mut seam: Vec<u8> = Vec::new();
    let (mut office, mut macros, mut text) = (None, false, true);
    loop {
        let piece = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => &buffer[..n],
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        watch.feed(piece);
        text &= !piece.iter().any(|byte| *byte < 0x20 && !b"\t\n\r\x0c".contains(byte));
        seam.extend_from_slice(piece);
        macros |= memchr::memmem::find(&seam, b"vbaProject.bin").is_some();
        office = office.or_else(|| {
            OFFICE.iter().find(|(name, _)| memchr::memmem::find(&seam, name).is_some()).map(|(_, of)| *of)
        });
        seam.drain(..seam.len().saturating_sub(OVERLAP));
    }
    let pdf = watch.facts();
    let head = watch.head();
    let content = if pdf.begins {
        Content::Of(OtherType::Pdf)
    } else if head.starts_with(b"\xff\xd8\xff") {
        Content::Of(OtherType::Jpg)
    } else if head.starts_with(b"\x89PNG\r\n\x1a\n") {
        Content::Of(OtherType::Png)
    } else if head.starts_with(b"II*\0") || head.starts_with(b"MM\0*") {
        Content::Of(OtherType::Tif)
    } else if head.starts_with(b"PK\x03\x04") {
        office.map_or(Content::Unknown, Content::Of)
    } else if text && is_filing(head) {
        Content::Filing
    } else if text {
        Content::Text
    } else {
        Content::Unknown
    };
    Ok(OtherFacts { content, macros, pdf })
}

/// All files of the pension service's family have this line near the top.
fn is_filing(head: &[u8]) -> bool {
    head.split(|byte| *byte == b'\n').take(5).any(|line| line.trim_ascii().eq_ignore_ascii_case(b"[kanri]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_tells_what_a_file_is() {
        let far = |name: &[u8]| [b"PK\x03\x04", vec![1; BLOCK - 10].as_slice(), name, b"..."].concat();
        let cases: [(&[u8], Content); 14] = [
            (b"%PDF-1.7\n%%EOF", Content::Of(OtherType::Pdf)),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", Content::Of(OtherType::Jpg)),
            (b"\x89PNG\r\n\x1a\n\0\0", Content::Of(OtherType::Png)),
            (b"II*\0\x08", Content::Of(OtherType::Tif)),
            (b"MM\0*\0", Content::Of(OtherType::Tif)),
            (&far(b"xl/workbook.xml"), Content::Of(OtherType::Xlsx)),
            (&far(b"word/document.xml"), Content::Of(OtherType::Docx)),
            (&far(b"ppt/presentation.xml"), Content::Of(OtherType::Pptx)),
            (b"PK\x03\x04 a.txt", Content::Unknown),
            (b"\xd0\xcf\x11\xe0 old office", Content::Unknown),
            (b"MZ\x90\0", Content::Unknown),
            ("番号,氏名\r\n1,見本\r\n".as_bytes(), Content::Text),
            (b"\x8e\x91,1\r\n", Content::Text),
            (b"1234,001,20261123,,,,,\r\n[kanri]\r\n,001\r\n", Content::Filing),
        ];
        for (bytes, expected) in cases {
            assert_eq!(inspect_other(bytes).unwrap().content, expected, "{:?}", &bytes[..4.min(bytes.len())]);
        }
        let named =
            [("a", None), ("jpeg", Some(OtherType::Jpg)), ("tiff", Some(OtherType::Tif)), ("exe", None)];
        for (extension, expected) in named {
            assert_eq!(OtherType::named(extension), expected);
        }
        let facts = inspect_other(&far(b"xl/workbook.xml xl/vbaProject.bin")[..]).unwrap();
        assert!(facts.macros && facts.fits(OtherType::Xlsx) && !facts.fits(OtherType::Pdf));
        let text = inspect_other(&b"a,b\n"[..]).unwrap();
        assert!(text.fits(OtherType::Csv) && text.fits(OtherType::Txt) && !text.fits(OtherType::Docx));
        assert!(OtherType::ALL.iter().all(|kind| OtherType::named(kind.extension()) == Some(*kind)));
    }
}
