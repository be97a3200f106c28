//! Where PostgreSQL's programs are, and as whom they run: the server refuses to run as root.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The newest one that Debian's packages have, else the one that the shell finds.
///
/// # Panics
/// When there is none; says how to install it.
pub(super) fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = versions
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin/{name}")));
    if let Some(path) = debian.filter(|path| path.is_file()) {
        return path;
    }
    let found = Command::new("sh").args(["-c", "command -v \"$1\"", "sh", name]).output();
    let path = found.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    path.ok()
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .unwrap_or_else(|| unreachable!("no {name} here: apt-get install postgresql"))
}

/// Whose the server and its files are.
#[derive(Debug)]
pub(super) struct Owner {
    /// User and group, where that is not the user of this process.
    other: Option<(u32, u32)>,
}

impl Owner {
    /// This process's user; `postgres` or `nobody` where that is root.
    pub(super) fn of_this_process() -> Self {
        if fs::metadata("/proc/self").is_ok_and(|process| process.uid() != 0) {
            return Self { other: None };
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let ids = |name: &str| {
            let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut fields = line.split(':').skip(2);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        };
        Self { other: Some(ids("postgres").or_else(|| ids("nobody")).unwrap_or((65534, 65534))) }
    }

    /// `program` as this user.
    pub(super) fn command(&self, program: &Path) -> Command {
        let Some((user, group)) = self.other else { return Command::new(program) };
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={user}")).arg(format!("--regid={group}"));
        command.arg("--clear-groups").arg(program);
        command
    }

    /// Gives this user `path`, and what is in it.
    ///
    /// # Panics
    /// When the file system does not let it.
    pub(super) fn take(&self, path: &Path) {
        let Some((user, group)) = self.other else { return };
        chown(path, Some(user), Some(group)).unwrap();
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            self.take(&entry.path());
        }
    }
}
