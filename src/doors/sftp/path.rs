//! From the bytes a client calls a path to a [`VirtualPath`], or to words about what is wrong with it.

use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::config::Limits;
use super::port::{Fault, Status, VirtualPath};
use super::texts;
use crate::model::finding::Language;

/// Makes a path absolute and clean. Paths are relative to the root (SFTP version 3 has no working folder on the
/// server); `..` at the root stays there. Names must be UTF-8 and are compared in NFC, so that two spellings of one
/// name, or two names that differ only in undecodable bytes, never meet.
pub fn resolve(bytes: &[u8], limits: &Limits, language: Language) -> Result<VirtualPath, Fault> {
    if bytes.len() > limits.path_bytes_max {
        return Err(fault(Status::BadMessage, &texts::PATH_LONG, language));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(fault(Status::BadMessage, &texts::PATH_UTF8, language));
    };
    if text.chars().any(char::is_control) {
        return Err(fault(Status::BadMessage, &texts::PATH_CONTROL, language));
    }
    let normal;
    let text = if is_nfc(text) {
        text
    } else {
        normal = text.nfc().collect::<String>();
        normal.as_str()
    };
    let mut parts: Vec<String> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => {
                if name.len() > limits.name_bytes_max || parts.len() >= limits.path_parts_max {
                    return Err(fault(Status::BadMessage, &texts::PATH_LONG, language));
                }
                parts.push(name.to_owned());
            }
        }
    }
    Ok(VirtualPath(parts))
}

/// The path as `SSH_FXP_REALPATH` answers it.
pub fn display(path: &VirtualPath) -> String {
    if path.0.is_empty() {
        return "/".to_owned();
    }
    let mut text = String::with_capacity(path.0.iter().map(|part| part.len() + 1).sum());
    for part in &path.0 {
        text.push('/');
        text.push_str(part);
    }
    text
}

fn fault(status: Status, message: &texts::Message, language: Language) -> Fault {
    message.fault(status, language)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Result<&str, &str>) {
        let got = resolve(bytes, &Limits::default(), Language::En);
        let got = got.as_ref().map(display).map_err(|fault| fault.code.to_string());
        assert_eq!(
            got.as_deref().map_err(String::as_str),
            expected,
            "{:?}",
            bytes.escape_ascii().to_string()
        );
    }

    #[test]
    fn paths_become_absolute_and_clean() {
        check(b"", Ok("/"));
        check(b".", Ok("/"));
        check(b"/", Ok("/"));
        check(b"submit/x", Ok("/submit/x"));
        check(b"//submit/./x//", Ok("/submit/x"));
        check(b"/submit/../outbox", Ok("/outbox"));
        check(b"/../../../etc/passwd", Ok("/etc/passwd"));
        check(b"..", Ok("/"));
        check(b"/a/..", Ok("/"));
        check(b"...", Ok("/..."));
        check("届け/東京".as_bytes(), Ok("/届け/東京"));
    }

    #[test]
    fn two_spellings_of_a_name_are_one() {
        // U+30AB U+3099 (ka and a combining voiced mark) is U+30AC (ga).
        check("/カ\u{3099}".as_bytes(), Ok("/ガ"));
        check("/ガ".as_bytes(), Ok("/ガ"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        check(b"/a\xff", Err("PATH-UTF8"));
        check(b"/\x93\xcd\x8f\x6f", Err("PATH-UTF8"));
        check(b"/a\0b", Err("PATH-CONTROL"));
        check(b"/a\nb", Err("PATH-CONTROL"));
        check(b"/a\x7f", Err("PATH-CONTROL"));
        check("/a\u{85}".as_bytes(), Err("PATH-CONTROL"));
        check(&[b'a'; 256], Err("PATH-LONG"));
        check(&[b'a'; 255], Ok(&format!("/{}", "a".repeat(255))));
        check(&b"/a".repeat(33), Err("PATH-LONG"));
        check(&b"/".repeat(4097), Err("PATH-LONG"));
        check(&b"/".repeat(4096), Ok("/"));
    }
}
