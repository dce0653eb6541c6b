//! One Runge-Kutta step of one tile.

use super::Scalar;
use super::dense::LANES;
use super::field::{Cotangents, Field, Stage};
use super::lanes::{Lanes, add, add_weighted, combine, scaled_squares};
use crate::spec::{MAX_STAGES, Problem, SolverOptions, StepControl, Tableau, Tolerances};

/// The steps that the lanes of a tile take: from `t0` to `t1`, of length `h` in the scalar of the solve.
///
/// Times are `f64` whatever the solve's scalar is, and both ends are stored, so that time never drifts and the last
/// step ends exactly where it was asked to. A lane at rest has `h = 0`.
#[derive(Clone, Debug)]
pub(crate) struct Interval<R> {
    pub(crate) t0: Lanes<f64>,
    pub(crate) t1: Lanes<f64>,
    pub(crate) h: Lanes<R>,
}

impl<R: Scalar> Interval<R> {
    pub(crate) fn new(t0: Lanes<f64>, t1: Lanes<f64>) -> Self {
        Self { t0, t1, h: std::array::from_fn(|l| R::from_f64(t1[l] - t0[l])) }
    }

    pub(crate) fn shared(t0: f64, t1: f64) -> Self {
        Self::new([t0; LANES], [t1; LANES])
    }

    /// Time of the stage with node `c`; exactly `t1` for `c = 1`, so that FSAL stages agree to the bit.
    fn stage_time(&self, c: f64) -> Lanes<R> {
        std::array::from_fn(|l| {
            let (t0, t1) = (self.t0[l], self.t1[l]);
            R::from_f64(if c == 1.0 { t1 } else { t0 + c * (t1 - t0) })
        })
    }
}

/// The stages of an attempt, wherever they are stored.
pub(crate) type Stages<'a, R> = [&'a [R]; MAX_STAGES];

/// The method, the field and the tolerances: all that a step depends on besides its state.
#[derive(Debug)]
pub(crate) struct Stepper<R> {
    pub(crate) tableau: &'static Tableau,
    pub(crate) fsal: bool,
    pub(crate) field: Field<R>,
    pub(crate) atol: R,
    pub(crate) rtol: R,
}

/// Room for an attempt that leaves nothing behind but its end.
#[derive(Debug)]
pub(crate) struct AttemptRoom<R> {
    stage: Stage<R>,
    /// Stages after the first; the last one too unless the tile keeps it for the next step.
    middle: Vec<Vec<R>>,
    error: Vec<R>,
}

/// A step with all that its vector-Jacobian product needs.
#[derive(Debug)]
pub(crate) struct KeptStep<R> {
    pub(crate) stages: Vec<Stage<R>>,
    pub(crate) k: Vec<Vec<R>>,
}

/// Room for a step's cotangents.
#[derive(Debug)]
pub(crate) struct VjpRoom<R> {
    state_bars: Vec<Vec<R>>,
    k_bar: Vec<R>,
    cotangents: Cotangents<R>,
}

/// Cotangents of the last two stages and their states, which the stiffness measure has.
#[derive(Debug)]
pub(crate) struct StiffnessSeed<'a, R> {
    /// Cotangent of `k_s`, and minus that of `k_(s-1)`.
    pub(crate) k_difference: &'a [R],
    /// Cotangent of `g_s`, and minus that of `g_(s-1)`.
    pub(crate) state_difference: &'a [R],
}

/// Everything that a loss may depend on in a step, besides the state at its end.
#[derive(Debug)]
pub(crate) struct Seeds<'a, R> {
    pub(crate) error: Option<&'a [R]>,
    /// Cotangents of the stages themselves, which states interpolated within the step have.
    pub(crate) stages: Option<&'a [Vec<R>]>,
    pub(crate) stiffness: Option<StiffnessSeed<'a, R>>,
}

/// What the first stage passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstStage {
    /// Parameter and state cotangents.
    Everything,
    /// Parameter cotangents: the state is a constant.
    Parameters,
    /// Nothing: `k1` is a constant.
    Nothing,
}

impl<R: Scalar> Stepper<R> {
    pub(crate) fn new(problem: &Problem, options: &SolverOptions) -> Self {
        let tableau = options.method.tableau();
        let tolerances = match options.step_control {
            StepControl::Adaptive { tolerances, .. } => tolerances,
            StepControl::Fixed { .. } => Tolerances::default(),
        };
        Self {
            tableau,
            fsal: tableau.fsal(),
            field: Field::new(&problem.field),
            atol: R::from_f64(tolerances.atol),
            rtol: R::from_f64(tolerances.rtol),
        }
    }

    fn tile(&self) -> Vec<R> {
        vec![R::ZERO; self.field.dim() * LANES]
    }

    pub(crate) fn attempt_room(&self) -> AttemptRoom<R> {
        let middle = self.tableau.stages() - 1 - usize::from(self.fsal);
        AttemptRoom {
            stage: self.field.stage(),
            middle: (0..middle).map(|_| self.tile()).collect(),
            error: self.tile(),
        }
    }

    pub(crate) fn kept_step(&self) -> KeptStep<R> {
        let stages = self.tableau.stages();
        KeptStep {
            stages: (0..stages).map(|_| self.field.stage()).collect(),
            k: (0..stages).map(|_| self.tile()).collect(),
        }
    }

    pub(crate) fn vjp_room(&self) -> VjpRoom<R> {
        VjpRoom {
            state_bars: (0..self.tableau.stages()).map(|_| self.tile()).collect(),
            k_bar: self.tile(),
            cotangents: self.field.cotangents(),
        }
    }

    /// `dydt = f(t, y)`, with nothing kept.
    pub(crate) fn eval(&self, t: &Lanes<R>, y: &[R], dydt: &mut [R], room: &mut AttemptRoom<R>) {
        room.stage.state_mut().copy_from_slice(y);
        self.field.eval(t, &mut room.stage, dydt, false);
    }

    /// Attempts the step from `y` with first stage `k_first`: writes its end to `y1` and, for an FSAL method, its
    /// last stage to `k_last`.
    pub(crate) fn attempt(
        &self,
        interval: &Interval<R>,
        y: &[R],
        k_first: &[R],
        k_last: &mut [R],
        y1: &mut [R],
        room: &mut AttemptRoom<R>,
    ) {
        let Tableau { a, b, c, .. } = self.tableau;
        for i in 1..=room.middle.len() {
            let (done, now) = room.middle.split_at_mut(i - 1);
            let ks = std::iter::once(k_first).chain(done.iter().map(Vec::as_slice));
            combine(room.stage.state_mut(), Some(y), &interval.h, a[i].iter().copied().zip(ks));
            self.field.eval(&interval.stage_time(c[i]), &mut room.stage, &mut now[0], false);
        }
        let ks = std::iter::once(k_first).chain(room.middle.iter().map(Vec::as_slice));
        combine(y1, Some(y), &interval.h, b.iter().copied().zip(ks));
        if self.fsal {
            self.eval(&interval.stage_time(1.0), y1, k_last, room);
        }
    }

    /// The stages of the last attempt made in `room`.
    pub(crate) fn stages<'a>(&self, k_first: &'a [R], k_last: &'a [R], room: &'a AttemptRoom<R>) -> Stages<'a, R> {
        let mut stages: Stages<'a, R> = [&[]; MAX_STAGES];
        stages[0] = k_first;
        for (stage, k) in stages[1..].iter_mut().zip(&room.middle) {
            *stage = k;
        }
        if self.fsal {
            stages[self.tableau.stages() - 1] = k_last;
        }
        stages
    }

    /// Per lane, the sum over features of the squared scaled error of the last attempt made in `room`.
    pub(crate) fn error_squares(
        &self,
        h: &Lanes<R>,
        y: &[R],
        y1: &[R],
        k_first: &[R],
        k_last: &[R],
        room: &mut AttemptRoom<R>,
    ) -> Lanes<R> {
        let mut error = std::mem::take(&mut room.error);
        self.error(&mut error, h, self.stages(k_first, k_last, room));
        let mut sums = [R::ZERO; LANES];
        scaled_squares(&mut sums, self.atol, self.rtol, &error, y, y1);
        room.error = error;
        sums
    }

    /// The error estimate `h sum b_error k`; zero for a method that has none.
    pub(crate) fn error(&self, error: &mut [R], h: &Lanes<R>, stages: Stages<'_, R>) {
        let weights = self.tableau.b_error.unwrap_or(&[]);
        combine(error, None, h, weights.iter().copied().zip(stages));
    }

    /// `out = y + h sum b_i(theta) k_i`, the same θ in every lane.
    pub(crate) fn interpolate(&self, out: &mut [R], theta: f64, h: &Lanes<R>, y: &[R], stages: Stages<'_, R>) {
        let weights = self.tableau.interpolant_weights(theta);
        combine(out, Some(y), h, weights.into_iter().take(self.tableau.stages()).zip(stages));
    }

    /// Takes the step from `y` anew and keeps its stages; the last stage of an FSAL method only `with_last`, though
    /// its state, the step's end, is always left there.
    pub(crate) fn keep(&self, interval: &Interval<R>, y: &[R], kept: &mut KeptStep<R>, with_last: bool) {
        let Tableau { a, c, .. } = self.tableau;
        let stages = self.tableau.stages();
        for i in 0..stages {
            let (done, now) = kept.k.split_at_mut(i);
            let terms = a[i].iter().copied().zip(done.iter().map(Vec::as_slice));
            combine(kept.stages[i].state_mut(), Some(y), &interval.h, terms);
            if i + 1 < stages || !self.fsal || with_last {
                self.field.eval(&interval.stage_time(c[i]), &mut kept.stages[i], &mut now[0], true);
            }
        }
    }

    /// The end of a kept step.
    pub(crate) fn end(&self, interval: &Interval<R>, y: &[R], kept: &KeptStep<R>, y1: &mut [R]) {
        if self.fsal {
            y1.copy_from_slice(kept.stages[self.tableau.stages() - 1].state());
        } else {
            let ks = kept.k.iter().map(Vec::as_slice);
            combine(y1, Some(y), &interval.h, self.tableau.b.iter().copied().zip(ks));
        }
    }

    /// The vector-Jacobian product of one kept step, its size constant: adds to `theta_bar` and replaces the cotangent
    /// of the step's end in `bar` by that of its start.
    ///
    /// With `Y_i = y + h sum_j a_ij k_j` and `k_i = f(Y_i)`, from the last stage to the first:
    /// `k_i_bar = h (b_i y1_bar + b_error_i e_bar + sum_(j>i) a_ji Y_j_bar) + seeds`, `Y_i_bar = k_i_bar^T df/dy`,
    /// and at the end `y_bar = y1_bar + sum Y_i_bar`. Where the last stage's state is the step's end itself
    /// (FSAL), its cotangent joins `y1_bar` first.
    pub(crate) fn step_vjp(
        &self,
        h: &Lanes<R>,
        kept: &KeptStep<R>,
        seeds: &Seeds<'_, R>,
        first: FirstStage,
        room: &mut VjpRoom<R>,
        theta_bar: &mut [R],
        bar: &mut [R],
    ) {
        let Tableau { a, b, b_error, .. } = self.tableau;
        let stages = self.tableau.stages();
        let last_needed = seeds.error.is_some() || seeds.stiffness.is_some() || seeds.stages.is_some();
        let mut begun = stages;
        for i in (0..stages).rev() {
            let is_end = self.fsal && i + 1 == stages;
            if (is_end && !last_needed) || (i == 0 && first == FirstStage::Nothing) {
                continue;
            }
            let VjpRoom { state_bars, k_bar, cotangents } = room;
            let (now, later) = state_bars.split_at_mut(i + 1);
            // Later stages whose cotangents exist; the FSAL stage's has joined `bar`.
            let count = if self.fsal { stages - 1 } else { stages };
            let later_terms = (i + 1..count).zip(later.iter()).map(|(j, y_bar)| (a[j][i], y_bar.as_slice()));
            let end = std::iter::once((b[i], &*bar));
            let error = seeds.error.zip(*b_error).map(|(e_bar, weights)| (weights[i], e_bar));
            combine(k_bar, None, h, end.chain(error).chain(later_terms));
            if let Some(stage_bars) = seeds.stages {
                add(k_bar, &stage_bars[i]);
            }
            let sign = if i + 1 == stages { R::ONE } else { -R::ONE };
            let stiffness = seeds.stiffness.as_ref().filter(|_| i + 2 >= stages);
            if let Some(seed) = stiffness {
                add_weighted(k_bar, &[sign; LANES], seed.k_difference);
            }
            let wants_state = i > 0 || first == FirstStage::Everything;
            let y_bar = &mut now[i];
            let target = wants_state.then_some(&mut y_bar[..]);
            self.field.vjp(&kept.stages[i], cotangents, k_bar, Some(theta_bar), target);
            if let Some(seed) = stiffness {
                add_weighted(y_bar, &[sign; LANES], seed.state_difference);
            }
            if is_end {
                add(bar, y_bar);
            }
            begun = i;
        }
        let count = if self.fsal { stages - 1 } else { stages };
        let first_with_state = if first == FirstStage::Everything { begun } else { 1 };
        for y_bar in &room.state_bars[first_with_state.min(count)..count] {
            add(bar, y_bar);
        }
    }

    /// Bytes of a kept step.
    pub(crate) fn kept_bytes(&self) -> usize {
        let tile = self.field.dim() * LANES * size_of::<R>();
        self.tableau.stages() * (self.field.stage_bytes() + tile)
    }

    /// Bytes of an attempt's room, of a kept step and of a step's cotangents.
    pub(crate) fn room_bytes(&self) -> usize {
        let tile = self.field.dim() * LANES * size_of::<R>();
        let stages = self.tableau.stages();
        let stage = self.field.stage_bytes();
        (stage + stages * tile) + self.kept_bytes() + (stages + 3) * tile
    }
}
