//! Rows of cells as aligned text for a terminal or as Markdown. The first two columns are names and stand left, figures right.

/// A heading and rows with as many cells.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// Names of the columns.
    pub heading: Vec<String>,
    /// Their content.
    pub rows: Vec<Vec<String>>,
}

/// Columns that hold names.
const NAMES: usize = 2;

/// For a terminal.
pub fn aligned(table: &Table) -> String {
    let all = || std::iter::once(&table.heading).chain(&table.rows);
    let width =
        |column| all().filter_map(|row| row.get(column)).map(|cell: &String| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..table.heading.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column < NAMES { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all().map(line).collect::<Vec<_>>().join("\n")
}

/// For a page.
pub fn markdown(table: &Table) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let marks = (0..table.heading.len()).map(|column| if column < NAMES { "---" } else { "---:" }.to_owned());
    let mut lines = vec![line(&table.heading), line(&marks.collect::<Vec<_>>())];
    lines.extend(table.rows.iter().map(|row| line(row)));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let row = |cells: [&str; 3]| cells.map(String::from).to_vec();
        Table { heading: row(["a", "server", "µs"]), rows: vec![row(["long", "x", "1.25"]), row(["", "y", "10"])] }
    }

    #[test]
    fn names_stand_left_and_figures_right() {
        assert_eq!(aligned(&table()), "a     server    µs\nlong  x       1.25\n      y         10");
    }

    #[test]
    fn markdown_aligns_by_its_marks() {
        let expected = "| a | server | µs |\n| --- | --- | ---: |\n| long | x | 1.25 |\n|  | y | 10 |";
        assert_eq!(markdown(&table()), expected);
    }
}
