//! The oracle: networks, steps, walks over given steps and penalties in the plainest words, for numbers with or
//! without a derivative. It shares no code with the engine but the tableaus and the layout of parameters.

use fewsteps::{Activation, InputMap, Measure, Method, Mlp, Tableau, Tolerances};

use super::dual::Number;

fn sigmoid<S: Number>(z: S) -> S {
    let s = 1.0 / (1.0 + (-z.value()).exp());
    z.chain(s, s * (1.0 - s))
}

fn tanh<S: Number>(z: S) -> S {
    let a = z.value().tanh();
    z.chain(a, 1.0 - a * a)
}

fn activate<S: Number>(activation: Activation, z: S) -> S {
    let x = z.value();
    match activation {
        Activation::Identity => z,
        Activation::Tanh => tanh(z),
        Activation::Relu => z.chain(x.max(0.0), if x > 0.0 { 1.0 } else { 0.0 }),
        Activation::Softplus => z.chain((1.0 + x.exp()).ln(), 1.0 / (1.0 + (-x).exp())),
        Activation::Sigmoid => sigmoid(z),
        Activation::Silu => z * sigmoid(z),
        Activation::Gelu => {
            let cubic = z + S::new(0.044715) * z * z * z;
            let inner = tanh(S::new((2.0 / std::f64::consts::PI).sqrt()) * cubic);
            S::new(0.5) * z * (S::new(1.0) + inner)
        }
        unknown => panic!("{unknown:?} has no oracle yet"),
    }
}

/// One step with everything in it.
#[derive(Clone, Debug)]
pub(crate) struct Step<S> {
    pub(crate) t0: f64,
    pub(crate) t1: f64,
    /// The state before it.
    pub(crate) y: Vec<S>,
    /// States and slopes of the stages.
    pub(crate) g: Vec<Vec<S>>,
    pub(crate) k: Vec<Vec<S>>,
    /// The state after it.
    pub(crate) end: Vec<S>,
}

/// A field under a method with tolerances.
#[derive(Clone, Debug)]
pub(crate) struct System<'a> {
    pub(crate) field: &'a Mlp,
    pub(crate) method: Method,
    pub(crate) tolerances: Tolerances,
    /// In place of the absolute tolerance, one a feature.
    pub(crate) atol_per_feature: Option<&'a [f64]>,
}

impl System<'_> {
    fn tableau(&self) -> &'static Tableau {
        self.method.tableau()
    }

    /// `f(t, y; theta)`.
    pub(crate) fn f<S: Number>(&self, theta: &[S], t: f64, y: &[S]) -> Vec<S> {
        let map = |y: &S| match self.field.map() {
            InputMap::Identity => *y,
            InputMap::Cube => *y * *y * *y,
            unknown => panic!("{unknown:?} has no oracle yet"),
        };
        let mut x: Vec<S> = y.iter().map(map).collect();
        for layer in self.field.layers() {
            if layer.time {
                x.push(S::new(t));
            }
            x.push(S::new(1.0));
            let weight = |row: usize, output: usize| theta[layer.offset + row * layer.outputs + output];
            x = (0..layer.outputs)
                .map(|o| {
                    let z = x.iter().enumerate().fold(S::new(0.0), |sum, (row, &x)| sum + x * weight(row, o));
                    activate(layer.activation, z)
                })
                .collect();
        }
        x
    }

    /// The step from `t0` to `t1`; its first slope is evaluated unless given.
    pub(crate) fn step<S: Number>(&self, theta: &[S], t0: f64, t1: f64, y: &[S], k1: Option<Vec<S>>) -> Step<S> {
        let Tableau { a, b, c, .. } = self.tableau();
        let h = t1 - t0;
        let (mut g, mut k): (Vec<Vec<S>>, Vec<Vec<S>>) = (Vec::new(), Vec::new());
        for i in 0..b.len() {
            let state = along(y, h, a[i], &k);
            let slope = match &k1 {
                Some(k1) if i == 0 => k1.clone(),
                _ => self.f(theta, t0 + c[i] * h, &state),
            };
            g.push(state);
            k.push(slope);
        }
        let end = along(y, h, b, &k);
        Step { t0, t1, y: y.to_vec(), g, k, end }
    }

    /// The given steps one after the other.
    pub(crate) fn walk<S: Number>(&self, theta: &[S], times: &[f64], y0: &[S]) -> Vec<Step<S>> {
        let mut steps: Vec<Step<S>> = Vec::new();
        for ends in times.windows(2) {
            let step = self.step(theta, ends[0], ends[1], steps.last().map_or(y0, |s| &s.end), None);
            steps.push(step);
        }
        steps
    }

    /// The state at time `t` of a walk, by the interpolant between the ends of steps.
    pub(crate) fn state_at<S: Number>(&self, steps: &[Step<S>], t: f64) -> Vec<S> {
        state_at(self.tableau(), steps, t)
    }

    /// What the i-th element's error is measured in.
    fn scale<S: Number>(&self, i: usize, y: S, end: S) -> S {
        let larger = if end.abs().value() > y.abs().value() { end.abs() } else { y.abs() };
        let atol = self.atol_per_feature.map_or(self.tolerances.atol, |atol| atol[i]);
        S::new(atol) + S::new(self.tolerances.rtol) * larger
    }

    /// The scaled error norm of one step of several trajectories.
    pub(crate) fn error_norm<S: Number>(&self, steps: &[Step<S>]) -> S {
        let weights = self.tableau().b_error.expect("a method with an error estimate");
        let scaled = steps.iter().flat_map(|step| {
            let zero = vec![S::new(0.0); step.y.len()];
            // The weights have no sum: of differences less is rounded away.
            let from = &step.k[0];
            let moved: Vec<Vec<S>> =
                step.k.iter().map(|k| k.iter().zip(from).map(|(k, from)| *k - *from).collect()).collect();
            let error = along(&zero, step.t1 - step.t0, weights, &moved);
            (0..step.y.len()).map(|i| error[i] / self.scale(i, step.y[i], step.end[i])).collect::<Vec<S>>()
        });
        rms(scaled)
    }

    /// The automatic initial step of Hairer, Nørsett & Wanner, II.4, in units of the interval's length, for
    /// trajectories that share it.
    pub(crate) fn initial_step(&self, theta: &[f64], t: f64, rows: &[Vec<f64>], signed_span: f64) -> f64 {
        let span = signed_span.abs();
        let slopes: Vec<Vec<f64>> = rows.iter().map(|y| self.f(theta, t, y)).collect();
        let norm = |values: &dyn Fn(usize, usize) -> f64| {
            rms(rows.iter().enumerate().flat_map(|(r, y)| {
                y.iter().enumerate().map(|(i, &y)| values(r, i) / self.scale(i, y, y)).collect::<Vec<f64>>()
            }))
        };
        let (d0, d1) = (norm(&|r, i| rows[r][i]), span * norm(&|r, i| slopes[r][i]));
        let h0 = if d0 < 1e-5 || d1 < 1e-5 { 1e-6 } else { (0.01 * d0 / d1).min(1.0) };
        let trials: Vec<Vec<f64>> = rows
            .iter()
            .zip(&slopes)
            .map(|(y, k)| {
                let moved: Vec<f64> = y.iter().zip(k).map(|(y, k)| y + h0 * signed_span * k).collect();
                self.f(theta, t + h0 * signed_span, &moved)
            })
            .collect();
        let d2 = span * norm(&|r, i| trials[r][i] - slopes[r][i]) / h0;
        let q = (self.tableau().embedded_order + 1) as f64;
        let worst = d1.max(d2);
        let h1 = if worst <= 1e-15 { (h0 * 1e-3).max(1e-6) } else { (0.01 / worst).powf(1.0 / q) };
        (100.0 * h0).min(h1).min(1.0) * signed_span
    }
}

/// `y + h sum weight_i k_i`.
fn along<S: Number>(y: &[S], h: f64, weights: &[f64], k: &[Vec<S>]) -> Vec<S> {
    (0..y.len())
        .map(|i| {
            let slope = weights.iter().zip(k).fold(S::new(0.0), |sum, (&w, k)| sum + S::new(w) * k[i]);
            y[i] + S::new(h) * slope
        })
        .collect()
}

/// Root mean square.
fn rms<S: Number>(values: impl IntoIterator<Item = S>) -> S {
    let (sum, count) = values.into_iter().fold((S::new(0.0), 0.0), |(sum, n), x| (sum + x * x, n + 1.0));
    (sum / S::new(count)).power(0.5)
}

/// The state at time `t` of a walk, by the interpolant between the ends of steps.
pub(crate) fn state_at<S: Number>(tableau: &Tableau, steps: &[Step<S>], t: f64) -> Vec<S> {
    if t == steps[0].t0 {
        return steps[0].y.clone();
    }
    let covers = |s: &&Step<S>| (s.t0 < t && t <= s.t1) || (s.t1 <= t && t < s.t0);
    let step = steps.iter().find(covers).expect("a time that the walk covers");
    if t == step.t1 {
        return step.end.clone();
    }
    let theta = (t - step.t0) / (step.t1 - step.t0);
    let weights: Vec<f64> =
        tableau.interpolant.iter().map(|p| (1..).zip(p).map(|(power, p)| p * theta.powi(power)).sum()).collect();
    along(&step.y, step.t1 - step.t0, &weights, &step.k)
}

/// The penalty of one step of trajectories that share it, on an interval of length `span`.
pub(crate) fn penalty<S: Number>(system: &System<'_>, measure: Measure, span: f64, steps: &[Step<S>]) -> S {
    let tableau = system.tableau();
    let h = (steps[0].t1 - steps[0].t0).abs();
    match measure {
        Measure::Error => system.error_norm(steps) * S::new(h),
        Measure::StepCount => {
            let q = (tableau.embedded_order + 1) as f64;
            system.error_norm(steps).power(1.0 / q) * S::new(span.abs() / h)
        }
        Measure::Stiffness => {
            let last = tableau.b.len() - 1;
            let change = |of: fn(&Step<S>) -> &Vec<Vec<S>>| {
                let differences = |s: &Step<S>| -> Vec<S> {
                    of(s)[last].iter().zip(&of(s)[last - 1]).map(|(&a, &b)| a - b).collect()
                };
                rms(steps.iter().flat_map(differences))
            };
            let size = tableau.stability_size.expect("a method that estimates stiffness");
            change(|s| &s.k) / (change(|s| &s.g) + S::new(1e-12)) / S::new(size)
        }
        unknown => panic!("{unknown:?} has no oracle yet"),
    }
}
