//! Which problems and options go with times of the trajectories' own.

use super::{Layout, SaveAt, SolverOptions, StepControl};
use crate::error::{Error, Result};
use crate::problem::{Problem, Times, shortest_step};

/// The problem on an interval that covers those of all trajectories, where it and the options go with such times.
///
/// # Errors
/// [`Error::Argument`] naming what does not.
pub(crate) fn own_times_fit(times: &Times, problem: &Problem, options: &SolverOptions) -> Result<Problem> {
    let refuse = |argument, value: String, remedy: &str| Err(Error::argument(argument, value, remedy));
    if problem.diffusion.is_some() {
        let remedy = "paths are of one interval: trajectories with times of their own have no noise";
        return refuse("Problem::diffusion", "some".into(), remedy);
    }
    if matches!(options.save_at, SaveAt::Steps | SaveAt::Dense) {
        let remedy = "own times say when states are saved: leave SaveAt::End";
        return refuse("SolverOptions::save_at", format!("{:?}", options.save_at), remedy);
    }
    if options.adjoint.is_solved(options.method) {
        let remedy = "it goes back through one interval: use Adjoint::Discrete with times of their own";
        return refuse("SolverOptions::adjoint", format!("{:?}", options.adjoint), remedy);
    }
    if let StepControl::Fixed { steps } = options.step_control {
        let short = |[t0, t1]: [f64; 2]| t0 != t1 && (t1 - t0).abs() / steps as f64 <= shortest_step(t0, t1, t1 - t0);
        if let Some(row) = times.spans().position(short) {
            let remedy = format!("time cannot resolve that many steps in row {row} of its own times: take fewer");
            return refuse("StepControl::Fixed::steps", steps.to_string(), &remedy);
        }
    }
    let hull = hull(times);
    let covering = Problem { t0: hull[0], t1: hull[1], ..problem.clone() };
    check_stops(times, &covering, options)?;
    Ok(covering)
}

/// The interval from the first start to the last end, in the direction of the first row that goes anywhere.
fn hull(times: &Times) -> [f64; 2] {
    let low = times.spans().map(|[t0, t1]| t0.min(t1)).fold(f64::INFINITY, f64::min);
    let high = times.spans().map(|[t0, t1]| t0.max(t1)).fold(f64::NEG_INFINITY, f64::max);
    if times.spans().find(|[t0, t1]| t0 != t1).is_some_and(|[t0, t1]| t1 < t0) { [high, low] } else { [low, high] }
}

/// Refuses stops where trajectories cannot each make theirs.
fn check_stops(times: &Times, covering: &Problem, options: &SolverOptions) -> Result<()> {
    let fixed = matches!(options.step_control, StepControl::Fixed { .. });
    let bent = covering.controls.iter().find(|control| control.stops(covering.t0, covering.t1).next().is_some());
    let (argument, value) = match (options.stop_at.is_empty(), bent) {
        (false, _) => ("SolverOptions::stop_at", format!("{:?}", options.stop_at)),
        (true, Some(control)) => ("Problem::controls", control.name.clone()),
        (true, None) => return Ok(()),
    };
    if fixed || options.layout == Layout::Lockstep {
        let remedy = "steps that trajectories with times of their own share cannot end at its times: use adaptive steps in \
                      Layout::Ensemble, or Interpolation::Cubic";
        return Err(Error::argument(argument, value, remedy));
    }
    let forwards = covering.t1 > covering.t0;
    if let Some(row) = times.spans().position(|[t0, t1]| t0 != t1 && (t1 > t0) != forwards) {
        let remedy =
            format!("row {row} of own times goes the other way than rows before it, which stops do not: part them");
        return Err(Error::argument(argument, value, remedy));
    }
    Ok(())
}
