//! Reads the tables of `tests/contract/API.md`.

use std::collections::{BTreeMap, BTreeSet};

use keypod_tests::repository;

/// Name of a field, those of items as `items[].name`, and whether it may be left out.
pub(super) type Fields = BTreeMap<String, bool>;

/// One route of the page.
pub(super) struct Row {
    /// `METHOD /path`, as OpenAPI writes it.
    pub(super) route: String,
    pub(super) body: Option<Fields>,
    /// `None` where the page says it in words.
    pub(super) answer: Option<Fields>,
}

/// What the page says.
pub(super) struct Page {
    pub(super) routes: Vec<Row>,
    /// Status and code.
    pub(super) codes: BTreeSet<(String, String)>,
}

impl Page {
    pub(super) fn read() -> Self {
        let text = std::fs::read_to_string(repository().join("tests/contract/API.md")).unwrap();
        let mut page = Self { routes: Vec::new(), codes: BTreeSet::new() };
        let mut section = "";
        for line in text.lines() {
            section = line.strip_prefix("## ").unwrap_or(section);
            let Some(row) = line.strip_prefix("| ") else { continue };
            let cells: Vec<_> = row.trim_end_matches('|').split('|').map(str::trim).collect();
            match section {
                "Data" | "Keys" => page.add_routes(&cells),
                _ if section.starts_with("Errors") => page.add_codes(&cells),
                _ => {}
            }
        }
        page
    }

    fn add_routes(&mut self, cells: &[&str]) {
        for code in codes(cells[0]).filter(|code| code.contains(" /")) {
            if code.contains('?') || cells[0].contains("octet-stream") {
                continue; // The same route with octets.
            }
            let named = [("NAME", "{name}"), ("/N/", "/{version}/"), ("ID", "{id}")];
            let route =
                named.iter().fold(code.to_owned(), |path, (from, to)| path.replace(from, to));
            let fields = |cell: Option<&&str>| {
                let shapes: Vec<_> = codes(cell?).filter(|code| code.starts_with('{')).collect();
                let [shape] = shapes[..] else { return None };
                (!shape.contains("...")).then(|| parse(shape))
            };
            let body = fields(cells.get(1));
            self.routes.push(Row { route, body, answer: fields(cells.get(2)) });
        }
    }

    fn add_codes(&mut self, cells: &[&str]) {
        let statuses: Vec<_> = cells[0].split(", ").collect();
        let is_code =
            |code: &&str| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        for (index, code) in codes(cells[1]).filter(is_code).enumerate() {
            let status = if statuses.len() == 1 { statuses[0] } else { statuses[index] };
            self.codes.insert((status.to_owned(), code.to_owned()));
        }
    }
}

/// What stands between backquotes.
fn codes(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The fields of `{a, b?, items: [{c, d?: false} or {e}]}`.
fn parse(shape: &str) -> Fields {
    let mut fields = Fields::new();
    let (mut path, mut name): (Vec<String>, String) = (Vec::new(), String::new());
    let mut in_value = false;
    for character in shape.chars() {
        match character {
            '{' if in_value => {
                path.push(format!("{}[].", name.trim_end_matches('?')));
                add(&mut fields, &path[..path.len() - 1], &mut name);
                in_value = false;
            }
            '{' | '}' | ',' => {
                if !name.is_empty() {
                    add(&mut fields, &path, &mut name);
                }
                in_value = false;
            }
            ':' => in_value = true,
            // The end of the items; ` or ` stands between two shapes of one.
            ']' => drop(path.pop()),
            'a'..='z' | '_' | '?' if !in_value => name.push(character),
            ' ' if name == "or" => name.clear(),
            _ => {}
        }
    }
    fields
}

fn add(fields: &mut Fields, path: &[String], name: &mut String) {
    let name = std::mem::take(name);
    let optional = name.ends_with('?');
    fields.insert(format!("{}{}", path.concat(), name.trim_end_matches('?')), optional);
}

#[test]
fn shapes_are_read_as_they_are_meant() {
    let shape = r#"{a, b?: false, items: [{c, d?} or {e}], state: "x" or "y"}"#;
    let fields = parse(shape);
    let names: Vec<_> = fields.iter().map(|(name, optional)| (name.as_str(), *optional)).collect();
    let expected = [
        ("a", false),
        ("b", true),
        ("items", false),
        ("items[].c", false),
        ("items[].d", true),
        ("items[].e", false),
        ("state", false),
    ];
    assert_eq!(names, expected);
}
