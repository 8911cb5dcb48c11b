//! Whether a daemon runs, and what it says of itself.

use std::io;
use std::os::unix::fs::MetadataExt as _;

use serde_json::Value;

use super::super::way;
use super::Report;
use crate::config::Config;
use crate::desk::Request;

pub(super) fn daemon(config: &Config, report: &mut Report) {
    let client = match way::find(config) {
        Ok(Some(client)) => client,
        Ok(None) => {
            lock(config, report);
            return;
        }
        Err(trouble) => {
            report.error("daemon", trouble.text, "use the daemon's user");
            return;
        }
    };
    match way::over_socket(&client, &Request::Status, &mut io::empty(), 0) {
        Ok(answer) => {
            let status = answer.value;
            let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
            report.ok("daemon", format!("runs as process {} since {}", status["pid"], text("started_at")));
            if status["unreconciled"] == true {
                let action = "compare with insurers and offices, then `todoke journal reconciled`";
                report.error(
                    "epoch",
                    "the data root was restored and is not reconciled: nothing goes out",
                    action,
                );
            }
            for alarm in status["alarms"].as_array().into_iter().flatten() {
                let part = |key: &str| alarm[key].as_str().unwrap_or_default();
                let code = part("code");
                report.error("alarm", format!("{code}: {}", part("text")), advice(code));
            }
            queues(&status["queues"], report);
        }
        Err(trouble) => {
            report.error("daemon", trouble.to_string(), "look at its log; restart it if it hangs");
        }
    }
}

/// What to do about an alarm beyond what its text says.
fn advice(code: &str) -> &'static str {
    match code.split(' ').next().unwrap_or_default() {
        "JOURNAL-STOPPED" => {
            "put the disk in order, then restart the daemon: nothing that was answered is lost"
        }
        "DISK-READ-ONLY" => "mend the disk, mount it for writing, then restart the daemon",
        "SPOOL-UNAVAILABLE" => {
            "see what is said of this insurer's folder above; the alarm ends by itself then"
        }
        _ => "do what its text says; it ends by itself once its cause is gone",
    }
}

/// Queues whose first task is due for long.
fn queues(queues: &Value, report: &mut Report) {
    /// What is due is done within minutes; an hour means that something stands still. Mails and held submissions wait by
    /// design, and the purge for its schedule.
    const LATE_SECONDS: u64 = 3600;
    for name in ["publish", "announce"] {
        let late = queues[name]["late_seconds"].as_u64().unwrap_or(0);
        if late > LATE_SECONDS {
            let found =
                format!("{} wait in {name}, the first for {} minutes", queues[name]["waiting"], late / 60);
            report.warn("queue", found, "look at alarms and log");
        }
    }
}

/// Whether a process holds the data root: as the kernel lists locks, since trying the lock could turn away a daemon that starts at
/// this moment.
pub(super) fn is_held(config: &Config) -> bool {
    let path = config.places.root.join("LOCK");
    let inode = std::fs::metadata(&path).map(|about| format!(":{}", about.ino())).unwrap_or_default();
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let held = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        fields.next() == Some("FLOCK") && fields.nth(3).is_some_and(|file| file.ends_with(&inode))
    };
    !inode.is_empty() && locks.lines().any(held)
}

/// Who holds the data root, when nobody listens.
fn lock(config: &Config, report: &mut Report) {
    if !is_held(config) {
        report.warn("daemon", "does not run", "start it with `todoke serve`");
        return;
    }
    let pid = std::fs::read_to_string(config.places.root.join("LOCK")).unwrap_or_default();
    let found = format!("process {} holds the data root but does not listen", pid.trim());
    report.warn("daemon", found, "it is starting, stopping, or hangs; or another command is at work");
}
