//! Files of a certificate, written where the operator says.

use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::cli::Globals;
use crate::cli::exit::Exit;
use crate::desk::{Answer, Kind, Trouble};
use crate::store::durable;

/// Makes the folder, and sees that none of these names is taken and that it can be written.
pub(super) fn prepare(dir: &Path, names: &[String]) -> Result<(), Trouble> {
    let wrong = |text: String| Trouble::new(Kind::Usage, "FILE", text);
    std::fs::create_dir_all(dir).map_err(|error| wrong(format!("{}: {error}", dir.display())))?;
    for name in names {
        let path = dir.join(name);
        if path.symlink_metadata().is_ok() {
            return Err(wrong(format!("{} is there already; nothing was issued", path.display())));
        }
    }
    let probe = dir.join(format!("{}{}", durable::TEMPORARY, std::process::id()));
    durable::write_new(&probe, b"", 0o600)
        .and_then(|()| durable::remove(&probe))
        .map_err(|error| wrong(format!("{}: {error}", dir.display())))
}

/// Writes what came; private keys for the owner alone. Gives their paths.
pub(super) fn write(dir: &Path, files: &Value) -> Result<Value, Trouble> {
    let mut written = Vec::new();
    for file in files.as_array().into_iter().flatten() {
        let name = file["name"].as_str().unwrap_or_default();
        let bytes = BASE64
            .decode(file["content"].as_str().unwrap_or_default())
            .map_err(|error| Trouble::fault(error.to_string()))?;
        let path = dir.join(name);
        let public = [".crt", ".pub"].iter().any(|end| name.ends_with(end));
        let mode = if public { 0o644 } else { 0o600 };
        durable::write_new(&path, &bytes, mode).map_err(|error: io::Error| {
            Trouble::new(Kind::Usage, "FILE", format!("{}: {error}", path.display()))
        })?;
        written.push(path.display().to_string());
    }
    Ok(json!(written))
}

/// One path a line.
pub(super) fn told(globals: &Globals, answer: &Answer) -> Result<Exit, Trouble> {
    let out = globals.out();
    if out.is_json() {
        out.raw(&answer.value)?;
    }
    for path in answer.value.as_array().into_iter().flatten() {
        out.line(&format!("wrote {}", path.as_str().unwrap_or_default()))?;
    }
    Ok(out.end(answer))
}
