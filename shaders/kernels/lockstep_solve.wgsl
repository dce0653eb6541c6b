// The whole adaptive solve of a batch that one workgroup can hold, a trajectory an invocation: up to so many turns, to be gone
// on with later. A turn is an attempt, or saves some more of the points that one covers. The first invocation decides for
// all.

@group(0) @binding(1) var<storage, read_write> clocks: array<Clock>;
@group(0) @binding(2) var<storage, read_write> row_status: array<u32>;
@group(0) @binding(3) var<storage, read> theta: array<Weight>;
@group(0) @binding(4) var<storage, read_write> tape: array<f32>;
@group(0) @binding(5) var<storage, read_write> steps: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read> points: array<vec2<u32>>;
@group(0) @binding(7) var<storage, read_write> saves: array<f32>;
@group(0) @binding(8) var<storage, read> knots: array<u32>;

const WIDE = 256u;

const START = 0u;
const GO_ON = 1u;

// What is decided about: a solve's begin, its trial step, or an attempt.
const BEGIN = 0u;
const CHANGE = 1u;
const ATTEMPT = 2u;

// Squared norms over the living rows, and how many rows there are.
alias Summand = vec3<f32>;

var<workgroup> sh_clock: Clock;
var<workgroup> sh_cursor: Cursor;
var<workgroup> sh_code: u32;
var<workgroup> sh_moving: u32;
var<workgroup> sh_cut: u32;

// Takes this row's squared norms to the others', and lets the first invocation decide. Rows that keep the batch from
// going on lose their status.
fn decide(what: u32, lane: u32, norm: vec2<f32>, status: ptr<function, u32>) {
    let sum = sum_of_lanes(lane, select(vec3<f32>(), vec3<f32>(norm, 1.0), *status == RUNNING));
    var clock = sh_clock;
    var cursor = sh_cursor;
    if lane == 0u {
        switch what {
            case BEGIN: { sh_code = lockstep_begin(&clock, &cursor, sum); }
            case CHANGE: { sh_code = lockstep_change(&clock, &cursor, sum); }
            default: {
                sh_code = lockstep_attempt(&clock, &cursor, sum);
                if has(ERRORS) && clock.accepted > sh_cursor.step {
                    note_error(sh_cursor.step, sum);
                }
            }
        }
    }
    for (var round = 0u; round < 2u; round++) {
        let code = workgroupUniformLoad(&sh_code);
        if code == NOTHING {
            break;
        }
        let verdict = lockstep_verdict(code);
        let lost = *status == RUNNING && lockstep_lost(norm.x, verdict);
        let here = select(0.0, 1.0, *status == RUNNING);
        if lost {
            *status = verdict;
            note_reached(lane, sh_clock.t);
        }
        let counts = sum_of_lanes(lane, vec3<f32>(here, select(here, 0.0, lost), 0.0)).xy;
        if lane == 0u {
            sh_code = lockstep_go_on(&clock, &cursor, counts, verdict);
        }
    }
    if lane == 0u {
        sh_clock = clock;
        sh_cursor = cursor;
        sh_moving = cursor.moving;
    }
    workgroupBarrier();
}

// The first attempt, from the automatic initial step or what stands in for it.
fn start(lane: u32, y: State, status: ptr<function, u32>) {
    let norm = vec2<f32>(sum_of_squares(y, y, y), sum_of_squares(slope(), y, y));
    if !has(FIXED) && *status == RUNNING && !(is_finite(norm.x) && is_finite(norm.y)) {
        *status = NON_FINITE;
        note_reached(lane, vec2<u32>());
    }
    decide(BEGIN, lane, norm, status);
    // A trial step counts as an evaluation; where the first step is given there is none.
    let automatic = !has(FIXED) && workgroupUniformLoad(&sh_clock.nfe) > 1u;
    if automatic && workgroupUniformLoad(&sh_moving) == MOVES {
        let change = sum_of_squares(trial_change(sh_cursor, y), y, y);
        workgroupBarrier();
        decide(CHANGE, lane, vec2<f32>(change, norm.y), status);
    }
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    let row = min(lane, job.rows - 1u);
    let owns = lane < job.rows;
    if lane == 0u {
        var clock = clocks[0];
        if clock.status == PAUSED && job.args.control.tape_steps > clock.accepted {
            clock.status = RUNNING;
        }
        sh_clock = clock;
        sh_cursor = aim(clock, lockstep_ticks(clock), clock.first);
        sh_moving = sh_cursor.moving;
        sh_cut = 0u;
    }
    if workgroupUniformLoad(&sh_moving) == STILL {
        return;
    }
    var status = select(DONE, row_status[row], owns);
    take_row(row);
    var y = load_state(sh_cursor.origin, row);
    // Evaluated and counted before this dispatch, if it goes on: the same numbers give the same bits.
    take_first(moment(sh_clock.t, vec2<u32>(), 0.0), y);
    // Points that are due by what is accepted, and those that this row has.
    var due = 0u;
    var saved = 0u;
    if job.mode == START {
        due = points_at_start(row).count;
        if owns {
            saved = save_at_start(row, y);
        }
        start(lane, y, &status);
    }
    // An attempt that was not through with its points is made again, and goes on with them.
    var written = workgroupUniformLoad(&sh_clock.pending);
    var own = written;
    var taken = false;
    var covered: Covered;
    var y1: State;
    for (var turn = 0u; turn < job.args.turns; turn++) {
        if workgroupUniformLoad(&sh_moving) == STILL {
            break;
        }
        let cursor = workgroupUniformLoad(&sh_cursor);
        if !taken {
            if cursor.first == 1u {
                take_first(moment(cursor.t, cursor.d, 0.0), y);
            }
            draw(cursor, row);
            y1 = take_stages(cursor, y);
            covered = points_within(row, cursor.t, cursor.d);
            taken = true;
        }
        let before = written;
        written = min(covered.count, before + SAVES);
        if owns {
            own += save_some(covered, before, cursor, row, y, y1) - before;
        }
        if written < covered.count {
            continue;
        }
        taken = false;
        var square = 0.0;
        if !has(FIXED) {
            square = sum_of_squares(stage_error(cursor.h), y, y1);
        }
        decide(ATTEMPT, lane, vec2<f32>(square, 0.0), &status);
        if sh_clock.accepted > cursor.step {
            due += written;
            saved += own;
            y = y1;
            if has(RECORD) && owns {
                store_state(cursor.target_, row, y);
            }
            if has(RECORD) && lane == 0u {
                steps[cursor.step] = vec4<u32>(cursor.t, cursor.d);
            }
            if has(FSAL) {
                K[0] = K[STAGES - 1u];
            }
        }
        written = 0u;
        own = 0u;
    }
    if owns {
        if saved != due || !loops_ran() {
            sh_cut = 1u;
        }
        store_state(slot_of(sh_clock.accepted, job.args.control.stride), row, y);
        row_status[row] = status;
    }
    workgroupBarrier();
    if lane == 0u {
        var clock = sh_clock;
        clock.saved += due;
        clock.pending = written;
        clock.first = sh_cursor.first;
        clock.cut |= sh_cut;
        clocks[0] = clock;
    }
}
