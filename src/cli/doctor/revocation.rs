//! Lists of revoked certificates: those of external authorities that `signatures.revocation_lists` names, and the gateway's own in
//! `public/`. A list that cannot be read, is past its date, or is not its authority's refuses all of that authority's certificates.

use std::path::{Path, PathBuf};

use super::Report;
use crate::config::Config;
use crate::model::time::{DAY, Timestamp};
use crate::signed::crl::{self, Facts};
use crate::signed::x509::{Certificate, RevocationList};
use crate::store::verification::read_list;

/// What is being looked at.
const WHAT: &str = "revocation list";
/// A list that ends within so long is told.
const ENDS_SOON: i64 = DAY;
/// Files in `public/` that are looked at.
const FILES_MAX: usize = 10_000;

/// An authority as `public/` shows it.
struct Authority {
    name: String,
    certificate: Certificate,
}

/// Looks at all lists, and for authorities without one.
pub(super) fn lists(config: &Config, now: Timestamp, report: &mut Report) {
    let authorities = authorities(config);
    let mut listed = Vec::new();
    for name in &config.signatures.revocation_lists {
        let file = config.places.resolve(name);
        let of = list(
            &file,
            &authorities,
            now,
            "fetch it anew from the authority, then `systemctl reload todoke`",
            report,
        );
        listed.extend(of);
    }
    for authority in &authorities {
        let own = config.places.public().join(format!("{}.crl", authority.name));
        if own.exists() {
            list(&own, &authorities, now, "start the daemon, or `todoke cert crl`", report);
        } else if !listed.contains(&authority.certificate.subject_der) {
            report.warn(
                WHAT,
                format!("authority {} has none: its certificates are never found revoked", authority.name),
                "name the file with its list in signatures.revocation_lists",
            );
        }
    }
}

/// X.509 authorities that are trusted.
fn authorities(config: &Config) -> Vec<Authority> {
    let entries = std::fs::read_dir(config.places.public()).into_iter().flatten().take(FILES_MAX).flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "crt"));
    paths.sort();
    let read = |path: &PathBuf| {
        let (_, der) = der::pem::decode_vec(&std::fs::read(path).ok()?).ok()?;
        let name = path.file_stem()?.to_str()?.to_owned();
        Some(Authority { name, certificate: Certificate::from_der(&der).ok()? })
    };
    // One that cannot be read is named where authorities are looked at.
    paths.iter().filter_map(read).collect()
}

/// One list; the name of whose it is, as DER, if it could be read.
fn list(
    file: &Path,
    authorities: &[Authority],
    now: Timestamp,
    again: &str,
    report: &mut Report,
) -> Option<Vec<u8>> {
    let shown = file.display();
    let der = match read_list(file) {
        Ok(RevocationList { der, .. }) => der,
        Err(error) => {
            report.error(WHAT, error.to_string(), again);
            return None;
        }
    };
    let Some(of) = crl::facts(&der) else {
        report.error(WHAT, format!("{shown}: it is no revocation list (RFC 5280)"), again);
        return None;
    };
    let named: Vec<&Authority> =
        authorities.iter().filter(|authority| authority.certificate.subject_der == of.issuer_der).collect();
    if named.is_empty() {
        let found = format!("{shown} is of {}, which is no trusted authority", of.issuer);
        report.warn(
            WHAT,
            found,
            "take it out of signatures.revocation_lists, or add the authority: `todoke cert authority add`",
        );
    } else if let Some(signer) =
        named.iter().find(|authority| crl::is_signed_by(&der, &authority.certificate))
    {
        period(&shown.to_string(), &signer.name, &of, now, again, report);
    } else {
        let found = format!("{shown} is not signed by the authority that it names, {}", of.issuer);
        report.error(WHAT, found, again);
    }
    Some(of.issuer_der)
}

/// How long it holds.
fn period(shown: &str, signer: &str, of: &Facts, now: Timestamp, again: &str, report: &mut Report) {
    let Some(next) = of.next_update else {
        report.error(WHAT, format!("{shown} does not say how long it holds (nextUpdate)"), again);
        return;
    };
    if next <= now {
        let found = format!("{shown} is past its date ({next}): all certificates of {signer} are refused");
        report.error(WHAT, found, again);
    } else if of.this_update > now {
        report.error(
            WHAT,
            format!("{shown} is of {}, which is to come", of.this_update),
            "set the clock right",
        );
    } else if next.since(now) < ENDS_SOON {
        report.warn(WHAT, format!("{shown} of {signer} holds until {next} alone"), again);
    } else {
        report.ok(WHAT, format!("{shown} of {signer} holds until {next}"));
    }
}
