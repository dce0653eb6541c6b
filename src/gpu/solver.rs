//! [`GpuSolver`]: solves a problem on the device, and differentiates the solution.

use super::Gpu;
use super::buffers::{Around, Buffers, Purpose};
use super::controls::Controls;
use super::engine::Engine;
use super::held::{Held, Solves};
use super::iterations;
use super::record::check_penalty;
use super::solution::assemble;
use super::wire::records::{Clock, Outcome, RowWalk};
use super::wire::word;
use crate::error::{Error, Result};
use crate::math::check_finite;
use crate::method::{Asked, Learnt, PenaltyStep, PointMeasure, PointValues, Regularizer, SolverOptions};
use crate::problem::{Paths, Problem, Times};
use crate::solution::{Gradients, Solution};

/// Solves a problem on a device, at `f32`: the twin of [`Solver`](crate::Solver).
///
/// Every call is a future; [`Gpu::block_on`] waits for one.
///
/// ```no_run
/// use fewsteps::{Gpu, GpuSolver, Mlp, Problem, Pick, SolverOptions};
/// # fn main() -> fewsteps::Result<()> {
/// let gpu = Gpu::open(&Pick::Any)?;
/// let field = Mlp::new([2, 16, 2]);
/// let theta = field.initialize::<f32>(0);
/// let problem = Problem::ode(field, 0.0, 1.0);
/// let mut solver = GpuSolver::new(&gpu, &problem, &SolverOptions::default())?;
/// let solution = gpu.block_on(solver.solve(&theta, &[1.0, 0.0, 0.0, 1.0]))?; // two trajectories
/// # assert_eq!(solution.ys.len(), 4);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct GpuSolver {
    pub(crate) engine: Engine,
    held: Option<Solves>,
    solved: Option<Solved>,
    pub(super) paths: Paths,
    /// What the solves to come are asked for besides.
    asked: Asked,
    learnt: Learnt,
    pub(super) controls: Controls,
    /// Whether the last solve's penalty has taught what it has to teach.
    taught: bool,
}

/// A solve that can be differentiated.
#[derive(Clone, Copy, Debug)]
struct Solved {
    /// Trajectories of its batch.
    rows: usize,
    outcome: Outcome,
}

impl GpuSolver {
    /// A solver for the problem.
    ///
    /// # Errors
    /// [`Error::Argument`] naming what does not fit in the problem or the options, [`Error::Limit`] for more parameters
    /// than the device binds.
    pub fn new(gpu: &Gpu, problem: &Problem, options: &SolverOptions) -> Result<Self> {
        let model = Around { parameters: problem.parameter_count(), ..Around::default() };
        let engine = Engine::new(gpu, problem, options, model)?;
        Ok(Self {
            engine,
            held: None,
            solved: None,
            paths: Paths::default(),
            asked: Asked::default(),
            learnt: Learnt::default(),
            controls: Controls::new(problem, ["GpuSolver::solve", "GpuSolver::set_control"]),
            taught: false,
        })
    }

    /// Says which paths the trajectories of the next solves follow, where the problem has noise: by default those of
    /// seed 0. The same paths give the same noise on the native engine.
    pub const fn set_paths(&mut self, paths: Paths) {
        self.paths = paths;
    }

    /// Gives the trajectories of the solves after this one intervals and saved times of their own, a row each, as
    /// [`Solver::set_times`](crate::Solver::set_times); `None` takes them back.
    ///
    /// In [`Layout::Lockstep`](crate::Layout::Lockstep) and where steps are of equal length, trajectories are then solved layer
    /// by layer: neither one workgroup nor tiles take them whole.
    ///
    /// ```no_run
    /// use fewsteps::{Field, Gpu, GpuSolver, Layout, Pick, Problem, SolverOptions, Times};
    /// # fn main() -> fewsteps::Result<()> {
    /// let field = Field::build(1, |f| -f.state())?;
    /// let options = SolverOptions::default().layout(Layout::Ensemble);
    /// let gpu = Gpu::open(&Pick::Any)?;
    /// let mut solver = GpuSolver::new(&gpu, &Problem::ode(field, 0.0, 1.0), &options)?;
    /// solver.set_times(Some(Times::series(&[vec![0.0, 0.5, 2.0], vec![3.0, 3.5]])?))?;
    /// let ys = gpu.block_on(solver.solve(&[], &[1.0, 2.0]))?.ys; // [3][2][1]
    /// assert!(ys[5].is_nan(), "the second row has no third time");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Solver::set_times`](crate::Solver::set_times), and [`Error::Argument`] for what a device does not have beside them
    /// yet: controls that are not constant, more than 3,750 times of a row, and lengths that `f32` has not. A solve with them
    /// refuses [`EndTime`](crate::EndTime), and [`GpuSolver::prepare`] refuses them.
    pub fn set_times(&mut self, times: Option<Times>) -> Result<()> {
        if self.engine.set_times(times)? {
            self.held = None;
        }
        self.solved = None;
        Ok(())
    }

    /// Sets the values of a control at its knots, for the solves after this one: `[T][rows]` for all trajectories alike, or
    /// `[B][T][rows]` for each its own, as [`Solver::set_control`](crate::Solver::set_control). Recorded solves begin
    /// with those that their solver had when they were prepared; see [`SolveRecording::set_control`](crate::SolveRecording::set_control).
    ///
    /// ```no_run
    /// use fewsteps::{Control, Field, Gpu, GpuSolver, Interpolation, Pick, Problem, SolverOptions};
    /// # fn main() -> fewsteps::Result<()> {
    /// let field = Field::build(1, |f| f.control("inflow") - f.control("rate") * f.state())?;
    /// let problem = Problem::ode(field, 0.0, 3.0)
    ///     .driven_by(Control::new("inflow", Interpolation::Hold, [0.0, 1.0, 2.0]))
    ///     .driven_by(Control::constant("rate")); // a parameter of each trajectory
    /// let gpu = Gpu::open(&Pick::Any)?;
    /// let mut solver = GpuSolver::new(&gpu, &problem, &SolverOptions::default())?;
    /// solver.set_control("inflow", &[0.0, 1.0, 0.0])?;
    /// solver.set_control("rate", &[0.5, 2.0])?;
    /// let ys = gpu.block_on(solver.solve(&[], &[0.0, 0.0]))?.ys;
    /// # assert_eq!(ys.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that the problem has not, [`Error::Shape`] for values of another length,
    /// [`Error::NonFinite`] for values that are not finite.
    pub fn set_control(&mut self, name: &str, values: &[f32]) -> Result<()> {
        self.controls.set(&self.engine.problem, name, values)
    }

    /// Adds a regularizer to the solves after this one, with the coefficient and the random draws of training step
    /// `step`: [`GpuSolver::gradients`] are then those of the caller's loss plus coefficient times penalty, as
    /// [`Solver::regularize`](crate::Solver::regularize) has it. Call it before each training step's solve;
    /// [`Regularizer::None`] ends it.
    ///
    /// ```no_run
    /// use fewsteps::{Gpu, GpuSolver, Local, Mlp, Pick, Problem, SolverOptions};
    /// # fn main() -> fewsteps::Result<()> {
    /// let gpu = Gpu::open(&Pick::Any)?;
    /// let field = Mlp::new([2, 16, 2]);
    /// let theta = field.initialize::<f32>(0);
    /// let mut solver = GpuSolver::new(&gpu, &Problem::ode(field, 0.0, 1.0), &SolverOptions::default())?;
    /// let regularizer = Local::unbiased().coefficient(0.1).into();
    /// for step in 0..3 {
    ///     solver.regularize(&regularizer, 0, step)?;
    ///     let ys = gpu.block_on(solver.solve(&theta, &[1.0, 0.0]))?.ys;
    ///     let gradients = gpu.block_on(solver.gradients(&ys))?; // of half the sum of squares, and of the penalty
    ///     println!("penalty {}", gradients.penalty);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] naming what does not fit in the regularizer, that [`SaveAt::Steps`](crate::SaveAt::Steps) and
    /// [`SaveAt::Dense`](crate::SaveAt::Dense) take none, or that a device does not penalise such steps on the path, measure a
    /// driven field ([`Pointwise`](crate::Pointwise)), or draw more than 64 times, where regularizers draw different numbers.
    pub fn regularize(&mut self, regularizer: &Regularizer, seed: u64, step: u64) -> Result<()> {
        let Engine { problem, options, .. } = &self.engine;
        regularizer.validate(options)?;
        check_penalty(problem, options, regularizer)?;
        // The problem as it was given.
        let problem = Problem { t1: self.engine.given.0, ..problem.clone() };
        self.engine.schedule_measures(regularizer)?;
        let on = (&problem, self.engine.stands_still());
        self.asked = Asked::new(regularizer.lower(step), &self.learnt, on, seed, step);
        self.solved = None;
        Ok(())
    }

    /// What the solves so far have taught those that follow, as [`Solver::learnt`](crate::Solver::learnt).
    #[must_use]
    pub const fn learnt(&self) -> Learnt {
        self.learnt
    }

    /// Goes on with what other solves have taught: those of a training, for example. Recorded solves begin with what their
    /// solver knew when they were prepared, and learn nothing.
    ///
    /// # Errors
    /// [`Error::Argument`] for numbers that solves cannot have taught; what was learnt stays then.
    pub fn set_learnt(&mut self, learnt: Learnt) -> Result<()> {
        learnt.validate()?;
        self.learnt = learnt;
        Ok(())
    }

    /// What a solve is for.
    fn purpose(&self, backward: bool) -> Purpose {
        if backward { Purpose::of(&self.asked) } else { Purpose::FORWARD }
    }

    /// Solves an ensemble of a small field layer by layer too, as matrix products, instead of each trajectory whole in one
    /// invocation. Slower; for comparison.
    #[must_use]
    pub fn layer_by_layer(mut self) -> Self {
        self.engine.whole = false;
        self.engine.tiles = false;
        self.forget()
    }

    /// Stores the weights that the field computes with at 16 bits, where the device has such numbers; arithmetic stays at
    /// `f32`, and gradients are those at the rounded weights.
    ///
    /// # Errors
    /// [`Error::Argument`] where the device lacks the feature `SHADER_F16`.
    pub fn half_weights(mut self) -> Result<Self> {
        self.engine.use_half_weights()?;
        Ok(self.forget())
    }

    /// Makes at most that many attempts in a submission; the host hears of each before the next one is sent. One is the
    /// mode that the host drives step by step. The steps and their bits are the same.
    ///
    /// # Errors
    /// [`Error::Argument`] for none.
    pub fn attempts_per_submission(mut self, attempts: usize) -> Result<Self> {
        if attempts == 0 {
            return Err(Error::argument("attempts", 0, "allow at least one attempt in a submission"));
        }
        self.engine.bound = Some(attempts);
        Ok(self)
    }

    /// Without what was solved, and recorded, with other kernels.
    fn forget(self) -> Self {
        Self { held: None, solved: None, ..self }
    }

    /// Bytes that the solver holds on the device now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.engine.bytes(self.held.as_ref().map(Held::buffers))
    }

    /// Bytes on the device that solving and, with `backward`, differentiating a batch needs when `steps` steps are
    /// accepted; with a regularizer, if one was added.
    #[must_use]
    pub fn workspace(&self, batch: usize, steps: usize, backward: bool) -> u64 {
        self.engine.needed(&self.engine.sizes(batch, steps, self.purpose(backward)))
    }

    /// Solves from the initial states `y0`, `[B][D]`, with the field's parameters `theta`, and keeps what
    /// [`GpuSolver::gradients`] needs.
    ///
    /// A trajectory that fails has its own [`Status`](crate::Status) and does not take the batch along.
    ///
    /// # Errors
    /// [`Error::Shape`] for an empty batch or slices of the wrong length; [`Error::NonFinite`] for parameters that are
    /// not finite; [`Error::Memory`] when the batch or its tape would outgrow
    /// [`SolverOptions::memory_limit`], [`Error::Limit`] when one of its arrays would outgrow a binding;
    /// [`Error::DeviceLost`].
    pub async fn solve(&mut self, theta: &[f32], y0: &[f32]) -> Result<Solution<f32>> {
        self.run(theta, y0, true).await
    }

    /// As [`GpuSolver::solve`], keeping nothing for gradients.
    ///
    /// # Errors
    /// As [`GpuSolver::solve`].
    pub async fn predict(&mut self, theta: &[f32], y0: &[f32]) -> Result<Solution<f32>> {
        self.run(theta, y0, false).await
    }

    async fn run(&mut self, theta: &[f32], y0: &[f32], backward: bool) -> Result<Solution<f32>> {
        self.solved = None;
        let purpose = self.purpose(backward);
        let engine = &mut self.engine;
        Error::check_len("theta", theta.len(), engine.parameters, || "the problem's parameter_count()".into())?;
        check_finite("theta", theta)?;
        let dim = engine.dim();
        let batch = Error::check_rows("y0", y0.len(), dim)?;
        engine.warn_at(y0, dim);
        self.paths.validate(batch)?;
        let drawn = self.asked.end.filter(|_| backward);
        engine.check_times(batch, drawn)?;
        let end = drawn.unwrap_or(engine.given.0);
        // Knots lie at shares of the interval.
        self.controls.news |= engine.end_at(end, self.held.as_ref().map(Held::buffers));
        if engine.drive(&mut self.controls, batch)? {
            // What was recorded binds other knots.
            self.held = self.held.take().map(|held| held.with(|buffers| buffers));
        }
        let held = engine.reserve(&mut self.held, batch, purpose).await?;
        if backward {
            engine.use_asked(&self.asked, self.paths, held.buffers());
        }
        engine.use_paths(self.paths, held.buffers());
        engine.use_times(held.buffers(), 1);
        if engine.carries() {
            engine.write_learnt(self.learnt);
        }
        engine.gpu.queue.write_buffer(&engine.theta, 0, bytemuck::cast_slice(theta));
        engine.gpu.queue.write_buffer(&held.buffers().tape, engine.start_of_tape(batch), bytemuck::cast_slice(y0));
        let outcome = engine.solve(held, batch, backward).await?;
        if engine.carries() && outcome.wish > 0.0 {
            self.learnt.note_first(f64::from(outcome.wish));
        }
        (self.solved, self.taught) = (backward.then_some(Solved { rows: batch, outcome }), false);
        assemble(engine, held.buffers(), batch, outcome).await
    }

    /// Gradients of a loss with cotangents `ys_bar` of the last solve's saved states, in their order. Trajectories that
    /// failed contribute nothing.
    ///
    /// With [`SaveAt::Dense`](crate::SaveAt::Dense) the saved states are those of [`SaveAt::Steps`](crate::SaveAt::Steps).
    ///
    /// # Errors
    /// [`Error::Order`] when nothing was solved before, [`Error::Shape`] for a slice of the wrong length,
    /// [`Error::DeviceLost`].
    pub async fn gradients(&mut self, ys_bar: &[f32]) -> Result<Gradients<f32>> {
        let (Some(Solved { rows, outcome }), Some(held)) = (self.solved, &self.held) else {
            return Err(Error::unsolved());
        };
        let (engine, buffers) = (&mut self.engine, held.buffers());
        let most = outcome.most_accepted as usize;
        let seeds = seeds(engine, buffers, ys_bar, [rows, most]).await?;
        engine.gpu.queue.write_buffer(&buffers.saves_bar, 0, bytemuck::cast_slice(&seeds));
        engine.walk_back(rows, buffers, most).await?;
        let (parameters, states) = (engine.parameters, rows * engine.dim());
        let measured = engine.outcome.clone();
        // Where no time passes there is nothing to walk.
        let walks = engine.walks_whole(buffers.sizes.purpose) && !engine.stands_still();
        let walked = if walks { rows * size_of::<RowWalk>() / size_of::<f32>() } else { 0 };
        let [local, global] = [std::mem::offset_of!(Outcome, penalty), std::mem::offset_of!(Outcome, global)];
        let points = std::mem::offset_of!(Outcome, points);
        let read = [
            (&buffers.gradient, 0, parameters),
            (&buffers.bar, 0, states),
            (&measured, local as u64, 1),
            (&measured, global as u64, 1),
            (&measured, points as u64, PointMeasure::COUNT),
            (&buffers.row_walks, 0, walked),
        ];
        let [theta, y0, local, global, points, walks]: [Vec<f32>; 6] = engine.read(read).await?;
        // Read with the rest, and words all the same.
        let walks: &[RowWalk] = bytemuck::cast_slice(&walks);
        let unwalked = walks.iter().filter(|walk| walk.steps != walk.gone || walk.cut == 1).count();
        if unwalked > 0 {
            return Err(iterations::cut(word(unwalked)));
        }
        let global_penalty = self.asked.global.map(|_| f64::from(global[0]));
        let local = self.asked.local.as_ref().map(|_| f64::from(local[0]));
        let pointwise = PointValues::of(&Purpose::of(&self.asked).points, &points);
        let first = pointwise.iter().next().map(|value| value.penalty);
        let penalty = local.or(global_penalty).or(first).unwrap_or(0.0);
        let ideal = buffers.penalty().is_some_and(|penalty| penalty.step == PenaltyStep::Ideal);
        if ideal && !std::mem::replace(&mut self.taught, true) {
            self.learnt.note_ideal(penalty);
        }
        let products = most * engine.products_per_step(buffers.sizes.purpose);
        Ok(Gradients { theta, y0, products, penalty, global_penalty, pointwise, ..Gradients::default() })
    }
}

/// Cotangents of so many rows, of at most so many steps, in the device's order, `[save][B][D]`.
async fn seeds(engine: &mut Engine, buffers: &Buffers, ys_bar: &[f32], [batch, most]: [usize; 2]) -> Result<Vec<f32>> {
    let dim = engine.dim();
    let count = |accepted: usize| accepted + 1;
    let shape = || "the last solution's ys".into();
    if !(engine.every_step() && engine.per_row()) {
        let slots = if engine.every_step() { count(most) } else { engine.slots() };
        Error::check_len("ys_bar", ys_bar.len(), slots * batch * dim, shape)?;
        return Ok(ys_bar.to_vec());
    }
    let [clocks]: [Vec<Clock>; 1] = engine.read([(&buffers.clocks, 0, batch)]).await?;
    let counts: Vec<usize> = clocks.iter().map(|c| count(c.accepted as usize)).collect();
    Error::check_len("ys_bar", ys_bar.len(), counts.iter().sum::<usize>() * dim, shape)?;
    let mut seeds = vec![0.0; (most + 1) * batch * dim];
    let mut rest = ys_bar;
    for (row, count) in counts.iter().enumerate() {
        for n in 0..*count {
            let (state, after) = rest.split_at(dim);
            seeds[(n * batch + row) * dim..][..dim].copy_from_slice(state);
            rest = after;
        }
    }
    Ok(seeds)
}
