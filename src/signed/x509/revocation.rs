//! Lists of revoked certificates (RFC 5280 section 5): read, and which of them speak of a certificate. What stands in them is
//! looked up by `webpki`, which takes the first list whose issuer has the right name, and passes over those whose scope it does
//! not match: both are seen to here.

use der::Decode as _;
use der::asn1::Ia5String;
use webpki::OwnedCertRevocationList;
use x509_cert::ext::pkix::crl::dp::IssuingDistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{BasicConstraints, CrlDistributionPoints};

use super::{Anchor, Certificate};
use crate::signed::{ber, crl};

/// An authority's list of revoked certificates, read; whose signature it bears is seen when it is used.
#[derive(Debug)]
pub struct RevocationList {
    /// Its bytes.
    pub der: Vec<u8>,
    /// Whose it is, as DER.
    pub issuer_der: Vec<u8>,
    pub(super) list: webpki::CertRevocationList<'static>,
}

impl RevocationList {
    /// Reads DER or PEM (`X509 CRL`). The error is `webpki`'s word.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let der = match std::str::from_utf8(bytes) {
            Ok(text) if text.trim_start().starts_with("-----BEGIN ") => {
                der::pem::decode_vec(text.trim().as_bytes()).map_err(|e| e.to_string())?.1
            }
            _ => bytes.to_vec(),
        };
        let list = OwnedCertRevocationList::from_der(&der).map_err(|e| format!("{e:?}"))?;
        // version, signature, issuer
        let issuer_der = ber::elements(&der)
            .and_then(|all| ber::elements(all.first()?.content))
            .and_then(|list| ber::elements(list.first()?.content))
            .and_then(|fields| Some(fields.get(2)?.whole.to_vec()))
            .ok_or("no issuer")?;
        Ok(Self { der, issuer_der, list: list.into() })
    }

    fn signed_by(&self, authority: &Certificate) -> bool {
        crl::is_signed_by(&self.der, authority)
    }

    /// Whether its scope has this certificate of its issuer in it (RFC 5280 section 5.2.5), as `webpki` sees it: for lists in
    /// parts, one of the places that the certificate names must be the list's. What cannot be read has nothing in its scope.
    fn covers(&self, certificate: &Certificate) -> bool {
        let Some(scope) = self.list.issuing_distribution_point() else { return true };
        let Ok(scope) = IssuingDistributionPoint::from_der(scope) else { return false };
        let tbs = &certificate.inner.tbs_certificate;
        let Ok(basic) = tbs.get::<BasicConstraints>() else { return false };
        let authority = basic.is_some_and(|(_, basic)| basic.ca);
        if (scope.only_contains_ca_certs && !authority) || (scope.only_contains_user_certs && authority) {
            return false;
        }
        let places = match tbs.get::<CrlDistributionPoints>() {
            Ok(Some((_, places))) => places,
            Ok(None) => return true,
            Err(_) => return false,
        };
        let own = urls(scope.distribution_point.as_ref());
        let whole = places.0.iter().filter(|place| place.crl_issuer.is_none() && place.reasons.is_none());
        whole.flat_map(|place| urls(place.distribution_point.as_ref())).any(|url| own.contains(&url))
    }
}

fn urls(of: Option<&DistributionPointName>) -> Vec<Ia5String> {
    let Some(DistributionPointName::FullName(names)) = of else { return Vec::new() };
    let url = |name: &'_ GeneralName| match name {
        GeneralName::UniformResourceIdentifier(url) => Some(url.clone()),
        _ => None,
    };
    names.iter().filter_map(url).collect()
}

/// The lists that speak of what this authority issued. Of two generations with one name each has its own: a list is the one's
/// whose key signed it. One that nobody signed who is known stays, so that it is not passed over in silence.
fn of_authority<'a>(
    lists: &[&'a RevocationList],
    authority: &Certificate,
    anchors: &[Anchor],
) -> Vec<&'a RevocationList> {
    let mut named: Vec<_> =
        lists.iter().copied().filter(|list| list.issuer_der == authority.subject_der).collect();
    let others: Vec<_> = anchors
        .iter()
        .map(|anchor| &anchor.certificate)
        .filter(|other| other.subject_der == authority.subject_der && other.key() != authority.key())
        .collect();
    if named.len() < 2 && others.is_empty() {
        return named;
    }
    if named.iter().any(|list| list.signed_by(authority)) {
        named.retain(|list| list.signed_by(authority));
    } else {
        named.retain(|list| !others.iter().any(|other| list.signed_by(other)));
    }
    named
}

/// The lists to look a path up in, from the account's certificate to its anchor. None if an authority on it has lists and none
/// of them has the certificate it issued in its scope: then nothing is known of that.
pub(super) fn of_path<'a>(
    lists: &[&'a RevocationList],
    path: &[&Certificate],
    anchors: &[Anchor],
) -> Option<Vec<&'a RevocationList>> {
    let mut found = Vec::new();
    for (issued, authority) in path.iter().zip(path.iter().skip(1)) {
        let own = of_authority(lists, authority, anchors);
        if !own.is_empty() && !own.iter().any(|list| list.covers(issued)) {
            return None;
        }
        found.extend(own);
    }
    Some(found)
}
