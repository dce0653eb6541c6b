// Adds the rows' losses in a fixed order. Where too few rows are left for a loss, it is NaN.

struct LossSumArgs {
    least: u32,             // Solved rows that the loss takes at least.
}

alias Args = LossSumArgs;

@group(0) @binding(1) var<storage, read> row_losses: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> outcome: Outcome;

const WIDE = 256u;

var<workgroup> sh_sums: array<vec2<f32>, 256>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = vec2<f32>();
    for (var row = lane; row < job.rows; row += WIDE) {
        sum += row_losses[row];
    }
    sh_sums[lane] = sum;
    for (var half = WIDE / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            sh_sums[lane] += sh_sums[lane + half];
        }
    }
    if lane == 0u {
        outcome.loss = nan_where(outcome.solved < job.args.least, sh_sums[0].x);
        outcome.correct = u32(sh_sums[0].y);
    }
}
