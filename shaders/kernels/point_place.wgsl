// Puts states at a random time where a measure of the dynamics is evaluated, behind them what is random or constant in it, and
// aims a cursor at that time. Of trajectories that failed there are zeros.

struct PointPlaceArgs {
    batch: u32,             // Rows of the whole batch.
    save: u32,              // The time's save slot, and
    start: u32,             // those of the interval's ends, where their chord is measured against.
    end: u32,
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
    if i == 0u {
        cursors[0] = Cursor(points[job.args.save], vec2<u32>(), 0.0, 0u, 0u, 0u, 0u, MOVES, 0u, 0u);
    }
    let size = job.rows * job.dim;
    if i >= size {
        return;
    }
    let row = i / job.dim;
    let alive = is_alive(row_status[row]);
    let batch_size = job.args.batch * job.dim;
    values[i] = select(0.0, saves[job.args.save * batch_size + i], alive);
    if job.mode == SIGNS {
        values[size + i] = sign_of(row, i % job.dim);
    } else if job.mode == CHORD {
        let way = saves[job.args.end * batch_size + i] - saves[job.args.start * batch_size + i];
        values[size + i] = select(0.0, way / job.span, alive);
    }
}
