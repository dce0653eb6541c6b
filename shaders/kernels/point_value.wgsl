// The penalty of a measure at a random time, or at a stage of each step: the mean over trajectories that did not fail; and the
// cotangents of their measures. `cpu::regularize::pointwise` and `cpu::regularize::quadrature` on the device.

struct PointValueArgs {
    measure: u32,           // Its number.
    number: u32,            // That of the time: the first begins the sum.
    share: f32,             // 1 over the number of times, or the stage's weight in its step.
}

alias Args = PointValueArgs;

@group(0) @binding(1) var<storage, read> row_status: array<u32>;
@group(0) @binding(2) var<storage, read> params: Params;
@group(0) @binding(3) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(4) var<storage, read> measures: array<f32>;
@group(0) @binding(5) var<storage, read_write> bars: array<f32>;
@group(0) @binding(6) var<storage, read_write> outcome: Outcome;

const DRAWN = 0u;
const BEGIN = 1u;
const STAGE = 2u;

const WIDE = 256u;

// The sum over the living rows, and how many there are.
alias Summand = vec2<f32>;

// The stretch of time that a living row's measure stands for: the interval, or its step. A row at rest has none.
fn length_of(row: u32) -> f32 {
    if job.mode == DRAWN {
        return abs(interval_of(row).y);
    }
    let cursor = cursors[row * job.per_row];
    return select(0.0, abs(cursor.h) * row_unit(row), job.mode == STAGE && cursor.moving == MOVES);
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = vec2<f32>();
    for (var row = lane; row < job.rows; row += WIDE) {
        if is_alive(row_status[row]) {
            let length = length_of(row);
            sum += vec2<f32>(select(0.0, length * measures[row], length > 0.0), 1.0);
        }
    }
    let all = sum_of_lanes(lane, sum);
    let share = job.args.share / max(all.y, 1.0);
    if lane == 0u {
        let before = select(outcome.points[job.args.measure], 0.0, job.args.number == 0u);
        // A mean over no rows is NaN.
        outcome.points[job.args.measure] = nan_where(all.y == 0.0, before + share * all.x);
    }
    let bar = params.measures[job.args.measure] * share;
    for (var row = lane; row < job.rows; row += WIDE) {
        bars[row] = select(0.0, bar * length_of(row), is_alive(row_status[row]));
    }
}
