//! The stages of a step of one network, wherever they are stored.

use crate::cpu::field::evaluate::{Cotangents, Field, Kept};
use crate::cpu::kernel::aligned::Aligned;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::{Lanes, combine, combine_differences};
use crate::cpu::kernel::scalar::Scalar;
use crate::method::{MAX_STAGES, Tableau};

/// The stages of an attempt; empty past the last one.
pub(crate) type Stages<'a, R> = [&'a [R]; MAX_STAGES];

/// Stages in their order.
pub(crate) fn stages_of<'a, R: 'a>(stages: impl IntoIterator<Item = &'a [R]>) -> Stages<'a, R> {
    let mut all: Stages<'a, R> = [&[]; MAX_STAGES];
    for (slot, stage) in all.iter_mut().zip(stages) {
        *slot = stage;
    }
    all
}

/// The first stage and those after it.
pub(crate) fn first_and<'a, R>(first: &'a [R], middle: &'a [Aligned<R>]) -> Stages<'a, R> {
    stages_of(std::iter::once(first).chain(middle.iter().map(Aligned::as_slice)))
}

/// Room for so many stages between the first and the last one.
pub(crate) fn middle<R: Scalar>(network: &Field<R>, count: usize) -> Vec<Aligned<R>> {
    (0..count).map(|_| Aligned::zeros(network.dim() * LANES)).collect()
}

/// The drift's error estimate `h sum b_error k`; zero for a method that has none.
pub(crate) fn drift_error<R: Scalar>(tableau: &Tableau, error: &mut [R], h: &Lanes<R>, stages: Stages<'_, R>) {
    let terms = tableau.b_error.unwrap_or(&[]).iter().copied().zip(stages);
    if tableau.estimates_by_differences() {
        combine_differences(error, stages[0], h, terms.skip(1));
    } else {
        combine(error, None, h, terms);
    }
}

/// Stages with all that their vector-Jacobian products need.
#[derive(Debug)]
pub(crate) struct KeptStages<R> {
    pub(crate) points: Vec<Kept<R>>,
    pub(crate) k: Vec<Aligned<R>>,
}

/// A stage's point, and its value.
type Now<'a, R> = (&'a mut Kept<R>, &'a mut Aligned<R>);

impl<R: Scalar> KeptStages<R> {
    pub(crate) fn new(network: &Field<R>, count: usize) -> Self {
        Self { points: (0..count).map(|_| network.kept()).collect(), k: middle(network, count) }
    }

    /// Bytes of so many.
    pub(crate) fn bytes(network: &Field<R>, count: usize) -> usize {
        count * (network.kept_bytes() + network.dim() * LANES * size_of::<R>())
    }

    /// Says whose the steps are. A lane at rest, which stands at the first moving one's state, is driven as that one is.
    pub(crate) fn seat(&mut self, trajectories: &Lanes<u32>, interval: &Interval<R>) {
        let moves = |l: &usize| interval.h[*l] != R::ZERO;
        let model = (0..LANES).find(moves).unwrap_or(0);
        let drivers = std::array::from_fn(|l| trajectories[if moves(&l) { l } else { model }]);
        for point in &mut self.points {
            point.seat(&drivers, Some(interval));
        }
    }

    pub(crate) fn all(&self) -> Stages<'_, R> {
        stages_of(self.k.iter().map(Aligned::as_slice))
    }

    /// Evaluates the network at stage `i`, whose state is there.
    pub(crate) fn evaluate(&mut self, network: &Field<R>, i: usize, t: &Lanes<R>) {
        network.eval(t, &mut self.points[i], &mut self.k[i], true);
    }

    /// Stages before the `i`-th, the state there, and it.
    pub(crate) fn split(&mut self, i: usize) -> (&[Aligned<R>], Option<Now<'_, R>>) {
        let count = self.k.len();
        let (done, now) = self.k.split_at_mut(i.min(count));
        (done, self.points.get_mut(i).zip(now.first_mut()))
    }
}

/// Cotangents of stages' states, and the way there.
#[derive(Debug)]
pub(crate) struct StageBars<R> {
    pub(crate) states: Vec<Aligned<R>>,
    pub(crate) cotangents: Cotangents<R>,
}

impl<R: Scalar> StageBars<R> {
    pub(crate) fn new(network: &Field<R>, count: usize) -> Self {
        Self { states: middle(network, count), cotangents: network.cotangents() }
    }

    /// Takes `k_bar`, the cotangent of stage `i`, to that of its state, if it is `wanted`, and adds to the parameters'.
    pub(crate) fn pull(
        &mut self,
        network: &Field<R>,
        kept: &KeptStages<R>,
        i: usize,
        k_bar: &[R],
        wanted: bool,
        theta_bar: &mut [R],
    ) {
        let target = wanted.then_some(self.states[i].as_mut_slice());
        network.vjp(&kept.points[i], &mut self.cotangents, k_bar, Some(theta_bar), target);
    }
}
