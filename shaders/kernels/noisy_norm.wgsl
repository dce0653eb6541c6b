// Sums over a row's features, for a stochastic step: squared scaled norms of a state and its slope, of a change of slope,
// or of the error. A slope is the drift three standard deviations off.

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> tape: array<f32>;
@group(0) @binding(3) var<storage, read> k: array<f32>;
@group(0) @binding(4) var<storage, read> increments: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> norms: array<vec2<f32>>;

const STATE_AND_SLOPE = 0u;
const CHANGE_OF_SLOPE = 1u;
const ERROR = 2u;
const NOT_FINITE = 3u;
const STIFFNESS = 4u;

fn rests(cursor: Cursor) -> bool {
    return cursor.moving != 1u;
}

fn kept(sums: vec4<f32>) -> vec2<f32> {
    return sums.xy;
}

fn terms(at: u32, size: u32, cursor: Cursor) -> vec4<f32> {
    let feature = at % job.dim;
    let y = tape[cursor.origin * size + at];
    if job.mode == ERROR {
        let r = scaled(feature, noisy_sum(at, size, cursor), y, tape[cursor.target_ * size + at]);
        return vec4<f32>(r * r, 0.0, 0.0, 0.0);
    }
    let f = k[cursor.k_first * size + at];
    let g = 3.0 * k[job.source + cursor.k_first * size + at];
    if job.mode == CHANGE_OF_SLOPE {
        let moved = k[cursor.k_last * size + at] - f;
        let g1 = 3.0 * k[job.source + cursor.k_last * size + at];
        let spread = max(abs(g - g1), abs(g + g1));
        let r = scaled(feature, max(abs(moved + spread), abs(moved - spread)), y, y);
        return vec4<f32>(r * r, 0.0, 0.0, 0.0);
    }
    let slope = max(abs(f + g), abs(f - g));
    let r = vec2<f32>(scaled(feature, y, y, y), scaled(feature, slope, y, y));
    return vec4<f32>(r * r, 0.0, 0.0);
}
