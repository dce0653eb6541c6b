//! How many iterations one invocation's loops may run in a dispatch, and what the kernels' loops come to.
//!
//! An adapter may stop the loops of an invocation that runs too many and go on after them: Mesa's software Vulkan does so
//! after 65,535, counted over all loops, without a word. So the work of an invocation is bounded by its sizes before it is
//! recorded: a dispatch is cut into several, or what cannot be cut is refused. A dispatch also tells what it finished.

use super::buffers::Purpose;
use super::device::limits::ITERATIONS;
use super::engine::Engine;
use super::script::Scripts;
use super::small::hidden_units;
use super::wire::records::Outcome;
use crate::error::{Error, Result};
use crate::method::{NoiseTableau, StepControl};
use crate::problem::Layer;

/// Save points that a solve of whole trajectories writes in one turn, as `shaders/lib/whole.wgsl` has it.
pub(crate) const SAVES: usize = 32;

/// Inputs or outputs of a layer: a product takes 8 of its depth with 9 iterations.
pub(crate) const WIDEST: usize = 48_000;

/// Outputs of a cross-entropy, whose kernel passes over them three times.
pub(crate) const CLASSES: usize = 14_000;

/// Trajectories: one workgroup of 256 invocations passes over their statuses up to three times.
const ROWS: usize = 5_000_000;

/// The same where moments are compared, by two passes of 64 invocations.
pub(crate) const PATHS: usize = 1_600_000;

/// Steps whose errors are weighed: one invocation passes over them twice.
pub(crate) const WEIGHED: usize = 32_000;

/// Save points that can be the start.
pub(crate) const POINTS_AT_START: usize = ITERATIONS / 16;

/// Save points whose cotangents one step back may take up.
const POINTS_BACK: usize = 50_000;

/// Rows that a part of a weight gradient is summed over: the depth of its product.
pub(crate) const DEPTH: usize = WIDEST;

/// Iterations of an invocation that weights samples, of so many trajectories of which each sample has so many.
pub(crate) const fn weighting(trajectories: usize, copies: usize) -> usize {
    let samples = (trajectories / copies).div_ceil(256);
    2 * samples.saturating_mul(copies.saturating_add(1)) + 8
}

/// Iterations of a search by halves.
const fn search(count: usize) -> usize {
    (usize::BITS - count.leading_zeros()) as usize + 1
}

impl Engine {
    fn point_counts(&self, purpose: Purpose) -> [usize; 2] {
        let own = purpose.own_points();
        // Of a row that rests all are.
        let at_start = match self.times {
            Some(_) => self.own_slots,
            None => self.user_points().iter().filter(|p| **p == 0.0).count(),
        };
        [self.point_count() + own, at_start + own]
    }

    /// Iterations of the searches for a step's points, and of its path.
    fn step_overhead(&self, points: usize) -> usize {
        let path = match (self.noise(), self.options.step_control) {
            (None, _) => 0,
            (Some(_), StepControl::Fixed { .. }) => 5,
            // Cells that a step touches, and the levels of the trees of the two at its ends.
            (Some(_), StepControl::Adaptive { .. }) => 64 + 2 * 3 * 24,
        };
        1 + 4 * search(points) + self.dim().div_ceil(2) * (1 + path)
    }

    /// Iterations of the loops over hidden units in the stages of a step, and in their vector-Jacobian products.
    fn stage_units(&self) -> [usize; 2] {
        let units = |layers: &[Layer], scripts: &Option<Scripts>| match scripts {
            Some(scripts) => [scripts.value.iterations(), scripts.product.iterations()],
            None => [if layers.len() > 1 { hidden_units(layers) } else { 0 }; 2],
        };
        let [drift, diffusion] = &self.scripts;
        let [drift, diffusion] = [units(&self.layers, drift), units(&self.noise_layers, diffusion)];
        let (drifts, diffusions) = (self.tableau.stages(), self.noise().map_or(0, NoiseTableau::stages));
        [0, 1].map(|at| drifts.saturating_mul(drift[at]).saturating_add(diffusions.saturating_mul(diffusion[at])))
    }

    /// Turns that one dispatch of a solve of whole trajectories takes: attempts, or some of an attempt's points.
    pub(crate) fn turns(&self, rows: usize, purpose: Purpose) -> usize {
        let [points, at_start] = self.point_counts(purpose);
        let dim = self.dim();
        // In lockstep a decision adds 256 rows three times.
        let decision = if self.per_row() { 0 } else { 3 * 8 + 2 };
        let [stages, _] = self.stage_units();
        let start = stages + 8 * dim + at_start * (1 + dim) + 3 * decision + 32;
        let turn = self.step_overhead(points) + stages + 2 * dim + decision + points.min(SAVES) * (1 + 2 * dim);
        let most =
            self.slice.map_or_else(|| self.attempts_per_submission(rows), |attempts| self.turns_of(purpose, attempts));
        (self.iterations.saturating_sub(start) / turn).clamp(1, most.max(1))
    }

    /// Turns that so many attempts take at most.
    fn turns_of(&self, purpose: Purpose, attempts: usize) -> usize {
        let [points, _] = self.point_counts(purpose);
        attempts + if points > SAVES { points / SAVES } else { 0 }
    }

    /// Dispatches of a solve of whole trajectories that so many attempts take, after the one of its start.
    pub(crate) fn dispatches_after_start(&self, rows: usize, purpose: Purpose, attempts: usize) -> usize {
        self.turns_of(purpose, attempts).div_ceil(self.turns(rows, purpose)).saturating_sub(1)
    }

    /// Iterations that a walk of whole trajectories spends on its gradient, on a row, on a row's step, and on its points.
    fn walk_costs(&self, purpose: Purpose) -> [usize; 4] {
        let [points, at_start] = self.point_counts(purpose);
        let dim = self.dim();
        let [stages, products] = self.stage_units();
        let point = 1 + 3 * dim;
        let (row, step) = if self.per_row() { (0, points * point) } else { (points * point, 0) };
        [
            8 * self.problem.parameter_count() + 32,
            1 + 2 * dim + at_start * point + row,
            self.step_overhead(points) + stages + products + 2 * dim + step,
            points,
        ]
    }

    /// Whether one invocation can walk a row back by a step at a time, at least.
    pub(crate) fn fits_into_walks(&self, purpose: Purpose) -> bool {
        let [fixed, row, step, _] = self.walk_costs(purpose);
        fixed + row + step <= ITERATIONS / 4
    }

    /// Workgroups of a walk of whole trajectories: no more than make sense, unless there are too many rows for them.
    pub(crate) fn walk_groups(&self, rows: usize, purpose: Purpose) -> usize {
        let [fixed, row, step, _] = self.walk_costs(purpose);
        let rows_each = (self.iterations.saturating_sub(fixed) / (row + step)).max(1);
        rows.div_ceil(64).clamp(1, 256).max(rows.div_ceil(64 * rows_each))
    }

    /// Steps back that one dispatch of such a walk takes of each row.
    pub(crate) fn steps_per_walk(&self, rows: usize, purpose: Purpose) -> usize {
        let [fixed, row, step, _] = self.walk_costs(purpose);
        let rows_each = rows.div_ceil(64 * self.walk_groups(rows, purpose)).max(1);
        let of_a_row = (self.iterations.saturating_sub(fixed) / rows_each).saturating_sub(row);
        (of_a_row / step).min(self.walk_steps_in_budget(rows)).max(1)
    }

    /// Invocations that share a number's save points, layer by layer.
    pub(crate) fn shares_of_points(&self, points: usize) -> usize {
        let each = self.iterations / 2 / (2 + self.tableau.stages());
        points.div_ceil(each.max(1)).max(1)
    }

    /// Refuses what loops cannot be cut for.
    pub(crate) fn check_sizes(&self, batch: usize, purpose: Purpose) -> Result<()> {
        if batch > ROWS {
            let remedy = format!("a device takes at most {ROWS} trajectories at once: split the batch");
            return Err(Error::argument("batch", batch, remedy));
        }
        let [points, at_start] = self.point_counts(purpose);
        if at_start > POINTS_AT_START {
            let remedy = format!("at most {POINTS_AT_START} save times can be the start: leave out equal ones");
            return Err(Error::argument("SaveAt::Times", format!("{at_start} times at the start"), remedy));
        }
        if purpose.backward && points > POINTS_BACK {
            let remedy =
                format!("a device differentiates at most {POINTS_BACK} saved states: save fewer, or use Solver");
            return Err(Error::argument("SaveAt::Times", format!("{points} times"), remedy));
        }
        Ok(())
    }

    /// Refuses layers that are too wide.
    pub(crate) fn check_widths(layers: &[Layer], widest: usize) -> Result<()> {
        let field = layers.iter().map(|l| l.inputs.max(l.outputs)).max().unwrap_or(0);
        let widest = field.max(widest);
        if widest > WIDEST {
            let remedy = format!("a device computes layers of at most {WIDEST} units: use a narrower one, or Solver");
            return Err(Error::argument("width", widest, remedy));
        }
        Ok(())
    }
}

impl Outcome {
    /// What it means that steps remain which were recorded.
    pub(crate) fn unwalked(&self) -> Error {
        cut(self.remaining)
    }

    /// An error where a dispatch left something undone.
    pub(crate) fn check(&self) -> Result<()> {
        if self.cut == 0 { Ok(()) } else { Err(cut(self.cut)) }
    }
}

/// An adapter that does not finish its loops cannot be computed with.
pub(crate) fn cut(rows: u32) -> Error {
    let reason = format!(
        "a dispatch left {rows} of its trajectories or sums unfinished: the adapter stops loops of {ITERATIONS} iterations"
    );
    Error::Device { reason }
}

#[cfg(test)]
mod tests;
