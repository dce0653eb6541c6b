//! Arguments: what the kernels are told besides, a struct each. Their members are explained in the kernel's file, which
//! declares the same struct under the same name.

use super::head::ROOM;
use super::twins;

/// A kernel's arguments.
pub(crate) trait Args: bytemuck::Pod {
    /// Whether they begin with what the controller knows.
    const CONTROLLED: bool;
    #[cfg(test)]
    const NAME: &'static str;
}

/// Parts of several kernels' arguments.
pub(crate) mod parts {
    use super::super::twins;

    twins! {
        /// What the controller knows: `shaders/lib/controller.wgsl`.
        Controller {
            beta: [f32; 4],
            log_safety: f32,
            log_floor: f32,
            min_factor: f32,
            max_factor: f32,
            smallest_share: f32,
            log_initial_error: f32,
            first_length: f32,
            longest: f32,
            first_factor: f32,
            alpha: f32,
            finish: f32,
            blank: f32,
            error_power: f32,
            initial_power: f32,
            max_steps: u32,
            tape_steps: u32,
            fixed_steps: u32,
            stride: u32,
            first_stop: u32,
            stops: u32,
        }
        /// Weights of a step's stages: `shaders/lib/sum.wgsl`.
        Sum {
            drift: [f32; 12],
            noise: [[f32; 4]; 5],
            drift_count: u32,
            noise_count: u32,
            diffusion: u32,
            pad: u32,
        }
    }
}

use parts::{Controller, Sum};

/// Whether the first member is `control`.
const fn begins_with_control(members: &[&str]) -> bool {
    matches!(members[0].as_bytes(), b"control")
}

macro_rules! arguments {
    ($($name:ident { $($member:ident: $type:ty,)* })*) => {
        twins! { $($name { $($member: $type,)* })* }

        $(impl Args for $name {
            const CONTROLLED: bool = begins_with_control(&[$(stringify!($member)),*]);
            #[cfg(test)]
            const NAME: &'static str = stringify!($name);
        }

        const _: () = assert!(size_of::<$name>() <= ROOM, "there is room for them in a job");)*
    };
}

arguments! {
    NoArgs { none: u32, }
    BarUpdateArgs { weights: [f32; 12], slots: u32, points: u32, user_points: u32, every_step: u32, }
    ColumnsArgs { source: u32, source_stride: u32, target: u32, target_stride: u32, count: u32, }
    CombineArgs { sum: Sum, stage: u32, target: u32, second: u32, }
    ControlArgs { control: Controller, }
    CopyArgs { count: u32, }
    DenseArgs {
        inputs: u32,
        outputs: u32,
        theta: u32,
        source: u32,
        target: u32,
        derivative: u32,
        activation: u32,
        stage: u32,
        node: f32,
        part_depth: u32,
    }
    DenseStageArgs {
        sum: Sum,
        inputs: u32,
        outputs: u32,
        theta: u32,
        source: u32,
        target: u32,
        activation: u32,
        stage: u32,
        node: f32,
        part_depth: u32,
    }
    DenseVjpInputArgs {
        inputs: u32,
        outputs: u32,
        theta: u32,
        source: u32,
        target: u32,
        derivative: u32,
        part_depth: u32,
    }
    DenseVjpStageArgs {
        weights: [f32; 12],
        end: f32,
        error_slot: u32,
        difference: f32,
        inputs: u32,
        outputs: u32,
        theta: u32,
        source: u32,
        target: u32,
        part_depth: u32,
    }
    DenseVjpWeightsArgs {
        inputs: u32,
        outputs: u32,
        theta: u32,
        source: u32,
        z_bar: u32,
        parameters: u32,
        part_depth: u32,
        node: f32,
    }
    ErrorBarArgs { sum: Sum, error_slot: u32, steps: u32, }
    FinishArgs { safety: f32, saved: u32, drawn: u32, penalised: u32, carries: u32, }
    GatherArgs { held: u32, times: u32, width: u32, first: u32, }
    GradientNormArgs { parameters: u32, least: u32, abort: u32, alone: u32, whole: u32, freezes: u32, }
    ImportanceArgs { copies: u32, }
    IncrementsArgs { number: u32, channels: u32, }
    InjectArgs { probes: u32, source: u32, target: u32, }
    LearnArgs {
        learns: u32,
        target: f32,
        rate: f32,
        lowest: f32,
        highest: f32,
        coefficient: f32,
        stages: f32,
    }
    LatentBarArgs { factor: f32, least: u32, importance: u32, }
    LatentDrawArgs { start: u32, factor: f32, importance: u32, }
    LossArgs {
        points: u32,
        outputs: u32,
        least: u32,
        first: u32,
        count: u32,
        features: u32,
        weighed: u32,
        sums: u32,
        counts: u32,
        numbers: f32,
        factor: f32,
        offset: f32,
    }
    LossSumArgs { least: u32, drawn: u32, weighted: u32, }
    MomentsArgs { points: u32, outputs: u32, }
    NarrowArgs { parameters: u32, }
    NextStepArgs {
        entries: u32,
        first_draw: u32,
        draws: u32,
        paths: u32,
        learns: u32,
        follows: u32,
        start: f32,
    }
    PointPlaceArgs { batch: u32, first: u32, draw: u32, start: u32, end: u32, placed: u32, }
    PointValueArgs { measure: u32, number: u32, share: f32, }
    ProbeBarArgs { sum: Sum, states: [f32; 12], error_slot: u32, }
    ProbeCursorArgs { control: Controller, probe: u32, probes: u32, taken: u32, batch: u32, follows: u32, }
    ProbeErrorArgs { sum: Sum, target: u32, }
    ProbePlaceArgs { batch: u32, first: u32, draw: u32, stride: u32, second: u32, probe_second: u32, }
    ProbeStepArgs { control: Controller, follows: u32, }
    ProbeStoreArgs { source: u32, target: u32, draw: u32, slot: u32, }
    ProbeValueArgs { stability: f32, share: f32, error_power: f32, }
    ReduceArgs { parts: u32, parameters: u32, }
    RowNormArgs { sum: Sum, states: [f32; 12], }
    RunArgs { own0: u32, own1: u32, result: u32, theta: u32, stage: u32, node: f32, }
    RunVjpArgs { kept0: u32, kept1: u32, result: u32, theta: u32, trajectories: u32, }
    SaveArgs { points: u32, user_points: u32, shares: u32, }
    SecondBarArgs { second: u32, }
    SettleArgs { points: u32, missing: f32, first: u32, }
    SolveArgs {
        control: Controller,
        points: u32,
        user_points: u32,
        path: u32,
        turns: u32,
        hidden: u32,
        noise_hidden: u32,
    }
    StageBarArgs {
        weights: [f32; 12],
        end: [f32; 4],
        error: [f32; 4],
        drift_slots: u32,
        error_slot: u32,
        drift_scale: u32,
        diffusion_scale: u32,
        stage: u32,
        points: u32,
        user_points: u32,
        difference: f32,
    }
    StepWeightsArgs { steps: u32, error_power: f32, aggregate: u32, }
    TileAdjointArgs {
        points: u32,
        user_points: u32,
        every_step: u32,
        path: u32,
        turns: u32,
        fixed_steps: u32,
        turned: u32,
        once: u32,
    }
    TileClockArgs { control: Controller, turns: u32, }
    TileReduceArgs { tiles: u32, first: u32, count: u32, }
    TileSolveArgs {
        points: u32,
        user_points: u32,
        path: u32,
        turns: u32,
        fixed_steps: u32,
        most_steps: u32,
        stride: u32,
        once: u32,
    }
    TileWeightsArgs { inputs: u32, outputs: u32, theta: u32, count: u32, turned: u32, }
    UpdateArgs {
        beta: [f32; 4],
        epsilon: f32,
        bound: f32,
        clip: u32,
        update: u32,
        abort: u32,
        parameters: u32,
        freezes: u32,
    }
    WalkArgs { stride: u32, position: u32, segment: u32, }
    WholeAdjointArgs {
        points: u32,
        user_points: u32,
        path: u32,
        steps: u32,
        bar_slot: u32,
        hidden: u32,
        noise_hidden: u32,
        parameters: u32,
    }
}
