//! CMS signatures and the certificates in them: whatever the bytes are, a reason or a signer, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use todoke::model::time::Timestamp;
use todoke::signed::cms::{CERTIFICATES_MAX, CmsSignature, SIGNERS_MAX};
use todoke::signed::x509::{Anchor, Certificate, RevocationList, Trust, verify};

fuzz_target!(|data: &[u8]| {
    let _ = RevocationList::read(data);
    if let Ok(certificate) = Certificate::from_der(data) {
        let anchors = [Anchor { certificate: certificate.clone(), from: Timestamp(0), until: None }];
        let trust = Trust { anchors: &anchors, lists: &[], purpose_required: true };
        let _ = verify(&certificate, &[data.to_vec()], &trust, certificate.not_before);
    }
    let Ok(signature) = CmsSignature::read(data) else { return };
    assert!((1..=SIGNERS_MAX).contains(&signature.signers()));
    assert!(signature.certificates.len() <= CERTIFICATES_MAX);
    for at in 0..signature.signers() {
        let _ = signature.verify(at, b"abc", &signature.certificates);
    }
});
