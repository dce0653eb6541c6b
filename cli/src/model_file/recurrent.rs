//! A recurrent encoder in the file of a model: its cell, and how wide that is.

use std::ops::Range;

use fewsteps::{LatentGru, Reading, Recurrent};
use serde::Deserialize;

use crate::task::TaskName;

/// The cells that have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CellName {
    Gru,
    LatentGru,
    LatentGruPublished,
}

/// A cell with its widths: hidden numbers, of which the latent ODE's has two halves of so many, and the hidden units of its
/// networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) name: CellName,
    pub(super) hidden: usize,
    pub(super) inner: usize,
}

/// A series as an encoder is given it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observed {
    steps: usize,
    width: usize,
    task: TaskName,
}

impl CellName {
    pub(super) const ALL: [Self; 3] = [Self::Gru, Self::LatentGru, Self::LatentGruPublished];

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Gru => "gru",
            Self::LatentGru => "latent-gru",
            Self::LatentGruPublished => "latent-gru-published",
        }
    }

    /// Whether it has networks inside.
    pub(super) const fn has_inner(self) -> bool {
        !matches!(self, Self::Gru)
    }
}

impl Observed {
    /// The series that an encoder of a task reads.
    pub(super) const fn of(encoder: &Recurrent, task: TaskName) -> Self {
        Self { steps: encoder.steps(), width: encoder.width(), task }
    }

    /// Which numbers of an observation mark what was observed, and what is read first. Vowels have one mark behind the values;
    /// other series have as many as values, and then a time.
    fn marks(self) -> (Range<usize>, Reading) {
        let values = self.width / 2;
        match self.task {
            TaskName::JapaneseVowels => (self.width - 1..self.width, Reading::Forwards),
            _ => (values..2 * values, Reading::Backwards),
        }
    }

    /// The encoder with a cell, which gives its hidden state. A latent ODE's reads values, as many marks, and a time.
    pub(super) fn encoder(self, cell: Cell) -> fewsteps::Result<Recurrent> {
        let Self { steps, width, .. } = self;
        let latent = |form| Recurrent::latent_gru(steps, width / 2, [cell.hidden, cell.inner], form);
        match cell.name {
            CellName::Gru => {
                let (marks, reading) = self.marks();
                Ok(Recurrent::gru(steps, width, cell.hidden)?.masked(marks)?.reading(reading))
            }
            CellName::LatentGru => latent(LatentGru::Correct),
            CellName::LatentGruPublished => latent(LatentGru::Published),
        }
    }

    /// Whether a latent ODE's cell can read it.
    pub(super) const fn has_times(self) -> bool {
        !matches!(self.task, TaskName::JapaneseVowels)
    }

    /// The cell of an encoder, if it is one that has a name.
    pub(super) fn cell(self, encoder: &Recurrent) -> Option<Cell> {
        CellName::ALL.into_iter().filter(|name| self.has_times() || !name.has_inner()).find_map(|name| {
            let hidden = encoder.hidden() / (1 + usize::from(name.has_inner()));
            let of = |inner| self.encoder(Cell { name, hidden, inner }).ok();
            let count = |encoder: &Recurrent| encoder.cell().parameter_count();
            // Parameters are a number more for each hidden unit.
            let (one, two) = (count(&of(1)?), count(&of(2)?));
            let inner = if two > one { 1 + count(encoder).checked_sub(one)? / (two - one) } else { 1 };
            let same = of(inner)?;
            let same = match encoder.output_map() {
                Some(map) => same.out(map.clone()),
                None => same,
            };
            (same == *encoder).then_some(Cell { name, hidden, inner })
        })
    }
}

#[cfg(test)]
mod tests {
    use fewsteps::Mlp;

    use super::*;

    #[test]
    fn cells_are_known_by_what_they_compute() {
        let records = Observed { steps: 5, width: 7, task: TaskName::Physionet };
        let vowels = Observed { task: TaskName::JapaneseVowels, ..records };
        for (name, inner) in CellName::ALL.into_iter().zip([1, 9, 4]) {
            let cell = Cell { name, hidden: 6, inner };
            let encoder = records.encoder(cell).expect("a cell");
            assert_eq!(records.cell(&encoder), Some(cell));
            assert_eq!(records.cell(&encoder.clone().out(Mlp::new([encoder.hidden(), 2]))), Some(cell));
            assert_eq!(records.cell(&encoder.clone().start(vec![0.5; encoder.hidden()])), None, "another start");
            assert_eq!(vowels.cell(&encoder), None, "other marks");
            assert_eq!(encoder.width(), 7);
        }
        let gru = Cell { name: CellName::Gru, hidden: 4, inner: 1 };
        assert_eq!(vowels.encoder(gru).ok().and_then(|encoder| vowels.cell(&encoder)), Some(gru));
    }
}
