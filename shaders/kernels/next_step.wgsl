// Takes the training step's parameters from the schedule, and puts its probes among the save points, its paths after
// them.

@group(0) @binding(1) var<storage, read> schedule: array<Params>;
@group(0) @binding(2) var<storage, read_write> outcome: Outcome;
@group(0) @binding(3) var<storage, read_write> params: Params;
@group(0) @binding(4) var<storage, read_write> points: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read> learnt: LearntState;

@compute @workgroup_size(1)
fn main() {
    let first = schedule[0].step.x;
    let entry = min(outcome.steps - first, job.u.x - 1u);
    params = schedule[entry];
    // Skipped steps are no updates, so the two may be at different entries.
    let update = min(outcome.updates - schedule[0].update, job.u.x - 1u);
    params.update = schedule[update].update;
    params.rates = schedule[update].rates;
    // u.w: what is learnt.
    if (job.u.w & IDEAL_STEPS) != 0u && (learnt.known & IDEAL_STEPS) != 0u {
        // As long as the interval where there is nothing to measure.
        params.share = select(1.0, min(PROBE / learnt.ideal, 1.0), learnt.ideal > 0.0);
    }
    if (job.u.w & COSTS) != 0u && learnt.steps > 0u {
        params.coefficient = learnt.coefficient;
    }
    outcome.coefficient = params.coefficient;
    outcome.unreachable = learnt.unreachable;
    // u.y: the first probe's point, u.z: how many there are.
    for (var n = 0u; n < job.u.z; n++) {
        points[job.u.y + n] = schedule[entry].draws[n];
    }
    points[job.u.y + job.u.z] = params.paths.xy;
    points[job.u.y + job.u.z + 1u] = params.paths.zw;
}
