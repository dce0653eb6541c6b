//! [`Query`]: the path of one channel of one trajectory.

use std::cell::Cell;
use std::marker::PhantomData;

use super::cell::{CELL, counter, key};
use super::increment::Increment;
use super::paths::Paths;
use super::tree::{Tree, across};
use crate::math::{Real, philox4x32};

/// One channel of one trajectory, at one precision.
pub(super) struct Query<R> {
    key: [u32; 2],
    /// Length of a tick.
    tick: f64,
    trajectory: u32,
    channel: u32,
    /// Philox blocks that it took so far.
    blocks: Cell<usize>,
    precision: PhantomData<R>,
}

impl<R: Real> Query<R> {
    pub(super) const fn new(paths: Paths, tick: f64, trajectory: u32, channel: u32) -> Self {
        let trajectory = paths.first.wrapping_add(trajectory);
        Self { key: key(paths.seed), tick, trajectory, channel, blocks: Cell::new(0), precision: PhantomData }
    }

    pub(super) const fn blocks(&self) -> usize {
        self.blocks.get()
    }

    /// From one tick to another; nothing where they are the same.
    pub(super) fn between(&self, from: u64, to: u64) -> Increment<R> {
        let part = |cell, a, b| InCell { query: self, cell }.between(a, b);
        let join = |sum: &mut Increment<R>, before: u64, other: &Increment<R>, after: u64| {
            *sum = sum.join(self.length(before), *other, self.length(after));
        };
        across(from, to, part, join).unwrap_or_default()
    }

    fn length(&self, ticks: u64) -> R {
        R::from_f64(ticks as f64 * self.tick)
    }
}

/// A query in one cell.
struct InCell<'a, R> {
    query: &'a Query<R>,
    cell: u32,
}

impl<R: Real> InCell<'_, R> {
    /// Two standard normal numbers of the channel.
    fn normals(&self, node: u32) -> [R; 2] {
        let Query { key, trajectory, channel, blocks, .. } = self.query;
        blocks.set(blocks.get() + 1);
        let words = philox4x32(counter(self.cell, node, *trajectory, channel / 2), *key);
        let first = 2 * (*channel as usize % 2);
        R::normal_pair(words[first], words[first + 1])
    }
}

impl<R: Real> Tree for InCell<'_, R> {
    type Increments = Increment<R>;

    fn whole(&self) -> Increment<R> {
        Increment::draw(self.query.length(u64::from(CELL)), self.normals(0))
    }

    fn halve(&self, node: u32, ticks: u32, increment: &mut Increment<R>) -> Increment<R> {
        let [first, second] = increment.split(self.query.length(u64::from(ticks)), self.normals(node));
        *increment = first;
        second
    }

    fn join(&self, sum: &mut Increment<R>, before: u32, other: &Increment<R>, after: u32) {
        let [before, after] = [before, after].map(|ticks| self.query.length(u64::from(ticks)));
        *sum = sum.join(before, *other, after);
    }
}
