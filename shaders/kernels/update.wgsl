// Moves the parameters along their gradient: `train::Optimizer` on the device. All of them or none.

struct UpdateArgs {
    beta: vec4<f32>,        // beta1, 1 - beta1, beta2, 1 - beta2.
    epsilon: f32,
    bound: f32,             // Of the clipping.
    clip: u32,
    update: u32,            // LOOK only sees whether all numbers would be finite.
    abort: u32,             // 1 aborts where they would not.
    parameters: u32,
    freezes: u32,           // 1 where there are frozen parameters.
}

alias Args = UpdateArgs;

@group(0) @binding(1) var<storage, read_write> outcome: Outcome;
@group(0) @binding(2) var<storage, read> params: Params;
@group(0) @binding(3) var<storage, read> gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> theta: array<f32>;
@group(0) @binding(5) var<storage, read_write> moment1: array<f32>;
@group(0) @binding(6) var<storage, read_write> moment2: array<f32>;
@group(0) @binding(7) var<storage, read_write> overflow: atomic<u32>;
@group(0) @binding(8) var<storage, read> frozen: array<u32>;

const SGD = 0u;
const MOMENTUM = 1u;
const NESTEROV = 2u;
const ADAM = 3u;
const ADAMW = 4u;
const ADAMAX = 5u;
const ADABELIEF = 6u;
const RMSPROP = 7u;

const CLIP_NONE = 0u;
const CLIP_NORM = 1u;
const CLIP_VALUE = 2u;

const MAKE = 0u;
const LOOK = 1u;

fn clipped(g: f32) -> f32 {
    let bound = job.args.bound;
    if job.args.clip == CLIP_NORM && bound < outcome.gradient_norm + 1e-6 {
        return g * (bound / (outcome.gradient_norm + 1e-6));
    }
    if job.args.clip == CLIP_VALUE {
        return clamp(g, -bound, bound);
    }
    return g;
}

struct Parameter {
    x: f32,
    moment1: f32,
    moment2: f32,
}

// What the rule makes of the i-th parameter and its moments. A frozen one has no part in the gradient.
fn moved(i: u32) -> Parameter {
    let g = clipped(select(gradient[i], 0.0, is_frozen(i)));
    let rates = params.rates;
    let x = theta[i];
    let beta = job.args.beta;
    switch job.mode {
        case SGD: {
            return Parameter(fma(-rates.x, g, x), moment1[i], moment2[i]);
        }
        case MOMENTUM, NESTEROV: {
            let m = fma(beta.x, moment1[i], g);
            return Parameter(fma(-rates.x, select(m, fma(beta.x, m, g), job.mode == NESTEROV), x), m, moment2[i]);
        }
        case RMSPROP: {
            let v = fma(beta.z, moment2[i], beta.w * g * g);
            return Parameter(x - rates.x * g / (sqrt(v) + job.args.epsilon), moment1[i], v);
        }
        case ADAMAX: {
            let m = fma(beta.x, moment1[i], beta.y * g);
            let v = max(beta.z * moment2[i], abs(g) + job.args.epsilon);
            return Parameter(x - rates.x * m / v, m, v);
        }
        default: {
            let m = fma(beta.x, moment1[i], beta.y * g);
            let spread = select(g, g - m, job.mode == ADABELIEF);
            let v = fma(beta.z, moment2[i], beta.w * spread * spread) + select(0.0, job.args.epsilon, job.mode == ADABELIEF);
            let kept = select(x, rates.z * x, job.mode == ADAMW);
            return Parameter(kept - rates.x * m / fma(sqrt(v), rates.y, job.args.epsilon), m, v);
        }
    }
}

// Takes back what `gradient_norm` has written: there is no update.
fn refuse() {
    let abort = job.args.abort == 1u;
    outcome.skipped = select(SKIPPED, ABORTED, abort);
    outcome.updates -= 1u;
    outcome.steps -= select(0u, 1u, abort);
}

fn each(i: u32) {
    let look = job.args.update == LOOK;
    if !look && atomicLoad(&overflow) != 0u {
        if i == 0u {
            refuse();
        }
        return;
    }
    if i >= job.args.parameters || outcome.skipped != 0u {
        return;
    }
    let next = moved(i);
    if look {
        if !(is_finite(next.x) && is_finite(next.moment1) && is_finite(next.moment2)) {
            atomicStore(&overflow, 1u);
        }
        return;
    }
    // Some rules move what has no gradient too.
    if !is_frozen(i) {
        theta[i] = next.x;
    }
    moment1[i] = next.moment1;
    moment2[i] = next.moment2;
}
