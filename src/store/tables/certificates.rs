//! Authorities and certificates: one table byte, and a second one for each list.

use super::{Key, blob};
use crate::model::certificate::Certificate;
use crate::model::ids::{AccountId, AuthorityId, CertificateId, Digest};

fn table(which: u8) -> Key {
    Key::of(b'C').byte(which)
}

impl Key {
    fn certificate(self, id: CertificateId) -> Self {
        self.numbered(id.epoch, id.serial)
    }
}

pub(in crate::store) fn authorities() -> Key {
    table(b'a')
}
pub(in crate::store) fn authority(id: &AuthorityId) -> Vec<u8> {
    authorities().text(id.as_str()).done()
}
pub(in crate::store) fn all() -> Key {
    table(b'c')
}
pub(in crate::store) fn certificate(id: CertificateId) -> Vec<u8> {
    all().certificate(id).done()
}
pub(in crate::store) fn of_account(account: &AccountId) -> Key {
    table(b'A').text(account.as_str())
}
/// Certificates over this key, oldest first.
pub(in crate::store) fn of_key(fingerprint: &str) -> Vec<u8> {
    table(b'k').text(fingerprint).done()
}
pub(in crate::store) fn serial(authority: &AuthorityId, serial: &str) -> Vec<u8> {
    table(b's').text(authority.as_str()).text(serial).done()
}
pub(in crate::store) fn x509(sha256: &Digest) -> Vec<u8> {
    table(b'x').digest(sha256).done()
}
/// By end, while not revoked.
pub(in crate::store) fn ending() -> Key {
    table(b'e')
}
/// An authority's by end, while not revoked.
pub(in crate::store) fn of_authority(authority: &AuthorityId) -> Key {
    table(b't').text(authority.as_str())
}
/// An authority's by end, once revoked.
pub(in crate::store) fn revoked(authority: &AuthorityId) -> Key {
    table(b'r').text(authority.as_str())
}

/// An OpenSSH serial as [`serial`] wants it.
pub(in crate::store) fn openssh_serial(serial: u64) -> String {
    format!("{serial:016x}")
}

/// Authority and serial of each form.
pub(in crate::store) fn serials(of: &Certificate) -> Vec<(AuthorityId, String)> {
    let x509 = of.x509.iter().map(|form| (form.authority.clone(), form.serial.clone()));
    let openssh = of.openssh.iter().map(|form| (form.authority.clone(), openssh_serial(form.serial)));
    x509.chain(openssh).collect()
}

/// Keys without value that follow from the record.
pub(in crate::store) fn derived(of: &Certificate) -> Vec<Vec<u8>> {
    let mut keys = vec![of_account(&of.account).certificate(of.id).done()];
    let revoked_now = of.revoked.is_some();
    if !revoked_now {
        keys.push(ending().time(of.not_after).certificate(of.id).done());
    }
    for (authority, _) in serials(of) {
        let list = if revoked_now { revoked(&authority) } else { of_authority(&authority) };
        keys.push(list.time(of.not_after).certificate(of.id).done());
    }
    keys.extend(of.bundle.iter().map(|card| blob(&card.blob).byte(b'c').certificate(of.id).done()));
    keys
}
