// Gives a penalised step the automatic initial step at its state: first the trial, then the step itself.

struct ProbeStepArgs {
    control: Controller,
    follows: u32,           // 1 where it follows the path.
}

alias Args = ProbeStepArgs;

@group(0) @binding(1) var<storage, read> row_status: array<u32>;
@group(0) @binding(2) var<storage, read> norms: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read_write> cursors: array<Cursor>;
@group(0) @binding(4) var<storage, read_write> weights: array<vec2<f32>>;

const WIDE = 256u;
const TRIAL = 0u;
const STEP = 1u;

// Squared norms over the living rows, and how many rows there are.
alias Summand = vec3<f32>;

fn size_step(c: u32, norm: vec2<f32>) {
    if cursors[c].moving != MOVES {
        return;
    }
    var share: f32;
    if job.mode == TRIAL {
        share = initial_trial(sqrt(norm.x), sqrt(norm.y));
        // Read again when the change of slope is known. There is no clock to keep it.
        weights[c].x = share;
    } else {
        share = initial_step(weights[c].x, sqrt(norm.y), sqrt(norm.x));
    }
    var d = share_to_ticks(share);
    if job.mode != TRIAL && job.args.follows == 1u {
        d = within_path(cursors[c].t, d);
    }
    cursors[c].d = d;
    cursors[c].h = ticks_to_share(cursors[c].d) * job.span;
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = vec3<f32>();
    for (var row = lane; row < job.rows; row += WIDE) {
        if job.per_row == 1u {
            size_step(row, norms[row] / f32(job.dim));
        } else if is_alive(row_status[row]) {
            sum += vec3<f32>(norms[row], 1.0);
        }
    }
    let all = sum_of_lanes(lane, sum);
    if lane == 0u && job.per_row == 0u {
        size_step(0u, all.xy / max(all.z * f32(job.dim), 1.0));
    }
}
