//! [`Knots`]: cotangents of the values that controls have at their knots, on their way back.

use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::scalar::Scalar;

/// Cotangents of one control's values and bends, `[T][rows][LANES]`.
#[derive(Debug)]
pub(crate) struct Part<R> {
    pub(super) values: Vec<R>,
    pub(super) bends: Vec<R>,
}

/// Cotangents of the controls that come into a field, of a tile; they add up over the steps that the tile is taken back.
#[derive(Debug)]
pub(crate) struct Knots<R> {
    /// By the number of where it comes in; empty where nobody asked.
    pub(super) parts: Vec<Part<R>>,
    /// The signals of those that were added to.
    pub(super) signals: Vec<Option<usize>>,
}

impl<R: Scalar> Knots<R> {
    /// Room for so many numbers of each control's values of a trajectory.
    pub(crate) fn new(lengths: &[usize]) -> Self {
        let part = |length: &usize| Part { values: zeros(*length), bends: zeros(*length) };
        Self { parts: lengths.iter().map(part).collect(), signals: vec![None; lengths.len()] }
    }
}

fn zeros<R: Scalar>(length: usize) -> Vec<R> {
    vec![R::ZERO; length * LANES]
}

/// Where the controls' cotangents go: those that all trajectories share, `[T][rows]` one control after the other, and
/// those of each trajectory, `[T][rows][LANES]` likewise.
#[derive(Debug)]
pub(crate) struct ControlBars<'a, R> {
    pub(crate) shared: &'a mut [R],
    pub(crate) own: &'a mut [R],
    /// The lanes that count.
    pub(crate) alive: &'a [bool; LANES],
}
