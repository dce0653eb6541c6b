// A row's share of the loss and its gradient with respect to the row's outputs: `train::Loss` on the device. Many points
// come in parts.

struct LossArgs {
    points: u32,
    outputs: u32,
    least: u32,             // Solved rows that the loss takes at least.
    first: u32,             // The first point of this part, and
    count: u32,             // how many it has.
    features: u32,          // Of a flow: numbers in a point. Its log-density is the next one.
    weighed: u32,           // Whether each number's share of its row's loss follows the states in `targets`.
    sums: u32,              // Whether a row's loss is a sum: what its shares are shares of follows them.
    counts: u32,            // What a row's loss counts in the batch's.
    numbers: f32,           // Of how many numbers without a share a row's loss is the mean.
    factor: f32,            // The loss of a difference d is factor d^2 + offset, if not |d|.
    offset: f32,
}

alias Args = LossArgs;

@group(0) @binding(1) var<storage, read> row_status: array<u32>;
@group(0) @binding(2) var<storage, read> outputs: array<f32>;
@group(0) @binding(3) var<storage, read> targets: array<f32>;
@group(0) @binding(4) var<storage, read> outcome: Outcome;
@group(0) @binding(5) var<storage, read_write> outputs_bar: array<f32>;
@group(0) @binding(6) var<storage, read_write> row_losses: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read> moments: array<vec2<f32>>;

const CROSS_ENTROPY = 0u;
const MSE = 1u;
const MAE = 2u;
const MOMENTS = 3u;
const SURPRISE = 4u;

// As much as any other row's that was solved; 1, to know it by itself; or what was found after that.
const EQUAL = 0u;
const ALONE = 1u;
const OWN = 2u;

const LN_2 = 0.6931471805599453;

// Half the logarithm of a full turn: what a feature has of a standard normal density's.
const LN_NORMAL = 0.9189385332046727;

// What the parts before this one have come to: the loss, and whether the label's output was the largest.
fn part_before(row: u32) -> vec2<f32> {
    if job.args.first == 0u {
        return vec2<f32>();
    }
    return row_losses[row];
}

// What the loss of each number counts in the batch's, where a row's is a mean of so many.
fn scale_of(row: u32, numbers: f32) -> f32 {
    if job.args.counts == EQUAL {
        return 1.0 / (f32(outcome.solved) * numbers);
    }
    var share = 1.0;
    if job.args.counts == OWN {
        share = row_losses[job.rows + row].x;
    }
    return share / numbers;
}

// -log softmax(output)[label] of the row's last point, and whether the label's output is the largest.
fn cross_entropy(row: u32, counts: bool) -> vec2<f32> {
    let scale = scale_of(row, 1.0);
    let size = job.rows * job.args.outputs;
    let end = job.args.first + job.args.count;
    let last = slots_of(row, job.args.points) - 1u;
    for (var point = job.args.first; point < end; point++) {
        for (var o = 0u; o < job.args.outputs; o++) {
            outputs_bar[point * size + row * job.args.outputs + o] = 0.0;
        }
    }
    if last < job.args.first || last >= end {
        return part_before(row);
    }
    let base = last * size + row * job.args.outputs;
    if !counts {
        for (var o = 0u; o < job.args.outputs; o++) {
            outputs_bar[base + o] = 0.0;
        }
        return vec2<f32>();
    }
    // Labels of an application come as they are.
    let label = min(bitcast<u32>(targets[row]), job.args.outputs - 1u);
    var best = 0u;
    for (var o = 1u; o < job.args.outputs; o++) {
        best = select(best, o, outputs[base + o] > outputs[base + best]);
    }
    let largest = outputs[base + best];
    var sum = 0.0;
    for (var o = 0u; o < job.args.outputs; o++) {
        sum += own_exp(outputs[base + o] - largest);
    }
    for (var o = 0u; o < job.args.outputs; o++) {
        let softmax = own_exp(outputs[base + o] - largest) / sum;
        outputs_bar[base + o] = scale * (softmax - select(0.0, 1.0, o == label));
    }
    let loss = scale * (own_log2(sum) * LN_2 + largest - outputs[base + label]);
    return vec2<f32>(loss, select(0.0, 1.0, best == label));
}

fn difference(row: u32, counts: bool) -> vec2<f32> {
    let weighed = job.args.weighed != 0u;
    let size = job.rows * job.args.outputs;
    var scale = scale_of(row, job.args.numbers);
    if weighed && job.args.sums != 0u {
        scale *= targets[2u * job.args.points * size + row];
    }
    var loss = part_before(row).x;
    for (var point = job.args.first; point < job.args.first + job.args.count; point++) {
        let at = point * size + row * job.args.outputs;
        for (var o = 0u; o < job.args.outputs; o++) {
            var share = 1.0;
            if weighed {
                share = targets[job.args.points * size + at + o];
            }
            var slope = 0.0;
            // What has no share may be anything.
            if counts && share > 0.0 {
                let d = outputs[at + o] - targets[at + o];
                let absolute = job.mode == MAE;
                loss += scale * share * select(job.args.factor * d * d + job.args.offset, abs(d), absolute);
                slope = scale * share * select(2.0 * job.args.factor * d, sign(d), absolute);
            }
            outputs_bar[at + o] = slope;
        }
    }
    return vec2<f32>(loss, 0.0);
}

// The batch's means and variances against those in `targets`, the means first.
fn moment_difference(row: u32, counts: bool) -> vec2<f32> {
    let numbers = job.args.points * job.args.outputs;
    let scale = 1.0 / f32(numbers);
    let paths = f32(outcome.solved);
    var loss = part_before(row).x;
    for (var i = job.args.first * job.args.outputs; i < (job.args.first + job.args.count) * job.args.outputs; i++) {
        let at = (i / job.args.outputs * job.rows + row) * job.args.outputs + i % job.args.outputs;
        var slope = 0.0;
        if counts {
            let d = moments[i] - vec2<f32>(targets[i], targets[numbers + i]);
            loss += scale / paths * dot(d, d);
            slope = 2.0 * d.x / paths + 4.0 * d.y * (outputs[at] - moments[i].x) / (paths - 1.0);
        }
        outputs_bar[at] = scale * slope;
    }
    return vec2<f32>(loss, 0.0);
}

// -log p of a point, from where it ended and how its log-density has changed.
fn surprise(row: u32, counts: bool) -> vec2<f32> {
    let scale = 1.0 / f32(outcome.solved);
    let base = row * job.args.outputs;
    let change = base + job.args.features;
    var squares = 0.0;
    for (var o = 0u; o < job.args.outputs; o++) {
        var slope = 0.0;
        if counts && o < job.args.features {
            let z = outputs[base + o];
            squares += z * z;
            slope = scale * z;
        } else if counts && o == job.args.features {
            slope = scale;
        }
        outputs_bar[base + o] = slope;
    }
    if !counts {
        return vec2<f32>();
    }
    return vec2<f32>(scale * (0.5 * squares + f32(job.args.features) * LN_NORMAL + outputs[change]), 0.0);
}

fn each(row: u32) {
    if row >= job.rows {
        return;
    }
    let counts = is_done(row_status[row]) && outcome.solved >= job.args.least;
    if job.mode == CROSS_ENTROPY {
        row_losses[row] = cross_entropy(row, counts);
    } else if job.mode == MOMENTS {
        row_losses[row] = moment_difference(row, counts);
    } else if job.mode == SURPRISE {
        row_losses[row] = surprise(row, counts);
    } else {
        row_losses[row] = difference(row, counts);
    }
}
