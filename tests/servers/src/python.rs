//! Installs a Python package once for all tests of this repository.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder with the programs of an environment that has `package`, at `version`; it stands in `target/NAME-VERSION`.
///
/// Test processes run side by side: the first to have the lock installs, the others wait for it and find it done.
pub(crate) fn programs(name: &str, package: &str, version: &str) -> io::Result<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    fs::create_dir_all(&target)?;
    let lock = File::create(target.join(format!("{name}.lock")))?;
    lock.lock()?;
    let folder = target.join(format!("{name}-{version}"));
    let complete = folder.join("complete");
    if !complete.exists() {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        let package = format!("{package}=={version}");
        let mut pip = Command::new(folder.join("bin/pip"));
        run(pip.args(["install", "--quiet", "--disable-pip-version-check"]).arg(package))?;
        File::create(&complete)?;
    }
    Ok(folder.join("bin"))
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
