//! No arrow between the sidecar's modules runs back up: read from the `use` lines and the paths in the code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use keypod_tests::repository;
use syn::visit::Visit;

/// Module, and what it may use. A module may always use itself.
const ARROWS: &[(&str, &str)] = &[
    ("names", ""),
    ("clock", ""),
    // For tests alone, and not built without them.
    ("alone", ""),
    ("error_chain", ""),
    ("file", ""),
    ("unreached", ""),
    ("flight", ""),
    ("tls", ""),
    ("process", ""),
    ("telemetry", ""),
    ("secret", "names"),
    ("envelope", "names secret"),
    ("root", "alone names secret clock error_chain file tls unreached"),
    ("witness", "secret clock file unreached root tls"),
    ("store", "names secret clock"),
    ("policy", "names clock file envelope"),
    ("limits", "names clock"),
    ("audit", "names clock error_chain secret policy envelope root"),
    ("emergency", "alone names clock policy"),
    ("identity", "names clock error_chain file flight tls unreached secret policy root"),
    ("sinks", "audit clock error_chain file tls unreached"),
    ("config", "names policy limits audit sinks witness secret root store identity"),
    ("keyring", "names secret clock error_chain flight audit policy envelope root store"),
    // It says which code each error of the layers below is.
    ("service", "names secret clock policy limits emergency audit envelope keyring root store"),
    // It turns errors of every layer below into statuses, and shows their rows.
    (
        "http",
        "names secret clock error_chain file policy identity limits emergency audit envelope keyring root store service",
    ),
    (
        "app",
        "names secret clock error_chain policy identity limits emergency audit envelope keyring root store service http config telemetry sinks witness",
    ),
    (
        "cli",
        "names clock audit policy keyring root service http config app process telemetry witness",
    ),
    ("main", "cli"),
];

/// The modules that a file's code names by `crate::` or `keypod::`.
#[derive(Default)]
struct Uses(Vec<String>);

impl<'ast> Visit<'ast> for Uses {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let is_test = |attribute: &syn::Attribute| {
            attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
        };
        if !module.attrs.iter().any(is_test) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_use_tree(&mut self, tree: &'ast syn::UseTree) {
        if let syn::UseTree::Path(path) = tree
            && path.ident == "crate"
        {
            first_of(&path.tree, &mut self.0);
        }
        syn::visit::visit_use_tree(self, tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut segments = path.segments.iter();
        if segments.next().is_some_and(|first| first.ident == "crate" || first.ident == "keypod")
            && let Some(module) = segments.next()
        {
            self.0.push(module.ident.to_string());
        }
        syn::visit::visit_path(self, path);
    }
}

fn first_of(tree: &syn::UseTree, found: &mut Vec<String>) {
    match tree {
        syn::UseTree::Path(path) => found.push(path.ident.to_string()),
        syn::UseTree::Name(name) => found.push(name.ident.to_string()),
        syn::UseTree::Rename(rename) => found.push(rename.ident.to_string()),
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| first_of(tree, found)),
        syn::UseTree::Glob(_) => found.push("*".to_owned()),
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn module_of(file: &Path, sources: &Path) -> String {
    let inside = file.strip_prefix(sources).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Which module uses which, with a file for each.
fn arrows() -> BTreeMap<(String, String), PathBuf> {
    let sources = repository().join("sidecar/src");
    let mut found = Vec::new();
    files(&sources, &mut found);
    let mut arrows = BTreeMap::new();
    for file in found {
        let module = module_of(&file, &sources);
        let is_tests = file
            .file_stem()
            .is_some_and(|stem| stem == "tests" || stem == "conformance" || stem == "vectors");
        if module == "lib" || is_tests {
            continue;
        }
        let mut uses = Uses::default();
        uses.visit_file(&syn::parse_file(&std::fs::read_to_string(&file).unwrap()).unwrap());
        for used in uses.0 {
            arrows.insert((module.clone(), used), file.clone());
        }
    }
    arrows
}

#[test]
fn no_arrow_runs_back_up() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    for ((module, used), file) in arrows() {
        let allowed = allowed.get(module.as_str());
        let allowed = allowed.unwrap_or_else(|| panic!("say in ARROWS what {module} may use"));
        assert!(
            module == used || allowed.split(' ').any(|allowed| allowed == used),
            "{} uses {used}, which {module} must not: the arrow would run back up",
            file.display()
        );
    }
}

#[test]
fn the_table_of_arrows_has_no_circle_and_no_arrow_that_nobody_uses() {
    let mut below: Vec<&str> = Vec::new();
    let mut left: Vec<_> = ARROWS.to_vec();
    while !left.is_empty() {
        let before = left.len();
        left.retain(|(module, uses)| {
            let settled = uses.split_terminator(' ').all(|used| below.contains(&used));
            if settled {
                below.push(module);
            }
            !settled
        });
        assert!(left.len() < before, "a circle among {left:?}");
    }
    let drawn = arrows();
    for (module, uses) in ARROWS {
        for used in uses.split_terminator(' ') {
            let arrow = ((*module).to_owned(), used.to_owned());
            assert!(
                drawn.contains_key(&arrow),
                "{module} no longer uses {used}: take it out of ARROWS"
            );
        }
    }
}

#[test]
fn an_arrow_that_runs_up_is_seen() {
    let mut uses = Uses::default();
    let text = "use crate::{http::Api, names}; fn f() { crate::app::check(); } #[cfg(test)] mod tests { use crate::cli; }";
    uses.visit_file(&syn::parse_file(text).unwrap());
    uses.0.sort();
    assert_eq!(uses.0, ["app", "http", "names"]);
}
