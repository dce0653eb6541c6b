// What the cotangent of a stage is made of, where there is no noise. The kernel that uses it declares `bar` and `state_bars`, and
// has among its arguments `weights`, `error_slot` and `difference`.

// Of the step's end by the weight `end`, and of all states that the stage went into.
fn of_states(i: u32, size: u32, end: f32) -> f32 {
    var sum = end * bar[i];
    for (var j = 0u; j < job.args.error_slot + 2u; j++) {
        let weight = job.args.weights[j / 4u][j % 4u];
        if weight != 0.0 {
            sum = fma(weight, state_bars[j * size + i], sum);
        }
    }
    return sum;
}

// That of the slope: `h sum`, and a seed of the measure of a penalised step.
fn of_slope(i: u32, size: u32, cursor: Cursor, sum: f32) -> f32 {
    var result = cursor.h * sum;
    if job.args.difference != 0.0 {
        result = fma(job.args.difference, state_bars[job.args.error_slot * size + i], result);
    }
    return result;
}
