//! Finds moto, or installs it once for all tests of this repository.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::fail;

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
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    match installed_in(&target) {
        Ok(program) => program,
        Err(problem) => fail(&format!("moto could not be installed: {problem}")),
    }
}

/// Test processes run side by side: the first to have the lock installs, the others wait for it and find it done.
fn installed_in(target: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(target)?;
    let lock = File::create(target.join("moto.lock"))?;
    lock.lock()?;
    let folder = target.join(format!("moto-{VERSION}"));
    let complete = folder.join("complete");
    if !complete.exists() {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        let package = format!("moto[server]=={VERSION}");
        let mut pip = Command::new(folder.join("bin/pip"));
        run(pip.args(["install", "--quiet", "--disable-pip-version-check"]).arg(package))?;
        File::create(&complete)?;
    }
    Ok(folder.join("bin/moto_server"))
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(io::Error::other(format!("{command:?}: {said}")))
        }
    }
}
