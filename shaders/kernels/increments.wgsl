// Draws what each row's paths do over its step, two channels an invocation.

struct IncrementsArgs {
    number: u32,            // Of the draw, where it is apart from the path.
    channels: u32,          // Wiener processes of a row: one a feature, or one that all features share.
}

alias Args = IncrementsArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> params: Params;
@group(0) @binding(3) var<storage, read_write> increments: array<vec2<f32>>;

const FOLLOW = 0u;
const FRESH = 1u;

// Follows the path, or draws a number of those apart from it.
fn drawn(cursor: Cursor, pair: Pair) -> Increment {
    if job.mode == FRESH {
        return brownian_draw(pair, 0u, APART + job.args.number, cursor.h);
    }
    if has(FIXED) {
        return brownian_draw(pair, path_cell(cursor.t, job.fixed_ticks), 0u, cursor.h);
    }
    return brownian_between(pair, path_tick(cursor.t), path_tick(ticks_add(cursor.t, cursor.d)));
}

fn each(i: u32) {
    let pairs = (job.args.channels + 1u) / 2u;
    let row = i / pairs;
    if row >= job.rows {
        return;
    }
    let cursor = cursors[row * job.per_row];
    if cursor.moving != MOVES {
        return;
    }
    let number = i % pairs;
    let tick = job.span * 9.313225746154785e-10;
    let increment = drawn(cursor, Pair(params.paths.xy, params.paths.z + row, number, tick));
    let at = row * job.dim + 2u * number;
    let even = vec2<f32>(increment.w.x, increment.levy.x);
    increments[at] = even;
    if job.args.channels < job.dim {
        for (var d = 1u; d < job.dim; d++) {
            increments[at + d] = even;
        }
    } else if 2u * number + 1u < job.dim {
        increments[at + 1u] = vec2<f32>(increment.w.y, increment.levy.y);
    }
}
