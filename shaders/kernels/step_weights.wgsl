// What the errors of a solve's accepted steps make together, and what each of them has in it: `cpu::regularize::global` on
// the device. An invocation a clock.

struct StepWeightsArgs {
    steps: u32,             // Steps that the table has room for: what is known of their errors comes after them.
    error_power: f32,       // 1 over the method's.
    aggregate: u32,
}

alias Args = StepWeightsArgs;

@group(0) @binding(1) var<storage, read> clocks: array<Clock>;
@group(0) @binding(2) var<storage, read> row_status: array<u32>;
@group(0) @binding(3) var<storage, read> outcome: Outcome;
@group(0) @binding(4) var<storage, read> params: Params;
@group(0) @binding(5) var<storage, read_write> steps: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read_write> measures: array<vec2<f32>>;

const ERROR = 0u;
const STIFFNESS = 1u;
const STEP_COUNT = 2u;

const SUM = 0u;
const AVERAGE = 1u;
const PUBLISHED_AVERAGE = 2u;
const LARGEST = 3u;

// A step's measure, and its derivative by the norm of its error.
fn measured(error: f32, h: f32) -> vec2<f32> {
    if job.mode == STEP_COUNT {
        if error == 0.0 {
            return vec2<f32>();
        }
        let count = own_exp2(own_log2(error) * job.args.error_power);
        return vec2<f32>(count, job.args.error_power * count / error);
    }
    return vec2<f32>(error * abs(h), abs(h));
}

fn measure_of(step: u32, c: u32) -> vec2<f32> {
    let at = step * clock_count() + c;
    let error = bitcast<f32>(steps[job.args.steps * clock_count() + at].x);
    let h = ticks_to_share(steps[at].zw) * job.span;
    // In lockstep it is a share of rows' own intervals.
    return measured(error, h * select(1.0, row_unit(c), job.per_row == 1u));
}

fn each(c: u32) {
    if c >= clock_count() {
        return;
    }
    let count = clocks[c].accepted;
    var sum = 0.0;
    var largest = 0.0;
    var which = count;
    for (var step = 0u; step < count; step++) {
        let measure = measure_of(step, c).x;
        sum += measure;
        // The first of equal ones.
        which = select(which, step, measure > largest || (step == 0u && measure == largest));
        largest = max(largest, measure);
    }
    let mean = job.args.aggregate == AVERAGE || job.args.aggregate == PUBLISHED_AVERAGE;
    let over = select(1.0, max(f32(count) + select(0.0, 1.0, job.args.aggregate == PUBLISHED_AVERAGE), 1.0), mean);
    // In an ensemble the trajectories' own values are averaged.
    let rows = select(1.0, f32(outcome.moved), job.per_row == 1u);
    let value = select(sum / over, largest, job.args.aggregate == LARGEST);
    let counts = job.per_row == 0u || is_alive(row_status[c]);
    measures[c] = select(vec2<f32>(), vec2<f32>(value / rows, 0.0), counts);
    for (var step = 0u; step < count; step++) {
        let at = (job.args.steps + step) * clock_count() + c;
        let entry = steps[at];
        let error = bitcast<f32>(entry.x);
        let share = select(1.0 / over, select(0.0, 1.0, step == which), job.args.aggregate == LARGEST);
        // dE/de is proportional to 1/E; where E is zero there is nothing left to reduce.
        let weight = params.global * share * measure_of(step, c).y / (rows * bitcast<f32>(entry.y) * error);
        steps[at] = vec4<u32>(entry.xy, bitcast<u32>(select(0.0, weight, error > 0.0)), 0u);
    }
}
