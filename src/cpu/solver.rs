//! [`Solver`]: solves a problem on the native engine, and differentiates the solution.

use std::collections::BTreeMap;

use crate::cpu::crew::cpu::Cpu;
use crate::cpu::crew::task::{TaskRoom, TaskWork};
use crate::cpu::engine::{Engine, Owner};
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{gather, scatter};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::solution::assemble;
use crate::cpu::tile::Tile;
use crate::error::{Error, Result, Status};
use crate::math::check_finite;
use crate::method::{Adjoint, Asked, Layout, Learnt, PenaltyStep, PointValues, Regularizer, SaveAt, SolverOptions};
use crate::problem::{Paths, Problem, Times};
use crate::solution::{Gradients, Solution, Workspace};

/// Solves a problem on the native engine.
///
/// ```
/// use fewsteps::{Cpu, Mlp, Problem, Solver, SolverOptions};
/// # fn main() -> fewsteps::Result<()> {
/// let field = Mlp::new([2, 16, 2]);
/// let theta = field.initialize::<f32>(0);
/// let problem = Problem::ode(field, 0.0, 1.0);
/// let mut solver = Solver::new(&Cpu::new()?, &problem, &SolverOptions::default())?;
/// let y0 = [1.0, 0.0, 0.0, 1.0]; // two trajectories
/// let solution = solver.solve(&theta, &y0)?;
/// let gradients = solver.gradients(&[1.0; 4])?; // of the sum of the final states
/// # assert_eq!((solution.ys.len(), gradients.y0.len(), gradients.theta.len()), (4, 4, theta.len()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Solver<R: Scalar> {
    engine: Engine<R>,
    parameters: usize,
    solved: bool,
    /// The penalty of the solves to come.
    asked: Asked,
    /// Whether the last solve's penalty has taught what it has to teach.
    taught: bool,
}

impl<R: Scalar> Solver<R> {
    /// A solver for the problem.
    ///
    /// # Errors
    /// [`Error::Argument`] naming what does not fit in the problem or the options, [`Error::OutOfMemory`] for weights
    /// that the system has no memory for.
    pub fn new(cpu: &Cpu, problem: &Problem, options: &SolverOptions) -> Result<Self> {
        let parameters = problem.parameter_count();
        let engine = Engine::new(cpu.workers(), problem, options, parameters, 0, Owner::default())?;
        Ok(Self { engine, parameters, solved: false, asked: Asked::default(), taught: false })
    }

    /// Bytes that solving and differentiating a batch of `batch` trajectories holds when `steps` steps are accepted.
    #[must_use]
    pub fn workspace(&self, batch: usize, steps: usize) -> Workspace {
        self.engine.workspace(batch, steps, true)
    }

    /// Chooses the noise that the solves after this follow; without noise it has no effect. The default is
    /// `Paths::default()`.
    pub fn set_paths(&mut self, paths: Paths) {
        self.engine.set_paths(paths);
    }

    /// Sets the values of a control at its knots, for the solves after this one: `[T][rows]` for all trajectories alike,
    /// or `[B][T][rows]` for each its own, where the control has `T` knots and `rows` rows.
    ///
    /// ```
    /// use fewsteps::{Control, Cpu, Field, Interpolation, Problem, Solver, SolverOptions};
    /// # fn main() -> fewsteps::Result<()> {
    /// let field = Field::build(1, |f| f.control("inflow") - f.control("rate") * f.state())?;
    /// let problem = Problem::ode(field, 0.0, 3.0)
    ///     .driven_by(Control::new("inflow", Interpolation::Hold, [0.0, 1.0, 2.0]))
    ///     .driven_by(Control::constant("rate")); // a parameter of each trajectory
    /// let mut solver = Solver::<f64>::new(&Cpu::new()?, &problem, &SolverOptions::default())?;
    /// solver.set_control("inflow", &[0.0, 1.0, 0.0])?;
    /// solver.set_control("rate", &[0.5, 2.0])?;
    /// let ys = solver.solve(&[], &[0.0, 0.0])?.check()?.ys;
    /// let after = |rate: f64| (1.0 - (-rate).exp()) / rate * (-rate).exp();
    /// assert!((ys[0] - after(0.5)).abs() < 1e-4 && (ys[1] - after(2.0)).abs() < 1e-4);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that the problem has not, [`Error::Shape`] for values of another length,
    /// [`Error::NonFinite`] for values that are not finite.
    pub fn set_control(&mut self, name: &str, values: &[R]) -> Result<()> {
        self.engine.set_control(name, values)
    }

    /// Gives the trajectories of the solves after this one intervals and saved times of their own, a row each, in the place of
    /// the problem's interval and of [`SaveAt`]; `None` takes them back. Call it before [`Solver::regularize`].
    ///
    /// In [`Layout::Ensemble`] a row is solved as if it were alone. In [`Layout::Lockstep`] trajectories share their steps as
    /// shares of their intervals: a step that takes a tenth of one takes a tenth of each. A first step that is given
    /// ([`InitialStep::Length`]) and [`SolverOptions::largest_step`] are in units of time there too: of the row that has the
    /// longest interval. Measures of local and global regularization that contain a step's length have it as a share of the
    /// interval in lockstep, and in units of time in an ensemble. Trajectories whose intervals are empty are no part of a
    /// penalty.
    ///
    /// [`InitialStep::Length`]: crate::InitialStep::Length
    ///
    /// # Errors
    /// [`Error::Argument`] for what takes no times of trajectories' own: noise, [`SaveAt::Steps`] and [`SaveAt::Dense`],
    /// [`Adjoint::Interpolating`] and [`Adjoint::Backsolve`], and, unless steps are adaptive in [`Layout::Ensemble`] and all
    /// rows go in one direction, [`SolverOptions::stop_at`] and controls that jump or bend at their knots; for fixed steps that
    /// time does not resolve. The times are as before then. A solve refuses those of another batch, and
    /// [`EndTime`](crate::EndTime).
    pub fn set_times(&mut self, times: Option<Times>) -> Result<()> {
        self.engine.set_times(times)?;
        self.solved = false;
        Ok(())
    }

    /// What the solves so far have taught those that follow.
    #[must_use]
    pub const fn learnt(&self) -> Learnt {
        self.engine.learnt
    }

    /// Goes on with what other solves have taught: those of a training, for example.
    ///
    /// # Errors
    /// [`Error::Argument`] for numbers that solves cannot have taught; what was learnt stays then.
    pub fn set_learnt(&mut self, learnt: Learnt) -> Result<()> {
        learnt.validate()?;
        self.engine.learnt = learnt;
        Ok(())
    }

    /// Adds a regularizer to the solves after this one, with the coefficient and the random draws of training step
    /// `step`: [`Solver::gradients`] are then those of the caller's loss plus coefficient times penalty. Call it before
    /// each training step's solve; [`Regularizer::None`] ends it.
    ///
    /// ```
    /// use fewsteps::{Cpu, Local, Mlp, Problem, Solver, SolverOptions};
    /// # fn main() -> fewsteps::Result<()> {
    /// let field = Mlp::new([2, 16, 2]);
    /// let theta = field.initialize::<f32>(0);
    /// let mut solver = Solver::new(&Cpu::new()?, &Problem::ode(field, 0.0, 1.0), &SolverOptions::default())?;
    /// let regularizer = Local::unbiased().coefficient(0.1).into();
    /// for step in 0..3 {
    ///     solver.regularize(&regularizer, 0, step)?;
    ///     let ys = solver.solve(&theta, &[1.0, 0.0])?.ys;
    ///     let gradients = solver.gradients(&ys)?; // of half the sum of squares, and of the penalty
    ///     println!("penalty {}", gradients.penalty);
    /// #   assert!(gradients.penalty > 0.0);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] naming what does not fit in the regularizer, or that [`SaveAt::Steps`] and [`SaveAt::Dense`]
    /// take none.
    pub fn regularize(&mut self, regularizer: &Regularizer, seed: u64, step: u64) -> Result<()> {
        regularizer.validate(&self.engine.options)?;
        self.engine.check_measures(regularizer)?;
        let Engine { problem, learnt, .. } = &self.engine;
        let on = (problem, self.engine.stands_still());
        self.asked = Asked::new(regularizer.lower(step), learnt, on, seed, step);
        self.solved = false;
        Ok(())
    }

    /// Bytes that the solver holds now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.engine.bytes()
    }

    /// Solves from the initial states `y0`, `[B][D]`, with the field's parameters `theta`, and keeps what
    /// [`Solver::gradients`] needs.
    ///
    /// A trajectory that fails has its own [`Status`] and does not take the batch along.
    ///
    /// # Errors
    /// [`Error::Shape`] for an empty batch or slices of the wrong length; [`Error::NonFinite`] for parameters that are
    /// not finite; [`Error::Memory`] when batch or tape would outgrow [`SolverOptions::memory_limit`], and
    /// [`Error::OutOfMemory`] when the system has no room for them.
    pub fn solve(&mut self, theta: &[R], y0: &[R]) -> Result<Solution<R>> {
        self.run(theta, y0, true)
    }

    /// As [`Solver::solve`], keeping nothing for gradients.
    ///
    /// # Errors
    /// As [`Solver::solve`].
    pub fn predict(&mut self, theta: &[R], y0: &[R]) -> Result<Solution<R>> {
        self.run(theta, y0, false)
    }

    fn run(&mut self, theta: &[R], y0: &[R], tape: bool) -> Result<Solution<R>> {
        self.solved = false;
        Error::check_len("theta", theta.len(), self.parameters, || "the problem's parameter_count()".into())?;
        check_finite("theta", theta)?;
        let dim = self.engine.dim();
        let batch = Error::check_rows("y0", y0.len(), dim)?;
        self.engine.warn_at(y0, dim);
        self.engine.paths().validate(batch)?;
        self.engine.drive(batch, ["Solver::solve", "Solver::set_control"])?;
        let nothing = Asked::default();
        let asked = if tape { &self.asked } else { &nothing };
        self.engine.reserve(batch, tape, asked)?;
        self.engine.set_parameters(theta, tape);
        self.engine.load(y0);
        self.engine.solve(tape, asked)?;
        if let Some(wish) = self.engine.wish() {
            self.engine.learnt.note_first(wish);
        }
        (self.solved, self.taught) = (tape, false);
        Ok(assemble(&self.engine))
    }

    /// Gradients of a loss with cotangents `ys_bar` of the last solve's saved states, in their order. Trajectories
    /// that failed contribute nothing.
    ///
    /// With [`SaveAt::Dense`] the saved states are those of [`SaveAt::Steps`].
    ///
    /// # Errors
    /// [`Error::Order`] when nothing was solved before, [`Error::Shape`] for a slice of the wrong length.
    pub fn gradients(&mut self, ys_bar: &[R]) -> Result<Gradients<R>> {
        if !self.solved {
            return Err(Error::unsolved());
        }
        let mut gradients = Gradients {
            theta: vec![R::ZERO; self.parameters + self.engine.controls.shared()],
            y0: vec![R::ZERO; self.engine.batch() * self.engine.dim()],
            controls: BTreeMap::new(),
            products: 0,
            evaluations: 0,
            status: Vec::new(),
            drift: None,
            penalty: 0.0,
            global_penalty: None,
            pointwise: PointValues::default(),
        };
        let seeds = self.seeds(ys_bar)?;
        let added = self.engine.backward(&self.asked, &seeds, &mut gradients.theta)?;
        (gradients.penalty, gradients.global_penalty) = (added.penalty(), added.global);
        gradients.pointwise = added.pointwise;
        (gradients.products, gradients.evaluations) = (added.work.products, added.work.evaluations);
        gradients.status = self.engine.returned().map(|(status, _)| status).collect();
        gradients.drift = match self.engine.options.adjoint {
            Adjoint::Backsolve => self.engine.returned().map(|(_, drift)| drift).reduce(f64::max),
            _ => None,
        };
        let ideal = self.asked.local.as_ref().is_some_and(|draws| draws.penalty.step == PenaltyStep::Ideal);
        if ideal && !std::mem::replace(&mut self.taught, true) {
            self.engine.learnt.note_ideal(gradients.penalty);
        }
        let shared = gradients.theta.split_off(self.parameters);
        gradients.controls = self.engine.control_bars(&shared);
        let dim = self.engine.dim();
        for tile in self.engine.tiles() {
            scatter(&tile.bar, &mut gradients.y0[tile.index * LANES * dim..][..tile.used * dim], dim);
        }
        Ok(gradients)
    }

    fn seeds<'a>(&self, ys_bar: &'a [R]) -> Result<SaveSeeds<'a, R>> {
        let (batch, dim) = (self.engine.batch(), self.engine.dim());
        let every_step = matches!(self.engine.options.save_at, SaveAt::Steps | SaveAt::Dense);
        let per_trajectory = every_step && self.engine.options.layout == Layout::Ensemble;
        // Saved states before each trajectory's first one, where trajectories come one after the other.
        let mut starts = Vec::new();
        let expected = if per_trajectory {
            let mut count = 0;
            for (tile, lane) in self.engine.tiles().flat_map(|t| (0..t.used).map(move |l| (t, l))) {
                starts.push(count);
                let accepted = tile.clock.accepted[lane] as usize;
                count += accepted + 1;
            }
            count * dim
        } else if every_step {
            let accepted = self.engine.run().map_or(0, |r| r.steps.len());
            (accepted + 1) * batch * dim
        } else {
            self.engine.user_slots() * batch * dim
        };
        let shape = || "the last solution's ys".into();
        Error::check_len("ys_bar", ys_bar.len(), expected, shape)?;
        Ok(SaveSeeds { ys_bar, batch, dim, starts })
    }
}

/// Cotangents of saved states, as the caller gave them.
struct SaveSeeds<'a, R> {
    ys_bar: &'a [R],
    batch: usize,
    dim: usize,
    starts: Vec<usize>,
}

impl<R: Scalar> TaskWork<R> for SaveSeeds<'_, R> {
    fn differentiate(&self, tile: &mut Tile<R>, _: &mut TaskRoom<R>, _: &mut [R]) {
        let (dim, first) = (self.dim, tile.index * LANES);
        let n = tile.features();
        if self.starts.is_empty() {
            let slots = self.ys_bar.len() / (self.batch * dim);
            // After the caller's there may be those of a penalty's states.
            tile.saves_bar.resize(tile.saves_bar.len().max(slots * n), R::ZERO);
            for (slot, bars) in self.ys_bar.chunks_exact(self.batch * dim).enumerate() {
                let rows = &bars[first * dim..(first + tile.used) * dim];
                gather(tile.save_bar_mut(slot), rows, dim);
            }
        } else {
            let slots = tile.steps.len() + 1;
            tile.saves_bar.resize(slots * n, R::ZERO);
            tile.saves_bar.fill(R::ZERO);
            for lane in 0..tile.used {
                let accepted = tile.clock.accepted[lane] as usize;
                for i in 0..=accepted {
                    let bars = &self.ys_bar[(self.starts[first + lane] + i) * dim..][..dim];
                    for (slot, &bar) in tile.save_bar_mut(i)[lane..].iter_mut().step_by(LANES).zip(bars) {
                        *slot = bar;
                    }
                }
            }
        }
        let counts: [bool; LANES] = std::array::from_fn(|l| tile.alive[l] && tile.status[l] == Status::Done);
        crate::cpu::kernel::lanes::rest_unless(&mut tile.saves_bar, &counts);
    }

    fn finish(&self, _: &mut Tile<R>, _: &mut TaskRoom<R>, _: &mut [R]) {}
}
