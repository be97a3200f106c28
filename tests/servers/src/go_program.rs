//! Builds a server that is a Go program of `tests/servers` once, however many test processes want it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const MISSING: &str = "Go is not installed, and these tests run a real server that it builds: install Go 1.26 or newer (https://go.dev/dl), with its `go` on PATH";

/// The program of the folder `name`, built if it is not there or older than what it is made of.
pub(crate) fn program(name: &str) -> io::Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = here.join(name);
    let target = here.join("../../target");
    fs::create_dir_all(&target)?;
    let program = target.join(format!("keypod-test-{name}"));
    let lock = File::create(target.join(format!("keypod-test-{name}.lock")))?;
    lock.lock()?;
    if is_current(&program, &sources)? {
        return Ok(program);
    }
    let mut build = Command::new("go");
    // Without symbols and debug information: the API server of Kubernetes links in half the memory.
    build
        .args(["build", "-trimpath", "-ldflags", "-s -w", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(&sources);
    let built = build.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::other(MISSING),
        _ => error,
    })?;
    match built.status.success() {
        true => Ok(program),
        false => Err(io::Error::other(format!(
            "go build in tests/servers/{name} failed (it needs Go 1.26 or newer, and a module proxy or a filled cache): {}",
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
