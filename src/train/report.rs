//! What a training step and an evaluation tell: [`StepReport`], [`StepGradients`], [`Evaluation`].

use serde::{Deserialize, Serialize};

use crate::math::number;
use crate::method::PointValues;

/// What a training step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepReport {
    /// Which step it was, counted from 1.
    pub step: u64,
    /// The task's loss, without the penalty: of the trajectories that did not fail. NaN if too few are left.
    #[serde(with = "number")]
    pub loss: f64,
    /// Where initial states are drawn: the divergence of what they were drawn from, before its weight ([`Elbo`](crate::Elbo)),
    /// which is in the loss; with importance, of the states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence: Option<f64>,
    /// The first regularizer's penalty, without its coefficient: a mean over the regularizer's share of the batch, without those that failed.
    /// NaN if none is left of it, and 0 without a regularizer.
    #[serde(with = "number")]
    pub penalty: f64,
    /// The penalty's coefficient at this step.
    #[serde(with = "number")]
    pub coefficient: f64,
    /// The penalty of all accepted steps, without its coefficient, if there is one: the batch's in lockstep, else the
    /// trajectories' mean. Without a local one it is `penalty` too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub global_penalty: Option<f64>,
    /// Its coefficient at this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub global_coefficient: Option<f64>,
    /// The penalties of measures at random times, each with its coefficient. Without a local or global one the first is
    /// `penalty` too.
    #[serde(default, skip_serializing_if = "PointValues::is_empty")]
    pub pointwise: PointValues,
    /// Where the solve ended, if not where the problem does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<f64>,
    /// Whether the coefficient follows a [`Budget`](crate::Budget) that is beyond reach.
    #[serde(default)]
    pub budget_unreachable: bool,
    /// Norm of the gradient of loss plus coefficient times penalty, before clipping.
    #[serde(with = "number")]
    pub gradient_norm: f64,
    /// Evaluations of the field in the solve: the batch's in lockstep, the costliest trajectory's in an ensemble.
    pub nfe: usize,
    /// Evaluations of the diffusion, likewise.
    #[serde(default)]
    pub nfe_diffusion: usize,
    /// Accepted steps, likewise.
    pub accepted: usize,
    /// Rejected attempts, likewise.
    pub rejected: usize,
    /// Steps of an ideal controller, likewise, as [`Solution::ideal_steps`](crate::Solution::ideal_steps); none with fixed
    /// steps.
    #[serde(default)]
    pub ideal_steps: Option<f64>,
    /// Evaluations of the encoder's field between observations, of a trajectory on average; none without such solves
    /// ([`Recurrent::solved`](crate::Recurrent::solved)). They are no part of `nfe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder_nfe: Option<f64>,
    /// Evaluations of the field for the penalty, each on the regularizer's share of the batch.
    pub nfe_penalty: usize,
    /// Vector-Jacobian products of the field that the walk back over the solve took; each also evaluates the field anew. As
    /// [`Gradients::products`](crate::Gradients::products): engines may differ in them.
    pub products: usize,
    /// Trajectories that failed and were left out.
    pub failed: usize,
    /// Whether the update was left out.
    pub skipped: bool,
}

/// Loss, penalty, gradient and costs of a batch, without an update.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StepGradients<R> {
    /// As a training step would report it.
    pub report: StepReport,
    /// Gradient of loss plus coefficient times penalty, in the model's parameter layout.
    pub gradient: Vec<R>,
}

/// What an evaluation found. Regularizers play no part in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Evaluation {
    /// The task's loss: of the trajectories that did not fail. NaN if too few are left.
    #[serde(with = "number")]
    pub loss: f64,
    /// Correctly classified trajectories. Those that failed are not.
    pub correct: usize,
    /// Trajectories.
    pub count: usize,
    /// Evaluations of the field.
    pub nfe: usize,
    /// Evaluations of the diffusion.
    #[serde(default)]
    pub nfe_diffusion: usize,
    /// Accepted steps.
    pub accepted: usize,
    /// Rejected attempts.
    pub rejected: usize,
    /// Steps of an ideal controller, as [`Solution::ideal_steps`](crate::Solution::ideal_steps); none with fixed steps.
    #[serde(default)]
    pub ideal_steps: Option<f64>,
    /// Evaluations of the encoder's field between observations, of a trajectory on average; none without such solves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder_nfe: Option<f64>,
    /// Trajectories that failed.
    pub failed: usize,
}

/// What a solve took: the batch's in lockstep, the costliest trajectory's in an ensemble.
#[derive(Clone, Copy, Debug)]
pub(super) struct Costs {
    pub(super) nfe: usize,
    pub(super) nfe_diffusion: usize,
    pub(super) accepted: usize,
    pub(super) rejected: usize,
    pub(super) ideal_steps: Option<f64>,
    pub(super) encoder_nfe: Option<f64>,
}

impl Costs {
    /// The evaluation of `count` trajectories at these costs.
    pub(super) const fn evaluation(self, count: usize, failed: usize, loss: f64, correct: usize) -> Evaluation {
        let Self { nfe, nfe_diffusion, accepted, rejected, ideal_steps, encoder_nfe } = self;
        Evaluation { loss, correct, count, nfe, nfe_diffusion, accepted, rejected, ideal_steps, encoder_nfe, failed }
    }
}
