//! [`Evolution`]: how a hidden state moves from one observation to the next, where that is solved for.

use serde::{Deserialize, Serialize};

use super::cells::check_alone;
use crate::error::{Error, Result};
use crate::math::Real;
use crate::method::{Adjoint, Layout, SaveAt, SolverOptions, StepControl};
use crate::problem::{Field, Problem};

/// `dh/dt = field(h)`, for the time that number `dt` of an observation says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Evolution {
    pub(crate) field: Field,
    pub(crate) dt: usize,
    pub(crate) options: SolverOptions,
}

// No number of options that were checked is NaN.
impl Eq for Evolution {}

impl Evolution {
    /// Its name in errors.
    pub(crate) const NAME: &str = "Recurrent::solved";

    /// What is solved, in a unit of time. Each solve has its own.
    pub(crate) fn problem(&self) -> Problem {
        Problem::ode(self.field.clone(), 0.0, 1.0)
    }

    /// Checks it for a hidden state and observations of such widths.
    pub(super) fn check(&self, widths: [usize; 2]) -> Result<()> {
        check_field(Self::NAME, &self.field, self.dt, widths)?;
        self.check_options()?;
        self.validate::<f64>()
    }

    /// Checks the numbers of the options in a scalar type.
    ///
    /// # Errors
    /// [`Error::Argument`] naming what does not fit.
    pub(crate) fn validate<R: Real>(&self) -> Result<()> {
        // How long steps are compared with is known when an observation is there.
        SolverOptions { largest_step: None, ..self.options.clone() }.validate::<R>(&self.problem())
    }

    /// Refuses what means nothing between two observations.
    fn check_options(&self) -> Result<()> {
        let refused = |value: String, remedy: &str| Err(Error::argument(Self::NAME, value, remedy));
        let SolverOptions { method, step_control, layout, save_at, adjoint, .. } = &self.options;
        if let StepControl::Fixed { .. } = step_control {
            return refused(format!("{step_control:?}"), "fixed steps are part of a cell: use Recurrent::evolved");
        }
        if method.tableau().b_error.is_none() || method.tableau().noise.is_some() {
            let remedy = "it has no error estimate of an equation without noise: use heun, bosh3, dopri5 or tsit5, or \
                          Recurrent::evolved";
            return refused(method.to_string(), remedy);
        }
        if *layout != Layout::Ensemble {
            return refused(format!("{layout:?}"), "each series has steps of its own: say so by Layout::Ensemble");
        }
        if *save_at != SaveAt::End {
            return refused(
                format!("{save_at:?}"),
                "the cell takes the state at the end of a solve: leave SaveAt::End",
            );
        }
        if *adjoint != Adjoint::default() {
            let remedy = "gradients go back over the accepted steps, all of which are kept: leave Adjoint::default()";
            return refused(format!("{adjoint:?}"), remedy);
        }
        self.check_others()
    }

    fn check_others(&self) -> Result<()> {
        let refused = |value: String, remedy: &str| Err(Error::argument(Self::NAME, value, remedy));
        let SolverOptions { memory_limit, path_cells, stop_at, coupling, largest_step, .. } = &self.options;
        if let Some(limit) = memory_limit {
            return refused(format!("memory_limit = {limit}"), "give it to the options of the model's equation");
        }
        if let Some(cells) = path_cells {
            return refused(format!("path_cells = {cells}"), "there is no noise: leave it out");
        }
        if !stop_at.is_empty() {
            let remedy = "time begins anew at each observation: leave it out, or bound the steps by largest_step";
            return refused(format!("stop_at = {stop_at:?}"), remedy);
        }
        if *coupling != SolverOptions::default().coupling {
            return refused(format!("coupling = {coupling}"), "it is of Adjoint::Reversible: leave it out");
        }
        match largest_step {
            Some(length) if !(*length > 0.0 && length.is_finite()) => {
                refused(format!("largest_step = {length}"), "give a positive, finite length")
            }
            _ => Ok(()),
        }
    }
}

/// Checks a field that moves a hidden state of so many numbers for the time that number `dt` of an observation says.
pub(super) fn check_field(name: &'static str, field: &Field, dt: usize, [hidden, width]: [usize; 2]) -> Result<()> {
    field.validate()?;
    if (field.inputs(), field.outputs()) != (hidden, hidden) {
        let remedy = format!("it moves the hidden state: give it {hidden} inputs and outputs");
        return Err(Error::argument(name, field.widths(), remedy));
    }
    check_alone(name, field)?;
    if dt >= width {
        let remedy = format!("an observation has numbers 0..{width}: take one of those");
        return Err(Error::argument(name, format!("dt = {dt}"), remedy));
    }
    Ok(())
}
