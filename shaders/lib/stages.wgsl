// Weighted sums of a step's stages at one number of the batch. The kernel that uses it declares `k`.

// An error's: of differences from the first stage, so that rounded weights leave nothing of a constant.
fn stages_error(at: u32, size: u32, cursor: Cursor) -> f32 {
    let first = k[cursor.k_first * size + at];
    var sum = 0.0;
    for (var j = 1u; j < job.stages; j++) {
        let weight = job.args.sum.drift[j / 4u][j % 4u];
        if weight != 0.0 {
            sum = fma(weight, k[stage_slot(j, cursor) * size + at] - first, sum);
        }
    }
    return sum;
}

// A stiffness's: of slopes, or of states by weights of their own.
fn stages_sum(at: u32, size: u32, cursor: Cursor, states: bool) -> f32 {
    var sum = 0.0;
    for (var j = 0u; j < job.stages; j++) {
        let weight = select(job.args.sum.drift[j / 4u][j % 4u], job.args.states[j / 4u][j % 4u], states);
        if weight != 0.0 {
            sum = fma(weight, k[stage_slot(j, cursor) * size + at], sum);
        }
    }
    return sum;
}
