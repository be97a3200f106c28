//! Where the files are that tests read.

use std::path::{Path, PathBuf};

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// The folder of real records beside the project (`KEYPOD_TEST_DATA`, else `../shared/data`), if it is there.
/// A test that finds none says that it skips, and why.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "a test may read the environment")]
pub fn shared_data() -> Option<PathBuf> {
    let beside = repository().join("../shared/data");
    let folder = std::env::var_os("KEYPOD_TEST_DATA").map_or(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

/// Every resource of the FHIR records, one JSON text each, in the order of the files' names.
///
/// # Panics
/// If a file cannot be read.
#[must_use]
pub fn fhir_resources() -> Option<Vec<String>> {
    let folder = shared_data()?.join("fhir");
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).ok()?.flatten().map(|file| file.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "ndjson"));
    files.sort();
    let mut resources = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a file of records can be read");
        resources.extend(text.lines().filter(|line| !line.is_empty()).map(str::to_owned));
    }
    Some(resources)
}
