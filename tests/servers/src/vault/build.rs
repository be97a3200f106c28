//! Builds the Vault of `tests/servers/vault` once, however many test processes want it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const MISSING: &str = "Go is not installed, and the tests of the Vault root run a real Vault that it builds: install Go 1.26 or newer (https://go.dev/dl), with its `go` on PATH";

/// The program, built if it is not there or older than what it is made of.
pub(super) fn program() -> io::Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = here.join("vault");
    let target = here.join("../../target");
    fs::create_dir_all(&target)?;
    let program = target.join("keypod-test-vault");
    let lock = File::create(target.join("keypod-test-vault.lock"))?;
    lock.lock()?;
    if is_current(&program, &sources)? {
        return Ok(program);
    }
    let mut build = Command::new("go");
    build.args(["build", "-trimpath", "-o"]).arg(&program).arg(".").current_dir(&sources);
    let built = build.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::other(MISSING),
        _ => error,
    })?;
    match built.status.success() {
        true => Ok(program),
        false => Err(io::Error::other(format!(
            "go build in tests/servers/vault failed (it needs Go 1.26 or newer, and a module proxy or a filled cache): {}",
            String::from_utf8_lossy(&built.stderr)
        ))),
    }
}

fn is_current(program: &Path, sources: &Path) -> io::Result<bool> {
    let Ok(built) = fs::metadata(program).and_then(|metadata| metadata.modified()) else {
        return Ok(false);
    };
    for name in ["main.go", "go.mod", "go.sum"] {
        if fs::metadata(sources.join(name))?.modified()? > built {
            return Ok(false);
        }
    }
    Ok(true)
}
