//! Cells: what a hidden state becomes with one more observation, as fields of `[hidden, observation]`.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::problem::{Activation, Field, FieldBuilder, Mlp, Subfield, Value};

/// A cell of the latent ODE: a gated recurrent unit whose hidden state has two halves, `m` and `s` (Rubanova, Chen & Duvenaud
/// 2019).
///
/// ```text
/// u = sigmoid(W tanh(W [m, s, x]))       r likewise
/// c = W tanh(W [r m, r s, x])            with halves c_m and c_s
/// m' = (1 - u) c_m + u m                 s' = (1 - u) c_s + u s
/// ```
///
/// An observation is `[values, mask, dt]`: numbers, 1 for each one that was observed, and the time to the next observation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LatentGru {
    /// Last observation first, from zeros; where the whole mask is 0 the hidden state stays. The default.
    #[default]
    Correct,
    /// As the code of Pal et al. 2022 has it, flaws and all, for comparisons with its tables: first observation first, `m`
    /// from 0 and `s` from 1, `c = tanh(W tanh(W [r m, r s, x]))`, `m' = (1 - u) c_s + u m`, and the hidden state stays where
    /// mask and `dt` add up to 0, which is at the last observation alone.
    Published,
}

/// A step of an explicit method for `h' = f(h)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FixedStep {
    /// Euler's, of order 1, the default: the one of the ODE-RNN's authors.
    #[default]
    Euler,
    /// The midpoint rule, of order 2.
    Midpoint,
    /// The classical Runge-Kutta method of order 4.
    Rk4,
}

/// A gated recurrent unit in the form of cuDNN and `PyTorch`, whose reset gate comes after the product:
///
/// ```text
/// [r, u] = sigmoid(W [h, x] + b)        c = tanh(W_x x + b_x + r (W_h h + b_h))        h' = (1 - u) c + u h
/// ```
pub(super) fn gru(hidden: usize, width: usize) -> Result<Field> {
    Field::build(hidden.saturating_add(width), |f| {
        let state = f.state();
        let (h, x) = (state.slice(0..hidden), state.slice(hidden..hidden.saturating_add(width)));
        let gates = Mlp::new([hidden.saturating_add(width), hidden.saturating_mul(2)]);
        let gates = f.mlp("gates", &gates.output_activation(Activation::Sigmoid), &state);
        let (reset, update) = (gates.slice(0..hidden), gates.slice(hidden..hidden.saturating_mul(2)));
        let of_input = f.mlp("input", &Mlp::new([width, hidden]), &x);
        let of_state = f.mlp("state", &Mlp::new([hidden, hidden]), &h);
        blend(&update, &(of_input + reset * of_state).tanh(), &h)
    })
}

/// The latent ODE's, with halves of `half` numbers and networks of `inner` hidden units.
pub(super) fn latent(values: usize, [half, inner]: [usize; 2], form: LatentGru) -> Result<Field> {
    let (hidden, width) = (half.saturating_mul(2), values.saturating_mul(2).saturating_add(1));
    let inputs = hidden.saturating_add(width);
    Field::build(inputs, |f| {
        let state = f.state();
        let [mean, deviation, x] = [0..half, half..hidden, hidden..inputs].map(|rows| state.slice(rows));
        let gate = Mlp::new([inputs, inner, half]).output_activation(Activation::Sigmoid);
        let (update, reset) = (f.mlp("update", &gate, &state), f.mlp("reset", &gate, &state));
        let mut network = Mlp::new([inputs, inner, hidden]);
        if form == LatentGru::Published {
            network = network.output_activation(Activation::Tanh);
        }
        let candidate = f.mlp("candidate", &network, &f.stack([&reset * &mean, &reset * &deviation, x.clone()]));
        let [of_mean, of_deviation] = [0..half, half..hidden].map(|rows| candidate.slice(rows));
        let mask = x.slice(values..values.saturating_mul(2)).sum();
        let (of_mean, seen) = match form {
            LatentGru::Correct => (of_mean, mask),
            LatentGru::Published => (of_deviation.clone(), mask + x.row(width - 1)),
        };
        let new = f.stack([blend(&update, &of_mean, &mean), blend(&update, &of_deviation, &deviation)]);
        where_seen(&seen, &new, &state.slice(0..hidden))
    })
}

/// A cell that leaves the hidden state as it is where some of an observation's numbers add up to 0.
pub(super) fn masked(cell: &Field, mask: Range<usize>) -> Result<Field> {
    let hidden = cell.outputs();
    Field::build(cell.inputs(), |f| {
        let state = f.state();
        let new = f.embedded(cell).at(f, &state, &f.literal(&[0.0]));
        let seen = state.slice(hidden.saturating_add(mask.start)..hidden.saturating_add(mask.end)).sum();
        where_seen(&seen, &new, &state.slice(0..hidden))
    })
}

/// A cell before which the hidden state moves along `field` for the time that number `dt` of the observation says, in so many
/// equal steps.
pub(super) fn evolved(cell: &Field, field: &Field, dt: usize, steps: usize, method: FixedStep) -> Result<Field> {
    let (inputs, hidden) = (cell.inputs(), cell.outputs());
    Field::build(inputs, |f| {
        let (moves, update) = (f.subfield("evolution", field), f.subfield("update", cell));
        let (state, never) = (f.state(), f.literal(&[0.0]));
        let (mut h, x) = (state.slice(0..hidden), state.slice(hidden..inputs));
        let step = x.row(dt) * (1.0 / steps as f64);
        for _ in 0..steps {
            h = method.step(f, &moves, &h, &step);
        }
        update.at(f, &f.stack([h, x]), &never)
    })
}

impl FixedStep {
    fn step(self, f: &FieldBuilder, moves: &Subfield, h: &Value, step: &Value) -> Value {
        let slope = |h: &Value| moves.at(f, h, &f.literal(&[0.0]));
        let first = slope(h);
        match self {
            Self::Euler => h + step * first,
            Self::Midpoint => h + step * slope(&(h + 0.5 * step * first)),
            Self::Rk4 => {
                let second = slope(&(h + 0.5 * step * &first));
                let third = slope(&(h + 0.5 * step * &second));
                let fourth = slope(&(h + step * &third));
                h + (1.0 / 6.0) * step * (first + 2.0 * (second + third) + fourth)
            }
        }
    }
}

/// `(1 - u) new + u old`
fn blend(update: &Value, new: &Value, old: &Value) -> Value {
    (1.0 - update) * new + update * old
}

/// `new` where the mask's sum is positive, else `old`, both to the bit: of factors that are 0 and 1 there is no rounding.
fn where_seen(mask: &Value, new: &Value, old: &Value) -> Value {
    let seen = mask.is_positive();
    &seen * new + (1.0 - &seen) * old
}

/// Refuses a field that reads time or controls: no time passes in an encoder, and nothing drives it.
pub(super) fn check_alone(argument: &'static str, field: &Field) -> Result<()> {
    if field.reads_time() {
        let remedy = "it stands outside of the equation, where no time passes: leave the time out of it";
        return Err(Error::argument(argument, field.widths(), remedy));
    }
    match field.controls().first() {
        Some(control) => {
            let remedy = "it stands outside of the equation, where nothing drives it: give it to the field";
            Err(Error::argument(argument, format!("control {:?}", control.name), remedy))
        }
        None => Ok(()),
    }
}
