//! [`Sheet`]: a table of somebody's own, its columns by their names.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use csv::{ReaderBuilder, StringRecord};

use super::file;

/// What may stand between the cells of a row; the header says which of them does.
const DELIMITERS: [char; 3] = [',', ';', '\t'];

/// A table with a line of names above its rows.
#[derive(Debug)]
pub(crate) struct Sheet {
    /// The file's name, for errors.
    name: String,
    header: Vec<String>,
    rows: Vec<StringRecord>,
    /// Where each of them begins, counted from 1, as editors do.
    lines: Vec<u64>,
}

/// What is wrong with a table, and where.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SheetError {
    #[error("{file}: there is no row below the line of column names")]
    NoRows { file: String },
    #[error(
        "{file}: line 1 holds numbers ({found}), where the columns' names belong; put a line of names above the rows"
    )]
    NoHeader { file: String, found: String },
    #[error("{file}: line {line}: {found} cells, where line 1 names {expected} columns; give every row as many")]
    Ragged { file: String, line: u64, found: usize, expected: usize },
    #[error("{file}: {option} {column:?}: there is no such column; there are {columns}")]
    NoColumn { file: String, option: &'static str, column: String, columns: String },
    #[error("{file}: {option} {column:?}: {count} columns have this name; rename all but one")]
    Ambiguous { file: String, option: &'static str, column: String, count: usize },
    #[error(
        "{file}: line {line}, column {column:?}: the cell is empty; fill it in, or leave the row or the column out"
    )]
    Empty { file: String, line: u64, column: String },
    #[error("{file}: line {line}, column {column:?}: {text:?} is not a finite number")]
    NotANumber { file: String, line: u64, column: String, text: String },
    #[error("{file}: line {line}, column {column:?}: training has seen no {text:?}; it has seen {classes}")]
    UnknownClass { file: String, line: u64, column: String, text: String, classes: String },
}

impl Sheet {
    /// Reads a file, gzipped or not, its cells apart by commas, semicolons or tabs.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        fewsteps::check_regular(path).map_err(|refused| anyhow::anyhow!("{name}: {refused}"))?;
        let mut text = String::new();
        let read = file::open(path).and_then(|mut file| file.read_to_string(&mut text));
        read.with_context(|| format!("{name}: cannot be read as text"))?;
        Self::parse(name, text.strip_prefix('\u{feff}').unwrap_or(&text))
    }

    /// Takes a text apart.
    fn parse(name: String, text: &str) -> anyhow::Result<Self> {
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let delimiter = DELIMITERS.into_iter().max_by_key(|&c| (first.matches(c).count(), c == ',')).unwrap_or(',');
        let mut reader = ReaderBuilder::new()
            .delimiter(u8::try_from(delimiter)?)
            .has_headers(false)
            .flexible(true)
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        let (mut rows, mut lines) = (Vec::<StringRecord>::new(), Vec::new());
        for row in reader.records() {
            // The reader's own errors name the line.
            let row = row.with_context(|| format!("{name}: a row cannot be taken apart"))?;
            if row.iter().all(str::is_empty) {
                continue;
            }
            let line = row.position().map_or(0, |position| line_of(text, position));
            if let Some(header) = rows.first().filter(|header| header.len() != row.len()) {
                let (found, expected) = (row.len(), header.len());
                return Err(SheetError::Ragged { file: name, line, found, expected }.into());
            }
            rows.push(row);
            lines.push(line);
        }
        if rows.len() < 2 {
            return Err(SheetError::NoRows { file: name }.into());
        }
        let header: Vec<String> = rows.remove(0).iter().map(str::to_owned).collect();
        if header.iter().all(|cell| number(cell).is_some()) {
            return Err(SheetError::NoHeader { file: name, found: header.join(", ") }.into());
        }
        lines.remove(0);
        Ok(Self { name, header, rows, lines })
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The names of the columns.
    pub(crate) fn header(&self) -> &[String] {
        &self.header
    }

    /// The cells of a row, as they stand there.
    pub(crate) fn row(&self, row: usize) -> &StringRecord {
        &self.rows[row]
    }

    /// The line that a row begins on, counted from 1, as editors do.
    pub(crate) fn line(&self, row: usize) -> u64 {
        self.lines[row]
    }

    /// The place of a column that `option` names.
    pub(crate) fn column(&self, option: &'static str, column: &str) -> Result<usize, SheetError> {
        let (file, column) = (self.name.clone(), column.trim());
        let mut places = (0..self.header.len()).filter(|&i| self.header[i] == column);
        match (places.next(), places.count()) {
            (Some(place), 0) => Ok(place),
            (Some(_), others) => {
                Err(SheetError::Ambiguous { file, option, column: column.to_owned(), count: others + 1 })
            }
            (None, _) => {
                let columns = self.header.join(", ");
                Err(SheetError::NoColumn { file, option, column: column.to_owned(), columns })
            }
        }
    }

    /// The places of the columns that `option` names.
    pub(crate) fn columns(&self, option: &'static str, columns: &[String]) -> Result<Vec<usize>, SheetError> {
        columns.iter().map(|column| self.column(option, column)).collect()
    }

    /// A cell that may not be empty.
    pub(crate) fn text(&self, row: usize, column: usize) -> Result<&str, SheetError> {
        match self.rows[row].get(column).filter(|text| !text.is_empty()) {
            Some(text) => Ok(text),
            None => {
                let (file, line) = (self.name.clone(), self.line(row));
                Err(SheetError::Empty { file, line, column: self.header[column].clone() })
            }
        }
    }

    /// A cell that is a finite number.
    pub(crate) fn number(&self, row: usize, column: usize) -> Result<f64, SheetError> {
        let text = self.text(row, column)?;
        number(text).ok_or_else(|| {
            let (file, line) = (self.name.clone(), self.line(row));
            SheetError::NotANumber { file, line, column: self.header[column].clone(), text: text.to_owned() }
        })
    }

    /// A cell that is a finite number, or empty.
    pub(crate) fn number_if_any(&self, row: usize, column: usize) -> Result<Option<f64>, SheetError> {
        let is_empty = self.rows[row].get(column).is_none_or(str::is_empty);
        if is_empty { Ok(None) } else { self.number(row, column).map(Some) }
    }

    /// Whether a column begins with a number. What is no number further down is an error, not a column to leave out.
    pub(crate) fn is_numeric(&self, column: usize) -> bool {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.into_iter().find(|text| !text.is_empty()).is_some_and(|text| number(text).is_some())
    }

    /// The place of a cell's class among those that training has seen.
    pub(crate) fn class(&self, row: usize, column: usize, classes: &[String]) -> Result<u32, SheetError> {
        let text = self.text(row, column)?;
        let place = classes.iter().position(|class| class == text).and_then(|place| u32::try_from(place).ok());
        place.ok_or_else(|| {
            let (file, line, classes) = (self.name.clone(), self.line(row), classes.join(", "));
            SheetError::UnknownClass { file, line, column: self.header[column].clone(), text: text.to_owned(), classes }
        })
    }

    /// The file's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// The line that a row begins on. Its position is where the row before it ended, and blank lines may come between.
fn line_of(text: &str, position: &csv::Position) -> u64 {
    let rest = usize::try_from(position.byte()).ok().and_then(|byte| text.as_bytes().get(byte..)).unwrap_or_default();
    let blank = rest.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).filter(|byte| **byte == b'\n').count();
    position.line() + blank as u64
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|x| x.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(text: &str) -> Sheet {
        Sheet::parse("t.csv".to_owned(), text).expect(text)
    }

    #[test]
    fn tables_of_other_writers() {
        for text in [
            "a,b,kind\n1,2.5,x\n-3,4e1,y z\n",
            "a;b;kind\r\n1;2.5;x\r\n-3;4e1;y z\r\n",
            "a\tb\tkind\n1\t2.5\tx\n\n-3\t4e1\ty z",
            "\n a , b ,kind\n 1, 2.5 ,\"x\"\n-3,4e1,\"y z\"\n,,\n",
        ] {
            let sheet = sheet(text);
            let numbers: Vec<f64> = (0..2).flat_map(|row| [0, 1].map(|c| sheet.number(row, c).expect(text))).collect();
            assert_eq!((numbers, sheet.len()), (vec![1.0, 2.5, -3.0, 40.0], 2), "{text:?}");
            assert_eq!(sheet.text(1, sheet.column("--label", "kind").expect("there")), Ok("y z"), "{text:?}");
            assert_eq!([0, 1, 2].map(|column| sheet.is_numeric(column)), [true, true, false], "{text:?}");
        }
    }

    #[test]
    fn bad_cells_are_named_by_line_and_column() {
        let sheet = sheet("a,b\n1,2\n\n3,\n\"4\n\",NaN\n \n\r\n5,x\n");
        let file = || "t.csv".to_owned();
        assert_eq!(sheet.number(1, 1), Err(SheetError::Empty { file: file(), line: 4, column: "b".to_owned() }));
        let text = "NaN".to_owned();
        let expected = SheetError::NotANumber { file: file(), line: 5, column: "b".to_owned(), text };
        assert_eq!(sheet.number(2, 1), Err(expected), "a quoted cell may hold the end of a line");
        assert_eq!(sheet.number_if_any(1, 1), Ok(None), "an empty cell may be left open");
        assert_eq!(sheet.number_if_any(0, 1), Ok(Some(2.0)));
        assert_eq!(sheet.number_if_any(2, 1), sheet.number(2, 1).map(Some), "but no word");
        assert_eq!(sheet.line(3), 9, "after blank lines");
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let refused = |text: &str| format!("{:#}", Sheet::parse("t.csv".to_owned(), text).expect_err(text));
        assert!(refused("").contains("no row below"), "nothing");
        assert!(refused("a,b\n").contains("no row below"), "a header alone");
        assert!(refused("1,2\n3,4\n").contains("put a line of names above"), "no header");
        let ragged = refused("a,b\n1,2\n1,2,3\n");
        assert!(ragged.contains("t.csv: line 3: 3 cells, where line 1 names 2"), "{ragged}");
        let columns = sheet("a,a,b\n1,2,3\n");
        assert!(columns.column("--label", "c").expect_err("none").to_string().contains("--label \"c\""));
        assert!(columns.column("--label", "a").expect_err("two").to_string().contains("2 columns"));
    }
}
