// What the controller does with the clock of one trajectory.

// Takes the attempt's error into the clock; whether the step is accepted. Fixed steps always are.
fn ensemble_judge(clock: ptr<function, Clock>, cursor: Cursor, error: f32) -> bool {
    (*clock).nfe += job.stages - select(1u, 0u, cursor.first == 1u);
    var decision = Decision(true, 1.0, 0.0, 0.0);
    let share = ticks_to_share(cursor.d);
    if !has(FIXED) {
        var log_errors = (*clock).log_errors;
        decision = controller_adapt(&log_errors, error, *clock, share);
        (*clock).log_errors = log_errors;
    }
    (*clock).h = share * decision.factor;
    if decision.accept {
        (*clock).t = ticks_add(cursor.t, cursor.d);
        (*clock).accepted += 1u;
        (*clock).last_good = share;
        if !has(FIXED) {
            note_step(clock, share, error, decision.count);
        }
        (*clock).h = next_share(share, decision, rest_share(*clock));
        if ticks_equal((*clock).t, END_TICKS) {
            (*clock).status = DONE;
        }
    } else {
        (*clock).rejected += 1u;
    }
    return decision.accept;
}

// What is known of the error of a row's accepted step, which nobody has weighed yet: its norm, and of how many numbers it is a
// mean. The kernel that uses it declares `steps`.
fn note_error(step: u32, row: u32, error: f32) {
    steps[(job.args.control.tape_steps + step) * job.rows + row] =
        vec4<u32>(bitcast<u32>(error), bitcast<u32>(f32(job.dim)), 0u, 0u);
}

// The next attempt, if the trajectory may make one, from the error of the last one, or 0 where that is no matter.
fn ensemble_aim(clock: ptr<function, Clock>, error: f32, first: u32) -> Cursor {
    if (*clock).status == RUNNING {
        (*clock).status = bounded(*clock);
    }
    var d = next_ticks(*clock);
    if (*clock).status == RUNNING && too_small(*clock, d) {
        if is_finite(error) && error <= 1.0 {
            // The last attempt was no failure. The smallest step that time resolves shows whether there is one.
            d = smallest_ticks(*clock);
        } else {
            // A step shrinks this far under a finite error only at a discontinuity, otherwise over a pole.
            (*clock).status = select(NON_FINITE, STEP_TOO_SMALL, is_finite(error));
        }
    }
    return aim(*clock, d, first);
}
