// The whole adaptive solve of one trajectory in one invocation: up to so many turns, to be gone on with later. A turn is an
// attempt, or saves some more of the points that one covers. The field, the method's stages, its error and its
// interpolant are printed for the problem.

@group(0) @binding(1) var<storage, read_write> clocks: array<Clock>;
@group(0) @binding(2) var<storage, read_write> cursors: array<Cursor>;
@group(0) @binding(3) var<storage, read> theta: array<Weight>;
@group(0) @binding(4) var<storage, read_write> tape: array<f32>;
@group(0) @binding(5) var<storage, read_write> steps: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read> points: array<vec2<u32>>;
@group(0) @binding(7) var<storage, read_write> saves: array<f32>;
@group(0) @binding(8) var<storage, read> knots: array<u32>;

const START = 0u;
const GO_ON = 1u;

// The first step's length: `control_ensemble` and the kernels before it in one.
fn start(clock: ptr<function, Clock>, y: State) {
    let d0 = sum_of_squares(y, y, y) / f32(DIM);
    let d1 = sum_of_squares(slope(), y, y) / f32(DIM);
    if !(is_finite(d0) && is_finite(d1)) {
        (*clock).status = NON_FINITE;
        return;
    }
    if has(FIXED) || (*clock).h > 0.0 {
        (*clock).h = min((*clock).h, 1.0);
        return;
    }
    (*clock).nfe += 1u;
    let speed = sqrt(d1);
    let trial = initial_trial(sqrt(d0), speed);
    let change = trial_change(aim(*clock, share_to_ticks(trial), 0u), y);
    (*clock).h = initial_step(trial, speed, sqrt(sum_of_squares(change, y, y) / f32(DIM)));
}

fn each(row: u32) {
    if row >= job.rows {
        return;
    }
    var clock = clocks[row];
    if job.mode == START && is_still(row) {
        clock.saved = save_at_start(row, load_state(slot_of(0u, job.args.control.stride), row));
        clock.cut |= select(1u, 0u, loops_ran());
        clocks[row] = clock;
    }
    if clock.status == PAUSED && job.args.control.tape_steps > clock.accepted {
        clock.status = RUNNING;
    }
    if clock.status != RUNNING {
        return;
    }
    take_row(row);
    take_lengths(row);
    var y = load_state(slot_of(clock.accepted, job.args.control.stride), row);
    // Evaluated before this dispatch, and counted then: the same numbers give the same bits.
    take_first(moment(clock.t, vec2<u32>(), 0.0), y);
    if job.mode == START {
        clock.saved = save_at_start(row, y);
        start(&clock, y);
    }
    var cursor = ensemble_aim(&clock, 0.0, clock.first);
    // An attempt that was not through with its points is made again, and goes on with them.
    var written = clock.pending;
    var taken = false;
    var covered: Covered;
    var y1: State;
    for (var turn = 0u; turn < job.args.turns; turn++) {
        if cursor.moving != MOVES {
            break;
        }
        if !taken {
            if cursor.first == 1u {
                take_first(moment(cursor.t, cursor.d, 0.0), y);
            }
            draw(cursor, row);
            y1 = take_stages(cursor, y);
            covered = points_within(row, cursor.t, cursor.d);
            taken = true;
        }
        written = save_some(covered, written, cursor, row, y, y1);
        if written < covered.count {
            continue;
        }
        taken = false;
        var error = 0.0;
        if !has(FIXED) {
            error = sqrt(sum_of_squares(stage_error(cursor.h), y, y1) / f32(DIM));
        }
        let accepted = ensemble_judge(&clock, cursor, error);
        if accepted {
            clock.saved += written;
            y = y1;
            if has(RECORD) {
                steps[cursor.step * job.rows + row] = vec4<u32>(cursor.t, cursor.d);
                if has(ERRORS) {
                    note_error(cursor.step, row, error);
                }
                store_state(cursor.target_, row, y);
            }
            if has(FSAL) {
                K[0] = K[STAGES - 1u];
            }
        }
        written = 0u;
        cursor = ensemble_aim(&clock, error, select(0u, 1u, accepted && !keeps_last(clock.t)));
    }
    store_state(cursor.origin, row, y);
    clock.first = cursor.first;
    clock.pending = written;
    clock.cut |= select(1u, 0u, loops_ran());
    clocks[row] = clock;
    cursors[row] = cursor;
}
