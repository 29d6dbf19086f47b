//! Columns of text on a terminal: as wide as their widest cell, the last as long as it likes.

use std::borrow::Cow;

/// How a cell is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// A heading.
    Bold,
    /// Something to be done.
    Red,
    /// Soon.
    Yellow,
    /// Nothing to look at.
    Dim,
}

/// The widths of `N` columns.
#[derive(Debug, Clone)]
pub struct Columns<const N: usize>([usize; N]);

impl<const N: usize> Columns<N> {
    /// As wide as the headings.
    pub fn new(header: [&str; N]) -> Self {
        Self(header.map(|heading| heading.chars().count()))
    }

    /// Makes room for a row.
    pub fn fit<S: AsRef<str>>(&mut self, cells: &[S; N]) {
        for (width, cell) in self.0.iter_mut().zip(cells) {
            *width = (*width).max(cell.as_ref().chars().count());
        }
    }

    /// A row as one line, two blanks between columns, none at the end.
    pub fn line<S: AsRef<str>>(&self, cells: &[S; N], tone: impl Fn(usize) -> Tone) -> String {
        let mut line = String::new();
        for (column, (cell, width)) in cells.iter().zip(self.0).enumerate() {
            let (cell, (on, off)) = (cell.as_ref(), tone(column).codes());
            line.push_str(on);
            line.push_str(cell);
            line.push_str(off);
            if column + 1 < N {
                let padding = width.saturating_sub(cell.chars().count()) + 2;
                line.extend(std::iter::repeat_n(' ', padding));
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

impl Tone {
    fn codes(self) -> (&'static str, &'static str) {
        match self {
            Self::Plain => ("", ""),
            Self::Bold => ("\x1b[1m", "\x1b[0m"),
            Self::Red => ("\x1b[31m", "\x1b[0m"),
            Self::Yellow => ("\x1b[33m", "\x1b[0m"),
            Self::Dim => ("\x1b[2m", "\x1b[0m"),
        }
    }
}

/// A text out of a file, fit for a terminal: no control characters.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) { text.replace(char::is_control, "\u{fffd}").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_nothing_trails() {
        let mut columns = Columns::new(["A", "LONG"]);
        columns.fit(&["äöü", "x"]);
        assert_eq!(columns.line(&["A", "LONG"], |_| Tone::Plain), "A    LONG");
        assert_eq!(columns.line(&["äöü", ""], |_| Tone::Plain), "äöü");
        assert_eq!(columns.line(&["a", "b"], |_| Tone::Red), "\x1b[31ma\x1b[0m    \x1b[31mb\x1b[0m");
    }
}
