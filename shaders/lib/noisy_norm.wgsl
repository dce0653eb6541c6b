// What the norms of a stochastic step measure, as `plain_norm` has it without noise. A slope is the drift three standard
// deviations off. The kernel that uses it declares `k`.

fn step_error(at: u32, size: u32, cursor: Cursor) -> f32 {
    return noisy_sum(at, size, cursor);
}

fn slope(at: u32, size: u32, cursor: Cursor) -> f32 {
    let f = k[cursor.k_first * size + at];
    let g = 3.0 * k[job.args.sum.diffusion + cursor.k_first * size + at];
    return max(abs(f + g), abs(f - g));
}

fn change_of_slope(at: u32, size: u32, cursor: Cursor) -> f32 {
    let moved = k[cursor.k_last * size + at] - k[cursor.k_first * size + at];
    let g = 3.0 * k[job.args.sum.diffusion + cursor.k_first * size + at];
    let g1 = 3.0 * k[job.args.sum.diffusion + cursor.k_last * size + at];
    let spread = max(abs(g - g1), abs(g + g1));
    return max(abs(moved + spread), abs(moved - spread));
}
