// Judges each trajectory's own attempt and aims at its next one: `cpu::ensemble` on the device.

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

const BEGIN = 0u;
const CHANGE = 1u;
const ATTEMPT = 2u;
const RESUME = 3u;
// In an ensemble, trajectories solved whole aim for themselves.
const AIM = 4u;

fn each(row: u32) {
    if row >= job.rows {
        return;
    }
    var clock = clocks[row];
    if clock.status != RUNNING && !(job.mode == RESUME && clock.status == PAUSED) {
        if is_still(row) {
            cursors[row].moving = STILL;
        }
        return;
    }
    take_lengths(row);
    let norm = norms[row] / f32(job.dim);
    switch job.mode {
        case BEGIN: { ensemble_begin(&clock, norm, row); }
        case CHANGE: {
            // Where no trial was counted the first step was known.
            if clock.nfe > 1u {
                clock.h = initial_step(clock.h, sqrt(norm.y), sqrt(norm.x));
            }
            cursors[row] = ensemble_aim(&clock, 0.0, 0u);
        }
        case ATTEMPT: { ensemble_attempt(&clock, sqrt(norm.x), row); }
        default: {
            if clock.status == PAUSED {
                clock.status = RUNNING;
                cursors[row] = ensemble_aim(&clock, 0.0, cursors[row].first);
            }
        }
    }
    clocks[row] = clock;
    row_status[row] = select(clock.status, RUNNING, clock.status == PAUSED);
}

fn ensemble_begin(clock: ptr<function, Clock>, norm: vec2<f32>, row: u32) {
    if !(is_finite(norm.x) && is_finite(norm.y)) {
        (*clock).status = NON_FINITE;
        cursors[row].moving = STILL;
        return;
    }
    if has(FIXED) || (*clock).h > 0.0 {
        (*clock).h = min((*clock).h, 1.0);
        cursors[row] = ensemble_aim(clock, 0.0, 0u);
        if job.args.control.first_length < 0.0 {
            // No trial: the first attempt is aimed at when that is over.
            cursors[row].moving = STILL;
        }
        return;
    }
    (*clock).nfe += 1u;
    (*clock).h = initial_trial(sqrt(norm.x), sqrt(norm.y));
    cursors[row] = aim(*clock, share_to_ticks((*clock).h), 0u);
}

fn ensemble_attempt(clock: ptr<function, Clock>, error: f32, row: u32) {
    let cursor = cursors[row];
    if ensemble_judge(clock, cursor, error) && has(RECORD) {
        steps[cursor.step * job.rows + row] = vec4<u32>(cursor.t, cursor.d);
        if has(ERRORS) {
            note_error(cursor.step, row, error);
        }
    }
    let first = select(0u, 1u, (*clock).accepted > cursor.step && !keeps_last((*clock).t));
    cursors[row] = ensemble_aim(clock, error, first);
}
