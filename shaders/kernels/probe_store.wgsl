// Keeps the cotangent of a probe's state, or of a point's, until the walk comes by: among the saved states', or beside them.

struct ProbeStoreArgs {
    source: u32,            // Offsets, in elements.
    target_: u32,
}

alias Args = ProbeStoreArgs;

@group(0) @binding(1) var<storage, read> row_status: array<u32>;
@group(0) @binding(2) var<storage, read> bar: array<f32>;
@group(0) @binding(3) var<storage, read_write> stored: array<f32>;

const PUT = 0u;
const ADD = 1u;

fn each(i: u32) {
    if i < job.rows * job.dim {
        var sum = select(0.0, bar[job.args.source + i], has_states(row_status[i / job.dim]));
        if job.mode == ADD {
            sum += stored[job.args.target_ + i];
        }
        stored[job.args.target_ + i] = sum;
    }
}
