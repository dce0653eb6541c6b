// Keeps the cotangent of a probe's state, or of a point's, until the walk comes by: among the saved states', or beside them.

struct ProbeStoreArgs {
    source: u32,            // Offsets, in elements.
    target_: u32,
    draw: u32,              // Which random time it belongs to, and
    slot: u32,              // elements of a saved state: 0 where it is kept elsewhere.
}

alias Args = ProbeStoreArgs;

@group(0) @binding(1) var<storage, read> row_status: array<u32>;
@group(0) @binding(2) var<storage, read> params: Params;
@group(0) @binding(3) var<storage, read> bar: array<f32>;
@group(0) @binding(4) var<storage, read_write> stored: array<f32>;

const PUT = 0u;
const ADD = 1u;

fn each(i: u32) {
    if i < job.rows * job.dim {
        let to = job.args.target_ + params.order[job.args.draw] * job.args.slot + i;
        var sum = select(0.0, bar[job.args.source + i], has_states(row_status[i / job.dim]));
        if job.mode == ADD {
            sum += stored[to];
        }
        stored[to] = sum;
    }
}
