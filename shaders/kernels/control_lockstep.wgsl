// Judges an attempt of the whole batch and aims at the next one: `cpu::lockstep` on the device.

@group(0) @binding(1) var<storage, read_write> clocks: array<Clock>;
@group(0) @binding(2) var<storage, read_write> cursors: array<Cursor>;
@group(0) @binding(3) var<storage, read_write> row_status: array<u32>;
@group(0) @binding(4) var<storage, read> norms: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> steps: array<vec4<u32>>;

const WIDE = 256u;

const BEGIN = 0u;
const CHANGE = 1u;
const ATTEMPT = 2u;
const RESUME = 3u;

// Squared norms over the living rows, and how many rows there are.
var<workgroup> sh_sums: array<vec3<f32>, 256>;
var<workgroup> sh_code: u32;

// What the first invocation asks the others for.
const NOTHING = 0u;
const GIVE_UP_NON_FINITE = 1u;
const GIVE_UP_LARGE = 2u;
const REST = 3u;

fn reduce(lane: u32) -> vec3<f32> {
    for (var half = WIDE / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            sh_sums[lane] += sh_sums[lane + half];
        }
    }
    workgroupBarrier();
    return sh_sums[0];
}

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
            continue;
        }
        sum += vec3<f32>(norm, 1.0);
    }
    sh_sums[lane] = sum;
    return reduce(lane);
}

// Gives up the rows whose own error is not finite, or above 1: they keep the batch from going on. How many there were,
// and are.
fn give_up(lane: u32, status: u32) -> vec2<f32> {
    var counts = vec2<f32>();
    for (var row = lane; row < job.rows; row += WIDE) {
        if row_status[row] != RUNNING {
            continue;
        }
        let norm = norms[row].x;
        let large = status == STEP_TOO_SMALL && sqrt(norm / f32(job.dim)) > 1.0;
        let lost = !is_finite(norm) || large;
        counts += vec2<f32>(1.0, select(1.0, 0.0, lost));
        if lost {
            row_status[row] = status;
        }
    }
    sh_sums[lane] = vec3<f32>(counts, 0.0);
    return reduce(lane).xy;
}

// Aims at the next attempt, or says that rows have to be given up for there to be one.
fn prepare(clock: ptr<function, Clock>, first: u32) -> u32 {
    (*clock).status = bounded(*clock);
    var d = next_ticks(*clock);
    if (*clock).status == RUNNING && too_small(*clock, d) {
        if (*clock).was_rejected == 1u {
            (*clock).h = (*clock).last_good;
            (*clock).was_rejected = 0u;
            return GIVE_UP_LARGE;
        }
        // Nobody has failed at such a step yet. The smallest one that time resolves shows who does.
        d = share_to_ticks(2.0 * smallest_share());
    }
    cursors[0] = aim(*clock, d, first);
    return NOTHING;
}

fn begin(clock: ptr<function, Clock>, sum: vec3<f32>) -> u32 {
    let count = sum.z * f32(job.dim);
    if has(FIXED) {
        return prepare(clock, 0u);
    }
    if sum.z == 0.0 {
        (*clock).status = NON_FINITE;
        cursors[0].moving = 0u;
        return NOTHING;
    }
    if job.a[2].z > 0.0 {
        (*clock).h = min(job.a[2].z, 1.0);
        (*clock).last_good = (*clock).h;
        return prepare(clock, 0u);
    }
    (*clock).nfe += 1u;
    let slope = sqrt(sum.y / count);
    // The next kernel finds the trial step and the slope here.
    (*clock).h = initial_trial(sqrt(sum.x / count), slope);
    (*clock).last_good = slope;
    let d = share_to_ticks((*clock).h);
    cursors[0] = aim(*clock, d, 0u);
    return NOTHING;
}

fn change(clock: ptr<function, Clock>, sum: vec3<f32>) -> u32 {
    let norm = sqrt(sum.x / (sum.z * f32(job.dim)));
    (*clock).h = initial_step((*clock).h, (*clock).last_good, norm);
    (*clock).last_good = (*clock).h;
    return prepare(clock, 0u);
}

fn attempt(clock: ptr<function, Clock>, sum: vec3<f32>) -> u32 {
    let cursor = cursors[0];
    let share = ticks_to_share(cursor.d);
    (*clock).nfe += job.stages - select(1u, 0u, !has(FSAL) && cursor.first == 1u);
    var decision = Decision(true, 1.0);
    let error = sqrt(sum.x / max(sum.z * f32(job.dim), 1.0));
    if !has(FIXED) {
        var log_errors = (*clock).log_errors;
        decision = controller_adapt(&log_errors, error);
        (*clock).log_errors = log_errors;
    }
    (*clock).h = share * decision.factor;
    (*clock).was_rejected = select(1u, 0u, decision.accept);
    if decision.accept {
        if has(RECORD) {
            steps[(*clock).accepted] = vec4<u32>(cursor.t, cursor.d);
        }
        (*clock).t = ticks_add(cursor.t, cursor.d);
        (*clock).accepted += 1u;
        (*clock).failures = 0u;
        (*clock).last_good = share;
        if ticks_equal((*clock).t, END_TICKS) {
            (*clock).status = DONE;
            cursors[0] = aim(*clock, vec2<u32>(), 0u);
            return NOTHING;
        }
        return prepare(clock, select(1u, 0u, has(FSAL)));
    }
    (*clock).rejected += 1u;
    (*clock).failures = select((*clock).failures + 1u, 0u, is_finite(error));
    if (*clock).failures == PATIENCE {
        (*clock).failures = 0u;
        (*clock).h = (*clock).last_good;
        return GIVE_UP_NON_FINITE;
    }
    return prepare(clock, 0u);
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    if lane == 0u {
        let status = clocks[0].status;
        sh_code = select(REST, NOTHING, status == RUNNING || (job.mode == RESUME && status == PAUSED));
    }
    if workgroupUniformLoad(&sh_code) == REST {
        return;
    }
    let sum = total(lane);
    var clock = clocks[0];
    if lane == 0u {
        switch job.mode {
            case BEGIN: { sh_code = begin(&clock, sum); }
            case CHANGE: { sh_code = change(&clock, sum); }
            case ATTEMPT: { sh_code = attempt(&clock, sum); }
            default: {
                if clock.status == PAUSED {
                    clock.status = RUNNING;
                    sh_code = prepare(&clock, cursors[0].first);
                }
            }
        }
    }
    // Once for errors that stay non-finite; the step that is tried next may then be too small.
    for (var round = 0u; round < 2u; round++) {
        let code = workgroupUniformLoad(&sh_code);
        if code == NOTHING {
            break;
        }
        let status = select(STEP_TOO_SMALL, NON_FINITE, code == GIVE_UP_NON_FINITE);
        let counts = give_up(lane, status);
        if lane == 0u {
            if counts.y == 0.0 || counts.y == counts.x {
                clock.status = status;
                cursors[0].moving = 0u;
                sh_code = NOTHING;
            } else {
                sh_code = prepare(&clock, 0u);
            }
        }
    }
    if lane == 0u {
        clocks[0] = clock;
    }
}
