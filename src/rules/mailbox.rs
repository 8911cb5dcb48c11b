//! When two addresses are one mailbox, and when a mailbox may get its next arrival mail (K5 K9).

use crate::model::time::Timestamp;

/// An address as mailboxes are compared: without blanks around it, its domain in small letters and without a final dot. The
/// part before the `@` is the host's business and stays as it is.
pub fn normalised(address: &str) -> String {
    let address = address.trim();
    match address.rsplit_once('@') {
        Some((local, domain)) => format!("{local}@{}", domain.trim_end_matches('.').to_ascii_lowercase()),
        None => address.to_owned(),
    }
}

/// Whether a report that names `reached` speaks of this address itself, and not of somebody to whom its alias or list leads:
/// hosts name it with their own name in the domain, without a `+detail`, in other letters, or wrapped up (SRS).
pub fn is_own(address: &str, reached: &str) -> bool {
    let parts = |address: &str| {
        let address = normalised(address).to_ascii_lowercase();
        let (local, domain) = address.rsplit_once('@')?;
        Some((local.to_owned(), domain.to_owned()))
    };
    let (Some((own, domain)), Some((local, host))) = (parts(address), parts(reached)) else { return true };
    let plain = |local: &str| local.split('+').next().unwrap_or_default().to_owned();
    let within = |a: &str, b: &str| a == b || a.strip_suffix(b).is_some_and(|host| host.ends_with('.'));
    let same = plain(&own) == plain(&local) && (within(&host, &domain) || within(&domain, &host));
    let wrapped = local.starts_with("srs") && local.ends_with(&format!("={domain}={own}"));
    same || wrapped
}

/// The domain mail to this address goes to, in small letters; empty where there is none.
pub fn destination(address: &str) -> String {
    normalised(address).rsplit_once('@').map(|(_, domain)| domain.to_owned()).unwrap_or_default()
}

/// How arrivals of one mailbox are gathered, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gathering {
    /// After an arrival, so long is waited for more of them.
    pub gather: i64,
    /// Between one mail and the next.
    pub interval: i64,
}

/// None: the mail may go out. Else: not before then. `oldest` and `youngest` are the arrivals that wait, `last` the latest
/// arrival mail of this mailbox.
pub fn wait(
    rule: Gathering,
    oldest: Timestamp,
    youngest: Timestamp,
    last: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    // What a clock that was ahead has written is over: asked again and again it would hold the mail until that time.
    let happened = |time: Timestamp, pause: i64| (time <= now).then(|| time.plus(pause));
    // A steady trickle must not postpone the mail for ever.
    let gathered = happened(youngest, rule.gather).min(happened(oldest, rule.gather.saturating_mul(5)));
    let rested = last.and_then(|last| happened(last, rule.interval));
    gathered.max(rested).filter(|until| *until > now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::SECOND;

    #[test]
    fn addresses_are_one_by_their_domains_case() {
        for (a, b, same) in [
            ("soumu@example.jp", " soumu@EXAMPLE.jp. ", true),
            ("soumu@example.jp", "Soumu@example.jp", false),
            ("soumu@example.jp", "soumu@example.com", false),
            ("soumu@example.jp", "soumu+a@example.jp", false),
        ] {
            assert_eq!(normalised(a) == normalised(b), same, "{a} {b}");
        }
        assert_eq!(destination("a@Example.JP"), "example.jp");
        assert_eq!(destination("nobody"), "");
    }

    #[test]
    fn a_member_of_a_shared_address_is_somebody_else() {
        for (reached, own) in [
            ("soumu@example.jp", true),
            ("Soumu@Example.JP.", true),
            ("soumu@mail.example.jp", true),
            ("soumu+box@example.jp", true),
            ("SRS0=ab12=XY=example.jp=soumu@relay.example.net", true),
            ("soumu", true),
            ("yamada@example.jp", false),
            ("soumu@badexample.jp", false),
            ("soumu@example.com", false),
            ("yamada@example.com", false),
        ] {
            assert_eq!(is_own("soumu@example.jp", reached), own, "{reached}");
        }
        assert!(is_own("soumu+a@mx.example.jp", "soumu@example.jp"));
    }

    #[test]
    fn the_first_comes_soon_and_the_next_after_the_interval() {
        let rule = Gathering { gather: 60 * SECOND, interval: 3600 * SECOND };
        let at = |seconds: i64| Timestamp(1_795_392_000_000).plus(seconds * SECOND);
        for (oldest, youngest, last, now, until) in [
            (0, 0, None, 10, Some(60)),
            (0, 0, None, 60, None),
            (0, 50, None, 60, Some(110)),
            (0, 299, None, 299, Some(300)),
            (0, 299, None, 300, None),
            (0, 0, Some(-60), 60, Some(3540)),
            (0, 0, Some(-3600), 60, None),
            (0, 0, Some(-3600), 10, Some(60)),
            // The clock was set back by a year since the last mail, or since the arrivals.
            (0, 0, Some(31_000_000), 60, None),
            (0, 31_000_000, None, 10, None),
            (31_000_000, 31_000_000, Some(-60), 10, Some(3540)),
        ] {
            let got = wait(rule, at(oldest), at(youngest), last.map(at), at(now));
            assert_eq!(got, until.map(at), "{oldest} {youngest} {last:?} {now}");
        }
    }
}
