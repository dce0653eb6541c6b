//! [`Drive`]: the controls of a solve, with their values at a time in each lane.

use std::sync::Arc;

use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::Lanes;
use crate::cpu::kernel::scalar::Scalar;
use crate::error::Result;
use crate::problem::{Control, Interpolation};

/// A control and its values.
#[derive(Debug)]
pub(crate) struct Signal<R> {
    control: Control,
    rows: usize,
    /// `[T][rows]`, of each trajectory or of all.
    values: Vec<R>,
    /// Second derivatives at the knots of a cubic spline, likewise.
    bends: Vec<R>,
    trajectories: usize,
}

/// The controls of a solve from time to time.
#[derive(Clone, Debug)]
pub(crate) struct Drive<R> {
    pub(crate) signals: Vec<Arc<Signal<R>>>,
    /// Number of the batch's first trajectory.
    pub(crate) first: u32,
    /// From start to end of the interval.
    pub(crate) span: f64,
    /// Tells one solve's controls from another's.
    pub(crate) solve: u64,
}

/// Whose the lanes are, and within which steps their times lie.
#[derive(Clone, Debug)]
pub(crate) struct Seats {
    trajectories: Lanes<u32>,
    middles: Option<Lanes<f64>>,
    /// The solve whose constant controls are in the rows of these trajectories.
    filled: Option<u64>,
}

impl Seats {
    pub(crate) const fn new() -> Self {
        Self { trajectories: [0; LANES], middles: None, filled: None }
    }

    /// Times that follow lie in these steps, at either end within them; without, at the start of what comes.
    pub(crate) fn take<R>(&mut self, trajectories: &Lanes<u32>, interval: Option<&Interval<R>>) {
        if self.trajectories != *trajectories {
            (self.trajectories, self.filled) = (*trajectories, None);
        }
        let middle = |of: &Interval<R>| std::array::from_fn(|l| 0.5 * (of.t0[l] + of.t1[l]));
        self.middles = interval.map(middle);
    }
}

impl<R: Scalar> Signal<R> {
    /// `values` are `[T][rows]` of all trajectories, or so many times that.
    pub(crate) fn new(control: &Control, rows: usize, values: &[R]) -> Self {
        let one = control.times.len() * rows;
        let mut signal = Self {
            control: control.clone(),
            rows,
            values: values.to_vec(),
            bends: Vec::new(),
            trajectories: values.len() / one,
        };
        if control.interpolation == Interpolation::Cubic {
            signal.bends = vec![R::ZERO; values.len()];
            for (bends, values) in signal.bends.chunks_exact_mut(one).zip(values.chunks_exact(one)) {
                for row in 0..rows {
                    let row_of = |knot: usize| values[knot * rows + row].to_f64();
                    for (knot, bend) in control.bends(row_of).into_iter().enumerate() {
                        bends[knot * rows + row] = R::from_f64(bend);
                    }
                }
            }
        }
        signal
    }

    pub(crate) fn name(&self) -> &str {
        &self.control.name
    }

    /// Checks that its values are those of a batch.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for another batch.
    pub(crate) fn check_batch(&self, batch: usize) -> Result<()> {
        self.control.check_batch(self.trajectories, batch)
    }

    pub(crate) fn bytes(&self) -> usize {
        (self.values.capacity() + self.bends.capacity()) * size_of::<R>()
    }

    /// Its rows at time `t`, on the side of `near`, of one trajectory.
    fn at(&self, t: f64, near: f64, trajectory: usize, out: &mut [R], lane: usize) {
        let (times, rows) = (&self.control.times, self.rows);
        let one = times.len() * rows;
        let first = trajectory.min(self.trajectories - 1) * one;
        let values = &self.values[first..first + one];
        let passed = times.partition_point(|knot| *knot <= near);
        let held = |knot: usize| values[knot * rows..][..rows].iter().copied();
        let mut put = |row: usize, value: R| out[row * LANES + lane] = value;
        if passed == 0 || passed == times.len() || self.control.interpolation == Interpolation::Hold {
            held(passed.max(1) - 1).enumerate().for_each(|(row, value)| put(row, value));
            return;
        }
        let (begin, end) = (times[passed - 1], times[passed]);
        let length = end - begin;
        let share = (t - begin) / length;
        let [b, a] = [share, 1.0 - share].map(R::from_f64);
        for (row, (from, to)) in held(passed - 1).zip(held(passed)).enumerate() {
            let line = a * from + b * to;
            if self.bends.is_empty() {
                put(row, line);
                continue;
            }
            // `(a^3 - a) m0 + (b^3 - b) m1`, times the length squared over 6
            let bends = &self.bends[first..first + one];
            let (m0, m1) = (bends[(passed - 1) * rows + row], bends[passed * rows + row]);
            let curve = (a * a * a - a) * m0 + (b * b * b - b) * m1;
            put(row, line + curve * R::from_f64(length * length / 6.0));
        }
    }
}

impl<R: Scalar> Drive<R> {
    /// Whether a signal's rows are there already: it is constant, and was filled in.
    pub(crate) fn is_there(&self, signal: usize, seats: &Seats) -> bool {
        seats.filled == Some(self.solve) && self.signals[signal].control.times.len() == 1
    }

    /// Says that all signals were filled in.
    pub(crate) const fn mark(&self, seats: &mut Seats) {
        seats.filled = Some(self.solve);
    }

    /// The rows of a signal at the lanes' times.
    pub(crate) fn fill(&self, signal: usize, t: &Lanes<R>, seats: &Seats, out: &mut [R]) {
        for (lane, t) in t.iter().enumerate() {
            let t = t.to_f64();
            // A time in the rounding of a knot is on the side of its step, or at a start of what comes after it.
            let near = match &seats.middles {
                Some(middles) => t + 1e-3 * (middles[lane] - t),
                None => t + 1e-6 * self.span + (2f64.powi(-22) * t.abs()).copysign(self.span),
            };
            let trajectory = seats.trajectories[lane].wrapping_sub(self.first) as usize;
            self.signals[signal].at(t, near, trajectory, out, lane);
        }
    }
}
