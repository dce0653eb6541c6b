// Sums over a row's features: squared scaled norms of a state, a stage, a change or an error; or a count of numbers that
// are not finite.

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> tape: array<f32>;
@group(0) @binding(3) var<storage, read> k: array<f32>;
@group(0) @binding(4) var<storage, read_write> norms: array<vec2<f32>>;

const STATE_AND_SLOPE = 0u;
const CHANGE_OF_SLOPE = 1u;
const ERROR = 2u;
const NOT_FINITE = 3u;
const STIFFNESS = 4u;

fn rests(cursor: Cursor) -> bool {
    return cursor.moving != 1u && job.mode != NOT_FINITE;
}

fn terms(at: u32, size: u32, cursor: Cursor) -> vec2<f32> {
    let y = tape[cursor.origin * size + at];
    if job.mode == NOT_FINITE {
        return vec2<f32>(select(1.0, 0.0, is_finite(y)), 0.0);
    }
    if job.mode == STIFFNESS {
        // a: k_s - k_(s-1); b: g_s - g_(s-1), over h.
        let slopes = stages_sum(at, size, cursor, false);
        let states = cursor.h * stages_sum(at, size, cursor, true);
        return vec2<f32>(slopes * slopes, states * states);
    }
    if job.mode == ERROR {
        let r = scaled(cursor.h * stages_error(at, size, cursor), y, tape[cursor.target_ * size + at]);
        return vec2<f32>(r * r, 0.0);
    }
    let slope = k[cursor.k_first * size + at];
    if job.mode == CHANGE_OF_SLOPE {
        let r = scaled(k[cursor.k_last * size + at] - slope, y, y);
        return vec2<f32>(r * r, 0.0);
    }
    let r = vec2<f32>(scaled(y, y, y), scaled(slope, y, y));
    return r * r;
}
