//! Passwords: what one may be (K33-K35, H6), how long it is good for (E1-E4), and temporary ones that can be read over the
//! telephone. Letters, digits and symbols are those of K34 and of H6 together, which is every visible ASCII character,
//! since the yen sign and the backslash are one.

use std::fmt;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::model::finding::Text;
use crate::model::time::{DAY, Timestamp};

/// Fewest characters (K33 H6).
pub const CHARS_MIN: usize = 8;
/// Most characters (K33 H6).
pub const CHARS_MAX: usize = 16;
/// What is looked at of a text that is given as a password; longer ones are not passwords.
pub const GIVEN_BYTES_MAX: usize = 256;

/// `[passwords]`: policy of passwords, and what checking them may cost.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PasswordsPolicy {
    /// Days until a password must be changed (E1); 0: never.
    pub valid_days: u32,
    /// Days within which a temporary password must be used (K27); 0: always.
    pub temporary_days: u32,
    /// Memory of one check (argon2id), in KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub passes: u32,
    /// Checks at the same time.
    pub checks_max: usize,
    /// Checks that may wait for their turn; beyond it, "try again".
    pub checks_waiting_max: usize,
    /// Checks of enrolment logins at the same time, beside those: anybody may ask for them.
    pub enrolment_checks_max: usize,
    /// Wrong passwords from one source, to whatever accounts, after which its passwords do not count for a while. More than
    /// an account may have, since an office's people share an address.
    pub source_failures_max: u32,
    /// For so long.
    pub source_lock_minutes: u32,
}

impl Default for PasswordsPolicy {
    fn default() -> Self {
        Self {
            valid_days: 180,
            temporary_days: 60,
            memory_kib: 19 * 1024,
            passes: 2,
            checks_max: 2,
            checks_waiting_max: 32,
            enrolment_checks_max: 1,
            source_failures_max: 30,
            source_lock_minutes: 30,
        }
    }
}

impl PasswordsPolicy {
    /// What argon2id may not go below: memory times passes of the weakest of the usual equal settings (7 MiB, 5 passes).
    pub const WORK_MIN: u64 = 7 * 1024 * 5;
    /// Least memory, in KiB.
    pub const MEMORY_KIB_MIN: u32 = 7 * 1024;

    /// Whether a check costs an attacker enough.
    pub fn is_hard(&self) -> bool {
        self.memory_kib >= Self::MEMORY_KIB_MIN
            && u64::from(self.memory_kib) * u64::from(self.passes) >= Self::WORK_MIN
    }
}

/// A password that keeps the rules. Never shown, wiped when dropped.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Password {
    /// Checks a chosen password of this user. Whether it is the previous one is for who has that to say
    /// ([`PasswordFault::Previous`]).
    pub fn choose(text: &str, user: &str) -> Result<Self, PasswordFault> {
        if let Some(slip) = slip(text) {
            return Err(slip);
        }
        let folded = fold(text);
        let chars = folded.chars().count();
        if !(CHARS_MIN..=CHARS_MAX).contains(&chars) {
            return Err(PasswordFault::Length(chars));
        }
        let letter = folded.bytes().any(|b| b.is_ascii_alphabetic());
        let digit = folded.bytes().any(|b| b.is_ascii_digit());
        if !letter || !digit {
            return Err(PasswordFault::Mixture);
        }
        if folded.eq_ignore_ascii_case(user) {
            return Err(PasswordFault::UserId);
        }
        Ok(Self(folded))
    }

    /// The text itself: for hashing, and for showing a temporary one once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// A password as it is hashed and compared: the yen sign is the backslash (K34), everything else as typed (E1).
pub fn fold(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.chars().map(|c| if c == '\u{a5}' { '\\' } else { c }).collect())
}

/// A usual slip that shows in the text itself (E8 E15): a space, a character of the wrong width, one that no password has.
pub fn slip(text: &str) -> Option<PasswordFault> {
    if text.is_empty() {
        return Some(PasswordFault::Empty);
    }
    text.chars().find_map(|c| match c {
        c if c.is_whitespace() || c == '\u{feff}' || c == '\u{200b}' => Some(PasswordFault::Space),
        '\u{ff01}'..='\u{ff5e}' | '\u{ffe0}'..='\u{ffe6}' => Some(PasswordFault::Width),
        '\u{a5}' => None,
        c if c.is_ascii_graphic() => None,
        _ => Some(PasswordFault::Symbol),
    })
}

/// Why a text is no password that may be chosen. Says nothing of the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordFault {
    /// Nothing was typed.
    Empty,
    /// A space, half or full width, a tab or a line break: usually pasted along.
    Space,
    /// Full-width letters, digits or symbols.
    Width,
    /// A character that is neither letter, digit nor symbol of ASCII.
    Symbol,
    /// Not 8 to 16 characters; so many.
    Length(usize),
    /// Not both a letter and a digit.
    Mixture,
    /// The user id.
    UserId,
    /// The one in force, or the one before it (K35).
    Previous,
    /// The second time it was typed it was another.
    Repeat,
}

impl PasswordFault {
    /// ASCII code that leads the text.
    pub fn code(self) -> &'static str {
        match self {
            Self::Empty => "PASSWORD-EMPTY",
            Self::Space => "PASSWORD-SPACE",
            Self::Width => "PASSWORD-WIDTH",
            Self::Symbol => "PASSWORD-SYMBOL",
            Self::Length(_) => "PASSWORD-LENGTH",
            Self::Mixture => "PASSWORD-MIXTURE",
            Self::UserId => "PASSWORD-USER-ID",
            Self::Previous => "PASSWORD-PREVIOUS",
            Self::Repeat => "PASSWORD-REPEAT",
        }
    }

    /// What is wrong and what to do.
    pub fn text(self) -> Text {
        match self {
            Self::Empty => Text::new("パスワードを入力してください。", "Type a password."),
            Self::Space => Text::new(
                "空白が含まれています(貼り付けたときに付くことがあります)。空白を除いて入力してください。",
                "It holds a space (pasting may add one). Type it without spaces.",
            ),
            Self::Width => Text::new(
                "全角文字が含まれています。半角で入力してください。",
                "It holds full-width characters. Switch the input method off and type half-width ones.",
            ),
            Self::Symbol => Text::new(
                "使えない文字が含まれています。半角の英字・数字・記号だけを使ってください。",
                "It holds a character that cannot be used. Use ASCII letters, digits and symbols only.",
            ),
            Self::Length(chars) => Text::new(
                format!("{chars}文字です。{CHARS_MIN}文字から{CHARS_MAX}文字で入力してください。"),
                format!("It has {chars} characters. Use {CHARS_MIN} to {CHARS_MAX}."),
            ),
            Self::Mixture => Text::new(
                "英字と数字をそれぞれ1文字以上含めてください。",
                "Use at least one letter and at least one digit.",
            ),
            Self::UserId => Text::new(
                "ユーザIDと同じパスワードは使えません。別のものにしてください。",
                "The password may not be the user id. Choose another.",
            ),
            Self::Previous => Text::new(
                "直前と同じパスワードは使えません。別のものにしてください。",
                "It may not be the same as the previous password. Choose another.",
            ),
            Self::Repeat => Text::new(
                "2回の入力が一致しません。もう一度入力してください。",
                "The two entries differ. Type the new password twice again.",
            ),
        }
    }
}

/// What to say of a wrong password (E8 E15): the slip that shows in it, else the usual ones.
pub fn wrong(given: &str) -> (&'static str, Text) {
    match slip(given) {
        Some(slip) => (slip.code(), slip.text()),
        None => (
            "PASSWORD-WRONG",
            Text::new(
                "パスワードが違います。大文字と小文字、全角と半角、貼り付けた空白を確認してください。",
                "The password is wrong. Mind upper and lower case, full and half width, and pasted spaces.",
            ),
        ),
    }
}

/// Whether a password may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It may, until then (none: always).
    Good {
        /// When it must be changed.
        until: Option<Timestamp>,
    },
    /// Only to choose another (E2).
    Temporary,
    /// Its days are over: only to choose another (E2).
    Expired {
        /// Since when.
        since: Timestamp,
    },
    /// A temporary one that was not used in time: not at all.
    Lapsed {
        /// Since when.
        since: Timestamp,
    },
}

/// Whether a password that was set then may be used now.
pub fn validity(set_at: Timestamp, temporary: bool, policy: &PasswordsPolicy, now: Timestamp) -> Validity {
    let end = |days: u32| (days > 0).then(|| set_at.plus_days(days));
    if temporary {
        return match end(policy.temporary_days).filter(|end| now >= *end) {
            Some(since) => Validity::Lapsed { since },
            None => Validity::Temporary,
        };
    }
    match end(policy.valid_days) {
        Some(since) if now >= since => Validity::Expired { since },
        until => Validity::Good { until },
    }
}

/// Whole days left, rounded up: on the last day, 1.
pub fn days_left(until: Timestamp, now: Timestamp) -> i64 {
    until.since(now).max(0).saturating_add(DAY - 1) / DAY
}

/// Letters and digits of temporary passwords: none that looks like another (l 1 i, o 0).
const TEMPORARY: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";

/// A temporary password such as `k7mq-4xtd-r9hc`: twelve random characters in groups, 59 bits. `random` fills with random
/// bytes.
pub fn temporary<E>(mut random: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Password, E> {
    loop {
        let mut text = Zeroizing::new(String::with_capacity(14));
        while text.len() < 14 {
            if matches!(text.len(), 4 | 9) {
                text.push('-');
                continue;
            }
            let mut byte = [0];
            random(&mut byte)?;
            // 248 is the largest multiple of 31 below 256: every character is as likely.
            if byte[0] < 248 {
                text.push(char::from(TEMPORARY[usize::from(byte[0]) % TEMPORARY.len()]));
            }
        }
        if let Ok(password) = Password::choose(&text, "") {
            return Ok(password);
        }
    }
}

/// As it is read over the telephone: `kilo 7 mike quebec - 4 ...`; capitals are said.
pub fn spelled(password: &str) -> Zeroizing<String> {
    const WORDS: [&str; 26] = [
        "alfa", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo",
        "lima", "mike", "november", "oscar", "papa", "quebec", "romeo", "sierra", "tango", "uniform",
        "victor", "whiskey", "x-ray", "yankee", "zulu",
    ];
    let mut text = Zeroizing::new(String::new());
    for c in password.chars() {
        if !text.is_empty() {
            text.push(' ');
        }
        match c {
            'a'..='z' => text.push_str(WORDS[usize::from(c as u8 - b'a')]),
            'A'..='Z' => {
                text.push_str("capital-");
                text.push_str(WORDS[usize::from(c as u8 - b'A')]);
            }
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;

    #[test]
    fn each_rule_refuses_with_its_own_code() {
        for (text, expected) in [
            ("", Err("PASSWORD-EMPTY")),
            ("abc1234", Err("PASSWORD-LENGTH")),
            ("abcd1234", Ok(())),
            ("abcd123456789012", Ok(())),
            ("abcd1234567890123", Err("PASSWORD-LENGTH")),
            ("abcdefgh", Err("PASSWORD-MIXTURE")),
            ("12345678", Err("PASSWORD-MIXTURE")),
            ("abcd 1234", Err("PASSWORD-SPACE")),
            ("abcd1234\u{3000}", Err("PASSWORD-SPACE")),
            ("abcd1234\r\n", Err("PASSWORD-SPACE")),
            ("ａｂｃｄ１２３４", Err("PASSWORD-WIDTH")),
            ("abcd1234￥", Err("PASSWORD-WIDTH")),
            ("abcd1234¥", Ok(())),
            ("abcd1234あ", Err("PASSWORD-SYMBOL")),
            ("abcd1234ｱ", Err("PASSWORD-SYMBOL")),
            ("abcd1234\u{7f}", Err("PASSWORD-SYMBOL")),
            ("user0001", Err("PASSWORD-USER-ID")),
            ("USER0001", Err("PASSWORD-USER-ID")),
        ] {
            let got = Password::choose(text, "User0001").map(drop).map_err(PasswordFault::code);
            assert_eq!(got, expected, "{text:?}");
        }
    }

    #[test]
    fn every_symbol_of_both_sources_may_be_used_and_yen_is_backslash() {
        for symbol in "!\"#$%()*+,-./:;<=>?@[¥]^_{|}~&'`\\".chars() {
            assert!(Password::choose(&format!("abcd123{symbol}"), "K0001").is_ok(), "{symbol}");
        }
        assert_eq!(*fold("a¥1"), *fold("a\\1"));
        assert_ne!(*fold("aBc"), *fold("abc"), "case counts (E1)");
    }

    #[test]
    fn a_wrong_password_names_the_slip_that_shows() {
        assert_eq!(wrong("abcd1234 ").0, "PASSWORD-SPACE");
        assert_eq!(wrong("Ａbcd1234").0, "PASSWORD-WIDTH");
        let (code, text) = wrong("abcd1234");
        expect!["PASSWORD-WRONG The password is wrong. Mind upper and lower case, full and half width, and pasted spaces."]
            .assert_eq(&format!("{code} {}", text.en));
        assert!(text.ja.contains("大文字と小文字"));
    }

    #[test]
    fn half_a_year_passes_and_temporary_ones_lapse() {
        let (policy, set) = (PasswordsPolicy::default(), Timestamp(0));
        let at = |temporary, now| validity(set, temporary, &policy, now);
        let end = set.plus_days(180);
        assert_eq!(at(false, end.plus(-1)), Validity::Good { until: Some(end) });
        assert_eq!(days_left(end, end.plus(-1)), 1);
        assert_eq!(days_left(end, set), 180);
        assert_eq!(days_left(end, end.plus(DAY)), 0);
        assert_eq!(at(false, end), Validity::Expired { since: end });
        assert_eq!(at(true, set.plus_days(60).plus(-1)), Validity::Temporary);
        assert_eq!(at(true, set.plus_days(60)), Validity::Lapsed { since: set.plus_days(60) });
        let never = PasswordsPolicy { valid_days: 0, temporary_days: 0, ..policy };
        assert_eq!(validity(set, false, &never, Timestamp(i64::MAX)), Validity::Good { until: None });
        assert_eq!(validity(set, true, &never, Timestamp(i64::MAX)), Validity::Temporary);
    }

    #[test]
    fn the_cost_has_a_floor() {
        let with = |memory_kib, passes| PasswordsPolicy { memory_kib, passes, ..PasswordsPolicy::default() };
        assert!(PasswordsPolicy::default().is_hard());
        assert!(with(7 * 1024, 5).is_hard());
        assert!(!with(7 * 1024, 4).is_hard());
        assert!(!with(1024, 1000).is_hard());
    }

    #[test]
    fn a_password_is_spelled_for_the_telephone() {
        assert_eq!(*spelled("k7M-"), "kilo 7 capital-mike -");
    }

    proptest! {
        #[test]
        fn temporary_passwords_keep_the_rules(seed in proptest::collection::vec(any::<u8>(), 64)) {
            let mut bytes = seed.into_iter().chain(0..=255).chain(0..=255).cycle();
            let made = temporary(|into| {
                for b in into.iter_mut() {
                    *b = bytes.next().unwrap();
                }
                Ok::<_, ()>(())
            }).unwrap();
            let text = made.reveal();
            prop_assert!(Password::choose(text, "K0001").is_ok());
            prop_assert!(text.len() == 14 && !text.contains(['l', 'i', 'o', '0', '1']));
            prop_assert_eq!(format!("{made:?}"), "Password(…)");
        }

        #[test]
        fn nothing_typed_is_taken_amiss(text in any::<String>()) {
            let _ = Password::choose(&text, "K0001");
            let _ = wrong(&text);
        }
    }
}
