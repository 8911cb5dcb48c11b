//! Keys, filings and their signatures, all made up, made before anything is measured.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use chrono::NaiveDate;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use serde_json::{Value, json};
use todoke::filing::rules::RuleSet;
use todoke::filing::sample::{SampleFiling, record};
use todoke::filing::tables::Profile;
use todoke::model::ids::Digest;
use todoke::signed::sshsig;

const RECORDS: u64 = 20;
const PDF_BYTES: usize = 24 * 1024;

/// Writes `keys/K0001` (and `.pub`) and `sets/K0001/NAME/` with two files, manifest and signature each.
pub(crate) fn prepare(
    out: &Path,
    accounts: usize,
    submissions: u64,
    clients: usize,
) -> anyhow::Result<Value> {
    let keys = make_keys(&out.join("keys"), accounts)?;
    let rules = RuleSet::builtin()?;
    let form = rules.form(Profile::Kpfd, "2200700").context("no table for 2200700")?;
    let count = form.counts.last().copied().unwrap_or(0);
    let today = NaiveDate::from_ymd_opt(2026, 11, 20).context("a date")?;
    for (at, (account, key)) in (0..submissions).zip(keys.iter().take(clients).cycle()) {
        let filing = SampleFiling {
            records: (0..RECORDS).map(|i| record(form, count, at * RECORDS + i, today)).collect(),
            ..SampleFiling::head(today)
        };
        let (filing, cover) = (filing.bytes(), pdf(at));
        let mut manifest = String::new();
        for (name, bytes) in [("KPFD0006.CSV", &filing), ("soukatsu.pdf", &cover)] {
            writeln!(manifest, "{}  {name}", Digest::of(bytes))?;
        }
        let signature = sshsig::sign(manifest.as_bytes(), "todoke", key)?;
        let set = out.join("sets").join(account).join(format!("{at:06}"));
        fs::create_dir_all(&set)?;
        fs::write(set.join("KPFD0006.CSV"), &filing)?;
        fs::write(set.join("soukatsu.pdf"), &cover)?;
        fs::write(set.join("SHA256SUMS"), &manifest)?;
        fs::write(set.join("SHA256SUMS.sig"), &signature)?;
    }
    Ok(json!({ "accounts": accounts, "submissions": submissions }))
}

fn make_keys(folder: &Path, accounts: usize) -> anyhow::Result<Vec<(String, PrivateKey)>> {
    fs::create_dir_all(folder)?;
    let mut keys = Vec::with_capacity(accounts);
    for at in 1..=accounts {
        let account = format!("K{at:04}");
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(std::io::Error::other)?;
        let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
        fs::write(folder.join(&account), key.to_openssh(LineEnding::LF)?.as_bytes())?;
        fs::write(
            folder.join(&account).with_extension("pub"),
            format!("{}\n", key.public_key().to_openssh()?),
        )?;
        keys.push((account, key));
    }
    Ok(keys)
}

/// A PDF like no other: a header, filler that does not compress, an end.
fn pdf(seed: u64) -> Vec<u8> {
    let mut bytes = b"%PDF-1.7\n% ".to_vec();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while bytes.len() < PDF_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(format!("{state:016x}").as_bytes());
    }
    bytes.extend_from_slice(b"\ntrailer << /Size 1 >>\n%%EOF\n");
    bytes
}
