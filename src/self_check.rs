//! [`Gpu::self_check`]: small problems on the device against the native engine at `f64`.

use serde::{Deserialize, Serialize};

use crate::cpu::{Cpu, Solver};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, GpuSolver};
use crate::method::{Layout, Loss, SolverOptions, StepControl, Target};
use crate::problem::{Mlp, Problem, TimeInput};
use crate::train::{Batch, FailurePolicy, GpuTrainer, NeuralDe, TrainerConfig};

/// Largest relative error of states. Rounding alone leaves 3e-7 after these few steps at `f32`, fixed ones and adaptive
/// ones alike; a kernel that a driver compiles wrongly is off by much more.
const STATES: f64 = 2e-5;

/// The same of gradients, whose sums are longer: rounding leaves 7e-7.
const GRADIENTS: f64 = 2e-4;

/// Widths that fill no tile of any kernel.
const WIDTHS: [usize; 3] = [3, 7, 3];

/// Trajectories: one more than a workgroup has lanes.
const BATCH: usize = 65;

/// What a self-check found: the largest errors, relative to the largest number of the same array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SelfCheck {
    /// Of final states.
    pub states: f64,
    /// Of gradients with respect to parameters and initial states.
    pub gradients: f64,
}

/// The trajectory that starts from NaN.
const FAILING: usize = 40;

impl Gpu {
    /// Solves and differentiates a small problem in both layouts, whole trajectories at once and layer by layer, with
    /// fixed steps and with adaptive ones, and compares with the native engine at `f64`: states within 2e-5 and
    /// gradients within 2e-4 of it, relative to the largest. One trajectory starts from NaN, and has to fail alone; a
    /// training step whose gradient is not finite has to change nothing.
    ///
    /// It takes milliseconds once the device's pipelines are compiled, and seconds when they are not.
    ///
    /// # Errors
    /// [`Error::Device`] when an error is out of tolerance, with both, or NaN is taken for a number; otherwise as
    /// [`GpuSolver::solve`].
    pub async fn self_check(&self) -> Result<SelfCheck> {
        let mut worst = SelfCheck::default();
        for layout in [Layout::Lockstep, Layout::Ensemble] {
            for whole in [true, false] {
                for control in [StepControl::Fixed { steps: 4 }, SolverOptions::default().step_control] {
                    let found = compare(self, layout, whole, control).await?;
                    found.accept(layout)?;
                    worst.states = worst.states.max(found.states);
                    worst.gradients = worst.gradients.max(found.gradients);
                }
            }
        }
        skip_an_update(self).await?;
        Ok(worst)
    }
}

/// What a device does that cannot be worked with.
fn refused(what: &str) -> Error {
    Error::Device { reason: format!("its self-check {what}; update its driver") }
}

impl SelfCheck {
    fn accept(self, layout: Layout) -> Result<()> {
        if self.states <= STATES && self.gradients <= GRADIENTS {
            return Ok(());
        }
        let Self { states, gradients } = self;
        Err(refused(&format!(
            "({layout:?}) differs from the native engine by {states:.1e} in states (tolerance {STATES:.0e}) and \
             {gradients:.1e} in gradients (tolerance {GRADIENTS:.0e})"
        )))
    }
}

async fn compare(gpu: &Gpu, layout: Layout, whole: bool, control: StepControl) -> Result<SelfCheck> {
    let field = Mlp::new(WIDTHS).time_input(TimeInput::Every);
    let theta: Vec<f32> = field.initialize(0);
    let problem = Problem::ode(field, 0.0, 1.0);
    let options = SolverOptions::default().step_control(control).layout(layout);
    let dim = problem.dim();
    let (mut y0, ys_bar) = (spread(BATCH * dim, 7), spread(BATCH * dim, 5));
    y0[FAILING * dim] = f32::NAN;

    // One thread: browsers have no other.
    let mut native = Solver::<f64>::new(&Cpu::with_threads(1)?, &problem, &options)?;
    let mut expected = native.solve(&widen(&theta), &widen(&y0))?;
    let expected_gradients = native.gradients(&widen(&ys_bar))?;

    let device = GpuSolver::new(gpu, &problem, &options)?;
    let mut device = if whole { device } else { device.layer_by_layer() };
    let mut found = device.solve(&theta, &y0).await?;
    let gradients = device.gradients(&ys_bar).await?;
    if found.status != expected.status {
        return Err(refused(&format!(
            "({layout:?}) has a trajectory that starts from NaN, and others fail or it does not"
        )));
    }
    // What is left of the one that failed is NaN on either engine.
    found.ys.drain(FAILING * dim..(FAILING + 1) * dim);
    expected.ys.drain(FAILING * dim..(FAILING + 1) * dim);
    Ok(SelfCheck {
        states: relative_error(&found.ys, &expected.ys),
        gradients: relative_error(&gradients.theta, &expected_gradients.theta)
            .max(relative_error(&gradients.y0, &expected_gradients.y0)),
    })
}

/// A training step whose gradient is infinity minus infinity.
async fn skip_an_update(gpu: &Gpu) -> Result<()> {
    let model = NeuralDe::new(Problem::ode(Mlp::new(WIDTHS), 0.0, 1.0), SolverOptions::default());
    let mut trainer = GpuTrainer::new(gpu, TrainerConfig::new(model, Loss::Mse).failure(FailurePolicy::Skip))?;
    let before = trainer.parameters().await?;
    let targets = [f32::MAX, -f32::MAX].repeat(WIDTHS[0]);
    let batch = Batch { inputs: &spread(targets.len(), 7), target: Target::States(&targets) };
    let report = trainer.step(&batch).await?;
    let after = trainer.parameters().await?;
    if report.skipped && before.iter().zip(&after).all(|(a, b)| a.to_bits() == b.to_bits()) {
        return Ok(());
    }
    Err(refused("updates parameters by a gradient that is not finite"))
}

/// Numbers in [-1, 1] that look irregular and are the same everywhere.
fn spread(count: usize, factor: usize) -> Vec<f32> {
    (0..count).map(|i| (i * factor % 101) as f32 / 50.0 - 1.0).collect()
}

fn widen(xs: &[f32]) -> Vec<f64> {
    xs.iter().copied().map(f64::from).collect()
}

/// The largest difference over the largest expected number; infinite where a number is not finite.
fn relative_error(found: &[f32], expected: &[f64]) -> f64 {
    let largest = expected.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    let differences = found.iter().zip(expected).map(|(&x, y)| (f64::from(x) - y).abs() / largest);
    differences.fold(0.0, |worst: f64, error| if error.is_finite() { worst.max(error) } else { f64::INFINITY })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_relative_to_the_largest() {
        assert_eq!(relative_error(&[1.0, 4.5], &[1.0, 4.0]), 0.125, "0.5 of 4");
        assert_eq!(relative_error(&[f32::NAN, 4.0], &[1.0, 4.0]), f64::INFINITY, "NaN is no agreement");
    }

    #[test]
    fn a_wrong_device_is_refused() {
        let wrong = SelfCheck { states: 1e-2, gradients: 0.0 };
        let message = wrong.accept(Layout::Lockstep).expect_err("out of tolerance").to_string();
        assert!(message.contains("Lockstep") && message.contains("1.0e-2") && message.contains("2e-5"), "{message}");
        assert!(SelfCheck { states: 1e-6, gradients: 1e-5 }.accept(Layout::Ensemble).is_ok(), "within both");
        let lost = SelfCheck { states: f64::NAN, gradients: 0.0 };
        assert!(lost.accept(Layout::Ensemble).is_err(), "NaN is no agreement");
    }
}
