// A trajectory in one invocation: its state on the tape and among the saved ones. The kernel that uses it declares
// `tape`, `points` and `saves`; the field and the method's sums are printed for the problem.

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
        let r = scaled(x[d], y[d], y1[d]);
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
    return change_of_slope(node_time(cursor.t, cursor.d, 1.0, job.t0, job.span), moved);
}

fn save_at_start(t: vec2<u32>, row: u32, y: State) {
    for (var p = 0u; p < job.points; p++) {
        if ticks_equal(points[p], t) {
            save_state(p, row, y);
        }
    }
}

fn save_within(cursor: Cursor, row: u32, y: State, y1: State) {
    for (var p = 0u; p < job.points; p++) {
        let point = points[p];
        if !covers(cursor.t, cursor.d, point) {
            continue;
        }
        if ticks_equal(point, ticks_add(cursor.t, cursor.d)) {
            save_state(p, row, y1);
        } else {
            let share = ticks_to_share(ticks_sub(point, cursor.t)) / ticks_to_share(cursor.d);
            save_state(p, row, interpolate(cursor.h, y, y1, share));
        }
    }
}
