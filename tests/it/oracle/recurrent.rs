//! Recurrent encoders in plain loops, from their equations: nothing of the library takes part but the names of tensors.

use super::Number;
use fewsteps::{FixedStep, LatentGru, NeuralDe};

/// Parameters by the names of their tensors.
pub(crate) struct Named<'a, N> {
    pub(crate) model: &'a NeuralDe,
    pub(crate) theta: &'a [N],
}

pub(crate) fn tanh<N: Number>(x: N) -> N {
    let y = x.value().tanh();
    x.chain(y, 1.0 - y * y)
}

pub(crate) fn sigmoid<N: Number>(x: N) -> N {
    let y = 1.0 / (1.0 + (-x.value()).exp());
    x.chain(y, y * (1.0 - y))
}

fn each<N: Number>(f: impl Fn(N) -> N, x: Vec<N>) -> Vec<N> {
    x.into_iter().map(f).collect()
}

fn times<N: Number>(a: &[N], b: &[N]) -> Vec<N> {
    a.iter().zip(b).map(|(a, b)| *a * *b).collect()
}

/// `a + scale b`
fn plus<N: Number>(a: &[N], scale: N, b: &[N]) -> Vec<N> {
    a.iter().zip(b).map(|(a, b)| *a + scale * *b).collect()
}

/// `(1 - u) new + u old`
fn blend<N: Number>(u: &[N], new: &[N], old: &[N]) -> Vec<N> {
    (0..u.len()).map(|i| (N::new(1.0) - u[i]) * new[i] + u[i] * old[i]).collect()
}

fn join<N: Number>(parts: &[&[N]]) -> Vec<N> {
    parts.concat()
}

impl<N: Number> Named<'_, N> {
    /// The affine layer of a name: `x W + b`.
    pub(crate) fn layer(&self, name: &str, x: &[N]) -> Vec<N> {
        let layout = self.model.layout();
        let find = |part: &str| {
            let full = format!("{name}.{part}");
            layout.iter().find(|tensor| tensor.name == full).unwrap_or_else(|| panic!("no {full}"))
        };
        let (weight, bias) = (find("weight"), find("bias"));
        let [inputs, outputs] = weight.shape[..] else { panic!("{name}: a matrix") };
        assert_eq!((inputs, bias.shape[0]), (x.len(), outputs), "{name}");
        let term = |sum: N, i: usize, o: usize| sum + x[i] * self.theta[weight.offset + i * outputs + o];
        let column = |o: usize| (0..inputs).fold(self.theta[bias.offset + o], |sum, i| term(sum, i, o));
        (0..outputs).map(column).collect()
    }

    /// Two layers with a tanh between them.
    fn network(&self, name: &str, x: &[N]) -> Vec<N> {
        let inner = each(tanh, self.layer(&format!("{name}.0"), x));
        self.layer(&format!("{name}.1"), &inner)
    }

    /// A gated recurrent unit, of tensors below `name`.
    pub(crate) fn gru(&self, name: &str, h: &[N], x: &[N]) -> Vec<N> {
        let gates = each(sigmoid, self.layer(&format!("{name}.gates.0"), &join(&[h, x])));
        let (reset, update) = gates.split_at(h.len());
        let of_state = times(reset, &self.layer(&format!("{name}.state.0"), h));
        let of_input = self.layer(&format!("{name}.input.0"), x);
        blend(update, &each(tanh, plus(&of_input, N::new(1.0), &of_state)), h)
    }

    /// The latent ODE's unit, on `[values, mask, dt]`.
    pub(crate) fn latent(&self, form: LatentGru, h: &[N], x: &[N]) -> Vec<N> {
        let (m, s) = h.split_at(h.len() / 2);
        let values = x.len() / 2;
        let [u, r] = ["update", "reset"]
            .map(|name| each(sigmoid, self.network(&format!("encoder.cell.{name}"), &join(&[m, s, x]))));
        let c = self.network("encoder.cell.candidate", &join(&[&times(m, &r), &times(s, &r), x]));
        let c = if form == LatentGru::Published { each(tanh, c) } else { c };
        let (c_m, c_s) = c.split_at(m.len());
        let mask = x[values..2 * values].iter().map(|x| x.value()).sum::<f64>();
        let (c_m, seen) = match form {
            LatentGru::Published => (c_s, mask + x[2 * values].value()),
            _ => (c_m, mask),
        };
        if seen > 0.0 { join(&[&blend(&u, c_m, m), &blend(&u, c_s, s)]) } else { h.to_vec() }
    }

    /// The hidden state after `dt` along a network of two layers, in equal steps.
    pub(crate) fn evolved(&self, method: FixedStep, steps: usize, h: &[N], dt: N) -> Vec<N> {
        let step = dt / N::new(steps as f64);
        let half = step * N::new(0.5);
        let f = |h: &[N]| self.network("encoder.cell.evolution", h);
        let mut h = h.to_vec();
        for _ in 0..steps {
            let k1 = f(&h);
            h = match method {
                FixedStep::Euler => plus(&h, step, &k1),
                FixedStep::Midpoint => plus(&h, step, &f(&plus(&h, half, &k1))),
                _ => {
                    let k2 = f(&plus(&h, half, &k1));
                    let k3 = f(&plus(&h, half, &k2));
                    let k4 = f(&plus(&h, step, &k3));
                    let sum = plus(&plus(&plus(&k1, N::new(2.0), &k2), N::new(2.0), &k3), N::new(1.0), &k4);
                    plus(&h, step * N::new(1.0 / 6.0), &sum)
                }
            };
        }
        h
    }
}
