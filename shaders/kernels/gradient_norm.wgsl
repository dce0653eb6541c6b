// The gradient's norm, without what is frozen, and whether there is to be an update.

struct GradientNormArgs {
    parameters: u32,
    least: u32,             // Solved rows that the loss takes at least.
    abort: u32,             // 1 aborts where a trajectory failed or the gradient is not finite.
    alone: u32,             // 1 wants the gradient alone.
    whole: u32,             // 1 where trajectories are walked back whole.
    freezes: u32,           // 1 where there are frozen parameters.
}

alias Args = GradientNormArgs;

@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> outcome: Outcome;
@group(0) @binding(3) var<storage, read> walks: array<RowWalk>;
@group(0) @binding(4) var<storage, read> frozen: array<u32>;

const WIDE = 256u;

var<workgroup> sh_sums: array<f32, 256>;
// Steps that a walk of whole trajectories has to go, at most; rows of which an adapter stopped the loops.
var<workgroup> sh_walks: array<vec2<u32>, 256>;

// The most steps that one of the lane's rows has to go yet, and rows of which an adapter stopped the loops.
fn walks_left(lane: u32) -> vec2<u32> {
    var left = vec2<u32>();
    for (var row = lane; row < job.rows; row += WIDE) {
        let walk = walks[row];
        if walk.cut == 1u {
            left.y += 1u;
        } else {
            left.x = max(left.x, walk.steps - walk.gone);
        }
    }
    return left;
}

fn merge(a: u32, b: u32) {
    sh_sums[a] += sh_sums[b];
    let other = sh_walks[b];
    sh_walks[a] = vec2<u32>(max(sh_walks[a].x, other.x), sh_walks[a].y + other.y);
}

fn with_square(sum: f32, i: u32) -> f32 {
    if i >= job.args.parameters || is_frozen(i) {
        return sum;
    }
    return fma(gradient[i], gradient[i], sum);
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    // Eight a turn, in the same order: the largest models have more numbers than loops may have turns.
    for (var i = lane; i < job.args.parameters; i += 8u * WIDE) {
        sum = with_square(sum, i);
        sum = with_square(sum, i + 1u * WIDE);
        sum = with_square(sum, i + 2u * WIDE);
        sum = with_square(sum, i + 3u * WIDE);
        sum = with_square(sum, i + 4u * WIDE);
        sum = with_square(sum, i + 5u * WIDE);
        sum = with_square(sum, i + 6u * WIDE);
        sum = with_square(sum, i + 7u * WIDE);
    }
    sh_sums[lane] = sum;
    var left = vec2<u32>();
    if job.args.whole == 1u {
        left = walks_left(lane);
    }
    sh_walks[lane] = left + select(vec2<u32>(0u, 1u), vec2<u32>(), loops_ran());
    fold(lane, WIDE);
    if lane != 0u {
        return;
    }
    if job.args.whole == 1u {
        outcome.remaining = sh_walks[0].x;
    }
    outcome.cut += sh_walks[0].y;
    let norm = sqrt(sh_sums[0]);
    outcome.gradient_norm = norm;
    let abort = job.args.abort == 1u;
    let bad = !is_finite(norm) || outcome.solved < job.args.least;
    var verdict = UPDATED;
    if outcome.cut > 0u {
        verdict = CUT;
    } else if outcome.unfinished > 0u || outcome.remaining > 0u {
        verdict = INCOMPLETE;
    } else if job.args.alone == 1u {
        verdict = NOT_WANTED;
    } else if abort && (bad || outcome.failed > 0u) {
        verdict = ABORTED;
    } else if bad {
        verdict = SKIPPED;
    }
    outcome.skipped = verdict;
    outcome.updates += select(0u, 1u, verdict == UPDATED);
    outcome.steps += select(0u, 1u, verdict <= SKIPPED);
}
