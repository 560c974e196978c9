//! Columns that line up. Not here: what is in them.

/// One cell: text that may carry colours, and how wide it is without them.
pub(crate) struct Cell {
    text: String,
    width: usize,
}

impl Cell {
    /// A cell whose text is painted by `paint`, once it is certain to be printable.
    pub(crate) fn painted(text: &str, paint: impl FnOnce(&str) -> String) -> Self {
        let plain = printable(text);
        Self {
            text: paint(&plain),
            width: plain.chars().count(),
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::painted(&text.into(), str::to_owned)
    }
}

/// On which side a column is filled with blanks.
#[derive(Clone, Copy)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of cells under headings.
pub(crate) struct Table {
    columns: Vec<Align>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with one row, the headings.
    pub(crate) fn new(headings: Vec<(Align, Cell)>) -> Self {
        let (columns, cells) = headings.into_iter().unzip();
        Self {
            columns,
            rows: vec![cells],
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The table as text. The last column is not filled, so no line ends in blanks.
    pub(crate) fn render(&self) -> String {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                self.rows
                    .iter()
                    .filter_map(|row| row.get(column))
                    .map(|cell| cell.width)
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        for row in &self.rows {
            let start = out.len();
            for ((cell, align), width) in row.iter().zip(&self.columns).zip(&widths) {
                if out.len() > start {
                    out.push_str("  ");
                }
                render_cell(&mut out, cell, *align, *width);
            }
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
        }
        out
    }
}

fn render_cell(out: &mut String, cell: &Cell, align: Align, width: usize) {
    let fill = " ".repeat(width.saturating_sub(cell.width));
    match align {
        Align::Left => out.extend([cell.text.as_str(), &fill]),
        Align::Right => out.extend([fill.as_str(), &cell.text]),
    }
}

/// `text` without what would move the cursor or change the terminal: services choose part of it.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(vec![
            (Align::Left, "NAME".into()),
            (Align::Right, "PID".into()),
            (Align::Left, "WHY".into()),
        ]);
        table.row(vec!["a".into(), "12345".into(), "".into()]);
        table.row(vec![
            "größer".into(),
            "7".into(),
            Cell::painted("bad\x1b[2J", |text| format!("<{text}>")),
        ]);
        assert_eq!(
            table.render(),
            "NAME      PID  WHY\n\
             a       12345\n\
             größer      7  <bad [2J>\n"
        );
    }
}
