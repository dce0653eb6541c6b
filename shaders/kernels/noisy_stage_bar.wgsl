// The cotangent of a stage of a stochastic step, from those of the step's end, of the error, and of the states that the
// stage went into.
//
// In the job, a = weights of the slots of `state_bars`: x.x drift stages' states, then up to x.y diffusion stages', then
// the error; after one that does not count, a second state's. What the diffusion's are multiplied by, besides: b[0] dW
// and chi1 to chi3 at the end, b[1] in the error, x.z and x.w which of these (or the root of h) in the states.

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> row_status: array<u32>;
@group(0) @binding(3) var<storage, read> bar: array<f32>;
@group(0) @binding(4) var<storage, read> state_bars: array<f32>;
@group(0) @binding(5) var<storage, read> increments: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read_write> stage_bar: array<f32>;

const DRIFT = 0u;
const DIFFUSION = 1u;

// Which of a step's integrals a scale is; the root of the length is none of the four.
const SCALE_INCREMENT = 0u;
const SCALE_MEAN = 2u;
const SCALE_ROOT = 4u;

// What a diffusion stage was multiplied by on its way to the end, into the states of either network, and to the error.
struct Factors {
    end: f32,
    drift: f32,
    diffusion: f32,
    error: f32,
}

fn scale(which: u32, integrals: vec4<f32>, h: f32) -> f32 {
    if which == SCALE_ROOT {
        return sqrt(h);
    }
    return integrals[which];
}

fn factors(at: u32, h: f32) -> Factors {
    if job.mode == DRIFT {
        return Factors(h * job.scale, h, h, h);
    }
    let i = noise_integrals(increments[at], h);
    return Factors(dot(job.b[0], i), scale(job.x.z, i, h), scale(job.x.w, i, h), dot(job.b[1], i));
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let size = job.rows * job.dim;
    let i = flat_group(group, groups) * GROUP + lane;
    if i >= size {
        return;
    }
    let row = i / job.dim;
    let cursor = cursors[row * job.per_row];
    if cursor.moving == 0u {
        return;
    }
    if cursor.moving == RESTS || !is_alive(row_status[row]) {
        stage_bar[i] = 0.0;
        return;
    }
    let by = factors(i, cursor.h);
    var sum = by.end * bar[i];
    for (var j = 0u; j < job.x.y + 3u; j++) {
        let weight = job.a[j / 4u][j % 4u];
        if weight != 0.0 {
            let of_states = select(by.drift, by.diffusion, j >= job.x.x && j < job.x.y);
            sum = fma(weight * select(of_states, by.error, j == job.x.y), state_bars[j * size + i], sum);
        }
    }
    stage_bar[i] = sum;
}
