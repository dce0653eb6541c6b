// Adds the rows' losses in a fixed order, and what is paid for initial states that were drawn. Where too few rows are left for
// a loss, it is NaN. Where samples are weighted, their parts of the bound follow, with what each row counts.

struct LossSumArgs {
    least: u32,             // Solved rows that the loss takes at least.
    drawn: u32,             // Whether initial states were drawn, and that is paid for.
    weighted: u32,          // Whether samples are weighted by their importance.
}

alias Args = LossSumArgs;

@group(0) @binding(1) var<storage, read> row_losses: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> outcome: Outcome;
@group(0) @binding(3) var<storage, read> row_status: array<u32>;
@group(0) @binding(4) var<storage, read> divergences: array<f32>;
@group(0) @binding(5) var<storage, read> params: Params;

const WIDE = 256u;

// The loss, how many were right, and the divergence.
alias Summand = vec3<f32>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    let drawn = job.args.drawn != 0u;
    let weighted = job.args.weighted != 0u;
    var sum = vec3<f32>();
    for (var row = lane; row < job.rows; row += WIDE) {
        var divergence = 0.0;
        if drawn && is_done(row_status[row]) {
            divergence = divergences[row];
        }
        var loss = row_losses[row];
        if weighted {
            let share = row_losses[job.rows + row];
            loss.x = share.y;
            divergence *= share.x;
        }
        sum += vec3<f32>(loss, divergence);
    }
    let all = sum_of_lanes(lane, sum);
    if lane == 0u {
        let too_few = outcome.solved < job.args.least;
        let divergence = select(all.z / f32(max(outcome.solved, 1u)), all.z, weighted);
        outcome.loss = nan_where(too_few, all.x);
        outcome.correct = u32(all.y);
        outcome.divergence = nan_where(too_few, divergence);
        if drawn && !weighted {
            outcome.loss = nan_where(too_few, all.x + params.divergence * divergence);
        }
    }
}
