//! [`Equation`]: the adjoint equation `da/dt = -a^T df/dy`, solved backwards with steps of its own.
//!
//! Parameters' gradients, `integral a^T df/dtheta dt`, feed back into nothing. They are a quadrature over the accepted steps,
//! with the weights of the method: what an augmented state would come to whose error nobody looks at (P. Kidger, R. T. Q.
//! Chen, T. Lyons, "Hey, that's not an ODE": faster ODE adjoints via seminorms, 2021), without their products in attempts.

mod course;
mod states;

use super::hook::StepHook;
use super::rewind::{Taped, Work};
use super::walk::{Walk, tile_slot};
use super::way_back::WayBack;
use crate::cpu::crew::equation_room::EquationRoom;
use crate::cpu::crew::walk_room::WalkRoom;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::{Lanes, add_weighted, combine, finite_lanes, rest_unless, select, stand_in_unless};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::step::Scheme;
use crate::cpu::step::runge_kutta::{RungeKutta, VjpRoom};
use crate::cpu::step::scale::ErrorScale;
use crate::cpu::step::stages::{drift_error, stages_of};
use crate::cpu::tile::Tile;
use crate::error::Status;
use crate::method::{Adjoint, Controller, Layout, SolverOptions, StepControl, Tableau};
use course::Course;
use states::States;

/// Distance of a state from the same one in the solve, in units of the tolerance, from which on it is another one.
const ASTRAY: f64 = 100.0;

/// The adjoint equation, solved backwards by the method of the solve. In an ensemble every trajectory has its own steps; in
/// lockstep the trajectories of a tile share them.
#[derive(Debug)]
pub(crate) struct Equation<R> {
    /// With the state, which otherwise comes from the solve's interpolant.
    with_state: bool,
    tape: Option<Taped>,
    shared: bool,
    /// None with fixed steps: those of the solve.
    controller: Option<Controller>,
    most_attempts: usize,
    /// What the error of the cotangent is measured in, in its unit.
    scale: ErrorScale<R>,
    /// What the distance of two states is measured in.
    states: ErrorScale<R>,
}

impl<R: Scalar> Equation<R> {
    pub(crate) fn new(dim: usize, options: &SolverOptions) -> Self {
        let with_state = options.adjoint == Adjoint::Backsolve;
        // Features' own tolerances are of states, not of cotangents.
        let plain = SolverOptions { atol_per_feature: None, ..options.clone() };
        Self {
            with_state,
            tape: (!with_state).then_some(Taped { stride: std::num::NonZero::<usize>::MIN }),
            shared: options.layout == Layout::Lockstep,
            controller: match options.step_control {
                StepControl::Adaptive { controller, .. } => Some(controller),
                StepControl::Fixed { .. } => None,
            },
            most_attempts: options.max_steps,
            scale: ErrorScale::new(dim, &plain),
            states: ErrorScale::of_states(dim, options),
        }
    }

    /// The unit of each lane's cotangent, 0 where it has none, and the time of the last state that has one.
    fn units(&self, walk: &Walk<'_, RungeKutta<R>>, tile: &Tile<R>) -> [Lanes<f64>; 2] {
        let (mut units, mut times) = ([0.0; LANES], [walk.t0; LANES]);
        for point in walk.saves.points {
            let bar = tile_slot(tile, point.slot);
            for l in (0..LANES).filter(|&l| tile.alive[l]) {
                let size = size(bar[l..].iter().step_by(LANES).map(|x| x.to_f64()));
                if size == 0.0 {
                    continue;
                }
                units[l] = if size > units[l] || size.is_nan() { size } else { units[l] };
                if (point.t - walk.t0).abs() > (times[l] - walk.t0).abs() {
                    times[l] = point.t;
                }
            }
        }
        if self.shared {
            let unit = size(units.into_iter().filter(|&unit| unit != 0.0));
            let last = times
                .into_iter()
                .fold(walk.t0, |last, t| if (t - walk.t0).abs() > (last - walk.t0).abs() { t } else { last });
            return [units.map(|own| if own == 0.0 { 0.0 } else { unit }), [last; LANES]];
        }
        [units, times]
    }
}

/// Root mean square of numbers, without overflow; 0 of none.
fn size(numbers: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = numbers.clone().fold(0.0, |largest: f64, x| if x.is_nan() { x } else { largest.max(x.abs()) });
    if largest == 0.0 || !largest.is_finite() {
        return largest;
    }
    let (sum, count) = numbers.fold((0.0, 0.0), |(sum, n), x| (sum + (x / largest).powi(2), n + 1.0));
    largest * f64::sqrt(sum / count)
}

impl<R: Scalar> WayBack<RungeKutta<R>> for Equation<R> {
    fn walk(
        &self,
        walk: &Walk<'_, RungeKutta<R>>,
        tile: &mut Tile<R>,
        _: &mut dyn StepHook<RungeKutta<R>>,
        room: &mut WalkRoom<RungeKutta<R>>,
        theta_bar: &mut [R],
    ) -> Work {
        let scheme = &walk.track.stepper.scheme;
        let new = || EquationRoom::new(scheme.networks(), scheme.tableau().stages());
        let mut equation = room.equation.take().unwrap_or_else(new);
        let mut solve = SolveBack::new(self, walk, tile, &mut equation);
        solve.run(&mut room.vjp, theta_bar);
        let SolveBack { work, units, course: Course { status, .. }, drift, .. } = solve;
        let back: Lanes<R> = std::array::from_fn(|l| match status[l] {
            Status::Done | Status::Irreversible => R::from_f64(units[l]),
            _ => R::from_f64(f64::NAN),
        });
        combine(&mut tile.bar, None, &back, [(1.0, equation.bar.as_slice())]);
        (tile.returned, tile.drift) = (status, drift);
        room.equation = Some(equation);
        work
    }

    fn tape(&self) -> Option<&Taped> {
        self.tape.as_ref()
    }
}

/// A tile's solve back.
struct SolveBack<'a, R: Scalar> {
    of: &'a Equation<R>,
    walk: &'a Walk<'a, RungeKutta<R>>,
    tile: &'a Tile<R>,
    room: &'a mut EquationRoom<R>,
    states: States<'a, R>,
    course: Course<R>,
    units: Lanes<f64>,
    drift: Lanes<f64>,
    work: Work,
}

impl<'a, R: Scalar> SolveBack<'a, R> {
    /// Where the last cotangents come in.
    fn new(
        of: &'a Equation<R>,
        walk: &'a Walk<'a, RungeKutta<R>>,
        tile: &'a Tile<R>,
        room: &'a mut EquationRoom<R>,
    ) -> Self {
        let mut states = States::new(&walk.track, tile);
        let [units, times] = of.units(walk, tile);
        let moving: [bool; LANES] = std::array::from_fn(|l| units[l] != 0.0 && times[l] != walk.t0);
        let h = std::array::from_fn(|l| {
            if moving[l] { states.length_at(times[l], l).copysign(walk.t0 - times[l]) } else { 0.0 }
        });
        let course = Course::new(times, &moving, h, of.controller.as_ref());
        room.bar.fill(R::ZERO);
        room.stops.clear();
        let is_stop = |slot: usize, l: usize| {
            let bar = tile_slot(tile, slot);
            units[l] != 0.0 && (of.with_state || bar[l..].iter().step_by(LANES).any(|&x| x != R::ZERO))
        };
        room.stops.extend(walk.saves.points.iter().map(|point| {
            let own: [bool; LANES] = std::array::from_fn(|l| is_stop(point.slot, l));
            if of.shared { [own.contains(&true); LANES] } else { own }
        }));
        Self { of, walk, tile, room, states, course, units, drift: [0.0; LANES], work: Work::default() }
    }

    fn scheme(&self) -> &'a RungeKutta<R> {
        &self.walk.track.stepper.scheme
    }

    fn run(&mut self, vjp: &mut VjpRoom<R>, theta_bar: &mut [R]) {
        self.arrive(&self.units.map(|unit| unit != 0.0), true);
        loop {
            let stops = self.stops();
            let interval = self.next(&stops);
            let moving = self.course.running();
            if !moving.contains(&true) {
                break;
            }
            self.attempt(&interval, &moving);
            let accept = self.judge(&interval, &moving);
            if accept.contains(&true) {
                self.integrate(&interval, &accept, vjp, theta_bar);
                self.advance(&interval, &stops, &accept);
            }
        }
        self.finish();
    }

    /// The next time of each lane at which a step has to end.
    fn stops(&mut self) -> Lanes<f64> {
        let (walk, running) = (self.walk, self.course.running());
        std::array::from_fn(|l| {
            if !running[l] {
                return walk.t0;
            }
            let t = self.course.t[l];
            let mut stop = walk.track.stepper.ends.stop_before(t, walk.t0);
            let mut consider = |at: f64| {
                let left = (at - walk.t0).abs();
                if left < (t - walk.t0).abs() && left > (stop - walk.t0).abs() {
                    stop = at;
                }
            };
            let points = walk.saves.points.iter().zip(&self.room.stops).filter(|(_, lanes)| lanes[l]);
            points.for_each(|(point, _)| consider(point.t));
            if self.of.controller.is_none() {
                consider(self.states.start_before(t, l));
            }
            stop
        })
    }

    /// Ends of the next attempts: with fixed steps at the stops.
    fn next(&mut self, stops: &Lanes<f64>) -> Interval<R> {
        if self.of.controller.is_none() {
            return Interval::new(
                self.course.t,
                std::array::from_fn(
                    |l| {
                        if self.course.status[l] == Status::Running { stops[l] } else { self.course.t[l] }
                    },
                ),
            );
        }
        let span = self.walk.t1 - self.walk.t0;
        self.course.next(stops, [self.walk.t0, span], self.of.most_attempts, &self.walk.track.stepper.ends)
    }

    /// The stages of an attempt, and its end.
    fn attempt(&mut self, interval: &Interval<R>, moving: &[bool; LANES]) {
        let scheme = self.scheme();
        let (field, Tableau { a, b, c, .. }) = (scheme.networks(), scheme.tableau());
        let EquationRoom { y, bar, y1, bar1, kept, bars, slopes, cotangents, .. } = &mut *self.room;
        kept.seat(&self.tile.state.trajectories, interval);
        let is_stale = (0..LANES).any(|l| moving[l] && !self.course.ready[l]);
        // An FSAL stage is of the error estimate alone.
        let stages = if self.of.controller.is_none() && scheme.tableau().fsal() { b.len() - 1 } else { b.len() };
        for i in usize::from(!is_stale)..stages {
            let (done, now) = slopes.split_at_mut(i);
            let terms = a[i].iter().copied().zip(done.iter().map(|k| k.as_slice()));
            combine(&mut bars[i], Some(bar), &interval.h, terms);
            if self.of.with_state {
                let terms = a[i].iter().copied().zip(kept.k.iter().map(|k| k.as_slice()));
                combine(kept.points[i].state_mut(), Some(y), &interval.h, terms);
            } else {
                let node = |l: usize| interval.t0[l] + c[i] * (interval.t1[l] - interval.t0[l]);
                let times = std::array::from_fn(|l| if c[i] == 1.0 { interval.t1[l] } else { node(l) });
                self.states.at(&times, moving, kept.points[i].state_mut());
            }
            stand_in_unless(kept.points[i].state_mut(), moving);
            kept.evaluate(field, i, &interval.stage_time(c[i]));
            field.vjp(&kept.points[i], cotangents, &bars[i], None, Some(&mut now[0]));
            now[0].iter_mut().for_each(|slope| *slope = -*slope);
            self.work.add(Work::both(1));
        }
        combine(bar1, Some(bar), &interval.h, b.iter().copied().zip(slopes.iter().map(|k| k.as_slice())));
        if self.of.with_state {
            combine(y1, Some(y), &interval.h, b.iter().copied().zip(kept.k.iter().map(|k| k.as_slice())));
        }
        self.course.ready = [true; LANES];
    }

    /// The lanes whose attempts are accepted.
    fn judge(&mut self, interval: &Interval<R>, moving: &[bool; LANES]) -> [bool; LANES] {
        let Some(controller) = &self.of.controller else { return *moving };
        let tableau = self.scheme().tableau();
        let EquationRoom { y, bar, y1, bar1, kept, slopes, scratch, .. } = &mut *self.room;
        let stages = stages_of(slopes.iter().map(|k| k.as_slice()));
        drift_error(tableau, scratch, &interval.h, stages);
        let mut sums = self.of.scale.squares(scratch, bar, bar1);
        let mut count = self.tile.features() / LANES;
        if self.of.with_state {
            drift_error(tableau, scratch, &interval.h, kept.all());
            let of_state = self.walk.track.stepper.scale.squares(scratch, y, y1);
            sums = std::array::from_fn(|l| sums[l] + of_state[l]);
            count *= 2;
        }
        if self.of.shared {
            let lanes = || (0..LANES).filter(|&l| moving[l]);
            let sum: f64 = lanes().map(|l| sums[l].to_f64()).sum();
            sums = [R::from_f64(sum / lanes().count() as f64); LANES];
        }
        let error = sums.map(|sum| (sum / R::from_f64(count as f64)).sqrt());
        let accept = self.course.judge(controller, tableau.error_power(), &error, interval, moving);
        // What is not finite in a lane would reach the parameters even with a weight of zero.
        let spoilt: [bool; LANES] = std::array::from_fn(|l| moving[l] && !accept[l] && !error[l].is_finite());
        if spoilt.contains(&true) && accept.contains(&true) {
            kept.points.iter_mut().for_each(|point| point.stand_in_unless(&accept));
            for l in (0..LANES).filter(|&l| !accept[l]) {
                self.course.ready[l] = false;
            }
        }
        accept
    }

    /// Adds the quadrature over the accepted steps to the parameters' gradient.
    fn integrate(&mut self, interval: &Interval<R>, accept: &[bool; LANES], vjp: &mut VjpRoom<R>, theta_bar: &mut [R]) {
        let scheme = self.scheme();
        let EquationRoom { kept, bars, scratch, .. } = &mut *self.room;
        let weights: Lanes<R> = std::array::from_fn(|l| -interval.h[l] * R::from_f64(self.units[l]));
        for (i, &b) in scheme.tableau().b.iter().enumerate().filter(|(_, b)| **b != 0.0) {
            combine(scratch, None, &weights, [(b, bars[i].as_slice())]);
            rest_unless(scratch, accept);
            let cotangents = RungeKutta::cotangents(vjp);
            scheme.networks().vjp(&kept.points[i], cotangents, scratch, Some(&mut *theta_bar), None);
            self.work.products += 1;
        }
    }

    /// Moves the accepted lanes.
    fn advance(&mut self, interval: &Interval<R>, stops: &Lanes<f64>, accept: &[bool; LANES]) {
        let fsal = self.scheme().tableau().fsal();
        let EquationRoom { y, bar, y1, bar1, kept, bars, slopes, .. } = &mut *self.room;
        select(bar, accept, bar1);
        if self.of.with_state {
            select(y, accept, y1);
        }
        // The slopes at the end are the next step's first, where nothing happens there.
        let last = slopes.len() - 1;
        let goes_on = self.of.controller.is_some() && fsal && !kept.points[0].is_driven();
        if goes_on {
            for stages in [slopes, bars, &mut kept.k] {
                let (first, rest) = stages.split_at_mut(last);
                select(&mut first[0], accept, &rest[0]);
            }
            let (first, rest) = kept.points.split_at_mut(last);
            first[0].take_lanes(accept, &rest[0]);
        }
        for l in (0..LANES).filter(|&l| accept[l]) {
            self.course.ready[l] = goes_on && interval.t1[l] != stops[l];
        }
        self.course.advance(interval, accept, self.walk.t0);
        let arrived = std::array::from_fn(|l| accept[l] && interval.t1[l] == stops[l]);
        if arrived.contains(&true) {
            self.arrive(&arrived, false);
        }
    }

    /// Takes the cotangents of the states saved at the lanes' times, and these states themselves; `first` where it begins.
    fn arrive(&mut self, arrived: &[bool; LANES], first: bool) {
        let (walk, tile) = (self.walk, self.tile);
        for point in walk.saves.points {
            let here: [bool; LANES] = std::array::from_fn(|l| arrived[l] && self.course.t[l] == point.t);
            if !here.contains(&true) {
                continue;
            }
            if self.of.with_state {
                if !first {
                    self.compare(tile.save(point.slot), &here);
                }
                select(&mut self.room.y, &here, tile.save(point.slot));
            }
            let weights = std::array::from_fn(|l| if here[l] { R::from_f64(self.units[l].recip()) } else { R::ZERO });
            add_weighted(&mut self.room.bar, &weights, tile_slot(tile, point.slot));
        }
    }

    /// Takes the distance of the lanes' states from those known.
    fn compare(&mut self, known: &[R], here: &[bool; LANES]) {
        let features = (self.tile.features() / LANES) as f64;
        let squares = self.of.states.distance(known, &self.room.y);
        for l in (0..LANES).filter(|&l| here[l]) {
            let drift = (squares[l].to_f64() / features).sqrt();
            self.drift[l] = if drift <= self.drift[l] { self.drift[l] } else { drift };
        }
    }

    /// What became of the lanes that have come to the start.
    fn finish(&mut self) {
        let came: [bool; LANES] =
            std::array::from_fn(|l| self.units[l] != 0.0 && self.course.status[l] == Status::Done);
        if self.of.with_state
            && let Some(initial) = self.tile.tape.states.first()
        {
            self.compare(initial, &came);
        }
        let finite = finite_lanes(&self.room.bar);
        for l in (0..LANES).filter(|&l| came[l]) {
            if !finite[l] {
                self.course.status[l] = Status::NonFinite;
            } else if self.drift[l] > ASTRAY || self.drift[l].is_nan() {
                self.course.status[l] = Status::Irreversible;
            }
        }
        // Lanes that rested from the start on hold nothing.
        rest_unless(&mut self.room.bar, &self.units.map(|unit| unit != 0.0));
    }
}
