//! How a problem is solved, differentiated and regularized: tableaus, step control, options, penalties, losses. Plain data
//! and formulas that either engine follows; nothing here knows one.

mod adjoint;
mod budget;
mod controller;
mod draws;
mod elbo;
mod explicit;
mod learnt;
mod loss;
mod methods;
mod noise_tableau;
mod options;
mod own_times;
mod recurrent;
mod regularizer;
mod save_at;
mod schedule;
mod score;
mod step_control;
mod stochastic;
mod streams;
mod tableau;
mod tolerances;
mod warning;

pub use adjoint::{Adjoint, Checkpoints};
pub(crate) use adjoint::{Keep, undoable_steps};
#[cfg(test)]
pub(crate) use budget::{BUDGET_NUMBERS, WARMUP as BUDGET_WARMUP, WINDOW as BUDGET_WINDOW};
pub use budget::{Budget, BudgetState};
pub use controller::{Attempt, Controller, ControllerMemory, Decision};
pub(crate) use draws::{Asked, Draws, FirstStage, PENALTY_TILE, penalised_rows, penalised_tiles};
pub use elbo::{Elbo, Reduction};
#[cfg(test)]
pub(crate) use learnt::LEARNT_NUMBERS;
pub use learnt::Learnt;
pub(crate) use learnt::{IdealSteps, LONGEST_WISH, MOST_GROWTH, RESOLVED_ERROR, quantile_of_wishes, wish};
pub(crate) use loss::{Difference, row_weights};
pub use loss::{Loss, Target};
pub use methods::Method;
pub(crate) use methods::tableau_supports;
pub(crate) use noise_tableau::MAX_NOISE_STAGES;
pub use noise_tableau::{NoiseScale, NoiseTableau};
pub use options::{Layout, SolverOptions};
pub(crate) use own_times::own_times_fit;
pub(crate) use recurrent::Evolution;
pub use recurrent::{FixedStep, LatentGru, Reading, Recurrent};
#[cfg(test)]
pub(crate) use regularizer::STIFFNESS_EPSILON;
pub use regularizer::{
    Aggregate, EndTime, Global, GlobalPenalty, Hooks, Local, Measure, PenaltyAt, PenaltyGradient, PenaltyNoise,
    PenaltyStep, PointMeasure, PointPenalty, PointValue, PointValues, Pointwise, Regularizer, StepPenalty,
};
pub(crate) use regularizer::{Followed, PointDraws, stiffness};
pub use save_at::SaveAt;
pub use schedule::Schedule;
pub(crate) use score::{cross_entropy, score};
pub use step_control::{InitialStep, StepControl};
pub(crate) use streams::Streams;
pub use tableau::{MAX_STAGES, Tableau};
pub use tolerances::Tolerances;
pub(crate) use warning::ToleranceWarning;
