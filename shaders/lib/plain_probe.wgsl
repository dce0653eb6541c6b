// The error of a penalised step, where there is no noise; `noisy_probe` has the same function.

fn penalised_error(at: u32, size: u32, cursor: Cursor) -> f32 {
    return step_error(at, size, cursor);
}
