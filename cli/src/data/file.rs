//! Files as other programs write them: packed or not, with or without the marks that editors and spreadsheets leave.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Result};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

/// What a gzip file begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Opens a file. Whether it is gzipped, in one member or in several, is told by its first bytes, not by its name.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read>> {
    unpack(BufReader::new(File::open(path)?))
}

/// The contents behind `source`, which may be gzipped.
pub(super) fn unpack(mut source: impl BufRead + 'static) -> Result<Box<dyn Read>> {
    let gzipped = source.fill_buf()?.starts_with(&GZIP);
    Ok(if gzipped { Box::new(MultiGzDecoder::new(source)) } else { Box::new(source) })
}

/// A row of a table of comma-separated values.
#[derive(Debug, PartialEq)]
pub(super) struct Row<'a> {
    /// Counted from 1, as editors do.
    pub(super) line: usize,
    pub(super) fields: Vec<&'a str>,
}

/// The rows of a table without the blank ones. A byte order mark, blanks around fields, quotes and either end of line
/// count for nothing.
pub(super) fn rows(text: &str) -> impl Iterator<Item = Row<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let rows = text.lines().enumerate().map(|(index, line)| Row { line: index + 1, fields: fields(line) });
    rows.filter(|row| row.fields.iter().any(|field| !field.is_empty()))
}

fn fields(line: &str) -> Vec<&str> {
    line.split(',').map(str::trim).map(unquote).map(str::trim).collect()
}

fn unquote(field: &str) -> &str {
    field.strip_prefix('"').and_then(|field| field.strip_suffix('"')).unwrap_or(field)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// `bytes` as a gzip file of a member for each part of `size`.
    pub(in crate::data) fn gzip(bytes: &[u8], size: usize) -> Vec<u8> {
        let member = |part: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(part).expect("in memory");
            encoder.finish().expect("in memory")
        };
        if bytes.is_empty() { member(bytes) } else { bytes.chunks(size).flat_map(member).collect() }
    }

    #[test]
    fn every_member_is_read() {
        let text = b"one, two, three, four";
        for file in [text.to_vec(), gzip(text, 100), gzip(text, 5), gzip(text, 1)] {
            let mut found = Vec::new();
            unpack(std::io::Cursor::new(file)).expect("opened").read_to_end(&mut found).expect("unpacked");
            assert_eq!(found, text, "the whole");
        }
    }

    #[test]
    fn marks_of_editors_count_for_nothing() {
        let row = |line, fields: &[&'static str]| Row { line, fields: fields.to_vec() };
        let expected = |lines: [usize; 2]| vec![row(lines[0], &["a", "b"]), row(lines[1], &["1", "-2.5"])];
        for (text, lines) in [
            ("a,b\n1,-2.5\n", [1, 2]),
            ("\u{feff}a,b\r\n1,-2.5\r\n", [1, 2]),
            (" a , b\n\t1 , -2.5 ", [1, 2]),
            ("\n\na,b\n  \n1,-2.5\n\n\r\n", [3, 5]),
            ("\"a\",\"b\"\n\"1\",\" -2.5\"\n,\n", [1, 2]),
        ] {
            assert_eq!(rows(text).collect::<Vec<_>>(), expected(lines), "{text:?}");
        }
        assert_eq!(rows("a,,b").next(), Some(row(1, &["a", "", "b"])), "an empty field is a field");
        assert_eq!(rows("\u{feff} \n").next(), None, "nothing");
    }
}
