// The cotangent of an accepted step's error on the walk back, and what it adds to those of the step's start and end.

struct ErrorBarArgs {
    sum: Sum,                       // Of the error.
    error_slot: u32,                // Slot of the error's cotangent.
    steps: u32,                     // Steps that the table has room for: the weights of their errors come after them.
}

alias Args = ErrorBarArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> row_status: array<u32>;
@group(0) @binding(3) var<storage, read> tape: array<f32>;
@group(0) @binding(4) var<storage, read> k: array<f32>;
@group(0) @binding(5) var<storage, read> steps: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read_write> bar: array<f32>;
@group(0) @binding(7) var<storage, read_write> state_bars: array<f32>;

fn each_number(i: u32, row: u32, cursor: Cursor) {
    let size = job.rows * job.dim;
    // The error's cotangent goes to its slot, that of the start to the one after it.
    let first = job.args.error_slot * size + i;
    let second = first + size;
    if !takes_step(cursor, row_status[row]) {
        state_bars[first] = 0.0;
        state_bars[second] = 0.0;
        return;
    }
    let entry = steps[(job.args.steps + cursor.step) * clock_count() + row * job.per_row];
    let y = tape[cursor.origin * size + i];
    let y1 = tape[cursor.target_ * size + i];
    let error = penalised_error(i, size, cursor);
    let bars = scaled_error_vjp(i % job.dim, error, y, y1, bitcast<f32>(entry.z));
    state_bars[first] = bars.x;
    state_bars[second] = bars.y;
    bar[i] += bars.z;
}
