// What the path of one trajectory does over a step, where it is solved whole. The kernel that uses it declares `points`;
// from `path` of its arguments on it has the seed and the first trajectory's number. INTEGRALS, one of each of CHANNELS
// processes, and DIM are printed for the problem.

fn draw(cursor: Cursor, row: u32) {
    let key = points[job.args.path];
    let trajectory = points[job.args.path + 1u].x + row;
    for (var p = 0u; 2u * p < CHANNELS; p++) {
        let pair = Pair(key, trajectory, p, job.span * 9.313225746154785e-10);
        var increment: Increment;
        if has(FIXED) {
            increment = brownian_draw(pair, path_cell(cursor.t, job.fixed_ticks), 0u, cursor.h);
        } else {
            increment = brownian_between(pair, path_tick(cursor.t), path_tick(ticks_add(cursor.t, cursor.d)));
        }
        INTEGRALS[2u * p] = noise_integrals(vec2<f32>(increment.w.x, increment.levy.x), cursor.h);
        if 2u * p + 1u < CHANNELS {
            INTEGRALS[2u * p + 1u] = noise_integrals(vec2<f32>(increment.w.y, increment.levy.y), cursor.h);
        }
    }
}

// The drift, three standard deviations off.
fn slope() -> State {
    var speed: State;
    for (var d = 0u; d < DIM; d++) {
        let g = 3.0 * G[0][d];
        speed[d] = max(abs(K[0][d] + g), abs(K[0][d] - g));
    }
    return speed;
}

// How much that changes on the way to time `t` and state `y`.
fn change_of_slope(t: f32, y: State) -> State {
    let f1 = field(t, y);
    let g1 = noise(t, y);
    var change: State;
    for (var d = 0u; d < DIM; d++) {
        let moved = f1[d] - K[0][d];
        let spread = max(abs(3.0 * G[0][d] - 3.0 * g1[d]), abs(3.0 * G[0][d] + 3.0 * g1[d]));
        change[d] = max(abs(moved + spread), abs(moved - spread));
    }
    return change;
}

fn take_first(t: f32, y: State) {
    K[0] = field(t, y);
    G[0] = noise(t, y);
}

// A path has no interpolant: the chord.
fn interpolate(h: f32, y: State, y1: State, share: f32) -> State {
    var state: State;
    for (var d = 0u; d < DIM; d++) {
        state[d] = fma(share, y1[d] - y[d], y[d]);
    }
    return state;
}
