//! The table as text: how a cell is written, and what differs between two tables.

use keypod_tests::repository;

/// Rows of cells; the first one names the columns.
pub(super) type Table = Vec<Vec<String>>;

/// The table in the file.
pub(super) fn file() -> Table {
    parse(&std::fs::read_to_string(repository().join("tests/suite/matrix/table.txt")).unwrap())
}

/// The table in `text`: lines of cells between `|`. A line that begins with `#` is for whoever reads it.
fn parse(text: &str) -> Table {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.map(|line| line.split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// A cell: one answer if both transports have the same, and `unix/tcp` otherwise.
pub(super) fn cell(over_unix: &str, over_tcp: &str) -> String {
    if over_unix == over_tcp { over_unix.to_owned() } else { format!("{over_unix}/{over_tcp}") }
}

/// The two answers of a cell.
pub(super) fn both_ways(cell: &str) -> [&str; 2] {
    cell.split_once('/').map_or([cell, cell], |(over_unix, over_tcp)| [over_unix, over_tcp])
}

/// Every row that is not the same in both, as `-` in the file and `+` as seen, with a mark below each cell that differs;
/// nothing if there is none.
pub(super) fn differences(file: &Table, seen: &Table) -> Vec<String> {
    let widths: Vec<_> = (0..seen[0].len())
        .map(|at| file.iter().chain(seen).filter_map(|row| row.get(at)).map(String::len).max())
        .map(Option::unwrap_or_default)
        .collect();
    let line = |sign: char, row: &[String]| {
        let cells = row.iter().enumerate();
        let cells = cells.map(|(at, cell)| format!("{cell:0$}", widths.get(at).unwrap_or(&0)));
        format!("{sign} {}", cells.collect::<Vec<_>>().join(" | ")).trim_end().to_owned()
    };
    let mut left: Vec<_> = file.iter().collect();
    let mut different = Vec::new();
    for row in seen {
        if let Some(same) = left.iter().position(|other| *other == row) {
            left.remove(same);
            continue;
        }
        let named = left.iter().position(|other| other.get(..2) == Some(&row[..2]));
        let other = named.map(|at| left.remove(at));
        different.extend(other.map(|other| line('-', other)));
        different.push(line('+', row));
        if let Some(other) = other {
            let cells = row.iter().enumerate();
            let marks = cells.map(|(at, cell)| match other.get(at) == Some(cell) {
                true => String::new(),
                false => "^".repeat(cell.len()),
            });
            let marks = line(' ', &marks.collect::<Vec<_>>()).replace('|', " ");
            different.push(marks.trim_end().to_owned());
        }
    }
    // Rows that nobody asked, or that are there twice.
    different.extend(left.into_iter().map(|row| line('-', row)));
    if !different.is_empty() {
        different.insert(0, line(' ', &seen[0]));
    }
    different
}

#[test]
fn every_difference_is_shown_and_not_the_first_alone() {
    let seen = parse("action | a | b\nx | - | 200\ny | - | 403\nz | - | 200");
    assert_eq!(differences(&seen, &seen), [] as [String; 0]);
    let file =
        parse("# words\naction | a | b\nx | - | 403\n\ny | - | 403\nw | - | 200\nw | - | 200");
    let different = differences(&file, &seen);
    let expected = [
        "  action | a | b",
        "- x      | - | 403",
        "+ x      | - | 200",
        "               ^^^",
        "+ z      | - | 200",
        "- w      | - | 200",
        "- w      | - | 200",
    ];
    assert_eq!(different, expected, "{different:#?}");
    let twice = [seen.clone(), seen[1..2].to_vec()].concat();
    assert_eq!(differences(&twice, &seen).len(), 2, "the head, and the row that is there twice");
}
