// Learns from a training step's solve: `method::Learnt` and `method::BudgetState` on the device. First it is noted what there is
// to learn, and when the update is made, it is learnt.

struct LearnArgs {
    learns: u32,            // Bits: what is learnt.
    target_: f32,           // A budget's evaluations, the rate at which it is followed, smallest and largest coefficient,
    rate: f32,
    lowest: f32,
    highest: f32,
    coefficient: f32,       // and the first one.
    stages: f32,            // Evaluations of a step.
}

alias Args = LearnArgs;

@group(0) @binding(1) var<storage, read> outcome: Outcome;
@group(0) @binding(2) var<storage, read_write> learnt: LearntState;

const NOTE = 0u;
const LEARN = 1u;

// Shares of the old means in the new ones.
const FIRST_KEPT = 0.7;
const IDEAL_KEPT = 0.9;
const BUDGET_KEPT = 0.95;

const WARMUP = 100u;
const LARGEST_GAP = 0.5;
const PROPORTIONAL = 3.0;
const WINDOW = 300u;
const PROGRESS = 0.01;
const CONTENT = 0.05;

fn note() {
    var seen = job.args.learns & COSTS;
    if (job.args.learns & FIRST_LENGTH) != 0u && outcome.wish > 0.0 {
        seen |= FIRST_LENGTH;
        learnt.wish = own_log2(outcome.wish);
    }
    if (job.args.learns & IDEAL_STEPS) != 0u && is_finite(outcome.penalty) {
        seen |= IDEAL_STEPS;
        learnt.measure = outcome.penalty;
    }
    learnt.nfe = f32(outcome.nfe);
    learnt.evaluations = job.args.stages * outcome.ideal;
    learnt.seen = seen;
}

fn mean(first: bool, kept: f32, old: f32, new_: f32) -> f32 {
    return select(kept * old + (1.0 - kept) * new_, new_, first);
}

// Natural logarithm of the share of the target.
fn gap_of(nfe: f32) -> f32 {
    return own_log2(nfe / job.args.target_) * 0.6931471805599453;
}

fn follow_budget() {
    let first = learnt.steps == 0u;
    var coefficient = clamp(select(learnt.coefficient, job.args.coefficient, first), job.args.lowest, job.args.highest);
    learnt.offset = mean(first, BUDGET_KEPT, learnt.offset, learnt.nfe - learnt.evaluations);
    let now = max(learnt.evaluations + learnt.offset, 1.0);
    let before = gap_of(select(learnt.mean_nfe, now, first));
    learnt.mean_nfe = mean(first, BUDGET_KEPT, learnt.mean_nfe, now);
    let gap = gap_of(learnt.mean_nfe);
    learnt.steps += 1u;
    if first {
        learnt.best = vec2<f32>(gap, coefficient);
        learnt.mark = learnt.best;
    }
    learnt.coefficient = coefficient;
    if learnt.steps <= WARMUP || learnt.unreachable == 1u {
        return;
    }
    if gap < learnt.best.x - PROGRESS {
        learnt.best = vec2<f32>(gap, coefficient);
    }
    if learnt.steps % WINDOW == 0u {
        let grown = coefficient >= 10.0 * learnt.mark.y || coefficient >= job.args.highest;
        if gap > CONTENT && grown && gap >= learnt.mark.x - PROGRESS {
            learnt.unreachable = 1u;
            learnt.coefficient = learnt.best.y;
            return;
        }
        learnt.mark = vec2<f32>(gap, coefficient);
    }
    let exponent =
        job.args.rate * clamp(gap, -LARGEST_GAP, LARGEST_GAP) + PROPORTIONAL * (gap - before);
    learnt.coefficient = clamp(coefficient * own_exp2(exponent * 1.4426950408889634), job.args.lowest, job.args.highest);
}

@compute @workgroup_size(1)
fn main() {
    if job.mode == NOTE {
        note();
        return;
    }
    if outcome.skipped == INCOMPLETE || outcome.skipped == NOT_WANTED {
        return;
    }
    let seen = learnt.seen;
    learnt.seen = 0u;
    if outcome.skipped != UPDATED {
        return;
    }
    if (seen & FIRST_LENGTH) != 0u {
        learnt.first = mean((learnt.known & FIRST_LENGTH) == 0u, FIRST_KEPT, learnt.first, learnt.wish);
    }
    if (seen & IDEAL_STEPS) != 0u {
        learnt.ideal = mean((learnt.known & IDEAL_STEPS) == 0u, IDEAL_KEPT, learnt.ideal, learnt.measure);
    }
    learnt.known |= seen & (FIRST_LENGTH | IDEAL_STEPS);
    if (seen & COSTS) != 0u {
        follow_budget();
    }
}
