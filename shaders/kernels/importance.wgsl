// What each trajectory counts in the importance-weighted bound (Burda, Grosse and Salakhutdinov, 2016), and each sample's part
// of it. With v = -loss - weight * divergence of those of a sample's trajectories that were solved it is -log mean exp(v), a
// mean over the samples of which any was; its derivative is that of their losses and divergences weighted by softmax(v).

struct ImportanceArgs {
    copies: u32,            // Trajectories of a sample, one after the other.
}

alias Args = ImportanceArgs;

@group(0) @binding(1) var<storage, read> row_status: array<u32>;
@group(0) @binding(2) var<storage, read> params: Params;
@group(0) @binding(3) var<storage, read> divergences: array<f32>;
// Of each row its own loss; after those of all, what it counts, and of a sample's first one the sample's part of the bound.
@group(0) @binding(4) var<storage, read_write> row_losses: array<vec2<f32>>;

const WIDE = 256u;

const LN_2 = 0.6931471805599453;

// Samples of which any trajectory was solved.
alias Summand = u32;

fn value(row: u32) -> f32 {
    return -row_losses[row].x - params.divergence * divergences[row];
}

// The largest value v of a sample's trajectories, and the sum of exp(v - largest), which is 0 where none was solved: in one
// pass, by which the sum is scaled anew where a value is larger than those before it.
fn sum_of_sample(first: u32) -> vec2<f32> {
    var largest = 0.0;
    var sum = 0.0;
    var none = true;
    for (var row = first; row < first + job.args.copies; row++) {
        if is_done(row_status[row]) {
            let v = value(row);
            if none || v > largest {
                sum = sum * own_exp(largest - v) + 1.0;
                largest = v;
            } else {
                sum += own_exp(v - largest);
            }
            none = false;
        }
    }
    return vec2<f32>(largest, sum);
}

// The softmax of a sample's values, and its part of the bound, of so many samples.
fn share_out(first: u32, samples: f32) {
    let of_sample = row_losses[job.rows + first];
    var solved = 0.0;
    for (var row = first; row < first + job.args.copies; row++) {
        var share = 0.0;
        if is_done(row_status[row]) {
            share = own_exp(value(row) - of_sample.x) / of_sample.y / samples;
            solved += 1.0;
        }
        row_losses[job.rows + row] = vec2<f32>(share, 0.0);
    }
    if solved > 0.0 {
        row_losses[job.rows + first].y = -(of_sample.x + own_log2(of_sample.y / solved) * LN_2) / samples;
    }
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    let samples = job.rows / job.args.copies;
    var any = 0u;
    for (var sample = lane; sample < samples; sample += WIDE) {
        let first = sample * job.args.copies;
        let of_sample = sum_of_sample(first);
        row_losses[job.rows + first] = of_sample;
        // Of NaN too.
        any += select(1u, 0u, of_sample.y == 0.0);
    }
    let all = f32(sum_of_lanes(lane, any));
    for (var sample = lane; sample < samples; sample += WIDE) {
        share_out(sample * job.args.copies, all);
    }
}
