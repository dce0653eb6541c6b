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

mod cell;
mod increment;
mod motion;
mod paths;
mod query;
mod tree;

#[cfg(test)]
pub(crate) use cell::LEVELS;
pub(crate) use cell::{ADAPTIVE_CELLS, APART, CELL, counter, key};
pub use increment::Increment;
pub use motion::Brownian;
pub use paths::Paths;
pub(crate) use tree::{Tree, across};
