//! Finds moto, or installs it once for all tests of this repository.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::fail;
use crate::python;

/// What is installed where there is no moto.
const VERSION: &str = "5.2.1";

/// The program `moto_server`.
pub(super) fn moto_server() -> PathBuf {
    let on_the_path = PathBuf::from("moto_server");
    // A shim may be there and have nothing behind it: only one that runs counts.
    let runs = Command::new(&on_the_path)
        .arg("--help")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if runs {
        return on_the_path;
    }
    match python::programs("moto", "moto[server]", VERSION) {
        Ok(programs) => programs.join("moto_server"),
        Err(problem) => fail(&format!("moto could not be installed: {problem}")),
    }
}
