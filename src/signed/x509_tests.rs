//! Certificates by the stock `openssl`, judged.

use proptest::prelude::*;

use super::*;
use crate::model::time::DAY;
use crate::signed::pki::{ACCOUNT, CA, Pki};

const NAME: &str = "/CN=K0001/O=06139999";

fn certificate(pki: &Pki, name: &str) -> Certificate {
    Certificate::from_der(&pki.der(name)).unwrap()
}

fn anchor(pki: &Pki, name: &str) -> Anchor {
    Anchor { certificate: certificate(pki, name), from: Timestamp(0), until: None }
}

fn trust<'a>(anchors: &'a [Anchor], lists: &'a [&'a RevocationList]) -> Trust<'a> {
    Trust { anchors, lists, purpose_required: false }
}

#[test]
fn each_reason_has_its_own_code() {
    let pki = Pki::new();
    pki.root("other", "ec:P-256", "/CN=another CA");
    pki.root("weak", "rsa:1024", "/CN=weak CA");
    let serving = ACCOUNT.replace("clientAuth,emailProtection", "serverAuth");
    let encrypting = ACCOUNT.replace("digitalSignature,nonRepudiation", "keyEncipherment");
    let unnamed = ACCOUNT.replace("extendedKeyUsage=clientAuth,emailProtection\n", "");
    let critical = format!("{ACCOUNT}1.2.3.4=critical,ASN1:NULL\n");
    let cases = [
        ("good-rsa", "ca", "rsa:2048", ACCOUNT, "", Ok(0)),
        ("good-p256", "ca", "ec:P-256", ACCOUNT, "", Ok(0)),
        ("good-p384", "ca", "ec:P-384", ACCOUNT, "-sha512", Ok(0)),
        ("good-p521", "ca", "ec:P-521", ACCOUNT, "", Ok(0)),
        ("good-ed25519", "ca", "ed25519", ACCOUNT, "", Ok(0)),
        ("other-ca", "other", "ec:P-256", ACCOUNT, "", Err("CERTIFICATE-AUTHORITY")),
        ("weak-ca", "weak", "ec:P-256", ACCOUNT, "", Err("WEAK-RSA")),
        ("sha1", "ca", "ec:P-256", ACCOUNT, "-sha1", Err("WEAK-SHA1")),
        ("md5", "ca", "ec:P-256", ACCOUNT, "-md5", Err("WEAK-MD5")),
        ("rsa1024", "ca", "rsa:1024", ACCOUNT, "", Err("WEAK-RSA")),
        ("dsa", "ca", "dsa", ACCOUNT, "", Err("WEAK-DSA")),
        ("secp256k1", "ca", "ec:secp256k1", ACCOUNT, "", Err("WEAK-CURVE")),
        ("ed448", "ca", "ed448", ACCOUNT, "", Err("WEAK-CURVE")),
        ("server", "ca", "ec:P-256", &serving, "", Err("CERTIFICATE-PURPOSE")),
        ("encryption", "ca", "ec:P-256", &encrypting, "", Err("CERTIFICATE-PURPOSE")),
        ("authority", "ca", "ec:P-256", CA, "", Err("CERTIFICATE-CA")),
        ("unnamed", "ca", "ec:P-256", &unnamed, "", Ok(0)),
        ("critical", "ca", "ec:P-256", &critical, "", Err("CERTIFICATE-EXTENSION")),
    ];
    let anchors = [anchor(&pki, "ca"), anchor(&pki, "weak")];
    for (name, ca, kind, extensions, more, expected) in cases {
        pki.issue(ca, name, kind, NAME, extensions, more);
        let certificate = certificate(&pki, name);
        let at = certificate.not_before.plus(DAY);
        let got = verify(&certificate, &[], &trust(&anchors, &[]), at).map(|path| path.anchor);
        assert_eq!(got.map_err(|e| e.code()), expected, "{name}");
    }
    let unnamed = certificate(&pki, "unnamed");
    let strict = Trust { purpose_required: true, ..trust(&anchors, &[]) };
    let got = verify(&unnamed, &[], &strict, unnamed.not_before);
    assert_eq!(got.unwrap_err().code(), "CERTIFICATE-PURPOSE");
    assert_eq!(unnamed.common_names, ["K0001"]);
}

#[test]
fn periods_are_of_the_certificate_and_of_the_trust_in_its_authority() {
    let pki = Pki::new();
    pki.issue("ca", "one", "ec:P-256", NAME, ACCOUNT, "-days 30");
    let certificate = certificate(&pki, "one");
    let (from, to) = (certificate.not_before, certificate.not_after);
    let code = |anchor: &Anchor, at| {
        let anchors = std::slice::from_ref(anchor);
        verify(&certificate, &[], &trust(anchors, &[]), at).map(|_| ()).map_err(|e| e.code())
    };
    let always = anchor(&pki, "ca");
    assert_eq!(code(&always, from.plus(-SECOND)), Err("CERTIFICATE-NOT-YET"));
    assert_eq!(code(&always, from), Ok(()));
    assert_eq!(code(&always, to), Ok(()), "the last second counts (RFC 5280 section 4.1.2.5)");
    assert_eq!(code(&always, to.plus(SECOND)), Err("CERTIFICATE-EXPIRED"));
    let ended = Anchor { until: Some(from.plus(DAY)), ..anchor(&pki, "ca") };
    assert_eq!(code(&ended, from), Ok(()));
    assert_eq!(code(&ended, from.plus(DAY)), Err("CERTIFICATE-AUTHORITY-PERIOD"));
    let later = Anchor { from: from.plus(DAY), ..anchor(&pki, "ca") };
    assert_eq!(code(&later, from), Err("CERTIFICATE-AUTHORITY-PERIOD"));
    assert_eq!(code(&later, from.plus(DAY)), Ok(()));
}

#[test]
fn two_generations_and_an_authority_between_are_followed() {
    let pki = Pki::new();
    pki.root("next", "ec:P-384", "/CN=todoke sample CA");
    pki.issue("next", "between", "ec:P-256", "/CN=between", CA, "");
    pki.issue("between", "below", "ec:P-256", NAME, ACCOUNT, "");
    pki.issue("between", "server", "ec:P-256", "/CN=server", ACCOUNT, "");
    pki.issue("server", "forged", "ec:P-256", NAME, ACCOUNT, "");
    // The two generations have one name: which signed is seen by the signature.
    let anchors = [anchor(&pki, "ca"), anchor(&pki, "next")];
    let below = certificate(&pki, "below");
    let at = below.not_before.plus(DAY);
    let path = verify(&below, &[pki.der("between")], &trust(&anchors, &[]), at).unwrap();
    assert_eq!((path.anchor, path.intermediates), (1, vec![pki.der("between")]));
    let code = |name: &str, others: &[Vec<u8>]| {
        verify(&certificate(&pki, name), others, &trust(&anchors, &[]), at).unwrap_err().code()
    };
    assert_eq!(code("below", &[]), "CERTIFICATE-AUTHORITY");
    assert_eq!(code("below", &[vec![0x30, 0x80], Vec::new()]), "CERTIFICATE-AUTHORITY");
    assert_eq!(code("forged", &[pki.der("server"), pki.der("between")]), "CERTIFICATE-CHAIN");
    pki.issue("ca", "old", "rsa:2048", NAME, ACCOUNT, "");
    let old = verify(&certificate(&pki, "old"), &[], &trust(&anchors, &[]), at);
    assert_eq!(old.unwrap().anchor, 0);
}

#[test]
fn an_authoritys_list_revokes_and_an_old_list_says_nothing() {
    let pki = Pki::new();
    pki.issue("ca", "good", "ec:P-256", NAME, ACCOUNT, "");
    pki.issue("ca", "bad", "ec:P-256", NAME, ACCOUNT, "");
    pki.write("index.txt", "");
    pki.write("crlnumber", "01\n");
    pki.write("ca.cnf", "[ca]\ndefault_ca=c\n[c]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\nprivate_key=ca.key\ncertificate=ca.crt\ndefault_crl_days=7\ncrl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n");
    pki.openssl("ca -config ca.cnf -revoke bad.crt");
    pki.openssl("ca -config ca.cnf -gencrl -out list.pem");
    pki.openssl("crl -in list.pem -outform DER -out list.der");
    let anchors = [anchor(&pki, "ca")];
    let at = certificate(&pki, "bad").not_before.plus(DAY);
    for file in ["list.pem", "list.der"] {
        let list = RevocationList::read(&pki.read(file)).unwrap();
        let lists = [&list];
        let code = |name: &str, at| {
            verify(&certificate(&pki, name), &[], &trust(&anchors, &lists), at)
                .map(|_| ())
                .map_err(|e| e.code())
        };
        assert_eq!(code("good", at), Ok(()), "{file}");
        assert_eq!(code("bad", at), Err("CERTIFICATE-REVOKED"));
        assert_eq!(code("good", at.plus_days(7)), Err("CERTIFICATE-REVOCATION"));
        // Another authority's certificates are not on it.
        pki.root("other", "ec:P-256", "/CN=another CA");
        pki.issue("other", "elsewhere", "ec:P-256", NAME, ACCOUNT, "");
        let anchors = [anchor(&pki, "ca"), anchor(&pki, "other")];
        let elsewhere = certificate(&pki, "elsewhere");
        assert_eq!(
            verify(&elsewhere, &[], &trust(&anchors, &lists), elsewhere.not_before).unwrap().anchor,
            1
        );
    }
    assert!(RevocationList::read(b"").is_err());
    assert!(RevocationList::read(b"-----BEGIN X509 CRL-----\n").is_err());
}

/// A list by `ca`, with these extensions, of these certificates.
fn list(pki: &Pki, ca: &str, extensions: &str, revoked: &[&str]) -> RevocationList {
    pki.write("index.txt", "");
    pki.write("crlnumber", "01\n");
    pki.write("list.cnf", format!("[ca]\ndefault_ca=c\n[c]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\nprivate_key={ca}.key\ncertificate={ca}.crt\ndefault_crl_days=7\ncrl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n{extensions}"));
    for name in revoked {
        pki.openssl(&format!("ca -config list.cnf -revoke {name}.crt"));
    }
    pki.openssl("ca -config list.cnf -gencrl -out list.pem");
    RevocationList::read(&pki.read("list.pem")).unwrap()
}

#[test]
fn each_of_two_generations_with_one_name_has_its_own_list() {
    let pki = Pki::new();
    for other in ["next", "stranger"] {
        pki.root(other, "ec:P-256", "/CN=todoke sample CA");
    }
    for (ca, name) in [("ca", "old"), ("ca", "old-bad"), ("next", "new"), ("next", "new-bad")] {
        pki.issue(ca, name, "ec:P-256", NAME, ACCOUNT, "");
    }
    let anchors = [anchor(&pki, "ca"), anchor(&pki, "next")];
    let at = certificate(&pki, "new-bad").not_before.plus(DAY);
    let codes = |lists: &[&RevocationList]| {
        ["old", "old-bad", "new", "new-bad"].map(|name| {
            let verified = verify(&certificate(&pki, name), &[], &trust(&anchors, lists), at);
            verified.map(|_| ()).map_err(|e| e.code())
        })
    };
    let (first, second) = (list(&pki, "ca", "", &["old-bad"]), list(&pki, "next", "", &["new-bad"]));
    let revoked = Err("CERTIFICATE-REVOKED");
    assert_eq!(codes(&[]), [Ok(()); 4]);
    assert_eq!(codes(&[&first]), [Ok(()), revoked, Ok(()), Ok(())], "the next one has no list yet");
    assert_eq!(codes(&[&second]), [Ok(()), Ok(()), Ok(()), revoked]);
    assert_eq!(codes(&[&first, &second]), [Ok(()), revoked, Ok(()), revoked]);
    assert_eq!(codes(&[&second, &first]), [Ok(()), revoked, Ok(()), revoked]);
    // One that neither signed says nothing of either, and is not passed over.
    let forged = list(&pki, "stranger", "", &[]);
    assert_eq!(codes(&[&forged]), [Err("CERTIFICATE-REVOCATION"); 4]);
    let unknown = Err("CERTIFICATE-REVOCATION");
    assert_eq!(codes(&[&forged, &first]), [Ok(()), revoked, unknown, unknown]);
}

#[test]
fn a_list_in_parts_must_be_the_part_that_the_certificate_names() {
    let pki = Pki::new();
    let placed = format!("{ACCOUNT}crlDistributionPoints=URI:http://crl.example.jp/1.crl\n");
    pki.issue("ca", "good", "ec:P-256", NAME, &placed, "");
    pki.issue("ca", "bad", "ec:P-256", NAME, &placed, "");
    pki.issue("ca", "between", "ec:P-256", "/CN=between", CA, "");
    pki.issue("between", "below", "ec:P-256", NAME, &placed, "");
    let anchors = [anchor(&pki, "ca")];
    let at = certificate(&pki, "below").not_before.plus(DAY);
    let code = |name: &str, lists: &[&RevocationList]| {
        let verified = verify(&certificate(&pki, name), &[pki.der("between")], &trust(&anchors, lists), at);
        verified.map(|_| ()).map_err(|e| e.code())
    };
    let part = |url: &str, more: &str, revoked: &[&str]| {
        let place = format!("issuingDistributionPoint=critical,@idp\n[idp]\nfullname=URI:{url}\n{more}");
        list(&pki, "ca", &place, revoked)
    };
    let (unknown, revoked) = (Err("CERTIFICATE-REVOCATION"), Err("CERTIFICATE-REVOKED"));
    let other = part("http://crl.example.jp/2.crl", "", &["bad"]);
    assert_eq!([code("good", &[&other]), code("bad", &[&other])], [unknown, unknown], "nothing is known");
    let own = part("http://crl.example.jp/1.crl", "", &["bad"]);
    for lists in [&[&own][..], &[&other, &own], &[&own, &other]] {
        assert_eq!([code("good", lists), code("bad", lists)], [Ok(()), revoked]);
    }
    let authorities = part("http://crl.example.jp/1.crl", "onlyCA=TRUE\n", &["between"]);
    assert_eq!(code("good", &[&authorities]), unknown, "it is about authorities alone");
    // An authority between is looked up like any other, and asked for no list of its own.
    assert_eq!(code("below", &[&authorities]), revoked);
    assert_eq!(code("below", &[&list(&pki, "ca", "", &[])]), Ok(()));
    let users = part("http://crl.example.jp/1.crl", "onlyuser=TRUE\n", &[]);
    assert_eq!([code("good", &[&users]), code("below", &[&users])], [Ok(()), unknown]);
}

#[test]
fn an_authority_for_other_purposes_certifies_no_account() {
    let pki = Pki::new();
    let cases = [
        ("serverAuth", Err("CERTIFICATE-PURPOSE")),
        ("serverAuth,codeSigning", Err("CERTIFICATE-PURPOSE")),
        ("serverAuth,clientAuth", Ok(())),
        ("emailProtection", Ok(())),
        ("anyExtendedKeyUsage", Ok(())),
    ];
    for (at, (purposes, expected)) in cases.into_iter().enumerate() {
        let (between, below) = (format!("between-{at}"), format!("below-{at}"));
        pki.issue(
            "ca",
            &between,
            "ec:P-256",
            "/CN=between",
            &format!("{CA}extendedKeyUsage={purposes}\n"),
            "",
        );
        pki.issue(&between, &below, "ec:P-256", NAME, ACCOUNT, "");
        let below = certificate(&pki, &below);
        let at = below.not_before.plus(DAY);
        for (anchors, others) in
            [(anchor(&pki, "ca"), vec![pki.der(&between)]), (anchor(&pki, &between), Vec::new())]
        {
            let verified = verify(&below, &others, &trust(&[anchors], &[]), at);
            assert_eq!(verified.map(|_| ()).map_err(|e| e.code()), expected, "{purposes}");
        }
    }
}

#[test]
fn what_is_no_certificate_is_told() {
    let pki = Pki::new();
    let der = pki.der("ca");
    for bad in [&b""[..], b"x", &[0x30, 0x00], &der[..der.len() - 1], &[&der[..], b"x"].concat()] {
        assert_eq!(Certificate::from_der(bad), Err(CertificateError::Malformed));
    }
    pki.issue("ca", "names", "ec:P-256", "/UID=K0001/CN=見本 太郎", ACCOUNT, "");
    let names = certificate(&pki, "names");
    assert_eq!(
        (names.user_ids, names.common_names),
        (vec!["K0001".to_owned()], vec!["見本 太郎".to_owned()])
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>()) {
        static DER: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| Pki::new().der("ca"));
        let mut der = DER.clone();
        let place = at.index(der.len());
        der[place] ^= 1 << bit;
        if let Ok(certificate) = Certificate::from_der(&der) {
            let anchors = [Anchor { certificate: certificate.clone(), from: Timestamp(0), until: None }];
            let _ = verify(&certificate, std::slice::from_ref(&der), &trust(&anchors, &[]), certificate.not_before);
        }
        der.truncate(cut.index(der.len()));
        prop_assert!(Certificate::from_der(&der).is_err());
        let _ = RevocationList::read(&der);
    }
}
