// The step-size controller: `method::Controller::adapt` and the automatic initial step, on clocks and cursors.
// A kernel that uses it has it among its arguments as `control`.

// Powers are divided by the power of the error; lengths are shares of the interval.
struct Controller {
    beta: vec4<f32>,            // Of the last three errors, and where a step is rejected.
    log_safety: f32,
    log_floor: f32,
    min_factor: f32,
    max_factor: f32,
    smallest_share: f32,
    log_initial_error: f32,
    first_length: f32,          // Of a given first step; 0 where it is automatic, -1 where it is carried on.
    longest: f32,
    first_factor: f32,          // Largest one of the first step.
    alpha: f32,
    finish: f32,                // 1 where a step may reach for the next stop.
    blank: f32,                 // 1 where the first step has no error before it.
    error_power: f32,           // 1 over it, as is
    initial_power: f32,         // that of the automatic initial step.
    max_steps: u32,
    tape_steps: u32,            // Steps that the tape holds.
    fixed_steps: u32,
    stride: u32,                // Accepted steps from one kept state to the next.
    first_stop: u32,            // Where the times at which steps end lie among the points,
    stops: u32,                 // and how many there are.
}

const PATIENCE = 8u;

struct Decision {
    accept: bool,
    factor: f32,
    reach: f32,
    count: f32,
}

// Judges an attempt of length `share`; a non-finite error rejects, shrinks by the smallest factor and leaves the memory as
// it was.
fn controller_adapt(log_errors: ptr<function, vec2<f32>>, error: f32, clock: Clock, share: f32) -> Decision {
    if !is_finite(error) {
        return Decision(false, job.args.control.min_factor, 0.0, 0.0);
    }
    let first = clock.accepted == 0u;
    let log_error = own_log2(error);
    let accept = error <= 1.0;
    let beta = job.args.control.beta;
    let memory = *log_errors;
    var grow = job.args.control.log_safety - beta.x * log_error - beta.y * memory.x - beta.z * memory.y;
    if job.args.control.alpha != 0.0 && !first {
        grow -= job.args.control.alpha * own_log2(share / clock.last_good);
    }
    // What the attempt's own error allows.
    let alone = job.args.control.log_safety - job.args.control.error_power * log_error;
    let blank = first && job.args.control.blank == 1.0;
    grow = select(grow, alone, blank);
    let shrink = job.args.control.log_safety - beta.w * log_error;
    let largest = select(job.args.control.max_factor, job.args.control.first_factor, first);
    let factor = clamp(own_exp2(select(shrink, grow, accept)), job.args.control.min_factor, largest);
    if accept {
        let newest = max(log_error, job.args.control.log_floor);
        *log_errors = vec2<f32>(newest, select(memory.x, newest, blank));
    }
    let reach = select(0.0, min(own_exp2(alone), largest), accept && job.args.control.finish == 1.0);
    return Decision(accept, factor, reach, own_exp2(job.args.control.error_power * log_error));
}

// Share of the step after an accepted one, which may be the rest before the solve has to stop.
fn next_share(share: f32, decision: Decision, rest: f32) -> f32 {
    return select(share * decision.factor, max(rest, share * decision.factor), share * decision.reach >= rest);
}

// Below this error a step's own estimate is mostly rounding.
const RESOLVED_ERROR = 0.002;

// The largest growth of a first step that is believed, and the longest first step that is wished for, as a share.
const MOST_GROWTH = 10.0;
const LONGEST_WISH = 2.0;

// Takes an accepted step into the count of ideal ones: `method::IdealSteps::push`; and the first one's wish.
fn note_step(clock: ptr<function, Clock>, share: f32, error: f32, count: f32) {
    if (*clock).wish == 0.0 {
        (*clock).wish = min(share * min(own_exp2(job.args.control.log_safety) / count, MOST_GROWTH), LONGEST_WISH);
    }
    if error >= RESOLVED_ERROR {
        let rate = count / share;
        (*clock).ideal += count - rate * min((*clock).rate, 0.0);
        (*clock).rate = rate;
        (*clock).waiting = 0.0;
    } else if (*clock).rate > 0.0 {
        (*clock).ideal += (*clock).rate * share;
    } else {
        (*clock).rate -= share;
        (*clock).waiting += count;
    }
}

// Hairer, Norsett & Wanner II.4 in units of the interval: the trial step, as a share, from scaled norms of y and f.
fn initial_trial(d0: f32, slope: f32) -> f32 {
    let d1 = slope * abs(job.span);
    return min(select(0.01 * d0 / d1, 1e-6, d0 < 1e-5 || d1 < 1e-5), 1.0);
}

// The first step, as a share; `change` is the scaled norm of f1 - f0 over the trial step.
fn initial_step(trial: f32, slope: f32, change: f32) -> f32 {
    let largest = max(slope * abs(job.span), change * abs(job.span) / trial);
    var h1 = max(trial * 1e-3, 1e-6);
    if largest > 1e-15 {
        h1 = own_exp2(own_log2(0.01 / largest) * job.args.control.initial_power);
    }
    return min(min(100.0 * trial, h1), 1.0);
}

// The cursor of the clock's next attempt.
fn aim(clock: Clock, d: vec2<u32>, first: u32) -> Cursor {
    return Cursor(
        clock.t,
        d,
        ticks_to_share(d) * job.span,
        slot_of(clock.accepted, job.args.control.stride),
        slot_of(clock.accepted + 1u, job.args.control.stride),
        clock.accepted & 1u,
        (clock.accepted + 1u) & 1u,
        select(STILL, MOVES, clock.status == RUNNING),
        first,
        clock.accepted,
    );
}

// The status that bounds on steps give, RUNNING where there are more to take.
fn bounded(clock: Clock) -> u32 {
    if has(FIXED) && clock.accepted == job.args.control.fixed_steps {
        return DONE;
    }
    if clock.accepted + clock.rejected == job.args.control.max_steps {
        return MAX_STEPS;
    }
    return select(RUNNING, PAUSED, clock.accepted == job.args.control.tape_steps);
}
