// The penalty of all accepted steps: the batch's in lockstep, otherwise the trajectories' mean; NaN where none is left.

// Nothing besides.
struct NoArgs {
    none: u32,
}

alias Args = NoArgs;

@group(0) @binding(1) var<storage, read> measures: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> outcome: Outcome;

const WIDE = 256u;

alias Summand = f32;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    let count = select(1u, job.rows, job.per_row == 1u);
    for (var c = lane; c < count; c += WIDE) {
        sum += measures[c].x;
    }
    let all = sum_of_lanes(lane, sum);
    if lane == 0u {
        outcome.global = nan_where(outcome.moved == 0u, all);
    }
}
