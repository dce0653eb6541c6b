// Judges an attempt of the whole batch and aims at the next one.

struct ControlArgs {
    control: Controller,
}

alias Args = ControlArgs;

@group(0) @binding(1) var<storage, read_write> clocks: array<Clock>;
@group(0) @binding(2) var<storage, read_write> cursors: array<Cursor>;
@group(0) @binding(3) var<storage, read_write> row_status: array<u32>;
@group(0) @binding(4) var<storage, read> norms: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> steps: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read> points: array<vec2<u32>>;

const WIDE = 256u;

const BEGIN = 0u;
const CHANGE = 1u;
const ATTEMPT = 2u;
const RESUME = 3u;
// Aims where a solve by other kernels has come to.
const AIM = 4u;

const REST = 9u;

// Squared norms over the living rows, and how many rows there are.
alias Summand = vec3<f32>;

var<workgroup> sh_code: u32;

fn total(lane: u32) -> vec3<f32> {
    var sum = vec3<f32>();
    for (var row = lane; row < job.rows; row += WIDE) {
        if row_status[row] != RUNNING {
            continue;
        }
        let norm = norms[row];
        if job.mode == BEGIN && !(is_finite(norm.x) && is_finite(norm.y)) {
            // A row whose derivative has no finite norm cannot take any step.
            row_status[row] = NON_FINITE;
            note_reached(row, vec2<u32>());
            continue;
        }
        sum += vec3<f32>(norm, 1.0);
    }
    return sum_of_lanes(lane, sum);
}

// How many rows there were and are, after those that keep the batch from going on were given up.
fn give_up(lane: u32, status: u32) -> vec2<f32> {
    var counts = vec2<f32>();
    for (var row = lane; row < job.rows; row += WIDE) {
        if row_status[row] != RUNNING {
            continue;
        }
        let lost = lockstep_lost(norms[row].x, status);
        counts += vec2<f32>(1.0, select(1.0, 0.0, lost));
        if lost {
            row_status[row] = status;
            note_reached(row, clocks[0].t);
        }
    }
    return sum_of_lanes(lane, vec3<f32>(counts, 0.0)).xy;
}

fn decide(clock: ptr<function, Clock>, cursor: ptr<function, Cursor>, sum: vec3<f32>) -> u32 {
    switch job.mode {
        case BEGIN: {
            let code = lockstep_begin(clock, cursor, sum);
            if job.args.control.first_length < 0.0 && (*clock).nfe == 1u {
                // No trial: the first attempt is aimed at when that is over.
                (*cursor).moving = STILL;
            }
            return code;
        }
        case CHANGE: {
            if (*clock).nfe == 1u {
                return lockstep_prepare(clock, cursor, 0u);
            }
            return lockstep_change(clock, cursor, sum);
        }
        case ATTEMPT: {
            let attempted = *cursor;
            let code = lockstep_attempt(clock, cursor, sum);
            if has(RECORD) && (*clock).accepted > attempted.step {
                steps[attempted.step] = vec4<u32>(attempted.t, attempted.d);
                if has(ERRORS) {
                    note_error(attempted.step, sum);
                }
            }
            return code;
        }
        default: {
            if (*clock).status == PAUSED {
                (*clock).status = RUNNING;
                return lockstep_prepare(clock, cursor, (*cursor).first);
            }
            return NOTHING;
        }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    if lane == 0u {
        let status = clocks[0].status;
        sh_code = select(REST, NOTHING, status == RUNNING || (job.mode == RESUME && status == PAUSED));
        if job.mode == AIM {
            cursors[0] = aim(clocks[0], next_ticks(clocks[0]), 0u);
            sh_code = REST;
        }
    }
    if workgroupUniformLoad(&sh_code) == REST {
        return;
    }
    let sum = total(lane);
    var clock = clocks[0];
    var cursor = cursors[0];
    if lane == 0u {
        sh_code = decide(&clock, &cursor, sum);
    }
    // Once for errors that stay non-finite; the step that is tried next may then be too small.
    for (var round = 0u; round < 2u; round++) {
        let code = workgroupUniformLoad(&sh_code);
        if code == NOTHING {
            break;
        }
        let status = lockstep_verdict(code);
        let counts = give_up(lane, status);
        if lane == 0u {
            sh_code = lockstep_go_on(&clock, &cursor, counts, status);
        }
    }
    if lane == 0u {
        clocks[0] = clock;
        cursors[0] = cursor;
    }
}
