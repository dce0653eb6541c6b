// The cotangent of a reversible method's second state: z+ = 2 y - z + what the first stages add.

struct SecondBarArgs {
    second: u32,            // Where the second state's cotangent is, in elements.
}

alias Args = SecondBarArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> row_status: array<u32>;
@group(0) @binding(3) var<storage, read_write> state_bars: array<f32>;
@group(0) @binding(4) var<storage, read_write> bar: array<f32>;

const CLEAR = 0u;
const STEP = 1u;
// The step starts with both states the same.
const FIRST_STEP = 2u;

fn each_number(i: u32, row: u32, cursor: Cursor) {
    let size = job.rows * job.dim;
    // The first slots are those of two stages' states of the drift, and two of the diffusion.
    let at = job.args.second + i;
    if job.mode == CLEAR {
        state_bars[at] = 0.0;
        return;
    }
    if !takes_step(cursor, row_status[row]) {
        return;
    }
    let end = state_bars[at] + state_bars[size + i] + state_bars[3u * size + i];
    let start = state_bars[i] + state_bars[2u * size + i] - end;
    state_bars[at] = start;
    bar[i] += 2.0 * end;
    // At the interval's start both states are one.
    if job.mode == FIRST_STEP || ticks_equal(cursor.t, vec2<u32>()) {
        bar[i] += start;
    }
}
