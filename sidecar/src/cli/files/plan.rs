//! Says, before anything is sent, which input goes to which output.
//!
//! Depends on nothing but the file system, which it only reads. Invariants: a symbolic link inside a folder is
//! never followed (`links_and_special_files_in_a_folder_are_skipped`); no two inputs go to one output
//! (`two_inputs_never_go_to_one_output`).

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use walkdir::{DirEntry, WalkDir};

use super::Operation;
use super::sink::TEMPORARY_PREFIX;
use crate::cli::failure::Failure;

/// What an encrypted file's name ends in.
const SUFFIX: &str = "kp1";

/// Where an input comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Standard input.
    Stdin,
    /// A file that the user named, perhaps by a link.
    Named(PathBuf),
    /// A file found in a folder: never a link.
    Found(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => formatter.write_str("standard input"),
            Self::Named(path) | Self::Found(path) => path.display().fmt(formatter),
        }
    }
}

/// Where a result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// Standard output; `asked` if it was named and not merely left over.
    Stdout { asked: bool },
    /// A file; `replace` if one may be there already.
    File { path: PathBuf, replace: bool },
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout { .. } => formatter.write_str("-"),
            Self::File { path, .. } => path.display().fmt(formatter),
        }
    }
}

/// One input and its output.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) source: Source,
    pub(super) destination: Destination,
}

/// How many entries of folders were left alone, and why.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    links: usize,
    special: usize,
    by_name: usize,
}

/// What was skipped, in words; nothing if nothing was.
impl fmt::Display for Skipped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.links, "symbolic links"),
            (self.special, "special files"),
            (self.by_name, "files by their name (encrypting takes no .kp1, the others only .kp1)"),
        ];
        let mut separator = "";
        for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
            write!(formatter, "{separator}{count} {what}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// Everything that is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) jobs: Vec<Job>,
    /// Bytes of all inputs; `None` if one has no length.
    pub(super) bytes: Option<u64>,
    pub(super) skipped: Skipped,
    /// What could not be looked at in a folder.
    pub(super) unreadable: Vec<String>,
}

impl Plan {
    /// Plans `operation` for these arguments.
    pub(super) fn make(
        operation: &Operation,
        paths: &[PathBuf],
        output: Option<&Path>,
        force: bool,
    ) -> anyhow::Result<Self> {
        let to_stdout = output.is_some_and(|path| path == Path::new("-"));
        if paths.is_empty() || paths == [PathBuf::from("-")] {
            let destination = match output {
                None => Destination::Stdout { asked: false },
                Some(_) if to_stdout => Destination::Stdout { asked: true },
                Some(path) => Destination::File { path: path.to_owned(), replace: force },
            };
            let jobs = vec![Job { source: Source::Stdin, destination }];
            return Ok(Self { jobs, ..Self::default() });
        }
        let planner = Planner { operation, output, to_stdout, force, single: paths.len() == 1 };
        let mut plan = Self { bytes: Some(0), ..Self::default() };
        for path in paths {
            if path == Path::new("-") {
                return Err(Failure::usage("standard input cannot be mixed with files"));
            }
            let metadata = path.metadata().with_context(|| path.display().to_string())?;
            if metadata.is_dir() {
                planner.folder(&mut plan, path)?;
            } else {
                let length = metadata.is_file().then_some(metadata.len());
                plan.bytes = plan.bytes.zip(length).map(|(sum, length)| sum.saturating_add(length));
                let destination = planner.for_file(path)?;
                plan.jobs.push(Job { source: Source::Named(path.clone()), destination });
            }
        }
        plan.refuse_collisions()?;
        Ok(plan)
    }

    /// Whether the one result goes to standard output.
    pub(super) fn writes_to_stdout(&self) -> bool {
        self.jobs.iter().any(|job| matches!(job.destination, Destination::Stdout { .. }))
    }

    fn refuse_collisions(&self) -> anyhow::Result<()> {
        let mut seen = HashSet::new();
        for job in &self.jobs {
            if let Destination::File { path, .. } = &job.destination
                && !seen.insert(path)
            {
                let path = path.display();
                return Err(Failure::usage(format!(
                    "two of the inputs would be written to {path}"
                )));
            }
        }
        Ok(())
    }
}

/// The arguments that every input shares.
struct Planner<'a> {
    operation: &'a Operation,
    output: Option<&'a Path>,
    to_stdout: bool,
    force: bool,
    single: bool,
}

impl Planner<'_> {
    /// Where the result of a named file goes.
    fn for_file(&self, path: &Path) -> anyhow::Result<Destination> {
        let (path, replace) = match self.output {
            Some(_) if self.to_stdout && self.single => {
                return Ok(Destination::Stdout { asked: true });
            }
            Some(_) if self.to_stdout => {
                return Err(Failure::usage("only one file can go to standard output"));
            }
            Some(output) if self.single && !names_a_folder(output) => {
                (output.to_owned(), self.force)
            }
            Some(folder) => (folder.join(self.result_name(path)?), self.force),
            None if matches!(self.operation, Operation::Rewrap { .. }) => {
                // In place: the file itself, not a link to it.
                let path = path.canonicalize().with_context(|| path.display().to_string())?;
                (path, true)
            }
            None => (path.with_file_name(self.result_name(path)?), self.force),
        };
        Ok(Destination::File { path, replace })
    }

    /// Plans every file below `folder`.
    fn folder(&self, plan: &mut Plan, folder: &Path) -> anyhow::Result<()> {
        if self.to_stdout {
            return Err(Failure::usage("a folder cannot go to standard output"));
        }
        let root = match self.output {
            None => None,
            Some(output) if self.single => Some(output.to_owned()),
            Some(output) => Some(output.join(folder.file_name().unwrap_or_default())),
        };
        for entry in WalkDir::new(folder).follow_links(false).sort_by_file_name() {
            let entry = match entry {
                Ok(entry) if entry.depth() == 0 || entry.file_type().is_dir() => continue,
                Ok(entry) => entry,
                Err(error) => {
                    plan.unreadable.push(error.to_string());
                    continue;
                }
            };
            if !self.takes(&entry, &mut plan.skipped) {
                continue;
            }
            let beside = match &root {
                None => entry.path().to_owned(),
                Some(root) => root.join(entry.path().strip_prefix(folder)?),
            };
            let in_place = root.is_none() && matches!(self.operation, Operation::Rewrap { .. });
            let path = beside.with_file_name(self.result_name(entry.path())?);
            let length = entry.metadata().ok().map(|metadata| metadata.len());
            plan.bytes = plan.bytes.zip(length).map(|(sum, length)| sum.saturating_add(length));
            plan.jobs.push(Job {
                source: Source::Found(entry.into_path()),
                destination: Destination::File { path, replace: self.force || in_place },
            });
        }
        Ok(())
    }

    /// Whether a folder's entry takes part; if not, it is counted.
    fn takes(&self, entry: &DirEntry, skipped: &mut Skipped) -> bool {
        let is_encrypted = has_suffix(entry.path());
        let is_temporary = entry.file_name().as_encoded_bytes().starts_with(TEMPORARY_PREFIX);
        let wanted = is_encrypted != matches!(self.operation, Operation::Encrypt { .. });
        let count = if entry.file_type().is_symlink() {
            &mut skipped.links
        } else if !entry.file_type().is_file() {
            &mut skipped.special
        } else if is_temporary || !wanted {
            &mut skipped.by_name
        } else {
            return true;
        };
        *count += 1;
        false
    }

    /// The name of the result for an input of this name.
    fn result_name(&self, path: &Path) -> anyhow::Result<std::ffi::OsString> {
        let name = path.file_name().unwrap_or_default();
        match self.operation {
            Operation::Rewrap { .. } => Ok(name.to_owned()),
            Operation::Encrypt { .. } => {
                let mut name = name.to_owned();
                name.push(".");
                name.push(SUFFIX);
                Ok(name)
            }
            Operation::Decrypt { .. } => match path.file_stem() {
                Some(stem) if has_suffix(path) => Ok(stem.to_owned()),
                _ => Err(Failure::usage(format!(
                    "{} does not end in .{SUFFIX}: name the result with --output",
                    path.display()
                ))),
            },
        }
    }
}

fn has_suffix(path: &Path) -> bool {
    path.extension() == Some(OsStr::new(SUFFIX))
}

fn names_a_folder(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encrypt() -> Operation {
        Operation::Encrypt { key: "k".parse().unwrap() }
    }

    fn decrypt() -> Operation {
        Operation::Decrypt { key: None }
    }

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        for name in ["a", "b.kp1", "sub/c", "sub/.keypod-x.tmp"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        folder
    }

    fn outputs(plan: &Plan, below: &Path) -> Vec<String> {
        let relative = |job: &Job| match &job.destination {
            Destination::File { path, .. } => {
                path.strip_prefix(below).unwrap().display().to_string()
            }
            Destination::Stdout { .. } => "-".to_owned(),
        };
        plan.jobs.iter().map(relative).collect()
    }

    #[test]
    fn a_folder_keeps_its_tree_beside_itself_or_under_the_output() {
        let folder = tree();
        let paths = [folder.path().to_owned()];
        let plan = Plan::make(&encrypt(), &paths, None, false).unwrap();
        assert_eq!(outputs(&plan, folder.path()), ["a.kp1", "sub/c.kp1"]);
        assert_eq!(plan.bytes, Some(6));
        let plan = Plan::make(&encrypt(), &paths, Some(Path::new("/out")), false).unwrap();
        assert_eq!(outputs(&plan, Path::new("/out")), ["a.kp1", "sub/c.kp1"]);
        let plan = Plan::make(&decrypt(), &paths, None, false).unwrap();
        assert_eq!(outputs(&plan, folder.path()), ["b"]);
        let both = [folder.path().to_owned(), folder.path().join("a")];
        let plan = Plan::make(&encrypt(), &both, Some(Path::new("/out")), false).unwrap();
        let name = folder.path().file_name().unwrap().to_str().unwrap();
        let below = [format!("{name}/a.kp1"), format!("{name}/sub/c.kp1"), "a.kp1".to_owned()];
        assert_eq!(outputs(&plan, Path::new("/out")), below);
    }

    #[test]
    fn links_and_special_files_in_a_folder_are_skipped() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join("linked-folder")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
        let plan = Plan::make(&encrypt(), &[folder.path().to_owned()], None, false).unwrap();
        assert!(plan.jobs.is_empty());
        assert_eq!(plan.skipped.to_string(), "2 symbolic links, 1 special files");
    }

    #[test]
    fn two_inputs_never_go_to_one_output() {
        let folder = tree();
        let paths = [folder.path().join("a"), folder.path().join("sub/../a")];
        assert!(Plan::make(&encrypt(), &paths, Some(Path::new("/out")), true).is_err());
    }

    #[test]
    fn rewrap_replaces_the_file_behind_a_link_in_place() {
        let folder = tree();
        let link = folder.path().join("link.kp1");
        std::os::unix::fs::symlink(folder.path().join("b.kp1"), &link).unwrap();
        let rewrap = Operation::Rewrap { new_context: None };
        let plan = Plan::make(&rewrap, &[link], None, false).unwrap();
        let real = folder.path().join("b.kp1").canonicalize().unwrap();
        let expected = Destination::File { path: real, replace: true };
        assert_eq!(plan.jobs.first().unwrap().destination, expected);
    }

    #[test]
    fn what_has_no_clear_output_is_wrong_usage() {
        let folder = tree();
        let a = folder.path().join("a");
        let stdout = Some(Path::new("-"));
        assert!(Plan::make(&decrypt(), std::slice::from_ref(&a), None, false).is_err());
        assert!(Plan::make(&encrypt(), &[a.clone(), "-".into()], None, false).is_err());
        assert!(Plan::make(&encrypt(), &[a.clone(), a.clone()], stdout, false).is_err());
        assert!(Plan::make(&encrypt(), &[folder.path().to_owned()], stdout, false).is_err());
        assert!(Plan::make(&encrypt(), &["/nonexistent".into()], None, false).is_err());
        assert!(Plan::make(&encrypt(), &[a], stdout, false).unwrap().writes_to_stdout());
    }
}
