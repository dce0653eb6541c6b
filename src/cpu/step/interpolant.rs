//! [`Interpolant`]: states within a step.

use super::stages::Stages;
use crate::cpu::kernel::aligned::Aligned;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::{Lanes, add_weighted, combine, indicator};
use crate::cpu::kernel::scalar::Scalar;
use crate::method::{MAX_STAGES, Tableau};

/// What states within a step are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Interpolant {
    /// Of its stages, `y(t + theta h) = y + h sum b_i(theta) k_i`.
    Polynomial(&'static Tableau),
    /// Of its ends: the chord from `y` to `y1`, for a path is not smooth.
    Chord,
    /// Of its ends and the slopes there, by Hermite's cubic: the stages are these two slopes.
    Hermite,
}

impl Interpolant {
    pub(crate) fn of(tableau: &'static Tableau) -> Self {
        if tableau.noise.is_some() { Self::Chord } else { Self::Polynomial(tableau) }
    }

    /// The state at `theta` in `[0, 1]`, the same in every lane.
    pub(crate) fn shared<R: Scalar>(
        self,
        out: &mut [R],
        theta: f64,
        h: &Lanes<R>,
        [y, y1]: [&[R]; 2],
        stages: Stages<'_, R>,
    ) {
        match self {
            Self::Chord => {
                let ends = [(1.0 - theta, &y[..out.len()]), (theta, &y1[..out.len()])];
                combine(out, None, &[R::ONE; LANES], ends);
            }
            Self::Hermite => {
                let weights = hermite_weights(theta);
                let n = out.len();
                combine(out, None, &[R::ONE; LANES], weights[0].into_iter().zip([&y[..n], &y1[..n]]));
                for (weight, slopes) in weights[1].into_iter().zip(stages) {
                    add_weighted(out, &h.map(|h| h * R::from_f64(weight)), slopes);
                }
            }
            Self::Polynomial(tableau) => {
                let weights = tableau.interpolant_weights(theta);
                combine(out, Some(y), h, weights.into_iter().take(tableau.stages()).zip(stages));
            }
        }
    }

    /// The states at times `t` in the lanes of `here`; numbers without meaning elsewhere.
    pub(crate) fn lanes<R: Scalar>(
        self,
        out: &mut [R],
        (t, here): (&Lanes<f64>, &[bool; LANES]),
        interval: &Interval<R>,
        [y, y1]: [&[R]; 2],
        stages: Stages<'_, R>,
    ) {
        match self {
            Self::Chord => {
                let [start, end] = chord_weights(interval, t, here);
                out.fill(R::ZERO);
                add_weighted(out, &start, &y[..out.len()]);
                add_weighted(out, &end, &y1[..out.len()]);
            }
            Self::Hermite => {
                let [start, end, first, last] = hermite_lanes(interval, t, here);
                out.fill(R::ZERO);
                add_weighted(out, &start, &y[..out.len()]);
                add_weighted(out, &end, &y1[..out.len()]);
                add_weighted(out, &first, stages[0]);
                add_weighted(out, &last, stages[1]);
            }
            Self::Polynomial(tableau) => {
                let weights = interior_weights(tableau, interval, t, here);
                out.copy_from_slice(y);
                for (weight, k) in weights.iter().zip(stages).filter(|(_, k)| !k.is_empty()) {
                    add_weighted(out, weight, k);
                }
            }
        }
    }

    /// Hands the cotangent of the states at times `t` to those of the step's start, its end and its stages.
    pub(crate) fn vjp<R: Scalar>(
        self,
        bar: &[R],
        (t, here): (&Lanes<f64>, &[bool; LANES]),
        interval: &Interval<R>,
        [start_bar, end_bar]: [&mut [R]; 2],
        stage_bars: &mut [Aligned<R>],
    ) {
        match self {
            Self::Chord => {
                let [start, end] = chord_weights(interval, t, here);
                add_weighted(start_bar, &start, bar);
                add_weighted(end_bar, &end, bar);
            }
            Self::Hermite => {
                let [start, end, first, last] = hermite_lanes(interval, t, here);
                add_weighted(start_bar, &start, bar);
                add_weighted(end_bar, &end, bar);
                add_weighted(&mut stage_bars[0], &first, bar);
                add_weighted(&mut stage_bars[1], &last, bar);
            }
            Self::Polynomial(tableau) => {
                let weights = interior_weights(tableau, interval, t, here);
                for (stage_bar, weight) in stage_bars.iter_mut().zip(&weights) {
                    add_weighted(stage_bar, weight, bar);
                }
                add_weighted(start_bar, &indicator(here), bar);
            }
        }
    }

    /// Stages that states within a step are made of.
    pub(crate) const fn stages(self) -> usize {
        match self {
            Self::Chord => 0,
            Self::Hermite => 2,
            Self::Polynomial(tableau) => tableau.stages(),
        }
    }
}

/// The interpolant's weights times `h` at times `t`, equal where the interval is shared, in the lanes of `here`; zero elsewhere.
fn interior_weights<R: Scalar>(
    tableau: &Tableau,
    interval: &Interval<R>,
    t: &Lanes<f64>,
    here: &[bool; LANES],
) -> [Lanes<R>; MAX_STAGES] {
    let mut weights = [[R::ZERO; LANES]; MAX_STAGES];
    let at = |l: usize| {
        let h = interval.t1[l] - interval.t0[l];
        tableau.interpolant_weights((t[l] - interval.t0[l]) / h).map(|b| R::from_f64(h * b))
    };
    let shared = interval.shared.then(|| at(0));
    for l in (0..LANES).filter(|&l| here[l]) {
        for (weight, b) in weights.iter_mut().zip(shared.unwrap_or_else(|| at(l))) {
            weight[l] = b;
        }
    }
    weights
}

/// Shares of a step's start and end in the point of its chord at times `t`, in the lanes of `here`; zero elsewhere.
fn chord_weights<R: Scalar>(interval: &Interval<R>, t: &Lanes<f64>, here: &[bool; LANES]) -> [Lanes<R>; 2] {
    let theta = |l: usize| (t[l] - interval.t0[l]) / (interval.t1[l] - interval.t0[l]);
    let weight =
        |of: fn(f64) -> f64| std::array::from_fn(|l| if here[l] { R::from_f64(of(theta(l))) } else { R::ZERO });
    [weight(|theta| 1.0 - theta), weight(|theta| theta)]
}

/// Shares of a step's ends at `theta` in Hermite's cubic, and of the slopes there times the step's length.
fn hermite_weights(theta: f64) -> [[f64; 2]; 2] {
    let rest = 1.0 - theta;
    [
        [(1.0 + 2.0 * theta) * rest * rest, theta * theta * (3.0 - 2.0 * theta)],
        [theta * rest * rest, -theta * theta * rest],
    ]
}

/// Weights of start, end, and the slopes there at times `t`, in the lanes of `here`; zero elsewhere.
fn hermite_lanes<R: Scalar>(interval: &Interval<R>, t: &Lanes<f64>, here: &[bool; LANES]) -> [Lanes<R>; 4] {
    let mut weights = [[R::ZERO; LANES]; 4];
    for l in (0..LANES).filter(|&l| here[l]) {
        let h = interval.t1[l] - interval.t0[l];
        let [[start, end], [first, last]] = hermite_weights((t[l] - interval.t0[l]) / h);
        for (weight, of) in weights.iter_mut().zip([start, end, h * first, h * last]) {
            weight[l] = R::from_f64(of);
        }
    }
    weights
}
