// Sums over a row's features: squared scaled norms of a state, a stage, a change or an error; or a count of numbers that
// are not finite.

struct RowNormArgs {
    sum: Sum,                       // Of the error, or of the difference of the last two slopes, and
    states: array<vec4<f32>, 3>,    // of their states, over h.
}

alias Args = RowNormArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> tape: array<f32>;
@group(0) @binding(3) var<storage, read> k: array<f32>;
@group(0) @binding(4) var<storage, read_write> norms: array<vec2<f32>>;

const STATE_AND_SLOPE = 0u;
const CHANGE_OF_SLOPE = 1u;
const ERROR = 2u;
const NOT_FINITE = 3u;
const STIFFNESS = 4u;

// The least difference of two stages, in units of the last one's size, that is more than rounding: `cpu::penalty` has 128
// of the distance of two numbers at 1.
const RESOLVED = 1.52587890625e-5;

fn rests(cursor: Cursor) -> bool {
    return cursor.moving != MOVES && job.mode != NOT_FINITE;
}

// Of the stages' differences: nothing where either is rounding, for the other one's digits are no better then.
fn kept(sums: vec4<f32>) -> vec2<f32> {
    let least = RESOLVED * RESOLVED * sums.zw;
    let lost = job.mode == STIFFNESS && (sums.x < least.x || sums.y < least.y);
    return select(sums.xy, vec2<f32>(), lost);
}

fn terms(at: u32, size: u32, cursor: Cursor) -> vec4<f32> {
    let y = tape[cursor.origin * size + at];
    if job.mode == NOT_FINITE {
        return vec4<f32>(select(1.0, 0.0, is_finite(y)), 0.0, 0.0, 0.0);
    }
    if job.mode == STIFFNESS {
        // The last stage's state is the step's end.
        let slopes = stages_sum(at, size, cursor, false);
        let states = cursor.h * stages_sum(at, size, cursor, true);
        let last = k[stage_slot(job.stages - 1u, cursor) * size + at];
        let terms = vec4<f32>(slopes, states, last, tape[cursor.target_ * size + at]);
        return terms * terms;
    }
    let feature = at % job.dim;
    if job.mode == ERROR {
        let r = scaled(feature, step_error(at, size, cursor), y, tape[cursor.target_ * size + at]);
        return vec4<f32>(r * r, 0.0, 0.0, 0.0);
    }
    var first = y;
    if job.mode == CHANGE_OF_SLOPE {
        first = change_of_slope(at, size, cursor);
    }
    let r = vec2<f32>(scaled(feature, first, y, y), scaled(feature, slope(at, size, cursor), y, y));
    return vec4<f32>(r * r, 0.0, 0.0);
}
