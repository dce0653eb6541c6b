//! Trajectories that fail on their way, and what is known of them before that.

use fewsteps::{InputMap, Mlp, Problem, SavedTimes, Scalar, Solution, Status};

/// `y' = y^3` until `t1`, which reaches its pole at `t = 1 / (2 y0^2)`.
pub(crate) fn blow_up(t1: f64) -> (Problem, Vec<f64>) {
    (Problem::ode(Mlp::new([1, 1]).input_map(InputMap::Cube), 0.0, t1), vec![1.0, 0.0])
}

/// The solution of [`blow_up`], NaN beyond the pole.
pub(crate) fn blow_up_exact(y0: f64, t: f64) -> f64 {
    y0 / (1.0 - 2.0 * y0 * y0 * t).sqrt()
}

/// What `y` at `t` tells of `1/y0^2`, which [`blow_up`] conserves: near the pole the state itself says little.
pub(crate) fn blow_up_defect(y0: f64, t: f64, y: f64) -> f64 {
    (y.powi(-2) + 2.0 * t) * y0 * y0 - 1.0
}

/// Asserts of every saved state of one feature that `defect(row, t, y)` is within `bound` where its trajectory came, and
/// NaN after that, never 0. Returns how many states were there of failed trajectories.
pub(crate) fn known_until_failure<R: Scalar>(
    name: &str,
    solution: &Solution<R>,
    bound: f64,
    defect: impl Fn(usize, f64, f64) -> f64,
) -> usize {
    let batch = solution.status.len();
    assert_eq!(solution.ys.len(), solution.ts.count(batch), "{name}: a state a time");
    let places: Vec<(usize, f64)> = match &solution.ts {
        SavedTimes::Shared(times) => times.iter().flat_map(|&t| (0..batch).map(move |row| (row, t))).collect(),
        SavedTimes::PerTrajectory(times) => {
            times.iter().enumerate().flat_map(|(row, times)| times.iter().map(move |&t| (row, t))).collect()
        }
        SavedTimes::Own(times) => panic!("in other places: {times:?}"),
    };
    let mut lost = vec![false; batch];
    let mut kept = 0;
    for (&(row, t), y) in places.iter().zip(&solution.ys) {
        let (y, status) = (y.to_f64(), solution.status[row]);
        lost[row] |= y.is_nan();
        if lost[row] {
            assert!(y.is_nan(), "{name}: row {row} ({status}) is lost before t = {t}, where it is {y}");
            assert_ne!(status, Status::Done, "{name}: row {row} is done, and lost at t = {t}");
            continue;
        }
        kept += usize::from(status != Status::Done);
        let off = defect(row, t, y).abs();
        assert!(off <= bound, "{name}: row {row} ({status}) is {y} at {t}, off by {off:e}");
    }
    kept
}
