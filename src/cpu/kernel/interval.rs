//! [`Interval`]: the steps that the lanes of a tile take.

use super::dense::LANES;
use super::lanes::Lanes;
use super::scalar::Scalar;

/// The steps that the lanes of a tile take: from `t0` to `t1`, of length `h` in the scalar of the solve.
///
/// Times are `f64` whatever the solve's scalar is, and both ends are stored, so that time never drifts and the last
/// step ends exactly where it was asked to. A lane at rest has `h = 0`.
#[derive(Clone, Debug)]
pub(crate) struct Interval<R> {
    pub(crate) t0: Lanes<f64>,
    pub(crate) t1: Lanes<f64>,
    pub(crate) h: Lanes<R>,
    /// Whether the times are known to be the same in all lanes.
    pub(crate) shared: bool,
}

impl<R: Scalar> Interval<R> {
    pub(crate) fn new(t0: Lanes<f64>, t1: Lanes<f64>) -> Self {
        Self { t0, t1, h: std::array::from_fn(|l| R::from_f64(t1[l] - t0[l])), shared: false }
    }

    pub(crate) fn shared(t0: f64, t1: f64) -> Self {
        Self { t0: [t0; LANES], t1: [t1; LANES], h: [R::from_f64(t1 - t0); LANES], shared: true }
    }

    /// The same steps the other way round.
    pub(crate) fn reversed(&self) -> Self {
        Self { t0: self.t1, t1: self.t0, h: self.h.map(|h| -h), shared: self.shared }
    }

    /// The earliest and the latest of all ends.
    pub(crate) fn hull(&self) -> [f64; 2] {
        let lanes = if self.shared { 1 } else { LANES };
        let ends = || self.t0[..lanes].iter().chain(&self.t1[..lanes]).copied();
        [ends().fold(f64::INFINITY, f64::min), ends().fold(f64::NEG_INFINITY, f64::max)]
    }

    /// Time of the stage with node `c`; exactly `t1` for `c = 1`, so that FSAL stages agree to the bit.
    pub(crate) fn stage_time(&self, c: f64) -> Lanes<R> {
        let at = |l: usize| {
            let (t0, t1) = (self.t0[l], self.t1[l]);
            R::from_f64(if c == 1.0 { t1 } else { t0 + c * (t1 - t0) })
        };
        if self.shared { [at(0); LANES] } else { std::array::from_fn(at) }
    }
}
