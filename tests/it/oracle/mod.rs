//! What the numerics tests share: an oracle that knows nothing of the engine, problems with known solutions, and
//! small conveniences.

mod adapter;
mod dual;
mod failing;
mod memory;
mod noise;
mod recurrent;
mod system;
mod warnings;
mod zoo;

pub(crate) use adapter::{gpu, own_gpu};
pub(crate) use dual::{Dual, Number, differences, gradient};
pub(crate) use failing::{blow_up, blow_up_defect, blow_up_exact, known_until_failure};
pub(crate) use memory::{allocated, without_memory};
pub(crate) use noise::{
    Course, NOISY_ADAPTIVE, Noisy, NoisyStep, PATHS, Pair, channel, courses, increments, noisy_problem, on_chord,
    replay, saves, shared, states,
};
pub(crate) use recurrent::Named;
pub(crate) use system::{Step, System, penalty, state_at};
pub(crate) use warnings::warnings_of;
pub(crate) use zoo::{Known, linear, pulse, zoo};

use fewsteps::{
    Controller, Cpu, InitialStep, Layout, Method, Problem, Purpose, Random, Real, SavedTimes, Scalar, Solution, Solver,
    SolverOptions, StepControl, Tolerances,
};

/// Both layouts.
pub(crate) const LAYOUTS: [Layout; 2] = [Layout::Lockstep, Layout::Ensemble];

/// The methods that estimate their error.
pub(crate) const ADAPTIVE: [Method; 4] = [Method::Heun, Method::Bosh3, Method::Dopri5, Method::Tsit5];

/// An engine of that many threads.
pub(crate) fn cpu(threads: usize) -> Cpu {
    Cpu::with_threads(threads).expect("threads start")
}

/// A solver on one thread.
pub(crate) fn solver<R: Scalar>(problem: &Problem, options: &SolverOptions) -> Solver<R> {
    Solver::new(&cpu(1), problem, options).expect("a valid problem")
}

/// Options with default controller and both tolerances the same.
pub(crate) fn adaptive(method: Method, tolerance: f64) -> SolverOptions {
    SolverOptions::default().method(method).tolerances(Tolerances::both(tolerance))
}

/// Options with as many equal steps.
pub(crate) fn fixed(method: Method, steps: usize) -> SolverOptions {
    SolverOptions::default().method(method).step_control(StepControl::Fixed { steps })
}

/// As [`adaptive`], with a given length of the first step.
pub(crate) fn with_first_step(method: Method, tolerance: f64, length: f64) -> SolverOptions {
    SolverOptions::default().method(method).step_control(StepControl::Adaptive {
        tolerances: Tolerances::both(tolerance),
        controller: Controller::default(),
        initial_step: InitialStep::Length(length),
    })
}

/// Reproducible numbers, uniform in `[-1, 1)`.
pub(crate) fn numbers(seed: u64, n: usize) -> Vec<f64> {
    let mut random = Random::new(seed, Purpose::Data, 0);
    (0..n).map(|_| 2.0 * random.uniform() - 1.0).collect()
}

/// The numbers, each times `factor`.
pub(crate) fn scaled(factor: f64, numbers: &[f64]) -> Vec<f64> {
    numbers.iter().map(|x| factor * x).collect()
}

pub(crate) fn cast<R: Real>(numbers: &[f64]) -> Vec<R> {
    numbers.iter().map(|&x| R::from_f64(x)).collect()
}

pub(crate) fn widen<R: Real>(numbers: &[R]) -> Vec<f64> {
    numbers.iter().map(|x| x.to_f64()).collect()
}

/// Bit patterns, so that equality is exact and NaN equals itself.
pub(crate) fn bits<R: Real>(numbers: &[R]) -> Vec<u64> {
    numbers.iter().map(|x| x.to_f64().to_bits()).collect()
}

/// Ends of a trajectory's accepted steps, the initial time first, from a solution saved at its steps.
pub(crate) fn step_times<R>(solution: &Solution<R>, trajectory: usize) -> Vec<f64> {
    match &solution.ts {
        SavedTimes::Shared(times) => times.clone(),
        SavedTimes::PerTrajectory(times) => times[trajectory].clone(),
        SavedTimes::Own(times) => panic!("no steps: {times:?}"),
    }
}

/// The largest difference of two slices.
pub(crate) fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "slices of one length");
    // `max` would pass over a NaN.
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |m, d| if d <= m || m.is_nan() { m } else { d })
}

/// The largest magnitude.
pub(crate) fn largest(numbers: &[f64]) -> f64 {
    numbers.iter().fold(0.0, |m, x| x.abs().max(m))
}

/// Asserts that `found` is `expected` within `bound` times the largest number expected.
pub(crate) fn close(name: &str, found: &[f64], expected: &[f64], bound: f64) {
    let scale = largest(expected);
    let error = distance(found, expected) / scale;
    let far = |d: f64| d.is_nan() || d > bound * scale;
    let position = found.iter().zip(expected).position(|(a, b)| far((a - b).abs()));
    assert!(
        error <= bound,
        "{name}: relative error {error:e} above {bound:e}, first at {position:?} of {}",
        found.len()
    );
}
