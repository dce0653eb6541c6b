//! Train neural ODEs and SDEs that need few solver steps.
//!
//! A neural ODE's cost is the number of times its adaptive solver evaluates the network (NFE). *Local regularization*
//! (Pal, Edelman & Rackauckas, ICML 2023) takes the solver's own error estimate of one step at a random time, adds it
//! to the loss, and so learns dynamics that are easy to integrate.
//!
//! # A tour
//!
//! A vector field is an [`Mlp`]. A [`Problem`] puts it on an interval, [`SolverOptions`] say how it is solved, and
//! a [`Solver`] solves batches of it on a [`Cpu`] and differentiates the solution:
//!
//! ```
//! use fewsteps::{Cpu, Mlp, Problem, SaveAt, Solver, SolverOptions, Tolerances};
//!
//! # fn main() -> fewsteps::Result<()> {
//! let field = Mlp::new([2, 32, 2]);
//! let theta = field.initialize::<f64>(0);
//! let options = SolverOptions::default()
//!     .tolerances(Tolerances::both(1e-8))
//!     .save_at(SaveAt::Times(vec![0.5, 1.0]));
//! let mut solver = Solver::new(&Cpu::new()?, &Problem::ode(field, 0.0, 1.0), &options)?;
//! let solution = solver.solve(&theta, &[1.0, 0.0])?.check()?; // one trajectory of two features
//! println!("y(1) = {:?} after {} evaluations", &solution.ys[2..], solution.nfe());
//! let gradients = solver.gradients(&[0.0, 0.0, 1.0, 1.0])?; // of the sum of y(1)
//! # assert_eq!(gradients.theta.len(), theta.len());
//! # Ok(())
//! # }
//! ```
//!
//! A [`Trainer`] puts an encoder and a head around the problem, linear or any [`Field`] ([`NeuralDe`]), adds a loss, an
//! [`Optimizer`] and a [`Regularizer`], and makes one call a training step. [`Local`] describes local regularization.
//!
//! A [`Problem::sde`] has noise, a [`Diffusion`] in the sense of Itô or Stratonovich. Its paths are a pure
//! function of seed, trajectory, channel and interval ([`Brownian`], [`Paths`]):
//!
//! ```
//! use fewsteps::{Cpu, Diffusion, Mlp, Paths, Problem, Solver, SolverOptions, Tolerances};
//!
//! # fn main() -> fewsteps::Result<()> {
//! let problem = Problem::sde(Mlp::new([2, 16, 2]), Diffusion::ito(Mlp::new([2, 2])), 0.0, 1.0);
//! let theta = problem.initialize::<f32>(0); // the drift's parameters, then the diffusion's
//! let mut solver = Solver::new(&Cpu::new()?, &problem, &SolverOptions::sde(Tolerances::both(0.1)))?;
//! solver.set_paths(Paths::new(7));
//! let paths = solver.solve(&theta, &[1.0, 0.0, 1.0, 0.0])?.check()?; // two trajectories from one state
//! let gradients = solver.gradients(&[1.0; 4])?; // exact for these paths
//! # assert!(paths.ys[0] != paths.ys[2] && gradients.theta.len() == theta.len());
//! # Ok(())
//! # }
//! ```
//!
//! The chapters of the [`guide`] go deeper: methods, tolerances, regularizers, gradients, noise, devices, embedding, and every
//! error text.
//!
//! # Two layouts with two meanings
//!
//! In [`Layout::Lockstep`] the batch is one system with one step size, as in the papers; in [`Layout::Ensemble`] each
//! trajectory has its own, and neither its result nor its cost depends on its neighbours.
//!
//! # Failures
//!
//! A call that cannot be carried out returns an [`Error`] that names the argument, its value and the remedy. A
//! trajectory that fails has a [`Status`] and does not take its batch along. Nothing panics on a user's input.
//!
//! # Engines
//!
//! The native engine ([`Solver`], [`Trainer`]) computes at `f32` and `f64`, the wgpu engine ([`GpuSolver`],
//! [`GpuTrainer`]) at `f32` on any [`Gpu`]; [`Device::best`] chooses. Their checkpoints are the same, and the
//! specification, what is solved and how, knows no device.

mod cpu;
mod device;
mod error;
mod files;
mod gpu;
#[cfg(doc)]
pub mod guide;
mod math;
mod memory;
mod method;
mod problem;
mod self_check;
mod solution;
mod train;

pub use cpu::{Cpu, Scalar, Solver, instruction_set};
pub use device::Device;
pub use error::{Error, Result, Status};
pub use files::{check_regular, remove_temporaries, write_whole};
pub use gpu::{
    AdapterSummary, Gpu, GpuSolver, KernelTime, OUTCOME_WGSL, Pick, Profile, SolveIo, SolveOutcome, SolveRecording,
};
pub use math::{Purpose, Random, Real, philox4x32};
pub use method::{
    Adjoint, Aggregate, Attempt, Budget, BudgetState, Checkpoints, Controller, ControllerMemory, Decision, Elbo,
    EndTime, FixedStep, Global, GlobalPenalty, Hooks, InitialStep, LatentGru, Layout, Learnt, Local, Loss, MAX_STAGES,
    Measure, Method, NoiseScale, NoiseTableau, PenaltyAt, PenaltyGradient, PenaltyNoise, PenaltyStep, PointMeasure,
    PointPenalty, PointValue, PointValues, Pointwise, Reading, Recurrent, Reduction, Regularizer, SaveAt, Schedule,
    SolverOptions, StepControl, StepPenalty, Tableau, Target, Tolerances,
};
pub use problem::{
    Activation, Bound, Brownian, Calculus, Control, Cost, Diffusion, Field, FieldBuilder, FieldCost, GradientCheck,
    Group, Increment, Initialization, InputMap, Interpolation, Layer, Mlp, Noise, Paths, Problem, Subfield, TimeInput,
    Times, Trace, Value,
};
pub use self_check::SelfCheck;
pub use solution::{DenseSolution, Gradients, SavedTimes, Solution, Stats, Workspace};
#[cfg(not(target_arch = "wasm32"))]
pub use train::Blocking;
pub use train::{
    Backend, Batch, Batches, Best, CheckpointInfo, Clip, Curriculum, Deployed, EarlyStopping, Evaluation,
    FailurePolicy, GpuData, GpuTrainer, HyperReport, HyperTraining, Hypersolver, Learner, NeuralDe, Optimizer,
    OptimizerState, Rule, Segment, SegmentBatch, Segments, Series, Shooting, SliceReport, StateMap, StepGradients,
    StepReport, StepTimes, TensorLayout, TrainIo, Trainer, TrainerConfig, Update, Verdict, models,
};

/// The graphics interface of the wgpu engine, in the version that [`Gpu::from_wgpu`] takes devices of.
pub use wgpu;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
