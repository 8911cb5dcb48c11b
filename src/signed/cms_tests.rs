//! Signatures by stock tools, checked.

use proptest::prelude::*;

use super::*;
use crate::signed::pki::{ACCOUNT, Pki};

const CONTENT: &[u8] = b"e3b0c442  KPFD0006.CSV\n1234abcd  soukatsu.pdf\n";
const NAME: &str = "/CN=K0001/O=06139999";

fn shop() -> Pki {
    let pki = Pki::new();
    for (name, kind) in [
        ("rsa", "rsa:2048"),
        ("p256", "ec:P-256"),
        ("p384", "ec:P-384"),
        ("p521", "ec:P-521"),
        ("ed", "ed25519"),
    ] {
        pki.issue("ca", name, kind, NAME, ACCOUNT, "");
    }
    pki.write("SHA256SUMS", CONTENT);
    pki
}

fn verified(bytes: &[u8], content: &[u8]) -> Result<(Certificate, &'static str), CmsError> {
    let signature = CmsSignature::read(bytes)?;
    let signer = signature.verify(0, content, &[])?;
    Ok((signer.certificate, signer.scheme.name()))
}

#[test]
fn what_stock_tools_make_is_taken() {
    let pki = shop();
    let cms = "cms -sign -binary -in SHA256SUMS -out sig";
    let cases = [
        (format!("{cms} -signer rsa.crt -inkey rsa.key -outform DER"), "rsa", "rsa-pkcs1-sha256"),
        (format!("{cms} -signer rsa.crt -inkey rsa.key -outform PEM -md sha512"), "rsa", "rsa-pkcs1-sha512"),
        (format!("{cms} -signer rsa.crt -inkey rsa.key -outform DER -noattr"), "rsa", "rsa-pkcs1-sha256"),
        (format!("{cms} -signer rsa.crt -inkey rsa.key -outform DER -keyid"), "rsa", "rsa-pkcs1-sha256"),
        (
            format!("{cms} -signer rsa.crt -inkey rsa.key -outform DER -nosmimecap -certfile ca.crt"),
            "rsa",
            "rsa-pkcs1-sha256",
        ),
        (
            format!("{cms} -signer rsa.crt -inkey rsa.key -outform DER -keyopt rsa_padding_mode:pss"),
            "rsa",
            "rsa-pss-sha256",
        ),
        (
            format!(
                "{cms} -signer rsa.crt -inkey rsa.key -outform DER -md sha384 -keyopt rsa_padding_mode:pss -keyopt rsa_pss_saltlen:-1"
            ),
            "rsa",
            "rsa-pss-sha384",
        ),
        (format!("{cms} -signer p256.crt -inkey p256.key -outform DER"), "p256", "ecdsa-sha256"),
        (format!("{cms} -signer p256.crt -inkey p256.key -outform DER -noattr"), "p256", "ecdsa-sha256"),
        (format!("{cms} -signer p384.crt -inkey p384.key -outform PEM -md sha384"), "p384", "ecdsa-sha384"),
        (format!("{cms} -signer p521.crt -inkey p521.key -outform DER -md sha512"), "p521", "ecdsa-sha512"),
        (
            "smime -sign -binary -in SHA256SUMS -out sig -signer rsa.crt -inkey rsa.key -outform DER".into(),
            "rsa",
            "rsa-pkcs1-sha256",
        ),
        (
            "smime -sign -binary -in SHA256SUMS -out sig -signer p256.crt -inkey p256.key -outform PEM"
                .into(),
            "p256",
            "ecdsa-sha256",
        ),
    ];
    for (line, name, scheme) in cases {
        pki.openssl(&line);
        let got = verified(&pki.read("sig"), CONTENT);
        let (certificate, used) = got.unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!((certificate.der, used), (pki.der(name), scheme), "{line}");
        let other = verified(&pki.read("sig"), b"other").unwrap_err().code();
        let direct = line.contains("-noattr");
        assert_eq!(other, if direct { "CMS-SIGNATURE" } else { "CMS-MISMATCH" }, "{line}");
    }
    // OpenSSL 3.0 signs no CMS with Ed25519; GnuTLS does.
    let line = "--p7-detached-sign --load-privkey ed.key --load-certificate ed.crt --infile SHA256SUMS --outfile sig";
    for more in ["", " --outder", " --p7-time"] {
        let output = pki.run("certtool", &format!("{line}{more}"));
        assert!(
            output.status.success(),
            "certtool (package gnutls-bin): {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(verified(&pki.read("sig"), CONTENT).unwrap().1, "ed25519", "{more}");
    }
}

/// The outer elements with indefinite lengths, as Java libraries write them.
fn indefinite(der: &[u8], depth: usize) -> Vec<u8> {
    let [element] = parts(der).unwrap();
    if depth == 0 || element.tag & 0x20 == 0 {
        return der.to_vec();
    }
    let inner = ber::elements(element.content).unwrap();
    let inner = inner.iter().flat_map(|element| indefinite(element.whole, depth - 1));
    [element.tag, 0x80].into_iter().chain(inner).chain([0, 0]).collect()
}

#[test]
fn ber_is_taken() {
    let pki = shop();
    pki.openssl("cms -sign -binary -in SHA256SUMS -outform DER -signer rsa.crt -inkey rsa.key -out sig");
    let ber = indefinite(&pki.read("sig"), 4);
    assert_ne!(ber, pki.read("sig"));
    assert_eq!(verified(&ber, CONTENT).unwrap().1, "rsa-pkcs1-sha256");
}

#[test]
fn each_reason_has_its_own_code() {
    let pki = shop();
    pki.issue("ca", "dsa", "dsa", NAME, ACCOUNT, "");
    pki.issue("ca", "small", "rsa:1024", NAME, ACCOUNT, "");
    let rsa = "-signer rsa.crt -inkey rsa.key";
    let code = |line: &str| {
        pki.openssl(&format!("{line} -out sig"));
        verified(&pki.read("sig"), CONTENT).map(|(_, scheme)| scheme).map_err(|e| e.code())
    };
    for (line, expected) in [
        (format!("cms -sign -in SHA256SUMS -outform DER {rsa}"), "CMS-TEXT"),
        (format!("cms -sign -in SHA256SUMS -outform DER -noattr {rsa}"), "CMS-TEXT"),
        (format!("cms -sign -binary -in SHA256SUMS {rsa}"), "CMS-SMIME"),
        (format!("smime -sign -binary -in SHA256SUMS {rsa}"), "CMS-SMIME"),
        (format!("cms -sign -binary -nodetach -in SHA256SUMS -outform DER {rsa}"), "CMS-ATTACHED"),
        (format!("cms -sign -binary -stream -in SHA256SUMS -outform DER {rsa}"), "CMS-ATTACHED"),
        (format!("cms -sign -binary -nocerts -in SHA256SUMS -outform DER {rsa}"), "CMS-NO-CERTIFICATE"),
        (format!("cms -sign -binary -in SHA256SUMS -outform DER -md sha1 {rsa}"), "WEAK-SHA1"),
        (format!("cms -sign -binary -in SHA256SUMS -outform DER -md md5 {rsa}"), "WEAK-MD5"),
        (format!("cms -sign -binary -in SHA256SUMS -outform DER -md sha224 {rsa}"), "WEAK-ALGORITHM"),
        (
            format!(
                "cms -sign -binary -in SHA256SUMS -outform DER -md sha1 {rsa} -keyopt rsa_padding_mode:pss"
            ),
            "WEAK-SHA1",
        ),
        ("cms -sign -binary -in SHA256SUMS -outform DER -signer dsa.crt -inkey dsa.key".into(), "WEAK-DSA"),
        (
            "cms -encrypt -binary -in SHA256SUMS -outform DER rsa.crt".replace("rsa.crt", "-recip rsa.crt"),
            "CMS-TYPE",
        ),
        ("cms -digest_create -binary -in SHA256SUMS -outform DER".into(), "CMS-TYPE"),
        ("crl2pkcs7 -nocrl -certfile rsa.crt -outform DER".into(), "CMS-NO-SIGNER"),
    ] {
        assert_eq!(code(&line), Err(expected), "{line}");
    }
    assert_eq!(
        code("cms -sign -binary -in SHA256SUMS -outform DER -signer small.crt -inkey small.key"),
        Err("WEAK-RSA")
    );
    let known = [pki.der("p256"), pki.der("rsa")];
    pki.openssl(&format!("cms -sign -binary -nocerts -in SHA256SUMS -outform DER {rsa} -out sig"));
    let signature = CmsSignature::read(&pki.read("sig")).unwrap();
    assert_eq!(signature.verify(0, CONTENT, &known).unwrap().certificate.der, pki.der("rsa"));
    // Another's certificate that bears the same name and number.
    let mut swapped = pki.read("sig");
    let last = swapped.len() - 1;
    swapped[last] ^= 1;
    let signature = CmsSignature::read(&swapped).unwrap();
    assert_eq!(signature.verify(0, CONTENT, &known).unwrap_err(), CmsError::Signature);

    pki.openssl("cms -sign -binary -in SHA256SUMS -outform DER -signer rsa.crt -inkey rsa.key -signer p256.crt -inkey p256.key -out sig");
    let both = CmsSignature::read(&pki.read("sig")).unwrap();
    assert_eq!(both.signers(), 2);
    let names = [0, 1].map(|at| both.verify(at, CONTENT, &[]).unwrap().scheme.name());
    assert!(names.contains(&"rsa-pkcs1-sha256") && names.contains(&"ecdsa-sha256"));
    assert_eq!(both.verify(2, CONTENT, &[]).unwrap_err(), CmsError::NoSigner);
}

#[test]
fn what_is_no_signature_is_told_apart() {
    let pki = shop();
    pki.openssl("cms -sign -binary -in SHA256SUMS -outform PEM -signer rsa.crt -inkey rsa.key -out sig");
    let pem = String::from_utf8(pki.read("sig")).unwrap();
    let utf16: Vec<u8> = pem.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let code = |bytes: &[u8]| verified(bytes, CONTENT).map(|_| ()).map_err(|e| e.code());
    assert_eq!(code(b""), Err("CMS-EMPTY"));
    assert_eq!(code(b" \r\n"), Err("CMS-EMPTY"));
    assert_eq!(code(CONTENT), Err("CMS-MALFORMED"));
    assert_eq!(code(&pem.as_bytes()[..pem.len() / 2]), Err("CMS-MALFORMED"));
    assert_eq!(code(&utf16), Err("CMS-ENCODING"));
    assert_eq!(code(format!("\u{feff}{pem}").as_bytes()), Err("CMS-ENCODING"));
    assert_eq!(code(&vec![0x30; CMS_BYTES_MAX + 1]), Err("CMS-SIZE"));
    assert_eq!(
        code(b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n"),
        Err("CMS-SSHSIG")
    );
    assert_eq!(code(&pki.der("rsa")), Err("CMS-MALFORMED"));
    assert_eq!(code(pem.replace('\n', "\r\n").as_bytes()), Ok(()));
    assert_eq!(code(pem.replace(" CMS-----", " PKCS7-----").as_bytes()), Ok(()));
}

proptest! {
    #[test]
    fn no_bytes_panic(blob in proptest::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        static SIGNATURE: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
            let pki = shop();
            pki.openssl("cms -sign -binary -in SHA256SUMS -outform DER -signer p256.crt -inkey p256.key -out sig");
            pki.read("sig")
        });
        prop_assert!(verified(&blob, CONTENT).is_err());
        let mut bytes = SIGNATURE.clone();
        let place = at.index(bytes.len());
        bytes[place] ^= 1 << bit;
        if let Ok((certificate, _)) = verified(&bytes, CONTENT) {
            // What is not signed over may change: names of algorithms, attributes that nobody signed, the certificate's own parts.
            prop_assert!(certificate.der.len() > 100);
        }
        bytes.truncate(place);
        prop_assert!(verified(&bytes, CONTENT).is_err());
    }
}
