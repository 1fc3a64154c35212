//! Rows of a name, the figures of two runs and their ratio; or of many pairs of runs, and how their ratios are spread.

use std::io::{self, Write};

use crate::hist::three_digits;
use crate::report::grid::Grid;

/// How a figure is written.
type Text = fn(f64) -> String;

/// The figures of one pair.
pub(super) struct Table {
    rows: Vec<Row>,
    section: String,
}

struct Row {
    section: String,
    name: String,
    a: Option<f64>,
    b: Option<f64>,
    text: Text,
}

impl Row {
    /// The second run's figure over the first's.
    fn ratio(&self) -> Option<f64> {
        let (a, b) = (self.a?, self.b?);
        (a > 0.0).then(|| b / a)
    }
}

impl Table {
    pub(super) fn new() -> Table {
        Table { rows: Vec::new(), section: String::new() }
    }

    /// What follows belongs to it. A section without rows is not shown.
    pub(super) fn section(&mut self, name: &str) {
        name.clone_into(&mut self.section);
    }

    /// Nothing if neither run has the figure.
    pub(super) fn row(&mut self, name: &str, a: Option<f64>, b: Option<f64>, text: Text) {
        if a.is_some() || b.is_some() {
            self.rows.push(Row { section: self.section.clone(), name: name.to_owned(), a, b, text });
        }
    }

    /// Both figures of each row, and their ratio.
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let cells = |row: &Row| vec![cell(row.a, row.text), cell(row.b, row.text), cell(row.ratio(), three_digits)];
        grid(["A", "B", "B/A"], self.rows.iter().map(|row| (row, cells(row)))).print(out)
    }
}

/// Of each row that some pair has: the medians of both sides, and the least, the median and the greatest ratio within a pair. What the host does
/// to both runs of a pair is not in these.
pub(super) fn print_many(tables: &[Table], out: &mut impl Write) -> io::Result<()> {
    let mut kinds: Vec<&Row> = Vec::new();
    for row in tables.iter().flat_map(|table| &table.rows) {
        if !kinds.iter().any(|kind| is_same(kind, row)) {
            // Behind the last one of its section, or at the end.
            let at = kinds.iter().rposition(|kind| kind.section == row.section).map_or(kinds.len(), |at| at + 1);
            kinds.insert(at, row);
        }
    }
    let cells = |kind: &Row| {
        let same = || tables.iter().filter_map(|table| table.rows.iter().find(|row| is_same(row, kind)));
        let ratios = sorted(same().filter_map(Row::ratio));
        vec![
            cell(median(&sorted(same().filter_map(|row| row.a))), kind.text),
            cell(median(&sorted(same().filter_map(|row| row.b))), kind.text),
            cell(ratios.first().copied(), three_digits),
            cell(median(&ratios), three_digits),
            cell(ratios.last().copied(), three_digits),
        ]
    };
    grid(["A", "B", "B/A least", "median", "greatest"], kinds.iter().map(|kind| (*kind, cells(kind)))).print(out)
}

fn is_same(one: &Row, other: &Row) -> bool {
    (&one.section, &one.name) == (&other.section, &other.name)
}

/// Rows below the names of their columns and of their sections.
fn grid<'a, const N: usize>(columns: [&str; N], rows: impl Iterator<Item = (&'a Row, Vec<String>)>) -> Grid {
    let mut grid = Grid::new(1..usize::MAX);
    grid.row([""].into_iter().chain(columns));
    let mut section: Option<&str> = None;
    for (row, cells) in rows {
        if section != Some(&row.section) {
            if section.is_some() {
                grid.row([""]);
            }
            grid.row([row.section.as_str()]);
            section = Some(&row.section);
        }
        grid.row([format!("  {}", row.name)].into_iter().chain(cells));
    }
    grid
}

fn cell(value: Option<f64>, text: Text) -> String {
    value.map_or("–".into(), text)
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The middle one; of an even number the mean of the two in the middle.
fn median(sorted: &[f64]) -> Option<f64> {
    let at = sorted.len().checked_sub(1)?;
    Some(f64::midpoint(sorted[at / 2], sorted[at.div_ceil(2)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::written;

    fn table(rows: &[(&str, &str, Option<f64>, Option<f64>)]) -> Table {
        let mut table = Table::new();
        for (section, name, a, b) in rows {
            table.section(section);
            table.row(name, *a, *b, three_digits);
        }
        table
    }

    #[test]
    fn ratios_are_of_pairs_and_not_of_medians() {
        let pair = |a, b| table(&[("rates", "events/s", Some(a), Some(b))]);
        let text = written(|out| print_many(&[pair(1.0, 2.0), pair(10.0, 10.0), pair(4.0, 2.0)], out));
        let row: Vec<&str> = text.lines().last().expect("a row").split_whitespace().collect();
        assert_eq!(row, ["events/s", "4.00", "2.00", "0.50", "1.00", "2.00"], "{text}");
    }

    #[test]
    fn what_some_pairs_lack_is_of_the_others() {
        let first = table(&[("rates", "x", Some(2.0), None), ("cost", "y", Some(1.0), Some(3.0))]);
        let other = table(&[("rates", "x", Some(4.0), Some(2.0)), ("rates", "z", Some(0.0), Some(1.0))]);
        let text = written(|out| print_many(&[first, other], out));
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[2], ["x", "3.00", "2.00", "0.50", "0.50", "0.50"], "{text}");
        assert_eq!(rows[3], ["z", "0.00", "1.00", "–", "–", "–"], "{text}");
        assert_eq!(rows[6], ["y", "1.00", "3.00", "3.00", "3.00", "3.00"], "{text}");
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!([&[][..], &[3.0], &[1.0, 2.0], &[1.0, 2.0, 9.0]].map(median), [None, Some(3.0), Some(1.5), Some(2.0)]);
    }
}
