//! Increments of Brownian motion for the lanes of a tile, and the elementwise kernels that they enter.
//!
//! [`Brownian`] says what the increments are; here the same walk goes down the tree in all lanes at once, each at its
//! own node where their steps differ.

use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::dispatch::multiversion;
use crate::cpu::kernel::lanes::Lanes;
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::step::runge_kutta::Interval;
use crate::math::Real;
use crate::math::philox::{MULTIPLIER as PHILOX_MULTIPLIER, WEYL as PHILOX_WEYL};
use crate::method::NoiseScale;
use crate::problem::brownian::{APART, CELL, counter, key};
use crate::problem::{Brownian, Increment};

/// Increments over the steps that the lanes of a tile take, `[D][LANES]`.
#[derive(Clone, Debug)]
pub(crate) struct Increments<R> {
    /// `dW`.
    pub(crate) w: Vec<R>,
    /// `chi2 = (dW + dZ / sqrt 3) / 2`, which is `dW / 2` plus the Lévy area.
    pub(crate) mean: Vec<R>,
    /// The steps' lengths and their square roots.
    pub(crate) h: Lanes<R>,
    pub(crate) root: Lanes<R>,
    /// What is known of the path near the last steps.
    pub(crate) cuts: Cuts<R>,
}

impl<R: Scalar> Increments<R> {
    pub(crate) fn new(features: usize) -> Self {
        let zeros = || vec![R::ZERO; features * LANES];
        Self { w: zeros(), mean: zeros(), h: [R::ZERO; LANES], root: [R::ZERO; LANES], cuts: Cuts::default() }
    }

    /// Those of the path.
    pub(crate) fn follow(&mut self, brownian: &Brownian, trajectories: &Lanes<u32>, interval: &Interval<R>) {
        self.set_lengths(interval);
        let walk = Walk::new(brownian, trajectories, interval);
        if !interval.shared {
            for pair in 0..self.pairs() {
                let (w, mean) = self.rows(pair);
                walk.pair(pair, w, mean);
            }
            return;
        }
        let mut cuts = std::mem::take(&mut self.cuts);
        cuts.prepare(&walk, self.pairs());
        for pair in 0..self.pairs() {
            let (w, mean) = self.rows(pair);
            walk.shared(pair, &cuts).write(w, mean);
        }
        self.cuts = cuts;
    }

    /// The `n`-th ones apart from the path, which belong to no time.
    pub(crate) fn draw_apart(
        &mut self,
        brownian: &Brownian,
        trajectories: &Lanes<u32>,
        interval: &Interval<R>,
        n: usize,
    ) {
        self.set_lengths(interval);
        let node = APART + u32::try_from(n).unwrap_or(0);
        let (h, key) = (self.h, key(brownian.paths().seed));
        for pair in 0..self.pairs() {
            let (w, mean) = self.rows(pair);
            let mut drawn = Pair::default();
            draw(&mut drawn, &[0; LANES], &[node; LANES], trajectories, pair, key, &h);
            drawn.write(w, mean);
        }
    }

    fn set_lengths(&mut self, interval: &Interval<R>) {
        self.h = interval.h;
        self.root = interval.h.map(R::sqrt);
    }

    fn pairs(&self) -> u32 {
        u32::try_from(self.w.len().div_ceil(2 * LANES)).unwrap_or(0)
    }

    fn rows(&mut self, pair: u32) -> (&mut [R], &mut [R]) {
        let from = 2 * pair as usize * LANES;
        let to = (from + 2 * LANES).min(self.w.len());
        (&mut self.w[from..to], &mut self.mean[from..to])
    }

    pub(crate) const fn bytes(features: usize) -> usize {
        2 * features * LANES * size_of::<R>()
    }
}

/// Increments of two channels, which share their random blocks.
#[derive(Clone, Copy, Debug)]
struct Pair<R> {
    w: [Lanes<R>; 2],
    levy: [Lanes<R>; 2],
}

impl<R: Real> Default for Pair<R> {
    fn default() -> Self {
        Self { w: [[R::ZERO; LANES]; 2], levy: [[R::ZERO; LANES]; 2] }
    }
}

impl<R: Real> Pair<R> {
    fn write(&self, w: &mut [R], mean: &mut [R]) {
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

/// A node of a cell's tree in every lane.
#[derive(Clone, Copy, Debug)]
struct Nodes<R> {
    index: Lanes<u32>,
    from: Lanes<u32>,
    to: Lanes<u32>,
    increments: Pair<R>,
}

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
    pairs: Vec<[Pair<R>; 2]>,
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
    fn prepare(&mut self, walk: &Walk<'_>, pairs: u32) {
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
                let piece = Piece { walk, pair, cell: low(tick / u64::from(CELL)) };
                piece.cut(low(tick % u64::from(CELL)))
            }));
        }
    }

    /// Increments before and after a tick within its cell.
    fn at(&self, tick: u64, pair: u32) -> Option<&[Pair<R>; 2]> {
        self.ends.iter().find(|end| end.tick == tick).and_then(|end| end.pairs.get(pair as usize))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.ends.iter().map(|end| end.pairs.capacity() * size_of::<[Pair<R>; 2]>()).sum()
    }
}

/// A query of the path: one interval a lane.
struct Walk<'a> {
    trajectories: &'a Lanes<u32>,
    from: Lanes<u64>,
    to: Lanes<u64>,
    key: [u32; 2],
    /// Length of a tick.
    tick: f64,
}

impl<'a> Walk<'a> {
    fn new<R: Scalar>(brownian: &Brownian, trajectories: &'a Lanes<u32>, interval: &Interval<R>) -> Self {
        let ticks = |times: &Lanes<f64>| {
            if interval.shared { [brownian.tick(times[0]); LANES] } else { times.map(|t| brownian.tick(t)) }
        };
        Self {
            trajectories,
            from: ticks(&interval.t0),
            to: ticks(&interval.t1),
            key: key(brownian.paths().seed),
            tick: brownian.cell_length() / f64::from(CELL),
        }
    }

    fn length<R: Real>(&self, ticks: &Lanes<u32>) -> Lanes<R> {
        ticks.map(|ticks| R::from_f64(f64::from(ticks) * self.tick))
    }

    /// The increments of one pair of channels where all lanes take the same step: decisions are made once, as in
    /// [`Brownian`].
    fn shared<R: Scalar>(&self, pair: u32, cuts: &Cuts<R>) -> Pair<R> {
        let (from, to) = (self.from[0], self.to[0]);
        let mut sum = Pair::default();
        if from.is_multiple_of(u64::from(CELL)) && to == from + u64::from(CELL) {
            // A fixed step: one draw.
            let cell = [low(from / u64::from(CELL)); LANES];
            let whole = [R::from_f64(f64::from(CELL) * self.tick); LANES];
            draw(&mut sum, &cell, &[0; LANES], self.trajectories, pair, self.key, &whole);
            return sum;
        }
        let mut at = from;
        while at < to {
            let cell = at / u64::from(CELL);
            let start = cell * u64::from(CELL);
            let end = to.min(start + u64::from(CELL));
            let (a, b) = (low(at - start), low(end - start));
            let known = match (a, b) {
                (0, CELL) => None,
                (0, _) => cuts.at(end, pair).map(|[before, _]| *before),
                (_, CELL) => cuts.at(at, pair).map(|[_, after]| *after),
                _ => None,
            };
            let piece = Piece { walk: self, pair, cell: low(cell) };
            let part = known.unwrap_or_else(|| piece.between(a, b));
            if at == from {
                sum = part;
            } else {
                let lengths = [at - from, end - at].map(|ticks| R::from_f64(ticks as f64 * self.tick));
                join_shared(&mut sum, lengths[0], &part, lengths[1]);
            }
            at = end;
        }
        sum
    }

    /// The increments of one pair of channels, cell by cell, each lane for itself.
    fn pair<R: Scalar>(&self, pair: u32, w: &mut [R], mean: &mut [R]) {
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

/// A query of one pair of channels in one cell, the same in all lanes.
struct Piece<'a, 'b> {
    walk: &'a Walk<'b>,
    pair: u32,
    cell: u32,
}

/// A node of a cell's tree, the same in all lanes.
#[derive(Clone)]
struct SharedNode<R> {
    index: u32,
    from: u32,
    to: u32,
    increments: Pair<R>,
}

impl Piece<'_, '_> {
    fn length<R: Real>(&self, ticks: u32) -> R {
        R::from_f64(f64::from(ticks) * self.walk.tick)
    }

    /// Replaces the node by its first half and returns the second.
    fn halve<R: Scalar>(&self, node: &mut SharedNode<R>) -> SharedNode<R> {
        let mut second = node.clone();
        let length = self.length(node.to - node.from);
        let Walk { trajectories, key, .. } = self.walk;
        let (first, other) = (&mut node.increments, &mut second.increments);
        split_shared(first, other, self.cell, node.index, trajectories, self.pair, *key, length);
        let middle = node.from + (node.to - node.from) / 2;
        (node.index, node.to) = (2 * node.index, middle);
        (second.index, second.from) = (2 * second.index + 1, middle);
        second
    }

    fn between<R: Scalar>(&self, a: u32, b: u32) -> Pair<R> {
        let mut node = SharedNode { index: 1, from: 0, to: CELL, increments: Pair::default() };
        let Walk { trajectories, key, .. } = self.walk;
        let whole = [self.length(CELL); LANES];
        draw(&mut node.increments, &[self.cell; LANES], &[0; LANES], trajectories, self.pair, *key, &whole);
        while (node.from, node.to) != (a, b) {
            let second = self.halve(&mut node);
            if a >= second.from {
                node = second;
            } else if b > node.to {
                let lengths = [self.length(node.to - a), self.length(b - second.from)];
                let (mut head, tail) = (self.suffix(node, a), self.prefix(second, b));
                join_shared(&mut head, lengths[0], &tail, lengths[1]);
                return head;
            }
        }
        node.increments
    }

    /// From the cell's start to tick `at`, and from there to its end.
    fn cut<R: Scalar>(&self, at: u32) -> [Pair<R>; 2] {
        let mut node = SharedNode { index: 1, from: 0, to: CELL, increments: Pair::default() };
        let Walk { trajectories, key, .. } = self.walk;
        let whole = [self.length(CELL); LANES];
        draw(&mut node.increments, &[self.cell; LANES], &[0; LANES], trajectories, self.pair, *key, &whole);
        let mut before: Option<Pair<R>> = None;
        let mut after: Option<Pair<R>> = None;
        // The node covers what is between the two.
        loop {
            let mut second = self.halve(&mut node);
            if at >= second.from {
                let mut sum = node.increments;
                if let Some(earlier) = before {
                    sum = earlier;
                    join_shared(&mut sum, self.length(node.from), &node.increments, self.length(node.to - node.from));
                }
                before = Some(sum);
                node = second;
            } else {
                if let Some(later) = after {
                    let lengths = [second.to - second.from, CELL - second.to].map(|ticks| self.length(ticks));
                    join_shared(&mut second.increments, lengths[0], &later, lengths[1]);
                }
                after = Some(second.increments);
            }
            if node.from == at {
                if let Some(later) = after {
                    let lengths = [node.to - node.from, CELL - node.to].map(|ticks| self.length(ticks));
                    join_shared(&mut node.increments, lengths[0], &later, lengths[1]);
                }
                return [before.unwrap_or_default(), node.increments];
            }
        }
    }

    /// From tick `a` to the node's end.
    fn suffix<R: Scalar>(&self, mut node: SharedNode<R>, a: u32) -> Pair<R> {
        let mut sum: Option<(Pair<R>, u32)> = None;
        while node.from != a {
            let mut second = self.halve(&mut node);
            if a >= second.from {
                node = second;
            } else {
                let ticks = second.to - second.from;
                if let Some((rest, after)) = sum {
                    join_shared(&mut second.increments, self.length(ticks), &rest, self.length(after));
                }
                sum = Some((second.increments, ticks + sum.map_or(0, |(_, after)| after)));
            }
        }
        if let Some((rest, after)) = sum {
            join_shared(&mut node.increments, self.length(node.to - node.from), &rest, self.length(after));
        }
        node.increments
    }

    /// From the node's start to tick `b`.
    fn prefix<R: Scalar>(&self, mut node: SharedNode<R>, b: u32) -> Pair<R> {
        let mut sum: Option<(Pair<R>, u32)> = None;
        let append = |sum: &mut Option<(Pair<R>, u32)>, node: &SharedNode<R>| {
            let ticks = node.to - node.from;
            match sum {
                None => *sum = Some((node.increments, ticks)),
                Some((sum, before)) => {
                    join_shared(sum, self.length(*before), &node.increments, self.length(ticks));
                    *before += ticks;
                }
            }
        };
        while node.to != b {
            let second = self.halve(&mut node);
            if b > node.to {
                append(&mut sum, &node);
                node = second;
            }
        }
        append(&mut sum, &node);
        sum.map_or(node.increments, |(sum, _)| sum)
    }
}

const fn low(x: u64) -> u32 {
    x as u32
}

fn merge(mask: &[bool; LANES], a: &Lanes<u32>, b: &Lanes<u32>) -> Lanes<u32> {
    std::array::from_fn(|l| if mask[l] { a[l] } else { b[l] })
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
fn normals<R: Real>(
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
    fn draw<R>(
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
    fn split_shared<R>(
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
    fn join_shared<R>(sum: &mut Pair<R>, before: R, other: &Pair<R>, after: R) {
        for c in 0..2 {
            for l in 0..LANES {
                let first = Increment { w: sum.w[c][l], levy: sum.levy[c][l] };
                let joined = first.join(before, Increment { w: other.w[c][l], levy: other.levy[c][l] }, after);
                (sum.w[c][l], sum.levy[c][l]) = (joined.w, joined.levy);
            }
        }
    }
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

/// The most diffusion terms that a state has.
const MAX_TERMS: usize = 4;

/// `out += scale * sum coefficient * term`, with the scale of the increments.
pub(crate) fn add_terms<'a, R: Scalar>(
    out: &mut [R],
    scale: NoiseScale,
    increments: &Increments<R>,
    terms: impl IntoIterator<Item = (f64, &'a [R])>,
) {
    let mut coefficients = [R::ZERO; MAX_TERMS];
    let mut slices: [&[R]; MAX_TERMS] = [&[]; MAX_TERMS];
    let mut n = 0;
    for (coefficient, term) in terms {
        if coefficient != 0.0 {
            (coefficients[n], slices[n]) = (R::from_f64(coefficient), term);
            n += 1;
        }
    }
    let elements = match scale {
        NoiseScale::Increment => Some(&increments.w),
        NoiseScale::Mean => Some(&increments.mean),
        NoiseScale::Root => None,
    };
    macro_rules! sized {
        ($($n:literal)*) => {
            match (n, elements) {
                $(
                    ($n, Some(scale)) => add_scaled::<R, $n>(
                        out, scale, std::array::from_fn(|j| coefficients[j]), std::array::from_fn(|j| slices[j]),
                    ),
                    ($n, None) => add_scaled_by_lane::<R, $n>(
                        out, &increments.root, std::array::from_fn(|j| coefficients[j]),
                        std::array::from_fn(|j| slices[j]),
                    ),
                )*
                _ => {}
            }
        };
    }
    sized!(1 2 3 4);
}

multiversion! {
    /// `out += scale * sum_j coefficients_j terms_j`, with a scale for each number.
    fn add_scaled<R, const N: usize>(out: &mut [R], scale: &[R], coefficients: [R; N], terms: [&[R]; N]) {
        let n = out.len();
        let scale = &scale[..n];
        let terms = terms.map(|term| &term[..n]);
        for i in 0..n {
            let mut sum = coefficients[0] * terms[0][i];
            for j in 1..N {
                sum = coefficients[j].mul_add(terms[j][i], sum);
            }
            out[i] = scale[i].mul_add(sum, out[i]);
        }
    }
}

multiversion! {
    /// `out += scale * sum_j coefficients_j terms_j`, with a scale for each lane.
    fn add_scaled_by_lane<R, const N: usize>(
        out: &mut [R], scale: &Lanes<R>, coefficients: [R; N], terms: [&[R]; N],
    ) {
        let n = out.len();
        let terms = terms.map(|term| &term[..n]);
        for from in (0..n - n % LANES).step_by(LANES) {
            for lane in 0..LANES {
                let i = from + lane;
                let mut sum = coefficients[0] * terms[0][i];
                for j in 1..N {
                    sum = coefficients[j].mul_add(terms[j][i], sum);
                }
                out[i] = scale[lane].mul_add(sum, out[i]);
            }
        }
    }
}

/// The four random variables of a diagonal step, `dW, chi1, chi2, chi3`, of which the last three are iterated integrals
/// over powers of the step's length; zero where a step has no length.
#[inline(always)]
fn variables<R: Real>(w: R, mean: R, h: R, root: R) -> [R; 4] {
    let rests = h == R::ZERO;
    let (half, sixth) = (R::from_f64(0.5), R::from_f64(1.0 / 6.0));
    let square = w * w;
    let chi1 = half * (square - h) / if rests { R::ONE } else { root };
    let chi3 = sixth * w * (square - R::from_f64(3.0) * h) / if rests { R::ONE } else { h };
    [w, chi1, mean, chi3]
}

/// `out += sum_i (beta1_i dW + beta2_i chi1 + beta3_i chi2 + beta4_i chi3) g_i`, with no weights for what a method does
/// not use.
pub(crate) fn add_noise<R: Scalar>(out: &mut [R], increments: &Increments<R>, weights: &[&[f64]; 4], g: &[&[R]]) {
    let only_w = weights[1..].iter().all(|w| w.is_empty());
    if only_w {
        let terms = weights[0].iter().copied().zip(g.iter().copied());
        return add_terms(out, NoiseScale::Increment, increments, terms);
    }
    macro_rules! sized {
        ($($n:literal)*) => {
            match g.len() {
                $(
                    $n => {
                        let table = std::array::from_fn(|i| {
                            std::array::from_fn(|k| R::from_f64(weights[k].get(i).copied().unwrap_or(0.0)))
                        });
                        add_weighted_noise::<R, $n>(
                            out, &increments.w, &increments.mean, &increments.h, &increments.root, table,
                            std::array::from_fn(|i| g[i]),
                        );
                    }
                )*
                _ => {}
            }
        };
    }
    sized!(1 2 3 4);
}

multiversion! {
    fn add_weighted_noise<R, const N: usize>(
        out: &mut [R], w: &[R], mean: &[R], h: &Lanes<R>, root: &Lanes<R>, weights: [[R; 4]; N], g: [&[R]; N],
    ) {
        let n = out.len();
        let (w, mean) = (&w[..n], &mean[..n]);
        let g = g.map(|g| &g[..n]);
        for from in (0..n - n % LANES).step_by(LANES) {
            for lane in 0..LANES {
                let i = from + lane;
                let x = variables(w[i], mean[i], h[lane], root[lane]);
                let mut sum = out[i];
                for j in 0..N {
                    let mut factor = weights[j][0] * x[0];
                    for k in 1..4 {
                        factor = weights[j][k].mul_add(x[k], factor);
                    }
                    sum = factor.mul_add(g[j][i], sum);
                }
                out[i] = sum;
            }
        }
    }
}

/// `out += (weights_i . (dW, chi1, chi2, chi3)) bar`: the cotangent that diffusion stage `i` has from a step's end.
pub(crate) fn add_noise_vjp<R: Scalar>(
    out: &mut [R],
    increments: &Increments<R>,
    weights: &[&[f64]; 4],
    i: usize,
    bar: &[R],
) {
    let weights = weights.map(|row| R::from_f64(row.get(i).copied().unwrap_or(0.0)));
    let Increments { w, mean, h, root, .. } = increments;
    if weights[1..] == [R::ZERO; 3] {
        add_product(out, weights[0], w, bar);
    } else {
        add_factor(out, w, mean, h, root, weights, bar);
    }
}

multiversion! {
    /// `out += weight w bar`, number by number.
    fn add_product<R>(out: &mut [R], weight: R, w: &[R], bar: &[R]) {
        for ((out, &w), &bar) in out.iter_mut().zip(w).zip(bar) {
            *out = (weight * w).mul_add(bar, *out);
        }
    }
}

multiversion! {
    /// `out += (weights . (dW, chi1, chi2, chi3)) bar`, number by number.
    fn add_factor<R>(
        out: &mut [R], w: &[R], mean: &[R], h: &Lanes<R>, root: &Lanes<R>, weights: [R; 4], bar: &[R],
    ) {
        let n = out.len();
        let (w, mean, bar) = (&w[..n], &mean[..n], &bar[..n]);
        for from in (0..n - n % LANES).step_by(LANES) {
            for lane in 0..LANES {
                let i = from + lane;
                let x = variables(w[i], mean[i], h[lane], root[lane]);
                let mut factor = weights[0] * x[0];
                for k in 1..4 {
                    factor = weights[k].mul_add(x[k], factor);
                }
                out[i] = factor.mul_add(bar[i], out[i]);
            }
        }
    }
}

multiversion! {
    /// `out = |f| + 3 |g|`: three standard deviations of a path's speed.
    pub(crate) fn speed<R>(out: &mut [R], f: &[R], g: &[R]) {
        for ((out, f), g) in out.iter_mut().zip(f).zip(g) {
            *out = R::from_f64(3.0).mul_add(g.abs(), f.abs());
        }
    }
}

multiversion! {
    /// `f1 = |f1 - f| + 3 (|g| + |g1|)`: its largest change, within three standard deviations.
    pub(crate) fn speed_change<R>(f1: &mut [R], f: &[R], g: &[R], g1: &[R]) {
        for (((f1, f), g), g1) in f1.iter_mut().zip(f).zip(g).zip(g1) {
            *f1 = R::from_f64(3.0).mul_add(g.abs() + g1.abs(), (*f1 - *f).abs());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Paths;

    fn check<R: Scalar>(brownian: &Brownian, ends: &[[f64; 2]], bound: f64) {
        let trajectories: Lanes<u32> = std::array::from_fn(|l| brownian.paths().first + 5 * l as u32);
        let (features, n) = (3, ends.len());
        for shift in 0..n {
            let t = |end: usize| std::array::from_fn(|l| ends[(shift + l) % n][end]);
            for shared in [false, true] {
                let interval = if shared {
                    Interval::<R>::shared(ends[shift][0], ends[shift][1])
                } else {
                    Interval::new(t(0), t(1))
                };
                let mut found = Increments::<R>::new(features);
                found.follow(brownian, &trajectories, &interval);
                for channel in 0..features {
                    for l in 0..LANES {
                        let (s, t) = (interval.t0[l], interval.t1[l]);
                        let truth = brownian.increment::<f64>(5 * l as u32, channel as u32, s, t);
                        let i = channel * LANES + l;
                        let scale = (t - s).sqrt();
                        let (w, mean) = (found.w[i].to_f64(), found.mean[i].to_f64());
                        assert!((w - truth.w).abs() <= bound * scale, "dW over {s}..{t}: {w} not {}", truth.w);
                        let expected = 0.5 * truth.w + truth.levy;
                        assert!((mean - expected).abs() <= bound * scale, "chi2 over {s}..{t}: {mean}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_known_of_a_path_changes_no_bit_of_it() {
        let brownian = Brownian::adaptive(Paths::new(3), 0.0, 1.0);
        let trajectories: Lanes<u32> = std::array::from_fn(|l| l as u32);
        let mut random = crate::math::Random::new(1, crate::math::Purpose::Data, 0);
        // Steps as an adaptive solve takes them, some of which are rejected; then back.
        let (mut t, mut steps) = (0.0, Vec::new());
        while t < 1.0 {
            let h = 0.004 + 0.03 * random.uniform();
            steps.push([t, brownian.end_of_step(t, h)]);
            if random.uniform() < 0.7 {
                t = steps[steps.len() - 1][1];
            }
        }
        let back: Vec<[f64; 2]> = steps.iter().rev().copied().collect();
        let mut with_memory = Increments::<f32>::new(3);
        for [t0, t1] in steps.into_iter().chain(back) {
            let interval = Interval::shared(t0, t1);
            let mut anew = Increments::<f32>::new(3);
            with_memory.follow(&brownian, &trajectories, &interval);
            anew.follow(&brownian, &trajectories, &interval);
            assert_eq!((&with_memory.w, &with_memory.mean), (&anew.w, &anew.mean), "from {t0} to {t1}");
            let truth = brownian.increment::<f64>(5, 2, t0, t1);
            let found = anew.w[2 * LANES + 5].to_f64();
            assert!((found - truth.w).abs() < 1e-5, "from {t0} to {t1}: {found} not {}", truth.w);
        }
        // Another path's numbers are not taken for this one's.
        let other = Brownian::adaptive(Paths::new(4), 0.0, 1.0);
        let (interval, mut anew) = (Interval::shared(0.1, 0.125), Increments::<f32>::new(3));
        with_memory.follow(&brownian, &trajectories, &interval);
        with_memory.follow(&other, &trajectories, &interval);
        anew.follow(&other, &trajectories, &interval);
        assert_eq!(with_memory.w, anew.w, "another seed");
    }

    #[test]
    fn lanes_walk_the_tree_as_one_by_one() {
        let paths = Paths { seed: 0x1234_5678_9abc_def0, first: 3 };
        let brownian = Brownian::adaptive(paths, -1.0, 3.0);
        let whole = [[-1.0, 3.0], [0.0, 0.0], [3.0, 3.0]];
        let unit = 2f64.powi(-28);
        let random = (0..60u64).map(|i| {
            let mut random = crate::math::Random::new(i, crate::math::Purpose::Data, 0);
            let width = 2f64.powi(-(random.below(27) as i32));
            let s = (random.uniform() * (1.0 - width) / unit).floor() * unit;
            [4.0 * s - 1.0, 4.0 * (s + width) - 1.0]
        });
        let ends: Vec<[f64; 2]> = whole.into_iter().chain(random).collect();
        check::<f64>(&brownian, &ends, 1e-11);
        check::<f32>(&brownian, &ends, 1e-4);
        let steps = Brownian::with_cells(paths, 30, 0.0, 1.0).expect("cells");
        let ends: Vec<[f64; 2]> = (0..30).map(|i| [i, i + 1].map(|i| f64::from(i) / 30.0)).collect();
        check::<f64>(&steps, &ends, 1e-14);
        check::<f32>(&steps, &ends, 1e-6);
    }
}
