//! [`Engine`]: a problem on the device, from loaded states to a solution. The solver and the trainer drive it.

use super::buffers::{Around, Buffers, OUTCOME, Owner, create};
use super::controls::{Drive, drives, seats};
use super::device::Gpu;
use super::device::limits::{ITERATIONS, WORKGROUP};
use super::device::staging::Staging;
use super::kernel::{Kernels, Storage};
use super::reach::{atol_per_feature, check_controls, check_noise, check_parameters, check_steps, checkpoint_stride};
use super::recent::Recent;
use super::schedule::Schedules;
use super::script::Scripts;
use super::small;
use super::wire::head::Head;
use super::wire::modes::flag;
use super::wire::records::{LearntState, Outcome, Params, halves, path_words, share, ticks};
use super::wire::word;
use crate::error::{Error, Result};
use crate::math::Real;
use crate::method::ToleranceWarning;
use crate::method::{Layout, PointMeasure, SaveAt, SolverOptions, StepControl, Tableau};
use crate::problem::{Diffusion, Field, InputMap, Layer, Paths, Problem, Times};

/// Attempts that are recorded for the first solve with adaptive steps; later ones know from those before.
const FIRST_ATTEMPTS: usize = 8;

/// What is foreseen of the first solve: equal steps are known.
const fn first_attempts(options: &SolverOptions) -> usize {
    match options.step_control {
        StepControl::Fixed { steps } => steps,
        StepControl::Adaptive { .. } => FIRST_ATTEMPTS,
    }
}

/// Times at which steps end, in order: as ticks and as they are.
pub(crate) type Stops = Vec<([u32; 2], f64)>;

/// A problem on the device.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) gpu: Gpu,
    /// What is solved: the problem that was given, to the end at hand ([`Engine::end_at`]).
    pub(crate) problem: Problem,
    pub(crate) options: SolverOptions,
    /// Accepted steps from one kept state to the next: at least one.
    pub(crate) checkpoint_stride: usize,
    pub(crate) tableau: &'static Tableau,
    /// The field's layers, at their places in the model's parameters.
    pub(crate) layers: Vec<Layer>,
    /// The diffusion's, if there is noise.
    pub(crate) noise_layers: Vec<Layer>,
    /// The same of a field, and of a diffusion, that is no network.
    pub(crate) programs: [Option<Schedules>; 2],
    /// Those of the measures at points that were asked for so far.
    pub(crate) measures: [Option<Box<Schedules>>; PointMeasure::COUNT],
    /// The first of the field's parameters among the model's.
    pub(crate) first: usize,
    /// What is printed of those that are small enough for trajectories to be solved whole.
    pub(crate) scripts: [Option<Scripts>; 2],
    /// The controls, as far as what is printed depends on them.
    pub(crate) drives: Vec<Drive>,
    pub(crate) kernels: Kernels,
    /// Times at which steps end, in order: as ticks and as they are. Those within the interval at hand.
    pub(crate) stops: Stops,
    /// Where the problem that was given ends, and all times that may be stops of a solve to another end.
    pub(crate) given: (f64, Vec<f64>),
    /// Times of the trajectories' own, of the solves that follow, and the points of one for which records have room.
    pub(crate) times: Option<Times>,
    pub(crate) own_slots: usize,
    /// Times at which their steps end, in the direction of integration.
    pub(super) own_stops: Vec<f64>,
    pub(crate) parameters: usize,
    /// The widest row of a layer outside the field.
    pub(crate) widest: usize,
    pub(crate) owner: Owner,
    warning: ToleranceWarning,
    /// Whether the field is small enough for trajectories to be solved whole, and that is wanted.
    pub(crate) whole: bool,
    /// Whether what fits is solved in tiles.
    pub(crate) tiles: bool,
    /// Whether it is walked back in them too. Where a processor plays the card, whose shared memory is nothing near it, the walk
    /// layer by layer takes half the time.
    pub(crate) tiles_back: bool,
    /// The most attempts in one dispatch of whole trajectories, where an application says so.
    pub(crate) slice: Option<usize>,
    /// The caller's bound on the attempts of a submission.
    pub(crate) bound: Option<usize>,
    /// Iterations that the loops of one invocation may run in a dispatch.
    pub(crate) iterations: usize,
    /// How much a submission of a training step may hold, as a share of what is usual.
    pub(crate) submission: f64,
    /// Attempts that the last solves took, and accepted steps.
    pub(crate) attempts: Recent,
    pub(crate) accepted: Recent,
    pub(super) staging: Staging,
    /// The model's parameters, what a step leaves, and what the training step at hand draws.
    pub(crate) theta: wgpu::Buffer,
    /// The parameters rounded to 16 bits, if the field computes with those.
    pub(super) half: Option<wgpu::Buffer>,
    pub(crate) outcome: wgpu::Buffer,
    pub(crate) params: wgpu::Buffer,
    /// What drives the problem.
    pub(crate) knots: wgpu::Buffer,
    /// What solves have taught; see `learnt.rs`.
    pub(crate) learnt: wgpu::Buffer,
}

impl Engine {
    /// # Errors
    /// [`Error::Argument`] and [`Error::Limit`] for what a device does not take.
    pub(crate) fn new(gpu: &Gpu, problem: &Problem, options: &SolverOptions, model: Around) -> Result<Self> {
        options.validate::<f32>(problem)?;
        check_parameters(gpu, options, &model)?;
        check_noise(problem, options)?;
        check_controls(problem)?;
        let checkpoint_stride = checkpoint_stride(options)?;
        let [layers, noise_layers] = placed_layers(problem, model.offset);
        let programs = schedules(problem, model.offset)?;
        for program in programs.iter().flatten() {
            Self::check_widths(program.layers(), 0)?;
        }
        let drives = drives(problem)?;
        let scripts = scripts(problem, model.offset, &drives)?;
        Self::check_widths(&layers, model.widest)?;
        Self::check_widths(&noise_layers, 0)?;
        check_steps(options)?;
        let tableau = options.method.tableau();
        let sizes = [
            ("theta", 4 * model.parameters as u64),
            ("outcome", OUTCOME as u64),
            ("params", size_of::<Params>() as u64),
            ("learnt", size_of::<LearntState>() as u64),
            ("knots", 0),
        ];
        let [theta, outcome, params, learnt, knots] =
            gpu.scoped_now(|| sizes.map(|(name, bytes)| create(gpu, name, bytes, false)))?;
        let atol = atol_per_feature(gpu, options)?;
        let stops = options.reachable_stops(problem)?;
        Ok(Self {
            gpu: gpu.clone(),
            problem: problem.clone(),
            tableau,
            whole: (small::is_small(&layers) || scripts[0].is_some())
                && problem.diffusion.as_ref().is_none_or(|_| {
                    (small::is_small(&noise_layers) || scripts[1].is_some())
                        && tableau.noise.is_some_and(|noise| !noise.reversible)
                }),
            stops: stops_of(problem, &stops),
            given: (problem.t1, stops),
            options: options.clone(),
            checkpoint_stride,
            tiles: true,
            tiles_back: !gpu.adapter().software,
            slice: None,
            layers,
            noise_layers,
            programs,
            measures: Default::default(),
            first: model.offset,
            scripts,
            drives,
            kernels: Kernels::new(gpu, tableau, atol),
            times: None,
            own_slots: 0,
            own_stops: Vec::new(),
            parameters: model.parameters,
            widest: model.widest,
            owner: model.owner,
            warning: ToleranceWarning::new(),
            bound: None,
            iterations: ITERATIONS,
            submission: 1.0,
            attempts: Recent::foreseeing(first_attempts(options)),
            accepted: Recent::foreseeing(first_attempts(options)),
            staging: Staging::default(),
            half: None,
            theta,
            outcome,
            params,
            knots,
            learnt,
        })
    }

    /// Stores the weights that the model computes with at 16 bits; the parameters themselves stay at `f32`.
    ///
    /// # Errors
    /// [`Error::Argument`] where the device has no such numbers.
    pub(crate) fn use_half_weights(&mut self) -> Result<()> {
        if !self.gpu.device.features().contains(wgpu::Features::SHADER_F16) {
            let remedy = "open the device with SHADER_F16, where the adapter has it, or keep f32";
            return Err(Error::argument("half_weights", &self.gpu.adapter().name, remedy));
        }
        self.kernels.store(self.tableau, Storage::Half);
        let bytes = (2 * self.parameters as u64).next_multiple_of(4);
        self.half = Some(self.gpu.scoped_now(|| create(&self.gpu, "half", bytes, false))?);
        Ok(())
    }

    pub(crate) const fn has_half_weights(&self) -> bool {
        self.half.is_some()
    }

    /// The weights that the model computes with.
    pub(crate) fn weights(&self) -> &wgpu::Buffer {
        self.half.as_ref().unwrap_or(&self.theta)
    }

    pub(crate) fn dim(&self) -> usize {
        self.problem.dim()
    }

    /// Wiener processes of a trajectory, if there is noise: one a feature, or one that all features share.
    pub(crate) fn channels(&self) -> usize {
        self.problem.diffusion.as_ref().map_or(0, Diffusion::channels)
    }

    /// Warns, once, where an absolute tolerance is as large as a feature of the states that solves begin with.
    pub(crate) fn warn_at(&self, states: &[f32], width: usize) {
        self.warning.look(&self.options, states, width);
    }

    pub(crate) fn per_row(&self) -> bool {
        self.options.layout == Layout::Ensemble
    }

    pub(crate) fn every_step(&self) -> bool {
        matches!(self.options.save_at, SaveAt::Steps | SaveAt::Dense)
    }

    /// Accepted steps from one kept state to the next, if any are kept: a solve without a backward pass does with its last.
    pub(crate) fn stride(&self, backward: bool) -> Option<usize> {
        if self.every_step() { Some(1) } else { backward.then_some(self.checkpoint_stride) }
    }

    /// Shares of the interval at which the caller wants states.
    pub(crate) fn user_points(&self) -> Vec<f64> {
        match &self.options.save_at {
            SaveAt::End => vec![self.share_of(self.problem.t1)],
            SaveAt::Times(times) => times.iter().map(|&t| self.share_of(self.problem.settled(t))).collect(),
            SaveAt::Steps | SaveAt::Dense => Vec::new(),
        }
    }

    /// The share of the interval that has passed at a time within it.
    fn share_of(&self, t: f64) -> f64 {
        let Problem { t0, t1, .. } = self.problem;
        if self.problem.stands_still() { 0.0 } else { ((t - t0) / (t1 - t0)).clamp(0.0, 1.0) }
    }

    /// The time that ticks are; the end of the interval and stops as they were given.
    pub(crate) fn time_of(&self, at: [u32; 2]) -> f64 {
        let Problem { t0, t1, .. } = self.problem;
        let known = self.stops.iter().find(|stop| stop.0 == at).map(|stop| stop.1);
        let computed = || if at == ticks(1.0) { t1 } else { t0 + (t1 - t0) * share(at) };
        known.unwrap_or_else(computed)
    }

    /// Evaluations of the diffusion, if any, from those of the drift: they differ by so many an attempt.
    pub(crate) fn nfe_diffusion(&self, nfe: usize, attempts: usize) -> usize {
        let Some(noise) = self.noise() else { return 0 };
        (nfe + attempts * noise.stages()).saturating_sub(attempts * self.tableau.stages())
    }

    /// Whether each trajectory is solved whole in one invocation. In lockstep one workgroup has to hold the batch, whose saved
    /// times are the same.
    pub(crate) fn solves_whole(&self, rows: usize) -> bool {
        self.whole && (self.per_row() || (rows <= WORKGROUP && self.times.is_none()))
    }

    pub(crate) fn encoder(&self) -> wgpu::CommandEncoder {
        self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("fewsteps") })
    }

    /// What every job of this problem says.
    pub(crate) fn head(&self, rows: usize) -> Head {
        let tolerances = match self.options.step_control {
            StepControl::Adaptive { tolerances, .. } => tolerances,
            StepControl::Fixed { .. } => crate::method::Tolerances::default(),
        };
        let mut flags = if self.reuses_last() { flag::FSAL } else { 0 };
        if let Some(noise) = self.noise() {
            flags |= flag::NOISE | if noise.reversible { flag::SECOND } else { 0 };
        }
        if self.problem.field.input_map() == InputMap::Cube {
            flags |= flag::CUBE;
        }
        if matches!(self.options.step_control, StepControl::Fixed { .. }) {
            flags |= flag::FIXED;
        }
        // The last step of equal length takes what the division leaves, a few ticks.
        let fixed_ticks = match self.options.step_control {
            StepControl::Fixed { steps } => halves((1 << 63) / steps as u64),
            StepControl::Adaptive { .. } => [0, 0],
        };
        let r = f32::from_f64;
        let [t0, span] = self.clock_interval();
        Head {
            rows: word(rows),
            dim: word(self.dim()),
            per_row: u32::from(self.per_row()),
            stages: word(self.tableau.stages()),
            flags,
            t0: r(t0),
            span: r(span),
            atol: r(tolerances.atol),
            rtol: r(tolerances.rtol),
            fixed_ticks: [fixed_ticks[1], fixed_ticks[0]],
            mode: 0,
        }
    }

    /// Says which paths the next solves in such buffers follow.
    pub(crate) fn use_paths(&self, paths: Paths, buffers: &Buffers) {
        let words = path_words(paths);
        let at = std::mem::offset_of!(Params, paths) as u64;
        self.gpu.queue.write_buffer(&self.params, at, bytemuck::bytes_of(&words));
        // A solve of whole trajectories has no binding left for parameters.
        let at = 8 * buffers.sizes.points as u64;
        self.gpu.queue.write_buffer(&buffers.points, at, bytemuck::bytes_of(&words));
    }

    /// Submits, and waits for what it leaves.
    pub(crate) async fn submit_for_outcome(&mut self, encoder: wgpu::CommandEncoder) -> Result<Outcome> {
        let outcome = self.outcome.clone();
        self.submit_for(encoder, &outcome).await
    }

    /// The same from another buffer, into which the encoder has copied it.
    pub(crate) async fn submit_for(&mut self, encoder: wgpu::CommandEncoder, from: &wgpu::Buffer) -> Result<Outcome> {
        let part = [(from, 0, OUTCOME as u64)];
        self.staging.read(&self.gpu, encoder, &part, bytemuck::pod_read_unaligned).await
    }

    /// Waits for what the last submission left.
    pub(crate) async fn read_outcome(&mut self) -> Result<Outcome> {
        let encoder = self.encoder();
        self.submit_for_outcome(encoder).await
    }

    /// Reads numbers of buffers back: of each so many, from a byte on.
    pub(crate) async fn read<T: bytemuck::Pod, const N: usize>(
        &mut self,
        parts: [(&wgpu::Buffer, u64, usize); N],
    ) -> Result<[Vec<T>; N]> {
        let ranges = parts.map(|(buffer, offset, count)| (buffer, offset, (count * size_of::<T>()) as u64));
        let take = |bytes: &[u8]| {
            let mut rest = bytes;
            parts.map(|(_, _, count)| {
                let (part, after) = rest.split_at(count * size_of::<T>());
                rest = after;
                bytemuck::pod_collect_to_vec(part)
            })
        };
        if ranges.iter().all(|range| range.2 == 0) {
            return Ok(take(&[]));
        }
        let encoder = self.encoder();
        self.staging.read(&self.gpu, encoder, &ranges, take).await
    }

    /// Where the first kept state of the tape of so many rows begins, in bytes: after the two that are overwritten in turn.
    pub(crate) fn start_of_tape(&self, rows: usize) -> u64 {
        (2 * 4 * rows * self.dim()) as u64
    }
}

/// Those of the times that lie within the interval, as ticks and as they are; with noise on ticks of the path, of which 2^30 are
/// the interval.
pub(super) fn stops_of(problem: &Problem, times: &[f64]) -> Stops {
    let Problem { t0, t1, .. } = *problem;
    let share = |t: f64| (t - t0) / (t1 - t0);
    let at = |t: f64| {
        let grain = 2f64.powi(30);
        ticks(if problem.diffusion.is_some() { (share(t) * grain).round() / grain } else { share(t) })
    };
    times.iter().filter(|&&t| (t - t1) * (t1 - t0) < 0.0).map(|&t| (at(t), t)).collect()
}

/// The schedules of a field, and of a diffusion, that is no network.
fn schedules(problem: &Problem, offset: usize) -> Result<[Option<Schedules>; 2]> {
    let of = |argument, field: &Field, first| match field.plain_mlp() {
        Some(_) => Ok(None),
        None => Schedules::new(argument, field, first, &seats(problem, field)?).map(Some),
    };
    let noise_offset = offset + problem.field.parameter_count();
    let noise = problem.diffusion.as_ref().map(|d| of("Diffusion::network", &d.network, noise_offset));
    Ok([of("Problem::field", &problem.field, offset)?, noise.transpose()?.flatten()])
}

/// What is printed of field and diffusion, where they were written out and are small enough to be solved whole.
fn scripts(problem: &Problem, offset: usize, drives: &[Drive]) -> Result<[Option<Scripts>; 2]> {
    let script = |field: &Field, first: usize| match field.plain_mlp() {
        Some(_) => Ok(None),
        None => {
            let scripts = Scripts::new(field, first, &seats(problem, field)?)?;
            Ok(Some(scripts).filter(|scripts| small::is_brief(scripts, problem.dim(), drives)))
        }
    };
    let noise_offset = offset + problem.field.parameter_count();
    let noise = problem.diffusion.as_ref().map(|d| script(&d.network, noise_offset));
    Ok([script(&problem.field, offset)?, noise.transpose()?.flatten()])
}

/// The layers of the field and of the diffusion, whose parameters follow one another from there on.
fn placed_layers(problem: &Problem, offset: usize) -> [Vec<Layer>; 2] {
    let noise_offset = offset + problem.field.parameter_count();
    let noise = problem.diffusion.as_ref().map_or(Vec::new(), |d| d.network.layers_from(noise_offset));
    [problem.field.layers_from(offset), noise]
}
