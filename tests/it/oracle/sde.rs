//! The oracle for problems with noise: one trajectory, one number at a time, on dual numbers.

use fewsteps::{Brownian, Diffusion, Method, NoiseScale, NoiseTableau, Problem, Tableau};

use super::dual::Number;
use super::system::System;

/// A problem with noise under a method.
pub(crate) struct Stochastic<'a> {
    pub(crate) problem: &'a Problem,
    pub(crate) method: Method,
}

/// What a step leaves behind.
pub(crate) struct NoisyStep<S> {
    pub(crate) end: Vec<S>,
    /// The second state of the reversible Heun method.
    pub(crate) second: Vec<S>,
    pub(crate) error: Vec<S>,
}

/// `dW`, and `chi2`, of a step for each channel.
pub(crate) type Draws = Vec<[f64; 2]>;

/// The path's increments over a step.
pub(crate) fn draws(path: &Brownian, trajectory: u32, features: usize, t0: f64, t1: f64) -> Draws {
    (0..features)
        .map(|channel| {
            let increment = path.increment::<f64>(trajectory, channel as u32, t0, t1);
            [increment.w, 0.5 * increment.w + increment.levy]
        })
        .collect()
}

impl Stochastic<'_> {
    fn noise(&self) -> &Diffusion {
        self.problem.diffusion.as_ref().expect("noise")
    }

    /// Drift and diffusion at a point.
    pub(crate) fn fields<S: Number>(&self, theta: &[S], t: f64, y: &[S]) -> [Vec<S>; 2] {
        let split = self.problem.field.parameter_count();
        let tolerances = fewsteps::Tolerances::default();
        let field =
            |field, theta| System { field, method: Method::Euler, tolerances, atol_per_feature: None }.f(theta, t, y);
        [
            field(self.problem.field.mlp().expect("a network"), &theta[..split]),
            field(self.noise().network.mlp().expect("a network"), &theta[split..]),
        ]
    }

    /// The step from `t0` to `t1`, from the state and the second one.
    pub(crate) fn step<S: Number>(
        &self,
        theta: &[S],
        (t0, t1): (f64, f64),
        y: &[S],
        second: &[S],
        draws: &Draws,
        constant: Option<&[Vec<S>; 2]>,
    ) -> NoisyStep<S> {
        let drift = self.method.tableau();
        let noise = drift.noise.expect("a stochastic method");
        if noise.reversible {
            return self.reversible(theta, (t0, t1), y, second, draws, constant);
        }
        let h = t1 - t0;
        let (mut f, mut g): (Vec<Vec<S>>, Vec<Vec<S>>) = (Vec::new(), Vec::new());
        for i in 0..drift.b.len().max(noise.c.len()) {
            let state = |a: &[f64], b: &[f64], scale: NoiseScale, f: &[Vec<S>], g: &[Vec<S>]| -> Vec<S> {
                (0..y.len())
                    .map(|d| {
                        let s = match scale {
                            NoiseScale::Increment => draws[d][0],
                            NoiseScale::Mean => draws[d][1],
                            NoiseScale::Root => h.sqrt(),
                            scale => panic!("no oracle for {scale:?}"),
                        };
                        let drifts = a.iter().zip(f).fold(S::new(0.0), |sum, (a, f)| sum + S::new(a * h) * f[d]);
                        b.iter().zip(g).fold(y[d] + drifts, |sum, (b, g)| sum + S::new(b * s) * g[d])
                    })
                    .collect()
            };
            let (f_before, g_before) = (f.clone(), g.clone());
            if i < drift.b.len() {
                let at = state(drift.a[i], noise.drift_b[i], noise.drift_scale, &f_before, &g_before);
                f.push(match constant {
                    Some(constant) if i == 0 => constant[0].clone(),
                    _ => self.fields(theta, t0 + drift.c[i] * h, &at)[0].clone(),
                });
            }
            if i < noise.c.len() {
                let at = state(noise.a[i], noise.b[i], noise.scale, &f_before, &g_before);
                g.push(match constant {
                    Some(constant) if i == 0 => constant[1].clone(),
                    _ => self.fields(theta, t0 + noise.c[i] * h, &at)[1].clone(),
                });
            }
        }
        let end = assemble(y, h, draws, drift.b, &noise.weights, &f, &g);
        let zero = vec![S::new(0.0); y.len()];
        let error = assemble(&zero, h, draws, drift.b_error.unwrap_or(&[]), &noise.error, &f, &g);
        NoisyStep { second: end.clone(), end, error }
    }

    fn reversible<S: Number>(
        &self,
        theta: &[S],
        (t0, t1): (f64, f64),
        y: &[S],
        z: &[S],
        draws: &Draws,
        constant: Option<&[Vec<S>; 2]>,
    ) -> NoisyStep<S> {
        let h = S::new(t1 - t0);
        let [f0, g0] = constant.cloned().unwrap_or_else(|| self.fields(theta, t0, z));
        let w = |d: usize| S::new(draws[d][0]);
        let z1: Vec<S> = (0..y.len()).map(|d| S::new(2.0) * y[d] - z[d] + h * f0[d] + w(d) * g0[d]).collect();
        let [f1, g1] = self.fields(theta, t1, &z1);
        let half = S::new(0.5);
        let end = (0..y.len()).map(|d| y[d] + half * (h * (f0[d] + f1[d]) + w(d) * (g0[d] + g1[d]))).collect();
        let error = (0..y.len()).map(|d| half * (h * (f1[d] - f0[d]) + w(d) * (g1[d] - g0[d]))).collect();
        NoisyStep { end, second: z1, error }
    }

    /// States at the given ends of steps, the initial one first.
    pub(crate) fn solve<S: Number>(
        &self,
        theta: &[S],
        y0: &[S],
        path: &Brownian,
        trajectory: u32,
        ends: &[f64],
    ) -> Vec<Vec<S>> {
        let mut states = vec![y0.to_vec()];
        let mut second = y0.to_vec();
        for t in ends.windows(2) {
            let y = states.last().expect("a state").clone();
            let draws = draws(path, trajectory, y0.len(), t[0], t[1]);
            let step = self.step(theta, (t[0], t[1]), &y, &second, &draws, None);
            states.push(step.end);
            second = step.second;
        }
        states
    }
}

/// `base + h sum b_i f_i + sum_i (beta1_i dW + beta2_i chi1 + beta3_i chi2 + beta4_i chi3) g_i`.
fn assemble<S: Number>(
    base: &[S],
    h: f64,
    draws: &Draws,
    b: &[f64],
    weights: &[&[f64]; 4],
    f: &[Vec<S>],
    g: &[Vec<S>],
) -> Vec<S> {
    (0..base.len())
        .map(|d| {
            let [w, mean] = draws[d];
            let x = [w, (w * w - h) / (2.0 * h.sqrt()), mean, (w.powi(3) - 3.0 * w * h) / (6.0 * h)];
            let drifts = b.iter().zip(f).fold(base[d], |sum, (b, f)| sum + S::new(b * h) * f[d]);
            (0..g.len()).fold(drifts, |sum, i| {
                let factor: f64 = (0..4).map(|k| weights[k].get(i).copied().unwrap_or(0.0) * x[k]).sum();
                sum + S::new(factor) * g[i][d]
            })
        })
        .collect()
}

/// A tableau with its noise.
pub(crate) fn tableaus(method: Method) -> (&'static Tableau, &'static NoiseTableau) {
    let drift = method.tableau();
    (drift, drift.noise.expect("a stochastic method"))
}
