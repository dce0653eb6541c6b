//! The spiral: a known ODE in the plane whose trajectories a network is to reproduce.

use fewsteps::{Purpose, Random};

use super::samples::{Rows, Samples, Wanted};
use super::set::Data;

/// `dy/dt = (y^3) A`, with `y` a row vector and the cube taken of each element.
const A: [[f64; 2]; 2] = [[-0.1, 2.0], [-2.0, -0.1]];

/// Where the long trajectory begins whose points are the samples' starts.
const START: [f64; 2] = [2.0, 0.0];

/// How long it is.
const LENGTH: f64 = 25.0;

/// A sample's interval is `[0, END]`.
pub(crate) const END: f64 = 1.5;

/// Equally spaced times in a sample's interval, both ends included.
pub(crate) const SAVE_TIMES: usize = 10;

/// Integration steps from one save time to the next.
const STRIDE: usize = 100;

const TRAIN: usize = 4096;
const TEST: usize = 512;

/// Samples that start at distinct random points of the long trajectory, the same for everyone.
pub(crate) fn spiral() -> Data {
    let h = END / ((SAVE_TIMES - 1) * STRIDE) as f64;
    let starts = (LENGTH / h).round() as usize + 1;
    let trajectory = &trajectory(h, starts + (SAVE_TIMES - 1) * STRIDE);
    let mut order: Vec<usize> = (0..starts).collect();
    Random::new(0, Purpose::Data, 0).shuffle(&mut order);
    let paths = |starts: &[usize]| {
        let states = |start: usize| (0..SAVE_TIMES).flat_map(move |i| trajectory[start + i * STRIDE]);
        let numbers = starts.iter().flat_map(|&i| states(i)).collect();
        Samples::Rows(Rows {
            width: 2,
            inputs: starts.iter().flat_map(|&i| trajectory[i]).collect(),
            wanted: Wanted::Numbers { times: SAVE_TIMES, width: 2, numbers, weights: Vec::new() },
            times: Vec::new(),
        })
    };
    Data::new(paths(&order[..TRAIN]), paths(&order[TRAIN..TRAIN + TEST]))
}

/// The first `points` points at distance `h`, by the classical Runge-Kutta method.
fn trajectory(h: f64, points: usize) -> Vec<[f64; 2]> {
    std::iter::successors(Some(START), |&y| Some(step(y, h))).take(points).collect()
}

fn step(y: [f64; 2], h: f64) -> [f64; 2] {
    let add = |y: [f64; 2], a: f64, k: [f64; 2]| [y[0] + a * k[0], y[1] + a * k[1]];
    let k1 = field(y);
    let k2 = field(add(y, 0.5 * h, k1));
    let k3 = field(add(y, 0.5 * h, k2));
    let k4 = field(add(y, h, k3));
    add(add(add(add(y, h / 6.0, k1), h / 3.0, k2), h / 3.0, k3), h / 6.0, k4)
}

fn field(y: [f64; 2]) -> [f64; 2] {
    let cube = y.map(|x| x * x * x);
    [0, 1].map(|j| cube[0] * A[0][j] + cube[1] * A[1][j])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_has_converged() {
        let (coarse, fine) = (trajectory(1.0 / 600.0, 601), trajectory(1.0 / 1200.0, 1201));
        for (a, b) in coarse[600].iter().zip(fine[1200]) {
            assert!((a - b).abs() < 1e-8, "at t = 1, far below the models' tolerance: {a} and {b}");
        }
    }

    #[test]
    fn samples_follow_the_field() {
        let Data { train, test, .. } = spiral();
        assert_eq!((train.len(), test.len()), (TRAIN, TEST), "sizes");
        assert_eq!(test.sizes(0), (2, 2, SAVE_TIMES), "of a sample");
        let Samples::Rows(Rows { inputs, wanted: Wanted::Numbers { numbers, .. }, .. }) = test else { panic!("paths") };
        for (start, states) in inputs.chunks(2).zip(numbers.chunks(2 * SAVE_TIMES)) {
            assert_eq!(&states[..2], start, "the first save time is the start");
            let radius = |y: &[f64]| y[0].powi(4) + y[1].powi(4);
            assert!(radius(&states[2 * SAVE_TIMES - 2..]) < radius(start), "y1^4 + y2^4 falls along every trajectory");
        }
    }
}
