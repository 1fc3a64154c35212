//! Columns of text: each as wide as its widest cell.

use std::io::{self, Write};
use std::ops::Range;

/// Rows of cells; those of the columns in `right` are aligned to the right.
pub struct Grid {
    rows: Vec<Vec<String>>,
    right: Range<usize>,
}

impl Grid {
    /// An empty one.
    pub fn new(right: Range<usize>) -> Grid {
        Grid { rows: Vec::new(), right }
    }

    /// Adds a row. Rows may have fewer cells than others.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Writes all rows, without blanks at their ends.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| columns_of(cell)).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let blanks = " ".repeat(widths[column] - columns_of(cell));
                let gap = if column == 0 { "" } else { "  " };
                let (before, after) = if self.right.contains(&column) { (blanks.as_str(), "") } else { ("", blanks.as_str()) };
                line.extend([gap, before, cell, after]);
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Columns that a text takes: one for each character, which holds for all that reports write.
pub fn columns_of(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_by_characters() {
        let mut grid = Grid::new(1..2);
        grid.row(["a", "1 µs", "x"]);
        grid.row(["bcd", "10 ms"]);
        let mut out = Vec::new();
        grid.print(&mut out).expect("a Vec takes all");
        assert_eq!(String::from_utf8(out).expect("text"), "a     1 µs  x\nbcd  10 ms\n");
    }
}
