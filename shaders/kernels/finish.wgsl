// Ends a solve: every row's status and the time it reached, and what the batch cost. A row is done only if all that it
// should have saved is there.

struct FinishArgs {
    safety: f32,            // The controller's factor.
    saved: u32,             // Points that there are, where trajectories are solved whole, and
    drawn: u32,             // how many of them are random times.
    penalised: u32,         // Rows with a penalty.
    carries: u32,           // 1 where first steps are carried on.
}

alias Args = FinishArgs;

@group(0) @binding(1) var<storage, read> clocks: array<Clock>;
@group(0) @binding(2) var<storage, read_write> row_status: array<u32>;
@group(0) @binding(3) var<storage, read> norms: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> outcome: Outcome;

const WIDE = 256u;

// Per invocation: unfinished clocks, solved rows, first failed row, solved rows with a penalty.
var<workgroup> sh_counts: array<vec4<u32>, 256>;
// NFE and row of the costliest clock; paused clocks; most accepted steps.
var<workgroup> sh_cost: array<vec4<u32>, 256>;
// Rows of which something was left undone; solved rows that had somewhere to go.
var<workgroup> sh_rows: array<vec2<u32>, 256>;

// How many clocks wish for a first step of that length, in eighths of octaves from 2^-30: `method::quantile_of_wishes`.
var<workgroup> sh_wishes: array<atomic<u32>, 256>;

const ANY = 0xffffffffu;
const PER_OCTAVE = 8.0;
const LOWEST = -30.0;
const QUANTILE = 0.2;

// The wish that a fifth of the clocks fall short of; 0 of none.
fn quantile_of_wishes() -> f32 {
    var total = 0u;
    for (var i = 0u; i < WIDE; i++) {
        total += atomicLoad(&sh_wishes[i]);
    }
    var passed = 0u;
    for (var i = 0u; i < WIDE; i++) {
        passed += atomicLoad(&sh_wishes[i]);
        if f32(passed) > QUANTILE * f32(total) {
            return own_exp2((f32(i) + 0.5) / PER_OCTAVE + LOWEST);
        }
    }
    return 0.0;
}

// Whether a row that is done has fewer states than it should; at rest it has none of random times.
fn lacks_states(row: u32, status: u32, saved: u32) -> bool {
    let drawn = select(job.args.drawn, 0u, status == STANDS);
    return job.args.saved != ANY && saved < slots_of(row, job.args.saved - job.args.drawn) + drawn;
}

fn merge(a: u32, b: u32) {
    sh_rows[a] += sh_rows[b];
    let x = sh_counts[a];
    let y = sh_counts[b];
    sh_counts[a] = vec4<u32>(x.x + y.x, x.y + y.y, min(x.z, y.z), x.w + y.w);
    let p = sh_cost[a];
    let q = sh_cost[b];
    let other = q.x > p.x || (q.x == p.x && q.y > p.y);
    sh_cost[a] = vec4<u32>(select(p.xy, q.xy, other), p.z + q.z, max(p.w, q.w));
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    var counts = vec4<u32>(0u, 0u, 0xffffffffu, 0u);
    var cost = vec4<u32>();
    var rows = vec2<u32>();
    atomicStore(&sh_wishes[lane], 0u);
    workgroupBarrier();
    for (var row = lane; row < job.rows; row += WIDE) {
        let clock = clocks[row * job.per_row];
        if clock.status == RUNNING || clock.status == PAUSED {
            counts.x += 1u;
            cost.z += select(0u, 1u, clock.status == PAUSED);
            rows.x += select(0u, 1u, clock.cut != 0u);
        } else {
            var status = row_status[row];
            var reached = clock.t;
            let gone_on = status == RUNNING || status == DONE;
            if gone_on {
                status = clock.status;
            }
            if (gone_on || status == STANDS) && norms[row].x > 0.0 {
                status = NON_FINITE;
            }
            if clock.cut != 0u || (is_done(status) && lacks_states(row, status, clock.saved)) {
                rows.x += 1u;
                status = NON_FINITE;
                reached = vec2<u32>();
            }
            row_status[row] = status;
            // Rows of a batch in lockstep that were given up before have noted theirs.
            if gone_on || job.per_row == 1u {
                row_status[job.rows + 2u * row] = reached.x;
                row_status[job.rows + 2u * row + 1u] = reached.y;
            }
            if is_done(status) {
                let moved = select(0u, 1u, status == DONE);
                counts.y += 1u;
                counts.w += select(0u, moved, row < job.args.penalised);
                rows.y += moved;
            } else {
                counts.z = min(counts.z, row);
            }
        }
        if clock.nfe >= cost.x {
            cost = vec4<u32>(clock.nfe, row, cost.z, cost.w);
        }
        cost.w = max(cost.w, clock.accepted);
        if job.args.carries == 1u && job.per_row == 1u && clock.wish > 0.0 {
            let bin = u32(clamp((own_log2(clock.wish) - LOWEST) * PER_OCTAVE, 0.0, 255.0));
            atomicAdd(&sh_wishes[bin], 1u);
        }
    }
    sh_counts[lane] = counts;
    sh_cost[lane] = cost;
    sh_rows[lane] = rows + vec2<u32>(select(1u, 0u, loops_ran()), 0u);
    fold(lane, WIDE);
    if lane == 0u {
        let sum = sh_counts[0];
        let most = sh_cost[0];
        let clock = clocks[most.y * job.per_row];
        outcome.unfinished = sum.x;
        outcome.paused = most.z;
        outcome.solved = sum.y;
        outcome.moved = sh_rows[0].y;
        outcome.penalised = sum.w;
        outcome.failed = job.rows - sum.x - sum.y;
        outcome.first_failed = sum.z;
        outcome.first_status = DONE;
        if sum.z < job.rows {
            outcome.first_status = row_status[sum.z];
        }
        outcome.nfe = clock.nfe;
        outcome.accepted = clock.accepted;
        outcome.rejected = clock.rejected;
        outcome.most_accepted = most.w;
        outcome.cut = max(outcome.cut, sh_rows[0].x);
        outcome.loss = 0.0;
        outcome.correct = 0u;
        outcome.penalty = 0.0;
        outcome.ideal = (clock.ideal + clock.waiting) / job.args.safety;
        outcome.wish = clocks[0].wish;
        if job.args.carries == 1u && job.per_row == 1u {
            outcome.wish = quantile_of_wishes();
        }
    }
}
