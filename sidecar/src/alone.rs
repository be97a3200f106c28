//! Runs an ignored test of this program in a process of its own: for what is decided once for a whole process, such as
//! which places log.

use std::process::{Command, Output};

/// What came of the test of this path, with an empty environment. It must be there and succeed.
pub(crate) fn run(test: &str) -> Output {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env_clear()
        .output()
        .unwrap();
    let (said, failed) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}{failed}");
    assert!(said.starts_with("\nrunning 1 test"), "the child is not where it was");
    output
}

/// These bytes as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
