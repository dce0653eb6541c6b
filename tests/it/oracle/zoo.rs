//! Problems with known solutions, as networks of one layer.

use fewsteps::{Activation, InputMap, Mlp, Problem, TimeInput};

/// From a time and the state there to the state at another time.
type Flow = Box<dyn Fn(f64, &[f64], f64) -> Vec<f64>>;

/// A problem with its solution.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) problem: Problem,
    pub(crate) theta: Vec<f64>,
    pub(crate) y0: Vec<f64>,
    /// The state at the second time of the solution that passes through the given state at the first.
    pub(crate) flow: Flow,
}

impl Known {
    /// Initial states of a batch: `y0` and multiples of it.
    pub(crate) fn rows(&self, batch: usize) -> Vec<f64> {
        (0..batch).flat_map(|r| self.y0.iter().map(move |y| y * (1.0 - 0.23 * r as f64))).collect()
    }

    /// The states at time `t` of the batch with these initial states.
    pub(crate) fn exact(&self, rows: &[f64], t: f64) -> Vec<f64> {
        rows.chunks_exact(self.y0.len()).flat_map(|y| (self.flow)(self.problem.t0, y, t)).collect()
    }

    /// The same problem from its end to its start.
    pub(crate) fn backwards(self) -> Self {
        let Problem { field, t0, t1, .. } = self.problem;
        let y0 = (self.flow)(t0, &self.y0, t1);
        Self { problem: Problem::ode(field, t1, t0), y0, ..self }
    }

    /// How much the problem amplifies a small error of its initial state.
    pub(crate) fn growth(&self) -> f64 {
        let Problem { t0, t1, .. } = self.problem;
        let end = (self.flow)(t0, &self.y0, t1);
        let size = self.y0.iter().fold(0f64, |m, y| m.max(y.abs()));
        (0..self.y0.len())
            .map(|i| {
                let mut moved = self.y0.clone();
                moved[i] += 1e-6 * size;
                let moved = (self.flow)(t0, &moved, t1);
                moved.iter().zip(&end).map(|(a, b)| (a - b).abs()).sum::<f64>() / (1e-6 * size)
            })
            .fold(1.0, f64::max)
    }
}

/// The matrix `exp(a)`, row by row: Taylor's series of `a / 2^s`, squared `s` times.
fn exponential(a: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let n = a.len();
    let product = |a: &[Vec<f64>], b: &[Vec<f64>]| -> Vec<Vec<f64>> {
        (0..n).map(|i| (0..n).map(|j| (0..n).map(|k| a[i][k] * b[k][j]).sum()).collect()).collect()
    };
    let norm = a.iter().map(|row| row.iter().map(|x| x.abs()).sum::<f64>()).fold(0.0, f64::max);
    let halvings = (norm.max(1e-3).log2().ceil() as i32 + 3).max(0);
    let small: Vec<Vec<f64>> = a.iter().map(|row| row.iter().map(|x| x * 0.5f64.powi(halvings)).collect()).collect();
    let unit = |i: usize, j: usize| if i == j { 1.0 } else { 0.0 };
    let mut term: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| unit(i, j)).collect()).collect();
    let mut sum = term.clone();
    for k in 1..=14 {
        term = product(&term, &small);
        for (sum, term) in sum.iter_mut().flatten().zip(term.iter_mut().flatten()) {
            *term /= f64::from(k);
            *sum += *term;
        }
    }
    for _ in 0..halvings {
        sum = product(&sum, &sum);
    }
    sum
}

/// `y' = a y`, with its solution.
pub(crate) fn linear(name: &'static str, a: Vec<Vec<f64>>, t1: f64, y0: Vec<f64>) -> Known {
    let n = a.len();
    // The layer's block is the transpose, a row an input, and then the bias.
    let theta = (0..n).flat_map(|i| a.iter().map(move |row| row[i])).chain(vec![0.0; n]).collect();
    let flow = move |from: f64, y: &[f64], to: f64| {
        let scaled: Vec<Vec<f64>> = a.iter().map(|row| row.iter().map(|x| x * (to - from)).collect()).collect();
        exponential(&scaled).iter().map(|row| row.iter().zip(y).map(|(e, y)| e * y).sum()).collect()
    };
    Known { name, problem: Problem::ode(Mlp::new([n, n]), 0.0, t1), theta, y0, flow: Box::new(flow) }
}

/// A square matrix from its entries.
fn matrix(n: usize, entry: impl Fn(usize, usize) -> f64) -> Vec<Vec<f64>> {
    (0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect()
}

/// `y' = a y + b t + c`, with the time as an input.
fn forced() -> Known {
    let (a, b, c) = (-0.8, 1.5, 0.3);
    let particular = move |t: f64| -b / a * t - c / a - b / (a * a);
    let flow =
        move |from: f64, y: &[f64], to: f64| vec![particular(to) + (y[0] - particular(from)) * (a * (to - from)).exp()];
    Known {
        name: "forced",
        problem: Problem::ode(Mlp::new([1, 1]).time_input(TimeInput::First), 0.5, 3.0),
        theta: vec![a, b, c],
        y0: vec![2.0],
        flow: Box::new(flow),
    }
}

/// `y' = a y^3`: DETEST A2 for `a = -1/2`, twice with different speeds.
fn cubic() -> Known {
    let speeds = [-0.5, -1.25];
    let flow = move |from: f64, y: &[f64], to: f64| {
        y.iter().zip(speeds).map(|(y, a)| y / (1.0 - 2.0 * a * y * y * (to - from)).sqrt()).collect()
    };
    Known {
        name: "cubic",
        problem: Problem::ode(Mlp::new([2, 2]).input_map(InputMap::Cube), 0.0, 3.0),
        theta: vec![speeds[0], 0.0, 0.0, speeds[1], 0.0, 0.0],
        y0: vec![1.0, 0.8],
        flow: Box::new(flow),
    }
}

/// All problems: two elementary ones, two that are not autonomous or not linear, and the linear ones of DETEST
/// (Hull, Enright, Fellen & Sedgwick, SIAM J. Numer. Anal. 9, 1972).
pub(crate) fn zoo() -> Vec<Known> {
    let first = |n: usize| (0..n).map(|i| if i == 0 { 1.0 } else { 0.0 }).collect::<Vec<f64>>();
    let rotation = vec![vec![0.0, -2.0], vec![2.0, 0.0]];
    let reaction = vec![vec![-1.0, 1.0, 0.0], vec![1.0, -2.0, 1.0], vec![0.0, 1.0, -1.0]];
    let chain = matrix(10, |i, j| match i {
        _ if i == j && i < 9 => -1.0,
        _ if i == j + 1 => 1.0,
        _ => 0.0,
    });
    let faster_chain = matrix(10, |i, j| match i {
        _ if i == j && i < 9 => -(i as f64 + 1.0),
        _ if i == j + 1 => j as f64 + 1.0,
        _ => 0.0,
    });
    let diffusion = |n| {
        matrix(n, |i, j| match i.abs_diff(j) {
            0 => -2.0,
            1 => 1.0,
            _ => 0.0,
        })
    };
    vec![
        linear("decay", vec![vec![-1.0]], 4.0, vec![1.0]),
        linear("rotation", rotation, 3.0, vec![1.0, 0.5]),
        forced(),
        cubic(),
        linear("reaction B2", reaction, 4.0, vec![2.0, 0.0, 1.0]),
        linear("chain C1", chain, 4.0, first(10)),
        linear("chain C2", faster_chain, 2.0, first(10)),
        linear("diffusion C3", diffusion(10), 4.0, first(10)),
        linear("diffusion C4", diffusion(51), 4.0, first(51)),
    ]
}

/// `y' = -y + 20` from 1 to 1.05 and `y' = -y` before and after, on `[0, 2]` from 1, each edge a ramp of length 1/512;
/// and `y(2)`, which is 0.51257 for edges without length.
pub(crate) fn pulse() -> (Problem, Vec<f64>, f64) {
    let field = Mlp::new([1, 6, 1]).time_input(TimeInput::First).activation(Activation::Relu);
    let (k, on, off) = (512.0, 1.0, 1.05);
    // y+, y-, and the ramps relu(k (t - edge)) - relu(k (t - edge) - 1) up and down.
    let state = [1.0, -1.0, 0.0, 0.0, 0.0, 0.0];
    let time = [0.0, 0.0, k, k, k, k];
    let bias = [0.0, 0.0, -k * on, -k * on - 1.0, -k * off, -k * off - 1.0];
    let out = [-1.0, 1.0, 20.0, -20.0, -20.0, 20.0];
    let theta = [&state[..], &time, &bias, &out, &[0.0]].concat();
    let ramp = k * ((1.0f64 / k).exp() - 1.0);
    let end = (-2f64).exp() + 20.0 * ((off - 2.0).exp() - (on - 2.0).exp()) * ramp;
    (Problem::ode(field, 0.0, 2.0), theta, end)
}
