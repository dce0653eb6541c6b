// The cotangent of a stage, from those of the step's end and of all that the stage went into.

struct StageBarArgs {
    weights: array<vec4<f32>, 3>,   // Of the slots of `state_bars`: the stages' states, the error, and another state.
    end: vec4<f32>,                 // Of the step's end: of a slope, or of each of a diffusion's integrals; likewise
    error: vec4<f32>,               // of the error.
    drift_slots: u32,               // Slots of the drift's stages, and
    error_slot: u32,                // of all stages.
    drift_scale: u32,               // What a diffusion stage is multiplied by in the states of either network.
    diffusion_scale: u32,
    stage: u32,
    points: u32,
    user_points: u32,
    difference: f32,                // Of the difference of the last two stages.
}

alias Args = StageBarArgs;

const DRIFT = 0u;
const DIFFUSION = 1u;

// Which of a step's integrals a scale is; the root of the length is none of the four.
const SCALE_INCREMENT = 0u;
const SCALE_MEAN = 2u;
const SCALE_ROOT = 4u;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> row_status: array<u32>;
@group(0) @binding(3) var<storage, read> bar: array<f32>;
@group(0) @binding(4) var<storage, read> state_bars: array<f32>;
@group(0) @binding(5) var<storage, read_write> stage_bar: array<f32>;

fn each_number(i: u32, row: u32, cursor: Cursor) {
    let size = job.rows * job.dim;
    if cursor.moving == STILL {
        return;
    }
    if !takes_step(cursor, row_status[row]) {
        stage_bar[i] = 0.0;
        return;
    }
    stage_bar[i] = by_clock(row, stage_cotangent(i, size, cursor));
}
