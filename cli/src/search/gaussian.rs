//! [`Process`]: a Gaussian process over one variable, of a handful of values whose noise is known.
//!
//! Some ten points on a line, a covariance that is given and a noise for each value: a page of Cholesky's method. Of the crates
//! that there are, `egobox-ego` brings its own design of experiments, fits its covariance to the data, which ten values do
//! not settle, and takes one noise for all; `friedrich` and `gprx` take one noise too, and all three bring a linear algebra
//! of their own.

/// A noisy value at a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Value {
    pub(crate) x: f64,
    pub(crate) y: f64,
    /// Its standard deviation.
    pub(crate) noise: f64,
}

/// What a process believes of a point, without the noise that a value there would have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Belief {
    pub(crate) mean: f64,
    pub(crate) deviation: f64,
}

impl Belief {
    /// The probability that it is at most `limit`.
    pub(crate) fn at_most(self, limit: f64) -> f64 {
        normal((limit - self.mean) / self.deviation)
    }

    /// How far it is expected to come below `best`: `E max(best - y, 0)` (J. Mockus, 1975; D. Jones, M. Schonlau, W. Welch,
    /// Efficient global optimization of expensive black-box functions, 1998).
    pub(crate) fn improvement(self, best: f64) -> f64 {
        let z = (best - self.mean) / self.deviation;
        let density = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
        (best - self.mean) * normal(z) + self.deviation * density
    }
}

/// The distribution function of the standard normal distribution.
fn normal(z: f64) -> f64 {
    0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2)
}

/// A process with covariance `s^2 Matern_5/2(|x - x'| / length)`, `s` the values' own standard deviation about their mean
/// (C. Rasmussen, C. Williams, Gaussian processes for machine learning, 2006, algorithm 2.1).
#[derive(Clone, Debug)]
pub(crate) struct Process {
    x: Vec<f64>,
    length: f64,
    mean: f64,
    scale: f64,
    /// Rows of the Cholesky factor of the values' covariance.
    factor: Vec<Vec<f64>>,
    /// The inverse covariance times the values.
    weights: Vec<f64>,
}

impl Process {
    /// That of values, of which there is at least one.
    pub(crate) fn of(values: &[Value], length: f64) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().map(|value| value.y).sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value.y - mean).powi(2)).sum();
        // Values that are all alike tell nothing of how much there is to tell: it may be as much as the noise hides.
        let hidden = values.iter().map(|value| value.noise).fold(1e-9, f64::max);
        let scale = (squares / (count - 1.0).max(1.0)).sqrt().max(hidden);
        let x: Vec<f64> = values.iter().map(|value| value.x).collect();
        let noise = values.iter().map(|value| (value.noise / scale).powi(2));
        let factor = cholesky(&x, length, &noise.collect::<Vec<_>>());
        let mut weights = forward(&factor, values.iter().map(|value| (value.y - mean) / scale));
        for i in (0..weights.len()).rev() {
            let known: f64 = (i + 1..weights.len()).map(|j| factor[j][i] * weights[j]).sum();
            weights[i] = (weights[i] - known) / factor[i][i];
        }
        Self { x, length, mean, scale, factor, weights }
    }

    /// What it believes of a point.
    pub(crate) fn at(&self, x: f64) -> Belief {
        let alike: Vec<f64> = self.x.iter().map(|at| matern((x - at) / self.length)).collect();
        let mean: f64 = alike.iter().zip(&self.weights).map(|(k, w)| k * w).sum();
        let known: f64 = forward(&self.factor, alike.into_iter()).iter().map(|v| v * v).sum();
        // Rounding may take more than there is.
        let deviation = self.scale * (1.0 - known).max(1e-12).sqrt();
        Belief { mean: self.mean + self.scale * mean, deviation }
    }
}

/// Matern's correlation of order 5/2.
fn matern(distance: f64) -> f64 {
    let r = 5f64.sqrt() * distance.abs();
    (1.0 + r + r * r / 3.0) * (-r).exp()
}

/// The lower factor of the correlations with noise on their diagonal.
fn cholesky(x: &[f64], length: f64, noise: &[f64]) -> Vec<Vec<f64>> {
    let mut factor: Vec<Vec<f64>> = Vec::with_capacity(x.len());
    for i in 0..x.len() {
        let mut row: Vec<f64> = Vec::with_capacity(i + 1);
        for j in 0..i {
            let known: f64 = row.iter().zip(&factor[j]).map(|(a, b)| a * b).sum();
            row.push((matern((x[i] - x[j]) / length) - known) / factor[j][j]);
        }
        let known: f64 = row.iter().map(|a| a * a).sum();
        row.push((1.0 + noise[i] - known).max(1e-12).sqrt());
        factor.push(row);
    }
    factor
}

/// Solves for the lower factor.
fn forward(factor: &[Vec<f64>], right: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut solved: Vec<f64> = Vec::with_capacity(factor.len());
    for (row, right) in factor.iter().zip(right) {
        let known: f64 = row.iter().zip(&solved).map(|(a, b)| a * b).sum();
        solved.push((right - known) / row[solved.len()]);
    }
    solved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, what: &str) {
        assert!((a - b).abs() < 1e-9, "{what}: {a} not {b}");
    }

    #[test]
    fn two_values_by_hand() {
        // At a distance of one length the correlation is (1 + sqrt 5 + 5/3) exp(-sqrt 5).
        let k = matern(1.0);
        close(k, 0.523_994_108_831_820_3, "Matern 5/2 at 1");
        let values = [(0.0, -1.0), (1.0, 1.0)].map(|(x, y)| Value { x, y, noise: 0.5 });
        let process = Process::of(&values, 1.0);
        // The values' deviation is sqrt 2, so that the noise's share of the variance is 1/8; (K + I/8) w = (-1, 1)/sqrt 2
        // gives w = (-1, 1)/(sqrt 2 (1 + 1/8 - k)).
        let mean = (k - 1.0) / (1.125 - k);
        close(process.at(0.0).mean, mean, "the mean at a value is drawn to the middle");
        close(process.at(0.5).mean, 0.0, "the middle between them");
        let inverse = |a: f64, b: f64| (1.125 * (a * a + b * b) - 2.0 * k * a * b) / (1.125f64.powi(2) - k * k);
        close(process.at(0.0).deviation, (2.0 * (1.0 - inverse(1.0, k))).sqrt(), "and what is left of the deviation");
        close(process.at(1e3).deviation, 2f64.sqrt(), "far away all of it");
    }

    #[test]
    fn without_noise_it_meets_its_values() {
        let values = [-2.0, -0.7, 0.1, 1.3].map(|x: f64| Value { x, y: (2.0 * x).sin(), noise: 0.0 });
        let process = Process::of(&values, 0.8);
        for value in values {
            let belief = process.at(value.x);
            assert!((belief.mean - value.y).abs() < 1e-6 && belief.deviation < 1e-5, "{belief:?} not {value:?}");
        }
        assert!((process.at(-0.3).mean - (-0.6f64).sin()).abs() < 0.2, "and lies near the curve between");
    }

    #[test]
    fn improvements_are_integrals() {
        for (mean, deviation, best) in [(0.0, 1.0, 0.0), (1.0, 0.3, 0.5), (-2.0, 2.0, 1.0)] {
            let belief = Belief { mean, deviation };
            let (mut gain, mut share, n) = (0.0, 0.0, 20_000);
            for i in 0..n {
                let z = -8.0 + 16.0 * (f64::from(i) + 0.5) / f64::from(n);
                let y = mean + deviation * z;
                let mass = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt() * 16.0 / f64::from(n);
                gain += mass * (best - y).max(0.0);
                share += if y <= best { mass } else { 0.0 };
            }
            assert!((belief.improvement(best) - gain).abs() < 1e-5, "{belief:?}: {gain}");
            assert!((belief.at_most(best) - share).abs() < 1e-3, "{belief:?}: {share}");
        }
    }

    #[test]
    fn values_that_are_alike_are_believed() {
        let values = [0.0, 1.0, 2.0].map(|x| Value { x, y: 7.0, noise: 0.1 });
        let belief = Process::of(&values, 0.8).at(1.0);
        assert_eq!(belief.mean, 7.0);
        assert!(belief.deviation > 0.01 && belief.deviation < 0.1, "as far as the noise hides: {belief:?}");
        assert!(Process::of(&values[..1], 0.8).at(0.0).deviation.is_finite(), "one value");
    }
}
