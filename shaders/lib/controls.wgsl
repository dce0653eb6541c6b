// Controls: numbers that drive a field, and go from knot to knot in time. The kernel that uses it declares `knots`: a head for
// each control, its knots in the order of the solve, its values there, and a spline's second derivatives; see
// `src/gpu/knots.rs`.

const HOLD = 0u;
const LINES = 1u;
const SPLINE = 2u;

// Words of a head, and of a knot.
const HEAD = 8u;
const KNOT = 5u;

// A node of a step: so long a share of the interval after `from_`.
struct Moment {
    from_: vec2<u32>,
    after: f32,
    at: vec2<u32>,      // The same, but for a node beyond the step: then the end on its side.
    near: vec2<u32>,    // Somewhat within the step, so that its ends are on its own side of a knot.
}

// Where a control is between two knots: how much of either's values it has, and of their second derivatives.
struct Piece {
    before: u32,
    after: u32,
    value: vec2<f32>,
    bend: vec2<f32>,
}

// The node `c` of the step from `t` of length `d`.
fn moment_of(t: vec2<u32>, d: vec2<u32>, c: f32) -> Moment {
    let share = ticks_to_share(d);
    let within = clamp(c, 0.0, 1.0);
    let near = ticks_add(t, share_to_ticks(share * fma(0.5 - within, 1e-3, within)));
    if c == 1.0 {
        // As at the start of the next step.
        let end = ticks_add(t, d);
        return Moment(end, 0.0, end, near);
    }
    return Moment(t, share * c, ticks_add(t, share_to_ticks(share * within)), near);
}

fn knot_ticks(knot: u32) -> vec2<u32> {
    return vec2<u32>(knots[knot], knots[knot + 1u]);
}

// How many of so many knots are not after `t`.
fn knots_passed(first: u32, count: u32, t: vec2<u32>) -> u32 {
    var low = 0u;
    var high = count;
    for (var i = 0u; i < 32u && low < high; i++) {
        let middle = (low + high) / 2u;
        if ticks_less(t, knot_ticks(first + KNOT * middle)) {
            high = middle;
        } else {
            low = middle + 1u;
        }
    }
    return low;
}

fn piece_at(control: u32, now: Moment) -> Piece {
    let head = HEAD * control;
    let count = knots[head];
    let kind = knots[head + 1u];
    let first = knots[head + 4u];
    // A spline is the same on either side: what belongs to the time alone is the same in whichever step it is asked for.
    var side = now.near;
    if kind == SPLINE {
        side = now.at;
    }
    let passed = knots_passed(first, count, side);
    let last = max(passed, 1u) - 1u;
    if passed == 0u || passed == count || kind == HOLD {
        // Backwards a piece has the value of the knot that it goes to.
        let held = select(last, min(passed, count - 1u), knots[head + 7u] == 1u);
        return Piece(held, held, vec2<f32>(1.0, 0.0), vec2<f32>());
    }
    let knot = first + KNOT * last;
    let begin = knot_ticks(knot);
    var gone = ticks_to_share(ticks_sub(now.from_, begin));
    if ticks_less(now.from_, begin) {
        gone = -ticks_to_share(ticks_sub(begin, now.from_));
    }
    let b = fma(gone + now.after, bitcast<f32>(knots[knot + 3u]), bitcast<f32>(knots[knot + 2u]));
    let value = vec2<f32>(1.0 - b, b);
    // `(a^3 - a) m0 + (b^3 - b) m1`, times the length squared over 6
    let bend = (value * value * value - value) * bitcast<f32>(knots[knot + 4u]);
    return Piece(last, passed, value, bend);
}

// A row of a control of one trajectory.
fn control_row(control: u32, piece: Piece, row: u32, trajectory: u32) -> f32 {
    let head = HEAD * control;
    let rows = knots[head + 2u];
    let trajectories = knots[head + 3u];
    let own = min(trajectory, trajectories - 1u);
    let before = (piece.before * rows + row) * trajectories + own;
    let values = knots[head + 5u];
    let from_ = bitcast<f32>(knots[values + before]);
    if piece.before == piece.after {
        return from_;
    }
    let after = (piece.after * rows + row) * trajectories + own;
    let line = fma(piece.value.x, from_, piece.value.y * bitcast<f32>(knots[values + after]));
    if knots[head + 1u] != SPLINE {
        return line;
    }
    let bends = knots[head + 6u];
    let curve = piece.bend.x * bitcast<f32>(knots[bends + before]);
    return line + fma(piece.bend.y, bitcast<f32>(knots[bends + after]), curve);
}
