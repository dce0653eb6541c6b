//! Points of densities in the plane, generated: the toy data of the papers on continuous normalizing flows, as the code of
//! FFJORD (W. Grathwohl, R. T. Q. Chen, J. Bettencourt, I. Sutskever, D. Duvenaud, 2019) draws them.

use std::f64::consts::{FRAC_PI_4, PI};

use fewsteps::{Purpose, Random};

use super::samples::{Rows, Samples, Wanted};
use super::set::Data;

const TRAIN: usize = 8192;
const TEST: usize = 2048;

/// Two half circles that hold on to each other, of radius 2, with a noise of a fifth.
pub(crate) fn moons() -> Data {
    drawn(|random| {
        let (angle, lower) = (PI * random.uniform(), random.uniform() < 0.5);
        let (x, y) = if lower { (1.0 - angle.cos(), 0.5 - angle.sin()) } else { (angle.cos(), angle.sin()) };
        let noise = [0.1 * random.normal(), 0.1 * random.normal()];
        [2.0 * (x + noise[0]) - 1.0, 2.0 * (y + noise[1]) - 0.2]
    })
}

/// Eight normal densities on a circle of radius 4, of deviation a half; all divided by the root of 2.
pub(crate) fn gaussians() -> Data {
    drawn(|random| {
        let angle = FRAC_PI_4 * random.below(8) as f64;
        let noise = [0.5 * random.normal(), 0.5 * random.normal()];
        [4.0 * angle.cos() + noise[0], 4.0 * angle.sin() + noise[1]].map(|x| x / 2f64.sqrt())
    })
}

/// The black squares, of side 2, of a board from -4 to 4: the density is 1/32 there, of entropy `ln 32`.
pub(crate) fn checkerboard() -> Data {
    drawn(|random| {
        let x = 4.0 * random.uniform() - 2.0;
        let y = random.uniform() - 2.0 * random.below(2) as f64 + x.floor().rem_euclid(2.0);
        [2.0 * x, 2.0 * y]
    })
}

/// Points to train on and to test on, the same for everyone.
fn drawn(point: impl Fn(&mut Random) -> [f64; 2]) -> Data {
    let samples = |count: usize, stream: u64| {
        let mut random = Random::new(0, Purpose::Data, stream);
        let inputs = (0..count).flat_map(|_| point(&mut random)).collect();
        Samples::Rows(Rows { width: 2, inputs, wanted: Wanted::Nothing, times: Vec::new() })
    };
    Data::new(samples(TRAIN, 0), samples(TEST, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(data: Data) -> Vec<[f64; 2]> {
        assert_eq!((data.train.len(), data.test.len()), (TRAIN, TEST), "sizes");
        let Samples::Rows(rows) = data.train else { panic!("rows") };
        rows.inputs.chunks(2).map(|x| [x[0], x[1]]).collect()
    }

    #[test]
    fn the_board_has_black_squares_alike() {
        let mut counts = std::collections::BTreeMap::new();
        for [x, y] in points(checkerboard()) {
            assert!(x.abs() <= 4.0 && y.abs() <= 4.0, "{x}, {y}");
            let square = [x, y].map(|x| (x / 2.0).floor() as i32);
            assert_eq!((square[0] + square[1]).rem_euclid(2), 0, "{x}, {y} is on a white one");
            *counts.entry(square).or_insert(0usize) += 1;
        }
        assert_eq!(counts.len(), 8);
        // Four deviations of a binomial distribution.
        assert!(counts.values().all(|&count| count.abs_diff(TRAIN / 8) < 120), "{counts:?}");
    }

    #[test]
    fn gaussians_and_moons_are_where_they_are_said_to_be() {
        let radius = |[x, y]: &[f64; 2]| (x * x + y * y).sqrt();
        let mean = points(gaussians()).iter().map(radius).sum::<f64>() / TRAIN as f64;
        // sqrt(8), and half the variance over it.
        assert!((mean - 8f64.sqrt() - 0.0625 / 8f64.sqrt()).abs() < 0.02, "{mean}");
        let from_an_arc = |[x, y]: &[f64; 2]| {
            let (x, y) = ((x + 1.0) / 2.0, (y + 0.2) / 2.0);
            let [upper, lower] = [x.hypot(y) - 1.0, (1.0 - x).hypot(0.5 - y) - 1.0].map(f64::abs);
            upper.min(lower)
        };
        assert!(points(moons()).iter().all(|point| from_an_arc(point) < 0.5), "five deviations");
    }
}
