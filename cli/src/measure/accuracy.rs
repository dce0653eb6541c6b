//! How far a solve is from the solution: its saved states, before the head, against a converged solve of the same model.
//!
//! Without noise the solution is that of Tsit5 on the native engine at `f64`, within 1e-10 or less. With noise it is that
//! along the same paths, of a thousand and more equal steps; there is a strong error, of the states, and a weak one, of
//! their mean and variance over the paths. Where a diffusion mixes features every method is of strong order 1/2, so that
//! this solution is not exact either: how much half as many steps change it says by how much, and an error that is not
//! well above that is not told.

use fewsteps::{
    Backend, Blocking, Calculus, Controller, Cpu, InitialStep, Learner, Loss, Method, NeuralDe, Paths, Result, Scalar,
    SolverOptions, StepControl, Tolerances, Trainer, TrainerConfig,
};

use crate::corrected::Corrected;
use crate::data::{BatchBuffer, Samples};
use crate::record::{Measured, WeakError};

/// Trajectories that are compared, at most and at least.
const MOST: usize = 256;
const LEAST: usize = 32;

/// Trajectories times parameters beyond which fewer are compared: a converged solve takes hundreds of evaluations.
const WORK: usize = 1 << 23;

/// Tolerance of the converged solve, or a thousandth of that of a solve that is nearly as narrow.
const CONVERGED: f64 = 1e-10;

/// Equal steps along a path, at least; half of them say what they are worth.
const FINE_STEPS: usize = 1024;

/// The error of a solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Achieved {
    /// Norm of the difference over that of the solution, as root mean square over the trajectories that both solved.
    pub(crate) relative: f64,
    /// With noise, that of mean and variance over those trajectories.
    pub(crate) weak: Option<WeakError>,
}

/// Trajectories and their solution.
#[derive(Debug)]
pub(crate) struct Reference<R> {
    inputs: Vec<R>,
    /// Cells of the paths; 0 without noise.
    cells: usize,
    /// `[times][trajectories][D]`.
    solution: Vec<f64>,
    /// Its own relative error; 0 without noise.
    own: f64,
}

impl<R: Scalar> Reference<R> {
    /// The solution of the first of these samples for the model, along the paths that its options follow.
    pub(crate) fn new(
        cpu: &Cpu,
        config: &TrainerConfig,
        theta: &[R],
        samples: &Samples,
        indices: &[usize],
    ) -> Result<Self> {
        let count = (WORK / theta.len().max(1)).clamp(LEAST, MOST).min(indices.len());
        let inputs = BatchBuffer::<R>::default().gather(samples, &indices[..count]).inputs.to_vec();
        let cells = cells_of(&config.model, &config.model.options)?;
        let wide: Vec<f64> = inputs.iter().map(|x| x.to_f64()).collect();
        let theta: Vec<f64> = theta.iter().map(|x| x.to_f64()).collect();
        let solve = |options: SolverOptions| {
            let mut trainer = Trainer::<f64>::new(cpu, states_of(config, options))?;
            let used = trainer.parameters().len();
            trainer.set_parameters(&theta[..used])?;
            trainer.predict_along(&wide, Paths::of_evaluation(config.seed, 0))
        };
        let solution = solve(converged(&config.model, cells, 2))?;
        let mut reference = Self { inputs, cells, solution, own: 0.0 };
        if cells > 0 {
            let coarser = solve(converged(&config.model, cells, 1))?;
            reference.own = reference.compare(&config.model, &coarser).map_or(f64::INFINITY, |found| found.relative);
        }
        Ok(reference)
    }

    /// The solution of a learner's model; of `corrected` steps, of the model that they are of.
    pub(crate) fn of<L: Learner<Scalar = R>>(
        cpu: &Cpu,
        learner: &mut Blocking<L>,
        corrected: Option<&Corrected>,
        samples: &Samples,
        indices: &[usize],
    ) -> Result<Self> {
        let (mut config, mut theta) = (learner.config().clone(), learner.parameters()?);
        if let Some(corrected) = corrected {
            (config, theta) = corrected.before(&config, &theta);
        }
        Self::new(cpu, &config, &theta, samples, indices)
    }

    /// Whether the model is solved along the paths of this solution.
    pub(crate) fn is_of(&self, model: &NeuralDe) -> Result<bool> {
        Ok(cells_of(model, &model.options)? == self.cells)
    }

    /// The error of the learner's model as it solves itself; `None` where no trajectory is solved, or where the error is
    /// not twice that of the solution.
    pub(crate) fn error<L: Learner<Scalar = R>>(
        &self,
        engine: &L::Engine,
        learner: &mut Blocking<L>,
    ) -> Result<Option<Achieved>> {
        let (theta, config) = (learner.parameters()?, learner.config());
        let mut headless = Blocking::<L>::new(engine, states_of(config, config.model.options.clone()))?;
        let used = headless.config().model.parameter_count();
        headless.set_parameters(&theta[..used])?;
        headless.set_learnt(learner.learnt()?)?;
        let model = &learner.config().model;
        let states = headless.predict_along(&self.inputs, Paths::of_evaluation(headless.config().seed, 0))?;
        let states: Vec<f64> = states.iter().map(|x| x.to_f64()).collect();
        Ok(self.compare(model, &states).filter(|found| found.relative >= 2.0 * self.own))
    }

    fn compare(&self, model: &NeuralDe, states: &[f64]) -> Option<Achieved> {
        compare(states, &self.solution, model.output_times(), model.problem.dim(), self.cells > 0)
    }
}

/// The error of the learner's model as it solves itself, of the first of `samples`, added to what was measured. Of
/// `corrected` steps it is that of the model that they are of.
pub(crate) fn with_error<L: Learner>(
    engine: &L::Engine,
    learner: &mut Blocking<L>,
    samples: &Samples,
    corrected: Option<&Corrected>,
    measured: Measured,
) -> anyhow::Result<Measured> {
    if !measured.loss.is_finite() {
        return Ok(measured);
    }
    let first: Vec<usize> = (0..samples.len().min(MOST)).collect();
    let found = super::over(learner, samples, |learner| {
        let reference = Reference::of(&engine.native()?, learner, corrected, samples, &first)?;
        Ok(reference.error(engine, learner)?)
    })?;
    Ok(Measured {
        error: found.map(|found| found.relative),
        weak_error: found.and_then(|found| found.weak),
        ..measured
    })
}

/// The same equation without a head, solved with other options: its outputs are the saved states.
fn states_of(config: &TrainerConfig, options: SolverOptions) -> TrainerConfig {
    let mut model = config.model.clone();
    (model.options, model.head) = (options, None);
    TrainerConfig::new(model, Loss::Mse).seed(config.seed)
}

/// Cells of the paths that a solve follows; 0 without noise.
fn cells_of(model: &NeuralDe, options: &SolverOptions) -> Result<usize> {
    if model.problem.diffusion.is_none() {
        return Ok(0);
    }
    // A cell has 2^24 ticks.
    let ticks = options.path(&model.problem, Paths::default())?.ticks();
    Ok(usize::try_from(ticks >> 24).unwrap_or(usize::MAX))
}

/// How the solution is found; along paths in so many `halves` of all steps.
fn converged(model: &NeuralDe, cells: usize, halves: usize) -> SolverOptions {
    let options = &model.options;
    let mut kept = options.clone();
    (kept.memory_limit, kept.atol_per_feature) = (None, None);
    if let Some(diffusion) = &model.problem.diffusion {
        let method = match diffusion.calculus {
            Calculus::Stratonovich => Method::StratonovichHeun,
            _ => Method::Sosri,
        };
        let steps = halves * cells * FINE_STEPS.div_ceil(2 * cells);
        (kept.largest_step, kept.stop_at) = (None, Vec::new());
        return kept.method(method).step_control(StepControl::Fixed { steps }).path_cells(cells);
    }
    let asked = match options.step_control {
        StepControl::Adaptive { tolerances, .. } => tolerances.rtol.min(tolerances.atol),
        _ => f64::INFINITY,
    };
    let step_control = StepControl::Adaptive {
        tolerances: Tolerances::both((1e-3 * asked).clamp(1e-13, CONVERGED)),
        controller: Controller::I.prompt(),
        initial_step: InitialStep::Automatic,
    };
    let steps = 1_000_000;
    kept.method(Method::Tsit5).step_control(step_control).max_steps(steps)
}

/// The difference of two arrays of states `[times][trajectories][D]`, of which the second is the solution.
fn compare(states: &[f64], solution: &[f64], times: usize, dim: usize, noise: bool) -> Option<Achieved> {
    let count = solution.len() / (times * dim);
    let of = |all: &[f64], i: usize| -> Vec<f64> {
        (0..times).flat_map(|time| all[(time * count + i) * dim..][..dim].to_vec()).collect()
    };
    let pairs = (0..count).map(|i| (of(states, i), of(solution, i)));
    let solved: Vec<(Vec<f64>, Vec<f64>)> =
        pairs.filter(|(a, b)| a.iter().chain(b).all(|x| x.is_finite()) && norm(b) > 0.0).collect();
    if solved.is_empty() {
        return None;
    }
    let squares: f64 = solved.iter().map(|(a, b)| distance(a, b).powi(2)).sum();
    let [(mean, variance), (true_mean, true_variance)] =
        [moments(solved.iter().map(|pair| &pair.0)), moments(solved.iter().map(|pair| &pair.1))];
    let weak = WeakError { mean: distance(&mean, &true_mean), variance: distance(&variance, &true_variance) };
    Some(Achieved { relative: (squares / solved.len() as f64).sqrt(), weak: noise.then_some(weak) })
}

/// Mean and variance of each number of the rows.
fn moments<'a>(rows: impl Iterator<Item = &'a Vec<f64>> + Clone) -> (Vec<f64>, Vec<f64>) {
    let count = rows.clone().count() as f64;
    let width = rows.clone().next().map_or(0, Vec::len);
    let over = |value: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
        (0..width).map(|i| rows.clone().map(|row| value(i, row[i])).sum::<f64>() / count).collect()
    };
    let mean = over(&|_, x| x);
    let variance = over(&|i, x| (x - mean[i]).powi(2));
    (mean, variance)
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Norm of the difference over that of the second.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    norm(&difference) / norm(b)
}

#[cfg(test)]
mod tests {
    use fewsteps::{Diffusion, Mlp, Problem};

    use super::*;
    use crate::data::{Rows, Wanted};

    /// `dy/dt = slope y`, and noise `scale y dW` if any.
    fn linear(slope: f64, scale: Option<f64>, options: SolverOptions) -> (TrainerConfig, Vec<f64>) {
        let layer = |x: f64| vec![x, 0.0, 0.0, x, 0.0, 0.0];
        let field = Mlp::new([2, 2]);
        let problem = match scale {
            None => Problem::ode(field, 0.0, 1.0),
            Some(_) => Problem::sde(field, Diffusion::ito(Mlp::new([2, 2])), 0.0, 1.0),
        };
        // A head that the states must not be taken through.
        let model = NeuralDe::new(problem, options).head(3);
        let theta = [layer(slope), scale.map_or(Vec::new(), layer), vec![7.0; 9]].concat();
        (TrainerConfig::new(model, Loss::Mse), theta)
    }

    fn fixed(method: Method, steps: usize) -> SolverOptions {
        SolverOptions::default().method(method).step_control(StepControl::Fixed { steps })
    }

    fn error(slope: f64, scale: Option<f64>, options: SolverOptions) -> Option<Achieved> {
        let cpu = Cpu::with_threads(1).expect("a thread");
        let inputs = (0..64).flat_map(|i| [1.0 + f64::from(i), -0.5]).collect();
        let wanted = Wanted::Numbers { times: 1, width: 2, numbers: vec![0.0; 128], weights: Vec::new() };
        let samples = Samples::Rows(Rows { width: 2, inputs, wanted, times: Vec::new() });
        let (config, theta) = linear(slope, scale, options);
        let first: Vec<usize> = (0..64).collect();
        let reference = Reference::new(&cpu, &config, &theta, &samples, &first).expect("solved");
        assert!(reference.is_of(&config.model).expect("good options"), "its own paths");
        let mut trainer = Trainer::<f64>::new(&cpu, config).expect("a valid model");
        trainer.set_parameters(&theta).expect("its parameters");
        reference.error(&cpu, &mut Blocking(trainer)).expect("solved")
    }

    #[test]
    fn errors_of_a_linear_equation_are_those_of_the_formula() {
        for (method, steps, order) in [(Method::Euler, 4, 1), (Method::Heun, 3, 2), (Method::Rk4, 2, 4)] {
            // A step multiplies by the exponential series up to the order.
            let z = -1.5 / f64::from(steps);
            let terms = (1..=order).scan(1.0, |term, n| {
                *term *= z / f64::from(n);
                Some(*term)
            });
            let growth: f64 = 1.0 + terms.sum::<f64>();
            let expected = (growth.powi(steps) / (-1.5f64).exp() - 1.0).abs();
            let found = error(-1.5, None, fixed(method, steps.unsigned_abs() as usize)).expect("solved");
            assert!((found.relative / expected - 1.0).abs() < 1e-6, "{method}: {} for {expected}", found.relative);
            assert_eq!(found.weak, None, "there are no paths");
        }
    }

    #[test]
    fn errors_along_paths_fall_with_the_order_and_are_not_told_beyond_the_solution() {
        let of = |steps| error(0.0, Some(0.5), fixed(Method::EulerMaruyama, steps));
        let [coarse, fine] = [8, 128].map(|steps| of(steps).expect("far from the solution"));
        let ratio = coarse.relative / fine.relative;
        assert!((2.5..6.0).contains(&ratio), "order 1/2: a quarter at 16 times the steps, {ratio}");
        let weak = [coarse, fine].map(|found| found.weak.expect("paths").mean);
        assert!(weak[0] > 2.0 * weak[1] && weak[1] > 0.0, "of the mean: {weak:?}");
        assert_eq!(error(-1.0, Some(0.5), fixed(Method::Sosri, 1024)), None, "the very steps of the solution");
    }

    #[test]
    fn failed_trajectories_and_empty_states_have_no_part() {
        let solution = [3.0, 4.0, 1.0, 0.0, 0.0, 0.0];
        let states = [3.0, 4.5, f64::NAN, 0.0, 9.0, 9.0];
        let found = compare(&states, &solution, 1, 2, true).expect("one is left");
        assert!((found.relative - 0.1).abs() < 1e-15, "{found:?}");
        assert_eq!(compare(&[f64::NAN; 2], &[1.0; 2], 1, 2, false), None, "none is left");
        // Two times of two trajectories of one feature: [time][trajectory].
        let found = compare(&[1.0, 2.0, 1.0, 2.4], &[1.0, 2.0, 1.0, 1.5], 2, 1, false).expect("both");
        let expected = (0.5 * (0.9f64 / 2.5).powi(2)).sqrt();
        assert!((found.relative - expected).abs() < 1e-15, "{found:?}");
    }
}
