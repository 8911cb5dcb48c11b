//! What one connection has shown of who it is, and the dialogue that asks for a password: a state machine of values, which
//! the handler drives between `russh` and the gate.
//!
//! ```text
//! nothing --key or certificate--> first factor --password--> in
//!                                             \-keyboard-interactive: password, (new password twice)--> in
//! ```
//!
//! The first factor belongs to the user name it was shown for: with another name everything begins anew, whatever `russh`
//! keeps. A password before the first factor is refused unseen.

use std::borrow::Cow;

use russh::server::Auth;
use russh::{MethodKind, MethodSet};
use zeroize::Zeroizing;

use super::engine::one_line;
use super::port::{Credential, Fault};
use super::texts;
use crate::model::finding::{Language, Text};
use crate::rules::passwords::{CHARS_MAX, CHARS_MIN};

/// Passwords asked for in one dialogue, and new ones.
const TRIES_MAX: usize = 3;
const NEW_TRIES_MAX: usize = 5;
/// The name of the dialogue in which a password is changed before its time:
/// `sftp -o KbdInteractiveDevices=change K0001@gateway`.
pub(crate) const CHANGE_DEVICE: &str = "change";

/// The first factor, shown for this user.
#[derive(Debug, Clone)]
pub(crate) struct First {
    pub(crate) user: String,
    /// The key or certificate.
    pub(crate) credential: Credential,
    pub(crate) language: Language,
}

/// Where the dialogue is.
#[derive(Debug, Default)]
enum Dialogue {
    #[default]
    None,
    /// Asked for the password.
    Password { tries: usize },
    /// Asked for old, new and new again.
    Change { tries: usize },
    /// Asked for new and new again, the old one being right.
    New { tries: usize, old: Zeroizing<String> },
}

/// What the handler is to ask the gate.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Whether this is the password.
    Password(Zeroizing<String>),
    /// To change the password, which was this, into this.
    Change { old: Zeroizing<String>, new: Zeroizing<String> },
}

/// What an answer of the client comes to.
#[derive(Debug)]
pub(crate) enum Step {
    /// Ask the gate.
    Ask(Ask),
    /// Say this.
    Say(Auth),
}

/// What one connection has shown.
#[derive(Debug, Default)]
pub(crate) struct Factors {
    first: Option<First>,
    dialogue: Dialogue,
}

/// The methods that go on.
fn methods(which: &[MethodKind]) -> MethodSet {
    MethodSet::from(which)
}

const SECOND: &[MethodKind] = &[MethodKind::KeyboardInteractive, MethodKind::Password];

/// The first factor is missing (or wrong): only a key or certificate can go on.
pub(crate) fn key_first() -> Auth {
    Auth::Reject { proceed_with_methods: Some(methods(&[MethodKind::PublicKey])), partial_success: false }
}

/// An enrolment login goes on by its password, or by the key that was certified.
pub(crate) fn enrolment() -> Auth {
    const METHODS: &[MethodKind] = &[MethodKind::PublicKey, MethodKind::Password];
    Auth::Reject { proceed_with_methods: Some(methods(METHODS)), partial_success: false }
}

/// The password is missing or wrong.
pub(crate) fn password_next() -> Auth {
    Auth::Reject { proceed_with_methods: Some(methods(SECOND)), partial_success: false }
}

impl Factors {
    /// The first factor was shown; a password is asked for next.
    pub(crate) fn shown(&mut self, first: First) -> Auth {
        *self = Self { first: Some(first), dialogue: Dialogue::None };
        Auth::Reject { proceed_with_methods: Some(methods(SECOND)), partial_success: true }
    }

    /// The first factor, if it was shown for this user. Asking for another user forgets it.
    pub(crate) fn first(&mut self, user: &str) -> Option<First> {
        if self.first.as_ref().is_some_and(|first| first.user != user) {
            *self = Self::default();
        }
        self.first.clone()
    }

    /// The dialogue, if one runs, is over.
    pub(crate) fn stop(&mut self) {
        self.dialogue = Dialogue::None;
    }

    /// The password was right, and a new one is asked for.
    pub(crate) fn asks_for_new(&self) -> bool {
        matches!(self.dialogue, Dialogue::New { .. })
    }

    /// A dialogue begins. `device` is what the client asked for.
    pub(crate) fn begin(&mut self, first: &First, device: &str) -> Auth {
        let wants_change = device.split(',').any(|device| device.trim() == CHANGE_DEVICE);
        if wants_change {
            self.dialogue = Dialogue::Change { tries: 0 };
            return ask(first.language, rules(first.language), &[OLD, NEW, AGAIN]);
        }
        self.dialogue = Dialogue::Password { tries: 0 };
        ask(first.language, String::new(), &[OLD])
    }

    /// The client answered.
    pub(crate) fn answered(&mut self, first: &First, mut answers: Vec<Zeroizing<String>>) -> Step {
        let mut take = |count: usize| (answers.len() == count).then(|| std::mem::take(&mut answers));
        let (old, new, again) = match &mut self.dialogue {
            Dialogue::Password { .. } => {
                let given = take(1).and_then(|mut given| given.pop());
                return given.map_or_else(|| self.end(), |given| Step::Ask(Ask::Password(given)));
            }
            Dialogue::Change { .. } => match take(3).as_deref_mut() {
                Some([old, new, again]) => (std::mem::take(old), std::mem::take(new), std::mem::take(again)),
                _ => return self.end(),
            },
            Dialogue::New { old, .. } => match take(2).as_deref_mut() {
                Some([new, again]) => (old.clone(), std::mem::take(new), std::mem::take(again)),
                _ => return self.end(),
            },
            Dialogue::None => return self.end(),
        };
        if *new == *again {
            return Step::Ask(Ask::Change { old, new });
        }
        let repeat = crate::rules::passwords::PasswordFault::Repeat;
        let why = format!("{} {}", repeat.code(), repeat.text().get(first.language));
        Step::Say(self.again(first, why).unwrap_or_else(password_next))
    }

    fn end(&mut self) -> Step {
        self.dialogue = Dialogue::None;
        Step::Say(password_next())
    }

    /// The password was wrong, or the new one may not be: says why and asks again; none after too many times.
    pub(crate) fn again(&mut self, first: &First, why: String) -> Option<Auth> {
        let (tries, max, prompts) = match &mut self.dialogue {
            Dialogue::None => return None,
            Dialogue::Password { tries } => (tries, TRIES_MAX, &[OLD][..]),
            Dialogue::Change { tries } => (tries, TRIES_MAX, &[OLD, NEW, AGAIN][..]),
            Dialogue::New { tries, .. } => (tries, NEW_TRIES_MAX, &[NEW, AGAIN][..]),
        };
        *tries += 1;
        if *tries >= max {
            self.dialogue = Dialogue::None;
            return None;
        }
        Some(ask(first.language, why, prompts))
    }

    /// The password is right, but another must be chosen: asks for it. None where a dialogue does not run (the `password`
    /// method cannot ask).
    pub(crate) fn must_change(
        &mut self,
        first: &First,
        given: Zeroizing<String>,
        why: &Fault,
    ) -> Option<Auth> {
        if !matches!(self.dialogue, Dialogue::Password { .. }) {
            return None;
        }
        self.dialogue = Dialogue::New { tries: 0, old: given };
        let text = format!("{}\n{}", one_line(why), rules(first.language));
        Some(ask(first.language, text, &[NEW, AGAIN]))
    }
}

/// A prompt; clients that answer for somebody look for `assword:`.
type Prompt = (&'static str, &'static str);
const OLD: Prompt = ("パスワード / Password: ", "Password: ");
const NEW: Prompt = ("新しいパスワード / New password: ", "New password: ");
const AGAIN: Prompt = ("新しいパスワード(確認) / New password again: ", "New password again: ");

fn rules(language: Language) -> String {
    Text::new(
        format!(
            "新しいパスワードは半角の英字・数字・記号{CHARS_MIN}~{CHARS_MAX}文字で、英字と数字をそれぞれ1文字以上含めてください。"
        ),
        format!("A new password has {CHARS_MIN} to {CHARS_MAX} letters, digits and symbols, at least one letter and one digit."),
    )
    .get(language)
    .to_owned()
}

fn ask(language: Language, instructions: String, prompts: &[Prompt]) -> Auth {
    let prompts = prompts.iter().map(|(ja, en)| match language {
        Language::Ja => (Cow::Borrowed(*ja), false),
        Language::En => (Cow::Borrowed(*en), false),
    });
    Auth::Partial {
        name: Cow::Borrowed(""),
        instructions: instructions.into(),
        prompts: prompts.collect::<Vec<_>>().into(),
    }
}

/// What is said on the channel when a password must be changed and nobody could be asked for another.
pub(crate) fn change_needed(language: Language, why: &Fault) -> String {
    format!("{} {}", one_line(why), texts::PASSWORD_CHANGE.text(language))
}

#[cfg(test)]
mod tests {
    use super::super::port::Status;
    use super::*;

    fn first(user: &str) -> First {
        let key = crate::store::gateway_keys::generate("").unwrap().public_key().clone();
        First { user: user.to_owned(), credential: Credential::Key(key), language: Language::En }
    }

    fn given(texts: &[&str]) -> Vec<Zeroizing<String>> {
        texts.iter().map(|text| Zeroizing::new((*text).to_owned())).collect()
    }

    fn prompts(auth: &Auth) -> Vec<String> {
        match auth {
            Auth::Partial { prompts, .. } => prompts.iter().map(|(text, _)| text.to_string()).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn fault() -> Fault {
        Fault { status: Status::PermissionDenied, code: "X".into(), text: "why".into(), loud: true }
    }

    #[test]
    fn the_first_factor_belongs_to_one_name() {
        let mut factors = Factors::default();
        assert!(factors.first("K0001").is_none());
        let partial = Auth::Reject { proceed_with_methods: Some(methods(SECOND)), partial_success: true };
        assert_eq!(factors.shown(first("K0001")), partial);
        assert!(factors.first("K0001").is_some());
        assert!(factors.first("K0002").is_none());
        assert!(factors.first("K0001").is_none(), "gone with the other name");
    }

    #[test]
    fn a_dialogue_asks_again_within_bounds() {
        let (mut factors, first) = (Factors::default(), first("K0001"));
        factors.shown(first.clone());
        assert_eq!(prompts(&factors.begin(&first, "")), ["Password: "]);
        for _ in 1..TRIES_MAX {
            assert!(matches!(factors.answered(&first, given(&["x"])), Step::Ask(Ask::Password(_))));
            assert_eq!(prompts(&factors.again(&first, "why".into()).unwrap()), ["Password: "]);
        }
        assert!(factors.again(&first, "why".into()).is_none());
        assert!(
            matches!(factors.answered(&first, given(&["x"])), Step::Say(Auth::Reject { .. })),
            "it is over"
        );
    }

    #[test]
    fn a_password_that_must_be_changed_is_asked_for_twice() {
        let (mut factors, first) = (Factors::default(), first("K0001"));
        assert!(
            factors.must_change(&first, given(&["old"]).remove(0), &fault()).is_none(),
            "nobody can be asked"
        );
        factors.begin(&first, "");
        let auth = factors.must_change(&first, given(&["old"]).remove(0), &fault()).unwrap();
        assert_eq!(prompts(&auth), ["New password: ", "New password again: "]);
        let Step::Say(auth) = factors.answered(&first, given(&["a", "b"])) else { panic!() };
        assert_eq!(prompts(&auth).len(), 2, "the two differ");
        let Step::Ask(Ask::Change { old, new }) = factors.answered(&first, given(&["n", "n"])) else {
            panic!()
        };
        assert_eq!((old.as_str(), new.as_str()), ("old", "n"));
        for _ in 2..NEW_TRIES_MAX {
            assert!(factors.again(&first, "why".into()).is_some());
        }
        assert!(factors.again(&first, "why".into()).is_none());
    }

    #[test]
    fn a_change_before_its_time_is_one_question() {
        let (mut factors, first) = (Factors::default(), first("K0001"));
        let auth = factors.begin(&first, "pam, change");
        assert_eq!(prompts(&auth), ["Password: ", "New password: ", "New password again: "]);
        let Step::Ask(Ask::Change { old, new }) = factors.answered(&first, given(&["o", "n", "n"])) else {
            panic!()
        };
        assert_eq!((old.as_str(), new.as_str()), ("o", "n"));
        assert!(
            matches!(factors.answered(&first, given(&["o"])), Step::Say(Auth::Reject { .. })),
            "not an answer"
        );
    }
}
