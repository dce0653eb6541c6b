//! [`Networks`]: what a scheme evaluates at a point.

use std::fmt::Debug;

use crate::cpu::field::drive::Drive;
use crate::cpu::field::evaluate::{Field, Kept};
use crate::cpu::kernel::lanes::Lanes;
use crate::cpu::kernel::scalar::Scalar;
use crate::problem::Paths;

/// The networks of a problem with their current weights: a drift alone, or with it a diffusion and its path.
///
/// Their values at a point are *slopes*, as in [`StepState`](super::state::StepState).
pub(crate) trait Networks: Debug + Send + Sync {
    type Real: Scalar;
    /// Room for an evaluation of each.
    type Points: Debug + Send;

    /// Takes the weights from the problem's parameters; `backward` also packs them for cotangents.
    fn pack(&mut self, theta: &[Self::Real], backward: bool);

    /// Chooses the noise of the steps that follow, where there is any.
    fn follow(&mut self, paths: Paths);

    fn points(&self) -> Self::Points;

    /// The slopes at a point `[D]`, with nothing kept.
    fn slopes(&self, t: &Lanes<Self::Real>, y: &[Self::Real], out: &mut [Self::Real], points: &mut Self::Points);

    /// Drives the networks with controls.
    fn drive(&mut self, drive: &Drive<Self::Real>);

    /// How fast a trajectory with these slopes moves; with noise, within three standard deviations.
    fn speed(&self, slopes: &[Self::Real], out: &mut [Self::Real]);

    /// How much that changes from slopes `first` to those in `at`, which it replaces.
    fn speed_change(&self, first: &[Self::Real], at: &mut [Self::Real]);

    /// Multiply-adds at one point, as [`Field::work`] counts them.
    fn work(&self) -> usize;

    fn packed_bytes(&self) -> usize;
}

impl<R: Scalar> Networks for Field<R> {
    type Real = R;
    type Points = Kept<R>;

    fn pack(&mut self, theta: &[R], backward: bool) {
        self.pack(theta, backward);
    }

    fn follow(&mut self, _: Paths) {}

    fn points(&self) -> Kept<R> {
        self.kept()
    }

    fn slopes(&self, t: &Lanes<R>, y: &[R], out: &mut [R], point: &mut Kept<R>) {
        point.state_mut().copy_from_slice(y);
        self.eval(t, point, out, false);
    }

    fn drive(&mut self, drive: &Drive<R>) {
        self.drive(drive);
    }

    fn speed(&self, slopes: &[R], out: &mut [R]) {
        out.copy_from_slice(slopes);
    }

    fn speed_change(&self, first: &[R], at: &mut [R]) {
        for (at, &first) in at.iter_mut().zip(first) {
            *at -= first;
        }
    }

    fn work(&self) -> usize {
        self.work()
    }

    fn packed_bytes(&self) -> usize {
        self.packed_bytes()
    }
}
