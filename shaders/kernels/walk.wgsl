// Aims the backward walk's cursors: at the next step back, or at a step to be taken again from a checkpoint.

struct WalkArgs {
    stride: u32,            // Accepted steps from one kept state to the next.
    position: u32,
    segment: u32,           // First slot of the tape's states between checkpoints.
}

alias Args = WalkArgs;

@group(0) @binding(1) var<storage, read> clocks: array<Clock>;
@group(0) @binding(2) var<storage, read> steps: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> outcome: Outcome;
@group(0) @binding(4) var<storage, read_write> cursors: array<Cursor>;

const BEGIN = 0u;
// Position since the last checkpoint was restored.
const BACK = 1u;
// How many steps after the checkpoint.
const AGAIN = 2u;
// Any step, for dense output.
const AT = 3u;
// On over as many steps as were walked in tiles.
const PASS = 4u;

// Between checkpoints states are in a segment of the tape.
fn walk_slot(step: u32) -> u32 {
    let within = step % job.args.stride;
    return select(job.args.segment + within - 1u, 2u + step / job.args.stride, within == 0u);
}

fn aim_at(step: u32, origin: u32, target_: u32, c: u32, left: u32) -> Cursor {
    let entry = steps[step * clock_count() + c];
    let h = ticks_to_share(entry.zw) * job.span;
    return Cursor(entry.xy, entry.zw, h, origin, target_, 0u, 1u, MOVES, 1u, left);
}

fn each(c: u32) {
    if c >= clock_count() {
        return;
    }
    // A solve that has yet to go on needs its stages: then nobody moves, and nobody writes the zeros of a row at rest.
    let rests = select(STILL, RESTS, job.per_row == 1u && outcome.unfinished == 0u);
    // The cursor's step is the one it is at, which is also how many are left.
    let left = cursors[c].step;
    switch job.mode {
        case BEGIN: {
            let count = select(clocks[c].accepted, 0u, outcome.unfinished > 0u);
            cursors[c] = Cursor(vec2<u32>(), vec2<u32>(), 0.0, 2u, 1u, 0u, 1u, STILL, 0u, count);
        }
        case BACK: {
            if left == 0u || (job.args.position > 0u && left % job.args.stride == 0u) {
                cursors[c].moving = rests;
            } else {
                cursors[c] = aim_at(left - 1u, walk_slot(left - 1u), 1u, c, left - 1u);
            }
        }
        case AGAIN: {
            let last = max(left, 1u) - 1u;
            let step = last - last % job.args.stride + job.args.position;
            if left == 0u || step >= last {
                cursors[c].moving = rests;
            } else {
                cursors[c] = aim_at(step, walk_slot(step), walk_slot(step + 1u), c, left);
            }
        }
        case PASS: {
            cursors[c].step = left - min(left, job.args.position);
        }
        default: {
            if job.args.position < clocks[c].accepted {
                cursors[c] = aim_at(job.args.position, slot_of(job.args.position, job.args.stride), 1u, c, 0u);
            } else {
                cursors[c].moving = rests;
            }
        }
    }
}
