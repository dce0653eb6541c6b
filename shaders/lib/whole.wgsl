// A trajectory in one invocation: its state on the tape and among the saved ones. The kernel that uses it declares
// `tape`, `points` and `saves`; the field and the method's sums are printed for the problem.

struct SolveArgs {
    control: Controller,
    points: u32,
    user_points: u32,
    path: u32,              // Where the seed and the first trajectory lie among the points.
    turns: u32,             // An attempt each, or some more of the points that one covers.
    hidden: u32,            // Units of the field's hidden layer, and
    noise_hidden: u32,      // of the diffusion's; 1 of what was written out.
}

alias Args = SolveArgs;

fn load_state(slot: u32, row: u32) -> State {
    var y: State;
    for (var d = 0u; d < DIM; d++) {
        y[d] = tape[(slot * job.rows + row) * DIM + d];
    }
    return y;
}

fn store_state(slot: u32, row: u32, y: State) {
    for (var d = 0u; d < DIM; d++) {
        tape[(slot * job.rows + row) * DIM + d] = y[d];
    }
}

fn save_state(point: u32, row: u32, y: State) {
    for (var d = 0u; d < DIM; d++) {
        saves[(point * job.rows + row) * DIM + d] = y[d];
    }
}

// The sum of the squares of `x` in units of the tolerances at `y` and `y1`.
fn sum_of_squares(x: State, y: State, y1: State) -> f32 {
    var sum = 0.0;
    for (var d = 0u; d < DIM; d++) {
        let r = scaled(d, x[d], y[d], y1[d]);
        sum += r * r;
    }
    return sum;
}

// The change of the slope over the Euler step of the cursor.
fn trial_change(cursor: Cursor, y: State) -> State {
    var moved: State;
    for (var i = 0u; i < DIM; i++) {
        moved[i] = fma(cursor.h, K[0][i], y[i]);
    }
    return change_of_slope(moment(cursor.t, cursor.d, 1.0), moved);
}

fn save_at_start(row: u32, y: State) -> u32 {
    let covered = points_at_start(row);
    var n = 0u;
    for (; n < covered.count; n++) {
        save_state(covered_point(covered, n), row, y);
    }
    return n;
}

// Points that are written at a time, so that an attempt that covers many takes several turns.
const SAVES = 32u;

// Writes the states at the next points of the attempt, of which `written` are there. How many are there then.
fn save_some(covered: Covered, written: u32, cursor: Cursor, row: u32, y: State, y1: State) -> u32 {
    let until = min(covered.count, written + SAVES);
    var n = written;
    for (; n < until; n++) {
        let p = covered_point(covered, n);
        let point = point_ticks(row, p);
        if ticks_equal(point, ticks_add(cursor.t, cursor.d)) {
            save_state(p, row, y1);
        } else {
            let share = ticks_to_share(ticks_sub(point, cursor.t)) / ticks_to_share(cursor.d);
            save_state(p, row, interpolate(cursor.h, y, y1, share));
        }
    }
    return n;
}
