// Cotangents of a penalised step's measure: of its error, its start and its end, or of its last two stages.

struct ProbeBarArgs {
    sum: Sum,                       // Of the error, or of the difference of the last two slopes, and
    states: array<vec4<f32>, 3>,    // of their states, over h.
    error_slot: u32,                // Slot of the error's cotangent.
}

alias Args = ProbeBarArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> row_status: array<u32>;
@group(0) @binding(3) var<storage, read> tape: array<f32>;
@group(0) @binding(4) var<storage, read> k: array<f32>;
@group(0) @binding(5) var<storage, read> weights: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read_write> bar: array<f32>;
@group(0) @binding(7) var<storage, read_write> state_bars: array<f32>;

const ERROR = 0u;
const STIFFNESS = 1u;
const STEP_COUNT = 2u;

fn each_number(i: u32, row: u32, cursor: Cursor) {
    let size = job.rows * job.dim;
    // The error's or the slopes' cotangent goes to its slot, that of the start or of the slopes' states to the one after it.
    let first = job.args.error_slot * size + i;
    let second = first + size;
    if !takes_step(cursor, row_status[row]) {
        bar[i] = 0.0;
        state_bars[first] = 0.0;
        state_bars[second] = 0.0;
        return;
    }
    let weight = weights[row];
    if job.mode == STIFFNESS {
        bar[i] = 0.0;
        state_bars[first] = weight.x * stages_sum(i, size, cursor, false);
        state_bars[second] = weight.y * cursor.h * stages_sum(i, size, cursor, true);
        return;
    }
    let y = tape[cursor.origin * size + i];
    let y1 = tape[cursor.target_ * size + i];
    let bars = scaled_error_vjp(i % job.dim, penalised_error(i, size, cursor), y, y1, weight.x);
    state_bars[first] = bars.x;
    state_bars[second] = bars.y;
    bar[i] = bars.z;
}
