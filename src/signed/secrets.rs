//! Private keys that were sent by mistake: recognised by how they begin, so that they are refused and never stored.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// How many first bytes [`private_key`] needs: a byte order mark, blanks, comment lines before a PEM block, and its first line.
pub const HEAD_BYTES: usize = 4096;

/// What kind of private key something begins like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrivateKeyKind {
    /// `-----BEGIN OPENSSH PRIVATE KEY-----`, also the binary form inside it.
    OpenSsh,
    /// `-----BEGIN RSA/EC/DSA PRIVATE KEY-----`, PKCS#8, encrypted or not, and any other PEM private key.
    Pem,
    /// `---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----` of the commercial SSH.
    Ssh2,
    /// PuTTY `.ppk`.
    Putty,
    /// PKCS#12 (`.p12`, `.pfx`).
    Pkcs12,
    /// PKCS#8, PKCS#1 or SEC 1 in DER.
    Der,
    /// `-----BEGIN PGP PRIVATE KEY BLOCK-----`.
    Pgp,
}

impl PrivateKeyKind {
    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenSsh => "OpenSSH private key",
            Self::Pem => "PEM private key",
            Self::Ssh2 => "SSH2 private key",
            Self::Putty => "PuTTY private key (.ppk)",
            Self::Pkcs12 => "PKCS#12 (.p12, .pfx)",
            Self::Der => "DER private key",
            Self::Pgp => "PGP private key",
        }
    }
}

/// Whether a file that begins with `head` (its first [`HEAD_BYTES`] or all of it) is a private key.
///
/// A PEM block may stand after blanks, a byte order mark and other text (`openssl pkcs12` writes "Bag Attributes"
/// first), so the whole head is looked through, line by line; UTF-16 text is looked at as well.
pub fn private_key(head: &[u8]) -> Option<PrivateKeyKind> {
    let head = &head[..head.len().min(HEAD_BYTES)];
    if let Some(kind) = der(head) {
        return Some(kind);
    }
    if head.starts_with(b"openssh-key-v1\0") {
        return Some(PrivateKeyKind::OpenSsh);
    }
    let narrow: Vec<u8>;
    let text = if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") || head.get(1) == Some(&0) {
        narrow = head.iter().copied().filter(|b| *b != 0).collect();
        narrow.as_slice()
    } else {
        head
    };
    // Nearly every file is told innocent by two quick searches; only of the others is each line looked at.
    if MARKS.iter().all(|mark| mark.find(text).is_none()) {
        return None;
    }
    text.split(|b| *b == b'\n' || *b == b'\r').find_map(line)
}

/// A line that begins a key has one of these in it.
static MARKS: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| [Finder::new(BEGIN), Finder::new(PUTTY)]);
const BEGIN: &[u8] = b"BEGIN ";
const PUTTY: &[u8] = b"PuTTY-User-Key-File-";

fn line(line: &[u8]) -> Option<PrivateKeyKind> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let line = line.strip_prefix(b"\xff\xfe").or_else(|| line.strip_prefix(b"\xfe\xff")).unwrap_or(line);
    let line = line.trim_ascii();
    if line.starts_with(PUTTY) {
        return Some(PrivateKeyKind::Putty);
    }
    let label = line.strip_prefix(b"-----BEGIN ").or_else(|| line.strip_prefix(b"---- BEGIN "))?;
    let has = |word: &[u8]| label.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    if !has(b"PRIVATE KEY") {
        return None;
    }
    Some(if has(b"OPENSSH") {
        PrivateKeyKind::OpenSsh
    } else if has(b"SSH2") {
        PrivateKeyKind::Ssh2
    } else if has(b"PGP") {
        PrivateKeyKind::Pgp
    } else {
        PrivateKeyKind::Pem
    })
}

/// The content of a DER value's header: tag, and what is left after tag and length. Indefinite lengths (BER) are let pass.
fn header(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    match length {
        0..=0x80 => Some((tag, rest)),
        0x81..=0x84 => rest.get(usize::from(length & 0x7f)..).map(|rest| (tag, rest)),
        _ => None,
    }
}

fn der(head: &[u8]) -> Option<PrivateKeyKind> {
    // 1.2.840.113549.1.7 (PKCS#7 content types), without the last arc.
    const PKCS7: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07";
    // 1.2.840.113549.1.5.13 (PBES2) and 1.2.840.113549.1.12.1 (PKCS#12 PBE): encrypted PKCS#8.
    const PBES2: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d";
    const PKCS12_PBE: &[u8] = b"\x06\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01";
    let (0x30, body) = header(head)? else { return None };
    // Encrypted PKCS#8: SEQUENCE { AlgorithmIdentifier, OCTET STRING }.
    if let Some((0x30, algorithm)) = header(body) {
        return (algorithm.starts_with(PBES2) || algorithm.starts_with(PKCS12_PBE))
            .then_some(PrivateKeyKind::Der);
    }
    // All others: SEQUENCE { INTEGER version, ... }.
    let [0x02, 0x01, version, rest @ ..] = body else { return None };
    let (tag, inner) = header(rest)?;
    match (version, tag) {
        // PFX: version 3, then ContentInfo of PKCS#7 data or signedData.
        (3, 0x30) if inner.starts_with(PKCS7) => Some(PrivateKeyKind::Pkcs12),
        // PKCS#8: version 0 or 1, then AlgorithmIdentifier { OID, ... }.
        (0 | 1, 0x30) if inner.first() == Some(&0x06) && !inner.starts_with(PKCS7) => {
            Some(PrivateKeyKind::Der)
        }
        // PKCS#1: version 0, then the modulus, longer than 64 bytes.
        (0, 0x02) if rest.get(1).is_some_and(|length| *length >= 0x81 || *length >= 0x41) => {
            Some(PrivateKeyKind::Der)
        }
        // SEC 1: version 1, then OCTET STRING of 28 to 66 bytes.
        (1, 0x04) if rest.get(1).is_some_and(|length| (28..=66).contains(length)) => {
            Some(PrivateKeyKind::Der)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn run(dir: &Path, command: &str) {
        let status = Command::new("sh").args(["-c", command]).current_dir(dir).status().unwrap();
        assert!(status.success(), "{command}");
    }

    #[test]
    fn keys_made_by_the_usual_tools_are_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let cases = [
            ("ssh-keygen -q -N '' -t ed25519 -f k", "k", PrivateKeyKind::OpenSsh),
            ("ssh-keygen -q -N '' -t rsa -b 2048 -m PEM -f rsa", "rsa", PrivateKeyKind::Pem),
            ("ssh-keygen -q -N '' -t ecdsa -m PKCS8 -f p8", "p8", PrivateKeyKind::Pem),
            ("ssh-keygen -q -N secret -t ecdsa -m PKCS8 -f p8e", "p8e", PrivateKeyKind::Pem),
            ("openssl pkey -in p8 -outform DER -out p8.der", "p8.der", PrivateKeyKind::Der),
            (
                "openssl rsa -in rsa -traditional -outform DER -out rsa.der 2>/dev/null",
                "rsa.der",
                PrivateKeyKind::Der,
            ),
            ("openssl ec -in p8 -outform DER -out ec.der 2>/dev/null", "ec.der", PrivateKeyKind::Der),
            (
                "openssl pkcs8 -in p8 -topk8 -passout pass:x -outform DER -out e.der",
                "e.der",
                PrivateKeyKind::Der,
            ),
            (
                "openssl req -x509 -key rsa -subj /CN=K0001 -out c.pem && openssl pkcs12 -export -inkey rsa -in c.pem -passout pass:x -out k.p12",
                "k.p12",
                PrivateKeyKind::Pkcs12,
            ),
            ("openssl pkcs12 -in k.p12 -passin pass:x -nodes -out bag", "bag", PrivateKeyKind::Pem),
        ];
        for (command, file, kind) in cases {
            run(dir.path(), command);
            let content = std::fs::read(dir.path().join(file)).unwrap();
            let content = if file == "bag" {
                let at = content.windows(11).rposition(|w| w == b"-----BEGIN ").unwrap();
                [b"Bag Attributes\n    friendlyName: x\n".as_slice(), &content[at..]].concat()
            } else {
                content
            };
            assert_eq!(private_key(&content), Some(kind), "{command}");
        }
        for (command, file) in [
            ("true", "k.pub"),
            ("true", "c.pem"),
            ("openssl x509 -in c.pem -outform DER -out c.der", "c.der"),
            ("openssl pkey -in p8 -pubout -outform DER -out pub.der", "pub.der"),
            (
                "echo x > m; openssl cms -sign -binary -in m -signer c.pem -inkey rsa -outform DER -out m.p7s",
                "m.p7s",
            ),
        ] {
            run(dir.path(), command);
            let content = std::fs::read(dir.path().join(file)).unwrap();
            assert_eq!(private_key(&content), None, "{file}");
        }
    }

    #[test]
    fn marks_and_blanks_do_not_hide_a_key() {
        let begin = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
        for text in [format!("\u{feff}{begin}"), format!("\n\r\n  {begin}"), begin.replace('\n', "\r\n")] {
            assert_eq!(private_key(text.as_bytes()), Some(PrivateKeyKind::OpenSsh), "{text:?}");
        }
        let utf16: Vec<u8> = begin.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(private_key(&utf16), Some(PrivateKeyKind::OpenSsh));
        let marked = [b"\xff\xfe".as_slice(), &utf16].concat();
        assert_eq!(private_key(&marked), Some(PrivateKeyKind::OpenSsh));
        assert_eq!(private_key(b"PuTTY-User-Key-File-3: ssh-ed25519\r\n"), Some(PrivateKeyKind::Putty));
        let ssh2 = b"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n";
        assert_eq!(private_key(ssh2), Some(PrivateKeyKind::Ssh2));
        assert_eq!(private_key(b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n"), Some(PrivateKeyKind::Pgp));
        for innocent in
            [b"".as_slice(), b"%PDF-1.7\n", b"1234,001,20261123,,,,,\r\n", b"the words PRIVATE KEY\n"]
        {
            assert_eq!(private_key(innocent), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
            let _ = private_key(&bytes);
            if let Some(first) = bytes.first_mut() {
                *first = 0x30;
            }
            let _ = private_key(&bytes);
        }
    }
}
