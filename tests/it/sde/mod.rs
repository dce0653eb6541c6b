//! Problems with noise on the native engine.

mod brownian;
mod free_form;
mod gradients;
mod knots;
mod order;
mod regularizer;
mod scalar;
mod solve;
mod tableau;
mod training;

use fewsteps::{Calculus, Diffusion, Method, Mlp, Problem};

const DIM: usize = 3;

fn calculus(method: Method) -> Calculus {
    method.tableau().noise.expect("stochastic").calculus
}

fn problem(method: Method) -> Problem {
    let network = Diffusion::new(Mlp::new([DIM, 4, DIM]), calculus(method));
    Problem::sde(Mlp::new([DIM, 8, DIM]), network, 0.0, 2.0)
}

fn refusal<T>(result: fewsteps::Result<T>) -> String {
    match result {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    }
}
