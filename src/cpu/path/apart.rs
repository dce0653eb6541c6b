//! Increments where the lanes take steps of their own: the way down the tree in all lanes at once, each at its own node.
//!
//! [`Tree`](crate::problem::brownian::Tree) goes down for all lanes alike. Here every decision of it is a mask.

use super::pair::{Pair, draw, normals};
use super::walk::Walk;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::dispatch::multiversion;
use crate::cpu::kernel::lanes::Lanes;
use crate::cpu::kernel::scalar::Scalar;
use crate::math::{Real, low};
use crate::problem::Increment;
use crate::problem::brownian::CELL;

/// A node of a cell's tree in every lane.
#[derive(Clone, Copy, Debug)]
struct Nodes<R> {
    index: Lanes<u32>,
    from: Lanes<u32>,
    to: Lanes<u32>,
    increments: Pair<R>,
}

impl Walk<'_> {
    fn length<R: Real>(&self, ticks: &Lanes<u32>) -> Lanes<R> {
        ticks.map(|ticks| R::from_f64(f64::from(ticks) * self.tick))
    }

    /// The increments of one pair of channels, cell by cell, each lane for itself.
    pub(super) fn apart<R: Scalar>(&self, pair: u32, w: &mut [R], mean: &mut [R]) {
        let mut sum = Pair::default();
        let (mut at, mut done) = (self.from, [0u64; LANES]);
        loop {
            let moving: [bool; LANES] = std::array::from_fn(|l| at[l] < self.to[l]);
            if !moving.contains(&true) {
                break;
            }
            let cell_of = |l: usize| at[l] / u64::from(CELL) * u64::from(CELL);
            let end: Lanes<u64> = std::array::from_fn(|l| self.to[l].min(cell_of(l) + u64::from(CELL)));
            // A lane at rest asks for a whole cell, which costs nothing more.
            let within = |l: usize, tick: u64, rest: u32| if moving[l] { low(tick - cell_of(l)) } else { rest };
            let a = std::array::from_fn(|l| within(l, at[l], 0));
            let b = std::array::from_fn(|l| within(l, end[l], CELL));
            let cells = std::array::from_fn(|l| low(cell_of(l) / u64::from(CELL)));
            let part = self.between(pair, &cells, &a, &b);
            let lengths: Lanes<R> = self.length(&std::array::from_fn(|l| b[l] - a[l]));
            let before = done.map(|ticks| R::from_f64(ticks as f64 * self.tick));
            join(&mut sum, &before, &part, &lengths, &moving);
            for l in (0..LANES).filter(|&l| moving[l]) {
                done[l] += end[l] - at[l];
                at[l] = end[l];
            }
        }
        sum.write(w, mean);
    }

    /// From tick `a` to tick `b` of each lane's cell.
    fn between<R: Scalar>(&self, pair: u32, cells: &Lanes<u32>, a: &Lanes<u32>, b: &Lanes<u32>) -> Pair<R> {
        let mut node = Nodes { index: [1; LANES], from: [0; LANES], to: [CELL; LANES], increments: Pair::default() };
        let whole = self.length(&[CELL; LANES]);
        draw(&mut node.increments, cells, &[0; LANES], self.trajectories, pair, self.key, &whole);
        loop {
            let open: [bool; LANES] = std::array::from_fn(|l| (node.from[l], node.to[l]) != (a[l], b[l]));
            if !open.contains(&true) {
                return node.increments;
            }
            let [first, second] = self.halves(pair, cells, &node);
            let left: [bool; LANES] = std::array::from_fn(|l| open[l] && b[l] <= first.to[l]);
            let right: [bool; LANES] = std::array::from_fn(|l| open[l] && a[l] >= second.from[l]);
            if (0..LANES).any(|l| left[l] || right[l]) {
                choose(&mut node, &first, &left);
                choose(&mut node, &second, &right);
                continue;
            }
            // Every open lane's interval lies across the middle of its node.
            let mut head = self.suffix(pair, cells, first, &merge(&open, a, &first.from));
            let tail = self.prefix(pair, cells, second, &merge(&open, b, &second.to));
            let lengths = |to: &Lanes<u32>, from: &Lanes<u32>| std::array::from_fn(|l| to[l].saturating_sub(from[l]));
            let (before, after) = (self.length(&lengths(&first.to, a)), self.length(&lengths(b, &second.from)));
            join(&mut head, &before, &tail, &after, &[true; LANES]);
            // Where the node is the interval itself, its increment stands.
            choose_pair(&mut node.increments, &head, &open);
            return node.increments;
        }
    }

    /// From tick `a` of each lane to the end of its node.
    fn suffix<R: Scalar>(&self, pair: u32, cells: &Lanes<u32>, mut node: Nodes<R>, a: &Lanes<u32>) -> Pair<R> {
        let mut sum = Pair::default();
        let mut ticks = [0u32; LANES];
        loop {
            let open: [bool; LANES] = std::array::from_fn(|l| node.from[l] != a[l]);
            if !open.contains(&true) {
                break;
            }
            let [first, mut second] = self.halves(pair, cells, &node);
            let right: [bool; LANES] = std::array::from_fn(|l| open[l] && a[l] >= second.from[l]);
            let left: [bool; LANES] = std::array::from_fn(|l| open[l] && !right[l]);
            choose(&mut node, &second, &right);
            let half = self.length(&std::array::from_fn(|l| second.to[l] - second.from[l]));
            join(&mut second.increments, &half, &sum, &self.length(&ticks), &left);
            choose_pair(&mut sum, &second.increments, &left);
            for l in (0..LANES).filter(|&l| left[l]) {
                ticks[l] += second.to[l] - second.from[l];
            }
            choose(&mut node, &first, &left);
        }
        let rest = self.length(&std::array::from_fn(|l| node.to[l] - node.from[l]));
        join(&mut node.increments, &rest, &sum, &self.length(&ticks), &[true; LANES]);
        node.increments
    }

    /// From the start of each lane's node to its tick `b`.
    fn prefix<R: Scalar>(&self, pair: u32, cells: &Lanes<u32>, mut node: Nodes<R>, b: &Lanes<u32>) -> Pair<R> {
        let mut sum = Pair::default();
        let mut ticks = [0u32; LANES];
        loop {
            let open: [bool; LANES] = std::array::from_fn(|l| node.to[l] != b[l]);
            if !open.contains(&true) {
                break;
            }
            let [first, second] = self.halves(pair, cells, &node);
            let left: [bool; LANES] = std::array::from_fn(|l| open[l] && b[l] <= first.to[l]);
            let right: [bool; LANES] = std::array::from_fn(|l| open[l] && !left[l]);
            choose(&mut node, &first, &left);
            let half = self.length(&std::array::from_fn(|l| first.to[l] - first.from[l]));
            join(&mut sum, &self.length(&ticks), &first.increments, &half, &right);
            for l in (0..LANES).filter(|&l| right[l]) {
                ticks[l] += first.to[l] - first.from[l];
            }
            choose(&mut node, &second, &right);
        }
        let rest = self.length(&std::array::from_fn(|l| node.to[l] - node.from[l]));
        join(&mut sum, &self.length(&ticks), &node.increments, &rest, &[true; LANES]);
        sum
    }

    fn halves<R: Scalar>(&self, pair: u32, cells: &Lanes<u32>, node: &Nodes<R>) -> [Nodes<R>; 2] {
        let mut halves = [*node; 2];
        let lengths = self.length(&std::array::from_fn(|l| node.to[l] - node.from[l]));
        split(&mut halves, cells, self.trajectories, pair, self.key, &lengths);
        halves
    }
}

fn merge(mask: &[bool; LANES], a: &Lanes<u32>, b: &Lanes<u32>) -> Lanes<u32> {
    std::array::from_fn(|l| if mask[l] { a[l] } else { b[l] })
}

multiversion! {
    /// Replaces two copies of nodes of length `h` by their halves.
    fn split<R>(
        halves: &mut [Nodes<R>; 2],
        cells: &Lanes<u32>,
        trajectories: &Lanes<u32>,
        pair: u32,
        key: [u32; 2],
        h: &Lanes<R>,
    ) {
        let normals = normals::<R>(cells, &halves[0].index, trajectories, pair, key);
        let [first, second] = halves;
        for c in 0..2 {
            for l in 0..LANES {
                let whole = Increment { w: first.increments.w[c][l], levy: first.increments.levy[c][l] };
                let [a, b] = whole.split(h[l], [normals[c][0][l], normals[c][1][l]]);
                (first.increments.w[c][l], first.increments.levy[c][l]) = (a.w, a.levy);
                (second.increments.w[c][l], second.increments.levy[c][l]) = (b.w, b.levy);
            }
        }
        for l in 0..LANES {
            let middle = first.from[l] + (first.to[l] - first.from[l]) / 2;
            (first.to[l], second.from[l]) = (middle, middle);
            first.index[l] *= 2;
            second.index[l] = second.index[l] * 2 + 1;
        }
    }
}

multiversion! {
    /// Appends `other`, over intervals of length `after`, to `sum`, over intervals of length `before`, in the lanes of
    /// the mask.
    fn join<R>(sum: &mut Pair<R>, before: &Lanes<R>, other: &Pair<R>, after: &Lanes<R>, mask: &[bool; LANES]) {
        for c in 0..2 {
            for l in 0..LANES {
                let first = Increment { w: sum.w[c][l], levy: sum.levy[c][l] };
                let second = Increment { w: other.w[c][l], levy: other.levy[c][l] };
                let joined = first.join(before[l], second, after[l]);
                let keep = !mask[l] || before[l] + after[l] == R::ZERO;
                sum.w[c][l] = if keep { first.w } else { joined.w };
                sum.levy[c][l] = if keep { first.levy } else { joined.levy };
            }
        }
    }
}

/// Takes the lanes of the mask from `other`.
fn choose<R: Real>(node: &mut Nodes<R>, other: &Nodes<R>, mask: &[bool; LANES]) {
    node.index = merge(mask, &other.index, &node.index);
    node.from = merge(mask, &other.from, &node.from);
    node.to = merge(mask, &other.to, &node.to);
    choose_pair(&mut node.increments, &other.increments, mask);
}

multiversion! {
    /// Takes the lanes of the mask from `other`.
    fn choose_pair<R>(pair: &mut Pair<R>, other: &Pair<R>, mask: &[bool; LANES]) {
        for c in 0..2 {
            for l in 0..LANES {
                pair.w[c][l] = if mask[l] { other.w[c][l] } else { pair.w[c][l] };
                pair.levy[c][l] = if mask[l] { other.levy[c][l] } else { pair.levy[c][l] };
            }
        }
    }
}
