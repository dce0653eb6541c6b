// Puts states at a random time where a measure of the dynamics is evaluated, and aims a cursor at that time; behind them what is
// random or constant in it, which is all where a step's stage has left its states. Of trajectories that failed there are zeros.

struct PointPlaceArgs {
    batch: u32,             // Rows of the whole batch.
    first: u32,             // The save slot of the first random time,
    draw: u32,              // which of them it is, and
    start: u32,             // those of the interval's ends, where their chord is measured against.
    end: u32,
    placed: u32,            // 1 where the states are there.
}

alias Args = PointPlaceArgs;

@group(0) @binding(1) var<storage, read> row_status: array<u32>;
@group(0) @binding(2) var<storage, read> params: Params;
@group(0) @binding(3) var<storage, read> points: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> saves: array<f32>;
@group(0) @binding(5) var<storage, read_write> cursors: array<Cursor>;
@group(0) @binding(6) var<storage, read_write> values: array<f32>;

const UNDIRECTED = 0u;
const SIGNS = 1u;
const CHORD = 2u;

const REGULARIZATION_DIRECTION = 8u;

// A random sign of a trajectory's feature: `method::Signs`.
fn sign_of(row: u32, feature: u32) -> f32 {
    let counter = vec4<u32>(feature / 4u, row, params.step.x, REGULARIZATION_DIRECTION);
    return select(-1.0, 1.0, (philox4x32(counter, params.seed)[feature % 4u] >> 31u) == 0u);
}

fn each(i: u32) {
    let save = job.args.first + params.order[job.args.draw];
    if i == 0u && job.args.placed == 0u {
        cursors[0] = Cursor(points[save], vec2<u32>(), 0.0, 0u, 0u, 0u, 0u, MOVES, 0u, 0u);
    }
    let size = job.rows * job.dim;
    if i >= size {
        return;
    }
    let row = i / job.dim;
    let alive = is_alive(row_status[row]);
    let batch_size = job.args.batch * job.dim;
    if job.args.placed == 0u {
        values[i] = select(0.0, saves[save * batch_size + i], alive);
    }
    if job.mode == SIGNS {
        values[size + i] = sign_of(row, i % job.dim);
    } else if job.mode == CHORD {
        let way = saves[job.args.end * batch_size + i] - saves[job.args.start * batch_size + i];
        values[size + i] = select(0.0, way / interval_of(row).y, alive);
    }
}
