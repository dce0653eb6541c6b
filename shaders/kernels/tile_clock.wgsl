// The clock that a batch shares, after a dispatch of steps of equal length: what as many attempts do to it, one by one.

struct TileClockArgs {
    control: Controller,
    turns: u32,             // Steps.
}

alias Args = TileClockArgs;

@group(0) @binding(1) var<storage, read_write> clocks: array<Clock>;
@group(0) @binding(2) var<storage, read_write> cursors: array<Cursor>;
@group(0) @binding(3) var<storage, read_write> row_status: array<u32>;
@group(0) @binding(4) var<storage, read_write> steps: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> points: array<vec2<u32>>;

fn each(c: u32) {
    if c > 0u {
        return;
    }
    var clock = clocks[0];
    if clock.status != RUNNING && clock.status != PAUSED {
        return;
    }
    clock.status = RUNNING;
    // The first attempt has its first stage from the solve's start, which counted it.
    var cursor = cursors[0];
    let code = lockstep_prepare(&clock, &cursor, select(cursor.first, 0u, clock.accepted == 0u));
    for (var turn = 0u; turn < job.args.turns; turn++) {
        if code != NOTHING || cursor.moving != MOVES {
            break;
        }
        let attempted = cursor;
        lockstep_attempt(&clock, &cursor, vec3<f32>(0.0, 0.0, 1.0));
        if has(RECORD) {
            steps[attempted.step] = vec4<u32>(attempted.t, attempted.d);
        }
    }
    clocks[0] = clock;
    cursors[0] = cursor;
}
