//! [`Shooting`]: series cut into segments, each solved from what was observed at its start.

use std::ops::RangeInclusive;

use super::batches::Batch;
use crate::error::{Error, Result};
use crate::math::Real;
use crate::method::Target;
use crate::problem::Times;

/// A series: states at times, some of which were not observed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Series<'a> {
    /// Rising.
    pub times: &'a [f64],
    /// `[times][D]`, NaN where nothing was observed.
    pub states: &'a [f64],
}

/// Multiple shooting (H. G. Bock, 1981): a series is cut into segments, which are solved side by side, each from the state that
/// was observed at its start.
///
/// A solve that starts once and has to hit the last observation has a loss with flat parts and narrow valleys: a model that
/// oscillates a little too slowly is out of phase soon, and does best when it stands still. Over a segment nothing goes out of
/// phase. The end of a segment and the start of the next one are the same observation; [`Shooting::continuity`] gives it more
/// weight, which is the continuity term of `multiple_shoot` in `DiffEqFlux`, where the starts are the data too.
///
/// A segment starts at a row that was observed whole, and ends at the first such row after [`Shooting::new`]'s intervals,
/// so that the next one can start there: no observation is lost but those before a series' first whole row.
///
/// ```
/// use fewsteps::{Cpu, Field, Loss, NeuralDe, Problem, Series, Shooting, SolverOptions, Trainer, TrainerConfig};
/// # fn main() -> fewsteps::Result<()> {
/// let times: Vec<f64> = (0..9).map(|i| 0.5 * f64::from(i)).collect();
/// let states: Vec<f64> = times.iter().map(|t| (-0.3 * t).exp()).collect();
/// let segments = Shooting::new(2)?.continuity(1.0)?.cut(&[Series { times: &times, states: &states }], 1)?;
/// assert_eq!(segments.len(), 4);
///
/// let field = Field::build(1, |f| f.parameters("rate", &[0.1]) * f.state())?;
/// let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), SolverOptions::default());
/// let mut trainer = Trainer::<f64>::new(&Cpu::new()?, TrainerConfig::new(model, Loss::Mse))?;
/// trainer.set_times(Some(segments.times()?))?;
/// let batch = segments.batch::<f64>();
/// trainer.step(&batch.as_batch())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shooting {
    intervals: usize,
    continuity: f64,
}

/// Where a segment lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Segment {
    /// Whose it is.
    pub series: usize,
    /// The index of the time that it starts at.
    pub first: usize,
    /// The index of its last time.
    pub last: usize,
    /// Whether the next one starts there.
    pub joined: bool,
}

/// Segments of series, in the order of series and time.
#[derive(Clone, Debug, PartialEq)]
pub struct Segments {
    list: Vec<Segment>,
    width: usize,
    /// `[S][D]`.
    starts: Vec<f64>,
    /// Of each segment its start and the times after it.
    times: Vec<Vec<f64>>,
    /// Of each segment `[times after its start][D]`, 0 where nothing was observed, and their weights.
    cells: Vec<[Vec<f64>; 2]>,
    /// The shortest interval between two times of a series.
    shortest: f64,
    skipped: usize,
    stretched: usize,
}

/// The numbers of segments as one batch.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SegmentBatch<R> {
    /// `[S][D]`: where they start.
    pub inputs: Vec<R>,
    /// `[slots][S][D]`; 0 where nothing was observed.
    pub states: Vec<R>,
    /// `[slots][S][D]`; 0 where nothing was observed.
    pub weights: Vec<R>,
}

impl Shooting {
    /// Segments of so many intervals between observations.
    ///
    /// # Errors
    /// [`Error::Argument`] for none.
    pub fn new(intervals: usize) -> Result<Self> {
        if intervals == 0 {
            return Err(Error::argument("Shooting::new", intervals, "a segment has one interval at least"));
        }
        Ok(Self { intervals, continuity: 0.0 })
    }

    /// Lets the last observation of a segment, at which the next one starts, weigh `1 + continuity` of any other; 0 unless
    /// told.
    ///
    /// # Errors
    /// [`Error::Argument`] for a weight that is negative or not finite.
    pub fn continuity(self, continuity: f64) -> Result<Self> {
        if !(continuity >= 0.0 && continuity.is_finite()) {
            let remedy = "give a finite weight that is not negative";
            return Err(Error::argument("Shooting::continuity", continuity, remedy));
        }
        Ok(Self { continuity, ..self })
    }

    /// Cuts series of `width` states.
    ///
    /// # Errors
    /// [`Error::Shape`] for states that are not `[times][width]`; [`Error::Argument`] naming the series for times that do not
    /// rise and states that are infinite, and where no segment comes of any: a row that was observed whole, with
    /// something after it.
    pub fn cut(&self, series: &[Series<'_>], width: usize) -> Result<Segments> {
        let (list, starts, times, cells) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut all = Segments { list, width, starts, times, cells, shortest: f64::INFINITY, skipped: 0, stretched: 0 };
        for (index, one) in series.iter().enumerate() {
            check(index, one, width)?;
            let steps = one.times.windows(2).map(|pair| pair[1] - pair[0]);
            all.shortest = steps.fold(all.shortest, f64::min);
            self.cut_one(index, one, &mut all);
        }
        if all.list.is_empty() {
            let remedy =
                "a segment starts where all states were observed and has an observation after that: there is none";
            return Err(Error::argument("Shooting::cut", format!("{} series", series.len()), remedy));
        }
        Ok(all)
    }

    fn cut_one(&self, index: usize, one: &Series<'_>, all: &mut Segments) {
        let (rows, width) = (one.times.len(), all.width);
        let row = |t: usize| &one.states[t * width..][..width];
        let whole = |t: &usize| row(*t).iter().all(|x| !x.is_nan());
        let Some(mut first) = (0..rows).find(whole) else {
            all.skipped += rows;
            return;
        };
        all.skipped += first;
        while first + 1 < rows {
            let end = (first.saturating_add(self.intervals)..rows).find(whole);
            let last = end.unwrap_or(rows - 1);
            let joined = end.is_some() && last + 1 < rows;
            let after = first + 1..=last;
            let seen = after.clone().any(|t| row(t).iter().any(|x| !x.is_nan()));
            if seen {
                all.list.push(Segment { series: index, first, last, joined });
                all.stretched += usize::from(end.is_some() && last - first > self.intervals);
                all.starts.extend(row(first));
                all.times.push(one.times[first..=last].to_vec());
                all.cells.push(self.cells(after, last, joined, row));
            }
            first = last;
        }
    }

    /// States and weights at these times.
    fn cells<'a>(
        &self,
        after: RangeInclusive<usize>,
        last: usize,
        joined: bool,
        row: impl Fn(usize) -> &'a [f64],
    ) -> [Vec<f64>; 2] {
        let [mut states, mut weights] = [Vec::new(), Vec::new()];
        for t in after {
            let weight = if joined && t == last { 1.0 + self.continuity } else { 1.0 };
            for x in row(t) {
                let seen = !x.is_nan();
                states.push(if seen { *x } else { 0.0 });
                weights.push(if seen { weight } else { 0.0 });
            }
        }
        [states, weights]
    }
}

/// Checks a series' shape and numbers.
fn check(index: usize, one: &Series<'_>, width: usize) -> Result<()> {
    let (times, states) = (one.times, one.states);
    Error::check_len("Series::states", states.len(), times.len() * width, || format!("[{}][{width}]", times.len()))?;
    let rises = |pair: &[f64]| pair[1] > pair[0];
    if let Some(t) = times.iter().find(|t| !t.is_finite()) {
        return Err(Error::argument("Series::times", format!("series {index}: {t}"), "give finite times"));
    }
    if let Some(pair) = times.windows(2).find(|pair| !rises(pair)) {
        let remedy = "order a series' times, each of which comes once";
        return Err(Error::argument("Series::times", format!("series {index}: {} after {}", pair[1], pair[0]), remedy));
    }
    match states.iter().find(|x| x.is_infinite()) {
        None => Ok(()),
        Some(x) => {
            let remedy = "what was observed is finite, what was not is NaN";
            Err(Error::argument("Series::states", format!("series {index}: {x}"), remedy))
        }
    }
}

impl Segments {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none, which never is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Where they lie.
    #[must_use]
    pub fn list(&self) -> &[Segment] {
        &self.list
    }

    /// Rows before the first one of their series that was observed whole: they are in no segment.
    #[must_use]
    pub const fn skipped(&self) -> usize {
        self.skipped
    }

    /// Segments with more intervals than was asked for, because no row was observed whole at once.
    #[must_use]
    pub const fn stretched(&self) -> usize {
        self.stretched
    }

    /// The interval of each and the times after its start, for [`Trainer::set_times`](crate::Trainer::set_times).
    ///
    /// # Errors
    /// As [`Times::within`].
    pub fn times(&self) -> Result<Times> {
        let spans: Vec<[f64; 2]> = self.times.iter().map(|times| [times[0], times[times.len() - 1]]).collect();
        let saved: Vec<&[f64]> = self.times.iter().map(|times| &times[1..]).collect();
        Times::within(&spans, &saved)
    }

    /// All segments as a batch, for [`Segments::times`].
    #[must_use]
    pub fn batch<R: Real>(&self) -> SegmentBatch<R> {
        let slots = self.times.iter().map(|times| times.len() - 1).max().unwrap_or(0);
        self.fill(slots, |_, slot| slot)
    }

    /// The times of all of them counted from their starts, rising: at these, from 0 on, a field that does not see the time can
    /// solve them as one batch with shared times, on any engine. Times that rounding alone parts are one; a millionth of the
    /// shortest interval is taken for that.
    #[must_use]
    pub fn grid(&self) -> Vec<f64> {
        let mut grid: Vec<f64> = self.times.iter().flat_map(|times| times[1..].iter().map(|t| t - times[0])).collect();
        grid.sort_by(f64::total_cmp);
        let least = 1e-6 * self.shortest;
        grid.dedup_by(|later, kept| *later - *kept <= least);
        grid
    }

    /// All segments as a batch, at the times of [`Segments::grid`]: what of them is not a segment's own has no weight.
    #[must_use]
    pub fn batch_on_grid<R: Real>(&self) -> SegmentBatch<R> {
        let grid = self.grid();
        self.fill(grid.len(), |segment, slot| {
            let times = &self.times[segment];
            // The last that is not later: the grid has kept the first of those that are one.
            let t = times[slot + 1] - times[0];
            grid.partition_point(|kept| *kept <= t) - 1
        })
    }

    /// The batch of so many slots, of which `place` says which is the one of a segment's own.
    fn fill<R: Real>(&self, slots: usize, place: impl Fn(usize, usize) -> usize) -> SegmentBatch<R> {
        let (count, width) = (self.list.len(), self.width);
        let [mut states, mut weights] = [vec![R::ZERO; slots * count * width], vec![R::ZERO; slots * count * width]];
        for (segment, cells) in self.cells.iter().enumerate() {
            for (to, from) in [&mut states, &mut weights].into_iter().zip(cells) {
                for (slot, row) in from.chunks_exact(width).enumerate() {
                    let at = (place(segment, slot) * count + segment) * width;
                    to[at..][..width].iter_mut().zip(row).for_each(|(to, from)| *to = R::from_f64(*from));
                }
            }
        }
        SegmentBatch { inputs: self.starts.iter().map(|x| R::from_f64(*x)).collect(), states, weights }
    }
}

impl<R> SegmentBatch<R> {
    /// As a training step takes it.
    #[must_use]
    pub fn as_batch(&self) -> Batch<'_, R> {
        Batch { inputs: &self.inputs, target: Target::Observed { states: &self.states, weights: &self.weights } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f64 = f64::NAN;

    fn cut(intervals: usize, continuity: f64, series: &[(&[f64], &[f64])], width: usize) -> Result<Segments> {
        let series: Vec<Series<'_>> = series.iter().map(|&(times, states)| Series { times, states }).collect();
        Shooting::new(intervals)?.continuity(continuity)?.cut(&series, width)
    }

    fn places(segments: &Segments) -> Vec<[usize; 3]> {
        segments.list().iter().map(|one| [one.series, one.first, one.last]).collect()
    }

    #[test]
    fn segments_meet_at_the_observation_that_they_share() {
        let times = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let states = [10.0, 11.0, 12.0, 13.0, 14.0, 15.0];
        let segments = cut(2, 3.0, &[(&times, &states)], 1).expect("segments");
        assert_eq!(places(&segments), [[0, 0, 2], [0, 2, 4], [0, 4, 5]]);
        assert_eq!(segments.list().iter().map(|one| one.joined).collect::<Vec<_>>(), [true, true, false]);
        let batch = segments.batch::<f64>();
        assert_eq!(batch.inputs, [10.0, 12.0, 14.0]);
        assert_eq!(batch.states, [11.0, 13.0, 15.0, 12.0, 14.0, 0.0], "[slots][S][D]");
        assert_eq!(
            batch.weights,
            [1.0, 1.0, 1.0, 4.0, 4.0, 0.0],
            "the shared ones weigh more, and the last slot is not all's"
        );
        let own = segments.times().expect("times");
        assert_eq!((own.span(1), own.saved(1), own.saved(2)), ([2.0, 4.0], &[3.0, 4.0][..], &[5.0][..]));
        assert_eq!((segments.grid(), segments.batch_on_grid::<f64>()), (vec![1.0, 2.0], batch), "steps are equal");
        let exact = cut(5, 3.0, &[(&times, &states)], 1).expect("one");
        assert!(exact.len() == 1 && !exact.list()[0].joined, "nothing follows its end");
        assert_eq!(cut(99, 0.0, &[(&times, &states)], 1).expect("one").len(), 1, "no longer than the series");
    }

    #[test]
    fn a_segment_goes_on_to_the_next_whole_row() {
        let times = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let states = [NAN, 0.0, 1.0, 0.1, NAN, 0.2, 3.0, NAN, 4.0, 0.4, 5.0, 0.5, NAN, NAN];
        let segments = cut(1, 1.0, &[(&times, &states), (&times[..2], &[NAN, 1.0, 2.0, NAN])], 2).expect("segments");
        assert_eq!(
            places(&segments),
            [[0, 1, 4], [0, 4, 5]],
            "the last row has nothing, and the other series no start"
        );
        assert_eq!((segments.skipped(), segments.stretched()), (1 + 2, 1));
        let batch = segments.batch::<f64>();
        assert_eq!(batch.states, [0.0, 0.2, 5.0, 0.5, 3.0, 0.0, 0.0, 0.0, 4.0, 0.4, 0.0, 0.0]);
        assert_eq!(batch.weights, [0.0, 1.0, 2.0, 2.0, 1.0, 0.0, 0.0, 0.0, 2.0, 2.0, 0.0, 0.0]);
    }

    #[test]
    fn a_grid_has_each_time_once_whatever_rounding_makes_of_it() {
        let even: Vec<f64> = (0..50).map(|i| 1900.0 + 0.1 * f64::from(i)).collect();
        let states = vec![1.0; 50];
        let segments = cut(7, 0.0, &[(&even, &states)], 1).expect("segments");
        assert_eq!(segments.grid().len(), 7, "{:?}", segments.grid());
        assert_eq!(segments.batch_on_grid::<f64>(), segments.batch::<f64>(), "so that either is the same batch");
        let uneven = [0.0, 0.5, 2.0, 2.25, 3.0];
        let segments = cut(2, 0.0, &[(&uneven, &[0.0, 1.0, 2.0, 3.0, 4.0])], 1).expect("segments");
        assert_eq!(segments.grid(), [0.25, 0.5, 1.0, 2.0]);
        let batch = segments.batch_on_grid::<f64>();
        assert_eq!(batch.states, [0.0, 3.0, 1.0, 0.0, 0.0, 4.0, 2.0, 0.0]);
        assert_eq!(batch.weights, [0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn what_cannot_be_cut_is_refused_by_name() {
        let said = |error: Result<Segments>| error.expect_err("refused").to_string();
        let times = [0.0, 1.0, 2.0];
        assert!(said(cut(0, 0.0, &[], 1)).contains("Shooting::new = 0"));
        for wrong in [-1.0, NAN, f64::INFINITY] {
            assert!(said(cut(1, wrong, &[], 1)).contains("Shooting::continuity"), "{wrong}");
        }
        assert!(said(cut(1, 0.0, &[(&times, &[0.0; 4])], 2)).contains("Series::states"), "of another shape");
        assert!(said(cut(1, 0.0, &[(&[0.0, 0.0, 1.0], &[0.0; 3])], 1)).contains("series 0: 0 after 0"));
        assert!(said(cut(1, 0.0, &[(&[0.0, NAN, 1.0], &[0.0; 3])], 1)).contains("finite times"));
        assert!(said(cut(1, 0.0, &[(&times, &[0.0, f64::INFINITY, 0.0])], 1)).contains("Series::states"));
        assert!(said(cut(1, 0.0, &[(&times, &[NAN, NAN, 1.0])], 1)).contains("there is none"), "no start with an end");
    }
}
