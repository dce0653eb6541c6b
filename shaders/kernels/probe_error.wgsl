// The error of a penalised stochastic step, where its cotangent will be.

struct ProbeErrorArgs {
    sum: Sum,
    target_: u32,           // Where it goes, in elements.
}

alias Args = ProbeErrorArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read_write> state_bars: array<f32>;

fn each_number(i: u32, row: u32, cursor: Cursor) {
    let size = job.rows * job.dim;
    if cursor.moving == MOVES {
        state_bars[job.args.target_ + i] = step_error(i, size, cursor);
    }
}
