//! Which encoding a file is in, by the proportion of what only that encoding writes: a damaged byte or two do not change it.

/// The encodings that Japanese files come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// What it must be.
    Cp932,
    Utf8,
    EucJp,
    Iso2022Jp,
}

/// Sound bytes for each damaged one.
const PROPORTION: usize = 4;

/// What was counted.
#[derive(Default)]
struct Seen {
    /// Bytes of what only this encoding writes.
    own: usize,
    /// Bytes that this encoding cannot have.
    bad: usize,
}

impl Seen {
    fn is_it(&self) -> bool {
        self.own > 0 && self.own >= PROPORTION * self.bad
    }
}

/// The encoding of a file, by its first bytes; the last character may be cut off.
pub(crate) fn of(head: &[u8]) -> Encoding {
    // Escape sequences to JIS X 0208 stand in no CP932 file.
    if [b"\x1b$B", b"\x1b$@"].iter().any(|escape| memchr::memmem::find(head, *escape).is_some()) {
        Encoding::Iso2022Jp
    } else if utf8(head).is_it() {
        Encoding::Utf8
    } else if euc_jp(head).is_it() {
        Encoding::EucJp
    } else {
        Encoding::Cp932
    }
}

/// A byte that is half-width kana by itself in CP932.
const fn is_kana(byte: u8) -> bool {
    matches!(byte, 0xa1..=0xdf)
}

/// Two bytes that are half-width kana in CP932 (`ﾐｷ`) say nothing, though they may be UTF-8 as well.
fn utf8(head: &[u8]) -> Seen {
    let mut seen = Seen::default();
    for chunk in head.utf8_chunks() {
        for c in chunk.valid().chars().filter(|c| !c.is_ascii()) {
            let mut bytes = [0; 4];
            let text = c.encode_utf8(&mut bytes).as_bytes();
            if !text.iter().all(|byte| is_kana(*byte)) {
                seen.own += text.len();
            }
        }
        seen.bad += chunk.invalid().len();
    }
    seen.bad -= cut_off(head).min(seen.bad);
    seen
}

/// Bytes of a character that the end of the head cut off.
fn cut_off(head: &[u8]) -> usize {
    match std::str::from_utf8(&head[head.len().saturating_sub(3)..]) {
        Err(e) if e.error_len().is_none() => head.len().min(3) - e.valid_up_to(),
        _ => 0,
    }
}

/// Pairs of which both bytes are half-width kana in CP932 say nothing, but for the two-byte blank, which would be `｡｡`. Of
/// others the leads of kana and of the first level's kanji are half-width kana in CP932, so that no CP932 file has them before a
/// byte that is none. A half-width kana of EUC-JP is also a kanji of CP932: they count where nothing else speaks.
fn euc_jp(head: &[u8]) -> Seen {
    let (mut seen, mut kana, mut rest) = (Seen::default(), 0, head);
    loop {
        rest = match rest {
            // The last may be cut off, if it is a pair.
            [] | [0x8e | 0xa1..=0xfe] => break,
            [0x8e, 0xa1..=0xdf, rest @ ..] => {
                kana += 2;
                rest
            }
            [0xa1, 0xa1, rest @ ..] => {
                seen.own += 4;
                rest
            }
            [0xa4 | 0xa5 | 0xb0..=0xcf, 0xe0..=0xfe, rest @ ..] => {
                seen.own += 2;
                rest
            }
            [0..=0x7f, rest @ ..] | [0xa1..=0xfe, 0xa1..=0xfe, rest @ ..] => rest,
            [_, rest @ ..] => {
                seen.bad += 1;
                rest
            }
        };
    }
    // Kana before a rare kanji in one remark are no proof.
    if seen.own < 4 {
        seen.own = 0;
    }
    // One name in half-width kana has more than two.
    if kana > 4 && kana >= PROPORTION * seen.bad {
        seen.own += kana;
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cp932(text: &str) -> Vec<u8> {
        encoding_rs::SHIFT_JIS.encode(text).0.into_owned()
    }

    fn euc(text: &str) -> Vec<u8> {
        encoding_rs::EUC_JP.encode(text).0.into_owned()
    }

    const LINE: &str = "2201700,21,01,ｱｲ,12345,1,ﾐﾎﾝ ﾀﾛｳ,見本　太郎,5,600101\r\n";

    #[test]
    fn utf8_is_recognised_also_when_cut_or_damaged() {
        assert_eq!(of("見本太郎".as_bytes()), Encoding::Utf8);
        assert_eq!(of(&"見本太郎".as_bytes()[..10]), Encoding::Utf8);
        assert_eq!(of(&"見本太郎".as_bytes()[..11]), Encoding::Utf8);
        let whole = LINE.repeat(3).into_bytes();
        for at in (0..whole.len()).filter(|at| !whole[*at].is_ascii()) {
            let mut bytes = whole.clone();
            bytes[at] = 0xff;
            assert_eq!(of(&bytes), Encoding::Utf8, "{at}");
        }
        assert_eq!(of(b"1234,001"), Encoding::Cp932);
    }

    #[test]
    fn euc_and_jis_are_recognised() {
        assert_eq!(of(&euc(LINE)), Encoding::EucJp);
        // Latin letters for kana, and a name of which each byte is a half-width kana in CP932.
        assert_eq!(of(&euc("2201700,21,01,AB,,1,MIHON TARO,見本　太郎\r\n")), Encoding::EucJp);
        assert_eq!(of(&euc("例田　桜")), Encoding::EucJp);
        let mut bytes = euc(&LINE.repeat(20));
        let at = bytes.iter().position(|byte| *byte == 0xb8).unwrap();
        bytes[at] = 0xff;
        assert_eq!(of(&bytes), Encoding::EucJp);
        let jis = encoding_rs::ISO_2022_JP.encode("見本　太郎").0.into_owned();
        assert_eq!(of(&jis), Encoding::Iso2022Jp);
    }

    #[test]
    fn cp932_is_never_taken_for_another() {
        for text in [
            LINE,
            "ﾐｷ ﾄｱ",
            "2201700,21,01,AB,,1,ﾐｷ ﾄｱ,,5,600101",
            "ﾐｷ ﾄｱ,見本　太郎",
            "ﾔﾏﾀﾞ ｻｸﾗ",
            "ﾀｶ ｻｷ,髙﨑",
            "ﾀｶｻｷ ｼﾞﾛｳ,髙﨑",
            "ｼﾞ,次治滋爾璽",
            "ﾚｲ,澪瑠璃",
            "麗奈,凜々花,煌,琉碧",
            "ﾐﾎﾝ ﾀﾛｳ,ﾐｵ澪",
        ] {
            assert_eq!(of(&cp932(text)), Encoding::Cp932, "{text}");
        }
        // Every kanji of the first two levels, by itself and twice, beside kana.
        let all: Vec<u16> = (0x889f..=0xeaa4_u16).collect();
        for code in all {
            let pair = code.to_be_bytes();
            if !crate::filing::cp932::is_lead(pair[0]) {
                continue;
            }
            let line = [&cp932("ﾐｷ ﾄｱ,"), &pair[..], &pair, b",x"].concat();
            if std::str::from_utf8(&line).is_err() && pair[0] != 0x8e {
                assert_eq!(of(&line), Encoding::Cp932, "{code:x}");
            }
        }
    }
}
