//! [`Kernel`]: a compute stage, composed of plain WGSL files; [`Kernels`]: those of a problem, compiled on demand.
//!
//! WGSL's module scope has no order, so a kernel is the concatenation of a generated prelude, the library files it names
//! and its own file. `GPU_DUMP=DIR` writes each one as it is compiled.

use std::fmt::Write;
use std::marker::PhantomData;

use super::device::Gpu;
use super::device::compiled::{Compiled, CompiledShader};
use super::device::limits::{LONGEST, MAX_STORAGE_BUFFERS};
use super::plan::flat;
#[cfg(test)]
use super::wire::args;
use super::wire::args::{
    BarUpdateArgs, ColumnsArgs, CombineArgs, ControlArgs, CopyArgs, DenseArgs, DenseStageArgs, DenseVjpInputArgs,
    DenseVjpStageArgs, DenseVjpWeightsArgs, ErrorBarArgs, FinishArgs, GatherArgs, GradientNormArgs, ImportanceArgs,
    IncrementsArgs, InjectArgs, LatentBarArgs, LatentDrawArgs, LearnArgs, LossArgs, LossSumArgs, MomentsArgs,
    NarrowArgs, NextStepArgs, NoArgs, PointPlaceArgs, PointValueArgs, ProbeBarArgs, ProbeCursorArgs, ProbeErrorArgs,
    ProbePlaceArgs, ProbeStepArgs, ProbeStoreArgs, ProbeValueArgs, ReduceArgs, RowNormArgs, RunArgs, RunVjpArgs,
    SaveArgs, SecondBarArgs, SettleArgs, SolveArgs, StageBarArgs, StepWeightsArgs, TileAdjointArgs, TileClockArgs,
    TileReduceArgs, TileSolveArgs, TileWeightsArgs, UpdateArgs, WalkArgs, WholeAdjointArgs,
};
use super::wire::word;
use crate::method::Tableau;

/// A library file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Module {
    pub(crate) name: &'static str,
    pub(crate) source: &'static str,
}

/// How a kernel uses a storage buffer; bindings are numbered from 1, after the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A compute stage.
#[derive(Debug)]
pub(crate) struct Shader {
    pub(crate) name: &'static str,
    pub(crate) source: &'static str,
    pub(crate) modules: &'static [Module],
    pub(crate) bindings: &'static [Access],
    /// The name of its arguments.
    #[cfg(test)]
    pub(crate) args: &'static str,
    /// What it has besides where there is no noise, and where there is.
    pub(crate) plain: Part,
    pub(crate) noisy: Part,
    /// Whether there is one of it for trajectories that have times of their own, as long as this is not empty; and where that
    /// binds the points, unless it does so anyway.
    own: &'static [&'static [u32]],
}

/// Which of a shader's texts it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    Plain,
    /// Of a problem with noise.
    Noisy,
    /// Of trajectories that have times of their own, which have no noise.
    OwnTimes,
}

/// Functions that one file defines without noise and another one with it, and what they bind.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) modules: &'static [Module],
    pub(crate) bindings: &'static [(u32, Access)],
}

/// A compute stage and the type of its arguments.
#[derive(Debug)]
pub(crate) struct Kernel<A> {
    pub(crate) shader: Shader,
    args: PhantomData<A>,
}

macro_rules! modules {
    ($($constant:ident $file:literal;)*) => {
        $(const $constant: Module =
            Module { name: $file, source: include_str!(concat!("../../shaders/lib/", $file, ".wgsl")) };)*
        /// Every library file.
        #[cfg(test)]
        pub(crate) const MODULES: &[Module] = &[$($constant),*];
    };
}

modules! {
    ACTIVATION "activation";
    ATOL_PER_FEATURE "atol_per_feature";
    ATTEMPTS "attempts";
    BROWNIAN "brownian";
    CLOCK "clock";
    CONTROLLER "controller";
    CONTROLS "controls";
    DIFFERENCES "differences";
    EACH "each";
    EACH_LANE "each_lane";
    EACH_NUMBER "each_number";
    ELEMENTARY "elementary";
    ENSEMBLE "ensemble";
    FOLD "fold";
    FROZEN "frozen";
    FUNCTIONS "functions";
    GRID "grid";
    IEEE "ieee";
    INTEGRALS "integrals";
    INTERPOLANT "interpolant";
    JOB "job";
    LANE_SUMS "lane_sums";
    LAYER "layer";
    LAYER_BAR "layer_bar";
    LEARNT "learnt";
    LOCKSTEP "lockstep";
    LOOPS "loops";
    NOISY "noisy";
    NOISY_BAR "noisy_bar";
    NOISY_NORM "noisy_norm";
    NOISY_PROBE "noisy_probe";
    NOISY_TILE "noisy_tile";
    NOISY_WHOLE "noisy_whole";
    ONE_ATOL "one_atol";
    ONE_INTERVAL "one_interval";
    OUTCOME "outcome";
    OWN_INTERVALS "own_intervals";
    OWN_LENGTHS "own_lengths";
    OWN_POINTS "own_points";
    OWN_WHOLE "own_whole";
    PARAMS "params";
    PATH "path";
    PHILOX "philox";
    PLAIN "plain";
    PLAIN_BAR "plain_bar";
    PLAIN_NORM "plain_norm";
    PLAIN_PROBE "plain_probe";
    PLAIN_TILE "plain_tile";
    PLAIN_WHOLE "plain_whole";
    POINTS "points";
    PRODUCT_TILES "product_tiles";
    ROW_SUMS "row_sums";
    ROW_WALK "row_walk";
    SCALED_ERROR "scaled_error";
    SHARED_LENGTHS "shared_lengths";
    SHARED_POINTS "shared_points";
    STAGES "stages";
    STATE_BARS "state_bars";
    SUM "sum";
    TILE "tile";
    TIME "time";
    UNDRIVEN "undriven";
    VERDICT "verdict";
    WEIGHTS "weights";
    WHOLE "whole";
}

/// What is printed before a kernel that solves trajectories whole: without noise, with times of their own besides, and with noise.
pub(crate) const WHOLE_PLAIN: &[Module] = &[PLAIN_WHOLE];
pub(crate) const WHOLE_OWN_TIMES: &[Module] = &[OWN_WHOLE];
pub(crate) const WHOLE_NOISY: &[Module] = &[PHILOX, BROWNIAN, PATH, INTEGRALS, NOISY_WHOLE];

/// Likewise where nothing drives the problem, and where something does.
pub(crate) const OF_NO_CONTROLS: &[Module] = &[UNDRIVEN];
pub(crate) const OF_CONTROLS: &[Module] = &[CONTROLS];

/// What stands for what where trajectories have times of their own.
const OF_OWN_TIMES: [(Module, Module); 3] =
    [(ONE_INTERVAL, OWN_INTERVALS), (SHARED_POINTS, OWN_POINTS), (SHARED_LENGTHS, OWN_LENGTHS)];

/// What operations of programs are printed with, beside `activation` and `elementary`; see `print.rs`.
pub(crate) const OF_PROGRAMS: &[Module] = &[IEEE, FUNCTIONS];

macro_rules! kernels {
    ($($constant:ident $file:literal $args:ident [$($module:ident)*] [$($access:ident)*]
        $(plain [$($plain:ident)*] [$($p:literal $pa:ident),*] noisy [$($noisy:ident)*] [$($n:literal $na:ident),*])?
        $(own [$($own:literal)?])?;)*) => {
        $(pub(crate) const $constant: Kernel<$args> = Kernel {
            shader: Shader {
                name: $file,
                source: include_str!(concat!("../../shaders/kernels/", $file, ".wgsl")),
                modules: &[JOB, $($module),*],
                bindings: &[$(Access::$access),*],
                #[cfg(test)]
                args: <$args as args::Args>::NAME,
                plain: Part { modules: &[$($($plain),*)?], bindings: &[$($(($p, Access::$pa)),*)?] },
                noisy: Part { modules: &[$($($noisy),*)?], bindings: &[$($(($n, Access::$na)),*)?] },
                own: &[$(&[$($own)?])?],
            },
            args: PhantomData,
        };)*
        /// Every kernel.
        #[cfg(test)]
        pub(crate) const ALL: &[&Shader] = &[$(&$constant.shader),*];
    };
}

kernels! {
    BAR_UPDATE "bar_update" BarUpdateArgs [CLOCK TIME POINTS SHARED_POINTS ONE_INTERVAL GRID EACH EACH_NUMBER]
        [Read Read Read Read Read Write] own [];
    BEGIN "begin" ControlArgs [CLOCK TIME CONTROLLER SHARED_LENGTHS ONE_INTERVAL ELEMENTARY OUTCOME LEARNT GRID EACH]
        [Write Write Write Write Read] own [6];
    COMBINE "combine" CombineArgs [CLOCK TIME SUM GRID EACH EACH_NUMBER] [Read Read Write Read Write Write]
        plain [PLAIN] [] noisy [INTEGRALS NOISY] [7 Read];
    COLUMNS "columns" ColumnsArgs [GRID EACH] [Read Write];
    COPY "copy" CopyArgs [GRID EACH] [Read Write];
    CONTROL_ENSEMBLE "control_ensemble" ControlArgs [CLOCK TIME CONTROLLER SHARED_LENGTHS ONE_INTERVAL ATTEMPTS
        ELEMENTARY ENSEMBLE GRID EACH] [Write Write Write Read Write Read] own [];
    CONTROL_LOCKSTEP "control_lockstep" ControlArgs [CLOCK TIME CONTROLLER SHARED_LENGTHS ATTEMPTS ELEMENTARY LOCKSTEP FOLD LANE_SUMS]
        [Write Write Write Read Write Read];
    DENSE "dense" DenseArgs [CLOCK TIME ONE_INTERVAL ELEMENTARY ACTIVATION GRID PRODUCT_TILES LAYER WEIGHTS]
        [Read Read Read Write Write] own [6];
    DENSE_STAGE "dense_stage" DenseStageArgs [CLOCK TIME ONE_INTERVAL ELEMENTARY ACTIVATION SUM PLAIN GRID PRODUCT_TILES LAYER
        WEIGHTS] [Read Read Read Write Read Write Write] own [8];
    DENSE_VJP_INPUT "dense_vjp_input" DenseVjpInputArgs [CLOCK GRID PRODUCT_TILES LAYER_BAR WEIGHTS]
        [Read Read Read Read Write];
    DENSE_VJP_STAGE "dense_vjp_stage" DenseVjpStageArgs [CLOCK STATE_BARS GRID PRODUCT_TILES LAYER_BAR WEIGHTS]
        [Read Read Read Write Read Read Write];
    DENSE_VJP_WEIGHTS "dense_vjp_weights" DenseVjpWeightsArgs [CLOCK TIME ONE_INTERVAL GRID PRODUCT_TILES]
        [Read Read Read Write] own [5];
    ENSEMBLE_SOLVE "ensemble_solve" SolveArgs [CLOCK TIME CONTROLLER SHARED_LENGTHS ATTEMPTS ELEMENTARY SCALED_ERROR ACTIVATION
        ENSEMBLE INTERPOLANT WEIGHTS POINTS SHARED_POINTS ONE_INTERVAL LOOPS WHOLE GRID EACH]
        [Write Write Read Write Write Read Write Read] own [];
    ERROR_BAR "error_bar" ErrorBarArgs [CLOCK ELEMENTARY SUM STAGES SCALED_ERROR GRID EACH EACH_NUMBER]
        [Read Read Read Read Read Write Write]
        plain [PLAIN_NORM PLAIN_PROBE] [] noisy [NOISY_PROBE] [];
    FINISH "finish" FinishArgs [CLOCK ONE_INTERVAL OUTCOME ELEMENTARY LOOPS FOLD] [Read Write Read Write] own [5];
    GATHER "gather" GatherArgs [GRID EACH] [Read Read Write];
    GRADIENT_NORM "gradient_norm" GradientNormArgs [OUTCOME ROW_WALK VERDICT ELEMENTARY LOOPS FROZEN FOLD]
        [Read Write Read Read];
    IMPORTANCE "importance" ImportanceArgs [CLOCK PARAMS ELEMENTARY FOLD LANE_SUMS] [Read Read Read Write];
    INCREMENTS "increments" IncrementsArgs [CLOCK TIME PARAMS ELEMENTARY PHILOX BROWNIAN PATH GRID EACH] [Read Read Write];
    INJECT "inject" InjectArgs [CLOCK GRID EACH EACH_NUMBER] [Read Read Read Write];
    LEARN "learn" LearnArgs [OUTCOME VERDICT LEARNT ELEMENTARY] [Read Write];
    LOCKSTEP_SOLVE "lockstep_solve" SolveArgs [CLOCK TIME CONTROLLER SHARED_LENGTHS ATTEMPTS ELEMENTARY SCALED_ERROR ACTIVATION
        LOCKSTEP INTERPOLANT WEIGHTS POINTS SHARED_POINTS ONE_INTERVAL LOOPS WHOLE FOLD LANE_SUMS]
        [Write Write Read Write Write Read Write Read];
    LATENT_BAR "latent_bar" LatentBarArgs [CLOCK OUTCOME PARAMS ELEMENTARY GRID EACH]
        [Read Read Read Read Read Read Write Read];
    LATENT_DRAW "latent_draw" LatentDrawArgs [ELEMENTARY GRID EACH] [Read Read Write Write];
    LOSS "loss" LossArgs [CLOCK ONE_INTERVAL OUTCOME ELEMENTARY GRID EACH] [Read Read Read Read Write Write Read] own [8];
    LOSS_SUM "loss_sum" LossSumArgs [CLOCK OUTCOME PARAMS ELEMENTARY FOLD LANE_SUMS] [Read Write Read Read Read];
    MOMENTS "moments" MomentsArgs [CLOCK OUTCOME GRID FOLD LANE_SUMS] [Read Read Read Write];
    NARROW "narrow" NarrowArgs [GRID EACH] [Read Write];
    NEXT_STEP "next_step" NextStepArgs [OUTCOME PARAMS LEARNT] [Read Write Write Write Read];
    POINT_PLACE "point_place" PointPlaceArgs [CLOCK ONE_INTERVAL PARAMS PHILOX GRID EACH]
        [Read Read Read Read Write Write] own [];
    POINT_VALUE "point_value" PointValueArgs [CLOCK ONE_INTERVAL OUTCOME PARAMS ELEMENTARY FOLD LANE_SUMS]
        [Read Read Read Read Write Write] own [7];
    PROBE_BAR "probe_bar" ProbeBarArgs [CLOCK ELEMENTARY SUM STAGES DIFFERENCES SCALED_ERROR GRID EACH EACH_NUMBER]
        [Read Read Read Read Read Write Write]
        plain [PLAIN_NORM PLAIN_PROBE] [] noisy [NOISY_PROBE] [];
    PROBE_CURSOR "probe_cursor" ProbeCursorArgs [CLOCK TIME CONTROLLER SHARED_LENGTHS ONE_INTERVAL ATTEMPTS ELEMENTARY OUTCOME
        PARAMS PHILOX GRID EACH] [Read Read Read Read Write Write Read] own [];
    PROBE_ERROR "probe_error" ProbeErrorArgs [CLOCK SUM INTEGRALS NOISY NOISY_NORM GRID EACH EACH_NUMBER] [Read Read Write]
        plain [] [7 Read] noisy [] [7 Read];
    PROBE_PLACE "probe_place" ProbePlaceArgs [CLOCK PARAMS GRID EACH EACH_NUMBER] [Read Read Read Read Read Write];
    PROBE_STEP "probe_step" ProbeStepArgs [CLOCK TIME CONTROLLER SHARED_LENGTHS ELEMENTARY FOLD LANE_SUMS] [Read Read Write Write];
    PROBE_STORE "probe_store" ProbeStoreArgs [CLOCK PARAMS GRID EACH] [Read Read Read Write];
    PROBE_VALUE "probe_value" ProbeValueArgs [CLOCK ONE_INTERVAL OUTCOME PARAMS ELEMENTARY FOLD LANE_SUMS]
        [Read Read Read Read Write Write] own [7];
    REDUCE "reduce" ReduceArgs [GRID EACH] [Read Write];
    REMAINING "remaining" NoArgs [CLOCK OUTCOME FOLD] [Read Write];
    ROW_NORM "row_norm" RowNormArgs [CLOCK ELEMENTARY SCALED_ERROR SUM STAGES DIFFERENCES ROW_SUMS GRID FOLD LANE_SUMS] [Read Read Read Write]
        plain [PLAIN_NORM] [] noisy [INTEGRALS NOISY NOISY_NORM] [7 Read];
    RUN "run" RunArgs [CLOCK TIME ONE_INTERVAL ELEMENTARY ACTIVATION IEEE FUNCTIONS WEIGHTS CONTROLS GRID EACH EACH_LANE]
        [Read Read Read Write Write Write Read] own [8];
    RUN_VJP "run_vjp" RunVjpArgs [CLOCK ELEMENTARY ACTIVATION IEEE FUNCTIONS WEIGHTS GRID EACH EACH_LANE]
        [Read Read Read Read Read Write Write Write];
    SAVE "save" SaveArgs [CLOCK TIME INTERPOLANT OUTCOME POINTS SHARED_POINTS ONE_INTERVAL LOOPS GRID EACH]
        [Read Read Read Read Write Write] own [];
    SECOND_BAR "second_bar" SecondBarArgs [CLOCK TIME GRID EACH EACH_NUMBER] [Read Read Write Write];
    SETTLE "settle" SettleArgs [CLOCK TIME ONE_INTERVAL ELEMENTARY GRID EACH] [Read Write Read] own [];
    STAGE_BAR "stage_bar" StageBarArgs [CLOCK TIME ONE_INTERVAL GRID EACH EACH_NUMBER] [Read Read Read Read Write]
        plain [INTERPOLANT POINTS SHARED_POINTS STATE_BARS PLAIN_BAR] [6 Read, 7 Read] noisy [INTEGRALS NOISY_BAR] [7 Read] own [];
    STEP_SUM "step_sum" NoArgs [OUTCOME ELEMENTARY FOLD LANE_SUMS] [Read Write];
    STEP_WEIGHTS "step_weights" StepWeightsArgs [CLOCK TIME ONE_INTERVAL OUTCOME PARAMS ELEMENTARY GRID EACH]
        [Read Read Read Read Write Write] own [7];
    TILE_ADJOINT "tile_adjoint" TileAdjointArgs [CLOCK TIME ELEMENTARY ACTIVATION INTERPOLANT POINTS SHARED_POINTS GRID PHILOX TILE]
        [Read Read Read Read Read Read Write Write]
        plain [PLAIN_TILE] [] noisy [BROWNIAN PATH INTEGRALS NOISY_TILE] [];
    TILE_CLOCK "tile_clock" TileClockArgs [CLOCK TIME CONTROLLER SHARED_LENGTHS ATTEMPTS ELEMENTARY LOCKSTEP GRID EACH]
        [Write Write Write Write Read];
    TILE_REDUCE "tile_reduce" TileReduceArgs [GRID EACH] [Read Write];
    TILE_SOLVE "tile_solve" TileSolveArgs [CLOCK TIME OUTCOME ELEMENTARY ACTIVATION INTERPOLANT POINTS SHARED_POINTS WEIGHTS LOOPS GRID PHILOX TILE]
        [Read Read Write Read Write Write]
        plain [PLAIN_TILE] [] noisy [BROWNIAN PATH INTEGRALS NOISY_TILE] [];
    TILE_WEIGHTS "tile_weights" TileWeightsArgs [WEIGHTS GRID EACH] [Read Write];
    UPDATE "update" UpdateArgs [OUTCOME VERDICT PARAMS ELEMENTARY FROZEN GRID EACH]
        [Write Read Read Write Write Write Write Read];
    WALK "walk" WalkArgs [CLOCK TIME OUTCOME GRID EACH] [Read Read Read Write];
    WALK_COUNTS "walk_counts" NoArgs [CLOCK OUTCOME ROW_WALK GRID EACH] [Read Read Read Write];
    WHOLE_ADJOINT "whole_adjoint" WholeAdjointArgs [CLOCK TIME ELEMENTARY ACTIVATION INTERPOLANT WEIGHTS POINTS SHARED_POINTS ONE_INTERVAL LOOPS
        ROW_WALK GRID FOLD LANE_SUMS] [Write Read Read Read Read Write Write Read] own [];
}

/// What the field's weights are stored as. They are computed with at `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Storage {
    #[default]
    Single,
    /// 16 bits.
    Half,
}

/// The constants that a problem prints before its kernels: what sizes arrays, and the method's tables.
pub(crate) fn prelude(tableau: &Tableau, storage: Storage) -> String {
    let mut text = String::from(match storage {
        Storage::Single => "alias Weight = f32;\n",
        Storage::Half => "enable f16;\nalias Weight = f16;\n",
    });
    let stages = tableau.stages();
    let rows = tableau.interpolant.iter().map(|p| {
        let p = p.map(literal);
        format!("    vec4<f32>({}),\n", p.join(", "))
    });
    let rows: String = rows.collect();
    // Writing to a string cannot fail.
    let _ = write!(text, "// {}\nconst STAGES = {stages}u;\n", tableau.name);
    // A path has no interpolant; the table is all zeros then.
    let _ = write!(text, "const INTERPOLANT = array<vec4<f32>, {stages}>(\n{rows});\n\n");
    text
}

/// The binding of the features' own absolute tolerances: after all others.
const ATOL_BINDING: u32 = MAX_STORAGE_BUFFERS + 1;

/// Features in a row of [`Kernels::atol`].
pub(crate) const ATOL_ROW: usize = 4;

/// What is printed before a kernel that measures errors: the one absolute tolerance, or that many rows of the features'
/// own.
pub(crate) fn absolute_tolerances(rows: Option<u64>) -> String {
    match rows {
        None => ONE_ATOL.source.to_owned(),
        Some(rows) => format!("const ATOL_ROWS = {rows}u;\n{}", ATOL_PER_FEATURE.source),
    }
}

/// An `f32` as WGSL reads it back to the same bits.
pub(crate) fn literal(x: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "the device computes at f32")]
    let x = x as f32;
    format!("{x:?}f")
}

impl Shader {
    /// Whether it measures errors in units of the tolerances.
    pub(crate) fn measures_errors(&self) -> bool {
        self.modules.iter().any(|m| m.name == SCALED_ERROR.name)
    }

    /// Whether there is one of it for trajectories that have times of their own.
    pub(crate) const fn knows_own_times(&self) -> bool {
        !self.own.is_empty()
    }

    /// Where that one binds the points, unless it does so anyway.
    fn own_points(&self) -> Option<u32> {
        self.own.first().and_then(|at| at.first()).copied()
    }

    /// What it has besides, with noise or without.
    const fn part(&self, variant: Variant) -> &Part {
        if matches!(variant, Variant::Noisy) { &self.noisy } else { &self.plain }
    }

    /// Its storage buffers by binding; those of the job and of tolerances are not among them.
    pub(crate) fn bindings(&self, variant: Variant) -> Vec<(u32, Access)> {
        let own = self.own_points().filter(|_| variant == Variant::OwnTimes).map(|at| (at, Access::Read));
        let part = self.part(variant).bindings.iter().copied();
        (1..).zip(self.bindings.iter().copied()).chain(part).chain(own).collect()
    }

    /// The shader's whole text.
    pub(crate) fn compose(&self, prelude: &str, variant: Variant) -> String {
        let own = variant == Variant::OwnTimes;
        let twin = |module: &Module| {
            let twin = OF_OWN_TIMES.iter().find(|(shared, _)| own && shared.name == module.name);
            twin.map_or(*module, |(_, twin)| *twin)
        };
        let modules = self.modules.iter().chain(self.part(variant).modules).map(twin);
        let modules: String = modules.map(|m| format!("// {}\n{}\n", m.name, m.source)).collect();
        let points = self.own_points().filter(|_| own).map_or_else(String::new, |at| {
            format!("@group(0) @binding({at}) var<storage, read> points: array<vec2<u32>>;\n")
        });
        format!("{prelude}{points}{modules}// {}\n{}", self.name, self.source)
    }

    fn layout(&self, gpu: &Gpu, variant: Variant, atol_per_feature: bool) -> wgpu::BindGroupLayout {
        let entry = |binding, ty, has_dynamic_offset| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
            count: None,
        };
        let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, true)];
        for (binding, access) in self.bindings(variant) {
            let read_only = access == Access::Read;
            entries.push(entry(binding, wgpu::BufferBindingType::Storage { read_only }, false));
        }
        if atol_per_feature {
            entries.push(entry(ATOL_BINDING, wgpu::BufferBindingType::Uniform, false));
        }
        gpu.device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(self.name), entries: &entries })
    }
}

/// The kernels of one problem. Those of one device are compiled once, whoever asks for them.
#[derive(Debug)]
pub(crate) struct Kernels {
    gpu: Gpu,
    prelude: String,
    /// Whether the method is a stochastic one.
    noisy: bool,
    /// Whether trajectories have times of their own.
    pub(crate) own_times: bool,
    /// The features' own absolute tolerances, if they have them: rows of four.
    atol: Option<wgpu::Buffer>,
}

impl Kernels {
    pub(crate) fn new(gpu: &Gpu, tableau: &Tableau, atol: Option<wgpu::Buffer>) -> Self {
        let prelude = prelude(tableau, Storage::Single);
        Self { gpu: gpu.clone(), prelude, noisy: tableau.noise.is_some(), own_times: false, atol }
    }

    /// The same for weights of that storage.
    pub(crate) fn store(&mut self, tableau: &Tableau, storage: Storage) {
        self.prelude = prelude(tableau, storage);
    }

    /// The kernel with its override constants, compiled the first time it is asked for.
    pub(crate) fn get<A>(&self, kernel: &'static Kernel<A>, constants: &[(&str, f64)]) -> Compiled<A> {
        self.printed(kernel, "", constants)
    }

    /// A matrix product's kernel for that grid, as of [`product_grid`]: four groups of invocations share a tile where
    /// there are too few tiles for a card. A processor that plays a card has nothing to keep busy.
    pub(crate) fn product<A>(&self, kernel: &'static Kernel<A>, grid: [u32; 3]) -> Compiled<A> {
        let few = grid.into_iter().map(u64::from).product::<u64>() <= FEW_TILES;
        let split = if few && !self.gpu.adapter().software { 4.0 } else { 1.0 };
        self.get(kernel, &[("SPLIT", split)])
    }

    /// As [`Kernels::get`], with functions that were printed for the problem.
    pub(crate) fn printed<A>(&self, kernel: &'static Kernel<A>, text: &str, constants: &[(&str, f64)]) -> Compiled<A> {
        let shader = &kernel.shader;
        let atol = self.atol.as_ref().filter(|_| shader.measures_errors());
        let mut prelude = self.prelude.clone();
        if shader.measures_errors() {
            prelude += &absolute_tolerances(atol.map(|rows| rows.size() / (4 * ATOL_ROW as u64)));
        }
        prelude += text;
        let variant = match (self.noisy, self.own_times && shader.knows_own_times()) {
            (true, _) => Variant::Noisy,
            (false, true) => Variant::OwnTimes,
            (false, false) => Variant::Plain,
        };
        let mut cache = self.gpu.cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // The prelude has the method's name, and so says whether there is noise.
        let key = (shader.name, prelude, format!("{constants:?} {variant:?}"));
        let entry = cache.entry(key);
        let compile = |key: &(_, String, _)| self.compile(shader, variant, &key.1, constants, atol.is_some());
        let compiled = entry.or_insert_with_key(compile).clone();
        let atol = atol.map(|rows| (ATOL_BINDING, rows.clone()));
        Compiled { name: shader.name, shader: compiled, atol, args: PhantomData }
    }

    fn compile(
        &self,
        shader: &Shader,
        variant: Variant,
        prelude: &str,
        constants: &[(&str, f64)],
        atol_per_feature: bool,
    ) -> CompiledShader {
        let gpu = &self.gpu;
        let text = shader.compose(prelude, variant);
        dump(shader.name, &text);
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(shader.name), source: wgpu::ShaderSource::Wgsl(text.into()) };
        let module = if gpu.runtime_checks() {
            gpu.device.create_shader_module(descriptor)
        } else {
            // SAFETY: every index is bounded by the job's sizes, for which the buffers were made, every loop counts, and no
            // divisor is zero. The tests run the same kernels with all checks on.
            unsafe { gpu.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
        };
        let layout = shader.layout(gpu, variant, atol_per_feature);
        let pipeline_layout = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(shader.name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(shader.name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants,
                // Every kernel writes its workgroup memory before it reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        let bindings = shader.bindings(variant).into_iter().map(|(binding, _)| binding).collect();
        CompiledShader { pipeline, layout, bindings }
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn dump(name: &str, text: &str) {
    if let Ok(folder) = std::env::var("GPU_DUMP") {
        // A dump is a help to the reader; a folder that cannot be written to stops nobody.
        if let Err(error) = std::fs::write(std::path::Path::new(&folder).join(format!("{name}.wgsl")), text) {
            log::warn!("GPU_DUMP={folder}: {error}");
        }
    }
}

#[cfg(target_arch = "wasm32")]
fn dump(_: &str, _: &str) {}

/// Tiles of a product up to which a card is not busy with one group of 64 invocations each.
const FEW_TILES: u64 = 1024;

/// Workgroups of a product of that many rows and columns, in tiles of 32 by 32: a row of them for a row of tiles, folded
/// where a dimension would be too long.
pub(crate) fn product_grid(rows: usize, columns: usize, parts: u32) -> [u32; 3] {
    let [x, y] = [columns.div_ceil(32), rows.div_ceil(32)];
    let longest = LONGEST as usize;
    let [x, y, _] = if x <= longest && y <= longest { [x, y, 1].map(word) } else { flat(x.saturating_mul(y)) };
    [x, y, parts]
}

#[cfg(test)]
mod tests {
    use super::super::adapter::gpu;
    use super::*;
    use crate::{Cpu, GpuSolver, Mlp, Problem, Solver, SolverOptions, StepControl, TimeInput};

    #[test]
    fn tiles_are_shared_on_a_card() {
        let Some(gpu) = gpu() else { return };
        // No size fills a tile, a slice of the depth, or four slices.
        let problem = Problem::ode(Mlp::new([37, 301, 37]).time_input(TimeInput::Every), 0.0, 1.0);
        let options = SolverOptions::default().step_control(StepControl::Fixed { steps: 2 });
        let theta = problem.field.initialize::<f32>(1);
        let numbers = |factor: usize| (0..65 * 37).map(move |i| (i * factor % 101) as f32 / 50.0 - 1.0);
        let (y0, ys_bar): (Vec<f32>, Vec<f32>) = (numbers(7).collect(), numbers(5).collect());
        let wide = |xs: &[f32]| xs.iter().copied().map(f64::from).collect::<Vec<_>>();
        let mut native = Solver::<f64>::new(&Cpu::new().expect("threads"), &problem, &options).expect("a solver");
        let truth = native.solve(&wide(&theta), &wide(&y0)).expect("a solution").ys;
        let slope = native.gradients(&wide(&ys_bar)).expect("a gradient");
        let apart = |found: &[f32], truth: &[f64]| {
            let largest = truth.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
            let differences = found.iter().zip(truth).map(|(x, y)| (f64::from(*x) - y).abs() / largest);
            differences.fold(0.0, f64::max)
        };
        let (mut states, plays) = (Vec::new(), gpu.adapter().software);
        for gpu in [gpu.clone(), gpu.into_card()] {
            let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a solver");
            let solution = gpu.block_on(solver.solve(&theta, &y0)).expect("a solution");
            let gradient = gpu.block_on(solver.gradients(&ys_bar)).expect("a gradient");
            let found =
                [apart(&solution.ys, &truth), apart(&gradient.theta, &slope.theta), apart(&gradient.y0, &slope.y0)];
            assert!(found.iter().all(|apart| *apart < 1e-5), "states, gradients: {found:?}");
            states.push(solution.ys);
        }
        // A card is one already.
        assert_eq!(states[0] != states[1], plays, "sums of four groups are added in another order");
    }

    #[test]
    fn grids_of_products_cover_them_and_are_short_enough() {
        let most = 32 * 65_535;
        for rows in [1usize, 32, 33, most, most + 1, 3 * most, 1 << 30] {
            for columns in [1usize, 33, 1000, most, most + 1] {
                let tiles = rows.div_ceil(32) * columns.div_ceil(32);
                if tiles > 65_535 * 65_535 {
                    continue; // More numbers than 32 bits address.
                }
                let [x, y, z] = product_grid(rows, columns, 7);
                assert!(x <= LONGEST && y <= LONGEST && z == 7, "{rows} x {columns}: {x} x {y} x {z}");
                assert!(x as usize * y as usize >= tiles, "{rows} x {columns}: {x} x {y} of {tiles} tiles");
            }
        }
        assert_eq!(product_grid(64, 33, 1), [2, 2, 1], "tiles where they lie, if they fit");
    }
}
