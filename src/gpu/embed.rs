//! [`SolveRecording`]: a whole solve, recorded into an application's own command encoder.
//!
//! Everything is allocated, compiled and uploaded by [`GpuSolver::prepare`]. A recording is commands alone: no
//! submission, no map, and no write to the queue, which would run before all of the encoder, whoever recorded it.

use super::buffers::{Around, Buffers, Purpose};
use super::controls::Controls;
use super::engine::Engine;
use super::kernel;
use super::plan::{Plan, Planner, SolvePlans, flat};
use super::solver::GpuSolver;
use super::wire::args::SettleArgs;
use super::wire::head::Head;
use super::wire::modes::{Settle, status};
use super::wire::word;
use crate::error::{Error, Result, Status};
use crate::problem::{Paths, Problem};

/// The application's buffers that a recorded solve reads and writes, at `f32`. `y0` and `ys` may be one.
#[derive(Clone, Copy, Debug)]
pub struct SolveIo<'a> {
    /// The field's parameters. Usage `COPY_SRC`.
    pub theta: wgpu::BufferSlice<'a>,
    /// Initial states, `[B][D]`. Usage `COPY_SRC`.
    pub y0: wgpu::BufferSlice<'a>,
    /// Where the saved states go, `[point][B][D]`. Usage `COPY_DST`.
    ///
    /// A trajectory that failed leaves NaN from then on. A point that a trajectory has not reached yet holds its initial state.
    pub ys: wgpu::BufferSlice<'a>,
}

/// Where a recorded solve is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SolveOutcome {
    /// Trajectories that have not reached the end; in lockstep one stands for all.
    pub unfinished: usize,
    /// Trajectories that failed.
    pub failed: usize,
    /// The first of them, and why it failed.
    pub first_failure: Option<(usize, Status)>,
    /// Evaluations of the field for the costliest trajectory, or for the batch in lockstep.
    pub nfe: usize,
    /// Its accepted steps.
    pub accepted: usize,
    /// Its rejected attempts.
    pub rejected: usize,
}

/// The WGSL declaration `struct Outcome` of what [`SolveRecording::outcome_buffer`] and
/// [`GpuTrainer::outcome_buffer`](crate::GpuTrainer::outcome_buffer) hold, for shaders that bind it.
pub const OUTCOME_WGSL: &str = include_str!("../../shaders/lib/outcome.wgsl");

/// A solve of one batch size, ready to be recorded into an application's encoder, frame after frame.
///
/// ```no_run
/// use fewsteps::{Gpu, GpuSolver, Mlp, Problem, SolveIo, SolverOptions};
/// # async fn frame(device: &wgpu::Device, queue: &wgpu::Queue, theta: &wgpu::Buffer, y: &wgpu::Buffer)
/// # -> fewsteps::Result<()> {
/// let gpu = Gpu::from_wgpu(device, queue)?; // the application's device
/// let problem = Problem::ode(Mlp::new([2, 32, 2]), 0.0, 0.02);
/// let solver = GpuSolver::new(&gpu, &problem, &SolverOptions::default())?;
/// let solve = solver.prepare(100_000, 8).await?;
///
/// let mut encoder = device.create_command_encoder(&Default::default());
/// solve.record(&mut encoder, &SolveIo { theta: theta.slice(..), y0: y.slice(..), ys: y.slice(..) })?;
/// // ... the frame's render pass, which draws from `y` ...
/// queue.submit([encoder.finish()]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SolveRecording {
    engine: Engine,
    batch: usize,
    buffers: Buffers,
    plans: SolvePlans,
    settle: Plan,
    attempts: usize,
    controls: Controls,
}

impl GpuSolver {
    /// Prepares solves of `batch` trajectories, each of at most `attempts` attempted steps, for recording. The
    /// recording has buffers of its own, so the solver may be used, or dropped, meanwhile.
    ///
    /// Attempts that a solve does not need cost little, but not nothing: take what [`Stats`](crate::Stats) of a
    /// typical solve say, and some to spare. A software adapter may take a very long recording for a hang.
    ///
    /// # Errors
    /// [`Error::Argument`] for an empty batch, no attempts or more than 65,536, or states saved at steps, whose number is
    /// not known ahead; [`Error::Memory`], [`Error::Limit`], [`Error::Device`].
    pub async fn prepare(&self, batch: usize, attempts: usize) -> Result<SolveRecording> {
        check_counts(batch, attempts)?;
        let solver = &self.engine;
        solver.refuse_times("recorded solves have one interval for all trajectories: use GpuSolver::solve")?;
        // A solve makes no more.
        let attempts = attempts.min(solver.options.most_attempts());
        if solver.every_step() {
            let remedy = "save at the end or at given times: how many steps there will be is not known ahead";
            return Err(Error::argument("SolverOptions::save_at", format!("{:?}", solver.options.save_at), remedy));
        }
        // To the problem's own end, wherever the solver's last solve ended.
        let problem = Problem { t1: solver.given.0, ..solver.problem.clone() };
        let mut engine = Engine::new(
            &solver.gpu,
            &problem,
            &solver.options,
            Around { parameters: solver.parameters, ..Around::default() },
        )?;
        engine.slice = Some(attempts);
        // Its own, whatever this solver's device has.
        let mut controls = self.controls.anew();
        engine.drive(&mut controls, batch)?;
        let buffers = engine.buffers(batch, Purpose::FORWARD).await?;
        self.paths.validate(batch)?;
        engine.use_paths(self.paths, &buffers);
        engine.write_learnt(self.learnt());
        let plans = engine.record_solve(batch, &buffers, false).await?;
        let settle = engine.gpu.scoped(|| record_settle(&engine, batch, &buffers)).await?;
        Ok(SolveRecording { engine, batch, buffers, plans, settle, attempts, controls })
    }
}

/// Attempts that one recording may hold.
const MOST_ATTEMPTS: usize = 1 << 16;

pub(crate) fn check_counts(batch: usize, attempts: usize) -> Result<()> {
    if attempts > MOST_ATTEMPTS {
        let remedy =
            format!("a recording holds at most {MOST_ATTEMPTS}: loosen the tolerances, or shorten the interval");
        return Err(Error::argument("attempts", attempts, remedy));
    }
    for (argument, value) in [("batch", batch), ("attempts", attempts)] {
        if value == 0 {
            return Err(Error::argument(argument, 0, "ask for at least one"));
        }
    }
    Ok(())
}

/// NaN for what trajectories that failed should have saved after they did.
fn record_settle(engine: &Engine, rows: usize, buffers: &Buffers) -> Plan {
    let points = engine.user_points().len();
    let head = Head { mode: Settle::AfterFailure.into(), ..engine.head(rows) };
    let args = SettleArgs { points: word(points), missing: f32::NAN, first: 0 };
    let settle = engine.kernels.get(&kernel::SETTLE, &[]);
    let size = points * rows * engine.dim();
    let bound = [&buffers.row_status, &buffers.saves, &buffers.points];
    Planner::record(&engine.gpu, |planner| {
        planner.add(&settle, &bound, head, args, flat(size.div_ceil(64)));
        planner.take()
    })
}

impl SolveRecording {
    /// Records a solve: copies `theta` and `y0`, attempts steps until the end of the interval or the attempts are
    /// reached, and copies the saved states to `ys`. Commands recorded before it may write `theta` and `y0`, and those
    /// after it read `ys`.
    ///
    /// The buffers belong to the recording's device. [`SolveOutcome::unfinished`] says whether the attempts sufficed.
    ///
    /// # Errors
    /// [`Error::Argument`] for a slice that is too small, not aligned, or of a buffer without the usage it needs.
    pub fn record(&self, encoder: &mut wgpu::CommandEncoder, io: &SolveIo<'_>) -> Result<()> {
        check("SolveIo::theta", &io.theta, self.theta_bytes(), wgpu::BufferUsages::COPY_SRC)?;
        check("SolveIo::y0", &io.y0, self.y0_bytes(), wgpu::BufferUsages::COPY_SRC)?;
        check("SolveIo::ys", &io.ys, self.ys_bytes(), wgpu::BufferUsages::COPY_DST)?;
        let states = self.y0_bytes();
        copy_in(encoder, &io.theta, &self.engine.theta, 0, self.theta_bytes());
        copy_in(encoder, &io.y0, &self.buffers.tape, self.engine.start_of_tape(self.batch), states);
        for at in (0..self.ys_bytes()).step_by(usize::try_from(states).unwrap_or(usize::MAX)) {
            copy_in(encoder, &io.y0, &self.buffers.saves, at, states);
        }
        self.encode(encoder, true, &io.ys);
        Ok(())
    }

    /// Records as many attempts more of the solve that was recorded last, and copies the saved states to `ys` again.
    /// Does nothing to trajectories that are through. Frames may lie between, so a long solve takes a slice of each.
    ///
    /// # Errors
    /// As [`SolveRecording::record`].
    pub fn record_more(&self, encoder: &mut wgpu::CommandEncoder, ys: wgpu::BufferSlice<'_>) -> Result<()> {
        check("ys", &ys, self.ys_bytes(), wgpu::BufferUsages::COPY_DST)?;
        self.encode(encoder, false, &ys);
        Ok(())
    }

    fn encode(&self, encoder: &mut wgpu::CommandEncoder, begin: bool, ys: &wgpu::BufferSlice<'_>) {
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: Some("recorded solve"),
                timestamp_writes: None,
            });
            if begin {
                self.plans.start.encode(&mut pass);
            }
            // Where trajectories are solved whole, a dispatch makes as many attempts as it can, and that of the start too.
            let whole = self.engine.solves_whole(self.batch);
            let dispatches = if whole {
                self.engine.dispatches_after_start(self.batch, Purpose::FORWARD, self.attempts) + usize::from(!begin)
            } else {
                self.attempts
            };
            for _ in 0..dispatches {
                self.plans.attempt.encode(&mut pass);
            }
            self.plans.finish.encode(&mut pass);
            self.settle.encode(&mut pass);
        }
        encoder.copy_buffer_to_buffer(&self.buffers.saves, 0, ys.buffer(), ys.offset(), self.ys_bytes());
    }

    /// Says which paths the recorded solves that are submitted from now on follow, where the problem has noise: at first
    /// those of the solver. Writes to the queue, so not between the slices of one solve.
    ///
    /// # Errors
    /// [`Error::Argument`] for paths beyond the last trajectory number.
    pub fn set_paths(&mut self, paths: Paths) -> Result<()> {
        paths.validate(self.batch)?;
        self.engine.use_paths(paths, &self.buffers);
        Ok(())
    }

    /// Sets the values of a control at its knots, for the recorded solves that are submitted from now on: `[T][rows]` for all
    /// trajectories alike, or `[B][T][rows]` for each its own, where the solver had so many when it was prepared; at first they
    /// have those of the solver. Nothing is recorded again. Writes to the queue, so not between the slices of one solve.
    ///
    /// ```no_run
    /// # fn frame(solve: &mut fewsteps::SolveRecording, queue: &wgpu::Queue, commands: wgpu::CommandBuffer, wind: f32)
    /// # -> fewsteps::Result<()> {
    /// solve.set_control("wind", &[wind])?; // of this frame
    /// queue.submit([commands]); // in which the solve was recorded, before or after
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that the problem has not, for values of another batch, and for more values than there is
    /// room for; [`Error::Shape`] for values of another length, [`Error::NonFinite`] for values that are not finite. The control
    /// keeps its values then.
    pub fn set_control(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let mut controls = self.controls.clone();
        controls.set(&self.engine.problem, name, values)?;
        controls.check(&self.engine.problem, self.batch)?;
        if !self.engine.has_room_for(&controls)? {
            let remedy =
                "prepare it from a solver with values for each trajectory: what is recorded has no room for more";
            return Err(Error::argument("values", format!("{} numbers", values.len()), remedy));
        }
        self.engine.drive(&mut controls, self.batch)?;
        self.controls = controls;
        Ok(())
    }

    /// Trajectories in the batch.
    #[must_use]
    pub const fn batch(&self) -> usize {
        self.batch
    }

    /// Attempted steps that each recording makes room for: those asked for, or `max_steps` if that is less.
    #[must_use]
    pub const fn attempts(&self) -> usize {
        self.attempts
    }

    /// Bytes of the parameters.
    #[must_use]
    pub const fn theta_bytes(&self) -> u64 {
        4 * self.engine.parameters as u64
    }

    /// Bytes of the initial states.
    #[must_use]
    pub fn y0_bytes(&self) -> u64 {
        4 * (self.batch * self.engine.dim()) as u64
    }

    /// Bytes of the saved states.
    #[must_use]
    pub fn ys_bytes(&self) -> u64 {
        self.engine.user_points().len() as u64 * self.y0_bytes()
    }

    /// Bytes that the recording holds on the device.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.engine.bytes(Some(&self.buffers))
    }

    /// Where the last recorded solve is, for the application's own shaders and copies: [`OUTCOME_WGSL`] declares its
    /// fields, of which the first is `unfinished`. Usage `STORAGE` and `COPY_SRC`; bind it read-only.
    #[must_use]
    pub const fn outcome_buffer(&self) -> &wgpu::Buffer {
        &self.engine.outcome
    }

    /// Reads back where the solve that was submitted last is. Waits for the device, so not for every frame.
    ///
    /// # Errors
    /// [`Error::Device`], [`Error::DeviceLost`].
    pub async fn outcome(&mut self) -> Result<SolveOutcome> {
        let outcome = self.engine.read_outcome().await?;
        outcome.check()?;
        let count = |n: u32| n as usize;
        let first = (count(outcome.first_failed), status(outcome.first_status));
        Ok(SolveOutcome {
            unfinished: count(outcome.unfinished),
            failed: count(outcome.failed),
            first_failure: (outcome.failed > 0).then_some(first),
            nfe: count(outcome.nfe),
            accepted: count(outcome.accepted),
            rejected: count(outcome.rejected),
        })
    }
}

/// Checks an application's buffer before anything is recorded that its encoder would refuse.
pub(crate) fn check(
    argument: &'static str,
    slice: &wgpu::BufferSlice<'_>,
    bytes: u64,
    usage: wgpu::BufferUsages,
) -> Result<()> {
    if slice.size() < bytes {
        let remedy = format!("{bytes} bytes are needed, create a larger buffer");
        return Err(Error::argument(argument, format!("{} bytes", slice.size()), remedy));
    }
    if !slice.offset().is_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT) {
        let remedy = format!("begin the slice at a multiple of {}", wgpu::COPY_BUFFER_ALIGNMENT);
        return Err(Error::argument(argument, format!("a slice from byte {}", slice.offset()), remedy));
    }
    if !slice.buffer().usage().contains(usage) {
        let found = format!("a buffer of usage {:?}", slice.buffer().usage());
        return Err(Error::argument(argument, found, format!("create the buffer with {usage:?} too")));
    }
    Ok(())
}

/// Copies the first bytes of an application's slice.
pub(crate) fn copy_in(
    encoder: &mut wgpu::CommandEncoder,
    from: &wgpu::BufferSlice<'_>,
    to: &wgpu::Buffer,
    at: u64,
    bytes: u64,
) {
    encoder.copy_buffer_to_buffer(from.buffer(), from.offset(), to, at, bytes);
}
