// Copies the state that a penalised step starts from, or the checkpoint before it, into slot 2 of the probe's tape.

struct ProbePlaceArgs {
    batch: u32,             // Rows of the whole batch.
    first: u32,             // The save slot of the first random time, and
    draw: u32,              // which of them is the probe's.
    stride: u32,            // Accepted steps from one kept state to the next.
    second: u32,            // Where the second states' tapes begin: the solve's, and
    probe_second: u32,      // the probe's.
}

alias Args = ProbePlaceArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> row_status: array<u32>;
@group(0) @binding(3) var<storage, read> params: Params;
@group(0) @binding(4) var<storage, read> saves: array<f32>;
@group(0) @binding(5) var<storage, read> tape: array<f32>;
@group(0) @binding(6) var<storage, read_write> probe_tape: array<f32>;

const UNBIASED = 0u;
const BIASED = 1u;
const AGAIN = 2u;

fn each_number(i: u32, row: u32, cursor: Cursor) {
    let size = job.rows * job.dim;
    let batch_size = job.args.batch * job.dim;
    var state = 0.0;
    let takes = takes_step(cursor, row_status[row]);
    if takes {
        if job.mode == UNBIASED {
            state = saves[(job.args.first + params.order[job.args.draw]) * batch_size + i];
        } else {
            state = tape[(2u + cursor.step / job.args.stride) * batch_size + i];
        }
    }
    probe_tape[2u * size + i] = state;
    if has(SECOND) {
        // Between steps the second state starts as the first one, as at the start of a solve.
        if job.mode != UNBIASED && cursor.step >= job.args.stride && takes {
            state = tape[job.args.second + (2u + cursor.step / job.args.stride) * batch_size + i];
        }
        probe_tape[job.args.probe_second + 2u * size + i] = state;
    }
}
