//! The differences of a step's last two stages and of their states, which the stiffness measure is made of (Hairer & Wanner,
//! Solving Ordinary Differential Equations II, IV.2).

use super::stages::KeptStages;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{Lanes, squared_difference};
use crate::cpu::kernel::scalar::Scalar;

/// The least root mean square of a difference of two stages that has digits to measure with, in units of the distance
/// of two numbers at the last stage's size. Rounding alone makes about 1 of it; from here on value and gradient were within
/// a factor of 2 of those at more digits, whatever the network, and up to a thousand times off below.
pub(crate) const RESOLVED: f64 = 128.0;

/// The last two slopes of a step, and their states, the last one first.
pub(crate) type LastTwo<'a, R> = [[&'a [R]; 2]; 2];

/// Those of a kept step.
pub(crate) fn last_two<R: Scalar>(drift: &KeptStages<R>) -> LastTwo<'_, R> {
    let last = drift.k.len() - 1;
    let stages = [last, last - 1];
    [stages.map(|i| drift.k[i].as_slice()), stages.map(|i| drift.points[i].state())]
}

/// Per lane, the squared differences of the last two slopes and of the last two states; nothing where either is rounding,
/// for the other one's digits are no better then.
pub(crate) fn squared_differences<R: Scalar>(stages: LastTwo<'_, R>) -> [Lanes<R>; 2] {
    let least = R::from_f64((RESOLVED * R::EPSILON.to_f64()).powi(2));
    let mut sums = [[R::ZERO; LANES]; 2];
    let mut sizes = sums;
    for (n, [last, before]) in stages.into_iter().enumerate() {
        squared_difference(&mut sums[n], &mut sizes[n], last, before);
    }
    for l in 0..LANES {
        if (0..2).any(|n| sums[n][l] < least * sizes[n][l]) {
            sums.iter_mut().for_each(|sums| sums[l] = R::ZERO);
        }
    }
    sums
}
