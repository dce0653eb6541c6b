//! [`Drive`]: the controls of a solve, with their values at a time in each lane, and the way back to their knots.

use std::sync::Arc;

use super::knots::{ControlBars, Knots, Part};
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::Lanes;
use crate::cpu::kernel::scalar::Scalar;
use crate::error::Result;
use crate::math::Real;
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

/// Whose the lanes are, and to which steps their times belong.
#[derive(Clone, Debug)]
pub(crate) struct Seats {
    trajectories: Lanes<u32>,
    steps: Option<[Lanes<f64>; 2]>,
    /// The times of the last evaluation.
    times: Lanes<f64>,
    /// The solve whose constant controls are in the rows of these trajectories.
    filled: Option<u64>,
}

impl Seats {
    pub(crate) const fn new() -> Self {
        Self { trajectories: [0; LANES], steps: None, times: [0.0; LANES], filled: None }
    }

    /// Times that follow belong to these steps, at either end and beyond it to what is within; without, at the start of what comes.
    pub(crate) fn take<R>(&mut self, trajectories: &Lanes<u32>, interval: Option<&Interval<R>>) {
        if self.trajectories != *trajectories {
            (self.trajectories, self.filled) = (*trajectories, None);
        }
        self.steps = interval.map(|interval| [interval.t0, interval.t1]);
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

    /// Numbers in a trajectory's values.
    pub(crate) fn one(&self) -> usize {
        self.control.times.len() * self.rows
    }

    /// Whether its values' gradient is asked for.
    pub(crate) const fn is_asked(&self) -> bool {
        self.control.gradient
    }

    /// Whether its values are the same for all trajectories.
    pub(crate) const fn is_shared(&self) -> bool {
        self.trajectories == 1
    }

    /// Where time `t`, on the side of `near`, is between the knots.
    fn between(&self, t: f64, near: f64) -> Between<R> {
        let times = &self.control.times;
        let passed = times.partition_point(|knot| *knot <= near);
        if passed == 0 || passed == times.len() || self.control.interpolation == Interpolation::Hold {
            return Between::At(passed.max(1) - 1);
        }
        let (begin, end) = (times[passed - 1], times[passed]);
        let length = end - begin;
        let share = (t - begin) / length;
        let [b, a] = [share, 1.0 - share].map(R::from_f64);
        let sixth = R::from_f64(length * length / 6.0);
        Between::Knots { from: passed - 1, line: [a, b], curve: [a * a * a - a, b * b * b - b], sixth }
    }

    /// Its rows at time `t`, on the side of `near`, of one trajectory.
    fn at(&self, t: f64, near: f64, trajectory: usize, out: &mut [R], lane: usize) {
        let (rows, one) = (self.rows, self.one());
        let first = trajectory.min(self.trajectories - 1) * one;
        let values = &self.values[first..first + one];
        let held = |knot: usize| values[knot * rows..][..rows].iter().copied();
        let mut put = |row: usize, value: R| out[row * LANES + lane] = value;
        let (from, [a, b], [p, q], sixth) = match self.between(t, near) {
            Between::At(knot) => return held(knot).enumerate().for_each(|(row, value)| put(row, value)),
            Between::Knots { from, line, curve, sixth } => (from, line, curve, sixth),
        };
        for (row, (start, end)) in held(from).zip(held(from + 1)).enumerate() {
            let line = a * start + b * end;
            if self.bends.is_empty() {
                put(row, line);
                continue;
            }
            let bends = &self.bends[first..first + one];
            let (m0, m1) = (bends[from * rows + row], bends[(from + 1) * rows + row]);
            let curve = p * m0 + q * m1;
            put(row, line + curve * sixth);
        }
    }

    /// Takes the cotangent of its rows at a time to those of the knots there, and of their bends.
    fn add_vjp(&self, t: f64, near: f64, bar: &[R], knots: &mut Part<R>, lane: usize) {
        let (rows, between) = (self.rows, self.between(t, near));
        let place = |knot: usize, row: usize| (knot * rows + row) * LANES + lane;
        for (row, bar) in bar[lane..].iter().step_by(LANES).enumerate() {
            match between {
                Between::At(knot) => knots.values[place(knot, row)] += *bar,
                Between::Knots { from, line, curve, sixth } => {
                    for (side, (line, curve)) in line.into_iter().zip(curve).enumerate() {
                        knots.values[place(from + side, row)] += line * *bar;
                        if !self.bends.is_empty() {
                            knots.bends[place(from + side, row)] += curve * sixth * *bar;
                        }
                    }
                }
            }
        }
    }

    /// Adds the cotangents of the bends to those of the values that they are made of.
    fn straighten(&self, knots: &mut Part<R>) {
        if self.bends.is_empty() {
            return;
        }
        let Part { values, bends } = knots;
        for column in 0..self.rows * LANES {
            let place = |knot: usize| knot * self.rows * LANES + column;
            let bend_bar = |knot: usize| bends[place(knot)].to_f64();
            self.control.add_bends_vjp(bend_bar, |knot, bar| values[place(knot)] += R::from_f64(bar));
        }
    }
}

/// Where a time is between a control's knots.
#[derive(Clone, Copy, Debug)]
enum Between<R> {
    /// The value is that of a knot.
    At(usize),
    /// It is `line . values`, and of a spline `sixth (curve . bends)` more, of knot `from` and the next one: with the shares
    /// `a`, `b` of the interval after and before the time, `line = [a, b]`, `curve = [a^3 - a, b^3 - b]`, and `sixth` is the
    /// interval's square over 6.
    Knots { from: usize, line: [R; 2], curve: [R; 2], sixth: R },
}

impl<R: Scalar> Drive<R> {
    /// Whether a signal's rows are there already: it is constant, and was filled in.
    pub(crate) fn is_there(&self, signal: usize, seats: &Seats) -> bool {
        seats.filled == Some(self.solve) && self.signals[signal].control.times.len() == 1
    }

    /// Says that all signals were filled in at these times.
    pub(crate) fn mark(&self, t: &Lanes<R>, seats: &mut Seats) {
        (seats.filled, seats.times) = (Some(self.solve), t.map(Real::to_f64));
    }

    /// The rows of a signal at the lanes' times.
    pub(crate) fn fill(&self, signal: usize, t: &Lanes<R>, seats: &Seats, out: &mut [R]) {
        for (lane, t) in t.iter().enumerate() {
            let t = t.to_f64();
            let trajectory = seats.trajectories[lane].wrapping_sub(self.first) as usize;
            self.signals[signal].at(t, self.near(t, seats, lane), trajectory, out, lane);
        }
    }

    /// On which side of a knot a time in its rounding is: on that of its step, or at a start of what comes after it.
    /// A node beyond its step, as stochastic methods have them, is there too: no jump or kink lies between the stages.
    fn near(&self, t: f64, seats: &Seats, lane: usize) -> f64 {
        match &seats.steps {
            Some([t0, t1]) => {
                let (t0, t1) = (t0[lane], t1[lane]);
                let within = t.clamp(t0.min(t1), t0.max(t1));
                within + 1e-3 * (0.5 * (t0 + t1) - within)
            }
            None => t + 1e-6 * self.span + (2f64.powi(-22) * t.abs()).copysign(self.span),
        }
    }

    /// Takes the cotangent of a signal's rows at the last evaluation to those of its values, of what comes in as the `n`-th.
    pub(crate) fn add(&self, signal: usize, seats: &Seats, bar: &[R], knots: &mut Knots<R>, n: usize) {
        knots.signals[n] = Some(signal);
        for (lane, t) in seats.times.into_iter().enumerate() {
            self.signals[signal].add_vjp(t, self.near(t, seats, lane), bar, &mut knots.parts[n], lane);
        }
    }

    /// The numbers in the cotangents of shared controls that were asked for, and in those of a trajectory's own.
    pub(crate) fn lengths(&self) -> [usize; 2] {
        let sum = |shared: bool| {
            let asked = self.signals.iter().filter(|signal| signal.is_asked() && signal.is_shared() == shared);
            asked.map(|signal| signal.one()).sum()
        };
        [sum(true), sum(false)]
    }

    /// The place of a signal's cotangent among those like it.
    pub(crate) fn offset(&self, signal: usize) -> usize {
        let like = |other: &&Arc<Signal<R>>| other.is_asked() && other.is_shared() == self.signals[signal].is_shared();
        self.signals[..signal].iter().filter(like).map(|other| other.one()).sum()
    }

    /// Adds what a tile has come to, and begins anew. Lanes go in their order, so that sums are the same to the bit.
    pub(crate) fn hand_on(&self, knots: &mut Knots<R>, bars: &mut ControlBars<'_, R>) {
        for (part, signal) in knots.parts.iter_mut().zip(&mut knots.signals) {
            let Some(number) = signal.take() else { continue };
            let (signal, offset) = (&self.signals[number], self.offset(number));
            signal.straighten(part);
            for (n, lanes) in part.values.as_chunks::<LANES>().0.iter().enumerate() {
                for lane in (0..LANES).filter(|lane| bars.alive[*lane]) {
                    let target = match signal.is_shared() {
                        true => &mut bars.shared[offset + n],
                        false => &mut bars.own[(offset + n) * LANES + lane],
                    };
                    *target += lanes[lane];
                }
            }
            part.values.fill(R::ZERO);
            part.bends.fill(R::ZERO);
        }
    }
}
