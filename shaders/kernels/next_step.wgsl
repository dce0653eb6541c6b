// Takes the training step's parameters from the schedule, and puts its random times among the save points, its paths after
// them.

struct NextStepArgs {
    entries: u32,           // Of the schedule.
    first_draw: u32,        // The point of the first random time, and
    draws: u32,             // how many there are.
    paths: u32,             // Where its paths are said, behind all points.
    learns: u32,            // Bits: what is learnt.
    follows: u32,           // Bits: whose coefficients follow a budget, and
    start: f32,             // what the first of them begins with.
}

alias Args = NextStepArgs;

@group(0) @binding(1) var<storage, read> schedule: array<Params>;
@group(0) @binding(2) var<storage, read_write> outcome: Outcome;
@group(0) @binding(3) var<storage, read_write> params: Params;
@group(0) @binding(4) var<storage, read_write> points: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read> learnt: LearntState;

// Whose coefficients follow a budget: penalised steps', that of all accepted steps, and from here on the measures'.
const OF_STEPS = 1u;
const OF_ALL_STEPS = 2u;
const OF_MEASURES = 4u;

// Where the budget has moved a coefficient that began with `own`: they keep their ratio.
fn followed(bit: u32, own: f32) -> f32 {
    let moved = select(learnt.coefficient * (own / job.args.start), learnt.coefficient, own == job.args.start);
    return select(own, moved, (job.args.follows & bit) != 0u && learnt.steps > 0u);
}

@compute @workgroup_size(1)
fn main() {
    let first = schedule[0].step.x;
    let entry = min(outcome.steps - first, job.args.entries - 1u);
    params = schedule[entry];
    // Skipped steps are no updates, so the two may be at different entries.
    let update = min(outcome.updates - schedule[0].update, job.args.entries - 1u);
    params.update = schedule[update].update;
    params.rates = schedule[update].rates;
    if (job.args.learns & IDEAL_STEPS) != 0u && (learnt.known & IDEAL_STEPS) != 0u {
        // As long as the interval where there is nothing to measure.
        params.share = select(1.0, min(PROBE / learnt.ideal, 1.0), learnt.ideal > 0.0);
    }
    params.coefficient = followed(OF_STEPS, params.coefficient);
    params.global = followed(OF_ALL_STEPS, params.global);
    for (var n = 0u; n < 7u; n++) {
        params.measures[n] = followed(OF_MEASURES << n, params.measures[n]);
    }
    outcome.coefficient = select(job.args.start, learnt.coefficient, learnt.steps > 0u);
    outcome.unreachable = learnt.unreachable;
    for (var n = 0u; n < job.args.draws; n++) {
        points[job.args.first_draw + n] = schedule[entry].times[n];
    }
    points[job.args.paths] = params.paths.xy;
    points[job.args.paths + 1u] = params.paths.zw;
}
