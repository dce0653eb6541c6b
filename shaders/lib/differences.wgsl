// Differences of a step's last stages at one number of the batch, of which a stiffness is made. The kernel that uses it declares
// `k`, and among its arguments weights of the states: `states`.

// Of slopes, or of states by weights of their own.
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
