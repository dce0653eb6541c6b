// Adds the cotangents of biased probes' states, or second states, where the walk passes the steps they start.

struct InjectArgs {
    probes: u32,            // On the first rows.
    source: u32,            // Offsets, in elements.
    target_: u32,
}

alias Args = InjectArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> starts: array<u32>;
@group(0) @binding(3) var<storage, read> stored: array<f32>;
@group(0) @binding(4) var<storage, read_write> bar: array<f32>;

fn each_number(i: u32, row: u32, cursor: Cursor) {
    if cursor.moving != MOVES {
        return;
    }
    for (var n = 0u; n < job.args.probes; n++) {
        if starts[n * clock_count() + row * job.per_row] == cursor.step {
            bar[job.args.target_ + i] += stored[job.args.source + n * job.rows * job.dim + i];
        }
    }
}
