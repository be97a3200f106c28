//! The papers say which test holds which rule: every test that they name is there.

use std::collections::BTreeSet;
use std::path::Path;

use keypod_tests::repository;

const PAPERS: [&str; 4] = ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CONTRIBUTING.md"];

/// Every `name` between backticks that is as long as a sentence: four words or more, and no metric or setting.
fn named(paper: &str) -> impl Iterator<Item = &str> {
    paper.split('`').skip(1).step_by(2).filter(|text| {
        let of_a_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let other = text.starts_with("keypod_") || text.ends_with("_max");
        text.chars().all(of_a_name) && text.split('_').count() > 3 && !other
    })
}

/// The names of all functions below `folder`.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text.split("fn ").skip(1);
            let end = |c: char| !c.is_ascii_alphanumeric() && c != '_';
            found.extend(names.filter_map(|rest| rest.split(end).next()).map(str::to_owned));
        }
    }
}

#[test]
fn every_test_that_the_papers_name_is_there() {
    let mut there = BTreeSet::new();
    for folder in ["sidecar/src", "tests"] {
        functions(&repository().join(folder), &mut there);
    }
    let mut count = 0;
    for paper in PAPERS {
        let text = std::fs::read_to_string(repository().join(paper)).unwrap();
        for name in named(&text) {
            assert!(there.contains(name), "{paper} names the test {name}: there is none");
            count += 1;
        }
    }
    assert!(count > 100, "only {count} names were found: has the way to write them changed?");
}
