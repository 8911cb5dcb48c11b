//! Checking a filing of 1,000,000 records beside a plain pass of the csv crate that decodes: one JSON object a line.
//!
//! `cargo bench --bench filing [-- RECORDS]`

use std::io::{self, Read, Write as _};
use std::time::Instant;

use chrono::NaiveDate;
use todoke::filing::{Context, Findings, Profile, RuleSet, check, sample};

fn main() {
    let records = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let Some(today) = NaiveDate::from_ymd_opt(2026, 11, 23) else { return };
    let mut rules = match RuleSet::builtin() {
        Ok(rules) => rules,
        Err(e) => return say(&format!("{{\"error\":\"{e}\"}}")),
    };
    rules.policy_mut().filing_bytes_max = u64::MAX;
    // Memory first: it is the process's peak, and the generator's file below is held whole.
    memory(&rules, today);
    for code in ["2200700", "2225700", "2265700"] {
        if let Err(e) = speed(&rules, code, records, today) {
            say(&format!("{{\"error\":\"{e}\"}}"));
        }
    }
}

fn speed(rules: &RuleSet, code: &str, records: u64, today: NaiveDate) -> io::Result<()> {
    let Some(form) = rules.form(Profile::Kpfd, code) else { return Ok(()) };
    let mut bytes = Vec::new();
    sample::write_filing(&mut bytes, form, records, today)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        let start = Instant::now();
        let mut findings = Findings::default();
        let summary = check(&bytes[..], rules, &Context::on(today), &mut findings)?;
        ours.push(start.elapsed().as_secs_f64());
        assert!(findings.is_ok() && summary.records == records, "{:?}", findings.listed().first());
        let start = Instant::now();
        assert!(csv_pass(&bytes) > 0);
        theirs.push(start.elapsed().as_secs_f64());
    }
    // Other work on the machine only ever adds time: the best run beside the median shows how much.
    let best = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    let (best_ours, best_theirs) = (best(&ours), best(&theirs));
    let (ours, theirs) = (median(ours), median(theirs));
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    let mb = bytes.len() as f64 / 1e6;
    say(&format!(
        "{{\"figure\":\"check-{code}-{records}-records\",\"unit\":\"MB/s\",\"ours\":{:.0},\"peer\":\"csv crate, decoding\",\"theirs\":{:.0},\"ratio\":{:.2},\"best_ours\":{:.0},\"best_theirs\":{:.0},\"best_ratio\":{:.2},\"size_mb\":{mb:.0}}}",
        mb / ours,
        mb / theirs,
        ours / theirs,
        mb / best_ours,
        mb / best_theirs,
        best_ours / best_theirs
    ));
    Ok(())
}

/// Records by the csv crate, each decoded at once.
fn csv_pass(bytes: &[u8]) -> usize {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut record = csv::ByteRecord::new();
    let mut total = 0;
    while reader.read_byte_record(&mut record).unwrap_or(false) {
        let (text, _) = encoding_rs::SHIFT_JIS.decode_without_bom_handling(record.as_slice());
        total += text.len() + record.len();
    }
    total
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A file of 1 GB that is never held: head, then the same records again and again.
struct Endless {
    head: Vec<u8>,
    block: Vec<u8>,
    at: usize,
    left: usize,
}

impl Read for Endless {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let from: &[u8] = if self.head.is_empty() { &self.block } else { &self.head };
        let n = to.len().min(from.len() - self.at);
        to[..n].copy_from_slice(&from[self.at..self.at + n]);
        self.at += n;
        if self.at == from.len() {
            self.at = 0;
            if self.head.is_empty() {
                self.left -= 1;
                if self.left == 0 {
                    self.block.clear();
                }
            } else {
                self.head.clear();
            }
        }
        Ok(n)
    }
}

fn memory(rules: &RuleSet, today: NaiveDate) {
    let Some(form) = rules.form(Profile::Kpfd, "2225700") else { return };
    let head = sample::SampleFiling::head(today).bytes();
    let mut block = Vec::new();
    for i in 0..1000 {
        let line = sample::record(form, 56, i, today).join(",") + "\r\n";
        block.extend_from_slice(&encoding_rs::SHIFT_JIS.encode(&line).0);
    }
    let left = 1_000_000_000 / block.len() + 1;
    let mut findings = Findings::default();
    let endless = Endless { head, block, at: 0, left };
    let Ok(summary) = check(endless, rules, &Context::on(today), &mut findings) else { return };
    assert!(findings.is_ok());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map_or("", str::trim);
    let peak = peak.trim_end_matches(" kB").parse::<f64>().unwrap_or(f64::NAN) / 1024.0;
    say(&format!(
        "{{\"figure\":\"check-1GB-peak\",\"unit\":\"MiB\",\"ours\":{peak:.1},\"size\":{}}}",
        summary.bytes
    ));
}

fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
