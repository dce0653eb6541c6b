//! [`StepHook`]: what a regularizer adds to the walk back.

use super::track::Track;
use crate::cpu::kernel::aligned::Aligned;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::step::Scheme;
use crate::cpu::step::seeds::{Chain, MeasureBar};
use crate::cpu::tile::Tile;

/// The step of a tile that a walk goes back over.
#[derive(Debug)]
pub(crate) struct At<'a, S: Scheme> {
    pub(crate) track: &'a Track<'a, S>,
    pub(crate) tile: &'a Tile<S::Real>,
    pub(crate) step: usize,
    pub(crate) interval: &'a Interval<S::Real>,
    /// Lanes that move in it.
    pub(crate) moving: &'a [bool; LANES],
    /// Whether states saved within it have cotangents, in the room's `stage_bars`.
    pub(crate) inside: bool,
    /// What it shares with its neighbours, if the states come from a tape.
    pub(crate) chain: Chain,
    /// Whether a lane moves in it that rests in the step after.
    pub(crate) joined: bool,
}

/// Nothing is added.
#[derive(Debug)]
pub(crate) struct NoHook;

impl<S: Scheme> StepHook<S> for NoHook {
    fn state_bar(&mut self, _: usize, _: &mut [S::Real]) {}
}

/// What a regularizer adds to the walk back over a tile's steps.
pub(crate) trait StepHook<S: Scheme> {
    /// Whether it measures the steps, and has cotangents of their errors or last stages.
    fn measures(&self) -> bool {
        false
    }

    /// The cotangent of what it [measures](Self::measures) of an accepted step, kept from state `y`; adds to that of the state
    /// at its end.
    fn measure_bar(
        &mut self,
        _at: &At<'_, S>,
        _y: &[S::Real],
        _kept: &S::Kept,
        _end_bar: &mut [S::Real],
    ) -> MeasureBar<'_, S::Real> {
        MeasureBar::Nothing
    }

    /// How many of the steps' stages, from the first on, it has cotangents of.
    fn seeds_stages(&self) -> usize {
        0
    }

    /// Adds to the cotangents of the [stages](Self::seeds_stages) of an accepted step, and to the parameters'.
    fn stage_bars(
        &mut self,
        _at: &At<'_, S>,
        _kept: &S::Kept,
        _bars: &mut [Aligned<S::Real>],
        _theta_bar: &mut [S::Real],
    ) {
    }

    /// Adds to the cotangent of the state before accepted step `step`.
    fn state_bar(&mut self, step: usize, bar: &mut [S::Real]);
}
