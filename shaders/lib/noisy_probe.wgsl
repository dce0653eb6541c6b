// The error of a penalised stochastic step, which `probe_error` has left where its cotangent will be; `plain_probe` has the
// same function.

fn penalised_error(at: u32, size: u32, cursor: Cursor) -> f32 {
    return state_bars[job.args.error_slot * size + at];
}
