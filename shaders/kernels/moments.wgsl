// Mean and variance over the solved rows of each output at each time, a workgroup for each of them. Where fewer than two
// were solved, nobody reads them.

struct MomentsArgs {
    points: u32,
    outputs: u32,
}

alias Args = MomentsArgs;

@group(0) @binding(1) var<storage, read> row_status: array<u32>;
@group(0) @binding(2) var<storage, read> outputs: array<f32>;
@group(0) @binding(3) var<storage, read> outcome: Outcome;
@group(0) @binding(4) var<storage, read_write> moments: array<vec2<f32>>;

const WIDE = GROUP;

alias Summand = f32;

// The sum over the solved rows of the distances from `mean`, to the given power.
fn total(lane: u32, first: u32, mean: f32, squared: bool) -> f32 {
    var sum = 0.0;
    for (var row = lane; row < job.rows; row += GROUP) {
        if row_status[row] == DONE {
            let d = outputs[first + row * job.args.outputs] - mean;
            sum += select(d, d * d, squared);
        }
    }
    workgroupBarrier();
    return sum_of_lanes(lane, sum);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups);
    let count = job.args.points * job.args.outputs;
    // Groups beyond the last one take part for the sake of the barriers.
    let at = min(i, count - 1u);
    let first = at / job.args.outputs * job.rows * job.args.outputs + at % job.args.outputs;
    let paths = f32(outcome.solved);
    let mean = total(lane, first, 0.0, false) / paths;
    let variance = total(lane, first, mean, true) / (paths - 1.0);
    if lane == 0u && i < count {
        moments[i] = vec2<f32>(mean, variance);
    }
}
