// Puts clocks, cursors and rows at the start of a solve.

struct ControlArgs {
    control: Controller,
}

alias Args = ControlArgs;

@group(0) @binding(1) var<storage, read_write> clocks: array<Clock>;
@group(0) @binding(2) var<storage, read_write> cursors: array<Cursor>;
@group(0) @binding(3) var<storage, read_write> row_status: array<u32>;
@group(0) @binding(4) var<storage, read_write> outcome: Outcome;
@group(0) @binding(5) var<storage, read> learnt: LearntState;

fn each(row: u32) {
    if row >= job.rows {
        return;
    }
    row_status[row] = select(RUNNING, STANDS, is_still(row));
    if row == 0u {
        outcome.cut = 0u;
    }
    if row == 0u || job.per_row == 1u {
        let memory = vec2<f32>(job.args.control.log_initial_error, job.args.control.log_initial_error);
        // The first step's length where one is given, or known from earlier solves; 0 where it is found from the slope.
        var h = max(first_share(row), 0.0);
        if job.args.control.first_length < 0.0 && (learnt.known & FIRST_LENGTH) != 0u {
            h = min(CAUTION * own_exp2(learnt.first), 1.0);
        }
        var clock =
            Clock(vec2<u32>(), memory, h, 0.0, 0u, 0u, 1u, RUNNING, 0u, 0u, 0u, 0u, 0u, 0u, 0.0, 0.0, 0.0, 0.0);
        cursors[row] = aim(clock, vec2<u32>(), 1u);
        if job.span == 0.0 || (job.per_row == 1u && is_still(row)) {
            // There is nowhere to go.
            clock.status = DONE;
            clock.nfe = 0u;
        }
        clocks[row] = clock;
    }
}
