// From the cotangents of initial states that were drawn to those of their means and log-variances, with the divergence's:
// by `mean` and `(exp(log) - 1) / 2` with its mean and log-variance, or, of the state's own, by `z` with z and -1/2 with the latter.

struct LatentBarArgs {
    factor: f32,            // What the divergence's sum over a state is multiplied with.
    least: u32,             // Solved rows that the loss takes at least.
    importance: u32,        // Whether samples are weighted: what each row counts follows the losses, and divergences are the
                            // states' own.
}

alias Args = LatentBarArgs;

@group(0) @binding(1) var<storage, read> row_status: array<u32>;
@group(0) @binding(2) var<storage, read> outcome: Outcome;
@group(0) @binding(3) var<storage, read> params: Params;
@group(0) @binding(4) var<storage, read> given: array<f32>;
@group(0) @binding(5) var<storage, read> normals: array<f32>;
@group(0) @binding(6) var<storage, read> bar: array<f32>;
@group(0) @binding(7) var<storage, read_write> given_bar: array<f32>;
@group(0) @binding(8) var<storage, read> row_losses: array<vec2<f32>>;

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
    let log_variance = given[at + job.dim];
    var spread = 0.0;
    if normals[i] != 0.0 {
        spread = own_exp(0.5 * log_variance) * normals[i];
    }
    if job.args.importance != 0u {
        let paid = params.divergence * job.args.factor * row_losses[job.rows + row].x;
        let z_bar = bar[i] + paid * (given[at] + spread);
        given_bar[at] = z_bar;
        given_bar[at + job.dim] = 0.5 * (spread * z_bar - paid);
        return;
    }
    let paid = params.divergence * job.args.factor / f32(outcome.solved);
    given_bar[at] = bar[i] + paid * given[at];
    given_bar[at + job.dim] = 0.5 * (spread * bar[i] + paid * (own_exp(log_variance) - 1.0));
}
