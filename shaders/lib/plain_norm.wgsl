// What the norms of a step measure, where there is no noise; `noisy_norm` has the same functions. The kernel that uses it
// declares `k`.

fn step_error(at: u32, size: u32, cursor: Cursor) -> f32 {
    return cursor.h * stages_error(at, size, cursor);
}

fn slope(at: u32, size: u32, cursor: Cursor) -> f32 {
    return k[cursor.k_first * size + at];
}

// Over the step that the automatic initial step tries.
fn change_of_slope(at: u32, size: u32, cursor: Cursor) -> f32 {
    return k[cursor.k_last * size + at] - k[cursor.k_first * size + at];
}
