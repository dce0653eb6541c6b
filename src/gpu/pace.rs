//! How much is recorded ahead, and how much a submission may hold.

use super::buffers::Purpose;
use super::engine::Engine;
use crate::method::NoiseTableau;
use crate::problem::Layer;

/// Multiply-adds that a submission may hold, so that no driver takes it for a hang: some 50 ms.
const BUDGET: f64 = 2e11;
const SOFTWARE_BUDGET: f64 = 2e10;

impl Engine {
    /// Multiply-adds of the plan of an attempt, which where trajectories are solved whole makes many.
    pub(crate) fn work_of_a_plan(&self, rows: usize, purpose: Purpose) -> f64 {
        let attempts = self.turns_of_a_plan(rows, purpose).map_or(1, |turns| turns.min(self.attempts.foreseen() + 1));
        attempts as f64 * self.attempt_work(rows)
    }

    /// Multiply-adds of one attempt on so many rows.
    pub(crate) fn attempt_work(&self, rows: usize) -> f64 {
        let [drift, diffusion] = [(&self.layers, 0), (&self.noise_layers, 1)].map(|(layers, network)| {
            let layers: usize = layers.iter().map(Layer::parameter_count).sum();
            self.programs[network].as_ref().map_or(layers, |program| program.work)
        });
        let noise = self.noise().map_or(0, NoiseTableau::stages) * diffusion;
        // A query of a path is some 40 random blocks for two channels.
        let queries = if self.noise().is_some() { 2000 * self.dim() } else { 0 };
        ((self.tableau.stages() * drift + noise + queries) * rows) as f64
    }

    /// Attempts to record after a solve's start, from what the last ones took.
    pub(crate) fn expected_attempts(&self, rows: usize, purpose: Purpose) -> usize {
        if self.solves_whole(rows) {
            self.dispatches_after_start(rows, purpose, self.attempts.foreseen())
        } else if self.tile(rows).is_some() {
            self.tile_dispatches(rows, purpose)
        } else {
            self.attempts.foreseen()
        }
    }

    /// Attempts that a recorded one makes in a dispatch, where it makes several.
    fn turns_of_a_plan(&self, rows: usize, purpose: Purpose) -> Option<usize> {
        if self.solves_whole(rows) {
            return Some(self.turns(rows, purpose));
        }
        self.tile(rows).map(|_| self.tile_turns(rows, purpose))
    }

    /// Attempts to record where those were not enough.
    pub(crate) fn more_attempts(&self, rows: usize) -> usize {
        if self.solves_whole(rows) || self.tile(rows).is_some() { 1 } else { 8 }
    }

    /// Attempts, or steps of a walk, of so many rows that fit into one submission.
    pub(crate) fn attempts_per_submission(&self, rows: usize) -> usize {
        let budget = self.budget();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 256")]
        let fitting = (budget / self.attempt_work(rows).max(1.0)).clamp(1.0, 256.0) as usize;
        self.bound.map_or(fitting, |bound| bound.min(fitting))
    }

    /// Recorded attempts that fit into one submission; where trajectories are solved whole, each is a dispatch of many.
    pub(crate) fn plans_per_submission(&self, rows: usize, purpose: Purpose) -> usize {
        let fitting = self.attempts_per_submission(rows);
        self.turns_of_a_plan(rows, purpose).map_or(fitting, |turns| (fitting / turns).max(1))
    }

    /// Steps back of whole trajectories that a dispatch may take, so that no driver takes it for a hang: each costs what
    /// four attempts do.
    pub(crate) fn walk_steps_in_budget(&self, rows: usize) -> usize {
        let steps = self.budget() / (4.0 * self.attempt_work(rows)).max(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 2^20")]
        let steps = steps.clamp(1.0, 1_048_576.0) as usize;
        steps
    }

    /// Multiply-adds that a submission may hold.
    pub(crate) fn budget(&self) -> f64 {
        if self.gpu.adapter().software { SOFTWARE_BUDGET } else { BUDGET }
    }
}
