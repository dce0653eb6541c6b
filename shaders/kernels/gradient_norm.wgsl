// The gradient's norm, and whether there is to be an update.

@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> outcome: Outcome;

const WIDE = 256u;

// Values of `outcome.skipped`.
const UPDATED = 0u;
const SKIPPED = 1u;
const ABORTED = 2u;
const INCOMPLETE = 3u;
const NOT_WANTED = 4u;

var<workgroup> sh_sums: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < job.u.y; i += WIDE) {
        sum = fma(gradient[i], gradient[i], sum);
    }
    sh_sums[lane] = sum;
    for (var half = WIDE / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            sh_sums[lane] += sh_sums[lane + half];
        }
    }
    if lane != 0u {
        return;
    }
    let norm = sqrt(sh_sums[0]);
    outcome.gradient_norm = norm;
    // u.x: solved rows that the loss takes at least. u.z: 1 aborts where a trajectory failed or the gradient is not finite. u.w: 1 wants the gradient alone.
    let abort = job.u.z == 1u;
    let bad = !is_finite(norm) || outcome.solved < job.u.x;
    var verdict = UPDATED;
    if outcome.unfinished > 0u || outcome.remaining > 0u {
        verdict = INCOMPLETE;
    } else if job.u.w == 1u {
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
