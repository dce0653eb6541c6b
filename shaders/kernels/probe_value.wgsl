// The measure of a penalised step, and the weights that its norms have in the gradient: `cpu::penalty` on the device.

struct ProbeValueArgs {
    stability: f32,         // The stability region's size.
    share: f32,             // 1 over the number of probes.
    error_power: f32,       // 1 over the method's.
}

alias Args = ProbeValueArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> row_status: array<u32>;
@group(0) @binding(3) var<storage, read> norms: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> params: Params;
@group(0) @binding(5) var<storage, read_write> weights: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read_write> outcome: Outcome;

const WIDE = 256u;

const ERROR = 0u;
const STIFFNESS = 1u;
const STEP_COUNT = 2u;

// Keeps the stiffness measure finite when two stage states coincide.
const STIFFNESS_EPSILON = 1e-12;

// Sums over the living rows, and how many there are.
alias Summand = vec3<f32>;

var<workgroup> sh_weight: vec2<f32>;

struct Measured {
    value: f32,
    slopes: vec2<f32>,
}

// R, and its derivatives with respect to the two norms it is made of, for a step of signed length `h` by a clock of which 1 are
// `unit` of time.
fn measured(norm: vec2<f32>, h: f32, unit: f32) -> Measured {
    let length = abs(h);
    if job.mode == ERROR {
        let time = length * unit;
        return Measured(norm.x * time, vec2<f32>(time, 0.0));
    }
    if job.mode == STIFFNESS {
        let below = norm.y + STIFFNESS_EPSILON;
        let ratio = norm.x / below / job.args.stability;
        return Measured(ratio, vec2<f32>(1.0 / below / job.args.stability, -ratio / below));
    }
    if length == 0.0 || norm.x == 0.0 {
        return Measured(0.0, vec2<f32>());
    }
    let count = abs(job.span) * own_exp2(own_log2(norm.x) * job.args.error_power) / length;
    return Measured(select(norm.x, count, is_finite(norm.x)), vec2<f32>(job.args.error_power * count / norm.x, 0.0));
}

// Squares of slopes, or what these weigh, from those by a row's clock to those in its own time.
fn in_time(row: u32, squares: vec2<f32>) -> vec2<f32> {
    if job.mode != STIFFNESS {
        return squares;
    }
    let unit = row_unit(row);
    return vec2<f32>(squares.x / unit / unit, squares.y);
}

// dE/de is proportional to 1/E; where E is zero there is nothing left to reduce.
fn weights_of(m: Measured, norm: vec2<f32>, share: f32, count: f32) -> vec2<f32> {
    let scale = params.coefficient * job.args.share * share;
    let first = select(0.0, scale * m.slopes.x / (count * norm.x), norm.x > 0.0);
    return vec2<f32>(first, select(0.0, scale * m.slopes.y / (count * norm.y), norm.y > 0.0));
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    let features = f32(job.dim);
    // In an ensemble the rows' own values are averaged over all that count.
    let share = 1.0 / f32(outcome.penalised);
    var sum = vec3<f32>();
    for (var row = lane; row < job.rows; row += WIDE) {
        let cursor = cursors[row * job.per_row];
        if !takes_step(cursor, row_status[row]) {
            weights[row] = vec2<f32>();
            continue;
        }
        if job.per_row == 1u {
            let norm = sqrt(in_time(row, norms[row]) / features);
            let m = measured(norm, cursor.h, row_unit(row));
            weights[row] = in_time(row, weights_of(m, norm, share, features));
            sum += vec3<f32>(share * m.value, 0.0, 1.0);
        } else {
            sum += vec3<f32>(in_time(row, norms[row]), 1.0);
        }
    }
    let all = sum_of_lanes(lane, sum);
    if lane == 0u {
        var value = all.x;
        if job.per_row == 0u {
            let count = all.z * features;
            let norm = sqrt(all.xy / count);
            let m = measured(norm, cursors[0].h, 1.0);
            sh_weight = weights_of(m, norm, 1.0, count);
            value = m.value;
        }
        // A mean over no rows is NaN; they have no weights then.
        outcome.penalty = nan_where(outcome.penalised == 0u, outcome.penalty + job.args.share * value);
    }
    workgroupBarrier();
    if job.per_row == 0u {
        for (var row = lane; row < job.rows; row += WIDE) {
            if takes_step(cursors[0], row_status[row]) {
                // What a row adds nothing to has no gradient of it.
                weights[row] = select(vec2<f32>(), in_time(row, sh_weight), norms[row] > vec2<f32>());
            }
        }
    }
}
