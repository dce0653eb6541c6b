//! [`Evolution`] on a tile: a hidden state's way from one observation to the next, as a solve of an ensemble.
//!
//! The clock begins at 0 with each observation and ends at the time that a lane's own observation says. For the way back a solve
//! is taken once more, to the same bits, and leaves its accepted steps in a [`Record`].

use std::ops::Range;

use crate::cpu::adjoint::hook::NoHook;
use crate::cpu::adjoint::rewind::Taped;
use crate::cpu::adjoint::track::{Steps, Track};
use crate::cpu::adjoint::walk::Walk;
use crate::cpu::crew::walk_room::WalkRoom;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{Lanes, select};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::solve::Solve;
use crate::cpu::solve::lanewise::Lanewise;
use crate::cpu::step::Scheme;
use crate::cpu::step::desk::Desk;
use crate::cpu::step::runge_kutta::RungeKutta;
use crate::cpu::step::stepper::Stepper;
use crate::cpu::tile::saves::{SavePoint, Saves};
use crate::cpu::tile::tape::Recording;
use crate::cpu::tile::{Encoded, Tile};
use crate::error::{Result, Status};
use crate::method::{self, InitialStep, Keep, SolverOptions, StepControl};

/// Every state of a solve is kept.
const EVERY: std::num::NonZero<usize> = std::num::NonZero::<usize>::MIN;

/// The end of each lane's own interval, of which the clock counts shares.
const END: [SavePoint; 1] = [SavePoint { t: 1.0, slot: 0 }];

/// Steps of a solve that are counted when bytes are told: what the tolerances take is known afterwards.
const TOLD: usize = 16;

/// What moves a hidden state, with its current weights.
#[derive(Debug)]
pub(crate) struct Evolution<R: Scalar> {
    stepper: Stepper<RungeKutta<R>>,
    options: SolverOptions,
    /// The number of an observation that is the time since the one before.
    pub(super) dt: usize,
    /// The field's among the model's.
    pub(super) parameters: Range<usize>,
    /// Whether a solve begins with the step that the series' last one wished for.
    carries: bool,
}

/// What a thread solves in.
#[derive(Debug)]
pub(crate) struct EvolutionRoom<R: Scalar> {
    tile: Box<Tile<R>>,
    desk: Desk<RungeKutta<R>>,
    /// From the first way back on.
    walk: Option<Box<WalkRoom<RungeKutta<R>>>>,
}

/// The accepted steps of a solve.
#[derive(Debug)]
pub(crate) struct Record<R> {
    states: Vec<Vec<R>>,
    steps: Vec<[Lanes<f64>; 2]>,
    spans: Lanes<f64>,
}

impl<R> Default for Record<R> {
    fn default() -> Self {
        Self { states: Vec::new(), steps: Vec::new(), spans: [0.0; LANES] }
    }
}

impl<R: Scalar> EvolutionRoom<R> {
    /// What became of the series so far.
    pub(super) const fn encoded(&self) -> &Encoded {
        &self.tile.encoded
    }

    /// What the lanes' next solves begin with, where steps are carried.
    pub(super) const fn first_steps(&self) -> &Lanes<f64> {
        &self.tile.clock.first
    }

    /// Before the first observation.
    pub(super) fn begin(&mut self) {
        self.tile.encoded = Encoded::default();
        self.tile.tape.clear();
        self.tile.clock.first = [0.0; LANES];
    }

    /// Before another one, at which the first steps were these.
    pub(super) fn resume(&mut self, first: &Lanes<f64>) {
        self.tile.clock.first = *first;
    }
}

impl<R: Scalar> Evolution<R> {
    /// Compiles what moves a hidden state, its parameters from `first` of the model's on.
    ///
    /// # Errors
    /// As [`Field::new`](crate::cpu::field::evaluate::Field::new).
    pub(super) fn new(evolution: &method::Evolution, first: usize) -> Result<Self> {
        let (problem, options) = (evolution.problem(), evolution.options.clone());
        let stepper = Stepper::new(RungeKutta::new(&problem, options.method.tableau())?, &problem, &options)?;
        let parameters = first..first + evolution.field.parameter_count();
        let carries = matches!(options.step_control, StepControl::Adaptive { initial_step: InitialStep::Carried, .. });
        Ok(Self { stepper, options, dt: evolution.dt, parameters, carries })
    }

    /// Takes the weights from the model's parameters.
    pub(super) fn pack(&mut self, theta: &[R], backward: bool) {
        self.stepper.scheme.networks_mut().pack(&theta[self.parameters.clone()], backward);
    }

    pub(super) fn room(&self) -> EvolutionRoom<R> {
        let Stepper { scheme, shape, .. } = &self.stepper;
        EvolutionRoom { tile: Box::new(Tile::new(0, shape)), desk: Desk::new(scheme, shape), walk: None }
    }

    /// Moves the hidden states for the lanes' times, and keeps the steps if there is a record for them. A lane whose solve fails
    /// is lost from then on.
    pub(super) fn advance(
        &self,
        room: &mut EvolutionRoom<R>,
        times: &[R],
        hidden: &mut [R],
        mut record: Option<&mut Record<R>>,
    ) {
        let EvolutionRoom { tile, desk, .. } = room;
        let spans: Lanes<f64> = std::array::from_fn(|l| times[l].to_f64());
        let moves: [bool; LANES] = std::array::from_fn(|l| spans[l] != 0.0 && tile.encoded.status[l] == Status::Done);
        let recording = match &record {
            Some(_) => Recording { keep: Keep::Every(EVERY), ends: true, limit: None, measured: None },
            None => Recording { keep: Keep::Nothing, ends: false, limit: None, measured: None },
        };
        if let Some(record) = record.as_deref_mut() {
            tile.tape.give_back(&mut record.states);
            record.steps.clear();
            record.spans = spans;
        }
        if !moves.contains(&true) {
            return;
        }
        tile.used = LANES;
        tile.state.y.copy_from_slice(hidden);
        tile.begin(1, 0);
        tile.clock.begin([[0.0; LANES], spans], true);
        let (Self { stepper, options, .. }, saves) = (self, Saves { points: &[], own: None });
        let solve = Solve { stepper, t0: 0.0, t1: 1.0, unit: 1.0, options, saves, recording, carried: None };
        Lanewise(&solve).solve(tile, desk);
        self.take_note(tile, &moves);
        select(hidden, &moves, &tile.state.y);
        if let Some(record) = record {
            record.states.append(&mut tile.tape.states);
            record.steps.append(&mut tile.steps);
        }
    }

    /// What a solve cost the lanes that moved, how it ended, and what they begin the next one with.
    fn take_note(&self, tile: &mut Tile<R>, moves: &[bool; LANES]) {
        let Tile { encoded, clock, status, .. } = tile;
        for l in (0..LANES).filter(|&l| moves[l]) {
            encoded.nfe[l] = encoded.nfe[l].saturating_add(clock.nfe[l]);
            encoded.status[l] = status[l];
            let wish = clock.wish[l].to_f64() * clock.span(l).abs();
            if self.carries && wish > 0.0 {
                clock.first[l] = wish;
            }
        }
    }

    /// Whether the system refused memory for the last record.
    pub(super) const fn was_refused(room: &EvolutionRoom<R>) -> bool {
        room.tile.tape.refused
    }

    /// Goes back over a recorded solve: `bar` becomes, from the cotangent at its end, that at its start, and the model's gradient
    /// is added to. Every lane of it came to its end.
    pub(super) fn step_back(
        &self,
        room: &mut EvolutionRoom<R>,
        record: &mut Record<R>,
        bar: &mut [R],
        theta_bar: &mut [R],
    ) {
        if record.steps.is_empty() {
            return;
        }
        let Stepper { scheme, shape, .. } = &self.stepper;
        let EvolutionRoom { tile, walk: walk_room, .. } = room;
        let walk_room = walk_room.get_or_insert_with(|| Box::new(WalkRoom::new(scheme, shape)));
        tile.begin(1, 0);
        tile.clock.begin([[0.0; LANES], record.spans], true);
        tile.save_bar_mut(0).copy_from_slice(bar);
        std::mem::swap(&mut tile.tape.states, &mut record.states);
        std::mem::swap(&mut tile.steps, &mut record.steps);
        let walk = Walk {
            track: Track { stepper: &self.stepper, steps: Steps::PerLane, drive: None, parameters: 0 },
            saves: Saves { points: &END, own: None },
            t0: 0.0,
            t1: 1.0,
            every_step: false,
        };
        let theta_bar = &mut theta_bar[self.parameters.clone()];
        walk.walk(&Taped { stride: EVERY }, tile, &mut NoHook, walk_room, theta_bar);
        bar.copy_from_slice(&tile.bar);
        std::mem::swap(&mut tile.tape.states, &mut record.states);
        std::mem::swap(&mut tile.steps, &mut record.steps);
    }

    /// Bytes of the packed weights.
    pub(super) fn packed_bytes(&self) -> usize {
        self.stepper.scheme.networks().packed_bytes()
    }

    /// Bytes of a record, told for so many steps.
    pub(super) const fn record_bytes(&self) -> usize {
        TOLD * (self.stepper.shape.rows * LANES * size_of::<R>() + 2 * LANES * size_of::<f64>())
    }

    /// Bytes of a thread's room.
    pub(super) fn room_bytes(&self) -> usize {
        // Of the tile: state, end, two slopes, a saved state with its cotangent, a cotangent; an error and slopes; of the walk.
        let arrays = 10 * self.stepper.shape.rows * LANES * size_of::<R>();
        self.stepper.scheme.room_bytes() + arrays + size_of::<Tile<R>>()
    }
}
