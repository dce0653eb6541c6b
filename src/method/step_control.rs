//! [`StepControl`]: how steps are chosen, and the first of them.

use serde::{Deserialize, Serialize};

use super::{Controller, Tolerances};

/// The first step's size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InitialStep {
    /// From the derivative at the start (Hairer, Nørsett & Wanner, II.4): two evaluations, of which the first is
    /// also the first stage. The default.
    #[default]
    Automatic,
    /// Given, as a positive length.
    Length(f64),
    /// As long as earlier solves would have wished for, of which a running mean is kept ([`Learnt`](super::Learnt)):
    /// `0.9 exp(mean of ln(h_1 min(10, 0.9 E_1^(-1/q))))` over their first accepted steps, automatic where there was none.
    /// Saves an evaluation and the way up; a wrong guess costs a rejected attempt. In an ensemble, for all what four fifths
    /// of the trajectories exceed.
    Carried,
}

/// How steps are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepControl {
    /// So that the local error stays within tolerances.
    Adaptive {
        /// Bounds on the local error.
        tolerances: Tolerances,
        /// Chooses the next step size.
        controller: Controller,
        /// Size of the first step.
        initial_step: InitialStep,
    },
    /// As many equal steps.
    Fixed {
        /// How many.
        steps: usize,
    },
}

impl StepControl {
    /// Adaptive steps without start-up, as few as the tolerance allows: by the last error alone, from the first step that
    /// earlier solves wished for. They come nearer to the tolerance than the default ones, of which many are start-up.
    ///
    /// ```
    /// use fewsteps::{SolverOptions, StepControl, Tolerances};
    /// let options = SolverOptions::default().step_control(StepControl::prompt(Tolerances::both(1e-5)));
    /// ```
    #[must_use]
    pub fn prompt(tolerances: Tolerances) -> Self {
        Self::Adaptive { tolerances, controller: Controller::I.prompt(), initial_step: InitialStep::Carried }
    }

    /// Adaptive steps with the default controller and initial step.
    #[must_use]
    pub fn adaptive(tolerances: Tolerances) -> Self {
        Self::Adaptive { tolerances, controller: Controller::default(), initial_step: InitialStep::default() }
    }
}

impl Default for StepControl {
    fn default() -> Self {
        Self::adaptive(Tolerances::default())
    }
}
