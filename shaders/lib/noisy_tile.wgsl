// What the paths of a tile's trajectories do over a step of equal length, each drawn once. The kernel that uses it declares
// `points`, which from `path` of its arguments on has the seed and the first trajectory's number; CHANNELS are printed.

var<workgroup> sh_draws: array<vec2<f32>, 4u * QUADS * CHANNELS>;

// Iterated integrals of the invocation's feature, dW and `chi1` to `chi3`, each of its four trajectories.
var<private> INTEGRALS: mat4x4<f32>;

fn draw(cursor: Cursor, group: u32, lane: u32) {
    let key = points[job.args.path];
    let first = points[job.args.path + 1u].x + group * 4u * QUADS;
    let pairs = (CHANNELS + 1u) / 2u;
    let cell = path_cell(cursor.t, job.fixed_ticks);
    for (var i = lane; i < 4u * QUADS * pairs; i += LANES) {
        let number = i % pairs;
        let at = i / pairs * CHANNELS + 2u * number;
        let pair = Pair(key, first + i / pairs, number, job.span * 9.313225746154785e-10);
        let increment = brownian_draw(pair, cell, 0u, cursor.h);
        sh_draws[at] = vec2<f32>(increment.w.x, increment.levy.x);
        if 2u * number + 1u < CHANNELS {
            sh_draws[at + 1u] = vec2<f32>(increment.w.y, increment.levy.y);
        }
    }
    workgroupBarrier();
    if lane < DIM * QUADS {
        let at = lane / DIM * 4u * CHANNELS + lane % DIM % CHANNELS;
        INTEGRALS = transpose(mat4x4<f32>(
            noise_integrals(sh_draws[at], cursor.h),
            noise_integrals(sh_draws[at + CHANNELS], cursor.h),
            noise_integrals(sh_draws[at + 2u * CHANNELS], cursor.h),
            noise_integrals(sh_draws[at + 3u * CHANNELS], cursor.h),
        ));
    }
}

// A path has no interpolant: the chord.
fn interpolate(h: f32, y: vec4<f32>, y1: vec4<f32>, share: f32) -> vec4<f32> {
    return fma(vec4<f32>(share), y1 - y, y);
}
