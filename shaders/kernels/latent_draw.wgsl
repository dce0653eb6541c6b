// Draws each trajectory's initial state from the means and log-variances that its encoder gave, z = mean + exp(log / 2) e, and
// takes their divergence from a standard normal distribution, or its own: log q(z) - log p(z).

struct LatentDrawArgs {
    start: u32,             // Where initial states are.
    factor: f32,            // What the sum over a state is multiplied with.
    importance: u32,        // Whether the state's own is wanted.
}

alias Args = LatentDrawArgs;

@group(0) @binding(1) var<storage, read> given: array<f32>;
@group(0) @binding(2) var<storage, read> normals: array<f32>;
@group(0) @binding(3) var<storage, read_write> tape: array<f32>;
@group(0) @binding(4) var<storage, read_write> divergences: array<f32>;

fn each(row: u32) {
    if row >= job.rows {
        return;
    }
    var sum = 0.0;
    for (var d = 0u; d < job.dim; d++) {
        let mean = given[2u * row * job.dim + d];
        let log_variance = given[(2u * row + 1u) * job.dim + d];
        let e = normals[row * job.dim + d];
        var spread = 0.0;
        if e != 0.0 {
            spread = own_exp(0.5 * log_variance) * e;
        }
        let z = mean + spread;
        tape[job.args.start + row * job.dim + d] = z;
        if job.args.importance != 0u {
            sum += 0.5 * (z * z - e * e - log_variance);
        } else {
            sum += 0.5 * (own_exp(log_variance) + mean * mean - 1.0 - log_variance);
        }
    }
    divergences[row] = job.args.factor * sum;
}
