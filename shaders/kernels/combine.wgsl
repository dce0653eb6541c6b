// Combines a step's stages: as the next input of the field, drift or diffusion, as the step's end, or both.

struct CombineArgs {
    sum: Sum,
    stage: u32,         // Of a reversible method, which has two. 2 stands for anything else.
    target_: u32,       // Where the input goes.
    second: u32,        // Where the tape of second states begins.
}

alias Args = CombineArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> row_status: array<u32>;
@group(0) @binding(3) var<storage, read_write> tape: array<f32>;
@group(0) @binding(4) var<storage, read> k: array<f32>;
@group(0) @binding(5) var<storage, read_write> input: array<f32>;
@group(0) @binding(6) var<storage, read_write> derivative: array<f32>;

// What the sum is added to. A reversible method's two stages are those of a second state, which at the interval's start is
// the first one.
fn base(cursor: Cursor, i: u32, size: u32) -> f32 {
    let y = tape[cursor.origin * size + i];
    if !has(SECOND) || has(END) || job.args.stage > 1u {
        return y;
    }
    var z = y;
    if !ticks_equal(cursor.t, vec2<u32>()) {
        z = tape[job.args.second + cursor.origin * size + i];
    }
    return select(2.0 * y - z, z, job.args.stage == 0u);
}

fn each_number(i: u32, row: u32, cursor: Cursor) {
    let size = job.rows * job.dim;
    if wants_no_stage(cursor) {
        return;
    }
    var state = 0.0;
    if !has(KEEP) || takes_step(cursor, row_status[row]) {
        state = combined(base(cursor, i, size), i, size, cursor);
    }
    if has(END) {
        tape[cursor.target_ * size + i] = state;
    }
    if has(STATE) {
        if has(SECOND) && job.args.stage == 1u {
            tape[job.args.second + cursor.target_ * size + i] = state;
        }
        let at = job.args.target_ + i;
        if has(CUBE) {
            let square = state * state;
            input[at] = square * state;
            if has(KEEP) {
                derivative[at] = 3.0 * square;
            }
        } else {
            input[at] = state;
        }
    }
}
