//! Reads a folder of policies: the one file here that touches a disk.
//!
//! A folder that changes while it is read is read again, so that a set is never half old and half new. Links are
//! followed, because a ConfigMap is mounted as links that are swapped at once.

use std::io;
use std::path::{Path, PathBuf};

use super::source::{DOCUMENT_BYTES_MAX, DOCUMENTS_MAX, Document, Problem};
use super::{CONTEXT_FILE, ENTITIES_FILE};
use crate::file;

/// A folder that keeps changing is given up after this many looks.
const LOOKS_MAX: usize = 5;

/// What changes when a folder does: the names of its files, and what each looks like.
pub type Stamp = Vec<(PathBuf, file::Stamp)>;

/// Everything in `folder` that a set of policies is made of, in the order of its names, and what it looked like.
///
/// # Errors
/// [`Problem`]: it cannot be read, it is too large, or something in it is none of the files that it may have.
pub fn read(folder: &Path) -> Result<(Vec<Document>, Stamp), Problem> {
    for _ in 0..LOOKS_MAX {
        let before = stamp(folder)?;
        let documents: Result<Vec<_>, _> = before.iter().map(|(path, ..)| document(path)).collect();
        if stamp(folder)? == before {
            return Ok((documents?, before));
        }
    }
    Err(Problem::new(
        &folder.display().to_string(),
        "the folder changes all the time: write a new one beside it and rename it",
    ))
}

/// What `folder` looks like now.
///
/// # Errors
/// [`Problem`]: it cannot be looked at.
pub fn stamp(folder: &Path) -> Result<Stamp, Problem> {
    let unreadable = |path: &Path, error: &io::Error| {
        Problem::new(&path.display().to_string(), format!("cannot be read: {error}"))
    };
    let mut stamps = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        if !is_policy_file(&path) {
            continue;
        }
        let metadata = std::fs::metadata(&path).map_err(|error| unreadable(&path, &error))?;
        if !metadata.is_file() {
            let message = "this is no file: policies are files, not folders or pipes";
            return Err(Problem::new(&path.display().to_string(), message));
        }
        if stamps.len() == DOCUMENTS_MAX {
            let message = format!("more than {DOCUMENTS_MAX} files: put several policies into one");
            return Err(Problem::new(&folder.display().to_string(), message));
        }
        stamps.push((path, file::Stamp::from(&metadata)));
    }
    stamps.sort();
    Ok(stamps)
}

/// Files of any other name are left alone, such as a README or a test.
fn is_policy_file(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_cedar = path.extension().is_some_and(|extension| extension == "cedar");
    !name.starts_with('.') && (is_cedar || name == ENTITIES_FILE || name == CONTEXT_FILE)
}

fn document(path: &Path) -> Result<Document, Problem> {
    use std::io::Read as _;
    let shown = path.display().to_string();
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let failed = |error: io::Error| Problem::new(&shown, format!("cannot be read: {error}"));
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(DOCUMENT_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(Problem::new(
            &shown,
            format!("longer than {DOCUMENT_BYTES_MAX} bytes: split it"),
        ));
    }
    Ok(Document { name, text })
}
