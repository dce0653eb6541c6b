// From the cotangents of initial states that were drawn to those of their means and log-variances, with the divergence's.

struct LatentBarArgs {
    factor: f32,            // What the divergence's sum over a state is multiplied with.
    least: u32,             // Solved rows that the loss takes at least.
}

alias Args = LatentBarArgs;

@group(0) @binding(1) var<storage, read> row_status: array<u32>;
@group(0) @binding(2) var<storage, read> outcome: Outcome;
@group(0) @binding(3) var<storage, read> params: Params;
@group(0) @binding(4) var<storage, read> given: array<f32>;
@group(0) @binding(5) var<storage, read> normals: array<f32>;
@group(0) @binding(6) var<storage, read> bar: array<f32>;
@group(0) @binding(7) var<storage, read_write> given_bar: array<f32>;

fn each(i: u32) {
    if i >= job.rows * job.dim {
        return;
    }
    let row = i / job.dim;
    let at = row * job.dim + i;
    if !is_done(row_status[row]) || outcome.solved < job.args.least {
        given_bar[at] = 0.0;
        given_bar[at + job.dim] = 0.0;
        return;
    }
    let paid = params.divergence * job.args.factor / f32(outcome.solved);
    let log_variance = given[at + job.dim];
    var spread = 0.0;
    if normals[i] != 0.0 {
        spread = own_exp(0.5 * log_variance) * normals[i];
    }
    given_bar[at] = bar[i] + paid * given[at];
    given_bar[at + job.dim] = 0.5 * (spread * bar[i] + paid * (own_exp(log_variance) - 1.0));
}
