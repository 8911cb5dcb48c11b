//! No finding shows an individual number (K54), wherever it stands and however it is written.

/// Digits of an individual number.
const DIGITS: usize = 12;

/// A text with every run of twelve or more digits masked. Marks and blanks between digits, in either width, do not end a run:
/// `1234-5678-9012` is one number. Letters, kana and kanji end it.
pub(crate) fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // From the first digit of a run to its last, and what stands after that.
    let (mut run, mut after, mut digits) = (String::new(), String::new(), 0);
    let end = |out: &mut String, run: &mut String, after: &mut String, digits: &mut usize| {
        out.push_str(if *digits < DIGITS { run.as_str() } else { "************" });
        out.push_str(after);
        run.clear();
        after.clear();
        *digits = 0;
    };
    for c in text.chars() {
        if c.is_numeric() {
            run.push_str(&after);
            after.clear();
            run.push(c);
            digits += 1;
        } else if digits > 0 && is_between(c) {
            after.push(c);
        } else {
            end(&mut out, &mut run, &mut after, &mut digits);
            out.push(c);
        }
    }
    end(&mut out, &mut run, &mut after, &mut digits);
    out
}

/// A sum that a rule expects, masked where a part of it was no amount: those have at most seven digits, and an individual
/// number among them would show in the sum.
pub(crate) fn masked_sum(expected: &str) -> String {
    const SUM_DIGITS_MAX: usize = 9;
    let mut out = String::with_capacity(expected.len());
    let mut rest = expected;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        let end = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (digits, after) = from.split_at(end);
        out.push_str(before);
        out.push_str(if digits.len() > SUM_DIGITS_MAX { "************" } else { digits });
        rest = after;
    }
    out + rest
}

/// What people put between the groups of a number; a long-vowel mark is typed for a hyphen.
fn is_between(c: char) -> bool {
    !c.is_alphanumeric() || matches!(c, 'ー' | 'ｰ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_masked_however_it_is_written() {
        for number in [
            "123456789012",
            "1234-5678-9012",
            "1234 5678 9012",
            "1234－5678－9012",
            "１２３４－５６７８－９０１２",
            "１２３４　５６７８　９０１２",
            "１２３４ー５６７８ｰ９０１２",
            "1234.5678/9012",
            "1 2 3 4 5 6 7 8 9 0 1 2",
            "1234  --  56789012345",
        ] {
            assert_eq!(masked(number), "************", "{number}");
            assert_eq!(masked(&format!("番号 {number} です")), "番号 ************ です", "{number}");
            assert_eq!(masked(&format!("-{number}-")), "-************-", "{number}");
        }
        for plain in
            ["", "03-1234-5678", "9-080401", "12345678901", "1234-5678-901", "12345a6789012", "見本　太郎"]
        {
            assert_eq!(masked(plain), plain);
        }
        assert_eq!(masked_sum("123456799018 / 41152266339"), "************ / ************");
        assert_eq!(masked_sum("計123456799018円"), "計************円");
        for plain in ["", "1401000 / 467000", "令和8年4月1日", "9-080401", "29999997"] {
            assert_eq!(masked_sum(plain), plain);
        }
    }
}
