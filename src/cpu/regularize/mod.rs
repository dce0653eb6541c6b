//! What regularizers add to a backward pass: steps of their own before the walk, and a [`StepHook`] on it.

pub(crate) mod global;
pub(crate) mod local;
pub(crate) mod pointwise;
pub(crate) mod quadrature;

use crate::cpu::adjoint::hook::{At, StepHook};
use crate::cpu::adjoint::rewind::Work;
use crate::cpu::adjoint::walk::Walk;
use crate::cpu::adjoint::way_back::WayBack;
use crate::cpu::crew::measure_bars::MeasureBars;
use crate::cpu::crew::reduction::Share;
use crate::cpu::crew::shard::Crew;
use crate::cpu::crew::walk_room::WalkRoom;
use crate::cpu::kernel::aligned::Aligned;
use crate::cpu::kernel::lanes::{add_weighted, indicator};
use crate::cpu::solve::Solve;
use crate::cpu::step::Scheme;
use crate::cpu::step::seeds::MeasureBar;
use crate::cpu::tile::Tile;
use crate::cpu::tile::probe::Probe;
use crate::error::{Error, Result};
use crate::method::{Draws, GlobalPenalty, PenaltyAt, PointValues, Tableau};
use global::AllSteps;
use local::{Origin, Penalty};
use pointwise::Points;
use quadrature::{Quadratures, weighted_stages};

/// The local penalty of a backward pass: its draws, the tiles with probes, and the solved trajectories in them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Penalised<'a> {
    pub(crate) draws: &'a Draws,
    pub(crate) tiles: usize,
    pub(crate) rows: usize,
}

/// The penalties of a backward pass: the local one, and that of all steps with the number of solved trajectories.
pub(crate) type Penalties<'a> = (Option<Penalised<'a>>, Option<(GlobalPenalty, usize)>);

/// What a backward pass found besides the gradient: penalties without their weights, and what it took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added {
    pub(crate) local: Option<f64>,
    pub(crate) global: Option<f64>,
    /// Of measures at random times.
    pub(crate) pointwise: PointValues,
    pub(crate) work: Work,
}

impl Added {
    /// The first regularizer's penalty.
    pub(crate) fn penalty(&self) -> f64 {
        let first = || self.pointwise.iter().next().map(|value| value.penalty);
        self.local.or(self.global).or_else(first).unwrap_or(0.0)
    }
}

/// A walk back with what regularizers add to it.
#[derive(Debug)]
pub(crate) struct Pass<'a, S: Scheme> {
    walk: &'a Walk<'a, S>,
    back: &'a dyn WayBack<S>,
    local: Option<Penalty<'a, S>>,
    pub(crate) global: Option<AllSteps<'a>>,
}

impl<'a, S: Scheme> Pass<'a, S> {
    /// What there is to add, where trajectories are left for it. In lockstep `norms` are those of what is measured of the steps. States for
    /// probes are saved from slot `slot` on, and the field's part of the gradient begins at `offset`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a penalty of accepted steps where no state of theirs is kept.
    pub(crate) fn new(
        (local, global): Penalties<'a>,
        (walk, back): (&'a Walk<'a, S>, &'a dyn WayBack<S>),
        solve: &'a Solve<'a, S>,
        norms: &'a [([f64; 2], usize)],
        slot: usize,
        offset: usize,
    ) -> Result<Self> {
        let global = global.map(|(penalty, rows)| AllSteps {
            penalty,
            rows,
            shared: walk.track.shared().map(|steps| (steps, norms)),
        });
        let Some(Penalised { draws, tiles, rows }) = local.filter(|penalised| penalised.rows > 0) else {
            return Ok(Self { walk, back, local: None, global });
        };
        let origin = match (draws.penalty.at, back.tape()) {
            (PenaltyAt::Unbiased, _) => Origin::Saved(slot),
            (PenaltyAt::Biased, Some(tape)) => Origin::Steps(tape),
            (PenaltyAt::Biased, None) => {
                let remedy = "this adjoint keeps no states to start from: use Adjoint::Discrete, or the unbiased kind";
                return Err(Error::argument("Local::at", format!("biased with {:?}", solve.options.adjoint), remedy));
            }
        };
        let local = Penalty { draws, track: &walk.track, solve, origin, tiles, rows, offset };
        Ok(Self { walk, back, local: Some(local), global })
    }

    /// What is to be done before the walk; the local penalty, in lockstep.
    pub(crate) fn before(&self, crew: &mut Crew<S>, room: &mut WalkRoom<S>, share: Option<Share<'_>>) -> f64 {
        self.local.as_ref().map_or(0.0, |penalty| penalty.apply(crew, room, share))
    }

    /// As [`WayBack::walk`], with the regularizers' hooks.
    pub(crate) fn walk(
        &self,
        tile: &mut Tile<S::Real>,
        probes: &[Probe<S>],
        points: &[Points<'_, S::Real>],
        room: &mut WalkRoom<S>,
        theta_bar: &mut [S::Real],
    ) -> Work {
        let probes = if self.local.is_some() { probes } else { &[] };
        let shape = &self.walk.track.stepper.shape;
        let all = self.global.as_ref().map(|of| (of, room.measures.take().unwrap_or_else(|| MeasureBars::new(shape))));
        let integrals = Quadratures::of(points, tile, &mut room.points);
        let mut hook = Hooks { probes, all, integrals, tableau: self.walk.track.stepper.scheme.tableau() };
        let work = self.back.walk(self.walk, tile, &mut hook, room, theta_bar);
        if let Some((_, bars)) = hook.all {
            room.measures = Some(bars);
        }
        if let Some(integrals) = hook.integrals {
            integrals.end(tile, &mut room.points);
        }
        work
    }
}

/// What the regularizers of a tile add on the walk.
struct Hooks<'a, S: Scheme> {
    probes: &'a [Probe<S>],
    all: Option<(&'a AllSteps<'a>, MeasureBars<S::Real>)>,
    integrals: Option<Quadratures<'a, S::Real>>,
    tableau: &'static Tableau,
}

impl<S: Scheme> StepHook<S> for Hooks<'_, S> {
    fn measures(&self) -> bool {
        self.all.is_some()
    }

    fn measure_bar(
        &mut self,
        at: &At<'_, S>,
        y: &[S::Real],
        kept: &S::Kept,
        end_bar: &mut [S::Real],
    ) -> MeasureBar<'_, S::Real> {
        let Some((steps, bars)) = &mut self.all else { return MeasureBar::Nothing };
        steps.measure_bar(at, y, kept, end_bar, bars)
    }

    fn seeds_stages(&self) -> usize {
        if self.integrals.is_some() { weighted_stages(self.tableau) } else { 0 }
    }

    fn stage_bars(&mut self, at: &At<'_, S>, kept: &S::Kept, bars: &mut [Aligned<S::Real>], theta_bar: &mut [S::Real]) {
        if let Some(integrals) = &mut self.integrals {
            integrals.step(at, kept, bars, theta_bar);
        }
    }

    fn state_bar(&mut self, step: usize, bar: &mut [S::Real]) {
        if let Some(integrals) = &self.integrals {
            integrals.add_start(bar);
        }
        if let Some((_, bars)) = &self.all {
            bars.add_start(bar);
        }
        // The probes' cotangents reach into the states that they began with.
        for probe in self.probes {
            let Some(starts) = &probe.starts else { continue };
            let here = starts.map(|start| start == step);
            if here.contains(&true) {
                add_weighted(bar, &indicator(&here), &probe.bar);
            }
        }
    }
}
