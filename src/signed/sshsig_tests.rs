//! Both ways against the stock `ssh-keygen`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use proptest::prelude::*;
use russh::keys::ssh_key::{self, Signature};

use super::*;

const MESSAGE: &[u8] = b"e3b0c442  KPFD0006.CSV\n";

struct Keygen {
    dir: tempfile::TempDir,
}

impl Keygen {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn key(&self, kind: &str, bits: &str) -> PathBuf {
        let path = self.dir.path().join(format!("{kind}{bits}"));
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-N", "", "-C", "", "-t", kind, "-f"]).arg(&path);
        if !bits.is_empty() {
            command.args(["-b", bits]);
        }
        assert!(command.status().unwrap().success());
        path
    }

    fn run(args: &[&str], key: &Path, input: &[u8]) -> Output {
        let mut child = Command::new("ssh-keygen")
            .args(args)
            .arg("-f")
            .arg(key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    fn sign(key: &Path, namespace: &str, message: &[u8]) -> Vec<u8> {
        let out = Self::run(&["-Y", "sign", "-n", namespace], key, message);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    }

    fn verifies(&self, signature: &str, namespace: &str, public: &PublicKey, message: &[u8]) -> bool {
        let signers = self.dir.path().join("allowed_signers");
        std::fs::write(&signers, format!("K0001 {}\n", public.to_openssh().unwrap())).unwrap();
        let file = self.dir.path().join("sig");
        std::fs::write(&file, signature).unwrap();
        let args = ["-Y", "verify", "-I", "K0001", "-n", namespace, "-s", file.to_str().unwrap()];
        Self::run(&args, &signers, message).status.success()
    }
}

fn private(path: &Path) -> PrivateKey {
    PrivateKey::from_openssh(std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn stock_keygen_and_we_agree_both_ways() {
    let keygen = Keygen::new();
    let kinds = [
        ("ed25519", "", "ssh-ed25519"),
        ("rsa", "3072", "rsa-sha2-512"),
        ("ecdsa", "256", "ecdsa-sha2-nistp256"),
        ("ecdsa", "384", "ecdsa-sha2-nistp384"),
        ("ecdsa", "521", "ecdsa-sha2-nistp521"),
    ];
    for (kind, bits, algorithm) in kinds {
        let path = keygen.key(kind, bits);
        let key = private(&path);
        let theirs = Keygen::sign(&path, SUBMISSION_NAMESPACE, MESSAGE);
        let signer = verify(&theirs, SUBMISSION_NAMESPACE, MESSAGE).unwrap();
        assert_eq!(signer.key.key_data(), key.public_key().key_data());
        assert_eq!(signer.algorithm, algorithm);
        assert!(signer.fingerprint().starts_with("SHA256:"));
        assert_eq!(verify(&theirs, SUBMISSION_NAMESPACE, b"other"), Err(SignatureError::Mismatch));
        let other = verify(&theirs, RECEIPT_NAMESPACE, MESSAGE).unwrap_err();
        assert_eq!(other.code(), "SIGNATURE-NAMESPACE");
        let crlf = String::from_utf8(theirs).unwrap().replace('\n', "\r\n");
        assert!(verify(crlf.as_bytes(), SUBMISSION_NAMESPACE, MESSAGE).is_ok());

        let ours = sign(MESSAGE, SUBMISSION_NAMESPACE, &key).unwrap();
        assert!(keygen.verifies(&ours, SUBMISSION_NAMESPACE, key.public_key(), MESSAGE), "{kind}{bits}");
        assert!(!keygen.verifies(&ours, "file", key.public_key(), MESSAGE));
        assert!(!keygen.verifies(&ours, SUBMISSION_NAMESPACE, key.public_key(), b"other"));
        assert!(verify(ours.as_bytes(), SUBMISSION_NAMESPACE, MESSAGE).is_ok());
    }
}

#[test]
fn a_certificate_names_its_key() {
    let keygen = Keygen::new();
    let (ca, user) = (keygen.key("ed25519", ""), keygen.key("ecdsa", "256"));
    let certify = Command::new("ssh-keygen")
        .args(["-q", "-I", "K0001", "-n", "K0001", "-s"])
        .arg(&ca)
        .arg(user.with_extension("pub"))
        .status()
        .unwrap();
    assert!(certify.success());
    let key = private(&user);
    let certificate = PathBuf::from(format!("{}-cert.pub", user.display()));
    let certificate = Certificate::from_openssh(&std::fs::read_to_string(certificate).unwrap()).unwrap();
    let data = SshSig::signed_data(SUBMISSION_NAMESPACE, HashAlg::Sha512, MESSAGE).unwrap();
    let signature: Signature = russh::keys::signature::Signer::try_sign(&key, &data).unwrap();
    let sig =
        SshSig::new(KeyData::from(certificate.clone()), SUBMISSION_NAMESPACE, HashAlg::Sha512, signature)
            .unwrap();
    let pem = sig.to_pem(LineEnding::LF).unwrap();
    let signer = verify(pem.as_bytes(), SUBMISSION_NAMESPACE, MESSAGE).unwrap();
    assert_eq!(signer.key.key_data(), key.public_key().key_data());
    let carried = signer.certificate.unwrap();
    assert_eq!(carried.to_bytes().unwrap(), certificate.to_bytes().unwrap());
    assert_eq!(verify(pem.as_bytes(), SUBMISSION_NAMESPACE, b"other"), Err(SignatureError::Mismatch));
}

#[test]
fn weak_algorithms_are_refused_by_name() {
    let keygen = Keygen::new();
    let path = keygen.key("rsa", "1024");
    let theirs = Keygen::sign(&path, SUBMISSION_NAMESPACE, MESSAGE);
    assert_eq!(
        verify(&theirs, SUBMISSION_NAMESPACE, MESSAGE),
        Err(SignatureError::Weak { name: "RSA-1024".into() })
    );
    assert_eq!(sign(MESSAGE, SUBMISSION_NAMESPACE, &private(&path)).unwrap_err().code(), "SIGNATURE-WEAK");

    // ssh-keygen no longer makes SHA-1 signatures; the library does, when asked for the plain `ssh-rsa`.
    let key = private(&keygen.key("rsa", "2048"));
    let ssh_key::private::KeypairData::Rsa(pair) = key.key_data() else { panic!("an RSA key") };
    let data = SshSig::signed_data(SUBMISSION_NAMESPACE, HashAlg::Sha512, MESSAGE).unwrap();
    let signature: Signature = russh::keys::signature::Signer::try_sign(&(pair, None), &data).unwrap();
    let sig =
        SshSig::new(key.public_key().key_data().clone(), SUBMISSION_NAMESPACE, HashAlg::Sha512, signature)
            .unwrap();
    let pem = sig.to_pem(LineEnding::LF).unwrap();
    assert_eq!(
        verify(pem.as_bytes(), SUBMISSION_NAMESPACE, MESSAGE),
        Err(SignatureError::Weak { name: "ssh-rsa (SHA-1)".into() })
    );

    let dsa = keygen.key("dsa", "");
    let public = std::fs::read_to_string(dsa.with_extension("pub")).unwrap();
    let public = PublicKey::from_openssh(&public).unwrap();
    assert_eq!(require_strong(public.key_data()), Err(SignatureError::Weak { name: "ssh-dss".into() }));
}

#[test]
fn a_protected_key_says_that_it_cannot_sign() {
    let keygen = Keygen::new();
    let path = keygen.dir.path().join("locked");
    let made =
        Command::new("ssh-keygen").args(["-q", "-N", "secret", "-t", "ed25519", "-f"]).arg(&path).status();
    assert!(made.unwrap().success());
    assert_eq!(sign(MESSAGE, SUBMISSION_NAMESPACE, &private(&path)).unwrap_err().code(), "SIGNATURE-KEY");
}

#[test]
fn what_is_not_a_signature_is_told_apart() {
    let keygen = Keygen::new();
    let good =
        String::from_utf8(Keygen::sign(&keygen.key("ed25519", ""), SUBMISSION_NAMESPACE, MESSAGE)).unwrap();
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let code = |bytes: &[u8]| verify(bytes, SUBMISSION_NAMESPACE, MESSAGE).unwrap_err().code();
    assert_eq!(code(b""), "SIGNATURE-ARMOR");
    assert_eq!(code(MESSAGE), "SIGNATURE-ARMOR");
    assert_eq!(code(&good.as_bytes()[..good.len() / 2]), "SIGNATURE-ARMOR");
    assert_eq!(code(&utf16), "SIGNATURE-ENCODING");
    assert_eq!(code(format!("\u{feff}{good}").as_bytes()), "SIGNATURE-ENCODING");
    assert_eq!(code(format!("{BEGIN}\nAAAA\n{END}\n").as_bytes()), "SIGNATURE-MALFORMED");
    assert_eq!(code(format!("{BEGIN}\n!!!!\n{END}\n").as_bytes()), "SIGNATURE-MALFORMED");
    assert_eq!(code(&vec![b'A'; SIGNATURE_BYTES_MAX + 1]), "SIGNATURE-SIZE");
    let body: String = good.lines().filter(|l| !l.starts_with('-')).collect();
    let mut blob = STANDARD.decode(body).unwrap();
    blob.push(0);
    let longer = format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(&blob));
    assert_eq!(code(longer.as_bytes()), "SIGNATURE-MALFORMED");
}

proptest! {
    #[test]
    fn no_bytes_panic(blob in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..200, bit in 0u8..8) {
        let armored = format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(&blob));
        prop_assert!(verify(armored.as_bytes(), SUBMISSION_NAMESPACE, MESSAGE).is_err());
        let mut sshsig = b"SSHSIG\0\0\0\x01\0\0\0\x33\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
        sshsig.extend_from_slice(&blob);
        let len = sshsig.len();
        sshsig[at % len] ^= 1 << bit;
        let armored = format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(&sshsig));
        prop_assert!(verify(armored.as_bytes(), SUBMISSION_NAMESPACE, MESSAGE).is_err());
    }
}
