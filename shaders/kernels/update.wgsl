// Moves the parameters along their gradient: `spec::Optimizer` on the device.

@group(0) @binding(1) var<storage, read> outcome: Outcome;
@group(0) @binding(2) var<storage, read> params: Params;
@group(0) @binding(3) var<storage, read> gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> theta: array<f32>;
@group(0) @binding(5) var<storage, read_write> moment1: array<f32>;
@group(0) @binding(6) var<storage, read_write> moment2: array<f32>;

const SGD = 0u;
const MOMENTUM = 1u;
const NESTEROV = 2u;
const ADAM = 3u;
const ADAMW = 4u;
const ADAMAX = 5u;
const ADABELIEF = 6u;
const RMSPROP = 7u;

const CLIP_NORM = 1u;
const CLIP_VALUE = 2u;

fn clipped(g: f32) -> f32 {
    let bound = job.v.y;
    if job.x.x == CLIP_NORM && bound < outcome.gradient_norm + 1e-6 {
        return g * (bound / (outcome.gradient_norm + 1e-6));
    }
    if job.x.x == CLIP_VALUE {
        return clamp(g, -bound, bound);
    }
    return g;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * GROUP + lane;
    if i >= job.u.y || outcome.skipped != 0u {
        return;
    }
    let g = clipped(gradient[i]);
    let rates = params.rates;
    let x = theta[i];
    // w: beta1, 1 - beta1, beta2, 1 - beta2; v.x: epsilon.
    let beta = job.w;
    switch job.mode {
        case SGD: {
            theta[i] = fma(-rates.x, g, x);
        }
        case MOMENTUM, NESTEROV: {
            let m = fma(beta.x, moment1[i], g);
            moment1[i] = m;
            theta[i] = fma(-rates.x, select(m, fma(beta.x, m, g), job.mode == NESTEROV), x);
        }
        case RMSPROP: {
            let v = fma(beta.z, moment2[i], beta.w * g * g);
            moment2[i] = v;
            theta[i] = x - rates.x * g / (sqrt(v) + job.v.x);
        }
        case ADAMAX: {
            let m = fma(beta.x, moment1[i], beta.y * g);
            let v = max(beta.z * moment2[i], abs(g) + job.v.x);
            moment1[i] = m;
            moment2[i] = v;
            theta[i] = x - rates.x * m / v;
        }
        default: {
            let m = fma(beta.x, moment1[i], beta.y * g);
            let spread = select(g, g - m, job.mode == ADABELIEF);
            let v = fma(beta.z, moment2[i], beta.w * spread * spread) + select(0.0, job.v.x, job.mode == ADABELIEF);
            moment1[i] = m;
            moment2[i] = v;
            let kept = select(x, rates.z * x, job.mode == ADAMW);
            theta[i] = kept - rates.x * m / fma(sqrt(v), rates.y, job.v.x);
        }
    }
}
