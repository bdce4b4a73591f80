//! Tables in box-drawing characters: headings in capitals and centred, cells to the right, as etcdctl draws them.

use std::fmt;

/// Rows under headings. Invariant: each row has as many cells as there are headings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(headings: &[&str], rows: Vec<Vec<String>>) -> Table {
        assert!(rows.iter().all(|row| row.len() == headings.len()), "a row does not fit the headings {headings:?}");
        Table { headings: headings.iter().map(|heading| heading.to_uppercase()).collect(), rows }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().chain([&self.headings]);
            cells.map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let rule = |left, cross, right| {
            let bars: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
            format!("{left}{}{right}", bars.join(cross))
        };
        writeln!(f, "{}", rule("┌", "┬", "┐"))?;
        let headings = self.headings.iter().zip(&widths).map(|(heading, width)| format!(" {heading:^width$} "));
        writeln!(f, "│{}│", headings.collect::<Vec<_>>().join("│"))?;
        writeln!(f, "{}", rule("├", "┼", "┤"))?;
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:>width$} "));
            writeln!(f, "│{}│", cells.collect::<Vec<_>>().join("│"))?;
        }
        writeln!(f, "{}", rule("└", "┴", "┘"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["127.0.0.1:9", "false"], ["é:1", "true"]].map(|row| row.map(String::from).to_vec()).to_vec();
        let expected = "\
┌─────────────┬────────┐
│  ENDPOINT   │ HEALTH │
├─────────────┼────────┤
│ 127.0.0.1:9 │  false │
│         é:1 │   true │
└─────────────┴────────┘
";
        assert_eq!(Table::new(&["endpoint", "health"], rows).to_string(), expected);
    }
}
