//! Builds the program once and says where it is.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The program `keypod`, built in the profile of the tests from the sources as they are.
///
/// # Panics
/// If it does not build: then no test can run.
#[must_use]
pub fn keypod() -> &'static PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let output = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "keypod", "--bin", "keypod"])
            .args(["--message-format", "json"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let executable = text.lines().rev().find_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            message.get("executable")?.as_str().map(PathBuf::from)
        });
        let errors = String::from_utf8_lossy(&output.stderr);
        executable.unwrap_or_else(|| unreachable!("keypod does not build: {errors}"))
    })
}
