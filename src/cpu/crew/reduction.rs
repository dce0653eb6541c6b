//! [`Reduction`]: how the workers of a solve add up a norm.
//!
//! There is no master: everyone waits for everyone, then each reads all shares and finds the same number, so that each makes
//! the same decision and no worker has to be told anything.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::workers::Barrier;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::Lanes;
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::tile::Tile;

/// What the workers of a lockstep solve share.
#[derive(Debug)]
pub(crate) struct Reduction {
    pub(crate) barrier: Barrier,
    /// Per tile, twice over so that a fast worker's next sum never meets a slow worker's read of this one.
    slots: [Vec<Slot>; 2],
}

/// A tile's share of a norm.
#[derive(Debug, Default)]
struct Slot {
    sum: AtomicU64,
    lanes: AtomicU32,
    refused: AtomicBool,
}

impl Reduction {
    pub(crate) fn new(workers: usize, tiles: usize) -> Self {
        let slots = || (0..tiles).map(|_| Slot::default()).collect();
        Self { barrier: Barrier::new(workers), slots: [slots(), slots()] }
    }
}

/// One worker's share in a reduction.
#[derive(Debug)]
pub(crate) struct Share<'a> {
    reduction: &'a Reduction,
    turn: usize,
    features: usize,
    /// Whether a tile has been refused memory.
    pub(crate) refused: bool,
}

impl<'a> Share<'a> {
    pub(crate) const fn new(reduction: &'a Reduction, features: usize) -> Self {
        Self { reduction, turn: 0, features, refused: false }
    }

    /// Puts down a tile's sums of squares over features, one a lane.
    pub(crate) fn put<R: Scalar>(&self, tile: &Tile<R>, sums: &Lanes<R>) {
        let slot = &self.reduction.slots[self.turn % 2][tile.index];
        let alive = (0..LANES).filter(|&l| tile.alive[l] && !tile.clock.is_still(l));
        let (mut sum, mut lanes) = (0.0, 0);
        for l in alive {
            sum += sums[l].to_f64();
            lanes += 1;
        }
        slot.sum.store(sum.to_bits(), Ordering::Relaxed);
        slot.lanes.store(lanes, Ordering::Relaxed);
        slot.refused.store(tile.tape.refused, Ordering::Relaxed);
    }

    /// Waits for everyone; the root mean square over all living lanes and features, NaN where none is left, and the number
    /// of numbers in it. Tiles are added in order, whoever worked on them.
    pub(crate) fn root_mean_square(&mut self) -> (f64, usize) {
        let slots = &self.reduction.slots[self.turn % 2];
        self.turn += 1;
        self.reduction.barrier.wait();
        let (mut sum, mut lanes) = (0.0, 0);
        for slot in slots {
            sum += f64::from_bits(slot.sum.load(Ordering::Relaxed));
            lanes += slot.lanes.load(Ordering::Relaxed) as usize;
            self.refused |= slot.refused.load(Ordering::Relaxed);
        }
        let count = lanes * self.features;
        ((sum / count as f64).sqrt(), count)
    }

    /// Declares that a tile takes no part.
    pub(crate) fn absent(&self, tile: usize) {
        let slot = &self.reduction.slots[self.turn % 2][tile];
        slot.sum.store(0f64.to_bits(), Ordering::Relaxed);
        slot.lanes.store(0, Ordering::Relaxed);
    }
}
