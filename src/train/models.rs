//! The models of Pal, Edelman & Rackauckas (ICML 2023), which the command and the benchmarks train.
//!
//! Encoder, head and noise are one linear layer each; the field's hidden layer is tanh.

use super::model::NeuralDe;
use crate::method::SolverOptions;
use crate::problem::{Calculus, Diffusion, InputMap, Mlp, Problem, TimeInput};

/// A cubic spiral in the plane: `y' = MLP(y^3)`, 2-50-2, for times from 0 to 1.5.
#[must_use]
pub fn spiral(options: SolverOptions) -> NeuralDe {
    NeuralDe::new(Problem::ode(spiral_field(), 0.0, 1.5), options)
}

/// Images of `pixels` numbers told into `classes`: a field `pixels`-`hidden`-`pixels` that sees the time in every layer, for
/// times from 0 to 1, and a head. The papers' MNIST has 784 pixels, 100 hidden units and 10 classes.
#[must_use]
pub fn images(pixels: usize, hidden: usize, classes: usize, options: SolverOptions) -> NeuralDe {
    let field = Mlp::new([pixels, hidden, pixels]).time_input(TimeInput::Every);
    NeuralDe::new(Problem::ode(field, 0.0, 1.0), options).head(classes)
}

/// Paths of a spiral with noise: the field of [`spiral`] as drift, for times from 0 to 1. The noise is meant as the method
/// of `options` means it.
#[must_use]
pub fn spiral_sde(options: SolverOptions) -> NeuralDe {
    NeuralDe::new(Problem::sde(spiral_field(), noise(2, &options), 0.0, 1.0), options)
}

/// MNIST by a neural SDE: an encoder from 784 to 32 numbers, drift 32-64-32, for times from 0 to 1, and a head. The noise is
/// meant as the method of `options` means it.
#[must_use]
pub fn mnist_sde(classes: usize, options: SolverOptions) -> NeuralDe {
    let problem = Problem::sde(Mlp::new([32, 64, 32]), noise(32, &options), 0.0, 1.0);
    NeuralDe::new(problem, options).encoder(784).head(classes)
}

fn spiral_field() -> Mlp {
    Mlp::new([2, 50, 2]).input_map(InputMap::Cube)
}

/// Diagonal noise, for a method without noise, which a solve refuses anyway, in the sense of Itô.
fn noise(width: usize, options: &SolverOptions) -> Diffusion {
    let calculus = options.method.tableau().noise.map_or(Calculus::Ito, |noise| noise.calculus);
    Diffusion::new(Mlp::new([width, width]), calculus)
}
