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
