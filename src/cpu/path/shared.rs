//! Increments where all lanes take the same step: one way down the tree, and what is known of it already.

use std::marker::PhantomData;

use super::pair::{Pair, draw, join_shared, split_shared};
use super::walk::Walk;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::scalar::Scalar;
use crate::math::{Real, low};
use crate::problem::brownian::{CELL, Tree, across};

/// The two ends of the last steps, each with the increments from the start of its cell to it and from it to the cell's end,
/// which one descent of the tree gives. The end of a step is the start of the next one, or of its repetition after a
/// rejection, or the end of the one before in a backward pass: one end of two is known already.
///
/// What it holds are the numbers that would be computed anew, so that no result depends on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cuts<R> {
    /// Whose path it is: key, first trajectory, and length of a tick.
    owner: Option<([u32; 2], u32, u64)>,
    ends: [Cut<R>; 2],
}

#[derive(Clone, Debug)]
struct Cut<R> {
    tick: u64,
    /// Before and after it, a pair of channels.
    pairs: Vec<(Option<Pair<R>>, Pair<R>)>,
}

/// No tick.
const NOWHERE: u64 = u64::MAX;

impl<R> Default for Cut<R> {
    fn default() -> Self {
        Self { tick: NOWHERE, pairs: Vec::new() }
    }
}

impl<R: Scalar> Cuts<R> {
    /// Cuts the path at the ends of a walk that lie within cells which it enters or leaves.
    pub(super) fn prepare(&mut self, walk: &Walk<'_>, pairs: u32) {
        let owner = Some((walk.key, walk.trajectories[0], walk.tick.to_bits()));
        if self.owner != owner {
            self.owner = owner;
            self.ends.iter_mut().for_each(|end| end.tick = NOWHERE);
        }
        let (from, to) = (walk.from[0], walk.to[0]);
        let inside = |tick: u64| !tick.is_multiple_of(u64::from(CELL));
        if inside(from) && inside(to) && from / u64::from(CELL) == to / u64::from(CELL) {
            return;
        }
        for (tick, other) in [(from, to), (to, from)] {
            if !inside(tick) || self.ends.iter().any(|end| end.tick == tick) {
                continue;
            }
            let Some(end) = self.ends.iter_mut().find(|end| end.tick != other) else { continue };
            end.tick = tick;
            end.pairs.clear();
            end.pairs.extend((0..pairs).map(|pair| {
                let cell = InCell::new(walk, pair, low(tick / u64::from(CELL)));
                cell.cut(low(tick % u64::from(CELL)))
            }));
        }
    }

    /// Increments before and after a tick within its cell.
    fn at(&self, tick: u64, pair: u32) -> Option<&(Option<Pair<R>>, Pair<R>)> {
        self.ends.iter().find(|end| end.tick == tick).and_then(|end| end.pairs.get(pair as usize))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.ends.iter().map(|end| end.pairs.capacity() * size_of::<(Option<Pair<R>>, Pair<R>)>()).sum()
    }
}

impl Walk<'_> {
    /// The increments of one pair of channels.
    pub(super) fn shared<R: Scalar>(&self, pair: u32, cuts: &Cuts<R>) -> Pair<R> {
        let (from, to) = (self.from[0], self.to[0]);
        if from.is_multiple_of(u64::from(CELL)) && to == from + u64::from(CELL) {
            // A fixed step: one draw.
            return InCell::new(self, pair, low(from / u64::from(CELL))).whole();
        }
        let part = |cell, a, b| {
            let start = u64::from(cell) * u64::from(CELL);
            let in_cell = InCell::new(self, pair, cell);
            let known = match (a, b) {
                (0, CELL) => None,
                (0, _) => cuts.at(start + u64::from(b), pair).and_then(|(before, _)| *before),
                (_, CELL) => cuts.at(start + u64::from(a), pair).map(|(_, after)| *after),
                _ => None,
            };
            known.unwrap_or_else(|| in_cell.between(a, b))
        };
        let join = |sum: &mut Pair<R>, before, other: &Pair<R>, after| {
            join_shared(sum, self.shared_length(before), other, self.shared_length(after));
        };
        across(from, to, part, join).unwrap_or_default()
    }

    fn shared_length<R: Real>(&self, ticks: u64) -> R {
        R::from_f64(ticks as f64 * self.tick)
    }
}

/// A query of one pair of channels in one cell.
struct InCell<'a, 'b, R> {
    walk: &'a Walk<'b>,
    pair: u32,
    cell: u32,
    precision: PhantomData<R>,
}

impl<'a, 'b, R: Scalar> InCell<'a, 'b, R> {
    const fn new(walk: &'a Walk<'b>, pair: u32, cell: u32) -> Self {
        Self { walk, pair, cell, precision: PhantomData }
    }
}

impl<R: Scalar> Tree for InCell<'_, '_, R> {
    type Increments = Pair<R>;

    fn whole(&self) -> Pair<R> {
        let mut drawn = Pair::default();
        let Walk { trajectories, key, .. } = self.walk;
        let length = [self.walk.shared_length(u64::from(CELL)); LANES];
        draw(&mut drawn, &[self.cell; LANES], &[0; LANES], trajectories, self.pair, *key, &length);
        drawn
    }

    fn halve(&self, node: u32, ticks: u32, first: &mut Pair<R>) -> Pair<R> {
        let mut second = *first;
        let Walk { trajectories, key, .. } = self.walk;
        let length = self.walk.shared_length(u64::from(ticks));
        split_shared(first, &mut second, self.cell, node, trajectories, self.pair, *key, length);
        second
    }

    fn join(&self, sum: &mut Pair<R>, before: u32, other: &Pair<R>, after: u32) {
        let [before, after] = [before, after].map(|ticks| self.walk.shared_length(u64::from(ticks)));
        join_shared(sum, before, other, after);
    }
}
