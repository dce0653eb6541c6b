//! [`Times`]: an interval and saved times of each trajectory's own.

use std::sync::Arc;

use super::settled;
use crate::error::{Error, Result};

/// An interval and saved times of each trajectory's own, for series that were observed at times of their own: it takes the
/// place of the interval of a [`Problem`](crate::Problem), and of [`SaveAt`](crate::SaveAt).
///
/// Rows may have any numbers of times, and a time may come twice. A row whose interval is empty rests: it is done from the
/// start, and its saved states are its initial one. Rows may go backwards, beside others that go forwards.
///
/// Saved states are `[slots][B][D]` with as many slots as the longest row has times. Where a row has fewer, states are NaN, and
/// cotangents and targets are not read.
///
/// Clones share their numbers.
///
/// ```
/// use fewsteps::{Cpu, Field, Layout, Problem, Solver, SolverOptions, Times, Tolerances};
/// # fn main() -> fewsteps::Result<()> {
/// let field = Field::build(1, |f| -f.state())?;
/// let options = SolverOptions::default().layout(Layout::Ensemble).tolerances(Tolerances::both(1e-9));
/// let mut solver = Solver::<f64>::new(&Cpu::new()?, &Problem::ode(field, 0.0, 1.0), &options)?;
/// solver.set_times(Some(Times::series(&[vec![0.0, 0.5, 2.0], vec![3.0, 3.5]])?))?;
/// let ys = solver.solve(&[], &[1.0, 2.0])?.check()?.ys; // [3][2][1]
/// assert!((ys[4] - (-2.0_f64).exp()).abs() < 1e-8, "the first row at 2");
/// assert!((ys[3] - 2.0 * (-0.5_f64).exp()).abs() < 1e-8, "the second one at 3.5");
/// assert!(ys[5].is_nan(), "it has no third time");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Times(Arc<Table>);

/// Rows one after the other.
#[derive(Debug, PartialEq)]
struct Table {
    spans: Vec<[f64; 2]>,
    /// Where each row's times begin, and where the last one's end.
    offsets: Vec<usize>,
    saved: Vec<f64>,
    slots: usize,
}

/// How many times an interval's length its ends may be away from 0: time still has 2^20 numbers within it.
const FARTHEST: f64 = (1u64 << 32) as f64;

impl Times {
    /// Each row's times as they were observed, in the order of integration; its interval goes from the first to the last.
    ///
    /// # Errors
    /// As [`Times::within`].
    pub fn series<T: AsRef<[f64]>>(rows: &[T]) -> Result<Self> {
        let mut spans = Vec::with_capacity(rows.len());
        for (row, times) in rows.iter().enumerate() {
            let times = times.as_ref();
            let ends = times.first().zip(times.last()).ok_or_else(|| no_times(row))?;
            spans.push([*ends.0, *ends.1]);
        }
        Self::within(&spans, rows)
    }

    /// Each row's interval, saved at its end alone.
    ///
    /// # Errors
    /// As [`Times::within`].
    pub fn ends(spans: &[[f64; 2]]) -> Result<Self> {
        let offsets = (0..=spans.len()).collect();
        Self::ragged(spans.to_vec(), offsets, spans.iter().map(|span| span[1]).collect())
    }

    /// Each row's interval `[t0, t1]`, and the times in it at which its state is saved, in the order of integration.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the row: for times that are none, not finite, out of order or outside its interval, and an
    /// interval too short for times so far from 0; and for no rows, or other ones than there are intervals.
    pub fn within<T: AsRef<[f64]>>(spans: &[[f64; 2]], rows: &[T]) -> Result<Self> {
        if rows.len() != spans.len() {
            let remedy = format!("there are {} intervals: give each row one", spans.len());
            return Err(Error::argument("Times", format!("{} rows", rows.len()), remedy));
        }
        let mut offsets = vec![0];
        let mut saved = Vec::with_capacity(rows.iter().map(|row| row.as_ref().len()).sum());
        for row in rows {
            saved.extend_from_slice(row.as_ref());
            offsets.push(saved.len());
        }
        Self::ragged(spans.to_vec(), offsets, saved)
    }

    /// The same with all rows' times one after the other in `saved`: those of row `r` are
    /// `saved[offsets[r]..offsets[r + 1]]`.
    ///
    /// # Errors
    /// As [`Times::within`], and [`Error::Argument`] for offsets that are no such list.
    pub fn ragged(spans: Vec<[f64; 2]>, offsets: Vec<usize>, mut saved: Vec<f64>) -> Result<Self> {
        if spans.is_empty() {
            return Err(Error::argument("Times", "0 rows", "give the interval of one trajectory at least"));
        }
        let ascend = offsets.is_sorted() && offsets.first() == Some(&0) && offsets.last() == Some(&saved.len());
        if !ascend || offsets.len() != spans.len() + 1 {
            let remedy = format!(
                "{} rows have {} offsets that ascend from 0 to the number of times, {}",
                spans.len(),
                spans.len() + 1,
                saved.len()
            );
            return Err(Error::argument("Times::ragged", format!("{} offsets", offsets.len()), remedy));
        }
        let mut slots = 0;
        for (row, (span, ends)) in spans.iter().zip(offsets.windows(2)).enumerate() {
            let times = &mut saved[ends[0]..ends[1]];
            check_span(row, *span)?;
            settle(row, *span, times)?;
            slots = slots.max(times.len());
        }
        Ok(Self(Arc::new(Table { spans, offsets, saved, slots })))
    }

    /// Some of the rows, for the trajectories of a mini-batch; see [`Batches`](crate::Batches).
    ///
    /// # Errors
    /// [`Error::Argument`] for no rows, or one that there is not.
    pub fn select(&self, rows: &[usize]) -> Result<Self> {
        if let Some(row) = rows.iter().find(|row| **row >= self.rows()) {
            return Err(Error::argument("Times::select", format!("row {row}"), format!("there are {}", self.rows())));
        }
        let spans: Vec<[f64; 2]> = rows.iter().map(|row| self.span(*row)).collect();
        let times: Vec<&[f64]> = rows.iter().map(|row| self.saved(*row)).collect();
        Self::within(&spans, &times)
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.0.spans.len()
    }

    /// Number of times of the longest row.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.0.slots
    }

    /// Number of times of all rows together.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.saved.len()
    }

    /// The interval of a row.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn span(&self, row: usize) -> [f64; 2] {
        self.0.spans[row]
    }

    /// The saved times of a row.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn saved(&self, row: usize) -> &[f64] {
        &self.0.saved[self.0.offsets[row]..self.0.offsets[row + 1]]
    }

    /// Whether a row has a time for a slot.
    pub(crate) fn has(&self, row: usize, slot: usize) -> bool {
        slot < self.0.offsets[row + 1] - self.0.offsets[row]
    }

    /// The intervals of all rows.
    pub(crate) fn spans(&self) -> impl Iterator<Item = [f64; 2]> + '_ {
        self.0.spans.iter().copied()
    }

    /// Whether every row's interval is empty.
    pub(crate) fn stand_still(&self) -> bool {
        self.spans().all(|[t0, t1]| t0 == t1)
    }

    /// The longest of the intervals, as a length.
    pub(crate) fn longest(&self) -> f64 {
        self.spans().map(|[t0, t1]| (t1 - t0).abs()).fold(0.0, f64::max)
    }

    /// The shortest of the intervals that are not empty, as a length; infinite where all are.
    pub(crate) fn shortest(&self) -> f64 {
        self.spans().map(|[t0, t1]| (t1 - t0).abs()).filter(|span| *span > 0.0).fold(f64::INFINITY, f64::min)
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        let Table { spans, offsets, saved, .. } = &*self.0;
        size_of_val(&spans[..]) + size_of_val(&offsets[..]) + size_of_val(&saved[..])
    }

    /// Checks that it is for a batch.
    ///
    /// # Errors
    /// [`Error::Argument`] for another number of rows.
    pub(crate) fn check_batch(&self, batch: usize) -> Result<()> {
        if self.rows() == batch {
            return Ok(());
        }
        let remedy = format!("the batch has {batch} trajectories: set the times of these, or set_times(None)");
        Err(Error::argument("Times", format!("{} rows", self.rows()), remedy))
    }
}

fn no_times(row: usize) -> Error {
    Error::argument("Times", format!("row {row}: []"), "give each row one time at least, or leave it out of the batch")
}

/// Checks a row's interval.
fn check_span(row: usize, [t0, t1]: [f64; 2]) -> Result<()> {
    let refuse = |remedy| Err(Error::argument("Times", format!("row {row}: [{t0}, {t1}]"), remedy));
    if !(t0.is_finite() && t1.is_finite() && (t1 - t0).is_finite()) {
        return refuse("an interval has finite ends and a finite length");
    }
    if t0 != t1 && t0.abs().max(t1.abs()) > (t1 - t0).abs() * FARTHEST {
        return refuse("the interval is too short for times so far from 0: measure time from its start");
    }
    Ok(())
}

/// Checks a row's times, and moves those to an end of the interval that rounding alone parts from it.
fn settle(row: usize, [t0, t1]: [f64; 2], times: &mut [f64]) -> Result<()> {
    if times.is_empty() {
        return Err(no_times(row));
    }
    let (low, high) = (t0.min(t1), t0.max(t1));
    let mut last = t0;
    for (i, time) in times.iter_mut().enumerate() {
        let refuse = |remedy: String| Err(Error::argument("Times", format!("row {row}: time {i} is {time}"), remedy));
        let t = settled(*time, [t0, t1]);
        if !(low..=high).contains(&t) {
            return refuse(format!("a row's times lie in its interval, [{low}, {high}]"));
        }
        if if t0 <= t1 { t < last } else { t > last } {
            return refuse(format!("it comes before {last}: order a row's times in the direction of integration"));
        }
        (*time, last) = (t, t);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_what_they_were_given_as() {
        let times = Times::series(&[vec![0.0, 0.5, 0.5, 2.0], vec![7.0], vec![1.0, -1.0]]).expect("series");
        assert_eq!((times.rows(), times.slots(), times.count()), (3, 4, 7));
        assert_eq!([0, 1, 2].map(|row| times.span(row)), [[0.0, 2.0], [7.0, 7.0], [1.0, -1.0]]);
        assert_eq!(times.saved(0), [0.0, 0.5, 0.5, 2.0]);
        assert!(times.has(1, 0) && !times.has(1, 1) && times.has(2, 1));
        let two = times.select(&[2, 0]).expect("rows");
        assert_eq!((two.span(0), two.saved(1)), ([1.0, -1.0], times.saved(0)));
        assert_eq!(two.longest(), 2.0);
        assert!(!two.stand_still() && times.select(&[1, 1]).expect("rows").stand_still());
        let ends = Times::ends(&[[0.0, 3.0], [2.0, 2.0]]).expect("intervals");
        assert_eq!((ends.saved(0), ends.saved(1), ends.slots()), (&[3.0][..], &[2.0][..], 1));
        let tenths = Times::within(&[[0.0, 0.3]], &[[0.1 + 0.2]]).expect("rounding is no reason");
        assert_eq!(tenths.saved(0), [0.3]);
    }

    #[test]
    fn what_is_no_table_of_times_names_its_row() {
        let fine = [0.0, 1.0];
        for (spans, rows, said) in [
            ([fine, [0.0, f64::NAN]], [vec![0.5], vec![0.5]], "row 1: [0, NaN]: an interval has finite ends"),
            ([fine, [-1.5e308, 1.5e308]], [vec![0.5], vec![0.5]], "row 1: [-1500"),
            ([[1e10, 1e10 + 1.0], fine], [vec![1e10], vec![0.5]], "row 0: [10000000000, 10000000001]: the interval is"),
            ([fine, fine], [vec![0.5], vec![]], "row 1: []: give each row one time"),
            (
                [fine, fine],
                [vec![0.2, 1.5], vec![0.5]],
                "row 0: time 1 is 1.5: a row's times lie in its interval, [0, 1]",
            ),
            ([fine, fine], [vec![0.2], vec![0.5, f64::NAN]], "row 1: time 1 is NaN"),
            ([fine, fine], [vec![0.2], vec![0.5, 0.4]], "row 1: time 1 is 0.4: it comes before 0.5"),
            ([fine, [1.0, 0.0]], [vec![0.2], vec![0.4, 0.5]], "row 1: time 1 is 0.5: it comes before 0.4"),
            ([fine, [2.0, 2.0]], [vec![0.2], vec![2.0, 2.1]], "row 1: time 1 is 2.1"),
        ] {
            let error = Times::within(&spans, &rows).expect_err(said).to_string();
            assert!(error.starts_with("Times = ") && error.contains(said), "{error}, not {said}");
        }
        let errors = [
            Times::within(&[fine], &[[0.5], [0.5]]),
            Times::series::<Vec<f64>>(&[]),
            Times::series(&[vec![0.5], vec![]]),
            Times::ragged(vec![fine], vec![0, 2], vec![0.5]),
            Times::ragged(vec![fine, fine], vec![0, 2, 1], vec![0.5]),
            Times::ragged(vec![fine], vec![1, 1], vec![0.5]),
            Times::ragged(vec![fine], Vec::new(), vec![0.5]),
            Times::ends(&[fine]).and_then(|times| times.select(&[1])),
            Times::ends(&[fine]).and_then(|times| times.select(&[])),
        ];
        for error in errors {
            assert!(matches!(error, Err(Error::Argument { .. })), "{error:?}");
        }
    }
}
