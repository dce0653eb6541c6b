// Adds the rows' losses in a fixed order. Where too few rows are left for a loss, it is NaN.

struct LossSumArgs {
    least: u32,             // Solved rows that the loss takes at least.
}

alias Args = LossSumArgs;

@group(0) @binding(1) var<storage, read> row_losses: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> outcome: Outcome;

const WIDE = 256u;

// The loss, and how many were right.
alias Summand = vec2<f32>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = vec2<f32>();
    for (var row = lane; row < job.rows; row += WIDE) {
        sum += row_losses[row];
    }
    let all = sum_of_lanes(lane, sum);
    if lane == 0u {
        outcome.loss = nan_where(outcome.solved < job.args.least, all.x);
        outcome.correct = u32(all.y);
    }
}
