//! [`Tape`]: what a solve keeps of a tile's accepted steps.

use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::step::stages::Stages;
use crate::memory;
use crate::method::{Keep, Measure};

/// What a solve stores besides its save points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recording {
    pub(crate) keep: Keep,
    /// Whether the ends of the steps are kept at least.
    pub(crate) ends: bool,
    /// What is measured of the accepted steps, and kept.
    pub(crate) measured: Option<Measure>,
    /// Accepted steps that there is memory for, if that is bounded.
    pub(crate) limit: Option<usize>,
}

/// States and stages of accepted steps, and arrays of earlier solves to keep more in.
#[derive(Debug)]
pub(crate) struct Tape<R> {
    /// The states that are kept, the initial one first.
    pub(crate) states: Vec<Vec<R>>,
    /// Stages of accepted steps, one after the other, for dense output.
    pub(crate) stages: Vec<Vec<R>>,
    pool: Vec<Vec<R>>,
    /// Whether the system has refused memory for any of these: the solve stops, and its results are none.
    pub(crate) refused: bool,
}

impl<R: Scalar> Tape<R> {
    pub(crate) const fn new() -> Self {
        Self { states: Vec::new(), stages: Vec::new(), pool: Vec::new(), refused: false }
    }

    /// Forgets what is kept, not its room.
    pub(crate) fn clear(&mut self) {
        self.pool.append(&mut self.states);
        self.pool.append(&mut self.stages);
        self.refused = false;
    }

    /// Takes arrays back to keep more in.
    pub(crate) fn give_back(&mut self, states: &mut Vec<Vec<R>>) {
        self.pool.append(states);
    }

    /// An array of `n` numbers, from an earlier solve if there is one; none if the system refuses it.
    pub(crate) fn spare(&mut self, n: usize) -> Option<Vec<R>> {
        let spare = match self.pool.iter().rposition(|p| p.len() == n) {
            Some(at) => Some(self.pool.swap_remove(at)),
            None => memory::zeros("a kept state", n).ok(),
        };
        // The lists that it goes to, and that of the pool.
        let lists = [&mut self.states, &mut self.stages].into_iter().all(|list| list.try_reserve(1).is_ok());
        self.refused |= spare.is_none() || !lists;
        spare.filter(|_| lists)
    }

    /// Keeps stages of `n` numbers, one after the other.
    pub(crate) fn keep_stages(&mut self, stages: &Stages<'_, R>, n: usize) {
        let count = stages.iter().take_while(|stage| !stage.is_empty()).count();
        let Some(mut kept) = self.spare(count * n) else { return };
        for (kept, stage) in kept.chunks_exact_mut(n).zip(stages) {
            kept.copy_from_slice(stage);
        }
        self.stages.push(kept);
    }

    /// Forgets the stages of a rejected attempt, if they were kept.
    pub(crate) fn drop_stages(&mut self) {
        self.pool.extend(self.stages.pop());
    }

    /// Numbers in all arrays.
    pub(crate) fn numbers(&self) -> usize {
        [&self.states, &self.stages, &self.pool].into_iter().flatten().map(Vec::capacity).sum()
    }
}
