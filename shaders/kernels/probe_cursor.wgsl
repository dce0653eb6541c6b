// Aims at a penalised step: at the accepted step that covers a drawn time, or at one drawn among the accepted steps.

struct ProbeCursorArgs {
    control: Controller,
    probe: u32,
    probes: u32,
    taken: u32,             // Steps that are taken again from the checkpoint.
    batch: u32,             // Rows of the whole batch.
    follows: u32,           // 1 where it follows the path.
}

alias Args = ProbeCursorArgs;

@group(0) @binding(1) var<storage, read> clocks: array<Clock>;
@group(0) @binding(2) var<storage, read> steps: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> outcome: Outcome;
@group(0) @binding(4) var<storage, read> params: Params;
@group(0) @binding(5) var<storage, read_write> cursors: array<Cursor>;
@group(0) @binding(6) var<storage, read_write> starts: array<u32>;
@group(0) @binding(7) var<storage, read> points: array<vec2<u32>>;

const UNBIASED = 0u;
const BIASED = 1u;
// Takes the next step after the checkpoint again, from one of the probe's tape slots to the other.
const AGAIN = 2u;

const REGULARIZATION_TIME = 2u;

// Slots 2 and 1 of the probe's tape in turn.
fn probe_slot(taken: u32) -> u32 {
    return 2u - (taken & 1u);
}

// The accepted step of the probe for one clock; a trajectory of an ensemble draws for itself.
fn drawn_step(c: u32, count: u32) -> u32 {
    var place = params.draws[job.args.probe].x;
    if job.per_row == 1u {
        // Uniforms take two words each; the upper one has the leading bits.
        let word = 2u * job.args.probe + 1u;
        let counter = vec4<u32>(word / 4u, 1u + c, params.step.x, REGULARIZATION_TIME);
        let uniform_ = philox4x32(counter, params.seed)[word % 4u];
        // (n + u) / times, as a share of 2^32: one probe in each of as many equal parts.
        place = wide_quotient(job.args.probe, uniform_, job.args.probes);
    }
    return min(wide_product(place, count).x, max(count, 1u) - 1u);
}

// (high 2^32 + low) / divisor for high < divisor <= 64, by long division in halves.
fn wide_quotient(high: u32, low: u32, divisor: u32) -> u32 {
    let first = (high << 16u) | (low >> 16u);
    let upper = first / divisor;
    let second = ((first % divisor) << 16u) | (low & 0xffffu);
    return (upper << 16u) | (second / divisor);
}

// Length of the accepted step `n` of a clock, were it not cut short by the end of the interval or by a stop: at least that
// of the step before. The error of a crumb is rounding.
fn uncut(c: u32, n: u32, clocks_of_batch: u32) -> vec2<u32> {
    let entry = steps[n * clocks_of_batch + c];
    if has(FIXED) || n == 0u || !ticks_equal(ticks_add(entry.xy, entry.zw), next_stop(entry.xy)) {
        return entry.zw;
    }
    let before = steps[(n - 1u) * clocks_of_batch + c].zw;
    if ticks_less(entry.zw, before) {
        return before;
    }
    return entry.zw;
}

// The same, or the length that earlier penalised steps have taught.
fn length_of(c: u32, n: u32, clocks_of_batch: u32) -> vec2<u32> {
    if params.share > 0.0 {
        return share_to_ticks(params.share);
    }
    return uncut(c, n, clocks_of_batch);
}

fn each(c: u32) {
    if c >= clock_count() {
        return;
    }
    take_lengths(c);
    let clocks_of_batch = select(1u, job.args.batch, job.per_row == 1u);
    let count = clocks[c].accepted;
    if outcome.unfinished > 0u || count == 0u {
        // A solve that has yet to go on needs its stages, which rows at rest would overwrite with zeros.
        let moving = select(STILL, RESTS, job.per_row == 1u && outcome.unfinished == 0u);
        cursors[c] = Cursor(vec2<u32>(), vec2<u32>(), 0.0, 2u, 1u, 0u, 1u, moving, 1u, 0u);
        return;
    }
    if job.mode == UNBIASED {
        let point = params.draws[job.args.probe];
        var length = vec2<u32>();
        // The first step whose end is not before the point, by halves.
        var low = 0u;
        var high = count;
        for (var i = 0u; i < 32u && low < high; i++) {
            let middle = low + (high - low) / 2u;
            let entry = steps[middle * clocks_of_batch + c];
            if ticks_less(ticks_add(entry.xy, entry.zw), point) {
                low = middle + 1u;
            } else {
                high = middle;
            }
        }
        if low < count {
            length = length_of(c, low, clocks_of_batch);
        }
        if job.args.follows == 1u {
            length = within_path(point, length);
        }
        let h = ticks_to_share(length) * job.span;
        cursors[c] = Cursor(point, length, h, 2u, 1u, 0u, 1u, MOVES, 1u, 0u);
        return;
    }
    let start = drawn_step(c, count);
    let within = start % job.args.control.stride;
    let step = select(start, start - within + job.args.taken, job.mode == AGAIN);
    let entry = steps[step * clocks_of_batch + c];
    let taken = select(within, job.args.taken, job.mode == AGAIN);
    var moving = MOVES;
    if job.mode == AGAIN && job.args.taken >= within {
        moving = select(STILL, RESTS, job.per_row == 1u);
    }
    var d = entry.zw;
    if job.mode != AGAIN {
        let length = length_of(c, start, clocks_of_batch);
        // A length of its own may reach beyond what the path knows.
        if !ticks_equal(length, d) {
            d = length;
            if job.args.follows == 1u {
                d = within_path(entry.xy, length);
            }
        }
    }
    let h = ticks_to_share(d) * job.span;
    cursors[c] = Cursor(entry.xy, d, h, probe_slot(taken), probe_slot(taken + 1u), 0u, 1u, moving, 1u, start);
    // Without this, nobody knows later which steps the probes' states belong to.
    starts[job.args.probe * clock_count() + c] = start;
}
