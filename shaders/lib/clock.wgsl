// Where a solve is: clocks belong to the controller, cursors tell the stage kernels which step they work on.

// Twins of `error::Status`, and two of the device's own. PAUSED: the tape is full and the host makes room. STANDS: a row whose own
// interval is empty is done from the start, and takes no step.
const DONE = 0u;
const RUNNING = 1u;
const MAX_STEPS = 2u;
const STEP_TOO_SMALL = 3u;
const NON_FINITE = 4u;
const PAUSED = 5u;
const STANDS = 6u;

struct Clock {
    t: vec2<u32>,             // Ticks since the interval's start.
    log_errors: vec2<f32>,    // Controller memory: base-2 logarithms of the last two accepted errors.
    h: f32,                   // Length of the next attempt as a share of the interval.
    last_good: f32,           // That of the last accepted step, or of the first attempt.
    accepted: u32,
    rejected: u32,
    nfe: u32,
    status: u32,
    failures: u32,            // Attempts in a row with a non-finite error.
    was_rejected: u32,        // Whether the last attempt of a batch in lockstep was, unless rows were given up for it.
    saved: u32,               // Points that a solve of whole trajectories has written, and those of the attempt at hand.
    pending: u32,
    cut: u32,                 // Whether an adapter stopped its loops.
    first: u32,               // Whether such a solve evaluates the first stage of its next attempt.
    ideal: f32,               // Steps of an ideal controller so far: `method::IdealSteps`;
    rate: f32,                // per share of the interval in the last step that told; before there is one, minus the share and
    waiting: f32,             // the number of those that wait for it.
    wish: f32,                // The first step that the solve would have begun with, as a share; 0 before one was accepted.
}

// The step from tape slot `origin` to slot `target_`.
struct Cursor {
    t: vec2<u32>,
    d: vec2<u32>,             // Length in ticks.
    h: f32,                   // The same, signed, in units of time.
    origin: u32,
    target_: u32,
    k_first: u32,             // Where the first stage is, and the last one of an FSAL method.
    k_last: u32,
    moving: u32,              // STILL, MOVES or RESTS.
    first: u32,               // Whether the first stage has to be evaluated.
    step: u32,
}

// What a cursor's row does: there is nothing to be done, it takes the step, or it rests while others take theirs.
const STILL = 0u;
const MOVES = 1u;
const RESTS = 2u;

// Whether a row takes its cursor's step.
fn takes_step(cursor: Cursor, status: u32) -> bool {
    return cursor.moving == MOVES && is_alive(status);
}

// Whether no stage of the cursor's step is wanted. A row at rest may have to write zeros.
fn wants_no_stage(cursor: Cursor) -> bool {
    return cursor.moving == STILL || (cursor.moving == RESTS && !has(KEEP)) || (has(FIRST) && cursor.first == 0u);
}

// How many clocks and cursors there are.
fn clock_count() -> u32 {
    return select(1u, job.rows, job.per_row == 1u);
}

fn slot_of(step: u32, stride: u32) -> u32 {
    // Kept states follow the two that are overwritten in turn.
    return select(step & 1u, 2u + step / stride, step % stride == 0u);
}

fn stage_slot(stage: u32, cursor: Cursor) -> u32 {
    if stage == 0u {
        return cursor.k_first;
    }
    if stage + 1u == job.stages && has(FSAL) {
        return cursor.k_last;
    }
    return stage + 1u;
}

// Whether a row takes the steps that there are.
fn is_alive(status: u32) -> bool {
    return status == DONE || status == RUNNING;
}

// Whether it is where it should be.
fn is_done(status: u32) -> bool {
    return status == DONE || status == STANDS;
}

// Whether its saved states are wanted.
fn has_states(status: u32) -> bool {
    return is_alive(status) || status == STANDS;
}
