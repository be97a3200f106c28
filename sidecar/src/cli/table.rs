//! Lays out rows for people: columns aligned, two spaces between, no lines.
//!
//! Depends on nothing.

use serde_json::Value;

/// A table with a heading for each column.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    numeric: bool,
}

impl Table {
    /// A table of text: columns flush left.
    pub(super) fn of_text(headings: &[&str]) -> Self {
        Self { rows: vec![owned(headings)], numeric: false }
    }

    /// A table of numbers: columns flush right, but for the first.
    pub(super) fn of_numbers(headings: &[&str]) -> Self {
        Self { rows: vec![owned(headings)], numeric: true }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as text, without a line feed at its end.
    pub(super) fn render(&self) -> String {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                let width = cell.chars().count();
                match widths.get_mut(column) {
                    Some(widest) => *widest = width.max(*widest),
                    None => widths.push(width),
                }
            }
        }
        let line = |row: &Vec<String>| {
            let padded = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                if self.numeric && column > 0 {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

fn owned(headings: &[&str]) -> Vec<String> {
    headings.iter().map(|&heading| heading.to_owned()).collect()
}

/// A JSON value in a cell: text as it is, nothing as `-`, a list with commas.
pub(super) fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(",")
        }
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::of_text(&["NAME", "STATE"]);
        table.row(vec!["patients".into(), "enabled".into()]);
        assert_eq!(table.render(), "NAME      STATE\npatients  enabled");
        let mut table = Table::of_numbers(&["what", "n"]);
        table.row(vec!["a".into(), "1000".into()]);
        assert_eq!(table.render(), "what     n\na     1000");
    }
}
