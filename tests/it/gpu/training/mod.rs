//! Training on the device against the native engine.

mod bounds;
mod controls;
mod density;
mod fields;
mod gradients;
mod helps;
mod integrals;
mod latent;
mod observed;
mod own_data;
mod own_penalties;
mod own_times;
mod points;
mod recurrent;
mod regularizers;
mod steps;

use crate::oracle::{cast, numbers};
use fewsteps::{Batch, Layout, Method, Mlp, NeuralDe, Problem, SolverOptions, StepControl, Target, TimeInput};

const INPUTS: usize = 5;
const DIM: usize = 4;
const CLASSES: usize = 3;

fn model(layout: Layout, method: Method) -> NeuralDe {
    let field = Mlp::new([DIM, 6, DIM]).time_input(TimeInput::Every);
    // With fixed steps rounding decides about nothing, and the errors measured are well above it.
    let options = SolverOptions::default().method(method).layout(layout).step_control(StepControl::Fixed { steps: 3 });
    NeuralDe::new(Problem::ode(field, 0.0, 2.0), options).encoder(INPUTS).head(CLASSES)
}

/// Inputs, labels and states of a batch.
struct Samples {
    inputs: Vec<f32>,
    labels: Vec<u32>,
}

fn samples(batch: usize) -> Samples {
    let labels = (0..batch).map(|i| (i * 7 % CLASSES) as u32).collect();
    Samples { inputs: cast(&numbers(11, batch * INPUTS)), labels }
}

impl Samples {
    fn batch(&self) -> Batch<'_, f32> {
        Batch { inputs: &self.inputs, target: Target::Labels(&self.labels) }
    }
}

/// Dynamics whose errors stand well above rounding.
fn lively(theta: &[f32]) -> Vec<f32> {
    theta.iter().map(|x| 2.5 * x).collect()
}
