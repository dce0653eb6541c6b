// Sets the saved states of trajectories that failed: all of them to zero before the model's head, so that nothing of them
// reaches it, and what an encoder or a head has kept of them, and of points that a trajectory has not; those after the time that was reached to NaN for an application, and what is not finite.

struct SettleArgs {
    points: u32,
    missing: f32,           // What stands for a state that was not reached.
    first: u32,             // Where the states begin, or what was kept.
}

alias Args = SettleArgs;

@group(0) @binding(1) var<storage, read> row_status: array<u32>;
@group(0) @binding(2) var<storage, read_write> saves: array<f32>;
@group(0) @binding(3) var<storage, read> points: array<vec2<u32>>;

const ZERO = 0u;
const AFTER_FAILURE = 1u;

fn each(i: u32) {
    let size = job.rows * job.dim;
    // Those of trajectories that have yet to go on are still wanted.
    let row = (i % size) / job.dim;
    if i >= job.args.points * size {
        return;
    }
    let has_point = i / size < slots_of(row, job.args.points);
    let wanted = select(has_states(row_status[row]), is_alive(row_status[row]), has(MEASURE));
    if wanted && has_point {
        return;
    }
    let at = job.rows + 2u * row;
    let reached = vec2<u32>(row_status[at], row_status[at + 1u]);
    if job.mode == ZERO {
        saves[job.args.first + i] = 0.0;
    } else if job.mode == AFTER_FAILURE && (ticks_less(reached, points[i / size]) || !is_finite(saves[job.args.first + i])) {
        saves[job.args.first + i] = job.args.missing;
    }
}
