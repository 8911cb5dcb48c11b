//! An insurer's account with stock OpenSSH `sftp`: takes a submission in, leaves a set of documents.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end where it fails")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use russh::keys::{load_public_key, load_secret_key, ssh_key};
use todoke::doors::sftp::insurer::{InsurerLimits, InsurerTree};
use todoke::doors::sftp::port::{Admission, Credential, Entered, Fault, Gate, Link, Tree};
use todoke::doors::sftp::{Limits, start};
use todoke::model::finding::Language;
use todoke::model::party::Actor;
use todoke::model::submission::{Outcome, State};
use todoke::model::time::{SystemClock, Timestamp};
use todoke::store::index::MemoryIndex;
use todoke::store::journal_ledger::JournalLedger;
use todoke::store::ledger::{Ledger, Op};
use todoke::store::recover::LedgerOptions;
use todoke::store::root::Root;
use todoke::store::sample;
use todoke::store::spool::{InsurerSpool, prepare_insurer};

struct OneTree(Arc<InsurerTree>, ssh_key::PublicKey);

impl Gate for OneTree {
    fn may_offer(&self, account: &str, key: &ssh_key::PublicKey, _: SocketAddr) -> bool {
        account == "I0001" && key.key_data() == self.1.key_data()
    }
    fn may_enter(&self, account: &str, credential: &Credential, from: SocketAddr) -> Admission {
        if self.may_offer(account, &credential.key(), from) { Admission::Welcome } else { Admission::Refused }
    }
    fn enter(
        &self,
        _: &str,
        _: &Credential,
        _: bool,
        _: SocketAddr,
        _: u64,
        _: Arc<dyn Link>,
    ) -> Result<Entered, Fault> {
        let tree: Arc<dyn Tree> = self.0.clone();
        Ok(Entered { account: sample::account_id("I0001"), tree, welcome: Vec::new(), guard: Box::new(()) })
    }
}

fn ledger(root: &Path) -> Arc<JournalLedger<MemoryIndex>> {
    let (ledger, _) =
        JournalLedger::open(Root::open(root).unwrap(), &LedgerOptions::default(), sample::NOW).unwrap();
    let commit = |op| ledger.commit(op, Actor::Daemon, sample::NOW).unwrap();
    commit(Op::SetInsurer { insurer: sample::insurer(), new: true });
    commit(Op::SetOffice { office: sample::office("1234"), new: true });
    commit(Op::SetAccount { account: sample::account("K0001", "SHA256:one"), new: true });
    let submission = Box::new(sample::submission(1, 1, None));
    let number = submission.number;
    let id_since = Timestamp(0);
    commit(Op::Receive { submission, outcome: Outcome::Accepted, hold_same_content: false, id_since });
    commit(Op::PublishIntend(vec![number]));
    commit(Op::Published(vec![number]));
    Arc::new(ledger)
}

#[test]
fn openssh_takes_in_and_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for key in ["host", "key"] {
        let made =
            Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(at(key)).status();
        assert!(made.expect("ssh-keygen (openssh-client)").success());
    }
    let root = at("root");
    let ledger = ledger(&root);
    let number = sample::submission(1, 1, None).number;
    prepare_insurer(&root, &sample::insurer_code(), None).unwrap();
    let spool = InsurerSpool::open(&root, &sample::insurer_code()).unwrap();
    let folder = spool.new.make(number.to_string(), 0o770, None).unwrap();
    folder.write_new("KPFD0006.CSV", &vec![b'x'; 3_000_000], 0o440, None).unwrap();
    let tree = InsurerTree::new(
        ledger.clone(),
        Arc::new(SystemClock),
        root.clone(),
        sample::insurer_code(),
        sample::account_id("I0001"),
        Language::En,
        InsurerLimits { file_bytes_max: 10_000_000, disk_reserve: 0 },
    );
    let gate = Arc::new(OneTree(Arc::new(tree), load_public_key(at("key.pub")).unwrap()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let host = load_secret_key(at("host"), None).unwrap();
    let (_server, port) = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (start(vec![listener], vec![host], Limits::default(), gate, Arc::new(SystemClock)), port)
    });
    std::fs::write(at("a.pdf"), "%PDF-1.7 a %%EOF").unwrap();
    std::fs::write(at("delivery.csv"), "office,file,type\n1234,a.pdf,notice\n").unwrap();
    let sftp = |batch: &str| -> Output {
        std::fs::write(at("batch"), batch).unwrap();
        let mut command = Command::new("sftp");
        command.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o"]);
        command.arg(format!("UserKnownHostsFile={}", at("known").display()));
        command.args(["-P", &port.to_string(), "-i"]).arg(at("key")).arg("-b").arg(at("batch"));
        command.arg("I0001@127.0.0.1").current_dir(dir.path()).output().expect("sftp (openssh-client)")
    };
    let output = sftp(&format!(
        "ls -l /new/{number}\nrename /new/{number} /cur/{number}\nget /cur/{number}/KPFD0006.CSV taken\n\
         rename /cur/{number} /done/{number}\nmkdir /outgoing/job\nput -p a.pdf /outgoing/job/a.pdf\n\
         put delivery.csv /outgoing/job/delivery.csv.tmp\n\
         rename /outgoing/job/delivery.csv.tmp /outgoing/job/delivery.csv\nls -1 /outgoing/job\ndf /outgoing\n"
    ));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(at("taken").metadata().unwrap().len(), 3_000_000);
    let state = ledger.submission(number).unwrap().unwrap().state;
    assert_eq!(state, State::Imported);
    let job = root.join("insurers/06139999/outgoing/job");
    assert_eq!(std::fs::read(job.join("a.pdf")).unwrap(), b"%PDF-1.7 a %%EOF");
    assert!(job.join("delivery.csv").exists());
    // A whole folder, whose mode and time the client sets at the end; and once more over what is there.
    std::fs::create_dir(at("statements")).unwrap();
    std::fs::write(at("statements/b.pdf"), "%PDF-1.7 b %%EOF").unwrap();
    for flags in ["-r", "-r -p", "-r"] {
        let output = sftp(&format!("put {flags} statements /outgoing/\n"));
        assert!(output.status.success() && output.stderr.is_empty(), "{flags}: {output:?}");
    }
    assert_eq!(
        std::fs::read(root.join("insurers/06139999/outgoing/statements/b.pdf")).unwrap(),
        b"%PDF-1.7 b %%EOF"
    );
    for refused in [
        "put a.pdf /reports/a.pdf",
        "rm /done/*/KPFD0006.CSV",
        "mkdir /done/x",
        "ls /.tmp",
        "get /new",
        "symlink /etc/passwd /outgoing/job/link",
        "ln /outgoing/job/a.pdf /outgoing/job/b.pdf",
        "rename /done /outgoing/done",
    ] {
        assert!(!sftp(refused).status.success(), "{refused}");
    }
}
