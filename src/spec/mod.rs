//! Plain data and pure mathematics: what is to be computed, on no device in particular.

mod adjoint;
pub(crate) mod brownian;
mod budget;
mod controller;
mod elementary;
mod learnt;
mod mlp;
mod noise_tableau;
mod optimizer;
pub(crate) mod philox;
mod problem;
mod real;
mod regularizer;
mod schedule;
mod tableau;

pub use adjoint::{Adjoint, Checkpoints};
pub use brownian::{Brownian, Increment, Paths};
#[cfg(test)]
pub(crate) use budget::{BUDGET_NUMBERS, WARMUP as BUDGET_WARMUP, WINDOW as BUDGET_WINDOW};
pub use budget::{Budget, BudgetState};
pub use controller::{Attempt, Controller, ControllerMemory, Decision};
#[cfg(test)]
pub(crate) use learnt::LEARNT_NUMBERS;
pub use learnt::Learnt;
pub(crate) use learnt::{IdealSteps, LONGEST_WISH, MOST_GROWTH, RESOLVED_ERROR, quantile_of_wishes, wish};
pub(crate) use mlp::check_parameters;
pub use mlp::{Activation, Initialization, InputMap, Layer, Mlp, TimeInput};
pub(crate) use noise_tableau::tableau_supports;
pub use noise_tableau::{Calculus, NoiseScale, NoiseTableau};
pub(crate) use optimizer::norm;
pub use optimizer::{Clip, Optimizer, OptimizerState, Rule, Update};
pub use philox::{Purpose, Random, philox4x32};
pub use problem::{Diffusion, InitialStep, Layout, Problem, SaveAt, SolverOptions, StepControl, Tolerances};
pub(crate) use problem::{settled, shortest_step};
pub use real::Real;
pub use regularizer::{
    Hooks, Local, Measure, PenaltyAt, PenaltyGradient, PenaltyNoise, PenaltyStep, Regularizer, StepPenalty,
};
pub use schedule::Schedule;
pub use tableau::{MAX_STAGES, Method, Tableau};
