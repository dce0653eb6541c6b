//! [`Table`]: rows of inputs with a class or with targets, from a file of comma-separated values.

use std::path::Path;

use anyhow::{bail, ensure};
use serde::{Deserialize, Serialize};

use super::columns::{self, Column};
use super::samples::{Rows, Samples, Wanted};
use super::sheet::{Sheet, SheetError};
use super::source::{Division, Source};
use crate::args::OwnArgs;

const TASK: &str = "csv";

/// Classes beyond which a column is hardly one of classes.
const MOST_CLASSES: usize = 1000;

/// The columns of a table that a model predicts from, and what it predicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) inputs: Vec<Column>,
    pub(crate) output: Output,
    pub(crate) division: Division,
    /// Whether numbers are taken as they are.
    #[serde(default)]
    pub(crate) raw: bool,
}

/// What a model predicts of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Output {
    /// One of these classes.
    Label { column: String, classes: Vec<String> },
    /// As many numbers.
    Targets(Vec<Column>),
    /// How likely it is.
    Density,
}

/// Reads the table that the command line names.
pub(super) fn csv(args: &OwnArgs, source: &Source) -> anyhow::Result<(Table, Samples, Samples)> {
    let sheet = Sheet::read(source.file(TASK)?)?;
    let output = match &args.label {
        Some(column) => Output::Label { column: column.clone(), classes: Vec::new() },
        None if args.density => Output::Density,
        None if args.targets.is_empty() => bail!(
            "--task csv: say what is to be predicted: --label COLUMN for classes, --targets A,B for numbers, or --density for \
             how likely rows are; {} has {}",
            sheet.name(),
            sheet.header().join(", ")
        ),
        None => Output::Targets(args.targets.iter().cloned().map(Column::raw).collect()),
    };
    let inputs = if args.inputs.is_empty() { others(&sheet, &output)? } else { args.inputs.clone() };
    let taken = output.columns();
    if let Some(both) = inputs.iter().find(|name| taken.contains(*name)) {
        bail!("--inputs {both:?}: is to be predicted; predict from other columns");
    }
    let inputs = inputs.into_iter().map(Column::raw).collect();
    let table = Table { inputs, output, division: Division::asked(args, source)?, raw: args.raw };
    table.read_anew_from(&sheet, source)
}

/// The columns that are not predicted and begin with a number.
fn others(sheet: &Sheet, output: &Output) -> anyhow::Result<Vec<String>> {
    let taken = output.columns();
    let (mut inputs, mut left_out) = (Vec::new(), Vec::new());
    for (place, name) in sheet.header().iter().enumerate().filter(|(_, name)| !taken.contains(*name)) {
        if sheet.is_numeric(place) { inputs.push(name.clone()) } else { left_out.push(name.clone()) }
    }
    if !left_out.is_empty() {
        log::info!("columns that hold no numbers are left out: {}", left_out.join(", "));
    }
    ensure!(!inputs.is_empty(), "{}: no other column holds numbers to predict from", sheet.name());
    Ok(inputs)
}

impl Output {
    /// The names of what is predicted.
    fn columns(&self) -> Vec<String> {
        match self {
            Self::Label { column, .. } => vec![column.clone()],
            Self::Targets(columns) => columns::names(columns),
            Self::Density => Vec::new(),
        }
    }
}

impl Table {
    pub(crate) fn classes(&self) -> &[String] {
        match &self.output {
            Output::Label { classes, .. } => classes,
            Output::Targets(_) | Output::Density => &[],
        }
    }

    /// The samples of a source, with the scales of this.
    pub(super) fn read(&self, source: &Source) -> anyhow::Result<(Self, Samples, Samples)> {
        let sheet = Sheet::read(source.file(TASK)?)?;
        let (train, test) = self.divided(&sheet, source)?;
        let train_rows = self.rows(&sheet, &train)?;
        let test_rows = match &source.test {
            Some(path) => self.all_rows(path)?,
            None => self.rows(&sheet, &test)?,
        };
        Ok((self.clone(), Samples::Rows(train_rows), Samples::Rows(test_rows)))
    }

    /// The samples of a source, with scales of their own.
    pub(super) fn read_anew(&self, source: &Source) -> anyhow::Result<(Self, Samples, Samples)> {
        self.read_anew_from(&Sheet::read(source.file(TASK)?)?, source)
    }

    /// All rows of a file.
    pub(super) fn read_test(&self, test: &Path) -> anyhow::Result<(Self, Samples, Samples)> {
        Ok((self.clone(), Samples::Rows(self.all_rows(test)?), Samples::Rows(self.all_rows(test)?)))
    }

    /// Fits scales and classes to a sheet, and reads it.
    fn read_anew_from(&self, sheet: &Sheet, source: &Source) -> anyhow::Result<(Self, Samples, Samples)> {
        let (train, _) = self.divided(sheet, source)?;
        // All rows, so that of bad cells the first is told.
        let every: Vec<usize> = (0..sheet.len()).collect();
        let fit = |option, columns: &[Column]| -> anyhow::Result<Vec<Column>> {
            let names = columns::names(columns);
            let numbers = numbers(sheet, option, &names, &every)?;
            let value = |row: usize, column: usize| numbers[row * names.len() + column];
            Ok(columns::fit(columns, &train, self.raw, value))
        };
        let output = match &self.output {
            // A class may be so rare that training sees none of it; its name is known.
            Output::Label { column, .. } => {
                Output::Label { column: column.clone(), classes: classes(sheet, sheet.column("--label", column)?)? }
            }
            Output::Targets(columns) => Output::Targets(fit("--targets", columns)?),
            Output::Density => Output::Density,
        };
        let table = Self { inputs: fit("--inputs", &self.inputs)?, output, division: self.division, raw: self.raw };
        table.read(source)
    }

    /// The rows of a sheet that are trained on, and those that are tested on.
    fn divided(&self, sheet: &Sheet, source: &Source) -> anyhow::Result<(Vec<usize>, Vec<usize>)> {
        match self.division {
            Division::Share { share, seed } if source.test.is_none() => {
                ensure!(sheet.len() > 1, "{}: a single row cannot be trained on and tested on", sheet.name());
                Ok(columns::split(sheet.len(), share, seed))
            }
            Division::File if source.test.is_none() => {
                bail!("--test FILE: this run is tested on rows of another file than it is trained on; name it")
            }
            _ => Ok(((0..sheet.len()).collect(), Vec::new())),
        }
    }

    /// All rows of a file.
    fn all_rows(&self, path: &Path) -> anyhow::Result<Rows> {
        let sheet = Sheet::read(path)?;
        Ok(self.rows(&sheet, &(0..sheet.len()).collect::<Vec<_>>())?)
    }

    /// Rows of a sheet, scaled.
    fn rows(&self, sheet: &Sheet, rows: &[usize]) -> Result<Rows, SheetError> {
        let wanted = match &self.output {
            Output::Label { column, classes } => {
                let place = sheet.column("--label", column)?;
                let labels = rows.iter().map(|&row| sheet.class(row, place, classes)).collect::<Result<_, _>>()?;
                Wanted::Classes(labels)
            }
            Output::Targets(columns) => {
                let numbers = scaled(sheet, "--targets", columns, rows)?;
                Wanted::Numbers { times: 1, width: columns.len(), numbers, weights: Vec::new() }
            }
            Output::Density => Wanted::Nothing,
        };
        let inputs = self.inputs(sheet, rows)?;
        Ok(Rows { width: self.inputs.len(), inputs, wanted, times: Vec::new() })
    }

    /// The inputs of rows, scaled: `[row][input]`.
    pub(crate) fn inputs(&self, sheet: &Sheet, rows: &[usize]) -> Result<Vec<f64>, SheetError> {
        scaled(sheet, "--inputs", &self.inputs, rows)
    }
}

/// The numbers of columns: `[row][column]`.
fn numbers(sheet: &Sheet, option: &'static str, names: &[String], rows: &[usize]) -> Result<Vec<f64>, SheetError> {
    let places = sheet.columns(option, names)?;
    let cells = rows.iter().flat_map(|&row| places.iter().map(move |&place| (row, place)));
    cells.map(|(row, place)| sheet.number(row, place)).collect()
}

fn scaled(sheet: &Sheet, option: &'static str, columns: &[Column], rows: &[usize]) -> Result<Vec<f64>, SheetError> {
    let mut numbers = numbers(sheet, option, &columns::names(columns), rows)?;
    for row in numbers.chunks_exact_mut(columns.len().max(1)) {
        row.iter_mut().zip(columns).for_each(|(x, column)| *x = column.scaled(*x));
    }
    Ok(numbers)
}

/// The classes of a column: whole numbers in their order, words in the alphabet's.
fn classes(sheet: &Sheet, column: usize) -> anyhow::Result<Vec<String>> {
    let mut found = std::collections::BTreeSet::new();
    for row in 0..sheet.len() {
        found.insert(sheet.text(row, column)?);
    }
    let (file, name) = (sheet.name(), &sheet.header()[column]);
    ensure!(found.len() > 1, "{file}: --label {name:?}: all rows are of one class, so that there is nothing to learn");
    ensure!(
        found.len() <= MOST_CLASSES,
        "{file}: --label {name:?}: {} classes are more than {MOST_CLASSES}; for numbers take --targets",
        found.len()
    );
    let whole: Option<Vec<i64>> = found.iter().map(|class| class.parse().ok()).collect();
    if whole.is_none() && found.iter().all(|class| class.parse::<f64>().is_ok()) {
        bail!(
            "{file}: --label {name:?}: holds numbers with fractions, which are no classes; for numbers take --targets"
        );
    }
    let mut classes: Vec<String> = found.into_iter().map(str::to_owned).collect();
    if whole.is_some() {
        classes.sort_by_key(|class| class.parse::<i64>().unwrap_or(0));
    }
    Ok(classes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Split;

    fn data(text: &str, args: &OwnArgs) -> anyhow::Result<(Table, Samples, Samples)> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t.csv");
        std::fs::write(&path, text).expect("written");
        csv(args, &Source { data: Some(path), ..Source::default() })
    }

    fn labelled(column: &str) -> OwnArgs {
        OwnArgs { label: Some(column.to_owned()), ..OwnArgs::default() }
    }

    /// Ten rows of which `x` counts, beside a word and a constant.
    fn text() -> String {
        let rows: Vec<String> = (0..10).map(|i| format!("{i},w{},7,{}\n", i % 2, 10 - i % 3)).collect();
        format!("x,word,same,class\n{}", rows.concat())
    }

    #[test]
    fn scales_are_those_of_the_training_rows() {
        let (table, train, test) = data(&text(), &labelled("class")).expect("a table");
        let (Samples::Rows(train), Samples::Rows(test)) = (&train, &test) else { panic!("rows") };
        assert_eq!((train.len(), test.len(), train.width), (8, 2, 2), "x and same; words are left out");
        let mean = train.inputs.iter().step_by(2).sum::<f64>() / 8.0;
        assert!(mean.abs() < 1e-12, "{mean}");
        assert_eq!(table.classes(), ["8", "9", "10"], "whole numbers in their order");
        let raw: f64 = train.inputs.iter().chain(&test.inputs).step_by(2).map(|&z| table.inputs[0].unscaled(z)).sum();
        assert!((raw - 45.0).abs() < 1e-12, "test rows are scaled by the same: {raw}");
        let (_, as_is, _) = data(&text(), &OwnArgs { raw: true, ..labelled("word") }).expect("a table");
        let Samples::Rows(train) = &as_is else { panic!("rows") };
        assert!(train.inputs.chunks(3).all(|row| row[1] == 7.0), "--raw takes them as they are");
    }

    #[test]
    fn what_cannot_be_learnt_is_said() {
        let refused = |args: &OwnArgs| format!("{:#}", data(&text(), args).expect_err("refused"));
        assert!(refused(&OwnArgs::default()).contains("--label COLUMN"), "nothing to predict");
        assert!(refused(&labelled("same")).contains("one class"), "one class");
        assert!(refused(&labelled("none")).contains("x, word, same, class"), "the columns are told");
        let targets = OwnArgs { targets: vec!["word".to_owned()], ..OwnArgs::default() };
        assert!(refused(&targets).contains("column \"word\": \"w"), "words are no numbers");
        let own = OwnArgs { inputs: vec!["class".to_owned()], ..labelled("class") };
        assert!(refused(&own).contains("is to be predicted"), "not from itself");
        for share in [0.0, 1.0, -0.5, f64::NAN] {
            assert!(
                refused(&OwnArgs { split: Some(Split::Share(share)), ..labelled("class") }).contains("--split"),
                "{share}"
            );
        }
    }
}
