//! What regularizers add to a backward pass: steps of their own before the walk, and a [`StepHook`] on it.

pub(crate) mod local;

#[cfg(doc)]
use crate::cpu::adjoint::hook::StepHook;
use crate::cpu::adjoint::walk::Walk;
use crate::cpu::crew::reduction::Share;
use crate::cpu::crew::shard::{Crew, WalkRoom};
use crate::cpu::solve::Solve;
use crate::cpu::step::Scheme;
use crate::cpu::tile::Tile;
use crate::cpu::tile::probe::Probe;
use crate::error::{Error, Result};
use crate::method::{Draws, PenaltyAt};
use local::{Origin, Penalty};

/// A penalty of a backward pass: its draws, the tiles with probes, and the solved trajectories in them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Penalised<'a> {
    pub(crate) draws: &'a Draws,
    pub(crate) tiles: usize,
    pub(crate) rows: usize,
}

/// A walk back with what a regularizer adds to it.
#[derive(Debug)]
pub(crate) struct Added<'a, S: Scheme> {
    walk: &'a Walk<'a, S>,
    kind: Kind<'a, S>,
}

/// Which regularizer.
#[derive(Debug)]
enum Kind<'a, S: Scheme> {
    Nothing,
    Local(Penalty<'a, S>),
}

impl<'a, S: Scheme> Added<'a, S> {
    /// What there is to add, where trajectories are left for it. States for it are saved from slot `slot` on, and the field's
    /// part of the gradient begins at `offset`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a penalty of accepted steps where no state of theirs is kept.
    pub(crate) fn new(
        penalised: Option<Penalised<'a>>,
        walk: &'a Walk<'a, S>,
        solve: &'a Solve<'a, S>,
        slot: usize,
        offset: usize,
    ) -> Result<Self> {
        let Some(Penalised { draws, tiles, rows }) = penalised.filter(|penalised| penalised.rows > 0) else {
            return Ok(Self { walk, kind: Kind::Nothing });
        };
        let origin = match (draws.penalty.at, walk.rewind.tape()) {
            (PenaltyAt::Unbiased, _) => Origin::Saved(slot),
            (PenaltyAt::Biased, Some(tape)) => Origin::Steps(tape),
            (PenaltyAt::Biased, None) => {
                let remedy = "this adjoint keeps no states to start from: use Adjoint::Discrete, or the unbiased kind";
                return Err(Error::argument("Local::at", format!("biased with {:?}", solve.options.adjoint), remedy));
            }
        };
        let penalty = Penalty { draws, track: &walk.track, solve, origin, tiles, rows, offset };
        Ok(Self { walk, kind: Kind::Local(penalty) })
    }

    /// What is to be done before the walk; the penalty, in lockstep.
    pub(crate) fn before(&self, crew: &mut Crew<S>, room: &mut WalkRoom<S>, share: Option<Share<'_>>) -> f64 {
        match &self.kind {
            Kind::Nothing => 0.0,
            Kind::Local(penalty) => penalty.apply(crew, room, share),
        }
    }

    /// As [`Walk::walk`], with the regularizer's hook.
    pub(crate) fn walk(
        &self,
        tile: &mut Tile<S::Real>,
        probes: &[Probe<S>],
        room: &mut WalkRoom<S>,
        theta_bar: &mut [S::Real],
    ) -> usize {
        match &self.kind {
            Kind::Nothing => self.walk.walk(tile, &mut [].as_slice(), room, theta_bar),
            Kind::Local(_) => self.walk.walk(tile, &mut &*probes, room, theta_bar),
        }
    }
}
