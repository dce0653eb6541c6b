//! [`Pair`]: increments of two channels in the lanes of a tile, as they are drawn, halved and joined.

use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::dispatch::multiversion;
use crate::cpu::kernel::lanes::Lanes;
use crate::math::philox::{MULTIPLIER as PHILOX_MULTIPLIER, WEYL as PHILOX_WEYL};
use crate::math::{Real, low};
use crate::problem::Increment;
use crate::problem::brownian::counter;

/// Increments of two channels, which share their random blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<R> {
    pub(super) w: [Lanes<R>; 2],
    pub(super) levy: [Lanes<R>; 2],
}

impl<R: Real> Default for Pair<R> {
    fn default() -> Self {
        Self { w: [[R::ZERO; LANES]; 2], levy: [[R::ZERO; LANES]; 2] }
    }
}

impl<R: Real> Pair<R> {
    pub(super) fn write(&self, w: &mut [R], mean: &mut [R]) {
        write_rows(self, w, mean);
    }
}

multiversion! {
    /// Rows of `dW` and `chi2` from a pair's increments.
    fn write_rows<R>(pair: &Pair<R>, w: &mut [R], mean: &mut [R]) {
        let half = R::from_f64(0.5);
        for (c, (w, mean)) in w.chunks_exact_mut(LANES).zip(mean.chunks_exact_mut(LANES)).enumerate() {
            for lane in 0..LANES {
                w[lane] = pair.w[c][lane];
                mean[lane] = half.mul_add(pair.w[c][lane], pair.levy[c][lane]);
            }
        }
    }
}

/// Philox4x32-10 in every lane, as [`philox4x32`](crate::math::philox4x32): written round by round over the lanes, so that
/// it becomes SIMD code.
#[inline(always)]
fn philox_lanes(mut counter: [Lanes<u32>; 4], mut key: [u32; 2]) -> [Lanes<u32>; 4] {
    for _ in 0..10 {
        let mut next = [[0; LANES]; 4];
        for l in 0..LANES {
            let first = u64::from(counter[0][l]) * u64::from(PHILOX_MULTIPLIER[0]);
            let second = u64::from(counter[2][l]) * u64::from(PHILOX_MULTIPLIER[1]);
            next[0][l] = low(second >> 32) ^ counter[1][l] ^ key[0];
            next[1][l] = low(second);
            next[2][l] = low(first >> 32) ^ counter[3][l] ^ key[1];
            next[3][l] = low(first);
        }
        counter = next;
        key = [key[0].wrapping_add(PHILOX_WEYL[0]), key[1].wrapping_add(PHILOX_WEYL[1])];
    }
    counter
}

/// The four normal numbers of a pair of channels in every lane: two for the even channel, two for the odd one.
#[inline(always)]
pub(super) fn normals<R: Real>(
    cells: &Lanes<u32>,
    nodes: &Lanes<u32>,
    trajectories: &Lanes<u32>,
    pair: u32,
    key: [u32; 2],
) -> [[Lanes<R>; 2]; 2] {
    let last = counter(0, 0, 0, pair)[3];
    let words = philox_lanes([*cells, *nodes, *trajectories, [last; LANES]], key);
    let mut normals = [[[R::ZERO; LANES]; 2]; 2];
    for c in 0..2 {
        for l in 0..LANES {
            let [a, b] = R::normal_pair(words[2 * c][l], words[2 * c + 1][l]);
            (normals[c][0][l], normals[c][1][l]) = (a, b);
        }
    }
    normals
}

multiversion! {
    /// Increments over intervals of length `h`, from the block of `nodes`.
    pub(super) fn draw<R>(
        out: &mut Pair<R>,
        cells: &Lanes<u32>,
        nodes: &Lanes<u32>,
        trajectories: &Lanes<u32>,
        pair: u32,
        key: [u32; 2],
        h: &Lanes<R>,
    ) {
        let normals = normals::<R>(cells, nodes, trajectories, pair, key);
        for c in 0..2 {
            for l in 0..LANES {
                let drawn = Increment::draw(h[l], [normals[c][0][l], normals[c][1][l]]);
                (out.w[c][l], out.levy[c][l]) = (drawn.w, drawn.levy);
            }
        }
    }
}

multiversion! {
    /// Replaces two copies of a node's increments, over length `h`, by those of its halves.
    pub(super) fn split_shared<R>(
        first: &mut Pair<R>,
        second: &mut Pair<R>,
        cell: u32,
        node: u32,
        trajectories: &Lanes<u32>,
        pair: u32,
        key: [u32; 2],
        h: R,
    ) {
        let normals = normals::<R>(&[cell; LANES], &[node; LANES], trajectories, pair, key);
        for c in 0..2 {
            for l in 0..LANES {
                let whole = Increment { w: first.w[c][l], levy: first.levy[c][l] };
                let [a, b] = whole.split(h, [normals[c][0][l], normals[c][1][l]]);
                (first.w[c][l], first.levy[c][l]) = (a.w, a.levy);
                (second.w[c][l], second.levy[c][l]) = (b.w, b.levy);
            }
        }
    }
}

multiversion! {
    /// Appends `other`, over length `after`, to `sum`, over length `before`.
    pub(super) fn join_shared<R>(sum: &mut Pair<R>, before: R, other: &Pair<R>, after: R) {
        for c in 0..2 {
            for l in 0..LANES {
                let first = Increment { w: sum.w[c][l], levy: sum.levy[c][l] };
                let joined = first.join(before, Increment { w: other.w[c][l], levy: other.levy[c][l] }, after);
                (sum.w[c][l], sum.levy[c][l]) = (joined.w, joined.levy);
            }
        }
    }
}
