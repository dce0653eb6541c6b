//! [`Walk`]: over the accepted steps, last to first, with the states from the tape or recomputed on the way.
//!
//! Step sizes are constants, so tiles no longer depend on each other and each is walked by itself, in both layouts.
//! A lane that took fewer steps than its neighbours joins when the walk reaches its last one; until then its step has
//! no length and its cotangent passes through.

use super::hook::{At, StepHook};
use super::rewind::{Rewind, Work};
use super::track::Track;
use crate::cpu::crew::walk_room::WalkRoom;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::{add, add_weighted, indicator};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::step::Scheme;
use crate::cpu::step::seeds::{Bars, Chain};
use crate::cpu::step::state::fold_second;
use crate::cpu::tile::Tile;
use crate::cpu::tile::saves::Saves;
use crate::math::Real;

/// A backward pass as every worker sees it.
#[derive(Debug)]
pub(crate) struct Walk<'a, S: Scheme> {
    pub(crate) track: Track<'a, S>,
    pub(crate) saves: Saves<'a>,
    /// The shared clock's ends.
    pub(crate) t0: f64,
    pub(crate) t1: f64,
    /// Whether the accepted states' cotangents are in `saves_bar` too, one slot a step, the initial state first.
    pub(crate) every_step: bool,
}

impl<S: Scheme> Walk<'_, S> {
    /// Walks the tile's steps back, with the states that `rewind` finds: adds to the parameters' gradient and leaves the
    /// cotangent of `y0` in `tile.bar`.
    pub(crate) fn walk(
        &self,
        rewind: &dyn Rewind<S>,
        tile: &mut Tile<S::Real>,
        hook: &mut dyn StepHook<S>,
        room: &mut WalkRoom<S>,
        theta_bar: &mut [S::Real],
    ) -> Work {
        let mut bar = std::mem::take(&mut tile.bar);
        bar.fill(S::Real::ZERO);
        let mut work = Work::default();
        rewind.begin(tile, room);
        let chained = rewind.tape().is_some() && self.chains(hook, tile);
        let (steps, mut after) = (self.track.count(tile), [false; LANES]);
        for step in (0..steps).rev() {
            let (interval, moving) = self.track.moving(tile, step);
            let inside = self.seed_saves(tile, &interval, &moving, room, &mut bar);
            if self.every_step {
                add_weighted(&mut bar, &indicator(&moving), tile_slot(tile, step + 1));
            }
            let chain = Chain { takes: chained && step + 1 < steps, leaves: chained && step > 0 };
            let joined = moving.iter().zip(&after).any(|(moves, moved)| *moves && !moved);
            let at = At { track: &self.track, tile, step, interval: &interval, moving: &moving, inside, chain, joined };
            work.add(rewind.back(&at, hook, room, Bars { theta: theta_bar, state: &mut bar }));
            if inside {
                add(&mut bar, &room.start_bar);
            }
            hook.state_bar(step, &mut bar);
            after = moving;
        }
        if self.every_step {
            add(&mut bar, tile_slot(tile, 0));
        }
        let (n, mut gathered) = (tile.features(), std::mem::take(&mut room.saved_bar));
        let (used, of) = (std::array::from_fn(|l| l < tile.used), (&tile.clock, &tile.state.trajectories));
        self.saves.initial(&used, of, |saved| {
            add_weighted(&mut bar, &indicator(&saved.here), saved.load(&tile.saves_bar, n, &mut gathered));
        });
        room.saved_bar = gathered;
        fold_second(&mut bar, tile.features());
        tile.bar = bar;
        work
    }

    /// Whether steps share evaluations with their neighbours: where last stages have cotangents, which costs a product a step
    /// otherwise. Controls may jump between two steps.
    fn chains(&self, hook: &dyn StepHook<S>, tile: &Tile<S::Real>) -> bool {
        let asked = |slot: usize| tile_slot(tile, slot).iter().any(|&x| x != S::Real::ZERO);
        let inside = || {
            let shared = self.saves.points.iter().any(|point| point.t != self.t1 && asked(point.slot));
            shared || self.saves.own.is_some_and(|(times, _)| times.slots() > 1)
        };
        self.track.stepper.scheme.chains() && self.track.drive.is_none() && (hook.measures() || inside())
    }

    /// Hands out the cotangents of the states saved in this step: those at its end to `bar`, those within to its end, its
    /// stages and its start as they are made of these. Whether there were any within.
    fn seed_saves(
        &self,
        tile: &Tile<S::Real>,
        interval: &Interval<S::Real>,
        moving: &[bool; LANES],
        room: &mut WalkRoom<S>,
        bar: &mut [S::Real],
    ) -> bool {
        let interpolant = self.track.stepper.interpolant;
        let mut any_inside = false;
        let (n, mut gathered) = (tile.features(), std::mem::take(&mut room.saved_bar));
        self.saves.within(interval, moving, (&tile.clock, &tile.state.trajectories), |saved| {
            let save_bar = saved.load(&tile.saves_bar, n, &mut gathered);
            let inside: [bool; LANES] = std::array::from_fn(|l| saved.here[l] && saved.t[l] != interval.t1[l]);
            add_weighted(bar, &indicator(&std::array::from_fn(|l| saved.here[l] && !inside[l])), save_bar);
            if !inside.contains(&true) || save_bar.iter().all(|&x| x == S::Real::ZERO) {
                return;
            }
            if !any_inside {
                room.clear_stage_bars(0..interpolant.stages(), n);
                room.clear_start_bar(n);
                any_inside = true;
            }
            let WalkRoom { start_bar, stage_bars, .. } = &mut *room;
            interpolant.vjp(
                save_bar,
                (&saved.t, &inside),
                interval,
                [start_bar, bar],
                &mut stage_bars[..interpolant.stages()],
            );
        });
        room.saved_bar = gathered;
        any_inside
    }
}

pub(super) fn tile_slot<R: Scalar>(tile: &Tile<R>, slot: usize) -> &[R] {
    &tile.saves_bar[slot * tile.features()..][..tile.features()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::adjoint::rewind::Taped;
    use crate::cpu::adjoint::track::Steps;
    use crate::cpu::step::runge_kutta::RungeKutta;
    use crate::cpu::step::seeds::MeasureBar;
    use crate::cpu::step::stepper::Stepper;
    use crate::method::{Method, SolverOptions};
    use crate::problem::{Mlp, Problem};

    const STEPS: [[f64; 2]; 3] = [[0.0, 0.3], [0.3, 0.7], [0.7, 1.0]];
    const ROWS: usize = 3;

    /// Half the sum of squares of all steps' error estimates, as a regularizer of the whole solve would have it.
    struct Errors<'a>(&'a RungeKutta<f64>, Vec<f64>);

    impl StepHook<RungeKutta<f64>> for Errors<'_> {
        fn measures(&self) -> bool {
            true
        }

        fn measure_bar(
            &mut self,
            at: &At<'_, RungeKutta<f64>>,
            _: &[f64],
            kept: &<RungeKutta<f64> as Scheme>::Kept,
            _: &mut [f64],
        ) -> MeasureBar<'_, f64> {
            self.0.kept_error(&mut self.1, &at.interval.h, kept);
            MeasureBar::Error(&self.1)
        }

        fn state_bar(&mut self, _: usize, _: &mut [f64]) {}
    }

    /// The sum's value, and the states before each step.
    fn forward(stepper: &Stepper<RungeKutta<f64>>, y0: &[f64]) -> (f64, Vec<Vec<f64>>) {
        let scheme = &stepper.scheme;
        let (mut kept, mut error) = (scheme.kept_step(), stepper.shape.array());
        let (mut states, mut value) = (vec![y0.to_vec()], 0.0);
        for (n, [t0, t1]) in STEPS.into_iter().enumerate() {
            let interval = Interval::shared(t0, t1);
            let mut end = stepper.shape.states();
            scheme.keep(&interval, &states[n], &mut kept, true);
            scheme.end(&interval.h, &states[n], &kept, &mut end);
            scheme.kept_error(&mut error, &interval.h, &kept);
            value += error.chunks(LANES).flat_map(|row| &row[..ROWS]).map(|e| 0.5 * e * e).sum::<f64>();
            states.push(end);
        }
        (value, states)
    }

    #[test]
    fn a_hook_seeds_the_errors_of_all_steps() {
        let problem = Problem::ode(Mlp::new([2, 5, 2]), 0.0, 1.0);
        // With an FSAL stage that the error needs, and without.
        for method in [Method::Bosh3, Method::Heun] {
            let scheme = RungeKutta::<f64>::new(&problem, method.tableau()).expect("a field");
            let mut stepper = Stepper::new(scheme, &problem, &SolverOptions::default()).expect("options fit");
            let mut theta = problem.initialize::<f64>(4);
            stepper.scheme.networks_mut().pack(&theta, true);
            let mut tile = Tile::new(0, &stepper.shape);
            tile.load(&[1.0, -0.5, 0.3, 0.8, -1.2, 0.1], 2);
            tile.begin(0, 0);
            let y0 = tile.state.y.clone();
            tile.tape.states = forward(&stepper, &y0).1;
            let mut gradient = vec![0.0; theta.len()];
            {
                let walk = Walk {
                    track: Track { stepper: &stepper, steps: Steps::Shared(&STEPS), drive: None, parameters: 0 },
                    saves: Saves { points: &[], own: None },
                    t0: 0.0,
                    t1: 1.0,
                    every_step: false,
                };
                let tape = Taped { stride: std::num::NonZero::<usize>::MIN };
                let mut room = WalkRoom::new(&stepper.scheme, &stepper.shape);
                let mut hook = Errors(&stepper.scheme, stepper.shape.array());
                let work = walk.walk(&tape, &mut tile, &mut hook, &mut room, &mut gradient);
                // The last stage of a step is the first one of the next.
                let stages = method.tableau().stages() - usize::from(method.tableau().fsal());
                let fewest = STEPS.len() * stages + usize::from(method.tableau().fsal());
                assert_eq!((work.products, work.evaluations), (fewest, fewest), "every stage, once");
            }
            for i in 0..theta.len() {
                let mut at = |shift: f64| {
                    let before = theta[i];
                    theta[i] = before + shift;
                    stepper.scheme.networks_mut().pack(&theta, false);
                    theta[i] = before;
                    forward(&stepper, &y0).0
                };
                let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((gradient[i] - slope).abs() < 1e-9, "{method}, parameter {i}: {} not {slope}", gradient[i]);
            }
        }
    }
}
