//! How it is solved, and by what.

use std::num::NonZeroUsize;

use clap::Args;
use fewsteps::{Adjoint, InitialStep, Layout, Method, SolverOptions, StepControl};

use crate::choice::{ADJOINTS, ControllerName, LAYOUTS, Precision, adaptive_method, first_step, named, positive};
use crate::device::DeviceChoice;

#[derive(Debug, Args)]
pub(crate) struct SolverArgs {
    /// Absolute and relative tolerance of the solver [default: the task's]
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub(crate) tol: Option<f64>,
    /// Runge-Kutta method [default: tsit5; for tasks with noise sosri]
    ///
    /// Without noise heun, bosh3, dopri5 and tsit5. For spiral-sde and mnist-sde sosri and sriw1, which take the noise
    /// in the sense of Itô, heun-stratonovich and reversible-heun, which take it in that of Stratonovich.
    #[arg(long, value_parser = adaptive_method, value_name = "NAME")]
    pub(crate) method: Option<Method>,
    #[command(flatten)]
    pub(crate) steps: StepArgs,
    /// Who shares a step: the batch, or nobody [default: lockstep]
    #[arg(long, value_parser = named(&LAYOUTS))]
    pub(crate) layout: Option<Layout>,
    /// How gradients are obtained [default: discrete]
    ///
    /// The last three are for solves of ordinary differential equations on the native engine; `docs/gradients.md` has their
    /// memory and cost. With noise, reversible goes with reversible-heun and backsolve with heun-stratonovich.
    #[arg(long, value_parser = named(&ADJOINTS))]
    pub(crate) adjoint: Option<Adjoint>,
    /// Scalar type; adapters compute at f32 [default: f32]
    #[arg(long, value_enum)]
    pub(crate) precision: Option<Precision>,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// What computes
    ///
    /// auto: the fastest graphics card if there is one and the problem is large enough for it, otherwise cpu;
    /// cpu: the native engine; gpu: any adapter, one in software too; gpu:N: the N-th of `fewsteps devices`; anything
    /// else: the first adapter whose name contains it.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub(crate) device: DeviceChoice,
    /// Worker threads of the native engine [default: as many as the machine runs at once]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) threads: Option<NonZeroUsize>,
}

/// How steps follow from each other.
#[derive(Debug, Args)]
pub(crate) struct StepArgs {
    /// The controller, which makes the next step from the errors of the last ones
    ///
    /// A short solve under the published controller is mostly start-up: six steps of ever greater length from an automatic
    /// first one, whatever the dynamics. The others have a blank memory at first, may grow the first step by orders of
    /// magnitude, and take the rest in one step where the error allows it. They keep the same tolerance with fewer steps,
    /// and come nearer to it: compare NFE under one controller only. [default: i]
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) controller: Option<ControllerName>,
    /// The first step: automatic, carried, or its length [default: carried; under the published controller automatic]
    ///
    /// automatic: from tolerance and slope, after Hairer, Norsett and Wanner. carried: as long as earlier solves would have
    /// wished for, a running mean that training keeps in its checkpoint and evaluations begin with. A step that is too long
    /// costs a rejected attempt.
    #[arg(long, value_name = "STEP", value_parser = first_step, allow_hyphen_values = true)]
    pub(crate) first_step: Option<InitialStep>,
}

impl StepArgs {
    /// Those of the published solver.
    pub(crate) const fn published() -> Self {
        Self { controller: Some(ControllerName::Published), first_step: None }
    }

    /// Sets what was asked for.
    pub(crate) fn apply(&self, options: &mut SolverOptions) {
        let StepControl::Adaptive { controller, initial_step, .. } = &mut options.step_control else { return };
        if let Some(name) = self.controller {
            *controller = name.of(options.method);
            if name == ControllerName::Published {
                *initial_step = InitialStep::Automatic;
            }
        }
        *initial_step = self.first_step.unwrap_or(*initial_step);
    }
}
