//! `todoke status`

use clap::Args;
use serde_json::Value;

use super::Globals;
use super::exit::Exit;
use super::out::{self, Out};
use super::way::Way;
use crate::desk::{Request, Trouble};

/// How things are.
#[derive(Debug, Args)]
pub(super) struct Status {}

impl Status {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let Self {} = self;
        let way = Way::open(globals)?;
        let answer = way.ask(Request::Status)?;
        let out = globals.out().zone(way.config.gateway.zone);
        if out.is_json() {
            return out.thing(&answer);
        }
        print(&out, &answer.value)?;
        Ok(out.end(&answer))
    }
}

fn print(out: &Out, status: &Value) -> Result<(), Trouble> {
    let text = |key: &str| out.cell(key, &status[key]);
    let running = if status["running"] == true {
        format!("runs since {} (process {})", text("started_at"), text("pid"))
    } else {
        "does not run".to_owned()
    };
    out.line(&format!("{} {}  {running}", text("name"), text("version")))?;
    out.line(&format!(
        "data root  {}, {} MiB free",
        text("root"),
        status["disk_free_bytes"].as_u64().unwrap_or(0) >> 20
    ))?;
    let unreconciled = if status["unreconciled"] == true {
        "  RESTORED, not reconciled: nothing goes out until `todoke journal reconciled`"
    } else {
        ""
    };
    if !status["sftp"].is_null() {
        out.line(&format!("sftp       {}", text("sftp")))?;
    }
    let journal = &status["journal"];
    out.line(&format!(
        "journal    epoch {}, event {} at {}{unreconciled}",
        text("epoch"),
        out.cell("seq", &journal["seq"]),
        out.cell("at", &journal["at"])
    ))?;
    if let Value::Object(queues) = &status["queues"] {
        for (name, queue) in queues {
            let late = queue["late_seconds"].as_u64().unwrap_or(0);
            let late = if late > 0 { format!(", the first is due for {}", age(late)) } else { String::new() };
            out.line(&format!("queue      {name:<9}{}{late}", out.cell("waiting", &queue["waiting"])))?;
        }
    }
    if status["held"]["count"].as_u64().unwrap_or(0) > 0 {
        let cell = |key: &str| out.cell(key, &status["held"][key]);
        out.line(&format!(
            "held       {} submissions, the first since {}: see `todoke submission list --state held`",
            cell("count"),
            cell("first_at")
        ))?;
    }
    for waiting in status["applications"].as_array().into_iter().flatten() {
        let cell = |key: &str| out.cell(key, &waiting[key]);
        out.line(&format!(
            "enrolment  {} {}, the oldest for {}; waits for {}",
            cell("count"),
            cell("state"),
            age(waiting["oldest_seconds"].as_u64().unwrap_or(0)),
            cell("waits_for")
        ))?;
    }
    certificates(out, &status["certificates"])?;
    for key in ["scanner", "purge", "health"] {
        if !status[key].is_null() {
            out.line(&format!("{key:<11}{}", text(key)))?;
        }
    }
    for authority in status["authorities"].as_array().into_iter().flatten() {
        let cell = |key: &str| out.cell(key, &authority[key]);
        out.line(&format!("authority  {} ends at {}", cell("authority"), cell("ends_at")))?;
    }
    for session in status["sessions"].as_array().into_iter().flatten() {
        let cell = |key: &str| out.cell(key, &session[key]);
        out.line(&format!(
            "session    {} from {} since {}",
            cell("account"),
            cell("from"),
            out.local_cell(&session["since"])
        ))?;
    }
    for alarm in status["alarms"].as_array().into_iter().flatten() {
        let cell = |key: &str| out.cell(key, &alarm[key]);
        out.line(&format!(
            "ALARM      {}: {} (since {}, {} times)",
            cell("code"),
            cell("text"),
            cell("first"),
            cell("count")
        ))?;
    }
    if status["running"] != true {
        out::note("The daemon does not run; `todoke serve` starts it.");
    }
    Ok(())
}

/// Certificates that wait for renewal; nothing where none do.
fn certificates(out: &Out, of: &Value) -> Result<(), Trouble> {
    let count = |key: &str| of[key].as_u64().unwrap_or(0);
    if count("within_90_days") == 0 {
        return Ok(());
    }
    out.line(&format!(
        "renewal    {} end by tomorrow (or have ended), {} within 7, {} within 30, {} within 90 days; {} new ones not used yet",
        count("within_1_day"),
        count("within_7_days"),
        count("within_30_days"),
        count("within_90_days"),
        count("unused")
    ))?;
    for urgent in of["urgent"].as_array().into_iter().flatten() {
        let cell = |key: &str| out.cell(key, &urgent[key]);
        out.line(&format!(
            "RENEWAL    {} {} ends {}: {}",
            cell("account"),
            cell("certificate"),
            out.local_cell(&urgent["ends_at"]),
            cell("need")
        ))?;
    }
    Ok(())
}

/// Seconds in the largest unit that fits.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
