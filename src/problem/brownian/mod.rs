//! [`Brownian`]: Brownian motion as a pure function of seed, trajectory, channel and interval.
//!
//! The interval of integration is cut into equal *cells*, whose increments are drawn directly; with fixed steps a cell
//! is a step. Inside a cell, a binary tree of midpoints is drawn on demand, down to 2^-24 of the cell: a *virtual Brownian
//! tree* (X. Li, T.-K. L. Wong, R. T. Q. Chen, D. Duvenaud, 2020), with the space-time Lévy area at every node (J. Foster,
//! Numerical approximations for stochastic differential equations, thesis, Oxford, 2020, theorem 6.1.6). So an increment
//! over any interval of ticks has exactly its distribution, increments add up over any partition, and nothing is
//! stored: a rejected step, the backward pass and another device see the same path.
//!
//! **Counters.** Every draw is one Philox block, keyed by the seed, of the counter `[cell, node, trajectory, 4 + 256
//! pair]`. Node 0 is the whole cell, node `n` from 1 on the split of the tree's node in heap order (1 the root, `2n` and
//! `2n + 1` its halves); from `2^31` on they are draws apart from the path. A pair of channels shares a block: words 0
//! and 1 are the even channel's, words 2 and 3 the odd one's.
//!
//! **Normals.** Two words `a`, `b` give `r cos phi` and `r sin phi` with `r = sqrt(-2 ln ((a + 1/2) / 2^32))` and
//! `phi = 2 pi b / 2^32` (Box and Muller 1958): magnitudes under 6.77. At `f32` both are within 4e-7 of `r` times the
//! true value, which a test measures.

use std::cell::Cell;

use crate::error::{Error, Result};
use crate::math::{Purpose, Random, Real, philox4x32};

/// Levels of the tree in a cell.
pub(crate) const LEVELS: u32 = 24;

/// Ticks of a cell: what the tree resolves.
pub(crate) const CELL: u32 = 1 << LEVELS;

/// Cells where steps are adaptive. Queries of lengths about a cell's cost least.
pub(crate) const ADAPTIVE_CELLS: u32 = 64;

/// The most cells, and so the most fixed steps: ticks stay exact as `f64`.
pub(crate) const MAX_CELLS: usize = 1 << 24;

/// Nodes from here on are draws apart from the path.
pub(crate) const APART: u32 = 1 << 31;

/// Which paths a batch follows: trajectory `i` of it that of number `first + i` under `seed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Paths {
    /// Selects the noise. Any number will do.
    pub seed: u64,
    /// Number of the batch's first trajectory, so that a part of a batch can be solved alone.
    pub first: u32,
}

impl Paths {
    /// The paths of trajectory 0 onwards.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, first: 0 }
    }

    /// The paths that training with `seed` takes at a step; every step has its own.
    #[must_use]
    pub const fn of_step(seed: u64, step: u64) -> Self {
        Self::new(Random::new(seed, Purpose::Paths, step).next_u64())
    }

    /// The `sample`-th paths that an evaluation of a model trained with `seed` takes, always the same.
    #[must_use]
    pub const fn of_evaluation(seed: u64, sample: u64) -> Self {
        Self::of_step(seed, u64::MAX - sample)
    }

    /// Checks that a batch's trajectories have numbers.
    pub(crate) fn validate(self, batch: usize) -> Result<()> {
        let last = u64::from(self.first) + batch as u64;
        if last > 1 << 32 {
            let remedy = format!("a batch of {batch} would pass trajectory 2^32: begin with a smaller one");
            return Err(Error::argument("Paths::first", self.first, remedy));
        }
        Ok(())
    }
}

/// What a path does over an interval of length `h`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Increment<R> {
    /// `W(t) - W(s)`, normal with variance `h`.
    pub w: R,
    /// Space-time Lévy area `1/h` times the integral of `W(u) - W(s) - (u - s)/h w`, normal with variance `h/12` and
    /// independent of `w`. The `dZ` of stochastic Runge-Kutta methods is `2 sqrt 3` times it.
    pub levy: R,
}

impl<R: Real> Increment<R> {
    /// The increment over two intervals of lengths `first` and `second`, one after the other (K.-T. Chen's relation).
    #[inline(always)]
    #[must_use]
    pub fn join(self, first: R, other: Self, second: R) -> Self {
        let half = R::from_f64(0.5);
        let areas = first * self.levy + second * other.levy;
        let lever = half * (second * self.w - first * other.w);
        Self { w: self.w + other.w, levy: (areas + lever) / (first + second) }
    }

    /// The increments over the halves of an interval of length `h`, from two standard normal numbers.
    ///
    /// `w1 = w/2 + 3/2 levy + z`, `levy1 = levy/4 - z/2 + n/2`, `levy2 = levy/4 - z/2 - n/2` with `z ~ N(0, h/16)` and
    /// `n ~ N(0, h/12)` (Foster 2020, theorem 6.1.6).
    #[inline(always)]
    #[must_use]
    pub fn split(self, h: R, normals: [R; 2]) -> [Self; 2] {
        let [half, quarter] = [0.5, 0.25].map(R::from_f64);
        let root = h.sqrt();
        let z = quarter * root * normals[0];
        let n = R::from_f64(0.5 / 12f64.sqrt()) * root * normals[1];
        let w = half * self.w + R::from_f64(1.5) * self.levy + z;
        let levy = quarter * self.levy - half * z;
        [Self { w, levy: levy + n }, Self { w: self.w - w, levy: levy - n }]
    }

    /// The increment over an interval of length `h`, from two standard normal numbers.
    #[inline(always)]
    #[must_use]
    pub fn draw(h: R, normals: [R; 2]) -> Self {
        let root = h.sqrt();
        Self { w: root * normals[0], levy: R::from_f64(1.0 / 12f64.sqrt()) * root * normals[1] }
    }
}

/// Brownian motion on an interval.
///
/// ```
/// use fewsteps::{Brownian, Paths};
/// let path = Brownian::adaptive(Paths::new(7), 0.0, 1.0);
/// let whole = path.increment::<f64>(3, 0, 0.125, 0.75); // trajectory 3, channel 0
/// let parts = path.increment::<f64>(3, 0, 0.125, 0.3125).w + path.increment::<f64>(3, 0, 0.3125, 0.75).w;
/// assert!((whole.w - parts).abs() < 1e-14);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Brownian {
    paths: Paths,
    cells: u32,
    t0: f64,
    t1: f64,
}

impl Brownian {
    /// The motion that a solve with adaptive steps from `t0` to `t1` follows: 64 cells.
    #[must_use]
    pub const fn adaptive(paths: Paths, t0: f64, t1: f64) -> Self {
        Self { paths, cells: ADAPTIVE_CELLS, t0, t1 }
    }

    /// The motion on an interval of so many equal cells: the one that a solve with as many fixed steps follows.
    ///
    /// # Errors
    /// [`Error::Argument`] for no cells or more than 2^24.
    pub fn with_cells(paths: Paths, cells: usize, t0: f64, t1: f64) -> Result<Self> {
        match u32::try_from(cells) {
            Ok(cells) if cells > 0 && cells as usize <= MAX_CELLS => Ok(Self { paths, cells, t0, t1 }),
            _ => Err(Error::argument(
                "SolverOptions::path_cells",
                cells,
                format!("a path has 1 to {MAX_CELLS} cells, one a fixed step"),
            )),
        }
    }

    /// Ticks of the interval.
    #[must_use]
    pub const fn ticks(&self) -> u64 {
        self.cells as u64 * CELL as u64
    }

    /// The tick that is nearest to a time.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rounded number of at most 2^48")]
    pub fn tick(&self, t: f64) -> u64 {
        let ticks = self.ticks() as f64;
        ((t - self.t0) / (self.t1 - self.t0) * ticks).round().clamp(0.0, ticks) as u64
    }

    /// The time of a tick; the ends of the interval exactly.
    #[must_use]
    pub fn time(&self, tick: u64) -> f64 {
        let ticks = self.ticks();
        if tick == ticks { self.t1 } else { self.t0 + (self.t1 - self.t0) * (tick as f64 / ticks as f64) }
    }

    /// End of an adaptive step of length `h` from `t`: on a tick of which a step holds 16 to 32, so that a query ends
    /// five levels below the step's size, and within `h`. A step that would end beyond the interval ends with it.
    #[must_use]
    pub(crate) fn end_of_step(&self, t: f64, h: f64) -> f64 {
        let (from, ticks) = (self.tick(t), self.ticks());
        let wanted = h / (self.t1 - self.t0) * ticks as f64;
        let rest = ticks - from;
        if wanted >= rest as f64 * (1.0 - 1e-12) {
            return self.t1;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "under 2^48 and not negative")]
        let wanted = wanted.max(0.0) as u64;
        self.time(from.saturating_add(wanted) & !(grain(wanted) - 1))
    }

    /// The time up to `t` that is a multiple of about 2^-16 of the interval.
    pub(crate) fn coarse_time(&self, t: f64) -> f64 {
        let grain = 1 << self.ticks().ilog2().saturating_sub(16);
        self.time(self.tick(t) / grain * grain)
    }

    /// Increment of a trajectory's channel from time `s` to time `t`, each taken to the nearest tick.
    #[must_use]
    pub fn increment<R: Real>(&self, trajectory: u32, channel: u32, s: f64, t: f64) -> Increment<R> {
        self.increment_with_cost(trajectory, channel, s, t).0
    }

    /// As [`Brownian::increment`], with the number of Philox blocks that it took, which a pair of channels shares: one a
    /// cell, and one a level of each cell's tree on the way to either end. So a fixed step takes one block, and an
    /// adaptive step of length `h` at most `2 + 64 h + 2 (6 + log2(1 / 64 h))` (the last term where `h < 1/64`) in an
    /// interval of length 1, as its ends lie on multiples of `h/32` or more.
    #[must_use]
    pub fn increment_with_cost<R: Real>(&self, trajectory: u32, channel: u32, s: f64, t: f64) -> (Increment<R>, usize) {
        let blocks = Cell::new(0);
        let trajectory = self.paths.first.wrapping_add(trajectory);
        let query = Query { brownian: self, trajectory, channel, blocks: &blocks };
        (query.between(self.tick(s), self.tick(t)), blocks.get())
    }

    /// Length of a cell.
    pub(crate) fn cell_length(&self) -> f64 {
        (self.t1 - self.t0) / f64::from(self.cells)
    }

    pub(crate) const fn paths(&self) -> Paths {
        self.paths
    }
}

/// Ticks that the ends of a step of so many ticks are rounded to: the largest power of two that fits 16 times.
const fn grain(ticks: u64) -> u64 {
    if ticks < 32 { 1 } else { 1 << (ticks.ilog2() - 4) }
}

const fn low(x: u64) -> u32 {
    x as u32
}

/// The counter of a draw.
#[inline(always)]
pub(crate) const fn counter(cell: u32, node: u32, trajectory: u32, pair: u32) -> [u32; 4] {
    [cell, node, trajectory, Purpose::Noise as u32 | pair << 8]
}

/// Philox's key for a seed.
pub(crate) const fn key(seed: u64) -> [u32; 2] {
    [low(seed), low(seed >> 32)]
}

/// One channel of one trajectory.
struct Query<'a> {
    brownian: &'a Brownian,
    trajectory: u32,
    channel: u32,
    blocks: &'a Cell<usize>,
}

impl Query<'_> {
    fn between<R: Real>(&self, from: u64, to: u64) -> Increment<R> {
        let mut sum = Increment::default();
        let (mut length, mut at) = (R::ZERO, from);
        while at < to {
            let cell = at / u64::from(CELL);
            let end = to.min((cell + 1) * u64::from(CELL));
            let piece = Piece { query: self, cell: low(cell) };
            let part = piece.between(low(at - cell * u64::from(CELL)), low(end - cell * u64::from(CELL)));
            let part_length = piece.length(low(end - at));
            sum = sum.join(length, part, part_length);
            (length, at) = (length + part_length, end);
        }
        sum
    }
}

/// A query in one cell.
struct Piece<'a> {
    query: &'a Query<'a>,
    cell: u32,
}

/// A node of a cell's tree.
#[derive(Clone, Copy)]
struct Node<R> {
    index: u32,
    /// The ticks it covers, from and to.
    from: u32,
    to: u32,
    increment: Increment<R>,
}

impl Piece<'_> {
    fn length<R: Real>(&self, ticks: u32) -> R {
        R::from_f64(self.query.brownian.cell_length() * (f64::from(ticks) / f64::from(CELL)))
    }

    /// Two standard normal numbers of the channel.
    fn normals<R: Real>(&self, node: u32) -> [R; 2] {
        let Query { brownian, trajectory, channel, blocks } = self.query;
        blocks.set(blocks.get() + 1);
        let words = philox4x32(counter(self.cell, node, *trajectory, channel / 2), key(brownian.paths.seed));
        let first = 2 * (*channel as usize % 2);
        R::normal_pair(words[first], words[first + 1])
    }

    fn halves<R: Real>(&self, node: Node<R>) -> [Node<R>; 2] {
        let Node { index, from, to, increment } = node;
        let middle = from + (to - from) / 2;
        let [first, second] = increment.split(self.length(to - from), self.normals(index));
        [
            Node { index: 2 * index, from, to: middle, increment: first },
            Node { index: 2 * index + 1, from: middle, to, increment: second },
        ]
    }

    /// From tick `a` of the cell to its tick `b`.
    fn between<R: Real>(&self, a: u32, b: u32) -> Increment<R> {
        let increment = Increment::draw(self.length(CELL), self.normals(0));
        let mut node = Node { index: 1, from: 0, to: CELL, increment };
        loop {
            if (node.from, node.to) == (a, b) {
                return node.increment;
            }
            let [first, second] = self.halves(node);
            if b <= first.to {
                node = first;
            } else if a >= second.from {
                node = second;
            } else {
                let (left, right) = (self.suffix(first, a), self.prefix(second, b));
                return left.join(self.length(first.to - a), right, self.length(b - second.from));
            }
        }
    }

    /// From tick `a` to the node's end.
    fn suffix<R: Real>(&self, mut node: Node<R>, a: u32) -> Increment<R> {
        let (mut sum, mut length) = (Increment::default(), R::ZERO);
        while node.from != a {
            let [first, second] = self.halves(node);
            if a >= second.from {
                node = second;
            } else {
                let whole = self.length(second.to - second.from);
                (sum, length) = (second.increment.join(whole, sum, length), length + whole);
                node = first;
            }
        }
        node.increment.join(self.length(node.to - node.from), sum, length)
    }

    /// From the node's start to tick `b`.
    fn prefix<R: Real>(&self, mut node: Node<R>, b: u32) -> Increment<R> {
        let (mut sum, mut length) = (Increment::default(), R::ZERO);
        while node.to != b {
            let [first, second] = self.halves(node);
            if b <= first.to {
                node = first;
            } else {
                let whole = self.length(first.to - first.from);
                (sum, length) = (sum.join(length, first.increment, whole), length + whole);
                node = second;
            }
        }
        sum.join(length, node.increment, self.length(node.to - node.from))
    }
}
