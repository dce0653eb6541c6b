// A tile of the batch in a workgroup: QUADS times four trajectories, which a vector has side by side. What an invocation has
// of the state, of the method's stages and of a layer is one feature, or unit, of one such four: number `lane` of
// `[quad][feature]`. Only what others need goes through workgroup memory. LANES, QUADS, WIDEST, DIM and LENGTH are printed for the
// problem; the kernel that uses it has `once`, which is 1, among its arguments.

// What the widest layer gives. There is room for two, so that one is read while the next is written.
const HALF = WIDEST * QUADS;

var<workgroup> sh_tile: array<vec4<f32>, LENGTH>;

// Where the last thing lies that was shared.
var<private> SHARED: u32 = HALF;

// Puts numbers, one of each of the first `count` invocations, where all see them. Those from before last time are gone.
fn share(lane: u32, count: u32, x: vec4<f32>) {
    SHARED = HALF - SHARED;
    if lane < count {
        sh_tile[SHARED + lane] = x;
    }
    workgroupBarrier();
}

// A unit's `[x, t, 1] W` of what lies at `x`, in the order of the products. A driver that knew how many inputs there are would
// unroll the loop in each of the stages, and compile for seconds.
fn unit(x: u32, lane: u32, inputs: u32, outputs: u32, first: u32, time: bool, t: f32) -> vec4<f32> {
    let from_ = x + lane / outputs * inputs;
    var at = first + lane % outputs;
    var z = vec4<f32>();
    for (var i = 0u; i < inputs * job.args.once; i++) {
        z = fma(sh_tile[from_ + i], vec4<f32>(layer_weight(at)), z);
        at += outputs;
    }
    if time {
        z = fma(vec4<f32>(t), vec4<f32>(layer_weight(at)), z);
        at += outputs;
    }
    return z + vec4<f32>(layer_weight(at));
}

// The activation's values, and its derivatives.
struct Activated {
    value: vec4<f32>,
    slope: vec4<f32>,
}

fn activated(kind: u32, z: vec4<f32>) -> Activated {
    let x = activate(kind, z.x);
    let y = activate(kind, z.y);
    let u = activate(kind, z.z);
    let v = activate(kind, z.w);
    return Activated(vec4<f32>(x.x, y.x, u.x, v.x), vec4<f32>(x.y, y.y, u.y, v.y));
}

// The first of the four trajectories that an invocation has a feature of.
fn first_row(group: u32, lane: u32) -> u32 {
    return 4u * (group * QUADS + lane / DIM);
}

// Where numbers of four trajectories lie in a slot of the batch's states. Beyond the last, that one stands in.
fn places(slot: u32, row: u32, feature: u32) -> vec4<u32> {
    let rows = min(vec4<u32>(row, row + 1u, row + 2u, row + 3u), vec4<u32>(job.rows - 1u));
    return (slot * job.rows + rows) * DIM + feature;
}

// Number `step` of equally long steps, of which there are `count`: its start, and what is left for the last one.
fn fixed_step(step: u32, count: u32) -> Cursor {
    var t = wide_product(step, job.fixed_ticks.y);
    t.x += step * job.fixed_ticks.x;
    var d = job.fixed_ticks;
    if step + 1u >= count {
        d = ticks_sub(END_TICKS, t);
    }
    return Cursor(t, d, ticks_to_share(d) * job.span, 0u, 0u, 0u, 0u, MOVES, 1u, step);
}
