use russh::keys::ssh_key::HashAlg;

use super::*;
use crate::signed::pki::Pki;

fn request(pki: &Pki, kind: &str, options: &str) -> Vec<u8> {
    pki.key("k", kind);
    pki.openssl(&format!("req -new -key k.key -subj /CN=K0001 {options} -out k.csr"));
    pki.read("k.csr")
}

#[test]
fn takes_the_key_of_what_openssl_makes() {
    let pki = Pki::new();
    for (kind, options) in [
        ("rsa:2048", "-sha256"),
        ("rsa:3072", "-sha512 -outform DER"),
        ("rsa:2048", "-sha256 -sigopt rsa_padding_mode:pss"),
        ("rsa:2048", "-sha384 -text"),
        ("ec:P-256", ""),
        ("ec:P-384", "-sha384 -outform DER"),
        ("ec:P-521", "-sha512"),
        ("ed25519", "-newhdr"),
    ] {
        let bytes = request(&pki, kind, options);
        let key = read(&bytes).unwrap_or_else(|error| panic!("{kind} {options}: {error}"));
        let ssh = key.to_ssh().unwrap();
        assert_eq!(PublicKey::from_ssh(ssh.key_data()), Some(key), "{kind}: both spellings are one key");
        if kind != "ed25519" {
            // OpenSSH reads the other kinds' PEM itself: the fingerprint is the one it prints.
            pki.openssl("pkey -in k.key -pubout -out k.pub.pem");
            let converted = pki.run("ssh-keygen", "-i -m PKCS8 -f k.pub.pem").stdout;
            pki.write("k.pub", converted);
            let printed = String::from_utf8(pki.run("ssh-keygen", "-l -f k.pub").stdout).unwrap();
            assert!(printed.contains(&ssh.fingerprint(HashAlg::Sha256).to_string()), "{kind}: {printed}");
        }
    }
}

#[test]
fn line_ends_and_text_around_do_not_matter() {
    let pki = Pki::new();
    let text = String::from_utf8(request(&pki, "ec:P-256", "")).unwrap();
    for changed in [
        text.replace('\n', "\r\n"),
        format!("\u{feff}{text}"),
        format!("Attributes\n  a: b\n{text}\nend\n"),
        text.lines().map(|line| format!("{line}  \n")).collect(),
    ] {
        assert!(read(changed.as_bytes()).is_ok(), "{changed}");
    }
}

#[test]
fn each_weakness_has_its_own_code() {
    let pki = Pki::new();
    for (kind, options, code) in [
        ("rsa:1024", "-sha256", "WEAK-RSA"),
        ("rsa:2048", "-sha1", "WEAK-SHA1"),
        ("rsa:2048", "-md5", "WEAK-MD5"),
        ("dsa", "-sha256", "WEAK-DSA"),
        ("ec:secp256k1", "-sha256", "WEAK-CURVE"),
        ("ec:brainpoolP256r1", "-sha256", "WEAK-CURVE"),
        ("ec:P-256", "-sha1", "WEAK-SHA1"),
        ("ed448", "", "WEAK-CURVE"),
    ] {
        let error = read(&request(&pki, kind, options)).unwrap_err();
        assert_eq!(error.code(), code, "{kind} {options}: {error}");
        assert!(error.text().ja.contains(&error_name(&error)), "{error}");
    }
}

fn error_name(error: &RequestError) -> String {
    match error {
        RequestError::Weak(weakness) => weakness.name(),
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_no_sound_request_is_refused_by_name() {
    let pki = Pki::new();
    let good = request(&pki, "ec:P-256", "-outform DER");
    let mut changed = good.clone();
    let at = changed.windows(5).position(|w| w == b"K0001").unwrap();
    changed[at + 4] = b'2';
    let certificate = pki.read("ca.crt");
    let key = pki.read("k.key");
    let trailing = [good.as_slice(), b"\0"].concat();
    for (bytes, code) in [
        (Vec::new(), "CSR-EMPTY"),
        (b" \n".to_vec(), "CSR-EMPTY"),
        (vec![b'x'; REQUEST_BYTES_MAX + 1], "CSR-SIZE"),
        (key, "CSR-PRIVATE-KEY"),
        (certificate, "CSR-OTHER"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA".to_vec(), "CSR-MALFORMED"),
        (
            b"-----BEGIN CERTIFICATE REQUEST-----\n!\n-----END CERTIFICATE REQUEST-----".to_vec(),
            "CSR-MALFORMED",
        ),
        (b"ssh-ed25519 AAAA".to_vec(), "CSR-MALFORMED"),
        (good[..good.len() - 1].to_vec(), "CSR-MALFORMED"),
        (trailing, "CSR-MALFORMED"),
        (changed, "CSR-SIGNATURE"),
    ] {
        let error = read(&bytes).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let _ = read(&bytes);
        let _ = read(&[b"-----BEGIN CERTIFICATE REQUEST-----\n", bytes.as_slice()].concat());
    }
}
