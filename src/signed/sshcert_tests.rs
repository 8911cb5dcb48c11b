//! Certificates by the stock `ssh-keygen`, judged.

use std::path::PathBuf;
use std::process::Command;

use super::*;

struct Shop {
    dir: tempfile::TempDir,
}

impl Shop {
    fn new() -> Self {
        let shop = Self { dir: tempfile::tempdir().unwrap() };
        for (name, kind, bits) in [
            ("ca", "ed25519", ""),
            ("other", "ed25519", ""),
            ("rsa", "rsa", "2048"),
            ("small", "rsa", "1024"),
            ("key", "ecdsa", "256"),
        ] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-N", "", "-C", "", "-t", kind, "-f"]).arg(shop.path(name));
            if !bits.is_empty() {
                command.args(["-b", bits]);
            }
            assert!(command.status().unwrap().success());
        }
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn certify(&self, ca: &str, key: &str, more: &[&str]) -> Certificate {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-I", "id", "-s"])
            .arg(self.path(ca))
            .args(more)
            .arg(self.path(&format!("{key}.pub")))
            .env("TZ", "UTC")
            .status()
            .unwrap();
        assert!(made.success());
        let line = std::fs::read_to_string(self.path(&format!("{key}-cert.pub"))).unwrap();
        Certificate::from_openssh(&line).unwrap()
    }

    fn authority(&self, name: &str) -> UserAuthority {
        let line = std::fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
        let key = russh::keys::PublicKey::from_openssh(&line).unwrap().key_data().clone();
        UserAuthority { key, from: Timestamp(0), until: None }
    }
}

fn at(text: &str) -> Timestamp {
    Timestamp(chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
}

const PERIOD: [&str; 2] = ["-V", "20261101000000:20261201000000"];

#[test]
fn each_reason_has_its_own_code() {
    let shop = Shop::new();
    let account = AccountId::parse("K0001").unwrap();
    let inside = at("2026-11-23T00:00:00Z");
    let local: IpAddr = "127.0.0.1".parse().unwrap();
    let login = Use::Login(local);
    let trusted =
        [shop.authority("other"), shop.authority("ca"), shop.authority("rsa"), shop.authority("small")];
    let mut ended = shop.authority("ca");
    ended.until = Some(at("2026-11-20T00:00:00Z"));
    let mine: &[&str] = &["-n", "K0000,K0001"];
    #[allow(clippy::type_complexity, reason = "a table")]
    let cases: Vec<(&str, &str, &str, Vec<&str>, Use, Result<usize, &str>)> = vec![
        ("good", "ca", "key", mine.to_vec(), login, Ok(1)),
        ("good, by RSA", "rsa", "key", mine.to_vec(), login, Ok(2)),
        ("by RSA with SHA-1", "rsa", "key", [mine, &["-t", "ssh-rsa"]].concat(), login, Err("WEAK-SHA1")),
        ("by a small RSA key", "small", "key", mine.to_vec(), login, Err("WEAK-RSA")),
        ("of a small RSA key", "ca", "small", mine.to_vec(), login, Err("WEAK-RSA")),
        ("host", "ca", "key", [mine, &["-h"]].concat(), login, Err("CERTIFICATE-PURPOSE")),
        ("nobody's", "ca", "key", vec![], login, Err("CERTIFICATE-PRINCIPALS")),
        ("another's", "ca", "key", vec!["-n", "k0001"], login, Err("CERTIFICATE-ACCOUNT")),
        (
            "from here",
            "ca",
            "key",
            [mine, &["-O", "source-address=192.0.2.0/24,127.0.0.0/8"]].concat(),
            login,
            Ok(1),
        ),
        (
            "from elsewhere",
            "ca",
            "key",
            [mine, &["-O", "source-address=192.0.2.0/24"]].concat(),
            login,
            Err("CERTIFICATE-SOURCE"),
        ),
        (
            "from elsewhere, signing",
            "ca",
            "key",
            [mine, &["-O", "source-address=192.0.2.0/24"]].concat(),
            Use::Signature,
            Ok(1),
        ),
        (
            "a command",
            "ca",
            "key",
            [mine, &["-O", "force-command=ls"]].concat(),
            login,
            Err("CERTIFICATE-OPTION"),
        ),
        (
            "an unknown option",
            "ca",
            "key",
            [mine, &["-O", "critical:x@example.jp"]].concat(),
            Use::Signature,
            Err("CERTIFICATE-OPTION"),
        ),
    ];
    for (what, ca, key, more, usage, expected) in cases {
        let certificate = shop.certify(ca, key, &[&PERIOD[..], &more].concat());
        let got = verify(&certificate, &account, &trusted, usage, inside);
        assert_eq!(got.map_err(|e| e.code()), expected, "{what}");
    }
    let good = shop.certify("ca", "key", &[&PERIOD[..], mine].concat());
    let judged = |authorities: &[UserAuthority], time| {
        verify(&good, &account, authorities, login, time).map_err(|e| e.code())
    };
    assert_eq!(judged(&trusted[..1], inside), Err("CERTIFICATE-AUTHORITY"));
    assert_eq!(judged(&[ended], inside), Err("CERTIFICATE-AUTHORITY-PERIOD"));
    assert_eq!(judged(&trusted, at("2026-10-31T23:59:59Z")), Err("CERTIFICATE-NOT-YET"));
    assert_eq!(judged(&trusted, at("2026-11-01T00:00:00Z")), Ok(1));
    assert_eq!(judged(&trusted, at("2026-11-30T23:59:59Z")), Ok(1));
    assert_eq!(judged(&trusted, at("2026-12-01T00:00:00Z")), Err("CERTIFICATE-EXPIRED"));
    let mut forged = good.to_bytes().unwrap();
    let place = forged.windows(5).position(|w| w == b"K0000").unwrap();
    forged[place + 4] = b'9';
    let forged = Certificate::from_bytes(&forged).unwrap();
    let got = verify(&forged, &account, &trusted, login, inside);
    assert_eq!(got.map_err(|e| e.code()), Err("CERTIFICATE-CHAIN"));
}

#[test]
fn networks_hold_their_addresses() {
    for (network, address, holds) in [
        ("192.0.2.0/24", "192.0.2.77", true),
        ("192.0.2.0/24", "192.0.3.1", false),
        ("192.0.2.0/24", "::ffff:192.0.2.1", true),
        ("192.0.2.7", "192.0.2.7", true),
        ("192.0.2.7", "192.0.2.8", false),
        ("0.0.0.0/0", "203.0.113.9", true),
        ("0.0.0.0/0", "2001:db8::1", false),
        ("2001:db8::/32", "2001:db8:1::1", true),
        ("::/0", "2001:db8::1", true),
        ("2001:db8::1", "2001:db8::2", false),
    ] {
        let network = Network::parse(network).unwrap();
        assert_eq!(network.holds(address.parse().unwrap()), holds, "{address}");
    }
    for bad in ["", "x", "192.0.2.0/33", "192.0.2.0/", "192.0.2.0/-1", "::/129", " 192.0.2.1"] {
        assert!(Network::parse(bad).is_none(), "{bad:?}");
    }
}
