//! The gate over a house of its own.

use std::net::IpAddr;
use std::sync::atomic::AtomicU32;

use russh::keys::ssh_key::{HashAlg, PublicKey, private::Ed25519Keypair};

use super::*;
use crate::doors::sftp::port::{Credential, Entered, Fault, Gate as _, Link};
use crate::model::party::{Actor, Role, Standing};
use crate::store::ledger::Op;
use crate::store::sample;

const LOGIN: &str = "I0001";

/// A house with an insurer, and its account with a key.
struct Place {
    _dir: tempfile::TempDir,
    gate: KeyGate,
    account: Account,
    key: PublicKey,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("conf/todoke.toml");
        std::fs::create_dir(dir.path().join("conf")).unwrap();
        std::fs::write(&file, "[gateway]\nroot = \"spool\"\n[scanner]\naddress = \"none\"\n").unwrap();
        let house = Arc::new(House::open(Config::load(&file).unwrap(), &World::default()).unwrap());
        let key = PublicKey::new(Ed25519Keypair::from_seed(&[7; 32]).public.into(), "");
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let account =
            Account { role: Role::Insurer, offices: Vec::new(), ..sample::account(LOGIN, &fingerprint) };
        for op in [
            Op::SetInsurer { insurer: sample::insurer(), new: true },
            Op::SetAccount { account: account.clone(), new: true },
        ] {
            house.ledger.commit(op, Actor::Daemon, house.now()).unwrap();
        }
        let gate = gate(&house, &house.config.get());
        gate.policy.lock().unwrap().machine_logins_max = 1;
        Self { _dir: dir, gate, account, key }
    }

    fn enter(&self, from: u8, session: u64, link: &Arc<Wire>) -> Result<Entered, Fault> {
        let from = SocketAddr::new(IpAddr::from([127, 0, 0, from]), 2000);
        let link = Arc::clone(link) as Arc<dyn Link>;
        self.gate.enter(LOGIN, &Credential::Key(self.key.clone()), false, from, session, link)
    }
}

/// Makes the account stand like this.
fn stand(ledger: &dyn Ledger, account: &Account, standing: Standing) {
    let account = Account { standing, ..account.clone() };
    ledger.commit(Op::SetAccount { account, new: false }, Actor::Operator(0), Timestamp(0)).unwrap();
}

/// A connection that counts how often it was ended, and for what; while another login takes its place, the account is suspended.
struct Wire {
    stopped: AtomicU32,
    suspends: Option<(Arc<dyn Ledger>, Account)>,
}

impl Wire {
    fn new(suspends: Option<(Arc<dyn Ledger>, Account)>) -> Arc<Self> {
        Arc::new(Self { stopped: AtomicU32::new(0), suspends })
    }
}

impl Link for Wire {
    fn evict(&self) {}
    fn revoked(&self) {}
    fn stopped(&self) {
        self.stopped.fetch_add(1, Ordering::SeqCst);
    }
    fn idle(&self) -> Duration {
        if let Some((ledger, account)) = &self.suspends {
            stand(ledger.as_ref(), account, Standing::Suspended);
        }
        Duration::from_hours(1)
    }
}

#[test]
fn who_is_suspended_on_the_way_in_does_not_stay() {
    let place = Place::new();
    let ledger = Arc::clone(&place.gate.ledger);
    let first = Wire::new(Some((Arc::clone(&ledger), place.account.clone())));
    let _first = place.enter(1, 1, &first).map_err(|fault| fault.text).unwrap();
    let refused = place.enter(2, 2, &Wire::new(None)).map(|_| ()).unwrap_err();
    assert_eq!(refused.code, "ACCOUNT-STOPPED");
    assert_eq!(place.gate.look_again(), 0, "nobody is left behind");

    stand(ledger.as_ref(), &place.account, Standing::Active);
    let wire = Wire::new(None);
    let _second = place.enter(3, 3, &wire).map_err(|fault| fault.text).unwrap();
    assert_eq!(place.gate.look_again(), 0);
    stand(ledger.as_ref(), &place.account, Standing::Suspended);
    assert_eq!((place.gate.look_again(), wire.stopped.load(Ordering::SeqCst)), (1, 1));
    // A key that was taken away.
    stand(ledger.as_ref(), &Account { keys: Vec::new(), ..place.account.clone() }, Standing::Active);
    assert_eq!((place.gate.look_again(), wire.stopped.load(Ordering::SeqCst)), (1, 2));
    stand(ledger.as_ref(), &place.account, Standing::Active);
    assert_eq!(place.gate.look_again(), 0);
    let insurer = crate::model::party::Insurer { standing: Standing::Suspended, ..sample::insurer() };
    ledger.commit(Op::SetInsurer { insurer, new: false }, Actor::Operator(0), Timestamp(0)).unwrap();
    assert_eq!((place.gate.look_again(), wire.stopped.load(Ordering::SeqCst)), (1, 3));
}
