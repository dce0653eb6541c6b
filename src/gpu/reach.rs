//! What a device takes of a solve's options.

use super::buffers::Around;
use super::device::Gpu;
use super::kernel::ATOL_ROW;
use crate::error::{Cure, Error, Result};
use crate::math::Real;
use crate::method::{Adjoint, SolverOptions, StepControl};
use crate::problem::Problem;
use crate::problem::brownian::ADAPTIVE_CELLS;

/// Refuses more parameters than the device binds, or than the caller's limit has room for.
pub(super) fn check_parameters(gpu: &Gpu, options: &SolverOptions, model: &Around) -> Result<()> {
    let bytes = 4 * model.parameters as u64;
    gpu.check_binding(|| "a model of so many parameters".into(), bytes, || Cure::Other("use a smaller model"))?;
    let own = model.owner.bytes.0.saturating_add(4 * model.parameters);
    if let Some(limit) = options.memory_limit.filter(|&limit| limit < own) {
        let remedy = format!("the parameters and what goes with them take {own} bytes alone: allow more");
        return Err(Error::argument("SolverOptions::memory_limit", limit, remedy));
    }
    Ok(())
}

/// The features' own absolute tolerances on the device, if there are any.
pub(super) fn atol_per_feature(gpu: &Gpu, options: &SolverOptions) -> Result<Option<wgpu::Buffer>> {
    let Some(atol) = &options.atol_per_feature else { return Ok(None) };
    let most = gpu.device.limits().max_uniform_buffer_binding_size / 4;
    if atol.len() as u64 > most {
        let remedy = format!("a device has room for {most}: use Solver or Trainer, or one tolerance for all features");
        return Err(Error::argument("SolverOptions::atol_per_feature", format!("{} numbers", atol.len()), remedy));
    }
    let mut rows = vec![0f32; atol.len().next_multiple_of(ATOL_ROW)];
    for (entry, atol) in rows.iter_mut().zip(atol) {
        *entry = f32::from_f64(*atol);
    }
    let descriptor = wgpu::BufferDescriptor {
        label: Some("atol_per_feature"),
        size: size_of_val(rows.as_slice()) as u64,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    };
    let buffer = gpu.scoped_now(|| gpu.device.create_buffer(&descriptor))?;
    gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&rows));
    Ok(Some(buffer))
}

/// Refuses controls whose gradient is asked for.
pub(super) fn check_controls(problem: &Problem) -> Result<()> {
    match problem.controls.iter().find(|control| control.gradient) {
        Some(control) => {
            let remedy = "a device has no gradients of controls yet: use Solver, on the native engine";
            Err(Error::argument("Control::gradient", format!("true of {:?}", control.name), remedy))
        }
        None => Ok(()),
    }
}

/// Refuses what the native engine does with noise and a device does not yet.
pub(super) fn check_noise(problem: &Problem, options: &SolverOptions) -> Result<()> {
    if problem.diffusion.is_none() {
        return Ok(());
    }
    let usual = match options.step_control {
        StepControl::Fixed { steps } => steps,
        StepControl::Adaptive { .. } => ADAPTIVE_CELLS as usize,
    };
    if let Some(cells) = options.path_cells.filter(|&cells| cells != usual) {
        let remedy = format!("on a device a path has {usual} cells with such steps: leave it out, or use Solver");
        return Err(Error::argument("SolverOptions::path_cells", cells, remedy));
    }
    Ok(())
}

/// Accepted steps from one kept state to the next: a device walks back over those that it keeps, and refuses every other
/// adjoint.
pub(super) fn checkpoint_stride(options: &SolverOptions) -> Result<usize> {
    let Adjoint::Discrete { checkpoints } = options.adjoint else {
        let remedy = "not on a device yet: use Adjoint::Discrete, with checkpoints to keep fewer states";
        return Err(Error::argument("SolverOptions::adjoint", format!("{:?}", options.adjoint), remedy));
    };
    // A segment is recorded as a whole. Beyond the root of the steps a longer one holds more states, not fewer.
    let longest = options.most_attempts().isqrt().clamp(64, 1024);
    Ok(checkpoints.stride().min(longest))
}

/// Refuses more steps than a device counts.
pub(super) fn check_steps(options: &SolverOptions) -> Result<()> {
    if let StepControl::Fixed { steps } = options.step_control
        && u32::try_from(steps).is_err()
    {
        let remedy = "a device counts steps in 32 bits: take fewer, or use Solver";
        return Err(Error::argument("StepControl::Fixed::steps", steps, remedy));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing that is kept bounds the number of equal steps.
    #[test]
    fn more_steps_than_a_word_counts_are_refused() {
        let of = |steps| SolverOptions::default().step_control(StepControl::Fixed { steps });
        assert!(check_steps(&of(u32::MAX as usize)).is_ok());
        for steps in [u32::MAX as usize + 1, usize::MAX] {
            let error = check_steps(&of(steps)).expect_err("too many");
            assert_eq!(
                error.to_string(),
                format!(
                    "StepControl::Fixed::steps = {steps}: a device counts steps in 32 bits: take fewer, or use Solver"
                )
            );
        }
    }
}
