//! [`Buffers`]: everything that a batch keeps on the device.

use super::Gpu;
use super::wire::records::{Clock, Cursor, Outcome, RowWalk};
use crate::error::{Cure, Error, Result};
use crate::memory::{Size, largest};
use crate::method::{
    Asked, GlobalPenalty, Hooks, PenaltyAt, PenaltyGradient, PointMeasure, PointPenalty, StepPenalty, Tableau,
};

/// What a solve is for; buffers and plans differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Purpose {
    /// Whether a backward pass follows.
    pub(crate) backward: bool,
    /// Steps that are penalised in it.
    pub(crate) penalty: Option<StepPenalty>,
    /// The penalty of all accepted steps.
    pub(crate) global: Option<GlobalPenalty>,
    /// Those of measures at random times, and over all steps.
    pub(crate) points: [Option<PointPenalty>; PointMeasure::COUNT],
}

impl Purpose {
    /// A backward pass follows, and that is asked for.
    pub(crate) fn of(asked: &Asked) -> Self {
        let mut points = [None; PointMeasure::COUNT];
        for draws in &asked.pointwise {
            points[draws.penalty.measure.index()] = Some(draws.penalty);
        }
        let penalty = asked.local.as_ref().map(|draws| draws.penalty);
        Self { backward: true, penalty, global: asked.global, points }
    }

    /// Nothing is kept for gradients.
    pub(crate) const FORWARD: Self =
        Self { backward: false, penalty: None, global: None, points: [None; PointMeasure::COUNT] };

    /// Measures at random times, and those over all steps.
    pub(crate) fn drawn(&self) -> impl Iterator<Item = PointPenalty> {
        self.points.iter().flatten().filter(|p| !p.quadrature).copied()
    }

    pub(crate) fn integrals(&self) -> impl Iterator<Item = PointPenalty> {
        self.points.iter().flatten().filter(|p| p.quadrature).copied()
    }

    /// How many random times regularizers draw at which states are saved, unbiased probes first. Those that draw as many draw
    /// the same ones.
    fn numbers_of_draws(&self) -> Vec<usize> {
        let probes = self.penalty.filter(|p| p.at == PenaltyAt::Unbiased).map(|p| p.times);
        let mut numbers = Vec::new();
        for number in probes.into_iter().chain(self.drawn().map(|p| p.times)) {
            if !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        numbers
    }

    /// Random times at which states are saved.
    pub(crate) fn draws(self) -> usize {
        self.numbers_of_draws().into_iter().sum()
    }

    /// Where the draws of a regularizer of so many begin among all.
    pub(crate) fn first_of_draws(self, number: usize) -> usize {
        self.numbers_of_draws().into_iter().take_while(|other| *other != number).sum()
    }

    /// Whether the states at the interval's ends are saved, before those of the random times and after them.
    pub(crate) const fn saves_ends(self) -> bool {
        self.points[PointMeasure::Straightness.index()].is_some()
    }

    /// Saved states besides the caller's.
    pub(crate) fn own_points(self) -> usize {
        self.draws() + 2 * usize::from(self.saves_ends())
    }

    /// Whether those have cotangents.
    pub(crate) fn reaches_states(self) -> bool {
        let probes = self.penalty.filter(|p| p.at == PenaltyAt::Unbiased).map(|p| p.gradient);
        let measured = self.drawn().map(|p| p.gradient);
        probes.into_iter().chain(measured).any(|gradient| gradient == PenaltyGradient::Full)
    }

    /// Random times that are worked on, each by itself.
    pub(crate) fn passes(self) -> usize {
        self.penalty.map_or(0, |p| p.times) + self.drawn().map(|p| p.times).sum::<usize>()
    }

    /// What a step back costs with its measures, in steps back without.
    pub(crate) fn work_of_a_step(self, tableau: &Tableau) -> f64 {
        let evaluations: usize = self.integrals().map(|p| p.evaluations(tableau, 1)).sum();
        1.0 + evaluations as f64 / tableau.stages() as f64
    }

    /// Whether what is recorded for one serves the other: coefficients are read when it runs.
    fn is_as(self, other: Self) -> bool {
        let apart = |p: Self| Self {
            penalty: p.penalty.map(|penalty| StepPenalty { coefficient: 0.0, length: None, ..penalty }),
            global: p.global.map(|global| GlobalPenalty { coefficient: 0.0, ..global }),
            points: p.points.map(|point| point.map(|penalty| PointPenalty { coefficient: 0.0, ..penalty })),
            ..p
        };
        apart(self) == apart(other) && self.hooks().followed() == other.hooks().followed()
    }

    /// What is asked of a training step, as a regularizer has it.
    pub(crate) fn hooks(self) -> Hooks {
        Hooks { penalty: self.penalty, global: self.global, pointwise: self.points, end_time: None }
    }
}

/// What the buffers' sizes depend on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sizes {
    pub(crate) purpose: Purpose,
    /// Trajectories.
    pub(crate) rows: usize,
    pub(crate) dim: usize,
    /// What is kept of evaluations: of the field's layers, then of the diffusion's, or of either as a program.
    pub(crate) values: Vec<ValueSizes>,
    /// Numbers of a trajectory on a program's way back, in either part of its memory.
    pub(crate) bars: [usize; 2],
    /// The widest row of any layer of the model, input or output.
    pub(crate) widest: usize,
    pub(crate) stages: usize,
    /// What noise needs, if there is any.
    pub(crate) noise: Option<NoiseSizes>,
    /// Parameters of the whole model.
    pub(crate) parameters: usize,
    /// Whether every trajectory has a clock of its own.
    pub(crate) per_row: bool,
    /// Rows that are worked on layer by layer: all, those with a penalty, or none where trajectories are solved whole.
    pub(crate) layered: usize,
    /// Accepted steps that the tables have room for, and slots of the tape.
    pub(crate) steps: usize,
    pub(crate) slots: usize,
    /// Saved states, those of a regularizer's random times included.
    pub(crate) points: usize,
    /// Times at which steps end.
    pub(crate) stops: usize,
    /// Entries of a row's record, where trajectories have times of their own.
    pub(crate) record: Option<usize>,
    /// What a backward pass needs, if there is to be one.
    pub(crate) backward: Option<BackwardSizes>,
}

/// What is kept of a layer or a program, in a pair of buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ValueSizes {
    /// Stages that are kept where a backward pass follows.
    pub(crate) stages: usize,
    /// Numbers of a trajectory in either, where a stage is kept and where it is not.
    pub(crate) kept: [usize; 2],
    pub(crate) plain: [usize; 2],
}

/// What noise needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoiseSizes {
    /// Stages of the diffusion.
    pub(crate) stages: usize,
    /// Whether a second state is kept with each.
    pub(crate) reversible: bool,
}

/// What a backward pass needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BackwardSizes {
    /// Parts that a parameter's gradient is summed in.
    pub(crate) splits: usize,
    /// Rows with a penalty, and penalised steps a batch.
    pub(crate) penalised: usize,
    pub(crate) times: usize,
    /// Rows that are measured at points, and numbers of each in the parts of their memory and of that of the way back.
    pub(crate) measured: usize,
    pub(crate) measures: [usize; 4],
    /// Saved states whose cotangents there are: the points, or all accepted steps.
    pub(crate) saves: usize,
    /// Tiles of the batch, at most, and the parameters that they have a gradient of, if it is walked back in tiles.
    pub(crate) tiles: Option<[usize; 2]>,
}

/// Entries of the record of a row with times of its own before its points: `BEFORE_POINTS` of the shader.
pub(crate) const BEFORE_POINTS: usize = 3;

/// Bytes of a clock, a cursor, a row's walk, and what the host reads of a step.
const CLOCK: usize = size_of::<Clock>();
const CURSOR: usize = size_of::<Cursor>();
const ROW_WALK: usize = size_of::<RowWalk>();
pub(crate) const OUTCOME: usize = size_of::<Outcome>();

macro_rules! buffers {
    ($($(#[$doc:meta])* $name:ident: |$s:ident, $b:ident| $numbers:expr;)*) => {
        /// Everything that a batch keeps on the device. Sizes are in bytes.
        #[derive(Debug)]
        pub(crate) struct Buffers {
            pub(crate) sizes: Sizes,
            $($(#[$doc])* pub(crate) $name: wgpu::Buffer,)*
            /// Inputs of each layer, a slot a stage, and the derivatives of what they come from; or the two parts of a
            /// program's memory.
            pub(crate) inputs: Vec<wgpu::Buffer>,
            pub(crate) derivatives: Vec<wgpu::Buffer>,
        }

        /// Bytes of each of them.
        struct Bytes {
            $($name: u64,)*
            inputs: Vec<u64>,
            derivatives: Vec<u64>,
        }

        impl Sizes {
            fn bytes(&self) -> Bytes {
                let none = BackwardSizes { splits: 0, penalised: 0, times: 0, measured: 0, measures: [0; 4], saves: 0, tiles: None };
                let backward = self.backward.as_ref().unwrap_or(&none);
                let [inputs, derivatives] = [0, 1].map(|part| self.bytes_of_values(part));
                Bytes {
                    $($name: {
                        let ($s, $b) = (self, backward);
                        let bytes: Size = $numbers;
                        bytes.0 as u64
                    },)*
                    inputs,
                    derivatives,
                }
            }

            /// Name and bytes of every buffer.
            pub(crate) fn list(&self) -> Vec<(String, u64)> {
                let bytes = self.bytes();
                let mut list = vec![$((stringify!($name).to_owned(), bytes.$name)),*];
                for (l, (inputs, derivatives)) in bytes.inputs.iter().zip(&bytes.derivatives).enumerate() {
                    list.extend([(format!("inputs[{l}]"), *inputs), (format!("derivatives[{l}]"), *derivatives)]);
                }
                list
            }
        }

        impl Buffers {
            fn create(gpu: &Gpu, sizes: &Sizes, poison: bool) -> Self {
                let bytes = sizes.bytes();
                let of_values = |name: &str, bytes: &[u64]| {
                    let named = bytes.iter().enumerate().map(|(l, bytes)| (format!("{name}[{l}]"), *bytes));
                    named.map(|(name, bytes)| create(gpu, &name, bytes, poison)).collect()
                };
                Self {
                    sizes: sizes.clone(),
                    $($name: create(gpu, stringify!($name), bytes.$name, poison),)*
                    inputs: of_values("inputs", &bytes.inputs),
                    derivatives: of_values("derivatives", &bytes.derivatives),
                }
            }
        }
    };
}

const WORD: Size = Size(4);
const NONE: Size = Size(0);

impl Sizes {
    fn state(&self) -> Size {
        WORD * self.rows * self.dim
    }

    fn layered_state(&self) -> Size {
        WORD * self.layered * self.dim
    }

    /// Bytes of what is kept of each layer or program, in one of its two buffers.
    fn bytes_of_values(&self, part: usize) -> Vec<u64> {
        let of = |values: &ValueSizes| {
            let kept = if self.backward.is_some() { Size(values.stages) * values.kept[part] } else { NONE };
            (WORD * self.layered * kept.0.max(values.plain[part])).0 as u64
        };
        self.values.iter().map(of).collect()
    }

    fn clocks(&self) -> usize {
        if self.per_row { self.rows } else { 1 }
    }

    /// Slots of stages, one more a network than it has stages.
    fn stage_slots(&self) -> usize {
        self.stages + 1 + self.noise.map_or(0, |noise| noise.stages + 1)
    }

    /// Slots of stages' cotangents.
    fn bar_slots(&self) -> usize {
        self.stages + 2 + self.noise.map_or(0, |noise| noise.stages + usize::from(noise.reversible))
    }

    /// Numbers of the tape before those of the second states, if there are any.
    pub(crate) fn second_state(&self) -> usize {
        if self.is_reversible() { self.slots * self.rows * self.dim } else { 0 }
    }

    /// Where the stops begin among the points: after the save points and the two entries of the paths.
    pub(crate) const fn first_stop(&self) -> usize {
        self.points + 2
    }

    /// Where the rows' records begin among the points, after the stops.
    pub(crate) const fn first_record(&self) -> usize {
        self.first_stop() + self.stops
    }

    /// Entries of all records.
    fn records(&self) -> Size {
        self.record.map_or(NONE, |entries| Size(self.rows) * entries)
    }

    /// States that each trajectory has: two under a reversible method.
    fn states(&self) -> usize {
        1 + usize::from(self.is_reversible())
    }

    fn is_reversible(&self) -> bool {
        self.noise.is_some_and(|noise| noise.reversible)
    }
}

buffers! {
    clocks: |s, _b| Size(CLOCK) * s.clocks();
    /// The step that is attempted, that is walked back, and that is penalised.
    cursors: |s, _b| Size(CURSOR) * s.clocks();
    walk_cursors: |s, _b| Size(CURSOR) * s.clocks();
    probe_cursors: |s, _b| Size(CURSOR) * s.clocks();
    /// Per row its status, then the time that it reached, in ticks.
    row_status: |s, _b| 3 * WORD * s.rows;
    /// Accepted states, `[slot][B][D]`: two in turn, then those that are kept. Then second states likewise.
    tape: |s, _b| Size(s.states()) * s.slots * s.state();
    /// Start and length of the accepted steps, `[step][clock]`; then what is known of their errors, where it is asked for.
    steps: |s, _b| 4 * WORD * s.steps * s.clocks() * (1 + usize::from(s.purpose.global.is_some()));
    /// Stages of the step at hand, `[slot][B][D]`.
    k: |s, _b| s.stage_slots() * s.layered_state();
    /// What each path does over the step at hand: increment and space-time Levy area, `[B][D]`.
    increments: |s, _b| if s.noise.is_some() { 2 * s.layered_state() } else { NONE };
    /// Two sums of each row.
    norms: |s, _b| 2 * WORD * s.rows;
    /// How far each row has been walked back, where trajectories are walked back whole.
    row_walks: |s, b| if b.splits > 0 { Size(ROW_WALK) * s.rows } else { NONE };
    /// Ticks of the save points, what says which paths are followed, ticks of the stops, and records of rows that have times of
    /// their own.
    points: |s, _b| 2 * WORD * (s.records() + s.first_record());
    /// Saved states, `[point][B][D]`.
    saves: |s, _b| s.points.max(1) * s.state();
    /// Cotangents of the saved states, `[save][B][D]`, then those of the states that a walk has come to.
    saves_bar: |s, b| if b.splits > 0 { b.saves.saturating_add(1) * s.state() } else { NONE };
    /// Cotangent of the state at hand; that of the initial state in the end.
    bar: |s, b| if b.splits > 0 { s.state() } else { NONE };
    /// Cotangents of the stages' states, then of the error and of another state, `[slot][B][D]`.
    state_bars: |s, b| if b.splits > 0 { s.bar_slots() * s.layered_state() } else { NONE };
    /// The cotangent of a stage, and after it others of a program.
    stage_bar: |s, b| if b.splits > 0 { WORD * s.layered * s.dim.max(s.bars[0]) } else { NONE };
    /// Cotangents on their way through the layers.
    cotangents0: |s, b| if b.splits > 0 { WORD * s.layered * s.widest.max(s.bars[1]) } else { NONE };
    cotangents1: |s, b| if b.splits > 0 { WORD * s.layered * s.widest } else { NONE };
    /// Parts of the gradient, `[part][parameter]`.
    partial: |s, b| WORD * b.splits * s.parameters;
    /// What walks in tiles read of the parameters, and their parts of the field's gradient.
    tile_weights: |s, b| b.tiles.map_or(NONE, |_| 2 * WORD * s.parameters);
    tile_sums: |_s, b| b.tiles.map_or(NONE, |[groups, parameters]| WORD * groups * parameters);
    gradient: |s, b| if b.splits > 0 { WORD * s.parameters } else { NONE };
    /// State and end of a penalised step, as slots 1 and 2 of a tape; then second states likewise.
    probe_tape: |s, b| if b.times > 0 { s.states() * 3 * WORD * b.penalised * s.dim } else { NONE };
    probe_bar: |s, b| s.states() * WORD * b.times * b.penalised * s.dim;
    /// Accepted step that a biased probe starts with, `[probe][clock]`.
    probe_starts: |s, b| WORD * b.times * s.clocks();
    /// Per row, the weights of a probe's two norms in its gradient.
    probe_weights: |_s, b| 2 * WORD * b.penalised * b.times.min(1);
    /// What measures at points are computed in, in two parts, and their ways back. A step's stage leaves the whole batch's states
    /// there, however many are measured.
    point_values0: |s, b| WORD * (Size(b.measured) * b.measures[0]).max(Size(s.rows) * s.dim * b.measured.min(1));
    point_values1: |_s, b| WORD * b.measured * b.measures[1];
    point_bars0: |_s, b| WORD * b.measured * b.measures[2];
    point_bars1: |_s, b| WORD * b.measured * b.measures[3];
}

impl AsRef<Self> for Buffers {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// What fresh memory holds in debug builds, so that nobody leans on zeros.
const POISON: f32 = -12_345.0;

pub(crate) fn create(gpu: &Gpu, name: &str, bytes: u64, poison: bool) -> wgpu::Buffer {
    use wgpu::BufferUsages as Usage;
    // Bindings are never empty.
    let size = bytes.next_multiple_of(8).max(16);
    let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(name),
        size,
        usage: Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC,
        mapped_at_creation: poison,
    });
    if poison {
        if let Ok(mut view) = buffer.get_mapped_range_mut(..) {
            let numbers: Vec<f32> = (0..size / 4).map(|_| POISON).collect();
            view.copy_from_slice(bytemuck::cast_slice(&numbers));
        }
        buffer.unmap();
    }
    buffer
}

impl Sizes {
    /// All bytes.
    pub(crate) fn total(&self) -> u64 {
        self.list().iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// The largest buffer, and its bytes.
    fn largest(&self) -> (String, u64) {
        self.list().into_iter().max_by_key(|(_, bytes)| *bytes).unwrap_or_default()
    }
}

/// Bytes that the engine's owner holds on the device besides: in all, and for each trajectory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owner {
    pub(crate) bytes: Size,
    pub(crate) row: Size,
}

/// The model around a problem.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Around {
    /// The length of its parameter vector, in which the field's begin at `offset`.
    pub(crate) parameters: usize,
    pub(crate) offset: usize,
    /// The widest row of a layer outside the field.
    pub(crate) widest: usize,
    /// What its owner holds on the device besides.
    pub(crate) owner: Owner,
}

impl Owner {
    /// Bytes in all for a batch of such sizes.
    pub(crate) fn total(self, sizes: &Sizes) -> u64 {
        sizes.total().saturating_add((self.row * sizes.rows + self.bytes).0 as u64)
    }
}

impl Buffers {
    /// Whether a batch has room in them, of that many accepted steps too. A solve without a backward pass does with what
    /// there is for one with it.
    pub(crate) fn serve(&self, batch: usize, purpose: Purpose, steps: usize) -> bool {
        let serve_purpose = !purpose.backward || purpose.is_as(self.sizes.purpose);
        serve_purpose && self.sizes.rows >= batch && self.sizes.steps >= steps
    }

    /// The steps that are penalised where a backward pass follows.
    pub(crate) const fn penalty(&self) -> Option<StepPenalty> {
        self.sizes.purpose.penalty
    }

    /// Checks that each buffer fits into a binding and all into the caller's limit; `smaller` are the sizes of a batch
    /// with fewer rows.
    ///
    /// # Errors
    /// [`Error::Limit`] and [`Error::Memory`] when they do not.
    pub(crate) fn check(
        gpu: &Gpu,
        sizes: &Sizes,
        limit: Option<usize>,
        owner: Owner,
        smaller: impl Fn(usize) -> Sizes,
    ) -> Result<()> {
        let bound = |sizes: &Sizes| gpu.limit_below(sizes.largest().1).is_none();
        let allowed = |sizes: &Sizes| limit.is_none_or(|limit| owner.total(sizes) <= limit as u64);
        let largest_batch = || {
            largest(sizes.rows.saturating_sub(1), |rows| {
                let sizes = smaller(rows);
                bound(&sizes) && allowed(&sizes)
            })
        };
        if !bound(sizes) {
            let (name, bytes) = sizes.largest();
            let what = || format!("{name} of a batch of {}, with room for {} steps,", sizes.rows, sizes.steps);
            return gpu.check_binding(what, bytes, || Cure::Batch(largest_batch()));
        }
        if !allowed(sizes) {
            return Err(Error::Memory {
                needed: usize::try_from(owner.total(sizes)).unwrap_or(usize::MAX),
                limit: limit.unwrap_or(usize::MAX),
                steps: sizes.steps,
                batch: sizes.rows,
                largest_batch: largest_batch(),
            });
        }
        Ok(())
    }

    /// Creates the buffers, which were checked.
    ///
    /// # Errors
    /// [`Error::Device`] when the device has no room.
    pub(crate) async fn new(gpu: &Gpu, sizes: &Sizes) -> Result<Self> {
        let poison = gpu.runtime_checks();
        gpu.scoped(|| Self::create(gpu, sizes, poison)).await
    }
}
