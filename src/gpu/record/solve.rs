//! What a solve records: its start, an attempt, its end.

use super::Recorder;
use super::network::Weights;
use super::whole::{Printed, Printer};
use crate::error::Result;
use crate::gpu::buffers::Buffers;
use crate::gpu::engine::Engine;
use crate::gpu::kernel;
use crate::gpu::plan::{Plan, Planner, SolvePlans, flat};
use crate::gpu::script::Scripts;
use crate::gpu::small;
use crate::gpu::wire::args::parts::Controller;
use crate::gpu::wire::args::{ControlArgs, FinishArgs, SaveArgs, SolveArgs};
use crate::gpu::wire::head::Head;
use crate::gpu::wire::modes::{Control, Norm, Save, SolveWhole, flag};
use crate::gpu::wire::{capped, word};
use crate::math::Real;
use crate::method::{self, InitialStep, StepControl, penalised_rows};
use crate::problem::{Field, Layer};

/// A length that no step has, in whatever unit.
const NO_BOUND: f64 = 1e30;

impl Engine {
    /// What the controller's kernels are told.
    pub(crate) fn controller(&self, buffers: &Buffers, backward: bool) -> Controller {
        let stride = self.stride(backward);
        let control = Controller {
            initial_power: self.initial_power(),
            max_steps: capped(self.options.most_attempts()),
            tape_steps: stride.map_or(u32::MAX, |_| word(buffers.sizes.steps)),
            // Where nothing is kept, no step is so late that it would be.
            stride: stride.map_or(u32::MAX, word),
            first_stop: word(buffers.sizes.first_stop()),
            ..Controller::default()
        };
        let control = self.of_interval(control);
        match self.options.step_control {
            StepControl::Fixed { steps } => Controller { fixed_steps: word(steps), ..control },
            StepControl::Adaptive { controller, .. } => self.adaptive(control, controller),
        }
    }

    /// With what goes by the interval: lengths, as shares of it, and the number of stops in it.
    pub(crate) fn of_interval(&self, control: Controller) -> Controller {
        let stops = if self.times.is_some() { 0 } else { self.stops.len() };
        let control = Controller { stops: word(stops), ..control };
        let StepControl::Adaptive { initial_step, .. } = self.options.step_control else { return control };
        let [unit, shortest] = self.lengths();
        // What the native engine calls too small, as a share of the interval; a path has ticks of 2^-30.
        let resolution = if self.noise().is_some() { 2f64.powi(-31) } else { shortest };
        let length = match initial_step {
            InitialStep::Automatic => 0.0,
            InitialStep::Length(h) => h / unit,
            InitialStep::Carried => -1.0,
        };
        let r = f32::from_f64;
        Controller {
            smallest_share: r(resolution),
            first_length: r(length),
            longest: r(self.options.largest_step.map_or(NO_BOUND, |longest| longest / unit)),
            ..control
        }
    }

    /// With the numbers of an adaptive one.
    fn adaptive(&self, control: Controller, of: method::Controller) -> Controller {
        let q = self.tableau.error_power();
        let [b1, b2, b3] = of.beta;
        let r = f32::from_f64;
        Controller {
            beta: [b1 / q, b2 / q, b3 / q, of.beta_reject / q].map(r),
            log_safety: r(of.safety.log2()),
            log_floor: r(of.error_floor.log2()),
            min_factor: r(of.min_factor),
            max_factor: r(of.max_factor),
            log_initial_error: r(of.initial_error.map_or(0.0, f64::log2)),
            first_factor: r(of.first_factor.unwrap_or(of.max_factor)),
            alpha: r(of.alpha),
            finish: r(f64::from(of.finish)),
            blank: r(f64::from(of.initial_error.is_none())),
            error_power: r(1.0 / q),
            ..control
        }
    }

    /// The controller's safety factor, if there is one.
    pub(crate) const fn safety(&self) -> Option<f64> {
        match self.options.step_control {
            StepControl::Adaptive { controller, .. } => Some(controller.safety),
            StepControl::Fixed { .. } => None,
        }
    }

    /// The exponent of the automatic initial step.
    pub(crate) fn initial_power(&self) -> f32 {
        f32::from_f64(1.0 / self.noise().map_or(self.tableau.error_power(), |noise| noise.strong_order + 0.5))
    }

    /// Points that a solve saves: the caller's, and the random times that a training step draws.
    pub(super) fn points_saved(&self, buffers: &Buffers, backward: bool) -> usize {
        self.point_count() + if backward { buffers.sizes.purpose.own_points() } else { 0 }
    }

    /// The recorded parts of a solve of so many rows.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where the device refuses one.
    pub(crate) async fn record_solve(&self, rows: usize, buffers: &Buffers, backward: bool) -> Result<SolvePlans> {
        let record = |planner: &mut Planner<'_>| {
            let mut recorder = Recorder { engine: self, buffers, rows, planner };
            if self.stands_still() {
                recorder.begin(backward);
                let start = recorder.planner.take();
                SolvePlans { start, finish: recorder.finish(backward), ..SolvePlans::default() }
            } else if self.solves_whole(rows) {
                let modes = [SolveWhole::Start, SolveWhole::GoOn];
                let [start, attempt] = modes.map(|mode| recorder.whole(mode, backward));
                SolvePlans { start, attempt, finish: recorder.finish(backward), ..SolvePlans::default() }
            } else if let Some(tile) = self.tile(rows) {
                recorder.tiles(tile, backward)
            } else {
                recorder.products(backward)
            }
        };
        let end = self.problem.t1;
        let (plans, jobs) = self.gpu.scoped(|| Planner::record_until(&self.gpu, end, record)).await?;
        Ok(SolvePlans { jobs: Some(jobs), ..plans })
    }

    /// Hidden units of the field and of the diffusion, where trajectories are solved whole; what was written out knows its
    /// own, and takes them so many times.
    pub(crate) fn hidden_units(&self) -> [u32; 2] {
        let units = |layers: &[Layer], scripts: &Option<Scripts>| match scripts {
            Some(_) => 1,
            None => word(small::hidden_units(layers)),
        };
        let [drift, diffusion] = &self.scripts;
        [units(&self.layers, drift), units(&self.noise_layers, diffusion)]
    }

    /// What prints the problem's functions.
    pub(crate) fn printer(&self) -> Printer<'_> {
        let [drift, diffusion] = &self.scripts;
        let problem = &self.problem;
        let drift = printed(&self.layers, drift.as_ref(), &problem.field);
        let printer = Printer::new(drift, self.dim(), problem.parameter_count(), self.tableau);
        let printer = printer.driven_by(self.drives.clone()).of_own_times(self.times.is_some());
        match &problem.diffusion {
            None => printer,
            Some(noise) => {
                let diffusion = printed(&self.noise_layers, diffusion.as_ref(), &noise.network);
                printer.with_noise(diffusion, noise.channels())
            }
        }
    }
}

/// A field as it is printed.
fn printed<'a>(layers: &'a [Layer], scripts: Option<&'a Scripts>, field: &Field) -> Printed<'a> {
    scripts.map_or(Printed::Layers(layers, field.input_map()), Printed::Program)
}

impl Recorder<'_, '_> {
    /// A control kernel's job.
    pub(super) fn controlled(&self, mode: u32, backward: bool) -> (Head, ControlArgs) {
        let engine = self.engine;
        let errors = if backward && self.buffers.sizes.purpose.global.is_some() { flag::ERRORS } else { 0 };
        let recorded = if engine.stride(backward).is_some() { flag::RECORD | errors } else { 0 };
        let head = engine.head(self.rows);
        let head = Head { mode, flags: head.flags | recorded, ..head };
        (head, ControlArgs { control: engine.controller(self.buffers, backward) })
    }

    /// Trajectories that are solved whole: one dispatch starts them and makes as many attempts as may be in one, another
    /// one goes on.
    fn whole(&mut self, mode: SolveWhole, backward: bool) -> Plan {
        let (engine, buffers) = (self.engine, self.buffers);
        let (head, args) = self.controlled(mode.into(), backward);
        if mode == SolveWhole::Start {
            self.narrow();
            let begin = engine.kernels.get(&kernel::BEGIN, &[]);
            let mut bound =
                vec![&buffers.clocks, &buffers.cursors, &buffers.row_status, &engine.outcome, &engine.learnt];
            bound.extend(engine.records(buffers));
            self.planner.add(&begin, &bound, head, args, flat(self.rows.div_ceil(64)));
        }
        let text = engine.printer().solve();
        let [hidden, noise_hidden] = engine.hidden_units();
        let args = SolveArgs {
            control: args.control,
            points: word(engine.points_saved(buffers, backward)),
            user_points: word(engine.point_count()),
            // After all points are the paths.
            path: word(buffers.sizes.points),
            turns: word(engine.turns(self.rows, buffers.sizes.purpose)),
            hidden,
            noise_hidden,
        };
        if engine.per_row() {
            let solve = engine.kernels.printed(&kernel::ENSEMBLE_SOLVE, &text, &[]);
            let bound = [
                &buffers.clocks,
                &buffers.cursors,
                engine.weights(),
                &buffers.tape,
                &buffers.steps,
                &buffers.points,
                &buffers.saves,
                &engine.knots,
            ];
            self.planner.add(&solve, &bound, head, args, flat(self.rows.div_ceil(64)));
        } else {
            let solve = engine.kernels.printed(&kernel::LOCKSTEP_SOLVE, &text, &[]);
            let bound = [
                &buffers.clocks,
                &buffers.row_status,
                engine.weights(),
                &buffers.tape,
                &buffers.steps,
                &buffers.points,
                &buffers.saves,
                &engine.knots,
            ];
            self.planner.add(&solve, &bound, head, args, [1, 1, 1]);
            // The kernels after it find the state by the cursor.
            self.control(Control::Aim, backward);
        }
        self.planner.take()
    }

    /// Attempts that are made layer by layer.
    fn products(&mut self, backward: bool) -> SolvePlans {
        SolvePlans {
            start: self.start(backward),
            attempt: self.attempt(backward),
            resume: {
                self.control(Control::Resume, backward);
                self.planner.take()
            },
            finish: self.finish(backward),
            jobs: None,
        }
    }

    /// Clocks at the start, and the states saved there.
    pub(super) fn begin(&mut self, backward: bool) {
        let (engine, buffers) = (self.engine, self.buffers);
        let begin = engine.kernels.get(&kernel::BEGIN, &[]);
        let (head, args) = self.controlled(Control::Begin.into(), backward);
        let mut bound = vec![&buffers.clocks, &buffers.cursors, &buffers.row_status, &engine.outcome, &engine.learnt];
        bound.extend(engine.records(buffers));
        self.planner.add(&begin, &bound, head, args, flat(self.rows.div_ceil(64)));
        self.save(Save::AtStart, backward);
    }

    fn start(&mut self, backward: bool) -> Plan {
        let engine = self.engine;
        let step = self.solving();
        self.narrow();
        self.begin(backward);
        self.stage(step, 0, flag::FIRST);
        self.norm(step, Norm::StateAndSlope, [Weights::NOTHING; 2]);
        self.control(Control::Begin, backward);
        // A first step that is carried on is found so in the first solve; in others the trial has nothing to do.
        let trial = matches!(
            engine.options.step_control,
            StepControl::Adaptive { initial_step: InitialStep::Automatic | InitialStep::Carried, .. }
        );
        if trial {
            self.trial(step);
            self.norm(step, Norm::ChangeOfSlope, [Weights::NOTHING; 2]);
            self.control(Control::Change, backward);
        }
        self.planner.take()
    }

    fn attempt(&mut self, backward: bool) -> Plan {
        let engine = self.engine;
        let step = self.solving();
        self.increments(step, None);
        if !engine.reuses_last() || !engine.given.1.is_empty() || !engine.own_stops.is_empty() {
            self.stage(step, 0, flag::FIRST);
        }
        self.stages(step, 1..engine.most_stages(), true);
        // Equal steps are not judged; what their errors are is known where it is asked for.
        let is_judged = engine.safety().is_some() || (backward && self.buffers.sizes.purpose.global.is_some());
        if engine.tableau.b_error.is_some() && is_judged {
            self.norm(step, Norm::Error, [engine.error_weights(), Weights::NOTHING]);
        }
        self.save(Save::WithinStep, backward);
        self.control(Control::Attempt, backward);
        self.planner.take()
    }

    pub(super) fn finish(&mut self, backward: bool) -> Plan {
        let (engine, buffers) = (self.engine, self.buffers);
        let step = self.solving();
        self.norm(step, Norm::NotFinite, [Weights::NOTHING; 2]);
        let finish = engine.kernels.get(&kernel::FINISH, &[]);
        // Layer by layer the kernel that saves says itself what it left undone.
        let whole = engine.solves_whole(self.rows) && !engine.stands_still();
        let args = FinishArgs {
            safety: f32::from_f64(engine.safety().unwrap_or(1.0)),
            saved: if whole { word(engine.points_saved(buffers, backward)) } else { u32::MAX },
            drawn: word(engine.points_saved(buffers, backward) - engine.point_count()),
            penalised: buffers.penalty().map_or(0, |p| word(penalised_rows(self.rows, p.fraction))),
            carries: u32::from(engine.carries()),
        };
        let mut bound = vec![&buffers.clocks, &buffers.row_status, &buffers.norms, &engine.outcome];
        bound.extend(engine.records(buffers));
        self.planner.add(&finish, &bound, engine.head(self.rows), args, [1, 1, 1]);
        self.planner.take()
    }

    fn control(&mut self, mode: Control, backward: bool) {
        let (engine, buffers) = (self.engine, self.buffers);
        let (head, args) = self.controlled(mode.into(), backward);
        let bound =
            [&buffers.clocks, &buffers.cursors, &buffers.row_status, &buffers.norms, &buffers.steps, &buffers.points];
        if engine.per_row() {
            let kernel = engine.kernels.get(&kernel::CONTROL_ENSEMBLE, &[]);
            self.planner.add(&kernel, &bound, head, args, flat(self.rows.div_ceil(64)));
        } else {
            let kernel = engine.kernels.get(&kernel::CONTROL_LOCKSTEP, &[]);
            self.planner.add(&kernel, &bound, head, args, [1, 1, 1]);
        }
    }

    fn save(&mut self, mode: Save, backward: bool) {
        let (engine, buffers) = (self.engine, self.buffers);
        let points = engine.points_saved(buffers, backward);
        if points == 0 {
            return;
        }
        let save = engine.kernels.get(&kernel::SAVE, &[]);
        let shares = engine.shares_of_points(points);
        let args = SaveArgs { points: word(points), user_points: word(engine.point_count()), shares: word(shares) };
        let head = Head { mode: mode.into(), ..engine.head(self.rows) };
        let bound = [&buffers.cursors, &buffers.tape, &buffers.k, &buffers.points, &buffers.saves, &engine.outcome];
        self.planner.add(&save, &bound, head, args, flat((shares * self.rows * engine.dim()).div_ceil(64)));
    }
}
