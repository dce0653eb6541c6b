// The cotangent of a stage's state, and with it that of the stage before it, whose last part it is: `dense_vjp_input` of the first
// layer and `stage_bar` do the same in two dispatches. Where no state is saved within steps, and there is no noise.

struct DenseVjpStageArgs {
    weights: array<vec4<f32>, 3>,   // Of the slots of `state_bars`: the stages' states, the error, and another state.
    end: f32,                       // Of the step's end.
    error_slot: u32,
    difference: f32,                // Of the difference of the last two stages.
    inputs: u32,
    outputs: u32,
    theta: u32,                     // First parameter of the layer.
    source: u32,                    // Offsets of z_bar and of the state's cotangent, in elements.
    target_: u32,
    part_depth: u32,
}

alias Args = DenseVjpStageArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> theta: array<Weight>;
@group(0) @binding(3) var<storage, read> z_bar: array<f32>;
@group(0) @binding(4) var<storage, read_write> state_bars: array<f32>;
@group(0) @binding(5) var<storage, read> row_status: array<u32>;
@group(0) @binding(6) var<storage, read> bar: array<f32>;
@group(0) @binding(7) var<storage, read_write> stage_bar: array<f32>;

fn emit(row: u32, n: u32, part: u32, sums: vec4<f32>) {
    if row >= job.rows || n >= job.args.inputs {
        return;
    }
    let cursor = cursors[row * job.per_row];
    let size = job.rows * job.dim;
    let first = row * job.dim + n;
    for (var i = first; i < first + min(4u, job.args.inputs - n); i++) {
        state_bars[job.args.target_ + i] = sums[i - first];
        if cursor.moving == STILL {
            continue;
        }
        var cotangent = 0.0;
        if takes_step(cursor, row_status[row]) {
            cotangent = of_slope(i, size, cursor, of_states(i, size, job.args.end));
        }
        stage_bar[i] = cotangent;
    }
}
