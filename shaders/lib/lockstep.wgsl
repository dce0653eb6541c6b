// What the controller does with the clock that a batch shares; `cpu::lockstep` has the same decisions.

// What has to be done before there is a next attempt.
const NOTHING = 0u;
const GIVE_UP_NON_FINITE = 1u;
const GIVE_UP_LARGE = 2u;

// Ticks of the next attempt, of which nobody has to be given up for.
fn lockstep_ticks(clock: Clock) -> vec2<u32> {
    let d = next_ticks(clock);
    // Nobody has failed at such a step yet. The smallest one that time resolves shows who does.
    return select(d, smallest_ticks(clock), clock.status == RUNNING && too_small(clock, d));
}

// Aims at the next attempt, or says that rows have to be given up for there to be one.
fn lockstep_prepare(clock: ptr<function, Clock>, cursor: ptr<function, Cursor>, first: u32) -> u32 {
    (*clock).status = bounded(*clock);
    let rejected = (*clock).status == RUNNING && (*clock).was_rejected == 1u;
    if rejected && too_small(*clock, next_ticks(*clock)) {
        (*clock).h = (*clock).last_good;
        (*clock).was_rejected = 0u;
        return GIVE_UP_LARGE;
    }
    *cursor = aim(*clock, lockstep_ticks(*clock), first);
    return NOTHING;
}

// From squared norms of y and f over the living rows, and how many there are, to the first attempt or to the trial step,
// whose length is left in the clock.
fn lockstep_begin(clock: ptr<function, Clock>, cursor: ptr<function, Cursor>, sum: vec3<f32>) -> u32 {
    let count = sum.z * f32(job.dim);
    if has(FIXED) {
        return lockstep_prepare(clock, cursor, 0u);
    }
    if sum.z == 0.0 {
        (*clock).status = NON_FINITE;
        (*cursor).moving = STILL;
        return NOTHING;
    }
    if (*clock).h > 0.0 {
        (*clock).h = min((*clock).h, 1.0);
        (*clock).last_good = (*clock).h;
        return lockstep_prepare(clock, cursor, 0u);
    }
    (*clock).nfe += 1u;
    (*clock).h = initial_trial(sqrt(sum.x / count), sqrt(sum.y / count));
    *cursor = aim(*clock, share_to_ticks((*clock).h), 0u);
    return NOTHING;
}

// From the squared norms of the change of f over the trial step, and of f before it, to the first attempt.
fn lockstep_change(clock: ptr<function, Clock>, cursor: ptr<function, Cursor>, sum: vec3<f32>) -> u32 {
    let count = sum.z * f32(job.dim);
    (*clock).h = initial_step((*clock).h, sqrt(sum.y / count), sqrt(sum.x / count));
    (*clock).last_good = (*clock).h;
    return lockstep_prepare(clock, cursor, 0u);
}

// What is known of an accepted step's error, which nobody has weighed yet: its norm, and of how many numbers it is a mean. The
// kernel that uses it declares `steps`.
fn note_error(step: u32, sum: vec3<f32>) {
    let count = max(sum.z * f32(job.dim), 1.0);
    steps[job.args.control.tape_steps + step] =
        vec4<u32>(bitcast<u32>(sqrt(sum.x / count)), bitcast<u32>(count), 0u, 0u);
}

// Judges an attempt by its squared error norm. It is accepted if the clock counts one more step afterwards.
fn lockstep_attempt(clock: ptr<function, Clock>, cursor: ptr<function, Cursor>, sum: vec3<f32>) -> u32 {
    let attempted = *cursor;
    let share = ticks_to_share(attempted.d);
    (*clock).nfe += job.stages - select(1u, 0u, attempted.first == 1u);
    var decision = Decision(true, 1.0, 0.0, 0.0);
    let error = sqrt(sum.x / max(sum.z * f32(job.dim), 1.0));
    if !has(FIXED) {
        var log_errors = (*clock).log_errors;
        decision = controller_adapt(&log_errors, error, *clock, share);
        (*clock).log_errors = log_errors;
    }
    (*clock).h = share * decision.factor;
    (*clock).was_rejected = select(1u, 0u, decision.accept);
    if decision.accept {
        (*clock).t = ticks_add(attempted.t, attempted.d);
        (*clock).accepted += 1u;
        (*clock).failures = 0u;
        (*clock).last_good = share;
        if !has(FIXED) {
            note_step(clock, share, error, decision.count);
        }
        (*clock).h = next_share(share, decision, rest_share(*clock));
        if ticks_equal((*clock).t, END_TICKS) {
            (*clock).status = DONE;
            *cursor = aim(*clock, vec2<u32>(), 0u);
            return NOTHING;
        }
        return lockstep_prepare(clock, cursor, select(1u, 0u, keeps_last((*clock).t)));
    }
    (*clock).rejected += 1u;
    (*clock).failures = select((*clock).failures + 1u, 0u, is_finite(error));
    if (*clock).failures == PATIENCE {
        (*clock).failures = 0u;
        (*clock).h = (*clock).last_good;
        return GIVE_UP_NON_FINITE;
    }
    return lockstep_prepare(clock, cursor, 0u);
}

// Where a row comes to an end before the others do.
fn note_reached(row: u32, t: vec2<u32>) {
    row_status[job.rows + 2u * row] = t.x;
    row_status[job.rows + 2u * row + 1u] = t.y;
}

// The status of the rows that a code gives up.
fn lockstep_verdict(code: u32) -> u32 {
    return select(STEP_TOO_SMALL, NON_FINITE, code == GIVE_UP_NON_FINITE);
}

// Whether a row keeps the batch from going on: its own error is not finite, or above 1.
fn lockstep_lost(norm: f32, status: u32) -> bool {
    return !is_finite(norm) || (status == STEP_TOO_SMALL && sqrt(norm / f32(job.dim)) > 1.0);
}

// After rows were given up, of which there were `counts.x` and are `counts.y`.
fn lockstep_go_on(
    clock: ptr<function, Clock>,
    cursor: ptr<function, Cursor>,
    counts: vec2<f32>,
    status: u32,
) -> u32 {
    if counts.y == 0.0 || counts.y == counts.x {
        (*clock).status = status;
        (*cursor).moving = STILL;
        return NOTHING;
    }
    return lockstep_prepare(clock, cursor, 0u);
}
